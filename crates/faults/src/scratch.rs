//! A folder of a run, which goes with it unless it is to be kept. Source: docs/faults.md.

use std::path::{Path, PathBuf};

use crate::error::FaultsError;

/// The folder.
pub struct Scratch {
    held: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Scratch {
    /// In memory where the system has a folder for that: damage is made by us, not by the disk.
    ///
    /// # Errors
    /// `File`.
    pub fn in_memory(name: &str) -> Result<Self, FaultsError> {
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        Self::below(&parent, name)
    }

    /// Where temporary files go.
    ///
    /// # Errors
    /// `File`.
    pub fn on_disk(name: &str) -> Result<Self, FaultsError> {
        Self::below(&std::env::temp_dir(), name)
    }

    fn below(parent: &Path, name: &str) -> Result<Self, FaultsError> {
        let made = tempfile::Builder::new().prefix(&format!("florin-{name}-")).tempdir_in(parent);
        let held = made.map_err(FaultsError::at(parent))?;
        Ok(Self { path: held.path().to_path_buf(), held: Some(held) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It stays, and where.
    pub fn keep(&mut self) -> &Path {
        if let Some(held) = self.held.take() {
            let _ = held.keep();
        }
        &self.path
    }
}
