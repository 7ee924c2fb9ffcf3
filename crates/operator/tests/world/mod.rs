//! An operator on disk with a clock of the test's own, a bank that takes every order and tells nothing, and two key holders.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use florin_bank::{BankRail, Capabilities, Cursor, OrderReceipt, RailFuture, Receipt};
use florin_books::{
    Account, Clock, DenominationId, Epoch, Issue, PartyId, RegisterId, Seq, Timestamp, Transition, TxId,
};
use florin_coin::com::METHOD;
use florin_coin::holder::{self, ExchangeNews};
use florin_coin::issuer::{ChangeStep, PaymentStep, RefreshStep};
use florin_coin::payee::{self, InvoiceTerms, Issuance, Presented};
use florin_coin::payer::{self, PayerNews};
use florin_coin::{Coin, CoinSet, IssuerKey, PDesc, TidPy};
use florin_crypto::{Digest, digest, random};
use florin_http::Stop;
use florin_money::{Amount, CoinList, Currency};
use florin_operator::control::{Action, ControlError, ExecutedReport, SignedOrder};
use florin_operator::{KeyHolder, Operator, OperatorConfig, VaultPlaces, audit, create};
use florin_parties::asker::{prepare_register, read_register};
use florin_parties::bank::{BankEvent, Order};
use florin_parties::{IdentityKeys, RegisterStep};
use florin_shell::Passphrase;
use florin_shell::clock::SteadyClock;
use florin_shell::entropy::OsEntropy;

pub const DAY: u64 = 24 * 60 * 60 * 1000;
pub const START: Timestamp = Timestamp(1_795_000_000_000);
pub const IBAN: &str = "DE89370400440532013000";

pub struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl TestClock {
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::SeqCst);
    }

    pub fn later(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

/// Takes every order; nothing is ever booked.
struct QuietBank;

impl BankRail for QuietBank {
    fn submit<'a>(&'a self, orders: &'a [Order]) -> RailFuture<'a, Receipt> {
        let orders = orders.iter().map(|o| OrderReceipt { id: o.id, received_at: START }).collect();
        Box::pin(async move { Ok(Receipt { orders }) })
    }

    fn poll<'a>(&'a self, since: Cursor, _: usize) -> RailFuture<'a, (Vec<BankEvent>, Cursor)> {
        Box::pin(async move { Ok((Vec::new(), since)) })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { debits: true, instant: true, amount_max: None, orders_max: 50, test: true }
    }
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub config: OperatorConfig,
    pub clock: Arc<TestClock>,
    pub operator: Arc<Operator>,
    pub holders: [KeyHolder; 2],
}

pub struct Person {
    pub keys: IdentityKeys,
    pub certificate: Vec<u8>,
}

fn places(dir: &tempfile::TempDir) -> VaultPlaces {
    VaultPlaces { state: dir.path().join("operator"), second: None }
}

pub fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

pub fn key_holder(dir: &tempfile::TempDir, name: &str) -> KeyHolder {
    let path = dir.path().join(format!("{name}.key"));
    KeyHolder::create(&path, name, &Passphrase::none(), &mut OsEntropy).unwrap()
}

impl World {
    pub fn new(change: impl FnOnce(&mut OperatorConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let holders = ["Ada", "Bob"].map(|name| key_holder(&dir, name));
        let mut config = OperatorConfig {
            key_holder: holders.iter().map(KeyHolder::public).collect(),
            ..OperatorConfig::default()
        };
        change(&mut config);
        create(&config, &places(&dir), &Passphrase::none(), &mut OsEntropy).unwrap();
        let clock = Arc::new(TestClock(AtomicU64::new(START.0)));
        let operator = open(&dir, &config, &clock);
        Self { dir, config, clock, operator, holders }
    }

    /// Stops the operator as a crash does, changes something, and tells why it does not start again.
    pub fn does_not_open(self, change: impl FnOnce(&std::path::Path)) -> florin_operator::OperatorError {
        let Self { dir, config, clock, operator, .. } = self;
        drop(operator);
        change(dir.path());
        let opened =
            Operator::open_with_clock(config, &places(&dir), &Passphrase::none(), Arc::new(QuietBank), clock);
        opened.err().unwrap()
    }

    /// Stops the operator as a crash does and opens it again.
    pub fn reopen(self) -> Self {
        self.reopen_with(|_| {})
    }

    /// The same, and something is changed meanwhile.
    pub fn reopen_with(self, change: impl FnOnce(&std::path::Path)) -> Self {
        let Self { dir, config, clock, operator, holders } = self;
        drop(operator);
        change(dir.path());
        let operator = open(&dir, &config, &clock);
        Self { dir, config, clock, operator, holders }
    }

    /// Opened again with the clock of a real operator, on a machine whose clock the test sets.
    pub fn reopen_steady(self) -> Self {
        let Self { dir, config, clock, operator, holders } = self;
        drop(operator);
        let steady = SteadyClock::new(Box::new(Wall(clock.clone())), Box::new(|| 0), Box::new(|| 0));
        let operator = open_with(&dir, &config, Arc::new(steady));
        Self { dir, config, clock, operator, holders }
    }

    pub fn current(&self) -> Epoch {
        self.operator.issuer.epochs().issuing(self.clock.now()).unwrap()
    }

    pub fn order(&self, action: Action) -> SignedOrder {
        SignedOrder::new(self.operator.id, action, self.clock.now(), DAY, &mut OsEntropy)
    }

    pub fn signed(&self, action: Action) -> SignedOrder {
        let mut order = self.order(action);
        self.holders.iter().for_each(|h| order.sign(h).unwrap());
        order
    }

    pub async fn execute(&self, action: Action) -> Result<ExecutedReport, ControlError> {
        self.operator.execute(&self.signed(action)).await
    }

    /// Coins for money from nowhere.
    pub async fn supply(&self, values: &[u64]) -> CoinSet {
        let house = &self.operator.lanes.books;
        let register = house.books.spec().registers[0].clone();
        let drawn: [u8; 16] = random(&mut OsEntropy);
        let mut t = Transition::new(digest("test/supply", &[&drawn]), Seq(0));
        for value in values {
            let index = register.denominations.index_of(*value).unwrap();
            let denomination = DenominationId::new(register.id, index).unwrap();
            t.creates.push(Issue { epoch: self.current(), denomination, count: 1 });
        }
        t.post(Account::World, Account::Register(register.id), flo(values.iter().sum()));
        let record = house.commit(t).await.unwrap();
        CoinSet::new(self.operator.issuer.mint(&record.core.created).unwrap(), Currency::FLO).unwrap()
    }

    pub fn key(&self) -> IssuerKey {
        IssuerKey::of(&self.operator.published().list, self.clock.now()).unwrap()
    }

    pub fn exp(&self) -> Timestamp {
        self.clock.now().plus_ms(60 * 60 * 1000)
    }

    /// Work in the background, until the guard goes.
    pub fn works(&self) -> Working {
        let stop = Stop::new();
        let tasks = self.operator.start_work(&stop);
        Working(stop, tasks)
    }

    /// Somebody registered, known to both lanes.
    pub async fn person(&self) -> Person {
        let keys = IdentityKeys::generate(&mut OsEntropy);
        let list = &self.operator.published().list;
        let tx = (TxId::new(random(&mut OsEntropy)), self.exp());
        let asked = prepare_register(&keys, None, list, tx, self.clock.now(), &mut OsEntropy).unwrap();
        let step = RegisterStep::new(self.operator.keys.clone());
        let answer = self.operator.lanes.identity.serve(&step, &asked.body).await.unwrap();
        let certificate = read_register(&asked.pending, &answer, list).unwrap().bytes;
        self.carried().await;
        Person { keys, certificate }
    }

    /// Until nothing of the identity lane waits for the books lane.
    pub async fn carried(&self) {
        for _ in 0..400 {
            let waits = |l: &florin_books::Lane| {
                l.outbox().any(|o| o.kind == florin_parties::kinds::COPY_PARTICIPANT)
            };
            if !self.operator.lanes.identity.books.view(waits).unwrap() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the courier does not carry");
    }

    /// A payment of these coins to somebody, for as many new coins of the same values.
    pub async fn pay(&self, payee: &Person, coins: &[Coin]) -> (Issuance, PayerNews) {
        let list = self.operator.published().list.clone();
        let set = CoinSet::new(coins.to_vec(), Currency::FLO).unwrap();
        let terms = InvoiceTerms {
            tid: TidPy::new(random(&mut OsEntropy)),
            p_desc: PDesc {
                amount: set.total,
                goods: "a page".into(),
                method: METHOD.into(),
                terms: Digest([0; 32]),
            },
            salt: random(&mut OsEntropy),
            deadline: self.clock.now().plus_ms(10 * 60 * 1000),
        };
        let invoice = payee::invoice(&payee.keys, &payee.certificate, list.operator, &terms);
        let read = payer::read_invoice(&invoice, &list, self.clock.now()).unwrap();
        let com = read.com(PartyId::new(random(&mut OsEntropy)));
        let paying = payer::send_coins(&self.key(), &com, set.clone(), &mut OsEntropy).unwrap();
        let sent = payee::read_send_coins(&paying.send_coins, payee.keys.id()).unwrap();
        let presented = Presented {
            payer: sent.context.sender,
            tid: com.tid,
            com: com.digest(),
            deadline: com.deadline,
            enc_c1: sent.enc_c1,
        };
        let wanted = CoinList::of_values(coins.iter().map(|c| c.value)).unwrap();
        let v_desc = payee::refresh(set.total, wanted).unwrap();
        let asked =
            payee::validation_req(&self.key(), &payee.keys, &presented, v_desc, &mut OsEntropy).unwrap();
        let step = PaymentStep(self.operator.issuer.clone());
        let answer = self.operator.lanes.books.serve(&step, &asked.body).await.unwrap();
        let issuance = payee::read_issuance1(&asked.pending, &answer, &list).unwrap();
        let news = payer::read_payer_verdict(&paying.pending, &issuance.for_payer, &list).unwrap();
        (issuance, news)
    }

    pub async fn change(&self, coins: &[Coin], values: &[u64]) -> ExchangeNews {
        let set = CoinSet::new(coins.to_vec(), Currency::FLO).unwrap();
        let list = CoinList::of_values(values.iter().copied()).unwrap();
        let txid = TxId::new(random(&mut OsEntropy));
        let asked = holder::change(&self.key(), set, list, txid, self.exp(), &mut OsEntropy).unwrap();
        let step = ChangeStep(self.operator.issuer.clone());
        let answer = self.operator.lanes.books.serve(&step, &asked.body).await.unwrap();
        holder::read_exchange(&asked.pending, &answer, &self.operator.published().list).unwrap()
    }

    pub async fn refresh(&self, coins: &[Coin]) -> ExchangeNews {
        self.try_refresh(coins).await.unwrap()
    }

    pub async fn try_refresh(&self, coins: &[Coin]) -> Result<ExchangeNews, florin_rail::Refusal> {
        let set = CoinSet::new(coins.to_vec(), Currency::FLO).unwrap();
        let txid = TxId::new(random(&mut OsEntropy));
        let asked = holder::refresh(&self.key(), set, txid, self.exp(), &mut OsEntropy).unwrap();
        let step = RefreshStep(self.operator.issuer.clone());
        let answer = self.operator.lanes.books.serve(&step, &asked.body).await?;
        Ok(holder::read_exchange(&asked.pending, &answer, &self.operator.published().list).unwrap())
    }

    pub fn books(&self, account: Account) -> i64 {
        let code = Currency::FLO.code();
        self.operator.lanes.books.books.view(move |l| l.balance(account, code)).unwrap()
    }

    pub fn identity(&self, account: Account) -> i64 {
        let code = Currency::FLO.code();
        self.operator.lanes.identity.books.view(move |l| l.balance(account, code)).unwrap()
    }

    pub fn in_circulation(&self) -> i64 {
        -self.books(Account::Register(RegisterId(0)))
    }

    pub async fn is_clean(&self) {
        let report = audit(&self.operator.lanes).await.unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
    }
}

pub struct Working(Stop, Vec<tokio::task::JoinHandle<()>>);

impl Working {
    pub async fn ends(self) {
        self.0.trigger();
        for task in self.1 {
            task.await.unwrap();
        }
    }
}

fn open(dir: &tempfile::TempDir, config: &OperatorConfig, clock: &Arc<TestClock>) -> Arc<Operator> {
    open_with(dir, config, clock.clone())
}

fn open_with(dir: &tempfile::TempDir, config: &OperatorConfig, clock: Arc<dyn Clock>) -> Arc<Operator> {
    let rail = Arc::new(QuietBank);
    Operator::open_with_clock(config.clone(), &places(dir), &Passphrase::none(), rail, clock).unwrap()
}

struct Wall(Arc<TestClock>);

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// The slug of a refusal.
pub fn slug<T>(done: Result<T, ControlError>) -> &'static str {
    match done {
        Ok(_) => "done",
        Err(ControlError::Refused(refusal)) => refusal.slug,
        Err(other) => panic!("{other}"),
    }
}
