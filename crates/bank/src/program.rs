//! The sandbox bank as a program: configuration, listener, background work, a stop that lets work finish. Two banks are
//! two of these with different codes and directories. Source: architecture.md, "Conventions".

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use florin_books::{Clock, LaneId, LaneSpec};
use florin_crypto::{MacKey, Secret};
use florin_http::tls::TlsFault;
use florin_http::{
    Client, ClientConfig, Limits, Registry, ServeCounters, ServeReport, Stop, TlsAcceptor, check_url,
    operating_routes, serve_counted, with_fallbacks,
};
use florin_money::Currency;
use florin_store::Books;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::access::Access;
use crate::client::HttpInterbank;
use crate::http_api::{Api, router};
use crate::iban::BankCode;
use crate::sandbox::{Bank, DELAY_MS_MAX, Desk, NAME_CHARS_MAX};

/// The lane of a bank's books.
const LANE: LaneId = LaneId(1);
/// How long the background sleeps when nothing is due and nobody calls.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long it sleeps after something went wrong.
const PAUSE_AFTER_FAULT: Duration = Duration::from_secs(1);

/// What the books of a bank are made for.
#[must_use]
pub const fn lane_spec() -> LaneSpec {
    LaneSpec { lane: LANE, registers: Vec::new() }
}

/// A bank's configuration.
///
/// Shape: TOML. Units: `delay_ms` in milliseconds. Errors: an unknown or missing member.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankConfig {
    /// What people call it.
    pub name: String,
    /// Its code, 99990001 to 99999999.
    pub bank_code: BankCode,
    /// Where it listens.
    pub listen: SocketAddr,
    /// From an order's acceptance to its booking.
    #[serde(default)]
    pub delay_ms: u64,
    /// Where its books are.
    pub directory: PathBuf,
    /// The code of its currency; the florin, unless said otherwise.
    #[serde(default = "florin_code")]
    pub currency: String,
    /// The number of decimals of its currency.
    #[serde(default = "two")]
    pub exponent: u8,
    /// The other banks.
    #[serde(default)]
    pub peers: Vec<PeerConfig>,
}

/// Another bank.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its code.
    pub bank_code: BankCode,
    /// Where it listens.
    pub url: String,
    /// A file with the secret that both banks have: 43 characters of base64url.
    pub secret_file: PathBuf,
}

fn florin_code() -> String {
    Currency::FLO.code().to_string()
}

const fn two() -> u8 {
    2
}

/// The bank's own keys.
pub struct BankKeys {
    /// Derives the customers' access secrets.
    pub access: Secret<32>,
    /// Opens `/sandbox/*`.
    pub admin: Secret<32>,
}

/// What is wrong with a configuration, in checking order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigFault {
    /// The name is empty or too long.
    #[error("a bank's name has 1 to {NAME_CHARS_MAX} characters")]
    Name,
    /// The delay is too long.
    #[error("delay_ms is at most ten days")]
    Delay,
    /// Not a currency.
    #[error("{0} is not a currency with so many decimals")]
    Currency(String),
    /// A peer is this bank, or stands there twice.
    #[error("peer {0} is this bank itself, or is named twice")]
    Peer(BankCode),
    /// A peer's address cannot be used.
    #[error("the address of peer {0} cannot be used: {1}")]
    Url(BankCode, florin_http::UrlFault),
    /// A peer's secret cannot be read.
    #[error("{0} holds no shared secret (43 characters of base64url)")]
    SecretFile(PathBuf),
}

impl BankConfig {
    /// Checks what can be checked without starting, and gives the peers' addresses and secrets.
    ///
    /// # Errors
    /// [`ConfigFault`], the first one.
    pub fn check(&self) -> Result<Vec<(BankCode, String, Access)>, ConfigFault> {
        if self.name.is_empty() || self.name.chars().count() > NAME_CHARS_MAX {
            return Err(ConfigFault::Name);
        }
        if self.delay_ms > DELAY_MS_MAX {
            return Err(ConfigFault::Delay);
        }
        self.currency()?;
        let mut seen = BTreeSet::from([self.bank_code]);
        let mut peers = Vec::with_capacity(self.peers.len());
        for peer in &self.peers {
            if !seen.insert(peer.bank_code) {
                return Err(ConfigFault::Peer(peer.bank_code));
            }
            check_url(&peer.url).map_err(|fault| ConfigFault::Url(peer.bank_code, fault))?;
            let text = std::fs::read_to_string(&peer.secret_file).ok();
            let access = text.and_then(|text| Access::from_text(text.trim()));
            let access = access.ok_or_else(|| ConfigFault::SecretFile(peer.secret_file.clone()))?;
            peers.push((peer.bank_code, peer.url.clone(), access));
        }
        Ok(peers)
    }

    fn currency(&self) -> Result<Currency, ConfigFault> {
        Currency::own(&self.currency, self.exponent).map_err(|_| ConfigFault::Currency(self.currency.clone()))
    }
}

/// Why a bank does not serve, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// The certificates trusted for other banks.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The books stopped: start again; exit code 74.
    #[error("the books have stopped; start again")]
    BooksStopped,
}

/// Serves on a bound listener until `stop`, with the work that goes on in the background.
///
/// # Errors
/// [`RunError`].
pub async fn run(
    config: &BankConfig,
    books: Books,
    keys: &BankKeys,
    clock: Arc<dyn Clock>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    stop: Stop,
) -> Result<ServeReport, RunError> {
    let peers = config.check()?;
    let bank = Bank {
        name: config.name.clone(),
        code: config.bank_code,
        currency: config.currency()?,
        delay_ms: config.delay_ms,
        peers: peers.iter().map(|(code, ..)| *code).collect(),
        key: MacKey::new(&keys.access),
    };
    let shared = peers.iter().map(|(code, _, access)| (*code, access.duplicate())).collect();
    let http = Client::new(ClientConfig { timeout: Duration::from_secs(10), ..ClientConfig::default() })?;
    let banks = HttpInterbank::new(&http, peers);
    let desk = Arc::new(Desk::new(bank, books.clone(), clock));
    let api = Api { desk: Arc::clone(&desk), admin: Access::new(keys.admin.duplicate()), peers: shared };
    let registry = Registry::new();
    let counters = ServeCounters::registered(&registry);
    let serving = books.clone();
    let operating = operating_routes(registry, move || !serving.is_failed());
    let app = with_fallbacks(router(Arc::new(api)).merge(operating));
    let limits = Limits { loopback_exempt: true, ..Limits::default() };
    let booking = tokio::spawn(keep_booking(Arc::clone(&desk), stop.clone()));
    let sending = tokio::spawn(keep_sending(desk, banks, stop.clone()));
    let report = serve_counted(listener, tls, app, limits, stop.clone(), counters).await;
    stop.trigger();
    // A worker that panicked has left its work in the outbox, for the next start.
    let _ = tokio::join!(booking, sending);
    if books.is_failed() { Err(RunError::BooksStopped) } else { Ok(report) }
}

async fn keep_booking(desk: Arc<Desk>, stop: Stop) {
    while !stop.is_triggered() {
        let pause = match desk.off_thread(|desk| Ok((desk.book_due()?, desk.next_due()?))).await {
            Ok((1.., _)) => continue,
            Ok((0, next)) => {
                next.map_or(PAUSE_MAX, |at| Duration::from_millis(at.since(desk.now()).max(1)).min(PAUSE_MAX))
            }
            Err(refusal) => after_fault(&desk, &stop, &refusal),
        };
        tokio::select! {
            () = stop.stopped() => return,
            () = desk.to_book.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn keep_sending(desk: Arc<Desk>, banks: HttpInterbank, stop: Stop) {
    while !stop.is_triggered() {
        let sent = tokio::select! {
            sent = desk.send_due(&banks) => sent,
            // What was under way is sent again after the next start; the other bank does it once.
            () = stop.stopped() => return,
        };
        let pause = match sent {
            Ok(1..) => continue,
            Ok(0) => PAUSE_MAX,
            Err(refusal) => after_fault(&desk, &stop, &refusal),
        };
        tokio::select! {
            () = stop.stopped() => return,
            () = desk.to_send.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn after_fault(desk: &Desk, stop: &Stop, refusal: &florin_rail::Refusal) -> Duration {
    tracing::error!(
        slug = refusal.slug,
        detail = refusal.detail.as_deref(),
        "the bank's background work failed"
    );
    if desk.books().is_failed() {
        stop.trigger();
    }
    PAUSE_AFTER_FAULT
}
