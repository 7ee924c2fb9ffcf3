//! Retention, for whoever keeps the books: seeds go after a time, records go behind a signed opening.
//! Source: books.md, "Retention".

use florin_books::{Audit, DocumentKind, Opening, Seq, Timestamp};

use crate::contract::{Older, Page, StoreError, StoredOpening};
use crate::handle::Books;

/// How many records are taken at a time.
const CHUNK: usize = 1024;

/// What a run of retention did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Retained {
    /// Seeds that have gone.
    pub seeds: u64,
    /// Segments of the second copy that were written again.
    pub segments: u32,
    /// By so many bytes the second copy is smaller.
    pub bytes: u64,
}

impl Books {
    /// Takes the seeds of records from before a time out of both copies; a segment of the second copy that began before
    /// `roll` is ended, so that its turn comes. Commits go on between two slices. One run at a time.
    ///
    /// # Errors
    /// Those of the store; after one the books have stopped, or nothing has changed.
    pub fn strip(&self, before: Timestamp, roll: Timestamp) -> Result<Retained, StoreError> {
        let mut copy = self.reads().strip_copy(before)?;
        if copy.newest.is_some_and(|begun| begun < roll) {
            self.keep(|log, fence| log.roll(fence))?;
            let more = self.reads().strip_copy(before)?;
            copy.segments = copy.segments.saturating_add(more.segments);
            copy.bytes = copy.bytes.saturating_add(more.bytes);
        }
        let mut done = Retained { seeds: 0, segments: copy.segments, bytes: copy.bytes };
        loop {
            let slice = self.keep(move |log, fence| log.strip(fence, before))?;
            done.seeds = done.seeds.saturating_add(slice.seeds);
            if slice.done {
                self.forget_seeds(before);
                return Ok(done);
            }
        }
    }

    /// Drops records before `seq` from both copies, as far as whole segments of the second copy end before it, and puts
    /// an opening in their place, which `sign` signs. None where nothing can be dropped. One run at a time.
    ///
    /// # Errors
    /// Those of the store; `Damaged` where the records to drop do not agree with each other: then none is dropped.
    pub fn drop_before(
        &self,
        seq: Seq,
        sign: &dyn Fn(&Opening) -> Vec<u8>,
    ) -> Result<Option<Opening>, StoreError> {
        let Some(at) = self.reads().drop_point(seq)? else { return Ok(None) };
        let (opening, state) = self.opening_at(at)?;
        self.reads().prepare_drop(at)?;
        let signed = sign(&opening);
        let stored = StoredOpening { seq: at, chain: opening.chain, signed, state };
        self.keep(move |log, fence| log.begin_at(fence, &stored))?;
        while !self.keep(|log, fence| log.drop_some(fence))? {}
        self.reads().finish_drop()?;
        Ok(Some(opening))
    }

    /// What stands in place of dropped records, as its owner signed it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn opening(&self) -> Result<Option<StoredOpening>, StoreError> {
        self.reads().opening()
    }

    /// The chain after a record that ends a batch; none where no batch ends there.
    ///
    /// # Errors
    /// Those of the store.
    pub fn chain_at(&self, seq: Seq) -> Result<Option<florin_crypto::Digest>, StoreError> {
        self.reads().chain_at(seq)
    }

    /// The last record from before a time; zero where there is none.
    ///
    /// # Errors
    /// Those of the store.
    pub fn seq_before(&self, time: Timestamp) -> Result<Seq, StoreError> {
        self.reads().seq_before(time)
    }

    /// Folded documents of a kind last written at or before a record: a page of them, and where the next one begins.
    ///
    /// # Errors
    /// Those of the store.
    pub fn older(&self, kind: DocumentKind, seq: Seq, after: Page, max: usize) -> Result<Older, StoreError> {
        self.reads().older(kind, seq, after, max)
    }

    /// Where an audit of this journal begins.
    pub(crate) fn begin_audit(&self) -> Result<(Audit, Seq), StoreError> {
        let Some(stored) = self.reads().opening()? else {
            return Ok((Audit::new(self.spec().clone()), Seq(1)));
        };
        let lane = Opening::of_state(self.spec().clone(), &stored.state).map_err(|_| wrong())?;
        if (lane.seq, lane.chain) != (stored.seq, stored.chain) {
            return Err(wrong());
        }
        let audit = Audit::from_opening(self.spec().clone(), &lane, &stored.state).map_err(|_| wrong())?;
        Ok((audit, stored.seq.next()))
    }

    /// The opening after a record: the journal redone up to there.
    fn opening_at(&self, at: Seq) -> Result<(Opening, Vec<u8>), StoreError> {
        let mut lane = match self.reads().opening()? {
            Some(stored) => florin_books::Lane::from_checkpoint(self.spec().clone(), &stored.state),
            None => Ok(florin_books::Lane::new(self.spec().clone())),
        }
        .map_err(|_| wrong())?;
        while lane.seq() < at {
            let records = self.read(lane.seq().next(), CHUNK)?;
            if records.is_empty() {
                return Err(wrong());
            }
            for record in records.into_iter().filter(|r| r.core.seq <= at) {
                lane.redo(record).map_err(|_| wrong())?;
            }
            lane.forget_written();
        }
        match self.reads().chain_at(at)? {
            Some(chain) if chain == lane.chain() => Ok(Opening::of(&lane)),
            _ => Err(wrong()),
        }
    }
}

fn wrong() -> StoreError {
    StoreError::Damaged { file: "the journal".into(), why: "its records and its opening do not agree" }
}
