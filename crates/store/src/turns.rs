//! A writer without a thread: it takes what waits whenever it is told to. Source: reliability.md, "own deterministic
//! simulator" (many processes in one thread, the same run from the same seed).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::writer::{Job, Shared, Writer, dismiss};

/// Jobs that wait, and who takes them.
pub(crate) struct Turns {
    state: Mutex<State>,
    queue_max: usize,
    wake: Box<dyn Fn() + Send + Sync>,
}

struct State {
    waiting: VecDeque<Job>,
    /// None while it takes its turn, and once it has ended.
    writer: Option<Box<Writer>>,
    ended: bool,
}

impl Turns {
    pub(crate) fn new(writer: Writer, queue_max: usize, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let state = State { waiting: VecDeque::new(), writer: Some(Box::new(writer)), ended: false };
        Self { state: Mutex::new(state), queue_max: queue_max.max(1), wake }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job whose asker waits for nobody else.
    pub(crate) fn push(&self, job: Job) {
        self.state().waiting.push_back(job);
    }

    /// Adds a job for the next turn; gives it back where too many wait.
    pub(crate) fn queue(&self, job: Job) -> Option<Job> {
        let mut state = self.state();
        if state.waiting.len() >= self.queue_max {
            return Some(job);
        }
        state.waiting.push_back(job);
        drop(state);
        (self.wake)();
        None
    }

    /// Takes what waits; whether there was anything. Nobody answers while the jobs are locked: an answer may submit more.
    pub(crate) fn turn(&self, shared: &Shared) -> bool {
        let mut state = self.state();
        if state.ended {
            let rest = std::mem::take(&mut state.waiting);
            drop(state);
            rest.into_iter().for_each(dismiss);
            return false;
        }
        let Some(mut writer) = state.writer.take() else { return false };
        let mut jobs = std::mem::take(&mut state.waiting);
        drop(state);
        let mut any = false;
        let mut goes_on = true;
        while let (true, Some(first)) = (goes_on, jobs.pop_front()) {
            any = true;
            goes_on = writer.take(first, || jobs.pop_front(), shared);
        }
        let mut state = self.state();
        if goes_on {
            state.writer = Some(writer);
        } else {
            state.ended = true;
        }
        let rest = if goes_on { VecDeque::new() } else { std::mem::take(&mut state.waiting) };
        drop(state);
        jobs.into_iter().chain(rest).for_each(dismiss);
        any
    }
}
