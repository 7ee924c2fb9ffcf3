//! What can happen while coins are bought, and what comes of it. Source: crates/rails/coin/src/purchaser.rs.

use std::sync::PoisonError;

use florin_books::{EffectId, Outgoing};
use florin_coin::purchaser::{self, Collected};
use florin_crypto::{SeededEntropy, digest};

use super::{Buying, Move, OPERATOR, Read, State, World};
use crate::cast::{Person, WORTH, w_desc};
use crate::couriers;
use crate::fault::Fault;
use crate::house::{Job, Message, MessageId, Tag};
use crate::operator::{EXP, Ledgers, parts};

const fn bit(who: u8) -> u8 {
    1u8.wrapping_shl(who as u32)
}

/// An entry of the outbox, by its id.
fn waiting(ledgers: &Ledgers, id: EffectId) -> Result<Outgoing, Fault> {
    couriers::waiting(ledgers).into_iter().find(|o| o.id == id).ok_or(Fault::Absent("an effect"))
}

impl World {
    fn at(s: &State, who: u8) -> Result<Buying, Fault> {
        s.buyers.get(usize::from(who)).copied().ok_or(Fault::Absent("a purchaser"))
    }

    fn put(s: &mut State, who: u8, buying: Buying) -> Result<(), Fault> {
        *s.buyers.get_mut(usize::from(who)).ok_or(Fault::Absent("a purchaser"))? = buying;
        Ok(())
    }

    fn person(&self, who: u8) -> Result<&Person, Fault> {
        self.buyers.get(usize::from(who)).ok_or(Fault::Absent("a purchaser"))
    }

    const fn can_crash(&self, s: &State, who: u8) -> bool {
        self.play.crashes & bit(who) & !s.crashed != 0
    }

    pub(super) fn moves(&self, s: &State, moves: &mut Vec<Move>) {
        for (who, buying) in (0u8..).zip(&s.buyers) {
            if matches!(buying, Buying::Idle(_)) {
                moves.push(Move::Begin(who));
            }
            let loses = matches!(buying, Buying::Asks(_) | Buying::Collects(_, 0));
            if loses && self.can_crash(s, who) {
                moves.push(Move::Crash(who));
            }
        }
        if self.can_crash(s, OPERATOR) && !s.house.jobs.is_empty() {
            moves.push(Move::Crash(OPERATOR));
        }
        for job in &s.house.jobs {
            moves.push(match job {
                Job::Decided { .. } => Move::Commit(*job),
                Job::Committed { .. } => Move::Reply(*job),
            });
        }
        let room = s.house.jobs.len() < self.play.jobs;
        for id in &s.house.sent {
            let is_request = self.message(*id).is_ok_and(|m| matches!(&*m, Message::Request { .. }));
            if !is_request || room {
                moves.push(Move::Arrive(*id));
            }
        }
        if let Ok(ledgers) = self.ledgers(s) {
            self.own_moves(&ledgers, moves);
        }
    }

    /// What the operator and the bank do by themselves.
    pub(super) fn own_moves(&self, ledgers: &Ledgers, moves: &mut Vec<Move>) {
        for order in couriers::orders(ledgers) {
            moves.push(Move::Bank(order.id, true));
            let whose = couriers::purchase_of(ledgers, order.id).map(|p| p.purchaser);
            let number = (0u8..).zip(&self.buyers).find(|(_, b)| Some(b.keys.id()) == whose);
            if number.is_some_and(|(who, _)| self.play.rejects & bit(who) != 0) {
                moves.push(Move::Bank(order.id, false));
            }
        }
        for o in couriers::waiting(ledgers) {
            let arrived = couriers::has_arrived(self.house.operator(), ledgers, &o);
            moves.push(if arrived == Ok(true) { Move::Settle(o.id) } else { Move::HandOver(o.id) });
        }
    }

    pub(super) fn make(&self, s: &mut State, action: Move) -> Result<(), Fault> {
        match action {
            Move::Begin(who) => {
                if let Buying::Idle(n) = Self::at(s, who)? {
                    s.house.send(self.wrequest1(who, n)?);
                    Self::put(s, who, Buying::Asks(n))?;
                }
            }
            Move::Arrive(id) => self.arrive(s, id)?,
            Move::Commit(job) => {
                let said = self.house.commit(&mut s.house, job)?;
                self.tell(s, said)?;
                let owed = |job: &Job| matches!(job, Job::Committed { .. });
                if !self.can_crash(s, OPERATOR)
                    && let Some(job) = s.house.jobs.iter().copied().find(owed)
                {
                    let said = self.house.reply(&mut s.house, job);
                    self.tell(s, said)?;
                }
            }
            Move::Reply(job) => {
                let said = self.house.reply(&mut s.house, job);
                self.tell(s, said)?;
            }
            Move::Bank(order, booked) => {
                let name = digest("florin/models/bank-says", &[order.bytes(), &[u8::from(booked)]]);
                self.house.act(&mut s.house, name, |_, ledgers| couriers::bank(ledgers, order, booked))?;
            }
            Move::HandOver(id) => {
                let name = digest("florin/models/hand-over", &[id.bytes()]);
                self.house.act(&mut s.house, name, |operator, ledgers| {
                    let o = waiting(ledgers, id)?;
                    couriers::deliver(operator, ledgers, &o)
                })?;
            }
            Move::Settle(id) => {
                let name = digest("florin/models/settle", &[id.bytes()]);
                self.house.act(&mut s.house, name, |_, ledgers| {
                    let o = waiting(ledgers, id)?;
                    couriers::done(ledgers, &o)
                })?;
            }
            Move::Crash(who) => self.crash(s, who)?,
        }
        self.tidy(s)
    }

    fn crash(&self, s: &mut State, who: u8) -> Result<(), Fault> {
        s.crashed |= bit(who);
        if who == OPERATOR {
            self.house.crash(&mut s.house);
            return Ok(());
        }
        match Self::at(s, who)? {
            Buying::Asks(n) => Self::put(s, who, Buying::Idle(n.saturating_add(1))),
            // The purchase was written down, the request with the key of the answer was not.
            Buying::Collects(accepted, 0) => self.collect(s, who, accepted, 1),
            _ => Ok(()),
        }
    }

    fn arrive(&self, s: &mut State, id: MessageId) -> Result<(), Fault> {
        let message = self.message(id)?;
        let Message::Reply { to, .. } = &*message else {
            let said = self.house.serve(&mut s.house, id)?;
            return self.tell(s, said);
        };
        let request = self.message(*to)?;
        let Message::Request { tag, .. } = &*request else { return Err(Fault::Absent("a request")) };
        if !Self::waits(s, *tag) {
            return Ok(());
        }
        match (*tag, self.read(id)?) {
            (Tag::WRequest1(who, _), Read::Signed(wrequest3)) => {
                s.house.send(wrequest3);
                Self::put(s, who, Buying::Ordered(id))
            }
            (Tag::WRequest3(who, _), Read::Accepted(..)) => self.collect(s, who, id, 0),
            (Tag::Collect(who, _), Read::Coins(_, ack)) => {
                let Buying::Collects(accepted, _) = Self::at(s, who)? else { return Ok(()) };
                let tag = Tag::CollectAck(who);
                let ack = Message::Request { tag, path: purchaser::ACK_PATH, body: ack, pending: Vec::new() };
                if self.play.acknowledges & bit(who) != 0 {
                    s.house.send(self.house.number(ack));
                }
                Self::put(s, who, Buying::Has(id, accepted))
            }
            (Tag::Collect(who, _), Read::Refused) => {
                let Buying::Collects(accepted, _) = Self::at(s, who)? else { return Ok(()) };
                Self::put(s, who, Buying::Refused(accepted))
            }
            (_, Read::No(false)) => Err(Fault::Refused("a purchase that has to go through")),
            _ => Ok(()),
        }
    }

    pub(super) fn waits(s: &State, tag: Tag) -> bool {
        match tag {
            Tag::WRequest1(who, n) => Self::at(s, who) == Ok(Buying::Asks(n)),
            Tag::WRequest3(who, by) => Self::at(s, who) == Ok(Buying::Ordered(by)),
            Tag::Collect(who, n) => matches!(Self::at(s, who), Ok(Buying::Collects(_, m)) if m == n),
            _ => false,
        }
    }

    /// Every purchase that is accepted towards anybody is written down, whether the answer arrives or not.
    fn tell(&self, s: &mut State, reply: Option<MessageId>) -> Result<(), Fault> {
        let Some(id) = reply else { return Ok(()) };
        if let Read::Accepted(purchase, _) = self.read(id)?
            && let Err(place) = s.told.binary_search(&purchase)
        {
            s.told.insert(place, purchase);
        }
        Ok(())
    }

    /// Takes from the network what changes nothing any more.
    fn tidy(&self, s: &mut State) -> Result<(), Fault> {
        let mut kept = Vec::with_capacity(s.house.sent.len());
        for id in &s.house.sent {
            let message = self.message(*id)?;
            let heard = match &*message {
                Message::Reply { to, answer } => {
                    let request = self.message(*to)?;
                    let transient = matches!(answer, Err((_, true)));
                    matches!(&*request, Message::Request { tag, .. } if Self::waits(s, *tag)) && !transient
                }
                // WRequest1 changes nothing at the operator: once its purchaser has gone on it says nothing.
                Message::Request { tag: tag @ Tag::WRequest1(..), .. } => Self::waits(s, *tag),
                Message::Request { .. } | Message::Letter { .. } => true,
            };
            if heard {
                kept.push(*id);
            }
        }
        s.house.sent = kept;
        Ok(())
    }

    // - messages

    fn made(&self, tag: Tag, make: impl FnOnce() -> Result<Message, Fault>) -> Result<MessageId, Fault> {
        if let Some(id) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&tag) {
            return Ok(*id);
        }
        let id = self.house.number(make()?);
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(tag, id);
        Ok(id)
    }

    fn wrequest1(&self, who: u8, n: u8) -> Result<MessageId, Fault> {
        let tag = Tag::WRequest1(who, n);
        self.made(tag, || {
            let key = self.house.operator().key().ok_or(Fault::Setup("the issuer's key"))?;
            let id = self.person(who)?.keys.id();
            let mut entropy = SeededEntropy::new(format!("{tag:?}"));
            let (path, body, pending) = parts(purchaser::wrequest1(&key, id, EXP, &mut entropy)?);
            Ok(Message::Request { tag, path, body, pending })
        })
    }

    /// `collect` for an accepted purchase. Its bytes depend on the purchase, so it is numbered and not looked up.
    fn collect(&self, s: &mut State, who: u8, accepted: MessageId, n: u8) -> Result<(), Fault> {
        let Read::Accepted(_, purchase) = self.read(accepted)? else {
            return Err(Fault::Absent("a purchase"));
        };
        let key = self.house.operator().key().ok_or(Fault::Setup("the issuer's key"))?;
        let tag = Tag::Collect(who, n);
        let mut entropy = SeededEntropy::new(digest("florin/models/collect", &[&purchase, &[n]]).0);
        let (path, body, pending) = parts(purchaser::collect(&key, &purchase, EXP, &mut entropy)?);
        s.house.send(self.house.number(Message::Request { tag, path, body, pending }));
        Self::put(s, who, Buying::Collects(accepted, n))
    }

    /// Reads a message, once.
    pub(super) fn read(&self, id: MessageId) -> Result<Read, Fault> {
        if let Some(read) = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(read.clone());
        }
        let message = self.message(id)?;
        let read = match &*message {
            Message::Reply { to, answer } => self.read_reply(id, *to, answer)?,
            Message::Request { .. } | Message::Letter { .. } => Read::Nothing,
        };
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(id, read.clone());
        Ok(read)
    }

    fn read_reply(
        &self,
        id: MessageId,
        to: MessageId,
        answer: &Result<Vec<u8>, (&'static str, bool)>,
    ) -> Result<Read, Fault> {
        let request = self.message(to)?;
        let Message::Request { tag, pending, .. } = &*request else {
            return Err(Fault::Absent("a request"));
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err((slug @ ("fault" | "overloaded" | "storage-full" | "outcome-open"), _)) => {
                return Err(Fault::Refused(slug));
            }
            Err((_, transient)) => return Ok(Read::No(*transient)),
        };
        match *tag {
            Tag::WRequest1(who, _) => {
                let tag = Tag::WRequest3(who, id);
                let mut entropy = SeededEntropy::new(digest("florin/models/wrequest3", &[answer]).0);
                let me = &self.person(who)?.keys;
                let w = w_desc(&[WORTH], true)?;
                let (path, body, pending) =
                    parts(purchaser::wrequest3(pending, answer, me, w, &mut entropy)?);
                Ok(Read::Signed(self.house.number(Message::Request { tag, path, body, pending })))
            }
            Tag::WRequest3(..) => {
                let accepted = purchaser::read_accepted(pending, answer)?;
                Ok(Read::Accepted(accepted.id, accepted.purchase.to_vec()))
            }
            Tag::Collect(..) => {
                let list = &self.house.operator().list;
                Ok(match purchaser::read_collected(pending, answer, list)? {
                    Collected::Coins { coins, ack } => Read::Coins(coins, ack),
                    Collected::Refused { .. } => Read::Refused,
                })
            }
            _ => Ok(Read::Nothing),
        }
    }
}
