//! A key module that does not answer: nothing is lost, nothing is called forged. Source: VarietyCash §2.5; ADR 0031.
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
use std::sync::atomic::{AtomicBool, Ordering};

use florin_books::{Epoch, TxId};
use florin_coin::holder;
use florin_coin::issuer::{CoinModule, Issuer, Lanes, ModuleError, SoftwareModule};
use florin_parties::{Roles, Terms};
use support::*;

/// A module that can be taken out.
struct Removable {
    inner: SoftwareModule,
    away: Arc<AtomicBool>,
}

impl Removable {
    fn there(&self) -> Result<&SoftwareModule, ModuleError> {
        if self.away.load(Ordering::SeqCst) { Err(ModuleError::Away) } else { Ok(&self.inner) }
    }
}

impl CoinModule for Removable {
    fn tag(&self, epoch: Epoch, bytes: &[u8]) -> Result<[u8; 32], ModuleError> {
        self.there()?.tag(epoch, bytes)
    }

    fn verify(&self, epoch: Epoch, bytes: &[u8], tag: &[u8; 32]) -> Result<bool, ModuleError> {
        self.there()?.verify(epoch, bytes, tag)
    }
}

fn world(seed: u64) -> (World, Arc<AtomicBool>) {
    let mut w = World::new(seed);
    let away = Arc::new(AtomicBool::new(false));
    let mut own = secrets(seed);
    own.module = Box::new(Removable { inner: SoftwareModule::new(secret("tag", seed)), away: away.clone() });
    let lanes = Lanes { identity: IDENTITY, books: BOOKS };
    w.issuer = Arc::new(Issuer::new(w.keys.clone(), own, lanes, vec![register()], &Terms::default()));
    (w, away)
}

#[test]
fn a_module_that_is_away_before_the_commit_changes_nothing() {
    let (mut w, away) = world(901);
    let buyer = w.enrolled(Roles::PURCHASER);
    let payee = w.enrolled(Roles::REDEEMER);
    let coins = w.buy(&buyer, &[100]);
    let seq = w.books.lane.seq();
    away.store(true, Ordering::SeqCst);
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let change = holder::change(&key, set(&coins), list(&[50, 50]), txid, exp, &mut w.entropy).unwrap();
    let redeem =
        holder::redeem(&key, &payee.keys, set(&coins), TxId::new(w.draw()), exp, &mut w.entropy).unwrap();
    for asked in [&change, &redeem] {
        let refused = w.post(asked.path, &asked.body).unwrap_err();
        assert_eq!((refused.slug, refused.transient), ("module-away", true));
    }
    assert_eq!((w.books.lane.seq(), w.live_worth()), (seq, 100), "nothing is recorded");
    away.store(false, Ordering::SeqCst);
    let answer = w.post(change.path, &change.body).unwrap();
    assert_eq!(worth(&holder::read_exchange(&change.pending, &answer, &w.list).unwrap().coins), 100);
}

#[test]
fn a_module_that_goes_after_the_commit_costs_one_repetition() {
    let (mut w, away) = world(902);
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, &[100]);
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let asked = holder::change(&key, set(&coins), list(&[50, 50]), txid, exp, &mut w.entropy).unwrap();
    let gone = away.clone();
    w.interruption = Some(Box::new(move |_| gone.store(true, Ordering::SeqCst)));
    let refused = w.post(asked.path, &asked.body).unwrap_err();
    assert_eq!(refused.slug, "module-away");
    away.store(false, Ordering::SeqCst);
    let answer = w.post(asked.path, &asked.body).unwrap();
    let news = holder::read_exchange(&asked.pending, &answer, &w.list).unwrap();
    assert!(news.causes.is_empty(), "the coins were taken, once");
    assert_eq!((worth(&news.coins), w.live_worth()), (100, 100));
}
