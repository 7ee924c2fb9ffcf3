//! The clock of the operating system, and one that does not jump with it.
//! Source: house rule 9 (time is an argument; only a shell has a clock); ADR 0034.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

/// A step of the system's clock up to here is followed: back at once, ahead by and by.
pub const STEP_MAX_MS: u64 = 5 * 60 * 1000;
/// Books so much ahead of the clock are as good as right: less than the time that a payment has.
pub const AHEAD_MAX_MS: u64 = 20 * 1000;
/// Time goes at most this part of itself faster than it passes. A step ahead that is put right soon has hardly happened;
/// one that was followed would make every deadline pass that is shorter than the step.
const FASTER: u64 = 20;
/// How often what was followed becomes the beginning of what follows.
const ANCHOR_MS: u64 = 1000;
/// Where it is so far ahead it is asked whether the machine has slept, and no more often.
const ASK_EVERY_MS: u64 = 1000;

/// The system's clock, but a step of more than [`STEP_MAX_MS`] in either direction is not followed: time goes on evenly
/// until the system's clock is back, or the program starts anew. Books take the latest time they have seen and never go
/// back, so following one wrong step forward would make every request too late for as long as the step was.
///
/// Time that the machine slept is no step: the kernel counts it. (The host of a virtual machine that it has paused may not
/// tell the kernel; that is a step.)
pub struct SteadyClock {
    system: Box<dyn Clock>,
    even: Box<dyn Fn() -> u64 + Send + Sync>,
    slept: Box<dyn Fn() -> u64 + Send + Sync>,
    state: Mutex<State>,
}

struct State {
    /// The system's time, and the even one, at the last anchor.
    anchor: (u64, u64),
    /// Time slept that the anchor knows of.
    slept: u64,
    /// The even time of the last question about sleep.
    asked: u64,
    /// How far the system's clock is off.
    off: Option<i64>,
}

impl Default for SteadyClock {
    fn default() -> Self {
        let start = Instant::now();
        let even = move || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Self::new(Box::new(SystemClock), Box::new(even), Box::new(move || slept(start)))
    }
}

impl SteadyClock {
    /// One of its parts: the system's clock, milliseconds that nobody sets, and how many of them the machine has slept
    /// besides.
    #[must_use]
    pub fn new(
        system: Box<dyn Clock>,
        even: Box<dyn Fn() -> u64 + Send + Sync>,
        slept: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Self {
        let state = State { anchor: (system.now().0, even()), slept: slept(), asked: even(), off: None };
        Self { system, even, slept, state: Mutex::new(state) }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (system, even) = (self.system.now().0, (self.even)());
        let mut steady = state.steady(even);
        // However short: sleep that was followed as a step would count once more with the next one.
        let ahead = system.saturating_sub(steady) >= ASK_EVERY_MS;
        if ahead && even.saturating_sub(state.asked) >= ASK_EVERY_MS {
            state.asked = even;
            let slept = (self.slept)();
            let more = slept.saturating_sub(state.slept);
            // Asking is not exact; a machine that has not slept gains no time by being asked.
            if more >= ASK_EVERY_MS {
                state.slept = slept;
                state.anchor.0 = state.anchor.0.saturating_add(more);
                steady = state.steady(even);
            }
        }
        if steady.abs_diff(system) > STEP_MAX_MS {
            let off = i128::from(system).saturating_sub(i128::from(steady));
            state.off = Some(i64::try_from(off).unwrap_or(i64::MAX));
            return Timestamp(steady);
        }
        state.off = None;
        let passed = even.saturating_sub(state.anchor.1);
        let now = system.min(steady.saturating_add(passed.checked_div(FASTER).unwrap_or(0)));
        if now < steady || passed >= ANCHOR_MS {
            state.anchor = (now, even);
        }
        Timestamp(now)
    }

    fn off_by_ms(&self) -> Option<i64> {
        self.now();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).off
    }
}

impl State {
    fn steady(&self, even: u64) -> u64 {
        self.anchor.0.saturating_add(even.saturating_sub(self.anchor.1))
    }
}

/// How long the machine has slept since it started, in milliseconds: what the kernel counts with sleep, less what it counts
/// without. Nothing where the kernel does not say.
fn slept(start: Instant) -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let awake = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    // `12345.67 ...`: seconds, in hundredths.
    let read = text.split_whitespace().next().and_then(|up| up.split_once('.'));
    let read = read.and_then(|(s, h)| Some((s.parse::<u64>().ok()?, h.parse::<u64>().ok()?)));
    let up = read.map(|(s, h)| s.saturating_mul(1000).saturating_add(h.saturating_mul(10)));
    up.map_or(0, |up| up.saturating_sub(awake))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn it_counts_milliseconds_since_1970() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        for now in [SystemClock.now(), SteadyClock::default().now()] {
            let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            assert!((before..=after).contains(&u128::from(now.0)), "{before} <= {now:?} <= {after}");
        }
    }

    const DAY: u64 = 24 * 60 * 60 * 1000;
    const START: u64 = 1_795_000_000_000;

    #[derive(Default)]
    struct Machine {
        system: AtomicU64,
        even: AtomicU64,
        slept: AtomicU64,
    }

    struct System(Arc<Machine>);

    impl Clock for System {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.system.load(Ordering::SeqCst))
        }
    }

    impl Machine {
        fn with_clock() -> (Arc<Self>, SteadyClock) {
            let machine = Arc::new(Self::default());
            machine.system.store(START, Ordering::SeqCst);
            machine.slept.store(77_000, Ordering::SeqCst);
            let (a, b) = (machine.clone(), machine.clone());
            let even = Box::new(move || a.even.load(Ordering::SeqCst));
            let slept = Box::new(move || b.slept.load(Ordering::SeqCst));
            (machine.clone(), SteadyClock::new(Box::new(System(machine)), even, slept))
        }

        fn pass(&self, ms: u64) {
            self.system.fetch_add(ms, Ordering::SeqCst);
            self.even.fetch_add(ms, Ordering::SeqCst);
        }

        fn step(&self, ms: i64) {
            let now = self.system.load(Ordering::SeqCst);
            self.system.store(now.saturating_add_signed(ms), Ordering::SeqCst);
        }
    }

    #[test]
    fn a_step_that_is_put_right_was_never_there() {
        for ms in [405 * 86_400_000, -(405 * 86_400_000), 300_001, -300_001] {
            let (machine, clock) = Machine::with_clock();
            machine.pass(60_000);
            machine.step(ms);
            machine.pass(5_000);
            assert_eq!((clock.now().0, clock.off_by_ms()), (START + 65_000, Some(ms)));
            machine.pass(DAY);
            assert_eq!(clock.now().0, START + 65_000 + DAY, "time goes on");
            machine.step(-ms);
            assert_eq!((clock.now().0, clock.off_by_ms()), (START + 65_000 + DAY, None));
        }
    }

    #[test]
    fn a_small_step_ahead_is_followed_by_and_by_and_one_back_at_once() {
        let (machine, clock) = Machine::with_clock();
        machine.step(240_000);
        assert_eq!((clock.now().0, clock.off_by_ms()), (START, None));
        let mut last = clock.now().0;
        for second in 1..=60 {
            machine.pass(1_000);
            let now = clock.now().0;
            assert!((1_000..=1_050).contains(&(now - last)), "{second}: {}", now - last);
            last = now;
        }
        // It is put right: hardly anything has happened.
        machine.step(-240_000);
        machine.pass(60_000);
        assert_eq!(clock.now().0, START + 120_000);
        // Or it was right, and is followed in the end.
        machine.step(240_000);
        for _ in 0..6_000 {
            machine.pass(1_000);
            clock.now();
        }
        assert_eq!((clock.now().0, clock.off_by_ms()), (START + 120_000 + 240_000 + 6_000_000, None));
        machine.step(-200_000);
        assert_eq!(clock.now().0, START + 120_000 + 40_000 + 6_000_000);
        // Rarely asked, it is not slower for it.
        machine.step(100_000);
        machine.pass(10_000_000);
        assert_eq!(clock.now().0, START + 120_000 + 140_000 + 16_000_000);
    }

    #[test]
    fn a_machine_that_has_slept_wakes_up_at_the_right_time() {
        let (machine, clock) = Machine::with_clock();
        machine.pass(60_000);
        machine.slept.fetch_add(DAY, Ordering::SeqCst);
        machine.step(i64::try_from(DAY).unwrap());
        assert_eq!((clock.now().0, clock.off_by_ms()), (START + DAY + 60_000, None));
        // A short sleep is one, too, and counts once.
        machine.pass(60_000);
        machine.slept.fetch_add(240_000, Ordering::SeqCst);
        machine.step(240_000);
        let now = START + DAY + 360_000;
        assert_eq!(clock.now().0, now);
        machine.pass(60_000);
        machine.step(i64::try_from(405 * DAY).unwrap());
        assert_eq!(clock.now().0, now + 60_000);
        machine.step(-i64::try_from(405 * DAY).unwrap());
        assert_eq!((clock.now().0, clock.off_by_ms()), (now + 60_000, None));
        // It sleeps, and somebody sets its clock besides.
        machine.pass(60_000);
        machine.slept.fetch_add(DAY, Ordering::SeqCst);
        machine.step(i64::try_from(3 * DAY).unwrap());
        let off = i64::try_from(2 * DAY).unwrap();
        assert_eq!((clock.now().0, clock.off_by_ms()), (now + DAY + 120_000, Some(off)));
    }

    #[test]
    fn this_machine_says_how_long_it_has_slept() {
        let start = Instant::now();
        let (a, b) = (slept(start), slept(start));
        assert!(b.abs_diff(a) <= 1000, "{a} {b}");
    }
}
