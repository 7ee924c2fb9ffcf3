//! Money: currencies, amounts, denominations, lists of coins, and which coins to pay with.
//! Source: VarietyCash §2.4 (a purchase names "a list of denominations and for each the number");
//! ISO 4217 for currency codes and minor units.
//!
//! Absent on purpose: floating point, conversion between currencies, operators (`+`, `-`), JSON, chance and time.

mod amount;
mod coin_list;
mod currency;
mod denominations;
mod iso;
mod select;

pub use amount::{Amount, MoneyError, ParseAmountError};
pub use coin_list::{COIN_LIST_ENTRIES_MAX, CoinList, CoinListError};
pub use currency::{CODE_LEN_MAX, CODE_LEN_MIN, Currency, CurrencyCode, CurrencyError, EXPONENT_MAX};
pub use denominations::{
    DENOMINATIONS_DEFAULT, DENOMINATIONS_MAX, Denominations, DenominationsError, SplitError,
};
pub use select::{Selection, select};
