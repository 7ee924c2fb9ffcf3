//! The four worlds: every state is visited, every property holds, every interesting end is reached, and there are at least
//! as many states as there were when this was written. Source: the issue ("states counted"); docs/models.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use florin_models::house::{Broken, Counts};
use florin_models::{payment, purchase};
use stateright::{Checker, Model};

/// Visits everything, says how much it was, and fails with the way to whatever is wrong.
fn visit<M>(name: &str, world: M, at_least: usize, counts: impl Fn(&M) -> (Counts, usize)) -> Counts
where
    M: Model + Send + Sync + 'static,
    M::State: std::fmt::Debug + std::hash::Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: std::fmt::Debug + Clone + PartialEq + Send + Sync + 'static,
{
    let begun = std::time::Instant::now();
    let checker = world.checker().spawn_bfs().join();
    let (counts, journals) = counts(checker.model());
    println!(
        "{name}: {} states, {} transitions, {} moves deep, {journals} journals, {counts:?}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f32(),
    );
    for (property, path) in checker.discoveries() {
        let found = checker.discovery_classification(property);
        if found.to_string() == "counterexample" {
            println!("{property}: {:#?}", path.last_state());
        }
    }
    checker.assert_properties();
    assert!(checker.unique_state_count() >= at_least, "{name}: fewer states than before");
    counts
}

fn play() -> payment::Play {
    payment::Play {
        beginnings: vec![[vec![0], vec![1]], [vec![0], vec![0]], [vec![0, 1], vec![0]]],
        acknowledges: false,
        asks: 0,
        gives_up: false,
        refunds: 0,
        crashes: 0b1111,
        jobs: 2,
        broken: Broken::Nobody,
    }
}

/// Each with a coin; one coin for both; both coins for one and one of them for the other. Everybody may crash once, the
/// operator works on two requests at once.
#[test]
fn payment() {
    let world = payment::World::new(play()).unwrap();
    let counts = visit("payment", world, 94_531, |w| w.house().counts());
    assert!(counts.replayed > 0 && counts.second > 0 && counts.unanswered > 0, "{counts:?}");
}

/// One coin for both; payer and payee of one of them are in doubt: they ask, they give up, the deadline passes.
#[test]
fn status() {
    let beginnings = vec![[vec![0], vec![0]]];
    let play = payment::Play { beginnings, asks: 0b01, gives_up: true, crashes: 0b1000, ..play() };
    let world = payment::World::new(play).unwrap();
    let counts = visit("status", world, 110_446, |w| w.house().counts());
    assert!(counts.replayed > 0 && counts.unanswered > 0, "{counts:?}");
}

/// A payer wants back the coin that it pays with, the payee what it was paid.
#[test]
fn refund() {
    let beginnings = vec![[vec![0], vec![1]]];
    let play = payment::Play { beginnings, refunds: 0b101, crashes: 0b1000, ..play() };
    let world = payment::World::new(play).unwrap();
    let counts = visit("refund", world, 133_094, |w| w.house().counts());
    assert!(counts.moved > 0 && counts.second > 0 && counts.unanswered > 0, "{counts:?}");
}

/// Two purchasers buy a coin each; the bank may refuse one of them.
#[test]
fn purchase() {
    let play =
        purchase::Play { rejects: 0b10, acknowledges: 0, crashes: 0b100, jobs: 1, broken: Broken::Nobody };
    let world = purchase::World::new(play).unwrap();
    let counts = visit("purchase", world, 40_314, |w| w.house().counts());
    assert!(counts.replayed > 0 && counts.unanswered > 0, "{counts:?}");
}
