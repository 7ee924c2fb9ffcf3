//! What happened, line by line, in the time of the run: the same seed gives the same lines.
//! Source: the issue ("the same seed gives the same trace, byte for byte").

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use florin_crypto::{Digest, digest};

use crate::time::Virtual;

/// The lines so far.
#[derive(Clone)]
pub struct Trace {
    clock: Virtual,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Trace {
    /// No line yet.
    #[must_use]
    pub fn new(clock: Virtual) -> Self {
        Self { clock, lines: Arc::default() }
    }

    /// Adds a line.
    pub fn say(&self, who: &str, what: impl Display) {
        let line = format!("{:>9} {who:<10} {what}", self.clock.passed_ms());
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// All lines.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// The digest of all lines.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest("florin/v1/sim/trace", &[self.text().as_bytes()])
    }
}
