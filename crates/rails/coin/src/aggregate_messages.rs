//! The messages about gathered value: what a payee has gathered at the issuer, and its redemption in one pay-out.
//! Source: VarietyCash §3 (Payment with aggregation), §3.2 (V-DESC); V3 (never another account). Who checks what in which
//! order: docs/rails/coin.md.

use florin_books::{Timestamp, TxId};
use florin_money::{Amount, Currency};
use florin_rail::Context;
use minicbor::{Decode, Encode};

/// Redemption of gathered value, PY to I: signed (COSE_Sign1), then sealed.
///
/// Shape: `[context, currency, minor, txid, exp]`. Units: minor units; null for all of the currency. The money goes to PY's
/// enrolled account. Errors: docs/rails/coin.md, "redeem-aggregate". Source: VarietyCash §3.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct RedeemAggregateReq {
    /// From ID_PY to ID_I.
    #[n(0)]
    pub context: Context,
    /// Which currency.
    #[n(1)]
    pub currency: Currency,
    /// How much; none for all.
    #[n(2)]
    pub minor: Option<u64>,
    /// What makes it happen once.
    #[n(3)]
    pub txid: TxId,
    /// Until when.
    #[n(4)]
    pub exp: Timestamp,
}

/// What the issuer says about a redemption of gathered value, signed (COSE_Sign1).
///
/// Shape: `[context, txid, amount, pay-out, at]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct AggregateStatement {
    /// From ID_I to ID_PY.
    #[n(0)]
    pub context: Context,
    /// The request.
    #[n(1)]
    pub txid: TxId,
    /// How much was redeemed.
    #[n(2)]
    pub amount: Amount,
    /// The pay-out.
    #[n(3)]
    pub payout: TxId,
    /// When it was recorded.
    #[n(4)]
    pub at: Timestamp,
}

/// The question what is gathered, PY to I: signed (COSE_Sign1), then sealed. Nothing is recorded.
///
/// Shape: `[context, exp]`. Errors: docs/rails/coin.md, "aggregate-balance".
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct AggregateBalanceReq {
    /// From ID_PY to ID_I.
    #[n(0)]
    pub context: Context,
    /// Until when this question may be answered.
    #[n(1)]
    pub exp: Timestamp,
}

/// What is gathered.
///
/// Shape: `[at, [amount, ...]]`: one amount for each currency of the issuer, zero where nothing is gathered.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct AggregateBalance {
    /// When it was read.
    #[n(0)]
    pub at: Timestamp,
    /// What is there.
    #[n(1)]
    pub gathered: Vec<Amount>,
}
