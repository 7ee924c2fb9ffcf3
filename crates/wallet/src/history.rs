//! What has ended: purchases, payments, receipts of coins, redemptions, and coins that were not taken.
//! Source: issue, "history|receipt|status"; screens are the reports' `Display`.

use std::fmt;

use florin_crypto::cbor;
use florin_money::Amount;
use serde::Serialize;

use crate::documents::{End, HISTORY, Item, Kind};
use crate::refusal::WalletError;
use crate::report::{Lost, text, utc};
use crate::wallet::Wallet;

/// Something that has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HistoryEntry {
    /// Its id, for `receipt`.
    pub id: String,
    /// When, in RFC 3339.
    pub at: String,
    /// `bought`, `paid`, `received`, `redeemed`, `changed`, `refunded` or `sent`.
    pub kind: &'static str,
    /// `done`, `denied`, `amount-mismatch`, `never`, `refused`, or `open` for what was sent and not claimed.
    pub outcome: &'static str,
    /// How much.
    #[serde(serialize_with = "text")]
    pub amount: Amount,
    /// With whom.
    pub with: String,
    /// What for.
    pub what: String,
    /// Coins that were not taken, and why.
    pub lost: Vec<Lost>,
    /// Why not: a slug, or the bank's code.
    pub reason: Option<String>,
    /// Whether there is a signed receipt of the payee.
    pub receipt: bool,
}

/// What has ended, the latest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HistoryReport {
    /// The entries.
    pub entries: Vec<HistoryEntry>,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bought => "bought",
            Self::Paid => "paid",
            Self::Received => "received",
            Self::Redeemed => "redeemed",
            Self::Changed => "changed",
            Self::Refunded => "refunded",
            Self::Sent => "sent",
        }
    }

    /// What its ids look like.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Paid | Self::Received => "pay",
            Self::Bought | Self::Redeemed | Self::Changed | Self::Refunded | Self::Sent => "tx",
        }
    }
}

impl End {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::AmountMismatch => "amount-mismatch",
            Self::Never => "never",
            Self::Refused => "refused",
            Self::Open => "open",
        }
    }
}

impl Item {
    pub(crate) fn text_id(&self) -> String {
        format!("{}_{}", self.kind.prefix(), data_encoding::HEXLOWER.encode(&self.id.0))
    }

    pub(crate) fn entry(&self) -> HistoryEntry {
        HistoryEntry {
            id: self.text_id(),
            at: utc(self.at),
            kind: self.kind.name(),
            outcome: self.end.name(),
            amount: self.amount,
            with: self.with.clone(),
            what: self.what.clone(),
            lost: Lost::of(&self.lost),
            reason: self.reason.clone(),
            receipt: self.proof.receipt.is_some(),
        }
    }
}

impl fmt::Display for HistoryEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {:<8} {:>14}", self.at, self.kind, self.amount.to_string())?;
        if self.outcome != "done" {
            write!(f, "  {}", self.outcome.to_uppercase())?;
        }
        for part in [&self.with, &self.what] {
            // What others wrote is shown on one line and cannot move the cursor.
            let part: String = part.chars().filter(|c| !c.is_control()).collect();
            if !part.is_empty() {
                write!(f, "  {part}")?;
            }
        }
        if let Some(reason) = &self.reason {
            write!(f, "  ({reason})")?;
        }
        writeln!(f)?;
        self.lost.iter().try_for_each(|coin| writeln!(f, "    not taken: {}: {}", coin.worth, coin.cause))?;
        writeln!(f, "    {}", self.id)
    }
}

impl fmt::Display for HistoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entries.is_empty() {
            return writeln!(f, "nothing yet");
        }
        self.entries.iter().try_for_each(|entry| entry.fmt(f))
    }
}

impl Wallet {
    /// What has ended, the latest first, at most so many entries.
    ///
    /// # Errors
    /// Those of the books.
    pub fn history(&self, max: usize) -> Result<HistoryReport, WalletError> {
        let entries = self.items()?.iter().rev().take(max).map(Item::entry).collect();
        Ok(HistoryReport { entries })
    }

    /// What has ended, in the order in which it did.
    pub(crate) fn items(&self) -> Result<Vec<Item>, WalletError> {
        let mut all = self.house.books.scan(HISTORY)?;
        // Within one millisecond, and where the clock was set back, only the books know the order.
        all.sort_by_key(|(_, document)| document.version);
        let read = all.iter().map(|(_, document)| cbor::decode_strict(&document.value));
        read.collect::<Result<_, _>>().map_err(|_| WalletError::Damaged { what: "the history" })
    }
}
