//! What every asking side shares: sealing to the issuer, keeping what the answer needs, reading signed statements.
//! Source: books.md, "Exactly once" (persist, send, apply, forget); G1, G3, G8.

use florin_books::{PartyId, Timestamp};
use florin_crypto::{
    ByteArray, Digest, Entropy, Envelope, Exporter, KemPublicKey, Kid, Secret, Sign1, Zeroizing, cbor, kem,
};
use florin_parties::{KeyList, ReplyFrame};
use florin_rail::common::{withdrawn_digest, withdrawn_proof};
use florin_rail::{Context, hpke_info, transcript};
use minicbor::{Decode, Encode};

use crate::coin::{BadCoin, Coin};
use crate::com::PayId;
use crate::issuer::causes_digest;
use crate::kinds::RAIL;
use crate::messages::Verdict;
use florin_money::CoinList;

/// The issuer as an asker sees it: its id and the key to seal to now.
#[derive(Clone, Copy, Debug)]
pub struct IssuerKey {
    /// ID_I.
    pub id: PartyId,
    /// The key's id.
    pub kid: Kid,
    /// The key.
    pub key: KemPublicKey,
}

impl IssuerKey {
    /// The key of the list that is in use.
    #[must_use]
    pub fn of(list: &KeyList, now: Timestamp) -> Option<Self> {
        let (kid, key) = list.kem_key(now)?;
        Some(Self { id: list.operator, kid, key })
    }

    pub(crate) fn seal(
        &self,
        message: &str,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<(Envelope, Exporter), AskError> {
        let info = hpke_info(RAIL, message, self.id, &self.kid);
        kem::seal(&self.key, &self.kid, &info, aad, plaintext, entropy).map_err(|_| AskError::BadKey)
    }
}

/// Why a request cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AskError {
    /// The issuer's key cannot be sealed to.
    #[error("the issuer's key cannot be sealed to")]
    BadKey,
    /// The coins or values do not add up.
    #[error("the coins do not add up")]
    Sum,
}

/// Why an answer is not believed, in checking order. It is then as if it had not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// What was kept is not what this reads.
    #[error("what was kept does not belong to this request")]
    Pending,
    /// It does not open, or answers another request.
    #[error("the answer does not open")]
    Answer,
    /// A statement in it is not signed by the issuer, or about something else.
    #[error("the statement is not the issuer's")]
    Statement,
    /// The coins in it are not those that were asked for.
    #[error("the coins are not those that were asked for")]
    Coins,
}

/// A request that is ready: persist all of it before the first byte leaves.
pub struct Prepared {
    /// Where to.
    pub path: &'static str,
    /// What to send.
    pub body: Vec<u8>,
    /// What reads the answer. Secret.
    pub pending: Zeroizing<Vec<u8>>,
    /// How the proof that it was withdrawn is known; none for what a refusal leaves nothing of.
    pub withdrawn: Option<Digest>,
}

/// The reply key and frame of a sealed request.
///
/// Shape: `[key, context, th]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct KeptReply {
    #[n(0)]
    key: ByteArray<32>,
    #[n(1)]
    context: Context,
    #[n(2)]
    th: Digest,
}

impl KeptReply {
    /// For the reply `message` from the issuer to `to`, after `body` was sent.
    pub fn new(exporter: &Exporter, message: &str, issuer: PartyId, to: PartyId, body: &[u8]) -> Self {
        let th = transcript(RAIL, &[body]);
        let key = ReplyFrame::new(RAIL, message, issuer, to, th).key(exporter);
        Self::with_key(&key, message, issuer, to, th)
    }

    /// The same under another key.
    pub fn with_key(key: &Secret<32>, message: &str, issuer: PartyId, to: PartyId, th: Digest) -> Self {
        Self { key: ByteArray(*key.expose()), context: Context::new(RAIL, message, issuer, to), th }
    }

    /// Opens the reply.
    pub fn open<B: Encode<()> + for<'b> Decode<'b, ()>>(&self, sealed: &[u8]) -> Result<B, ReadError> {
        let c = &self.context;
        let frame = ReplyFrame::new(RAIL, &c.message, c.sender, c.recipient, self.th);
        frame.open(&Secret::new(self.key.0), sealed).ok_or(ReadError::Answer)
    }

    /// How the proof is known that what this is the reply of was withdrawn.
    pub fn withdrawn(&self) -> Option<Digest> {
        Some(withdrawn_of(&Secret::new(self.key.0)))
    }

    /// Who answers.
    pub const fn issuer(&self) -> PartyId {
        self.context.sender
    }

    /// Who has asked.
    pub const fn asker(&self) -> PartyId {
        self.context.recipient
    }
}

/// How the proof is known that a request with this key of its reply was withdrawn.
pub(crate) fn withdrawn_of(reply_key: &Secret<32>) -> Digest {
    withdrawn_digest(withdrawn_proof(reply_key).expose())
}

pub(crate) fn keep<T: Encode<()>>(kept: &T) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(cbor::encode(kept))
}

pub(crate) fn kept<T: for<'b> Decode<'b, ()> + Encode<()>>(pending: &[u8]) -> Result<T, ReadError> {
    cbor::decode_strict(pending).map_err(|_| ReadError::Pending)
}

/// A statement signed by the issuer: its payload, read strictly.
pub(crate) fn statement<T: for<'b> Decode<'b, ()> + Encode<()>>(
    bytes: &[u8],
    keys: &KeyList,
) -> Result<T, ReadError> {
    let signed = Sign1::parse(bytes).map_err(|_| ReadError::Statement)?;
    let key = keys.signature_key(&signed.kid()).ok_or(ReadError::Statement)?;
    let payload = signed.verify(&key).map_err(|_| ReadError::Statement)?;
    cbor::decode_strict(payload).map_err(|_| ReadError::Statement)
}

/// A verdict about this payment, signed by the issuer.
///
/// # Errors
/// `Statement`.
pub fn read_verdict(bytes: &[u8], keys: &KeyList, pay_id: PayId, com: &Digest) -> Result<Verdict, ReadError> {
    let verdict: Verdict = statement(bytes, keys)?;
    let context = Context::new(RAIL, "verdict", keys.operator, PartyId::NONE);
    if verdict.context != context || verdict.pay_id != pay_id || verdict.com != *com {
        return Err(ReadError::Statement);
    }
    Ok(verdict)
}

/// Whether these causes are the ones that the verdict commits to.
pub(crate) fn commits_to(verdict: &Verdict, causes: &[BadCoin], salt: &[u8; 16]) -> bool {
    verdict.causes == causes_digest(causes, salt)
}

/// Whether coins have exactly the values asked for.
pub(crate) fn are_wanted(coins: &[Coin], list: &CoinList) -> bool {
    CoinList::of_values(coins.iter().map(|c| c.value)).is_ok_and(|got| got == *list)
}
