//! Books without a thread: what is submitted waits for its turn, is one batch, and ends as it would with a thread.
//! Source: reliability.md, "own deterministic simulator".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use common::*;
use florin_books::*;
use florin_store::*;

fn in_turns(store: &MemoryStore, options: &Options) -> (Books, Arc<AtomicUsize>) {
    let (log, reads) = store.split();
    let calls = Arc::new(AtomicUsize::new(0));
    let called = calls.clone();
    let wake = move || {
        called.fetch_add(1, Ordering::SeqCst);
    };
    let books = Books::start_in_turns(log, reads, spec(), OwnerId([1; 16]), ticks(), options, wake);
    (books.unwrap(), calls)
}

type Outcome = Result<Arc<Record>, CommitError>;

fn submit(books: &Books, t: Transition) -> Receiver<Outcome> {
    let (send, receive) = channel();
    books.submit(t, Box::new(move |result| drop(send.send(result))));
    receive
}

#[test]
fn what_is_submitted_waits_for_its_turn_and_is_one_batch() {
    let store = MemoryStore::new();
    let (books, calls) = in_turns(&store, &options(1000));
    let waiting: Vec<_> = (1..=3).map(|n| submit(&books, buy(n, Seq(0)))).collect();
    assert_eq!((calls.load(Ordering::SeqCst), store.writes()), (3, 0));
    assert!(waiting.iter().all(|w| w.try_recv().is_err()), "nobody is answered before it is durable");
    assert!(books.turn() && !books.turn());
    let seqs: Vec<u64> = waiting.iter().map(|w| w.recv().unwrap().unwrap().core.seq.0).collect();
    assert_eq!((seqs, books.durable()), (vec![1, 2, 3], Seq(3)));
    let once = store.writes();
    // What waits for its outcome takes the turn itself, after what waited already.
    let before = submit(&books, buy(4, Seq(0)));
    assert_eq!(books.commit(buy(5, Seq(0))).unwrap().core.seq, Seq(5));
    assert_eq!(before.recv().unwrap().unwrap().core.seq, Seq(4));
    let late = submit(&books, buy(6, Seq(0)));
    assert_eq!(books.view(Lane::seq).unwrap(), Seq(6), "a look comes after what was submitted");
    assert!(late.recv().unwrap().is_ok() && store.writes() > once);
    assert!(books.audit().unwrap().is_clean());
}

#[test]
fn too_many_are_refused_and_after_a_failure_everybody_hears_stopped() {
    let store = MemoryStore::new();
    let (books, _) = in_turns(&store, &Options { queue_max: 2, ..options(1000) });
    let waiting: Vec<_> = (1..=3).map(|n| submit(&books, buy(n, Seq(0)))).collect();
    assert_eq!(waiting[2].recv().unwrap().unwrap_err(), CommitError::Overloaded);
    store.crash_at(store.writes() + 1, Crash::Error);
    assert!(books.turn());
    for w in &waiting[..2] {
        assert_eq!(w.recv().unwrap().unwrap_err(), CommitError::Stopped);
    }
    assert!(books.is_failed() && !books.turn());
    assert_eq!(books.commit(buy(9, Seq(0))).unwrap_err(), CommitError::Stopped);
    assert_eq!(books.view(Lane::seq).unwrap_err(), CommitError::Stopped);
    drop(books);
    // A writer with a thread takes up what one without has left, and the other way round.
    store.restart(5);
    let threaded = start(store.split(), 1000).unwrap();
    let seq = threaded.commit(buy(20, Seq(0))).unwrap().core.seq;
    threaded.stop().unwrap();
    let (books, _) = in_turns(&store, &options(1000));
    assert_eq!(books.durable(), seq);
    books.stop().unwrap();
}

#[test]
fn books_that_are_dropped_answer_what_waits() {
    let (books, _) = in_turns(&MemoryStore::new(), &options(1000));
    let waits = submit(&books, buy(1, Seq(0)));
    drop(books);
    assert_eq!(waits.recv().unwrap().unwrap_err(), CommitError::Stopped);
}
