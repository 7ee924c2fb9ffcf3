//! The `florin` program: operator, bank, wallet, gate, demo, bench. Source: architecture.md, "Layout", "Conventions".

mod bank_cmd;
mod common;
mod failure;
mod operator_cmd;
mod output;

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
    florin_shell::logging::start().map_err(Failure::from)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(ExitCode::Io, "no-runtime", e.to_string()))?;
    runtime.block_on(async move {
        match command {
            Command::Operator(command) => operator_cmd::run(command, output).await,
            Command::Bank(command) => bank_cmd::run(command, output).await,
        }
    })
}
