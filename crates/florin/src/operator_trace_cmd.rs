//! `florin operator trace` and `florin operator key-holder`: a court's order, carried out by two key holders together, and
//! how each of them gets keys. The holders' keys are opened here, never by the running operator.
//! Source: VarietyCash §1.2 (trust-based anonymity); V10; docs/operator.md, "A court's order".

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method};
use clap::{ArgGroup, Args};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use florin_books::{PartyId, Timestamp, TxId};
use florin_coin::PayId;
use florin_crypto::{ByteArray, random};
use florin_http::{Client, problem::ProblemView};
use florin_operator::admin::AdminToken;
use florin_operator::operator::ADDRESS_FILE;
use florin_operator::trace::{Begun, FollowRequest, TraceError, TraceReport, TraceRequest, open_boxes};
use florin_operator::trace_log::{NO_REASON, REASON_MAX, Subject, TWO_HOLDERS, TraceOrder};
use florin_operator::trace_pages::LogReport;
use florin_operator::{KeyHolder, KeyHolderError, Operator, OperatorConfig, two_holders};
use florin_shell::clock::SystemClock;
use florin_shell::entropy::OsEntropy;
use florin_shell::exit::ExitCode;
use florin_shell::passphrase::{NO_PASSPHRASE_WARNING, Passphrase, PassphraseSource, Purpose};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::common::{StateArgs, client};
use crate::failure::Failure;
use crate::output::Output;

/// An order is good for so long.
const ORDER_LASTS_MS: u64 = 60 * 60 * 1000;
/// An answer of the running operator has at most so many bytes.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Arguments of `trace`.
#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).args(["purchase", "payment", "coin", "log"]))]
pub struct TraceArgs {
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// Follows the coins of a purchase to the payments that they made.
    #[arg(long, value_name = "ID")]
    purchase: Option<TxId>,
    /// Finds the purchases whose coins made a payment.
    #[arg(long, value_name = "PAY_ID")]
    payment: Option<PayId>,
    /// Finds the purchase of a coin, by its public id in hexadecimal.
    #[arg(long, value_name = "ID")]
    coin: Option<String>,
    /// Shows the log of openings and checks its chain.
    #[arg(long)]
    log: bool,
    /// Why; it stands in the log for good.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// A key holder's file; twice, one of each.
    #[arg(long, value_name = "FILE")]
    holder: Vec<PathBuf>,
    /// A file with the holder's passphrase, in the order of --holder; asked for otherwise.
    #[arg(long, value_name = "FILE")]
    holder_passphrase_file: Vec<PathBuf>,
    /// Also hands over the claim of a purchase whose claim key is lost.
    #[arg(long, requires = "purchase")]
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
    let order = if args.log { None } else { Some(wanted(args)?) };
    let desk = match Desk::running(state)? {
        Some(desk) => desk,
        None => Desk::Stopped(open(config)?),
    };
    let log = desk.log().await?;
    let Some((subject, reason, files)) = order else {
        output.report(&log);
        return Ok(if log.findings.is_empty() { ExitCode::Done } else { ExitCode::BadData });
    };
    let operator: PartyId = log
        .operator
        .parse()
        .map_err(|_| Failure::of(ExitCode::BadData, "the running operator's answer cannot be read"))?;
    let now = florin_books::Clock::now(&SystemClock);
    let (nonce, exp) = (TxId::new(random(&mut OsEntropy)), Timestamp(now.0.saturating_add(ORDER_LASTS_MS)));
    let signed = TraceOrder::new(operator, subject, &reason, nonce, exp);
    let orders = files.iter().map(|file| BASE64URL_NOPAD.encode(&signed.sign(file))).collect();
    let begun = desk.begin(&TraceRequest { orders }).await?;
    let found = open_boxes(operator, &holders, &files, &begun.boxes);
    let report = desk.follow(&FollowRequest { entry: begun.entry, found, recover: args.recover }).await?;
    output.report(&report);
    Ok(ExitCode::Done)
}

/// What is traced and why, and the two holders' keys; nothing has been opened or logged yet.
fn wanted(args: &TraceArgs) -> Result<(Subject, String, [KeyHolder; 2]), Failure> {
    let subject = match (&args.purchase, &args.payment, &args.coin) {
        (Some(id), _, _) => Subject::Purchase(*id),
        (_, Some(id), _) => Subject::Payment(*id),
        (_, _, Some(text)) => {
            let id = HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).ok();
            let id = id.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            let bad = || Failure::of(ExitCode::Usage, "a coin's id has 32 hexadecimal digits");
            Subject::Coin(ByteArray(id.ok_or_else(bad)?))
        }
        _ => return Err(Failure::of(ExitCode::Usage, "say what to trace")),
    };
    let two = || {
        let message = "a trace needs the files of both key holders: --holder FILE --holder FILE";
        Failure::new(ExitCode::NotAllowed, TWO_HOLDERS.slug, message)
    };
    let [one, other] = args.holder.as_slice() else { return Err(two()) };
    let reason = args.reason.as_deref().map(str::trim).unwrap_or_default();
    if !(1..=REASON_MAX).contains(&reason.chars().count()) {
        let message = format!("a trace needs a reason of 1 to {REASON_MAX} characters: --reason TEXT");
        return Err(Failure::new(ExitCode::Usage, NO_REASON.slug, message));
    }
    let mut passphrases = args.holder_passphrase_file.iter();
    let one = open_holder(one, passphrases.next())?;
    let other = open_holder(other, passphrases.next())?;
    if one.known() == other.known() {
        return Err(two());
    }
    Ok((subject, reason.to_owned(), [one, other]))
}

fn open_holder(file: &Path, passphrase: Option<&PathBuf>) -> Result<KeyHolder, Failure> {
    let (name, protected) = KeyHolder::needs(file).map_err(of_holder)?;
    let passphrase = match (protected, passphrase) {
        (false, _) => Passphrase::none(),
        (true, Some(path)) => Passphrase::read(&PassphraseSource::File(path.clone()), Purpose::Open)?,
        (true, None) => {
            eprintln!("Key holder {name:?}, {}", file.display());
            Passphrase::read(&PassphraseSource::Prompt, Purpose::Open)?
        }
    };
    KeyHolder::open(file, &passphrase).map_err(of_holder)
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
            Self::Running { .. } => self.ask(Method::GET, "trace", &()).await,
            Self::Stopped(operator) => operator.trace_log().map_err(refused),
        }
    }

    async fn begin(&self, request: &TraceRequest) -> Result<Begun, Failure> {
        match self {
            Self::Running { .. } => self.ask(Method::POST, "trace", request).await,
            Self::Stopped(operator) => operator.trace_begin(request).await.map_err(refused),
        }
    }

    async fn follow(&self, request: &FollowRequest) -> Result<TraceReport, Failure> {
        match self {
            Self::Running { .. } => self.ask(Method::POST, "trace/follow", request).await,
            Self::Stopped(operator) => operator.trace_follow(request).await.map_err(refused),
        }
    }

    async fn ask<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        page: &str,
        body: &B,
    ) -> Result<T, Failure> {
        let Self::Running { http, base, token } = self else {
            return Err(Failure::of(ExitCode::Unavailable, "no operator runs here"));
        };
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, token.clone()), (CONTENT_TYPE, json)]);
        let unreadable = || Failure::of(ExitCode::BadData, "the running operator's answer cannot be read");
        let body = serde_json::to_vec(body).map_err(|_| unreadable())?;
        let url = format!("{base}/admin/{page}");
        let asked = http.request(method, &url, headers, body.into(), ANSWER_BYTES_MAX).await;
        let answer = asked.map_err(|e| Failure::of(ExitCode::Unavailable, e.to_string()))?;
        if !answer.status.is_success() {
            let problem = ProblemView::parse(&answer.headers, &answer.body).unwrap_or_default();
            let slug = problem.slug.unwrap_or_else(|| ExitCode::Refused.name().to_owned());
            let message = problem.title.unwrap_or_else(|| answer.status.to_string());
            return Err(Failure::new(ExitCode::Refused, slug, message));
        }
        serde_json::from_slice(&answer.body).map_err(|_| unreadable())
    }
}

fn refused(error: TraceError) -> Failure {
    match error {
        TraceError::Refused(refusal) => {
            Failure::new(ExitCode::Refused, refusal.slug, "the operator refuses the order")
        }
        TraceError::KeyHolder(error) => of_holder(error),
        other => Failure::of(ExitCode::Io, other.to_string()),
    }
}
