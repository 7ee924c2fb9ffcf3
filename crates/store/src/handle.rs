//! The handle on a lane's books: commit, load, read. Any thread, with or without an async runtime.
//! Source: books.md, "Lanes and stores".

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use florin_books::{
    AuditReport, Clock, Document, DocumentKey, DocumentKind, Facts, Lane, LaneSpec, Needs, Record, Rejected,
    Seq, Timestamp, TokenNumber, Transition, Written,
};

use crate::contract::{Copied, Fence, FoldedDocument, Log, OwnerId, Reads, StoreError};
use crate::turns::Turns;
use crate::writer::{Job, Keep, Reply, Shared, Writer};

/// How the writer works.
#[derive(Clone, Debug)]
pub struct Options {
    /// At most so many transitions in one batch.
    pub batch_max: usize,
    /// Fold after so many records. A fold goes in with the commits that follow and is whole after about half as many.
    pub fold_every: u64,
    /// A fold under way goes on by itself when nothing has come for so long.
    pub fold_idle: Duration,
    /// At most so many transitions wait; more are refused as `Overloaded`.
    pub queue_max: usize,
    /// So many of the latest records stay in memory.
    pub recent_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch_max: 512, fold_every: 4096, fold_idle: FOLD_IDLE, queue_max: 8192, recent_max: 4096 }
    }
}

/// Why a transition was not committed, as far as is known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitError {
    /// The lane refused it; nothing has changed.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// There is not enough room on the disk; nothing has changed.
    #[error("not enough free space on the disk")]
    Full,
    /// Too many wait already; nothing has changed.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The outcome is not known, and the process must stop: the next start finds out.
    #[error("the books have stopped; the outcome is not known yet")]
    Stopped,
}

/// What is called with the outcome of a commit, on the writer's thread: it must be quick and must not wait.
pub type Answer = Box<dyn FnOnce(Result<Arc<Record>, CommitError>) + Send>;

/// A handle on the books of one lane.
#[derive(Clone)]
pub struct Books {
    inner: Arc<Inner>,
}

struct Inner {
    jobs: Jobs,
    shared: Arc<Shared>,
    reads: Arc<dyn Reads>,
    spec: LaneSpec,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The way to the writer.
enum Jobs {
    /// On a thread of its own.
    Thread(SyncSender<Job>),
    /// In turns, whenever it is told.
    Turns(Turns),
    /// It has ended.
    Nobody,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Without a sender the writer ends, as after a crash: nothing is folded, nothing more is written.
        self.jobs = Jobs::Nobody;
        self.join();
    }
}

impl Inner {
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|t| t.thread().id() != thread::current().id()) {
            // A writer that panicked has answered everybody with `Stopped`.
            let _ = thread.join();
        }
    }

    fn send(&self, job: Job) -> Result<(), CommitError> {
        match &self.jobs {
            Jobs::Thread(jobs) => jobs.send(job).map_err(|_| CommitError::Stopped),
            Jobs::Turns(turns) => {
                turns.push(job);
                turns.turn(&self.shared);
                Ok(())
            }
            Jobs::Nobody => Err(CommitError::Stopped),
        }
    }
}

/// How often a reader asks again while a batch is on its way to the disk, and how long it waits between.
const LOAD_TRIES: u32 = 20_000;
const LOAD_PAUSE: Duration = Duration::from_micros(250);
/// Short, so that an idle operator's fold is whole within a second; long enough not to get between two commits.
const FOLD_IDLE: Duration = Duration::from_millis(2);
/// How many records the audit takes at a time.
const AUDIT_CHUNK: usize = 4096;
/// How many such chunks may wait to be redone.
const AUDIT_CHUNKS_WAITING: usize = 2;

impl Books {
    /// Takes the lane over, rebuilds it from its checkpoint and the records after it, and starts the writer thread.
    ///
    /// # Errors
    /// Those of the store; `Damaged` where the records do not follow from each other.
    pub fn start(
        log: Box<dyn Log>,
        reads: Arc<dyn Reads>,
        spec: LaneSpec,
        me: OwnerId,
        clock: Arc<dyn Clock>,
        options: &Options,
    ) -> Result<Self, StoreError> {
        let writer = Writer::recover(log, &*reads, spec.clone(), me, clock, options)?;
        let shared = writer.shared();
        let (jobs, queue) = sync_channel(options.queue_max.max(1));
        let name = format!("books-{}", spec.lane.0);
        let thread = thread::Builder::new()
            .name(name.clone())
            .spawn(move || writer.run(&queue))
            .map_err(|e| StoreError::Fatal { file: name, error: e.to_string() })?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { inner: Arc::new(Inner { jobs: Jobs::Thread(jobs), shared, reads, spec, thread }) })
    }

    /// The same without a thread: what is submitted waits until [`Books::turn`], and `wake` is called. What waits for its
    /// outcome takes the turn itself. For who runs many lanes in one thread and has the same run again from the same seed.
    ///
    /// # Errors
    /// As [`Books::start`].
    pub fn start_in_turns(
        log: Box<dyn Log>,
        reads: Arc<dyn Reads>,
        spec: LaneSpec,
        me: OwnerId,
        clock: Arc<dyn Clock>,
        options: &Options,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let writer = Writer::recover(log, &*reads, spec.clone(), me, clock, options)?;
        let shared = writer.shared();
        let jobs = Jobs::Turns(Turns::new(writer, options.queue_max, Box::new(wake)));
        Ok(Self { inner: Arc::new(Inner { jobs, shared, reads, spec, thread: Mutex::new(None) }) })
    }

    /// Lets the writer take what waits, as one batch; whether there was anything. Only of books that work in turns.
    pub fn turn(&self) -> bool {
        match &self.inner.jobs {
            Jobs::Turns(turns) => turns.turn(&self.inner.shared),
            Jobs::Thread(_) | Jobs::Nobody => false,
        }
    }

    /// Queues a transition; `answer` is called once, when the outcome is durable. It never blocks: where the queue is
    /// full, `Overloaded` is answered at once.
    pub fn submit(&self, transition: Transition, answer: Answer) {
        let reply = Reply::new(answer);
        let shared = &self.inner.shared;
        if shared.stopped.load(Ordering::SeqCst) {
            return reply.give(Err(CommitError::Stopped));
        }
        let job = Job::Commit(Box::new(transition), reply);
        // A job that is lost otherwise answers `Stopped` by itself.
        let full = match &self.inner.jobs {
            Jobs::Thread(jobs) => match jobs.try_send(job) {
                Err(TrySendError::Full(job)) => Some(job),
                Ok(()) | Err(TrySendError::Disconnected(_)) => None,
            },
            Jobs::Turns(turns) => turns.queue(job),
            Jobs::Nobody => None,
        };
        if let Some(Job::Commit(_, reply)) = full {
            reply.give(Err(CommitError::Overloaded));
        }
    }

    /// Commits a transition and waits for the outcome. Not from within an answer, a view or a listener.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn commit(&self, transition: Transition) -> Result<Arc<Record>, CommitError> {
        let (send, receive) = sync_channel(1);
        let answer: Answer = Box::new(move |result| drop(send.send(result)));
        self.submit(transition, answer);
        self.turn();
        receive.recv().unwrap_or(Err(CommitError::Stopped))
    }

    /// Reads what is durable of the things named. A document may be newer than `as_of`; who builds on it is then
    /// refused as `Moved` and reads again. Tokens are looked at first, on the writer's thread: what has spent one of them
    /// is then among the once keys.
    ///
    /// # Errors
    /// Those of the store; `Unknown` where tokens are asked for and the books have stopped.
    pub fn load(&self, needs: &Needs) -> Result<Facts, StoreError> {
        let dead = self.dead(&needs.tokens)?;
        Ok(Facts { dead, ..self.load_stored(needs)? })
    }

    /// Which of these are not live.
    fn dead(&self, tokens: &[TokenNumber]) -> Result<Vec<TokenNumber>, StoreError> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let mut asked = tokens.to_vec();
        let look = move |lane: &Lane| {
            asked.retain(|number| number.lane != lane.spec().lane || !lane.live().is_live(number));
            asked
        };
        self.view(look).map_err(|_| StoreError::Unknown)
    }

    fn load_stored(&self, needs: &Needs) -> Result<Facts, StoreError> {
        for _ in 0..LOAD_TRIES {
            let (mut facts, rest) = self.look_up(needs);
            if rest.documents.is_empty() && rest.once.is_empty() && rest.marks.is_empty() {
                return Ok(facts);
            }
            // The epoch before the tables: what is read in it may be kept only while it lasts.
            let epoch = self.inner.shared.cache.epoch();
            let folded = self.inner.reads.load(&rest)?;
            let durable = self.durable();
            let ahead = folded.documents.values().map(|d| d.version).chain(folded.once.values().copied());
            // A batch that is in one copy only is not durable yet: nobody may see it.
            if ahead.max().is_some_and(|newest| newest > durable) {
                if self.is_failed() {
                    // Nobody will say any more whether it is.
                    return Err(StoreError::Unknown);
                }
                thread::sleep(LOAD_PAUSE);
                continue;
            }
            self.inner.shared.cache.keep(epoch, folded.documents.iter());
            facts.documents.extend(folded.documents);
            facts.once.extend(folded.once);
            facts.marked.extend(folded.marked);
            return Ok(facts);
        }
        Err(StoreError::Retry)
    }

    /// What the published overlay knows, and what is left to look up in the store's tables.
    fn look_up(&self, needs: &Needs) -> (Facts, Needs) {
        let view = self.inner.shared.published.read();
        let mut facts = Facts { as_of: view.durable, ..Facts::default() };
        let mut rest = Needs::default();
        for key in &needs.documents {
            match view.overlay.document(key) {
                Some((version, Some(value))) => {
                    let document = Document { version: *version, value: Arc::clone(value) };
                    facts.documents.insert(*key, document);
                }
                Some((_, None)) => {}
                None => match self.inner.shared.cache.get(key) {
                    Some(document) => drop(facts.documents.insert(*key, document)),
                    None => rest.documents.push(*key),
                },
            }
        }
        for key in &needs.once {
            match view.overlay.once(key) {
                Some((seq, _)) => drop(facts.once.insert(*key, seq)),
                None => rest.once.push(*key),
            }
        }
        for mark in &needs.marks {
            if view.overlay.is_marked(mark.kind, mark.id) {
                facts.marked.push(mark.id);
            } else {
                rest.marks.push(*mark);
            }
        }
        (facts, rest)
    }

    /// All documents of a kind, in order of their ids.
    ///
    /// # Errors
    /// Those of the store.
    pub fn scan(&self, kind: DocumentKind) -> Result<Vec<(DocumentKey, Document)>, StoreError> {
        // The overlay first: what is folded in between is then newer, and the newer version counts.
        let unfolded: Vec<FoldedDocument> = {
            let view = self.inner.shared.published.read();
            let written = view.overlay.unfolded(kind);
            written.map(|(key, (seq, value))| (*key, *seq, value.clone())).collect()
        };
        let mut found: BTreeMap<DocumentKey, Written> = BTreeMap::new();
        let folded = self.inner.reads.scan(kind)?;
        for (key, seq, value) in folded.into_iter().map(|(k, s, v)| (k, s, Some(v))).chain(unfolded) {
            let newest = found.entry(key).or_insert((Seq(0), None));
            if seq >= newest.0 {
                *newest = (seq, value);
            }
        }
        let there = found
            .into_iter()
            .filter_map(|(key, (version, value))| value.map(|value| (key, Document { version, value })));
        Ok(there.collect())
    }

    /// A durable record; none where there is none of that number yet.
    ///
    /// # Errors
    /// Those of the store.
    pub fn record(&self, seq: Seq) -> Result<Option<Arc<Record>>, StoreError> {
        {
            let view = self.inner.shared.published.read();
            if seq > view.durable || seq == Seq(0) {
                return Ok(None);
            }
            if let Some(record) = view.recent(seq) {
                return Ok(Some(record));
            }
        }
        Ok(self.inner.reads.read(seq, 1)?.into_iter().find(|r| r.core.seq == seq).map(Arc::new))
    }

    /// Durable records from a sequence number on, in order, at most so many.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(&self, from: Seq, max: usize) -> Result<Vec<Record>, StoreError> {
        let durable = self.durable();
        let mut records = self.inner.reads.read(from, max)?;
        records.retain(|r| r.core.seq <= durable);
        Ok(records)
    }

    /// Looks at the lane between two batches, that is, at durable state, on the writer's thread. It waits its turn, and
    /// every commit waits for it meanwhile.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn view<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Lane) -> T + Send + 'static,
    ) -> Result<T, CommitError> {
        if self.inner.shared.stopped.load(Ordering::SeqCst) {
            return Err(CommitError::Stopped);
        }
        let (send, receive) = sync_channel(1);
        self.inner.send(Job::Look(Box::new(move |lane| drop(send.send(lane.map(look))))))?;
        receive.recv().ok().flatten().ok_or(CommitError::Stopped)
    }

    /// The last durable record.
    #[must_use]
    pub fn durable(&self) -> Seq {
        self.inner.shared.published.read().durable
    }

    /// What the lane is made for.
    #[must_use]
    pub fn spec(&self) -> &LaneSpec {
        &self.inner.spec
    }

    /// Calls `listener` with the last durable record after each batch that put something into the outbox, on the
    /// writer's thread: it must be quick and must not wait.
    pub fn subscribe(&self, listener: impl Fn(Seq) + Send + Sync + 'static) {
        self.inner.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Waits until a record after `since` is durable, or the time is over; gives the last durable record.
    #[must_use]
    pub fn wait_change(&self, since: Seq, limit: Duration) -> Seq {
        self.inner.shared.published.wait(since, limit)
    }

    /// Checks every stored byte of every copy, redoes the whole journal and compares it with the books.
    ///
    /// # Errors
    /// Those of the store; `Damaged` names the file. `Unknown` where the books have stopped.
    pub fn audit(&self) -> Result<AuditReport, StoreError> {
        loop {
            let begin = self.opening()?.map(|o| o.seq);
            let report = self.audit_once();
            // Where records were dropped meanwhile, it may have looked for them: the journal begins elsewhere now.
            if self.opening()?.map(|o| o.seq) == begin {
                return report;
            }
        }
    }

    fn audit_once(&self) -> Result<AuditReport, StoreError> {
        let books = self.view(Lane::clone).map_err(|_| StoreError::Unknown)?;
        let (mut audit, first) = self.begin_audit()?;
        let last = books.seq();
        // Three that need not wait for each other: the bytes are verified, the records opened, the journal redone.
        thread::scope(|threads| {
            let verifying = threads.spawn(|| self.inner.reads.verify());
            let (send, chunks) = sync_channel(AUDIT_CHUNKS_WAITING);
            let reading = threads.spawn(move || self.send_records((first, last), &send));
            for records in chunks {
                records.iter().for_each(|r| audit.absorb(r));
            }
            let ended = [verifying.join(), reading.join()];
            ended.into_iter().try_for_each(|thread| thread.unwrap_or(Err(StoreError::Unknown)))
        })?;
        Ok(audit.finish(&books))
    }

    /// Every record from one to another, chunk after chunk, as long as somebody takes them.
    fn send_records(
        &self,
        (first, last): (Seq, Seq),
        to: &SyncSender<Vec<Record>>,
    ) -> Result<(), StoreError> {
        let mut next = first;
        while next <= last {
            let mut records = self.read(next, AUDIT_CHUNK)?;
            records.retain(|r| r.core.seq <= last);
            let Some(read) = records.last().map(|r| r.core.seq) else { break };
            next = read.next();
            if to.send(records).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Writes a consistent copy of the books into an empty directory, and says what it holds.
    ///
    /// # Errors
    /// Those of the store.
    pub fn backup(&self, to: &Path) -> Result<Copied, StoreError> {
        self.inner.reads.backup(to)
    }

    /// The latest records are also in memory.
    pub(crate) fn forget_seeds(&self, before: Timestamp) {
        self.inner.shared.published.forget_seeds(before);
    }

    pub(crate) fn reads(&self) -> &dyn Reads {
        &*self.inner.reads
    }

    /// Works on the store between two batches, on the writer's thread.
    pub(crate) fn keep<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Log, Fence) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (send, receive) = sync_channel(1);
        let job: Keep = Box::new(move |log| {
            let Some((log, fence)) = log else { return Ok(()) };
            let done = work(log, fence)?;
            // Whoever asked may have gone.
            let _ = send.send(done);
            Ok(())
        });
        self.inner.send(Job::Keep(job)).map_err(|_| StoreError::Unknown)?;
        receive.recv().map_err(|_| StoreError::Unknown)
    }

    /// Whether the store failed: the process must stop and start again.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.inner.shared.failed.load(Ordering::SeqCst)
    }

    /// Commits what is queued, folds, ends the writer and lets go of the store. Other handles are then stopped too.
    ///
    /// # Errors
    /// `Stopped` where the books had failed.
    pub fn stop(self) -> Result<(), CommitError> {
        // Where the writer has ended already there is nobody to tell.
        let _ = self.inner.send(Job::Stop);
        self.inner.join();
        if self.is_failed() { Err(CommitError::Stopped) } else { Ok(()) }
    }
}
