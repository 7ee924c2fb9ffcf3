//! The clock of a wallet, and that of a gate, is wrong: their own requests fail, and nothing else does.
//! Source: R16; ADR 0034 ("wallets and gates go by the machine's clock; a wrong one costs their own requests").

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::{Clocked, JUMPS, Set, give};
use crate::error::FaultsError;
use crate::fault::Setting;
use crate::report::Tally;
use crate::town::{Ended, FINAL_IN};

/// Each setting at the wallet, then at the gate, while the operator's clock is right.
pub(super) fn run(
    setting: &Setting,
    library: &Path,
    runtime: &Runtime,
    _tries: u64,
) -> Result<Tally, FaultsError> {
    let mut tally = Tally::default();
    for at_gate in [false, true] {
        let mut clocked = Clocked::start(setting, "clock-others", library, runtime)?;
        // The operator gives the clock back: from now on it is somebody else's.
        clocked.town.operator_home().set(&[("LD_PRELOAD", "")]);
        clocked.town.stop_operator()?;
        clocked.town.start_operator()?;
        if at_gate {
            give(&clocked.clock, &mut clocked.shop.home);
            clocked.shop.restart()?;
        } else {
            give(&clocked.clock, &mut clocked.person.home);
        }
        let both = JUMPS.iter().flat_map(|by| [Set::By(*by), Set::By(by.saturating_neg())]);
        for set in both.chain([Set::Frozen]) {
            one(&clocked, at_gate, set, &mut tally)?;
            tally.tries = tally.tries.saturating_add(1);
        }
        clocked.end(&mut tally)?;
    }
    Ok(tally)
}

fn one(clocked: &Clocked, at_gate: bool, set: Set, tally: &mut Tally) -> Result<(), FaultsError> {
    let who = if at_gate { "gate" } else { "wallet" };
    let page = format!("/{who}/{}", set.name().replace(' ', ""));
    clocked.clock.set(set)?;
    let wrong = clocked.person.pay(&clocked.shop, &page, "POST")?;
    let mut told = vec![wrong.said()];
    if let Some(why) = wrong.indefinite() {
        tally.finding(format!("{who}'s clock {}: no definite end: {why}", set.name()));
    }
    clocked.clock.set(Set::Right)?;
    let begun = Instant::now();
    let again = |ended: &Ended| ended.code.is_some_and(|code| code != 0 && code != 1);
    let mut last = wrong;
    while again(&last) {
        if begun.elapsed() > FINAL_IN {
            tally
                .finding(format!("{who}'s clock was {}: not final after {FINAL_IN:?}: {told:?}", set.name()));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
        last = clocked.person.pay(&clocked.shop, &page, "POST")?;
        told.push(last.said());
    }
    // Nothing is set aside any more, and the next page is paid as ever.
    let next = clocked.person.pay(&clocked.shop, &format!("{page}/next"), "GET")?;
    if next.code != Some(0) {
        tally.finding(format!(
            "{who}'s clock was {}: afterwards {}; before {told:?}",
            set.name(),
            next.said()
        ));
    }
    let status = clocked.person.home.run(&["--json", "wallet", "status"])?;
    if status.code != Some(0) {
        tally.finding(format!("{who}'s clock was {}: open: {}; {told:?}", set.name(), status.json()));
    }
    Ok(())
}
