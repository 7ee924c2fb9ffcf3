//! Restoring a backup into an empty state, which then serves nothing until a person accepts it.
//! Source: the issue ("a stale restore that is noticed and serves nothing until a person says so").

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use florin_books::{Clock, Timestamp};
use florin_parties::network_id;
use florin_shell::clock::SystemClock;
use florin_shell::exit::ExitCode;
use florin_shell::home::{HomeError, create_private, write_private};
use florin_shell::passphrase::Passphrase;
use florin_shell::vault::{VAULT_FILE, VaultError};
use florin_store::{SqliteStore, StoreKeys};
use serde::{Deserialize, Serialize};

use crate::admin::AdminToken;
use crate::archive::ARCHIVE_DIR;
use crate::backup::{BackupError, BackupReport, Manifest};
use crate::init::CONFIG_FILE;
use crate::keys::{OperatorVaults, VaultPlaces};
use crate::lanes::{BOOKS, IDENTITY, folder};
use crate::module::PROOF_FILE;
use crate::standing::date;

/// That the state comes from a backup and nobody has accepted it yet.
pub const RESTORED_FILE: &str = "restored";

/// What the marker says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// When the backup was made, for people.
    pub made: String,
    /// When it was restored.
    pub restored_unix_ms: u64,
    /// Where it lay.
    pub from: PathBuf,
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The vaults.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// There is something already.
    #[error("{0} is there already: a backup is restored into an empty state only")]
    There(PathBuf),
    /// A file.
    #[error(transparent)]
    Home(#[from] HomeError),
}

impl RestoreError {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Backup(e) => e.exit_code(),
            Self::Vault(e) => e.exit_code(),
            Self::There(_) => ExitCode::CannotCreate,
            Self::Home(e) => e.exit_code(),
        }
    }
}

/// What was restored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RestoreReport {
    /// Where to.
    pub state: PathBuf,
    /// What was restored.
    pub backup: BackupReport,
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Restored into {}", self.state.display())?;
        writeln!(f, "{}", self.backup)?;
        writeln!(f, "Not in a backup: bank.access; put it where operator.toml says (bank.access_file).")?;
        write!(f, "Nothing is served until: florin operator restore --accept --reason TEXT")
    }
}

/// What the marker in a state says, if it comes from a backup that nobody has accepted. A marker that cannot be read is
/// one all the same.
#[must_use]
pub fn restored(state: &Path) -> Option<Restored> {
    let text = match fs::read(state.join(RESTORED_FILE)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        Err(_) => Vec::new(),
    };
    let unknown = Restored { made: "an unknown time".into(), restored_unix_ms: 0, from: PathBuf::new() };
    Some(serde_json::from_slice(&text).unwrap_or(unknown))
}

/// Takes the marker away.
pub(crate) fn clear(state: &Path) -> Result<(), HomeError> {
    let path = state.join(RESTORED_FILE);
    match fs::remove_file(&path).and_then(|()| fs::File::open(state)?.sync_all()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(HomeError::Io { path, source }),
        Ok(()) => Ok(()),
    }
}

/// Checks a backup with its keys: the list is the operator's own, every byte of both copies of both lanes verifies, and
/// they end where the list says. Nothing is changed.
///
/// # Errors
/// [`RestoreError`].
pub fn check(
    from: &Path,
    places: &VaultPlaces,
    passphrase: &Passphrase,
) -> Result<BackupReport, RestoreError> {
    let manifest = Manifest::check(from)?;
    let vaults = OperatorVaults::open_backup(from, places, passphrase)?;
    manifest.is_of(&network_id(vaults.id()?), &vaults.backup_key()?)?;
    for (lane, name) in [(IDENTITY, "identity"), (BOOKS, "books")] {
        let keys = StoreKeys::new(&vaults.store_key(name)?);
        let copied = SqliteStore::check(&from.join(folder(lane)), lane, &keys);
        manifest.ends(lane, &copied.map_err(BackupError::from)?)?;
    }
    Ok(BackupReport::of(from, &manifest, true))
}

/// Restores a backup into a state that is not there yet, and marks it as restored.
///
/// # Errors
/// [`RestoreError`]; nothing was put in place then, or the state is marked as restored.
pub fn restore(
    from: &Path,
    places: &VaultPlaces,
    passphrase: &Passphrase,
) -> Result<RestoreReport, RestoreError> {
    let state = &places.state;
    for name in [CONFIG_FILE, VAULT_FILE, PROOF_FILE, ARCHIVE_DIR, folder(IDENTITY), folder(BOOKS)] {
        if state.join(name).exists() {
            return Err(RestoreError::There(state.join(name)));
        }
    }
    let report = check(from, places, passphrase)?;
    let manifest = Manifest::check(from)?;
    create_private(state)?;
    let marker = Restored {
        made: date(Timestamp(manifest.made_unix_ms)),
        restored_unix_ms: SystemClock.now().0,
        from: from.to_owned(),
    };
    // The marker first: whatever lies here from now on serves nothing.
    let marker = serde_json::to_vec_pretty(&marker).unwrap_or_default();
    write_private(&state.join(RESTORED_FILE), &marker)?;
    create_private(&state.join(folder(IDENTITY)))?;
    create_private(&state.join(folder(BOOKS)))?;
    if from.join(ARCHIVE_DIR).exists() {
        create_private(&state.join(ARCHIVE_DIR))?;
    }
    let last = |path: &str| path == CONFIG_FILE;
    let (settings, rest): (Vec<_>, Vec<_>) = manifest.files.iter().partition(|f| last(&f.path));
    for file in rest.into_iter().chain(settings) {
        copy(&from.join(&file.path), &state.join(&file.path))?;
    }
    AdminToken::create(state)?;
    Ok(RestoreReport { state: state.clone(), backup: report })
}

/// A file, private and durable, a piece at a time: books can be larger than memory.
fn copy(from: &Path, to: &Path) -> Result<(), RestoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let io = |source| RestoreError::Home(HomeError::Io { path: to.to_owned(), source });
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut out = options.open(to).map_err(io)?;
    let mut source = fs::File::open(from).map_err(io)?;
    std::io::copy(&mut source, &mut out).map_err(io)?;
    out.sync_all().map_err(io)?;
    let dir = to.parent().unwrap_or_else(|| Path::new("."));
    fs::File::open(dir).and_then(|d| d.sync_all()).map_err(io)
}
