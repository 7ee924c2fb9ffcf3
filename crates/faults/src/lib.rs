//! Real programs under real damage: killed, with bad disks, without power, behind a bad network.
//! Source: reliability.md, R3, R5-R8; docs/faults.md.

pub mod clients;
pub mod clock;
pub mod crowd;
pub mod dice;
pub mod disk;
mod error;
pub mod fault;
pub mod flips;
pub mod garbage;
pub mod honest;
pub mod io;
pub mod io_purse;
pub mod kill;
pub mod operator_state;
pub mod power;
pub mod process;
pub mod proxy;
pub mod report;
mod scratch;
pub mod slow;
pub mod subject;
pub mod town;
pub mod write_log;

pub use error::FaultsError;
pub use fault::{FAULTS, Fault, Setting, Size};
pub use report::{Report, Tally};
pub use scratch::Scratch;
