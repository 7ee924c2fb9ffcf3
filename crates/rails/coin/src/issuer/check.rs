//! `check`: would this payment go through right now? Read-only, and no promise.
//! Source: web.md, "Florin's profile" (`/verify` is this step) and §2.4 (verify, service, settle); VarietyCash §3.2 (3),
//! whose checks it shares with ValidationReq.

use std::sync::Arc;

use florin_books::{Facts, Needs, Record, Rejected, Timestamp};
use florin_rail::common::FAULT;
use florin_rail::{Decision, Moment, Refusal, Step, StepName};

use super::keys::Issuer;
use super::payment::{OpenedPayment, PaymentStep};
use crate::kinds::RAIL;
use crate::messages::{CheckAnswer, Outcome, WouldBe};

/// `check`.
pub struct CheckStep(PaymentStep);

impl CheckStep {
    /// The step of an issuer.
    #[must_use]
    pub const fn new(issuer: Arc<Issuer>) -> Self {
        Self(PaymentStep(issuer))
    }

    fn answer(&self, o: &OpenedPayment, would_be: WouldBe) -> Vec<u8> {
        o.seal(&self.0.0, "check-reply", &CheckAnswer { would_be })
    }
}

impl Step for CheckStep {
    type Opened = OpenedPayment;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "check" }
    }

    fn open(&self, body: &[u8], now: Timestamp) -> Result<OpenedPayment, Refusal> {
        self.0.open_as("check", body, now)
    }

    fn needs(&self, o: &OpenedPayment) -> Needs {
        Needs { tokens: o.tokens(), ..self.0.needs(o) }
    }

    fn is_authentic(&self, o: &OpenedPayment, facts: &Facts) -> bool {
        self.0.is_authentic(o, facts)
    }

    fn decide(&self, o: &OpenedPayment, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        let coins = match self.0.admit(o, facts, moment.now) {
            Err(refusal) => return Decision::Refuse(refusal),
            Ok(coins) => coins,
        };
        let would_be = match o.outcome(coins) {
            Outcome::Paid if facts.dead.is_empty() => WouldBe::Paid,
            Outcome::AmountMismatch => WouldBe::AmountMismatch,
            Outcome::Paid | Outcome::Denied | Outcome::Never => WouldBe::Denied,
        };
        Decision::Answer(self.answer(o, would_be))
    }

    /// Nothing is committed, so nothing is refused.
    fn decide_refused(&self, _: &OpenedPayment, _: &Facts, _: &Rejected, _: &mut Moment<'_>) -> Decision {
        Decision::Refuse(FAULT)
    }

    /// One of the payment's once keys is taken.
    fn reply(&self, o: &OpenedPayment, _: &Record) -> Result<Vec<u8>, Refusal> {
        Ok(self.answer(o, WouldBe::Decided))
    }

    /// Whatever took the once key: that it is taken is the answer.
    fn may_reissue(&self, _: &OpenedPayment, _: &Record, _: &Facts) -> bool {
        true
    }
}
