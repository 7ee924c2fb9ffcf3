//! The clock of the operating system. Source: house rule 9 (time is an argument; only a shell has a clock).

use std::time::{SystemTime, UNIX_EPOCH};

use florin_books::{Clock, Timestamp};

/// The operating system's clock. It may jump; lane time never goes back, whatever it does.
///
/// Units: milliseconds since 1970-01-01 UTC. A clock set before 1970 reads 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_milliseconds_since_1970() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let now = u128::from(SystemClock.now().0);
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!((before..=after).contains(&now), "{before} <= {now} <= {after}");
    }
}
