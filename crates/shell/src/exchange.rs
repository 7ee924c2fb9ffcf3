//! The asking side: persist the request, send the same bytes until answered, apply the answer in one transition, and
//! only then forget. Source: books.md, "Exactly once, on a network that loses, repeats and reorders".

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use florin_books::{
    Condition, DocumentKey, DocumentKind, ExchangeId, HoldingChange, HoldingId, Needs, Rejected, Seq,
    Timestamp, Transition,
};
use florin_crypto::{Digest, cbor, digest};
use florin_http::{Client, ProblemView};
use florin_rail::common::{WITHDRAW, withdrawn_digest};
use florin_store::CommitError;
use minicbor::{Decode, Encode};
use tokio::time::Instant;

use crate::house::{ActError, House};

/// Documents of this kind are exchanges under way.
pub const EXCHANGE: DocumentKind = DocumentKind(0x0001);
/// The content type of Florin messages.
pub const CONTENT_TYPE: &str = "application/florin+cbor";

/// A request under way: what is sent, what it reserved, and the keys that open its answer.
///
/// Shape: `[id, kind, to, body, pending, reserved, note, since]`. It never holds an HPKE context or a plaintext.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Exchange {
    /// The asker's own name for it.
    #[n(0)]
    pub id: ExchangeId,
    /// What applies the answer.
    #[n(1)]
    pub kind: u16,
    /// Where it goes: a path at the operator, or a URL.
    #[n(2)]
    pub to: String,
    /// The bytes that are sent, every time the same.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub body: Vec<u8>,
    /// Exported reply keys and what the answer is checked against.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub pending: Vec<u8>,
    /// Holdings set aside for it.
    #[n(5)]
    pub reserved: Vec<HoldingId>,
    /// What the asker wants to remember with it.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub note: Vec<u8>,
    /// When it began.
    #[n(7)]
    pub since: Timestamp,
    /// How the proof that it was withdrawn is known; none where a refusal leaves nothing open. ADR 0036.
    #[n(8)]
    pub withdrawn: Option<Digest>,
}

impl Exchange {
    /// Its document.
    #[must_use]
    pub const fn key(&self) -> DocumentKey {
        DocumentKey::new(EXCHANGE, *self.id.bytes())
    }

    /// The same, with the proof known that it was withdrawn.
    #[must_use]
    pub fn withdrawn_by(self, withdrawn: Option<Digest>) -> Self {
        Self { withdrawn, ..self }
    }

    /// Adds to a transition: the request is persisted and what it needs is set aside.
    pub fn begin(&self, t: &mut Transition) {
        t.write(self.key(), cbor::encode(self));
        t.holdings.extend(self.reserved.iter().map(|id| HoldingChange::Reserve(*id, self.id)));
    }

    /// Adds to a transition: the request is over and what it set aside is free again.
    pub fn release(&self, t: &mut Transition) {
        t.remove(self.key());
        t.holdings.extend(self.reserved.iter().map(|id| HoldingChange::Release(*id, self.id)));
    }

    /// Adds to a transition: the request is over and what it set aside has left.
    pub fn spend(&self, t: &mut Transition) {
        t.remove(self.key());
        t.holdings.extend(self.reserved.iter().map(|id| HoldingChange::Remove(*id, self.id)));
    }
}

/// What came back from one try.
#[derive(Debug)]
pub enum Delivered {
    /// An answer.
    Answer(Vec<u8>),
    /// A refusal that asks for no patience.
    Refused(ProblemView),
    /// Nothing definite: the same bytes again, after so many seconds at least.
    Later {
        /// Who asks for patience.
        slug: Option<String>,
        /// Seconds.
        after_s: Option<u32>,
    },
}

/// A future that sends once.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Delivered> + Send + 'a>>;

/// How a request gets there.
pub trait Transport: Send + Sync {
    /// Sends once, to the exchange's own path, or to that and what is after it.
    fn send<'a>(&'a self, exchange: &'a Exchange, after: &'static str) -> Sending<'a>;
}

/// The answer does not belong to the request, or is not authentic: as if it had not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the answer is not authentic")]
pub struct NotAuthentic;

/// What an answer or a refusal changes.
pub trait Applier: Send + Sync {
    /// Builds the transition of an answer; it must end the exchange ([`Exchange::spend`] or [`Exchange::release`]).
    ///
    /// # Errors
    /// The answer is not authentic: the same bytes are sent again.
    fn answered(&self, exchange: &Exchange, answer: &[u8], t: &mut Transition) -> Result<(), NotAuthentic>;

    /// Builds the transition of a refusal. One that writes nothing leaves the exchange open: a refusal is not signed, and
    /// some things only a signed answer ends.
    fn refused(&self, exchange: &Exchange, _problem: &ProblemView, t: &mut Transition) {
        exchange.release(t);
    }
}

/// How an exchange stands.
#[derive(Debug)]
pub enum Outcome {
    /// Answered, and the answer is in the books.
    Answered(Vec<u8>),
    /// Refused, and what was set aside is free again.
    Refused(ProblemView),
    /// Not known yet: it stays in the books and is sent again.
    Open {
        /// The last reason for waiting.
        slug: Option<String>,
    },
    /// Somebody else (another process before this one) has applied the answer already.
    Settled,
}

/// Persists an exchange, with what else belongs to the moment.
///
/// # Errors
/// `NotHeld` inside [`ActError`] where a holding is no longer free.
pub async fn begin(house: &House, exchange: &Exchange, mut t: Transition) -> Result<(), ActError> {
    exchange.begin(&mut t);
    if t.as_of == Seq(0) {
        // Nothing was read for it.
        t.as_of = house.books.durable();
    }
    t.cause = digest("florin/v1/exchange/begin", &[exchange.id.bytes()]);
    house.commit(t).await.map(|_| ()).map_err(ActError::Commit)
}

/// All exchanges under way, oldest first.
///
/// # Errors
/// Those of the store.
pub fn under_way(house: &House) -> Result<Vec<Exchange>, ActError> {
    let mut open: Vec<Exchange> = house
        .books
        .scan(EXCHANGE)?
        .into_iter()
        .filter_map(|(_, document)| cbor::decode_strict(&document.value).ok())
        .collect();
    open.sort_by_key(|x| (x.since, x.id));
    Ok(open)
}

/// Sends until answered, applies the answer, forgets; or gives up waiting after `patience`.
///
/// # Errors
/// Those of the books; the exchange then stands as it was.
pub async fn run(
    house: &House,
    exchange: &Exchange,
    transport: &dyn Transport,
    applier: &dyn Applier,
    patience: Duration,
) -> Result<Outcome, ActError> {
    let until = Instant::now().checked_add(patience);
    let mut pause = Duration::from_millis(50);
    let mut refused = None;
    loop {
        let slug = match send(exchange, transport, &mut refused).await {
            Sent::Answer(answer) => {
                let mut t = fresh(exchange);
                if applier.answered(exchange, &answer, &mut t).is_ok() {
                    return Ok(if apply(house, exchange, t).await? {
                        Outcome::Answered(answer)
                    } else {
                        Outcome::Settled
                    });
                }
                Some("not-authentic".to_owned())
            }
            Sent::Refused(problem) => {
                let mut t = fresh(exchange);
                applier.refused(exchange, &problem, &mut t);
                if t.documents.is_empty() {
                    return Ok(Outcome::Open { slug: problem.slug });
                }
                return Ok(if apply(house, exchange, t).await? {
                    Outcome::Refused(problem)
                } else {
                    Outcome::Settled
                });
            }
            Sent::Later { slug, after_s } => {
                if let Some(s) = after_s {
                    pause = pause.max(Duration::from_secs(s.into()).min(Duration::from_secs(30)));
                }
                slug
            }
        };
        if until.is_some_and(|end| Instant::now().checked_add(pause).is_none_or(|next| next > end)) {
            return Ok(Outcome::Open { slug });
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(Duration::from_secs(5));
    }
}

/// What is known after one try.
enum Sent {
    Answer(Vec<u8>),
    /// It has not happened and will not.
    Refused(ProblemView),
    Later {
        slug: Option<String>,
        after_s: Option<u32>,
    },
}

/// Sends once. A refusal is not signed, and the same bytes may succeed later, from whoever has seen them: what must not be
/// left open is withdrawn.
async fn send(exchange: &Exchange, transport: &dyn Transport, first: &mut Option<ProblemView>) -> Sent {
    let problem = match transport.send(exchange, "").await {
        Delivered::Answer(answer) => return Sent::Answer(answer),
        Delivered::Later { slug, after_s } => return Sent::Later { slug, after_s },
        Delivered::Refused(problem) => problem,
    };
    let Some(known) = exchange.withdrawn else { return Sent::Refused(problem) };
    // Where the proof was lost the reason is what was said before it was withdrawn.
    let problem = first.get_or_insert(problem).clone();
    match transport.send(exchange, WITHDRAW).await {
        Delivered::Answer(proof) if withdrawn_digest(&proof) == known => Sent::Refused(problem),
        Delivered::Answer(answer) => Sent::Answer(answer),
        // Whoever can write the one refusal can write the other.
        Delivered::Refused(_) => Sent::Later { slug: problem.slug, after_s: None },
        Delivered::Later { after_s, .. } => Sent::Later { slug: problem.slug, after_s },
    }
}

fn fresh(exchange: &Exchange) -> Transition {
    let mut t = Transition::new(digest("florin/v1/exchange/end", &[exchange.id.bytes()]), Seq(0));
    t.requires.push(Condition::Unchanged(exchange.key()));
    t
}

/// Applies the end of an exchange once; false where it has ended before.
async fn apply(house: &House, exchange: &Exchange, t: Transition) -> Result<bool, ActError> {
    let needs = Needs { documents: vec![exchange.key()], ..Needs::default() };
    let ended = house.act(&needs, |facts, _| facts.document(&exchange.key()).map(|_| t.clone())).await;
    match ended {
        Ok(record) => Ok(record.is_some()),
        Err(ActError::Commit(CommitError::Rejected(Rejected::NotHeld { .. }))) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Posts Florin messages to the operator.
#[derive(Clone)]
pub struct ToOperator {
    /// The client.
    pub client: Client,
    /// The operator's URL, without a slash at the end.
    pub base: String,
}

impl Transport for ToOperator {
    fn send<'a>(&'a self, exchange: &'a Exchange, after: &'static str) -> Sending<'a> {
        Box::pin(async move {
            let url = format!("{}{}{after}", self.base, exchange.to);
            match self.client.post(&url, CONTENT_TYPE, exchange.body.clone()).await {
                Ok(answer) if answer.status.is_success() => Delivered::Answer(answer.body.to_vec()),
                Ok(answer) => refused_or_later(answer.problem()),
                Err(_) => Delivered::Later { slug: None, after_s: None },
            }
        })
    }
}

/// A problem that says "not again" is definite; everything else, also what cannot be read, is not. `ask-status` says
/// that the answer is gone, not that nothing happened.
#[must_use]
pub fn refused_or_later(problem: Option<ProblemView>) -> Delivered {
    match problem {
        Some(p)
            if p.same_bytes_may_be_sent_again == Some(false) && p.slug.as_deref() != Some("ask-status") =>
        {
            Delivered::Refused(p)
        }
        Some(p) => Delivered::Later { slug: p.slug, after_s: p.retry_after_s },
        None => Delivered::Later { slug: None, after_s: None },
    }
}
