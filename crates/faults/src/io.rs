//! The Nth call to the disk fails, once or from then on: the real operator works through requests on a bad disk. It
//! answers, refuses, or stops with a word and a number; then, on a good disk, every answer that was read is given again
//! byte for byte, everything else that was asked for happens, and the money is all there.
//! Source: reliability.md R8 and finding 5; books.md, "Two durable copies of each batch".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use florin_bench::market::expiry;
use florin_bench::{Acknowledged, Customer, Market, Programs};
use florin_books::{Clock as _, TxId};
use florin_coin::{Coin, CoinSet, holder};
use florin_crypto::random;
use florin_http::{Client, ClientConfig};
use florin_money::{Amount, CoinList};
use florin_parties::asker::{self, IdentityKeys};
use florin_shell::clock::SystemClock;
use florin_shell::entropy::OsEntropy;
use florin_shell::exchange::{CONTENT_TYPE, Delivered, refused_or_later};

use crate::clients::runtime;
use crate::dice::Dice;
use crate::disk::{Damage, Kind, Shim, restore};
use crate::error::FaultsError;
use crate::fault::{Setting, Size};
use crate::operator_state as state;
use crate::process::{End, Process};
use crate::report::Tally;
use crate::scratch::Scratch;

/// The calls that are tried, of each kind, once and sticky. Source: R8.
const CALLS: u64 = 2_000;
/// Three kinds, each once and sticky.
const WAYS: u64 = 6;
/// A run may make a few calls more than the one that was counted.
const SPARE: u64 = 40;
/// Coins that are bought at a time, of two minor units each.
const COINS: usize = 30;
const PURCHASES: usize = 6;
const VALUE: u64 = 2;
const DEPOSIT_MINOR: u64 = 1_000_000;
/// Requests after the one in which the first call failed.
const AFTER: usize = 3;
/// Requests made before are good for an hour.
const STAGE_LASTS: Duration = Duration::from_secs(25 * 60);

/// A request that was made before the tries, and is sent in each.
struct Ask {
    path: String,
    body: Vec<u8>,
    /// So much is not in circulation any more once it is answered.
    redeemed: u64,
}

/// An operator's folder that each try begins with, and what is asked.
struct Stage {
    scratch: Scratch,
    shim: Shim,
    florin: PathBuf,
    listen: String,
    asks: Vec<Ask>,
    circulating: u64,
    made: Instant,
}

/// What tries have shown.
#[derive(Default)]
struct Shown {
    not_reached: u64,
    not_started: u64,
    stopped: u64,
    served_on: u64,
    answers: u64,
    refused: u64,
    codes: BTreeMap<i32, u64>,
}

/// Tries a sample, or every call of every kind.
///
/// # Errors
/// What keeps the tries from beginning.
pub fn run(setting: &Setting, tries: u64) -> Result<Tally, FaultsError> {
    let (runtime, mut tally, mut shown) = (runtime()?, Tally::default(), Shown::default());
    let mut stage = runtime.block_on(Stage::make(setting))?;
    let reach = runtime.block_on(stage.reach())?;
    for number in setting.numbers(tries) {
        if stage.made.elapsed() > STAGE_LASTS {
            stage = runtime.block_on(Stage::make(setting))?;
        }
        let damage = chosen(setting, number, &reach);
        tally.tries = tally.tries.saturating_add(1);
        // A whole run does not make so many calls.
        if damage.at > most(&reach, number).saturating_add(SPARE) {
            shown.not_reached = shown.not_reached.saturating_add(1);
            continue;
        }
        match runtime.block_on(stage.attempt(damage, &mut shown)) {
            Ok(()) => {}
            Err(error) => tally.finding(format!("{}: {error}{}", damage.text(), stage.keep(setting, number))),
        }
    }
    for (name, value) in [
        ("did not start", shown.not_started),
        ("stopped", shown.stopped),
        ("served on", shown.served_on),
        ("calls not reached", shown.not_reached),
        ("answers", shown.answers),
        ("refused", shown.refused),
        ("calls of a whole run", reach.into_iter().max().unwrap_or(0)),
    ] {
        tally.count(name, value);
    }
    for (code, count) in shown.codes {
        let name =
            florin_shell::ExitCode::ALL.iter().find(|c| i32::from(c.number()) == code).map(|c| c.name());
        tally.count(name.unwrap_or("another end"), count);
    }
    Ok(tally)
}

/// How many calls of the kind of a try a whole run makes.
fn most(reach: &[u64; 3], number: u64) -> u64 {
    let place = usize::try_from(number % WAYS / 2).unwrap_or(0);
    reach.get(place).copied().unwrap_or(CALLS)
}

/// In the full size the calls in their order, of every kind; otherwise one of those that a whole run makes.
fn chosen(setting: &Setting, number: u64, reach: &[u64; 3]) -> Damage {
    let (row, column) = (number / WAYS, number % WAYS);
    let place = usize::try_from(column / 2).unwrap_or(0);
    let kind = Kind::ALL.get(place).copied().unwrap_or(Kind::Eio);
    let sticky = column % 2 == 1;
    let at = if setting.size == Size::Full {
        row.checked_rem(CALLS).unwrap_or(0).saturating_add(1)
    } else {
        Dice::new(setting.seed, number).within(1, most(reach, number).min(CALLS))
    };
    Damage { kind, at, sticky }
}

impl Stage {
    fn live(&self) -> PathBuf {
        self.scratch.path().join("live")
    }

    /// The folder of the try that has just found something is kept, if that is wanted.
    fn keep(&self, setting: &Setting, number: u64) -> String {
        let kept = std::env::temp_dir().join(format!("florin-io-{}-{number}", setting.seed));
        let done = setting.keep && crate::disk::copy(&self.live(), &kept).is_ok();
        if done { format!(" (kept in {})", kept.display()) } else { String::new() }
    }

    /// An operator with a checkpoint and records after it, as SIGKILL leaves it, and coins in somebody's hand.
    async fn make(setting: &Setting) -> Result<Self, FaultsError> {
        let scratch = Scratch::in_memory("io")?;
        let (top, programs) = (scratch.path().to_path_buf(), Programs::new(&setting.florin));
        let live = top.join("live");
        std::fs::create_dir_all(&live).map_err(FaultsError::at(&live))?;
        let bank = programs.bank(&top.join("bank"))?;
        programs.init_operator(&state::state(&live), bank.url())?;
        let first = serve(&setting.florin, &live, "127.0.0.1:0", &[])?;
        let url = first.url.clone().ok_or_else(|| FaultsError::Found("it listens nowhere".into()))?;
        let listen = url.trim_start_matches("http://").to_owned();
        let market = Market::open(Client::new(ClientConfig::default())?, &url, bank.url()).await?;
        let customer = market.enrol("Customer", Amount::new(DEPOSIT_MINOR, market.currency())).await?;
        let list = CoinList::of_values(vec![VALUE; COINS]).map_err(florin_bench::BenchError::from)?;
        let mut coins = Vec::new();
        for _ in 0..PURCHASES / 2 {
            coins.extend(market.buy(&customer, list.clone()).await?);
        }
        // Stopped in good order, it has a checkpoint; killed, records after it.
        first.stop()?;
        let second = serve(&setting.florin, &live, &listen, &[])?;
        for _ in PURCHASES / 2..PURCHASES {
            coins.extend(market.buy(&customer, list.clone()).await?);
        }
        second.kill()?;
        drop(bank);
        let circulating = VALUE.saturating_mul(u64::try_from(coins.len()).unwrap_or(0));
        let asks = asks(&market, &customer, coins)?;
        restore(&live, &top.join("base"))?;
        let (shim, florin) = (Shim::build(&top)?, setting.florin.clone());
        let made = Instant::now();
        Ok(Self { scratch, shim, florin, listen, asks, circulating, made })
    }

    /// How many calls a whole run makes, by kind.
    async fn reach(&self) -> Result<[u64; 3], FaultsError> {
        let never = Damage { kind: Kind::Eio, at: u64::MAX, sticky: false };
        self.attempt(never, &mut Shown::default()).await?;
        Ok(self.shim.counted()?.by_kind)
    }

    async fn attempt(&self, damage: Damage, shown: &mut Shown) -> Result<(), FaultsError> {
        let live = self.live();
        restore(&self.scratch.path().join("base"), &live)?;
        let environment = self.shim.environment(&live, Some(damage), None)?;
        let process = serve(&self.florin, &live, &self.listen, &environment)?;
        let Some(url) = process.url.clone() else {
            let end = process.end()?;
            judge(&end, shown)?;
            if end.code == Some(0) {
                return Err(FaultsError::Found("it ended with 0 and never listened".into()));
            }
            shown.not_started = shown.not_started.saturating_add(1);
            return self.afterwards(&live, 0, &[]).await;
        };
        let mut process = process;
        let (sent, read) = self.ask_all(&url, &mut process, shown).await?;
        let counted = self.shim.counted()?;
        if counted.faults == 0 {
            shown.not_reached = shown.not_reached.saturating_add(1);
        } else if process.is_running() {
            shown.served_on = shown.served_on.saturating_add(1);
        } else {
            shown.stopped = shown.stopped.saturating_add(1);
        }
        judge(&process.stop()?, shown)?;
        shown.answers = shown.answers.saturating_add(u64::try_from(read.len()).unwrap_or(0));
        self.afterwards(&live, sent, &read).await
    }

    /// Sends until some requests after the one that met the fault; how many were sent, and what was answered.
    async fn ask_all(
        &self,
        url: &str,
        process: &mut Process,
        shown: &mut Shown,
    ) -> Result<(usize, Vec<Acknowledged>), FaultsError> {
        let config = ClientConfig { timeout: Duration::from_secs(10), ..ClientConfig::default() };
        let (http, mut sent, mut read, mut after) = (Client::new(config)?, 0usize, Vec::new(), 0usize);
        for ask in &self.asks {
            if self.shim.counted()?.faults > 0 {
                after = after.saturating_add(1);
            }
            if after > AFTER || !process.is_running() {
                break;
            }
            sent = sent.saturating_add(1);
            let answered = http.post(&format!("{url}{}", ask.path), CONTENT_TYPE, ask.body.clone()).await;
            let delivered = match answered {
                Ok(answer) if answer.status.is_success() => {
                    let (path, body) = (ask.path.clone(), ask.body.clone());
                    read.push(Acknowledged { path, body, reply: answer.body.to_vec() });
                    continue;
                }
                Ok(answer) => refused_or_later(answer.problem()),
                Err(_) => Delivered::Later { slug: None, after_s: None },
            };
            if let Delivered::Refused(problem) = delivered {
                let slug = problem.slug.unwrap_or_default();
                return Err(FaultsError::Found(format!("{}: a good request was refused, {slug}", ask.path)));
            }
            shown.refused = shown.refused.saturating_add(1);
        }
        Ok((sent, read))
    }

    /// On a good disk: everything that was read is answered the same, everything else that was asked for happens, and
    /// the coins are all there.
    async fn afterwards(&self, top: &Path, sent: usize, read: &[Acknowledged]) -> Result<(), FaultsError> {
        let operator = state::open(top).await?;
        let asked = state::with_couriers(&operator, async |operator| {
            let mut redeemed = 0u64;
            for ask in self.asks.iter().take(sent) {
                let reply = state::ask(operator, &ask.path, &ask.body).await?;
                let reply = reply.map_err(|status| FaultsError::Found(format!("{}: {status}", ask.path)))?;
                let known = read.iter().find(|known| known.body == ask.body);
                if known.is_some_and(|known| known.reply != reply) {
                    let found = format!("{}: another answer to the same bytes", ask.path);
                    return Err(FaultsError::Found(found));
                }
                redeemed = redeemed.saturating_add(ask.redeemed);
            }
            Ok(redeemed)
        });
        let redeemed = asked.await?;
        let (circulating, expected) =
            (state::in_circulation(&operator)?, self.circulating.saturating_sub(redeemed));
        if circulating != expected {
            let found = format!("{circulating} in circulation instead of {expected}");
            return Err(FaultsError::Found(found));
        }
        state::audit(&operator.lanes)?;
        state::close(&operator)
    }
}

/// The operator of a folder, serving.
pub(crate) fn serve(
    florin: &Path,
    top: &Path,
    listen: &str,
    environment: &[(&'static str, std::ffi::OsString)],
) -> Result<Process, FaultsError> {
    let state = state::state(top);
    let dir = state.to_str().unwrap_or_default();
    let args = ["operator", "serve", "--no-passphrase", "--listen", listen, "--dir", dir];
    Process::start(florin, &args, environment, &top.with_extension("said"))
}

fn judge(end: &End, shown: &mut Shown) -> Result<(), FaultsError> {
    if let Some(code) = end.code.filter(|code| *code != 0) {
        let count = shown.codes.entry(code).or_default();
        *count = count.saturating_add(1);
    }
    if end.code == Some(i32::from(florin_shell::ExitCode::BadData.number())) {
        let said = end.said.lines().last().unwrap_or_default();
        return Err(FaultsError::Found(format!("an error of the disk is called damage: {said}")));
    }
    end.unclean().map_or(Ok(()), |why| Err(FaultsError::Found(why)))
}

/// One request a coin: change, payment, and now and then redemption; two registrations among them.
fn asks(market: &Market, customer: &Customer, coins: Vec<Coin>) -> Result<Vec<Ask>, FaultsError> {
    let issuer = market.issuer()?;
    let halves = CoinList::of_values(vec![VALUE / 2; 2]).map_err(florin_bench::BenchError::from)?;
    let tx = || TxId::new(random(&mut OsEntropy));
    let wrong = |error: florin_coin::AskError| FaultsError::Bench(error.into());
    let mut asks = Vec::new();
    for (number, coin) in coins.into_iter().enumerate() {
        let set =
            CoinSet::new(vec![coin.clone()], market.currency()).map_err(florin_bench::BenchError::from)?;
        let (prepared, redeemed) = match number % 5 {
            2 => {
                let me = &customer.holder.identity;
                (holder::redeem(&issuer, me, set, tx(), expiry(), &mut OsEntropy).map_err(wrong)?, VALUE)
            }
            0 | 3 => {
                let list = halves.clone();
                (holder::change(&issuer, set, list, tx(), expiry(), &mut OsEntropy).map_err(wrong)?, 0)
            }
            _ => (market.payment(&issuer, &customer.holder, vec![coin], halves.clone())?, 0),
        };
        asks.push(Ask { path: prepared.path.to_owned(), body: prepared.body, redeemed });
        if number == 3 || number == 30 {
            let (identity, once) = (IdentityKeys::generate(&mut OsEntropy), (tx(), expiry()));
            let now = SystemClock.now();
            let asked = asker::prepare_register(&identity, None, market.keys(), once, now, &mut OsEntropy);
            let asked = asked.map_err(florin_bench::BenchError::from)?;
            asks.push(Ask { path: asked.path, body: asked.body, redeemed: 0 });
        }
    }
    Ok(asks)
}
