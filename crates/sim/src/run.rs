//! One run: a whole economy from one seed, with everything that goes wrong, and what the auditor says in the end.
//! Source: reliability.md, R5, R9; the issue ("simulation", "an auditor").

use std::sync::Arc;
use std::time::Duration;

use florin_crypto::Digest;
use florin_operator::OperatorError;
use florin_operator::operator::Operator;
use florin_shell::description::{self, Description};
use florin_store::Books;

use crate::audit::{Economy, Findings};
use crate::bank::{Bank, iban};
use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::host::{Host, Mould};
use crate::ledger::{Account, Between};
use crate::machine::Machine;
use crate::net::Net;
use crate::person::{Board, Person};
use crate::plan::Plan;
use crate::shop::{ACCOUNT, Shop};
use crate::time::Virtual;
use crate::trace::Trace;
use crate::watch::Watcher;
use crate::wire::Wire;

/// What everybody begins with, in minor units.
const MONEY: i64 = 3_000;
/// A run that is not over by then, in its own time, is stuck.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// How long everything may take to come to rest once faults have stopped: a payment's deadline is a minute.
const REST: Duration = Duration::from_secs(60);
/// So long a paid page may be asked for.
const PAGES: Duration = Duration::from_secs(16 * 60);
/// How often it is looked whether everything has come to rest.
const ROUND: Duration = Duration::from_millis(1500);

/// What came of a run.
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// What was found.
    pub findings: Vec<String>,
    /// What happened.
    pub trace: String,
    /// Its digest.
    pub digest: Digest,
    /// How long it took, in its own time.
    pub passed_ms: u64,
    /// Writes and syncs to the operator's disks.
    pub writes: u64,
}

/// Everybody.
pub(crate) struct Town {
    pub(crate) plan: Arc<Plan>,
    pub(crate) clock: Virtual,
    pub(crate) trace: Trace,
    net: Net,
    bank: Arc<Bank>,
    watcher: Arc<Watcher>,
    pub(crate) host: Arc<Host>,
    pub(crate) shop: Arc<Shop>,
    pub(crate) people: Vec<Arc<Person>>,
    pub(crate) signed: Vec<u8>,
}

/// Something that is not so, told to the auditor: it has to find it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// The operator's account has a cent more.
    BankHasMore,
    /// One purse, under two names.
    SamePurseTwice,
    /// One purse is kept from it.
    PurseIsMissing,
    /// Nobody's history says anything: the wallets are those of others.
    NoPayerMeantIt,
}

/// Runs a seed.
///
/// # Errors
/// The system's, in words; what the run itself finds is no error.
pub fn run(mould: &Mould, seed: u64, coverage: &Coverage) -> Result<Outcome, String> {
    run_told(mould, seed, coverage, None)
}

/// Runs a seed, and tells the auditor something that is not so.
///
/// # Errors
/// As for [`run`].
pub fn run_told(mould: &Mould, seed: u64, coverage: &Coverage, lie: Option<Lie>) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let outcome = runtime.block_on(whole(mould, seed, coverage, lie));
    runtime.shutdown_background();
    outcome
}

async fn whole(mould: &Mould, seed: u64, coverage: &Coverage, lie: Option<Lie>) -> Result<Outcome, String> {
    let plan = Arc::new(Plan::of(seed));
    let clock = Virtual::begin();
    let trace = Trace::new(clock.clone());
    trace.say("plan", &*plan);
    let town = Town::open(mould, &plan, &clock, &trace, coverage).await?;
    let mut findings = Vec::new();
    match tokio::time::timeout(LONGEST, town.live()).await {
        Ok(Ok(())) => findings.extend(town.rest(lie).await),
        Ok(Err(error)) => findings.push(error),
        Err(_) => findings.push("it does not come to an end".into()),
    }
    findings.extend(town.watcher.findings());
    if !findings.is_empty() {
        town.people.iter().for_each(|person| person.tell());
    }
    let (writes, passed_ms) = (town.host.machine.writes(), clock.passed_ms());
    for finding in &findings {
        trace.say("auditor", finding);
    }
    let (text, digest) = (trace.text(), trace.digest());
    Ok(Outcome { plan: Plan::of(seed), findings, trace: text, digest, passed_ms, writes })
}

impl Town {
    async fn open(
        mould: &Mould,
        plan: &Arc<Plan>,
        clock: &Virtual,
        trace: &Trace,
        coverage: &Coverage,
    ) -> Result<Self, String> {
        let net = Net::new(plan, clock, coverage);
        net.says().iter().for_each(|cut| trace.say("cut", cut));
        let bank = Bank::new(plan, clock, &net, trace);
        let watcher = Watcher::new(&bank, trace);
        let machine = |name: &str, clock: Virtual| Machine::new(name, plan, clock, trace, coverage);
        let looks = Arc::clone(&watcher);
        let operators = machine("operator", clock.clone())
            .watched(Arc::new(move |lane, books: &Books| looks.written(lane, books)));
        let host = Host::new(mould, operators, &bank, &watcher, plan, (trace, coverage))?;
        let dice = Dice::new(plan.seed, "early");
        if dice.per_mille(plan.early) {
            host.machine.fail_soon();
        }
        host.start_anyhow().await.map_err(|e| e.to_string())?;
        let said = host.call(description::PATH, Vec::new()).await.ok_or("the operator says nothing")?;
        let signed = Description::signed_list(&said.body).ok_or("the operator has no keys")?;
        let dice = Dice::new(plan.seed, "skew");
        let drift = |dice: &Dice| {
            let ppm = i64::try_from(dice.below(plan.drift_ppm.saturating_add(1))).unwrap_or(0);
            if dice.per_mille(500) { ppm } else { ppm.saturating_neg() }
        };
        let shop = machine("shop", clock.off_by(0, drift(&dice)));
        if dice.per_mille(plan.early) {
            shop.fail_soon();
        }
        let shop = Shop::new(shop, &net, &bank, plan.settle, trace);
        bank.open(&iban(ACCOUNT), 0);
        let board = Arc::new(Board::default());
        let mut people = Vec::new();
        for n in 0..plan.people {
            let account = iban(n);
            bank.open(&account, MONEY);
            let skew = i64::try_from(dice.below(plan.skew_ms.saturating_add(1))).unwrap_or(0);
            let skew = if dice.per_mille(500) { skew } else { skew.saturating_neg() };
            let name = format!("person{n}");
            let wire = Wire {
                who: name.clone(),
                net: net.clone(),
                host: Arc::clone(&host),
                shop: Some(Arc::clone(&shop)),
            };
            let machine = machine(&name, clock.off_by(skew, drift(&dice)));
            let person = Person::new(machine, account, wire, &bank, &board, trace, plan);
            people.push(person.map_err(|e| e.to_string())?);
        }
        let (plan, clock) = (Arc::clone(plan), clock.clone());
        Ok(Self { plan, clock, trace: trace.clone(), net, bank, watcher, host, shop, people, signed })
    }

    /// Until everybody has seen to everything, with all that goes wrong meanwhile.
    async fn live(&self) -> Result<(), String> {
        let watching = Arc::clone(&self.host);
        let watch =
            async move { watching.watch().await.map_err(|e| format!("the operator does not start: {e}")) };
        let watch_shop = self.shop.watch(&self.host, &self.signed);
        let watch_people = async {
            let watches = self.people.iter().map(|person| {
                let person = Arc::clone(person);
                tokio::spawn(async move { person.watch().await })
            });
            let watches: Vec<_> = watches.collect();
            let _ends = Ends(watches.iter().map(tokio::task::JoinHandle::abort_handle).collect());
            std::future::pending::<()>().await;
        };
        let busy = async {
            self.shop.start_anew(&self.host, &self.signed).await;
            self.people.iter().for_each(Person::start);
            let chaos = self.chaos();
            tokio::pin!(chaos);
            loop {
                tokio::select! {
                    biased;
                    failed = &mut chaos => failed?,
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
                if self.people.iter().all(|person| person.is_done()) {
                    return Ok(());
                }
            }
        };
        tokio::select! {
            biased;
            failed = watch => failed,
            () = watch_shop => Ok(()),
            () = watch_people => Ok(()),
            done = busy => done,
        }
    }

    /// Faults stop; everything comes to rest, and is added up.
    async fn rest(&self, lie: Option<Lie>) -> Vec<String> {
        self.net.calm();
        self.trace.say("calm", "nothing goes wrong any more");
        if let Err(error) = self.all_up().await {
            return vec![format!("the operator does not start: {error}")];
        }
        let mut open = Vec::new();
        let settling = async {
            loop {
                open = self.still_open().await;
                if open.is_empty() {
                    return;
                }
                tokio::time::sleep(ROUND).await;
            }
        };
        // A payer whose clock is ahead has named a deadline that is as far ahead.
        let limit = REST.saturating_add(Duration::from_millis(self.plan.skew_ms));
        let _ = tokio::time::timeout(limit, settling).await;
        // A page that is known to be paid may still be had from its shop for a while; then its coins are taken off.
        if self.people.iter().any(|person| person.waits_for_pages()) {
            tokio::time::sleep(PAGES).await;
            let _ = self.still_open().await;
        }
        let mut findings: Vec<String> = open.into_iter().map(|what| format!("still open: {what}")).collect();
        findings.extend(self.people.iter().flat_map(|person| person.faults()));
        findings.extend(self.audit(lie));
        findings
    }

    /// Everybody runs again, on disks that have room and with clocks that are right.
    async fn all_up(&self) -> Result<(), OperatorError> {
        let people = self.people.iter().map(|person| &person.machine);
        for machine in [&self.host.machine, &self.shop.machine].into_iter().chain(people) {
            machine.disarm();
            machine.clock.be_wrong(0);
        }
        self.host.restart_now().await?;
        let anew = Dice::new(self.plan.seed, "anew").per_mille(self.plan.anew);
        if anew || self.shop.desk().is_none_or(|desk| desk.house.books.is_failed()) {
            self.shop.start_anew(&self.host, &self.signed).await;
        }
        for person in &self.people {
            if anew || person.wallet().is_none_or(|wallet| wallet.books().is_failed()) {
                person.restart().await;
            }
        }
        Ok(())
    }

    async fn still_open(&self) -> Vec<String> {
        let mut open = Vec::new();
        for person in &self.people {
            match person.settle().await {
                Ok(left) => {
                    open.extend(left.into_iter().map(|what| format!("{}: {what}", person.machine.name)))
                }
                Err(error) => open.push(format!("{}: {error}", person.machine.name)),
            }
        }
        if let Some(desk) = self.shop.desk() {
            let now = desk.house.clock.now();
            match desk.resume(now, Duration::ZERO).await {
                Ok(0) => {}
                Ok(n) => open.push(format!("shop: {n} requests")),
                Err(error) => open.push(format!("shop: {error}")),
            }
        }
        let waits = self.bank.waits();
        if waits > 0 {
            open.push(format!("bank: {waits} orders and news"));
        }
        if let Some(operator) = self.host.operator() {
            for house in [&operator.lanes.identity, &operator.lanes.books] {
                let waits = house.books.view(|lane| lane.outbox().count()).unwrap_or(usize::MAX);
                if waits > 0 {
                    open.push(format!("operator: {waits} effects"));
                }
            }
        }
        open
    }

    fn audit(&self, lie: Option<Lie>) -> Vec<String> {
        let (Some(operator), Some(gate)) = (self.host.operator(), self.shop.desk()) else {
            return vec!["somebody does not run".into()];
        };
        let wallets: Vec<_> =
            self.people.iter().filter_map(|p| Some((p.machine.name.clone(), p.wallet()?))).collect();
        let mut economy = Economy {
            operator: &operator,
            bank: self.bank.of_operator(),
            debits_returned: self.bank.debits_returned(),
            codes: self.bank.all_codes(),
            served: self.shop.served(),
            posts: self.shop.posts(),
            wallets: wallets.iter().map(|(name, wallet)| (name.clone(), &**wallet)).collect(),
            gate: &gate,
        };
        match lie {
            None => {}
            Some(Lie::BankHasMore) => economy.bank = economy.bank.saturating_add(1),
            Some(Lie::SamePurseTwice) => {
                economy
                    .wallets
                    .extend(wallets.iter().map(|(name, wallet)| (format!("{name}'s twin"), &**wallet)));
            }
            Some(Lie::PurseIsMissing) => drop(economy.wallets.pop()),
            Some(Lie::NoPayerMeantIt) => economy.wallets.clear(),
        }
        let mut findings = economy.audit();
        if lie.is_none() {
            self.people(&operator, &mut findings);
        }
        let mut findings = findings.0;
        let begun = MONEY.saturating_mul(i64::try_from(self.plan.people).unwrap_or(0));
        if self.bank.total() != begun {
            findings.push(format!("the bank began with {begun} and has {}", self.bank.total()));
        }
        if self.bank.twice() > 0 {
            findings.push(format!("{} orders were carried out twice", self.bank.twice()));
        }
        findings
    }

    fn people(&self, operator: &Operator, findings: &mut Findings) {
        let mut between = Between::default();
        for person in &self.people {
            let Some(wallet) = person.wallet() else { continue };
            let account = Account {
                name: &person.machine.name,
                wallet: &wallet,
                began: MONEY,
                bank: self.bank.balance(&person.iban),
                codes: self.bank.codes(&person.iban),
                returned: self.bank.returned(&person.iban),
                meant: person.meant(),
            };
            account.audit(&operator.issuer, &mut between, findings);
        }
        between.audit(findings);
    }
}

/// Ends tasks when it goes.
struct Ends(Vec<tokio::task::AbortHandle>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::AbortHandle::abort);
    }
}
