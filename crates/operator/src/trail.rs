//! The way of coins through the books lane's journal: forward from a claim, or back from a payment or a coin. Through
//! change the whole of a record is followed: which of its coins became which, no record says.
//! Source: VarietyCash §1.2 (trust-based anonymity), §2.4; V10.

use std::collections::BTreeSet;

use florin_books::{Needs, PartyId, Record, Seq, TokenNumber};
use florin_coin::PayId;
use florin_coin::issuer::{CoinMove, Issuer};
use florin_coin::kinds::{STEP_COLLECT, once};
use florin_money::Currency;
use florin_shell::house::House;
use florin_store::StoreError;
use serde::{Deserialize, Serialize};

use crate::trace::{amount, hex};

/// Records taken at a time.
const PAGE: u64 = 1024;

/// One record on the way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrailStep {
    /// The record's number in the books lane.
    pub record: u64,
    /// Its lane time.
    pub at_unix_ms: u64,
    /// `issued`, `paid`, `changed`, `redeemed`, or `step N`.
    pub what: String,
    /// The payee or redeemer, where one is named.
    pub party: Option<String>,
    /// The claim's digest, the payment's id, or the exchange's.
    pub reference: Option<String>,
    /// How many of the coins that are followed it has taken or made.
    pub coins: u64,
    /// What those were worth, in minor units.
    pub minor: u64,
    /// The same, for people.
    #[serde(default)]
    pub worth: String,
    /// Whether coins of others went in as well.
    pub mixed: bool,
}

/// The way of some coins.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Trail {
    /// The records, oldest first.
    pub steps: Vec<TrailStep>,
    /// The last record that was dropped, where the way leads there: what came before is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_after: Option<u64>,
    /// How many of the coins that are followed are still live.
    pub live: u64,
    /// What they are worth.
    #[serde(default)]
    pub live_worth: String,
    live_minor: u64,
    /// The claims that it begins with, by their digests.
    #[serde(skip)]
    pub claims: Vec<[u8; 16]>,
    /// What was issued for each, in minor units.
    #[serde(skip)]
    pub issued_minor: Vec<u64>,
}

impl Trail {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Says amounts in words.
    pub(crate) fn name_amounts(&mut self, currency: Currency) {
        self.live_worth = amount(self.live_minor, currency);
        for step in &mut self.steps {
            step.worth = amount(step.minor, currency);
        }
    }

    fn note(&mut self, issuer: &Issuer, record: &Record, what: CoinMove, its: &[TokenNumber], mixed: bool) {
        let (name, party, reference) = match what {
            CoinMove::Issued(claim) => ("issued".to_owned(), None, Some(hex(&claim))),
            CoinMove::Paid { payee, payment } => {
                ("paid".to_owned(), Some(payee.to_string()), Some(payment.to_string()))
            }
            CoinMove::Changed => ("changed".to_owned(), None, None),
            CoinMove::Redeemed { redeemer, exchange } => {
                ("redeemed".to_owned(), Some(redeemer.to_string()), Some(exchange.to_string()))
            }
            CoinMove::Other(step) => (format!("step {step}"), None, None),
        };
        self.steps.push(TrailStep {
            record: record.core.seq.0,
            at_unix_ms: record.core.time.0,
            what: name,
            party,
            reference,
            coins: u64::try_from(its.len()).unwrap_or(u64::MAX),
            minor: worth(issuer, its),
            worth: String::new(),
            mixed,
        });
    }
}

fn worth(issuer: &Issuer, numbers: &[TokenNumber]) -> u64 {
    numbers.iter().fold(0, |sum, number| {
        sum.saturating_add(issuer.coin_worth(*number).map_or(0, |worth| worth.minor()))
    })
}

fn created(record: &Record) -> Vec<TokenNumber> {
    record.core.created.iter().flat_map(florin_books::Issued::numbers).collect()
}

/// Where the coins of a claim went.
///
/// # Errors
/// Those of the store.
pub fn forward(issuer: &Issuer, books: &House, claim: [u8; 16]) -> Result<Trail, StoreError> {
    let key = once(STEP_COLLECT, PartyId::NONE, claim);
    let facts = books.books.load(&Needs { once: vec![key], ..Needs::default() })?;
    let mut trail = Trail { claims: vec![claim], ..Trail::default() };
    let Some(first) = facts.once.get(&key).copied() else { return Ok(trail) };
    if let Some(opening) = books.books.opening()?.filter(|opening| opening.seq >= first) {
        // Which coins they were stood in the record.
        trail.begins_after = Some(opening.seq.0);
        return Ok(trail);
    }
    let mut held: BTreeSet<TokenNumber> = BTreeSet::new();
    let mut from = first;
    loop {
        let page = books.books.read(from, usize::try_from(PAGE).unwrap_or(usize::MAX))?;
        let Some(last) = page.last().map(|record| record.core.seq) else { break };
        for record in &page {
            let Some(what) = CoinMove::of(record) else { continue };
            if record.core.seq == first {
                let coins = created(record);
                trail.note(issuer, record, what, &coins, false);
                held.extend(coins);
                continue;
            }
            let taken: Vec<TokenNumber> =
                record.core.consumed.iter().copied().filter(|number| held.remove(number)).collect();
            if taken.is_empty() {
                continue;
            }
            trail.note(issuer, record, what, &taken, taken.len() < record.core.consumed.len());
            if !what.is_end() {
                held.extend(created(record));
            }
        }
        from = Seq(last.0.saturating_add(1));
    }
    // A coin of an epoch that was dropped is not live, though nobody has spent it.
    let live = books.books.view(move |lane| {
        held.into_iter().filter(|number| lane.live().is_live(number)).collect::<Vec<TokenNumber>>()
    });
    let live = live.map_err(|_| StoreError::Unknown)?;
    trail.live = u64::try_from(live.len()).unwrap_or(u64::MAX);
    trail.live_minor = worth(issuer, &live);
    Ok(trail)
}

/// Where the coins of a payment, or some coins, came from.
///
/// # Errors
/// Those of the store.
pub fn backward(
    issuer: &Issuer,
    books: &House,
    payment: Option<PayId>,
    mut wanted: BTreeSet<TokenNumber>,
) -> Result<Trail, StoreError> {
    let mut trail = Trail::default();
    let mut to = books.books.durable().0;
    let mut sought = payment.is_some();
    while to > 0 && (sought || !wanted.is_empty()) {
        let from = to.saturating_sub(PAGE).saturating_add(1).max(1);
        let page = books.books.read(Seq(from), usize::try_from(PAGE).unwrap_or(usize::MAX))?;
        for record in page.iter().rev().filter(|record| record.core.seq.0 <= to) {
            let Some(what) = CoinMove::of(record) else { continue };
            if matches!(what, CoinMove::Paid { payment: id, .. } if Some(id) == payment) {
                sought = false;
                trail.note(issuer, record, what, &record.core.consumed, false);
                wanted.extend(record.core.consumed.iter().copied());
                continue;
            }
            let all = created(record);
            let made: Vec<TokenNumber> = all.iter().copied().filter(|number| wanted.remove(number)).collect();
            if made.is_empty() {
                continue;
            }
            trail.note(issuer, record, what, &made, false);
            match what {
                CoinMove::Issued(claim) => {
                    trail.claims.push(claim);
                    trail.issued_minor.push(worth(issuer, &all));
                }
                // A payee's coins: they came from the payer, and that is another question.
                CoinMove::Paid { .. } | CoinMove::Redeemed { .. } => {}
                CoinMove::Changed | CoinMove::Other(_) => wanted.extend(record.core.consumed.iter().copied()),
            }
        }
        to = from.saturating_sub(1);
    }
    if sought || !wanted.is_empty() {
        trail.begins_after = books.books.opening()?.map(|opening| opening.seq.0);
    }
    trail.steps.reverse();
    Ok(trail)
}
