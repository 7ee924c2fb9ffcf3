//! One suite for every store. Source: books.md, "Lanes and stores".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod common;

use common::*;
use florin_books::*;
use florin_store::*;

fn on_both(test: impl Fn(&dyn Place)) {
    test(&InMemory(MemoryStore::new()));
    let dir = tempfile::tempdir().unwrap();
    test(&OnDisk(dir.path().join("books")));
}

fn fill(books: &Books, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        books.commit(buy(n, books.durable())).unwrap();
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_and_after_a_stop() {
    on_both(|place| {
        let books = start(place.open().unwrap(), 4).unwrap();
        fill(&books, 1..=10);
        let record = books.commit(spend(11, 0, 1, books.durable())).unwrap();
        assert_eq!(record.core.seq, Seq(11));
        let before = books.view(Lane::checkpoint).unwrap();
        drop(books);
        let books = start(place.open().unwrap(), 4).unwrap();
        assert_eq!(books.view(Lane::checkpoint).unwrap(), before);
        assert_eq!(books.record(Seq(11)).unwrap().as_deref(), Some(&*record));
        books.stop().unwrap();
        let books = start(place.open().unwrap(), 4).unwrap();
        assert_eq!(books.view(Lane::checkpoint).unwrap(), before);
        assert_eq!(books.view(|l| l.balance(Account::Register(RegisterId(1)), flo())).unwrap(), -200);
        assert!(books.audit().unwrap().is_clean());
    });
}

#[test]
fn once_keys_and_marks_are_found_across_folds_and_restarts() {
    on_both(|place| {
        let books = start(place.open().unwrap(), 3).unwrap();
        fill(&books, 1..=12);
        let mark = |n| Mark { kind: KIND, id: id(n), until: Timestamp(0) };
        let needs = Needs {
            documents: vec![],
            once: (1..=13).map(once).collect(),
            marks: (1..=13).map(mark).collect(),
            ..Needs::default()
        };
        let mut facts = books.load(&needs).unwrap();
        assert_eq!(facts.as_of, Seq(12));
        assert_eq!(facts.once.len(), 12);
        assert!((1..=12).all(|n| facts.once[&once(n)] == Seq(n)));
        assert_eq!(facts.marked.len(), 12);
        assert_eq!(books.commit(buy(12, Seq(12))), Err(Rejected::Repeated { seq: Seq(12) }.into()));
        let mut other = buy(12, Seq(12));
        other.cause = cause(99);
        assert_eq!(books.commit(other), Err(Rejected::IdReused { seq: Seq(12) }.into()));
        drop(books);
        let books = start(place.open().unwrap(), 3).unwrap();
        let mut again = books.load(&needs).unwrap();
        // What is folded already comes after what is not: the order of the marks says nothing.
        again.marked.sort_unstable();
        facts.marked.sort_unstable();
        assert_eq!(again, facts);
    });
}

#[test]
fn facts_are_as_of_a_record_and_old_ones_are_refused() {
    on_both(|place| {
        let books = start(place.open().unwrap(), 3).unwrap();
        fill(&books, 1..=2);
        let needs = Needs { documents: vec![key(1), key(77)], ..Needs::default() };
        let facts = books.load(&needs).unwrap();
        assert_eq!((facts.as_of, facts.documents.len()), (Seq(2), 1));
        assert_eq!(facts.documents[&key(1)].version, Seq(1));
        let write = |n: u64, as_of, value: Option<&[u8]>| {
            let mut t = Transition::new(cause(n), as_of);
            match value {
                Some(value) => t.write(key(1), value.to_vec()),
                None => t.remove(key(1)),
            }
            t
        };
        books.commit(write(50, facts.as_of, Some(b"new"))).unwrap();
        assert_eq!(
            books.commit(write(51, facts.as_of, Some(b"x"))),
            Err(Rejected::Moved { key: key(1) }.into())
        );
        fill(&books, 60..=70);
        assert_eq!(books.commit(write(51, facts.as_of, Some(b"x"))), Err(Rejected::Stale.into()));
        let facts = books.load(&needs).unwrap();
        assert_eq!(facts.document(&key(1)), Some(&b"new"[..]));
        assert_eq!(facts.documents[&key(1)].version, Seq(3));
        books.commit(write(52, facts.as_of, None)).unwrap();
        assert!(books.load(&needs).unwrap().documents.is_empty());
        fill(&books, 80..=90);
        assert!(books.load(&needs).unwrap().documents.is_empty());
        let scanned = books.scan(KIND).unwrap();
        assert_eq!(scanned.len(), 1 + 11 + 11);
        assert!(scanned.windows(2).all(|w| w[0].0 < w[1].0));
        drop(books);
        let books = start(place.open().unwrap(), 3).unwrap();
        assert_eq!(books.scan(KIND).unwrap(), scanned);
    });
}

#[test]
fn marks_that_ended_are_forgotten_at_a_fold() {
    on_both(|place| {
        let books = start(place.open().unwrap(), 2).unwrap();
        let mark = Mark { kind: KIND, id: id(1), until: Timestamp(5) };
        let mut t = Transition::new(cause(1), Seq(0));
        t.marks.push(mark);
        books.commit(t).unwrap();
        let needs = Needs { marks: vec![mark], ..Needs::default() };
        assert_eq!(books.load(&needs).unwrap().marked, [id(1)]);
        fill(&books, 10..=20);
        assert!(books.load(&needs).unwrap().marked.is_empty());
    });
}

#[test]
fn facts_tell_which_tokens_are_dead_and_what_killed_them() {
    on_both(|place| {
        let books = start(place.open().unwrap(), 2).unwrap();
        fill(&books, 1..=2);
        let issued = |n| books.record(Seq(n)).unwrap().unwrap().core.created[0].numbers().next().unwrap();
        let (first, second) = (issued(1), issued(2));
        let never = TokenNumber { counter: 1000, ..first };
        let foreign = TokenNumber { lane: LaneId(first.lane.0 + 1), ..second };
        let tokens = vec![first, second, never, foreign];
        let needs = Needs { tokens, once: vec![once(3)], ..Needs::default() };
        let before = books.durable();
        let facts = books.load(&needs).unwrap();
        assert_eq!((facts.dead, facts.once.len(), facts.as_of), (vec![never, foreign], 0, before));
        books.commit(spend(3, first.counter, 1, books.durable())).unwrap();
        let facts = books.load(&needs).unwrap();
        assert_eq!((facts.dead, facts.once[&once(3)]), (vec![first, never, foreign], Seq(3)));
        fill(&books, 10..=20);
        drop(books);
        let books = start(place.open().unwrap(), 2).unwrap();
        assert_eq!(books.load(&needs).unwrap().dead, [first, never, foreign]);
        books.clone().stop().unwrap();
        assert!(books.load(&needs).is_err());
    });
}

#[test]
fn holdings_come_and_go() {
    on_both(|place| {
        let books = start(place.open().unwrap(), 2).unwrap();
        let issuer = PartyId::new(id(9));
        let holding = Holding {
            id: HoldingId::new(id(1)),
            issuer,
            value: amount(5),
            expires: Timestamp(9),
            token: MARKER.to_vec(),
        };
        let by = ExchangeId::new(id(2));
        let mut add = Transition::new(cause(1), Seq(0));
        add.holdings.push(HoldingChange::Add(holding.clone()));
        add.post(Account::Holdings(issuer), Account::World, amount(5));
        books.commit(add).unwrap();
        let mut reserve = Transition::new(cause(2), Seq(0));
        reserve.holdings.push(HoldingChange::Reserve(holding.id, by));
        books.commit(reserve.clone()).unwrap();
        assert_eq!(books.commit(reserve), Err(Rejected::NotHeld { index: 0 }.into()));
        drop(books);
        let books = start(place.open().unwrap(), 2).unwrap();
        let held = books.view(move |l| l.holding(&HoldingId::new(id(1))).cloned()).unwrap().unwrap();
        assert_eq!(held, Held { holding: holding.clone(), reserved_for: Some(by) });
        let mut remove = Transition::new(cause(3), Seq(0));
        remove.holdings.push(HoldingChange::Remove(holding.id, by));
        remove.post(Account::World, Account::Holdings(issuer), amount(5));
        books.commit(remove).unwrap();
        assert_eq!(books.view(|l| l.holdings().count()).unwrap(), 0);
        assert!(books.audit().unwrap().is_clean());
    });
}

#[test]
fn records_are_read_in_order_and_a_backup_is_whole() {
    on_both(|place| {
        let books = start(place.open().unwrap(), 4).unwrap();
        fill(&books, 1..=30);
        let records = books.read(Seq(5), 10).unwrap();
        assert_eq!(records.iter().map(|r| r.core.seq.0).collect::<Vec<_>>(), (5..15).collect::<Vec<_>>());
        assert!(books.read(Seq(31), 10).unwrap().is_empty());
        assert_eq!(books.record(Seq(31)).unwrap(), None);
        assert_eq!(books.record(Seq(0)).unwrap(), None);
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("copy");
        books.backup(&to).unwrap();
        let state = books.view(Lane::checkpoint).unwrap();
        fill(&books, 31..=33);
        let copy = start(place.open_backup(&to).unwrap(), 4).unwrap();
        assert_eq!(copy.view(Lane::checkpoint).unwrap(), state);
        let report = copy.audit().unwrap();
        assert!(report.is_clean() && report.records == 30, "{report:?}");
        assert_eq!(copy.scan(KIND).unwrap().len(), 30);
    });
}

#[test]
fn many_threads_are_answered_once_each_and_effects_are_announced() {
    on_both(|place| {
        let books = start(place.open().unwrap(), 64).unwrap();
        let heard = std::sync::Arc::new(std::sync::Mutex::new(Seq(0)));
        let ear = heard.clone();
        books.subscribe(move |seq| *ear.lock().unwrap() = seq);
        let mut seqs: Vec<u64> = std::thread::scope(|s| {
            let workers: Vec<_> = (0..8u64)
                .map(|w| {
                    let books = books.clone();
                    s.spawn(move || {
                        let one = |n| books.commit(buy(w * 1000 + n, books.durable())).unwrap().core.seq.0;
                        (0..25).map(one).collect::<Vec<u64>>()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
        });
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
        assert_eq!(books.wait_change(Seq(199), std::time::Duration::from_secs(1)), Seq(200));
        assert_eq!(books.view(|l| l.outbox().count()).unwrap(), 200);
        assert_eq!(*heard.lock().unwrap(), Seq(200));
        let other = books.clone();
        books.stop().unwrap();
        assert_eq!(other.commit(buy(9999, Seq(0))), Err(CommitError::Stopped));
        assert!(other.view(Lane::seq).is_err());
    });
}

#[test]
fn a_full_queue_answers_overloaded_at_once() {
    let (log, reads) = MemoryStore::new().split();
    let options = Options { queue_max: 4, ..Options::default() };
    let books = Books::start(log, reads, spec(), OwnerId([1; 16]), ticks(), &options).unwrap();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let (inside, entered) = std::sync::mpsc::channel::<()>();
    let handle = books.clone();
    let viewer = std::thread::spawn(move || {
        handle.view(move |_| {
            inside.send(()).unwrap();
            gate.recv().unwrap();
        })
    });
    entered.recv().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    for n in 0..10 {
        let send = send.clone();
        books.submit(buy(n, Seq(0)), Box::new(move |r| send.send(r.map(|r| r.core.seq)).unwrap()));
    }
    let early: Vec<_> = receive.try_iter().collect();
    assert_eq!(early, vec![Err(CommitError::Overloaded); 6]);
    go.send(()).unwrap();
    viewer.join().unwrap().unwrap();
    assert_eq!((0..4).map(|_| receive.recv().unwrap().unwrap().0).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn a_full_disk_changes_nothing_and_is_over_when_there_is_room() {
    let store = MemoryStore::new();
    let books = start(store.split(), 4).unwrap();
    store.set_full(true);
    assert_eq!(books.commit(buy(1, Seq(0))), Err(CommitError::Full));
    assert_eq!(books.view(Lane::seq).unwrap(), Seq(0));
    store.set_full(false);
    assert!(books.commit(buy(1, Seq(0))).is_ok());

    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { min_free: u64::MAX, ..sqlite_options() };
    let store = SqliteStore::create(dir.path(), LANE, keys(1), options).unwrap();
    let books = start(store.split(), 4).unwrap();
    assert_eq!(books.commit(buy(1, Seq(0))), Err(CommitError::Full));
    assert_eq!(books.view(Lane::seq).unwrap(), Seq(0));
    assert!(!books.is_failed());
}

#[test]
fn an_older_owner_is_fenced_off() {
    let store = MemoryStore::new();
    let old = start(store.split(), 4).unwrap();
    old.commit(buy(1, Seq(0))).unwrap();
    let new = start(store.split(), 4).unwrap();
    assert_eq!(old.commit(buy(2, Seq(1))), Err(CommitError::Stopped));
    assert!(old.is_failed());
    assert_eq!(new.commit(buy(2, Seq(1))).unwrap().core.seq, Seq(2));
    assert!(new.audit().unwrap().is_clean());
}

#[test]
fn a_directory_belongs_to_one_process_one_key_and_one_lane() {
    let dir = tempfile::tempdir().unwrap();
    let place = OnDisk(dir.path().join("books"));
    let books = start(place.open().unwrap(), 4).unwrap();
    books.commit(buy(1, Seq(0))).unwrap();
    assert!(matches!(place.open(), Err(StoreError::Busy(_))));
    books.stop().unwrap();
    let open = |lane, key| SqliteStore::open(&place.0, lane, keys(key), sqlite_options()).map(|_| ());
    assert!(matches!(open(LANE, 2), Err(StoreError::Foreign { .. })));
    assert!(matches!(open(LaneId(8), 1), Err(StoreError::Foreign { .. })));
    assert!(matches!(
        SqliteStore::create(&place.0, LANE, keys(1), sqlite_options()).map(|_| ()),
        Err(StoreError::Foreign { .. })
    ));
    open(LANE, 1).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&place.0).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    let conn = rusqlite::Connection::open(place.0.join("books.db")).unwrap();
    conn.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(conn);
    assert!(matches!(open(LANE, 1), Err(StoreError::Foreign { .. })));
}

/// Run by the next test in a process of its own: holds the lock on the directory that the environment names.
#[test]
fn hold_the_lock_for_another_process() {
    let Some(dir) = std::env::var_os("FLORIN_TEST_HOLD") else { return };
    let (_log, _reads) = OnDisk(dir.clone().into()).open().unwrap();
    std::fs::write(std::path::Path::new(&dir).join("held"), b"").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(30));
}

#[test]
fn two_processes_cannot_write_and_a_killed_one_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let place = OnDisk(dir.path().join("books"));
    start(place.open().unwrap(), 4).unwrap().stop().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hold_the_lock_for_another_process"])
        .env("FLORIN_TEST_HOLD", &place.0)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let held = place.0.join("held");
    while !held.exists() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(matches!(place.open(), Err(StoreError::Busy(_))));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(start(place.open().unwrap(), 4).unwrap().commit(buy(1, Seq(0))).is_ok());
}
