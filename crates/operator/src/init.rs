//! `operator init`: keys, empty books, an account at the sandbox bank with some capital, and the settings file.
//! Source: architecture.md, "Conventions"; bank.md.

use std::path::{Path, PathBuf};

use florin_bank::{Access, BankError, SandboxClient};
use florin_books::Clock;
use florin_books::{PartyId, TxId};
use florin_crypto::random;
use florin_http::Client;
use florin_money::{Amount, Currency};
use florin_parties::bank::BankAccount;
use florin_shell::clock::SystemClock;
use florin_shell::entropy::OsEntropy;
use florin_shell::exit::ExitCode;
use florin_shell::home::{HomeError, create_private, write_private};
use florin_shell::passphrase::Passphrase;
use florin_shell::vault::VAULT_FILE;

use crate::config::OperatorConfig;
use crate::key_holder::KeyHolderError;
use crate::keys::VaultPlaces;
use crate::operator::{OperatorError, create};

/// The settings file in the operator's state.
pub const CONFIG_FILE: &str = "operator.toml";
/// What a new operator has of its own: it pays for the code transfers.
const CAPITAL_MINOR: u64 = 10_000;

/// Why an operator was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Its state.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The bank.
    #[error("the bank at {url}: {error}")]
    Bank {
        /// Where.
        url: String,
        /// What.
        error: BankError,
    },
    /// A file.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The key holders' files.
    #[error(transparent)]
    KeyHolder(#[from] KeyHolderError),
    /// The settings cannot be written as TOML.
    #[error("the settings cannot be written")]
    Settings,
}

impl InitError {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Operator(e) => e.exit_code(),
            Self::Bank { .. } => ExitCode::Unavailable,
            Self::Home(e) => e.exit_code(),
            Self::KeyHolder(e) => e.exit_code(),
            Self::Settings => ExitCode::Configuration,
        }
    }
}

/// A new operator with an account at the sandbox bank.
pub struct Sandbox {
    /// Its settings, as written.
    pub config: OperatorConfig,
    /// Where they are.
    pub file: PathBuf,
    /// ID_I.
    pub id: PartyId,
    /// Its account.
    pub account: BankAccount,
    /// Where the key holders' files lie until they are carried away.
    pub holders: Vec<PathBuf>,
}

/// Makes an operator's state and opens its account at the sandbox bank.
///
/// # Errors
/// [`InitError`].
pub async fn init_sandbox(
    mut config: OperatorConfig,
    places: &VaultPlaces,
    passphrase: &Passphrase,
    http: &Client,
) -> Result<Sandbox, InitError> {
    set_aside(places)?;
    create_private(&places.state)?;
    let url = config.bank.url.clone();
    let bank = |error| InitError::Bank { url: url.clone(), error };
    // The bank first: without it there is nothing to make.
    SandboxClient::card(http, &url).await.map_err(bank)?;
    let vaults = create(&config, places, passphrase, &mut OsEntropy)?;
    config.key_holder = places.create_holders(passphrase, &mut OsEntropy)?;
    let id = vaults.id().map_err(OperatorError::from)?;
    let own = open_account(http, &url, &config).await.map_err(bank)?;
    let access_file = places.state.join("bank.access");
    write_private(&access_file, own.access().to_text().as_bytes())?;
    config.bank.account = own.iban().to_string();
    config.bank.access_file = access_file;
    let file = write_config(&places.state, &config)?;
    let holders = places.holders_here();
    Ok(Sandbox { config, file, id, account: own.iban().clone(), holders })
}

/// What an interrupted `init` has left was never served: it has no settings, which are written last. It is set aside, not
/// removed, since it holds keys.
fn set_aside(places: &VaultPlaces) -> Result<(), InitError> {
    let now = SystemClock.now().0;
    for dir in [places.state.clone(), places.module(), places.holders()] {
        let whole = places.state.join(CONFIG_FILE).exists();
        let keys = dir.join(VAULT_FILE).exists() || (dir == places.holders() && dir.exists());
        if whole || !keys {
            continue;
        }
        let mut name = dir.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".interrupted-{now}"));
        let to = dir.with_file_name(name);
        std::fs::rename(&dir, &to).map_err(|source| InitError::Home(HomeError::Io { path: dir, source }))?;
    }
    Ok(())
}

/// Writes the settings file.
///
/// # Errors
/// `Settings`, `Home`.
pub fn write_config(state: &Path, config: &OperatorConfig) -> Result<PathBuf, InitError> {
    let text = toml::to_string_pretty(config).map_err(|_| InitError::Settings)?;
    let file = state.join(CONFIG_FILE);
    write_private(&file, text.as_bytes())?;
    Ok(file)
}

/// The operator's account, and its capital, which comes from an account of its owner's.
async fn open_account(http: &Client, url: &str, config: &OperatorConfig) -> Result<SandboxClient, BankError> {
    let txid = || TxId::new(random(&mut OsEntropy));
    let own = SandboxClient::open(http, url, txid(), &config.name, None).await?;
    let owner = SandboxClient::open(http, url, txid(), "Owner of the operator", None).await?;
    let capital = Amount::new(CAPITAL_MINOR, own.currency());
    owner.deposit(txid(), capital).await?;
    owner.transfer(txid(), own.iban(), capital, &config.bank.capital_reference).await?;
    Ok(own)
}

/// The bank as the settings name it.
///
/// # Errors
/// The access file cannot be read, or the account is none.
pub fn bank_client(
    config: &OperatorConfig,
    currency: Currency,
    http: &Client,
) -> Result<SandboxClient, SettingsError> {
    let b = &config.bank;
    let text = std::fs::read_to_string(&b.access_file)
        .map_err(|_| SettingsError::AccessFile(b.access_file.clone()))?;
    let access =
        Access::from_text(text.trim()).ok_or_else(|| SettingsError::AccessFile(b.access_file.clone()))?;
    let account: BankAccount = b.account.parse().map_err(|_| SettingsError::Account(b.account.clone()))?;
    Ok(SandboxClient::of(http, &b.url, currency, account, access))
}

/// What is wrong with the bank settings.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// No access secret.
    #[error("bank.access_file: {0} holds no access secret")]
    AccessFile(PathBuf),
    /// No account.
    #[error("bank.account: {0:?} is not a bank account")]
    Account(String),
}
