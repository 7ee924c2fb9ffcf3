//! `florin operator epochs|rotate|revoke-epoch|archive-epoch|drop-epoch|release-payouts|order|sign|execute|honour`: what
//! two key holders order, in one place or in two, beside a running operator or on a stopped one. docs/operator.md.

use std::fmt;
use std::path::{Path, PathBuf};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method};
use clap::{Args, Subcommand};
use florin_books::{Clock, Epoch, PartyId};
use florin_http::ProblemView;
use florin_operator::KeyHolder;
use florin_operator::admin::AdminToken;
use florin_operator::control::{Action, ControlError, ExecutedReport, Order, REASON_MAX, SignedOrder};
use florin_operator::control_pages::HonourRequest;
use florin_operator::epochs::EpochsReport;
use florin_operator::honour::{HonourError, HonourReport};
use florin_operator::operator::ADDRESS_FILE;
use florin_operator::trace_log::NO_REASON;
use florin_parties::bank::BankAccount;
use florin_parties::parse_network_id;
use florin_shell::clock::SystemClock;
use florin_shell::entropy::OsEntropy;
use florin_shell::exit::ExitCode;
use florin_shell::home::write_private;
use florin_shell::passphrase::{Passphrase, PassphraseError, PassphraseSource, Purpose};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::common::{StateArgs, client};
use crate::failure::Failure;
use crate::operator_cmd::{open, settings};
use crate::operator_trace_cmd::SubjectArgs;
use crate::output::Output;

const ROLE: &str = "operator";
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// What one-shot orders are good for: they are carried out at once.
pub(crate) const ONE_SHOT_MS: u64 = 10 * 60 * 1000;
const HOUR_MS: u64 = 60 * 60 * 1000;

/// What an operator does with its epochs, and what needs both key holders.
#[derive(Subcommand)]
pub enum ControlCommand {
    /// Lists the epochs, and the coins of each that are out.
    Epochs(StateArgs),
    /// Begins a new epoch, with a new tag key, now. Needs both key holders.
    Rotate(OneShot),
    /// Stops the coins of an epoch from paying; their holders exchange them. Needs both key holders.
    RevokeEpoch(RevokeArgs),
    /// Writes down the live coins of an epoch that is over. Needs both key holders; the calendar does it by itself.
    ArchiveEpoch(EpochArgs),
    /// Ends the live coins of an archived epoch. Needs both key holders; the calendar does it by itself.
    DropEpoch(EpochArgs),
    /// Orders the pay-outs that wait for release from the bank. Needs both key holders.
    ReleasePayouts(OneShot),
    /// Writes an order for the key holders to sign in different places.
    Order(OrderArgs),
    /// Adds a key holder's signature to an order. Needs no operator.
    Sign(SignArgs),
    /// Carries out an order that both key holders have signed.
    Execute(ExecuteArgs),
    /// Pays the holder of coins whose epoch was dropped, once for each coin.
    Honour(HonourArgs),
}

/// Both key holders in one place.
#[derive(Args)]
pub struct OneShot {
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    holders: Holders,
}

/// The key holders' files.
#[derive(Args)]
pub struct Holders {
    /// A key holder's file; give both.
    #[arg(long = "holder", value_name = "FILE", required = true)]
    holder: Vec<PathBuf>,
    /// Reads the passphrase of a key holder's file from a file, in the order of the files.
    #[arg(long, value_name = "FILE")]
    holder_passphrase_file: Vec<PathBuf>,
}

/// Arguments of `archive-epoch` and `drop-epoch`.
#[derive(Args)]
pub struct EpochArgs {
    /// The number of the epoch.
    epoch: u16,
    #[command(flatten)]
    one_shot: OneShot,
}

/// Arguments of `revoke-epoch`.
#[derive(Args)]
pub struct RevokeArgs {
    /// The number of the epoch.
    epoch: u16,
    /// Why; it is written down.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    one_shot: OneShot,
}

/// Arguments of `order`.
#[derive(Args)]
pub struct OrderArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The operator that is ordered, by its fingerprint [default: the one in the state].
    #[arg(long, value_name = "FINGERPRINT")]
    operator: Option<String>,
    /// For how many hours the order is good, at most 168.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=168))]
    hours: u32,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What is ordered.
    #[command(subcommand)]
    action: OrderAction,
}

/// What can be ordered.
#[derive(Subcommand)]
pub enum OrderAction {
    /// A new epoch.
    Rotate,
    /// That the coins of an epoch stop paying.
    RevokeEpoch {
        /// The number of the epoch.
        epoch: u16,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// That the live coins of an epoch are written down.
    ArchiveEpoch {
        /// The number of the epoch.
        epoch: u16,
    },
    /// That they are ended.
    DropEpoch {
        /// The number of the epoch.
        epoch: u16,
    },
    /// That the pay-outs that wait are released.
    ReleasePayouts,
    /// That boxes are opened to join a purchase to its payments, or back. Carried out by `trace --order`.
    Trace {
        #[command(flatten)]
        subject: SubjectArgs,
        /// Why; it stands in the log for good.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

/// Arguments of `sign`.
#[derive(Args)]
pub struct SignArgs {
    /// The order.
    file: PathBuf,
    /// The key holder's file.
    #[arg(long, value_name = "FILE")]
    holder: PathBuf,
    /// Reads its passphrase from a file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Arguments of `execute`.
#[derive(Args)]
pub struct ExecuteArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The order.
    file: PathBuf,
}

/// Arguments of `honour`.
#[derive(Args)]
pub struct HonourArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The coins as text, or a file with it.
    #[arg(long, value_name = "TEXT|FILE")]
    coins: String,
    /// The account to pay to.
    #[arg(long, value_name = "IBAN")]
    to: String,
}

/// Runs one.
pub async fn run(command: ControlCommand, output: Output) -> Result<ExitCode, Failure> {
    match command {
        ControlCommand::Epochs(state) => {
            output.report(&epochs(&state).await?);
            Ok(ExitCode::Done)
        }
        ControlCommand::Rotate(args) => at_once(&args, Action::Rotate, output).await,
        ControlCommand::RevokeEpoch(args) => {
            let action = Action::RevokeEpoch(Epoch(args.epoch), reason(args.reason)?);
            at_once(&args.one_shot, action, output).await
        }
        ControlCommand::ArchiveEpoch(args) => {
            at_once(&args.one_shot, Action::ArchiveEpoch(Epoch(args.epoch)), output).await
        }
        ControlCommand::DropEpoch(args) => {
            at_once(&args.one_shot, Action::DropEpoch(Epoch(args.epoch)), output).await
        }
        ControlCommand::ReleasePayouts(args) => at_once(&args, Action::ReleasePayouts, output).await,
        ControlCommand::Order(args) => order(args, output).await,
        ControlCommand::Sign(args) => sign(&args, output),
        ControlCommand::Execute(args) => {
            let signed = read_order(&args.file)?;
            execute(&args.state, &signed, output).await
        }
        ControlCommand::Honour(args) => honour(&args, output).await,
    }
}

/// What is traced and why, as both sign it.
pub(crate) fn trace_action(subject: &SubjectArgs, text: &str) -> Result<Action, Failure> {
    let subject = subject.subject()?;
    let subject = subject.ok_or_else(|| Failure::of(ExitCode::Usage, "say what to trace"))?;
    let text = text.trim();
    if text.is_empty() {
        let message = "a trace needs a reason: --reason TEXT";
        return Err(Failure::new(ExitCode::Usage, NO_REASON.slug, message));
    }
    Ok(Action::Trace(subject, reason(text.to_owned())?))
}

fn reason(text: String) -> Result<String, Failure> {
    let fits = (1..=REASON_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    let why = || format!("--reason: 1 to {REASON_MAX} characters");
    if fits { Ok(text) } else { Err(Failure::of(ExitCode::Usage, why())) }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|e| Failure::of(ExitCode::of_io(&e), format!("{}: {e}", path.display())))
}

/// An order from its file.
pub(crate) fn read_order(file: &Path) -> Result<SignedOrder, Failure> {
    SignedOrder::from_text(&read(file)?).map_err(|r| refused(r.slug, r.detail))
}

/// What the operator says no to, or would.
pub(crate) fn refused(slug: &str, detail: Option<String>) -> Failure {
    Failure::new(ExitCode::Refused, slug, detail.unwrap_or_else(|| words(slug)))
}

/// What a refusal about an order means, for people.
fn words(slug: &str) -> String {
    let words = match slug {
        "order-malformed" => "this is no order, or not a whole one",
        "order-other-operator" => "the order is for another operator",
        "order-expired" => "the order's time is over; make a new one",
        "order-altered" => "what was signed is not what stands here",
        "order-not-by-holder" => "a signature is by nobody whom the settings name as key holder",
        "order-same-holder" => "the same key holder has signed twice; the other one has to",
        "order-needs-two" => "two key holders have to sign, and fewer have",
        "order-replayed" => "the order was carried out before",
        "order-other-command" => {
            "this order is carried out by another command: a trace by florin operator trace --order"
        }
        other => return format!("refused: {other}"),
    };
    words.to_owned()
}

/// Opens a key holder's file, with its own passphrase.
pub(crate) fn holder(path: &Path, passphrase_file: Option<&PathBuf>) -> Result<KeyHolder, Failure> {
    let fail = |e: florin_operator::KeyHolderError| Failure::of(e.exit_code(), e.to_string());
    let (name, protected) = KeyHolder::needs(path).map_err(fail)?;
    let passphrase = match passphrase_file {
        _ if !protected => Passphrase::none(),
        Some(file) => Passphrase::read(&PassphraseSource::File(file.clone()), Purpose::Open)?,
        None => {
            eprintln!("Key holder {name}:");
            Passphrase::read(&PassphraseSource::Prompt, Purpose::Open).map_err(|error| match error {
                PassphraseError::NoTerminal => Failure::of(
                    ExitCode::Usage,
                    format!(
                        "the passphrase of key holder {name} is needed and there is no terminal to ask at: give the file that holds it (--holder-passphrase-file FILE, once for each holder; for sign --passphrase-file)"
                    ),
                ),
                other => other.into(),
            })?
        }
    };
    KeyHolder::open(path, &passphrase).map_err(fail)
}

/// Makes the order, has both sign it, and carries it out.
async fn at_once(args: &OneShot, action: Action, output: Output) -> Result<ExitCode, Failure> {
    let operator = operator_id(&args.state, None).await?;
    let mut signed = SignedOrder::new(operator, action, SystemClock.now(), ONE_SHOT_MS, &mut OsEntropy);
    for (n, file) in args.holders.holder.iter().enumerate() {
        let holder = holder(file, args.holders.holder_passphrase_file.get(n))?;
        signed.sign(&holder).map_err(|r| refused(r.slug, r.detail))?;
    }
    execute(&args.state, &signed, output).await
}

async fn operator_id(state: &StateArgs, named: Option<&str>) -> Result<PartyId, Failure> {
    let text = match named {
        Some(text) => text.to_owned(),
        None => epochs(state).await?.operator,
    };
    parse_network_id(&text)
        .ok_or_else(|| Failure::of(ExitCode::Usage, format!("{text:?} is no operator's fingerprint")))
}

#[derive(Serialize)]
struct OrderReport {
    file: PathBuf,
    action: String,
    signatures: usize,
    nonce: String,
    expires_unix_ms: u64,
}

impl fmt::Display for OrderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.action)?;
        write!(f, "{} signatures of two, in {}", self.signatures, self.file.display())
    }
}

fn describe(file: &Path, signed: &SignedOrder, order: &Order) -> OrderReport {
    OrderReport {
        file: file.to_owned(),
        action: order.action.to_string(),
        signatures: signed.signatures(),
        nonce: order.nonce.0.iter().map(|b| format!("{b:02x}")).collect(),
        expires_unix_ms: order.exp.0,
    }
}

fn keep(file: &Path, signed: &SignedOrder, output: Output) -> Result<ExitCode, Failure> {
    let order = signed.order_unverified().ok_or_else(|| refused("order-malformed", None))?;
    write_private(file, format!("{}\n", signed.to_text()).as_bytes())?;
    output.report(&describe(file, signed, &order));
    Ok(ExitCode::Done)
}

async fn order(args: OrderArgs, output: Output) -> Result<ExitCode, Failure> {
    let action = match args.action {
        OrderAction::Rotate => Action::Rotate,
        OrderAction::RevokeEpoch { epoch, reason: text } => Action::RevokeEpoch(Epoch(epoch), reason(text)?),
        OrderAction::ArchiveEpoch { epoch } => Action::ArchiveEpoch(Epoch(epoch)),
        OrderAction::DropEpoch { epoch } => Action::DropEpoch(Epoch(epoch)),
        OrderAction::ReleasePayouts => Action::ReleasePayouts,
        OrderAction::Trace { subject, reason } => trace_action(&subject, &reason)?,
    };
    let operator = operator_id(&args.state, args.operator.as_deref()).await?;
    let life = u64::from(args.hours).saturating_mul(HOUR_MS);
    let signed = SignedOrder::new(operator, action, SystemClock.now(), life, &mut OsEntropy);
    if args.out.exists() {
        let message = format!("{} is there already; it is not overwritten", args.out.display());
        return Err(Failure::of(ExitCode::CannotCreate, message));
    }
    keep(&args.out, &signed, output)
}

fn sign(args: &SignArgs, output: Output) -> Result<ExitCode, Failure> {
    let mut signed = read_order(&args.file)?;
    if let Some(order) = signed.order_unverified() {
        // What is signed is said before the passphrase is asked for.
        output.text(format!("you sign: {}", order.action));
    }
    let holder = holder(&args.holder, args.passphrase_file.as_ref())?;
    signed.sign(&holder).map_err(|r| refused(r.slug, r.detail))?;
    keep(&args.file, &signed, output)
}

async fn execute(state: &StateArgs, signed: &SignedOrder, output: Output) -> Result<ExitCode, Failure> {
    let asked = running(state, "orders", Method::POST, signed.to_text().into_bytes()).await?;
    let report: ExecutedReport = match asked {
        Some(answer) => answer?,
        None => {
            let operator = open(state, settings(state, None, toml::Table::new())?.value)?;
            operator.look()?;
            operator.execute(signed).await.map_err(|error| match error {
                ControlError::Refused(r) => refused(r.slug, r.detail),
                error => Failure::of(ExitCode::Io, error.to_string()),
            })?
        }
    };
    output.report(&report);
    Ok(ExitCode::Done)
}

async fn epochs(state: &StateArgs) -> Result<EpochsReport, Failure> {
    match running(state, "epochs", Method::GET, Vec::new()).await? {
        Some(answer) => answer,
        None => {
            let operator = open(state, settings(state, None, toml::Table::new())?.value)?;
            operator.epochs().map_err(|e| Failure::of(ExitCode::Io, e.to_string()))
        }
    }
}

async fn honour(args: &HonourArgs, output: Output) -> Result<ExitCode, Failure> {
    let to: BankAccount = args
        .to
        .parse()
        .map_err(|_| Failure::of(ExitCode::Usage, format!("--to: {:?} is not a bank account", args.to)))?;
    let file = Path::new(&args.coins);
    // A text of coins is one word; what looks like the name of a file is one.
    let named = args.coins.contains(['/', '.']);
    let coins = if named || file.is_file() { read(file)? } else { args.coins.clone() };
    let request = HonourRequest { coins: coins.clone(), to: to.to_string() };
    let body = serde_json::to_vec(&request).map_err(|e| Failure::of(ExitCode::Usage, e.to_string()))?;
    let report: HonourReport = match running(&args.state, "honour", Method::POST, body).await? {
        Some(answer) => answer?,
        None => {
            let operator = open(&args.state, settings(&args.state, None, toml::Table::new())?.value)?;
            operator.look()?;
            operator.honour(&coins, &to).await.map_err(|error| match error {
                HonourError::Refused(r) => refused(r.slug, r.detail),
                HonourError::Archive(e) => Failure::of(ExitCode::BadData, e.to_string()),
                error @ HonourError::Act(_) => Failure::of(ExitCode::Io, error.to_string()),
            })?
        }
    };
    output.report(&report);
    Ok(ExitCode::Done)
}

/// Asks the operator that runs on this state; nothing if none answers. What it refuses is refused.
async fn running<T: DeserializeOwned>(
    args: &StateArgs,
    page: &str,
    method: Method,
    body: Vec<u8>,
) -> Result<Option<Result<T, Failure>>, Failure> {
    let Some(token) = AdminToken::text(&args.state(ROLE)?) else { return Ok(None) };
    let file = args.state(ROLE)?.join(ADDRESS_FILE);
    let Ok(base) = std::fs::read_to_string(file) else { return Ok(None) };
    let url = format!("{}/admin/{page}", base.trim());
    let Ok(value) = format!("Bearer {token}").parse() else { return Ok(None) };
    let http = client(None)?;
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let answer = match http.request(method, &url, headers, body.into(), ANSWER_BYTES_MAX).await {
        Ok(answer) => answer,
        Err(error) if error.outcome_is_open() => {
            let message = "the running operator did not answer: whether it was done is not known yet";
            return Err(Failure::of(ExitCode::NotKnownYet, message));
        }
        Err(_) => return Ok(None),
    };
    if answer.status.is_success() {
        let unreadable = || Failure::of(ExitCode::BadData, "the running operator's answer cannot be read");
        return Ok(Some(serde_json::from_slice(&answer.body).map_err(|_| unreadable())));
    }
    // Not ours, or another program that listens there now: what is on the disk decides.
    match answer.problem() {
        Some(ProblemView { slug: Some(slug), detail, .. }) if slug != "not-admin" => {
            Ok(Some(Err(refused(&slug, detail))))
        }
        _ => Ok(None),
    }
}
