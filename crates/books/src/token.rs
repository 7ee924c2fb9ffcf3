//! Numbered tokens: what a coin's number is inside the books. Source: books.md, "Coins are numbered".

use minicbor::{Decode, Encode};

use crate::account::RegisterId;
use crate::ids::LaneId;

/// At most so many denominations in a register.
pub const DENOMINATIONS_MAX: u16 = 64;
/// Counters have 40 bits.
pub const COUNTER_MAX: u64 = (1 << 40) - 1;

/// A denomination of a register, unique in its lane.
///
/// Shape: register * 64 + index of the value in the register's list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct DenominationId(#[n(0)] pub u16);

impl DenominationId {
    /// Joins the two; `None` where either is out of range.
    #[must_use]
    pub fn new(register: RegisterId, index: u16) -> Option<Self> {
        if index >= DENOMINATIONS_MAX {
            return None;
        }
        register.0.checked_mul(DENOMINATIONS_MAX)?.checked_add(index).map(Self)
    }

    /// The register.
    #[must_use]
    pub const fn register(self) -> RegisterId {
        RegisterId(self.0 / DENOMINATIONS_MAX)
    }

    /// The index in the register's list of values.
    #[must_use]
    pub const fn index(self) -> u16 {
        self.0 % DENOMINATIONS_MAX
    }
}

/// A period of issue; it ends with an expiry and a grace period.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct Epoch(#[n(0)] pub u16);

/// The number of a token.
///
/// Shape: (lane 16, epoch 16, denomination 16, counter 40, zero 40) bits, big endian: one AES block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(array)]
pub struct TokenNumber {
    /// The lane that issued it.
    #[n(0)]
    pub lane: LaneId,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// The denomination.
    #[n(2)]
    pub denomination: DenominationId,
    /// The place in the sequence of its epoch and denomination.
    #[n(3)]
    pub counter: u64,
}

impl TokenNumber {
    /// The block that the number cipher turns into the public id.
    #[must_use]
    pub const fn to_block(self) -> [u8; 16] {
        let lane = (self.lane.0 as u128) << 112;
        let epoch = (self.epoch.0 as u128) << 96;
        let denomination = (self.denomination.0 as u128) << 80;
        let counter = ((self.counter & COUNTER_MAX) as u128) << 40;
        (lane | epoch | denomination | counter).to_be_bytes()
    }

    /// Reads a deciphered block; `None` where the last 40 bits are not zero: not an id of this issuer.
    #[must_use]
    pub const fn from_block(block: [u8; 16]) -> Option<Self> {
        let bits = u128::from_be_bytes(block);
        if bits & ((1 << 40) - 1) != 0 {
            return None;
        }
        Some(Self {
            lane: LaneId((bits >> 112) as u16),
            epoch: Epoch((bits >> 96) as u16),
            denomination: DenominationId((bits >> 80) as u16),
            counter: ((bits >> 40) as u64) & COUNTER_MAX,
        })
    }
}

/// Tokens to issue: the lane gives the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Issue {
    /// The epoch.
    #[n(0)]
    pub epoch: Epoch,
    /// The denomination.
    #[n(1)]
    pub denomination: DenominationId,
    /// How many.
    #[n(2)]
    pub count: u32,
}

/// Tokens that were issued: a run of consecutive counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Issued {
    /// The number of the first.
    #[n(0)]
    pub first: TokenNumber,
    /// How many.
    #[n(1)]
    pub count: u32,
}

/// Numbers that are never given out: where books were restored, they may have been given out before.
///
/// Shape: `[epoch, denomination, next]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Skip {
    /// The epoch.
    #[n(0)]
    pub epoch: Epoch,
    /// The denomination.
    #[n(1)]
    pub denomination: DenominationId,
    /// The counter that the next token gets; it lies further on than the present one.
    #[n(2)]
    pub next: u64,
}

impl Issued {
    /// Each number of the run.
    pub fn numbers(&self) -> impl Iterator<Item = TokenNumber> + use<> {
        let first = self.first;
        (0..u64::from(self.count))
            .map(move |i| TokenNumber { counter: first.counter.saturating_add(i), ..first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_round_trips_at_the_edges() {
        for counter in [0, 1, COUNTER_MAX] {
            let n = TokenNumber {
                lane: LaneId(0xffff),
                epoch: Epoch(1),
                denomination: DenominationId(0x1234),
                counter,
            };
            assert_eq!(TokenNumber::from_block(n.to_block()), Some(n));
        }
        let mut block =
            TokenNumber { lane: LaneId(0), epoch: Epoch(0), denomination: DenominationId(0), counter: 7 }
                .to_block();
        block[15] = 1;
        assert_eq!(TokenNumber::from_block(block), None);
    }

    #[test]
    fn denomination_joins_register_and_index() {
        let d = DenominationId::new(RegisterId(3), 63).unwrap();
        assert_eq!((d.register(), d.index()), (RegisterId(3), 63));
        assert_eq!(DenominationId::new(RegisterId(0), 64), None);
        assert_eq!(DenominationId::new(RegisterId(u16::MAX), 0), None);
    }
}
