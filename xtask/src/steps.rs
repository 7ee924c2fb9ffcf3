//! Steps with a name and a time: all are run, and what failed is listed at the end. Source: house rules, "Gate
//! before every push".

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::root;
use crate::tidy::TidyError;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The program ran and said no.
    #[error("`{command}` ended with status {status}")]
    Ended {
        /// The program, or cargo and its arguments.
        command: String,
        /// Its exit status, -1 when a signal ended it.
        status: i32,
    },
    /// The program could not be started.
    #[error("`{command}` could not be started: {source}")]
    NotStarted {
        /// The program, or cargo and its arguments.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A tool is absent; the text says how to get it.
    #[error("missing {0}")]
    Missing(&'static str),
    /// Tidy found this many things.
    #[error("{0} findings, listed above")]
    Findings(usize),
    /// Tidy could not read the tree.
    #[error(transparent)]
    Tidy(#[from] TidyError),
}

/// One step of a gate.
pub struct Step {
    name: &'static str,
    run: Box<dyn FnOnce() -> Result<(), Why>>,
}

impl Step {
    /// A step under a name of one word.
    #[must_use]
    pub fn new(name: &'static str, run: impl FnOnce() -> Result<(), Why> + 'static) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// What became of a step.
pub struct Done {
    name: &'static str,
    took: Duration,
    outcome: Result<(), Why>,
}

/// Runs every step, also after a failure, prints the list, and says whether all of them passed.
#[must_use]
pub fn run_all(steps: Vec<Step>) -> bool {
    let start = Instant::now();
    let done: Vec<Done> = steps.into_iter().map(run_one).collect();
    println!("\n{}total {:.1} s", summary(&done), start.elapsed().as_secs_f64());
    done.iter().all(|step| step.outcome.is_ok())
}

fn run_one(step: Step) -> Done {
    println!("== {}", step.name);
    let start = Instant::now();
    let outcome = (step.run)();
    let took = start.elapsed();
    println!("== {} {} in {:.1} s", step.name, word(&outcome), took.as_secs_f64());
    Done { name: step.name, took, outcome }
}

const fn word(outcome: &Result<(), Why>) -> &'static str {
    if outcome.is_ok() { "passed" } else { "FAILED" }
}

/// One line a step, and the cause where it failed.
#[must_use]
pub fn summary(done: &[Done]) -> String {
    let mut text = String::new();
    for step in done {
        let cause = step.outcome.as_ref().err().map(|why| format!("  {why}")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<8}{} {:>7.1} s{cause}",
            step.name,
            word(&step.outcome),
            step.took.as_secs_f64()
        );
    }
    text
}

/// Runs the cargo that runs us, in the workspace, with its output shown.
///
/// # Errors
/// `NotStarted`, then `Ended` for any status other than 0.
pub fn cargo(args: &[&str], env: &[(&str, &str)]) -> Result<(), Why> {
    let command = format!("cargo {}", args.join(" "));
    let status = cargo_command().args(args).envs(env.iter().copied()).stdin(Stdio::null()).status();
    outcome_of(command, status)
}

fn outcome_of(command: String, status: std::io::Result<ExitStatus>) -> Result<(), Why> {
    match status {
        Err(source) => Err(Why::NotStarted { command, source }),
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Why::Ended { command, status: status.code().unwrap_or(-1) }),
    }
}

/// How programs of the workspace are built: with the features that `cargo test --workspace` has for everything, so that what the
/// tests have built is taken as it is. Selecting a package, or no test, would resolve other features and build all crates again (ADR 0039).
pub const BUILD: [&str; 6] = ["build", "--quiet", "--locked", "--workspace", "--test", "laws"];

/// Builds programs of the workspace, and says in which folder they are.
///
/// # Errors
/// As for [`cargo`].
pub fn programs(names: &[&str]) -> Result<PathBuf, Why> {
    let bins = names.iter().flat_map(|name| ["--bin", name]);
    cargo(&BUILD.into_iter().chain(bins).collect::<Vec<_>>(), &[])?;
    Ok(target().join("debug"))
}

/// Where cargo builds.
#[must_use]
pub fn target() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_else(|_| root());
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| here.join(dir))
}

/// Runs a program of the workspace, with its output shown.
///
/// # Errors
/// As for [`cargo`].
pub fn program(name: &str, beside: &[&str], args: &[String]) -> Result<(), Why> {
    let names: Vec<&str> = [name].into_iter().chain(beside.iter().copied()).collect();
    let program = programs(&names)?.join(name);
    let status = Command::new(&program).args(args).current_dir(root()).stdin(Stdio::null()).status();
    outcome_of(name.to_owned(), status)
}

/// Whether cargo knows a subcommand.
#[must_use]
pub fn has_subcommand(name: &str) -> bool {
    cargo_command()
        .args([name, "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Cargo, in the workspace's folder.
#[must_use]
pub fn cargo_command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn a_failed_step_does_not_hide_the_next_one() {
        let seen = Rc::new(Cell::new(0_u32));
        let count = |seen: &Rc<Cell<u32>>| {
            let seen = Rc::clone(seen);
            move || seen.set(seen.get().saturating_add(1))
        };
        let (first, second) = (count(&seen), count(&seen));
        let ok = run_all(vec![
            Step::new("first", move || {
                first();
                Err(Why::Findings(3))
            }),
            Step::new("second", move || {
                second();
                Ok(())
            }),
        ]);
        assert!(!ok);
        assert_eq!(seen.get(), 2);
        assert!(run_all(vec![Step::new("fine", || Ok(()))]));
    }

    #[test]
    fn the_summary_names_each_step_and_the_cause() {
        let text = summary(&[
            Done { name: "fmt", took: Duration::from_millis(1500), outcome: Ok(()) },
            Done { name: "deny", took: Duration::ZERO, outcome: Err(Why::Missing("cargo-deny: install it")) },
        ]);
        assert_eq!(
            text,
            "fmt     passed     1.5 s\ndeny    FAILED     0.0 s  missing cargo-deny: install it\n"
        );
    }

    #[test]
    #[cfg(unix)]
    fn a_status_other_than_zero_is_a_failure() {
        use std::os::unix::process::ExitStatusExt;
        let outcome = |raw| outcome_of("cargo fmt --all".to_owned(), Ok(ExitStatus::from_raw(raw)));
        assert!(outcome(0).is_ok());
        assert_eq!(outcome(0x0100).unwrap_err().to_string(), "`cargo fmt --all` ended with status 1");
        assert!(matches!(outcome(9), Err(Why::Ended { status: -1, .. })));
        let absent = outcome_of("fmt".to_owned(), Err(std::io::ErrorKind::NotFound.into()));
        assert!(matches!(absent, Err(Why::NotStarted { .. })));
    }

    #[test]
    fn what_cargo_can_do_is_asked_of_cargo() {
        assert!(has_subcommand("clippy"));
        assert!(!has_subcommand("no-such-subcommand"));
        assert!(cargo(&["version"], &[]).is_ok());
    }
}
