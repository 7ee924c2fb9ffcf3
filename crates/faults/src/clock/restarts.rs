//! The machine's clock is wrong when the operator starts. Source: R16; ADR 0034 (`clock-behind-books`).

use std::path::Path;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::{Clocked, JUMPS, Set, give};
use crate::error::FaultsError;
use crate::fault::Setting;
use crate::report::Tally;

/// A start that is refused is refused at once; one that is not would serve for ever.
const REFUSED_IN: Duration = Duration::from_secs(20);
/// The refusal of books that are ahead of the clock.
const REFUSAL: (i32, &str) = (78, "clock-behind-books");

/// A clock that is early: the operator does not serve, and does once it is right. A clock that stands: it serves.
pub(super) fn back(
    setting: &Setting,
    library: &Path,
    runtime: &Runtime,
    _tries: u64,
) -> Result<Tally, FaultsError> {
    let mut clocked = Clocked::start(setting, "clock-back", library, runtime)?;
    let mut tally = Tally::default();
    let epochs = clocked.epochs()?;
    for by in JUMPS {
        let set = Set::By(by.saturating_neg());
        clocked.town.stop_operator()?;
        clocked.clock.set(set)?;
        refused(&clocked, set, &mut tally)?;
        clocked.clock.set(Set::Right)?;
        clocked.town.start_operator()?;
        must_pay(&clocked, &format!("/back/{by}"), &mut tally)?;
        tally.tries = tally.tries.saturating_add(1);
    }
    clocked.town.stop_operator()?;
    clocked.clock.set(Set::Frozen)?;
    clocked.town.start_operator()?;
    must_pay(&clocked, "/back/frozen", &mut tally)?;
    clocked.town.stop_operator()?;
    clocked.clock.set(Set::Right)?;
    clocked.town.start_operator()?;
    must_pay(&clocked, "/back/right", &mut tally)?;
    tally.tries = tally.tries.saturating_add(1);
    if clocked.epochs()? != epochs {
        tally.finding(format!("the epochs were {epochs:?} and are {:?}", clocked.epochs()?));
    }
    clocked.end(&mut tally)?;
    Ok(tally)
}

/// A clock that is late: what is written then cannot be served until its time has come, which is said; and when it has,
/// everything goes on, and nothing has ended that only a wrong clock had ended.
pub(super) fn ahead(
    setting: &Setting,
    library: &Path,
    runtime: &Runtime,
    _tries: u64,
) -> Result<Tally, FaultsError> {
    let mut tally = Tally::default();
    for by in JUMPS {
        let mut clocked = Clocked::start(setting, "clock-ahead", library, runtime)?;
        one_ahead(&mut clocked, by, &mut tally)?;
        tally.tries = tally.tries.saturating_add(1);
    }
    Ok(tally)
}

fn one_ahead(clocked: &mut Clocked, by: i64, tally: &mut Tally) -> Result<(), FaultsError> {
    let set = Set::By(by);
    let circulating = |clocked: &Clocked| -> Result<String, FaultsError> {
        let (report, findings) = clocked.town.audit()?;
        Ok(format!("{} {findings:?}", report.get("in_circulation").unwrap_or(&serde_json::Value::Null)))
    };
    let before = circulating(clocked)?;
    clocked.town.stop_operator()?;
    clocked.clock.set(set)?;
    clocked.town.start_operator()?;
    // The others go by the right time: whatever they are told, it has an end.
    let page = format!("/ahead/{by}");
    for ended in [
        clocked.person.pay(&clocked.shop, &page, "GET")?,
        clocked.person.home.run(&["--json", "wallet", "refresh", "--all"])?,
    ] {
        if let Some(why) = ended.indefinite() {
            tally.finding(format!("an operator started at {}: no definite end: {why}", set.name()));
        }
    }
    if circulating(clocked)? != before {
        tally.finding(format!("started at {}: {before} has become {}", set.name(), circulating(clocked)?));
    }
    clocked.town.stop_operator()?;
    clocked.clock.set(Set::Right)?;
    refused(clocked, set, tally)?;
    // Its time comes: for everybody, so that what was meant for now is over.
    clocked.clock.set(Set::By(by.saturating_add(120)))?;
    clocked.town.start_operator()?;
    give_to_all(clocked)?;
    if by == 315_532_800 {
        // Ten years on the coins are past their grace; the operator may not have dropped them for all that.
        if circulating(clocked)? != before {
            tally.finding(format!(
                "in its time, {}: {before} has become {}",
                set.name(),
                circulating(clocked)?
            ));
        }
        return Ok(());
    }
    must_pay(clocked, &format!("/ahead/{by}/in-its-time"), tally)?;
    // What was not paid while the clocks differed is over now.
    let ended = clocked.person.pay(&clocked.shop, &page, "GET")?;
    let never = ended.json().get("outcome").is_some_and(|outcome| outcome == "never");
    if ended.code != Some(0) && !never {
        tally.finding(format!("in its time, {}: {}", set.name(), ended.said()));
    }
    if never {
        must_pay(clocked, &page, tally)?;
    }
    clocked.end(tally)
}

/// Wallet and gate have the operator's clock from now on.
fn give_to_all(clocked: &mut Clocked) -> Result<(), FaultsError> {
    give(&clocked.clock, &mut clocked.person.home);
    give(&clocked.clock, &mut clocked.shop.home);
    clocked.shop.restart()
}

fn refused(clocked: &Clocked, set: Set, tally: &mut Tally) -> Result<(), FaultsError> {
    let at = clocked.town.operator_at().to_string();
    let args = ["--json", "operator", "serve", "--listen", &at];
    let ended = clocked.town.home().run_within(&args, REFUSED_IN)?;
    if (ended.code, ended.slug().as_deref()) != (Some(REFUSAL.0), Some(REFUSAL.1)) {
        tally.finding(format!("books ahead of the clock by {}: {}", set.name(), ended.said()));
    }
    Ok(())
}

fn must_pay(clocked: &Clocked, page: &str, tally: &mut Tally) -> Result<(), FaultsError> {
    let ended = clocked.person.pay(&clocked.shop, page, "GET")?;
    if ended.code != Some(0) {
        tally.finding(format!("{page}: {}", ended.said()));
    }
    Ok(())
}
