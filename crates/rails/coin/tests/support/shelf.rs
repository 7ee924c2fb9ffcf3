//! One lane in memory and what a store would keep of it.

use std::collections::HashMap;

use florin_books::{
    Account, Audit, Document, DocumentKey, Facts, Lane, LaneId, LaneSpec, Needs, OnceKey, Record,
    RegisterSpec, Rejected, Seq, Timestamp, Transition,
};
use florin_money::Currency;

/// One lane and what a store would keep of it.
pub struct Shelf {
    pub lane: Lane,
    pub documents: HashMap<DocumentKey, Document>,
    pub once: HashMap<OnceKey, Seq>,
    pub records: Vec<Record>,
}

impl Shelf {
    pub fn new(lane: LaneId, registers: Vec<RegisterSpec>) -> Self {
        let lane = Lane::new(LaneSpec { lane, registers });
        Self { lane, documents: HashMap::new(), once: HashMap::new(), records: Vec::new() }
    }

    /// Only what was asked for, as the store gives it.
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

    pub fn apply(&mut self, t: Transition, now: Timestamp) -> Result<Record, Rejected> {
        let record = self.lane.apply(t, now)?.record;
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
        self.records.push(record.clone());
        Ok(record)
    }

    pub fn record(&self, seq: Seq) -> Record {
        self.records.iter().find(|r| r.core.seq == seq).unwrap().clone()
    }

    pub fn balance(&self, account: Account) -> i64 {
        self.lane.balance(account, Currency::FLO.code())
    }

    pub fn audit(&self) {
        let mut audit = Audit::new(self.lane.spec().clone());
        self.records.iter().for_each(|r| audit.absorb(r));
        let report = audit.finish(&self.lane);
        assert!(report.is_clean(), "{:?}", report.findings);
    }

    pub fn sums_to_zero(&self) {
        let mut sums: HashMap<_, i128> = HashMap::new();
        for (_, currency, balance) in self.lane.balances() {
            *sums.entry(currency).or_default() += i128::from(balance);
        }
        assert!(sums.values().all(|s| *s == 0), "{sums:?}");
    }

    /// What retention does to every record.
    pub fn strip(&mut self) {
        self.records = std::mem::take(&mut self.records).into_iter().map(Record::stripped).collect();
    }
}
