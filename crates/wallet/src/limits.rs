//! What the owner lets the wallet spend: for one payment and for one day (UTC), by currency.
//! Source: issue "limits per payment and day"; web.md §8 (refuse above a set amount by default).

use std::fmt;

use florin_books::{DocumentKey, Timestamp};
use florin_crypto::{cbor, digest};
use florin_money::{Amount, Currency};
use serde::Serialize;

use crate::documents::{Limit, SETTINGS, SPENT, Settings, single};
use crate::pay::Policy;
use crate::refusal::{LimitKind, WalletError};
use crate::report::optional_text;
use crate::wallet::Wallet;

/// Unless the owner says otherwise, one payment is at most so many main units of its currency.
const PER_PAYMENT_UNITS: u64 = 5;
/// Unless the owner says otherwise, one day's payments are at most so many main units of their currency.
const PER_DAY_UNITS: u64 = 20;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A change of one limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitChange {
    /// At most this.
    At(Amount),
    /// No limit in this currency.
    Off(Currency),
}

impl LimitChange {
    const fn currency(self) -> Currency {
        match self {
            Self::At(amount) => amount.currency(),
            Self::Off(currency) => currency,
        }
    }

    const fn minor(self) -> Option<u64> {
        match self {
            Self::At(amount) => Some(amount.minor()),
            Self::Off(_) => None,
        }
    }
}

/// The limits in one currency.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LimitRow {
    /// The currency.
    pub currency: String,
    /// For one payment; none means no limit.
    #[serde(serialize_with = "optional_text")]
    pub per_payment: Option<Amount>,
    /// For one day; none means no limit.
    #[serde(serialize_with = "optional_text")]
    pub per_day: Option<Amount>,
    /// Spent or set aside today.
    #[serde(serialize_with = "crate::report::text")]
    pub spent_today: Amount,
}

/// All limits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LimitsReport {
    /// One row for each currency of the operator.
    pub limits: Vec<LimitRow>,
}

impl fmt::Display for LimitsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.limits {
            let say = |limit: &Option<Amount>| limit.map_or_else(|| "no limit".to_owned(), |l| l.to_string());
            let (payment, day) = (say(&row.per_payment), say(&row.per_day));
            writeln!(f, "one payment: {payment}; one day: {day}, of which {} is spent", row.spent_today)?;
        }
        Ok(())
    }
}

/// The limits that hold in a currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    pub per_payment: Option<Amount>,
    pub per_day: Option<Amount>,
}

impl Settings {
    pub(crate) fn limits_in(&self, currency: Currency) -> Limits {
        let amount = |minor: u64| Amount::new(minor, currency);
        match self.limits.iter().find(|limit| limit.currency == currency.code()) {
            Some(limit) => {
                Limits { per_payment: limit.per_payment.map(amount), per_day: limit.per_day.map(amount) }
            }
            None => {
                let unit = 10u64.saturating_pow(currency.exponent().into());
                let units = |n: u64| amount(unit.saturating_mul(n));
                Limits { per_payment: Some(units(PER_PAYMENT_UNITS)), per_day: Some(units(PER_DAY_UNITS)) }
            }
        }
    }

    fn set(&mut self, change: LimitChange, kind: LimitKind) {
        let currency = change.currency();
        let now = self.limits_in(currency);
        let minor = |limit: Option<Amount>| limit.map(Amount::minor);
        let mut limit = Limit {
            currency: currency.code(),
            per_payment: minor(now.per_payment),
            per_day: minor(now.per_day),
        };
        match kind {
            LimitKind::Payment => limit.per_payment = change.minor(),
            LimitKind::Day => limit.per_day = change.minor(),
        }
        self.limits.retain(|other| other.currency != limit.currency);
        self.limits.push(limit);
    }
}

impl Limits {
    /// Whether a payment may be made after `spent` today. Source: docs/wallet.md, "Limits".
    pub(crate) fn allow(&self, amount: Amount, spent: u64, policy: &Policy) -> Result<(), WalletError> {
        let above = |kind, amount, limit| Err(WalletError::AboveLimit { kind, amount, limit });
        // What is said for this payment alone takes the place of the general limit.
        if let Some(max) = policy.max
            && (amount.currency() != max.currency() || amount.minor() > max.minor())
        {
            return above(LimitKind::Payment, amount, max);
        }
        if policy.yes {
            return Ok(());
        }
        if let Some(limit) = self.per_payment.filter(|l| policy.max.is_none() && amount.minor() > l.minor()) {
            return above(LimitKind::Payment, amount, limit);
        }
        let day = Amount::new(spent.saturating_add(amount.minor()), amount.currency());
        match self.per_day.filter(|limit| day.minor() > limit.minor()) {
            Some(limit) => above(LimitKind::Day, day, limit),
            None => Ok(()),
        }
    }
}

/// The number of the day (UTC).
pub(crate) const fn day_of(at: Timestamp) -> u64 {
    at.0 / DAY_MS
}

/// The document with what was spent on a day.
pub(crate) fn spent_key(day: u64, currency: Currency) -> DocumentKey {
    let code = currency.code();
    let id = digest("florin/v1/wallet/spent", &[&day.to_be_bytes(), code.as_str().as_bytes()]).short();
    DocumentKey::new(SPENT, id)
}

/// What such a document says.
pub(crate) fn spent_of(document: Option<&[u8]>) -> u64 {
    document.and_then(|bytes| cbor::decode_strict(bytes).ok()).unwrap_or(0)
}

impl Wallet {
    /// Shows the limits.
    ///
    /// # Errors
    /// Those of the books.
    pub fn limits(&self) -> Result<LimitsReport, WalletError> {
        let settings = self.settings()?;
        let day = day_of(self.now());
        let keys = self.keys();
        let rows = keys.currencies.iter().map(|terms| {
            let limits = settings.limits_in(terms.currency);
            let spent: Option<u64> = self.document(spent_key(day, terms.currency))?;
            Ok(LimitRow {
                currency: terms.currency.to_string(),
                per_payment: limits.per_payment,
                per_day: limits.per_day,
                spent_today: Amount::new(spent.unwrap_or(0), terms.currency),
            })
        });
        Ok(LimitsReport { limits: rows.collect::<Result<_, WalletError>>()? })
    }

    /// Sets limits; what is not named stays.
    ///
    /// # Errors
    /// Those of the books.
    pub async fn set_limits(
        &self,
        per_payment: Option<LimitChange>,
        per_day: Option<LimitChange>,
    ) -> Result<LimitsReport, WalletError> {
        self.change_settings(|settings| {
            for (change, kind) in [(per_payment, LimitKind::Payment), (per_day, LimitKind::Day)] {
                if let Some(change) = change {
                    settings.set(change, kind);
                }
            }
        })
        .await?;
        self.limits()
    }

    pub(crate) async fn change_settings(
        &self,
        mut change: impl FnMut(&mut Settings),
    ) -> Result<(), WalletError> {
        let key = single(SETTINGS);
        self.change_document(key, "settings", |settings: Option<Settings>| {
            let mut settings = settings?;
            change(&mut settings);
            Some(settings)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use florin_books::PartyId;
    use florin_crypto::Bytes;

    fn settings() -> Settings {
        let keys = Bytes::default();
        Settings { url: String::new(), operator: PartyId::NONE, keys, ca_file: None, limits: Vec::new() }
    }

    fn flo(minor: u64) -> Amount {
        Amount::new(minor, Currency::FLO)
    }

    fn allowed(
        settings: &Settings,
        minor: u64,
        spent: u64,
        max: Option<u64>,
        yes: bool,
    ) -> Option<LimitKind> {
        let policy = Policy { max: max.map(flo), yes };
        match settings.limits_in(Currency::FLO).allow(flo(minor), spent, &policy) {
            Ok(()) => None,
            Err(WalletError::AboveLimit { kind, .. }) => Some(kind),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn without_a_word_five_for_a_payment_and_twenty_for_a_day() {
        let s = settings();
        assert_eq!(allowed(&s, 500, 0, None, false), None);
        assert_eq!(allowed(&s, 501, 0, None, false), Some(LimitKind::Payment));
        assert_eq!(allowed(&s, 500, 1500, None, false), None);
        assert_eq!(allowed(&s, 500, 1501, None, false), Some(LimitKind::Day));
    }

    #[test]
    fn a_word_for_one_payment_counts_for_it_alone() {
        let s = settings();
        assert_eq!(allowed(&s, 900, 0, Some(1000), false), None);
        assert_eq!(allowed(&s, 1001, 0, Some(1000), false), Some(LimitKind::Payment));
        assert_eq!(allowed(&s, 1001, 0, Some(1000), true), Some(LimitKind::Payment));
        assert_eq!(allowed(&s, 900, 1200, Some(1000), false), Some(LimitKind::Day));
        assert_eq!(allowed(&s, 9000, 9000, None, true), None);
    }

    #[test]
    fn limits_are_set_and_taken_off_one_by_one() {
        let mut s = settings();
        s.set(LimitChange::At(flo(100)), LimitKind::Payment);
        assert_eq!(allowed(&s, 101, 0, None, false), Some(LimitKind::Payment));
        assert_eq!(allowed(&s, 100, 1901, None, false), Some(LimitKind::Day));
        s.set(LimitChange::Off(Currency::FLO), LimitKind::Day);
        assert_eq!(allowed(&s, 100, u64::MAX, None, false), None);
        assert_eq!(s.limits.len(), 1);
    }
}
