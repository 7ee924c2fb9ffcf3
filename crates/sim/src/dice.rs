//! Chance from a seed: the same seed throws the same. Source: reliability.md, R9 ("seeds").

use std::sync::{Arc, Mutex, PoisonError};

use florin_crypto::SeededEntropy;
use florin_crypto::entropy::Entropy;
use florin_shell::house::EntropySource;

/// Dice that remember how often they were thrown.
#[derive(Clone)]
pub struct Dice(Arc<Mutex<SeededEntropy>>);

impl Dice {
    /// Dice of a seed and a purpose: those of one purpose do not disturb those of another.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mixed = florin_crypto::digest("florin/v1/sim/dice", &[&seed.to_be_bytes(), purpose.as_bytes()]);
        let [a, b, c, d, e, f, g, h, ..] = mixed.short();
        Self(Arc::new(Mutex::new(SeededEntropy::from_number(u64::from_be_bytes([a, b, c, d, e, f, g, h])))))
    }

    fn draw(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// Less than `end`; 0 where that is 0.
    #[must_use]
    pub fn below(&self, end: u64) -> u64 {
        self.draw().checked_rem(end).unwrap_or(0)
    }

    /// Any byte.
    #[must_use]
    pub fn byte(&self) -> u8 {
        let [first, ..] = self.draw().to_be_bytes();
        first
    }

    /// From `low` to `high`, both included.
    #[must_use]
    pub fn within(&self, low: u64, high: u64) -> u64 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// True so many times in a thousand.
    #[must_use]
    pub fn per_mille(&self, times: u64) -> bool {
        self.below(1000) < times
    }

    /// One of them; none of none.
    #[must_use]
    pub fn one_of<'a, T>(&self, all: &'a [T]) -> Option<&'a T> {
        all.get(usize::try_from(self.below(u64::try_from(all.len()).unwrap_or(0))).unwrap_or(0))
    }

    /// Randomness for a house, from these dice.
    #[must_use]
    pub fn entropy(&self) -> EntropySource {
        let dice = self.clone();
        Arc::new(move || Box::new(SeededEntropy::from_number(dice.draw())))
    }
}
