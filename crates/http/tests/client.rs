//! What the asking side says when no answer comes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
mod common;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method};
use axum::routing::get;
use bytes::Bytes;
use common::{PATIENCE, app, client, listen};
use florin_http::{Client, ClientConfig, Limits, NotSentCause, SendError, UnknownCause, UrlFault};
use http_body_util::BodyExt;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Reads one request, answers with these bytes and closes; gives back what it read.
async fn answering(answer: &'static [u8]) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"pay") {
            let mut buf = [0; 1024];
            let n = tcp.read(&mut buf).await.unwrap();
            seen.extend_from_slice(&buf[..n]);
        }
        tcp.write_all(answer).await.unwrap();
        seen
    });
    (address, task)
}

#[tokio::test]
async fn nobody_listening_is_not_sent() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = client().post(&format!("http://{free}/"), "text/plain", "pay").await.unwrap_err();
    assert!(matches!(error, SendError::NotSent(NotSentCause::Refused)), "{error:?}");
    assert!(!error.outcome_is_open());
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_not_sent() {
    let error = client().post("https://no-such-name.invalid/", "text/plain", "pay").await.unwrap_err();
    assert!(
        matches!(error, SendError::NotSent(NotSentCause::Unreachable | NotSentCause::TooSlow)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_close_after_the_request_is_unknown_and_is_not_sent_twice() {
    for (answer, cause) in [
        (b"".as_slice(), UnknownCause::ClosedEarly),
        (b"HTTP/1.1 200 OK\r\ncontent-le", UnknownCause::ClosedEarly),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", UnknownCause::ClosedEarly),
        (b"what?\r\n\r\n", UnknownCause::Unreadable),
    ] {
        let (address, task) = answering(answer).await;
        let error = client().post(&format!("http://{address}/"), "text/plain", "pay").await.unwrap_err();
        assert!(matches!(&error, SendError::Unknown(it) if *it == cause), "{error:?}");
        assert!(error.outcome_is_open());
        // One connection, one request: a second one would have found nobody.
        assert!(task.await.unwrap().ends_with(b"pay"));
    }
}

#[tokio::test]
async fn no_answer_in_time_is_unknown() {
    let server =
        listen(app().route("/never", get(async || std::future::pending::<()>().await)), Limits::default())
            .await;
    let timeout = Duration::from_millis(100);
    let client = Client::new(ClientConfig { timeout, ..ClientConfig::default() }).unwrap();
    let error = client.get(&server.url("/never"), []).await.unwrap_err();
    assert!(matches!(error, SendError::Unknown(UnknownCause::TooSlow)), "{error:?}");
}

#[tokio::test]
async fn an_answer_beyond_the_cap_is_too_large_declared_or_not() {
    let app = app().route("/declared", get(async || vec![7_u8; 1001])).route(
        "/streamed",
        get(async || {
            Body::new(http_body_util::Full::new(Bytes::from(vec![7_u8; 1001])).with_trailers(async { None }))
        }),
    );
    let server = listen(app, Limits::default()).await;
    for path in ["/declared", "/streamed"] {
        let get = async |max| {
            client().request(Method::GET, &server.url(path), HeaderMap::new(), Bytes::new(), max).await
        };
        assert!(matches!(get(1000).await, Err(SendError::TooLarge { max: 1000 })), "{path}");
        assert_eq!(get(1001).await.unwrap().body.len(), 1001, "{path}");
    }
}

#[tokio::test]
async fn unusable_urls_are_refused_before_anything_is_sent() {
    for (url, fault) in [
        ("http://192.0.2.1/", UrlFault::PlainBeyondLoopback),
        ("ftp://127.0.0.1/", UrlFault::Scheme),
        ("http://127.0.0.1@192.0.2.1/", UrlFault::UserName),
    ] {
        let error = client().get(url, []).await.unwrap_err();
        assert!(matches!(&error, SendError::Url(it) if *it == fault), "{error:?}");
        let request = Request::builder().uri(url).body(Body::empty()).unwrap();
        assert!(matches!(client().send(request).await, Err(SendError::Url(it)) if it == fault));
    }
}

#[tokio::test]
async fn a_streamed_answer_comes_before_its_end_and_redirects_are_not_followed() {
    let app = app().route(
        "/moved",
        get(async || (axum::http::StatusCode::FOUND, [("location", "http://192.0.2.1/")], "moved")),
    );
    let server = listen(app, Limits::default()).await;
    let request = Request::builder().uri(server.url("/moved")).body(Body::empty()).unwrap();
    let response = client().send(request).await.unwrap();
    assert_eq!(response.status(), 302);
    let body = tokio::time::timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap();
    assert_eq!(body.to_bytes(), "moved");
}

#[tokio::test]
async fn a_connection_closed_while_idle_does_not_fail_the_next_request() {
    let limits = Limits { idle_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = listen(app(), limits).await;
    let client = client();
    for _ in 0..3 {
        assert_eq!(client.get(&server.url("/"), []).await.unwrap().body, "hello");
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    assert_eq!(server.stopped().await.connections_accepted, 3);
}
