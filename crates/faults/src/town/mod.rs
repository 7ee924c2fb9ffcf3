//! A town of real programs: a bank, an operator, a site, gates and people, each in a folder of its own, and what must
//! hold of them in the end. Source: the issue ("between real programs"); reliability.md, "Goals".

mod books;
mod ends;
mod home;
mod site;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::error::FaultsError;
use crate::fault::Setting;
use crate::scratch::Scratch;
pub use books::{Count, FINAL_IN, count, minor};
pub use home::{Ended, Home, Served};
pub use site::Site;

/// What everybody deposits at the bank, in minor units.
pub const DEPOSIT_MINOR: u64 = 50_000;
/// The same as people write it.
const DEPOSIT: &str = "500.00 FLO";
/// What a page costs, in minor units.
pub const PRICE_MINOR: u64 = 5;
/// The same as people write it.
const PRICE: &str = "0.05 FLO";
/// The fee-free transfer that brings a code, in minor units.
pub const CODE_MINOR: u64 = 1;

/// A bank and an operator; they end with it.
pub struct Town {
    scratch: Scratch,
    florin: std::path::PathBuf,
    bank: Served,
    operator_home: Home,
    operator_at: SocketAddr,
    operator: Option<Served>,
}

/// A wallet with an account.
pub struct Person {
    /// Where its commands run.
    pub home: Home,
    /// Its account at the bank.
    pub account: String,
}

/// A gate with an account.
pub struct Shop {
    /// Where its commands run.
    pub home: Home,
    /// Its account at the bank.
    pub account: String,
    /// Where it listens.
    pub at: SocketAddr,
    served: Option<Served>,
    upstream: String,
}

impl Town {
    /// Starts a bank, makes an operator with settings from `env` and starts it.
    ///
    /// # Errors
    /// `File`, `Program`, `Said`.
    pub fn start(setting: &Setting, name: &str, env: &[(&str, &str)]) -> Result<Self, FaultsError> {
        let scratch = Scratch::in_memory(name)?;
        let bank_home = Home::new(&setting.florin, &scratch.path().join("bank"))?;
        let bank = bank_home.serve(&["bank", "serve", "--no-passphrase", "--listen", "127.0.0.1:0"])?;
        let mut operator_home = Home::new(&setting.florin, &scratch.path().join("operator"))?;
        let settings = [
            ("FLORIN_OPERATOR_REGISTRATIONS_PER_HOUR", "1000000"),
            ("FLORIN_OPERATOR_CLAIMS_WAIT_MS", "20"),
            ("FLORIN_OPERATOR_BANK_POLL_MS", "50"),
        ];
        operator_home.set(&settings);
        operator_home.set(env);
        operator_home.ok(&["operator", "init", "--no-passphrase", "--bank", &bank.url()])?;
        let operator = operator_home.serve(&["operator", "serve", "--listen", "127.0.0.1:0"])?;
        let (operator_at, florin) = (operator.at, setting.florin.clone());
        Ok(Self { scratch, florin, bank, operator_home, operator_at, operator: Some(operator) })
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Its folder stays, and where.
    pub fn keep(&mut self) -> &Path {
        self.scratch.keep()
    }

    /// Where the operator listens.
    #[must_use]
    pub const fn operator_at(&self) -> SocketAddr {
        self.operator_at
    }

    /// The bank's URL.
    #[must_use]
    pub fn bank_url(&self) -> String {
        self.bank.url()
    }

    /// Where the operator's commands run.
    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.operator_home
    }

    /// The same, to be changed.
    pub const fn operator_home(&mut self) -> &mut Home {
        &mut self.operator_home
    }

    /// The running operator.
    #[must_use]
    pub const fn operator(&self) -> Option<&Served> {
        self.operator.as_ref()
    }

    /// Ends the operator in good order; its exit code.
    ///
    /// # Errors
    /// `Program`.
    pub fn stop_operator(&mut self) -> Result<Option<i32>, FaultsError> {
        self.operator.take().map_or(Ok(None), Served::stop)
    }

    /// Starts the operator again at the same place.
    ///
    /// # Errors
    /// `Program`, `Said`.
    pub fn start_operator(&mut self) -> Result<(), FaultsError> {
        let at = self.operator_at.to_string();
        self.operator = Some(self.operator_home.serve(&["operator", "serve", "--listen", &at])?);
        Ok(())
    }

    /// A person with a registered and enrolled wallet, money at the bank and no coins yet, who reaches the operator at a URL.
    ///
    /// # Errors
    /// `Program`, `Said`.
    pub fn person(&self, name: &str, operator: &str) -> Result<Person, FaultsError> {
        let home = Home::new(&self.florin, &self.path().join(name))?;
        let account = self.account(&home, name)?;
        home.ok(&["bank", "deposit", &account, DEPOSIT])?;
        home.ok(&["wallet", "init", "--no-passphrase", "--operator", operator])?;
        home.ok(&["wallet", "register"])?;
        home.ok(&["wallet", "enrol", "--account", &account])?;
        home.ok(&["wallet", "enrol", "--code", home.ok(&["bank", "code", &account])?.trim()])?;
        home.ok(&["wallet", "limits", "--per-payment", "1000.00 FLO", "--per-day", "100000.00 FLO"])?;
        Ok(Person { home, account })
    }

    /// A gate before a site, enrolled for pay-outs, which reaches the operator at a URL.
    ///
    /// # Errors
    /// `Program`, `Said`.
    pub fn shop(&self, name: &str, operator: &str, upstream: &str) -> Result<Shop, FaultsError> {
        let home = Home::new(&self.florin, &self.path().join(name))?;
        let account = self.account(&home, name)?;
        home.ok(&["gate", "init", "--no-passphrase", "--operator", operator, "--name", name])?;
        home.ok(&["gate", "enrol", "--account", &account])?;
        home.ok(&["gate", "enrol", "--code", home.ok(&["bank", "code", &account])?.trim()])?;
        let mut shop = Shop {
            home,
            account,
            at: SocketAddr::from(([127, 0, 0, 1], 0)),
            served: None,
            upstream: upstream.to_owned(),
        };
        shop.start()?;
        Ok(shop)
    }

    fn account(&self, home: &Home, name: &str) -> Result<String, FaultsError> {
        let opened = home.ok(&["bank", "open", "--bank", &self.bank_url(), "--name", name])?;
        Ok(opened.lines().next().unwrap_or_default().to_owned())
    }

    /// What the operator's audit finds; also that it could not be made.
    ///
    /// # Errors
    /// `Program`.
    pub fn audit(&self) -> Result<(Value, Vec<String>), FaultsError> {
        let ended = self.operator_home.run(&["--json", "operator", "audit"])?;
        let report = ended.json();
        let listed = report.get("findings").and_then(Value::as_array);
        let findings = match listed {
            Some(listed) => listed.iter().map(|finding| format!("the audit: {finding}")).collect(),
            None => vec![format!("the audit: {}", ended.said())],
        };
        Ok((report, findings))
    }

    /// The operator's metrics.
    ///
    /// # Errors
    /// `Tls`, `Runtime`, `Bench`.
    pub fn metrics(&self) -> Result<String, FaultsError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(FaultsError::Runtime)?;
        let client = florin_http::Client::new(florin_http::ClientConfig::default())?;
        let url = format!("http://{}/metrics", self.operator_at);
        let answer = runtime.block_on(client.get(&url, [])).map_err(florin_bench::BenchError::from)?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// What any program of the town has logged that must not be: a panic, a fault, a page of ours without a cause.
    #[must_use]
    pub fn bad_lines(&self, shops: &[&Shop]) -> Vec<String> {
        let homes = shops.iter().map(|shop| &shop.home).chain([&self.operator_home]);
        homes.flat_map(Home::bad_lines).collect()
    }
}

impl Shop {
    /// Starts the gate; at the same place where it has run before.
    ///
    /// # Errors
    /// `Program`, `Said`.
    pub fn start(&mut self) -> Result<(), FaultsError> {
        let at = self.at.to_string();
        let args = ["gate", "serve", "--upstream", &self.upstream, "--price", PRICE, "--listen", &at];
        let served = self.home.serve(&args)?;
        self.at = served.at;
        self.served = Some(served);
        Ok(())
    }

    /// The running gate.
    #[must_use]
    pub const fn served(&self) -> Option<&Served> {
        self.served.as_ref()
    }
}

impl Person {
    /// Pays for a page of a gate.
    ///
    /// # Errors
    /// `Program`.
    pub fn pay(&self, shop: &Shop, path: &str, method: &str) -> Result<Ended, FaultsError> {
        let file = self.home.path().join("page").to_string_lossy().into_owned();
        let url = format!("http://{}{path}", shop.at);
        self.home.run(&["--json", "wallet", "pay", &url, "-X", method, "-o", &file])
    }

    /// The paid pages of a wallet's history: how often each `METHOD URL` was debited.
    ///
    /// # Errors
    /// `Program`, `Said`.
    pub fn debits(&self) -> Result<BTreeMap<String, u64>, FaultsError> {
        let history = self.home.json(&["wallet", "history", "--max", "1000000"])?;
        let mut debits = BTreeMap::new();
        for entry in history.get("entries").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
            if (text("kind"), text("outcome")) == ("paid", "done") {
                let count = debits.entry(text("what").to_owned()).or_insert(0_u64);
                *count = count.saturating_add(1);
            }
        }
        Ok(debits)
    }
}
