//! `cargo xtask fuzz` and `cargo xtask mutants`: what is run by hand, because it takes hours or other tools. What CI runs of
//! the first is a test of `crates/fuzz`. Source: reliability.md, R12, R22; docs/fuzz.md; docs/mutants.md; ADR 0037.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::root;
use crate::steps::{self, Why};

/// The crates whose tests are tried by mutations, and how many of these they have to catch, in per cent.
const PACKAGES: [&str; 3] = ["florin-money", "florin-books", "florin-coin"];
const CAUGHT_MIN: usize = 90;
const SECONDS: u64 = 60;

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Asked {
    names: Vec<String>,
    seconds: Option<u64>,
    shard: Option<String>,
    keeps: bool,
}

impl Asked {
    /// Names and flags; nothing where a flag is unknown or lacks its value.
    fn read(args: &[String]) -> Option<Self> {
        let mut asked = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--seconds" => asked.seconds = Some(args.next()?.parse().ok()?),
                "--shard" => asked.shard = Some(args.next()?.clone()),
                "--package" => asked.names.push(args.next()?.clone()),
                "--keep" => asked.keeps = true,
                flag if flag.starts_with('-') => return None,
                name => asked.names.push(name.to_owned()),
            }
        }
        Some(asked)
    }
}

fn said(outcome: Result<bool, Why>) -> bool {
    outcome.unwrap_or_else(|why| {
        eprintln!("{why}");
        false
    })
}

/// `cargo xtask fuzz [TARGET ...] [--seconds N] [--keep]`: libFuzzer on each target, one after another.
#[must_use]
pub fn fuzz(args: &[String]) -> bool {
    let Some(asked) = Asked::read(args) else {
        eprintln!("cargo xtask fuzz [TARGET ...] [--seconds N] [--keep]");
        return false;
    };
    said(fuzz_all(&asked))
}

fn targets() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("fuzz/fuzz_targets"));
    let names = entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect();
    names.sort();
    names
}

/// A command of the nightly compiler's cargo: libFuzzer needs flags that the stable one does not take.
fn nightly(args: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(root()).args(["run", "nightly", "cargo"]).args(args).stdin(Stdio::null());
    command
}

fn is_there(mut command: Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn fuzz_all(asked: &Asked) -> Result<bool, Why> {
    if !is_there(nightly(&["--version"])) {
        return Err(Why::Missing("the nightly compiler: rustup toolchain install nightly --profile minimal"));
    }
    if !is_there(nightly(&["fuzz", "--version"])) {
        return Err(Why::Missing("cargo-fuzz: cargo install cargo-fuzz --locked"));
    }
    let all = targets();
    let chosen = if asked.names.is_empty() { all.clone() } else { asked.names.clone() };
    if let Some(unknown) = chosen.iter().find(|name| !all.contains(name)) {
        eprintln!("there is no target {unknown}; there are: {}", all.join(" "));
        return Ok(false);
    }
    let mut failed = Vec::new();
    for name in chosen {
        println!("== {name}");
        if !fuzz_one(&name, asked)? {
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        eprintln!("\nfound something: {} (fuzz/artifacts)", failed.join(" "));
    }
    Ok(failed.is_empty())
}

/// New inputs go to a folder of the build; `--keep` takes what reaches new code into the repository.
fn fuzz_one(name: &str, asked: &Asked) -> Result<bool, Why> {
    let (own, found) = (format!("fuzz/corpus/{name}"), format!("target/fuzz/corpus/{name}"));
    let unmade = |source| Why::NotStarted { command: format!("cargo fuzz run {name}"), source };
    std::fs::create_dir_all(root().join(&found)).map_err(unmade)?;
    let time = format!("-max_total_time={}", asked.seconds.unwrap_or(SECONDS));
    // Nothing of ours is unsafe: without the address sanitizer more inputs are tried in the same time.
    let run = ["fuzz", "run", "--sanitizer", "none", name];
    let limits = ["-max_len=16384", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"];
    let mut first = nightly(&run);
    first.args([&found, &own, "--", &time]).args(limits);
    let ran = first.status().map_err(unmade)?.success();
    if ran && asked.keeps {
        let mut merge = nightly(&run);
        merge.args([&own, &found, "--", "-merge=1", "-max_len=4096"]);
        return Ok(merge.status().map_err(unmade)?.success());
    }
    Ok(ran)
}

/// `cargo xtask mutants [--package NAME] [--shard K/N]`: every mutation of a crate against its own tests.
#[must_use]
pub fn mutants(args: &[String]) -> bool {
    let Some(asked) = Asked::read(args) else {
        eprintln!("cargo xtask mutants [--package NAME] [--shard K/N]");
        return false;
    };
    said(mutants_all(&asked))
}

fn mutants_all(asked: &Asked) -> Result<bool, Why> {
    if !steps::has_subcommand("mutants") {
        return Err(Why::Missing("cargo-mutants: cargo install cargo-mutants --locked"));
    }
    let all: Vec<String> = PACKAGES.map(str::to_owned).to_vec();
    let mut enough = true;
    for package in if asked.names.is_empty() { &all } else { &asked.names } {
        let output = root().join("target/mutants").join(package);
        let made = std::fs::create_dir_all(&output);
        made.map_err(|source| Why::NotStarted { command: "cargo mutants".into(), source })?;
        let place = output.to_string_lossy().into_owned();
        let mut args = vec!["mutants", "--package", package, "--test-package", package, "--output", &place];
        args.extend(["--jobs", "1", "--timeout", "120", "--colors", "never"]);
        // What is mutated is built often and run briefly.
        let plain = format!("--cargo-arg=--config=profile.dev.package.{package}.opt-level=0");
        args.push(&plain);
        args.extend(asked.shard.as_deref().map(|shard| ["--shard", shard]).into_iter().flatten());
        // It ends with a status of its own where something was missed: the lists say how much.
        let ran = steps::cargo(&args, &[]);
        let Some(score) = Score::of(&output.join("mutants.out")) else {
            return ran.map(|()| false);
        };
        println!("{package}: {score}");
        enough &= score.is_enough();
    }
    Ok(enough)
}

/// What came of the mutations of a crate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Score {
    caught: usize,
    missed: usize,
    unviable: usize,
}

impl Score {
    /// As cargo-mutants has written it down. One that never ends is caught: a test that hangs is not overlooked.
    fn of(dir: &Path) -> Option<Self> {
        let lines = |name: &str| Some(std::fs::read_to_string(dir.join(name)).ok()?.lines().count());
        let caught = lines("caught.txt")?.saturating_add(lines("timeout.txt")?);
        Some(Self { caught, missed: lines("missed.txt")?, unviable: lines("unviable.txt")? })
    }

    /// Caught of those that could be built, in per cent.
    fn per_cent(self) -> usize {
        let built = self.caught.saturating_add(self.missed);
        self.caught.saturating_mul(100).checked_div(built).unwrap_or(0)
    }

    fn is_enough(self) -> bool {
        self.per_cent() >= CAUGHT_MIN
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { caught, missed, unviable } = self;
        write!(f, "{caught} caught, {missed} missed, {unviable} not built: {} %", self.per_cent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Option<Asked> {
        Asked::read(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_read_and_slips_are_not() {
        let asked = read(&["store", "--seconds", "5", "--keep", "issuer"]).unwrap();
        assert_eq!((asked.names.len(), asked.seconds, asked.keeps), (2, Some(5), true));
        let asked = read(&["--package", "florin-money", "--shard", "1/4"]).unwrap();
        assert_eq!((asked.names[0].as_str(), asked.shard.as_deref()), ("florin-money", Some("1/4")));
        for slip in [&["--seconds"][..], &["--seconds", "x"], &["--forever"], &["--shard"]] {
            assert_eq!(read(slip), None, "{slip:?}");
        }
    }

    #[test]
    fn every_target_is_known_here() {
        let all = targets();
        assert!(all.len() >= 8 && all.contains(&"issuer".to_owned()) && all.is_sorted());
    }

    #[test]
    fn less_than_nine_in_ten_is_not_enough() {
        let dir = tempfile::tempdir().unwrap();
        let put =
            |name: &str, lines: usize| std::fs::write(dir.path().join(name), "x\n".repeat(lines)).unwrap();
        assert_eq!(Score::of(dir.path()), None);
        put("caught.txt", 88);
        put("timeout.txt", 2);
        put("missed.txt", 10);
        put("unviable.txt", 7);
        let score = Score::of(dir.path()).unwrap();
        assert_eq!(score.to_string(), "90 caught, 10 missed, 7 not built: 90 %");
        assert!(score.is_enough());
        put("missed.txt", 11);
        assert!(!Score::of(dir.path()).unwrap().is_enough());
    }
}
