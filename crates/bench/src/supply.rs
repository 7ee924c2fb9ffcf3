//! The coins for a load: bought at the bank, changed down to what is needed, and made into sealed payments before the
//! clock runs. Source: performance.md ("the load generator seals its requests before the timed window").

use std::collections::BTreeMap;
use std::sync::Arc;

use florin_coin::{COINS_ISSUED_MAX, COINS_PER_PAYMENT_MAX, Coin, IssuerKey, Prepared};
use florin_crypto::random;
use florin_money::{Amount, CoinList, Denominations};
use florin_shell::entropy::OsEntropy;
use tokio::task::JoinSet;

use crate::error::BenchError;
use crate::market::{Customer, Holder, Market};

/// The values that payments begin with; more or fewer coins come from splitting and repeating them.
const VALUES: [u64; 4] = [2, 10, 5, 1];
/// What they are multiplied by: the first with which there are coins small enough.
const UNITS: [u64; 3] = [1, 10, 100];
/// The coin that is bought; everything smaller comes from changing it.
const BOUGHT: u64 = 50_000;
/// The most of them in one purchase: an operator sells for at most 10,000.00 at once, unless told otherwise.
const BOUGHT_AT_ONCE: u32 = 20;
/// Requests under way at once while coins are changed.
const AT_ONCE: usize = 16;

/// What goes into a payment and what comes out: lists of the same worth.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The coins that are paid with.
    pub coins_in: CoinList,
    /// The coins that the payee wants.
    pub coins_out: CoinList,
}

impl Shape {
    /// So many coins in, so many out, of different values where there is more than one.
    ///
    /// # Errors
    /// `CoinCount`.
    pub fn new(coins_in: usize, coins_out: usize) -> Result<Self, BenchError> {
        let wrong = BenchError::CoinCount { coins_in, coins_out };
        let fits = |n: usize| (1..=COINS_PER_PAYMENT_MAX).contains(&n);
        if !fits(coins_in) || !fits(coins_out) {
            return Err(wrong);
        }
        let of_unit = |unit: u64| {
            let values = VALUES.into_iter().map(|v| v.saturating_mul(unit)).cycle();
            let base: Vec<u64> = values.take(coins_in.min(coins_out)).collect();
            spread(base.clone(), coins_in).zip(spread(base, coins_out))
        };
        let (a, b) = UNITS.into_iter().find_map(of_unit).ok_or(wrong)?;
        Ok(Self { coins_in: CoinList::of_values(a)?, coins_out: CoinList::of_values(b)? })
    }
}

/// The same worth in `count` coins: one coin after the other gives way to its parts. Those of three parts go first, for
/// they leave coins of two parts behind, with which it always comes out even.
fn spread(mut coins: Vec<u64>, count: usize) -> Option<Vec<u64>> {
    while coins.len() < count {
        let more = count.saturating_sub(coins.len());
        coins.sort_unstable();
        let of = |n: usize| coins.iter().rposition(|v| parts(*v).is_some_and(|p| p.len() == n));
        let place = if more >= 2 { of(3).or_else(|| of(2)) } else { of(2) }?;
        let parts = parts(coins.remove(place))?;
        coins.extend(parts);
    }
    Some(coins)
}

/// The parts of a coin of the 1-2-5 series: 5 = 2+2+1, 2 = 1+1, 10 = 5+5.
fn parts(value: u64) -> Option<Vec<u64>> {
    let mut unit: u64 = 1;
    while unit.checked_mul(10).is_some_and(|next| value >= next) {
        unit = unit.saturating_mul(10);
    }
    let digit = value.checked_div(unit)?;
    let tenth = unit.checked_div(10)?;
    match digit {
        5 => Some(vec![unit.saturating_mul(2), unit.saturating_mul(2), unit]),
        2 => Some(vec![unit, unit]),
        1 if tenth > 0 => Some(vec![tenth.saturating_mul(5), tenth.saturating_mul(5)]),
        _ => None,
    }
}

/// How a bought coin becomes payments: into bundles, each bundle into the coins of several payments.
struct Plan {
    shape: Shape,
    payments_per_bundle: u64,
    bundle: CoinList,
    bundles_per_coin: u64,
    first: CoinList,
}

impl Plan {
    fn new(shape: Shape, d: &Denominations) -> Result<Self, BenchError> {
        let by_count = COINS_ISSUED_MAX.checked_div(shape.coins_in.count()).unwrap_or(1);
        let by_worth = BOUGHT.checked_div(shape.coins_in.total_minor()).unwrap_or(1);
        let payments_per_bundle = by_count.min(by_worth).max(1);
        let worth = shape.coins_in.total_minor().saturating_mul(payments_per_bundle);
        let bundle = d.split_minor(worth)?;
        // Some of the 256 coins are left for what does not come out even.
        let by_count = COINS_ISSUED_MAX.saturating_sub(24).checked_div(bundle.count()).unwrap_or(1);
        let by_worth = BOUGHT.checked_div(worth).unwrap_or(1);
        let bundles_per_coin = by_count.min(by_worth).max(1);
        let rest = BOUGHT.saturating_sub(worth.saturating_mul(bundles_per_coin));
        let values =
            repeated(&bundle, bundles_per_coin).chain(d.split_minor(rest)?.values().collect::<Vec<_>>());
        let first = CoinList::of_values(values)?;
        Ok(Self { shape, payments_per_bundle, bundle, bundles_per_coin, first })
    }

    fn coins_to_buy(&self, payments: u64) -> Result<u32, BenchError> {
        let each = self.payments_per_bundle.saturating_mul(self.bundles_per_coin).max(1);
        u32::try_from(payments.div_ceil(each)).map_err(|_| BenchError::TooFewCoins)
    }
}

fn repeated(list: &CoinList, times: u64) -> impl Iterator<Item = u64> + '_ {
    (0..times).flat_map(|_| list.values())
}

/// Coins by value.
#[derive(Default)]
struct Piles(BTreeMap<u64, Vec<Coin>>);

impl Piles {
    fn add(&mut self, coins: Vec<Coin>) {
        for coin in coins {
            self.0.entry(coin.value).or_default().push(coin);
        }
    }

    fn take(&mut self, list: &CoinList) -> Option<Vec<Coin>> {
        list.values().map(|value| self.0.get_mut(&value)?.pop()).collect()
    }

    /// Nobody's coins come in the order in which they were issued.
    fn shuffle(&mut self) {
        for pile in self.0.values_mut() {
            for left in (1..pile.len()).rev() {
                let choices = u64::try_from(left).unwrap_or(u64::MAX).saturating_add(1);
                let drawn = u64::from_be_bytes(random(&mut OsEntropy)).checked_rem(choices).unwrap_or(0);
                pile.swap(left, usize::try_from(drawn).unwrap_or(0));
            }
        }
    }
}

/// Buys and changes coins until there are enough for so many payments; the coins of each payment.
///
/// # Errors
/// Those of the operator; `TooFewCoins`.
pub async fn coins(
    market: &Arc<Market>,
    customer: Customer,
    shape: &Shape,
    payments: usize,
) -> Result<Vec<Vec<Coin>>, BenchError> {
    let denominations = Denominations::one_two_five(market.currency(), florin_money::DENOMINATIONS_DEFAULT);
    let plan = Plan::new(shape.clone(), &denominations)?;
    let wanted = u64::try_from(payments).unwrap_or(u64::MAX);
    let bought = buy_all(market, Arc::new(customer), plan.coins_to_buy(wanted)?).await?;
    let jobs = bought.into_iter().map(|coin| (vec![coin], plan.first.clone())).collect();
    let mut piles = Piles::default();
    change_all(market, jobs, &mut piles).await?;
    let per_bundle = CoinList::of_values(repeated(&plan.shape.coins_in, plan.payments_per_bundle))?;
    let bundles = wanted.div_ceil(plan.payments_per_bundle.max(1));
    let jobs: Option<Vec<_>> =
        (0..bundles).map(|_| Some((piles.take(&plan.bundle)?, per_bundle.clone()))).collect();
    let mut piles = Piles::default();
    change_all(market, jobs.ok_or(BenchError::TooFewCoins)?, &mut piles).await?;
    piles.shuffle();
    (0..payments).map(|_| piles.take(&shape.coins_in).ok_or(BenchError::TooFewCoins)).collect()
}

async fn buy_all(market: &Arc<Market>, customer: Arc<Customer>, coins: u32) -> Result<Vec<Coin>, BenchError> {
    let mut purchases = JoinSet::new();
    let mut left = coins;
    while left > 0 {
        let now = left.min(BOUGHT_AT_ONCE);
        left = left.saturating_sub(now);
        let list = CoinList::new(vec![(now, BOUGHT)])?;
        let (market, customer) = (Arc::clone(market), Arc::clone(&customer));
        purchases.spawn(async move { market.buy(&customer, list).await });
    }
    let mut bought = Vec::new();
    while let Some(done) = purchases.join_next().await {
        bought.extend(done.map_err(|_| BenchError::Worker)??);
    }
    Ok(bought)
}

async fn change_all(
    market: &Arc<Market>,
    jobs: Vec<(Vec<Coin>, CoinList)>,
    to: &mut Piles,
) -> Result<(), BenchError> {
    let mut under_way = JoinSet::new();
    let mut jobs = jobs.into_iter();
    loop {
        while under_way.len() < AT_ONCE {
            let Some((coins, list)) = jobs.next() else { break };
            let market = Arc::clone(market);
            under_way.spawn(async move { market.change(coins, list).await });
        }
        match under_way.join_next().await {
            Some(done) => to.add(done.map_err(|_| BenchError::Worker)??),
            None => return Ok(()),
        }
    }
}

/// Seals one payment for each set of coins, on all cores, to the payees in turn.
///
/// # Errors
/// `Ask`, `Money`, `Worker`.
pub async fn seal(
    market: &Arc<Market>,
    payees: &[Arc<Holder>],
    sets: Vec<Vec<Coin>>,
    want: &CoinList,
) -> Result<Vec<Prepared>, BenchError> {
    let issuer = market.issuer()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = sets.len().div_ceil(cores).max(1);
    let mut sets = sets;
    let mut workers = Vec::new();
    while !sets.is_empty() {
        let part = sets.split_off(sets.len().saturating_sub(share));
        let (market, payees, want) = (Arc::clone(market), payees.to_vec(), want.clone());
        workers.push(tokio::task::spawn_blocking(move || seal_part(&market, &issuer, &payees, part, &want)));
    }
    let mut sealed = Vec::new();
    for worker in workers {
        sealed.extend(worker.await.map_err(|_| BenchError::Worker)??);
    }
    Ok(sealed)
}

fn seal_part(
    market: &Market,
    issuer: &IssuerKey,
    payees: &[Arc<Holder>],
    sets: Vec<Vec<Coin>>,
    want: &CoinList,
) -> Result<Vec<Prepared>, BenchError> {
    let seal = |(coins, to): (Vec<Coin>, &Arc<Holder>)| market.payment(issuer, to, coins, want.clone());
    sets.into_iter().zip(payees.iter().cycle()).map(seal).collect()
}

/// What a customer needs on its account to buy the coins of so many payments.
///
/// # Errors
/// Those of [`coins`].
pub fn price(market: &Market, shape: &Shape, payments: usize) -> Result<Amount, BenchError> {
    let denominations = Denominations::one_two_five(market.currency(), florin_money::DENOMINATIONS_DEFAULT);
    let plan = Plan::new(shape.clone(), &denominations)?;
    let coins = plan.coins_to_buy(u64::try_from(payments).unwrap_or(u64::MAX))?;
    Ok(Amount::new(u64::from(coins).saturating_mul(BOUGHT), market.currency()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use florin_money::Currency;

    #[test]
    fn every_shape_has_its_numbers_of_coins_and_one_worth() {
        let d = Denominations::one_two_five(Currency::FLO, florin_money::DENOMINATIONS_DEFAULT);
        for coins_in in 1..=COINS_PER_PAYMENT_MAX {
            for coins_out in 1..=COINS_PER_PAYMENT_MAX {
                let Ok(shape) = Shape::new(coins_in, coins_out) else {
                    panic!("{coins_in} in, {coins_out} out");
                };
                assert_eq!(shape.coins_in.count(), coins_in as u64);
                assert_eq!(shape.coins_out.count(), coins_out as u64);
                assert_eq!(shape.coins_in.total_minor(), shape.coins_out.total_minor());
                assert!(d.contains_all(&shape.coins_in) && d.contains_all(&shape.coins_out));
                let plan = Plan::new(shape, &d).unwrap();
                assert!(plan.bundle.count() <= 32 && plan.first.count() <= COINS_ISSUED_MAX);
                assert_eq!(plan.first.total_minor(), BOUGHT);
            }
        }
        assert!(matches!(Shape::new(0, 1), Err(BenchError::CoinCount { .. })));
        assert!(matches!(Shape::new(1, 33), Err(BenchError::CoinCount { .. })));
    }

    #[test]
    fn four_for_four_is_one_of_each_value() {
        let shape = Shape::new(4, 4).unwrap();
        assert_eq!(shape.coins_in.entries(), [(1, 10), (1, 5), (1, 2), (1, 1)]);
        assert_eq!(shape.coins_in, shape.coins_out);
    }
}
