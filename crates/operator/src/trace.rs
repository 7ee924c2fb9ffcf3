//! A court's order: joining a purchase to its payments, or a payment to its purchases, with both key holders. The order is
//! logged first; then the boxes are handed out, which only the holders' own keys open; then what they found is followed
//! through the coins' journal. The operator's process never has a holder's key. Source: VarietyCash §1.2, §2.1; V10;
//! ADR 0027.

use std::collections::BTreeSet;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use florin_books::{Needs, TokenNumber, TxId};
use florin_coin::escrow::OpenedBox;
use florin_coin::issuer::{Issuer, Purchase, PurchaseState};
use florin_coin::kinds::PURCHASE;
use florin_crypto::{Envelope, cbor};
use florin_money::Amount;
use florin_parties::registration::Identity;
use florin_rail::{Blame, Class, Refusal};
use florin_shell::house::ActError;
use florin_store::StoreError;
use serde::{Deserialize, Serialize};

use crate::control::{Action, ORDER_OTHER_COMMAND, ORDER_REPLAYED, SignedOrder};
use crate::opened::{FollowRequest, Found};
use crate::operator::Operator;
use crate::trace_log::{self, LogEntry, NO_REASON, Subject};
use crate::trail::{Trail, backward, forward};

/// Nothing of that kind is in the books.
pub const NOT_FOUND: Refusal = Refusal::new("trace-not-found", Class::NotFound, Blame::Asker, false);
/// More purchases would have to be opened than one order may open.
pub const TOO_WIDE: Refusal = Refusal::new("trace-too-wide", Class::Conflict, Blame::Asker, false);
/// One order opens at most so many boxes.
pub const BOXES_MAX: usize = 4096;

/// Why a trace was not made.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It may not be.
    #[error("{}", .0.slug)]
    Refused(Refusal),
    /// The books.
    #[error(transparent)]
    Act(#[from] ActError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The walk through the journal did not come to its end.
    #[error("the trace was interrupted")]
    Interrupted,
}

impl From<Refusal> for TraceError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A box that the holders may open now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HandedBox {
    /// Whose it is.
    pub purchase: String,
    /// The envelope, in base64url.
    pub envelope: String,
}

/// What the order gets: it stands in the log now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Begun {
    /// The number of its entry.
    pub entry: u64,
    /// The boxes to open.
    pub boxes: Vec<HandedBox>,
}

/// A purchase that was joined to coins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TracedPurchase {
    /// Its id.
    pub purchase: String,
    /// Who bought.
    pub purchaser: String,
    /// Under which name; none for a pseudonym.
    pub name: Option<String>,
    /// From which account.
    pub account: String,
    /// How much.
    pub amount: String,
    /// How far it is.
    pub state: String,
    /// When.
    pub at_unix_ms: u64,
}

/// What a trace has found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TraceReport {
    /// The number of its entry in the log.
    pub entry: u64,
    /// What was traced.
    pub subject: String,
    /// How many boxes were opened for it.
    pub boxes: u64,
    /// The purchases that are joined to it.
    pub purchases: Vec<TracedPurchase>,
    /// What became of the coins, or where they came from, oldest first.
    pub trail: Trail,
    /// Whether a claim whose key was lost has been handed over now.
    #[serde(default)]
    pub recovered: bool,
}

/// What an order is about, looked up without any holder's key.
struct Looked {
    boxes: Vec<(TxId, Envelope)>,
}

impl Operator {
    /// Takes an order of both holders: logs it, then hands out the boxes it needs.
    ///
    /// # Errors
    /// In order: those of [`crate::control::Order`] without `order-replayed`, `order-other-command` (it orders something
    /// else), `trace-without-reason`, `trace-not-found`, `trace-too-wide`; `order-replayed`: another order had its nonce.
    /// Nothing is logged then.
    pub async fn trace_begin(&self, signed: &SignedOrder) -> Result<Begun, TraceError> {
        let (order, names) = self.verified(signed)?;
        let Action::Trace(subject, reason) = &order.action else {
            let how = "this order is carried out by `florin operator execute FILE`";
            return Err(ORDER_OTHER_COMMAND.with_detail(how).into());
        };
        if reason.trim().is_empty() {
            return Err(NO_REASON.into());
        }
        let looked = self.look_for(subject.clone()).await?;
        if looked.boxes.len() > BOXES_MAX {
            return Err(TOO_WIDE.into());
        }
        let count = u64::try_from(looked.boxes.len()).unwrap_or(u64::MAX);
        let about = (subject, reason.as_str());
        let entry = trace_log::write(&self.lanes.identity, signed, &order, about, &names, count).await?;
        let entry = entry.ok_or(ORDER_REPLAYED)?;
        // The same order sent again opens nothing new.
        if entry.boxes < count {
            return Err(TOO_WIDE.into());
        }
        tracing::warn!(entry = entry.n, boxes = entry.boxes, "both key holders have ordered a trace");
        let boxes = looked.boxes.iter().map(|(purchase, envelope)| HandedBox {
            purchase: purchase.to_string(),
            envelope: BASE64URL_NOPAD.encode(&cbor::encode(envelope)),
        });
        Ok(Begun { entry: entry.n, boxes: boxes.collect() })
    }

    /// Follows what the holders have found, for an order that is in the log.
    ///
    /// # Errors
    /// In order: `trace-not-found`: no such entry; those of the signatures; `order-other-command`: it hands a
    /// claim over, and the order is not about a purchase; `trace-not-found`: nothing was opened for it.
    pub async fn trace_follow(&self, request: &FollowRequest) -> Result<TraceReport, TraceError> {
        let entry = trace_log::entry(&self.lanes.identity, request.entry)?.ok_or(NOT_FOUND)?;
        request.verify(self.id, &entry.order, &self.holders)?;
        let mut found: Vec<(TxId, OpenedBox)> = request.found.iter().filter_map(Found::read).collect();
        let mut recovered = false;
        if let Subject::Purchase(id) = entry.subject {
            found.retain(|(purchase, _)| *purchase == id);
            if let Some((_, opened)) = found.first().filter(|_| request.recover) {
                recovered = self.hand_over_desk().recover(id, opened).await?;
            }
        } else if request.recover {
            return Err(ORDER_OTHER_COMMAND
                .with_detail("a hand-over needs an order about its purchase")
                .into());
        }
        let (purchases, trail) = match &entry.subject {
            Subject::Purchase(id) => {
                let purchase = self.purchase(*id)?.ok_or(NOT_FOUND)?;
                let claim = claim_of(&purchase, &found).ok_or(NOT_FOUND)?;
                let trail = self.walk(move |issuer, lanes| forward(issuer, &lanes.books, claim)).await?;
                (vec![purchase], trail)
            }
            subject => {
                let trail = self.back(subject.clone()).await?;
                let claims: BTreeSet<[u8; 16]> = trail.claims.iter().copied().collect();
                let its = |p: &Purchase| claim_of(p, &found).is_some_and(|claim| claims.contains(&claim));
                (self.purchases()?.into_iter().filter(its).collect(), trail)
            }
        };
        let purchases = purchases.iter().map(|p| self.traced(p)).collect::<Result<_, _>>()?;
        Ok(report(&entry, purchases, trail, recovered))
    }

    async fn look_for(&self, subject: Subject) -> Result<Looked, TraceError> {
        if let Subject::Purchase(id) = subject {
            let purchase = self.purchase(id)?.ok_or(NOT_FOUND)?;
            return Ok(Looked { boxes: purchase.escrow.map(|e| (id, e)).into_iter().collect() });
        }
        let trail = self.back(subject).await?;
        if trail.is_empty() {
            return Err(NOT_FOUND.into());
        }
        // Only purchases of which one could be meant: paid, of one of the sums that were issued, and not named.
        let sums: BTreeSet<u64> = trail.issued_minor.iter().copied().collect();
        let fits = |p: &Purchase| {
            let paid = matches!(p.state, PurchaseState::Paid | PurchaseState::Returned(_));
            paid && p.claim.is_none() && p.w_desc().is_some_and(|w| sums.contains(&w.total.minor()))
        };
        let fitting = self.purchases()?.into_iter().filter(fits);
        Ok(Looked { boxes: fitting.filter_map(|p| Some((p.id, p.escrow?))).collect() })
    }

    /// Back from a payment, or a coin, to the claims that it was issued for.
    async fn back(&self, subject: Subject) -> Result<Trail, TraceError> {
        let (payment, coin) = match subject {
            Subject::Payment(id) => (Some(id), None),
            Subject::Coin(id) => (None, Some(self.issuer.coin_number(id.0).ok_or(NOT_FOUND)?)),
            Subject::Purchase(_) => (None, None),
        };
        let wanted: BTreeSet<TokenNumber> = coin.into_iter().collect();
        self.walk(move |issuer, lanes| backward(issuer, &lanes.books, payment, wanted)).await
    }

    async fn walk(
        &self,
        walk: impl FnOnce(&Issuer, &crate::lanes::Lanes) -> Result<Trail, StoreError> + Send + 'static,
    ) -> Result<Trail, TraceError> {
        let (issuer, lanes) = (self.issuer.clone(), self.lanes.clone());
        let walked = tokio::task::spawn_blocking(move || walk(&issuer, &lanes)).await;
        let mut trail = walked.map_err(|_| TraceError::Interrupted)??;
        trail.name_amounts(self.currency);
        Ok(trail)
    }

    fn purchase(&self, id: TxId) -> Result<Option<Purchase>, StoreError> {
        let key = Purchase::key_of(id);
        let facts = self.lanes.identity.books.load(&Needs { documents: vec![key], ..Needs::default() })?;
        Ok(facts.document(&key).and_then(Purchase::read))
    }

    fn purchases(&self) -> Result<Vec<Purchase>, StoreError> {
        let all = self.lanes.identity.books.scan(PURCHASE)?;
        Ok(all.iter().filter_map(|(_, document)| Purchase::read(&document.value)).collect())
    }

    fn traced(&self, purchase: &Purchase) -> Result<TracedPurchase, StoreError> {
        let key = Identity::key_of(purchase.purchaser);
        let facts = self.lanes.identity.books.load(&Needs { documents: vec![key], ..Needs::default() })?;
        let identity = facts.document(&key).and_then(Identity::read);
        let w = purchase.w_desc();
        Ok(TracedPurchase {
            purchase: purchase.id.to_string(),
            purchaser: purchase.purchaser.to_string(),
            name: identity.and_then(|identity| identity.name),
            account: w.as_ref().map_or_else(String::new, |w| w.account.to_string()),
            amount: w.map_or_else(String::new, |w| w.total.to_string()),
            state: format!("{:?}", purchase.state).to_lowercase(),
            at_unix_ms: purchase.at.0,
        })
    }
}

/// The claim of a purchase: the one that stands in it, or the one that was opened.
fn claim_of(purchase: &Purchase, found: &[(TxId, OpenedBox)]) -> Option<[u8; 16]> {
    if let Some(claim) = purchase.named_claim_id() {
        return Some(claim);
    }
    found.iter().find(|(id, _)| *id == purchase.id).map(|(_, opened)| opened.claim_id())
}

fn report(entry: &LogEntry, purchases: Vec<TracedPurchase>, trail: Trail, recovered: bool) -> TraceReport {
    let subject = entry.subject.to_string();
    TraceReport { entry: entry.n, subject, boxes: entry.boxes, purchases, trail, recovered }
}

/// An amount, for people.
pub(crate) fn amount(minor: u64, currency: florin_money::Currency) -> String {
    Amount::new(minor, currency).to_string()
}

/// Bytes, for people.
pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}
