//! `florin gate init|serve|balance|payout|enrol|history|config|accepts|facilitator`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use florin_books::Timestamp;
use florin_http::Stop;
use florin_merchant::command::{self, Command as GateRequest};
use florin_merchant::facilitator;
use florin_merchant::gather::PayoutFrom;
use florin_merchant::program::{self, CONFIG_FILE, GateConfig, GateError, Place, listen_of};
use florin_merchant::settle::Settle;
use florin_parties::parse_network_id;
use florin_shell::config;
use florin_shell::exit::ExitCode;
use florin_shell::passphrase::Passphrase;
use florin_shell::utc::utc;
use serde_json::Value;

use crate::common::{Places, StateArgs, await_listener};
use crate::failure::Failure;
use crate::output::Output;

const ROLE: &str = "gate";
const ENV: &str = "FLORIN_GATE_";
/// How long a command waits for the operator.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a gate does.
#[derive(Subcommand)]
pub enum GateCommand {
    /// Makes a gate: keys, books, registration with the operator.
    Init(InitArgs),
    /// Serves in front of a web server until stopped.
    Serve(ServeArgs),
    /// What is in the purse.
    Balance(StateArgs),
    /// Pays out to the enrolled bank account.
    Payout(PayoutArgs),
    /// Enrols a bank account for pay-outs.
    Enrol(EnrolArgs),
    /// What has happened.
    History(StateArgs),
    /// Checks the settings and shows every rule with its price.
    Config(ServeArgs),
    /// Prints the signed offer that a shop of any make puts into its settings, to sell through the facilitator.
    Accepts(AcceptsArgs),
    /// Shows where the facilitator is and the token that a shop needs for it.
    Facilitator(ServeArgs),
}

/// Arguments of `init`.
#[derive(Args)]
pub struct InitArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The operator.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    operator: String,
    /// The operator's fingerprint, if it is known from elsewhere.
    #[arg(long, value_name = "FINGERPRINT")]
    pin: Option<String>,
    /// The shop's name; without it, a pseudonym.
    #[arg(long)]
    name: Option<String>,
    /// PEM certificates trusted besides the public ones.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Arguments of `serve`.
#[derive(Args)]
pub struct ServeArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The settings [default: gate.toml in the state].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The web server to stand in front of.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The price where no rule matches, such as "0.05 FLO".
    #[arg(long)]
    price: Option<String>,
    /// Price rules by path and method.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Scheme and host that payers see.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// PEM file of the certificate chain.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

/// Arguments of `payout`.
#[derive(Args)]
pub struct PayoutArgs {
    #[command(flatten)]
    state: StateArgs,
    /// How much; everything without it.
    amount: Option<String>,
    /// Only coins of the purse.
    #[arg(long, conflicts_with = "gathered")]
    coins: bool,
    /// Only what is gathered at the operator, in one bank order.
    #[arg(long)]
    gathered: bool,
}

/// Arguments of `accepts`.
#[derive(Args)]
pub struct AcceptsArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The price, such as "0.05 FLO".
    #[arg(long)]
    price: String,
    /// What people read.
    #[arg(long)]
    description: Option<String>,
    /// What becomes of the coins: refresh, redeem or aggregate [default: the gate's setting].
    #[arg(long, value_name = "WAY", value_parser = settle_of)]
    settle: Option<Settle>,
}

fn settle_of(word: &str) -> Result<Settle, &'static str> {
    let all = [Settle::Refresh, Settle::Redeem, Settle::Aggregate];
    all.into_iter().find(|settle| settle.word() == word).ok_or("refresh, redeem or aggregate")
}

/// Arguments of `enrol`.
#[derive(Args)]
pub struct EnrolArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The account: an IBAN or payto URI. A code is sent to it.
    #[arg(long, value_name = "ACCOUNT", required_unless_present = "code", conflicts_with = "code")]
    account: Option<String>,
    /// The code on the account's statement.
    #[arg(long)]
    code: Option<String>,
}

/// Runs one.
pub async fn run(gate: GateCommand, output: Output) -> Result<ExitCode, Failure> {
    match gate {
        GateCommand::Init(args) => init(args, output).await,
        GateCommand::Serve(args) => serve(args, output).await,
        GateCommand::Config(args) => {
            let config = settings(&args)?;
            let table = program::check(&args.state.state(ROLE)?, &config)?;
            if output.json {
                output.value(&serde_json::json!({"rules": table.lines().collect::<Vec<_>>()}));
            } else {
                output.line(table.trim_end());
            }
            Ok(ExitCode::Done)
        }
        GateCommand::Balance(state) => ask(&state, &GateRequest::Balance, output).await,
        GateCommand::History(state) => ask(&state, &GateRequest::History, output).await,
        GateCommand::Payout(args) => {
            let from = match (args.coins, args.gathered) {
                (true, _) => Some(PayoutFrom::Coins),
                (_, true) => Some(PayoutFrom::Gathered),
                (false, false) => None,
            };
            ask(&args.state, &GateRequest::Payout { amount: args.amount, from }, output).await
        }
        GateCommand::Accepts(args) => {
            let config = own_settings(&args.state)?;
            let request = GateRequest::Accepts {
                price: args.price,
                description: args.description,
                max_timeout_s: config.max_timeout_s,
                settle: args.settle,
            };
            // A shop's settings are JSON, whoever reads the answer.
            ask(&args.state, &request, Output { json: true }).await
        }
        GateCommand::Facilitator(args) => show_facilitator(&args, output),
        GateCommand::Enrol(args) => {
            let request = match (args.account, args.code) {
                (Some(account), _) => GateRequest::Enrol { account },
                (None, Some(code)) => GateRequest::Confirm { code },
                (None, None) => return Err(Failure::of(ExitCode::Usage, "an account or a code is needed")),
            };
            ask(&args.state, &request, output).await
        }
    }
}

fn place<'a>(places: &'a Places, passphrase: &'a Passphrase) -> Place<'a> {
    Place { dir: &places.state, second_factor: places.second.as_deref(), passphrase }
}

async fn init(args: InitArgs, output: Output) -> Result<ExitCode, Failure> {
    let places = args.state.places(ROLE)?;
    let there = places.state.join(florin_shell::vault::VAULT_FILE).exists();
    let passphrase =
        if there { args.state.passphrase(&places.state)? } else { args.state.new_passphrase()? };
    let pin = match args.pin.as_deref() {
        None => None,
        Some(text) => match parse_network_id(text) {
            Some(id) => Some(id),
            None => return Err(Failure::of(ExitCode::Usage, format!("{text:?} is not a fingerprint"))),
        },
    };
    let config = GateConfig {
        operator: args.operator.trim_end_matches('/').to_owned(),
        name: args.name,
        ca_file: args.ca_file,
        ..GateConfig::default()
    };
    await_listener(&config.operator).await;
    let (desk, member) = program::init(&place(&places, &passphrase), &config, pin, PATIENCE).await?;
    let fingerprint = florin_parties::network_id(desk.party.list.operator);
    let id = desk.party.id();
    let stopped = desk.house.books.stop();
    stopped.map_err(|e| Failure::of(ExitCode::Io, e.to_string()))?;
    if output.json {
        output.value(&serde_json::json!({
            "state": places.state, "id": id.to_string(), "name": member.name, "fingerprint": fingerprint,
        }));
    } else {
        output.line(format!("Gate made in {}", places.state.display()));
        output.line(format!("  registered as {} ({id})", member.name));
        output.line(format!("  operator      {} at {}", fingerprint, config.operator));
    }
    Ok(ExitCode::Done)
}

fn settings(args: &ServeArgs) -> Result<GateConfig, Failure> {
    let state = args.state.state(ROLE)?;
    let default = state.join(CONFIG_FILE);
    let file = args.config.clone().or_else(|| default.exists().then_some(default));
    let mut flags = toml::Table::new();
    let path = |p: &PathBuf| p.to_string_lossy().into_owned();
    let given = [
        ("upstream", args.upstream.clone()),
        ("price", args.price.clone()),
        ("rules", args.rules.as_ref().map(path)),
        ("listen", args.listen.map(|l| l.to_string())),
        ("public_url", args.public_url.clone()),
        ("tls_cert", args.tls_cert.as_ref().map(path)),
        ("tls_key", args.tls_key.as_ref().map(path)),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            config::set(&mut flags, key, value);
        }
    }
    Ok(config::load(file.as_deref(), ENV, flags)?.value)
}

async fn serve(args: ServeArgs, output: Output) -> Result<ExitCode, Failure> {
    let config = settings(&args)?;
    let places = args.state.places(ROLE)?;
    let passphrase = args.state.passphrase(&places.state)?;
    let (desk, member) = program::open(&place(&places, &passphrase), &config).await?;
    if config.price.is_none() && config.rules.is_none() {
        eprintln!("warning: no --price and no --rules: every page is free");
    }
    let bound = listen_of(&config).bind().await?;
    let stop = Stop::on_signal().map_err(|e| Failure::of(ExitCode::Io, e.to_string()))?;
    if output.json {
        output.value(&serde_json::json!({"listening": bound.url(), "upstream": config.upstream}));
    } else {
        output.line(format!("listening on {}", bound.url()));
        output.line(format!("in front of {}", config.upstream));
    }
    Ok(program::serve(&places.state, desk, &member, &config, bound, stop).await?)
}

/// The settings that the gate's own folder has.
fn own_settings(state: &StateArgs) -> Result<GateConfig, Failure> {
    let file = state.state(ROLE)?.join(CONFIG_FILE);
    Ok(config::load(file.exists().then_some(file.as_path()), ENV, toml::Table::new())?.value)
}

fn show_facilitator(args: &ServeArgs, output: Output) -> Result<ExitCode, Failure> {
    let config = settings(args)?;
    let state = args.state.state(ROLE)?;
    // What would keep the gate from serving keeps it from having a facilitator.
    program::check(&state, &config)?;
    let token = facilitator::token(&state).map_err(GateError::from)?;
    let url = facilitator::url(&config);
    if output.json {
        output.value(&serde_json::json!({"url": url, "token": token}));
    } else {
        output.line(format!("url   {url}"));
        output.line(format!("token {token}"));
    }
    Ok(ExitCode::Done)
}

async fn ask(state: &StateArgs, request: &GateRequest, output: Output) -> Result<ExitCode, Failure> {
    let places = state.places(ROLE)?;
    // The keys are open already in a gate that is serving.
    let serving = command::is_serving(&places.state).await;
    let passphrase = if serving { Passphrase::none() } else { state.passphrase(&places.state)? };
    let config = own_settings(state)?;
    let done = command::run(&place(&places, &passphrase), &config, request, PATIENCE).await;
    let done = done.map_err(|e| {
        let code = ExitCode::ALL.into_iter().find(|c| c.number() == e.exit_code());
        Failure::of(code.unwrap_or(ExitCode::Refused), e.to_string())
    })?;
    if output.json {
        output.value(&done)
    } else {
        output.line(Plain(&done));
        if matches!(request, GateRequest::Enrol { .. }) && done.get("enrolled") == Some(&Value::Bool(false)) {
            output.line("next: florin gate enrol --code CODE, with the code on the account's statement");
        }
    }
    Ok(ExitCode::Done)
}

/// A JSON answer for people: a line for each member, a block for each entry of a list.
struct Plain<'a>(&'a Value);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Value::Object(members) = self.0 else { return write!(f, "{}", word(self.0)) };
        let mut lines = Vec::new();
        for (key, value) in members {
            match value {
                Value::Array(entries) if entries.is_empty() => lines.push(format!("no {key}")),
                Value::Array(entries) => {
                    for entry in entries {
                        let words: Vec<String> = match entry {
                            Value::Object(fields) => fields.iter().map(|(k, v)| member(k, v)).collect(),
                            other => vec![word(other)],
                        };
                        lines.push(words.join(", "));
                    }
                }
                Value::Null => {}
                other => lines.push(member(key, other)),
            }
        }
        write!(f, "{}", lines.join("\n"))
    }
}

/// For people a time is a date, and yes and no are words.
fn member(key: &str, value: &Value) -> String {
    match (key.strip_suffix("_unix_ms"), value) {
        (Some(key), Value::Number(n)) => {
            let at = Timestamp(n.as_u64().unwrap_or(0));
            format!("{} {}", key.replace('_', " "), utc(at))
        }
        (_, Value::Bool(yes)) => format!("{key} {}", if *yes { "yes" } else { "no" }),
        _ => format!("{key} {}", word(value)),
    }
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
