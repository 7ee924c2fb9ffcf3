//! What holds in every state, and what holds once faults have stopped: from any state, with a network that delivers and
//! parties that go on, everybody comes to the same end. Source: reliability.md; the issue ("payer, payee and operator
//! agree, nothing unknown").

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::PoisonError;

use florin_coin::Coin;

use super::read::Read;
use super::{Fate, Move, Paying, Refunding, State, Taking, World};
use crate::cast::WORTH;
use crate::fault::Fault;
use crate::house::{Job, Message, Tag};

/// More moves than anything needs.
const MOVES_MAX: usize = 500;

impl World {
    pub(super) fn is_conserved(&self, s: &State) -> bool {
        let (sound, worth) = self.house.audit(s.house.journal);
        let issued = u64::try_from(self.coins.len()).map(|count| count.saturating_mul(WORTH));
        sound && issued == Ok(worth)
    }

    /// Each verdict that was ever sent stands in the journal.
    pub(super) fn is_recorded(&self, s: &State) -> bool {
        s.told.iter().all(|(deal, said)| {
            let recorded = self.recorded(s, *deal);
            recorded.is_ok_and(|all| all.contains(&(said.fate, said.at)))
        })
    }

    fn is_paid(&self, s: &State, deal: u8) -> bool {
        self.recorded(s, deal).is_ok_and(|all| all.iter().any(|(fate, _)| *fate == Fate::Paid))
    }

    pub(super) fn is_believed(&self, s: &State) -> bool {
        (0u8..).zip(s.payers.iter().zip(&s.payee)).all(|(deal, (paying, taking))| {
            let payer = match paying {
                Paying::Knows(fate) => self.is_paid(s, deal) == (*fate == Fate::Paid),
                _ => true,
            };
            let payee = match taking {
                Taking::Accepted(_) => self.is_paid(s, deal),
                Taking::Ended(_) => !self.is_paid(s, deal),
                _ => true,
            };
            payer && payee
        })
    }

    pub(super) fn comes_to_rest(&self, s: &State) -> bool {
        s.fault.is_some() || self.rest(s).unwrap_or(false)
    }

    /// From here on nothing is lost and nobody crashes: one move after the other, each a function of the state alone, until
    /// nothing moves. What is known of a state on the way is known of all before it.
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

    /// What comes next where everything arrives and everybody goes on; none where nothing does.
    fn onward(&self, s: &State) -> Result<Option<State>, Fault> {
        let mut moves: Vec<Move> = Vec::new();
        moves.extend(s.house.jobs.first().map(|job| match job {
            Job::Decided { .. } => Move::Commit(*job),
            Job::Committed { .. } => Move::Reply(*job),
        }));
        moves.extend((0..2).flat_map(|deal| [Move::Send(deal), Move::Present(deal)]));
        let (mut answers, mut requests) = (Vec::new(), Vec::new());
        for id in &s.house.sent {
            match &*self.message(*id)? {
                Message::Request { tag, .. } if Self::waits(s, *tag) => requests.push(Move::Arrive(*id)),
                Message::Request { tag: Tag::Acknowledge(_), .. } => requests.push(Move::Arrive(*id)),
                Message::Request { .. } => {}
                Message::Reply { .. } | Message::Letter { .. } => answers.push(Move::Arrive(*id)),
            }
        }
        moves.extend(answers.into_iter().chain(requests));
        if s.house.late {
            moves.extend((0..2).map(|deal| Move::AskStatus(deal, false)));
        } else {
            moves.push(Move::Tick);
        }
        for action in moves {
            let mut next = s.clone();
            self.make(&mut next, action)?;
            if next != *s {
                return Ok(Some(next));
            }
        }
        self.asks_again(s)
    }

    /// Whoever may ask for a refund and misses coins asks once more.
    fn asks_again(&self, s: &State) -> Result<Option<State>, Fault> {
        if self.known_worth(s)? == self.house.audit(s.house.journal).1 {
            return Ok(None);
        }
        for (who, refunding) in (0u8..).zip(&s.refunds) {
            if let Refunding::Refused(n) | Refunding::Got(n, _) = *refunding
                && n == 0
            {
                let mut next = s.clone();
                self.make(&mut next, Move::AskRefund(who))?;
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    /// Nobody waits, both sides of every payment know the same as the journal, every live coin is known to somebody.
    fn agree(&self, s: &State) -> Result<bool, Fault> {
        for (deal, (paying, taking)) in (0u8..).zip(s.payers.iter().zip(&s.payee)) {
            let paid = self.is_paid(s, deal);
            let payer = match paying {
                Paying::Idle(_) => !paid,
                Paying::Sealed(_) | Paying::Sent(_) => false,
                Paying::Knows(fate) => paid == (*fate == Fate::Paid),
            };
            let payee = match taking {
                Taking::Nothing => !paid,
                Taking::Presented(_) | Taking::Asked(..) | Taking::Questions(..) => false,
                Taking::Accepted(_) => paid,
                Taking::Ended(_) => !paid,
            };
            if !payer || !payee {
                return Ok(false);
            }
        }
        let rests = s.refunds.iter().all(|r| !matches!(r, Refunding::Asked(_)));
        Ok(rests && self.known_worth(s)? == self.house.audit(s.house.journal).1)
    }

    /// What the live coins are worth that somebody honest has.
    fn known_worth(&self, s: &State) -> Result<u64, Fault> {
        let mut known: Vec<Coin> = self.coins.clone();
        for taking in &s.payee {
            if let Taking::Accepted(id) = taking
                && let Read::Issuance { coins, .. } = self.read(s, *id)?
            {
                known.extend(coins);
            }
        }
        for refunding in &s.refunds {
            if let Refunding::Got(_, id) = refunding
                && let Read::Refunded(coins) = self.read(s, *id)?
            {
                known.extend(coins);
            }
        }
        let ledgers = self.ledgers(s)?;
        let issuer = &self.house.operator().issuer;
        let numbers = known.iter().filter_map(|coin| Some((issuer.coin_number(coin.id.0)?, coin.value)));
        let live: BTreeSet<([u8; 16], u64)> = numbers
            .filter(|(number, _)| ledgers.books.lane().live().is_live(number))
            .map(|(number, value)| (number.to_block(), value))
            .collect();
        Ok(live.iter().map(|(_, value)| *value).fold(0, u64::saturating_add))
    }
}
