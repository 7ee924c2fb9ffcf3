//! Refusals that every step shares. Source: G6, G9; books.md.

use crate::refusal::{Blame, Class, Refusal};

/// Before the asker is known, every failure is this one (G9).
pub const BAD_REQUEST: Refusal = Refusal::new("bad-request", Class::BadRequest, Blame::Asker, false);
/// The request id was used with another content.
pub const REQUEST_ID_REUSED: Refusal =
    Refusal::new("request-id-reused", Class::Conflict, Blame::Asker, false);
/// The request's `exp` has passed, or lies more than 24 h ahead.
pub const REQUEST_EXPIRED: Refusal = Refusal::new("request-expired", Class::Gone, Blame::Asker, false);
/// No room on the operator's disk; nothing was applied.
pub const STORAGE_FULL: Refusal = Refusal::new("storage-full", Class::StorageFull, Blame::Operator, true);
/// Too much at once.
pub const OVERLOADED: Refusal = Refusal::new("overloaded", Class::Unavailable, Blame::Nobody, true);
/// Whether it happened is not known yet: send the same bytes again.
pub const OUTCOME_OPEN: Refusal = Refusal::new("outcome-open", Class::Unavailable, Blame::Operator, true);
/// The reply can no longer be given again: ask for the status instead.
pub const ASK_STATUS: Refusal = Refusal::new("ask-status", Class::Gone, Blame::Asker, false);
/// A broken invariant of the program; its log has the details.
pub const FAULT: Refusal = Refusal::new("fault", Class::Fault, Blame::Operator, true);

/// `exp` lies at most this far ahead.
pub const EXP_AHEAD_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// Clocks may differ by so much.
pub const SKEW_MS: u64 = 5 * 60 * 1000;
/// A message has at most so many bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Whether an `exp` is acceptable now. Source: G6.
///
/// # Errors
/// `request-expired`.
pub fn check_exp(exp: florin_books::Timestamp, now: florin_books::Timestamp) -> Result<(), Refusal> {
    let latest = now.plus_ms(EXP_AHEAD_MAX_MS).plus_ms(SKEW_MS);
    if exp.plus_ms(SKEW_MS) < now || exp > latest { Err(REQUEST_EXPIRED) } else { Ok(()) }
}
