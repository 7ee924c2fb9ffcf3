//! `florin bench coin`: a sandbox bank and an operator as processes of their own, payments over HTTP, and the ratio of
//! the cryptography to everything. Source: performance.md, the row `coin` payment with refresh; reliability R1.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use florin_books::Clock as _;
use florin_coin::Prepared;
use florin_coin::payee::VALIDATION_PATH;
use florin_crypto::Zeroizing;
use florin_http::{Client, ClientConfig};
use florin_shell::clock::SystemClock;

use crate::books;
use crate::crypto;
use crate::echo;
use crate::error::BenchError;
use crate::load::{Came, Load, Pace, Ran, run};
use crate::machine::{Machine, cpu_of_process, cpu_of_self, disk_use, written_by};
use crate::market::{Holder, Market};
use crate::programs::{Programs, Running};
use crate::report::{CoinReport, Latency, REPORT_VERSION, Window, date};
use crate::scratch::Scratch;
use crate::supply::{Shape, coins, price, seal};

/// Payees that the payments go to in turn.
const PAYEES: usize = 8;
/// Payments that are sent to find out how many are needed.
const CALIBRATION: usize = 3_000;
/// Connections of the open loop: enough that a late answer does not keep the next request from leaving.
const OPEN_CONNECTIONS: usize = 128;
/// More payments than these are never prepared: they take memory, about 4 KiB each.
const PREPARED_MAX: usize = 400_000;

/// The open loop after the closed one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum OpenLoop {
    /// None.
    Off,
    /// This share of what the closed loop reached.
    Share(f64),
    /// So many a second.
    Rate(f64),
}

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct CoinOptions {
    /// The programs to be measured.
    pub programs: Programs,
    /// How long is counted.
    pub window: Duration,
    /// How long before it.
    pub warm_up: Duration,
    /// Connections of the closed loop, each with one request under way.
    pub outstanding: usize,
    /// Coins that a payment gives.
    pub coins_in: usize,
    /// Coins that it gets.
    pub coins_out: usize,
    /// The open loop.
    pub open: OpenLoop,
    /// Live coins at which the closed loop is run again, the operator killed and started in between.
    pub live: Vec<u64>,
    /// Where the report goes as JSON.
    pub json: Option<PathBuf>,
    /// Where state is made; it must be on the disk that is to be measured. A folder for temporary files if none.
    pub dir: Option<PathBuf>,
    /// The command line, for the report.
    pub command: String,
}

impl CoinOptions {
    /// The usual measurement: ten seconds, 64 connections, 4 coins in and 4 out, then the open loop at 70 %.
    #[must_use]
    pub fn new(programs: Programs) -> Self {
        Self {
            programs,
            window: Duration::from_secs(10),
            warm_up: Duration::from_secs(2),
            outstanding: 64,
            coins_in: 4,
            coins_out: 4,
            open: OpenLoop::Share(0.7),
            live: Vec::new(),
            json: None,
            dir: None,
            command: std::env::args().collect::<Vec<_>>().join(" "),
        }
    }
}

/// What is being measured.
pub(crate) struct Stage {
    pub(crate) market: Arc<Market>,
    payees: Vec<Arc<Holder>>,
    shape: Shape,
    pub(crate) operator: Option<Running>,
    pub(crate) address: SocketAddr,
    pub(crate) state: PathBuf,
    _bank: Running,
}

/// Sizes on the wire.
#[derive(Clone, Copy, Default)]
struct Sizes {
    request: usize,
    answer: usize,
}

/// Measures; `say` hears what is going on. Run it on a runtime with several threads.
///
/// # Errors
/// [`BenchError`].
pub async fn coin(options: &CoinOptions, say: &(dyn Fn(&str) + Sync)) -> Result<CoinReport, BenchError> {
    let machine = Machine::this();
    let scratch = Scratch::new(options.dir.as_deref())?;
    let mut stage = Stage::set(options, scratch.path()).await?;
    say("calibrating");
    let items = stage.prepare(CALIBRATION).await?;
    let (_, rate, sizes) = stage.calibrate(options, items).await?;
    let closed_n = needed(rate * 1.3, options.warm_up.saturating_add(options.window));
    say(&format!("about {rate:.0} payments/s; sealing {closed_n} payments"));
    let items = stage.prepare(closed_n).await?;
    let currency = stage.market.currency();
    let before = crypto::measure(&stage.shape, currency)?;
    say("closed loop");
    let load = stage.load(options, options.outstanding, Pace::Closed);
    let closed = stage.measure(load, items).await?;
    let (open, open_n) = stage.open_loop(options, closed.payments_per_s, say).await?;
    let scale = stage.at_scale(options, closed_n, say).await?;
    say("cryptography, HTTP and books alone");
    let crypto = before.best(crypto::measure(&stage.shape, currency)?);
    let echo_window = options.window.min(Duration::from_secs(3));
    let echo = echo::measure(sizes.request, sizes.answer, options.outstanding, echo_window).await?;
    let alone = scratch.path().join("alone");
    let books_us = tokio::task::spawn_blocking(move || books::cost(&alone));
    let books_us = books_us.await.map_err(|_| BenchError::Worker)??;
    say("audit");
    let (coins_in, coins_out) = (stage.shape.coins_in.count(), stage.shape.coins_out.count());
    let audit_clean = stage.end(options)?;
    let now = SystemClock.now();
    let report = CoinReport {
        version: REPORT_VERSION,
        time_ms: now.0,
        date: date(now.unix_s()),
        command: options.command.clone(),
        optimised: !cfg!(debug_assertions),
        machine,
        coins_in,
        coins_out,
        prepared: CALIBRATION.saturating_add(closed_n).saturating_add(open_n),
        calibration: CALIBRATION,
        request_bytes: sizes.request,
        answer_bytes: sizes.answer,
        ratio: crypto.payment_us / closed.server_cpu_us,
        ratio_beside: closed.crypto_beside_us.map(|crypto| crypto / closed.server_cpu_us),
        closed,
        open,
        crypto,
        echo,
        books_us,
        scale,
        audit_clean,
    };
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).map_err(|source| BenchError::File { path: path.clone(), source })?;
    }
    Ok(report)
}

/// So many payments for so long.
fn needed(rate: f64, time: Duration) -> usize {
    let number = format!("{:.0}", rate * time.as_secs_f64());
    number.parse().unwrap_or(PREPARED_MAX).clamp(1_000, PREPARED_MAX)
}

impl Stage {
    async fn set(options: &CoinOptions, dir: &Path) -> Result<Self, BenchError> {
        let shape = Shape::new(options.coins_in, options.coins_out)?;
        let (programs, bank_dir, state) = (options.programs.clone(), dir.join("bank"), dir.join("operator"));
        let at = state.clone();
        let started = tokio::task::spawn_blocking(move || {
            let bank = programs.bank(&bank_dir)?;
            programs.init_operator(&at, bank.url())?;
            let operator = programs.operator(&at, SocketAddr::from(([127, 0, 0, 1], 0)))?;
            Ok::<_, BenchError>((bank, operator))
        });
        let (bank, operator) = started.await.map_err(|_| BenchError::Worker)??;
        let address = operator.address();
        let address = address.ok_or_else(|| BenchError::Connection(operator.url().to_owned()))?;
        let http = Client::new(ClientConfig::default())?;
        let market = Arc::new(Market::open(http, operator.url(), bank.url()).await?);
        let mut payees = Vec::with_capacity(PAYEES);
        for _ in 0..PAYEES {
            payees.push(Arc::new(market.register().await?));
        }
        Ok(Self { market, payees, shape, operator: Some(operator), address, state, _bank: bank })
    }

    /// The operator's number at the system.
    fn pid(&self) -> u32 {
        self.operator.as_ref().map_or(0, Running::pid)
    }

    /// Buys, changes, seals.
    pub(crate) async fn prepare(&self, payments: usize) -> Result<Vec<Prepared>, BenchError> {
        let price = price(&self.market, &self.shape, payments)?;
        let customer = self.market.enrol("Load generator", price).await?;
        let sets = coins(&self.market, customer, &self.shape, payments).await?;
        seal(&self.market, &self.payees, sets, &self.shape.coins_out).await
    }

    pub(crate) fn load(&self, options: &CoinOptions, connections: usize, pace: Pace) -> Load {
        let (warm_up, window) = (options.warm_up, options.window);
        Load { address: self.address, path: VALIDATION_PATH.into(), connections, pace, warm_up, window }
    }

    async fn calibrate(
        &self,
        options: &CoinOptions,
        items: Vec<Prepared>,
    ) -> Result<(Window, f64, Sizes), BenchError> {
        let times = (Duration::from_millis(200), Duration::from_millis(600));
        let load = Load {
            warm_up: times.0,
            window: times.1,
            ..self.load(options, options.outstanding, Pace::Closed)
        };
        let (bodies, pending) = apart(items);
        let request = bodies.first().map_or(0, Bytes::len);
        let ran = run(load.clone(), bodies, || {}).await?;
        let answer = ran.samples.iter().find_map(|s| match &s.came {
            Came::Answer(body) => Some(body.len()),
            Came::Status(_) | Came::Broken => None,
        });
        let window = self.window(&load, ran, pending, [Usage::default(); 2])?;
        let rate = window.payments_per_s;
        Ok((window, rate, Sizes { request, answer: answer.unwrap_or(0) }))
    }

    async fn open_loop(
        &self,
        options: &CoinOptions,
        reached: f64,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<(Option<Window>, usize), BenchError> {
        let rate = match options.open {
            OpenLoop::Off => return Ok((None, 0)),
            OpenLoop::Share(share) => reached * share,
            OpenLoop::Rate(rate) => rate,
        };
        let count = needed(rate * 1.02, options.warm_up.saturating_add(options.window));
        say(&format!("sealing {count} payments for the open loop at {rate:.0}/s"));
        let items = self.prepare(count).await?;
        say("open loop");
        let window = self.measure(self.load(options, OPEN_CONNECTIONS, Pace::Open(rate)), items).await?;
        Ok((Some(window), count))
    }

    pub(crate) async fn measure(&self, load: Load, items: Vec<Prepared>) -> Result<Window, BenchError> {
        let (bodies, pending) = apart(items);
        let mut usage = Vec::with_capacity(2);
        let beside = crypto::Beside::start(&self.shape, self.market.currency())?;
        let ran = run(load.clone(), bodies, || usage.push(Usage::of(self.pid(), &self.state))).await;
        let crypto = tokio::task::spawn_blocking(|| beside.finish()).await.map_err(|_| BenchError::Worker)?;
        let ran = ran?;
        let [before, after] = usage.as_slice() else { return Err(BenchError::Worker) };
        let window = self.window(&load, ran, pending, [*before, *after])?;
        Ok(Window { crypto_beside_us: crypto, ..window })
    }

    /// Counts what came, and reads every answer as the payee does.
    fn window(
        &self,
        load: &Load,
        ran: Ran,
        pending: Vec<Zeroizing<Vec<u8>>>,
        [before, after]: [Usage; 2],
    ) -> Result<Window, BenchError> {
        let times: Vec<Duration> =
            ran.counted().filter(|s| matches!(s.came, Came::Answer(_))).map(|s| s.latency).collect();
        let (errors, first_error) = self.errors(&ran, &pending);
        let payments = u32::try_from(times.len()).unwrap_or(u32::MAX);
        if payments == 0 {
            return Err(BenchError::NothingMeasured(first_error.unwrap_or_default()));
        }
        let seconds = ran.until.saturating_duration_since(ran.from).as_secs_f64();
        let each = |total: f64| total / f64::from(payments);
        let micros = |a: Duration, b: Duration| each(b.saturating_sub(a).as_secs_f64() * 1e6);
        let bytes = |a: u64, b: u64| each(float(b.saturating_sub(a)));
        Ok(Window {
            pace: if load.pace == Pace::Closed { "closed".into() } else { "open".into() },
            offered_per_s: match load.pace {
                Pace::Closed => None,
                Pace::Open(rate) => Some(rate),
            },
            connections: load.connections,
            seconds,
            payments: u64::from(payments),
            payments_per_s: f64::from(payments) / seconds,
            latency: Latency::of(times),
            errors,
            first_error,
            ran_out: ran.ran_out,
            server_cpu_us: micros(before.server, after.server),
            crypto_beside_us: None,
            generator_cpu_us: micros(before.generator, after.generator),
            disk_growth_bytes: bytes(before.disk, after.disk),
            written_bytes: before.written.zip(after.written).map(|(a, b)| bytes(a, b)),
        })
    }

    fn errors(&self, ran: &Ran, pending: &[Zeroizing<Vec<u8>>]) -> (u64, Option<String>) {
        let (mut errors, mut first) = (0_u64, None);
        for sample in &ran.samples {
            let wrong = match &sample.came {
                Came::Answer(body) => pending
                    .get(sample.index)
                    .and_then(|pending| self.market.new_coins(pending, body).err())
                    .map(|error| error.to_string()),
                Came::Status(status) => Some(format!("status {status}")),
                Came::Broken => Some("the connection broke".into()),
            };
            if let Some(wrong) = wrong {
                errors = errors.saturating_add(1);
                first.get_or_insert(wrong);
            }
        }
        (errors, first)
    }

    /// Kills the operator and audits what it leaves.
    fn end(mut self, options: &CoinOptions) -> Result<bool, BenchError> {
        self.kill()?;
        Ok(options.programs.audit(&self.state)?.success())
    }
}

/// What was used up so far.
#[derive(Clone, Copy, Default)]
struct Usage {
    server: Duration,
    generator: Duration,
    disk: u64,
    written: Option<u64>,
}

impl Usage {
    fn of(server: u32, state: &Path) -> Self {
        Self {
            server: cpu_of_process(server).unwrap_or_default(),
            generator: cpu_of_self().unwrap_or_default(),
            disk: disk_use(state),
            written: written_by(server),
        }
    }
}

fn apart(items: Vec<Prepared>) -> (Vec<Bytes>, Vec<Zeroizing<Vec<u8>>>) {
    items.into_iter().map(|item| (Bytes::from(item.body), item.pending)).unzip()
}

/// Bytes of a window are far below 2^53, so nothing is lost.
pub(crate) fn float(bytes: u64) -> f64 {
    let high = u32::try_from(bytes >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(bytes & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}
