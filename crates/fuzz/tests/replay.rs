//! The short run of bad input, on any compiler: the whole corpus and a fixed number of mutations of it through every target,
//! with an eye on memory. Source: reliability.md, R12; the issue ("a short run in CI"); ADR 0037.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use florin_fuzz_targets::mutate::{Dice, mutated};
use florin_fuzz_targets::{TARGETS, Target};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;
/// One input at a time: what another test takes meanwhile is not its doing.
static ALONE: Mutex<()> = Mutex::new(());

fn corpus_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// The files of a target, by name; the ones that once failed are among them.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let dir = corpus_dir().join(target.name);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// Runs one input; says what is wrong with it.
fn tried(target: &Target, input: &[u8]) -> Result<(), String> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let ran = catch_unwind(|| (target.run)(input));
    let taken = MEMORY.peak_usage().saturating_sub(before);
    if let Err(panic) = ran {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        return Err(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panics").to_owned());
    }
    let allowed = target.memory_kib * 1024 + input.len() * 256;
    if taken > allowed { Err(format!("{taken} bytes of memory, at most {allowed}")) } else { Ok(()) }
}

/// Keeps an input that failed and says how to try it alone.
fn failed(target: &Target, name: &str, input: &[u8], why: &str) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-failed", target.name));
    std::fs::write(&file, input).unwrap();
    format!("{}, {name}: {why}\n  the input is in {}", target.name, file.display())
}

/// The corpus, then as many mutations as the target says, times FLORIN_FUZZ_FACTOR.
fn run(target: &Target, factor: u32) -> Result<(), String> {
    let corpus = corpus(target);
    assert!(corpus.len() > 1, "{} has no corpus", target.name);
    // What is made once, such as the operator of the steps, is no input's doing.
    (target.run)(&corpus[0].1);
    for (name, input) in &corpus {
        tried(target, input).map_err(|why| failed(target, name, input, &why))?;
    }
    let mut dice = Dice::new(target.name.bytes().fold(1, |seed, byte| seed * 31 + u64::from(byte)));
    for round in 0..target.rounds.saturating_mul(factor) {
        let (base, other) = (&corpus[dice.below(corpus.len())].1, &corpus[dice.below(corpus.len())].1);
        let input = mutated(&mut dice, base, other, target.words);
        let name = format!("mutation {round}");
        tried(target, &input).map_err(|why| failed(target, &name, &input, &why))?;
    }
    Ok(())
}

#[test]
fn every_target_stands_the_corpus_and_its_mutations() {
    let factor = std::env::var("FLORIN_FUZZ_FACTOR").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let only = std::env::var("FLORIN_FUZZ_TARGET").ok();
    let (mut findings, mut rounds) = (Vec::new(), 0);
    for target in TARGETS.iter().filter(|t| only.as_ref().is_none_or(|name| name == t.name)) {
        let begun = Instant::now();
        let outcome = run(target, factor);
        println!(
            "{:<12} {:>7} mutations {:>6.2} s",
            target.name,
            target.rounds * factor,
            begun.elapsed().as_secs_f64()
        );
        rounds += target.rounds * factor;
        findings.extend(outcome.err());
    }
    assert!(rounds > 0, "there is no such target");
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn every_target_has_a_corpus_a_binary_and_nothing_is_left_over() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len(), "a name stands twice");
    let listed = |dir: PathBuf, ending: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        entries.filter_map(|name| name.strip_suffix(ending).map(str::to_owned)).collect()
    };
    assert_eq!(listed(corpus_dir(), ""), names);
    assert_eq!(listed(corpus_dir().join("../fuzz_targets"), ".rs"), names);
    let manifest = std::fs::read_to_string(corpus_dir().join("../Cargo.toml")).unwrap();
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "fuzz/Cargo.toml lacks {name}");
    }
    let bytes: u64 = TARGETS.iter().flat_map(corpus).map(|(_, input)| input.len() as u64).sum();
    assert!(bytes < 1 << 20, "the corpus has {bytes} bytes: minimise it");
}

/// That a finding is one: a target that fails, and one that takes too much, are told apart from one that stands.
#[test]
fn what_is_wrong_is_found() {
    let target = |run: fn(&[u8])| Target { name: "made-up", run, rounds: 0, memory_kib: 1, words: &[] };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let why = tried(&target(|data| assert!(data.is_empty(), "not empty")), b"x").unwrap_err();
    std::panic::set_hook(hook);
    assert_eq!(why, "not empty");
    let greedy = target(|data| drop(std::hint::black_box(vec![data.len() as u8; 1 << 22])));
    assert!(tried(&greedy, b"x").unwrap_err().contains("bytes of memory"));
    assert_eq!(tried(&target(|_| {}), b"x"), Ok(()));
}
