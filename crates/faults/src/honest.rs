//! Honest people beside an attack: payments at the operator, one after the other, and pages paid by real wallets; how long
//! each took, and what did not succeed. Source: reliability.md, R13 ("honest success 100 %").

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use florin_bench::{BenchError, Customer, Market};
use florin_coin::Coin;
use florin_http::{Client, ClientConfig};
use florin_money::{Amount, CoinList};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::crowd::{hundredth, ms};
use crate::error::FaultsError;
use crate::report::Tally;
use crate::town::{Ended, Person, Shop, Town};

/// What each buys, in minor units.
const COINS: [u64; 4] = [100, 50, 20, 20];
/// What each has at the bank, in minor units.
const MONEY: u64 = 100_000;

/// People who pay each other at the operator until they are told to stop.
pub struct Honest {
    market: Arc<Market>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Times>>,
    /// Requests that were repeated before it began: whoever buys coins asks until they are there.
    repeated: u64,
}

/// How long payments took, and what went wrong.
#[derive(Default)]
pub struct Times {
    /// One time for each payment that succeeded.
    pub took: Vec<Duration>,
    /// Those that did not.
    pub failed: Vec<String>,
}

impl Honest {
    /// So many people with coins, who make together about so many payments a second, each one after the other.
    ///
    /// # Errors
    /// `Tls`, `Bench`.
    pub fn start(town: &Town, runtime: &Runtime, people: u32, per_second: u32) -> Result<Self, FaultsError> {
        let http = Client::new(ClientConfig::default())?;
        let url = format!("http://{}", town.operator_at());
        let market = Arc::new(runtime.block_on(Market::open(http, &url, &town.bank_url()))?);
        let stop = Arc::new(AtomicBool::new(false));
        let each = Duration::from_secs(1).saturating_mul(people).checked_div(per_second.max(1));
        let each = each.unwrap_or_default();
        let mut made = Vec::new();
        for number in 0..people {
            let money = Amount::new(MONEY, market.currency());
            let customer = runtime.block_on(market.enrol(&format!("Honest {number}"), money))?;
            let coins = runtime
                .block_on(market.buy(&customer, CoinList::of_values(COINS).map_err(BenchError::from)?))?;
            made.push((customer, coins));
        }
        let repeated = market.repeated();
        let begin = |(customer, coins)| {
            let (market, stop) = (Arc::clone(&market), Arc::clone(&stop));
            runtime.spawn(live(market, customer, coins, stop, each))
        };
        let tasks = made.into_iter().map(begin).collect();
        Ok(Self { market, stop, tasks, repeated })
    }

    /// Stops them.
    #[must_use]
    pub fn end(self, runtime: &Runtime) -> (Times, u64) {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Times::default();
        for task in self.tasks {
            match runtime.block_on(task) {
                Ok(times) => all.add(times),
                Err(error) => all.failed.push(error.to_string()),
            }
        }
        (all, self.market.repeated().saturating_sub(self.repeated))
    }
}

async fn live(
    market: Arc<Market>,
    customer: Customer,
    coins: Vec<Coin>,
    stop: Arc<AtomicBool>,
    each: Duration,
) -> Times {
    let mut times = Times::default();
    if let Err(error) = payments(&market, &customer, coins, &stop, each, &mut times).await {
        times.failed.push(error.to_string());
    }
    times
}

async fn payments(
    market: &Market,
    customer: &Customer,
    mut coins: Vec<Coin>,
    stop: &AtomicBool,
    each: Duration,
    times: &mut Times,
) -> Result<(), BenchError> {
    let list = || CoinList::of_values(COINS);
    while !stop.load(Ordering::SeqCst) {
        let begun = Instant::now();
        coins = market.pay(&customer.holder, coins, list()?).await?;
        times.took.push(begun.elapsed());
        tokio::time::sleep(each.saturating_sub(begun.elapsed())).await;
    }
    Ok(())
}

/// A real wallet pays page after page until it is told to stop.
///
/// # Errors
/// `Program`.
pub fn pages(person: &Person, shop: &Shop, name: &str, stop: &AtomicBool) -> Result<Times, FaultsError> {
    let mut times = Times::default();
    let mut number = 0_u64;
    while !stop.load(Ordering::SeqCst) {
        let ended: Ended = person.pay(shop, &format!("/{name}/{number}"), "GET")?;
        if ended.code == Some(0) {
            times.took.push(ended.took);
        } else {
            times.failed.push(format!("page {number}: {}", ended.said()));
        }
        number = number.saturating_add(1);
    }
    Ok(times)
}

impl Times {
    /// Those of others, too.
    pub fn add(&mut self, other: Self) {
        self.took.extend(other.took);
        self.failed.extend(other.failed);
    }

    /// Into a report, under names of one's own for how many, the middle and the 99th hundredth in ms.
    pub fn tell(mut self, names: [&'static str; 3], tally: &mut Tally) {
        self.took.sort_unstable();
        if self.took.is_empty() {
            tally.finding(format!("{}: none succeeded", names[0]));
        }
        tally.findings.extend(self.failed.into_iter().map(|failed| format!("{}: {failed}", names[0])));
        tally.count(names[0], u64::try_from(self.took.len()).unwrap_or(0));
        tally.figure(names[1], ms(hundredth(&self.took, 50)));
        tally.figure(names[2], ms(hundredth(&self.took, 99)));
    }
}
