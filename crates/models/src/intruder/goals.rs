//! What no intruder may reach: a coin of somebody honest, a payment that its payer has not meant, a shop that gives goods
//! for nothing, a payer that believes what is not so. Source: the issue ("secrecy", "agreement on Com"); VarietyCash §4.

use std::sync::{Mutex, MutexGuard, PoisonError};

use florin_books::{Issued, OnceKey, PartyId, Record};
use florin_coin::kinds::{STEP_PAYMENT, envelope_once, once};
use florin_coin::messages::{Issuance1, Outcome, envelope_digest};
use florin_coin::refund_messages::RefundAnswer;
use florin_coin::{Coin, payee, payer};
use florin_crypto::{Secret, cbor};
use florin_parties::ReplyFrame;
use florin_rail::transcript;

use super::{M, Run, Shop, State, World};
use crate::fault::Fault;
use crate::house::{Message, MessageId, Tag};

pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whose payment a record is: payee and payment, where it has spent coins.
fn payment(record: &Record) -> Option<&OnceKey> {
    let spent = !record.core.consumed.is_empty();
    record.core.once.iter().find(|key| spent && key.step == STEP_PAYMENT)
}

impl World {
    /// What the intruder reads in an answer to a request of its own: coins, whatever they come in.
    fn reads(&self, reply: MessageId) -> Result<Vec<Coin>, Fault> {
        if let Some(coins) = lock(&self.seen).get(&reply) {
            return Ok(coins.clone());
        }
        let coins = self.opens(reply)?;
        lock(&self.seen).insert(reply, coins.clone());
        Ok(coins)
    }

    fn opens(&self, reply: MessageId) -> Result<Vec<Coin>, Fault> {
        let message = self.house.message(reply)?;
        let Message::Reply { to, answer: Ok(answer) } = &*message else { return Ok(Vec::new()) };
        let request = self.house.message(*to)?;
        let Message::Request { tag: Tag::Forged, body, pending, .. } = &*request else {
            return Ok(Vec::new());
        };
        let Some(key) = Secret::<32>::from_slice(pending) else { return Ok(Vec::new()) };
        let issuer = self.house.operator().list.operator;
        let th = transcript("coin", &[body]);
        let parties = [self.person(M)?.keys.id(), self.shop.keys.id(), PartyId::NONE];
        let mut coins = Vec::new();
        for to in parties.into_iter().chain(self.payers.iter().map(|p| p.keys.id())) {
            let frame = ReplyFrame::new("coin", "issuance1", issuer, to, th);
            coins.extend(frame.open::<Issuance1>(&key, answer).map(|read| read.coins).unwrap_or_default());
            let frame = ReplyFrame::new("coin", "refund-reply", issuer, to, th);
            let sets = frame.open::<RefundAnswer>(&key, answer).map(|read| read.sets).unwrap_or_default();
            coins.extend(sets.into_iter().flat_map(|set| set.coins));
        }
        Ok(coins)
    }

    /// The coins that are nobody's business but an honest party's: those that honest payers have bought, and those that
    /// were issued for a payment to the shop.
    fn honest_coins(&self, s: &State) -> Result<Vec<Coin>, Fault> {
        let mut coins: Vec<Coin> = self.runs.iter().map(|run| run.coin.clone()).collect();
        let ledgers = self.house.ledgers(s.house.journal)?;
        for record in ledgers.books.records() {
            if payment(record).is_some_and(|key| key.party == self.shop.keys.id()) {
                let created: &[Issued] = &record.core.created;
                coins.extend(self.house.operator().issuer.mint(created)?);
            }
        }
        Ok(coins)
    }

    pub(super) fn is_secret(&self, s: &State) -> bool {
        self.secret(s).unwrap_or(false)
    }

    /// No tag of an honest coin stands in anything that the intruder has or reads.
    fn secret(&self, s: &State) -> Result<bool, Fault> {
        let honest = self.honest_coins(s)?;
        for id in &s.house.sent {
            let read = cbor::encode(&self.reads(*id)?);
            let message = self.house.message(*id)?;
            let bytes: &[u8] = match &*message {
                Message::Request { body, .. } => body,
                Message::Reply { answer: Ok(answer), .. } => answer,
                Message::Reply { .. } | Message::Letter { .. } => &[],
            };
            let holds =
                |coin: &Coin| [bytes, &read].iter().any(|all| all.windows(32).any(|part| part == coin.tag.0));
            if honest.iter().any(holds) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn is_agreed(&self, s: &State) -> bool {
        self.agreed(s).unwrap_or(false)
    }

    /// Every payment that spends a coin of an honest payer is the one that it has meant: its payee, its Com, once.
    fn agreed(&self, s: &State) -> Result<bool, Fault> {
        let ledgers = self.house.ledgers(s.house.journal)?;
        let issuer = &self.house.operator().issuer;
        for run in &self.runs {
            let number = issuer.coin_number(run.coin.id.0).ok_or(Fault::Absent("a coin"))?;
            let meant = once(STEP_PAYMENT, run.com.payee, *run.com.pay_id().bytes());
            let spends = |r: &&std::sync::Arc<Record>| r.core.consumed.contains(&number);
            for record in ledgers.books.records().iter().filter(spends) {
                if payment(record) != Some(&meant) || record.core.consumed.len() != 1 {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    pub(super) fn is_given(&self, s: &State) -> bool {
        let Ok(ledgers) = self.house.ledgers(s.house.journal) else { return false };
        s.shop.iter().all(|shop| {
            let Shop::Gives(request) = shop else { return true };
            let Some((_, com)) = lock(&self.asked).get(request).cloned() else { return false };
            let key = once(STEP_PAYMENT, com.payee, *com.pay_id().bytes());
            ledgers.books.taker(&key).is_some_and(|record| payment(record) == Some(&key))
        })
    }

    pub(super) fn is_believed(&self, s: &State) -> bool {
        let mut runs = self.runs.iter().enumerate();
        runs.all(|(place, run)| self.believes(s, place, run).unwrap_or(false))
    }

    /// Whatever is put before a payer as a verdict: if it believes it, then it is so.
    fn believes(&self, s: &State, place: usize, run: &Run) -> Result<bool, Fault> {
        let ledgers = self.house.ledgers(s.house.journal)?;
        // Its own envelope: a payee can pay itself under the same Com, and that is nothing to the payer.
        let key = envelope_once(&envelope_digest(&run.sent.enc_c1));
        let paid = ledgers.books.taker(&key).is_some_and(|record| payment(record).is_some());
        let hears = |id: &MessageId| self.hears(place, run, *id);
        let heard: Vec<Option<bool>> = s.house.sent.iter().map(hears).collect::<Result<_, _>>()?;
        Ok(heard.into_iter().flatten().all(|said| said == paid))
    }

    /// What a payer takes from an answer, whoever it was for: whether it is paid.
    fn hears(&self, place: usize, run: &Run, id: MessageId) -> Result<Option<bool>, Fault> {
        if let Some(said) = lock(&self.heard).get(&(place, id)) {
            return Ok(*said);
        }
        let list = &self.house.operator().list;
        let message = self.house.message(id)?;
        let mut said = None;
        if let Message::Reply { to, answer: Ok(answer) } = &*message {
            let mut parts = vec![answer.clone()];
            // The part for the payer, where it comes out of an answer to the shop.
            if let Message::Request { pending, .. } = &*self.house.message(*to)? {
                parts.extend(payee::read_issuance1(pending, answer, list).map(|read| read.for_payer));
            }
            for part in parts {
                let news = payer::read_status(&run.pending, &part, list)
                    .or_else(|_| payer::read_payer_verdict(&run.pending, &part, list));
                said = said.or(news.ok().map(|news| news.verdict.outcome == Outcome::Paid));
            }
        }
        lock(&self.heard).insert((place, id), said);
        Ok(said)
    }

    pub(super) fn is_paid_itself(&self, s: &State) -> bool {
        let Ok(ledgers) = self.house.ledgers(s.house.journal) else { return false };
        let Ok(me) = self.person(M) else { return false };
        ledgers.books.records().iter().any(|r| payment(r).is_some_and(|key| key.party == me.keys.id()))
    }
}
