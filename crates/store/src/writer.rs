//! The writer thread: drains what arrived during the last commit, applies it in memory, appends once, publishes, and
//! only then answers. Source: books.md, "Lanes and stores" and "The rules every commit obeys".

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use florin_books::{Clock, Effect, Entry, Lane, LaneSpec, Record, Seq, Transition};

use crate::cache::Cache;
use crate::contract::{Fence, Log, OwnerId, Reads, StoreError};
use crate::handle::{Answer, CommitError, Options};
use crate::publish::Published;

/// Who wants to hear that effects are durable.
pub(crate) type Listeners = Mutex<Vec<Box<dyn Fn(Seq) + Send + Sync>>>;

/// What a job looks at the lane with; it is given none where the books have stopped.
pub(crate) type Look = Box<dyn FnOnce(Option<&Lane>) + Send>;

/// Work on the store itself, between two batches; it is given none where the books have stopped. After an error the
/// books stop.
pub(crate) type Keep = Box<dyn FnOnce(Option<(&mut dyn Log, Fence)>) -> Result<(), StoreError> + Send>;

/// An asker that is answered exactly once, also where its job is lost with the queue.
pub(crate) struct Reply(Option<Answer>);

impl Reply {
    pub(crate) fn new(answer: Answer) -> Self {
        Self(Some(answer))
    }

    pub(crate) fn give(mut self, result: Result<Arc<Record>, CommitError>) {
        if let Some(answer) = self.0.take() {
            answer(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err(CommitError::Stopped));
        }
    }
}

/// What the queue carries.
pub(crate) enum Job {
    Commit(Box<Transition>, Reply),
    Look(Look),
    Keep(Keep),
    Stop,
}

/// What handle and writer share.
pub(crate) struct Shared {
    pub(crate) published: Published,
    pub(crate) cache: Cache,
    pub(crate) failed: AtomicBool,
    pub(crate) stopped: AtomicBool,
    pub(crate) listeners: Listeners,
}

/// The one thread that changes a lane.
pub(crate) struct Writer {
    lane: Lane,
    log: Box<dyn Log>,
    fence: Fence,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    batch_max: usize,
    fold_every: u64,
    fold_idle: Duration,
    /// Where the last fold began.
    fold_begun: Seq,
}

/// Before a start has redone so many times `fold_every` records it does not fold: what a crash leaves is less.
const TAIL_AT_START: u64 = 4;
/// A fold that is not whole when the next one is due so many times over is finished at once: memory stays bounded.
const OVERDUE: u64 = 2;

/// A job that nobody takes any more.
pub(crate) fn dismiss(job: Job) {
    match job {
        Job::Commit(_, reply) => reply.give(Err(CommitError::Stopped)),
        Job::Look(look) => look(None),
        Job::Keep(keep) => drop(keep(None)),
        Job::Stop => {}
    }
}

/// Why the writer ends.
enum End {
    Stopped,
    Abandoned,
}

impl Writer {
    /// Takes the lane over and rebuilds it.
    pub(crate) fn recover(
        mut log: Box<dyn Log>,
        reads: &dyn Reads,
        spec: LaneSpec,
        me: OwnerId,
        clock: Arc<dyn Clock>,
        options: &Options,
    ) -> Result<Self, StoreError> {
        let found = log.acquire(spec.lane, me)?;
        let damaged = |why: &'static str| StoreError::Damaged { file: found.name.clone(), why };
        let lane = match &found.checkpoint {
            Some(bytes) => {
                Lane::from_checkpoint(spec, bytes).map_err(|_| damaged("the checkpoint cannot be read"))?
            }
            None => Lane::new(spec),
        };
        let fold_begun = lane.seq();
        if fold_begun > found.last {
            return Err(damaged("the checkpoint is newer than the last record"));
        }
        let published = Published::new(fold_begun, lane.overlay().clone(), options.recent_max);
        let shared = Shared {
            published,
            cache: Cache::default(),
            failed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            listeners: Mutex::new(Vec::new()),
        };
        let mut writer = Self {
            lane,
            log,
            fence: found.fence,
            clock,
            shared: Arc::new(shared),
            batch_max: options.batch_max.max(1),
            fold_every: options.fold_every.max(1),
            fold_idle: options.fold_idle,
            fold_begun,
        };
        while writer.lane.seq() < found.last {
            let records = reads.read(writer.lane.seq().next(), 1024)?;
            if records.is_empty() {
                return Err(damaged("records are missing"));
            }
            writer.redo(records).map_err(|()| damaged("a record does not follow from those before it"))?;
            if writer.unfolded() >= writer.fold_every.saturating_mul(TAIL_AT_START) {
                writer.fold_all()?;
            }
        }
        let agrees = found.chain.is_none_or(|chain| chain == writer.lane.chain());
        if writer.lane.seq() != found.last || !agrees {
            return Err(damaged("the chain of the books ends in another link"));
        }
        Ok(writer)
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    fn redo(&mut self, records: Vec<Record>) -> Result<(), ()> {
        let mut done = Vec::with_capacity(records.len());
        for record in records {
            if let Some(entry) = self.lane.redo(record).map_err(|_| ())? {
                done.push(Arc::new(entry.record));
            }
        }
        self.shared.published.publish(&done, false);
        Ok(())
    }

    /// Records since the last fold began.
    fn unfolded(&self) -> u64 {
        self.lane.seq().0.saturating_sub(self.fold_begun.0)
    }

    fn is_folding(&self) -> bool {
        self.lane.overlay().folding().is_some()
    }

    /// Begins a fold where one is due. Where the one before has fallen far behind, that is finished first.
    fn fold_if_due(&mut self) -> Result<(), StoreError> {
        if self.is_folding() && self.unfolded() >= self.fold_every.saturating_mul(OVERDUE) {
            let whole = self.log.fold(self.fence, true)?;
            self.folded(&[], whole);
        }
        if !self.is_folding() && self.unfolded() >= self.fold_every {
            self.begin_fold()?;
        }
        Ok(())
    }

    fn begin_fold(&mut self) -> Result<(), StoreError> {
        let snapshot = self.lane.begin_fold();
        self.fold_begun = snapshot.seq();
        self.shared.published.begin_fold();
        self.log.begin_fold(self.fence, snapshot, self.fold_every / 2)
    }

    /// A part of the fold under way, while there is nothing else to do.
    fn fold_on(&mut self) -> Result<(), StoreError> {
        let whole = self.log.fold(self.fence, false)?;
        self.folded(&[], whole);
        self.fold_if_due()
    }

    /// Everything up to now, at once.
    fn fold_all(&mut self) -> Result<(), StoreError> {
        while self.is_folding() || self.unfolded() > 0 {
            if !self.is_folding() {
                self.begin_fold()?;
            }
            let whole = self.log.fold(self.fence, true)?;
            self.folded(&[], whole);
        }
        Ok(())
    }

    /// Publishes records, and that the fold under way is whole.
    fn folded(&mut self, records: &[Arc<Record>], whole: Option<Seq>) {
        if let (Some(_), Some(written)) = (whole, self.lane.overlay().folding()) {
            // Before the readers' overlay drops anything, no older version may be left here.
            self.shared.cache.forget(written.documents.keys());
            self.lane.folded();
        }
        self.shared.published.publish(records, whole.is_some());
    }

    /// Runs until told to stop, or until the store fails. What is left in the queue then is answered `Stopped`.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let end = self.serve(jobs);
        self.shared.stopped.store(true, Ordering::SeqCst);
        match end {
            Ok(End::Stopped) => {
                if self.fold_all().is_err() {
                    self.shared.failed.store(true, Ordering::SeqCst);
                }
            }
            Ok(End::Abandoned) => {}
            Err(_) => self.shared.failed.store(true, Ordering::SeqCst),
        }
        // The log goes first, and with it the lock, so that whoever hears `Stopped` can start again.
        drop(self);
        while let Ok(job) = jobs.try_recv() {
            dismiss(job);
        }
    }

    /// One turn, where nobody runs the writer on a thread; whether it goes on.
    pub(crate) fn take(&mut self, first: Job, more: impl FnMut() -> Option<Job>, shared: &Shared) -> bool {
        let end = match self.batch(first, more) {
            Ok(None) => return true,
            Ok(Some(End::Stopped)) => self.fold_all(),
            Ok(Some(End::Abandoned)) => Ok(()),
            Err(error) => Err(error),
        };
        shared.stopped.store(true, Ordering::SeqCst);
        if end.is_err() {
            shared.failed.store(true, Ordering::SeqCst);
        }
        false
    }

    fn serve(&mut self, jobs: &Receiver<Job>) -> Result<End, StoreError> {
        loop {
            let Some(first) = self.wait(jobs)? else { return Ok(End::Abandoned) };
            if let Some(end) = self.batch(first, || jobs.try_recv().ok())? {
                return Ok(end);
            }
        }
    }

    /// What has come meanwhile, at most a batch of transitions.
    fn batch(
        &mut self,
        first: Job,
        mut more: impl FnMut() -> Option<Job>,
    ) -> Result<Option<End>, StoreError> {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                Job::Commit(transition, reply) => batch.push((transition, reply)),
                Job::Look(look) => {
                    self.commit(&mut batch)?;
                    look(Some(&self.lane));
                }
                Job::Keep(keep) => {
                    self.commit(&mut batch)?;
                    let kept = keep(Some((&mut *self.log, self.fence)));
                    kept.map_err(|e| self.fail(std::iter::empty(), e))?;
                }
                Job::Stop => {
                    self.commit(&mut batch)?;
                    return Ok(Some(End::Stopped));
                }
            }
            if batch.len() < self.batch_max {
                next = more();
            }
        }
        self.commit(&mut batch)?;
        Ok(None)
    }

    /// The next job; while nothing comes, the fold under way goes on. None where nobody can send any more.
    fn wait(&mut self, jobs: &Receiver<Job>) -> Result<Option<Job>, StoreError> {
        while self.is_folding() {
            match jobs.recv_timeout(self.fold_idle) {
                Ok(job) => return Ok(Some(job)),
                Err(RecvTimeoutError::Timeout) => self.fold_on()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
        Ok(jobs.recv().ok())
    }

    /// One batch: all of it is durable before anybody is answered, the refused included.
    fn commit(&mut self, batch: &mut Vec<(Box<Transition>, Reply)>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        match self.log.has_room() {
            Ok(()) => {}
            Err(StoreError::Full) => {
                batch.drain(..).for_each(|(_, reply)| reply.give(Err(CommitError::Full)));
                return Ok(());
            }
            Err(error) => return Err(self.fail(batch.drain(..).map(|(_, reply)| reply), error)),
        }
        let now = self.clock.now();
        let first = self.lane.seq().next();
        let mut entries: Vec<Entry> = Vec::with_capacity(batch.len());
        let mut answers: Vec<(Reply, Result<usize, CommitError>)> = Vec::with_capacity(batch.len());
        for (transition, reply) in batch.drain(..) {
            match self.lane.apply(*transition, now) {
                Ok(entry) => {
                    answers.push((reply, Ok(entries.len())));
                    entries.push(entry);
                }
                Err(why) => answers.push((reply, Err(CommitError::Rejected(why)))),
            }
        }
        let records = match self.append(first, entries) {
            Ok(records) => records,
            Err(error) => return Err(self.fail(answers.into_iter().map(|(reply, _)| reply), error)),
        };
        for (reply, result) in answers {
            let result = result.and_then(|i| records.get(i).cloned().ok_or(CommitError::Stopped));
            reply.give(result);
        }
        self.tell(&records);
        self.fold_if_due()
    }

    fn append(&mut self, first: Seq, entries: Vec<Entry>) -> Result<Vec<Arc<Record>>, StoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let whole = self.log.append(self.fence, first, &entries)?;
        let records: Vec<Arc<Record>> = entries.into_iter().map(|e| Arc::new(e.record)).collect();
        self.folded(&records, whole);
        Ok(records)
    }

    /// Nobody is told yes or no: whether the batch was stored is found out at the next start.
    fn fail(&self, waiting: impl Iterator<Item = Reply>, error: StoreError) -> StoreError {
        self.shared.failed.store(true, Ordering::SeqCst);
        self.shared.stopped.store(true, Ordering::SeqCst);
        waiting.for_each(|reply| reply.give(Err(CommitError::Stopped)));
        error
    }

    fn tell(&self, records: &[Arc<Record>]) {
        let emitted = records.iter().any(|r| r.core.effects.iter().any(|e| matches!(e, Effect::Emit(_))));
        let (true, Some(last)) = (emitted, records.last()) else { return };
        let listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener(last.core.seq));
    }
}
