//! `x402-payload`: pays on behalf of a client that speaks x402 and does not know Florin. It is given what is asked for and
//! gets the payload to present; the payment is in the books, with its coins, before that is printed.
//! Source: web.md §8 ("client"), "Florin's profile" (the operator is found by the network id; no URL of `extra` is called).

use axum::http::Method;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::Value;

use crate::documents::{HandedOut, Payment, Target};
use crate::offer::Offer;
use crate::pay::Policy;
use crate::refusal::WalletError;
use crate::wallet::Wallet;
use crate::x402::{self, PaymentRequired, X402_VERSION};
use florin_shell::exchange::Exchange;

/// The longest question that is read, in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// How a payload is made.
#[derive(Clone, Debug)]
pub struct PayloadOptions {
    /// The method of the request that will carry it: another one would be another purchase.
    pub method: String,
    /// What the owner allows.
    pub policy: Policy,
    /// Makes another one even where one for the same is open.
    pub new: bool,
}

impl Default for PayloadOptions {
    fn default() -> Self {
        Self { method: "GET".to_owned(), policy: Policy::default(), new: false }
    }
}

/// What is asked for: one entry with its resource, or all that a 402 says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Asked {
    Required(PaymentRequired),
    One(One),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct One {
    payment_requirements: Value,
    resource: Value,
    #[serde(default)]
    extensions: Option<Value>,
}

impl Wallet {
    /// The PaymentPayload for what is asked for: `{"paymentRequirements": {...}, "resource": {...}}`, or a whole
    /// PaymentRequired. While it is open the same question gets the same payload; [`Wallet::status`] tells its end.
    ///
    /// # Errors
    /// `Input`, `NoOffer`, `Offer`, `AboveLimit`, `NotEnough`, `NotKnownYet` where the last one has passed its deadline
    /// and the operator does not say how it ended, and what goes with coins and books.
    pub async fn x402_payload(&self, request: &str, options: &PayloadOptions) -> Result<Value, WalletError> {
        let required = read(request)?;
        let method = options.method.to_ascii_uppercase();
        let input = |what| WalletError::Input { text: options.method.clone(), what };
        Method::from_bytes(method.as_bytes()).map_err(|_| input("a method"))?;
        let url = required.resource.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
        // Who it is for may be anywhere: nothing is sent there from here, and the offer is signed.
        let offer = Offer::choose(&url, required, &self.keys())?;
        let given = HandedOut { method, url };
        if let Some(payload) = self.handed_out(&given, &offer, options.new).await? {
            return Ok(payload);
        }
        let target = Target::Payload(given.clone());
        let (x, _) = self.begin_web(&given.method, target, &offer, &options.policy).await?;
        x402::decode_value(&x.body).ok_or(WalletError::Damaged { what: "a payment" })
    }

    /// A payload for the same that is open: it may have been lost on its way to whoever presents it.
    async fn handed_out(
        &self,
        given: &HandedOut,
        offer: &Offer,
        new: bool,
    ) -> Result<Option<Value>, WalletError> {
        let same = |(x, payment): &(Exchange, Payment)| {
            let payload = x402::decode_value(&x.body);
            let entry = payload.as_ref().and_then(|payload| payload.get("accepted"));
            matches!(&payment.target, Target::Payload(other) if other == given) && entry == Some(&offer.entry)
        };
        for (x, payment) in self.open_payments()?.into_iter().filter(same) {
            if new || self.resolve(&x, &payment, false).await?.is_some() {
                continue;
            }
            if self.is_past(&payment) {
                return Err(WalletError::NotKnownYet { what: "the last payment for the same", slug: None });
            }
            return Ok(x402::decode_value(&x.body));
        }
        Ok(None)
    }
}

fn read(request: &str) -> Result<PaymentRequired, WalletError> {
    let start: String = request.chars().take(40).collect();
    let input =
        WalletError::Input { text: start, what: "what x402 asks for (paymentRequirements and resource)" };
    if request.len() > REQUEST_BYTES_MAX {
        return Err(input);
    }
    // A `PAYMENT-REQUIRED` header as it stands is base64.
    let decoded = BASE64.decode(request.trim().as_bytes()).ok().and_then(|json| String::from_utf8(json).ok());
    let request = decoded.as_deref().unwrap_or(request);
    // serde would also read an array as the members in order; these are objects.
    if !request.trim_start().starts_with('{') {
        return Err(input);
    }
    match serde_json::from_str(request) {
        Ok(Asked::Required(required)) => Ok(required),
        Ok(Asked::One(one)) => Ok(PaymentRequired {
            x402_version: X402_VERSION,
            resource: one.resource,
            accepts: vec![one.payment_requirements],
            extensions: one.extensions,
        }),
        Err(_) => Err(input),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_entry_or_all_that_a_402_says_is_read() {
        let resource = json!({"url": "http://a/"});
        let one = json!({"paymentRequirements": {"scheme": "exact"}, "resource": resource}).to_string();
        let all =
            json!({"x402Version": 2, "resource": resource, "accepts": [{"scheme": "exact"}]}).to_string();
        for text in [one, all] {
            let read = read(&text).unwrap();
            assert_eq!((read.x402_version, read.resource, read.accepts.len()), (2, resource.clone(), 1));
        }
        let long = format!("{{\"resource\":\"{}\"}}", "x".repeat(REQUEST_BYTES_MAX));
        for bad in ["", "[2, {}, []]", "{}", "{\"resource\": {}}", "null", &long] {
            assert_eq!(read(bad).unwrap_err().slug(), "input-not-valid");
        }
    }
}
