//! Which coins of a purse to pay with: exactly if that is possible, else which coins to change first.
//! Source: VarietyCash §3.2 (payment with coins of fixed values; change is a rail message of its own, §3.3).
//! Departs: the papers leave the choice to the wallet; the search here is exact for purses of ordinary size and
//! gives up, in favour of a change, after a fixed number of steps.

use crate::coin_list::CoinList;
use crate::denominations::Denominations;

/// How many steps the search for an exact selection may take (a few milliseconds).
const SEARCH_STEPS_MAX: u32 = 200_000;

/// How to pay an amount from a purse. Coins are named by their places in the purse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These coins make up the amount (the fewest that the search found).
    Exact(Vec<usize>),
    /// Change these coins first.
    Change {
        /// The coins to give, at most `coins_max`.
        give: Vec<usize>,
        /// The coins that then pay the amount exactly. Empty when the amount needs more than `coins_max` coins of
        /// the purse: then this change only merges small coins, and the selection is made again after it.
        exact: CoinList,
        /// The rest of what was given, in coins.
        back: CoinList,
    },
    /// The purse has less than the amount.
    Short {
        /// What it has, in minor units.
        have: u64,
    },
    /// No list of at most `coins_max` coins of these denominations has this value.
    NotPayable,
}

/// Chooses coins of `purse` (their values) that pay `target`, at most `coins_max` of them.
///
/// Units: minor units of the currency of `denominations`. Coins of value zero are never chosen.
/// Errors: none; [`Selection::Short`] exactly when the purse has less than `target`.
pub fn select(purse: &[u64], target: u64, coins_max: usize, denominations: &Denominations) -> Selection {
    let have: u128 = purse.iter().fold(0, |sum, value| sum.saturating_add(u128::from(*value)));
    if have < u128::from(target) {
        return Selection::Short { have: u64::try_from(have).unwrap_or(u64::MAX) };
    }
    let piles = piles(purse);
    if let Some(coins) = Search::new(&piles, coins_max).run(target) {
        return Selection::Exact(coins);
    }
    let Ok(exact) = denominations.split_minor(target) else { return Selection::NotPayable };
    if exact.count() > u64::try_from(coins_max).unwrap_or(u64::MAX) {
        return Selection::NotPayable;
    }
    let ascending: Vec<usize> = piles.iter().rev().flat_map(|pile| pile.coins.iter().copied()).collect();
    change(purse, &ascending, target, coins_max, exact, denominations)
        .or_else(|| merge(purse, &ascending, coins_max, denominations))
        .unwrap_or(Selection::NotPayable)
}

/// The coins of one value.
struct Pile {
    value: u64,
    coins: Vec<usize>,
    /// The sum of this pile and all smaller ones.
    sum_to_end: u128,
    /// The greatest common divisor of this value and all smaller ones.
    divisor_to_end: u64,
}

/// The purse in piles, values descending.
fn piles(purse: &[u64]) -> Vec<Pile> {
    let mut coins: Vec<usize> = (0..purse.len()).collect();
    let value_of = |coin: &usize| purse.get(*coin).copied().unwrap_or_default();
    coins.retain(|coin| value_of(coin) > 0);
    coins.sort_by_key(|coin| std::cmp::Reverse(value_of(coin)));
    let mut piles: Vec<Pile> = Vec::new();
    for coin in coins {
        let value = value_of(&coin);
        match piles.last_mut() {
            Some(pile) if pile.value == value => pile.coins.push(coin),
            _ => piles.push(Pile { value, coins: vec![coin], sum_to_end: 0, divisor_to_end: 0 }),
        }
    }
    let (mut sum, mut divisor) = (0u128, 0u64);
    for pile in piles.iter_mut().rev() {
        let worth =
            u128::from(pile.value).saturating_mul(u128::try_from(pile.coins.len()).unwrap_or(u128::MAX));
        sum = sum.saturating_add(worth);
        divisor = greatest_common_divisor(pile.value, divisor);
        (pile.sum_to_end, pile.divisor_to_end) = (sum, divisor);
    }
    piles
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a
}

/// Branch and bound over the piles, many of the largest first, for the fewest coins.
struct Search<'a> {
    piles: &'a [Pile],
    /// How many coins of each pile the present trial takes.
    taken: Vec<usize>,
    best: Option<Vec<usize>>,
    /// A selection must have at most this many coins to be worth finding.
    coins_bound: Option<usize>,
    steps_left: u32,
}

impl<'a> Search<'a> {
    fn new(piles: &'a [Pile], coins_max: usize) -> Self {
        Self {
            piles,
            taken: Vec::new(),
            best: None,
            coins_bound: Some(coins_max),
            steps_left: SEARCH_STEPS_MAX,
        }
    }

    fn run(mut self, target: u64) -> Option<Vec<usize>> {
        self.descend(target, 0);
        let best = self.best?;
        let chosen = self.piles.iter().zip(best);
        Some(chosen.flat_map(|(pile, count)| pile.coins.iter().take(count).copied()).collect())
    }

    fn descend(&mut self, rest: u64, coins: usize) {
        let Some(steps) = self.steps_left.checked_sub(1) else { return };
        self.steps_left = steps;
        let Some(bound) = self.coins_bound.filter(|bound| coins <= *bound) else { return };
        if rest == 0 {
            self.best = Some(self.taken.clone());
            // From now on only a selection with fewer coins is better.
            self.coins_bound = coins.checked_sub(1);
            return;
        }
        let Some(pile) = self.piles.get(self.taken.len()) else { return };
        let room = bound.saturating_sub(coins);
        let fewest = usize::try_from(rest.div_ceil(pile.value)).unwrap_or(usize::MAX);
        let divides = rest.checked_rem(pile.divisor_to_end) == Some(0);
        if fewest > room || u128::from(rest) > pile.sum_to_end || !divides {
            return;
        }
        let fits = usize::try_from(rest.checked_div(pile.value).unwrap_or_default()).unwrap_or(usize::MAX);
        for count in (0..=fits.min(pile.coins.len()).min(room)).rev() {
            let worth = pile.value.saturating_mul(u64::try_from(count).unwrap_or(u64::MAX));
            self.taken.push(count);
            self.descend(rest.saturating_sub(worth), coins.saturating_add(count));
            self.taken.pop();
        }
    }
}

/// The smallest coin that suffices, else the largest coins, without those that turn out not to be needed.
fn change(
    purse: &[u64],
    ascending: &[usize],
    target: u64,
    coins_max: usize,
    exact: CoinList,
    denominations: &Denominations,
) -> Option<Selection> {
    let value_of = |coin: &usize| purse.get(*coin).copied().unwrap_or_default();
    let give = match ascending.iter().find(|coin| value_of(coin) >= target) {
        Some(coin) if coins_max > 0 => vec![*coin],
        _ => largest_sufficient(ascending, &value_of, target, coins_max)?,
    };
    let sum = give.iter().try_fold(0u64, |sum, coin| sum.checked_add(value_of(coin)))?;
    let back = denominations.split_minor(sum.checked_sub(target)?).ok()?;
    Some(Selection::Change { give, exact, back })
}

fn largest_sufficient(
    ascending: &[usize],
    value_of: &impl Fn(&usize) -> u64,
    target: u64,
    coins_max: usize,
) -> Option<Vec<usize>> {
    let mut give = Vec::new();
    let mut sum = 0u64;
    for coin in ascending.iter().rev().take(coins_max) {
        if sum >= target {
            break;
        }
        sum = sum.checked_add(value_of(coin))?;
        give.push(*coin);
    }
    let mut surplus = sum.checked_sub(target)?;
    give.retain(|coin| match surplus.checked_sub(value_of(coin)) {
        Some(rest) => {
            surplus = rest;
            false
        }
        None => true,
    });
    Some(give)
}

/// The coins (at most `coins_max`, neighbours in value) whose merging saves the most coins, if any does.
fn merge(
    purse: &[u64],
    ascending: &[usize],
    coins_max: usize,
    denominations: &Denominations,
) -> Option<Selection> {
    if coins_max == 0 {
        return None;
    }
    let candidates = ascending.windows(coins_max.min(ascending.len()).max(1)).filter_map(|give| {
        let values = give.iter().map(|coin| purse.get(*coin).copied().unwrap_or_default());
        let sum = values.into_iter().try_fold(0u64, u64::checked_add)?;
        let back = denominations.split_minor(sum).ok()?;
        (back.count() < u64::try_from(give.len()).ok()?).then_some((give, back))
    });
    let (give, back) = candidates.min_by_key(|(_, back)| back.count())?;
    Some(Selection::Change { give: give.to_vec(), exact: CoinList::default(), back })
}
