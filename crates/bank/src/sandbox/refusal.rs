//! What the sandbox bank refuses, and the ISO 20022 reason codes with which it rejects orders.
//! Source: ISO 20022 external code set, ExternalStatusReason1Code; house rule 12.

use florin_rail::{Blame, Class, Refusal};

/// The access secret is missing or belongs to another account, or there is no such account.
pub const WRONG_ACCESS: Refusal = Refusal::new("wrong-access", Class::Denied, Blame::Asker, false);
/// The bank keeps accounts in one currency, and this is another.
pub const WRONG_CURRENCY: Refusal = Refusal::new("wrong-currency", Class::BadRequest, Blame::Asker, false);
/// Zero, or beyond what a bank transfers at once.
pub const WRONG_AMOUNT: Refusal = Refusal::new("wrong-amount", Class::BadRequest, Blame::Asker, false);
/// The account holds less than that.
pub const INSUFFICIENT_FUNDS: Refusal =
    Refusal::new("insufficient-funds", Class::Conflict, Blame::Asker, true);
/// No such account at this bank.
pub const ACCOUNT_UNKNOWN: Refusal = Refusal::new("account-unknown", Class::NotFound, Blame::Asker, true);
/// The account is closed.
pub const ACCOUNT_CLOSED: Refusal = Refusal::new("account-closed", Class::Conflict, Blame::Asker, false);
/// The account still holds or owes money, or orders are under way.
pub const ACCOUNT_NOT_EMPTY: Refusal = Refusal::new("account-not-empty", Class::Conflict, Blame::Asker, true);
/// The chosen account number belongs to somebody.
pub const ACCOUNT_NUMBER_TAKEN: Refusal =
    Refusal::new("account-number-taken", Class::Conflict, Blame::Asker, false);
/// The account is at a bank that this one does not know.
pub const BANK_UNKNOWN: Refusal = Refusal::new("bank-unknown", Class::NotFound, Blame::Asker, false);
/// The order id belongs to another order.
pub const ORDER_ID_REUSED: Refusal = Refusal::new("order-id-reused", Class::Conflict, Blame::Asker, false);
/// More orders than one submission may hold.
pub const TOO_MANY_ORDERS: Refusal = Refusal::new("too-many-orders", Class::TooLarge, Blame::Asker, false);
/// No such order.
pub const ORDER_UNKNOWN: Refusal = Refusal::new("order-unknown", Class::NotFound, Blame::Asker, false);
/// Only what was booked can be returned.
pub const ORDER_NOT_BOOKED: Refusal = Refusal::new("order-not-booked", Class::Conflict, Blame::Asker, true);
/// The cursor lies after the last news: it was given by other books.
pub const CURSOR_UNKNOWN: Refusal = Refusal::new("cursor-unknown", Class::Conflict, Blame::Asker, false);
/// More rejection rules than the sandbox keeps.
pub const TOO_MANY_RULES: Refusal = Refusal::new("too-many-rules", Class::Conflict, Blame::Asker, false);

/// The debtor's account number is unknown.
pub const AC01: &str = "AC01";
/// The creditor's account number is unknown.
pub const AC03: &str = "AC03";
/// The account is closed.
pub const AC04: &str = "AC04";
/// Insufficient funds.
pub const AM04: &str = "AM04";
/// No mandate, or the holder does not allow debits.
pub const MD01: &str = "MD01";
/// The bank is unknown.
pub const RC01: &str = "RC01";
