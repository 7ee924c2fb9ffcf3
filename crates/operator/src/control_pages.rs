//! Admin pages of the epochs and of orders under dual control, for commands beside a running operator.
//! Source: architecture.md, "Conventions"; ADR 0016, ADR 0028.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use florin_http::Problem;
use serde::{Deserialize, Serialize};

use crate::control::{ControlError, ORDER_MALFORMED, SignedOrder};
use crate::honour::{COINS_UNREADABLE, HonourError};
use crate::operator::Operator;

/// The most bytes of such a request.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// What `honour` is asked for.
#[derive(Clone, Serialize, Deserialize)]
pub struct HonourRequest {
    /// The coins as text.
    pub coins: String,
    /// A bank account.
    pub to: String,
}

/// The pages; the caller admits.
pub fn router() -> Router<Arc<Operator>> {
    Router::new()
        .route("/admin/epochs", get(list))
        .route("/admin/orders", post(execute))
        .route("/admin/honour", post(honour))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

async fn list(State(operator): State<Arc<Operator>>) -> Response {
    match operator.epochs() {
        Ok(report) => Json(report).into_response(),
        Err(error) => Problem::fault(&error).into_response(),
    }
}

async fn execute(State(operator): State<Arc<Operator>>, body: Bytes) -> Response {
    let text = std::str::from_utf8(&body).ok();
    let order = text.ok_or(ORDER_MALFORMED).and_then(SignedOrder::from_text);
    let order = match order {
        Ok(order) => order,
        Err(refusal) => return Problem::from(refusal).into_response(),
    };
    // A client that hangs up leaves no order half carried out: in the books, and not yet in force.
    let carrying = tokio::spawn(async move { operator.execute(&order).await });
    match carrying.await {
        Ok(Ok(report)) => Json(report).into_response(),
        Ok(Err(ControlError::Refused(refusal))) => Problem::from(refusal).into_response(),
        Ok(Err(error)) => Problem::fault(&error).into_response(),
        Err(error) => Problem::fault(&error).into_response(),
    }
}

async fn honour(State(operator): State<Arc<Operator>>, body: Bytes) -> Response {
    let wrong = || Problem::from(COINS_UNREADABLE).into_response();
    let Ok(asked) = serde_json::from_slice::<HonourRequest>(&body) else { return wrong() };
    let Ok(to) = asked.to.parse() else { return wrong() };
    match operator.honour(&asked.coins, &to).await {
        Ok(report) => Json(report).into_response(),
        Err(HonourError::Refused(refusal)) => Problem::from(refusal).into_response(),
        Err(error) => Problem::fault(&error).into_response(),
    }
}
