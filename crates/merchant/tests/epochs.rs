//! A gate whose operator revokes an epoch: no coin is written off, and everything is paid out. Source: docs/rails/coin.md,
//! "Epochs".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
#[path = "common/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use florin_books::Clock;
use florin_coin::{Calendar, Epochs};
use florin_merchant::{DeskError, Settlement};
use florin_money::{Amount, Currency};
use world::{IBAN, World};

fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

#[tokio::test]
async fn coins_of_a_revoked_epoch_are_renewed_and_paid_out() {
    let world = World::new().await;
    world.desk.enrol(IBAN, Duration::ZERO).await.unwrap();
    world.desk.confirm(&world.operator.last_code(), Duration::ZERO).await.unwrap();
    let coins = world.operator.coins(&[20, 10, 5, 2]).await;
    let (payment, _) = world.payment("/dear", coins, 1);
    assert!(matches!(world.settle("/dear", &payment).await, Settlement::Paid(_)));
    let begun = Epochs::begin(Calendar::of(&world.operator.list.terms), world.clock.now(), &[]);
    let revoked = begun.revoke(begun.entries()[0].number, world.clock.now()).unwrap();
    world.operator.issuer.set_epochs(Arc::new(revoked.clone()));
    // 0.16 takes change, which revoked coins are not taken for; new ones of the same values are.
    assert_eq!(world.desk.payout(Some(flo(16)), Duration::ZERO).await.unwrap(), flo(16));
    assert_eq!((world.purse(), world.operator.in_circulation()), (21, 21));
    assert_eq!(world.desk.payout(None, Duration::ZERO).await.unwrap(), flo(21));
    assert_eq!((world.purse(), world.operator.in_circulation()), (0, 0));
    world.finish().await;
}

#[tokio::test]
async fn coins_past_grace_are_refused_and_stay_in_the_purse() {
    let world = World::new().await;
    world.desk.enrol(IBAN, Duration::ZERO).await.unwrap();
    world.desk.confirm(&world.operator.last_code(), Duration::ZERO).await.unwrap();
    let coins = world.operator.coins(&[20, 10, 5, 2]).await;
    let (payment, _) = world.payment("/dear", coins, 1);
    assert!(matches!(world.settle("/dear", &payment).await, Settlement::Paid(_)));
    world.clock.forward(300 * 86_400_000);
    let late = world.desk.payout(None, Duration::ZERO).await;
    assert!(matches!(late, Err(DeskError::BadCoins(0))), "{late:?}");
    assert_eq!((world.purse(), world.operator.in_circulation()), (37, 37));
    world.finish().await;
}

/// An operator that winds down: in the grace period of the last coins nothing is changed any more, and all of them are paid out.
#[tokio::test]
async fn where_nothing_is_issued_any_more_all_coins_are_redeemed_as_they_are() {
    let world = World::new().await;
    world.desk.enrol(IBAN, Duration::ZERO).await.unwrap();
    world.desk.confirm(&world.operator.last_code(), Duration::ZERO).await.unwrap();
    for n in 0..40 {
        let (payment, _) = world.payment("/paid/a", world.operator.coins(&[5]).await, n);
        assert!(matches!(world.settle("/paid/a", &payment).await, Settlement::Paid(_)));
    }
    world.finish().await;
    let epochs = Epochs::begin(Calendar::of(&world.operator.list.terms), world.clock.now(), &[]);
    let last = epochs.entries()[0];
    world.operator.issuer.set_epochs(Arc::new(epochs));
    world.clock.forward(last.expires.since(world.clock.now()) + 86_400_000);
    let some = world.desk.payout(Some(flo(3)), Duration::ZERO).await;
    assert!(matches!(&some, Err(DeskError::Refused(why)) if why.starts_with("issuing-ended")), "{some:?}");
    assert_eq!(world.desk.payout(None, Duration::ZERO).await.unwrap(), flo(200), "in two bank orders");
    assert_eq!((world.purse(), world.operator.in_circulation()), (0, 0));
    world.finish().await;
}
