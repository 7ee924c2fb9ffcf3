//! Runs the simulation with one fault on, in a process of its own, until it finds something.
//! Source: issue ("each caught, with seed and message").

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::copy::WHICH;
use super::list::Mutant;

/// A fault that keeps the run busy for so long is not caught; on a busy machine a seed takes ten times as long.
const LONGEST: Duration = Duration::from_secs(600);

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Catch {
    /// Something was found.
    Found {
        /// By this seed.
        seed: u64,
        /// What.
        finding: String,
    },
    /// Nothing was.
    Nothing,
    /// The run ended in a way of its own.
    Broken(String),
}

/// A fault and what became of it.
pub struct Hunted<'a> {
    /// Which; none is the code as it is.
    pub mutant: Option<&'a Mutant>,
    /// What came of it.
    pub catch: Catch,
    /// How long it took.
    pub took: Duration,
}

impl Hunted<'_> {
    /// Whether it is as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match (self.mutant, &self.catch) {
            (None, catch) => *catch == Catch::Nothing,
            (Some(mutant), Catch::Found { finding, .. }) => mutant.is_said(finding),
            (Some(_), Catch::Nothing | Catch::Broken(_)) => false,
        }
    }
}

/// Hunts all of them, as many at a time as there are processors; says each as soon as it is known.
pub fn all<'a>(
    program: &Path,
    mutants: &[Option<&'a Mutant>],
    plain_seeds: u64,
    say: impl Fn(&Hunted<'a>) + Sync,
) -> Vec<Hunted<'a>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let hands = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..hands {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let begun = Instant::now();
                    let catch = one(program, *mutant, plain_seeds);
                    let hunted = Hunted { mutant: *mutant, catch, took: begun.elapsed() };
                    say(&hunted);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(hunted);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn one(program: &Path, mutant: Option<&Mutant>, plain_seeds: u64) -> Catch {
    let (from, seeds) = mutant.map_or((0, plain_seeds), |m| (m.from, m.seeds));
    let mut command = Command::new(program);
    // One seed after the other: the first that finds something is the same one every time.
    let (from, seeds) = (from.to_string(), seeds.to_string());
    command.args(["--until-found", "--jobs", "1", "--from", &from, "--seeds", &seeds]);
    command.env(WHICH, mutant.map_or("", |m| m.name.as_str()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Catch::Broken(error.to_string()),
    };
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begun.elapsed() > LONGEST {
            let _ = child.kill();
            let _ = child.wait();
            return Catch::Broken(format!("it was still running after {} s", LONGEST.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    match child.wait_with_output() {
        Ok(output) => read(&String::from_utf8_lossy(&output.stdout), output.status.success()),
        Err(error) => Catch::Broken(error.to_string()),
    }
}

/// What the program has said.
fn read(said: &str, ended_well: bool) -> Catch {
    let found = said.lines().find_map(|line| {
        let (seed, finding) = line.strip_prefix("seed ")?.split_once(" found ")?;
        let finding = finding.rsplit_once(": again with").map_or(finding, |(finding, _)| finding);
        Some(Catch::Found { seed: seed.parse().ok()?, finding: finding.to_owned() })
    });
    match (found, ended_well) {
        (Some(found), _) => found,
        (None, true) => Catch::Nothing,
        (None, false) => Catch::Broken("it ended without a word".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_read_with_its_seed() {
        let found = Catch::Found { seed: 7, finding: "a: b".into() };
        assert_eq!(read("seed 7 found a: b: again with --seeds 1 --from 7\n1 seeds", false), found);
        assert_eq!(read("60 seeds", true), Catch::Nothing);
        assert!(matches!(read("", false), Catch::Broken(_)));
    }
}
