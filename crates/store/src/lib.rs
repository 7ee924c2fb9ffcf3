//! Stores for the books: memory and SQLite; the writer that drives a lane. The only SQL of Florin.
//! Source: books.md, "Lanes and stores".

mod cache;
pub mod contract;
mod fold;
mod handle;
mod memory;
mod publish;
mod retain;
mod sqlite;
mod turns;
mod writer;

pub use contract::{
    Copied, CopyStripped, Fence, FoldedDocument, Log, Older, OwnerId, Page, Reads, Recovered, StoreError,
    StoredDocument, StoredOpening, Stripped,
};
pub use fold::Folded;
pub use handle::{Answer, Books, CommitError, Options};
pub use memory::{Crash, MemoryStore, Part, Point, Stage};
pub use retain::Retained;
pub use sqlite::{SqliteOptions, SqliteStore, StoreKeys};
