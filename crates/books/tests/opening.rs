//! Openings and numbers that are passed over. Source: books.md, "Retention".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use florin_books::*;
use florin_crypto::digest;
use florin_money::{Amount, Currency, Denominations};

const LANE: LaneId = LaneId(1);
const REGISTER: RegisterId = RegisterId(0);

fn spec() -> LaneSpec {
    let denominations = Denominations::new(Currency::FLO, vec![1, 5]).unwrap();
    LaneSpec { lane: LANE, registers: vec![RegisterSpec { id: REGISTER, denominations }] }
}

fn five() -> DenominationId {
    DenominationId::new(REGISTER, 1).unwrap()
}

fn issue(n: u64, count: u32) -> Transition {
    let mut t = Transition::new(digest("test", &[&n.to_be_bytes()]), Seq(u64::MAX));
    t.creates.push(Issue { epoch: Epoch(3), denomination: five(), count });
    let worth = Amount::new(5 * u64::from(count), Currency::FLO);
    t.post(Account::Bank(0), Account::Register(REGISTER), worth);
    t.seed = vec![7; 40];
    t
}

fn skip(next: u64) -> Transition {
    let mut t = Transition::new(digest("test", &[b"skip"]), Seq(u64::MAX));
    t.skips.push(Skip { epoch: Epoch(3), denomination: five(), next });
    t
}

#[test]
fn numbers_that_were_passed_over_are_never_given_out_and_never_live() {
    let mut lane = Lane::new(spec());
    lane.apply(issue(1, 3), Timestamp(1)).unwrap();
    for back in [2, 3, 3 + SKIP_MAX + 1, COUNTER_MAX + 1] {
        assert_eq!(lane.apply(skip(back), Timestamp(1)).unwrap_err(), Rejected::NotIssuable, "{back}");
    }
    let skipped = lane.apply(skip(100_000), Timestamp(1)).unwrap();
    let next = lane.apply(issue(2, 1), Timestamp(1)).unwrap();
    assert_eq!(next.record.core.created[0].first.counter, 100_000);
    let number = |counter| TokenNumber { lane: LANE, epoch: Epoch(3), denomination: five(), counter };
    assert!(lane.live().is_live(&number(2)) && lane.live().is_live(&number(100_000)));
    assert!((3..100_000).all(|n| !lane.live().is_live(&number(n))));
    // What was recorded is redone, and the checkpoint holds it.
    let back = Lane::from_checkpoint(spec(), &lane.checkpoint()).unwrap();
    assert_eq!(back.live(), lane.live());
    let read: Record = minicbor::decode(&skipped.bytes).unwrap();
    assert_eq!(read.core.skipped.as_ref().unwrap()[0].next, 100_000);
    // Other records have the bytes that they had before there were skips: an array of twelve.
    let plain: Record = minicbor::decode(&next.bytes).unwrap();
    assert_eq!(next.bytes[..2], [0x82, 0x8c]);
    assert_eq!(florin_crypto::encode(&plain), next.bytes);
}

#[test]
fn an_audit_from_an_opening_sees_what_one_from_the_beginning_sees() {
    let mut lane = Lane::new(spec());
    let mut records = Vec::new();
    for n in 1..=10 {
        records.push(lane.apply(issue(n, 2), Timestamp(n)).unwrap().record);
        if n == 4 {
            let (opening, state) = Opening::of(&lane);
            let opening = Opening::read(&opening.to_bytes()).unwrap();
            let mut later = lane.clone();
            let mut audit = Audit::from_opening(spec(), &opening, &state).unwrap();
            let entry = later.apply(issue(50, 1), Timestamp(60)).unwrap();
            audit.absorb(&entry.record.clone().stripped());
            let report = audit.finish(&later);
            assert!(report.is_clean(), "{:?}", report.findings);
            assert_eq!(report.records, 1);
            // An opening that says something else than the state beside it is refused.
            let mut wrong = opening.clone();
            wrong.balances[0].2 += 1;
            assert!(Audit::from_opening(spec(), &wrong, &state).is_err());
            assert!(Audit::from_opening(spec(), &opening, &lane_state(&later)).is_err());
            // A record that does not follow from the opening shows.
            let mut audit = Audit::from_opening(spec(), &opening, &state).unwrap();
            audit.absorb(&records[0]);
            assert!(!audit.finish(&later).is_clean());
        }
    }
    let mut audit = Audit::new(spec());
    records.iter().for_each(|r| audit.absorb(r));
    assert!(audit.finish(&lane).is_clean());
}

fn lane_state(lane: &Lane) -> Vec<u8> {
    lane.checkpoint()
}
