//! Chance as an argument, and a repeatable stream for tests and simulation.
//! Source: house rule 9 (time and chance are arguments); the stream is SHA-256 in counter mode.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize;

/// A source of unpredictable bytes that cannot fail (who cannot get any does not start).
pub trait Entropy: Send {
    /// Fills `out` with unpredictable bytes.
    fn fill(&mut self, out: &mut [u8]);

    /// `N` unpredictable bytes.
    fn array<const N: usize>(&mut self) -> [u8; N]
    where
        Self: Sized,
    {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

/// `N` unpredictable bytes from any source.
pub fn random<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut out = [0; N];
    entropy.fill(&mut out);
    out
}

/// A repeatable stream of bytes: for tests, vectors and simulation only, never for keys that guard anything.
pub struct SeededEntropy {
    seed: [u8; 32],
    block: u64,
    left: Vec<u8>,
}

impl SeededEntropy {
    /// The stream of a seed.
    pub fn new(seed: impl AsRef<[u8]>) -> Self {
        Self { seed: Sha256::digest(seed).into(), block: 0, left: Vec::new() }
    }

    /// The stream of a number.
    pub fn from_number(seed: u64) -> Self {
        Self::new(seed.to_be_bytes())
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            if self.left.is_empty() {
                let block = Sha256::new().chain_update(self.seed).chain_update(self.block.to_be_bytes());
                self.left = block.finalize().to_vec();
                self.left.reverse();
                self.block = self.block.wrapping_add(1);
            }
            *byte = self.left.pop().unwrap_or_default();
        }
    }
}

impl Drop for SeededEntropy {
    fn drop(&mut self) {
        self.seed.zeroize();
        self.left.zeroize();
    }
}

/// An [`Entropy`] in the shape that the libraries want.
pub(crate) struct LibraryRng<'a>(pub(crate) &'a mut dyn Entropy);

impl TryRng for LibraryRng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(random(self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(random(self.0)))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for LibraryRng<'_> {}
