//! A service, a gate in front of it, and a till that answers what it is told.
#![allow(dead_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use data_encoding::BASE64;
use florin_http::{Limits, Stop, serve};
use florin_merchant::settle::{Checking, Noting, Settling};
use florin_merchant::x402::SettleResponse;
use florin_merchant::{
    Gate, HoldSettings, Outside, Payable, Paying, Proxy, Rule, Rules, Served, Settlement, Shop, Standing,
    Till, router,
};
use florin_money::{Currency, Denominations};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const PATIENCE: Duration = Duration::from_secs(10);

/// A till that pays whatever says so in its payload.
#[derive(Default)]
pub struct Told {
    pub settled: Mutex<Vec<String>>,
    pub served: Mutex<Vec<[u8; 16]>>,
}

pub fn response(success: bool) -> SettleResponse {
    SettleResponse {
        success,
        transaction: if success { "pay_1".into() } else { String::new() },
        network: "florin:test".into(),
        error_reason: (!success).then(|| "florin_payment_denied".into()),
        error_message: None,
        payer: None,
        amount: None,
        extensions: None,
        extra: None,
    }
}

impl Till for Told {
    fn accepts(&self, rule: &Rule) -> Vec<Value> {
        vec![
            json!({"scheme": "exact", "amount": rule.price.unwrap().minor().to_string(), "extra": {"rule": rule.label()}}),
        ]
    }

    fn standing<'a>(&'a self, paying: Paying<'a>) -> Checking<'a> {
        let told = paying.payment.payload["do"].as_str().unwrap().to_owned();
        Box::pin(
            async move { if told == "pay" { Standing::Good([1; 16]) } else { Standing::Settle([1; 16]) } },
        )
    }

    fn settle<'a>(&'a self, paying: Paying<'a>) -> Settling<'a> {
        Box::pin(async move {
            self.settled.lock().unwrap().push(format!("{} {}", paying.method, paying.resource));
            match paying.payment.payload["do"].as_str().unwrap() {
                "pay" => Settlement::Paid(Served { response: response(true), order: [1; 16] }),
                "deny" => Settlement::Denied(response(false)),
                "wait" => Settlement::Open { retry_after_s: 3 },
                "used" => Settlement::AlreadyUsed,
                "reused" => Settlement::IdReused,
                "fault" => Settlement::Fault,
                _ => Settlement::NotPaying("invalid_payment_requirements"),
            }
        })
    }

    fn served(&self, order: [u8; 16]) -> Noting<'_> {
        Box::pin(async move { self.served.lock().unwrap().push(order) })
    }
}

pub fn pays(what: &str) -> String {
    let payload = json!({"x402Version": 2, "accepted": {}, "payload": {"do": what}});
    format!("PAYMENT-SIGNATURE: {}\r\n", BASE64.encode(payload.to_string().as_bytes()))
}

pub async fn listen(app: Router) -> (SocketAddr, Stop) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Stop::new();
    tokio::spawn(serve(listener, None, app, Limits::default(), stop.clone()));
    (address, stop)
}

pub fn payable() -> Payable {
    Payable::new(vec![Denominations::one_two_five(Currency::FLO, 24)], 32)
}

pub const RULES: &str = r#"
[[rule]]
path = "/paid/**"
price = "0.05 FLO"
description = "A <b>page</b>"
"#;

pub struct Running {
    pub gate: SocketAddr,
    pub till: Arc<Told>,
    _stop: Stop,
}

pub async fn gate_to(upstream: &str, header_timeout: Duration) -> Running {
    let till = Arc::new(Told::default());
    let gate = Gate {
        rules: Rules::parse(RULES, None, &payable()).unwrap(),
        till: till.clone(),
        proxy: Proxy::new(upstream, header_timeout, None).unwrap(),
        outside: Outside::default(),
        shop: Shop { name: "Corner shop".into(), operator: "Town mint".into(), test: true },
        hold: HoldSettings::default(),
        entropy: florin_shell::house::os_entropy(),
    };
    let (gate, stop) = listen(router(gate)).await;
    Running { gate, till, _stop: stop }
}

pub async fn gate_before(app: Router) -> Running {
    let (upstream, stop) = listen(app).await;
    // The service lives as long as the test.
    std::mem::forget(stop);
    gate_to(&format!("http://{upstream}"), PATIENCE).await
}

/// Sends bytes, reads to the end.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.unwrap().unwrap();
    answer
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn base64(&self, name: &str) -> Value {
        serde_json::from_slice(&BASE64.decode(self.header(name).unwrap().as_bytes()).unwrap()).unwrap()
    }
}

/// Asks, with header lines that each end in CR LF.
pub async fn ask(address: SocketAddr, line: &str, lines: &str) -> Answer {
    ask_with(address, line, lines, b"").await
}

pub async fn ask_with(address: SocketAddr, line: &str, lines: &str, body: &[u8]) -> Answer {
    let host = if lines.to_ascii_lowercase().contains("host:") { "" } else { "Host: shop.test\r\n" };
    let mut bytes = format!("{line} HTTP/1.1\r\n{host}Connection: close\r\n{lines}\r\n").into_bytes();
    bytes.extend(body);
    let all = raw(address, &bytes).await;
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: all[end + 4..].to_vec() }
}
