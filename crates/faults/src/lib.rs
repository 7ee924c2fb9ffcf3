//! Real programs under real damage: killed, with bad disks, without power, behind a bad network.
//! Source: reliability.md, R3, R5-R8; docs/faults.md.

pub mod clients;
pub mod dice;
mod error;
pub mod fault;
pub mod kill;
pub mod report;
mod scratch;

pub use error::FaultsError;
pub use fault::{FAULTS, Fault, Setting, Size};
pub use report::{Report, Tally};
pub use scratch::Scratch;
