//! Paying for pages: exactly, with change, and every way in which it goes wrong. Each ends once, and the coins add up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use florin_money::{Amount, Currency};
use florin_wallet::{
    BuyOptions, CoinMix, Output, PayOptions, PayOutcome, PayReport, Policy, Wallet, WalletError,
};
use support::{Manner, SHOP, World, holds, reserved};

fn url(path: &str) -> String {
    format!("{SHOP}{path}")
}

async fn pay(wallet: &Wallet, path: &str, output: &mut Output) -> Result<PayReport, WalletError> {
    wallet.pay(&url(path), &PayOptions::default(), output).await
}

fn memory() -> Output {
    Output::Memory(Vec::new())
}

fn content(output: Output) -> Vec<u8> {
    match output {
        Output::Memory(bytes) => bytes,
        Output::File(_) | Output::Writer(_) => unreachable!("these tests read from memory"),
    }
}

fn page(path: &str) -> Vec<u8> {
    (0..5000u32).map(|i| (i.wrapping_mul(31) % 256) as u8).chain(path.bytes()).collect()
}

/// Nothing is lost and nothing made: what was bought is in the wallet, at the shop, or was written off.
fn adds_up(world: &World, wallet: &Wallet, bought: u64) {
    assert_eq!(holds(wallet) + world.shop.received(), bought);
    assert_eq!(world.in_circulation(), bought);
    assert!(world.house.books.audit().unwrap().is_clean());
}

fn few() -> BuyOptions {
    BuyOptions { mix: CoinMix::Few, ..BuyOptions::default() }
}

#[tokio::test]
async fn pages_are_paid_exactly_or_after_change_and_come_byte_for_byte() {
    let world = World::new(1);
    let wallet = world.with_coins("w", "10.00 FLO", &few()).await;
    let mut output = memory();
    let report = pay(&wallet, "/a/5", &mut output).await.unwrap();
    assert_eq!((report.outcome, report.receipt, report.resumed), (PayOutcome::Paid, true, false));
    assert_eq!((report.with.as_deref(), report.exit_code().number()), (Some("the-shop"), 0));
    assert_eq!(content(output), page("/a/5"));
    let file = world.dir.path().join("page");
    let report = pay(&wallet, "/b/123", &mut Output::File(file.clone())).await.unwrap();
    assert_eq!((report.file.as_deref(), report.page_bytes), (Some(Path::new(&file)), Some(5006)));
    assert_eq!(fs::read(&file).unwrap(), page("/b/123"));
    adds_up(&world, &wallet, 1000);
    assert_eq!(holds(&wallet), 1000 - 128);
    let receipt = wallet.receipt(&report.id.unwrap()).unwrap();
    assert!(receipt.payee_receipt.is_some() && receipt.operator_statement.is_some());
    let json = serde_json::to_value(&receipt).unwrap();
    assert_eq!((json["outcome"].as_str(), json["amount"].as_str()), (Some("done"), Some("1.23 FLO")));
    assert_eq!(wallet.history(10).unwrap().entries.len(), 3);
}

#[tokio::test]
async fn a_free_page_is_just_saved() {
    let world = World::new(2);
    world.init("w").await.unwrap();
    let wallet = world.open("w");
    let mut output = memory();
    let report = pay(&wallet, "/free", &mut output).await.unwrap();
    assert_eq!((report.outcome, report.http_status), (PayOutcome::Free, Some(200)));
    assert_eq!(content(output), page("/free"));
}

#[tokio::test]
async fn coins_that_a_copy_has_spent_are_refused_and_only_the_payer_learns_why() {
    let world = World::new(3);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    let before = holds(&wallet);
    wallet.close().unwrap();
    let copy = world.wallet_dir("copy");
    copy_dir(&world.wallet_dir("w"), &copy);
    let thief = world.open_at(&copy, &world.wallet_dir("keys").join("w"));
    // Every coin of the smallest value, so that the other one cannot get round them.
    pay(&thief, "/1", &mut memory()).await.unwrap();
    pay(&thief, "/again/1", &mut memory()).await.unwrap();
    let wallet = world.open("w");
    let report = pay(&wallet, "/6", &mut memory()).await.unwrap();
    assert_eq!((report.outcome, report.exit_code().number()), (PayOutcome::Denied, 1));
    assert_eq!(report.lost.iter().map(|coin| coin.cause).collect::<Vec<_>>(), ["coin-spent"]);
    assert_eq!((holds(&wallet), reserved(&wallet)), (before - 1, 0), "good coins are free again");
    assert_eq!(wallet.limits().unwrap().limits[0].spent_today.minor(), 0);
    let entry = &wallet.history(1).unwrap().entries[0];
    assert_eq!((entry.outcome, entry.lost.len()), ("denied", 1));
    wallet.receipt(&entry.id).unwrap();
    assert!(world.house.books.audit().unwrap().is_clean());
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn an_open_payment_is_repeated_and_never_made_anew() {
    let world = World::new(4);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    world.shop.manner(Manner::Mute);
    for _ in 0..2 {
        let open = pay(&wallet, "/7", &mut memory()).await.unwrap_err();
        assert_eq!((open.slug(), open.exit_code().number()), ("not-known-yet", 3));
        assert_eq!(reserved(&wallet), 7);
    }
    assert_eq!(wallet.status().await.unwrap().open.len(), 1);
    world.shop.manner(Manner::Honest);
    let mut output = memory();
    let report = pay(&wallet, "/7", &mut output).await.unwrap();
    assert!(report.resumed && report.receipt);
    assert_eq!(content(output), page("/7"));
    assert_eq!(world.shop.presented.lock().unwrap().len(), 1);
    adds_up(&world, &wallet, 100);
}

#[tokio::test]
async fn after_its_deadline_a_payment_that_never_happened_is_never() {
    let world = World::new(5);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    world.shop.manner(Manner::Asleep);
    pay(&wallet, "/7", &mut memory()).await.unwrap_err();
    world.later(61_000);
    let report = pay(&wallet, "/7", &mut memory()).await.unwrap();
    assert_eq!((report.outcome, report.resumed), (PayOutcome::Never, true));
    assert_eq!((holds(&wallet), reserved(&wallet)), (100, 0));
    world.shop.manner(Manner::Honest);
    assert_eq!(pay(&wallet, "/7", &mut memory()).await.unwrap().outcome, PayOutcome::Paid);
    adds_up(&world, &wallet, 100);
}

#[tokio::test]
async fn a_paid_page_that_never_came_is_still_asked_for_and_then_ends_as_paid() {
    let world = World::new(6);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    world.shop.manner(Manner::Mute);
    pay(&wallet, "/7", &mut memory()).await.unwrap_err();
    world.later(61_000);
    let status = wallet.status().await.unwrap();
    assert_eq!((status.open.len(), status.open[0].paid), (1, true), "the page may still be had");
    assert_eq!(status.exit_code().number(), 0, "it is known that it is paid");
    assert!(status.to_string().contains("paid: payment of "), "{status}");
    world.later(16 * 60_000);
    let status = wallet.status().await.unwrap();
    assert_eq!((status.open.len(), status.settled), (0, 1));
    let entry = &wallet.history(1).unwrap().entries[0];
    assert_eq!((entry.kind, entry.outcome, entry.receipt), ("paid", "done", false));
    adds_up(&world, &wallet, 100);
}

#[tokio::test]
async fn a_page_that_can_be_put_nowhere_is_not_paid_for() {
    let world = World::new(60);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    let there = world.dir.path().to_owned();
    for path in [there.clone(), there.join("nowhere/page.html")] {
        let error = pay(&wallet, "/7", &mut Output::File(path)).await.unwrap_err();
        assert_eq!(error.slug(), "file-not-usable", "{error}");
    }
    assert_eq!((holds(&wallet), reserved(&wallet)), (100, 0));
    let good = there.join("page.html");
    assert_eq!(pay(&wallet, "/7", &mut Output::File(good.clone())).await.unwrap().outcome, PayOutcome::Paid);
    assert!(good.exists() && !there.join("page.html.part").exists());
}

#[tokio::test]
async fn a_server_that_refuses_by_itself_gets_nothing() {
    let world = World::new(7);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    world.shop.manner(Manner::Stubborn);
    let report = pay(&wallet, "/7", &mut memory()).await.unwrap();
    assert_eq!((report.outcome, report.exit_code().number()), (PayOutcome::Never, 1));
    assert_eq!((holds(&wallet), reserved(&wallet)), (100, 0));
    assert!(world.shop.presented.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_service_that_fails_before_it_is_paid_costs_nothing() {
    for (n, status) in [500, 404, 403, 502].into_iter().enumerate() {
        let world = World::new(700 + n as u64);
        let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
        world.shop.manner(Manner::Failing(status));
        let report = pay(&wallet, "/7", &mut memory()).await.unwrap();
        assert_eq!((report.outcome, report.http_status), (PayOutcome::Never, Some(status)));
        assert_eq!((report.exit_code().number(), report.page_bytes), (1, None));
        assert_eq!((holds(&wallet), reserved(&wallet)), (100, 0), "free at once");
        assert_eq!(wallet.limits().unwrap().limits[0].spent_today.minor(), 0);
        world.shop.manner(Manner::Honest);
        assert_eq!(pay(&wallet, "/7", &mut memory()).await.unwrap().outcome, PayOutcome::Paid);
        adds_up(&world, &wallet, 100);
    }
    // What says of itself that it passes is asked again, and ends at the deadline.
    let world = World::new(710);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    world.shop.manner(Manner::Failing(503));
    assert_eq!(pay(&wallet, "/7", &mut memory()).await.unwrap_err().slug(), "not-known-yet");
    assert_eq!(reserved(&wallet), 7);
    world.later(61_000);
    assert_eq!(wallet.status().await.unwrap().settled, 1);
    assert_eq!((holds(&wallet), reserved(&wallet)), (100, 0));
}

#[tokio::test]
async fn a_server_that_claims_another_amount_gets_nothing() {
    let world = World::new(8);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    world.shop.manner(Manner::Greedy);
    let report = pay(&wallet, "/7", &mut memory()).await.unwrap();
    assert_eq!((report.outcome, report.lost.len()), (PayOutcome::AmountMismatch, 0));
    assert_eq!((holds(&wallet), reserved(&wallet)), (100, 0));
    adds_up(&world, &wallet, 100);
}

#[tokio::test]
async fn a_server_s_word_alone_settles_nothing() {
    let world = World::new(9);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    world.shop.manner(Manner::Boaster);
    let mut output = memory();
    assert_eq!(pay(&wallet, "/7", &mut output).await.unwrap_err().slug(), "not-known-yet");
    assert!(content(output).is_empty());
    world.later(61_000);
    assert_eq!(pay(&wallet, "/7", &mut memory()).await.unwrap().outcome, PayOutcome::Never);
    assert_eq!((holds(&wallet), reserved(&wallet)), (100, 0));
}

#[tokio::test]
async fn a_page_that_breaks_off_is_asked_for_again_with_the_same_payment() {
    let world = World::new(10);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    world.shop.manner(Manner::Cutting);
    let file = world.dir.path().join("page");
    let report = pay(&wallet, "/7", &mut Output::File(file.clone())).await.unwrap();
    assert_eq!((report.outcome, fs::read(&file).unwrap()), (PayOutcome::Paid, page("/7")));
    assert!(!world.dir.path().join("page.part").exists());
    adds_up(&world, &wallet, 100);
}

#[tokio::test]
async fn limits_hold_unless_the_owner_says_otherwise_for_one_payment() {
    let world = World::new(11);
    let wallet = world.with_coins("w", "50.00 FLO", &BuyOptions::default()).await;
    let flo = |minor| Amount::new(minor, Currency::FLO);
    let with = |policy| PayOptions { policy, ..PayOptions::default() };
    let above = pay(&wallet, "/501", &mut memory()).await.unwrap_err();
    assert_eq!((above.slug(), above.exit_code().number()), ("above-payment-limit", 4));
    let max = with(Policy { max: Some(flo(501)), yes: false });
    assert_eq!(wallet.pay(&url("/501"), &max, &mut memory()).await.unwrap().outcome, PayOutcome::Paid);
    for path in ["/a/500", "/b/500"] {
        assert_eq!(pay(&wallet, path, &mut memory()).await.unwrap().outcome, PayOutcome::Paid);
    }
    let above = pay(&wallet, "/500", &mut memory()).await.unwrap_err();
    assert_eq!(above.slug(), "above-day-limit");
    let yes = with(Policy { max: None, yes: true });
    assert_eq!(wallet.pay(&url("/500"), &yes, &mut memory()).await.unwrap().outcome, PayOutcome::Paid);
    world.later(24 * 60 * 60 * 1000);
    assert_eq!(pay(&wallet, "/c/500", &mut memory()).await.unwrap().outcome, PayOutcome::Paid);
    adds_up(&world, &wallet, 5000);
}

#[tokio::test]
async fn two_payments_at_once_take_different_coins() {
    let world = World::new(12);
    let wallet = world.with_coins("w", "1.00 FLO", &few()).await;
    let (mut a, mut b) = (memory(), memory());
    let (x, y) = tokio::join!(pay(&wallet, "/a/7", &mut a), pay(&wallet, "/b/7", &mut b));
    // There is one coin only: the second payment waits for the change of the first.
    assert_eq!((x.unwrap().outcome, y.unwrap().outcome), (PayOutcome::Paid, PayOutcome::Paid));
    adds_up(&world, &wallet, 100);
}

#[tokio::test]
async fn what_is_not_enough_and_what_cannot_be_used_is_said() {
    let world = World::new(13);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    let short = pay(&wallet, "/101", &mut memory()).await.unwrap_err();
    assert_eq!((short.slug(), short.exit_code().number()), ("not-enough-coins", 4));
    let plain = wallet.pay("http://shop.example/5", &PayOptions::default(), &mut memory()).await.unwrap_err();
    assert_eq!(plain.slug(), "url-not-usable");
    let own = PayOptions { headers: vec![("payment-signature".into(), "x".into())], ..PayOptions::default() };
    let own = wallet.pay(&url("/5"), &own, &mut memory()).await.unwrap_err();
    assert_eq!((own.slug(), own.exit_code().number()), ("input-not-valid", 2));
    assert_eq!((holds(&wallet), reserved(&wallet)), (100, 0));
}

#[tokio::test]
async fn commands_can_be_spawned() {
    fn is_send<T: Send>(_: T) {}
    let world = World::new(14);
    world.init("w").await.unwrap();
    let wallet = Arc::new(world.open("w"));
    let options = PayOptions::default();
    is_send(wallet.pay("http://127.0.0.1/", &options, &mut memory()));
    is_send(wallet.status());
    is_send(wallet.buy(Amount::new(1, Currency::FLO), &BuyOptions::default()));
    is_send(wallet.pay_invoice("", &florin_wallet::PayInvoiceOptions::default()));
    is_send(wallet.wait_for_payment("", std::time::Duration::ZERO));
}
