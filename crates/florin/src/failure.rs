//! How a command ends when it does not do what was asked: an exit code, a slug, a sentence. docs/exit-codes.md.

use florin_bank::BankError;
use florin_merchant::GateError;
use florin_operator::{InitError, OperatorError};
use florin_shell::config::ConfigError;
use florin_shell::exit::ExitCode;
use florin_shell::home::HomeError;
use florin_shell::logging::LoggingError;
use florin_shell::passphrase::PassphraseError;
use florin_shell::service::ServiceError;
use florin_shell::vault::VaultError;
use florin_store::StoreError;
use florin_wallet::WalletError;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: ExitCode,
    /// A stable name.
    pub slug: String,
    /// A sentence for people.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(code: ExitCode, slug: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, slug: slug.into(), message: message.into() }
    }

    /// A failure named by its exit code.
    pub fn of(code: ExitCode, message: impl Into<String>) -> Self {
        Self::new(code, code.name(), message)
    }
}

macro_rules! by_exit_code {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::of(error.exit_code(), error.to_string())
            }
        })*
    };
}

by_exit_code!(
    OperatorError,
    InitError,
    ConfigError,
    HomeError,
    LoggingError,
    PassphraseError,
    ServiceError,
    VaultError,
    GateError,
);

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::of(ExitCode::of_store(&error), error.to_string())
    }
}

impl From<BankError> for Failure {
    fn from(error: BankError) -> Self {
        match &error {
            BankError::Refused(problem) => {
                let slug = problem.slug.clone().unwrap_or_else(|| "refused".into());
                let detail = problem.detail.clone().or_else(|| problem.title.clone()).unwrap_or_default();
                Self::new(ExitCode::Refused, slug, format!("{error}: {detail}"))
            }
            BankError::NotSent => Self::of(ExitCode::Unavailable, error.to_string()),
            BankError::Unknown => Self::of(ExitCode::NotKnownYet, error.to_string()),
        }
    }
}

impl From<WalletError> for Failure {
    fn from(error: WalletError) -> Self {
        Self::new(error.exit_code(), error.slug(), error.to_string())
    }
}
