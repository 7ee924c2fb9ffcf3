//! The facilitator over real sockets, with the operator's real steps, and a shop that uses it as x402 says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
mod common;
#[path = "common/world.rs"]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use common::{Answer, PATIENCE, ask, ask_with, listen};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use florin_coin::{payer, web};
use florin_http::Stop;
use florin_merchant::facilitator::{Facilitator, PATH, SETTLE_WINDOW_MS, TOKEN_FILE, token};
use florin_merchant::offer::shop_entry;
use florin_merchant::settle::Settle;
use florin_merchant::x402::PaymentPayload;
use florin_merchant::{Gate, HoldSettings, Outside, Proxy, Shop, router};
use florin_money::{Amount, Currency};
use serde_json::{Value, json};
use world::{IBAN, Line, World};

const URL: &str = "http://articles.test/one";

struct Market {
    world: World,
    address: SocketAddr,
    token: String,
    _stops: Vec<Stop>,
}

fn price() -> Amount {
    Amount::new(5, Currency::FLO)
}

async fn serve(world: &World, token: &str) -> (SocketAddr, Stop) {
    let gate = Gate {
        rules: world.rules.clone(),
        till: Arc::new(world.till()),
        proxy: Proxy::new("http://127.0.0.1:9", PATIENCE, None).unwrap(),
        outside: Outside::default(),
        shop: Shop { name: "Corner shop".into(), operator: "Town mint".into(), test: true },
        hold: HoldSettings::default(),
        entropy: florin_shell::house::os_entropy(),
    };
    let facilitator = Facilitator::new(world.till(), token).unwrap();
    listen(router(gate).merge(facilitator.router())).await
}

impl Market {
    async fn new() -> Self {
        let world = World::new().await;
        let token = BASE64URL_NOPAD.encode(&[5; 32]);
        let (address, stop) = serve(&world, &token).await;
        Self { world, address, token, _stops: vec![stop] }
    }

    async fn crash(self) -> Self {
        let Self { world, token, mut _stops, .. } = self;
        _stops.remove(0).trigger();
        let world = world.crash();
        let (address, stop) = serve(&world, &token).await;
        Self { world, address, token, _stops: vec![stop] }
    }

    fn entry(&self) -> Value {
        shop_entry(&self.world.member, price(), 60, None).unwrap()
    }

    async fn payment(&self, r: u8) -> (PaymentPayload, Vec<u8>) {
        let coins = self.world.operator.coins(&[5]).await;
        self.pays(coins, r)
    }

    fn pays(&self, coins: florin_coin::CoinSet, r: u8) -> (PaymentPayload, Vec<u8>) {
        let (mut payment, pending) = self.world.payment_of(self.entry(), price(), ("GET", URL), coins, r);
        payment.resource = Some(json!({"url": URL, "description": "An article"}));
        (payment, pending)
    }

    async fn call(&self, what: &str, body: &[u8], lines: &str) -> Answer {
        let lines = format!("{lines}Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        ask_with(self.address, &format!("POST {PATH}/{what}"), &lines, body).await
    }

    async fn said(&self, what: &str, payment: &PaymentPayload) -> Value {
        let body = json!({"x402Version": 2, "paymentPayload": payment, "paymentRequirements": self.entry()});
        self.said_of(what, &body).await
    }

    async fn said_of(&self, what: &str, body: &Value) -> Value {
        let bearer = format!("Authorization: Bearer {}\r\n", self.token);
        let answer = self.call(what, body.to_string().as_bytes(), &bearer).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer.json()
    }

    fn asked(&self, step: &str) -> usize {
        self.world.operator.log.lock().unwrap().iter().filter(|to| to.ends_with(step)).count()
    }
}

#[tokio::test]
async fn a_payment_is_verified_and_settled_once() {
    let market = Market::new().await;
    let supported = ask(market.address, &format!("GET {PATH}/supported"), "").await.json();
    let network = web::network(market.world.operator.list.operator);
    assert_eq!(supported["kinds"][0]["network"], network);
    assert_eq!(
        (&supported["kinds"][0]["x402Version"], &supported["kinds"][0]["scheme"]),
        (&json!(2), &json!("exact"))
    );
    let (payment, pending) = market.payment(1).await;
    let before = market.world.operator.books.books.durable();
    for _ in 0..3 {
        let valid = market.said("verify", &payment).await;
        assert_eq!(valid, json!({"isValid": true, "payer": payment.payload["payer"]}));
    }
    assert_eq!(market.world.operator.books.books.durable(), before, "nothing is recorded");
    assert_eq!((market.asked("check"), market.asked("validation-req")), (3, 0));
    let settled = market.said("settle", &payment).await;
    assert_eq!((&settled["success"], &settled["network"]), (&json!(true), &json!(network)));
    assert!(settled["transaction"].as_str().unwrap().starts_with("pay_"));
    assert_eq!((&settled["amount"], market.world.purse()), (&json!("5"), 5));
    let verdict = settled["extensions"]["florin"]["verdict"].as_str().unwrap();
    let verdict = BASE64URL_NOPAD.decode(verdict.as_bytes()).unwrap();
    payer::read_payer_verdict(&pending, &verdict, &market.world.operator.list).unwrap();
    // The payer shows it again: not served twice. The shop asks again, since its answer was lost: the same answer.
    let replayed = market.said("verify", &payment).await;
    assert_eq!(
        (&replayed["isValid"], &replayed["invalidReason"]),
        (&json!(false), &json!("florin_already_spent"))
    );
    assert_eq!(market.said("settle", &payment).await, settled);
    let market = market.crash().await;
    assert_eq!(market.said("settle", &payment).await, settled, "after a start as well");
    market.world.clock.forward(SETTLE_WINDOW_MS + 1);
    let late = market.said("settle", &payment).await;
    assert_eq!((&late["success"], &late["errorReason"]), (&json!(false), &json!("florin_already_spent")));
    assert_eq!((&late["transaction"], market.world.purse()), (&json!(""), 5));
    market.world.finish().await;
}

#[tokio::test]
async fn two_settlements_at_once_are_one_payment() {
    let market = Market::new().await;
    let (payment, _) = market.payment(1).await;
    let (one, two) = tokio::join!(market.said("settle", &payment), market.said("settle", &payment));
    for answer in [&one, &two] {
        let pending = answer["errorReason"] == "settlement_pending";
        assert!(answer["success"] == true || pending, "{answer}");
        assert_ne!(answer["transaction"], "");
    }
    assert_eq!(market.said("settle", &payment).await["success"], true);
    assert_eq!(market.world.purse(), 5);
    market.world.finish().await;
}

#[tokio::test]
async fn without_the_token_nothing_is_said() {
    let market = Market::new().await;
    let (payment, _) = market.payment(1).await;
    let body = json!({"x402Version": 2, "paymentPayload": payment, "paymentRequirements": market.entry()});
    let body = body.to_string();
    let wrong = BASE64URL_NOPAD.encode(&[6; 32]);
    for lines in [
        String::new(),
        format!("Authorization: Bearer {wrong}\r\n"),
        format!("Authorization: Basic {}\r\n", market.token),
        format!("Authorization: Bearer{}\r\n", market.token),
        format!("Authorization: Bearer {}x\r\n", market.token),
        "Authorization: Bearer \r\n".to_owned(),
    ] {
        for what in ["verify", "settle"] {
            let answer = market.call(what, body.as_bytes(), &lines).await;
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{lines}");
            assert_eq!(answer.json()["slug"], "facilitator-token");
        }
    }
    assert_eq!((market.asked("check"), market.asked("validation-req"), market.world.purse()), (0, 0, 0));
    let dir = tempfile::tempdir().unwrap();
    let made = token(dir.path()).unwrap();
    assert_eq!(token(dir.path()).unwrap(), made);
    std::fs::write(dir.path().join(TOKEN_FILE), "short").unwrap();
    assert!(token(dir.path()).is_err());
}

#[tokio::test]
async fn what_is_malformed_foreign_or_altered_is_invalid_and_asks_nobody() {
    let market = Market::new().await;
    let (payment, _) = market.payment(1).await;
    let good = json!({"x402Version": 2, "paymentPayload": payment, "paymentRequirements": market.entry()});
    let both = |path: &str, value: Value| {
        let mut body = good.clone();
        for whole in ["/paymentRequirements", "/paymentPayload/accepted"] {
            *body.pointer_mut(&format!("{whole}{path}")).unwrap() = value.clone();
        }
        body
    };
    let one = |path: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    let rule = market.world.rule("/paid/a");
    let of_the_gate = florin_merchant::Till::accepts(&market.world.till(), rule).remove(0);
    for (what, body, code) in [
        ("no object", json!([2]), "invalid_x402_version"),
        ("a version", one("/x402Version", json!(1)), "invalid_x402_version"),
        ("a version inside", one("/paymentPayload/x402Version", json!(1)), "invalid_x402_version"),
        ("no payload", one("/paymentPayload", json!(null)), "invalid_payload"),
        ("an array", one("/paymentPayload", json!([2, null, {}, {}])), "invalid_payload"),
        ("no requirements", one("/paymentRequirements", json!(null)), "invalid_payment_requirements"),
        ("no url", one("/paymentPayload/resource", json!({})), "invalid_payload"),
        (
            "a method that is none",
            {
                let mut body = good.clone();
                body["paymentPayload"]["payload"]["method"] = json!(1);
                body
            },
            "invalid_payload",
        ),
        (
            "too much",
            {
                let mut body = good.clone();
                body["paymentPayload"]["more"] = json!("x".repeat(6 * 1024));
                body
            },
            "invalid_payload",
        ),
        ("another scheme", both("/scheme", json!("upto")), "unsupported_scheme"),
        ("a foreign network", both("/network", json!("florin:AAAAAAAAAAAAAAAAAAAAAA")), "invalid_network"),
        (
            "another payee",
            both("/payTo", json!(florin_books::PartyId::new([9; 16]).to_string())),
            "invalid_florin_recipient_mismatch",
        ),
        ("a cheaper price", both("/amount", json!("1")), "invalid_florin_signature"),
        ("another currency", both("/asset", json!("EUR")), "invalid_florin_signature"),
        ("more time", both("/maxTimeoutSeconds", json!(6000)), "invalid_florin_signature"),
        ("an offer of the gate", both("", of_the_gate), "invalid_florin_signature"),
        (
            "altered by the payer",
            one("/paymentPayload/accepted/amount", json!("1")),
            "invalid_payment_requirements",
        ),
        ("altered by the shop", one("/paymentRequirements/amount", json!("1")), "invalid_florin_signature"),
        ("no coins", one("/paymentPayload/payload/enc_c1", json!("AAAA")), "invalid_payload"),
        ("late", one("/paymentPayload/payload/deadline", json!(1)), "florin_expired"),
    ] {
        let verified = market.said_of("verify", &body).await;
        assert_eq!(
            (&verified["isValid"], &verified["invalidReason"]),
            (&json!(false), &json!(code)),
            "{what}"
        );
        assert!(verified["payer"].is_string());
        let settled = market.said_of("settle", &body).await;
        assert_eq!((&settled["success"], &settled["errorReason"]), (&json!(false), &json!(code)), "{what}");
        assert_eq!(settled["transaction"], "");
    }
    let bearer = format!("Authorization: Bearer {}\r\n", market.token);
    assert_eq!(market.call("verify", b"{", &bearer).await.json()["isValid"], false);
    assert_eq!(market.call("settle", &vec![b' '; 40_000], &bearer).await.status, 413);
    let plain = format!("{bearer}Content-Type: text/plain\r\n");
    let answer = ask_with(market.address, &format!("POST {PATH}/verify"), &plain, b"").await;
    assert_eq!(answer.status, 415);
    assert_eq!((market.asked("check"), market.asked("validation-req")), (0, 0));
    // Another page of the same price: its envelope does not open there.
    let mut elsewhere = good.clone();
    elsewhere["paymentPayload"]["resource"]["url"] = json!("http://articles.test/two");
    assert_eq!(market.said_of("verify", &elsewhere).await["invalidReason"], "florin_payment_denied");
    assert_eq!(market.said("settle", &payment).await["success"], true);
    market.world.finish().await;
}

#[tokio::test]
async fn spent_coins_are_invalid_and_a_number_is_one_payload() {
    let market = Market::new().await;
    let coins = market.world.operator.coins(&[5]).await;
    let (first, _) = market.pays(coins.clone(), 1);
    let (copied, _) = market.pays(coins, 2);
    assert_eq!(market.said("verify", &copied).await["isValid"], true);
    assert_eq!(market.said("settle", &first).await["success"], true);
    let verified = market.said("verify", &copied).await;
    assert_eq!(
        (&verified["isValid"], &verified["invalidReason"]),
        (&json!(false), &json!("florin_payment_denied"))
    );
    let settled = market.said("settle", &copied).await;
    assert_eq!(
        (&settled["success"], &settled["errorReason"]),
        (&json!(false), &json!("florin_payment_denied"))
    );
    assert_eq!(market.said("verify", &copied).await["invalidReason"], "florin_payment_denied");
    assert_eq!(market.world.purse(), 5);
    // The same number with another payload.
    let mut other = first.clone();
    other.payload["more"] = json!(1);
    assert_eq!(market.said("settle", &other).await["errorReason"], "invalid_transaction_state");
    market.world.finish().await;
}

#[tokio::test]
async fn an_open_outcome_is_pending_under_the_payments_id() {
    for lost in [Line::LosesRequest, Line::LosesAnswer] {
        let market = Market::new().await;
        let (payment, _) = market.payment(1).await;
        market.world.operator.next(&[Line::LosesRequest]);
        let body =
            json!({"x402Version": 2, "paymentPayload": payment, "paymentRequirements": market.entry()});
        let bearer = format!("Authorization: Bearer {}\r\n", market.token);
        let away = market.call("verify", body.to_string().as_bytes(), &bearer).await;
        assert_eq!((away.status, &away.json()["slug"]), (503, &json!("outcome-open")));
        assert!(away.json().get("isValid").is_none());
        market.world.operator.next(&[lost]);
        let pending = market.said("settle", &payment).await;
        assert_eq!(
            (&pending["success"], &pending["errorReason"]),
            (&json!(false), &json!("settlement_pending"))
        );
        let id = pending["transaction"].as_str().unwrap().to_owned();
        assert!(id.starts_with("pay_"));
        assert_eq!(market.said("verify", &payment).await["isValid"], true, "it may still be had");
        let market = market.crash().await;
        let settled = market.said("settle", &payment).await;
        assert_eq!((&settled["success"], &settled["transaction"]), (&json!(true), &json!(id)), "{lost:?}");
        assert_eq!(market.world.purse(), 5);
        market.world.finish().await;
    }
}

#[tokio::test]
async fn a_payment_is_for_the_gate_or_for_the_facilitator() {
    let market = Market::new().await;
    let coins = market.world.operator.coins(&[5]).await;
    let (mut for_gate, _) = market.world.payment("/paid/a", coins, 1);
    for_gate.resource = Some(json!({"url": world::url("/paid/a")}));
    let (for_shop, _) = market.payment(2).await;
    let at_gate = async |payment: &PaymentPayload, host: &str, path: &str| {
        let header = BASE64.encode(&serde_json::to_vec(payment).unwrap());
        let lines = format!("Host: {host}\r\nPAYMENT-SIGNATURE: {header}\r\n");
        ask(market.address, &format!("GET {path}"), &lines).await
    };
    let body =
        json!({"x402Version": 2, "paymentPayload": for_gate, "paymentRequirements": for_gate.accepted});
    let (gate, shop) =
        tokio::join!(at_gate(&for_gate, "shop.test", "/paid/a"), market.said_of("settle", &body));
    assert_eq!(gate.base64("payment-response")["success"], true);
    assert_eq!((&shop["success"], &shop["errorReason"]), (&json!(false), &json!("invalid_florin_signature")));
    let (gate, shop) =
        tokio::join!(at_gate(&for_shop, "articles.test", "/paid/one"), market.said("settle", &for_shop));
    assert_eq!((gate.status, &shop["success"]), (402, &json!(true)));
    assert!(gate.header("payment-response").is_none());
    assert_eq!(market.world.purse(), 10);
    market.world.finish().await;
}

/// A shop in the manner of x402: verify, work, settle, and only then the page.
async fn shop(market: &Market) -> (SocketAddr, Stop) {
    let client = florin_http::Client::new(florin_http::ClientConfig::default()).unwrap();
    let base = format!("http://{}{PATH}", market.address);
    let (entry, token) = (market.entry(), market.token.clone());
    let page = async move |headers: axum::http::HeaderMap| {
        use axum::response::IntoResponse;
        let required = json!({"x402Version": 2, "resource": {"url": URL}, "accepts": [entry]});
        let unpaid = [("payment-required", BASE64.encode(required.to_string().as_bytes()))];
        let Some(paid) = headers.get("payment-signature") else {
            return (axum::http::StatusCode::PAYMENT_REQUIRED, unpaid, "").into_response();
        };
        let payment: Value = serde_json::from_slice(&BASE64.decode(paid.as_bytes()).unwrap()).unwrap();
        let body =
            json!({"x402Version": 2, "paymentPayload": payment, "paymentRequirements": entry}).to_string();
        let ask = async |what: &str| {
            let request = axum::http::Request::post(format!("{base}/{what}"))
                .header("content-type", "application/json")
                .header("authorization", format!("Bearer {token}"))
                .body(axum::body::Body::from(body.clone()))
                .unwrap();
            let answer = client.send(request).await.unwrap();
            let bytes =
                axum::body::to_bytes(axum::body::Body::new(answer.into_body()), usize::MAX).await.unwrap();
            serde_json::from_slice::<Value>(&bytes).unwrap()
        };
        if ask("verify").await["isValid"] != true {
            return (axum::http::StatusCode::PAYMENT_REQUIRED, unpaid, "").into_response();
        }
        let settled = ask("settle").await;
        if settled["success"] != true {
            return axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        ([("payment-response", BASE64.encode(settled.to_string().as_bytes()))], "the article").into_response()
    };
    listen(Router::new().route("/one", get(page))).await
}

#[tokio::test]
async fn a_shop_in_the_manner_of_x402_sells_once() {
    let market = Market::new().await;
    let (shop, _stop) = shop(&market).await;
    let unpaid = ask(shop, "GET /one", "").await;
    assert_eq!((unpaid.status, &unpaid.base64("payment-required")["accepts"][0]), (402, &market.entry()));
    let (payment, _) = market.payment(1).await;
    let header = BASE64.encode(&serde_json::to_vec(&payment).unwrap());
    let lines = format!("PAYMENT-SIGNATURE: {header}\r\n");
    let bought = ask(shop, "GET /one", &lines).await;
    assert_eq!((bought.status, bought.text().as_str()), (200, "the article"));
    assert_eq!(bought.base64("payment-response")["success"], true);
    assert_eq!(
        ask(shop, "GET /one", &lines).await.status,
        402,
        "what its payer shows again is not served again"
    );
    assert_eq!(market.world.purse(), 5);
    market.world.finish().await;
}

/// Refresh, redeem and aggregate, chosen for each offer and mixed: what was signed is what becomes of the coins.
#[tokio::test]
async fn each_offer_settles_as_it_says() {
    let market = Market::new().await;
    let world = &market.world;
    world.desk.enrol(IBAN, Duration::ZERO).await.unwrap();
    world.desk.confirm(&world.operator.last_code(), Duration::ZERO).await.unwrap();
    let ways = [None, Some(Settle::Redeem), Some(Settle::Aggregate), Some(Settle::Refresh)];
    for (settle, r) in ways.into_iter().zip(1u8..) {
        let entry = shop_entry(&world.member, price(), 60, settle).unwrap();
        let coins = world.operator.coins(&[5]).await;
        let (mut payment, _) = world.payment_of(entry.clone(), price(), ("GET", URL), coins, r);
        payment.resource = Some(json!({"url": URL}));
        let mut body = json!({"x402Version": 2, "paymentPayload": payment, "paymentRequirements": entry});
        let mut other = body.clone();
        for at in ["/paymentPayload/accepted/extra/rule", "/paymentRequirements/extra/rule"] {
            *other.pointer_mut(at).unwrap() = json!("facilitator/aggregate");
        }
        if settle != Some(Settle::Aggregate) {
            let said = market.said_of("settle", &other).await;
            assert_eq!(said["errorReason"], "invalid_florin_signature", "the offer's own choice is signed");
        }
        assert_eq!(market.said_of("settle", &body).await["success"], true, "{settle:?}");
        *body.pointer_mut("/paymentRequirements/extra/rule").unwrap() = json!("facilitator/other");
        assert_eq!(market.said_of("verify", &body).await["isValid"], false);
    }
    world.finish().await;
    assert_eq!(world.purse(), 10, "two offers refresh: the gate's setting, and the word");
    let balance = world.desk.balance().unwrap();
    assert_eq!(balance[0].gathered.minor(), 5);
    let out = world.operator.books.books.view(|lane| lane.outbox().cloned().collect::<Vec<_>>()).unwrap();
    assert_eq!(out.iter().filter(|o| o.kind == florin_coin::kinds::PAY_OUT).count(), 1, "one is redeemed");
}
