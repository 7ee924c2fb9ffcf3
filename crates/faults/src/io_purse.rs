//! The Nth call of a wallet's or a gate's program to its disk fails, once or from then on. The command ends with a number
//! and a word that docs/exit-codes.md knows; the same command on a good disk then does what it is asked, and what
//! everybody has is still what was deposited. Source: reliability.md R8; books.md, "Exactly once".

use std::path::Path;

use crate::clients::runtime;
use crate::dice::Dice;
use crate::disk::{Damage, Kind, Shim};
use crate::error::FaultsError;
use crate::fault::{Setting, Size};
use crate::report::Tally;
use crate::town::{self, Ended, Home, Person, Shop, Site, Town};

/// What wallets do, in turn; the page of a payment is another one each time.
const COMMANDS: [&[&str]; 3] =
    [&["wallet", "refresh", "--all"], &["wallet", "buy", "0.30 FLO"], &["wallet", "redeem", "0.10 FLO"]];
/// Everything is added up after so many tries.
const COUNT_EVERY: u64 = 10;
const BEGIN: &str = "20.00 FLO";

#[derive(Default)]
struct Shown {
    /// A command met a fault and said so.
    failed: u64,
    /// It met one and did what it was asked.
    done: u64,
    not_reached: u64,
    not_started: u64,
}

struct Stage {
    town: Town,
    person: Person,
    shop: Shop,
    shim: Shim,
    shown: Shown,
}

/// Tries a sample, or every call of every kind up to the furthest that a try has come to.
///
/// # Errors
/// What keeps the tries from beginning.
pub fn run(setting: &Setting, tries: u64) -> Result<Tally, FaultsError> {
    let (runtime, mut tally) = (runtime()?, Tally::default());
    let mut stage = runtime.block_on(Stage::make(setting))?;
    for number in setting.numbers(tries) {
        let damage = chosen(setting, number);
        let tried = if number % 2 == 0 { stage.wallet(damage, number) } else { stage.gate(damage, number) };
        if let Err(error) = tried {
            tally.finding(format!("try {number}, {}: {error}", damage.text()));
        }
        tally.tries = tally.tries.saturating_add(1);
        if tally.tries.is_multiple_of(COUNT_EVERY) || tally.tries == tries {
            stage.count(&mut tally)?;
        }
        if !tally.findings.is_empty() && setting.keep {
            tally.finding(format!("kept in {}", stage.town.keep().display()));
            break;
        }
    }
    tally.count("failed with a word", stage.shown.failed);
    tally.count("did it all the same", stage.shown.done);
    tally.count("did not start", stage.shown.not_started);
    tally.count("calls not reached", stage.shown.not_reached);
    Ok(tally)
}

/// In the full size the calls in their order, of every kind; otherwise any of the first ones.
fn chosen(setting: &Setting, number: u64) -> Damage {
    const COMBINATIONS: u64 = 6;
    const SAMPLED: u64 = 80;
    let number = number / 2;
    let (row, column) = (number / COMBINATIONS, number % COMBINATIONS);
    let kind = Kind::ALL.get(usize::try_from(column / 2).unwrap_or(0)).copied().unwrap_or(Kind::Eio);
    let sticky = column % 2 == 1;
    let at = match setting.size {
        Size::Full => row.saturating_add(1),
        Size::Ci => Dice::new(setting.seed, number).within(1, SAMPLED),
    };
    Damage { kind, at, sticky }
}

/// Everything that is started in this home from now on has its files on the bad disk, or on a good one again.
fn put_on(home: &mut Home, shim: &Shim, damage: Option<Damage>) -> Result<(), FaultsError> {
    let Some(damage) = damage else {
        home.set(&[("LD_PRELOAD", ""), ("FLORIN_DISK_DIR", "")]);
        return Ok(());
    };
    let dir = home.path().to_path_buf();
    for (name, value) in shim.environment(&dir, Some(damage), None)? {
        home.set(&[(name, &value.to_string_lossy())]);
    }
    Ok(())
}

fn page_of(shop: &Shop, number: u64) -> String {
    format!("http://{}/page-{number}", shop.at)
}

fn done(ended: &Ended, what: &str) -> Result<(), FaultsError> {
    if ended.code == Some(0) {
        return Ok(());
    }
    Err(FaultsError::Found(format!("on a good disk, {what} ended: {}", ended.said())))
}

fn definite(ended: &Ended, what: &str) -> Result<(), FaultsError> {
    let indefinite = ended.indefinite();
    indefinite.map_or(Ok(()), |how| Err(FaultsError::Found(format!("{what} ended: {how}"))))
}

impl Stage {
    async fn make(setting: &Setting) -> Result<Self, FaultsError> {
        let town = Town::start(setting, "io-purse", &[])?;
        let site = Site::start().await?;
        let operator = format!("http://{}", town.operator_at());
        let shop = town.shop("shop", &operator, &site.url())?;
        let person = town.person("alice", &operator)?;
        person.home.ok(&["wallet", "buy", BEGIN])?;
        let shim = Shim::build(town.path())?;
        Ok(Self { town, person, shop, shim, shown: Shown::default() })
    }

    fn tell(&mut self, ended: bool) -> Result<(), FaultsError> {
        let shown = &mut self.shown;
        let counter = match (self.shim.counted()?.faults > 0, ended) {
            (false, _) => &mut shown.not_reached,
            (true, true) => &mut shown.done,
            (true, false) => &mut shown.failed,
        };
        *counter = counter.saturating_add(1);
        Ok(())
    }

    fn wallet(&mut self, damage: Damage, number: u64) -> Result<(), FaultsError> {
        let page = page_of(&self.shop, number);
        let file = self.person.home.path().join("page");
        let paying = ["wallet", "pay", &page, "-o", path_text(&file)];
        let turns = COMMANDS.len().saturating_add(1);
        let turn = usize::try_from(number / 2).unwrap_or(0).checked_rem(turns).unwrap_or(0);
        let command: &[&str] = COMMANDS.get(turn).copied().unwrap_or(&paying);
        let said = [&["--json"], command].concat();
        put_on(&mut self.person.home, &self.shim, Some(damage))?;
        let ended = self.person.home.run(&said);
        put_on(&mut self.person.home, &self.shim, None)?;
        let ended = ended?;
        self.tell(ended.code == Some(0))?;
        definite(&ended, &command.join(" "))?;
        done(&self.person.home.run(&said)?, &command.join(" "))
    }

    fn gate(&mut self, damage: Damage, number: u64) -> Result<(), FaultsError> {
        put_on(&mut self.shop.home, &self.shim, Some(damage))?;
        let started = self.shop.restart();
        let page = page_of(&self.shop, number);
        let file = self.person.home.path().join("page");
        let paying = ["--json", "wallet", "pay", &page, "-o", path_text(&file)];
        let paid = match &started {
            Ok(()) => Some(self.person.home.run(&paying)?),
            Err(FaultsError::Said { .. }) => {
                self.shown.not_started = self.shown.not_started.saturating_add(1);
                None
            }
            Err(_) => return started,
        };
        put_on(&mut self.shop.home, &self.shim, None)?;
        self.tell(paid.as_ref().is_some_and(|paid| paid.code == Some(0)))?;
        self.shop.restart()?;
        if let Some(paid) = paid {
            definite(&paid, "the payment to a gate on a bad disk")?;
        }
        let bad = self.shop.home.bad_lines();
        if let Some(line) = bad.first() {
            return Err(FaultsError::Found(line.clone()));
        }
        done(&self.person.home.run(&paying)?, "the same payment")
    }

    fn count(&self, tally: &mut Tally) -> Result<(), FaultsError> {
        let (_, findings) = town::count(&self.town, &[&self.person], &[&self.shop])?;
        findings.into_iter().for_each(|finding| tally.finding(finding));
        Ok(())
    }
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
