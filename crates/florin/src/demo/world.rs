//! The world of the demo: a sandbox bank, an operator, a small site and the gate in front of it, all on loopback with
//! embedded databases in one folder, in one process. The same code as the programs apart.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use florin_bank::{BankConfig, BankKeys, BankRail, SandboxClient, lane_spec};
use florin_books::{Clock, TxId};
use florin_crypto::random;
use florin_http::{Client, Limits, Stop};
use florin_merchant::desk::Desk;
use florin_merchant::program::{self, GateConfig, Place, listen_of};
use florin_money::Currency;
use florin_operator::init::bank_client;
use florin_operator::{Operator, OperatorConfig, VaultPlaces, init_sandbox};
use florin_shell::clock::SystemClock;
use florin_shell::entropy::OsEntropy;
use florin_shell::exit::ExitCode;
use florin_shell::passphrase::Passphrase;
use florin_shell::service::Listen;
use florin_shell::storage::{StorageOptions, create_books};
use florin_shell::vault::Vault;
use tokio::task::JoinHandle;

use crate::common::client;
use crate::failure::Failure;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that runs.
pub struct World {
    /// The folder of all state.
    pub dir: PathBuf,
    /// The sandbox bank.
    pub bank_url: String,
    /// The operator.
    pub operator: Arc<Operator>,
    /// Where it listens.
    pub operator_url: String,
    /// Ends everything.
    pub stop: Stop,
    /// A client for the bank.
    pub http: Client,
    tasks: Vec<JoinHandle<Result<(), Failure>>>,
}

/// A fresh address on loopback.
pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn fail(error: impl std::fmt::Display) -> Failure {
    Failure::of(ExitCode::Refused, error.to_string())
}

impl World {
    /// Starts bank and operator in a fresh folder.
    pub async fn start(dir: &Path) -> Result<Self, Failure> {
        let stop = Stop::new();
        let http = client(None)?;
        let mut tasks = Vec::new();
        let bank_url = start_bank(dir, &stop, &mut tasks).await?;
        let (operator, operator_url) = start_operator(dir, &bank_url, &http, &stop, &mut tasks).await?;
        Ok(Self { dir: dir.to_owned(), bank_url, operator, operator_url, stop, http, tasks })
    }

    /// Opens an account at the bank.
    pub async fn account(&self, holder: &str) -> Result<SandboxClient, Failure> {
        Ok(SandboxClient::open(&self.http, &self.bank_url, txid(), holder, None).await?)
    }

    /// Starts the sample site.
    pub async fn site(&mut self) -> Result<String, Failure> {
        let bound = Listen::plain(loopback()).bind().await?;
        let url = bound.url();
        let (app, stop) = (sample_site(), self.stop.clone());
        let serving = florin_http::serve(bound.listener, None, app, Limits::default(), stop);
        self.tasks.push(tokio::spawn(async move {
            serving.await;
            Ok(())
        }));
        Ok(url)
    }

    /// Makes a gate and registers it.
    pub async fn gate(
        &self,
        upstream: &str,
        rules: &str,
    ) -> Result<(Desk, florin_merchant::Member, GateConfig), Failure> {
        let state = self.dir.join("gate");
        let file = self.dir.join("prices.toml");
        std::fs::write(&file, rules).map_err(fail)?;
        let config = GateConfig {
            listen: loopback(),
            operator: self.operator_url.clone(),
            upstream: upstream.to_owned(),
            rules: Some(file),
            name: Some("corner-shop".into()),
            ..GateConfig::default()
        };
        let none = Passphrase::none();
        let second = self.dir.join("gate.keys").join("second-factor");
        let place = Place { dir: &state, second_factor: Some(&second), passphrase: &none };
        let (desk, member) = program::init(&place, &config, None, PATIENCE).await?;
        Ok((desk, member, config))
    }

    /// Serves a gate; its address.
    pub async fn serve_gate(
        &mut self,
        desk: Desk,
        member: florin_merchant::Member,
        config: GateConfig,
    ) -> Result<String, Failure> {
        let bound = listen_of(&config).bind().await?;
        let url = bound.url();
        let (dir, stop) = (self.dir.join("gate"), self.stop.clone());
        self.tasks.push(tokio::spawn(async move {
            program::serve(&dir, desk, &member, &config, bound, stop).await?;
            Ok(())
        }));
        Ok(url)
    }

    /// Ends everything in good order.
    pub async fn end(self) -> Result<(), Failure> {
        self.stop.trigger();
        for task in self.tasks {
            task.await.map_err(fail)??;
        }
        Ok(())
    }
}

/// A request id.
pub fn txid() -> TxId {
    TxId::new(random(&mut OsEntropy))
}

async fn start_bank(
    dir: &Path,
    stop: &Stop,
    tasks: &mut Vec<JoinHandle<Result<(), Failure>>>,
) -> Result<String, Failure> {
    let state = dir.join("bank");
    let none = Passphrase::none();
    let vault = Vault::create(&state, None, &none, &["store", "access", "admin"], &mut OsEntropy)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = StorageOptions::default();
    let books =
        create_books(&state.join("books"), lane_spec(), &vault.secret("store")?, clock.clone(), &options)?;
    let keys = BankKeys { access: vault.secret("access")?, admin: vault.secret("admin")? };
    let bound = Listen::plain(loopback()).bind().await?;
    let config = BankConfig {
        name: "Sandbox bank".into(),
        bank_code: "99990001".parse().map_err(|_| fail("the bank's code"))?,
        listen: bound.address,
        delay_ms: 0,
        directory: state.join("books"),
        currency: Currency::FLO.code().to_string(),
        exponent: Currency::FLO.exponent(),
        peers: Vec::new(),
    };
    let (url, stop) = (bound.url(), stop.clone());
    tasks.push(tokio::spawn(async move {
        let ran = florin_bank::run(&config, books.clone(), &keys, clock, bound.listener, None, stop).await;
        books.stop().map_err(fail)?;
        ran.map(|_| ()).map_err(fail)
    }));
    Ok(url)
}

async fn start_operator(
    dir: &Path,
    bank_url: &str,
    http: &Client,
    stop: &Stop,
    tasks: &mut Vec<JoinHandle<Result<(), Failure>>>,
) -> Result<(Arc<Operator>, String), Failure> {
    let places = VaultPlaces {
        state: dir.join("operator"),
        second: Some(dir.join("operator.keys").join("second-factor")),
    };
    let mut config = OperatorConfig { listen: loopback(), ..OperatorConfig::default() };
    config.bank.url = bank_url.to_owned();
    // Nobody else is here to hide among: do not wait for company.
    (config.claims_wait_ms, config.bank_poll_ms) = (10, 10);
    let made = init_sandbox(config, &places, &Passphrase::none(), http).await?;
    let config = made.config;
    let currency = config.money().map_err(fail)?;
    let rail: Arc<dyn BankRail> = Arc::new(bank_client(&config, currency, http).map_err(fail)?);
    let bound = config.listener().bind().await?;
    let opened =
        tokio::task::spawn_blocking(move || Operator::open(config, &places, &Passphrase::none(), rail));
    let operator = opened.await.map_err(fail)??;
    let (url, running, stop) = (bound.url(), Arc::clone(&operator), stop.clone());
    tasks.push(tokio::spawn(async move {
        running.announce(&bound.url());
        match running.run(bound, stop).await {
            ExitCode::Done => Ok(()),
            code => Err(Failure::of(code, "the operator's books have failed")),
        }
    }));
    Ok((operator, url))
}

/// An ordinary site: three pages that know nothing of payments.
fn sample_site() -> Router {
    let page = |title: &'static str, text: &'static str| {
        let html = format!(
            "<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><p>{text}</p>\n"
        );
        get(move || {
            let html = html.clone();
            async move { ([(header::CACHE_CONTROL, "max-age=60")], Html(html)).into_response() }
        })
    };
    Router::new()
        .route("/", page("The corner shop", "Three articles: /one, /two, /three."))
        .route("/one", page("One", "An article that costs as much as one coin."))
        .route("/two", page("Two", "An article whose price needs change."))
        .route("/three", page("Three", "An article that a thief wanted."))
}
