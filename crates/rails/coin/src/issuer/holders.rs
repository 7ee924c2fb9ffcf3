//! What was issued to whom, where a holder wants to be able to ask for it again: the once keys of the records that
//! issued, not coins, whose numbers only the commit knows. Source: VarietyCash §3 (Refund); ADR 0026.

use florin_books::{Epoch, Facts, OnceKey, Timestamp, Transition};
use florin_crypto::cbor;
use minicbor::{Decode, Encode};

use super::keys::Issuer;
use crate::choice::HolderChoice;
use crate::epoch::Purpose;
use crate::refusal::REFUND_LIST_FULL;
use florin_rail::Refusal;

/// At most so many entries in a list. It is written again with each of them, so it is kept short: a refund makes one
/// entry of all.
pub const HOLDER_ENTRIES_MAX: usize = 256;

/// What was issued to a holder (books lane, by H(holder)).
///
/// Shape: `[holder, [entry, ...]]`, the oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct HolderList {
    /// Who.
    #[n(0)]
    pub holder: HolderChoice,
    /// What.
    #[n(1)]
    pub entries: Vec<HolderEntry>,
}

/// A record that issued coins to a holder, by the once key that it took, and the epoch of the coins.
///
/// Shape: `[once key, epoch]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct HolderEntry {
    /// Which record.
    #[n(0)]
    pub by: OnceKey,
    /// The epoch of its coins.
    #[n(1)]
    pub epoch: Epoch,
}

impl HolderList {
    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }

    /// The list of a holder as the facts have it, without what is past its grace period: that is refunded to nobody.
    pub(super) fn of(
        issuer: &Issuer,
        facts: &Facts,
        holder: &HolderChoice,
        now: Timestamp,
    ) -> Vec<HolderEntry> {
        let bytes = holder.document().and_then(|key| facts.document(&key));
        let mut entries = bytes.and_then(Self::read).map(|list| list.entries).unwrap_or_default();
        let epochs = issuer.epochs();
        entries.retain(|entry| epochs.admits(entry.epoch, Purpose::Refresh, now).is_ok());
        entries
    }

    /// Adds to a transition that creates coins: they were issued to this holder. Whoever makes such a transition reads
    /// the holder's document first ([`HolderChoice::document`]), so that two at once do not lose an entry.
    ///
    /// # Errors
    /// `refund-list-full`.
    pub(super) fn enlist(
        t: &mut Transition,
        issuer: &Issuer,
        facts: &Facts,
        holder: &HolderChoice,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let (Some(key), Some(by)) = (holder.document(), t.once.first().copied()) else { return Ok(()) };
        let Some(epoch) = t.creates.first().map(|issue| issue.epoch) else { return Ok(()) };
        let mut entries = Self::of(issuer, facts, holder, now);
        if entries.len() >= HOLDER_ENTRIES_MAX {
            return Err(REFUND_LIST_FULL);
        }
        entries.push(HolderEntry { by, epoch });
        t.write(key, cbor::encode(&Self { holder: *holder, entries }));
        Ok(())
    }
}
