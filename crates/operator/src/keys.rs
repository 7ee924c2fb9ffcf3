//! The operator's keys: made once, kept in two vaults, published in a list that the root key signs.
//! Source: G4 (one key, one use), G12; books.md (the cipher key lives with the books, the tag key in the key module;
//! never in one file or one backup).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use florin_books::{PartyId, RegisterId, RegisterSpec, Timestamp};
use florin_coin::issuer::{CoinModule, Issuer, IssuerSecrets, Lanes};
use florin_crypto::{Entropy, KemSecretKey, MacKey, Secret, SigningKey, derive};
use florin_money::{Currency, Denominations};
use florin_parties::{
    CurrencyTerms, DirectoryError, KeyList, KeyUse, OperatorKeys, PublishedEpoch, PublishedKey,
    SignedKeyList, operator_id,
};
use florin_shell::house::EntropySource;
use florin_shell::passphrase::Passphrase;
use florin_shell::vault::{Vault, VaultError};

use crate::config::OperatorConfig;
use crate::lanes::{BOOKS, IDENTITY};
use crate::tag_keys::{MASTER, VaultModule};

const SECRETS: [&str; 8] =
    ["root", "sign", "kem", "coin-ids", "acknowledge", "cookie", "store-identity", "store-books"];
/// A key is good for ten years: rotation comes with the epochs' own.
const KEY_LIFE_MS: u64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// Where an operator's vaults are.
#[derive(Clone, Debug)]
pub struct VaultPlaces {
    /// The folder of the operator's state.
    pub state: PathBuf,
    /// The second factor's file, if there is one.
    pub second: Option<PathBuf>,
}

impl VaultPlaces {
    /// Where the high-water mark lies: with the second factor, so that no copy of the state brings its own along.
    #[must_use]
    pub fn mark(&self) -> PathBuf {
        self.second.as_deref().and_then(Path::parent).unwrap_or(&self.state).join("high-water")
    }

    /// The folder of the key module: with the second factor, apart from the books and the cipher key, so that no
    /// backup of the state holds both. Without a second factor there is no other folder.
    #[must_use]
    pub fn module(&self) -> PathBuf {
        let apart = self.second.as_deref().and_then(Path::parent);
        apart.unwrap_or(&self.state).join("module")
    }
}

/// The two vaults, open.
pub struct OperatorVaults {
    main: Vault,
    module: Vault,
}

impl OperatorVaults {
    /// Makes all keys.
    ///
    /// # Errors
    /// `AlreadyThere`, `Io`.
    pub fn create(
        places: &VaultPlaces,
        passphrase: &Passphrase,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, VaultError> {
        let second = places.second.as_deref();
        let main = Vault::create(&places.state, second, passphrase, &SECRETS, entropy)?;
        let module = Vault::create(&places.module(), second, passphrase, &[MASTER], entropy)?;
        Ok(Self { main, module })
    }

    /// Opens them.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open(places: &VaultPlaces, passphrase: &Passphrase) -> Result<Self, VaultError> {
        let second = places.second.as_deref();
        let main = Vault::open(&places.state, second, passphrase)?;
        let module = Vault::open(&places.module(), second, passphrase)?;
        Ok(Self { main, module })
    }

    /// Opens those of a backup: the main vault lies in it, the module's never does.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open_backup(
        backup: &Path,
        places: &VaultPlaces,
        passphrase: &Passphrase,
    ) -> Result<Self, VaultError> {
        let second = places.second.as_deref();
        let main = Vault::open(backup, second, passphrase)?;
        let module = Vault::open(&places.module(), second, passphrase)?;
        Ok(Self { main, module })
    }

    /// The key that shows a backup's list of files to be the operator's own.
    ///
    /// # Errors
    /// `NoSuchSecret`.
    pub fn backup_key(&self) -> Result<MacKey, VaultError> {
        let secret: Secret<32> =
            derive(&[self.store_key("identity")?.expose()], b"florin/v1/operator/backup");
        Ok(MacKey::new(&secret))
    }

    /// The key that seals a lane's books at rest.
    ///
    /// # Errors
    /// `NoSuchSecret`.
    pub fn store_key(&self, lane: &str) -> Result<Secret<32>, VaultError> {
        self.main.secret(&format!("store-{lane}"))
    }

    /// The key that seals what is written down of epochs that are over.
    ///
    /// # Errors
    /// `NoSuchSecret`.
    pub fn archive_key(&self) -> Result<Secret<32>, VaultError> {
        Ok(derive(&[self.main.secret("store-books")?.expose()], b"florin/v1/operator/archive"))
    }

    fn root(&self) -> Result<SigningKey, VaultError> {
        Ok(SigningKey::from_seed(&self.main.secret("root")?))
    }

    /// ID_I.
    ///
    /// # Errors
    /// `NoSuchSecret`.
    pub fn id(&self) -> Result<PartyId, VaultError> {
        Ok(operator_id(&self.root()?.verify_key()))
    }

    /// The keys that sign and open messages.
    ///
    /// # Errors
    /// `NoSuchSecret`.
    pub fn message_keys(&self) -> Result<OperatorKeys, VaultError> {
        let sign = SigningKey::from_seed(&self.main.secret("sign")?);
        let kem = KemSecretKey::from_seed(&self.main.secret("kem")?);
        Ok(OperatorKeys::new(self.id()?, sign, kem))
    }

    /// The module in software, with the keys of the module's vault; new ones come from this source.
    ///
    /// # Errors
    /// `NoSuchSecret`.
    pub fn software_module(&self, entropy: EntropySource) -> Result<VaultModule, VaultError> {
        VaultModule::open(self.module.duplicate(), entropy)
    }

    /// The issuer of coins.
    ///
    /// # Errors
    /// `NoSuchSecret`.
    pub fn issuer(
        &self,
        keys: Arc<OperatorKeys>,
        registers: Vec<RegisterSpec>,
        config: &OperatorConfig,
        module: Box<dyn CoinModule>,
    ) -> Result<Issuer, VaultError> {
        let ids: Secret<16> =
            derive(&[self.main.secret("coin-ids")?.expose()], b"florin/v1/coin/number-cipher");
        let secrets = IssuerSecrets {
            module,
            ids,
            acknowledgement: self.main.secret("acknowledge")?,
            cookie: self.main.secret("cookie")?,
        };
        let lanes = Lanes { identity: IDENTITY, books: BOOKS };
        Ok(Issuer::new(keys, secrets, lanes, registers, &config.terms()))
    }

    /// The key list, signed by the root key.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn publish(
        &self,
        config: &OperatorConfig,
        currency: Currency,
        made: Timestamp,
        epochs: Vec<PublishedEpoch>,
        now: Timestamp,
    ) -> Result<(KeyList, Vec<u8>), KeysError> {
        let root = self.root()?;
        let sign = SigningKey::from_seed(&self.main.secret("sign")?).verify_key();
        let kem = KemSecretKey::from_seed(&self.main.secret("kem")?).public_key();
        let until = made.plus_ms(KEY_LIFE_MS);
        let list = KeyList {
            operator: self.id()?,
            root: root.verify_key(),
            name: config.name.clone(),
            test: config.test,
            time: now,
            keys: vec![
                PublishedKey::new(KeyUse::MessageSignature, sign.to_bytes(), made, until),
                PublishedKey::new(KeyUse::Kem, kem.0, made, until),
            ],
            currencies: vec![CurrencyTerms {
                currency,
                denominations: denominations(currency).values().to_vec(),
            }],
            epochs,
            terms: config.terms(),
        };
        let signed = SignedKeyList::sign(&list, &root)?;
        Ok((list, signed))
    }
}

/// Why the keys cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The list contradicts itself: the settings are wrong.
    #[error(transparent)]
    List(#[from] DirectoryError),
}

/// The denominations of a currency: 1-2-5.
#[must_use]
pub fn denominations(currency: Currency) -> Denominations {
    Denominations::one_two_five(currency, florin_money::DENOMINATIONS_DEFAULT)
}

/// The registers of the books lane.
#[must_use]
pub fn registers(currency: Currency) -> Vec<RegisterSpec> {
    vec![RegisterSpec { id: RegisterId(0), denominations: denominations(currency) }]
}

/// Whether an operator's state is there, whole: its settings are written last.
#[must_use]
pub fn is_there(state: &Path) -> bool {
    state.join(crate::init::CONFIG_FILE).exists()
}
