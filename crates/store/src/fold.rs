//! A fold: what goes from the overlay into the store's tables, in what order, and how fast.
//! Source: books.md, "Lanes and stores" ("then spread it over commits").

use florin_books::{DocumentKind, OnceKey, Seq, Snapshot, Timestamp};

use crate::contract::FoldedDocument;

/// What a snapshot brings into the tables, in order of ids, so that neighbours go in together.
#[derive(Clone, Debug)]
pub struct Folded {
    /// Documents written since the last fold: version, and content unless removed.
    pub documents: Vec<FoldedDocument>,
    /// Once keys taken since the last fold.
    pub once: Vec<(OnceKey, Seq)>,
    /// Marks set since the last fold.
    pub marks: Vec<(DocumentKind, [u8; 16], Timestamp)>,
}

impl Folded {
    /// Of a snapshot.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let written = snapshot.written();
        let mut documents: Vec<_> =
            written.documents.iter().map(|(key, (seq, value))| (*key, *seq, value.clone())).collect();
        documents.sort_unstable_by_key(|(key, ..)| *key);
        let mut once: Vec<_> = written.once.iter().map(|(key, (seq, _))| (*key, *seq)).collect();
        once.sort_unstable();
        let mut marks: Vec<_> = written.marks.iter().map(|(&(kind, id), until)| (kind, id, *until)).collect();
        marks.sort_unstable();
        Self { documents, once, marks }
    }
}

/// How fast a fold goes in: evenly with the records that follow it, and whole after so many of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    begun: Seq,
    within: u64,
}

impl Pace {
    pub(crate) const fn new(begun: Seq, within: u64) -> Self {
        Self { begun, within }
    }

    /// How much of `total` is to be in once the record `last` is stored.
    pub(crate) fn due(&self, total: u64, last: Seq) -> u64 {
        let passed = last.0.saturating_sub(self.begun.0);
        if passed >= self.within {
            return total;
        }
        total.saturating_mul(passed).checked_div(self.within).unwrap_or(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_goes_in_evenly_and_is_whole_in_time() {
        let pace = Pace::new(Seq(100), 8);
        let due: Vec<u64> = (100..=109).map(|last| pace.due(20, Seq(last))).collect();
        assert_eq!(due, [0, 2, 5, 7, 10, 12, 15, 17, 20, 20]);
        assert_eq!(Pace::new(Seq(100), 0).due(20, Seq(100)), 20);
        assert_eq!(pace.due(0, Seq(104)), 0);
    }
}
