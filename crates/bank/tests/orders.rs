//! Orders at the sandbox bank: what becomes of each, exactly once, and what comes back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::inconsistent_digit_grouping,
    missing_docs
)]

mod common;

use common::{A, Customer, ManualClock, Town, flo};
use florin_bank::Cursor;
use florin_money::{Amount, Currency};
use florin_parties::bank::{BankNews, Direction};

const OPERATOR_HAS: u64 = 100_00;
const HOLDER_HAS: u64 = 20_00;

fn town(delay_ms: u64) -> (Town, Customer, Customer) {
    let mut town = Town::new(A, delay_ms, &ManualClock::at(1_000_000));
    let operator = town.customer("Operator", OPERATOR_HAS);
    let holder = town.customer("Holder", HOLDER_HAS);
    (town, operator, holder)
}

/// One row: what is done to the holder's account or the order, and what the operator hears in the end.
fn check(direction: Direction, minor: u64, prepare: impl FnOnce(&mut Town, &Customer), expect: &str) {
    let (mut town, operator, holder) = town(0);
    prepare(&mut town, &holder);
    let order = town.order(direction, &holder.iban, minor);
    town.submit(&operator, &order).unwrap();
    town.desk.book_due().unwrap();
    let news = town.news(&operator);
    assert_eq!(news.last().unwrap(), expect, "{direction:?} {minor}");
    town.assert_sound();
    let moved = expect == "booked";
    let (plus, minus) = if moved { (minor, minor) } else { (0, 0) };
    let expected = match direction {
        Direction::Credit => flo(OPERATOR_HAS - minus).to_string(),
        Direction::Debit => flo(OPERATOR_HAS + plus).to_string(),
    };
    assert_eq!(town.has(&operator), (expected.clone(), expected));
}

#[test]
fn what_becomes_of_an_order() {
    use Direction::{Credit, Debit};
    let nothing = |_: &mut Town, _: &Customer| {};
    check(Credit, 5_00, nothing, "booked");
    check(Credit, OPERATOR_HAS, nothing, "booked");
    check(Credit, OPERATOR_HAS + 1, nothing, "rejected AM04");
    check(Debit, 5_00, nothing, "booked");
    check(Debit, HOLDER_HAS, nothing, "booked");
    check(Debit, HOLDER_HAS + 1, nothing, "rejected AM04");
    let blocked = |town: &mut Town, holder: &Customer| {
        let txid = town.tx();
        let view = town.desk.block_debits(&holder.iban, &holder.access, txid, true).unwrap();
        assert!(view.debits_blocked);
    };
    check(Debit, 5_00, blocked, "rejected MD01");
    check(Credit, 5_00, blocked, "booked");
    let closed = |town: &mut Town, holder: &Customer| {
        let other = town.customer("Other", 0);
        town.transfer(holder, &other.iban, HOLDER_HAS).unwrap();
        let txid = town.tx();
        assert_eq!(town.desk.close(&holder.iban, &holder.access, txid).unwrap().state, "closed");
    };
    check(Debit, 5_00, closed, "rejected AC04");
    check(Credit, 5_00, closed, "rejected AC04");
    let ruled = |town: &mut Town, _: &Customer| {
        let txid = town.tx();
        town.desk.set_reject(txid, None, "MS03", 1).unwrap();
    };
    check(Credit, 5_00, ruled, "rejected MS03");
    check(Debit, 5_00, ruled, "rejected MS03");
    let ruled_elsewhere = |town: &mut Town, _: &Customer| {
        let other = town.customer("Other", 0);
        let txid = town.tx();
        town.desk.set_reject(txid, Some(other.iban), "MS03", 1).unwrap();
    };
    check(Credit, 5_00, ruled_elsewhere, "booked");
}

#[test]
fn orders_to_nobody_are_rejected() {
    let (mut town, operator, _) = town(0);
    let nobody = town.desk.bank().code.account("4242".parse().unwrap()).unwrap();
    let elsewhere = "DE89370400440532013000".parse().unwrap();
    for (direction, account, expect) in [
        (Direction::Credit, &nobody, "rejected AC03"),
        (Direction::Debit, &nobody, "rejected AC01"),
        (Direction::Credit, &elsewhere, "rejected RC01"),
        (Direction::Debit, &elsewhere, "rejected RC01"),
    ] {
        let order = town.order(direction, account, 1_00);
        town.submit(&operator, &order).unwrap();
        town.desk.book_due().unwrap();
        assert_eq!(town.news(&operator).last().unwrap(), expect);
    }
    let mut order = town.order(Direction::Debit, &nobody, 1_00);
    order.mandate = None;
    town.submit(&operator, &order).unwrap();
    town.desk.book_due().unwrap();
    assert_eq!(town.news(&operator).last().unwrap(), "rejected MD01");
    town.assert_sound();
}

#[test]
fn an_order_counts_once_however_often_it_is_submitted() {
    let (mut town, operator, holder) = town(5_000);
    let order = town.order(Direction::Credit, &holder.iban, 7_00);
    let first = town.desk.submit(&operator.iban, &operator.access, vec![order.clone()]).unwrap();
    let records = town.desk.books().durable();
    for _ in 0..3 {
        town.clock.pass(10);
        let twice = vec![order.clone(), order.clone()];
        let again = town.desk.submit(&operator.iban, &operator.access, twice).unwrap();
        assert_eq!(again.orders[0], first.orders[0]);
        assert_eq!(again.orders[1], first.orders[0]);
    }
    assert_eq!(town.desk.books().durable(), records, "a repeated order changes nothing");
    assert_eq!(town.has(&operator), ("100.00 FLO".into(), "93.00 FLO".into()));
    town.clock.pass(5_000);
    assert_eq!(town.desk.book_due().unwrap(), 1);
    assert_eq!(town.desk.book_due().unwrap(), 0);
    let again = town.desk.submit(&operator.iban, &operator.access, vec![order.clone()]).unwrap();
    assert_eq!(again, first);
    assert_eq!(town.has(&operator), ("93.00 FLO".into(), "93.00 FLO".into()));
    assert_eq!(town.has(&holder).0, "27.00 FLO");
    assert_eq!(town.news(&operator), ["credited 100.00 FLO", "accepted", "booked"]);
    town.assert_sound();
}

#[test]
fn another_order_under_the_same_id_is_refused_with_its_whole_submission() {
    let (mut town, operator, holder) = town(0);
    let order = town.order(Direction::Credit, &holder.iban, 7_00);
    town.submit(&operator, &order).unwrap();
    let before = town.desk.books().durable();
    let fresh = town.order(Direction::Credit, &holder.iban, 1_00);
    let mut other = order.clone();
    other.amount = flo(8_00);
    let refused = town.desk.submit(&operator.iban, &operator.access, vec![fresh.clone(), other]).unwrap_err();
    assert_eq!(refused.slug, "order-id-reused");
    let mut twin = fresh.clone();
    twin.remittance = "other".into();
    let refused = town.desk.submit(&operator.iban, &operator.access, vec![fresh, twin]).unwrap_err();
    assert_eq!(refused.slug, "order-id-reused");
    let refused = town.desk.submit(&holder.iban, &holder.access, vec![order]).unwrap_err();
    assert_eq!(refused.slug, "order-id-reused", "an id belongs to whoever used it first");
    assert_eq!(town.desk.books().durable(), before);
}

#[test]
fn orders_that_no_bank_takes_are_refused() {
    let (mut town, operator, holder) = town(0);
    let good = town.order(Direction::Credit, &holder.iban, 7_00);
    let euro = Amount::new(1_00, Currency::iso("EUR").unwrap());
    let with = |f: &dyn Fn(&mut florin_parties::bank::Order)| {
        let mut order = good.clone();
        f(&mut order);
        town.submit(&operator, &order).unwrap_err().slug
    };
    assert_eq!(with(&|o| o.amount = euro), "wrong-currency");
    assert_eq!(with(&|o| o.amount = flo(0)), "wrong-amount");
    assert_eq!(with(&|o| o.amount = flo(100_000_000_000)), "wrong-amount");
    assert_eq!(with(&|o| o.remittance = "x".repeat(141)), "bad-request");
    assert_eq!(with(&|o| o.remittance = "a\nb".into()), "bad-request");
    let many = vec![good.clone(); 51];
    let refused = town.desk.submit(&operator.iban, &operator.access, many).unwrap_err();
    assert_eq!(refused.slug, "too-many-orders");
    let refused = town.desk.submit(&operator.iban, &holder.access, vec![good]).unwrap_err();
    assert_eq!(refused.slug, "wrong-access");
}

#[test]
fn what_was_booked_comes_back_once() {
    for (direction, reason) in [(Direction::Credit, "AC04"), (Direction::Debit, "MD06")] {
        let (mut town, operator, holder) = town(1_000);
        let order = town.order(direction, &holder.iban, 5_00);
        town.submit(&operator, &order).unwrap();
        let txid = town.tx();
        let early = town.desk.return_order(txid, order.id, reason).unwrap_err();
        assert_eq!(early.slug, "order-not-booked");
        town.clock.pass(1_000);
        town.desk.book_due().unwrap();
        town.desk.return_order(txid, order.id, reason).unwrap();
        town.desk.return_order(txid, order.id, reason).unwrap();
        let refused = town.desk.return_order(txid, order.id, "AC01").unwrap_err();
        assert_eq!(refused.slug, "request-id-reused");
        let txid = town.tx();
        assert_eq!(town.desk.return_order(txid, order.id, reason).unwrap_err().slug, "order-not-booked");
        assert_eq!(town.has(&operator).0, "100.00 FLO");
        assert_eq!(town.has(&holder).0, "20.00 FLO");
        assert_eq!(town.news(&operator).last().unwrap(), &format!("returned {reason}"));
        let statement = town.desk.statement(&holder.iban, &holder.access, 0).unwrap();
        let last = statement.entries.last().unwrap();
        assert_eq!((last.kind.as_str(), last.reason.as_deref()), ("return", Some(reason)));
        town.assert_sound();
    }
    let (mut town, ..) = town(0);
    let (txid, unknown) = (town.tx(), florin_parties::bank::OrderId::new([9; 16]));
    assert_eq!(town.desk.return_order(txid, unknown, "MD06").unwrap_err().slug, "order-unknown");
}

#[test]
fn a_return_that_the_operator_cannot_cover_is_a_debt_that_the_next_money_settles() {
    let (mut town, operator, holder) = town(0);
    let order = town.order(Direction::Debit, &holder.iban, 20_00);
    town.submit(&operator, &order).unwrap();
    town.desk.book_due().unwrap();
    town.transfer(&operator, &holder.iban, 115_00).unwrap();
    let txid = town.tx();
    town.desk.return_order(txid, order.id, "MD06").unwrap();
    assert_eq!(town.has(&operator), ("-15.00 FLO".into(), "-15.00 FLO".into()));
    town.assert_sound();
    let more = town.order(Direction::Credit, &holder.iban, 1);
    town.submit(&operator, &more).unwrap();
    assert_eq!(town.news(&operator).last().unwrap(), "rejected AM04");
    town.transfer(&holder, &operator.iban, 10_00).unwrap();
    assert_eq!(town.has(&operator).0, "-5.00 FLO");
    town.transfer(&holder, &operator.iban, 10_00).unwrap();
    assert_eq!(town.has(&operator).0, "5.00 FLO");
    town.assert_sound();
}

#[test]
fn news_is_the_same_however_often_and_in_whatever_pieces_it_is_read() {
    let (mut town, operator, holder) = town(0);
    for minor in 1..=20 {
        let order = town.order(Direction::Credit, &holder.iban, minor);
        town.submit(&operator, &order).unwrap();
    }
    town.desk.book_due().unwrap();
    let read = |since, max| town.desk.events(&operator.iban, &operator.access, since, max).unwrap();
    let (all, end) = read(Cursor(0), 200);
    assert_eq!(all.len(), 41);
    assert_eq!(read(Cursor(0), 200).0, all);
    let (mut pieces, mut cursor) = (Vec::new(), Cursor(0));
    loop {
        let (some, next) = read(cursor, 7);
        if some.is_empty() {
            break;
        }
        pieces.extend(some);
        cursor = next;
    }
    assert_eq!(pieces, all);
    assert_eq!(cursor, end);
    let ids: std::collections::BTreeSet<_> = all.iter().map(|e| e.id).collect();
    assert_eq!(ids.len(), all.len(), "each piece of news has an id of its own");
    let booked = all.iter().filter(|e| matches!(e.what, BankNews::Booked(_))).count();
    assert_eq!(booked, 20);
    let refused = town.desk.events(&operator.iban, &operator.access, Cursor(42), 1).unwrap_err();
    assert_eq!(refused.slug, "cursor-unknown");
}

#[test]
fn the_delay_is_set_at_run_time_for_orders_from_then_on() {
    let (mut town, operator, holder) = town(1_000);
    let slow = town.order(Direction::Credit, &holder.iban, 1_00);
    town.submit(&operator, &slow).unwrap();
    let txid = town.tx();
    town.desk.set_delay(txid, 0).unwrap();
    let fast = town.order(Direction::Credit, &holder.iban, 2_00);
    town.submit(&operator, &fast).unwrap();
    assert_eq!(town.desk.book_due().unwrap(), 1);
    assert_eq!(town.has(&holder).0, "22.00 FLO");
    town.clock.pass(999);
    assert_eq!(town.desk.book_due().unwrap(), 0);
    town.clock.pass(1);
    assert_eq!(town.desk.book_due().unwrap(), 1);
    let txid = town.tx();
    assert_eq!(town.desk.set_delay(txid, 864_000_001).unwrap_err().slug, "bad-request");
}

#[test]
fn rules_are_used_up_and_can_be_taken_back() {
    let (mut town, operator, holder) = town(0);
    let run = |town: &mut Town| {
        let order = town.order(Direction::Credit, &holder.iban, 1);
        town.submit(&operator, &order).unwrap();
        town.desk.book_due().unwrap();
        town.news(&operator).last().unwrap().clone()
    };
    let txid = town.tx();
    town.desk.set_reject(txid, Some(holder.iban.clone()), "AC06", 2).unwrap();
    town.desk.set_reject(txid, Some(holder.iban.clone()), "AC06", 2).unwrap();
    assert_eq!(run(&mut town), "rejected AC06");
    assert_eq!(run(&mut town), "rejected AC06");
    assert_eq!(run(&mut town), "booked");
    let txid = town.tx();
    town.desk.set_reject(txid, None, "MS03", 9).unwrap();
    assert_eq!(run(&mut town), "rejected MS03");
    let txid = town.tx();
    town.desk.set_reject(txid, None, "MS03", 0).unwrap();
    assert_eq!(run(&mut town), "booked");
    let txid = town.tx();
    assert_eq!(town.desk.set_reject(txid, None, "ms03", 1).unwrap_err().slug, "bad-request");
}
