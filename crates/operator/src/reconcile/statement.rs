//! A bank's statement, read strictly: the chain of balances, the numbers without a gap, the account and the currency.
//! Source: bank.md, "Reconciliation" (OPBD = previous CLBD, OPBD + entries = CLBD).

use florin_bank::messages::{Statement, StatementLine, parse_balance};
use florin_money::{Amount, Currency};
use florin_parties::bank::OrderId;

use super::finding::Finding;

/// A statement may have so many entries: a bank that never ends is noticed.
const ENTRIES_MAX: usize = 4_000_000;

/// One line of a statement, as the books would post it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its number.
    pub number: u64,
    /// What it does to the account, in minor units.
    pub delta: i64,
    /// The order that it carries out or undoes.
    pub order: Option<OrderId>,
    /// Whether it undoes one.
    pub back: bool,
}

/// A statement, read page by page.
#[derive(Clone, Debug)]
pub struct Reading {
    account: String,
    currency: Currency,
    /// The last entry's number.
    pub number: u64,
    /// The balance after it.
    pub balance: i64,
    /// The entries.
    pub entries: Vec<Entry>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

impl Reading {
    /// A statement of this account, read from after an entry on, at which the balance was this.
    #[must_use]
    pub const fn after(account: String, currency: Currency, number: u64, balance: i64) -> Self {
        Self { account, currency, number, balance, entries: Vec::new(), findings: Vec::new() }
    }

    /// Takes in a page; whether there is more to ask for.
    pub fn absorb(&mut self, page: &Statement) -> bool {
        if page.iban != self.account {
            self.findings.push(Finding::WrongAccount { found: shown(&page.iban) });
            return false;
        }
        let since = self.number;
        match parse_balance(&page.opening, self.currency) {
            Ok(opening) if opening == self.balance => {}
            Ok(opening) => {
                let (expected, currency) = (self.balance, self.currency);
                self.findings.push(Finding::Opening { since, expected, found: opening, currency });
                self.balance = opening;
            }
            Err(_) => self.unreadable(since, &page.opening),
        }
        for line in &page.entries {
            if !self.line(line) || self.entries.len() > ENTRIES_MAX {
                return false;
            }
        }
        match parse_balance(&page.closing, self.currency) {
            Ok(closing) if closing == self.balance => {}
            Ok(closing) => {
                let (sum, currency) = (self.balance, self.currency);
                self.findings.push(Finding::Closing { number: self.number, sum, found: closing, currency });
            }
            Err(_) => self.unreadable(self.number, &page.closing),
        }
        // What says that there is more, and gives nothing, would be asked for ever.
        let stuck = page.next != self.number || (page.more && self.number == since);
        if stuck {
            self.findings.push(Finding::Gap { expected: self.number, found: page.next });
        }
        page.more && !stuck
    }

    /// One line; `false` where the rest cannot be placed.
    fn line(&mut self, line: &StatementLine) -> bool {
        let expected = self.number.saturating_add(1);
        if line.number != expected {
            self.findings.push(Finding::Gap { expected, found: line.number });
            if line.number < expected {
                return false;
            }
        }
        self.number = line.number;
        let amount = Amount::parse(&line.amount, &[self.currency]).ok();
        let amount = amount.and_then(|a| i64::try_from(a.minor()).ok()).filter(|minor| *minor > 0);
        let delta = match (amount, line.direction.as_str()) {
            (Some(minor), "credit") => minor,
            (Some(minor), "debit") => minor.saturating_neg(),
            _ => {
                self.unreadable(line.number, &format!("{} {}", line.direction, line.amount));
                0
            }
        };
        let sum = self.balance.saturating_add(delta);
        match parse_balance(&line.balance, self.currency) {
            Ok(found) => {
                if found != sum && delta != 0 {
                    let currency = self.currency;
                    self.findings.push(Finding::Sum { number: line.number, sum, found, currency });
                }
                self.balance = found;
            }
            Err(_) => {
                self.unreadable(line.number, &line.balance);
                self.balance = sum;
            }
        }
        let order = match line.order.as_deref().map(str::parse) {
            None => None,
            Some(Ok(order)) => Some(order),
            Some(Err(_)) => {
                self.unreadable(line.number, line.order.as_deref().unwrap_or_default());
                None
            }
        };
        let back = line.kind == "return";
        self.entries.push(Entry { number: line.number, delta, order, back });
        true
    }

    /// Another currency looks like this as well.
    fn unreadable(&mut self, number: u64, text: &str) {
        self.findings.push(Finding::Unreadable { number, text: shown(text), currency: self.currency });
    }
}

/// What a bank has written, fit to be kept and shown.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}
