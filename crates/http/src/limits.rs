//! What one program gives to askers before any public-key work: connections, requests, bytes and time.
//! Source: G10; R2, R13-R15.
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Requests one address may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Refilled each second.
    pub per_second: u32,
    /// Most that may be saved up.
    pub burst: u32,
}

/// The limits of one listener.
///
/// An address is a whole IPv4 address or the /64 of an IPv6 address.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once, upgraded ones included.
    pub connections_max: usize,
    /// Connections open at once from one address.
    pub connections_per_address_max: usize,
    /// Whether loopback is exempt from the two limits per address.
    pub loopback_exempt: bool,
    /// TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte (or the start of the connection) to the end of the request's header.
    pub header_timeout: Duration,
    /// The whole body, from the moment the handler reads it.
    pub body_timeout: Duration,
    /// Between two pieces of a body.
    pub body_stall_timeout: Duration,
    /// Between two requests of one connection.
    pub idle_timeout: Duration,
    /// How long the asker may leave the answer (or an upgraded stream) unread.
    pub write_stall_timeout: Duration,
    /// Bytes of a request's body.
    pub body_bytes_max: u64,
    /// Requests per address; `None` for no limit.
    pub request_rate: Option<RateLimit>,
    /// Requests that handlers work on at once; an answer that is still being streamed no longer counts.
    pub in_flight_max: usize,
    /// Paths that do not count towards `in_flight_max`: health must be seen under load as well.
    pub in_flight_exempt: &'static [&'static str],
    /// After a stop: how long requests in flight may take to finish.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            connections_per_address_max: 256,
            loopback_exempt: false,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            body_stall_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            write_stall_timeout: Duration::from_secs(30),
            body_bytes_max: 64 * 1024,
            request_rate: Some(RateLimit { per_second: 200, burst: 400 }),
            in_flight_max: 1024,
            in_flight_exempt: &["/healthz", "/readyz"],
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// What limits per address are counted by: a whole IPv6 network of one subscriber counts as one.
fn key_of(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        // The upper half; global addresses begin with a set bit, so they never meet an IPv4 address.
        IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 64).unwrap_or(u64::MAX) | 1 << 63,
    }
}

/// Counts open connections, in all and per address.
pub(crate) struct Slots {
    max: usize,
    per_address_max: usize,
    loopback_exempt: bool,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_address: HashMap<u64, usize>,
}

/// One open connection; dropping it frees its slot.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    /// `None` for an exempt address.
    key: Option<u64>,
}

impl Slots {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
            loopback_exempt: limits.loopback_exempt,
            open: Mutex::new(Open::default()),
        })
    }

    /// A slot, or `None` if there is none for this address.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let exempt = self.loopback_exempt && address.to_canonical().is_loopback();
        let key = (!exempt).then(|| key_of(address));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.max {
            return None;
        }
        if let Some(key) = key {
            let held = open.by_address.get(&key).copied().unwrap_or(0);
            if held >= self.per_address_max {
                return None;
            }
            open.by_address.insert(key, held.saturating_add(1));
        }
        open.all = open.all.saturating_add(1);
        Some(Slot { slots: Arc::clone(self), key })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        let Some(key) = self.key else { return };
        let left = open.by_address.get(&key).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            open.by_address.remove(&key);
        } else {
            open.by_address.insert(key, left);
        }
    }
}

/// Sets of the bucket table.
const SETS: usize = 4096;
/// Addresses per set.
const WAYS: usize = 4;
/// Tokens are counted in thousandths, so that a refill of less than one is not lost.
const THOUSANDTHS: u64 = 1000;

/// Token buckets per address in fixed memory.
///
/// A table of 4096 sets of 4: an address lives in the set that a seeded hash names, and a new one takes the
/// place of the one unseen the longest. Whoever has enough addresses to push others out gains nothing that
/// those addresses did not already give.
pub(crate) struct RateBudget {
    limit: RateLimit,
    loopback_exempt: bool,
    begin: Instant,
    seed: RandomState,
    sets: Vec<Mutex<[Bucket; WAYS]>>,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    key: Option<u64>,
    thousandths: u64,
    seen_ms: u64,
}

impl RateBudget {
    pub(crate) fn new(limits: &Limits) -> Option<Self> {
        let limit = limits.request_rate?;
        Some(Self {
            limit,
            loopback_exempt: limits.loopback_exempt,
            begin: Instant::now(),
            seed: RandomState::new(),
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
        })
    }

    /// Takes one request's token; otherwise says in how many seconds there is one.
    pub(crate) fn take(&self, address: IpAddr) -> Result<(), u32> {
        let now_ms = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.take_at(address, now_ms)
    }

    fn take_at(&self, address: IpAddr, now_ms: u64) -> Result<(), u32> {
        if self.loopback_exempt && address.to_canonical().is_loopback() {
            return Ok(());
        }
        let key = key_of(address);
        let sets = u64::try_from(SETS).unwrap_or(1);
        let index = usize::try_from(self.seed.hash_one(key).checked_rem(sets).unwrap_or(0)).unwrap_or(0);
        let Some(set) = self.sets.get(index) else { return Ok(()) };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let known = set.iter().position(|bucket| bucket.key == Some(key));
        let place =
            known.or_else(|| (0..WAYS).min_by_key(|way| set.get(*way).map(|b| (b.key.is_some(), b.seen_ms))));
        let Some(bucket) = place.and_then(|place| set.get_mut(place)) else { return Ok(()) };
        if known.is_none() {
            let full = u64::from(self.limit.burst).saturating_mul(THOUSANDTHS);
            *bucket = Bucket { key: Some(key), thousandths: full, seen_ms: now_ms };
        }
        bucket.take(self.limit, now_ms)
    }
}

impl Bucket {
    fn take(&mut self, limit: RateLimit, now_ms: u64) -> Result<(), u32> {
        let per_second = u64::from(limit.per_second);
        let full = u64::from(limit.burst).saturating_mul(THOUSANDTHS);
        // One per second is one thousandth per millisecond.
        let refill = now_ms.saturating_sub(self.seen_ms).saturating_mul(per_second);
        self.thousandths = self.thousandths.saturating_add(refill).min(full);
        self.seen_ms = self.seen_ms.max(now_ms);
        if let Some(left) = self.thousandths.checked_sub(THOUSANDTHS) {
            self.thousandths = left;
            return Ok(());
        }
        let missing = THOUSANDTHS.saturating_sub(self.thousandths);
        let wait_ms = missing.checked_div(per_second).unwrap_or(u64::MAX);
        Err(u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(per_second: u32, burst: u32) -> RateBudget {
        let request_rate = Some(RateLimit { per_second, burst });
        RateBudget::new(&Limits { request_rate, ..Limits::default() }).unwrap()
    }

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let budget = budget(2, 3);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(budget.take_at(address, 0), Ok(()));
        }
        assert_eq!(budget.take_at(address, 0), Err(1));
        assert_eq!(budget.take_at(address, 499), Err(1));
        assert_eq!(budget.take_at(address, 500), Ok(()));
        assert_eq!(budget.take_at(address, 500), Err(1));
        assert_eq!(budget.take_at("192.0.2.2".parse().unwrap(), 500), Ok(()));
    }

    #[test]
    fn a_long_pause_saves_up_no_more_than_the_burst() {
        let budget = budget(1, 2);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let granted = (0..10).filter(|_| budget.take_at(address, 1_000_000).is_ok()).count();
        assert_eq!(granted, 2);
    }

    #[test]
    fn one_ipv6_network_is_one_address_and_mapped_ipv4_is_ipv4() {
        let key = |text: &str| key_of(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn many_addresses_stay_within_the_table() {
        let budget = budget(1, 1);
        for n in 0..100_000_u32 {
            assert_eq!(budget.take_at(IpAddr::from(n.to_be_bytes()), u64::from(n)), Ok(()));
        }
        assert_eq!(budget.sets.len(), SETS);
    }

    #[test]
    fn slots_count_in_all_and_per_address_and_come_back() {
        let limits = Limits { connections_max: 3, connections_per_address_max: 2, ..Limits::default() };
        let slots = Slots::new(&limits);
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = slots.take(a).unwrap();
        let _second = slots.take(a).unwrap();
        assert!(slots.take(a).is_none());
        let _third = slots.take(b).unwrap();
        assert!(slots.take(b).is_none());
        drop(first);
        let _fourth = slots.take(a).unwrap();
        assert!(slots.take(a).is_none());
        assert_eq!(slots.open.lock().unwrap().by_address.len(), 2);
    }

    #[test]
    fn loopback_is_exempt_only_when_told() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        let limits = Limits { connections_per_address_max: 0, loopback_exempt: true, ..Limits::default() };
        assert!(Slots::new(&limits).take(loopback).is_some());
        assert!(Slots::new(&limits).take("192.0.2.1".parse().unwrap()).is_none());
        let limits = Limits { loopback_exempt: false, ..limits };
        assert!(Slots::new(&limits).take(loopback).is_none());
    }
}
