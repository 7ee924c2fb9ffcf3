//! The writer thread: drains what arrived during the last commit, applies it in memory, appends once, publishes, and
//! only then answers. Source: books.md, "Lanes and stores" and "The rules every commit obeys".

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};

use florin_books::{Clock, Effect, Entry, Lane, LaneSpec, Record, Seq, Transition};

use crate::contract::{Fence, Folded, Log, OwnerId, Reads, StoreError};
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
    folded_at: Seq,
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
        let folded_at = lane.seq();
        if folded_at > found.last {
            return Err(damaged("the checkpoint is newer than the last record"));
        }
        let published = Published::new(folded_at, lane.overlay().clone(), options.recent_max);
        let shared = Shared {
            published,
            failed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            listeners: Mutex::new(Vec::new()),
        };
        let (batch_max, fold_every) = (options.batch_max.max(1), options.fold_every.max(1));
        let shared = Arc::new(shared);
        let fence = found.fence;
        let mut writer = Self { lane, log, fence, clock, shared, batch_max, fold_every, folded_at };
        while writer.lane.seq() < found.last {
            let records = reads.read(writer.lane.seq().next(), 1024)?;
            if records.is_empty() {
                return Err(damaged("records are missing"));
            }
            writer.redo(records).map_err(|()| damaged("a record does not follow from those before it"))?;
            writer.fold_if_due()?;
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
        self.shared.published.publish(&done, None);
        Ok(())
    }

    fn fold_if_due(&mut self) -> Result<(), StoreError> {
        if self.unfolded() < self.fold_every {
            return Ok(());
        }
        self.fold_now()
    }

    fn fold_now(&mut self) -> Result<(), StoreError> {
        let fold = self.fold();
        self.log.append(self.fence, self.lane.seq().next(), &[], Some(&fold))?;
        self.mark_folded();
        self.shared.published.publish(&[], Some(fold.seq));
        Ok(())
    }

    fn unfolded(&self) -> u64 {
        self.lane.seq().0.saturating_sub(self.folded_at.0)
    }

    fn mark_folded(&mut self) {
        self.lane.folded();
        self.folded_at = self.lane.seq();
    }

    /// The snapshot of the finished batch that the lane stands at.
    fn fold(&self) -> Folded {
        let written = self.lane.overlay().unfolded();
        let mut documents: Vec<_> =
            written.documents.iter().map(|(key, (seq, value))| (*key, *seq, value.clone())).collect();
        documents.sort_unstable_by_key(|(key, ..)| *key);
        let mut once: Vec<_> = written.once.iter().map(|(key, (seq, _))| (*key, *seq)).collect();
        once.sort_unstable();
        let mut marks: Vec<_> = written.marks.iter().map(|(&(kind, id), until)| (kind, id, *until)).collect();
        marks.sort_unstable();
        let (seq, time, checkpoint) = (self.lane.seq(), self.lane.time(), self.lane.checkpoint());
        Folded { seq, time, checkpoint, documents, once, marks }
    }

    /// Runs until told to stop, or until the store fails. What is left in the queue then is answered `Stopped`.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let end = self.serve(jobs);
        self.shared.stopped.store(true, Ordering::SeqCst);
        match end {
            Ok(End::Stopped) if self.unfolded() > 0 => {
                if self.fold_now().is_err() {
                    self.shared.failed.store(true, Ordering::SeqCst);
                }
            }
            Ok(_) => {}
            Err(_) => self.shared.failed.store(true, Ordering::SeqCst),
        }
        // The log goes first, and with it the lock, so that whoever hears `Stopped` can start again.
        drop(self);
        loop {
            match jobs.try_recv() {
                Ok(Job::Commit(_, reply)) => reply.give(Err(CommitError::Stopped)),
                Ok(Job::Look(look)) => look(None),
                Ok(Job::Keep(keep)) => drop(keep(None)),
                Ok(Job::Stop) => {}
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn serve(&mut self, jobs: &Receiver<Job>) -> Result<End, StoreError> {
        let mut batch = Vec::with_capacity(self.batch_max);
        loop {
            let Ok(first) = jobs.recv() else { return Ok(End::Abandoned) };
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
                        return Ok(End::Stopped);
                    }
                }
                if batch.len() < self.batch_max {
                    next = jobs.try_recv().ok();
                }
            }
            self.commit(&mut batch)?;
        }
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
        Ok(())
    }

    fn append(&mut self, first: Seq, entries: Vec<Entry>) -> Result<Vec<Arc<Record>>, StoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let fold = (self.unfolded() >= self.fold_every).then(|| self.fold());
        self.log.append(self.fence, first, &entries, fold.as_ref())?;
        if fold.is_some() {
            self.mark_folded();
        }
        let records: Vec<Arc<Record>> = entries.into_iter().map(|e| Arc::new(e.record)).collect();
        self.shared.published.publish(&records, fold.map(|f| f.seq));
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
