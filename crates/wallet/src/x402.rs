//! x402 version 2 as the payer reads and writes it. Source: web.md §2.1, §2.2, §4 (standard base64 with padding; the
//! chosen entry is echoed verbatim; unknown members are ignored).

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version spoken here.
pub(crate) const X402_VERSION: u32 = 2;
/// The header of a 402.
pub(crate) const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static("payment-required");
/// The header of a paying request.
pub(crate) const PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static("payment-signature");
/// The header of a settled answer.
pub(crate) const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");
/// A payload has at most so many bytes of JSON.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 6 * 1024;
/// What is read of a header at most, in bytes of JSON.
pub(crate) const HEADER_BYTES_MAX: usize = 16 * 1024;

/// What a 402 asks for.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PaymentRequired {
    pub x402_version: u32,
    pub resource: Value,
    pub accepts: Vec<Value>,
    #[serde(default)]
    pub extensions: Option<Value>,
}

/// One way to pay, as far as it is read here.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Requirements {
    pub scheme: String,
    pub network: String,
    pub amount: String,
    pub asset: String,
    pub pay_to: String,
    pub max_timeout_seconds: u64,
    pub extra: Extra,
}

/// What the coin rail adds to an entry.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(crate) struct Extra {
    pub certificate: String,
    pub rule: String,
    pub signature: String,
}

/// What a paying request carries.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PaymentPayload<'a> {
    pub x402_version: u32,
    pub resource: &'a Value,
    pub accepted: &'a Value,
    pub payload: CoinPayload,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<&'a Value>,
}

/// The coin rail's own object. Units: `deadline` in milliseconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct CoinPayload {
    pub r: String,
    pub payer: String,
    pub deadline: u64,
    pub enc_c1: String,
    /// For a facilitator, which does not see the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// What a settled answer says.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(crate) struct SettleResponse {
    pub success: bool,
    #[serde(default)]
    pub extensions: Extensions,
}

/// The part of the extensions that is read here.
#[derive(Clone, PartialEq, Eq, Default, Debug, Deserialize)]
pub(crate) struct Extensions {
    #[serde(default)]
    pub florin: FlorinExtension,
}

/// Receipt and sealed verdict, base64url without padding.
#[derive(Clone, PartialEq, Eq, Default, Debug, Deserialize)]
pub(crate) struct FlorinExtension {
    #[serde(default)]
    pub receipt: Option<String>,
    #[serde(default)]
    pub verdict: Option<String>,
}

/// The header value of an object; nothing where it is longer than allowed.
pub(crate) fn encode<T: Serialize>(object: &T, max: usize) -> Option<HeaderValue> {
    let json = serde_json::to_vec(object).ok().filter(|json| json.len() <= max)?;
    HeaderValue::from_str(&BASE64.encode(&json)).ok()
}

/// The JSON in a header value that [`encode`] made.
pub(crate) fn decode_value(value: &[u8]) -> Option<Value> {
    serde_json::from_slice(&BASE64.decode(value).ok()?).ok()
}

/// Whether a payment that was made with this header value is settled before the service is called, as its offer says.
pub(crate) fn is_upfront(value: &[u8]) -> bool {
    let payload = decode_value(value).unwrap_or_default();
    payload.pointer("/accepted/extra/paymentFlow").and_then(Value::as_str) == Some("upfront")
}

/// Reads the one header of this name; nothing if it is not there, or not what it should be.
pub(crate) fn decode<T: DeserializeOwned>(headers: &HeaderMap, name: &HeaderName) -> Option<T> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() || value.len() > BASE64.encode_len(HEADER_BYTES_MAX) {
        return None;
    }
    let json = BASE64.decode(value.as_bytes()).ok()?;
    // serde would also read an array as the members in order; these are objects.
    (json.trim_ascii_start().first() == Some(&b'{')).then(|| serde_json::from_slice(&json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_header_of_standard_base64_json_is_read() {
        let good = BASE64
            .encode(br#"{"success":true,"transaction":"x","extensions":{"florin":{"receipt":"a"},"z":1}}"#);
        let one =
            |value: &str| HeaderMap::from_iter([(PAYMENT_RESPONSE, HeaderValue::from_str(value).unwrap())]);
        let read: SettleResponse = decode(&one(&good), &PAYMENT_RESPONSE).unwrap();
        assert_eq!((read.success, read.extensions.florin.receipt.as_deref()), (true, Some("a")));
        for bad in ["", "%%", &good[1..], &BASE64.encode(b"[true,{}]"), &BASE64.encode(b"{}")] {
            assert!(decode::<SettleResponse>(&one(bad), &PAYMENT_RESPONSE).is_none(), "{bad}");
        }
        let mut twice = one(&good);
        twice.append(PAYMENT_RESPONSE, HeaderValue::from_str(&good).unwrap());
        assert!(decode::<SettleResponse>(&twice, &PAYMENT_RESPONSE).is_none());
        assert!(encode(&"xxxx", 6).is_some() && encode(&"xxxxx", 6).is_none());
    }
}
