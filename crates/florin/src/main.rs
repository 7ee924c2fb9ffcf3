//! The `florin` program: operator, bank, wallet, gate, demo, bench. Source: architecture.md, "Layout", "Conventions".

mod bank_cmd;
mod bench_cmd;
mod common;
mod demo;
mod failure;
mod gate_cmd;
mod module_args;
mod operator_backup_cmd;
mod operator_books_cmd;
mod operator_cmd;
mod operator_coin_cmd;
mod operator_control_cmd;
mod operator_trace_cmd;
mod output;
mod wallet_buy_cmd;
mod wallet_cmd;
mod wallet_move_cmd;
mod wallet_seed_cmd;
mod wallet_x402_cmd;

use std::process::ExitCode as ProcessCode;

use clap::{Parser, Subcommand};
use florin_shell::exit::ExitCode;

use crate::failure::Failure;
use crate::output::Output;

/// Self-hosted electronic cash for the web.
#[derive(Parser)]
#[command(name = "florin", version, about, propagate_version = true)]
struct Cli {
    /// Answers as JSON on standard output; messages for people stay on standard error.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Issues coins and keeps the books.
    #[command(subcommand)]
    Operator(operator_cmd::OperatorCommand),
    /// The sandbox bank, and an account holder's calls to it.
    #[command(subcommand)]
    Bank(bank_cmd::BankCommand),
    /// Asks for coins in front of a web server.
    #[command(subcommand)]
    Gate(gate_cmd::GateCommand),
    /// Holds coins and pays.
    #[command(subcommand)]
    Wallet(wallet_cmd::WalletCommand),
    /// Measures.
    #[command(subcommand)]
    Bench(bench_cmd::BenchCommand),
    /// Shows all of it on this machine.
    Demo(demo::DemoArgs),
}

fn main() -> ProcessCode {
    let cli = Cli::parse();
    let output = Output { json: cli.json };
    let code = match run(cli.command, output) {
        Ok(code) => code,
        Err(failure) => {
            output.failure(&failure);
            failure.code
        }
    };
    ProcessCode::from(code)
}

fn run(command: Command, output: Output) -> Result<ExitCode, Failure> {
    match &command {
        // The demo tells its own story.
        Command::Demo(_) if std::env::var_os("FLORIN_LOG").is_none() => {
            florin_shell::logging::start_at("error")?
        }
        _ => florin_shell::logging::start()?,
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(ExitCode::Io, "no-runtime", e.to_string()))?;
    runtime.block_on(async move {
        match command {
            Command::Operator(command) => operator_cmd::run(command, output).await,
            Command::Bank(command) => bank_cmd::run(command, output).await,
            Command::Gate(command) => gate_cmd::run(command, output).await,
            Command::Wallet(command) => wallet_cmd::run(command, output).await,
            Command::Bench(command) => bench_cmd::run(command, output).await,
            Command::Demo(args) => demo::run(args, output).await,
        }
    })
}
