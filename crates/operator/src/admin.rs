//! Pages for who runs the place: the books and the audit, on loopback, with a token that stands in the state's folder.
//! Source: architecture.md, "Conventions"; screens.md, "Bind".

use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use data_encoding::BASE64URL_NOPAD;
use florin_crypto::{Secret, random};
use florin_http::{PeerAddress, Problem};
use florin_rail::{Blame, Class, Refusal};
use florin_shell::entropy::OsEntropy;
use florin_shell::home::{HomeError, write_private};
use serde::Deserialize;

use crate::audit::audit_with_bank;
use crate::backup::NO_BACKUP;
use crate::coin_state::{CoinStateError, coin_state, parse_coin, pending};
use crate::operator::Operator;
use crate::owed::owed;
use crate::reconcile::brake::{ResumedLine, payouts};

/// The file with the token.
pub const TOKEN_FILE: &str = "admin.token";
/// Not the operator's own.
pub const NOT_ADMIN: Refusal = Refusal::new("not-admin", Class::Denied, Blame::Asker, false);

/// What opens the admin pages.
pub struct AdminToken(Option<Secret<32>>);

impl AdminToken {
    /// Makes one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(state: &Path) -> Result<(), HomeError> {
        let token: [u8; 32] = random(&mut OsEntropy);
        write_private(&state.join(TOKEN_FILE), BASE64URL_NOPAD.encode(&token).as_bytes())
    }

    /// Reads it; without the file nobody is admitted.
    ///
    /// # Errors
    /// None today; the file is optional.
    pub fn read(state: &Path) -> Result<Self, HomeError> {
        Ok(Self(Self::text(state).and_then(|t| Self::parse(&t))))
    }

    /// Its text, for who runs a command beside the running operator.
    #[must_use]
    pub fn text(state: &Path) -> Option<String> {
        std::fs::read_to_string(state.join(TOKEN_FILE)).ok().map(|t| t.trim().to_owned())
    }

    fn parse(text: &str) -> Option<Secret<32>> {
        Secret::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).ok()?)
    }

    fn admits(&self, request: &Request) -> bool {
        let local = request.extensions().get::<PeerAddress>().is_some_and(|p| p.0.ip().is_loopback());
        let given = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.strip_prefix("Bearer "))
            .and_then(Self::parse);
        local && matches!((&self.0, given), (Some(token), Some(given)) if token.ct_eq(&given))
    }
}

/// The admin pages.
pub fn router(operator: &Arc<Operator>) -> Router {
    Router::new()
        .route("/admin/audit", get(show))
        .route("/admin/owed", get(list_owed).post(pay_owed))
        .route("/admin/payouts", get(show_payouts).post(resume_payouts))
        .merge(crate::reading::router())
        .merge(crate::control_pages::router())
        .merge(crate::trace_pages::routes())
        .route("/admin/coins/pending", get(show_pending))
        .route("/admin/coins/{coin}", get(show_coin))
        .route("/admin/backup", post(make_backup))
        .layer(from_fn_with_state(Arc::clone(operator), admit))
        .with_state(Arc::clone(operator))
}

async fn admit(State(operator): State<Arc<Operator>>, request: Request, next: Next) -> Response {
    if operator.admin.admits(&request) {
        next.run(request).await
    } else {
        Problem::from(NOT_ADMIN).into_response()
    }
}

async fn list_owed(State(operator): State<Arc<Operator>>) -> Response {
    answer_owed(&operator, false).await
}

async fn pay_owed(State(operator): State<Arc<Operator>>) -> Response {
    answer_owed(&operator, true).await
}

async fn answer_owed(operator: &Operator, pay: bool) -> Response {
    match owed(&operator.lanes, operator.currency, operator.release_above, pay).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => Problem::fault(&error).into_response(),
    }
}

/// Where to.
#[derive(serde::Deserialize)]
struct BackupTo {
    to: std::path::PathBuf,
}

async fn make_backup(State(operator): State<Arc<Operator>>, Json(ask): Json<BackupTo>) -> Response {
    match crate::backup::backup(&operator, &ask.to).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => {
            let refusal = NO_BACKUP.with_detail(error.to_string());
            Problem::from(refusal).into_response()
        }
    }
}

async fn show_payouts(State(operator): State<Arc<Operator>>) -> Response {
    match payouts(&operator.lanes.identity) {
        Ok(report) => Json(report).into_response(),
        Err(error) => Problem::fault(&error).into_response(),
    }
}

/// Lets pay-outs go on.
///
/// Shape: `{"reason": text}`; the answer is what was cleared, or null where nothing was stopped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    reason: String,
}

async fn resume_payouts(State(operator): State<Arc<Operator>>, Json(ask): Json<Resume>) -> Response {
    match operator.reconciler.resume(&ask.reason).await {
        Ok(resumed) => Json(resumed.map(ResumedLine::of)).into_response(),
        Err(error) => Problem::fault(&error).into_response(),
    }
}

async fn show(State(operator): State<Arc<Operator>>) -> Response {
    match audit_with_bank(&operator).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => Problem::fault(&error).into_response(),
    }
}

async fn show_pending(State(operator): State<Arc<Operator>>) -> Response {
    let looked = tokio::task::spawn_blocking(move || pending(&operator.lanes.books).map(Some)).await;
    answer_coin(looked)
}

async fn show_coin(State(operator): State<Arc<Operator>>, coin: axum::extract::Path<String>) -> Response {
    let looked = tokio::task::spawn_blocking(move || {
        let number = match parse_coin(&operator.issuer, &coin) {
            Err(CoinStateError::NotACoin | CoinStateError::Foreign) => return Ok(None),
            number => number?,
        };
        coin_state(&operator.lanes.books, &operator.issuer, number, operator.clock.now()).map(Some)
    });
    answer_coin(looked.await)
}

/// Null where there is no such coin.
fn answer_coin<T: serde::Serialize>(
    looked: Result<Result<Option<T>, CoinStateError>, tokio::task::JoinError>,
) -> Response {
    match looked {
        Ok(Ok(report)) => Json(report).into_response(),
        Ok(Err(error)) => Problem::fault(&error).into_response(),
        Err(error) => Problem::fault(&error).into_response(),
    }
}
