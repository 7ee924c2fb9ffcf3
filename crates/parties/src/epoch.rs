//! Epochs as the key list publishes them: so that a holder knows until when its coins pay, until when they are exchanged,
//! and which of them were revoked. Source: VarietyCash §2.4 (the tag key); rails/README.md, "Numbers everybody uses".

use florin_books::{Epoch, Timestamp};
use minicbor::{Decode, Encode};

/// The most epochs of a list.
pub const EPOCHS_MAX: usize = 1024;

/// An epoch of the operator.
///
/// Shape: `[number, revoked, grace-end, from, until, expires]`. Units: milliseconds; `revoked` is null while it is not, and
/// `grace-end` where there is none. Source: docs/rails/coin.md, "Epochs".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PublishedEpoch {
    /// Its number, as in its coins.
    #[n(0)]
    pub number: Epoch,
    /// Since when its coins no longer pay, though they are still exchanged.
    #[n(1)]
    pub revoked: Option<Timestamp>,
    /// Until when its coins are exchanged.
    #[n(2)]
    pub grace_end: Option<Timestamp>,
    /// Since when its coins are issued.
    #[n(3)]
    pub from: Timestamp,
    /// Until when they are issued.
    #[n(4)]
    pub until: Timestamp,
    /// Until when they pay.
    #[n(5)]
    pub expires: Timestamp,
}

impl PublishedEpoch {
    /// Whether its coins pay at a time.
    #[must_use]
    pub fn pays(&self, at: Timestamp) -> bool {
        self.revoked.is_none_or(|since| at < since) && at <= self.expires
    }

    /// Whether its coins are exchanged for new ones at a time.
    #[must_use]
    pub fn exchanges(&self, at: Timestamp) -> bool {
        self.grace_end.is_none_or(|end| at <= end)
    }

    fn is_consistent(&self) -> bool {
        self.from <= self.until
            && self.until <= self.expires
            && self.grace_end.is_none_or(|end| self.expires <= end)
    }
}

/// Whether these can stand in one list: each whole, numbers ascending, not too many.
#[must_use]
pub fn are_consistent(epochs: &[PublishedEpoch]) -> bool {
    let ascending = epochs.windows(2).all(|pair| matches!(pair, [a, b] if a.number < b.number));
    epochs.len() <= EPOCHS_MAX && ascending && epochs.iter().all(PublishedEpoch::is_consistent)
}
