//! A file of an older format, read as it is and taken forward. Source: books.md, "The store".
//!
//! Format 1 had the whole checkpoint in one row, folded rows only up to it, no openings and no batches without seeds.

use std::path::Path;

use florin_books::{LaneId, Seq};
use rusqlite::{Connection, OptionalExtension, params};

use super::fold::{Base, part_row, seal_parts};
use super::inspect::{Checkpoint, column, seq};
use super::keys::StoreKeys;
use super::schema::{self, CHECKPOINT_TABLES, FORMAT, FORMAT_OLDEST, damaged, error};
use crate::contract::StoreError;

/// The checkpoint of a file of format 1.
pub(crate) fn first_checkpoint(
    conn: &Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
) -> Result<Option<Checkpoint>, StoreError> {
    let row: Option<(Seq, Vec<u8>)> = conn
        .query_row("SELECT seq, body FROM checkpoint WHERE id = 1", [], |r| Ok((seq(r, 0)?, r.get(1)?)))
        .optional()
        .map_err(error(file))?;
    let Some((at, sealed)) = row else { return Ok(None) };
    let (rows, bytes) = keys
        .open_first_checkpoint(lane, at, &sealed)
        .ok_or_else(|| damaged(file, "the checkpoint does not verify"))?;
    Ok(Some(Checkpoint { base: Base { seq: at, set: 0 }, bytes, rows }))
}

/// Takes a file that was checked forward, in one transaction. An older program then refuses it.
pub(crate) fn migrate(
    conn: &mut Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
) -> Result<(), StoreError> {
    if schema::format(conn, file)? != FORMAT_OLDEST {
        return Ok(());
    }
    let old = first_checkpoint(conn, file, keys, lane)?;
    (|| {
        let tx = conn.transaction()?;
        tx.execute_batch("DROP TABLE checkpoint;")?;
        tx.execute_batch(CHECKPOINT_TABLES)?;
        if let Some(Checkpoint { base, bytes, rows }) = &old {
            let (count, parts) = seal_parts(keys, lane, base.seq, bytes);
            for (place, body) in parts {
                tx.execute("INSERT INTO part VALUES (?1, ?2)", params![part_row(base.set, place), body])?;
            }
            let end = keys.seal_checkpoint(lane, base.seq, rows, count);
            tx.execute(
                "INSERT INTO checkpoint VALUES (1, ?1, ?2, ?3)",
                params![column(base.seq.0), base.set, end],
            )?;
        }
        tx.execute_batch(&format!("PRAGMA user_version = {FORMAT};"))?;
        tx.commit()
    })()
    .map_err(error(file))
}
