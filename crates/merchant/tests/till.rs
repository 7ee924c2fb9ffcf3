//! The till against the operator's real steps: offers, payments, repetitions, crashes, pay-out.
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

use data_encoding::BASE64URL_NOPAD;
use florin_coin::web::{self, OfferError};
use florin_coin::{CoinCause, payer};
use florin_crypto::SeededEntropy;
use florin_merchant::offer::signed_part;
use florin_merchant::purse::Happened;
use florin_merchant::x402::SettleResponse;
use florin_merchant::{DeskError, Settlement, Till};
use florin_money::{Amount, Currency};
use serde_json::{Value, json};
use std::time::Duration;
use world::{IBAN, Line, World, denied};

fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

fn paid(settlement: Settlement) -> SettleResponse {
    match settlement {
        Settlement::Paid(served) => served.response,
        other => panic!("not paid: {other:?}"),
    }
}

fn part(response: &SettleResponse, name: &str) -> Vec<u8> {
    let text = response.extensions.as_ref().unwrap()["florin"][name].as_str().unwrap().to_owned();
    BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
}

#[tokio::test]
async fn an_offer_is_static_and_signed_by_the_gate() {
    let world = World::new().await;
    let rule = world.rule("/paid/a");
    let entry = world.till().accepts(rule).remove(0);
    assert_eq!(world.till().accepts(rule).remove(0), entry);
    assert_eq!(
        (&entry["scheme"], &entry["amount"], &entry["asset"]),
        (&json!("exact"), &json!("5"), &json!("FLO"))
    );
    assert_eq!(entry["network"], web::network(world.operator.list.operator));
    assert_eq!(entry["extra"]["rule"], "ANY /paid/**");
    assert!(entry["network"].as_str().unwrap().len() <= "florin:".len() + 32);
    assert!(world.till().accepts(world.rule("/free")).is_empty());
    let check = |entry: &Value, rule: &str| {
        let (unsigned, signature) = signed_part(entry).unwrap();
        let certificate =
            BASE64URL_NOPAD.decode(entry["extra"]["certificate"].as_str().unwrap().as_bytes()).unwrap();
        let pay_to = entry["payTo"].as_str().unwrap().parse().unwrap();
        web::check_offer(&signature, &certificate, pay_to, &unsigned, rule, &world.operator.list)
    };
    assert_eq!(check(&entry, "ANY /paid/**").unwrap().name, "corner-shop");
    assert_eq!(check(&entry, "ANY /dear"), Err(OfferError::Signature));
    for (name, value) in [
        ("amount", json!("6")),
        ("asset", json!("EUR")),
        ("maxTimeoutSeconds", json!(61)),
        ("more", json!(1)),
    ] {
        let mut changed = entry.clone();
        changed[name] = value;
        assert_eq!(check(&changed, "ANY /paid/**"), Err(OfferError::Signature), "{name}");
    }
    let mut changed = entry.clone();
    changed["payTo"] = json!(world.operator.list.operator.to_string());
    assert_eq!(check(&changed, "ANY /paid/**"), Err(OfferError::OtherPayee));
    changed["extra"]["certificate"] = json!("AAAA");
    assert_eq!(check(&changed, "ANY /paid/**"), Err(OfferError::Certificate));
}

#[tokio::test]
async fn a_payment_fills_the_purse_and_gives_a_receipt() {
    let world = World::new().await;
    let coins = world.operator.coins(&[1, 2, 2]).await;
    let (payment, pending) = world.payment("/paid/a", coins, 1);
    let response = paid(world.settle("/paid/a", &payment).await);
    assert!(response.success && response.transaction.starts_with("pay_") && response.error_reason.is_none());
    assert_eq!(response.amount.as_deref(), Some("5"));
    let key = world.member.party.identity.signing.verify_key();
    let receipt = payer::read_receipt(&pending, &part(&response, "receipt"), &key).unwrap();
    assert!(receipt.accepted);
    let news =
        payer::read_payer_verdict(&pending, &part(&response, "verdict"), &world.operator.list).unwrap();
    assert!(news.causes.is_empty());
    assert_eq!((world.purse(), world.operator.in_circulation()), (5, 5));
    assert_eq!(world.desk.balance().unwrap()[0].coins, 1, "one coin, not three");
    let history = world.desk.history().unwrap();
    assert_eq!((history[0].what, history[0].about.as_str()), (Happened::Paid, "GET http://shop.test/paid/a"));
    world.finish().await;
    assert!(world.operator.log.lock().unwrap().contains(&"/v1/coin/issuance2".to_owned()));
}

#[tokio::test]
async fn the_same_payment_again_is_the_same_payment() {
    let mut world = World::new().await;
    let coins = world.operator.coins(&[5]).await;
    let (payment, _) = world.payment("/paid/a", coins, 1);
    let (till, url) = (world.till(), world::url("/paid/a"));
    let paying = florin_merchant::Paying {
        rule: world.rule("/paid/a"),
        method: "GET",
        resource: &url,
        payment: &payment,
    };
    let (first, second) = tokio::join!(till.settle(paying), till.settle(paying));
    let first = paid(first);
    assert_eq!(paid(second), first);
    assert_eq!(paid(world.settle("/paid/a", &payment).await), first);
    assert_eq!(world.purse(), 5);
    // The same transaction with another envelope is another payment.
    let mut other = payment.clone();
    other.payload["deadline"] = json!(other.payload["deadline"].as_u64().unwrap() + 1);
    assert_eq!(world.settle("/paid/a", &other).await, Settlement::IdReused);
    let mut other = payment.clone();
    other.payload["more"] = json!(1);
    assert_eq!(world.settle("/paid/a", &other).await, Settlement::IdReused);
    world.clock.forward(world.settings.replay_window_ms + 1);
    assert_eq!(world.settle("/paid/a", &payment).await, Settlement::AlreadyUsed);
    world.settings.replay_window_ms *= 2;
    assert_eq!(paid(world.settle("/paid/a", &payment).await), first);
    let Settlement::Paid(served) = world.settle("/paid/a", &payment).await else { panic!() };
    world.till().served(served.order).await;
    assert_eq!(world.settle("/paid/a", &payment).await, Settlement::AlreadyUsed);
    assert_eq!(world.purse(), 5);
    world.finish().await;
}

#[tokio::test]
async fn a_spent_coin_is_refused_and_only_its_payer_learns_why() {
    let world = World::new().await;
    let coins = world.operator.coins(&[1, 2, 2]).await;
    let (payment, _) = world.payment("/paid/a", coins.clone(), 1);
    paid(world.settle("/paid/a", &payment).await);
    let (copied, pending) = world.payment("/paid/b", coins, 2);
    let response = denied(world.settle("/paid/b", &copied).await);
    assert_eq!((response.success, response.transaction.as_str()), (false, ""));
    assert_eq!(response.error_reason.as_deref(), Some("florin_payment_denied"));
    let text = serde_json::to_string(&response).unwrap();
    assert!(!text.contains("spent") && !text.contains("coin-"), "{text}");
    let news =
        payer::read_payer_verdict(&pending, &part(&response, "verdict"), &world.operator.list).unwrap();
    assert_eq!(news.causes.len(), 3);
    assert!(news.causes.iter().all(|bad| bad.cause == CoinCause::Spent));
    assert_eq!(denied(world.settle("/paid/b", &copied).await), response, "it stays no");
    assert_eq!(world.purse(), 5);
    world.finish().await;
}

#[tokio::test]
async fn what_is_not_a_payment_for_this_request_is_unpaid_and_touches_nothing() {
    let world = World::new().await;
    let coins = world.operator.coins(&[5]).await;
    let (payment, _) = world.payment("/paid/a", coins, 1);
    let before = world.operator.log.lock().unwrap().len();
    let requirements = Settlement::NotPaying("invalid_payment_requirements");
    let invalid = Settlement::NotPaying("invalid_payload");
    assert_eq!(world.settle("/dear", &payment).await, requirements, "an offer of another rule");
    for (name, value) in [("amount", json!("1")), ("network", json!("florin:other")), ("more", json!(1))] {
        let mut other = payment.clone();
        other.accepted[name] = value;
        assert_eq!(world.settle("/paid/a", &other).await, requirements, "{name}");
    }
    for (name, value) in [
        ("r", json!("AAAA")),
        ("r", json!(1)),
        ("payer", json!("party_00")),
        ("payer", json!(null)),
        ("deadline", json!("soon")),
        ("deadline", json!(-1)),
        ("enc_c1", json!("AAAA")),
        ("enc_c1", json!("+/+/")),
        ("more", json!(0.5)),
    ] {
        let mut other = payment.clone();
        other.payload[name] = value.clone();
        assert_eq!(world.settle("/paid/a", &other).await, invalid, "{name} {value}");
    }
    let mut other = payment.clone();
    other.payload = json!([1]);
    assert_eq!(world.settle("/paid/a", &other).await, invalid);
    let now = florin_books::Clock::now(&*world.clock).0;
    for deadline in [0, now, now + 60_000 + 300_001, u64::MAX >> 11] {
        let mut other = payment.clone();
        other.payload["deadline"] = json!(deadline);
        assert_eq!(
            world.settle("/paid/a", &other).await,
            Settlement::NotPaying("florin_expired"),
            "{deadline}"
        );
    }
    assert_eq!(world.operator.log.lock().unwrap().len(), before, "the operator was not asked");
    paid(world.settle("/paid/a", &payment).await);
}

#[tokio::test]
async fn a_stolen_payload_buys_nothing_else_and_its_coins_stay() {
    let world = World::new().await;
    let coins = world.operator.coins(&[5]).await;
    let (payment, _) = world.payment("/paid/a", coins, 1);
    // The thief uses A's envelope for a page of his own at the same price (V2).
    let response = denied(world.settle("/paid/stolen", &payment).await);
    assert!(!response.success);
    let mut as_himself = payment.clone();
    as_himself.payload["payer"] = json!(florin_books::PartyId::new([9; 16]).to_string());
    as_himself.payload["r"] = json!(BASE64URL_NOPAD.encode(&[9; 16]));
    denied(world.settle("/paid/a", &as_himself).await);
    assert_eq!(world.purse(), 0);
    paid(world.settle("/paid/a", &payment).await);
    assert_eq!(world.purse(), 5);
}

#[tokio::test]
async fn an_open_outcome_ends_once_whatever_is_lost() {
    for line in [
        [Line::LosesRequest, Line::Works],
        [Line::LosesAnswer, Line::Works],
        [Line::GarblesAnswer, Line::Works],
        [Line::LosesRequest, Line::LosesAnswer],
    ] {
        let world = World::new().await;
        let coins = world.operator.coins(&[5]).await;
        let (payment, pending) = world.payment("/paid/a", coins, 1);
        world.operator.next(&line);
        assert_eq!(
            world.settle("/paid/a", &payment).await,
            Settlement::Open { retry_after_s: 2 },
            "{line:?}"
        );
        assert_eq!(world.purse(), 0);
        let mut settled = world.settle("/paid/a", &payment).await;
        if line[1] != Line::Works {
            assert_eq!(settled, Settlement::Open { retry_after_s: 2 });
            settled = world.settle("/paid/a", &payment).await;
        }
        let response = paid(settled);
        payer::read_payer_verdict(&pending, &part(&response, "verdict"), &world.operator.list).unwrap();
        assert_eq!((world.purse(), world.operator.in_circulation()), (5, 5));
        world.finish().await;
    }
}

#[tokio::test]
async fn a_gate_that_dies_finishes_what_it_began() {
    for line in [Line::LosesRequest, Line::LosesAnswer] {
        let world = World::new().await;
        let coins = world.operator.coins(&[5]).await;
        let (payment, _) = world.payment("/paid/a", coins, 1);
        world.operator.next(&[line]);
        assert_eq!(world.settle("/paid/a", &payment).await, Settlement::Open { retry_after_s: 2 });
        let world = world.crash();
        assert_eq!(
            world.desk.resume(florin_books::Clock::now(&*world.clock), Duration::ZERO).await.unwrap(),
            0
        );
        assert_eq!(world.purse(), 5, "{line:?}");
        let first = paid(world.settle("/paid/a", &payment).await);
        let world = world.crash();
        assert_eq!(paid(world.settle("/paid/a", &payment).await), first, "{line:?}");
        assert_eq!(world.purse(), 5);
        world.finish().await;
    }
}

#[tokio::test]
async fn a_payment_that_came_too_late_did_not_happen() {
    let world = World::new().await;
    let coins = world.operator.coins(&[5]).await;
    let (payment, _) = world.payment("/paid/a", coins.clone(), 1);
    world.operator.next(&[Line::LosesRequest]);
    assert_eq!(world.settle("/paid/a", &payment).await, Settlement::Open { retry_after_s: 2 });
    world.clock.forward(31_000);
    let response = denied(world.settle("/paid/a", &payment).await);
    assert_eq!(response.error_reason.as_deref(), Some("florin_expired"));
    assert!(world.operator.log.lock().unwrap().contains(&"/v1/coin/payee-status".to_owned()), "it was asked");
    let (again, _) = world.payment("/paid/a", coins, 2);
    paid(world.settle("/paid/a", &again).await);
    world.finish().await;
}

#[tokio::test]
async fn a_name_is_had_by_one_and_enrolment_takes_the_right_code() {
    let world = World::new().await;
    assert_eq!(world.member.name, "corner-shop");
    assert!(matches!(world.desk.payout(None, Duration::ZERO).await, Err(DeskError::NotEnrolled)));
    assert!(matches!(world.desk.confirm("0000000000", Duration::ZERO).await, Err(DeskError::NotEnrolled)));
    assert!(matches!(world.desk.enrol("DE00", Duration::ZERO).await, Err(DeskError::Account(_))));
    world.operator.next(&[Line::LosesAnswer]);
    assert!(matches!(world.desk.enrol(IBAN, Duration::ZERO).await, Err(DeskError::Open(_))));
    let asked = world.desk.enrol(IBAN, Duration::ZERO).await.unwrap();
    assert!(!asked.enrolled && asked.account.contains(IBAN));
    let code = world.operator.last_code();
    let wrong = if code.starts_with('1') { "2000000000" } else { "1000000000" };
    assert!(matches!(world.desk.confirm(wrong, Duration::ZERO).await, Err(DeskError::Refused(_))));
    world.operator.next(&[Line::LosesAnswer]);
    assert!(matches!(world.desk.confirm(&code, Duration::ZERO).await, Err(DeskError::Open(_))));
    assert!(world.desk.confirm(&code, Duration::ZERO).await.unwrap().enrolled);
    world.finish().await;
}

async fn enrolled() -> World {
    let world = World::new().await;
    world.desk.enrol(IBAN, Duration::ZERO).await.unwrap();
    world.desk.confirm(&world.operator.last_code(), Duration::ZERO).await.unwrap();
    world
}

#[tokio::test]
async fn what_was_earned_is_paid_out() {
    let world = enrolled().await;
    assert!(matches!(world.desk.payout(None, Duration::ZERO).await, Err(DeskError::Nothing)));
    for r in 1..=40 {
        let coins = world.operator.coins(&[5]).await;
        let (payment, _) = world.payment("/paid/a", coins, r);
        paid(world.settle("/paid/a", &payment).await);
    }
    assert_eq!(world.purse(), 200);
    assert!(matches!(
        world.desk.payout(Some(flo(201)), Duration::ZERO).await,
        Err(DeskError::NotEnough { .. })
    ));
    // 0.37 takes change first; the rest of 1.63 is 32 coins and more.
    assert_eq!(world.desk.payout(Some(flo(37)), Duration::ZERO).await.unwrap(), flo(37));
    assert_eq!((world.purse(), world.operator.in_circulation()), (163, 163));
    assert_eq!(world.desk.payout(None, Duration::ZERO).await.unwrap(), flo(163));
    assert_eq!((world.purse(), world.operator.in_circulation()), (0, 0));
    let history = world.desk.history().unwrap();
    let out: Vec<_> = history.iter().filter(|e| e.what == Happened::PaidOut).map(|e| e.amount).collect();
    assert!(out.len() == 2 && out.contains(&flo(37)) && out.contains(&flo(163)));
    world.finish().await;
}

#[tokio::test]
async fn a_pay_out_whose_answer_is_lost_is_not_made_twice() {
    let world = enrolled().await;
    let coins = world.operator.coins(&[20, 10, 5, 2]).await;
    let (payment, _) = world.payment("/dear", coins, 1);
    paid(world.settle("/dear", &payment).await);
    world.finish().await;
    world.operator.next(&[Line::LosesAnswer]);
    assert!(matches!(world.desk.payout(None, Duration::ZERO).await, Err(DeskError::Open(_))));
    let balance = world.desk.balance().unwrap()[0];
    assert_eq!((balance.free, balance.reserved), (flo(0), flo(37)));
    let world = world.crash();
    assert_eq!(world.desk.payout(None, Duration::ZERO).await.unwrap(), flo(37));
    assert_eq!((world.purse(), world.operator.in_circulation()), (0, 0));
    world.finish().await;
}

#[tokio::test]
async fn a_taken_name_is_refused_and_another_one_is_not() {
    let world = World::new().await;
    let mut entropy = SeededEntropy::from_number(43);
    let identity = florin_parties::IdentityKeys::generate(&mut entropy);
    let party = std::sync::Arc::new(florin_merchant::Party { identity, list: world.operator.list.clone() });
    let store = florin_store::MemoryStore::new();
    let other = florin_merchant::Desk {
        house: world::plain_house(&store, &world.clock),
        party,
        transport: world.operator.clone(),
    };
    let taken = other.register(Some("corner-shop"), Duration::ZERO).await;
    assert!(matches!(&taken, Err(DeskError::Refused(slug)) if slug.contains("name-taken")));
    assert_eq!(other.register(Some("other-shop"), Duration::ZERO).await.unwrap().name, "other-shop");
}

#[tokio::test]
async fn a_request_whose_key_is_gone_is_made_anew_and_pays_once() {
    for before in [Line::LosesRequest, Line::LosesAnswer] {
        let world = World::new().await;
        let coins = world.operator.coins(&[5]).await;
        let (payment, _) = world.payment("/paid/a", coins, 1);
        world.operator.next(&[before, Line::KeyIsGone]);
        assert_eq!(world.settle("/paid/a", &payment).await, Settlement::Open { retry_after_s: 2 });
        let first = paid(world.settle("/paid/a", &payment).await);
        assert_eq!(paid(world.settle("/paid/a", &payment).await), first, "{before:?}");
        assert_eq!((world.purse(), world.operator.in_circulation()), (5, 5), "{before:?}");
        world.finish().await;
    }
}

#[tokio::test]
async fn a_pay_out_that_never_arrived_in_time_leaves_the_coins() {
    let world = enrolled().await;
    let coins = world.operator.coins(&[5]).await;
    let (payment, _) = world.payment("/paid/a", coins, 1);
    paid(world.settle("/paid/a", &payment).await);
    world.finish().await;
    world.operator.next(&[Line::LosesRequest]);
    assert!(matches!(world.desk.payout(None, Duration::ZERO).await, Err(DeskError::Open(_))));
    world.clock.forward(25 * 60 * 60 * 1000);
    let late = world.desk.payout(None, Duration::ZERO).await;
    assert!(matches!(&late, Err(DeskError::Refused(slug)) if slug == "request-expired"), "{late:?}");
    assert_eq!(world.desk.payout(None, Duration::ZERO).await.unwrap(), flo(5));
    world.finish().await;
}

#[tokio::test]
async fn coins_that_turn_out_to_be_gone_are_written_off() {
    let world = enrolled().await;
    let coins = world.operator.coins(&[5]).await;
    let (payment, _) = world.payment("/paid/a", coins, 1);
    paid(world.settle("/paid/a", &payment).await);
    // An old copy of the books has spent the coin that these still hold.
    let held = world.desk.house.books.view(|lane| lane.holdings().next().cloned().unwrap()).unwrap();
    let coin = florin_coin::HeldCoin::from_bytes(&held.holding.token).unwrap().coin;
    let copied = florin_coin::CoinSet::new(vec![coin], Currency::FLO).unwrap();
    let (payment, _) = world.payment("/paid/b", copied, 2);
    paid(world.settle("/paid/b", &payment).await);
    world.finish().await;
    assert_eq!((world.purse(), world.operator.in_circulation()), (10, 5));
    assert!(matches!(world.desk.payout(None, Duration::ZERO).await, Err(DeskError::BadCoins(1))));
    assert_eq!(world.desk.payout(None, Duration::ZERO).await.unwrap(), flo(5));
    assert_eq!((world.purse(), world.operator.in_circulation()), (0, 0));
    let expense = world
        .desk
        .house
        .books
        .view(|lane| lane.balance(florin_books::Account::Expense, Currency::FLO.code()));
    assert_eq!(expense, Ok(5));
    world.finish().await;
}
