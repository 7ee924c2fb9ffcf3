//! Following coins through the books lane's journal: what each record did with the coins in it, from what stands in its
//! core alone. It takes no key to follow coins; who bought them takes both key holders'. Source: VarietyCash §1.2, §2.1;
//! V10.

use florin_books::{PartyId, Record, TxId};

use crate::com::PayId;
use crate::kinds::{
    RAIL_NUMBER, STEP_CHANGE, STEP_COLLECT, STEP_PAYMENT, STEP_REDEEM, STEP_REFRESH, STEP_REFUND,
};

/// What a record did with coins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CoinMove {
    /// They were issued for a claim, H(claim).
    Issued([u8; 16]),
    /// They were paid; new ones, if any, are the payee's.
    Paid {
        /// To whom.
        payee: PartyId,
        /// In which payment.
        payment: PayId,
    },
    /// They became others of the same holder.
    Changed,
    /// They became money on the redeemer's account.
    Redeemed {
        /// Whose.
        redeemer: PartyId,
        /// In which exchange.
        exchange: TxId,
    },
    /// Something else, by its step's number; what was created goes on from what was consumed.
    Other(u8),
}

impl CoinMove {
    /// What a record did; none where it moved no coin.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        let core = &record.core;
        if core.consumed.is_empty() && core.created.is_empty() {
            return None;
        }
        let of_rail = || core.once.iter().filter(|key| key.rail == RAIL_NUMBER);
        let named = of_rail().find_map(|key| match key.step {
            STEP_COLLECT => Some(Self::Issued(key.txid)),
            STEP_PAYMENT => Some(Self::Paid { payee: key.party, payment: PayId::new(key.txid) }),
            STEP_CHANGE | STEP_REFRESH | STEP_REFUND => Some(Self::Changed),
            STEP_REDEEM => Some(Self::Redeemed { redeemer: key.party, exchange: TxId::new(key.txid) }),
            _ => None,
        });
        named.or_else(|| of_rail().next().map(|key| Self::Other(key.step)))
    }

    /// Whether what was created belongs to another than what was consumed.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Paid { .. } | Self::Redeemed { .. })
    }
}
