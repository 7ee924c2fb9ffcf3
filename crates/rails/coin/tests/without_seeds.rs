//! What is owed stays owed when the seeds of old records have gone: how a payment stands, coins that nobody has collected
//! or acknowledged, the answer to an exchange. Source: architecture.md, "Never unknown"; books.md, "Retention"; V3, V4, V5.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{PartyId, Timestamp, TxId};
use florin_coin::issuer::may_go;
use florin_coin::kinds::ACKNOWLEDGED;
use florin_coin::messages::Outcome;
use florin_coin::purchaser::{self, Collected};
use florin_coin::{Coin, aggregate, holder, payee, payer};
use florin_crypto::cbor;
use florin_money::Currency;
use florin_parties::Roles;
use florin_parties::bank::BankNews;
use support::*;

fn start(seed: u64, values: &[u64]) -> (World, Person, Vec<Coin>) {
    let mut w = World::new(seed);
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, values);
    let shop = w.enrolled(Roles::REDEEMER);
    (w, shop, coins)
}

fn payer_hears(w: &mut World, deal: &Deal) -> payer::PayerNews {
    let answer = w.payer_status(deal, false).unwrap();
    payer::read_status(&deal.paying.pending, &answer, &w.list).unwrap()
}

fn payee_hears(w: &mut World, shop: &Person, deal: &Deal) -> Outcome {
    let (asked, answer) = w.payee_status(shop, &deal.com);
    payee::read_status(&asked.pending, &answer.unwrap(), &w.list).unwrap().0.outcome
}

fn later(w: &mut World) {
    w.now = w.now.plus_ms(31 * DAY);
    w.books.strip();
    w.identity.strip();
}

#[test]
fn how_a_payment_stands_is_told_to_both_for_as_long_as_its_record_is_there() {
    let (mut w, shop, coins) = start(151, &[100, 100, 50, 20]);
    let paid = w.deal(&shop, &coins[..1]);
    let v = w.validate(&shop, &paid, &[100]);
    let before = payer_hears(&mut w, &paid).verdict;
    let (mut denied, mut mismatch) = (w.deal(&shop, &coins[..1]), w.deal(&shop, &coins[1..2]));
    for (deal, values, outcome) in
        [(&mut denied, [100], Outcome::Denied), (&mut mismatch, [20], Outcome::AmountMismatch)]
    {
        let v = w.validate(&shop, deal, &values);
        assert_eq!(w.read(&v).verdict.outcome, outcome);
    }
    let never = w.deal(&shop, &coins[2..3]);
    w.now = never.com.deadline.plus_ms(1);
    assert_eq!(payer_hears(&mut w, &never).verdict.outcome, Outcome::Never);
    let unasked = w.deal(&shop, &coins[3..4]);
    w.now = unasked.com.deadline.plus_ms(1);
    assert_eq!(payee_hears(&mut w, &shop, &unasked), Outcome::Never);
    later(&mut w);

    let after = payer_hears(&mut w, &paid);
    assert_eq!(after.verdict, before, "the same, down to amounts and time");
    assert!(payer_hears(&mut w, &mismatch).causes.is_empty());
    for (deal, outcome) in [
        (&paid, Outcome::Paid),
        (&denied, Outcome::Denied),
        // Which of the two it was is told no more; the coins live in any case.
        (&mismatch, Outcome::Denied),
        (&never, Outcome::Never),
        (&unasked, Outcome::Never),
    ] {
        assert_eq!(payer_hears(&mut w, deal).verdict.outcome, outcome);
        assert_eq!(payee_hears(&mut w, &shop, deal), outcome);
    }
    // Another envelope of the payment that happened: it never was paid with it.
    let other = w.deal_for(&shop, paid.invoice.clone(), paid.com.clone(), &coins[1..2]);
    assert_eq!(payer_hears(&mut w, &other).verdict.outcome, Outcome::Never);
    // Nobody else learns anything of it.
    let thief = w.person();
    let (asked, answer) = w.payee_status(&thief, &paid.com);
    let heard = payee::read_status(&asked.pending, &answer.unwrap(), &w.list).unwrap().0.outcome;
    assert_eq!(heard, Outcome::Never, "of a payment to the thief, which there was not");
    assert!(w.read(&v).coins.len() == 1);
    w.audit();
}

#[test]
fn new_coins_are_issued_again_until_they_are_acknowledged() {
    let (mut w, shop, coins) = start(152, &[100]);
    let deal = w.deal(&shop, &coins);
    let v = w.validate(&shop, &deal, &[50, 50]);
    let first = w.read(&v);
    later(&mut w);
    // The same request, and the same envelope under a new reply key.
    let answer = w.post(v.asked.path, &v.asked.body);
    assert!(w.read(&Validated { answer, ..v }).coins == first.coins);
    w.now = deal.com.deadline;
    let again = w.validate(&shop, &deal, &[50, 50]);
    let issuance = w.read(&again);
    assert!(issuance.coins == first.coins && issuance.verdict.outcome == Outcome::Paid);
    w.post(payee::ACK_PATH, &issuance.issuance2).unwrap();
    w.books.strip();
    assert_eq!(slug(&w.validate(&shop, &deal, &[50, 50]).answer), "request-id-reused");
    assert_eq!(w.live_worth(), 100);
    w.audit();
}

#[test]
fn coins_that_were_bought_and_never_came_are_collected_by_their_claim() {
    let mut w = World::new(153);
    let buyer = w.enrolled(Roles::PURCHASER);
    let (purchase, order) = w.order_coins(&buyer, &[100, 20]);
    w.bank(BankNews::Booked(order));
    let (_, lost) = w.collect(&purchase);
    lost.unwrap();
    later(&mut w);
    let (asked, answer) = w.collect(&purchase);
    let collected = purchaser::read_collected(&asked.pending, &answer.unwrap(), &w.list).unwrap();
    let Collected::Coins { coins, ack } = collected else { panic!("refused") };
    assert_eq!((worth(&coins), w.live_worth()), (120, 120));
    w.post(purchaser::ACK_PATH, &ack).unwrap();
    w.books.strip();
    assert_eq!(slug(&w.collect(&purchase).1), "request-id-reused", "once");
    w.audit();
}

#[test]
fn a_purchase_that_the_bank_refused_is_refused_again_with_a_signature() {
    let mut w = World::new(154);
    let buyer = w.enrolled(Roles::PURCHASER);
    let (purchase, order) = w.order_coins(&buyer, &[100]);
    w.bank(BankNews::Rejected(order, "AM04".into()));
    w.collect(&purchase).1.unwrap();
    later(&mut w);
    let (asked, answer) = w.collect(&purchase);
    let collected = purchaser::read_collected(&asked.pending, &answer.unwrap(), &w.list).unwrap();
    assert!(matches!(collected, Collected::Refused { reason, .. } if reason == "AM04"));
}

#[test]
fn change_refresh_and_redemption_answer_the_same_request_again() {
    let (mut w, shop, coins) = start(155, &[100, 50, 20, 10]);
    let (key, exp) = (w.key(), w.exp());
    let id = |n: u8| TxId::new([n; 16]);
    let change = holder::change(&key, set(&coins[..1]), list(&[50, 50]), id(1), exp, &mut w.entropy).unwrap();
    let refresh = holder::refresh(&key, set(&coins[1..2]), id(2), exp, &mut w.entropy).unwrap();
    let redeem = holder::redeem(&key, &shop.keys, set(&coins[2..3]), id(3), exp, &mut w.entropy).unwrap();
    let refused = holder::refresh(&key, set(&coins[..1]), id(4), exp, &mut w.entropy).unwrap();
    let all = [&change, &refresh, &redeem];
    let first = all.map(|asked| w.post(asked.path, &asked.body).unwrap());
    w.post(refused.path, &refused.body).unwrap();
    later(&mut w);
    for (asked, first) in all.iter().zip(&first) {
        let again = w.post(asked.path, &asked.body).unwrap();
        let read = |answer| holder::read_exchange(&asked.pending, answer, &w.list).unwrap();
        let (was, is) = (read(first), read(&again));
        assert!(was.coins == is.coins, "the same coins");
        assert_eq!((was.causes, was.payout), (is.causes, is.payout));
    }
    // Why coins were not taken is told no more, and nobody may hear that they were.
    assert_eq!(slug(&w.post(refused.path, &refused.body)), "ask-status");
    w.audit();
}

#[test]
fn a_redemption_of_gathered_value_answers_again() {
    let (mut w, shop, coins) = start(156, &[100]);
    let deal = w.deal(&shop, &coins);
    let asked = w.request(&shop, &deal.presented, payee::aggregate(flo(100)));
    w.post(asked.path, &asked.body).unwrap();
    let (key, exp, txid) = (w.key(), w.exp(), TxId::new([1; 16]));
    let asked =
        aggregate::redeem(&key, &shop.keys, (Currency::FLO, Some(60)), txid, exp, &mut w.entropy).unwrap();
    let first = w.post(asked.path, &asked.body).unwrap();
    later(&mut w);
    let again = w.post(asked.path, &asked.body).unwrap();
    let read = |answer| aggregate::read_redeemed(&asked.pending, answer, &w.list).unwrap();
    let (was, is) = (read(&first), read(&again));
    assert_eq!((was.amount, was.payout), (is.amount, is.payout));
    assert_ne!(shop.id(), PartyId::NONE);
}

#[test]
fn an_acknowledgement_stays_as_long_as_the_record_of_its_payment() {
    let at = Timestamp(50 * DAY);
    let may = |before: u64, records: u64| {
        may_go(ACKNOWLEDGED, &cbor::encode(&at), Timestamp(before * DAY), Timestamp(records * DAY))
    };
    assert!(!may(80, 0) && !may(80, 50) && may(80, 51) && !may(50, 51));
}
