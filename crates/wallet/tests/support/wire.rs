//! How a wallet's messages travel in a world: to the operator, to the shop, and lost.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use florin_http::{Problem, ProblemView, SendError, UnknownCause};
use florin_shell::exchange::{Delivered, Exchange, Sending, Transport, refused_or_later};
use florin_wallet::{Directory, Fetching, Web, WebAnswer, WebSending};

use super::World;

/// The network of a world.
pub struct Wire(pub Arc<World>);

impl Transport for Wire {
    fn send<'a>(&'a self, x: &'a Exchange, after: &'static str) -> Sending<'a> {
        Box::pin(async move {
            let to = format!("{}{after}", x.to);
            self.0.sent.lock().unwrap().push((to.clone(), x.body.clone()));
            let later = || Delivered::Later { slug: None, after_s: None };
            let (there, back) = self.0.travel().await;
            if !there {
                return later();
            }
            if let Some(reached) = self.0.refusal_on_the_way(&to) {
                if reached {
                    drop(self.0.serve(&to, &x.body).await);
                }
                let slug = Some("payment-denied".to_owned());
                let view =
                    ProblemView { slug, same_bytes_may_be_sent_again: Some(false), ..ProblemView::default() };
                return refused_or_later(Some(view));
            }
            let answer = self.0.serve(&to, &x.body).await;
            self.0.after().await;
            if !back {
                return later();
            }
            match answer {
                Ok(answer) => Delivered::Answer(answer),
                Err(refusal) => {
                    let mut view: ProblemView =
                        serde_json::from_str(&Problem::from(refusal).to_json()).unwrap();
                    view.retry_after_s = None;
                    refused_or_later(Some(view))
                }
            }
        })
    }
}

impl Directory for Wire {
    fn fetch(&self) -> Fetching<'_> {
        let signed = self.0.signed.lock().unwrap().clone();
        Box::pin(async move { Ok(signed) })
    }
}

impl Web for Wire {
    fn send(&self, request: Request<Body>) -> WebSending<'_> {
        Box::pin(async move {
            let unknown = || SendError::Unknown(UnknownCause::ClosedEarly);
            let (there, back) = self.0.travel().await;
            if !there {
                return Err(unknown());
            }
            let answer: WebAnswer = self.0.shop.answer(&self.0, request).await;
            self.0.after().await;
            if back { Ok(answer) } else { Err(unknown()) }
        })
    }
}
