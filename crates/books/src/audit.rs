//! The audit: balances recomputed from the journal, registers counted from their live sets, the chain followed from
//! its beginning. Source: books.md, "The rules every commit obeys".

use std::collections::{BTreeMap, BTreeSet};

use florin_crypto::Digest;
use florin_money::CurrencyCode;

use crate::account::Account;
use crate::holding::HoldingChange;
use crate::ids::{Seq, Timestamp};
use crate::lane::{Damaged, Lane, LaneSpec};
use crate::opening::Opening;
use crate::record::{Record, link};
use crate::token::Epoch;

/// Something that does not agree.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Finding {
    /// A record is missing, doubled or out of order.
    #[error("record {found:?} stands where {expected:?} belongs")]
    Sequence {
        /// What should come.
        expected: Seq,
        /// What came.
        found: Seq,
    },
    /// Lane time went back.
    #[error("time goes back at record {seq:?}")]
    Time {
        /// Where.
        seq: Seq,
    },
    /// A record's postings do not sum to zero.
    #[error("the postings of record {seq:?} do not sum to zero in {currency}")]
    Unbalanced {
        /// Where.
        seq: Seq,
        /// In which currency.
        currency: CurrencyCode,
    },
    /// A record cannot be redone.
    #[error("record {seq:?} breaks a rule of the books")]
    Rule {
        /// Where.
        seq: Seq,
    },
    /// The balance in the books is not the sum of the journal.
    #[error("{account:?} {currency}: the books say {books}, the journal {journal}")]
    Balance {
        /// Which account.
        account: Account,
        /// In which currency.
        currency: CurrencyCode,
        /// The books.
        books: i64,
        /// The journal.
        journal: i128,
    },
    /// The live tokens are not worth what the account says.
    #[error("{account:?} {currency}: live tokens are worth {live}, the account says {account_says}")]
    Register {
        /// Which account.
        account: Account,
        /// In which currency.
        currency: CurrencyCode,
        /// Counted.
        live: i128,
        /// The account.
        account_says: i128,
    },
    /// The epochs that the journal has dropped are not those that the books have.
    #[error("the journal and the books differ in the epochs that were dropped")]
    Dropped,
    /// A live set of the books is not what the journal leaves of it.
    #[error("epoch {}: the books have other live tokens than the journal leaves", epoch.0)]
    Live {
        /// Of which epoch.
        epoch: Epoch,
    },
    /// The chain ends in another link.
    #[error("the chain of the journal and of the books differ")]
    Chain,
    /// The journal ends before the books, or after them.
    #[error("the journal ends at {journal:?}, the books at {books:?}")]
    End {
        /// The journal.
        journal: Seq,
        /// The books.
        books: Seq,
    },
}

/// What the audit saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditReport {
    /// How many records.
    pub records: u64,
    /// The last one.
    pub seq: Seq,
    /// The chain at its end.
    pub chain: Digest,
    /// Everything that does not agree; empty is clean.
    pub findings: Vec<Finding>,
}

impl AuditReport {
    /// Whether everything agrees.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// An audit under way, from the first record on.
pub struct Audit {
    rebuilt: Lane,
    balances: BTreeMap<(Account, CurrencyCode), i128>,
    held: BTreeMap<(Account, CurrencyCode), i128>,
    values: BTreeMap<crate::ids::HoldingId, (Account, CurrencyCode, i128)>,
    seq: Seq,
    time: Timestamp,
    chain: Digest,
    records: u64,
    findings: Vec<Finding>,
}

impl Audit {
    /// Begins with empty books.
    #[must_use]
    pub fn new(spec: LaneSpec) -> Self {
        Self {
            rebuilt: Lane::new(spec),
            balances: BTreeMap::new(),
            held: BTreeMap::new(),
            values: BTreeMap::new(),
            seq: Seq(0),
            time: Timestamp(0),
            chain: Digest([0; 32]),
            records: 0,
            findings: Vec::new(),
        }
    }

    /// Begins where dropped records end.
    ///
    /// # Errors
    /// Where the state beside the opening is not the one that it names.
    pub fn from_opening(spec: LaneSpec, opening: &Opening, state: &[u8]) -> Result<Self, Damaged> {
        let rebuilt = opening.lane(spec.clone(), state)?;
        let mut audit = Self::new(spec);
        for held in rebuilt.holdings() {
            audit.hold(&[HoldingChange::Add(held.holding.clone())]);
        }
        audit.balances = opening.balances.iter().map(|&(a, c, b)| ((a, c), i128::from(b))).collect();
        (audit.seq, audit.time, audit.chain) = (opening.seq, opening.time, opening.chain);
        audit.rebuilt = rebuilt;
        Ok(audit)
    }

    /// Takes in the next record.
    pub fn absorb(&mut self, record: &Record) {
        let core = &record.core;
        if core.seq != self.seq.next() {
            self.findings.push(Finding::Sequence { expected: self.seq.next(), found: core.seq });
        }
        if core.time < self.time {
            self.findings.push(Finding::Time { seq: core.seq });
        }
        self.seq = core.seq;
        self.time = core.time;
        self.records = self.records.saturating_add(1);
        self.chain = link(&self.chain, &florin_crypto::cbor::encode(core));
        let mut sums: BTreeMap<CurrencyCode, i128> = BTreeMap::new();
        for p in &core.postings {
            add(sums.entry(p.currency).or_default(), p.delta.into());
            add(self.balances.entry((p.account, p.currency)).or_default(), p.delta.into());
        }
        for (currency, _) in sums.into_iter().filter(|(_, sum)| *sum != 0) {
            self.findings.push(Finding::Unbalanced { seq: core.seq, currency });
        }
        self.hold(&core.holdings);
        if !matches!(self.rebuilt.redo(record.clone()), Ok(Some(_))) {
            self.findings.push(Finding::Rule { seq: core.seq });
        }
        // The rebuilt lane's overlay is not needed: keep memory flat over a long journal.
        if self.records.is_multiple_of(4096) {
            self.rebuilt.forget_written();
        }
    }

    fn hold(&mut self, changes: &[HoldingChange]) {
        for change in changes {
            match change {
                HoldingChange::Add(h) => {
                    let key = (Account::Holdings(h.issuer), h.value.currency().code());
                    add(self.held.entry(key).or_default(), h.value.minor().into());
                    self.values.insert(h.id, (key.0, key.1, h.value.minor().into()));
                }
                HoldingChange::Remove(id, _) => {
                    if let Some((account, currency, value)) = self.values.remove(id) {
                        add(self.held.entry((account, currency)).or_default(), value.saturating_neg());
                    }
                }
                HoldingChange::Reserve(..) | HoldingChange::Release(..) => {}
            }
        }
    }

    /// Compares with the books as they stand.
    #[must_use]
    pub fn finish(mut self, books: &Lane) -> AuditReport {
        if self.seq != books.seq() {
            self.findings.push(Finding::End { journal: self.seq, books: books.seq() });
        }
        if self.chain != books.chain() {
            self.findings.push(Finding::Chain);
        }
        let mut keys: Vec<(Account, CurrencyCode)> = self.balances.keys().copied().collect();
        keys.extend(books.balances().map(|(a, c, _)| (a, c)));
        keys.sort_unstable();
        keys.dedup();
        for (account, currency) in keys {
            let journal = self.balances.get(&(account, currency)).copied().unwrap_or(0);
            let now = books.balance(account, currency);
            if i128::from(now) != journal {
                self.findings.push(Finding::Balance { account, currency, books: now, journal });
            }
        }
        if !self.rebuilt.dropped().eq(books.dropped()) {
            self.findings.push(Finding::Dropped);
        }
        let epochs: BTreeSet<Epoch> =
            self.rebuilt.live().circulation().chain(books.live().circulation()).map(|c| c.epoch).collect();
        for epoch in epochs {
            if self.rebuilt.live().of_epoch(epoch) != books.live().of_epoch(epoch) {
                self.findings.push(Finding::Live { epoch });
            }
        }
        let tokens = self.token_values(books);
        for (&(account, currency), &live) in tokens.iter().chain(&self.held) {
            let sign = if matches!(account, Account::Register(_)) { -1 } else { 1 };
            let account_says = i128::from(books.balance(account, currency)).saturating_mul(sign);
            if live != account_says {
                self.findings.push(Finding::Register { account, currency, live, account_says });
            }
        }
        AuditReport { records: self.records, seq: self.seq, chain: self.chain, findings: self.findings }
    }

    /// The worth of the live tokens, counted bit by bit, for every register of the lane.
    fn token_values(&self, books: &Lane) -> BTreeMap<(Account, CurrencyCode), i128> {
        let mut worth: BTreeMap<(Account, CurrencyCode), i128> = BTreeMap::new();
        for register in &books.spec().registers {
            worth.insert((Account::Register(register.id), register.denominations.currency().code()), 0);
        }
        for c in books.live().counted() {
            let Some(register) = books.spec().register(c.denomination.register()) else { continue };
            let value = register.denominations.value(c.denomination.index()).unwrap_or(0);
            let key = (Account::Register(register.id), register.denominations.currency().code());
            add(worth.entry(key).or_default(), i128::from(value).saturating_mul(i128::from(c.live)));
        }
        worth
    }
}

fn add(sum: &mut i128, value: i128) {
    *sum = sum.saturating_add(value);
}
