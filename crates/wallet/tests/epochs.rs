//! What a wallet does when its operator revokes an epoch: it learns, and exchanges its coins by itself; and what it does
//! with coins that nobody exchanges any more. Source: docs/rails/coin.md, "Epochs".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use florin_books::Clock;
use florin_coin::{Calendar, CoinSet, Epochs};
use florin_crypto::{KemSecretKey, SeededEntropy, SigningKey};
use florin_money::{Amount, Currency};
use florin_parties::{SignedKeyList, Terms};
use florin_shell::utc::utc;
use florin_wallet::{
    BuyOptions, BuyState, CoinMix, Output, PayOptions, PayOutcome, PayReport, RedeemAmount, Wallet,
};
use support::{SHOP, World, holds, reserved, signed_list};

const DAY: u64 = 24 * 60 * 60 * 1000;

fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

/// The operator takes a table up and publishes it.
fn publish(world: &World, seed: u64, epochs: &Epochs) {
    let mut entropy = SeededEntropy::from_number(seed);
    let root = SigningKey::generate(&mut entropy);
    let signing = SigningKey::generate(&mut entropy);
    let kem = KemSecretKey::generate(&mut entropy);
    world.later(1);
    let (mut list, _) = signed_list(&root, &signing, &kem, world.clock.now());
    list.epochs = epochs.published();
    *world.signed.lock().unwrap() = SignedKeyList::sign(&list, &root).unwrap();
    world.issuer.set_epochs(Arc::new(epochs.clone()));
}

fn begun(world: &World) -> Epochs {
    Epochs::begin(Calendar::of(&Terms::default()), world.clock.now(), &[])
}

fn revoked(world: &World) -> Epochs {
    let begun = begun(world);
    begun.revoke(begun.entries()[0].number, world.clock.now()).unwrap()
}

async fn pay(wallet: &Wallet, path: &str) -> PayReport {
    let url = format!("{SHOP}{path}");
    wallet.pay(&url, &PayOptions::default(), &mut Output::Memory(Vec::new())).await.unwrap()
}

fn mix(mix: CoinMix) -> BuyOptions {
    BuyOptions { mix, ..BuyOptions::default() }
}

#[tokio::test]
async fn a_payment_denied_for_a_revoked_epoch_costs_nothing_and_the_next_one_pays() {
    let world = World::new(71);
    let wallet = world.with_coins("w", "10.00 FLO", &mix(CoinMix::Mixed)).await;
    publish(&world, 71, &revoked(&world));
    let denied = pay(&wallet, "/7").await;
    assert_eq!((denied.outcome, denied.lost.len()), (PayOutcome::Denied, 0), "no coin is lost");
    assert_eq!((holds(&wallet), reserved(&wallet)), (1000, 0));
    assert_eq!(world.in_circulation(), 1000);
    assert_eq!(pay(&wallet, "/7").await.outcome, PayOutcome::Paid, "the coins are new by now");
    assert_eq!((holds(&wallet), world.shop.received(), world.in_circulation()), (993, 7, 1000));
}

#[tokio::test]
async fn a_change_refused_for_a_revoked_epoch_is_made_good_within_the_same_command() {
    let world = World::new(72);
    let wallet = world.with_coins("w", "10.00 FLO", &mix(CoinMix::Few)).await;
    publish(&world, 72, &revoked(&world));
    assert_eq!(pay(&wallet, "/123").await.outcome, PayOutcome::Paid);
    assert_eq!((holds(&wallet), world.shop.received(), world.in_circulation()), (877, 123, 1000));
}

#[tokio::test]
async fn status_alone_exchanges_coins_of_a_revoked_epoch() {
    let world = World::new(73);
    let wallet = world.with_coins("w", "10.00 FLO", &mix(CoinMix::Mixed)).await;
    publish(&world, 73, &revoked(&world));
    wallet.status().await.unwrap();
    // What was exchanged pays without being denied first.
    assert_eq!(pay(&wallet, "/7").await.outcome, PayOutcome::Paid);
    assert_eq!(world.in_circulation(), 1000);
}

/// What the terms say now is not what an epoch was begun with: its coins go by what is published of it.
#[tokio::test]
async fn a_purchase_says_the_published_end_of_grace_of_its_epoch_or_that_there_is_none() {
    for (seed, grace_days) in [(75, Some(7)), (76, None)] {
        let world = World::new(seed);
        let terms = Terms { grace_days, ..Terms::default() };
        let epochs = Epochs::begin(Calendar::of(&terms), world.clock.now(), &[]);
        publish(&world, seed, &epochs);
        let wallet = world.enrolled("w").await;
        let epoch = epochs.published()[0];
        let pays = utc(epoch.expires);
        let end = grace_days.map(|days| utc(epoch.expires.plus_ms(u64::from(days) * DAY)));
        let ends = end.clone().unwrap_or_else(|| "without end".to_owned());
        let says = format!("the coins pay until {pays}, and can be refreshed until {ends}\n");
        // Ordered, and the bank has not paid yet; then bought.
        *world.bank_waits.lock().unwrap() = true;
        let options = BuyOptions { wait: Duration::ZERO, ..BuyOptions::default() };
        let ordered = wallet.buy(flo(500), &options).await.unwrap();
        assert_eq!((ordered.state, ordered.refreshable_until.clone()), (BuyState::Waiting, end.clone()));
        assert!(ordered.to_string().contains(&says), "{ordered}");
        *world.bank_waits.lock().unwrap() = false;
        let bought = wallet.buy(flo(500), &BuyOptions::default()).await.unwrap();
        assert_eq!((bought.state, bought.refreshable_until.clone()), (BuyState::Bought, end.clone()));
        assert!(bought.to_string().contains(&says), "{bought}");
        let balance = wallet.balance().unwrap();
        assert_eq!(balance.balances[0].refreshable_until, end);
        let says = format!("pays until {pays}, and can be refreshed until {ends}\n");
        assert!(balance.to_string().contains(&says), "{balance}");
    }
}

#[tokio::test]
async fn coins_that_nobody_exchanges_any_more_stay_and_are_handed_over_as_text() {
    let world = World::new(74);
    let begun = begun(&world);
    publish(&world, 74, &begun);
    let wallet = world.with_coins("w", "10.00 FLO", &mix(CoinMix::Few)).await;
    assert_eq!(wallet.late_coins().unwrap().late.len(), 0);
    let end = begun.entries()[0].grace_end.unwrap();
    world.later(end.since(world.clock.now()) + 1);
    publish(&world, 74, &begun.schedule(world.clock.now()).unwrap().unwrap());
    wallet.status().await.unwrap();
    let lapsed = wallet.balance().unwrap().balances[0].lapsed;
    assert_eq!((holds(&wallet), lapsed.minor()), (0, 1000), "asking changes nothing");
    let late = wallet.late_coins().unwrap().late;
    assert_eq!(late.len(), 1);
    let read = CoinSet::from_text(&late[0].text).unwrap();
    assert_eq!((read.total, late[0].worth.minor()), (late[0].worth, 1000));
    assert!(world.issuer.examine(&read).is_ok());
    assert!(end.0 > 200 * DAY);
}

/// An operator that winds down: the wallet refreshes nothing by itself, says why by hand, keeps its coins, and redeems them.
#[tokio::test]
async fn when_no_epoch_follows_the_wallet_says_so_keeps_its_coins_and_redeems_them() {
    let world = World::new(77);
    let last = begun(&world);
    publish(&world, 77, &last);
    let wallet = world.with_coins("w", "10.00 FLO", &mix(CoinMix::Mixed)).await;
    let entry = last.entries()[0];
    world.later(entry.expires.since(world.clock.now()) + 1);
    publish(&world, 77, &last);
    wallet.status().await.unwrap();
    assert_eq!(wallet.refresh(false).await.err().unwrap().slug(), "issuing-ended");
    let row = wallet.balance().unwrap().balances[0].clone();
    assert_eq!((row.free, row.expired, row.lapsed, reserved(&wallet)), (flo(0), flo(1000), flo(0), 0));
    let redeemed = wallet.redeem(RedeemAmount::All(Currency::FLO)).await.unwrap();
    assert_eq!((redeemed.amount, holds(&wallet), world.in_circulation()), (flo(1000), 0, 0));
    assert_eq!(wallet.status().await.unwrap().open, []);
}
