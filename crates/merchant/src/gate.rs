//! The gate: prices a request, has it paid, and only then passes it on to the service.
//! Source: web.md §2.1, §4; architecture.md, "Never unknown" (an open outcome is never a second 402).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use data_encoding::BASE64URL_NOPAD;
use florin_crypto::random;
use florin_http::PeerAddress;
use florin_rail::common::{OUTCOME_OPEN, REQUEST_ID_REUSED};
use florin_shell::house::EntropySource;
use serde_json::{Map, Value};

use crate::headers::{self, Origin};
use crate::hold::{HoldSettings, Shelf};
use crate::page::{self, Page};
use crate::problem::{
    ALREADY_USED, BAD_HOST, BAD_PATH, METHOD_NOT_PASSED, PAYMENT_DENIED, PAYMENT_REQUIRED, answer, answer_as,
};
use crate::proxy::Proxy;
use crate::rules::{Flow, Rule, Rules};
use crate::settle::{Paying, Served, Settlement, Till};
use crate::target::{Outside, PRICED_URL_BYTES_MAX, Target, TargetFault};
use crate::x402::{self, HeaderFault, Resource, X402_VERSION};

/// Who sells, and with whose coins: for people.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The merchant's name.
    pub name: String,
    /// The operator's name.
    pub operator: String,
    /// Whether the coins are worth nothing.
    pub test: bool,
}

/// Everything that a gate needs to answer.
pub struct Gate {
    /// What costs how much.
    pub rules: Rules,
    /// Who takes payments.
    pub till: Arc<dyn Till>,
    /// The way to the service.
    pub proxy: Proxy,
    /// How it is seen from outside.
    pub outside: Outside,
    /// Who sells.
    pub shop: Shop,
    /// How much of the service's answers is held back.
    pub hold: HoldSettings,
    /// Randomness, for the page's nonce.
    pub entropy: EntropySource,
}

pub(crate) struct Shared {
    pub(crate) gate: Gate,
    /// Answers that are held back until they are paid.
    pub(crate) shelf: Arc<Shelf>,
    /// Orders whose service is being called and must not be called twice.
    calling: Mutex<HashSet<[u8; 16]>>,
}

/// The gate's routes: its own health, and everything else.
pub fn router(gate: Gate) -> Router {
    let shelf = Arc::new(Shelf::new(gate.hold));
    let shared = Arc::new(Shared { gate, shelf, calling: Mutex::default() });
    Router::new()
        .route("/.well-known/florin-gate/healthz", get(async || "ok\n"))
        .fallback(handle)
        .with_state(shared)
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    let gate = &shared.gate;
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return answer(METHOD_NOT_PASSED);
    }
    // `OPTIONS *` asks about the server, not about a page.
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return preflight(request.headers());
    }
    let target = match Target::of(request.uri(), request.headers(), &gate.outside) {
        Ok(target) => target,
        Err(TargetFault::Path(why)) => return answer(BAD_PATH.with_detail(why.to_string())),
        Err(TargetFault::Host) => return answer(BAD_HOST),
    };
    let rule = gate.rules.rule(request.method(), &target.path);
    if request.method() == Method::OPTIONS {
        let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
        let asked = asked.and_then(|m| Method::from_bytes(m.as_bytes()).ok());
        let asked_rule = asked.map(|m| gate.rules.rule(&m, &target.path));
        if rule.price.is_some() || asked_rule.is_some_and(|r| r.price.is_some()) {
            return preflight(request.headers());
        }
    }
    if rule.price.is_none() {
        return shared.pass(request, &target).await;
    }
    let url = target.url();
    if url.len() > PRICED_URL_BYTES_MAX {
        let detail =
            format!("the URL of a page that costs something has at most {PRICED_URL_BYTES_MAX} bytes");
        return answer(BAD_PATH.with_detail(detail));
    }
    let mut response = shared.sell(request, &target, rule, &url).await;
    headers::expose(response.headers_mut());
    response
}

impl Shared {
    pub(crate) async fn pass(&self, request: Request<Body>, target: &Target) -> Response<Body> {
        let address = request.extensions().get::<PeerAddress>().map(|peer| peer.0.ip());
        let trusted = self.gate.outside.trust_forwarded;
        let from = Origin { address, scheme: &target.scheme, host: &target.host, trusted };
        self.gate.proxy.pass(request, &target.onward, &from).await
    }

    async fn sell(
        self: &Arc<Self>,
        request: Request<Body>,
        target: &Target,
        rule: &Rule,
        url: &str,
    ) -> Response<Body> {
        let payment = match x402::payment_of(request.headers()) {
            Ok(payment) => payment,
            Err(HeaderFault::Missing) => return self.unpaid(request.headers(), rule, url, None),
            Err(fault) => return self.unpaid(request.headers(), rule, url, Some(&fault.to_string())),
        };
        let method = request.method().clone();
        let paying = Paying { rule, method: method.as_str(), resource: url, payment: &payment };
        if rule.flow == Flow::Authorization {
            return self.authorize(request, target, paying).await;
        }
        match self.gate.till.settle(paying).await {
            Settlement::Paid(served) => self.serve(request, target, served, paying).await,
            other => self.not_served(request.headers(), rule, url, other),
        }
    }

    /// What is answered where the service is not called.
    pub(crate) fn not_served(
        &self,
        asked: &HeaderMap,
        rule: &Rule,
        url: &str,
        settlement: Settlement,
    ) -> Response<Body> {
        match settlement {
            Settlement::Paid(_) => answer(florin_rail::common::FAULT),
            Settlement::Denied(response) => {
                let detail = "the cause stands in the wallet of who paid";
                let mut answer =
                    answer_as(PAYMENT_DENIED.with_detail(detail), StatusCode::PAYMENT_REQUIRED, Map::new());
                insert_response(&mut answer, &response);
                allow_reading(asked, &mut answer);
                answer
            }
            Settlement::Open { retry_after_s } => {
                let detail = "repeat the request with the same PAYMENT-SIGNATURE; do not pay anew";
                let mut answer = answer(OUTCOME_OPEN.with_detail(detail).after(retry_after_s.max(1)));
                allow_reading(asked, &mut answer);
                answer
            }
            Settlement::NotPaying(code) => self.unpaid(asked, rule, url, Some(code)),
            Settlement::AlreadyUsed => answer(ALREADY_USED),
            Settlement::IdReused => answer(REQUEST_ID_REUSED),
            Settlement::Fault => answer(florin_rail::common::FAULT),
        }
    }

    /// Calls the service for a payment that is settled.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        request: Request<Body>,
        target: &Target,
        served: Served,
        paying: Paying<'_>,
    ) -> Response<Body> {
        let mut answer = if matches!(*request.method(), Method::GET | Method::HEAD) {
            self.pass(request, target).await
        } else {
            let Some(calling) = self.begin_call(served.order) else {
                let detail = "the same request is under way; repeat it with the same PAYMENT-SIGNATURE";
                return answer(OUTCOME_OPEN.with_detail(detail).after(1));
            };
            // Another request with this payment may have ended between its settlement and this call.
            let again = self.gate.till.settle(paying).await;
            if !matches!(again, Settlement::Paid(_)) {
                return self.not_served(request.headers(), paying.rule, paying.resource, again);
            }
            // Whoever hangs up does not get to call the service once more for the same money: the call goes on without him.
            let called = tokio::spawn(call_once(Arc::clone(self), request, target.clone(), calling));
            match called.await {
                Ok(answer) => answer,
                Err(error) => florin_http::Problem::fault(&error).into_response(),
            }
        };
        answer.headers_mut().remove(x402::PAYMENT_REQUIRED);
        insert_response(&mut answer, &served.response);
        headers::make_private(answer.headers_mut());
        answer
    }

    fn begin_call(self: &Arc<Self>, order: [u8; 16]) -> Option<Calling> {
        let fresh = self.calling.lock().unwrap_or_else(PoisonError::into_inner).insert(order);
        fresh.then(|| Calling { shared: Arc::clone(self), order })
    }

    /// 402, for a person as a page and for a program as problem+json.
    fn unpaid(&self, asked: &HeaderMap, rule: &Rule, url: &str, error: Option<&str>) -> Response<Body> {
        let gate = &self.gate;
        let price = rule.price.map(|price| price.to_string()).unwrap_or_default();
        let required = x402::PaymentRequired {
            x402_version: X402_VERSION,
            error: error.map(str::to_owned),
            resource: Resource {
                url: url.to_owned(),
                description: rule.description.clone(),
                mime_type: None,
                service_name: service_name(&gate.shop.name),
            },
            accepts: gate.till.accepts(rule),
            extensions: None,
        };
        // A single quote ends a quoted word of the shell; escaped, it means the same in a URL.
        let command = format!("florin wallet pay '{}'", url.replace('\'', "%27"));
        let mut response = if page::wants_html(asked) {
            let nonce = BASE64URL_NOPAD.encode(&random::<16>(&mut *(gate.entropy)()));
            let page = Page {
                merchant: &gate.shop.name,
                operator: &gate.shop.operator,
                test: gate.shop.test,
                price: &price,
                description: rule.description.as_deref(),
                url,
                command: &command,
                error,
            };
            let mut response = Response::new(Body::from(page.html(&nonce)));
            *response.status_mut() = StatusCode::PAYMENT_REQUIRED;
            page::policy(response.headers_mut(), &nonce);
            response
        } else {
            let how = format!(
                "This costs {price}, payable with coins of {}. Pay with: {command}",
                gate.shop.operator
            );
            let members: Map<String, Value> =
                [("how_to_pay", how), ("price", price), ("resource", url.to_owned())]
                    .into_iter()
                    .map(|(name, text)| (name.to_owned(), Value::from(text)))
                    .collect();
            let refusal = match error {
                Some(error) => PAYMENT_REQUIRED.with_detail(format!("what was sent did not pay: {error}")),
                None => PAYMENT_REQUIRED,
            };
            answer_as(refusal, StatusCode::PAYMENT_REQUIRED, members)
        };
        let headers = response.headers_mut();
        if let Ok(value) = x402::encode_header(&required) {
            headers.insert(x402::PAYMENT_REQUIRED, value);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        allow_reading(asked, &mut response);
        response
    }
}

/// In an answer's extensions: the service was not reached, so the same request may be passed on again.
#[derive(Clone, Copy)]
pub(crate) struct NotReached;

/// A request that may change something at the service, which is called once: after an answer, never again.
async fn call_once(
    shared: Arc<Shared>,
    request: Request<Body>,
    target: Target,
    calling: Calling,
) -> Response<Body> {
    let answer = shared.pass(request, &target).await;
    if answer.extensions().get::<NotReached>().is_none() {
        shared.gate.till.served(calling.order).await;
    }
    drop(calling);
    answer
}

/// A call under way; over when dropped.
struct Calling {
    shared: Arc<Shared>,
    order: [u8; 16],
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.shared.calling.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.order);
    }
}

pub(crate) fn insert_response(answer: &mut Response<Body>, settled: &x402::SettleResponse) {
    match x402::encode_header(settled) {
        Ok(value) => drop(answer.headers_mut().insert(x402::PAYMENT_RESPONSE, value)),
        Err(error) => tracing::error!(%error, "a settled answer has no PAYMENT-RESPONSE"),
    }
}

/// x402 wants at most 32 printable ASCII characters.
fn service_name(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|c| matches!(c, ' '..='~')).take(32).collect();
    Some(name).filter(|name| !name.trim().is_empty())
}

/// What the gate itself says may be read by a script of any site: it holds nothing secret and no cookie counts.
fn allow_reading(asked: &HeaderMap, answer: &mut Response<Body>) {
    if asked.contains_key(header::ORIGIN) {
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
}

/// `OPTIONS` costs nothing.
fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let word = |value: &HeaderValue| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b',' | b' ');
        value
            .to_str()
            .ok()
            .filter(|v| !v.is_empty() && v.len() <= 1024 && v.bytes().all(allowed))
            .map(str::to_owned)
    };
    let method = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD).and_then(word);
    let more = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(word);
    let allowed =
        more.map_or_else(|| headers::ALLOWED.to_owned(), |more| format!("{}, {more}", headers::ALLOWED));
    let methods =
        method.map_or_else(|| "GET, HEAD, OPTIONS".to_owned(), |m| format!("GET, HEAD, OPTIONS, {m}"));
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed),
        (header::ACCESS_CONTROL_MAX_AGE, "600".to_owned()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers::expose(headers);
    response
}
