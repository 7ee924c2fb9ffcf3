//! How a payment stands, for payer and payee: paid, denied, never; giving up; what comes late, and races.
//! Source: architecture.md, "Never unknown"; V4, V5; docs/rails/coin.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_coin::messages::{EncC1, Outcome, PayerStatus};
use florin_coin::{Coin, payee, payer};
use florin_crypto::{ByteArray, MacKey, cbor};
use florin_parties::Roles;
use florin_rail::Context;
use support::*;

fn start(seed: u64, values: &[u64]) -> (World, Person, Vec<Coin>) {
    let mut w = World::new(seed);
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, values);
    let shop = w.person();
    (w, shop, coins)
}

fn payer_hears(w: &mut World, deal: &Deal, give_up: bool) -> Outcome {
    let answer = w.payer_status(deal, give_up).unwrap();
    payer::read_status(&deal.paying.pending, &answer, &w.list).unwrap().verdict.outcome
}

fn payee_hears(w: &mut World, shop: &Person, deal: &Deal) -> Outcome {
    let (asked, answer) = w.payee_status(shop, &deal.com);
    payee::read_status(&asked.pending, &answer.unwrap(), &w.list).unwrap().0.outcome
}

#[test]
fn both_hear_that_it_was_paid() {
    let (mut w, shop, coins) = start(41, &[100]);
    let deal = w.deal(&shop, &coins);
    let v = w.validate(&shop, &deal, &[100]);
    let records = w.books.records.len();
    assert_eq!(payer_hears(&mut w, &deal, false), Outcome::Paid);
    assert_eq!(payer_hears(&mut w, &deal, true), Outcome::Paid, "giving up comes too late");
    assert_eq!(payee_hears(&mut w, &shop, &deal), Outcome::Paid);
    assert_eq!(w.books.records.len(), records, "asking changes nothing");
    let answer = w.payer_status(&deal, false).unwrap();
    let news = payer::read_status(&deal.paying.pending, &answer, &w.list).unwrap();
    assert_eq!(news.signed, w.read(&v).signed);
    w.audit();
}

#[test]
fn before_the_deadline_it_may_still_happen_and_after_it_never() {
    let (mut w, shop, coins) = start(42, &[100]);
    let deal = w.deal(&shop, &coins);
    let early = w.payer_status(&deal, false);
    assert_eq!((slug(&early), early.unwrap_err().retry_after_s), ("not-yet", Some(30)));
    assert_eq!(slug(&w.payee_status(&shop, &deal.com).1), "not-yet");
    w.now = deal.com.deadline;
    assert_eq!(slug(&w.payer_status(&deal, false)), "not-yet", "the deadline itself still counts");
    w.now = deal.com.deadline.plus_ms(1);
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!(slug(&v.answer), "payment-expired");
    assert_eq!(payer_hears(&mut w, &deal, false), Outcome::Never);
    assert_eq!(payee_hears(&mut w, &shop, &deal), Outcome::Never);
    // A late copy after `never`: the payee hears the same, and the coins live.
    let late = w.validate(&shop, &deal, &[100]);
    let issuance = w.read(&late);
    assert_eq!((issuance.verdict.outcome, issuance.coins.len(), w.live_worth()), (Outcome::Never, 0, 100));
    let news = payer::read_payer_verdict(&deal.paying.pending, &issuance.for_payer, &w.list).unwrap();
    assert_eq!(news.verdict.outcome, Outcome::Never);
    let good = w.deal(&shop, &coins);
    let v = w.validate(&shop, &good, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    w.audit();
}

#[test]
fn a_payment_at_its_deadline_is_decided_by_lane_time() {
    let (mut w, shop, coins) = start(43, &[100, 100]);
    // Decided in time, committed too late: refused, and nothing is recorded.
    let deal = w.deal(&shop, &coins[..1]);
    let late = deal.com.deadline.plus_ms(1);
    w.interruption = Some(Box::new(move |w| w.now = late));
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!((slug(&v.answer), w.live_worth()), ("payment-expired", 200));
    // Never, decided when the deadline had passed, but lane time says otherwise: wait.
    let deal = w.deal(&shop, &coins[1..]);
    let early = w.now;
    w.now = deal.com.deadline.plus_ms(1);
    w.interruption = Some(Box::new(move |w| w.now = early));
    assert_eq!(slug(&w.payer_status(&deal, false)), "not-yet");
    w.audit();
}

#[test]
fn giving_up_races_the_payment_and_one_of_them_wins() {
    let (mut w, shop, coins) = start(44, &[100, 100]);
    // The payment is decided; before it commits, the payer gives up.
    let deal = w.deal(&shop, &coins[..1]);
    let give_up = payer::status_request(&deal.paying.pending, true).unwrap();
    w.interruption = Some(Box::new(move |w| drop(w.post(payer::STATUS_PATH, &give_up).unwrap())));
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!((w.read(&v).verdict.outcome, w.live_worth()), (Outcome::Never, 200));
    // The other way round.
    let deal = w.deal(&shop, &coins[1..]);
    let asked = w.request(&shop, &deal.presented, refresh(&[100]));
    let body = asked.body.clone();
    w.interruption = Some(Box::new(move |w| drop(w.post(payee::VALIDATION_PATH, &body).unwrap())));
    assert_eq!(payer_hears(&mut w, &deal, true), Outcome::Paid);
    // Two copies of one ValidationReq at once: one payment, one reply.
    let deal = w.deal(&shop, &coins[..1]);
    let asked = w.request(&shop, &deal.presented, refresh(&[100]));
    let body = asked.body.clone();
    w.interruption = Some(Box::new(move |w| drop(w.post(payee::VALIDATION_PATH, &body).unwrap())));
    let first = w.post(asked.path, &asked.body).unwrap();
    assert_eq!(w.post(asked.path, &asked.body).unwrap(), first);
    // Two payments with one coin at once: one is denied.
    let (coin, again) = (payee_coins(&w, &asked, &first), w.person());
    let (one, two) = (w.deal(&shop, &coin), w.deal(&again, &coin));
    let other = w.request(&again, &two.presented, refresh(&[100]));
    let body = other.body.clone();
    w.interruption = Some(Box::new(move |w| drop(w.post(payee::VALIDATION_PATH, &body).unwrap())));
    let v = w.validate(&shop, &one, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Denied);
    assert_eq!(w.live_worth(), 200);
    w.audit();
}

fn payee_coins(w: &World, asked: &florin_coin::Prepared, answer: &[u8]) -> Vec<Coin> {
    payee::read_issuance1(&asked.pending, answer, &w.list).unwrap().coins
}

#[test]
fn only_the_payer_gives_its_envelope_up() {
    let (mut w, shop, coins) = start(45, &[100]);
    let thief = w.enrolled(Roles::PURCHASER);
    let own = w.buy(&thief, &[100]);
    let deal = w.deal(&shop, &coins);
    // With EncC1 and Com, which the payee and whoever saw SendCoins have, but without EncC1's context.
    let request = PayerStatus {
        context: Context::new("coin", "payer-status", deal.com.payer, w.list.operator),
        enc_c1: deal.presented.enc_c1.clone(),
        com: deal.com.digest(),
        give_up: Some(ByteArray([0; 32])),
    };
    for at in 0..3u8 {
        let mut forged = request.clone();
        let key = florin_crypto::Secret::new([at; 32]);
        let mac = MacKey::new(&key).tag("florin/v1/coin/give-up", &[deal.com.digest().as_bytes()]);
        forged.give_up = Some(ByteArray(mac));
        assert_eq!(slug(&w.post(payer::STATUS_PATH, &cbor::encode(&forged))), "bad-request");
    }
    // With another envelope made for the same Com: it voids that one and nothing else.
    let inside = EncC1 {
        context: Context::new("coin", "enc-c1", deal.com.payer, w.list.operator),
        payee: shop.id(),
        deadline: deal.com.deadline,
        coins: set(&own),
    };
    let (enc_c1, exporter) = w.enc_c1(&deal.com, &inside);
    let key = exporter.export(b"florin/v1/coin/give-up");
    let mac = MacKey::new(&key).tag("florin/v1/coin/give-up", &[deal.com.digest().as_bytes()]);
    let other = PayerStatus { enc_c1, give_up: Some(ByteArray(mac)), ..request };
    w.post(payer::STATUS_PATH, &cbor::encode(&other)).unwrap();
    // Another participant says that the deadline has passed: it voids its own payment of that name, not the shop's.
    for gives_up in [false, true] {
        let (key, exp, deadline) = (w.key(), w.exp(), w.now.minus_ms(1));
        let question = payee::Question { tid: deal.com.tid, com: deal.com.digest(), deadline, gives_up };
        let asked = payee::status_request(&key, &thief.keys, &question, exp, &mut w.entropy).unwrap();
        w.post(asked.path, &asked.body).unwrap();
    }
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    w.audit();
}

#[test]
fn after_giving_up_the_coins_are_free_at_once() {
    let (mut w, shop, coins) = start(46, &[100]);
    let deal = w.deal(&shop, &coins);
    assert_eq!(payer_hears(&mut w, &deal, true), Outcome::Never);
    assert_eq!(payer_hears(&mut w, &deal, false), Outcome::Never);
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Never);
    // A new envelope for what was agreed, before its deadline: nothing stands in the way.
    let again = w.deal_for(&shop, deal.invoice.clone(), deal.com.clone(), &coins);
    let v = w.validate(&shop, &again, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    assert_eq!(payer_hears(&mut w, &deal, false), Outcome::Never, "the first envelope's answer stays");
    assert_eq!(payer_hears(&mut w, &again, false), Outcome::Paid);
    // The payee gives up before the deadline: both hear it at once, and a late copy of its own request changes nothing.
    let coins = w.read(&v).coins;
    let deal = w.deal(&shop, &coins);
    assert_eq!(slug(&w.payee_asks(&shop, &deal.com, false).1), "not-yet");
    let (asked, answer) = w.payee_asks(&shop, &deal.com, true);
    let read = payee::read_status(&asked.pending, &answer.unwrap(), &w.list).unwrap();
    assert_eq!(read.0.outcome, Outcome::Never);
    assert_eq!(payer_hears(&mut w, &deal, false), Outcome::Never);
    let late = w.validate(&shop, &deal, &[100]);
    assert_eq!((w.read(&late).verdict.outcome, w.live_worth()), (Outcome::Never, 100));
    w.audit();
}

#[test]
fn a_payee_that_gives_up_races_its_own_request_and_one_of_them_wins() {
    let (mut w, shop, coins) = start(48, &[100, 100]);
    let deal = w.deal(&shop, &coins[..1]);
    let asked = w.payee_question(&shop, &deal.com, true);
    w.interruption = Some(Box::new(move |w| drop(w.post(asked.path, &asked.body).unwrap())));
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!((w.read(&v).verdict.outcome, w.live_worth()), (Outcome::Never, 200));
    // The other way round: it is paid, and giving up says so.
    let deal = w.deal(&shop, &coins[1..]);
    let asked = w.request(&shop, &deal.presented, refresh(&[100]));
    w.interruption = Some(Box::new(move |w| drop(w.post(payee::VALIDATION_PATH, &asked.body).unwrap())));
    let (asked, answer) = w.payee_asks(&shop, &deal.com, true);
    let read = payee::read_status(&asked.pending, &answer.unwrap(), &w.list).unwrap();
    assert_eq!(read.0.outcome, Outcome::Paid);
    // What was issued for it is still there for who presents the payment again.
    let again = w.validate(&shop, &deal, &[100]);
    assert_eq!((w.read(&again).coins.len(), w.live_worth()), (1, 200));
    w.audit();
}

/// Found by the simulation: what was open when its payee was blocked stayed open.
#[test]
fn a_blocked_payee_gives_up_and_asks_and_gains_nothing() {
    let (mut w, shop, coins) = start(49, &[100, 100]);
    let (open, paid) = (w.deal(&shop, &coins[..1]), w.deal(&shop, &coins[1..]));
    let v = w.validate(&shop, &paid, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    w.block(shop.id());
    // ValidationReq of a blocked payee is refused; then it is asked, and both hear the same.
    let asked = w.request(&shop, &open.presented, refresh(&[100]));
    assert_eq!(slug(&w.post(payee::VALIDATION_PATH, &asked.body)), "participant-blocked");
    for (deal, outcome) in [(&open, Outcome::Never), (&paid, Outcome::Paid)] {
        let (asked, answer) = w.payee_asks(&shop, &deal.com, true);
        let read = payee::read_status(&asked.pending, &answer.unwrap(), &w.list).unwrap();
        assert_eq!(read.0.outcome, outcome);
        assert_eq!(payer_hears(&mut w, deal, false), outcome);
    }
    assert_eq!(w.live_worth(), 200);
    w.audit();
}

#[test]
fn a_denied_payment_stays_denied() {
    let (mut w, shop, coins) = start(47, &[100, 50]);
    let first = w.deal(&shop, &coins[..1]);
    w.validate(&shop, &first, &[100]);
    let deal = w.deal(&shop, &coins);
    let v = w.validate(&shop, &deal, &[100, 50]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Denied);
    assert_eq!(payer_hears(&mut w, &deal, true), Outcome::Denied);
    assert_eq!(payee_hears(&mut w, &shop, &deal), Outcome::Denied);
    // The payer cannot mend it under the same invoice; it asks for another.
    let mended = w.com(&deal.invoice);
    let mended = w.deal_for(
        &shop,
        deal.invoice.clone(),
        {
            let mut c = mended;
            c.p_desc.amount = flo(50);
            c
        },
        &coins[1..],
    );
    let v = w.validate(&shop, &mended, &[50]);
    assert_eq!(slug(&v.answer), "request-id-reused");
    w.audit();
}
