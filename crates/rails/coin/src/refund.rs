//! The holder who has lost coins: asks for a refund, by the registration key or by a one-time key.
//! Source: VarietyCash §3 (Refund); docs/rails/coin.md, "Refund".

use florin_books::{PartyId, Timestamp, TxId};
use florin_crypto::{Entropy, SigningKey, cbor};
use florin_parties::sealed::sign;
use florin_parties::{IdentityKeys, KeyList};
use florin_rail::Context;
use minicbor::{Decode, Encode};

use crate::ask::{AskError, IssuerKey, KeptReply, Prepared, ReadError, keep, kept, statement};
use crate::choice::HolderChoice;
use crate::coin::CoinSet;
use crate::kinds::RAIL;
use crate::refund_messages::{RefundAnswer, RefundReq, RefundStatement};

/// The path of Refund.
pub const REFUND_PATH: &str = "/v1/coin/refund";

/// Who asks for a refund.
pub enum Holder<'a> {
    /// A participant, by its registration key.
    Named(&'a IdentityKeys),
    /// Whoever has a one-time key.
    Key(&'a SigningKey),
}

impl Holder<'_> {
    /// As it stands with the coins.
    #[must_use]
    pub fn choice(&self) -> HolderChoice {
        match self {
            Self::Named(me) => HolderChoice::Named(me.id()),
            Self::Key(key) => HolderChoice::Key(key.verify_key()),
        }
    }
}

/// Shape: `[reply, holder, txid]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct KeptRefund {
    #[n(0)]
    reply: KeptReply,
    #[n(1)]
    holder: HolderChoice,
    #[n(2)]
    txid: TxId,
}

/// Refund: all coins of this holder that are still live, again. The old ones are worth nothing then, also those that lie
/// in an envelope that its receiver has not brought to the issuer. The latest refund has the coins.
///
/// # Errors
/// [`AskError`].
pub fn refund(
    issuer: &IssuerKey,
    holder: &Holder<'_>,
    (txid, exp): (TxId, Timestamp),
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    let (from, key) = match holder {
        Holder::Named(me) => (me.id(), &me.signing),
        Holder::Key(key) => (PartyId::NONE, *key),
    };
    let context = Context::new(RAIL, "refund", from, issuer.id);
    let choice = holder.choice();
    let signed = sign(key, &RefundReq { context, holder: choice, txid, exp });
    let (envelope, exporter) = issuer.seal("refund", &[], &signed, entropy)?;
    let body = cbor::encode(&envelope);
    let reply = KeptReply::new(&exporter, "refund-reply", issuer.id, from, &body);
    let withdrawn = reply.withdrawn();
    let pending = keep(&KeptRefund { reply, holder: choice, txid });
    Ok(Prepared { path: REFUND_PATH, body, pending, withdrawn })
}

/// What comes of a refund.
pub struct Refunded {
    /// Whose the coins are.
    pub holder: HolderChoice,
    /// The new coins, one set for each currency; none where no coin was live.
    pub sets: Vec<CoinSet>,
    /// The statement as it was signed.
    pub signed: Vec<u8>,
}

/// Reads the answer to [`refund`].
///
/// # Errors
/// [`ReadError`], in its order.
pub fn read_refund(pending: &[u8], answer: &[u8], keys: &KeyList) -> Result<Refunded, ReadError> {
    let kept: KeptRefund = kept(pending)?;
    let answer: RefundAnswer = kept.reply.open(answer)?;
    let said: RefundStatement = statement(&answer.statement.0, keys)?;
    let context = Context::new(RAIL, "refund-statement", keys.operator, kept.reply.asker());
    if said.context != context || said.holder != kept.holder || said.txid != kept.txid {
        return Err(ReadError::Statement);
    }
    let stated = said.refunded.iter().eq(answer.sets.iter().map(|set| &set.total));
    if !stated || !answer.sets.iter().all(CoinSet::adds_up) {
        return Err(ReadError::Coins);
    }
    Ok(Refunded { holder: kept.holder, sets: answer.sets, signed: answer.statement.0 })
}
