//! The values that the coins of a currency have.
//! Source: VarietyCash §2.4 (denominations); the 1-2-5 series is the usual one of cash.

use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder, decode};

use crate::amount::Amount;
use crate::coin_list::CoinList;
use crate::currency::{Currency, CurrencyCode, expect_array};

/// The most denominations of one currency.
pub const DENOMINATIONS_MAX: usize = 64;
/// The usual number of denominations: 1 to 50 000 000 minor units.
pub const DENOMINATIONS_DEFAULT: usize = 24;
/// How many trials splitting an amount may take; the 1-2-5 series needs none beyond the first.
const SPLIT_STEPS_MAX: u32 = 4096;

/// The values of the coins of one currency.
///
/// Shape: 1 to 64 values, strictly ascending, none zero; CBOR array `[code, exponent, [values]]`.
/// Units: minor units. Errors: [`DenominationsError`]. Source: VarietyCash §2.4.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Denominations {
    currency: Currency,
    values: Vec<u64>,
}

/// Why values are no denominations, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DenominationsError {
    /// None, or more than 64.
    #[error("a currency has 1 to {DENOMINATIONS_MAX} denominations")]
    Count,
    /// A value is zero.
    #[error("a denomination is zero")]
    Zero,
    /// The values do not ascend strictly.
    #[error("denominations ascend strictly")]
    Order,
}

/// Why an amount cannot be split into coins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The amount has another currency than the coins.
    #[error("coins of {coins} cannot make up an amount of {amount}")]
    CurrencyMismatch {
        /// The currency of the denominations.
        coins: Currency,
        /// The currency of the amount.
        amount: Currency,
    },
    /// No coins of these values (or more than 2^32 of one) make up the amount.
    #[error("no coins of these denominations make up the amount")]
    Unreachable,
}

impl Denominations {
    /// 1, 2, 5, 10, 20, 50 … minor units, so many of them (at least 1, at most 58).
    pub fn one_two_five(currency: Currency, max_count: usize) -> Denominations {
        let mut values = Vec::new();
        let mut power = Some(1u64);
        while let Some(ten) = power {
            values.extend([1u64, 2, 5].into_iter().filter_map(|digit| ten.checked_mul(digit)));
            power = ten.checked_mul(10);
        }
        values.truncate(max_count.clamp(1, DENOMINATIONS_MAX));
        Denominations { currency, values }
    }

    /// Denominations of one's own choice.
    pub fn new(currency: Currency, values: Vec<u64>) -> Result<Denominations, DenominationsError> {
        if values.is_empty() || values.len() > DENOMINATIONS_MAX {
            return Err(DenominationsError::Count);
        }
        if values.contains(&0) {
            return Err(DenominationsError::Zero);
        }
        if !values.is_sorted_by(|before, after| before < after) {
            return Err(DenominationsError::Order);
        }
        Ok(Denominations { currency, values })
    }

    /// The currency of the coins.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The values, ascending.
    pub fn values(&self) -> &[u64] {
        &self.values
    }

    /// The place of a value in the list.
    pub fn index_of(&self, value: u64) -> Option<u16> {
        self.values.binary_search(&value).ok().and_then(|index| u16::try_from(index).ok())
    }

    /// The value at a place of the list.
    pub fn value(&self, index: u16) -> Option<u64> {
        self.values.get(usize::from(index)).copied()
    }

    /// Are all coins of the list of these denominations?
    pub fn contains_all(&self, list: &CoinList) -> bool {
        list.entries().iter().all(|(_, value)| self.index_of(*value).is_some())
    }

    /// The amount in coins, the largest first: the fewest coins for 1-2-5 and every series like it.
    /// Errors: `CurrencyMismatch`, `Unreachable`.
    pub fn split(&self, amount: Amount) -> Result<CoinList, SplitError> {
        if amount.currency() != self.currency {
            return Err(SplitError::CurrencyMismatch { coins: self.currency, amount: amount.currency() });
        }
        self.split_minor(amount.minor())
    }

    /// The same for a number of minor units.
    pub fn split_minor(&self, minor: u64) -> Result<CoinList, SplitError> {
        let mut steps_left = SPLIT_STEPS_MAX;
        let mut entries = Vec::new();
        if !descend(minor, &self.values, &mut entries, &mut steps_left) {
            return Err(SplitError::Unreachable);
        }
        CoinList::new(entries).map_err(|_| SplitError::Unreachable)
    }
}

/// Takes as many as possible of the largest value; fewer only when the rest then cannot be made up
/// (which never happens when every value is a sum of smaller ones, as in 1-2-5).
fn descend(minor: u64, ascending: &[u64], entries: &mut Vec<(u32, u64)>, steps_left: &mut u32) -> bool {
    if minor == 0 {
        return true;
    }
    let Some((largest, smaller)) = ascending.split_last() else { return false };
    let most = minor.checked_div(*largest).unwrap_or_default().min(u64::from(u32::MAX));
    for take in (0..=most).rev() {
        let Some(left) = steps_left.checked_sub(1) else { return false };
        *steps_left = left;
        if let Some(count) = u32::try_from(take).ok().filter(|count| *count > 0) {
            entries.push((count, *largest));
        }
        let rest = minor.saturating_sub(largest.saturating_mul(take));
        if descend(rest, smaller, entries, steps_left) {
            return true;
        }
        if take > 0 {
            entries.pop();
        }
    }
    false
}

impl<C> Encode<C> for Denominations {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(3)?.str(self.currency.code().as_str())?.u8(self.currency.exponent())?;
        e.array(u64::try_from(self.values.len()).unwrap_or(u64::MAX))?;
        self.values.iter().try_for_each(|value| e.u64(*value)?.ok())
    }
}

impl<'b, C> Decode<'b, C> for Denominations {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        expect_array(d, 3)?;
        let code = CurrencyCode::decode(d, ctx)?;
        let currency = Currency::of(code, d.u8()?).map_err(decode::Error::message)?;
        let len = d.array()?.and_then(|len| usize::try_from(len).ok());
        let len = len.filter(|len| *len <= DENOMINATIONS_MAX);
        let len = len.ok_or_else(|| decode::Error::message(DenominationsError::Count))?;
        let values = (0..len).map(|_| d.u64()).collect::<Result<_, _>>()?;
        Denominations::new(currency, values).map_err(decode::Error::message)
    }
}
