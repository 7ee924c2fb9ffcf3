//! What can be damaged: the folders of an operator, a gate or a wallet, with what they say when nothing is damaged.
//! Source: reliability.md R7.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use florin_merchant::program::{self, CONFIG_FILE as GATE_CONFIG_FILE};
use florin_merchant::{GateConfig, Place};
use florin_operator::VaultPlaces;
use florin_shell::passphrase::Passphrase;
use florin_shell::vault::SECOND_FACTOR_FILE;
use florin_store::Books;
use florin_wallet::{OpenOptions, Wallet};

use crate::disk;
use crate::error::FaultsError;
use crate::operator_state::{self, Line};

/// More than anybody has.
const HISTORY_MAX: usize = 100_000;

/// Whose folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An operator's.
    Operator,
    /// A gate's.
    Gate,
    /// A wallet's.
    Wallet,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Balances, history and the like, as people see them.
    pub shown: String,
    /// Its journals.
    pub journals: Vec<Vec<Line>>,
}

/// Folders that a program has left.
pub struct Subject {
    /// Whose.
    pub kind: Kind,
    /// Where they must lie.
    pub home: PathBuf,
    /// As they were left.
    pub as_left: PathBuf,
    /// Every file that has bytes, with their number.
    pub files: Vec<(PathBuf, u64)>,
    /// What they say undamaged.
    pub reading: Reading,
    florin: PathBuf,
}

impl Kind {
    /// The role, which names the folders.
    #[must_use]
    pub const fn role(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Gate => "gate",
            Self::Wallet => "wallet",
        }
    }
}

impl Reading {
    /// How it differs from what it was.
    #[must_use]
    pub fn differs_from(&self, was: &Self) -> String {
        if self.shown != was.shown {
            return format!("it says {} instead of {}", self.shown, was.shown);
        }
        let lengths = |reading: &Self| reading.journals.iter().map(Vec::len).collect::<Vec<_>>();
        format!("another journal: {:?} records instead of {:?}", lengths(self), lengths(was))
    }
}

fn refused(error: impl ToString) -> FaultsError {
    FaultsError::Refused(error.to_string())
}

/// The journal of books whose audit is clean.
fn journal_of(books: &Books) -> Result<Vec<Line>, FaultsError> {
    let report = books.audit().map_err(|error| FaultsError::Found(format!("the audit: {error}")))?;
    if !report.is_clean() {
        let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        return Err(FaultsError::Found(format!("the audit: {}", findings.join("; "))));
    }
    operator_state::journal(books)
}

impl Subject {
    /// Folders below `home` that nobody uses now; a copy goes below `copies`.
    ///
    /// # Errors
    /// `File`; `Refused`, `Found` where they are not in order.
    pub async fn of(kind: Kind, florin: PathBuf, home: PathBuf, copies: &Path) -> Result<Self, FaultsError> {
        let as_left = copies.join(home.file_name().unwrap_or_default());
        disk::copy(&home, &as_left)?;
        let mut files = Vec::new();
        for folder in ["state", "keys"] {
            for file in disk::files(&home.join(folder))? {
                let len = fs::metadata(&file).map_err(FaultsError::at(&file))?.len();
                // What is laid aside for a full disk is empty in every copy.
                if len > 0 && file.file_name().is_none_or(|name| name != "reserve") {
                    files.push((file, len));
                }
            }
        }
        let reading = Reading { shown: String::new(), journals: Vec::new() };
        let mut made = Self { kind, home, as_left, files, reading, florin };
        made.reading = made.read().await?;
        Ok(made)
    }

    fn state(&self) -> PathBuf {
        self.home.join("state").join(self.kind.role())
    }

    fn keys(&self) -> PathBuf {
        self.home.join("keys").join(self.kind.role())
    }

    /// Opens it as its program does, audits it, and takes down what it says.
    ///
    /// # Errors
    /// `Refused`; `Found` where it opens and is not in order.
    pub async fn read(&self) -> Result<Reading, FaultsError> {
        match self.kind {
            Kind::Operator => self.operator().await,
            Kind::Gate => self.gate().await,
            Kind::Wallet => self.wallet(),
        }
    }

    async fn operator(&self) -> Result<Reading, FaultsError> {
        let second = Some(self.keys().join(SECOND_FACTOR_FILE));
        let operator = operator_state::open_at(&VaultPlaces { state: self.state(), second }).await?;
        let reading = operator_state::read(&operator.lanes)?;
        let list = operator.published();
        let shown = serde_json::json!({
            "operator": operator.id.to_string(), "currency": operator.currency.to_string(),
            "accounts": reading.accounts, "circulation": reading.circulation,
            "epochs": list.list.epochs.len(),
        });
        operator_state::close(&operator)?;
        Ok(Reading { shown: shown.to_string(), journals: reading.journals.into() })
    }

    async fn gate(&self) -> Result<Reading, FaultsError> {
        let (dir, second, passphrase) =
            (self.state(), self.keys().join(SECOND_FACTOR_FILE), Passphrase::none());
        let file = dir.join(GATE_CONFIG_FILE);
        let file = file.exists().then_some(file);
        let loaded =
            florin_shell::config::load::<GateConfig>(file.as_deref(), "FLORIN_GATE_", toml::Table::new());
        let config = loaded.map_err(refused)?.value;
        let place = Place { dir: &dir, second_factor: Some(&second), passphrase: &passphrase };
        let (desk, member) = program::open(&place, &config).await.map_err(refused)?;
        let balance = desk.balance().map_err(refused)?;
        let balance: Vec<String> =
            balance.iter().map(|b| format!("{} {} {} {}", b.free, b.reserved, b.gathered, b.coins)).collect();
        let history = desk.history().map_err(refused)?;
        let history: Vec<String> = history
            .iter()
            .map(|e| format!("{} {} {} {}", e.at.0, e.what.word(), e.amount, e.about))
            .collect();
        let redeemer = desk.redeemer().map_err(refused)?.map(|r| (r.enrolled, r.account));
        let shown = serde_json::json!({
            "gate": desk.party.id().to_string(), "name": member.name, "balance": balance, "history": history,
            "redeemer": redeemer.map(|(enrolled, account)| format!("{enrolled} {account:?}")),
        });
        let journals = vec![journal_of(&desk.house.books)?];
        desk.house.books.stop().map_err(|error| FaultsError::Found(format!("it did not stop: {error}")))?;
        Ok(Reading { shown: shown.to_string(), journals })
    }

    fn wallet(&self) -> Result<Reading, FaultsError> {
        let passphrase = Passphrase::none();
        let options = OpenOptions::new(self.state(), Some(self.keys()), &passphrase);
        let wallet = Wallet::open(options).map_err(refused)?;
        let (balance, history) =
            (wallet.balance().map_err(refused)?, wallet.history(HISTORY_MAX).map_err(refused)?);
        let shown = serde_json::json!({
            "wallet": wallet.id().to_string(), "operator": wallet.operator().to_string(),
            "balance": balance, "history": history,
        });
        let journals = vec![journal_of(wallet.books())?];
        wallet.close().map_err(|error| FaultsError::Found(format!("it did not stop: {error}")))?;
        Ok(Reading { shown: shown.to_string(), journals })
    }

    /// Whether the real program opens it, or refuses in good order.
    ///
    /// # Errors
    /// `Program`; `Found` where it does neither.
    pub fn by_program(&self) -> Result<bool, FaultsError> {
        let args: &[&str] = match self.kind {
            Kind::Operator => &["--json", "operator", "audit"],
            Kind::Gate => &["--json", "gate", "history"],
            Kind::Wallet => &["--json", "wallet", "balance"],
        };
        let mut command = Command::new(&self.florin);
        command
            .args(args)
            .env("FLORIN_HOME", self.home.join("state"))
            .env("FLORIN_KEYS", self.home.join("keys"));
        let ended = command.stdin(Stdio::null()).output();
        let ended = ended.map_err(|source| FaultsError::Program { program: args.join(" "), source })?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let known = |code: i32| florin_shell::ExitCode::ALL.iter().any(|c| i32::from(c.number()) == code);
        match ended.status.code() {
            Some(0) => Ok(true),
            Some(code) if known(code) && !said.contains("panicked") => Ok(false),
            _ => Err(FaultsError::Found(format!(
                "florin {} ended: {}; it said {said}",
                args.join(" "),
                ended.status
            ))),
        }
    }

    /// A file as it was left.
    fn left(&self, file: &Path) -> PathBuf {
        file.strip_prefix(&self.home).map_or_else(|_| file.to_path_buf(), |rest| self.as_left.join(rest))
    }

    /// Whether a refusal names the damaged file; where it is in books, a file of theirs; a second factor by that word with
    /// the keys that it opens; settings by one of their names, also of one that is missing now.
    #[must_use]
    pub fn names(&self, why: &str, file: &Path) -> bool {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let beside = file.parent().unwrap_or(file).display().to_string();
        let in_books = name.starts_with("books.db") || name.starts_with("second-");
        let is_setting = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| why.contains(key));
        why.contains(name)
            || (in_books && why.contains(&beside))
            || (name == SECOND_FACTOR_FILE && why.contains("second factor") && why.contains("keys.vault"))
            || (name.ends_with(".toml")
                && [file, &self.left(file)]
                    .iter()
                    .any(|file| fs::read_to_string(file).is_ok_and(|text| text.lines().any(is_setting))))
    }
}
