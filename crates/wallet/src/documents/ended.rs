//! What has ended, as the history keeps it. Source: books.md, "The parts of the books" (documents).

use florin_books::{DocumentKey, Timestamp};
use florin_coin::CoinCause;
use florin_crypto::{ByteArray, Bytes};
use florin_money::Amount;
use minicbor::{Decode, Encode};

use super::HISTORY;

/// What something that has ended was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum Kind {
    #[n(0)]
    Bought,
    #[n(1)]
    Paid,
    #[n(2)]
    Received,
    #[n(3)]
    Redeemed,
    #[n(4)]
    Changed,
    #[n(20)]
    Refunded,
    #[n(10)]
    Sent,
}

/// How something ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum End {
    /// It happened.
    #[n(0)]
    Done,
    /// Some coins were bad.
    #[n(1)]
    Denied,
    /// The payee asked for another amount than was paid.
    #[n(2)]
    AmountMismatch,
    /// It never happened and never will.
    #[n(3)]
    Never,
    /// It was refused, by the bank or by the operator.
    #[n(4)]
    Refused,
    /// It has not ended: sent, and nobody is known to have claimed it.
    #[n(10)]
    Open,
}

/// A coin that was not taken.
///
/// Shape: `[worth, cause]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct LostCoin {
    #[n(0)]
    pub worth: Amount,
    #[n(1)]
    pub cause: CoinCause,
}

/// Something that has ended.
///
/// Shape: `[id, kind, end, amount, at, with, what, lost coins, reason, proof]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Item {
    #[n(0)]
    pub id: ByteArray<16>,
    #[n(1)]
    pub kind: Kind,
    #[n(2)]
    pub end: End,
    #[n(3)]
    pub amount: Amount,
    #[n(4)]
    pub at: Timestamp,
    #[n(5)]
    pub with: String,
    #[n(6)]
    pub what: String,
    #[n(7)]
    pub lost: Vec<LostCoin>,
    #[n(8)]
    pub reason: Option<String>,
    #[n(9)]
    pub proof: Proof,
}

/// What proves it.
///
/// Shape: `[Com or null, certificate or null, receipt or null, statement or null]`; the statement is what the issuer
/// signed (a verdict, a refusal, a statement about coins).
#[derive(Clone, PartialEq, Eq, Default, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Proof {
    #[n(0)]
    pub com: Option<florin_coin::Com>,
    #[n(1)]
    pub certificate: Option<Bytes>,
    #[n(2)]
    pub receipt: Option<Bytes>,
    #[n(3)]
    pub statement: Option<Bytes>,
}

impl Item {
    pub(crate) const fn key(&self) -> DocumentKey {
        DocumentKey::new(HISTORY, self.id.0)
    }
}
