//! The memory store: a simulated disk with seeded faults, for tests, simulation and model checking.
//! Source: books.md, "Lanes and stores" (lost, torn and unsynced writes, errors, fencing).
//!
//! Two append-only files: the journal (a frame for each batch) and the folds (a frame for each part of a fold). A frame
//! reaches the disk in several writes and a sync; a crash keeps what was synced and, by the seed, any part of the rest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use florin_books::{DocumentKey, DocumentKind, Entry, LaneId, OnceKey, Record, Seq, Snapshot, Timestamp};
use florin_crypto::{Digest, digest};
use minicbor::{Decode, Encode};

mod point;
mod reads;

use point::Watch;
pub use point::{Crash, Part, Point, Stage};

use crate::contract::{Fence, Log, OwnerId, Reads, Recovered, StoreError};
use crate::fold::{Folded, Pace};

/// A store in memory. Clones share the disk: drop the books, [`MemoryStore::restart`], and take it up again.
#[derive(Clone)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    journal: File,
    folds: File,
    writes: u64,
    crash: Option<(u64, Crash)>,
    watch: Option<Watch>,
    down: bool,
    full: bool,
    fence: u64,
    lane: Option<LaneId>,
    tables: Tables,
    folding: Option<Folding>,
}

/// What a reader sees: exactly what the files hold.
#[derive(Default)]
struct Tables {
    records: Vec<Record>,
    chain: Option<Digest>,
    checkpoint: Option<(Seq, Vec<u8>)>,
    documents: BTreeMap<DocumentKey, (Seq, Arc<[u8]>)>,
    once: BTreeMap<OnceKey, Seq>,
    marks: BTreeMap<(DocumentKind, [u8; 16]), Timestamp>,
}

#[derive(Default, Clone)]
struct File {
    synced: Vec<u8>,
    /// Writes since the last sync, in order.
    pending: Vec<Vec<u8>>,
}

/// Bytes of one simulated write.
const WRITE_BYTES: usize = 512;
const CHECKSUM: usize = 32;

#[derive(Encode, Decode)]
#[cbor(array)]
struct BatchFrame {
    #[n(0)]
    first: Seq,
    #[n(1)]
    chain: Digest,
    #[n(2)]
    records: Vec<Record>,
}

/// A part of a fold: some rows, or its end.
#[derive(Encode, Decode)]
#[cbor(array)]
struct FoldFrame {
    #[n(0)]
    seq: Seq,
    #[n(1)]
    rows: Vec<FoldRow>,
}

#[derive(Clone, Encode, Decode)]
#[cbor(flat)]
enum FoldRow {
    #[n(0)]
    Document(
        #[n(0)] DocumentKey,
        #[n(1)] Seq,
        #[cbor(n(2), with = "florin_books::codec::optional_bytes")] Option<Vec<u8>>,
    ),
    #[n(1)]
    Once(#[n(0)] OnceKey, #[n(1)] Seq),
    #[n(2)]
    Mark(#[n(0)] DocumentKind, #[n(1)] minicbor::bytes::ByteArray<16>, #[n(2)] Timestamp),
    /// Marks that ended before this go.
    #[n(3)]
    Ended(#[n(0)] Timestamp),
    /// With it the fold is whole.
    #[n(4)]
    Checkpoint(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
}

/// The fold under way.
struct Folding {
    seq: Seq,
    pace: Pace,
    rows: Vec<FoldRow>,
    /// How many of the rows are in.
    done: usize,
}

/// Rows that an idle lane folds at once.
const ROWS_IDLE: usize = 4;

impl Folding {
    fn of(snapshot: &Snapshot, within: u64) -> Self {
        let folded = Folded::of(snapshot);
        let documents = folded
            .documents
            .into_iter()
            .map(|(key, at, value)| FoldRow::Document(key, at, value.as_deref().map(<[u8]>::to_vec)));
        let once = folded.once.into_iter().map(|(key, at)| FoldRow::Once(key, at));
        let marks = folded.marks.into_iter().map(|(kind, id, until)| FoldRow::Mark(kind, id.into(), until));
        let end = [FoldRow::Ended(snapshot.time()), FoldRow::Checkpoint(snapshot.checkpoint())];
        let rows = documents.chain(once).chain(marks).chain(end).collect();
        Self { seq: snapshot.seq(), pace: Pace::new(snapshot.seq(), within), rows, done: 0 }
    }

    fn due(&self, last: Seq) -> usize {
        let total = u64::try_from(self.rows.len()).unwrap_or(u64::MAX);
        usize::try_from(self.pace.due(total, last)).unwrap_or(usize::MAX)
    }
}

impl Tables {
    fn take_batch(&mut self, frame: BatchFrame) -> bool {
        if frame.first.0 != self.last().0.saturating_add(1) {
            return false;
        }
        self.chain = Some(frame.chain);
        self.records.extend(frame.records);
        true
    }

    fn take_fold(&mut self, frame: FoldFrame) {
        for row in frame.rows {
            match row {
                FoldRow::Document(key, at, Some(value)) => {
                    self.documents.insert(key, (at, value.into()));
                }
                FoldRow::Document(key, _, None) => drop(self.documents.remove(&key)),
                FoldRow::Once(key, at) => drop(self.once.insert(key, at)),
                FoldRow::Mark(kind, id, until) => drop(self.marks.insert((kind, id.into()), until)),
                FoldRow::Ended(time) => self.marks.retain(|_, until| *until >= time),
                FoldRow::Checkpoint(bytes) => self.checkpoint = Some((frame.seq, bytes)),
            }
        }
    }

    fn last(&self) -> Seq {
        self.records.last().map_or(Seq(0), |r| r.core.seq)
    }
}

/// length, payload, digest.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = u64::try_from(payload.len()).unwrap_or(u64::MAX).to_be_bytes().to_vec();
    out.extend_from_slice(payload);
    out.extend_from_slice(digest("florin/v1/store/memory", &[payload]).as_ref());
    out
}

/// The frame at the beginning, if it is whole, and what follows.
fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    let len = usize::try_from(u64::from_be_bytes(*head)).ok()?;
    let (payload, rest) = rest.split_at_checked(len)?;
    let (sum, rest) = rest.split_at_checked(CHECKSUM)?;
    (digest("florin/v1/store/memory", &[payload]).as_ref() == sum).then_some((payload, rest))
}

impl File {
    /// What is left after the power went: each pending write is there whole, torn or not at all.
    fn settle(&mut self, seed: u64) {
        for (i, write) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            let dice = digest("florin/v1/store/dice", &[&seed.to_be_bytes(), &i.to_be_bytes()]).short();
            let [kind, part, ..] = dice;
            let len = write.len();
            let kept = len.saturating_mul(usize::from(part)).checked_div(256).unwrap_or(0);
            match kind % 4 {
                0 => self.synced.extend_from_slice(&write),
                1 => self.synced.extend_from_slice(write.get(..kept).unwrap_or(&write)),
                // A later write can be on the disk although an earlier one is not: there it reads as zeros.
                2 => self.synced.resize(self.synced.len().saturating_add(len), 0),
                _ => {}
            }
        }
    }

    fn sync(&mut self) {
        for write in std::mem::take(&mut self.pending) {
            self.synced.extend_from_slice(&write);
        }
    }
}

impl Disk {
    fn fatal(error: &str) -> StoreError {
        StoreError::Fatal { file: "memory".into(), error: error.into() }
    }

    fn check_up(&self) -> Result<(), StoreError> {
        if self.down { Err(Self::fatal("the disk is down")) } else { Ok(()) }
    }

    /// Counts a write or sync, and lets happen what was asked for.
    fn step(&mut self, point: Point<'_>) -> Result<(), StoreError> {
        self.check_up()?;
        // When a sync has succeeded nothing is written any more.
        self.writes = self.writes.saturating_add(u64::from(point.stage != Stage::Synced));
        let asked = self.crash.filter(|(at, _)| *at == self.writes && point.stage != Stage::Synced);
        let watched = self.watch.as_mut().and_then(|watch| watch(point));
        match asked.map(|(_, crash)| crash).or(watched) {
            Some(Crash::Power { seed }) => {
                self.journal.settle(seed);
                self.folds.settle(seed.rotate_left(32));
                self.down = true;
                Err(Self::fatal("the power went"))
            }
            Some(Crash::Error) => Err(Self::fatal("input/output error")),
            None => Ok(()),
        }
    }

    fn write(&mut self, part: Part, entries: &[Entry], bytes: &[u8]) -> Result<(), StoreError> {
        let at = |stage| Point { part, stage, entries };
        let mut pieces = bytes.chunks(WRITE_BYTES).peekable();
        while let Some(piece) = pieces.next() {
            self.file(part).pending.push(piece.to_vec());
            self.step(at(if pieces.peek().is_some() { Stage::Piece } else { Stage::Written }))?;
        }
        self.step(at(Stage::Sync))?;
        self.file(part).sync();
        self.step(at(Stage::Synced))
    }

    fn file(&mut self, part: Part) -> &mut File {
        match part {
            Part::Journal => &mut self.journal,
            Part::Folds => &mut self.folds,
        }
    }

    fn append(&mut self, first: Seq, entries: &[Entry]) -> Result<Option<Seq>, StoreError> {
        self.check_up()?;
        if first != self.tables.last().next() {
            return Err(Self::fatal("the batch does not follow"));
        }
        if let Some(last) = entries.last() {
            let records = entries.iter().map(|e| e.record.clone()).collect();
            let batch = BatchFrame { first, chain: last.chain, records };
            self.write(Part::Journal, entries, &frame(&florin_crypto::encode(&batch)))?;
            self.tables.take_batch(batch);
        }
        let due = self.folding.as_ref().map_or(0, |f| f.due(self.tables.last()));
        self.fold(due)
    }

    /// Folds until so many rows are in.
    fn fold(&mut self, due: usize) -> Result<Option<Seq>, StoreError> {
        self.check_up()?;
        let Some(folding) = &self.folding else { return Ok(None) };
        let (seq, due) = (folding.seq, due.min(folding.rows.len()));
        let rows = folding.rows.get(folding.done..due).unwrap_or_default().to_vec();
        if rows.is_empty() {
            return Ok(None);
        }
        let part = FoldFrame { seq, rows };
        self.write(Part::Folds, &[], &frame(&florin_crypto::encode(&part)))?;
        self.tables.take_fold(part);
        let whole = self.folding.as_ref().is_some_and(|f| due == f.rows.len());
        if whole {
            self.folding = None;
        } else if let Some(folding) = &mut self.folding {
            folding.done = due;
        }
        Ok(whole.then_some(seq))
    }

    /// Reads the files from the beginning and cuts off what is not whole.
    fn rebuild(&mut self) {
        let mut tables = Tables::default();
        let mut rest = self.journal.synced.as_slice();
        while let Some((payload, next)) = unframe(rest) {
            let Ok(batch) = minicbor::decode::<BatchFrame>(payload) else { break };
            if !tables.take_batch(batch) {
                break;
            }
            rest = next;
        }
        let journal = self.journal.synced.len().saturating_sub(rest.len());
        let mut rest = self.folds.synced.as_slice();
        while let Some((payload, next)) = unframe(rest) {
            let Ok(fold) = minicbor::decode::<FoldFrame>(payload) else { break };
            if fold.seq > tables.last() {
                break;
            }
            tables.take_fold(fold);
            rest = next;
        }
        let folds = self.folds.synced.len().saturating_sub(rest.len());
        self.journal.synced.truncate(journal);
        self.folds.synced.truncate(folds);
        self.tables = tables;
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { disk: Arc::default() }
    }

    /// The two halves that [`crate::Books::start`] takes.
    #[must_use]
    pub fn split(&self) -> (Box<dyn Log>, Arc<dyn Reads>) {
        (Box::new(self.clone()), Arc::new(self.clone()))
    }

    /// Lets something happen at the n-th write from the beginning of the store (the first is 1); see
    /// [`MemoryStore::writes`].
    pub fn crash_at(&self, write: u64, what: Crash) {
        self.lock().crash = Some((write, what));
    }

    /// Asks from now on at every point of every write what shall happen there; a restart does not change it.
    pub fn watch(&self, watch: impl FnMut(Point<'_>) -> Option<Crash> + Send + 'static) {
        self.lock().watch = Some(Box::new(watch));
    }

    /// How many writes and syncs there were.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Says from now on whether the disk is full.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Starts the machine again: what was never synced is decided by `seed`, torn ends are cut off, faults are over.
    pub fn restart(&self, seed: u64) {
        let mut disk = self.lock();
        disk.journal.settle(seed);
        disk.folds.settle(seed.rotate_left(32));
        disk.crash = None;
        disk.down = false;
        disk.full = false;
        disk.rebuild();
    }

    /// Takes up what [`Reads::backup`] wrote.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn from_backup(dir: &Path) -> Result<Self, StoreError> {
        let store = Self::new();
        {
            let mut disk = store.lock();
            disk.journal.synced = std::fs::read(dir.join("journal")).map_err(|e| fatal(dir, &e))?;
            disk.folds.synced = std::fs::read(dir.join("folds")).map_err(|e| fatal(dir, &e))?;
            disk.rebuild();
        }
        Ok(store)
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk, for who still owns it.
    fn owned(&self, fence: Fence) -> Result<MutexGuard<'_, Disk>, StoreError> {
        let disk = self.lock();
        if fence.0 == disk.fence { Ok(disk) } else { Err(StoreError::Fenced) }
    }
}

fn fatal(file: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Fatal { file: file.display().to_string(), error: error.to_string() }
}

impl Log for MemoryStore {
    fn acquire(&mut self, lane: LaneId, _: OwnerId) -> Result<Recovered, StoreError> {
        let mut disk = self.lock();
        disk.check_up()?;
        if disk.lane.is_some_and(|l| l != lane) {
            return Err(StoreError::Foreign { file: "memory".into(), why: "another lane" });
        }
        disk.lane = Some(lane);
        disk.folding = None;
        disk.fence = disk.fence.saturating_add(1);
        Ok(Recovered {
            fence: Fence(disk.fence),
            checkpoint: disk.tables.checkpoint.as_ref().map(|(_, bytes)| bytes.clone()),
            last: disk.tables.last(),
            chain: disk.tables.chain,
            name: "memory".into(),
        })
    }

    fn has_room(&mut self) -> Result<(), StoreError> {
        let disk = self.lock();
        disk.check_up()?;
        if disk.full { Err(StoreError::Full) } else { Ok(()) }
    }

    fn append(&mut self, fence: Fence, first: Seq, entries: &[Entry]) -> Result<Option<Seq>, StoreError> {
        self.owned(fence)?.append(first, entries)
    }

    fn begin_fold(&mut self, fence: Fence, snapshot: Snapshot, within: u64) -> Result<(), StoreError> {
        self.owned(fence)?.folding = Some(Folding::of(&snapshot, within));
        Ok(())
    }

    fn fold(&mut self, fence: Fence, all: bool) -> Result<Option<Seq>, StoreError> {
        let mut disk = self.owned(fence)?;
        let done = disk.folding.as_ref().map_or(0, |f| f.done);
        disk.fold(if all { usize::MAX } else { done.saturating_add(ROWS_IDLE) })
    }
}
