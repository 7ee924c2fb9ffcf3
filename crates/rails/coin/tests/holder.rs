//! The coin-holder at the issuer: Change, Refresh, Redeem; and the post box. Source: VarietyCash §3; docs/rails/coin.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{Account, Effect, PartyId, TxId};
use florin_coin::issuer::{BoxMessage, BoxOpen, Side, box_id};
use florin_coin::messages::{ChangeReq, Outcome};
use florin_coin::purchase_messages::WDesc;
use florin_coin::purchaser::{self, Collected};
use florin_coin::{Coin, CoinCause, CoinSet, HolderChoice, ReadError, holder};
use florin_crypto::{ByteArray, Bytes, cbor};
use florin_parties::Roles;
use florin_parties::bank::BankNews;
use florin_parties::sealed::sign;
use florin_rail::{Context, Refusal};
use support::by_hand::begin;
use support::*;

type Exchanged = (florin_coin::Prepared, Result<Vec<u8>, Refusal>);

fn change(w: &mut World, coins: &[Coin], values: &[u64]) -> Exchanged {
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let asked = holder::change(&key, set(coins), list(values), txid, exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body);
    (asked, answer)
}

fn redeem(w: &mut World, me: &Person, coins: &[Coin]) -> Exchanged {
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let asked = holder::redeem(&key, &me.keys, set(coins), txid, exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body);
    (asked, answer)
}

#[test]
fn change_is_for_whoever_has_the_coins() {
    let mut w = World::new(51);
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, &[100, 50]);
    let (asked, answer) = change(&mut w, &coins[..1], &[50, 20, 20, 10]);
    let answer = answer.unwrap();
    let news = holder::read_exchange(&asked.pending, &answer, &w.list).unwrap();
    assert_eq!((worth(&news.coins), news.coins.len(), w.live_worth()), (100, 4, 150));
    assert_eq!(w.post(asked.path, &asked.body).unwrap(), answer, "a lost answer comes again");
    // All or nothing; the holder is told which.
    let (asked, answer) = change(&mut w, &coins, &[100, 50]);
    let refused = holder::read_exchange(&asked.pending, &answer.unwrap(), &w.list).unwrap();
    assert_eq!(
        refused.causes.iter().map(|b| (b.index, b.cause)).collect::<Vec<_>>(),
        [(0, CoinCause::Spent)]
    );
    assert!(refused.coins.is_empty());
    let (asked, answer) = change(&mut w, &[coins[1].clone(), coins[1].clone()], &[100]);
    let twice = holder::read_exchange(&asked.pending, &answer.unwrap(), &w.list).unwrap();
    assert_eq!(twice.causes.iter().map(|b| (b.index, b.cause)).collect::<Vec<_>>(), [(1, CoinCause::Twice)]);
    assert_eq!(w.live_worth(), 150);
    // Another request's answer is not this one's, and coins other than those asked for are not taken.
    let (other, _) = change(&mut w, &news.coins[..1], &[news.coins[0].value]);
    assert_eq!(
        holder::read_exchange(&other.pending, &answer_of(&mut w, &asked), &w.list).err(),
        Some(ReadError::Answer)
    );
    w.audit();
}

fn answer_of(w: &mut World, asked: &florin_coin::Prepared) -> Vec<u8> {
    w.post(asked.path, &asked.body).unwrap()
}

#[test]
fn change_conserves_value_by_its_own_checks() {
    let mut w = World::new(52);
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, &[100]);
    let good = ChangeReq {
        context: Context::new("coin", "change", PartyId::NONE, w.list.operator),
        coins: set(&coins),
        list: list(&[100]),
        holder: HolderChoice::Nobody,
        txid: TxId::new([1; 16]),
        exp: w.exp(),
    };
    let euro = "1.00 EUR".parse().unwrap();
    let cases: Vec<(&str, ChangeReq)> = vec![
        ("wrong-denominations", ChangeReq { list: list(&[200]), ..good.clone() }),
        ("wrong-denominations", ChangeReq { list: list(&[70, 30]), ..good.clone() }),
        (
            "wrong-denominations",
            ChangeReq {
                coins: CoinSet { total: flo(200), coins: coins.clone() },
                list: list(&[200]),
                ..good.clone()
            },
        ),
        ("wrong-coin-count", ChangeReq { list: list(&[]), ..good.clone() }),
        ("wrong-coin-count", ChangeReq { list: list(&[1; 257]), ..good.clone() }),
        ("wrong-coin-count", ChangeReq { coins: CoinSet { total: flo(0), coins: vec![] }, ..good.clone() }),
        (
            "wrong-coin-count",
            ChangeReq { coins: set(&vec![coins[0].clone(); 33]), list: list(&[100; 33]), ..good.clone() },
        ),
        (
            "wrong-currency",
            ChangeReq { coins: CoinSet { total: euro, coins: coins.clone() }, ..good.clone() },
        ),
    ];
    let before = w.books.records.len();
    for (expected, request) in cases {
        let body = w.sealed("change", &cbor::encode(&request));
        assert_eq!(slug(&w.post(holder::CHANGE_PATH, &body)), expected);
    }
    assert_eq!((w.books.records.len(), w.live_worth()), (before, 100));
    w.audit();
}

#[test]
fn redemption_is_for_redeemers_and_pays_what_it_takes() {
    let mut w = World::new(53);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[100, 50, 20]);
    assert_eq!(slug(&redeem(&mut w, &buyer, &coins[..1]).1), "not-enrolled");
    let nobody = w.person();
    assert_eq!(slug(&redeem(&mut w, &nobody, &coins[..1]).1), "not-enrolled");
    let (asked, answer) = redeem(&mut w, &shop, &coins[..2]);
    let answer = answer.unwrap();
    let news = holder::read_exchange(&asked.pending, &answer, &w.list).unwrap();
    assert!(news.payout.is_some() && news.causes.is_empty());
    assert_eq!(w.post(asked.path, &asked.body).unwrap(), answer);
    let order = w.orders().into_iter().find(|o| o.remittance == "FLORIN PAYOUT").unwrap();
    assert_eq!(order.amount, flo(150));
    w.bank(BankNews::Booked(order.id));
    assert_eq!((w.identity.balance(Account::InFlight), w.live_worth()), (0, 20));
    // Spent coins give no money; the pay-out that comes back is owed to the redeemer.
    let (asked, answer) = redeem(&mut w, &shop, &coins);
    let news = holder::read_exchange(&asked.pending, &answer.unwrap(), &w.list).unwrap();
    assert_eq!((news.causes.len(), news.payout), (2, None));
    w.bank(BankNews::Returned(order.id, "AC04".into()));
    assert_eq!(w.identity.balance(Account::Party(shop.id())), -150);
    w.audit();
}

#[test]
fn a_pay_out_to_somebody_stopped_meanwhile_stays_owed() {
    let mut w = World::new(54);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[100]);
    w.pumps = false;
    let (_, answer) = redeem(&mut w, &shop, &coins);
    assert!(answer.is_ok());
    w.block(shop.id());
    w.pumps = true;
    assert!(w.orders().iter().all(|o| o.remittance != "FLORIN PAYOUT"));
    assert_eq!(w.identity.balance(Account::Party(shop.id())), -100);
    w.audit();
}

/// A purchaser that uses one claim for two purchases: it gets the coins of one, and no money is hidden.
#[test]
fn a_claim_used_twice_leaves_the_money_where_a_person_sees_it() {
    let mut w = World::new(55);
    let buyer = w.enrolled(Roles::PURCHASER);
    let mut all: Vec<(by_hand::Begun, WDesc)> = Vec::new();
    for minor in [100, 50] {
        let w_desc = w.w_desc(&[minor]);
        let mut begun = begin(&mut w, &buyer, w_desc.clone());
        begun.claim = [9; 16];
        w.post(purchaser::WREQUEST3_PATH, &begun.signed_by(&buyer.keys.signing)).unwrap();
        let order = w.orders().into_iter().find(|o| o.amount == flo(minor)).unwrap();
        w.bank(BankNews::Booked(order.id));
        all.push((begun, w_desc));
    }
    assert_eq!((w.books.balance(Account::PaidNotIssued), w.books.balance(Account::Suspense)), (-100, -50));
    let (asked, answer) = w.collect(&all[0].0.kept(&all[0].1));
    let read = purchaser::read_collected(&asked.pending, &answer.unwrap(), &w.list).unwrap();
    let Collected::Coins { coins, .. } = read else { panic!("refused") };
    assert_eq!(worth(&coins), 100);
    w.audit();
}

fn box_message(w: &World, message: &str, id: [u8; 16], content: &[u8]) -> Vec<u8> {
    let context = Context::new("coin", message, PartyId::NONE, w.list.operator);
    cbor::encode(&BoxMessage { context, id: ByteArray(id), content: Bytes(content.to_vec()) })
}

#[test]
fn the_post_box_takes_one_message_each_way() {
    let mut w = World::new(56);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100]);
    let deal = w.deal(&shop, &coins);
    let to_payee = box_id(shop.id(), deal.com.tid, Side::ToPayee);
    let to_payer = box_id(shop.id(), deal.com.tid, Side::ToPayer);
    assert_ne!(to_payee, to_payer);
    let put = box_message(&w, "box-put", to_payee, &deal.paying.send_coins);
    assert_eq!(slug(&w.post("/v1/coin/box-put", &put)), "no-such-box");
    let open = BoxOpen {
        context: Context::new("coin", "box-open", shop.id(), w.list.operator),
        tid: deal.com.tid,
        until: deal.com.deadline,
    };
    let body = w.sealed("box-open", &sign(&shop.keys.signing, &open));
    w.post("/v1/coin/box-open", &body).unwrap();
    let take = box_message(&w, "box-take", to_payee, b"");
    assert_eq!(slug(&w.post("/v1/coin/box-take", &take)), "not-yet");
    let taken = w.post("/v1/coin/box-put", &put).unwrap();
    assert_eq!(w.post("/v1/coin/box-put", &put).unwrap(), taken, "a repeated put is the same put");
    let other = box_message(&w, "box-put", to_payee, b"something else");
    assert_eq!(slug(&w.post("/v1/coin/box-put", &other)), "box-full");
    let answer = w.post("/v1/coin/box-take", &take).unwrap();
    let (_, _, content): (Context, ByteArray<16>, Bytes) = cbor::decode_strict(&answer).unwrap();
    assert_eq!(content.0, deal.paying.send_coins);
    assert_eq!(w.post("/v1/coin/box-take", &take).unwrap(), answer, "and it stays there");
    // Limits: empty, too large, too late, too far ahead, not by the payee.
    let large = box_message(&w, "box-put", to_payer, &vec![0; 16 * 1024 + 1]);
    assert_eq!(slug(&w.post("/v1/coin/box-put", &large)), "bad-request");
    let empty = box_message(&w, "box-put", to_payer, b"");
    assert_eq!(slug(&w.post("/v1/coin/box-put", &empty)), "bad-request");
    let far =
        BoxOpen { until: w.now.plus_ms(2 * DAY), tid: florin_coin::TidPy::new([3; 16]), ..open.clone() };
    let body = w.sealed("box-open", &sign(&shop.keys.signing, &far));
    assert_eq!(slug(&w.post("/v1/coin/box-open", &body)), "request-expired");
    let body = w.sealed("box-open", &sign(&buyer.keys.signing, &open));
    assert_ne!(slug(&w.post("/v1/coin/box-open", &body)), "fine");
    w.now = deal.com.deadline.plus_ms(1);
    let late = box_message(&w, "box-put", to_payer, b"late");
    assert_eq!(slug(&w.post("/v1/coin/box-put", &late)), "no-such-box");
    let body = w.sealed("box-open", &sign(&shop.keys.signing, &open));
    assert_ne!(slug(&w.post("/v1/coin/box-open", &body)), "fine");
    assert_eq!(
        w.post("/v1/coin/box-take", &take).unwrap(),
        answer,
        "what arrived in time can be fetched later"
    );
    w.audit();
}

/// Every effect of the rail arrives once, though it is carried out at least once. Source: books.md, "Exactly once".
#[test]
fn effects_are_delivered_once() {
    let mut w = World::new(57);
    let me = w.enrolled(Roles::BOTH);
    let coins = w.buy(&me, &[100, 50]);
    let (_, answer) = redeem(&mut w, &me, &coins[..1]);
    assert!(answer.is_ok());
    let emitted = |s: &Shelf| {
        s.records.iter().flat_map(|r| &r.core.effects).filter(|e| matches!(e, Effect::Emit(_))).count()
    };
    assert!(emitted(&w.identity) > 0 && emitted(&w.books) == 1);
    assert_eq!(w.identity.balance(Account::InFlight), -100);
    let deal = w.deal(&me, &coins[1..]);
    let v = w.validate(&me, &deal, &[50]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    w.audit();
}
