//! The operator's shell: keys, routes, background work, admin, metrics. Issuer, bank customer, registrar: one program,
//! one set of books in two lanes. Source: architecture.md, "Layout".

pub mod admin;
pub mod archive;
pub mod audit;
pub mod backup;
pub mod bank;
pub mod calendar;
pub mod claim_keys;
pub mod coin_state;
pub mod config;
pub mod control;
pub mod control_pages;
pub mod epochs;
pub mod hand_over;
pub mod honour;
pub mod init;
pub mod key_holder;
pub mod keys;
pub mod lanes;
mod mark;
pub mod module;
pub mod opened;
pub mod operator;
pub mod owed;
pub mod reading;
pub mod reconcile;
mod registrations;
pub mod restore;
pub mod retain;
pub mod routes;
pub mod standing;
pub mod tag_keys;
pub mod trace;
pub mod trace_log;
pub mod trace_pages;
pub mod trail;

pub use audit::{AuditError, BooksReport, audit, audit_now, audit_with_bank};
pub use backup::{BackupError, BackupReport, Manifest};
pub use config::{BankSettings, OperatorConfig};
pub use init::{InitError, Sandbox, init_sandbox};
pub use key_holder::{KeyHolder, KeyHolderError, KeyHolderPublic, KnownHolder, two_holders};
pub use keys::{OperatorVaults, VaultPlaces};
pub use operator::{Operator, OperatorError, Published, create};
pub use owed::{OwedReport, owed};
pub use restore::{RestoreReport, restore};
pub use standing::{Accepted, StandingError};
