//! What a customer does with an account: open, pay in, transfer, block debits, close. Source: bank.md.

use florin_books::{Account, DocumentKey, Needs, OnceKey, PartyId, TxId};
use florin_crypto::{Digest, digest};
use florin_money::Amount;
use florin_parties::bank::{BankAccount, BankNews, Direction, Order, OrderId};
use florin_rail::common::{FAULT, OVERLOADED};
use florin_rail::{Refusal, cause};

use crate::access::Access;
use crate::iban::AccountNumber;
use crate::messages::{AccountView, TransferTaken, balance_text};
use crate::sandbox::documents::{
    AccountState, CustomerAccount, EntryKind, OrderState, Origin, PlacedOrder, account_key, party_of,
};
use crate::sandbox::draft::{Draft, Line, Sight};
use crate::sandbox::refusal::{
    ACCOUNT_CLOSED, ACCOUNT_NOT_EMPTY, ACCOUNT_NUMBER_TAKEN, ACCOUNT_UNKNOWN, BANK_UNKNOWN,
    INSUFFICIENT_FUNDS,
};
use crate::sandbox::{
    Bank, Decided, NAME_CHARS_MAX, Operation, Place, REMITTANCE_CHARS_MAX, json, needs, once, orders, text,
};

/// Drawn numbers that are tried before the asker is told to come back.
const NUMBERS_TRIED: u8 = 8;

/// Steps in once keys.
mod step {
    pub(super) const OPEN: u8 = 1;
    pub(super) const DEPOSIT: u8 = 2;
    pub(super) const TRANSFER: u8 = 3;
    pub(super) const BLOCK: u8 = 4;
    pub(super) const CLOSE: u8 = 5;
}

/// Opens an account.
pub struct Open {
    /// The request.
    pub txid: TxId,
    /// Whose account it will be.
    pub holder: String,
    /// A chosen number.
    pub number: Option<AccountNumber>,
}

impl Open {
    fn once(&self) -> OnceKey {
        once(step::OPEN, PartyId::NONE, self.txid.bytes())
    }

    /// The chosen account, or the ones that are tried in turn.
    fn candidates(&self, bank: &Bank) -> Vec<BankAccount> {
        let drawn = |n: u8| {
            let Digest(bytes) = digest("florin/v1/bank/number", &[self.txid.bytes(), &[n]]);
            let (first, _) = bytes.split_first_chunk::<8>()?;
            bank.code.account(AccountNumber::from_random(*first))
        };
        match self.number {
            Some(number) => bank.code.account(number).into_iter().collect(),
            None => (0..NUMBERS_TRIED).filter_map(drawn).collect(),
        }
    }
}

impl Operation for Open {
    fn cause(&self) -> Digest {
        let number = self.number.map(|n| n.to_string()).unwrap_or_default();
        digest("florin/v1/bank/open", &[self.txid.bytes(), self.holder.as_bytes(), number.as_bytes()])
    }

    fn needs(&self, bank: &Bank) -> Needs {
        needs(self.candidates(bank).iter().map(account_key).collect(), vec![self.once()])
    }

    fn decide(&self, bank: &Bank, sight: Sight<'_>) -> Result<Decided, Refusal> {
        text(&self.holder, NAME_CHARS_MAX)?;
        let free =
            self.candidates(bank).into_iter().find(|c| sight.facts.document(&account_key(c)).is_none());
        let taken = if self.number.is_some() { ACCOUNT_NUMBER_TAKEN } else { OVERLOADED.after(1) };
        let iban = free.ok_or(taken)?;
        let mut draft = Draft::new(bank, sight, self.cause())?;
        draft.t.once.push(self.once());
        draft.t.seed = json(&iban.iban())?;
        draft.put(CustomerAccount {
            access: Access::of_account(&bank.key, self.txid.bytes(), iban.iban()).digest(),
            iban,
            holder: self.holder.clone(),
            state: AccountState::Open,
            debits_blocked: false,
            opened: sight.now,
            held: 0,
            entries: 0,
            events: 0,
        });
        Ok(Decided::Apply(Box::new(draft.finish())))
    }
}

/// A customer's request about the own account.
pub struct Request<T> {
    /// The request.
    pub txid: TxId,
    /// The own account.
    pub account: BankAccount,
    /// The secret that opens it.
    pub access: Access,
    /// What is asked.
    pub ask: T,
}

/// What a customer can ask for.
pub trait Ask: Send + Sync {
    /// Its number in once keys.
    const STEP: u8;
    /// Its bytes, in the cause.
    fn bytes(&self) -> Vec<u8>;
    /// What it reads besides the own account.
    fn reads(&self) -> Vec<DocumentKey> {
        Vec::new()
    }
    /// Puts it into the transition, with its reply.
    fn fill(&self, request: &Request<Self>, draft: &mut Draft<'_>) -> Result<(), Refusal>
    where
        Self: Sized;
}

impl<T: Ask> Request<T> {
    fn once(&self) -> OnceKey {
        once(T::STEP, party_of(&self.account), self.txid.bytes())
    }

    fn order_id(&self) -> OrderId {
        let parts: [&[u8]; 2] = [self.account.iban().as_bytes(), self.txid.bytes()];
        OrderId::new(digest("florin/v1/bank/transfer", &parts).short())
    }
}

impl<T: Ask> Operation for Request<T> {
    fn cause(&self) -> Digest {
        let mut body = self.account.iban().as_bytes().to_vec();
        body.extend_from_slice(self.txid.bytes());
        body.extend(self.ask.bytes());
        cause("bank", &T::STEP.to_string(), &body)
    }

    fn needs(&self, _: &Bank) -> Needs {
        let mut documents = vec![account_key(&self.account)];
        documents.extend(self.ask.reads());
        needs(documents, vec![self.once()])
    }

    fn authorise(&self, bank: &Bank, sight: Sight<'_>) -> Result<(), Refusal> {
        Draft::new(bank, sight, self.cause())?.authorise(&self.account, &self.access).map(|_| ())
    }

    fn decide(&self, bank: &Bank, sight: Sight<'_>) -> Result<Decided, Refusal> {
        let mut draft = Draft::new(bank, sight, self.cause())?;
        if draft.known(&self.account)?.state == AccountState::Closed {
            return Err(ACCOUNT_CLOSED);
        }
        draft.t.once.push(self.once());
        self.ask.fill(self, &mut draft)?;
        Ok(Decided::Apply(Box::new(draft.finish())))
    }
}

/// Pays cash in at the counter.
pub struct PayIn(pub Amount);
/// Allows or forbids debits.
pub struct BlockDebits(pub bool);
/// Closes the account.
pub struct Close;
/// Transfers to another account.
pub struct TransferTo {
    /// The payee's account.
    pub to: BankAccount,
    /// How much.
    pub amount: Amount,
    /// What the payee reads.
    pub remittance: String,
}

impl Ask for PayIn {
    const STEP: u8 = step::DEPOSIT;

    fn bytes(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }

    fn fill(&self, request: &Request<Self>, draft: &mut Draft<'_>) -> Result<(), Refusal> {
        let (iban, amount) = (&request.account, draft.bank.amount(self.0)?);
        draft.pay_in(iban, amount, Account::Bank(0));
        draft.enter(
            iban,
            Line {
                kind: EntryKind::Deposit,
                direction: Direction::Credit,
                amount,
                other: None,
                other_name: String::new(),
                remittance: String::new(),
                order: None,
                reason: None,
            },
        );
        let (payer, remittance) = (iban.clone(), "cash".to_owned());
        draft.tell(iban, BankNews::Credited { amount, payer, remittance });
        draft.t.seed = json(&view(draft, iban)?)?;
        Ok(())
    }
}

impl Ask for BlockDebits {
    const STEP: u8 = step::BLOCK;

    fn bytes(&self) -> Vec<u8> {
        vec![u8::from(self.0)]
    }

    fn fill(&self, request: &Request<Self>, draft: &mut Draft<'_>) -> Result<(), Refusal> {
        draft.change(&request.account, |a| a.debits_blocked = self.0);
        draft.t.seed = json(&view(draft, &request.account)?)?;
        Ok(())
    }
}

impl Ask for Close {
    const STEP: u8 = step::CLOSE;

    fn bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    fn fill(&self, request: &Request<Self>, draft: &mut Draft<'_>) -> Result<(), Refusal> {
        if draft.booked(&request.account) != 0 || draft.known(&request.account)?.held != 0 {
            return Err(ACCOUNT_NOT_EMPTY);
        }
        draft.change(&request.account, |a| a.state = AccountState::Closed);
        draft.t.seed = json(&view(draft, &request.account)?)?;
        Ok(())
    }
}

impl Ask for TransferTo {
    const STEP: u8 = step::TRANSFER;

    fn bytes(&self) -> Vec<u8> {
        let (to, amount) = (self.to.iban(), self.amount.to_string());
        digest("florin/v1/bank/transfer-ask", &[to.as_bytes(), amount.as_bytes(), self.remittance.as_bytes()])
            .as_bytes()
            .to_vec()
    }

    fn reads(&self) -> Vec<DocumentKey> {
        vec![account_key(&self.to)]
    }

    /// A transfer within the bank is booked at once; one to a peer is set aside until the peer has answered.
    fn fill(&self, request: &Request<Self>, draft: &mut Draft<'_>) -> Result<(), Refusal> {
        text(&self.remittance, REMITTANCE_CHARS_MAX)?;
        let amount = draft.bank.amount(self.amount)?;
        let from = &request.account;
        let place = draft.bank.place_of(&self.to);
        match place {
            Place::Unknown => return Err(BANK_UNKNOWN),
            Place::Here => match draft.account(&self.to).map(|a| a.state) {
                None => return Err(ACCOUNT_UNKNOWN),
                Some(AccountState::Closed) => return Err(ACCOUNT_CLOSED),
                Some(AccountState::Open) => {}
            },
            Place::Peer(_) => {}
        }
        if !draft.covers(from, amount) {
            return Err(INSUFFICIENT_FUNDS);
        }
        let placed = PlacedOrder {
            order: Order {
                id: request.order_id(),
                direction: Direction::Credit,
                account: self.to.clone(),
                amount,
                remittance: self.remittance.clone(),
                mandate: None,
            },
            submitter: from.clone(),
            origin: Origin::Customer,
            received_at: draft.sight.now,
            state: OrderState::Sent,
        };
        draft.hold(from, amount);
        let state = match place {
            Place::Peer(peer) => {
                orders::ask_peer(draft, &placed, peer, None)?;
                draft.place(&placed, OrderState::Sent);
                "sent"
            }
            Place::Here | Place::Unknown => {
                orders::book_credit_here(draft, &placed)?;
                "booked"
            }
        };
        draft.t.seed = json(&TransferTaken { order: placed.order.id.to_string(), state: state.to_owned() })?;
        Ok(())
    }
}

/// An account as its holder sees it.
pub(crate) fn view(draft: &Draft<'_>, iban: &BankAccount) -> Result<AccountView, Refusal> {
    let account = draft.account(iban).ok_or(FAULT)?;
    let currency = draft.bank.currency;
    Ok(AccountView {
        iban: iban.iban().to_owned(),
        holder: account.holder.clone(),
        state: match account.state {
            AccountState::Open => "open".to_owned(),
            AccountState::Closed => "closed".to_owned(),
        },
        balance: balance_text(draft.booked(iban), currency),
        available: balance_text(draft.available(iban), currency),
        debits_blocked: account.debits_blocked,
    })
}
