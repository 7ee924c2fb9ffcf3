//! Durable transitions a second at 1, 64 and 512 outstanding, on the file system of the directory given (default: the
//! system's temporary one). Run in release. Source: books.md, "Measured on 2 cores".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::{LANE, amount, cause, denomination, keys, once, party, spec, sqlite_options, ticks};
use florin_books::{Account, Epoch, Issue, OnceKey, PartyId, RegisterId, Seq, TokenNumber, Transition};
use florin_store::{Books, Options, OwnerId, SqliteStore};

const SECONDS: u64 = 3;

/// Four coins in, four coins out, three entries, a reply of 500 bytes.
fn payment(n: u64, as_of: Seq) -> Transition {
    let mut t = Transition::new(cause(n), as_of);
    t.once.push(OnceKey { rail: 1, step: 2, party: PartyId::NONE, ..once(n) });
    for i in 0..4 {
        let number =
            TokenNumber { lane: LANE, epoch: Epoch(1), denomination: denomination(3), counter: n * 4 + i };
        t.consumes.push(number);
    }
    t.creates.push(Issue { epoch: Epoch(2), denomination: denomination(2), count: 4 });
    t.post(Account::Register(RegisterId(1)), party(n % 1000), amount(20));
    t.seed = vec![7; 500];
    t
}

fn measure(outstanding: usize, dir: &std::path::Path) {
    let root = tempfile::tempdir_in(dir).unwrap();
    let place = root.path().join("books");
    let (log, reads) = SqliteStore::create(&place, LANE, keys(1), sqlite_options()).unwrap().split();
    let books = Books::start(log, reads, spec(), OwnerId([1; 16]), ticks(), &Options::default()).unwrap();
    let coins = 4_000_000;
    let mut fill = Transition::new(cause(u64::MAX), Seq(0));
    fill.creates.push(Issue { epoch: Epoch(1), denomination: denomination(3), count: coins });
    fill.post(Account::Bank(0), Account::Register(RegisterId(1)), amount(u64::from(coins) * 10));
    books.commit(fill).unwrap();
    let (send, receive) = channel();
    let begun = Instant::now();
    let (mut n, mut done, mut times) = (0u64, 0u64, Vec::new());
    let submit = |n: u64| {
        let (send, at) = (send.clone(), Instant::now());
        let answer = move |r: Result<Arc<_>, _>| send.send((r.is_ok(), at.elapsed())).unwrap();
        books.submit(payment(n, books.durable()), Box::new(answer));
    };
    while n < outstanding as u64 {
        submit(n);
        n += 1;
    }
    while begun.elapsed() < Duration::from_secs(SECONDS) && n < u64::from(coins) / 4 {
        let (ok, time) = receive.recv().unwrap();
        assert!(ok);
        times.push(time);
        done += 1;
        submit(n);
        n += 1;
    }
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 1000).copied().unwrap_or_default();
    while receive.recv_timeout(Duration::from_millis(200)).is_ok() {}
    let bytes: u64 = std::fs::read_dir(&place).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    println!(
        "{outstanding:4} outstanding: {rate:8.0}/s  p50 {:?}  p99 {:?}  p99.9 {:?}  {} bytes on disk each",
        at(500),
        at(990),
        at(999),
        bytes / n.max(1)
    );
    books.stop().unwrap();
    let begun = Instant::now();
    let (log, reads) = SqliteStore::open(&place, LANE, keys(1), sqlite_options()).unwrap().split();
    let books = Books::start(log, reads, spec(), OwnerId([1; 16]), ticks(), &Options::default()).unwrap();
    println!("     start again with {} records: {:?}", books.durable().0, begun.elapsed());
    let begun = Instant::now();
    let report = books.audit().unwrap();
    println!("     audit: {:?}, clean: {}", begun.elapsed(), report.is_clean());
}

fn main() {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    for outstanding in [1, 64, 512] {
        measure(outstanding, &dir);
    }
}
