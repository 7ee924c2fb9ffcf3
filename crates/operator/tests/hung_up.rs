//! Clients of the admin pages that hang up in the middle: a backup is whole or none all the same, and what two key holders
//! ordered is in force. Source: docs/operator.md, "Backup and restore", "Two key holders".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod world;

use std::future::poll_fn;
use std::pin::pin;
use std::process::Command;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use florin_books::{Needs, OnceKey, PartyId};
use florin_coin::{EpochError, EpochState};
use florin_operator::backup::{MANIFEST_FILE, backup};
use florin_operator::control::{Action, RAIL_NUMBER, STEP_ORDER};
use florin_operator::control_pages;
use florin_operator::epochs::EpochsError;
use tower::ServiceExt;
use world::{IBAN, World};

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds: {what}");
}

/// Begins something, and goes away at the first moment in which it waits; whether there was one.
async fn begun<T>(asked: impl Future<Output = T>) -> bool {
    let mut asked = pin!(asked);
    poll_fn(|context| Poll::Ready(asked.as_mut().poll(context).is_pending())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_crosses_until_a_backup_is_whole_although_its_client_has_gone() {
    let world = World::new(|_| {});
    world.supply(&[100]).await;
    // The copying stops at the settings, until somebody writes into the pipe.
    let settings = world.operator.state.join("operator.toml");
    assert!(Command::new("mkfifo").arg(&settings).status().unwrap().success());
    let (operator, to) = (world.operator.clone(), world.dir.path().join("backup"));
    let into = to.clone();
    let asked = tokio::spawn(async move { backup(&operator, &into).await });
    until("the second lane is copied", || to.join("identity").exists()).await;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    assert!(world.operator.crossing.try_read().is_err(), "what crosses now is in one copy only");
    assert!(!to.join(MANIFEST_FILE).exists());
    tokio::task::spawn_blocking(move || std::fs::write(settings, b"name = \"x\"\n")).await.unwrap().unwrap();
    until("the backup is whole", || to.join(MANIFEST_FILE).exists()).await;
    until("it goes on", || world.operator.crossing.try_read().is_ok()).await;
}

#[tokio::test]
async fn an_order_is_in_force_and_noted_although_its_client_has_gone() {
    let world = World::new(|_| {});
    let first = world.current();
    let order = world.signed(Action::RevokeEpoch(first, "seen".into()));
    let asked =
        Request::builder().method(Method::POST).uri("/admin/orders").body(Body::from(order.to_text()));
    let pages = control_pages::router().with_state(world.operator.clone());
    assert!(begun(pages.oneshot(asked.unwrap())).await);
    until("it is noted", || world.operator.executed().unwrap().len() == 1).await;
    assert_eq!(world.current().0, first.0 + 1);
    assert!(world.operator.published().list.epoch(first).unwrap().revoked.is_some(), "wallets are told");
}

#[tokio::test]
async fn an_order_that_is_in_the_books_only_is_put_in_force_when_it_is_given_again() {
    let world = World::new(|_| {});
    let first = world.current();
    let order = world.signed(Action::RevokeEpoch(first, "seen".into()));
    let txid = order.order_unverified().unwrap().nonce.0;
    let once = OnceKey { rail: RAIL_NUMBER, step: STEP_ORDER, party: PartyId::NONE, txid };
    assert!(begun(world.operator.execute(&order)).await);
    let needs = Needs { once: vec![once], ..Needs::default() };
    until("the books have it", || !world.operator.lanes.books.books.load(&needs).unwrap().once.is_empty())
        .await;
    assert_eq!(world.current(), first, "nobody was there to put it in force");
    world.operator.execute(&order).await.unwrap();
    assert_eq!(world.current().0, first.0 + 1);
    assert!(world.operator.published().list.epoch(first).unwrap().revoked.is_some());
    // And without its being given again, by the next look at the calendar.
    assert!(begun(world.operator.rotate_epoch(None)).await);
    for _ in 0..1_000 {
        world.operator.advance_epochs(Duration::ZERO).await.unwrap();
        if world.current().0 == first.0 + 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the calendar does not see it");
}

#[tokio::test]
async fn the_archive_of_a_dropped_epoch_is_never_written_again() {
    let world = World::new(|_| {});
    let coins = world.supply(&[100, 50]).await;
    let epoch = world.current();
    let end = world.operator.issuer.epochs().entry(epoch).unwrap().grace_end.unwrap();
    world.clock.set(end.plus_ms(1));
    world.operator.rotate_epoch(None).await.unwrap();
    world.operator.archive_epoch(epoch, None).await.unwrap();
    let file = world.dir.path().join(format!("operator/archive/epoch-{}", epoch.0));
    let archived = std::fs::read(&file).unwrap();
    world.operator.archive_epoch(epoch, None).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), archived, "it says the same already");
    // Whoever ordered the drop has gone before it was in force: the table in memory is the one from before.
    assert!(begun(world.operator.drop_epoch(epoch, None)).await);
    until("the coins are ended", || world.in_circulation() == 0).await;
    let state = || world.operator.issuer.epochs().state(epoch, end);
    assert_eq!(state(), Some(EpochState::Archived));
    for refused in
        [world.operator.archive_epoch(epoch, None).await, world.operator.drop_epoch(epoch, None).await]
    {
        let already = EpochError::Already(epoch, EpochState::Dropped);
        assert!(matches!(refused, Err(EpochsError::Table(why)) if why == already));
    }
    assert_eq!(std::fs::read(&file).unwrap(), archived);
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    assert_eq!(state(), Some(EpochState::Dropped));
    let paid = world.operator.honour(&coins.to_text(), &IBAN.parse().unwrap()).await.unwrap();
    assert_eq!(paid.coins, 2);
    world.is_clean().await;
}
