//! The asking side of register, enrol and confirm: what is sent, what is kept until the answer, how the answer is read.
//! Source: books.md, "Exactly once" (persist the request, send until answered, apply, forget); G6, G8.

use florin_books::{PartyId, Timestamp, TxId};
use florin_crypto::{
    Bytes, Digest, Entropy, Exporter, KemPublicKey, KemSecretKey, Secret, SigningKey, VerifyKey, Zeroizing,
    cbor, kem,
};
use florin_rail::common::check_exp;
use florin_rail::{Context, hpke_info, transcript};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::bank::BankAccount;
use crate::confirmation::{self, ConfirmOutcome, is_code};
use crate::directory::KeyList;
use crate::enrolment::{self, CodeSent};
use crate::kinds::RAIL;
use crate::name::{NameError, ParticipantName};
use crate::participant::{Certificate, CertificateError, Roles, party_id};
use crate::registration;
use crate::sealed::{ReplyFrame, sign};

/// A participant's own two keys.
pub struct IdentityKeys {
    /// Signs.
    pub signing: SigningKey,
    /// Opens.
    pub kem: KemSecretKey,
}

impl IdentityKeys {
    /// New keys.
    #[must_use]
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        Self { signing: SigningKey::generate(entropy), kem: KemSecretKey::generate(entropy) }
    }

    /// The id that they make.
    #[must_use]
    pub fn id(&self) -> PartyId {
        party_id(&self.signing.verify_key())
    }
}

/// A request that is ready: persist all of it before the first byte leaves, then send the same body until answered.
pub struct Prepared {
    /// Where to.
    pub path: String,
    /// What to send.
    pub body: Vec<u8>,
    /// What reads the answer: the exported reply key, ids and public keys. Secret; wiped on drop.
    pub pending: Zeroizing<Vec<u8>>,
}

/// Why a request cannot be made, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AskError {
    /// `exp` has passed, or lies more than a day ahead.
    #[error("the request's exp is not within a day from now")]
    Exp,
    /// Not a name.
    #[error(transparent)]
    Name(NameError),
    /// No role is asked for.
    #[error("an enrolment is for a role")]
    NoRole,
    /// Not a code.
    #[error("a code has ten digits")]
    Code,
    /// The operator's list has no key to seal to now.
    #[error("the operator has no key to seal to now")]
    NoKey,
    /// The operator's key is none.
    #[error("the operator's key cannot be sealed to")]
    BadKey,
}

/// Why an answer is none, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// What was kept is not what this reads.
    #[error("what was kept does not belong to this request")]
    Pending,
    /// The list is another operator's.
    #[error("the key list is another operator's")]
    OtherOperator,
    /// It does not open, or answers another request.
    #[error("the answer does not open")]
    Answer,
    /// The certificate in it is none.
    #[error(transparent)]
    Certificate(CertificateError),
    /// The certificate is about other keys.
    #[error("the certificate is not about the keys that were registered")]
    OtherKeys,
}

/// What is kept until the answer.
///
/// Shape: `[step, operator, id, th, reply key, verify key, KEM key]`.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Kept {
    #[n(0)]
    step: String,
    #[n(1)]
    operator: PartyId,
    #[n(2)]
    id: PartyId,
    #[n(3)]
    th: Digest,
    #[n(4)]
    reply_key: ReplyKey,
    #[n(5)]
    verify_key: VerifyKey,
    #[n(6)]
    kem_key: KemPublicKey,
}

/// A reply key as it is kept; wiped on drop.
struct ReplyKey(Secret<32>);

impl<C> Encode<C> for ReplyKey {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(self.0.expose())?.ok()
    }
}
impl<'b, C> Decode<'b, C> for ReplyKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let secret = Secret::from_slice(d.bytes()?);
        secret.map(Self).ok_or_else(|| minicbor::decode::Error::message("a key has 32 bytes"))
    }
}

impl Kept {
    fn read(pending: &[u8], step: &str) -> Result<Self, ReadError> {
        let kept: Self = cbor::decode_strict(pending).map_err(|_| ReadError::Pending)?;
        if kept.step == step { Ok(kept) } else { Err(ReadError::Pending) }
    }

    fn open<B: Encode<()> + for<'b> Decode<'b, ()>>(
        &self,
        reply: &str,
        answer: &[u8],
    ) -> Result<B, ReadError> {
        let frame = ReplyFrame::new(RAIL, reply, self.operator, self.id, self.th);
        frame.open(&self.reply_key.0, answer).ok_or(ReadError::Answer)
    }
}

/// What a registration gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// The certificate.
    pub certificate: Certificate,
    /// Its bytes, to be shown to others.
    pub bytes: Vec<u8>,
}

struct Request<'a> {
    identity: &'a IdentityKeys,
    keys: &'a KeyList,
    step: &'static str,
    reply: &'static str,
}

impl Request<'_> {
    fn context(&self) -> Context {
        Context::new(RAIL, self.step, self.identity.id(), self.keys.operator)
    }

    fn prepared(&self, body: Vec<u8>, exporter: &Exporter) -> Prepared {
        let th = transcript(RAIL, &[&body]);
        let frame = ReplyFrame::new(RAIL, self.reply, self.keys.operator, self.identity.id(), th);
        let kept = Kept {
            step: self.step.into(),
            operator: self.keys.operator,
            id: self.identity.id(),
            th,
            reply_key: ReplyKey(frame.key(exporter)),
            verify_key: self.identity.signing.verify_key(),
            kem_key: self.identity.kem.public_key(),
        };
        let pending = Zeroizing::new(cbor::encode(&kept));
        Prepared { path: format!("/v1/{RAIL}/{}", self.step), body, pending }
    }

    fn seal(&self, signed: &[u8], now: Timestamp, entropy: &mut dyn Entropy) -> Result<Prepared, AskError> {
        let (kid, to) = self.keys.kem_key(now).ok_or(AskError::NoKey)?;
        let info = hpke_info(RAIL, self.step, self.keys.operator, &kid);
        let (envelope, exporter) =
            kem::seal(&to, &kid, &info, &[], signed, entropy).map_err(|_| AskError::BadKey)?;
        Ok(self.prepared(cbor::encode(&envelope), &exporter))
    }
}

/// A registration under a chosen identity, or under a pseudonym.
///
/// # Errors
/// [`AskError`], in its order.
pub fn prepare_register(
    identity: &IdentityKeys,
    name: Option<&str>,
    keys: &KeyList,
    (txid, exp): (TxId, Timestamp),
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    check_exp(exp, now).map_err(|_| AskError::Exp)?;
    let name = name.map(str::parse::<ParticipantName>).transpose().map_err(AskError::Name)?;
    let request = Request { identity, keys, step: registration::MESSAGE, reply: registration::REPLY };
    let kem_key = identity.kem.public_key();
    let payload = registration::Request {
        context: request.context(),
        name: name.map(|n| n.as_str().to_owned()),
        verify_key: identity.signing.verify_key(),
        kem_key,
        txid,
        exp,
    };
    let signed = Zeroizing::new(sign(&identity.signing, &payload));
    let (kid, to) = keys.kem_key(now).ok_or(AskError::NoKey)?;
    let info = hpke_info(RAIL, request.step, keys.operator, &kid);
    let (envelope, exporter) = kem::seal_auth(&identity.kem, &to, &kid, &info, &[], &signed, entropy)
        .map_err(|_| AskError::BadKey)?;
    let body = cbor::encode(&registration::Outer { kem_key, envelope });
    Ok(request.prepared(body, &exporter))
}

/// Reads the answer to a registration.
///
/// # Errors
/// [`ReadError`], in its order.
pub fn read_register(pending: &[u8], answer: &[u8], keys: &KeyList) -> Result<Registered, ReadError> {
    let kept = Kept::read(pending, registration::MESSAGE)?;
    if keys.operator != kept.operator {
        return Err(ReadError::OtherOperator);
    }
    let Bytes(bytes) = kept.open(registration::REPLY, answer)?;
    let certificate = Certificate::verify(&bytes, keys).map_err(ReadError::Certificate)?;
    let ours = certificate.id == kept.id
        && certificate.verify_key == kept.verify_key
        && certificate.kem_key == kept.kem_key;
    if ours { Ok(Registered { certificate, bytes }) } else { Err(ReadError::OtherKeys) }
}

/// An enrolment for roles with a bank account.
///
/// # Errors
/// [`AskError`], in its order.
pub fn prepare_enrol(
    identity: &IdentityKeys,
    roles: Roles,
    account: &BankAccount,
    keys: &KeyList,
    (txid, exp): (TxId, Timestamp),
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    check_exp(exp, now).map_err(|_| AskError::Exp)?;
    if roles == Roles::NONE {
        return Err(AskError::NoRole);
    }
    let request = Request { identity, keys, step: enrolment::MESSAGE, reply: enrolment::REPLY };
    let payload = enrolment::Request {
        context: request.context(),
        verify_key: identity.signing.verify_key(),
        roles,
        account: account.to_string(),
        txid,
        exp,
    };
    let signed = Zeroizing::new(sign(&identity.signing, &payload));
    request.seal(&signed, now, entropy)
}

/// Reads the answer to an enrolment.
///
/// # Errors
/// `Pending`, `Answer`.
pub fn read_enrol(pending: &[u8], answer: &[u8]) -> Result<CodeSent, ReadError> {
    Kept::read(pending, enrolment::MESSAGE)?.open(enrolment::REPLY, answer)
}

/// A confirmation; spaces and hyphens in the code are what people add.
///
/// # Errors
/// [`AskError`], in its order.
pub fn prepare_confirm(
    identity: &IdentityKeys,
    code: &str,
    keys: &KeyList,
    (txid, exp): (TxId, Timestamp),
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    check_exp(exp, now).map_err(|_| AskError::Exp)?;
    let code: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    if !is_code(&code) {
        return Err(AskError::Code);
    }
    let request = Request { identity, keys, step: confirmation::MESSAGE, reply: confirmation::REPLY };
    let payload = confirmation::Request {
        context: request.context(),
        verify_key: identity.signing.verify_key(),
        code,
        txid,
        exp,
    };
    let signed = Zeroizing::new(sign(&identity.signing, &payload));
    request.seal(&signed, now, entropy)
}

/// Reads the answer to a confirmation: a yes or a recorded no.
///
/// # Errors
/// `Pending`, `Answer`.
pub fn read_confirm(pending: &[u8], answer: &[u8]) -> Result<ConfirmOutcome, ReadError> {
    Kept::read(pending, confirmation::MESSAGE)?.open(confirmation::REPLY, answer)
}
