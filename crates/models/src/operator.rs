//! The operator as the models have it: the real issuer, the real steps of both lanes, and the parts of the one flow
//! between them, each a function of its arguments. What the shell does with time, threads and disks is left out; what it
//! does with a decision is here as it is there. Source: crates/shell/src/house.rs; ARCHITECTURE.md, "The one flow".

use std::sync::Arc;

use florin_books::{Facts, LaneId, Record, RegisterId, RegisterSpec, Rejected, Seq, Timestamp, Transition};
use florin_coin::issuer::{
    AcknowledgeStep, ChangeStep, CheckStep, ClaimKeys, ClaimSlot, CollectAckStep, CollectStep, Issuer,
    IssuerSecrets, Lanes, PayeeStatusStep, PayerStatusStep, PaymentStep, RedeemStep, RefundStep,
    SoftwareModule, WRequest1Step, WRequest3Step,
};
use florin_coin::{IssuerKey, Prepared};
use florin_crypto::{Digest, Entropy, KemSecretKey, Secret, SeededEntropy, SigningKey, digest};
use florin_money::{Currency, Denominations};
use florin_parties::{
    ConfirmStep, CurrencyTerms, EnrolStep, KeyList, KeyUse, OperatorKeys, PublishedKey, RegisterStep, Terms,
    operator_id,
};
use florin_rail::common::{ASK_STATUS, BAD_REQUEST, REQUEST_ID_REUSED};
use florin_rail::{Decision, Moment, Refusal, Step, cause, cause_of};

use crate::shelf::Shelf;

const DAY: u64 = 24 * 60 * 60 * 1000;
/// When a world begins.
pub const START: Timestamp = Timestamp(20_000 * DAY + 9 * 60 * 60 * 1000);
/// Until when payments can happen.
pub const DEADLINE: Timestamp = START.plus_ms(10 * 60 * 1000);
/// After all deadlines.
pub const LATE: Timestamp = START.plus_ms(20 * 60 * 1000);
/// Until when requests may be answered that have no deadline of a payment.
pub const EXP: Timestamp = START.plus_ms(60 * 60 * 1000);
/// Who is who, bank, purchases.
pub const IDENTITY: LaneId = LaneId(1);
/// Coins.
pub const BOOKS: LaneId = LaneId(2);
/// The register of coins.
pub const COINS: RegisterId = RegisterId(1);

/// A secret of a world: a function of what it is for.
#[must_use]
pub fn secret<const N: usize>(what: &str) -> Secret<N> {
    Secret::random(&mut SeededEntropy::new(what))
}

/// What coins there are.
#[must_use]
pub fn register() -> RegisterSpec {
    RegisterSpec { id: COINS, denominations: Denominations::one_two_five(Currency::FLO, 24) }
}

/// Claim keys that are functions of their request: a checker goes back and forth, and a key must be there in both.
struct ClaimKeysByRequest(Secret<32>);

impl ClaimKeys for ClaimKeysByRequest {
    fn take(&self, request: [u8; 16], _: &mut dyn Entropy) -> Option<ClaimSlot> {
        let index = u32::from_be_bytes(request.first_chunk().copied()?);
        self.key(index).map(|key| ClaimSlot { index, key })
    }

    fn key(&self, index: u32) -> Option<Secret<32>> {
        let key = digest("florin/models/claim-key", &[self.0.expose(), &index.to_be_bytes()]);
        Some(Secret::new(key.0))
    }

    fn forget(&self, _: &[u32]) -> bool {
        true
    }
}

/// An operator without its books.
pub struct Operator {
    /// What everybody knows of it.
    pub list: KeyList,
    /// Its keys.
    pub keys: Arc<OperatorKeys>,
    /// The issuer.
    pub issuer: Arc<Issuer>,
}

/// Both lanes.
#[derive(Clone)]
pub struct Ledgers {
    /// Who is who.
    pub identity: Shelf,
    /// Coins.
    pub books: Shelf,
}

impl Default for Ledgers {
    fn default() -> Self {
        Self { identity: Shelf::new(IDENTITY, Vec::new()), books: Shelf::new(BOOKS, vec![register()]) }
    }
}

impl Ledgers {
    /// A lane.
    #[must_use]
    pub fn shelf(&self, lane: LaneId) -> &Shelf {
        if lane == IDENTITY { &self.identity } else { &self.books }
    }

    /// A lane, to be changed.
    pub fn shelf_mut(&mut self, lane: LaneId) -> &mut Shelf {
        if lane == IDENTITY { &mut self.identity } else { &mut self.books }
    }

    /// What names this state of the books: the chains of both journals.
    #[must_use]
    pub fn name(&self) -> [Digest; 2] {
        [self.identity.lane().chain(), self.books.lane().chain()]
    }
}

fn key_list(root: &SigningKey, signing: &SigningKey, kem: &KemSecretKey) -> KeyList {
    let until = START.plus_ms(4000 * DAY);
    KeyList {
        operator: operator_id(&root.verify_key()),
        root: root.verify_key(),
        name: "Model".into(),
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

impl Default for Operator {
    fn default() -> Self {
        let root = SigningKey::from_seed(&secret("root"));
        let signing = SigningKey::from_seed(&secret("signing"));
        let kem = KemSecretKey::from_seed(&secret("kem"));
        let list = key_list(&root, &signing, &kem);
        let keys = Arc::new(OperatorKeys::new(list.operator, signing, kem));
        let secrets = IssuerSecrets {
            module: Box::new(SoftwareModule::new(secret("tag"))),
            ids: secret("ids"),
            acknowledgement: secret("acknowledgement"),
            cookie: secret("cookie"),
        };
        let lanes = Lanes { identity: IDENTITY, books: BOOKS };
        let issuer = Issuer::new(keys.clone(), secrets, lanes, vec![register()], &Terms::default());
        let issuer = issuer.with_claim_keys(Arc::new(ClaimKeysByRequest(secret("claims"))));
        Self { list, keys, issuer: Arc::new(issuer) }
    }
}

/// A request that was opened by its step.
pub trait Asked: Send + Sync {
    /// In which lane it is decided.
    fn lane(&self) -> LaneId;
    /// What the books say about it; the second is the record that has taken one of its once keys.
    fn load(&self, shelf: &Shelf) -> (Facts, Option<Seq>);
    /// The decision, with its cause and `as_of` filled in.
    fn decide(&self, facts: &Facts, moment: &mut Moment<'_>) -> Decision;
    /// The decision after the lane has said no.
    fn decide_refused(&self, facts: &Facts, why: &Rejected, moment: &mut Moment<'_>) -> Decision;
    /// The reply of a record that it has made.
    ///
    /// # Errors
    /// As the step.
    fn reply(&self, record: &Record) -> Result<Vec<u8>, Refusal>;
    /// The reply where a once key was taken before.
    ///
    /// # Errors
    /// As the step; `request-id-reused`.
    fn again(&self, shelf: &Shelf, seq: Seq, facts: &Facts) -> Result<Vec<u8>, Refusal>;
}

struct AskedOf<S: Step> {
    step: S,
    lane: LaneId,
    opened: S::Opened,
    cause: Digest,
}

impl<S: Step> AskedOf<S> {
    fn its(&self, decision: Decision, facts: &Facts) -> Decision {
        let fill = |t: Transition| Transition { cause: self.cause, as_of: facts.as_of, ..t };
        match decision {
            Decision::Apply(t) => Decision::Apply(fill(t)),
            Decision::Deny(t) => Decision::Deny(fill(t)),
            other => other,
        }
    }
}

impl<S: Step> Asked for AskedOf<S> {
    fn lane(&self) -> LaneId {
        self.lane
    }

    fn load(&self, shelf: &Shelf) -> (Facts, Option<Seq>) {
        let needs = self.step.needs(&self.opened);
        let mut facts = shelf.facts(&needs);
        let taken = needs.once.iter().find_map(|key| facts.once.get(key).copied());
        if taken.is_none() {
            let balances = self.step.balances(&self.opened).into_iter();
            facts.balances = balances.map(|(a, c)| ((a, c), shelf.lane().balance(a, c))).collect();
            shelf.follow(&self.step.follows(&self.opened, &facts), &mut facts);
        }
        (facts, taken)
    }

    fn decide(&self, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        self.its(self.step.decide(&self.opened, facts, moment), facts)
    }

    fn decide_refused(&self, facts: &Facts, why: &Rejected, moment: &mut Moment<'_>) -> Decision {
        self.its(self.step.decide_refused(&self.opened, facts, why, moment), facts)
    }

    fn reply(&self, record: &Record) -> Result<Vec<u8>, Refusal> {
        self.step.reply(&self.opened, record)
    }

    fn again(&self, shelf: &Shelf, seq: Seq, facts: &Facts) -> Result<Vec<u8>, Refusal> {
        if !self.step.is_authentic(&self.opened, facts) {
            return Err(BAD_REQUEST);
        }
        let record = shelf.record(seq).ok_or(ASK_STATUS)?;
        if record.core.cause == self.cause || self.step.may_reissue(&self.opened, record, facts) {
            return self.step.reissue(&self.opened, record, facts);
        }
        Err(if record.seed.is_none() { ASK_STATUS } else { REQUEST_ID_REUSED })
    }
}

fn asked<S: Step + 'static>(
    step: S,
    lane: LaneId,
    body: &[u8],
    now: Timestamp,
) -> Result<Arc<dyn Asked>, Refusal> {
    let opened = step.open(body, now)?;
    let name = step.name();
    let cause = match step.transcript(&opened) {
        Some(th) => cause_of(name.rail, name.step, &th),
        None => cause(name.rail, name.step, body),
    };
    Ok(Arc::new(AskedOf { step, lane, opened, cause }))
}

impl Operator {
    /// The key to seal to.
    #[must_use]
    pub fn key(&self) -> Option<IssuerKey> {
        IssuerKey::of(&self.list, START)
    }

    /// Opens a message as the step of its path does.
    ///
    /// # Errors
    /// As the step; `bad-request` for a path without one.
    pub fn open(&self, path: &str, body: &[u8], now: Timestamp) -> Result<Arc<dyn Asked>, Refusal> {
        let i = self.issuer.clone();
        let k = self.keys.clone();
        match path.strip_prefix("/v1/").unwrap_or(path) {
            "parties/register" => asked(RegisterStep::new(k), IDENTITY, body, now),
            "parties/enrol" => asked(EnrolStep::new(k, Currency::FLO), IDENTITY, body, now),
            "parties/confirm" => asked(ConfirmStep::new(k), IDENTITY, body, now),
            "coin/wrequest1" => asked(WRequest1Step(i), IDENTITY, body, now),
            "coin/wrequest3" => asked(WRequest3Step(i), IDENTITY, body, now),
            "coin/collect" => asked(CollectStep(i), BOOKS, body, now),
            "coin/collect-ack" => asked(CollectAckStep(i), BOOKS, body, now),
            "coin/validation-req" => asked(PaymentStep(i), BOOKS, body, now),
            "coin/check" => asked(CheckStep::new(i), BOOKS, body, now),
            "coin/issuance2" => asked(AcknowledgeStep(i), BOOKS, body, now),
            "coin/payer-status" => asked(PayerStatusStep(i), BOOKS, body, now),
            "coin/payee-status" => asked(PayeeStatusStep(i), BOOKS, body, now),
            "coin/change" => asked(ChangeStep(i), BOOKS, body, now),
            "coin/redeem" => asked(RedeemStep(i), BOOKS, body, now),
            "coin/refund" => asked(RefundStep(i), BOOKS, body, now),
            _ => Err(BAD_REQUEST),
        }
    }
}

/// What a step has come to.
#[derive(Clone)]
pub enum Begun {
    /// An answer; the books do not change. The flag: it is one that was given before.
    Reply(Result<Vec<u8>, Refusal>, bool),
    /// A change, to be applied.
    Decided(Box<Decided>),
}

/// A decision and what it was made on.
#[derive(Clone)]
pub struct Decided {
    /// The facts.
    pub facts: Facts,
    /// The change.
    pub transition: Transition,
    /// Whether the lane has said no once already.
    pub second: bool,
}

/// What the lane has said.
pub enum Committed {
    /// Applied.
    Done(Arc<Record>),
    /// A once key is taken: what it answers.
    Taken(Result<Vec<u8>, Refusal>),
    /// Something was written in between: from the beginning.
    Again,
    /// Something does not hold: to be decided once more.
    Not(Rejected),
}

/// Load and decide.
pub fn begin(asked: &dyn Asked, shelf: &Shelf, moment: &mut Moment<'_>) -> Begun {
    let (facts, taken) = asked.load(shelf);
    if let Some(seq) = taken {
        return Begun::Reply(asked.again(shelf, seq, &facts), true);
    }
    fresh(asked, facts, moment)
}

/// Decide on these facts.
pub fn fresh(asked: &dyn Asked, facts: Facts, moment: &mut Moment<'_>) -> Begun {
    let decision = asked.decide(&facts, moment);
    begun(decision, facts, false)
}

/// Decide again, after the lane has said no.
pub fn second(asked: &dyn Asked, before: &Decided, why: &Rejected, moment: &mut Moment<'_>) -> Begun {
    let decision = asked.decide_refused(&before.facts, why, moment);
    begun(decision, before.facts.clone(), true)
}

fn begun(decision: Decision, facts: Facts, second: bool) -> Begun {
    match decision {
        Decision::Apply(transition) | Decision::Deny(transition) => {
            Begun::Decided(Box::new(Decided { facts, transition, second }))
        }
        Decision::Answer(bytes) => Begun::Reply(Ok(bytes), false),
        Decision::Refuse(refusal) => Begun::Reply(Err(refusal), false),
    }
}

/// Commit, on the lane as it is now.
///
/// # Errors
/// A fault of the program, in words.
pub fn commit(
    asked: &dyn Asked,
    shelf: &mut Shelf,
    decided: &Decided,
    now: Timestamp,
) -> Result<Committed, crate::fault::Fault> {
    match shelf.apply(decided.transition.clone(), now) {
        Ok(record) => Ok(Committed::Done(record)),
        Err(Rejected::Repeated { seq } | Rejected::IdReused { seq }) => {
            Ok(Committed::Taken(asked.again(shelf, seq, &decided.facts)))
        }
        Err(Rejected::Stale | Rejected::Moved { .. }) => Ok(Committed::Again),
        Err(why) if why.is_fault() => Err(crate::fault::Fault::Books("a rule of the books is broken")),
        Err(Rejected::NotLive { .. } | Rejected::TooLate) if decided.second => Ok(Committed::Again),
        Err(_) if decided.second => Err(crate::fault::Fault::Books("a verdict could not be recorded")),
        Err(why) => Ok(Committed::Not(why)),
    }
}

/// A request that is ready to go, without what reads its answer.
#[must_use]
pub fn parts(prepared: Prepared) -> (&'static str, Vec<u8>, Vec<u8>) {
    (prepared.path, prepared.body, prepared.pending.to_vec())
}
