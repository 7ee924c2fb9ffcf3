//! Why a fault could not be tried; what a try has found is a finding of its report instead.
//! Source: house rule 10 (one variant for each cause).

use std::io;
use std::path::{Path, PathBuf};

use florin_bench::BenchError;
use florin_http::TlsFault;

/// Why a fault could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum FaultsError {
    /// A file or folder of ours.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program could not be run.
    #[error("{program}: {source}")]
    Program {
        /// Which.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program did not do what must succeed before anything is damaged.
    #[error("{program}: {said}")]
    Said {
        /// Which.
        program: String,
        /// What it said.
        said: String,
    },
    /// Honest parties could not do before the damage what they must be able to do.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// No client for HTTP.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// What must not be.
    #[error("{0}")]
    Found(String),
    /// A state was not opened, and why.
    #[error("refused: {0}")]
    Refused(String),
    /// The threads for requests.
    #[error("no threads for requests: {0}")]
    Runtime(io::Error),
    /// The report cannot be written.
    #[error("the report cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

impl FaultsError {
    /// At a path.
    pub fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }
}
