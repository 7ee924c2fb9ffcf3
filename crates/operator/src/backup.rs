//! A backup beside a running operator: both lanes as of one moment, the settings, the sealed keys, the archives of
//! epochs that were dropped, and a list of what is in it. Source: the issue (`backup`, `restore`); books.md, "Identity apart"; docs/operator.md, "What never lies together".
//!
//! Not in it: the second factor and the key module's vault (they would lie with what they open, and with the other half of
//! the coin keys), `bank.access` and `admin.token` (they are in the clear), and anything else that lies in the folder.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use florin_books::LaneId;
use florin_crypto::{Digest, FileDigest, MacKey};
use florin_parties::network_id;
use florin_rail::{Blame, Class, Refusal};
use florin_shell::exit::ExitCode;
use florin_shell::home::{HomeError, create_private, write_private};
use florin_shell::vault::VAULT_FILE;
use florin_store::{Copied, StoreError};
use serde::{Deserialize, Serialize};

use crate::archive::{ARCHIVE_DIR, is_archive};
use crate::init::CONFIG_FILE;
use crate::lanes::{BOOKS, IDENTITY, folder};
use crate::module::PROOF_FILE;
use crate::operator::Operator;

/// The list of what is in a backup; written last.
pub const MANIFEST_FILE: &str = "manifest.json";
const FORMAT: u32 = 1;
/// A list is not larger.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// A backup that was asked for and not made.
pub const NO_BACKUP: Refusal = Refusal::new("backup-not-made", Class::Conflict, Blame::Asker, false);

/// A lane in a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestLane {
    /// Which.
    pub lane: u16,
    /// Its last record.
    pub seq: u64,
    /// The chain there, hexadecimal; empty where there are no records.
    pub chain: String,
}

/// A file in a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Where, below the backup's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// What is in a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Raised with every change of the layout.
    pub format: u32,
    /// Whose.
    pub operator: String,
    /// When it was made.
    pub made_unix_ms: u64,
    /// How far the lanes had come.
    pub lanes: Vec<ManifestLane>,
    /// Every file but this one.
    pub files: Vec<ManifestFile>,
    /// Shows that the operator made this list; hexadecimal.
    pub tag: String,
}

/// Why a backup cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It would be mixed with something else.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// It would be gone together with what it is a copy of, or lie together with the keys that open it.
    #[error("{0} lies within the state that is backed up, or within its keys")]
    Inside(PathBuf),
    /// A path that means something else to the operator.
    #[error("{0} is not a plain absolute path")]
    Relative(PathBuf),
    /// There is no list, or it is none.
    #[error("{0} is no list of a backup of this format")]
    NoManifest(PathBuf),
    /// A file is missing, changed or too many.
    #[error("{file}: {why}")]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The list is not this operator's.
    #[error("the list of files was not made by this operator")]
    NotOurs,
    /// A lane is not what the list says.
    #[error("the {0} lane in the backup does not end where its list says")]
    Lane(&'static str),
    /// The books.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// A file or folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// It was interrupted.
    #[error("the backup was interrupted")]
    Interrupted,
}

impl BackupError {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotEmpty(_) | Self::Inside(_) => ExitCode::CannotCreate,
            Self::Relative(_) => ExitCode::Usage,
            Self::NoManifest(_) | Self::File { .. } | Self::NotOurs | Self::Lane(_) => ExitCode::BadData,
            Self::Store(e) => ExitCode::of_store(e),
            Self::Io(_, e) => ExitCode::of_io(e),
            Self::Home(e) => e.exit_code(),
            Self::Interrupted => ExitCode::Io,
        }
    }
}

/// Where a path leads to, as far as it is there.
fn real(path: &Path) -> Result<PathBuf, BackupError> {
    let mut there = path;
    loop {
        match fs::canonicalize(there) {
            Ok(real) => return Ok(real.join(path.strip_prefix(there).unwrap_or(Path::new("")))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                there = there.parent().ok_or_else(|| BackupError::Relative(path.to_owned()))?;
            }
            Err(error) => return Err(io(there)(error)),
        }
    }
}

/// A backup goes into a folder that is not there, or is empty.
///
/// # Errors
/// `NotEmpty`, `Io`.
pub fn is_free(to: &Path) -> Result<(), BackupError> {
    if to.exists() && fs::read_dir(to).map_err(io(to))?.next().is_some() {
        return Err(BackupError::NotEmpty(to.to_owned()));
    }
    Ok(())
}

/// What was backed up, or checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackupReport {
    /// Where it is.
    pub folder: PathBuf,
    /// When it was made.
    pub made_unix_ms: u64,
    /// The last record of the identity lane.
    pub identity_seq: u64,
    /// The last record of the books lane.
    pub books_seq: u64,
    /// How many files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whether the books in it were read with their keys, every byte, or only the files compared with their digests.
    pub books_read: bool,
}

impl BackupReport {
    /// What a list says of its backup.
    #[must_use]
    pub fn of(folder: &Path, manifest: &Manifest, books_read: bool) -> Self {
        let seq = |lane: LaneId| manifest.lanes.iter().find(|l| l.lane == lane.0).map_or(0, |line| line.seq);
        Self {
            folder: folder.to_owned(),
            made_unix_ms: manifest.made_unix_ms,
            identity_seq: seq(IDENTITY),
            books_seq: seq(BOOKS),
            files: manifest.files.len(),
            bytes: manifest.files.iter().map(|f| f.bytes).fold(0, u64::saturating_add),
            books_read,
        }
    }
}

impl fmt::Display for BackupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = crate::standing::date(florin_books::Timestamp(self.made_unix_ms));
        writeln!(f, "Backup in {}, made {made}", self.folder.display())?;
        writeln!(f, "  identity lane  {} records", self.identity_seq)?;
        writeln!(f, "  books lane     {} records", self.books_seq)?;
        write!(f, "  files          {}, {} bytes", self.files, self.bytes)?;
        if self.books_read {
            return Ok(());
        }
        write!(f, "\nOnly the files were compared with their digests; the books in them were not read.")
    }
}

/// Writes a backup into an empty or new folder, beside the running operator.
///
/// What crosses from one lane to the other waits meanwhile, and only that: so no purchase can be paid for in one copy and
/// handed over in neither, or redeemed in neither copy and paid out in one.
///
/// # Errors
/// [`BackupError`].
pub async fn backup(operator: &Arc<Operator>, to: &Path) -> Result<BackupReport, BackupError> {
    let still = Arc::clone(&operator.crossing).write_owned().await;
    let (working, to) = (Arc::clone(operator), to.to_owned());
    // Nothing crosses until the copy is whole, also if who asked for it has gone meanwhile.
    let made = tokio::task::spawn_blocking(move || {
        let made = backup_now(&working, &to);
        drop(still);
        made
    });
    made.await.map_err(|_| BackupError::Interrupted)?
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> BackupError + '_ {
    move |e| BackupError::Io(path.to_owned(), e)
}

/// The same for an operator that carries nothing meanwhile.
fn backup_now(operator: &Operator, to: &Path) -> Result<BackupReport, BackupError> {
    if !to.is_absolute() {
        return Err(BackupError::Relative(to.to_owned()));
    }
    // What `..` leads out of may not be there yet.
    if to.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(BackupError::Relative(to.to_owned()));
    }
    let real = real(to)?;
    let keys = operator.places.second.as_deref().and_then(Path::parent);
    // A folder of keys that was carried away holds nothing to lie beside.
    let folders = [Some(operator.state.as_path()), keys].into_iter().flatten();
    if folders.filter_map(|folder| fs::canonicalize(folder).ok()).any(|folder| real.starts_with(folder)) {
        return Err(BackupError::Inside(to.to_owned()));
    }
    is_free(to)?;
    create_private(to)?;
    let mut lanes = Vec::new();
    for (house, id) in [(&operator.lanes.books, BOOKS), (&operator.lanes.identity, IDENTITY)] {
        let copied = house.books.backup(&to.join(folder(id)))?;
        lanes.push(lane_line(id, &copied));
    }
    copy_file(&operator.state, to, Path::new(CONFIG_FILE))?;
    copy_file(&operator.state, to, Path::new(VAULT_FILE))?;
    if operator.state.join(PROOF_FILE).exists() {
        copy_file(&operator.state, to, Path::new(PROOF_FILE))?;
    }
    copy_archives(&operator.state, to)?;
    let mut manifest = Manifest {
        format: FORMAT,
        operator: network_id(operator.id),
        made_unix_ms: operator.clock.now().0,
        lanes,
        files: list(to)?,
        tag: String::new(),
    };
    manifest.tag = manifest.tag_with(&operator.backup_key);
    let text = serde_json::to_vec_pretty(&manifest).map_err(|_| BackupError::NoManifest(to.to_owned()))?;
    write_private(&to.join(MANIFEST_FILE), &text)?;
    tracing::info!(folder = %to.display(), "a backup was made");
    Ok(BackupReport::of(to, &manifest, false))
}

fn copy_file(state: &Path, to: &Path, name: &Path) -> Result<(), BackupError> {
    let from = state.join(name);
    let content = fs::read(&from).map_err(io(&from))?;
    Ok(write_private(&to.join(name), &content)?)
}

/// What the dropped epochs left: the books name each file by its digest.
fn copy_archives(state: &Path, to: &Path) -> Result<(), BackupError> {
    let dir = state.join(ARCHIVE_DIR);
    if !dir.exists() {
        return Ok(());
    }
    create_private(&to.join(ARCHIVE_DIR))?;
    for entry in fs::read_dir(&dir).map_err(io(&dir))? {
        let name = entry.map_err(io(&dir))?.file_name();
        if is_archive(&name) {
            copy_file(state, to, &Path::new(ARCHIVE_DIR).join(&name))?;
        }
    }
    Ok(())
}

fn lane_line(lane: LaneId, copied: &Copied) -> ManifestLane {
    let chain = copied.chain.map_or_else(String::new, |c| HEXLOWER.encode(c.as_bytes()));
    ManifestLane { lane: lane.0, seq: copied.last.0, chain }
}

/// Every file below a folder but the list, with its digest.
fn list(dir: &Path) -> Result<Vec<ManifestFile>, BackupError> {
    let mut files = Vec::new();
    for below in [PathBuf::new(), folder(BOOKS).into(), folder(IDENTITY).into(), ARCHIVE_DIR.into()] {
        let at = dir.join(&below);
        if below == Path::new(ARCHIVE_DIR) && !at.exists() {
            continue;
        }
        for entry in fs::read_dir(&at).map_err(io(&at))? {
            let entry = entry.map_err(io(&at))?;
            let path = below.join(entry.file_name());
            if !entry.file_type().map_err(io(&entry.path()))?.is_file() || path == Path::new(MANIFEST_FILE) {
                continue;
            }
            let (bytes, sha256) = digest_of(&entry.path())?;
            let path = path.to_str().ok_or(BackupError::File { file: entry.path(), why: "its name" })?;
            files.push(ManifestFile { path: path.to_owned(), bytes, sha256 });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn digest_of(file: &Path) -> Result<(u64, String), BackupError> {
    let mut from = File::open(file).map_err(io(file))?;
    let (mut digest, mut bytes, mut piece) = (FileDigest::default(), 0u64, vec![0; 1 << 16]);
    loop {
        let read = from.read(&mut piece).map_err(io(file))?;
        if read == 0 {
            let Digest(sum) = digest.finish();
            return Ok((bytes, HEXLOWER.encode(&sum)));
        }
        digest.update(piece.get(..read).unwrap_or_default());
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}

impl Manifest {
    fn tag_with(&self, key: &MacKey) -> String {
        let bare = Self { tag: String::new(), ..self.clone() };
        let bytes = serde_json::to_vec(&bare).unwrap_or_default();
        HEXLOWER.encode(&key.tag("florin/v1/operator/backup", &[&bytes]))
    }

    /// Reads a backup's list and compares every file with it: none may be missing, changed or too many.
    ///
    /// # Errors
    /// `NoManifest`, `File`, `Io`.
    pub fn check(dir: &Path) -> Result<Self, BackupError> {
        let file = dir.join(MANIFEST_FILE);
        let size = fs::metadata(&file).map_err(io(&file))?.len();
        let none = || BackupError::NoManifest(file.clone());
        if size > MANIFEST_BYTES_MAX {
            return Err(none());
        }
        let manifest: Self =
            serde_json::from_slice(&fs::read(&file).map_err(io(&file))?).map_err(|_| none())?;
        if manifest.format != FORMAT {
            return Err(none());
        }
        let wrong = |file: PathBuf, why| BackupError::File { file, why };
        let mut names = BTreeSet::new();
        for line in &manifest.files {
            let path = Path::new(&line.path);
            if path.components().any(|c| !matches!(c, Component::Normal(_))) || !names.insert(path) {
                return Err(wrong(path.to_owned(), "its place is outside of the backup, or named twice"));
            }
        }
        let found = list(dir)?;
        for line in &found {
            match manifest.files.iter().find(|f| f.path == line.path) {
                None => return Err(wrong(dir.join(&line.path), "it is not in the list")),
                Some(listed) if listed != line => return Err(wrong(dir.join(&line.path), "it was changed")),
                Some(_) => {}
            }
        }
        if let Some(gone) = manifest.files.iter().find(|f| !found.contains(f)) {
            return Err(wrong(dir.join(&gone.path), "it is missing"));
        }
        Ok(manifest)
    }

    /// Whether this operator made the list.
    ///
    /// # Errors
    /// `NotOurs`.
    pub(crate) fn is_of(&self, operator: &str, key: &MacKey) -> Result<(), BackupError> {
        let ours = self.operator == operator && self.tag == self.tag_with(key);
        if ours { Ok(()) } else { Err(BackupError::NotOurs) }
    }

    /// Whether a lane ends where the list says.
    pub(crate) fn ends(&self, lane: LaneId, copied: &Copied) -> Result<(), BackupError> {
        let name = if lane == IDENTITY { "identity" } else { "books" };
        let here = self.lanes.contains(&lane_line(lane, copied));
        if here { Ok(()) } else { Err(BackupError::Lane(name)) }
    }
}
