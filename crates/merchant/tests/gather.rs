//! A gate that gathers: settled by rule, redeemed by hand and by itself, through lost answers and crashes.
//! Source: VarietyCash §3 (Payment with aggregation), §3.2 (V-DESC); docs/merchant.md, "What becomes of the coins".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
#[path = "common/world.rs"]
mod world;

use std::time::Duration;

use florin_books::Account;
use florin_coin::issuer::PayOut;
use florin_coin::kinds::PAY_OUT;
use florin_merchant::gather::{PayoutFrom, pay_out_when};
use florin_merchant::program::{self, GateConfig, GateError};
use florin_merchant::purse::Happened;
use florin_merchant::settle::Settle;
use florin_merchant::settling::{PayoutSettings, aggregate_at};
use florin_merchant::{DeskError, Payable, Rules, RulesError, Settlement};
use florin_money::{Amount, Currency, Denominations};
use florin_shell::ExitCode;
use world::{IBAN, Line, World};

const NOW: Duration = Duration::ZERO;

fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

fn payable() -> Payable {
    Payable::new(vec![Denominations::one_two_five(Currency::FLO, 24)], 24)
}

const MIXED: &str = "[[rule]]\npath = \"/paid/**\"\nprice = \"0.05 FLO\"\n\
    [[rule]]\npath = \"/dear\"\nprice = \"0.37 FLO\"\nsettle = \"redeem\"\n\
    [[rule]]\npath = \"/kept\"\nprice = \"0.10 FLO\"\nsettle = \"refresh\"\n\
    [[rule]]\npath = \"/free\"\nfree = true\n";

/// An enrolled gate that gathers unless a rule says otherwise.
async fn gathering() -> World {
    let mut world = World::new().await;
    world.rules = Rules::parse(MIXED, None, &payable()).unwrap().with_settle(Settle::Aggregate);
    world.desk.enrol(IBAN, NOW).await.unwrap();
    world.desk.confirm(&world.operator.last_code(), NOW).await.unwrap();
    world
}

async fn pay(world: &World, path: &str, values: &[u64], r: u8) -> Settlement {
    let coins = world.operator.coins(values).await;
    let (payment, _) = world.payment(path, coins, r);
    world.settle(path, &payment).await
}

fn paid(settlement: &Settlement) -> bool {
    matches!(settlement, Settlement::Paid(_))
}

fn gathered(world: &World) -> u64 {
    world.desk.balance().unwrap()[0].gathered.minor()
}

/// What the operator owes to the gate in the books lane.
fn at_operator(world: &World) -> i64 {
    let (account, code) = (Account::Party(world.desk.party.id()), Currency::FLO.code());
    -world.operator.books.books.view(move |lane| lane.balance(account, code)).unwrap()
}

/// What the operator was told to pay out.
fn payouts(world: &World) -> Vec<u64> {
    let out = world.operator.books.books.view(|lane| lane.outbox().cloned().collect::<Vec<_>>()).unwrap();
    let mut amounts: Vec<u64> =
        out.iter().filter(|o| o.kind == PAY_OUT).map(|o| PayOut::read(o).unwrap().amount.minor()).collect();
    amounts.sort_unstable();
    amounts
}

#[tokio::test]
async fn each_rule_settles_as_it_says_and_what_is_gathered_goes_in_one_bank_order() {
    let world = gathering().await;
    for r in 1..=4 {
        assert!(paid(&pay(&world, "/paid/a", &[5], r).await));
    }
    assert!(paid(&pay(&world, "/dear", &[20, 10, 5, 2], 9).await));
    assert!(paid(&pay(&world, "/kept", &[10], 10).await));
    world.finish().await;
    // Gathered, redeemed at once, and kept as coins.
    assert_eq!(
        (gathered(&world), at_operator(&world), world.purse(), payouts(&world)),
        (20, 20, 10, vec![37])
    );
    assert_eq!(world.operator.in_circulation(), 10);
    assert!(matches!(
        world.desk.payout_from(Some(flo(21)), Some(PayoutFrom::Gathered), NOW).await,
        Err(DeskError::NotEnough { .. })
    ));
    let part = world.desk.payout_from(Some(flo(5)), Some(PayoutFrom::Gathered), NOW).await.unwrap();
    assert_eq!((part.gathered, part.coins), (Some(flo(5)), None));
    // An amount that the purse does not have comes from what is gathered; everything is both.
    assert_eq!(world.desk.payout_from(Some(flo(12)), None, NOW).await.unwrap().gathered, Some(flo(12)));
    let rest = world.desk.payout_from(None, None, NOW).await.unwrap();
    assert_eq!((rest.coins, rest.gathered, rest.total().unwrap()), (Some(flo(10)), Some(flo(3)), flo(13)));
    assert!(matches!(world.desk.payout_from(None, None, NOW).await, Err(DeskError::Nothing)));
    assert_eq!((gathered(&world), at_operator(&world), payouts(&world)), (0, 0, vec![3, 5, 10, 12, 37]));
    let out = world.desk.history().unwrap().into_iter().filter(|e| e.what == Happened::PaidOut).count();
    assert_eq!(out, 5);
    world.finish().await;
}

#[tokio::test]
async fn gathered_value_is_redeemed_once_through_lost_answers_and_a_crash() {
    let world = gathering().await;
    for r in 1..=3 {
        assert!(paid(&pay(&world, "/paid/a", &[5], r).await));
    }
    world.finish().await;
    world.operator.next(&[Line::LosesAnswer]);
    assert!(matches!(world.desk.payout_gathered(None, NOW).await, Err(DeskError::Open(_))));
    assert_eq!((gathered(&world), at_operator(&world)), (15, 0), "not known here yet");
    let world = world.crash();
    // Whoever asks next, with whatever amount, first hears of this one.
    assert_eq!(world.desk.payout_gathered(Some(flo(1)), NOW).await.unwrap(), flo(15));
    assert_eq!((gathered(&world), payouts(&world)), (0, vec![15]));
    assert!(matches!(world.desk.payout_gathered(None, NOW).await, Err(DeskError::Nothing)));
    world.finish().await;
}

#[tokio::test]
async fn it_pays_out_by_itself_at_the_amount_that_is_set_and_one_at_a_time() {
    let world = gathering().await;
    let at = flo(10);
    assert!(paid(&pay(&world, "/paid/a", &[5], 1).await));
    assert_eq!(pay_out_when(&world.desk, at, NOW).await.unwrap(), None);
    assert!(paid(&pay(&world, "/paid/a", &[5], 2).await));
    world.operator.next(&[Line::Works, Line::LosesRequest]);
    world.desk.resume(world.desk.house.clock.now(), NOW).await.unwrap();
    let first = pay_out_when(&world.desk, at, NOW).await;
    // The gate dies with the request on its way; what comes in meanwhile is for the next order.
    let world = world.crash();
    let mut world = world;
    world.rules = Rules::parse(MIXED, None, &payable()).unwrap().with_settle(Settle::Aggregate);
    assert!(paid(&pay(&world, "/paid/a", &[5], 3).await));
    let (one, two) = tokio::join!(pay_out_when(&world.desk, at, NOW), pay_out_when(&world.desk, at, NOW));
    for redeemed in [one, two].into_iter().flatten().flatten() {
        assert_eq!(redeemed, flo(10));
    }
    assert!(first.is_err() || first.unwrap() == Some(flo(10)));
    world.finish().await;
    assert_eq!((gathered(&world), at_operator(&world), payouts(&world)), (5, 5, vec![10]));
}

#[tokio::test]
async fn books_that_were_set_back_follow_the_operators_word() {
    let world = gathering().await;
    assert!(paid(&pay(&world, "/paid/a", &[5], 1).await));
    world.finish().await;
    // The gate's books forget 2 of the 5, then know of 4 more.
    let due = Account::Due(world.operator.list.operator);
    for (from, to, minor) in [(Account::World, due, 2), (due, Account::World, 4)] {
        let cause = florin_crypto::digest("test/set-back", &[&[minor]]);
        let mut t = florin_books::Transition::new(cause, world.desk.house.books.durable());
        t.post(from, to, flo(minor.into()));
        world.desk.house.commit(t).await.unwrap();
        assert!(world.desk.compare_gathered(Duration::from_secs(5)).await.unwrap());
        assert_eq!(gathered(&world), 5);
    }
    // While something is under way the books stay as they are.
    world.operator.next(&[Line::LosesAnswer]);
    assert!(matches!(pay(&world, "/paid/a", &[5], 2).await, Settlement::Open { .. }));
    assert!(world.desk.compare_gathered(Duration::from_secs(5)).await.unwrap());
    assert_eq!((gathered(&world), at_operator(&world)), (5, 10));
    world.finish().await;
    assert_eq!(gathered(&world), 10);
    // An operator that does not answer changes nothing.
    world.operator.next(&[Line::LosesRequest]);
    assert!(!world.desk.compare_gathered(Duration::from_secs(5)).await.unwrap());
    assert_eq!(gathered(&world), 10);
}

#[tokio::test]
async fn a_renewed_request_gathers_once() {
    let world = gathering().await;
    world.operator.next(&[Line::LosesAnswer]);
    let coins = world.operator.coins(&[5]).await;
    let (payment, _) = world.payment("/paid/a", coins, 1);
    assert!(matches!(world.settle("/paid/a", &payment).await, Settlement::Open { .. }));
    world.operator.next(&[Line::KeyIsGone]);
    assert!(paid(&world.settle("/paid/a", &payment).await));
    assert_eq!((gathered(&world), at_operator(&world)), (5, 5));
    world.finish().await;
}

#[tokio::test]
async fn a_gate_that_is_not_enrolled_does_not_start_with_a_rule_that_needs_it() {
    let world = World::new().await;
    let open = |settle, price: &str| {
        let config = GateConfig { settle, price: Some(price.to_owned()), ..GateConfig::default() };
        program::gate_of(&world.desk, &world.member, &config).map(|_| ())
    };
    assert!(open(Settle::Refresh, "0.05 FLO").is_ok());
    for settle in [Settle::Redeem, Settle::Aggregate] {
        let refused = open(settle, "0.05 FLO").unwrap_err();
        assert_eq!(refused.exit_code(), ExitCode::Configuration);
        assert!(refused.to_string().contains("gate enrol"), "{refused}");
        assert!(refused.to_string().contains(settle.word()), "{refused}");
    }
    assert!(matches!(open(Settle::Redeem, "0.05 FLO"), Err(GateError::EnrolmentNeeded { .. })));
    // Where nothing costs anything there is nothing to settle.
    let free = GateConfig { settle: Settle::Aggregate, ..GateConfig::default() };
    assert!(program::gate_of(&world.desk, &world.member, &free).is_ok());
    world.desk.enrol(IBAN, NOW).await.unwrap();
    world.desk.confirm(&world.operator.last_code(), NOW).await.unwrap();
    assert!(open(Settle::Aggregate, "0.05 FLO").is_ok());
}

#[tokio::test]
async fn what_the_settings_say_wrongly_is_refused() {
    let world = World::new().await;
    let at = |text: &str| {
        let payout = PayoutSettings { aggregate_at: Some(text.to_owned()) };
        aggregate_at(&GateConfig { payout, ..GateConfig::default() }, &world.operator.list)
    };
    assert_eq!(at("50.00").unwrap(), Some(flo(5000)));
    assert_eq!(at("50 FLO").unwrap(), Some(flo(5000)));
    for bad in ["", "0", "-1", "50.00 EUR", "a lot", "0.001"] {
        assert!(matches!(at(bad), Err(GateError::AggregateAt(_))), "{bad}");
    }
    assert_eq!(aggregate_at(&GateConfig::default(), &world.operator.list).unwrap(), None);
    let rules = |text: &str| Rules::parse(text, None, &payable());
    let free = "[[rule]]\npath = \"/a\"\nfree = true\nsettle = \"redeem\"";
    assert!(matches!(rules(free), Err(RulesError::FreeSettle { rule: 1 })));
    let other = "[[rule]]\npath = \"/a\"\nprice = \"0.05 FLO\"\nsettle = \"later\"";
    assert!(matches!(rules(other), Err(RulesError::Toml(_))));
    let table = rules(MIXED).unwrap().with_settle(Settle::Aggregate).table();
    for word in ["aggregate", "redeem", "refresh"] {
        assert!(table.contains(word), "{table}");
    }
    let config: GateConfig =
        toml::from_str("settle = \"aggregate\"\n[payout]\naggregate_at = \"50.00\"").unwrap();
    assert_eq!((config.settle, config.payout.aggregate_at.as_deref()), (Settle::Aggregate, Some("50.00")));
}
