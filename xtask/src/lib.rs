//! The gates of the house: `cargo xtask test | check | tidy`. Source: house rules 24 and "Gate before every
//! push"; the arrows are those of ARCHITECTURE.md.

pub mod bad_input;
pub mod mutants;
pub mod prove;
pub mod steps;
pub mod tidy;

use std::path::{Path, PathBuf};

/// The folder of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
