//! The admin pages that read the books; who may see them is decided in `admin`. Source: ADR 0016.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use florin_http::Problem;
use florin_rail::common::BAD_REQUEST;
use serde::Serialize;

use super::{By, JournalQuery, ReadingError, accounts, circulation, journal_page};
use crate::operator::Operator;

/// `books`, `journal`, `circulation`.
pub fn router() -> Router<Arc<Operator>> {
    Router::new()
        .route("/admin/books", get(show_accounts))
        .route("/admin/journal", post(show_journal))
        .route("/admin/circulation/{by}", get(show_circulation))
}

/// Reads on a thread that may block.
async fn read<T: Serialize + Send + 'static>(
    look: impl FnOnce() -> Result<T, ReadingError> + Send + 'static,
) -> Response {
    let read = tokio::task::spawn_blocking(look).await.unwrap_or(Err(ReadingError::Interrupted));
    match read {
        Ok(report) => Json(report).into_response(),
        Err(error @ (ReadingError::Lane(_) | ReadingError::Kind(_))) => {
            Problem::from(BAD_REQUEST.with_detail(error.to_string())).into_response()
        }
        Err(error) => Problem::fault(&error).into_response(),
    }
}

async fn show_accounts(State(operator): State<Arc<Operator>>) -> Response {
    read(move || accounts(&operator.lanes)).await
}

async fn show_journal(State(operator): State<Arc<Operator>>, Json(query): Json<JournalQuery>) -> Response {
    read(move || journal_page(&operator.lanes, &query)).await
}

async fn show_circulation(State(operator): State<Arc<Operator>>, Path(by): Path<By>) -> Response {
    let (epochs, now) = (operator.issuer.epochs(), operator.clock.now());
    read(move || circulation(&operator.lanes, &epochs, by, now)).await
}
