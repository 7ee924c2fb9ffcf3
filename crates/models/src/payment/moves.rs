//! What can happen in a state, and what comes of it. The asking side persists before it sends, as every program does.
//! Source: ARCHITECTURE.md, "The asking side"; ADR 0033.

use super::read::Read;
use super::{Fate, Move, OPERATOR, PAYEE, Paying, Refunding, State, Taking, World};
use crate::fault::Fault;
use crate::house::{Broken, Job, Message, MessageId, Tag};

fn at<T: Copy>(all: &[T], place: u8) -> Result<T, Fault> {
    all.get(usize::from(place)).copied().ok_or(Fault::Absent("somebody"))
}

fn put<T>(all: &mut [T], place: u8, value: T) -> Result<(), Fault> {
    let slot = all.get_mut(usize::from(place)).ok_or(Fault::Absent("somebody"))?;
    *slot = value;
    Ok(())
}

const fn bit(who: u8) -> u8 {
    1u8.wrapping_shl(who as u32)
}

impl World {
    pub(super) fn moves(&self, s: &State, moves: &mut Vec<Move>) {
        for (deal, paying) in (0u8..).zip(&s.payers) {
            match *paying {
                Paying::Idle(_) => moves.push(Move::Seal(deal)),
                Paying::Sealed(_) => moves.push(Move::Send(deal)),
                Paying::Sent(k) if self.play.asks & bit(deal) != 0 => {
                    let flags = [false, true];
                    let open = |give_up: &bool| {
                        let id = self.payer_status(s, deal, k, *give_up);
                        (self.play.gives_up || !give_up) && id.is_ok_and(|id| !s.house.is_sent(id))
                    };
                    moves.extend(flags.into_iter().filter(open).map(|flag| Move::AskStatus(deal, flag)));
                }
                Paying::Sent(_) | Paying::Knows(_) => {}
            }
        }
        for (deal, taking) in (0u8..).zip(&s.payee) {
            match taking {
                Taking::Presented(_) => moves.push(Move::Present(deal)),
                Taking::Asked(_, 0) if self.play.asks & bit(deal) != 0 => moves.push(Move::Question(deal)),
                _ => {}
            }
        }
        for (who, refunding) in (0u8..).zip(&s.refunds) {
            if *refunding == Refunding::No && self.play.refunds & bit(who) != 0 {
                moves.push(Move::AskRefund(who));
            }
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
        for who in 0..=OPERATOR {
            if self.can_crash(s, who) && Self::loses(s, who) {
                moves.push(Move::Crash(who));
            }
        }
        if self.play.asks != 0 && !s.house.late {
            moves.push(Move::Tick);
        }
    }

    /// Where somebody cannot crash any more, nobody can tell two of its moves in a row from one.
    const fn can_crash(&self, s: &State, who: u8) -> bool {
        self.play.crashes & bit(who) & !s.crashed != 0
    }

    /// Whether a crash loses anything: one that does not is no event.
    fn loses(s: &State, who: u8) -> bool {
        match who {
            OPERATOR => !s.house.jobs.is_empty(),
            PAYEE => s.payee.iter().any(|t| matches!(t, Taking::Presented(_) | Taking::Asked(_, 0))),
            payer => matches!(s.payers.get(usize::from(payer)), Some(Paying::Sealed(_))),
        }
    }

    /// Makes a move, and takes away what nobody can hear any more.
    pub(super) fn make(&self, s: &mut State, action: Move) -> Result<(), Fault> {
        match action {
            Move::Seal(deal) => self.seal(s, deal)?,
            Move::Send(deal) => self.send(s, deal)?,
            Move::Present(deal) => self.present(s, deal)?,
            Move::AskStatus(deal, give_up) => {
                if let Paying::Sent(k) = at(&s.payers, deal)? {
                    let id = self.payer_status(s, deal, k, give_up)?;
                    s.house.send(id);
                }
            }
            Move::Question(deal) => {
                if let Taking::Asked(k, n) = at(&s.payee, deal)? {
                    self.question(s, deal, k, n)?;
                }
            }
            Move::AskRefund(who) => {
                let n = match at(&s.refunds, who)? {
                    Refunding::No => 0,
                    Refunding::Asked(_) => return Ok(()),
                    Refunding::Got(n, _) | Refunding::Refused(n) => n.saturating_add(1),
                };
                put(&mut s.refunds, who, Refunding::Asked(n))?;
                let id = self.refund(s, who, n)?;
                s.house.send(id);
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
            Move::Crash(who) => self.crash(s, who),
            Move::Tick => s.house.late = true,
        }
        self.tidy(s)
    }

    fn seal(&self, s: &mut State, deal: u8) -> Result<(), Fault> {
        let Paying::Idle(k) = at(&s.payers, deal)? else { return Ok(()) };
        if self.house.broken() == Broken::SendsFirst {
            let id = self.send_coins(s, deal, k)?;
            s.house.send(id);
        }
        put(&mut s.payers, deal, Paying::Sealed(k))?;
        if self.can_crash(s, deal) { Ok(()) } else { self.send(s, deal) }
    }

    fn send(&self, s: &mut State, deal: u8) -> Result<(), Fault> {
        let Paying::Sealed(k) = at(&s.payers, deal)? else { return Ok(()) };
        let id = self.send_coins(s, deal, k)?;
        s.house.send(id);
        put(&mut s.payers, deal, Paying::Sent(k))
    }

    fn present(&self, s: &mut State, deal: u8) -> Result<(), Fault> {
        let Taking::Presented(k) = at(&s.payee, deal)? else { return Ok(()) };
        // A payee that has crashed here before asks under a new reply key.
        let n = u8::from(s.crashed & bit(PAYEE) != 0);
        self.ask(s, deal, k, n)
    }

    fn ask(&self, s: &mut State, deal: u8, k: u8, n: u8) -> Result<(), Fault> {
        let id = self.validation(s, deal, k, n)?;
        s.house.send(id);
        put(&mut s.payee, deal, Taking::Asked(k, n))
    }

    fn question(&self, s: &mut State, deal: u8, k: u8, n: u8) -> Result<(), Fault> {
        let id = self.payee_status(s, deal)?;
        s.house.send(id);
        put(&mut s.payee, deal, Taking::Questions(k, n))
    }

    fn crash(&self, s: &mut State, who: u8) {
        s.crashed |= bit(who);
        match who {
            OPERATOR => self.house.crash(&mut s.house),
            PAYEE => {
                for taking in &mut s.payee {
                    *taking = match *taking {
                        Taking::Presented(_) => Taking::Nothing,
                        // Its envelope was written down, its request with the key of the answer was not.
                        Taking::Asked(k, 0) => Taking::Presented(k),
                        other => other,
                    };
                }
            }
            payer => {
                if let Some(paying @ Paying::Sealed(0)) = s.payers.get_mut(usize::from(payer)) {
                    *paying = Paying::Idle(1);
                }
            }
        }
    }

    pub(super) fn arrive(&self, s: &mut State, id: MessageId) -> Result<(), Fault> {
        let message = self.message(id)?;
        match &*message {
            Message::Request { .. } => {
                let said = self.house.serve(&mut s.house, id)?;
                self.tell(s, said)
            }
            Message::Letter { tag: Tag::SendCoins(deal, k), .. } => {
                if at(&s.payee, *deal)? == Taking::Nothing {
                    put(&mut s.payee, *deal, Taking::Presented(*k))?;
                    if !self.can_crash(s, PAYEE) {
                        self.present(s, *deal)?;
                    }
                }
                Ok(())
            }
            Message::Letter { tag, .. } => self.heard(s, *tag, id),
            Message::Reply { to, .. } => {
                let request = self.message(*to)?;
                let Message::Request { tag, .. } = &*request else {
                    return Err(Fault::Absent("a request"));
                };
                self.heard(s, *tag, id)
            }
        }
    }

    /// Somebody hears an answer.
    fn heard(&self, s: &mut State, tag: Tag, id: MessageId) -> Result<(), Fault> {
        if !Self::waits(s, tag) {
            return Ok(());
        }
        let read = self.read(s, id)?;
        match (tag, read) {
            (Tag::Validation(deal, ..), Read::Issuance { said, issuance2, for_payer, .. }) => {
                let accepted = said.fate == Fate::Paid || self.house.broken() == Broken::GivesOnRefusal;
                let taking = if accepted { Taking::Accepted(id) } else { Taking::Ended(said.fate) };
                put(&mut s.payee, deal, taking)?;
                let answer = self.answer(s, deal, accepted, for_payer)?;
                s.house.send(answer);
                if accepted && self.play.acknowledges {
                    s.house.send(self.acknowledge(deal, issuance2));
                }
                Ok(())
            }
            (Tag::Validation(deal, k, n), Read::Refused { transient: false }) => self.question(s, deal, k, n),
            (Tag::PayeeStatus(deal), Read::Verdict(said)) => match (at(&s.payee, deal)?, said.fate) {
                (Taking::Questions(k, n), Fate::Paid) => self.ask(s, deal, k, n.saturating_add(1)),
                (_, fate) => put(&mut s.payee, deal, Taking::Ended(fate)),
            },
            (Tag::PayerStatus(deal, ..) | Tag::Answer(deal), Read::Verdict(said)) => {
                put(&mut s.payers, deal, Paying::Knows(said.fate))
            }
            (Tag::Refund(who, n), Read::Refunded(_)) => put(&mut s.refunds, who, Refunding::Got(n, id)),
            (Tag::Refund(who, n), Read::Refused { transient: false }) => {
                put(&mut s.refunds, who, Refunding::Refused(n))
            }
            (Tag::PayerStatus(deal, ..), Read::Refused { .. })
                if self.house.broken() == Broken::TakesSilenceForNo =>
            {
                put(&mut s.payers, deal, Paying::Knows(Fate::Never))
            }
            _ => Ok(()),
        }
    }

    /// Whether anybody waits for an answer of this kind.
    pub(super) fn waits(s: &State, tag: Tag) -> bool {
        match tag {
            Tag::Validation(deal, k, n) => at(&s.payee, deal) == Ok(Taking::Asked(k, n)),
            Tag::PayeeStatus(deal) => matches!(at(&s.payee, deal), Ok(Taking::Questions(..))),
            Tag::PayerStatus(deal, ..) | Tag::Answer(deal) => {
                matches!(at(&s.payers, deal), Ok(Paying::Sent(_)))
            }
            Tag::Refund(who, n) => at(&s.refunds, who) == Ok(Refunding::Asked(n)),
            _ => false,
        }
    }

    /// Every verdict that leaves the operator is written down, whether it arrives or not.
    fn tell(&self, s: &mut State, reply: Option<MessageId>) -> Result<(), Fault> {
        let Some(id) = reply else { return Ok(()) };
        let (Read::Issuance { said, .. } | Read::Verdict(said)) = self.read(s, id)? else { return Ok(()) };
        let message = self.message(id)?;
        let Message::Reply { to, .. } = &*message else { return Ok(()) };
        let request = self.message(*to)?;
        if let Message::Request { tag, .. } = &*request
            && let Tag::Validation(deal, ..) | Tag::PayerStatus(deal, ..) | Tag::PayeeStatus(deal) = *tag
            && let Err(place) = s.told.binary_search(&(deal, said))
        {
            s.told.insert(place, (deal, said));
        }
        Ok(())
    }

    /// Takes from the network what changes nothing, whenever it arrives: an answer that nobody waits for any more.
    fn tidy(&self, s: &mut State) -> Result<(), Fault> {
        let mut kept = Vec::with_capacity(s.house.sent.len());
        for id in &s.house.sent {
            let message = self.message(*id)?;
            let heard = match &*message {
                Message::Request { .. } => true,
                Message::Letter { tag: Tag::SendCoins(deal, _), .. } => {
                    matches!(at(&s.payee, *deal)?, Taking::Nothing | Taking::Presented(_))
                }
                Message::Letter { tag, .. } => Self::waits(s, *tag),
                Message::Reply { to, answer } => {
                    let request = self.message(*to)?;
                    let transient = matches!(answer, Err((_, true)));
                    let broken = self.house.broken() == Broken::TakesSilenceForNo;
                    let Message::Request { tag, .. } = &*request else { continue };
                    Self::waits(s, *tag) && (!transient || broken)
                }
            };
            if heard {
                kept.push(*id);
            }
        }
        s.house.sent = kept;
        Ok(())
    }
}
