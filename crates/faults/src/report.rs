//! What a run of a fault has shown: one line for people, one document for the table of proofs.
//! Source: the issue ("the table").

use std::time::Duration;

use serde::Serialize;

/// How many findings the line of a report tells in full.
const SHOWN_MAX: usize = 20;

/// What the tries of a fault have shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// How many tries there were.
    pub tries: u64,
    /// What must not be, each with what repeats it.
    pub findings: Vec<String>,
    /// What else is worth knowing, by name.
    pub figures: Vec<(&'static str, f64)>,
}

impl Tally {
    /// Adds what must not be; a long run tells it at once.
    pub fn finding(&mut self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("finding {}: {what}", self.findings.len().saturating_add(1));
        self.findings.push(what);
    }

    /// Adds a number with a name.
    pub fn figure(&mut self, name: &'static str, value: f64) {
        self.figures.push((name, value));
    }

    /// Adds a count with a name.
    pub fn count(&mut self, name: &'static str, value: u64) {
        // Counts of tries are far below 2^52.
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        self.figure(name, value as f64);
    }
}

/// A number with a name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// The name.
    pub name: String,
    /// The number.
    pub value: f64,
}

/// One fault, tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The fault.
    pub fault: String,
    /// What one try is called.
    pub unit: String,
    /// How many tries.
    pub tries: u64,
    /// The seed.
    pub seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// What must not be.
    pub findings: Vec<String>,
    /// What else is worth knowing.
    pub figures: Vec<Figure>,
    /// The command that does it again.
    pub command: String,
}

impl Report {
    /// Of a fault's tally.
    #[must_use]
    pub fn new(fault: &crate::Fault, seed: u64, took: Duration, tally: Tally) -> Self {
        let figures = tally.figures.into_iter();
        Self {
            fault: fault.name.to_owned(),
            unit: fault.unit.to_owned(),
            tries: tally.tries,
            seed,
            seconds: took.as_secs_f64(),
            findings: tally.findings,
            figures: figures.map(|(name, value)| Figure { name: name.to_owned(), value }).collect(),
            command: format!("cargo xtask faults {} --tries {} --seed {seed}", fault.name, tally.tries),
        }
    }

    /// The line for people, after the findings.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for finding in self.findings.iter().take(SHOWN_MAX) {
            text.push_str(&format!("{}: FOUND {finding}\n", self.fault));
        }
        if self.findings.len() > SHOWN_MAX {
            text.push_str(&format!(
                "{}: and {} more\n",
                self.fault,
                self.findings.len().saturating_sub(SHOWN_MAX)
            ));
        }
        let figures: String =
            self.figures.iter().map(|f| format!(", {} {}", f.name, short(f.value))).collect();
        text.push_str(&format!(
            "{}: {} {}, {} findings{figures}, seed {} in {:.1} s",
            self.fault,
            self.tries,
            self.unit,
            self.findings.len(),
            self.seed,
            self.seconds
        ));
        text
    }
}

fn short(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_was_found_and_how_to_find_it_again() {
        let fault = crate::Fault {
            name: "kill",
            what: "",
            unit: "kills",
            ci: 1,
            full: 2,
            run: |_, _| Ok(Tally::default()),
        };
        let mut tally = Tally { tries: 3, ..Tally::default() };
        tally.finding("a coin in two purses");
        tally.count("answers", 12);
        tally.figure("ready_s", 0.25);
        let report = Report::new(&fault, 7, Duration::from_millis(1500), tally);
        assert_eq!(
            report.lines(),
            "kill: FOUND a coin in two purses\nkill: 3 kills, 1 findings, answers 12, ready_s 0.250, seed 7 in 1.5 s"
        );
        assert_eq!(report.command, "cargo xtask faults kill --tries 3 --seed 7");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["figures"][0]["name"], "answers");
    }
}
