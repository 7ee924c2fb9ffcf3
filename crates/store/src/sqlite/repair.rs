//! Starting: both copies are read and checked, and the better one mends the other.
//! Source: books.md, "Two durable copies of each batch"; reliability.md, finding 1 and R7.
//!
//! What is checked at a start. A store of up to `full_check_bytes` is checked whole, every byte of both copies. A larger
//! one from its last checkpoint on, with the newest segment of the second copy; what is older is checked by
//! [`crate::Reads::verify`], which the audit runs. Whatever is used for mending is first checked whole.

use std::fs;
use std::path::{Path, PathBuf};

use florin_books::{LaneId, Seq};
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteOptions;
use super::forward::migrate;
use super::inspect::{DbState, batches, checkpoint, column, inspect, seq, sum_now};
use super::keys::{RowSum, StoreKeys};
use super::lock::make_dir;
use super::log::Opened;
use super::opening;
use super::reads::SqliteReads;
use super::retain::{self, has_stripped, same_but_seeds};
use super::schema::{self, check_belongs, damaged, error, foreign, io, open_writer};
use super::second::{self, Ending, Second, Survey, survey, sync_dir};
use super::segment;
use crate::contract::{Copied, StoreError};

/// A directory that is being taken up.
pub(crate) struct Repair<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) lane: LaneId,
    pub(crate) keys: &'a StoreKeys,
    pub(crate) options: &'a SqliteOptions,
}

type Db = (Connection, DbState);

impl Repair<'_> {
    /// Makes both copies whole and equal, or says which file is damaged.
    pub(crate) fn settle(&self) -> Result<Opened, StoreError> {
        let (_, count, bytes) = second::extent(self.dir);
        if bytes > self.options.full_check_bytes {
            let found = survey(self.dir, self.keys, self.lane, count, &mut |_, _, _| Ok(()))?;
            if let (Ok(db), Ending::Whole | Ending::Torn) =
                (self.read_db(found.key_fits, false), &found.ending)
                && let Ok(opened) = self.join(db, &found, count)
            {
                return Ok(opened);
            }
            // Something is wrong with the recent part: look at everything.
        }
        let found = survey(self.dir, self.keys, self.lane, 1, &mut |_, _, _| Ok(()))?;
        let db = self.read_db(found.key_fits, true);
        match (db, &found.ending) {
            (Ok(db), Ending::Whole | Ending::Torn) => self.join(db, &found, 1),
            (Ok((conn, state)), Ending::Missing) => self.rebuild_second(conn, state, second::name(self.dir)),
            (Ok((conn, state)), Ending::Damaged(file, _)) => self.rebuild_second(conn, state, file.clone()),
            (Err(StoreError::Damaged { .. }), Ending::Whole | Ending::Torn) => {
                opening::check_tables(self.dir, self.keys, &found.begin)?;
                let db = self.rebuild_db(&found)?;
                self.join(db, &found, 1)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The SQLite file, checked. Where the second copy opens with these keys, a proof that does not is damage.
    fn read_db(&self, key_fits: bool, full: bool) -> Result<Db, StoreError> {
        let file = schema::path(self.dir);
        // SQLite takes an empty file for a new database: for books it is one that is gone.
        if std::fs::metadata(&file).map_or(0, |m| m.len()) == 0 {
            return Err(if key_fits {
                damaged(&file, "it is missing or empty")
            } else {
                foreign(&file, "there are no books")
            });
        }
        let conn = open_writer(&file)?;
        if !check_belongs(&conn, &file, self.keys, self.lane)? {
            return Err(if key_fits {
                damaged(&file, "its proof does not verify")
            } else {
                foreign(&file, "it is of another key or lane")
            });
        }
        let state = inspect(&conn, &file, self.keys, self.lane, full)?;
        Ok((conn, state))
    }

    /// Compares the copies where both have records, and rolls the shorter one forward.
    fn join(
        &self,
        (mut conn, mut state): Db,
        found: &Survey,
        from_segment: u32,
    ) -> Result<Opened, StoreError> {
        let file = schema::path(self.dir);
        migrate(&mut conn, &file, self.keys, self.lane)?;
        self.take_over_opening(&conn, found)?;
        let differ = || damaged(&second::name(self.dir), "it and the SQLite file went different ways");
        let tx = conn.transaction().map_err(error(&file))?;
        survey(self.dir, self.keys, self.lane, from_segment, &mut |first, last, body| {
            if last <= state.last {
                return if self.same(&tx, first, last, body)? { Ok(()) } else { Err(differ()) };
            }
            if first != state.last.next() {
                return Err(differ());
            }
            let batch = self.keys.open_batch(self.lane, first, last, body).ok_or_else(differ)?;
            tx.execute(
                "INSERT INTO batch VALUES (?1, ?2, ?3)",
                params![column(first.0), column(last.0), body],
            )
            .map_err(error(&file))?;
            (state.last, state.chain) = (last, Some(batch.chain));
            Ok(())
        })?;
        tx.commit().map_err(error(&file))?;
        let mut second = Second::resume(self.dir, self.keys, self.lane, found, self.options.segment_bytes)?;
        if second.last < state.last {
            self.copy(&conn, &mut second)?;
        }
        Ok(Opened { conn, second, last: state.last, chain: state.chain, rows: state.rows })
    }

    fn same(&self, conn: &Connection, first: Seq, last: Seq, body: &[u8]) -> Result<bool, StoreError> {
        let file = schema::path(self.dir);
        let row: Option<(Seq, Vec<u8>)> = conn
            .prepare_cached("SELECT last_seq, body FROM batch WHERE first_seq = ?1")
            .and_then(|mut s| s.query_row([column(first.0)], |r| Ok((seq(r, 0)?, r.get(1)?))).optional())
            .map_err(error(&file))?;
        let same = |b: &[u8]| b == body || same_but_seeds(self.keys, self.lane, (first, last), b, body);
        Ok(row.is_some_and(|(l, b)| l == last && same(&b)))
    }

    /// Writes to the second copy what SQLite has and it has not.
    fn copy(&self, conn: &Connection, second: &mut Second) -> Result<(), StoreError> {
        let from = second.last.next();
        batches(conn, &schema::path(self.dir), self.keys, self.lane, from, &mut |first, last, body, _| {
            if first >= from {
                second.write(self.keys, first, last, body)?;
            }
            Ok(true)
        })?;
        second.sync()
    }

    /// An empty SQLite file in place of a damaged one, which is kept under another name.
    fn rebuild_db(&self, found: &Survey) -> Result<Db, StoreError> {
        let file = schema::path(self.dir);
        if let Some(begin) = &found.begin.opening {
            let tables = opening::tables_path(self.dir, begin.seq);
            // The records that wrote them lie in the segments: a copy that ends before is cut off.
            if opening::newest(&tables)? > found.last {
                return Err(damaged(&tables, "it holds more than the records beside it"));
            }
        }
        for suffix in ["", "-wal", "-shm"] {
            let part = self.dir.join(format!("{}{suffix}", schema::FILE));
            if part.exists() {
                set_aside(&part)?;
            }
        }
        sync_dir(self.dir)?;
        let Some(begin) = &found.begin.opening else {
            let mut conn = open_writer(&file)?;
            schema::create(&mut conn, &file, self.keys, self.lane)?;
            sync_dir(self.dir)?;
            return Ok((conn, DbState { last: Seq(0), chain: None, rows: RowSum::default() }));
        };
        // What the dropped records had written is in the tables that were laid aside with the opening.
        fs::copy(opening::tables_path(self.dir, begin.seq), &file).map_err(io(&file))?;
        fs::File::open(&file).and_then(|f| f.sync_all()).map_err(io(&file))?;
        let conn = open_writer(&file)?;
        opening::store(&conn, &file, self.keys, self.lane, begin)?;
        let folded = checkpoint(&conn, &file, self.keys, self.lane)?;
        let rows = sum_now(&conn, &file, self.keys, self.lane, folded.as_ref())?;
        sync_dir(self.dir)?;
        Ok((conn, DbState { last: begin.seq, chain: Some(begin.chain), rows }))
    }

    /// The second copy was given its opening first: SQLite takes it over. One that SQLite alone has, or another one of
    /// the same place, is of another history.
    fn take_over_opening(&self, conn: &Connection, found: &Survey) -> Result<(), StoreError> {
        let file = schema::path(self.dir);
        let here = opening::stored(conn, &file, self.keys, self.lane)?;
        match (&found.begin.opening, &here) {
            (Some(there), None) => opening::store(conn, &file, self.keys, self.lane, there)?,
            (Some(there), Some(here)) if there.seq > here.seq => {
                opening::store(conn, &file, self.keys, self.lane, there)?;
            }
            (there, here) if there == here => {}
            _ => {
                return Err(damaged(
                    &opening::path(self.dir),
                    "it and the SQLite file begin in different places",
                ));
            }
        }
        retain::sweep(self.dir, self.keys, self.lane)
    }

    /// The second copy again, from an SQLite file that was checked whole. What it gets is the same, byte for byte, as
    /// what was written at first: where it comes out shorter, the damaged one held records that SQLite has lost.
    fn rebuild_second(
        &self,
        mut conn: Connection,
        state: DbState,
        wrong: PathBuf,
    ) -> Result<Opened, StoreError> {
        let new = self.dir.join("second.new");
        if new.exists() {
            fs::remove_dir_all(&new).map_err(io(&new))?;
        }
        make_dir(&new)?;
        let file = schema::path(self.dir);
        migrate(&mut conn, &file, self.keys, self.lane)?;
        self.second_from(&conn, &new)?;
        let old = self.segments()?;
        let (_, count, bytes) = second::extent(&new);
        if self.held_more(&old, &conn, bytes, state.last)? {
            return Err(damaged(&wrong, "it held records that the SQLite file does not have"));
        }
        for file in &old {
            set_aside(file)?;
        }
        if let Some(begin) = opening::stored(&conn, &file, self.keys, self.lane)? {
            for name in [opening::tables_path, |dir: &Path, _| opening::path(dir)] {
                let (from, to) = (name(&new, begin.seq), name(self.dir, begin.seq));
                fs::rename(&from, &to).map_err(io(&to))?;
            }
        }
        for segment in 1..=count {
            let (from, to) = (second::path(&new, segment), second::path(self.dir, segment));
            fs::rename(&from, &to).map_err(io(&to))?;
        }
        sync_dir(self.dir)?;
        fs::remove_dir(&new).map_err(io(&new))?;
        let found = survey(self.dir, self.keys, self.lane, 1, &mut |_, _, _| Ok(()))?;
        if !matches!(found.ending, Ending::Whole) || found.last != state.last {
            return Err(damaged(&wrong, "it cannot be written again"));
        }
        let second = Second::resume(self.dir, self.keys, self.lane, &found, self.options.segment_bytes)?;
        Ok(Opened { conn, second, last: state.last, chain: state.chain, rows: state.rows })
    }

    /// A second copy out of an SQLite file, in an empty directory.
    fn second_from(&self, conn: &Connection, to: &Path) -> Result<(), StoreError> {
        let begin = opening::stored(conn, &schema::path(self.dir), self.keys, self.lane)?;
        let last = begin.as_ref().map_or(Seq(0), |o| o.seq);
        let mut second = Second::create(to, self.keys, self.lane, self.options.segment_bytes, last)?;
        if let Some(begin) = &begin {
            opening::write_tables(conn, &opening::tables_path(to, begin.seq))?;
            opening::write(to, self.keys, self.lane, (1, &[0; 32]), begin)?;
        }
        self.copy(conn, &mut second)
    }

    /// Whether the old segments held more than SQLite has. Where no seed has gone they would be written again byte for
    /// byte, so that their size tells; else every genuine frame in them is looked for.
    fn held_more(
        &self,
        old: &[PathBuf],
        conn: &Connection,
        rewritten: u64,
        last: Seq,
    ) -> Result<bool, StoreError> {
        let file = schema::path(self.dir);
        let dropped = opening::dropped(conn, &file)? > Seq(0);
        let (mut held, mut furthest, mut short) = (0u64, Seq(0), dropped || has_stripped(conn, &file)?);
        for segment in old.iter().filter(|f| **f != opening::path(self.dir)) {
            let content = fs::read(segment).map_err(io(segment))?;
            held = held.saturating_add(u64::try_from(content.len()).unwrap_or(u64::MAX));
            furthest = furthest.max(segment::furthest(self.keys, &content));
            short |= content.get(8..12) == Some(&[0, 0, 0, 2]);
        }
        Ok(furthest > last || (!short && rewritten < held))
    }

    /// All segments that lie in the directory, also behind a gap.
    fn segments(&self) -> Result<Vec<PathBuf>, StoreError> {
        let entries = fs::read_dir(self.dir).map_err(io(self.dir))?;
        let mut found: Vec<PathBuf> = entries
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| {
                let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                name.starts_with("second-") && p.extension().is_some_and(|e| e == "log")
            })
            .collect();
        found.sort();
        Ok(found)
    }
}

/// Keeps a damaged file beside the books, for whoever wants to look at it.
fn set_aside(file: &Path) -> Result<(), StoreError> {
    let mut name = file.as_os_str().to_owned();
    name.push(".damaged");
    fs::rename(file, PathBuf::from(name)).map_err(io(file))
}

/// Checks a store that nobody has open, every byte of both copies, without changing it.
pub(crate) fn check_copy(dir: &Path, lane: LaneId, keys: &StoreKeys) -> Result<Copied, StoreError> {
    let (file, options) = (schema::path(dir), SqliteOptions::default());
    let repair = Repair { dir, lane, keys, options: &options };
    if !file.exists() {
        return Err(foreign(&file, "there are no books"));
    }
    let conn = schema::open_unchanged(&file)?;
    if !check_belongs(&conn, &file, keys, lane)? {
        return Err(foreign(&file, "it is of another key or lane"));
    }
    let state = inspect(&conn, &file, keys, lane, true)?;
    let differ = || damaged(&second::name(dir), "it and the SQLite file differ");
    let found = survey(dir, keys, lane, 1, &mut |first, last, body| {
        if repair.same(&conn, first, last, body)? { Ok(()) } else { Err(differ()) }
    })?;
    match found.ending {
        Ending::Whole if found.last == state.last => {}
        Ending::Whole => return Err(differ()),
        Ending::Damaged(file, why) => return Err(damaged(&file, why)),
        Ending::Torn | Ending::Missing => {
            return Err(damaged(&second::name(dir), "it is cut off or missing"));
        }
    }
    opening::check_tables(dir, keys, &found.begin)?;
    Ok(Copied { last: state.last, chain: state.chain })
}

/// A consistent copy of both copies: one state of the SQLite file, and the second copy written from it.
pub(crate) fn backup(reads: &SqliteReads, to: &Path) -> Result<Copied, StoreError> {
    make_dir(to)?;
    if fs::read_dir(to).map_err(io(to))?.next().is_some() {
        return Err(foreign(to, "it is not empty"));
    }
    let file = schema::path(to);
    reads.copy_into(&file)?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&file, private).map_err(io(&file))?;
    let repair = Repair { dir: to, lane: reads.lane(), keys: reads.keys(), options: reads.options() };
    let (conn, state) = repair.read_db(true, true)?;
    repair.second_from(&conn, to)?;
    drop(conn);
    fs::File::open(&file).and_then(|f| f.sync_all()).map_err(io(&file))?;
    sync_dir(to)?;
    Ok(Copied { last: state.last, chain: state.chain })
}
