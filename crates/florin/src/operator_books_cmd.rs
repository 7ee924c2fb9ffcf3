//! `florin operator audit|books|journal|circulation|payouts`: the books for people and for other programs, of an operator
//! that runs (through its admin page) or of one that does not.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::Method;
use clap::{Args, Subcommand, ValueEnum};
use florin_operator::reading::{
    AccountsReport, By, CirculationReport, Export, JournalLine, JournalPage, JournalQuery, ReadingError,
    accounts, circulation as circulation_of, journal_page, kind_named, lane_named,
};
use florin_operator::reconcile::brake::{self, PayoutsReport, ResumedLine};
use florin_operator::{AuditError, BooksReport, Operator, audit_with_bank};
use florin_shell::exit::ExitCode;
use florin_shell::utc;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::common::StateArgs;
use crate::failure::Failure;
use crate::operator_cmd::{ask_running, open, settings};
use crate::output::Output;

/// Arguments of `audit`.
#[derive(Args)]
pub struct AuditArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Writes both lanes' journal for another program to check.
    #[arg(long, value_name = "FORMAT")]
    export: Option<ExportFormat>,
    /// Where to; standard output without it, and the report then goes to standard error.
    #[arg(long, value_name = "FILE", requires = "export")]
    out: Option<PathBuf>,
}

/// Programs that an export is for.
#[derive(Clone, Copy, ValueEnum)]
pub enum ExportFormat {
    /// Plain text accounting, <https://hledger.org>.
    Hledger,
}

/// Arguments of `books`.
#[derive(Args)]
pub struct BooksArgs {
    #[command(flatten)]
    state: StateArgs,
    /// As CSV (RFC 4180).
    #[arg(long)]
    csv: bool,
}

/// Arguments of `journal`.
#[derive(Args)]
pub struct JournalArgs {
    #[command(flatten)]
    state: StateArgs,
    /// `identity` or `books`; both without it, in order of time.
    #[arg(long)]
    lane: Option<String>,
    /// From a record of the lane, or from a time such as 2026-11-21 or 2026-11-21T08:30:05Z.
    #[arg(long, value_name = "SEQ|TIME")]
    from: Option<String>,
    /// Up to a record of the lane, or up to a time.
    #[arg(long, value_name = "SEQ|TIME")]
    to: Option<String>,
    /// Records that post on this account or on one below it, such as `assets:bank` or `liabilities:party:party_...`.
    #[arg(long)]
    account: Option<String>,
    /// Records of this kind, such as `payment` or `bank-booked`.
    #[arg(long)]
    kind: Option<String>,
    /// At most so many.
    #[arg(long)]
    limit: Option<u64>,
    /// As CSV (RFC 4180).
    #[arg(long)]
    csv: bool,
}

/// Arguments of `circulation`.
#[derive(Args)]
pub struct CirculationArgs {
    #[command(flatten)]
    state: StateArgs,
    /// What the coins are counted by.
    #[arg(long, default_value = "denomination")]
    by: ByArg,
    /// As CSV (RFC 4180).
    #[arg(long)]
    csv: bool,
}

/// What coins are counted by.
#[derive(Clone, Copy, ValueEnum)]
pub enum ByArg {
    /// By what one is worth.
    Denomination,
    /// By when they were issued.
    Epoch,
    /// By how many epochs ago.
    Age,
}

/// What can be done about pay-outs.
#[derive(Subcommand)]
pub enum PayoutsCommand {
    /// Says whether pay-outs go out, and every time that they were let go on.
    Show(StateArgs),
    /// Lets pay-outs go on after the bank's statement and the books differed.
    Resume(ResumeArgs),
}

/// Arguments of `payouts resume`.
#[derive(Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Why they may; it is recorded, and what was found is known from then on.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Where the books are read: beside the operator that runs, or in books that nobody serves.
enum Source<'a> {
    Running(&'a StateArgs),
    Stopped(Arc<Operator>),
}

impl<'a> Source<'a> {
    /// The operator that runs answers `page`; else its books are opened here.
    async fn find<T: DeserializeOwned>(
        args: &'a StateArgs,
        page: &str,
    ) -> Result<(Source<'a>, Option<T>), Failure> {
        match ask_running(args, page, Method::GET, Vec::new()).await? {
            Some(found) => Ok((Self::Running(args), Some(found))),
            None => Ok((Self::Stopped(opened(args).await?), None)),
        }
    }

    async fn accounts(&self) -> Result<AccountsReport, Failure> {
        match self {
            Self::Running(args) => ask(args, "books", Method::GET, Vec::new()).await,
            Self::Stopped(operator) => read(operator, |o| accounts(&o.lanes)).await,
        }
    }

    async fn page(&self, query: JournalQuery) -> Result<JournalPage, Failure> {
        match self {
            Self::Running(args) => {
                let body =
                    serde_json::to_vec(&query).map_err(|e| Failure::of(ExitCode::Usage, e.to_string()))?;
                ask(args, "journal", Method::POST, body).await
            }
            Self::Stopped(operator) => read(operator, move |o| journal_page(&o.lanes, &query)).await,
        }
    }

    /// Every record that is wanted, one after the other; `each` says whether to go on.
    async fn journal(
        &self,
        mut query: JournalQuery,
        mut each: impl FnMut(&JournalLine) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        loop {
            let page = self.page(query.clone()).await?;
            for line in &page.lines {
                if !each(line)? {
                    return Ok(());
                }
            }
            if page.next.is_none() {
                return Ok(());
            }
            query.place = page.next;
        }
    }
}

async fn ask<T: DeserializeOwned>(
    args: &StateArgs,
    page: &str,
    method: Method,
    body: Vec<u8>,
) -> Result<T, Failure> {
    let gone =
        || Failure::of(ExitCode::Unavailable, "the operator that was running does not answer any more");
    ask_running(args, page, method, body).await?.ok_or_else(gone)
}

async fn opened(args: &StateArgs) -> Result<Arc<Operator>, Failure> {
    let config = settings(args, None, toml::Table::new())?.value;
    open(args, config)
}

async fn read<T: Send + 'static>(
    operator: &Arc<Operator>,
    look: impl FnOnce(&Operator) -> Result<T, ReadingError> + Send + 'static,
) -> Result<T, Failure> {
    let operator = Arc::clone(operator);
    let read = tokio::task::spawn_blocking(move || look(&operator)).await;
    read.unwrap_or(Err(ReadingError::Interrupted)).map_err(reading_failed)
}

fn reading_failed(error: ReadingError) -> Failure {
    let code = match &error {
        ReadingError::Store(e) => ExitCode::of_store(e),
        ReadingError::Lane(_) | ReadingError::Kind(_) => ExitCode::Usage,
        ReadingError::Commit(_) | ReadingError::Interrupted => ExitCode::Io,
    };
    Failure::of(code, error.to_string())
}

fn audit_failed(error: AuditError) -> Failure {
    let code = match &error {
        AuditError::Store(e) => ExitCode::of_store(e),
        AuditError::Commit(_) | AuditError::Interrupted => ExitCode::Io,
    };
    Failure::of(code, error.to_string())
}

/// The audit, beside the bank's statement; and the journal for a foreign program, if that is wanted.
pub async fn audit(args: &AuditArgs, output: Output) -> Result<ExitCode, Failure> {
    let (source, report) = Source::find::<BooksReport>(&args.state, "audit").await?;
    let report = match (report, &source) {
        (Some(report), _) => report,
        (None, Source::Stopped(operator)) => audit_with_bank(operator).await.map_err(audit_failed)?,
        (None, Source::Running(args)) => ask(args, "audit", Method::GET, Vec::new()).await?,
    };
    match (args.export, &args.out) {
        (None, _) => output.report(&report),
        (Some(ExportFormat::Hledger), Some(file)) => {
            export_to(&source, file).await?;
            output.report(&report);
        }
        (Some(ExportFormat::Hledger), None) => {
            export(&source, BufWriter::new(std::io::stdout())).await?;
            eprintln!("{report}");
        }
    }
    Ok(if report.is_clean() { ExitCode::Done } else { ExitCode::BadData })
}

fn cannot_write(file: &Path) -> impl Fn(std::io::Error) -> Failure {
    let file = file.display().to_string();
    move |error| Failure::of(ExitCode::CannotCreate, format!("{file}: {error}"))
}

/// Beside, then in its place: what stands under the name is whole. It names participants, so it is its owner's only.
async fn export_to(source: &Source<'_>, file: &Path) -> Result<(), Failure> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
    let written = export(source, BufWriter::new(opened.map_err(cannot_write(&part))?)).await?;
    written
        .into_inner()
        .map_err(|e| cannot_write(&part)(e.into_error()))?
        .sync_all()
        .map_err(cannot_write(&part))?;
    std::fs::rename(&part, file).map_err(cannot_write(file))
}

async fn export<W: Write>(source: &Source<'_>, mut out: W) -> Result<W, Failure> {
    let failed = |e: std::io::Error| Failure::of(ExitCode::Io, format!("the export cannot be written: {e}"));
    let report = source.accounts().await?;
    let mut export = Export::begin(&mut out, &report).map_err(failed)?;
    let each = |line: &JournalLine| export.record(line).map(|()| true).map_err(failed);
    source.journal(Export::<W>::query(&report), each).await?;
    export.end().map_err(failed)?;
    Ok(out)
}

/// Every account.
pub async fn books(args: &BooksArgs, output: Output) -> Result<ExitCode, Failure> {
    let (source, report) = Source::find::<AccountsReport>(&args.state, "books").await?;
    let report = match report {
        Some(report) => report,
        None => source.accounts().await?,
    };
    show(&report, args.csv.then(|| report.csv()), output)
}

/// A report as CSV if that is wanted, else as the other commands do.
fn show<T: Serialize + std::fmt::Display>(
    report: &T,
    csv: Option<String>,
    output: Output,
) -> Result<ExitCode, Failure> {
    match csv {
        Some(text) => drop(output.raw(&text)),
        None => output.report(report),
    }
    Ok(ExitCode::Done)
}

/// Coins in circulation.
pub async fn circulation(args: &CirculationArgs, output: Output) -> Result<ExitCode, Failure> {
    let (by, word) = match args.by {
        ByArg::Denomination => (By::Denomination, "denomination"),
        ByArg::Epoch => (By::Epoch, "epoch"),
        ByArg::Age => (By::Age, "age"),
    };
    let page = format!("circulation/{word}");
    let report = match Source::find::<CirculationReport>(&args.state, &page).await? {
        (_, Some(report)) => report,
        (Source::Stopped(operator), None) => {
            read(&operator, move |o| circulation_of(&o.lanes, &o.issuer.epochs(), by, o.clock.now())).await?
        }
        (Source::Running(args), None) => ask(args, &page, Method::GET, Vec::new()).await?,
    };
    show(&report, args.csv.then(|| report.csv()), output)
}

/// A record, or a time.
fn place(text: Option<&String>, lane: bool) -> Result<(Option<u64>, Option<u64>), Failure> {
    let Some(text) = text else { return Ok((None, None)) };
    let usage = |message: String| Failure::of(ExitCode::Usage, message);
    match (text.parse::<u64>(), utc::parse(text)) {
        (Ok(seq), _) if lane => Ok((Some(seq), None)),
        (Ok(_), _) => Err(usage(format!("{text} is the number of a record: say of which lane, with --lane"))),
        (Err(_), Some(time)) => Ok((None, Some(time.0))),
        (Err(_), None) => {
            Err(usage(format!("{text:?} is neither a number nor a time such as 2026-11-21T08:30:05Z")))
        }
    }
}

/// The journal: each record as soon as it is there, so that it can be as long as it likes.
pub async fn journal(args: &JournalArgs, output: Output) -> Result<ExitCode, Failure> {
    if let Some(lane) = &args.lane {
        lane_named(lane).map_err(reading_failed)?;
    }
    if let Some(kind) = &args.kind {
        kind_named(kind).map_err(reading_failed)?;
    }
    let (from, from_time) = place(args.from.as_ref(), args.lane.is_some())?;
    let (to, to_time) = place(args.to.as_ref(), args.lane.is_some())?;
    let query = JournalQuery {
        lane: args.lane.clone(),
        from,
        to,
        from_time,
        to_time,
        account: args.account.clone(),
        kind: args.kind.clone(),
        ..JournalQuery::default()
    };
    let mut left = args.limit.unwrap_or(u64::MAX);
    if args.csv && !output.raw(&JournalLine::csv_headings()) {
        return Ok(ExitCode::Done);
    }
    let (source, _) = Source::find::<PayoutsReport>(&args.state, "payouts").await?;
    if left == 0 {
        return Ok(ExitCode::Done);
    }
    source
        .journal(query, |line| {
            let text = match (args.csv, output.json) {
                (true, _) => line.csv(),
                (false, true) => serde_json::to_string(line).unwrap_or_default() + "\n",
                (false, false) => format!("{line}\n"),
            };
            left = left.saturating_sub(1);
            // Who has closed the pipe wants no more.
            Ok(output.raw(&text) && left > 0)
        })
        .await?;
    Ok(ExitCode::Done)
}

/// Pay-outs: how they stand, and letting them go on.
pub async fn payouts(command: PayoutsCommand, output: Output) -> Result<ExitCode, Failure> {
    let io = |e: &dyn std::fmt::Display| Failure::of(ExitCode::Io, e.to_string());
    match command {
        PayoutsCommand::Show(args) => {
            let report = match Source::find::<PayoutsReport>(&args, "payouts").await? {
                (_, Some(report)) => report,
                (Source::Stopped(operator), None) => {
                    brake::payouts(&operator.lanes.identity).map_err(|e| io(&e))?
                }
                (Source::Running(args), None) => ask(args, "payouts", Method::GET, Vec::new()).await?,
            };
            output.report(&report);
            Ok(ExitCode::Done)
        }
        PayoutsCommand::Resume(args) => {
            if args.reason.trim().is_empty() {
                return Err(Failure::of(ExitCode::Usage, "a reason has to be given"));
            }
            let resumed: Option<ResumedLine> =
                match Source::find::<PayoutsReport>(&args.state, "payouts").await?.0 {
                    Source::Running(state) => {
                        let body = serde_json::json!({"reason": args.reason}).to_string().into_bytes();
                        ask(state, "payouts", Method::POST, body).await?
                    }
                    Source::Stopped(operator) => {
                        let resumed = operator.reconciler.resume(&args.reason).await.map_err(|e| io(&e))?;
                        resumed.map(ResumedLine::of)
                    }
                };
            let Some(resumed) = resumed else {
                return Err(Failure::of(ExitCode::Refused, "pay-outs are not stopped"));
            };
            output.report(&resumed);
            Ok(ExitCode::Done)
        }
    }
}
