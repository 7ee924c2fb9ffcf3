//! Which of a 402's offers this wallet pays: the coin rail's, of its own operator, signed by the merchant that it names.
//! Source: web.md, "Florin's profile"; `florin_coin::web`; P3.

use axum::http::Uri;
use data_encoding::BASE64URL_NOPAD;
use florin_books::{PartyId, Timestamp};
use florin_coin::web::{SCHEME, WebPayment, check_offer, network};
use florin_coin::{Com, web};
use florin_money::Amount;
use florin_parties::{Certificate, KeyList};
use serde_json::Value;

use crate::refusal::WalletError;
use crate::x402::{PaymentRequired, Requirements, X402_VERSION};
use florin_shell::jcs::jcs;

/// A merchant that waits longer is not waited for.
const TIMEOUT_S_MAX: u64 = 60 * 60;

/// An offer that can be paid.
#[derive(Clone)]
pub(crate) struct Offer {
    /// The entry as it came.
    pub entry: Value,
    /// The same as canonical JSON.
    pub jcs: Vec<u8>,
    /// The resource as it came.
    pub resource: Value,
    /// The URL as the merchant sees it.
    pub url: String,
    /// The server's extensions.
    pub extensions: Option<Value>,
    /// The price.
    pub amount: Amount,
    /// Who is paid.
    pub payee: Certificate,
    /// The same, as it was signed.
    pub certificate: Vec<u8>,
    /// How long the payment may take.
    pub timeout_s: u64,
}

impl Offer {
    /// Chooses from what a 402 asks for: the cheapest in the first currency that fits.
    pub(crate) fn choose(
        asked: &str,
        required: PaymentRequired,
        keys: &KeyList,
    ) -> Result<Self, WalletError> {
        let no = |why| WalletError::NoOffer { url: asked.to_owned(), why };
        if required.x402_version != X402_VERSION {
            return Err(no("it speaks another version of x402"));
        }
        let url = required.resource.get("url").and_then(Value::as_str).ok_or(no("its 402 names no page"))?;
        if !same_host(asked, url) {
            return Err(no("its 402 names a page of another host"));
        }
        let ours = network(keys.operator);
        let mut other_operator = false;
        for entry in &required.accepts {
            let Ok(read) = serde_json::from_value::<Requirements>(entry.clone()) else { continue };
            if read.scheme != SCHEME || !read.network.starts_with("florin:") {
                continue;
            }
            if read.network != ours {
                other_operator = true;
                continue;
            }
            let Some(amount) = amount_of(&read, keys) else { continue };
            let (payee, certificate) = verify(asked, entry, &read, keys)?;
            let jcs = jcs(entry).map_err(|_| no("its offer cannot be read"))?;
            return Ok(Self {
                entry: entry.clone(),
                jcs,
                resource: required.resource.clone(),
                url: url.to_owned(),
                extensions: required.extensions.clone(),
                amount,
                payee,
                certificate,
                timeout_s: read.max_timeout_seconds.clamp(1, TIMEOUT_S_MAX),
            });
        }
        Err(no(if other_operator { "it wants another operator's coins" } else { "it wants no Florin coins" }))
    }

    /// What is agreed on.
    pub(crate) fn com(
        &self,
        method: &str,
        r: [u8; 16],
        payer: PartyId,
        issuer: PartyId,
        deadline: Timestamp,
    ) -> Option<Com> {
        let payment = WebPayment { accepted_jcs: &self.jcs, method, resource: &self.url, r };
        payment.com(self.amount, payer, self.payee.id, issuer, deadline)
    }
}

fn same_host(asked: &str, named: &str) -> bool {
    let host = |url: &str| {
        url.parse::<Uri>().ok().and_then(|uri| uri.authority().map(|a| a.as_str().to_ascii_lowercase()))
    };
    host(asked).is_some_and(|asked| host(named) == Some(asked))
}

fn amount_of(read: &Requirements, keys: &KeyList) -> Option<Amount> {
    let currency = keys.currencies.iter().map(|t| t.currency).find(|c| c.code().as_str() == read.asset)?;
    // A leading zero or a sign would be another text for the same amount.
    let minor: u64 = read.amount.parse().ok().filter(|minor: &u64| minor.to_string() == read.amount)?;
    (minor > 0).then(|| Amount::new(minor, currency))
}

/// Checks that the merchant in the certificate has signed the entry.
fn verify(
    asked: &str,
    entry: &Value,
    read: &Requirements,
    keys: &KeyList,
) -> Result<(Certificate, Vec<u8>), WalletError> {
    let bad = |why| WalletError::Offer { url: asked.to_owned(), why };
    let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes());
    let certificate = decode(&read.extra.certificate).map_err(|_| bad(web::OfferError::Certificate))?;
    let signature = decode(&read.extra.signature).map_err(|_| bad(web::OfferError::Signature))?;
    let pay_to: PartyId = read.pay_to.parse().map_err(|_| bad(web::OfferError::OtherPayee))?;
    let mut unsigned = entry.clone();
    if let Some(extra) = unsigned.get_mut("extra").and_then(Value::as_object_mut) {
        extra.remove("signature");
    }
    let unsigned = jcs(&unsigned).map_err(|_| bad(web::OfferError::Signature))?;
    let payee =
        check_offer(&signature, &certificate, pay_to, &unsigned, &read.extra.rule, keys).map_err(bad)?;
    Ok((payee, certificate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_whole() {
        assert!(same_host("http://127.0.0.1:7410", "http://127.0.0.1:7410/a"));
        assert!(same_host("https://Shop.example/x", "https://shop.example/x"));
        for other in ["http://127.0.0.1:7411/a", "http://127.0.0.1/", "/a", ""] {
            assert!(!same_host("http://127.0.0.1:7410/a", other), "{other}");
        }
    }
}
