//! What comes over the web: paths, the headers of x402, offers, problem documents, descriptions, the bank's JSON.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use data_encoding::BASE64;
use florin_bank::messages as bank_messages;
use florin_http::ProblemView;
use florin_merchant::offer::{CoinPayload, ENC_C1_BYTES_MAX, for_facilitator, signed_part};
use florin_merchant::path::CleanPath;
use florin_merchant::x402::{
    PAYLOAD_BYTES_MAX, PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, PaymentPayload,
    PaymentRequired, PaymentRequirements, SettleResponse, decode_header, encode_header,
};
use florin_shell::description::Description;
use florin_shell::jcs::jcs;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::say::{choice, fine, text};

pub(crate) const PATHS: &[&str] = &["/", "..", "%2e", "%2F", "%5c", ";", "//", "%", "*", "**", "?", "#", "ü"];
pub(crate) const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "1e9",
    "-0",
    "18446744073709551616",
    "\\u0000",
    "\\ud800",
    "\"x402Version\":2",
    "\"accepts\":[]",
    "\"extra\":{}",
    "\"payload\":{}",
    "9007199254740992",
];

/// A path has one form, which is a path in that form, and says nothing that two servers may read differently.
pub(crate) fn path(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(path) = CleanPath::parse(text) else { return };
    let form = path.as_str();
    assert_eq!(CleanPath::parse(form).as_ref(), Ok(&path), "{text:?}");
    assert!(form.starts_with('/') && form.is_ascii() && !form.contains(['\\', '?', '#', ' ']), "{text:?}");
    let lower = form.to_ascii_lowercase();
    assert!(!lower.contains("%2f") && !lower.contains("%5c") && !lower.contains("//"), "{text:?}");
    for segment in form.split('/') {
        let bare = segment.split(';').next().unwrap_or_default();
        assert!(bare != "." && bare != "..", "{text:?}");
    }
}

fn headers(name: &HeaderName, value: &[u8]) -> Option<HeaderMap> {
    Some(HeaderMap::from_iter([(name.clone(), HeaderValue::from_bytes(value).ok()?)]))
}

/// An object of x402 that is read is written as one that reads as the same; a second header of the name is none.
fn header_object<T>(name: &HeaderName, value: &[u8]) -> Option<T>
where
    T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    let mut headers = headers(name, value)?;
    let object: T = decode_header(&headers, name, PAYLOAD_BYTES_MAX).ok()?;
    let written = fine(encode_header(&object), "what was read is not written");
    let again = HeaderMap::from_iter([(name.clone(), written)]);
    assert_eq!(decode_header::<T>(&again, name, 1 << 20).as_ref(), Ok(&object));
    if let Some(first) = headers.get(name).cloned() {
        headers.append(name.clone(), first);
    }
    assert!(decode_header::<T>(&headers, name, PAYLOAD_BYTES_MAX).is_err(), "two headers were read as one");
    Some(object)
}

/// A header of a payment, as it stands or around JSON.
pub(crate) fn x402(data: &[u8]) {
    let (what, data) = choice(data);
    let value = if what & 8 == 0 { data.to_vec() } else { BASE64.encode(data).into_bytes() };
    match what % 3 {
        0 => {
            let Some(payload) = header_object::<PaymentPayload>(&PAYMENT_SIGNATURE, &value) else { return };
            presentation(&payload.payload);
            entry(&payload.accepted);
        }
        1 => {
            let Some(required) = header_object::<PaymentRequired>(&PAYMENT_REQUIRED, &value) else { return };
            required.accepts.iter().for_each(entry);
        }
        _ => drop(header_object::<SettleResponse>(&PAYMENT_RESPONSE, &value)),
    }
}

/// The coin scheme's own object has one form for each thing that it says.
fn presentation(payload: &Value) {
    let Some(read) = CoinPayload::read(payload) else { return };
    assert!(read.enc_c1.ct.len() <= ENC_C1_BYTES_MAX);
    let text = fine(serde_json::to_value(CoinPayload::new(&read)), "a payload is JSON");
    assert_eq!(CoinPayload::read(&text), Some(read));
}

/// What of an entry was signed does not depend on its signature, nor on the order of its members.
fn entry(entry: &Value) {
    if let Some(read) = PaymentRequirements::read(entry) {
        let again = fine(serde_json::to_value(&read), "an entry is JSON");
        assert_eq!(PaymentRequirements::read(&again), Some(read));
    }
    if let Some((label, _)) = for_facilitator(entry) {
        assert!(label.starts_with("facilitator") && !label.contains(' '));
    }
    let Some((signed, signature)) = signed_part(entry) else { return };
    let mut other = entry.clone();
    if let Some(extra) = other.get_mut("extra").and_then(Value::as_object_mut) {
        extra.insert("signature".to_owned(), "AAAA".into());
    }
    let (unsigned, changed) = signed_part(&other).unwrap_or_default();
    assert!(unsigned == signed && changed == [0, 0, 0]);
    assert!(signature.len() <= entry.to_string().len());
}

/// An entry of `accepts` or a payload as JSON, and canonical JSON of whatever it is.
pub(crate) fn offer(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    entry(&value);
    presentation(&value);
    let Ok(bytes) = jcs(&value) else { return };
    let again: Value = fine(serde_json::from_slice(&bytes), "canonical JSON is JSON");
    assert_eq!(jcs(&again).as_ref(), Ok(&bytes), "canonical JSON of canonical JSON is another");
    // A fraction of zero is no integer in JSON, and one in no canonical form; all else is the same value.
    assert_eq!(again, value);
}

/// A problem document, and an operator's description.
pub(crate) fn problem(data: &[u8]) {
    let (what, body) = choice(data);
    let types =
        ["application/problem+json", "application/problem+json; charset=utf-8", "application/json", ""];
    let kind = types.get(usize::from(what % 4)).copied().unwrap_or_default();
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(kind) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    let retry = if what & 16 == 0 { HeaderValue::from_static("7") } else { body_value(body) };
    headers.insert(header::RETRY_AFTER, retry);
    if let Some(view) = ProblemView::parse(&headers, body) {
        assert!(what % 4 < 2, "{kind} is no problem document");
        assert!(what & 16 != 0 || view.retry_after_s == Some(7));
        assert!(body.trim_ascii_start().first() == Some(&b'{'));
    }
    if let Some(list) = Description::signed_list(body) {
        let own = Description::new(&list, "", String::new(), true, 0);
        let bytes = fine(serde_json::to_vec(&own), "a description is JSON");
        assert_eq!(Description::signed_list(&bytes), Some(list));
    }
}

fn body_value(body: &[u8]) -> HeaderValue {
    let head = body.get(..body.len().min(12)).unwrap_or_default();
    HeaderValue::from_bytes(head).unwrap_or(HeaderValue::from_static(""))
}

fn same_again<T>(data: &[u8])
where
    T: DeserializeOwned + Serialize,
{
    let Ok(read) = serde_json::from_slice::<T>(data) else { return };
    let bytes = fine(serde_json::to_vec(&read), "what was read is not written");
    let again: T = fine(serde_json::from_slice(&bytes), "what was written is not read");
    assert!(fine(serde_json::to_vec(&again), "JSON") == bytes, "two forms of one message");
}

/// Every message of the sandbox bank: what is read is written as one that reads as the same.
pub(crate) fn bank(data: &[u8]) {
    let (what, data) = choice(data);
    match what % 16 {
        0 => same_again::<bank_messages::OpenAccount>(data),
        1 => same_again::<bank_messages::Deposit>(data),
        2 => same_again::<bank_messages::Transfer>(data),
        3 => same_again::<bank_messages::AccountView>(data),
        4 => same_again::<bank_messages::Statement>(data),
        5 => same_again::<bank_messages::SubmitOrders>(data),
        6 => same_again::<bank_messages::OrdersTaken>(data),
        7 => same_again::<bank_messages::Events>(data),
        8 => same_again::<bank_messages::InterbankPayment>(data),
        9 => same_again::<bank_messages::InterbankOutcome>(data),
        10 => same_again::<bank_messages::SetDelay>(data),
        11 => same_again::<bank_messages::SetReject>(data),
        12 => same_again::<bank_messages::BankCard>(data),
        13 => same_again::<bank_messages::MandateBlock>(data),
        14 => same_again::<bank_messages::TransferTaken>(data),
        _ => same_again::<bank_messages::AccountOpened>(data),
    }
}
