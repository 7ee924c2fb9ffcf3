//! The laws of the books, on random transitions. Source: books.md, "The rules every commit obeys".
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn postings_sum_to_zero_or_are_refused(debit in 1..1000i64, credit in 1..1000i64) {
        let mut lane = furnished();
        let mut t = empty(1, &lane);
        t.postings.push(Posting { account: Account::Bank(0), currency: flo(), delta: debit });
        t.postings.push(Posting { account: Account::Capital, currency: flo(), delta: -credit });
        if debit == credit {
            prop_assert!(lane.apply(t, Timestamp(0)).is_ok());
        } else {
            prop_assert_eq!(refused(&mut lane, t), Rejected::Unbalanced { currency: flo() });
        }
    }

    #[test]
    fn tokens_are_worth_what_is_posted_or_refused(
        count in 0..4u32, index in 0..4u16, spent in 0..4u64, posted in -60..60i64,
    ) {
        let mut lane = furnished();
        let mut t = empty(1, &lane);
        if count > 0 {
            t.creates.push(issue(index, count));
        }
        (0..spent).for_each(|c| t.consumes.push(token(3, c)));
        t.postings.push(Posting { account: REGISTER, currency: flo(), delta: -posted });
        t.postings.push(Posting { account: Account::Bank(0), currency: flo(), delta: posted });
        let created = VALUES[usize::from(index)] * u64::from(count);
        let net = i64::try_from(created).unwrap() - i64::try_from(spent * 10).unwrap();
        if net == posted {
            prop_assert!(lane.apply(t, Timestamp(0)).is_ok());
        } else {
            prop_assert_eq!(refused(&mut lane, t), Rejected::NotConserved { account: REGISTER });
        }
    }

    #[test]
    fn holdings_are_worth_what_is_posted_or_refused(value in 1..50u64, posted in 1..50u64) {
        let mut lane = furnished();
        let mut t = empty(1, &lane);
        t.holdings.push(HoldingChange::Add(holding(1, value)));
        t.post(Account::Holdings(issuer()), Account::World, amount(posted));
        if value == posted {
            prop_assert!(lane.apply(t, Timestamp(0)).is_ok());
        } else {
            prop_assert_eq!(refused(&mut lane, t), Rejected::NotConserved { account: Account::Holdings(issuer()) });
        }
    }

    #[test]
    fn no_account_passes_its_floor(owed_first in 0..50u64, taken in 1..100u64) {
        let mut lane = furnished();
        let mut t = empty(1, &lane);
        t.post(Account::Bank(0), owed(1), amount(owed_first));
        lane.apply(t, Timestamp(0)).unwrap();
        let mut t = empty(2, &lane);
        t.post(owed(1), Account::Bank(0), amount(taken));
        if taken <= owed_first {
            prop_assert!(lane.apply(t, Timestamp(0)).is_ok());
        } else {
            prop_assert_eq!(refused(&mut lane, t), Rejected::Balance { account: owed(1) });
        }
        let due = Account::Due(issuer());
        let mut t = empty(3, &lane);
        t.post(Account::World, due, amount(taken));
        prop_assert_eq!(refused(&mut lane, t), Rejected::Balance { account: due });
    }

    #[test]
    fn lane_time_never_goes_back_and_deadlines_are_tested_against_it(now in 0..300u64, limit in 0..300u64) {
        let mut lane = furnished();
        let time = lane.time().max(Timestamp(now));
        let mut early = empty(1, &lane);
        early.requires.push(Condition::NotBefore(Timestamp(limit)));
        let mut late = empty(2, &lane);
        late.requires.push(Condition::NotAfter(Timestamp(limit)));
        if time < Timestamp(limit) {
            prop_assert_eq!(refused_at(&mut lane, early, Timestamp(now)), Rejected::TooEarly);
        } else {
            prop_assert_eq!(lane.clone().apply(early, Timestamp(now)).unwrap().record.core.time, time);
        }
        if time > Timestamp(limit) {
            prop_assert_eq!(refused_at(&mut lane, late, Timestamp(now)), Rejected::TooLate);
        } else {
            prop_assert_eq!(lane.apply(late, Timestamp(now)).unwrap().record.core.time, time);
        }
    }
}

#[test]
fn a_token_is_spent_once_and_not_twice_in_one_transition() {
    let mut lane = furnished();
    let spend = |n: u64, tokens: &[TokenNumber], lane: &Lane| {
        let mut t = empty(n, lane);
        t.consumes = tokens.to_vec();
        t.post(REGISTER, owed(1), amount(10 * u64::try_from(tokens.len()).unwrap()));
        t
    };
    let twice = spend(1, &[token(3, 0), token(3, 1), token(3, 0)], &lane);
    assert_eq!(refused(&mut lane, twice), Rejected::NotLive { tokens: vec![2] });
    let t = spend(2, &[token(3, 0)], &lane);
    lane.apply(t, Timestamp(0)).unwrap();
    let again = spend(3, &[token(3, 1), token(3, 0), token(3, 10)], &lane);
    assert_eq!(refused(&mut lane, again), Rejected::NotLive { tokens: vec![1, 2] });
    let elsewhere = spend(4, &[TokenNumber { lane: LaneId(9), ..token(3, 1) }], &lane);
    assert_eq!(refused(&mut lane, elsewhere), Rejected::NotLive { tokens: vec![0] });
}

fn fold(lane: &mut Lane) {
    lane.begin_fold();
    lane.folded();
}

#[test]
fn a_fold_under_way_hides_nothing() {
    let mut lane = furnished();
    let write = |n: u64, lane: &Lane, value: u8| {
        let mut t = empty(n, lane);
        t.write(key(1), vec![value]);
        t.once.push(once(n));
        t
    };
    lane.apply(write(20, &lane, 1), Timestamp(0)).unwrap();
    let (begun, at) = (lane.begin_fold(), lane.seq());
    let (checkpoint, floor) = (lane.checkpoint(), lane.overlay().floor());
    lane.apply(write(21, &lane, 2), Timestamp(0)).unwrap();
    // The snapshot is of the moment at which it was taken, also where another one is asked for meanwhile.
    assert_eq!((begun.seq(), begun.checkpoint()), (at, checkpoint));
    lane.begin_fold();
    assert_eq!(begun.written().documents[&key(1)].1.as_deref(), Some(&[1][..]));
    assert_eq!(lane.overlay().document(&key(1)).unwrap().1.as_deref(), Some(&[2][..]));
    let unfolded: Vec<_> = lane.overlay().unfolded(key(1).kind).filter(|(k, _)| **k == key(1)).collect();
    assert_eq!(unfolded.iter().map(|(_, w)| w.0).collect::<Vec<_>>(), [at, Seq(at.0 + 1)]);
    assert_eq!(lane.overlay().floor(), floor);
    lane.folded();
    // Whoever read before the fold began can still be judged: what was folded stays for one period more.
    let once_again = |n| Transition { as_of: at, ..write(n, &lane, 3) };
    assert_eq!(lane.clone().apply(once_again(20), Timestamp(0)), Err(Rejected::Repeated { seq: at }));
    fold(&mut lane);
    assert_eq!(lane.overlay().floor(), at);
    lane.folded();
    assert_eq!(lane.overlay().floor(), at, "without a fold under way nothing is folded");
}

#[test]
fn whoever_redoes_a_journal_keeps_no_more_than_the_last_of_it() {
    let mut lane = furnished();
    for n in 20..30 {
        let mut t = empty(n, &lane);
        t.once.push(once(n));
        lane.apply(t, Timestamp(0)).unwrap();
        lane.forget_written();
    }
    let kept = (0..30).filter(|n| lane.overlay().once(&once(*n)).is_some()).collect::<Vec<_>>();
    assert_eq!(kept, [29]);
}

#[test]
fn a_once_key_is_taken_once_for_ever() {
    let mut lane = furnished();
    let mut same = empty(0, &lane);
    same.once.push(once(0));
    assert_eq!(refused(&mut lane, same.clone()), Rejected::Repeated { seq: Seq(1) });
    let other = Transition { cause: cause(77), ..same.clone() };
    assert_eq!(refused(&mut lane, other.clone()), Rejected::IdReused { seq: Seq(1) });
    fold(&mut lane);
    assert_eq!(refused(&mut lane, same.clone()), Rejected::Repeated { seq: Seq(1) });
    // Folded twice, it is in the store's tables only: whoever read before that must read again.
    lane.apply(empty(5, &lane), Timestamp(0)).unwrap();
    fold(&mut lane);
    let old = Transition { as_of: Seq(4), ..other };
    assert_eq!(refused(&mut lane, old), Rejected::Stale);
}

#[test]
fn a_document_that_moved_on_is_read_again() {
    let mut lane = furnished();
    let at = lane.seq();
    let write = |n: u64, as_of: Seq| {
        let mut t = Transition::new(cause(n), as_of);
        t.write(key(1), vec![1]);
        t
    };
    assert_eq!(refused(&mut lane, write(1, Seq(4))), Rejected::Moved { key: key(1) });
    lane.apply(write(1, at), Timestamp(0)).unwrap();
    assert_eq!(refused(&mut lane, write(2, at)), Rejected::Moved { key: key(1) });
    let mut reader = Transition::new(cause(3), at);
    reader.requires.push(Condition::Unchanged(key(1)));
    assert_eq!(refused(&mut lane, reader.clone()), Rejected::Moved { key: key(1) });
    fold(&mut lane);
    assert_eq!(refused(&mut lane, write(4, at)), Rejected::Moved { key: key(1) });
    lane.apply(empty(5, &lane), Timestamp(0)).unwrap();
    fold(&mut lane);
    assert_eq!(refused(&mut lane, write(6, at)), Rejected::Stale);
    reader.as_of = at;
    assert_eq!(refused(&mut lane, reader), Rejected::Stale);
    assert!(lane.apply(write(7, lane.seq()), Timestamp(0)).is_ok());
}

#[test]
fn what_is_in_the_outbox_is_settled_once() {
    let mut lane = furnished();
    let done = |n: u64, lane: &Lane| {
        let mut t = empty(n, lane);
        t.effects.push(Effect::Done(EffectId::new(id(1))));
        t
    };
    let mut again = empty(1, &lane);
    again.emit(EffectId::new(id(1)), 1, Timestamp(0), vec![]);
    assert_eq!(refused(&mut lane, again), Rejected::Settled { id: EffectId::new(id(1)) });
    let t = done(2, &lane);
    lane.apply(t, Timestamp(0)).unwrap();
    assert_eq!(lane.outbox().count(), 0);
    let t = done(3, &lane);
    assert_eq!(refused(&mut lane, t), Rejected::Settled { id: EffectId::new(id(1)) });
}

#[test]
fn nothing_is_named_twice_in_one_transition() {
    let mut lane = furnished();
    let change = |n: u64, change: &dyn Fn(&mut Transition), lane: &Lane| {
        let mut t = empty(n, lane);
        change(&mut t);
        change(&mut t);
        t
    };
    let mark = Mark { kind: KIND, id: id(9), until: Timestamp(5) };
    let t = change(1, &|t| t.write(key(5), vec![]), &lane);
    assert_eq!(refused(&mut lane, t), Rejected::Twice);
    let t = change(2, &|t| t.once.push(once(55)), &lane);
    assert_eq!(refused(&mut lane, t), Rejected::Twice);
    let t = change(3, &|t| t.marks.push(mark), &lane);
    assert_eq!(refused(&mut lane, t), Rejected::Twice);
    let t = change(4, &|t| t.emit(EffectId::new(id(9)), 1, Timestamp(0), vec![]), &lane);
    assert_eq!(refused(&mut lane, t), Rejected::Settled { id: EffectId::new(id(9)) });
    let t = change(5, &|t| t.holdings.push(HoldingChange::Add(holding(9, 1))), &lane);
    assert_eq!(refused(&mut lane, t), Rejected::NotHeld { index: 1 });
    let mut marked = empty(6, &lane);
    marked.marks.push(Mark { kind: KIND, id: id(1), until: Timestamp(5) });
    assert_eq!(refused(&mut lane, marked), Rejected::Marked { index: 0 });
}

#[test]
fn a_holding_is_reserved_for_one_exchange() {
    let mut lane = furnished();
    let name = HoldingId::new(id(50));
    let (a, b) = (ExchangeId::new(id(1)), ExchangeId::new(id(2)));
    let with = |n: u64, c: HoldingChange, lane: &Lane| {
        let mut t = empty(n, lane);
        if matches!(c, HoldingChange::Remove(..)) {
            t.post(Account::World, Account::Holdings(issuer()), amount(7));
        }
        t.holdings.push(c);
        t
    };
    let not_held = Rejected::NotHeld { index: 0 };
    let t = with(1, HoldingChange::Remove(name, a), &lane);
    assert_eq!(refused(&mut lane, t), not_held);
    let t = with(2, HoldingChange::Reserve(name, a), &lane);
    lane.apply(t, Timestamp(0)).unwrap();
    for c in
        [HoldingChange::Reserve(name, b), HoldingChange::Release(name, b), HoldingChange::Remove(name, b)]
    {
        let t = with(3, c, &lane);
        assert_eq!(refused(&mut lane, t), not_held);
    }
    let t = with(4, HoldingChange::Remove(name, a), &lane);
    lane.apply(t, Timestamp(0)).unwrap();
    assert_eq!(lane.balance(Account::Holdings(issuer()), flo()), 0);
}

#[test]
fn what_cannot_be_issued_is_refused() {
    let mut lane = furnished();
    let unknown = |d: DenominationId, count: u32, lane: &Lane| {
        let mut t = empty(1, lane);
        t.creates.push(Issue { epoch: Epoch(1), denomination: d, count });
        t
    };
    for (d, count) in
        [(denomination(4), 1), (DenominationId::new(RegisterId(2), 0).unwrap(), 1), (denomination(0), 0)]
    {
        let t = unknown(d, count, &lane);
        assert_eq!(refused(&mut lane, t), Rejected::NotIssuable);
    }
}

#[test]
fn conditions_on_balances_are_tested_after_the_postings() {
    let mut lane = furnished();
    let pay = |limit: i64, lane: &Lane| {
        let mut t = empty(1, lane);
        t.requires.push(Condition::AtMost(owed(1), flo(), limit));
        t.requires.push(Condition::AtLeast(Account::Bank(0), flo(), 0));
        t.post(Account::Bank(0), owed(1), amount(5));
        t
    };
    let t = pay(-6, &lane);
    assert_eq!(refused(&mut lane, t), Rejected::Balance { account: owed(1) });
    let t = pay(-5, &lane);
    assert!(lane.apply(t, Timestamp(0)).is_ok());
}

#[test]
fn a_record_that_was_changed_or_left_out_is_not_redone() {
    let mut lane = furnished();
    let t = buy(60, 0, 1, &lane);
    let mut fresh = lane.clone();
    let entry = lane.apply(t, Timestamp(200)).unwrap();
    let damaged = Damaged::Record { seq: entry.record.core.seq };
    let changes: [&dyn Fn(&mut Record); 5] = [
        &|r| r.core.postings[0].delta += 1,
        &|r| r.core.created[0].first.counter += 1,
        &|r| r.core.time = Timestamp(1),
        &|r| r.seed = Some(vec![1]),
        &|r| r.core.consumed.push(token(0, 99)),
    ];
    for change in changes {
        let mut record = entry.record.clone();
        change(&mut record);
        assert_eq!(fresh.redo(record), Err(damaged));
    }
    let mut gap = entry.record.clone();
    gap.core.seq = gap.core.seq.next();
    assert_eq!(fresh.redo(gap.clone()), Err(Damaged::Record { seq: gap.core.seq }));
    let mut without_seed = entry.record.clone();
    without_seed.seed = None;
    assert_eq!(fresh.redo(without_seed).unwrap().unwrap().chain, entry.chain);
    assert!(Lane::from_checkpoint(LaneSpec { lane: LaneId(3), ..spec() }, &lane.checkpoint()).is_err());
}

/// Ends epoch 1, which is worth 180 in a furnished lane, and posts this much of it.
fn dropping(n: u64, posted: u64, lane: &Lane) -> Transition {
    let mut t = empty(n, lane);
    t.drops.push(Epoch(1));
    t.post(REGISTER, Account::Suspense, amount(posted));
    t
}

#[test]
fn an_epoch_is_dropped_whole_for_exactly_what_is_live_in_it() {
    let mut lane = furnished();
    let mut spent = empty(1, &lane);
    spent.consumes.push(token(3, 4));
    spent.post(REGISTER, owed(1), amount(10));
    lane.apply(spent, Timestamp(0)).unwrap();
    let mut other = empty(2, &lane);
    other.creates.push(Issue { epoch: Epoch(2), ..issue(0, 3) });
    other.post(Account::Bank(0), REGISTER, amount(3));
    lane.apply(other, Timestamp(0)).unwrap();
    for wrong in [0, 169, 171, 173] {
        let t = dropping(3, wrong, &lane);
        assert_eq!(refused(&mut lane, t), Rejected::NotConserved { account: REGISTER });
    }
    let t = dropping(3, 170, &lane);
    lane.apply(t, Timestamp(0)).unwrap();
    assert_eq!(lane.balance(REGISTER, flo()), -3);
    assert_eq!(lane.balance(Account::Suspense, flo()), -170);
    assert!(lane.is_dropped(Epoch(1)) && !lane.is_dropped(Epoch(2)));
    assert!(lane.live().circulation().all(|c| c.epoch == Epoch(2)));
    let mut late = empty(4, &lane);
    late.consumes.push(token(3, 0));
    late.post(REGISTER, owed(1), amount(10));
    assert_eq!(refused(&mut lane, late), Rejected::NotLive { tokens: vec![0] });
}

#[test]
fn a_dropped_epoch_neither_issues_again_nor_is_dropped_again() {
    let mut lane = furnished();
    let t = dropping(1, 180, &lane);
    lane.apply(t, Timestamp(0)).unwrap();
    let again = dropping(2, 0, &lane);
    assert_eq!(refused(&mut lane, again), Rejected::Dropped { epoch: Epoch(1) });
    // Its numbers were given out: the next one would be number 0 again.
    let issued = buy(3, 0, 1, &lane);
    assert_eq!(refused(&mut lane, issued), Rejected::NotIssuable);
    let back = Lane::from_checkpoint(spec(), &lane.checkpoint()).unwrap();
    assert!(back.is_dropped(Epoch(1)));
    assert_eq!(back.checkpoint(), lane.checkpoint());
}

#[test]
fn nothing_else_happens_to_the_tokens_of_an_epoch_that_is_dropped() {
    let mut lane = furnished();
    let mut spends = dropping(1, 180, &lane);
    spends.consumes.push(token(3, 0));
    assert_eq!(refused(&mut lane, spends), Rejected::Twice);
    let mut twice = dropping(2, 180, &lane);
    twice.drops.push(Epoch(1));
    assert_eq!(refused(&mut lane, twice), Rejected::Twice);
    let mut issues = dropping(3, 180, &lane);
    issues.creates.push(issue(0, 1));
    assert_eq!(refused(&mut lane, issues), Rejected::NotIssuable);
}

#[test]
fn records_without_drops_keep_their_bytes_and_the_audit_sees_a_drop_that_the_books_deny() {
    let mut lane = furnished();
    let t = empty(1, &lane);
    let plain = lane.apply(t, Timestamp(0)).unwrap();
    assert_eq!(plain.bytes[..2], [0x82, 0x8c], "twelve elements, as before there were drops");
    let mut audit = Audit::new(spec());
    let mut books = Lane::new(spec());
    let bought = buy(1, 0, 3, &books);
    let first = books.apply(bought, Timestamp(0)).unwrap();
    let mut t = empty(2, &books);
    t.drops.push(Epoch(1));
    t.post(REGISTER, Account::Capital, amount(3));
    let dropped = books.clone().apply(t, Timestamp(0)).unwrap();
    audit.absorb(&first.record);
    audit.absorb(&dropped.record);
    let report = audit.finish(&books);
    assert!(report.findings.contains(&Finding::Dropped), "{report:?}");
    assert!(report.findings.contains(&Finding::Live { epoch: Epoch(1) }), "{report:?}");
}
