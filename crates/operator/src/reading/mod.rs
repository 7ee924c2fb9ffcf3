//! The books for people and for other programs: accounts, journal, circulation, and the journal in a form that a foreign
//! program checks. Nothing here changes anything. Source: the issue, "The books for people"; books.md, "The parts".

mod accounts;
mod circulation;
mod coins;
mod hledger;
mod journal;
mod pages;
mod table;
mod words;

use florin_books::{Account, Floor, LaneId};
use florin_money::{Currency, CurrencyCode};
use florin_store::{CommitError, StoreError};
use serde::{Deserialize, Serialize};

pub use accounts::{AccountRow, AccountsReport, LaneHead, OpeningLine, TotalRow, accounts};
pub use circulation::{By, CirculationReport, CirculationRow, circulation};
pub use coins::CoinsLine;
pub use hledger::Export;
pub use journal::{JournalLine, JournalPage, JournalPlace, JournalQuery, PostingLine, journal_page};
pub use pages::router;
pub use table::{Table, csv_row};

use crate::lanes::{IDENTITY, Lanes};

/// Why the books could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The books have stopped.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// There is no such lane.
    #[error("{0:?} is no lane: identity or books")]
    Lane(String),
    /// No record has such a name.
    #[error("{0:?} is no kind of record; the journal without --kind shows what there is")]
    Kind(String),
    /// The thread that read ended early.
    #[error("the reading was interrupted")]
    Interrupted,
}

/// An amount, as people read it and as programs compute with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Money {
    /// The decimal, with a minus before it where it is less than nothing.
    pub amount: String,
    /// In minor units.
    pub minor: i64,
}

impl Money {
    /// Minor units of a currency with so many decimals.
    #[must_use]
    pub fn new(minor: i64, exponent: u8) -> Self {
        Self { amount: decimal(minor, exponent), minor }
    }
}

/// `-12.30` for -1230 and two decimals.
#[must_use]
pub fn decimal(minor: i64, exponent: u8) -> String {
    let digits = minor.unsigned_abs().to_string();
    let places = usize::from(exponent);
    let padded = format!("{digits:0>width$}", width = places.saturating_add(1));
    let (whole, rest) = padded.split_at(padded.len().saturating_sub(places));
    let sign = if minor < 0 { "-" } else { "" };
    if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
}

/// How many decimals a currency of the books has. The books know one; the minor units of any other stand as they are.
#[must_use]
pub fn exponent_of(code: CurrencyCode, known: Currency) -> u8 {
    if code == known.code() { known.exponent() } else { 0 }
}

/// What a lane is called.
#[must_use]
pub const fn lane_name(lane: LaneId) -> &'static str {
    if lane.0 == IDENTITY.0 { "identity" } else { "books" }
}

/// The lane of a name.
///
/// # Errors
/// `Lane`.
pub fn lane_named(name: &str) -> Result<LaneId, ReadingError> {
    match name {
        "identity" => Ok(IDENTITY),
        "books" => Ok(crate::lanes::BOOKS),
        _ => Err(ReadingError::Lane(name.to_owned())),
    }
}

/// A kind of record, as the journal names it.
///
/// # Errors
/// `Kind`.
pub fn kind_named(name: &str) -> Result<(), ReadingError> {
    if words::is_word(name) { Ok(()) } else { Err(ReadingError::Kind(name.to_owned())) }
}

/// The currency of an operator's books.
pub(crate) fn currency_of(lanes: &Lanes) -> Currency {
    let register = lanes.books.books.spec().registers.first();
    register.map_or(Currency::FLO, |r| r.denominations.currency())
}

/// On which side of the books an account stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// What the operator has.
    Assets,
    /// What it owes.
    Owed,
    /// What is its own, what is not settled, and what crosses between its lanes.
    Own,
}

impl Group {
    /// All of them, in the order of a balance sheet.
    pub const ALL: [Self; 3] = [Self::Assets, Self::Owed, Self::Own];

    /// The group of an account.
    #[must_use]
    pub const fn of(account: &Account) -> Self {
        match (account, account.floor()) {
            (Account::Bank(_), _) | (_, Floor::Asset) => Self::Assets,
            (_, Floor::Owed) => Self::Owed,
            (_, Floor::Free) => Self::Own,
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Assets => "Assets",
            Self::Owed => "Owed",
            Self::Own => "Own, open, and between the lanes",
        }
    }

    /// The same as one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Assets => "assets",
            Self::Owed => "owed",
            Self::Own => "own",
        }
    }
}

/// The name of an account for programs: its type in the words of accounting, then what it is, then which.
#[must_use]
pub fn account_code(account: &Account) -> String {
    match account {
        Account::Bank(n) => format!("assets:bank:{n}"),
        Account::Holdings(p) => format!("assets:holdings:{p}"),
        Account::Due(p) => format!("assets:due:{p}"),
        Account::Register(r) => format!("liabilities:circulation:{}", r.0),
        Account::PaidNotIssued => "liabilities:paid-not-issued".into(),
        Account::Party(p) => format!("liabilities:party:{p}"),
        Account::InFlight => "liabilities:in-flight".into(),
        Account::Suspense => "equity:suspense".into(),
        Account::Pair(l) => format!("equity:pair:{}", l.0),
        Account::Capital => "equity:capital".into(),
        Account::World => "equity:world".into(),
        Account::Expense => "expenses:running".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use florin_books::{PartyId, RegisterId};

    #[test]
    fn decimals_keep_every_minor_unit() {
        for (minor, exponent, text) in [
            (0, 2, "0.00"),
            (-5, 2, "-0.05"),
            (1230, 2, "12.30"),
            (7, 0, "7"),
            (-7, 3, "-0.007"),
            (i64::MIN, 2, "-92233720368547758.08"),
        ] {
            assert_eq!(decimal(minor, exponent), text);
        }
    }

    #[test]
    fn every_account_has_a_name_of_its_own_and_a_side() {
        let p = PartyId::new([1; 16]);
        let all = [
            (Account::Bank(0), Group::Assets),
            (Account::Bank(1), Group::Assets),
            (Account::Holdings(p), Group::Assets),
            (Account::Due(p), Group::Assets),
            (Account::Register(RegisterId(0)), Group::Owed),
            (Account::PaidNotIssued, Group::Owed),
            (Account::Party(p), Group::Owed),
            (Account::InFlight, Group::Owed),
            (Account::Suspense, Group::Own),
            (Account::Pair(LaneId(0)), Group::Own),
            (Account::Pair(LaneId(1)), Group::Own),
            (Account::Capital, Group::Own),
            (Account::World, Group::Own),
            (Account::Expense, Group::Own),
        ];
        let mut codes: Vec<String> = all.iter().map(|(a, _)| account_code(a)).collect();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), all.len());
        for (account, group) in all {
            assert_eq!(Group::of(&account), group, "{account:?}");
        }
    }
}
