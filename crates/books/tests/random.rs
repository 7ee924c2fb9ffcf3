//! Random transitions keep every law of the books. Source: books.md, "The rules every commit obeys".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod common;

use common::*;
use florin_books::*;
use proptest::prelude::*;

/// One random step; many of them are refused, which is the point.
#[derive(Clone, Debug)]
struct Step {
    now: u64,
    buy: (u16, u32),
    spend: Vec<(u16, u64)>,
    error: i64,
    once: u64,
    document: u64,
    lag: u64,
    hold: (u8, u64),
    effect: (u8, u64),
    epoch: u16,
    drop: Option<u16>,
}

fn step() -> impl Strategy<Value = Step> {
    let tokens = proptest::collection::vec((0..4u16, 0..12u64), 0..3);
    let error = prop_oneof![6 => Just(0i64), 1 => -3..3i64];
    (
        0..1000u64,
        (0..4u16, 0..3u32),
        tokens,
        error,
        0..40u64,
        0..6u64,
        0..4u64,
        (0..5u8, 0..6u64),
        ((0..3u8, 0..6u64), 1..4u16, prop_oneof![5 => Just(None), 1 => (1..4u16).prop_map(Some)]),
    )
        .prop_map(|(now, buy, spend, error, once, document, lag, hold, (effect, epoch, drop))| Step {
            now,
            buy,
            spend,
            error,
            once,
            document,
            lag,
            hold,
            effect,
            epoch,
            drop,
        })
}

fn transition(n: u64, s: &Step, lane: &Lane) -> Transition {
    let mut t = empty(n, lane);
    t.as_of = Seq(lane.seq().0.saturating_sub(s.lag));
    t.once.push(once(s.once));
    let mut net = 0;
    if s.buy.1 > 0 {
        t.creates.push(Issue { epoch: Epoch(s.epoch), ..issue(s.buy.0, s.buy.1) });
        net += i64::try_from(VALUES[usize::from(s.buy.0)] * u64::from(s.buy.1)).unwrap();
    }
    for &(index, counter) in &s.spend {
        t.consumes.push(TokenNumber { epoch: Epoch(s.epoch), ..token(index, counter) });
        net -= i64::try_from(VALUES[usize::from(index)]).unwrap();
    }
    if let Some(epoch) = s.drop {
        t.drops.push(Epoch(epoch));
        for c in lane.live().circulation().filter(|c| c.epoch == Epoch(epoch)) {
            net -= i64::try_from(VALUES[usize::from(c.denomination.index())] * c.live).unwrap();
        }
    }
    t.postings.push(Posting { account: REGISTER, currency: flo(), delta: -net });
    t.postings.push(Posting { account: Account::Bank(0), currency: flo(), delta: net + s.error });
    t.write(key(s.document), n.to_be_bytes().to_vec());
    let by = ExchangeId::new(id(800));
    let name = HoldingId::new(id(s.hold.1));
    match s.hold.0 {
        1 => {
            t.holdings.push(HoldingChange::Add(holding(s.hold.1, 3)));
            t.post(Account::Holdings(issuer()), Account::World, amount(3));
        }
        2 => t.holdings.push(HoldingChange::Reserve(name, by)),
        3 => t.holdings.push(HoldingChange::Release(name, by)),
        4 => {
            t.holdings.push(HoldingChange::Remove(name, by));
            t.post(Account::World, Account::Holdings(issuer()), amount(3));
        }
        _ => {}
    }
    match s.effect.0 {
        1 => t.emit(EffectId::new(id(s.effect.1)), 1, Timestamp(0), vec![]),
        2 => t.effects.push(Effect::Done(EffectId::new(id(s.effect.1)))),
        _ => {}
    }
    t.seed = n.to_be_bytes().to_vec();
    t
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked of it, a lane stays balanced, goes forward in time, changes nothing when it refuses, and is
    /// rebuilt by its records to the byte, from the beginning and from any checkpoint.
    #[test]
    fn random_steps_keep_every_law(steps in proptest::collection::vec(step(), 1..60), fold in 1..20usize) {
        let mut lane = Lane::new(spec());
        let mut entries: Vec<Entry> = Vec::new();
        let mut checkpoint = (0, lane.checkpoint());
        let mut once_seen = std::collections::HashSet::new();
        for (n, s) in steps.iter().enumerate() {
            let t = transition(u64::try_from(n).unwrap(), s, &lane);
            let keys = t.once.clone();
            let drops = t.drops.clone();
            let ended: Vec<Epoch> = lane.dropped().collect();
            let before = lane.checkpoint();
            let time = lane.time();
            match lane.apply(t, Timestamp(s.now)) {
                Ok(entry) => {
                    prop_assert_eq!(s.error, 0, "an unbalanced transition was applied");
                    prop_assert_eq!(entry.record.core.time, time.max(Timestamp(s.now)));
                    prop_assert_eq!(entry.record.core.seq, Seq(u64::try_from(entries.len()).unwrap() + 1));
                    prop_assert_eq!(&minicbor::decode::<Record>(&entry.bytes).unwrap(), &entry.record);
                    prop_assert_eq!(&florin_crypto::encode(&entry.record), &entry.bytes);
                    for epoch in drops {
                        prop_assert!(!ended.contains(&epoch), "an epoch was dropped twice");
                        prop_assert!(lane.live().circulation().all(|c| c.epoch != epoch));
                    }
                    for i in &entry.record.core.created {
                        prop_assert!(!ended.contains(&i.first.epoch), "a dropped epoch issued again");
                    }
                    // Nothing folded away can be seen from here: facts may be three records old, folds are too.
                    for key in keys {
                        prop_assert!(once_seen.insert(key) || entries.len() > fold, "a once key was taken twice");
                    }
                    entries.push(entry);
                    if entries.len().is_multiple_of(fold) {
                        // A fold takes as long as it is until the next one.
                        lane.folded();
                        checkpoint = (entries.len(), lane.begin_fold().checkpoint());
                    }
                }
                Err(_) => prop_assert_eq!(lane.checkpoint(), before),
            }
            let sum: i64 = lane.balances().map(|(_, _, b)| b).sum();
            prop_assert_eq!(sum, 0);
            prop_assert!(lane.time() >= time);
        }
        let mut again = Lane::new(spec());
        for entry in &entries {
            let redone = again.redo(entry.record.clone()).unwrap().unwrap();
            prop_assert_eq!(&redone, entry);
        }
        prop_assert_eq!(again.checkpoint(), lane.checkpoint());
        let mut from = Lane::from_checkpoint(spec(), &checkpoint.1).unwrap();
        for entry in &entries {
            let redone = from.redo(entry.record.clone()).unwrap();
            prop_assert_eq!(redone.is_some(), entry.record.core.seq.0 > u64::try_from(checkpoint.0).unwrap());
        }
        prop_assert_eq!(from.checkpoint(), lane.checkpoint());
        let mut audit = Audit::new(spec());
        entries.iter().for_each(|e| audit.absorb(&e.record));
        let report = audit.finish(&lane);
        prop_assert!(report.is_clean(), "{:?}", report);
    }
}
