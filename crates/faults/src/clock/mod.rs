//! Clocks that are wrong, of real programs: they jump by an hour, a day and ten years in both directions, step back, and
//! stand still, while payments go on, between two runs, and at wallet and gate. The journal's sequence rises and its time
//! never goes back, nothing expires that has not, a warning is raised or a start refused, and once the clock is right
//! everything goes on. Source: reliability.md, R16; ADR 0034.

mod fake;
mod others;
mod restarts;
mod storm;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub use fake::{FakeClock, Set, library};

use crate::error::FaultsError;
use crate::fault::Setting;
use crate::report::Tally;
use crate::town::{Home, Person, Shop, Site, Town, count};

/// An hour, a day, ten years.
pub(crate) const JUMPS: [i64; 3] = [3_600, 86_400, 315_532_800];
/// Steps that a program follows, or nearly.
pub(crate) const STEPS: [i64; 4] = [1, 20, 90, 240];

/// A town whose programs go by a clock that can be set.
pub(crate) struct Clocked {
    pub(crate) town: Town,
    pub(crate) clock: FakeClock,
    pub(crate) site: Site,
    pub(crate) shop: Shop,
    pub(crate) person: Person,
}

type Part = fn(&Setting, &Path, &tokio::runtime::Runtime, u64) -> Result<Tally, FaultsError>;

/// Tries so many settings of the clock under load, and the others once.
///
/// # Errors
/// What keeps a town from starting; libfaketime is missing where everything is to be tried.
pub fn run(setting: &Setting, tries: u64) -> Result<Tally, FaultsError> {
    let Some(library) = library() else {
        let said = "not installed (Debian: apt-get install faketime)".to_owned();
        if std::env::var_os("FLORIN_CI").is_some() {
            return Err(FaultsError::Said { program: "libfaketime".into(), said });
        }
        eprintln!("clock: skipped: libfaketime is {said}");
        return Ok(Tally::default());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(FaultsError::Runtime)?;
    let parts: [Part; 4] = [storm::run, restarts::back, restarts::ahead, others::run];
    let tried: Vec<Result<Tally, FaultsError>> = std::thread::scope(|threads| {
        let (library, runtime) = (library.as_path(), &runtime);
        let begin = |part: &Part| {
            let part = *part;
            threads.spawn(move || part(setting, library, runtime, tries))
        };
        let parts: Vec<_> = parts.iter().map(begin).collect();
        let gone = |_| Err(FaultsError::Said { program: "a thread".into(), said: "it panicked".into() });
        parts.into_iter().map(|part| part.join().unwrap_or_else(gone)).collect()
    });
    let mut tally = Tally::default();
    for part in tried {
        let part = part?;
        tally.tries = tally.tries.saturating_add(part.tries);
        tally.findings.extend(part.findings);
        tally.figures.extend(part.figures);
    }
    Ok(tally)
}

/// What is started here from now on goes by this clock.
pub(crate) fn give(clock: &FakeClock, home: &mut Home) {
    let env = clock.env();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    home.set(&env);
}

impl Clocked {
    /// A town with an operator that goes by the clock, a gate and a person with coins that do not.
    pub(crate) fn start(
        setting: &Setting,
        name: &str,
        library: &Path,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Self, FaultsError> {
        let mut town = Town::start(setting, name, &[])?;
        let clock = FakeClock::new(library, town.path().join("clock"))?;
        town.stop_operator()?;
        give(&clock, town.operator_home());
        town.start_operator()?;
        let site = runtime.block_on(Site::start())?;
        let operator = format!("http://{}", town.operator_at());
        let shop = town.shop("gate", &operator, &site.url())?;
        let person = town.person("wallet", &operator)?;
        person.home.ok(&["wallet", "buy", "50.00 FLO", "--refundable"])?;
        Ok(Self { town, clock, site, shop, person })
    }

    /// What must hold in the end: nothing is open, everything adds up, each page was given if it was debited, the journal
    /// goes one way only.
    pub(crate) fn end(&self, tally: &mut Tally) -> Result<(), FaultsError> {
        tally.findings.extend(count(&self.town, &[&self.person], &[&self.shop])?.1);
        tally.findings.extend(self.town.bad_lines(&[&self.shop]));
        tally.findings.extend(self.journal()?);
        let debits = self.person.debits()?;
        let url = format!("http://{}", self.shop.at);
        let debited: BTreeMap<String, u64> =
            debits.into_iter().map(|(what, count)| (what.replacen(&url, "", 1), count)).collect();
        let given = self.site.pages();
        for page in debited.keys().chain(given.keys()) {
            let (debits, given) = (debited.get(page).copied(), given.get(page).copied());
            if debits != Some(1) || given.is_none() {
                tally.finding(format!("{page}: debited {debits:?}, given {given:?}"));
            }
        }
        Ok(())
    }

    /// In each lane the sequence rises by one and the time never goes back.
    fn journal(&self) -> Result<Vec<String>, FaultsError> {
        let out = self.town.home().ok(&["--json", "operator", "journal"])?;
        let mut last: BTreeMap<String, (u64, String)> = BTreeMap::new();
        let mut findings = Vec::new();
        for line in out.lines() {
            let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
            let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let seq = record.get("seq").and_then(Value::as_u64).unwrap_or_default();
            let (before, at) = last.get(&text("lane")).cloned().unwrap_or_default();
            if seq <= before || text("time") < at {
                findings.push(format!("the journal: {} after {before} at {at}: {line}", seq));
            }
            last.insert(text("lane"), (seq, text("time")));
        }
        if last.len() != 2 {
            findings.push(format!("the journal has {} lanes", last.len()));
        }
        Ok(findings)
    }

    /// The epochs with their ends, without what moves in them.
    pub(crate) fn epochs(&self) -> Result<Vec<String>, FaultsError> {
        let report = self.town.home().json(&["operator", "epochs"])?;
        let rows = report.get("epochs").and_then(Value::as_array).into_iter().flatten();
        let names = ["epoch", "state", "from_unix_ms", "expires_unix_ms", "grace_end_unix_ms"];
        let text =
            |row: &Value| names.map(|name| row.get(name).unwrap_or(&Value::Null).to_string()).join(" ");
        Ok(rows.map(text).collect())
    }
}
