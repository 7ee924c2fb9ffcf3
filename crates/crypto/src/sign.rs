//! Signatures: Ed25519, verified strictly.
//! Source: RFC 8032; strict verification (no small-order keys, canonical encodings) as in ed25519-dalek
//! `verify_strict`, so that one signature has one answer everywhere.

use std::fmt;

use data_encoding::HEXLOWER;
use ed25519_dalek::Signer as _;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder, decode};

use crate::cbor::byte_array;
use crate::entropy::Entropy;
use crate::secret::Secret;

/// What can sign; another provider takes the place of [`SigningKey`] by this.
pub trait Signer {
    /// The key that verifies the signatures.
    fn verify_key(&self) -> VerifyKey;
    /// Signs a message.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// What can verify; another provider takes the place of [`VerifyKey`] by this.
pub trait Verifier {
    /// Is it a signature of this message? Errors: [`BadSignature`].
    fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature>;
}

/// The signature is not one of this key over this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// The bytes are not an Ed25519 key: not a point, not its one encoding, or of small order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key that verifies signatures")]
pub struct BadKey;

/// An Ed25519 key that signs; wiped on drop.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of a 32-byte seed (the "private key" of RFC 8032).
    pub fn from_seed(seed: &Secret<32>) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed.expose()))
    }

    /// A new key.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        Self::from_seed(&Secret::random(entropy))
    }

    /// The seed, to be stored.
    pub fn seed(&self) -> Secret<32> {
        Secret::new(self.0.to_bytes())
    }

    /// The key that verifies the signatures.
    pub fn verify_key(&self) -> VerifyKey {
        VerifyKey(self.0.verifying_key())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl Signer for SigningKey {
    fn verify_key(&self) -> VerifyKey {
        SigningKey::verify_key(self)
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        SigningKey::sign(self, message)
    }
}

/// An Ed25519 key that verifies; checked when it was read.
///
/// Shape: CBOR byte string of 32 bytes. Errors: [`BadKey`]. Source: RFC 8032.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyKey(ed25519_dalek::VerifyingKey);

impl VerifyKey {
    /// Checks and takes the 32 bytes of a key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BadKey> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| BadKey)?;
        let canonical = key.to_edwards().compress().to_bytes() == *bytes;
        if canonical && !key.is_weak() { Ok(Self(key)) } else { Err(BadKey) }
    }

    /// The 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The 32 bytes, borrowed.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Is it a signature of this message by this key? Errors: [`BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).map_err(|_| BadSignature)
    }
}

impl Verifier for VerifyKey {
    fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        VerifyKey::verify(self, message, signature)
    }
}

impl PartialOrd for VerifyKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for VerifyKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(self.as_bytes()))
    }
}

impl<C> Encode<C> for VerifyKey {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for VerifyKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::from_bytes(&byte_array(d)?).map_err(decode::Error::message)
    }
}
