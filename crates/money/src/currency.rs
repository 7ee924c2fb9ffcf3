//! Currency codes and currencies: an ISO 4217 currency, or a unit of one's own with its exponent.
//! Source: ISO 4217 (three letters, minor unit as a power of ten); own units have longer or unassigned codes.

use std::fmt;
use std::str::FromStr;

use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder, decode};

use crate::iso;

/// The shortest currency code, in characters.
pub const CODE_LEN_MIN: usize = 3;
/// The longest currency code, in characters.
pub const CODE_LEN_MAX: usize = 8;
/// The largest number of decimals a currency may have.
pub const EXPONENT_MAX: u8 = 8;

/// The code of a currency.
///
/// Shape: 3 to 8 ASCII capital letters and digits, beginning with a letter; CBOR text.
/// Errors: [`CurrencyError::Code`]. Source: ISO 4217, widened for own units.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CurrencyCode([u8; CODE_LEN_MAX]);

/// Why something is not a currency, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CurrencyError {
    /// Not 3 to 8 capital letters and digits beginning with a letter.
    #[error("a currency code is 3 to 8 capital letters and digits beginning with a letter")]
    Code,
    /// More decimals than any currency here may have.
    #[error("{exponent} decimals are more than {EXPONENT_MAX}")]
    Exponent {
        /// What was asked for.
        exponent: u8,
    },
    /// The code belongs to a known currency that has another number of decimals.
    #[error("{code} has {known} decimals, not {exponent}")]
    KnownExponent {
        /// The code.
        code: CurrencyCode,
        /// The decimals that the known currency has.
        known: u8,
        /// What was asked for.
        exponent: u8,
    },
    /// The code is in no ISO table.
    #[error("{code} is not an ISO 4217 currency")]
    NotIso {
        /// The code.
        code: CurrencyCode,
    },
}

impl CurrencyCode {
    /// The code as text.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(CODE_LEN_MAX);
        // Only ASCII gets in, so the text is never lost here.
        self.0.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl FromStr for CurrencyCode {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        let bytes = text.as_bytes();
        let well_formed = bytes.len() >= CODE_LEN_MIN
            && bytes.first().is_some_and(u8::is_ascii_uppercase)
            && bytes.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let mut code = [0; CODE_LEN_MAX];
        let room = code.get_mut(..bytes.len()).ok_or(CurrencyError::Code)?;
        if !well_formed {
            return Err(CurrencyError::Code);
        }
        room.copy_from_slice(bytes);
        Ok(Self(code))
    }
}

impl fmt::Display for CurrencyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for CurrencyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<C> Encode<C> for CurrencyCode {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.str(self.as_str())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for CurrencyCode {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        d.str()?.parse().map_err(decode::Error::message)
    }
}

/// A currency: its code and the number of decimals of its main unit.
///
/// Shape: CBOR array `[code, exponent]`. Units: amounts are in minor units, 10^-exponent of the main unit.
/// Errors: as [`Currency::own`]. Source: ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: CurrencyCode,
    exponent: u8,
}

impl Currency {
    /// The unit of this project's examples and of the sandbox: 1 FLO = 100 minor units.
    pub const FLO: Currency = Currency { code: CurrencyCode(*b"FLO\0\0\0\0\0"), exponent: 2 };

    /// The ISO 4217 currency of this code.
    pub fn iso(code: &str) -> Result<Currency, CurrencyError> {
        let code: CurrencyCode = code.parse()?;
        let exponent = iso::exponent(code).ok_or(CurrencyError::NotIso { code })?;
        Ok(Currency { code, exponent })
    }

    /// A currency of any code; a known code (ISO or FLO) is taken only with its own exponent.
    pub fn own(code: &str, exponent: u8) -> Result<Currency, CurrencyError> {
        Self::of(code.parse()?, exponent)
    }

    /// The same, from a parsed code.
    pub fn of(code: CurrencyCode, exponent: u8) -> Result<Currency, CurrencyError> {
        if exponent > EXPONENT_MAX {
            return Err(CurrencyError::Exponent { exponent });
        }
        match Self::known(code) {
            Some(known) if known.exponent != exponent => {
                Err(CurrencyError::KnownExponent { code, known: known.exponent, exponent })
            }
            _ => Ok(Currency { code, exponent }),
        }
    }

    /// The currency of a code that everybody knows: ISO 4217, or FLO.
    pub fn known(code: CurrencyCode) -> Option<Currency> {
        if code == Self::FLO.code {
            return Some(Self::FLO);
        }
        iso::exponent(code).map(|exponent| Currency { code, exponent })
    }

    /// The code.
    pub fn code(&self) -> CurrencyCode {
        self.code
    }

    /// The number of decimals of the main unit.
    pub fn exponent(&self) -> u8 {
        self.exponent
    }

    /// How many minor units the main unit has (10^exponent).
    pub(crate) fn minor_per_unit(self) -> u64 {
        // At most 10^8: saturation never happens.
        10u64.saturating_pow(u32::from(self.exponent))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.code, f)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.code, self.exponent)
    }
}

impl<C> Encode<C> for Currency {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(2)?.str(self.code.as_str())?.u8(self.exponent)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Currency {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        expect_array(d, 2)?;
        let code = CurrencyCode::decode(d, ctx)?;
        Currency::of(code, d.u8()?).map_err(decode::Error::message)
    }
}

/// Reads the head of an array that must have exactly this length.
pub(crate) fn expect_array(d: &mut Decoder<'_>, len: u64) -> Result<(), decode::Error> {
    if d.array()? == Some(len) { Ok(()) } else { Err(decode::Error::message("an array of another length")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        for good in ["EUR", "FLO", "X402", "COFFEES8", "A00"] {
            let code: CurrencyCode = good.parse().unwrap();
            assert_eq!(code.as_str(), good);
            assert_eq!(code.to_string(), good);
        }
        for bad in ["", "EU", "eur", "1EU", "EU R", "COFFEES99", "ÄÖÜ", "EU\0", "E-R"] {
            assert_eq!(bad.parse::<CurrencyCode>(), Err(CurrencyError::Code), "{bad}");
        }
    }

    #[test]
    fn iso_codes_keep_their_exponent() {
        for (code, exponent) in [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)] {
            assert_eq!(Currency::iso(code).unwrap().exponent(), exponent);
            assert_eq!(Currency::own(code, exponent).unwrap(), Currency::iso(code).unwrap());
            assert!(matches!(
                Currency::own(code, exponent + 1),
                Err(CurrencyError::KnownExponent { known, .. }) if known == exponent
            ));
        }
        assert!(matches!(Currency::own("FLO", 3), Err(CurrencyError::KnownExponent { known: 2, .. })));
        assert_eq!(Currency::own("BEANS", 9), Err(CurrencyError::Exponent { exponent: 9 }));
        assert!(matches!(Currency::iso("FLO"), Err(CurrencyError::NotIso { .. })));
        assert_eq!(Currency::own("BEANS", 8).unwrap().minor_per_unit(), 100_000_000);
        assert_eq!(Currency::known("BEANS".parse().unwrap()), None);
    }
}
