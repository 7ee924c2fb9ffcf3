//! The accept loop: connections within limits, requests within limits, a stop that lets work finish.
//! `axum::serve` installs no timer, so half-sent headers would stay for ever (reliability finding 4).
//! Source: RFC 9112; G10; R2, R13-R15.
use crate::body::{BODY_TOO_LARGE, CappedBody};
use crate::limits::{Limits, RateBudget, Slot, Slots};
use crate::metrics::{Counter, Gauge, Registry};
use crate::pace::{AnswerBody, Cut, Pace, PacedStream};
use crate::problem::Problem;
use crate::stop::Stop;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use florin_rail::{Blame, Class, Refusal};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// The other end of the connection, for handlers: a request extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// One address sends more requests than its budget.
pub const TOO_MANY_REQUESTS: Refusal = Refusal::new("too-many-requests", Class::TooMany, Blame::Asker, true);
/// More requests are being worked on than the limit.
pub const BUSY: Refusal = Refusal::new("busy", Class::Unavailable, Blame::Nobody, true);
/// More connections are open than the limit, in all or from one address.
pub const TOO_MANY_CONNECTIONS: Refusal =
    Refusal::new("too-many-connections", Class::Unavailable, Blame::Nobody, true);

/// Bytes of one request's header; the paper payloads of a 402 need at most 6 KB.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Refusals of connections that are written at once; beyond it they are closed without a word.
const REFUSALS_AT_ONCE_MAX: usize = 64;
/// How long one such refusal may take.
const REFUSAL_TIME: Duration = Duration::from_millis(250);
/// The pause after a failed accept: out of file descriptors does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What connections get to see the cut.
const CUT_TIME: Duration = Duration::from_secs(1);

/// What a listener counts; clones count together.
#[derive(Clone, Debug, Default)]
pub struct ServeCounters {
    /// Connections given a slot.
    pub connections_accepted: Arc<Counter>,
    /// Connections refused for want of a slot.
    pub connections_refused: Arc<Counter>,
    /// Connections open now, before any upgrade.
    pub connections_open: Arc<Gauge>,
    /// Requests handed to a handler.
    pub requests_served: Arc<Counter>,
    /// Requests refused by a limit before any handler.
    pub requests_refused: Arc<Counter>,
}

impl ServeCounters {
    /// Counters that the registry renders. One listener per registry.
    #[must_use]
    pub fn registered(registry: &Registry) -> Self {
        Self {
            connections_accepted: registry
                .counter("florin_http_connections_accepted_total", "Connections given a slot."),
            connections_refused: registry
                .counter("florin_http_connections_refused_total", "Connections refused for want of a slot."),
            connections_open: registry.gauge("florin_http_connections_open", "Connections open now."),
            requests_served: registry
                .counter("florin_http_requests_served_total", "Requests handed to a handler."),
            requests_refused: registry
                .counter("florin_http_requests_refused_total", "Requests refused by a limit."),
        }
    }
}

/// What a listener did until it stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServeReport {
    /// Connections given a slot.
    pub connections_accepted: u64,
    /// Connections refused for want of a slot.
    pub connections_refused: u64,
    /// Requests handed to a handler.
    pub requests_served: u64,
    /// Requests refused by a limit.
    pub requests_refused: u64,
    /// Whether every request in flight finished within the drain time.
    pub drained: bool,
}

struct Shared {
    app: Router,
    limits: Limits,
    tls: Option<TlsAcceptor>,
    slots: Arc<Slots>,
    rate: Option<RateBudget>,
    in_flight: Semaphore,
    refusing: Arc<Semaphore>,
    counters: ServeCounters,
    stop: Stop,
    cut: Cut,
}

/// Serves until `stop`, then lets requests in flight finish within `limits.drain_timeout` and closes the rest.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: Router,
    limits: Limits,
    stop: Stop,
) -> ServeReport {
    serve_counted(listener, tls, app, limits, stop, ServeCounters::default()).await
}

/// As [`serve`], counting in counters that a registry shows.
pub async fn serve_counted(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: Router,
    limits: Limits,
    stop: Stop,
    counters: ServeCounters,
) -> ServeReport {
    let (cut, cut_seen) = watch::channel(false);
    let (alive, mut gone) = mpsc::channel::<Infallible>(1);
    let drain_timeout = limits.drain_timeout;
    let shared = Arc::new(Shared {
        app,
        tls,
        slots: Slots::new(&limits),
        rate: RateBudget::new(&limits),
        in_flight: Semaphore::new(limits.in_flight_max.min(Semaphore::MAX_PERMITS)),
        refusing: Arc::new(Semaphore::new(REFUSALS_AT_ONCE_MAX)),
        limits,
        counters: counters.clone(),
        stop,
        cut: Cut::new(cut_seen),
    });
    accept_until_stopped(&listener, &shared, &alive).await;
    drop(listener);
    drop(alive);
    // Every connection holds a sender, so this ends when the last one is gone.
    let drained = timeout(drain_timeout, gone.recv()).await.is_ok();
    cut.send_replace(true);
    if !drained {
        let _ = timeout(CUT_TIME, gone.recv()).await;
    }
    ServeReport {
        connections_accepted: counters.connections_accepted.get(),
        connections_refused: counters.connections_refused.get(),
        requests_served: counters.requests_served.get(),
        requests_refused: counters.requests_refused.get(),
        drained,
    }
}

async fn accept_until_stopped(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    alive: &mpsc::Sender<Infallible>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.stopped() => return,
        };
        match accepted {
            Ok((tcp, peer)) => begin(shared, tcp, peer, alive.clone()),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn begin(shared: &Arc<Shared>, tcp: TcpStream, peer: SocketAddr, alive: mpsc::Sender<Infallible>) {
    let Some(slot) = shared.slots.take(peer.ip()) else {
        shared.counters.connections_refused.add(1);
        // Under TLS a word would cost a handshake, which is just what there is no room for.
        if shared.tls.is_none()
            && let Ok(permit) = Arc::clone(&shared.refusing).try_acquire_owned()
        {
            tokio::spawn(async move {
                let _ = timeout(REFUSAL_TIME, refuse_connection(tcp)).await;
                drop((permit, alive));
            });
        }
        return;
    };
    shared.counters.connections_accepted.add(1);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        shared.counters.connections_open.add(1);
        connection(&shared, tcp, peer, slot).await;
        shared.counters.connections_open.add(-1);
        drop(alive);
    });
}

/// Writes a 503 without reading the request, then waits for the asker to close so that it is not lost.
async fn refuse_connection(mut tcp: TcpStream) -> io::Result<()> {
    let body = Problem::from(TOO_MANY_CONNECTIONS).to_json();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\ncache-control: no-store\r\nretry-after: 1\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        crate::problem::PROBLEM_TYPE,
        body.len(),
    );
    tcp.write_all(answer.as_bytes()).await?;
    tcp.shutdown().await?;
    let mut scrap = [0_u8; 1024];
    while tcp.read(&mut scrap).await? > 0 {}
    Ok(())
}

async fn connection(shared: &Arc<Shared>, tcp: TcpStream, peer: SocketAddr, slot: Slot) {
    // Answers are small and written whole; waiting for more to send would only delay them.
    let _ = tcp.set_nodelay(true);
    let Some(tls) = &shared.tls else {
        return http(shared, tcp, peer, slot).await;
    };
    let handshake = tokio::select! {
        done = timeout(shared.limits.handshake_timeout, tls.accept(tcp)) => done,
        () = shared.cut.clone().seen() => return,
    };
    if let Ok(Ok(stream)) = handshake {
        http(shared, stream, peer, slot).await;
    }
}

async fn http<S>(shared: &Arc<Shared>, stream: S, peer: SocketAddr, slot: Slot)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pace = Pace::new();
    let limits = &shared.limits;
    let stream = PacedStream::new(stream, Arc::clone(&pace), limits, shared.cut.clone(), slot);
    let service =
        service_fn(|request| answer(Arc::clone(shared), peer.ip(), peer, Arc::clone(&pace), request));
    // hyper's own timer cannot tell idle from half-sent, so it stands behind ours at the longer of the two.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout.max(limits.idle_timeout))
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = shared.cut.clone().seen() => return,
            () = shared.stop.stopped(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer(
    shared: Arc<Shared>,
    address: IpAddr,
    peer: SocketAddr,
    pace: Arc<Pace>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    pace.busy();
    let declared = request.body().size_hint().lower();
    let mut request = request.map(|body| Body::new(CappedBody::new(body, &shared.limits, Arc::clone(&pace))));
    request.extensions_mut().insert(PeerAddress(peer));
    let response = match shared.admit(address, request.uri().path(), declared) {
        Ok(_permit) => {
            shared.counters.requests_served.add(1);
            call(shared.app.clone(), request).await
        }
        Err(refusal) => {
            shared.counters.requests_refused.add(1);
            Problem::from(refusal).into_response()
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        pace.upgraded();
    }
    Ok(response.map(|body| AnswerBody::new(body, pace)))
}

impl Shared {
    /// The limits before any handler, cheapest first. `None` is the permit of an exempt path.
    fn admit(
        &self,
        address: IpAddr,
        path: &str,
        declared: u64,
    ) -> Result<Option<SemaphorePermit<'_>>, Refusal> {
        if let Some(rate) = &self.rate {
            rate.take(address).map_err(|seconds| TOO_MANY_REQUESTS.after(seconds))?;
        }
        if declared > self.limits.body_bytes_max {
            return Err(BODY_TOO_LARGE);
        }
        if self.limits.in_flight_exempt.contains(&path) {
            return Ok(None);
        }
        self.in_flight.try_acquire().map(Some).map_err(|_| BUSY.after(1))
    }
}

/// Calls the handlers; a panic in one of them is a fault of this request only.
async fn call(app: Router, request: Request<Body>) -> Response<Body> {
    let mut handling = Box::pin(app.oneshot(request));
    let handled = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx))) {
        Ok(polled) => polled.map(|Ok(response)| Some(response)),
        Err(_) => Poll::Ready(None),
    });
    match handled.await {
        Some(response) => response,
        None => Problem::fault(&"a handler panicked").into_response(),
    }
}
