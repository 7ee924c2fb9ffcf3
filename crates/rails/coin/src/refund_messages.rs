//! The messages of Refund. Source: VarietyCash §3 (Refund); docs/rails/coin.md, "Refund".

use florin_books::{Timestamp, TxId};
use florin_crypto::Bytes;
use florin_money::Amount;
use florin_rail::Context;
use minicbor::{Decode, Encode};

use crate::choice::HolderChoice;
use crate::coin::CoinSet;

/// Refund, holder to I: all coins of this holder that are still live, again. Signed (COSE_Sign1) by the holder's
/// registration key or by its one-time key, then sealed.
///
/// Shape: `[context, holder, txid, exp]`. Errors, in checking order: `bad-request` (shape, context, nobody's coins, a
/// signature of somebody else), `request-id-reused`, `participant-blocked`, `request-expired`, `nothing-to-refund`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct RefundReq {
    /// From the participant, or from nobody named, to ID_I.
    #[n(0)]
    pub context: Context,
    /// Whose coins.
    #[n(1)]
    pub holder: HolderChoice,
    /// What makes it happen once.
    #[n(2)]
    pub txid: TxId,
    /// Until when.
    #[n(3)]
    pub exp: Timestamp,
}

/// What the issuer says about a refund, signed (COSE_Sign1).
///
/// Shape: `[context, holder, txid, [amount, ...], at]`: what was refunded, in each currency; nothing where none was live.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct RefundStatement {
    /// From ID_I to the holder.
    #[n(0)]
    pub context: Context,
    /// Whose coins.
    #[n(1)]
    pub holder: HolderChoice,
    /// The request.
    #[n(2)]
    pub txid: TxId,
    /// What was refunded.
    #[n(3)]
    pub refunded: Vec<Amount>,
    /// When it was recorded.
    #[n(4)]
    pub at: Timestamp,
}

/// The answer to Refund.
///
/// Shape: `[statement COSE_Sign1, [coin set, ...]]`: new coins in place of the old ones, one set for each currency.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RefundAnswer {
    /// The signed statement.
    #[n(0)]
    pub statement: Bytes,
    /// The new coins.
    #[n(1)]
    pub sets: Vec<CoinSet>,
}
