//! Each epoch has a tag key of its own in the module's vault: made before the epoch, kept over restarts, forgotten a
//! good while after the drop. A vault that was copied before tells nothing of later keys, and one that is too old stops the start.
//! Source: VarietyCash §2.4; docs/operator.md, "If a key was seen"; ADR 0031.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use florin_books::{Clock, Epoch};
use florin_coin::issuer::{TAG, epoch_info, proof_bytes};
use florin_coin::messages::Outcome;
use florin_coin::{CoinCause, CoinSet, EpochState};
use florin_crypto::{MacKey, Secret, derive};
use florin_money::Currency;
use florin_operator::OperatorError;
use florin_operator::calendar::KEY_KEPT_MS;
use florin_operator::control::Action;
use florin_operator::module::ModuleFault;
use florin_shell::Passphrase;
use florin_shell::entropy::OsEntropy;
use florin_shell::exit::ExitCode;
use florin_shell::vault::Vault;
use world::{DAY, IBAN, World};

fn folder(dir: &Path) -> PathBuf {
    dir.join("operator/module")
}

fn vault(dir: &Path) -> Vault {
    Vault::open(&folder(dir), None, &Passphrase::none()).unwrap()
}

fn names(world: &World) -> Vec<String> {
    vault(world.dir.path()).names().map(str::to_owned).collect()
}

fn name(epoch: Epoch) -> String {
    format!("coin-tag-{}", epoch.0)
}

/// What somebody who has this secret can tag as the epoch's key.
fn tagged(secret: &Secret<32>, epoch: Epoch) -> [u8; 32] {
    MacKey::new(&derive(&[secret.expose()], &epoch_info(epoch))).tag(TAG, &[&proof_bytes(epoch)])
}

fn proof(world: &World, epoch: Epoch) -> [u8; 32] {
    world.operator.issuer.epochs().entry(epoch).unwrap().key.unwrap().0
}

#[tokio::test]
async fn what_was_stolen_before_a_rotation_or_a_revocation_makes_no_tag_after_it() {
    let world = World::new(|_| {});
    let old = world.supply(&[100, 50]).await.coins;
    let first = world.current();
    // The next epoch is made ahead of time: its key can be stolen too.
    let until = world.operator.issuer.epochs().entry(first).unwrap().until;
    world.clock.set(until.minus_ms(DAY));
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    let ahead = Epoch(first.0 + 1);
    let stolen = vault(world.dir.path());
    assert_eq!(names(&world), ["coin-tag".to_owned(), name(first), name(ahead)]);
    world.execute(Action::Rotate).await.unwrap();
    let rotated = world.current();
    world.execute(Action::RevokeEpoch(rotated, "seen".into())).await.unwrap();
    let after = world.current();
    assert_eq!((rotated.0, after.0), (ahead.0 + 1, ahead.0 + 2), "none that was there to be stolen");
    for epoch in [rotated, after] {
        let secret = vault(world.dir.path()).secret(&name(epoch)).unwrap();
        assert_eq!(tagged(&secret, epoch), proof(&world, epoch), "its own key, and this is how it is used");
        for known in stolen.names() {
            assert_ne!(tagged(&stolen.secret(known).unwrap(), epoch), proof(&world, epoch), "{known}");
        }
    }
    world.clock.set(until.plus_ms(DAY));
    assert_eq!(world.current(), after, "the one whose key was stolen never issues");
    let new = world.supply(&[20]).await.coins;
    assert_eq!(new[0].epoch, after);
    // After a restart the keys are those that they were.
    let proofs = [first, ahead, rotated, after].map(|epoch| proof(&world, epoch));
    let world = world.reopen();
    let module = world.operator.issuer.module();
    let read = [first, ahead, rotated, after].map(|epoch| module.proof_of(epoch).unwrap().unwrap());
    assert_eq!(read, proofs);
    let working = world.works();
    let person = world.person().await;
    assert_eq!(world.pay(&person, &[old, new].concat()).await.0.verdict.outcome, Outcome::Paid);
    world.is_clean().await;
    working.ends().await;
}

#[tokio::test]
async fn a_key_that_is_there_under_a_new_number_is_used_and_never_replaced() {
    let world = World::new(|_| {});
    let coins = world.supply(&[100]).await.coins;
    let next = Epoch(world.current().0 + 1);
    world.operator.issuer.module().prepare(next).unwrap();
    // Left by a crash before the table was written, or by the lost part of books that were restored.
    let left = vault(world.dir.path()).secret(&name(next)).unwrap();
    world.operator.issuer.module().prepare(next).unwrap();
    let world = world.reopen();
    world.operator.issuer.module().prepare(next).unwrap();
    assert!(world.operator.issuer.epochs().entry(next).is_none());
    world.execute(Action::Rotate).await.unwrap();
    assert_eq!(world.current(), next);
    assert_eq!(tagged(&left, next), proof(&world, next), "coins that it has tagged are known by it");
    let fresh = world.change(&coins, &[100]).await;
    assert!(fresh.causes.is_empty() && fresh.coins[0].epoch == next);
    let world = world.reopen();
    assert!(world.change(&fresh.coins, &[50, 50]).await.causes.is_empty());
    world.is_clean().await;
}

#[tokio::test]
async fn an_epoch_whose_key_cannot_be_written_down_does_not_begin() {
    let world = World::new(|_| {});
    let (first, file) = (world.current(), folder(world.dir.path()).join("keys.vault"));
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, b"something else").unwrap();
    assert!(world.operator.rotate_epoch(None).await.is_err());
    assert_eq!((world.current(), world.operator.issuer.epochs().entries().len()), (first, 1));
    assert!(!world.supply(&[5]).await.coins.is_empty(), "what is there goes on");
    std::fs::write(&file, whole).unwrap();
    world.operator.rotate_epoch(None).await.unwrap();
    assert_eq!(world.current().0, first.0 + 1);
    world.reopen().is_clean().await;
}

/// Replaces the vault by what `bend` makes of it.
async fn with_another_vault(bend: impl FnOnce(&Path, Epoch, Vec<u8>)) -> OperatorError {
    let world = World::new(|_| {});
    world.supply(&[10]).await;
    let copy = std::fs::read(folder(world.dir.path()).join("keys.vault")).unwrap();
    world.execute(Action::Rotate).await.unwrap();
    world.supply(&[5]).await;
    let epoch = world.current();
    world.does_not_open(|dir| bend(&folder(dir), epoch, copy))
}

#[tokio::test]
async fn a_vault_that_has_not_the_key_of_an_epoch_stops_the_start() {
    let older = with_another_vault(|dir, _, copy| std::fs::write(dir.join("keys.vault"), copy).unwrap());
    let another = with_another_vault(|dir, epoch, _| {
        let mut vault = Vault::open(dir, None, &Passphrase::none()).unwrap();
        vault.replace(&name(epoch), Secret::random(&mut OsEntropy), &mut OsEntropy).unwrap();
    });
    for refused in [older.await, another.await] {
        assert!(matches!(refused, OperatorError::Module(ModuleFault::EpochKey(_))), "{refused}");
        assert_eq!(refused.exit_code(), ExitCode::BadData);
        assert!(refused.to_string().contains("module/keys.vault"), "{refused}");
    }
}

#[tokio::test]
async fn the_key_of_a_dropped_epoch_is_forgotten_and_its_late_holder_is_paid() {
    let world = World::new(|_| {});
    let coins = world.supply(&[100, 50]).await.coins;
    let first = world.current();
    let set = |coins: &[florin_coin::Coin]| CoinSet::new(coins.to_vec(), Currency::FLO).unwrap().to_text();
    let end = world.operator.issuer.epochs().entry(first).unwrap().grace_end.unwrap();
    world.clock.set(end.plus_ms(1));
    world.operator.rotate_epoch(None).await.unwrap();
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    let state = world.operator.issuer.epochs().state(first, world.clock.now());
    assert_eq!((state, world.in_circulation()), (Some(EpochState::Dropped), 0));
    // Until no backup from before the drop would be restored.
    world.clock.later(KEY_KEPT_MS);
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    assert!(names(&world).contains(&name(first)));
    world.clock.later(1);
    world.operator.advance_epochs(Duration::from_secs(60)).await.unwrap();
    assert!(names(&world).contains(&name(first)), "nor while the clock has said so for a moment only");
    // The vault cannot be written just then: the key goes with a later look.
    let file = folder(world.dir.path()).join("keys.vault");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, b"something else").unwrap();
    assert!(world.operator.advance_epochs(Duration::ZERO).await.is_err());
    std::fs::write(&file, whole).unwrap();
    assert!(names(&world).contains(&name(first)));
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    assert!(!names(&world).contains(&name(first)), "{:?}", names(&world));
    assert_eq!(world.operator.issuer.module().proof_of(first), Ok(None));
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();

    let world = world.reopen();
    let late = world.change(&coins[..1], &[100]).await;
    assert_eq!(late.causes[0].cause, CoinCause::Expired, "not forged: a wallet keeps it");
    let to = IBAN.parse().unwrap();
    for bend in [
        |c: &mut florin_coin::Coin| c.tag.0[0] ^= 1,
        |c: &mut florin_coin::Coin| c.expires = c.expires.plus_ms(1),
    ] {
        let mut forged = coins.clone();
        bend(&mut forged[0]);
        let refused = world.operator.honour(&set(&forged), &to).await.err().unwrap();
        assert!(refused.to_string().contains("coin-forged"), "{refused}");
    }
    assert_eq!(world.operator.honour(&set(&coins), &to).await.unwrap().coins, 2);
    assert!(world.operator.honour(&set(&coins[..1]), &to).await.is_err(), "once");
    world.is_clean().await;
}

/// The books of another moment, in the place of the present ones.
fn put_back(dir: &Path, books: &Path) {
    let lane = dir.join("operator/books");
    std::fs::remove_dir_all(&lane).unwrap();
    copy(books, &lane);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&entry, to.join(entry.file_name().unwrap())).unwrap();
    }
}

#[tokio::test]
async fn books_from_before_a_drop_open_with_the_module_of_today() {
    let world = World::new(|_| {});
    let coins = world.supply(&[100, 50]).await.coins;
    let first = world.current();
    let end = world.operator.issuer.epochs().entry(first).unwrap().grace_end.unwrap();
    world.clock.set(end.minus_ms(DAY));
    let before = world.dir.path().join("before");
    world.operator.lanes.books.books.backup(&before).unwrap();
    world.clock.later(2 * DAY);
    world.operator.archive_epoch(first, None).await.unwrap();
    // By order too the key stays.
    world.operator.drop_epoch(first, None).await.unwrap();
    world.clock.later(20 * DAY);
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    let (dir, clock) = (world.dir.path().to_owned(), world.clock.clone());
    let world = world.reopen_with(|_| put_back(&dir, &before));
    clock.set(end.minus_ms(DAY));
    assert_eq!(world.in_circulation(), 150);
    // The calendar's first look begins an epoch: there was none after the coins' own.
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    let fresh = world.refresh(&coins).await;
    assert!(fresh.causes.is_empty(), "its key knows them: {:?}", fresh.causes);
}
