//! What goes with time: seeds out of both copies, records before an opening. Source: books.md, "Retention".
//!
//! Both copies are changed on their own, and either may be ahead after a crash: a batch that differs from its twin only
//! by seeds that are gone is the same batch, and an opening in one copy is taken over by the other at the next start.

use std::fs;
use std::path::Path;

use florin_books::{LaneId, Seq, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::inspect::{column, folded, seq};
use super::keys::StoreKeys;
use super::log::SqliteLog;
use super::opening;
use super::reads::SqliteReads;
use super::schema::{damaged, error, io};
use super::second::{self, Link};
use super::segment::{self, SegmentHead};
use crate::contract::{CopyStripped, StoreError, StoredOpening, Stripped};

/// So many batches, or bytes of them, are rewritten or deleted in one transaction: nobody waits long for it.
const SLICE_BATCHES: usize = 64;
const SLICE_BYTES: usize = 2 << 20;
/// Up to which record the seeds of SQLite are gone.
const STRIPPED: &str = "stripped";

/// A batch without its seeds, sealed; none where it has none left, or does not verify.
fn strip_batch(
    keys: &StoreKeys,
    lane: LaneId,
    (first, last): (Seq, Seq),
    body: &[u8],
) -> Option<(Vec<u8>, u64)> {
    let batch = keys.open_batch(lane, first, last, body)?;
    let gone = batch.records.iter().filter(|r| r.seed.is_some()).count();
    let records: Vec<_> = batch.records.into_iter().map(florin_books::Record::stripped).collect();
    let sealed = keys.seal_records(lane, (first, last), &batch.chain, &records);
    (gone > 0).then_some((sealed, u64::try_from(gone).unwrap_or(u64::MAX)))
}

/// Whether two sealed batches are the same but for seeds that are gone.
pub(crate) fn same_but_seeds(
    keys: &StoreKeys,
    lane: LaneId,
    (first, last): (Seq, Seq),
    a: &[u8],
    b: &[u8],
) -> bool {
    let open = |body: &[u8]| {
        let batch = keys.open_batch(lane, first, last, body)?;
        let records: Vec<_> = batch.records.into_iter().map(florin_books::Record::stripped).collect();
        Some((batch.chain, records))
    };
    let (a, b) = (open(a), open(b));
    a.is_some() && a == b
}

/// The lane time of a batch.
fn time_of(keys: &StoreKeys, lane: LaneId, first: Seq, last: Seq, body: &[u8]) -> Option<Timestamp> {
    keys.open_batch(lane, first, last, body)?.records.last().map(|r| r.core.time)
}

fn number(conn: &Connection, file: &Path, name: &str) -> Result<u64, StoreError> {
    let value: Option<Vec<u8>> = conn
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |r| r.get(0))
        .optional()
        .map_err(error(file))?;
    Ok(value.and_then(|v| Some(u64::from_be_bytes(v.as_slice().try_into().ok()?))).unwrap_or(0))
}

/// Whether any seed was ever taken out of the SQLite file.
pub(crate) fn has_stripped(conn: &Connection, file: &Path) -> Result<bool, StoreError> {
    Ok(number(conn, file, STRIPPED)? > 0)
}

type Row = (Seq, Seq, Vec<u8>);

fn slice(conn: &Connection, file: &Path, after: u64) -> Result<Vec<Row>, StoreError> {
    let (mut found, mut bytes) = (Vec::new(), 0usize);
    (|| {
        let mut statement = conn.prepare_cached(
            "SELECT first_seq, last_seq, body FROM batch WHERE first_seq > ?1 ORDER BY first_seq",
        )?;
        let mut rows = statement.query([column(after)])?;
        while let Some(row) = rows.next()? {
            let body: Vec<u8> = row.get(2)?;
            bytes = bytes.saturating_add(body.len());
            found.push((seq(row, 0)?, seq(row, 1)?, body));
            if found.len() >= SLICE_BATCHES || bytes >= SLICE_BYTES {
                break;
            }
        }
        Ok(())
    })()
    .map_err(error(file))?;
    Ok(found)
}

impl SqliteLog {
    /// One slice: seeds of batches from before a time.
    pub(super) fn strip_slice(&mut self, before: Timestamp) -> Result<Stripped, StoreError> {
        let after =
            number(&self.conn, &self.file, STRIPPED)?.max(opening::dropped(&self.conn, &self.file)?.0);
        let rows = slice(&self.conn, &self.file, after)?;
        let (file, keys, lane) = (&self.file, &self.keys, self.lane);
        let mut stripped = Stripped { seeds: 0, done: true };
        let tx = self.conn.transaction().map_err(error(file))?;
        let mut reached = after;
        for (first, last, body) in &rows {
            let time = time_of(keys, lane, *first, *last, body);
            match time.ok_or_else(|| damaged(file, "a batch does not verify"))? {
                time if time < before => {}
                _ => break,
            }
            if let Some((sealed, gone)) = strip_batch(keys, lane, (*first, *last), body) {
                tx.execute(
                    "UPDATE batch SET body = ?2 WHERE first_seq = ?1",
                    params![column(first.0), sealed],
                )
                .map_err(error(file))?;
                stripped.seeds = stripped.seeds.saturating_add(gone);
            }
            reached = last.0;
        }
        if reached > after {
            stripped.done = rows.last().is_none_or(|(_, last, _)| reached < last.0);
            tx.execute(
                "INSERT OR REPLACE INTO meta VALUES (?1, ?2)",
                params![STRIPPED, reached.to_be_bytes().as_slice()],
            )
            .map_err(error(file))?;
        }
        tx.commit().map_err(error(file))?;
        if stripped.done && stripped.seeds > 0 {
            // What the write-ahead log still holds goes as soon as no reader needs it; if one does, at a later run.
            let _ = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        Ok(stripped)
    }

    /// Puts the opening into the second copy, then into SQLite.
    pub(super) fn begin_at(&mut self, at: &StoredOpening) -> Result<(), StoreError> {
        // What a fold under way has put in does not count: a start takes up the one that was whole before it, and redoes
        // the records after that.
        if at.seq >= self.base.seq || at.seq <= opening::dropped(&self.conn, &self.file)? {
            return Err(damaged(&self.file, "an opening lies outside of what is folded"));
        }
        let dir = self.file.parent().unwrap_or_else(|| Path::new("."));
        let place = segment_after(dir, &self.keys, self.lane, at.seq)?
            .ok_or_else(|| damaged(dir, "no segment begins after the opening"))?;
        opening::write(dir, &self.keys, self.lane, (place.0, &place.1), at)?;
        opening::store(&self.conn, &self.file, &self.keys, self.lane, at)
    }

    /// One slice of batches from before the opening; whether that was all.
    pub(super) fn drop_slice(&mut self) -> Result<bool, StoreError> {
        let at = opening::dropped(&self.conn, &self.file)?;
        let gone = self
            .conn
            .execute(
                "DELETE FROM batch WHERE first_seq IN
                 (SELECT first_seq FROM batch WHERE last_seq <= ?1 ORDER BY first_seq LIMIT ?2)",
                params![column(at.0), column(u64::try_from(SLICE_BATCHES).unwrap_or(1))],
            )
            .map_err(error(&self.file))?;
        Ok(gone < SLICE_BATCHES)
    }
}

/// The segment whose first record is the one after `seq`, and the chain before it.
fn segment_after(
    dir: &Path,
    keys: &StoreKeys,
    lane: LaneId,
    seq: Seq,
) -> Result<Option<(u32, Link)>, StoreError> {
    let found = segments(dir, keys, lane)?;
    Ok(found.into_iter().find(|s| s.first == Some(seq.next())).map(|s| (s.number, s.head.before)))
}

/// A segment, as its header and its first frame show it.
struct Segment {
    number: u32,
    head: SegmentHead,
    first: Option<Seq>,
    time: Option<Timestamp>,
}

/// The first bytes of a segment: its header and its first frame.
const PEEK: u64 = 1 << 20;

fn segments(dir: &Path, keys: &StoreKeys, lane: LaneId) -> Result<Vec<Segment>, StoreError> {
    use std::io::Read;
    let begin = opening::read(dir, keys, lane)?.map_err(|why| damaged(&opening::path(dir), why))?;
    let (first, last, _) = second::extent(dir);
    let mut found = Vec::new();
    for number in first.max(begin.segment)..=last {
        let file = second::path(dir, number);
        let mut content = Vec::new();
        let from = fs::File::open(&file).map_err(io(&file))?;
        from.take(PEEK).read_to_end(&mut content).map_err(io(&file))?;
        let read = |content: &[u8]| {
            let head = segment::segment_head(keys, lane, number, content)?;
            let frames = content.get(head.len..).unwrap_or_default();
            let frame =
                segment::frames(keys, frames).next().map(|(f, l, b)| (f, time_of(keys, lane, f, l, b)));
            Some((head, frame))
        };
        let mut seen = read(&content);
        if seen.as_ref().is_some_and(|(head, frame)| frame.is_none() && content.len() > head.len) {
            // A first frame that is larger than that.
            content = fs::read(&file).map_err(io(&file))?;
            seen = read(&content);
        }
        let Some((head, frame)) = seen else {
            // A segment that is just being begun.
            if number == last {
                break;
            }
            return Err(damaged(&file, "its header does not verify"));
        };
        let (first, time) = frame.map_or((None, None), |(f, t)| (Some(f), t));
        found.push(Segment { number, head, first, time });
    }
    Ok(found)
}

impl SqliteReads {
    /// Writes closed segments again whose records are all from before a time. Only one at a time may do so.
    pub(super) fn strip_segments(&self, before: Timestamp) -> Result<CopyStripped, StoreError> {
        let found = segments(self.dir(), self.keys(), self.lane())?;
        let mut done = CopyStripped { newest: found.last().and_then(|s| s.time), ..CopyStripped::default() };
        for (segment, next) in found.iter().zip(found.iter().skip(1)) {
            if segment.head.rewritten.is_some() {
                continue;
            }
            // Whatever the next one begins with is not older than what this one ends with.
            let ends = match next.time {
                Some(time) => Some(time),
                None => self.end_of(segment)?,
            };
            if ends.is_some_and(|t| t > before) {
                break;
            }
            let saved = self.strip_segment(segment)?;
            done.segments = done.segments.saturating_add(1);
            done.bytes = done.bytes.saturating_add(saved);
        }
        Ok(done)
    }

    /// Lane time at the end of a segment; none where it is empty.
    fn end_of(&self, segment: &Segment) -> Result<Option<Timestamp>, StoreError> {
        let file = second::path(self.dir(), segment.number);
        let content = fs::read(&file).map_err(io(&file))?;
        let frames = content.get(segment.head.len..).unwrap_or_default();
        let Some((first, last, body)) = segment::frames(self.keys(), frames).last() else { return Ok(None) };
        let time = time_of(self.keys(), self.lane(), first, last, body);
        time.map(Some).ok_or_else(|| damaged(&file, "a frame does not verify"))
    }

    fn strip_segment(&self, segment: &Segment) -> Result<u64, StoreError> {
        let (keys, lane) = (self.keys(), self.lane());
        let file = second::path(self.dir(), segment.number);
        let wrong = || damaged(&file, "it cannot be written again without its seeds");
        let content = fs::read(&file).map_err(io(&file))?;
        let frames = content.get(segment.head.len..).unwrap_or_default();
        // Where the segment ends is what the next one follows from: it is in the last frame.
        let after: Link = match frames.len() {
            0 => segment.head.before,
            _ => frames.last_chunk::<32>().copied().ok_or_else(wrong)?,
        };
        let before = &segment.head.before;
        let mut chain = segment::rewritten_begin(keys, lane, segment.number, before, &after);
        let (mut out, mut read) = (Vec::with_capacity(frames.len()), 0usize);
        for (first, last, body) in segment::frames(keys, frames) {
            let stripped = strip_batch(keys, lane, (first, last), body).map(|(sealed, _)| sealed);
            if stripped.is_none() && keys.open_batch(lane, first, last, body).is_none() {
                return Err(wrong());
            }
            let body_out = stripped.as_deref().unwrap_or(body);
            let (frame, next) = segment::frame(keys, &chain, first, last, body_out).ok_or_else(wrong)?;
            out.extend_from_slice(&frame);
            read = read.saturating_add(segment::frame_len(body.len()));
            chain = next;
        }
        if read != frames.len() {
            return Err(wrong());
        }
        let head = segment::rewritten_header(keys, lane, segment.number, (before, &after, &chain));
        let new = [head, out].concat();
        opening::replace(&file, &new)?;
        Ok(u64::try_from(content.len().saturating_sub(new.len())).unwrap_or(0))
    }

    /// The furthest point at or before `seq` where a segment ends and everything is folded.
    pub(super) fn drop_point_at(&self, seq: Seq) -> Result<Option<Seq>, StoreError> {
        let found = segments(self.dir(), self.keys(), self.lane())?;
        let (folded, dropped) = self.snapshot(|conn| {
            let folded = folded(conn, self.file(), self.keys(), self.lane())?;
            Ok((folded, opening::dropped(conn, self.file())?))
        })?;
        let ends = found.iter().skip(1).filter_map(|s| s.first).map(|f| Seq(f.0.saturating_sub(1)));
        Ok(ends.filter(|end| *end < seq && *end < folded && *end > dropped).max())
    }

    /// Copies the folded tables aside, for the second copy that begins after `seq`.
    pub(super) fn tables(&self, seq: Seq) -> Result<(), StoreError> {
        self.with(|conn| opening::write_tables(conn, &opening::tables_path(self.dir(), seq)))
    }

    /// Removes what lies before the opening of the second copy, and tables that belong to none.
    pub(super) fn sweep_dropped(&self) -> Result<(), StoreError> {
        sweep(self.dir(), self.keys(), self.lane())
    }
}

/// Removes segments from before the opening, and tables of other openings.
pub(crate) fn sweep(dir: &Path, keys: &StoreKeys, lane: LaneId) -> Result<(), StoreError> {
    let begin = opening::read(dir, keys, lane)?.map_err(|why| damaged(&opening::path(dir), why))?;
    let (first, _, _) = second::extent(dir);
    for number in first.max(1)..begin.segment {
        let file = second::path(dir, number);
        if file.exists() {
            fs::remove_file(&file).map_err(io(&file))?;
        }
    }
    let keep = opening::tables_path(dir, begin.seq());
    for entry in fs::read_dir(dir).map_err(io(dir))?.flatten() {
        let name = entry.file_name();
        let tables = name.to_str().is_some_and(|n| n.starts_with("second-tables-"));
        if tables && (entry.path() != keep || begin.opening.is_none()) {
            fs::remove_file(entry.path()).map_err(io(&entry.path()))?;
        }
    }
    second::sync_dir(dir)
}
