//! An operator in memory: one lane, its documents, and the one flow around it, without a store.
#![allow(dead_code, reason = "each test file uses another part")]

use std::collections::HashMap;
use std::sync::Arc;

use florin_books::{
    Account, Document, DocumentKey, Facts, Lane, LaneId, LaneSpec, Needs, OnceKey, PartyId, Record, Seq,
    Timestamp, Transition, TxId,
};
use florin_crypto::{KemSecretKey, SeededEntropy, SigningKey, cbor, kem, random};
use florin_money::Currency;
use florin_parties::asker::{prepare_confirm, prepare_enrol, prepare_register};
use florin_parties::bank::{BankAccount, Order};
use florin_parties::kinds::SUBMIT_ORDER;
use florin_parties::{
    ConfirmStep, CurrencyTerms, EnrolStep, IdentityKeys, KeyList, KeyUse, OperatorKeys, Prepared,
    PublishedKey, RegisterStep, Roles, Terms, operator_id,
};
use florin_rail::common::REQUEST_ID_REUSED;
use florin_rail::{Decision, Moment, Refusal, Step, cause, hpke_info};
use minicbor::Encode;

pub const DAY: u64 = 24 * 60 * 60 * 1000;
pub const START: Timestamp = Timestamp(20_000 * DAY + 9 * 60 * 60 * 1000);
pub const IBAN: &str = "DE89370400440532013000";
pub const OTHER_IBAN: &str = "GB82WEST12345698765432";

pub struct World {
    pub keys: Arc<OperatorKeys>,
    pub root: SigningKey,
    pub list: KeyList,
    pub lane: Lane,
    pub documents: HashMap<DocumentKey, Document>,
    pub once: HashMap<OnceKey, Seq>,
    pub records: Vec<Record>,
    pub entropy: SeededEntropy,
    pub now: Timestamp,
    pub denied: usize,
}

pub fn key_list(root: &SigningKey, signing: &SigningKey, kem: &KemSecretKey) -> KeyList {
    let until = START.plus_ms(400 * DAY);
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
        currencies: vec![CurrencyTerms { currency: Currency::FLO, denominations: vec![1, 2, 5, 10] }],
        terms: Terms::default(),
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut entropy = SeededEntropy::from_number(seed);
        let root = SigningKey::generate(&mut entropy);
        let signing = SigningKey::generate(&mut entropy);
        let kem = KemSecretKey::generate(&mut entropy);
        let list = key_list(&root, &signing, &kem);
        Self {
            keys: Arc::new(OperatorKeys::new(list.operator, signing, kem)),
            root,
            list,
            lane: Lane::new(LaneSpec { lane: LaneId(1), registers: Vec::new() }),
            documents: HashMap::new(),
            once: HashMap::new(),
            records: Vec::new(),
            entropy,
            now: START,
            denied: 0,
        }
    }

    pub fn identity(&mut self) -> IdentityKeys {
        IdentityKeys::generate(&mut self.entropy)
    }

    pub fn tx(&mut self) -> (TxId, Timestamp) {
        (TxId::new(random(&mut self.entropy)), self.now.plus_ms(60 * 60 * 1000))
    }

    pub fn facts(&self, needs: &Needs) -> Facts {
        let read = |k: &DocumentKey| self.documents.get(k).map(|d| (*k, d.clone()));
        let seen = |k: &OnceKey| self.once.get(k).map(|s| (*k, *s));
        Facts {
            as_of: self.lane.seq(),
            documents: needs.documents.iter().filter_map(read).collect(),
            once: needs.once.iter().filter_map(seen).collect(),
            marked: Vec::new(),
            ..Facts::default()
        }
    }

    pub fn commit(&mut self, t: Transition) -> Record {
        let record = self.lane.apply(t, self.now).unwrap().record;
        for w in &record.core.documents {
            match &w.value {
                Some(v) => {
                    let document = Document { version: record.core.seq, value: v.as_slice().into() };
                    self.documents.insert(w.key, document);
                }
                None => drop(self.documents.remove(&w.key)),
            }
        }
        self.once.extend(record.core.once.iter().map(|k| (*k, record.core.seq)));
        self.records.push(record.clone());
        record
    }

    /// The one flow: open, needs, load, decide, commit, reply.
    pub fn run<S: Step>(&mut self, step: &S, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let opened = step.open(body, self.now)?;
        let cause = cause(step.name().rail, step.name().step, body);
        let facts = self.facts(&step.needs(&opened));
        if let Some(seq) = facts.once.values().next() {
            let record = self.records.iter().find(|r| r.core.seq == *seq).unwrap();
            return if record.core.cause == cause {
                step.reply(&opened, record)
            } else {
                Err(REQUEST_ID_REUSED)
            };
        }
        let mut moment = Moment { now: self.now, entropy: &mut self.entropy };
        let mut t = match step.decide(&opened, &facts, &mut moment) {
            Decision::Apply(t) => t,
            Decision::Deny(t) => {
                self.denied += 1;
                t
            }
            Decision::Answer(reply) => return Ok(reply),
            Decision::Refuse(refusal) => return Err(refusal),
        };
        t.cause = cause;
        t.as_of = facts.as_of;
        let record = self.commit(t);
        step.reply(&opened, &record)
    }

    pub fn register(&mut self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.run(&RegisterStep::new(self.keys.clone()), body)
    }

    pub fn enrol(&mut self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.run(&EnrolStep::new(self.keys.clone(), Currency::FLO), body)
    }

    pub fn confirm(&mut self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.run(&ConfirmStep::new(self.keys.clone()), body)
    }

    pub fn ask_register(&mut self, identity: &IdentityKeys, name: Option<&str>) -> Prepared {
        let tx = self.tx();
        prepare_register(identity, name, &self.list, tx, self.now, &mut self.entropy).unwrap()
    }

    pub fn ask_enrol(&mut self, identity: &IdentityKeys, roles: Roles, iban: &str) -> Prepared {
        let tx = self.tx();
        let account: BankAccount = iban.parse().unwrap();
        prepare_enrol(identity, roles, &account, &self.list, tx, self.now, &mut self.entropy).unwrap()
    }

    pub fn ask_confirm(&mut self, identity: &IdentityKeys, code: &str) -> Prepared {
        let tx = self.tx();
        prepare_confirm(identity, code, &self.list, tx, self.now, &mut self.entropy).unwrap()
    }

    /// A participant who has just registered.
    pub fn registered(&mut self, name: Option<&str>) -> IdentityKeys {
        let identity = self.identity();
        let asked = self.ask_register(&identity, name);
        self.register(&asked.body).unwrap();
        identity
    }

    /// The orders that wait for the bank, the latest last.
    pub fn orders(&self) -> Vec<Order> {
        let mut all: Vec<_> = self.records.iter().flat_map(|r| &r.core.effects).collect();
        all.retain(|e| matches!(e, florin_books::Effect::Emit(o) if o.kind == SUBMIT_ORDER));
        let body = |e: &florin_books::Effect| match e {
            florin_books::Effect::Emit(o) => cbor::decode_strict(&o.body).unwrap(),
            florin_books::Effect::Done(_) => unreachable!("only emitted ones were kept"),
        };
        all.into_iter().map(body).collect()
    }

    /// What the participant reads on its statement.
    pub fn last_code(&self) -> String {
        let order = self.orders().pop().unwrap();
        order.remittance.strip_prefix("FLORIN CODE ").unwrap().to_owned()
    }

    /// A request whose signed payload is made by hand, by whichever key, to whichever operator id.
    pub fn sealed<T: Encode<()>>(
        &mut self,
        step: &str,
        to: PartyId,
        by: &SigningKey,
        payload: &T,
    ) -> Vec<u8> {
        let signed = florin_parties::sealed::sign(by, payload);
        self.seal_bytes(step, to, &signed)
    }

    pub fn seal_bytes(&mut self, step: &str, to: PartyId, signed: &[u8]) -> Vec<u8> {
        let (kid, key) = self.list.kem_key(self.now).unwrap();
        let info = hpke_info("parties", step, to, &kid);
        cbor::encode(&kem::seal(&key, &kid, &info, &[], signed, &mut self.entropy).unwrap().0)
    }

    pub fn balance(&self, account: Account) -> i64 {
        self.lane.balance(account, Currency::FLO.code())
    }
}

/// An array of so many elements whose first bytes are those of a shorter one.
pub fn one_element_more(array: &[u8]) -> Vec<u8> {
    let mut longer = array.to_vec();
    assert!((0x80..0x97).contains(&longer[0]), "a short array");
    longer[0] += 1;
    longer.push(0xf6);
    longer
}

pub fn slug<T>(result: Result<T, Refusal>) -> &'static str {
    result.err().map_or("fine", |r| r.slug)
}
