//! A whole economy in one thread: operator, bank, shop and people on simulated machines, from one seed.
//! Source: reliability.md ("Whole-system simulation"); docs/simulation.md.

pub mod audit;
pub mod bank;
mod chaos;
pub mod coverage;
pub mod dice;
pub mod host;
pub mod ledger;
pub mod machine;
mod matters;
pub mod net;
pub mod person;
pub mod plan;
pub mod run;
pub mod shop;
mod thief;
pub mod time;
pub mod trace;
pub mod watch;
pub mod wire;
