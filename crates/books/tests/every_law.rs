//! Every check of docs/books.md, "A change", against a model that is written here once more in another way: sets of single
//! tokens, plain sums, lists. Random changes, most of them a little wrong, have to be refused for the same reason by both, or
//! applied by both and leave the same behind. Source: docs/books.md, "A change" (1 to 13); books.md, "The rules every commit
//! obeys". Which test holds which law: docs/books.md, "What holds, and the test of it".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod common;
#[path = "common/model.rs"]
mod model;

use common::*;
use florin_books::*;
use florin_money::{Amount, Currency, CurrencyCode};
use model::{Model, value_of, yen};
use proptest::prelude::*;

/// One thing that a change does; most are right most of the time.
#[derive(Clone, Debug)]
enum Part {
    Buy(u16, u32, u16),
    Spend(u16, u64, u16),
    Drop(u16),
    Skip(u16, u16, u64),
    Hold(u8, u64, u64),
    Out(bool, u64),
    Write(u64),
    Mark(u64),
    Once(u64),
    Unchanged(u64),
    Between(u64, u64),
    Limits(u8, i64, i64),
    Pay(u8, u8, i64, bool),
    Slip(u8, i64),
    Foreign,
}

fn part() -> impl Strategy<Value = Part> {
    let slip = prop_oneof![3 => -3..3i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    prop_oneof![
        6 => (0..4u16, 0..4u32, 1..4u16).prop_map(|(i, n, e)| Part::Buy(i, n, e)),
        6 => (0..4u16, 0..6u64, 1..4u16).prop_map(|(i, c, e)| Part::Spend(i, c, e)),
        1 => (1..4u16).prop_map(Part::Drop),
        1 => (0..4u16, 1..4u16, prop_oneof![0..9u64, Just(SKIP_MAX + 7), Just(COUNTER_MAX + 1)])
            .prop_map(|(i, e, to)| Part::Skip(i, e, to)),
        5 => (0..4u8, 0..4u64, 0..2u64).prop_map(|(k, id, by)| Part::Hold(k, id, by)),
        3 => (any::<bool>(), 0..4u64).prop_map(|(emit, id)| Part::Out(emit, id)),
        3 => (0..4u64).prop_map(Part::Write),
        2 => (0..12u64).prop_map(Part::Mark),
        2 => (0..30u64).prop_map(Part::Once),
        1 => (0..4u64).prop_map(Part::Unchanged),
        1 => (0..600u64, 400..1000u64).prop_map(|(from, to)| Part::Between(from, to)),
        1 => (0..5u8, -60..20i64, -20..60i64).prop_map(|(a, low, high)| Part::Limits(a, low, high)),
        4 => (0..5u8, 0..5u8, -9..30i64, any::<bool>()).prop_map(|(a, b, n, y)| Part::Pay(a, b, n, y)),
        1 => (0..5u8, slip).prop_map(|(a, n)| Part::Slip(a, n)),
        1 => Just(Part::Foreign),
    ]
}

fn account(n: u8) -> Account {
    [Account::Bank(0), owed(1), Account::Due(PartyId::new(id(2))), REGISTER, Account::PaidNotIssued]
        [usize::from(n)]
}

fn posted(t: &mut Transition, from: Account, to: Account, currency: CurrencyCode, delta: i64) {
    t.postings.push(Posting { account: from, currency, delta });
    t.postings.push(Posting { account: to, currency, delta: -delta });
}

fn add(t: &mut Transition, part: &Part, model: &Model) {
    let worth = |index: u16, count: i64| i64::try_from(value_of(index)).unwrap() * count;
    match *part {
        Part::Buy(index, count, epoch) => {
            t.creates.push(Issue { epoch: Epoch(epoch), ..issue(index, count) });
            posted(t, Account::Bank(0), REGISTER, flo(), worth(index, i64::from(count)));
        }
        Part::Spend(index, counter, epoch) => {
            t.consumes.push(TokenNumber { epoch: Epoch(epoch), ..token(index, counter) });
            posted(t, REGISTER, owed(1), flo(), worth(index, 1));
        }
        Part::Drop(epoch) => {
            t.drops.push(Epoch(epoch));
            let live = model.live.iter().filter(|(e, ..)| *e == epoch);
            posted(t, REGISTER, Account::Suspense, flo(), live.map(|(_, index, _)| worth(*index, 1)).sum());
        }
        Part::Skip(index, epoch, next) => {
            t.skips.push(Skip { epoch: Epoch(epoch), denomination: denomination(index), next });
        }
        Part::Hold(kind, n, by) => {
            let (name, by) = (HoldingId::new(id(n)), ExchangeId::new(id(700 + by)));
            let held = Account::Holdings(issuer());
            match kind {
                0 => {
                    t.holdings.push(HoldingChange::Add(holding(n, 3 + n)));
                    posted(t, held, Account::World, flo(), 3 + i64::try_from(n).unwrap());
                }
                1 => t.holdings.push(HoldingChange::Reserve(name, by)),
                2 => t.holdings.push(HoldingChange::Release(name, by)),
                _ => {
                    t.holdings.push(HoldingChange::Remove(name, by));
                    posted(t, Account::World, held, flo(), 3 + i64::try_from(n).unwrap());
                }
            }
        }
        Part::Out(true, n) => t.emit(EffectId::new(id(n)), 1, Timestamp(0), vec![]),
        Part::Out(false, n) => t.effects.push(Effect::Done(EffectId::new(id(n)))),
        Part::Write(n) => t.write(key(n), vec![1]),
        Part::Mark(n) => t.marks.push(Mark { kind: KIND, id: id(n), until: Timestamp(9) }),
        Part::Once(n) => t.once.push(once(n)),
        Part::Unchanged(n) => t.requires.push(Condition::Unchanged(key(n))),
        Part::Between(from, to) => {
            t.requires.push(Condition::NotBefore(Timestamp(from)));
            t.requires.push(Condition::NotAfter(Timestamp(to)));
        }
        Part::Limits(a, low, high) => {
            t.requires.push(Condition::AtLeast(account(a), flo(), low));
            t.requires.push(Condition::AtMost(account(a), flo(), high));
        }
        Part::Pay(a, b, n, in_yen) => {
            posted(t, account(a), account(b), if in_yen { yen() } else { flo() }, n);
        }
        Part::Slip(a, n) => t.postings.push(Posting { account: account(a), currency: flo(), delta: n }),
        Part::Foreign => t.consumes.push(TokenNumber { lane: LaneId(9), ..token(0, 0) }),
    }
}

type Change = (Vec<Part>, u64, u64, u64);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let parts = proptest::collection::vec(part(), 1..4);
    proptest::collection::vec((parts, 0..1000u64, 0..3u64, 0..24u64), 1..50)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    /// Laws 1 to 13: the lane and the model refuse the same changes for the same reason, and hold the same afterwards.
    #[test]
    fn the_lane_and_a_plain_model_agree_about_every_change(changes in changes()) {
        let (mut lane, mut model) = (Lane::new(spec()), Model::default());
        for (parts, now, lag, cause_of) in changes {
            let mut t = Transition::new(cause(cause_of), Seq(model.seq.saturating_sub(lag)));
            parts.iter().for_each(|part| add(&mut t, part, &model));
            let expected = model.refuses(&t, now);
            let before = lane.checkpoint();
            match (lane.apply(t.clone(), Timestamp(now)), expected) {
                (Ok(entry), None) => {
                    let numbers: Vec<_> = entry.record.core.created.iter().flat_map(Issued::numbers)
                        .map(|n| (n.epoch.0, n.denomination.index(), n.counter)).collect();
                    prop_assert_eq!(numbers, model.apply(&t, now));
                }
                (Err(why), Some(expected)) => {
                    prop_assert_eq!(why, expected);
                    prop_assert_eq!(lane.checkpoint(), before);
                }
                (lane, model) => prop_assert!(false, "{:?}, and the model says {:?}: {:?}", lane.err(), model, t),
            }
            model.is(&lane);
        }
    }

    /// The chain: a record that was changed in anything but its seed, left out or moved is told from the one that was
    /// written, by the chain or by the lane; a seed is the right one or none.
    #[test]
    fn no_record_is_changed_left_out_or_moved_unnoticed(changes in changes(), at in 0..40usize, bit in any::<(usize, u8)>()) {
        let (mut lane, mut entries, mut model) = (Lane::new(spec()), Vec::new(), Model::default());
        for (parts, now, _, cause_of) in changes {
            let mut t = Transition::new(cause(cause_of), lane.seq());
            parts.iter().for_each(|part| add(&mut t, part, &model));
            t.seed = cause_of.to_be_bytes().to_vec();
            if let Ok(entry) = lane.apply(t.clone(), Timestamp(now)) {
                model.apply(&t, now);
                entries.push(entry);
            }
        }
        prop_assume!(!entries.is_empty());
        let at = at % entries.len();
        let redone = |records: &[Record]| {
            let mut lane = Lane::new(spec());
            let all = records.iter().try_for_each(|r| lane.redo(r.clone()).map(drop));
            all.map(|()| lane.chain())
        };
        let records: Vec<Record> = entries.iter().map(|e| e.record.clone()).collect();
        prop_assert_eq!(redone(&records), Ok(lane.chain()));
        let mut without = records.clone();
        let gone = without.remove(at);
        prop_assert!(redone(&without) != Ok(lane.chain()), "a record was left out");
        without.insert((at + 1).min(without.len()), gone);
        prop_assert!(at + 1 == records.len() || redone(&without) != Ok(lane.chain()), "two records changed places");
        let mut seedless = records.clone();
        seedless[at].seed = None;
        prop_assert_eq!(redone(&seedless), Ok(lane.chain()));
        let mut bytes = entries[at].bytes.clone();
        let place = bit.0 % bytes.len();
        bytes[place] ^= 1 << (bit.1 % 8);
        if let Ok(changed) = florin_crypto::decode_strict::<Record>(&bytes) {
            let mut other = records.clone();
            other[at] = changed;
            prop_assert!(redone(&other) != Ok(lane.chain()), "a changed record was taken for what was written");
        }
    }

    /// The audit: a balance, a token, a holding that the journal does not explain is found.
    #[test]
    fn books_that_say_something_else_than_their_journal_are_found_out(
        changes in changes(), minor in 1..50u64, which in 0..4u8,
    ) {
        let (mut lane, mut model, mut audit) = (Lane::new(spec()), Model::default(), Audit::new(spec()));
        for (parts, now, _, cause_of) in changes {
            let mut t = Transition::new(cause(cause_of), lane.seq());
            parts.iter().for_each(|part| add(&mut t, part, &model));
            if let Ok(entry) = lane.apply(t.clone(), Timestamp(now)) {
                model.apply(&t, now);
                audit.absorb(&entry.record);
            }
        }
        let mut t = empty(100_000, &lane);
        match which {
            0 => t.post(Account::Bank(0), owed(1), Amount::new(minor, Currency::FLO)),
            1 => {
                t.creates.push(Issue { epoch: Epoch(9), ..issue(0, 1) });
                t.post(Account::Bank(0), REGISTER, amount(1));
            }
            2 => {
                t.holdings.push(HoldingChange::Add(holding(900, minor)));
                t.post(Account::Holdings(issuer()), Account::World, amount(minor));
            }
            _ => t.drops.push(Epoch(77)),
        }
        // Done behind the journal's back.
        lane.apply(t, Timestamp(0)).unwrap();
        prop_assert!(!audit.finish(&lane).is_clean());
    }
}
