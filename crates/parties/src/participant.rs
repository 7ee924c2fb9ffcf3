//! A participant as payments need it, and the certificate by which others know it.
//! Source: VarietyCash §2.2 (identities and public keys at the issuer), §3 (`CERT_X`); books.md, "Identity apart".

use florin_books::{DocumentKey, EffectId, Outgoing, PartyId, Timestamp, Transition};
use florin_crypto::cose::Sign1;
use florin_crypto::{Entropy, KemPublicKey, VerifyKey, cbor, digest};
use florin_rail::Context;
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::directory::{KeyId, KeyList};
use crate::kinds::{COPY_PARTICIPANT, PARTICIPANT, RAIL};

/// A party's id: `SHA-256("florin/v1/parties/id", first signing key)[..16]`.
#[must_use]
pub fn party_id(key: &VerifyKey) -> PartyId {
    PartyId::new(digest("florin/v1/parties/id", &[key.as_bytes()]).short())
}

/// What a participant may do besides paying and being paid.
///
/// Shape: one small number; bit 0 purchaser, bit 1 redeemer, no others.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Roles(u8);

impl Roles {
    /// None: registered only.
    pub const NONE: Self = Self(0);
    /// Buys coins from a bank account.
    pub const PURCHASER: Self = Self(1);
    /// Is paid out to a bank account.
    pub const REDEEMER: Self = Self(2);
    /// Both.
    pub const BOTH: Self = Self(3);

    /// From the number on the wire.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits <= Self::BOTH.0 { Some(Self(bits)) } else { None }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl<C> Encode<C> for Roles {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u8(self.0)?.ok()
    }
}
impl<'b, C> Decode<'b, C> for Roles {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::from_bits(d.u8()?).ok_or_else(|| minicbor::decode::Error::message("an unknown role"))
    }
}

/// Whether a participant may act.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum ParticipantState {
    /// Yes.
    #[n(0)]
    Active,
    /// No: the operator stopped it.
    #[n(1)]
    Blocked,
}

/// A participant: what payments need to know, in the identity lane and, copied, in the books lane.
///
/// Shape: `[id, verify key, KEM key, roles, state, registered_at, revision]`. Units: `registered_at` is the beginning of
/// the day (UTC), since the two lanes share no exact time.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Participant {
    /// Its id.
    #[n(0)]
    pub id: PartyId,
    /// The key that signs.
    #[n(1)]
    pub verify_key: VerifyKey,
    /// The key to seal to.
    #[n(2)]
    pub kem_key: KemPublicKey,
    /// What it is enrolled for.
    #[n(3)]
    pub roles: Roles,
    /// Whether it may act.
    #[n(4)]
    pub state: ParticipantState,
    /// The day of its registration.
    #[n(5)]
    pub registered_at: Timestamp,
    /// Grows by one with every change, so that a late copy never undoes a later one.
    #[n(6)]
    pub revision: u32,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The number of the day (UTC).
pub(crate) const fn day_of(at: Timestamp) -> u64 {
    at.0 / DAY_MS
}

impl Participant {
    /// A participant who has just registered.
    #[must_use]
    pub fn registered(verify_key: VerifyKey, kem_key: KemPublicKey, now: Timestamp) -> Self {
        Self {
            id: party_id(&verify_key),
            verify_key,
            kem_key,
            roles: Roles::NONE,
            state: ParticipantState::Active,
            registered_at: Timestamp(day_of(now).saturating_mul(DAY_MS)),
            revision: 1,
        }
    }

    /// The document of a participant.
    #[must_use]
    pub const fn key_of(id: PartyId) -> DocumentKey {
        DocumentKey::new(PARTICIPANT, *id.bytes())
    }

    /// The document of this participant.
    #[must_use]
    pub const fn key(&self) -> DocumentKey {
        Self::key_of(self.id)
    }

    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }

    /// Whether it may act.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self.state, ParticipantState::Active)
    }

    /// The same with other roles.
    #[must_use]
    pub fn with_roles(&self, roles: Roles) -> Self {
        Self { roles, revision: self.revision.saturating_add(1), ..self.clone() }
    }

    /// The same in another state.
    #[must_use]
    pub fn with_state(&self, state: ParticipantState) -> Self {
        Self { state, revision: self.revision.saturating_add(1), ..self.clone() }
    }
}

/// Writes a participant in the identity lane and sends the copy for the books lane after it.
pub fn write_participant(
    t: &mut Transition,
    participant: &Participant,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) {
    let bytes = cbor::encode(participant);
    t.write(participant.key(), bytes.clone());
    t.emit(EffectId::new(florin_crypto::random(entropy)), COPY_PARTICIPANT, now, bytes);
}

pub mod copy {
    //! The books lane's half of [`super::write_participant`].

    use florin_books::{Facts, Needs, OnceKey};

    use super::{Outgoing, Participant, PartyId, Transition, cbor, digest};
    use crate::kinds::{RAIL_NUMBER, STEP_COPY};

    /// What makes a copy arrive once.
    #[must_use]
    pub const fn once(out: &Outgoing) -> OnceKey {
        OnceKey { rail: RAIL_NUMBER, step: STEP_COPY, party: PartyId::NONE, txid: *out.id.bytes() }
    }

    /// What to read in the books lane; nothing if the effect is not a participant.
    #[must_use]
    pub fn needs(out: &Outgoing) -> Option<Needs> {
        let participant = Participant::read(&out.body)?;
        Some(Needs { documents: vec![participant.key()], once: vec![once(out)], ..Needs::default() })
    }

    /// The change in the books lane; nothing if it arrived before, or if a later one did.
    #[must_use]
    pub fn decide(out: &Outgoing, facts: &Facts) -> Option<Transition> {
        let participant = Participant::read(&out.body)?;
        let stored = facts.document(&participant.key()).and_then(Participant::read);
        let later = stored.is_some_and(|p| p.revision >= participant.revision);
        if later || facts.once.contains_key(&once(out)) {
            return None;
        }
        let cause = digest("florin/v1/parties/copy", &[out.id.bytes(), &out.body]);
        let mut t = Transition::new(cause, facts.as_of);
        t.once.push(once(out));
        t.write(participant.key(), cbor::encode(&participant));
        Some(t)
    }
}

/// What the operator says about a participant to everybody (the paper's `CERT_X`).
///
/// Shape: COSE_Sign1 by the operator over `[context, id, name, verify key, KEM key, registered_at]`. Units: a day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// Who says it.
    pub operator: PartyId,
    /// About whom.
    pub id: PartyId,
    /// The chosen identity, or the id's text form as a pseudonym.
    pub name: String,
    /// The key that signs.
    pub verify_key: VerifyKey,
    /// The key to seal to.
    pub kem_key: KemPublicKey,
    /// The day of registration.
    pub registered_at: Timestamp,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Payload {
    #[n(0)]
    context: Context,
    #[n(1)]
    id: PartyId,
    #[n(2)]
    name: String,
    #[n(3)]
    verify_key: VerifyKey,
    #[n(4)]
    kem_key: KemPublicKey,
    #[n(5)]
    registered_at: Timestamp,
}

/// Why a certificate is not one, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate.
    #[error("not a certificate")]
    Malformed,
    /// Another operator's, or about somebody else than it says.
    #[error("the certificate is another operator's")]
    WrongOperator,
    /// Signed with a key that the operator does not list.
    #[error("the certificate is signed with an unknown key")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the certificate's signature does not verify")]
    Signature,
}

impl Certificate {
    /// The certificate of a participant.
    #[must_use]
    pub fn of(operator: PartyId, participant: &Participant, name: Option<&str>) -> Self {
        Self {
            operator,
            id: participant.id,
            name: name.map_or_else(|| participant.id.to_string(), str::to_owned),
            verify_key: participant.verify_key,
            kem_key: participant.kem_key,
            registered_at: participant.registered_at,
        }
    }

    /// The bytes that the operator signs.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        cbor::encode(&Payload {
            context: Context::new(RAIL, "certificate", self.operator, self.id),
            id: self.id,
            name: self.name.clone(),
            verify_key: self.verify_key,
            kem_key: self.kem_key,
            registered_at: self.registered_at,
        })
    }

    /// Reads a certificate of this operator.
    ///
    /// # Errors
    /// [`CertificateError`], in its order.
    pub fn verify(bytes: &[u8], keys: &KeyList) -> Result<Self, CertificateError> {
        Self::verify_with(bytes, keys.operator, |kid| keys.signature_key(kid))
    }

    /// The same, for whoever has the operator's keys in another form.
    ///
    /// # Errors
    /// [`CertificateError`], in its order.
    pub fn verify_with(
        bytes: &[u8],
        operator: PartyId,
        key: impl FnOnce(&KeyId) -> Option<VerifyKey>,
    ) -> Result<Self, CertificateError> {
        let signed = Sign1::parse(bytes).map_err(|_| CertificateError::Malformed)?;
        let payload: Payload =
            cbor::decode_strict(signed.payload_unverified()).map_err(|_| CertificateError::Malformed)?;
        if payload.context != Context::new(RAIL, "certificate", operator, payload.id) {
            return Err(CertificateError::WrongOperator);
        }
        let key = key(&signed.kid()).ok_or(CertificateError::UnknownKey)?;
        signed.verify(&key).map_err(|_| CertificateError::Signature)?;
        let Payload { context: _, id, name, verify_key, kem_key, registered_at } = payload;
        Ok(Self { operator, id, name, verify_key, kem_key, registered_at })
    }
}
