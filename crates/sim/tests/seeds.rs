//! Some seeds of the simulation, that the same seed is the same run, and that the auditor finds what is not so.
//! Source: the issue ("an auditor", "the same seed gives the same trace, byte for byte").
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use florin_sim::coverage::Coverage;
use florin_sim::host::Mould;
use florin_sim::plan::Plan;
use florin_sim::run::{Lie, run, run_told};

/// How many; `cargo xtask prove` runs more.
const SEEDS: u64 = 24;

#[test]
fn no_seed_finds_anything() {
    let mould = Mould::new().unwrap();
    let mut writes = 0;
    for seed in 0..SEEDS {
        let outcome = run(&mould, seed, &Coverage::default()).unwrap();
        assert!(outcome.findings.is_empty(), "{}\nseed {seed}: {:#?}", outcome.trace, outcome.findings);
        writes += outcome.writes;
    }
    assert!(writes > SEEDS * 100, "{writes}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let mould = Mould::new().unwrap();
    for seed in [2, 3, 4, 6, 8] {
        let first = run(&mould, seed, &Coverage::default()).unwrap();
        assert_eq!(run(&mould, seed, &Coverage::default()).unwrap().trace, first.trace, "{seed}");
    }
    assert_ne!(
        run(&mould, 2, &Coverage::default()).unwrap().digest,
        run(&mould, 3, &Coverage::default()).unwrap().digest
    );
}

/// The trace of some seeds, as a process of its own prints it.
fn traces() -> Vec<u8> {
    let sim = std::process::Command::new(env!("CARGO_BIN_EXE_florin-sim"))
        .args(["--seeds", "4", "--from", "1", "--jobs", "1", "--trace"])
        .output()
        .unwrap();
    assert!(sim.status.success());
    let text = String::from_utf8(sim.stdout).unwrap();
    // The last line says how long it took.
    let end = text.trim_end().rfind('\n').unwrap();
    text.as_bytes()[..end].to_vec()
}

#[test]
fn the_same_seed_is_the_same_run_in_another_process() {
    let first = traces();
    assert!(first.len() > 10_000, "{}", first.len());
    assert_eq!(traces(), first);
}

#[test]
fn the_auditor_finds_what_is_not_so() {
    let mould = Mould::new().unwrap();
    // A seed in which coins were bought and a page was paid, found by looking.
    for (lie, says) in [
        (Lie::BankHasMore, "at the bank, and there is"),
        (Lie::SamePurseTwice, "hold the same coin"),
        (Lie::PurseIsMissing, "nobody holds a live coin"),
        (Lie::NoPayerMeantIt, "was accepted and nobody has paid it"),
    ] {
        let found = (1..40).any(|seed| {
            let outcome = run_told(&mould, seed, &Coverage::default(), Some(lie)).unwrap();
            outcome.findings.iter().any(|finding| finding.contains(says))
        });
        assert!(found, "{lie:?}");
    }
}

#[test]
fn every_option_of_a_plan_is_printed() {
    let text = Plan::of(7).to_string();
    let fields = format!("{:?}", Plan::of(7));
    let named = fields.matches(": ").count();
    assert_eq!(text.matches('=').count(), named, "{text}\n{fields}");
}
