//! The operator's keys, and the frame that every sealed request and its reply have.
//! Source: G2, G3, G5 (sign, then encrypt), G8 (reply key by exporter), G9, G11.

use florin_books::PartyId;
use florin_crypto::cose::{Sign1, sign1};
use florin_crypto::{
    Digest, Envelope, Exporter, KemPublicKey, KemSecretKey, Secret, SigningKey, VerifyKey, Zeroizing, cbor,
    kem, reply_open, reply_seal,
};
use florin_rail::common::{ASK_STATUS, BAD_REQUEST};
use florin_rail::{Context, Refusal, hpke_info};
use minicbor::{Decode, Encode};

use crate::directory::{KeyId, KeyUse, key_id};

/// The operator's own keys, as its steps use them.
pub struct OperatorKeys {
    id: PartyId,
    signing: Vec<(KeyId, SigningKey)>,
    kem: Vec<(KeyId, KemSecretKey)>,
    retired: Vec<KeyId>,
}

impl OperatorKeys {
    /// The keys in use now.
    #[must_use]
    pub fn new(id: PartyId, signing: SigningKey, kem: KemSecretKey) -> Self {
        Self {
            id,
            signing: vec![(sign_kid(&signing), signing)],
            kem: vec![(kem_kid(&kem), kem)],
            retired: Vec::new(),
        }
    }

    /// Adds a former signing key: what was signed with it can be signed again, byte for byte.
    #[must_use]
    pub fn with_former_signing(mut self, key: SigningKey) -> Self {
        self.signing.push((sign_kid(&key), key));
        self
    }

    /// Adds a KEM key that late requests may still be sealed to.
    #[must_use]
    pub fn with_former_kem(mut self, key: KemSecretKey) -> Self {
        self.kem.push((kem_kid(&key), key));
        self
    }

    /// Adds the id of a KEM key that is gone: who still uses it is told to ask for the status (G8).
    #[must_use]
    pub fn with_retired_kem(mut self, kid: KeyId) -> Self {
        self.retired.push(kid);
        self
    }

    /// The operator's id.
    #[must_use]
    pub const fn id(&self) -> PartyId {
        self.id
    }

    /// The id of the key that signs now.
    #[must_use]
    pub fn signing_kid(&self) -> KeyId {
        self.signing.first().map(|(kid, _)| *kid).unwrap_or_default()
    }

    /// Signs a payload as COSE_Sign1 with the key of an id; nothing if that key is gone.
    #[must_use]
    pub fn sign(&self, kid: &KeyId, payload: &[u8]) -> Option<Vec<u8>> {
        let (kid, key) = self.signing.iter().find(|(id, _)| id == kid)?;
        Some(sign1(key, kid, payload))
    }

    /// The key that verifies what the key of an id signed; nothing if that key is gone.
    #[must_use]
    pub fn verify_key(&self, kid: &KeyId) -> Option<VerifyKey> {
        self.signing.iter().find(|(id, _)| id == kid).map(|(_, key)| key.verify_key())
    }

    /// The key that others seal to now.
    #[must_use]
    pub fn kem_key(&self) -> Option<KemPublicKey> {
        self.kem.first().map(|(_, key)| key.public_key())
    }

    /// Opens a request of somebody unnamed (HPKE base mode).
    ///
    /// # Errors
    /// `ask-status` for a key that is gone, else `bad-request`.
    pub fn open(
        &self,
        rail: &str,
        message: &str,
        aad: &[u8],
        envelope: &Envelope,
    ) -> Result<(Zeroizing<Vec<u8>>, Exporter), Refusal> {
        let info = hpke_info(rail, message, self.id, &envelope.kid);
        kem::open(self.opener(&envelope.kid)?, &info, aad, envelope).map_err(|_| BAD_REQUEST)
    }

    /// Opens a request of the owner of a KEM key (HPKE auth mode).
    ///
    /// # Errors
    /// `ask-status` for a key that is gone, else `bad-request`.
    pub fn open_auth(
        &self,
        from: &KemPublicKey,
        rail: &str,
        message: &str,
        aad: &[u8],
        envelope: &Envelope,
    ) -> Result<(Zeroizing<Vec<u8>>, Exporter), Refusal> {
        let info = hpke_info(rail, message, self.id, &envelope.kid);
        kem::open_auth(self.opener(&envelope.kid)?, from, &info, aad, envelope).map_err(|_| BAD_REQUEST)
    }

    fn opener(&self, kid: &KeyId) -> Result<&KemSecretKey, Refusal> {
        match self.kem.iter().find(|(id, _)| id == kid) {
            Some((_, key)) => Ok(key),
            None if self.retired.contains(kid) => Err(ASK_STATUS),
            None => Err(BAD_REQUEST),
        }
    }
}

/// The id of a signing key.
#[must_use]
pub fn sign_kid(key: &SigningKey) -> KeyId {
    verify_kid(&key.verify_key())
}

/// The id of a verify key.
#[must_use]
pub fn verify_kid(key: &VerifyKey) -> KeyId {
    key_id(KeyUse::MessageSignature, key.as_bytes())
}

fn kem_kid(key: &KemSecretKey) -> KeyId {
    key_id(KeyUse::Kem, &key.public_key().0)
}

/// Signs a message of one's own as COSE_Sign1.
pub fn sign<T: Encode<()>>(key: &SigningKey, payload: &T) -> Vec<u8> {
    sign1(key, &sign_kid(key), &cbor::encode(payload))
}

/// What stands in every payload signed by a participant: for whom it is, and by which key.
pub trait Signed: Encode<()> + for<'b> Decode<'b, ()> {
    /// The context, the payload's first element.
    fn context(&self) -> &Context;
    /// The key that signs.
    fn verify_key(&self) -> &VerifyKey;
}

/// Reads a signed payload: strictly, with exactly this context, signed by the key that it names.
///
/// # Errors
/// `bad-request` for everything (G9).
pub fn read_signed<T: Signed>(
    bytes: &[u8],
    context: impl FnOnce(&VerifyKey) -> Context,
) -> Result<T, Refusal> {
    let signed = Sign1::parse(bytes).map_err(|_| BAD_REQUEST)?;
    let payload: T = cbor::decode_strict(signed.payload_unverified()).map_err(|_| BAD_REQUEST)?;
    let key = payload.verify_key();
    if *payload.context() != context(key) || signed.kid() != verify_kid(key) {
        return Err(BAD_REQUEST);
    }
    signed.verify(key).map_err(|_| BAD_REQUEST)?;
    Ok(payload)
}

/// What a reply is bound to: its context and what was exchanged before it.
///
/// The key is `Export(CBOR(context), 32)` of the request's own HPKE context; the additional data is `CBOR([context, th])`;
/// the content is `[context, th, body]`. Source: G2, G3, G8.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplyFrame {
    context: Context,
    th: Digest,
}

/// `[context, th, body]`.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Content<B> {
    #[n(0)]
    context: Context,
    #[n(1)]
    th: Digest,
    #[n(2)]
    body: B,
}

impl ReplyFrame {
    /// The frame of one reply; `message` is its name, such as `enrol-reply`.
    #[must_use]
    pub fn new(rail: &str, message: &str, from: PartyId, to: PartyId, th: Digest) -> Self {
        Self { context: Context::new(rail, message, from, to), th }
    }

    /// The reply key.
    #[must_use]
    pub fn key(&self, exporter: &Exporter) -> Secret<32> {
        exporter.export(&cbor::encode(&self.context))
    }

    /// Seals the reply.
    #[must_use]
    pub fn seal<B: Encode<()> + Clone>(&self, key: &Secret<32>, body: &B) -> Vec<u8> {
        let content = Content { context: self.context.clone(), th: self.th, body: body.clone() };
        reply_seal(key, &self.aad(), &cbor::encode(&content))
    }

    /// Opens the reply; nothing if it is not one of this frame.
    #[must_use]
    pub fn open<B: Encode<()> + for<'b> Decode<'b, ()>>(&self, key: &Secret<32>, sealed: &[u8]) -> Option<B> {
        let plaintext = reply_open(key, &self.aad(), sealed).ok()?;
        let content: Content<B> = cbor::decode_strict(&plaintext).ok()?;
        (content.context == self.context && content.th == self.th).then_some(content.body)
    }

    fn aad(&self) -> Vec<u8> {
        cbor::encode(&(&self.context, &self.th))
    }
}
