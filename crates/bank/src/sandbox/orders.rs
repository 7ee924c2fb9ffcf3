//! Orders of an operator: taken up, booked when due, rejected, settled with the other bank.
//! Source: bank.md, "Payout states"; ISO 20022 reason codes.

use florin_books::{Account, EffectId, Needs, TxId};
use florin_crypto::{Digest, cbor, digest};
use florin_parties::bank::{BankAccount, BankNews, Direction, Order};
use florin_rail::Refusal;
use florin_rail::common::FAULT;

use crate::access::Access;
use crate::iban::BankCode;
use crate::messages::{InterbankOutcome, OrderTaken, OrdersTaken};
use crate::sandbox::documents::{
    AccountState, BOOK, EntryKind, OrderState, Origin, PlacedOrder, SEND, account_key, order_key,
    settings_key,
};
use crate::sandbox::draft::{Draft, Line, Sight, find};
use crate::sandbox::interbank::Letter;
use crate::sandbox::refusal::{
    AC01, AC03, AC04, ACCOUNT_CLOSED, AM04, MD01, ORDER_ID_REUSED, RC01, TOO_MANY_ORDERS,
};
use crate::sandbox::{
    Bank, Decided, MANDATE_CHARS_MAX, ORDERS_MAX, Operation, Place, REMITTANCE_CHARS_MAX, json, needs,
    returns, text,
};

/// Orders of one operator, taken up together or not at all.
pub struct Submit {
    /// The operator's account.
    pub account: BankAccount,
    /// The secret that opens it.
    pub access: Access,
    /// At most [`ORDERS_MAX`].
    pub orders: Vec<Order>,
}

impl Operation for Submit {
    fn cause(&self) -> Digest {
        digest("florin/v1/bank/submit", &[self.account.iban().as_bytes(), &cbor::encode(&self.orders)])
    }

    fn needs(&self, _: &Bank) -> Needs {
        let mut documents = vec![account_key(&self.account), settings_key()];
        documents.extend(self.orders.iter().take(ORDERS_MAX).map(|o| order_key(&o.id)));
        needs(documents, Vec::new())
    }

    fn authorise(&self, bank: &Bank, sight: Sight<'_>) -> Result<(), Refusal> {
        Draft::new(bank, sight, self.cause())?.authorise(&self.account, &self.access).map(|_| ())
    }

    /// Orders that are known already keep the receipt they had; the order's document is what makes it count once.
    fn decide(&self, bank: &Bank, sight: Sight<'_>) -> Result<Decided, Refusal> {
        if self.orders.len() > ORDERS_MAX {
            return Err(TOO_MANY_ORDERS);
        }
        let mut draft = Draft::new(bank, sight, self.cause())?;
        let mut taken = OrdersTaken { orders: Vec::with_capacity(self.orders.len()) };
        let mut new: Vec<&Order> = Vec::new();
        for order in &self.orders {
            let placed: Option<PlacedOrder> = find(sight.facts, &order_key(&order.id))?;
            let twin = new.iter().find(|o| o.id == order.id);
            let received_at = match (placed, twin) {
                (Some(p), _) if p.order == *order && p.submitter == self.account => p.received_at,
                (None, Some(twin)) if *twin == order => sight.now,
                (Some(_), _) | (None, Some(_)) => {
                    return Err(ORDER_ID_REUSED.with_detail(order.id.to_string()));
                }
                (None, None) => {
                    self.check(bank, order)?;
                    new.push(order);
                    sight.now
                }
            };
            taken.orders.push(OrderTaken { id: order.id.to_string(), received_at_unix_ms: received_at.0 });
        }
        let reply = json(&taken)?;
        if new.is_empty() {
            return Ok(Decided::Nothing(reply));
        }
        if draft.known(&self.account)?.state == AccountState::Closed {
            return Err(ACCOUNT_CLOSED);
        }
        for order in new {
            self.take_up(&mut draft, order);
        }
        draft.t.seed = reply;
        Ok(Decided::Apply(Box::new(draft.finish())))
    }
}

impl Submit {
    fn check(&self, bank: &Bank, order: &Order) -> Result<(), Refusal> {
        bank.amount(order.amount)?;
        text(&order.remittance, REMITTANCE_CHARS_MAX)?;
        order.mandate.as_ref().map_or(Ok(()), |m| text(&m.id, MANDATE_CHARS_MAX))
    }

    /// A credit needs its money from now on; a debit is looked at when it is booked.
    fn take_up(&self, draft: &mut Draft<'_>, order: &Order) {
        let now = draft.sight.now;
        let placed = PlacedOrder {
            order: order.clone(),
            submitter: self.account.clone(),
            origin: Origin::Operator,
            received_at: now,
            state: OrderState::Accepted(now),
        };
        if order.direction == Direction::Credit {
            if !draft.covers(&self.account, order.amount) {
                draft.place(&placed, OrderState::Rejected(AM04.to_owned()));
                draft.tell(&self.account, BankNews::Rejected(order.id, AM04.to_owned()));
                return;
            }
            draft.hold(&self.account, order.amount);
        }
        let due = now.plus_ms(draft.settings().delay_ms.unwrap_or(draft.bank.delay_ms));
        draft.place(&placed, OrderState::Accepted(due));
        draft.t.emit(EffectId::new(*order.id.bytes()), BOOK, due, Vec::new());
        draft.tell(&self.account, BankNews::Accepted(order.id));
    }
}

/// An order is due: it is booked, rejected, or put to the other bank.
pub struct Book {
    /// The timer; its bytes are the order's id.
    pub timer: EffectId,
    /// The order, as it was when the timer was seen.
    pub placed: PlacedOrder,
}

impl Operation for Book {
    fn cause(&self) -> Digest {
        digest("florin/v1/bank/book", &[self.timer.bytes()])
    }

    fn needs(&self, _: &Bank) -> Needs {
        let p = &self.placed;
        let accounts = [account_key(&p.submitter), account_key(&p.order.account)];
        needs([&accounts[..], &[order_key(&p.order.id), settings_key()]].concat(), Vec::new())
    }

    fn decide(&self, bank: &Bank, sight: Sight<'_>) -> Result<Decided, Refusal> {
        let mut draft = Draft::new(bank, sight, self.cause())?;
        draft.done(self.timer);
        let placed: PlacedOrder = find(sight.facts, &order_key(&self.placed.order.id))?.ok_or(FAULT)?;
        let order = &placed.order;
        if !matches!(placed.state, OrderState::Accepted(_)) {
            return Err(FAULT.with_detail("a timer of an order that is not waiting"));
        }
        let ruled = draft.ruled_out(&[&placed.submitter, &order.account]);
        let refused = match (ruled, order.direction, bank.place_of(&order.account)) {
            (Some(reason), _, _) => Some(reason),
            (None, Direction::Debit, _) if order.mandate.is_none() => Some(MD01.to_owned()),
            (None, _, Place::Unknown) => Some(RC01.to_owned()),
            (None, _, Place::Peer(peer)) => {
                ask_peer(&mut draft, &placed, peer, None)?;
                draft.place(&placed, OrderState::Sent);
                None
            }
            (None, Direction::Credit, Place::Here) => match why_not_credit(&draft, &order.account) {
                Some(reason) => Some(reason.to_owned()),
                None => book_credit_here(&mut draft, &placed).map(|()| None)?,
            },
            (None, Direction::Debit, Place::Here) => match why_not_debit(&draft, order) {
                Some(reason) => Some(reason.to_owned()),
                None => book_debit_here(&mut draft, &placed).map(|()| None)?,
            },
        };
        if let Some(reason) = refused {
            reject(&mut draft, &placed, &reason);
        }
        Ok(Decided::Apply(Box::new(draft.finish())))
    }
}

/// The other bank has answered.
pub struct Settle {
    /// The message that it answered.
    pub effect: EffectId,
    /// The order that the message was about.
    pub placed: PlacedOrder,
    /// The other bank.
    pub peer: BankCode,
    /// Its answer.
    pub outcome: InterbankOutcome,
}

impl Operation for Settle {
    fn cause(&self) -> Digest {
        digest("florin/v1/bank/settle", &[self.effect.bytes()])
    }

    fn needs(&self, _: &Bank) -> Needs {
        let p = &self.placed;
        needs(vec![account_key(&p.submitter), order_key(&p.order.id)], Vec::new())
    }

    fn decide(&self, bank: &Bank, sight: Sight<'_>) -> Result<Decided, Refusal> {
        let mut draft = Draft::new(bank, sight, self.cause())?;
        draft.done(self.effect);
        let placed: PlacedOrder = find(sight.facts, &order_key(&self.placed.order.id))?.ok_or(FAULT)?;
        let order = &placed.order;
        let clearing = self.peer.clearing();
        match (&placed.state, &self.outcome) {
            (OrderState::Sent, InterbankOutcome::Rejected { reason }) => reject(&mut draft, &placed, reason),
            (OrderState::Sent, InterbankOutcome::Booked) => {
                match order.direction {
                    Direction::Credit => draft.spend_held(&placed.submitter, order.amount, clearing),
                    Direction::Debit => draft.pay_in(&placed.submitter, order.amount, clearing),
                }
                booked(&mut draft, &placed, String::new());
            }
            (OrderState::Returning(booked_at, _), InterbankOutcome::Rejected { .. }) => {
                draft.place(&placed, OrderState::Booked(*booked_at));
            }
            (OrderState::Returning(_, reason), InterbankOutcome::Booked) => {
                match order.direction {
                    Direction::Credit => draft.pay_in(&placed.submitter, order.amount, clearing),
                    Direction::Debit => draft.take_out(&placed.submitter, order.amount, clearing),
                }
                returns::returned(&mut draft, &placed, reason, String::new());
            }
            (
                OrderState::Accepted(_)
                | OrderState::Booked(_)
                | OrderState::Rejected(_)
                | OrderState::Returned(_),
                _,
            ) => return Err(FAULT.with_detail("an answer about an order that asked nothing")),
        }
        Ok(Decided::Apply(Box::new(draft.finish())))
    }
}

/// Puts the message to the other bank into the outbox; a reason, with the request that gave it, makes it a return.
pub(crate) fn ask_peer(
    draft: &mut Draft<'_>,
    placed: &PlacedOrder,
    peer: BankCode,
    returning: Option<(&str, TxId)>,
) -> Result<(), Refusal> {
    let order = &placed.order;
    // A return that the other bank refused may be asked for again: then it is another message.
    let txid = returning.map_or(TxId::NONE, |(_, txid)| txid);
    let id = digest("florin/v1/bank/letter", &[order.id.bytes(), txid.bytes()]).short();
    let letter = Letter {
        order: order.id,
        peer: peer.to_string(),
        direction: if returning.is_some() { opposite(order.direction) } else { order.direction },
        other_name: draft.known(&placed.submitter)?.holder.clone(),
        return_reason: returning.map(|(reason, _)| reason.to_owned()),
    };
    draft.t.emit(EffectId::new(id), SEND, draft.sight.now, cbor::encode(&letter));
    Ok(())
}

/// Why a customer of this bank cannot be paid.
pub(crate) fn why_not_credit(draft: &Draft<'_>, payee: &BankAccount) -> Option<&'static str> {
    match draft.account(payee).map(|a| a.state) {
        None => Some(AC03),
        Some(AccountState::Closed) => Some(AC04),
        Some(AccountState::Open) => None,
    }
}

/// Why this cannot be collected from a customer of this bank.
pub(crate) fn why_not_debit(draft: &Draft<'_>, order: &Order) -> Option<&'static str> {
    match draft.account(&order.account) {
        None => Some(AC01),
        Some(payer) if payer.state == AccountState::Closed => Some(AC04),
        Some(payer) if payer.debits_blocked => Some(MD01),
        Some(_) if !draft.covers(&order.account, order.amount) => Some(AM04),
        Some(_) => None,
    }
}

/// Books what was set aside to a payee of this bank.
pub(crate) fn book_credit_here(draft: &mut Draft<'_>, placed: &PlacedOrder) -> Result<(), Refusal> {
    let order = &placed.order;
    let payee = draft.known(&order.account)?.holder.clone();
    let payer = draft.known(&placed.submitter)?.holder.clone();
    draft.spend_held(&placed.submitter, order.amount, Account::InFlight);
    booked(draft, placed, payee);
    draft.pay_in(&order.account, order.amount, Account::InFlight);
    draft.enter(&order.account, other_side(placed, payer, None));
    let (payer, remittance) = (placed.submitter.clone(), order.remittance.clone());
    draft.tell(&order.account, BankNews::Credited { amount: order.amount, payer, remittance });
    Ok(())
}

fn book_debit_here(draft: &mut Draft<'_>, placed: &PlacedOrder) -> Result<(), Refusal> {
    let order = &placed.order;
    let payer = draft.known(&order.account)?.holder.clone();
    let payee = draft.known(&placed.submitter)?.holder.clone();
    draft.take_out(&order.account, order.amount, Account::InFlight);
    draft.enter(&order.account, other_side(placed, payee, None));
    draft.pay_in(&placed.submitter, order.amount, Account::InFlight);
    booked(draft, placed, payer);
    Ok(())
}

/// The submitter's side of a booking: state, statement, news.
fn booked(draft: &mut Draft<'_>, placed: &PlacedOrder, other_name: String) {
    let order = &placed.order;
    draft.place(placed, OrderState::Booked(draft.sight.now));
    let line = Line {
        kind: kind(order),
        direction: opposite(order.direction),
        amount: order.amount,
        other: Some(order.account.clone()),
        other_name,
        remittance: order.remittance.clone(),
        order: Some(order.id),
        reason: None,
    };
    draft.enter(&placed.submitter, line);
    if placed.origin == Origin::Operator {
        draft.tell(&placed.submitter, BankNews::Booked(order.id));
    }
}

/// The order will not be booked; what was set aside is the submitter's again.
fn reject(draft: &mut Draft<'_>, placed: &PlacedOrder, reason: &str) {
    let order = &placed.order;
    draft.place(placed, OrderState::Rejected(reason.to_owned()));
    if order.direction == Direction::Credit {
        draft.unhold(&placed.submitter, order.amount);
    }
    draft.tell(&placed.submitter, BankNews::Rejected(order.id, reason.to_owned()));
}

/// The line on the statement of the account that the order names.
pub(crate) fn other_side(placed: &PlacedOrder, submitter_name: String, reason: Option<String>) -> Line {
    let order = &placed.order;
    Line {
        kind: if reason.is_some() { EntryKind::Return } else { kind(order) },
        direction: if reason.is_some() { opposite(order.direction) } else { order.direction },
        amount: order.amount,
        other: Some(placed.submitter.clone()),
        other_name: submitter_name,
        remittance: order.remittance.clone(),
        order: None,
        reason,
    }
}

const fn kind(order: &Order) -> EntryKind {
    match order.direction {
        Direction::Credit => EntryKind::Transfer,
        Direction::Debit => EntryKind::DirectDebit,
    }
}

pub(crate) const fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Credit => Direction::Debit,
        Direction::Debit => Direction::Credit,
    }
}
