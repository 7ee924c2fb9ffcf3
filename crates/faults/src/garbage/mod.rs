//! Garbage floods beside honest payments, against operator and gate: every honest payment succeeds, nothing answers with a
//! fault, nothing panics, memory stays bounded, and the journal does not know that there was garbage.
//! Source: the issue; reliability.md, R13, R15.

mod flood;
mod make;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64;
use florin_bench::{Acknowledged, Market};
use florin_http::{Client, ClientConfig};
use florin_money::{Amount, CoinList};
use serde_json::Value;
use tokio::runtime::Runtime;

use self::flood::{Flood, Told};
use self::make::Real;
use crate::clients::lock;
use crate::crowd::{hundredth, ms};
use crate::error::FaultsError;
use crate::fault::{Setting, Size};
use crate::honest::{Honest, pages};
use crate::report::Tally;
use crate::town::{Person, Shop, Site, Town};

/// Garbage a second for the record. Source: R13.
const PER_SECOND: u32 = 2_000;
/// Honest payments a second: in CI, for the record.
const HONEST: (u32, u32) = (20, 100);
/// Memory of a program under attack. Source: R13.
const MEMORY_MAX_KB: u64 = 512 * 1024;
/// How long the flood is alone, in CI.
const ALONE: Duration = Duration::from_secs(2);

/// So many pieces of garbage: first alone, then beside honest payments.
///
/// # Errors
/// What keeps a town from starting.
pub fn run(setting: &Setting, tries: u64) -> Result<Tally, FaultsError> {
    let runtime = crate::clients::runtime()?;
    let mut town = Town::start(setting, "garbage", &[])?;
    let site = runtime.block_on(Site::start())?;
    let operator = format!("http://{}", town.operator_at());
    let shop = town.shop("gate", &operator, &site.url())?;
    let person = town.person("wallet", &operator)?;
    person.home.ok(&["wallet", "buy", "100.00 FLO"])?;
    let flood = Arc::new(Flood {
        servers: [town.operator_at(), shop.at],
        real: runtime.block_on(real(&town))?,
        offer: runtime.block_on(offer(&shop))?,
        seed: setting.seed,
        per_second: if setting.size == Size::Full { Some(PER_SECOND) } else { None },
    });
    let mut tally = Tally { tries, ..Tally::default() };
    let told = alone(&town, &shop, &flood, &runtime, tries, &mut tally)?;
    beside(setting, &town, &shop, &person, &flood, (&runtime, tries.saturating_sub(told)), &mut tally)?;
    tally.findings.extend(town.audit()?.1);
    tally.findings.extend(town.bad_lines(&[&shop]));
    for (name, served) in [("operator memory MB", town.operator()), ("gate memory MB", shop.served())] {
        let kb = served.and_then(|served| served.memory_kb("VmHWM")).unwrap_or(0);
        if kb == 0 || kb > MEMORY_MAX_KB {
            tally.finding(format!("{name}: {kb} kB"));
        }
        tally.count(name, kb.div_ceil(1024));
    }
    if site.asked("GET /garbage") > 0 {
        tally.finding("garbage was taken for a payment");
    }
    if setting.keep && !tally.findings.is_empty() {
        eprintln!("garbage: state and logs are kept in {}", town.keep().display());
    }
    Ok(tally)
}

/// Requests of honest people, to be spoilt: those of a purchase, a payment, a change and a redemption.
async fn real(town: &Town) -> Result<Vec<Real>, FaultsError> {
    let log: Arc<Mutex<Vec<Acknowledged>>> = Arc::default();
    let http = Client::new(ClientConfig::default())?;
    let url = format!("http://{}", town.operator_at());
    let market = Market::open(http, &url, &town.bank_url()).await?.logging(Arc::clone(&log));
    let customer = market.enrol("Spoilt", Amount::new(10_000, market.currency())).await?;
    let list = || CoinList::of_values([100, 20, 5]).map_err(florin_bench::BenchError::from);
    let coins = market.buy(&customer, list()?).await?;
    let coins = market.change(coins, list()?).await?;
    let coins = market.pay(&customer.holder, coins, list()?).await?;
    market.redeem(&customer, coins).await?;
    let real =
        lock(&log).iter().map(|noted| Real { path: noted.path.clone(), body: noted.body.clone() }).collect();
    Ok(real)
}

/// The gate's offer, as its 402 has it.
async fn offer(shop: &Shop) -> Result<String, FaultsError> {
    let http = Client::new(ClientConfig::default())?;
    let url = format!("http://{}/garbage", shop.at);
    let answer = http.get(&url, []).await.map_err(florin_bench::BenchError::from)?;
    let header = answer.headers.get("payment-required").map(|value| value.as_bytes().to_vec());
    let text = header.and_then(|header| BASE64.decode(&header).ok()).unwrap_or_default();
    let required: Value = serde_json::from_slice(&text).unwrap_or(Value::Null);
    match required.pointer("/accepts/0") {
        Some(entry) => Ok(entry.to_string()),
        None => Err(FaultsError::Said { program: url, said: format!("no offer: {}", answer.status) }),
    }
}

/// Where nobody else is, the journals must stand afterwards as they stood before; how much garbage that was.
fn alone(
    town: &Town,
    shop: &Shop,
    flood: &Arc<Flood>,
    runtime: &Runtime,
    tries: u64,
    tally: &mut Tally,
) -> Result<u64, FaultsError> {
    let records = || -> Result<(String, Value), FaultsError> {
        Ok((town.home().ok(&["--json", "operator", "journal"])?, shop.home.json(&["gate", "history"])?))
    };
    // What the bank still has to say of the honest is no garbage.
    let mut before = records()?;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = records()?;
        if now == before {
            break;
        }
        before = now;
    }
    let told = runtime.block_on(flood.pour(tries.div_ceil(4), ALONE.saturating_mul(5), 1));
    let after = records()?;
    if before != after {
        let more = after.0.strip_prefix(&before.0).unwrap_or(&after.0);
        tally.finding(format!("the journal knows of garbage: {more} {}", after.1));
    }
    let count = told.count();
    tell(told, tally);
    Ok(count)
}

/// The rest, beside honest payments.
fn beside(
    setting: &Setting,
    town: &Town,
    shop: &Shop,
    person: &Person,
    flood: &Arc<Flood>,
    (runtime, rest): (&Runtime, u64),
    tally: &mut Tally,
) -> Result<(), FaultsError> {
    let per_second = if setting.size == Size::Full { HONEST.1 } else { HONEST.0 };
    let honest = Honest::start(town, runtime, 8, per_second)?;
    let stop = AtomicBool::new(false);
    let begun = std::time::Instant::now();
    let (told, paid) = std::thread::scope(|threads| {
        let paying = threads.spawn(|| pages(person, shop, "honest", &stop));
        let told = runtime.block_on(flood.pour(rest, Duration::from_secs(600), 2));
        stop.store(true, Ordering::SeqCst);
        let gone = |_| Err(FaultsError::Said { program: "a thread".into(), said: "it panicked".into() });
        (told, paying.join().unwrap_or_else(gone))
    });
    let took = begun.elapsed();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    tally.figure("garbage a second", told.count() as f64 / took.as_secs_f64().max(0.001));
    tell(told, tally);
    let (times, repeated) = honest.end(runtime);
    times.tell(["payments", "payment p50 ms", "payment p99 ms"], tally);
    tally.count("payments repeated", repeated);
    paid?.tell(["pages", "page p50 ms", "page p99 ms"], tally);
    Ok(())
}

/// No fault, and no answer that says yes to garbage.
fn tell(mut told: Told, tally: &mut Tally) {
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    for ((server, sort, status), times) in &told.statuses {
        let fault = *status >= 500 && *status != 503;
        let yes = (200..300).contains(status);
        if fault || yes {
            let count = faults.entry(format!("{sort:?} at {server}: status {status}")).or_insert(0);
            *count = count.saturating_add(*times);
        }
    }
    tally.findings.extend(faults.into_iter().map(|(what, times)| format!("{what}, {times} times")));
    tally.findings.append(&mut told.failed);
    told.took.sort_unstable();
    tally.figure("garbage p99 ms", ms(hundredth(&told.took, 99)));
    let mut by_status: BTreeMap<u16, u64> = BTreeMap::new();
    for ((_, _, status), times) in &told.statuses {
        let count = by_status.entry(*status).or_insert(0);
        *count = count.saturating_add(*times);
    }
    eprintln!("garbage: answers by status (0: none): {by_status:?}");
}
