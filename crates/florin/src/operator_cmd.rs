//! `florin operator init|serve|config|owed|evidence`; what reads the books is in `operator_books_cmd`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method};
use clap::{Args, Subcommand};
use data_encoding::BASE64URL_NOPAD;
use florin_bank::{BankRail, SandboxClient};
use florin_books::TxId;
use florin_coin::issuer::Purchase;
use florin_coin::kinds::PURCHASE;
use florin_http::{Client, ClientConfig, Stop};
use florin_operator::admin::AdminToken;
use florin_operator::init::{CONFIG_FILE, bank_client};
use florin_operator::keys::is_there;
use florin_operator::operator::ADDRESS_FILE;
use florin_operator::{Operator, OperatorConfig, OwedReport, VaultPlaces, init_sandbox, owed, two_holders};
use florin_parties::network_id;
use florin_shell::config::{self, Loaded};
use florin_shell::exit::ExitCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::common::{StateArgs, await_listener, client};
use crate::failure::Failure;
use crate::module_args::ModuleArgs;
use crate::operator_backup_cmd::{BackupArgs, RestoreArgs, run_backup, run_restore};
use crate::operator_books_cmd::{self, AuditArgs, BooksArgs, CirculationArgs, JournalArgs, PayoutsCommand};
use crate::operator_coin_cmd::{self, CoinArgs};
use crate::operator_control_cmd::ControlCommand;
use crate::operator_trace_cmd::{KeyHolderArgs, TraceArgs, key_holder, trace};
use crate::output::Output;

pub(crate) const ROLE: &str = "operator";
const ENV: &str = "FLORIN_OPERATOR_";
/// The running operator may read all of its books for an answer.
const ANSWERS_IN: Duration = Duration::from_secs(600);
/// An answer of the running operator has at most so many bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What an operator does.
#[derive(Subcommand)]
pub enum OperatorCommand {
    /// Makes keys, empty books and an account at the sandbox bank.
    Init(InitArgs),
    /// Serves until stopped.
    Serve(ServeArgs),
    /// Reads both lanes from their first record and says what does not agree.
    Audit(AuditArgs),
    /// Every account with its balance, in both lanes and together.
    Books(BooksArgs),
    /// The journal, record by record, in words.
    Journal(JournalArgs),
    /// Coins in circulation and ever issued, by denomination, epoch or age.
    Circulation(CirculationArgs),
    /// Says whether pay-outs go out; lets them go on after a person has looked.
    #[command(subcommand)]
    Payouts(PayoutsCommand),
    /// Checks or shows the settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Lists what is owed to participants, such as pay-outs that the bank rejected; orders it again with --pay.
    Owed(OwedArgs),
    #[command(flatten)]
    Control(ControlCommand),
    /// Says the state of one coin, or with --pending how much is paid for and not collected yet.
    Coin(CoinArgs),
    /// Writes a backup beside the running operator, or of one that is stopped; verifies one.
    Backup(BackupArgs),
    /// Restores a backup into an empty state; accepts books that are not the latest.
    Restore(RestoreArgs),
    /// Exports the signed authorisation of a purchase, or lists the purchases.
    Evidence(EvidenceArgs),
    /// Joins a purchase to its payments or a payment to its purchases: needs the files of both key holders, and a reason.
    Trace(TraceArgs),
    /// Makes a key holder's file, and shows what goes into the operator's settings.
    KeyHolder(KeyHolderArgs),
}

/// Arguments of `init`.
#[derive(Args)]
pub struct InitArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The sandbox bank.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7420")]
    bank: String,
    /// What the operator calls itself.
    #[arg(long, default_value = "Florin operator")]
    name: String,
    /// Where it will listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7400")]
    listen: SocketAddr,
    #[command(flatten)]
    module: ModuleArgs,
}

/// Arguments of `serve`.
#[derive(Args)]
pub struct ServeArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The settings [default: operator.toml in the state].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// PEM file of the certificate chain.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

/// What can be done with settings.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Says whether the settings can be used.
    Check(StateArgs),
    /// Shows every setting and where it comes from.
    Show(StateArgs),
}

/// Arguments of `owed`.
#[derive(Args)]
pub struct OwedArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Orders it from the bank, to the accounts that are confirmed now.
    #[arg(long)]
    pay: bool,
}

/// Arguments of `evidence`.
#[derive(Args)]
pub struct EvidenceArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The purchase; all are listed without it.
    purchase: Option<TxId>,
}

/// Runs one.
pub async fn run(command: OperatorCommand, output: Output) -> Result<ExitCode, Failure> {
    match command {
        OperatorCommand::Init(args) => init(args, output).await,
        OperatorCommand::Serve(args) => serve(args, output).await,
        OperatorCommand::Audit(args) => operator_books_cmd::audit(&args, output).await,
        OperatorCommand::Books(args) => operator_books_cmd::books(&args, output).await,
        OperatorCommand::Journal(args) => operator_books_cmd::journal(&args, output).await,
        OperatorCommand::Circulation(args) => operator_books_cmd::circulation(&args, output).await,
        OperatorCommand::Payouts(command) => operator_books_cmd::payouts(command, output).await,
        OperatorCommand::Config(ConfigCommand::Check(args)) => {
            let loaded = settings(&args, None, config_flags(None, None, None)?)?;
            check(&loaded.value)?;
            two_holders(&loaded.value.key_holder).map_err(|e| Failure::of(e.exit_code(), e.to_string()))?;
            away(&vault_places(&args)?.holders_here(), loaded.value.test)?;
            output.text("The settings can be used.");
            if output.json {
                output.value(&serde_json::json!({"usable": true}));
            }
            Ok(ExitCode::Done)
        }
        OperatorCommand::Config(ConfigCommand::Show(args)) => {
            let loaded = settings(&args, None, config_flags(None, None, None)?)?;
            show(&loaded, output);
            Ok(ExitCode::Done)
        }
        OperatorCommand::Owed(args) => owed_to(&args, output).await,
        OperatorCommand::Control(command) => crate::operator_control_cmd::run(command, output).await,
        OperatorCommand::Coin(args) => operator_coin_cmd::run(args, output).await,
        OperatorCommand::Backup(args) => run_backup(args, output).await,
        OperatorCommand::Restore(args) => run_restore(args, output).await,
        OperatorCommand::Evidence(args) => evidence(&args, output).await,
        OperatorCommand::Trace(args) => {
            let config = settings(&args.state, None, toml::Table::new())?.value;
            let (state, opened) = (args.state.state(ROLE)?, args.state.clone());
            trace(&args, config, &state, move |config| open(&opened, config), output).await
        }
        OperatorCommand::KeyHolder(args) => key_holder(&args, output),
    }
}

pub(crate) fn vault_places(args: &StateArgs) -> Result<VaultPlaces, Failure> {
    let places = args.places(ROLE)?;
    Ok(VaultPlaces { state: places.state, second: places.second })
}

#[derive(Serialize)]
struct InitReport {
    state: PathBuf,
    settings: PathBuf,
    network: String,
    bank_account: String,
    url: String,
    holders: Vec<PathBuf>,
}

impl fmt::Display for InitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Operator made in {}", self.state.display())?;
        writeln!(f, "  settings      {}", self.settings.display())?;
        writeln!(f, "  fingerprint   {}  (what wallets and gates pin)", self.network)?;
        writeln!(f, "  bank account  {}", self.bank_account)?;
        for file in &self.holders {
            writeln!(f, "  key holder    {}", file.display())?;
        }
        writeln!(f, "Give each key holder's file to another person and move both off this machine:")?;
        writeln!(f, "together they open who bought which coins.")?;
        write!(f, "Next: florin operator serve  ->  {}", self.url)
    }
}

async fn init(args: InitArgs, output: Output) -> Result<ExitCode, Failure> {
    let places = vault_places(&args.state)?;
    if is_there(&places.state) {
        let message = format!("{} holds an operator already", places.state.display());
        return Err(Failure::of(ExitCode::CannotCreate, message));
    }
    let mut config = OperatorConfig { name: args.name, listen: args.listen, ..OperatorConfig::default() };
    config.module = args.module.settings();
    config.bank.url = args.bank.trim_end_matches('/').to_owned();
    let passphrase = args.state.new_passphrase()?;
    let http = client(None)?;
    await_listener(&config.bank.url).await;
    let made = init_sandbox(config, &places, &passphrase, &http).await?;
    output.report(&InitReport {
        state: places.state,
        settings: made.file,
        network: network_id(made.id),
        bank_account: made.account.to_string(),
        url: format!("http://{}", made.config.listen),
        holders: made.holders,
    });
    Ok(ExitCode::Done)
}

fn config_flags(
    listen: Option<SocketAddr>,
    cert: Option<&Path>,
    key: Option<&Path>,
) -> Result<toml::Table, Failure> {
    let mut flags = toml::Table::new();
    let path = |p: &Path| p.to_string_lossy().into_owned();
    if let Some(listen) = listen {
        config::set(&mut flags, "listen", listen.to_string());
    }
    if let Some(cert) = cert {
        config::set(&mut flags, "tls_cert", path(cert));
    }
    if let Some(key) = key {
        config::set(&mut flags, "tls_key", path(key));
    }
    Ok(flags)
}

/// The settings of a state.
pub fn settings(
    args: &StateArgs,
    file: Option<PathBuf>,
    flags: toml::Table,
) -> Result<Loaded<OperatorConfig>, Failure> {
    let file = match file {
        Some(file) => file,
        None => {
            let state = args.state(ROLE)?;
            if !state.exists() {
                let message = format!(
                    "there is no operator at {}; make one with: florin operator init",
                    state.display()
                );
                return Err(Failure::of(ExitCode::Configuration, message));
            }
            state.join(CONFIG_FILE)
        }
    };
    Ok(config::load(Some(&file), ENV, flags)?)
}

pub(crate) fn stored_settings(args: &StateArgs) -> Result<OperatorConfig, Failure> {
    Ok(settings(args, None, toml::Table::new())?.value)
}

fn check(config: &OperatorConfig) -> Result<SandboxClient, Failure> {
    let currency = config.money().map_err(|e| Failure::of(ExitCode::Configuration, e.to_string()))?;
    config.listener().check()?;
    let http = client(None)?;
    bank_client(config, currency, &http).map_err(|e| Failure::of(ExitCode::Configuration, e.to_string()))
}

fn show(loaded: &Loaded<OperatorConfig>, output: Output) {
    if output.json {
        let entries: Vec<_> = loaded
            .entries()
            .into_iter()
            .map(|(key, value, source)| serde_json::json!({"key": key, "value": value, "source": source.to_string()}))
            .collect();
        output.value(&entries);
    } else {
        for (key, value, source) in loaded.entries() {
            output.line(format!("{key} = {value}    # {source}"));
        }
    }
}

async fn serve(args: ServeArgs, output: Output) -> Result<ExitCode, Failure> {
    let flags = config_flags(args.listen, args.tls_cert.as_deref(), args.tls_key.as_deref())?;
    let config = settings(&args.state, args.config, flags)?.value;
    let rail: Arc<dyn BankRail> = Arc::new(check(&config)?);
    let places = vault_places(&args.state)?;
    let passphrase = args.state.passphrase(&places.state)?;
    let bound = config.listener().bind().await?;
    let (url, here, test) = (bound.url(), places.holders_here(), config.test);
    away(&here, test)?;
    let opened = tokio::task::spawn_blocking(move || Operator::open(config, &places, &passphrase, rail));
    let operator = opened.await.map_err(|e| Failure::of(ExitCode::Io, e.to_string()))??;
    operator.may_serve().await?;
    let stop = Stop::on_signal().map_err(|e| Failure::of(ExitCode::Io, e.to_string()))?;
    operator.announce(&url);
    if output.json {
        output.value(&serde_json::json!({"listening": url, "network": network_id(operator.id)}));
    } else {
        output.line(format!("listening on {url}"));
        output.line(format!("fingerprint {}", network_id(operator.id)));
    }
    Ok(operator.run(bound, stop).await)
}

/// The machine that seals must not be able to open: only an operator that says of itself that it is a test may.
fn away(here: &[PathBuf], test: bool) -> Result<(), Failure> {
    for file in here {
        tracing::warn!(file = %file.display(), "a key holder's file lies on this machine: carry it away");
    }
    match here.first().filter(|_| !test) {
        None => Ok(()),
        Some(file) => Err(Failure::new(
            ExitCode::Configuration,
            "key-holders-here",
            format!("a key holder's file lies on this machine: {}; carry it away", file.display()),
        )),
    }
}

/// Opens the operator of a state that nobody serves.
pub fn open(args: &StateArgs, config: OperatorConfig) -> Result<Arc<Operator>, Failure> {
    let places = vault_places(args)?;
    let passphrase = args.passphrase(&places.state)?;
    let rail: Arc<dyn BankRail> = Arc::new(check(&config)?);
    Ok(Operator::open(config, &places, &passphrase, rail)?)
}

/// Asks the operator that runs on this state, if one does.
pub async fn running<T: DeserializeOwned>(
    args: &StateArgs,
    page: &str,
    method: Method,
) -> Result<Option<T>, Failure> {
    ask_running(args, page, method, Vec::new()).await
}

/// The same, with something to say.
pub async fn ask_running<T: DeserializeOwned>(
    args: &StateArgs,
    page: &str,
    method: Method,
    body: Vec<u8>,
) -> Result<Option<T>, Failure> {
    let Some(token) = AdminToken::text(&args.state(ROLE)?) else { return Ok(None) };
    let file = args.state(ROLE)?.join(ADDRESS_FILE);
    let Ok(base) = std::fs::read_to_string(file) else { return Ok(None) };
    let url = format!("{}/admin/{page}", base.trim());
    let Ok(value) = format!("Bearer {token}").parse() else { return Ok(None) };
    let config = ClientConfig { timeout: ANSWERS_IN, ..ClientConfig::default() };
    let http = Client::new(config).map_err(|e| Failure::of(ExitCode::Configuration, e.to_string()))?;
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value), (CONTENT_TYPE, json)]);
    let asked = http.request(method, &url, headers, body.into(), ANSWER_BYTES_MAX).await;
    let Ok(answer) = asked else { return Ok(None) };
    if !answer.status.is_success() {
        return Ok(None);
    }
    serde_json::from_slice(&answer.body)
        .map(Some)
        .map_err(|_| Failure::of(ExitCode::BadData, "the running operator's answer cannot be read"))
}

/// What is owed, of an operator that runs or of one that does not; an order made now leaves when it runs.
async fn owed_to(args: &OwedArgs, output: Output) -> Result<ExitCode, Failure> {
    let method = if args.pay { Method::POST } else { Method::GET };
    let report: OwedReport = match running(&args.state, "owed", method).await? {
        Some(report) => report,
        None => {
            let operator = open(&args.state, settings(&args.state, None, toml::Table::new())?.value)?;
            let limit = operator.release_above;
            if args.pay {
                operator.look()?;
            }
            let report = owed(&operator.lanes, operator.currency, limit, args.pay).await;
            report.map_err(|e| Failure::of(ExitCode::Io, e.to_string()))?
        }
    };
    output.report(&report);
    Ok(ExitCode::Done)
}

#[derive(Serialize)]
struct EvidenceReport {
    purchase: String,
    purchaser: String,
    state: String,
    amount: String,
    order: String,
    at_unix_ms: u64,
    authorisation: String,
}

impl fmt::Display for EvidenceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {}  {}  {}", self.purchase, self.amount, self.state, self.purchaser)?;
        writeln!(f, "  bank order {}", self.order)?;
        write!(f, "  authorisation (COSE_Sign1, base64url): {}", self.authorisation)
    }
}

async fn evidence(args: &EvidenceArgs, output: Output) -> Result<ExitCode, Failure> {
    let config = settings(&args.state, None, toml::Table::new())?.value;
    let operator = open(&args.state, config)?;
    let all = operator.lanes.identity.books.scan(PURCHASE)?;
    let wanted = |p: &Purchase| args.purchase.is_none_or(|id| id == p.id);
    let found: Vec<EvidenceReport> = all
        .iter()
        .filter_map(|(_, document)| Purchase::read(&document.value))
        .filter(wanted)
        .map(|p| EvidenceReport {
            purchase: p.id.to_string(),
            purchaser: p.purchaser.to_string(),
            state: format!("{:?}", p.state),
            amount: p.w_desc().map_or_else(String::new, |w| w.total.to_string()),
            order: p.order.to_string(),
            at_unix_ms: p.at.0,
            authorisation: BASE64URL_NOPAD.encode(&p.authorisation.0),
        })
        .collect();
    if args.purchase.is_some() && found.is_empty() {
        return Err(Failure::of(ExitCode::Refused, "there is no such purchase"));
    }
    if output.json {
        output.value(&found);
    } else {
        found.iter().for_each(|report| output.line(report));
    }
    Ok(ExitCode::Done)
}
