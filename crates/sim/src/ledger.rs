//! The auditor of people: what each of them had and did, by their own histories, is what they have now; and they paid nothing
//! that they had not meant to. Source: the issue ("every accepted payment has a matching intent of its payer", "nothing a thief
//! does gains him anything", "both sides agree").

use std::collections::BTreeMap;

use florin_coin::HeldCoin;
use florin_coin::issuer::Issuer;
use florin_wallet::{HistoryEntry, Wallet};

use crate::audit::Findings;

/// One person, as the auditor sees them.
pub struct Account<'a> {
    /// Who.
    pub name: &'a str,
    /// The wallet.
    pub wallet: &'a Wallet,
    /// What they began with at the bank.
    pub began: i64,
    /// What they have there.
    pub bank: i64,
    /// Small transfers that came with codes.
    pub codes: i64,
    /// What was debited and came back, less what was paid out and came back.
    pub returned: i64,
    /// What they have meant to pay.
    pub meant: BTreeMap<(&'static str, u64), u64>,
}

/// All that people say they have paid to each other: by id, who paid and who received, and how much.
#[derive(Default)]
pub struct Between {
    paid: BTreeMap<String, (String, u64)>,
    received: BTreeMap<String, (String, u64)>,
}

fn minor(entry: &HistoryEntry) -> i64 {
    i64::try_from(entry.amount.minor()).unwrap_or(i64::MAX)
}

/// What both sides call it.
fn number(entry: &HistoryEntry) -> String {
    entry.id.split_once('_').map_or_else(String::new, |(_, number)| number.to_owned())
}

impl Account<'_> {
    /// Adds up.
    pub fn audit(&self, issuer: &Issuer, between: &mut Between, findings: &mut Findings) {
        let history = match self.wallet.history(usize::MAX) {
            Ok(history) => history.entries,
            Err(error) => return findings.say(format!("{}: the history cannot be read: {error}", self.name)),
        };
        let done: Vec<&HistoryEntry> = history.iter().filter(|entry| entry.outcome == "done").collect();
        let sum = |kind: &str| {
            let of = done.iter().filter(|entry| entry.kind == kind);
            of.fold(0i64, |sum, entry| sum.saturating_add(minor(entry)))
        };
        let purse = self.purse(issuer, findings);
        let came = sum("bought").saturating_add(sum("received"));
        let went = sum("paid").saturating_add(sum("redeemed")).saturating_add(sum("sent"));
        let should = came.saturating_sub(went);
        findings.expect(purse == should, || {
            format!("{}: the history makes {should} and the purse has {purse}", self.name)
        });
        let left = self.began.saturating_sub(sum("bought")).saturating_add(sum("redeemed"));
        let left = left.saturating_add(self.codes);
        // What came back is in the history or not, as it came after the coins or before.
        let (low, high) = (self.returned.min(0), self.returned.max(0));
        let more = self.bank.saturating_sub(left);
        findings.expect((low..=high).contains(&more), || {
            format!("{}: the history leaves {left} at the bank, and there is {}", self.name, self.bank)
        });
        self.intents(&done, findings);
        for entry in &done {
            let what = (self.name.to_owned(), entry.amount.minor());
            match (entry.kind, entry.with.as_str()) {
                ("paid", with) if with != "shop" => drop(between.paid.insert(number(entry), what)),
                ("sent", _) => drop(between.paid.insert(number(entry), what)),
                ("received", _) => drop(between.received.insert(number(entry), what)),
                _ => {}
            }
        }
    }

    fn purse(&self, issuer: &Issuer, findings: &mut Findings) -> i64 {
        let books = self.wallet.books();
        let tokens = books.view(|lane| lane.holdings().map(|h| h.holding.token.clone()).collect::<Vec<_>>());
        let Ok(tokens) = tokens else {
            findings.say(format!("{}: the purse cannot be read", self.name));
            return 0;
        };
        let worth = |token: &Vec<u8>| {
            let number = HeldCoin::from_bytes(token).and_then(|held| issuer.coin_number(held.coin.id.0))?;
            i64::try_from(issuer.coin_worth(number)?.minor()).ok()
        };
        tokens.iter().filter_map(|token| worth(&token.to_vec())).fold(0, i64::saturating_add)
    }

    /// Nobody has paid more often than they meant to.
    fn intents(&self, done: &[&HistoryEntry], findings: &mut Findings) {
        let mut paid: BTreeMap<(&str, u64), u64> = BTreeMap::new();
        for entry in done.iter().filter(|entry| entry.kind == "paid") {
            let whom = if entry.with == "shop" { "shop" } else { "person" };
            let times = paid.entry((whom, entry.amount.minor())).or_insert(0);
            *times = times.saturating_add(1);
        }
        for ((whom, minor), times) in paid {
            let meant = self.meant.get(&(whom, minor)).copied().unwrap_or(0);
            findings.expect(times <= meant, || {
                format!("{}: paid {minor} to a {whom} {times} times and meant it {meant} times", self.name)
            });
        }
    }
}

impl Between {
    /// What one has paid another has received.
    pub fn audit(&self, findings: &mut Findings) {
        for (id, (who, minor)) in &self.paid {
            let there = self.received.get(id);
            findings.expect(there.is_some_and(|(_, got)| got == minor), || {
                format!("{who} has paid {minor} by {id}, and received was {there:?}")
            });
        }
        for (id, (who, minor)) in self.received.iter().filter(|(id, _)| !self.paid.contains_key(*id)) {
            findings.say(format!("{who} has received {minor} by {id}, and nobody has paid it"));
        }
    }
}
