//! Refusals that every step shares. Source: G6, G9; books.md.

use florin_crypto::{Digest, Secret, derive, digest};

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
/// The asker has withdrawn this request: it was not done and never will be.
pub const WITHDRAWN: Refusal = Refusal::new("withdrawn", Class::Gone, Blame::Asker, false);
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

/// What is after a step's path where its request is withdrawn.
pub const WITHDRAW: &str = "/withdraw";

/// What an operator shows to prove that a request was withdrawn: nobody else has the key of its reply. ADR 0036.
#[must_use]
pub fn withdrawn_proof(reply_key: &Secret<32>) -> Secret<32> {
    derive(&[reply_key.expose()], b"florin/v1/withdrawn")
}

/// What an asker keeps, to know the proof by.
#[must_use]
pub fn withdrawn_digest(proof: &[u8]) -> Digest {
    digest("florin/v1/withdrawn", &[proof])
}

/// Whether an `exp` is acceptable now. Source: G6.
///
/// # Errors
/// `request-expired`.
pub fn check_exp(exp: florin_books::Timestamp, now: florin_books::Timestamp) -> Result<(), Refusal> {
    let latest = now.plus_ms(EXP_AHEAD_MAX_MS).plus_ms(SKEW_MS);
    if exp.plus_ms(SKEW_MS) < now || exp > latest { Err(REQUEST_EXPIRED) } else { Ok(()) }
}
