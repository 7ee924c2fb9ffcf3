//! A machine: disks that lose what was not synced, and one process that can be killed at any moment and started again.
//! Source: reliability.md, R5, R6; books.md, "Lanes and stores".

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use florin_books::LaneSpec;
use florin_shell::house::House;
use florin_store::{Books, Crash, MemoryStore, Options, OwnerId, StoreError};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use crate::dice::Dice;
use crate::plan::Plan;
use crate::time::Virtual;
use crate::trace::Trace;

/// A machine.
pub struct Machine {
    /// What it is called.
    pub name: String,
    /// Its clock.
    pub clock: Virtual,
    trace: Trace,
    dice: Dice,
    options: Options,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    disks: BTreeMap<u16, MemoryStore>,
    tasks: Vec<AbortHandle>,
}

impl Machine {
    /// A machine with empty disks.
    #[must_use]
    pub fn new(name: &str, plan: &Plan, clock: Virtual, trace: &Trace) -> Self {
        let options = Options {
            fold_every: plan.fold_every,
            batch_max: usize::try_from(plan.batch_max).unwrap_or(1),
            ..Options::default()
        };
        let (trace, dice) = (trace.clone(), Dice::new(plan.seed, name));
        Self { name: name.to_owned(), clock, trace, dice, options, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its own chance.
    #[must_use]
    pub const fn dice(&self) -> &Dice {
        &self.dice
    }

    /// The books of a lane on its disk, with everything that a house needs. Their writer takes its turn a little after it
    /// is called, so that others come in between.
    ///
    /// # Errors
    /// Those of the store.
    pub fn house(&self, spec: LaneSpec) -> Result<House, StoreError> {
        let disk = self.state().disks.entry(spec.lane.0).or_default().clone();
        let (log, reads) = disk.split();
        let called = Arc::new(Notify::new());
        let caller = Arc::clone(&called);
        let owner = OwnerId([1; 16]);
        let clock = Arc::new(self.clock.clone());
        let books =
            Books::start_in_turns(log, reads, spec, owner, clock.clone(), &self.options, move || {
                caller.notify_one();
            })?;
        let (writer, dice) = (books.clone(), self.dice.clone());
        self.spawn(async move {
            loop {
                called.notified().await;
                for _ in 0..dice.below(4) {
                    tokio::task::yield_now().await;
                }
                while writer.turn() {}
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

    /// Lets its power go at one of its next writes.
    pub fn crash_soon(&self) {
        let seed = self.dice.below(u64::MAX);
        let state = self.state();
        let disks: Vec<(&u16, &MemoryStore)> = state.disks.iter().collect();
        if let Some((lane, disk)) = self.dice.one_of(&disks) {
            let at = disk.writes().saturating_add(self.dice.within(1, 24));
            disk.crash_at(at, Crash::Power { seed });
            self.trace.say(&self.name, format!("power will go at write {at} of lane {lane}"));
        }
    }

    /// Kills the process; what was not synced is kept or not, by chance. The disks are ready for the next start.
    pub async fn kill(&self) {
        let tasks = std::mem::take(&mut self.state().tasks);
        self.trace.say(&self.name, format!("killed with {} tasks", tasks.len()));
        tasks.iter().for_each(AbortHandle::abort);
        // What was aborted is dropped when it would have had its next turn.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let seed = self.dice.below(u64::MAX);
        self.state().disks.values().for_each(|disk| disk.restart(seed));
    }

    /// All writes and syncs to its disks so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.state().disks.values().map(MemoryStore::writes).fold(0, u64::saturating_add)
    }
}
