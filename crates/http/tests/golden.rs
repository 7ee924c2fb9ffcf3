//! The exact text of refusals and of metrics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::IntoResponse;
use florin_http::metrics::Unit;
use florin_http::{Problem, ProblemView, Registry, require_type, status_of};
use florin_rail::{Blame, Class, Refusal};
use http_body_util::BodyExt;
use std::time::Duration;

async fn answered(refusal: Refusal) -> (u16, HeaderMap, String) {
    let response = Problem::from(refusal).into_response();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_refusal_is_this_problem() {
    let refusal =
        Refusal::new("not-decided", Class::NotYet, Blame::Nobody, true).with_detail("ask \"again\"").after(7);
    let (status, headers, body) = answered(refusal).await;
    assert_eq!(status, 503);
    assert_eq!(
        body,
        r#"{"type":"urn:florin:problem:not-decided","title":"Not decided yet","status":503,"slug":"not-decided","who_must_act":"nobody","same_bytes_may_be_sent_again":true,"detail":"ask \"again\""}"#
    );
    assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(headers[header::RETRY_AFTER], "7");
    let view = ProblemView::parse(&headers, body.as_bytes()).unwrap();
    assert_eq!(view.slug.as_deref(), Some("not-decided"));
    assert_eq!(view.who_must_act.as_deref(), Some("nobody"));
    assert_eq!(view.detail.as_deref(), Some("ask \"again\""));
    assert_eq!((view.status, view.retry_after_s), (Some(503), Some(7)));
}

#[tokio::test]
async fn a_fault_tells_nothing_but_a_log_id() {
    let refusal = Refusal::new("unbalanced", Class::Fault, Blame::Operator, false).with_detail("lane 3");
    let (status, headers, body) = answered(refusal).await;
    assert_eq!(status, 500);
    assert!(!body.contains("unbalanced") && !body.contains("lane"), "{body}");
    let view = ProblemView::parse(&headers, body.as_bytes()).unwrap();
    let log_id = view.log_id.unwrap();
    assert_eq!(
        body,
        format!(
            r#"{{"type":"urn:florin:problem:fault","title":"A fault of this program","status":500,"slug":"fault","who_must_act":"operator","same_bytes_may_be_sent_again":true,"log_id":"{log_id}"}}"#
        )
    );
    assert_eq!(log_id.len(), 16);
    assert_ne!(Problem::fault(&"x").log_id(), Problem::fault(&"x").log_id());
}

#[test]
fn every_class_has_its_status() {
    for (class, status) in [
        (Class::BadRequest, 400),
        (Class::Denied, 403),
        (Class::NotFound, 404),
        (Class::MethodNotAllowed, 405),
        (Class::TooSlow, 408),
        (Class::Conflict, 409),
        (Class::Gone, 410),
        (Class::TooLarge, 413),
        (Class::UnsupportedType, 415),
        (Class::UnknownHost, 421),
        (Class::TooMany, 429),
        (Class::Fault, 500),
        (Class::NotYet, 503),
        (Class::Unavailable, 503),
        (Class::StorageFull, 507),
    ] {
        assert_eq!(status_of(class).as_u16(), status, "{class:?}");
    }
}

#[test]
fn a_view_ignores_unknown_members_and_refuses_other_things() {
    let headers = |text| HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(text))]);
    let problem = headers("application/problem+json; charset=utf-8");
    let view = ProblemView::parse(&problem, br#"{"slug":"x","balance":[1,2],"log_id":null}"#).unwrap();
    assert_eq!(view, ProblemView { slug: Some("x".to_owned()), ..ProblemView::default() });
    assert_eq!(ProblemView::parse(&headers("application/json"), br#"{"slug":"x"}"#), None);
    for bad in ["", "[]", "{", r#"{"slug":1}"#, r#"{"status":-1}"#] {
        assert_eq!(ProblemView::parse(&problem, bad.as_bytes()), None, "{bad}");
    }
    let long = format!(r#"{{"slug":"{}"}}"#, "x".repeat(20_000));
    assert_eq!(ProblemView::parse(&problem, long.as_bytes()), None);
}

#[test]
fn the_content_type_is_compared_without_parameters() {
    let wanted = "application/florin+cbor";
    for (given, good) in [
        (vec!["application/florin+cbor"], true),
        (vec!["Application/Florin+CBOR ; v=1"], true),
        (vec!["application/cbor"], false),
        (vec!["application/florin+cbor2"], false),
        (vec!["application/florin+cbor, text/plain"], false),
        (vec![wanted, "text/plain"], false),
        (vec![""], false),
        (vec![], false),
    ] {
        let mut headers = HeaderMap::new();
        for value in &given {
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static(value));
        }
        let checked = require_type(&headers, wanted);
        assert_eq!(checked.is_ok(), good, "{given:?}");
        if let Err(refusal) = checked {
            assert_eq!((refusal.slug, status_of(refusal.class).as_u16()), ("wrong-content-type", 415));
        }
    }
}

#[test]
fn metrics_are_this_text() {
    let registry = Registry::new();
    let coin = registry.counter_with("florin_payments_total", "Payments.", Some(("rail", "coin")));
    let size = registry.histogram("florin_batch_rows", "Rows of a\nbatch.", None, Unit::Count, &[1, 8]);
    let debit = registry.counter_with("florin_payments_total", "Payments.", Some(("rail", "d\"\\")));
    registry.gauge("florin_queue", "Waiting.").set(-2);
    let time = registry.histogram(
        "florin_payment_seconds",
        "Time of a payment.",
        Some(("rail", "coin")),
        Unit::Seconds,
        &[1_000, 2_500_000, 3_000_000],
    );
    coin.add(2);
    debit.add(1);
    for n in [1, 2, 8, 9] {
        size.observe_number(n);
    }
    time.observe(Duration::from_micros(1_000));
    time.observe(Duration::from_micros(1_001));
    time.observe(Duration::from_secs(60));
    assert_eq!(
        registry.render(),
        r#"# HELP florin_payments_total Payments.
# TYPE florin_payments_total counter
florin_payments_total{rail="coin"} 2
florin_payments_total{rail="d\"\\"} 1
# HELP florin_batch_rows Rows of a\nbatch.
# TYPE florin_batch_rows histogram
florin_batch_rows_bucket{le="1"} 1
florin_batch_rows_bucket{le="8"} 3
florin_batch_rows_bucket{le="+Inf"} 4
florin_batch_rows_sum 20
florin_batch_rows_count 4
# HELP florin_queue Waiting.
# TYPE florin_queue gauge
florin_queue -2
# HELP florin_payment_seconds Time of a payment.
# TYPE florin_payment_seconds histogram
florin_payment_seconds_bucket{rail="coin",le="0.001"} 1
florin_payment_seconds_bucket{rail="coin",le="2.5"} 2
florin_payment_seconds_bucket{rail="coin",le="3"} 2
florin_payment_seconds_bucket{rail="coin",le="+Inf"} 3
florin_payment_seconds_sum{rail="coin"} 60.002001
florin_payment_seconds_count{rail="coin"} 3
"#
    );
}
