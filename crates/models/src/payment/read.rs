//! What an answer says, read by whoever has the keys for it; and what the journal says about the same payment.
//! Source: crates/rails/coin/src/{payer,payee,refund}.rs; docs/adr/0018-one-verdict-for-both.md.

use std::sync::PoisonError;

use florin_books::{OnceKey, Record};
use florin_coin::coin::Coin;
use florin_coin::kinds::{STEP_PAYMENT, STEP_VALIDATION, envelope_once, once};
use florin_coin::messages::{Outcome, PayeeAnswer, Verdict, envelope_digest};
use florin_coin::{payee, payer, refund};
use florin_crypto::{Bytes, Digest, cbor, digest};

use super::{Recorded, State, World};
use crate::fault::Fault;
use crate::house::{Message, MessageId, Tag};

/// How a payment ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Fate {
    /// Paid.
    Paid,
    /// Denied, for its coins or its amount.
    Denied,
    /// It never happens.
    Never,
}

impl From<Outcome> for Fate {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Paid => Self::Paid,
            Outcome::Denied | Outcome::AmountMismatch => Self::Denied,
            Outcome::Never => Self::Never,
        }
    }
}

/// A verdict that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Said {
    /// How it ends.
    pub fate: Fate,
    /// When it was recorded.
    pub at: u64,
    /// Everything that is signed but the digest of the causes and, where nothing happened, the envelope: those differ with
    /// whom it is for.
    pub bytes: [u8; 16],
}

impl Said {
    fn of(verdict: &Verdict) -> Self {
        let mut same = verdict.clone();
        same.causes = Digest([0; 32]);
        if verdict.outcome == Outcome::Never {
            same.enc_c1 = Digest([0; 32]);
        }
        let bytes = digest("florin/models/said", &[&cbor::encode(&same)]).short();
        Self { fate: verdict.outcome.into(), at: verdict.at.0, bytes }
    }
}

/// What an answer says to whom it is for.
#[derive(Clone)]
pub(super) enum Read {
    /// Issuance1.
    Issuance {
        /// The verdict.
        said: Said,
        /// New coins.
        coins: Vec<Coin>,
        /// Issuance2.
        issuance2: Vec<u8>,
        /// For the payer.
        for_payer: Vec<u8>,
    },
    /// A verdict, and nothing else.
    Verdict(Said),
    /// New coins in place of old ones.
    Refunded(Vec<Coin>),
    /// A refusal; whether it is worth the same bytes again.
    Refused {
        /// The same bytes may succeed later.
        transient: bool,
    },
    /// Nothing that anybody waits for.
    Nothing,
}

/// All verdicts about a deal agree: one fate, and where something happened, one statement.
pub(super) fn is_one(told: &[(u8, Said)]) -> bool {
    told.iter().all(|(deal, said)| {
        let mut its = told.iter().filter(|(other, _)| other == deal);
        its.all(|(_, other)| {
            other.fate == said.fate && (said.fate == Fate::Never || other.bytes == said.bytes)
        })
    })
}

impl World {
    /// Reads a message, once.
    pub(super) fn read(&self, s: &State, id: MessageId) -> Result<Read, Fault> {
        let key = (s.beginning, id);
        if let Some(read) = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(read.clone());
        }
        let message = self.message(id)?;
        let read = match &*message {
            Message::Reply { to, answer } => self.read_reply(s, *to, answer)?,
            Message::Letter { tag: Tag::Answer(deal), bytes } => self.read_answer(s, *deal, bytes)?,
            Message::Letter { .. } | Message::Request { .. } => Read::Nothing,
        };
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(key, read.clone());
        Ok(read)
    }

    fn read_reply(
        &self,
        s: &State,
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
            Err((_, transient)) => return Ok(Read::Refused { transient: *transient }),
        };
        let list = &self.house.operator().list;
        match *tag {
            Tag::Validation(deal, envelope, _) => {
                let issuance = payee::read_issuance1(pending, answer, list)?;
                let paying = self.paying(s, deal, envelope)?;
                let news = payer::read_payer_verdict(&paying.pending, &issuance.for_payer, list)?;
                // Both hold the same signed bytes (ADR 0018).
                if news.signed != issuance.signed {
                    return Err(Fault::Reading("two verdicts in one answer"));
                }
                Ok(Read::Issuance {
                    said: Said::of(&issuance.verdict),
                    coins: issuance.coins,
                    issuance2: issuance.issuance2,
                    for_payer: issuance.for_payer,
                })
            }
            Tag::PayerStatus(..) => {
                Ok(Read::Verdict(Said::of(&payer::read_status(pending, answer, list)?.verdict)))
            }
            Tag::PayeeStatus(_) => Ok(Read::Verdict(Said::of(&payee::read_status(pending, answer, list)?.0))),
            Tag::Refund(..) => {
                let sets = refund::read_refund(pending, answer, list)?.sets;
                Ok(Read::Refunded(sets.into_iter().flat_map(|set| set.coins).collect()))
            }
            _ => Ok(Read::Nothing),
        }
    }

    /// What the payee has answered its payer: the verdict is the operator's, the receipt the payee's.
    fn read_answer(&self, s: &State, deal: u8, bytes: &[u8]) -> Result<Read, Fault> {
        let answer: PayeeAnswer =
            cbor::decode_strict(bytes).map_err(|_| Fault::Reading("the payee's answer"))?;
        let list = &self.house.operator().list;
        let mut last = Fault::Reading("the payee's answer");
        for envelope in 0..2 {
            let paying = self.paying(s, deal, envelope)?;
            match payer::read_payer_verdict(&paying.pending, &answer.for_payer.0, list) {
                Ok(news) => {
                    if let Some(receipt) = &answer.receipt {
                        let key = self.payee.keys.signing.verify_key();
                        payer::read_receipt(&paying.pending, &receipt.0, &key)?;
                    }
                    return Ok(Read::Verdict(Said::of(&news.verdict)));
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// What the payee answers its payer.
    pub(super) fn answer(
        &self,
        s: &State,
        deal: u8,
        accepted: bool,
        for_payer: Vec<u8>,
    ) -> Result<MessageId, Fault> {
        let com = &self.deal(s, deal)?.com;
        let receipt = accepted.then(|| {
            let at = crate::operator::START;
            Bytes(payee::receipt(&self.payee.keys, com.payer, &com.digest(), at))
        });
        let bytes = cbor::encode(&PayeeAnswer { receipt, for_payer: Bytes(for_payer) });
        Ok(self.house.number(Message::Letter { tag: Tag::Answer(deal), bytes }))
    }

    /// What the journal says about a deal: every record that has decided it, with its time. One by the payment's once key,
    /// one by each envelope's.
    pub(super) fn recorded(&self, s: &State, deal: u8) -> Result<Recorded, Fault> {
        let name = (s.beginning, deal, s.house.journal);
        if let Some(found) = self.recorded.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Ok(found.clone());
        }
        let com = &self.deal(s, deal)?.com;
        let ledgers = self.ledgers(s)?;
        let mut keys = vec![once(STEP_PAYMENT, com.payee, *com.pay_id().bytes())];
        for envelope in 0..2 {
            let paying = self.paying_digest(s, deal, envelope)?;
            keys.push(envelope_once(&paying));
        }
        let mut found = Recorded::new();
        for record in keys.iter().filter_map(|key| ledgers.books.taker(key)) {
            found.push((fate(record), record.core.time.0));
        }
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).insert(name, found.clone());
        Ok(found)
    }

    fn paying_digest(&self, s: &State, deal: u8, envelope: u8) -> Result<Digest, Fault> {
        let letter = self.message(self.send_coins(s, deal, envelope)?)?;
        let Message::Letter { bytes, .. } = &*letter else { return Err(Fault::Absent("SendCoins")) };
        let sent = payee::read_send_coins(bytes, self.payee.keys.id())?;
        Ok(envelope_digest(&sent.enc_c1))
    }
}

/// What a record has done, by what the books see of it and not by what it says.
fn fate(record: &Record) -> Fate {
    let took = |step| record.core.once.iter().any(|key: &OnceKey| key.step == step);
    match (record.core.consumed.is_empty(), took(STEP_VALIDATION)) {
        (false, _) => Fate::Paid,
        (true, true) => Fate::Denied,
        (true, false) => Fate::Never,
    }
}
