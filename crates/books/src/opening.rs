//! What stands in place of records that were dropped: the balances and what is live where the journal begins now.
//! Source: books.md, "Retention" (older log is replaced by a signed opening balance that the audit starts from).

use florin_crypto::{Digest, cbor, digest};
use florin_money::CurrencyCode;
use minicbor::{Decode, Encode};

use crate::account::Account;
use crate::ids::{LaneId, Seq, Timestamp};
use crate::lane::{Damaged, Lane, LaneSpec};
use crate::token::{DenominationId, Epoch};

/// The state of the books after the last dropped record; its owner signs these bytes.
///
/// Shape: `[lane, seq, time, chain, balances, circulation, H(state)]`; balances `[account, currency, minor units]`,
/// circulation `[epoch, denomination, issued, live]`. Units: minor units, debit positive.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Opening {
    /// Of which lane.
    #[n(0)]
    pub lane: LaneId,
    /// The last record that is not there any more.
    #[n(1)]
    pub seq: Seq,
    /// Lane time there.
    #[n(2)]
    pub time: Timestamp,
    /// The chain there: the next record's link follows from it.
    #[n(3)]
    pub chain: Digest,
    /// Every balance that is not zero.
    #[n(4)]
    pub balances: Vec<(Account, CurrencyCode, i64)>,
    /// What was issued and what was live.
    #[n(5)]
    pub circulation: Vec<(Epoch, DenominationId, u64, u64)>,
    /// H(state): the whole state, which lies beside the opening.
    #[n(6)]
    pub state: Digest,
}

fn state_digest(state: &[u8]) -> Digest {
    digest("florin/v1/books/opening-state", &[state])
}

impl Opening {
    /// The opening that a lane as it stands would be, and the state that goes with it.
    #[must_use]
    pub fn of(lane: &Lane) -> (Self, Vec<u8>) {
        let state = lane.checkpoint();
        let circulation = lane.live().counted().map(|c| (c.epoch, c.denomination, c.issued, c.live));
        let opening = Self {
            lane: lane.spec().lane,
            seq: lane.seq(),
            time: lane.time(),
            chain: lane.chain(),
            balances: lane.balances().collect(),
            circulation: circulation.collect(),
            state: state_digest(&state),
        };
        (opening, state)
    }

    /// The opening of a stored state.
    ///
    /// # Errors
    /// `Checkpoint`, `Foreign`.
    pub fn of_state(spec: LaneSpec, state: &[u8]) -> Result<Self, Damaged> {
        Ok(Self::of(&Lane::from_checkpoint(spec, state)?).0)
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads it.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }

    /// The lane as it stood there: the state is compared with every line of the opening.
    ///
    /// # Errors
    /// `Checkpoint` where state and opening do not agree, `Foreign`.
    pub fn lane(&self, spec: LaneSpec, state: &[u8]) -> Result<Lane, Damaged> {
        if state_digest(state) != self.state {
            return Err(Damaged::Checkpoint);
        }
        let lane = Lane::from_checkpoint(spec, state)?;
        if Self::of(&lane).0 == *self { Ok(lane) } else { Err(Damaged::Checkpoint) }
    }
}
