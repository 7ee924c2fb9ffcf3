//! A wallet whose disk is gone is made again from its seed: what was bought by name or with a one-time key comes again,
//! exactly what was not spent. Source: VarietyCash §3 (Refund); docs/wallet.md, "The seed"; ADR 0026.
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
use std::sync::atomic::Ordering;
use std::time::Duration;

use florin_books::{OnceKey, PartyId, Transition};
use florin_coin::HolderChoice;
use florin_coin::issuer::{HOLDER_ENTRIES_MAX, HolderEntry, HolderList};
use florin_coin::kinds::HOLDER;
use florin_crypto::{cbor, digest};
use florin_money::{Amount, Currency};
use florin_wallet::{
    BuyOptions, BuyState, CoinMix, InvoiceState, PayInvoiceOptions, RefundChoice, RequestOptions, Wallet,
};
use support::{Weather, When, World, holds, reserved};

fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

fn buying(refund: RefundChoice, mix: CoinMix) -> BuyOptions {
    BuyOptions { refund, mix, new: true, ..BuyOptions::default() }
}

async fn buy(wallet: &Wallet, minor: u64, refund: RefundChoice, mix: CoinMix) {
    let bought = wallet.buy(flo(minor), &buying(refund, mix)).await.unwrap();
    assert_eq!(bought.state, BuyState::Bought);
}

/// Bob, who takes what he is paid.
async fn bob(world: &Arc<World>) -> Wallet {
    world.init("bob").await.unwrap();
    let bob = world.open("bob");
    bob.register(Some("bob")).await.unwrap();
    bob
}

async fn pay(from: &Wallet, to: &Wallet, minor: u64) {
    let asked = to.invoice(flo(minor), &RequestOptions { new: true, ..RequestOptions::default() }).await;
    let asked = asked.unwrap().invoice;
    let (pay, long) = (PayInvoiceOptions::default(), Duration::from_secs(5));
    let (paid, received) = tokio::join!(from.pay_invoice(&asked, &pay), to.wait_for_payment(&asked, long));
    paid.unwrap();
    assert_eq!(received.unwrap().state, InvoiceState::Paid);
}

#[tokio::test]
async fn refund_restores_what_was_bought_by_name_or_key_and_not_spent() {
    let world = World::new(60);
    world.patience_ms.store(10_000, Ordering::SeqCst);
    let alice = world.enrolled("alice").await;
    let bob = bob(&world).await;
    // Few coins, so that each payment changes some first: what comes back has the choice of what was given.
    buy(&alice, 1000, RefundChoice::ByName, CoinMix::Few).await;
    pay(&alice, &bob, 333).await;
    let seed = world.seed("alice");
    let (id, name) = (alice.id(), "alice-wallet".to_owned());
    drop(alice);
    let alice = world.crash_and_restore("alice", &seed).await;
    assert_eq!((holds(&alice), alice.id()), (0, id));
    let report = alice.restore().await.unwrap();
    assert_eq!((report.name.as_ref(), report.exit_code().number()), (Some(&name), 0));
    assert_eq!(
        report.refunded.iter().map(|r| (r.holder, r.amount)).collect::<Vec<_>>(),
        [("named", flo(667))]
    );
    assert_eq!((holds(&alice), holds(&bob), world.in_circulation()), (667, 333, 1000));
    assert_eq!(alice.history(1).unwrap().entries[0].kind, "refunded");
    // The coins are as good as any, and again: nothing is made by asking twice.
    pay(&alice, &bob, 7).await;
    let again = alice.restore().await.unwrap();
    assert_eq!((holds(&alice), again.refunded.len(), world.in_circulation()), (660, 1, 1000));
    pay(&alice, &bob, 60).await;
    assert_eq!((holds(&alice), holds(&bob)), (600, 400));
    drop(alice);

    let alice = world.crash_and_restore("alice", &seed).await;
    alice.restore().await.unwrap();
    assert_eq!((holds(&alice), world.in_circulation()), (600, 1000));
    assert!(world.house.books.audit().unwrap().is_clean());
}

#[tokio::test]
async fn refund_by_one_time_keys_finds_every_purchase_and_only_what_asked_for_it() {
    let world = World::new(61);
    world.patience_ms.store(10_000, Ordering::SeqCst);
    let alice = world.enrolled("alice").await;
    let bob = bob(&world).await;
    buy(&alice, 500, RefundChoice::ByKey, CoinMix::Few).await;
    buy(&alice, 200, RefundChoice::ByKey, CoinMix::Few).await;
    pay(&alice, &bob, 230).await;
    let seed = world.seed("alice");
    drop(alice);
    let mut alice = world.crash_and_restore("alice", &seed).await;
    let report = alice.restore().await.unwrap();
    assert_eq!((holds(&alice), report.keys, report.name.is_some()), (470, 2, true));
    assert!(report.refunded.iter().all(|row| row.holder == "refundable" && row.key.is_some()));
    // The next purchase takes a key that none had; then all three are found, also those whose coins are spent.
    alice.enrol(support::IBAN, florin_parties::Roles::BOTH).await.unwrap();
    let code = world.codes.lock().unwrap().last().unwrap().clone();
    alice.confirm(&code).await.unwrap();
    buy(&alice, 100, RefundChoice::ByKey, CoinMix::Few).await;
    for expected in [570, 570] {
        drop(alice);
        alice = world.crash_and_restore("alice", &seed).await;
        assert_eq!((alice.restore().await.unwrap().keys, holds(&alice)), (3, expected));
    }
    // Without having asked for it: lost with the disk.
    world.init("carol").await.unwrap();
    drop(world.open("carol"));
    let carol = world.seed("carol");
    let other = world.with_coins("dave", "3.00 FLO", &BuyOptions::default()).await;
    let dave = world.seed("dave");
    drop(other);
    let dave = world.crash_and_restore("dave", &dave).await;
    let report = dave.restore().await.unwrap();
    assert_eq!((holds(&dave), report.refunded, report.name.as_deref()), (0, vec![], Some("dave-wallet")));
    // Keys that nobody has registered: nothing is registered by looking.
    let carol = world.crash_and_restore("carol", &carol).await;
    assert_eq!(carol.restore().await.unwrap().name, None);
    assert_eq!(carol.register(Some("carol")).await.unwrap().name, "carol");
}

/// Many purchases that the bank refuses, as of a program that tries again, hide nothing that is bought afterwards.
#[tokio::test]
async fn refund_finds_what_was_bought_after_many_refused_purchases() {
    let world = World::new(66);
    let alice = world.enrolled("alice").await;
    *world.bank.lock().unwrap() = Some("AM04");
    for _ in 0..30 {
        let refused = alice.buy(flo(100), &buying(RefundChoice::ByKey, CoinMix::Few)).await.unwrap();
        assert_eq!(refused.state, BuyState::Refused);
    }
    *world.bank.lock().unwrap() = None;
    for minor in [900, 70] {
        buy(&alice, minor, RefundChoice::ByKey, CoinMix::Few).await;
    }
    let seed = world.seed("alice");
    drop(alice);
    let alice = world.crash_and_restore("alice", &seed).await;
    let report = alice.restore().await.unwrap();
    assert_eq!((holds(&alice), report.keys), (970, 2), "each purchase had a key of its own");
}

#[tokio::test]
async fn refund_of_one_wallet_takes_nothing_of_anothers() {
    let world = World::new(62);
    let alice = world.enrolled("alice").await;
    let eve = world.enrolled("eve").await;
    buy(&alice, 500, RefundChoice::ByName, CoinMix::Mixed).await;
    buy(&alice, 100, RefundChoice::ByKey, CoinMix::Mixed).await;
    buy(&eve, 200, RefundChoice::ByName, CoinMix::Mixed).await;
    eve.restore().await.unwrap();
    assert_eq!((holds(&alice), holds(&eve), world.in_circulation()), (600, 200, 800));
    alice.restore().await.unwrap();
    assert_eq!((holds(&alice), holds(&eve), world.in_circulation()), (600, 200, 800));
    assert!(
        eve.history(9).unwrap().entries.iter().all(|e| e.kind != "refunded"),
        "nothing came, nothing is noted"
    );
    let text = world.seed("alice");
    assert_eq!(
        world.init_with("alice", Some(text.parse().unwrap())).await.unwrap_err().slug(),
        "wallet-already-there"
    );
}

/// Coins of several purchases in one change get one one-time key, and no name.
#[tokio::test]
async fn refund_of_joined_coins_is_by_a_key_that_names_nobody() {
    let world = World::new(63);
    world.patience_ms.store(10_000, Ordering::SeqCst);
    let alice = world.enrolled("alice").await;
    let bob = bob(&world).await;
    buy(&alice, 5, RefundChoice::ByName, CoinMix::Few).await;
    buy(&alice, 5, RefundChoice::No, CoinMix::Few).await;
    pay(&alice, &bob, 8).await;
    let seed = world.seed("alice");
    drop(alice);
    let alice = world.crash_and_restore("alice", &seed).await;
    let report = alice.restore().await.unwrap();
    assert_eq!((holds(&alice), holds(&bob)), (2, 8));
    assert_eq!(report.refunded.iter().map(|r| r.holder).collect::<Vec<_>>(), ["refundable"]);
}

/// A payment that was sent and not claimed comes back by a refund; its late receiver is denied, nobody has it twice.
#[tokio::test]
async fn refund_takes_back_what_was_sent_and_not_claimed() {
    let world = World::new(64);
    let alice = world.enrolled("alice").await;
    let bob = bob(&world).await;
    buy(&alice, 1000, RefundChoice::ByKey, CoinMix::Mixed).await;
    let asked = bob.invoice(flo(250), &RequestOptions::default()).await.unwrap().invoice;
    alice.pay_invoice(&asked, &PayInvoiceOptions::default()).await.unwrap_err();
    assert_eq!(reserved(&alice), 250);
    let seed = world.seed("alice");
    drop(alice);
    let alice = world.crash_and_restore("alice", &seed).await;
    alice.restore().await.unwrap();
    assert_eq!(holds(&alice), 1000);
    bob.wait_for_payment(&asked, Duration::ZERO).await.unwrap();
    assert_eq!((holds(&bob), holds(&alice), world.in_circulation()), (0, 1000, 1000));
    assert!(world.house.books.audit().unwrap().is_clean());
}

/// The operator's list of a holder as it stands after so many changes whose coins are spent.
async fn fill_lists(world: &World) {
    for (key, document) in world.house.books.scan(HOLDER).unwrap() {
        let mut list = HolderList::read(&document.value).unwrap();
        let (epoch, there) = (list.entries[0].epoch, list.entries.len());
        while list.entries.len() < HOLDER_ENTRIES_MAX {
            let txid = digest("test/fill", &[&cbor::encode(&(document.version, list.entries.len()))]).short();
            list.entries
                .push(HolderEntry { by: OnceKey { rail: 1, step: 8, party: PartyId::NONE, txid }, epoch });
        }
        assert!(!matches!(list.holder, HolderChoice::Nobody));
        // Entries are found by their once keys; these are taken by a record that created nothing.
        let mut t = Transition::new(digest("test/fill", &[&key.id]), world.house.books.durable());
        t.once = list.entries[there..].iter().map(|entry| entry.by).collect();
        t.write(key, cbor::encode(&list));
        world.house.commit(t).await.unwrap();
    }
}

#[tokio::test]
async fn refund_makes_room_where_the_operators_list_is_full() {
    let world = World::new(65);
    world.patience_ms.store(10_000, Ordering::SeqCst);
    let alice = world.enrolled("alice").await;
    let bob = bob(&world).await;
    buy(&alice, 1000, RefundChoice::ByName, CoinMix::Few).await;
    fill_lists(&world).await;
    pay(&alice, &bob, 333).await;
    assert_eq!((holds(&alice), reserved(&alice), holds(&bob)), (667, 0, 333));
    fill_lists(&world).await;
    buy(&alice, 100, RefundChoice::ByName, CoinMix::Few).await;
    assert_eq!((holds(&alice), world.in_circulation()), (767, 1100));
    let seed = world.seed("alice");
    drop(alice);
    let alice = world.crash_and_restore("alice", &seed).await;
    alice.restore().await.unwrap();
    assert_eq!(holds(&alice), 767);
    assert!(world.house.books.audit().unwrap().is_clean());
}

/// Killed at every message of a restore, and restored again.
#[tokio::test]
async fn refund_survives_a_second_crash_at_every_message() {
    let world = World::new(66);
    let alice = world.enrolled("alice").await;
    buy(&alice, 500, RefundChoice::ByName, CoinMix::Few).await;
    buy(&alice, 200, RefundChoice::ByKey, CoinMix::Few).await;
    let seed = world.seed("alice");
    drop(alice);
    for (at, when) in
        [(1, When::Before), (1, When::After), (2, When::After), (3, When::Before), (3, When::After)]
    {
        drop(world.crash_and_restore("alice", &seed).await);
        world.weather(Weather::Crash(at, when));
        let restore = |w: Arc<Wallet>| async move { w.restore().await.map(|_| ()) };
        let stopped = world.run("alice", restore).await.is_none();
        assert!(stopped, "{at}");
        world.weather(Weather::Fine);
        // By the same command, or by `status` and then the same command.
        if at == 2 {
            world.open("alice").status().await.unwrap();
        }
        let alice = world.open("alice");
        alice.restore().await.unwrap();
        assert_eq!((holds(&alice), reserved(&alice), world.in_circulation()), (700, 0, 700), "{at}");
        assert_eq!(alice.status().await.unwrap().open, []);
    }
}

/// A network that loses every second message: what is waited for is time, so three are tried at once.
#[tokio::test]
async fn refund_comes_through_a_network_that_loses_every_second_message() {
    tokio::join!(restored_through(0), restored_through(1), restored_through(2));
}

async fn restored_through(dice: u64) {
    let world = World::new(70 + dice);
    let alice = world.enrolled("alice").await;
    buy(&alice, 500, RefundChoice::ByName, CoinMix::Few).await;
    buy(&alice, 200, RefundChoice::ByKey, CoinMix::Few).await;
    let seed = world.seed("alice");
    drop(alice);
    drop(world.crash_and_restore("alice", &seed).await);
    world.patience_ms.store(60_000, Ordering::SeqCst);
    world.weather(Weather::Lossy(dice));
    let alice = world.open("alice");
    alice.restore().await.unwrap();
    world.weather(Weather::Fine);
    assert_eq!((holds(&alice), world.in_circulation()), (700, 700));
}
