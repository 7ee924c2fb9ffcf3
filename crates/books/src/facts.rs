//! What a decision names and gets to read. Source: books.md, "Deciding"; architecture.md, "The one flow".

use std::collections::HashMap;
use std::sync::Arc;

use florin_money::CurrencyCode;

use crate::account::Account;
use crate::ids::Seq;
use crate::record::Record;
use crate::token::TokenNumber;
use crate::transition::{DocumentKey, Mark, OnceKey};

/// The name of a balance.
pub type BalanceKey = (Account, CurrencyCode);

/// What to read before deciding.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Needs {
    /// Documents.
    pub documents: Vec<DocumentKey>,
    /// Once keys to look up now. A transition that consumes no token must look its own up here, since no spent
    /// token would betray a replay.
    pub once: Vec<OnceKey>,
    /// Marks to look up; `until` does not matter.
    pub marks: Vec<Mark>,
    /// Tokens of which to say whether they are dead. Only who changes nothing needs this: a transition that consumes a
    /// token is tried by the lane itself.
    pub tokens: Vec<TokenNumber>,
}

/// A document as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// The sequence number of its last write.
    pub version: Seq,
    /// Its content.
    pub value: Arc<[u8]>,
}

/// What was read, and when.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Facts {
    /// Everything up to this sequence number is in it.
    pub as_of: Seq,
    /// The documents that exist.
    pub documents: HashMap<DocumentKey, Document>,
    /// The once keys that are taken, with the record that took them.
    pub once: HashMap<OnceKey, Seq>,
    /// Which of the marks asked for are set.
    pub marked: Vec<[u8; 16]>,
    /// Earlier records, where a step asked for them by the once keys that they took.
    pub records: HashMap<OnceKey, Arc<Record>>,
    /// The balances that were asked for, debit positive; not older than `as_of`.
    pub balances: HashMap<BalanceKey, i64>,
    /// Which of the tokens asked for are not live: spent, or never issued.
    pub dead: Vec<TokenNumber>,
}

impl Facts {
    /// The content of a document, if it exists.
    #[must_use]
    pub fn document(&self, key: &DocumentKey) -> Option<&[u8]> {
        self.documents.get(key).map(|d| &*d.value)
    }

    /// A balance that was asked for, debit positive.
    #[must_use]
    pub fn balance(&self, account: Account, currency: CurrencyCode) -> i64 {
        self.balances.get(&(account, currency)).copied().unwrap_or(0)
    }
}
