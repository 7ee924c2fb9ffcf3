//! Stores made by older programs open. The fixture was made by the program before retention (format 1).
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
#[ignore = "makes the fixture again, with the program as it is"]
fn make_the_fixture() {
    let books = start(OnDisk(fixture()).open().unwrap(), 8).unwrap();
    for n in 1..=RECORDS {
        books.commit(buy(n, books.durable())).unwrap();
    }
    books.stop().unwrap();
    std::fs::remove_file(fixture().join("reserve")).unwrap();
    std::fs::remove_file(fixture().join("lock")).unwrap();
}
