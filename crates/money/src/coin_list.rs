//! A list of coins by value: for each denomination how many.
//! Source: VarietyCash §2.4 (the withdrawal names a list of denominations and for each the number of coins).

use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder, decode};

use crate::amount::{Amount, MoneyError};
use crate::currency::{Currency, expect_array};
use crate::denominations::DENOMINATIONS_MAX;

/// The most entries a list has: one for each denomination of a currency.
pub const COIN_LIST_ENTRIES_MAX: usize = DENOMINATIONS_MAX;

/// How many coins of which value.
///
/// Shape: CBOR array of `[count, value]`, values strictly descending, no zeros, at most 64 entries; may be empty.
/// Units: values in minor units of a currency that stands elsewhere. Errors: [`CoinListError`].
/// Source: VarietyCash §2.4.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CoinList {
    entries: Vec<(u32, u64)>,
    total_minor: u64,
}

/// Why something is not a list of coins, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CoinListError {
    /// More entries than a currency has denominations.
    #[error("a list of coins has at most {COIN_LIST_ENTRIES_MAX} entries")]
    TooManyEntries,
    /// A count or a value is zero.
    #[error("a count or a value in a list of coins is zero")]
    Zero,
    /// The values do not descend strictly.
    #[error("the values of a list of coins descend strictly")]
    Order,
    /// The total, or one count, is too large.
    #[error("the total of a list of coins is too large")]
    Overflow,
}

impl CoinList {
    /// A list from (count, value) entries in strictly descending order of value.
    pub fn new(entries: Vec<(u32, u64)>) -> Result<CoinList, CoinListError> {
        if entries.len() > COIN_LIST_ENTRIES_MAX {
            return Err(CoinListError::TooManyEntries);
        }
        if entries.iter().any(|(count, value)| *count == 0 || *value == 0) {
            return Err(CoinListError::Zero);
        }
        if !entries.is_sorted_by(|(_, before), (_, after)| before > after) {
            return Err(CoinListError::Order);
        }
        let total_minor = entries
            .iter()
            .try_fold(0u64, |sum, (count, value)| sum.checked_add(value.checked_mul(u64::from(*count))?))
            .ok_or(CoinListError::Overflow)?;
        Ok(CoinList { entries, total_minor })
    }

    /// The list of these single coins, in any order.
    pub fn of_values(values: impl IntoIterator<Item = u64>) -> Result<CoinList, CoinListError> {
        let mut values: Vec<u64> = values.into_iter().collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        let mut entries: Vec<(u32, u64)> = Vec::new();
        for value in values {
            match entries.last_mut() {
                Some((count, last)) if *last == value => {
                    *count = count.checked_add(1).ok_or(CoinListError::Overflow)?;
                }
                _ => entries.push((1, value)),
            }
        }
        CoinList::new(entries)
    }

    /// The entries (count, value), values strictly descending.
    pub fn entries(&self) -> &[(u32, u64)] {
        &self.entries
    }

    /// The sum of all coins in minor units.
    pub fn total_minor(&self) -> u64 {
        self.total_minor
    }

    /// The sum of all coins as an amount of this currency (the total was checked when the list was made).
    pub fn total(&self, currency: Currency) -> Result<Amount, MoneyError> {
        Ok(Amount::new(self.total_minor, currency))
    }

    /// The number of coins.
    pub fn count(&self) -> u64 {
        // 64 counts of 32 bits: saturation never happens.
        self.entries.iter().fold(0, |sum, (count, _)| sum.saturating_add(u64::from(*count)))
    }

    /// Has it no coin?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of every single coin, descending; bound [`CoinList::count`] first.
    pub fn values(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.iter().flat_map(|(count, value)| (0..*count).map(|_| *value))
    }
}

impl<C> Encode<C> for CoinList {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(u64::try_from(self.entries.len()).unwrap_or(u64::MAX))?;
        for (count, value) in &self.entries {
            e.array(2)?.u32(*count)?.u64(*value)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for CoinList {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let len = d.array()?.ok_or_else(|| decode::Error::message("an array without a length"))?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > COIN_LIST_ENTRIES_MAX {
            return Err(decode::Error::message(CoinListError::TooManyEntries));
        }
        let mut entries = Vec::with_capacity(len);
        for _ in 0..len {
            expect_array(d, 2)?;
            entries.push((d.u32()?, d.u64()?));
        }
        CoinList::new(entries).map_err(decode::Error::message)
    }
}
