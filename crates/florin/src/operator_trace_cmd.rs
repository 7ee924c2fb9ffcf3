//! `florin operator trace` and `florin operator key-holder`: a court's order, carried out by two key holders together, and
//! how each of them gets keys. The holders' keys are opened here, never by the running operator.
//! Source: VarietyCash §1.2 (trust-based anonymity); V10; docs/operator.md, "A court's order".

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method};
use clap::{ArgGroup, Args};
use data_encoding::HEXLOWER;
use florin_books::{Clock, PartyId, TxId};
use florin_coin::PayId;
use florin_crypto::ByteArray;
use florin_http::{Client, problem::ProblemView};
use florin_operator::admin::AdminToken;
use florin_operator::control::{
    Action, ORDER_NEEDS_TWO, ORDER_NOT_BY_HOLDER, ORDER_SAME_HOLDER, SignedOrder,
};
use florin_operator::opened::{FollowRequest, open_boxes};
use florin_operator::operator::ADDRESS_FILE;
use florin_operator::trace::{Begun, TraceError, TraceReport};
use florin_operator::trace_log::Subject;
use florin_operator::trace_pages::LogReport;
use florin_operator::{KeyHolder, KeyHolderError, KnownHolder, Operator, OperatorConfig, two_holders};
use florin_shell::clock::SystemClock;
use florin_shell::entropy::OsEntropy;
use florin_shell::exit::ExitCode;
use florin_shell::passphrase::{NO_PASSPHRASE_WARNING, Passphrase, PassphraseSource, Purpose};
use serde::de::DeserializeOwned;

use crate::common::{StateArgs, client};
use crate::failure::Failure;
use crate::operator_control_cmd::{self as control, ONE_SHOT_MS, read_order, trace_action};
use crate::output::Output;

/// An answer of the running operator has at most so many bytes.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What is traced: one of them.
#[derive(Args)]
#[group(multiple = false)]
pub struct SubjectArgs {
    /// Follows the coins of a purchase to the payments that they made.
    #[arg(long, value_name = "ID")]
    purchase: Option<TxId>,
    /// Finds the purchases whose coins made a payment.
    #[arg(long, value_name = "PAY_ID")]
    payment: Option<PayId>,
    /// Finds the purchase of a coin, by its public id in hexadecimal.
    #[arg(long, value_name = "ID")]
    coin: Option<String>,
}

impl SubjectArgs {
    /// What was said.
    pub(crate) fn subject(&self) -> Result<Option<Subject>, Failure> {
        Ok(match (&self.purchase, &self.payment, &self.coin) {
            (Some(id), _, _) => Some(Subject::Purchase(*id)),
            (_, Some(id), _) => Some(Subject::Payment(*id)),
            (_, _, Some(text)) => {
                let id = HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).ok();
                let id = id.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
                let bad = || Failure::of(ExitCode::Usage, "a coin's id has 32 hexadecimal digits");
                Some(Subject::Coin(ByteArray(id.ok_or_else(bad)?)))
            }
            _ => None,
        })
    }
}

/// Arguments of `trace`.
#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).args(["purchase", "payment", "coin", "order", "log"]))]
pub struct TraceArgs {
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    subject: SubjectArgs,
    /// Carries out an order that both key holders have signed, from `operator order ... trace`.
    #[arg(long, value_name = "FILE", conflicts_with = "reason")]
    order: Option<PathBuf>,
    /// Shows the log of openings and checks its chain.
    #[arg(long)]
    log: bool,
    /// Why; it stands in the log for good.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// A key holder's file; twice, one of each. Both are needed to open boxes, whoever has signed where.
    #[arg(long, value_name = "FILE")]
    holder: Vec<PathBuf>,
    /// A file with the holder's passphrase, in the order of --holder; asked for otherwise.
    #[arg(long, value_name = "FILE")]
    holder_passphrase_file: Vec<PathBuf>,
    /// Also hands over the claim of a purchase whose claim key is lost.
    #[arg(long, conflicts_with_all = ["payment", "coin", "log"])]
    recover: bool,
}

/// Arguments of `key-holder`.
#[derive(Args)]
pub struct KeyHolderArgs {
    /// What the holder is called; it stands in the log of openings.
    #[arg(long)]
    name: String,
    /// The file to make.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Reads the passphrase from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "no_passphrase")]
    passphrase_file: Option<PathBuf>,
    /// Uses no passphrase.
    #[arg(long)]
    no_passphrase: bool,
}

/// Makes a key holder's file, on the holder's own machine, and shows what goes into the operator's settings.
pub fn key_holder(args: &KeyHolderArgs, output: Output) -> Result<ExitCode, Failure> {
    if args.no_passphrase {
        eprintln!("{NO_PASSPHRASE_WARNING}");
    }
    let source = match (&args.passphrase_file, args.no_passphrase) {
        (Some(file), _) => PassphraseSource::File(file.clone()),
        (None, true) => PassphraseSource::None,
        (None, false) => PassphraseSource::Prompt,
    };
    let passphrase = Passphrase::read(&source, Purpose::Create)?;
    let made = KeyHolder::create(&args.file, &args.name, &passphrase, &mut OsEntropy).map_err(of_holder)?;
    let public = made.public();
    if output.json {
        output.value(&public);
    } else {
        output.line(format!("Made {}. For operator.toml:\n", args.file.display()));
        output.line("[[key_holder]]");
        output
            .line(format!("name = {:?}\nverify = {:?}\nkem = {:?}", public.name, public.verify, public.kem));
    }
    Ok(ExitCode::Done)
}

/// Carries out an order, or shows the log. `open` opens a stopped operator.
pub async fn trace(
    args: &TraceArgs,
    config: OperatorConfig,
    state: &Path,
    open: impl FnOnce(OperatorConfig) -> Result<Arc<Operator>, Failure>,
    output: Output,
) -> Result<ExitCode, Failure> {
    let holders = two_holders(&config.key_holder).map_err(of_holder)?;
    let wanted = if args.log { None } else { Some((wanted(args)?, both_files(args, &holders)?)) };
    let desk = match Desk::running(state)? {
        Some(desk) => desk,
        None => Desk::Stopped(open(config)?),
    };
    let log = desk.log().await?;
    let Some((wanted, files)) = wanted else {
        output.report(&log);
        return Ok(if log.findings.is_empty() { ExitCode::Done } else { ExitCode::BadData });
    };
    let operator: PartyId = log
        .operator
        .parse()
        .map_err(|_| Failure::of(ExitCode::BadData, "the running operator's answer cannot be read"))?;
    let signed = match wanted {
        Wanted::Signed(signed) => signed,
        Wanted::Here(action) => {
            let mut made = SignedOrder::new(operator, action, SystemClock.now(), ONE_SHOT_MS, &mut OsEntropy);
            files
                .iter()
                .try_for_each(|file| made.sign(file))
                .map_err(|r| control::refused(r.slug, r.detail))?;
            made
        }
    };
    let begun = desk.begin(&signed).await?;
    let found = open_boxes(operator, &holders, &files, (&signed, &begun), args.recover);
    let report = desk.follow(&found).await?;
    output.report(&report);
    Ok(ExitCode::Done)
}

/// An order that is there, or one that is made here.
enum Wanted {
    Signed(SignedOrder),
    Here(Action),
}

/// What is traced; nothing has been opened or logged yet.
fn wanted(args: &TraceArgs) -> Result<Wanted, Failure> {
    let Some(file) = &args.order else { return Ok(Wanted::Here(trace_action(&args.subject, &args.reason)?)) };
    let signed = read_order(file)?;
    let action = signed.order_unverified().map(|order| order.action);
    if args.recover && !matches!(action, Some(Action::Trace(Subject::Purchase(_), _))) {
        return Err(Failure::of(ExitCode::Usage, "--recover is for an order about a purchase"));
    }
    Ok(Wanted::Signed(signed))
}

/// The two holders' keys, looked at before anything is logged: with others no box would open.
fn both_files(args: &TraceArgs, holders: &[KnownHolder; 2]) -> Result<[KeyHolder; 2], Failure> {
    let no = |slug: &str, why: &str| control::refused(slug, Some(why.to_owned()));
    let [one, other] = args.holder.as_slice() else {
        let why = "a trace needs the files of both key holders: --holder FILE --holder FILE";
        return Err(no(ORDER_NEEDS_TWO.slug, why));
    };
    let mut passphrases = args.holder_passphrase_file.iter();
    let files = [control::holder(one, passphrases.next())?, control::holder(other, passphrases.next())?];
    let [one, other] = &files;
    if one.known() == other.known() {
        return Err(no(ORDER_SAME_HOLDER.slug, "both files are the same key holder's"));
    }
    if let Some(stranger) = files.iter().find(|file| !holders.contains(&file.known())) {
        let why = format!("the settings do not name the key holder {:?} with these keys", stranger.name);
        return Err(no(ORDER_NOT_BY_HOLDER.slug, &why));
    }
    Ok(files)
}

fn of_holder(error: KeyHolderError) -> Failure {
    Failure::of(error.exit_code(), error.to_string())
}

/// The operator that is asked: one that runs, or one that is opened here.
enum Desk {
    Running { http: Box<Client>, base: String, token: HeaderValue },
    Stopped(Arc<Operator>),
}

impl Desk {
    fn running(state: &Path) -> Result<Option<Self>, Failure> {
        let Some(token) = AdminToken::text(state) else { return Ok(None) };
        let Ok(base) = std::fs::read_to_string(state.join(ADDRESS_FILE)) else { return Ok(None) };
        let Ok(token) = format!("Bearer {token}").parse() else { return Ok(None) };
        let base = base.trim().to_owned();
        // A file that a killed operator has left says nothing.
        let host = base.split_once("://").map_or(base.as_str(), |(_, rest)| rest);
        if std::net::TcpStream::connect(host).is_err() {
            return Ok(None);
        }
        Ok(Some(Self::Running { http: Box::new(client(None)?), base, token }))
    }

    async fn log(&self) -> Result<LogReport, Failure> {
        match self {
            Self::Running { .. } => self.ask(Method::GET, "trace", Vec::new()).await,
            Self::Stopped(operator) => operator.trace_log().map_err(refused),
        }
    }

    async fn begin(&self, order: &SignedOrder) -> Result<Begun, Failure> {
        match self {
            Self::Running { .. } => self.ask(Method::POST, "trace", order.to_text().into_bytes()).await,
            Self::Stopped(operator) => {
                operator.look()?;
                operator.trace_begin(order).await.map_err(refused)
            }
        }
    }

    async fn follow(&self, request: &FollowRequest) -> Result<TraceReport, Failure> {
        match self {
            Self::Running { .. } => {
                let body = serde_json::to_vec(request);
                let body = body.map_err(|e| Failure::of(ExitCode::BadData, e.to_string()))?;
                self.ask(Method::POST, "trace/follow", body).await
            }
            Self::Stopped(operator) => operator.trace_follow(request).await.map_err(refused),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        page: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        let Self::Running { http, base, token } = self else {
            return Err(Failure::of(ExitCode::Unavailable, "no operator runs here"));
        };
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, token.clone()), (CONTENT_TYPE, json)]);
        let unreadable = || Failure::of(ExitCode::BadData, "the running operator's answer cannot be read");
        let url = format!("{base}/admin/{page}");
        let asked = http.request(method, &url, headers, body.into(), ANSWER_BYTES_MAX).await;
        let answer = asked.map_err(|e| Failure::of(ExitCode::Unavailable, e.to_string()))?;
        if !answer.status.is_success() {
            let problem = ProblemView::parse(&answer.headers, &answer.body).unwrap_or_default();
            let slug = problem.slug.unwrap_or_else(|| ExitCode::Refused.name().to_owned());
            let message = problem.detail.or(problem.title).unwrap_or_else(|| answer.status.to_string());
            return Err(Failure::new(ExitCode::Refused, slug, message));
        }
        serde_json::from_slice(&answer.body).map_err(|_| unreadable())
    }
}

fn refused(error: TraceError) -> Failure {
    match error {
        TraceError::Refused(refusal) => control::refused(refusal.slug, refusal.detail),
        other => Failure::of(ExitCode::Io, other.to_string()),
    }
}
