//! The flow `authorization` over real sockets, with the operator's real steps: what the service answers decides whether
//! anything is paid, and whatever is lost, it is paid and served once.
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

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use common::{Answer, PATIENCE, ask_with, listen};
use data_encoding::BASE64;
use florin_http::Stop;
use florin_merchant::x402::PaymentPayload;
use florin_merchant::{Flow, Gate, HoldSettings, Outside, Proxy, Shop, router};
use serde_json::json;
use std::net::SocketAddr;
use world::{Line, World};

/// A service that counts its calls, and answers as its path says.
fn service() -> (Router, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let app = Router::new().fallback(async move |request: Request| {
        let n = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let path = request.uri().path();
        if path.ends_with("/fails") {
            return (StatusCode::INTERNAL_SERVER_ERROR, "sorry").into_response();
        }
        if path.ends_with("/once") && n > 1 || path.ends_with("/later") && n == 1 {
            return (StatusCode::NOT_FOUND, "gone").into_response();
        }
        if path.ends_with("/slow") {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        if path.ends_with("/large") {
            return "x".repeat(3000).into_response();
        }
        if path.ends_with("/endless") {
            let parts = tokio_stream_of(b"data: x\n\n");
            return Response::new(parts);
        }
        let headers = [("payment-response", "forged"), ("payment-required", "forged"), ("x-service", "mine")];
        (headers, format!("page {n}")).into_response()
    });
    (app, calls)
}

/// A body that never ends.
fn tokio_stream_of(piece: &'static [u8]) -> Body {
    let (mut send, receive) = tokio::io::duplex(64);
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while send.write_all(piece).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    Body::new(Piped(receive))
}

struct Piped(tokio::io::DuplexStream);

impl hyper::body::Body for Piped {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, std::io::Error>>> {
        use tokio::io::AsyncRead;
        let mut space = [0; 64];
        let mut buffer = tokio::io::ReadBuf::new(&mut space);
        let polled = std::pin::Pin::new(&mut self.0).poll_read(cx, &mut buffer);
        polled.map(|read| {
            let bytes = bytes::Bytes::copy_from_slice(buffer.filled());
            Some(read.map(|()| hyper::body::Frame::data(bytes)))
        })
    }
}

struct Shopped {
    world: World,
    gate: SocketAddr,
    upstream: SocketAddr,
    calls: Arc<AtomicUsize>,
    _stops: Vec<Stop>,
}

async fn gate_of(world: &World, upstream: SocketAddr) -> (SocketAddr, Stop) {
    let hold = HoldSettings {
        answer_bytes_max: 2000,
        answer_time: Duration::from_millis(500),
        ..HoldSettings::default()
    };
    let gate = Gate {
        rules: world.rules.clone(),
        till: Arc::new(world.till()),
        proxy: Proxy::new(&format!("http://{upstream}"), PATIENCE, None).unwrap(),
        outside: Outside::default(),
        shop: Shop { name: "Corner shop".into(), operator: "Town mint".into(), test: true },
        hold,
        entropy: florin_shell::house::os_entropy(),
    };
    listen(router(gate)).await
}

impl Shopped {
    async fn new() -> Self {
        let mut world = World::new().await;
        world.rules = world.rules.with_flow(Flow::Authorization);
        let (app, calls) = service();
        let (upstream, service_stop) = listen(app).await;
        let (gate, stop) = gate_of(&world, upstream).await;
        Self { world, gate, upstream, calls, _stops: vec![stop, service_stop] }
    }

    /// The gate dies, and another process takes its folder over.
    async fn crash(self) -> Self {
        let Self { world, gate: _, upstream, calls, mut _stops } = self;
        _stops.remove(0).trigger();
        let world = world.crash();
        let (gate, stop) = gate_of(&world, upstream).await;
        _stops.insert(0, stop);
        Self { world, gate, upstream, calls, _stops }
    }

    async fn payment(&self, path: &str, r: u8) -> PaymentPayload {
        let coins = self.world.operator.coins(&[5]).await;
        self.world.payment(path, coins, r).0
    }

    async fn get(&self, path: &str, payment: &PaymentPayload) -> Answer {
        let header = BASE64.encode(&serde_json::to_vec(payment).unwrap());
        ask_with(self.gate, &format!("GET {path}"), &format!("PAYMENT-SIGNATURE: {header}\r\n"), b"").await
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// How often the operator was asked for something.
    fn asked(&self, step: &str) -> usize {
        self.world.operator.log.lock().unwrap().iter().filter(|to| to.ends_with(step)).count()
    }
}

#[tokio::test]
async fn what_went_well_is_charged_once_and_comes_with_its_receipt() {
    let shop = Shopped::new().await;
    let unpaid = ask_with(shop.gate, "GET /paid/a", "", b"").await;
    let offer = &unpaid.base64("payment-required")["accepts"][0];
    assert!(offer["extra"].get("paymentFlow").is_none(), "authorization is what x402 takes for granted");
    let payment = shop.payment("/paid/a", 1).await;
    let answer = shop.get("/paid/a", &payment).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "page 1"));
    assert_eq!(answer.base64("payment-response")["success"], true);
    assert_eq!((answer.header("payment-required"), answer.header("x-service")), (None, Some("mine")));
    assert!(answer.header("cache-control").unwrap().contains("private"));
    assert_eq!((shop.world.purse(), shop.calls(), shop.asked("check")), (5, 1, 1));
    // A lost answer is asked for again: the same page, and neither the service nor the payer notices.
    let again = shop.get("/paid/a", &payment).await;
    assert_eq!((again.status, again.text().as_str()), (200, "page 1"));
    assert_eq!(again.base64("payment-response"), answer.base64("payment-response"));
    assert_eq!((shop.world.purse(), shop.calls(), shop.asked("check")), (5, 1, 1));
    shop.world.finish().await;
}

#[tokio::test]
async fn an_error_of_the_service_costs_nothing() {
    let shop = Shopped::new().await;
    let payment = shop.payment("/paid/fails", 1).await;
    for n in 1..=2 {
        let answer = shop.get("/paid/fails", &payment).await;
        assert_eq!((answer.status, answer.text().as_str()), (500, "sorry"));
        assert!(answer.header("payment-response").is_none() && answer.header("payment-required").is_none());
        assert_eq!((shop.world.purse(), shop.calls(), shop.asked("validation-req")), (0, n, 0));
    }
    // The same payment goes through once the service is well.
    let payment = shop.payment("/paid/later", 2).await;
    shop.calls.store(0, Ordering::SeqCst);
    assert_eq!(shop.get("/paid/later", &payment).await.status, 404);
    assert_eq!(shop.world.purse(), 0);
    let answer = shop.get("/paid/later", &payment).await;
    assert_eq!((answer.status, shop.world.purse()), (200, 5));
    shop.world.finish().await;
}

#[tokio::test]
async fn a_service_that_is_away_too_long_or_too_large_costs_nothing() {
    let shop = Shopped::new().await;
    for (r, path, status, slug) in
        [(1, "/paid/large", 502, "answer-too-large"), (2, "/paid/endless", 504, "upstream-too-slow")]
    {
        let payment = shop.payment(path, r).await;
        let answer = shop.get(path, &payment).await;
        assert_eq!((answer.status, &answer.json()["slug"]), (status, &json!(slug)));
        assert!(answer.header("payment-response").is_none());
    }
    assert_eq!((shop.world.purse(), shop.asked("validation-req")), (0, 0));
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (gate, _stop) = gate_of(&shop.world, closed).await;
    let payment = shop.payment("/paid/a", 3).await;
    let shop = Shopped { gate, ..shop };
    let answer = shop.get("/paid/a", &payment).await;
    assert_eq!((answer.status, &answer.json()["slug"]), (502, &json!("upstream-unreachable")));
    assert_eq!((shop.world.purse(), shop.asked("validation-req")), (0, 0));
}

#[tokio::test]
async fn two_identical_requests_at_once_call_and_pay_once() {
    let shop = Shopped::new().await;
    let payment = shop.payment("/paid/slow", 1).await;
    let (one, two) = tokio::join!(shop.get("/paid/slow", &payment), shop.get("/paid/slow", &payment));
    let (mut served, mut waited) = (0, 0);
    for answer in [&one, &two] {
        match answer.status {
            200 => served += 1,
            503 => {
                waited += 1;
                assert_eq!(answer.json()["slug"], "outcome-open");
                assert!(
                    answer.header("retry-after").is_some() && answer.header("payment-required").is_none()
                );
            }
            other => panic!("{other}"),
        }
    }
    assert!(served >= 1 && served + waited == 2);
    let again = shop.get("/paid/slow", &payment).await;
    assert_eq!((again.status, again.text().as_str()), (200, "page 1"));
    assert_eq!((shop.calls(), shop.world.purse()), (1, 5));
    shop.world.finish().await;
}

#[tokio::test]
async fn while_it_is_open_the_page_waits_and_is_not_made_again() {
    for lost in [Line::LosesRequest, Line::LosesAnswer, Line::GarblesAnswer] {
        let shop = Shopped::new().await;
        let payment = shop.payment("/paid/once", 1).await;
        shop.world.operator.next(&[Line::Works, lost, lost]);
        for _ in 0..2 {
            let open = shop.get("/paid/once", &payment).await;
            assert_eq!((open.status, &open.json()["slug"]), (503, &json!("outcome-open")), "{lost:?}");
            assert!(open.header("retry-after").is_some());
            assert!(open.header("payment-required").is_none() && open.header("payment-response").is_none());
        }
        let answer = shop.get("/paid/once", &payment).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "page 1"), "{lost:?}");
        assert_eq!((shop.calls(), shop.world.purse(), shop.asked("check")), (1, 5, 1));
        shop.world.finish().await;
    }
}

#[tokio::test]
async fn while_the_operator_is_away_the_service_is_not_called() {
    let shop = Shopped::new().await;
    let payment = shop.payment("/paid/a", 1).await;
    shop.world.operator.next(&[Line::LosesRequest, Line::GarblesAnswer]);
    for _ in 0..2 {
        let open = shop.get("/paid/a", &payment).await;
        assert_eq!((open.status, shop.calls()), (503, 0));
        assert!(open.header("payment-required").is_none());
    }
    assert_eq!((shop.get("/paid/a", &payment).await.status, shop.calls()), (200, 1));
    shop.world.finish().await;
}

#[tokio::test]
async fn bad_coins_call_no_service_and_their_payer_hears_which() {
    let shop = Shopped::new().await;
    let coins = shop.world.operator.coins(&[5]).await;
    let (first, _) = shop.world.payment("/paid/a", coins.clone(), 1);
    assert_eq!(shop.get("/paid/a", &first).await.status, 200);
    let (copied, pending) = shop.world.payment("/paid/b", coins, 2);
    let answer = shop.get("/paid/b", &copied).await;
    assert_eq!((answer.status, shop.calls()), (402, 1));
    let response = answer.base64("payment-response");
    assert_eq!(response["errorReason"], "florin_payment_denied");
    let verdict = response["extensions"]["florin"]["verdict"].as_str().unwrap();
    let verdict = data_encoding::BASE64URL_NOPAD.decode(verdict.as_bytes()).unwrap();
    let news = florin_coin::payer::read_payer_verdict(&pending, &verdict, &shop.world.operator.list).unwrap();
    assert_eq!(news.causes.len(), 1);
    shop.world.finish().await;
}

#[tokio::test]
async fn coins_spent_while_the_service_worked_buy_nothing() {
    let shop = Shopped::new().await;
    let coins = shop.world.operator.coins(&[5]).await;
    let (slow, _) = shop.world.payment("/paid/slow", coins.clone(), 1);
    let (quick, _) = shop.world.payment("/paid/a", coins, 2);
    let (slow, quick) = tokio::join!(shop.get("/paid/slow", &slow), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        shop.get("/paid/a", &quick).await
    });
    assert_eq!((slow.status, quick.status), (402, 200));
    assert_eq!(slow.base64("payment-response")["success"], false);
    assert!(!String::from_utf8_lossy(&slow.body).contains("page"), "its content stays");
    assert_eq!((shop.world.purse(), shop.calls()), (5, 2));
    shop.world.finish().await;
}

#[tokio::test]
async fn a_gate_that_dies_between_service_and_settlement_charges_once() {
    // Before anything was presented: as if it had never been asked.
    let shop = Shopped::new().await;
    let payment = shop.payment("/paid/slow", 1).await;
    {
        let header = BASE64.encode(&serde_json::to_vec(&payment).unwrap());
        let lines = format!("PAYMENT-SIGNATURE: {header}\r\n");
        let asking = ask_with(shop.gate, "GET /paid/slow", &lines, b"");
        assert!(tokio::time::timeout(Duration::from_millis(100), asking).await.is_err());
    }
    assert_eq!((shop.calls(), shop.asked("validation-req")), (1, 0));
    // The old process must not go on: its books are stopped with the folder taken over.
    shop.world.desk.house.books.clone().stop().unwrap();
    let shop = shop.crash().await;
    let answer = shop.get("/paid/slow", &payment).await;
    assert_eq!((answer.status, shop.world.purse()), (200, 5));
    shop.world.finish().await;
    // After it was presented, and the answer lost.
    for lost in [Line::LosesRequest, Line::LosesAnswer] {
        let shop = Shopped::new().await;
        let payment = shop.payment("/paid/a", 1).await;
        shop.world.operator.next(&[Line::Works, lost]);
        assert_eq!(shop.get("/paid/a", &payment).await.status, 503);
        let shop = shop.crash().await;
        let answer = shop.get("/paid/a", &payment).await;
        assert_eq!((answer.status, shop.world.purse(), shop.asked("check")), (200, 5, 1), "{lost:?}");
        shop.world.finish().await;
    }
}

#[tokio::test]
async fn whoever_hangs_up_gets_the_page_with_the_next_request() {
    let shop = Shopped::new().await;
    let payment = shop.payment("/paid/slow", 1).await;
    let header = BASE64.encode(&serde_json::to_vec(&payment).unwrap());
    let lines = format!("PAYMENT-SIGNATURE: {header}\r\n");
    let asking = ask_with(shop.gate, "GET /paid/slow", &lines, b"");
    assert!(tokio::time::timeout(Duration::from_millis(100), asking).await.is_err());
    let mut answer = shop.get("/paid/slow", &payment).await;
    for _ in 0..50 {
        if answer.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = shop.get("/paid/slow", &payment).await;
    }
    assert_eq!((answer.status, answer.text().as_str()), (200, "page 1"));
    assert_eq!((shop.calls(), shop.world.purse()), (1, 5));
    shop.world.finish().await;
}

#[tokio::test]
async fn a_payment_for_another_page_calls_nothing() {
    let shop = Shopped::new().await;
    let payment = shop.payment("/paid/a", 1).await;
    let stolen = shop.get("/paid/b", &payment).await;
    // Its envelope is not for this page: the operator cannot open it, and that is the verdict.
    assert_eq!((stolen.status, shop.calls(), shop.world.purse()), (402, 0, 0));
    let other = shop.get("/dear", &payment).await;
    assert_eq!((other.status, shop.calls()), (402, 0));
    assert!(other.header("payment-required").is_some());
    shop.world.clock.forward(31_000);
    let late = shop.get("/paid/a", &payment).await;
    assert_eq!((late.status, shop.calls()), (402, 0));
    assert!(late.header("payment-required").is_some() && late.header("payment-response").is_none());
}

#[tokio::test]
async fn a_request_that_may_change_something_is_passed_on_once() {
    let shop = Shopped::new().await;
    let coins = shop.world.operator.coins(&[5]).await;
    let entry = florin_merchant::Till::accepts(&shop.world.till(), shop.world.rule("/paid/a")).remove(0);
    let price = shop.world.rule("/paid/a").price.unwrap();
    let request = ("POST", "http://shop.test/paid/a");
    let (payment, _) = shop.world.payment_of(entry, price, request, coins, 1);
    let header = BASE64.encode(&serde_json::to_vec(&payment).unwrap());
    let lines = format!("PAYMENT-SIGNATURE: {header}\r\n");
    for _ in 0..2 {
        let answer = ask_with(shop.gate, "POST /paid/a", &lines, b"").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "page 1"));
        assert_eq!(answer.base64("payment-response")["success"], true);
    }
    // What was in memory is gone with the gate; the service is not asked to do it again.
    let shop = shop.crash().await;
    let answer = ask_with(shop.gate, "POST /paid/a", &lines, b"").await;
    assert_eq!((answer.status, &answer.json()["slug"]), (409, &json!("already-used")));
    assert_eq!((shop.calls(), shop.world.purse()), (1, 5));
    shop.world.finish().await;
}
