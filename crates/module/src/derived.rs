//! The keys that the token derives in mode *derived daily*, in memory: none is used, and with [`DerivedKeys::let_go`] none is
//! held, once it is a day old. Source: VarietyCash §2.5; ADR 0031.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use florin_books::Epoch;
use florin_crypto::MacKey;

/// A key is given out for so long. Whoever lets go of old ones every minute holds none for longer than a day.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60 - 60);

/// The keys, each with the moment of its derivation.
#[derive(Default)]
pub(crate) struct DerivedKeys(BTreeMap<Epoch, (Instant, Arc<MacKey>)>);

impl DerivedKeys {
    /// The key of an epoch, if it is young enough.
    pub(crate) fn get(&self, epoch: Epoch, now: Instant) -> Option<Arc<MacKey>> {
        self.0.get(&epoch).filter(|(since, _)| is_young(*since, now)).map(|(_, key)| Arc::clone(key))
    }

    /// Takes a key that was derived just now; the old ones go.
    pub(crate) fn put(&mut self, epoch: Epoch, key: Arc<MacKey>, now: Instant) {
        self.let_go(now);
        self.0.insert(epoch, (now, key));
    }

    /// Lets go of those that are past their time.
    pub(crate) fn let_go(&mut self, now: Instant) {
        self.0.retain(|_, (since, _)| is_young(*since, now));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

fn is_young(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < KEPT_FOR
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use florin_crypto::Secret;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_derived_key_is_not_used_and_not_held_after_its_day() {
        let (mut keys, begun) = (DerivedKeys::default(), Instant::now());
        let made = |n| Arc::new(MacKey::new(&Secret::new([n; 32])));
        let held: Vec<_> = [1, 2].map(made).into_iter().collect();
        let held_still = |keys: &[Arc<MacKey>]| keys.iter().map(Arc::strong_count).collect::<Vec<_>>();
        keys.put(Epoch(1), Arc::clone(&held[0]), begun);
        keys.put(Epoch(2), Arc::clone(&held[1]), begun + 60 * MINUTE);
        let end = begun + KEPT_FOR;
        assert!(keys.get(Epoch(1), end - MINUTE).is_some());
        assert!(keys.get(Epoch(1), end).is_none(), "asked for after its time it is derived anew");
        assert_eq!(held_still(&held), [2, 2], "but it is still there, as long as nobody looks");
        keys.let_go(end - MINUTE);
        assert_eq!(held_still(&held), [2, 2]);
        keys.let_go(end);
        assert_eq!((held_still(&held), keys.count()), (vec![1, 2], 1), "each has a day of its own");
        keys.let_go(end + 60 * MINUTE);
        assert_eq!((held_still(&held), keys.count()), (vec![1, 1], 0));
    }
}
