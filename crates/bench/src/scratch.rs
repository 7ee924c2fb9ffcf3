//! A folder that goes when the measurement is over. Source: performance.md (the disk that is measured is named).

use std::path::{Path, PathBuf};

use crate::error::BenchError;

/// The folder.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes it in `parent`, or where temporary files go.
    pub(crate) fn new(parent: Option<&Path>) -> Result<Self, BenchError> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = parent.join(format!("florin-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|source| BenchError::File { path: path.clone(), source })?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays; there is nobody to tell.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
