//! The operator's settings: one TOML file, `FLORIN_OPERATOR_*`, flags. Source: architecture.md, "Conventions".

use std::net::SocketAddr;
use std::path::PathBuf;

use florin_money::{Currency, CurrencyError};
use florin_parties::Terms;
use florin_shell::service::Listen;
use serde::{Deserialize, Serialize};

/// Settings of an operator. An unknown key is an error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OperatorConfig {
    /// What it calls itself.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// PEM file of the certificate chain; plain HTTP only on loopback.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its key.
    pub tls_key: Option<PathBuf>,
    /// The code of its currency.
    pub currency: String,
    /// The number of decimals of its currency.
    pub exponent: u8,
    /// Whether nothing here is worth anything.
    pub test: bool,
    /// Its bank.
    pub bank: BankSettings,
    /// A purchase is at most this, in minor units.
    pub purchase_max_minor: u64,
    /// Paid claims are handed over when there are so many of them, or after `claims_wait_ms`.
    pub claims_batch: usize,
    /// The longest a paid claim waits for company, in milliseconds.
    pub claims_wait_ms: u64,
    /// How often the bank is asked for news, in milliseconds.
    pub bank_poll_ms: u64,
    /// Registrations that one address may make in an hour.
    pub registrations_per_hour: u32,
    /// Requests that one address may send in a second.
    pub requests_per_second: u32,
    /// Whether loopback is exempt from limits by address, as for a gate on the same machine.
    pub loopback_exempt: bool,
    /// After so many days what is only needed to repeat an answer goes.
    pub seed_days: u32,
    /// How often what is past its time is looked for, in seconds.
    pub retain_every_s: u64,
}

/// The operator's account at its bank.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BankSettings {
    /// Where the bank listens.
    pub url: String,
    /// The operator's account there.
    pub account: String,
    /// A file with the account's access secret.
    pub access_file: PathBuf,
    /// Money that comes in with exactly this remittance is the operator's own.
    pub capital_reference: String,
}

impl Default for BankSettings {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:7420".into(),
            account: String::new(),
            access_file: PathBuf::new(),
            capital_reference: "FLORIN CAPITAL".into(),
        }
    }
}

impl Default for OperatorConfig {
    fn default() -> Self {
        Self {
            name: "Florin operator".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            tls_cert: None,
            tls_key: None,
            currency: Currency::FLO.code().to_string(),
            exponent: Currency::FLO.exponent(),
            test: true,
            bank: BankSettings::default(),
            purchase_max_minor: 1_000_000,
            claims_batch: 16,
            claims_wait_ms: 1_000,
            bank_poll_ms: 250,
            registrations_per_hour: 60,
            requests_per_second: 200,
            loopback_exempt: true,
            seed_days: 30,
            retain_every_s: 3_600,
        }
    }
}

impl OperatorConfig {
    /// Its currency.
    ///
    /// # Errors
    /// The code is none, or an ISO 4217 code with other decimals.
    pub fn money(&self) -> Result<Currency, CurrencyError> {
        Currency::own(&self.currency, self.exponent)
    }

    /// Where it listens, with TLS if set.
    #[must_use]
    pub fn listener(&self) -> Listen {
        Listen { address: self.listen, tls_cert: self.tls_cert.clone(), tls_key: self.tls_key.clone() }
    }

    /// Its terms.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms::default()
    }
}
