//! `florin wallet send|receive|refresh`: coins that move without a payment. Source: VarietyCash §1.2, §3 (Refresh).

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use florin_coin::cash::{CARD_PREFIX, CASH_PREFIX};
use florin_shell::exit::ExitCode;
use florin_shell::home::write_private;
use florin_shell::passphrase::{Passphrase, PassphraseSource, Purpose};
use florin_wallet::{ReceiveOptions, SendOptions, SendReport, SendTo};
use qrcodegen::{QrCode, QrCodeEcc};

use crate::common::StateArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::wallet_cmd::{policy, with};

/// The longest text that is read from a file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Light modules around a QR code. Source: ISO/IEC 18004 (quiet zone).
const QUIET: i32 = 4;

/// Arguments of `send`.
#[derive(Args)]
pub struct SendArgs {
    #[command(flatten)]
    state: StateArgs,
    /// How much.
    #[arg(required_unless_present_any = ["take_back", "show"])]
    amount: Option<String>,
    /// Where the text goes [default: standard output].
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Draws the text as a QR code, too.
    #[arg(long)]
    qr: bool,
    /// The receiver's card, as `receive --card` prints it, or a file with it: nobody else can open the text.
    #[arg(long, value_name = "CARD", conflicts_with = "seal_passphrase_file")]
    to: Option<String>,
    /// What is said with it.
    #[arg(long, default_value = "")]
    memo: String,
    /// A file with the passphrase that the text is sealed with.
    #[arg(long, value_name = "FILE")]
    seal_passphrase_file: Option<PathBuf>,
    /// At most so much, instead of the limit for one payment.
    #[arg(long, value_name = "AMOUNT")]
    max: Option<String>,
    /// Whatever the limits say.
    #[arg(long)]
    yes: bool,
    /// Takes back what was sent under this id, if nobody has claimed it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["amount", "show", "file", "qr", "to", "seal_passphrase_file"])]
    take_back: Option<String>,
    /// Shows again what was sent under this id.
    #[arg(long, value_name = "ID", conflicts_with_all = ["amount", "to", "seal_passphrase_file"])]
    show: Option<String>,
}

/// Arguments of `receive`.
#[derive(Args)]
pub struct ReceiveArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The text, a file with it, or `-` for standard input.
    #[arg(required_unless_present = "card")]
    what: Option<String>,
    /// A file with the passphrase that the text is sealed with.
    #[arg(long, value_name = "FILE")]
    seal_passphrase_file: Option<PathBuf>,
    /// Takes what is left where some of the coins were claimed.
    #[arg(long)]
    rest: bool,
    /// Prints the own card: with it others send to this wallet alone.
    #[arg(long, conflicts_with_all = ["what", "seal_passphrase_file", "rest"])]
    card: bool,
}

/// Arguments of `refresh`.
#[derive(Args)]
pub struct RefreshArgs {
    #[command(flatten)]
    state: StateArgs,
    /// All free coins, not only those that soon stop paying or have stopped.
    #[arg(long)]
    all: bool,
}

/// Runs `send`.
pub async fn send(args: SendArgs, output: Output) -> Result<ExitCode, Failure> {
    let passphrase = passphrase(args.seal_passphrase_file.as_deref())?;
    let card = args.to.as_deref().map(|to| text_of(to, CARD_PREFIX)).transpose()?;
    with(&args.state, output, async |w| {
        let report = match (&args.take_back, &args.show, &args.amount) {
            (Some(id), _, _) => w.take_back(id).await?,
            (None, Some(id), _) => shown(w.show_sent(id)?, &args, output)?,
            (None, None, Some(amount)) => {
                let to = match (&card, &passphrase) {
                    (Some(card), _) => SendTo::Card(card),
                    (None, Some(passphrase)) => SendTo::Passphrase(passphrase),
                    (None, None) => SendTo::Bearer,
                };
                let policy = policy(w, args.max.as_deref(), args.yes)?;
                let options = SendOptions { memo: args.memo.clone(), to, policy };
                shown(w.send(w.amount(amount)?, &options).await?, &args, output)?
            }
            (None, None, None) => return Err(Failure::of(ExitCode::Usage, "an amount is needed")),
        };
        let code = report.exit_code();
        Ok((report, code))
    })
    .await
}

/// The text goes where it is wanted; what is in a file is not shown as well.
fn shown(mut report: SendReport, args: &SendArgs, output: Output) -> Result<SendReport, Failure> {
    let Some(text) = report.text.clone() else { return Ok(report) };
    if args.qr {
        output.text(qr(&text)?);
    }
    if let Some(file) = &args.file {
        write_private(file, format!("{text}\n").as_bytes())?;
        report.text = None;
        output.text(format!("written to {}", file.display()));
    }
    Ok(report)
}

/// Runs `receive`.
pub async fn receive(args: ReceiveArgs, output: Output) -> Result<ExitCode, Failure> {
    if args.card {
        return with(&args.state, output, async |w| Ok((w.card()?, ExitCode::Done))).await;
    }
    let passphrase = passphrase(args.seal_passphrase_file.as_deref())?;
    let text = text_of(args.what.as_deref().unwrap_or_default(), CASH_PREFIX)?;
    with(&args.state, output, async |w| {
        let options = ReceiveOptions { passphrase: passphrase.as_ref(), rest: args.rest };
        Ok((w.receive(&text, &options).await?, ExitCode::Done))
    })
    .await
}

/// Runs `refresh`.
pub async fn refresh(args: RefreshArgs, output: Output) -> Result<ExitCode, Failure> {
    with(&args.state, output, async |w| {
        let report = w.refresh(args.all).await?;
        let code = report.exit_code();
        Ok((report, code))
    })
    .await
}

fn passphrase(file: Option<&Path>) -> Result<Option<Passphrase>, Failure> {
    let read = |file: &Path| Passphrase::read(&PassphraseSource::File(file.to_owned()), Purpose::Open);
    Ok(file.map(read).transpose()?)
}

/// The text itself, what a file holds, or what comes on standard input.
fn text_of(what: &str, prefix: &str) -> Result<String, Failure> {
    if what.trim().starts_with(prefix) {
        return Ok(what.to_owned());
    }
    let mut text = String::new();
    let read = if what == "-" {
        std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(what).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|e| Failure::of(ExitCode::of_io(&e), format!("{what}: {e}")))?;
    Ok(text)
}

/// A QR code, two modules to a character, dark on light whatever the colours of the terminal.
fn qr(text: &str) -> Result<String, Failure> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low);
    let code = code.map_err(|_| Failure::of(ExitCode::BadData, "the text is too long for a QR code"))?;
    let end = code.size().saturating_add(QUIET);
    let mut drawn = String::new();
    let mut y = QUIET.saturating_neg();
    while y < end {
        drawn.push_str("\u{1b}[38;5;16;48;5;231m");
        for x in QUIET.saturating_neg()..end {
            drawn.push(match (code.get_module(x, y), code.get_module(x, y.saturating_add(1))) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawn.push_str("\u{1b}[0m\n");
        y = y.saturating_add(2);
    }
    Ok(drawn.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qr_code_has_its_finders_and_a_quiet_zone_and_takes_no_more_than_fits() {
        let drawn = qr("florincash1AAAA").unwrap();
        let rows: Vec<&str> = drawn.lines().map(|l| &l["\u{1b}[38;5;16;48;5;231m".len()..]).collect();
        assert!(
            rows[..2].iter().all(|row| row.trim_end_matches("\u{1b}[0m").trim().is_empty()),
            "quiet above"
        );
        assert!(rows[2].starts_with("    █▀▀▀▀▀█"), "{:?}", rows[2]);
        assert!(rows[3].starts_with("    █ ███ █"), "{:?}", rows[3]);
        assert!(qr(&"x".repeat(2953)).is_ok());
        assert!(qr(&"x".repeat(2954)).is_err());
    }
}
