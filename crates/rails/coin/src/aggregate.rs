//! The payee that gathers: asks what it has gathered at the issuer, and redeems it in one pay-out.
//! Source: VarietyCash §3 (Payment with aggregation), §3.2 (V-DESC: refresh, immediate redeem, or aggregate).

use florin_books::{Timestamp, TxId};
use florin_crypto::{Bytes, Entropy, cbor};
use florin_money::{Amount, Currency};
use florin_parties::sealed::sign;
use florin_parties::{IdentityKeys, KeyList};
use florin_rail::Context;
use minicbor::{Decode, Encode};

use crate::aggregate_messages::{
    AggregateBalance, AggregateBalanceReq, AggregateStatement, RedeemAggregateReq,
};
use crate::ask::{AskError, IssuerKey, KeptReply, Prepared, ReadError, keep, kept, statement};
use crate::kinds::RAIL;

/// The path of the redemption.
pub const REDEEM_PATH: &str = "/v1/coin/redeem-aggregate";
/// The path of the question.
pub const BALANCE_PATH: &str = "/v1/coin/aggregate-balance";

/// Shape: `[reply, txid, currency, minor or null]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct KeptRedemption {
    #[n(0)]
    reply: KeptReply,
    #[n(1)]
    txid: TxId,
    #[n(2)]
    currency: Currency,
    #[n(3)]
    minor: Option<u64>,
}

/// Redeems gathered value to the enrolled account: `minor` units of a currency, or all of it.
///
/// # Errors
/// [`AskError`].
pub fn redeem(
    issuer: &IssuerKey,
    me: &IdentityKeys,
    (currency, minor): (Currency, Option<u64>),
    txid: TxId,
    exp: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    let context = Context::new(RAIL, "redeem-aggregate", me.id(), issuer.id);
    let request = RedeemAggregateReq { context, currency, minor, txid, exp };
    let (envelope, exporter) = issuer.seal("redeem-aggregate", &[], &sign(&me.signing, &request), entropy)?;
    let body = cbor::encode(&envelope);
    let reply = KeptReply::new(&exporter, "redeem-aggregate-reply", issuer.id, me.id(), &body);
    let kept = KeptRedemption { reply, txid, currency, minor };
    Ok(Prepared { path: REDEEM_PATH, body, pending: keep(&kept), withdrawn: kept.reply.withdrawn() })
}

/// Gathered value that is on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redeemed {
    /// How much.
    pub amount: Amount,
    /// The pay-out.
    pub payout: TxId,
    /// When the issuer recorded it.
    pub at: Timestamp,
    /// The statement as it was signed.
    pub signed: Vec<u8>,
}

/// Reads the answer to [`redeem`].
///
/// # Errors
/// [`ReadError`], in its order.
pub fn read_redeemed(pending: &[u8], answer: &[u8], keys: &KeyList) -> Result<Redeemed, ReadError> {
    let kept: KeptRedemption = kept(pending)?;
    let signed: Bytes = kept.reply.open(answer)?;
    let said: AggregateStatement = statement(&signed.0, keys)?;
    let addressed = Context::new(RAIL, "aggregate-statement", keys.operator, kept.reply.asker());
    let fits = said.context == addressed
        && said.txid == kept.txid
        && said.amount.currency() == kept.currency
        && kept.minor.is_none_or(|minor| minor == said.amount.minor());
    if !fits || said.amount.is_zero() {
        return Err(ReadError::Statement);
    }
    Ok(Redeemed { amount: said.amount, payout: said.payout, at: said.at, signed: signed.0 })
}

/// Asks what is gathered. The answer is for now only: each question is asked anew.
///
/// # Errors
/// [`AskError`].
pub fn balance_request(
    issuer: &IssuerKey,
    me: &IdentityKeys,
    exp: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    let context = Context::new(RAIL, "aggregate-balance", me.id(), issuer.id);
    let signed = sign(&me.signing, &AggregateBalanceReq { context, exp });
    let (envelope, exporter) = issuer.seal("aggregate-balance", &[], &signed, entropy)?;
    let body = cbor::encode(&envelope);
    let reply = KeptReply::new(&exporter, "aggregate-balance-reply", issuer.id, me.id(), &body);
    Ok(Prepared { path: BALANCE_PATH, body, pending: keep(&reply), withdrawn: None })
}

/// Reads the answer to [`balance_request`].
///
/// # Errors
/// `Pending`, `Answer`.
pub fn read_balance(pending: &[u8], answer: &[u8]) -> Result<AggregateBalance, ReadError> {
    let reply: KeptReply = kept(pending)?;
    reply.open(answer)
}
