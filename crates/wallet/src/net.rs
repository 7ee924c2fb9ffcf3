//! What the wallet reaches: its operator and web servers, each behind a small trait, and both over HTTP.
//! Source: architecture.md, "Conventions" (`/.well-known/florin`); G12 (TLS, or plain HTTP on loopback).

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use florin_http::{Client, ClientConfig, SendError, check_url};
use florin_shell::description::{self, FetchError};
use florin_shell::exchange::{ToOperator, Transport};

use crate::refusal::WalletError;

/// A future with the operator's signed key list.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, WalletError>> + Send + 'a>>;

/// Where the operator's signed key list comes from.
pub trait Directory: Send + Sync {
    /// Gets it. Nothing in it is trusted before its signature is checked.
    fn fetch(&self) -> Fetching<'_>;
}

/// An answer of a web server; the body comes as it is read.
pub struct WebAnswer {
    /// The status.
    pub status: StatusCode,
    /// The header.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

/// A future with a web server's answer.
pub type WebSending<'a> = Pin<Box<dyn Future<Output = Result<WebAnswer, SendError>> + Send + 'a>>;

/// Any web server.
pub trait Web: Send + Sync {
    /// Sends once; redirects are not followed.
    fn send(&self, request: Request<Body>) -> WebSending<'_>;
}

/// Everything that the wallet reaches.
#[derive(Clone)]
pub struct Network {
    /// The operator's steps.
    pub operator: Arc<dyn Transport>,
    /// The operator's key list.
    pub directory: Arc<dyn Directory>,
    /// Web servers.
    pub web: Arc<dyn Web>,
}

/// Over HTTP.
#[derive(Clone)]
pub struct HttpNetwork {
    base: String,
    client: Client,
}

impl HttpNetwork {
    /// For the operator at this URL; `ca_file` holds certificates trusted besides the public ones.
    ///
    /// # Errors
    /// `Url`, `Tls`.
    pub fn new(operator: &str, ca_file: Option<&Path>) -> Result<Self, WalletError> {
        let base = operator.trim_end_matches('/').to_owned();
        check_url(&base).map_err(|why| WalletError::Url { url: base.clone(), why })?;
        let config = ClientConfig { ca_file: ca_file.map(Path::to_owned), ..ClientConfig::default() };
        Ok(Self { base, client: Client::new(config)? })
    }

    /// As the wallet takes it.
    #[must_use]
    pub fn network(self) -> Network {
        let operator = ToOperator { client: self.client.clone(), base: self.base.clone() };
        let this = Arc::new(self);
        Network { operator: Arc::new(operator), directory: this.clone(), web: this }
    }
}

impl Directory for HttpNetwork {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async move {
            let not = |why| WalletError::NotAnOperator { url: self.base.clone(), why };
            description::fetch(&self.client, &self.base).await.map_err(|error| match error {
                FetchError::Send(why) => WalletError::Unreachable { who: self.base.clone(), why },
                FetchError::None => not("it has no description at /.well-known/florin"),
                FetchError::Unreadable => not("its description cannot be read"),
            })
        })
    }
}

impl Web for HttpNetwork {
    fn send(&self, request: Request<Body>) -> WebSending<'_> {
        Box::pin(async move {
            let (parts, body) = self.client.send(request).await?.into_parts();
            Ok(WebAnswer { status: parts.status, headers: parts.headers, body: Body::new(body) })
        })
    }
}

/// How long the wallet waits for one matter unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_may_be_used_are_taken() {
        assert!(HttpNetwork::new("http://127.0.0.1:7400/", None).is_ok());
        for bad in ["http://shop.example", "ftp://a", "x"] {
            assert!(matches!(HttpNetwork::new(bad, None), Err(WalletError::Url { .. })), "{bad}");
        }
    }
}
