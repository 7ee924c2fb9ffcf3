//! Which ids may stand in the tables: a fresh once key, or a document that was never written, needs no look at the disk.
//! Source: B. Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 13 (1970); blocks of one cache
//! line: Putze, Sanders, Singler, "Cache-, hash- and space-efficient Bloom filters" (2007).
//!
//! The ids are keyed hashes, so their own bits choose the places. A filter says "no" or "maybe"; "no" is certain, since an
//! id is added before its row is written, and none is ever taken out. Until the rows of before the start have all been
//! read into it, it says "maybe" to everything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// Words of a block: one cache line.
const BLOCK: usize = 8;
/// Bits that an id sets in its block: seven places of nine bits.
const PLACES: u32 = 7;
/// Blocks for each 48 ids: ten bits and two thirds an id, about one "maybe" in a hundred for an id that is not there.
const IDS_PER_BLOCK: u64 = 48;
/// Ids that the first layer takes; each further one takes twice as many.
const FIRST_IDS: u64 = 1 << 18;
/// Ids that all layers together take: 90 MiB. Beyond that everything is "maybe".
const IDS_MAX: u64 = 1 << 26;

struct Layer {
    blocks: Vec<[AtomicU64; BLOCK]>,
    room: AtomicU64,
}

/// Two halves of an id: the block, and the places in it.
fn halves(id: &[u8; 16]) -> (u64, u64) {
    let id = u128::from_be_bytes(*id);
    (u64::try_from(id >> 64).unwrap_or(0), u64::try_from(id & u128::from(u64::MAX)).unwrap_or(0))
}

/// Word and bit of each place.
fn places(low: u64) -> impl Iterator<Item = (usize, u64)> {
    (0..PLACES).map(move |i| {
        let place = (low >> (i.saturating_mul(9))) & 511;
        (usize::try_from(place >> 6).unwrap_or(0), 1 << (place & 63))
    })
}

impl Layer {
    fn new(ids: u64) -> Self {
        let count = usize::try_from(ids.div_ceil(IDS_PER_BLOCK)).unwrap_or(usize::MAX);
        let blocks = (0..count).map(|_| Default::default()).collect();
        Self { blocks, room: AtomicU64::new(ids) }
    }

    fn block(&self, high: u64) -> Option<&[AtomicU64; BLOCK]> {
        let count = u128::try_from(self.blocks.len()).unwrap_or(0);
        let index = u128::from(high).saturating_mul(count) >> 64;
        self.blocks.get(usize::try_from(index).ok()?)
    }

    fn may_hold(&self, (high, low): (u64, u64)) -> bool {
        let Some(block) = self.block(high) else { return true };
        places(low).all(|(word, bit)| block.get(word).is_none_or(|w| w.load(Ordering::Acquire) & bit != 0))
    }

    /// False where it is full already.
    fn add(&self, (high, low): (u64, u64)) -> bool {
        let taken = self.room.fetch_update(Ordering::AcqRel, Ordering::Acquire, |room| room.checked_sub(1));
        let (Ok(_), Some(block)) = (taken, self.block(high)) else { return false };
        for (word, bit) in places(low) {
            if let Some(w) = block.get(word) {
                w.fetch_or(bit, Ordering::AcqRel);
            }
        }
        true
    }
}

/// The filter of one store.
pub(crate) struct Filter {
    layers: RwLock<Vec<Layer>>,
    complete: AtomicBool,
    ids_max: u64,
}

impl Filter {
    /// Of a store; `complete` where its tables are empty.
    pub(crate) fn new(complete: bool) -> Self {
        Self::with_room(complete, FIRST_IDS, IDS_MAX)
    }

    fn with_room(complete: bool, first: u64, ids_max: u64) -> Self {
        let layers = RwLock::new(vec![Layer::new(first)]);
        Self { layers, complete: AtomicBool::new(complete), ids_max }
    }

    /// Whether its "no" counts.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Whether a row with this id may be in a table. "No" holds for whoever has looked into the overlay before.
    pub(crate) fn may_hold(&self, id: &[u8; 16]) -> bool {
        if !self.is_complete() {
            return true;
        }
        let id = halves(id);
        self.layers.read().unwrap_or_else(PoisonError::into_inner).iter().any(|layer| layer.may_hold(id))
    }

    /// Adds ids, before their rows are written.
    pub(crate) fn add_all<'a>(&self, ids: impl Iterator<Item = &'a [u8; 16]>) {
        for id in ids {
            let id = halves(id);
            while !self.add(id) {
                if !self.grow() {
                    // From now on it knows too little.
                    self.complete.store(false, Ordering::Release);
                    return;
                }
            }
        }
    }

    fn add(&self, id: (u64, u64)) -> bool {
        self.layers.read().unwrap_or_else(PoisonError::into_inner).last().is_some_and(|layer| layer.add(id))
    }

    /// One more layer, twice as large; false where there is no room for it.
    fn grow(&self) -> bool {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        if layers.last().is_some_and(|l| l.room.load(Ordering::Acquire) > 0) {
            return true;
        }
        let per_block =
            |l: &Layer| u64::try_from(l.blocks.len()).unwrap_or(u64::MAX).saturating_mul(IDS_PER_BLOCK);
        let held: u64 = layers.iter().map(per_block).fold(0, u64::saturating_add);
        let next = layers.last().map_or(FIRST_IDS, per_block).saturating_mul(2);
        if held.saturating_add(next) > self.ids_max {
            return false;
        }
        layers.push(Layer::new(next));
        true
    }

    /// Every row of before the start has been added.
    pub(crate) fn completed(&self) {
        let full = {
            let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
            layers.last().is_none_or(|l| l.room.load(Ordering::Acquire) == 0)
        };
        // A filter that ran out of room while it was filled stays as it is.
        if !full {
            self.complete.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use florin_crypto::digest;

    fn id(n: u64) -> [u8; 16] {
        digest("test/filter", &[&n.to_be_bytes()]).short()
    }

    fn add(filter: &Filter, numbers: std::ops::Range<u64>) {
        let ids: Vec<_> = numbers.map(id).collect();
        filter.add_all(ids.iter());
    }

    #[test]
    fn what_was_added_is_never_denied_and_few_others_are_held() {
        let filter = Filter::with_room(true, 1000, 1 << 20);
        add(&filter, 0..20_000);
        assert!(filter.layers.read().unwrap().len() >= 4);
        assert!((0..20_000).all(|n| filter.may_hold(&id(n))));
        let wrong = (20_000..60_000).filter(|n| filter.may_hold(&id(*n))).count();
        assert!(wrong < 40_000 / 20, "{wrong} of 40000");
    }

    #[test]
    fn one_that_is_not_complete_or_out_of_room_denies_nothing() {
        let filter = Filter::with_room(false, 1000, 1 << 20);
        assert!(filter.may_hold(&id(1)));
        filter.completed();
        assert!(!filter.may_hold(&id(1)));
        let small = Filter::with_room(true, 100, 300);
        add(&small, 0..1000);
        assert!((0..3000).all(|n| small.may_hold(&id(n))));
        small.completed();
        assert!((0..1000).all(|n| small.may_hold(&id(n))), "it stays out of room");
    }

    #[test]
    fn threads_add_while_others_ask() {
        let filter = Filter::with_room(true, 64, 1 << 20);
        std::thread::scope(|s| {
            for t in 0..4u64 {
                let filter = &filter;
                s.spawn(move || {
                    for n in t * 1000..(t + 1) * 1000 {
                        filter.add_all([id(n)].iter());
                        assert!(filter.may_hold(&id(n)));
                    }
                });
            }
        });
        assert!((0..4000).all(|n| filter.may_hold(&id(n))));
    }
}
