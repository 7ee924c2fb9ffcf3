//! The messages of Coin Purchase. Source: VarietyCash §3.1, Figures 4 and 5; repairs V1, V6, V7, V8, V10.

use florin_books::{PartyId, Timestamp, TxId};
use florin_crypto::{ByteArray, Bytes, Digest, Envelope, Exporter, MacKey, Secret, VerifyKey, cbor, derive};
use florin_money::{Amount, CoinList};
use florin_parties::bank::{BankAccount, Mandate};
use florin_rail::{Context, label};
use minicbor::{Decode, Encode};

use crate::coin::Coin;
use crate::kinds::RAIL;

/// WRequest1, CP to I: E*_I(ID_CP, K_CP); K_CP is the exporter of the envelope (V1).
///
/// Shape, sealed: `[context, exp]`. The context names ID_CP.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct WRequest1 {
    /// From ID_CP to ID_I.
    #[n(0)]
    pub context: Context,
    /// Until when.
    #[n(1)]
    pub exp: Timestamp,
}

/// WRequest2, I to CP: E*_CP(ID_I, K_I, R_I); K_I is the exporter of the envelope.
///
/// Shape, sealed: `[context, R_I]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct WRequest2 {
    /// From ID_I to ID_CP.
    #[n(0)]
    pub context: Context,
    /// The issuer's nonce; the once key of the purchase.
    #[n(1)]
    pub r_i: ByteArray<16>,
}

/// WRequest2 on the wire: the envelope, and the cookie that keeps the issuer's state for it (V7). CP cannot read the cookie,
/// and one that was altered would make every WRequest3 one that the issuer cannot open: mac_K of it is beside it.
///
/// Shape: `[envelope, cookie, mac]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct WRequest2Answer {
    /// Sealed to CP.
    #[n(0)]
    pub envelope: Envelope,
    /// Opaque to CP.
    #[n(1)]
    pub cookie: Bytes,
    /// mac_K of the cookie.
    #[n(2)]
    pub mac: ByteArray<32>,
}

/// What the cookie holds, sealed under a key of the issuer's.
///
/// Shape: `[ID_CP, K_CP, K_I, R_I, th, until]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Cookie {
    #[n(0)]
    pub purchaser: PartyId,
    #[n(1)]
    pub k_cp: ByteArray<32>,
    #[n(2)]
    pub k_i: ByteArray<32>,
    #[n(3)]
    pub r_i: ByteArray<16>,
    #[n(4)]
    pub th: Digest,
    #[n(5)]
    pub until: Timestamp,
}

/// W-DESC: what is bought, and what is needed to be paid for it.
///
/// Shape: `[total, list, account, authorisation, anonymous]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct WDesc {
    /// What it costs.
    #[n(0)]
    pub total: Amount,
    /// The coins wanted: (count, value).
    #[n(1)]
    pub list: CoinList,
    /// The account to collect from.
    #[n(2)]
    pub account: BankAccount,
    /// The authorisation to collect.
    #[n(3)]
    pub authorisation: Mandate,
    /// Whether the purchaser wishes to stay anonymous toward the issuer.
    #[n(4)]
    pub anonymous: bool,
}

/// What S_CP covers: H(W-DESC, R_I, ID_CP, ID_I, th) (V8). COSE_Sign1; kept as evidence.
///
/// Shape: `[context, W-DESC, R_I, th]`. The context names ID_CP and ID_I.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Authorisation {
    /// From ID_CP to ID_I.
    #[n(0)]
    pub context: Context,
    /// What is bought.
    #[n(1)]
    pub w_desc: WDesc,
    /// The issuer's nonce.
    #[n(2)]
    pub r_i: ByteArray<16>,
    /// What the two have exchanged before.
    #[n(3)]
    pub th: Digest,
}

/// WRequest3, CP to I: e_K(W-DESC, S_CP(...)), with the claim by which the coins will be collected (V10).
///
/// Shape on the wire: `[cookie, e_K]`. The claim is outside the signature: it names no purchase and no person.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct WRequest3 {
    /// From WRequest2.
    #[n(0)]
    pub cookie: Bytes,
    /// Sealed under K, direction CP to I.
    #[n(1)]
    pub sealed: Bytes,
}

/// What e_K of WRequest3 holds.
///
/// Shape: `[authorisation COSE_Sign1, claim]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct WRequest3Content {
    /// Signed.
    #[n(0)]
    pub authorisation: Bytes,
    /// A random number.
    #[n(1)]
    pub claim: ByteArray<16>,
}

/// The reply to WRequest3: accepted.
///
/// Shape: `[purchase id, H(WRequest3)]`, sealed under K, direction I to CP.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Accepted {
    /// The purchase.
    #[n(0)]
    pub purchase: TxId,
    /// What was accepted.
    #[n(1)]
    pub request: Digest,
}

/// `collect`: asks for the coins of a claim. Sealed; names nobody.
///
/// Shape: `[context, claim, refund, exp]`. `refund` is the one-time key by which an anonymous purchaser can ask for the
/// coins again, or null; it goes to the books lane alone, which does not know who buys.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Collect {
    /// From nobody named to ID_I.
    #[n(0)]
    pub context: Context,
    /// The claim.
    #[n(1)]
    pub claim: ByteArray<16>,
    /// For a refund.
    #[n(2)]
    pub refund: Option<VerifyKey>,
    /// Until when.
    #[n(3)]
    pub exp: Timestamp,
}

/// Issuance1 of a purchase, I to CP: the coins, or the signed refusal.
///
/// Shape: `[refusal COSE_Sign1 or null, [coin, ...]]`; sealed under a key made of K's exporter secret and of this
/// request's own (V6).
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct PurchaseIssuance1 {
    /// Why there are no coins.
    #[n(0)]
    pub refusal: Option<Bytes>,
    /// The coins.
    #[n(1)]
    pub coins: Vec<Coin>,
}

/// What the issuer signs when the bank has refused (COSE_Sign1).
///
/// Shape: `[context, H(claim), reason, at]`; the reason is an ISO 20022 code.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PurchaseRefusal {
    /// From ID_I to whoever has the claim.
    #[n(0)]
    pub context: Context,
    /// Which claim.
    #[n(1)]
    pub claim: ByteArray<16>,
    /// Why.
    #[n(2)]
    pub reason: String,
    /// When it was recorded.
    #[n(3)]
    pub at: Timestamp,
}

/// Issuance2 of a purchase, CP to I: mac_K over the claim. Frees the re-send record.
///
/// Shape: `[context, H(claim), mac]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct CollectAck {
    /// From nobody named to ID_I.
    #[n(0)]
    pub context: Context,
    /// Which claim.
    #[n(1)]
    pub claim: ByteArray<16>,
    /// The MAC.
    #[n(2)]
    pub mac: ByteArray<32>,
}

/// The keys of a purchase: K = HKDF(K_CP, K_I; label, th, ids), one key for each direction and use (V1).
pub(crate) struct PurchaseKeys {
    k: Secret<32>,
}

impl PurchaseKeys {
    pub fn new(k_cp: &[u8; 32], k_i: &[u8; 32], th: &Digest, purchaser: PartyId, issuer: PartyId) -> Self {
        let info = cbor::encode(&(label(RAIL, "purchase-key"), th, purchaser, issuer));
        Self { k: derive(&[k_cp, k_i], &info) }
    }

    /// CP to I.
    pub fn request(&self) -> Secret<32> {
        self.expand("wrequest3")
    }

    /// I to CP.
    pub fn reply(&self) -> Secret<32> {
        self.expand("accepted")
    }

    /// What both keep until the coins are there (V6).
    pub fn issuance(&self) -> Secret<32> {
        self.expand("issuance")
    }

    /// mac_K of the cookie.
    pub fn cookie(&self) -> MacKey {
        MacKey::new(&self.expand("cookie"))
    }

    fn expand(&self, what: &str) -> Secret<32> {
        derive(&[self.k.expose()], label(RAIL, what).as_bytes())
    }
}

/// K_CP or K_I: what an envelope of WRequest1 or WRequest2 exports.
pub(crate) fn exported(exporter: &Exporter, which: &str) -> [u8; 32] {
    *exporter.export(label(RAIL, which).as_bytes()).expose()
}

/// What mac_K of the cookie is over.
pub(crate) const COOKIE_MAC: &str = "florin/v1/coin/cookie";

/// The key of Issuance1: needs K's secret and this request's exporter.
pub(crate) fn issuance_key(k_issue: &[u8; 32], exporter: &Exporter) -> Secret<32> {
    let fresh = exporter.export(label(RAIL, "issuance1").as_bytes());
    derive(&[k_issue, fresh.expose()], label(RAIL, "purchase-issuance1").as_bytes())
}

/// mac_K of Issuance2.
pub(crate) fn collect_mac(k_issue: &[u8; 32], claim: &[u8; 16]) -> [u8; 32] {
    let key: Secret<32> = derive(&[k_issue], label(RAIL, "collect-ack").as_bytes());
    MacKey::new(&key).tag("florin/v1/coin/collect-ack", &[claim])
}

/// H(claim): what the books call a claim.
pub(crate) fn claim_id(claim: &[u8; 16]) -> [u8; 16] {
    florin_crypto::digest("florin/v1/coin/claim", &[claim]).short()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn k(k_cp: [u8; 32], k_i: [u8; 32], th: u8, ids: (u8, u8)) -> [u8; 32] {
        let [purchaser, issuer] = [ids.0, ids.1].map(|id| PartyId::new([id; 16]));
        *PurchaseKeys::new(&k_cp, &k_i, &Digest([th; 32]), purchaser, issuer).k.expose()
    }

    /// V1. Repair: `derive(&[k_cp, k_i], &info)`. With the paper's exclusive or, the first assertion fails: the later
    /// chooser takes K_I = K_CP xor (the key it wants).
    #[test]
    fn neither_side_chooses_k() {
        let (a, b, c) = ([1; 32], [2; 32], [5; 32]);
        let xored = |x: [u8; 32], y: [u8; 32]| std::array::from_fn(|i| x[i] ^ y[i]);
        assert_ne!(
            k(a, b, 0, (1, 2)),
            k(c, xored(c, xored(a, b)), 0, (1, 2)),
            "steered to another run's key"
        );
        assert_ne!(k(a, a, 0, (1, 2)), k(b, b, 0, (1, 2)), "equal halves do not cancel");
        let all = [
            k(a, b, 0, (1, 2)),
            k(b, a, 0, (1, 2)),
            k(c, b, 0, (1, 2)),
            k(a, c, 0, (1, 2)),
            k(a, b, 1, (1, 2)),
            k(a, b, 0, (3, 2)),
            k(a, b, 0, (1, 3)),
            k(a, b, 0, (2, 1)),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other != one), "{i}");
        }
    }

    #[test]
    fn each_direction_and_use_has_a_key_of_its_own() {
        let keys = PurchaseKeys::new(&[1; 32], &[2; 32], &Digest([3; 32]), PartyId::NONE, PartyId::NONE);
        let all = [keys.request(), keys.reply(), keys.issuance()].map(|key| *key.expose());
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2] && !all.contains(keys.k.expose()));
    }
}
