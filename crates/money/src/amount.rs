//! An amount of money: unsigned minor units and a currency.
//! Source: G1 of the rails ("Amounts are unsigned minor units plus a currency code; sums are checked, never wrapped").

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder, decode};

use crate::currency::{Currency, CurrencyCode, expect_array};

/// An amount of one currency.
///
/// Shape: CBOR array `[minor, code, exponent]`; text `12.30 FLO`. Units: minor units of the currency.
/// Errors: decoding refuses a known code with another exponent. Source: G1.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Amount {
    minor: u64,
    currency: Currency,
}

/// Why amounts cannot be computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Two different currencies.
    #[error("{left} and {right} are different currencies")]
    CurrencyMismatch {
        /// The currency on the left.
        left: Currency,
        /// The currency on the right.
        right: Currency,
    },
    /// The result is larger than an amount can be.
    #[error("the sum is too large")]
    Overflow,
    /// The result would be less than nothing.
    #[error("the difference is less than zero")]
    Underflow,
}

/// Why a text is not an amount, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseAmountError {
    /// Not `number, one space, code`.
    #[error("an amount is written like 12.30 FLO")]
    Shape,
    /// The number has a sign, a comma, no digit before or after the point, or other characters.
    #[error("the number of an amount has digits and at most one point")]
    Number,
    /// The code is not a currency code.
    #[error("not a currency code")]
    Code,
    /// The code is well formed but stands for no currency known here.
    #[error("the currency {code} is not known here")]
    UnknownCurrency {
        /// The code.
        code: CurrencyCode,
    },
    /// More decimals than the currency has.
    #[error("{currency} has {} decimals", currency.exponent())]
    TooManyDecimals {
        /// The currency.
        currency: Currency,
    },
    /// Larger than an amount can be.
    #[error("the amount is too large")]
    Overflow,
}

impl Amount {
    /// So many minor units of a currency.
    pub const fn new(minor: u64, currency: Currency) -> Amount {
        Amount { minor, currency }
    }

    /// Nothing, in a currency.
    pub const fn zero(currency: Currency) -> Amount {
        Amount { minor: 0, currency }
    }

    /// The number of minor units.
    pub const fn minor(self) -> u64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Is it nothing?
    pub const fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// The sum. Errors: `CurrencyMismatch`, `Overflow`.
    pub fn checked_add(self, other: Amount) -> Result<Amount, MoneyError> {
        self.same_currency(other)?;
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Amount { minor, ..self })
    }

    /// The difference. Errors: `CurrencyMismatch`, `Underflow`.
    pub fn checked_sub(self, other: Amount) -> Result<Amount, MoneyError> {
        self.same_currency(other)?;
        let minor = self.minor.checked_sub(other.minor).ok_or(MoneyError::Underflow)?;
        Ok(Amount { minor, ..self })
    }

    /// The amount so many times. Errors: `Overflow`.
    pub fn checked_mul(self, times: u64) -> Result<Amount, MoneyError> {
        let minor = self.minor.checked_mul(times).ok_or(MoneyError::Overflow)?;
        Ok(Amount { minor, ..self })
    }

    /// The sum of amounts that all have this currency. Errors: `CurrencyMismatch`, `Overflow`.
    pub fn sum(amounts: impl IntoIterator<Item = Amount>, currency: Currency) -> Result<Amount, MoneyError> {
        amounts.into_iter().try_fold(Amount::zero(currency), Amount::checked_add)
    }

    /// Reads `12.30 FLO`, `12.3 FLO` or `12 FLO`; `known` are the currencies that may stand there.
    pub fn parse(text: &str, known: &[Currency]) -> Result<Amount, ParseAmountError> {
        Self::parse_with(text, |code| known.iter().find(|currency| currency.code() == code).copied())
    }

    fn parse_with(
        text: &str,
        lookup: impl Fn(CurrencyCode) -> Option<Currency>,
    ) -> Result<Amount, ParseAmountError> {
        let (number, code) = text.split_once(' ').ok_or(ParseAmountError::Shape)?;
        let (units, decimals) = match number.split_once('.') {
            Some((_, "")) => return Err(ParseAmountError::Number),
            Some(parts) => parts,
            None => (number, ""),
        };
        let digits_only = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if units.is_empty() || !digits_only(units) || !digits_only(decimals) {
            return Err(ParseAmountError::Number);
        }
        let code: CurrencyCode = code.parse().map_err(|_| ParseAmountError::Code)?;
        let currency = lookup(code).ok_or(ParseAmountError::UnknownCurrency { code })?;
        let missing = usize::from(currency.exponent())
            .checked_sub(decimals.len())
            .ok_or(ParseAmountError::TooManyDecimals { currency })?;
        let digits = units.bytes().chain(decimals.bytes()).chain(std::iter::repeat_n(b'0', missing));
        let minor = digits.into_iter().try_fold(0u64, |minor, digit| {
            minor.checked_mul(10)?.checked_add(u64::from(digit.wrapping_sub(b'0')))
        });
        Ok(Amount { minor: minor.ok_or(ParseAmountError::Overflow)?, currency })
    }

    fn same_currency(self, other: Amount) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            return Ok(());
        }
        Err(MoneyError::CurrencyMismatch { left: self.currency, right: other.currency })
    }
}

impl PartialOrd for Amount {
    /// Amounts of different currencies are not comparable.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.currency == other.currency).then(|| self.minor.cmp(&other.minor))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_unit = self.currency.minor_per_unit();
        // `per_unit` is at least 1, so both quotients exist.
        let units = self.minor.checked_div(per_unit).unwrap_or_default();
        let rest = self.minor.checked_rem(per_unit).unwrap_or_default();
        match usize::from(self.currency.exponent()) {
            0 => f.pad(&format!("{units} {}", self.currency)),
            width => f.pad(&format!("{units}.{rest:0width$} {}", self.currency)),
        }
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Amount {
    type Err = ParseAmountError;

    /// Reads an amount of a currency that everybody knows (ISO 4217, or FLO).
    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        Self::parse_with(text, Currency::known)
    }
}

impl<C> Encode<C> for Amount {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(3)?.u64(self.minor)?.str(self.currency.code().as_str())?.u8(self.currency.exponent())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Amount {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        expect_array(d, 3)?;
        let minor = d.u64()?;
        let code = CurrencyCode::decode(d, ctx)?;
        let currency = Currency::of(code, d.u8()?).map_err(decode::Error::message)?;
        Ok(Amount { minor, currency })
    }
}
