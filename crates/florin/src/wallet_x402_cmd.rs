//! `florin wallet x402-payload`: any x402 client pays with coins. Source: web.md §8 ("client").

use std::io::Read;

use clap::Args;
use florin_shell::exit::ExitCode;
use florin_wallet::{PayloadOptions, REQUEST_BYTES_MAX};

use crate::common::StateArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::wallet_cmd::{close, open, policy};

/// Arguments of `x402-payload`.
#[derive(Args)]
pub struct X402PayloadArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The method of the request that will carry the payload.
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// At most so much, instead of the limit for one payment.
    #[arg(long, value_name = "AMOUNT")]
    max: Option<String>,
    /// Whatever the limits say.
    #[arg(long)]
    yes: bool,
    /// Makes another payload even where one for the same is open.
    #[arg(long)]
    new: bool,
}

/// Standard output is the payload's, one line of JSON, with and without `--json`.
pub async fn x402_payload(args: X402PayloadArgs, output: Output) -> Result<ExitCode, Failure> {
    let mut request = String::new();
    let limit = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = std::io::stdin().lock().take(limit).read_to_string(&mut request);
    read.map_err(|e| Failure::of(ExitCode::Usage, format!("standard input cannot be read: {e}")))?;
    let wallet = open(&args.state, output)?;
    let made = async {
        let policy = policy(&wallet, args.max.as_deref(), args.yes)?;
        let options = PayloadOptions { method: args.method, policy, new: args.new };
        Ok::<_, Failure>(wallet.x402_payload(&request, &options).await?)
    };
    let made = made.await;
    if let Ok(payload) = &made {
        output.value(payload);
    }
    close(wallet, made.map(|_| ExitCode::Done)).await
}
