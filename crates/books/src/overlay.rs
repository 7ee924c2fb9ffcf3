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

/// The two latest periods: what is not folded yet, and what was folded last.
#[derive(Clone, Default, Debug)]
pub struct Overlay {
    current: Generation,
    previous: Generation,
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

    /// The latest write of a document, if it is in here.
    #[must_use]
    pub fn document(&self, key: &DocumentKey) -> Option<&Written> {
        self.current.documents.get(key).or_else(|| self.previous.documents.get(key))
    }

    /// Who took a once key, if it is in here.
    #[must_use]
    pub fn once(&self, key: &OnceKey) -> Option<(Seq, Digest)> {
        self.current.once.get(key).or_else(|| self.previous.once.get(key)).copied()
    }

    /// Whether a mark is in here.
    #[must_use]
    pub fn is_marked(&self, kind: DocumentKind, id: [u8; 16]) -> bool {
        self.current.marks.contains_key(&(kind, id)) || self.previous.marks.contains_key(&(kind, id))
    }

    /// Takes in a record.
    pub fn absorb(&mut self, core: &Core) {
        self.current.absorb(core);
    }

    /// What is not folded yet.
    #[must_use]
    pub const fn unfolded(&self) -> &Generation {
        &self.current
    }

    /// Everything up to `seq` is folded now: the current period becomes the previous one.
    pub fn folded(&mut self, seq: Seq) {
        self.previous = std::mem::take(&mut self.current);
        self.floor = self.fold;
        self.fold = seq;
    }
}
