//! Load and proof against the real programs: starts them as processes, asks them as honest parties do, measures.
//! Source: performance.md (the unit, the ratio); reliability R1-R3.
//!
//! Absent on purpose: any way to coins but the protocol's own. What is paid here was bought at the sandbox bank. What
//! `scale` and `books` add to the circulation nobody holds.

pub mod books;
pub mod books_report;
pub mod coin;
pub mod crypto;
pub mod echo;
mod error;
pub mod load;
pub mod machine;
pub mod market;
pub mod module;
pub mod programs;
pub mod report;
mod scale;
mod scratch;
pub mod supply;

pub use books::{BooksOptions, books};
pub use books_report::BooksReport;
pub use coin::{CoinOptions, OpenLoop, coin};
pub use error::BenchError;
pub use market::{Acknowledged, Customer, Holder, Market};
pub use module::{ModuleReport, module};
pub use programs::{Programs, Running};
pub use report::CoinReport;
