//! The documents of the reconciliation, in the identity lane. Source: bank.md, "Reconciliation".

use florin_books::{DocumentKey, DocumentKind, Timestamp};
use florin_crypto::cbor;
use minicbor::{Decode, Encode};

/// [`Brake`].
pub const BRAKE: DocumentKey = DocumentKey::new(DocumentKind(0x0330), [0; 16]);
/// [`Checked`].
pub const CHECKED: DocumentKey = DocumentKey::new(DocumentKind(0x0331), [0; 16]);
/// [`Resumption`], by the time at which pay-outs were stopped.
pub const RESUMPTION: DocumentKind = DocumentKind(0x0332);

/// That nothing is paid out by itself, and why. The document is there while it holds.
///
/// Shape: `[at, findings]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Brake {
    /// Since when.
    #[n(0)]
    pub at: Timestamp,
    /// What did not agree.
    #[n(1)]
    pub findings: Vec<String>,
}

/// That a person has looked and let pay-outs go on. The findings are known from then on.
///
/// Shape: `[stopped_at, findings, resumed_at, reason]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Resumption {
    /// Since when pay-outs had stood still.
    #[n(0)]
    pub stopped_at: Timestamp,
    /// Why.
    #[n(1)]
    pub findings: Vec<String>,
    /// When they went on.
    #[n(2)]
    pub resumed_at: Timestamp,
    /// Why they may.
    #[n(3)]
    pub reason: String,
}

/// How far statement and books were found to agree: both up to here, entry by entry.
///
/// Shape: `[number, balance, seq, difference]`. Units: minor units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(array)]
pub struct Checked {
    /// The last entry of the statement.
    #[n(0)]
    pub number: u64,
    /// The balance after it.
    #[n(1)]
    pub balance: i64,
    /// The last record of the identity lane.
    #[n(2)]
    pub seq: u64,
    /// What the bank had more than the books, by findings that a person has cleared.
    #[n(3)]
    pub difference: i64,
}

impl Brake {
    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }
}

impl Resumption {
    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }
}

impl Checked {
    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }
}
