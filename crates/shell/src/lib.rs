//! What every Florin program shares below its own logic: where its files are, its keys, its configuration, its logs, its
//! listener, its books, and how it ends. Source: architecture.md, "Conventions"; books.md.

pub mod clock;
pub mod config;
pub mod description;
pub mod descriptors;
pub mod entropy;
pub mod exchange;
pub mod exit;
pub mod home;
pub mod house;
pub mod jcs;
pub mod logging;
pub mod outbox;
pub mod passphrase;
pub mod progress;
pub mod service;
pub mod storage;
pub mod utc;
pub mod vault;

pub use clock::SystemClock;
pub use config::{ConfigError, Loaded, Source};
pub use entropy::OsEntropy;
pub use exit::ExitCode;
pub use home::HomeError;
pub use passphrase::{Passphrase, PassphraseError, PassphraseSource, Purpose};
pub use progress::Progress;
pub use service::{Bound, Listen, ServiceError};
pub use storage::{StorageOptions, create_books, open_books};
pub use vault::{Vault, VaultError, VaultNeeds};
