//! `florin bench books`: what a payment costs in the books alone (facts read, rules, two durable copies, folds), how that
//! changes with the coins in circulation, what a live coin takes on the disk, and how long a start takes.
//! Source: performance.md, the rows "cost as circulation grows", "disk per live coin", "start".
//!
//! The transitions are those that a ValidationReq with refresh leaves: four coins in, four out, three once keys, two
//! documents read. Coins are issued in one transition each: nobody could pay with them, but the books do not know that.
//! All sizes are measured in turns, so that a busy moment of the machine meets each of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use florin_books::{
    Account, Clock, DocumentKey, DocumentKind, Epoch, Issue, LaneId, LaneSpec, Needs, OnceKey, PartyId,
    Record, RegisterId, RegisterSpec, Seq, TokenNumber, Transition,
};
use florin_crypto::{Secret, digest, random};
use florin_money::{Amount, Currency, Denominations};
use florin_shell::clock::SystemClock;
use florin_shell::entropy::OsEntropy;
use florin_shell::storage::{StorageOptions, create_books, open_books};
use florin_store::{Books, CommitError};

use crate::books_report::{BooksReport, JournalCost, ScaleCost};
use crate::error::BenchError;
use crate::machine::{Machine, cpu_of_self, disk_use};
use crate::report::{Latency, REPORT_VERSION, date};
use crate::scratch::Scratch;

const LANE: LaneId = LaneId(1);
const REGISTER: RegisterId = RegisterId(0);
const EPOCH: Epoch = Epoch(1);
/// Coins that a payment spends and creates.
const COINS: u64 = 4;
/// Transitions under way at once, as many as the connections of the closed loop.
const OUTSTANDING: u64 = 64;
/// The same while a long journal is written, where only the rate counts.
const OUTSTANDING_JOURNAL: u64 = 512;
/// Bytes of a payment's seed.
const SEED: usize = 310;
/// Coins that one transition issues at most.
const ISSUED_AT_ONCE: u64 = 1 << 30;
/// Payees in turn.
const PAYEES: u64 = 8;
const PARTICIPANT: DocumentKind = DocumentKind(0x7f01);
const ACKNOWLEDGED: DocumentKind = DocumentKind(0x7f02);

/// What is measured.
#[derive(Clone, Debug)]
pub struct BooksOptions {
    /// Live coins, each a measurement of its own.
    pub live: Vec<u64>,
    /// Payments in each turn at each size.
    pub payments: u64,
    /// Turns.
    pub turns: usize,
    /// Payments in the journal before the start that is timed.
    pub journal: u64,
    /// Where state is made; a folder for temporary files if none.
    pub dir: Option<PathBuf>,
    /// The command line, for the report.
    pub command: String,
}

impl BooksOptions {
    /// The usual measurement: 10^5, 10^6 and 10^7 live coins, 10^6 payments in the journal.
    #[must_use]
    pub fn new() -> Self {
        Self {
            live: vec![100_000, 1_000_000, 10_000_000],
            payments: 4_000,
            turns: 5,
            journal: 1_000_000,
            dir: None,
            command: std::env::args().collect::<Vec<_>>().join(" "),
        }
    }
}

impl Default for BooksOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Books with so many live coins.
struct Stand {
    live: u64,
    dir: PathBuf,
    key: Secret<32>,
    books: Books,
    /// Payments made so far; the number of the next.
    made: u64,
    growth: u64,
}

/// One turn.
struct Turn {
    cpu_us: f64,
    per_s: f64,
    times: Vec<Duration>,
}

type Answered = (Result<Arc<Record>, CommitError>, Duration);

fn spec() -> LaneSpec {
    let denominations = Denominations::one_two_five(Currency::FLO, florin_money::DENOMINATIONS_DEFAULT);
    LaneSpec { lane: LANE, registers: vec![RegisterSpec { id: REGISTER, denominations }] }
}

fn denomination() -> Result<florin_books::DenominationId, BenchError> {
    florin_books::DenominationId::new(REGISTER, 0).ok_or(BenchError::TooFewCoins)
}

fn id(what: &str, n: u64) -> [u8; 16] {
    digest("florin/v1/bench/books", &[what.as_bytes(), &n.to_be_bytes()]).short()
}

fn payee(n: u64) -> PartyId {
    PartyId::new(id("payee", n % PAYEES))
}

/// Coins of the lowest value, issued in one change for each epoch: against the party's own capital.
///
/// # Errors
/// `Commit`.
pub fn issue(books: &Books, epoch: Epoch, currency: Currency, coins: u64) -> Result<(), BenchError> {
    let register = books.spec().registers.first().ok_or(BenchError::TooFewCoins)?;
    let value = register.denominations.value(0).ok_or(BenchError::TooFewCoins)?;
    let denomination = florin_books::DenominationId::new(register.id, 0).ok_or(BenchError::TooFewCoins)?;
    let mut left = coins;
    while left > 0 {
        let now = left.min(ISSUED_AT_ONCE);
        left = left.saturating_sub(now);
        let mut t = Transition::new(
            digest("florin/v1/bench/issue", &[&random::<16>(&mut OsEntropy)]),
            books.durable(),
        );
        let count = u32::try_from(now).unwrap_or(u32::MAX);
        t.creates.push(Issue { epoch, denomination, count });
        let worth = Amount::new(now.saturating_mul(value), currency);
        t.post(Account::Capital, Account::Register(register.id), worth);
        books.commit(t)?;
    }
    Ok(())
}

impl Stand {
    fn new(dir: PathBuf, live: u64) -> Result<Self, BenchError> {
        let key = Secret::random(&mut OsEntropy);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let books = create_books(&dir, spec(), &key, clock, &StorageOptions::default())?;
        let mut setup = Transition::new(digest("florin/v1/bench/payees", &[]), Seq(0));
        for n in 0..PAYEES {
            setup.write(DocumentKey::new(PARTICIPANT, *payee(n).bytes()), vec![7; 160]);
        }
        books.commit(setup)?;
        let before = files(&dir);
        issue(&books, EPOCH, Currency::FLO, live)?;
        // Whoever stops folds: after that everything that a live coin costs is in the files.
        books.stop()?;
        let growth = files(&dir).saturating_sub(before);
        let books = reopen(&dir, &key)?;
        Ok(Self { live, dir, key, books, made: 0, growth })
    }

    /// The n-th payment, on facts that are read now, as the house does.
    fn pay(&self, n: u64, answers: &Sender<Answered>) -> Result<(), BenchError> {
        let begun = Instant::now();
        let (payee, txid) = (payee(n), id("payment", n));
        let once = |step| OnceKey { rail: 1, step, party: payee, txid };
        let needs = Needs {
            documents: vec![
                DocumentKey::new(PARTICIPANT, *payee.bytes()),
                DocumentKey::new(ACKNOWLEDGED, txid),
            ],
            once: vec![once(1), once(2), once(3)],
            ..Needs::default()
        };
        let facts = self.books.load(&needs)?;
        if facts.documents.len() != 1 || !facts.once.is_empty() {
            return Err(BenchError::Denied { path: "books" });
        }
        let mut t = Transition::new(digest("florin/v1/bench/payment", &[&txid]), facts.as_of);
        t.once = needs.once;
        let denomination = denomination()?;
        for i in 0..COINS {
            // Coins come back in no order: a step that shares no factor with the number of coins meets each once.
            let place = n.wrapping_mul(COINS).wrapping_add(i).wrapping_mul(STEP);
            let counter = place.checked_rem(self.live).unwrap_or(0);
            t.consumes.push(TokenNumber { lane: LANE, epoch: EPOCH, denomination, counter });
        }
        t.creates.push(Issue { epoch: Epoch(2), denomination, count: 4 });
        t.seed = vec![7; SEED];
        let send = answers.clone();
        // Who no longer listens has met an error before.
        let answer = move |result| drop(send.send((result, begun.elapsed())));
        self.books.submit(t, Box::new(answer));
        Ok(())
    }

    fn turn(&mut self, payments: u64, outstanding: u64) -> Result<Turn, BenchError> {
        let (send, receive): (Sender<Answered>, Receiver<Answered>) = channel();
        let (begun, cpu) = (Instant::now(), cpu_of_self().unwrap_or_default());
        let end = self.made.saturating_add(payments);
        let mut times = Vec::new();
        let (mut next, mut under_way) = (self.made, 0_u64);
        while next < end || under_way > 0 {
            if next < end && under_way < outstanding {
                self.pay(next, &send)?;
                (next, under_way) = (next.saturating_add(1), under_way.saturating_add(1));
                continue;
            }
            let (result, time) = receive.recv().map_err(|_| BenchError::Worker)?;
            result?;
            times.push(time);
            under_way = under_way.saturating_sub(1);
        }
        self.made = end;
        let spent = cpu_of_self().unwrap_or_default().saturating_sub(cpu);
        let count = whole(payments);
        Ok(Turn {
            cpu_us: spent.as_secs_f64() * 1e6 / count,
            per_s: count / begun.elapsed().as_secs_f64(),
            times,
        })
    }

    /// Closes the books as a crash does, and starts them again.
    fn restart(self) -> Result<(Self, Duration), BenchError> {
        let Self { live, dir, key, books, made, growth } = self;
        drop(books);
        let begun = Instant::now();
        let books = reopen(&dir, &key)?;
        let took = begun.elapsed();
        Ok((Self { live, dir, key, books, made, growth }, took))
    }

    /// How long the writer is held up by a snapshot of the live coins, and how large the whole checkpoint is.
    fn snapshot(&self) -> Result<(Duration, u64), BenchError> {
        let measured = self.books.view(|lane| {
            let begun = Instant::now();
            let copy = lane.live().clone();
            let took = begun.elapsed();
            drop(copy);
            (took, lane.checkpoint().len())
        })?;
        Ok((measured.0, u64::try_from(measured.1).unwrap_or(u64::MAX)))
    }
}

/// A prime larger than any factor of the sizes that are measured.
const STEP: u64 = 1_000_003;

fn reopen(dir: &Path, key: &Secret<32>) -> Result<Books, BenchError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Ok(open_books(dir, spec(), key, clock, &StorageOptions::default())?)
}

/// What the books take on the disk, without the bytes that are laid aside for a full disk.
fn files(dir: &Path) -> u64 {
    let reserve = std::fs::metadata(dir.join("reserve")).map_or(0, |m| m.len());
    disk_use(dir).saturating_sub(reserve)
}

/// Numbers of payments and bytes are far below 2^53.
fn whole(n: u64) -> f64 {
    crate::coin::float(n)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(0.0)
}

/// Processor time of a payment in the books, in microseconds, with few coins: for the breakdown of the whole.
///
/// # Errors
/// Those of the store.
pub fn cost(dir: &Path) -> Result<f64, BenchError> {
    let mut stand = Stand::new(dir.join("books-alone"), 1_000_000)?;
    stand.turn(1_000, OUTSTANDING)?;
    let turns: Result<Vec<f64>, BenchError> =
        (0..3).map(|_| stand.turn(5_000, OUTSTANDING).map(|turn| turn.cpu_us)).collect();
    Ok(median(turns?))
}

/// Measures; `say` hears what is going on.
///
/// # Errors
/// [`BenchError`].
pub fn books(options: &BooksOptions, say: &(dyn Fn(&str) + Sync)) -> Result<BooksReport, BenchError> {
    let machine = Machine::this();
    let scratch = Scratch::new(options.dir.as_deref())?;
    let rounds = u64::try_from(options.turns).unwrap_or(u64::MAX).saturating_add(1);
    let mut stands = Vec::new();
    for &live in &options.live {
        say(&format!("issuing {live} coins"));
        let coins = options.payments.saturating_mul(COINS).saturating_mul(rounds);
        if coins > live {
            return Err(BenchError::TooFewCoins);
        }
        stands.push(Stand::new(scratch.path().join(format!("live-{live}")), live)?);
    }
    let mut turns: Vec<Vec<Turn>> = stands.iter().map(|_| Vec::new()).collect();
    for turn in 0..=options.turns {
        say(&format!("turn {turn} of {}", options.turns));
        for (stand, turns) in stands.iter_mut().zip(&mut turns) {
            let measured = stand.turn(options.payments, OUTSTANDING)?;
            // The first one warms up.
            if turn > 0 {
                turns.push(measured);
            }
        }
    }
    let mut scale = Vec::new();
    let mut last = None;
    for (stand, turns) in stands.into_iter().zip(turns) {
        let (snapshot, checkpoint) = stand.snapshot()?;
        let (stand, start) = stand.restart()?;
        scale.push(scale_cost(&stand, turns, (snapshot, checkpoint), start));
        last = Some(stand);
    }
    let journal = match last {
        Some(stand) if options.journal > 0 => Some(journal(stand, options.journal, say)?),
        _ => None,
    };
    let now = SystemClock.now();
    Ok(BooksReport {
        version: REPORT_VERSION,
        time_ms: now.0,
        date: date(now.unix_s()),
        command: options.command.clone(),
        optimised: !cfg!(debug_assertions),
        machine,
        scale,
        journal,
    })
}

fn scale_cost(stand: &Stand, turns: Vec<Turn>, snapshot: (Duration, u64), start: Duration) -> ScaleCost {
    let cpu_us = median(turns.iter().map(|t| t.cpu_us).collect());
    let payments_per_s = median(turns.iter().map(|t| t.per_s).collect());
    ScaleCost {
        live: stand.live,
        payments_per_s,
        cpu_us,
        latency: Latency::of(turns.into_iter().flat_map(|t| t.times).collect()),
        disk_bytes_per_coin: whole(stand.growth) / whole(stand.live),
        checkpoint_bytes: snapshot.1,
        snapshot_us: snapshot.0.as_secs_f64() * 1e6,
        start_ms: start.as_secs_f64() * 1e3,
    }
}

/// Many payments, then a start; and whether the last of them cost what the first did.
fn journal(mut stand: Stand, payments: u64, say: &(dyn Fn(&str) + Sync)) -> Result<JournalCost, BenchError> {
    let parts = 20;
    // One part is kept back for what the turns have spent.
    let payments = payments.min(stand.live.saturating_mul(20) / (21 * COINS));
    let each = (payments / parts).max(1);
    let before = files(&stand.dir);
    let (mut first, mut last) = (0.0, 0.0);
    let mut rates = Vec::new();
    for part in 0..parts {
        say(&format!("a journal of {} payments", stand.made));
        let turn = stand.turn(each, OUTSTANDING_JOURNAL)?;
        if part == 0 {
            first = turn.cpu_us;
        }
        last = turn.cpu_us;
        rates.push(turn.per_s);
    }
    let disk = whole(files(&stand.dir).saturating_sub(before)) / whole(each.saturating_mul(parts));
    say("start");
    let (stand, start) = stand.restart()?;
    say("audit");
    let audit = Instant::now();
    let clean = stand.books.audit()?.is_clean();
    Ok(JournalCost {
        payments: stand.made,
        payments_per_s: median(rates),
        first_cpu_us: first,
        last_cpu_us: last,
        disk_bytes: disk,
        start_ms: start.as_secs_f64() * 1e3,
        audit_s: audit.elapsed().as_secs_f64(),
        audit_clean: clean,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payments_are_made_at_each_size_and_the_books_stay_clean() {
        let options = BooksOptions {
            live: vec![1_000, 9_000],
            payments: 40,
            turns: 2,
            journal: 200,
            ..BooksOptions::new()
        };
        let report = books(&options, &|_| ()).unwrap();
        assert_eq!(report.scale.iter().map(|s| s.live).collect::<Vec<_>>(), [1_000, 9_000]);
        assert!(report.scale.iter().all(|s| s.payments_per_s > 0.0 && s.checkpoint_bytes > s.live / 8));
        let journal = report.journal.clone().unwrap();
        assert!(journal.audit_clean && journal.payments == 3 * 40 + 200, "{journal:?}");
        assert!(report.to_string().contains("the most by the fewest"));
        let too_many = BooksOptions { live: vec![100], ..options };
        assert!(matches!(books(&too_many, &|_| ()), Err(BenchError::TooFewCoins)));
    }
}
