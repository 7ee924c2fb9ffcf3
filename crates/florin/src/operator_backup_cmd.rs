//! `florin operator backup|restore`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method};
use clap::{Args, Subcommand};
use florin_http::{Client, ClientConfig, ProblemView};
use florin_operator::admin::AdminToken;
use florin_operator::backup::{BackupError, BackupReport, Manifest, backup, is_free};
use florin_operator::operator::ADDRESS_FILE;
use florin_operator::restore::{RestoreError, check, restore};
use florin_operator::{Operator, StandingError};
use florin_shell::exit::ExitCode;
use serde::Serialize;

use crate::common::StateArgs;
use crate::failure::Failure;
use crate::operator_cmd::{ROLE, open, stored_settings, vault_places};
use crate::output::Output;

/// An answer of the running operator has at most so many bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// A backup of large books takes its time.
const BACKUP_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// Arguments of `backup`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BackupArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The folder of the backup: new, or empty.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    #[command(subcommand)]
    verify: Option<BackupCommand>,
}

/// What else can be done with a backup.
#[derive(Subcommand)]
pub enum BackupCommand {
    /// Compares every file with its digest; nothing is changed.
    Verify(VerifyArgs),
}

/// Arguments of `backup verify`.
#[derive(Args)]
pub struct VerifyArgs {
    /// The backup.
    backup: PathBuf,
    /// Opens the keys as well, and reads every byte of the books.
    #[arg(long)]
    books: bool,
    #[command(flatten)]
    state: StateArgs,
}

/// Arguments of `restore`.
#[derive(Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The backup; it is restored into a state that is not there yet.
    #[arg(long, value_name = "DIR", required_unless_present = "accept", conflicts_with = "accept")]
    from: Option<PathBuf>,
    /// Takes books as they are that are not the latest. What happened since is lost.
    #[arg(long, requires = "reason")]
    accept: bool,
    /// Why; it is recorded in the books.
    #[arg(long, value_name = "TEXT", requires = "accept")]
    reason: Option<String>,
}

impl From<StandingError> for Failure {
    fn from(error: StandingError) -> Self {
        Self::new(error.exit_code(), error.slug(), error.to_string())
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::of(error.exit_code(), error.to_string())
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        Self::of(error.exit_code(), error.to_string())
    }
}

/// `backup`: beside a running operator, through its admin page; else by itself.
pub async fn run_backup(args: BackupArgs, output: Output) -> Result<ExitCode, Failure> {
    if let Some(BackupCommand::Verify(args)) = &args.verify {
        return verify(args, output);
    }
    let Some(to) = &args.to else {
        return Err(Failure::of(ExitCode::Usage, "give --to DIR, or verify DIR"));
    };
    let to = absolute(to)?;
    is_free(&to)?;
    let report = match beside(&args.state, &to).await? {
        Some(report) => report,
        None => {
            let operator = open(&args.state, stored_settings(&args.state)?)?;
            let report = backup(&operator, &to).await;
            close(&operator)?;
            report?
        }
    };
    output.report(&report);
    Ok(ExitCode::Done)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::of(ExitCode::Usage, format!("{}: {e}", path.display())))
}

/// Asks the operator that runs on this state, if one does.
async fn beside(args: &StateArgs, to: &Path) -> Result<Option<BackupReport>, Failure> {
    let state = args.state(ROLE)?;
    let Some(token) = AdminToken::text(&state) else { return Ok(None) };
    let Ok(base) = std::fs::read_to_string(state.join(ADDRESS_FILE)) else { return Ok(None) };
    let Ok(bearer) = HeaderValue::from_str(&format!("Bearer {token}")) else { return Ok(None) };
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer), (CONTENT_TYPE, json)]);
    let body = serde_json::json!({"to": to}).to_string();
    let http = Client::new(ClientConfig { timeout: BACKUP_MAX, ..ClientConfig::default() })
        .map_err(|e| Failure::of(ExitCode::Configuration, e.to_string()))?;
    let url = format!("{}/admin/backup", base.trim());
    let asked = http.request(Method::POST, &url, headers, body.into(), ANSWER_BYTES_MAX).await;
    // Nobody listens there any more: the file was left behind.
    let Ok(answer) = asked else { return Ok(None) };
    if !answer.status.is_success() {
        let problem = ProblemView::parse(&answer.headers, &answer.body);
        let (slug, why) = problem.map_or((None, None), |p| (p.slug, p.detail.or(p.title)));
        let slug = slug.unwrap_or_else(|| "refused".into());
        return Err(Failure::new(
            ExitCode::Refused,
            slug,
            why.unwrap_or_else(|| "no backup was made".into()),
        ));
    }
    serde_json::from_slice(&answer.body)
        .map(Some)
        .map_err(|_| Failure::of(ExitCode::BadData, "the running operator's answer cannot be read"))
}

/// Folds and closes both lanes.
fn close(operator: &Operator) -> Result<(), Failure> {
    for house in [&operator.lanes.books, &operator.lanes.identity] {
        house.books.clone().stop().map_err(|e| Failure::of(ExitCode::Io, e.to_string()))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Verified(BackupReport);

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nEvery file is as it was written.", self.0)
    }
}

fn verify(args: &VerifyArgs, output: Output) -> Result<ExitCode, Failure> {
    let from = absolute(&args.backup)?;
    let report = if args.books {
        let places = vault_places(&args.state)?;
        check(&from, &places, &args.state.passphrase(&from)?)?
    } else {
        BackupReport::of(&from, &Manifest::check(&from)?, false)
    };
    output.report(&Verified(report));
    Ok(ExitCode::Done)
}

/// `restore`: from a backup, or the word of a person that it may go on.
pub async fn run_restore(args: RestoreArgs, output: Output) -> Result<ExitCode, Failure> {
    if let Some(from) = &args.from {
        let (from, places) = (absolute(from)?, vault_places(&args.state)?);
        let passphrase = args.state.passphrase(&from)?;
        output.report(&restore(&from, &places, &passphrase)?);
        return Ok(ExitCode::Done);
    }
    let reason = args.reason.as_deref().unwrap_or_default().trim();
    if reason.is_empty() {
        return Err(Failure::of(ExitCode::Usage, "give --reason TEXT: it is recorded"));
    }
    let operator: Arc<Operator> = open(&args.state, stored_settings(&args.state)?)?;
    let accepted = operator.accept(reason).await;
    close(&operator)?;
    output.report(&accepted?);
    Ok(ExitCode::Done)
}
