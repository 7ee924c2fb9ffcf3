//! Where an enrolment stands: its document, its states and their one mover, the code.
//! Source: VarietyCash §3, Enrollment; house rule 8 (an enum for states at rest, one mover).

use florin_books::{DocumentKey, PartyId, Timestamp};
use florin_crypto::{Digest, Entropy, Secret, cbor, digest, random};
use minicbor::{Decode, Encode};

use crate::bank::{BankAccount, OrderId};
use crate::kinds::ENROLMENT;
use crate::participant::{Roles, day_of};

/// How many enrolments a participant may begin on one day (UTC).
pub const ENROLMENTS_PER_DAY_MAX: u8 = 3;
/// How many digits a code has.
pub const CODE_DIGITS: usize = 10;

/// What a participant is enrolled for, and with which account.
///
/// Shape: `[roles, account]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Confirmed {
    /// For what.
    #[n(0)]
    pub roles: Roles,
    /// Where its money comes from and goes to.
    #[n(1)]
    pub account: BankAccount,
}

/// An enrolment that waits for its code.
///
/// Shape: `[wanted, order, salt, code digest, tries_left, expires]`; the code itself is not in it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Pending {
    /// What is wanted.
    #[n(0)]
    pub wanted: Confirmed,
    /// The transfer that carries the code.
    #[n(1)]
    pub order: OrderId,
    /// Makes equal codes look different.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// `SHA-256("florin/v1/parties/code", participant, salt, code)`.
    #[n(3)]
    pub code_digest: Digest,
    /// How often it may still be tried.
    #[n(4)]
    pub tries_left: u8,
    /// Until when.
    #[n(5)]
    pub expires: Timestamp,
}

impl Pending {
    /// Whether it is the code, in constant time.
    #[must_use]
    pub fn is_code(&self, participant: PartyId, code: &str) -> bool {
        let tried = code_digest(participant, &self.salt, code);
        Secret::new(tried.0).ct_eq(&Secret::new(self.code_digest.0))
    }
}

pub(crate) fn code_digest(participant: PartyId, salt: &[u8; 16], code: &str) -> Digest {
    digest("florin/v1/parties/code", &[participant.bytes(), salt, code.as_bytes()])
}

/// Where an enrolment stands. What was confirmed stays good while something else waits for its code.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum EnrolmentState {
    /// Nothing is confirmed and nothing waits.
    #[n(0)]
    Idle,
    /// The first enrolment waits for its code.
    #[n(1)]
    Pending(#[n(0)] Pending),
    /// Confirmed.
    #[n(2)]
    Active(#[n(0)] Confirmed),
    /// Confirmed, and another one waits for its code.
    #[n(3)]
    Changing(#[n(0)] Confirmed, #[n(1)] Pending),
    /// Stopped by the operator; nothing is confirmed any more.
    #[n(4)]
    Blocked,
}

/// What can happen to an enrolment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EnrolmentEvent {
    /// The participant asks; this replaces what waits.
    Asked(Pending),
    /// The right code in time.
    RightCode,
    /// Another code.
    WrongCode,
    /// The code came too late, or its transfer did not arrive.
    Void,
    /// The operator stops it.
    Block,
    /// The operator lets it begin anew.
    Unblock,
}

/// The event is not possible in this state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the enrolment does not allow this now")]
pub struct NotNow;

impl EnrolmentState {
    /// The one mover.
    ///
    /// # Errors
    /// [`NotNow`].
    pub fn next(self, event: EnrolmentEvent) -> Result<Self, NotNow> {
        match (self, event) {
            (Self::Idle | Self::Pending(_), EnrolmentEvent::Asked(new)) => Ok(Self::Pending(new)),
            (Self::Active(old) | Self::Changing(old, _), EnrolmentEvent::Asked(new)) => {
                Ok(Self::Changing(old, new))
            }
            (Self::Pending(p) | Self::Changing(_, p), EnrolmentEvent::RightCode) => {
                Ok(Self::Active(p.wanted))
            }
            (Self::Pending(p), EnrolmentEvent::WrongCode) => {
                Ok(one_try_less(p).map_or(Self::Idle, Self::Pending))
            }
            (Self::Changing(old, p), EnrolmentEvent::WrongCode) => Ok(match one_try_less(p) {
                Some(p) => Self::Changing(old, p),
                None => Self::Active(old),
            }),
            (Self::Pending(_), EnrolmentEvent::Void) => Ok(Self::Idle),
            (Self::Changing(old, _), EnrolmentEvent::Void) => Ok(Self::Active(old)),
            (Self::Idle | Self::Pending(_) | Self::Active(_) | Self::Changing(..), EnrolmentEvent::Block) => {
                Ok(Self::Blocked)
            }
            (Self::Blocked, EnrolmentEvent::Unblock) => Ok(Self::Idle),
            (
                Self::Idle | Self::Active(_),
                EnrolmentEvent::RightCode | EnrolmentEvent::WrongCode | EnrolmentEvent::Void,
            )
            | (
                Self::Idle | Self::Pending(_) | Self::Active(_) | Self::Changing(..),
                EnrolmentEvent::Unblock,
            )
            | (
                Self::Blocked,
                EnrolmentEvent::Asked(_)
                | EnrolmentEvent::RightCode
                | EnrolmentEvent::WrongCode
                | EnrolmentEvent::Void
                | EnrolmentEvent::Block,
            ) => Err(NotNow),
        }
    }

    /// What waits for a code.
    #[must_use]
    pub const fn pending(&self) -> Option<&Pending> {
        match self {
            Self::Pending(p) | Self::Changing(_, p) => Some(p),
            Self::Idle | Self::Active(_) | Self::Blocked => None,
        }
    }

    /// What is confirmed now.
    #[must_use]
    pub const fn confirmed(&self) -> Option<&Confirmed> {
        match self {
            Self::Active(c) | Self::Changing(c, _) => Some(c),
            Self::Idle | Self::Pending(_) | Self::Blocked => None,
        }
    }
}

fn one_try_less(pending: Pending) -> Option<Pending> {
    let tries_left = pending.tries_left.saturating_sub(1);
    (tries_left > 0).then_some(Pending { tries_left, ..pending })
}

/// The enrolment of a participant (identity lane).
///
/// Shape: `[state, day, begun_that_day]`. Units: `day` counts days since 1970 (UTC).
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Enrolment {
    /// Where it stands.
    #[n(0)]
    pub state: EnrolmentState,
    /// The day of the last one begun.
    #[n(1)]
    pub day: u64,
    /// How many were begun on that day.
    #[n(2)]
    pub begun_that_day: u8,
}

impl Enrolment {
    /// Nothing yet.
    #[must_use]
    pub const fn none() -> Self {
        Self { state: EnrolmentState::Idle, day: 0, begun_that_day: 0 }
    }

    /// The document of a participant's enrolment.
    #[must_use]
    pub const fn key_of(id: PartyId) -> DocumentKey {
        DocumentKey::new(ENROLMENT, *id.bytes())
    }

    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }

    /// What is confirmed now.
    #[must_use]
    pub const fn confirmed(&self) -> Option<&Confirmed> {
        self.state.confirmed()
    }

    /// The same after an event.
    ///
    /// # Errors
    /// [`NotNow`].
    pub fn after(&self, event: EnrolmentEvent) -> Result<Self, NotNow> {
        Ok(Self { state: self.state.clone().next(event)?, ..self.clone() })
    }

    /// The transfer with the code did not arrive: the same without what waits for it. Nothing if nothing waits for it.
    #[must_use]
    pub fn undelivered(&self, order: OrderId) -> Option<Self> {
        self.state.pending().filter(|p| p.order == order)?;
        self.after(EnrolmentEvent::Void).ok()
    }

    /// One more begun at this time; none if that is too many for the day.
    pub(crate) fn count(&self, now: Timestamp) -> Option<Self> {
        let day = day_of(now);
        let begun = if self.day == day { self.begun_that_day } else { 0 };
        let begun_that_day = begun.checked_add(1).filter(|n| *n <= ENROLMENTS_PER_DAY_MAX)?;
        Some(Self { day, begun_that_day, ..self.clone() })
    }
}

/// Ten digits, each code equally likely but for one part in 10^9.
pub(crate) fn draw_code(entropy: &mut dyn Entropy) -> String {
    let number = u64::from_be_bytes(random(entropy)).checked_rem(10_000_000_000).unwrap_or_default();
    format!("{number:010}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use florin_crypto::SeededEntropy;

    fn confirmed(roles: Roles) -> Confirmed {
        Confirmed { roles, account: "DE89370400440532013000".parse().unwrap() }
    }

    fn pending(roles: Roles, tries_left: u8) -> Pending {
        Pending {
            wanted: confirmed(roles),
            order: OrderId::new([1; 16]),
            salt: [2; 16],
            code_digest: code_digest(PartyId::NONE, &[2; 16], "0123456789"),
            tries_left,
            expires: Timestamp(3),
        }
    }

    #[test]
    fn the_state_machine_is_this_table() {
        let (p, q, r) = (Roles::PURCHASER, Roles::REDEEMER, Roles::BOTH);
        let states = [
            EnrolmentState::Idle,
            EnrolmentState::Pending(pending(p, 5)),
            EnrolmentState::Active(confirmed(q)),
            EnrolmentState::Changing(confirmed(q), pending(p, 1)),
            EnrolmentState::Blocked,
        ];
        let events = [
            EnrolmentEvent::Asked(pending(r, 5)),
            EnrolmentEvent::RightCode,
            EnrolmentEvent::WrongCode,
            EnrolmentEvent::Void,
            EnrolmentEvent::Block,
            EnrolmentEvent::Unblock,
        ];
        let say = |s: &Result<EnrolmentState, NotNow>| match s {
            Ok(EnrolmentState::Idle) => "idle".to_owned(),
            Ok(EnrolmentState::Pending(w)) => format!("pending{}/{}", w.wanted.roles.bits(), w.tries_left),
            Ok(EnrolmentState::Active(c)) => format!("active{}", c.roles.bits()),
            Ok(EnrolmentState::Changing(c, w)) => {
                format!("changing{}>{}/{}", c.roles.bits(), w.wanted.roles.bits(), w.tries_left)
            }
            Ok(EnrolmentState::Blocked) => "blocked".to_owned(),
            Err(NotNow) => "-".to_owned(),
        };
        let table = [
            "pending3/5 - - - blocked -",
            "pending3/5 active1 pending1/4 idle blocked -",
            "changing2>3/5 - - - blocked -",
            "changing2>3/5 active1 active2 active2 blocked -",
            "- - - - - idle",
        ];
        for (state, row) in states.into_iter().zip(table) {
            let said: Vec<_> = events.iter().map(|e| say(&state.clone().next(e.clone()))).collect();
            assert_eq!(said.join(" "), row, "{state:?}");
        }
    }

    #[test]
    fn a_code_is_ten_digits_and_the_digest_is_of_one_participant() {
        let mut entropy = SeededEntropy::from_number(1);
        let codes: Vec<_> = (0..200).map(|_| draw_code(&mut entropy)).collect();
        assert!(codes.iter().all(|c| crate::confirmation::is_code(c)));
        assert!(codes.iter().any(|c| c.starts_with('0')), "leading zeros stay");
        let waiting = pending(Roles::BOTH, 5);
        assert!(waiting.is_code(PartyId::NONE, "0123456789"));
        assert!(!waiting.is_code(PartyId::NONE, "0123456780"));
        assert!(!waiting.is_code(PartyId::new([1; 16]), "0123456789"));
    }
}
