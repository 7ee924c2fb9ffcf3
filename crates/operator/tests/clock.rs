//! A machine's clock that is set while the operator runs, or before it starts. Source: books.md (lane time never goes back);
//! ADR 0034.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod world;

use std::time::Duration;

use florin_coin::messages::Outcome;
use world::{DAY, START, World};

/// Whatever the clock does for a while, payments and exchanges go on afterwards as if nothing had been.
#[tokio::test]
async fn a_step_of_the_clock_that_is_put_right_stops_nobody() {
    let world = World::new(|_| {});
    let working = world.works();
    let shop = world.person().await;
    working.ends().await;
    let coins = world.supply(&[100, 50]).await;
    let (epoch, epochs) = (world.current(), world.operator.issuer.epochs().published());
    let mut world = world.reopen_steady();
    let mut paid = coins.coins;
    for ms in [405 * DAY, 3 * DAY, 60 * 60 * 1000] {
        world.clock.later(ms);
        assert_eq!(world.operator.clock.off_by_ms(), i64::try_from(ms).ok());
        // The operator works on by itself, and something is written.
        let working = world.works();
        tokio::time::sleep(Duration::from_millis(200)).await;
        working.ends().await;
        world.operator.advance_epochs(Duration::ZERO).await.unwrap();
        world.operator.clock.now();
        let none = world.operator.lanes.books.books.view(florin_books::Lane::time).unwrap();
        assert!(none <= START.plus_ms(60_000), "{none:?}");
        world.clock.set(START);
        let (issuance, news) = world.pay(&shop, &paid).await;
        assert_eq!(news.verdict.outcome, Outcome::Paid, "{ms}");
        paid = world.refresh(&issuance.coins).await.coins;
        assert_eq!((paid.len(), world.in_circulation()), (2, 150));
    }
    assert_eq!(world.operator.issuer.epochs().published(), epochs);
    world = world.reopen();
    assert_eq!(world.current(), epoch);
    world.operator.look().unwrap();
    world.is_clean().await;
}

/// Books that have followed a wrong clock take nothing until it is as late as they are: they say so instead of serving.
#[tokio::test]
async fn books_ahead_of_the_clock_are_not_served() {
    let world = World::new(|_| {});
    world.clock.later(3 * DAY);
    world.supply(&[100]).await;
    world.clock.set(START);
    let world = world.reopen();
    let error = world.operator.look().unwrap_err();
    assert_eq!((error.slug(), error.exit_code().number()), ("clock-behind-books", 78), "{error}");
    assert_eq!(world.operator.may_serve().await.unwrap_err().slug(), "clock-behind-books");
    assert_eq!(world.operator.accept("no").await.unwrap_err().slug(), "clock-behind-books");
    world.clock.set(START.plus_ms(3 * DAY));
    world.operator.look().unwrap();
    // A little is nothing: clocks differ, and are corrected.
    world.clock.set(START.plus_ms(3 * DAY - 15_000));
    world.operator.look().unwrap();
}
