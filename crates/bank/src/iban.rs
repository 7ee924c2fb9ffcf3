//! Account numbers of the sandbox banks: German IBANs whose bank codes nobody can have.
//! Source: ISO 13616 (IBAN), ISO 7064 MOD 97-10. Bank codes (Bankleitzahlen) begin with the clearing area 1 to 8; 9 is
//! not assigned.

use std::fmt;
use std::str::FromStr;

use florin_books::Account;
use florin_parties::bank::BankAccount;
use serde::{Deserialize, Serialize};

/// The code of a sandbox bank.
///
/// Shape: 8 digits, `9999` and a number from 0001 to 9999; text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BankCode(u16);

/// Why a text is not a bank code of a sandbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BankCodeError {
    /// Not 8 digits.
    #[error("a bank code has 8 digits")]
    Shape,
    /// A real bank could have this code.
    #[error("a sandbox bank's code is 99990001 to 99999999, which no real bank can have")]
    NotSandbox,
}

impl BankCode {
    /// The clearing account with this bank, in another bank's books.
    #[must_use]
    pub const fn clearing(self) -> Account {
        Account::Bank(self.0)
    }

    /// The bank that keeps an account, if it is a sandbox bank.
    #[must_use]
    pub fn of(account: &BankAccount) -> Option<Self> {
        let rest = account.iban().strip_prefix("DE")?;
        rest.get(2..10)?.parse().ok()
    }

    /// The account of a number at this bank, with its check digits.
    #[must_use]
    pub fn account(self, number: AccountNumber) -> Option<BankAccount> {
        let bban = format!("{self}{number}");
        // D = 13, E = 14, and 00 where the check digits will stand.
        let value: u128 = format!("{bban}131400").parse().ok()?;
        let check = 98_u128.checked_sub(value.checked_rem(97)?)?;
        format!("DE{check:02}{bban}").parse().ok()
    }
}

impl fmt::Display for BankCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "9999{:04}", self.0)
    }
}

impl FromStr for BankCode {
    type Err = BankCodeError;

    fn from_str(text: &str) -> Result<Self, BankCodeError> {
        if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BankCodeError::Shape);
        }
        let number = text.strip_prefix("9999").and_then(|n| n.parse().ok()).unwrap_or(0);
        if number == 0 { Err(BankCodeError::NotSandbox) } else { Ok(Self(number)) }
    }
}

impl TryFrom<String> for BankCode {
    type Error = BankCodeError;

    fn try_from(text: String) -> Result<Self, BankCodeError> {
        text.parse()
    }
}

impl From<BankCode> for String {
    fn from(code: BankCode) -> Self {
        code.to_string()
    }
}

/// The number of an account within its bank.
///
/// Shape: at most 10 digits; text of 10 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AccountNumber(u64);

const NUMBERS: u64 = 10_000_000_000;

/// The text is not an account number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an account number has 1 to 10 digits")]
pub struct AccountNumberError;

impl AccountNumber {
    /// A number from random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes).checked_rem(NUMBERS).unwrap_or_default())
    }
}

impl fmt::Display for AccountNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}", self.0)
    }
}

impl FromStr for AccountNumber {
    type Err = AccountNumberError;

    fn from_str(text: &str) -> Result<Self, AccountNumberError> {
        if text.is_empty() || text.len() > 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AccountNumberError);
        }
        text.parse().map(Self).map_err(|_| AccountNumberError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_are_right() {
        let code: BankCode = "99999901".parse().unwrap();
        for (number, iban) in [("0", "DE85999999010000000000"), ("1", "DE58999999010000000001")] {
            let account = code.account(number.parse().unwrap()).unwrap();
            assert_eq!(account.iban().len(), 22);
            assert_eq!(BankCode::of(&account), Some(code));
            assert_eq!(account.iban(), iban);
        }
        for n in 0..500_u64 {
            assert!(code.account(AccountNumber::from_random((n * 7_777_777_777).to_be_bytes())).is_some());
        }
    }

    #[test]
    fn codes_of_real_banks_are_refused() {
        for (bad, why) in [
            ("37040044", BankCodeError::NotSandbox),
            ("99990000", BankCodeError::NotSandbox),
            ("9999990", BankCodeError::Shape),
            ("9999990a", BankCodeError::Shape),
            ("+9999901", BankCodeError::Shape),
        ] {
            assert_eq!(bad.parse::<BankCode>(), Err(why), "{bad}");
        }
        let real: BankAccount = "DE89370400440532013000".parse().unwrap();
        assert_eq!(BankCode::of(&real), None);
        let other: BankAccount = "GB82WEST12345698765432".parse().unwrap();
        assert_eq!(BankCode::of(&other), None);
    }

    #[test]
    fn account_numbers() {
        assert_eq!("7".parse::<AccountNumber>().unwrap().to_string(), "0000000007");
        for bad in ["", "12345678901", "-1", "1 2", "٣"] {
            assert!(bad.parse::<AccountNumber>().is_err(), "{bad}");
        }
    }
}
