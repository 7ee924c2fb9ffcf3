//! Retention: seeds that go, records that go behind an opening, and every way in which that can be cut short or damaged.
//! Source: books.md, "Retention" and "Two durable copies of each batch".
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

const DB: &str = "books.db";
const RECORDS: u64 = 60;
const FAR: Timestamp = Timestamp(u64::MAX >> 1);

fn small() -> SqliteOptions {
    SqliteOptions { segment_bytes: 6000, ..sqlite_options() }
}

fn open(dir: &Path) -> Result<Books, StoreError> {
    let store =
        if dir.join(DB).exists() || dir.join("second-opening.log").exists() || !segments(dir).is_empty() {
            SqliteStore::open(dir, LANE, keys(1), small())?
        } else {
            SqliteStore::create(dir, LANE, keys(1), small())?
        };
    start(store.split(), 8)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    found.retain(|p| {
        let name = p.file_name().unwrap().to_str().unwrap();
        name.starts_with("second-0") && name.ends_with(".log")
    });
    found.sort();
    found
}

fn bytes(dir: &Path) -> u64 {
    segments(dir).iter().map(|p| p.metadata().unwrap().len()).sum()
}

/// A buy with a seed of some size, and a document that every tenth purchase writes again.
fn change(n: u64, as_of: Seq) -> Transition {
    let mut t = buy(n, as_of);
    t.seed = vec![u8::try_from(n % 251).unwrap(); 700];
    t
}

fn fill(books: &Books, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        books.commit(change(n, books.durable())).unwrap();
    }
}

struct Sample {
    root: tempfile::TempDir,
    dir: PathBuf,
}

fn sample() -> (Sample, Books) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("live");
    let books = open(&dir).unwrap();
    fill(&books, 1..=RECORDS);
    (Sample { root, dir }, books)
}

impl Sample {
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.root.path().join(name);
        copy_dir(&self.dir, &to);
        to
    }
}

fn seeds(books: &Books) -> Vec<u64> {
    let all = books.read(Seq(1), 10_000).unwrap();
    all.into_iter().filter(|r| r.seed.is_some()).map(|r| r.core.seq.0).collect()
}

/// The whole state, also what is only in the tables.
type Everything = (Vec<u8>, Vec<(DocumentKey, Document)>, Vec<(OnceKey, Seq)>);

fn everything(books: &Books) -> Everything {
    let needs = Needs { once: (1..=RECORDS).map(once).collect(), ..Needs::default() };
    let mut taken: Vec<_> = books.load(&needs).unwrap().once.into_iter().collect();
    taken.sort_unstable();
    (books.view(Lane::checkpoint).unwrap(), books.scan(KIND).unwrap(), taken)
}

fn flip(file: &Path, at: u64) {
    let mut content = std::fs::read(file).unwrap();
    let at = usize::try_from(at).unwrap() % content.len();
    content[at] ^= 4;
    std::fs::write(file, content).unwrap();
}

#[test]
fn seeds_older_than_the_time_go_from_both_copies_and_nothing_else_does() {
    let (sample, books) = sample();
    let middle = books.record(Seq(31)).unwrap().unwrap().core.time;
    let (before, size) = (everything(&books), bytes(&sample.dir));
    let done = books.strip(middle, Timestamp(0)).unwrap();
    assert_eq!(done.seeds, 30);
    assert!(done.segments > 0 && bytes(&sample.dir) == size - done.bytes, "{done:?}");
    assert_eq!(seeds(&books), (31..=RECORDS).collect::<Vec<_>>());
    assert!(books.audit().unwrap().is_clean());
    assert_eq!(books.strip(middle, Timestamp(0)).unwrap(), Retained::default());
    // What is left of the segment that is written to goes once that is ended.
    let done = books.strip(FAR, FAR).unwrap();
    assert_eq!((done.seeds, seeds(&books)), (30, Vec::new()));
    assert!(bytes(&sample.dir) < size / 2, "{size} {}", bytes(&sample.dir));
    fill(&books, RECORDS + 1..=RECORDS + 9);
    books.stop().unwrap();
    let books = open(&sample.dir).unwrap();
    assert!(books.audit().unwrap().is_clean());
    assert_eq!(seeds(&books).len(), 9);
    assert_eq!(everything(&books).2, before.2);
    // What was written before is in no segment any more: a second copy alone gives records without seeds.
    books.stop().unwrap();
    for name in [DB, "books.db-wal", "books.db-shm"] {
        let _ = std::fs::remove_file(sample.dir.join(name));
    }
    assert_eq!(seeds(&open(&sample.dir).unwrap()), (RECORDS + 1..=RECORDS + 9).collect::<Vec<_>>());
}

#[test]
fn either_copy_without_seeds_mends_the_other_and_a_crash_between_the_two_is_no_matter() {
    let (sample, books) = sample();
    let old = sample.copy("old");
    books.strip(FAR, FAR).unwrap();
    fill(&books, RECORDS + 1..=RECORDS + 3);
    let state = books.view(Lane::checkpoint).unwrap();
    let check = |dir: &Path, what: &str| {
        let books = open(dir).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(books.view(Lane::checkpoint).unwrap(), state, "{what}");
        assert!(books.audit().unwrap().is_clean(), "{what}");
        books.strip(FAR, FAR).unwrap();
        assert_eq!(seeds(&books), Vec::<u64>::new(), "{what}");
        assert!(books.audit().unwrap().is_clean(), "{what}");
    };
    check(&sample.copy("as-it-is"), "as it is");
    let dir = sample.copy("no-db");
    std::fs::remove_file(dir.join(DB)).unwrap();
    let _ = std::fs::remove_file(dir.join("books.db-wal"));
    check(&dir, "no db");
    let dir = sample.copy("no-second");
    segments(&dir).iter().for_each(|s| std::fs::remove_file(s).unwrap());
    check(&dir, "no second");
    // Segments as they were before, beside an SQLite file without seeds: the crash came first there.
    let dir = sample.copy("half");
    for segment in segments(&old).iter().take(segments(&old).len() - 1) {
        std::fs::copy(segment, dir.join(segment.file_name().unwrap())).unwrap();
    }
    check(&dir, "old segments");
    // And the other way round: SQLite was not reached any more.
    let dir = sample.root.path().join("other");
    copy_dir(&old, &dir);
    let books = open(&dir).unwrap();
    fill(&books, RECORDS + 1..=RECORDS + 3);
    drop(books);
    let unstripped = sample.root.path().join("unstripped");
    copy_dir(&dir, &unstripped);
    let books = open(&dir).unwrap();
    books.strip(FAR, FAR).unwrap();
    books.stop().unwrap();
    for segment in segments(&dir) {
        std::fs::copy(&segment, unstripped.join(segment.file_name().unwrap())).unwrap();
    }
    let books = open(&unstripped).unwrap();
    assert!(!seeds(&books).is_empty());
    books.strip(FAR, FAR).unwrap();
    assert!(seeds(&books).is_empty() && books.audit().unwrap().is_clean());
}

type Change<'a> = Box<dyn Fn(&Path) + 'a>;

#[test]
fn a_segment_that_was_written_again_cannot_be_changed_cut_or_swapped() {
    let (sample, books) = sample();
    books.strip(FAR, FAR).unwrap();
    fill(&books, RECORDS + 1..=RECORDS + 2);
    books.stop().unwrap();
    let all = segments(&sample.dir);
    assert!(all.len() > 4, "{}", all.len());
    let (first, second) = (all[0].file_name().unwrap(), all[1].file_name().unwrap());
    let len = all[0].metadata().unwrap().len();
    let changes: Vec<Change> = vec![
        Box::new(|dir| flip(&dir.join(first), 9)),
        Box::new(|dir| flip(&dir.join(first), 60)),
        Box::new(|dir| flip(&dir.join(first), 100)),
        Box::new(|dir| flip(&dir.join(first), 130)),
        Box::new(move |dir| flip(&dir.join(first), len - 5)),
        // Its last frame cut off, whole: only the header knows where it ends.
        Box::new(|dir| {
            let content = std::fs::read(dir.join(first)).unwrap();
            let mut ends = vec![146usize];
            while let Some(head) = content.get(ends[ends.len() - 1]..).filter(|r| !r.is_empty()) {
                let body = u32::from_be_bytes(head[..4].try_into().unwrap());
                ends.push(ends[ends.len() - 1] + 28 + usize::try_from(body).unwrap() + 32);
            }
            std::fs::write(dir.join(first), &content[..ends[ends.len() - 2]]).unwrap();
        }),
        Box::new(|dir| std::fs::rename(dir.join(second), dir.join(first)).unwrap()),
        Box::new(|dir| std::fs::remove_file(dir.join(second)).unwrap()),
    ];
    for (i, change) in changes.iter().enumerate() {
        let dir = sample.copy(&format!("change-{i}"));
        change(&dir);
        // SQLite is whole: the second copy is written again.
        let books = open(&dir).unwrap_or_else(|e| panic!("change {i}: {e}"));
        assert!(books.audit().unwrap().is_clean(), "change {i}");
        let aside = std::fs::read_dir(&dir)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "damaged"));
        assert!(aside.count() > 0, "change {i} went unnoticed");
        // Without SQLite nothing is made up.
        let dir = sample.copy(&format!("alone-{i}"));
        change(&dir);
        std::fs::remove_file(dir.join(DB)).unwrap();
        let no = open(&dir);
        assert!(matches!(no, Err(StoreError::Damaged { .. } | StoreError::Foreign { .. })), "change {i}");
    }
}

#[test]
fn a_second_copy_that_held_more_than_sqlite_is_found_out_also_without_seeds() {
    let (sample, books) = sample();
    books.strip(FAR, FAR).unwrap();
    books.stop().unwrap();
    let old = sample.copy("behind");
    let books = open(&sample.dir).unwrap();
    fill(&books, RECORDS + 1..=RECORDS + 5);
    books.stop().unwrap();
    // SQLite as it was five records ago; a second copy that knows of them, but is damaged at its beginning.
    for segment in segments(&sample.dir) {
        std::fs::copy(&segment, old.join(segment.file_name().unwrap())).unwrap();
    }
    flip(&segments(&old)[0], 70);
    assert!(matches!(open(&old), Err(StoreError::Damaged { .. })));
}

fn sign(opening: &Opening) -> Vec<u8> {
    [b"signed ".as_slice(), &opening.to_bytes()].concat()
}

#[test]
fn records_go_behind_an_opening_and_both_copies_can_still_rebuild_the_other() {
    let (sample, books) = sample();
    books.strip(FAR, Timestamp(0)).unwrap();
    let before = everything(&books);
    let (size, journal) = (bytes(&sample.dir), books.durable());
    let opening = books.drop_before(Seq(40), &sign).unwrap().unwrap();
    assert!(opening.seq > Seq(20) && opening.seq < Seq(40), "{:?}", opening.seq);
    assert_eq!(opening.balances.iter().map(|b| b.2.unsigned_abs()).max(), Some(opening.seq.0 * 21));
    assert!(bytes(&sample.dir) < size);
    let stored = books.opening().unwrap().unwrap();
    assert_eq!((stored.seq, &stored.signed), (opening.seq, &sign(&opening)));
    assert_eq!(everything(&books), before);
    assert_eq!(books.read(Seq(1), 1).unwrap()[0].core.seq, opening.seq.next());
    let report = books.audit().unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.records, journal.0 - opening.seq.0);
    assert!(books.drop_before(opening.seq, &sign).unwrap().is_none());
    drop(books);
    let check = |dir: &Path, what: &str| {
        let books = open(dir).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(everything(&books), before, "{what}");
        let report = books.audit().unwrap();
        assert!(report.is_clean() && report.records == journal.0 - opening.seq.0, "{what}");
        assert_eq!(books.opening().unwrap().unwrap().signed, sign(&opening), "{what}");
        assert_eq!(books.record(opening.seq).unwrap(), None, "{what}");
        // Further on: records, and another opening.
        fill(&books, RECORDS + 1..=RECORDS + 40);
        let next = books.drop_before(Seq(70), &sign).unwrap().unwrap();
        assert!(next.seq > opening.seq, "{what}");
        assert!(books.audit().unwrap().is_clean(), "{what}");
        books.stop().unwrap();
        let books = open(dir).unwrap();
        assert!(books.audit().unwrap().is_clean(), "{what}");
    };
    let without_db = |dir: &Path| {
        for name in [DB, "books.db-wal", "books.db-shm"] {
            let _ = std::fs::remove_file(dir.join(name));
        }
    };
    check(&sample.copy("as-it-is"), "as it is");
    let dir = sample.copy("no-db");
    without_db(&dir);
    check(&dir, "no db");
    let dir = sample.copy("no-second");
    for entry in std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()) {
        if entry.file_name().unwrap().to_str().unwrap().starts_with("second-") {
            std::fs::remove_file(entry).unwrap();
        }
    }
    check(&dir, "no second");
    let dir = sample.copy("no-opening");
    std::fs::remove_file(dir.join("second-opening.log")).unwrap();
    check(&dir, "no opening file");
    let dir = sample.copy("flipped-opening");
    flip(&dir.join("second-opening.log"), 90);
    check(&dir, "flipped opening");
    // Tables beside the opening that are not the ones it names are not used.
    let dir = sample.copy("tables");
    let tables = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path());
    let tables = tables.into_iter().find(|p| p.to_str().unwrap().contains("second-tables-")).unwrap();
    flip(&tables, 5000);
    assert!(matches!(open(&dir).unwrap().audit(), Err(StoreError::Damaged { .. })));
    without_db(&dir);
    assert!(matches!(open(&dir), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_crash_in_the_middle_of_dropping_is_finished_at_the_next_start() {
    let (sample, books) = sample();
    books.strip(FAR, Timestamp(0)).unwrap();
    let old = sample.copy("old");
    books.drop_before(Seq(40), &sign).unwrap().unwrap();
    let state = everything(&books);
    drop(books);
    // The second copy has its opening, SQLite nothing of it, and the old segments still lie there.
    let dir = sample.root.path().join("half");
    copy_dir(&old, &dir);
    for entry in std::fs::read_dir(&sample.dir).unwrap().map(|e| e.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap();
        if name == "second-opening.log" || name.starts_with("second-tables-") {
            std::fs::copy(&entry, dir.join(name)).unwrap();
        }
    }
    let books = open(&dir).unwrap();
    assert_eq!(everything(&books), state);
    assert!(books.audit().unwrap().is_clean());
    assert!(books.record(Seq(3)).unwrap().is_none());
    assert_eq!(segments(&dir).len(), segments(&sample.dir).len());
    // Only the tables were laid aside: they go again.
    let dir = sample.root.path().join("early");
    copy_dir(&old, &dir);
    let tables = std::fs::read_dir(&sample.dir).unwrap().map(|e| e.unwrap().path());
    let tables = tables.into_iter().find(|p| p.to_str().unwrap().contains("second-tables-")).unwrap();
    let left = dir.join(tables.file_name().unwrap());
    std::fs::copy(&tables, &left).unwrap();
    let books = open(&dir).unwrap();
    assert!(!left.exists());
    assert!(books.record(Seq(3)).unwrap().is_some() && books.audit().unwrap().is_clean());
}

#[test]
fn a_backup_of_books_with_an_opening_and_without_seeds_opens() {
    let (sample, books) = sample();
    books.strip(FAR, FAR).unwrap();
    books.drop_before(Seq(40), &sign).unwrap().unwrap();
    fill(&books, RECORDS + 1..=RECORDS + 4);
    let to = sample.root.path().join("backup");
    let copied = books.backup(&to).unwrap();
    assert_eq!(copied.last, books.durable());
    assert_eq!(copied.chain, Some(books.view(Lane::chain).unwrap()));
    assert_eq!(books.chain_at(copied.last).unwrap(), copied.chain);
    assert_eq!(books.chain_at(Seq(copied.last.0 + 1)).unwrap(), None);
    let listed = |dir: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        names
    };
    let files = listed(&to);
    assert_eq!(SqliteStore::check(&to, LANE, &keys(1)).unwrap(), copied);
    assert!(matches!(SqliteStore::check(&to, LANE, &keys(2)), Err(StoreError::Foreign { .. })));
    assert_eq!(listed(&to), files, "a check changes nothing");
    for file in &files {
        let dir = sample.root.path().join("flipped");
        copy_dir(&to, &dir);
        let file = dir.join(file.file_name().unwrap());
        let mut content = std::fs::read(&file).unwrap();
        let middle = content.len() / 2;
        content[middle..].iter_mut().take(4096).for_each(|b| *b ^= 0x55);
        std::fs::write(&file, content).unwrap();
        assert!(SqliteStore::check(&dir, LANE, &keys(1)).is_err(), "{}", file.display());
    }
    let again = open(&to).unwrap();
    assert_eq!(everything(&again), everything(&books));
    assert!(again.audit().unwrap().is_clean());
}

#[test]
fn old_documents_are_found_by_page_and_records_by_their_time() {
    let on_both = |books: &Books| {
        fill(books, 1..=RECORDS);
        let time = |n: u64| books.read(Seq(n), 1).unwrap()[0].core.time;
        assert_eq!(books.seq_before(Timestamp(0)).unwrap(), Seq(0));
        assert_eq!(books.seq_before(FAR).unwrap(), Seq(RECORDS));
        for n in [1, 2, 30, RECORDS] {
            assert_eq!(books.seq_before(time(n)).unwrap(), Seq(n - 1), "{n}");
        }
        let (mut found, mut page) = (Vec::new(), None);
        loop {
            let (some, next) = books.older(KIND, Seq(30), page, 7).unwrap();
            assert!(some.len() <= 7);
            found.extend(some.into_iter().map(|(_, version, _)| version.0));
            page = next;
            if page.is_none() {
                break;
            }
        }
        found.sort_unstable();
        assert_eq!(found, (1..=30).collect::<Vec<_>>());
    };
    let root = tempfile::tempdir().unwrap();
    on_both(&open(&root.path().join("books")).unwrap());
    on_both(&start(MemoryStore::new().split(), 8).unwrap());
}
