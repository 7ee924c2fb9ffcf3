//! How a party's messages get to the operator and to the shop: through the network, with a thief who listens.
//! Source: reliability.md, R9; VarietyCash §2 (the network is the adversary's).

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use florin_http::{SendError, UnknownCause};
use florin_shell::description::{self, Description};
use florin_shell::exchange::{Delivered, Exchange, Sending, Transport, refused_or_later};
use florin_wallet::{Directory, Fetching, Network, WalletError, Web, WebAnswer, WebSending};

use crate::host::Host;
use crate::net::Net;
use crate::shop::Shop;

/// One party's line.
#[derive(Clone)]
pub struct Wire {
    /// The network.
    pub net: Net,
    /// The operator.
    pub host: Arc<Host>,
    /// The shop; the shop itself asks none.
    pub shop: Option<Arc<Shop>>,
}

impl Wire {
    /// As a wallet takes it.
    #[must_use]
    pub fn network(&self) -> Network {
        let this = Arc::new(self.clone());
        Network { operator: this.clone(), directory: this.clone(), web: this }
    }

    fn deliver_later(&self, to: &str, body: &[u8], after: std::time::Duration) {
        let (host, to, body) = (Arc::clone(&self.host), to.to_owned(), body.to_vec());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            // Nobody hears the answer.
            let _ = host.call(&to, body).await;
        });
    }
}

const fn later() -> Delivered {
    Delivered::Later { slug: None, after_s: None }
}

impl Transport for Wire {
    fn send<'a>(&'a self, x: &'a Exchange) -> Sending<'a> {
        Box::pin(async move {
            for after in [self.net.again(), self.net.stolen()].into_iter().flatten() {
                self.deliver_later(&x.to, &x.body, after);
            }
            if !self.net.there().await {
                return later();
            }
            let said = self.host.call(&x.to, x.body.clone()).await;
            if !self.net.back().await {
                return later();
            }
            match said {
                None => later(),
                Some(said) if said.status.is_success() => Delivered::Answer(said.body.to_vec()),
                Some(said) => refused_or_later(said.problem()),
            }
        })
    }
}

impl Directory for Wire {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async move {
            let who = "the operator".to_owned();
            let away = || WalletError::Unreachable {
                who: who.clone(),
                why: SendError::Unknown(UnknownCause::ClosedEarly),
            };
            if !self.net.there().await {
                return Err(away());
            }
            let said = self.host.call(description::PATH, Vec::new()).await;
            if !self.net.back().await {
                return Err(away());
            }
            let said = said.filter(|said| said.status.is_success()).ok_or_else(away)?;
            Description::signed_list(&said.body).ok_or_else(away)
        })
    }
}

impl Web for Wire {
    fn send(&self, request: Request<Body>) -> WebSending<'_> {
        Box::pin(async move {
            let unknown = || SendError::Unknown(UnknownCause::ClosedEarly);
            let shop = self.shop.as_ref().ok_or_else(unknown)?;
            if !self.net.there().await {
                return Err(unknown());
            }
            let answer: Option<WebAnswer> = shop.answer(request).await;
            if self.net.back().await { answer.ok_or_else(unknown) } else { Err(unknown()) }
        })
    }
}
