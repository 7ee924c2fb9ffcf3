//! Damage: bits flipped, files cut off or gone. Source: books.md, "Two durable copies of each batch"; reliability.md,
//! finding 1 and R7.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use florin_books::*;
use florin_store::*;

/// A store as a crash leaves it: folded and checkpointed records, and others in the write-ahead log.
struct Sample {
    _root: tempfile::TempDir,
    dir: PathBuf,
    state: Vec<u8>,
    documents: Vec<(DocumentKey, Document)>,
}

const RECORDS: u64 = 90;

fn sample() -> Sample {
    let root = tempfile::tempdir().unwrap();
    let place = OnDisk(root.path().join("live"));
    let books = start(place.open().unwrap(), 8).unwrap();
    let fill = |books: &Books, numbers: std::ops::RangeInclusive<u64>| {
        for n in numbers {
            books.commit(buy(n, books.durable())).unwrap();
        }
    };
    fill(&books, 1..=50);
    books.stop().unwrap();
    let books = start(place.open().unwrap(), 8).unwrap();
    fill(&books, 51..=RECORDS);
    let dir = root.path().join("crashed");
    copy_dir(&place.0, &dir);
    let state = books.view(Lane::checkpoint).unwrap();
    let documents = books.scan(KIND).unwrap();
    Sample { _root: root, dir, state, documents }
}

enum Outcome {
    Recovered,
    Refused(String),
}

impl Sample {
    fn size(&self, file: &str) -> u64 {
        std::fs::metadata(self.dir.join(file)).unwrap().len()
    }

    /// Starts a copy after `change`: it has everything, or it refuses and names a file.
    fn start(&self, change: impl Fn(&Path)) -> Outcome {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("books");
        copy_dir(&self.dir, &dir);
        change(&dir);
        let opened = SqliteStore::open(&dir, LANE, keys(1), sqlite_options());
        let books = match opened.and_then(|store| start(store.split(), 8)) {
            Ok(books) => books,
            Err(StoreError::Damaged { file, .. } | StoreError::Foreign { file, .. }) => {
                assert!(Path::new(&file).starts_with(&dir), "{file}");
                return Outcome::Refused(file);
            }
            Err(error) => panic!("neither recovered nor refused: {error}"),
        };
        assert_eq!(books.view(Lane::checkpoint).unwrap(), self.state);
        assert_eq!(books.scan(KIND).unwrap(), self.documents);
        let facts =
            books.load(&Needs { once: (1..=RECORDS).map(once).collect(), ..Needs::default() }).unwrap();
        assert_eq!(facts.once.len(), usize::try_from(RECORDS).unwrap());
        let report = books.audit().unwrap();
        assert!(report.is_clean() && report.records == RECORDS, "{report:?}");
        books.commit(buy(10_000, books.durable())).unwrap();
        books.stop().unwrap();
        // What was mended stays mended.
        let books =
            start(SqliteStore::open(&dir, LANE, keys(1), sqlite_options()).unwrap().split(), 8).unwrap();
        assert_eq!(books.durable(), Seq(RECORDS + 1));
        Outcome::Recovered
    }

    fn recovers(&self, change: impl Fn(&Path)) {
        if let Outcome::Refused(file) = self.start(change) {
            panic!("refused because of {file}");
        }
    }

    fn refuses(&self, change: impl Fn(&Path)) -> String {
        match self.start(change) {
            Outcome::Recovered => panic!("built on damaged files"),
            Outcome::Refused(file) => file,
        }
    }
}

fn flip(file: &Path, byte: u64, bit: u8) {
    let mut content = std::fs::read(file).unwrap();
    content[usize::try_from(byte).unwrap()] ^= 1 << bit;
    std::fs::write(file, content).unwrap();
}

fn cut(file: &Path, bytes: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len - bytes).unwrap();
}

const DB: &str = "books.db";
const WAL: &str = "books.db-wal";
const SECOND: &str = "second-000001.log";

fn flips(file: &str, count: u64) -> (u64, u64) {
    let sample = sample();
    let size = sample.size(file);
    assert!(size > 4096, "{file} has only {size} bytes");
    let (mut recovered, mut refused) = (0, 0);
    for i in 0..count {
        // Spread evenly; every other one within the first bytes of its part, where headers are.
        let byte = (i * size / count + (i % 2) * 7).min(size - 1);
        match sample.start(|dir| flip(&dir.join(file), byte, (i % 8).try_into().unwrap())) {
            Outcome::Recovered => recovered += 1,
            Outcome::Refused(_) => refused += 1,
        }
    }
    println!("{file}: {count} flips, {recovered} recovered, {refused} refused");
    (recovered, refused)
}

#[test]
fn a_flipped_bit_in_the_sqlite_file_is_mended_or_refused() {
    let (recovered, refused) = flips(DB, 110);
    assert!(refused <= 4 && recovered >= 106, "only what says whose the file is may be refused");
}

#[test]
fn a_flipped_bit_in_the_write_ahead_log_is_mended_from_the_second_copy() {
    assert_eq!(flips(WAL, 110), (110, 0));
}

#[test]
fn a_flipped_bit_in_the_second_copy_is_mended_from_the_sqlite_file() {
    assert_eq!(flips(SECOND, 80), (80, 0));
}

#[test]
fn a_torn_end_of_the_second_copy_is_cut_off_and_written_again() {
    let sample = sample();
    for bytes in [1, 31, 32, 33, 100, 500, 1000, 5000] {
        sample.recovers(|dir| cut(&dir.join(SECOND), bytes));
    }
    // Bytes after the last frame that never became one.
    for tail in [&[0u8; 4096][..], &[0xa5; 77]] {
        sample.recovers(|dir| {
            let mut content = std::fs::read(dir.join(SECOND)).unwrap();
            content.extend_from_slice(tail);
            std::fs::write(dir.join(SECOND), content).unwrap();
        });
    }
}

#[test]
fn one_copy_that_is_gone_or_emptied_is_written_again_from_the_other() {
    let sample = sample();
    sample.recovers(|dir| std::fs::remove_file(dir.join(SECOND)).unwrap());
    sample.recovers(|dir| std::fs::write(dir.join(SECOND), b"").unwrap());
    sample.recovers(|dir| std::fs::remove_file(dir.join(WAL)).unwrap());
    sample.recovers(|dir| cut(&dir.join(WAL), 20_000));
    sample.recovers(|dir| {
        std::fs::remove_file(dir.join(DB)).unwrap();
        std::fs::remove_file(dir.join(WAL)).unwrap();
    });
    sample.recovers(|dir| cut(&dir.join(DB), 8192));
}

#[test]
fn damage_in_both_copies_is_refused() {
    let sample = sample();
    let wal = sample.size(WAL);
    let second = sample.size(SECOND);
    // SQLite silently loses the records after the flip; the damaged second copy is what knows of them.
    let file = sample.refuses(|dir| {
        flip(&dir.join(WAL), wal / 2, 3);
        flip(&dir.join(SECOND), second / 3, 3);
    });
    assert!(file.ends_with(SECOND), "{file}");
    sample.refuses(|dir| {
        std::fs::remove_file(dir.join(DB)).unwrap();
        flip(&dir.join(SECOND), second / 2, 3);
    });
    sample.refuses(|dir| {
        flip(&dir.join(WAL), wal / 4, 3);
        flip(&dir.join(SECOND), 20, 3);
    });
}

#[test]
fn copies_that_went_different_ways_are_refused() {
    let sample = sample();
    let other = tempfile::tempdir().unwrap();
    let place = OnDisk(other.path().join("books"));
    let books = start(place.open().unwrap(), 8).unwrap();
    for n in 1..=RECORDS + 5 {
        books.commit(buy(n + 500, books.durable())).unwrap();
    }
    books.stop().unwrap();
    sample.refuses(|dir| {
        std::fs::copy(place.0.join(SECOND), dir.join(SECOND)).unwrap();
    });
}

#[test]
fn a_large_store_with_many_segments_is_mended_too() {
    let root = tempfile::tempdir().unwrap();
    let options = SqliteOptions { segment_bytes: 4096, full_check_bytes: 10_000, ..sqlite_options() };
    let live = root.path().join("live");
    let books =
        start(SqliteStore::create(&live, LANE, keys(1), options.clone()).unwrap().split(), 16).unwrap();
    for n in 1..=120 {
        books.commit(buy(n, books.durable())).unwrap();
    }
    books.audit().unwrap();
    let state = books.view(Lane::checkpoint).unwrap();
    let last = (1..).take_while(|n| live.join(format!("second-{n:06}.log")).exists()).last().unwrap();
    assert!(last > 10, "{last}");
    let newest = format!("second-{last:06}.log");
    let changes: [&dyn Fn(&Path); 6] = [
        &|_| {},
        &|dir| flip(&dir.join(&newest), 100, 1),
        &|dir| flip(&dir.join(WAL), 50_000, 1),
        &|dir| std::fs::remove_file(dir.join(&newest)).unwrap(),
        &|dir| std::fs::write(dir.join(&newest), b"FLOR").unwrap(),
        &|dir| std::fs::remove_file(dir.join(DB)).unwrap(),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let dir = root.path().join(format!("copy{i}"));
        copy_dir(&live, &dir);
        change(&dir);
        let store = SqliteStore::open(&dir, LANE, keys(1), options.clone()).unwrap();
        let books = start(store.split(), 16).unwrap();
        assert_eq!(books.view(Lane::checkpoint).unwrap(), state, "change {i}");
        assert!(books.audit().unwrap().is_clean(), "change {i}");
    }
    // What is old is left to the audit: it finds the flip and names the file; a whole check at the start mends it.
    let dir = root.path().join("old");
    copy_dir(&live, &dir);
    flip(&dir.join("second-000003.log"), 500, 1);
    let books = start(SqliteStore::open(&dir, LANE, keys(1), options.clone()).unwrap().split(), 16).unwrap();
    match books.audit() {
        Err(StoreError::Damaged { file, .. }) => assert!(file.ends_with("second-000003.log"), "{file}"),
        other => panic!("{other:?}"),
    }
    books.stop().unwrap();
    let options = SqliteOptions { full_check_bytes: u64::MAX, ..options };
    let books = start(SqliteStore::open(&dir, LANE, keys(1), options).unwrap().split(), 16).unwrap();
    assert!(books.audit().unwrap().is_clean());
}

#[test]
fn nothing_is_readable_at_rest() {
    let sample = sample();
    let find = |content: &[u8], what: &[u8]| content.windows(what.len()).any(|w| w == what);
    let mut files = 0;
    for entry in std::fs::read_dir(&sample.dir).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        for what in [MARKER, &MARKER[..8], &id(1), &id(RECORDS), &cause(3).0] {
            assert!(!find(&content, what), "{}", path.display());
        }
        files += 1;
    }
    assert!(files >= 5);
}
