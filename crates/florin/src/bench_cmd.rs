//! `florin bench coin`: real programs under load, measured; `florin bench books`: the books alone. Source: performance.md; docs/performance.md.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use florin_bench::{BooksOptions, CoinOptions, OpenLoop, Programs, books, coin, module};
use florin_shell::exit::ExitCode;

use crate::failure::Failure;
use crate::module_args::ModuleArgs;
use crate::output::Output;

/// What is measured.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// Payments with refresh, end to end over HTTP with durable commits.
    Coin(CoinArgs),
    /// Coin tags alone, by a key module from one thread and from two.
    Module(ModuleBenchArgs),
    /// Payments in the books alone, with more and more coins in circulation; disk, folds, starts.
    Books(BooksArgs),
}

/// Arguments of `bench books`.
#[derive(Args)]
pub struct BooksArgs {
    /// Live coins, each a measurement of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000, 10_000_000])]
    live: Vec<u64>,
    /// Payments in each turn at each size.
    #[arg(long, default_value_t = 4_000)]
    payments: u64,
    /// Turns.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Payments in the journal before the start that is timed; 0 leaves it out.
    #[arg(long, default_value_t = 1_000_000)]
    journal: u64,
    /// Writes the report to this file as JSON.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where state is made: on the disk that is to be measured.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Arguments of `bench coin`.
#[derive(Args)]
pub struct CoinArgs {
    /// How long is counted, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How long before it, in seconds.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = 64)]
    outstanding: usize,
    /// Coins that a payment gives.
    #[arg(long, default_value_t = 4)]
    coins_in: usize,
    /// Coins that it gets.
    #[arg(long, default_value_t = 4)]
    coins_out: usize,
    /// Payments a second of the open loop; 0 leaves it out [default: 70 % of what the closed loop reached].
    #[arg(long, value_name = "RATE")]
    open_rate: Option<f64>,
    /// Runs the closed loop again with so many more coins in circulation, for example 100000,1000000,10000000.
    #[arg(long, value_delimiter = ',')]
    live: Vec<u64>,
    /// Writes the report to this file as JSON.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where state is made: on the disk that is to be measured.
    #[arg(long)]
    dir: Option<PathBuf>,
    #[command(flatten)]
    module: ModuleArgs,
}

/// Arguments of `bench module`.
#[derive(Args)]
pub struct ModuleBenchArgs {
    /// How long each figure is counted, in seconds.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    #[command(flatten)]
    module: ModuleArgs,
}

fn failed(e: &dyn std::fmt::Display) -> Failure {
    Failure::of(ExitCode::Refused, e.to_string())
}

/// Runs one.
pub async fn run(command: BenchCommand, output: Output) -> Result<ExitCode, Failure> {
    match command {
        BenchCommand::Coin(args) => run_coin(args, output).await,
        BenchCommand::Books(args) => run_books(args, output).await,
        BenchCommand::Module(args) => {
            let window = Duration::from_secs(args.seconds.max(1));
            let report = module(&args.module.settings(), window).map_err(|e| failed(&e))?;
            output.report(&report);
            Ok(ExitCode::Done)
        }
    }
}

async fn run_books(args: BooksArgs, output: Output) -> Result<ExitCode, Failure> {
    let mut options = BooksOptions::new();
    (options.live, options.payments) = (args.live, args.payments.max(1));
    (options.turns, options.journal, options.dir) = (args.turns.max(1), args.journal, args.dir);
    let measured = tokio::task::spawn_blocking(move || books(&options, &|text| eprintln!("{text}")));
    let report = measured.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
    if let Some(path) = args.output {
        let text = serde_json::to_string_pretty(&report).map_err(|e| failed(&e))?;
        std::fs::write(&path, text).map_err(|e| failed(&e))?;
    }
    output.report(&report);
    Ok(ExitCode::Done)
}

async fn run_coin(args: CoinArgs, output: Output) -> Result<ExitCode, Failure> {
    let programs = Programs::current().map_err(|e| failed(&e))?.with_init_flags(args.module.flags());
    let mut options = CoinOptions::new(programs);
    options.window = Duration::from_secs(args.seconds.max(1));
    options.warm_up = Duration::from_secs(args.warm_up);
    (options.outstanding, options.coins_in, options.coins_out) =
        (args.outstanding.max(1), args.coins_in, args.coins_out);
    options.open = match args.open_rate {
        None => options.open,
        Some(rate) if rate > 0.0 => OpenLoop::Rate(rate),
        Some(_) => OpenLoop::Off,
    };
    (options.live, options.json, options.dir) = (args.live, args.output, args.dir);
    let report = coin(&options, &|text| eprintln!("{text}")).await.map_err(|e| failed(&e))?;
    output.report(&report);
    Ok(ExitCode::Done)
}
