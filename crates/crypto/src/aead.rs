//! Sealed replies and data at rest: AES-256-GCM-SIV.
//! Source: RFC 8452; G8 of the rails (a reply is one message under a key of its own with a zero nonce: the same
//! plaintext gives the same bytes, another plaintext is still safe) and G9 (padding).

use aes_gcm_siv::aead::{Aead as _, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit as _};
use zeroize::Zeroizing;

use crate::pad::{pad, unpad};
use crate::secret::Secret;

/// The one answer to everything that does not open (G9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open")]
pub struct OpenError;

/// Seals a reply under the reply key of its request, padded to 512·2^n bytes.
#[allow(clippy::expect_used, reason = "only a plaintext of half the address space cannot be padded")]
pub fn reply_seal(key: &Secret<32>, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let padded = pad(plaintext).expect("replies are far smaller than the address space");
    RestKey::new(key).seal(&[0; 12], aad, &padded)
}

/// Opens a reply. Errors: [`OpenError`].
pub fn reply_open(key: &Secret<32>, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    unpad(RestKey::new(key).open(&[0; 12], aad, sealed)?).ok_or(OpenError)
}

/// A key for data at rest, made ready once.
pub struct RestKey(Aes256GcmSiv);

impl RestKey {
    /// Makes a key ready.
    pub fn new(key: &Secret<32>) -> Self {
        Self(Aes256GcmSiv::new(key.expose().into()))
    }

    /// The same key once more.
    pub(crate) fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// The nonce of a counter: four zero bytes and the counter, big-endian.
    pub fn counter_nonce(counter: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce.iter_mut().skip(4).zip(counter.to_be_bytes()).for_each(|(to, from)| *to = from);
        nonce
    }

    /// Seals bytes as they are, without padding; the ciphertext is 16 bytes longer.
    #[allow(
        clippy::expect_used,
        reason = "fails only beyond 64 GiB (RFC 8452 §6), which no caller holds in memory"
    )]
    pub fn seal(&self, nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: plaintext, aad };
        self.0.encrypt(nonce.into(), payload).expect("less than 64 GiB")
    }

    /// Opens bytes. Errors: [`OpenError`].
    pub fn open(&self, nonce: &[u8; 12], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let payload = Payload { msg: sealed, aad };
        self.0.decrypt(nonce.into(), payload).map(Zeroizing::new).map_err(|_| OpenError)
    }
}
