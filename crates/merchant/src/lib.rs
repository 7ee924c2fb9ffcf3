//! The gate: a reverse proxy in front of any HTTP service that asks for coins before it lets a request through, with its
//! own identity, purse, orders and encrypted books. Source: web.md; VarietyCash §3 (the payee); docs/merchant.md.

mod apply;
mod authorize;
mod claim;
pub mod command;
pub mod desk;
pub mod facilitator;
mod gate;
pub mod gather;
mod headers;
mod hold;
pub mod kinds;
pub mod offer;
pub mod order;
pub mod page;
pub mod path;
pub mod problem;
pub mod program;
mod proxy;
pub mod purse;
mod question;
mod retain;
pub mod rules;
pub mod settle;
pub mod settling;
mod target;
mod till;
pub mod x402;

pub use desk::{Desk, DeskError, Member, Party};
pub use gate::{Gate, Shop, router};
pub use hold::HoldSettings;
pub use program::{GateConfig, GateError, Place};
pub use proxy::{Proxy, UpstreamError};
pub use rules::{Flow, Payable, PriceFault, Rule, Rules, RulesError};
pub use settle::{Paying, Served, Settle, Settlement, Standing, Till};
pub use target::Outside;
pub use till::{CoinTill, TillSettings, keep_asking};
