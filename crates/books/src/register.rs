//! `Bits` registers: numbered tokens of a denomination, one bit each. Source: books.md, "Coins are numbered".

use std::collections::BTreeMap;
use std::sync::Arc;

use florin_money::Denominations;
use minicbor::{Decode, Encode};

use crate::account::RegisterId;
use crate::token::{COUNTER_MAX, DenominationId, Epoch, Skip, TokenNumber};

const WORDS: usize = 64;
const CHUNK_BITS: u64 = 4096;

/// A register as the terms define it: which values exist in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisterSpec {
    /// Its number in the lane.
    pub id: RegisterId,
    /// Its values, in the order that gives their indices.
    pub denominations: Denominations,
}

/// The live tokens of one (epoch, denomination).
///
/// A chunk holds 4,096 tokens in 512 bytes; a chunk whose tokens are all spent costs one pointer. Chunks are shared with
/// snapshots and copied when they are first written after one.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct LiveSet {
    next: u64,
    live: u64,
    chunks: Vec<Option<Arc<[u64; WORDS]>>>,
}

impl LiveSet {
    fn place(counter: u64) -> (usize, usize, u64) {
        let chunk = usize::try_from(counter / CHUNK_BITS).unwrap_or(usize::MAX);
        let bit = counter % CHUNK_BITS;
        (chunk, usize::try_from(bit / 64).unwrap_or(usize::MAX), 1 << (bit % 64))
    }

    fn is_live(&self, counter: u64) -> bool {
        let (chunk, word, bit) = Self::place(counter);
        self.chunks
            .get(chunk)
            .and_then(Option::as_ref)
            .and_then(|words| words.get(word))
            .is_some_and(|w| w & bit != 0)
    }

    /// Clears a live bit; false where it was not live.
    fn clear(&mut self, counter: u64) -> bool {
        let (chunk, word, bit) = Self::place(counter);
        let past = u64::try_from(chunk).unwrap_or(u64::MAX).saturating_add(1).saturating_mul(CHUNK_BITS);
        let full = past <= self.next;
        let Some(slot) = self.chunks.get_mut(chunk) else { return false };
        let Some(words) = slot.as_mut().filter(|words| words.get(word).is_some_and(|w| w & bit != 0)) else {
            return false;
        };
        let words = Arc::make_mut(words);
        if let Some(w) = words.get_mut(word) {
            *w &= !bit;
        }
        self.live = self.live.saturating_sub(1);
        if full && words.iter().all(|w| *w == 0) {
            *slot = None;
        }
        true
    }

    /// Sets the next `count` bits.
    fn extend(&mut self, count: u32) {
        for _ in 0..count {
            let (chunk, word, bit) = Self::place(self.next);
            while self.chunks.len() <= chunk {
                self.chunks.push(None);
            }
            if let Some(slot) = self.chunks.get_mut(chunk) {
                let words = Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; WORDS])));
                if let Some(w) = words.get_mut(word) {
                    *w |= bit;
                }
            }
            self.next = self.next.saturating_add(1);
            self.live = self.live.saturating_add(1);
        }
    }
}

/// All live tokens of a lane.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LiveSets {
    sets: BTreeMap<(Epoch, DenominationId), LiveSet>,
}

/// What is live in one (epoch, denomination).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Circulation {
    /// The epoch.
    pub epoch: Epoch,
    /// The denomination.
    pub denomination: DenominationId,
    /// How many were ever issued.
    pub issued: u64,
    /// How many are live.
    pub live: u64,
}

impl LiveSets {
    /// Whether the token was issued and not spent.
    #[must_use]
    pub fn is_live(&self, number: &TokenNumber) -> bool {
        self.sets.get(&(number.epoch, number.denomination)).is_some_and(|s| s.is_live(number.counter))
    }

    /// The counter that the next token gets.
    #[must_use]
    pub fn next(&self, epoch: Epoch, denomination: DenominationId) -> u64 {
        self.sets.get(&(epoch, denomination)).map_or(0, |s| s.next)
    }

    /// Whether so many more can be numbered.
    #[must_use]
    pub fn has_room(&self, epoch: Epoch, denomination: DenominationId, count: u64) -> bool {
        self.next(epoch, denomination).checked_add(count).is_some_and(|end| end <= COUNTER_MAX)
    }

    /// Spends; false where the token is not live.
    pub(crate) fn consume(&mut self, number: &TokenNumber) -> bool {
        self.sets.get_mut(&(number.epoch, number.denomination)).is_some_and(|s| s.clear(number.counter))
    }

    /// Issues the next `count`; gives the first counter.
    pub(crate) fn create(&mut self, epoch: Epoch, denomination: DenominationId, count: u32) -> u64 {
        let set = self.sets.entry((epoch, denomination)).or_default();
        let first = set.next;
        set.extend(count);
        first
    }

    /// The live tokens of one epoch alone.
    #[must_use]
    pub fn of_epoch(&self, epoch: Epoch) -> Self {
        let of = self.sets.iter().filter(|((e, _), _)| *e == epoch);
        Self { sets: of.map(|(key, set)| (*key, set.clone())).collect() }
    }

    /// Ends everything of an epoch.
    pub(crate) fn drop_epoch(&mut self, epoch: Epoch) {
        self.sets.retain(|(e, _), _| *e != epoch);
    }

    /// Passes over numbers: they count as issued and spent.
    pub(crate) fn skip(&mut self, skip: &Skip) {
        let set = self.sets.entry((skip.epoch, skip.denomination)).or_default();
        set.next = set.next.max(skip.next);
        let chunks = usize::try_from(set.next.div_ceil(CHUNK_BITS)).unwrap_or(usize::MAX);
        set.chunks.resize(set.chunks.len().max(chunks), None);
    }

    /// What is live, in order of epoch and denomination.
    pub fn circulation(&self) -> impl Iterator<Item = Circulation> + '_ {
        self.sets.iter().map(|(&(epoch, denomination), s)| Circulation {
            epoch,
            denomination,
            issued: s.next,
            live: s.live,
        })
    }

    /// The same, counted bit by bit: what the audit compares with.
    pub fn counted(&self) -> impl Iterator<Item = Circulation> + '_ {
        self.sets.iter().map(|(&(epoch, denomination), s)| Circulation {
            epoch,
            denomination,
            issued: s.next,
            live: s
                .chunks
                .iter()
                .flatten()
                .flat_map(|words| words.iter())
                .map(|w| u64::from(w.count_ones()))
                .fold(0, u64::saturating_add),
        })
    }
}

impl<C> Encode<C> for LiveSets {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(len(self.sets.len()))?;
        for ((epoch, denomination), set) in &self.sets {
            e.array(5)?.encode_with(epoch, ctx)?.encode_with(denomination, ctx)?;
            e.u64(set.next)?.u64(len(set.chunks.len()))?;
            e.array(len(set.chunks.iter().flatten().count()))?;
            for (index, words) in set.chunks.iter().enumerate().filter_map(|(i, c)| Some((i, c.as_ref()?))) {
                let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
                e.array(2)?.u64(len(index))?.bytes(&bytes)?;
            }
        }
        Ok(())
    }
}

fn len(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

impl<'b, C> Decode<'b, C> for LiveSets {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let wrong = || minicbor::decode::Error::message("live sets are damaged");
        let mut sets = BTreeMap::new();
        for _ in 0..d.array()?.ok_or_else(wrong)? {
            if d.array()? != Some(5) {
                return Err(wrong());
            }
            let key = (Epoch::decode(d, ctx)?, DenominationId::decode(d, ctx)?);
            let next = d.u64()?;
            let chunk_count = d.u64()?;
            if chunk_count != next.div_ceil(CHUNK_BITS) {
                return Err(wrong());
            }
            let mut set = LiveSet {
                next,
                live: 0,
                chunks: vec![None; usize::try_from(chunk_count).map_err(|_| wrong())?],
            };
            for _ in 0..d.array()?.ok_or_else(wrong)? {
                if d.array()? != Some(2) {
                    return Err(wrong());
                }
                let index = usize::try_from(d.u64()?).map_err(|_| wrong())?;
                let bytes = d.bytes()?;
                let slot = set.chunks.get_mut(index).ok_or_else(wrong)?;
                let mut words = [0u64; WORDS];
                if bytes.len() != WORDS.saturating_mul(8) {
                    return Err(wrong());
                }
                for (w, b) in words.iter_mut().zip(bytes.chunks_exact(8)) {
                    *w = u64::from_be_bytes(b.try_into().map_err(|_| wrong())?);
                    set.live = set.live.saturating_add(u64::from(w.count_ones()));
                }
                *slot = Some(Arc::new(words));
            }
            sets.insert(key, set);
        }
        Ok(Self { sets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LaneId;

    fn number(counter: u64) -> TokenNumber {
        TokenNumber { lane: LaneId(0), epoch: Epoch(1), denomination: DenominationId(2), counter }
    }

    #[test]
    fn a_token_lives_once() {
        let mut sets = LiveSets::default();
        assert!(!sets.is_live(&number(0)));
        assert_eq!(sets.create(Epoch(1), DenominationId(2), 5000), 0);
        assert_eq!(sets.create(Epoch(1), DenominationId(2), 1), 5000);
        assert!(sets.consume(&number(4999)));
        assert!(!sets.consume(&number(4999)));
        assert!(!sets.consume(&number(5001)));
        assert_eq!(sets.circulation().map(|c| c.live).collect::<Vec<_>>(), [5000]);
    }

    #[test]
    fn a_snapshot_stays_what_it_was() {
        let mut sets = LiveSets::default();
        sets.create(Epoch(1), DenominationId(2), 5000);
        let before = sets.clone();
        let bytes = minicbor::to_vec(&before).unwrap();
        assert!((0..4097).all(|c| sets.consume(&number(c))));
        sets.create(Epoch(1), DenominationId(2), 1);
        assert_eq!(minicbor::to_vec(&before).unwrap(), bytes);
        assert!(before.is_live(&number(0)) && !sets.is_live(&number(0)));
        // What was not written since is one and the same.
        let mut next = sets.clone();
        next.consume(&number(4999));
        let first = |s: &LiveSets| s.sets.values().next().unwrap().chunks.clone();
        assert!(
            first(&next)[0].is_none()
                && !Arc::ptr_eq(first(&next)[1].as_ref().unwrap(), first(&sets)[1].as_ref().unwrap())
        );
        let same = sets.clone();
        assert!(Arc::ptr_eq(first(&same)[1].as_ref().unwrap(), first(&sets)[1].as_ref().unwrap()));
    }

    #[test]
    fn a_spent_chunk_is_dropped_and_the_encoding_keeps_everything() {
        let mut sets = LiveSets::default();
        sets.create(Epoch(1), DenominationId(2), 4100);
        for c in 0..4096 {
            assert!(sets.consume(&number(c)));
        }
        assert!(sets.sets.values().next().unwrap().chunks[0].is_none());
        let bytes = minicbor::to_vec(&sets).unwrap();
        assert!(bytes.len() < 700, "{}", bytes.len());
        let back: LiveSets = minicbor::decode(&bytes).unwrap();
        assert_eq!(back, sets);
        assert_eq!(back.counted().map(|c| c.live).collect::<Vec<_>>(), [4]);
    }
}
