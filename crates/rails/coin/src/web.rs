//! A coin payment inside a web request: what gate and wallet both derive from the offer, the request and the payer's r.
//! Source: web.md, "Florin's profile" (r is the payer's; TID_PY = H(label, accepted, resource, r); Com's salt comes from
//! the payer; P3 rests on the merchant's signature over the offer). JSON is canonical (RFC 8785) and comes as bytes.

use florin_books::{PartyId, Timestamp};
use florin_crypto::{ByteArray, Digest, Sign1, SigningKey, cbor, digest};
use florin_money::Amount;
use florin_parties::sealed::{sign, verify_kid};
use florin_parties::{Certificate, KeyList, network_id};
use florin_rail::Context;
use minicbor::{Decode, Encode};

use crate::com::{Com, GOODS_BYTES_MAX, PDesc, TidPy};
use crate::kinds::RAIL;

/// The scheme of x402.
pub const SCHEME: &str = "exact";
/// How a payment is named in P-DESC.
pub const METHOD: &str = "coin";
/// The most coins of a web payment: with them EncC1 pads to 2 KiB, and the payload with the offer in it stays within the
/// 6 KB that every proxy on the way lets through; one more step of padding would not.
pub const COINS_MAX: u64 = 24;

/// The network of x402: `florin:` and the network id.
#[must_use]
pub fn network(operator: PartyId) -> String {
    format!("florin:{}", network_id(operator))
}

/// What the gate signs: an entry of `accepts` without its signature, and the rule that it is for.
///
/// Shape: `[context, H(entry), rule]`; the entry as canonical JSON.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
struct Offer {
    #[n(0)]
    context: Context,
    #[n(1)]
    entry: Digest,
    #[n(2)]
    rule: String,
}

fn offer(gate: PartyId, entry_jcs: &[u8], rule: &str) -> Offer {
    Offer {
        context: Context::new(RAIL, "offer", gate, PartyId::NONE),
        entry: digest("florin/v1/coin/offer-entry", &[entry_jcs]),
        rule: rule.to_owned(),
    }
}

/// Why an offer is not paid, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OfferError {
    /// The certificate is not the operator's.
    #[error("the gate's certificate does not verify")]
    Certificate,
    /// The entry is to be paid to somebody else than the certificate names.
    #[error("the offer is for somebody else than its certificate")]
    OtherPayee,
    /// The signature is none, or is over something else.
    #[error("the offer is not signed by its gate")]
    Signature,
}

/// Signs an entry of `accepts`: COSE_Sign1 by the gate.
#[must_use]
pub fn sign_offer(gate: PartyId, key: &SigningKey, entry_jcs: &[u8], rule: &str) -> Vec<u8> {
    sign(key, &offer(gate, entry_jcs, rule))
}

/// Checks an entry of `accepts`, given without its signature; who is to be paid stands in the certificate.
///
/// # Errors
/// [`OfferError`], in its order.
pub fn check_offer(
    signature: &[u8],
    certificate: &[u8],
    pay_to: PartyId,
    entry_jcs: &[u8],
    rule: &str,
    keys: &KeyList,
) -> Result<Certificate, OfferError> {
    let gate = Certificate::verify(certificate, keys).map_err(|_| OfferError::Certificate)?;
    if gate.id != pay_to {
        return Err(OfferError::OtherPayee);
    }
    let signed = Sign1::parse(signature).map_err(|_| OfferError::Signature)?;
    let expected = cbor::encode(&offer(gate.id, entry_jcs, rule));
    let fits = signed.kid() == verify_kid(&gate.verify_key) && signed.payload_unverified() == expected;
    if !fits || signed.verify(&gate.verify_key).is_err() {
        return Err(OfferError::Signature);
    }
    Ok(gate)
}

/// A web request that pays.
#[derive(Clone, Copy, Debug)]
pub struct WebPayment<'a> {
    /// The chosen entry of `accepts`, whole, as canonical JSON.
    pub accepted_jcs: &'a [u8],
    /// The request's method.
    pub method: &'a str,
    /// `resource.url` of the 402: the URL as the payer sees it.
    pub resource: &'a str,
    /// What the payer drew.
    pub r: [u8; 16],
}

impl WebPayment<'_> {
    /// TID_PY: `digest("florin/v1/coin/web-tid", [accepted, method, resource, r])[..16]`.
    #[must_use]
    pub fn tid(&self) -> TidPy {
        let parts: [&[u8]; 4] =
            [self.accepted_jcs, self.method.as_bytes(), self.resource.as_bytes(), &self.r];
        TidPy::new(digest("florin/v1/coin/web-tid", &parts).short())
    }

    /// Com's salt: `digest("florin/v1/coin/web-salt", [r])[..16]`.
    #[must_use]
    pub fn salt(&self) -> [u8; 16] {
        digest("florin/v1/coin/web-salt", &[&self.r]).short()
    }

    /// P-DESC: the goods are method and URL, the terms are the offer. Nothing where the goods are too long.
    #[must_use]
    pub fn p_desc(&self, amount: Amount) -> Option<PDesc> {
        let goods = format!("{} {}", self.method, self.resource);
        let terms = digest("florin/v1/coin/offer", &[self.accepted_jcs]);
        (goods.len() <= GOODS_BYTES_MAX).then(|| PDesc { amount, goods, method: METHOD.to_owned(), terms })
    }

    /// Com. Nothing where the goods are too long.
    #[must_use]
    pub fn com(
        &self,
        amount: Amount,
        payer: PartyId,
        payee: PartyId,
        issuer: PartyId,
        deadline: Timestamp,
    ) -> Option<Com> {
        Some(Com {
            p_desc: self.p_desc(amount)?,
            tid: self.tid(),
            payer,
            payee,
            issuer,
            salt: ByteArray(self.salt()),
            deadline,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use florin_money::Currency;

    const ACCEPTED: &[u8] = br#"{"amount":"5","asset":"FLO","scheme":"exact"}"#;

    fn payment(method: &'static str, resource: &'static str, r: u8) -> WebPayment<'static> {
        WebPayment { accepted_jcs: ACCEPTED, method, resource, r: [r; 16] }
    }

    #[test]
    fn the_derivation_has_known_answers() {
        let payment = payment("GET", "http://127.0.0.1:7410/a?b=1", 7);
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        assert_eq!(hex(payment.tid().bytes()), TID);
        assert_eq!(hex(&payment.salt()), SALT);
        let p_desc = payment.p_desc(Amount::new(5, Currency::FLO)).unwrap();
        assert_eq!(p_desc.goods, "GET http://127.0.0.1:7410/a?b=1");
        assert_eq!(hex(p_desc.terms.as_bytes()), TERMS);
    }

    // Reckoned apart from this program, with Python's hashlib over CBOR heads written by hand.
    const TID: &str = "bad2d90a1d1b38c39a75df79305e8f1b";
    const SALT: &str = "1340905c2cf15bf62d15ca9d15b3db1c";
    const TERMS: &str = "b1237c007f4132e1670e83a1dd74749767ea31578e9bcaf4135502dc417fda6b";

    #[test]
    fn everything_agreed_changes_the_transaction() {
        let base = payment("GET", "http://a/", 1).tid();
        let other = WebPayment { accepted_jcs: b"{}", ..payment("GET", "http://a/", 1) };
        for tid in [
            payment("HEAD", "http://a/", 1).tid(),
            payment("GET", "http://a/b", 1).tid(),
            payment("GET", "http://a/", 2).tid(),
            payment("GEThttp", "://a/", 1).tid(),
            other.tid(),
        ] {
            assert_ne!(tid, base);
        }
    }

    #[test]
    fn goods_have_a_longest_length() {
        let resource = "x".repeat(GOODS_BYTES_MAX - 4);
        let of = |resource: &str| {
            let payment = WebPayment { accepted_jcs: ACCEPTED, method: "GET", resource, r: [0; 16] };
            payment.p_desc(Amount::new(1, Currency::FLO)).is_some()
        };
        assert!(of(&resource));
        assert!(!of(&format!("{resource}x")));
    }
}
