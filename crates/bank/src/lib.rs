//! The real-money side: what a bank does for an operator ([`BankRail`]), and a sandbox bank with its own books that
//! does all of it on one machine. Source: bank.md, "The `BankRail` design".
//!
//! Absent on purpose: ISO 20022 files, real money, and everything the operator decides about a bank's news.

mod access;
pub mod client;
pub mod http_api;
pub mod iban;
pub mod messages;
pub mod program;
pub mod rail;
pub mod sandbox;

pub use access::Access;
pub use client::{Admin, HttpInterbank, SandboxClient};
pub use http_api::{Api, router};
pub use iban::{AccountNumber, BankCode};
pub use program::{BankConfig, BankKeys, ConfigFault, PeerConfig, RunError, lane_spec, run};
pub use rail::{BankError, BankRail, Capabilities, Cursor, OrderReceipt, RailFuture, Receipt};
pub use sandbox::{Bank, Desk, Interbank, Receive, TransferTo};
