//! `florin-sim`: runs seeds until they are through or the time is over; a seed that finds something is printed with its
//! trace. Source: the issue (`cargo xtask sim --seeds N [--from S] [--minutes M]`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use florin_sim::host::Mould;
use florin_sim::run::run;

/// Runs whole economies from seeds.
#[derive(Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Stop after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Print the trace of every seed.
    #[arg(long)]
    trace: bool,
    /// Run every seed twice and compare.
    #[arg(long)]
    twice: bool,
    /// Stop at the first finding, and print no trace.
    #[arg(long)]
    until_found: bool,
    /// How many at a time: one.
    #[arg(long, default_value_t = 1)]
    jobs: u8,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.jobs != 1 {
        return failed("one seed runs after the other");
    }
    let mould = match Mould::new() {
        Ok(mould) => mould,
        Err(error) => return failed(&error),
    };
    if args.until_found {
        return until_found(&mould, args.from, args.seeds);
    }
    let begun = Instant::now();
    let until = args.minutes.map(|m| Duration::from_secs(m.saturating_mul(60)));
    let (mut done, mut found, mut lived_ms) = (0u64, 0u64, 0u64);
    for seed in args.from..args.from.saturating_add(args.seeds) {
        if until.is_some_and(|until| begun.elapsed() > until) {
            break;
        }
        let outcome = match run(&mould, seed) {
            Ok(outcome) => outcome,
            Err(error) => return failed(&error),
        };
        if args.twice && !same(&mould, seed, &outcome.trace) {
            println!("seed {seed}: the second run was another one");
            found = found.saturating_add(1);
        }
        if args.trace || !outcome.findings.is_empty() {
            println!("{}", outcome.trace);
        }
        if !outcome.findings.is_empty() {
            found = found.saturating_add(1);
            println!("seed {seed} found {}: again with --seeds 1 --from {seed}", outcome.findings.join("; "));
        }
        done = done.saturating_add(1);
        lived_ms = lived_ms.saturating_add(outcome.passed_ms);
    }
    let took = begun.elapsed().as_secs_f64();
    println!("{done} seeds, {found} with findings, {} simulated minutes in {took:.1} s", lived_ms / 60_000);
    if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What panicked, on whatever task or thread: tasks take their panics with them.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn until_found(mould: &Mould, from: u64, seeds: u64) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let said = panic.to_string().replace('\n', " ");
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }));
    for seed in from..from.saturating_add(seeds) {
        // What keeps a run from beginning is a finding, too: the code is not as it should be.
        let mut findings = match catch_unwind(AssertUnwindSafe(|| run(mould, seed))) {
            Ok(Ok(outcome)) => outcome.findings,
            Ok(Err(error)) => vec![error],
            Err(_) => Vec::new(),
        };
        findings.append(&mut PANICS.lock().unwrap_or_else(PoisonError::into_inner));
        if !findings.is_empty() {
            println!("seed {seed} found {}: again with --seeds 1 --from {seed}", findings.join("; "));
            return ExitCode::FAILURE;
        }
    }
    println!("{seeds} seeds and nothing found");
    ExitCode::SUCCESS
}

fn same(mould: &Mould, seed: u64, trace: &str) -> bool {
    run(mould, seed).is_ok_and(|again| {
        let differs = again.trace.lines().zip(trace.lines()).find(|(a, b)| a != b);
        if let Some((a, b)) = differs {
            println!("first difference:\n{b}\n{a}");
        }
        again.trace == trace
    })
}

fn failed(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}
