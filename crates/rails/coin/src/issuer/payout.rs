//! Paying a redeemer out: from the books lane to the identity lane, and from there to the bank.
//! Source: VarietyCash §3 (Redeem); V3 (only to the enrolled account); books.md, "Identity apart".

use florin_books::{Account, Facts, LaneId, Needs, Outgoing, PartyId, Timestamp, Transition, TxId};
use florin_crypto::{Entropy, cbor, digest, random};
use florin_money::Amount;
use florin_parties::bank::{Direction, Order, OrderId};
use florin_parties::treasury::{self, Purpose};
use florin_parties::{Enrolment, Participant};
use minicbor::{Decode, Encode};

use crate::kinds::{RAIL_NUMBER, STEP_PAYOUT, once};

/// What the books lane tells the identity lane.
///
/// Shape: `[id, redeemer, amount]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PayOut {
    /// The pay-out's id; the redeemer has it in the reply.
    #[n(0)]
    pub id: TxId,
    /// Who is paid.
    #[n(1)]
    pub redeemer: PartyId,
    /// How much.
    #[n(2)]
    pub amount: Amount,
}

impl PayOut {
    /// Reads an entry of the outbox.
    #[must_use]
    pub fn read(out: &Outgoing) -> Option<Self> {
        cbor::decode_strict(&out.body).ok()
    }

    /// What the identity lane reads.
    #[must_use]
    pub fn needs(&self) -> Needs {
        Needs {
            documents: vec![Participant::key_of(self.redeemer), Enrolment::key_of(self.redeemer)],
            once: vec![once(STEP_PAYOUT, PartyId::NONE, *self.id.bytes())],
            ..Needs::default()
        }
    }
}

/// The pay-out in the identity lane: owed to the redeemer, and ordered from the bank if there is an account. Where
/// there is none any more, or the redeemer was stopped meanwhile, it stays owed, and the operator settles it by hand.
#[must_use]
pub fn payout(
    out: &PayOut,
    facts: &Facts,
    books: LaneId,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Transition {
    payout_within(out, facts, books, None, now, entropy)
}

/// The same; what is more than `limit` stays owed until two key holders release it.
#[must_use]
pub fn payout_within(
    out: &PayOut,
    facts: &Facts,
    books: LaneId,
    limit: Option<Amount>,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Transition {
    let mut t = Transition::new(digest("florin/v1/coin/pay-out", &[out.id.bytes()]), facts.as_of);
    t.once = out.needs().once;
    let owed = Account::Party(out.redeemer);
    t.post(Account::Pair(books), owed, out.amount);
    let redeemer = facts.document(&Participant::key_of(out.redeemer)).and_then(Participant::read);
    let account = facts
        .document(&Enrolment::key_of(out.redeemer))
        .filter(|_| redeemer.is_some_and(|p| p.is_active()) && !is_above(out.amount, limit))
        .and_then(Enrolment::read)
        .and_then(|e| e.confirmed().map(|c| c.account.clone()));
    if let Some(account) = account {
        let order = Order {
            id: OrderId::new(random(entropy)),
            direction: Direction::Credit,
            account,
            amount: out.amount,
            remittance: "FLORIN PAYOUT".into(),
            mandate: None,
        };
        let purpose = Purpose { rail: RAIL_NUMBER, step: STEP_PAYOUT, reference: *out.id.bytes() };
        // A zero amount is refused by the issuer, so what remains cannot fail; were it to, the debt stands.
        let _ = treasury::request(&mut t, order, purpose, Some(owed), now);
    }
    t
}

/// Whether an amount is more than a limit. In another currency nothing is known, so it is.
#[must_use]
pub fn is_above(amount: Amount, limit: Option<Amount>) -> bool {
    limit.is_some_and(|limit| amount.currency() != limit.currency() || amount.minor() > limit.minor())
}
