//! The flow `authorization`: check, call the service, settle, and only then let its answer out. An error of the service
//! costs nothing. Source: web.md §2.4, §2.1 ("service answered >= 400"), §4 (5); RFC 9110 §15.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use florin_http::body::{BODY_TOO_LARGE, BODY_TOO_SLOW};
use florin_http::read_body;
use florin_rail::common::{OUTCOME_OPEN, OVERLOADED};
use serde_json::Map;

use crate::gate::{Shared, insert_response};
use crate::headers;
use crate::hold::{Found, Held, NoPlace, Place};
use crate::problem::{ALREADY_USED, ANSWER_TOO_LARGE, UPSTREAM_BROKEN, UPSTREAM_TOO_SLOW, answer, answer_as};
use crate::rules::Rule;
use crate::settle::{Paying, Settlement, Standing};
use crate::target::Target;
use crate::x402::{self, PaymentPayload, SettleResponse};

/// A paying request, for whoever goes on when its asker has hung up.
struct Sale {
    rule: Rule,
    method: Method,
    url: String,
    payment: PaymentPayload,
}

impl Sale {
    fn paying(&self) -> Paying<'_> {
        let (method, resource) = (self.method.as_str(), self.url.as_str());
        Paying { rule: &self.rule, method, resource, payment: &self.payment }
    }
}

impl Shared {
    /// Answers a request that pays for a rule of this flow.
    pub(crate) async fn authorize(
        self: &Arc<Self>,
        request: Request<Body>,
        target: &Target,
        paying: Paying<'_>,
    ) -> Response<Body> {
        let order = match self.gate.till.standing(paying).await {
            Standing::Good(order) => order,
            Standing::Settle(order) => return self.settled_first(request, target, paying, order).await,
            Standing::Not(settlement) => {
                return self.not_served(request.headers(), paying.rule, paying.resource, *settlement);
            }
        };
        let place = match self.shelf.reserve(order) {
            Ok(place) => place,
            // It was answered for since the question.
            Err(NoPlace::Held) => return self.settled_first(request, target, paying, order).await,
            Err(NoPlace::Calling) => return under_way(),
            Err(NoPlace::Full) => return answer(OVERLOADED.after(1)),
        };
        let sale = Sale {
            rule: paying.rule.clone(),
            method: request.method().clone(),
            url: paying.resource.to_owned(),
            payment: paying.payment.clone(),
        };
        // Whoever hangs up does not leave the service called and nothing settled: the sale goes on, and the answer waits.
        let sold = tokio::spawn(sell(Arc::clone(self), request, target.clone(), sale, place));
        match sold.await {
            Ok(answer) => answer,
            Err(error) => axum::response::IntoResponse::into_response(florin_http::Problem::fault(&error)),
        }
    }

    /// A payment that was presented before, or that will not go through: what becomes of it comes first. The service is
    /// called only where it is paid and its answer is not there, as after a crash.
    async fn settled_first(
        self: &Arc<Self>,
        request: Request<Body>,
        target: &Target,
        paying: Paying<'_>,
        order: [u8; 16],
    ) -> Response<Body> {
        let settlement = self.gate.till.settle(paying).await;
        match (settlement, self.shelf.find(&order)) {
            (Settlement::Paid(_) | Settlement::AlreadyUsed, Some(Found::Calling)) => under_way(),
            (Settlement::Paid(served), Some(Found::Held(held))) => {
                self.let_out(request.method(), order, *held, &served.response).await
            }
            (Settlement::AlreadyUsed, Some(Found::Held(mut held))) => match held.settled.take() {
                Some(response) => release(*held, &response),
                None => answer(ALREADY_USED),
            },
            (Settlement::Paid(served), None) => self.serve(request, target, served, paying).await,
            (other, _) => {
                if !matches!(other, Settlement::Open { .. } | Settlement::Fault) {
                    self.shelf.forget(&order);
                }
                self.not_served(request.headers(), paying.rule, paying.resource, other)
            }
        }
    }

    /// It is paid: the answer goes out, and a request that may have changed something is not passed on again.
    async fn let_out(
        &self,
        method: &Method,
        order: [u8; 16],
        held: Held,
        response: &SettleResponse,
    ) -> Response<Body> {
        self.shelf.settled(&order, response);
        if !matches!(*method, Method::GET | Method::HEAD) {
            self.gate.till.served(order).await;
        }
        release(held, response)
    }
}

async fn sell(
    shared: Arc<Shared>,
    mut request: Request<Body>,
    target: Target,
    sale: Sale,
    place: Place,
) -> Response<Body> {
    let asked = request.headers().clone();
    // A connection that has become something else cannot be held back.
    request.headers_mut().remove(header::UPGRADE);
    let came = shared.pass(request, &target).await;
    if came.status().as_u16() >= 400 {
        return not_settled(came);
    }
    let held = match shared.take_whole(came).await {
        Ok(held) => held,
        Err(refused) => return refused,
    };
    let order = *place.order();
    place.hold(held.clone());
    let paying = sale.paying();
    match shared.gate.till.settle(paying).await {
        Settlement::Paid(served) => shared.let_out(&sale.method, order, held, &served.response).await,
        // The answer waits for the same request.
        open @ (Settlement::Open { .. } | Settlement::Fault) => {
            shared.not_served(&asked, paying.rule, paying.resource, open)
        }
        no => {
            shared.shelf.forget(&order);
            shared.not_served(&asked, paying.rule, paying.resource, no)
        }
    }
}

impl Shared {
    /// The service's whole answer, within the bounds; else what is said instead, and nothing is settled.
    async fn take_whole(&self, came: Response<Body>) -> Result<Held, Response<Body>> {
        let settings = self.shelf.settings();
        let (parts, body) = came.into_parts();
        match read_body(body, settings.answer_bytes_max, settings.answer_time).await {
            Ok(body) => Ok(Held { status: parts.status, headers: parts.headers, body, settled: None }),
            Err(refusal) if refusal.slug == BODY_TOO_LARGE.slug => {
                let detail = format!(
                    "this page is paid after it is made, and then has at most {} bytes; nothing was paid",
                    settings.answer_bytes_max
                );
                let refusal = ANSWER_TOO_LARGE.with_detail(detail);
                Err(answer_as(refusal, StatusCode::BAD_GATEWAY, Map::new()))
            }
            Err(refusal) if refusal.slug == BODY_TOO_SLOW.slug => {
                Err(answer_as(UPSTREAM_TOO_SLOW, StatusCode::GATEWAY_TIMEOUT, Map::new()))
            }
            Err(_) => Err(answer_as(UPSTREAM_BROKEN, StatusCode::BAD_GATEWAY, Map::new())),
        }
    }
}

/// An error of the service, as it came: nothing was settled, and nothing of it says otherwise.
fn not_settled(mut came: Response<Body>) -> Response<Body> {
    came.headers_mut().remove(x402::PAYMENT_REQUIRED);
    came.headers_mut().remove(x402::PAYMENT_RESPONSE);
    headers::make_private(came.headers_mut());
    came
}

fn release(held: Held, response: &SettleResponse) -> Response<Body> {
    let mut answer = held.into_response();
    answer.headers_mut().remove(x402::PAYMENT_REQUIRED);
    insert_response(&mut answer, response);
    headers::make_private(answer.headers_mut());
    answer
}

fn under_way() -> Response<Body> {
    let detail = "the same request is under way; repeat it with the same PAYMENT-SIGNATURE";
    answer(OUTCOME_OPEN.with_detail(detail).after(1))
}
