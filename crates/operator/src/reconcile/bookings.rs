//! What the books say has moved on the bank account: what is recorded, and what the bank's waiting news will record.
//! Source: bank.md, "Reconciliation"; treasury (what an event posts).

use std::collections::{HashMap, HashSet, VecDeque};

use florin_bank::{BankError, BankRail, Cursor};
use florin_books::{Needs, Posting, Seq};
use florin_crypto::cbor;
use florin_money::{Currency, CurrencyCode};
use florin_parties::bank::{BankEvent, BankNews, OrderId};
use florin_parties::kinds::ORDER;
use florin_parties::treasury::{self, BANK, OrderRecord, OrderState};
use florin_shell::house::House;
use florin_store::StoreError;

use super::finding::Finding;
use super::statement::Entry;
use crate::bank::CURSOR;

/// Records read at a time.
const CHUNK: usize = 1024;
/// News taken at a time, and how often: what waits beyond that is seen the next time.
const NEWS_MAX: usize = 256;
const NEWS_PAGES: usize = 256;

/// Something that moved money on the account, by the books.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Booking {
    /// The record of the identity lane; 0 for news that is not recorded yet.
    pub seq: u64,
    /// How much, seen from the account.
    pub delta: i64,
    /// The order.
    pub order: Option<OrderId>,
    /// Whether it undoes the order.
    pub back: bool,
}

fn on_account(postings: &[Posting], code: CurrencyCode) -> i64 {
    let own = postings.iter().filter(|p| p.account == BANK && p.currency == code);
    own.fold(0_i64, |sum, p| sum.saturating_add(p.delta))
}

/// What is recorded after one record and up to another.
///
/// # Errors
/// Those of the store.
pub fn recorded(
    identity: &House,
    after: Seq,
    to: Seq,
    code: CurrencyCode,
) -> Result<Vec<Booking>, StoreError> {
    let (mut found, mut next) = (Vec::new(), after.next());
    while next <= to {
        let records = identity.books.read(next, CHUNK)?;
        let Some(last) = records.last().map(|r| r.core.seq) else { break };
        for core in records.iter().map(|r| &r.core).filter(|c| c.seq <= to) {
            let delta = on_account(&core.postings, code);
            if delta == 0 {
                continue;
            }
            let written = core.documents.iter().filter(|d| d.key.kind == ORDER);
            let order = written.filter_map(|d| d.value.as_deref()).find_map(OrderRecord::read);
            let back = order.as_ref().is_some_and(|o| matches!(o.state, OrderState::Returned(_)));
            found.push(Booking { seq: core.seq.0, delta, order: order.map(|o| o.order.id), back });
        }
        next = last.next();
    }
    Ok(found)
}

/// What the bank's news will record that waits to be read. Nothing is changed by looking.
///
/// # Errors
/// Those of the bank, and of the store.
pub async fn waiting(
    identity: &House,
    rail: &dyn BankRail,
    code: CurrencyCode,
) -> Result<Result<Vec<Booking>, BankError>, StoreError> {
    let needs = Needs { documents: vec![CURSOR], ..Needs::default() };
    let facts = identity.books.load(&needs)?;
    let mut since: Cursor =
        facts.document(&CURSOR).and_then(|b| cbor::decode_strict(b).ok()).unwrap_or_default();
    let (mut found, mut orders) = (Vec::new(), HashMap::new());
    for _ in 0..NEWS_PAGES {
        let (events, next) = match rail.poll(since, NEWS_MAX).await {
            Ok(news) => news,
            Err(error) => return Ok(Err(error)),
        };
        for event in &events {
            found.extend(will_record(identity, event, code, &mut orders)?);
        }
        if events.is_empty() || next == since {
            break;
        }
        since = next;
    }
    Ok(Ok(found))
}

fn will_record(
    identity: &House,
    event: &BankEvent,
    code: CurrencyCode,
    orders: &mut HashMap<OrderId, OrderRecord>,
) -> Result<Option<Booking>, StoreError> {
    let facts = identity.books.load(&treasury::event_needs(event))?;
    if facts.once.contains_key(&treasury::event_once(event)) {
        return Ok(None);
    }
    if let BankNews::Credited { amount, .. } = &event.what {
        let minor = i64::try_from(amount.minor()).unwrap_or(i64::MAX);
        let own = amount.currency().code() == code;
        return Ok(own.then_some(Booking { seq: 0, delta: minor, order: None, back: false }));
    }
    let Some(id) = treasury::order_of(event) else { return Ok(None) };
    let stored = || facts.document(&OrderRecord::key_of(id)).and_then(OrderRecord::read);
    let Some(record) = orders.get(&id).cloned().or_else(stored) else { return Ok(None) };
    let Ok(moved) = treasury::apply_event(&record, event) else { return Ok(None) };
    let (delta, back) =
        (on_account(&moved.postings, code), matches!(moved.record.state, OrderState::Returned(_)));
    orders.insert(id, moved.record);
    Ok((delta != 0).then_some(Booking { seq: 0, delta, order: Some(id), back }))
}

/// What was found, and by how much it makes the bank's balance differ from that of the books.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Compared {
    /// What does not agree.
    pub findings: Vec<Finding>,
    /// What the bank has more than the books because of it.
    pub explained: i64,
}

impl Compared {
    fn note(&mut self, finding: Finding, explains: i64) {
        self.findings.push(finding);
        self.explained = self.explained.saturating_add(explains);
    }
}

/// Every entry of the statement against the books, each once. `was_booked` knows of orders that were booked earlier.
#[must_use]
pub fn compare(
    entries: &[Entry],
    bookings: &[Booking],
    currency: Currency,
    was_booked: impl Fn(OrderId) -> bool,
) -> Compared {
    let mut by_order: HashMap<(OrderId, bool), VecDeque<&Booking>> = HashMap::new();
    let mut by_amount: HashMap<i64, VecDeque<&Booking>> = HashMap::new();
    for b in bookings {
        match b.order {
            Some(order) => by_order.entry((order, b.back)).or_default().push_back(b),
            None => by_amount.entry(b.delta).or_default().push_back(b),
        }
    }
    let (mut out, mut seen) = (Compared::default(), HashSet::new());
    for e in entries {
        let Entry { number, delta, order, back } = *e;
        let Some(order) = order else {
            // What could not be read is a finding already.
            if delta != 0 && by_amount.get_mut(&delta).and_then(VecDeque::pop_front).is_none() {
                out.note(Finding::NotInTheBooks { number, delta, order: None, currency }, delta);
            }
            continue;
        };
        match by_order.get_mut(&(order, back)).and_then(VecDeque::pop_front) {
            Some(b) if b.delta == delta => {}
            Some(b) => {
                let finding = Finding::Amount { number, order, statement: delta, books: b.delta, currency };
                out.note(finding, delta.saturating_sub(b.delta));
            }
            None if seen.contains(&(order, back)) || (!back && was_booked(order)) => {
                out.note(Finding::Twice { number, delta, order, currency }, delta);
            }
            None => out.note(Finding::NotInTheBooks { number, delta, order: Some(order), currency }, delta),
        }
        seen.insert((order, back));
    }
    let mut left: Vec<&Booking> = by_order.into_values().chain(by_amount.into_values()).flatten().collect();
    left.sort_by_key(|b| (b.seq, b.order, b.delta));
    for b in left {
        let Booking { seq, delta, order, .. } = *b;
        out.note(Finding::NotOnTheStatement { seq, delta, order, currency }, delta.saturating_neg());
    }
    out
}
