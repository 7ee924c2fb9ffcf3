//! Payment with aggregation, and redemption of what was gathered.
//! Source: VarietyCash §3 (Payment with aggregation), §3.2 (V-DESC); docs/rails/coin.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{Account, PartyId, TxId};
use florin_coin::aggregate::{self, Redeemed};
use florin_coin::aggregate_messages::RedeemAggregateReq;
use florin_coin::messages::{Issuance1, Outcome};
use florin_coin::{Coin, Prepared, ReadError, TidPy, payee};
use florin_crypto::Bytes;
use florin_money::Currency;
use florin_parties::Roles;
use florin_parties::sealed::sign;
use florin_rail::{Context, Refusal};
use support::wire::reply_of;
use support::*;

type Exchanged = (Prepared, Result<Vec<u8>, Refusal>);

/// A payment with aggregation, all the way to what the payee reads.
fn gather(w: &mut World, shop: &Person, coins: &[Coin]) -> payee::Issuance {
    let deal = w.deal(shop, coins);
    let asked = w.request(shop, &deal.presented, payee::aggregate(flo(worth(coins))));
    let answer = w.post(asked.path, &asked.body).unwrap();
    payee::read_issuance1(&asked.pending, &answer, &w.list).unwrap()
}

fn redemption(w: &mut World, me: &Person, minor: Option<u64>) -> Prepared {
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    aggregate::redeem(&key, &me.keys, (Currency::FLO, minor), txid, exp, &mut w.entropy).unwrap()
}

fn redeem(w: &mut World, me: &Person, minor: Option<u64>) -> Exchanged {
    let asked = redemption(w, me, minor);
    let answer = w.post(asked.path, &asked.body);
    (asked, answer)
}

fn read(w: &World, (asked, answer): &Exchanged) -> Redeemed {
    aggregate::read_redeemed(&asked.pending, answer.as_ref().unwrap(), &w.list).unwrap()
}

fn balance(w: &mut World, me: &Person) -> Result<u64, Refusal> {
    let (key, exp) = (w.key(), w.exp());
    let asked = aggregate::balance_request(&key, &me.keys, exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body)?;
    let said = aggregate::read_balance(&asked.pending, &answer).unwrap();
    assert_eq!((said.gathered.len(), said.at), (1, w.now));
    Ok(said.gathered[0].minor())
}

fn payouts(w: &World) -> Vec<u64> {
    let orders = w.orders().into_iter().filter(|o| o.remittance == "FLORIN PAYOUT");
    let mut amounts: Vec<u64> = orders.map(|o| o.amount.minor()).collect();
    amounts.sort_unstable();
    amounts
}

#[test]
fn payment_with_aggregation_gathers_value_and_redeems_it_in_one_bank_order() {
    let mut w = World::new(71);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[100, 50, 20, 10]);
    assert_eq!(balance(&mut w, &shop).unwrap(), 0);
    for coin in &coins[..3] {
        let issuance = gather(&mut w, &shop, std::slice::from_ref(coin));
        assert_eq!(issuance.verdict.outcome, Outcome::Paid);
        assert!(issuance.coins.is_empty() && issuance.payout.is_none());
        w.post(payee::ACK_PATH, &issuance.issuance2).unwrap();
    }
    // Old coins are gone, no new ones are there, nothing went to the bank, and the payee sees what is its own.
    assert_eq!((w.live_worth(), payouts(&w)), (10, vec![]));
    assert_eq!(w.books.balance(Account::Party(shop.id())), -170);
    let before = w.books.records.len();
    assert_eq!(balance(&mut w, &shop).unwrap(), 170);
    assert_eq!(w.books.records.len(), before, "a question records nothing");
    // A part, then all the rest: one order each.
    let part = redeem(&mut w, &shop, Some(70));
    assert_eq!(read(&w, &part).amount, flo(70));
    let rest = redeem(&mut w, &shop, None);
    assert_eq!((read(&w, &rest).amount, payouts(&w)), (flo(100), vec![70, 100]));
    assert_ne!(read(&w, &part).payout, read(&w, &rest).payout);
    assert_eq!((balance(&mut w, &shop).unwrap(), w.books.balance(Account::Party(shop.id()))), (0, 0));
    w.audit();
}

#[test]
fn options_may_be_mixed_by_one_payee() {
    let mut w = World::new(72);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[100, 50, 20]);
    gather(&mut w, &shop, &coins[..1]);
    let deal = w.deal(&shop, &coins[1..2]);
    let asked = w.request(&shop, &deal.presented, payee::redeem(flo(50)));
    let answer = w.post(asked.path, &asked.body).unwrap();
    assert!(payee::read_issuance1(&asked.pending, &answer, &w.list).unwrap().payout.is_some());
    let deal = w.deal(&shop, &coins[2..]);
    let v = w.validate(&shop, &deal, &[10, 10]);
    assert_eq!(w.read(&v).coins.len(), 2);
    assert_eq!((balance(&mut w, &shop).unwrap(), payouts(&w), w.live_worth()), (100, vec![50], 20));
    w.audit();
}

#[test]
fn aggregation_by_a_payee_not_enrolled_or_blocked_is_refused() {
    let mut w = World::new(73);
    let (buyer, shop) = (w.enrolled(Roles::BOTH), w.enrolled(Roles::REDEEMER));
    let nobody = w.person();
    let purchaser = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, &[100, 50, 20, 10]);
    for who in [&nobody, &purchaser] {
        let deal = w.deal(who, &coins[..1]);
        let asked = w.request(who, &deal.presented, payee::aggregate(flo(100)));
        assert_eq!(slug(&w.post(asked.path, &asked.body)), "not-enrolled");
        assert_eq!(slug(&redeem(&mut w, who, None).1), "not-enrolled");
    }
    // Nothing was touched: the same coins pay where they may, with a list that is none and no amount refused before.
    let deal = w.deal(&shop, &coins[..1]);
    let mut v_desc = payee::aggregate(flo(100));
    v_desc.list = list(&[100]);
    let asked = w.request(&shop, &deal.presented, v_desc);
    assert_eq!(slug(&w.post(asked.path, &asked.body)), "wrong-denominations");
    let asked = w.request(&shop, &deal.presented, payee::aggregate(flo(0)));
    assert_eq!(slug(&w.post(asked.path, &asked.body)), "wrong-coin-count");
    let asked = w.request(&shop, &deal.presented, payee::aggregate(flo(100)));
    w.post(asked.path, &asked.body).unwrap();
    // Blocked afterwards: what was gathered stays owed, and cannot be asked for.
    w.block(shop.id());
    let blocked = w.deal(&shop, &coins[1..2]);
    let asked = w.request(&shop, &blocked.presented, payee::aggregate(flo(50)));
    assert_eq!(slug(&w.post(asked.path, &asked.body)), "participant-blocked");
    assert_eq!(slug(&redeem(&mut w, &shop, None).1), "participant-blocked");
    assert_eq!(balance(&mut w, &shop).unwrap_err().slug, "participant-blocked");
    assert_eq!((w.books.balance(Account::Party(shop.id())), w.live_worth()), (-100, 80));
    w.audit();
}

#[test]
fn gathered_value_is_redeemed_once_and_never_more_than_is_there() {
    let mut w = World::new(74);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[100, 50]);
    assert_eq!(slug(&redeem(&mut w, &shop, None).1), "not-enough-gathered");
    gather(&mut w, &shop, &coins[..1]);
    assert_eq!(slug(&redeem(&mut w, &shop, Some(101)).1), "not-enough-gathered");
    assert_eq!(slug(&redeem(&mut w, &shop, Some(0)).1), "wrong-coin-count");
    assert_eq!(slug(&redeem(&mut w, &shop, Some(u64::MAX)).1), "not-enough-gathered");
    let before = w.books.records.len();
    // Two at once: the second commits between the first one's decision and its commit.
    let other = redemption(&mut w, &shop, Some(60));
    let (path, body) = (other.path, other.body.clone());
    w.interruption = Some(Box::new(move |w| drop(w.post(path, &body).unwrap())));
    let first = redeem(&mut w, &shop, Some(60));
    assert_eq!(slug(&first.1), "not-enough-gathered");
    assert_eq!((w.books.balance(Account::Party(shop.id())), payouts(&w)), (-40, vec![60]));
    // Of two that ask for all at once, one has it.
    let other = redemption(&mut w, &shop, None);
    let (path, body) = (other.path, other.body.clone());
    w.interruption = Some(Box::new(move |w| drop(w.post(path, &body).unwrap())));
    assert_eq!(slug(&redeem(&mut w, &shop, None).1), "not-enough-gathered");
    assert_eq!(payouts(&w), vec![40, 60]);
    // Repeated, as sent: the same answer and nothing more. Another wish under its number: refused.
    let answer = w.post(other.path, &other.body).unwrap();
    assert_eq!(read(&w, &(other, Ok(answer))).amount, flo(40));
    assert!(w.books.records.len() > before);
    gather(&mut w, &shop, &coins[1..]);
    let reused = RedeemAggregateReq {
        context: Context::new("coin", "redeem-aggregate", shop.id(), w.list.operator),
        currency: Currency::FLO,
        minor: Some(10),
        txid: TxId::new([9; 16]),
        exp: w.exp(),
    };
    let send = |w: &mut World, r: &RedeemAggregateReq, by: &Person| {
        let body = w.sealed("redeem-aggregate", &sign(&by.keys.signing, r));
        w.post(aggregate::REDEEM_PATH, &body)
    };
    send(&mut w, &reused, &shop).unwrap();
    let other = RedeemAggregateReq { minor: Some(11), ..reused.clone() };
    assert_eq!(slug(&send(&mut w, &other, &shop)), "request-id-reused");
    assert_eq!((balance(&mut w, &shop).unwrap(), payouts(&w)), (40, vec![10, 40, 60]));
    w.audit();
}

#[test]
fn gathered_value_is_its_payees_alone() {
    let mut w = World::new(75);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let thief = w.enrolled(Roles::REDEEMER);
    let coins = w.buy(&buyer, &[100]);
    gather(&mut w, &shop, &coins);
    assert_eq!(
        (balance(&mut w, &thief).unwrap(), slug(&redeem(&mut w, &thief, None).1)),
        (0, "not-enough-gathered")
    );
    // In the shop's name, signed by the thief; for nobody; for a currency that is none; as another message.
    let good = RedeemAggregateReq {
        context: Context::new("coin", "redeem-aggregate", shop.id(), w.list.operator),
        currency: Currency::FLO,
        minor: None,
        txid: TxId::new([1; 16]),
        exp: w.exp(),
    };
    let euro = "1.00 EUR".parse::<florin_money::Amount>().unwrap().currency();
    let unknown = Context::new("coin", "redeem-aggregate", PartyId::new([7; 16]), w.list.operator);
    let asked_as = Context::new("coin", "aggregate-balance", shop.id(), w.list.operator);
    for (what, request, by, expected) in [
        ("in another's name", good.clone(), &thief, "bad-request"),
        ("nobody known", RedeemAggregateReq { context: unknown, ..good.clone() }, &thief, "bad-request"),
        ("as a question", RedeemAggregateReq { context: asked_as, ..good.clone() }, &shop, "bad-request"),
        ("euros", RedeemAggregateReq { currency: euro, ..good.clone() }, &shop, "wrong-currency"),
    ] {
        let body = w.sealed("redeem-aggregate", &sign(&by.keys.signing, &request));
        assert_eq!(slug(&w.post(aggregate::REDEEM_PATH, &body)), expected, "{what}");
    }
    assert_eq!(balance(&mut w, &shop).unwrap(), 100);
    // The answer to one is not the answer to another, and is for its asker only.
    let mine = redeem(&mut w, &shop, Some(40));
    let next = redeem(&mut w, &shop, Some(40));
    let crossed = aggregate::read_redeemed(&mine.0.pending, next.1.as_ref().unwrap(), &w.list);
    assert_eq!(crossed.err(), Some(ReadError::Answer));
    assert_eq!(read(&w, &mine).amount, flo(40));
    w.audit();
}

/// A payment with aggregation is a payment: repeated, reissued, denied and never as the others are.
#[test]
fn aggregation_happens_once_and_all_or_nothing() {
    let mut w = World::new(76);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[100, 50]);
    let deal = w.deal(&shop, &coins[..1]);
    let asked = w.request(&shop, &deal.presented, payee::aggregate(flo(100)));
    let answer = w.post(asked.path, &asked.body).unwrap();
    assert_eq!(w.post(asked.path, &asked.body).unwrap(), answer);
    let again = w.request(&shop, &deal.presented, payee::aggregate(flo(100)));
    let reissued = w.post(again.path, &again.body).unwrap();
    let issuance = payee::read_issuance1(&again.pending, &reissued, &w.list).unwrap();
    assert!(issuance.coins.is_empty() && issuance.payout.is_none());
    assert_eq!(balance(&mut w, &shop).unwrap(), 100);
    // A spent coin beside a good one: denied, and nothing is gathered.
    let deal = w.deal(&shop, &coins);
    let asked = w.request(&shop, &deal.presented, payee::aggregate(flo(150)));
    let answer = w.post(asked.path, &asked.body).unwrap();
    let denied = payee::read_issuance1(&asked.pending, &answer, &w.list).unwrap();
    assert_eq!(denied.verdict.outcome, Outcome::Denied);
    assert_eq!((balance(&mut w, &shop).unwrap(), w.live_worth()), (100, 50));
    w.audit();
}

/// The payee that gathers takes neither coins nor a pay-out in place of it. Each answer is what a faulty issuer would seal.
#[test]
fn an_answer_with_coins_or_a_pay_out_is_none_for_aggregation() {
    let mut w = World::new(77);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[100, 50]);
    let deal = w.deal(&shop, &coins[..1]);
    let asked = w.request(&shop, &deal.presented, payee::aggregate(flo(100)));
    let answer = w.post(asked.path, &asked.body).unwrap();
    let (key, frame) = reply_of(&asked.pending, 0);
    let good: Issuance1 = frame.open(&key, &answer).unwrap();
    let bent = [
        Issuance1 { coins: coins[1..].to_vec(), ..good.clone() },
        Issuance1 { payout: Some(TxId::new([1; 16])), ..good.clone() },
    ];
    for bad in bent {
        let sealed = frame.seal(&key, &bad);
        assert_eq!(payee::read_issuance1(&asked.pending, &sealed, &w.list).err(), Some(ReadError::Coins));
    }
    assert!(payee::read_issuance1(&asked.pending, &frame.seal(&key, &good), &w.list).is_ok());
    // A redemption's statement about another amount is not believed either.
    let (first, second) = (redeem(&mut w, &shop, Some(40)), redeem(&mut w, &shop, Some(60)));
    let (key, frame) = reply_of(&first.0.pending, 0);
    let (other_key, other_frame) = reply_of(&second.0.pending, 0);
    let foreign: Bytes = other_frame.open(&other_key, second.1.as_ref().unwrap()).unwrap();
    let swapped = frame.seal(&key, &foreign);
    let read = aggregate::read_redeemed(&first.0.pending, &swapped, &w.list);
    assert_eq!(read.err(), Some(ReadError::Statement));
    w.audit();
}

#[test]
fn a_pay_out_of_gathered_value_to_somebody_stopped_meanwhile_stays_owed_once() {
    let mut w = World::new(78);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[100, 50]);
    gather(&mut w, &shop, &coins[..1]);
    gather(&mut w, &shop, &coins[1..]);
    w.pumps = false;
    redeem(&mut w, &shop, Some(100)).1.unwrap();
    w.block(shop.id());
    w.pumps = true;
    assert_eq!(payouts(&w), Vec::<u64>::new());
    // In the identity lane what was redeemed, in the books lane what was not: nothing twice.
    assert_eq!(w.identity.balance(Account::Party(shop.id())), -100);
    assert_eq!(w.books.balance(Account::Party(shop.id())), -50);
    w.audit();
}

/// A payment's tid, in two payments with different options, is one payment.
#[test]
fn one_transaction_cannot_both_gather_and_refresh() {
    let mut w = World::new(86);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[100]);
    let deal = w.deal(&shop, &coins);
    assert_ne!(deal.com.tid, TidPy::new([0; 16]));
    let asked = w.request(&shop, &deal.presented, payee::aggregate(flo(100)));
    w.post(asked.path, &asked.body).unwrap();
    let v = w.validate(&shop, &deal, &[100]);
    // The record's answer comes again; it holds no coins, and so is no answer to this wish.
    let read = payee::read_issuance1(&v.asked.pending, v.answer.as_ref().unwrap(), &w.list);
    assert_eq!(read.err(), Some(ReadError::Coins));
    assert_eq!((balance(&mut w, &shop).unwrap(), w.live_worth()), (100, 0));
    w.audit();
}
