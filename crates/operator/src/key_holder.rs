//! The key holders: two people of whom each has a key file of its own, away from the operator's machine. What needs both
//! (opening who bought which coins, and orders under dual control) is signed and opened with their files; the operator
//! has the public halves only, in its settings. Source: VarietyCash §1.2 (trust-based anonymity); V10; books.md,
//! "Identity apart".

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use florin_books::PartyId;
use florin_coin::escrow::{Escrow, EscrowKey};
use florin_crypto::{
    ByteArray, Bytes, Entropy, KemPublicKey, KemSecretKey, KeyFileError, KeyFileParams, Secret, SigningKey,
    VerifyKey, Zeroizing, cbor, open_key_file, seal_key_file,
};
use florin_parties::{KeyId, KeyUse, key_id};
use florin_shell::exit::ExitCode;
use florin_shell::home::{HomeError, create_private, write_private};
use florin_shell::passphrase::Passphrase;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::keys::VaultPlaces;

/// How many there are.
pub const HOLDERS: usize = 2;
/// The longest name, in characters.
pub const NAME_MAX: usize = 70;
const MAGIC: &str = "florin-key-holder";
const VERSION: u32 = 1;
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Why a key holder's file, or what the settings say of the holders, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyHolderError {
    /// It is not overwritten.
    #[error("{path} is there already; it is not overwritten")]
    AlreadyThere {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else, or of a version that is not known here.
    #[error("{path} is not a key holder's file")]
    NotAKeyHolder {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase is another, or the file is damaged: nobody can tell which.
    #[error("wrong passphrase for {path}, or the file is damaged")]
    WrongPassphraseOrDamaged {
        /// The file.
        path: PathBuf,
    },
    /// A name is 1 to 70 characters without control characters.
    #[error("{name:?} is no name: 1 to {NAME_MAX} characters")]
    Name {
        /// What was given.
        name: String,
    },
    /// A key in the settings is none.
    #[error("key_holder {name:?}: {key} is not a key in base64url")]
    Key {
        /// Whose.
        name: String,
        /// Which.
        key: &'static str,
    },
    /// None, or exactly two, with names and keys that differ.
    #[error("the settings name {0} key holders that differ: two are needed")]
    Count(usize),
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The folder or file cannot be written.
    #[error(transparent)]
    Home(#[from] HomeError),
}

impl KeyHolderError {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::AlreadyThere { .. } => ExitCode::CannotCreate,
            Self::NotAKeyHolder { .. } => ExitCode::BadData,
            Self::WrongPassphraseOrDamaged { .. } => ExitCode::NotAllowed,
            Self::Name { .. } => ExitCode::Usage,
            Self::Key { .. } | Self::Count(_) => ExitCode::Configuration,
            Self::Io { source, .. } => ExitCode::of_io(source),
            Self::Home(error) => error.exit_code(),
        }
    }
}

/// The file: `["florin-key-holder", 1, name, has passphrase, key file]`; the name is only a hint until it is opened.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Outer {
    #[n(0)]
    magic: String,
    #[n(1)]
    version: u32,
    #[n(2)]
    name: String,
    #[n(3)]
    has_passphrase: bool,
    #[n(4)]
    sealed: Bytes,
}

/// What the key file holds: `[name, seed of the signing key, seed of the KEM key]`.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Content {
    #[n(0)]
    name: String,
    #[n(1)]
    signing: ByteArray<32>,
    #[n(2)]
    kem: ByteArray<32>,
}

/// A key holder's own keys, open. No `Debug`.
pub struct KeyHolder {
    /// What the holder is called.
    pub name: String,
    /// Signs orders that need both holders.
    pub signing: SigningKey,
    /// Opens what was sealed to the holder.
    pub kem: KemSecretKey,
}

impl KeyHolder {
    /// Makes a holder's file with fresh keys.
    ///
    /// # Errors
    /// `Name`, `AlreadyThere`, `Home`, `Io`.
    pub fn create(
        path: &Path,
        name: &str,
        passphrase: &Passphrase,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, KeyHolderError> {
        check_name(name)?;
        let there = path.try_exists();
        if there.map_err(|source| KeyHolderError::Io { path: path.to_owned(), source })? {
            return Err(KeyHolderError::AlreadyThere { path: path.to_owned() });
        }
        let (signing, kem): (Secret<32>, Secret<32>) = (Secret::random(entropy), Secret::random(entropy));
        let content = Content {
            name: name.to_owned(),
            signing: ByteArray(*signing.expose()),
            kem: ByteArray(*kem.expose()),
        };
        let plain = Zeroizing::new(cbor::encode(&content));
        let sealed = seal_key_file(passphrase.expose(), None, &plain, KeyFileParams::default(), entropy)
            .map_err(|_| KeyHolderError::NotAKeyHolder { path: path.to_owned() })?;
        let outer = Outer {
            magic: MAGIC.to_owned(),
            version: VERSION,
            name: name.to_owned(),
            has_passphrase: !passphrase.is_none(),
            sealed: Bytes(sealed),
        };
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()) {
            create_private(dir)?;
        }
        write_private(path, &cbor::encode(&outer))?;
        Ok(Self {
            name: name.to_owned(),
            signing: SigningKey::from_seed(&signing),
            kem: KemSecretKey::from_seed(&kem),
        })
    }

    /// Opens a holder's file.
    ///
    /// # Errors
    /// `Io`, `NotAKeyHolder`, `WrongPassphraseOrDamaged`.
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, KeyHolderError> {
        let outer = read_outer(path)?;
        let wrong = || KeyHolderError::WrongPassphraseOrDamaged { path: path.to_owned() };
        let opened = open_key_file(&outer.sealed.0, passphrase.expose(), None);
        let plain = opened.map_err(|error| match error {
            KeyFileError::NotAKeyFile | KeyFileError::Version { .. } => {
                KeyHolderError::NotAKeyHolder { path: path.to_owned() }
            }
            _ => wrong(),
        })?;
        let content: Content = cbor::decode_strict(&plain).map_err(|_| wrong())?;
        if content.name != outer.name {
            return Err(wrong());
        }
        Ok(Self {
            name: content.name,
            signing: SigningKey::from_seed(&Secret::new(content.signing.0)),
            kem: KemSecretKey::from_seed(&Secret::new(content.kem.0)),
        })
    }

    /// Whose file it says it is, and whether it wants a passphrase, so that a program knows whom to ask.
    ///
    /// # Errors
    /// `Io`, `NotAKeyHolder`.
    pub fn needs(path: &Path) -> Result<(String, bool), KeyHolderError> {
        read_outer(path).map(|outer| (outer.name, outer.has_passphrase))
    }

    /// What the settings say of the holder.
    #[must_use]
    pub fn public(&self) -> KeyHolderPublic {
        KeyHolderPublic {
            name: self.name.clone(),
            verify: BASE64URL_NOPAD.encode(self.signing.verify_key().as_bytes()),
            kem: BASE64URL_NOPAD.encode(&self.kem.public_key().0),
        }
    }

    /// The public halves, as keys.
    #[must_use]
    pub fn known(&self) -> KnownHolder {
        KnownHolder { name: self.name.clone(), verify: self.signing.verify_key(), kem: self.kem.public_key() }
    }
}

fn read_outer(path: &Path) -> Result<Outer, KeyHolderError> {
    let io = |source| KeyHolderError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(io)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
    let not = || KeyHolderError::NotAKeyHolder { path: path.to_owned() };
    let outer: Outer = cbor::decode_strict(&bytes).map_err(|_| not())?;
    if outer.magic == MAGIC && outer.version == VERSION { Ok(outer) } else { Err(not()) }
}

fn check_name(name: &str) -> Result<(), KeyHolderError> {
    let fits = (1..=NAME_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(KeyHolderError::Name { name: name.to_owned() }) }
}

/// A key holder, as the settings name it: `[[key_holder]]` with the public halves in base64url.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyHolderPublic {
    /// What the holder is called.
    pub name: String,
    /// The key that checks the holder's signatures (Ed25519).
    pub verify: String,
    /// The key that is sealed to (X25519).
    pub kem: String,
}

/// A key holder's public keys, read.
#[derive(Clone, PartialEq, Eq)]
pub struct KnownHolder {
    /// What the holder is called.
    pub name: String,
    /// Checks the holder's signatures.
    pub verify: VerifyKey,
    /// Is sealed to.
    pub kem: KemPublicKey,
}

impl KnownHolder {
    /// The id of the signing key, in signed orders.
    #[must_use]
    pub fn kid(&self) -> KeyId {
        key_id(KeyUse::MessageSignature, self.verify.as_bytes())
    }

    /// The id of the KEM key, in envelopes.
    #[must_use]
    pub fn kem_kid(&self) -> KeyId {
        key_id(KeyUse::Kem, &self.kem.0)
    }
}

impl KeyHolderPublic {
    /// Reads the keys.
    ///
    /// # Errors
    /// `Name`, `Key`.
    pub fn read(&self) -> Result<KnownHolder, KeyHolderError> {
        check_name(&self.name)?;
        let bytes = |text: &str, key: &'static str| -> Result<[u8; 32], KeyHolderError> {
            let decoded = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
            let decoded = decoded.and_then(|b| <[u8; 32]>::try_from(b).ok());
            decoded.ok_or_else(|| KeyHolderError::Key { name: self.name.clone(), key })
        };
        let verify = VerifyKey::from_bytes(&bytes(&self.verify, "verify")?)
            .map_err(|_| KeyHolderError::Key { name: self.name.clone(), key: "verify" })?;
        let kem = KemPublicKey(bytes(&self.kem, "kem")?);
        Ok(KnownHolder { name: self.name.clone(), verify, kem })
    }
}

/// The two holders that the settings name.
///
/// # Errors
/// `Name`, `Key`; `Count` where there are not two that differ in name and keys.
pub fn two_holders(named: &[KeyHolderPublic]) -> Result<[KnownHolder; HOLDERS], KeyHolderError> {
    let read = named.iter().map(KeyHolderPublic::read).collect::<Result<Vec<_>, _>>()?;
    let [a, b] =
        <[KnownHolder; HOLDERS]>::try_from(read).map_err(|not_two| KeyHolderError::Count(not_two.len()))?;
    if a.name == b.name || a.verify == b.verify || a.kem == b.kem {
        return Err(KeyHolderError::Count(1));
    }
    Ok([a, b])
}

/// What an operator seals to its two holders with.
#[must_use]
pub fn escrow(operator: PartyId, [outer, inner]: &[KnownHolder; HOLDERS]) -> Escrow {
    let key = |holder: &KnownHolder| EscrowKey { kid: holder.kem_kid(), key: holder.kem };
    Escrow::new(operator, key(outer), key(inner))
}

impl VaultPlaces {
    /// Where `init` puts the holders' files: with the second factor, apart from the state. They are to be carried away.
    #[must_use]
    pub fn holders(&self) -> PathBuf {
        let apart = self.second.as_deref().and_then(Path::parent);
        apart.unwrap_or(&self.state).join("holders")
    }

    /// The holders' files that still lie where `init` has put them.
    #[must_use]
    pub fn holders_here(&self) -> Vec<PathBuf> {
        (1..=HOLDERS).map(|n| self.holder_file(n)).filter(|path| path.exists()).collect()
    }

    fn holder_file(&self, n: usize) -> PathBuf {
        self.holders().join(format!("holder-{n}.key"))
    }

    /// Makes both holders' files, under one passphrase: for a sandbox, or until each holder has made its own.
    ///
    /// # Errors
    /// [`KeyHolderError`].
    pub fn create_holders(
        &self,
        passphrase: &Passphrase,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<KeyHolderPublic>, KeyHolderError> {
        let make = |n: usize| {
            let made =
                KeyHolder::create(&self.holder_file(n), &format!("holder-{n}"), passphrase, &mut *entropy);
            made.map(|holder| holder.public())
        };
        (1..=HOLDERS).map(make).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use florin_shell::entropy::OsEntropy;

    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn a_holders_file_opens_with_its_own_passphrase_only_and_is_not_overwritten() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("holders/holder-1.key");
        let made = KeyHolder::create(&path, "Ada", &passphrase("one"), &mut OsEntropy).unwrap();
        let opened = KeyHolder::open(&path, &passphrase("one")).unwrap();
        assert!(made.known() == opened.known() && opened.name == "Ada");
        assert_eq!(KeyHolder::needs(&path).unwrap(), ("Ada".to_owned(), true));
        let wrong = [passphrase("two"), Passphrase::none()];
        for wrong in wrong {
            let refused = KeyHolder::open(&path, &wrong).map(|_| ());
            assert!(matches!(refused, Err(KeyHolderError::WrongPassphraseOrDamaged { .. })));
        }
        let again = KeyHolder::create(&path, "Bo", &passphrase("one"), &mut OsEntropy).map(|_| ());
        assert!(matches!(again, Err(KeyHolderError::AlreadyThere { .. })));
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains("one"));
    }

    #[test]
    fn a_file_whose_name_was_changed_does_not_open() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("h.key");
        KeyHolder::create(&path, "Ada", &Passphrase::none(), &mut OsEntropy).unwrap();
        let mut outer = read_outer(&path).unwrap();
        outer.name = "Bob".into();
        fs::write(&path, cbor::encode(&outer)).unwrap();
        let refused = KeyHolder::open(&path, &Passphrase::none()).map(|_| ());
        assert!(matches!(refused, Err(KeyHolderError::WrongPassphraseOrDamaged { .. })));
        fs::write(&path, b"something else").unwrap();
        let refused = KeyHolder::open(&path, &Passphrase::none()).map(|_| ());
        assert!(matches!(refused, Err(KeyHolderError::NotAKeyHolder { .. })));
    }

    #[test]
    fn the_settings_name_two_that_differ_or_are_refused() {
        let top = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = top.path().join(name);
            KeyHolder::create(&path, name, &Passphrase::none(), &mut OsEntropy).unwrap().public()
        };
        let (a, b, c) = (make("a"), make("b"), make("c"));
        assert!(two_holders(&[a.clone(), b.clone()]).is_ok());
        let renamed = KeyHolderPublic { name: "z".into(), ..a.clone() };
        for bad in [vec![], vec![a.clone()], vec![a.clone(), b.clone(), c], vec![a.clone(), renamed]] {
            assert!(matches!(two_holders(&bad), Err(KeyHolderError::Count(_))), "{}", bad.len());
        }
        let spoilt = KeyHolderPublic { kem: "AAAA".into(), ..b.clone() };
        assert!(matches!(two_holders(&[a.clone(), spoilt]), Err(KeyHolderError::Key { key: "kem", .. })));
        let nameless = KeyHolderPublic { name: String::new(), ..b };
        assert!(matches!(two_holders(&[a, nameless]), Err(KeyHolderError::Name { .. })));
    }
}
