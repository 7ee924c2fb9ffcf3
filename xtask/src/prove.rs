//! `cargo xtask prove [--full]`: runs what there is of the goals R1 to R22 and prints one table.
//! Source: reliability.md, "Goals"; docs/reliability.md.

use std::process::Stdio;
use std::time::Instant;

use crate::steps::cargo_command;

/// A goal, and what measures it.
struct Row {
    id: &'static str,
    goal: &'static str,
    how: How,
}

/// What measures a goal.
enum How {
    /// `cargo xtask sim`, with its arguments in the short form, if it is in that, and in the full one. Its last line says what was measured.
    Sim(&'static str, &'static str),
    /// `cargo xtask faults NAME`: so many tries in the short form, or as many as CI has by itself; the size of the record in the full one.
    Fault(&'static str, Option<u32>),
    /// Integration tests: they are part of `cargo xtask test`, and run again in the full form.
    Tests(&'static [&'static str]),
    /// By hand, with a release build: the page that has the figures.
    ByHand(&'static str),
    /// Nothing yet.
    Nothing(&'static str),
}

const fn row(id: &'static str, goal: &'static str, how: How) -> Row {
    Row { id, goal, how }
}

const ROWS: &[Row] = &[
    row("R1", "load held", How::ByHand("`florin bench coin`; docs/performance.md")),
    row("R2", "overload", How::Nothing("an open-loop ramp to five times the capacity")),
    row("R3", "SIGKILL under load: nothing lost, ready <= 2 s", How::Fault("kill", Some(100))),
    row("R4", "named crash points", How::Nothing("R5 fails at every write boundary instead")),
    row(
        "R5, R9",
        "simulated crashes and networks: zero, final <= 60 s, boundaries hit",
        How::Sim(
            "--from 2000 --seeds 400 --covered 200 --covered-percent 95",
            "--seeds 1000000 --minutes 60 --covered 50",
        ),
    ),
    row("R5", "the simulation finds deliberate faults: all", How::Sim("", "--mutants")),
    row("R6", "power loss: zero", How::Fault("power", Some(150))),
    row("R7", "bit rot: detected or harmless", How::Fault("flips", None)),
    row("R8", "disk errors, operator: clean end or definite error", How::Fault("io", Some(15))),
    row("R8", "disk errors, wallet and gate", How::Fault("io-purse", Some(6))),
    row("R10", "a bad network between real programs: zero, final <= 30 s", How::Fault("proxy", Some(45))),
    row("R11", "the same request has one effect", How::Tests(&["random", "answers"])),
    row("R12", "bad input: no panic, one encoding", How::Tests(&["replay"])),
    row("R13, R15", "garbage beside honest payments: all succeed", How::Fault("garbage", None)),
    row("R14", "slow connections: closed, honest payments go on", How::Fault("slow", None)),
    row("R16", "clocks: order holds, nothing expires twice, a warning", How::Fault("clock", Some(16))),
    row("R17", "backup and restore; stale books serve nothing", How::Tests(&["backup"])),
    row("R18", "the audit finds tampering", How::Tests(&["damage"])),
    row("R19", "bank: statements twice, missing, returned", How::Tests(&["reconcile"])),
    row("R20", "stored databases of earlier formats open", How::Tests(&["format"])),
    row("R21", "soak", How::Nothing("24 hours at half load")),
    row(
        "R22",
        "models: every order of loss, repetition and crash",
        How::Tests(&["worlds", "broken", "intruder"]),
    ),
    row(
        "R22",
        "mutants of money, books and coin caught >= 90 %",
        How::ByHand("`cargo xtask mutants`; docs/mutants.md"),
    ),
];

/// What came of a row.
struct Done {
    measured: String,
    command: String,
    took: String,
    holds: bool,
}

/// Runs the rows and prints the table; whether none has missed its goal.
#[must_use]
pub fn run(full: bool) -> bool {
    let mut table = String::from("| | goal | measured | command | time |\n|---|---|---|---|---|\n");
    let mut missed = 0u32;
    for row in ROWS {
        println!("== {} {}", row.id, row.goal);
        let done = one(&row.how, full);
        println!("== {} {}: {}", row.id, if done.holds { "holds" } else { "MISSED" }, done.measured);
        let miss = if done.holds { "" } else { "**missed**: " };
        missed = missed.saturating_add(u32::from(!done.holds));
        let Done { measured, command, took, .. } = done;
        table.push_str(&format!("| {} | {} | {miss}{measured} | {command} | {took} |\n", row.id, row.goal));
    }
    println!("\n{table}");
    println!("{missed} of {} goals missed", ROWS.len());
    missed == 0
}

fn one(how: &How, full: bool) -> Done {
    let said = |measured: &str| Done {
        measured: measured.to_owned(),
        command: String::new(),
        took: String::new(),
        holds: true,
    };
    match how {
        How::Nothing(what) => said(&format!("not measured yet: {what}")),
        How::ByHand(where_) => said(&format!("by hand: {where_}")),
        How::Tests(_) if !full => said("by tests: `cargo xtask test`"),
        How::Tests(names) => {
            let named = names.iter().flat_map(|name| ["--test", name]);
            command(&["test", "-q", "--locked", "--workspace"].into_iter().chain(named).collect::<Vec<_>>())
        }
        How::Sim("", _) if !full => said("in the full form"),
        How::Sim(short, long) => {
            let args = if full { long } else { short }.split(' ');
            command(&["xtask", "sim"].into_iter().chain(args).collect::<Vec<_>>())
        }
        How::Fault(name, _) if full => command(&["xtask", "faults", name, "--full"]),
        How::Fault(name, None) => command(&["xtask", "faults", name]),
        How::Fault(name, Some(tries)) => command(&["xtask", "faults", name, "--tries", &tries.to_string()]),
    }
}

fn command(args: &[&str]) -> Done {
    let begun = Instant::now();
    let output = cargo_command().args(args).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let took = format!("{:.0} s", begun.elapsed().as_secs_f64());
    let command = format!("`cargo {}`", args.join(" "));
    match output {
        Err(error) => Done { measured: error.to_string(), command, took, holds: false },
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            if !output.status.success() {
                println!("{text}");
            }
            Done { measured: last_line(&text), command, took, holds: output.status.success() }
        }
    }
}

/// The last line that says something; a bar would end a cell.
fn last_line(text: &str) -> String {
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing was said");
    last.trim().replace('|', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_has_a_row() {
        for number in 1..=22 {
            let id = format!("R{number}");
            let there = ROWS.iter().any(|row| row.id.split(", ").any(|part| part == id));
            assert!(there, "{id}");
        }
    }

    #[test]
    fn what_was_measured_is_the_last_line() {
        assert_eq!(last_line("a\nkill: 200 kills | 0 findings\n\n"), "kill: 200 kills / 0 findings");
        assert_eq!(last_line(""), "nothing was said");
    }

    #[test]
    fn a_command_that_fails_is_a_miss() {
        assert!(!command(&["no-such-subcommand"]).holds);
        assert!(command(&["--version"]).holds);
    }
}
