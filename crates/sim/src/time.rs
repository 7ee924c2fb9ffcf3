//! The time of a run: it passes only when nobody has anything to do. Each party may see it a little off.
//! Source: reliability.md, R16.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use florin_books::{Clock, Timestamp};
use tokio::time::Instant;

/// When every run begins.
pub const START_MS: u64 = 1_795_000_000_000;

/// The time of the run, as one party sees it.
#[derive(Clone)]
pub struct Virtual {
    begun: Instant,
    off_ms: Arc<AtomicI64>,
}

impl Virtual {
    /// Begins; within a runtime whose time is paused.
    #[must_use]
    pub fn begin() -> Self {
        Self { begun: Instant::now(), off_ms: Arc::default() }
    }

    /// The same time, seen so far off.
    #[must_use]
    pub fn off_by(&self, ms: i64) -> Self {
        Self { begun: self.begun, off_ms: Arc::new(AtomicI64::new(ms)) }
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub fn passed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        let now = START_MS.saturating_add(self.passed_ms());
        Timestamp(now.saturating_add_signed(self.off_ms.load(Ordering::SeqCst)))
    }
}
