//! `florin bank serve|open|deposit|statement|transfer`: the sandbox bank, and an account holder's calls to it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use florin_bank::messages::{AccountView, Statement};
use florin_bank::{Access, Admin, BankCode, BankConfig, BankKeys, SandboxClient, lane_spec};
use florin_books::{Clock, TxId};
use florin_crypto::random;
use florin_http::Stop;
use florin_money::{Amount, Currency};
use florin_parties::bank::{BankAccount, OrderId};
use florin_parties::enrolment::CODE_PREFIX;
use florin_shell::clock::SystemClock;
use florin_shell::entropy::OsEntropy;
use florin_shell::exit::ExitCode;
use florin_shell::home::{self, create_private, write_private};
use florin_shell::service::Listen;
use florin_shell::storage::{StorageOptions, create_books, open_books};
use florin_shell::vault::Vault;
use serde::{Deserialize, Serialize};

use crate::common::{StateArgs, await_listener, client};
use crate::failure::Failure;
use crate::output::Output;

const ROLE: &str = "bank";
const SECRETS: [&str; 3] = ["store", "access", "admin"];

/// What the sandbox bank does.
#[derive(Subcommand)]
pub enum BankCommand {
    /// Serves a sandbox bank until stopped; makes it first if there is none.
    Serve(ServeArgs),
    /// Opens an account and keeps its access secret.
    Open(OpenArgs),
    /// Pays cash into an account.
    Deposit(MoneyArgs),
    /// Shows an account's entries.
    Statement(AccountArgs),
    /// Waits for an enrolment code on the statement and prints it.
    Code(CodeArgs),
    /// Transfers to another account.
    Transfer(TransferArgs),
    /// Sets how the sandbox behaves.
    #[command(subcommand)]
    Sandbox(SandboxCommand),
}

/// Arguments of `serve`.
#[derive(Args)]
pub struct ServeArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Settings as TOML, for peers and other currencies [default: from these flags].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What it calls itself.
    #[arg(long, default_value = "Sandbox bank")]
    name: String,
    /// Its code, 99990001 to 99999999.
    #[arg(long, default_value = "99990001")]
    code: String,
    /// Where it listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7420")]
    listen: SocketAddr,
    /// From an order's acceptance to its booking, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay_ms: u64,
}

/// Where the bank is, and where a holder's access secrets are kept.
#[derive(Args, Clone)]
pub struct HolderArgs {
    /// The bank.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7420")]
    bank: String,
    /// The folder of the access secrets [default: $FLORIN_HOME/bank-holder].
    #[arg(long, value_name = "DIR")]
    holder_dir: Option<PathBuf>,
}

/// Arguments of `open`.
#[derive(Args)]
pub struct OpenArgs {
    #[command(flatten)]
    holder: HolderArgs,
    /// Whose account it is.
    #[arg(long)]
    name: String,
}

/// An account.
#[derive(Args)]
pub struct AccountArgs {
    #[command(flatten)]
    holder: HolderArgs,
    /// The account: an IBAN or payto URI.
    account: BankAccount,
}

/// An account and an amount.
#[derive(Args)]
pub struct MoneyArgs {
    #[command(flatten)]
    account: AccountArgs,
    /// How much, such as "12.30 FLO".
    amount: String,
}

/// Arguments of `code`.
#[derive(Args)]
pub struct CodeArgs {
    #[command(flatten)]
    account: AccountArgs,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 20)]
    wait: u64,
}

/// Arguments of `transfer`.
#[derive(Args)]
pub struct TransferArgs {
    #[command(flatten)]
    money: MoneyArgs,
    /// The other account.
    to: BankAccount,
    /// What the other side reads.
    #[arg(long, default_value = "")]
    text: String,
}

/// How the sandbox behaves; needs the bank's own state.
#[derive(Subcommand)]
pub enum SandboxCommand {
    /// Sets the time from acceptance to booking.
    Delay(DelayArgs),
    /// Rejects the next orders.
    Reject(RejectArgs),
    /// Returns a booked order.
    Return(ReturnArgs),
}

/// The bank's own state and address.
#[derive(Args)]
pub struct AdminArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The bank.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7420")]
    bank: String,
}

/// Arguments of `sandbox delay`.
#[derive(Args)]
pub struct DelayArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Milliseconds.
    ms: u64,
}

/// Arguments of `sandbox reject`.
#[derive(Args)]
pub struct RejectArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Only orders about this account.
    #[arg(long)]
    account: Option<BankAccount>,
    /// An ISO 20022 code.
    #[arg(long, default_value = "AM04")]
    reason: String,
    /// How many.
    #[arg(long, default_value_t = 1)]
    times: u32,
}

/// Arguments of `sandbox return`.
#[derive(Args)]
pub struct ReturnArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The order (`order_…`), as `florin operator evidence` shows it.
    order: OrderId,
    /// An ISO 20022 code.
    #[arg(long, default_value = "MD06")]
    reason: String,
}

/// Runs one.
pub async fn run(command: BankCommand, output: Output) -> Result<ExitCode, Failure> {
    match command {
        BankCommand::Serve(args) => serve(args, output).await,
        BankCommand::Open(args) => open(args, output).await,
        BankCommand::Deposit(args) => {
            let at = args.account.client().await?;
            let amount = amount(&args.amount, at.currency())?;
            output.report(&AccountReport(at.deposit(txid(), amount).await?));
            Ok(ExitCode::Done)
        }
        BankCommand::Statement(args) => {
            output.report(&StatementReport(whole_statement(&args.client().await?).await?));
            Ok(ExitCode::Done)
        }
        BankCommand::Code(args) => code(args, output).await,
        BankCommand::Transfer(args) => {
            let at = args.money.account.client().await?;
            let amount = amount(&args.money.amount, at.currency())?;
            let taken = at.transfer(txid(), &args.to, amount, &args.text).await?;
            output.text(format!("{}: {}", taken.order, taken.state));
            if output.json {
                output.value(&taken);
            }
            Ok(ExitCode::Done)
        }
        BankCommand::Sandbox(command) => sandbox(command, output).await,
    }
}

async fn whole_statement(at: &SandboxClient) -> Result<Statement, Failure> {
    let mut statement = at.statement(0).await?;
    while statement.more {
        let next = at.statement(statement.next).await?;
        statement.entries.extend(next.entries);
        (statement.closing, statement.next, statement.more) = (next.closing, next.next, next.more);
    }
    Ok(statement)
}

/// What a person does by looking at the statement until the transfer is there.
async fn code(args: CodeArgs, output: Output) -> Result<ExitCode, Failure> {
    let at = args.account.client().await?;
    let until = Instant::now().checked_add(Duration::from_secs(args.wait));
    loop {
        let statement = whole_statement(&at).await?;
        let found = statement.entries.iter().rev().find_map(|e| e.remittance.strip_prefix(CODE_PREFIX));
        if let Some(code) = found {
            if output.json {
                output.value(&serde_json::json!({"code": code.trim()}));
            } else {
                output.line(code.trim());
            }
            return Ok(ExitCode::Done);
        }
        if until.is_none_or(|end| Instant::now() > end) {
            return Err(Failure::of(ExitCode::NotKnownYet, "no code has arrived yet"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn txid() -> TxId {
    TxId::new(random(&mut OsEntropy))
}

fn amount(text: &str, currency: Currency) -> Result<Amount, Failure> {
    Amount::parse(text, &[currency]).map_err(|e| Failure::of(ExitCode::Usage, format!("{text:?}: {e}")))
}

async fn serve(args: ServeArgs, output: Output) -> Result<ExitCode, Failure> {
    let places = args.state.places(ROLE)?;
    create_private(&places.state)?;
    let config = bank_config(&args, &places.state)?;
    let second = places.second.as_deref();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dir = config.directory.clone();
    let new = !places.state.join(florin_shell::vault::VAULT_FILE).exists();
    let vault = if new {
        Vault::create(&places.state, second, &args.state.new_passphrase()?, &SECRETS, &mut OsEntropy)?
    } else {
        Vault::open(&places.state, second, &args.state.passphrase(&places.state)?)?
    };
    let key = vault.secret("store")?;
    let options = StorageOptions::default();
    let make = if dir.exists() { open_books } else { create_books };
    let books = make(&dir, lane_spec(), &key, clock.clone(), &options)?;
    let keys = BankKeys { access: vault.secret("access")?, admin: vault.secret("admin")? };
    let bound = Listen::plain(config.listen).bind().await?;
    let stop = Stop::on_signal().map_err(|e| Failure::of(ExitCode::Io, e.to_string()))?;
    if output.json {
        output.value(&serde_json::json!({"listening": bound.url()}));
    } else {
        output.line(format!("listening on {}", bound.url()));
    }
    let ran =
        florin_bank::run(&config, books.clone(), &keys, clock, bound.listener, bound.acceptor, stop).await;
    // A stop that cannot fold leaves the journal, from which the next start rebuilds.
    let stopped = books.stop();
    match ran {
        Ok(_) if stopped.is_ok() => Ok(ExitCode::Done),
        Ok(_) | Err(florin_bank::RunError::BooksStopped) => Ok(ExitCode::Io),
        Err(e) => Err(Failure::of(ExitCode::Configuration, e.to_string())),
    }
}

fn bank_config(args: &ServeArgs, state: &Path) -> Result<BankConfig, Failure> {
    let wrong = |e: &dyn fmt::Display| Failure::of(ExitCode::Configuration, e.to_string());
    if let Some(file) = &args.config {
        let text = std::fs::read_to_string(file).map_err(|e| wrong(&format!("{}: {e}", file.display())))?;
        let config: BankConfig = toml::from_str(&text).map_err(|e| wrong(&e))?;
        config.check().map_err(|e| wrong(&e))?;
        return Ok(config);
    }
    let bank_code: BankCode =
        args.code.parse().map_err(|_| wrong(&"a bank code has eight digits, 99990001 to 99999999"))?;
    let currency = Currency::FLO;
    let config = BankConfig {
        name: args.name.clone(),
        bank_code,
        listen: args.listen,
        delay_ms: args.delay_ms,
        directory: state.join("books"),
        currency: currency.code().to_string(),
        exponent: currency.exponent(),
        peers: Vec::new(),
    };
    config.check().map_err(|e| wrong(&e))?;
    Ok(config)
}

/// What a holder keeps of an account.
#[derive(Serialize, Deserialize)]
struct HolderFile {
    bank: String,
    iban: String,
    access: String,
    currency: String,
    exponent: u8,
}

impl HolderArgs {
    fn dir(&self) -> Result<PathBuf, Failure> {
        Ok(match &self.holder_dir {
            Some(dir) => dir.clone(),
            None => home::role_dir("bank-holder")?,
        })
    }

    fn file(&self, account: &BankAccount) -> Result<PathBuf, Failure> {
        Ok(self.dir()?.join(format!("{}.json", account.iban())))
    }
}

impl AccountArgs {
    async fn client(&self) -> Result<SandboxClient, Failure> {
        let file = self.holder.file(&self.account)?;
        let bad = |why: &str| Failure::of(ExitCode::NotAllowed, format!("{}: {why}", file.display()));
        let text =
            std::fs::read_to_string(&file).map_err(|_| bad("no access secret is kept for this account"))?;
        let kept: HolderFile = serde_json::from_str(&text).map_err(|_| bad("cannot be read"))?;
        let access = Access::from_text(&kept.access).ok_or_else(|| bad("holds no access secret"))?;
        let currency = Currency::own(&kept.currency, kept.exponent).map_err(|_| bad("names no currency"))?;
        Ok(SandboxClient::of(&client(None)?, &kept.bank, currency, self.account.clone(), access))
    }
}

#[derive(Serialize)]
struct OpenReport {
    iban: String,
    payto: String,
    access_file: PathBuf,
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.iban)?;
        write!(f, "  its access secret is kept in {}", self.access_file.display())
    }
}

async fn open(args: OpenArgs, output: Output) -> Result<ExitCode, Failure> {
    let http = client(None)?;
    let base = args.holder.bank.trim_end_matches('/');
    await_listener(base).await;
    let at = SandboxClient::open(&http, base, txid(), &args.name, None).await?;
    let kept = HolderFile {
        bank: base.to_owned(),
        iban: at.iban().iban().to_owned(),
        access: at.access().to_text().to_string(),
        currency: at.currency().code().to_string(),
        exponent: at.currency().exponent(),
    };
    create_private(&args.holder.dir()?)?;
    let file = args.holder.file(at.iban())?;
    let text = serde_json::to_vec_pretty(&kept).map_err(|e| Failure::of(ExitCode::Io, e.to_string()))?;
    write_private(&file, &text)?;
    output.report(&OpenReport { iban: kept.iban, payto: at.iban().to_string(), access_file: file });
    Ok(ExitCode::Done)
}

#[derive(Serialize)]
#[serde(transparent)]
struct AccountReport(AccountView);

impl fmt::Display for AccountReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let a = &self.0;
        write!(f, "{}  {}  balance {}  available {}", a.iban, a.holder, a.balance, a.available)
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct StatementReport(Statement);

impl fmt::Display for StatementReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.0;
        writeln!(f, "{}  {}", s.iban, s.holder)?;
        writeln!(f, "  opening {:>56}", s.opening)?;
        for e in &s.entries {
            let sign = if e.direction == "debit" { "-" } else { "+" };
            let amount = format!("{sign}{}", e.amount);
            writeln!(
                f,
                "  {:>5}  {:<9} {amount:>16}  {:>16}  {}  {}",
                e.number, e.kind, e.balance, e.other_name, e.remittance
            )?;
        }
        write!(f, "  closing {:>56}", s.closing)
    }
}

async fn sandbox(command: SandboxCommand, output: Output) -> Result<ExitCode, Failure> {
    match command {
        SandboxCommand::Delay(args) => args.admin.open()?.set_delay(txid(), args.ms).await?,
        SandboxCommand::Reject(args) => {
            let admin = args.admin.open()?;
            admin.set_reject(txid(), args.account.as_ref(), &args.reason, args.times).await?;
        }
        SandboxCommand::Return(args) => {
            args.admin.open()?.return_order(txid(), args.order, &args.reason).await?
        }
    }
    output.text("done");
    if output.json {
        output.value(&serde_json::json!({"done": true}));
    }
    Ok(ExitCode::Done)
}

impl AdminArgs {
    fn open(&self) -> Result<Admin, Failure> {
        let places = self.state.places(ROLE)?;
        let passphrase = self.state.passphrase(&places.state)?;
        let vault = Vault::open(&places.state, places.second.as_deref(), &passphrase)?;
        let base = self.bank.trim_end_matches('/');
        Ok(Admin::new(&client(None)?, base, Access::new(vault.secret("admin")?)))
    }
}
