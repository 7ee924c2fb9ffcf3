//! What the SQLite file holds, checked: from the last checkpoint on, or every row of it.
//! Source: books.md, "Two durable copies of each batch".

use std::path::Path;

use florin_books::{DocumentKind, LaneId, Record, Seq};
use florin_crypto::Digest;
use rusqlite::{Connection, OptionalExtension, Row};

use super::fold::{Base, part_row};
use super::keys::{Batch, RowSum, StoreKeys};
use super::schema::{self, FORMAT_OLDEST, damaged, error};
use super::{forward, opening};
use crate::contract::StoreError;

/// Where the SQLite file stands.
pub(crate) struct DbState {
    /// The last record.
    pub(crate) last: Seq,
    /// The books' chain there.
    pub(crate) chain: Option<Digest>,
    /// The sum over the folded rows.
    pub(crate) rows: RowSum,
}

/// A sequence number out of a column.
pub(crate) fn seq(row: &Row<'_>, column: usize) -> rusqlite::Result<Seq> {
    Ok(Seq(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(u64::MAX)))
}

/// A number for a column; sequence numbers and times stay far below 2^63.
pub(crate) fn column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The checkpoint that counts.
pub(crate) struct Checkpoint {
    pub(crate) base: Base,
    /// The lane's state.
    pub(crate) bytes: Vec<u8>,
    /// The sum over the folded rows when it was written.
    pub(crate) rows: RowSum,
}

/// The last fold that is whole, with all parts of its checkpoint.
pub(crate) fn checkpoint(
    conn: &Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
) -> Result<Option<Checkpoint>, StoreError> {
    if schema::format(conn, file)? == FORMAT_OLDEST {
        return forward::first_checkpoint(conn, file, keys, lane);
    }
    let wrong = || damaged(file, "the checkpoint does not verify");
    let Some((base, rows, parts)) = end_of_fold(conn, file, keys, lane)? else { return Ok(None) };
    let mut statement = conn.prepare_cached("SELECT body FROM part WHERE id = ?1").map_err(error(file))?;
    let mut bytes = Vec::new();
    for place in 0..parts {
        let part: Option<Vec<u8>> =
            statement.query_row([part_row(base.set, place)], |r| r.get(0)).optional().map_err(error(file))?;
        let opened = part.and_then(|sealed| keys.open_part(lane, base.seq, (place, parts), &sealed));
        bytes.extend(opened.ok_or_else(wrong)?);
    }
    Ok(Some(Checkpoint { base, bytes, rows }))
}

/// The end of the last fold that is whole, without the parts of its checkpoint.
fn end_of_fold(
    conn: &Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
) -> Result<Option<(Base, RowSum, u32)>, StoreError> {
    let row: Option<(Base, Vec<u8>)> = conn
        .query_row("SELECT seq, part_set, body FROM checkpoint WHERE id = 1", [], |r| {
            Ok((Base { seq: seq(r, 0)?, set: r.get(1)? }, r.get(2)?))
        })
        .optional()
        .map_err(error(file))?;
    let Some((base, sealed)) = row else { return Ok(None) };
    let opened = keys.open_checkpoint(lane, base.seq, &sealed);
    let (rows, parts) = opened.ok_or_else(|| damaged(file, "the checkpoint does not verify"))?;
    Ok(Some((base, rows, parts)))
}

/// Up to which record everything is folded; what a fold under way has put in already does not count.
pub(crate) fn folded(
    conn: &Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
) -> Result<Seq, StoreError> {
    Ok(end_of_fold(conn, file, keys, lane)?.map_or(Seq(0), |(base, ..)| base.seq))
}

/// The sum over the folded rows now: that of the checkpoint, or that of the parts of a fold that came after it.
pub(crate) fn sum_now(
    conn: &Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
    checkpoint: Option<&Checkpoint>,
) -> Result<RowSum, StoreError> {
    let row: Option<Vec<u8>> = conn
        .query_row("SELECT value FROM meta WHERE name = 'rows'", [], |r| r.get(0))
        .optional()
        .map_err(error(file))?;
    let Some(sealed) = row else { return Ok(checkpoint.map_or_else(RowSum::default, |c| c.rows)) };
    let base = checkpoint.map_or(Seq(0), |c| c.base.seq);
    keys.open_rows(lane, base, &sealed).ok_or_else(|| damaged(file, "the sum over its rows does not verify"))
}

/// Batch after batch: first, last, sealed, opened; false ends it.
type OnBatch<'a> = &'a mut dyn FnMut(Seq, Seq, &[u8], Batch) -> Result<bool, StoreError>;

/// Stored batches from a first record on, in order, each opened.
pub(crate) fn batches(
    conn: &Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
    from: Seq,
    on_batch: OnBatch<'_>,
) -> Result<(), StoreError> {
    let mut statement = conn
        .prepare_cached(
            "SELECT first_seq, last_seq, body FROM batch
             WHERE first_seq >= coalesce((SELECT max(first_seq) FROM batch WHERE first_seq <= ?1), 0)
             ORDER BY first_seq",
        )
        .map_err(error(file))?;
    let mut rows = statement.query([column(from.0)]).map_err(error(file))?;
    let mut expected: Option<Seq> = None;
    while let Some(row) = rows.next().map_err(error(file))? {
        let (first, last) = (seq(row, 0).map_err(error(file))?, seq(row, 1).map_err(error(file))?);
        let sealed: &[u8] = row
            .get_ref(2)
            .map_err(error(file))?
            .as_blob()
            .map_err(|_| damaged(file, "a batch is not a blob"))?;
        if expected.is_some_and(|e| e != first) || (expected.is_none() && first > from) {
            return Err(damaged(file, "records are missing"));
        }
        expected = Some(last.next());
        let batch = keys
            .open_batch(lane, first, last, sealed)
            .ok_or_else(|| damaged(file, "a batch does not verify"))?;
        if !on_batch(first, last, sealed, batch)? {
            break;
        }
    }
    Ok(())
}

/// Records from a sequence number on, at most so many.
pub(crate) fn records(
    conn: &Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
    from: Seq,
    max: usize,
) -> Result<Vec<Record>, StoreError> {
    let mut found: Vec<Record> = Vec::new();
    // What was dropped is not missing.
    let from = from.max(opening::dropped(conn, file)?.next());
    batches(conn, file, keys, lane, from, &mut |_, _, _, batch| {
        let room = max.saturating_sub(found.len());
        found.extend(batch.records.into_iter().filter(|r| r.core.seq >= from).take(room));
        Ok(found.len() < max)
    })?;
    Ok(found)
}

/// Checks the file: `full` every row of it and its structure, else what is not folded.
pub(crate) fn inspect(
    conn: &Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
    full: bool,
) -> Result<DbState, StoreError> {
    let folded = checkpoint(conn, file, keys, lane)?;
    let rows = sum_now(conn, file, keys, lane, folded.as_ref())?;
    let at = folded.map_or(Seq(0), |c| c.base.seq);
    let mut state = DbState { last: Seq(0), chain: None, rows };
    let begin = opening::stored(conn, file, keys, lane)?.map_or(Seq(0), |o| o.seq).next();
    let from = if full || at == Seq(0) { begin } else { at };
    batches(conn, file, keys, lane, from, &mut |_, last, _, batch| {
        (state.last, state.chain) = (last, Some(batch.chain));
        Ok(true)
    })?;
    if state.last < at {
        return Err(damaged(file, "records before the checkpoint are missing"));
    }
    if full {
        let answer: String =
            conn.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0)).map_err(error(file))?;
        if answer != "ok" {
            return Err(damaged(file, "SQLite finds its structure damaged"));
        }
        if sum_rows(conn, file, keys, lane)? != rows {
            return Err(damaged(file, "a folded row is missing, changed or too many"));
        }
    }
    Ok(state)
}

/// Adds up the tags of all folded rows, and opens each document.
fn sum_rows(conn: &Connection, file: &Path, keys: &StoreKeys, lane: LaneId) -> Result<RowSum, StoreError> {
    let mut sum = RowSum::default();
    let all_open = (|| {
        let mut statement = conn.prepare("SELECT kind, id, seq, body FROM document")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (kind, id, at) = (row.get::<_, u16>(0)?, row.get::<_, Vec<u8>>(1)?, seq(row, 2)?);
            let body: Vec<u8> = row.get(3)?;
            if keys.open_document(lane, DocumentKind(kind), at, &body).is_none() {
                return Ok(false);
            }
            sum.toggle(document_tag(keys, DocumentKind(kind), &id, at, &body));
        }
        let mut statement = conn.prepare("SELECT id, seq FROM once")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sum.toggle(once_tag(keys, &row.get::<_, Vec<u8>>(0)?, seq(row, 1)?));
        }
        let mut statement = conn.prepare("SELECT id, until FROM mark")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sum.toggle(mark_tag(keys, &row.get::<_, Vec<u8>>(0)?, row.get(1)?));
        }
        Ok(true)
    })()
    .map_err(error(file))?;
    if all_open { Ok(sum) } else { Err(damaged(file, "a document does not verify")) }
}

/// The tag of a folded document.
pub(crate) fn document_tag(
    keys: &StoreKeys,
    kind: DocumentKind,
    id: &[u8],
    at: Seq,
    body: &[u8],
) -> [u8; 32] {
    keys.row("row/document", &[&kind.0.to_be_bytes(), id, &at.0.to_be_bytes(), body])
}

/// The tag of a folded once key.
pub(crate) fn once_tag(keys: &StoreKeys, id: &[u8], at: Seq) -> [u8; 32] {
    keys.row("row/once", &[id, &at.0.to_be_bytes()])
}

/// The tag of a folded mark.
pub(crate) fn mark_tag(keys: &StoreKeys, id: &[u8], until: i64) -> [u8; 32] {
    keys.row("row/mark", &[id, &until.to_be_bytes()])
}
