//! What readers see of a lane: only what is durable. Source: books.md, "Lanes and stores".

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use florin_books::{Overlay, Record, Seq, Timestamp};

/// The durable state that is not in the store's tables yet, and the latest records.
pub(crate) struct View {
    /// The last durable record.
    pub(crate) durable: Seq,
    /// What was written since the fold before the last whole one.
    pub(crate) overlay: Overlay,
    recent: VecDeque<Arc<Record>>,
    recent_max: usize,
}

impl View {
    /// A recent record, if it is still in memory.
    pub(crate) fn recent(&self, seq: Seq) -> Option<Arc<Record>> {
        let first = self.recent.front()?.core.seq;
        let place = usize::try_from(seq.0.checked_sub(first.0)?).ok()?;
        self.recent.get(place).cloned()
    }

    fn remember(&mut self, record: Arc<Record>) {
        if self.recent.len() >= self.recent_max {
            self.recent.pop_front();
        }
        self.recent.push_back(record);
    }
}

/// The view, and a way to wait for it to move on.
pub(crate) struct Published {
    view: RwLock<View>,
    moved: Mutex<Seq>,
    wake: Condvar,
}

impl Published {
    /// Begins with what was recovered.
    pub(crate) fn new(durable: Seq, overlay: Overlay, recent_max: usize) -> Self {
        let view = View { durable, overlay, recent: VecDeque::new(), recent_max };
        Self { view: RwLock::new(view), moved: Mutex::new(durable), wake: Condvar::new() }
    }

    /// The view as it stands. A poisoned lock is taken all the same: nothing in here panics half-way.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch is durable; `folded` if with it the fold under way is whole in the store's tables.
    pub(crate) fn publish(&self, records: &[Arc<Record>], folded: bool) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            view.overlay.absorb(&record.core);
            view.durable = record.core.seq;
            view.remember(Arc::clone(record));
        }
        if folded {
            view.overlay.folded();
        }
        let durable = view.durable;
        drop(view);
        *self.lock_moved() = durable;
        self.wake.notify_all();
    }

    /// Everything published so far begins to be folded.
    pub(crate) fn begin_fold(&self) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let durable = view.durable;
        view.overlay.begin_fold(durable);
    }

    /// Takes the seeds of records from before a time out of memory.
    pub(crate) fn forget_seeds(&self, before: Timestamp) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        for record in &mut view.recent {
            if record.core.time < before && record.seed.is_some() {
                *record = Arc::new(Record::clone(record).stripped());
            }
        }
    }

    /// Waits until a record after `since` is durable, or the time is over; gives the last durable record.
    pub(crate) fn wait(&self, since: Seq, limit: Duration) -> Seq {
        let until = Instant::now().checked_add(limit);
        let mut moved = self.lock_moved();
        while *moved <= since {
            let left = until.map_or(limit, |u| u.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            moved = self.wake.wait_timeout(moved, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *moved
    }

    fn lock_moved(&self) -> MutexGuard<'_, Seq> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
