//! Payments between the sandbox banks: what the one asks, and what the other does. Each keeps a clearing account with
//! the other, so that the books of both sum to zero. Source: bank.md; G6 (exactly once).

use florin_books::{Needs, OnceKey, PartyId, TxId};
use florin_crypto::{Digest, digest};
use florin_money::Amount;
use florin_parties::bank::{BankAccount, BankNews, Direction, Order, OrderId};
use florin_rail::Refusal;
use minicbor::{Decode, Encode};

use crate::iban::BankCode;
use crate::messages::InterbankOutcome;
use crate::sandbox::documents::{EntryKind, account_key, settings_key};
use crate::sandbox::draft::{Draft, Line, Sight};
use crate::sandbox::orders::{why_not_credit, why_not_debit};
use crate::sandbox::refusal::{AC01, AC03};
use crate::sandbox::{
    Bank, Decided, NAME_CHARS_MAX, Operation, Place, REMITTANCE_CHARS_MAX, json, needs, once, reason, text,
};

const STEP_INTERBANK: u8 = 10;

/// What waits in the outbox for another bank.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Letter {
    /// The order that it is about.
    #[n(0)]
    pub order: OrderId,
    /// The other bank's code.
    #[n(1)]
    pub peer: String,
    /// Credit: the other bank pays its customer.
    #[n(2)]
    pub direction: Direction,
    /// The submitter's name.
    #[n(3)]
    pub other_name: String,
    /// Undoes what was booked.
    #[n(4)]
    pub return_reason: Option<String>,
}

/// A payment that another bank asks for.
pub struct Receive {
    /// The request; unique for the asking bank.
    pub txid: TxId,
    /// The asking bank, authenticated.
    pub from: BankCode,
    /// Which way.
    pub direction: Direction,
    /// This bank's customer.
    pub account: BankAccount,
    /// How much.
    pub amount: Amount,
    /// The other bank's customer.
    pub other: BankAccount,
    /// And the name.
    pub other_name: String,
    /// What was written with it.
    pub remittance: String,
    /// Undoes an earlier payment.
    pub return_reason: Option<String>,
}

impl Receive {
    fn once(&self) -> OnceKey {
        let bank = digest("florin/v1/bank/peer", &[self.from.to_string().as_bytes()]).short();
        once(STEP_INTERBANK, PartyId::new(bank), self.txid.bytes())
    }

    /// Why this bank will never do it.
    fn why_not(&self, draft: &mut Draft<'_>) -> Option<String> {
        if draft.bank.place_of(&self.account) != Place::Here || draft.account(&self.account).is_none() {
            let code = if self.direction == Direction::Credit { AC03 } else { AC01 };
            return Some(code.to_owned());
        }
        if self.return_reason.is_some() {
            return None;
        }
        draft.ruled_out_by_name(&self.account).or_else(|| {
            let why = match self.direction {
                Direction::Credit => why_not_credit(draft, &self.account),
                Direction::Debit => why_not_debit(draft, &self.as_order()),
            };
            why.map(str::to_owned)
        })
    }

    fn as_order(&self) -> Order {
        Order {
            id: OrderId::new(*self.txid.bytes()),
            direction: self.direction,
            account: self.account.clone(),
            amount: self.amount,
            remittance: self.remittance.clone(),
            mandate: None,
        }
    }

    fn book(&self, draft: &mut Draft<'_>) {
        let (account, amount, clearing) = (&self.account, self.amount, self.from.clearing());
        let kind = match (&self.return_reason, self.direction) {
            (Some(_), _) => EntryKind::Return,
            (None, Direction::Credit) => EntryKind::Transfer,
            (None, Direction::Debit) => EntryKind::DirectDebit,
        };
        match self.direction {
            Direction::Credit => draft.pay_in(account, amount, clearing),
            Direction::Debit => draft.take_out(account, amount, clearing),
        }
        let line = Line {
            kind,
            direction: self.direction,
            amount,
            other: Some(self.other.clone()),
            other_name: self.other_name.clone(),
            remittance: self.remittance.clone(),
            order: None,
            reason: self.return_reason.clone(),
        };
        draft.enter(account, line);
        if kind == EntryKind::Transfer {
            let (payer, remittance) = (self.other.clone(), self.remittance.clone());
            draft.tell(account, BankNews::Credited { amount, payer, remittance });
        }
    }
}

impl Operation for Receive {
    fn cause(&self) -> Digest {
        let amount = self.amount.to_string();
        let direction = [u8::from(self.direction == Direction::Debit)];
        let from = self.from.to_string();
        let parts: [&[u8]; 9] = [
            self.txid.bytes(),
            from.as_bytes(),
            &direction,
            self.account.iban().as_bytes(),
            amount.as_bytes(),
            self.other.iban().as_bytes(),
            self.other_name.as_bytes(),
            self.remittance.as_bytes(),
            self.return_reason.as_deref().unwrap_or_default().as_bytes(),
        ];
        digest("florin/v1/bank/interbank", &parts)
    }

    fn needs(&self, _: &Bank) -> Needs {
        needs(vec![account_key(&self.account), settings_key()], vec![self.once()])
    }

    /// A rejection is recorded as well: the same message that arrives late must not be booked after all.
    fn decide(&self, bank: &Bank, sight: Sight<'_>) -> Result<Decided, Refusal> {
        bank.amount(self.amount)?;
        text(&self.other_name, NAME_CHARS_MAX)?;
        text(&self.remittance, REMITTANCE_CHARS_MAX)?;
        self.return_reason.as_deref().map_or(Ok(()), reason)?;
        let mut draft = Draft::new(bank, sight, self.cause())?;
        let outcome = match self.why_not(&mut draft) {
            Some(reason) => InterbankOutcome::Rejected { reason },
            None => {
                self.book(&mut draft);
                InterbankOutcome::Booked
            }
        };
        draft.t.once.push(self.once());
        draft.t.seed = json(&outcome)?;
        Ok(Decided::Apply(Box::new(draft.finish())))
    }
}
