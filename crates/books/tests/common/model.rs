//! A lane said as simply as it can be: sets of single tokens, plain sums, lists. The checks of docs/books.md, "A change", in
//! their order, written once more in another way than the house has them.

use std::collections::{BTreeMap, BTreeSet};

use florin_books::*;
use florin_crypto::Digest;
use florin_money::{Currency, CurrencyCode};

use crate::common::*;

/// What a lane ought to hold, as simply as it can be said.
#[derive(Default)]
pub struct Model {
    pub seq: u64,
    time: u64,
    balances: BTreeMap<(Account, CurrencyCode), i128>,
    issued: BTreeMap<(u16, u16), u64>,
    pub live: BTreeSet<(u16, u16, u64)>,
    dropped: BTreeSet<u16>,
    holdings: BTreeMap<[u8; 16], (u64, Option<ExchangeId>)>,
    outbox: BTreeSet<[u8; 16]>,
    documents: BTreeMap<[u8; 16], u64>,
    once: BTreeMap<OnceKey, (u64, Digest)>,
    marks: BTreeSet<[u8; 16]>,
}

pub fn yen() -> CurrencyCode {
    Currency::iso("JPY").unwrap().code()
}

pub fn value_of(index: u16) -> i128 {
    i128::from(VALUES[usize::from(index)])
}

/// How far below or above zero an account may not go: owed accounts stand at or below, assets at or above.
fn breaks_floor(account: Account, before: i128, after: i128) -> bool {
    match account {
        Account::Register(_) | Account::PaidNotIssued | Account::Party(_) | Account::InFlight => {
            after > 0 && after > before
        }
        Account::Holdings(_) | Account::Due(_) => after < 0 && after < before,
        _ => false,
    }
}

fn has_twice<T: Ord>(all: impl IntoIterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    !all.into_iter().all(|one| seen.insert(one))
}

impl Model {
    fn balance(&self, account: Account, currency: CurrencyCode) -> i128 {
        self.balances.get(&(account, currency)).copied().unwrap_or(0)
    }

    /// Why a change is refused; the checks in their order.
    pub fn refuses(&self, t: &Transition, now: u64) -> Option<Rejected> {
        let time = self.time.max(now);
        self.refuses_for_the_moment(t, time)
            .or_else(|| self.refuses_tokens(t))
            .or_else(|| self.refuses_names(t))
            .or_else(|| self.refuses_value(t))
    }

    fn refuses_for_the_moment(&self, t: &Transition, time: u64) -> Option<Rejected> {
        for key in &t.once {
            if let Some((seq, cause)) = self.once.get(key) {
                let seq = Seq(*seq);
                return Some(if *cause == t.cause {
                    Rejected::Repeated { seq }
                } else {
                    Rejected::IdReused { seq }
                });
            }
        }
        let unchanged = t.requires.iter().filter_map(|c| match c {
            Condition::Unchanged(key) => Some(*key),
            _ => None,
        });
        for key in unchanged.chain(t.documents.iter().map(|w| w.key)) {
            if self.documents.get(&key.id).is_some_and(|written| *written > t.as_of.0) {
                return Some(Rejected::Moved { key });
            }
        }
        if let Some(index) = t.marks.iter().position(|m| self.marks.contains(&m.id)) {
            return Some(Rejected::Marked { index });
        }
        t.requires.iter().find_map(|c| match c {
            Condition::NotBefore(at) if time < at.0 => Some(Rejected::TooEarly),
            Condition::NotAfter(at) if time > at.0 => Some(Rejected::TooLate),
            _ => None,
        })
    }

    fn refuses_tokens(&self, t: &Transition) -> Option<Rejected> {
        let name = |n: &TokenNumber| (n.epoch.0, n.denomination.index(), n.counter);
        let dead = |(at, n): &(usize, &TokenNumber)| {
            n.lane != LANE || !self.live.contains(&name(n)) || t.consumes[..*at].contains(n)
        };
        let tokens: Vec<usize> = t.consumes.iter().enumerate().filter(dead).map(|(at, _)| at).collect();
        if !tokens.is_empty() {
            return Some(Rejected::NotLive { tokens });
        }
        if let Some(epoch) = t.drops.iter().find(|e| self.dropped.contains(&e.0)) {
            return Some(Rejected::Dropped { epoch: *epoch });
        }
        let touched = t.consumes.iter().any(|n| t.drops.contains(&n.epoch));
        if touched || has_twice(t.drops.iter().map(|e| e.0)) {
            return Some(Rejected::Twice);
        }
        let skips_fit = t.skips.iter().all(|s| {
            let next = self.issued.get(&(s.epoch.0, s.denomination.index())).copied().unwrap_or(0);
            s.next > next && s.next - next <= SKIP_MAX && s.next <= COUNTER_MAX
        });
        let names = t.skips.iter().map(|s| (s.epoch.0, s.denomination.index()));
        if !skips_fit || has_twice(names) || (!t.skips.is_empty() && !t.creates.is_empty()) {
            return Some(Rejected::NotIssuable);
        }
        let issues = |i: &Issue| {
            let ended = self.dropped.contains(&i.epoch.0) || t.drops.contains(&i.epoch);
            i.count > 0 && usize::from(i.denomination.index()) < VALUES.len() && !ended
        };
        (!t.creates.iter().all(issues)).then_some(Rejected::NotIssuable)
    }

    fn refuses_names(&self, t: &Transition) -> Option<Rejected> {
        let mut touched = BTreeSet::new();
        for (index, change) in t.holdings.iter().enumerate() {
            let (id, fits) = match change {
                HoldingChange::Add(h) => (h.id, !self.holdings.contains_key(h.id.bytes())),
                HoldingChange::Reserve(id, _) => {
                    (*id, self.holdings.get(id.bytes()).is_some_and(|(_, by)| by.is_none()))
                }
                HoldingChange::Release(id, by) | HoldingChange::Remove(id, by) => {
                    (*id, self.holdings.get(id.bytes()).is_some_and(|(_, of)| *of == Some(*by)))
                }
            };
            if !fits || !touched.insert(id) {
                return Some(Rejected::NotHeld { index });
            }
        }
        let mut touched = BTreeSet::new();
        for effect in &t.effects {
            let (id, fits) = match effect {
                Effect::Emit(out) => (out.id, !self.outbox.contains(out.id.bytes())),
                Effect::Done(id) => (*id, self.outbox.contains(id.bytes())),
            };
            if !fits || !touched.insert(id) {
                return Some(Rejected::Settled { id });
            }
        }
        let twice = has_twice(t.documents.iter().map(|w| w.key))
            || has_twice(t.once.iter().copied())
            || has_twice(t.marks.iter().map(|m| m.id));
        twice.then_some(Rejected::Twice)
    }

    fn after(&self, t: &Transition) -> BTreeMap<(Account, CurrencyCode), i128> {
        let mut after = BTreeMap::new();
        for p in &t.postings {
            *after.entry((p.account, p.currency)).or_insert_with(|| self.balance(p.account, p.currency)) +=
                i128::from(p.delta);
        }
        after
    }

    /// What all tokens that come less all that go are worth, less what is posted on their account: for each account.
    fn unexplained(&self, t: &Transition) -> BTreeMap<(Account, CurrencyCode), i128> {
        let mut sums: BTreeMap<(Account, CurrencyCode), i128> = BTreeMap::new();
        let mut add = |account, currency, value| *sums.entry((account, currency)).or_default() += value;
        for i in &t.creates {
            add(REGISTER, flo(), -value_of(i.denomination.index()) * i128::from(i.count));
        }
        for n in &t.consumes {
            add(REGISTER, flo(), value_of(n.denomination.index()));
        }
        for (_, index, _) in self.live.iter().filter(|(epoch, ..)| t.drops.contains(&Epoch(*epoch))) {
            add(REGISTER, flo(), value_of(*index));
        }
        let held = Account::Holdings(issuer());
        for change in &t.holdings {
            match change {
                HoldingChange::Add(h) => add(held, h.value.currency().code(), i128::from(h.value.minor())),
                HoldingChange::Remove(id, _) => add(held, flo(), -i128::from(self.holdings[id.bytes()].0)),
                _ => {}
            }
        }
        for p in
            t.postings.iter().filter(|p| matches!(p.account, Account::Register(_) | Account::Holdings(_)))
        {
            add(p.account, p.currency, -i128::from(p.delta));
        }
        sums
    }

    fn refuses_value(&self, t: &Transition) -> Option<Rejected> {
        let mut sums: BTreeMap<CurrencyCode, i128> = BTreeMap::new();
        t.postings.iter().for_each(|p| *sums.entry(p.currency).or_default() += i128::from(p.delta));
        let after = self.after(t);
        if after.values().any(|balance| i64::try_from(*balance).is_err()) {
            return Some(Rejected::Overflow);
        }
        if let Some((currency, _)) = sums.into_iter().find(|(_, sum)| *sum != 0) {
            return Some(Rejected::Unbalanced { currency });
        }
        let broken = after.iter().find(|((a, c), b)| breaks_floor(*a, self.balance(*a, *c), **b));
        if let Some(((account, _), _)) = broken {
            return Some(Rejected::Balance { account: *account });
        }
        if let Some(((account, _), _)) = self.unexplained(t).into_iter().find(|(_, sum)| *sum != 0) {
            return Some(Rejected::NotConserved { account });
        }
        let stands = |a, c| after.get(&(a, c)).copied().unwrap_or_else(|| self.balance(a, c));
        t.requires.iter().find_map(|c| match *c {
            Condition::AtLeast(account, c, limit) if stands(account, c) < i128::from(limit) => {
                Some(Rejected::Balance { account })
            }
            Condition::AtMost(account, c, limit) if stands(account, c) > i128::from(limit) => {
                Some(Rejected::Balance { account })
            }
            _ => None,
        })
    }

    /// Does it. The numbers of new tokens follow each other, for each epoch and denomination.
    pub fn apply(&mut self, t: &Transition, now: u64) -> Vec<(u16, u16, u64)> {
        self.seq += 1;
        self.time = self.time.max(now);
        self.balances.extend(self.after(t));
        for n in &t.consumes {
            self.live.remove(&(n.epoch.0, n.denomination.index(), n.counter));
        }
        let mut numbers = Vec::new();
        for i in &t.creates {
            let next = self.issued.entry((i.epoch.0, i.denomination.index())).or_default();
            for _ in 0..i.count {
                numbers.push((i.epoch.0, i.denomination.index(), *next));
                *next += 1;
            }
        }
        self.live.extend(&numbers);
        for epoch in &t.drops {
            self.live.retain(|(e, ..)| *e != epoch.0);
            // Nothing is issued there again, so nothing is counted any more.
            self.issued.retain(|(e, _), _| *e != epoch.0);
            self.dropped.insert(epoch.0);
        }
        for s in &t.skips {
            self.issued.insert((s.epoch.0, s.denomination.index()), s.next);
        }
        for change in &t.holdings {
            match change {
                HoldingChange::Add(h) => drop(self.holdings.insert(*h.id.bytes(), (h.value.minor(), None))),
                HoldingChange::Reserve(id, by) => self.holdings.get_mut(id.bytes()).unwrap().1 = Some(*by),
                HoldingChange::Release(id, _) => self.holdings.get_mut(id.bytes()).unwrap().1 = None,
                HoldingChange::Remove(id, _) => drop(self.holdings.remove(id.bytes())),
            }
        }
        for effect in &t.effects {
            match effect {
                Effect::Emit(out) => drop(self.outbox.insert(*out.id.bytes())),
                Effect::Done(id) => drop(self.outbox.remove(id.bytes())),
            }
        }
        self.documents.extend(t.documents.iter().map(|w| (w.key.id, self.seq)));
        self.once.extend(t.once.iter().map(|key| (*key, (self.seq, t.cause))));
        self.marks.extend(t.marks.iter().map(|m| m.id));
        numbers
    }

    pub fn is(&self, lane: &Lane) {
        assert_eq!((lane.seq().0, lane.time().0), (self.seq, self.time));
        let balances: BTreeMap<_, _> = lane.balances().map(|(a, c, b)| ((a, c), i128::from(b))).collect();
        let expected: BTreeMap<_, _> = self.balances.clone().into_iter().filter(|(_, b)| *b != 0).collect();
        assert_eq!(balances, expected);
        for currency in [flo(), yen()] {
            let sum: i128 = balances.iter().filter(|((_, c), _)| *c == currency).map(|(_, b)| b).sum();
            assert_eq!(sum, 0, "all balances of a currency sum to zero");
        }
        for (&(epoch, index), &next) in &self.issued {
            assert_eq!(lane.live().next(Epoch(epoch), denomination(index)), next);
        }
        let counted: u64 = lane.live().counted().map(|c| c.live).sum();
        assert_eq!(counted, self.live.len() as u64);
        for (epoch, index, counter) in &self.live {
            assert!(lane.live().is_live(&TokenNumber { epoch: Epoch(*epoch), ..token(*index, *counter) }));
        }
        let held: BTreeMap<_, _> = lane
            .holdings()
            .map(|h| (*h.holding.id.bytes(), (h.holding.value.minor(), h.reserved_for)))
            .collect();
        assert_eq!(held, self.holdings);
        assert_eq!(lane.outbox().map(|o| *o.id.bytes()).collect::<BTreeSet<_>>(), self.outbox);
        assert_eq!(lane.dropped().map(|e| e.0).collect::<BTreeSet<_>>(), self.dropped);
    }
}
