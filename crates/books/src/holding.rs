//! Holdings: tokens of another issuer, free or reserved for an exchange. Source: books.md, "The parts".

use florin_money::Amount;
use minicbor::{Decode, Encode};

use crate::ids::{ExchangeId, HoldingId, PartyId, Timestamp};

/// A token of another issuer.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Holding {
    /// Its name in these books: H(label, public id of the token).
    #[n(0)]
    pub id: HoldingId,
    /// Who issued it.
    #[n(1)]
    pub issuer: PartyId,
    /// What it is worth.
    #[n(2)]
    pub value: Amount,
    /// When it stops being good for payments.
    #[n(3)]
    pub expires: Timestamp,
    /// The token itself, sealed with the rest of the books.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub token: Vec<u8>,
}

/// What happens to a holding.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum HoldingChange {
    /// It arrives, free.
    #[n(0)]
    Add(#[n(0)] Holding),
    /// It is set aside for an exchange; refused where it is not free.
    #[n(1)]
    Reserve(#[n(0)] HoldingId, #[n(1)] ExchangeId),
    /// It becomes free again; refused where it is not reserved for that exchange.
    #[n(2)]
    Release(#[n(0)] HoldingId, #[n(1)] ExchangeId),
    /// It leaves; refused where it is not reserved for that exchange.
    #[n(3)]
    Remove(#[n(0)] HoldingId, #[n(1)] ExchangeId),
}

/// A holding and whom it is reserved for.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Held {
    /// The token.
    #[n(0)]
    pub holding: Holding,
    /// The exchange that it is reserved for; free if none.
    #[n(1)]
    pub reserved_for: Option<ExchangeId>,
}
