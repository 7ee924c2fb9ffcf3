//! `check`: what ValidationReq would come to, said to the payee alone, and nothing recorded.
//! Source: web.md, "Florin's profile"; docs/rails/coin.md, "Check".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_coin::messages::{Outcome, VDesc, ValidationReq, WouldBe};
use florin_coin::{CoinSet, Prepared, ReadError, payee, payer};
use florin_parties::Roles;
use florin_parties::sealed::sign;
use florin_rail::{Context, Refusal};
use support::*;

fn check(w: &mut World, shop: &Person, deal: &Deal, v_desc: VDesc) -> (Prepared, Result<Vec<u8>, Refusal>) {
    let key = w.key();
    let asked = payee::check_request(&key, &shop.keys, &deal.presented, v_desc, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body);
    (asked, answer)
}

fn would_be(w: &mut World, shop: &Person, deal: &Deal, v_desc: VDesc) -> WouldBe {
    let (asked, answer) = check(w, shop, deal, v_desc);
    payee::read_check(&asked.pending, &answer.unwrap()).unwrap()
}

/// All that a lane has: its balance of the books, in bytes.
fn books(w: &World) -> (Vec<u8>, usize, usize) {
    (w.books.lane.checkpoint(), w.books.documents.len(), w.books.once.len())
}

#[test]
fn a_check_says_yes_and_changes_nothing() {
    let mut w = World::new(61);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[50, 20]);
    let deal = w.deal(&shop, &coins);
    let before = books(&w);
    for v_desc in [refresh(&[50, 20]), refresh(&[10, 10, 50]), payee::redeem(flo(70))] {
        assert_eq!(would_be(&mut w, &shop, &deal, v_desc), WouldBe::Paid);
    }
    // Nothing was promised either: the payer may still go elsewhere.
    assert_eq!(books(&w), before);
    let v = w.validate(&shop, &deal, &[50, 20]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    w.audit();
}

#[test]
fn after_it_is_paid_or_voided_a_check_says_that_it_is_decided() {
    let mut w = World::new(62);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[50, 20]);
    let deal = w.deal(&shop, &coins[..1]);
    let v = w.validate(&shop, &deal, &[50]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    let before = books(&w);
    assert_eq!(would_be(&mut w, &shop, &deal, refresh(&[50])), WouldBe::Decided);
    assert_eq!(books(&w), before);
    // Given up by its payer.
    let deal = w.deal(&shop, &coins[1..]);
    assert_eq!(would_be(&mut w, &shop, &deal, refresh(&[20])), WouldBe::Paid);
    w.payer_status(&deal, true).unwrap();
    assert_eq!(would_be(&mut w, &shop, &deal, refresh(&[20])), WouldBe::Decided);
    // The same number for another payment: ValidationReq would refuse it as well.
    let invoice = w.invoice(&shop, 20);
    let mut com = w.com(&invoice);
    com.tid = deal.com.tid;
    let again = w.deal_for(&shop, invoice, com, &coins[1..]);
    assert_eq!(would_be(&mut w, &shop, &again, refresh(&[20])), WouldBe::Paid);
    w.audit();
}

#[test]
fn what_is_wrong_with_the_coins_stays_the_payers_secret() {
    let mut w = World::new(63);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[50, 20]);
    let spent = w.deal(&shop, &coins[..1]);
    let v = w.validate(&shop, &spent, &[50]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    let spent_again = w.deal(&shop, &coins[..1]);
    let mut forged = coins[1].clone();
    forged.tag.0[0] ^= 1;
    let forged = w.deal(&shop, &[forged]);
    let twice = w.deal(&shop, &[coins[1].clone(), coins[1].clone()]);
    let before = books(&w);
    let mut lengths = Vec::new();
    for (deal, list) in
        [(&spent_again, refresh(&[50])), (&forged, refresh(&[20])), (&twice, refresh(&[20, 20]))]
    {
        let (asked, answer) = check(&mut w, &shop, deal, list);
        let answer = answer.unwrap();
        lengths.push(answer.len());
        assert_eq!(payee::read_check(&asked.pending, &answer).unwrap(), WouldBe::Denied);
    }
    assert!(lengths.windows(2).all(|two| two[0] == two[1]), "the length tells nothing: {lengths:?}");
    let less = w.deal(&shop, &coins[1..]);
    assert_eq!(would_be(&mut w, &shop, &less, refresh(&[10])), WouldBe::AmountMismatch);
    assert_eq!(books(&w), before);
    w.audit();
}

#[test]
fn another_payee_learns_nothing_not_even_whether_the_coins_live() {
    let mut w = World::new(64);
    let (buyer, shop, other) = (w.enrolled(Roles::PURCHASER), w.person(), w.person());
    let coins = w.buy(&buyer, &[50]);
    let deal = w.deal(&shop, &coins);
    let (_, live) = check(&mut w, &other, &deal, refresh(&[50]));
    assert_eq!(slug(&live), "payment-denied");
    w.validate(&shop, &deal, &[50]).answer.unwrap();
    let (_, spent) = check(&mut w, &other, &deal, refresh(&[50]));
    assert_eq!(live.unwrap_err(), spent.unwrap_err(), "live or spent, it looks the same");
    w.audit();
}

#[test]
fn a_check_has_the_refusals_of_validation_req() {
    let mut w = World::new(65);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[50]);
    let deal = w.deal(&shop, &coins);
    let before = books(&w);
    for (v_desc, expected) in [
        (payee::redeem(flo(50)), "not-enrolled"),
        (refresh(&[]), "wrong-coin-count"),
        (VDesc { amount: flo(60), ..refresh(&[50]) }, "wrong-denominations"),
    ] {
        let asked = w.request(&shop, &deal.presented, v_desc.clone());
        assert_eq!(slug(&w.post(asked.path, &asked.body)), expected);
        assert_eq!(slug(&check(&mut w, &shop, &deal, v_desc).1), expected);
    }
    w.now = deal.com.deadline.plus_ms(1);
    assert_eq!(slug(&check(&mut w, &shop, &deal, refresh(&[50])).1), "payment-expired");
    assert_eq!(books(&w), before);
    w.audit();
}

#[test]
fn a_check_is_no_payment_and_a_payment_is_no_check() {
    let mut w = World::new(66);
    let (buyer, shop, spoiler) = (w.enrolled(Roles::PURCHASER), w.person(), w.person());
    let coins = w.buy(&buyer, &[50]);
    let deal = w.deal(&shop, &coins);
    let request = |name: &str, w: &World| ValidationReq {
        context: Context::new("coin", name, shop.id(), w.list.operator),
        payer: deal.com.payer,
        tid: deal.com.tid,
        v_desc: refresh(&[50]),
        com: deal.com.digest(),
        deadline: deal.com.deadline,
        enc_c1: deal.presented.enc_c1.clone(),
    };
    // Signed by the shop under one name, sealed under the other; signed by somebody else; unsealed.
    for (signed_as, sealed_as) in [("check", "validation-req"), ("validation-req", "check")] {
        let signed = sign(&shop.keys.signing, &request(signed_as, &w));
        let body = w.sealed(sealed_as, &signed);
        assert_eq!(slug(&w.post(&format!("/v1/coin/{sealed_as}"), &body)), "bad-request");
    }
    let signed = sign(&spoiler.keys.signing, &request("check", &w));
    let body = w.sealed("check", &signed);
    assert_eq!(slug(&w.post(payee::CHECK_PATH, &body)), "bad-request");
    let asked = w.request(&shop, &deal.presented, refresh(&[50]));
    assert_eq!(slug(&w.post(payee::CHECK_PATH, &asked.body)), "bad-request");
    // An answer belongs to its own request, and stays bad-request for a spoiler when the payment is over.
    let (first, answer) = check(&mut w, &shop, &deal, refresh(&[50]));
    let (second, _) = check(&mut w, &shop, &deal, refresh(&[50]));
    let answer = answer.unwrap();
    assert_eq!(payee::read_check(&second.pending, &answer).unwrap_err(), ReadError::Answer);
    assert!(payee::read_issuance1(&asked.pending, &answer, &w.list).is_err());
    w.validate(&shop, &deal, &[50]).answer.unwrap();
    assert_eq!(slug(&w.post(payee::CHECK_PATH, &body)), "bad-request");
    // The same bytes again say how it stands now.
    let again = w.post(first.path, &first.body).unwrap();
    assert_eq!(payee::read_check(&first.pending, &again).unwrap(), WouldBe::Decided);
    w.audit();
}

#[test]
fn coins_that_went_elsewhere_in_between_are_found_by_the_payment() {
    let mut w = World::new(67);
    let (buyer, shop, other) = (w.enrolled(Roles::PURCHASER), w.person(), w.person());
    let coins = w.buy(&buyer, &[50]);
    let (deal, elsewhere) = (w.deal(&shop, &coins), w.deal(&other, &coins));
    assert_eq!(would_be(&mut w, &shop, &deal, refresh(&[50])), WouldBe::Paid);
    w.validate(&other, &elsewhere, &[50]).answer.unwrap();
    assert_eq!(would_be(&mut w, &shop, &deal, refresh(&[50])), WouldBe::Denied);
    let v = w.validate(&shop, &deal, &[50]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Denied);
    assert!(
        matches!(payer::read_payer_verdict(&deal.paying.pending, &w.read(&v).for_payer, &w.list), Ok(news) if news.causes.len() == 1)
    );
    w.audit();
}

#[test]
fn a_set_that_does_not_add_up_is_no_payment() {
    let mut w = World::new(68);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[50]);
    let mut deal = w.deal(&shop, &coins);
    let inside = florin_coin::messages::EncC1 {
        context: Context::new("coin", "enc-c1", deal.com.payer, w.list.operator),
        payee: shop.id(),
        coins: CoinSet { total: flo(60), ..set(&coins) },
        deadline: deal.com.deadline,
    };
    let com = deal.com.clone();
    deal.presented.enc_c1 = w.enc_c1(&com, &inside).0;
    assert_eq!(slug(&check(&mut w, &shop, &deal, refresh(&[50])).1), "payment-denied");
    w.audit();
}
