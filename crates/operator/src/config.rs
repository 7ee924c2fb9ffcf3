//! The operator's settings: one TOML file, `FLORIN_OPERATOR_*`, flags. Source: architecture.md, "Conventions".

use std::net::SocketAddr;
use std::path::PathBuf;

use florin_books::Account;
use florin_money::{Amount, Currency, CurrencyError};
use florin_parties::Terms;
use florin_parties::bank::BankAccount;
use florin_shell::service::Listen;
use serde::{Deserialize, Serialize};

use crate::key_holder::KeyHolderPublic;
use crate::module::ModuleSettings;

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
    /// How long coins of one epoch are issued.
    pub epoch_days: u32,
    /// How long after the end of their epoch coins pay.
    pub spend_days: u32,
    /// How long after that they are still exchanged: a number, or `"unlimited"`.
    pub grace_days: GraceDays,
    /// Its bank.
    pub bank: BankSettings,
    /// What tags the coins.
    pub module: ModuleSettings,
    /// A purchase is at most this, in minor units.
    pub purchase_max_minor: u64,
    /// Nothing is sold and the calendar makes no new epoch: every coin is redeemed or ends with the last one's grace.
    pub wind_down: bool,
    /// Paid claims are handed over when there are so many of them, or after `claims_wait_ms`.
    pub claims_batch: usize,
    /// The longest a paid claim waits for company, in milliseconds.
    pub claims_wait_ms: u64,
    /// How often the bank is asked for news, in milliseconds.
    pub bank_poll_ms: u64,
    /// How often the books are compared with the bank's statement, in milliseconds; 0 is never.
    pub reconcile_every_ms: u64,
    /// Registrations that one address may make in an hour.
    pub registrations_per_hour: u32,
    /// Requests that one address may send in a second.
    pub requests_per_second: u32,
    /// Whether loopback is exempt from limits by address, as for a gate on the same machine.
    pub loopback_exempt: bool,
    /// The public halves of the two key holders.
    pub key_holder: Vec<KeyHolderPublic>,
    /// A pay-out of more than this, such as `100.00`, waits until both key holders release it.
    pub payout_release_above: Option<String>,
    /// Where the worth of coins goes whose epoch is dropped; from there a late holder is paid.
    pub unclaimed: Unclaimed,
    /// After so many days what is only needed to repeat an answer goes.
    pub seed_days: u32,
    /// How often what is past its time is looked for, in seconds.
    pub retain_every_s: u64,
}

/// What becomes of money whose coins nobody has brought back in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unclaimed {
    /// Its owner is not settled.
    #[default]
    Suspense,
    /// It is the operator's own.
    Capital,
}

impl Unclaimed {
    /// The account.
    #[must_use]
    pub const fn account(self) -> Account {
        match self {
            Self::Suspense => Account::Suspense,
            Self::Capital => Account::Capital,
        }
    }
}

/// How long expired coins are exchanged, in days; none for without end.
///
/// Shape: a number, or the text `unlimited`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "GraceText", into = "GraceText")]
pub struct GraceDays(pub Option<u32>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum GraceText {
    Days(u32),
    Word(String),
}

const UNLIMITED: &str = "unlimited";

impl TryFrom<GraceText> for GraceDays {
    type Error = String;

    fn try_from(text: GraceText) -> Result<Self, String> {
        match text {
            GraceText::Days(days) => Ok(Self(Some(days))),
            GraceText::Word(word) if word == UNLIMITED => Ok(Self(None)),
            GraceText::Word(word) => match word.parse() {
                Ok(days) => Ok(Self(Some(days))),
                Err(_) => Err(format!("grace_days is a number of days or \"{UNLIMITED}\", not {word:?}")),
            },
        }
    }
}

impl From<GraceDays> for GraceText {
    fn from(GraceDays(days): GraceDays) -> Self {
        days.map_or_else(|| Self::Word(UNLIMITED.into()), Self::Days)
    }
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
            epoch_days: Terms::default().epoch_days,
            spend_days: Terms::default().spend_days,
            grace_days: GraceDays(Terms::default().grace_days),
            bank: BankSettings::default(),
            module: ModuleSettings::default(),
            purchase_max_minor: 1_000_000,
            wind_down: false,
            claims_batch: 16,
            claims_wait_ms: 1_000,
            bank_poll_ms: 250,
            reconcile_every_ms: 900_000,
            registrations_per_hour: 60,
            requests_per_second: 200,
            loopback_exempt: true,
            key_holder: Vec::new(),
            payout_release_above: None,
            unclaimed: Unclaimed::default(),
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

    /// Its account at its bank, as a statement names it.
    #[must_use]
    pub fn iban(&self) -> String {
        let account = self.bank.account.parse::<BankAccount>();
        account.map_or_else(|_| self.bank.account.clone(), |a| a.iban().to_owned())
    }

    /// The most that is paid out without both key holders.
    ///
    /// # Errors
    /// Not an amount of the currency.
    pub fn release_above(&self) -> Result<Option<Amount>, SettingError> {
        let Some(text) = &self.payout_release_above else { return Ok(None) };
        let currency = self.money().map_err(SettingError::Currency)?;
        let whole = format!("{} {currency}", text.trim());
        let whole = if text.contains(' ') { text.clone() } else { whole };
        Amount::parse(&whole, &[currency]).map(Some).map_err(|_| SettingError::Release(text.clone()))
    }

    /// The most that is sold at once, in minor units: nothing while it winds down.
    #[must_use]
    pub const fn purchase_max(&self) -> u64 {
        if self.wind_down { 0 } else { self.purchase_max_minor }
    }

    /// Where it listens, with TLS if set.
    #[must_use]
    pub fn listener(&self) -> Listen {
        Listen { address: self.listen, tls_cert: self.tls_cert.clone(), tls_key: self.tls_key.clone() }
    }

    /// Its terms.
    #[must_use]
    pub fn terms(&self) -> Terms {
        let GraceDays(grace_days) = self.grace_days;
        // An epoch lasts at least a day.
        let epoch_days = self.epoch_days.max(1);
        Terms { epoch_days, spend_days: self.spend_days, grace_days, ..Terms::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terms_follow_the_settings_and_a_grace_period_may_have_no_end() {
        let terms = |text: &str| toml::from_str::<OperatorConfig>(text).map(|config| config.terms());
        assert_eq!(terms("").unwrap(), Terms::default());
        let own = terms("epoch_days = 7\nspend_days = 14\ngrace_days = 3").unwrap();
        assert_eq!((own.epoch_days, own.spend_days, own.grace_days), (7, 14, Some(3)));
        assert_eq!(terms("grace_days = \"unlimited\"").unwrap().grace_days, None);
        assert_eq!(terms("grace_days = \"12\"").unwrap().grace_days, Some(12));
        assert_eq!(terms("epoch_days = 0").unwrap().epoch_days, 1);
        for bad in ["grace_days = \"forever\"", "grace_days = -1", "grace_days = \"\"", "spend_days = 1.5"] {
            assert!(terms(bad).is_err(), "{bad}");
        }
        // What `init` writes is what a start reads.
        for grace in [None, Some(0), Some(90)] {
            let config = OperatorConfig { grace_days: GraceDays(grace), ..OperatorConfig::default() };
            let text = toml::to_string_pretty(&config).unwrap();
            assert_eq!(toml::from_str::<OperatorConfig>(&text).unwrap(), config);
        }
    }
}

/// A setting that says nothing usable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingError {
    /// The currency.
    #[error(transparent)]
    Currency(#[from] CurrencyError),
    /// Not an amount.
    #[error("payout_release_above: {0:?} is not an amount of the currency")]
    Release(String),
}
