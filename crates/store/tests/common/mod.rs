//! What the store's tests share: a lane with one register, transitions, stores of both kinds.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use florin_books::*;
use florin_crypto::{Digest, Secret, digest};
use florin_money::{Amount, Currency, CurrencyCode, Denominations};
use florin_store::*;

pub const LANE: LaneId = LaneId(7);
pub const KIND: DocumentKind = DocumentKind(3);
pub const MARKER: &[u8] = b"a-marker-that-nobody-may-find";

/// A clock that goes on by a millisecond each time it is read.
pub struct Ticks(pub AtomicU64);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

pub fn ticks() -> Arc<Ticks> {
    Arc::new(Ticks(AtomicU64::new(1_000_000)))
}

pub fn spec() -> LaneSpec {
    let denominations = Denominations::new(Currency::FLO, vec![1, 2, 5, 10]).unwrap();
    LaneSpec { lane: LANE, registers: vec![RegisterSpec { id: RegisterId(1), denominations }] }
}

pub fn flo() -> CurrencyCode {
    Currency::FLO.code()
}

pub fn amount(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

pub fn cause(n: u64) -> Digest {
    digest("test/cause", &[&n.to_be_bytes()])
}

pub fn id(n: u64) -> [u8; 16] {
    cause(n).short()
}

pub fn key(n: u64) -> DocumentKey {
    DocumentKey::new(KIND, id(n))
}

pub fn once(n: u64) -> OnceKey {
    OnceKey { rail: 1, step: 1, party: PartyId::NONE, txid: id(n) }
}

pub fn party(n: u64) -> Account {
    Account::Party(PartyId::new(id(n)))
}

/// A purchase of coins: money in, coins out, a document, a once key, a mark, an entry of the outbox.
pub fn buy(n: u64, as_of: Seq) -> Transition {
    let mut t = Transition::new(cause(n), as_of);
    t.once.push(once(n));
    t.marks.push(Mark { kind: KIND, id: id(n), until: Timestamp(u64::MAX >> 1) });
    t.creates.push(Issue { epoch: Epoch(1), denomination: denomination(3), count: 2 });
    t.creates.push(Issue { epoch: Epoch(1), denomination: denomination(0), count: 1 });
    t.post(Account::Bank(0), Account::Register(RegisterId(1)), amount(21));
    t.write(key(n), [MARKER, &n.to_be_bytes()].concat());
    t.emit(EffectId::new(id(n)), 1, Timestamp(0), MARKER.to_vec());
    t.seed = [MARKER, b"seed"].concat();
    t
}

pub fn denomination(index: u16) -> DenominationId {
    DenominationId::new(RegisterId(1), index).unwrap()
}

pub fn ten(counter: u64) -> TokenNumber {
    TokenNumber { lane: LANE, epoch: Epoch(1), denomination: denomination(3), counter }
}

/// Pays a coin of ten to a participant.
pub fn spend(n: u64, counter: u64, to: u64, as_of: Seq) -> Transition {
    let mut t = Transition::new(cause(n), as_of);
    t.once.push(once(n));
    t.consumes.push(ten(counter));
    t.post(Account::Register(RegisterId(1)), party(to), amount(10));
    t.write(key(1_000_000 + to), n.to_be_bytes().to_vec());
    t
}

pub fn keys(n: u8) -> StoreKeys {
    StoreKeys::new(&Secret::new([n; 32]))
}

pub fn sqlite_options() -> SqliteOptions {
    SqliteOptions { lock_wait: Duration::from_millis(200), ..SqliteOptions::default() }
}

pub fn options(fold_every: u64) -> Options {
    // No folding between two commits: what is on the disk depends on the commits alone.
    Options { fold_every, fold_idle: Duration::from_secs(3600), ..Options::default() }
}

pub fn start((log, reads): Halves, fold_every: u64) -> Result<Books, StoreError> {
    Books::start(log, reads, spec(), OwnerId([1; 16]), ticks(), &options(fold_every))
}

/// The two halves of a store.
pub type Halves = (Box<dyn Log>, Arc<dyn Reads>);

/// A store of either kind that can be opened again.
pub trait Place {
    fn open(&self) -> Result<Halves, StoreError>;
    /// Books out of a backup.
    fn open_backup(&self, dir: &Path) -> Result<Halves, StoreError>;
}

pub struct InMemory(pub MemoryStore);

impl Place for InMemory {
    fn open(&self) -> Result<Halves, StoreError> {
        self.0.restart(5);
        Ok(self.0.split())
    }
    fn open_backup(&self, dir: &Path) -> Result<Halves, StoreError> {
        Ok(MemoryStore::from_backup(dir)?.split())
    }
}

pub struct OnDisk(pub PathBuf);

impl Place for OnDisk {
    fn open(&self) -> Result<Halves, StoreError> {
        self.open_backup(&self.0)
    }
    fn open_backup(&self, dir: &Path) -> Result<Halves, StoreError> {
        if dir.join("books.db").exists() {
            return Ok(SqliteStore::open(dir, LANE, keys(1), sqlite_options())?.split());
        }
        Ok(SqliteStore::create(dir, LANE, keys(1), sqlite_options())?.split())
    }
}

/// Copies a directory as it lies on the disk, as a crash would leave it.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
