//! A purchase in the identity lane: requested, paid or rejected by the bank, handed over to issuing.
//! Source: VarietyCash §3.1 (2) Execution, W2; V6, V10 (two transitions).

use florin_books::{
    Account, DocumentKey, EffectId, Facts, LaneId, Needs, PartyId, Record, Timestamp, Transition, TxId,
};
use florin_crypto::{ByteArray, Bytes, Entropy, Envelope, Sign1, cbor, digest, random};
use florin_money::CoinList;
use florin_parties::bank::OrderId;
use florin_parties::treasury::{OrderMove, Outcome};
use florin_parties::{Participant, ParticipantState, write_participant};
use florin_rail::Refusal;
use minicbor::{Decode, Encode};

use super::collect::Claim;
use super::sealed_claim::HandOverDue;
use crate::choice::HolderChoice;
use crate::kinds::{CLAIM, HAND_OVER, PURCHASE, STEP_COLLECT, STEP_HAND_OVER, WAITING, once};
use crate::purchase_messages::{Authorisation, WDesc, claim_id};
use crate::refusal::TOO_MANY_PURCHASES;

/// How far a purchase is.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum PurchaseState {
    /// The bank has been asked to collect.
    #[n(0)]
    Requested,
    /// Paid; the claim was handed over to issuing.
    #[n(1)]
    Paid,
    /// The bank has refused; an ISO 20022 code.
    #[n(2)]
    Rejected(#[n(0)] String),
    /// The money went back after it was booked; an ISO 20022 code. The purchaser is blocked.
    #[n(3)]
    Returned(#[n(0)] String),
}

/// A purchase. The signed authorisation is kept as evidence.
///
/// Shape: `[id, purchaser, authorisation COSE_Sign1, claim, escrow, state, order, at]`. The claim stands here only if the
/// purchaser did not wish to be anonymous; otherwise nobody but the two key holders together can say which it is.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Purchase {
    /// Its id.
    #[n(0)]
    pub id: TxId,
    /// Who buys.
    #[n(1)]
    pub purchaser: PartyId,
    /// What S_CP covers, and S_CP.
    #[n(2)]
    pub authorisation: Bytes,
    /// By what the coins are collected, if the purchaser does not mind.
    #[n(3)]
    pub claim: Option<ByteArray<16>>,
    /// The same, and K's secret, sealed to the key holders.
    #[n(4)]
    pub escrow: Option<Envelope>,
    /// How far it is.
    #[n(5)]
    pub state: PurchaseState,
    /// The bank order.
    #[n(6)]
    pub order: OrderId,
    /// When.
    #[n(7)]
    pub at: Timestamp,
}

/// So many purchases of one participant wait for the bank at most: the places for claims are everybody's.
pub const PURCHASES_WAITING_MAX: u32 = 32;

const fn waiting_key(purchaser: PartyId) -> DocumentKey {
    DocumentKey::new(WAITING, *purchaser.bytes())
}

fn waiting(facts: &Facts, purchaser: PartyId) -> u32 {
    let document = facts.document(&waiting_key(purchaser));
    document.and_then(|bytes| cbor::decode_strict(bytes).ok()).unwrap_or(0)
}

/// Whether another purchase may begin; and what counts it.
pub(super) fn begins(t: &mut Transition, facts: &Facts, purchaser: PartyId) -> Result<(), Refusal> {
    let count = waiting(facts, purchaser);
    if count >= PURCHASES_WAITING_MAX {
        return Err(TOO_MANY_PURCHASES);
    }
    t.write(waiting_key(purchaser), cbor::encode(&count.saturating_add(1)));
    Ok(())
}

/// The bank has spoken.
fn ends(t: &mut Transition, facts: &Facts, purchaser: PartyId) {
    match waiting(facts, purchaser) {
        0 => {}
        1 => t.remove(waiting_key(purchaser)),
        more => t.write(waiting_key(purchaser), cbor::encode(&more.saturating_sub(1))),
    }
}

impl Purchase {
    /// What [`bank_outcome`] looks at.
    #[must_use]
    pub const fn outcome_needs(&self) -> [DocumentKey; 3] {
        [Self::key_of(self.id), Participant::key_of(self.purchaser), waiting_key(self.purchaser)]
    }

    /// What is looked at before a purchase begins, besides who buys.
    pub(super) const fn begin_needs(purchaser: PartyId) -> DocumentKey {
        waiting_key(purchaser)
    }

    /// Its document.
    #[must_use]
    pub const fn key_of(id: TxId) -> DocumentKey {
        DocumentKey::new(PURCHASE, *id.bytes())
    }

    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }

    /// H(claim), where the purchaser did not wish to be anonymous.
    #[must_use]
    pub fn named_claim_id(&self) -> Option<[u8; 16]> {
        self.claim.as_ref().map(|claim| claim_id(&claim.0))
    }

    /// What was bought; it was checked before it was written.
    #[must_use]
    pub fn w_desc(&self) -> Option<WDesc> {
        let signed = Sign1::parse(&self.authorisation.0).ok()?;
        let authorisation: Authorisation = cbor::decode_strict(signed.payload_unverified()).ok()?;
        Some(authorisation.w_desc)
    }
}

/// What the identity lane tells the books lane: nothing about who, unless the purchaser wished not to be anonymous.
///
/// Shape: `[claim, K secret, list, total, refused, holder]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct HandOver {
    /// The claim.
    #[n(0)]
    pub claim: ByteArray<16>,
    /// What seals the coins.
    #[n(1)]
    pub k_issue: ByteArray<32>,
    /// The coins wanted.
    #[n(2)]
    pub list: CoinList,
    /// Their worth.
    #[n(3)]
    pub total: florin_money::Amount,
    /// Why there are none.
    #[n(4)]
    pub refused: Option<String>,
    /// Whose the coins will be: the purchaser's, by name, or nobody's as far as this lane knows.
    #[n(5)]
    pub holder: HolderChoice,
}

/// What the bank's word does to a purchase, added to the transition that records it in the identity lane.
/// `false`: the purchase is not there or not in a state for it, and somebody has to look.
pub fn bank_outcome(
    t: &mut Transition,
    moved: &OrderMove,
    facts: &Facts,
    books: LaneId,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> bool {
    let id = TxId::new(moved.purpose().reference);
    let Some(mut purchase) = facts.document(&Purchase::key_of(id)).and_then(Purchase::read) else {
        return false;
    };
    let Some(w) = purchase.w_desc() else { return false };
    let refused = match (&moved.outcome, &purchase.state) {
        (Outcome::Accepted, PurchaseState::Requested) => return true,
        (Outcome::Booked, PurchaseState::Requested) => {
            t.post(Account::PaidNotIssued, Account::Pair(books), w.total);
            purchase.state = PurchaseState::Paid;
            None
        }
        (Outcome::Rejected(why), PurchaseState::Requested) => {
            purchase.state = PurchaseState::Rejected(why.clone());
            Some(why.clone())
        }
        (Outcome::Returned(why), PurchaseState::Paid) => {
            purchase.state = PurchaseState::Returned(why.clone());
            block(t, purchase.purchaser, facts, now, entropy);
            t.write(Purchase::key_of(id), cbor::encode(&purchase));
            return true;
        }
        _ => return false,
    };
    ends(t, facts, purchase.purchaser);
    t.write(Purchase::key_of(id), cbor::encode(&purchase));
    let due = HandOverDue { purchase: id, total: w.total, refused };
    t.emit(EffectId::new(random(entropy)), HAND_OVER, now, cbor::encode(&due));
    true
}

fn block(t: &mut Transition, id: PartyId, facts: &Facts, now: Timestamp, entropy: &mut dyn Entropy) {
    let Some(participant) = facts.document(&Participant::key_of(id)).and_then(Participant::read) else {
        return;
    };
    if participant.is_active() {
        write_participant(t, &participant.with_state(ParticipantState::Blocked), now, entropy);
    }
}

impl HandOver {
    /// What the books lane reads.
    #[must_use]
    pub fn needs(&self) -> Needs {
        // By the purchase's own secret: a purchaser who uses a claim twice must not hide the second hand-over.
        let this = digest("florin/v1/coin/hand-over", &[&self.claim.0, &self.k_issue.0]).short();
        Needs {
            documents: vec![DocumentKey::new(CLAIM, claim_id(&self.claim.0))],
            once: vec![once(STEP_HAND_OVER, PartyId::NONE, this)],
            ..Needs::default()
        }
    }

    /// Whether its claim was collected before: to be read apart, for this is no repeat of the hand-over.
    #[must_use]
    pub fn collected(&self) -> Needs {
        let collect = once(STEP_COLLECT, PartyId::NONE, claim_id(&self.claim.0));
        Needs { once: vec![collect], ..Needs::default() }
    }

    /// Whether the record of a hand-over in the books lane has taken the money up; not where there are no coins.
    #[must_use]
    pub const fn is_credited(record: &Record) -> bool {
        !record.core.postings.is_empty()
    }
}

/// The hand-over in the books lane: what is paid for and waits to be collected. A claim that is there already (its
/// purchaser used it twice) stays as it is, and the money waits in suspense for a person to look. So does that of a claim
/// that was `collected` once: its document goes, its once key stays, and nobody can collect by it again.
#[must_use]
pub fn hand_over(hand: &HandOver, facts: &Facts, collected: bool, identity: LaneId) -> Transition {
    let id = claim_id(&hand.claim.0);
    let mut t = Transition::new(digest("florin/v1/coin/hand-over", &[&id]), facts.as_of);
    t.once = hand.needs().once;
    let key = DocumentKey::new(CLAIM, id);
    let used = collected || facts.document(&key).is_some();
    if hand.refused.is_none() {
        t.post(
            Account::Pair(identity),
            if used { Account::Suspense } else { Account::PaidNotIssued },
            hand.total,
        );
    }
    if used {
        return t;
    }
    let claim = Claim {
        list: hand.list.clone(),
        total: hand.total,
        k_issue: hand.k_issue,
        refused: hand.refused.clone(),
        holder: hand.holder,
        collected: false,
        acknowledged: false,
    };
    t.write(key, cbor::encode(&claim));
    t
}
