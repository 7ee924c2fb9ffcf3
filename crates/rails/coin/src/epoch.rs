//! Epochs: when a coin is issued, until when it pays, until when it can still be exchanged; the calendar that makes them
//! and the table that says which there are. Source: rails/README.md, "Numbers everybody uses"; VarietyCash §2.4 (the tag
//! key), §3 (Refresh); ADR 0028.

use florin_books::{Account, DocumentKey, Epoch, Timestamp};
use florin_crypto::{ByteArray, Digest, cbor};
use florin_money::Amount;
use florin_parties::{PublishedEpoch, Terms};
use minicbor::{Decode, Encode};

use crate::coin::CoinCause;
use crate::kinds::EPOCHS;

mod keys;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The next epoch is made, and published, so long before it begins; a shorter epoch's before it is half over.
const AHEAD_MS: u64 = 2 * DAY_MS;

/// The calendar of the terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Calendar {
    epoch_ms: u64,
    spend_ms: u64,
    /// None for without end.
    grace_ms: Option<u64>,
}

impl Calendar {
    /// The calendar of these terms; an epoch lasts at least a day.
    #[must_use]
    pub fn of(terms: &Terms) -> Self {
        let days = |n: u32| u64::from(n).saturating_mul(DAY_MS);
        Self {
            epoch_ms: days(terms.epoch_days.max(1)),
            spend_ms: days(terms.spend_days),
            grace_ms: terms.grace_days.map(days),
        }
    }

    /// The same, with coins that are exchanged for ever.
    #[must_use]
    pub const fn without_end(mut self) -> Self {
        self.grace_ms = None;
        self
    }

    /// The epoch in which coins are issued at a time.
    #[must_use]
    pub fn epoch_at(&self, at: Timestamp) -> Epoch {
        Epoch(u16::try_from(at.0.checked_div(self.epoch_ms).unwrap_or(0)).unwrap_or(u16::MAX))
    }

    /// When coins of an epoch stop paying.
    #[must_use]
    pub const fn expiry(&self, epoch: Epoch) -> Timestamp {
        self.begin(epoch).plus_ms(self.epoch_ms).plus_ms(self.spend_ms)
    }

    /// Until when coins of an epoch can be exchanged for new ones; none for without end.
    #[must_use]
    pub fn grace_end(&self, epoch: Epoch) -> Option<Timestamp> {
        self.exchanged_until(self.expiry(epoch))
    }

    /// Until when a coin that stops paying at a time, as its tag says, can be exchanged; none for without end.
    #[must_use]
    pub fn exchanged_until(&self, expires: Timestamp) -> Option<Timestamp> {
        self.grace_ms.map(|grace| expires.plus_ms(grace))
    }

    const fn begin(&self, epoch: Epoch) -> Timestamp {
        Timestamp((epoch.0 as u64).saturating_mul(self.epoch_ms))
    }

    /// An epoch that is issued in this time.
    fn entry(&self, number: Epoch, from: Timestamp, until: Timestamp) -> EpochEntry {
        let expires = until.plus_ms(self.spend_ms);
        EpochEntry {
            number,
            from,
            until,
            expires,
            grace_end: self.grace_ms.map(|ms| expires.plus_ms(ms)),
            revoked: None,
            archived: None,
            dropped: None,
            key: None,
        }
    }

    fn scheduled(&self, number: Epoch) -> EpochEntry {
        let from = self.begin(number);
        self.entry(number, from, from.plus_ms(self.epoch_ms))
    }
}

/// Where the live coins of an epoch that is over were written down.
///
/// Shape: `[digest of the file, coins, value, at]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Archived {
    /// H(file).
    #[n(0)]
    pub digest: Digest,
    /// How many coins were still out.
    #[n(1)]
    pub coins: u64,
    /// What they were worth.
    #[n(2)]
    pub value: Amount,
    /// When.
    #[n(3)]
    pub at: Timestamp,
}

/// That the live coins of an epoch were ended.
///
/// Shape: `[at, account]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Dropped {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// Which account has what they were worth, and pays a late holder.
    #[n(1)]
    pub to: Account,
}

/// An epoch of the table. Number, beginning and expiry never change: the expiry stands in its coins.
///
/// Shape: `[number, from, until, expires, grace end, revoked, archived, dropped, key]`, what is absent at the end left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct EpochEntry {
    /// Its number, which says the tag key.
    #[n(0)]
    pub number: Epoch,
    /// Since when its coins are issued.
    #[n(1)]
    pub from: Timestamp,
    /// Until when they are issued; the epoch after it may begin later, and then it goes on.
    #[n(2)]
    pub until: Timestamp,
    /// Until when they pay.
    #[n(3)]
    pub expires: Timestamp,
    /// Until when they are exchanged; always if none.
    #[n(4)]
    pub grace_end: Option<Timestamp>,
    /// Since when they do not pay, though they are exchanged.
    #[n(5)]
    pub revoked: Option<Timestamp>,
    /// Where the live ones were written down; from then on they are not exchanged.
    #[n(6)]
    pub archived: Option<Archived>,
    /// When the live ones were ended.
    #[n(7)]
    pub dropped: Option<Dropped>,
    /// What the key module proves that it has the epoch's own tag key with; none where its key is derived from a master.
    #[n(8)]
    pub key: Option<ByteArray<32>>,
}

/// How far an epoch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochState {
    /// It has not begun.
    Next,
    /// Its coins are issued.
    Issuing,
    /// Its coins pay, and none are added.
    Retired,
    /// Its coins were revoked: they are exchanged only.
    Revoked,
    /// Its coins have stopped paying: they are exchanged only.
    Expired,
    /// Its coins are good for nothing any more.
    Over,
    /// They are written down.
    Archived,
    /// They are ended.
    Dropped,
}

impl EpochState {
    /// What people call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Issuing => "issuing",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Over => "over",
            Self::Archived => "archived",
            Self::Dropped => "dropped",
        }
    }
}

impl EpochEntry {
    /// Whether its coins can be written down and ended: nobody can exchange them any more, or, where they are exchanged
    /// for ever, they no longer pay and the operator closes.
    #[must_use]
    pub fn may_close(&self, now: Timestamp) -> bool {
        now > self.grace_end.unwrap_or(self.expires)
    }

    /// Whether the calendar closes it: only where the terms say when.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.grace_end.is_some_and(|end| now > end)
    }

    fn admits(&self, purpose: Purpose, now: Timestamp) -> Result<(), CoinCause> {
        if self.archived.is_some() || self.dropped.is_some() || self.is_over(now) {
            return Err(CoinCause::Expired);
        }
        let exchanged_only = self.revoked.is_some_and(|since| now >= since);
        match purpose {
            Purpose::Pay | Purpose::Change if exchanged_only => Err(CoinCause::Revoked),
            Purpose::Pay | Purpose::Change if now > self.expires => Err(CoinCause::Expired),
            Purpose::Pay | Purpose::Change | Purpose::Refresh | Purpose::Redeem => Ok(()),
        }
    }

    fn published(&self) -> PublishedEpoch {
        PublishedEpoch {
            number: self.number,
            revoked: self.revoked,
            grace_end: self.grace_end,
            from: self.from,
            until: self.until,
            expires: self.expires,
        }
    }
}

/// What a coin is given for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A payment, whether the payee gets coins or money.
    Pay,
    /// Other coins, by choice.
    Change,
    /// New coins for old ones: what a revoked coin is still taken for (recoup).
    Refresh,
    /// Money, to an enrolled account: a revoked coin is taken for it as well.
    Redeem,
}

/// Why the table cannot be changed so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EpochError {
    /// There is no such epoch.
    #[error("there is no epoch {}", .0.0)]
    Unknown(Epoch),
    /// Its coins still pay or are exchanged.
    #[error("the coins of epoch {} can still be used", .0.0)]
    InUse(Epoch),
    /// It has not begun: there are no coins of it.
    #[error("epoch {} has not begun", .0.0)]
    NotBegun(Epoch),
    /// It is so already.
    #[error("epoch {} is {} already", .0.0, .1.title())]
    Already(Epoch, EpochState),
    /// Numbers end at 65,535.
    #[error("there are no more epoch numbers")]
    Full,
    /// It has to be archived first.
    #[error("epoch {} is not archived", .0.0)]
    NotArchived(Epoch),
}

/// The epochs of an operator: a document of the books lane, and a copy in memory that every step reads.
///
/// Shape: `[[entry, ...]]`, numbers ascending by one or more. An empty table is that of the calendar itself, numbered by
/// date: what simulations use, and what books were kept by before there was a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Epochs {
    calendar: Calendar,
    entries: Vec<EpochEntry>,
}

/// The document.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Table {
    #[n(0)]
    entries: Vec<EpochEntry>,
}

impl Epochs {
    /// The name of the document.
    pub const KEY: DocumentKey = DocumentKey::new(EPOCHS, [0; 16]);

    /// The calendar itself, without a table.
    #[must_use]
    pub fn by_calendar(terms: &Terms) -> Self {
        Self { calendar: Calendar::of(terms), entries: Vec::new() }
    }

    /// A first table: the epoch of this day as the calendar numbers it, and before it those whose coins are out.
    #[must_use]
    pub fn begin(calendar: Calendar, now: Timestamp, out: &[Epoch]) -> Self {
        let current = calendar.epoch_at(now);
        let mut numbers: Vec<Epoch> = out.iter().copied().filter(|e| *e < current).collect();
        numbers.push(current);
        numbers.sort_unstable();
        numbers.dedup();
        let entries = numbers.into_iter().map(|n| calendar.scheduled(n)).collect();
        Self { calendar, entries }
    }

    /// Reads the document.
    #[must_use]
    pub fn read(calendar: Calendar, bytes: &[u8]) -> Option<Self> {
        let table: Table = cbor::decode_strict(bytes).ok()?;
        let ascending = table.entries.windows(2).all(|p| matches!(p, [a, b] if a.number < b.number));
        (ascending && !table.entries.is_empty()).then_some(Self { calendar, entries: table.entries })
    }

    /// The document.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(&Table { entries: self.entries.clone() })
    }

    /// The epochs, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// An epoch.
    #[must_use]
    pub fn entry(&self, number: Epoch) -> Option<EpochEntry> {
        if self.entries.is_empty() {
            return Some(self.calendar.scheduled(number));
        }
        self.entries.iter().find(|e| e.number == number).copied()
    }

    /// The epoch in which coins are issued: of those that have begun and were not revoked, the last. It goes on until
    /// another begins, so that a schedule that is late stops nobody.
    #[must_use]
    pub fn issuing(&self, now: Timestamp) -> Option<Epoch> {
        if self.entries.is_empty() {
            return Some(self.calendar.epoch_at(now));
        }
        let open = |e: &&EpochEntry| e.from <= now && e.revoked.is_none() && e.archived.is_none();
        self.entries.iter().rev().find(open).map(|e| e.number)
    }

    /// Whether a coin of an epoch is taken for a purpose. Its tag was checked before.
    ///
    /// # Errors
    /// `Forged`: this operator never had such an epoch. `Revoked`, `Expired`.
    pub fn admits(&self, number: Epoch, purpose: Purpose, now: Timestamp) -> Result<(), CoinCause> {
        self.entry(number).ok_or(CoinCause::Forged)?.admits(purpose, now)
    }

    /// How far an epoch is.
    #[must_use]
    pub fn state(&self, number: Epoch, now: Timestamp) -> Option<EpochState> {
        let e = self.entry(number)?;
        Some(match () {
            () if e.dropped.is_some() => EpochState::Dropped,
            () if e.archived.is_some() => EpochState::Archived,
            () if e.is_over(now) => EpochState::Over,
            () if e.revoked.is_some() => EpochState::Revoked,
            () if now > e.expires => EpochState::Expired,
            () if e.from > now => EpochState::Next,
            () if self.issuing(now) == Some(number) => EpochState::Issuing,
            () => EpochState::Retired,
        })
    }

    /// What the key list says: every epoch whose coins can still be of use.
    #[must_use]
    pub fn published(&self) -> Vec<PublishedEpoch> {
        let out = self.entries.iter().filter(|e| e.archived.is_none() && e.dropped.is_none());
        let mut all: Vec<PublishedEpoch> = out.map(EpochEntry::published).collect();
        all.drain(..all.len().saturating_sub(florin_parties::epoch::EPOCHS_MAX));
        all
    }

    /// The calendar's own next epoch, where it is time to make it.
    ///
    /// # Errors
    /// `Full`.
    pub fn schedule(&self, now: Timestamp) -> Result<Option<Self>, EpochError> {
        let Some(last) = self.entries.last() else { return Ok(None) };
        let ahead = AHEAD_MS.min(self.calendar.epoch_ms / 2);
        if now.plus_ms(ahead) < last.until {
            return Ok(None);
        }
        let late = now >= last.until.plus_ms(self.calendar.epoch_ms);
        self.next_from(if late { now } else { last.until }).map(Some)
    }

    /// A new epoch from this moment: its tag key is another, and coins that are out go on paying. One that was made
    /// ahead of time never issues: who has seen the keys until now has seen its key too.
    ///
    /// # Errors
    /// `Full`.
    pub fn rotate(&self, now: Timestamp) -> Result<Self, EpochError> {
        let mut begun = self.clone();
        for entry in begun.entries.iter_mut().filter(|e| e.from <= now) {
            entry.until = entry.until.min(now);
        }
        begun.next_from(now)
    }

    fn next_from(&self, from: Timestamp) -> Result<Self, EpochError> {
        let number = match self.entries.last() {
            Some(last) => Epoch(last.number.0.checked_add(1).ok_or(EpochError::Full)?),
            None => self.calendar.epoch_at(from),
        };
        let mut longer = self.clone();
        let until = from.plus_ms(self.calendar.epoch_ms);
        longer.entries.push(self.calendar.entry(number, from, until));
        Ok(longer)
    }

    /// Stops the coins of an epoch from paying. Where it is the one that is issued, another begins.
    ///
    /// # Errors
    /// `Unknown`, `NotBegun`, `Already`, `Full`.
    pub fn revoke(&self, number: Epoch, now: Timestamp) -> Result<Self, EpochError> {
        let entry = self.known(number)?;
        if entry.from > now {
            return Err(EpochError::NotBegun(number));
        }
        let state = self.state(number, now).unwrap_or(EpochState::Over);
        if entry.revoked.is_some()
            || matches!(state, EpochState::Over | EpochState::Archived | EpochState::Dropped)
        {
            return Err(EpochError::Already(number, state));
        }
        let mut revoked = self.with(number, |e| e.revoked = Some(now));
        if revoked.issuing(now).is_none_or(|issuing| issuing < number) {
            revoked = revoked.rotate(now)?;
        }
        Ok(revoked)
    }

    /// Notes that the live coins of an epoch are written down.
    ///
    /// # Errors
    /// `Unknown`, `Already`, `InUse`.
    pub fn archive(&self, number: Epoch, archived: Archived) -> Result<Self, EpochError> {
        let entry = self.known(number)?;
        if entry.dropped.is_some() {
            return Err(EpochError::Already(number, EpochState::Dropped));
        }
        if !entry.may_close(archived.at) {
            return Err(EpochError::InUse(number));
        }
        Ok(self.with(number, |e| e.archived = Some(archived)))
    }

    /// Notes that the live coins of an epoch are ended.
    ///
    /// # Errors
    /// `Unknown`, `Already`, `NotArchived`.
    pub fn drop_epoch(&self, number: Epoch, dropped: Dropped) -> Result<Self, EpochError> {
        let entry = self.known(number)?;
        if entry.dropped.is_some() {
            return Err(EpochError::Already(number, EpochState::Dropped));
        }
        if entry.archived.is_none() {
            return Err(EpochError::NotArchived(number));
        }
        Ok(self.with(number, |e| e.dropped = Some(dropped)))
    }

    fn known(&self, number: Epoch) -> Result<EpochEntry, EpochError> {
        self.entries.iter().find(|e| e.number == number).copied().ok_or(EpochError::Unknown(number))
    }

    fn with(&self, number: Epoch, change: impl FnOnce(&mut EpochEntry)) -> Self {
        let mut changed = self.clone();
        if let Some(entry) = changed.entries.iter_mut().find(|e| e.number == number) {
            change(entry);
        }
        changed
    }
}

#[cfg(test)]
#[path = "epoch_tests.rs"]
mod tests;
