//! What the tests of the books share.
#![allow(dead_code)]

use florin_books::*;
use florin_crypto::{Digest, digest};
use florin_money::{Amount, Currency, CurrencyCode, Denominations};

pub const LANE: LaneId = LaneId(2);
pub const REGISTER: Account = Account::Register(RegisterId(1));
pub const KIND: DocumentKind = DocumentKind(1);
pub const VALUES: [u64; 4] = [1, 2, 5, 10];

pub fn spec() -> LaneSpec {
    let denominations = Denominations::new(Currency::FLO, VALUES.to_vec()).unwrap();
    LaneSpec { lane: LANE, registers: vec![RegisterSpec { id: RegisterId(1), denominations }] }
}

pub fn flo() -> CurrencyCode {
    Currency::FLO.code()
}

pub fn amount(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

pub fn cause(n: u64) -> Digest {
    digest("test/law", &[&n.to_be_bytes()])
}

pub fn id(n: u64) -> [u8; 16] {
    cause(n).short()
}

pub fn key(n: u64) -> DocumentKey {
    DocumentKey::new(KIND, id(n))
}

pub fn once(n: u64) -> OnceKey {
    OnceKey { rail: 1, step: 1, party: PartyId::NONE, txid: id(n) }
}

pub fn issuer() -> PartyId {
    PartyId::new(id(900))
}

pub fn owed(n: u64) -> Account {
    Account::Party(PartyId::new(id(n)))
}

pub fn denomination(index: u16) -> DenominationId {
    DenominationId::new(RegisterId(1), index).unwrap()
}

pub fn token(index: u16, counter: u64) -> TokenNumber {
    TokenNumber { lane: LANE, epoch: Epoch(1), denomination: denomination(index), counter }
}

pub fn issue(index: u16, count: u32) -> Issue {
    Issue { epoch: Epoch(1), denomination: denomination(index), count }
}

pub fn empty(n: u64, lane: &Lane) -> Transition {
    Transition::new(cause(n), lane.seq())
}

pub fn buy(n: u64, index: u16, count: u32, lane: &Lane) -> Transition {
    let mut t = empty(n, lane);
    t.creates.push(issue(index, count));
    t.post(Account::Bank(0), REGISTER, amount(VALUES[usize::from(index)] * u64::from(count)));
    t
}

pub fn holding(n: u64, value: u64) -> Holding {
    Holding {
        id: HoldingId::new(id(n)),
        issuer: issuer(),
        value: amount(value),
        expires: Timestamp(1),
        token: vec![1, 2, 3],
    }
}

pub fn receive(n: u64, value: u64, lane: &Lane) -> Transition {
    let mut t = empty(n, lane);
    t.holdings.push(HoldingChange::Add(holding(n, value)));
    t.post(Account::Holdings(issuer()), Account::World, amount(value));
    t
}

/// All or nothing: a refusal leaves the lane as it was, to the byte.
pub fn refused(lane: &mut Lane, t: Transition) -> Rejected {
    refused_at(lane, t, Timestamp(0))
}

pub fn refused_at(lane: &mut Lane, t: Transition, now: Timestamp) -> Rejected {
    let before = lane.checkpoint();
    let why = lane.apply(t.clone(), now).expect_err("the lane takes it");
    assert_eq!(lane.checkpoint(), before, "a refusal changed the lane");
    assert_eq!(lane.apply(t, now).expect_err("the lane takes it now"), why);
    why
}

/// A lane with ten coins of each value, one holding, one document, one entry in the outbox.
pub fn furnished() -> Lane {
    let mut lane = Lane::new(spec());
    for index in 0..4 {
        let mut t = buy(u64::from(index), index, 10, &lane);
        t.once.push(once(u64::from(index)));
        lane.apply(t, Timestamp(100)).unwrap();
    }
    let mut t = receive(50, 7, &lane);
    t.write(key(1), b"one".to_vec());
    t.marks.push(Mark { kind: KIND, id: id(1), until: Timestamp(500) });
    t.emit(EffectId::new(id(1)), 1, Timestamp(0), vec![]);
    lane.apply(t, Timestamp(100)).unwrap();
    lane
}
