//! The time of a run: it passes only when nobody has anything to do. Each party may see it a little off, a little faster, and
//! suddenly quite wrong. Source: reliability.md, R16.

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
    off_ms: i64,
    drift_ppm: i64,
    wrong_ms: Arc<AtomicI64>,
}

impl Virtual {
    /// Begins; within a runtime whose time is paused.
    #[must_use]
    pub fn begin() -> Self {
        Self { begun: Instant::now(), off_ms: 0, drift_ppm: 0, wrong_ms: Arc::default() }
    }

    /// The same time, seen so far off, and by a clock that gains so much.
    #[must_use]
    pub fn off_by(&self, off_ms: i64, drift_ppm: i64) -> Self {
        Self { begun: self.begun, off_ms, drift_ppm, wrong_ms: Arc::default() }
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub fn passed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// From now on the clock is wrong by so much; by 0 it is right again.
    pub fn be_wrong(&self, ms: i64) {
        self.wrong_ms.store(ms, Ordering::SeqCst);
    }

    /// Whether it is wrong.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.wrong_ms.load(Ordering::SeqCst) != 0
    }
}

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        let passed = self.passed_ms();
        let gained = i64::try_from(passed).unwrap_or(i64::MAX).saturating_mul(self.drift_ppm) / 1_000_000;
        let off = self.off_ms.saturating_add(gained).saturating_add(self.wrong_ms.load(Ordering::SeqCst));
        Timestamp(START_MS.saturating_add(passed).saturating_add_signed(off))
    }
}
