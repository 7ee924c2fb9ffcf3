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
    let books = start(OnDisk(dir).open().unwrap(), 8).unwrap();
    assert!(books.audit().unwrap().is_clean());
    assert!(books.record(florin_books::Seq(1)).unwrap().unwrap().seed().is_none());
}
