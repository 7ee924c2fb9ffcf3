//! What must hold in the end: nothing is open anywhere, and everybody's coins and money add up to what was deposited.
//! Source: reliability.md, "Zero"; issue ("balances add up to the deposit exactly").

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{CODE_MINOR, DEPOSIT_MINOR, Person, Shop, Town};
use crate::error::FaultsError;

/// How long everything may take to become final once the damage is over. Source: R10.
pub const FINAL_IN: Duration = Duration::from_secs(30);

/// What everybody has, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Coins in wallets.
    pub wallets: u64,
    /// Coins at gates.
    pub gates: u64,
    /// Money on accounts.
    pub accounts: u64,
    /// What there must be.
    pub expected: u64,
}

/// Minor units of a text such as `12.30 FLO`; none where it is no amount.
#[must_use]
pub fn minor(text: &str) -> Option<u64> {
    let number = text.strip_suffix(" FLO")?;
    let (whole, part) = number.split_once('.')?;
    let part: u64 = (part.len() == 2).then(|| part.parse().ok()).flatten()?;
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(part)
}

fn amounts(report: &Value, list: &str, names: &[&str]) -> u64 {
    let rows = report.get(list).and_then(Value::as_array).into_iter().flatten();
    let named = rows.flat_map(|row| names.iter().map(|name| row.get(*name).and_then(Value::as_str)));
    named.flatten().filter_map(minor).fold(0, u64::saturating_add)
}

/// Waits until everything is final, then adds up. What is not as it must be comes back as findings.
///
/// # Errors
/// `Program`.
pub fn count(town: &Town, people: &[&Person], shops: &[&Shop]) -> Result<(Count, Vec<String>), FaultsError> {
    let begun = Instant::now();
    loop {
        let (count, mut findings) = look(town, people, shops)?;
        if findings.is_empty() {
            return Ok((count, findings));
        }
        if begun.elapsed() > FINAL_IN {
            findings.iter_mut().for_each(|finding| finding.push_str(" (after 30 s)"));
            return Ok((count, findings));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn look(town: &Town, people: &[&Person], shops: &[&Shop]) -> Result<(Count, Vec<String>), FaultsError> {
    let mut count = Count::default();
    let mut findings = Vec::new();
    for person in people {
        let status = person.home.run(&["--json", "wallet", "status"])?;
        let (report, name) = (status.json(), name_of(person.home.path()));
        let open = report.get("open").and_then(Value::as_array).is_none_or(|open| !open.is_empty());
        if status.code != Some(0) || open || amounts(&report, "balances", &["reserved", "sent"]) > 0 {
            findings.push(format!("{name}: something is open: {} {report}", status.said()));
        }
        let coins = amounts(&report, "balances", &["free", "reserved", "sent"]);
        count.wallets = count.wallets.saturating_add(coins);
        count.add_account(&person.home.json(&["bank", "statement", &person.account])?, DEPOSIT_MINOR);
    }
    for shop in shops {
        let (report, name) = (shop.home.json(&["gate", "balance"])?, name_of(shop.home.path()));
        if amounts(&report, "balances", &["reserved"]) > 0 {
            findings.push(format!("{name}: something is open: {report}"));
        }
        count.gates =
            count.gates.saturating_add(amounts(&report, "balances", &["free", "reserved", "gathered"]));
        count.add_account(&shop.home.json(&["bank", "statement", &shop.account])?, 0);
    }
    let (report, audit) = town.audit()?;
    findings.extend(audit);
    let circulating = report.get("in_circulation").and_then(Value::as_str).and_then(minor);
    let coins = count.wallets.saturating_add(count.gates);
    if circulating != Some(coins) {
        findings
            .push(format!("{coins} in purses and {circulating:?} in circulation by the operator's books"));
    }
    if count.sum() != count.expected {
        findings.push(format!("what everybody has is not what was deposited: {count:?}"));
    }
    Ok((count, findings))
}

fn name_of(path: &std::path::Path) -> String {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
}

impl Count {
    fn add_account(&mut self, statement: &Value, deposit: u64) {
        let closing = statement.get("closing").and_then(Value::as_str).and_then(minor);
        self.accounts = self.accounts.saturating_add(closing.unwrap_or(0));
        self.expected = self.expected.saturating_add(deposit).saturating_add(CODE_MINOR);
    }

    /// All of it.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.wallets.saturating_add(self.gates).saturating_add(self.accounts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        assert_eq!((minor("12.30 FLO"), minor("0.05 FLO")), (Some(1230), Some(5)));
        assert_eq!((minor("12.3 FLO"), minor("12.30 EUR"), minor("-1.00 FLO")), (None, None, None));
        let report = serde_json::json!({"balances": [{"free": "1.00 FLO", "reserved": "0.10 FLO"}]});
        assert_eq!(amounts(&report, "balances", &["free", "reserved"]), 110);
    }
}
