//! What the paper requires: W1-W3 of Coin Purchase, P1-P4 of Payment. Source: VarietyCash §3.1, §3.2.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use std::sync::Arc;

use florin_books::{Account, TxId};
use florin_coin::issuer::{Issuer, Lanes, Purchase};
use florin_coin::messages::{Outcome, PayeeAnswer};
use florin_coin::purchaser::{self, Collected};
use florin_coin::{CoinCause, ReadError, holder, payee, payer};
use florin_crypto::{Bytes, Sign1, cbor};
use florin_parties::bank::{BankNews, Direction};
use florin_parties::{Certificate, Roles, Terms};
use support::by_hand::begin;
use support::*;

#[test]
fn w1_valid_purchases_go_through() {
    let mut w = World::new(1);
    let buyer = w.enrolled(Roles::PURCHASER);
    let (purchase, order) = w.order_coins(&buyer, &[500, 200, 200]);
    let ordered = w.order(order).order;
    assert_eq!(
        (ordered.direction, ordered.amount, ordered.account.iban()),
        (Direction::Debit, flo(900), IBAN)
    );
    w.now = w.now.plus_ms(3 * DAY);
    w.bank(BankNews::Accepted(order));
    w.bank(BankNews::Booked(order));
    assert_eq!(w.books.balance(Account::PaidNotIssued), -900);
    let (asked, answer) = w.collect(&purchase);
    let answer = answer.unwrap();
    assert_eq!(w.post(asked.path, &asked.body).unwrap(), answer, "the same bytes get the same reply");
    let Collected::Coins { coins, ack } =
        purchaser::read_collected(&asked.pending, &answer, &w.list).unwrap()
    else {
        panic!("refused")
    };
    assert_eq!(list(&coins.iter().map(|c| c.value).collect::<Vec<_>>()), list(&[200, 200, 500]));
    assert_eq!(w.live_worth(), 900);
    let acknowledged = w.post(purchaser::ACK_PATH, &ack).unwrap();
    assert_eq!(w.post(purchaser::ACK_PATH, &ack).unwrap(), acknowledged);
    assert_eq!(w.books.balance(Account::PaidNotIssued), 0);
    let shop = w.person();
    let deal = w.deal(&shop, &coins);
    let v = w.validate(&shop, &deal, &[500, 200, 100, 100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid, "the coins are good");
    w.audit();
}

#[test]
fn w2_no_coins_without_money() {
    let mut w = World::new(2);
    let buyer = w.enrolled(Roles::PURCHASER);
    let (purchase, order) = w.order_coins(&buyer, &[100]);
    let (_, early) = w.collect(&purchase);
    assert_eq!(slug(&early), "not-yet");
    w.bank(BankNews::Rejected(order, "AM04".into()));
    for _ in 0..2 {
        let (asked, answer) = w.collect(&purchase);
        let read = purchaser::read_collected(&asked.pending, &answer.unwrap(), &w.list).unwrap();
        let Collected::Refused { reason, signed } = read else { panic!("coins for nothing") };
        assert_eq!(reason, "AM04");
        let signed = Sign1::parse(&signed).unwrap();
        assert!(signed.verify(&w.list.signature_key(&signed.kid()).unwrap()).is_ok());
    }
    assert_eq!(w.live_worth(), 0);
    w.audit();
}

/// Asking for more than is paid for, for values that are none, for nothing, for another's account.
#[test]
fn w2_a_purchase_is_what_it_costs() {
    let mut w = World::new(10);
    let buyer = w.enrolled(Roles::PURCHASER);
    let account = OTHER_IBAN.parse().unwrap();
    let good = w.w_desc(&[100, 100]);
    let cases = [
        ("wrong-denominations", {
            let mut d = good.clone();
            d.total = flo(100);
            d
        }),
        ("wrong-denominations", {
            let mut d = good.clone();
            d.list = list(&[30]);
            d.total = flo(30);
            d
        }),
        ("wrong-coin-count", {
            let mut d = good.clone();
            d.list = list(&[]);
            d.total = flo(0);
            d
        }),
        ("wrong-coin-count", {
            let mut d = good.clone();
            d.list = list(&[1; 257]);
            d.total = flo(257);
            d
        }),
        ("wrong-currency", {
            let mut d = good.clone();
            d.total = "2.00 EUR".parse().unwrap();
            d
        }),
        ("account-not-enrolled", {
            let mut d = good.clone();
            d.account = account;
            d
        }),
        ("bad-request", {
            let mut d = good.clone();
            d.authorisation.id = String::new();
            d
        }),
        ("bad-request", {
            let mut d = good.clone();
            d.authorisation.id = "x".repeat(36);
            d
        }),
    ];
    for (expected, w_desc) in cases {
        let asked = w.wrequest3(&buyer, w_desc);
        assert_eq!(slug(&w.post(asked.path, &asked.body)), expected);
    }
    for roles in [None, Some(Roles::REDEEMER)] {
        let other = if let Some(roles) = roles { w.enrolled(roles) } else { w.person() };
        let asked = w.wrequest3(&other, good.clone());
        assert_eq!(slug(&w.post(asked.path, &asked.body)), "not-enrolled");
    }
    assert!(w.orders().iter().all(|o| o.direction == Direction::Credit), "nothing is debited");
    w.audit();
}

#[test]
fn w2_the_operator_says_how_much_it_sells_at_once() {
    let mut w = World::new(9);
    let buyer = w.enrolled(Roles::PURCHASER);
    let lanes = Lanes { identity: IDENTITY, books: BOOKS };
    let issuer = Issuer::new(w.keys.clone(), secrets(9), lanes, vec![register()], &Terms::default());
    w.issuer = Arc::new(issuer.with_purchase_max(500));
    for (values, expected) in [(&[500, 1][..], "purchase-too-large"), (&[200, 200, 100], "fine")] {
        let w_desc = w.w_desc(values);
        let asked = w.wrequest3(&buyer, w_desc);
        assert_eq!(slug(&w.post(asked.path, &asked.body)), expected);
    }
    w.audit();
}

#[test]
fn w2_money_that_comes_back_stops_the_purchaser() {
    let mut w = World::new(3);
    let buyer = w.enrolled(Roles::BOTH);
    let (_, order) = w.order_coins(&buyer, &[1000]);
    w.bank(BankNews::Booked(order));
    let coins = w.buy(&buyer, &[100]);
    w.bank(BankNews::Returned(order, "MD06".into()));
    assert_eq!(w.identity.balance(Account::Suspense), 1000);
    let asked = w.wrequest3(&buyer, w.w_desc(&[100]));
    assert_eq!(slug(&w.post(asked.path, &asked.body)), "participant-blocked");
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let asked = holder::redeem(&key, &buyer.keys, set(&coins), txid, exp, &mut w.entropy).unwrap();
    assert_eq!(slug(&w.post(asked.path, &asked.body)), "participant-blocked");
    // Coins are bearer instruments: what it holds still pays.
    let shop = w.person();
    let deal = w.deal(&shop, &coins);
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    w.audit();
}

#[test]
fn w3_nobody_else_can_have_an_account_debited() {
    let mut w = World::new(4);
    let (victim, thief) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::PURCHASER));
    let debits = |w: &World| w.orders().iter().filter(|o| o.direction == Direction::Debit).count();
    // In the victim's name: the answer opens for the victim only.
    let (key, exp) = (w.key(), w.exp());
    let asked = purchaser::wrequest1(&key, victim.id(), exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body).unwrap();
    let w_desc = w.w_desc(&[100]);
    let tried = purchaser::wrequest3(&asked.pending, &answer, &thief.keys, w_desc.clone(), &mut w.entropy);
    assert_eq!(tried.err(), Some(ReadError::Answer));
    // The thief's own run, with the victim's name inside, or with a signature that is not its own.
    let mut begun = begin(&mut w, &thief, w_desc.clone());
    begun.authorisation.context.sender = victim.id();
    assert_eq!(
        slug(&w.post(purchaser::WREQUEST3_PATH, &begun.signed_by(&thief.keys.signing))),
        "bad-request"
    );
    let begun = begin(&mut w, &victim, w_desc.clone());
    assert_eq!(
        slug(&w.post(purchaser::WREQUEST3_PATH, &begun.signed_by(&thief.keys.signing))),
        "bad-request"
    );
    assert_eq!(debits(&w), 0);
    // Replayed: one debit, one reply. Another content under the same R_I: nothing.
    let body = begun.signed_by(&victim.keys.signing);
    let accepted = w.post(purchaser::WREQUEST3_PATH, &body).unwrap();
    assert!(begun.open(&accepted).is_some());
    assert_eq!(w.post(purchaser::WREQUEST3_PATH, &body).unwrap(), accepted);
    let mut again = begun;
    again.claim = w.draw();
    let other = again.signed_by(&victim.keys.signing);
    assert_eq!(slug(&w.post(purchaser::WREQUEST3_PATH, &other)), "request-id-reused");
    assert_eq!(debits(&w), 1);
    // Kept for later: its time passes.
    let late = begin(&mut w, &victim, w_desc).signed_by(&victim.keys.signing);
    w.now = w.now.plus_ms(10 * 60 * 1000 + 1);
    assert_eq!(slug(&w.post(purchaser::WREQUEST3_PATH, &late)), "purchase-expired");
    assert_eq!(debits(&w), 1);
    // The evidence is there.
    let kept = w.identity.documents.iter().filter(|(k, _)| k.kind == florin_coin::kinds::PURCHASE);
    let kept: Vec<_> = kept.map(|(_, d)| Purchase::read(&d.value).unwrap()).collect();
    let signed = Sign1::parse(&kept[0].authorisation.0).unwrap();
    assert!(signed.verify(&victim.keys.signing.verify_key()).is_ok());
    w.audit();
}

#[test]
fn p1_valid_payments_go_through() {
    let mut w = World::new(5);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[500, 200, 100, 50]);
    let deal = w.deal(&shop, &coins[..2]);
    let v = w.validate(&shop, &deal, &[500, 100, 50, 50]);
    let issuance = w.read(&v);
    assert_eq!(issuance.verdict.outcome, Outcome::Paid);
    assert_eq!((issuance.verdict.claimed, issuance.verdict.paid), (Some(flo(700)), Some(flo(700))));
    let news = payer::read_payer_verdict(&deal.paying.pending, &issuance.for_payer, &w.list).unwrap();
    assert_eq!((news.verdict.clone(), news.causes.len()), (issuance.verdict.clone(), 0));
    assert_eq!(news.signed, issuance.signed, "payer and payee have the same statement");
    w.post(payee::ACK_PATH, &issuance.issuance2).unwrap();
    // The receipt, and the payer's copy of it all.
    let receipt = payee::receipt(&shop.keys, deal.com.payer, &deal.com.digest(), w.now);
    let passed_on =
        PayeeAnswer { receipt: Some(Bytes(receipt)), for_payer: Bytes(issuance.for_payer.clone()) };
    let passed_on: PayeeAnswer = cbor::decode_strict(&cbor::encode(&passed_on)).unwrap();
    let shop_key = Certificate::verify(&shop.certificate, &w.list).unwrap().verify_key;
    let receipt = passed_on.receipt.unwrap().0;
    assert!(payer::read_receipt(&deal.paying.pending, &receipt, &shop_key).unwrap().accepted);
    assert!(payer::read_receipt(&deal.paying.pending, &receipt, &buyer.keys.signing.verify_key()).is_err());
    // With immediate redemption.
    let deal = w.deal(&shop, &coins[2..]);
    let asked = w.request(&shop, &deal.presented, payee::redeem(flo(150)));
    let answer = w.post(asked.path, &asked.body);
    let redeemed = w.read(&Validated { asked, answer });
    assert!(redeemed.payout.is_some() && redeemed.coins.is_empty());
    let order = w.orders().into_iter().find(|o| o.remittance == "FLORIN PAYOUT").unwrap();
    assert_eq!((order.direction, order.amount, order.account.iban()), (Direction::Credit, flo(150), IBAN));
    assert_eq!(w.live_worth(), 700);
    w.audit();
}

#[test]
fn p2_accepted_payments_are_valid() {
    let mut w = World::new(6);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100, 100, 100]);
    let deal = w.deal(&shop, &coins[..1]);
    let v = w.validate(&shop, &deal, &[50, 50]);
    let fresh = w.read(&v).coins;
    // A copied wallet pays again with what is spent, and with one good coin beside it.
    for spent in [&coins[..1], &coins[..2]] {
        let deal = w.deal(&shop, spent);
        let v = w.validate(&shop, &deal, &[worth(spent)]);
        let issuance = w.read(&v);
        assert_eq!((issuance.verdict.outcome, issuance.verdict.paid), (Outcome::Denied, None));
        assert!(issuance.coins.is_empty());
    }
    // What the payee has got is good; the coin beside the spent one still is.
    for good in [&fresh[..], &coins[1..2]] {
        let deal = w.deal(&shop, good);
        let v = w.validate(&shop, &deal, &[100]);
        assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    }
    // Less than agreed: both learn what was paid, and the coins live on.
    let invoice = w.invoice(&shop, 200);
    let com = w.com(&invoice);
    let mut deal = w.deal_for(
        &shop,
        invoice,
        {
            let mut c = com.clone();
            c.p_desc.amount = flo(100);
            c
        },
        &coins[2..],
    );
    let v = w.validate(&shop, &deal, &[200]);
    let issuance = w.read(&v);
    assert_eq!(issuance.verdict.outcome, Outcome::AmountMismatch);
    assert_eq!((issuance.verdict.claimed, issuance.verdict.paid), (Some(flo(200)), Some(flo(100))));
    let news = payer::read_payer_verdict(&deal.paying.pending, &issuance.for_payer, &w.list).unwrap();
    assert_eq!(news.verdict, issuance.verdict);
    deal = w.deal(&shop, &coins[2..]);
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    w.audit();
}

#[test]
fn p3_a_payment_is_for_what_was_agreed() {
    let mut w = World::new(7);
    let (buyer, shop, thief) = (w.enrolled(Roles::PURCHASER), w.person(), w.person());
    let coins = w.buy(&buyer, &[100]);
    let deal = w.deal(&shop, &coins);
    let tampered = |change: &dyn Fn(&mut florin_coin::Com)| {
        let mut com = deal.com.clone();
        change(&mut com);
        com
    };
    let mut others = vec![
        tampered(&|c| c.p_desc.goods = "another page".into()),
        tampered(&|c| c.p_desc.amount = flo(50)),
        tampered(&|c| c.p_desc.terms.0[0] ^= 1),
        tampered(&|c| c.tid = florin_coin::TidPy::new([1; 16])),
        tampered(&|c| c.salt.0[0] ^= 1),
        tampered(&|c| c.payer = thief.id()),
        tampered(&|c| c.deadline = c.deadline.plus_ms(1)),
    ];
    others.push(tampered(&|c| c.payee = thief.id()));
    for com in others {
        let mut presented = deal.presented.clone();
        (presented.payer, presented.tid, presented.com) = (com.payer, com.tid, com.digest());
        presented.deadline = com.deadline;
        for payee in [&shop, &thief] {
            let asked = w.request(payee, &presented, refresh(&[100]));
            assert_eq!(slug(&w.post(asked.path, &asked.body)), "payment-denied");
        }
    }
    // Another payer than the envelope says, though it is the same Com.
    let mut renamed = deal.presented.clone();
    renamed.payer = thief.id();
    let asked = w.request(&shop, &renamed, refresh(&[100]));
    assert_eq!(slug(&w.post(asked.path, &asked.body)), "payment-denied");
    // The same Com, presented by another than the payee whom the envelope names.
    let asked = w.request(&thief, &deal.presented, refresh(&[100]));
    assert_eq!(slug(&w.post(asked.path, &asked.body)), "payment-denied");
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid, "and the real payment went through");
    w.audit();
}

#[test]
fn p4_the_payer_is_told_and_can_be_sure() {
    let mut w = World::new(8);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100, 20]);
    let first = w.deal(&shop, &coins[..1]);
    w.validate(&shop, &first, &[100]);
    let deal = w.deal(&shop, &coins);
    let v = w.validate(&shop, &deal, &[100, 20]);
    let issuance = w.read(&v);
    let news = payer::read_payer_verdict(&deal.paying.pending, &issuance.for_payer, &w.list).unwrap();
    assert_eq!(news.verdict.outcome, Outcome::Denied);
    let spent: Vec<_> = news.causes.iter().map(|b| (coins[b.index as usize].value, b.cause)).collect();
    assert_eq!(spent, [(100, CoinCause::Spent)]);
    assert_eq!(spent[0].1.slug(), "coin-spent");
    // It is the issuer who says so: a statement that everybody can check, and that no payee can make or change.
    let signed = Sign1::parse(&news.signed).unwrap();
    assert!(signed.verify(&w.list.signature_key(&signed.kid()).unwrap()).is_ok());
    for at in 0..issuance.for_payer.len() {
        let mut flipped = issuance.for_payer.clone();
        flipped[at] ^= 0x10;
        let read = payer::read_payer_verdict(&deal.paying.pending, &flipped, &w.list);
        assert!(matches!(read, Err(ReadError::Answer)), "byte {at}");
    }
    // Another payment's statement is not about this one.
    let good = w.deal(&shop, &coins[1..]);
    let v = w.validate(&shop, &good, &[20]);
    let other = w.read(&v).for_payer;
    assert!(payer::read_payer_verdict(&deal.paying.pending, &other, &w.list).is_err());
    w.audit();
}
