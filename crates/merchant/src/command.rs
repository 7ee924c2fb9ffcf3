//! What its owner asks of a gate: balance, pay-out, enrolment, history. The books belong to one process, so a gate that is
//! serving takes commands through a socket file in its folder; otherwise the command opens the books itself.
//! Source: screens.md ("socket file 0600"); architecture.md, "Conventions" (a second process finds the state busy).
//!
//! Shape: one line of JSON each way, `{"do": ...}` and `{"done": ...}` or `{"failed": ..., "exit_code": n}`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use florin_http::Stop;
use florin_money::Amount;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::desk::{Desk, DeskError, Redeemer};
use crate::gather::PayoutFrom;
use crate::offer::shop_entry;
use crate::program::{GateConfig, GateError, Place, open, payable_of};
use crate::settle::Settle;

/// The socket file in the gate's folder.
pub const SOCKET_FILE: &str = "gate.sock";
/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long the line of a command may take to arrive.
const LINE_TIME: Duration = Duration::from_secs(5);

/// A command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// What is in the purse.
    Balance,
    /// What has happened.
    History,
    /// Pay out, all or an amount.
    Payout {
        /// Such as `12.30 FLO`.
        amount: Option<String>,
        /// Coins of the purse or gathered value; both without it.
        #[serde(default)]
        from: Option<PayoutFrom>,
    },
    /// Ask to be enrolled with a bank account.
    Enrol {
        /// A payto URI or an IBAN.
        account: String,
    },
    /// The entry of `accepts` that a shop of any make puts into its own settings.
    Accepts {
        /// Such as `0.05 FLO`.
        price: String,
        /// What people read.
        description: Option<String>,
        /// How long a payment may take.
        max_timeout_s: u64,
        /// What becomes of its coins; the setting without it.
        #[serde(default)]
        settle: Option<Settle>,
    },
    /// Confirm the enrolment.
    Confirm {
        /// The code of the small transfer.
        code: String,
    },
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The gate.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The gate that is serving said so.
    #[error("{message}")]
    Told {
        /// In words.
        message: String,
        /// How to end.
        exit_code: u8,
    },
    /// The gate that is serving gave no answer: the same command again finds out.
    #[error("the gate that is serving gave no answer; the same command again finds out")]
    NoAnswer,
}

impl CommandError {
    /// With what number the program ends.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Gate(error) => error.exit_code().number(),
            Self::Told { exit_code, .. } => *exit_code,
            Self::NoAnswer => florin_shell::ExitCode::NotKnownYet.number(),
        }
    }
}

/// Whether a gate serves from this folder and takes commands.
pub async fn is_serving(dir: &Path) -> bool {
    UnixStream::connect(dir.join(SOCKET_FILE)).await.is_ok()
}

/// Does a command, in the process that has the books.
///
/// # Errors
/// [`CommandError`].
pub async fn run(
    place: &Place<'_>,
    config: &GateConfig,
    command: &Command,
    patience: Duration,
) -> Result<Value, CommandError> {
    if let Ok(stream) = UnixStream::connect(place.dir.join(SOCKET_FILE)).await {
        return ask(stream, command, patience).await;
    }
    let (desk, _) = open(place, config).await?;
    let done = carry_out(&desk, command, patience).await;
    // Where this fails the books were stopped already, and the command has said so.
    let _ = desk.house.books.stop();
    Ok(done.map_err(GateError::Desk)?)
}

async fn ask(stream: UnixStream, command: &Command, patience: Duration) -> Result<Value, CommandError> {
    let mut stream = BufReader::new(stream);
    let mut line = serde_json::to_vec(command).map_err(|_| CommandError::NoAnswer)?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(|_| CommandError::NoAnswer)?;
    let mut answer = String::new();
    // A pay-out may take several requests, each with the whole of its patience.
    let limit = patience.saturating_mul(10).saturating_add(LINE_TIME);
    let mut bounded = stream.take(LINE_BYTES_MAX);
    let read = tokio::time::timeout(limit, bounded.read_line(&mut answer)).await;
    let value = match read {
        Ok(Ok(_)) => serde_json::from_str::<Value>(&answer).map_err(|_| CommandError::NoAnswer)?,
        Ok(Err(_)) | Err(_) => return Err(CommandError::NoAnswer),
    };
    if let Some(done) = value.get("done") {
        return Ok(done.clone());
    }
    let message = value.get("failed").and_then(Value::as_str).ok_or(CommandError::NoAnswer)?.to_owned();
    let exit_code = value.get("exit_code").and_then(Value::as_u64).and_then(|n| u8::try_from(n).ok());
    Err(CommandError::Told { message, exit_code: exit_code.unwrap_or(1) })
}

/// Carries a command out on the books.
///
/// # Errors
/// [`DeskError`].
pub async fn carry_out(desk: &Desk, command: &Command, patience: Duration) -> Result<Value, DeskError> {
    match command {
        Command::Balance => {
            if desk.redeemer()?.is_some_and(|r| r.enrolled)
                && !desk.compare_gathered(patience.min(LINE_TIME)).await?
            {
                tracing::info!("the operator did not say what is gathered; the books say");
            }
            let balances = desk.balance()?;
            let all = balances.iter().map(|b| {
                json!({
                    "free": b.free.to_string(), "reserved": b.reserved.to_string(), "coins": b.coins,
                    "gathered": b.gathered.to_string(),
                })
            });
            let redeemer = desk.redeemer()?.filter(|r| r.enrolled);
            Ok(json!({"balances": all.collect::<Vec<_>>(), "payout_to": redeemer.map(|r| r.account)}))
        }
        Command::History => {
            let events = desk.history()?;
            let all = events.iter().map(|e| {
                json!({"at_unix_ms": e.at.0, "what": e.what.word(), "amount": e.amount.to_string(), "about": e.about})
            });
            Ok(json!({ "events": all.collect::<Vec<_>>() }))
        }
        Command::Payout { amount, from } => {
            let known: Vec<_> = desk.party.list.currencies.iter().map(|terms| terms.currency).collect();
            let amount = amount.as_deref().map(|text| Amount::parse(text, &known)).transpose();
            let paid = desk.payout_from(amount.map_err(DeskError::Amount)?, *from, patience).await?;
            let text = |amount: Option<Amount>| amount.map(|a| a.to_string());
            let (coins, gathered) = (text(paid.coins), text(paid.gathered));
            Ok(json!({ "paid_out": paid.total()?.to_string(), "coins": coins, "gathered": gathered }))
        }
        Command::Enrol { account } => Ok(enrolment(&desk.enrol(account, patience).await?)),
        Command::Accepts { price, description, max_timeout_s, settle } => {
            if settle.is_some_and(|settle| settle != Settle::Refresh)
                && !desk.redeemer()?.is_some_and(|redeemer| redeemer.enrolled)
            {
                return Err(DeskError::NotEnrolled);
            }
            let payable = payable_of(&desk.party.list);
            let amount = payable.price(price).map_err(|why| DeskError::Price(price.clone(), why))?;
            let member = desk.member()?.ok_or(DeskError::Answer)?;
            let entry = shop_entry(&member, amount, *max_timeout_s, *settle).ok_or(DeskError::Answer)?;
            let mut accepts = json!({ "accepts": [entry] });
            if let (Some(text), Some(members)) = (description, accepts.as_object_mut()) {
                members.insert("description".to_owned(), text.as_str().into());
            }
            Ok(accepts)
        }
        Command::Confirm { code } => Ok(enrolment(&desk.confirm(code, patience).await?)),
    }
}

fn enrolment(redeemer: &Redeemer) -> Value {
    json!({"account": redeemer.account, "enrolled": redeemer.enrolled, "code_expires_unix_ms": redeemer.expires.0})
}

/// A socket file that is removed when the gate ends.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that stays is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Makes the socket file; whoever calls has the books, so one that is there is a dead gate's.
    pub(crate) fn bind(dir: &Path) -> std::io::Result<Self> {
        let path = dir.join(SOCKET_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Takes commands until told to stop, one after another: two pay-outs at once would ask for the same coins.
    pub(crate) async fn serve(self, desk: Desk, patience: Duration, stop: Stop) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.stopped() => return,
            };
            if let Ok((stream, _)) = accepted {
                // Whoever has gone away finds the outcome by asking again.
                let _ = answer(stream, &desk, patience).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, desk: &Desk, patience: Duration) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut bounded = (&mut stream).take(LINE_BYTES_MAX);
    let Ok(read) = tokio::time::timeout(LINE_TIME, bounded.read_line(&mut line)).await else { return Ok(()) };
    read?;
    let answer = match serde_json::from_str::<Command>(&line) {
        Ok(command) => match carry_out(desk, &command, patience).await {
            Ok(done) => json!({ "done": done }),
            Err(error) => {
                let error = GateError::Desk(error);
                json!({"failed": error.to_string(), "exit_code": error.exit_code().number()})
            }
        },
        Err(_) => json!({"failed": "not a command", "exit_code": florin_shell::ExitCode::Usage.number()}),
    };
    stream.write_all(format!("{answer}\n").as_bytes()).await
}
