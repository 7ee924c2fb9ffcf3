//! What every bank does for an operator: take orders, tell what happened. Source: bank.md, "The `BankRail` design".

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use florin_books::Timestamp;
use florin_http::ProblemView;
use florin_money::Amount;
use florin_parties::bank::{BankEvent, Order, OrderId};
use minicbor::{Decode, Encode};

use crate::messages::Statement;

/// How far the asker has read the bank's news; 0 is the beginning. Opaque: only the bank that gave it reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Cursor(#[n(0)] pub u64);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// That the bank has an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderReceipt {
    /// Which.
    pub id: OrderId,
    /// When the bank took it up first.
    pub received_at: Timestamp,
}

/// That the bank has all orders of a submission, in their order. Not that any of them will be booked: that is news.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Receipt {
    /// One for each order.
    pub orders: Vec<OrderReceipt>,
}

/// Why a bank gave no answer, in the order that matters to whoever asks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BankError {
    /// The bank said no; nothing changed. `same_bytes_may_be_sent_again` says whether waiting helps.
    #[error("the bank refused: {}", .0.slug.as_deref().unwrap_or("no reason"))]
    Refused(Box<ProblemView>),
    /// It never reached the bank: nothing changed.
    #[error("the bank cannot be reached")]
    NotSent,
    /// Whether it happened is open: submit the same orders again.
    #[error("the bank's answer is open")]
    Unknown,
}

/// What a bank can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Whether it can collect under a mandate.
    pub debits: bool,
    /// Whether news comes within seconds, or once a day with the statement.
    pub instant: bool,
    /// The largest amount of one order, if there is one.
    pub amount_max: Option<Amount>,
    /// Orders that it takes in one submission.
    pub orders_max: usize,
    /// Play money only.
    pub test: bool,
}

/// A future that ends with a bank's answer.
pub type RailFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BankError>> + Send + 'a>>;

/// A bank, seen from the operator whose account it keeps.
pub trait BankRail: Send + Sync {
    /// Hands over orders. Each is carried out once by its id: the same order again changes nothing and gets the same
    /// receipt.
    ///
    /// Errors: `Refused` (`order-id-reused`: another order has one of the ids; nothing of the submission was taken
    /// up), `NotSent`, `Unknown`.
    fn submit<'a>(&'a self, orders: &'a [Order]) -> RailFuture<'a, Receipt>;

    /// News after the cursor, oldest first, at most `max`; and the cursor after the last of them. The same cursor gives
    /// the same news again, so the asker moves it only after what it made of the news is durable.
    ///
    /// Errors: `Refused`, `NotSent`, `Unknown`.
    fn poll<'a>(&'a self, since: Cursor, max: usize) -> RailFuture<'a, (Vec<BankEvent>, Cursor)>;

    /// The account's statement after entry number `since`; 0 is the beginning. As the bank has written it: whoever compares
    /// it with books reads it strictly, so that what cannot be read is noticed and not passed over.
    ///
    /// Errors: `Refused` (`cursor-unknown`: there are fewer entries), `NotSent`, `Unknown`. A rail that has no statements
    /// says `NotSent`.
    fn statement<'a>(&'a self, since: u64) -> RailFuture<'a, Statement> {
        let _ = since;
        Box::pin(async { Err(BankError::NotSent) })
    }

    /// What it can do.
    fn capabilities(&self) -> Capabilities;
}
