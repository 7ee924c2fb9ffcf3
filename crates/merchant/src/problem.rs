//! The gate's refusals: as florin-http writes them, and two statuses that only a gate has (402, 502 with 504).
//! Source: RFC 9457; web.md §2.1, §4; docs/problems.md, section "gate".

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use florin_http::Problem;
use florin_rail::{Blame, Class, Refusal};
use serde_json::{Map, Value};

/// The page costs something and nothing was paid.
pub const PAYMENT_REQUIRED: Refusal = Refusal::new("payment-required", Class::Denied, Blame::Payer, false);
/// The payment was refused for good.
pub const PAYMENT_DENIED: Refusal = Refusal::new("payment-denied", Class::Denied, Blame::Payer, false);
/// The payment has been used, longer ago than it is served again.
pub const ALREADY_USED: Refusal = Refusal::new("already-used", Class::Conflict, Blame::Payer, false);
/// The path can be read in two ways.
pub const BAD_PATH: Refusal = Refusal::new("bad-path", Class::BadRequest, Blame::Asker, false);
/// The request names no host, or something that is none.
pub const BAD_HOST: Refusal = Refusal::new("bad-host", Class::BadRequest, Blame::Asker, false);
/// The method cannot pass a gate.
pub const METHOD_NOT_PASSED: Refusal =
    Refusal::new("method-not-passed", Class::MethodNotAllowed, Blame::Asker, false);
/// The service behind the gate cannot be reached.
pub const UPSTREAM_UNREACHABLE: Refusal =
    Refusal::new("upstream-unreachable", Class::Unavailable, Blame::Payee, true);
/// The service behind the gate did not answer in time.
pub const UPSTREAM_TOO_SLOW: Refusal =
    Refusal::new("upstream-too-slow", Class::Unavailable, Blame::Payee, true);
/// The service behind the gate answered with something else than HTTP.
pub const UPSTREAM_BROKEN: Refusal = Refusal::new("upstream-broken", Class::Unavailable, Blame::Payee, true);

/// The service's answer is longer than what can be held back until it is paid.
pub const ANSWER_TOO_LARGE: Refusal =
    Refusal::new("answer-too-large", Class::Unavailable, Blame::Payee, false);

/// A refusal under its class's status.
pub(crate) fn answer(refusal: Refusal) -> Response<Body> {
    Problem::from(refusal).into_response()
}

/// A refusal under a status that only a gate has, with further members.
pub(crate) fn answer_as(refusal: Refusal, status: StatusCode, members: Map<String, Value>) -> Response<Body> {
    let slug = refusal.slug;
    let problem = Problem::from(refusal);
    let mut body: Map<String, Value> = serde_json::from_str(&problem.to_json()).unwrap_or_default();
    body.insert("status".to_owned(), status.as_u16().into());
    body.insert("title".to_owned(), title(slug, status).into());
    body.extend(members);
    let mut response = problem.into_response();
    *response.status_mut() = status;
    *response.body_mut() = Body::from(Value::Object(body).to_string());
    if status == StatusCode::PAYMENT_REQUIRED {
        response.headers_mut().remove(header::RETRY_AFTER);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn title(slug: &str, status: StatusCode) -> &'static str {
    match slug {
        "payment-required" => "This page costs something",
        "payment-denied" => "The payment was refused; nothing was bought",
        _ => status.canonical_reason().unwrap_or("The service behind the gate failed"),
    }
}
