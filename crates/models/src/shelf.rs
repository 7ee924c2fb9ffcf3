//! One lane of the real books, and what a store would keep of it: a state that can be copied, so that a checker can go
//! back to it. Source: docs/books.md.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use florin_books::{
    Account, Audit, Document, DocumentKey, Facts, Lane, LaneId, LaneSpec, Needs, OnceKey, Record, RegisterId,
    RegisterSpec, Rejected, Seq, Timestamp, Transition,
};
use florin_money::{Currency, CurrencyCode};

/// A lane in memory. Two shelves with the same chain are the same.
#[derive(Clone)]
pub struct Shelf {
    lane: Lane,
    documents: HashMap<DocumentKey, Document>,
    once: HashMap<OnceKey, Seq>,
    records: Vec<Arc<Record>>,
}

impl Shelf {
    /// An empty lane.
    #[must_use]
    pub fn new(lane: LaneId, registers: Vec<RegisterSpec>) -> Self {
        let lane = Lane::new(LaneSpec { lane, registers });
        Self { lane, documents: HashMap::new(), once: HashMap::new(), records: Vec::new() }
    }

    /// The lane.
    #[must_use]
    pub const fn lane(&self) -> &Lane {
        &self.lane
    }

    /// The journal.
    #[must_use]
    pub fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// Only what was asked for, as the store gives it.
    #[must_use]
    pub fn facts(&self, needs: &Needs) -> Facts {
        let read = |k: &DocumentKey| self.documents.get(k).map(|d| (*k, d.clone()));
        let seen = |k: &OnceKey| self.once.get(k).map(|s| (*k, *s));
        Facts {
            as_of: self.lane.seq(),
            documents: needs.documents.iter().filter_map(read).collect(),
            once: needs.once.iter().filter_map(seen).collect(),
            dead: needs.tokens.iter().filter(|n| !self.lane.live().is_live(n)).copied().collect(),
            ..Facts::default()
        }
    }

    /// Adds what a step asks for once it has seen the first facts.
    pub fn follow(&self, more: &Needs, facts: &mut Facts) {
        let read = self.facts(more);
        facts.documents.extend(read.documents);
        for (key, seq) in read.once {
            if let Some(record) = self.record(seq) {
                facts.records.insert(key, Arc::clone(record));
            }
        }
    }

    /// Applies a change.
    ///
    /// # Errors
    /// [`Rejected`]; nothing has changed.
    pub fn apply(&mut self, t: Transition, now: Timestamp) -> Result<Arc<Record>, Rejected> {
        let record = Arc::new(self.lane.apply(t, now)?.record);
        for w in &record.core.documents {
            match &w.value {
                Some(v) => {
                    let document = Document { version: record.core.seq, value: v.as_slice().into() };
                    self.documents.insert(w.key, document);
                }
                None => drop(self.documents.remove(&w.key)),
            }
        }
        self.once.extend(record.core.once.iter().map(|k| (*k, record.core.seq)));
        self.records.push(Arc::clone(&record));
        Ok(record)
    }

    /// A record.
    #[must_use]
    pub fn record(&self, seq: Seq) -> Option<&Arc<Record>> {
        self.records.iter().find(|r| r.core.seq == seq)
    }

    /// The record that took a once key.
    #[must_use]
    pub fn taker(&self, key: &OnceKey) -> Option<&Arc<Record>> {
        self.record(*self.once.get(key)?)
    }

    /// All documents.
    #[must_use]
    pub const fn documents(&self) -> &HashMap<DocumentKey, Document> {
        &self.documents
    }

    /// A balance in the currency of the models.
    #[must_use]
    pub fn balance(&self, account: Account) -> i64 {
        self.lane.balance(account, Currency::FLO.code())
    }

    /// What all live coins of a register are worth, counted bit by bit.
    #[must_use]
    pub fn live_worth(&self, register: RegisterId) -> u64 {
        let Some(spec) = self.lane.spec().register(register) else { return 0 };
        let worth = |c: florin_books::Circulation| {
            let value = spec.denominations.value(c.denomination.index()).unwrap_or(0);
            value.saturating_mul(c.live)
        };
        self.lane.live().counted().map(worth).fold(0, u64::saturating_add)
    }

    /// Whether the whole journal audits clean, balances sum to zero, and no token was spent twice; the last is counted here
    /// and not by the books.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let mut audit = Audit::new(self.lane.spec().clone());
        self.records.iter().for_each(|r| audit.absorb(r));
        let mut spent = BTreeSet::new();
        let once = self.records.iter().flat_map(|r| &r.core.consumed).all(|n| spent.insert(n.to_block()));
        let mut sums: HashMap<CurrencyCode, i128> = HashMap::new();
        for (_, currency, balance) in self.lane.balances() {
            let sum = sums.entry(currency).or_default();
            *sum = sum.saturating_add(i128::from(balance));
        }
        once && sums.values().all(|sum| *sum == 0) && audit.finish(&self.lane).is_clean()
    }
}
