//! Refresh: old coins for new ones of the same values, up to the end of the grace period.
//! Source: VarietyCash §3 (Refresh), §2.6; docs/rails/coin.md.
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
use florin_coin::issuer::{Issuer, Lanes};
use florin_coin::{Coin, CoinCause, CoinSet, Prepared, holder};
use florin_crypto::cbor;
use florin_money::{Currency, Denominations};
use florin_parties::{Roles, Terms};
use florin_rail::{Context, Refusal};
use support::*;

type Exchanged = (Prepared, Result<Vec<u8>, Refusal>);

fn refresh(w: &mut World, coins: &[Coin]) -> Exchanged {
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let asked = holder::refresh(&key, set(coins), txid, exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body);
    (asked, answer)
}

fn news(w: &World, (asked, answer): &Exchanged) -> holder::ExchangeNews {
    holder::read_exchange(&asked.pending, answer.as_ref().unwrap(), &w.list).unwrap()
}

fn causes(w: &World, exchanged: &Exchanged) -> Vec<(u32, CoinCause)> {
    news(w, exchanged).causes.iter().map(|b| (b.index, b.cause)).collect()
}

#[test]
fn refresh_gives_new_coins_of_the_same_values_while_they_pay_and_in_their_grace_period() {
    let mut w = World::new(81);
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, &[100, 50, 50, 20]);
    let early = refresh(&mut w, &coins[..1]);
    assert_eq!(worth(&news(&w, &early).coins), 100);
    assert_eq!(w.post(early.0.path, &early.0.body).unwrap(), *early.1.as_ref().unwrap(), "a lost answer");
    w.now = coins[1].expires.plus_ms(1);
    let late = refresh(&mut w, &coins[1..]);
    let fresh = news(&w, &late).coins;
    assert_eq!(fresh.iter().map(|c| c.value).collect::<Vec<_>>(), [50, 50, 20]);
    assert!(fresh.iter().all(|c| c.expires > w.now), "they pay again");
    assert_eq!(w.live_worth(), 220);
    // Old ones are spent, for everybody.
    assert_eq!(
        {
            let x = refresh(&mut w, &coins[2..3]);
            causes(&w, &x)
        },
        [(0, CoinCause::Spent)]
    );
    w.audit();
}

#[test]
fn refresh_at_the_very_edge_of_the_grace_period_and_past_it() {
    let mut w = World::new(82);
    let buyer = w.enrolled(Roles::BOTH);
    let coins = w.buy(&buyer, &[100, 50, 20]);
    let end = w.list.terms.grace_end(coins[0].expires).unwrap();
    w.now = end;
    assert_eq!(
        {
            let x = refresh(&mut w, &coins[..1]);
            causes(&w, &x)
        },
        [],
        "the last moment is still within"
    );
    let edge = refresh(&mut w, &coins[1..2]);
    w.now = end.plus_ms(1);
    assert_eq!(
        {
            let x = refresh(&mut w, &coins[2..]);
            causes(&w, &x)
        },
        [(0, CoinCause::Expired)]
    );
    assert_eq!(
        w.post(edge.0.path, &edge.0.body).unwrap(),
        edge.1.unwrap(),
        "what happened in time is told later"
    );
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let asked = holder::redeem(&key, &buyer.keys, set(&coins[2..]), txid, exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body);
    assert_eq!(causes(&w, &(asked, answer)), [(0, CoinCause::Expired)], "nor redeemed");
    w.audit();
}

#[test]
fn a_grace_period_without_end_never_ends() {
    let mut w = World::new(83);
    w.list.terms.grace_days = None;
    let lanes = Lanes { identity: IDENTITY, books: BOOKS };
    let terms = Terms { grace_days: None, ..Terms::default() };
    w.issuer = Issuer::new(w.keys.clone(), secrets(83), lanes, vec![register()], &terms).into();
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, &[100]);
    assert_eq!(w.list.terms.grace_end(coins[0].expires), None);
    w.now = Timestamp(w.now.0 + 3900 * DAY);
    assert_eq!(
        {
            let x = refresh(&mut w, &coins);
            causes(&w, &x)
        },
        []
    );
    w.audit();
}

#[test]
fn change_takes_only_coins_that_pay() {
    let mut w = World::new(84);
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, &[100, 50]);
    let change = |w: &mut World, coins: &[Coin], values: &[u64]| {
        let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
        let asked = holder::change(&key, set(coins), list(values), txid, exp, &mut w.entropy).unwrap();
        let answer = w.post(asked.path, &asked.body);
        (asked, answer)
    };
    w.now = coins[0].expires;
    assert_eq!(
        {
            let x = change(&mut w, &coins[..1], &[50, 50]);
            causes(&w, &x)
        },
        [],
        "until it expires"
    );
    w.now = coins[1].expires.plus_ms(1);
    assert_eq!(
        {
            let x = change(&mut w, &coins[1..], &[20, 20, 10]);
            causes(&w, &x)
        },
        [(0, CoinCause::Expired)]
    );
    assert_eq!(
        worth(
            &{
                let x = refresh(&mut w, &coins[1..]);
                news(&w, &x)
            }
            .coins
        ),
        50,
        "which refresh still takes"
    );
    w.audit();
}

#[test]
fn refresh_conserves_value_by_its_own_checks() {
    let mut w = World::new(85);
    let buyer = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&buyer, &[100, 50]);
    let euro = "1.00 EUR".parse().unwrap();
    let good = florin_coin::messages::RefreshReq {
        context: Context::new("coin", "refresh", PartyId::NONE, w.list.operator),
        coins: set(&coins[..1]),
        holder: florin_coin::HolderChoice::Nobody,
        txid: TxId::new([1; 16]),
        exp: w.exp(),
    };
    let cases = [
        ("wrong-denominations", CoinSet { total: flo(200), coins: coins.clone() }),
        ("wrong-coin-count", CoinSet { total: flo(0), coins: vec![] }),
        ("wrong-coin-count", set(&vec![coins[0].clone(); 33])),
        ("wrong-currency", CoinSet { total: euro, coins: coins.clone() }),
    ];
    let before = w.books.records.len();
    for (expected, coins) in cases {
        let request = florin_coin::messages::RefreshReq { coins, ..good.clone() };
        let body = w.sealed("refresh", &cbor::encode(&request));
        assert_eq!(slug(&w.post(holder::REFRESH_PATH, &body)), expected);
    }
    assert_eq!(w.books.records.len(), before);
    // All or nothing; forged and foreign coins; the same number for other coins.
    let mut forged = coins.clone();
    forged[1].tag.0[0] ^= 1;
    assert_eq!(
        {
            let x = refresh(&mut w, &forged);
            causes(&w, &x)
        },
        [(1, CoinCause::Forged)]
    );
    let mut foreign = coins.clone();
    foreign[0].id.0[0] ^= 1;
    assert_eq!(
        {
            let x = refresh(&mut w, &foreign);
            causes(&w, &x)
        },
        [(0, CoinCause::Foreign)]
    );
    assert_eq!(w.live_worth(), 150);
    let body = w.sealed("refresh", &cbor::encode(&good));
    w.post(holder::REFRESH_PATH, &body).unwrap();
    let other = florin_coin::messages::RefreshReq { coins: set(&coins[1..]), ..good };
    let body = w.sealed("refresh", &cbor::encode(&other));
    assert_eq!(slug(&w.post(holder::REFRESH_PATH, &body)), "request-id-reused");
    w.audit();
}

#[test]
fn values_that_are_no_denominations_any_more_become_others_of_the_same_sum() {
    let of = |values: &[u64]| Denominations::new(Currency::FLO, values.to_vec()).unwrap();
    let renewed =
        |given: &[u64], d: &Denominations| holder::renewed(&list(given), d).map(|l| l.total_minor());
    let all = of(&[1, 2, 5, 10, 20, 50]);
    assert_eq!(holder::renewed(&list(&[50, 20, 20]), &all), Some(list(&[50, 20, 20])));
    assert_eq!(holder::renewed(&list(&[25, 25, 10]), &all), Some(list(&[50, 10])));
    assert_eq!(renewed(&[3], &of(&[2])), None);
    assert_eq!(holder::renewed(&list(&[3, 3]), &of(&[2])), Some(list(&[2, 2, 2])));
}
