//! The appending half: one SQL transaction a batch, and the second copy synced at the same time.
//! Source: books.md, "Two durable copies of each batch"; reliability.md, findings 3 and 5.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use florin_books::{Entry, LaneId, Seq, Snapshot, Timestamp};
use florin_crypto::Digest;
use rusqlite::{Connection, params};

use super::filter::Filter;
use super::fold::{Base, Folding, Putting, Share};
use super::inspect::{checkpoint, column};
use super::keys::{RowSum, StoreKeys};
use super::lock::{Lock, Room};
use super::schema::{error, io};
use super::second::Second;
use crate::contract::{Fence, Log, OwnerId, Recovered, StoreError, StoredOpening, Stripped};

/// A batch on its way to the second copy.
enum Job {
    Write {
        first: Seq,
        last: Seq,
        body: Arc<[u8]>,
    },
    /// The segment ends, and the next one begins.
    Roll,
}

/// The thread that writes the second copy while SQLite commits.
struct Helper {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Result<(), StoreError>>,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    fn start(mut second: Second, keys: Arc<StoreKeys>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(1);
        let (answer, done) = sync_channel(1);
        let thread = thread::Builder::new().name("second-copy".into()).spawn(move || {
            for job in queue {
                let result = match job {
                    Job::Write { first, last, body } => {
                        second.write(&keys, first, last, &body).and_then(|()| second.sync())
                    }
                    Job::Roll => second.roll(&keys),
                };
                if answer.send(result).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread) })
    }

    fn begin(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing left to say.
            let _ = thread.join();
        }
    }
}

/// The writer of an SQLite store. Fields drop in this order: the lock last.
pub(crate) struct SqliteLog {
    pub(super) conn: Connection,
    helper: Helper,
    pub(super) file: PathBuf,
    pub(super) lane: LaneId,
    pub(super) keys: Arc<StoreKeys>,
    last: Seq,
    chain: Option<Digest>,
    rows: RowSum,
    pub(super) base: Base,
    folding: Option<Folding>,
    filter: Arc<Filter>,
    fence: u64,
    broken: bool,
    room: Room,
    _lock: Lock,
}

/// What is known of a store that was opened.
pub(crate) struct Opened {
    pub(crate) conn: Connection,
    pub(crate) second: Second,
    pub(crate) last: Seq,
    pub(crate) chain: Option<Digest>,
    pub(crate) rows: RowSum,
}

impl SqliteLog {
    pub(crate) fn new(
        opened: Opened,
        file: &Path,
        lane: LaneId,
        (keys, filter): (Arc<StoreKeys>, Arc<Filter>),
        room: Room,
        lock: Lock,
    ) -> Result<Self, StoreError> {
        let Opened { conn, second, last, chain, rows } = opened;
        conn.set_prepared_statement_cache_capacity(32);
        let helper = Helper::start(second, Arc::clone(&keys)).map_err(io(file))?;
        let (file, fence) = (file.into(), 0);
        Ok(Self {
            conn,
            helper,
            file,
            lane,
            keys,
            last,
            chain,
            rows,
            base: Base::default(),
            folding: None,
            filter,
            fence,
            broken: false,
            room,
            _lock: lock,
        })
    }

    /// One transaction: a batch, a share of the fold under way, or both.
    fn commit(&mut self, batch: Option<(Seq, Seq, &[u8])>, share: Share) -> Result<Option<Seq>, StoreError> {
        let mut rows = self.rows;
        let mut folding = match &mut self.folding {
            Some(folding) => folding.is_due(share)?.then_some(folding),
            None => None,
        };
        if batch.is_none() && folding.is_none() {
            return Ok(None);
        }
        let whole = (|| {
            let tx = self.conn.transaction()?;
            if let Some((first, last, body)) = batch {
                tx.prepare_cached("INSERT INTO batch VALUES (?1, ?2, ?3)")?.execute(params![
                    column(first.0),
                    column(last.0),
                    body
                ])?;
            }
            let whole = match &mut folding {
                Some(folding) => {
                    let (keys, lane, base) = (&*self.keys, self.lane, self.base);
                    Putting { tx: &tx, keys, lane, base, rows: &mut rows }.run(folding, share)?
                }
                None => None,
            };
            tx.commit()?;
            Ok(whole)
        })()
        .map_err(error(&self.file))?;
        self.rows = rows;
        if let Some(base) = whole {
            self.base = base;
            self.folding = None;
        }
        Ok(whole.map(|base| base.seq))
    }

    fn both(&mut self, first: Seq, entries: &[Entry]) -> Result<Option<Seq>, StoreError> {
        let Some(end) = entries.last() else { return Ok(None) };
        let last = end.record.core.seq;
        let body: Arc<[u8]> = self.keys.seal_batch(self.lane, first, last, entries).into();
        let begun = self.helper.begin(Job::Write { first, last, body: Arc::clone(&body) });
        let committed = self.commit(Some((first, last, &body)), Share::Due(last));
        let copied = if begun {
            self.helper.done.recv().unwrap_or(Err(StoreError::Unknown))
        } else {
            Err(StoreError::Unknown)
        };
        let whole = committed?;
        copied?;
        (self.last, self.chain) = (last, Some(end.chain));
        Ok(whole)
    }

    /// After an error the system may have forgotten what it did not write (finding 5): never go on.
    fn or_broken<T>(
        &mut self,
        fence: Fence,
        act: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if fence.0 != self.fence {
            return Err(StoreError::Fenced);
        }
        if self.broken {
            return Err(StoreError::Unknown);
        }
        let result = act(self);
        self.broken = result.is_err();
        result
    }
}

impl Log for SqliteLog {
    fn acquire(&mut self, lane: LaneId, _: OwnerId) -> Result<Recovered, StoreError> {
        if lane != self.lane {
            return Err(StoreError::Foreign { file: self.file.display().to_string(), why: "another lane" });
        }
        self.fence = self.fence.saturating_add(1);
        let folded = checkpoint(&self.conn, &self.file, &self.keys, self.lane)?;
        self.base = folded.as_ref().map_or_else(Base::default, |c| c.base);
        self.folding = None;
        Ok(Recovered {
            fence: Fence(self.fence),
            checkpoint: folded.map(|c| c.bytes),
            last: self.last,
            chain: self.chain,
            name: self.file.display().to_string(),
        })
    }

    fn has_room(&mut self) -> Result<(), StoreError> {
        self.room.check()
    }

    fn append(&mut self, fence: Fence, first: Seq, entries: &[Entry]) -> Result<Option<Seq>, StoreError> {
        self.or_broken(fence, |log| {
            if first != log.last.next() {
                return Err(StoreError::Unknown);
            }
            log.both(first, entries)
        })
    }

    fn begin_fold(&mut self, fence: Fence, snapshot: Snapshot, within: u64) -> Result<(), StoreError> {
        self.or_broken(fence, |log| {
            let (keys, filter) = (Arc::clone(&log.keys), Arc::clone(&log.filter));
            log.folding = Some(Folding::begin(snapshot, within, log.lane, keys, filter, &log.file)?);
            Ok(())
        })
    }

    fn fold(&mut self, fence: Fence, all: bool) -> Result<Option<Seq>, StoreError> {
        let share = if all { Share::All } else { Share::Little };
        self.or_broken(fence, |log| log.commit(None, share))
    }

    fn strip(&mut self, fence: Fence, before: Timestamp) -> Result<Stripped, StoreError> {
        self.or_broken(fence, |log| log.strip_slice(before))
    }

    fn roll(&mut self, fence: Fence) -> Result<(), StoreError> {
        self.or_broken(fence, |log| {
            let begun = log.helper.begin(Job::Roll);
            if begun {
                log.helper.done.recv().unwrap_or(Err(StoreError::Unknown))
            } else {
                Err(StoreError::Unknown)
            }
        })
    }

    fn begin_at(&mut self, fence: Fence, opening: &StoredOpening) -> Result<(), StoreError> {
        self.or_broken(fence, |log| log.begin_at(opening))
    }

    fn drop_some(&mut self, fence: Fence) -> Result<bool, StoreError> {
        self.or_broken(fence, Self::drop_slice)
    }
}
