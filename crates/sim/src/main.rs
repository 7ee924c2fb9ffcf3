//! `florin-sim`: runs seeds until they are through or the time is over; a seed that finds something is printed with its
//! trace. Source: the issue (`cargo xtask sim --seeds N [--from S] [--minutes M]`).

use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use florin_sim::coverage::Coverage;
use florin_sim::host::Mould;
use florin_sim::run::{Outcome, run};

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
    /// Print which faults hit which steps, and which write boundaries.
    #[arg(long)]
    coverage: bool,
    /// Fail if write boundaries that were there so often were never hit.
    #[arg(long)]
    covered: Option<u64>,
    /// So many of them in a hundred must have been.
    #[arg(long, default_value_t = 100)]
    covered_percent: usize,
    /// How many at a time; as many as there are cores.
    #[arg(long)]
    jobs: Option<usize>,
}

/// What all workers share.
struct Work {
    args: Args,
    begun: Instant,
    coverage: Coverage,
    next: AtomicU64,
    done: AtomicU64,
    found: AtomicU64,
    lived_ms: AtomicU64,
    printing: Mutex<()>,
}

thread_local! {
    /// What panicked on this thread: a run lives on one, and its tasks take their panics with them.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let said = panic.to_string().replace('\n', " ");
        PANICS.with_borrow_mut(|panics| panics.push(said));
    }));
    let args = Args::parse();
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let work = Work {
        next: AtomicU64::new(args.from),
        args,
        begun: Instant::now(),
        coverage: Coverage::default(),
        done: AtomicU64::new(0),
        found: AtomicU64::new(0),
        lived_ms: AtomicU64::new(0),
        printing: Mutex::new(()),
    };
    let ok = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(|| work.run())).collect();
        workers.into_iter().fold(true, |ok, worker| match worker.join() {
            Ok(Ok(())) => ok,
            Ok(Err(error)) => {
                eprintln!("{error}");
                false
            }
            Err(_) => false,
        })
    });
    if work.report() && ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Work {
    fn run(&self) -> Result<(), String> {
        let mould = Mould::new()?;
        let until = self.args.minutes.map(|m| Duration::from_secs(m.saturating_mul(60)));
        let end = self.args.from.saturating_add(self.args.seeds);
        loop {
            let seed = self.next.fetch_add(1, Ordering::SeqCst);
            let over = until.is_some_and(|until| self.begun.elapsed() > until);
            let enough = self.args.until_found && self.found.load(Ordering::SeqCst) > 0;
            if seed >= end || over || enough {
                return Ok(());
            }
            self.one(&mould, seed)?;
        }
    }

    fn one(&self, mould: &Mould, seed: u64) -> Result<(), String> {
        let ran = catch_unwind(AssertUnwindSafe(|| run(mould, seed, &self.coverage)));
        // What keeps a run from beginning, and a panic on whatever task, is a finding, too.
        let mut findings: Vec<String> = PANICS.take();
        let mut trace = String::new();
        let mut differs = None;
        match ran {
            Err(_) => {}
            Ok(Err(error)) => findings.push(error),
            Ok(Ok(outcome)) => {
                self.lived_ms.fetch_add(outcome.passed_ms, Ordering::SeqCst);
                differs = if self.args.twice { difference(mould, &outcome)? } else { None };
                findings.extend(outcome.findings);
                trace = outcome.trace;
            }
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        let _printing = self.printing.lock();
        if self.args.trace || (!findings.is_empty() && !self.args.until_found) {
            println!("{trace}");
        }
        if let Some((first, second)) = &differs {
            println!("seed {seed}: the second run was another one:\n{first}\n{second}");
        }
        if !findings.is_empty() {
            println!("seed {seed} found {}: again with --seeds 1 --from {seed}", findings.join("; "));
        }
        if differs.is_some() || !findings.is_empty() {
            self.found.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn report(&self) -> bool {
        let (done, found) = (self.done.load(Ordering::SeqCst), self.found.load(Ordering::SeqCst));
        let minutes = self.lived_ms.load(Ordering::SeqCst) / 60_000;
        if self.args.coverage {
            println!("{}\n", self.coverage.report());
        }
        let mut ok = found == 0;
        let mut covered = String::new();
        if let Some(often) = self.args.covered {
            let (missing, all) = self.coverage.missing(often);
            missing.iter().for_each(|one| println!("never hit: {one}"));
            let hit = all.saturating_sub(missing.len());
            ok &= hit.saturating_mul(100) >= all.saturating_mul(self.args.covered_percent);
            let _ = write!(covered, ", {hit} of {all} write boundaries hit (there {often} times or more)");
        }
        let took = self.begun.elapsed().as_secs_f64();
        println!("{done} seeds, {found} with findings, {minutes} simulated minutes{covered} in {took:.1} s");
        ok
    }
}

/// The first lines that differ when a seed is run again.
fn difference(mould: &Mould, outcome: &Outcome) -> Result<Option<(String, String)>, String> {
    let again = run(mould, outcome.plan.seed, &Coverage::default())?;
    let mut pairs = outcome.trace.lines().zip(again.trace.lines());
    let first = pairs.find(|(a, b)| a != b).map(|(a, b)| (a.to_owned(), b.to_owned()));
    let ends = || ("one of them ends earlier".to_owned(), String::new());
    Ok(if again.trace == outcome.trace { None } else { Some(first.unwrap_or_else(ends)) })
}
