//! `x402-payload`: a payload for somebody else to present, and what becomes of its payment.
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

use axum::body::Body;
use axum::http::Request;
use data_encoding::BASE64;
use florin_money::{Amount, Currency};
use florin_wallet::{BuyOptions, PayloadOptions, Policy, Wallet, WalletError};
use serde_json::{Value, json};
use support::{SHOP, World, holds, reserved};

/// What the 402 of a page asks for.
async fn required(world: &World, path: &str) -> Value {
    let unpaid =
        world.shop.answer(world, Request::get(format!("{SHOP}{path}")).body(Body::empty()).unwrap()).await;
    assert_eq!(unpaid.status, 402);
    serde_json::from_slice(&BASE64.decode(unpaid.headers["payment-required"].as_bytes()).unwrap()).unwrap()
}

/// What a client of another make hands over: the entry that it chose, and the resource.
async fn chosen(world: &World, path: &str) -> Value {
    let required = required(world, path).await;
    json!({"paymentRequirements": required["accepts"][1], "resource": required["resource"]})
}

async fn payload(wallet: &Wallet, asked: &Value) -> Result<Value, WalletError> {
    wallet.x402_payload(&asked.to_string(), &PayloadOptions::default()).await
}

/// The client presents it.
async fn present(world: &World, path: &str, payload: &Value) -> u16 {
    let header = BASE64.encode(payload.to_string().as_bytes());
    let request = Request::get(format!("{SHOP}{path}")).header("payment-signature", header);
    world.shop.answer(world, request.body(Body::empty()).unwrap()).await.status.as_u16()
}

fn new() -> PayloadOptions {
    PayloadOptions { new: true, ..PayloadOptions::default() }
}

#[tokio::test]
async fn a_payload_pays_and_status_finds_the_verdict() {
    let world = World::new(801);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    let asked = chosen(&world, "/7").await;
    let made = payload(&wallet, &asked).await.unwrap();
    assert_eq!((&made["x402Version"], &made["accepted"]), (&json!(2), &asked["paymentRequirements"]));
    assert_eq!((&made["resource"], &made["payload"]["method"]), (&asked["resource"], &json!("GET")));
    assert!(made.to_string().len() <= 6 * 1024);
    assert_eq!((holds(&wallet), reserved(&wallet)), (100, 7), "set aside until it is known");
    assert_eq!(wallet.limits().unwrap().limits[0].spent_today.minor(), 7);
    let open = wallet.status().await.unwrap();
    assert_eq!((open.open.len(), open.exit_code().number()), (1, 3));
    assert_eq!(present(&world, "/7", &made).await, 200);
    let status = wallet.status().await.unwrap();
    assert_eq!((status.open.len(), status.settled), (0, 1), "before its deadline as well");
    assert_eq!((holds(&wallet), reserved(&wallet), world.shop.received()), (93, 0, 7));
    let entry = &wallet.history(1).unwrap().entries[0];
    assert_eq!((entry.kind, entry.outcome), ("paid", "done"));
    wallet.receipt(&entry.id).unwrap();
    assert!(world.house.books.audit().unwrap().is_clean());
}

/// The header's own value, as a client copies it, with the end of its line.
#[tokio::test]
async fn the_header_is_read_as_it_stands() {
    let world = World::new(99);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    let asked = required(&world, "/7").await;
    let header = data_encoding::BASE64.encode(asked.to_string().as_bytes());
    let payload = wallet.x402_payload(&format!("{header}\r\n"), &new()).await.unwrap();
    assert_eq!(present(&world, "/7", &payload).await, 200);
    let broken = wallet.x402_payload(&header[1..], &new()).await.unwrap_err();
    assert_eq!(broken.slug(), "input-not-valid");
}

#[tokio::test]
async fn one_that_is_never_presented_ends_as_never() {
    let world = World::new(802);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    let made = payload(&wallet, &required(&world, "/7").await).await.unwrap();
    assert_eq!(wallet.status().await.unwrap().open.len(), 1);
    world.later(61_000);
    assert_eq!(wallet.status().await.unwrap().settled, 1);
    assert_eq!((holds(&wallet), reserved(&wallet)), (100, 0));
    assert_eq!(wallet.limits().unwrap().limits[0].spent_today.minor(), 0);
    assert_eq!(present(&world, "/7", &made).await, 402, "too late");
    assert_eq!((holds(&wallet), world.shop.received()), (100, 0));
}

#[tokio::test]
async fn killed_after_it_was_printed_the_wallet_still_knows() {
    for presented in [true, false] {
        let world = World::new(803);
        world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await.close().unwrap();
        let asked = chosen(&world, "/7").await;
        let wallet = world.open("w");
        let made = payload(&wallet, &asked).await.unwrap();
        // Nothing is closed, folded or told: as after a kill.
        drop(wallet);
        if presented {
            assert_eq!(present(&world, "/7", &made).await, 200);
        }
        let wallet = world.open("w");
        if !presented {
            assert_eq!((holds(&wallet), reserved(&wallet)), (100, 7));
            assert_eq!(payload(&wallet, &asked).await.unwrap(), made, "the same question, the same payload");
            world.later(61_000);
        }
        assert_eq!(wallet.status().await.unwrap().settled, 1);
        let left = if presented { 93 } else { 100 };
        assert_eq!((holds(&wallet), reserved(&wallet)), (left, 0));
    }
}

#[tokio::test]
async fn the_same_question_makes_another_payment_only_when_the_last_has_ended_or_it_is_said() {
    let world = World::new(804);
    let wallet = world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await;
    let asked = chosen(&world, "/7").await;
    let first = payload(&wallet, &asked).await.unwrap();
    assert_eq!(payload(&wallet, &asked).await.unwrap(), first);
    let other = wallet.x402_payload(&asked.to_string(), &new()).await.unwrap();
    assert_ne!(other["payload"]["r"], first["payload"]["r"]);
    let post = PayloadOptions { method: "post".into(), ..PayloadOptions::default() };
    let post = wallet.x402_payload(&asked.to_string(), &post).await.unwrap();
    assert_eq!((&post["payload"]["method"], reserved(&wallet)), (&json!("POST"), 21));
    assert_ne!(payload(&wallet, &chosen(&world, "/a/7").await).await.unwrap(), first);
    for made in [&first, &other] {
        assert_eq!(present(&world, "/7", made).await, 200);
    }
    let next = payload(&wallet, &asked).await.unwrap();
    assert!(next != first && next != other, "what is paid is not handed out again");
    assert_eq!(world.shop.received(), 14);
}

#[tokio::test]
async fn limits_and_strangers_are_refused_before_anything_is_set_aside() {
    let world = World::new(805);
    let wallet = world.with_coins("w", "20.00 FLO", &BuyOptions::default()).await;
    let dear = chosen(&world, "/501").await;
    assert_eq!(payload(&wallet, &dear).await.unwrap_err().slug(), "above-payment-limit");
    let asked = chosen(&world, "/7").await;
    let with = |name: &str, value: Value| {
        let mut asked = asked.clone();
        asked["paymentRequirements"][name] = value;
        asked
    };
    for (asked, slug) in [
        (with("network", json!("florin:AAAAAAAAAAAAAAAAAAAAAA")), "no-offer"),
        (with("network", json!("eip155:1")), "no-offer"),
        (with("scheme", json!("upto")), "no-offer"),
        (with("amount", json!("6")), "offer-not-valid"),
        (with("maxTimeoutSeconds", json!(600)), "offer-not-valid"),
        (with("payTo", json!(world.list.operator.to_string())), "offer-not-valid"),
        (json!({"paymentRequirements": asked["paymentRequirements"], "resource": {}}), "no-offer"),
        (json!({"paymentRequirements": asked["paymentRequirements"]}), "input-not-valid"),
        (json!([]), "input-not-valid"),
    ] {
        assert_eq!(payload(&wallet, &asked).await.unwrap_err().slug(), slug, "{asked}");
    }
    assert_eq!((reserved(&wallet), wallet.status().await.unwrap().open.len()), (0, 0));
    let max = Policy { max: Some(Amount::new(501, Currency::FLO)), yes: false };
    let max = PayloadOptions { policy: max, ..PayloadOptions::default() };
    assert!(wallet.x402_payload(&dear.to_string(), &max).await.is_ok());
}

#[tokio::test]
async fn the_url_in_extra_is_never_called() {
    let world = World::new(806);
    let wallet = Arc::new(world.with_coins("w", "1.00 FLO", &BuyOptions::default()).await);
    // Coins that fit, so that nothing needs to be changed at the operator.
    let asked = chosen(&world, "/1").await;
    let sends = world.sends();
    payload(&wallet, &asked).await.unwrap();
    assert_eq!(world.sends(), sends, "nothing was asked of anybody");
}
