//! Changing a vault that is open, without its passphrase: for keys that a program makes and forgets by itself while it runs.
//! Source: ADR 0031 (a tag key for each epoch).

use std::collections::BTreeMap;
use std::path::Path;

use florin_crypto::{Entropy, Secret};

use super::{Vault, VaultError, of_key_file, put, read_outer};

impl Vault {
    /// Puts a secret in, in the place of one of that name if there is one, and stores the file as it was sealed before:
    /// for keys that a program makes by itself while it runs. What is stored by then counts, as with [`Vault::insert`].
    ///
    /// # Errors
    /// `WrongPassphraseOrDamaged` (also where another passphrase was set meanwhile), `TooMuch`, `Io`, `Home`; nothing has
    /// changed then.
    pub fn replace(
        &mut self,
        name: &str,
        secret: Secret<32>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), VaultError> {
        self.change(entropy, |path, secrets| {
            secrets.remove(name);
            put(path, secrets, name, secret)
        })
    }

    /// Puts a secret in unless there is one of that name, which is kept then, and stores the file as [`Vault::replace`] does.
    ///
    /// # Errors
    /// As [`Vault::replace`].
    pub fn keep(
        &mut self,
        name: &str,
        secret: Secret<32>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), VaultError> {
        self.change(entropy, |path, secrets| {
            if secrets.contains_key(name) { Ok(()) } else { put(path, secrets, name, secret) }
        })
    }

    /// Takes a secret out and stores the file; nothing to do where there is none of that name.
    ///
    /// # Errors
    /// As [`Vault::replace`].
    pub fn remove(&mut self, name: &str, entropy: &mut dyn Entropy) -> Result<(), VaultError> {
        if !self.secrets.contains_key(name) {
            return Ok(());
        }
        self.change(entropy, |_, secrets| {
            secrets.remove(name);
            Ok(())
        })
    }

    /// The same vault once more. Each writes what the other has written on, not over.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            path: self.path.clone(),
            needs: self.needs,
            second: self.second.as_ref().map(Secret::duplicate),
            secrets: self.secrets.iter().map(|(name, secret)| (name.clone(), secret.duplicate())).collect(),
            sealer: self.sealer.duplicate(),
        }
    }

    fn change(
        &mut self,
        entropy: &mut dyn Entropy,
        change: impl FnOnce(&Path, &mut BTreeMap<String, Secret<32>>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let (needs, sealed) = read_outer(&self.path)?;
        let plain = self.sealer.open_again(&sealed).map_err(|error| of_key_file(&self.path, error))?;
        let mut secrets = self.content(&plain, needs)?;
        change(&self.path, &mut secrets)?;
        self.write(&secrets, &self.sealer, entropy)?;
        self.secrets = secrets;
        Ok(())
    }
}
