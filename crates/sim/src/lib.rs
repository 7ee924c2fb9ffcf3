//! A whole economy in one thread: operator, bank, shop and people on simulated machines, from one seed.
//! Source: reliability.md ("Whole-system simulation"); docs/simulation.md.

pub mod audit;
pub mod bank;
pub mod dice;
pub mod host;
pub mod machine;
pub mod net;
pub mod person;
pub mod plan;
pub mod run;
pub mod shop;
pub mod time;
pub mod trace;
pub mod wire;
