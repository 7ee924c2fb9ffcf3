//! The coin purchaser: WRequest1, WRequest3, `collect`, Issuance2. Source: VarietyCash §3.1, W1-W3; V1, V6-V8, V10.

use florin_books::{PartyId, Timestamp, TxId};
use florin_crypto::{
    ByteArray, Bytes, Digest, Entropy, VerifyKey, Zeroizing, cbor, digest, kem, reply_open, reply_seal,
};
use florin_money::CoinList;
use florin_parties::sealed::sign;
use florin_parties::{IdentityKeys, KeyList};
use florin_rail::{Context, hpke_info, transcript};
use minicbor::{Decode, Encode};

use crate::ask::{
    AskError, IssuerKey, KeptReply, Prepared, ReadError, are_wanted, keep, kept, statement, withdrawn_of,
};
use crate::coin::Coin;
use crate::kinds::RAIL;
use crate::purchase_messages::{
    Accepted, Authorisation, COOKIE_MAC, Collect, CollectAck, PurchaseIssuance1, PurchaseKeys,
    PurchaseRefusal, WDesc, WRequest1, WRequest2, WRequest2Answer, WRequest3, WRequest3Content, claim_id,
    collect_mac, exported, issuance_key,
};

/// The path of WRequest1.
pub const WREQUEST1_PATH: &str = "/v1/coin/wrequest1";
/// The path of WRequest3.
pub const WREQUEST3_PATH: &str = "/v1/coin/wrequest3";
/// The path of `collect`.
pub const COLLECT_PATH: &str = "/v1/coin/collect";
/// The path of Issuance2 of a purchase.
pub const ACK_PATH: &str = "/v1/coin/collect-ack";

/// Shape: `[issuer, purchaser, body, K_CP]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct KeptWRequest1 {
    #[n(0)]
    issuer: PartyId,
    #[n(1)]
    purchaser: PartyId,
    #[n(2)]
    body: Bytes,
    #[n(3)]
    k_cp: ByteArray<32>,
}

/// WRequest1. It changes nothing at the issuer, so it need not be persisted.
///
/// # Errors
/// [`AskError`].
pub fn wrequest1(
    issuer: &IssuerKey,
    purchaser: PartyId,
    exp: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    let request = WRequest1 { context: Context::new(RAIL, "wrequest1", purchaser, issuer.id), exp };
    let (envelope, exporter) = issuer.seal("wrequest1", &[], &cbor::encode(&request), entropy)?;
    let body = cbor::encode(&envelope);
    let kept = KeptWRequest1 {
        issuer: issuer.id,
        purchaser,
        body: Bytes(body.clone()),
        k_cp: ByteArray(exported(&exporter, "k-cp")),
    };
    Ok(Prepared { path: WREQUEST1_PATH, body, pending: keep(&kept), withdrawn: None })
}

/// Shape: `[reply key, th, H(WRequest3), purchase]`, `purchase` being what [`collect`] needs.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct KeptWRequest3 {
    #[n(0)]
    reply_key: ByteArray<32>,
    #[n(1)]
    th: Digest,
    #[n(2)]
    request: Digest,
    #[n(3)]
    purchase: KeptPurchase,
}

/// What the purchaser keeps until the coins are there: claim, K secret, list.
///
/// Shape: `[claim, K secret, list]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct KeptPurchase {
    #[n(0)]
    claim: ByteArray<16>,
    #[n(1)]
    k_issue: ByteArray<32>,
    #[n(2)]
    list: CoinList,
}

/// WRequest3, from the answer to WRequest1: checks ID_I against the purse, signs W-DESC.
///
/// # Errors
/// `Pending`, `Answer` (not the issuer's WRequest2, or not for these keys).
pub fn wrequest3(
    pending: &[u8],
    answer: &[u8],
    me: &IdentityKeys,
    w_desc: WDesc,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, ReadError> {
    let kept: KeptWRequest1 = kept(pending)?;
    let answer: WRequest2Answer = cbor::decode_strict(answer).map_err(|_| ReadError::Answer)?;
    let info = hpke_info(RAIL, "wrequest2", kept.purchaser, &answer.envelope.kid);
    let (plaintext, exporter) =
        kem::open(&me.kem, &info, &[], &answer.envelope).map_err(|_| ReadError::Answer)?;
    let request2: WRequest2 = cbor::decode_strict(&plaintext).map_err(|_| ReadError::Answer)?;
    if request2.context != Context::new(RAIL, "wrequest2", kept.issuer, kept.purchaser) {
        return Err(ReadError::Answer);
    }
    let th = transcript(RAIL, &[&kept.body.0, &cbor::encode(&answer.envelope)]);
    let k_i = exported(&exporter, "k-i");
    let keys = PurchaseKeys::new(&kept.k_cp.0, &k_i, &th, kept.purchaser, kept.issuer);
    if !keys.cookie().verify(COOKIE_MAC, &[&answer.cookie.0], &answer.mac.0) {
        return Err(ReadError::Answer);
    }
    let list = w_desc.list.clone();
    let authorisation = Authorisation {
        context: Context::new(RAIL, "wrequest3", kept.purchaser, kept.issuer),
        w_desc,
        r_i: request2.r_i,
        th,
    };
    let claim = ByteArray(florin_crypto::random(entropy));
    let content = WRequest3Content { authorisation: Bytes(sign(&me.signing, &authorisation)), claim };
    let plaintext = Zeroizing::new(cbor::encode(&content));
    let sealed = Bytes(reply_seal(&keys.request(), th.as_bytes(), &plaintext));
    let body = cbor::encode(&WRequest3 { cookie: answer.cookie, sealed });
    let kept = KeptWRequest3 {
        reply_key: ByteArray(*keys.reply().expose()),
        th,
        request: digest("florin/v1/coin/wrequest3", &[&body]),
        purchase: KeptPurchase { claim, k_issue: ByteArray(*keys.issuance().expose()), list },
    };
    Ok(Prepared {
        path: WREQUEST3_PATH,
        body,
        pending: keep(&kept),
        withdrawn: Some(withdrawn_of(&keys.reply())),
    })
}

/// A purchase that the issuer has accepted.
pub struct AcceptedPurchase {
    /// Its id at the issuer.
    pub id: TxId,
    /// What [`collect`] needs. Secret: whoever has it gets the coins.
    pub purchase: Zeroizing<Vec<u8>>,
}

/// Reads the answer to WRequest3.
///
/// # Errors
/// `Pending`, `Answer`.
pub fn read_accepted(pending: &[u8], answer: &[u8]) -> Result<AcceptedPurchase, ReadError> {
    let kept: KeptWRequest3 = kept(pending)?;
    let key = florin_crypto::Secret::new(kept.reply_key.0);
    let plaintext = reply_open(&key, kept.th.as_bytes(), answer).map_err(|_| ReadError::Answer)?;
    let accepted: Accepted = cbor::decode_strict(&plaintext).map_err(|_| ReadError::Answer)?;
    if accepted.request != kept.request {
        return Err(ReadError::Answer);
    }
    Ok(AcceptedPurchase { id: accepted.purchase, purchase: keep(&kept.purchase) })
}

/// Shape: `[reply, purchase]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct KeptCollect {
    #[n(0)]
    reply: KeptReply,
    #[n(1)]
    purchase: KeptPurchase,
}

/// `collect`: asks for the coins of an accepted purchase. It names nobody.
///
/// # Errors
/// `Pending`, `Answer` where the issuer's key is none.
pub fn collect(
    issuer: &IssuerKey,
    purchase: &[u8],
    exp: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, ReadError> {
    collect_refundable(issuer, purchase, None, exp, entropy)
}

/// The same, with the one-time key by which an anonymous purchaser can ask for the coins again. It is for this purchase
/// alone: the same key for two would join them.
///
/// # Errors
/// As [`collect`].
pub fn collect_refundable(
    issuer: &IssuerKey,
    purchase: &[u8],
    refund: Option<VerifyKey>,
    exp: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, ReadError> {
    let purchase: KeptPurchase = kept(purchase)?;
    let context = Context::new(RAIL, "collect", PartyId::NONE, issuer.id);
    let request = Collect { context, claim: purchase.claim, refund, exp };
    let (envelope, exporter) =
        issuer.seal("collect", &[], &cbor::encode(&request), entropy).map_err(|_| ReadError::Answer)?;
    let body = cbor::encode(&envelope);
    let key = issuance_key(&purchase.k_issue.0, &exporter);
    let th = transcript(RAIL, &[&body]);
    let reply = KeptReply::with_key(&key, "purchase-issuance1", issuer.id, PartyId::NONE, th);
    Ok(Prepared {
        path: COLLECT_PATH,
        body,
        pending: keep(&KeptCollect { reply, purchase }),
        withdrawn: None,
    })
}

/// What comes of a purchase.
pub enum Collected {
    /// The coins, exactly those asked for, and Issuance2, to be sent once they are in the purse.
    Coins {
        /// The coins.
        coins: Vec<Coin>,
        /// Issuance2.
        ack: Vec<u8>,
    },
    /// The bank has refused.
    Refused {
        /// An ISO 20022 code.
        reason: String,
        /// The issuer's signed refusal.
        signed: Vec<u8>,
    },
}

/// Reads Issuance1 of a purchase.
///
/// # Errors
/// [`ReadError`], in its order.
pub fn read_collected(pending: &[u8], answer: &[u8], keys: &KeyList) -> Result<Collected, ReadError> {
    let kept: KeptCollect = kept(pending)?;
    let issuance: PurchaseIssuance1 = kept.reply.open(answer)?;
    let claim = ByteArray(claim_id(&kept.purchase.claim.0));
    if let Some(signed) = issuance.refusal {
        let refusal: PurchaseRefusal = statement(&signed.0, keys)?;
        let context = Context::new(RAIL, "purchase-refusal", keys.operator, PartyId::NONE);
        if refusal.context != context || refusal.claim != claim || !issuance.coins.is_empty() {
            return Err(ReadError::Statement);
        }
        return Ok(Collected::Refused { reason: refusal.reason, signed: signed.0 });
    }
    if !are_wanted(&issuance.coins, &kept.purchase.list) {
        return Err(ReadError::Coins);
    }
    let context = Context::new(RAIL, "collect-ack", PartyId::NONE, kept.reply.issuer());
    let mac = ByteArray(collect_mac(&kept.purchase.k_issue.0, &claim.0));
    let ack = cbor::encode(&CollectAck { context, claim, mac });
    Ok(Collected::Coins { coins: issuance.coins, ack })
}
