//! The states of a coin at an operator that serves: pending issuance, and spent by what people do with coins.
//! Source: VarietyCash §2.4 (coin states); ADR 0026.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod town;

use florin_coin::payee;
use florin_money::CoinList;
use florin_operator::coin_state::{CoinReport, PendingReport, coin_state, parse_coin, pending};
use florin_parties::Roles;
use town::{Held, Town, flo};

fn state(town: &Town, held: &Held) -> CoinReport {
    let o = &town.operator;
    let id: String = held.coin.id.0.iter().map(|byte| format!("{byte:02x}")).collect();
    coin_state(&o.lanes.books, &o.issuer, parse_coin(&o.issuer, &id).unwrap(), o.clock.now()).unwrap()
}

/// What waits, once it is so many claims.
async fn waits(town: &Town, claims: u64) -> PendingReport {
    for _ in 0..1000 {
        let report = pending(&town.operator.lanes.books).unwrap();
        if report.claims == claims {
            return report;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{:?}", pending(&town.operator.lanes.books).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_for_is_pending_until_it_is_collected() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::start(dir.path(), 1, 10).await;
    let me = town.person(Roles::PURCHASER).await;
    assert_eq!(waits(&town, 0).await.worth, "0.00 FLO");
    let unnamed = town.order(&me, &CoinList::of_values([100, 50]).unwrap(), true).await;
    let named = town.order(&me, &CoinList::of_values([20]).unwrap(), false).await;
    let report = waits(&town, 2).await;
    assert_eq!((report.worth.as_str(), report.named), ("1.70 FLO", 1));
    assert_eq!(report.to_string(), "2 claims are paid for and not collected, 1.70 FLO; 1 by name");
    let coins = town.collect(&named).await;
    let report = waits(&town, 1).await;
    assert_eq!((report.worth.as_str(), report.named), ("1.50 FLO", 0));
    let coin = state(&town, &coins[0]);
    assert_eq!((coin.state.as_str(), coin.holder.as_deref()), ("live", Some("named")));
    assert_eq!(coin.party, Some(me.keys.id().to_string()));
    town.collect(&unnamed).await;
    assert_eq!(waits(&town, 0).await.worth, "0.00 FLO");
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_is_spent_by_the_process_that_took_it() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::start(dir.path(), 1, 10).await;
    let (me, shop) = (town.person(Roles::BOTH).await, town.person(Roles::REDEEMER).await);
    let bought = town.order(&me, &CoinList::of_values([100, 50, 20, 10, 5]).unwrap(), true).await;
    let coins = town.collect(&bought).await;
    let of = |value: u64| coins.iter().find(|held| held.coin.value == value).unwrap().clone();
    let spent = |held: &Held| {
        let report = state(&town, held);
        (report.state.clone(), report.spent.clone().map(|s| s.by).unwrap_or_default(), report)
    };
    let (live, by, report) = spent(&of(100));
    assert_eq!((live.as_str(), by.as_str(), report.time.as_str()), ("live", "", "pays"));

    // The three kinds of payment: for coins, for money at once, gathered.
    town.pay(&shop, &[of(100)], false).await;
    town.pay(&shop, &[of(50)], true).await;
    town.pay_as(&shop, &[of(20)], payee::aggregate(flo(20))).await;
    for (value, worth) in [(100, 100), (50, 0), (20, 0)] {
        let (state, by, report) = spent(&of(value));
        assert_eq!((state.as_str(), by.as_str()), ("spent", "payment"), "{value}");
        assert!(report.to_string().contains("  spent    by payment in record "), "{report}");
        let into: Vec<u64> = report
            .split_into
            .iter()
            .map(|c| c.worth.split(' ').next().unwrap().replace('.', "").parse().unwrap())
            .collect();
        assert_eq!(into.iter().sum::<u64>(), worth, "into coins where the payee wants coins");
        for coin in &report.split_into {
            let number = parse_coin(&town.operator.issuer, &coin.id).unwrap();
            let (o, now) = (&town.operator, town.operator.clock.now());
            let new = coin_state(&o.lanes.books, &o.issuer, number, now).unwrap();
            assert_eq!((new.state.as_str(), new.issued.unwrap().by.as_str()), ("live", "payment"));
        }
    }

    town.redeem(&me, &[of(10)]).await;
    let (state, by, report) = spent(&of(10));
    assert_eq!((state.as_str(), by.as_str(), report.split_into.len()), ("spent", "redeem", 0));
    assert_eq!(spent(&of(5)).0, "live", "what nobody has used");
    town.end().await;
}
