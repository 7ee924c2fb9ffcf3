//! Which key module tags the coins: one in software, whose keys stand in a vault of its own, or a token behind PKCS #11.
//! Source: VarietyCash §2.5 (secure module); V9; ADR 0031.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use florin_coin::Epochs;
use florin_coin::issuer::{CoinModule, ModuleError};
use florin_crypto::Zeroizing;
use florin_module::{Mode, OpenError, Pkcs11Module, Settings};
use florin_shell::exit::ExitCode;
use florin_shell::home::{HomeError, write_private};
use serde::{Deserialize, Serialize};

use crate::tag_keys::VaultModule;

/// In the state, beside the books: which token's keys the coins in them are tagged with. Nothing can be made from it.
pub const PROOF_FILE: &str = "module.proof";

/// Where tags are made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleMode {
    /// In this process, under a key from the module's vault.
    #[default]
    Software,
    /// In the token, each of them; no key ever leaves it.
    InToken,
    /// In this process, under keys that the token derives and that are forgotten after a day.
    DerivedDaily,
}

/// Settings of the key module.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModuleSettings {
    /// Where tags are made; it is chosen when the operator is made.
    pub mode: ModuleMode,
    /// The PKCS #11 library of the token.
    pub library: PathBuf,
    /// The token's label.
    pub token: String,
    /// A file with the token's user PIN.
    pub pin_file: PathBuf,
}

/// Why the key module cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModuleFault {
    /// The file with the PIN.
    #[error("module.pin_file: {path}: {source}")]
    Pin {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The token.
    #[error("the key module: {0}")]
    Open(#[from] OpenError),
    /// The token does not answer any more.
    #[error("the key module: {0}")]
    Module(#[from] ModuleError),
    /// The proof cannot be written.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The coins were not tagged by this module: it would take none of them.
    #[error(
        "the coins of these books were tagged by another key module than module.mode and module.token name"
    )]
    Another,
    /// It has not the key that an epoch's coins are tagged with: it would call every one of them forged.
    #[error(
        "the key module has not the tag key of epoch {}: put back the copy of it (module/keys.vault, or the token) that was made \
         after that epoch was",
        .0.0
    )]
    EpochKey(florin_books::Epoch),
}

impl ModuleFault {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Pin { .. } | Self::Another => ExitCode::Configuration,
            Self::EpochKey(_) => ExitCode::BadData,
            Self::Open(OpenError::Library(_) | OpenError::NoToken(_)) => ExitCode::Configuration,
            Self::Open(OpenError::Login(_) | OpenError::Keys(_)) | Self::Module(_) => ExitCode::Unavailable,
            Self::Home(e) => e.exit_code(),
        }
    }
}

/// Whether the module has the own key of every epoch that the table says to have one, and not another. One that was dropped
/// needs none.
///
/// # Errors
/// `EpochKey`; `Module`.
pub fn has_keys(module: &dyn CoinModule, epochs: &Epochs) -> Result<(), ModuleFault> {
    for entry in epochs.entries().iter().filter(|entry| entry.dropped.is_none()) {
        let Some(expected) = entry.key else { continue };
        if module.proof_of(entry.number)? != Some(expected.0) {
            return Err(ModuleFault::EpochKey(entry.number));
        }
    }
    Ok(())
}

impl ModuleSettings {
    fn token(&self, mode: Mode) -> Result<Settings, ModuleFault> {
        let read = std::fs::read_to_string(&self.pin_file);
        let text =
            Zeroizing::new(read.map_err(|source| ModuleFault::Pin { path: self.pin_file.clone(), source })?);
        let pin = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
        Ok(Settings { library: self.library.clone(), token: self.token.clone(), pin, mode })
    }

    const fn mode(&self) -> Option<Mode> {
        match self.mode {
            ModuleMode::Software => None,
            ModuleMode::InToken => Some(Mode::InToken),
            ModuleMode::DerivedDaily => Some(Mode::DerivedDaily),
        }
    }

    /// Makes the token's lasting key and writes down what tells it from others. Nothing to do for a module in software.
    ///
    /// # Errors
    /// [`ModuleFault`].
    pub fn create(&self, state: &Path) -> Result<(), ModuleFault> {
        let Some(mode) = self.mode() else { return Ok(()) };
        let module = Pkcs11Module::open(&self.token(mode)?, true)?;
        let proof = HEXLOWER.encode(&module.proof()?);
        Ok(write_private(&state.join(PROOF_FILE), proof.as_bytes())?)
    }

    /// Opens the module that has tagged the coins of these books; `software` is the one in software.
    ///
    /// # Errors
    /// [`ModuleFault`].
    pub fn open(&self, state: &Path, software: VaultModule) -> Result<Box<dyn CoinModule>, ModuleFault> {
        let proof = std::fs::read_to_string(state.join(PROOF_FILE)).ok();
        match (self.mode(), proof) {
            (None, None) => Ok(Box::new(software)),
            (Some(mode), Some(proof)) => {
                let module = Pkcs11Module::open(&self.token(mode)?, false)?;
                if HEXLOWER.encode(&module.proof()?) != proof.trim() {
                    return Err(ModuleFault::Another);
                }
                Ok(Box::new(module))
            }
            (None, Some(_)) | (Some(_), None) => Err(ModuleFault::Another),
        }
    }
}
