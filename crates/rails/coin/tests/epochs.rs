//! Epochs in use: rotation while payments go on, revocation and recoup, the end of grace; and coins as text.
//! Source: VarietyCash §2.4, §3 (Refresh), P4 (only the payer learns why); docs/rails/coin.md, "Epochs".
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

use florin_books::TxId;
use florin_coin::holder::{self, ExchangeNews};
use florin_coin::messages::Outcome;
use florin_coin::purchaser::{self, Collected};
use florin_coin::{Calendar, Coin, CoinCause, CoinSet, Epochs, payer, refund};
use florin_crypto::{Secret, SigningKey};
use florin_parties::bank::BankNews;
use florin_parties::{Roles, Terms};
use support::{Person, World, list, set, slug, worth};

fn begun(w: &World) -> Epochs {
    let epochs = Epochs::begin(Calendar::of(&Terms::default()), w.now, &[]);
    w.issuer.set_epochs(Arc::new(epochs.clone()));
    epochs
}

fn take_up(w: &World, epochs: &Epochs) {
    w.issuer.set_epochs(Arc::new(epochs.clone()));
}

fn change(w: &mut World, coins: &[Coin], values: &[u64]) -> ExchangeNews {
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let asked = holder::change(&key, set(coins), list(values), txid, exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body).unwrap();
    holder::read_exchange(&asked.pending, &answer, &w.list).unwrap()
}

fn refresh(w: &mut World, coins: &[Coin]) -> ExchangeNews {
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let asked = holder::refresh(&key, set(coins), txid, exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body).unwrap();
    holder::read_exchange(&asked.pending, &answer, &w.list).unwrap()
}

fn causes(news: &ExchangeNews) -> Vec<CoinCause> {
    news.causes.iter().map(|bad| bad.cause).collect()
}

/// Pays these coins to a shop; what the shop sees, and what only the payer does.
fn pay(w: &mut World, shop: &Person, coins: &[Coin]) -> (Outcome, Vec<Coin>, Vec<CoinCause>) {
    let deal = w.deal(shop, coins);
    let values: Vec<u64> = coins.iter().map(|c| c.value).collect();
    let v = w.validate(shop, &deal, &values);
    let issuance = w.read(&v);
    let news = payer::read_payer_verdict(&deal.paying.pending, &issuance.for_payer, &w.list).unwrap();
    (issuance.verdict.outcome, issuance.coins, news.causes.iter().map(|b| b.cause).collect())
}

#[test]
fn payments_go_on_through_a_rotation_and_coins_of_both_epochs_pay() {
    let mut w = World::new(81);
    let before = begun(&w);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100, 100, 50, 50]);
    let old = coins[0].epoch;
    assert_eq!(before.issuing(w.now), Some(old));
    // One payment is decided and not committed when the operator rotates.
    w.interruption = Some(Box::new(|w: &mut World| {
        let rotated = w.issuer.epochs().rotate(w.now).unwrap();
        take_up(w, &rotated);
    }));
    let (during, fresh, _) = pay(&mut w, &shop, &coins[..1]);
    assert_eq!(during, Outcome::Paid);
    assert_eq!(fresh[0].epoch, old, "it was decided before");
    let (after, fresh, _) = pay(&mut w, &shop, &coins[1..2]);
    assert_eq!((after, fresh[0].epoch.0), (Outcome::Paid, old.0 + 1));
    assert_ne!((fresh[0].expires, fresh[0].tag.0), (coins[1].expires, coins[1].tag.0));
    let mixed = [coins[2].clone(), fresh[0].clone()];
    assert_eq!(pay(&mut w, &shop, &mixed).0, Outcome::Paid, "old and new in one envelope");
    assert_eq!(w.live_worth(), 300);
    w.audit();
}

#[test]
fn the_same_numbers_give_the_same_coins_after_a_rotation_and_a_revocation() {
    let mut w = World::new(82);
    let before = begun(&w);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100]);
    let deal = w.deal(&shop, &coins);
    let v = w.validate(&shop, &deal, &[100]);
    let first = w.read(&v).coins;
    let revoked = before.rotate(w.now).unwrap().revoke(coins[0].epoch, w.now).unwrap();
    take_up(&w, &revoked);
    let again = w.post(v.asked.path, &v.asked.body).unwrap();
    assert_eq!(again, v.answer.unwrap(), "a lost answer comes again, byte for byte");
    assert!(first[0].epoch == coins[0].epoch);
}

#[test]
fn coins_of_a_revoked_epoch_do_not_pay_and_are_exchanged_for_new_ones() {
    let mut w = World::new(83);
    let before = begun(&w);
    let buyer = w.enrolled(Roles::BOTH);
    let shop = w.person();
    let coins = w.buy(&buyer, &[100, 50, 20, 10]);
    let total = w.live_worth();
    let revoked = before.revoke(coins[0].epoch, w.now).unwrap();
    take_up(&w, &revoked);
    let (outcome, got, why) = pay(&mut w, &shop, &coins[..2]);
    assert_eq!((outcome, got.len()), (Outcome::Denied, 0), "the payee learns that it is denied");
    assert_eq!(why, [CoinCause::Revoked, CoinCause::Revoked], "the payer alone learns why");
    let other = change(&mut w, &coins[..1], &[50, 50]);
    assert_eq!(causes(&other), [CoinCause::Revoked], "change by choice is no recoup");
    assert_eq!(w.live_worth(), total, "nothing was taken");
    let same = change(&mut w, &coins[..1], &[100]);
    assert_eq!(causes(&same), [CoinCause::Revoked], "nor is change into the same values");
    let fresh = refresh(&mut w, &coins[..3]);
    assert_eq!((causes(&fresh).len(), worth(&fresh.coins)), (0, 170));
    assert!(fresh.coins.iter().all(|c| c.epoch.0 == coins[0].epoch.0 + 1));
    let twice = refresh(&mut w, &coins[..1]);
    assert_eq!(causes(&twice), [CoinCause::Spent], "recouped once");
    assert_eq!(pay(&mut w, &shop, &fresh.coins).0, Outcome::Paid);
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let asked = holder::redeem(&key, &buyer.keys, set(&coins[3..]), txid, exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body).unwrap();
    let redeemed = holder::read_exchange(&asked.pending, &answer, &w.list).unwrap();
    assert!(redeemed.causes.is_empty() && redeemed.payout.is_some(), "money is recoup too");
    assert_eq!(w.live_worth(), total - 10);
    w.audit();
}

#[test]
fn after_the_end_of_grace_no_step_takes_a_coin() {
    let mut w = World::new(84);
    let before = begun(&w);
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, &[100, 50]);
    let entry = before.entry(coins[0].epoch).unwrap();
    let revoked = before.revoke(entry.number, w.now).unwrap();
    take_up(&w, &revoked);
    let end = entry.grace_end.unwrap();
    w.now = end;
    let next = revoked.schedule(w.now).unwrap().unwrap();
    take_up(&w, &next);
    assert_eq!(causes(&refresh(&mut w, &coins[..1])), [], "the last millisecond");
    w.now = end.plus_ms(1);
    assert_eq!(causes(&refresh(&mut w, &coins[1..])), [CoinCause::Expired]);
    assert_eq!(
        w.issuer.examine(&set(&coins[1..])).unwrap().map(|n| n.len()).ok(),
        Some(1),
        "by hand it is still a coin"
    );
    let mut forged = coins[1].clone();
    forged.tag.0[0] ^= 1;
    let bad = w.issuer.examine(&set(&[forged])).unwrap().unwrap_err();
    assert_eq!(bad[0].cause, CoinCause::Forged);
    assert_eq!(w.live_worth(), 150);
    w.audit();
}

#[test]
fn an_epoch_that_is_not_in_the_table_is_nobodys() {
    let mut w = World::new(85);
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, &[100]);
    w.now = w.now.plus_ms(60 * support::DAY);
    // A table that does not know the epoch of these coins: as if they were made with a stolen tag key.
    begun(&w);
    assert_eq!(causes(&change(&mut w, &coins, &[100])), [CoinCause::Forged]);
}

#[test]
fn coins_are_read_back_from_their_text() {
    let mut w = World::new(86);
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = set(&w.buy(&buyer, &[100, 50]));
    let text = coins.to_text();
    assert!(CoinSet::from_text(&format!(" {text}\n")).is_some_and(|read| read == coins));
    let mut more = coins.clone();
    more.total = support::flo(151);
    for bad in ["", "florincoins1", "florincoins1!!", &text[1..], &text[..text.len() - 4], &more.to_text()] {
        assert!(CoinSet::from_text(bad).is_none(), "{bad}");
    }
}

/// Where the operator winds down: nothing new pays, what is out can be redeemed, and a purchase is collected for that.
#[test]
fn when_no_epoch_follows_refresh_ends_first_and_what_is_owed_can_be_had_until_the_end_of_grace() {
    let mut w = World::new(89);
    let last = begun(&w).entries()[0];
    let me = w.enrolled(Roles::BOTH);
    let coins = w.buy(&me, &[100, 50]);
    let key = SigningKey::from_seed(&Secret::new([5; 32]));
    w.buy_refundable(&me, &[20], &key);
    let [first, second] = [(); 2].map(|()| {
        let (purchase, order) = w.order_coins(&me, &[10]);
        w.bank(BankNews::Booked(order));
        purchase
    });
    let ask_refresh = |w: &mut World, coins: &[Coin]| {
        let (issuer, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
        let asked = holder::refresh(&issuer, set(coins), txid, exp, &mut w.entropy).unwrap();
        slug(&w.post(asked.path, &asked.body)).to_owned()
    };
    let redeem = |w: &mut World, coins: &[Coin]| {
        let (issuer, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
        let asked = holder::redeem(&issuer, &me.keys, set(coins), txid, exp, &mut w.entropy).unwrap();
        let answer = w.post(asked.path, &asked.body).unwrap();
        causes(&holder::read_exchange(&asked.pending, &answer, &w.list).unwrap())
    };
    w.now = last.expires;
    assert_eq!(ask_refresh(&mut w, &coins[1..]), "fine", "to the last moment of it");
    w.now = last.expires.plus_ms(1);
    let before = w.books.records.len();
    assert_eq!(ask_refresh(&mut w, &coins[..1]), "issuing-ended");
    assert_eq!(w.books.records.len(), before, "nothing is recorded");
    assert_eq!(redeem(&mut w, &coins[..1]), []);
    // What was paid for, and what was lost with a wallet, comes as coins that can be redeemed.
    let (asked, answer) = w.collect(&first);
    let read = purchaser::read_collected(&asked.pending, &answer.unwrap(), &w.list).unwrap();
    let Collected::Coins { coins: collected, .. } = read else { panic!("refused") };
    assert_eq!(redeem(&mut w, &collected), []);
    let (issuer, tx) = (w.key(), (TxId::new(w.draw()), w.exp()));
    let asked = refund::refund(&issuer, &refund::Holder::Key(&key), tx, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body).unwrap();
    let refunded = refund::read_refund(&asked.pending, &answer, &w.list).unwrap();
    w.now = last.grace_end.unwrap();
    assert_eq!(redeem(&mut w, &refunded.sets[0].coins), []);
    w.now = last.grace_end.unwrap().plus_ms(1);
    assert_eq!(
        slug(&w.collect(&second).1),
        "issuing-ended",
        "the money stands in the books, to be paid by hand"
    );
    w.audit();
}
