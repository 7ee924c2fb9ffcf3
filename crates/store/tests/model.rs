//! The model test: crash at every write, recover, compare with a lane rebuilt from the beginning.
//! Source: books.md, "Lanes and stores"; reliability.md, R5 and R6.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod common;

use std::sync::mpsc;

use common::*;
use florin_books::*;
use florin_crypto::{SeededEntropy, random};
use florin_store::*;

/// A random script; what each step does depends on its number only.
fn script(seed: u64, steps: u64) -> Vec<Transition> {
    let mut dice = SeededEntropy::from_number(seed);
    let (mut coins, mut spent) = (0u64, 0u64);
    (1..=steps)
        .map(|n| {
            let [kind, to] = random::<2>(&mut dice);
            let mut t = if kind % 3 == 0 && spent < coins {
                spent += 1;
                spend(n, spent - 1, u64::from(to % 4), Seq(0))
            } else {
                coins += 2;
                let mut t = buy(n, Seq(0));
                t.seed = vec![to; usize::from(to) * 3];
                t
            };
            if kind % 5 == 0 {
                t.postings[0].delta += 1;
            }
            t
        })
        .collect()
}

/// Commits a batch of exactly these transitions, and waits for every answer.
fn commit_together(books: &Books, batch: &[Transition]) -> Vec<Result<Seq, CommitError>> {
    let (go, gate) = mpsc::channel::<()>();
    let (inside, entered) = mpsc::channel::<()>();
    let handle = books.clone();
    let viewer = std::thread::spawn(move || {
        let _ = handle.view(move |_| {
            let _ = inside.send(());
            let _ = gate.recv();
        });
    });
    let held = entered.recv().is_ok();
    let (send, receive) = mpsc::channel();
    for (i, t) in batch.iter().enumerate() {
        let send = send.clone();
        let mut t = t.clone();
        t.as_of = books.durable();
        books.submit(t, Box::new(move |r| send.send((i, r.map(|r| r.core.seq))).unwrap()));
    }
    drop(send);
    if held {
        go.send(()).unwrap();
    }
    viewer.join().unwrap();
    let mut answers: Vec<_> = receive.iter().collect();
    answers.sort_by_key(|(i, _)| *i);
    answers.into_iter().map(|(_, r)| r).collect()
}

fn rebuilt(records: &[Record]) -> Lane {
    let mut lane = Lane::new(spec());
    for record in records {
        assert!(lane.redo(record.clone()).unwrap().is_some());
    }
    lane
}

struct Run {
    acknowledged: u64,
    applied_if_all: u64,
    failed_at: Option<usize>,
}

fn run(books: &Books, steps: &[Transition], batch: usize) -> Run {
    let mut run = Run { acknowledged: 0, applied_if_all: 0, failed_at: None };
    for (i, group) in steps.chunks(batch).enumerate() {
        let answers = commit_together(books, group);
        let stopped = answers.contains(&Err(CommitError::Stopped));
        if stopped {
            assert!(
                answers.iter().all(|a| *a == Err(CommitError::Stopped)),
                "one batch, one outcome: {answers:?}"
            );
            run.failed_at = Some(i * batch);
            run.applied_if_all = run.acknowledged + u64::try_from(group.len()).unwrap();
            return run;
        }
        for seq in answers.into_iter().flatten() {
            run.acknowledged += 1;
            assert_eq!(seq.0, run.acknowledged);
        }
    }
    run
}

/// A fold that is due every `fold_every` records goes in with the commits of the next half as many: with small batches
/// nearly every write is one in the middle of a fold.
fn crash_everywhere(seed: u64, steps: u64, batch: usize, fold_every: u64) {
    let steps = script(seed, steps);
    let whole = MemoryStore::new();
    let books = start(whole.split(), fold_every).unwrap();
    let reference = run(&books, &steps, batch);
    assert!(reference.failed_at.is_none());
    let journal = books.read(Seq(1), 10_000).unwrap();
    let balances = books.view(|l| l.balances().collect::<Vec<_>>()).unwrap();
    drop(books);
    assert!(whole.writes() > 30);
    for at in 1..=whole.writes() {
        for what in [Crash::Power { seed: at ^ seed }, Crash::Error] {
            let store = MemoryStore::new();
            store.crash_at(at, what);
            let books = start(store.split(), fold_every).unwrap();
            let seen = run(&books, &steps, batch);
            let failed_at = seen.failed_at.expect("every write happens again");
            assert!(books.is_failed());
            drop(books);
            store.restart(at);

            let books = start(store.split(), fold_every).unwrap();
            let records = books.read(Seq(1), 10_000).unwrap();
            let there = u64::try_from(records.len()).unwrap();
            assert!(there >= seen.acknowledged, "write {at}: an acknowledged record is lost");
            assert!(there <= seen.applied_if_all, "write {at}: a record from nowhere");
            for (a, b) in records.iter().zip(&journal) {
                assert_eq!(
                    (a.core.seq, a.core.cause, &a.core.postings),
                    (b.core.seq, b.core.cause, &b.core.postings)
                );
            }
            let lane = rebuilt(&records);
            assert_eq!(books.view(Lane::checkpoint).unwrap(), lane.checkpoint(), "write {at}");
            // The batch that was not acknowledged is there as a whole, or not at all; asking again settles it.
            let mut done = there;
            for t in &steps[failed_at..] {
                let mut t = t.clone();
                let facts = books.load(&Needs { once: t.once.clone(), ..Needs::default() }).unwrap();
                t.as_of = facts.as_of;
                if facts.once.contains_key(&t.once[0]) {
                    continue;
                }
                done += u64::from(books.commit(t).is_ok());
            }
            assert_eq!(done, reference.acknowledged);
            assert_eq!(books.view(|l| l.balances().collect::<Vec<_>>()).unwrap(), balances);
            assert!(books.audit().unwrap().is_clean());
        }
    }
}

#[test]
fn a_crash_at_every_write_loses_nothing_acknowledged_one_by_one() {
    crash_everywhere(1, 40, 1, 8);
}

#[test]
fn a_crash_at_every_write_loses_nothing_acknowledged_in_batches() {
    crash_everywhere(2, 48, 3, 12);
}

#[test]
fn a_crash_at_every_write_loses_nothing_where_folds_follow_each_other_at_once() {
    crash_everywhere(3, 30, 1, 2);
}
