//! Which epochs need a tag key before they are written into the table, and what the table says of it.
//! Source: VarietyCash §2.4 (the tag key); ADR 0031.

use florin_books::Epoch;
use florin_crypto::ByteArray;

use super::{EpochEntry, Epochs};

impl Epochs {
    /// The epochs that this has and `before` had not: what their keys are made for.
    pub fn begun_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = Epoch> + 'a {
        let new = |e: &&EpochEntry| before.entries.iter().all(|b| b.number != e.number);
        self.entries.iter().filter(new).map(|e| e.number)
    }

    /// Notes what proves that the module has an epoch's own key.
    #[must_use]
    pub fn with_key(&self, number: Epoch, proof: Option<[u8; 32]>) -> Self {
        self.with(number, |e| e.key = proof.map(ByteArray))
    }
}
