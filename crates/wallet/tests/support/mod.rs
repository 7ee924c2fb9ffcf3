//! An operator, its bank and a shop in one process: the real steps over books in memory, behind a network that loses
//! messages or stops the asker at a chosen one.
#![allow(dead_code, unused_imports, reason = "each test file uses another part")]

mod lost;
mod shop;
mod wire;

pub use shop::{Manner, Shop};
use wire::Wire;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use florin_books::{
    Account, Clock, Effect, LaneId, LaneSpec, Needs, Outgoing, PartyId, RegisterId, RegisterSpec, Seq,
    Timestamp, Transition, TxId,
};
use florin_coin::issuer::{
    AcknowledgeStep, BoxOpenStep, BoxPutStep, BoxTakeStep, ChangeStep, CollectAckStep, CollectStep,
    HandOverDue, Issuer, IssuerSecrets, Lanes, PayOut, PayeeStatusStep, PayerStatusStep, PaymentStep,
    Purchase, RedeemStep, RefreshStep, RefundStep, SoftwareModule, WRequest1Step, WRequest3Step,
    bank_outcome, hand_over, payout,
};
use florin_coin::kinds::{HAND_OVER, PAY_OUT, RAIL_NUMBER, STEP_WREQUEST3};
use florin_crypto::{KemSecretKey, Secret, SeededEntropy, SigningKey, cbor, digest, random};
use florin_http::{Problem, ProblemView, SendError, UnknownCause};
use florin_money::{Currency, DENOMINATIONS_DEFAULT, Denominations};
use florin_parties::bank::{BankEvent, BankNews, Direction, Order};
use florin_parties::kinds::{COPY_PARTICIPANT, STEP_ENROL, SUBMIT_ORDER};
use florin_parties::treasury::{self, OrderRecord, Outcome};
use florin_parties::{
    ConfirmStep, CurrencyTerms, EnrolStep, Enrolment, KeyList, KeyUse, OperatorKeys, Participant,
    PublishedKey, RegisterStep, Roles, SignedKeyList, Terms, operator_id,
};
use florin_rail::Refusal;
use florin_shell::Passphrase;
use florin_shell::exchange::{Delivered, Exchange, Sending, Transport, refused_or_later};
use florin_shell::house::House;
use florin_store::{Books, MemoryStore, Options, OwnerId};
use florin_wallet::{
    BuyOptions, Directory, Fetching, InitOptions, Network, OpenOptions, Seed, Wallet, WalletError, Web,
    WebAnswer, WebSending,
};
use tokio::sync::Notify;

pub const IBAN: &str = "DE89370400440532013000";
pub const SHOP: &str = "http://127.0.0.1:7410";
const DAY: u64 = 24 * 60 * 60 * 1000;
const LANE: LaneId = LaneId(2);

pub struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Whether the asker is stopped before a message arrives, or after it did and before the answer comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    Before,
    After,
}

/// What the network does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weather {
    Fine,
    /// The asker is stopped at its n-th message.
    Crash(usize, When),
    /// Every message or answer is lost with some probability, by the seed.
    Lossy(u64),
}

pub struct World {
    pub house: House,
    pub issuer: Arc<Issuer>,
    keys: Arc<OperatorKeys>,
    pub list: KeyList,
    pub signed: Mutex<Vec<u8>>,
    pub clock: Arc<TestClock>,
    pub shop: Shop,
    weather: Mutex<Weather>,
    sends: AtomicUsize,
    /// Whether wallets wait for `told`.
    pub tells: AtomicBool,
    pub patience_ms: AtomicU64,
    crashed: Notify,
    /// What the bank says to a debit: nothing yet, or a refusal.
    pub bank: Mutex<Option<&'static str>>,
    pub bank_waits: Mutex<bool>,
    /// The bank does not know the account that a code goes to.
    pub unknown_account: AtomicBool,
    pub codes: Mutex<Vec<String>>,
    pub paid_out: Mutex<u64>,
    pub collected: Mutex<u64>,
    /// The next message to a path is refused on the way, in the operator's words; whether the operator has done it.
    pub refusals: Mutex<Vec<(&'static str, bool)>>,
    /// What wallets have sent to the operator.
    pub sent: Mutex<Vec<(String, Vec<u8>)>>,
    pub dir: tempfile::TempDir,
}

pub fn denominations() -> Denominations {
    Denominations::one_two_five(Currency::FLO, DENOMINATIONS_DEFAULT)
}

pub fn signed_list(
    root: &SigningKey,
    signing: &SigningKey,
    kem: &KemSecretKey,
    at: Timestamp,
) -> (KeyList, Vec<u8>) {
    let until = at.plus_ms(400 * DAY);
    let list = KeyList {
        operator: operator_id(&root.verify_key()),
        root: root.verify_key(),
        name: "Test Operator".into(),
        test: true,
        time: at,
        keys: vec![
            PublishedKey::new(KeyUse::MessageSignature, signing.verify_key().to_bytes(), at, until),
            PublishedKey::new(KeyUse::Kem, kem.public_key().0, at, until),
        ],
        currencies: vec![CurrencyTerms {
            currency: Currency::FLO,
            denominations: denominations().values().to_vec(),
        }],
        epochs: Vec::new(),
        terms: Terms::default(),
    };
    let signed = SignedKeyList::sign(&list, root).unwrap();
    (list, signed)
}

impl World {
    pub fn new(seed: u64) -> Arc<Self> {
        let mut entropy = SeededEntropy::from_number(seed);
        let clock = Arc::new(TestClock(AtomicU64::new(1_795_000_000_000)));
        let root = SigningKey::generate(&mut entropy);
        let signing = SigningKey::generate(&mut entropy);
        let kem = KemSecretKey::generate(&mut entropy);
        let (list, signed) = signed_list(&root, &signing, &kem, clock.now());
        let keys = Arc::new(OperatorKeys::new(list.operator, signing, kem));
        let registers = vec![RegisterSpec { id: RegisterId(0), denominations: denominations() }];
        let secrets = IssuerSecrets {
            module: Box::new(SoftwareModule::new(Secret::random(&mut entropy))),
            ids: Secret::random(&mut entropy),
            acknowledgement: Secret::random(&mut entropy),
            cookie: Secret::random(&mut entropy),
        };
        // One lane does for both here: what one half hands to the other goes through the outbox all the same.
        let lanes = Lanes { identity: LaneId(1), books: LANE };
        let issuer = Issuer::new(keys.clone(), secrets, lanes, registers.clone(), &list.terms);
        let (log, reads) = MemoryStore::new().split();
        let spec = LaneSpec { lane: LANE, registers };
        let me = OwnerId(random(&mut entropy));
        let books = Books::start(log, reads, spec, me, clock.clone(), &Options::default()).unwrap();
        let mut house = House::new(books);
        house.clock = clock.clone();
        Arc::new(Self {
            house,
            issuer: Arc::new(issuer),
            keys,
            list,
            signed: Mutex::new(signed),
            clock,
            shop: Shop::new(&mut entropy),
            weather: Mutex::new(Weather::Fine),
            sends: AtomicUsize::new(0),
            tells: AtomicBool::new(false),
            patience_ms: AtomicU64::new(1000),
            crashed: Notify::new(),
            bank: Mutex::new(None),
            bank_waits: Mutex::new(false),
            unknown_account: AtomicBool::new(false),
            codes: Mutex::new(Vec::new()),
            paid_out: Mutex::new(0),
            collected: Mutex::new(0),
            refusals: Mutex::default(),
            sent: Mutex::default(),
            dir: tempfile::tempdir().unwrap(),
        })
    }

    pub fn weather(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
        self.sends.store(0, Ordering::SeqCst);
    }

    pub fn sends(&self) -> usize {
        self.sends.load(Ordering::SeqCst)
    }

    pub fn refusal_on_the_way(&self, path: &str) -> Option<bool> {
        let mut refusals = self.refusals.lock().unwrap();
        let place = refusals.iter().position(|(p, _)| *p == path)?;
        Some(refusals.remove(place).1)
    }

    pub fn later(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn network(self: &Arc<Self>) -> Network {
        Network {
            operator: Arc::new(Wire(self.clone())),
            directory: Arc::new(Wire(self.clone())),
            web: Arc::new(Wire(self.clone())),
        }
    }

    /// The real step, and what follows from it inside the operator and at the bank.
    pub async fn serve(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (h, i) = (&self.house, || self.issuer.clone());
        let answer = match path {
            "/v1/parties/register" => h.serve(&RegisterStep::new(self.keys.clone()), body).await,
            "/v1/parties/enrol" => h.serve(&EnrolStep::new(self.keys.clone(), Currency::FLO), body).await,
            "/v1/parties/confirm" => h.serve(&ConfirmStep::new(self.keys.clone()), body).await,
            "/v1/coin/wrequest1" => h.serve(&WRequest1Step(i()), body).await,
            "/v1/coin/wrequest3" => h.serve(&WRequest3Step(i()), body).await,
            "/v1/coin/collect" => h.serve(&CollectStep(i()), body).await,
            "/v1/coin/collect-ack" => h.serve(&CollectAckStep(i()), body).await,
            "/v1/coin/change" => h.serve(&ChangeStep(i()), body).await,
            "/v1/coin/wrequest3/withdraw" => h.withdraw(&WRequest3Step(i()), body).await,
            "/v1/coin/change/withdraw" => h.withdraw(&ChangeStep(i()), body).await,
            "/v1/coin/refund/withdraw" => h.withdraw(&RefundStep(i()), body).await,
            "/v1/coin/refresh/withdraw" => h.withdraw(&RefreshStep(i()), body).await,
            "/v1/coin/redeem/withdraw" => h.withdraw(&RedeemStep(i()), body).await,
            "/v1/coin/refund" => h.serve(&RefundStep(i()), body).await,
            "/v1/coin/refresh" => h.serve(&RefreshStep(i()), body).await,
            "/v1/coin/redeem" => h.serve(&RedeemStep(i()), body).await,
            "/v1/coin/validation-req" => h.serve(&PaymentStep(i()), body).await,
            "/v1/coin/issuance2" => h.serve(&AcknowledgeStep(i()), body).await,
            "/v1/coin/payer-status" => h.serve(&PayerStatusStep(i()), body).await,
            "/v1/coin/payee-status" => h.serve(&PayeeStatusStep(i()), body).await,
            "/v1/coin/box-open" => h.serve(&BoxOpenStep(i()), body).await,
            "/v1/coin/box-put" => h.serve(&BoxPutStep(i()), body).await,
            "/v1/coin/box-take" => h.serve(&BoxTakeStep(i()), body).await,
            other => panic!("nothing at {other}"),
        };
        self.pump().await;
        answer
    }

    /// Carries out the operator's outbox.
    pub async fn pump(&self) {
        loop {
            let waiting: Vec<Outgoing> =
                self.house.books.view(|lane| lane.outbox().cloned().collect()).unwrap();
            let mut moved = false;
            for out in waiting {
                moved |= self.carry(&out).await;
            }
            if !moved {
                return;
            }
        }
    }

    async fn carry(&self, out: &Outgoing) -> bool {
        match out.kind {
            COPY_PARTICIPANT => self.done(out).await,
            SUBMIT_ORDER => {
                let order: Order = cbor::decode_strict(&out.body).unwrap();
                if order.direction == Direction::Debit && *self.bank_waits.lock().unwrap() {
                    return false;
                }
                self.bank_books(&order).await;
            }
            HAND_OVER => {
                let due = HandOverDue::read(out).unwrap();
                let facts = self.house.books.load(&due.needs()).unwrap();
                let hand = due.open(&facts, &**self.issuer.claim_keys()).unwrap();
                self.house
                    .act(&hand.needs(), |facts, _| Some(hand_over(&hand, facts, false, LaneId(1))))
                    .await
                    .unwrap();
                self.done(out).await;
            }
            PAY_OUT => {
                let order = PayOut::read(out).unwrap();
                *self.paid_out.lock().unwrap() += order.amount.minor();
                let made = |facts: &_, m: &mut florin_rail::Moment<'_>| {
                    Some(payout(&order, facts, LANE, m.now, m.entropy))
                };
                self.house.act(&order.needs(), made).await.unwrap();
                self.done(out).await;
            }
            other => panic!("effect {other}"),
        }
        true
    }

    async fn done(&self, out: &Outgoing) {
        let mut t = Transition::new(digest("test/done", &[out.id.bytes()]), Seq(0));
        t.effects.push(Effect::Done(out.id));
        self.house.commit(t).await.unwrap();
    }

    async fn bank_books(&self, order: &Order) {
        let refused = *self.bank.lock().unwrap();
        if let Some(code) = order.remittance.strip_prefix("FLORIN CODE ") {
            self.codes.lock().unwrap().push(code.to_owned());
        }
        let unknown = self.unknown_account.load(Ordering::SeqCst).then_some("RC01");
        let what = match refused.filter(|_| order.direction == Direction::Debit).or(unknown) {
            Some(reason) => BankNews::Rejected(order.id, reason.to_owned()),
            None => BankNews::Booked(order.id),
        };
        if order.direction == Direction::Debit && refused.is_none() {
            *self.collected.lock().unwrap() += order.amount.minor();
        }
        self.event(treasury::accepted_now(order.id, self.clock.now())).await;
        let id = digest("test/event", &[order.id.bytes()]).short();
        self.event(BankEvent { id, at: self.clock.now(), what }).await;
    }

    async fn event(&self, event: BankEvent) {
        let mut needs = treasury::event_needs(&event);
        let record = treasury::order_of(&event).map(OrderRecord::key_of).unwrap();
        let facts = self.house.books.load(&needs).unwrap();
        let purpose = facts.document(&record).and_then(OrderRecord::read).unwrap().purpose;
        let coin = purpose.rail == RAIL_NUMBER && purpose.step == STEP_WREQUEST3;
        if coin {
            let key = Purchase::key_of(TxId::new(purpose.reference));
            let facts = self.house.books.load(&Needs { documents: vec![key], ..Needs::default() }).unwrap();
            let purchase = facts.document(&key).and_then(Purchase::read).unwrap();
            needs.documents.extend(purchase.outcome_needs());
        }
        let participant = PartyId::new(purpose.reference);
        let code = !coin && purpose.step == STEP_ENROL;
        if code {
            needs.documents.push(Enrolment::key_of(participant));
        }
        self.house
            .act(&needs, |facts, m| {
                let mut settled = treasury::settle(&event, facts, None)?;
                let enrolment = facts.document(&Enrolment::key_of(participant)).and_then(Enrolment::read);
                if let Some(moved) = settled.moved.as_ref().filter(|_| code)
                    && matches!(moved.outcome, Outcome::Rejected(_))
                    && let Some(void) = enrolment.and_then(|e| e.undelivered(moved.record.order.id))
                {
                    settled.transition.write(Enrolment::key_of(participant), cbor::encode(&void));
                }
                if let Some(moved) = settled.moved.as_ref().filter(|_| coin) {
                    assert!(bank_outcome(&mut settled.transition, moved, facts, LANE, m.now, m.entropy));
                }
                Some(settled.transition)
            })
            .await
            .unwrap();
    }

    /// What the operator's books say is in circulation, in minor units.
    pub fn in_circulation(&self) -> u64 {
        let code = Currency::FLO.code();
        let balance =
            self.house.books.view(move |l| l.balance(Account::Register(RegisterId(0)), code)).unwrap();
        u64::try_from(-balance).unwrap()
    }

    pub fn wallet_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn init(self: &Arc<Self>, name: &str) -> Result<(), WalletError> {
        self.init_with(name, None).await
    }

    pub async fn init_with(self: &Arc<Self>, name: &str, seed: Option<Seed>) -> Result<(), WalletError> {
        let dir = self.wallet_dir(name);
        let options = InitOptions {
            keys_dir: Some(self.wallet_dir("keys").join(name)),
            dir,
            passphrase: &Passphrase::none(),
            operator: "http://127.0.0.1:7400/".into(),
            pin: None,
            ca_file: None,
            seed,
        };
        Wallet::init_on(options, &self.network()).await.map(|_| ())
    }

    pub fn open(self: &Arc<Self>, name: &str) -> Wallet {
        self.open_at(&self.wallet_dir(name), &self.wallet_dir("keys").join(name))
    }

    pub fn open_at(self: &Arc<Self>, dir: &Path, keys: &Path) -> Wallet {
        let none = Passphrase::none();
        let mut options = OpenOptions::new(dir.to_owned(), Some(keys.to_owned()), &none);
        options.patience = Duration::from_millis(self.patience_ms.load(Ordering::SeqCst));
        options.json = true;
        options.tells = self.tells.load(Ordering::SeqCst);
        Wallet::open_on(options, self.network()).unwrap().with_clock(self.clock.clone())
    }

    pub fn try_open(self: &Arc<Self>, name: &str) -> Result<Wallet, WalletError> {
        let (none, keys) = (Passphrase::none(), self.wallet_dir("keys").join(name));
        Wallet::open_on(OpenOptions::new(self.wallet_dir(name), Some(keys), &none), self.network())
    }

    /// A wallet that is registered and enrolled.
    pub async fn enrolled(self: &Arc<Self>, name: &str) -> Wallet {
        self.init(name).await.unwrap();
        let wallet = self.open(name);
        wallet.register(Some(&format!("{name}-wallet"))).await.unwrap();
        wallet.enrol(IBAN, Roles::BOTH).await.unwrap();
        let code = self.codes.lock().unwrap().last().unwrap().clone();
        wallet.confirm(&code).await.unwrap();
        wallet
    }

    /// A wallet with coins.
    pub async fn with_coins(self: &Arc<Self>, name: &str, amount: &str, options: &BuyOptions) -> Wallet {
        let wallet = self.enrolled(name).await;
        let amount = wallet.amount(amount).unwrap();
        assert_eq!(wallet.buy(amount, options).await.unwrap().exit_code().number(), 0);
        wallet
    }

    /// Runs a command on a wallet that is opened for it, and stops it dead where the weather says so.
    pub async fn run<'a, T, F>(
        self: &'a Arc<Self>,
        name: &str,
        command: impl FnOnce(Arc<Wallet>) -> F,
    ) -> Option<T>
    where
        F: Future<Output = T> + 'a,
    {
        let wallet = Arc::new(self.open(name));
        let running = command(wallet.clone());
        tokio::select! {
            biased;
            done = running => Some(done),
            () = self.crashed.notified() => None,
        }
    }

    /// What the weather does to one message: pass it on, and pass its answer back?
    async fn travel(&self) -> (bool, bool) {
        let n = self.sends.fetch_add(1, Ordering::SeqCst) + 1;
        let weather = *self.weather.lock().unwrap();
        match weather {
            Weather::Fine => (true, true),
            Weather::Crash(at, When::Before) if n == at => self.die().await,
            Weather::Crash(..) => (true, true),
            Weather::Lossy(seed) => {
                let n = u64::try_from(n).unwrap();
                let dice = digest("test/weather", &[&seed.to_be_bytes(), &n.to_be_bytes()]).short()[0] % 4;
                (dice != 0, dice != 1)
            }
        }
    }

    async fn after(&self) {
        let weather = *self.weather.lock().unwrap();
        if matches!(weather, Weather::Crash(at, When::After) if self.sends() == at) {
            self.die::<()>().await;
        }
    }

    async fn die<T>(&self) -> T {
        self.crashed.notify_one();
        std::future::pending().await
    }
}

/// What a wallet holds, free and set aside, in minor units.
pub fn holds(wallet: &Wallet) -> u64 {
    let report = wallet.balance().unwrap();
    report.balances.iter().map(|row| row.free.minor() + row.reserved.minor()).sum()
}

/// What is set aside.
pub fn reserved(wallet: &Wallet) -> u64 {
    wallet.balance().unwrap().balances.iter().map(|row| row.reserved.minor()).sum()
}

pub fn shop_id(world: &World) -> PartyId {
    world.shop.id()
}
