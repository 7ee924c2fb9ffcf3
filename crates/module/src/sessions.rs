//! Sessions with a token: one for each thread that asks, reopened where the token was away for a while.
//! Source: PKCS #11 2.40, §5.6 (sessions), §5.13 (message authentication).

use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use florin_books::Epoch;
use florin_coin::issuer::ModuleError;

use crate::{OpenError, Settings};

/// A key of HMAC-SHA-256 has as many bytes as its output.
const KEY_BYTES: u64 = 32;
/// So many sessions are kept for the next who asks.
const IDLE_MAX: usize = 16;

/// Open sessions of one token.
pub(crate) struct Sessions {
    library: Pkcs11,
    slot: Slot,
    pin: AuthPin,
    idle: Mutex<Vec<Session>>,
}

impl Sessions {
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let library = Pkcs11::new(&settings.library).map_err(OpenError::Library)?;
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Somebody else of this process uses the library too.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(OpenError::Library(error)),
        }
        let slots = library.get_slots_with_token().map_err(OpenError::Library)?;
        let labelled = |slot: &Slot| {
            library.get_token_info(*slot).is_ok_and(|token| token.label().trim_end() == settings.token)
        };
        let slot = slots.into_iter().find(labelled);
        let slot = slot.ok_or_else(|| OpenError::NoToken(settings.token.clone()))?;
        let pin = AuthPin::new(settings.pin.as_str().into());
        let sessions = Self { library, slot, pin, idle: Mutex::default() };
        let first = sessions.begin().map_err(OpenError::Login)?;
        sessions.keep(first);
        Ok(sessions)
    }

    /// A new session. Who is logged in counts for all sessions of the process.
    fn begin(&self) -> Result<Session, Error> {
        let session = self.library.open_rw_session(self.slot)?;
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(error),
        }
    }

    fn keep(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(session);
        }
    }

    /// Does something in a session; a kept one that has ended meanwhile is replaced by a new one, once.
    fn with<T>(&self, act: impl Fn(&Session) -> Result<T, Error>) -> Result<T, ModuleError> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(session) = kept
            && let Ok(done) = act(&session)
        {
            self.keep(session);
            return Ok(done);
        }
        let session = self.begin().map_err(away)?;
        let done = act(&session).map_err(away)?;
        self.keep(session);
        Ok(done)
    }

    /// The HMAC-SHA-256 of bytes under a key of the token.
    pub fn hmac(&self, key: ObjectHandle, bytes: &[u8]) -> Result<[u8; 32], ModuleError> {
        let tag = self.with(|session| session.sign(&Mechanism::Sha256Hmac, key, bytes))?;
        tag.try_into().map_err(|_| ModuleError::Away)
    }

    /// The key with a label and an id; two of them are as bad as none.
    pub fn find(&self, label: &str, id: [u8; 2]) -> Result<Option<ObjectHandle>, ModuleError> {
        let wanted = named(label, id);
        match self.with(|session| session.find_objects(&wanted))?.as_slice() {
            [] => Ok(None),
            [key] => Ok(Some(*key)),
            _ => Err(ModuleError::NoKey(Epoch(u16::from_be_bytes(id)))),
        }
    }

    /// Ends every key with a label and an id, if there are any.
    pub fn destroy(&self, label: &str, id: [u8; 2]) -> Result<(), ModuleError> {
        let wanted = named(label, id);
        self.with(|session| {
            session.find_objects(&wanted)?.into_iter().try_for_each(|key| session.destroy_object(key))
        })
    }

    /// Makes a key in the token that never leaves it.
    pub fn make(&self, label: &str, id: [u8; 2]) -> Result<ObjectHandle, ModuleError> {
        let length = KEY_BYTES.into();
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::ValueLen(length),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Verify(true),
        ];
        self.with(|session| session.generate_key(&Mechanism::GenericSecretKeyGen, &template))
    }
}

fn named(label: &str, id: [u8; 2]) -> [Attribute; 3] {
    [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ]
}

/// What the token says goes to nobody but the log of its library.
fn away(_: Error) -> ModuleError {
    ModuleError::Away
}
