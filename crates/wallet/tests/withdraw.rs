//! A refusal ends no request for coins or money: it is not signed, and the same bytes may succeed later. What was refused is
//! withdrawn, and the operator proves it. Source: ADR 0036; found by the simulation (docs/simulation.md).
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

use florin_money::{Amount, Currency};
use florin_wallet::{BuyOptions, BuyState, RedeemAmount, RefundChoice, Wallet};
use support::{World, holds, reserved};

const WREQUEST3: &str = "/v1/coin/wrequest3";
const REFUND: &str = "/v1/coin/refund";

fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

fn forge(world: &World, forged: &[(&'static str, bool)]) {
    world.refusals.lock().unwrap().extend(forged.iter().copied());
}

async fn town(seed: u64) -> (Arc<World>, Wallet) {
    let world = World::new(seed);
    world.patience_ms.store(5_000, Ordering::SeqCst);
    let alice = world.enrolled("alice").await;
    (world, alice)
}

#[tokio::test]
async fn a_purchase_that_was_made_is_not_ended_by_a_refusal_that_somebody_writes() {
    let (world, alice) = town(80).await;
    // The operator has taken the order up; instead of its answer comes a refusal.
    forge(&world, &[(WREQUEST3, true)]);
    let bought = alice.buy(flo(400), &BuyOptions::default()).await.unwrap();
    assert_eq!((bought.state, holds(&alice), world.in_circulation()), (BuyState::Bought, 400, 400));
}

#[tokio::test]
async fn a_refused_purchase_is_over_and_its_bytes_debit_nobody_later() {
    let (world, alice) = town(81).await;
    forge(&world, &[(WREQUEST3, false)]);
    let refused = alice.buy(flo(400), &BuyOptions::default()).await.err().unwrap();
    assert_eq!(refused.slug(), "payment-denied");
    assert!(alice.status().await.unwrap().open.is_empty());
    // Whoever has seen it sends it again: it was never refused by the operator.
    let sent = world.sent.lock().unwrap().clone();
    let body = &sent.iter().find(|(to, _)| to == WREQUEST3).unwrap().1;
    assert_eq!(world.serve(WREQUEST3, body).await.err().unwrap().slug, "withdrawn");
    assert_eq!((holds(&alice), world.in_circulation()), (0, 0));
}

#[tokio::test]
async fn who_forges_the_word_of_the_withdrawal_too_ends_nothing() {
    let (world, alice) = town(82).await;
    forge(&world, &[(WREQUEST3, false), ("/v1/coin/wrequest3/withdraw", false)]);
    // It is asked again, and is no other purchase.
    let bought = alice.buy(flo(400), &BuyOptions::default()).await.unwrap();
    assert_eq!(bought.state, BuyState::Bought);
    assert_eq!(alice.status().await.unwrap().open.len(), 0);
    assert_eq!((holds(&alice), world.in_circulation()), (400, 400));
}

#[tokio::test]
async fn a_refund_that_was_refused_cannot_end_coins_that_come_later() {
    let (world, alice) = town(83).await;
    // Nothing was bought yet: every key that is asked for is unknown.
    assert!(alice.restore().await.unwrap().refunded.is_empty());
    let asked: Vec<Vec<u8>> = {
        let sent = world.sent.lock().unwrap();
        sent.iter().filter(|(to, _)| to == REFUND).map(|(_, body)| body.clone()).collect()
    };
    assert!(asked.len() > 20, "{}", asked.len());
    let options = BuyOptions { refund: RefundChoice::ByKey, ..BuyOptions::default() };
    alice.buy(flo(300), &options).await.unwrap();
    let options = BuyOptions { refund: RefundChoice::ByName, new: true, ..BuyOptions::default() };
    alice.buy(flo(300), &options).await.unwrap();
    for body in &asked {
        assert_eq!(world.serve(REFUND, body).await.err().unwrap().slug, "withdrawn");
    }
    assert_eq!((holds(&alice), world.in_circulation()), (600, 600));
    alice.redeem(RedeemAmount::All(Currency::FLO)).await.unwrap();
    assert_eq!(world.in_circulation(), 0, "the coins were as good as any");
}

#[tokio::test]
async fn coins_whose_exchange_was_done_are_not_thought_free() {
    let (world, alice) = town(84).await;
    alice.buy(flo(500), &BuyOptions::default()).await.unwrap();
    for (path, minor) in [("/v1/coin/redeem", 100), ("/v1/coin/refresh", 0), ("/v1/coin/change", 3)] {
        forge(&world, &[(path, true)]);
        let done = match minor {
            0 => alice.refresh(true).await.map(|_| ()),
            minor => alice.redeem(RedeemAmount::Exactly(flo(minor))).await.map(|_| ()),
        };
        done.unwrap();
        assert_eq!((holds(&alice), reserved(&alice)), (world.in_circulation(), 0), "{path}");
    }
    assert_eq!(world.in_circulation(), 397);
}

#[tokio::test]
async fn a_restore_takes_nothing_back_that_is_on_its_way() {
    let (world, alice) = town(85).await;
    let options = BuyOptions { refund: RefundChoice::ByName, ..BuyOptions::default() };
    alice.buy(flo(300), &options).await.unwrap();
    // The next purchase waits for the bank: a refund would end its coins before they have come.
    *world.bank_waits.lock().unwrap() = true;
    let options = BuyOptions { new: true, wait: std::time::Duration::ZERO, ..options };
    let waiting = alice.buy(flo(200), &options).await.unwrap();
    assert_eq!(waiting.state, BuyState::Waiting);
    let report = alice.restore().await.unwrap();
    assert_eq!((report.refunded.len(), report.open.len()), (0, 1));
    *world.bank_waits.lock().unwrap() = false;
    world.pump().await;
    assert_eq!(alice.restore().await.unwrap().refunded.len(), 1);
    assert_eq!((holds(&alice), world.in_circulation()), (500, 500));
}
