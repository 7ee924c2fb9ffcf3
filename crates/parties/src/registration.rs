//! Registration: a party chooses an identity and has its public keys registered at the operator.
//! Source: VarietyCash §3, Registration; the paper leaves the messages open, docs/rails/parties.md has them.

use std::sync::Arc;

use florin_books::{
    Condition, DocumentKey, Facts, Needs, OnceKey, PartyId, Record, Rejected, Timestamp, Transition, TxId,
};
use florin_crypto::{Bytes, Digest, Envelope, KemPublicKey, Secret, VerifyKey, cbor};
use florin_rail::common::{
    ASK_STATUS, BAD_REQUEST, FAULT, MESSAGE_BYTES_MAX, REQUEST_EXPIRED, SKEW_MS, check_exp,
};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName, cause, transcript};
use minicbor::{Decode, Encode};

use crate::directory::KeyId;
use crate::kinds::{IDENTITY, RAIL, RAIL_NUMBER, STEP_REGISTER};
use crate::name::ParticipantName;
use crate::participant::{Certificate, Participant, party_id, write_participant};
use crate::refusal::RegisterRefusal;
use crate::sealed::{OperatorKeys, ReplyFrame, Signed, read_signed};

pub(crate) const MESSAGE: &str = "register";
pub(crate) const REPLY: &str = "register-reply";

/// What is sent.
///
/// Shape: `[KEM key, envelope]`; the envelope is of auth mode, by the owner of that KEM key.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(crate) struct Outer {
    #[n(0)]
    pub(crate) kem_key: KemPublicKey,
    #[n(1)]
    pub(crate) envelope: Envelope,
}

/// What the participant signs.
///
/// Shape: `[context, name or null, verify key, KEM key, txid, exp]`.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(crate) struct Request {
    #[n(0)]
    pub(crate) context: Context,
    #[n(1)]
    pub(crate) name: Option<String>,
    #[n(2)]
    pub(crate) verify_key: VerifyKey,
    #[n(3)]
    pub(crate) kem_key: KemPublicKey,
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

/// Who is who, for the operator alone (identity lane).
///
/// Shape: `[registered_at, name or null, 0]`: the exact time, and the chosen identity.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Identity {
    /// When exactly.
    #[n(0)]
    pub registered_at: Timestamp,
    /// The chosen identity; a pseudonym if none.
    #[n(1)]
    pub name: Option<String>,
    /// The form of this document.
    #[n(2)]
    pub format: u8,
}

impl Identity {
    /// The document of a participant's identity.
    #[must_use]
    pub const fn key_of(id: PartyId) -> DocumentKey {
        DocumentKey::new(IDENTITY, *id.bytes())
    }

    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }
}

/// What the reply needs: which key signs which certificate.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Seed {
    #[cbor(n(0), with = "minicbor::bytes")]
    kid: KeyId,
    #[n(1)]
    certificate: Bytes,
}

/// Step `register` at the operator; identity lane.
pub struct RegisterStep {
    keys: Arc<OperatorKeys>,
}

/// A registration that was read and authenticated.
pub struct Registration {
    id: PartyId,
    name: Option<ParticipantName>,
    verify_key: VerifyKey,
    kem_key: KemPublicKey,
    txid: TxId,
    exp: Timestamp,
    cause: Digest,
    frame: ReplyFrame,
    reply_key: Secret<32>,
}

impl Registration {
    /// Whose it is.
    #[must_use]
    pub const fn id(&self) -> PartyId {
        self.id
    }

    fn once(&self) -> OnceKey {
        OnceKey { rail: RAIL_NUMBER, step: STEP_REGISTER, party: self.id, txid: *self.txid.bytes() }
    }
}

impl RegisterStep {
    /// The step with the operator's keys.
    #[must_use]
    pub const fn new(keys: Arc<OperatorKeys>) -> Self {
        Self { keys }
    }

    /// Registered before, by the same keys: the same certificate, without a change. Who has lost everything but the keys
    /// need not know the name any more. By other keys, or under another name: refused.
    fn again(&self, opened: &Registration, stored: &Participant, facts: &Facts) -> Decision {
        if !stored.is_active() {
            return Decision::Refuse(RegisterRefusal::Blocked.refusal());
        }
        let Some(identity) = facts.document(&Identity::key_of(opened.id)).and_then(Identity::read) else {
            return Decision::Refuse(FAULT);
        };
        let name = opened.name.as_ref().map(ParticipantName::as_str);
        let same = stored.verify_key == opened.verify_key
            && stored.kem_key == opened.kem_key
            && (name.is_none() || identity.name.as_deref() == name);
        if !same {
            return Decision::Refuse(RegisterRefusal::AlreadyRegistered.refusal());
        }
        let certificate = Certificate::of(self.keys.id(), stored, identity.name.as_deref());
        match self.keys.sign(&self.keys.signing_kid(), &certificate.payload()) {
            Some(signed) => Decision::Answer(opened.frame.seal(&opened.reply_key, &Bytes(signed))),
            None => Decision::Refuse(FAULT),
        }
    }
}

impl Step for RegisterStep {
    type Opened = Registration;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: MESSAGE }
    }

    fn open(&self, body: &[u8], now: Timestamp) -> Result<Registration, Refusal> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(BAD_REQUEST);
        }
        let outer: Outer = cbor::decode_strict(body).map_err(|_| BAD_REQUEST)?;
        let (plaintext, exporter) =
            self.keys.open_auth(&outer.kem_key, RAIL, MESSAGE, &[], &outer.envelope)?;
        let operator = self.keys.id();
        let request: Request =
            read_signed(&plaintext, |key| Context::new(RAIL, MESSAGE, party_id(key), operator))?;
        if request.kem_key != outer.kem_key {
            return Err(BAD_REQUEST);
        }
        check_exp(request.exp, now)?;
        let name = request.name.as_deref().map(ParticipantName::folded).transpose();
        let name = name.map_err(|_| RegisterRefusal::NameNotAllowed.refusal())?;
        let id = party_id(&request.verify_key);
        let frame = ReplyFrame::new(RAIL, REPLY, operator, id, transcript(RAIL, &[body]));
        Ok(Registration {
            id,
            name,
            verify_key: request.verify_key,
            kem_key: request.kem_key,
            txid: request.txid,
            exp: request.exp,
            cause: cause(RAIL, MESSAGE, body),
            reply_key: frame.key(&exporter),
            frame,
        })
    }

    fn needs(&self, opened: &Registration) -> Needs {
        let mut documents = vec![Participant::key_of(opened.id), Identity::key_of(opened.id)];
        documents.extend(opened.name.as_ref().map(ParticipantName::key));
        Needs { documents, once: vec![opened.once()], ..Needs::default() }
    }

    fn decide(&self, opened: &Registration, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        if let Some(bytes) = facts.document(&Participant::key_of(opened.id)) {
            return match Participant::read(bytes) {
                Some(stored) => self.again(opened, &stored, facts),
                None => Decision::Refuse(FAULT),
            };
        }
        if opened.name.as_ref().is_some_and(|n| facts.document(&n.key()).is_some()) {
            return Decision::Refuse(RegisterRefusal::NameTaken.refusal());
        }
        let participant = Participant::registered(opened.verify_key, opened.kem_key, moment.now);
        let name = opened.name.as_ref().map(ParticipantName::as_str);
        let certificate = Certificate::of(self.keys.id(), &participant, name);
        let identity = Identity { registered_at: moment.now, name: name.map(str::to_owned), format: 1 };

        let mut t = Transition::new(opened.cause, facts.as_of);
        t.once.push(opened.once());
        t.requires.push(Condition::NotAfter(opened.exp.plus_ms(SKEW_MS)));
        write_participant(&mut t, &participant, moment.now, moment.entropy);
        t.write(Identity::key_of(opened.id), cbor::encode(&identity));
        if let Some(name) = &opened.name {
            t.write(name.key(), cbor::encode(&opened.id));
        }
        t.seed =
            cbor::encode(&Seed { kid: self.keys.signing_kid(), certificate: Bytes(certificate.payload()) });
        Decision::Apply(t)
    }

    fn decide_refused(&self, _: &Registration, _: &Facts, why: &Rejected, _: &mut Moment<'_>) -> Decision {
        Decision::Refuse(lane_refused(why))
    }

    fn reply(&self, opened: &Registration, record: &Record) -> Result<Vec<u8>, Refusal> {
        let seed: Seed = cbor::decode_strict(record.seed().ok_or(ASK_STATUS)?).map_err(|_| FAULT)?;
        let signed = self.keys.sign(&seed.kid, &seed.certificate.0).ok_or(ASK_STATUS)?;
        Ok(opened.frame.seal(&opened.reply_key, &Bytes(signed)))
    }
}

/// What the lane can say to the steps of this rail, which spend no tokens.
pub(crate) fn lane_refused(why: &Rejected) -> Refusal {
    match why {
        Rejected::TooLate => REQUEST_EXPIRED,
        Rejected::IdReused { .. } => florin_rail::common::REQUEST_ID_REUSED,
        Rejected::Stale | Rejected::Moved { .. } => florin_rail::common::OVERLOADED,
        Rejected::Repeated { .. }
        | Rejected::Marked { .. }
        | Rejected::TooEarly
        | Rejected::NotLive { .. }
        | Rejected::Dropped { .. }
        | Rejected::NotHeld { .. }
        | Rejected::Settled { .. }
        | Rejected::Balance { .. }
        | Rejected::Unbalanced { .. }
        | Rejected::NotConserved { .. }
        | Rejected::NotIssuable
        | Rejected::Overflow
        | Rejected::Twice => FAULT,
    }
}
