//! Honest clients at a running operator who note every answer they have read, and what they hold: what is there after
//! the damage is compared with that. Source: reliability.md, R3 ("client that logs every ack").

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use florin_bench::{Acknowledged, Customer, Market};
use florin_coin::Coin;
use florin_http::Client;
use florin_money::{Amount, CoinList, DENOMINATIONS_DEFAULT, Denominations};
use florin_operator::BooksReport;
use florin_operator::admin::TOKEN_FILE;
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::error::FaultsError;

const DEPOSIT_MINOR: u64 = 10_000_000;

/// Every answer that was read.
pub type Log = Arc<Mutex<Vec<Acknowledged>>>;

/// The clients, what they hold, and what they have bought and redeemed.
pub struct Clients {
    /// The operator, as they see it.
    pub market: Market,
    customers: Vec<Customer>,
    purses: Vec<Mutex<Vec<Coin>>>,
    bought: AtomicU64,
    redeemed: AtomicU64,
    stop: AtomicBool,
}

/// What everybody holds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// What was bought, in minor units.
    pub bought: u64,
    /// What was redeemed.
    pub redeemed: u64,
    /// What is held.
    pub held: u64,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads for requests.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, FaultsError> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.map_err(FaultsError::Runtime)
}

impl Clients {
    /// Clients with bank accounts and no coins yet.
    ///
    /// # Errors
    /// `Bench`.
    pub async fn open(
        http: &Client,
        url: &str,
        bank: &str,
        log: &Log,
        clients: usize,
    ) -> Result<Self, FaultsError> {
        let market = Market::open(http.clone(), url, bank).await?.logging(Arc::clone(log));
        let mut made = Self {
            market,
            customers: Vec::new(),
            purses: Vec::new(),
            bought: AtomicU64::new(0),
            redeemed: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        for n in 0..clients {
            let money = Amount::new(DEPOSIT_MINOR, made.market.currency());
            made.customers.push(made.market.enrol(&format!("Client {n}"), money).await?);
            made.purses.push(Mutex::default());
        }
        Ok(made)
    }

    /// A client's name with the operator and the bank, and its coins.
    fn of(&self, me: usize) -> Result<(&Customer, &Mutex<Vec<Coin>>), FaultsError> {
        let nobody = || FaultsError::Found(format!("there is no client {me}"));
        self.customers.get(me).zip(self.purses.get(me)).ok_or_else(nobody)
    }

    fn list(&self, amounts: &[u64]) -> Result<CoinList, FaultsError> {
        let d = Denominations::one_two_five(self.market.currency(), DENOMINATIONS_DEFAULT);
        let mut values = Vec::new();
        for amount in amounts {
            values.extend(d.split_minor(*amount).map_err(florin_bench::BenchError::from)?.values());
        }
        Ok(CoinList::of_values(values).map_err(florin_bench::BenchError::from)?)
    }

    /// A client buys coins.
    ///
    /// # Errors
    /// `Bench`.
    pub async fn buy(&self, me: usize, minor: u64) -> Result<(), FaultsError> {
        let (customer, purse) = self.of(me)?;
        let (half, quarter) = (minor / 2, minor / 4);
        let list = self.list(&[half, quarter, minor.saturating_sub(half).saturating_sub(quarter)])?;
        let coins = self.market.buy(customer, list).await?;
        self.bought.fetch_add(minor, Ordering::SeqCst);
        lock(purse).extend(coins);
        Ok(())
    }

    /// Some coins out of a purse, up to eight.
    fn take(&self, me: usize, dice: &mut Dice) -> Result<Vec<Coin>, FaultsError> {
        let mut purse = lock(self.of(me)?.1);
        let count = dice.within(1, 8).min(u64::try_from(purse.len()).unwrap_or(0));
        Ok((0..count)
            .map(|_| {
                let at = dice.place(purse.len());
                purse.swap_remove(at)
            })
            .collect())
    }

    /// A client's next business: it buys, redeems, changes or pays another client.
    ///
    /// # Errors
    /// `Bench`: what an honest client must be able to do was refused, or never answered.
    pub async fn act(&self, me: usize, dice: &mut Dice) -> Result<(), FaultsError> {
        let (customer, purse) = self.of(me)?;
        let coins = self.take(me, dice)?;
        let worth: u64 = coins.iter().map(|c| c.value).sum();
        let chance = dice.below(100);
        if coins.is_empty() || chance == 0 {
            lock(purse).extend(coins);
            return self.buy(me, dice.within(1_000, 1_999)).await;
        }
        let part = dice.within(0, worth);
        let want = self.list(&[part, worth.saturating_sub(part)])?;
        match chance {
            1..=3 => {
                self.market.redeem(customer, coins).await?;
                self.redeemed.fetch_add(worth, Ordering::SeqCst);
            }
            4..=50 => {
                let new = self.market.change(coins, want).await?;
                lock(purse).extend(new);
            }
            _ => {
                let others = self.customers.len().saturating_sub(1).max(1);
                let step = dice.place(others).saturating_add(1);
                let to = me.saturating_add(step).checked_rem(self.customers.len()).unwrap_or(me);
                let (payee, till) = self.of(to)?;
                let new = self.market.pay(&payee.holder, coins, want).await?;
                lock(till).extend(new);
            }
        }
        Ok(())
    }

    /// One thing after the other, each with the same bytes until it is answered, however often the operator dies.
    ///
    /// # Errors
    /// As [`Clients::act`].
    pub async fn live(self: Arc<Self>, me: usize, mut dice: Dice) -> Result<(), FaultsError> {
        while !self.stop.load(Ordering::SeqCst) {
            self.act(me, &mut dice).await?;
            // So that the journal does not grow beyond what the time of a run allows.
            tokio::time::sleep(Duration::from_millis(dice.within(8, 31))).await;
        }
        Ok(())
    }

    /// Everybody ends what is begun and begins nothing new.
    pub fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// What the clients hold is what was bought less what was redeemed, and what the books have in circulation.
    ///
    /// # Errors
    /// `Found`.
    pub fn count(&self, books: &BooksReport) -> Result<Counted, FaultsError> {
        if !books.findings.is_empty() {
            return Err(FaultsError::Found(format!("the audit: {}", books.findings.join("; "))));
        }
        let (mut by_value, mut ids, mut held) = (BTreeMap::<String, u64>::new(), BTreeSet::new(), 0u64);
        for purse in &self.purses {
            for coin in lock(purse).iter() {
                if !ids.insert(coin.id.0) {
                    return Err(FaultsError::Found("a coin is in two purses".into()));
                }
                held = held.saturating_add(coin.value);
                let value = Amount::new(coin.value, self.market.currency()).to_string();
                let count = by_value.entry(value).or_default();
                *count = count.saturating_add(1);
            }
        }
        let (bought, redeemed) = (self.bought.load(Ordering::SeqCst), self.redeemed.load(Ordering::SeqCst));
        if Some(held) != bought.checked_sub(redeemed) {
            let found = format!("the clients hold {held}, having bought {bought} and redeemed {redeemed}");
            return Err(FaultsError::Found(found));
        }
        let live: BTreeMap<String, u64> =
            books.circulation.iter().filter(|c| c.live > 0).map(|c| (c.value.clone(), c.live)).collect();
        let worth = Amount::new(held, self.market.currency()).to_string();
        if by_value != live || books.in_circulation != worth {
            let found = format!("the clients hold {by_value:?}, the books have {live:?} in circulation");
            return Err(FaultsError::Found(found));
        }
        Ok(Counted { bought, redeemed, held })
    }

    /// The same bytes give the same bytes.
    ///
    /// # Errors
    /// `Found`: another answer, or none.
    pub async fn ask_again(self: &Arc<Self>, answers: &[Acknowledged]) -> Result<(), FaultsError> {
        let mut parts = JoinSet::new();
        for part in answers.chunks(answers.len().div_ceil(4).max(1)) {
            let (clients, part) = (Arc::clone(self), part.to_vec());
            parts.spawn(async move {
                for read in part {
                    clients.same(&read).await?;
                }
                Ok(())
            });
        }
        ended(parts).await
    }

    async fn same(&self, read: &Acknowledged) -> Result<(), FaultsError> {
        match self.market.ask(&read.path, &read.body).await {
            Ok(again) if again == read.reply => Ok(()),
            Ok(_) => Err(FaultsError::Found(format!("{}: another answer to the same bytes", read.path))),
            Err(error) => Err(FaultsError::Found(format!("asked again: {error}"))),
        }
    }
}

/// Waits for all of them; the first thing that went wrong.
pub(crate) async fn ended(mut all: JoinSet<Result<(), FaultsError>>) -> Result<(), FaultsError> {
    while let Some(ended) = all.join_next().await {
        ended.map_err(|error| FaultsError::Found(format!("a client was interrupted: {error}")))??;
    }
    Ok(())
}

/// The books, as the running operator shows them on its admin page.
///
/// # Errors
/// `File`, `Found`.
pub async fn shown(http: &Client, url: &str, state: &Path) -> Result<BooksReport, FaultsError> {
    let file = state.join(TOKEN_FILE);
    let token = std::fs::read_to_string(&file).map_err(FaultsError::at(&file))?;
    let found = |what: String| FaultsError::Found(format!("the admin page: {what}"));
    let bearer = format!("Bearer {}", token.trim()).parse().map_err(|_| found("its token".into()))?;
    let name = "authorization".parse().map_err(|_| found("its header".into()))?;
    let answer = http.get(&format!("{url}/admin/audit"), [(name, bearer)]).await;
    let answer = answer.map_err(|error| found(error.to_string()))?;
    if !answer.status.is_success() {
        return Err(found(answer.status.to_string()));
    }
    Ok(serde_json::from_slice(&answer.body)?)
}
