//! The sandbox bank: what it decides (pure), and the desk that carries it out on its books.
//! Source: bank.md, "The `BankRail` design"; architecture.md, "The one flow".

pub(crate) mod accounts;
mod check;
mod counter;
pub(crate) mod desk;
mod documents;
mod draft;
pub(crate) mod interbank;
mod orders;
pub mod refusal;
mod returns;
mod work;

use florin_books::{DocumentKey, Needs, OnceKey, PartyId, Transition};
use florin_crypto::{Digest, MacKey};
use florin_money::{Amount, Currency};
use florin_parties::bank::BankAccount;
use florin_rail::Refusal;
use florin_rail::common::BAD_REQUEST;

use crate::iban::BankCode;
use refusal::{WRONG_AMOUNT, WRONG_CURRENCY};

pub use accounts::TransferTo;
pub use check::Imbalance;
pub use counter::PAGE_MAX;
pub use desk::{Desk, Interbank, SendFuture};
pub(crate) use draft::Sight;
pub use interbank::Receive;

/// The largest amount of one order, in minor units: 999,999,999.99 in a currency with two decimals.
pub const AMOUNT_MINOR_MAX: u64 = 99_999_999_999;
/// Orders in one submission.
pub const ORDERS_MAX: usize = 50;
/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 70;
/// Characters of a remittance text.
pub const REMITTANCE_CHARS_MAX: usize = 140;
/// Characters of a mandate's name.
pub const MANDATE_CHARS_MAX: usize = 35;
/// The longest booking delay: ten days.
pub const DELAY_MS_MAX: u64 = 10 * 24 * 60 * 60 * 1000;

/// The number of the bank among the rails, in once keys.
pub(crate) const RAIL: u8 = 0x0b;

/// A bank as its configuration makes it.
pub struct Bank {
    /// What people call it.
    pub name: String,
    /// Its code.
    pub code: BankCode,
    /// The one currency of its accounts.
    pub currency: Currency,
    /// From an order's acceptance to its booking, unless set otherwise at run time.
    pub delay_ms: u64,
    /// The banks that it exchanges payments with.
    pub peers: Vec<BankCode>,
    /// Derives the access secrets.
    pub key: MacKey,
}

impl Bank {
    /// Whether this bank keeps an account, or a peer does, or nobody known.
    pub(crate) fn place_of(&self, account: &BankAccount) -> Place {
        match BankCode::of(account) {
            Some(code) if code == self.code => Place::Here,
            Some(code) if self.peers.contains(&code) => Place::Peer(code),
            _ => Place::Unknown,
        }
    }

    /// Checks an amount to move.
    pub(crate) fn amount(&self, amount: Amount) -> Result<Amount, Refusal> {
        if amount.currency() != self.currency {
            return Err(WRONG_CURRENCY.with_detail(format!("accounts are kept in {}", self.currency)));
        }
        if amount.is_zero() || amount.minor() > AMOUNT_MINOR_MAX {
            return Err(WRONG_AMOUNT);
        }
        Ok(amount)
    }
}

/// Where an account is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Here,
    Peer(BankCode),
    Unknown,
}

/// What an operation comes to.
pub(crate) enum Decided {
    /// A change; its seed is the reply, as JSON.
    Apply(Box<Transition>),
    /// Nothing changes; the reply.
    Nothing(Vec<u8>),
}

/// Something that changes the bank's books, decided without looking at anything but facts, balances and the clock.
pub(crate) trait Operation: Send + Sync {
    /// What caused it: a repeated request has the same.
    fn cause(&self) -> Digest;

    /// What to read. The balances of all accounts named are read with them.
    fn needs(&self, bank: &Bank) -> Needs;

    /// Whether whoever asks may ask; checked before a repeated request gets its reply again.
    ///
    /// # Errors
    /// `wrong-access`.
    fn authorise(&self, _bank: &Bank, _sight: Sight<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Decides.
    ///
    /// # Errors
    /// The refusal; nothing changes.
    fn decide(&self, bank: &Bank, sight: Sight<'_>) -> Result<Decided, Refusal>;
}

/// The once key of a request of a customer's (or of nobody's yet).
pub(crate) fn once(step: u8, party: PartyId, txid: &[u8; 16]) -> OnceKey {
    OnceKey { rail: RAIL, step, party, txid: *txid }
}

/// Needs of documents and once keys.
pub(crate) fn needs(documents: Vec<DocumentKey>, once: Vec<OnceKey>) -> Needs {
    let mut documents = documents;
    documents.sort_unstable();
    documents.dedup();
    Needs { documents, once, ..Needs::default() }
}

/// Checks a text that people read: so many characters at most, none of them a control character.
pub(crate) fn text(text: &str, chars_max: usize) -> Result<(), Refusal> {
    let fits = text.chars().count() <= chars_max && !text.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(BAD_REQUEST.with_detail(format!("a text has at most {chars_max} characters")))
    }
}

/// Checks an ISO 20022 reason code: four capital letters and digits.
pub(crate) fn reason(code: &str) -> Result<(), Refusal> {
    let fits = code.len() == 4 && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if fits { Ok(()) } else { Err(BAD_REQUEST.with_detail("a reason is a code such as AM04")) }
}

/// The reply of a transition, as JSON.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| florin_rail::common::FAULT.with_detail(error.to_string()))
}
