//! Stores for the books: memory and SQLite; the writer that drives a lane. The only SQL of Florin.
//! Source: books.md, "Lanes and stores".

pub mod contract;
mod handle;
mod memory;
mod publish;
mod sqlite;
mod writer;

pub use contract::{
    Fence, Folded, FoldedDocument, Log, OwnerId, Reads, Recovered, StoreError, StoredDocument,
};
pub use handle::{Answer, Books, CommitError, Options};
pub use memory::{Crash, MemoryStore};
pub use sqlite::{SqliteOptions, SqliteStore, StoreKeys};
