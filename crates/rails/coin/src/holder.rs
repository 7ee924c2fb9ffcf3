//! The coin-holder at the issuer: changer, refresher, redeemer. Source: VarietyCash §2.2, §3 (Change, Refresh, Redeem).

use florin_books::{PartyId, Timestamp, TxId};
use florin_crypto::{Entropy, Zeroizing, cbor};
use florin_money::{Amount, CoinList, Currency, Denominations};
use florin_parties::sealed::sign;
use florin_parties::{IdentityKeys, KeyList};
use florin_rail::Context;
use minicbor::{Decode, Encode};

use crate::ask::{AskError, IssuerKey, KeptReply, Prepared, ReadError, are_wanted, keep, kept, statement};
use crate::choice::HolderChoice;
use crate::coin::{BadCoin, COINS_ISSUED_MAX, Coin, CoinSet};
use crate::kinds::RAIL;
use crate::messages::{ChangeReq, CoinStatement, ExchangeAnswer, RedeemReq, RefreshReq};

/// The path of Change.
pub const CHANGE_PATH: &str = "/v1/coin/change";
/// The path of Refresh.
pub const REFRESH_PATH: &str = "/v1/coin/refresh";
/// The path of Redeem.
pub const REDEEM_PATH: &str = "/v1/coin/redeem";

/// What is to come back.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
enum Wanted {
    /// A pay-out.
    #[n(0)]
    PayOut,
    /// Coins of exactly this list.
    #[n(1)]
    Coins(#[n(0)] CoinList),
    /// Coins for those of this list.
    #[n(2)]
    Renewed(#[n(0)] CoinList, #[n(1)] Currency),
}

/// Shape: `[reply, txid, wanted, holder]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct KeptExchange {
    #[n(0)]
    reply: KeptReply,
    #[n(1)]
    txid: TxId,
    #[n(2)]
    wanted: Wanted,
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
    let withdrawn = reply.withdrawn();
    Ok(Prepared {
        withdrawn,
        path: CHANGE_PATH,
        body,
        pending: keep(&KeptExchange { reply, txid, wanted: Wanted::Coins(list), holder }),
    })
}

/// Refresh: these coins, old as they may be, for new ones of the same values, which nobody can ask for again.
///
/// # Errors
/// [`AskError`].
pub fn refresh(
    issuer: &IssuerKey,
    coins: CoinSet,
    txid: TxId,
    exp: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    refresh_for(issuer, coins, HolderChoice::Nobody, (txid, exp), entropy)
}

/// Refresh, for a holder.
///
/// # Errors
/// [`AskError`].
pub fn refresh_for(
    issuer: &IssuerKey,
    coins: CoinSet,
    holder: HolderChoice,
    (txid, exp): (TxId, Timestamp),
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    let given = CoinList::of_values(coins.coins.iter().map(|c| c.value)).map_err(|_| AskError::Sum)?;
    if !coins.adds_up() {
        return Err(AskError::Sum);
    }
    let wanted = Wanted::Renewed(given, coins.total.currency());
    let context = Context::new(RAIL, "refresh", PartyId::NONE, issuer.id);
    let plaintext = Zeroizing::new(cbor::encode(&RefreshReq { context, coins, holder, txid, exp }));
    let (envelope, exporter) = issuer.seal("refresh", &[], &plaintext, entropy)?;
    let body = cbor::encode(&envelope);
    let reply = KeptReply::new(&exporter, "refresh-reply", issuer.id, PartyId::NONE, &body);
    let withdrawn = reply.withdrawn();
    let pending = keep(&KeptExchange { reply, txid, wanted, holder });
    Ok(Prepared { path: REFRESH_PATH, body, pending, withdrawn })
}

/// The coins that Refresh gives for others: the same values; where some are no denominations any more, what makes up their
/// sum. None where nothing does.
#[must_use]
pub fn renewed(given: &CoinList, denominations: &Denominations) -> Option<CoinList> {
    let (kept, gone): (Vec<u64>, Vec<u64>) =
        given.values().partition(|value| denominations.index_of(*value).is_some());
    let sum = gone.iter().try_fold(0u64, |sum, value| sum.checked_add(*value))?;
    let instead = denominations.split_minor(sum).ok()?;
    CoinList::of_values(kept.into_iter().chain(instead.values())).ok()
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
    let kept = KeptExchange { reply, txid, wanted: Wanted::PayOut, holder: HolderChoice::Nobody };
    Ok(Prepared { path: REDEEM_PATH, body, pending: keep(&kept), withdrawn: kept.reply.withdrawn() })
}

/// What the issuer says about coins given for change, refresh or redemption.
#[derive(Clone)]
pub struct ExchangeNews {
    /// Which coins are bad, and why; empty if all were taken.
    pub causes: Vec<BadCoin>,
    /// The statement as it was signed.
    pub signed: Vec<u8>,
    /// The new coins: those that were to come.
    pub coins: Vec<Coin>,
    /// Who can ask for them again.
    pub holder: HolderChoice,
    /// The pay-out.
    pub payout: Option<TxId>,
}

/// Reads the answer to [`change`], [`refresh`] or [`redeem`].
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
    let fits = match &kept.wanted {
        _ if !taken => answer.coins.is_empty() && answer.payout.is_none(),
        Wanted::PayOut => answer.coins.is_empty() && answer.payout.is_some(),
        Wanted::Coins(list) => are_wanted(&answer.coins, list) && answer.payout.is_none(),
        Wanted::Renewed(given, currency) => {
            answer.payout.is_none() && are_renewed(&answer.coins, given, *currency, keys)
        }
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

/// The bad coins of a statement that was kept.
///
/// # Errors
/// `Statement`.
pub fn read_statement(signed: &[u8], keys: &KeyList) -> Result<Vec<BadCoin>, ReadError> {
    let said: CoinStatement = statement(signed, keys)?;
    Ok(said.causes)
}

/// Whether coins are what Refresh gives for others: worth the same, and of the denominations of the key list.
fn are_renewed(coins: &[Coin], given: &CoinList, currency: Currency, keys: &KeyList) -> bool {
    let terms = keys.currency(currency).map(|terms| terms.denominations.clone());
    let denominations = terms.and_then(|values| Denominations::new(currency, values).ok());
    let worth = Amount::sum(coins.iter().map(|c| Amount::new(c.value, currency)), currency);
    let bounded = u64::try_from(coins.len()).is_ok_and(|count| count <= COINS_ISSUED_MAX);
    let wanted = denominations.and_then(|d| renewed(given, &d));
    bounded
        && worth == Ok(Amount::new(given.total_minor(), currency))
        && wanted.is_some_and(|wanted| are_wanted(coins, &wanted))
}
