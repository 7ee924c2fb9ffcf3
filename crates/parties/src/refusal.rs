//! Why a step of this rail says no: one enum for each operation, causes in checking order.
//! Source: house rules 10-12; docs/problems.md has a heading for each slug.

use florin_rail::common::{BAD_REQUEST, REQUEST_EXPIRED};
use florin_rail::{Blame, Class, Refusal};

/// Why a registration is refused, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegisterRefusal {
    /// It cannot be read or trusted.
    #[error("the request cannot be read or trusted")]
    BadRequest,
    /// Its `exp` has passed, or lies too far ahead.
    #[error("the request has expired")]
    Expired,
    /// The chosen identity is not a name.
    #[error("not a name")]
    NameNotAllowed,
    /// The participant was stopped by the operator.
    #[error("the participant is blocked")]
    Blocked,
    /// The same signing key is registered, with another name or KEM key.
    #[error("registered already, with other data")]
    AlreadyRegistered,
    /// Somebody else has the name.
    #[error("the name is taken")]
    NameTaken,
}

impl RegisterRefusal {
    /// What the asker gets.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::BadRequest => BAD_REQUEST,
            Self::Expired => REQUEST_EXPIRED,
            Self::NameNotAllowed => Refusal::new("name-not-allowed", Class::BadRequest, Blame::Asker, false),
            Self::Blocked => BLOCKED,
            Self::AlreadyRegistered => {
                Refusal::new("already-registered", Class::Conflict, Blame::Asker, false)
            }
            Self::NameTaken => Refusal::new("name-taken", Class::Conflict, Blame::Asker, false),
        }
    }
}

/// Why an enrolment is refused, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EnrolRefusal {
    /// It cannot be read or trusted.
    #[error("the request cannot be read or trusted")]
    BadRequest,
    /// Its `exp` has passed, or lies too far ahead.
    #[error("the request has expired")]
    Expired,
    /// The text is no bank account.
    #[error("not a bank account")]
    AccountNotValid,
    /// The asker is no participant.
    #[error("not registered")]
    NotRegistered,
    /// The participant was stopped by the operator.
    #[error("the participant is blocked")]
    Blocked,
    /// So many enrolments on one day.
    #[error("too many enrolments today")]
    TooMany {
        /// Seconds until the next day.
        retry_after_s: u32,
    },
}

impl EnrolRefusal {
    /// What the asker gets.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::BadRequest => BAD_REQUEST,
            Self::Expired => REQUEST_EXPIRED,
            Self::AccountNotValid => {
                Refusal::new("account-not-valid", Class::BadRequest, Blame::Asker, false)
            }
            Self::NotRegistered => NOT_REGISTERED,
            Self::Blocked => BLOCKED,
            Self::TooMany { retry_after_s } => {
                Refusal::new("too-many-enrolments", Class::TooMany, Blame::Asker, false).after(*retry_after_s)
            }
        }
    }
}

/// Why a confirmation is refused, in checking order. The last three are recorded and stand only in the sealed reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfirmRefusal {
    /// It cannot be read or trusted.
    #[error("the request cannot be read or trusted")]
    BadRequest,
    /// Its `exp` has passed, or lies too far ahead.
    #[error("the request has expired")]
    Expired,
    /// The asker is no participant.
    #[error("not registered")]
    NotRegistered,
    /// The participant was stopped by the operator.
    #[error("the participant is blocked")]
    Blocked,
    /// No code is waited for.
    #[error("no enrolment waits for a code")]
    NoEnrolment,
    /// The code came too late.
    #[error("the code has expired")]
    CodeExpired,
    /// Another code.
    #[error("the code is wrong; {tries_left} tries left")]
    WrongCode {
        /// How often it may still be tried.
        tries_left: u8,
    },
    /// Another code, for the last time.
    #[error("the code was wrong too often")]
    TooManyTries,
}

impl ConfirmRefusal {
    /// What the asker gets, or what its wallet shows for a verdict.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::BadRequest => BAD_REQUEST,
            Self::Expired => REQUEST_EXPIRED,
            Self::NotRegistered => NOT_REGISTERED,
            Self::Blocked => BLOCKED,
            Self::NoEnrolment => Refusal::new("no-enrolment", Class::NotFound, Blame::Asker, false),
            Self::CodeExpired => Refusal::new("code-expired", Class::Gone, Blame::Asker, false),
            Self::WrongCode { .. } => Refusal::new("wrong-code", Class::Denied, Blame::Asker, false),
            Self::TooManyTries => Refusal::new("too-many-tries", Class::Denied, Blame::Asker, false),
        }
    }
}

/// The asker is no participant; other rails say the same.
pub const NOT_REGISTERED: Refusal = Refusal::new("not-registered", Class::Denied, Blame::Asker, true);
/// The participant was stopped by the operator; other rails say the same.
pub const BLOCKED: Refusal = Refusal::new("participant-blocked", Class::Denied, Blame::Operator, true);
