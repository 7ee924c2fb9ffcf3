//! Folds that are spread over commits: what stands on the disk in the middle of one, what a start makes of it, and what
//! readers see meanwhile. Source: books.md, "Lanes and stores"; docs/adr/0029.
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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use florin_books::*;
use florin_store::*;

const DB: &str = "books.db";

fn sql<T: rusqlite::types::FromSql>(dir: &Path, query: &str) -> Option<T> {
    let conn = rusqlite::Connection::open(dir.join(DB)).unwrap();
    conn.query_row(query, [], |r| r.get(0)).ok()
}

fn is_under_way(dir: &Path) -> bool {
    sql::<Vec<u8>>(dir, "SELECT value FROM meta WHERE name = 'rows'").is_some()
}

fn open(dir: &Path, fold_every: u64) -> Result<Books, StoreError> {
    start(SqliteStore::open(dir, LANE, keys(1), sqlite_options())?.split(), fold_every)
}

/// Everything that was committed is there, and every stored byte verifies.
fn is_whole(books: &Books, state: &[u8], count: u64) {
    assert_eq!(books.view(Lane::checkpoint).unwrap(), state);
    let facts = books.load(&Needs { once: (1..=count).map(once).collect(), ..Needs::default() }).unwrap();
    assert_eq!(facts.once.len(), usize::try_from(count).unwrap());
    let report = books.audit().unwrap();
    assert!(report.is_clean() && report.records == count, "{report:?}");
}

/// Copies of the directory as a crash after each commit would leave it, with the lane's state.
fn crashed_after_each(root: &Path, fold_every: u64, commits: u64) -> Vec<(std::path::PathBuf, Vec<u8>, u64)> {
    let place = OnDisk(root.join("live"));
    let books = start(place.open().unwrap(), fold_every).unwrap();
    let mut copies = Vec::new();
    for n in 1..=commits {
        books.commit(buy(n, books.durable())).unwrap();
        // What the answer does not wait for: the begin of a fold, and its making ready.
        books.view(|_| ()).unwrap();
        std::thread::sleep(Duration::from_millis(3));
        let dir = root.join(format!("after-{n}"));
        copy_dir(&place.0, &dir);
        copies.push((dir, books.view(Lane::checkpoint).unwrap(), n));
    }
    copies
}

#[test]
fn the_tables_verify_in_the_middle_of_a_fold_and_a_start_takes_it_up() {
    let root = tempfile::tempdir().unwrap();
    let copies = crashed_after_each(root.path(), 12, 60);
    let under_way = copies.iter().filter(|(dir, ..)| is_under_way(dir)).count();
    assert!(under_way >= 10, "{under_way} of 60 copies are in the middle of a fold");
    for (dir, state, count) in copies {
        let books = open(&dir, 12).unwrap();
        is_whole(&books, &state, count);
        for n in 1000..1030 {
            books.commit(buy(n, books.durable())).unwrap();
        }
        let state = books.view(Lane::checkpoint).unwrap();
        books.stop().unwrap();
        assert!(!is_under_way(&dir));
        let folded: i64 = sql(&dir, "SELECT seq FROM checkpoint").unwrap();
        assert_eq!(u64::try_from(folded).unwrap(), count + 30, "who stops folds everything");
        let books = open(&dir, 12).unwrap();
        assert_eq!(books.view(Lane::checkpoint).unwrap(), state);
        assert!(books.audit().unwrap().is_clean());
    }
}

#[test]
fn damage_in_the_middle_of_a_fold_is_found_and_mended_from_the_second_copy() {
    let root = tempfile::tempdir().unwrap();
    let copies = crashed_after_each(root.path(), 12, 60);
    let (dir, state, count) = copies
        .iter()
        .rev()
        .find(|(dir, _, n)| *n > 20 && is_under_way(dir))
        .expect("a copy in the middle of a fold");
    let changes = [
        "DELETE FROM once WHERE id = (SELECT max(id) FROM once)",
        "UPDATE once SET seq = seq + 1 WHERE id = (SELECT min(id) FROM once)",
        "DELETE FROM document WHERE id = (SELECT max(id) FROM document)",
        "UPDATE mark SET until = until - 1 WHERE id = (SELECT min(id) FROM mark)",
        "DELETE FROM meta WHERE name = 'rows'",
        "UPDATE meta SET value = zeroblob(48) WHERE name = 'rows'",
        "DELETE FROM part WHERE id % 2 = (SELECT part_set FROM checkpoint)",
        "UPDATE checkpoint SET part_set = 1 - part_set",
        "UPDATE checkpoint SET seq = seq + 1",
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let changed = root.path().join(format!("changed-{i}"));
        copy_dir(dir, &changed);
        let conn = rusqlite::Connection::open(changed.join(DB)).unwrap();
        assert!(conn.execute(change, []).unwrap() > 0, "{change}");
        drop(conn);
        let books = open(&changed, 12).unwrap_or_else(|e| panic!("{change}: {e}"));
        is_whole(&books, state, *count);
        drop(books);
        assert!(changed.join("books.db.damaged").exists(), "not found: {change}");
    }
    // Nothing was wrong: nothing is written again.
    let untouched = root.path().join("untouched");
    copy_dir(dir, &untouched);
    is_whole(&open(&untouched, 12).unwrap(), state, *count);
    assert!(!untouched.join("books.db.damaged").exists());
}

#[test]
fn rows_of_an_older_moment_do_not_pass_for_those_of_the_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let copies = crashed_after_each(root.path(), 12, 60);
    let early = copies.iter().find(|(dir, ..)| is_under_way(dir)).unwrap();
    let late = copies.iter().rev().find(|(dir, ..)| is_under_way(dir)).unwrap();
    let conn = rusqlite::Connection::open(late.0.join(DB)).unwrap();
    // The tables and their sum as they were, each of them genuine; the checkpoint and the records as they are.
    conn.execute("ATTACH ?1 AS early", [early.0.join(DB).to_str().unwrap()]).unwrap();
    conn.execute_batch(
        "DELETE FROM once; INSERT INTO once SELECT * FROM early.once;
         DELETE FROM document; INSERT INTO document SELECT * FROM early.document;
         DELETE FROM mark; INSERT INTO mark SELECT * FROM early.mark;
         DELETE FROM meta WHERE name = 'rows';
         INSERT INTO meta SELECT * FROM early.meta WHERE name = 'rows';",
    )
    .unwrap();
    drop(conn);
    is_whole(&open(&late.0, 12).unwrap(), &late.1, late.2);
    assert!(late.0.join("books.db.damaged").exists());
}

#[test]
fn an_idle_lane_finishes_its_fold() {
    let root = tempfile::tempdir().unwrap();
    let place = OnDisk(root.path().join("books"));
    let (log, reads) = place.open().unwrap();
    let options = Options { fold_every: 40, fold_idle: Duration::from_millis(1), ..Options::default() };
    let books = Books::start(log, reads, spec(), OwnerId([1; 16]), ticks(), &options).unwrap();
    for n in 1..=45 {
        books.commit(buy(n, books.durable())).unwrap();
    }
    let begun = Instant::now();
    while sql::<i64>(&place.0, "SELECT seq FROM checkpoint").is_none_or(|seq| seq < 40) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the fold is never whole");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(books.audit().unwrap().is_clean());
}

/// A store whose folds never go in by themselves: what a machine that is too slow looks like.
struct Slow {
    log: Box<dyn Log>,
    begun: Arc<AtomicU64>,
}

impl Log for Slow {
    fn acquire(&mut self, lane: LaneId, me: OwnerId) -> Result<Recovered, StoreError> {
        self.log.acquire(lane, me)
    }
    fn has_room(&mut self) -> Result<(), StoreError> {
        self.log.has_room()
    }
    fn append(&mut self, fence: Fence, first: Seq, entries: &[Entry]) -> Result<Option<Seq>, StoreError> {
        self.log.append(fence, first, entries)
    }
    fn begin_fold(&mut self, fence: Fence, snapshot: Snapshot, _: u64) -> Result<(), StoreError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.log.begin_fold(fence, snapshot, u64::MAX)
    }
    fn fold(&mut self, fence: Fence, all: bool) -> Result<Option<Seq>, StoreError> {
        self.log.fold(fence, all)
    }
}

#[test]
fn a_fold_that_falls_behind_is_finished_before_the_tail_grows() {
    let store = MemoryStore::new();
    let (log, reads) = store.split();
    let begun = Arc::new(AtomicU64::new(0));
    let slow = Slow { log, begun: begun.clone() };
    let books = Books::start(Box::new(slow), reads, spec(), OwnerId([1; 16]), ticks(), &options(10)).unwrap();
    for n in 1..=100 {
        books.commit(buy(n, books.durable())).unwrap();
        let tail = books.view(|lane| lane.seq().0 - lane.overlay().floor().0).unwrap();
        assert!(tail <= 60, "{tail} records are kept in memory");
    }
    assert!(begun.load(Ordering::SeqCst) >= 5);
    assert!(books.audit().unwrap().is_clean());
}

fn write(n: u64, as_of: Seq) -> Transition {
    let mut t = Transition::new(cause(n), as_of);
    t.write(key(1), n.to_be_bytes().to_vec());
    t
}

#[test]
fn a_document_that_is_read_all_the_time_is_never_read_old() {
    let root = tempfile::tempdir().unwrap();
    for halves in [MemoryStore::new().split(), OnDisk(root.path().join("books")).open().unwrap()] {
        let books = start(halves, 3).unwrap();
        let needs = Needs { documents: vec![key(1), key(2)], once: vec![once(77)], ..Needs::default() };
        let stop = AtomicBool::new(false);
        std::thread::scope(|s| {
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    s.spawn(|| {
                        let (mut newest, mut reads) = (Seq(0), 0u64);
                        while !stop.load(Ordering::SeqCst) {
                            let floor = books.durable();
                            let facts = books.load(&needs).unwrap();
                            let Some(found) = facts.documents.get(&key(1)) else { continue };
                            assert!(found.version >= newest, "{:?} after {newest:?}", found.version);
                            // Every fifth record writes it.
                            assert!(found.version.0 + 5 > floor.0, "{:?} at {floor:?}", found.version);
                            assert!(!facts.documents.contains_key(&key(2)) && facts.once.is_empty());
                            (newest, reads) = (found.version, reads + 1);
                        }
                        reads
                    })
                })
                .collect();
            for n in 0..400u64 {
                let t = if n % 5 == 0 {
                    write(n + 10_000, books.durable())
                } else {
                    buy(n + 100, books.durable())
                };
                books.commit(t).unwrap();
            }
            stop.store(true, Ordering::SeqCst);
            assert!(readers.into_iter().map(|r| r.join().unwrap()).sum::<u64>() > 0);
        });
        // A document that goes stays gone, also from what was read lately.
        books.load(&needs).unwrap();
        let mut gone = Transition::new(cause(1), books.durable());
        gone.remove(key(1));
        books.commit(gone).unwrap();
        for n in 1000..1020 {
            books.commit(buy(n, books.durable())).unwrap();
            assert!(books.load(&needs).unwrap().documents.is_empty());
        }
    }
}

#[test]
fn what_was_folded_before_a_start_is_found_while_ids_are_still_read_in() {
    let root = tempfile::tempdir().unwrap();
    let place = OnDisk(root.path().join("books"));
    let books = start(place.open().unwrap(), 500).unwrap();
    for n in 1..=600 {
        books.submit(buy(n, books.durable()), Box::new(|r| drop(r.unwrap())));
    }
    books.stop().unwrap();
    let books = start(place.open().unwrap(), 500).unwrap();
    let one = |n| Needs { once: vec![once(n)], documents: vec![key(n)], ..Needs::default() };
    for round in 0..2 {
        for n in 1..=600 {
            let facts = books.load(&one(n)).unwrap();
            assert!(
                facts.once.contains_key(&once(n)) && facts.documents.contains_key(&key(n)),
                "{round} {n}"
            );
        }
        for n in 601..=1200 {
            let facts = books.load(&one(n)).unwrap();
            assert!(facts.once.is_empty() && facts.documents.is_empty());
        }
    }
}
