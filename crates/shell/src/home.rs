//! Where a program keeps its state and its keys, and how private files are written: readable by their owner only,
//! whole or not at all. Source: architecture.md, "Conventions"; XDG Base Directory Specification 0.8.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use florin_crypto::random;

use crate::entropy::OsEntropy;
use crate::exit::ExitCode;

/// Folders: the owner only.
const DIR_MODE: u32 = 0o700;
/// Files: the owner only.
const FILE_MODE: u32 = 0o600;
/// What others may do with a folder.
const OTHERS: u32 = 0o077;
/// A folder that everybody may put things into.
const STICKY: u32 = 0o1000;

/// Why there is no place for a program's files, in the order of checking.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// A role is a word of lower-case letters, digits and hyphens.
    #[error("{role:?} is no role: lower-case letters, digits and hyphens only")]
    BadRole {
        /// What was given.
        role: String,
    },
    /// Nothing says where the user's files are.
    #[error("no place for files: neither {variable} nor HOME is set")]
    NoHome {
        /// The variable that would say it.
        variable: &'static str,
    },
    /// There is something else of that name.
    #[error("{path} is not a folder")]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A folder that everybody writes to is no place for keys, and is not ours to close.
    #[error("{path} is a folder shared by everybody: choose one of its own")]
    SharedFolder {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl HomeError {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::BadRole { .. } => ExitCode::Usage,
            Self::NoHome { .. } => ExitCode::Configuration,
            Self::NotAFolder { .. } | Self::SharedFolder { .. } => ExitCode::CannotCreate,
            Self::Io { source, .. } => ExitCode::of_io(source),
        }
    }
}

/// The folder of a role's state: `$FLORIN_HOME/<role>`, else `$XDG_STATE_HOME/florin/<role>`, else
/// `~/.local/state/florin/<role>`. It need not exist.
///
/// # Errors
/// `BadRole`, `NoHome`, `Io` (no current folder to start a relative path from).
pub fn role_dir(role: &str) -> Result<PathBuf, HomeError> {
    place(role, &STATE, &|name| std::env::var_os(name))
}

/// The folder of a role's second factor, which is another one than that of its state: `$FLORIN_KEYS/<role>`, else
/// `$XDG_CONFIG_HOME/florin/keys/<role>`, else `~/.config/florin/keys/<role>`. It need not exist.
///
/// # Errors
/// As [`role_dir`].
pub fn key_dir(role: &str) -> Result<PathBuf, HomeError> {
    place(role, &KEYS, &|name| std::env::var_os(name))
}

/// The three places to look, in order.
struct Places {
    own: &'static str,
    xdg: &'static str,
    below_xdg: &'static str,
    below_home: &'static str,
}

const STATE: Places = Places {
    own: "FLORIN_HOME",
    xdg: "XDG_STATE_HOME",
    below_xdg: "florin",
    below_home: ".local/state/florin",
};
const KEYS: Places = Places {
    own: "FLORIN_KEYS",
    xdg: "XDG_CONFIG_HOME",
    below_xdg: "florin/keys",
    below_home: ".config/florin/keys",
};

fn place(
    role: &str,
    places: &Places,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, HomeError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if role.is_empty() || !role.bytes().all(plain) {
        return Err(HomeError::BadRole { role: role.to_owned() });
    }
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = set(places.own) {
        let own = std::path::absolute(&own).map_err(|source| HomeError::Io { path: own, source })?;
        return Ok(own.join(role));
    }
    // The specification says that a relative path in its variables is to be ignored.
    if let Some(xdg) = set(places.xdg).filter(|path| path.is_absolute()) {
        return Ok(xdg.join(places.below_xdg).join(role));
    }
    let home = set("HOME").filter(|path| path.is_absolute());
    let home = home.ok_or(HomeError::NoHome { variable: places.own })?;
    Ok(home.join(places.below_home).join(role))
}

/// Makes a folder, and those above it, for its owner only; one that is there is closed to others.
///
/// # Errors
/// `NotAFolder`, `SharedFolder`, `Io`.
pub fn create_private(dir: &Path) -> Result<(), HomeError> {
    let io = |source| HomeError::Io { path: dir.to_owned(), source };
    match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).map_err(io)
        }
        Err(error) => Err(io(error)),
        Ok(found) if !found.is_dir() => Err(HomeError::NotAFolder { path: dir.to_owned() }),
        Ok(found) => match found.permissions().mode() {
            mode if mode & STICKY != 0 => Err(HomeError::SharedFolder { path: dir.to_owned() }),
            mode if mode & OTHERS != 0 => {
                fs::set_permissions(dir, fs::Permissions::from_mode(DIR_MODE)).map_err(io)
            }
            _ => Ok(()),
        },
    }
}

/// Writes a file for its owner only. After a crash there is the old content or the new, never a part; when this returns,
/// the new content is on the disk.
///
/// # Errors
/// `Io`; the old file is then untouched.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let io = |source| HomeError::Io { path: path.to_owned(), source };
    let aside = aside(path).ok_or_else(|| io(io::ErrorKind::InvalidFilename.into()))?;
    let written = write_new(&aside, bytes).and_then(|()| fs::rename(&aside, path));
    if let Err(source) = written {
        // What is left aside helps nobody; the first error is the one to tell.
        let _ = fs::remove_file(&aside);
        return Err(io(source));
    }
    sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(io)
}

/// A name next to the file's own that nobody else has.
fn aside(path: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name()?);
    name.push(format!(".{:016x}", u64::from_be_bytes(random(&mut OsEntropy))));
    Some(path.with_file_name(name))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A rename is durable when its folder is.
fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(places: &Places, variables: &[(&str, &str)]) -> Result<String, HomeError> {
        let lookup = |name: &str| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value))
        };
        place("wallet", places, &lookup).map(|path| path.to_string_lossy().into_owned())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_first_place_that_is_set_is_taken() {
        let all = [("FLORIN_HOME", "/f"), ("FLORIN_KEYS", "/k"), ("XDG_STATE_HOME", "/s"), ("HOME", "/h")];
        assert_eq!(find(&STATE, &all).unwrap(), "/f/wallet");
        assert_eq!(find(&KEYS, &all).unwrap(), "/k/wallet");
        assert_eq!(find(&STATE, &all[2..]).unwrap(), "/s/florin/wallet");
        assert_eq!(find(&STATE, &all[3..]).unwrap(), "/h/.local/state/florin/wallet");
        assert_eq!(find(&KEYS, &all[3..]).unwrap(), "/h/.config/florin/keys/wallet");
        assert_eq!(
            find(&KEYS, &[("XDG_CONFIG_HOME", "/c"), ("HOME", "/h")]).unwrap(),
            "/c/florin/keys/wallet"
        );
    }

    #[test]
    fn empty_and_relative_variables_of_others_do_not_count() {
        let odd = [("FLORIN_HOME", ""), ("XDG_STATE_HOME", "rel"), ("HOME", "/h")];
        assert_eq!(find(&STATE, &odd).unwrap(), "/h/.local/state/florin/wallet");
        let own = find(&STATE, &[("FLORIN_HOME", "rel")]).unwrap();
        assert!(own.starts_with('/') && own.ends_with("/rel/wallet"), "{own}");
        assert!(matches!(find(&KEYS, &[]), Err(HomeError::NoHome { variable: "FLORIN_KEYS" })));
    }

    #[test]
    fn a_role_cannot_lead_elsewhere() {
        for role in ["", "..", "a/b", "Wallet", "a b", "a\0b"] {
            let found = place(role, &STATE, &|_| Some(OsString::from("/f")));
            assert!(matches!(found, Err(HomeError::BadRole { .. })), "{role:?}");
        }
    }

    #[test]
    fn folders_are_made_private_and_wide_ones_are_closed() {
        let top = tempfile::tempdir().unwrap();
        let deep = top.path().join("a/b");
        create_private(&deep).unwrap();
        assert_eq!((mode(&deep), mode(&top.path().join("a"))), (0o700, 0o700));
        fs::set_permissions(&deep, fs::Permissions::from_mode(0o755)).unwrap();
        create_private(&deep).unwrap();
        assert_eq!(mode(&deep), 0o700);
    }

    #[test]
    fn files_and_shared_folders_are_refused_and_left_alone() {
        let top = tempfile::tempdir().unwrap();
        let (file, shared) = (top.path().join("file"), top.path().join("shared"));
        fs::write(&file, b"x").unwrap();
        assert!(matches!(create_private(&file), Err(HomeError::NotAFolder { .. })));
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(matches!(create_private(&shared), Err(HomeError::SharedFolder { .. })));
        assert_eq!(mode(&shared), 0o1777);
    }

    #[test]
    fn files_are_private_and_replaced_whole() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("key");
        fs::write(&path, b"old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (b"new".as_slice(), 0o600));
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_behind() {
        let top = tempfile::tempdir().unwrap();
        let taken = top.path().join("taken");
        fs::create_dir_all(taken.join("full")).unwrap();
        assert!(matches!(write_private(&taken, b"x"), Err(HomeError::Io { .. })));
        assert!(matches!(write_private(&top.path().join("none/key"), b"x"), Err(HomeError::Io { .. })));
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 1);
    }
}
