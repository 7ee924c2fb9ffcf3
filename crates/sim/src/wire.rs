//! How a party's messages get to the operator and to the shop: through the network, with a thief who listens.
//! Source: reliability.md, R9; VarietyCash §2 (the network is the adversary's).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use florin_http::{SendError, UnknownCause};
use florin_shell::description::{self, Description};
use florin_shell::exchange::{Delivered, Exchange, Sending, Transport, refused_or_later};
use florin_wallet::{Directory, Fetching, Network, WalletError, Web, WebAnswer, WebSending};

use crate::host::Host;
use crate::net::{Net, Way};
use crate::shop::{self, Shop};

/// One party's line.
#[derive(Clone)]
pub struct Wire {
    /// Whose.
    pub who: String,
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

    fn way<'a>(&'a self, to: &'a str, step: &'a str) -> Way<'a> {
        Way { from: &self.who, to, step }
    }

    fn deliver_later(&self, to: &str, body: Vec<u8>, after: Duration) {
        let (host, to) = (Arc::clone(&self.host), to.to_owned());
        tokio::spawn(async move {
            // Without a wait it is there in the same moment.
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            // Nobody hears the answer.
            let _ = host.call(&to, body).await;
        });
    }

    /// What others do with a message that they see.
    fn overheard(&self, to: &str, body: &[u8]) {
        for after in [self.net.again(to), self.net.stolen(to)].into_iter().flatten() {
            self.deliver_later(to, body.to_vec(), after);
        }
        if let Some((after, forged)) = self.net.forged(to, body) {
            self.deliver_later(to, forged, after);
        }
    }
}

const fn later() -> Delivered {
    Delivered::Later { slug: None, after_s: None }
}

impl Transport for Wire {
    fn send<'a>(&'a self, x: &'a Exchange, after: &'static str) -> Sending<'a> {
        Box::pin(async move {
            let to = format!("{}{after}", x.to);
            let way = self.way("operator", &to);
            self.overheard(&to, &x.body);
            if !self.net.there(way).await {
                return later();
            }
            let arrives = self.net.request(&to, &x.body);
            if self.net.twin(&to) {
                self.deliver_later(&to, arrives.clone(), Duration::ZERO);
            }
            let said = self.host.call(&to, arrives).await;
            if !self.net.back(way).await {
                return later();
            }
            match said {
                None => later(),
                Some(said) if said.status.is_success() => {
                    Delivered::Answer(self.net.answer(&to, said.body.to_vec()))
                }
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
            let way = self.way("operator", description::PATH);
            if !self.net.there(way).await {
                return Err(away());
            }
            let said = self.host.call(description::PATH, Vec::new()).await;
            if !self.net.back(way).await {
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
            let step = shop::step(&request);
            let way = self.way("shop", &step);
            if !self.net.there(way).await {
                return Err(unknown());
            }
            // A request has a body that is read once, and a copy of it is one with the same head.
            let again = shop::again(&request);
            let twin = self.net.twin(&step).then_some(Duration::ZERO);
            for after in [twin, self.net.again(&step), self.net.stolen(&step)].into_iter().flatten() {
                let (shop, again) = (Arc::clone(shop), shop::again(&again));
                tokio::spawn(async move {
                    if !after.is_zero() {
                        tokio::time::sleep(after).await;
                    }
                    // Nobody hears the answer.
                    let _ = shop.answer(again).await;
                });
            }
            let answer: Option<WebAnswer> = shop.answer(request).await;
            if self.net.back(way).await { answer.ok_or_else(unknown) } else { Err(unknown()) }
        })
    }
}
