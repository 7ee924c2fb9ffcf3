//! What the sandbox bank writes down besides balances. Source: bank.md; the states of a payout there.

use florin_books::{DocumentKey, DocumentKind, PartyId, Timestamp};
use florin_crypto::{Digest, digest};
use florin_money::Amount;
use florin_parties::bank::{BankAccount, BankEvent, Direction, Order, OrderId};
use minicbor::{Decode, Encode};

/// Customers' accounts.
pub const ACCOUNT: DocumentKind = DocumentKind(0x0b01);
/// Statement entries.
pub const ENTRY: DocumentKind = DocumentKind(0x0b02);
/// News for an account.
pub const EVENT: DocumentKind = DocumentKind(0x0b03);
/// Orders and transfers.
pub const ORDER: DocumentKind = DocumentKind(0x0b04);
/// What the sandbox's admin has set; there is one.
pub const SETTINGS: DocumentKind = DocumentKind(0x0b05);

/// Outbox: an order is to be booked.
pub const BOOK: u16 = 0x0b01;
/// Outbox: a message for another bank.
pub const SEND: u16 = 0x0b02;

/// Whether an account is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum AccountState {
    /// In use.
    #[n(0)]
    Open,
    /// Closed for good.
    #[n(1)]
    Closed,
}

/// A customer's account.
///
/// Units: `held` in minor units of the bank's currency.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct CustomerAccount {
    /// Its number.
    #[n(0)]
    pub iban: BankAccount,
    /// Whose it is.
    #[n(1)]
    pub holder: String,
    /// Digest of the access secret.
    #[n(2)]
    pub access: Digest,
    /// Whether it is in use.
    #[n(3)]
    pub state: AccountState,
    /// The holder allows nobody to collect.
    #[n(4)]
    pub debits_blocked: bool,
    /// When it was opened.
    #[n(5)]
    pub opened: Timestamp,
    /// Set aside for orders that are not booked yet.
    #[n(6)]
    pub held: u64,
    /// How many statement entries there are.
    #[n(7)]
    pub entries: u64,
    /// How much news there is.
    #[n(8)]
    pub events: u64,
}

impl CustomerAccount {
    /// The party in the books.
    #[must_use]
    pub fn party(&self) -> PartyId {
        party_of(&self.iban)
    }
}

/// What an entry is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum EntryKind {
    /// Cash paid in.
    #[n(0)]
    Deposit,
    /// A transfer or a credit order.
    #[n(1)]
    Transfer,
    /// A collection under a mandate.
    #[n(2)]
    DirectDebit,
    /// Something booked came back.
    #[n(3)]
    Return,
}

/// One line of a statement.
///
/// Units: `balance_after` in minor units; below zero the customer owes the bank.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct StatementEntry {
    /// Its number within the account; the first is 1.
    #[n(0)]
    pub number: u64,
    /// When it was booked.
    #[n(1)]
    pub at: Timestamp,
    /// What it is about.
    #[n(2)]
    pub kind: EntryKind,
    /// Credit: the account grows.
    #[n(3)]
    pub direction: Direction,
    /// How much.
    #[n(4)]
    pub amount: Amount,
    /// The booked balance after it.
    #[n(5)]
    pub balance_after: i64,
    /// The other side, unless it was the counter.
    #[n(6)]
    pub other: Option<BankAccount>,
    /// The other side's name, where this bank knows it.
    #[n(7)]
    pub other_name: String,
    /// What was written with it.
    #[n(8)]
    pub remittance: String,
    /// The order, on the side that gave it.
    #[n(9)]
    pub order: Option<OrderId>,
    /// Why it came back.
    #[n(10)]
    pub reason: Option<String>,
}

/// Who gave an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum Origin {
    /// An operator through `/orders`: it hears of every step.
    #[n(0)]
    Operator,
    /// A customer's transfer: the statement tells what was booked, news tells what was not.
    #[n(1)]
    Customer,
}

/// Where an order stands.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum OrderState {
    /// Taken up; booked at the time given.
    #[n(0)]
    Accepted(#[n(0)] Timestamp),
    /// The other bank is being asked.
    #[n(1)]
    Sent,
    /// The money has moved.
    #[n(2)]
    Booked(#[n(0)] Timestamp),
    /// Refused before the money moved.
    #[n(3)]
    Rejected(#[n(0)] String),
    /// Booked, and the other bank is being asked to undo it. Holds when it was booked, and why it goes back.
    #[n(4)]
    Returning(#[n(0)] Timestamp, #[n(1)] String),
    /// The money has moved back.
    #[n(5)]
    Returned(#[n(0)] String),
}

/// An order or a transfer, with its state.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PlacedOrder {
    /// What was ordered.
    #[n(0)]
    pub order: Order,
    /// Whose account gave it.
    #[n(1)]
    pub submitter: BankAccount,
    /// How it came.
    #[n(2)]
    pub origin: Origin,
    /// When it was taken up.
    #[n(3)]
    pub received_at: Timestamp,
    /// Where it stands.
    #[n(4)]
    pub state: OrderState,
}

/// News, with its place in the account's list.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Told {
    /// Its place; the first is 1.
    #[n(0)]
    pub number: u64,
    /// What the operator gets.
    #[n(1)]
    pub event: BankEvent,
}

/// Orders that match are rejected.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct RejectRule {
    /// Orders that touch this account; any order if there is none.
    #[n(0)]
    pub account: Option<BankAccount>,
    /// ISO 20022 reason.
    #[n(1)]
    pub reason: String,
    /// How many more.
    #[n(2)]
    pub left: u32,
}

/// What the sandbox's admin has set.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(array)]
pub struct Settings {
    /// Instead of the configured delay.
    #[n(0)]
    pub delay_ms: Option<u64>,
    /// Rejections, first match first.
    #[n(1)]
    pub rules: Vec<RejectRule>,
}

/// The party of an account; also the id of its document.
#[must_use]
pub fn party_of(account: &BankAccount) -> PartyId {
    PartyId::new(digest("florin/v1/bank/account", &[account.iban().as_bytes()]).short())
}

/// The document of an account.
#[must_use]
pub fn account_key(account: &BankAccount) -> DocumentKey {
    DocumentKey::new(ACCOUNT, *party_of(account).bytes())
}

/// The document of an order.
#[must_use]
pub const fn order_key(id: &OrderId) -> DocumentKey {
    DocumentKey::new(ORDER, *id.bytes())
}

/// The document of a statement entry.
#[must_use]
pub fn entry_key(party: &PartyId, number: u64) -> DocumentKey {
    let id = digest("florin/v1/bank/entry", &[party.bytes(), &number.to_be_bytes()]);
    DocumentKey::new(ENTRY, id.short())
}

/// The document of a piece of news.
#[must_use]
pub fn event_key(party: &PartyId, number: u64) -> DocumentKey {
    let id = digest("florin/v1/bank/event", &[party.bytes(), &number.to_be_bytes()]);
    DocumentKey::new(EVENT, id.short())
}

/// The document of the settings.
#[must_use]
pub const fn settings_key() -> DocumentKey {
    DocumentKey::new(SETTINGS, [0; 16])
}
