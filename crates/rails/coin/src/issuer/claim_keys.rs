//! The keys under which claims wait for their hand-over: made durable before they are used, overwritten once they are not
//! needed, so that what stays in a journal can never be opened again. Source: V10; ADR 0027.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use florin_crypto::{Entropy, Secret};

/// A key in its place.
pub struct ClaimSlot {
    /// The place.
    pub index: u32,
    /// The key.
    pub key: Secret<32>,
}

/// Where the issuer gets the keys of claims from. Who implements it makes sure that a key is durable before it is given
/// out, and gone for good after `forget`.
pub trait ClaimKeys: Send + Sync {
    /// A key for a request, by its once key's number: the same request gets the same one, however often it is decided.
    /// None where all are in use.
    fn take(&self, request: [u8; 16], entropy: &mut dyn Entropy) -> Option<ClaimSlot>;

    /// The key in a place.
    fn key(&self, index: u32) -> Option<Secret<32>>;

    /// Overwrites the keys in these places; whether they are gone for good.
    fn forget(&self, indexes: &[u32]) -> bool;
}

/// Keys in memory only: for tests and simulations, and gone when the process ends.
#[derive(Default)]
pub struct ClaimKeysInMemory(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    keys: BTreeMap<u32, Secret<32>>,
    requests: BTreeMap<[u8; 16], u32>,
    next: u32,
}

impl ClaimKeys for ClaimKeysInMemory {
    fn take(&self, request: [u8; 16], entropy: &mut dyn Entropy) -> Option<ClaimSlot> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match kept.requests.get(&request) {
            Some(index) => *index,
            None => {
                let index = kept.next;
                kept.next = index.checked_add(1)?;
                kept.keys.insert(index, Secret::random(entropy));
                kept.requests.insert(request, index);
                index
            }
        };
        kept.keys.get(&index).map(|key| ClaimSlot { index, key: key.duplicate() })
    }

    fn key(&self, index: u32) -> Option<Secret<32>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.keys.get(&index).map(Secret::duplicate)
    }

    fn forget(&self, indexes: &[u32]) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.keys.retain(|index, _| !indexes.contains(index));
        kept.requests.retain(|_, index| !indexes.contains(index));
        true
    }
}
