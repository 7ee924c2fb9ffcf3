//! Opening what comes to the issuer: one envelope, one signed message. Source: G1, G5, G9, G11.

use florin_books::Timestamp;
use florin_crypto::{Digest, Envelope, Exporter, Sign1, VerifyKey, Zeroizing, cbor};
use florin_parties::Participant;
use florin_parties::sealed::verify_kid;
use florin_rail::common::{BAD_REQUEST, MESSAGE_BYTES_MAX};
use florin_rail::{Context, Refusal, transcript};
use minicbor::{Decode, Encode};

use super::keys::Issuer;
use crate::kinds::RAIL;

/// An opened envelope.
pub(super) struct Sealed {
    pub plaintext: Zeroizing<Vec<u8>>,
    pub exporter: Exporter,
    pub th: Digest,
}

/// Opens a request that is one envelope.
pub(super) fn unseal(issuer: &Issuer, message: &str, body: &[u8]) -> Result<Sealed, Refusal> {
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(BAD_REQUEST);
    }
    let envelope: Envelope = cbor::decode_strict(body).map_err(|_| BAD_REQUEST)?;
    let (plaintext, exporter) = issuer.keys.open(RAIL, message, &[], &envelope)?;
    Ok(Sealed { plaintext, exporter, th: transcript(RAIL, &[body]) })
}

/// Reads a message strictly.
pub(super) fn read<T>(bytes: &[u8]) -> Result<T, Refusal>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    cbor::decode_strict(bytes).map_err(|_| BAD_REQUEST)
}

/// A signed message whose signature is checked once the signer's key is known.
pub(super) struct Unverified<T> {
    pub message: T,
    signed: Sign1,
}

/// Reads a COSE_Sign1 and its payload strictly; the signature is not checked yet.
pub(super) fn read_signed<T>(bytes: &[u8]) -> Result<Unverified<T>, Refusal>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    let signed = Sign1::parse(bytes).map_err(|_| BAD_REQUEST)?;
    let message = read(signed.payload_unverified())?;
    Ok(Unverified { message, signed })
}

impl<T> Unverified<T> {
    /// Whether the participant signed it.
    pub fn is_by(&self, signer: &Participant) -> bool {
        self.is_by_key(&signer.verify_key)
    }

    /// Whether this key signed it.
    pub fn is_by_key(&self, key: &VerifyKey) -> bool {
        self.signed.kid() == verify_kid(key) && self.signed.verify(key).is_ok()
    }
}

/// Whether the context is that of this message, from somebody to this issuer.
pub(super) fn addressed(issuer: &Issuer, context: &Context, message: &str) -> Result<(), Refusal> {
    if *context == Context::new(RAIL, message, context.sender, issuer.id()) {
        Ok(())
    } else {
        Err(BAD_REQUEST)
    }
}

/// Whether a participant that has signed may act.
pub(super) fn may_act(participant: &Participant) -> Result<(), Refusal> {
    if participant.is_active() { Ok(()) } else { Err(crate::refusal::PARTICIPANT_BLOCKED) }
}

/// Whether the deadline of a payment lies where it may.
pub(super) fn check_deadline(deadline: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    if now > deadline {
        return Err(crate::refusal::PAYMENT_EXPIRED);
    }
    florin_rail::common::check_exp(deadline, now)
}
