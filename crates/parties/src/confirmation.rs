//! Confirmation: the code that came to the bank account makes the enrolment good.
//! Source: VarietyCash §3, Enrollment ("validation of this information"); G9 (the verdict is sealed to the asker).

use std::sync::Arc;

use florin_books::{
    Condition, Facts, Needs, OnceKey, PartyId, Record, Rejected, Timestamp, Transition, TxId,
};
use florin_crypto::{Digest, Envelope, Secret, VerifyKey, cbor};
use florin_rail::common::{
    ASK_STATUS, BAD_REQUEST, FAULT, MESSAGE_BYTES_MAX, OVERLOADED, SKEW_MS, check_exp,
};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName, cause, transcript};
use minicbor::{Decode, Encode};

use crate::enrolment::{acting, enrolment_of};
use crate::enrolment_state::{CODE_DIGITS, Enrolment, EnrolmentEvent, NotNow, Pending};
use crate::kinds::{RAIL, RAIL_NUMBER, STEP_CONFIRM};
use crate::participant::{Participant, Roles, party_id, write_participant};
use crate::refusal::ConfirmRefusal;
use crate::registration::lane_refused;
use crate::sealed::{OperatorKeys, ReplyFrame, Signed, read_signed};

pub(crate) const MESSAGE: &str = "confirm";
pub(crate) const REPLY: &str = "confirm-reply";

/// What the participant signs.
///
/// Shape: `[context, verify key, code, txid, exp]`; the code has ten digits.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(crate) struct Request {
    #[n(0)]
    pub(crate) context: Context,
    #[n(1)]
    pub(crate) verify_key: VerifyKey,
    #[n(2)]
    pub(crate) code: String,
    #[n(3)]
    pub(crate) txid: TxId,
    #[n(4)]
    pub(crate) exp: Timestamp,
}

impl Signed for Request {
    fn context(&self) -> &Context {
        &self.context
    }
    fn verify_key(&self) -> &VerifyKey {
        &self.verify_key
    }
}

/// The verdict, as the asker gets it.
///
/// Shape: `[0, roles] / [1, tries_left] / [2] / [3]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum ConfirmOutcome {
    /// Enrolled for these roles.
    #[n(0)]
    Enrolled(#[n(0)] Roles),
    /// Another code; so many tries are left.
    #[n(1)]
    WrongCode(#[n(0)] u8),
    /// Another code, for the last time: enrol again.
    #[n(2)]
    TooManyTries,
    /// Too late: enrol again.
    #[n(3)]
    CodeExpired,
}

impl ConfirmOutcome {
    /// The refusal that a verdict stands for; none if it is a yes.
    #[must_use]
    pub const fn refusal(&self) -> Option<ConfirmRefusal> {
        match self {
            Self::Enrolled(_) => None,
            Self::WrongCode(tries_left) => Some(ConfirmRefusal::WrongCode { tries_left: *tries_left }),
            Self::TooManyTries => Some(ConfirmRefusal::TooManyTries),
            Self::CodeExpired => Some(ConfirmRefusal::CodeExpired),
        }
    }
}

/// Step `confirm` at the operator; identity lane.
pub struct ConfirmStep {
    keys: Arc<OperatorKeys>,
}

/// A confirmation that was read and authenticated.
pub struct Confirmation {
    id: PartyId,
    verify_key: VerifyKey,
    code: String,
    txid: TxId,
    exp: Timestamp,
    cause: Digest,
    frame: ReplyFrame,
    reply_key: Secret<32>,
}

impl Confirmation {
    /// Whose it is.
    #[must_use]
    pub const fn id(&self) -> PartyId {
        self.id
    }

    fn once(&self) -> OnceKey {
        OnceKey { rail: RAIL_NUMBER, step: STEP_CONFIRM, party: self.id, txid: *self.txid.bytes() }
    }
}

impl ConfirmStep {
    /// The step with the operator's keys.
    #[must_use]
    pub const fn new(keys: Arc<OperatorKeys>) -> Self {
        Self { keys }
    }

    fn judge(
        opened: &Confirmation,
        participant: &Participant,
        facts: &Facts,
        moment: &mut Moment<'_>,
    ) -> Result<Decision, Refusal> {
        let enrolment = enrolment_of(facts, opened.id)?;
        let pending = enrolment.state.pending().ok_or(ConfirmRefusal::NoEnrolment.refusal())?;
        let (event, outcome) = verdict(pending, opened, moment.now);
        let after = enrolment.after(event).map_err(|NotNow| FAULT)?;

        let mut t = Transition::new(opened.cause, facts.as_of);
        t.once.push(opened.once());
        t.requires.push(Condition::NotAfter(opened.exp.plus_ms(SKEW_MS)));
        t.write(Enrolment::key_of(opened.id), cbor::encode(&after));
        t.seed = cbor::encode(&outcome);
        match outcome {
            ConfirmOutcome::Enrolled(roles) => {
                t.requires.push(Condition::NotAfter(pending.expires));
                write_participant(&mut t, &participant.with_roles(roles), moment.now, moment.entropy);
                Ok(Decision::Apply(t))
            }
            ConfirmOutcome::WrongCode(_) | ConfirmOutcome::TooManyTries | ConfirmOutcome::CodeExpired => {
                t.requires.push(Condition::Unchanged(participant.key()));
                Ok(Decision::Deny(t))
            }
        }
    }
}

fn verdict(pending: &Pending, opened: &Confirmation, now: Timestamp) -> (EnrolmentEvent, ConfirmOutcome) {
    if now > pending.expires {
        return (EnrolmentEvent::Void, ConfirmOutcome::CodeExpired);
    }
    if pending.is_code(opened.id, &opened.code) {
        return (EnrolmentEvent::RightCode, ConfirmOutcome::Enrolled(pending.wanted.roles));
    }
    let outcome = match pending.tries_left.saturating_sub(1) {
        0 => ConfirmOutcome::TooManyTries,
        left => ConfirmOutcome::WrongCode(left),
    };
    (EnrolmentEvent::WrongCode, outcome)
}

impl Step for ConfirmStep {
    type Opened = Confirmation;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: MESSAGE }
    }

    fn open(&self, body: &[u8], now: Timestamp) -> Result<Confirmation, Refusal> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(BAD_REQUEST);
        }
        let envelope: Envelope = cbor::decode_strict(body).map_err(|_| BAD_REQUEST)?;
        let (plaintext, exporter) = self.keys.open(RAIL, MESSAGE, &[], &envelope)?;
        let operator = self.keys.id();
        let request: Request =
            read_signed(&plaintext, |key| Context::new(RAIL, MESSAGE, party_id(key), operator))?;
        if !is_code(&request.code) {
            return Err(BAD_REQUEST);
        }
        check_exp(request.exp, now)?;
        let id = party_id(&request.verify_key);
        let frame = ReplyFrame::new(RAIL, REPLY, operator, id, transcript(RAIL, &[body]));
        Ok(Confirmation {
            id,
            verify_key: request.verify_key,
            code: request.code,
            txid: request.txid,
            exp: request.exp,
            cause: cause(RAIL, MESSAGE, body),
            reply_key: frame.key(&exporter),
            frame,
        })
    }

    fn needs(&self, opened: &Confirmation) -> Needs {
        let documents = vec![Participant::key_of(opened.id), Enrolment::key_of(opened.id)];
        Needs { documents, once: vec![opened.once()], ..Needs::default() }
    }

    fn decide(&self, opened: &Confirmation, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        let not_registered = ConfirmRefusal::NotRegistered.refusal();
        acting(facts, opened.id, &opened.verify_key, not_registered, ConfirmRefusal::Blocked.refusal())
            .and_then(|participant| Self::judge(opened, &participant, facts, moment))
            .unwrap_or_else(Decision::Refuse)
    }

    /// Where the code expires between deciding and the lane's own clock, the same bytes get that verdict next time.
    fn decide_refused(
        &self,
        opened: &Confirmation,
        facts: &Facts,
        why: &Rejected,
        _: &mut Moment<'_>,
    ) -> Decision {
        let expires = enrolment_of(facts, opened.id).ok().and_then(|e| e.state.pending().map(|p| p.expires));
        let code_only = expires.is_some_and(|expires| expires < opened.exp.plus_ms(SKEW_MS));
        match why {
            Rejected::TooLate if code_only => Decision::Refuse(OVERLOADED),
            _ => Decision::Refuse(lane_refused(why)),
        }
    }

    fn reply(&self, opened: &Confirmation, record: &Record) -> Result<Vec<u8>, Refusal> {
        let outcome: ConfirmOutcome =
            cbor::decode_strict(record.seed().ok_or(ASK_STATUS)?).map_err(|_| FAULT)?;
        Ok(opened.frame.seal(&opened.reply_key, &outcome))
    }
}

/// Ten digits.
#[must_use]
pub fn is_code(text: &str) -> bool {
    text.len() == CODE_DIGITS && text.bytes().all(|b| b.is_ascii_digit())
}
