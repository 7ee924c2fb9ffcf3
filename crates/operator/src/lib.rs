//! The operator's shell: keys, routes, background work, admin, metrics. Issuer, bank customer, registrar: one program,
//! one set of books in two lanes. Source: architecture.md, "Layout".

pub mod admin;
pub mod audit;
pub mod bank;
pub mod coin_state;
pub mod config;
pub mod init;
pub mod keys;
pub mod lanes;
pub mod operator;
pub mod owed;
mod registrations;
pub mod routes;

pub use audit::{AuditError, BooksReport, audit, audit_now};
pub use config::{BankSettings, OperatorConfig};
pub use init::{InitError, Sandbox, init_sandbox};
pub use keys::{OperatorVaults, VaultPlaces};
pub use operator::{Operator, OperatorError, create};
pub use owed::{OwedReport, owed};
