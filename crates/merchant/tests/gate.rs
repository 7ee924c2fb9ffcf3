//! The gate over real sockets: what it asks for, what it lets through, and what it never gives away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
mod common;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::{PATIENCE, ask, ask_with, gate_before, gate_to, pays};
use serde_json::json;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Seen = Arc<Mutex<Vec<String>>>;

/// A service that notes what it sees and answers with something of its own.
fn service() -> (Router, Seen) {
    let seen = Seen::default();
    let noted = seen.clone();
    let app = Router::new().fallback(async move |request: Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let mut lines = vec![format!("{} {}", parts.method, parts.uri)];
        lines.extend(parts.headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())));
        noted.lock().unwrap().push(lines.join("\n"));
        let mut response = Response::new(Body::from([&[0xff, 0x00][..], &body].concat()));
        if parts.uri.path().ends_with("/broken") {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let headers = response.headers_mut();
        headers.insert("x-service", HeaderValue::from_static("mine"));
        headers.insert("payment-response", HeaderValue::from_static("forged"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
        response
    });
    (app, seen)
}

#[tokio::test]
async fn a_free_page_passes_as_it_is() {
    let (app, seen) = service();
    let gate = gate_before(app).await;
    let answer =
        ask(gate.gate, "GET /free//x/../page?q=1", "X-Mine: 1\r\nPAYMENT-SIGNATURE: secret\r\n").await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &[0xff, 0x00][..]));
    assert_eq!(answer.header("x-service"), Some("mine"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
    let seen = seen.lock().unwrap().join("\n");
    assert!(seen.starts_with("GET /free/page?q=1\n"), "{seen}");
    assert!(
        seen.contains("x-mine: 1") && seen.contains("host: shop.test") && !seen.contains("secret"),
        "{seen}"
    );
    assert!(
        seen.contains("x-forwarded-for: 127.0.0.1") && seen.contains("x-forwarded-proto: http"),
        "{seen}"
    );
    assert!(gate.till.settled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_program_gets_a_402_that_says_what_to_do() {
    let (app, seen) = service();
    let gate = gate_before(app).await;
    let answer = ask(gate.gate, "GET /paid/a?b='c", "Accept: */*\r\n").await;
    assert_eq!((answer.status, answer.header("content-type")), (402, Some("application/problem+json")));
    assert_eq!((answer.header("cache-control"), answer.header("vary")), (Some("no-store"), Some("Accept")));
    assert_eq!(answer.header("retry-after"), None);
    let body = answer.json();
    assert_eq!((&body["slug"], &body["status"]), (&json!("payment-required"), &json!(402)));
    let how = body["how_to_pay"].as_str().unwrap();
    assert!(
        how.contains("florin wallet pay 'http://shop.test/paid/a?b=%27c'") && how.contains("0.05 FLO"),
        "{how}"
    );
    let required = answer.base64("payment-required");
    assert_eq!(required["x402Version"], 2);
    assert_eq!(required["resource"]["url"], "http://shop.test/paid/a?b='c");
    assert_eq!(required["resource"]["serviceName"], "Corner shop");
    assert_eq!(required["accepts"][0]["amount"], "5");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_browser_gets_a_page_without_anything_that_runs() {
    let (app, _) = service();
    let gate = gate_before(app).await;
    let line = "GET /paid/%3Cscript%3Ealert(1)%3C/script%3E?x=%22%3E%3Cscript%3E";
    let answer = ask(gate.gate, line, "Accept: text/html,*/*;q=0.8\r\nOrigin: https://elsewhere\r\n").await;
    assert_eq!((answer.status, answer.header("content-type")), (402, Some("text/html; charset=utf-8")));
    let csp = answer.header("content-security-policy").unwrap();
    assert!(csp.starts_with("default-src 'none'; style-src 'nonce-") && !csp.contains("unsafe"), "{csp}");
    let nonce = csp.split("nonce-").nth(1).unwrap().split('\'').next().unwrap();
    let html = answer.text();
    assert!(html.len() < 20 * 1024 && html.contains(&format!("<style nonce=\"{nonce}\">")));
    assert!(
        !html.contains("<script") && !html.contains("<b>") && html.contains("A &lt;b&gt;page&lt;/b&gt;"),
        "{html}"
    );
    assert_eq!((answer.header("vary"), answer.header("cache-control")), (Some("Accept"), Some("no-store")));
    assert!(answer.base64("payment-required")["accepts"][0].is_object());
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("PAYMENT-RESPONSE"));
    let again = ask(gate.gate, line, "Accept: text/html\r\n").await;
    assert_ne!(again.header("content-security-policy"), answer.header("content-security-policy"));
}

#[tokio::test]
async fn a_paid_page_comes_whole_with_its_receipt_and_is_private() {
    let (app, seen) = service();
    let gate = gate_before(app).await;
    let lines =
        format!("{}Authorization: Payment secret\r\nCookie: a=1; florin-gate-x=secret\r\n", pays("pay"));
    let answer = ask(gate.gate, "GET //paid/./a?b=1", &lines).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &[0xff, 0x00][..]));
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("cache-control"), Some("private, max-age=60"));
    assert_eq!(answer.base64("payment-response")["success"], true);
    assert_eq!(answer.head.matches("payment-response:").count(), 1);
    assert!(answer.header("access-control-expose-headers").unwrap().contains("PAYMENT-RESPONSE"));
    assert_eq!(*gate.till.settled.lock().unwrap(), ["GET http://shop.test/paid/a?b=1"]);
    assert!(gate.till.served.lock().unwrap().is_empty(), "a GET may be served again");
    let seen = seen.lock().unwrap().join("\n");
    assert!(
        seen.starts_with("GET /paid/a?b=1\n") && !seen.contains("secret") && !seen.contains("payment"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_service_that_fails_is_passed_on_with_the_receipt() {
    let (app, _) = service();
    let gate = gate_before(app).await;
    let answer = ask(gate.gate, "GET /paid/broken", &pays("pay")).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.base64("payment-response")["transaction"], "pay_1");

    // Nobody listens there: the payment stands, and so does its receipt.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let gate = gate_to(&url, PATIENCE).await;
    let answer = ask(gate.gate, "POST /paid/a", &pays("pay")).await;
    assert_eq!((answer.status, &answer.json()["slug"]), (502, &json!("upstream-unreachable")));
    assert_eq!(answer.json()["status"], 502);
    assert_eq!(answer.base64("payment-response")["success"], true);
    assert!(gate.till.served.lock().unwrap().is_empty(), "what was not reached may be asked again");
}

#[tokio::test]
async fn a_service_that_says_nothing_in_time_or_no_http_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate =
        gate_to(&format!("http://{}", silent.local_addr().unwrap()), std::time::Duration::from_millis(200))
            .await;
    let answer = ask(gate.gate, "GET /free", "").await;
    assert_eq!((answer.status, &answer.json()["slug"]), (504, &json!("upstream-too-slow")));
    let gate = gate_to(&format!("http://{}", silent.local_addr().unwrap()), PATIENCE).await;
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = silent.accept().await.unwrap();
            let _ = tcp.write_all(b"SSH-2.0-nothing\r\n").await;
        }
    });
    let answer = ask(gate.gate, "GET /free", "").await;
    assert_eq!((answer.status, &answer.json()["slug"]), (502, &json!("upstream-broken")));
}

#[tokio::test]
async fn what_becomes_of_a_payment_decides_the_answer() {
    let (app, seen) = service();
    let gate = gate_before(app).await;
    let of = async |what: &str| ask(gate.gate, "GET /paid/a", &pays(what)).await;
    let denied = of("deny").await;
    assert_eq!((denied.status, &denied.json()["slug"]), (402, &json!("payment-denied")));
    assert_eq!(denied.base64("payment-response")["errorReason"], "florin_payment_denied");
    assert_eq!(denied.header("payment-required"), None);
    let open = of("wait").await;
    assert_eq!((open.status, open.header("retry-after")), (503, Some("3")));
    assert!(open.json()["detail"].as_str().unwrap().contains("same PAYMENT-SIGNATURE"));
    assert_eq!(open.json()["same_bytes_may_be_sent_again"], true);
    assert!(open.header("payment-required").is_none() && open.header("payment-response").is_none());
    for (what, status, slug) in
        [("used", 409, "already-used"), ("reused", 409, "request-id-reused"), ("fault", 500, "fault")]
    {
        let answer = of(what).await;
        assert_eq!((answer.status, &answer.json()["slug"]), (status, &json!(slug)));
    }
    let not = of("nothing").await;
    assert_eq!((not.status, &not.json()["slug"]), (402, &json!("payment-required")));
    assert_eq!(not.base64("payment-required")["error"], "invalid_payment_requirements");
    assert!(not.header("payment-response").is_none());
    assert!(seen.lock().unwrap().is_empty(), "nothing reached the service");
}

#[tokio::test]
async fn what_cannot_be_read_is_unpaid() {
    let (app, seen) = service();
    let gate = gate_before(app).await;
    let url_alphabet = data_encoding::BASE64URL
        .encode(r#"{"x402Version":2,"accepted":"???>>>","payload":{"do":"pay"}}"#.as_bytes());
    assert!(url_alphabet.contains('_') || url_alphabet.contains('-'));
    for value in ["", "nonsense!", "e30=", url_alphabet.as_str()] {
        let answer = ask(gate.gate, "GET /paid/a", &format!("PAYMENT-SIGNATURE: {value}\r\n")).await;
        assert_eq!(answer.status, 402, "{value}");
        assert!(answer.base64("payment-required")["error"].is_string());
    }
    let twice = format!("{}{}", pays("pay"), pays("pay"));
    assert_eq!(ask(gate.gate, "GET /paid/a", &twice).await.status, 402);
    assert!(gate.till.settled.lock().unwrap().is_empty() && seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn no_way_of_writing_a_request_gets_past_its_price() {
    let (app, seen) = service();
    let gate = gate_before(app).await;
    for line in [
        "GET //paid/a",
        "GET /./paid/a",
        "GET /free/../paid/a",
        "GET /free/%2e%2e/paid/a",
        "GET /%70aid/a",
        "GET /PAID/a",
        "GET /paid",
        "GET /paid/",
        "GET /paid;x/a",
        "GET /paid/a?free=1",
        "GET http://shop.test/paid/a",
        "GET http://shop.test//x/..//paid/a",
        "HEAD /paid/a",
        "POST /paid/a",
        "get /paid/a",
        "PROPFIND /paid/a",
    ] {
        assert_eq!(ask(gate.gate, line, "").await.status, 402, "{line}");
    }
    for line in ["GET /free%2f..%2fpaid/a", "GET /free/..;/paid/a", "GET /free\\..\\paid", "GET /free/%00"] {
        let answer = ask(gate.gate, line, "").await;
        assert_eq!((answer.status, &answer.json()["slug"]), (400, &json!("bad-path")), "{line}");
    }
    for line in ["TRACE /free", "CONNECT shop.test:80"] {
        assert_eq!(ask(gate.gate, line, "").await.status, 405, "{line}");
    }
    assert!(seen.lock().unwrap().is_empty());
    let disguised = "X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /paid/a\r\nX-Rewrite-URL: /paid/a\r\n";
    ask(gate.gate, "GET /free", disguised).await;
    let seen = seen.lock().unwrap().join("\n");
    assert!(seen.starts_with("GET /free\n") && !seen.contains("DELETE") && !seen.contains("paid"), "{seen}");
    let long = format!("GET /paid/{}", "a".repeat(1000));
    assert_eq!(ask(gate.gate, &long, "").await.status, 400);
}

#[tokio::test]
async fn a_preflight_is_free_and_answered_here() {
    let (app, seen) = service();
    let gate = gate_before(app).await;
    let lines = "Origin: https://app\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-a, payment-signature\r\n";
    let answer = ask(gate.gate, "OPTIONS /paid/a", lines).await;
    assert_eq!(answer.status, 204);
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    let allowed = answer.header("access-control-allow-headers").unwrap();
    assert!(
        allowed.contains("PAYMENT-SIGNATURE")
            && allowed.contains("Access-Control-Expose-Headers")
            && allowed.contains("x-a")
    );
    assert_eq!(ask(gate.gate, "OPTIONS *", "").await.status, 204);
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!(ask(gate.gate, "OPTIONS /free", lines).await.header("x-service"), Some("mine"));
}

#[tokio::test]
async fn bodies_stream_both_ways_and_head_has_none() {
    let (app, seen) = service();
    let gate = gate_before(app).await;
    let chunked = "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n";
    let answer = ask_with(gate.gate, "POST /free", chunked, b"3\r\nabc\r\n0\r\n\r\n").await;
    // The listener's own 100 stands before the answer.
    assert_eq!(answer.status, 100);
    let text = String::from_utf8_lossy(&answer.body);
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("abc"), "{text}");
    assert!(!seen.lock().unwrap().join("\n").contains("expect"));
    let head = ask(gate.gate, "HEAD /paid/a", &pays("pay")).await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some("2")));

    // The first piece arrives before the service has made the second.
    let (send, receive) = tokio::sync::mpsc::channel::<&'static str>(1);
    let receive = Arc::new(tokio::sync::Mutex::new(Some(receive)));
    let app = Router::new().fallback(async move || {
        let mut pieces = receive.lock().await.take().unwrap();
        let (tx, body) = tokio::io::duplex(64);
        tokio::spawn(async move {
            let mut tx = tx;
            while let Some(piece) = pieces.recv().await {
                tx.write_all(piece.as_bytes()).await.unwrap();
            }
        });
        Body::new(ReadBody(body)).into_response()
    });
    let gate = gate_before(app).await;
    let mut tcp = TcpStream::connect(gate.gate).await.unwrap();
    let request = format!("GET /paid/stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n", pays("pay"));
    tcp.write_all(request.as_bytes()).await.unwrap();
    send.send("first").await.unwrap();
    let got = read_until(&mut tcp, "first").await;
    assert!(got.contains("payment-response") && !got.contains("second"));
    send.send("second").await.unwrap();
    drop(send);
    read_until(&mut tcp, "second").await;
}

/// A body from something that can be read.
struct ReadBody(tokio::io::DuplexStream);

impl hyper::body::Body for ReadBody {
    type Data = bytes::Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, std::io::Error>>> {
        let mut space = [0; 64];
        let mut buf = tokio::io::ReadBuf::new(&mut space);
        let polled = tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut self.0), cx, &mut buf);
        polled.map(|read| match read {
            Ok(()) if buf.filled().is_empty() => None,
            Ok(()) => Some(Ok(hyper::body::Frame::data(bytes::Bytes::copy_from_slice(buf.filled())))),
            Err(error) => Some(Err(error)),
        })
    }
}

async fn read_until(tcp: &mut TcpStream, what: &str) -> String {
    let mut all = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&all).contains(what) {
            let mut piece = [0; 1024];
            let n = tcp.read(&mut piece).await.unwrap();
            assert!(n > 0, "ended before {what}");
            all.extend(&piece[..n]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn trailers_pass_where_they_are_taken() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut tcp, _) = upstream.accept().await.unwrap();
        read_until(&mut tcp, "te: trailers").await;
        let answer = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\
                      trailer: x-sum\r\n\r\n2\r\nab\r\n0\r\nx-sum: 42\r\n\r\n";
        tcp.write_all(answer.as_bytes()).await.unwrap();
        read_until(&mut tcp, "never").await;
    });
    let gate = gate_to(&url, PATIENCE).await;
    let answer = ask(gate.gate, "GET /free", "TE: trailers\r\n").await;
    assert_eq!((answer.status, answer.header("trailer")), (200, Some("x-sum")));
    let body = String::from_utf8(answer.body).unwrap();
    assert!(body.contains("ab") && body.contains("x-sum: 42"), "{body}");
}

#[tokio::test]
async fn a_websocket_opens_after_payment_and_only_then() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut tcp, _) = upstream.accept().await.unwrap();
        let asked = read_until(&mut tcp, "\r\n\r\n").await.to_ascii_lowercase();
        assert!(asked.contains("upgrade: websocket") && asked.contains("connection: upgrade"), "{asked}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: x\r\n\r\n";
        tcp.write_all(answer.as_bytes()).await.unwrap();
        read_until(&mut tcp, "ping").await;
        tcp.write_all(b"pong").await.unwrap();
        read_until(&mut tcp, "never").await;
    });
    let gate = gate_to(&url, PATIENCE).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n";
    let unpaid = ask(gate.gate, "GET /paid/socket", "Upgrade: websocket\r\n").await;
    assert_eq!(unpaid.status, 402);
    let mut tcp = TcpStream::connect(gate.gate).await.unwrap();
    let request = format!("GET /paid/socket HTTP/1.1\r\nHost: a\r\n{upgrade}{}\r\n", pays("pay"));
    tcp.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(&mut tcp, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("sec-websocket-accept: x"), "{head}");
    assert!(head.contains("payment-response"), "{head}");
    tcp.write_all(b"ping").await.unwrap();
    read_until(&mut tcp, "pong").await;
}

#[tokio::test]
async fn what_may_change_something_is_passed_on_once() {
    let (app, seen) = service();
    let gate = gate_before(app).await;
    let answer =
        ask_with(gate.gate, "POST /paid/a", &format!("{}Content-Length: 2\r\n", pays("pay")), b"hi").await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &[0xff, 0x00, b'h', b'i'][..]));
    assert_eq!(*gate.till.served.lock().unwrap(), [[1; 16]]);
    assert_eq!(seen.lock().unwrap().len(), 1);

    // While the first is with the service, the same payment does not get a second one there.
    let app = Router::new().fallback(async || {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        "done"
    });
    let gate = gate_before(app).await;
    let payment = pays("pay");
    let both =
        tokio::join!(ask(gate.gate, "POST /paid/a", &payment), ask(gate.gate, "POST /paid/a", &payment));
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);

    // Who hangs up before the answer has had his call.
    let gate = gate_before(Router::new().fallback(async || {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        "done"
    }))
    .await;
    let mut tcp = TcpStream::connect(gate.gate).await.unwrap();
    tcp.write_all(format!("POST /paid/a HTTP/1.1\r\nHost: a\r\n{payment}\r\n").as_bytes()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    drop(tcp);
    let noted = async {
        while gate.till.served.lock().unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, noted).await.unwrap();
}
