//! `florin wallet buy`.

use std::time::Duration;

use clap::Args;
use florin_shell::exit::ExitCode;
use florin_wallet::{BuyOptions, BuyState, CoinMix, RefundChoice};

use crate::common::StateArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::wallet_cmd::with;

/// Arguments of `buy`.
#[derive(Args)]
pub struct BuyArgs {
    #[command(flatten)]
    state: StateArgs,
    /// How much, such as "10.00 FLO".
    amount: String,
    /// How long to wait for the bank, in seconds.
    #[arg(long, default_value_t = 10)]
    wait: u64,
    /// Begins another purchase even where one of the same amount is open.
    #[arg(long)]
    new: bool,
    /// As few coins as possible, instead of a mix with small ones.
    #[arg(long)]
    few: bool,
    /// By name: a refund is made to the registration key, and the operator keeps whose coins they are.
    #[arg(long, conflicts_with = "refundable")]
    named: bool,
    /// Anonymous, with a one-time key: whoever has the seed can have them refunded if the wallet is lost.
    #[arg(long)]
    refundable: bool,
}

/// Buys coins and waits for the bank a while.
pub async fn buy(args: BuyArgs, output: Output) -> Result<ExitCode, Failure> {
    with(&args.state, output, async |w| {
        let options = BuyOptions {
            wait: Duration::from_secs(args.wait),
            new: args.new,
            mix: if args.few { CoinMix::Few } else { CoinMix::Mixed },
            refund: match (args.named, args.refundable) {
                (true, _) => RefundChoice::ByName,
                (false, true) => RefundChoice::ByKey,
                (false, false) => RefundChoice::No,
            },
        };
        let report = w.buy(w.amount(&args.amount)?, &options).await?;
        let code = match report.state {
            BuyState::Bought => ExitCode::Done,
            BuyState::Waiting => ExitCode::NotKnownYet,
            BuyState::Refused => ExitCode::Refused,
        };
        Ok((report, code))
    })
    .await
}
