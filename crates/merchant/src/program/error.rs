//! Why a gate cannot be made, opened or served, and how the program ends then. Source: house rule 10.

use std::path::PathBuf;

use florin_http::TlsFault;
use florin_parties::directory::DirectoryError;
use florin_shell::description::FetchError;
use florin_shell::home::HomeError;
use florin_shell::service::ServiceError;
use florin_shell::{ExitCode, VaultError};
use florin_store::StoreError;

use crate::desk::DeskError;
use crate::facilitator::TokenError;
use crate::proxy::UpstreamError;
use crate::rules::RulesError;
use crate::settle::Settle;

/// Why a gate cannot be made, opened or served.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The operator cannot be reached.
    #[error("the operator at {url} gave no key list: {source}")]
    Operator {
        /// Its URL.
        url: String,
        /// What failed.
        source: FetchError,
    },
    /// The key list cannot be trusted.
    #[error("the operator's key list cannot be trusted: {0}")]
    KeyList(#[from] DirectoryError),
    /// The key list that was kept is not what the operator signed.
    #[error("{file} is damaged: {source}")]
    KeptKeyList {
        /// Where it is kept.
        file: PathBuf,
        /// What is wrong with it.
        source: DirectoryError,
    },
    /// There is no gate in this folder.
    #[error("there is no gate in {0}; make one with: florin gate init --operator URL")]
    NoGate(PathBuf),
    /// It has keys but is not registered.
    #[error("this gate is not registered yet; run florin gate init again")]
    NotRegistered,
    /// The keys.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The books.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it asked of the operator.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The facilitator's token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The service.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// A listener.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// A rule settles by redemption or aggregation, and the gate is not enrolled.
    #[error(
        "{what} settles by {}, which takes enrolment for pay-outs; run florin gate enrol --account PAYTO first, or settle by refresh",
        settle.word()
    )]
    EnrolmentNeeded {
        /// Which rule.
        what: String,
        /// How it settles.
        settle: Settle,
    },
    /// Not an amount.
    #[error("payout.aggregate_at: {0:?} is not an amount of this operator above zero")]
    AggregateAt(String),
    /// The public URL is not scheme and host.
    #[error("public_url is scheme, host and perhaps port, such as https://shop.example")]
    PublicUrl,
}

impl GateError {
    /// How the program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Operator { .. } => ExitCode::Unavailable,
            Self::KeyList(_) | Self::KeptKeyList { .. } => ExitCode::BadData,
            Self::NoGate(_)
            | Self::NotRegistered
            | Self::Rules(_)
            | Self::Token(_)
            | Self::Upstream(_)
            | Self::Tls(_)
            | Self::EnrolmentNeeded { .. }
            | Self::AggregateAt(_)
            | Self::PublicUrl => ExitCode::Configuration,
            Self::Vault(error) => error.exit_code(),
            Self::Home(error) => error.exit_code(),
            Self::Service(error) => error.exit_code(),
            Self::Store(error) => ExitCode::of_store(error),
            Self::Desk(DeskError::Open(_)) => ExitCode::NotKnownYet,
            Self::Desk(DeskError::NotEnough { .. } | DeskError::Nothing) => ExitCode::NotEnough,
            Self::Desk(DeskError::Account(_) | DeskError::Amount(_) | DeskError::Price(..)) => {
                ExitCode::Usage
            }
            Self::Desk(DeskError::Act(_)) => ExitCode::Io,
            Self::Desk(_) => ExitCode::Refused,
        }
    }
}
