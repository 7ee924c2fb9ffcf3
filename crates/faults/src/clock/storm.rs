//! The operator's clock is set again and again under load, and it does not matter. Source: R16; ADR 0034.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::{Clocked, JUMPS, STEPS, Set};
use crate::dice::Dice;
use crate::error::FaultsError;
use crate::fault::Setting;
use crate::report::Tally;

/// The operator looks at its clock every half minute; twice that is enough.
const WARNED_IN: Duration = Duration::from_secs(60);

/// A small step before may still be followed: so many seconds.
const FOLLOWED_MAX: u64 = 300;

/// So many settings, each with a matter that must be done at once; then one that stays until it is warned of.
pub(super) fn run(
    setting: &Setting,
    library: &Path,
    runtime: &Runtime,
    tries: u64,
) -> Result<Tally, FaultsError> {
    let clocked = Clocked::start(setting, "clock-storm", library, runtime)?;
    let mut tally = Tally { tries, ..Tally::default() };
    let epochs = clocked.epochs()?;
    let mut dice = Dice::new(setting.seed, 0);
    let mut longest = Duration::ZERO;
    for number in 0..tries {
        let set = choose(number, &mut dice);
        clocked.clock.set(set)?;
        let ended = matter(&clocked, number)?;
        longest = longest.max(ended.took);
        if ended.code != Some(0) {
            tally.finding(format!("clock {}, matter {number}: {}", set.name(), ended.said()));
        }
    }
    warned(&clocked, &mut tally)?;
    clocked.clock.set(Set::Right)?;
    let ended = matter(&clocked, tries)?;
    if ended.code != Some(0) {
        tally.finding(format!("clock right again: {}", ended.said()));
    }
    if clocked.epochs()? != epochs {
        tally.finding(format!("the epochs were {epochs:?} and are {:?}", clocked.epochs()?));
    }
    clocked.end(&mut tally)?;
    tally.figure("longest matter s", longest.as_secs_f64());
    Ok(tally)
}

/// Each jump and step once, in both directions; then any of them, in any order.
fn choose(number: u64, dice: &mut Dice) -> Set {
    let mut all = vec![Set::Frozen, Set::Right];
    for by in JUMPS.iter().chain(&STEPS) {
        all.extend([Set::By(*by), Set::By(by.saturating_neg())]);
    }
    let known = usize::try_from(number).ok().and_then(|number| all.get(number));
    known.or_else(|| dice.one_of(&all)).copied().unwrap_or(Set::Right)
}

/// A page, and now and then something else.
fn matter(clocked: &Clocked, number: u64) -> Result<crate::town::Ended, FaultsError> {
    let home = &clocked.person.home;
    match number.checked_rem(8) {
        Some(5) => home.run(&["--json", "wallet", "refresh", "--all"]),
        Some(6) => home.run(&["--json", "wallet", "redeem", "0.10 FLO"]),
        Some(7) => home.run(&["--json", "wallet", "buy", "0.50 FLO", "--refundable"]),
        _ => clocked.person.pay(&clocked.shop, &format!("/storm/{number}"), "GET"),
    }
}

/// A jump that stays is warned of, in the log and in the metrics.
fn warned(clocked: &Clocked, tally: &mut Tally) -> Result<(), FaultsError> {
    let day = 86_400;
    let warnings = || {
        let log = std::fs::read_to_string(clocked.town.home().log()).unwrap_or_default();
        log.matches("the machine's clock has stepped").count()
    };
    let before = warnings();
    clocked.clock.set(Set::By(day))?;
    let begun = Instant::now();
    loop {
        let metrics = clocked.town.metrics()?;
        let gauge = metrics.lines().find_map(|line| line.strip_prefix("florin_clock_step_seconds "));
        let off = gauge.and_then(|value| value.trim().parse::<i64>().ok()).unwrap_or(0);
        if warnings() > before && off.abs_diff(day) <= FOLLOWED_MAX {
            tally.figure("warned after s", begun.elapsed().as_secs_f64());
            return Ok(());
        }
        if begun.elapsed() > WARNED_IN {
            tally
                .finding(format!("no warning of a day's jump after {WARNED_IN:?}; the gauge says {gauge:?}"));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}
