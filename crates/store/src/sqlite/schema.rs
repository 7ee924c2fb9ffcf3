//! The SQLite file: its tables, its settings, and what its errors mean. Source: reliability.md, findings 1-3 and 5, and
//! "Durability settings".

use std::path::{Path, PathBuf};

use florin_books::LaneId;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::keys::StoreKeys;
use crate::contract::StoreError;

/// The name of the SQLite file in its directory.
pub(crate) const FILE: &str = "books.db";
/// "FLRN": what the file is of.
const APPLICATION_ID: i32 = 0x464c_524e;
/// Raised by one with every change of the layout.
pub(crate) const FORMAT: i32 = 3;
/// The oldest that is taken forward (`forward.rs`). 2 was two different layouts, of programs that nobody was given.
pub(crate) const FORMAT_OLDEST: i32 = 1;
/// Older ones can lose commits when two connections meet at a checkpoint (finding 2).
const SQLITE_MIN: i32 = 3_051_003;

const TABLES: &str = "
CREATE TABLE batch (first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE document (kind INTEGER NOT NULL, id BLOB NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID;
CREATE TABLE once (id BLOB PRIMARY KEY NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE mark (id BLOB PRIMARY KEY NOT NULL, kind INTEGER NOT NULL, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
";
/// What format 1 did not have, or not so.
pub(crate) const CHECKPOINT_TABLES: &str = "
CREATE INDEX mark_until ON mark (until);
CREATE TABLE checkpoint (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, part_set INTEGER NOT NULL,
    body BLOB NOT NULL) STRICT;
CREATE TABLE part (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
";

/// The path of the SQLite file.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// What an error of SQLite means for the caller. What is not an error of the system is damage: the statements are fixed.
pub(crate) fn error(file: &Path) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
    move |e| match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => damaged(file, "SQLite finds its structure damaged"),
        Some(ErrorCode::NotADatabase) => damaged(file, "it is not an SQLite file"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Retry,
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::PermissionDenied,
        ) => StoreError::Fatal { file: file.display().to_string(), error: e.to_string() },
        _ => damaged(file, "SQLite cannot make sense of its content"),
    }
}

/// What an error of the system means.
pub(crate) fn io(file: &Path) -> impl Fn(std::io::Error) -> StoreError + '_ {
    move |e| StoreError::Fatal { file: file.display().to_string(), error: e.to_string() }
}

pub(crate) fn damaged(file: &Path, why: &'static str) -> StoreError {
    StoreError::Damaged { file: file.display().to_string(), why }
}

pub(crate) fn foreign(file: &Path, why: &'static str) -> StoreError {
    StoreError::Foreign { file: file.display().to_string(), why }
}

/// The one connection that writes. WAL checkpoints happen on it alone.
pub(crate) fn open_writer(file: &Path) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(foreign(file, "this SQLite is older than 3.51.3"));
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags).map_err(error(file))?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0)).map_err(error(file))?;
    if mode != "wal" {
        return Err(damaged(file, "it does not take a write-ahead log"));
    }
    conn.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 1000; PRAGMA secure_delete = ON;",
    )
    .map_err(error(file))?;
    settings(&conn, file)?;
    Ok(conn)
}

/// A connection that only reads.
pub(crate) fn open_reader(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags).map_err(error(file))?;
    conn.execute_batch("PRAGMA wal_autocheckpoint = 0;").map_err(error(file))?;
    settings(&conn, file)?;
    Ok(conn)
}

/// A connection to a file that nobody changes meanwhile: nothing is written beside it.
pub(crate) fn open_unchanged(file: &Path) -> Result<Connection, StoreError> {
    let name = file.to_str().ok_or_else(|| damaged(file, "its name is not UTF-8"))?;
    let quoted = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let conn =
        Connection::open_with_flags(format!("file:{quoted}?immutable=1"), flags).map_err(error(file))?;
    settings(&conn, file)?;
    Ok(conn)
}

fn settings(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    conn.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY;",
    )
    .and_then(|()| conn.busy_timeout(std::time::Duration::from_secs(5)))
    .map_err(error(file))
}

/// Makes the tables of an empty file, in one transaction.
pub(crate) fn create(
    conn: &mut Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
) -> Result<(), StoreError> {
    (|| {
        let tx = conn.transaction()?;
        tx.execute_batch(TABLES)?;
        tx.execute_batch(CHECKPOINT_TABLES)?;
        tx.execute("INSERT INTO meta VALUES ('proof', ?1)", [keys.seal_proof(lane)])?;
        tx.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
        ))?;
        tx.commit()
    })()
    .map_err(error(file))
}

fn number(conn: &Connection, file: &Path, sql: &str) -> Result<i32, StoreError> {
    conn.query_row(sql, [], |r| r.get(0)).map_err(error(file))
}

/// The format of a file.
pub(crate) fn format(conn: &Connection, file: &Path) -> Result<i32, StoreError> {
    number(conn, file, "PRAGMA user_version")
}

/// Whether the file is of this program, format, lane and key.
pub(crate) fn check_belongs(
    conn: &Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
) -> Result<bool, StoreError> {
    if number(conn, file, "PRAGMA application_id")? != APPLICATION_ID {
        return Err(foreign(file, "it is of another program"));
    }
    if ![FORMAT_OLDEST, FORMAT].contains(&format(conn, file)?) {
        return Err(foreign(file, "it is of another format"));
    }
    let proof: Option<Vec<u8>> = conn
        .query_row("SELECT value FROM meta WHERE name = 'proof'", [], |r| r.get(0))
        .optional()
        .map_err(error(file))?;
    Ok(proof.is_some_and(|sealed| keys.is_proof(lane, &sealed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    fn means(code: i32) -> StoreError {
        error(Path::new("books.db"))(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    /// Where opening to write fails, SQLite opens to read: a disk that fails for a moment, or is mounted read-only, has
    /// damaged nothing.
    #[test]
    fn what_the_system_refuses_is_not_damage() {
        for code in [ffi::SQLITE_READONLY, ffi::SQLITE_IOERR_READ, ffi::SQLITE_CANTOPEN, ffi::SQLITE_PROTOCOL]
        {
            assert!(matches!(means(code), StoreError::Fatal { .. }), "{code}");
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_SCHEMA] {
            assert!(matches!(means(code), StoreError::Damaged { .. }), "{code}");
        }
    }
}
