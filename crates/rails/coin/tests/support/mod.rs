//! An operator in memory: two lanes (who is who, and coins), their documents, an outbox pump between them, a bank that
//! says what the test wants, and the one flow around a step as the shell runs it. No store, no clock, no network.
#![allow(dead_code, reason = "each test file uses another part")]

pub mod by_hand;
pub mod people;
pub mod shelf;
pub mod vectors;
pub mod wire;

use std::sync::Arc;

use florin_books::{
    Account, Effect, Facts, LaneId, Outgoing, PartyId, Record, RegisterId, RegisterSpec, Rejected, Seq,
    Timestamp, Transition,
};
use florin_coin::issuer::{
    AcknowledgeStep, AggregateBalanceStep, BoxOpenStep, BoxPutStep, BoxTakeStep, ChangeStep, CheckStep,
    CollectAckStep, CollectStep, HandOver, HandOverDue, Issuer, IssuerSecrets, Lanes, PayOut,
    PayeeStatusStep, PayerStatusStep, PaymentStep, RedeemAggregateStep, RedeemStep, RefreshStep, RefundStep,
    SoftwareModule, WRequest1Step, WRequest3Step, hand_over, payout,
};
use florin_coin::kinds::{HAND_OVER, PAY_OUT};
use florin_coin::messages::VDesc;
use florin_coin::payee::{self, Presented};
use florin_coin::payer::Paying;
use florin_coin::{Coin, CoinSet, Com, IssuerKey, Prepared};
use florin_crypto::{Digest, KemSecretKey, Secret, SeededEntropy, SigningKey, digest, random};
use florin_money::{Amount, CoinList, Currency, Denominations};
use florin_parties::kinds::{COPY_PARTICIPANT, SUBMIT_ORDER};
use florin_parties::participant::copy;
use florin_parties::{
    CurrencyTerms, IdentityKeys, KeyList, KeyUse, OperatorKeys, PublishedKey, Terms, operator_id,
};
use florin_rail::common::{BAD_REQUEST, REQUEST_ID_REUSED};
use florin_rail::{Decision, Moment, Refusal, Step, cause};

pub use shelf::Shelf;

pub const DAY: u64 = 24 * 60 * 60 * 1000;
pub const START: Timestamp = Timestamp(20_000 * DAY + 9 * 60 * 60 * 1000);
pub const IBAN: &str = "DE89370400440532013000";
pub const OTHER_IBAN: &str = "GB82WEST12345698765432";
pub const IDENTITY: LaneId = LaneId(1);
pub const BOOKS: LaneId = LaneId(2);
pub const COINS: RegisterId = RegisterId(1);

/// A participant with a certificate.
pub struct Person {
    pub keys: IdentityKeys,
    pub certificate: Vec<u8>,
}

impl Person {
    pub fn id(&self) -> PartyId {
        self.keys.id()
    }
}

/// A payment that is about to be validated.
pub struct Deal {
    pub invoice: Vec<u8>,
    pub com: Com,
    pub paying: Paying,
    pub presented: Presented,
}

/// What happens between a decision and its commit.
type Interruption = Box<dyn FnOnce(&mut World)>;

pub struct World {
    pub list: KeyList,
    pub keys: Arc<OperatorKeys>,
    pub issuer: Arc<Issuer>,
    pub identity: Shelf,
    pub books: Shelf,
    pub entropy: SeededEntropy,
    /// Where the issuer draws from; the parties' own stream if none.
    pub issuer_entropy: Option<SeededEntropy>,
    pub now: Timestamp,
    pub interruption: Option<Interruption>,
    /// The same between the second decision, which knows what did not hold, and its commit.
    pub second_interruption: Option<Interruption>,
    /// Whether the outbox is carried out after each step.
    pub pumps: bool,
    events: u64,
}

enum Carried {
    Reply(Vec<u8>),
    Done(Box<Record>),
    Taken(Seq),
    Moved,
    Not(Rejected),
}

pub fn secret<const N: usize>(what: &str, seed: u64) -> Secret<N> {
    Secret::random(&mut SeededEntropy::new(format!("{what} {seed}")))
}

pub fn register() -> RegisterSpec {
    RegisterSpec { id: COINS, denominations: Denominations::one_two_five(Currency::FLO, 24) }
}

pub fn secrets(seed: u64) -> IssuerSecrets {
    IssuerSecrets {
        module: Box::new(SoftwareModule::new(secret("tag", seed))),
        ids: secret("ids", seed),
        acknowledgement: secret("acknowledgement", seed),
        cookie: secret("cookie", seed),
    }
}

fn key_list(root: &SigningKey, signing: &SigningKey, kem: &KemSecretKey) -> KeyList {
    let until = START.plus_ms(4000 * DAY);
    KeyList {
        operator: operator_id(&root.verify_key()),
        root: root.verify_key(),
        name: "Test Operator".into(),
        test: true,
        time: START,
        keys: vec![
            PublishedKey::new(KeyUse::MessageSignature, signing.verify_key().to_bytes(), START, until),
            PublishedKey::new(KeyUse::Kem, kem.public_key().0, START, until),
        ],
        currencies: vec![CurrencyTerms {
            currency: Currency::FLO,
            denominations: register().denominations.values().to_vec(),
        }],
        epochs: Vec::new(),
        terms: Terms::default(),
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let root = SigningKey::from_seed(&secret("root", seed));
        let signing = SigningKey::from_seed(&secret("signing", seed));
        let kem = KemSecretKey::from_seed(&secret("kem", seed));
        let list = key_list(&root, &signing, &kem);
        let keys = Arc::new(OperatorKeys::new(list.operator, signing, kem));
        let lanes = Lanes { identity: IDENTITY, books: BOOKS };
        let issuer = Issuer::new(keys.clone(), secrets(seed), lanes, vec![register()], &Terms::default());
        Self {
            list,
            keys,
            issuer: Arc::new(issuer),
            identity: Shelf::new(IDENTITY, Vec::new()),
            books: Shelf::new(BOOKS, vec![register()]),
            entropy: SeededEntropy::from_number(seed),
            issuer_entropy: None,
            now: START,
            interruption: None,
            second_interruption: None,
            pumps: true,
            events: 0,
        }
    }

    pub fn shelf(&mut self, lane: LaneId) -> &mut Shelf {
        if lane == IDENTITY { &mut self.identity } else { &mut self.books }
    }

    pub fn draw<const N: usize>(&mut self) -> [u8; N] {
        random(&mut self.entropy)
    }

    pub fn key(&self) -> IssuerKey {
        IssuerKey::of(&self.list, self.now).unwrap()
    }

    pub fn exp(&self) -> Timestamp {
        self.now.plus_ms(60 * 60 * 1000)
    }

    /// The one flow, as the shell runs it.
    pub fn serve<S: Step>(&mut self, lane: LaneId, step: &S, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let result = self.serve_once(lane, step, body);
        if self.pumps {
            self.pump();
        }
        self.check();
        result
    }

    fn serve_once<S: Step>(&mut self, lane: LaneId, step: &S, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let opened = step.open(body, self.now)?;
        let cause = cause(step.name().rail, step.name().step, body);
        let needs = step.needs(&opened);
        for _ in 0..16 {
            let mut facts = self.shelf(lane).facts(&needs);
            let asked = step.balances(&opened).into_iter();
            facts.balances = asked.map(|(a, c)| ((a, c), self.shelf(lane).lane.balance(a, c))).collect();
            if let Some(seq) = needs.once.iter().find_map(|k| facts.once.get(k).copied()) {
                return self.again(lane, step, &opened, &cause, seq, &facts);
            }
            let more = step.follows(&opened, &facts);
            let read = self.shelf(lane).facts(&more);
            facts.documents.extend(read.documents);
            for (key, seq) in read.once {
                facts.records.insert(key, Arc::new(self.shelf(lane).record(seq)));
            }
            let decision = self.decide(|m| step.decide(&opened, &facts, m));
            let interruption = self.second_interruption.take();
            match self.carry_out(lane, decision, &cause, &facts)? {
                Carried::Reply(bytes) => return Ok(bytes),
                Carried::Done(record) => return step.reply(&opened, &record),
                Carried::Taken(seq) => return self.again(lane, step, &opened, &cause, seq, &facts),
                Carried::Moved => continue,
                Carried::Not(why) => {
                    self.interruption = interruption;
                    let second = self.decide(|m| step.decide_refused(&opened, &facts, &why, m));
                    match self.carry_out(lane, second, &cause, &facts)? {
                        Carried::Reply(bytes) => return Ok(bytes),
                        Carried::Done(record) => return step.reply(&opened, &record),
                        Carried::Taken(seq) => return self.again(lane, step, &opened, &cause, seq, &facts),
                        Carried::Moved | Carried::Not(Rejected::NotLive { .. } | Rejected::TooLate) => {
                            continue;
                        }
                        Carried::Not(why) => panic!("a verdict could not be recorded: {why:?}"),
                    }
                }
            }
        }
        panic!("the documents do not hold still");
    }

    fn decide(&mut self, f: impl FnOnce(&mut Moment<'_>) -> Decision) -> Decision {
        let now = self.now;
        let entropy = self.issuer_entropy.as_mut().unwrap_or(&mut self.entropy);
        f(&mut Moment { now, entropy })
    }

    fn carry_out(
        &mut self,
        lane: LaneId,
        decision: Decision,
        cause: &Digest,
        facts: &Facts,
    ) -> Result<Carried, Refusal> {
        let mut t = match decision {
            Decision::Apply(t) | Decision::Deny(t) => t,
            Decision::Answer(reply) => return Ok(Carried::Reply(reply)),
            Decision::Refuse(refusal) => return Err(refusal),
        };
        t.cause = *cause;
        t.as_of = facts.as_of;
        if let Some(interruption) = self.interruption.take() {
            interruption(self);
        }
        let now = self.now;
        Ok(match self.shelf(lane).apply(t, now) {
            Ok(record) => Carried::Done(Box::new(record)),
            Err(Rejected::Repeated { seq } | Rejected::IdReused { seq }) => Carried::Taken(seq),
            Err(Rejected::Stale | Rejected::Moved { .. }) => Carried::Moved,
            Err(why) if why.is_fault() => panic!("the books refused: {why:?}"),
            Err(why) => Carried::Not(why),
        })
    }

    fn again<S: Step>(
        &mut self,
        lane: LaneId,
        step: &S,
        opened: &S::Opened,
        cause: &Digest,
        seq: Seq,
        facts: &Facts,
    ) -> Result<Vec<u8>, Refusal> {
        if !step.is_authentic(opened, facts) {
            return Err(BAD_REQUEST);
        }
        let record = self.shelf(lane).record(seq);
        if record.core.cause == *cause || step.may_reissue(opened, &record, facts) {
            return step.reissue(opened, &record, facts);
        }
        Err(REQUEST_ID_REUSED)
    }

    /// A message to the path of its step.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let i = self.issuer.clone();
        match path.strip_prefix("/v1/coin/").unwrap() {
            "wrequest1" => self.serve(IDENTITY, &WRequest1Step(i), body),
            "wrequest3" => self.serve(IDENTITY, &WRequest3Step(i), body),
            "collect" => self.serve(BOOKS, &CollectStep(i), body),
            "collect-ack" => self.serve(BOOKS, &CollectAckStep(i), body),
            "validation-req" => self.serve(BOOKS, &PaymentStep(i), body),
            "check" => self.serve(BOOKS, &CheckStep::new(i), body),
            "issuance2" => self.serve(BOOKS, &AcknowledgeStep(i), body),
            "payer-status" => self.serve(BOOKS, &PayerStatusStep(i), body),
            "payee-status" => self.serve(BOOKS, &PayeeStatusStep(i), body),
            "change" => self.serve(BOOKS, &ChangeStep(i), body),
            "redeem" => self.serve(BOOKS, &RedeemStep(i), body),
            "refund" => self.serve(BOOKS, &RefundStep(i), body),
            "refresh" => self.serve(BOOKS, &RefreshStep(i), body),
            "redeem-aggregate" => self.serve(BOOKS, &RedeemAggregateStep(i), body),
            "aggregate-balance" => self.serve(BOOKS, &AggregateBalanceStep(i), body),
            "box-open" => self.serve(BOOKS, &BoxOpenStep(i), body),
            "box-put" => self.serve(BOOKS, &BoxPutStep(i), body),
            "box-take" => self.serve(BOOKS, &BoxTakeStep(i), body),
            other => panic!("no step {other}"),
        }
    }

    /// Everything that waits in the outboxes but what is for the bank: at least once, here twice.
    pub fn pump(&mut self) {
        loop {
            let waits =
                |s: &Shelf| s.lane.outbox().filter(|o| o.kind != SUBMIT_ORDER).cloned().collect::<Vec<_>>();
            let (out, back) = (waits(&self.identity), waits(&self.books));
            if out.is_empty() && back.is_empty() {
                return;
            }
            for (from, o) in out.iter().map(|o| (IDENTITY, o)).chain(back.iter().map(|o| (BOOKS, o))) {
                self.deliver(o);
                self.deliver(o);
                let mut t =
                    Transition::new(digest("test/done", &[o.id.bytes()]), self.shelf(from).lane.seq());
                t.effects.push(Effect::Done(o.id));
                let slot = self.settled(&mut t, o);
                self.act(from, t);
                self.issuer.claim_keys().forget(&Vec::from_iter(slot));
            }
        }
    }

    /// What was sealed goes when it is handed over.
    fn settled(&mut self, t: &mut Transition, o: &Outgoing) -> Option<u32> {
        let due = HandOverDue::read(o).filter(|_| o.kind == HAND_OVER)?;
        let credited = self.handing(o).is_some_and(|hand| hand.refused.is_none());
        due.handed_over(t, credited, BOOKS);
        due.slot(&self.identity.facts(&due.needs()))
    }

    /// What a purchase's claim becomes in the books lane.
    pub fn handing(&mut self, o: &Outgoing) -> Option<HandOver> {
        let due = HandOverDue::read(o).unwrap();
        let facts = self.identity.facts(&due.needs());
        due.open(&facts, &**self.issuer.claim_keys())
    }

    fn deliver(&mut self, o: &Outgoing) {
        let (lane, needs) = match o.kind {
            HAND_OVER => (BOOKS, self.handing(o).unwrap().needs()),
            PAY_OUT => (IDENTITY, PayOut::read(o).unwrap().needs()),
            COPY_PARTICIPANT => (BOOKS, copy::needs(o).unwrap()),
            other => panic!("no worker for {other}"),
        };
        let facts = self.shelf(lane).facts(&needs);
        if !facts.once.is_empty() {
            return;
        }
        let t = match o.kind {
            HAND_OVER => {
                let hand = self.handing(o).unwrap();
                let collected = !self.books.facts(&hand.collected()).once.is_empty();
                Some(hand_over(&hand, &facts, collected, IDENTITY))
            }
            PAY_OUT => Some(payout(&PayOut::read(o).unwrap(), &facts, BOOKS, self.now, &mut self.entropy)),
            _ => copy::decide(o, &facts),
        };
        if let Some(t) = t {
            self.act(lane, t);
        }
    }

    pub fn act(&mut self, lane: LaneId, mut t: Transition) {
        let now = self.now;
        let shelf = self.shelf(lane);
        t.as_of = shelf.lane.seq();
        shelf.apply(t, now).unwrap();
    }

    /// Conservation of cash, in both lanes and between them. Source: VarietyCash §2.6.
    pub fn check(&self) {
        self.identity.sums_to_zero();
        self.books.sums_to_zero();
        let handed = |o: &Outgoing| match o.kind {
            HAND_OVER => HandOverDue::read(o).filter(|h| h.refused.is_none()).map(|h| h.total.minor()),
            PAY_OUT => PayOut::read(o).map(|p| p.amount.minor()),
            _ => None,
        };
        let under_way: u64 =
            self.identity.lane.outbox().chain(self.books.lane.outbox()).filter_map(handed).sum();
        let pairs = self.identity.balance(Account::Pair(BOOKS)) + self.books.balance(Account::Pair(IDENTITY));
        assert_eq!(pairs, -i64::try_from(under_way).unwrap(), "value between the lanes");
        assert_eq!(
            self.live_worth(),
            -self.books.balance(Account::Register(COINS)),
            "live coins and their account"
        );
    }

    /// What all live coins are worth, counted bit by bit.
    pub fn live_worth(&self) -> i64 {
        let worth = |c: florin_books::Circulation| {
            let value = register().denominations.value(c.denomination.index()).unwrap();
            i64::try_from(value * c.live).unwrap()
        };
        self.books.lane.live().counted().map(worth).sum()
    }

    pub fn audit(&self) {
        self.check();
        self.identity.audit();
        self.books.audit();
    }
}

/// A ValidationReq and its answer.
pub struct Validated {
    pub asked: Prepared,
    pub answer: Result<Vec<u8>, Refusal>,
}

pub fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

pub fn list(values: &[u64]) -> CoinList {
    CoinList::of_values(values.iter().copied()).unwrap()
}

pub fn set(coins: &[Coin]) -> CoinSet {
    CoinSet::new(coins.to_vec(), Currency::FLO).unwrap()
}

pub fn worth(coins: &[Coin]) -> u64 {
    coins.iter().map(|c| c.value).sum()
}

pub fn refresh(values: &[u64]) -> VDesc {
    payee::refresh(flo(values.iter().sum()), list(values)).unwrap()
}

/// An array of so many elements whose first bytes are those of a shorter one.
pub fn one_element_more(array: &[u8]) -> Vec<u8> {
    let mut longer = array.to_vec();
    assert!((0x80..0x97).contains(&longer[0]), "a short array");
    longer[0] += 1;
    longer.push(0xf6);
    longer
}

pub fn slug<T>(result: &Result<T, Refusal>) -> &'static str {
    result.as_ref().err().map_or("fine", |r| r.slug)
}

/// Whether some bytes stand in others.
pub fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}
