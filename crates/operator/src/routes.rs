//! The operator's pages: one for each step, the key list, and what runs the place.
//! Source: architecture.md, "The wire", "Conventions"; G9, G10, G12.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use florin_coin::issuer::{
    AcknowledgeStep, AggregateBalanceStep, BoxOpenStep, BoxPutStep, BoxTakeStep, ChangeStep, CheckStep,
    CollectAckStep, CollectStep, PayeeStatusStep, PayerStatusStep, PaymentStep, RedeemAggregateStep,
    RedeemStep, RefreshStep, RefundStep, WRequest1Step, WRequest3Step,
};
use florin_http::metrics::Unit;
use florin_http::{Problem, read_body, require_type, with_fallbacks};
use florin_parties::kinds::COPY_PARTICIPANT;
use florin_parties::{ConfirmStep, EnrolStep, RegisterStep, network_id};
use florin_rail::common::{MESSAGE_BYTES_MAX, WITHDRAW};
use florin_rail::{Refusal, Step};
use florin_shell::description::{self, Description};
use florin_shell::exchange::CONTENT_TYPE;
use florin_shell::house::House;
use std::time::Duration;

use crate::operator::Operator;
use crate::registrations;

const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a registration waits for its copy in the books lane.
const COPY_WAIT: Duration = Duration::from_secs(3);

/// All pages of an operator.
pub fn router(operator: &Arc<Operator>) -> Router {
    let o = operator;
    let (identity, books) = (&o.lanes.identity, &o.lanes.books);
    let i = || Arc::clone(&o.issuer);
    let router = Router::new()
        .merge(step(o, identity, WRequest1Step(i())))
        .merge(step(o, identity, WRequest3Step(i())))
        .merge(step(o, books, CollectStep(i())))
        .merge(step(o, books, CollectAckStep(i())))
        .merge(step(o, books, PaymentStep(i())))
        .merge(step(o, books, CheckStep::new(i())))
        .merge(step(o, books, AcknowledgeStep(i())))
        .merge(step(o, books, ChangeStep(i())))
        .merge(step(o, books, RefreshStep(i())))
        .merge(step(o, books, RedeemStep(i())))
        .merge(step(o, books, RefundStep(i())))
        .merge(step(o, books, RedeemAggregateStep(i())))
        .merge(step(o, books, AggregateBalanceStep(i())))
        .merge(step(o, books, PayerStatusStep(i())))
        .merge(step(o, books, PayeeStatusStep(i())))
        .merge(step(o, books, BoxOpenStep(i())))
        .merge(step(o, books, BoxPutStep(i())))
        .merge(step(o, books, BoxTakeStep(i())))
        .merge(parties(o))
        .route(description::PATH, get(well_known).with_state(Arc::clone(o)))
        .merge(crate::admin::router(o))
        .layer(DefaultBodyLimit::disable());
    let ready = Arc::clone(o);
    let operating = florin_http::operating_routes(Arc::clone(&o.registry), move || ready.is_ready());
    with_fallbacks(router.merge(operating))
}

/// Registration and enrolment: their participant is in the books lane before the reply leaves.
fn parties(o: &Arc<Operator>) -> Router {
    let identity = &o.lanes.identity;
    let keys = || Arc::clone(&o.keys);
    let limit = Arc::new(registrations::Limit::new(o.config.registrations_per_hour));
    let register = step(o, identity, RegisterStep::new(keys()))
        .layer(axum::middleware::from_fn_with_state(limit, registrations::limit));
    register
        .merge(step(o, identity, EnrolStep::new(keys(), o.currency)))
        .merge(step(o, identity, ConfirmStep::new(keys())))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(o), copied))
}

/// Lets an answer wait until what it promises is known to the books lane too.
async fn copied(
    State(operator): State<Arc<Operator>>,
    request: Request,
    next: axum::middleware::Next,
) -> Response {
    let response = next.run(request).await;
    let until = tokio::time::Instant::now().checked_add(COPY_WAIT);
    while response.status().is_success() && until.is_some_and(|end| tokio::time::Instant::now() < end) {
        let waits = |lane: &florin_books::Lane| lane.outbox().any(|o| o.kind == COPY_PARTICIPANT);
        if !operator.lanes.identity.books.view(waits).unwrap_or(false) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    response
}

/// The page of one step.
fn step<S: Step + 'static>(operator: &Operator, house: &House, step: S) -> Router {
    let name = step.name();
    let path = format!("/v1/{}/{}", name.rail, name.step);
    let label = Some(("step", name.step));
    let time = operator.registry.histogram(
        "florin_step_seconds",
        "Time from a request's last byte to its reply.",
        label,
        Unit::Seconds,
        florin_http::metrics::PAYMENT_BOUNDS_US,
    );
    let refused = operator.registry.counter_with("florin_refusals_total", "Requests refused.", label);
    let served = Arc::new((house.clone(), step));
    let handler = move |withdraws: bool, request: Request| {
        let (served, time, refused) = (Arc::clone(&served), Arc::clone(&time), Arc::clone(&refused));
        async move {
            let (parts, body) = request.into_parts();
            let answer = async {
                require_type(&parts.headers, CONTENT_TYPE)?;
                let body = read_body(body, MESSAGE_BYTES_MAX, BODY_TIMEOUT).await?;
                let begun = Instant::now();
                let reply = if withdraws {
                    served.0.withdraw(&served.1, &body).await
                } else {
                    served.0.serve(&served.1, &body).await
                };
                time.observe(begun.elapsed());
                reply
            };
            let answer: Result<Vec<u8>, Refusal> = answer.await;
            match answer {
                Ok(reply) => message(reply),
                Err(refusal) => {
                    refused.add(1);
                    Problem::from(refusal).into_response()
                }
            }
        }
    };
    let withdraw = handler.clone();
    Router::new()
        .route(&format!("{path}{WITHDRAW}"), post(move |request| withdraw(true, request)))
        .route(&path, post(move |request| handler(false, request)))
}

fn message(reply: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, reply).into_response()
}

async fn well_known(State(operator): State<Arc<Operator>>) -> Response {
    let published = operator.published();
    let list = &published.list;
    let (id, now) = (network_id(list.operator), operator.clock.now().0);
    match crate::trace_log::head(&operator.lanes.identity) {
        Ok(head) => {
            let description = Description::new(&published.signed, &list.name, id, list.test, now);
            Json(description.with_openings(head.public())).into_response()
        }
        Err(error) => Problem::fault(&error).into_response(),
    }
}
