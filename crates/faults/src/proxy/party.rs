//! A party: a gate and two wallets with three proxies between them and the operator, which take on damage after damage.
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

/// Which damage, and where.
pub type How = (Kind, Leg);

/// The gate, the wallets and what is between them.
pub struct Party<'t> {
    number: usize,
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
        number: usize,
        mut dice: Dice,
        town: &Town,
        site: &'t Site,
        runtime: &Runtime,
    ) -> Result<Self, FaultsError> {
        let mut proxy = |to| {
            let dice = Dice::new(dice.draw(), 0);
            runtime.block_on(Proxy::start(to, dice))
        };
        let (to_operator, gate_to_operator) = (proxy(town.operator_at())?, proxy(town.operator_at())?);
        let shop = town.shop(&format!("gate-{number}"), &gate_to_operator.url(), &site.url())?;
        let to_gate = proxy(shop.at)?;
        let mut people = Vec::new();
        for name in ["a", "b"] {
            let person = town.person(&format!("wallet-{number}{name}"), &to_operator.url())?;
            person.home.ok(&["wallet", "buy", "100.00 FLO"])?;
            people.push(person);
        }
        let (pages, seen) = (Mutex::default(), Mutex::default());
        Ok(Self { number, site, to_operator, to_gate, gate_to_operator, shop, people, pages, seen })
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

    fn finding(&self, how: How, what: &str) {
        let text = format!("{} {}, party {}: {what}", how.0.name(), how.1.name(), self.number);
        self.seen().findings.push(text);
    }

    /// Every second page is bought with a POST: it must reach the site once.
    fn page(&self, how: How, who: usize, person: &Person) -> Job {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let number = pages.len();
        let path = format!("/{}/{}/{who}/{number}", how.0.name(), how.1.name());
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
    pub fn some(&self, how: How, pages: u64) -> Result<(), FaultsError> {
        let switch = self.switch(how.1);
        let before = switch.damaged();
        switch.some(how.0, ONE_IN);
        let begun: Vec<Result<Vec<Job>, FaultsError>> = thread::scope(|threads| {
            let all = self.people.iter().enumerate();
            let busy: Vec<_> =
                all.map(|(who, person)| threads.spawn(move || self.busy(how, who, person, pages))).collect();
            let gone = |_| Err(FaultsError::Said { program: "a thread".into(), said: "it panicked".into() });
            busy.into_iter().map(|thread| thread.join().unwrap_or_else(gone)).collect()
        });
        let open = begun.into_iter().collect::<Result<Vec<_>, _>>()?;
        let healed = Instant::now();
        switch.heal();
        for (person, jobs) in self.people.iter().zip(open) {
            for job in jobs {
                self.finish(how, &job, person, healed)?;
            }
        }
        self.settled(how, healed)?;
        if switch.damaged() == before {
            self.finding(how, "nothing was damaged");
        }
        Ok(())
    }

    fn busy(&self, how: How, who: usize, person: &Person, pages: u64) -> Result<Vec<Job>, FaultsError> {
        let mut open = Vec::new();
        for number in 0..pages.max(1) {
            let mut jobs = vec![self.page(how, who, person)];
            // What else goes this way, at the beginning and then now and again.
            if number.checked_rem(50) == Some(0) {
                jobs.extend(others(how.1, who));
            }
            for job in jobs {
                let mut over = false;
                for _ in 0..TRIES_BAD {
                    over = over || self.run(how, &job, person)?;
                }
                if !over {
                    open.push(job);
                }
            }
        }
        Ok(open)
    }

    /// Every exchange of a leg is damaged while a page is paid, and with `others` all else is asked for. The network is healed after a
    /// while, and the command has to end by itself; or only after it has given up, and the same command has to end it.
    ///
    /// # Errors
    /// `Program`.
    pub fn all(&self, how: How, heal_after: Option<Duration>, others: bool) -> Result<(), FaultsError> {
        let Some((who, person)) = self.people.iter().enumerate().next() else { return Ok(()) };
        let mut jobs = vec![self.page(how, who, person)];
        if others {
            jobs.extend(self::others(how.1, who));
        }
        for job in jobs {
            let switch = self.switch(how.1);
            switch.all(how.0);
            let (over, healed) = thread::scope(|threads| {
                let running = threads.spawn(|| self.run(how, &job, person));
                let healed_meanwhile = heal_after.map(|after| {
                    thread::sleep(after);
                    switch.heal();
                    Instant::now()
                });
                let over = running.join().unwrap_or(Ok(false));
                switch.heal();
                (over, healed_meanwhile.unwrap_or_else(Instant::now))
            });
            if !over? {
                self.finish(how, &job, person, healed)?;
            }
            self.settled(how, healed)?;
        }
        Ok(())
    }

    /// Runs a command once; whether its matter is over.
    fn run(&self, how: How, job: &Job, person: &Person) -> Result<bool, FaultsError> {
        let home: &Home = if job.at_gate { &self.shop.home } else { &person.home };
        let args: Vec<&str> = job.args.iter().map(String::as_str).collect();
        let ended = home.run(&args)?;
        let again = ended.code.is_some_and(|code| AGAIN.contains(&code));
        if let Some(why) = ended.indefinite() {
            self.finding(how, &format!("{}: no definite end: {why}", job.what()));
        }
        if ended.code == Some(0)
            && let Some((page, file)) = &job.page
            && std::fs::read(file).ok() != Some(Site::page(page))
        {
            self.finding(how, &format!("{}: the page is not what the site gave", job.what()));
        }
        let mut seen = self.seen();
        let count = seen.ends.entry(said(&ended, job)).or_insert(0);
        *count = count.saturating_add(1);
        seen.longest = seen.longest.max(ended.took);
        Ok(!again)
    }

    /// The same command until its matter is over: now that the network is well, soon.
    fn finish(&self, how: How, job: &Job, person: &Person, healed: Instant) -> Result<(), FaultsError> {
        while !self.run(how, job, person)? {
            if healed.elapsed() > FINAL_IN {
                self.finding(how, &format!("{}: not final after {:?}", job.what(), healed.elapsed()));
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Nothing is open at the wallets soon after the healing.
    fn settled(&self, how: How, healed: Instant) -> Result<(), FaultsError> {
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
                self.finding(how, &format!("open after {:?}: {}", healed.elapsed(), open.join("; ")));
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
