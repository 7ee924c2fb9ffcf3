//! `florin wallet init|register|enrol|buy|balance|pay|request|redeem|history|receipt|status|limits|seed|restore`; what
//! moves coins without a payment is in wallet_move_cmd.rs.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use florin_parties::Roles;
use florin_shell::exit::ExitCode;
use florin_shell::vault::SECOND_FACTOR_FILE;
use florin_wallet::{
    EnrolState, InitOptions, InvoiceState, LimitChange, OpenOptions, Output as Page, PayInvoiceOptions,
    PayOptions, Policy, ROLE, RedeemAmount, RequestOptions, Wallet,
};
use serde::Serialize;

use crate::common::{Places, StateArgs, await_listener};
use crate::failure::Failure;
use crate::output::Output;
use crate::wallet_buy_cmd::{self, BuyArgs};
use crate::wallet_move_cmd::{ReceiveArgs, RefreshArgs, SendArgs, receive, refresh, send};
use crate::wallet_seed_cmd;
use crate::wallet_x402_cmd::{X402PayloadArgs, x402_payload};

/// What a wallet does.
#[derive(Subcommand)]
pub enum WalletCommand {
    /// Makes a wallet and pins the operator.
    Init(InitArgs),
    /// Registers with the operator, under a name or a pseudonym.
    Register(RegisterArgs),
    /// Enrols a bank account, for buying and redeeming.
    Enrol(EnrolArgs),
    /// Buys coins from the enrolled account.
    Buy(BuyArgs),
    /// What is in the purse.
    Balance(StateArgs),
    /// Pays for a page, or pays an invoice.
    Pay(PayArgs),
    /// Asks somebody for money: prints an invoice and waits for its payment.
    Request(RequestArgs),
    /// Turns coins into money on the enrolled account.
    Redeem(RedeemArgs),
    /// Makes a text of coins for somebody, shows it again, or takes it back.
    Send(SendArgs),
    /// Claims the coins of such a text; shows the own card.
    Receive(ReceiveArgs),
    /// Exchanges old coins for new ones.
    Refresh(RefreshArgs),
    /// What has happened.
    History(HistoryArgs),
    /// Shows and checks the receipt of a payment.
    Receipt(ReceiptArgs),
    /// Shows what is open, and settles what can be settled.
    Status(StateArgs),
    /// Shows coins that nobody exchanges any more as text, for the operator to pay by hand.
    Late(StateArgs),
    /// Shows or sets the limits.
    Limits(LimitArgs),
    /// Shows the seed, to be written down: whoever has it can have lost coins refunded.
    Seed(StateArgs),
    /// Asks for the coins that were bought by name or as refundable, after `init --restore`.
    Restore(StateArgs),
    /// Pays for a client that speaks x402: reads what it is asked for, prints the payload to present.
    X402Payload(X402PayloadArgs),
}

/// Arguments of `init`.
#[derive(Args)]
pub struct InitArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The operator.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    operator: String,
    /// The operator's fingerprint, if it is known from elsewhere.
    #[arg(long, value_name = "FINGERPRINT")]
    pin: Option<String>,
    /// PEM certificates trusted besides the public ones.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A file with the seed of a wallet that is lost, or - for standard input: the new one gets its keys.
    #[arg(long, value_name = "FILE")]
    restore: Option<PathBuf>,
}

/// Arguments of `register`.
#[derive(Args)]
pub struct RegisterArgs {
    #[command(flatten)]
    state: StateArgs,
    /// A chosen name; without it, a pseudonym.
    #[arg(long)]
    name: Option<String>,
}

/// For what an account is enrolled.
#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// Buying coins.
    Purchaser,
    /// Redeeming coins.
    Redeemer,
    /// Both.
    Both,
}

/// Arguments of `enrol`.
#[derive(Args)]
pub struct EnrolArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The account: an IBAN or payto URI. A code is sent to it.
    #[arg(long, value_name = "ACCOUNT", required_unless_present = "code", conflicts_with = "code")]
    account: Option<String>,
    /// The code on the account's statement.
    #[arg(long)]
    code: Option<String>,
    /// For what.
    #[arg(long, value_enum, default_value_t = Role::Both)]
    role: Role,
}

/// Arguments of `pay`.
#[derive(Args)]
pub struct PayArgs {
    #[command(flatten)]
    state: StateArgs,
    /// A URL, or an invoice.
    what: String,
    /// Where the page goes [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The method.
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// A header line, such as "Accept: text/html".
    #[arg(short = 'H', long = "header", value_name = "LINE")]
    headers: Vec<String>,
    /// The body.
    #[arg(short, long)]
    data: Option<String>,
    /// At most so much, instead of the limit for one payment.
    #[arg(long, value_name = "AMOUNT")]
    max: Option<String>,
    /// Whatever the limits say.
    #[arg(long)]
    yes: bool,
    /// Gives up the payment of an invoice: it is paid already, or never will be.
    #[arg(long)]
    cancel: bool,
}

/// Arguments of `request`.
#[derive(Args)]
pub struct RequestArgs {
    #[command(flatten)]
    state: StateArgs,
    /// How much.
    amount: String,
    /// What for.
    #[arg(long = "for", default_value = "")]
    what: String,
    /// How long it can be paid, in minutes.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=23 * 60))]
    expires: u64,
    /// Prints the invoice and does not wait; `status` takes the payment later.
    #[arg(long)]
    no_wait: bool,
    /// Makes another invoice even where one for the same is open.
    #[arg(long)]
    new: bool,
}

/// Arguments of `redeem`.
#[derive(Args)]
pub struct RedeemArgs {
    #[command(flatten)]
    state: StateArgs,
    /// How much, or `all`.
    amount: String,
}

/// Arguments of `history`.
#[derive(Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    state: StateArgs,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    max: usize,
}

/// Arguments of `receipt`.
#[derive(Args)]
pub struct ReceiptArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The payment's id, as `history` shows it.
    id: String,
}

/// Arguments of `limits`.
#[derive(Args)]
pub struct LimitArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The most for one payment; `none` for no limit.
    #[arg(long, value_name = "AMOUNT")]
    per_payment: Option<String>,
    /// The most for one day; `none` for no limit.
    #[arg(long, value_name = "AMOUNT")]
    per_day: Option<String>,
}

/// Runs one.
pub async fn run(command: WalletCommand, output: Output) -> Result<ExitCode, Failure> {
    match command {
        WalletCommand::Init(args) => init(args, output).await,
        WalletCommand::Register(args) => {
            with(&args.state, output, async |w| Ok((w.register(args.name.as_deref()).await?, ExitCode::Done)))
                .await
        }
        WalletCommand::Enrol(args) => enrol(args, output).await,
        WalletCommand::Buy(args) => wallet_buy_cmd::buy(args, output).await,
        WalletCommand::Balance(state) => {
            with(&state, output, async |w| Ok((w.balance()?, ExitCode::Done))).await
        }
        WalletCommand::Late(state) => {
            with(&state, output, async |w| Ok((w.late_coins()?, ExitCode::Done))).await
        }
        WalletCommand::Pay(args) if args.what.trim().starts_with(florin_coin::payer::INVOICE_PREFIX) => {
            pay_invoice(args, output).await
        }
        WalletCommand::Pay(args) => pay(args, output).await,
        WalletCommand::Request(args) => request(args, output).await,
        WalletCommand::Redeem(args) => redeem(args, output).await,
        WalletCommand::Send(args) => send(args, output).await,
        WalletCommand::Receive(args) => receive(args, output).await,
        WalletCommand::Refresh(args) => refresh(args, output).await,
        WalletCommand::History(args) => {
            with(&args.state, output, async |w| Ok((w.history(args.max)?, ExitCode::Done))).await
        }
        WalletCommand::Receipt(args) => {
            with(&args.state, output, async |w| Ok((w.receipt(&args.id)?, ExitCode::Done))).await
        }
        WalletCommand::Status(state) => {
            with(&state, output, async |w| {
                let status = w.status().await?;
                let code = status.exit_code();
                Ok((status, code))
            })
            .await
        }
        WalletCommand::Limits(args) => limits(args, output).await,
        WalletCommand::Seed(state) => wallet_seed_cmd::seed(&state, output),
        WalletCommand::Restore(state) => wallet_seed_cmd::restore(&state, output).await,
        WalletCommand::X402Payload(args) => x402_payload(args, output).await,
    }
}

/// The folder of the second factor, which the wallet names itself.
pub fn keys_dir(places: &Places) -> Result<Option<PathBuf>, Failure> {
    let Some(file) = &places.second else { return Ok(None) };
    match (file.file_name(), file.parent()) {
        (Some(name), Some(dir)) if name == SECOND_FACTOR_FILE => Ok(Some(dir.to_owned())),
        _ => Err(Failure::of(ExitCode::Usage, format!("a wallet's key file is named {SECOND_FACTOR_FILE}"))),
    }
}

async fn init(args: InitArgs, output: Output) -> Result<ExitCode, Failure> {
    let places = args.state.places(ROLE)?;
    let keys_dir = keys_dir(&places)?;
    let seed = args.restore.as_deref().map(wallet_seed_cmd::read_seed).transpose()?;
    let passphrase = args.state.new_passphrase()?;
    await_listener(&args.operator).await;
    let made = Wallet::init(InitOptions {
        dir: places.state,
        keys_dir,
        passphrase: &passphrase,
        operator: args.operator,
        pin: args.pin,
        ca_file: args.ca_file,
        seed,
    });
    output.report(&made.await?);
    Ok(ExitCode::Done)
}

pub(crate) fn open(state: &StateArgs, output: Output) -> Result<Wallet, Failure> {
    let places = state.places(ROLE)?;
    let needs = florin_wallet::needs(&places.state)?;
    let keys_dir = if needs.second_factor { keys_dir(&places)? } else { None };
    let passphrase = state.passphrase(&places.state)?;
    let mut options = OpenOptions::new(places.state, keys_dir, &passphrase);
    (options.json, options.tells) = (output.json, true);
    Ok(Wallet::open(options)?)
}

/// Opens the wallet, does one thing, reports it, and closes the wallet whatever came of it.
pub async fn with<T: Serialize + Display>(
    state: &StateArgs,
    output: Output,
    act: impl AsyncFnOnce(&Wallet) -> Result<(T, ExitCode), Failure>,
) -> Result<ExitCode, Failure> {
    let wallet = open(state, output)?;
    let done = act(&wallet).await;
    if let Ok((report, _)) = &done {
        output.report(&Trimmed(report));
    }
    let code = done.map(|(_, code)| code);
    close(wallet, code).await
}

/// What was reported is over: only now may the same command begin something new. A kill before this repeats the report.
pub(crate) async fn close(wallet: Wallet, code: Result<ExitCode, Failure>) -> Result<ExitCode, Failure> {
    let told = if code.is_ok() { wallet.told().await } else { Ok(()) };
    let closed = wallet.close();
    let code = code?;
    told?;
    closed?;
    Ok(code)
}

/// A report without its last line's end.
#[derive(Serialize)]
#[serde(transparent)]
struct Trimmed<T>(T);

impl<T: Display> Display for Trimmed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.to_string().trim_end())
    }
}

async fn enrol(args: EnrolArgs, output: Output) -> Result<ExitCode, Failure> {
    let roles = match args.role {
        Role::Purchaser => Roles::PURCHASER,
        Role::Redeemer => Roles::REDEEMER,
        Role::Both => Roles::BOTH,
    };
    with(&args.state, output, async |w| {
        let report = match (&args.account, &args.code) {
            (Some(account), _) => w.enrol(account, roles).await?,
            (None, Some(code)) => w.confirm(code).await?,
            (None, None) => w.enrolment()?,
        };
        let code = if args.code.is_some() && report.state != EnrolState::Enrolled {
            ExitCode::Refused
        } else {
            ExitCode::Done
        };
        Ok((report, code))
    })
    .await
}

pub fn policy(wallet: &Wallet, max: Option<&str>, yes: bool) -> Result<Policy, Failure> {
    let max = max.map(|text| wallet.amount(text)).transpose()?;
    Ok(Policy { max, yes })
}

/// The page goes to FILE or standard output; the report then goes to standard error, unless it is JSON and the page has
/// a file of its own.
async fn pay(args: PayArgs, output: Output) -> Result<ExitCode, Failure> {
    let wallet = open(&args.state, output)?;
    let headers: Option<Vec<_>> = args
        .headers
        .iter()
        .map(|line| line.split_once(':').map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned())))
        .collect();
    let headers = headers.ok_or_else(|| Failure::of(ExitCode::Usage, "a header line is \"Name: value\""))?;
    let options = PayOptions {
        method: args.method.to_uppercase(),
        headers,
        data: args.data.unwrap_or_default().into_bytes(),
        policy: policy(&wallet, args.max.as_deref(), args.yes)?,
    };
    let mut page = match args.output.clone() {
        Some(file) => Page::File(file),
        None => Page::Writer(Box::new(io::stdout())),
    };
    let paid = wallet.pay(&args.what, &options, &mut page).await;
    match &paid {
        Ok(report) if args.output.is_some() => output.report(&Trimmed(report)),
        // Standard output is the page's.
        Ok(report) if output.json => eprintln!("{}", serde_json::to_string(report).unwrap_or_default()),
        Ok(report) => eprintln!("{}", report.to_string().trim_end()),
        Err(_) => {}
    }
    close(wallet, paid.map(|report| report.exit_code()).map_err(Failure::from)).await
}

async fn pay_invoice(args: PayArgs, output: Output) -> Result<ExitCode, Failure> {
    with(&args.state, output, async |w| {
        let view = w.show_invoice(&args.what)?;
        output.text(view.to_string().trim_end());
        let policy = policy(w, args.max.as_deref(), args.yes)?;
        let report = w.pay_invoice(&args.what, &PayInvoiceOptions { policy, cancel: args.cancel }).await?;
        let code = report.exit_code();
        Ok((report, code))
    })
    .await
}

async fn request(args: RequestArgs, output: Output) -> Result<ExitCode, Failure> {
    let expires = Duration::from_secs(args.expires.saturating_mul(60));
    let options = RequestOptions { what: args.what.clone(), expires, wait: expires, new: args.new };
    let wallet = open(&args.state, output)?;
    let made = wallet.invoice(wallet.amount(&args.amount)?, &options).await;
    let made = match made {
        Ok(made) if !args.no_wait => {
            // The payer needs it before anything else happens.
            output.report(&Trimmed(&made));
            wallet.wait_for_payment(&made.invoice, expires).await
        }
        other => other,
    };
    if let Ok(report) = &made {
        output.report(&Trimmed(report));
    }
    let code = made.map_err(Failure::from).map(|report| match report.state {
        InvoiceState::Paid => ExitCode::Done,
        InvoiceState::Waiting if args.no_wait => ExitCode::Done,
        InvoiceState::Waiting => ExitCode::NotKnownYet,
        InvoiceState::Refused | InvoiceState::Expired => ExitCode::Refused,
    });
    close(wallet, code).await
}

async fn redeem(args: RedeemArgs, output: Output) -> Result<ExitCode, Failure> {
    with(&args.state, output, async |w| {
        let wanted = if args.amount.trim() == "all" {
            let first = w.keys().currencies.first().map(|terms| terms.currency);
            RedeemAmount::All(
                first.ok_or_else(|| Failure::of(ExitCode::BadData, "the operator has no currency"))?,
            )
        } else {
            RedeemAmount::Exactly(w.amount(&args.amount)?)
        };
        let report = w.redeem(wanted).await?;
        let code = report.exit_code();
        Ok((report, code))
    })
    .await
}

async fn limits(args: LimitArgs, output: Output) -> Result<ExitCode, Failure> {
    with(&args.state, output, async |w| {
        let change = |text: &Option<String>| -> Result<Option<LimitChange>, Failure> {
            match text.as_deref() {
                None => Ok(None),
                Some("none") => {
                    let first = w.keys().currencies.first().map(|terms| terms.currency);
                    Ok(first.map(LimitChange::Off))
                }
                Some(text) => Ok(Some(LimitChange::At(w.amount(text)?))),
            }
        };
        let (per_payment, per_day) = (change(&args.per_payment)?, change(&args.per_day)?);
        let report = if per_payment.is_some() || per_day.is_some() {
            w.set_limits(per_payment, per_day).await?
        } else {
            w.limits()?
        };
        Ok((report, ExitCode::Done))
    })
    .await
}
