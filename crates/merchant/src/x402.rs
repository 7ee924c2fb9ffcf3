//! x402 version 2 on the wire: what a 402 says, what a paying request says, what a settled answer says.
//! Source: web.md §2.1, §2.2, §4 (headers are standard base64 with padding; anything else counts as unpaid).

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version spoken here.
pub const X402_VERSION: u32 = 2;
/// The header of a 402.
pub const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static("payment-required");
/// The header of a paying request.
pub const PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static("payment-signature");
/// The header of a settled answer.
pub const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");
/// A payload has at most so many bytes of JSON.
pub const PAYLOAD_BYTES_MAX: usize = 6 * 1024;
/// What an asker reads of a 402's header at most, in bytes of JSON.
pub const REQUIRED_BYTES_MAX: usize = 16 * 1024;

/// What a 402 asks for.
///
/// Shape: JSON `{x402Version, error?, resource, accepts[], extensions?}`. Entries of `accepts` stay as they came, since
/// the payer echoes one of them with every member that it has. Source: web.md §2.2.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// 2.
    pub x402_version: u32,
    /// Why what was sent did not pay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is sold.
    pub resource: Resource,
    /// The ways to pay; read one with [`PaymentRequirements::read`].
    pub accepts: Vec<Value>,
    /// What else the server can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Value>,
}

/// What is sold.
///
/// Shape: JSON `{url, description?, mimeType?, serviceName?}`; a service name has at most 32 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// The URL, as the payer sees it.
    pub url: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What kind of content it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Who sells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
}

/// One way to pay.
///
/// Shape: JSON `{scheme, network, amount, asset, payTo, maxTimeoutSeconds, extra?}`. Units: `amount` is a decimal number
/// of minor units, as text.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    /// How.
    pub scheme: String,
    /// Where, `namespace:reference`.
    pub network: String,
    /// How much.
    pub amount: String,
    /// Of what: a currency code.
    pub asset: String,
    /// To whom.
    pub pay_to: String,
    /// Within how many seconds.
    pub max_timeout_seconds: u64,
    /// What belongs to the scheme on this network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
}

impl PaymentRequirements {
    /// Reads an entry of `accepts`; nothing if a member is missing or of another kind.
    #[must_use]
    pub fn read(entry: &Value) -> Option<Self> {
        Self::deserialize(entry).ok()
    }
}

/// What a paying request carries.
///
/// Shape: JSON `{x402Version, resource?, accepted, payload, extensions?}`; `accepted` is the chosen entry, verbatim.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    /// 2.
    pub x402_version: u32,
    /// What is bought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Value>,
    /// The entry of `accepts` that was chosen.
    pub accepted: Value,
    /// The scheme's own object.
    pub payload: Value,
    /// The server's extensions, echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Value>,
}

/// What a settled answer says.
///
/// Shape: JSON `{success, transaction, network, errorReason?, errorMessage?, payer?, amount?, extensions?, extra?}`;
/// `transaction` is empty where it failed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettleResponse {
    /// Whether it is paid.
    pub success: bool,
    /// The id of the payment.
    pub transaction: String,
    /// Where.
    pub network: String,
    /// Why not, as a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Who paid: a pseudonym.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// How much, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// Receipts and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Value>,
    /// What belongs to the scheme on this network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
}

/// What Florin adds to a settled answer, under `extensions.florin`.
///
/// Shape: JSON `{receipt?, verdict?}`, both base64url without padding.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FlorinExtension {
    /// The payee's receipt, a COSE_Sign1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// The issuer's verdict, sealed for the payer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
}

/// Why a header cannot be read, in checking order. For the gate each of them means: unpaid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderFault {
    /// It is not there.
    #[error("the header is not there")]
    Missing,
    /// It is there more than once.
    #[error("the header is there more than once")]
    Repeated,
    /// More bytes than allowed.
    #[error("the header is too long")]
    TooLong,
    /// Not standard base64 with padding.
    #[error("the header is not standard base64 with padding")]
    Base64,
    /// Not JSON of the expected shape.
    #[error("the header does not hold the expected JSON")]
    Json,
    /// Another version of x402.
    #[error("the header is of another version of x402")]
    Version,
}

/// The header value of an object: one line of base64.
///
/// # Errors
/// `Json` for what cannot be written.
pub fn encode_header<T: Serialize>(object: &T) -> Result<HeaderValue, HeaderFault> {
    let json = serde_json::to_vec(object).map_err(|_| HeaderFault::Json)?;
    HeaderValue::from_str(&BASE64.encode(&json)).map_err(|_| HeaderFault::Json)
}

/// Reads an object of at most `max` bytes of JSON from the one header of this name.
///
/// # Errors
/// [`HeaderFault`], in its order.
pub fn decode_header<T: DeserializeOwned>(
    headers: &HeaderMap,
    name: &HeaderName,
    max: usize,
) -> Result<T, HeaderFault> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(HeaderFault::Missing)?;
    if values.next().is_some() {
        return Err(HeaderFault::Repeated);
    }
    if value.len() > BASE64.encode_len(max) {
        return Err(HeaderFault::TooLong);
    }
    let json = BASE64.decode(value.as_bytes()).map_err(|_| HeaderFault::Base64)?;
    if json.len() > max {
        return Err(HeaderFault::TooLong);
    }
    // serde would also read an array as the members in order; these are objects.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(HeaderFault::Json);
    }
    serde_json::from_slice(&json).map_err(|_| HeaderFault::Json)
}

/// Reads the payload of a paying request.
///
/// # Errors
/// [`HeaderFault`], in its order.
pub fn payment_of(headers: &HeaderMap) -> Result<PaymentPayload, HeaderFault> {
    let payload: PaymentPayload = decode_header(headers, &PAYMENT_SIGNATURE, PAYLOAD_BYTES_MAX)?;
    if payload.x402_version == X402_VERSION { Ok(payload) } else { Err(HeaderFault::Version) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64URL;
    use serde_json::json;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(PAYMENT_SIGNATURE, HeaderValue::from_str(value).unwrap())])
    }

    fn payload() -> Value {
        json!({"x402Version": 2, "accepted": {"scheme": "exact", "unknown": [1, "ü?>"]}, "payload": {"a": 1}, "more": 1})
    }

    #[test]
    fn a_payload_is_read_and_what_was_accepted_stays_verbatim() {
        let read = payment_of(&headers(&BASE64.encode(payload().to_string().as_bytes()))).unwrap();
        assert_eq!(read.accepted, payload()["accepted"]);
        assert_eq!((read.resource, read.extensions), (None, None));
    }

    #[test]
    fn what_is_not_standard_base64_of_a_payload_is_unpaid() {
        let json = payload().to_string();
        let standard = BASE64.encode(json.as_bytes());
        let url = BASE64URL.encode(json.as_bytes());
        assert_ne!(standard, url, "the example must hold one of the two characters that differ");
        let spaces = " ".repeat((4 - json.len() % 3) % 3);
        let unpadded = BASE64.encode(format!("{json}{spaces}").as_bytes());
        assert!(unpadded.ends_with('='), "the example must need padding");
        for (bad, fault) in [
            (url.as_str(), HeaderFault::Base64),
            (unpadded.trim_end_matches('='), HeaderFault::Base64),
            ("", HeaderFault::Json),
            ("%%%", HeaderFault::Base64),
            (&format!("{standard} "), HeaderFault::Base64),
            (&BASE64.encode(b"{}"), HeaderFault::Json),
            (&BASE64.encode(b"[2,null,{},{}]"), HeaderFault::Json),
            (&BASE64.encode(b"\xff\xfe"), HeaderFault::Json),
            (&BASE64.encode(json.replace(":2", ":1").as_bytes()), HeaderFault::Version),
        ] {
            assert_eq!(payment_of(&headers(bad)).unwrap_err(), fault, "{bad}");
        }
        assert_eq!(payment_of(&HeaderMap::new()).unwrap_err(), HeaderFault::Missing);
        let mut twice = headers(&standard);
        twice.append(PAYMENT_SIGNATURE, HeaderValue::from_str(&standard).unwrap());
        assert_eq!(payment_of(&twice).unwrap_err(), HeaderFault::Repeated);
    }

    #[test]
    fn a_payload_has_at_most_six_kilobytes() {
        let of = |len: usize| {
            let mut value = payload();
            let rest = len - value.to_string().len() - ",\"z\":\"\"".len();
            value["z"] = json!("x".repeat(rest));
            let json = value.to_string();
            assert_eq!(json.len(), len);
            payment_of(&headers(&BASE64.encode(json.as_bytes())))
        };
        assert!(of(PAYLOAD_BYTES_MAX).is_ok());
        assert_eq!(of(PAYLOAD_BYTES_MAX + 1).unwrap_err(), HeaderFault::TooLong);
        assert_eq!(of(PAYLOAD_BYTES_MAX * 2).unwrap_err(), HeaderFault::TooLong);
    }

    #[test]
    fn names_are_those_of_x402() {
        let required = PaymentRequired {
            x402_version: 2,
            error: None,
            resource: Resource {
                url: "http://a/".into(),
                description: None,
                mime_type: Some("text/html".into()),
                service_name: Some("Shop".into()),
            },
            accepts: vec![json!({"scheme": "exact"})],
            extensions: None,
        };
        let expected = json!({"x402Version": 2, "accepts": [{"scheme": "exact"}],
            "resource": {"url": "http://a/", "mimeType": "text/html", "serviceName": "Shop"}});
        assert_eq!(serde_json::to_value(&required).unwrap(), expected);
        let value = encode_header(&required).unwrap();
        let headers = HeaderMap::from_iter([(PAYMENT_REQUIRED, value)]);
        assert_eq!(decode_header::<PaymentRequired>(&headers, &PAYMENT_REQUIRED, 4096).unwrap(), required);
        let entry = json!({"scheme": "exact", "network": "florin:a", "amount": "5", "asset": "FLO", "payTo": "party_0",
            "maxTimeoutSeconds": 60, "extra": {"rail": "coin"}, "unknown": 1});
        assert_eq!(PaymentRequirements::read(&entry).unwrap().max_timeout_seconds, 60);
        assert_eq!(PaymentRequirements::read(&json!({"scheme": "exact"})), None);
    }
}
