//! A person with a wallet: does one matter after another, loses the process now and then, and takes up where it was.
//! Source: reliability.md, R9; VarietyCash §3.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use florin_books::{LaneId, LaneSpec, PartyId};
use florin_crypto::{Secret, decode_strict};
use florin_parties::Roles;
use florin_shell::Passphrase;
use florin_shell::exchange::{EXCHANGE, Exchange};
use florin_wallet::{EnrolState, OpenOptions, Seed, Wallet, WalletError};

use crate::bank::Bank;
use crate::coverage::{Coverage, Fault};
use crate::host::Said;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::trace::Trace;
use crate::wire::Wire;

/// How often it is tried to enrol: a participant that the operator has blocked never is.
const TRIES: u32 = 40;
/// How often it is looked whether its books have failed of themselves.
const WATCH: Duration = Duration::from_secs(1);
/// A process whose disk has failed takes so long to end.
const ENDS: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(8);

/// What people show each other: invoices, and texts of coins. It is paper: no crash touches it.
#[derive(Default)]
pub struct Board {
    pub(crate) invoices: Mutex<Vec<(String, String, u64)>>,
    pub(crate) texts: Mutex<Vec<String>>,
}

pub(crate) fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A person.
pub struct Person {
    /// The machine.
    pub machine: Machine,
    /// The bank account.
    pub iban: String,
    pub(crate) seed: [u8; 32],
    wire: Wire,
    pub(crate) bank: Arc<Bank>,
    pub(crate) board: Arc<Board>,
    pub(crate) trace: Trace,
    dir: tempfile::TempDir,
    wallet: Mutex<Option<Arc<Wallet>>>,
    pub(crate) coverage: Coverage,
    pub(crate) at: Mutex<Option<&'static str>>,
    dead: Mutex<Option<()>>,
    starting: tokio::sync::Mutex<()>,
    pub(crate) tried: Mutex<Option<String>>,
    meant: Mutex<BTreeMap<(&'static str, u64), u64>>,
    left: AtomicU64,
    at_once: u64,
    attacks: u64,
    pages: AtomicBool,
    faults: Mutex<Vec<String>>,
}

impl Person {
    /// A person with so many matters to see to as the plan says.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new(
        machine: Machine,
        iban: String,
        wire: Wire,
        bank: &Arc<Bank>,
        board: &Arc<Board>,
        trace: &Trace,
        plan: &Plan,
    ) -> std::io::Result<Arc<Self>> {
        let coverage = wire.net.coverage.clone();
        let mut seed = [0; 32];
        (machine.dice().entropy())().fill(&mut seed);
        Ok(Arc::new(Self {
            machine,
            iban,
            seed,
            wire,
            bank: Arc::clone(bank),
            board: Arc::clone(board),
            trace: trace.clone(),
            dir: tempfile::tempdir()?,
            wallet: Mutex::default(),
            coverage,
            at: Mutex::default(),
            dead: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            tried: Mutex::default(),
            meant: Mutex::default(),
            left: AtomicU64::new(plan.matters),
            at_once: plan.at_once,
            attacks: plan.attacks,
            pages: AtomicBool::new(false),
            faults: Mutex::default(),
        }))
    }

    /// The wallet, while it is open.
    #[must_use]
    pub fn wallet(&self) -> Option<Arc<Wallet>> {
        locked(&self.wallet).clone()
    }

    /// Errors that no fault outside explains.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        locked(&self.faults).clone()
    }

    pub(crate) fn fault(&self, what: String) {
        locked(&self.faults).push(format!("{}: {what}", self.machine.name));
    }

    /// Whom a thief would like to be: the shop.
    pub(crate) fn victim(&self) -> Option<PartyId> {
        self.wire.shop.as_ref()?.desk().map(|desk| desk.party.identity.id())
    }

    /// Somebody else's message to the operator, at once and past everything that its wallet would do.
    pub(crate) async fn call(&self, path: &str, body: Vec<u8>) -> Option<Said> {
        self.wire.host.call(path, body).await
    }

    /// What it has meant to pay, and how often: to whom and how much.
    #[must_use]
    pub fn meant(&self) -> BTreeMap<(&'static str, u64), u64> {
        locked(&self.meant).clone()
    }

    pub(crate) fn means(&self, whom: &'static str, minor: u64) {
        let mut meant = locked(&self.meant);
        let times = meant.entry((whom, minor)).or_insert(0);
        *times = times.saturating_add(1);
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    /// Opens the wallet on what its disk holds, and goes on.
    pub fn start(self: &Arc<Self>) {
        let me = Arc::clone(self);
        self.machine.spawn(async move { me.live().await });
    }

    /// Kills it and starts it again after a while.
    pub async fn restart(self: &Arc<Self>) {
        if let Some(matter) = locked(&self.at).take() {
            self.coverage.hit(Fault::Killed, &format!("wallet: {matter}"));
        }
        let _starting = self.starting.lock().await;
        drop(locked(&self.wallet).take());
        self.machine.kill().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.start();
    }

    /// Starts it again whenever its disk has failed.
    pub async fn watch(self: &Arc<Self>) {
        loop {
            let _ = tokio::time::timeout(WATCH, self.machine.failed.notified()).await;
            tokio::time::sleep(ENDS).await;
            // It is told also while it opens, when there is no wallet yet.
            let failed = locked(&self.dead).take().is_some()
                || self.wallet().is_some_and(|wallet| wallet.books().is_failed());
            if failed {
                if let Some(matter) = *locked(&self.at) {
                    self.coverage.hit(Fault::DiskFailed, &format!("wallet: {matter}"));
                }
                self.restart().await;
            }
        }
    }

    /// Opens the wallet, without doing anything.
    async fn open(&self) -> Result<Arc<Wallet>, WalletError> {
        let spec = LaneSpec { lane: LaneId(1), registers: Vec::new() };
        let house = self.machine.house(spec, Arc::new(self.machine.clock.clone()))?;
        let network = self.wire.network();
        while let Err(error) = Wallet::begin_on(&house, "http://operator.test", &network).await {
            self.judge("begin", &error);
            if self.machine.is_broken() {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let none = Passphrase::none();
        let mut options = OpenOptions::new(self.dir.path().to_owned(), None, &none);
        options.patience = PATIENCE;
        options.json = true;
        let wallet = Wallet::on_books(options, &Seed::new(Secret::new(self.seed)), house, network)?;
        let wallet = Arc::new(wallet);
        *locked(&self.wallet) = Some(Arc::clone(&wallet));
        Ok(wallet)
    }

    async fn live(self: Arc<Self>) {
        let wallet = match self.open().await {
            Ok(wallet) => wallet,
            Err(error) => {
                self.judge("open", &error);
                *locked(&self.dead) = Some(());
                return;
            }
        };
        self.settle_in(&wallet).await;
        while self.left.load(Ordering::SeqCst) > 0 {
            let pause = self.machine.dice().within(0, 3000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if self.machine.dice().per_mille(self.attacks) {
                self.attack(&wallet).await;
            }
            // Whoever has two things to do does not wait for the first.
            if self.machine.dice().per_mille(self.at_once) {
                tokio::join!(self.matter(&wallet), self.matter(&wallet));
            } else {
                self.matter(&wallet).await;
            }
            *locked(&self.at) = None;
            let _ = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        }
    }

    /// Says what came of something; what says that books or keys are broken is a fault.
    pub(crate) fn judge(&self, what: &str, error: &WalletError) {
        let slug = error.slug();
        self.trace.say(&self.machine.name, format!("{what}: {slug}"));
        if !self.machine.is_troubled()
            && matches!(
                slug,
                "books-not-usable" | "keys-not-usable" | "key-list-not-valid" | "operator-changed"
            )
        {
            self.fault(format!("{what}: {error}"));
        }
    }

    /// Registered and enrolled, whatever it takes.
    async fn settle_in(&self, wallet: &Wallet) {
        for _ in 0..TRIES {
            match self.join(wallet).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => self.judge("join", &error),
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    }

    async fn join(&self, wallet: &Wallet) -> Result<bool, WalletError> {
        wallet.register(None).await?;
        let state = wallet.enrolment()?.state;
        if state == EnrolState::Enrolled {
            return Ok(true);
        }
        if state == EnrolState::None {
            wallet.enrol(&self.iban, Roles::BOTH).await?;
        }
        let Some(code) = self.bank.code(&self.iban) else { return Ok(false) };
        Ok(wallet.confirm(&code).await?.state == EnrolState::Enrolled)
    }

    /// Puts into the trace what the wallet says of itself.
    pub fn tell(&self) {
        let name = &self.machine.name;
        let Some(wallet) = self.wallet() else { return self.trace.say(name, "has no wallet") };
        if let Ok(history) = wallet.history(usize::MAX) {
            for e in history.entries {
                let what =
                    format!("{} {} {} with {} {} {:?}", e.kind, e.outcome, e.amount, e.with, e.id, e.reason);
                self.trace.say(name, format!("history: {} {what}", e.at));
            }
        }
        for (_, document) in wallet.books().scan(EXCHANGE).unwrap_or_default() {
            let Ok(x) = decode_strict::<Exchange>(&document.value) else { continue };
            self.trace
                .say(name, format!("open: {} since {} with {} coins", x.to, x.since.0, x.reserved.len()));
        }
    }

    /// Whether a page is paid that has not come.
    #[must_use]
    pub fn waits_for_pages(&self) -> bool {
        self.pages.load(Ordering::SeqCst)
    }

    /// Settles what is open, with a network that works again; what is still open then.
    ///
    /// # Errors
    /// Those of the wallet.
    pub async fn settle(&self) -> Result<Vec<String>, WalletError> {
        let Some(wallet) = self.wallet() else { return Ok(vec!["the wallet is not open".into()]) };
        let status = wallet.status().await?;
        let sent: Vec<String> = wallet.balance()?.sent.iter().map(|row| row.id.clone()).collect();
        for id in sent {
            match wallet.take_back(&id).await {
                Ok(_) | Err(WalletError::NotKnownYet { .. } | WalletError::Refused { .. }) => {}
                Err(error) => self.judge("take back at the end", &error),
            }
        }
        self.pages.store(status.open.iter().any(|item| item.paid), Ordering::SeqCst);
        Ok(status.open.iter().filter(|item| !item.paid).map(|item| item.what.clone()).collect())
    }
}
