//! The auditor while things happen: whenever the operator's books have been written, what is new is added up.
//! Source: the issue ("after every step conservation over all parties"); books.md, "The rules every commit obeys".

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use florin_books::{Account, Core, LaneId, Record, Seq};
use florin_coin::issuer::Issuer;
use florin_crypto::{Digest, digest, encode};
use florin_store::Books;

use crate::audit::{Findings, Sums, add};
use crate::bank::Bank;
use crate::coverage::shape;
use crate::trace::Trace;

/// Records read at a time.
const PAGE: usize = 512;
/// More is not said of one run.
const MOST: usize = 20;

/// Who looks on.
pub struct Watcher {
    bank: Arc<Bank>,
    trace: Trace,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    lanes: BTreeMap<LaneId, Seen>,
    worth: i128,
    findings: Findings,
    issuer: Option<Arc<Issuer>>,
}

/// What was seen of a lane.
#[derive(Default)]
struct Seen {
    sums: Sums,
    last: Option<(Seq, Digest)>,
}

fn mark(record: &Record) -> (Seq, Digest) {
    (record.core.seq, digest("florin/v1/sim/record", &[&encode(&record.core)]))
}

/// A record in a line.
fn words(core: &Core) -> String {
    let coins: Vec<String> = core
        .created
        .iter()
        .map(|issued| format!("+{}.{}x{}", issued.first.denomination.0, issued.first.counter, issued.count))
        .chain(core.consumed.iter().map(|token| format!("-{}.{}", token.denomination.0, token.counter)))
        .collect();
    format!("{} {}", shape(core), coins.join(" "))
}

impl Watcher {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(bank: &Arc<Bank>, trace: &Trace) -> Arc<Self> {
        Arc::new(Self { bank: Arc::clone(bank), trace: trace.clone(), inside: Mutex::default() })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operator has started: what coins are worth, and whether what was committed is still there.
    pub fn started(&self, issuer: &Arc<Issuer>, lanes: &[(LaneId, Books)]) {
        self.inside().issuer = Some(Arc::clone(issuer));
        for (lane, books) in lanes {
            self.still_there(*lane, books);
            self.written(*lane, books);
        }
    }

    fn still_there(&self, lane: LaneId, books: &Books) {
        let mut inside = self.inside();
        let Some((seq, was)) = inside.lanes.get(&lane).and_then(|seen| seen.last) else { return };
        let found = books.read(seq, 1).ok().and_then(|records| records.first().map(mark));
        if found != Some((seq, was)) {
            inside.findings.say(format!("lane {}: record {} was committed and is gone", lane.0, seq.0));
        }
    }

    /// Books have been written.
    pub fn written(&self, lane: LaneId, books: &Books) {
        let mut inside = self.inside();
        loop {
            let next =
                inside.lanes.get(&lane).and_then(|seen| seen.last).map_or(Seq(1), |(seq, _)| seq.next());
            // What has failed is read again when it has started.
            let Ok(records) = books.read(next, PAGE) else { return };
            if records.is_empty() {
                return;
            }
            for record in &records {
                self.trace
                    .say("books", format!("lane {} {}: {}", lane.0, record.core.seq.0, words(&record.core)));
                inside.take(lane, record, &self.bank);
            }
        }
    }

    /// What was found.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        self.inside().findings.0.iter().take(MOST).cloned().collect()
    }
}

impl Inside {
    fn take(&mut self, lane: LaneId, record: &Record, bank: &Bank) {
        let whose = format!("lane {}", lane.0);
        let seen = self.lanes.entry(lane).or_default();
        add(record, &whose, &mut seen.sums, &mut self.findings);
        seen.last = Some(mark(record));
        let at = record.core.seq.0;
        for posting in record.core.postings.iter().filter(|p| p.account == Account::Bank(0)) {
            let there = bank.booked(posting.delta);
            self.findings.expect(there, || {
                format!("{whose} {at}: {} at the bank that the bank has not booked", posting.delta)
            });
        }
        self.owed(&whose, at, record);
        self.coins(&whose, at, lane, record);
    }

    /// Nobody can be owed less than nothing.
    fn owed(&mut self, whose: &str, at: u64, record: &Record) {
        let sum = |account: Account| -> i128 {
            let of = |seen: &Seen| seen.sums.accounts.get(&account).copied().unwrap_or(0);
            self.lanes.values().map(of).fold(0, i128::saturating_add)
        };
        for account in record.core.postings.iter().map(|posting| posting.account) {
            let owed = matches!(
                account,
                Account::Register(_) | Account::Party(_) | Account::InFlight | Account::PaidNotIssued
            );
            let balance = sum(account);
            if owed && balance > 0 {
                self.findings.say(format!("{whose} {at}: {account:?} is owed less than nothing: {balance}"));
            }
        }
    }

    /// What circulates is what the books owe for it, after every record.
    fn coins(&mut self, whose: &str, at: u64, lane: LaneId, record: &Record) {
        let Some(issuer) = &self.issuer else { return };
        let core = &record.core;
        if core.consumed.is_empty() && core.created.is_empty() {
            return;
        }
        let minor = |number| issuer.coin_worth(number).map_or(0, |worth| i128::from(worth.minor()));
        let spent = core.consumed.iter().fold(0, |sum: i128, number| sum.saturating_add(minor(*number)));
        let issued = core.created.iter().fold(0, |sum: i128, issued| {
            sum.saturating_add(minor(issued.first).saturating_mul(issued.count.into()))
        });
        self.worth = self.worth.saturating_add(issued).saturating_sub(spent);
        let owed = self.lanes.get(&lane).map_or(0, |seen| {
            let registers =
                seen.sums.accounts.iter().filter(|(account, _)| matches!(account, Account::Register(_)));
            registers.fold(0, |sum: i128, (_, balance)| sum.saturating_add(*balance))
        });
        let worth = self.worth;
        self.findings.expect(owed == worth.saturating_neg(), || {
            format!("{whose} {at}: coins of {worth} circulate and the books owe {owed}")
        });
    }
}
