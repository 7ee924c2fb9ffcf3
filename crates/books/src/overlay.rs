//! What was written since the last fold, by generation, so that a decision made on slightly older facts can still be
//! checked. Source: books.md, "Lanes and stores".

use std::collections::HashMap;
use std::sync::Arc;

use florin_crypto::Digest;

use crate::ids::{Seq, Timestamp};
use crate::record::Core;
use crate::transition::{DocumentKey, DocumentKind, OnceKey};

/// The latest write of a document: its version, and its content unless it was removed.
pub type Written = (Seq, Option<Arc<[u8]>>);

/// Writes of one period.
#[derive(Clone, Default, Debug)]
pub struct Generation {
    /// Documents.
    pub documents: HashMap<DocumentKey, Written>,
    /// Once keys, with the record and its cause.
    pub once: HashMap<OnceKey, (Seq, Digest)>,
    /// Marks, with the time after which they may go.
    pub marks: HashMap<(DocumentKind, [u8; 16]), Timestamp>,
}

impl Generation {
    fn absorb(&mut self, core: &Core) {
        for w in &core.documents {
            self.documents.insert(w.key, (core.seq, w.value.as_deref().map(Arc::from)));
        }
        for key in &core.once {
            self.once.insert(*key, (core.seq, core.cause));
        }
        for m in &core.marks {
            self.marks.insert((m.kind, m.id), m.until);
        }
    }
}

/// The latest periods: what is written now, what is being folded, and what was folded last.
#[derive(Clone, Default, Debug)]
pub struct Overlay {
    current: Generation,
    folding: Option<(Seq, Arc<Generation>)>,
    previous: Arc<Generation>,
    floor: Seq,
    fold: Seq,
}

impl Overlay {
    /// An overlay that begins after `seq`.
    #[must_use]
    pub fn after(seq: Seq) -> Self {
        Self { floor: seq, fold: seq, ..Self::default() }
    }

    /// Facts read before this cannot be checked any more: read again.
    #[must_use]
    pub const fn floor(&self) -> Seq {
        self.floor
    }

    /// All periods, the newest first.
    fn periods(&self) -> impl Iterator<Item = &Generation> {
        let folding = self.folding.as_ref().map(|(_, generation)| &**generation);
        std::iter::once(&self.current).chain(folding).chain(std::iter::once(&*self.previous))
    }

    /// The latest write of a document, if it is in here.
    #[must_use]
    pub fn document(&self, key: &DocumentKey) -> Option<&Written> {
        self.periods().find_map(|g| g.documents.get(key))
    }

    /// Who took a once key, if it is in here.
    #[must_use]
    pub fn once(&self, key: &OnceKey) -> Option<(Seq, Digest)> {
        self.periods().find_map(|g| g.once.get(key)).copied()
    }

    /// Whether a mark is in here.
    #[must_use]
    pub fn is_marked(&self, kind: DocumentKind, id: [u8; 16]) -> bool {
        self.periods().any(|g| g.marks.contains_key(&(kind, id)))
    }

    /// Takes in a record.
    pub fn absorb(&mut self, core: &Core) {
        self.current.absorb(core);
    }

    /// The latest writes of documents of a kind that are not folded yet, the older period first.
    pub fn unfolded(&self, kind: DocumentKind) -> impl Iterator<Item = (&DocumentKey, &Written)> {
        let folding = self.folding.iter().map(|(_, generation)| &**generation);
        let both = folding.chain(std::iter::once(&self.current));
        both.flat_map(|g| g.documents.iter()).filter(move |(key, _)| key.kind == kind)
    }

    /// What is being folded.
    #[must_use]
    pub fn folding(&self) -> Option<&Arc<Generation>> {
        self.folding.as_ref().map(|(_, generation)| generation)
    }

    /// Everything up to `seq` begins to be folded: what is written from now on belongs to the next period. Where a fold is
    /// under way already, that one goes on.
    pub fn begin_fold(&mut self, seq: Seq) -> Arc<Generation> {
        let (_, generation) =
            self.folding.get_or_insert_with(|| (seq, Arc::new(std::mem::take(&mut self.current))));
        Arc::clone(generation)
    }

    /// The fold under way is in the store's tables now: its period becomes the previous one.
    pub fn folded(&mut self) {
        if let Some((seq, generation)) = self.folding.take() {
            self.previous = generation;
            self.floor = self.fold;
            self.fold = seq;
        }
    }
}
