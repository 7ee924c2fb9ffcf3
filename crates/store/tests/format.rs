//! Stores made by older programs open. The fixture was made by the last program of format 1: twelve purchases of
//! `common::buy`, folded every eight records, stopped in good order; `lock` and `reserve` taken away.
//! Source: books.md, "Retention".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod common;

use std::path::Path;

use common::*;
use florin_store::*;

const RECORDS: u64 = 12;

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1")
}

#[test]
fn a_store_of_the_first_format_opens_and_is_kept_up() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("books");
    copy_dir(&fixture(), &dir);
    let books = start(OnDisk(dir.clone()).open().unwrap(), 8).unwrap();
    assert_eq!(books.durable().0, RECORDS);
    // The chain over every record of it is what the program that made it had.
    assert!(books.audit().unwrap().is_clean());
    assert_eq!(
        books.record(florin_books::Seq(1)).unwrap().unwrap().seed().unwrap(),
        [MARKER, b"seed"].concat()
    );
    for n in RECORDS + 1..=RECORDS + 20 {
        books.commit(buy(n, books.durable())).unwrap();
    }
    let far = florin_books::Timestamp(u64::MAX >> 1);
    assert!(books.strip(far, far).unwrap().seeds > RECORDS);
    books.stop().unwrap();
    assert_eq!(format(&dir), 3);
    let books = start(OnDisk(dir).open().unwrap(), 8).unwrap();
    assert!(books.audit().unwrap().is_clean());
    assert!(books.record(florin_books::Seq(1)).unwrap().unwrap().seed().is_none());
}

fn format(dir: &Path) -> i32 {
    let conn = rusqlite::Connection::open(dir.join("books.db")).unwrap();
    conn.query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap()
}

#[test]
fn a_backup_of_the_first_format_is_checked_as_it_lies() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("backup");
    copy_dir(&fixture(), &dir);
    assert_eq!(SqliteStore::check(&dir, LANE, &keys(1)).unwrap().last.0, RECORDS);
    assert_eq!(format(&dir), 1);
}

#[test]
fn either_copy_of_the_first_format_is_enough() {
    let root = tempfile::tempdir().unwrap();
    for lost in ["books.db", "second-000001.log"] {
        let dir = root.path().join(lost);
        copy_dir(&fixture(), &dir);
        std::fs::remove_file(dir.join(lost)).unwrap();
        let books =
            start(SqliteStore::open(&dir, LANE, keys(1), sqlite_options()).unwrap().split(), 8).unwrap();
        assert_eq!(books.durable().0, RECORDS);
        assert!(books.audit().unwrap().is_clean());
        books.stop().unwrap();
        assert_eq!(format(&dir), 3);
    }
}

#[test]
fn damage_in_the_first_format_is_mended_and_not_carried_forward() {
    let root = tempfile::tempdir().unwrap();
    for (i, change) in [
        "UPDATE checkpoint SET seq = seq - 1",
        "UPDATE checkpoint SET body = zeroblob(80)",
        "DELETE FROM once WHERE id = (SELECT max(id) FROM once)",
    ]
    .into_iter()
    .enumerate()
    {
        let dir = root.path().join(i.to_string());
        copy_dir(&fixture(), &dir);
        let conn = rusqlite::Connection::open(dir.join("books.db")).unwrap();
        assert_eq!(conn.execute(change, []).unwrap(), 1);
        drop(conn);
        let books = start(OnDisk(dir.clone()).open().unwrap(), 8).unwrap();
        assert_eq!(books.durable().0, RECORDS);
        assert!(books.audit().unwrap().is_clean());
        assert!(dir.join("books.db.damaged").exists(), "{change}");
    }
}

#[test]
fn formats_in_between_and_later_ones_are_refused() {
    let root = tempfile::tempdir().unwrap();
    for other in [0, 2, 4] {
        let dir = root.path().join(other.to_string());
        copy_dir(&fixture(), &dir);
        let conn = rusqlite::Connection::open(dir.join("books.db")).unwrap();
        conn.execute_batch(&format!("PRAGMA user_version = {other}")).unwrap();
        drop(conn);
        assert!(matches!(OnDisk(dir).open(), Err(StoreError::Foreign { .. })), "{other}");
    }
}
