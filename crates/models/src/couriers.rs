//! What the operator does by itself: carries effects from one lane into the other, at least once, and takes in the bank's
//! word. The transitions are the real ones. Source: ARCHITECTURE.md, "The two lanes of the operator".

use florin_books::{Effect, LaneId, Needs, Outgoing, Transition};
use florin_coin::issuer::{HandOver, HandOverDue, Purchase, bank_outcome, hand_over};
use florin_coin::kinds::{HAND_OVER, RAIL_NUMBER, STEP_WREQUEST3};
use florin_crypto::{SeededEntropy, cbor, digest};
use florin_parties::bank::{BankEvent, BankNews, Order, OrderId};
use florin_parties::kinds::{COPY_PARTICIPANT, SUBMIT_ORDER};
use florin_parties::participant::copy;
use florin_parties::treasury::{OrderRecord, OrderState, event_once, settle};

use crate::fault::Fault;
use crate::operator::{BOOKS, IDENTITY, Ledgers, Operator, START};

/// What waits in the identity lane for the books lane.
#[must_use]
pub fn waiting(ledgers: &Ledgers) -> Vec<Outgoing> {
    let out = ledgers.identity.lane().outbox();
    out.filter(|o| o.kind == HAND_OVER || o.kind == COPY_PARTICIPANT).cloned().collect()
}

/// The orders on which the bank has not spoken yet.
#[must_use]
pub fn orders(ledgers: &Ledgers) -> Vec<Order> {
    let waits = ledgers.identity.lane().outbox().filter(|o| o.kind == SUBMIT_ORDER);
    let order = |o: &Outgoing| cbor::decode_strict::<Order>(&o.body).ok();
    let open = |order: &Order| {
        let document = ledgers.identity.documents().get(&OrderRecord::key_of(order.id));
        document.and_then(|d| OrderRecord::read(&d.value)).is_some_and(|r| r.state == OrderState::Requested)
    };
    waits.filter_map(order).filter(open).collect()
}

/// What a purchase's claim becomes in the books lane.
fn handing(operator: &Operator, ledgers: &Ledgers, o: &Outgoing) -> Result<HandOver, Fault> {
    let due = HandOverDue::read(o).ok_or(Fault::Absent("what is handed over"))?;
    let facts = ledgers.identity.facts(&due.needs());
    due.open(&facts, &**operator.issuer.claim_keys()).ok_or(Fault::Absent("the claim of a purchase"))
}

fn needs(operator: &Operator, ledgers: &Ledgers, o: &Outgoing) -> Result<Needs, Fault> {
    match o.kind {
        HAND_OVER => Ok(handing(operator, ledgers, o)?.needs()),
        _ => copy::needs(o).ok_or(Fault::Absent("a participant in its copy")),
    }
}

/// Whether it has arrived in the books lane already.
///
/// # Errors
/// What is carried cannot be read.
pub fn has_arrived(operator: &Operator, ledgers: &Ledgers, o: &Outgoing) -> Result<bool, Fault> {
    Ok(!ledgers.books.facts(&needs(operator, ledgers, o)?).once.is_empty())
}

/// Carries an effect into the books lane; nothing if it has arrived before.
///
/// # Errors
/// What is carried cannot be read, or the lane refuses it.
pub fn deliver(operator: &Operator, ledgers: &mut Ledgers, o: &Outgoing) -> Result<(), Fault> {
    let facts = ledgers.books.facts(&needs(operator, ledgers, o)?);
    if !facts.once.is_empty() {
        return Ok(());
    }
    let t = if o.kind == HAND_OVER {
        let hand = handing(operator, ledgers, o)?;
        let collected = !ledgers.books.facts(&hand.collected()).once.is_empty();
        Some(hand_over(&hand, &facts, collected, IDENTITY))
    } else {
        copy::decide(o, &facts)
    };
    t.map_or(Ok(()), |t| act(ledgers, BOOKS, t))
}

/// Takes an effect that was carried from the outbox.
///
/// # Errors
/// The lane refuses it.
pub fn done(ledgers: &mut Ledgers, o: &Outgoing) -> Result<(), Fault> {
    let cause = digest("florin/models/done", &[o.id.bytes()]);
    let mut t = Transition::new(cause, ledgers.identity.lane().seq());
    t.effects.push(Effect::Done(o.id));
    if let Some(due) = HandOverDue::read(o).filter(|_| o.kind == HAND_OVER) {
        due.handed_over(&mut t, due.refused.is_none(), BOOKS);
    }
    act(ledgers, IDENTITY, t)
}

/// The bank's word about an order, as the operator takes it in; nothing if it was taken in before.
///
/// # Errors
/// The lane refuses it, or it is about nothing.
pub fn bank(ledgers: &mut Ledgers, order: OrderId, booked: bool) -> Result<(), Fault> {
    let what = if booked { BankNews::Booked(order) } else { BankNews::Rejected(order, "AM04".into()) };
    let id = digest("florin/models/bank", &[order.bytes()]).short();
    let event = BankEvent { id, at: START, what };
    let mut facts = ledgers.identity.facts(&Needs { once: vec![event_once(&event)], ..Needs::default() });
    facts.documents = ledgers.identity.documents().clone();
    let Some(settled) = settle(&event, &facts, None) else { return Ok(()) };
    let mut t = settled.transition;
    if let Some(moved) = &settled.moved {
        let p = moved.purpose();
        // The effect's id is a function of the order: a checker that goes back finds the same.
        let mut entropy = SeededEntropy::new(order.bytes());
        let is_purchase = p.rail == RAIL_NUMBER && p.step == STEP_WREQUEST3;
        if is_purchase && !bank_outcome(&mut t, moved, &facts, BOOKS, START, &mut entropy) {
            return Err(Fault::Absent("the purchase of an order"));
        }
    }
    act(ledgers, IDENTITY, t)
}

/// The purchase of an order.
#[must_use]
pub fn purchase_of(ledgers: &Ledgers, order: OrderId) -> Option<Purchase> {
    let mut all = ledgers.identity.documents().values().filter_map(|d| Purchase::read(&d.value));
    all.find(|p| p.order == order)
}

fn act(ledgers: &mut Ledgers, lane: LaneId, mut t: Transition) -> Result<(), Fault> {
    let shelf = ledgers.shelf_mut(lane);
    t.as_of = shelf.lane().seq();
    shelf.apply(t, START).map(drop).map_err(|_| Fault::Books("an effect"))
}
