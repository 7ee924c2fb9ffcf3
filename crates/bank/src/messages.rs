//! What stands in the JSON of the sandbox bank's API; one type for each request and answer, for both sides.
//!
//! Units: amounts are text such as `12.30 FLO`, balances may begin with a minus; times are milliseconds since
//! 1970-01-01 UTC. Errors: an unknown or missing member is `bad-request`. Source: docs/bank.md.

use florin_money::{Amount, Currency, ParseAmountError};
use serde::{Deserialize, Serialize};

/// Opens an account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAccount {
    /// The request: `tx_` and 32 hexadecimal digits, drawn at random. Whoever knows it gets the access secret.
    pub txid: String,
    /// Whose account it will be, at most 70 characters.
    pub holder: String,
    /// A chosen account number of at most 10 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
}

/// The account, and the secret that opens it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountOpened {
    /// Its number.
    pub iban: String,
    /// For `Authorization: Bearer`.
    pub access: String,
}

/// Pays cash in at the counter of the sandbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deposit {
    /// The request.
    pub txid: String,
    /// How much.
    pub amount: String,
}

/// Transfers to another account, here or at a peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The request.
    pub txid: String,
    /// The payee's account.
    pub to: String,
    /// How much.
    pub amount: String,
    /// At most 140 characters.
    pub remittance: String,
}

/// How a transfer stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferTaken {
    /// Its id: `order_` and 32 hexadecimal digits.
    pub order: String,
    /// `booked`, or `sent` to the other bank.
    pub state: String,
}

/// Forbids or allows collecting from the account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MandateBlock {
    /// The request.
    pub txid: String,
    /// Whether collecting is forbidden.
    pub blocked: bool,
}

/// Closes an empty account for good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseAccount {
    /// The request.
    pub txid: String,
}

/// An account as its holder sees it; also the answer to what changes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountView {
    /// Its number.
    pub iban: String,
    /// Whose it is.
    pub holder: String,
    /// `open` or `closed`.
    pub state: String,
    /// What stands on the statement.
    pub balance: String,
    /// What can be disposed of: the balance less what is set aside for orders.
    pub available: String,
    /// Whether collecting is forbidden.
    pub debits_blocked: bool,
}

/// A statement, or a part of one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The account.
    pub iban: String,
    /// Whose it is.
    pub holder: String,
    /// The balance before the first entry.
    pub opening: String,
    /// The entries, oldest first.
    pub entries: Vec<StatementLine>,
    /// The balance after the last entry.
    pub closing: String,
    /// `since` for what comes after.
    pub next: u64,
    /// Whether there is more already.
    pub more: bool,
}

/// One line of a statement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementLine {
    /// Its number; the first is 1, none is left out.
    pub number: u64,
    /// When it was booked.
    pub at_unix_ms: u64,
    /// `deposit`, `transfer`, `direct-debit` or `return`.
    pub kind: String,
    /// `credit` or `debit`.
    pub direction: String,
    /// How much.
    pub amount: String,
    /// The balance after it.
    pub balance: String,
    /// The other side's account; none for the counter.
    pub other: Option<String>,
    /// The other side's name, where the bank knows it.
    pub other_name: String,
    /// What was written with it.
    pub remittance: String,
    /// The order, on the side that gave it.
    pub order: Option<String>,
    /// Why it came back.
    pub reason: Option<String>,
}

/// Orders of an operator. Each is carried out once by its id, which is its txid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitOrders {
    /// The account that the orders are given for.
    pub account: String,
    /// At most 50.
    pub orders: Vec<OrderText>,
}

/// One order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderText {
    /// `order_` and 32 hexadecimal digits.
    pub id: String,
    /// `credit`: pay the account. `debit`: collect from it.
    pub direction: String,
    /// The other side's account.
    pub account: String,
    /// How much.
    pub amount: String,
    /// At most 140 characters.
    pub remittance: String,
    /// For a debit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mandate: Option<MandateText>,
}

/// The mandate of a debit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MandateText {
    /// At most 35 characters.
    pub id: String,
    /// When it was signed.
    pub signed_at_unix_ms: u64,
}

/// That the bank has the orders.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersTaken {
    /// In the order of the submission.
    pub orders: Vec<OrderTaken>,
}

/// That the bank has an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderTaken {
    /// Which.
    pub id: String,
    /// When it came first.
    pub received_at_unix_ms: u64,
}

/// News of an account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// Oldest first.
    pub events: Vec<EventText>,
    /// `since` for what comes after.
    pub cursor: u64,
}

/// A piece of news.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventText {
    /// The bank's reference, 32 hexadecimal digits: what makes it count once.
    pub id: String,
    /// When it happened.
    pub at_unix_ms: u64,
    /// What happened.
    pub news: NewsText,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum NewsText {
    /// Somebody paid into the account; cash names the account itself as payer.
    Credited {
        /// How much.
        amount: String,
        /// From which account.
        payer: String,
        /// What the payer wrote.
        remittance: String,
    },
    /// An order was taken up.
    Accepted {
        /// Which.
        order: String,
    },
    /// The money of an order has moved.
    Booked {
        /// Which.
        order: String,
    },
    /// An order was refused before its money moved.
    Rejected {
        /// Which.
        order: String,
        /// ISO 20022 reason.
        reason: String,
    },
    /// The money of an order has moved back.
    Returned {
        /// Which.
        order: String,
        /// ISO 20022 reason.
        reason: String,
    },
}

/// From bank to bank: move money on one of your customers' accounts, against the clearing account between us.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterbankPayment {
    /// The request; the same in every repetition.
    pub txid: String,
    /// The asking bank.
    pub from: String,
    /// `credit`: pay the customer. `debit`: take from the customer.
    pub direction: String,
    /// The customer's account.
    pub account: String,
    /// How much.
    pub amount: String,
    /// The other side's account.
    pub other: String,
    /// The other side's name.
    pub other_name: String,
    /// What was written with it.
    pub remittance: String,
    /// Undoes an earlier payment, for this reason; then neither funds nor blocks are asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_reason: Option<String>,
}

/// What the other bank did; final.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", deny_unknown_fields)]
pub enum InterbankOutcome {
    /// The money has moved.
    Booked,
    /// It has not, and will not.
    Rejected {
        /// ISO 20022 reason.
        reason: String,
    },
}

/// Sets the booking delay of a running sandbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetDelay {
    /// The request.
    pub txid: String,
    /// For orders from now on; at most ten days.
    pub delay_ms: u64,
}

/// Rejects the next orders.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetReject {
    /// The request.
    pub txid: String,
    /// Orders that touch this account; any order if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// ISO 20022 reason.
    pub reason: String,
    /// How many; 0 takes earlier rules of the same account back.
    pub times: u32,
}

/// Returns a booked order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnOrder {
    /// The request.
    pub txid: String,
    /// Which.
    pub order: String,
    /// ISO 20022 reason.
    pub reason: String,
}

/// Done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// Always true.
    pub done: bool,
}

/// What `/.well-known/florin-bank` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankCard {
    /// What people call it.
    pub name: String,
    /// Its code.
    pub bank_code: String,
    /// The code of its currency.
    pub currency: String,
    /// The number of decimals of its currency.
    pub exponent: u8,
    /// Play money only: always true.
    pub test: bool,
}

/// A balance as text: an amount, with a minus before it where the customer owes.
#[must_use]
pub fn balance_text(minor: i64, currency: Currency) -> String {
    let amount = Amount::new(minor.unsigned_abs(), currency);
    if minor < 0 { format!("-{amount}") } else { amount.to_string() }
}

/// Reads a balance in minor units.
///
/// # Errors
/// Where it is not an amount of this currency, with or without a minus.
pub fn parse_balance(text: &str, currency: Currency) -> Result<i64, ParseAmountError> {
    let (number, sign) = text.strip_prefix('-').map_or((text, 1), |rest| (rest, -1));
    let minor = Amount::parse(number, &[currency])?.minor();
    let minor = i64::try_from(minor).map_err(|_| ParseAmountError::Overflow)?;
    Ok(minor.saturating_mul(sign))
}

#[cfg(test)]
#[allow(clippy::inconsistent_digit_grouping, reason = "units and cents")]
mod tests {
    use super::*;

    #[test]
    fn balances_are_read_as_they_are_written() {
        for (minor, text) in
            [(0, "0.00 FLO"), (12_30, "12.30 FLO"), (-5, "-0.05 FLO"), (i64::MAX, "92233720368547758.07 FLO")]
        {
            assert_eq!(balance_text(minor, Currency::FLO), text);
            assert_eq!(parse_balance(text, Currency::FLO), Ok(minor));
        }
        for bad in ["", "-", "--1 FLO", "1 EUR", "1", "92233720368547758.08 FLO"] {
            assert!(parse_balance(bad, Currency::FLO).is_err(), "{bad}");
        }
    }
}
