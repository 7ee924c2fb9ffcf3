//! The power goes away: a real operator's writes are recorded while clients work, and its folder is built as it may be
//! found afterwards, at any moment, with any part of what was not synced. It opens, the audit is clean, its journal is a
//! part of the one that was, and every answer that somebody had read by then is in it.
//!
//! Images are opened in this process, by the code that `florin operator serve` opens its lanes with (both lanes, audit);
//! one in `WHOLE_EVERY` as the whole operator, which is asked again what was answered. At the end a disk that only says
//! that it syncs is tried, and must be noticed. Source: reliability.md R6; books.md, "Two durable copies of each batch".

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use florin_bench::{Acknowledged, Programs};
use florin_books::Clock;
use florin_crypto::{Digest, Secret};
use florin_http::{Client, ClientConfig};
use florin_operator::claim_keys::ClaimKeyFile;
use florin_operator::lanes::{self, BOOKS, IDENTITY, Lanes};
use florin_operator::{OperatorVaults, keys};
use florin_rail::{cause, cause_of, transcript};
use florin_shell::clock::SystemClock;
use florin_shell::house::House;
use florin_shell::passphrase::Passphrase;

use crate::clients::{Clients, Log, lock, runtime};
use crate::dice::Dice;
use crate::disk::{self, Shim};
use crate::error::FaultsError;
use crate::fault::Setting;
use crate::io::serve;
use crate::operator_state as state;
use crate::report::Tally;
use crate::scratch::Scratch;
use crate::write_log::{self, Disk, Loss, Op};

/// What the clients do, before and after a SIGKILL in the middle.
const ACTS: usize = 100;
const CLIENTS: usize = 2;
/// One image in so many is opened as the whole operator and asked.
const WHOLE_EVERY: u64 = 32;
/// One in so many is opened again, after what was mended.
const AGAIN_EVERY: u64 = 8;
/// Answers that a whole operator is asked for again: the last ones, and as many older ones.
const ASKED: usize = 4;
/// How often answers that were read are looked for, to be marked in the log.
const MARK_EVERY: Duration = Duration::from_micros(100);
/// Until nothing is under way any more.
const QUIET: Duration = Duration::from_millis(1500);

/// What a run of the operator has left.
struct Recorded {
    scratch: Scratch,
    ops: Vec<Op>,
    answers: Vec<Acknowledged>,
    /// The journals at its end.
    journals: [Vec<state::Line>; 2],
    /// Where each answer is in the journals: the lane, and its record; none where it is in neither.
    places: Vec<Option<(usize, usize)>>,
    keys: Keys,
}

/// What seals the lanes.
struct Keys {
    identity: Secret<32>,
    books: Secret<32>,
    currency: florin_money::Currency,
}

/// Builds so many images and opens them.
///
/// # Errors
/// What keeps the run from being recorded.
pub fn run(setting: &Setting, tries: u64) -> Result<Tally, FaultsError> {
    let runtime = runtime()?;
    let mut recorded = runtime.block_on(record(setting))?;
    let mut tally = Tally::default();
    let mut cuts = cuts(&recorded, setting.seed, tries);
    cuts.sort_unstable();
    let mut disk = Disk::of(&recorded.scratch.path().join("base"))?;
    let (mut at, mut marks, mut unsynced, mut kept) = (0, 0, 0u64, false);
    for (number, cut) in (0..).zip(cuts) {
        for op in recorded.ops.get(at..cut).unwrap_or_default() {
            disk.apply(op);
            marks = if let Op::Mark(n) = op { n.saturating_add(1) } else { marks };
        }
        at = cut;
        unsynced = unsynced.saturating_add(u64::try_from(disk.unsynced()).unwrap_or(0));
        let mut dice = Dice::new(setting.seed, number);
        let loss = dice.one_of(&Loss::ALL).copied().unwrap_or(Loss::Torn);
        let image = Image { number, marks, files: disk.image(loss, &mut dice) };
        if let Err(error) = runtime.block_on(recorded.look(&image, &mut dice)) {
            tally.finding(format!(
                "image {number}, {loss:?} lost at write {cut}, {marks} answers read: {error}"
            ));
            if setting.keep && !kept {
                kept = recorded.write(&image).is_ok();
                recorded.scratch.keep();
            }
        }
        tally.tries = number.saturating_add(1);
    }
    control(&runtime, &recorded, &mut tally)?;
    let located = recorded.places.iter().flatten().count();
    for (name, value) in [
        ("writes and syncs recorded", recorded.ops.len()),
        ("answers", recorded.answers.len()),
        ("answers found in a journal", located),
        ("records", recorded.journals.iter().map(Vec::len).sum()),
    ] {
        tally.count(name, u64::try_from(value).unwrap_or(0));
    }
    tally.count("unsynced changes an image", unsynced.checked_div(tally.tries).unwrap_or(0));
    Ok(tally)
}

/// A disk that only says that it syncs loses what was read: if that is not noticed, nothing here would be.
fn control(
    runtime: &tokio::runtime::Runtime,
    recorded: &Recorded,
    tally: &mut Tally,
) -> Result<(), FaultsError> {
    let mut disk = Disk::of(&recorded.scratch.path().join("base"))?.lying();
    recorded.ops.iter().for_each(|op| disk.apply(op));
    let (marks, mut dice) = (u64::try_from(recorded.answers.len()).unwrap_or(0), Dice::new(0, 0));
    let image = Image { number: 1, marks, files: disk.image(Loss::Everything, &mut dice) };
    match runtime.block_on(recorded.look(&image, &mut dice)) {
        Err(FaultsError::Found(_)) => {}
        other => tally.finding(format!("the loss of everything was not noticed: {other:?}")),
    }
    Ok(())
}

/// Where the power goes away: after any write; every second time where something is not synced.
fn cuts(recorded: &Recorded, seed: u64, tries: u64) -> Vec<usize> {
    let mut dice = Dice::new(seed, u64::MAX);
    let begun = |op: &Op| matches!(op, Op::Write(..) | Op::Create(_) | Op::Rename(..) | Op::Truncate(..));
    let places: Vec<usize> =
        recorded.ops.iter().zip(1..).filter(|(op, _)| begun(op)).map(|(_, at)| at).collect();
    let any = recorded.ops.len().saturating_add(1);
    (0..tries)
        .map(|n| match n % 2 {
            0 => dice.place(any),
            _ => dice.one_of(&places).copied().unwrap_or(0),
        })
        .collect()
}

/// A folder as it is found.
struct Image {
    number: u64,
    /// So many answers were read by then.
    marks: u64,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// The operator works for its clients on a disk that writes everything down.
async fn record(setting: &Setting) -> Result<Recorded, FaultsError> {
    let scratch = Scratch::in_memory("power")?;
    let (top, programs) = (scratch.path().to_path_buf(), Programs::new(&setting.florin));
    let (live, written) = (top.join("live"), top.join("written"));
    fs::create_dir_all(&live).map_err(FaultsError::at(&live))?;
    let (shim, bank) = (Shim::build(&top)?, programs.bank(&top.join("bank"))?);
    programs.init_operator(&state::state(&live), bank.url())?;
    let first = serve(&setting.florin, &live, "127.0.0.1:0", &[])?;
    let url = first.url.clone().ok_or_else(|| FaultsError::Found("it listens nowhere".into()))?;
    let listen = url.trim_start_matches("http://").to_owned();
    let (http, log) = (Client::new(ClientConfig::default())?, Log::default());
    let clients = Clients::open(&http, &url, bank.url(), &log, CLIENTS).await?;
    clients.buy(0, 2_000).await?;
    first.stop()?;
    disk::restore(&live, &top.join("base"))?;
    lock(&log).clear();
    File::create(&written).map_err(FaultsError::at(&written))?;
    let marking = Marking::begin(&log, &written)?;
    let environment = shim.environment(&live, None, Some(&written))?;
    let second = serve(&setting.florin, &live, &listen, &environment)?;
    let mut dice = Dice::new(setting.seed, 0);
    for number in 0..ACTS {
        clients.act(number % CLIENTS, &mut dice).await?;
    }
    tokio::time::sleep(QUIET).await;
    second.kill()?;
    let third = serve(&setting.florin, &live, &listen, &environment)?;
    for number in 0..ACTS {
        clients.act(number % CLIENTS, &mut dice).await?;
    }
    tokio::time::sleep(QUIET).await;
    marking.end()?;
    third.stop()?;
    drop(bank);
    let bytes = fs::read(&written).map_err(FaultsError::at(&written))?;
    let (ops, answers) = (write_log::read(&bytes, &live)?, std::mem::take(&mut *lock(&log)));
    let keys = Keys::of(&live)?;
    let lanes = keys.open(&live)?;
    let journals = state::read(&lanes)?.journals;
    state::stop(&lanes)?;
    let places = answers.iter().map(|answer| place(answer, &journals)).collect();
    Ok(Recorded { scratch, ops, answers, journals, places, keys })
}

/// Writes a mark into the log as soon as a client has read an answer.
struct Marking {
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<std::io::Result<()>>,
}

impl Marking {
    fn begin(answers: &Arc<Mutex<Vec<Acknowledged>>>, log: &Path) -> Result<Self, FaultsError> {
        let mut file = File::options().append(true).open(log).map_err(FaultsError::at(log))?;
        let (answers, over) = (Arc::clone(answers), Arc::new(AtomicBool::new(false)));
        let ending = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut marked = 0u64;
            loop {
                let last = ending.load(Ordering::SeqCst);
                let read = u64::try_from(lock(&answers).len()).unwrap_or(0);
                while marked < read {
                    file.write_all(&write_log::mark(marked))?;
                    marked = marked.saturating_add(1);
                }
                if last {
                    return Ok(());
                }
                thread::sleep(MARK_EVERY);
            }
        });
        Ok(Self { over, thread })
    }

    fn end(self) -> Result<(), FaultsError> {
        self.over.store(true, Ordering::SeqCst);
        let ended = self.thread.join().unwrap_or_else(|_| Err(std::io::Error::other("it panicked")));
        ended.map_err(|source| FaultsError::Program { program: "marking answers".into(), source })
    }
}

/// The record that an answer comes from, by what caused it.
fn place(answer: &Acknowledged, journals: &[Vec<state::Line>; 2]) -> Option<(usize, usize)> {
    let mut parts = answer.path.trim_start_matches("/v1/").split('/');
    let (rail, step) = (parts.next()?, parts.next()?);
    let body = answer.body.as_slice();
    let causes: [Digest; 2] = [cause(rail, step, body), cause_of(rail, step, &transcript(rail, &[body]))];
    journals.iter().enumerate().find_map(|(lane, lines)| {
        let at = lines.iter().position(|line| causes.contains(&line.cause))?;
        Some((lane, at))
    })
}

impl Keys {
    fn of(top: &Path) -> Result<Self, FaultsError> {
        let wrong = |why: String| FaultsError::Found(format!("the keys: {why}"));
        let vaults = OperatorVaults::open(&state::places(top), &Passphrase::none());
        let vaults = vaults.map_err(|e| wrong(e.to_string()))?;
        let key = |lane| vaults.store_key(lane).map_err(|e| wrong(e.to_string()));
        let config = florin_operator::OperatorConfig::default();
        let currency = config.money().map_err(|e| wrong(e.to_string()))?;
        Ok(Self { identity: key("identity")?, books: key("books")?, currency })
    }

    /// Both lanes of a folder, as the operator opens them.
    fn open(&self, top: &Path) -> Result<Lanes, FaultsError> {
        let state = state::state(top);
        let (clock, registers) = (Arc::new(SystemClock) as Arc<dyn Clock>, keys::registers(self.currency));
        let lane = |id, key: &Secret<32>| -> Result<House, FaultsError> {
            let opened = lanes::lane(&state, lanes::spec(id, &registers), key, &clock, false);
            opened.map_err(|error| FaultsError::Refused(error.to_string()))
        };
        let claim_keys =
            ClaimKeyFile::open(&state).map_err(|error| FaultsError::Refused(error.to_string()))?;
        let (identity, books) = (lane(IDENTITY, &self.identity)?, lane(BOOKS, &self.books)?);
        Ok(Lanes { identity, books, claim_keys: Arc::new(claim_keys) })
    }
}

impl Recorded {
    fn live(&self) -> PathBuf {
        self.scratch.path().join("live")
    }

    fn write(&self, image: &Image) -> Result<(), FaultsError> {
        let live = self.live();
        match fs::remove_dir_all(&live) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FaultsError::at(&live)(error));
            }
            _ => {}
        }
        for (name, content) in &image.files {
            // What is mapped into memory is not in the log, and SQLite makes it anew.
            if name.to_string_lossy().ends_with("-shm") {
                continue;
            }
            let path = live.join(name);
            let folder = path.parent().unwrap_or(&live);
            fs::create_dir_all(folder).map_err(FaultsError::at(folder))?;
            fs::write(&path, content).map_err(FaultsError::at(&path))?;
        }
        Ok(())
    }

    async fn look(&self, image: &Image, dice: &mut Dice) -> Result<(), FaultsError> {
        self.write(image)?;
        if image.number.is_multiple_of(WHOLE_EVERY) {
            return self.look_at_whole(image, dice).await;
        }
        let looked = catch_unwind(AssertUnwindSafe(|| self.look_at_lanes(image.marks)));
        looked.unwrap_or_else(|_| Err(FaultsError::Found("opening it panicked".into())))?;
        if image.number.is_multiple_of(AGAIN_EVERY) {
            return self.look_at_lanes(image.marks);
        }
        Ok(())
    }

    fn look_at_lanes(&self, marks: u64) -> Result<(), FaultsError> {
        let lanes = self.keys.open(&self.live())?;
        let reading = state::read(&lanes)?;
        state::stop(&lanes)?;
        self.compare(&reading.journals, marks)
    }

    async fn look_at_whole(&self, image: &Image, dice: &mut Dice) -> Result<(), FaultsError> {
        let operator = state::open(&self.live()).await?;
        let reading = state::read(&operator.lanes)?;
        self.compare(&reading.journals, image.marks)?;
        let answers = self.answers.get(..usize::try_from(image.marks).unwrap_or(0)).unwrap_or_default();
        let last = answers.iter().rev().take(ASKED);
        let older: Vec<_> = (0..ASKED).filter_map(|_| dice.one_of(answers)).collect();
        for answer in last.chain(older) {
            match state::ask(&operator, &answer.path, &answer.body).await? {
                Ok(reply) if reply == answer.reply => {}
                Ok(_) => return Err(FaultsError::Found(format!("{}: another answer", answer.path))),
                Err(status) => return Err(FaultsError::Found(format!("{}: {status}", answer.path))),
            }
        }
        state::audit(&operator.lanes)?;
        state::close(&operator)
    }

    /// The journals are a beginning of those that were, and every answer that was read is in them.
    fn compare(&self, journals: &[Vec<state::Line>; 2], marks: u64) -> Result<(), FaultsError> {
        for (lane, (found, was)) in journals.iter().zip(&self.journals).enumerate() {
            if was.get(..found.len()) != Some(found.as_slice()) {
                let same = found.iter().zip(was).take_while(|(a, b)| a == b).count();
                let why = format!("lane {lane}: {} records, the same up to {same} only", found.len());
                return Err(FaultsError::Found(why));
            }
        }
        let read = self.places.iter().take(usize::try_from(marks).unwrap_or(0));
        for (number, (lane, at)) in read.enumerate().filter_map(|(n, place)| Some((n, (*place)?))) {
            let there = journals.get(lane).map_or(0, Vec::len);
            if there <= at {
                let why =
                    format!("answer {number} was read, and lane {lane} has {there} records of {at} and more");
                return Err(FaultsError::Found(why));
            }
        }
        Ok(())
    }
}
