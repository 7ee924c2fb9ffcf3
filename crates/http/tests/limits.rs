//! Limits of connections, headers, bodies and requests, over real sockets.
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
use axum::extract::Extension;
use axum::routing::get;
use common::{PATIENCE, app, client, listen, raw, to_end, until};
use florin_http::{Limits, PeerAddress, RateLimit};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn half_sent_headers_are_closed() {
    let server = listen(app(), Limits { header_timeout: SHORT, ..Limits::default() }).await;
    let begin = Instant::now();
    let mut half = Vec::new();
    for text in ["", "GET", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut tcp = TcpStream::connect(server.address).await.unwrap();
        tcp.write_all(text.as_bytes()).await.unwrap();
        half.push(tcp);
    }
    for mut tcp in half {
        assert_eq!(to_end(&mut tcp).await, "");
    }
    assert!(begin.elapsed() >= SHORT && begin.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn a_header_that_trickles_is_closed_too() {
    let server = listen(app(), Limits { header_timeout: SHORT, ..Limits::default() }).await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    let begin = Instant::now();
    // A byte well within the limit each time: the limit is for the whole header.
    let mut pause = tokio::time::interval(SHORT / 5);
    while begin.elapsed() < PATIENCE && tcp.write_all(b"G").await.is_ok() {
        pause.tick().await;
    }
    assert!(begin.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn an_idle_connection_lives_longer_than_a_header_and_is_then_closed() {
    let limits = Limits { header_timeout: SHORT, idle_timeout: SHORT * 4, ..Limits::default() };
    let server = listen(app(), limits).await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until(&mut tcp, "hello").await;
    tokio::time::sleep(SHORT * 2).await;
    tcp.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until(&mut tcp, "hello").await;
    let begin = Instant::now();
    assert_eq!(to_end(&mut tcp).await, "");
    assert!(begin.elapsed() >= SHORT * 3);
    // The second header of a connection is under the header's limit again.
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until(&mut tcp, "hello").await;
    let begin = Instant::now();
    tcp.write_all(b"GET").await.unwrap();
    assert_eq!(to_end(&mut tcp).await, "");
    assert!(begin.elapsed() < SHORT * 3);
}

#[tokio::test]
async fn a_slow_body_gets_408() {
    // By the handler's limit, by the listener's for a pause, and by the listener's for the whole.
    for (path, limits) in [
        ("/echo", Limits::default()),
        ("/patient", Limits { body_stall_timeout: SHORT, ..Limits::default() }),
        ("/patient", Limits { body_timeout: SHORT, ..Limits::default() }),
    ] {
        let server = listen(app(), limits).await;
        let begin = Instant::now();
        let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc");
        let answer = raw(server.address, request.as_bytes()).await;
        assert!(begin.elapsed() < Duration::from_secs(4));
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains(r#""slug":"body-too-slow""#), "{answer}");
        assert!(answer.contains(r#""same_bytes_may_be_sent_again":true"#), "{answer}");
    }
}

#[tokio::test]
async fn a_big_body_gets_413_before_it_is_read() {
    let server = listen(app(), Limits::default()).await;
    for length in [1025_u64, 64 * 1024 + 1, u64::MAX / 4] {
        let begin = Instant::now();
        // Nothing of the body is ever sent.
        let mut tcp = TcpStream::connect(server.address).await.unwrap();
        let head = format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        let answer = until(&mut tcp, "body-too-large").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(begin.elapsed() < SHORT * 4);
    }
}

#[tokio::test]
async fn the_413_is_not_lost_on_an_asker_that_keeps_sending() {
    let server = listen(app(), Limits::default()).await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 131072\r\n\r\n").await.unwrap();
    let answer = until(&mut tcp, "body-too-large").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // Without lingering the listener's socket is gone by now, and these bytes draw a reset.
    for _ in 0..2 {
        tokio::time::sleep(SHORT / 3).await;
        tcp.write_all(&[7; 65_536]).await.unwrap();
    }
    tokio::time::sleep(SHORT / 3).await;
    to_end(&mut tcp).await;
    // The same through our own client.
    let body = vec![7_u8; 128 * 1024];
    let answer = client().post(&server.url("/echo"), "application/octet-stream", body).await.unwrap();
    assert_eq!(answer.status, 413);
    assert_eq!(answer.problem().unwrap().slug.as_deref(), Some("body-too-large"));
}

#[tokio::test]
async fn an_undeclared_big_body_gets_413_at_the_limit() {
    let server = listen(app(), Limits::default()).await;
    let chunk = "x".repeat(1025);
    let request =
        format!("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n401\r\n{chunk}\r\n");
    let answer = raw(server.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // The listener's limit holds where the handler's is wider.
    let server = listen(app(), Limits { body_bytes_max: 1000, ..Limits::default() }).await;
    let request = format!(
        "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{}\r\n",
        &chunk[..1001]
    );
    let answer = raw(server.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_passes() {
    let server = listen(app(), Limits::default()).await;
    let body = vec![7_u8; 1024];
    let answer = client().post(&server.url("/echo"), "application/octet-stream", body.clone()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, body.as_slice()));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_broken() {
    let server = listen(app(), Limits::default()).await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        .await
        .unwrap();
    let answer = until(&mut tcp, "body-broken").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_limit_get_503_and_slots_come_back() {
    for limits in [
        Limits { connections_max: 2, ..Limits::default() },
        Limits { connections_per_address_max: 2, ..Limits::default() },
    ] {
        let server = listen(app(), limits).await;
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut tcp = TcpStream::connect(server.address).await.unwrap();
            tcp.write_all(request).await.unwrap();
            until(&mut tcp, "hello").await;
            held.push(tcp);
        }
        let begin = Instant::now();
        let answer = raw(server.address, request).await;
        assert!(begin.elapsed() < SHORT * 4);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        assert!(
            answer.ends_with(&answer[answer.find('{').unwrap()..]) && answer.contains("too-many-connections")
        );
        // One leaves; as soon as the listener sees it, there is room again.
        held.pop();
        let begin = Instant::now();
        while !raw(server.address, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .contains("hello")
        {
            assert!(begin.elapsed() < PATIENCE);
        }
        let report = server.stopped().await;
        assert!(report.connections_refused >= 1 && report.connections_accepted == 3, "{report:?}");
    }
}

#[tokio::test]
async fn the_rate_limit_answers_429_with_retry_after() {
    let request_rate = Some(RateLimit { per_second: 1, burst: 3 });
    let server = listen(app(), Limits { request_rate, ..Limits::default() }).await;
    let mut statuses = Vec::new();
    let mut last = None;
    for _ in 0..5 {
        let answer = client().get(&server.url("/"), []).await.unwrap();
        statuses.push(answer.status.as_u16());
        last = Some(answer);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let last = last.unwrap();
    assert_eq!(last.retry_after_s(), Some(1));
    let problem = last.problem().unwrap();
    assert_eq!(problem.slug.as_deref(), Some("too-many-requests"));
    assert_eq!(problem.same_bytes_may_be_sent_again, Some(true));
    let report = server.stopped().await;
    assert_eq!((report.requests_served, report.requests_refused), (3, 2));
}

#[tokio::test]
async fn work_beyond_the_limit_gets_503_at_once_but_health_is_seen() {
    let release = Arc::new(Notify::new());
    let begun = Arc::new(Notify::new());
    let (wait, tell) = (Arc::clone(&release), Arc::clone(&begun));
    let slow = get(async move || {
        tell.notify_one();
        wait.notified().await;
        "done"
    });
    let app = app().route("/slow", slow).route("/healthz", get(async || "ok"));
    let server = listen(app, Limits { in_flight_max: 1, ..Limits::default() }).await;
    let url = server.url("/slow");
    let first = tokio::spawn(async move { client().get(&url, []).await.unwrap() });
    begun.notified().await;
    let refused = client().get(&server.url("/"), []).await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.retry_after_s()), (503, Some(1)));
    assert_eq!(refused.problem().unwrap().slug.as_deref(), Some("busy"));
    assert_eq!(client().get(&server.url("/healthz"), []).await.unwrap().status, 200);
    release.notify_one();
    assert_eq!(first.await.unwrap().body, "done");
    assert_eq!(client().get(&server.url("/"), []).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_asker_that_does_not_read_is_closed() {
    let app = Router::new().route("/big", get(async || vec![7_u8; 32 * 1024 * 1024]));
    let limits = Limits { write_stall_timeout: SHORT, connections_max: 1, ..Limits::default() };
    let server = listen(app, limits).await;
    let mut deaf = TcpStream::connect(server.address).await.unwrap();
    deaf.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The only slot comes back although the deaf asker stays connected.
    let begin = Instant::now();
    while raw(server.address, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.contains("503")
    {
        assert!(begin.elapsed() < PATIENCE);
    }
    let mut rest = Vec::new();
    let _ = deaf.read_to_end(&mut rest).await;
    assert!(rest.len() < 32 * 1024 * 1024);
}

#[tokio::test]
async fn the_peer_address_is_a_request_extension() {
    let app = Router::new()
        .route("/", get(async |Extension(PeerAddress(peer)): Extension<PeerAddress>| peer.to_string()));
    let server = listen(app, Limits::default()).await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let own = tcp.local_addr().unwrap().to_string();
    assert!(to_end(&mut tcp).await.ends_with(&own));
}

#[tokio::test]
async fn an_oversized_header_is_refused() {
    let server = listen(app(), Limits::default()).await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{}: y\r\n\r\n", "a".repeat(64 * 1024));
    let _ = tcp.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    assert_eq!(client().get(&server.url("/"), []).await.unwrap().status, 200);
}
