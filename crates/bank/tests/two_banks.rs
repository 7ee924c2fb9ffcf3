//! Two banks: what one customer pays, another bank's customer gets, once, whether the other bank is up or not.
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

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use common::{A, B, Customer, ManualClock, Town, code};
use florin_bank::messages::InterbankPayment;
use florin_bank::sandbox::SendFuture;
use florin_bank::{BankCode, BankError, Desk, Interbank, Receive};
use florin_books::Account;
use florin_money::{Amount, Currency};
use florin_parties::bank::Direction;

/// The line to bank B.
struct Wire {
    to: Arc<Desk>,
    mode: AtomicU8,
    delivered: AtomicU32,
}

const UP: u8 = 0;
const DOWN: u8 = 1;
const ANSWERS_LOST: u8 = 2;

impl Interbank for Wire {
    fn send<'a>(&'a self, to: BankCode, payment: &'a InterbankPayment) -> SendFuture<'a> {
        Box::pin(async move {
            assert_eq!(to, self.to.bank().code);
            let mode = self.mode.load(Ordering::SeqCst);
            if mode == DOWN {
                return Err(BankError::NotSent);
            }
            self.delivered.fetch_add(1, Ordering::SeqCst);
            let direction = if payment.direction == "credit" { Direction::Credit } else { Direction::Debit };
            let outcome = self.to.receive(&Receive {
                txid: payment.txid.parse().unwrap(),
                from: payment.from.parse().unwrap(),
                direction,
                account: payment.account.parse().unwrap(),
                amount: Amount::parse(&payment.amount, &[Currency::FLO]).unwrap(),
                other: payment.other.parse().unwrap(),
                other_name: payment.other_name.clone(),
                remittance: payment.remittance.clone(),
                return_reason: payment.return_reason.clone(),
            });
            let outcome = outcome.unwrap();
            if mode == ANSWERS_LOST { Err(BankError::Unknown) } else { Ok(outcome) }
        })
    }
}

struct Country {
    a: Town,
    b: Town,
    wire: Wire,
    operator: Customer,
    holder: Customer,
}

impl Country {
    fn new() -> Self {
        let clock = ManualClock::at(1_000_000);
        let (mut a, mut b) = (Town::new(A, 0, &clock), Town::new(B, 0, &clock));
        let operator = a.customer("Operator", 100_00);
        let holder = b.customer("Holder", 20_00);
        let wire = Wire { to: b.desk.clone(), mode: AtomicU8::new(UP), delivered: AtomicU32::new(0) };
        Self { a, b, wire, operator, holder }
    }

    async fn work(&self) -> usize {
        self.a.desk.book_due().unwrap();
        self.a.desk.send_due(&self.wire).await.unwrap()
    }

    fn set(&self, mode: u8) {
        self.wire.mode.store(mode, Ordering::SeqCst);
    }

    /// Clearing balances mirror each other once nothing is under way; the books of both are sound.
    fn assert_sound(&self, between: i64) {
        self.a.assert_sound();
        self.b.assert_sound();
        let flo = Currency::FLO.code();
        let of = |town: &Town, peer: &str| {
            let account: Account = code(peer).clearing();
            town.desk.books().view(move |lane| lane.balance(account, flo)).unwrap()
        };
        assert_eq!((of(&self.a, B), of(&self.b, A)), (-between, between));
    }
}

#[tokio::test]
async fn a_transfer_waits_for_a_bank_that_is_down() {
    let mut country = Country::new();
    country.set(DOWN);
    let state = country.a.transfer(&country.operator, &country.holder.iban, 30_00).unwrap();
    assert_eq!(state, "sent");
    for _ in 0..5 {
        assert_eq!(country.work().await, 0);
        country.a.clock.pass(40_000);
    }
    assert_eq!(country.a.has(&country.operator), ("100.00 FLO".into(), "70.00 FLO".into()));
    country.assert_sound(0);
    country.set(ANSWERS_LOST);
    for _ in 0..3 {
        assert_eq!(country.work().await, 0);
        assert_eq!(country.work().await, 0, "the other bank is left alone for a while");
        country.a.clock.pass(40_000);
    }
    assert_eq!(country.wire.delivered.load(Ordering::SeqCst), 3);
    assert_eq!(country.b.has(&country.holder).0, "50.00 FLO", "booked once");
    country.set(UP);
    assert_eq!(country.work().await, 1);
    assert_eq!(country.work().await, 0);
    assert_eq!(country.a.has(&country.operator), ("70.00 FLO".into(), "70.00 FLO".into()));
    assert_eq!(country.b.news(&country.holder), ["credited 20.00 FLO", "credited 30.00 FLO"]);
    country.assert_sound(30_00);
}

#[tokio::test]
async fn orders_reach_the_other_bank_and_come_back() {
    let mut country = Country::new();
    let pay = country.a.order(Direction::Credit, &country.holder.iban, 10_00);
    let collect = country.a.order(Direction::Debit, &country.holder.iban, 25_00);
    country.a.submit(&country.operator, &pay).unwrap();
    assert_eq!(country.work().await, 1);
    country.a.submit(&country.operator, &collect).unwrap();
    assert_eq!(country.work().await, 1);
    assert_eq!(country.a.has(&country.operator).0, "115.00 FLO");
    assert_eq!(country.b.has(&country.holder).0, "5.00 FLO");
    country.assert_sound(-15_00);
    for order in [&collect, &pay] {
        let txid = country.a.tx();
        country.a.desk.return_order(txid, order.id, "MD06").unwrap();
        let again = country.a.tx();
        assert_eq!(
            country.a.desk.return_order(again, order.id, "MD06").unwrap_err().slug,
            "order-not-booked"
        );
        assert_eq!(country.work().await, 1);
    }
    assert_eq!(country.a.has(&country.operator).0, "100.00 FLO");
    assert_eq!(country.b.has(&country.holder).0, "20.00 FLO");
    let news = country.a.news(&country.operator);
    assert_eq!(news[1..], ["accepted", "booked", "accepted", "booked", "returned MD06", "returned MD06"]);
    country.assert_sound(0);
}

#[tokio::test]
async fn the_other_banks_rejection_is_final_even_if_it_arrives_late() {
    let mut country = Country::new();
    let nobody = code(B).account("77".parse().unwrap()).unwrap();
    let pay = country.a.order(Direction::Credit, &nobody, 10_00);
    let collect = country.a.order(Direction::Debit, &country.holder.iban, 20_01);
    country.a.submit(&country.operator, &pay).unwrap();
    country.set(ANSWERS_LOST);
    assert_eq!(country.work().await, 0);
    // The account comes into being after the first message: the verdict on it stays.
    let txid = country.b.tx();
    let (iban, access) = country.b.desk.open(txid, "Late", Some("77".parse().unwrap())).unwrap();
    country.set(UP);
    country.a.clock.pass(60_000);
    assert_eq!(country.work().await, 1);
    assert_eq!(country.b.has(&Customer { iban, access }).0, "0.00 FLO");
    country.a.submit(&country.operator, &collect).unwrap();
    assert_eq!(country.work().await, 1);
    let txid = country.b.tx();
    country.b.desk.block_debits(&country.holder.iban, &country.holder.access, txid, true).unwrap();
    let blocked = country.a.order(Direction::Debit, &country.holder.iban, 1);
    country.a.submit(&country.operator, &blocked).unwrap();
    assert_eq!(country.work().await, 1);
    let news = country.a.news(&country.operator);
    let verdicts: Vec<&String> = news.iter().filter(|n| n.starts_with("rejected")).collect();
    assert_eq!(verdicts, ["rejected AC03", "rejected AM04", "rejected MD01"]);
    assert_eq!(country.a.has(&country.operator), ("100.00 FLO".into(), "100.00 FLO".into()));
    country.assert_sound(0);
}
