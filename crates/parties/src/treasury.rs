//! The treasury: what the operator orders from its bank, and what the bank's word does to the books.
//! Source: bank.md, "The `BankRail` design" (payout states, exactly once, credits, dedup).
//!
//! Departs: batching and exporting are the bank worker's; here an order is requested, accepted, and then one of booked,
//! rejected, returned. The ledger moves on requested (held), booked, rejected and returned only.

use florin_books::{
    Account, DocumentKey, Effect, EffectId, Facts, Needs, OnceKey, PartyId, Posting, Timestamp, Transition,
};
use florin_crypto::{cbor, digest};
use minicbor::{Decode, Encode};

use crate::bank::{BankEvent, BankNews, Direction, Order, OrderId};
use crate::kinds::{ORDER, QUEUE, RAIL_NUMBER, STEP_BANK_EVENT, SUBMIT_ORDER};

/// The operator's account at its bank.
pub const BANK: Account = Account::Bank(0);
/// The longest remittance text, in characters.
pub const REMITTANCE_MAX: usize = 140;

/// What an order is for, so that the step that wanted it can be told.
///
/// Shape: `[rail, step, reference]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Purpose {
    /// The rail's number, as in once keys.
    #[n(0)]
    pub rail: u8,
    /// The step's number, as in once keys.
    #[n(1)]
    pub step: u8,
    /// The step's own name for it.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub reference: [u8; 16],
}

/// How far an order is.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum OrderState {
    /// In the outbox.
    #[n(0)]
    Requested,
    /// The bank has taken it up.
    #[n(1)]
    Accepted,
    /// The money has moved.
    #[n(2)]
    Booked,
    /// Refused before it was booked; an ISO 20022 code.
    #[n(3)]
    Rejected(#[n(0)] String),
    /// Came back after it was booked; an ISO 20022 code.
    #[n(4)]
    Returned(#[n(0)] String),
}

/// What the bank says about one order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OrderEvent {
    /// Taken up.
    Accepted,
    /// The money has moved.
    Booked,
    /// Refused before it was booked.
    Rejected(String),
    /// Came back after it was booked.
    Returned(String),
}

/// Why an event changes nothing, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EventRefusal {
    /// The event is about no order, or about another one.
    #[error("the event is about another order")]
    OtherOrder,
    /// Old news: the order is further than this already.
    #[error("the order is further than this already")]
    Stale,
    /// It cannot follow what the bank said before: somebody has to look.
    #[error("the bank contradicts itself")]
    Contradiction,
}

impl OrderState {
    /// The one mover.
    ///
    /// # Errors
    /// `Stale`, `Contradiction`.
    pub fn next(self, event: OrderEvent) -> Result<Self, EventRefusal> {
        match (self, event) {
            (Self::Requested, OrderEvent::Accepted) => Ok(Self::Accepted),
            (Self::Requested | Self::Accepted, OrderEvent::Booked) => Ok(Self::Booked),
            (Self::Requested | Self::Accepted, OrderEvent::Rejected(why)) => Ok(Self::Rejected(why)),
            (Self::Booked, OrderEvent::Returned(why)) => Ok(Self::Returned(why)),
            (Self::Accepted | Self::Booked | Self::Rejected(_) | Self::Returned(_), OrderEvent::Accepted)
            | (Self::Booked | Self::Returned(_), OrderEvent::Booked)
            | (Self::Rejected(_), OrderEvent::Rejected(_))
            | (Self::Returned(_), OrderEvent::Returned(_)) => Err(EventRefusal::Stale),
            (Self::Requested | Self::Accepted | Self::Rejected(_), OrderEvent::Returned(_))
            | (Self::Booked | Self::Returned(_), OrderEvent::Rejected(_))
            | (Self::Rejected(_), OrderEvent::Booked) => Err(EventRefusal::Contradiction),
        }
    }
}

/// An order, what it is for, how far it is, and who paid for it.
///
/// Shape: `[order, purpose, state, requested_at, source, 1]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct OrderRecord {
    /// The order.
    #[n(0)]
    pub order: Order,
    /// What it is for.
    #[n(1)]
    pub purpose: Purpose,
    /// How far it is.
    #[n(2)]
    pub state: OrderState,
    /// When it was asked for.
    #[n(3)]
    pub requested_at: Timestamp,
    /// For a credit: whose money it is; it goes back there.
    #[n(4)]
    pub source: Option<Account>,
    /// The form of this document.
    #[n(5)]
    pub format: u8,
}

impl OrderRecord {
    /// The document of an order.
    #[must_use]
    pub const fn key_of(id: OrderId) -> DocumentKey {
        DocumentKey::new(ORDER, *id.bytes())
    }

    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }
}

/// Why an order cannot be asked for, in checking order: a fault of whoever asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// A credit needs a source, a debit has none.
    #[error("a credit has a source, a debit has none")]
    Source,
    /// A debit needs a mandate, a credit has none.
    #[error("a debit has a mandate, a credit has none")]
    Mandate,
    /// The amount is zero.
    #[error("an order of nothing")]
    Nothing,
    /// The remittance text is longer than 140 characters.
    #[error("the remittance text is too long")]
    Remittance,
}

/// The outbox entry of an order.
#[must_use]
pub const fn effect_of(id: OrderId) -> EffectId {
    EffectId::new(*id.bytes())
}

/// Asks for an order within a transition: its document, its outbox entry, and for a credit the money set aside.
///
/// # Errors
/// [`RequestError`]; then nothing was added.
pub fn request(
    t: &mut Transition,
    order: Order,
    purpose: Purpose,
    funded_by: Option<Account>,
    now: Timestamp,
) -> Result<(), RequestError> {
    let credit = order.direction == Direction::Credit;
    if credit != funded_by.is_some() {
        return Err(RequestError::Source);
    }
    if credit == order.mandate.is_some() {
        return Err(RequestError::Mandate);
    }
    if order.amount.is_zero() {
        return Err(RequestError::Nothing);
    }
    if order.remittance.chars().count() > REMITTANCE_MAX {
        return Err(RequestError::Remittance);
    }
    if let Some(source) = funded_by {
        t.post(source, Account::InFlight, order.amount);
    }
    t.emit(effect_of(order.id), SUBMIT_ORDER, now, cbor::encode(&order));
    let key = OrderRecord::key_of(order.id);
    let record = OrderRecord {
        order,
        purpose,
        state: OrderState::Requested,
        requested_at: now,
        source: funded_by,
        format: 1,
    };
    t.write(key, cbor::encode(&record));
    Ok(())
}

/// What has become of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The bank has taken it up; nothing has moved.
    Accepted,
    /// The money has moved.
    Booked,
    /// It will not move; an ISO 20022 code.
    Rejected(String),
    /// It moved and came back; an ISO 20022 code.
    Returned(String),
}

/// What an event does to an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderMove {
    /// The order as it is now.
    pub record: OrderRecord,
    /// What moves in the books; the caller may add more, and may post on what `PaidNotIssued` got.
    pub postings: Vec<Posting>,
    /// The outbox entry that is settled by this, if it was still there.
    pub settles: Option<EffectId>,
    /// What has become of it.
    pub outcome: Outcome,
}

/// What an event does to an order; nothing is applied yet.
///
/// # Errors
/// [`EventRefusal`], in its order: then it does nothing.
pub fn apply_event(record: &OrderRecord, event: &BankEvent) -> Result<OrderMove, EventRefusal> {
    let (id, happened, outcome) = match &event.what {
        BankNews::Credited { .. } => return Err(EventRefusal::OtherOrder),
        BankNews::Accepted(id) => (id, OrderEvent::Accepted, Outcome::Accepted),
        BankNews::Booked(id) => (id, OrderEvent::Booked, Outcome::Booked),
        BankNews::Rejected(id, why) => {
            (id, OrderEvent::Rejected(why.clone()), Outcome::Rejected(why.clone()))
        }
        BankNews::Returned(id, why) => {
            (id, OrderEvent::Returned(why.clone()), Outcome::Returned(why.clone()))
        }
    };
    if *id != record.order.id {
        return Err(EventRefusal::OtherOrder);
    }
    let waiting = record.state == OrderState::Requested;
    let state = record.state.clone().next(happened)?;
    let postings = moves(record, &outcome).map(|(debit, credit)| {
        vec![Posting::debit(debit, record.order.amount), Posting::credit(credit, record.order.amount)]
    });
    Ok(OrderMove {
        record: OrderRecord { state, ..record.clone() },
        postings: postings.unwrap_or_default(),
        settles: waiting.then(|| effect_of(record.order.id)),
        outcome,
    })
}

/// Which account is debited and which credited.
fn moves(record: &OrderRecord, outcome: &Outcome) -> Option<(Account, Account)> {
    // A credit always has a source; what lost it is settled by hand.
    let source = record.source.unwrap_or(Account::Suspense);
    match (record.order.direction, outcome) {
        (_, Outcome::Accepted) | (Direction::Debit, Outcome::Rejected(_)) => None,
        (Direction::Credit, Outcome::Booked) => Some((Account::InFlight, BANK)),
        (Direction::Credit, Outcome::Rejected(_)) => Some((Account::InFlight, source)),
        (Direction::Credit, Outcome::Returned(_)) => Some((BANK, source)),
        (Direction::Debit, Outcome::Booked) => Some((BANK, Account::PaidNotIssued)),
        (Direction::Debit, Outcome::Returned(_)) => Some((Account::Suspense, BANK)),
    }
}

impl OrderMove {
    /// What the order was for.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.record.purpose
    }

    /// Adds the order, the postings and the settled outbox entry to a transition.
    pub fn add_to(&self, t: &mut Transition) {
        t.write(OrderRecord::key_of(self.record.order.id), cbor::encode(&self.record));
        t.postings.extend(self.postings.iter().copied());
        t.effects.extend(self.settles.map(Effect::Done));
    }
}

/// Something that a person at the operator has to look at.
///
/// Shape: `[event, why]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct QueueItem {
    /// What the bank said.
    #[n(0)]
    pub event: BankEvent,
    /// Why it could not be settled.
    #[n(1)]
    pub why: QueueReason,
}

/// Why a bank event waits for a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum QueueReason {
    /// Money came in that nobody expected; it stands in suspense.
    #[n(0)]
    Unmatched,
    /// The order is not known here; nothing was posted.
    #[n(1)]
    UnknownOrder,
    /// It cannot follow what the bank said before; nothing was posted.
    #[n(2)]
    Contradiction,
}

impl QueueItem {
    /// The document of an event that waits.
    #[must_use]
    pub const fn key_of(event: &BankEvent) -> DocumentKey {
        DocumentKey::new(QUEUE, event.id)
    }

    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }
}

/// What makes an event count once.
#[must_use]
pub const fn event_once(event: &BankEvent) -> OnceKey {
    OnceKey { rail: RAIL_NUMBER, step: STEP_BANK_EVENT, party: PartyId::NONE, txid: event.id }
}

/// What to read before settling an event.
#[must_use]
pub fn event_needs(event: &BankEvent) -> Needs {
    let documents = order_of(event).map(OrderRecord::key_of).into_iter().collect();
    Needs { documents, once: vec![event_once(event)], ..Needs::default() }
}

/// The order that an event is about.
#[must_use]
pub const fn order_of(event: &BankEvent) -> Option<OrderId> {
    match &event.what {
        BankNews::Credited { .. } => None,
        BankNews::Accepted(id)
        | BankNews::Booked(id)
        | BankNews::Rejected(id, _)
        | BankNews::Returned(id, _) => Some(*id),
    }
}

/// What to commit for an event.
#[derive(Debug)]
pub struct Settled {
    /// The change, complete; the caller may add what the order's purpose asks for.
    pub transition: Transition,
    /// What has become of an order, if the event moved one.
    pub moved: Option<OrderMove>,
    /// Why a person has to look, if one has to.
    pub queued: Option<QueueReason>,
}

/// Settles an event of the bank: once, whatever it says. Nothing if it was settled before.
///
/// Money that comes in with exactly the remittance `capital_reference` is the operator's own; other money is suspense.
#[must_use]
pub fn settle(event: &BankEvent, facts: &Facts, capital_reference: Option<&str>) -> Option<Settled> {
    if facts.once.contains_key(&event_once(event)) {
        return None;
    }
    let cause = digest("florin/v1/parties/bank-event", &[&cbor::encode(event)]);
    let mut t = Transition::new(cause, facts.as_of);
    t.once.push(event_once(event));
    let (moved, queued) = match &event.what {
        BankNews::Credited { amount, remittance, .. } => {
            let own = capital_reference.is_some_and(|r| !r.is_empty() && r == remittance.trim());
            t.post(BANK, if own { Account::Capital } else { Account::Suspense }, *amount);
            (None, (!own).then_some(QueueReason::Unmatched))
        }
        BankNews::Accepted(id)
        | BankNews::Booked(id)
        | BankNews::Rejected(id, _)
        | BankNews::Returned(id, _) => {
            match facts.document(&OrderRecord::key_of(*id)).and_then(OrderRecord::read) {
                None => (None, Some(QueueReason::UnknownOrder)),
                Some(record) => match apply_event(&record, event) {
                    Ok(moved) => (Some(moved), None),
                    Err(EventRefusal::Stale) => (None, None),
                    Err(EventRefusal::Contradiction | EventRefusal::OtherOrder) => {
                        (None, Some(QueueReason::Contradiction))
                    }
                },
            }
        }
    };
    if let Some(moved) = &moved {
        moved.add_to(&mut t);
    }
    if let Some(why) = queued {
        let item = QueueItem { event: event.clone(), why };
        t.write(QueueItem::key_of(event), cbor::encode(&item));
    }
    Some(Settled { transition: t, moved, queued })
}

/// The event for a bank that takes an order up at once, in its answer: the same whenever it is made.
#[must_use]
pub fn accepted_now(id: OrderId, now: Timestamp) -> BankEvent {
    let event = digest("florin/v1/parties/accepted", &[id.bytes()]).short();
    BankEvent { id: event, at: now, what: BankNews::Accepted(id) }
}
