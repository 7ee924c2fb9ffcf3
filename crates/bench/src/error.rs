//! Why something could not be measured. Source: house rule 10 (one variant for each cause).

use std::io;
use std::path::PathBuf;

use florin_bank::BankError;
use florin_coin::{AskError, ReadError};
use florin_http::{SendError, TlsFault};
use florin_money::{CoinListError, MoneyError, SplitError};
use florin_parties::DirectoryError;
use florin_parties::asker;
use florin_shell::vault::VaultError;
use florin_store::{CommitError, StoreError};

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A program could not be started, or ended early.
    #[error("{program}: {source}")]
    Program {
        /// Which.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A program did not say in time where it listens.
    #[error("{program} did not say where it listens; it said {said:?}, see {log}")]
    NotListening {
        /// Which.
        program: &'static str,
        /// Its first line.
        said: String,
        /// Where its messages are.
        log: PathBuf,
    },
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key module.
    #[error(transparent)]
    Module(#[from] florin_operator::module::ModuleFault),
    /// No client for HTTP.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The operator's page of keys.
    #[error("the operator's keys: {0}")]
    Page(#[from] SendError),
    /// The page is not what it should be.
    #[error("the operator's keys cannot be read")]
    PageUnreadable,
    /// The key list.
    #[error(transparent)]
    Keys(#[from] DirectoryError),
    /// The bank.
    #[error("the bank: {0}")]
    Bank(#[from] BankError),
    /// The code of an enrolment did not come to the account.
    #[error("no code came to the bank account")]
    NoCode,
    /// The operator has refused.
    #[error("{path}: refused, {slug}")]
    Refused {
        /// Which page.
        path: String,
        /// Why.
        slug: String,
    },
    /// The operator did not answer in time.
    #[error("{path}: no answer in time ({slug})")]
    NoAnswer {
        /// Which page.
        path: String,
        /// The last reason for waiting.
        slug: String,
    },
    /// A request could not be made.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// An answer is not to be believed.
    #[error("{path}: {source}")]
    Read {
        /// Which page.
        path: &'static str,
        /// Why.
        source: ReadError,
    },
    /// A registration or enrolment could not be made.
    #[error(transparent)]
    AskParties(#[from] asker::AskError),
    /// The answer to one is not to be believed.
    #[error(transparent)]
    ReadParties(#[from] asker::ReadError),
    /// The answer was a no where all was in order.
    #[error("{path}: the operator says no")]
    Denied {
        /// Which page.
        path: &'static str,
    },
    /// Money.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A list of coins.
    #[error(transparent)]
    List(#[from] CoinListError),
    /// An amount that no coins make up.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// So many coins cannot be paid with.
    #[error("a payment has 1 to 32 coins in and 1 to 32 out, not {coins_in} and {coins_out}")]
    CoinCount {
        /// In.
        coins_in: usize,
        /// Out.
        coins_out: usize,
    },
    /// Fewer coins came than were asked for.
    #[error("there are fewer coins than payments")]
    TooFewCoins,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The books.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The operator's vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The connection for the load failed.
    #[error("the load's connection: {0}")]
    Connection(String),
    /// A worker ended early.
    #[error("a worker ended early")]
    Worker,
    /// No payment was made in the window.
    #[error("no payment was made in the window: {0}")]
    NothingMeasured(String),
    /// The report cannot be written as JSON.
    #[error("the report cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}
