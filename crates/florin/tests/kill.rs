//! SIGKILL under load: the real operator process is killed at random moments while clients buy, change, pay and redeem;
//! after each start it is ready soon, every answer that anybody has read is given again byte for byte, and what nobody
//! had an answer to ends once. At the end the books and the clients' purses agree to the coin, and the audit is clean.
//! Source: reliability R3; books.md, "Exactly once".
//!
//! `FLORIN_KILLS` says how often (200), `FLORIN_SEED` repeats the choices of a run (the timing is the machine's own).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use florin_bench::{Acknowledged, Customer, Market, Programs, Running};
use florin_coin::Coin;
use florin_http::{Client, ClientConfig};
use florin_money::{Amount, CoinList, DENOMINATIONS_DEFAULT, Denominations};
use florin_operator::BooksReport;
use florin_operator::admin::TOKEN_FILE;
use tokio::task::JoinSet;

const FLORIN: &str = env!("CARGO_BIN_EXE_florin");
const CLIENTS: usize = 4;
/// What each client buys to begin with, in minor units.
const BEGIN_MINOR: u64 = 20_000;
const DEPOSIT_MINOR: u64 = 10_000_000;
/// Older answers that are asked for again after each start, besides all those of the last round.
const OLDER: u64 = 6;
const READY_MEDIAN_MAX: Duration = Duration::from_secs(2);
const READY_MAX: Duration = Duration::from_secs(5);

/// Repeatable choices. Source: Vigna, SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("state and logs are kept in {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

struct Town {
    market: Market,
    customers: Vec<Customer>,
    purses: Vec<Mutex<Vec<Coin>>>,
    bought: AtomicU64,
    redeemed: AtomicU64,
    stop: AtomicBool,
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_under_load_loses_nothing_and_doubles_nothing() {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (kills, seed) = (number("FLORIN_KILLS", 200), number("FLORIN_SEED", clock));
    println!("FLORIN_KILLS={kills} FLORIN_SEED={seed}");
    let folder = Folder(std::env::temp_dir().join(format!("florin-kill-{}-{seed}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let (programs, state) = (Programs::new(FLORIN), folder.0.join("operator"));
    let bank = programs.bank(&folder.0.join("bank")).unwrap();
    programs.init_operator(&state, bank.url()).unwrap();
    let mut operator = programs.operator(&state, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let (address, url) = (operator.address().unwrap(), operator.url().to_owned());
    let http = Client::new(ClientConfig::default()).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let town = Arc::new(Town::open(http.clone(), &url, bank.url(), &log).await);

    let mut clients = JoinSet::new();
    for me in 0..CLIENTS {
        let dice = Dice(seed.wrapping_mul(31).wrapping_add(u64::try_from(me).unwrap()));
        clients.spawn(live(Arc::clone(&town), me, dice));
    }
    let mut dice = Dice(seed);
    let (mut ready, mut checked, mut asked_again) = (Vec::new(), 0, 0);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(5 + dice.roll(60))).await;
        (operator, ready) = restart(operator, &programs, &state, address, &http, ready).await;
        let again = to_ask_again(&log, &mut checked, &mut dice);
        asked_again += again.len();
        ask_again(&town, again).await;
        if let Some(ended) = clients.try_join_next() {
            panic!("a client ended early: {ended:?}");
        }
    }
    town.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let all = std::mem::take(&mut *log.lock().unwrap());
    let repeated = town.market.repeated();
    println!("{} answers read, {asked_again} asked for again meanwhile; now all of them", all.len());
    println!("{repeated} times the same bytes were sent again for want of an answer");
    assert!(u64::try_from(all.len()).unwrap() >= kills && repeated >= kills, "there was hardly any load");
    ask_again(&town, all).await;
    say_ready(&mut ready);
    town.count(&shown(&http, &url, &state).await);
    operator.kill().unwrap();
    assert_eq!(programs.audit(&state).unwrap().code(), Some(0), "florin operator audit");
}

/// SIGKILL, start on the same folder and port, wait until ready.
async fn restart(
    operator: Running,
    programs: &Programs,
    state: &Path,
    address: SocketAddr,
    http: &Client,
    mut ready: Vec<Duration>,
) -> (Running, Vec<Duration>) {
    operator.kill().unwrap();
    let (programs, state) = (programs.clone(), state.to_path_buf());
    let began = Instant::now();
    let started = tokio::task::spawn_blocking(move || programs.operator(&state, address));
    let operator = started.await.unwrap().unwrap();
    loop {
        let page = http.get(&format!("{}/readyz", operator.url()), []).await;
        if page.is_ok_and(|answer| answer.status.is_success()) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it does not become ready");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    ready.push(began.elapsed());
    (operator, ready)
}

/// Everything that was read since the last time, and some older answers.
fn to_ask_again(log: &Mutex<Vec<Acknowledged>>, checked: &mut usize, dice: &mut Dice) -> Vec<Acknowledged> {
    let log = log.lock().unwrap();
    let mut again = log[*checked..].to_vec();
    let older = u64::try_from(*checked).unwrap();
    if older > 0 {
        let chosen = (0..OLDER).map(|_| log[usize::try_from(dice.roll(older)).unwrap()].clone());
        again.extend(chosen);
    }
    *checked = log.len();
    again
}

/// The same bytes give the same bytes.
async fn ask_again(town: &Arc<Town>, answers: Vec<Acknowledged>) {
    let mut parts = JoinSet::new();
    for part in answers.chunks(answers.len().div_ceil(4).max(1)) {
        let (town, part) = (Arc::clone(town), part.to_vec());
        parts.spawn(async move {
            for read in part {
                let again = town.market.ask(&read.path, &read.body).await;
                let again = again.unwrap_or_else(|error| panic!("asked again: {error}"));
                assert!(again == read.reply, "{}: another answer to the same bytes", read.path);
            }
        });
    }
    while let Some(ended) = parts.join_next().await {
        ended.unwrap();
    }
}

fn say_ready(ready: &mut [Duration]) {
    ready.sort_unstable();
    let (median, max) = (ready[ready.len() / 2], ready[ready.len() - 1]);
    println!("{} kills; ready again after {median:?} (median), {max:?} (longest)", ready.len());
    assert!(median <= READY_MEDIAN_MAX && max <= READY_MAX, "{median:?}, {max:?}");
}

/// The books, as the running operator shows them on its admin page.
async fn shown(http: &Client, url: &str, state: &Path) -> BooksReport {
    let token = std::fs::read_to_string(state.join(TOKEN_FILE)).unwrap();
    let bearer = format!("Bearer {}", token.trim()).parse().unwrap();
    let authorization = "authorization".parse().unwrap();
    let answer = http.get(&format!("{url}/admin/audit"), [(authorization, bearer)]).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.status);
    serde_json::from_slice(&answer.body).unwrap()
}

impl Town {
    /// Clients with bank accounts, each with its first coins.
    async fn open(http: Client, url: &str, bank: &str, log: &Arc<Mutex<Vec<Acknowledged>>>) -> Self {
        let market = Market::open(http, url, bank).await.unwrap().logging(Arc::clone(log));
        let mut town = Self {
            market,
            customers: Vec::new(),
            purses: Vec::new(),
            bought: AtomicU64::new(0),
            redeemed: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        for n in 0..CLIENTS {
            let money = Amount::new(DEPOSIT_MINOR, town.market.currency());
            town.customers.push(town.market.enrol(&format!("Client {n}"), money).await.unwrap());
            town.purses.push(Mutex::default());
        }
        let buying = (0..CLIENTS).map(|me| town.buy(me, BEGIN_MINOR));
        for bought in join_all(buying.collect()).await {
            bought.unwrap();
        }
        town
    }

    fn list(&self, amounts: &[u64]) -> CoinList {
        let d = Denominations::one_two_five(self.market.currency(), DENOMINATIONS_DEFAULT);
        let values = amounts.iter().flat_map(|a| d.split_minor(*a).unwrap().values().collect::<Vec<_>>());
        CoinList::of_values(values).unwrap()
    }

    async fn buy(&self, me: usize, minor: u64) -> Result<(), florin_bench::BenchError> {
        let list = self.list(&[minor / 2, minor / 4, minor - minor / 2 - minor / 4]);
        let coins = self.market.buy(&self.customers[me], list).await?;
        self.bought.fetch_add(minor, Ordering::SeqCst);
        self.purses[me].lock().unwrap().extend(coins);
        Ok(())
    }

    /// Some coins out of a purse, up to eight.
    fn take(&self, me: usize, dice: &mut Dice) -> Vec<Coin> {
        let mut purse = self.purses[me].lock().unwrap();
        let count = (1 + dice.roll(8)).min(u64::try_from(purse.len()).unwrap());
        let place =
            |dice: &mut Dice, len: usize| usize::try_from(dice.roll(u64::try_from(len).unwrap())).unwrap();
        (0..count)
            .map(|_| {
                let at = place(dice, purse.len());
                purse.swap_remove(at)
            })
            .collect()
    }

    /// What the clients hold is what was bought less what was redeemed, and what the books have in circulation.
    fn count(&self, books: &BooksReport) {
        assert_eq!(books.findings, Vec::<String>::new());
        let (mut held, mut ids) = (BTreeMap::new(), BTreeSet::new());
        for purse in &self.purses {
            for coin in purse.lock().unwrap().iter() {
                assert!(ids.insert(coin.id.0), "a coin in two purses");
                *held.entry(Amount::new(coin.value, self.market.currency()).to_string()).or_insert(0) += 1;
            }
        }
        let worth: u64 = self.purses.iter().flat_map(|p| p.lock().unwrap().clone()).map(|c| c.value).sum();
        let (bought, redeemed) = (self.bought.load(Ordering::SeqCst), self.redeemed.load(Ordering::SeqCst));
        println!("bought {bought}, redeemed {redeemed}, held {worth} minor units in {} coins", ids.len());
        assert_eq!(worth, bought - redeemed);
        let live: BTreeMap<String, u64> =
            books.circulation.iter().filter(|c| c.live > 0).map(|c| (c.value.clone(), c.live)).collect();
        assert_eq!(held, live, "held by the clients, and in circulation by the books");
        assert_eq!(books.in_circulation, Amount::new(worth, self.market.currency()).to_string());
    }
}

async fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in waiting.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// A client: one thing after the other, each with the same bytes until it is answered, however often the operator dies.
async fn live(town: Arc<Town>, me: usize, mut dice: Dice) {
    while !town.stop.load(Ordering::SeqCst) {
        let coins = town.take(me, &mut dice);
        let worth: u64 = coins.iter().map(|c| c.value).sum();
        let chance = dice.roll(100);
        if coins.is_empty() || chance == 0 {
            town.purses[me].lock().unwrap().extend(coins);
            town.buy(me, 1_000 + dice.roll(1_000)).await.unwrap();
            continue;
        }
        let part = dice.roll(worth + 1);
        let want = town.list(&[part, worth - part]);
        match chance {
            1..=3 => {
                town.market.redeem(&town.customers[me], coins).await.unwrap();
                town.redeemed.fetch_add(worth, Ordering::SeqCst);
            }
            4..=50 => {
                let new = town.market.change(coins, want).await.unwrap();
                town.purses[me].lock().unwrap().extend(new);
            }
            _ => {
                let to = (me + 1 + usize::try_from(dice.roll(3)).unwrap()) % CLIENTS;
                let new = town.market.pay(&town.customers[to].holder, coins, want).await.unwrap();
                town.purses[to].lock().unwrap().extend(new);
            }
        }
        // So that the journal does not grow beyond what the test's time allows.
        tokio::time::sleep(Duration::from_millis(8 + dice.roll(24))).await;
    }
}
