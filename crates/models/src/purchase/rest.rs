//! What holds while coins are bought, and once faults have stopped. Source: docs/books.md; V10.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::PoisonError;

use florin_books::{Account, TxId};
use florin_coin::issuer::{HandOverDue, Purchase, PurchaseState};
use florin_coin::kinds::{HAND_OVER, PURCHASE};

use super::{Buying, Move, Read, State, World};
use crate::cast::WORTH;
use crate::couriers;
use crate::fault::Fault;
use crate::house::{Job, Message, Tag};
use crate::operator::{BOOKS, COINS, IDENTITY, Ledgers};

/// More moves than anything needs.
const MOVES_MAX: usize = 500;

fn purchases(ledgers: &Ledgers) -> Vec<Purchase> {
    let all = ledgers.identity.documents().iter().filter(|(key, _)| key.kind == PURCHASE);
    all.filter_map(|(_, document)| Purchase::read(&document.value)).collect()
}

fn signed(minor: u64) -> i64 {
    i64::try_from(minor).unwrap_or(i64::MAX)
}

impl World {
    pub(super) fn is_conserved(&self, s: &State) -> bool {
        let journal = s.house.journal;
        if let Some(sound) = self.sound.lock().unwrap_or_else(PoisonError::into_inner).get(&journal) {
            return *sound;
        }
        let sound = self.ledgers(s).is_ok_and(|l| self.house.audit(journal).0 && self.adds_up(&l));
        self.sound.lock().unwrap_or_else(PoisonError::into_inner).insert(journal, sound);
        sound
    }

    /// What the bank has booked is what is under way between the lanes, waits to be collected, or is in coins.
    fn adds_up(&self, ledgers: &Ledgers) -> bool {
        let under_way = |o: &florin_books::Outgoing| {
            let due = HandOverDue::read(o).filter(|due| o.kind == HAND_OVER && due.refused.is_none())?;
            let arrived = couriers::has_arrived(self.house.operator(), ledgers, o).ok()?;
            (!arrived).then(|| due.total.minor())
        };
        let out = couriers::waiting(ledgers);
        let under_way: u64 = out.iter().filter_map(under_way).fold(0, u64::saturating_add);
        let paid = purchases(ledgers).iter().filter(|p| p.state == PurchaseState::Paid).count();
        let booked = u64::try_from(paid).map_or(0, |count| count.saturating_mul(WORTH));
        let live = ledgers.books.live_worth(COINS);
        let waits = ledgers.books.balance(Account::PaidNotIssued);
        let pairs = ledgers.identity.balance(Account::Pair(BOOKS));
        let pairs = pairs.saturating_add(ledgers.books.balance(Account::Pair(IDENTITY)));
        pairs == signed(under_way).saturating_neg()
            && signed(live.saturating_add(under_way)).saturating_sub(waits) == signed(booked)
    }

    /// A purchaser who has signed once has one purchase, and coins are issued at most once for it.
    pub(super) fn is_once(&self, s: &State) -> bool {
        let Ok(ledgers) = self.ledgers(s) else { return false };
        let all = purchases(&ledgers);
        let issued = ledgers.books.records().iter().flat_map(|r| &r.core.created);
        let issued: u64 = issued.map(|i| u64::from(i.count)).fold(0, u64::saturating_add);
        let paid = all.iter().filter(|p| p.state == PurchaseState::Paid).count();
        let one = |id| all.iter().filter(|p| p.purchaser == id).count() <= 1;
        self.buyers.iter().all(|buyer| one(buyer.keys.id())) && u64::try_from(paid).is_ok_and(|n| issued <= n)
    }

    pub(super) fn is_recorded(&self, s: &State) -> bool {
        let Ok(ledgers) = self.ledgers(s) else { return false };
        let there = |id: &TxId| ledgers.identity.documents().contains_key(&Purchase::key_of(*id));
        s.told.iter().all(there)
    }

    pub(super) fn is_believed(&self, s: &State) -> bool {
        s.buyers.iter().all(|buying| self.believes(s, *buying).unwrap_or(false))
    }

    fn believes(&self, s: &State, buying: Buying) -> Result<bool, Fault> {
        let (accepted, has) = match buying {
            Buying::Collects(accepted, _) => (accepted, None),
            Buying::Has(_, accepted) => (accepted, Some(true)),
            Buying::Refused(accepted) => (accepted, Some(false)),
            Buying::Idle(_) | Buying::Asks(_) | Buying::Ordered(_) => return Ok(true),
        };
        let Read::Accepted(id, _) = self.read(accepted)? else { return Ok(false) };
        let ledgers = self.ledgers(s)?;
        let document = ledgers.identity.documents().get(&Purchase::key_of(id));
        let Some(purchase) = document.and_then(|d| Purchase::read(&d.value)) else { return Ok(false) };
        Ok(match has {
            None => true,
            Some(true) => purchase.state == PurchaseState::Paid,
            Some(false) => matches!(purchase.state, PurchaseState::Rejected(_)),
        })
    }

    pub(super) fn comes_to_rest(&self, s: &State) -> bool {
        s.fault.is_some() || self.rest(s).unwrap_or(false)
    }

    fn rest(&self, from: &State) -> Result<bool, Fault> {
        let mut s = from.clone();
        let mut way = Vec::new();
        let good = loop {
            let name = BuildHasherDefault::<DefaultHasher>::default().hash_one(&s);
            if let Some(good) = self.rested.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
                break *good;
            }
            way.push(name);
            if way.len() > MOVES_MAX {
                return Err(Fault::Restless);
            }
            match self.onward(&s)? {
                Some(next) => s = next,
                None => break self.agree(&s)?,
            }
        };
        let mut rested = self.rested.lock().unwrap_or_else(PoisonError::into_inner);
        rested.extend(way.into_iter().map(|name| (name, good)));
        Ok(good)
    }

    /// What comes next where everything arrives, everybody goes on, and the bank speaks.
    fn onward(&self, s: &State) -> Result<Option<State>, Fault> {
        let mut moves: Vec<Move> = Vec::new();
        moves.extend(s.house.jobs.first().map(|job| match job {
            Job::Decided { .. } => Move::Commit(*job),
            Job::Committed { .. } => Move::Reply(*job),
        }));
        let begun =
            |(who, buying): (u8, &Buying)| matches!(buying, Buying::Idle(1..)).then_some(Move::Begin(who));
        moves.extend((0u8..).zip(&s.buyers).filter_map(begun));
        let (mut answers, mut requests) = (Vec::new(), Vec::new());
        for id in &s.house.sent {
            match &*self.message(*id)? {
                Message::Request { tag, .. } if Self::waits(s, *tag) => requests.push(Move::Arrive(*id)),
                Message::Request { tag: Tag::CollectAck(_), .. } => requests.push(Move::Arrive(*id)),
                Message::Request { .. } => {}
                Message::Reply { .. } | Message::Letter { .. } => answers.push(Move::Arrive(*id)),
            }
        }
        moves.extend(answers.into_iter().chain(requests));
        self.own_moves(&*self.ledgers(s)?, &mut moves);
        for action in moves {
            let mut next = s.clone();
            self.make(&mut next, action)?;
            if next != *s {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    /// Nobody waits, and what is live is known to whoever has bought it.
    fn agree(&self, s: &State) -> Result<bool, Fault> {
        let mut known = BTreeSet::new();
        let ledgers = self.ledgers(s)?;
        for buying in &s.buyers {
            match buying {
                Buying::Idle(0) | Buying::Refused(_) => {}
                Buying::Has(id, _) => {
                    let Read::Coins(coins, _) = self.read(*id)? else { return Ok(false) };
                    known.extend(coins.iter().filter_map(|c| {
                        Some((self.house.operator().issuer.coin_number(c.id.0)?.to_block(), c.value))
                    }));
                }
                _ => return Ok(false),
            }
        }
        let worth = known.iter().map(|(_, value)| *value).fold(0, u64::saturating_add);
        Ok(self.believes_all(s) && worth == ledgers.books.live_worth(COINS))
    }

    fn believes_all(&self, s: &State) -> bool {
        self.is_believed(s) && self.is_recorded(s) && self.is_conserved(s)
    }
}
