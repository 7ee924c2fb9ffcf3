//! Coins in circulation and ever issued: by denomination, by epoch with its dates, by the epoch's age.
//! Source: books.md, "Coins are numbered"; VarietyCash §2.6 (conservation of cash); V9.

use std::collections::BTreeMap;
use std::fmt;

use florin_books::{Epoch, Timestamp};
use florin_coin::Epochs;
use florin_shell::utc::{date, utc_ms};
use serde::{Deserialize, Serialize};

use super::coins::{value_of, worth};
use super::{Money, ReadingError, Table, currency_of};
use crate::lanes::Lanes;

/// What the coins are counted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// By what one is worth.
    Denomination,
    /// By when they were issued.
    Epoch,
    /// By how many epochs ago they were issued.
    Age,
}

/// Coins of one denomination, epoch or age.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CirculationRow {
    /// What one is worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Money>,
    /// When they were issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u16>,
    /// How many epochs ago they were issued; 0 is the one that is issued now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<u16>,
    /// `issued` now, `paying`, in `grace`, `past`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The day that they stop paying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The day that they can no longer be exchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_ends: Option<String>,
    /// How many are in circulation.
    pub live: u64,
    /// What they are worth.
    pub live_worth: Money,
    /// How many were ever issued.
    pub issued: u64,
    /// What they were worth.
    pub issued_worth: Money,
}

/// Coins in circulation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CirculationReport {
    /// When, in RFC 3339.
    pub at: String,
    /// In which currency.
    pub currency: String,
    /// By what they are counted.
    pub by: By,
    /// The rows, in order.
    pub rows: Vec<CirculationRow>,
    /// All of them.
    pub total: CirculationRow,
}

#[derive(Clone, Copy, Default)]
struct Count {
    live: u64,
    live_worth: u64,
    issued: u64,
    issued_worth: u64,
}

impl Count {
    fn add(&mut self, value: u64, live: u64, issued: u64) {
        self.live = self.live.saturating_add(live);
        self.issued = self.issued.saturating_add(issued);
        self.live_worth = self.live_worth.saturating_add(value.saturating_mul(live));
        self.issued_worth = self.issued_worth.saturating_add(value.saturating_mul(issued));
    }

    fn row(self, exponent: u8) -> CirculationRow {
        CirculationRow {
            value: None,
            epoch: None,
            age: None,
            state: None,
            expires: None,
            grace_ends: None,
            live: self.live,
            live_worth: worth(self.live_worth, 1, exponent),
            issued: self.issued,
            issued_worth: worth(self.issued_worth, 1, exponent),
        }
    }
}

/// Counts what the books lane has issued.
///
/// # Errors
/// [`ReadingError`].
pub fn circulation(
    lanes: &Lanes,
    epochs: &Epochs,
    by: By,
    now: Timestamp,
) -> Result<CirculationReport, ReadingError> {
    let lines = lanes.books.books.view(|lane| lane.live().circulation().collect::<Vec<_>>())?;
    let (spec, currency) = (lanes.books.books.spec(), currency_of(lanes));
    let (this, exponent) = (epochs.issuing(now).unwrap_or(Epoch(0)), currency.exponent());
    let mut counts: BTreeMap<u64, Count> = BTreeMap::new();
    let mut total = Count::default();
    for line in lines {
        // A denomination that no register has is worth nothing here; the audit finds what should not be there.
        let value = value_of(spec, line.denomination).map_or(0, |(value, _)| value);
        let key = match by {
            By::Denomination => value,
            By::Epoch => u64::from(line.epoch.0),
            By::Age => u64::from(this.0.saturating_sub(line.epoch.0)),
        };
        counts.entry(key).or_default().add(value, line.live, line.issued);
        total.add(value, line.live, line.issued);
    }
    let row = |(key, count): (u64, Count)| {
        let row = count.row(exponent);
        let key_16 = u16::try_from(key).unwrap_or(u16::MAX);
        let epoch = match by {
            By::Denomination => return CirculationRow { value: Some(worth(key, 1, exponent)), ..row },
            By::Epoch => Epoch(key_16),
            By::Age => Epoch(this.0.saturating_sub(key_16)),
        };
        CirculationRow {
            epoch: Some(epoch.0),
            age: Some(this.0.saturating_sub(epoch.0)),
            state: epochs.state(epoch, now).map(|state| state.title().into()),
            expires: epochs.entry(epoch).map(|entry| date(entry.expires)),
            grace_ends: epochs.entry(epoch).and_then(|entry| entry.grace_end).map(date),
            ..row
        }
    };
    let rows = counts.into_iter().map(row).collect();
    let (at, currency) = (utc_ms(now), currency.code().to_string());
    Ok(CirculationReport { at, currency, by, rows, total: total.row(exponent) })
}

impl CirculationReport {
    /// For programs; the same headings whatever the coins are counted by, and a last row with the total.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut table = Table::new(&[
            "by",
            "currency",
            "value",
            "value_minor",
            "epoch",
            "age",
            "state",
            "expires",
            "grace_ends",
            "live",
            "live_worth",
            "live_worth_minor",
            "issued",
            "issued_worth",
            "issued_worth_minor",
        ]);
        let by = match self.by {
            By::Denomination => "denomination",
            By::Epoch => "epoch",
            By::Age => "age",
        };
        for (by, r) in self.rows.iter().map(|r| (by, r)).chain([("total", &self.total)]) {
            let text = |n: Option<u16>| n.map(|n| n.to_string()).unwrap_or_default();
            let word = |w: &Option<String>| w.clone().unwrap_or_default();
            table.push(vec![
                by.to_owned(),
                self.currency.clone(),
                r.value.as_ref().map(|v| v.amount.clone()).unwrap_or_default(),
                r.value.as_ref().map(|v| v.minor.to_string()).unwrap_or_default(),
                text(r.epoch),
                text(r.age),
                word(&r.state),
                word(&r.expires),
                word(&r.grace_ends),
                r.live.to_string(),
                r.live_worth.amount.clone(),
                r.live_worth.minor.to_string(),
                r.issued.to_string(),
                r.issued_worth.amount.clone(),
                r.issued_worth.minor.to_string(),
            ]);
        }
        table.csv()
    }

    fn names(&self, r: &CirculationRow) -> Vec<String> {
        let number = |n: Option<u16>| n.map(|n| n.to_string()).unwrap_or_default();
        let word = |w: &Option<String>| w.clone().unwrap_or_default();
        match self.by {
            By::Denomination => {
                vec![r.value.as_ref().map(|v| format!("{} {}", v.amount, self.currency)).unwrap_or_default()]
            }
            By::Epoch => vec![number(r.epoch), word(&r.state), word(&r.expires), word(&r.grace_ends)],
            By::Age => {
                let age = match r.age {
                    Some(0) => "this epoch".into(),
                    Some(1) => "1 epoch ago".into(),
                    Some(n) => format!("{n} epochs ago"),
                    None => String::new(),
                };
                vec![age, word(&r.state), word(&r.expires)]
            }
        }
    }
}

impl fmt::Display for CirculationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first: &[&str] = match self.by {
            By::Denomination => &[">Coin"],
            By::Epoch => &[">Epoch", "State", "Pays until", "Exchanged until"],
            By::Age => &["Issued", "State", "Pay until"],
        };
        let worth = format!(">Worth, {}", self.currency);
        let counts = [">In circulation", worth.as_str(), ">Ever issued", worth.as_str()];
        let mut table = Table::new(&[first, &counts].concat());
        let push = |table: &mut Table, mut names: Vec<String>, r: &CirculationRow| {
            names.extend([
                r.live.to_string(),
                r.live_worth.amount.clone(),
                r.issued.to_string(),
                r.issued_worth.amount.clone(),
            ]);
            table.push(names);
        };
        for r in &self.rows {
            push(&mut table, self.names(r), r);
        }
        let mut all = vec![String::new(); first.len()];
        if let Some(word) = all.first_mut() {
            *word = "together".into();
        }
        push(&mut table, all, &self.total);
        write!(f, "{table}")
    }
}
