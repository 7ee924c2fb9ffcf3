//! Retention, backup and audit while a fold is on its way into the tables. Source: books.md, "Retention" and "Lanes and
//! stores"; docs/adr/0029, docs/adr/0030.
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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::*;
use florin_books::*;
use florin_store::*;

const DB: &str = "books.db";
const FAR: Timestamp = Timestamp(u64::MAX >> 1);
const FOLD_EVERY: u64 = 12;

fn open(dir: &Path) -> Result<Books, StoreError> {
    let options = SqliteOptions { segment_bytes: 4000, ..sqlite_options() };
    let store = if dir.exists() {
        SqliteStore::open(dir, LANE, keys(1), options)?
    } else {
        SqliteStore::create(dir, LANE, keys(1), options)?
    };
    start(store.split(), FOLD_EVERY)
}

fn sql<T: rusqlite::types::FromSql>(file: &Path, query: &str) -> Option<T> {
    rusqlite::Connection::open(file).unwrap().query_row(query, [], |r| r.get(0)).ok()
}

fn is_under_way(file: &Path) -> bool {
    sql::<Vec<u8>>(file, "SELECT value FROM meta WHERE name = 'rows'").is_some()
}

fn folded(dir: &Path) -> u64 {
    sql::<i64>(&dir.join(DB), "SELECT seq FROM checkpoint").map_or(0, |seq| seq.try_into().unwrap())
}

fn files(dir: &Path, begins: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|p| p.file_name().unwrap().to_str().unwrap().starts_with(begins));
    found.sort();
    found
}

fn remove(dir: &Path, begins: &str) {
    files(dir, begins).iter().for_each(|f| std::fs::remove_file(f).unwrap());
}

/// A purchase with a seed of some size; every third one also writes a document that all of them share.
fn change(n: u64, as_of: Seq) -> Transition {
    let mut t = buy(n, as_of);
    t.seed = vec![u8::try_from(n % 251).unwrap(); 500];
    if n.is_multiple_of(3) {
        t.write(key(0), n.to_be_bytes().to_vec());
    }
    t
}

/// Commits, and waits until a fold that began with it is ready to go in.
fn commit(books: &Books, n: u64) {
    books.commit(change(n, books.durable())).unwrap();
    books.view(|_| ()).unwrap();
    std::thread::sleep(Duration::from_millis(3));
}

fn sign(opening: &Opening) -> Vec<u8> {
    [b"signed ".as_slice(), &opening.to_bytes()].concat()
}

/// Everything that was ever written is there, and nothing else, whatever the filter and the cache have been through.
fn holds(books: &Books, count: u64, what: &str) {
    for _ in 0..2 {
        let mut all = Needs {
            once: (1..=count + 50).map(once).collect(),
            documents: (0..=count + 50).map(key).collect(),
            ..Needs::default()
        };
        all.marks = (1..=count + 50).map(|n| Mark { kind: KIND, id: id(n), until: FAR }).collect();
        let facts = books.load(&all).unwrap();
        let expected = usize::try_from(count).unwrap();
        assert_eq!((facts.once.len(), facts.marked.len()), (expected, expected), "{what}");
        assert_eq!(facts.documents.len(), expected + 1, "{what}");
        assert_eq!(facts.documents[&key(0)].version, Seq(count / 3 * 3), "{what}");
        assert!((1..=count).all(|n| facts.once[&once(n)] == Seq(n)), "{what}");
    }
}

struct Moment {
    dir: PathBuf,
    state: Vec<u8>,
    count: u64,
    opening: Option<Opening>,
}

impl Moment {
    fn is_kept_by(&self, dir: &Path, what: &str) {
        let what = format!("{what} after {}", self.count);
        let books = open(dir).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(books.view(Lane::checkpoint).unwrap(), self.state, "{what}");
        holds(&books, self.count, &what);
        let report = books.audit().unwrap_or_else(|e| panic!("{what}: {e}"));
        let begin = self.opening.as_ref().map_or(0, |o| o.seq.0);
        assert!(report.is_clean() && report.records == self.count - begin, "{what}: {report:?}");
        let signed = books.opening().unwrap().map(|o| o.signed);
        assert_eq!(signed, self.opening.as_ref().map(sign), "{what}");
        for n in self.count + 1..=self.count + 15 {
            commit(&books, n);
        }
        holds(&books, self.count + 15, &what);
        books.stop().unwrap();
        let books = open(dir).unwrap();
        holds(&books, self.count + 15, &what);
        assert!(books.audit().unwrap().is_clean(), "{what}");
    }

    fn copy(&self, name: &str) -> PathBuf {
        let to = self.dir.with_extension(name);
        copy_dir(&self.dir, &to);
        to
    }
}

/// Books that lose seeds and records after each commit; the directory after each of them, with a backup in `backup`.
fn moments(root: &Path) -> Vec<Moment> {
    let live = root.join("live");
    let books = open(&live).unwrap();
    let (mut found, mut opening) = (Vec::new(), None);
    for n in 1..=70 {
        commit(&books, n);
        if n < 30 {
            continue;
        }
        let before = books.read(Seq(n - 6), 1).unwrap()[0].core.time;
        books.strip(before, if n.is_multiple_of(2) { FAR } else { Timestamp(0) }).unwrap();
        // Now as far as it goes, which is when a fold has become whole, and now earlier, at any moment of one.
        let seq = Seq(if n < 50 { n.saturating_sub(26) } else { n });
        if let Some(dropped) = books.drop_before(seq, &sign).unwrap() {
            assert!(dropped.seq.0 < folded(&live), "{:?} at {}", dropped.seq, folded(&live));
            opening = Some(dropped);
        }
        holds(&books, n, "live");
        let dir = root.join(format!("after-{n}"));
        copy_dir(&live, &dir);
        let copied = books.backup(&root.join(format!("backup-{n}"))).unwrap();
        assert_eq!((copied.last, copied.chain), (Seq(n), Some(books.view(Lane::chain).unwrap())));
        let state = books.view(Lane::checkpoint).unwrap();
        found.push(Moment { dir, state, count: n, opening: opening.clone() });
    }
    found
}

#[test]
fn seeds_and_records_go_in_the_middle_of_a_fold_and_either_copy_is_enough() {
    let root = tempfile::tempdir().unwrap();
    let all = moments(root.path());
    let (mut under_way, mut laid_aside, mut openings) = (0, 0, Vec::new());
    for moment in &all {
        // A crash in the middle of a fold is what the rest is about: of the others every fifth is enough.
        let middle = is_under_way(&moment.dir.join(DB));
        let tables = files(&moment.dir, "second-tables-").pop();
        let aside = tables.is_some_and(|tables| is_under_way(&tables));
        openings.extend(moment.opening.as_ref().map(|o| o.seq));
        (under_way, laid_aside) = (under_way + u32::from(middle), laid_aside + u32::from(aside));
        if !middle && !aside && !moment.count.is_multiple_of(5) {
            continue;
        }
        moment.is_kept_by(&moment.copy("as-it-is"), "as it is");
        let dir = moment.copy("no-db");
        remove(&dir, DB);
        moment.is_kept_by(&dir, "no db");
        let dir = moment.copy("no-second");
        remove(&dir, "second-");
        moment.is_kept_by(&dir, "no second");
    }
    openings.dedup();
    let seen = (under_way, laid_aside, openings.len());
    assert!(under_way >= 8 && laid_aside >= 3 && openings.len() >= 5, "{seen:?}");
}

#[test]
fn a_backup_made_in_the_middle_of_a_fold_verifies_and_opens() {
    let root = tempfile::tempdir().unwrap();
    let mut middle = 0;
    for moment in moments(root.path()) {
        let dir = root.path().join(format!("backup-{}", moment.count));
        if !is_under_way(&dir.join(DB)) {
            continue;
        }
        middle += 1;
        let copied = SqliteStore::check(&dir, LANE, &keys(1)).unwrap();
        assert_eq!(copied.last, Seq(moment.count));
        // A row that the fold under way has put in is missing: the sum that stands apart tells.
        let changed = dir.with_extension("changed");
        copy_dir(&dir, &changed);
        let conn = rusqlite::Connection::open(changed.join(DB)).unwrap();
        conn.execute("DELETE FROM once WHERE seq = (SELECT max(seq) FROM once)", []).unwrap();
        drop(conn);
        let checked = SqliteStore::check(&changed, LANE, &keys(1));
        assert!(matches!(checked, Err(StoreError::Damaged { .. })));
        moment.is_kept_by(&dir, "backup");
    }
    assert!(middle >= 8, "{middle}");
}

/// Cuts the second copy after a whole frame, so that it ends at most at a record.
fn cut_after(dir: &Path, last: u64) {
    for segment in files(dir, "second-0").into_iter().rev() {
        let content = std::fs::read(&segment).unwrap();
        let number = |at: usize| u64::from_be_bytes(content[at..at + 8].try_into().unwrap());
        let mut at = if content[8..12] == [0, 0, 0, 2] { 146 } else { 82 };
        let begin = at;
        while at < content.len() && number(at + 12) <= last {
            at += 28
                + usize::try_from(u32::from_be_bytes(content[at..at + 4].try_into().unwrap())).unwrap()
                + 32;
        }
        if at > begin {
            return std::fs::write(&segment, &content[..at]).unwrap();
        }
        std::fs::remove_file(&segment).unwrap();
    }
}

#[test]
fn tables_that_hold_more_than_the_segments_beside_them_are_not_taken_up() {
    let root = tempfile::tempdir().unwrap();
    let all = moments(root.path());
    let aside = |m: &&Moment| {
        let tables = files(&m.dir, "second-tables-").pop();
        // Rows of the fold that was under way, beyond the checkpoint.
        tables.is_some_and(|t| {
            is_under_way(&t)
                && sql::<i64>(&t, "SELECT max(seq) FROM once") > sql(&t, "SELECT seq FROM checkpoint")
        })
    };
    let moment = all.iter().find(aside).expect("tables laid aside in the middle of a fold");
    let tables = files(&moment.dir, "second-tables-").pop().unwrap();
    let newest: i64 = sql(&tables, "SELECT max(seq) FROM once").unwrap();
    let newest = u64::try_from(newest).unwrap();
    for (last, opens) in [(newest, true), (newest - 1, false)] {
        let dir = moment.copy(&format!("cut-{last}"));
        remove(&dir, DB);
        cut_after(&dir, last);
        match open(&dir) {
            Ok(books) => assert!(opens && books.durable().0 == last, "{last}: {:?}", books.durable()),
            Err(error) => {
                assert!(!opens && matches!(error, StoreError::Damaged { .. }), "{last}: {error}");
                // Nothing was touched: the next start says so again.
                assert!(matches!(open(&dir), Err(StoreError::Damaged { .. })));
            }
        }
    }
}

#[test]
fn seeds_that_a_rebuild_brings_back_go_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("live");
    let books = open(&dir).unwrap();
    (1..=60).for_each(|n| commit(&books, n));
    // Only out of SQLite: the segment that is written to still has them.
    books.strip(FAR, Timestamp(0)).unwrap();
    let seeds =
        |books: &Books| books.read(Seq(1), 1000).unwrap().into_iter().filter(|r| r.seed.is_some()).count();
    assert_eq!(seeds(&books), 0);
    books.drop_before(Seq(40), &sign).unwrap().unwrap();
    drop(books);
    remove(&dir, DB);
    let books = open(&dir).unwrap();
    assert!(seeds(&books) > 0, "there is nothing to bring back");
    books.strip(FAR, FAR).unwrap();
    assert_eq!(seeds(&books), 0);
    assert!(books.audit().unwrap().is_clean());
}

#[test]
fn audits_and_readers_go_on_while_records_are_committed_folded_and_dropped() {
    let root = tempfile::tempdir().unwrap();
    let books = open(&root.path().join("live")).unwrap();
    (1..=30).for_each(|n| commit(&books, n));
    let (stop, audits, dropped) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let report = books.audit().unwrap();
                assert!(report.is_clean(), "{report:?}");
                audits.fetch_add(1, Ordering::SeqCst);
            }
        });
        s.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let last = books.durable().0;
                let needs = Needs {
                    once: (1..=last).map(once).collect(),
                    documents: (0..=last).map(key).collect(),
                    ..Needs::default()
                };
                let facts = books.load(&needs).unwrap();
                assert_eq!(facts.once.len(), usize::try_from(last).unwrap());
                assert_eq!(facts.documents.len(), usize::try_from(last).unwrap() + 1);
                assert!(facts.documents[&key(0)].version.0 + 3 > last);
            }
        });
        for n in 31..=250 {
            books.commit(change(n, books.durable())).unwrap();
            if n.is_multiple_of(4) {
                books.strip(FAR, FAR).unwrap();
            }
            if n.is_multiple_of(7) && books.drop_before(Seq(n), &sign).unwrap().is_some() {
                dropped.fetch_add(1, Ordering::SeqCst);
            }
        }
        while audits.load(Ordering::SeqCst) < 3 {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(dropped.load(Ordering::SeqCst) >= 10, "{dropped:?}");
    assert!(books.audit().unwrap().is_clean());
}
