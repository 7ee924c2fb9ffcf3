//! The key module behind PKCS #11: the keys of coin tags in a token that never gives them away.
//! Source: VarietyCash §2.5 (the coin-generation key is hardware-protected); V9; PKCS #11 2.40 (CKM_SHA256_HMAC).
//!
//! Two modes. *In token*: each epoch has a key of its own that the token made, and every tag is made in the token.
//! *Derived daily*: one master key in the token; an epoch's key is its HMAC over the epoch's name, kept in memory for at
//! most a day, as long as somebody calls `let_go` every minute. The tags of the second are those of a software module with that key, the master stays in the token.

mod derived;
mod sessions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use cryptoki::object::ObjectHandle;
use florin_books::Epoch;
use florin_coin::issuer::{CoinModule, ModuleError, TAG, epoch_info, proof_bytes};
use florin_crypto::{MacKey, Secret, cbor};

use crate::derived::DerivedKeys;
use crate::sessions::Sessions;

/// Where tags are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Each tag in the token.
    InToken,
    /// In this process, under keys that the token derives once a day.
    DerivedDaily,
}

/// Which token, and how to open it.
pub struct Settings {
    /// The PKCS #11 library.
    pub library: PathBuf,
    /// The token's label.
    pub token: String,
    /// The user's PIN.
    pub pin: florin_crypto::Zeroizing<String>,
    /// Where tags are made.
    pub mode: Mode,
}

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The library cannot be loaded, or does not start.
    #[error("the PKCS #11 library cannot be used: {0}")]
    Library(cryptoki::error::Error),
    /// No token has the label.
    #[error("no token has the label {0:?}")]
    NoToken(String),
    /// The PIN is wrong or locked, or the token refuses sessions.
    #[error("the token does not open: {0}")]
    Login(cryptoki::error::Error),
    /// A key cannot be made or found.
    #[error("the token's keys cannot be used: {0}")]
    Keys(ModuleError),
}

const MASTER: &str = "florin-coin-master";
const ANCHOR: &str = "florin-coin-anchor";
const EPOCH_KEY: &str = "florin-coin-tag";

/// A clock that nobody sets.
pub type Now = Arc<dyn Fn() -> Instant + Send + Sync>;

/// A token that tags coins.
pub struct Pkcs11Module {
    sessions: Sessions,
    mode: Mode,
    master: ObjectHandle,
    handles: RwLock<BTreeMap<Epoch, ObjectHandle>>,
    making: Mutex<()>,
    derived: RwLock<DerivedKeys>,
    now: Now,
}

impl Pkcs11Module {
    /// Opens a token; with `new`, makes its lasting key where there is none yet.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: &Settings, new: bool) -> Result<Self, OpenError> {
        Self::open_with_clock(settings, new, Arc::new(Instant::now))
    }

    /// The same, with a clock of the caller's own for the age of derived keys.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with_clock(settings: &Settings, new: bool, now: Now) -> Result<Self, OpenError> {
        let sessions = Sessions::open(settings)?;
        let (label, id) = match settings.mode {
            Mode::InToken => (ANCHOR, [0; 2]),
            Mode::DerivedDaily => (MASTER, [0; 2]),
        };
        let found = sessions.find(label, id).map_err(OpenError::Keys)?;
        let master = match found {
            Some(key) => key,
            None if new => sessions.make(label, id).map_err(OpenError::Keys)?,
            None => return Err(OpenError::Keys(ModuleError::NoKey(Epoch(0)))),
        };
        Ok(Self {
            sessions,
            mode: settings.mode,
            master,
            handles: RwLock::default(),
            making: Mutex::new(()),
            derived: RwLock::default(),
            now,
        })
    }

    /// What tells this token's keys from those of any other: nothing can be made from it.
    ///
    /// # Errors
    /// `Away`.
    pub fn proof(&self) -> Result<[u8; 32], ModuleError> {
        self.sessions.hmac(self.master, &cbor::labelled("florin/v1/coin/module-proof", &[]))
    }

    /// The key object of an epoch; made where there is none and `make` says so.
    fn handle(&self, epoch: Epoch, make: bool) -> Result<Option<ObjectHandle>, ModuleError> {
        let known = self.handles.read().unwrap_or_else(PoisonError::into_inner).get(&epoch).copied();
        if known.is_some() {
            return Ok(known);
        }
        // One at a time, so that no epoch ever gets two keys.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let id = epoch.0.to_be_bytes();
        let found = match self.sessions.find(EPOCH_KEY, id)? {
            None if make => Some(self.sessions.make(EPOCH_KEY, id)?),
            found => found,
        };
        if let Some(handle) = found {
            self.handles.write().unwrap_or_else(PoisonError::into_inner).insert(epoch, handle);
        }
        Ok(found)
    }

    /// The key of an epoch, derived in the token and kept for at most a day.
    fn derived(&self, epoch: Epoch) -> Result<Arc<MacKey>, ModuleError> {
        let known = self.derived.read().unwrap_or_else(PoisonError::into_inner).get(epoch, (self.now)());
        if let Some(key) = known {
            return Ok(key);
        }
        // Whatever the token says: what is past its time goes.
        self.let_go();
        let now = (self.now)();
        let key = Secret::new(self.sessions.hmac(self.master, &epoch_info(epoch))?);
        let key = Arc::new(MacKey::new(&key));
        self.derived.write().unwrap_or_else(PoisonError::into_inner).put(epoch, Arc::clone(&key), now);
        Ok(key)
    }

    /// How many derived keys are in memory.
    pub fn keys_in_memory(&self) -> usize {
        self.derived.read().unwrap_or_else(PoisonError::into_inner).count()
    }
}

impl CoinModule for Pkcs11Module {
    fn tag(&self, epoch: Epoch, bytes: &[u8]) -> Result<[u8; 32], ModuleError> {
        match self.mode {
            Mode::InToken => {
                let key = self.handle(epoch, true)?.ok_or(ModuleError::NoKey(epoch))?;
                self.sessions.hmac(key, &cbor::labelled(TAG, &[bytes]))
            }
            Mode::DerivedDaily => Ok(self.derived(epoch)?.tag(TAG, &[bytes])),
        }
    }

    fn verify(&self, epoch: Epoch, bytes: &[u8], tag: &[u8; 32]) -> Result<bool, ModuleError> {
        match self.mode {
            Mode::InToken => {
                // No key is made for what somebody shows: an epoch without one has issued nothing.
                let Some(key) = self.handle(epoch, false)? else { return Ok(false) };
                let genuine = self.sessions.hmac(key, &cbor::labelled(TAG, &[bytes]))?;
                Ok(Secret::new(genuine).ct_eq(&Secret::new(*tag)))
            }
            Mode::DerivedDaily => Ok(self.derived(epoch)?.verify(TAG, &[bytes], tag)),
        }
    }

    /// In the token, where no key can be seen, one that is there already is as good as a new one. A derived key needs
    /// nothing, and is not independent of the others: it comes from the master in the token.
    fn prepare(&self, epoch: Epoch) -> Result<(), ModuleError> {
        match self.mode {
            Mode::InToken => self.handle(epoch, true).map(|_| ()),
            Mode::DerivedDaily => Ok(()),
        }
    }

    fn proof_of(&self, epoch: Epoch) -> Result<Option<[u8; 32]>, ModuleError> {
        if self.mode == Mode::DerivedDaily {
            return Ok(None);
        }
        let Some(key) = self.handle(epoch, false)? else { return Ok(None) };
        self.sessions.hmac(key, &cbor::labelled(TAG, &[&proof_bytes(epoch)])).map(Some)
    }

    fn let_go(&self) {
        self.derived.write().unwrap_or_else(PoisonError::into_inner).let_go((self.now)());
    }

    fn forget(&self, epoch: Epoch) -> Result<(), ModuleError> {
        if self.mode == Mode::DerivedDaily {
            return Ok(());
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.handles.write().unwrap_or_else(PoisonError::into_inner).remove(&epoch);
        self.sessions.destroy(EPOCH_KEY, epoch.0.to_be_bytes())
    }
}
