//! What does not agree between a bank's statement and the books: a slug and words. Source: bank.md, "Reconciliation".

use florin_bank::messages::balance_text;
use florin_money::Currency;
use florin_parties::bank::OrderId;

/// Something that does not agree. Its line names it: what is cleared once is known by that.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Finding {
    /// The statement is of another account.
    #[error("the statement is of the account {found:?}, which is not the operator's")]
    WrongAccount {
        /// Whose it is.
        found: String,
    },
    /// What was seen before is not there any more.
    #[error("the statement ends before entry {seen}, which it had before")]
    Shorter {
        /// The last entry seen.
        seen: u64,
    },
    /// A number is missing, or stands twice.
    #[error("entry {found} stands on the statement where entry {expected} belongs")]
    Gap {
        /// What should come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The opening balance is not the closing balance before.
    #[error("after entry {since} the statement opens with {}, and it had closed with {}",
        balance_text(*found, *currency), balance_text(*expected, *currency))]
    Opening {
        /// After which entry.
        since: u64,
        /// The closing balance before.
        expected: i64,
        /// What it says now.
        found: i64,
        /// In which currency.
        currency: Currency,
    },
    /// An entry does not add up.
    #[error("after entry {number} the statement says {}, but it adds up to {}",
        balance_text(*found, *currency), balance_text(*sum, *currency))]
    Sum {
        /// Which.
        number: u64,
        /// Added up.
        sum: i64,
        /// What it says.
        found: i64,
        /// In which currency.
        currency: Currency,
    },
    /// The closing balance is not that of the last entry.
    #[error("the statement closes with {} after entry {number}, which left {}",
        balance_text(*found, *currency), balance_text(*sum, *currency))]
    Closing {
        /// The last entry.
        number: u64,
        /// The balance after it.
        sum: i64,
        /// What it says.
        found: i64,
        /// In which currency.
        currency: Currency,
    },
    /// An amount, a direction or an order cannot be read, or is of another currency.
    #[error("entry {number} of the statement says {text:?}, which is no movement in {}", currency.code())]
    Unreadable {
        /// Which.
        number: u64,
        /// What it says.
        text: String,
        /// The account's currency.
        currency: Currency,
    },
    /// The bank has moved money that the books have not.
    #[error("entry {number} of the statement, {}{}, is not in the books",
        balance_text(*delta, *currency), of(order.as_ref()))]
    NotInTheBooks {
        /// Which.
        number: u64,
        /// How much, seen from the account.
        delta: i64,
        /// The order that the bank names.
        order: Option<OrderId>,
        /// In which currency.
        currency: Currency,
    },
    /// The bank has carried out an order twice.
    #[error("entry {number} of the statement, {}, carries out {order} a second time",
        balance_text(*delta, *currency))]
    Twice {
        /// The second entry.
        number: u64,
        /// How much, seen from the account.
        delta: i64,
        /// The order.
        order: OrderId,
        /// In which currency.
        currency: Currency,
    },
    /// The amounts differ.
    #[error("entry {number} of the statement carries out {order} with {}, and the books with {}",
        balance_text(*statement, *currency), balance_text(*books, *currency))]
    Amount {
        /// Which entry.
        number: u64,
        /// The order.
        order: OrderId,
        /// What the bank says.
        statement: i64,
        /// What the books say.
        books: i64,
        /// In which currency.
        currency: Currency,
    },
    /// The books have moved money that the bank has not.
    #[error("record {seq} of the identity lane, {}{}, is not on the statement",
        balance_text(*delta, *currency), of(order.as_ref()))]
    NotOnTheStatement {
        /// Which record; 0 for news that is not recorded yet.
        seq: u64,
        /// How much, seen from the account.
        delta: i64,
        /// The order.
        order: Option<OrderId>,
        /// In which currency.
        currency: Currency,
    },
    /// All entries agree and the balance does not.
    #[error("the bank says {}, and the books with what is under way {}",
        balance_text(*statement, *currency), balance_text(*books, *currency))]
    Balance {
        /// What the bank says.
        statement: i64,
        /// What the books say.
        books: i64,
        /// In which currency.
        currency: Currency,
    },
}

impl Finding {
    /// A stable name of its kind: docs/problems.md, "Statement".
    #[must_use]
    pub const fn slug(&self) -> &'static str {
        match self {
            Self::WrongAccount { .. } => "statement-other-account",
            Self::Shorter { .. } => "statement-shorter",
            Self::Gap { .. } => "statement-gap",
            Self::Opening { .. } => "statement-opening",
            Self::Sum { .. } => "statement-sum",
            Self::Closing { .. } => "statement-closing",
            Self::Unreadable { .. } => "statement-unreadable",
            Self::NotInTheBooks { .. } => "entry-not-in-books",
            Self::Twice { .. } => "entry-twice",
            Self::Amount { .. } => "entry-amount",
            Self::NotOnTheStatement { .. } => "record-not-on-statement",
            Self::Balance { .. } => "balance-differs",
        }
    }

    /// As it stands in reports, in the books and in the log: `slug: words`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}: {self}", self.slug())
    }
}

fn of(order: Option<&OrderId>) -> String {
    order.map(|o| format!(" for {o}")).unwrap_or_default()
}
