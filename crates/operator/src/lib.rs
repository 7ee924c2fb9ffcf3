//! The operator's shell: keys, routes, background work, admin, metrics. Issuer, bank customer, registrar: one program,
//! one set of books in two lanes. Source: architecture.md, "Layout".

pub mod admin;
pub mod audit;
pub mod backup;
pub mod bank;
pub mod config;
pub mod init;
pub mod keys;
pub mod lanes;
mod mark;
pub mod operator;
pub mod owed;
mod registrations;
pub mod restore;
pub mod retain;
pub mod routes;
pub mod standing;

pub use audit::{AuditError, BooksReport, audit, audit_now};
pub use backup::{BackupError, BackupReport, Manifest};
pub use config::{BankSettings, OperatorConfig};
pub use init::{InitError, Sandbox, init_sandbox};
pub use keys::{OperatorVaults, VaultPlaces};
pub use operator::{Operator, OperatorError, create};
pub use owed::{OwedReport, owed};
pub use restore::{RestoreReport, restore};
pub use standing::{Accepted, StandingError};
