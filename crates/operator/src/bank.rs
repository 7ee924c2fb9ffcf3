//! The operator at its bank: orders out, news in, each counted once. Source: bank.md; VarietyCash §3.1 (2) Execution.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use florin_bank::{BankError, BankRail, Cursor};
use florin_books::{DocumentKey, DocumentKind, Facts, Needs, PartyId, Seq, Timestamp, Transition, TxId};
use florin_coin::issuer::{Purchase, bank_outcome};
use florin_coin::kinds::{RAIL_NUMBER as COIN, STEP_WREQUEST3};
use florin_crypto::{cbor, digest};
use florin_http::Stop;
use florin_parties::Enrolment;
use florin_parties::bank::{BankEvent, Order};
use florin_parties::kinds::{RAIL_NUMBER as PARTIES, STEP_ENROL};
use florin_parties::treasury::{self, OrderRecord, Outcome, Purpose};
use florin_shell::house::{ActError, House};

use crate::lanes::BOOKS;
use crate::reconcile::brake;

/// How far the bank's news was read.
pub(crate) const CURSOR: DocumentKey = DocumentKey::new(DocumentKind(0x0301), [0; 16]);
/// News taken at a time.
const NEWS_MAX: usize = 256;

/// The operator's desk at its bank.
pub struct BankDesk {
    identity: House,
    rail: Arc<dyn BankRail>,
    capital_reference: String,
    silent: AtomicBool,
}

impl BankDesk {
    /// A desk.
    #[must_use]
    pub fn new(identity: House, rail: Arc<dyn BankRail>, capital_reference: &str) -> Self {
        Self {
            identity,
            rail,
            capital_reference: capital_reference.to_owned(),
            silent: AtomicBool::new(false),
        }
    }

    /// Whether nothing may be paid out until a person has looked; also where that cannot be found out.
    #[must_use]
    pub fn pays_nothing(&self) -> bool {
        !matches!(brake::stopped(&self.identity), Ok(None))
    }

    /// Hands over an order; when it was taken up, or nothing if that is not known.
    pub async fn submit(&self, order: Order) -> Option<Timestamp> {
        let id = order.id;
        match self.rail.submit(&[order]).await {
            Ok(receipt) => receipt.orders.iter().find(|r| r.id == id).map(|r| r.received_at),
            Err(BankError::Refused(problem)) => {
                tracing::error!(%id, slug = problem.slug.as_deref(), "the bank refused an order");
                None
            }
            Err(BankError::NotSent | BankError::Unknown) => None,
        }
    }

    /// Asks the bank for news until stopped.
    pub async fn keep_polling(&self, every: Duration, stop: &Stop) {
        while !stop.is_triggered() && !self.identity.books.is_failed() {
            match self.poll().await {
                Ok(1..) => continue,
                Ok(0) => {}
                Err(error) => tracing::warn!(%error, "the bank's news waits"),
            }
            tokio::select! {
                () = stop.stopped() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Orders in the bank's news that these books do not know, and until where it was read; nothing where the bank does
    /// not answer. Nothing is settled. News up to `seen` is passed over.
    ///
    /// # Errors
    /// Those of the books.
    pub async fn unknown_orders(&self, seen: Cursor) -> Result<Option<(usize, Cursor)>, ActError> {
        let needs = Needs { documents: vec![CURSOR], ..Needs::default() };
        let facts = self.identity.books.load(&needs)?;
        let read: Option<Cursor> = facts.document(&CURSOR).and_then(|b| cbor::decode_strict(b).ok());
        let mut at = read.unwrap_or_default().max(seen);
        let mut unknown = BTreeSet::new();
        loop {
            let Ok((events, next)) = self.rail.poll(at, NEWS_MAX).await else { return Ok(None) };
            for id in events.iter().filter_map(treasury::order_of) {
                let key = OrderRecord::key_of(id);
                let needs = Needs { documents: vec![key], ..Needs::default() };
                if self.identity.books.load(&needs)?.document(&key).is_none() {
                    unknown.insert(key);
                }
            }
            if next == at || events.is_empty() {
                return Ok(Some((unknown.len(), at)));
            }
            at = next;
        }
    }

    /// Takes in what is new; how many events.
    ///
    /// # Errors
    /// Those of the books. A bank that does not answer is no error: there is no news.
    pub async fn poll(&self) -> Result<usize, ActError> {
        let needs = Needs { documents: vec![CURSOR], ..Needs::default() };
        let facts = self.identity.books.load(&needs)?;
        let since =
            facts.document(&CURSOR).and_then(|b| cbor::decode_strict::<Cursor>(b).ok()).unwrap_or_default();
        let (events, cursor) = match self.rail.poll(since, NEWS_MAX).await {
            Ok(news) => news,
            Err(error) => {
                // Once: it is asked several times a second.
                if !self.silent.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the bank gives no news");
                }
                return Ok(0);
            }
        };
        if self.silent.swap(false, Ordering::Relaxed) {
            tracing::info!("the bank gives news again");
        }
        for event in &events {
            self.settle(event).await?;
        }
        if cursor != since {
            let moved = self.identity.act(&needs, |facts, _| {
                let mut t =
                    Transition::new(digest("florin/v1/operator/cursor", &[&cbor::encode(&cursor)]), Seq(0));
                t.as_of = facts.as_of;
                t.write(CURSOR, cbor::encode(&cursor));
                Some(t)
            });
            moved.await?;
        }
        Ok(events.len())
    }

    /// Settles one event, once.
    ///
    /// # Errors
    /// Those of the books.
    pub async fn settle(&self, event: &BankEvent) -> Result<(), ActError> {
        let needs = self.needs(event)?;
        let reference = Some(self.capital_reference.as_str());
        let done = self
            .identity
            .act(&needs, |facts, moment| {
                let mut settled = treasury::settle(event, facts, reference)?;
                let Some(moved) = &settled.moved else { return Some(settled.transition) };
                let t = &mut settled.transition;
                match moved.purpose() {
                    Purpose { rail: COIN, step: STEP_WREQUEST3, .. } => {
                        if !bank_outcome(t, moved, facts, BOOKS, moment.now, moment.entropy) {
                            tracing::error!(order = %moved.record.order.id, "an order without its purchase");
                        }
                    }
                    Purpose { rail: PARTIES, step: STEP_ENROL, reference } => {
                        let id = PartyId::new(reference);
                        undelivered(t, moved, id, facts);
                    }
                    Purpose { .. } => {}
                }
                Some(settled.transition)
            })
            .await;
        done.map(|_| ())
    }

    /// The order of an event, and what the order was for.
    fn needs(&self, event: &BankEvent) -> Result<Needs, ActError> {
        let mut needs = treasury::event_needs(event);
        let facts = self.identity.books.load(&needs)?;
        let record = treasury::order_of(event)
            .and_then(|id| facts.document(&OrderRecord::key_of(id)).and_then(OrderRecord::read));
        match record.map(|r| r.purpose) {
            Some(Purpose { rail: COIN, step: STEP_WREQUEST3, reference }) => {
                let key = Purchase::key_of(TxId::new(reference));
                let more = Needs { documents: vec![key], ..Needs::default() };
                let facts = self.identity.books.load(&more)?;
                if let Some(purchase) = facts.document(&key).and_then(Purchase::read) {
                    needs.documents.extend(purchase.outcome_needs());
                }
            }
            Some(Purpose { rail: PARTIES, step: STEP_ENROL, reference }) => {
                needs.documents.push(Enrolment::key_of(PartyId::new(reference)));
            }
            Some(Purpose { .. }) | None => {}
        }
        Ok(needs)
    }
}

/// A code whose transfer did not arrive is no code.
fn undelivered(t: &mut Transition, moved: &treasury::OrderMove, id: PartyId, facts: &Facts) {
    if !matches!(moved.outcome, Outcome::Rejected(_) | Outcome::Returned(_)) {
        return;
    }
    let enrolment = facts.document(&Enrolment::key_of(id)).and_then(Enrolment::read);
    if let Some(void) = enrolment.and_then(|e| e.undelivered(moved.record.order.id)) {
        t.write(Enrolment::key_of(id), cbor::encode(&void));
    }
}
