//! `cargo xtask sim --mutants`: deliberate faults, each of which the simulation must find. They are edits of a copy of the
//! workspace, built once with all of them in it; the product has no switch that skips a check.
//! Source: issue ("proof that it finds bugs"); ADR 0038; docs/simulation.md, "Deliberate faults".

pub mod copy;
pub mod hunt;
pub mod list;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use crate::{root, steps};
use hunt::{Catch, Hunted};
use list::Mutant;

/// Where the lists are.
pub const FOLDER: &str = "crates/sim/mutants";
/// The code as it is must pass so many seeds.
const PLAIN_SEEDS: u64 = 40;
/// So much of a finding is shown.
const SHOWN_MAX: usize = 160;

/// Why the faults could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum MutantError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a list of faults.
    #[error("{}: {why}", path.display())]
    NotAList {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Two have one name.
    #[error("two are called {0}")]
    Twice(String),
    /// The text to change is not there exactly once.
    #[error("{name}: its text stands {times} times in {file}, not once")]
    Edit {
        /// Which fault.
        name: String,
        /// In which file.
        file: String,
        /// How often.
        times: usize,
    },
    /// A manifest is not what it was.
    #[error("{0} cannot be changed")]
    Manifest(String),
    /// No fault has this name.
    #[error("none is called {0}")]
    Unknown(String),
    /// An argument that is not known.
    #[error("{0}: not an argument of --mutants: --only NAME, --open, --markdown")]
    Argument(String),
    /// The copy does not compile.
    #[error(transparent)]
    Build(#[from] steps::Why),
}

/// What is asked for.
#[derive(Default, Debug, PartialEq, Eq)]
struct Wanted {
    only: Vec<String>,
    open: bool,
    markdown: bool,
}

impl Wanted {
    fn of(args: &[String]) -> Result<Self, MutantError> {
        let mut wanted = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--open" => wanted.open = true,
                "--markdown" => wanted.markdown = true,
                "--only" => {
                    let name = args.next().ok_or_else(|| MutantError::Argument(arg.clone()))?;
                    wanted.only.push(name.clone());
                }
                _ => return Err(MutantError::Argument(arg.clone())),
            }
        }
        Ok(wanted)
    }
}

/// Tries them; whether each was caught by what must catch it, and nothing else was found.
///
/// # Errors
/// [`MutantError`].
pub fn run(args: &[String]) -> Result<bool, MutantError> {
    let wanted = Wanted::of(args)?;
    let mutants = list::read(&root().join(FOLDER))?;
    if let Some(name) = wanted.only.iter().find(|name| !mutants.iter().any(|m| m.name == **name)) {
        return Err(MutantError::Unknown(name.clone()));
    }
    let target = steps::target();
    let begun = Instant::now();
    let program = build(&target, &mutants)?;
    println!("{} deliberate faults in one program, built in {:.0} s", mutants.len(), seconds(begun));
    let begun = Instant::now();
    let chosen = |m: &&Mutant| {
        if wanted.only.is_empty() { m.caught || wanted.open } else { wanted.only.contains(&m.name) }
    };
    let mut hunts: Vec<Option<&Mutant>> = mutants.iter().filter(chosen).map(Some).collect();
    if wanted.only.is_empty() {
        hunts.insert(0, None);
    }
    let mut done = hunt::all(&program, &hunts, PLAIN_SEEDS, |hunted| println!("{}", line(hunted)));
    if wanted.markdown {
        let place = |hunted: &Hunted<'_>| {
            hunted.mutant.and_then(|m| mutants.iter().position(|other| other.name == m.name))
        };
        done.sort_by_key(place);
        println!("\n{}", markdown(&done));
    }
    let good = done.iter().filter(|hunted| hunted.mutant.is_some() && hunted.is_good()).count();
    let all = done.iter().filter(|hunted| hunted.mutant.is_some()).count();
    println!("{good} of {all} caught in {:.0} s", seconds(begun));
    Ok(done.iter().filter(|hunted| hunted.mutant.is_none_or(|m| m.caught)).all(Hunted::is_good))
}

fn seconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64()
}

/// Builds the copy; what is built of others is that of the workspace.
fn build(target: &Path, mutants: &[Mutant]) -> Result<PathBuf, MutantError> {
    let tree = target.join("mutants").join("tree");
    copy::make(&root(), &tree, mutants)?;
    let args: Vec<&str> = steps::BUILD.into_iter().chain(["--bin", copy::PROGRAM]).collect();
    let mut cargo = steps::cargo_command();
    // Warnings of edited code are nobody's concern; what does not compile is shown.
    let output = cargo
        .current_dir(&tree)
        .args(&args)
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| steps::Why::NotStarted { command: format!("cargo {}", args.join(" ")), source })?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        let status = output.status.code().unwrap_or(-1);
        return Err(steps::Why::Ended { command: format!("cargo {}", args.join(" ")), status }.into());
    }
    Ok(target.join("debug").join(copy::PROGRAM))
}

fn line(hunted: &Hunted<'_>) -> String {
    let name = hunted.mutant.map_or("(none)", |mutant| mutant.name.as_str());
    let took = hunted.took.as_secs_f64();
    let from = hunted.mutant.map_or(0, |mutant| mutant.from);
    let what = match (&hunted.catch, hunted.mutant) {
        (Catch::Found { seed, finding }, _) => {
            let tried = seed.saturating_sub(from).saturating_add(1);
            let word = if hunted.is_good() { "caught" } else { "FOUND SOMETHING ELSE" };
            format!("{word} by seed {seed} after {tried}, {took:.1} s: {}", shown(finding))
        }
        (Catch::Nothing, None) => format!("nothing found in {PLAIN_SEEDS} seeds, {took:.1} s"),
        (Catch::Nothing, Some(mutant)) => format!("NOT CAUGHT in {} seeds, {took:.1} s", mutant.seeds),
        (Catch::Broken(why), _) => format!("BROKEN, {took:.1} s: {why}"),
    };
    format!("{name:<34} {what}")
}

fn shown(finding: &str) -> String {
    let short: String = finding.chars().take(SHOWN_MAX).collect();
    if short.len() < finding.len() { format!("{short}…") } else { short }
}

/// The table for the document.
fn markdown(done: &[Hunted<'_>]) -> String {
    let mut table = String::from("| fault | promise that it breaks | seed | found |\n|---|---|---|---|\n");
    for hunted in done {
        let Some(mutant) = hunted.mutant else { continue };
        let (seed, finding) = match &hunted.catch {
            Catch::Found { seed, finding } => (seed.to_string(), finding.as_str()),
            Catch::Nothing | Catch::Broken(_) => ("-".to_owned(), "not yet"),
        };
        let part = mutant.says.split(" | ").find(|part| finding.contains(part)).unwrap_or(finding);
        table.push_str(&format!("| `{}` | {} | {seed} | {part} |\n", mutant.name, mutant.why));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_others_refused() {
        let of = |args: &[&str]| Wanted::of(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        let only = of(&["--only", "a", "--only", "b", "--open"]).unwrap();
        assert_eq!(only, Wanted { only: vec!["a".into(), "b".into()], open: true, markdown: false });
        assert!(of(&["--only"]).is_err() && of(&["--seeds"]).is_err());
    }

    #[test]
    fn a_finding_that_is_another_one_is_no_catch() {
        let mutant = Mutant {
            name: "n".into(),
            why: "w".into(),
            says: "this".into(),
            seeds: 5,
            from: 0,
            caught: true,
            edit: Vec::new(),
        };
        let hunted = |catch| Hunted { mutant: Some(&mutant), catch, took: std::time::Duration::ZERO };
        let found = |finding: &str| hunted(Catch::Found { seed: 3, finding: finding.into() });
        assert!(
            found("it is this").is_good() && line(&found("it is this")).contains("caught by seed 3 after 4")
        );
        assert!(!found("that").is_good() && line(&found("that")).contains("FOUND SOMETHING ELSE"));
        assert!(!hunted(Catch::Nothing).is_good() && line(&hunted(Catch::Nothing)).contains("NOT CAUGHT"));
        let plain = |catch| Hunted { mutant: None, catch, took: std::time::Duration::ZERO };
        assert!(plain(Catch::Nothing).is_good() && !plain(Catch::Broken("x".into())).is_good());
        assert!(markdown(&[found("it is this")]).ends_with("| `n` | w | 3 | this |\n"));
    }
}
