//! The bad disk of `shim/disk.c`, from this side: compiled where it is needed, set up for a process, asked afterwards.
//! Source: reliability.md, R6 and R8.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::FaultsError;

const SOURCE: &str = include_str!("../shim/disk.c");
const SHARED_BYTES: usize = 40;

/// What a call that fails says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An error of the device.
    Eio,
    /// The disk is full.
    Enospc,
    /// Half of the bytes were written.
    Short,
}

/// Which call fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// How.
    pub kind: Kind,
    /// Which call, from 1.
    pub at: u64,
    /// And every call after it.
    pub sticky: bool,
}

/// The library, compiled.
pub struct Shim {
    library: PathBuf,
    shared: PathBuf,
}

/// What the process has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Calls that the damage asked for could fail.
    pub calls: u64,
    /// Calls that failed.
    pub faults: u64,
    /// Calls that each kind could have failed.
    pub by_kind: [u64; 3],
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Eio, Self::Enospc, Self::Short];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Eio => "eio",
            Self::Enospc => "enospc",
            Self::Short => "short",
        }
    }
}

impl Damage {
    /// As a finding names it.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} at call {}{}", self.kind.word(), self.at, if self.sticky { " and after" } else { "" })
    }
}

impl Shim {
    /// Compiles it into a folder, with the C compiler that building Florin needs anyway.
    ///
    /// # Errors
    /// `File`, `Program`, `Said`.
    pub fn build(folder: &Path) -> Result<Self, FaultsError> {
        let (source, library) = (folder.join("disk.c"), folder.join("disk.so"));
        let shared = folder.join("disk.shared");
        fs::write(&source, SOURCE).map_err(FaultsError::at(&source))?;
        fs::write(&shared, [0; SHARED_BYTES]).map_err(FaultsError::at(&shared))?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library).arg(&source);
        let made = cc.args(["-ldl", "-lpthread"]).output();
        let made = made.map_err(|source| FaultsError::Program { program: "cc".into(), source })?;
        if made.status.success() {
            return Ok(Self { library, shared });
        }
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        Err(FaultsError::Said { program: "cc".into(), said })
    }

    /// The environment of a process whose files below `dir` are on this disk; counting begins anew.
    ///
    /// # Errors
    /// `File`.
    pub fn environment(
        &self,
        dir: &Path,
        damage: Option<Damage>,
        log: Option<&Path>,
    ) -> Result<Vec<(&'static str, OsString)>, FaultsError> {
        fs::write(&self.shared, [0; SHARED_BYTES]).map_err(FaultsError::at(&self.shared))?;
        let mut environment: Vec<(&'static str, OsString)> = vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("FLORIN_DISK_DIR", dir.into()),
            ("FLORIN_DISK_SHARED", self.shared.clone().into()),
        ];
        if let Some(damage) = damage {
            environment.push(("FLORIN_DISK_KIND", damage.kind.word().into()));
            environment.push(("FLORIN_DISK_AT", damage.at.to_string().into()));
            environment.push(("FLORIN_DISK_STICKY", u8::from(damage.sticky).to_string().into()));
        }
        if let Some(log) = log {
            environment.push(("FLORIN_DISK_LOG", log.into()));
        }
        Ok(environment)
    }

    /// What the process has done so far.
    ///
    /// # Errors
    /// `File`.
    pub fn counted(&self) -> Result<Counted, FaultsError> {
        let bytes = fs::read(&self.shared).map_err(FaultsError::at(&self.shared))?;
        let word = |at: usize| {
            let place = at.saturating_mul(8);
            let word = bytes.get(place..).and_then(|rest| rest.first_chunk::<8>());
            word.map_or(0, |word| u64::from_ne_bytes(*word))
        };
        Ok(Counted { calls: word(0), faults: word(1), by_kind: [word(2), word(3), word(4)] })
    }
}

/// Copies a folder with everything in it. What lies in reserve for a full disk is nothing to copy.
///
/// # Errors
/// `File`.
pub fn copy(from: &Path, to: &Path) -> Result<(), FaultsError> {
    fs::create_dir_all(to).map_err(FaultsError::at(to))?;
    let mode = fs::metadata(from).map_err(FaultsError::at(from))?.permissions();
    fs::set_permissions(to, mode).map_err(FaultsError::at(to))?;
    for entry in fs::read_dir(from).map_err(FaultsError::at(from))? {
        let entry = entry.map_err(FaultsError::at(from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(FaultsError::at(&path))?;
        if kind.is_dir() {
            copy(&path, &target)?;
        } else if entry.file_name() == "reserve" {
            fs::write(&target, []).map_err(FaultsError::at(&target))?;
        } else if kind.is_file() {
            fs::copy(&path, &target).map_err(FaultsError::at(&path))?;
        }
    }
    Ok(())
}

/// Puts a folder back to what another one holds.
///
/// # Errors
/// `File`.
pub fn restore(from: &Path, to: &Path) -> Result<(), FaultsError> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(FaultsError::at(to)(error)),
        _ => copy(from, to),
    }
}

/// Every file of a folder and of those in it, in order.
///
/// # Errors
/// `File`.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>, FaultsError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(FaultsError::at(dir))? {
        let path = entry.map_err(FaultsError::at(dir))?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
