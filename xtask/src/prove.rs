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
    /// A command, with its arguments in the short form, if it is in that, and in the full one. Its last line says what was measured.
    Command(&'static [&'static str], &'static [&'static str]),
    /// Tests: they are part of `cargo xtask test`, and run again in the full form.
    Tests(&'static [&'static str]),
    /// By hand, with a release build: the page that has the figures.
    ByHand(&'static str),
    /// Nothing yet.
    Nothing(&'static str),
}

const XTASK: &str = "xtask";

const ROWS: &[Row] = &[
    Row { id: "R1", goal: "load held", how: How::ByHand("`florin bench coin`; docs/performance.md") },
    Row { id: "R2", goal: "overload", how: How::Nothing("an open-loop ramp to five times the capacity") },
    Row {
        id: "R3",
        goal: "SIGKILL under load: nothing lost, ready <= 2 s",
        how: How::Command(&[XTASK, "faults", "kill", "--tries", "100"], &[XTASK, "faults", "kill", "--full"]),
    },
    Row {
        id: "R4",
        goal: "named crash points",
        how: How::Nothing("R5 fails at every write boundary instead"),
    },
    Row {
        id: "R5, R9",
        goal: "simulated crashes and networks: zero, final <= 60 s, boundaries hit",
        how: How::Command(
            &[
                XTASK,
                "sim",
                "--from",
                "2000",
                "--seeds",
                "2000",
                "--covered",
                "500",
                "--covered-percent",
                "90",
            ],
            &[XTASK, "sim", "--seeds", "1000000", "--minutes", "60", "--covered", "50"],
        ),
    },
    Row {
        id: "R5",
        goal: "the simulation finds deliberate faults: all",
        how: How::Command(&[XTASK, "sim", "--mutants"], &[XTASK, "sim", "--mutants"]),
    },
    Row {
        id: "R6",
        goal: "power loss: zero",
        how: How::Command(
            &[XTASK, "faults", "power", "--tries", "150"],
            &[XTASK, "faults", "power", "--full"],
        ),
    },
    Row {
        id: "R7",
        goal: "bit rot: detected or harmless",
        how: How::Command(
            &[XTASK, "faults", "flips", "--tries", "120"],
            &[XTASK, "faults", "flips", "--full"],
        ),
    },
    Row {
        id: "R8",
        goal: "disk errors, operator: clean end or definite error",
        how: How::Command(&[XTASK, "faults", "io", "--tries", "15"], &[XTASK, "faults", "io", "--full"]),
    },
    Row {
        id: "R8",
        goal: "disk errors, wallet and gate",
        how: How::Command(
            &[XTASK, "faults", "io-purse", "--tries", "6"],
            &[XTASK, "faults", "io-purse", "--full"],
        ),
    },
    Row {
        id: "R10",
        goal: "a bad network between real programs: zero, final <= 30 s",
        how: How::Command(
            &[XTASK, "faults", "proxy", "--tries", "45"],
            &[XTASK, "faults", "proxy", "--full"],
        ),
    },
    Row {
        id: "R11",
        goal: "the same request has one effect",
        how: How::Tests(&["test", "-q", "--workspace", "--test", "random", "--test", "answers"]),
    },
    Row {
        id: "R12",
        goal: "bad input: no panic, one encoding",
        how: How::Tests(&["test", "-q", "--workspace", "--test", "replay"]),
    },
    Row {
        id: "R13, R15",
        goal: "garbage beside honest payments: all succeed",
        how: How::Command(&[XTASK, "faults", "garbage"], &[XTASK, "faults", "garbage", "--full"]),
    },
    Row {
        id: "R14",
        goal: "slow connections: closed, honest payments go on",
        how: How::Command(&[XTASK, "faults", "slow"], &[XTASK, "faults", "slow", "--full"]),
    },
    Row {
        id: "R16",
        goal: "clocks: order holds, nothing expires twice, a warning",
        how: How::Command(
            &[XTASK, "faults", "clock", "--tries", "16"],
            &[XTASK, "faults", "clock", "--full"],
        ),
    },
    Row {
        id: "R17",
        goal: "backup and restore; stale books serve nothing",
        how: How::Tests(&["test", "-q", "--workspace", "--test", "backup"]),
    },
    Row {
        id: "R18",
        goal: "the audit finds tampering",
        how: How::Tests(&["test", "-q", "--workspace", "--test", "damage"]),
    },
    Row {
        id: "R19",
        goal: "bank: statements twice, missing, returned",
        how: How::Tests(&["test", "-q", "--workspace", "--test", "reconcile"]),
    },
    Row {
        id: "R20",
        goal: "stored databases of earlier formats open",
        how: How::Tests(&["test", "-q", "--workspace", "--test", "format"]),
    },
    Row { id: "R21", goal: "soak", how: How::Nothing("24 hours at half load") },
    Row {
        id: "R22",
        goal: "models: every order of loss, repetition and crash",
        how: How::Tests(&[
            "test",
            "-q",
            "--workspace",
            "--test",
            "worlds",
            "--test",
            "broken",
            "--test",
            "intruder",
        ]),
    },
    Row {
        id: "R22",
        goal: "mutants of money, books and coin caught >= 90 %",
        how: How::ByHand("`cargo xtask mutants`; docs/mutants.md"),
    },
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
        How::Tests(args) => command(args),
        How::Command([], _) if !full => said("in the full form"),
        How::Command(short, long) => command(if full { long } else { short }),
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
