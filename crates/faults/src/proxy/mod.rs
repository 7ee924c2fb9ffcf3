//! A bad network between real programs: a proxy of our own before gate and operator damages exchanges in each way that it
//! knows, on each leg, while wallets pay, buy, refresh and redeem and gates pay out. Every command must end as
//! docs/exit-codes.md says; once the network is well again everything must be final within 30 s, the books clean, and
//! every page given exactly as often as it was debited. Source: the issue; reliability.md, R10.

mod kind;
mod party;
mod serve;
pub mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

pub use kind::Kind;
pub use serve::{Proxy, Switch};

use self::party::Party;
use crate::dice::Dice;
use crate::error::FaultsError;
use crate::fault::{Setting, Size};
use crate::report::Tally;
use crate::town::{PRICE_MINOR, Site, Town, count};

/// Parties, each of which takes on its share of the kinds.
const PARTIES: usize = 5;
/// When a network that damages everything is healed under a command that runs; in CI sooner.
const HEAL_AFTER: Duration = Duration::from_secs(3);
const HEAL_AFTER_CI: Duration = Duration::from_millis(1_500);

/// A leg of the way of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// Between wallet and operator.
    WalletOperator,
    /// Between wallet and gate.
    WalletGate,
    /// Between gate and operator.
    GateOperator,
}

impl Leg {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::WalletOperator, Self::WalletGate, Self::GateOperator];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WalletOperator => "wallet-operator",
            Self::WalletGate => "wallet-gate",
            Self::GateOperator => "gate-operator",
        }
    }
}

/// What all parties together have seen.
#[derive(Default)]
pub struct Seen {
    /// Commands by how they ended, such as `3 not-known-yet`.
    pub ends: BTreeMap<String, u64>,
    /// The longest command.
    pub longest: Duration,
    /// The longest time from a healing until a party had nothing open.
    pub healed_in: Duration,
    /// What must not be.
    pub findings: Vec<String>,
    /// Exchanges that were damaged.
    pub damaged: u64,
    /// Pages that were debited.
    pub debits: u64,
}

/// Tries each kind on each leg.
///
/// # Errors
/// What keeps a town from starting.
pub fn run(setting: &Setting, tries: u64) -> Result<Tally, FaultsError> {
    let kinds = u64::try_from(Kind::ALL.len()).unwrap_or(1);
    let each = tries.checked_div(kinds).unwrap_or(0).max(6);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(FaultsError::Runtime)?;
    let mut town = Town::start(setting, "proxy", &[])?;
    let site = runtime.block_on(Site::start())?;
    let tried: Vec<Result<Party<'_>, FaultsError>> = std::thread::scope(|threads| {
        let (town, site, runtime) = (&town, &site, &runtime);
        let begin = |number| threads.spawn(move || take_on(number, setting, each, town, site, runtime));
        let parties: Vec<_> = (0..PARTIES).map(begin).collect();
        let gone = |_| Err(FaultsError::Said { program: "a party".into(), said: "it panicked".into() });
        parties.into_iter().map(|party| party.join().unwrap_or_else(gone)).collect()
    });
    let parties = tried.into_iter().collect::<Result<Vec<_>, _>>()?;
    let tally = tally(&town, &parties)?;
    drop(parties);
    if setting.keep && !tally.findings.is_empty() {
        eprintln!("proxy: state and logs are kept in {}", town.keep().display());
    }
    Ok(tally)
}

/// A party takes on every fifth kind, on each leg.
fn take_on<'t>(
    number: usize,
    setting: &Setting,
    each: u64,
    town: &Town,
    site: &'t Site,
    runtime: &tokio::runtime::Runtime,
) -> Result<Party<'t>, FaultsError> {
    let dice = Dice::new(setting.seed, u64::try_from(number).unwrap_or(0));
    let party = Party::new(number, dice, town, site, runtime)?;
    let full = setting.size == Size::Full;
    for (place, kind) in Kind::ALL.into_iter().enumerate().skip(number).step_by(PARTIES) {
        for (leg_place, leg) in Leg::ALL.into_iter().enumerate() {
            party.some((kind, leg), each.div_ceil(6))?;
            if full || place.checked_rem(Leg::ALL.len()) == Some(leg_place) {
                party.all((kind, leg), Some(if full { HEAL_AFTER } else { HEAL_AFTER_CI }), full)?;
            }
            if full {
                party.all((kind, leg), None, true)?;
            }
        }
    }
    party.compare()?;
    Ok(party)
}

/// Adds up what the parties have seen, and looks at the books.
fn tally(town: &Town, parties: &[Party<'_>]) -> Result<Tally, FaultsError> {
    let mut tally = Tally::default();
    let people: Vec<_> = parties.iter().flat_map(|party| party.people()).collect();
    let shops: Vec<_> = parties.iter().map(|party| party.shop()).collect();
    let (counted, findings) = count(town, &people, &shops)?;
    tally.findings.extend(findings);
    tally.findings.extend(town.bad_lines(&shops));
    let mut ends = BTreeMap::new();
    let (mut longest, mut healed_in) = (Duration::ZERO, Duration::ZERO);
    let (mut damaged, mut debits, mut commands) = (0_u64, 0_u64, 0_u64);
    for party in parties {
        let seen = party.seen();
        tally.findings.extend(seen.findings.iter().cloned());
        tally.tries = tally.tries.saturating_add(party.pages());
        (longest, healed_in) = (longest.max(seen.longest), healed_in.max(seen.healed_in));
        damaged = damaged.saturating_add(seen.damaged);
        debits = debits.saturating_add(seen.debits);
        for (end, times) in &seen.ends {
            commands = commands.saturating_add(*times);
            let all = ends.entry(end.clone()).or_insert(0_u64);
            *all = all.saturating_add(*times);
        }
    }
    eprintln!("proxy: how commands ended: {ends:?}");
    // What gates have is what pages cost, but for what they paid out; the count of everything says the rest.
    let earned = debits.saturating_mul(PRICE_MINOR);
    if counted.gates > earned {
        tally.finding(format!("gates have {} and have sold for {earned}", counted.gates));
    }
    tally.count("kinds", u64::try_from(Kind::ALL.len()).unwrap_or(0));
    tally.count("damaged exchanges", damaged);
    tally.count("commands", commands);
    tally.count("debits", debits);
    tally.figure("longest command s", longest.as_secs_f64());
    tally.figure("final after healing s", healed_in.as_secs_f64());
    Ok(tally)
}
