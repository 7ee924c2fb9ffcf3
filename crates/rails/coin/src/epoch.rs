//! Epochs: when a coin is issued, until when it pays, until when it can still be exchanged.
//! Source: rails/README.md, "Numbers everybody uses".

use florin_books::{Epoch, Timestamp};
use florin_parties::Terms;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

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

    /// The epoch in which coins are issued at a time.
    #[must_use]
    pub fn epoch_at(&self, at: Timestamp) -> Epoch {
        Epoch(u16::try_from(at.0.checked_div(self.epoch_ms).unwrap_or(0)).unwrap_or(u16::MAX))
    }

    /// When coins of an epoch stop paying.
    #[must_use]
    pub const fn expiry(&self, epoch: Epoch) -> Timestamp {
        let end = (epoch.0 as u64).saturating_add(1).saturating_mul(self.epoch_ms);
        Timestamp(end.saturating_add(self.spend_ms))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coin_pays_for_half_a_year_and_is_exchanged_for_three_more_months() {
        let calendar = Calendar::of(&Terms::default());
        let now = Timestamp(1_795_000_000_000);
        let epoch = calendar.epoch_at(now);
        let days_left = calendar.expiry(epoch).since(now) / DAY_MS;
        assert!((180..=210).contains(&days_left), "{days_left}");
        assert_eq!(calendar.grace_end(epoch).map(|end| end.since(calendar.expiry(epoch)) / DAY_MS), Some(90));
        let endless = Calendar::of(&Terms { grace_days: None, ..Terms::default() });
        assert_eq!((endless.expiry(epoch), endless.grace_end(epoch)), (calendar.expiry(epoch), None));
    }
}
