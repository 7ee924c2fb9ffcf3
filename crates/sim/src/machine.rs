//! A machine: disks that lose what was not synced, fail and fill up, and one process that can be killed at any moment and
//! started again. Source: reliability.md, R5, R6; books.md, "Lanes and stores".

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use florin_books::{Clock, LaneId, LaneSpec};
use florin_crypto::digest;
use florin_shell::house::House;
use florin_store::{Books, Crash, MemoryStore, Options, OwnerId, Point, StoreError};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use crate::coverage::{Coverage, Fault, boundaries};
use crate::dice::Dice;
use crate::plan::Plan;
use crate::time::Virtual;
use crate::trace::Trace;

/// The longest that a disk takes to sync.
const SYNC_MAX_MS: u64 = 500;

/// Who looks on whenever books have been written.
pub type OnWrite = Arc<dyn Fn(LaneId, &Books) + Send + Sync>;

/// A machine.
pub struct Machine {
    /// What it is called.
    pub name: String,
    /// Its clock.
    pub clock: Virtual,
    /// A disk has failed.
    pub failed: Arc<Notify>,
    trace: Trace,
    dice: Dice,
    options: Options,
    slow_syncs: u64,
    coverage: Coverage,
    state: Mutex<State>,
    disks: Arc<Mutex<Faults>>,
    broken: Arc<AtomicBool>,
    full: AtomicBool,
    on_write: Option<OnWrite>,
}

#[derive(Default)]
struct State {
    disks: BTreeMap<u16, MemoryStore>,
    tasks: Vec<AbortHandle>,
    doing: BTreeMap<u64, String>,
    next: u64,
}

/// What its disks have done and shall do.
#[derive(Default)]
struct Faults {
    known: BTreeSet<String>,
    armed: Option<Armed>,
    /// Boundaries at which it fails the first time that it is there, however rare they are: by the bucket of their names.
    aims: BTreeMap<u8, Crash>,
}

/// A failure that is to come.
#[derive(Clone, Copy)]
struct Armed {
    /// After so many points; or, of those at which it has not been before.
    left: u64,
    new_only: bool,
    crash: Crash,
}

impl Faults {
    fn aimed_at(plan: &Plan, name: &str) -> BTreeMap<u8, Crash> {
        let dice = Dice::new(plan.seed, &format!("{name} aims"));
        (0..plan.aims).map(|_| (dice.byte(), crash(&dice))).collect()
    }

    /// Whether it fails at a point, which is the first of its kind or not.
    fn at(&mut self, here: &BTreeSet<String>, new: bool) -> Option<Crash> {
        if new && let Some(crash) = here.iter().find_map(|name| self.aims.remove(&bucket(name))) {
            return Some(crash);
        }
        let armed = self.armed.as_mut()?;
        if armed.new_only && !new {
            return None;
        }
        armed.left = armed.left.saturating_sub(1);
        if armed.left > 0 {
            return None;
        }
        self.armed.take().map(|armed| armed.crash)
    }
}

/// A failure: most often the power goes.
fn crash(dice: &Dice) -> Crash {
    let power = Crash::Power { seed: dice.below(u64::MAX) };
    if dice.per_mille(250) { Crash::Error } else { power }
}

/// One of 256, by name.
fn bucket(name: &str) -> u8 {
    let [first, ..] = digest("florin/v1/sim/boundary", &[name.as_bytes()]).0;
    first
}

impl Machine {
    /// A machine with empty disks.
    #[must_use]
    pub fn new(name: &str, plan: &Plan, clock: Virtual, trace: &Trace, coverage: &Coverage) -> Self {
        let options = Options {
            fold_every: plan.fold_every,
            batch_max: usize::try_from(plan.batch_max).unwrap_or(1),
            ..Options::default()
        };
        Self {
            name: name.to_owned(),
            clock,
            failed: Arc::default(),
            trace: trace.clone(),
            dice: Dice::new(plan.seed, name),
            options,
            slow_syncs: plan.slow_syncs,
            coverage: coverage.clone(),
            state: Mutex::default(),
            disks: Arc::new(Mutex::new(Faults { aims: Faults::aimed_at(plan, name), ..Faults::default() })),
            broken: Arc::default(),
            full: AtomicBool::new(false),
            on_write: None,
        }
    }

    /// The same, with somebody who looks on.
    #[must_use]
    pub fn watched(self, on_write: OnWrite) -> Self {
        Self { on_write: Some(on_write), ..self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its own chance.
    #[must_use]
    pub const fn dice(&self) -> &Dice {
        &self.dice
    }

    /// What it is: its name without a number.
    #[must_use]
    pub fn role(&self) -> &str {
        self.name.trim_end_matches(|c: char| c.is_ascii_digit())
    }

    fn disk(&self, lane: u16) -> MemoryStore {
        if let Some(disk) = self.state().disks.get(&lane) {
            return disk.clone();
        }
        let disk = MemoryStore::new();
        let (faults, failed, coverage) =
            (Arc::clone(&self.disks), Arc::clone(&self.failed), self.coverage.clone());
        let broken = Arc::clone(&self.broken);
        let (trace, name, role) = (self.trace.clone(), self.name.clone(), self.role().to_owned());
        disk.watch(move |point: Point<'_>| {
            let here = boundaries(&role, lane, &point);
            coverage.wrote(&here);
            let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
            let before = faults.known.len();
            faults.known.extend(here.iter().cloned());
            let new = faults.known.len() > before;
            let crash = faults.at(&here, new)?;
            coverage.failed(&here);
            let what = if crash == Crash::Error { "a disk error" } else { "the power goes" };
            trace.say(&name, format!("{what} at {}", here.into_iter().collect::<Vec<_>>().join(" | ")));
            broken.store(true, Ordering::SeqCst);
            failed.notify_one();
            Some(crash)
        });
        self.state().disks.insert(lane, disk.clone());
        disk
    }

    /// The books of a lane on its disk by a clock of its own, with everything that a house needs. Their writer takes its turn a little after it
    /// is called, so that others come in between.
    ///
    /// # Errors
    /// Those of the store.
    pub fn house(&self, spec: LaneSpec, clock: Arc<dyn Clock>) -> Result<House, StoreError> {
        let lane = spec.lane;
        let (log, reads) = self.disk(lane.0).split();
        let called = Arc::new(Notify::new());
        let caller = Arc::clone(&called);
        let owner = OwnerId([1; 16]);
        let books =
            Books::start_in_turns(log, reads, spec, owner, clock.clone(), &self.options, move || {
                caller.notify_one();
            })?;
        let (writer, dice, on_write) = (books.clone(), self.dice.clone(), self.on_write.clone());
        let slow_syncs = self.slow_syncs;
        self.spawn(async move {
            loop {
                called.notified().await;
                // A sync takes its time, and others decide meanwhile.
                if dice.per_mille(slow_syncs) {
                    tokio::time::sleep(Duration::from_millis(dice.within(20, SYNC_MAX_MS))).await;
                } else if dice.per_mille(350) {
                    tokio::time::sleep(Duration::from_millis(dice.within(0, 20))).await;
                } else {
                    for _ in 0..dice.below(4) {
                        tokio::task::yield_now().await;
                    }
                }
                while writer.turn() {}
                if let Some(on_write) = &on_write {
                    on_write(lane, &writer);
                }
            }
        });
        Ok(House { books, clock, entropy: self.dice.entropy() })
    }

    /// Does something in its process.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let task = tokio::spawn(work);
        self.keep(task.abort_handle());
        task
    }

    /// Takes a task for one of its process.
    pub fn keep(&self, task: AbortHandle) {
        let mut state = self.state();
        state.tasks.retain(|task| !task.is_finished());
        state.tasks.push(task);
    }

    /// It is at a step, until [`Machine::done`] with the number.
    #[must_use]
    pub fn doing(&self, step: &str) -> u64 {
        let mut state = self.state();
        state.next = state.next.saturating_add(1);
        let number = state.next;
        state.doing.insert(number, step.to_owned());
        number
    }

    /// It is not any more.
    pub fn done(&self, number: u64) {
        self.state().doing.remove(&number);
    }

    /// Counts a fault for all that it is doing.
    pub fn hit(&self, fault: Fault) {
        let steps: Vec<String> = self.state().doing.values().cloned().collect();
        steps.iter().for_each(|step| self.coverage.hit(fault, &format!("{} at {step}", self.role())));
    }

    /// Lets a disk fail at one of its next points, often at one where none of its disks has been before.
    pub fn fail_soon(&self) {
        let new_only = self.dice.per_mille(700);
        let left = if new_only { self.dice.within(1, 30) } else { self.dice.within(1, 60) };
        self.faults().armed = Some(Armed { left, new_only, crash: crash(&self.dice) });
        let which = if new_only { "new " } else { "" };
        self.trace.say(&self.name, format!("a disk will fail at the {left}. {which}point"));
    }

    /// From now on its disks are full, or not any more.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
        if full {
            self.hit(Fault::Full);
        }
        self.trace.say(&self.name, if full { "its disks are full" } else { "its disks have room" });
        self.state().disks.values().for_each(|disk| disk.set_full(full));
    }

    /// Whether a disk has failed since the last start.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// Whether a disk has failed or is full: then errors of books are to be expected.
    #[must_use]
    pub fn is_troubled(&self) -> bool {
        self.is_broken() || self.full.load(Ordering::SeqCst)
    }

    /// Nothing that was to come will come.
    pub fn disarm(&self) {
        let mut faults = self.faults();
        (faults.armed, faults.aims) = (None, BTreeMap::new());
        drop(faults);
        self.full.store(false, Ordering::SeqCst);
        self.state().disks.values().for_each(|disk| disk.set_full(false));
    }

    /// Kills the process; what was not synced is kept or not, by chance. The disks are ready for the next start.
    pub async fn kill(&self) {
        let tasks = std::mem::take(&mut self.state().tasks);
        self.trace.say(&self.name, format!("killed with {} tasks", tasks.len()));
        self.hit(Fault::Killed);
        tasks.iter().for_each(AbortHandle::abort);
        // What was aborted is dropped when it would have had its next turn.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.broken.store(false, Ordering::SeqCst);
        let seed = self.dice.below(u64::MAX);
        let mut state = self.state();
        state.doing.clear();
        state.disks.values().for_each(|disk| disk.restart(seed));
    }

    /// All writes and syncs to its disks so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.state().disks.values().map(MemoryStore::writes).fold(0, u64::saturating_add)
    }
}
