//! Why a command of the wallet did not do what was asked, how the program then ends, and the stable name of each cause.
//! Source: house rules 10-12; docs/problems.md, section "Wallet"; docs/exit-codes.md.

use std::io;
use std::path::PathBuf;

use florin_coin::cash::CashError;
use florin_coin::payer::InvoiceError;
use florin_coin::web::OfferError;
use florin_http::{ProblemView, SendError, TlsFault, UrlFault};
use florin_money::{Amount, ParseAmountError};
use florin_parties::DirectoryError;
use florin_shell::house::ActError;
use florin_shell::{ExitCode, HomeError, PassphraseError, VaultError};
use florin_store::{CommitError, StoreError};
use serde::Serialize;

/// Which limit of the wallet's owner stands in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitKind {
    /// For one payment.
    Payment,
    /// For one day (UTC).
    Day,
}

impl LimitKind {
    /// The word for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Day => "day",
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// There is no wallet in the folder.
    #[error("there is no wallet in {dir}: make one with `florin wallet init --operator URL`")]
    NotThere {
        /// The folder.
        dir: PathBuf,
    },
    /// There is one already.
    #[error("there is a wallet in {dir} already; it is not overwritten")]
    AlreadyThere {
        /// The folder.
        dir: PathBuf,
    },
    /// The keys.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The folders.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The books.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The books refused or stopped.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A document in the books cannot be read.
    #[error("the wallet's books hold a document that cannot be read: {what}")]
    Damaged {
        /// Which.
        what: &'static str,
    },
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A URL that may not be used.
    #[error("{url} is not usable: {why}")]
    Url {
        /// The URL.
        url: String,
        /// Why.
        why: UrlFault,
    },
    /// The certificates to trust.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// Something that was typed is not an amount.
    #[error("{text:?} is no amount: {why}")]
    Amount {
        /// What was typed.
        text: String,
        /// Why.
        why: ParseAmountError,
    },
    /// The operator does not issue this currency.
    #[error("the operator has no coins of {currency}")]
    Currency {
        /// The currency.
        currency: String,
    },
    /// The amount cannot be made up of coins.
    #[error("{amount} cannot be paid with the coins of this operator")]
    NotPayable {
        /// The amount.
        amount: Amount,
    },
    /// Something typed is not what it should be.
    #[error("{text:?} is not {what}")]
    Input {
        /// What was typed.
        text: String,
        /// What it should be.
        what: &'static str,
    },
    /// Nobody answers.
    #[error("{who} cannot be reached: {why}")]
    Unreachable {
        /// Who.
        who: String,
        /// Why.
        why: SendError,
    },
    /// What answers is no Florin operator.
    #[error("{url} is no Florin operator: {why}")]
    NotAnOperator {
        /// The URL.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The key list is none.
    #[error("the operator's key list cannot be trusted: {0}")]
    Directory(DirectoryError),
    /// Another operator answers than the one that was pinned.
    #[error("the operator at {url} is not {pinned}, to which this wallet is pinned")]
    OperatorChanged {
        /// Where.
        url: String,
        /// The network id that is pinned.
        pinned: String,
    },
    /// The clocks differ too much, or the operator has no key in use.
    #[error("the operator has no key for now: check this machine's clock")]
    NoKey,
    /// Registration comes first.
    #[error("not registered yet: `florin wallet register` comes first")]
    NotRegistered,
    /// Enrolment comes first.
    #[error("not enrolled yet: `florin wallet enrol --account PAYTO` comes first")]
    NotEnrolled,
    /// Another registration or enrolment is under way.
    #[error("{what} is under way; `florin wallet status` shows and continues it")]
    UnderWay {
        /// What.
        what: &'static str,
    },
    /// The operator said a definite no.
    #[error("the operator refused {what}: {}", said(problem))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What it said.
        problem: Box<ProblemView>,
    },
    /// The code for an enrolment was not the right one.
    #[error("the code was refused: {why}")]
    Code {
        /// The slug of the cause.
        cause: &'static str,
        /// For people.
        why: String,
    },
    /// The coins were not taken.
    #[error("coins worth {worth} were not taken by the operator; `florin wallet history` says why")]
    CoinsRefused {
        /// What they were worth.
        worth: Amount,
    },
    /// It is not known yet.
    #[error("{what}: not known yet; the same command again, or `florin wallet status`, finds out{}", waits(slug.as_deref()))]
    NotKnownYet {
        /// What.
        what: &'static str,
        /// The last reason for waiting.
        slug: Option<String>,
    },
    /// Not enough coins.
    #[error("not enough coins: {have} of {need}")]
    NotEnough {
        /// What there is.
        have: Amount,
        /// What is needed.
        need: Amount,
    },
    /// A limit of the wallet's owner.
    #[error("{amount} is above the limit of {limit} for one {}: say --yes, or change it with `florin wallet limits`", kind.name())]
    AboveLimit {
        /// Which limit.
        kind: LimitKind,
        /// What would be spent.
        amount: Amount,
        /// The limit.
        limit: Amount,
    },
    /// The invoice is none.
    #[error(transparent)]
    Invoice(InvoiceError),
    /// The page cannot be paid for with this wallet.
    #[error("{url} cannot be paid for with this wallet: {why}")]
    NoOffer {
        /// The URL.
        url: String,
        /// Why.
        why: &'static str,
    },
    /// The offer is not its merchant's.
    #[error("the offer of {url} is not paid: {why}")]
    Offer {
        /// The URL.
        url: String,
        /// Why.
        why: OfferError,
    },
    /// The page leads elsewhere.
    #[error("{url} leads to {to}: ask for that page instead")]
    Redirected {
        /// The URL.
        url: String,
        /// Where it leads.
        to: String,
    },
    /// A page that costs nothing was not given.
    #[error("{url} answered {status}")]
    Page {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
    /// A text of sent coins that cannot be opened.
    #[error(transparent)]
    Cash(CashError),
    /// The coins were claimed already.
    #[error("these coins were claimed already{}", if *here { ", by this wallet" } else { "" })]
    CashClaimed {
        /// Whether by this wallet.
        here: bool,
    },
    /// This wallet has sent them itself.
    #[error("this wallet has sent these coins itself: `florin wallet send --take-back {id}` takes them back")]
    CashOwn {
        /// By what id.
        id: String,
    },
    /// Some of the coins were claimed or spent before; nothing was taken.
    #[error("of {of} only {left} is still there; nothing was taken: `--rest` takes what is left")]
    CashPartlyClaimed {
        /// What is left.
        left: Amount,
        /// Of how much.
        of: Amount,
    },
    /// The grace period of the coins is over.
    #[error("coins worth {worth} are past their grace period and cannot be exchanged; ask the operator")]
    Expired {
        /// What they were worth.
        worth: Amount,
    },
    /// There is no such thing in the history.
    #[error("there is nothing with the id {id}")]
    NoSuchId {
        /// What was asked for.
        id: String,
    },
    /// A proof that is kept does not verify.
    #[error("what is kept about {id} does not verify: {what}")]
    NotProven {
        /// Which payment.
        id: String,
        /// What does not.
        what: &'static str,
    },
}

fn said(problem: &ProblemView) -> String {
    let slug = problem.slug.as_deref().unwrap_or("no reason given");
    problem.detail.as_ref().map_or_else(|| slug.to_owned(), |detail| format!("{slug} ({detail})"))
}

fn waits(slug: Option<&str>) -> String {
    slug.map(|slug| format!(" ({slug})")).unwrap_or_default()
}

impl WalletError {
    /// The stable name, a heading in docs/problems.md; what the operator said keeps the operator's slug.
    #[must_use]
    pub fn slug(&self) -> &str {
        match self {
            Self::NotThere { .. } => "no-wallet",
            Self::AlreadyThere { .. } => "wallet-already-there",
            Self::Vault(_) | Self::Home(_) | Self::Passphrase(_) => "keys-not-usable",
            Self::Store(StoreError::Busy(_)) => "wallet-busy",
            Self::Store(_) | Self::Commit(_) | Self::Damaged { .. } => "books-not-usable",
            Self::File { .. } => "file-not-usable",
            Self::Url { .. } => "url-not-usable",
            Self::Tls(_) => "tls-not-usable",
            Self::Amount { .. } | Self::Input { .. } => "input-not-valid",
            Self::Currency { .. } => "currency-unknown",
            Self::NotPayable { .. } => "amount-not-payable",
            Self::Unreachable { .. } => "unreachable",
            Self::NotAnOperator { .. } => "not-an-operator",
            Self::Directory(_) => "key-list-not-valid",
            Self::OperatorChanged { .. } => "operator-changed",
            Self::NoKey => "no-operator-key",
            Self::NotRegistered => "registration-needed",
            Self::NotEnrolled => "enrolment-needed",
            Self::UnderWay { .. } => "under-way",
            Self::Refused { problem, .. } => problem.slug.as_deref().unwrap_or("refused"),
            Self::Code { cause, .. } => cause,
            Self::CoinsRefused { .. } => "coins-refused",
            Self::NotKnownYet { .. } => "not-known-yet",
            Self::NotEnough { .. } => "not-enough-coins",
            Self::AboveLimit { kind: LimitKind::Payment, .. } => "above-payment-limit",
            Self::AboveLimit { kind: LimitKind::Day, .. } => "above-day-limit",
            Self::Invoice(_) => "invoice-not-valid",
            Self::NoOffer { .. } => "no-offer",
            Self::Offer { .. } => "offer-not-valid",
            Self::Redirected { .. } => "redirected",
            Self::Page { .. } => "page-refused",
            Self::Cash(CashError::Malformed | CashError::BadKey | CashError::TooMuch) => "cash-not-valid",
            Self::Cash(CashError::OtherOperator) => "cash-of-another-operator",
            Self::Cash(CashError::PassphraseNeeded) => "cash-passphrase-needed",
            Self::Cash(CashError::Passphrase) => "cash-passphrase-wrong",
            Self::Cash(CashError::OtherReceiver) => "cash-for-another",
            Self::CashClaimed { .. } => "cash-already-claimed",
            Self::CashOwn { .. } => "cash-of-ones-own",
            Self::CashPartlyClaimed { .. } => "cash-partly-claimed",
            Self::Expired { .. } => "coin-expired",
            Self::NoSuchId { .. } => "no-such-id",
            Self::NotProven { .. } => "not-proven",
        }
    }

    /// How the program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotThere { .. } | Self::Url { .. } | Self::Tls(_) | Self::NoKey => ExitCode::Configuration,
            Self::AlreadyThere { .. } => ExitCode::CannotCreate,
            Self::Vault(error) => error.exit_code(),
            Self::Home(error) => error.exit_code(),
            Self::Passphrase(error) => error.exit_code(),
            Self::Store(error) => ExitCode::of_store(error),
            Self::Commit(CommitError::Stopped | CommitError::Full) => ExitCode::Io,
            Self::Commit(CommitError::Overloaded) => ExitCode::Busy,
            Self::Commit(CommitError::Rejected(_)) | Self::Damaged { .. } => ExitCode::BadData,
            Self::File { source, .. } => ExitCode::of_io(source),
            Self::Amount { .. } | Self::Input { .. } | Self::NoSuchId { .. } => ExitCode::Usage,
            Self::Unreachable { .. } | Self::NotAnOperator { .. } => ExitCode::Unavailable,
            Self::Directory(_) | Self::OperatorChanged { .. } | Self::NotProven { .. } => ExitCode::BadData,
            Self::NotKnownYet { .. } => ExitCode::NotKnownYet,
            Self::NotEnough { .. } | Self::AboveLimit { .. } => ExitCode::NotEnough,
            Self::Currency { .. }
            | Self::NotPayable { .. }
            | Self::NotRegistered
            | Self::NotEnrolled
            | Self::UnderWay { .. }
            | Self::Refused { .. }
            | Self::Code { .. }
            | Self::CoinsRefused { .. }
            | Self::Invoice(_)
            | Self::NoOffer { .. }
            | Self::Offer { .. }
            | Self::Redirected { .. }
            | Self::Cash(_)
            | Self::CashClaimed { .. }
            | Self::CashOwn { .. }
            | Self::CashPartlyClaimed { .. }
            | Self::Expired { .. }
            | Self::Page { .. } => ExitCode::Refused,
        }
    }
}

/// An error as `--json` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ErrorReport {
    /// A heading of docs/problems.md.
    slug: String,
    /// For people.
    message: String,
    /// How the program ends: a name of docs/exit-codes.md.
    exit: &'static str,
    /// The same as a number.
    exit_code: u8,
}

impl WalletError {
    /// As `--json` shows it.
    #[must_use]
    pub fn report(&self) -> ErrorReport {
        let code = self.exit_code();
        let (slug, message) = (self.slug().to_owned(), self.to_string());
        ErrorReport { slug, message, exit: code.name(), exit_code: code.number() }
    }
}

impl From<ActError> for WalletError {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Commit(error) => Self::Commit(error),
            ActError::Store(error) => Self::Store(error),
        }
    }
}
