//! The appending half: one SQL transaction a batch, and the second copy synced at the same time.
//! Source: books.md, "Two durable copies of each batch"; reliability.md, findings 3 and 5.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use florin_books::{Entry, LaneId, Seq, Timestamp};
use florin_crypto::Digest;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::inspect::{checkpoint, column, document_tag, mark_tag, once_tag, seq};
use super::keys::{RowSum, StoreKeys};
use super::lock::{Lock, Room};
use super::schema::{error, io};
use super::second::Second;
use crate::contract::{Fence, Folded, Log, OwnerId, Recovered, StoreError, StoredOpening, Stripped};

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
        keys: Arc<StoreKeys>,
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
            fence,
            broken: false,
            room,
            _lock: lock,
        })
    }

    fn commit(
        &mut self,
        first: Seq,
        last: Seq,
        body: Option<&[u8]>,
        fold: Option<&Folded>,
    ) -> Result<RowSum, StoreError> {
        let mut rows = self.rows;
        (|| {
            let tx = self.conn.transaction()?;
            if let Some(body) = body {
                tx.prepare_cached("INSERT INTO batch VALUES (?1, ?2, ?3)")?.execute(params![
                    column(first.0),
                    column(last.0),
                    body
                ])?;
            }
            if let Some(fold) = fold {
                Folding { tx: &tx, keys: &self.keys, lane: self.lane, rows: &mut rows }.run(fold)?;
            }
            tx.commit()
        })()
        .map_err(error(&self.file))?;
        Ok(rows)
    }

    fn both(&mut self, first: Seq, entries: &[Entry], fold: Option<&Folded>) -> Result<(), StoreError> {
        let Some(end) = entries.last() else {
            self.rows = self.commit(first, first, None, fold)?;
            return Ok(());
        };
        let last = end.record.core.seq;
        let body: Arc<[u8]> = self.keys.seal_batch(self.lane, first, last, entries).into();
        let begun = self.helper.begin(Job::Write { first, last, body: Arc::clone(&body) });
        let committed = self.commit(first, last, Some(&body), fold);
        let copied = if begun {
            self.helper.done.recv().unwrap_or(Err(StoreError::Unknown))
        } else {
            Err(StoreError::Unknown)
        };
        self.rows = committed?;
        copied?;
        (self.last, self.chain) = (last, Some(end.chain));
        Ok(())
    }
}

impl SqliteLog {
    fn guarded<T>(
        &mut self,
        fence: Fence,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if fence.0 != self.fence {
            return Err(StoreError::Fenced);
        }
        if self.broken {
            return Err(StoreError::Unknown);
        }
        let result = work(self);
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
        Ok(Recovered {
            fence: Fence(self.fence),
            checkpoint: folded.map(|(_, _, bytes)| bytes),
            last: self.last,
            chain: self.chain,
            name: self.file.display().to_string(),
        })
    }

    fn has_room(&mut self) -> Result<(), StoreError> {
        self.room.check()
    }

    fn append(
        &mut self,
        fence: Fence,
        first: Seq,
        entries: &[Entry],
        fold: Option<&Folded>,
    ) -> Result<(), StoreError> {
        if fence.0 != self.fence {
            return Err(StoreError::Fenced);
        }
        // After an error the system may have forgotten what it did not write (finding 5): never go on.
        if self.broken || first != self.last.next() {
            return Err(StoreError::Unknown);
        }
        let result = self.both(first, entries, fold);
        self.broken = result.is_err();
        result
    }

    fn strip(&mut self, fence: Fence, before: Timestamp) -> Result<Stripped, StoreError> {
        self.guarded(fence, |log| log.strip_slice(before))
    }

    fn roll(&mut self, fence: Fence) -> Result<(), StoreError> {
        self.guarded(fence, |log| {
            let begun = log.helper.begin(Job::Roll);
            if begun {
                log.helper.done.recv().unwrap_or(Err(StoreError::Unknown))
            } else {
                Err(StoreError::Unknown)
            }
        })
    }

    fn begin_at(&mut self, fence: Fence, opening: &StoredOpening) -> Result<(), StoreError> {
        self.guarded(fence, |log| log.begin_at(opening))
    }

    fn drop_some(&mut self, fence: Fence) -> Result<bool, StoreError> {
        self.guarded(fence, Self::drop_slice)
    }
}

/// One fold, inside the transaction of its batch.
struct Folding<'a> {
    tx: &'a Transaction<'a>,
    keys: &'a StoreKeys,
    lane: LaneId,
    rows: &'a mut RowSum,
}

impl Folding<'_> {
    fn run(&mut self, fold: &Folded) -> rusqlite::Result<()> {
        for (key, at, value) in &fold.documents {
            let id = self.keys.id("document", key.kind, &key.id);
            self.forget_document(key.kind.0, &id)?;
            if let Some(value) = value {
                let body = self.keys.seal_document(self.lane, key, *at, value);
                self.tx.prepare_cached("INSERT INTO document VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                    key.kind.0,
                    id,
                    column(at.0),
                    body
                ])?;
                self.rows.toggle(document_tag(self.keys, key.kind, &id, *at, &body));
            }
        }
        for (key, at) in &fold.once {
            let id = self.keys.once(key);
            let new = self
                .tx
                .prepare_cached("INSERT OR IGNORE INTO once VALUES (?1, ?2)")?
                .execute(params![id, column(at.0)])?;
            if new == 1 {
                self.rows.toggle(once_tag(self.keys, &id, *at));
            }
        }
        for (kind, id, until) in &fold.marks {
            let id = self.keys.id("mark", *kind, id);
            self.forget_marks("DELETE FROM mark WHERE id = ?1 RETURNING id, until", params![id])?;
            let until = column(until.0);
            self.tx
                .prepare_cached("INSERT INTO mark VALUES (?1, ?2, ?3)")?
                .execute(params![id, kind.0, until])?;
            self.rows.toggle(mark_tag(self.keys, &id, until));
        }
        let now = column(fold.time.0);
        self.forget_marks("DELETE FROM mark WHERE until < ?1 RETURNING id, until", params![now])?;
        let body = self.keys.seal_checkpoint(self.lane, fold.seq, self.rows, &fold.checkpoint);
        self.tx
            .prepare_cached("INSERT OR REPLACE INTO checkpoint VALUES (1, ?1, ?2)")?
            .execute(params![column(fold.seq.0), body])?;
        Ok(())
    }

    fn forget_document(&mut self, kind: u16, id: &[u8; 16]) -> rusqlite::Result<()> {
        let old: Option<(Seq, Vec<u8>)> = self
            .tx
            .prepare_cached("DELETE FROM document WHERE kind = ?1 AND id = ?2 RETURNING seq, body")?
            .query_row(params![kind, id], |r| Ok((seq(r, 0)?, r.get(1)?)))
            .optional()?;
        if let Some((at, body)) = old {
            self.rows.toggle(document_tag(self.keys, florin_books::DocumentKind(kind), id, at, &body));
        }
        Ok(())
    }

    fn forget_marks(&mut self, sql: &str, parameters: impl rusqlite::Params) -> rusqlite::Result<()> {
        let mut statement = self.tx.prepare_cached(sql)?;
        let mut gone = statement.query(parameters)?;
        while let Some(row) = gone.next()? {
            self.rows.toggle(mark_tag(self.keys, &row.get::<_, Vec<u8>>(0)?, row.get(1)?));
        }
        Ok(())
    }
}
