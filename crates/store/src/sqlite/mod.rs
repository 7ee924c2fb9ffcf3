//! The SQLite store: the SQLite file, and the second durable copy. Source: books.md, "Lanes and stores".
//!
//! A directory (mode 0700) holds `books.db` (and its write-ahead log), `second-NNNNNN.log`, `lock` and `reserve`.

mod filter;
mod fold;
mod forward;
mod inspect;
mod keys;
mod lock;
mod log;
mod opening;
mod reads;
mod repair;
mod retain;
mod schema;
mod second;
mod segment;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use florin_books::{LaneId, Seq};

pub use keys::StoreKeys;

use crate::contract::{Copied, Log, Reads, StoreError};
use filter::Filter;
use keys::RowSum;
use lock::{Lock, Room, make_dir};
use log::{Opened, SqliteLog};
use reads::SqliteReads;
use repair::Repair;
use second::Second;

/// How a store is kept.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// How long to wait for another process that is using the directory.
    pub lock_wait: Duration,
    /// Below so many free bytes nothing is accepted any more.
    pub min_free: u64,
    /// A segment of the second copy ends after so many bytes.
    pub segment_bytes: u64,
    /// A store up to this size is checked whole at every start; a larger one from its last checkpoint on.
    pub full_check_bytes: u64,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_secs(10),
            min_free: 64 << 20,
            segment_bytes: 16 << 20,
            full_check_bytes: 64 << 20,
        }
    }
}

/// An SQLite store that was opened: its two halves.
pub struct SqliteStore {
    log: SqliteLog,
    reads: SqliteReads,
}

impl SqliteStore {
    /// Makes an empty store.
    ///
    /// # Errors
    /// `Foreign` where there are books already, `Busy`, `Fatal`.
    pub fn create(
        dir: &Path,
        lane: LaneId,
        keys: StoreKeys,
        options: SqliteOptions,
    ) -> Result<Self, StoreError> {
        make_dir(dir)?;
        let lock = Lock::take(dir, options.lock_wait)?;
        let file = schema::path(dir);
        if file.exists() || second::path(dir, 1).exists() {
            return Err(schema::foreign(&file, "there are books already"));
        }
        let room = Room::begin(dir, options.min_free)?;
        let mut conn = schema::open_writer(&file)?;
        schema::create(&mut conn, &file, &keys, lane)?;
        let second = Second::create(dir, &keys, lane, options.segment_bytes, Seq(0))?;
        second::sync_dir(dir)?;
        let opened = Opened { conn, second, last: Seq(0), chain: None, rows: RowSum::default() };
        Self::join(dir, lane, keys, options, opened, room, lock)
    }

    /// Opens a store: both copies are checked, and the better one mends the other.
    ///
    /// # Errors
    /// `Busy`, `Foreign` (another program, format, lane or key), `Damaged` (no copy is whole, or they differ), `Fatal`.
    pub fn open(
        dir: &Path,
        lane: LaneId,
        keys: StoreKeys,
        options: SqliteOptions,
    ) -> Result<Self, StoreError> {
        if !dir.is_dir() {
            return Err(schema::foreign(dir, "there are no books"));
        }
        let lock = Lock::take(dir, options.lock_wait)?;
        let room = Room::begin(dir, options.min_free)?;
        let opened = Repair { dir, lane, keys: &keys, options: &options }.settle()?;
        Self::join(dir, lane, keys, options, opened, room, lock)
    }

    fn join(
        dir: &Path,
        lane: LaneId,
        keys: StoreKeys,
        options: SqliteOptions,
        opened: Opened,
        mut room: Room,
        lock: Lock,
    ) -> Result<Self, StoreError> {
        // A full disk does not keep the books from being read.
        match room.check() {
            Ok(()) | Err(StoreError::Full) => {}
            Err(error) => return Err(error),
        }
        let (keys, file) = (Arc::new(keys), schema::path(dir));
        let filter = Arc::new(Filter::new(opened.last == Seq(0)));
        let log = SqliteLog::new(opened, &file, lane, (Arc::clone(&keys), Arc::clone(&filter)), room, lock)?;
        Ok(Self { log, reads: SqliteReads::new(dir, lane, keys, options, filter)? })
    }

    /// Checks books that nobody has open, such as a backup: every byte of both copies, without changing anything.
    ///
    /// # Errors
    /// `Foreign`, `Damaged`, `Fatal`.
    pub fn check(dir: &Path, lane: LaneId, keys: &StoreKeys) -> Result<Copied, StoreError> {
        repair::check_copy(dir, lane, keys)
    }

    /// The two halves that [`crate::Books::start`] takes.
    #[must_use]
    pub fn split(self) -> (Box<dyn Log>, Arc<dyn Reads>) {
        (Box::new(self.log), Arc::new(self.reads))
    }
}
