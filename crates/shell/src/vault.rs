//! The encrypted key file of a program: named secrets under a passphrase and, by default, a second factor that lies in
//! another folder. Source: architecture.md, "Conventions"; the key file itself is `florin_crypto::keyfile`.
//!
//! Shape: `["florin-vault", 1, has passphrase, has second factor, key file]`; within the key file
//! `[1, has passphrase, [[name, 32 bytes], ...]]`, names ascending.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use florin_crypto::{
    Bytes, Entropy, KeyFileError, KeyFileParams, KeyFileSealer, Secret, Zeroizing, decode_strict, encode,
};
use minicbor::{Decode, Encode};

use crate::exit::ExitCode;
use crate::home::{HomeError, create_private, write_private};
use crate::passphrase::Passphrase;

mod change;

/// The name of the key file in a program's folder.
pub const VAULT_FILE: &str = "keys.vault";
/// The usual name of the second factor in its folder.
pub const SECOND_FACTOR_FILE: &str = "second-factor";
/// The most secrets in one file: the key of every epoch that a key list can name (1,024), and as many again of epochs before.
pub const SECRETS_MAX: usize = 2048;
/// The longest name of a secret, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The largest file that is read: 2,048 secrets with the longest names take less than 224 KiB.
const FILE_BYTES_MAX: u64 = 256 * 1024;
const MAGIC: &str = "florin-vault";
const VERSION: u32 = 1;

/// Why a vault cannot be used, in the order of checking.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is none.
    #[error("there are no keys at {path}")]
    NotThere {
        /// Where it would be.
        path: PathBuf,
    },
    /// It is not overwritten.
    #[error("there are keys at {path} already; they are not overwritten")]
    AlreadyThere {
        /// Where.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{path} is not a key file of Florin")]
    NotAVault {
        /// The file.
        path: PathBuf,
    },
    /// A file of a version that is not known here.
    #[error("{path} has version {version}, which is not known here")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The keys need it.
    #[error("the keys at {vault} need their second factor{}", missing_at(.second.as_deref()))]
    SecondFactorMissing {
        /// The key file.
        vault: PathBuf,
        /// Where the second factor was looked for, if anywhere.
        second: Option<PathBuf>,
    },
    /// The file is there and holds something else.
    #[error("{path} is no second factor: 64 hexadecimal digits")]
    SecondFactorDamaged {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase or the second factor is another, or the file is damaged: nobody can tell which.
    #[error("wrong passphrase or second factor for {path}, or the file is damaged")]
    WrongPassphraseOrDamaged {
        /// The key file.
        path: PathBuf,
    },
    /// There is no secret of that name.
    #[error("{path} holds no key named {name:?}")]
    NoSuchSecret {
        /// The key file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// There is one, and it is not replaced.
    #[error("{path} holds a key named {name:?} already")]
    SecretAlreadyThere {
        /// The key file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// Too many secrets, or too long a name.
    #[error("at most {SECRETS_MAX} keys, with names of 1 to {NAME_BYTES_MAX} bytes")]
    TooMuch,
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

fn missing_at(second: Option<&Path>) -> String {
    second.map(|path| format!(", which is not at {}", path.display())).unwrap_or_default()
}

impl VaultError {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotThere { .. } => ExitCode::Configuration,
            Self::AlreadyThere { .. } | Self::SecretAlreadyThere { .. } => ExitCode::CannotCreate,
            Self::NotAVault { .. }
            | Self::Version { .. }
            | Self::SecondFactorDamaged { .. }
            | Self::NoSuchSecret { .. } => ExitCode::BadData,
            Self::SecondFactorMissing { .. } | Self::WrongPassphraseOrDamaged { .. } => ExitCode::NotAllowed,
            Self::TooMuch => ExitCode::Usage,
            Self::Io { source, .. } => ExitCode::of_io(source),
            Self::Home(error) => error.exit_code(),
        }
    }
}

/// What a key file says before it is opened, so that a program knows what to ask for. Not authenticated until opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VaultNeeds {
    /// Whether it wants a passphrase.
    pub passphrase: bool,
    /// Whether it wants a second factor.
    pub second_factor: bool,
}

/// An open vault. No `Debug`; what it holds is wiped on drop. It keeps what seals its file, so that a program can change its
/// own keys while it runs; the passphrase itself it does not keep.
pub struct Vault {
    path: PathBuf,
    needs: VaultNeeds,
    second: Option<Secret<32>>,
    secrets: BTreeMap<String, Secret<32>>,
    sealer: KeyFileSealer,
}

/// The file around the key file.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Outer {
    #[n(0)]
    magic: String,
    #[n(1)]
    version: u32,
    #[n(2)]
    has_passphrase: bool,
    #[n(3)]
    has_second: bool,
    #[n(4)]
    sealed: Bytes,
}

impl Vault {
    /// Makes a key file in `dir` with a fresh secret for each name. `second` is the file of the second factor: one that is
    /// there is used (it may serve another vault), one that is not is made.
    ///
    /// # Errors
    /// `AlreadyThere`, `TooMuch`, `SecretAlreadyThere` (a name twice), `SecondFactorDamaged`, `Io`, `Home`.
    pub fn create(
        dir: &Path,
        second: Option<&Path>,
        passphrase: &Passphrase,
        names: &[&str],
        entropy: &mut dyn Entropy,
    ) -> Result<Self, VaultError> {
        let secrets = names.iter().map(|name| (*name, Secret::random(entropy))).collect();
        Self::create_with(dir, second, passphrase, secrets, entropy)
    }

    /// The same with secrets that are given.
    ///
    /// # Errors
    /// As [`Vault::create`].
    pub fn create_with(
        dir: &Path,
        second: Option<&Path>,
        passphrase: &Passphrase,
        secrets: Vec<(&str, Secret<32>)>,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, VaultError> {
        let path = dir.join(VAULT_FILE);
        if path.try_exists().map_err(|source| VaultError::Io { path: path.clone(), source })? {
            return Err(VaultError::AlreadyThere { path });
        }
        let needs = VaultNeeds { passphrase: !passphrase.is_none(), second_factor: second.is_some() };
        let mut held = BTreeMap::new();
        for (name, secret) in secrets {
            put(&path, &mut held, name, secret)?;
        }
        create_private(dir)?;
        // The factor first: keys whose second factor never reached the disk would be lost.
        let second = second.map(|file| make_second_factor(file, entropy)).transpose()?;
        let sealer = new_sealer(&path, passphrase, second.as_ref(), entropy)?;
        let vault = Self { path, needs, second, secrets: held, sealer };
        vault.write(&vault.secrets, &vault.sealer, entropy)?;
        Ok(vault)
    }

    /// What the key file in `dir` asks for.
    ///
    /// # Errors
    /// `NotThere`, `NotAVault`, `Version`, `Io`.
    pub fn needs(dir: &Path) -> Result<VaultNeeds, VaultError> {
        read_outer(&dir.join(VAULT_FILE)).map(|(needs, _)| needs)
    }

    /// Opens the key file in `dir`. `second` is where its second factor lies if it has one; a vault without one ignores it.
    ///
    /// # Errors
    /// `NotThere`, `NotAVault`, `Version`, `SecondFactorMissing`, `SecondFactorDamaged`, `WrongPassphraseOrDamaged`, `Io`.
    pub fn open(dir: &Path, second: Option<&Path>, passphrase: &Passphrase) -> Result<Self, VaultError> {
        let path = dir.join(VAULT_FILE);
        let (needs, sealed) = read_outer(&path)?;
        let second = needs.second_factor.then(|| need_second_factor(&path, second)).transpose()?;
        let (sealer, plain) = KeyFileSealer::open(&sealed, passphrase.expose(), second.as_ref())
            .map_err(|error| of_key_file(&path, error))?;
        let secrets = decode_content(&plain, needs)
            .ok_or_else(|| VaultError::WrongPassphraseOrDamaged { path: path.clone() })?;
        Ok(Self { path, needs, second, secrets, sealer })
    }

    /// A secret by its name.
    ///
    /// # Errors
    /// `NoSuchSecret`.
    pub fn secret(&self, name: &str) -> Result<Secret<32>, VaultError> {
        self.secrets
            .get(name)
            .map(Secret::duplicate)
            .ok_or_else(|| VaultError::NoSuchSecret { path: self.path.clone(), name: name.to_owned() })
    }

    /// The names of its secrets, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.secrets.keys().map(String::as_str)
    }

    /// Whether it is protected by a passphrase; if not, its program says so each time.
    #[must_use]
    pub const fn has_passphrase(&self) -> bool {
        self.needs.passphrase
    }

    /// Adds a fresh secret and stores the file.
    ///
    /// # Errors
    /// As [`Vault::insert`].
    pub fn add(
        &mut self,
        name: &str,
        passphrase: &Passphrase,
        entropy: &mut dyn Entropy,
    ) -> Result<(), VaultError> {
        let secret = Secret::random(entropy);
        self.insert(name, secret, passphrase, entropy)
    }

    /// Adds a secret that is given and stores the file. The passphrase is checked first, so that a slip does not become the
    /// new one; what is stored by then counts, not what was read before.
    ///
    /// # Errors
    /// `WrongPassphraseOrDamaged`, `SecretAlreadyThere`, `TooMuch`, `Io`, `Home`; nothing has changed then.
    pub fn insert(
        &mut self,
        name: &str,
        secret: Secret<32>,
        passphrase: &Passphrase,
        entropy: &mut dyn Entropy,
    ) -> Result<(), VaultError> {
        let (needs, sealed) = read_outer(&self.path)?;
        let (_, plain) = KeyFileSealer::open(&sealed, passphrase.expose(), self.second.as_ref())
            .map_err(|error| of_key_file(&self.path, error))?;
        let mut secrets = self.content(&plain, needs)?;
        put(&self.path, &mut secrets, name, secret)?;
        let sealer = new_sealer(&self.path, passphrase, self.second.as_ref(), entropy)?;
        self.write(&secrets, &sealer, entropy)?;
        (self.secrets, self.sealer) = (secrets, sealer);
        Ok(())
    }

    fn content(&self, plain: &[u8], needs: VaultNeeds) -> Result<BTreeMap<String, Secret<32>>, VaultError> {
        let content = decode_content(plain, needs).filter(|_| needs == self.needs);
        content.ok_or_else(|| VaultError::WrongPassphraseOrDamaged { path: self.path.clone() })
    }

    fn write(
        &self,
        secrets: &BTreeMap<String, Secret<32>>,
        sealer: &KeyFileSealer,
        entropy: &mut dyn Entropy,
    ) -> Result<(), VaultError> {
        let sealed = sealer.seal(&encode_content(secrets, self.needs), entropy);
        let outer = Outer {
            magic: MAGIC.to_owned(),
            version: VERSION,
            has_passphrase: self.needs.passphrase,
            has_second: self.needs.second_factor,
            sealed: Bytes(sealed),
        };
        Ok(write_private(&self.path, &encode(&outer))?)
    }
}

fn put(
    path: &Path,
    secrets: &mut BTreeMap<String, Secret<32>>,
    name: &str,
    secret: Secret<32>,
) -> Result<(), VaultError> {
    if secrets.contains_key(name) {
        return Err(VaultError::SecretAlreadyThere { path: path.to_owned(), name: name.to_owned() });
    }
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || secrets.len() >= SECRETS_MAX {
        return Err(VaultError::TooMuch);
    }
    secrets.insert(name.to_owned(), secret);
    Ok(())
}

fn new_sealer(
    path: &Path,
    passphrase: &Passphrase,
    second: Option<&Secret<32>>,
    entropy: &mut dyn Entropy,
) -> Result<KeyFileSealer, VaultError> {
    // Without a passphrase the second factor alone protects: it is drawn, and nobody gains by trying.
    let none = passphrase.expose().is_empty();
    let params = if none { KeyFileParams::cheapest() } else { KeyFileParams::default() };
    KeyFileSealer::new(passphrase.expose(), second, params, entropy).map_err(|error| of_key_file(path, error))
}

/// Reads at most what a file of ours can have.
fn read_bounded(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    use io::Read as _;
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let room = usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn read_outer(path: &Path) -> Result<(VaultNeeds, Vec<u8>), VaultError> {
    let read = read_bounded(path).map_err(|source| VaultError::Io { path: path.to_owned(), source })?;
    let bytes = read.ok_or_else(|| VaultError::NotThere { path: path.to_owned() })?;
    let foreign = || VaultError::NotAVault { path: path.to_owned() };
    // Magic and version are looked at first: a later version may have another shape.
    let mut head = minicbor::Decoder::new(&bytes);
    head.array().map_err(|_| foreign())?;
    if !head.str().is_ok_and(|magic| magic == MAGIC) {
        return Err(foreign());
    }
    let version = head.u32().map_err(|_| foreign())?;
    if version != VERSION {
        return Err(VaultError::Version { path: path.to_owned(), version });
    }
    let outer: Outer = decode_strict(&bytes).map_err(|_| foreign())?;
    let needs = VaultNeeds { passphrase: outer.has_passphrase, second_factor: outer.has_second };
    Ok((needs, outer.sealed.0))
}

fn of_key_file(path: &Path, error: KeyFileError) -> VaultError {
    let path = path.to_owned();
    match error {
        // What the outer file says about the factor is not what the inner one says: somebody has changed it.
        KeyFileError::SecondFactorMissing
        | KeyFileError::SecondFactorUnexpected
        | KeyFileError::WrongPassphraseOrDamaged => VaultError::WrongPassphraseOrDamaged { path },
        KeyFileError::NotAKeyFile | KeyFileError::Version { .. } | KeyFileError::Params => {
            VaultError::NotAVault { path }
        }
    }
}

fn encode_content(secrets: &BTreeMap<String, Secret<32>>, needs: VaultNeeds) -> Zeroizing<Vec<u8>> {
    // Room for everything at once: a vector that grows leaves copies of the secrets behind.
    let room = SECRETS_MAX.saturating_mul(NAME_BYTES_MAX.saturating_add(48));
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    let mut e = minicbor::Encoder::new(&mut *content);
    let count = u64::try_from(secrets.len()).unwrap_or(u64::MAX);
    let written = e
        .array(3)
        .and_then(|e| e.u32(VERSION))
        .and_then(|e| e.bool(needs.passphrase))
        .and_then(|e| e.array(count))
        .and_then(|e| {
            secrets.iter().try_fold(e, |e, (name, secret)| e.array(2)?.str(name)?.bytes(secret.expose()))
        });
    debug_assert!(written.is_ok(), "a vector takes every byte");
    content
}

/// None if it is not exactly what [`encode_content`] writes, which only a key file of somebody else's can be.
fn decode_content(plain: &[u8], needs: VaultNeeds) -> Option<BTreeMap<String, Secret<32>>> {
    let mut d = minicbor::Decoder::new(plain);
    let head = d.array().ok()? == Some(3) && d.u32().ok()? == VERSION && d.bool().ok()? == needs.passphrase;
    let count = d.array().ok()?.filter(|_| head)?;
    let mut secrets = BTreeMap::new();
    for _ in 0..count {
        (d.array().ok()? == Some(2)).then_some(())?;
        let name = d.str().ok()?.to_owned();
        secrets.insert(name, Secret::from_slice(d.bytes().ok()?)?);
    }
    (*encode_content(&secrets, needs) == plain).then_some(secrets)
}

fn need_second_factor(vault: &Path, file: Option<&Path>) -> Result<Secret<32>, VaultError> {
    let found = file.map(read_second_factor).transpose()?.flatten();
    found.ok_or_else(|| VaultError::SecondFactorMissing {
        vault: vault.to_owned(),
        second: file.map(Path::to_owned),
    })
}

/// The factor in a file; none if there is no file.
fn read_second_factor(file: &Path) -> Result<Option<Secret<32>>, VaultError> {
    let read = read_bounded(file).map_err(|source| VaultError::Io { path: file.to_owned(), source })?;
    let Some(text) = read else { return Ok(None) };
    let damaged = || VaultError::SecondFactorDamaged { path: file.to_owned() };
    let bytes = HEXLOWER_PERMISSIVE.decode(text.trim_ascii()).map(Zeroizing::new).map_err(|_| damaged())?;
    Secret::from_slice(&bytes).map(Some).ok_or_else(damaged)
}

fn make_second_factor(file: &Path, entropy: &mut dyn Entropy) -> Result<Secret<32>, VaultError> {
    if let Some(there) = read_second_factor(file)? {
        return Ok(there);
    }
    if let Some(dir) = file.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        create_private(dir)?;
    }
    let factor = Secret::random(entropy);
    let mut line = Zeroizing::new(HEXLOWER_PERMISSIVE.encode(factor.expose()).into_bytes());
    line.reserve_exact(1);
    line.push(b'\n');
    write_private(file, &line)?;
    Ok(factor)
}
