//! The asking side. What it says about a failure decides whether money is at risk: *not sent* means that
//! nothing happened, *unknown* that the same bytes must be sent again until an answer comes.
//! Source: architecture, "Never unknown"; G12. Redirects are never followed.
use crate::problem::{ProblemView, retry_after};
use crate::tls::{TlsFault, client_config};
use crate::url::{UrlFault, check_uri};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as PooledClient, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tower::Service;

/// Bytes of an answer that are read unless told otherwise.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// An idle connection is dropped before a listener's default of 60 s closes it under a request.
const POOL_IDLE: Duration = Duration::from_secs(45);

/// How a client connects and how long it waits.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// PEM certificates trusted besides the public roots.
    pub ca_file: Option<PathBuf>,
    /// For a whole request and its answer; for a streamed answer, until its header.
    pub timeout: Duration,
    /// For name resolution, connection and TLS handshake.
    pub connect_timeout: Duration,
    /// Bytes of an answer that are read at most.
    pub answer_bytes_max: usize,
    /// Hosts besides loopback to which plain http is allowed, such as a gate's own service.
    pub plain_http_hosts: Vec<String>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            ca_file: None,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            answer_bytes_max: ANSWER_BYTES_MAX,
            plain_http_hosts: Vec::new(),
        }
    }
}

/// Why a request never left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotSentCause {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// No connection in time.
    #[error("no connection in time")]
    TooSlow,
    /// The name does not resolve, or no way leads there.
    #[error("cannot be reached")]
    Unreachable,
}

/// Why no complete answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnknownCause {
    /// No answer in time.
    #[error("no answer in time")]
    TooSlow,
    /// The connection ended before the answer did.
    #[error("the connection ended before the answer")]
    ClosedEarly,
    /// What came is not an HTTP answer.
    #[error("the answer cannot be read")]
    Unreadable,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The URL may not be used; nothing was sent.
    #[error("the URL is not usable: {0}")]
    Url(#[from] UrlFault),
    /// The request itself cannot be formed; nothing was sent.
    #[error("the request is not usable")]
    Request(#[source] axum::http::Error),
    /// No connection; nothing was sent.
    #[error("not sent: {0}")]
    NotSent(NotSentCause),
    /// No trust in the other end; nothing was sent.
    #[error("not sent, TLS failed: {0}")]
    Tls(#[source] rustls::Error),
    /// Sent, perhaps in part, and no complete answer: what happened there is open.
    #[error("outcome unknown: {0}")]
    Unknown(UnknownCause),
    /// Answered, but with more bytes than allowed: what happened there is open as well.
    #[error("the answer is larger than {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
}

impl SendError {
    /// Whether the request may have had its effect, so that only the same bytes may be sent again.
    #[must_use]
    pub const fn outcome_is_open(&self) -> bool {
        match self {
            Self::Url(_) | Self::Request(_) | Self::NotSent(_) | Self::Tls(_) => false,
            Self::Unknown(_) | Self::TooLarge { .. } => true,
        }
    }
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The header.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    /// The refusal, if it is one.
    #[must_use]
    pub fn problem(&self) -> Option<ProblemView> {
        ProblemView::parse(&self.headers, &self.body)
    }

    /// `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u32> {
        retry_after(&self.headers)
    }
}

/// An HTTP client with a pool of connections; clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    pool: PooledClient<TimedConnector, Body>,
    timeout: Duration,
    answer_bytes_max: usize,
    plain_http_hosts: Vec<String>,
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// If `ca_file` holds no usable certificate.
    pub fn new(config: ClientConfig) -> Result<Self, TlsFault> {
        let tls = client_config(config.ca_file.as_deref())?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let connector = TimedConnector { inner: https.wrap_connector(tcp), timeout: config.connect_timeout };
        let pool = PooledClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector);
        Ok(Self {
            pool,
            timeout: config.timeout,
            answer_bytes_max: config.answer_bytes_max,
            plain_http_hosts: config.plain_http_hosts,
        })
    }

    /// Posts a body.
    ///
    /// # Errors
    /// [`SendError`]; a refusal is an [`Answer`], not an error.
    pub async fn post(
        &self,
        url: &str,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, SendError> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        self.request(Method::POST, url, headers, body.into(), self.answer_bytes_max).await
    }

    /// Gets a page.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn get(
        &self,
        url: &str,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Result<Answer, SendError> {
        let headers = HeaderMap::from_iter(headers);
        self.request(Method::GET, url, headers, Bytes::new(), self.answer_bytes_max).await
    }

    /// Sends a request and reads an answer of at most `max_bytes`.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn request(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        max_bytes: usize,
    ) -> Result<Answer, SendError> {
        let uri: Uri = url.parse().map_err(|_| UrlFault::Unreadable)?;
        let mut request =
            Request::builder().method(method).uri(uri).body(Body::from(body)).map_err(SendError::Request)?;
        *request.headers_mut() = headers;
        let deadline = crate::body::later(Instant::now(), self.timeout);
        let response = self.send_by(request, deadline).await?;
        let (parts, body) = response.into_parts();
        let body = timeout_at(deadline, collect(body, max_bytes))
            .await
            .unwrap_or(Err(SendError::Unknown(UnknownCause::TooSlow)))?;
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// Sends a request with a streamed body and hands over the answer as it comes; the time limit ends with
    /// its header. An upgrade (101) can be taken from the answer with `hyper::upgrade::on`.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, SendError> {
        self.send_by(request, crate::body::later(Instant::now(), self.timeout)).await
    }

    async fn send_by(
        &self,
        request: Request<Body>,
        deadline: Instant,
    ) -> Result<Response<Incoming>, SendError> {
        check_uri(request.uri(), &self.plain_http_hosts)?;
        match timeout_at(deadline, self.pool.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(error_of(&error)),
            Err(_) => Err(SendError::Unknown(UnknownCause::TooSlow)),
        }
    }
}

async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, SendError> {
    if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
        return Err(SendError::TooLarge { max });
    }
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| SendError::Unknown(unknown_cause(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len().saturating_add(data.len()) > max {
            return Err(SendError::TooLarge { max });
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

/// Only a failed connection is certain not to have sent anything; all else is open.
fn error_of(error: &PoolError) -> SendError {
    if !error.is_connect() {
        let cause = causes(error).find_map(|cause| cause.downcast_ref::<hyper::Error>());
        return SendError::Unknown(cause.map_or(UnknownCause::ClosedEarly, unknown_cause));
    }
    let mut not_sent = NotSentCause::Unreachable;
    for cause in causes(error) {
        if let Some(tls) = tls_cause(cause) {
            return SendError::Tls(tls.clone());
        }
        match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => not_sent = NotSentCause::Refused,
            Some(io::ErrorKind::TimedOut) => not_sent = NotSentCause::TooSlow,
            _ => {}
        }
    }
    SendError::NotSent(not_sent)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

/// An I/O error hides the error it was made from: its `source` is the source of that one.
fn tls_cause<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
    tls_cause(inner)
}

fn unknown_cause(error: &hyper::Error) -> UnknownCause {
    if error.is_parse() || error.is_parse_too_large() {
        return UnknownCause::Unreadable;
    }
    UnknownCause::ClosedEarly
}

/// Bounds name resolution, connection and TLS handshake together; hyper-util bounds only the second.
#[derive(Clone, Debug)]
struct TimedConnector {
    inner: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

impl Service<Uri> for TimedConnector {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.timeout, self.inner.call(uri));
        Box::pin(async move {
            connecting.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        })
    }
}
