//! What the operator can say about single coins and about coins that wait to be issued: for people, from the books.
//! Source: VarietyCash §2.4 (coin states); ADR 0026.

use florin_books::{Epoch, Timestamp, TokenNumber};
use florin_crypto::cbor;
use florin_money::Amount;

use super::collect::Claim;
use super::keys::Issuer;
use crate::kinds;

/// Until when a coin is good for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoinTimes {
    /// Until when it pays.
    pub pays_until: Timestamp,
    /// Until when it can be exchanged; none for without end.
    pub grace_until: Option<Timestamp>,
}

impl Issuer {
    /// The number behind a coin's public id; `None` where it is no id of this issuer's.
    #[must_use]
    pub fn coin_number(&self, id: [u8; 16]) -> Option<TokenNumber> {
        self.number_of(id)
    }

    /// The public id of a number.
    #[must_use]
    pub fn coin_id(&self, number: TokenNumber) -> [u8; 16] {
        self.id_of(number)
    }

    /// What a coin with this number is worth; `None` where there is no such denomination.
    #[must_use]
    pub fn coin_worth(&self, number: TokenNumber) -> Option<Amount> {
        self.worth_of(&number).map(|(r, value)| Amount::new(value, r.denominations.currency()))
    }

    /// Until when coins of an epoch are good for what; `None` where there is no such epoch.
    #[must_use]
    pub fn coin_times(&self, epoch: Epoch) -> Option<CoinTimes> {
        let entry = self.epochs().entry(epoch)?;
        Some(CoinTimes { pays_until: entry.expires, grace_until: entry.grace_end })
    }
}

/// A purchase that is paid for and whose coins nobody has collected yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingIssuance {
    /// What it is worth.
    pub worth: Amount,
    /// Whether its purchaser is named.
    pub named: bool,
}

impl PendingIssuance {
    /// Reads a document of the kind [`kinds::CLAIM`]; `None` where nothing waits under it.
    #[must_use]
    pub fn of(claim: &[u8]) -> Option<Self> {
        let claim: Claim = cbor::decode_strict(claim).ok()?;
        let waits = !claim.collected && claim.refused.is_none();
        waits.then(|| Self { worth: claim.total, named: claim.holder.document().is_some() })
    }
}

/// What people call the step that took a once key of this rail.
#[must_use]
pub const fn step_title(step: u8) -> &'static str {
    match step {
        kinds::STEP_COLLECT => "purchase",
        kinds::STEP_VALIDATION | kinds::STEP_PAYMENT | kinds::STEP_ENVELOPE => "payment",
        kinds::STEP_CHANGE => "change",
        kinds::STEP_REFRESH => "refresh",
        kinds::STEP_REDEEM => "redeem",
        kinds::STEP_REFUND => "refund",
        _ => "another step",
    }
}
