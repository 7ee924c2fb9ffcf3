//! A party of one kind of damage: a gate and two wallets with three proxies between them and the operator.
//! Source: reliability.md, R10.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::kind::Kind;
use super::serve::{Proxy, Switch};
use super::{Leg, Seen};
use crate::dice::Dice;
use crate::error::FaultsError;
use crate::town::{Ended, FINAL_IN, Home, Person, Shop, Site, Town};

/// One exchange of so many is damaged while payments go on.
const ONE_IN: u64 = 2;
/// How often a command is repeated while the network is bad, before it waits for the healing.
const TRIES_BAD: u32 = 3;
/// The exit codes that say: the same command again.
const AGAIN: [i32; 2] = [3, 69];

/// The gate, the wallets and what is between them.
pub struct Party<'t> {
    kind: Kind,
    site: &'t Site,
    to_operator: Proxy,
    to_gate: Proxy,
    gate_to_operator: Proxy,
    shop: Shop,
    people: Vec<Person>,
    /// `METHOD /path` of every page that was to be paid.
    pages: Mutex<Vec<String>>,
    seen: Mutex<Seen>,
}

/// A command, and the page that it is to bring.
struct Job {
    args: Vec<String>,
    page: Option<(String, PathBuf)>,
    at_gate: bool,
}

impl Job {
    fn new(args: &[&str]) -> Self {
        let args = ["--json"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        Self { args, page: None, at_gate: false }
    }

    fn what(&self) -> String {
        self.args.iter().skip(1).cloned().collect::<Vec<_>>().join(" ")
    }
}

impl<'t> Party<'t> {
    /// Makes everybody, over a network that is well.
    ///
    /// # Errors
    /// `Runtime`, `Program`, `Said`.
    pub fn new(
        kind: Kind,
        mut dice: Dice,
        town: &'t Town,
        site: &'t Site,
        runtime: &Runtime,
    ) -> Result<Self, FaultsError> {
        let mut proxy = |to| {
            let dice = Dice::new(dice.draw(), 0);
            runtime.block_on(Proxy::start(to, dice))
        };
        let (to_operator, gate_to_operator) = (proxy(town.operator_at())?, proxy(town.operator_at())?);
        let name = kind.name();
        let shop = town.shop(&format!("{name}-gate"), &gate_to_operator.url(), &site.url())?;
        let to_gate = proxy(shop.at)?;
        let mut people = Vec::new();
        for number in 1..=2 {
            let person = town.person(&format!("{name}-{number}"), &to_operator.url())?;
            person.home.ok(&["wallet", "buy", "100.00 FLO"])?;
            people.push(person);
        }
        let (pages, seen) = (Mutex::default(), Mutex::default());
        Ok(Self { kind, site, to_operator, to_gate, gate_to_operator, shop, people, pages, seen })
    }

    /// The wallets.
    pub fn people(&self) -> impl Iterator<Item = &Person> {
        self.people.iter()
    }

    /// The gate.
    pub const fn shop(&self) -> &Shop {
        &self.shop
    }

    /// How many pages were to be paid.
    pub fn pages(&self) -> u64 {
        u64::try_from(self.pages.lock().unwrap_or_else(PoisonError::into_inner).len()).unwrap_or(0)
    }

    /// What was seen.
    pub fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switch(&self, leg: Leg) -> &Switch {
        match leg {
            Leg::WalletOperator => self.to_operator.switch(),
            Leg::WalletGate => self.to_gate.switch(),
            Leg::GateOperator => self.gate_to_operator.switch(),
        }
    }

    fn finding(&self, leg: Leg, what: &str) {
        self.seen().findings.push(format!("{} {}: {what}", self.kind.name(), leg.name()));
    }

    /// Every second page is bought with a POST: it must reach the site once.
    fn page(&self, leg: Leg, who: usize, person: &Person) -> Job {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let number = pages.len();
        let path = format!("/{}/{}/{who}/{number}", self.kind.name(), leg.name());
        let url = format!("{}{path}", self.to_gate.url());
        let file = person.home.path().join(format!("page-{number}"));
        let method = if number.checked_rem(2) == Some(0) { "GET" } else { "POST" };
        let page = format!("{method} {path}");
        pages.push(page.clone());
        drop(pages);
        let out = file.to_string_lossy().into_owned();
        let mut job = Job::new(&["wallet", "pay", &url, "-X", method, "-o", &out]);
        job.page = Some((page, file));
        job
    }

    /// Both wallets pay so many pages, and do what else goes over the leg, while some exchanges are damaged; then the
    /// network is healed, and everything has to end.
    ///
    /// # Errors
    /// `Program`.
    pub fn some(&self, leg: Leg, pages: u64) -> Result<(), FaultsError> {
        self.switch(leg).some(self.kind, ONE_IN);
        let begun: Vec<Result<Vec<Job>, FaultsError>> = thread::scope(|threads| {
            let all = self.people.iter().enumerate();
            let busy: Vec<_> =
                all.map(|(who, person)| threads.spawn(move || self.busy(leg, who, person, pages))).collect();
            let gone = |_| Err(FaultsError::Said { program: "a thread".into(), said: "it panicked".into() });
            busy.into_iter().map(|thread| thread.join().unwrap_or_else(gone)).collect()
        });
        let open = begun.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (healed, damaged) = (Instant::now(), self.switch(leg).damaged());
        self.switch(leg).heal();
        for (person, jobs) in self.people.iter().zip(open) {
            for job in jobs {
                self.finish(leg, &job, person, healed)?;
            }
        }
        self.settled(leg, healed)?;
        if damaged == 0 {
            self.finding(leg, "nothing was damaged");
        }
        Ok(())
    }

    fn busy(&self, leg: Leg, who: usize, person: &Person, pages: u64) -> Result<Vec<Job>, FaultsError> {
        let mut open = Vec::new();
        for number in 0..pages.max(1) {
            let mut jobs = vec![self.page(leg, who, person)];
            // What else goes this way, at the beginning and then now and again.
            if number.checked_rem(50) == Some(0) {
                jobs.extend(others(leg, who));
            }
            for job in jobs {
                let mut over = false;
                for _ in 0..TRIES_BAD {
                    over = over || self.run(leg, &job, person)?;
                }
                if !over {
                    open.push(job);
                }
            }
        }
        Ok(open)
    }

    /// Every exchange of a leg is damaged while a page is paid, and money is asked for. The network is healed after a
    /// while, and the command has to end by itself; or only after it has given up, and the same command has to end it.
    ///
    /// # Errors
    /// `Program`.
    pub fn all(&self, leg: Leg, heal_after: Option<Duration>) -> Result<(), FaultsError> {
        let Some((who, person)) = self.people.iter().enumerate().next() else { return Ok(()) };
        let mut jobs = vec![self.page(leg, who, person)];
        jobs.extend(others(leg, who));
        for job in jobs {
            self.switch(leg).all(self.kind);
            let healed = thread::scope(|threads| {
                let running = threads.spawn(|| self.run(leg, &job, person));
                let healer = heal_after.map(|after| {
                    thread::sleep(after);
                    self.switch(leg).heal();
                    Instant::now()
                });
                let over = running.join().unwrap_or_else(|_| Ok(false))?;
                self.switch(leg).heal();
                let healed = healer.unwrap_or_else(Instant::now);
                if let (Some(_), false) = (heal_after, over) {
                    self.note(leg, "healed meanwhile, not over");
                }
                Ok::<_, FaultsError>(healed)
            })?;
            self.finish(leg, &job, person, healed)?;
        }
        self.settled(leg, Instant::now())
    }

    /// Runs a command once; whether its matter is over.
    fn run(&self, leg: Leg, job: &Job, person: &Person) -> Result<bool, FaultsError> {
        let home: &Home = if job.at_gate { &self.shop.home } else { &person.home };
        let args: Vec<&str> = job.args.iter().map(String::as_str).collect();
        let ended = home.run(&args)?;
        let again = ended.code.is_some_and(|code| AGAIN.contains(&code));
        if let Some(why) = ended.indefinite() {
            self.finding(leg, &format!("{}: no definite end: {why}", job.what()));
        }
        if ended.code == Some(0)
            && let Some((page, file)) = &job.page
            && std::fs::read(file).ok() != Some(Site::page(page))
        {
            self.finding(leg, &format!("{}: the page is not what the site gave", job.what()));
        }
        self.note(leg, &said(&ended, job));
        let mut seen = self.seen();
        seen.longest = seen.longest.max(ended.took);
        Ok(!again)
    }

    fn note(&self, _leg: Leg, said: &str) {
        let mut seen = self.seen();
        let count = seen.ends.entry(said.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// The same command until its matter is over: now that the network is well, soon.
    fn finish(&self, leg: Leg, job: &Job, person: &Person, healed: Instant) -> Result<(), FaultsError> {
        while !self.run(leg, job, person)? {
            if healed.elapsed() > FINAL_IN {
                self.finding(leg, &format!("{}: not final after {:?}", job.what(), healed.elapsed()));
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Nothing is open at the wallets soon after the healing.
    fn settled(&self, leg: Leg, healed: Instant) -> Result<(), FaultsError> {
        loop {
            let mut open = Vec::new();
            for person in &self.people {
                let ended = person.home.run(&["--json", "wallet", "status"])?;
                let report = ended.json();
                let none = report.get("open").and_then(|o| o.as_array()).is_some_and(Vec::is_empty);
                if ended.code != Some(0) || !none {
                    open.push(format!("{} {report}", ended.said()));
                }
            }
            let mut seen = self.seen();
            seen.healed_in = seen.healed_in.max(healed.elapsed());
            if open.is_empty() {
                return Ok(());
            }
            if healed.elapsed() > FINAL_IN {
                drop(seen);
                self.finding(leg, &format!("open after {:?}: {}", healed.elapsed(), open.join("; ")));
                return Ok(());
            }
            drop(seen);
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// Goods against debits: a page is debited at most once, what was debited was given, what was not was not; and what
    /// was asked for with a POST was given once.
    ///
    /// # Errors
    /// `Program`, `Said`.
    pub fn compare(&self) -> Result<(), FaultsError> {
        let mut debits: BTreeMap<String, u64> = BTreeMap::new();
        for person in &self.people {
            for (what, count) in person.debits()? {
                let page = what.replacen(&self.to_gate.url(), "", 1);
                let all = debits.entry(page).or_insert(0);
                *all = all.saturating_add(count);
            }
        }
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut seen = self.seen();
        for page in &pages {
            let (debited, given) = (debits.get(page).copied().unwrap_or(0), self.site.asked(page));
            let once = !page.starts_with("POST") || given == debited;
            if debited > 1 || (debited == 0) != (given == 0) || !once {
                seen.findings.push(format!("{page}: debited {debited} times, given {given} times"));
            }
            seen.debits = seen.debits.saturating_add(debited);
        }
        seen.damaged = Leg::ALL.iter().map(|leg| self.switch(*leg).damaged()).fold(0, u64::saturating_add);
        Ok(())
    }
}

/// What else goes over a leg.
fn others(leg: Leg, who: usize) -> Vec<Job> {
    match (leg, who) {
        (Leg::WalletOperator, 0) => vec![
            Job::new(&["wallet", "buy", "1.00 FLO"]),
            Job::new(&["wallet", "redeem", "0.50 FLO"]),
            Job::new(&["wallet", "refresh", "--all"]),
        ],
        (Leg::GateOperator, 0) => {
            vec![Job { at_gate: true, ..Job::new(&["gate", "payout"]) }]
        }
        _ => Vec::new(),
    }
}

/// How a command ended, for the table of ends.
fn said(ended: &Ended, job: &Job) -> String {
    let of = |name: &str| ended.json().get(name).and_then(|v| v.as_str()).map(ToOwned::to_owned);
    let command: Vec<&str> = job.args.iter().skip(1).take(2).map(String::as_str).collect();
    let how = match ended.code {
        Some(0) => "0".to_owned(),
        _ => match of("outcome") {
            Some(outcome) => format!("{} {outcome}", ended.code.unwrap_or(-1)),
            None => ended.said(),
        },
    };
    format!("{}: {how}", command.join(" "))
}
