//! The streaming reverse proxy: what comes in goes on as it comes, what the service answers comes back unchanged.
//! Source: RFC 9110 §7.6; web.md §4 (6), §6.3. Interim answers (1xx) end here: the listener sends its own 100, and a 103
//! of the service is dropped; trailers pass where the asker takes them.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use florin_http::{Client, ClientConfig, SendError, TlsFault, UnknownCause, UrlFault};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::Map;
use tower::ServiceExt;

use crate::gate::NotReached;
use crate::headers::{self, Origin};
use crate::problem::{BAD_PATH, UPSTREAM_BROKEN, UPSTREAM_TOO_SLOW, UPSTREAM_UNREACHABLE, answer, answer_as};

/// Why a service cannot stand behind the gate.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Not a usable URL.
    #[error("the upstream URL cannot be used: {0}")]
    Url(#[from] UrlFault),
    /// It has a path or a query; the gate passes paths on as they are.
    #[error("the upstream URL has a path; give scheme, host and port only")]
    HasPath,
    /// Its certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
}

/// The way to the service behind the gate.
#[derive(Clone)]
pub struct Proxy {
    way: Way,
    scheme: Scheme,
    authority: Authority,
}

#[derive(Clone)]
enum Way {
    /// Over HTTP.
    Http(Box<Client>),
    /// In the same process.
    Here(Router),
}

impl Proxy {
    /// The way to `upstream`, such as `http://127.0.0.1:8000`. `header_timeout` is how long the service may take until its
    /// header; the body after it may take as long as it likes. `ca_file` holds certificates trusted besides the public ones.
    ///
    /// # Errors
    /// [`UpstreamError`], in its order.
    pub fn new(
        upstream: &str,
        header_timeout: Duration,
        ca_file: Option<std::path::PathBuf>,
    ) -> Result<Self, UpstreamError> {
        let uri: Uri = upstream.parse().map_err(|_| UrlFault::Unreadable)?;
        let host = uri.host().filter(|h| !h.is_empty()).ok_or(UrlFault::NoHost)?;
        let authority = uri.authority().ok_or(UrlFault::NoHost)?.clone();
        if authority.as_str().contains('@') {
            return Err(UrlFault::UserName.into());
        }
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::HTTP,
            Some("https") => Scheme::HTTPS,
            _ => return Err(UrlFault::Scheme.into()),
        };
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(UpstreamError::HasPath);
        }
        // The service is the gate's own: how plain HTTP gets there is its owner's choice.
        let plain_http_hosts = vec![host.to_owned()];
        let config =
            ClientConfig { ca_file, timeout: header_timeout, plain_http_hosts, ..ClientConfig::default() };
        Ok(Self { way: Way::Http(Box::new(Client::new(config)?)), scheme, authority })
    }

    /// The way to a service in the same process.
    #[must_use]
    pub fn here(service: Router) -> Self {
        Self { way: Way::Here(service), scheme: Scheme::HTTP, authority: Authority::from_static("here") }
    }

    /// Passes a request on under a path and query in their one form, and gives the answer as it comes.
    pub(crate) async fn pass(
        &self,
        mut request: Request<Body>,
        target: &str,
        from: &Origin<'_>,
    ) -> Response<Body> {
        let Some(uri) = self.uri(target) else { return answer(BAD_PATH) };
        let upgrade = headers::upgrade_of(request.headers());
        let asker = upgrade.as_ref().and_then(|_| request.extensions_mut().remove::<OnUpgrade>());
        let (parts, body) = request.into_parts();
        let mut onward = Request::new(body);
        *onward.method_mut() = parts.method;
        *onward.uri_mut() = uri;
        *onward.headers_mut() = parts.headers;
        headers::for_service(onward.headers_mut(), from);
        if let (Some(protocol), Some(_)) = (&upgrade, &asker) {
            onward.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            onward.headers_mut().insert(header::UPGRADE, protocol.clone());
        }
        match &self.way {
            Way::Http(client) => match client.send(onward).await {
                Ok(response) => back(response, asker),
                Err(error) => failed(&error),
            },
            Way::Here(service) => match service.clone().oneshot(onward).await {
                Ok(mut response) => {
                    headers::strip_hop_by_hop(response.headers_mut());
                    response
                }
                Err(never) => match never {},
            },
        }
    }

    fn uri(&self, target: &str) -> Option<Uri> {
        let mut parts = axum::http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target.parse::<PathAndQuery>().ok()?);
        Uri::from_parts(parts).ok()
    }
}

/// The service's answer, with its status and its bytes.
fn back(mut response: Response<hyper::body::Incoming>, asker: Option<OnUpgrade>) -> Response<Body> {
    let agreed = headers::upgrade_of(response.headers());
    headers::strip_hop_by_hop(response.headers_mut());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return response.map(Body::new);
    }
    let (Some(asker), Some(protocol)) = (asker, agreed) else { return broken() };
    let service = hyper::upgrade::on(&mut response);
    tokio::spawn(join(asker, service));
    let mut switched = response.map(|_| Body::empty());
    switched.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    switched.headers_mut().insert(header::UPGRADE, protocol);
    switched
}

/// Both directions until both have ended, or one has failed.
async fn join(asker: OnUpgrade, service: OnUpgrade) {
    if let (Ok(asker), Ok(service)) = (asker.await, service.await) {
        // How it ends is between the two; there is nobody left to tell.
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(asker), &mut TokioIo::new(service)).await;
    }
}

fn broken() -> Response<Body> {
    answer_as(UPSTREAM_BROKEN, StatusCode::BAD_GATEWAY, Map::new())
}

fn failed(error: &SendError) -> Response<Body> {
    tracing::warn!(%error, "the service behind the gate gave no answer");
    match error {
        SendError::NotSent(_) | SendError::Tls(_) => {
            let mut answer = answer_as(UPSTREAM_UNREACHABLE, StatusCode::BAD_GATEWAY, Map::new());
            answer.extensions_mut().insert(NotReached);
            answer
        }
        SendError::Unknown(UnknownCause::TooSlow) => {
            answer_as(UPSTREAM_TOO_SLOW, StatusCode::GATEWAY_TIMEOUT, Map::new())
        }
        SendError::Unknown(_) | SendError::TooLarge { .. } => broken(),
        SendError::Url(_) | SendError::Request(_) => answer(BAD_PATH),
    }
}
