//! A lane: one deterministic state machine in memory. Source: books.md, "Lanes and stores".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use florin_crypto::{Digest, cbor};
use florin_money::CurrencyCode;
use minicbor::{Decode, Encode};

use crate::account::{Account, RegisterId};
use crate::holding::{Held, HoldingChange};
use crate::ids::{EffectId, HoldingId, LaneId, Seq, Timestamp};
use crate::overlay::{Generation, Overlay};
use crate::record::{Core, Entry, Record, link, seed_digest};
use crate::register::{LiveSets, RegisterSpec};
use crate::rules::{self, Rejected};
use crate::token::{Epoch, Issued, TokenNumber};
use crate::transition::{Effect, Outgoing, Transition};

/// What a lane is made for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneSpec {
    /// Its number.
    pub lane: LaneId,
    /// What it can issue.
    pub registers: Vec<RegisterSpec>,
}

impl LaneSpec {
    /// The definition of a register.
    #[must_use]
    pub fn register(&self, id: RegisterId) -> Option<&RegisterSpec> {
        self.registers.iter().find(|r| r.id == id)
    }

    /// H(registers): books whose tokens would change their worth are not taken up.
    fn registers_digest(&self) -> Digest {
        let mut parts = Vec::with_capacity(self.registers.len());
        for register in &self.registers {
            parts.push(cbor::encode(&(register.id, &register.denominations)));
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        florin_crypto::digest("florin/v1/books/registers", &parts)
    }
}

/// The state of a lane, without what is only on disk.
#[derive(Clone, Debug)]
pub struct Lane {
    pub(crate) spec: LaneSpec,
    pub(crate) state: State,
    pub(crate) overlay: Overlay,
}

/// What a checkpoint holds.
///
/// Shape: `[format, lane, seq, time, chain, balances, live sets, holdings, outbox, H(registers), dropped
/// epochs]`; the last is absent as long as no epoch was dropped.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct State {
    #[n(0)]
    format: u32,
    #[n(1)]
    lane: LaneId,
    #[n(2)]
    pub(crate) seq: Seq,
    #[n(3)]
    pub(crate) time: Timestamp,
    #[n(4)]
    pub(crate) chain: Digest,
    #[n(5)]
    pub(crate) balances: BTreeMap<(Account, CurrencyCode), i64>,
    #[n(6)]
    pub(crate) live: LiveSets,
    #[n(7)]
    pub(crate) holdings: BTreeMap<HoldingId, Held>,
    #[n(8)]
    pub(crate) outbox: BTreeMap<EffectId, Outgoing>,
    #[n(9)]
    registers: Digest,
    #[n(10)]
    dropped: Option<BTreeSet<Epoch>>,
}

const FORMAT: u32 = 1;

/// A lane as it stood when a fold began. Live tokens are shared with the lane; balances, holdings and outbox are copies.
#[derive(Clone, Debug)]
pub struct Snapshot {
    state: State,
    written: Arc<Generation>,
}

impl Snapshot {
    /// Everything up to here is in it.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.state.seq
    }

    /// Lane time there.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.state.time
    }

    /// What was written since the fold before.
    #[must_use]
    pub fn written(&self) -> &Generation {
        &self.written
    }

    /// The checkpoint, encoded now.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        cbor::encode(&self.state)
    }
}

/// Why a checkpoint or a journal cannot be taken up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damaged {
    /// The checkpoint cannot be read.
    #[error("the checkpoint cannot be read")]
    Checkpoint,
    /// The checkpoint is of another lane, format, or currency.
    #[error("the checkpoint belongs to another lane, format, or currency")]
    Foreign,
    /// A record does not follow from the one before.
    #[error("record {seq:?} does not follow from the records before it")]
    Record {
        /// Which.
        seq: Seq,
    },
}

impl Lane {
    /// An empty lane.
    #[must_use]
    pub fn new(spec: LaneSpec) -> Self {
        let state = State {
            format: FORMAT,
            lane: spec.lane,
            seq: Seq(0),
            time: Timestamp(0),
            chain: Digest([0; 32]),
            balances: BTreeMap::new(),
            live: LiveSets::default(),
            holdings: BTreeMap::new(),
            outbox: BTreeMap::new(),
            registers: spec.registers_digest(),
            dropped: None,
        };
        Self { spec, state, overlay: Overlay::default() }
    }

    /// A lane as its checkpoint left it.
    ///
    /// # Errors
    /// `Checkpoint`, `Foreign`.
    pub fn from_checkpoint(spec: LaneSpec, bytes: &[u8]) -> Result<Self, Damaged> {
        let state: State = minicbor::decode(bytes).map_err(|_| Damaged::Checkpoint)?;
        let other = state.format != FORMAT || state.lane != spec.lane;
        if other || state.registers != spec.registers_digest() {
            return Err(Damaged::Foreign);
        }
        let overlay = Overlay::after(state.seq);
        Ok(Self { spec, state, overlay })
    }

    /// The checkpoint of what is applied. A lane with many tokens takes its time: see [`Lane::begin_fold`].
    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        cbor::encode(&self.state)
    }

    /// Applies a change, or says exactly what did not hold; then nothing has changed.
    ///
    /// # Errors
    /// [`Rejected`], in checking order.
    pub fn apply(&mut self, t: Transition, now: Timestamp) -> Result<Entry, Rejected> {
        let time = self.state.time.max(now);
        rules::admit(self, &t, time)?;
        let core = Core {
            seq: self.state.seq.next(),
            time,
            cause: t.cause,
            once: t.once,
            created: self.number(&t.creates)?,
            consumed: t.consumes,
            holdings: t.holdings,
            marks: t.marks,
            postings: t.postings,
            documents: t.documents,
            effects: t.effects,
            seed_digest: seed_digest(&t.seed),
            drops: (!t.drops.is_empty()).then_some(t.drops),
            skipped: (!t.skips.is_empty()).then_some(t.skips),
        };
        let balances = rules::check(self, &core)?;
        rules::conditions(&t.requires, &balances, &self.state.balances)?;
        let record = Record { core, seed: Some(t.seed) };
        Ok(self.commit(record, balances))
    }

    /// Redoes a record of the journal; one that the checkpoint already contains is skipped.
    ///
    /// # Errors
    /// `Record`: it does not follow.
    pub fn redo(&mut self, record: Record) -> Result<Option<Entry>, Damaged> {
        let seq = record.core.seq;
        if seq <= self.state.seq {
            return Ok(None);
        }
        let follows = seq == self.state.seq.next()
            && record.core.time >= self.state.time
            && record.is_whole()
            && record.core.created.iter().all(|i| self.is_next(i, &record.core.created));
        if !follows {
            return Err(Damaged::Record { seq });
        }
        let balances = rules::check(self, &record.core).map_err(|_| Damaged::Record { seq })?;
        Ok(Some(self.commit(record, balances)))
    }

    /// The numbers that tokens to issue would get.
    fn number(&self, creates: &[crate::token::Issue]) -> Result<Vec<Issued>, Rejected> {
        let mut created: Vec<Issued> = Vec::with_capacity(creates.len());
        for issue in creates {
            let earlier = created
                .iter()
                .filter(|c| c.first.epoch == issue.epoch && c.first.denomination == issue.denomination)
                .map(|c| u64::from(c.count))
                .fold(0, u64::saturating_add);
            let counter = self.state.live.next(issue.epoch, issue.denomination).saturating_add(earlier);
            let first = TokenNumber {
                lane: self.spec.lane,
                epoch: issue.epoch,
                denomination: issue.denomination,
                counter,
            };
            created.push(Issued { first, count: issue.count });
        }
        Ok(created)
    }

    fn is_next(&self, issued: &Issued, all: &[Issued]) -> bool {
        let next = self.state.live.next(issued.first.epoch, issued.first.denomination);
        let runs = all.iter().filter(|i| {
            i.first.epoch == issued.first.epoch && i.first.denomination == issued.first.denomination
        });
        let mut expected = next;
        for run in runs {
            if run.first.counter != expected {
                return false;
            }
            expected = expected.saturating_add(u64::from(run.count));
        }
        true
    }

    fn commit(&mut self, record: Record, balances: rules::NewBalances) -> Entry {
        let core = &record.core;
        for n in &core.consumed {
            self.state.live.consume(n);
        }
        for i in &core.created {
            self.state.live.create(i.first.epoch, i.first.denomination, i.count);
        }
        for epoch in core.dropped() {
            self.state.live.drop_epoch(*epoch);
            self.state.dropped.get_or_insert_default().insert(*epoch);
        }
        for skip in core.skipped.iter().flatten() {
            self.state.live.skip(skip);
        }
        for change in &core.holdings {
            self.hold(change);
        }
        for effect in &core.effects {
            match effect {
                Effect::Emit(out) => drop(self.state.outbox.insert(out.id, out.clone())),
                Effect::Done(id) => drop(self.state.outbox.remove(id)),
            }
        }
        for (key, value) in balances.0 {
            if value == 0 {
                self.state.balances.remove(&key);
            } else {
                self.state.balances.insert(key, value);
            }
        }
        self.overlay.absorb(core);
        let core_bytes = cbor::encode(core);
        self.state.seq = core.seq;
        self.state.time = core.time;
        self.state.chain = link(&self.state.chain, &core_bytes);
        let bytes = encode_record(&core_bytes, record.seed.as_deref());
        Entry { record, bytes, chain: self.state.chain }
    }

    fn hold(&mut self, change: &HoldingChange) {
        match change {
            HoldingChange::Add(holding) => {
                let held = Held { holding: holding.clone(), reserved_for: None };
                self.state.holdings.insert(holding.id, held);
            }
            HoldingChange::Reserve(id, exchange) => {
                if let Some(held) = self.state.holdings.get_mut(id) {
                    held.reserved_for = Some(*exchange);
                }
            }
            HoldingChange::Release(id, _) => {
                if let Some(held) = self.state.holdings.get_mut(id) {
                    held.reserved_for = None;
                }
            }
            HoldingChange::Remove(id, _) => drop(self.state.holdings.remove(id)),
        }
    }

    /// Begins a fold: a snapshot of everything up to now, cheap to take, to be folded while the lane goes on.
    pub fn begin_fold(&mut self) -> Snapshot {
        let written = self.overlay.begin_fold(self.state.seq);
        Snapshot { state: self.state.clone(), written }
    }

    /// The fold under way is in the store's tables.
    pub fn folded(&mut self) {
        self.overlay.folded();
    }

    /// Lets go of what was written, as after a fold: for whoever redoes a journal and keeps no tables, so that memory
    /// stays flat.
    pub fn forget_written(&mut self) {
        self.overlay.begin_fold(self.state.seq);
        self.overlay.folded();
    }

    /// The last record.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.state.seq
    }

    /// Lane time.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.state.time
    }

    /// The chain up to now.
    #[must_use]
    pub const fn chain(&self) -> Digest {
        self.state.chain
    }

    /// What the lane is made for.
    #[must_use]
    pub const fn spec(&self) -> &LaneSpec {
        &self.spec
    }

    /// What was written since the last fold.
    #[must_use]
    pub const fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// A balance; debit positive.
    #[must_use]
    pub fn balance(&self, account: Account, currency: CurrencyCode) -> i64 {
        self.state.balances.get(&(account, currency)).copied().unwrap_or(0)
    }

    /// All balances that are not zero.
    pub fn balances(&self) -> impl Iterator<Item = (Account, CurrencyCode, i64)> + '_ {
        self.state.balances.iter().map(|(&(a, c), &b)| (a, c, b))
    }

    /// The live tokens.
    #[must_use]
    pub const fn live(&self) -> &LiveSets {
        &self.state.live
    }

    /// Whether the tokens of an epoch were ended all at once. It never issues again: its numbers were given out.
    #[must_use]
    pub fn is_dropped(&self, epoch: Epoch) -> bool {
        self.state.dropped.as_ref().is_some_and(|dropped| dropped.contains(&epoch))
    }

    /// The epochs that were dropped.
    pub fn dropped(&self) -> impl Iterator<Item = Epoch> + '_ {
        self.state.dropped.iter().flatten().copied()
    }

    /// What this party holds of other issuers.
    pub fn holdings(&self) -> impl Iterator<Item = &Held> + '_ {
        self.state.holdings.values()
    }

    /// A holding.
    #[must_use]
    pub fn holding(&self, id: &HoldingId) -> Option<&Held> {
        self.state.holdings.get(id)
    }

    /// What waits to be carried out.
    pub fn outbox(&self) -> impl Iterator<Item = &Outgoing> + '_ {
        self.state.outbox.values()
    }
}

/// `[core, seed]` from the encoded core.
fn encode_record(core: &[u8], seed: Option<&[u8]>) -> Vec<u8> {
    let mut out =
        Vec::with_capacity(core.len().saturating_add(seed.map_or(0, <[u8]>::len)).saturating_add(8));
    out.push(0x82);
    out.extend_from_slice(core);
    match seed {
        Some(bytes) => out.extend_from_slice(&cbor::encode(&cbor::Bytes(bytes.to_vec()))),
        None => out.push(0xf6),
    }
    out
}
