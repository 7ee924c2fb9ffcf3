//! `florin operator coin`: the state of one coin, and what waits to be collected. Source: VarietyCash §2.4.

use axum::http::Method;
use clap::Args;
use florin_operator::Operator;
use florin_operator::coin_state::{
    CoinReport, CoinStateError, PendingReport, coin_state, parse_coin, pending,
};
use florin_shell::exit::ExitCode;
use std::sync::Arc;

use crate::common::StateArgs;
use crate::failure::Failure;
use crate::operator_cmd::{open, running, settings};
use crate::output::Output;

/// Arguments of `coin`.
#[derive(Args)]
pub struct CoinArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The coin: its id, or its number as EPOCH.DENOMINATION.COUNTER.
    #[arg(required_unless_present = "pending", conflicts_with = "pending")]
    coin: Option<String>,
    /// How much is paid for and not collected yet.
    #[arg(long)]
    pending: bool,
}

/// Asks the operator that runs, or opens the books of one that does not.
pub async fn run(args: CoinArgs, output: Output) -> Result<ExitCode, Failure> {
    match &args.coin {
        None => {
            let report: PendingReport = match running(&args.state, "coins/pending", Method::GET).await? {
                Some(report) => report,
                None => {
                    let operator = open(&args.state, settings(&args.state, None, toml::Table::new())?.value)?;
                    blocking(operator, |o| pending(&o.lanes.books)).await?
                }
            };
            output.report(&report);
        }
        Some(text) => {
            let plain = text.trim().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
            if !plain {
                return Err(failed(&CoinStateError::NotACoin));
            }
            let page = format!("coins/{}", text.trim());
            let asked: Option<Option<CoinReport>> = running(&args.state, &page, Method::GET).await?;
            let report = match asked {
                Some(report) => report.ok_or_else(|| failed(&CoinStateError::Foreign))?,
                None => {
                    let operator = open(&args.state, settings(&args.state, None, toml::Table::new())?.value)?;
                    let text = text.clone();
                    blocking(operator, move |o| {
                        let number = parse_coin(&o.issuer, &text)?;
                        coin_state(&o.lanes.books, &o.issuer, number, o.clock.now())
                    })
                    .await?
                }
            };
            output.report(&report);
        }
    }
    Ok(ExitCode::Done)
}

async fn blocking<T: Send + 'static>(
    operator: Arc<Operator>,
    look: impl FnOnce(&Operator) -> Result<T, CoinStateError> + Send + 'static,
) -> Result<T, Failure> {
    let looked = tokio::task::spawn_blocking(move || look(&operator)).await;
    looked.map_err(|e| Failure::of(ExitCode::Io, e.to_string()))?.map_err(|e| failed(&e))
}

fn failed(error: &CoinStateError) -> Failure {
    let code = match error {
        CoinStateError::NotACoin => ExitCode::Usage,
        CoinStateError::Foreign => ExitCode::Refused,
        CoinStateError::Store(e) => ExitCode::of_store(e),
        CoinStateError::Commit(_) => ExitCode::Io,
    };
    Failure::of(code, error.to_string())
}
