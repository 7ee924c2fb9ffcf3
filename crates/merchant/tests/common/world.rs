//! An operator made of the real steps over books in memory, and a gate that asks it through a line that can fail.
#![allow(dead_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use florin_books::{
    Account, Clock, DenominationId, Effect, Issue, LaneId, LaneSpec, PartyId, RegisterId, RegisterSpec, Seq,
    Timestamp, Transition,
};
use florin_coin::issuer::{
    AcknowledgeStep, AggregateBalanceStep, ChangeStep, CheckStep, Issuer, IssuerSecrets, Lanes,
    PayeeStatusStep, PaymentStep, RedeemAggregateStep, RedeemStep, RefreshStep, SoftwareModule,
};
use florin_coin::web::WebPayment;
use florin_coin::{Calendar, Coin, CoinSet, IssuerKey, payer};
use florin_crypto::{KemSecretKey, Secret, SeededEntropy, SigningKey, cbor, digest, random};
use florin_http::ProblemView;
use florin_merchant::offer::{CoinPayload, Presentation};
use florin_merchant::settle::Settle;
use florin_merchant::x402::{PaymentPayload, SettleResponse};
use florin_merchant::{CoinTill, Desk, Member, Party, Paying, Rule, Rules, Settlement, Till, TillSettings};
use florin_money::{Amount, Currency, Denominations};
use florin_parties::kinds::{COPY_PARTICIPANT, SUBMIT_ORDER};
use florin_parties::{
    ConfirmStep, CurrencyTerms, EnrolStep, IdentityKeys, KeyList, OperatorKeys, PublishedKey, RegisterStep,
    Terms, directory::KeyUse, operator_id, participant,
};
use florin_rail::{Refusal, Step};
use florin_shell::exchange::{Delivered, Exchange, Sending, Transport, refused_or_later};
use florin_shell::house::House;
use florin_shell::jcs::jcs;
use florin_store::{Books, MemoryStore, Options, OwnerId};

pub const START: u64 = 1_795_000_000_000;
pub const IBAN: &str = "DE89370400440532013000";
pub const RULES: &str =
    "[[rule]]\npath = \"/paid/**\"\nprice = \"0.05 FLO\"\n[[rule]]\npath = \"/dear\"\nprice = \"0.37 FLO\"";

pub struct TestClock(AtomicU64);

impl TestClock {
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now.0)))
    }

    pub fn forward(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// What happens to the next request on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    Works,
    LosesRequest,
    LosesAnswer,
    GarblesAnswer,
    /// The operator has thrown the key away that this was sealed to.
    KeyIsGone,
    /// Something on the way refuses for good, in the operator's words; the operator has never seen it.
    Refuses,
    /// The same, after the operator has done what it was asked.
    DoesAndRefuses,
}

pub struct Operator {
    pub list: KeyList,
    pub signed_list: Vec<u8>,
    pub keys: Arc<OperatorKeys>,
    pub issuer: Arc<Issuer>,
    pub identity: House,
    pub books: House,
    pub line: Mutex<VecDeque<Line>>,
    pub log: Mutex<Vec<String>>,
    /// What was refused on the way and may still arrive.
    pub delayed: Mutex<Vec<(String, Vec<u8>)>>,
}

fn spec(lane: u16, registers: Vec<RegisterSpec>) -> LaneSpec {
    LaneSpec { lane: LaneId(lane), registers }
}

fn house(store: &MemoryStore, spec: LaneSpec, clock: &Arc<TestClock>, seed: u64) -> House {
    let (log, reads) = store.split();
    let clock: Arc<dyn Clock> = clock.clone();
    let books = Books::start(log, reads, spec, OwnerId([1; 16]), clock.clone(), &Options::default()).unwrap();
    let next = Arc::new(AtomicU64::new(seed << 32));
    let entropy = move || Box::new(SeededEntropy::from_number(next.fetch_add(1, Ordering::SeqCst))) as Box<_>;
    House { books, clock, entropy: Arc::new(entropy) }
}

impl Operator {
    pub fn new(clock: &Arc<TestClock>) -> Self {
        let start = clock.now().0;
        let mut entropy = SeededEntropy::from_number(7);
        let root = SigningKey::generate(&mut entropy);
        let signing = SigningKey::generate(&mut entropy);
        let kem = KemSecretKey::generate(&mut entropy);
        let operator = operator_id(&root.verify_key());
        let (from, until) = (Timestamp(start - 1000), Timestamp(start + 400 * 86_400_000));
        let denominations = Denominations::one_two_five(Currency::FLO, 24);
        let list = KeyList {
            operator,
            root: root.verify_key(),
            name: "Test operator".into(),
            test: true,
            time: from,
            keys: vec![
                PublishedKey::new(KeyUse::MessageSignature, signing.verify_key().to_bytes(), from, until),
                PublishedKey::new(KeyUse::Kem, kem.public_key().0, from, until),
            ],
            currencies: vec![CurrencyTerms {
                currency: Currency::FLO,
                denominations: denominations.values().to_vec(),
            }],
            epochs: Vec::new(),
            terms: Terms::default(),
        };
        let signed_list = florin_parties::SignedKeyList::sign(&list, &root).unwrap();
        let keys = Arc::new(OperatorKeys::new(operator, signing, kem));
        let secrets = IssuerSecrets {
            module: Box::new(SoftwareModule::new(Secret::new([1; 32]))),
            ids: Secret::new([2; 16]),
            acknowledgement: Secret::new([3; 32]),
            cookie: Secret::new([4; 32]),
        };
        let registers = vec![RegisterSpec { id: RegisterId(1), denominations }];
        let lanes = Lanes { identity: LaneId(1), books: LaneId(2) };
        let issuer = Issuer::new(keys.clone(), secrets, lanes, registers.clone(), &list.terms);
        Self {
            list,
            signed_list,
            keys,
            issuer: Arc::new(issuer),
            identity: house(&MemoryStore::new(), spec(1, Vec::new()), clock, 100),
            books: house(&MemoryStore::new(), spec(2, registers), clock, 200),
            line: Mutex::default(),
            log: Mutex::default(),
            delayed: Mutex::default(),
        }
    }

    pub fn next(&self, what: &[Line]) {
        self.line.lock().unwrap().extend(what);
    }

    pub async fn answer(&self, to: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        async fn serve<S: Step>(house: &House, step: S, body: &[u8]) -> Result<Vec<u8>, Refusal> {
            house.serve(&step, body).await
        }
        async fn withdraw<S: Step>(house: &House, step: S, body: &[u8]) -> Result<Vec<u8>, Refusal> {
            house.withdraw(&step, body).await
        }
        let issuer = self.issuer.clone();
        let answer = match to {
            "/v1/coin/change/withdraw" => withdraw(&self.books, ChangeStep(issuer), body).await,
            "/v1/coin/refresh/withdraw" => withdraw(&self.books, RefreshStep(issuer), body).await,
            "/v1/coin/redeem/withdraw" => withdraw(&self.books, RedeemStep(issuer), body).await,
            "/v1/coin/redeem-aggregate/withdraw" => {
                withdraw(&self.books, RedeemAggregateStep(issuer), body).await
            }
            "/v1/parties/register" => serve(&self.identity, RegisterStep::new(self.keys.clone()), body).await,
            "/v1/parties/enrol" => {
                serve(&self.identity, EnrolStep::new(self.keys.clone(), Currency::FLO), body).await
            }
            "/v1/parties/confirm" => serve(&self.identity, ConfirmStep::new(self.keys.clone()), body).await,
            "/v1/coin/validation-req" => serve(&self.books, PaymentStep(issuer), body).await,
            "/v1/coin/payee-status" => serve(&self.books, PayeeStatusStep(issuer), body).await,
            "/v1/coin/check" => serve(&self.books, CheckStep::new(issuer), body).await,
            "/v1/coin/issuance2" => serve(&self.books, AcknowledgeStep(issuer), body).await,
            "/v1/coin/change" => serve(&self.books, ChangeStep(issuer), body).await,
            "/v1/coin/refresh" => serve(&self.books, RefreshStep(issuer), body).await,
            "/v1/coin/redeem-aggregate" => serve(&self.books, RedeemAggregateStep(issuer), body).await,
            "/v1/coin/aggregate-balance" => serve(&self.books, AggregateBalanceStep(issuer), body).await,
            "/v1/coin/redeem" => serve(&self.books, RedeemStep(issuer), body).await,
            other => panic!("nobody serves {other}"),
        };
        self.carry_participants().await;
        answer
    }

    /// The outbox worker's part that the gate needs.
    async fn carry_participants(&self) {
        let out = self.identity.books.view(|lane| lane.outbox().cloned().collect::<Vec<_>>()).unwrap();
        for out in out.into_iter().filter(|out| out.kind == COPY_PARTICIPANT) {
            let needs = participant::copy::needs(&out).unwrap();
            self.books.act(&needs, |facts, _| participant::copy::decide(&out, facts)).await.unwrap();
            let mut t = Transition::new(digest("test/done", &[out.id.bytes()]), Seq(0));
            t.effects.push(Effect::Done(out.id));
            self.identity.commit(t).await.unwrap();
        }
    }

    /// What stands on the statement of whoever enrolled last.
    pub fn last_code(&self) -> String {
        let out = self.identity.books.view(|lane| lane.outbox().cloned().collect::<Vec<_>>()).unwrap();
        let mut orders = out.iter().filter(|out| out.kind == SUBMIT_ORDER);
        let order: florin_parties::bank::Order =
            cbor::decode_strict(&orders.next_back().unwrap().body).unwrap();
        order.remittance.strip_prefix("FLORIN CODE ").unwrap().to_owned()
    }

    /// Coins out of nothing, of these values.
    pub async fn coins(&self, values: &[u64]) -> CoinSet {
        let terms = Denominations::one_two_five(Currency::FLO, 24);
        let epoch = Calendar::of(&self.list.terms).epoch_at(self.books.clock.now());
        let mut t = Transition::new(digest("test/issue", &[]), Seq(0));
        for value in values {
            let denomination = DenominationId::new(RegisterId(1), terms.index_of(*value).unwrap()).unwrap();
            t.creates.push(Issue { epoch, denomination, count: 1 });
        }
        let total = Amount::new(values.iter().sum(), Currency::FLO);
        t.post(Account::World, Account::Register(RegisterId(1)), total);
        let record = self.books.commit(t).await.unwrap();
        let coins: Vec<Coin> = self.issuer.mint(&record.core.created).unwrap();
        CoinSet::new(coins, Currency::FLO).unwrap()
    }

    pub fn in_circulation(&self) -> i64 {
        let code = Currency::FLO.code();
        -self.books.books.view(move |lane| lane.balance(Account::Register(RegisterId(1)), code)).unwrap()
    }
}

impl Transport for Operator {
    fn send<'a>(&'a self, x: &'a Exchange, after: &'static str) -> Sending<'a> {
        Box::pin(async move {
            let to = format!("{}{after}", x.to);
            let line = self.line.lock().unwrap().pop_front().unwrap_or(Line::Works);
            self.log.lock().unwrap().push(to.clone());
            if line == Line::KeyIsGone {
                let refusal = florin_rail::common::ASK_STATUS;
                return refused_or_later(Some(ProblemView {
                    slug: Some(refusal.slug.into()),
                    same_bytes_may_be_sent_again: Some(refusal.transient),
                    ..ProblemView::default()
                }));
            }
            let refused = || {
                refused_or_later(Some(ProblemView {
                    slug: Some("payment-denied".into()),
                    same_bytes_may_be_sent_again: Some(false),
                    ..ProblemView::default()
                }))
            };
            if line == Line::LosesRequest {
                return Delivered::Later { slug: None, after_s: None };
            }
            if line == Line::Refuses {
                self.delayed.lock().unwrap().push((x.to.clone(), x.body.clone()));
                return refused();
            }
            match (self.answer(&to, &x.body).await, line) {
                (_, Line::DoesAndRefuses) => refused(),
                (_, Line::LosesAnswer) => Delivered::Later { slug: None, after_s: None },
                (Ok(mut bytes), Line::GarblesAnswer) => {
                    bytes[0] ^= 1;
                    Delivered::Answer(bytes)
                }
                (Ok(bytes), _) => Delivered::Answer(bytes),
                (Err(refusal), _) => refused_or_later(Some(ProblemView {
                    slug: Some(refusal.slug.into()),
                    same_bytes_may_be_sent_again: Some(refusal.transient),
                    ..ProblemView::default()
                })),
            }
        })
    }
}

pub struct World {
    pub clock: Arc<TestClock>,
    pub operator: Arc<Operator>,
    pub store: MemoryStore,
    pub desk: Desk,
    pub member: Member,
    pub rules: Rules,
    pub settings: TillSettings,
}

pub const SETTINGS: TillSettings = TillSettings {
    max_timeout_s: 60,
    patience: Duration::ZERO,
    replay_window_ms: 600_000,
    settle: Settle::Refresh,
};

fn desk_on(store: &MemoryStore, clock: &Arc<TestClock>, operator: &Arc<Operator>, seed: u64) -> Desk {
    let mut entropy = SeededEntropy::from_number(42);
    let identity = IdentityKeys::generate(&mut entropy);
    let party = Arc::new(Party { identity, list: operator.list.clone() });
    Desk { house: house(store, spec(1, Vec::new()), clock, seed), party, transport: operator.clone() }
}

impl World {
    pub async fn new() -> Self {
        let clock = TestClock::at(Timestamp(START));
        let operator = Arc::new(Operator::new(&clock));
        let store = MemoryStore::new();
        let desk = desk_on(&store, &clock, &operator, 300);
        let member = desk.register(Some("corner-shop"), Duration::ZERO).await.unwrap();
        let denominations = vec![Denominations::one_two_five(Currency::FLO, 24)];
        let rules = Rules::parse(RULES, None, &florin_merchant::Payable::new(denominations, 24)).unwrap();
        Self { clock, operator, store, desk, member, rules, settings: SETTINGS }
    }

    /// The gate dies and starts again on what was durable.
    pub fn crash(self) -> Self {
        let Self { clock, operator, store, desk, member: _, rules, settings } = self;
        drop(desk);
        store.restart(1);
        let desk = desk_on(&store, &clock, &operator, 400);
        let member = desk.member().unwrap().unwrap();
        Self { clock, operator, store, desk, member, rules, settings }
    }

    pub fn till(&self) -> CoinTill {
        CoinTill::new(self.desk.clone(), self.member.clone(), self.settings)
    }

    pub fn rule(&self, path: &str) -> &Rule {
        let path = florin_merchant::path::CleanPath::parse(path).unwrap();
        self.rules.rule(&axum::http::Method::GET, &path)
    }

    /// What a wallet would send for a page, and what it keeps.
    pub fn payment(&self, path: &str, coins: CoinSet, r: u8) -> (PaymentPayload, Vec<u8>) {
        let rule = self.rule(path);
        let accepted = self.till().accepts(rule).remove(0);
        self.payment_of(accepted, rule.price.unwrap(), ("GET", &url(path)), coins, r)
    }

    /// The same for any entry and any request.
    pub fn payment_of(
        &self,
        accepted: serde_json::Value,
        price: Amount,
        (method, url): (&str, &str),
        coins: CoinSet,
        r: u8,
    ) -> (PaymentPayload, Vec<u8>) {
        let accepted_jcs = jcs(&accepted).unwrap();
        let web = WebPayment { accepted_jcs: &accepted_jcs, method, resource: url, r: [r; 16] };
        let mut entropy = SeededEntropy::from_number(u64::from(r));
        let payer = PartyId::new(random(&mut entropy));
        let now = self.clock.now();
        let list = &self.operator.list;
        let deadline = now.plus_ms(30_000);
        let com = web.com(price, payer, self.member.party.id(), list.operator, deadline).unwrap();
        let issuer = IssuerKey::of(list, now).unwrap();
        let paying = payer::send_coins(&issuer, &com, coins, &mut entropy).unwrap();
        let presentation = Presentation { r: [r; 16], payer, deadline, enc_c1: paying.enc_c1 };
        let payload = serde_json::to_value(CoinPayload::new(&presentation)).unwrap();
        let payload = PaymentPayload { x402_version: 2, resource: None, accepted, payload, extensions: None };
        (payload, paying.pending.to_vec())
    }

    pub async fn settle(&self, path: &str, payment: &PaymentPayload) -> Settlement {
        let (till, url) = (self.till(), url(path));
        till.settle(Paying { rule: self.rule(path), method: "GET", resource: &url, payment }).await
    }

    pub fn purse(&self) -> u64 {
        let balance = self.desk.balance().unwrap()[0];
        balance.free.minor() + balance.reserved.minor()
    }

    /// Nothing under way, books whole.
    pub async fn finish(&self) {
        for _ in 0..3 {
            self.desk.resume(self.clock.now(), Duration::ZERO).await.unwrap();
        }
        assert_eq!(florin_shell::exchange::under_way(&self.desk.house).unwrap().len(), 0);
        for books in [&self.desk.house.books, &self.operator.books.books, &self.operator.identity.books] {
            let report = books.audit().unwrap();
            assert!(report.is_clean(), "{report:?}");
        }
    }
}

pub fn denied(settlement: Settlement) -> SettleResponse {
    match settlement {
        Settlement::Denied(response) => response,
        other => panic!("not denied: {other:?}"),
    }
}

pub fn url(path: &str) -> String {
    format!("http://shop.test{path}")
}

/// Books of somebody else.
pub fn plain_house(store: &MemoryStore, clock: &Arc<TestClock>) -> House {
    house(store, spec(1, Vec::new()), clock, 500)
}
