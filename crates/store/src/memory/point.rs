//! Where in a write of the simulated disk one is, and what may happen there. Source: reliability.md, R5 ("100 % of write
//! boundaries").

use florin_books::Entry;

/// What happens at a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The power goes: what was not synced is lost, kept or torn, as the seed says.
    Power {
        /// Decides what is kept.
        seed: u64,
    },
    /// The write, or sync, ends in an error.
    Error,
}

/// Which file is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// The journal.
    Journal,
    /// The folds.
    Folds,
}

/// How far a write has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// A piece is written, and there are more.
    Piece,
    /// The last piece is written.
    Written,
    /// It is about to be synced.
    Sync,
    /// It is synced, and nobody has been told.
    Synced,
}

/// A point of a write.
#[derive(Clone, Copy)]
pub struct Point<'a> {
    /// Which file.
    pub part: Part,
    /// How far.
    pub stage: Stage,
    /// What is written to the journal; nothing for folds.
    pub entries: &'a [Entry],
}

/// Who is asked.
pub(crate) type Watch = Box<dyn FnMut(Point<'_>) -> Option<Crash> + Send>;
