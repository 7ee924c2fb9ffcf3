//! The program: making a gate, opening it, serving. Source: architecture.md, "Conventions"; issue, "What must work" 2, 3.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use florin_books::{Clock, LaneId, LaneSpec, PartyId};
use florin_crypto::{KemSecretKey, SigningKey};
use florin_http::{Client, ClientConfig, Limits, Registry, ServeCounters, Stop, TlsFault, operating_routes};
use florin_parties::{DirectoryError, IdentityKeys, KeyList, SignedKeyList};
use florin_shell::description::{self};
use florin_shell::exchange::{ToOperator, Transport};
use florin_shell::home::{create_private, write_private};
use florin_shell::house::House;
use florin_shell::service::{Bound, Listen, serve_until, watch_failure};
use florin_shell::storage::{StorageOptions, create_books, open_books};
use florin_shell::{ExitCode, OsEntropy, Passphrase, SystemClock, Vault};
use florin_store::Books;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::command::Socket;
use crate::desk::{Desk, DeskError, Member, Party};
use crate::facilitator::Facilitator;
use crate::gate::{Gate, Shop, router};
use crate::gather::keep_paying_out;
use crate::hold::HoldSettings;
use crate::proxy::Proxy;
use crate::purse::all_denominations;
use crate::rules::{Flow, Payable, Rules, RulesError};
use crate::settle::Settle;
use crate::settling::{PayoutSettings, aggregate_at, check_enrolment};
use crate::target::{Outside, is_host};
use crate::till::{CoinTill, TillSettings, keep_asking};

mod error;

pub use error::GateError;

/// The file with the operator's signed key list, as it was fetched last.
pub const KEY_LIST_FILE: &str = "operator.keys";
/// The folder of the books.
pub const BOOKS_DIR: &str = "books";
/// The configuration file that `init` leaves: where the operator is.
pub const CONFIG_FILE: &str = "gate.toml";

const SIGNING: &str = "signing";
const KEM: &str = "kem";
const STORE: &str = "store";
/// How long each exchange that a former run left open may take before the gate serves all the same.
const RESUME_PATIENCE: Duration = Duration::from_secs(2);
/// How long all of them may take together: an operator that is away must not keep free pages away too.
const RESUME_TIME_MAX: Duration = Duration::from_secs(10);

/// A gate's configuration.
///
/// Shape: TOML of these fields; unknown ones are refused. Units: seconds, bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// PEM certificate chain; needed beyond loopback.
    pub tls_cert: Option<PathBuf>,
    /// PEM private key.
    pub tls_key: Option<PathBuf>,
    /// The operator's URL.
    pub operator: String,
    /// PEM certificates trusted besides the public ones, for operator and service.
    pub ca_file: Option<PathBuf>,
    /// The service: scheme, host and port.
    pub upstream: String,
    /// The price where no rule matches; free if there is none.
    pub price: Option<String>,
    /// The rules file.
    pub rules: Option<PathBuf>,
    /// What comes first where a rule does not say: the money (`upfront`) or the service (`authorization`).
    pub flow: Flow,
    /// The largest answer of the service that is held back until it is paid.
    pub hold_bytes_max: usize,
    /// Scheme and host that payers see; by default what each request says.
    pub public_url: Option<String>,
    /// The shop's name; by default the name it registered.
    pub name: Option<String>,
    /// Whether a proxy of one's own stands in front, whose `X-Forwarded-*` counts.
    pub trust_forwarded: bool,
    /// How long the service may take until its header.
    pub upstream_timeout_s: u64,
    /// How far ahead a payment's deadline may lie.
    pub max_timeout_s: u64,
    /// How long a request waits for the operator.
    pub patience_s: u64,
    /// How long after settlement the same payment gets the page again.
    pub replay_window_s: u64,
    /// The largest request body.
    pub body_bytes_max: u64,
    /// What becomes of the coins of a payment where its rule says nothing: refresh, redeem or aggregate.
    pub settle: Settle,
    /// What is paid out by itself.
    pub payout: PayoutSettings,
    /// Where `/healthz`, `/readyz` and `/metrics` are, apart from the shop; loopback only, nowhere if there is none.
    pub operate: Option<SocketAddr>,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7410)),
            tls_cert: None,
            tls_key: None,
            operator: "http://127.0.0.1:7400".to_owned(),
            ca_file: None,
            upstream: "http://127.0.0.1:8000".to_owned(),
            price: None,
            rules: None,
            flow: Flow::default(),
            hold_bytes_max: 1024 * 1024,
            public_url: None,
            name: None,
            trust_forwarded: false,
            upstream_timeout_s: 60,
            max_timeout_s: 60,
            patience_s: 10,
            replay_window_s: 600,
            body_bytes_max: 100 * 1024 * 1024,
            settle: Settle::Refresh,
            payout: PayoutSettings::default(),
            operate: None,
        }
    }
}

/// Where a gate's state and its second factor are, and what opens them.
pub struct Place<'a> {
    /// The folder.
    pub dir: &'a Path,
    /// The file of the second factor, if there is one.
    pub second_factor: Option<&'a Path>,
    /// The passphrase.
    pub passphrase: &'a Passphrase,
}

/// A client for operator and service.
///
/// # Errors
/// The certificates of `ca_file`.
pub fn client_of(config: &GateConfig) -> Result<Client, TlsFault> {
    Client::new(ClientConfig { ca_file: config.ca_file.clone(), ..ClientConfig::default() })
}

async fn fetch(client: &Client, base: &str, pin: Option<PartyId>) -> Result<(Vec<u8>, KeyList), GateError> {
    let bytes = description::fetch(client, base)
        .await
        .map_err(|source| GateError::Operator { url: base.to_owned(), source })?;
    let list = SignedKeyList::verify(&bytes, pin)?;
    Ok((bytes, list))
}

/// The key list as it was fetched last, and where it lies.
fn kept(dir: &Path, pin: Option<PartyId>) -> Result<(PathBuf, KeyList), GateError> {
    let file = dir.join(KEY_LIST_FILE);
    let bytes = std::fs::read(&file).map_err(|_| GateError::NoGate(dir.to_owned()))?;
    match SignedKeyList::verify(&bytes, pin) {
        Ok(list) => Ok((file, list)),
        // Whole, and of another operator than the one that was named.
        Err(other @ DirectoryError::OperatorChanged) => Err(other.into()),
        Err(source) => Err(GateError::KeptKeyList { file, source }),
    }
}

/// Makes a gate: keys, books, the pinned operator, registration. What a former try left is taken up, so it may be
/// repeated; only a gate whose operator is another is refused.
///
/// # Errors
/// [`GateError`].
pub async fn init(
    place: &Place<'_>,
    config: &GateConfig,
    pin: Option<PartyId>,
    patience: Duration,
) -> Result<(Desk, Member), GateError> {
    let client = client_of(config)?;
    let file = place.dir.join(KEY_LIST_FILE);
    let stored = if file.exists() { Some(kept(place.dir, pin)?.1) } else { None };
    let pin = pin.or(stored.map(|list| list.operator));
    let (bytes, list) = fetch(&client, &config.operator, pin).await?;
    let there = Vault::needs(place.dir).is_ok();
    let vault = if there {
        Vault::open(place.dir, place.second_factor, place.passphrase)?
    } else {
        let names = [SIGNING, KEM, STORE];
        create_private(place.dir)?;
        Vault::create(place.dir, place.second_factor, place.passphrase, &names, &mut OsEntropy)?
    };
    write_private(&file, &bytes)?;
    remember(place.dir, config)?;
    let books = books_of(place.dir, &vault, true)?;
    let desk = desk_of(&vault, books, list, &config.operator, client)?;
    let member = desk.register(config.name.as_deref(), patience).await?;
    Ok((desk, member))
}

/// Leaves a configuration file with what was said at `init`; one that is there is its owner's.
fn remember(dir: &Path, config: &GateConfig) -> Result<(), GateError> {
    let file = dir.join(CONFIG_FILE);
    if file.exists() {
        return Ok(());
    }
    let mut table = toml::Table::new();
    table.insert("operator".to_owned(), config.operator.clone().into());
    if let Some(name) = &config.name {
        table.insert("name".to_owned(), name.clone().into());
    }
    if let Some(path) = config.ca_file.as_ref().and_then(|path| path.to_str()) {
        table.insert("ca_file".to_owned(), path.into());
    }
    Ok(write_private(&file, table.to_string().as_bytes())?)
}

/// What `config check` prints, and the gate when it starts: every rule with its price.
///
/// # Errors
/// `NoGate`, `KeptKeyList`, `Rules`, `PublicUrl`, `Upstream`: whatever would keep the gate from serving.
pub fn check(dir: &Path, config: &GateConfig) -> Result<String, GateError> {
    let (_, list) = kept(dir, None)?;
    check_public_url(config)?;
    Proxy::new(&config.upstream, Duration::from_secs(config.upstream_timeout_s), config.ca_file.clone())?;
    aggregate_at(config, &list)?;
    Ok(rules_of(config, &payable_of(&list))?.table())
}

fn check_public_url(config: &GateConfig) -> Result<(), GateError> {
    let Some(url) = &config.public_url else { return Ok(()) };
    let parts = url.trim_end_matches('/').split_once("://");
    let whole = parts.is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && is_host(host));
    if whole { Ok(()) } else { Err(GateError::PublicUrl) }
}

/// Opens a gate that was made. The key list is fetched anew if the operator can be reached; its root is pinned.
///
/// # Errors
/// [`GateError`].
pub async fn open(place: &Place<'_>, config: &GateConfig) -> Result<(Desk, Member), GateError> {
    let (file, mut list) = kept(place.dir, None)?;
    let vault = Vault::open(place.dir, place.second_factor, place.passphrase)?;
    let client = client_of(config)?;
    match fetch(&client, &config.operator, Some(list.operator)).await {
        Ok((bytes, newer)) if newer.time >= list.time => {
            write_private(&file, &bytes)?;
            list = newer;
        }
        Ok(_) => {
            tracing::warn!("the operator's key list is older than the one that is kept; the newer one stays")
        }
        Err(error @ GateError::KeyList(_)) => return Err(error),
        Err(error) => tracing::warn!(%error, "the key list could not be fetched anew"),
    }
    let books = books_of(place.dir, &vault, false)?;
    let desk = desk_of(&vault, books, list, &config.operator, client)?;
    let member = desk.member().map_err(DeskError::Act)?.ok_or(GateError::NotRegistered)?;
    Ok((desk, member))
}

fn books_of(dir: &Path, vault: &Vault, may_create: bool) -> Result<Books, GateError> {
    let dir = dir.join(BOOKS_DIR);
    let spec = LaneSpec { lane: LaneId(1), registers: Vec::new() };
    let (key, clock) = (vault.secret(STORE)?, Arc::new(SystemClock) as Arc<dyn Clock>);
    let options = StorageOptions::default();
    if may_create && !dir.exists() {
        return Ok(create_books(&dir, spec, &key, clock, &options)?);
    }
    Ok(open_books(&dir, spec, &key, clock, &options)?)
}

fn desk_of(vault: &Vault, books: Books, list: KeyList, url: &str, client: Client) -> Result<Desk, GateError> {
    let signing = SigningKey::from_seed(&vault.secret(SIGNING)?);
    let kem = KemSecretKey::from_seed(&vault.secret(KEM)?);
    let party = Arc::new(Party { identity: IdentityKeys { signing, kem }, list });
    let base = url.trim_end_matches('/').to_owned();
    let transport: Arc<dyn Transport> = Arc::new(ToOperator { client, base });
    Ok(Desk { house: House::new(books), party, transport })
}

/// What can be a price at this operator.
#[must_use]
pub fn payable_of(list: &KeyList) -> Payable {
    let coins = u64::from(list.terms.coins_per_payment_max).min(florin_coin::web::COINS_MAX);
    Payable::new(all_denominations(list), coins)
}

/// The rules of a configuration.
///
/// # Errors
/// [`RulesError`].
pub fn rules_of(config: &GateConfig, payable: &Payable) -> Result<Rules, RulesError> {
    let rules = match &config.rules {
        Some(file) => Rules::read(file, config.price.as_deref(), payable),
        None => Rules::parse("", config.price.as_deref(), payable),
    };
    Ok(rules?.with_settle(config.settle).with_flow(config.flow))
}

/// Where it listens.
#[must_use]
pub fn listen_of(config: &GateConfig) -> Listen {
    Listen { address: config.listen, tls_cert: config.tls_cert.clone(), tls_key: config.tls_key.clone() }
}

/// Limits of a gate: bodies pass through, so they may be large and slow; a front proxy is one address for all payers.
#[must_use]
pub fn limits_of(config: &GateConfig) -> Limits {
    Limits {
        body_bytes_max: config.body_bytes_max,
        body_timeout: Duration::from_secs(3600),
        body_stall_timeout: Duration::from_secs(60),
        loopback_exempt: true,
        in_flight_exempt: &["/.well-known/florin-gate/healthz"],
        ..Limits::default()
    }
}

/// The gate's answers, ready to be served.
///
/// # Errors
/// `Rules`, `Upstream`, `PublicUrl`.
pub fn gate_of(desk: &Desk, member: &Member, config: &GateConfig) -> Result<Gate, GateError> {
    let list = &desk.party.list;
    check_public_url(config)?;
    let header_timeout = Duration::from_secs(config.upstream_timeout_s);
    let rules = rules_of(config, &payable_of(list))?;
    check_enrolment(desk, &rules)?;
    Ok(Gate {
        rules,
        till: Arc::new(till_of(desk, member, config)),
        proxy: Proxy::new(&config.upstream, header_timeout, config.ca_file.clone())?,
        outside: Outside {
            public_url: config.public_url.clone(),
            tls: config.tls_cert.is_some(),
            trust_forwarded: config.trust_forwarded,
        },
        shop: Shop {
            name: config.name.clone().unwrap_or_else(|| member.name.clone()),
            operator: list.name.clone(),
            test: list.test,
        },
        hold: HoldSettings::of(config),
        entropy: desk.house.entropy.clone(),
    })
}

fn till_of(desk: &Desk, member: &Member, config: &GateConfig) -> CoinTill {
    let settings = TillSettings {
        max_timeout_s: config.max_timeout_s,
        patience: Duration::from_secs(config.patience_s),
        replay_window_ms: config.replay_window_s.saturating_mul(1000),
        settle: config.settle,
    };
    CoinTill::new(desk.clone(), member.clone(), settings)
}

/// Serves until told to stop: first everything that a former run left open, then requests and, through the socket file
/// in `dir`, commands. The books are closed at the end.
///
/// # Errors
/// As [`gate_of`]; the books.
pub async fn serve(
    dir: &Path,
    desk: Desk,
    member: &Member,
    config: &GateConfig,
    bound: Bound,
    stop: Stop,
) -> Result<ExitCode, GateError> {
    let gate = gate_of(&desk, member, config)?;
    let facilitator = Facilitator::of(dir, till_of(&desk, member, config))?;
    let pages = router(gate).merge(facilitator.router());
    let patience = Duration::from_secs(config.patience_s);
    match tokio::time::timeout(RESUME_TIME_MAX, desk.resume(desk.now(), RESUME_PATIENCE)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(open)) => tracing::warn!(open, "payments whose outcome is open; asked for until it is known"),
        Ok(Err(error)) => return Err(DeskError::Act(error).into()),
        Err(_) => tracing::warn!("payments whose outcome is open; asked for until it is known"),
    }
    let books = desk.house.books.clone();
    let registry = Registry::new();
    let counters = ServeCounters::registered(&registry);
    let operating = operate(config, registry, &books, &stop).await?;
    let asking = tokio::spawn(keep_asking(desk.clone(), patience, stop.clone()));
    let at = aggregate_at(config, &desk.party.list)?;
    let paying_out = at.map(|at| tokio::spawn(keep_paying_out(desk.clone(), at, patience, stop.clone())));
    let window_ms = config.replay_window_s.saturating_mul(1000);
    let tidying = tokio::spawn(crate::retain::keep(desk.house.clone(), window_ms, stop.clone()));
    let commands = match Socket::bind(dir) {
        Ok(socket) => Some(tokio::spawn(socket.serve(desk.clone(), patience, stop.clone()))),
        Err(error) => {
            tracing::warn!(%error, "no socket file: commands have to wait until this gate has stopped");
            None
        }
    };
    let serving = serve_until(bound, pages, limits_of(config), counters, stop.clone());
    let (_, code) = tokio::join!(serving, watch_failure(&books, &stop));
    // They look at `stop` between two sends.
    for task in [Some(asking), Some(tidying), paying_out, commands, operating].into_iter().flatten() {
        let _ = task.await;
    }
    // Books that have failed are stopped already, and the code says so.
    let _ = books.stop();
    Ok(code)
}

/// Health and metrics on a listener of their own: the shop's paths are the shop's, and its figures nobody else's.
async fn operate(
    config: &GateConfig,
    registry: Arc<Registry>,
    books: &Books,
    stop: &Stop,
) -> Result<Option<JoinHandle<()>>, GateError> {
    let Some(address) = config.operate else { return Ok(None) };
    let bound = Listen::plain(address).bind().await?;
    let ready = {
        let (books, stop) = (books.clone(), stop.clone());
        move || !books.is_failed() && !stop.is_triggered()
    };
    let routes = operating_routes(registry, ready);
    let serving = serve_until(bound, routes, Limits::default(), ServeCounters::default(), stop.clone());
    Ok(Some(tokio::spawn(async move {
        serving.await;
    })))
}
