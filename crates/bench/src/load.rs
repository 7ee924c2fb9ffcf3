//! The load: connections that each have one request under way (closed loop), or requests at fixed times whatever comes
//! back (open loop; a late answer makes the next ones late, and that is counted). Source: performance.md.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Request, header};
use bytes::Bytes;
use florin_shell::exchange::CONTENT_TYPE;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::error::BenchError;

/// How requests are given off.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// The next when the one before is answered.
    Closed,
    /// So many a second.
    Open(f64),
}

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to.
    pub address: SocketAddr,
    /// Which page.
    pub path: String,
    /// Connections.
    pub connections: usize,
    /// How.
    pub pace: Pace,
    /// Before anything is counted.
    pub warm_up: Duration,
    /// What is counted.
    pub window: Duration,
}

/// What came back.
#[derive(Clone, Debug)]
pub enum Came {
    /// A success, with its body.
    Answer(Bytes),
    /// Another status.
    Status(u16),
    /// No answer: the connection broke.
    Broken,
}

/// A request that was answered, or not.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which body.
    pub index: usize,
    /// When it ended.
    pub ended: Instant,
    /// From the moment it was due (open loop) or sent (closed loop) to the last byte of the answer.
    pub latency: Duration,
    /// What came.
    pub came: Came,
}

/// What a load gave.
#[derive(Debug)]
pub struct Ran {
    /// Everything, warm-up too.
    pub samples: Vec<Sample>,
    /// When counting began.
    pub from: Instant,
    /// When it ended.
    pub until: Instant,
    /// Whether there were fewer bodies than the load could have sent.
    pub ran_out: bool,
}

impl Ran {
    /// What ended within the window.
    pub fn counted(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|s| s.ended >= self.from && s.ended < self.until)
    }
}

struct Shared {
    load: Load,
    bodies: Vec<Bytes>,
    next: AtomicUsize,
    stop: AtomicBool,
    begun: Instant,
}

/// Sends bodies until the window is over; `mark` is called when it begins and when it ends.
///
/// # Errors
/// `Connection`: the first connections cannot be made. `Worker`.
pub async fn run(load: Load, bodies: Vec<Bytes>, mut mark: impl FnMut()) -> Result<Ran, BenchError> {
    let mut lines = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        lines.push(connect(load.address).await.map_err(BenchError::Connection)?);
    }
    let begun = Instant::now();
    let (warm_up, window) = (load.warm_up, load.window);
    let shared =
        Arc::new(Shared { load, bodies, next: AtomicUsize::new(0), stop: AtomicBool::new(false), begun });
    let workers: Vec<_> =
        lines.into_iter().map(|line| tokio::spawn(work(Arc::clone(&shared), line))).collect();
    tokio::time::sleep(warm_up).await;
    mark();
    let from = Instant::now();
    tokio::time::sleep(window).await;
    mark();
    let until = Instant::now();
    shared.stop.store(true, Ordering::SeqCst);
    let mut samples = Vec::new();
    for worker in workers {
        samples.extend(worker.await.map_err(|_| BenchError::Worker)?);
    }
    let ran_out = shared.next.load(Ordering::SeqCst) > shared.bodies.len();
    Ok(Ran { samples, from, until, ran_out })
}

type Line = http1::SendRequest<Full<Bytes>>;

async fn connect(address: SocketAddr) -> Result<Line, String> {
    let tcp = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    tcp.set_nodelay(true).map_err(|e| e.to_string())?;
    let (line, connection) = http1::handshake(TokioIo::new(tcp)).await.map_err(|e| e.to_string())?;
    // It ends with the line; what is wrong with it the sender is told.
    tokio::spawn(connection);
    Ok(line)
}

async fn work(shared: Arc<Shared>, mut line: Line) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !shared.stop.load(Ordering::SeqCst) {
        let index = shared.next.fetch_add(1, Ordering::SeqCst);
        let Some(body) = shared.bodies.get(index) else { break };
        let Some(due) = due(&shared, index).await else { break };
        let came = match send(&mut line, &shared.load, body.clone()).await {
            Ok(came) => came,
            Err(_) => Came::Broken,
        };
        let ended = Instant::now();
        let broken = matches!(came, Came::Broken);
        samples.push(Sample { index, ended, latency: ended.saturating_duration_since(due), came });
        if broken {
            match connect(shared.load.address).await {
                Ok(again) => line = again,
                Err(_) => break,
            }
        }
    }
    samples
}

/// Waits until the request is due; nothing if the window ends before.
async fn due(shared: &Shared, index: usize) -> Option<Instant> {
    let Pace::Open(rate) = shared.load.pace else { return Some(Instant::now()) };
    let number = u32::try_from(index).ok().map(f64::from)?;
    let due = shared.begun.checked_add(Duration::try_from_secs_f64(number / rate).ok()?)?;
    let end = shared.begun.checked_add(shared.load.warm_up.checked_add(shared.load.window)?)?;
    if due >= end {
        return None;
    }
    tokio::time::sleep_until(due.into()).await;
    Some(due)
}

async fn send(line: &mut Line, load: &Load, body: Bytes) -> Result<Came, hyper::Error> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = axum::http::Method::POST;
    if let (Ok(uri), Ok(host)) = (load.path.parse(), HeaderValue::from_str(&load.address.to_string())) {
        *request.uri_mut() = uri;
        request.headers_mut().insert(header::HOST, host);
    }
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    line.ready().await?;
    let answer = line.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(if status.is_success() { Came::Answer(body) } else { Came::Status(status.as_u16()) })
}
