//! Refusals of this rail. Source: docs/problems.md, "coin"; G9.

use florin_rail::{Blame, Class, Refusal};

/// The operator has stopped this participant.
pub const PARTICIPANT_BLOCKED: Refusal =
    Refusal::new("participant-blocked", Class::Denied, Blame::Operator, false);
/// Buying and redeeming need enrolment for the role.
pub const NOT_ENROLLED: Refusal = Refusal::new("not-enrolled", Class::Denied, Blame::Asker, false);
/// The account is not the one that was enrolled.
pub const OTHER_ACCOUNT: Refusal = Refusal::new("account-not-enrolled", Class::Denied, Blame::Asker, false);
/// The operator does not issue this currency.
pub const WRONG_CURRENCY: Refusal = Refusal::new("wrong-currency", Class::BadRequest, Blame::Asker, false);
/// The list asks for values that are no denominations, or does not add up to the amount.
pub const WRONG_DENOMINATIONS: Refusal =
    Refusal::new("wrong-denominations", Class::BadRequest, Blame::Asker, false);
/// More coins than one message may give or ask for, or none.
pub const WRONG_COIN_COUNT: Refusal =
    Refusal::new("wrong-coin-count", Class::BadRequest, Blame::Asker, false);
/// The purchase took too long to begin: begin again.
pub const PURCHASE_EXPIRED: Refusal = Refusal::new("purchase-expired", Class::Gone, Blame::Asker, false);
/// The purchase is more than the operator sells at once.
pub const PURCHASE_TOO_LARGE: Refusal =
    Refusal::new("purchase-too-large", Class::Denied, Blame::Asker, false);
/// So many purchases of this participant wait for the bank that no other is begun before it has spoken.
pub const TOO_MANY_PURCHASES: Refusal =
    Refusal::new("too-many-purchases", Class::TooMany, Blame::Asker, false);
/// The bank has not spoken yet, or the payment may still happen: ask again.
pub const NOT_YET: Refusal = Refusal::new("not-yet", Class::NotYet, Blame::Nobody, true);
/// The payment cannot be accepted. Only the payer's sealed verdict, where there is one, says why.
pub const PAYMENT_DENIED: Refusal = Refusal::new("payment-denied", Class::Denied, Blame::Payer, false);
/// The payment's deadline has passed.
pub const PAYMENT_EXPIRED: Refusal = Refusal::new("payment-expired", Class::Gone, Blame::Payer, false);
/// The payee has gathered less than it wants to redeem, or nothing.
pub const NOT_ENOUGH_GATHERED: Refusal =
    Refusal::new("not-enough-gathered", Class::Denied, Blame::Asker, false);
/// A box of the post takes one message.
pub const BOX_FULL: Refusal = Refusal::new("box-full", Class::Conflict, Blame::Asker, false);
/// There is no such box, or its time is over.
pub const NO_BOX: Refusal = Refusal::new("no-such-box", Class::NotFound, Blame::Asker, false);
/// The key module does not answer; what is recorded stands.
pub const MODULE_AWAY: Refusal = Refusal::new("module-away", Class::Unavailable, Blame::Operator, true);
/// The operator winds down: coins that it could issue now would be good for nothing. Redeem is open as before.
pub const ISSUING_ENDED: Refusal = Refusal::new("issuing-ended", Class::Gone, Blame::Operator, false);
/// Nothing was ever issued to this holder.
pub const NOTHING_TO_REFUND: Refusal =
    Refusal::new("nothing-to-refund", Class::NotFound, Blame::Asker, false);
/// So much was issued to this holder that a refund has to come first: it makes one entry of all.
pub const REFUND_LIST_FULL: Refusal = Refusal::new("refund-list-full", Class::Conflict, Blame::Asker, false);
