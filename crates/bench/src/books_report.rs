//! What `florin bench books` found out: for people a table, for programs JSON. Source: performance.md.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::report::Latency;

/// The books with so many live coins.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScaleCost {
    /// Live coins.
    pub live: u64,
    /// Payments a second, the median turn.
    pub payments_per_s: f64,
    /// Processor time of the whole process for each payment, in microseconds, the median turn.
    pub cpu_us: f64,
    /// From the moment at which facts are read to the answer.
    pub latency: Latency,
    /// Bytes on the disk for each live coin, both copies, folded.
    pub disk_bytes_per_coin: f64,
    /// Bytes of the checkpoint.
    pub checkpoint_bytes: u64,
    /// How long the writer is held up by the snapshot of the live coins, in microseconds.
    pub snapshot_us: f64,
    /// A start after a crash, in milliseconds.
    pub start_ms: f64,
}

/// A long journal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct JournalCost {
    /// Payments in it.
    pub payments: u64,
    /// Payments a second while it was written, 512 under way.
    pub payments_per_s: f64,
    /// Processor time of a payment in its first twentieth, in microseconds.
    pub first_cpu_us: f64,
    /// The same in its last.
    pub last_cpu_us: f64,
    /// Bytes on the disk for each payment, both copies.
    pub disk_bytes: f64,
    /// A start after a crash, in milliseconds.
    pub start_ms: f64,
    /// The audit of everything, in seconds.
    pub audit_s: f64,
    /// Its finding.
    pub audit_clean: bool,
}

/// What `florin bench books` found out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BooksReport {
    /// The form of this.
    pub version: u32,
    /// When, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// The same for people.
    pub date: String,
    /// By which command.
    pub command: String,
    /// Whether the program was built with optimisation.
    pub optimised: bool,
    /// On which machine.
    pub machine: Machine,
    /// Each number of live coins.
    pub scale: Vec<ScaleCost>,
    /// The long journal.
    pub journal: Option<JournalCost>,
}

impl BooksReport {
    /// What a payment costs with the most coins, by what it costs with the fewest.
    #[must_use]
    pub fn growth(&self) -> Option<f64> {
        Some(self.scale.last()?.cpu_us / self.scale.first()?.cpu_us)
    }
}

impl fmt::Display for BooksReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Payments in the books alone: facts, rules, two durable copies, folds")?;
        writeln!(f, "  {}   {}", self.date, self.command)?;
        let m = &self.machine;
        writeln!(f, "  {}, {} cores, Linux {}, load {}", m.cpu, m.cores, m.kernel, m.load_before)?;
        if !self.optimised {
            writeln!(f, "  NOT OPTIMISED: build with --release for figures that mean anything")?;
        }
        writeln!(f, "\n  live coins   /s  CPU us   p50   p99  p99.9 ms   bytes/coin  snapshot us  start ms")?;
        for s in &self.scale {
            let l = &s.latency;
            writeln!(
                f,
                "{:>12} {:>6.0} {:>6.1} {:>5.1} {:>5.1} {:>6.1}      {:>8.3}     {:>8.0}  {:>8.0}",
                s.live,
                s.payments_per_s,
                s.cpu_us,
                l.p50_ms,
                l.p99_ms,
                l.p999_ms,
                s.disk_bytes_per_coin,
                s.snapshot_us,
                s.start_ms
            )?;
        }
        if let Some(growth) = self.growth() {
            writeln!(f, "  the most by the fewest: {growth:.3}")?;
        }
        let Some(j) = &self.journal else { return Ok(()) };
        writeln!(f, "\nA journal of {} payments", j.payments)?;
        writeln!(f, "  written at          {:>10.0} /s", j.payments_per_s)?;
        writeln!(f, "  CPU, first and last {:>10.1} {:>8.1} us a payment", j.first_cpu_us, j.last_cpu_us)?;
        writeln!(f, "  on the disk         {:>10.0} bytes a payment", j.disk_bytes)?;
        writeln!(f, "  start               {:>10.0} ms", j.start_ms)?;
        let found = if j.audit_clean { "clean" } else { "NOT CLEAN" };
        write!(f, "  audit               {:>10.1} s, {found}", j.audit_s)
    }
}
