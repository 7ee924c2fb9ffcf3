//! The facilitator: `/supported`, `/verify` and `/settle` for a shop of any make that sells for this gate's purse.
//! Source: web.md §2.2, §2.3, §2.5, §4 (3, 4, 5) and "Florin's profile"; ADR 0024 (why the gate serves it).
//!
//! Both calls take `{x402Version, paymentPayload, paymentRequirements}` and answer 200 whatever they find, but for the
//! token (401), the size (413), the content type (415) and an operator that does not answer `/verify` (503).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use data_encoding::BASE64URL_NOPAD;
use florin_coin::messages::WouldBe;
use florin_coin::web::{self, SCHEME};
use florin_crypto::Secret;
use florin_http::{read_body, require_type};
use florin_money::Amount;
use florin_rail::common::OUTCOME_OPEN;
use florin_rail::{Blame, Class, Refusal};
use florin_shell::OsEntropy;
use florin_shell::home::{HomeError, write_private};
use florin_shell::house::ActError;
use florin_shell::jcs::jcs;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::claim::{Bought, Claim, Would};
use crate::offer::{for_facilitator, signed_part};
use crate::order::OrderState;
use crate::problem::{answer, answer_as};
use crate::program::GateConfig;
use crate::settle::{Settle, Settlement};
use crate::till::CoinTill;
use crate::x402::{PAYLOAD_BYTES_MAX, PaymentPayload, PaymentRequirements, SettleResponse, X402_VERSION};

/// Where it is, at the gate's own address.
pub const PATH: &str = "/.well-known/florin-gate/facilitator";
/// The file with the token, in the gate's folder.
pub const TOKEN_FILE: &str = "facilitator.token";
/// The largest body: payload and requirements, each with the offer in it.
const BODY_BYTES_MAX: usize = 32 * 1024;
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long after it is settled a payload is settled again with the same answer, for a shop whose answer was lost.
pub const SETTLE_WINDOW_MS: u64 = 2 * 60 * 1000;

/// The shop did not show the token.
pub const NO_TOKEN: Refusal = Refusal::new("facilitator-token", Class::Denied, Blame::Asker, false);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The file.
    #[error("cannot read {TOKEN_FILE}: {0}")]
    Io(#[from] std::io::Error),
    /// The file holds something else.
    #[error("{TOKEN_FILE} holds no token; delete it, and a new one is made")]
    Unreadable,
}

/// The token in the gate's folder, made if there is none: 32 bytes as base64url.
///
/// # Errors
/// [`TokenError`].
pub fn token(dir: &Path) -> Result<String, TokenError> {
    let file = dir.join(TOKEN_FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let text = text.trim();
            read_token(text).map(|_| text.to_owned()).ok_or(TokenError::Unreadable)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = BASE64URL_NOPAD.encode(Secret::<32>::random(&mut OsEntropy).expose());
            write_private(&file, format!("{made}\n").as_bytes())?;
            Ok(made)
        }
        Err(error) => Err(error.into()),
    }
}

/// Where shops find the facilitator of a gate.
#[must_use]
pub fn url(config: &GateConfig) -> String {
    let scheme = if config.tls_cert.is_some() { "https" } else { "http" };
    let own = format!("{scheme}://{}", config.listen);
    let base = config.public_url.clone().unwrap_or(own);
    format!("{}{PATH}", base.trim_end_matches('/'))
}

fn read_token(text: &str) -> Option<Secret<32>> {
    Secret::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).ok()?)
}

/// What `/verify` says.
///
/// Shape: JSON `{isValid, invalidReason?, payer}`; the payer is a pseudonym, and empty where it cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResponse {
    /// Whether `/settle` would succeed now.
    pub is_valid: bool,
    /// Why not, as a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_reason: Option<String>,
    /// Who would pay.
    pub payer: String,
}

/// The facilitator of a gate.
pub struct Facilitator {
    till: CoinTill,
    token: Secret<32>,
}

impl Facilitator {
    /// With the token of the gate's folder.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn of(dir: &Path, till: CoinTill) -> Result<Self, TokenError> {
        Self::new(till, &token(dir)?).ok_or(TokenError::Unreadable)
    }

    /// With the till's purse and orders, for whoever shows the token. Nothing if the token is none.
    #[must_use]
    pub fn new(till: CoinTill, token: &str) -> Option<Self> {
        Some(Self { till, token: read_token(token)? })
    }

    /// Its pages.
    pub fn router(self) -> Router {
        let shared = Arc::new(self);
        Router::new()
            .route(&format!("{PATH}/supported"), get(supported))
            .route(&format!("{PATH}/verify"), post(verify))
            .route(&format!("{PATH}/settle"), post(settle))
            .with_state(shared)
    }

    fn network(&self) -> String {
        web::network(self.till.member().party.list.operator)
    }

    /// Reads and binds a payment that was made for an entry of this merchant. Errors are x402 codes, in checking order.
    fn claim(&self, asked: &Value) -> Result<Claim, &'static str> {
        if asked.get("x402Version") != Some(&X402_VERSION.into()) {
            return Err("invalid_x402_version");
        }
        let requirements = asked.get("paymentRequirements").ok_or("invalid_payment_requirements")?;
        let payment = asked.get("paymentPayload").filter(|p| p.is_object()).ok_or("invalid_payload")?;
        if jcs(payment).map_or(true, |bytes| bytes.len() > PAYLOAD_BYTES_MAX) {
            return Err("invalid_payload");
        }
        let payment = PaymentPayload::deserialize(payment).map_err(|_| "invalid_payload")?;
        if payment.x402_version != X402_VERSION {
            return Err("invalid_x402_version");
        }
        let (amount, max_timeout_s, settle) = self.priced(requirements)?;
        if payment.accepted != *requirements {
            return Err("invalid_payment_requirements");
        }
        let resource = payment.resource.as_ref().and_then(|r| r.get("url")).and_then(Value::as_str);
        let resource = resource.ok_or("invalid_payload")?;
        let method = match payment.payload.get("method") {
            None => "GET",
            Some(method) => method.as_str().ok_or("invalid_payload")?,
        };
        let settle = settle.unwrap_or(self.till.settle_default());
        let bought = Bought { amount, method, resource, max_timeout_s, settle };
        Claim::of(self.till.member(), requirements, &payment.payload, &bought)
    }

    /// The price of an entry, if this merchant has signed it for its facilitator.
    fn priced(&self, requirements: &Value) -> Result<(Amount, u64, Option<Settle>), &'static str> {
        let member = self.till.member();
        let party = &member.party;
        let read = PaymentRequirements::read(requirements).ok_or("invalid_payment_requirements")?;
        if read.scheme != SCHEME {
            return Err("unsupported_scheme");
        }
        if read.network != self.network() {
            return Err("invalid_network");
        }
        if read.pay_to != party.id().to_string() {
            return Err("invalid_florin_recipient_mismatch");
        }
        let (unsigned, signature) = signed_part(requirements).ok_or("invalid_florin_signature")?;
        let (label, settle) = for_facilitator(requirements).ok_or("invalid_florin_signature")?;
        let (certificate, list) = (&member.certificate, &party.list);
        web::check_offer(&signature, certificate, party.id(), &unsigned, &label, list)
            .map_err(|_| "invalid_florin_signature")?;
        let currencies = party.list.currencies.iter().map(|terms| terms.currency);
        let currency = currencies.into_iter().find(|c| c.code().as_str() == read.asset);
        let amount = currency.zip(read.amount.parse().ok()).map(|(c, minor)| Amount::new(minor, c));
        Ok((amount.ok_or("invalid_payment_requirements")?, read.max_timeout_seconds, settle))
    }

    /// Whether a payment would be settled now: an x402 code if not. Nothing is recorded.
    async fn valid(&self, claim: &Claim) -> Result<Validity, ActError> {
        let no = |code| Ok(Validity::No(code));
        if let Some(order) = self.till.order(claim.tid)? {
            if !claim.is_of(&order) {
                return no("invalid_transaction_state");
            }
            return match &order.state {
                // Its settlement says what becomes of it.
                OrderState::Open(_) => Ok(Validity::Yes),
                OrderState::Paid(_) => no("florin_already_spent"),
                OrderState::Denied(denied) => no(denied.code()),
            };
        }
        if !claim.is_timely(self.till.desk().now()) {
            return no("florin_expired");
        }
        match self.till.would_be(claim).await {
            Would::Be(WouldBe::Paid) => Ok(Validity::Yes),
            Would::Be(WouldBe::Denied) => no("florin_payment_denied"),
            Would::Be(WouldBe::AmountMismatch) => no("invalid_florin_amount_mismatch"),
            Would::Be(WouldBe::Decided) => no("florin_already_spent"),
            Would::Refused(slug) => no(code_of(&slug)),
            Would::Unknown => Ok(Validity::Unknown),
        }
    }

    /// Settles a payment, once; while it is not known, says so under the payment's id.
    async fn settled(&self, claim: &Claim) -> SettleResponse {
        let done = match self.till.order_of(claim).await {
            Ok(Ok(order)) => self.till.outcome(&order, SETTLE_WINDOW_MS),
            Ok(Err(settlement)) => settlement,
            Err(error) => {
                tracing::error!(%error, "the gate's books failed");
                Settlement::Open { retry_after_s: 5 }
            }
        };
        match done {
            Settlement::Paid(served) => served.response,
            Settlement::Denied(response) => response,
            Settlement::Open { .. } | Settlement::Fault => {
                let transaction = claim.com.pay_id().to_string();
                SettleResponse { transaction, ..self.failed("settlement_pending", payer_of(claim)) }
            }
            Settlement::NotPaying(code) => self.failed(code, payer_of(claim)),
            Settlement::AlreadyUsed => self.failed("florin_already_spent", payer_of(claim)),
            Settlement::IdReused => self.failed("invalid_transaction_state", payer_of(claim)),
        }
    }

    fn failed(&self, code: &str, payer: String) -> SettleResponse {
        SettleResponse {
            success: false,
            transaction: String::new(),
            network: self.network(),
            error_reason: Some(code.to_owned()),
            error_message: None,
            payer: Some(payer),
            amount: None,
            extensions: None,
            extra: None,
        }
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.split_once(' '));
        let bearer = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        bearer.and_then(|(_, token)| read_token(token.trim())).is_some_and(|token| token.ct_eq(&self.token))
    }

    /// The body of a call, once the token is shown. What is no JSON is null: a payment that cannot be read.
    async fn read(&self, request: Request<Body>) -> Result<Value, Response<Body>> {
        let (parts, body) = request.into_parts();
        if !self.knows(&parts.headers) {
            let mut refused = answer_as(NO_TOKEN, StatusCode::UNAUTHORIZED, Map::new());
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Err(refused);
        }
        require_type(&parts.headers, "application/json").map_err(answer)?;
        let body = read_body(body, BODY_BYTES_MAX, BODY_TIME).await.map_err(answer)?;
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }
}

enum Validity {
    Yes,
    No(&'static str),
    Unknown,
}

/// The x402 code for a refusal of the operator.
fn code_of(slug: &str) -> &'static str {
    match slug {
        "payment-expired" | "request-expired" => "florin_expired",
        "payment-denied" => "florin_payment_denied",
        _ => "unexpected_verify_error",
    }
}

fn payer_of(claim: &Claim) -> String {
    claim.presentation.payer.to_string()
}

/// Who asked before has no claim on this answer later.
fn said<T: Serialize>(body: T) -> Response<Body> {
    let mut response = Json(body).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn supported(State(facilitator): State<Arc<Facilitator>>) -> Response<Body> {
    let network = facilitator.network();
    let payee = facilitator.till.member().party.id().to_string();
    said(json!({
        "kinds": [{"x402Version": X402_VERSION, "scheme": SCHEME, "network": network, "extra": {"rail": "coin"}}],
        "extensions": [],
        "signers": {"florin:*": [payee]},
    }))
}

async fn verify(State(facilitator): State<Arc<Facilitator>>, request: Request<Body>) -> Response<Body> {
    let asked = match facilitator.read(request).await {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let (payer, validity) = match facilitator.claim(&asked) {
        Ok(claim) => (payer_of(&claim), facilitator.valid(&claim).await),
        Err(code) => (String::new(), Ok(Validity::No(code))),
    };
    let (is_valid, invalid_reason) = match validity {
        Ok(Validity::Yes) => (true, None),
        Ok(Validity::No(code)) => (false, Some(code.to_owned())),
        // A no would have the shop ask for another payment.
        Ok(Validity::Unknown) => {
            let detail = "the operator does not answer; ask again, and ask the payer for nothing new";
            return answer(OUTCOME_OPEN.with_detail(detail).after(2));
        }
        Err(error) => {
            tracing::error!(%error, "the gate's books failed");
            return answer(OUTCOME_OPEN.after(5));
        }
    };
    said(VerifyResponse { is_valid, invalid_reason, payer })
}

async fn settle(State(facilitator): State<Arc<Facilitator>>, request: Request<Body>) -> Response<Body> {
    let asked = match facilitator.read(request).await {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    // A shop that hangs up does not leave the purse without what is under way.
    let settling = tokio::spawn(async move {
        match facilitator.claim(&asked) {
            Ok(claim) => facilitator.settled(&claim).await,
            Err(code) => facilitator.failed(code, String::new()),
        }
    });
    match settling.await {
        Ok(response) => said(response),
        Err(error) => florin_http::Problem::fault(&error).into_response(),
    }
}
