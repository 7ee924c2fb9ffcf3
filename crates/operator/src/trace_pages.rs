//! The admin pages of traces: begin, follow, and the log. Behind the same token as the others.
//! Source: V10; ADR 0027.

use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use florin_http::Problem;
use serde::{Deserialize, Serialize};

use crate::control::{ORDER_MALFORMED, SignedOrder};
use crate::opened::FollowRequest;
use crate::operator::Operator;
use crate::trace::{TraceError, TraceReport};
use crate::trace_log;

/// The log, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogReport {
    /// Whose log it is.
    pub operator: String,
    /// Its entries, oldest first.
    pub entries: Vec<LogLine>,
    /// How many boxes were opened in all.
    pub boxes: u64,
    /// The digest at its end, as `/.well-known/florin` has it.
    pub digest: String,
    /// What is wrong with it.
    pub findings: Vec<String>,
}

/// An entry, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number.
    pub n: u64,
    /// When.
    pub at_unix_ms: u64,
    /// What.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub holders: Vec<String>,
    /// How many boxes.
    pub boxes: u64,
}

impl fmt::Display for LogReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for e in &self.entries {
            let who = e.holders.join(" and ");
            writeln!(f, "{}  {}  {} boxes  by {who}", e.n, e.subject, e.boxes)?;
            writeln!(f, "   at {} ms: {}", e.at_unix_ms, e.reason)?;
        }
        writeln!(
            f,
            "{} orders, {} boxes opened; the log ends with {}",
            self.entries.len(),
            self.boxes,
            self.digest
        )?;
        if self.findings.is_empty() {
            return write!(f, "The chain is whole.");
        }
        write!(f, "The log is not whole:")?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

impl fmt::Display for TraceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: entry {} of the log, {} boxes opened", self.subject, self.entry, self.boxes)?;
        for p in &self.purchases {
            let name = p.name.as_deref().unwrap_or("a pseudonym");
            writeln!(f, "  {}  {}  {}  {name} ({})", p.purchase, p.amount, p.state, p.purchaser)?;
            writeln!(f, "    account {}", p.account)?;
        }
        for step in &self.trail.steps {
            let party = step.party.as_deref().unwrap_or("nobody named");
            let reference = step.reference.as_deref().unwrap_or_default();
            let mixed = if step.mixed { ", with others' coins" } else { "" };
            writeln!(
                f,
                "  {:<9} {} coins, {}{mixed}  {party}  {reference}",
                step.what, step.coins, step.worth
            )?;
        }
        if let Some(seq) = self.trail.begins_after {
            writeln!(f, "  not further: records to {seq} were dropped")?;
        }
        write!(f, "  still live: {} coins, {}", self.trail.live, self.trail.live_worth)?;
        if self.recovered { write!(f, "\n  the claim has been handed over") } else { Ok(()) }
    }
}

impl Operator {
    /// The log of openings, checked.
    ///
    /// # Errors
    /// Those of the store and of the settings.
    pub fn trace_log(&self) -> Result<LogReport, TraceError> {
        let (entries, head) =
            (trace_log::entries(&self.lanes.identity)?, trace_log::head(&self.lanes.identity)?);
        let findings = trace_log::verify(&entries, &head, &self.holders);
        let public = head.public();
        let line = |entry: &trace_log::LogEntry| LogLine {
            n: entry.n,
            at_unix_ms: entry.time.0,
            subject: entry.subject.to_string(),
            reason: entry.reason.clone(),
            holders: entry.holders.clone(),
            boxes: entry.boxes,
        };
        let entries = entries.iter().map(line).collect();
        Ok(LogReport {
            operator: self.id.to_string(),
            entries,
            boxes: public.boxes,
            digest: public.log,
            findings,
        })
    }
}

/// The pages; the token is asked for by whoever adds them to the admin pages.
pub fn routes() -> Router<Arc<Operator>> {
    Router::new().route("/admin/trace", get(log).post(begin)).route("/admin/trace/follow", post(follow))
}

async fn begin(State(operator): State<Arc<Operator>>, body: Bytes) -> Response {
    let text = std::str::from_utf8(&body).ok();
    match text.ok_or(ORDER_MALFORMED).and_then(SignedOrder::from_text) {
        Ok(order) => answer(operator.trace_begin(&order).await),
        Err(refusal) => Problem::from(refusal).into_response(),
    }
}

async fn follow(State(operator): State<Arc<Operator>>, Json(request): Json<FollowRequest>) -> Response {
    answer(operator.trace_follow(&request).await)
}

async fn log(State(operator): State<Arc<Operator>>) -> Response {
    answer(operator.trace_log())
}

fn answer<T: Serialize>(result: Result<T, TraceError>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(TraceError::Refused(refusal)) => Problem::from(refusal).into_response(),
        Err(error) => Problem::fault(&error).into_response(),
    }
}
