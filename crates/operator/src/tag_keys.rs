//! The key module in software: a tag key of its own for each epoch, drawn when the epoch is made, kept in the module's vault
//! and taken out of it some time after the epoch was dropped. Source: VarietyCash §2.4, §2.5; ADR 0031.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use florin_books::Epoch;
use florin_coin::issuer::{CoinModule, ModuleError, SoftwareModule, TAG, epoch_info, proof_bytes};
use florin_crypto::{MacKey, Secret, derive};
use florin_shell::entropy::OsEntropy;
use florin_shell::house::{EntropySource, os_entropy};
use florin_shell::passphrase::Passphrase;
use florin_shell::vault::{SECRETS_MAX, Vault, VaultError};

/// The master, for epochs that have no key of their own: they were made before each had one.
pub const MASTER: &str = "coin-tag";

// The vault holds what the table of a key list can.
const _: () = assert!(SECRETS_MAX > florin_parties::epoch::EPOCHS_MAX);

/// The name of an epoch's secret in the module's vault.
#[must_use]
pub fn secret_name(epoch: Epoch) -> String {
    format!("{MASTER}-{}", epoch.0)
}

fn epoch_of(name: &str) -> Option<Epoch> {
    let number = name.strip_prefix(MASTER)?.strip_prefix('-')?;
    number.parse().ok().map(Epoch).filter(|epoch| secret_name(*epoch) == name)
}

fn key(secret: &Secret<32>, epoch: Epoch) -> Arc<MacKey> {
    Arc::new(MacKey::new(&derive(&[secret.expose()], &epoch_info(epoch))))
}

/// Tag keys in a vault.
pub struct VaultModule {
    master: SoftwareModule,
    own: RwLock<BTreeMap<Epoch, Arc<MacKey>>>,
    vault: Mutex<Vault>,
    entropy: EntropySource,
}

impl VaultModule {
    /// A module with a fresh master in a vault of its own, without a passphrase: one to be tried, not one of an operator.
    ///
    /// # Errors
    /// `AlreadyThere`, `Io`.
    pub fn alone(dir: &Path) -> Result<Self, VaultError> {
        let vault = Vault::create(dir, None, &Passphrase::none(), &[MASTER], &mut OsEntropy)?;
        Self::open(vault, os_entropy())
    }

    /// Reads the keys from the module's vault; new ones come from this source.
    ///
    /// # Errors
    /// `NoSuchSecret`: there is no master.
    pub fn open(vault: Vault, entropy: EntropySource) -> Result<Self, VaultError> {
        let master = SoftwareModule::new(vault.secret(MASTER)?);
        let mut own = BTreeMap::new();
        for epoch in vault.names().filter_map(epoch_of) {
            own.insert(epoch, key(&vault.secret(&secret_name(epoch))?, epoch));
        }
        Ok(Self { master, own: RwLock::new(own), vault: Mutex::new(vault), entropy })
    }

    /// The epoch's own key, if it has one.
    fn own(&self, epoch: Epoch) -> Option<Arc<MacKey>> {
        self.own.read().unwrap_or_else(PoisonError::into_inner).get(&epoch).cloned()
    }

    fn change(&self, change: impl FnOnce(&mut Vault) -> Result<(), VaultError>) -> Result<(), ModuleError> {
        let mut vault = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut vault).map_err(|error| {
            tracing::error!(%error, "the key module's vault is not written");
            ModuleError::Unwritten
        })
    }
}

impl CoinModule for VaultModule {
    fn tag(&self, epoch: Epoch, bytes: &[u8]) -> Result<[u8; 32], ModuleError> {
        self.own(epoch).map_or_else(|| self.master.tag(epoch, bytes), |key| Ok(key.tag(TAG, &[bytes])))
    }

    fn verify(&self, epoch: Epoch, bytes: &[u8], tag: &[u8; 32]) -> Result<bool, ModuleError> {
        let own = self.own(epoch);
        own.map_or_else(|| self.master.verify(epoch, bytes, tag), |key| Ok(key.verify(TAG, &[bytes], tag)))
    }

    /// One that is there already is kept and used, as in a token: books that were restored number an epoch in which the lost
    /// part may have issued, and its coins are known by that key only. Their numbers are passed over, so no coin is made twice.
    fn prepare(&self, epoch: Epoch) -> Result<(), ModuleError> {
        let mut entropy = (self.entropy)();
        let (name, fresh) = (secret_name(epoch), Secret::random(&mut *entropy));
        let mut made = None;
        self.change(|vault| {
            vault.keep(&name, fresh, &mut *entropy)?;
            made = Some(key(&vault.secret(&name)?, epoch));
            Ok(())
        })?;
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        own.extend(made.map(|made| (epoch, made)));
        Ok(())
    }

    fn proof_of(&self, epoch: Epoch) -> Result<Option<[u8; 32]>, ModuleError> {
        Ok(self.own(epoch).map(|key| key.tag(TAG, &[&proof_bytes(epoch)])))
    }

    fn forget(&self, epoch: Epoch) -> Result<(), ModuleError> {
        self.change(|vault| vault.remove(&secret_name(epoch), &mut *(self.entropy)()))?;
        self.own.write().unwrap_or_else(PoisonError::into_inner).remove(&epoch);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_without_a_key_of_its_own_has_the_masters_as_before() {
        let dir = tempfile::tempdir().unwrap();
        let none = Passphrase::none();
        let vault = Vault::create(dir.path(), None, &none, &[MASTER, "coin-tag-x"], &mut OsEntropy).unwrap();
        let before = SoftwareModule::new(vault.secret(MASTER).unwrap());
        let module = VaultModule::open(vault, os_entropy()).unwrap();
        let (old, new) = (Epoch(3), Epoch(4));
        module.prepare(new).unwrap();
        let tag = before.tag(old, b"coin").unwrap();
        assert_eq!(module.tag(old, b"coin"), Ok(tag));
        assert_eq!((module.verify(old, b"coin", &tag), module.proof_of(old)), (Ok(true), Ok(None)));
        let by_master = before.tag(new, b"coin").unwrap();
        assert_eq!(module.verify(new, b"coin", &by_master), Ok(false), "the master says nothing of it");
        module.forget(old).unwrap();
        assert_eq!(module.tag(old, b"coin"), Ok(tag), "there was none to forget");
        // What is stored is what is read.
        let own = module.tag(new, b"coin").unwrap();
        let again = VaultModule::open(Vault::open(dir.path(), None, &none).unwrap(), os_entropy()).unwrap();
        assert_eq!(again.tag(new, b"coin"), Ok(own));
        again.forget(new).unwrap();
        again.forget(new).unwrap();
        assert_eq!(again.proof_of(new), Ok(None));
        let names = Vault::open(dir.path(), None, &none).unwrap().names().map(epoch_of).collect::<Vec<_>>();
        assert_eq!(names, [None, None]);
    }

    #[test]
    fn there_is_room_for_the_keys_of_all_epochs_that_a_key_list_can_name() {
        let dir = tempfile::tempdir().unwrap();
        let none = Passphrase::none();
        let mut names: Vec<String> = (1..=1024).map(|n| secret_name(Epoch(n))).collect();
        names.push(MASTER.to_owned());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let vault = Vault::create(dir.path(), None, &none, &names, &mut OsEntropy).unwrap();
        let module = VaultModule::open(vault, os_entropy()).unwrap();
        module.prepare(Epoch(1025)).unwrap();
        let proof = module.proof_of(Epoch(1025)).unwrap();
        let again = VaultModule::open(Vault::open(dir.path(), None, &none).unwrap(), os_entropy()).unwrap();
        assert_eq!(again.proof_of(Epoch(1025)).unwrap(), proof);
        assert!(proof.is_some());
    }
}
