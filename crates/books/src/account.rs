//! Accounts: typed values, one signed balance for each (account, currency). Source: books.md, "The parts".

use florin_money::CurrencyCode;
use minicbor::{Decode, Encode};

use crate::ids::{LaneId, PartyId};

/// What has been issued in one currency by one rail; its liability account carries what is in circulation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct RegisterId(#[n(0)] pub u16);

/// An account of a party's books.
///
/// Units: balances are minor units of their currency; debit is positive, credit negative, so an asset is at
/// least zero and what is owed to others at most zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum Account {
    /// Real money of this party at a bank (asset).
    #[n(0)]
    Bank(#[n(0)] u16),
    /// Tokens of one register in circulation (owed to their holders).
    #[n(1)]
    Register(#[n(0)] RegisterId),
    /// Paid for, not collected yet (owed).
    #[n(2)]
    PaidNotIssued,
    /// What is owed to a participant.
    #[n(3)]
    Party(#[n(0)] PartyId),
    /// Handed to the bank, not booked yet (owed).
    #[n(4)]
    InFlight,
    /// Money whose owner is not settled (owed, or advanced).
    #[n(5)]
    Suspense,
    /// The other side of a transfer between two lanes of one party.
    #[n(6)]
    Pair(#[n(0)] LaneId),
    /// What belongs to the party itself.
    #[n(7)]
    Capital,
    /// What running costs.
    #[n(8)]
    Expense,
    /// Tokens of another issuer that this party holds (asset).
    #[n(9)]
    Holdings(#[n(0)] PartyId),
    /// Money or tokens that another party owes to this one (asset).
    #[n(10)]
    Due(#[n(0)] PartyId),
    /// Where a token went or came from: the world outside these books.
    #[n(11)]
    World,
}

/// On which side of zero a balance must stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Floor {
    /// At least zero: what is not there cannot be given.
    Asset,
    /// At most zero: nobody can be owed less than nothing.
    Owed,
    /// Either side.
    Free,
}

impl Account {
    /// The rule that every commit checks for this account.
    #[must_use]
    pub const fn floor(&self) -> Floor {
        match self {
            Self::Holdings(_) | Self::Due(_) => Floor::Asset,
            Self::Register(_) | Self::PaidNotIssued | Self::Party(_) | Self::InFlight => Floor::Owed,
            Self::Bank(_) | Self::Suspense | Self::Pair(_) | Self::Capital | Self::Expense | Self::World => {
                Floor::Free
            }
        }
    }

    /// What people call it.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Bank(n) => format!("bank {n}"),
            Self::Register(r) => format!("in circulation {}", r.0),
            Self::PaidNotIssued => "paid, not issued".into(),
            Self::Party(p) => format!("owed to {p}"),
            Self::InFlight => "in flight".into(),
            Self::Suspense => "suspense".into(),
            Self::Pair(l) => format!("pair with lane {}", l.0),
            Self::Capital => "capital".into(),
            Self::Expense => "expense".into(),
            Self::Holdings(p) => format!("held, issued by {p}"),
            Self::Due(p) => format!("due from {p}"),
            Self::World => "world".into(),
        }
    }
}

/// One line of the journal.
///
/// Shape: `[account, currency code, delta]`. Units: minor units; debit positive, credit negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Posting {
    /// Which account.
    #[n(0)]
    pub account: Account,
    /// In which currency.
    #[n(1)]
    pub currency: CurrencyCode,
    /// By how much.
    #[n(2)]
    pub delta: i64,
}

impl Posting {
    /// A debit: an asset grows, a debt shrinks.
    #[must_use]
    pub fn debit(account: Account, amount: florin_money::Amount) -> Self {
        Self { account, currency: amount.currency().code(), delta: signed(amount) }
    }

    /// A credit: an asset shrinks, a debt grows.
    #[must_use]
    pub fn credit(account: Account, amount: florin_money::Amount) -> Self {
        Self { account, currency: amount.currency().code(), delta: signed(amount).saturating_neg() }
    }
}

/// An amount beyond `i64` saturates, and the rule of zero-sum then refuses what does not balance.
fn signed(amount: florin_money::Amount) -> i64 {
    i64::try_from(amount.minor()).unwrap_or(i64::MAX)
}
