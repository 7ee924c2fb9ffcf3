//! Secret bytes that are wiped, never printed, and compared in constant time.
//! Source: house rule 17 (secrets are shy types).

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::entropy::Entropy;

/// `N` secret bytes: no `Debug`, no `Display`, no `Clone`, no `==`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes bytes; the caller wipes what copies it has.
    pub fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// Unpredictable bytes.
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        let mut secret = Self([0; N]);
        entropy.fill(&mut secret.0);
        secret
    }

    /// Takes bytes of the right length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, for the one operation that needs them.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes to be filled in place.
    pub(crate) fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }

    /// A second copy, made on purpose.
    pub fn duplicate(&self) -> Self {
        Self(self.0)
    }

    /// Equality in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}
