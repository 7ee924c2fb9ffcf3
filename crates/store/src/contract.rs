//! What every store does for a lane: append, fold in, read. Source: books.md, "Lanes and stores".

use std::path::Path;
use std::sync::Arc;

use florin_books::{
    DocumentKey, DocumentKind, Entry, Facts, LaneId, Needs, Record, Seq, Snapshot, Timestamp,
};
use florin_crypto::Digest;

/// Who writes now: an older owner is fenced off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fence(pub u64);

/// A process that wants to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnerId(pub [u8; 16]);

/// What a lane takes up again.
#[derive(Debug)]
pub struct Recovered {
    /// The right to append.
    pub fence: Fence,
    /// The checkpoint of the last fold that is whole.
    pub checkpoint: Option<Vec<u8>>,
    /// The last record that is stored; those after the checkpoint are taken up with [`Reads::read`].
    pub last: Seq,
    /// The books' chain at the last record, as it was stored; none where nothing is stored.
    pub chain: Option<Digest>,
    /// What the store is called in messages.
    pub name: String,
}

/// A document as a fold leaves it: its version, and its content unless it was removed.
pub type FoldedDocument = (DocumentKey, Seq, Option<Arc<[u8]>>);

/// A document as it is stored: its version and its content.
pub type StoredDocument = (DocumentKey, Seq, Arc<[u8]>);

/// What stands in a store in place of records that were dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredOpening {
    /// The last dropped record.
    pub seq: Seq,
    /// The books' chain there.
    pub chain: Digest,
    /// The opening ([`florin_books::Opening`]), signed by whoever keeps the books: bytes that the store cannot judge.
    pub signed: Vec<u8>,
    /// The state of the lane there, which the opening names by its digest.
    pub state: Vec<u8>,
}

/// What one slice of taking out seeds did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stripped {
    /// So many seeds have gone.
    pub seeds: u64,
    /// Nothing is left to do.
    pub done: bool,
}

/// What taking seeds out of the second copy did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CopyStripped {
    /// So many segments were written again.
    pub segments: u32,
    /// By so many bytes they are smaller.
    pub bytes: u64,
    /// When the segment that is still written to begins: where that is long ago, it should be ended.
    pub newest: Option<Timestamp>,
}

/// Where a walk over documents goes on; none at its beginning.
pub type Page = Option<[u8; 16]>;

/// Documents, and where to go on; none at the end.
pub type Older = (Vec<StoredDocument>, Page);

/// What a backup holds of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copied {
    /// The last record.
    pub last: Seq,
    /// The books' chain there; none where there are no records.
    pub chain: Option<Digest>,
}

/// What a store can answer with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else writes now: stop, reload.
    #[error("another process has taken over these books")]
    Fenced,
    /// Not applied; the same call may succeed.
    #[error("the store is busy")]
    Retry,
    /// There is not enough room on the disk; nothing was applied.
    #[error("not enough free space on the disk")]
    Full,
    /// Applied or not: read the sequence, then decide.
    #[error("it is not known whether the batch was stored")]
    Unknown,
    /// The lock on the directory is held by another process.
    #[error("another process is using {0}")]
    Busy(String),
    /// What is on the disk does not verify; it names the file and what is wrong.
    #[error("{file} is damaged: {why}")]
    Damaged {
        /// Which file.
        file: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The files are of another program, format, lane or key.
    #[error("{file} does not belong to these books: {why}")]
    Foreign {
        /// Which file.
        file: String,
        /// What differs.
        why: &'static str,
    },
    /// Anything else: stop serving.
    #[error("{file}: {error}")]
    Fatal {
        /// Which file.
        file: String,
        /// What the system said.
        error: String,
    },
}

/// One writer, fenced.
pub trait Log: Send {
    /// Takes the lane over and gives what is needed to rebuild it.
    ///
    /// # Errors
    /// `Busy`, `Damaged`, `Foreign`, `Fatal`.
    fn acquire(&mut self, lane: LaneId, me: OwnerId) -> Result<Recovered, StoreError>;

    /// Whether there is room for another batch; asked before anything is applied.
    ///
    /// # Errors
    /// `Full`, `Fatal`.
    fn has_room(&mut self) -> Result<(), StoreError>;

    /// Makes a batch durable, in every copy, and with it a part of the fold under way, so much as its pace asks for. When
    /// it returns, both are on the disk; it gives the sequence of the fold that is whole now. After any error the caller
    /// stops: whether the batch is stored is found out at the next start.
    ///
    /// # Errors
    /// `Fenced`, `Unknown`, `Fatal`.
    fn append(&mut self, fence: Fence, first: Seq, entries: &[Entry]) -> Result<Option<Seq>, StoreError>;

    /// Begins to fold in a snapshot of what is stored: to be whole `within` so many records from now. It returns at once;
    /// what takes time happens on another thread. One fold at a time.
    ///
    /// A fold that is never finished harms nothing: the tables then hold rows that are newer than the checkpoint, and
    /// every one of them is also in the records after it.
    ///
    /// # Errors
    /// `Fenced`, `Unknown`, `Fatal`.
    fn begin_fold(&mut self, fence: Fence, snapshot: Snapshot, within: u64) -> Result<(), StoreError>;

    /// Goes on with the fold under way without a batch: by a small part, as far as it is ready, or by all that is left.
    /// Gives its sequence when it is whole.
    ///
    /// # Errors
    /// As for `append`.
    fn fold(&mut self, fence: Fence, all: bool) -> Result<Option<Seq>, StoreError>;

    /// Takes the seeds out of a bounded part of the records from before a time. A store that keeps everything is done.
    ///
    /// # Errors
    /// `Fenced`, `Damaged`, `Fatal`.
    fn strip(&mut self, _fence: Fence, _before: Timestamp) -> Result<Stripped, StoreError> {
        Ok(Stripped { seeds: 0, done: true })
    }

    /// Ends the segment of the second copy that is written to, so that it can be written again or dropped.
    ///
    /// # Errors
    /// `Fenced`, `Unknown`, `Fatal`.
    fn roll(&mut self, _fence: Fence) -> Result<(), StoreError> {
        Ok(())
    }

    /// Lets the journal begin after an opening, in every copy; [`Reads::prepare_drop`] came before it.
    ///
    /// # Errors
    /// `Fenced`, `Damaged`, `Fatal`.
    fn begin_at(&mut self, _fence: Fence, _opening: &StoredOpening) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes a bounded part of what lies before the opening; whether that was all.
    ///
    /// # Errors
    /// `Fenced`, `Fatal`.
    fn drop_some(&mut self, _fence: Fence) -> Result<bool, StoreError> {
        Ok(true)
    }
}

/// Any thread, also while an append is in fsync. Sees what is folded, and the records.
pub trait Reads: Send + Sync {
    /// Loads what is folded of the things named. `as_of` says nothing: only the caller knows what is not folded.
    ///
    /// # Errors
    /// `Retry`, `Damaged`, `Fatal`.
    fn load(&self, needs: &Needs) -> Result<Facts, StoreError>;

    /// All folded documents of a kind.
    ///
    /// # Errors
    /// `Retry`, `Damaged`, `Fatal`.
    fn scan(&self, kind: DocumentKind) -> Result<Vec<StoredDocument>, StoreError>;

    /// Durable records from a sequence number on, at most so many.
    ///
    /// # Errors
    /// `Retry`, `Damaged`, `Fatal`.
    fn read(&self, from: Seq, max: usize) -> Result<Vec<Record>, StoreError>;

    /// Writes a consistent copy of the books into an empty directory, and says what it holds.
    ///
    /// # Errors
    /// `Fatal`.
    fn backup(&self, to: &Path) -> Result<Copied, StoreError>;

    /// The books' chain after the batch that ends with this record; none where no batch ends there.
    ///
    /// # Errors
    /// `Retry`, `Damaged`, `Fatal`.
    fn chain_at(&self, seq: Seq) -> Result<Option<Digest>, StoreError>;

    /// The last record from before a time; zero where there is none.
    ///
    /// # Errors
    /// `Retry`, `Damaged`, `Fatal`.
    fn seq_before(&self, time: Timestamp) -> Result<Seq, StoreError>;

    /// Folded documents of a kind that were last written at or before a record, at most so many, in an order of the
    /// store's own; where to go on, if there may be more.
    ///
    /// # Errors
    /// `Retry`, `Damaged`, `Fatal`.
    fn older(&self, kind: DocumentKind, seq: Seq, after: Page, max: usize) -> Result<Older, StoreError>;

    /// What stands in place of dropped records, if any were dropped.
    ///
    /// # Errors
    /// `Retry`, `Damaged`, `Fatal`.
    fn opening(&self) -> Result<Option<StoredOpening>, StoreError> {
        Ok(None)
    }

    /// Takes the seeds out of closed segments of the second copy. Only one thread at a time.
    ///
    /// # Errors
    /// `Damaged`, `Fatal`.
    fn strip_copy(&self, _before: Timestamp) -> Result<CopyStripped, StoreError> {
        Ok(CopyStripped::default())
    }

    /// The furthest record before `seq` up to which the store can drop; none where it cannot.
    ///
    /// # Errors
    /// `Retry`, `Damaged`, `Fatal`.
    fn drop_point(&self, _seq: Seq) -> Result<Option<Seq>, StoreError> {
        Ok(None)
    }

    /// Lays aside what the second copy needs to stay enough for a rebuild once the records up to `seq` have gone.
    ///
    /// # Errors
    /// `Retry`, `Damaged`, `Fatal`.
    fn prepare_drop(&self, _seq: Seq) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes files that lie before the opening.
    ///
    /// # Errors
    /// `Fatal`.
    fn finish_drop(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Checks every stored byte of every copy, however old.
    ///
    /// # Errors
    /// `Retry`, `Damaged`, `Fatal`.
    fn verify(&self) -> Result<(), StoreError>;
}
