//! What reports have in common: amounts and times as text. Source: docs/wallet.md, "--json".

use data_encoding::BASE64URL_NOPAD;
use florin_books::Timestamp;
use florin_money::Amount;
use serde::{Serialize, Serializer};

use crate::documents::LostCoin;

/// A coin that the operator did not take.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Lost {
    /// What it was worth.
    #[serde(serialize_with = "text")]
    pub worth: Amount,
    /// Why, as a slug of docs/problems.md.
    pub cause: &'static str,
}

impl Lost {
    pub(crate) fn of(coins: &[LostCoin]) -> Vec<Self> {
        coins.iter().map(|coin| Self { worth: coin.worth, cause: coin.cause.slug() }).collect()
    }
}

/// As people read it.
pub(crate) fn text<T: ToString, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&value.to_string())
}

/// As people read it, or null.
pub(crate) fn optional_text<T: ToString, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.serialize_some(&value.to_string()),
        None => to.serialize_none(),
    }
}

/// Signed bytes as text.
pub(crate) fn base64url<S: Serializer>(value: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(bytes) => to.serialize_some(&BASE64URL_NOPAD.encode(bytes)),
        None => to.serialize_none(),
    }
}

/// A time in RFC 3339, UTC, to the second.
pub(crate) fn utc(at: Timestamp) -> String {
    let seconds = at.unix_s();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, (rest / 60) % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day number since 1970-01-01.
/// Source: H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days.saturating_add(719_468);
    let era = z / 146_097;
    let of_era = z % 146_097;
    let leap = (of_era / 1460).saturating_add(of_era / 146_096);
    let year_of_era = of_era.saturating_sub(leap).saturating_add(of_era / 36_524) / 365;
    let leap_days = (year_of_era / 4).saturating_sub(year_of_era / 100);
    let of_year = of_era.saturating_sub(year_of_era.saturating_mul(365).saturating_add(leap_days));
    let shifted = of_year.saturating_mul(5).saturating_add(2) / 153;
    let day = of_year.saturating_sub(shifted.saturating_mul(153).saturating_add(2) / 5).saturating_add(1);
    let month = if shifted < 10 { shifted.saturating_add(3) } else { shifted.saturating_sub(9) };
    let year = year_of_era.saturating_add(era.saturating_mul(400)).saturating_add(u64::from(month <= 2));
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_249_805, "2026-11-21T08:30:05Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(Timestamp(seconds * 1000 + 999)), expected);
        }
    }
}
