//! An operator's folder, opened in this process by the code that `florin operator serve` opens it with: what it then
//! says of accounts, coins and journal, and what it answers. Source: reliability.md, R6-R8.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use florin_books::{Lane, Seq};
use florin_crypto::{Digest, cbor, digest};
use florin_http::{Client, ClientConfig, Stop};
use florin_operator::audit::{AccountLine, CirculationLine};
use florin_operator::init::{CONFIG_FILE, bank_client};
use florin_operator::lanes::Lanes;
use florin_operator::{BooksReport, Operator, OperatorConfig, VaultPlaces, audit_now};
use florin_shell::exchange::CONTENT_TYPE;
use florin_shell::passphrase::Passphrase;
use florin_shell::vault::SECOND_FACTOR_FILE;
use florin_store::Books;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::error::FaultsError;

/// The name of the state in the folder of a try.
pub const STATE: &str = "operator";
const RECORDS_AT_ONCE: usize = 4096;
const SETTLES_IN: Duration = Duration::from_secs(10);

/// The state below a folder.
#[must_use]
pub fn state(top: &Path) -> PathBuf {
    top.join(STATE)
}

/// Where the keys of a state below a folder are.
#[must_use]
pub fn places(top: &Path) -> VaultPlaces {
    let second = top.join(format!("{STATE}.keys")).join(SECOND_FACTOR_FILE);
    VaultPlaces { state: state(top), second: Some(second) }
}

/// One record: what caused it, and the hash of all of it that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What caused it.
    pub cause: Digest,
    /// Its hash.
    pub core: Digest,
}

/// What books say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Every account that is not zero.
    pub accounts: Vec<AccountLine>,
    /// Coins in circulation.
    pub circulation: Vec<CirculationLine>,
    /// The journal of identities, and that of coins.
    pub journals: [Vec<Line>; 2],
}

/// Opens the state below a folder, as [`open_at`].
///
/// # Errors
/// `Refused`, `Tls`.
pub async fn open(top: &Path) -> Result<Arc<Operator>, FaultsError> {
    open_at(&places(top)).await
}

/// Opens it, as `florin operator serve` does before it listens; what it says where it refuses.
///
/// # Errors
/// `Refused`, `Tls`.
pub async fn open_at(places: &VaultPlaces) -> Result<Arc<Operator>, FaultsError> {
    let refused = |why: String| FaultsError::Refused(why);
    let file = places.state.join(CONFIG_FILE);
    let loaded =
        florin_shell::config::load::<OperatorConfig>(Some(&file), "FLORIN_OPERATOR_", toml::Table::new());
    let config = loaded.map_err(|e| refused(e.to_string()))?.value;
    let currency = config.money().map_err(|e| refused(e.to_string()))?;
    let http =
        Client::new(ClientConfig { connect_timeout: Duration::from_secs(1), ..ClientConfig::default() })?;
    let rail = bank_client(&config, currency, &http).map_err(|e| refused(e.to_string()))?;
    let opened = Operator::open(config, places, &Passphrase::none(), Arc::new(rail));
    let operator = opened.map_err(|e| refused(e.to_string()))?;
    operator.may_serve().await.map_err(|e| refused(e.to_string()))?;
    Ok(operator)
}

/// Lets go of it in good order.
///
/// # Errors
/// `Found`: its books had failed.
pub fn close(operator: &Operator) -> Result<(), FaultsError> {
    stop(&operator.lanes)
}

/// Lets go of both lanes.
///
/// # Errors
/// `Found`: one had failed.
pub fn stop(lanes: &Lanes) -> Result<(), FaultsError> {
    for house in [&lanes.books, &lanes.identity] {
        let stopped = house.books.clone().stop();
        stopped.map_err(|error| FaultsError::Found(format!("the books did not stop: {error}")))?;
    }
    Ok(())
}

pub(crate) fn journal(books: &Books) -> Result<Vec<Line>, FaultsError> {
    let mut lines = Vec::new();
    let mut next = Seq(1);
    loop {
        let records = books.read(next, RECORDS_AT_ONCE);
        let records = records.map_err(|error| FaultsError::Found(format!("reading the journal: {error}")))?;
        let Some(last) = records.last() else { return Ok(lines) };
        next = last.core.seq.next();
        lines.extend(records.iter().map(|r| Line {
            cause: r.core.cause,
            core: digest("florin/v1/faults/record", &[&cbor::encode(&r.core)]),
        }));
    }
}

/// The audit of both lanes, which must be clean.
///
/// # Errors
/// `Found`.
pub fn audit(lanes: &Lanes) -> Result<BooksReport, FaultsError> {
    let report = audit_now(lanes).map_err(|error| FaultsError::Found(format!("the audit: {error}")))?;
    if report.is_clean() {
        Ok(report)
    } else {
        Err(FaultsError::Found(format!("the audit: {}", report.findings.join("; "))))
    }
}

/// What open books say; their audit must be clean.
///
/// # Errors
/// `Found`.
pub fn read(lanes: &Lanes) -> Result<Reading, FaultsError> {
    let report = audit(lanes)?;
    let journals = [journal(&lanes.identity.books)?, journal(&lanes.books.books)?];
    Ok(Reading { accounts: report.accounts, circulation: report.circulation, journals })
}

/// What the coins in circulation are worth, in minor units.
///
/// # Errors
/// `Found`.
pub fn in_circulation(operator: &Operator) -> Result<u64, FaultsError> {
    let lines = operator.lanes.books.books.view(|lane: &Lane| lane.live().circulation().collect::<Vec<_>>());
    let lines = lines.map_err(|error| FaultsError::Found(format!("the books: {error}")))?;
    let registers = &operator.lanes.books.books.spec().registers;
    let value = |index| registers.first().and_then(|r| r.denominations.value(index)).unwrap_or(0);
    Ok(lines
        .iter()
        .map(|l| value(l.denomination.index()).saturating_mul(l.live))
        .fold(0, u64::saturating_add))
}

/// What it answers to a request, without a socket: the bytes, or the status.
///
/// # Errors
/// `Found`: not even an answer that can be read.
pub async fn ask(
    operator: &Arc<Operator>,
    path: &str,
    body: &[u8],
) -> Result<Result<Vec<u8>, StatusCode>, FaultsError> {
    let wrong = |why: String| FaultsError::Found(format!("{path}: {why}"));
    let request = Request::post(path).header(header::CONTENT_TYPE, CONTENT_TYPE);
    let request = request.body(Body::from(body.to_vec())).map_err(|e| wrong(e.to_string()))?;
    let answer = florin_operator::routes::router(operator).oneshot(request).await;
    let answer = answer.map_err(|e| wrong(e.to_string()))?;
    let status = answer.status();
    let bytes = answer.into_body().collect().await.map_err(|e| wrong(e.to_string()))?.to_bytes();
    Ok(if status.is_success() { Ok(bytes.to_vec()) } else { Err(status) })
}

/// Lets its couriers carry what is under way between the lanes while `act` asks it.
///
/// # Errors
/// Those of `act`; `Found` where they do not stop.
pub async fn with_couriers<T>(
    operator: &Arc<Operator>,
    act: impl AsyncFnOnce(&Arc<Operator>) -> Result<T, FaultsError>,
) -> Result<T, FaultsError> {
    let stop = Stop::new();
    let work = operator.start_moving(&stop);
    let done = act(operator).await;
    stop.trigger();
    for task in work {
        match tokio::time::timeout(SETTLES_IN, task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(FaultsError::Found(format!("a courier: {error}"))),
            Err(_) => return Err(FaultsError::Found("a courier does not stop".into())),
        }
    }
    done
}
