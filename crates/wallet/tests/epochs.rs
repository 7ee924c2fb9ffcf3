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

use florin_books::Clock;
use florin_coin::{Calendar, CoinSet, Epochs};
use florin_crypto::{KemSecretKey, SeededEntropy, SigningKey};
use florin_parties::{SignedKeyList, Terms};
use florin_wallet::{BuyOptions, CoinMix, Output, PayOptions, PayOutcome, PayReport, Wallet};
use support::{SHOP, World, holds, reserved, signed_list};

const DAY: u64 = 24 * 60 * 60 * 1000;

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
