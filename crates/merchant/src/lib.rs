//! The gate: a reverse proxy in front of any HTTP service that asks for coins before it lets a request through, with its
//! own identity, purse, orders and encrypted books. Source: web.md; VarietyCash §3 (the payee); docs/merchant.md.

mod apply;
pub mod command;
pub mod desk;
mod gate;
mod headers;
pub mod kinds;
pub mod offer;
pub mod order;
pub mod page;
pub mod path;
pub mod problem;
pub mod program;
mod proxy;
pub mod purse;
mod retain;
pub mod rules;
pub mod settle;
mod target;
mod till;
pub mod x402;

pub use desk::{Desk, DeskError, Member, Party};
pub use gate::{Gate, Shop, router};
pub use program::{GateConfig, GateError, Place};
pub use proxy::{Proxy, UpstreamError};
pub use rules::{Payable, PriceFault, Rule, Rules, RulesError};
pub use settle::{Paying, Served, Settlement, Till};
pub use target::Outside;
pub use till::{CoinTill, TillSettings, keep_asking};
