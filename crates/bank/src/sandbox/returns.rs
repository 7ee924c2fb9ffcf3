//! What the sandbox's admin does: set the delay, have orders rejected, return what was booked.
//! Source: bank.md, "Sandbox faults"; ISO 20022 return reasons such as MD06.

use florin_books::{Account, Needs, OnceKey, PartyId, TxId};
use florin_crypto::{Digest, digest};
use florin_parties::bank::{BankAccount, BankNews, Direction};
use florin_rail::Refusal;
use florin_rail::common::{BAD_REQUEST, FAULT};

use crate::messages::Done;
use crate::sandbox::documents::{
    EntryKind, OrderState, PlacedOrder, RejectRule, account_key, order_key, settings_key,
};
use crate::sandbox::draft::{Draft, Line, Sight, find};
use crate::sandbox::orders::{ask_peer, other_side};
use crate::sandbox::refusal::{ORDER_NOT_BOOKED, TOO_MANY_RULES};
use crate::sandbox::{Bank, DELAY_MS_MAX, Decided, Operation, Place, json, needs, once, reason};

const STEP_RETURN: u8 = 20;
const STEP_DELAY: u8 = 21;
const STEP_REJECT: u8 = 22;

/// Rules that the settings hold.
const RULES_MAX: usize = 64;

/// Returns a booked order.
pub struct Return {
    /// The request.
    pub txid: TxId,
    /// The order, as it was when it was looked up.
    pub placed: PlacedOrder,
    /// ISO 20022 reason.
    pub reason: String,
}

impl Return {
    fn once(&self) -> OnceKey {
        once(STEP_RETURN, PartyId::NONE, self.txid.bytes())
    }
}

impl Operation for Return {
    fn cause(&self) -> Digest {
        let parts: [&[u8]; 3] = [self.txid.bytes(), self.placed.order.id.bytes(), self.reason.as_bytes()];
        digest("florin/v1/bank/return", &parts)
    }

    fn needs(&self, _: &Bank) -> Needs {
        let p = &self.placed;
        let documents =
            vec![account_key(&p.submitter), account_key(&p.order.account), order_key(&p.order.id)];
        needs(documents, vec![self.once()])
    }

    /// Money that is taken back may leave an account below zero: then its holder owes the bank.
    fn decide(&self, bank: &Bank, sight: Sight<'_>) -> Result<Decided, Refusal> {
        reason(&self.reason)?;
        let mut draft = Draft::new(bank, sight, self.cause())?;
        let placed: PlacedOrder = find(sight.facts, &order_key(&self.placed.order.id))?.ok_or(FAULT)?;
        let order = &placed.order;
        let OrderState::Booked(booked_at) = placed.state else { return Err(ORDER_NOT_BOOKED) };
        match bank.place_of(&order.account) {
            Place::Peer(peer) => {
                ask_peer(&mut draft, &placed, peer, Some((&self.reason, self.txid)))?;
                draft.place(&placed, OrderState::Returning(booked_at, self.reason.clone()));
            }
            Place::Here | Place::Unknown => {
                return_here(&mut draft, &placed, &self.reason)?;
            }
        }
        draft.t.once.push(self.once());
        draft.t.seed = json(&Done { done: true })?;
        Ok(Decided::Apply(Box::new(draft.finish())))
    }
}

/// Moves the money back between two customers of this bank; each line stands right after its own posting, so that the
/// balances on it add up even where both are one account.
fn return_here(draft: &mut Draft<'_>, placed: &PlacedOrder, reason: &str) -> Result<(), Refusal> {
    let order = &placed.order;
    let other_name = draft.known(&order.account)?.holder.clone();
    let own_name = draft.known(&placed.submitter)?.holder.clone();
    let line = other_side(placed, own_name, Some(reason.to_owned()));
    match order.direction {
        Direction::Credit => {
            draft.take_out(&order.account, order.amount, Account::InFlight);
            draft.enter(&order.account, line);
            draft.pay_in(&placed.submitter, order.amount, Account::InFlight);
            returned(draft, placed, reason, other_name);
        }
        Direction::Debit => {
            draft.take_out(&placed.submitter, order.amount, Account::InFlight);
            returned(draft, placed, reason, other_name);
            draft.pay_in(&order.account, order.amount, Account::InFlight);
            draft.enter(&order.account, line);
        }
    }
    Ok(())
}

/// The submitter's side of a return: state, statement, news.
pub(crate) fn returned(draft: &mut Draft<'_>, placed: &PlacedOrder, reason: &str, other_name: String) {
    let order = &placed.order;
    draft.place(placed, OrderState::Returned(reason.to_owned()));
    let line = Line {
        kind: EntryKind::Return,
        direction: order.direction,
        amount: order.amount,
        other: Some(order.account.clone()),
        other_name,
        remittance: order.remittance.clone(),
        order: Some(order.id),
        reason: Some(reason.to_owned()),
    };
    draft.enter(&placed.submitter, line);
    draft.tell(&placed.submitter, BankNews::Returned(order.id, reason.to_owned()));
}

/// Sets the booking delay for orders from now on.
pub struct Delay {
    /// The request.
    pub txid: TxId,
    /// At most [`DELAY_MS_MAX`].
    pub delay_ms: u64,
}

impl Operation for Delay {
    fn cause(&self) -> Digest {
        digest("florin/v1/bank/delay", &[self.txid.bytes(), &self.delay_ms.to_be_bytes()])
    }

    fn needs(&self, _: &Bank) -> Needs {
        needs(vec![settings_key()], vec![once(STEP_DELAY, PartyId::NONE, self.txid.bytes())])
    }

    fn decide(&self, bank: &Bank, sight: Sight<'_>) -> Result<Decided, Refusal> {
        if self.delay_ms > DELAY_MS_MAX {
            return Err(BAD_REQUEST.with_detail("a delay is at most ten days"));
        }
        let mut draft = Draft::new(bank, sight, self.cause())?;
        draft.settings_mut().delay_ms = Some(self.delay_ms);
        draft.t.once.push(once(STEP_DELAY, PartyId::NONE, self.txid.bytes()));
        draft.t.seed = json(&Done { done: true })?;
        Ok(Decided::Apply(Box::new(draft.finish())))
    }
}

/// Has the next orders rejected.
pub struct Reject {
    /// The request.
    pub txid: TxId,
    /// Orders that touch this account; any if there is none.
    pub account: Option<BankAccount>,
    /// ISO 20022 reason.
    pub reason: String,
    /// How many; 0 takes earlier rules of the same account back.
    pub times: u32,
}

impl Operation for Reject {
    fn cause(&self) -> Digest {
        let account = self.account.as_ref().map(BankAccount::iban).unwrap_or_default().as_bytes();
        let parts: [&[u8]; 4] =
            [self.txid.bytes(), account, self.reason.as_bytes(), &self.times.to_be_bytes()];
        digest("florin/v1/bank/reject", &parts)
    }

    fn needs(&self, _: &Bank) -> Needs {
        needs(vec![settings_key()], vec![once(STEP_REJECT, PartyId::NONE, self.txid.bytes())])
    }

    fn decide(&self, bank: &Bank, sight: Sight<'_>) -> Result<Decided, Refusal> {
        reason(&self.reason)?;
        let mut draft = Draft::new(bank, sight, self.cause())?;
        let rules = &mut draft.settings_mut().rules;
        if self.times == 0 {
            rules.retain(|rule| rule.account != self.account);
        } else if rules.len() >= RULES_MAX {
            return Err(TOO_MANY_RULES);
        } else {
            let rule =
                RejectRule { account: self.account.clone(), reason: self.reason.clone(), left: self.times };
            rules.push(rule);
        }
        draft.t.once.push(once(STEP_REJECT, PartyId::NONE, self.txid.bytes()));
        draft.t.seed = json(&Done { done: true })?;
        Ok(Decided::Apply(Box::new(draft.finish())))
    }
}
