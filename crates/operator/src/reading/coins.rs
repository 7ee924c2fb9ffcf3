//! Coins of one epoch and denomination, as a line of a report. Source: books.md, "Coins are numbered".

use std::collections::BTreeMap;

use florin_books::{DenominationId, Epoch, Issued, LaneSpec, TokenNumber};
use florin_money::Currency;
use serde::{Deserialize, Serialize};

use super::Money;

/// So many coins of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CoinsLine {
    /// When they were issued.
    pub epoch: u16,
    /// What one of them is worth.
    pub value: Money,
    /// How many.
    pub count: u64,
    /// What they are worth together.
    pub worth: Money,
}

/// The value of a denomination and its currency; none where no register of the lane has it.
pub(super) fn value_of(spec: &LaneSpec, denomination: DenominationId) -> Option<(u64, Currency)> {
    let register = spec.register(denomination.register())?;
    Some((register.denominations.value(denomination.index())?, register.denominations.currency()))
}

/// So many coins of a value, in minor units.
pub(super) fn worth(value: u64, count: u64, exponent: u8) -> Money {
    Money::new(i64::try_from(value.saturating_mul(count)).unwrap_or(i64::MAX), exponent)
}

fn lines(counts: BTreeMap<(Epoch, DenominationId), u64>, spec: &LaneSpec) -> Vec<CoinsLine> {
    let line = |((epoch, denomination), count): ((Epoch, DenominationId), u64)| {
        let (value, currency) = value_of(spec, denomination).unwrap_or((0, Currency::FLO));
        let one = worth(value, 1, currency.exponent());
        CoinsLine { epoch: epoch.0, value: one, count, worth: worth(value, count, currency.exponent()) }
    };
    counts.into_iter().map(line).collect()
}

/// Coins that a record has spent.
pub(super) fn spent(numbers: &[TokenNumber], spec: &LaneSpec) -> Vec<CoinsLine> {
    let mut counts: BTreeMap<(Epoch, DenominationId), u64> = BTreeMap::new();
    for n in numbers {
        let count = counts.entry((n.epoch, n.denomination)).or_default();
        *count = count.saturating_add(1);
    }
    lines(counts, spec)
}

/// Coins that a record has issued.
pub(super) fn issued(runs: &[Issued], spec: &LaneSpec) -> Vec<CoinsLine> {
    let mut counts: BTreeMap<(Epoch, DenominationId), u64> = BTreeMap::new();
    for run in runs {
        let count = counts.entry((run.first.epoch, run.first.denomination)).or_default();
        *count = count.saturating_add(u64::from(run.count));
    }
    lines(counts, spec)
}
