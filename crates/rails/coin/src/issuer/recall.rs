//! What a record still says once its seed has gone: an answer of the same meaning, signed with today's key. A payment is
//! never "unknown" for want of a seed; only why coins were not taken is told no more.
//! Source: architecture.md, "Never unknown"; books.md, "Retention".

use florin_books::{Effect, OnceKey, PartyId, Record, TxId};
use florin_crypto::Digest;
use florin_money::Amount;
use florin_rail::Refusal;
use florin_rail::common::ASK_STATUS;

use super::keys::Issuer;
use super::verdict::PaymentSeed;
use crate::com::{TidPy, pay_id};
use crate::kinds::{PAY_OUT, RAIL_NUMBER, STEP_PAYMENT, STEP_VALIDATION, envelope_once};
use crate::messages::Outcome;

/// Which payment is asked about: all of it stands in the question.
pub(super) struct Asked {
    pub payee: PartyId,
    pub com: Digest,
    /// H(EncC1); none where the asker does not name it.
    pub enc_c1: Option<Digest>,
}

/// The pay-out that a record has ordered.
pub(super) fn payout(record: &Record) -> Option<TxId> {
    record.core.effects.iter().find_map(|effect| match effect {
        Effect::Emit(out) if out.kind == PAY_OUT => Some(TxId::new(*out.id.bytes())),
        _ => None,
    })
}

/// What the coins that a record has spent were worth.
fn spent_worth(issuer: &Issuer, record: &Record) -> Result<Amount, Refusal> {
    let worth = |number| issuer.coin_worth(number).ok_or(ASK_STATUS);
    let mut all = record.core.consumed.iter().map(|number| worth(*number));
    let first = all.next().ok_or(ASK_STATUS)??;
    all.try_fold(first, |sum, next| sum.checked_add(next?).map_err(|_| ASK_STATUS))
}

impl PaymentSeed {
    /// The seed, or as much of it as the rest of the record and the question tell.
    pub fn recall(record: &Record, issuer: &Issuer, asked: &Asked) -> Result<Self, Refusal> {
        if record.seed().is_some() {
            return Self::of(record);
        }
        let (core, id) = (&record.core, pay_id(&asked.com));
        let taken = |step| core.once.iter().find(|k: &&OnceKey| (k.rail, k.step) == (RAIL_NUMBER, step));
        if taken(STEP_PAYMENT).is_some_and(|k| k.party != asked.payee || k.txid != *id.bytes()) {
            return Err(ASK_STATUS);
        }
        let tid = taken(STEP_VALIDATION).map(|k| TidPy::new(k.txid));
        let paid = if core.consumed.is_empty() { None } else { Some(spent_worth(issuer, record)?) };
        let outcome = match (paid, tid) {
            (Some(_), _) => Outcome::Paid,
            (None, Some(_)) => Outcome::Denied,
            (None, None) => Outcome::Never,
        };
        let its = asked.enc_c1.filter(|enc_c1| core.once.contains(&envelope_once(enc_c1)));
        Ok(Self {
            pay_id: id,
            com: asked.com,
            enc_c1: its.unwrap_or(Digest([0; 32])),
            tid: tid.unwrap_or(TidPy::NONE),
            payee: asked.payee,
            outcome,
            claimed: paid,
            paid,
            causes: Vec::new(),
            payout: payout(record),
            kid: issuer.keys.signing_kid(),
        })
    }
}
