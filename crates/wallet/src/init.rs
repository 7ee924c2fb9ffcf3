//! `init`: a wallet is made once, for one operator, and pinned to it.
//! Source: architecture.md, "Conventions"; G12 (the root key's fingerprint is shown and pinned at first use).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use florin_books::{Needs, PartyId, Transition};
use florin_crypto::{Bytes, Secret, cbor, digest};
use florin_parties::{KeyList, network_id, parse_network_id};
use florin_shell::house::House;
use florin_shell::vault::SECOND_FACTOR_FILE;
use florin_shell::{OsEntropy, Passphrase, StorageOptions, SystemClock, Vault, VaultError, create_books};
use serde::Serialize;

use crate::documents::{SETTINGS, Settings, single};
use crate::net::{HttpNetwork, Network};
use crate::refusal::WalletError;
use crate::seed::Seed;
use crate::wallet::{BOOKS_DIR, SEED_SECRET, STORE_SECRET, Wallet, spec, verify_list};

/// Books that are not whole yet.
const BOOKS_MAKING_DIR: &str = "books.making";

/// How a wallet is made.
pub struct InitOptions<'a> {
    /// Its folder.
    pub dir: PathBuf,
    /// The folder of the second factor; none does without one.
    pub keys_dir: Option<PathBuf>,
    /// The passphrase.
    pub passphrase: &'a Passphrase,
    /// The operator's URL.
    pub operator: String,
    /// The operator's network id, if it is known from elsewhere.
    pub pin: Option<String>,
    /// Certificates trusted besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// The seed of a wallet that is lost: the new one has its keys. None makes a new seed.
    pub seed: Option<Seed>,
}

/// What `init` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InitReport {
    /// The wallet's folder.
    pub dir: PathBuf,
    /// The file of the second factor.
    pub second_factor: Option<PathBuf>,
    /// The operator's URL.
    pub operator: String,
    /// What the operator calls itself.
    pub name: String,
    /// The network id: the fingerprint that this wallet is pinned to.
    pub fingerprint: String,
    /// Whether the fingerprint was given and compared, rather than taken from the operator at first use.
    pub pinned_by_hand: bool,
    /// Whether it has the keys of a wallet that is lost.
    pub restored: bool,
    /// Whether nothing here is worth anything.
    pub test: bool,
}

impl fmt::Display for InitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let test = if self.test { ", a sandbox: its coins are worth nothing" } else { "" };
        writeln!(f, "wallet in {}", self.dir.display())?;
        match &self.second_factor {
            Some(file) => {
                writeln!(f, "second factor in {}: without it the wallet does not open", file.display())?
            }
            None => writeln!(f, "no second factor")?,
        }
        writeln!(f, "operator {} at {}{test}", self.name, self.operator)?;
        writeln!(f, "fingerprint {}", self.fingerprint)?;
        if !self.pinned_by_hand {
            writeln!(f, "compare the fingerprint with the one that the operator publishes elsewhere")?;
        }
        if self.restored {
            writeln!(f, "the keys are those of the seed; next: florin wallet restore")?;
        }
        Ok(())
    }
}

impl Wallet {
    /// Makes a wallet for the operator at a URL: asks it who it is, checks and pins that, then makes keys and books.
    ///
    /// # Errors
    /// `AlreadyThere`, `Input` (the pin), `Url`, `Unreachable`, `NotAnOperator`, `Directory`, `OperatorChanged`; those
    /// of keys and books.
    pub async fn init(options: InitOptions<'_>) -> Result<InitReport, WalletError> {
        let network = HttpNetwork::new(&options.operator, options.ca_file.as_deref())?.network();
        Self::init_on(options, &network).await
    }

    /// The same over another network.
    ///
    /// # Errors
    /// As [`Wallet::init`].
    pub async fn init_on(options: InitOptions<'_>, network: &Network) -> Result<InitReport, WalletError> {
        if options.dir.join(BOOKS_DIR).exists() {
            return Err(WalletError::AlreadyThere { dir: options.dir });
        }
        let pinned = options.pin.as_deref().map(read_pin).transpose()?;
        let url = options.operator.trim_end_matches('/').to_owned();
        let bytes = network.directory.fetch().await?;
        let list = verify_list(&url, &bytes, pinned)?;
        let second = options.keys_dir.as_ref().map(|dir| dir.join(SECOND_FACTOR_FILE));
        let vault = make_vault(&options, second.as_deref())?;
        let restored = options.seed.is_some();
        let ca_file = options.ca_file.map(|path| path.to_string_lossy().into_owned());
        let settings = settings(url.clone(), &list, bytes, ca_file);
        make_books(&options.dir, &vault, &settings)?;
        Ok(InitReport {
            dir: options.dir,
            second_factor: second,
            operator: url,
            name: list.name,
            fingerprint: network_id(list.operator),
            pinned_by_hand: pinned.is_some(),
            restored,
            test: list.test,
        })
    }
}

impl Wallet {
    /// Makes empty books those of a wallet, for the operator that answers on this network; books that are begun stay as
    /// they are.
    ///
    /// # Errors
    /// `Unreachable`, those of the key list and the books.
    pub async fn begin_on(house: &House, url: &str, network: &Network) -> Result<(), WalletError> {
        let bytes = network.directory.fetch().await?;
        let list = verify_list(url, &bytes, None)?;
        let settings = settings(url.to_owned(), &list, bytes, None);
        let key = single(SETTINGS);
        let needs = Needs { documents: vec![key], ..Needs::default() };
        let begun = house.act(&needs, |facts, _| {
            if facts.document(&key).is_some() {
                return None;
            }
            let mut t = Transition::new(digest("florin/v1/wallet/init", &[]), facts.as_of);
            t.write(key, cbor::encode(&settings));
            Some(t)
        });
        begun.await?;
        Ok(())
    }
}

fn settings(url: String, list: &KeyList, signed: Vec<u8>, ca_file: Option<String>) -> Settings {
    Settings { url, operator: list.operator, keys: Bytes(signed), ca_file, limits: Vec::new() }
}

fn read_pin(text: &str) -> Result<PartyId, WalletError> {
    let pin = text.trim().strip_prefix("florin:").unwrap_or(text.trim());
    let what = "a fingerprint: 22 characters of base64url";
    parse_network_id(pin).ok_or_else(|| WalletError::Input { text: text.to_owned(), what })
}

/// Makes the vault; one that an interrupted `init` has left is taken up, since nothing was done with its keys yet.
fn make_vault(options: &InitOptions<'_>, second: Option<&Path>) -> Result<Vault, WalletError> {
    let mut entropy = OsEntropy;
    let seed = match &options.seed {
        Some(seed) => seed.secret(),
        None => Secret::random(&mut entropy),
    };
    let secrets = vec![(STORE_SECRET, Secret::random(&mut entropy)), (SEED_SECRET, seed)];
    match Vault::create_with(&options.dir, second, options.passphrase, secrets, &mut entropy) {
        Err(VaultError::AlreadyThere { .. }) => {
            let vault = Vault::open(&options.dir, second, options.passphrase)?;
            let there = vault.secret(SEED_SECRET)?;
            let other = options.seed.as_ref().is_some_and(|seed| !seed.secret().ct_eq(&there));
            if other { Err(WalletError::AlreadyThere { dir: options.dir.clone() }) } else { Ok(vault) }
        }
        made => Ok(made?),
    }
}

/// Makes the books aside and moves them into place, so that there are whole ones or none.
fn make_books(dir: &Path, vault: &Vault, settings: &Settings) -> Result<(), WalletError> {
    let making = dir.join(BOOKS_MAKING_DIR);
    let io = |source| WalletError::File { path: making.clone(), source };
    if making.exists() {
        fs::remove_dir_all(&making).map_err(io)?;
    }
    let key = vault.secret(STORE_SECRET)?;
    let books = create_books(&making, spec(), &key, Arc::new(SystemClock), &StorageOptions::default())?;
    let mut t = Transition::new(digest("florin/v1/wallet/init", &[]), books.durable());
    t.write(single(SETTINGS), cbor::encode(settings));
    books.commit(t)?;
    books.stop()?;
    fs::rename(&making, dir.join(BOOKS_DIR)).map_err(io)?;
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)
}
