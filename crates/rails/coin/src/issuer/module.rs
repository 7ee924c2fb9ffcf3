//! The key module: what holds the keys of coin tags, and nothing else can make one.
//! Source: VarietyCash §2.4, §2.5 (the secure module for coin generation); V9; books.md, "Coins are numbered".

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use florin_books::Epoch;
use florin_crypto::{MacKey, Secret, cbor, derive};
use florin_rail::Refusal;

use crate::refusal::MODULE_AWAY;

/// The label of a coin's tag: what a module tags is the CBOR array of this and the coin's bytes.
pub const TAG: &str = "florin/v1/coin/tag";

/// Names the key of an epoch, where it is derived from a master key.
#[must_use]
pub fn epoch_info(epoch: Epoch) -> Vec<u8> {
    cbor::encode(&("florin/v1/coin/tag-key", epoch))
}

/// Why a module makes or compares no tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ModuleError {
    /// It does not answer: taken out, locked, or broken.
    #[error("the key module does not answer")]
    Away,
    /// It has no key for the epoch and cannot make one.
    #[error("the key module has no key for epoch {}", .0.0)]
    NoKey(Epoch),
    /// It could not write down that a key was made or forgotten.
    #[error("the key module cannot write its keys down")]
    Unwritten,
}

impl From<ModuleError> for Refusal {
    /// To the asker both are the same: nothing is known to be wrong with the coins.
    fn from(error: ModuleError) -> Self {
        MODULE_AWAY.with_detail(error.to_string()).after(2)
    }
}

/// The module that holds the coin tag key. Nothing else in the house can make a tag.
pub trait CoinModule: Send + Sync {
    /// The tag of these bytes under the epoch's key.
    ///
    /// # Errors
    /// [`ModuleError`].
    fn tag(&self, epoch: Epoch, bytes: &[u8]) -> Result<[u8; 32], ModuleError>;

    /// Compares in constant time. An epoch that has no key has no tags.
    ///
    /// # Errors
    /// [`ModuleError`].
    fn verify(&self, epoch: Epoch, bytes: &[u8], tag: &[u8; 32]) -> Result<bool, ModuleError>;

    /// Makes a key of the epoch's own, which nothing that was known before says anything of. It is on the disk when this
    /// returns. To be called before the epoch is written down anywhere, and never afterwards. One that is there is kept and
    /// used: coins of a lost part of the books may bear its tags. A module that derives its keys has nothing to do.
    ///
    /// # Errors
    /// [`ModuleError`]; the epoch does not begin then.
    fn prepare(&self, _epoch: Epoch) -> Result<(), ModuleError> {
        Ok(())
    }

    /// What tells the epoch's own key from every other, and gives nothing away; none where it has none of its own.
    ///
    /// # Errors
    /// [`ModuleError`].
    fn proof_of(&self, _epoch: Epoch) -> Result<Option<[u8; 32]>, ModuleError> {
        Ok(None)
    }

    /// Lets go of keys in memory that are past their time, also where nobody asks for a tag. The operator calls it at every
    /// look at its calendar, which is more than once a minute.
    fn let_go(&self) {}

    /// Ends the epoch's own key, if there is one: its coins were ended before.
    ///
    /// # Errors
    /// [`ModuleError`]; it is called again then.
    fn forget(&self, _epoch: Epoch) -> Result<(), ModuleError> {
        Ok(())
    }
}

/// What a module tags to prove that it has an epoch's key. No coin has these bytes.
#[must_use]
pub fn proof_bytes(epoch: Epoch) -> Vec<u8> {
    cbor::encode(&("florin/v1/coin/tag-key-proof", epoch))
}

/// A module in software: one key for each epoch, derived from a master key.
pub struct SoftwareModule {
    master: Secret<32>,
    keys: RwLock<BTreeMap<Epoch, Arc<MacKey>>>,
}

const EPOCHS_KEPT: usize = 32;

impl SoftwareModule {
    /// A module with this master key.
    #[must_use]
    pub const fn new(master: Secret<32>) -> Self {
        Self { master, keys: RwLock::new(BTreeMap::new()) }
    }

    fn key(&self, epoch: Epoch) -> Arc<MacKey> {
        if let Some(key) = self.keys.read().ok().and_then(|keys| keys.get(&epoch).cloned()) {
            return key;
        }
        let key = Arc::new(MacKey::new(&derive(&[self.master.expose()], &epoch_info(epoch))));
        if let Ok(mut keys) = self.keys.write() {
            // The epoch comes from outside: what is kept has a bound.
            if keys.len() >= EPOCHS_KEPT {
                keys.clear();
            }
            keys.insert(epoch, key.clone());
        }
        key
    }
}

impl CoinModule for SoftwareModule {
    fn tag(&self, epoch: Epoch, bytes: &[u8]) -> Result<[u8; 32], ModuleError> {
        Ok(self.key(epoch).tag(TAG, &[bytes]))
    }

    fn verify(&self, epoch: Epoch, bytes: &[u8], tag: &[u8; 32]) -> Result<bool, ModuleError> {
        Ok(self.key(epoch).verify(TAG, &[bytes], tag))
    }
}
