//! Enrolment: a registered participant asks for a role and names a bank account; a code in a transfer of one minor unit
//! shows that it reads that account. Source: VarietyCash §3, Enrollment (on-line and out-of-band steps).

use std::sync::Arc;

use florin_books::{
    Account, Condition, Facts, Needs, OnceKey, PartyId, Record, Rejected, Timestamp, Transition, TxId,
};
use florin_crypto::{Digest, Envelope, Secret, VerifyKey, cbor, random};
use florin_money::{Amount, Currency};
use florin_rail::common::{ASK_STATUS, BAD_REQUEST, FAULT, MESSAGE_BYTES_MAX, SKEW_MS, check_exp};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName, cause, transcript};
use minicbor::{Decode, Encode};

use crate::bank::{Direction, Order, OrderId};
use crate::enrolment_state::{Confirmed, Enrolment, EnrolmentEvent, NotNow, Pending, code_digest, draw_code};
use crate::kinds::{RAIL, RAIL_NUMBER, STEP_ENROL};
use crate::participant::{Participant, Roles, day_of, party_id};
use crate::refusal::EnrolRefusal;
use crate::registration::lane_refused;
use crate::sealed::{OperatorKeys, ReplyFrame, Signed, read_signed};
use crate::treasury::{self, Purpose};

pub(crate) const MESSAGE: &str = "enrol";
pub(crate) const REPLY: &str = "enrol-reply";

/// How often a code may be tried.
pub const CODE_TRIES_MAX: u8 = 5;
/// How long a code is good: a transfer may take some bank days.
pub const CODE_DAYS: u64 = 14;
/// What stands before the code on the statement.
pub const CODE_PREFIX: &str = "FLORIN CODE ";

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What the participant signs.
///
/// Shape: `[context, verify key, roles, account, txid, exp]`; the account as a payto URI or an IBAN.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(crate) struct Request {
    #[n(0)]
    pub(crate) context: Context,
    #[n(1)]
    pub(crate) verify_key: VerifyKey,
    #[n(2)]
    pub(crate) roles: Roles,
    #[n(3)]
    pub(crate) account: String,
    #[n(4)]
    pub(crate) txid: TxId,
    #[n(5)]
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

/// What the asker learns: a code was sent.
///
/// Shape: `[expires, amount, tries]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct CodeSent {
    /// Until when the code is good.
    #[n(0)]
    pub expires: Timestamp,
    /// How much the transfer carries.
    #[n(1)]
    pub amount: Amount,
    /// How often a code may be tried.
    #[n(2)]
    pub tries: u8,
}

/// Step `enrol` at the operator; identity lane.
pub struct EnrolStep {
    keys: Arc<OperatorKeys>,
    currency: Currency,
}

/// An enrolment request that was read and authenticated.
pub struct EnrolRequest {
    id: PartyId,
    verify_key: VerifyKey,
    wanted: Confirmed,
    txid: TxId,
    exp: Timestamp,
    cause: Digest,
    frame: ReplyFrame,
    reply_key: Secret<32>,
}

impl EnrolRequest {
    /// Whose it is.
    #[must_use]
    pub const fn id(&self) -> PartyId {
        self.id
    }

    fn once(&self) -> OnceKey {
        OnceKey { rail: RAIL_NUMBER, step: STEP_ENROL, party: self.id, txid: *self.txid.bytes() }
    }
}

impl EnrolStep {
    /// The step with the operator's keys; codes travel in one minor unit of this currency.
    #[must_use]
    pub const fn new(keys: Arc<OperatorKeys>, currency: Currency) -> Self {
        Self { keys, currency }
    }

    fn begin(
        &self,
        opened: &EnrolRequest,
        enrolment: &Enrolment,
        facts: &Facts,
        moment: &mut Moment<'_>,
    ) -> Result<Transition, Refusal> {
        let too_many = || EnrolRefusal::TooMany { retry_after_s: until_next_day_s(moment.now) }.refusal();
        let counted = enrolment.count(moment.now).ok_or_else(too_many)?;
        let salt = random(moment.entropy);
        let code = draw_code(moment.entropy);
        let order = Order {
            id: OrderId::new(random(moment.entropy)),
            direction: Direction::Credit,
            account: opened.wanted.account.clone(),
            amount: Amount::new(1, self.currency),
            remittance: format!("{CODE_PREFIX}{code}"),
            mandate: None,
        };
        let pending = Pending {
            wanted: opened.wanted.clone(),
            order: order.id,
            salt,
            code_digest: code_digest(opened.id, &salt, &code),
            tries_left: CODE_TRIES_MAX,
            expires: moment.now.plus_ms(CODE_DAYS.saturating_mul(DAY_MS)),
        };
        let sent = CodeSent { expires: pending.expires, amount: order.amount, tries: pending.tries_left };
        let asked = counted.after(EnrolmentEvent::Asked(pending));
        let asked = asked.map_err(|NotNow| EnrolRefusal::Blocked.refusal())?;

        let mut t = Transition::new(opened.cause, facts.as_of);
        t.once.push(opened.once());
        t.requires.push(Condition::NotAfter(opened.exp.plus_ms(SKEW_MS)));
        t.requires.push(Condition::Unchanged(Participant::key_of(opened.id)));
        t.write(Enrolment::key_of(opened.id), cbor::encode(&asked));
        let purpose = Purpose { rail: RAIL_NUMBER, step: STEP_ENROL, reference: *opened.id.bytes() };
        treasury::request(&mut t, order, purpose, Some(Account::Expense), moment.now).map_err(|_| FAULT)?;
        t.seed = cbor::encode(&sent);
        Ok(t)
    }
}

fn until_next_day_s(now: Timestamp) -> u32 {
    let next = Timestamp(day_of(now).saturating_add(1).saturating_mul(DAY_MS));
    u32::try_from(next.since(now).div_ceil(1000)).unwrap_or(u32::MAX)
}

/// The participant who signs with this key, if it may act; refusals in checking order.
pub(crate) fn acting(
    facts: &Facts,
    id: PartyId,
    key: &VerifyKey,
    not_registered: Refusal,
    blocked: Refusal,
) -> Result<Participant, Refusal> {
    let bytes = facts.document(&Participant::key_of(id)).ok_or(not_registered)?;
    let participant = Participant::read(bytes).ok_or(FAULT)?;
    if participant.verify_key != *key {
        return Err(BAD_REQUEST);
    }
    if participant.is_active() { Ok(participant) } else { Err(blocked) }
}

/// The participant's enrolment; none yet is none.
pub(crate) fn enrolment_of(facts: &Facts, id: PartyId) -> Result<Enrolment, Refusal> {
    match facts.document(&Enrolment::key_of(id)) {
        Some(bytes) => Enrolment::read(bytes).ok_or(FAULT),
        None => Ok(Enrolment::none()),
    }
}

impl Step for EnrolStep {
    type Opened = EnrolRequest;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: MESSAGE }
    }

    fn open(&self, body: &[u8], now: Timestamp) -> Result<EnrolRequest, Refusal> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(BAD_REQUEST);
        }
        let envelope: Envelope = cbor::decode_strict(body).map_err(|_| BAD_REQUEST)?;
        let (plaintext, exporter) = self.keys.open(RAIL, MESSAGE, &[], &envelope)?;
        let operator = self.keys.id();
        let request: Request =
            read_signed(&plaintext, |key| Context::new(RAIL, MESSAGE, party_id(key), operator))?;
        if request.roles == Roles::NONE {
            return Err(BAD_REQUEST);
        }
        check_exp(request.exp, now)?;
        let account = request.account.parse().map_err(|_| EnrolRefusal::AccountNotValid.refusal())?;
        let id = party_id(&request.verify_key);
        let frame = ReplyFrame::new(RAIL, REPLY, operator, id, transcript(RAIL, &[body]));
        Ok(EnrolRequest {
            id,
            verify_key: request.verify_key,
            wanted: Confirmed { roles: request.roles, account },
            txid: request.txid,
            exp: request.exp,
            cause: cause(RAIL, MESSAGE, body),
            reply_key: frame.key(&exporter),
            frame,
        })
    }

    fn needs(&self, opened: &EnrolRequest) -> Needs {
        let documents = vec![Participant::key_of(opened.id), Enrolment::key_of(opened.id)];
        Needs { documents, once: vec![opened.once()], ..Needs::default() }
    }

    fn decide(&self, opened: &EnrolRequest, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        let not_registered = EnrolRefusal::NotRegistered.refusal();
        let begun =
            acting(facts, opened.id, &opened.verify_key, not_registered, EnrolRefusal::Blocked.refusal())
                .and_then(|_| enrolment_of(facts, opened.id))
                .and_then(|enrolment| self.begin(opened, &enrolment, facts, moment));
        match begun {
            Ok(t) => Decision::Apply(t),
            Err(refusal) => Decision::Refuse(refusal),
        }
    }

    fn decide_refused(&self, _: &EnrolRequest, _: &Facts, why: &Rejected, _: &mut Moment<'_>) -> Decision {
        Decision::Refuse(lane_refused(why))
    }

    fn reply(&self, opened: &EnrolRequest, record: &Record) -> Result<Vec<u8>, Refusal> {
        let sent: CodeSent = cbor::decode_strict(record.seed().ok_or(ASK_STATUS)?).map_err(|_| FAULT)?;
        Ok(opened.frame.seal(&opened.reply_key, &sent))
    }
}
