//! The report: for people a table, for programs JSON. Source: performance.md ("a figure names its machine").

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::crypto::CryptoCost;
use crate::echo::Echo;
use crate::machine::Machine;

/// The form of the JSON.
pub const REPORT_VERSION: u32 = 2;

/// How long answers took, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them at most.
    pub p50_ms: f64,
    /// Nine in ten.
    pub p90_ms: f64,
    /// 99 in a hundred.
    pub p99_ms: f64,
    /// 999 in a thousand.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Latency {
    /// Of these times.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |per_mille: usize| {
            let last = times.len().saturating_sub(1);
            let place = times.len().saturating_mul(per_mille).div_ceil(1000).saturating_sub(1).min(last);
            times.get(place).map_or(0.0, |t| t.as_secs_f64() * 1e3)
        };
        Self { p50_ms: at(500), p90_ms: at(900), p99_ms: at(990), p999_ms: at(999), max_ms: at(1000) }
    }
}

/// One load and what came of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Window {
    /// `closed` or `open`.
    pub pace: String,
    /// Requests a second that were due, in the open loop.
    pub offered_per_s: Option<f64>,
    /// Connections.
    pub connections: usize,
    /// How long was counted, in seconds.
    pub seconds: f64,
    /// Payments in it.
    pub payments: u64,
    /// A second.
    pub payments_per_s: f64,
    /// End to end over HTTP, each committed durably before it was answered.
    pub latency: Latency,
    /// Answers that were no *paid* with all the new coins, and connections that broke; warm-up too.
    pub errors: u64,
    /// The first of them, for people.
    pub first_error: Option<String>,
    /// Whether the prepared payments were all sent before the end.
    pub ran_out: bool,
    /// Processor time of the server's process for each payment, in microseconds.
    pub server_cpu_us: f64,
    /// Processor time of a payment's cryptography, measured beside this load on the same cores, in microseconds.
    pub crypto_beside_us: Option<f64>,
    /// What the load generator itself used for each payment, in microseconds.
    pub generator_cpu_us: f64,
    /// By how much the state's folder grew for each payment, in bytes.
    pub disk_growth_bytes: f64,
    /// What the server had written to the disk for each payment, in bytes, where the system tells.
    pub written_bytes: Option<f64>,
}

/// The closed loop with so many live coins.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Scaled {
    /// Live coins, those of the load left out.
    pub live: u64,
    /// From the operator's start, after a crash, to its listening; with that many coins.
    pub start_ms: f64,
    /// The load.
    pub window: Window,
}

/// What `florin bench coin` found out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CoinReport {
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
    /// Coins that a payment gives.
    pub coins_in: u64,
    /// Coins that it gets.
    pub coins_out: u64,
    /// Payments that were sealed before the clock ran.
    pub prepared: usize,
    /// Of them sent to find out how many are needed.
    pub calibration: usize,
    /// Bytes of a request.
    pub request_bytes: usize,
    /// Bytes of its answer.
    pub answer_bytes: usize,
    /// Each connection with one request under way.
    pub closed: Window,
    /// Requests at fixed times.
    pub open: Option<Window>,
    /// What the cryptography costs.
    pub crypto: CryptoCost,
    /// What HTTP costs.
    pub echo: Echo,
    /// Processor time of a payment in the books alone, in microseconds: facts, rules, two durable copies, folds.
    pub books_us: f64,
    /// The closed loop with more and more coins in circulation.
    pub scale: Vec<Scaled>,
    /// Cryptographic time of a payment by the server's time for a payment (closed loop), best windows.
    pub ratio: f64,
    /// The same with the cryptography measured beside the load: both at one time, on the same busy cores.
    pub ratio_beside: Option<f64>,
    /// The operator's own audit after all of it, its process killed: clean or not.
    pub audit_clean: bool,
}

/// A time as `2026-11-21 08:47:18 UTC`. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
#[must_use]
pub fn date(unix_s: u64) -> String {
    let (days, of_day) = (unix_s / 86_400, unix_s % 86_400);
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let leap = (of_era / 36_524).saturating_sub(of_era / 146_096);
    let years = of_era.saturating_sub(of_era / 1_460).saturating_add(leap) / 365;
    let before = years.saturating_mul(365).saturating_add(years / 4).saturating_sub(years / 100);
    let of_year = of_era.saturating_sub(before);
    let month = of_year.saturating_mul(5).saturating_add(2) / 153;
    let day = of_year.saturating_sub(month.saturating_mul(153).saturating_add(2) / 5).saturating_add(1);
    let year = era.saturating_mul(400).saturating_add(years).saturating_add(u64::from(month >= 10));
    let month = if month < 10 { month.saturating_add(3) } else { month.saturating_sub(9) };
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offered = self.offered_per_s.map(|r| format!(", {r:.0}/s offered")).unwrap_or_default();
        writeln!(f, "{} loop, {} connections{offered}, {:.1} s", self.pace, self.connections, self.seconds)?;
        writeln!(f, "  payments            {:>10.0} /s   ({} payments)", self.payments_per_s, self.payments)?;
        let l = &self.latency;
        writeln!(f, "  p50 p90 p99         {:>10.2} {:>8.2} {:>8.2} ms", l.p50_ms, l.p90_ms, l.p99_ms)?;
        writeln!(f, "  p99.9 max           {:>10.2} {:>8.2} ms", l.p999_ms, l.max_ms)?;
        writeln!(f, "  errors              {:>10}", self.errors)?;
        if let Some(error) = &self.first_error {
            writeln!(f, "    the first: {error}")?;
        }
        if self.ran_out {
            writeln!(f, "  (the prepared payments ran out before the end)")?;
        }
        writeln!(f, "  server CPU          {:>10.0} us a payment", self.server_cpu_us)?;
        if let Some(crypto) = self.crypto_beside_us {
            writeln!(f, "  cryptography beside {crypto:>10.0} us a payment")?;
        }
        writeln!(f, "  generator CPU       {:>10.0} us a payment", self.generator_cpu_us)?;
        writeln!(f, "  state grows by      {:>10.0} bytes a payment", self.disk_growth_bytes)?;
        match self.written_bytes {
            Some(bytes) => writeln!(f, "  written to disk     {bytes:>10.0} bytes a payment"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for CoinReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Coin payments with refresh, {} coins in, {} out", self.coins_in, self.coins_out)?;
        writeln!(f, "  {}   {}", self.date, self.command)?;
        let m = &self.machine;
        writeln!(f, "  {}, {} cores, Linux {}, load {}", m.cpu, m.cores, m.kernel, m.load_before)?;
        if !self.optimised {
            writeln!(f, "  NOT OPTIMISED: build with --release for figures that mean anything")?;
        }
        let (sealed, tried) = (self.prepared, self.calibration);
        writeln!(f, "  {sealed} payments sealed before the clock ran, {tried} of them to calibrate")?;
        writeln!(f, "  requests of {} bytes, answers of {}\n", self.request_bytes, self.answer_bytes)?;
        writeln!(f, "{}", self.closed)?;
        if let Some(open) = &self.open {
            writeln!(f, "{open}")?;
        }
        let c = &self.crypto;
        writeln!(f, "Cryptography of a payment, one thread")?;
        writeln!(f, "  all of it           {:>10.1} us", c.payment_us)?;
        writeln!(f, "  two HPKE opens      {:>10.1} us", c.opens_us)?;
        writeln!(f, "  verify, sign        {:>10.1} {:>8.1} us", c.verify_us, c.sign_us)?;
        writeln!(f, "  tags and ids        {:>10.1} us", c.coins_us)?;
        writeln!(f, "  keys and replies    {:>10.1} us", c.replies_us)?;
        writeln!(f, "  (hashes of messages {:>10.1} us, not counted)", c.hashes_us)?;
        self.breakdown(f)?;
        self.circulation(f)?;
        writeln!(f, "HTTP alone (echo of the same sizes)")?;
        writeln!(f, "  requests            {:>10.0} /s", self.echo.requests_per_s)?;
        writeln!(f, "  server CPU          {:>10.1} us a request\n", self.echo.server_cpu_us)?;
        writeln!(
            f,
            "Ratio                 {:>10.3}   (best windows, before and after the load)",
            self.ratio
        )?;
        if let Some(beside) = self.ratio_beside {
            writeln!(f, "Ratio under load      {beside:>10.3}   (cryptography measured beside the load)")?;
        }
        write!(f, "Audit                 {:>10}", if self.audit_clean { "clean" } else { "NOT CLEAN" })
    }
}

impl CoinReport {
    /// Where the server's time for a payment goes: each part measured alone, the rest by subtraction.
    fn breakdown(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let crypto = self.closed.crypto_beside_us.unwrap_or(self.crypto.payment_us);
        let all = self.closed.server_cpu_us;
        let rest = all - crypto - self.crypto.hashes_us - self.books_us - self.echo.server_cpu_us;
        writeln!(f, "Where the server's CPU goes, closed loop")?;
        for (what, us) in [
            ("cryptography", crypto),
            ("message hashes", self.crypto.hashes_us),
            ("books and store", self.books_us),
            ("HTTP", self.echo.server_cpu_us),
            ("the rest", rest),
        ] {
            writeln!(f, "  {what:<18}  {us:>10.1} us {:>6.1} %", us / all * 100.0)?;
        }
        Ok(())
    }

    fn circulation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for s in &self.scale {
            let (w, l) = (&s.window, &s.window.latency);
            writeln!(
                f,
                "With {:>9} live    {:>8.0} /s  {:>6.0} us CPU  p50 {:.1}  p99 {:.1} ms  start {:.0} ms  errors {}",
                s.live, w.payments_per_s, w.server_cpu_us, l.p50_ms, l.p99_ms, s.start_ms, w.errors
            )?;
        }
        match (self.scale.first(), self.scale.last()) {
            (Some(few), Some(many)) if self.scale.len() > 1 => writeln!(
                f,
                "  the most by the fewest: {:.3} of CPU",
                many.window.server_cpu_us / few.window.server_cpu_us
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let l = Latency::of((1..=1000).rev().map(Duration::from_millis).collect());
        assert_eq!([l.p50_ms, l.p90_ms, l.p99_ms, l.p999_ms, l.max_ms], [500.0, 900.0, 990.0, 999.0, 1000.0]);
        assert_eq!(Latency::of(vec![Duration::from_millis(7)]).p50_ms, 7.0);
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_795_250_838, "2026-11-21 08:47:18 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(unix_s), text);
        }
    }
}
