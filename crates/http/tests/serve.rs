//! Stop, TLS, upgrades, panics and the answers to unknown paths, over real sockets.
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
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use common::{PATIENCE, app, client, data, listen, listen_tls, raw, to_end, until};
use florin_http::{
    Client, ClientConfig, Limits, NotSentCause, Registry, SendError, Stop, TlsFault, acceptor, check_bind,
    only_hosts, operating_routes, with_fallbacks,
};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

#[tokio::test]
async fn a_stop_lets_a_request_in_flight_finish_and_takes_no_new_connection() {
    let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&begun), Arc::clone(&release));
    let slow = get(async move || {
        tell.notify_one();
        wait.notified().await;
        "finished"
    });
    let server = listen(app().route("/slow", slow), Limits::default()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until(&mut idle, "hello").await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    begun.notified().await;
    server.stop.trigger();
    // The idle connection is closed at once; the busy one is not.
    assert_eq!(to_end(&mut idle).await, "");
    assert!(!server.task.is_finished());
    let begin = Instant::now();
    while TcpStream::connect(server.address).await.is_ok() {
        assert!(begin.elapsed() < PATIENCE);
    }
    release.notify_one();
    assert!(to_end(&mut tcp).await.ends_with("finished"));
    let report = server.stopped().await;
    assert!(report.drained);
    assert_eq!(report.requests_served, 2);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let begun = Arc::new(Notify::new());
    let tell = Arc::clone(&begun);
    let hangs = get(async move || {
        tell.notify_one();
        std::future::pending::<()>().await;
    });
    let limits = Limits { drain_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = listen(app().route("/hangs", hangs), limits).await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(b"GET /hangs HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    begun.notified().await;
    assert!(!server.stopped().await.drained);
    assert_eq!(to_end(&mut tcp).await, "");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_connection_that_never_said_a_word() {
    let server = listen(app(), Limits::default()).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    // Once another one was answered, the silent one before it has been accepted.
    assert_eq!(client().get(&server.url("/"), []).await.unwrap().body, "hello");
    let begin = Instant::now();
    assert!(server.stopped().await.drained);
    assert!(begin.elapsed() < Limits::default().header_timeout / 2);
    assert_eq!(to_end(&mut silent).await, "");
}

#[tokio::test]
async fn sigterm_triggers_the_stop() {
    let stop = Stop::on_signal().unwrap();
    assert!(!stop.is_triggered());
    let id = std::process::id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    tokio::time::timeout(PATIENCE, stop.stopped()).await.unwrap();
    assert!(stop.clone().is_triggered());
}

fn trusting(ca: Option<&str>) -> Client {
    let ca_file = ca.map(data);
    Client::new(ClientConfig { ca_file, timeout: PATIENCE, ..ClientConfig::default() }).unwrap()
}

#[tokio::test]
async fn a_tls_round_trip_with_a_given_authority() {
    let tls = acceptor(&data("localhost.pem"), &data("localhost.key")).unwrap();
    let server = listen_tls(app(), Limits::default(), Some(tls)).await;
    let url = format!("https://localhost:{}/echo", server.address.port());
    let answer = trusting(Some("ca.pem")).post(&url, "text/plain", "over TLS").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, b"over TLS".as_slice()));
    // Unknown authority: nothing is sent, and that is known.
    let refused = trusting(None).post(&url, "text/plain", "over TLS").await.unwrap_err();
    assert!(matches!(refused, SendError::Tls(_)), "{refused:?}");
    assert!(!refused.outcome_is_open());
    assert_eq!(server.stopped().await.requests_served, 1);
    // A certificate of the known authority, for another name.
    let tls = acceptor(&data("shop.example.pem"), &data("localhost.key")).unwrap();
    let server = listen_tls(app(), Limits::default(), Some(tls)).await;
    let url = format!("https://localhost:{}/echo", server.address.port());
    let refused = trusting(Some("ca.pem")).get(&url, []).await.unwrap_err();
    assert!(matches!(refused, SendError::Tls(_)), "{refused:?}");
}

#[tokio::test]
async fn a_stalled_handshake_is_closed_and_seen_as_not_sent() {
    let tls = acceptor(&data("localhost.pem"), &data("localhost.key")).unwrap();
    let limits = Limits { handshake_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = listen_tls(app(), limits, Some(tls)).await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(to_end(&mut tcp).await, "");
    // The other way round: a listener that never shakes hands.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", deaf.local_addr().unwrap());
    let connect_timeout = Duration::from_millis(100);
    let client = Client::new(ClientConfig { connect_timeout, ..ClientConfig::default() }).unwrap();
    let error = client.get(&url, []).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent(NotSentCause::TooSlow)), "{error:?}");
}

#[test]
fn damaged_tls_files_are_named() {
    let (pem, key) = (data("localhost.pem"), data("localhost.key"));
    assert!(matches!(acceptor(&data("none.pem"), &key), Err(TlsFault::Certificates { .. })));
    assert!(matches!(acceptor(&key, &key), Err(TlsFault::NoCertificate { .. })));
    assert!(matches!(acceptor(&pem, &pem), Err(TlsFault::Key { .. })));
    // A certificate of another key.
    assert!(matches!(acceptor(&data("ca.pem"), &key), Err(TlsFault::NotUsable(_))));
    let config = ClientConfig { ca_file: Some(data("none.pem")), ..ClientConfig::default() };
    assert!(Client::new(config).is_err());
}

#[test]
fn plain_http_binds_to_loopback_only() {
    for (address, tls, good) in [
        ("127.0.0.1:7400", false, true),
        ("[::1]:7400", false, true),
        ("0.0.0.0:7400", false, false),
        ("[::]:7400", false, false),
        ("192.0.2.1:7400", false, false),
        ("0.0.0.0:7400", true, true),
    ] {
        assert_eq!(check_bind(address.parse().unwrap(), tls).is_ok(), good, "{address}");
    }
}

/// Takes over the connection and sends every byte back.
async fn upgrade_echo(mut request: Request) -> Response {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await.unwrap());
        let mut buf = [0; 64];
        while let Ok(n) = stream.read(&mut buf).await {
            if n == 0 || stream.write_all(&buf[..n]).await.is_err() {
                break;
            }
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "echo")
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn an_upgrade_passes_outlives_the_timeouts_holds_its_slot_and_ends_with_the_stop() {
    let short = Duration::from_millis(100);
    let limits =
        Limits { header_timeout: short, idle_timeout: short, connections_max: 1, ..Limits::default() };
    let server = listen(Router::new().route("/up", get(upgrade_echo)), limits).await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    let request = b"GET /up HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    tcp.write_all(request).await.unwrap();
    assert!(until(&mut tcp, "\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    tokio::time::sleep(short * 3).await;
    tcp.write_all(b"still there?").await.unwrap();
    until(&mut tcp, "still there?").await;
    assert!(raw(server.address, request).await.contains("too-many-connections"));
    assert!(server.stopped().await.drained);
    assert_eq!(to_end(&mut tcp).await, "");
}

#[tokio::test]
async fn an_upgrade_passes_through_the_client() {
    let server = listen(Router::new().route("/up", get(upgrade_echo)), Limits::default()).await;
    let request = Request::builder()
        .uri(server.url("/up"))
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "echo")
        .body(Body::empty())
        .unwrap();
    let mut response = client().send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    stream.write_all(b"both ways").await.unwrap();
    let mut back = [0; 9];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"both ways");
}

#[tokio::test]
async fn a_panic_is_a_bare_500_of_one_request() {
    let panics = get(async || -> &'static str { panic!("with a secret 4711 in it") });
    let server = listen(app().route("/panics", panics), Limits::default()).await;
    let client = client();
    let answer = client.get(&server.url("/panics"), []).await.unwrap();
    assert_eq!(answer.status, 500);
    assert!(!String::from_utf8_lossy(&answer.body).contains("4711"));
    assert_eq!(answer.problem().unwrap().log_id.unwrap().len(), 16);
    assert_eq!(client.get(&server.url("/"), []).await.unwrap().body, "hello");
}

#[tokio::test]
async fn unknown_paths_and_methods_get_problems() {
    let server = listen(with_fallbacks(app()), Limits::default()).await;
    let missing = client().get(&server.url("/none"), []).await.unwrap();
    assert_eq!(missing.status, 404);
    assert_eq!(missing.problem().unwrap().slug.as_deref(), Some("no-such-page"));
    let wrong = client().get(&server.url("/echo"), []).await.unwrap();
    assert_eq!(wrong.status, 405);
    assert_eq!(wrong.problem().unwrap().slug.as_deref(), Some("method-not-allowed"));
    assert_eq!(wrong.headers[header::ALLOW], "POST");
}

#[tokio::test]
async fn only_listed_hosts_are_answered() {
    let server =
        listen(only_hosts(with_fallbacks(app()), ["127.0.0.1:7401", "localhost:7401"]), Limits::default())
            .await;
    for (host, status) in [
        ("localhost:7401", 200),
        ("LOCALHOST:7401", 200),
        ("localhost", 421),
        ("evil.example:7401", 421),
        ("localhost:7401.evil.example", 421),
    ] {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
        let answer =
            client().request(Method::GET, &server.url("/"), headers, Bytes::new(), 1024).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{host}");
        if status == 421 {
            assert_eq!(answer.problem().unwrap().slug.as_deref(), Some("wrong-host"));
        }
    }
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: localhost:7401\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nhost: localhost:7401\r\nconnection: close\r\n\r\n",
    ] {
        let answer = raw(server.address, request.as_bytes()).await;
        assert!(answer.contains(" 421 "), "{answer}");
    }
}

#[tokio::test]
async fn the_operating_routes_say_alive_ready_and_how_much() {
    let registry = Registry::new();
    registry.counter("florin_test_total", "A number.").add(3);
    let is_ready = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_ready);
    let routes = operating_routes(registry, move || seen.load(Ordering::Relaxed));
    let server = listen(routes, Limits::default()).await;
    let client = client();
    let status = async |path: &str| client.get(&server.url(path), []).await.unwrap().status.as_u16();
    assert_eq!((status("/healthz").await, status("/readyz").await), (200, 503));
    is_ready.store(true, Ordering::Relaxed);
    assert_eq!(status("/readyz").await, 200);
    let metrics = client.get(&server.url("/metrics"), []).await.unwrap();
    assert_eq!(metrics.headers[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    assert!(String::from_utf8_lossy(&metrics.body).ends_with("\nflorin_test_total 3\n"));
}
