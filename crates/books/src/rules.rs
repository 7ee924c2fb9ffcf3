//! The rules that every commit obeys. Source: books.md, "The rules every commit obeys".

use std::collections::{BTreeMap, HashSet};

use florin_money::CurrencyCode;

use crate::account::{Account, Floor, RegisterId};
use crate::holding::HoldingChange;
use crate::ids::{EffectId, HoldingId, Seq, Timestamp};
use crate::lane::Lane;
use crate::record::Core;
use crate::token::{COUNTER_MAX, DenominationId, Epoch, TokenNumber};
use crate::transition::{Condition, DocumentKey, Effect, Transition};

/// Why the lane did not apply a change, in checking order. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejected {
    /// A once key is taken by the same cause: give the reply of that record again.
    #[error("done already, by record {seq:?}")]
    Repeated {
        /// The record.
        seq: Seq,
    },
    /// A once key is taken by another cause.
    #[error("the request id is taken by record {seq:?}")]
    IdReused {
        /// The record.
        seq: Seq,
    },
    /// The facts are too old to check: read again.
    #[error("the facts are too old")]
    Stale,
    /// A document moved on since it was read: read again.
    #[error("a document moved on")]
    Moved {
        /// Which.
        key: DocumentKey,
    },
    /// An id was marked before.
    #[error("an id was seen before")]
    Marked {
        /// Index in the transition's marks.
        index: usize,
    },
    /// Lane time is before `NotBefore`.
    #[error("too early")]
    TooEarly,
    /// Lane time is past `NotAfter`.
    #[error("too late")]
    TooLate,
    /// Tokens are not live.
    #[error("tokens are not live")]
    NotLive {
        /// Their indices in the transition's `consumes`.
        tokens: Vec<usize>,
    },
    /// An epoch was dropped before.
    #[error("epoch {} was dropped before", epoch.0)]
    Dropped {
        /// Which.
        epoch: Epoch,
    },
    /// A holding is not there, not free, or reserved for another exchange.
    #[error("a holding is not available")]
    NotHeld {
        /// Index in the transition's `holdings`.
        index: usize,
    },
    /// An outbox entry is there already, or not there any more.
    #[error("the effect is settled already")]
    Settled {
        /// Which.
        id: EffectId,
    },
    /// A balance would go below its floor, or a condition on it does not hold.
    #[error("the balance does not allow it")]
    Balance {
        /// Of which account.
        account: Account,
    },
    /// The postings do not sum to zero: a fault of the program.
    #[error("postings do not sum to zero")]
    Unbalanced {
        /// In which currency.
        currency: CurrencyCode,
    },
    /// Created less consumed value is not what was posted: a fault of the program.
    #[error("value is not conserved")]
    NotConserved {
        /// On which account.
        account: Account,
    },
    /// A denomination or epoch that cannot be issued: a fault of the program.
    #[error("not a denomination of this lane, or its numbers are used up")]
    NotIssuable,
    /// A sum beyond 64 bits: a fault of the program.
    #[error("a sum is out of range")]
    Overflow,
    /// A name stands twice in one transition: a fault of the program.
    #[error("named twice")]
    Twice,
}

impl Rejected {
    /// Whether the program that made the transition is at fault, not the request or the moment.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Unbalanced { .. }
                | Self::NotConserved { .. }
                | Self::NotIssuable
                | Self::Overflow
                | Self::Twice
        )
    }
}

/// So many numbers are passed over at once, at most: the live sets must fit into memory.
pub const SKIP_MAX: u64 = 1 << 32;

/// The balances after a change, for the accounts that it touches.
#[derive(Debug)]
pub(crate) struct NewBalances(pub(crate) BTreeMap<(Account, CurrencyCode), i64>);

/// What depends on the moment: once keys, versions, marks and lane time.
pub(crate) fn admit(lane: &Lane, t: &Transition, time: Timestamp) -> Result<(), Rejected> {
    for key in &t.once {
        if let Some((seq, cause)) = lane.overlay.once(key) {
            return Err(if cause == t.cause {
                Rejected::Repeated { seq }
            } else {
                Rejected::IdReused { seq }
            });
        }
    }
    let looks_back = !t.documents.is_empty() || !t.once.is_empty() || !t.marks.is_empty();
    let conditional = t.requires.iter().any(|c| matches!(c, Condition::Unchanged(_)));
    if (looks_back || conditional) && t.as_of < lane.overlay.floor() {
        return Err(Rejected::Stale);
    }
    let read = t.requires.iter().filter_map(|c| match c {
        Condition::Unchanged(key) => Some(*key),
        _ => None,
    });
    for key in read.chain(t.documents.iter().map(|w| w.key)) {
        if lane.overlay.document(&key).is_some_and(|(version, _)| *version > t.as_of) {
            return Err(Rejected::Moved { key });
        }
    }
    if let Some(index) = t.marks.iter().position(|m| lane.overlay.is_marked(m.kind, m.id)) {
        return Err(Rejected::Marked { index });
    }
    for c in &t.requires {
        match c {
            Condition::NotBefore(at) if time < *at => return Err(Rejected::TooEarly),
            Condition::NotAfter(at) if time > *at => return Err(Rejected::TooLate),
            _ => {}
        }
    }
    Ok(())
}

/// What must hold of every record, when it is made and when it is redone.
pub(crate) fn check(lane: &Lane, core: &Core) -> Result<NewBalances, Rejected> {
    tokens_live(lane, &core.consumed)?;
    droppable(lane, core)?;
    issuable(lane, core)?;
    holdings_available(lane, &core.holdings)?;
    effects_open(lane, &core.effects)?;
    named_once(core)?;
    let balances = post(lane, core)?;
    conserved(lane, core)?;
    Ok(balances)
}

fn tokens_live(lane: &Lane, consumed: &[TokenNumber]) -> Result<(), Rejected> {
    let mut seen = HashSet::with_capacity(consumed.len());
    let tokens: Vec<usize> = consumed
        .iter()
        .enumerate()
        .filter(|(_, n)| n.lane != lane.spec.lane || !lane.state.live.is_live(n) || !seen.insert(**n))
        .map(|(i, _)| i)
        .collect();
    if tokens.is_empty() { Ok(()) } else { Err(Rejected::NotLive { tokens }) }
}

/// An epoch is dropped once, and nothing else happens to its tokens in the same change.
fn droppable(lane: &Lane, core: &Core) -> Result<(), Rejected> {
    let drops = core.dropped();
    if let Some(epoch) = drops.iter().find(|e| lane.is_dropped(**e)) {
        return Err(Rejected::Dropped { epoch: *epoch });
    }
    let named: HashSet<_> = drops.iter().collect();
    let touched = core.consumed.iter().any(|n| named.contains(&n.epoch));
    if touched || named.len() != drops.len() { Err(Rejected::Twice) } else { Ok(()) }
}

fn issuable(lane: &Lane, core: &Core) -> Result<(), Rejected> {
    let skipped = core.skipped.iter().flatten();
    for (n, s) in skipped.clone().enumerate() {
        let first =
            TokenNumber { lane: lane.spec.lane, epoch: s.epoch, denomination: s.denomination, counter: 0 };
        let next = lane.state.live.next(s.epoch, s.denomination);
        let ahead = s.next > next && s.next <= next.saturating_add(SKIP_MAX) && s.next <= COUNTER_MAX;
        let again = skipped.clone().take(n).any(|e| (e.epoch, e.denomination) == (s.epoch, s.denomination));
        if !ahead || again || !core.created.is_empty() || value_of(lane, &first).is_none() {
            return Err(Rejected::NotIssuable);
        }
    }
    for i in &core.created {
        let ended = lane.is_dropped(i.first.epoch) || core.dropped().contains(&i.first.epoch);
        let known = value_of(lane, &i.first).is_some() && !ended;
        let room = lane.state.live.has_room(i.first.epoch, i.first.denomination, {
            let skipped =
                i.first.counter.saturating_sub(lane.state.live.next(i.first.epoch, i.first.denomination));
            skipped.saturating_add(u64::from(i.count))
        });
        if !known || !room || i.count == 0 || i.first.lane != lane.spec.lane {
            return Err(Rejected::NotIssuable);
        }
    }
    Ok(())
}

fn holdings_available(lane: &Lane, changes: &[HoldingChange]) -> Result<(), Rejected> {
    let mut touched: HashSet<HoldingId> = HashSet::with_capacity(changes.len());
    for (index, change) in changes.iter().enumerate() {
        let (id, fits) = match change {
            HoldingChange::Add(h) => (h.id, !lane.state.holdings.contains_key(&h.id)),
            HoldingChange::Reserve(id, _) => {
                (*id, lane.state.holdings.get(id).is_some_and(|h| h.reserved_for.is_none()))
            }
            HoldingChange::Release(id, by) | HoldingChange::Remove(id, by) => {
                (*id, lane.state.holdings.get(id).is_some_and(|h| h.reserved_for == Some(*by)))
            }
        };
        if !fits || !touched.insert(id) {
            return Err(Rejected::NotHeld { index });
        }
    }
    Ok(())
}

fn effects_open(lane: &Lane, effects: &[Effect]) -> Result<(), Rejected> {
    let mut touched = HashSet::with_capacity(effects.len());
    for effect in effects {
        let (id, fits) = match effect {
            Effect::Emit(out) => (out.id, !lane.state.outbox.contains_key(&out.id)),
            Effect::Done(id) => (*id, lane.state.outbox.contains_key(id)),
        };
        if !fits || !touched.insert(id) {
            return Err(Rejected::Settled { id });
        }
    }
    Ok(())
}

fn named_once(core: &Core) -> Result<(), Rejected> {
    let documents: HashSet<_> = core.documents.iter().map(|w| w.key).collect();
    let once: HashSet<_> = core.once.iter().collect();
    let marks: HashSet<_> = core.marks.iter().map(|m| (m.kind, m.id)).collect();
    let whole = documents.len() == core.documents.len()
        && once.len() == core.once.len()
        && marks.len() == core.marks.len();
    if whole { Ok(()) } else { Err(Rejected::Twice) }
}

fn post(lane: &Lane, core: &Core) -> Result<NewBalances, Rejected> {
    let mut sums: BTreeMap<CurrencyCode, i128> = BTreeMap::new();
    let mut new: BTreeMap<(Account, CurrencyCode), i64> = BTreeMap::new();
    for p in &core.postings {
        let sum = sums.entry(p.currency).or_default();
        *sum = sum.checked_add(i128::from(p.delta)).ok_or(Rejected::Overflow)?;
        let balance =
            new.entry((p.account, p.currency)).or_insert_with(|| lane.balance(p.account, p.currency));
        *balance = balance.checked_add(p.delta).ok_or(Rejected::Overflow)?;
    }
    if let Some((&currency, _)) = sums.iter().find(|(_, sum)| **sum != 0) {
        return Err(Rejected::Unbalanced { currency });
    }
    for (&(account, currency), &balance) in &new {
        let before = lane.balance(account, currency);
        let breaks = match account.floor() {
            Floor::Asset => balance < 0 && balance < before,
            Floor::Owed => balance > 0 && balance > before,
            Floor::Free => false,
        };
        if breaks {
            return Err(Rejected::Balance { account });
        }
    }
    Ok(NewBalances(new))
}

/// Rule 2: what was created less what was consumed is what was posted, for each register and each issuer held.
fn conserved(lane: &Lane, core: &Core) -> Result<(), Rejected> {
    let mut net: BTreeMap<(Account, CurrencyCode), i128> = BTreeMap::new();
    let mut add = |account: Account, currency: CurrencyCode, value: i128| -> Result<(), Rejected> {
        let sum = net.entry((account, currency)).or_default();
        *sum = sum.checked_add(value).ok_or(Rejected::Overflow)?;
        Ok(())
    };
    for n in &core.consumed {
        let (register, currency, value) = value_of(lane, n).ok_or(Rejected::NotIssuable)?;
        add(Account::Register(register), currency, i128::from(value))?;
    }
    for c in lane.state.live.circulation().filter(|c| core.dropped().contains(&c.epoch)) {
        let (register, currency, value) = value_in(lane, c.denomination).ok_or(Rejected::NotIssuable)?;
        let total = i128::from(value).checked_mul(i128::from(c.live)).ok_or(Rejected::Overflow)?;
        add(Account::Register(register), currency, total)?;
    }
    for i in &core.created {
        let (register, currency, value) = value_of(lane, &i.first).ok_or(Rejected::NotIssuable)?;
        let total = i128::from(value).checked_mul(i128::from(i.count)).ok_or(Rejected::Overflow)?;
        add(Account::Register(register), currency, total.saturating_neg())?;
    }
    for change in &core.holdings {
        let (holding, sign) = match change {
            HoldingChange::Add(h) => (h, 1),
            HoldingChange::Remove(id, _) => match lane.state.holdings.get(id) {
                Some(held) => (&held.holding, -1),
                None => continue,
            },
            HoldingChange::Reserve(..) | HoldingChange::Release(..) => continue,
        };
        let value = i128::from(holding.value.minor()).checked_mul(sign).ok_or(Rejected::Overflow)?;
        add(Account::Holdings(holding.issuer), holding.value.currency().code(), value)?;
    }
    for p in &core.postings {
        if matches!(p.account, Account::Register(_) | Account::Holdings(_)) {
            add(p.account, p.currency, i128::from(p.delta).saturating_neg())?;
        }
    }
    match net.into_iter().find(|(_, sum)| *sum != 0) {
        Some(((account, _), _)) => Err(Rejected::NotConserved { account }),
        None => Ok(()),
    }
}

/// The register, currency and value of a token.
fn value_of(lane: &Lane, n: &TokenNumber) -> Option<(RegisterId, CurrencyCode, u64)> {
    value_in(lane, n.denomination)
}

fn value_in(lane: &Lane, denomination: DenominationId) -> Option<(RegisterId, CurrencyCode, u64)> {
    let register = lane.spec.register(denomination.register())?;
    let value = register.denominations.value(denomination.index())?;
    Some((register.id, register.denominations.currency().code(), value))
}

/// Conditions on balances, after the postings.
pub(crate) fn conditions(
    requires: &[Condition],
    new: &NewBalances,
    old: &BTreeMap<(Account, CurrencyCode), i64>,
) -> Result<(), Rejected> {
    let balance =
        |a: Account, c: CurrencyCode| new.0.get(&(a, c)).or_else(|| old.get(&(a, c))).copied().unwrap_or(0);
    for c in requires {
        let (account, holds) = match *c {
            Condition::AtLeast(a, c, limit) => (a, balance(a, c) >= limit),
            Condition::AtMost(a, c, limit) => (a, balance(a, c) <= limit),
            Condition::Unchanged(_) | Condition::NotBefore(_) | Condition::NotAfter(_) => continue,
        };
        if !holds {
            return Err(Rejected::Balance { account });
        }
    }
    Ok(())
}
