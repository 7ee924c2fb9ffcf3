//! Folded documents that were read lately, so that a document that every request needs (a participant) is not opened anew
//! each time. Source: performance.md, "where each microsecond goes".
//!
//! What is in the overlay never comes from here, so a document in here may be old while its newer version is in the
//! overlay; before that leaves the overlay it is forgotten here. A reader that read the tables before a fold was whole
//! and comes late must not put back what was forgotten: it brings the epoch in which it began to read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use florin_books::{Document, DocumentKey};

/// At most twice so many documents.
const HALF: usize = 2048;
/// Longer ones are not kept.
const BYTES_MAX: usize = 4096;

/// Counts the folds: what was read in one is not put in during another.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct FoldEpoch(u64);

/// The documents. Those of the younger half that are not asked for go with the older half.
#[derive(Default)]
pub(crate) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    epoch: FoldEpoch,
    young: HashMap<DocumentKey, Document>,
    old: HashMap<DocumentKey, Document>,
}

impl Inner {
    fn put(&mut self, key: DocumentKey, document: Document) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, document);
    }
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch; to be asked for before the tables are read.
    pub(crate) fn epoch(&self) -> FoldEpoch {
        self.lock().epoch
    }

    /// A folded document, if it is in here.
    pub(crate) fn get(&self, key: &DocumentKey) -> Option<Document> {
        let mut inner = self.lock();
        if let Some(found) = inner.young.get(key) {
            return Some(found.clone());
        }
        let found = inner.old.remove(key)?;
        inner.put(*key, found.clone());
        Some(found)
    }

    /// Keeps what was read from the tables in an epoch that still lasts.
    pub(crate) fn keep<'a>(
        &self,
        epoch: FoldEpoch,
        found: impl Iterator<Item = (&'a DocumentKey, &'a Document)>,
    ) {
        let mut inner = self.lock();
        if inner.epoch != epoch {
            return;
        }
        for (key, document) in found.filter(|(_, d)| d.value.len() <= BYTES_MAX) {
            inner.put(*key, document.clone());
        }
    }

    /// A fold is in the tables: what it wrote is forgotten, and an epoch ends.
    pub(crate) fn forget<'a>(&self, written: impl Iterator<Item = &'a DocumentKey>) {
        let mut inner = self.lock();
        inner.epoch = FoldEpoch(inner.epoch.0.wrapping_add(1));
        for key in written {
            inner.young.remove(key);
            inner.old.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use florin_books::{DocumentKind, Seq};

    fn key(n: u32) -> DocumentKey {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        DocumentKey::new(DocumentKind(1), id)
    }

    fn document(version: u64, len: usize) -> Document {
        Document { version: Seq(version), value: vec![7; len].into() }
    }

    #[test]
    fn what_a_fold_wrote_is_forgotten_and_does_not_come_back() {
        let cache = Cache::default();
        let (before, old) = (cache.epoch(), document(1, 10));
        cache.keep(before, [(&key(1), &old), (&key(2), &old)].into_iter());
        assert_eq!(cache.get(&key(1)), Some(old.clone()));
        cache.forget([key(1)].iter());
        assert_eq!((cache.get(&key(1)), cache.get(&key(2))), (None, Some(old.clone())));
        // A reader that began before the fold was whole comes late.
        cache.keep(before, [(&key(1), &old)].into_iter());
        assert_eq!(cache.get(&key(1)), None);
        let new = document(2, 10);
        cache.keep(cache.epoch(), [(&key(1), &new)].into_iter());
        assert_eq!(cache.get(&key(1)), Some(new));
    }

    #[test]
    fn it_stays_small_and_keeps_what_is_asked_for() {
        let cache = Cache::default();
        let (epoch, small) = (cache.epoch(), document(1, 10));
        cache.keep(epoch, [(&key(0), &small), (&key(1), &document(1, BYTES_MAX + 1))].into_iter());
        assert_eq!(cache.get(&key(1)), None, "long ones are not kept");
        for n in 2..20_000 {
            cache.keep(epoch, [(&key(n), &small)].into_iter());
            assert_eq!(cache.get(&key(0)).as_ref(), Some(&small));
        }
        let inner = cache.lock();
        assert!(inner.young.len() + inner.old.len() <= 2 * HALF);
        assert!(!inner.young.contains_key(&key(2)) && !inner.old.contains_key(&key(2)));
    }
}
