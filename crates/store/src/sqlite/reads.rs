//! The reading half: own read-only connections, used from any thread. Source: books.md, "Lanes and stores".

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use florin_books::{Document, DocumentKey, DocumentKind, Facts, LaneId, Needs, Record, Seq, Timestamp};
use florin_crypto::Digest;
use rusqlite::{Connection, OptionalExtension, params};

use super::filter::Filter;
use super::inspect::{column, inspect, records, seq};
use super::keys::StoreKeys;
use super::schema::{self, damaged, error, open_reader};
use super::second::{self, Ending};
use super::{SqliteOptions, opening, repair};
use crate::contract::{Copied, CopyStripped, Older, Page, Reads, StoreError, StoredDocument, StoredOpening};

/// So many connections are kept for the next reader.
const IDLE_MAX: usize = 8;
/// How long the end of the second copy may lag behind SQLite while it is looked at.
const VERIFY_TRIES: u32 = 20;
const VERIFY_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// The readers of an SQLite store.
pub(crate) struct SqliteReads {
    dir: PathBuf,
    file: PathBuf,
    lane: LaneId,
    keys: Arc<StoreKeys>,
    options: SqliteOptions,
    idle: Mutex<Vec<Connection>>,
    filter: Arc<Filter>,
    #[expect(dead_code, reason = "dropped, not read")]
    filling: Option<Filling>,
}

/// The thread that reads the ids of before the start into the filter; the reads do not wait for it.
struct Filling {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Filling {
    fn start(file: &Path, filter: &Arc<Filter>) -> Result<Self, StoreError> {
        let (from, into, stop) = (file.to_path_buf(), Arc::clone(filter), Arc::new(AtomicBool::new(false)));
        let stopping = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("id-filter".into())
            .spawn(move || fill_all(&from, &into, &stopping))
            .map_err(schema::io(file))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // Where it failed the filter says "maybe" to everything.
            let _ = thread.join();
        }
    }
}

/// Ids that are read at once, so that no state of the file is held for long.
const FILL_IDS: usize = 4096;

/// Adds all ids of one table; false where it was told to stop.
fn fill(
    conn: &Connection,
    filter: &Filter,
    stop: &AtomicBool,
    (first, next): (&str, &str),
) -> rusqlite::Result<bool> {
    let id = |row: &rusqlite::Row<'_>| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, i64>(1)?));
    let limit = i64::try_from(FILL_IDS).unwrap_or(i64::MAX);
    let mut ids: Vec<([u8; 16], i64)> =
        conn.prepare_cached(first)?.query_map([limit], id)?.collect::<Result<_, _>>()?;
    while let Some((last, kind)) = ids.last().copied() {
        if stop.load(Ordering::SeqCst) {
            return Ok(false);
        }
        filter.add_all(ids.iter().map(|(id, _)| id));
        ids = conn
            .prepare_cached(next)?
            .query_map(params![last, kind, limit], id)?
            .collect::<Result<_, _>>()?;
    }
    Ok(true)
}

/// How the ids of each table are read, in the order of its key: the first of them, and those after one.
const FILLS: [(&str, &str); 3] = [
    (
        "SELECT id, kind FROM document ORDER BY kind, id LIMIT ?1",
        "SELECT id, kind FROM document WHERE (kind, id) > (?2, ?1) ORDER BY kind, id LIMIT ?3",
    ),
    (
        "SELECT id, 0 FROM once ORDER BY id LIMIT ?1",
        "SELECT id, ?2 FROM once WHERE id > ?1 ORDER BY id LIMIT ?3",
    ),
    (
        "SELECT id, 0 FROM mark ORDER BY id LIMIT ?1",
        "SELECT id, ?2 FROM mark WHERE id > ?1 ORDER BY id LIMIT ?3",
    ),
];

fn fill_all(file: &Path, filter: &Filter, stop: &AtomicBool) {
    let filled = open_reader(file).is_ok_and(|conn| {
        FILLS.iter().all(|statements| fill(&conn, filter, stop, *statements).unwrap_or(false))
    });
    if filled {
        filter.completed();
    }
}

impl SqliteReads {
    pub(crate) fn new(
        dir: &Path,
        lane: LaneId,
        keys: Arc<StoreKeys>,
        options: SqliteOptions,
        filter: Arc<Filter>,
    ) -> Result<Self, StoreError> {
        let file = schema::path(dir);
        let filling = if filter.is_complete() { None } else { Some(Filling::start(&file, &filter)?) };
        Ok(Self { dir: dir.into(), file, lane, keys, options, idle: Mutex::default(), filter, filling })
    }

    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => open_reader(&self.file)?,
        };
        let result = read(&conn);
        // A connection that met an error is closed, with whatever it was in the middle of.
        if result.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push(conn);
            }
        }
        result
    }

    /// Reads one state of the file: what is committed meanwhile is not seen.
    pub(super) fn snapshot<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with(|conn| {
            // Kept statements: a payment reads once, and parsing the same few words each time shows in its cost. What
            // is left open by an error ends with the connection.
            let run = |sql: &str| {
                conn.prepare_cached(sql).and_then(|mut s| s.execute([])).map_err(error(&self.file))
            };
            run("BEGIN DEFERRED")?;
            let result = read(conn)?;
            run("COMMIT")?;
            Ok(result)
        })
    }

    fn document(
        &self,
        conn: &Connection,
        key: &DocumentKey,
        id: [u8; 16],
    ) -> Result<Option<Document>, StoreError> {
        let row: Option<(Seq, Vec<u8>)> = conn
            .prepare_cached("SELECT seq, body FROM document WHERE kind = ?1 AND id = ?2")
            .and_then(|mut s| {
                s.query_row(params![key.kind.0, id], |r| Ok((seq(r, 0)?, r.get(1)?))).optional()
            })
            .map_err(error(&self.file))?;
        let Some((version, sealed)) = row else { return Ok(None) };
        match self.keys.open_document(self.lane, key.kind, version, &sealed) {
            Some((found, value)) if found == *key => Ok(Some(Document { version, value: value.into() })),
            _ => Err(damaged(&self.file, "a document does not verify")),
        }
    }
}

impl Reads for SqliteReads {
    fn load(&self, needs: &Needs) -> Result<Facts, StoreError> {
        let may_hold = |id: &[u8; 16]| self.filter.may_hold(id);
        let documents = needs.documents.iter().map(|k| (k, self.keys.id("document", k.kind, &k.id)));
        let documents: Vec<_> = documents.filter(|(_, id)| may_hold(id)).collect();
        let once: Vec<_> =
            needs.once.iter().map(|k| (k, self.keys.once(k))).filter(|(_, id)| may_hold(id)).collect();
        let marks = needs.marks.iter().map(|m| (m, self.keys.id("mark", m.kind, &m.id)));
        let marks: Vec<_> = marks.filter(|(_, id)| may_hold(id)).collect();
        if documents.is_empty() && once.is_empty() && marks.is_empty() {
            return Ok(Facts::default());
        }
        self.snapshot(|conn| {
            let sql = |sql: &str, id: [u8; 16]| {
                conn.prepare_cached(sql)
                    .and_then(|mut s| s.query_row([id], |r| seq(r, 0)).optional())
                    .map_err(error(&self.file))
            };
            let mut facts = Facts::default();
            for (key, id) in documents {
                if let Some(document) = self.document(conn, key, id)? {
                    facts.documents.insert(*key, document);
                }
            }
            for (key, id) in once {
                if let Some(at) = sql("SELECT seq FROM once WHERE id = ?1", id)? {
                    facts.once.insert(*key, at);
                }
            }
            for (mark, id) in marks {
                if sql("SELECT until FROM mark WHERE id = ?1", id)?.is_some() {
                    facts.marked.push(mark.id);
                }
            }
            Ok(facts)
        })
    }

    fn scan(&self, kind: DocumentKind) -> Result<Vec<StoredDocument>, StoreError> {
        let rows: Vec<(Seq, Vec<u8>)> = self.snapshot(|conn| {
            conn.prepare_cached("SELECT seq, body FROM document WHERE kind = ?1")
                .and_then(|mut s| s.query_map([kind.0], |r| Ok((seq(r, 0)?, r.get(1)?)))?.collect())
                .map_err(error(&self.file))
        })?;
        let open = |(version, sealed): (Seq, Vec<u8>)| {
            let (key, value) = self.keys.open_document(self.lane, kind, version, &sealed)?;
            Some((key, version, Arc::from(value)))
        };
        let opened: Option<Vec<_>> = rows.into_iter().map(open).collect();
        opened.ok_or_else(|| damaged(&self.file, "a document does not verify"))
    }

    fn read(&self, from: Seq, max: usize) -> Result<Vec<Record>, StoreError> {
        self.snapshot(|conn| records(conn, &self.file, &self.keys, self.lane, from, max))
    }

    fn backup(&self, to: &Path) -> Result<Copied, StoreError> {
        repair::backup(self, to)
    }

    fn chain_at(&self, at: Seq) -> Result<Option<Digest>, StoreError> {
        let row: Option<(Seq, Seq, Vec<u8>)> = self.with(|conn| {
            conn.prepare_cached(
                "SELECT first_seq, last_seq, body FROM batch WHERE first_seq <= ?1 ORDER BY first_seq DESC LIMIT 1",
            )
            .and_then(|mut s| {
                s.query_row([column(at.0)], |r| Ok((seq(r, 0)?, seq(r, 1)?, r.get(2)?))).optional()
            })
            .map_err(error(&self.file))
        })?;
        let Some((first, last, body)) = row.filter(|(_, last, _)| *last == at) else { return Ok(None) };
        let batch = self.keys.open_batch(self.lane, first, last, &body);
        batch.map(|b| Some(b.chain)).ok_or_else(|| damaged(&self.file, "a batch does not verify"))
    }

    fn seq_before(&self, time: Timestamp) -> Result<Seq, StoreError> {
        self.snapshot(|conn| self.last_before(conn, time))
    }

    fn older(&self, kind: DocumentKind, at: Seq, after: Page, max: usize) -> Result<Older, StoreError> {
        type Row = (Vec<u8>, Seq, Vec<u8>);
        let after = after.map_or(Vec::new(), |a| a.to_vec());
        let limit = column(u64::try_from(max).unwrap_or(u64::MAX));
        let rows: Vec<Row> = self.with(|conn| {
            conn.prepare_cached(
                "SELECT id, seq, body FROM document WHERE kind = ?1 AND id > ?2 AND seq <= ?3 ORDER BY id LIMIT ?4",
            )
            .and_then(|mut s| {
                let parameters = params![kind.0, after, column(at.0), limit];
                s.query_map(parameters, |r| Ok((r.get(0)?, seq(r, 1)?, r.get(2)?)))?.collect()
            })
            .map_err(error(&self.file))
        })?;
        let next =
            rows.last().filter(|_| rows.len() == max).and_then(|(id, ..)| id.as_slice().try_into().ok());
        let open = |(_, version, sealed): Row| {
            let (key, value) = self.keys.open_document(self.lane, kind, version, &sealed)?;
            Some((key, version, Arc::from(value)))
        };
        let opened: Option<Vec<_>> = rows.into_iter().map(open).collect();
        Ok((opened.ok_or_else(|| damaged(&self.file, "a document does not verify"))?, next))
    }

    fn opening(&self) -> Result<Option<StoredOpening>, StoreError> {
        self.with(|conn| opening::stored(conn, &self.file, &self.keys, self.lane))
    }

    fn strip_copy(&self, before: Timestamp) -> Result<CopyStripped, StoreError> {
        self.strip_segments(before)
    }

    fn drop_point(&self, seq: Seq) -> Result<Option<Seq>, StoreError> {
        self.drop_point_at(seq)
    }

    fn prepare_drop(&self, seq: Seq) -> Result<(), StoreError> {
        self.verify()?;
        self.tables(seq)
    }

    fn finish_drop(&self) -> Result<(), StoreError> {
        self.sweep_dropped()
    }

    fn verify(&self) -> Result<(), StoreError> {
        let state = self.snapshot(|conn| inspect(conn, &self.file, &self.keys, self.lane, true))?;
        let mut checked = false;
        for _ in 0..VERIFY_TRIES {
            let found = second::survey(&self.dir, &self.keys, self.lane, 1, &mut |_, _, _| Ok(()))?;
            match found.ending {
                Ending::Damaged(file, why) => return Err(damaged(&file, why)),
                Ending::Missing => return Err(damaged(&second::name(&self.dir), "it is missing")),
                Ending::Whole | Ending::Torn if found.begin.opening.is_some() && !checked => {
                    opening::check_tables(&self.dir, &self.keys, &found.begin)?;
                    checked = true;
                }
                // A batch that is just being written looks torn, and may have reached SQLite first.
                Ending::Whole | Ending::Torn if found.last < state.last => std::thread::sleep(VERIFY_PAUSE),
                Ending::Whole | Ending::Torn => return Ok(()),
            }
        }
        Err(damaged(&second::name(&self.dir), "records are missing at its end"))
    }
}

impl SqliteReads {
    /// By halves: lane time does not go back.
    fn last_before(&self, conn: &Connection, time: Timestamp) -> Result<Seq, StoreError> {
        let ends = conn
            .query_row("SELECT coalesce(min(first_seq), 1), coalesce(max(last_seq), 0) FROM batch", [], |r| {
                Ok((seq(r, 0)?, seq(r, 1)?))
            })
            .map_err(error(&self.file))?;
        let (mut low, mut high) = (ends.0.0.max(opening::dropped(conn, &self.file)?.next().0), ends.1.0);
        let mut before = Seq(low.saturating_sub(1));
        while low <= high {
            let middle = low.midpoint(high);
            let (first, last, body): (Seq, Seq, Vec<u8>) = conn
                .prepare_cached(
                    "SELECT first_seq, last_seq, body FROM batch WHERE first_seq <= ?1 ORDER BY first_seq DESC LIMIT 1",
                )
                .and_then(|mut s| {
                    s.query_row([column(middle)], |r| Ok((seq(r, 0)?, seq(r, 1)?, r.get(2)?)))
                })
                .map_err(error(&self.file))?;
            let batch = self.keys.open_batch(self.lane, first, last, &body);
            let batch = batch.ok_or_else(|| damaged(&self.file, "a batch does not verify"))?;
            if batch.records.last().is_some_and(|r| r.core.time < time) {
                (before, low) = (last, last.next().0);
            } else {
                high = first.0.saturating_sub(1);
            }
        }
        Ok(before)
    }

    /// Writes the SQLite file of a backup: one state of it, whatever is committed meanwhile.
    pub(crate) fn copy_into(&self, file: &Path) -> Result<(), StoreError> {
        let name = file.to_str().ok_or_else(|| damaged(file, "its name is not UTF-8"))?;
        self.with(|conn| conn.execute("VACUUM INTO ?1", [name]).map_err(error(file)).map(drop))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn keys(&self) -> &StoreKeys {
        &self.keys
    }

    pub(crate) const fn lane(&self) -> LaneId {
        self.lane
    }

    pub(crate) const fn options(&self) -> &SqliteOptions {
        &self.options
    }
}
