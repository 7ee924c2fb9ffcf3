//! The coin-holder at the issuer: changer, refresher, redeemer. Source: VarietyCash §2.2, §3 (Change, Refresh, Redeem).

use florin_books::{PartyId, Timestamp, TxId};
use florin_crypto::{Entropy, Zeroizing, cbor};
use florin_money::CoinList;
use florin_parties::sealed::sign;
use florin_parties::{IdentityKeys, KeyList};
use florin_rail::Context;
use minicbor::{Decode, Encode};

use crate::ask::{AskError, IssuerKey, KeptReply, Prepared, ReadError, are_wanted, keep, kept, statement};
use crate::choice::HolderChoice;
use crate::coin::{BadCoin, Coin, CoinSet};
use crate::kinds::RAIL;
use crate::messages::{ChangeReq, CoinStatement, ExchangeAnswer, RedeemReq};

/// The path of Change.
pub const CHANGE_PATH: &str = "/v1/coin/change";
/// The path of Redeem.
pub const REDEEM_PATH: &str = "/v1/coin/redeem";

/// Shape: `[reply, txid, list, holder]`; an empty list for redeem.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct KeptExchange {
    #[n(0)]
    reply: KeptReply,
    #[n(1)]
    txid: TxId,
    #[n(2)]
    list: CoinList,
    #[n(3)]
    holder: HolderChoice,
}

/// Change: these coins for those values, which nobody can ask for again.
///
/// # Errors
/// [`AskError`].
pub fn change(
    issuer: &IssuerKey,
    coins: CoinSet,
    list: CoinList,
    txid: TxId,
    exp: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    change_for(issuer, coins, list, HolderChoice::Nobody, (txid, exp), entropy)
}

/// Change: these coins for those values, for a holder. Coins that came from somebody else need a choice of one's own:
/// under the old one that somebody could ask for them again.
///
/// # Errors
/// [`AskError`].
pub fn change_for(
    issuer: &IssuerKey,
    coins: CoinSet,
    list: CoinList,
    holder: HolderChoice,
    (txid, exp): (TxId, Timestamp),
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    if !coins.adds_up() || list.total_minor() != coins.total.minor() {
        return Err(AskError::Sum);
    }
    let context = Context::new(RAIL, "change", PartyId::NONE, issuer.id);
    let request = ChangeReq { context, coins, list: list.clone(), holder, txid, exp };
    let plaintext = Zeroizing::new(cbor::encode(&request));
    let (envelope, exporter) = issuer.seal("change", &[], &plaintext, entropy)?;
    let body = cbor::encode(&envelope);
    let reply = KeptReply::new(&exporter, "change-reply", issuer.id, PartyId::NONE, &body);
    Ok(Prepared { path: CHANGE_PATH, body, pending: keep(&KeptExchange { reply, txid, list, holder }) })
}

/// Redeem: these coins for money on the enrolled account.
///
/// # Errors
/// [`AskError`].
pub fn redeem(
    issuer: &IssuerKey,
    me: &IdentityKeys,
    coins: CoinSet,
    txid: TxId,
    exp: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    if !coins.adds_up() {
        return Err(AskError::Sum);
    }
    let context = Context::new(RAIL, "redeem", me.id(), issuer.id);
    let signed = Zeroizing::new(sign(&me.signing, &RedeemReq { context, coins, txid, exp }));
    let (envelope, exporter) = issuer.seal("redeem", &[], &signed, entropy)?;
    let body = cbor::encode(&envelope);
    let reply = KeptReply::new(&exporter, "redeem-reply", issuer.id, me.id(), &body);
    let kept = KeptExchange { reply, txid, list: CoinList::default(), holder: HolderChoice::Nobody };
    Ok(Prepared { path: REDEEM_PATH, body, pending: keep(&kept) })
}

/// What the issuer says about coins given for change or redemption.
#[derive(Clone)]
pub struct ExchangeNews {
    /// Which coins are bad, and why; empty if all were taken.
    pub causes: Vec<BadCoin>,
    /// The statement as it was signed.
    pub signed: Vec<u8>,
    /// The new coins: exactly those asked for.
    pub coins: Vec<Coin>,
    /// Who can ask for them again.
    pub holder: HolderChoice,
    /// The pay-out.
    pub payout: Option<TxId>,
}

/// Reads the answer to [`change`] or [`redeem`].
///
/// # Errors
/// [`ReadError`], in its order.
pub fn read_exchange(pending: &[u8], answer: &[u8], keys: &KeyList) -> Result<ExchangeNews, ReadError> {
    let kept: KeptExchange = kept(pending)?;
    let answer: ExchangeAnswer = kept.reply.open(answer)?;
    let said: CoinStatement = statement(&answer.statement.0, keys)?;
    let addressed = Context::new(RAIL, "coin-statement", keys.operator, kept.reply.asker());
    if said.context != addressed || said.txid != kept.txid {
        return Err(ReadError::Statement);
    }
    let taken = said.causes.is_empty();
    let fits = if taken {
        are_wanted(&answer.coins, &kept.list) && answer.payout.is_some() == kept.list.is_empty()
    } else {
        answer.coins.is_empty() && answer.payout.is_none()
    };
    if !fits {
        return Err(ReadError::Coins);
    }
    Ok(ExchangeNews {
        causes: said.causes,
        signed: answer.statement.0,
        coins: answer.coins,
        holder: kept.holder,
        payout: answer.payout,
    })
}
