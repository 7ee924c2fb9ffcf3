//! Coins of an epoch whose tag key is forgotten: while there is a key, each live coin is written down as a short digest, and
//! a late holder's coins are compared with these. Nobody can make a coin of them. Source: VarietyCash §2.6; ADR 0028.

use std::collections::BTreeSet;

use florin_books::{Issued, LiveSets, TokenNumber};
use florin_crypto::{cbor, digest};
use florin_rail::Refusal;

use super::keys::Issuer;
use crate::coin::{BadCoin, Coin, CoinSet};

/// The bytes of a witness.
const WITNESS_BYTES: usize = 16;

/// The digests of the coins of an epoch that were live when it was written down.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Witnesses(BTreeSet<[u8; WITNESS_BYTES]>);

fn witness(coin: &Coin) -> [u8; WITNESS_BYTES] {
    let whole = digest("florin/v1/coin/witness", &[&cbor::encode(coin)]);
    let mut short = [0; WITNESS_BYTES];
    short.iter_mut().zip(whole.as_bytes()).for_each(|(to, from)| *to = *from);
    short
}

impl Witnesses {
    /// One after the other, ascending.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flatten().copied().collect()
    }

    /// None if it is not what [`Witnesses::to_bytes`] writes.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (whole, rest) = bytes.as_chunks::<WITNESS_BYTES>();
        let read = Self(whole.iter().copied().collect());
        (rest.is_empty() && read.0.len() == whole.len() && whole.is_sorted()).then_some(read)
    }

    /// Whether the coin is one of them, to the last bit.
    #[must_use]
    pub fn has(&self, coin: &Coin) -> bool {
        self.0.contains(&witness(coin))
    }
}

impl Issuer {
    /// The witnesses of everything that is live.
    ///
    /// # Errors
    /// `module-away`. `fault`: not of this issuer.
    pub fn witnesses(&self, live: &LiveSets) -> Result<Witnesses, Refusal> {
        let mut all = Witnesses::default();
        for line in live.circulation().filter(|line| line.live > 0) {
            let (lane, epoch, denomination) = (self.lanes.books, line.epoch, line.denomination);
            let numbers = (0..line.issued).map(|counter| TokenNumber { lane, epoch, denomination, counter });
            for first in numbers.filter(|number| live.is_live(number)) {
                all.0.extend(self.mint(&[Issued { first, count: 1 }])?.iter().map(witness));
            }
        }
        Ok(all)
    }

    /// The same as [`Issuer::examine`]; `known` says of a coin, where somebody knows it without the tag key, whether it is
    /// genuine.
    ///
    /// # Errors
    /// `module-away`.
    pub fn examine_late(
        &self,
        set: &CoinSet,
        known: impl Fn(&Coin, &TokenNumber) -> Option<bool>,
    ) -> Result<Result<Vec<TokenNumber>, Vec<BadCoin>>, Refusal> {
        let checked = self.check_with(set, known, |_| Ok(()))?;
        Ok(if checked.bad.is_empty() { Ok(checked.numbers) } else { Err(checked.bad) })
    }
}
