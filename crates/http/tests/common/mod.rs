//! A listener under test and a raw asker.
#![allow(dead_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use florin_http::{Client, ClientConfig, Limits, Problem, ServeReport, Stop, TlsAcceptor, read_body, serve};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Listening {
    pub address: SocketAddr,
    pub stop: Stop,
    pub task: JoinHandle<ServeReport>,
}

impl Listening {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn stopped(self) -> ServeReport {
        self.stop.trigger();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}

pub async fn listen(app: Router, limits: Limits) -> Listening {
    listen_tls(app, limits, None).await
}

pub async fn listen_tls(app: Router, limits: Limits, tls: Option<TlsAcceptor>) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Stop::new();
    let task = tokio::spawn(serve(listener, tls, app, limits, stop.clone()));
    Listening { address, stop, task }
}

/// `GET /` says hello, `POST /echo` gives the body back under the handler's own limits, `POST /patient` under
/// the listener's only.
pub fn app() -> Router {
    let patient = post(async |body: Body| {
        read_body(body, usize::MAX, Duration::from_secs(3600)).await.map_err(Problem::from)
    });
    Router::new().route("/", get(async || "hello")).route("/patient", patient).route(
        "/echo",
        post(async |_: HeaderMap, body: Body| {
            read_body(body, 1024, Duration::from_millis(300)).await.map_err(Problem::from)
        }),
    )
}

pub fn client() -> Client {
    Client::new(ClientConfig { timeout: PATIENCE, ..ClientConfig::default() }).unwrap()
}

pub fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Sends bytes and reads until the other end closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    to_end(&mut tcp).await
}

/// What comes until the other end closes; a hanging connection fails the test.
pub async fn to_end(tcp: &mut TcpStream) -> String {
    let mut all = Vec::new();
    tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut all)).await.expect("never closed").unwrap();
    String::from_utf8(all).unwrap()
}

/// What comes until `wanted` is in it.
pub async fn until(tcp: &mut TcpStream, wanted: &str) -> String {
    let mut all = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if text.contains(wanted) {
            return text;
        }
        let mut buf = [0; 1024];
        let n = tokio::time::timeout(PATIENCE, tcp.read(&mut buf)).await.expect("never came").unwrap();
        assert!(n > 0, "closed after {text:?}, without {wanted:?}");
        all.extend_from_slice(&buf[..n]);
    }
}
