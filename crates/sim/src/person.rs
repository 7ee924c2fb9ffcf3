//! A person with a wallet: does one matter after another, loses the process now and then, and takes up where it was.
//! Source: reliability.md, R9; VarietyCash §3.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use florin_books::{LaneId, LaneSpec};
use florin_crypto::Secret;
use florin_money::{Amount, Currency};
use florin_parties::Roles;
use florin_shell::Passphrase;
use florin_wallet::{
    BuyOptions, CoinMix, EnrolState, OpenOptions, Output, PayInvoiceOptions, PayOptions, Policy,
    ReceiveOptions, RedeemAmount, RefundChoice, RequestOptions, Seed, SendOptions, SendTo, Wallet,
    WalletError,
};

use crate::bank::Bank;
use crate::machine::Machine;
use crate::shop;
use crate::trace::Trace;
use crate::wire::Wire;

const PATIENCE: Duration = Duration::from_secs(8);
const INVOICE_LASTS: Duration = Duration::from_secs(30);
const ANYTHING: Policy = Policy { max: None, yes: true };

/// What people show each other: invoices, and texts of coins. It is paper: no crash touches it.
#[derive(Default)]
pub struct Board {
    invoices: Mutex<Vec<String>>,
    texts: Mutex<Vec<String>>,
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A person.
pub struct Person {
    /// The machine.
    pub machine: Machine,
    /// The bank account.
    pub iban: String,
    seed: [u8; 32],
    wire: Wire,
    bank: Arc<Bank>,
    board: Arc<Board>,
    trace: Trace,
    dir: tempfile::TempDir,
    wallet: Mutex<Option<Arc<Wallet>>>,
    left: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl Person {
    /// A person with so many matters to see to.
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
        matters: u64,
    ) -> std::io::Result<Arc<Self>> {
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
            left: AtomicU64::new(matters),
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
        drop(locked(&self.wallet).take());
        self.machine.kill().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.start();
    }

    /// Opens the wallet, without doing anything.
    async fn open(&self) -> Result<Arc<Wallet>, WalletError> {
        let spec = LaneSpec { lane: LaneId(1), registers: Vec::new() };
        let house = self.machine.house(spec)?;
        let network = self.wire.network();
        while let Err(error) = Wallet::begin_on(&house, "http://operator.test", &network).await {
            self.judge("begin", &error);
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
            Err(error) => return self.judge("open", &error),
        };
        self.settle_in(&wallet).await;
        while self.left.load(Ordering::SeqCst) > 0 {
            let pause = self.machine.dice().within(0, 3000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            self.matter(&wallet).await;
            let _ = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        }
    }

    /// Says what came of something; what says that books or keys are broken is a fault.
    fn judge(&self, what: &str, error: &WalletError) {
        let slug = error.slug();
        self.trace.say(&self.machine.name, format!("{what}: {slug}"));
        if matches!(slug, "books-not-usable" | "keys-not-usable" | "key-list-not-valid" | "operator-changed")
        {
            locked(&self.faults).push(format!("{}: {what}: {error}", self.machine.name));
        }
    }

    /// Registered and enrolled, whatever it takes.
    async fn settle_in(&self, wallet: &Wallet) {
        loop {
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

    async fn matter(&self, wallet: &Wallet) {
        let dice = self.machine.dice();
        let amount = |low, high| Amount::new(dice.within(low, high), Currency::FLO);
        let n = dice.below(6);
        // Without coins there is little to do.
        let poor = wallet.balance().is_ok_and(|b| b.balances.iter().all(|row| row.free.minor() < 40));
        let (what, done) = match if poor && dice.per_mille(800) { 0 } else { dice.below(16) } {
            0..3 => ("buy", self.buy(wallet, amount(20, 400)).await),
            3..6 => ("pay /a", self.page(wallet, "GET", &format!("/a/{n}")).await),
            6 => ("post /a", self.page(wallet, "POST", &format!("/a/{n}")).await),
            7 => ("pay /b", self.page(wallet, "GET", &format!("/b/{n}")).await),
            8 => ("request", self.request(wallet, amount(1, 60)).await),
            9 => ("pay invoice", self.pay_invoice(wallet).await),
            10 => ("send", self.send(wallet, amount(1, 60)).await),
            11 => ("receive", self.receive(wallet).await),
            12 => ("take back", self.take_back(wallet).await),
            13 => ("refresh", wallet.refresh(true).await.map(|_| ())),
            14 => ("redeem", self.redeem(wallet, amount(1, 80)).await),
            _ => ("status", wallet.status().await.map(|_| ())),
        };
        match done {
            Ok(()) => self.trace.say(&self.machine.name, format!("{what}: done")),
            Err(error) => self.judge(what, &error),
        }
    }

    async fn buy(&self, wallet: &Wallet, amount: Amount) -> Result<(), WalletError> {
        let dice = self.machine.dice();
        let choices = [RefundChoice::No, RefundChoice::ByKey, RefundChoice::ByName];
        let refund = dice.one_of(&choices).copied().unwrap_or_default();
        let mix = if dice.per_mille(500) { CoinMix::Mixed } else { CoinMix::Few };
        let options = BuyOptions { refund, mix, wait: Duration::from_secs(4), new: dice.per_mille(300) };
        wallet.buy(amount, &options).await.map(|_| ())
    }

    async fn page(&self, wallet: &Wallet, method: &str, path: &str) -> Result<(), WalletError> {
        let options = PayOptions { method: method.to_owned(), policy: ANYTHING, ..PayOptions::default() };
        let url = format!("{}{path}", shop::URL);
        wallet.pay(&url, &options, &mut Output::Memory(Vec::new())).await.map(|_| ())
    }

    async fn request(&self, wallet: &Wallet, amount: Amount) -> Result<(), WalletError> {
        let options = RequestOptions { expires: INVOICE_LASTS, new: true, ..RequestOptions::default() };
        let asked = wallet.invoice(amount, &options).await?;
        locked(&self.board.invoices).push(asked.invoice.clone());
        wallet.wait_for_payment(&asked.invoice, Duration::from_secs(3)).await.map(|_| ())
    }

    async fn pay_invoice(&self, wallet: &Wallet) -> Result<(), WalletError> {
        let invoice = self.machine.dice().one_of(&locked(&self.board.invoices)).cloned();
        let Some(invoice) = invoice else { return Ok(()) };
        let cancel = self.machine.dice().per_mille(200);
        let options = PayInvoiceOptions { policy: ANYTHING, cancel };
        wallet.pay_invoice(&invoice, &options).await.map(|_| ())
    }

    async fn send(&self, wallet: &Wallet, amount: Amount) -> Result<(), WalletError> {
        let options = SendOptions { memo: String::new(), to: SendTo::Bearer, policy: ANYTHING };
        let sent = wallet.send(amount, &options).await?;
        locked(&self.board.texts).extend(sent.text);
        Ok(())
    }

    async fn receive(&self, wallet: &Wallet) -> Result<(), WalletError> {
        let text = self.machine.dice().one_of(&locked(&self.board.texts)).cloned();
        let Some(text) = text else { return Ok(()) };
        let options =
            ReceiveOptions { rest: self.machine.dice().per_mille(500), ..ReceiveOptions::default() };
        wallet.receive(&text, &options).await.map(|_| ())
    }

    async fn take_back(&self, wallet: &Wallet) -> Result<(), WalletError> {
        let sent = wallet.balance()?.sent;
        let Some(row) = self.machine.dice().one_of(&sent) else { return Ok(()) };
        wallet.take_back(&row.id).await.map(|_| ())
    }

    async fn redeem(&self, wallet: &Wallet, amount: Amount) -> Result<(), WalletError> {
        let all = self.machine.dice().per_mille(100);
        let wanted = if all { RedeemAmount::All(Currency::FLO) } else { RedeemAmount::Exactly(amount) };
        wallet.redeem(wanted).await.map(|_| ())
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
        Ok(status.open.iter().filter(|item| !item.paid).map(|item| item.what.clone()).collect())
    }
}
