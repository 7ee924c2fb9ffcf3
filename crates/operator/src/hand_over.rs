//! Handing claims over from the identity lane to the books lane, in company: all that are due are opened, applied in an
//! order that has nothing to do with that of their purchases, and only then settled, all in one record of the identity
//! lane. So neither order nor lane time says which purchase has which claim. Afterwards their keys are overwritten.
//! Source: V10; ADR 0027; books.md, "Identity apart".

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use florin_books::{Effect, EffectId, Outgoing, Seq, Timestamp, Transition};
use florin_coin::escrow::OpenedBox;
use florin_coin::issuer::{ClaimKeys, HandOver, HandOverDue, SealedClaim, hand_over};
use florin_coin::kinds::{HAND_OVER, SEALED_CLAIM};
use florin_crypto::digest;
use florin_http::Stop;
use florin_shell::house::{ActError, House};
use florin_store::StoreError;
use tokio::sync::Notify;

use crate::claim_keys::ClaimKeyFile;
use crate::lanes::{Crossing, IDENTITY, Lanes};

/// How often the outbox is looked at when nobody calls.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After something failed.
const PAUSE: Duration = Duration::from_secs(2);
/// How often keys of requests that came to nothing are looked for.
const TEND_EVERY: Duration = Duration::from_secs(60);

/// Who hands claims over.
pub struct HandOverDesk {
    /// The two lanes, and the keys of claims.
    pub lanes: Lanes,
    /// Claims wait for so many.
    pub batch: usize,
    /// Or for so long, in milliseconds.
    pub wait_ms: u64,
    /// Nothing crosses while a backup is made.
    pub crossing: Crossing,
}

/// A claim on its way.
struct Opened {
    id: EffectId,
    due: HandOverDue,
    hand: HandOver,
    slot: Option<u32>,
}

/// The places of the keys whose claims still wait.
///
/// # Errors
/// Those of the store.
pub fn waiting(identity: &House) -> Result<BTreeSet<u32>, StoreError> {
    let all = identity.books.scan(SEALED_CLAIM)?;
    Ok(all.iter().filter_map(|(_, document)| SealedClaim::read(&document.value)).map(|c| c.slot).collect())
}

/// What waits for its hand-over.
fn outbox(identity: &House) -> Result<Vec<(EffectId, Timestamp, HandOverDue)>, ActError> {
    let due = |o: &Outgoing| Some((o.id, o.due, HandOverDue::read(o)?));
    identity
        .books
        .view(move |lane| lane.outbox().filter(|o| o.kind == HAND_OVER).filter_map(due).collect())
        .map_err(ActError::Commit)
}

impl HandOverDesk {
    /// Hands over whatever is due until stopped.
    pub async fn run(&self, called: &Notify, stop: &Stop) {
        let mut tended = Instant::now();
        while !stop.is_triggered() && !self.lanes.identity.books.is_failed() {
            let pause = match self.round(self.lanes.identity.clock.now()).await {
                Ok(1..) => continue,
                Ok(0) => LOOK_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "claims wait for their hand-over");
                    PAUSE
                }
            };
            self.lanes.claim_keys.tend();
            if tended.elapsed() > TEND_EVERY {
                tended = Instant::now();
                self.give_back();
            }
            tokio::select! {
                () = stop.stopped() => return,
                () = called.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look: hands over what is due if it has company or has waited long enough; how many.
    ///
    /// # Errors
    /// Those of the books; what was not handed over stays in the outbox.
    pub async fn round(&self, now: Timestamp) -> Result<usize, ActError> {
        let due = outbox(&self.lanes.identity)?;
        let oldest = due.iter().map(|(_, at, _)| *at).min();
        let waited = oldest.is_some_and(|at| now.since(at) >= self.wait_ms);
        if due.is_empty() || !(due.len() >= self.batch || waited) {
            return Ok(0);
        }
        let _open = self.crossing.read().await;
        let mut opened = Vec::with_capacity(due.len());
        for (id, _, due) in due {
            match open(&self.lanes, id, due)? {
                Some(claim) => opened.push(claim),
                None => tracing::error!(%id, "a claim's key is lost: its key holders can recover it"),
            }
        }
        // By the claim's own digest: an order that no purchase has.
        opened.sort_by_key(|claim| claim.hand.needs().documents.first().map(|key| key.id));
        for claim in &opened {
            apply(&self.lanes.books, &claim.hand).await?;
        }
        self.settle(&opened).await?;
        Ok(opened.len())
    }

    /// Takes them from the outbox, all at once, and overwrites their keys.
    async fn settle(&self, handed: &[Opened]) -> Result<(), ActError> {
        if handed.is_empty() {
            return Ok(());
        }
        let mut ids: Vec<EffectId> = handed.iter().map(|claim| claim.id).collect();
        ids.sort_unstable();
        let parts: Vec<&[u8]> = ids.iter().map(|id| id.bytes().as_slice()).collect();
        let mut t = Transition::new(digest("florin/v1/operator/handed-over", &parts), Seq(0));
        t.as_of = self.lanes.identity.books.durable();
        t.effects = ids.iter().map(|id| Effect::Done(*id)).collect();
        handed.iter().for_each(|claim| claim.due.handed_over(&mut t));
        self.lanes.identity.commit(t).await.map_err(ActError::Commit)?;
        let slots: Vec<u32> = handed.iter().filter_map(|claim| claim.slot).collect();
        self.lanes.claim_keys.forget(&slots);
        Ok(())
    }

    /// Keys that were taken for requests which never became purchases.
    fn give_back(&self) {
        let settled = self.lanes.claim_keys.settled(Instant::now());
        if settled.is_empty() {
            return;
        }
        match waiting(&self.lanes.identity) {
            Ok(waiting) => {
                let unused: Vec<u32> = settled.into_iter().filter(|slot| !waiting.contains(slot)).collect();
                self.lanes.claim_keys.forget(&unused);
            }
            Err(error) => tracing::warn!(%error, "unused claim keys are not looked for"),
        }
    }

    /// Hands one claim over with what its key holders have opened, where its key is lost. `false`: nothing of this purchase
    /// waits.
    ///
    /// # Errors
    /// Those of the books.
    pub async fn recover(&self, purchase: florin_books::TxId, opened: &OpenedBox) -> Result<bool, ActError> {
        let waits = outbox(&self.lanes.identity)?.into_iter().find(|(_, _, due)| due.purchase == purchase);
        let Some((id, _, due)) = waits else { return Ok(false) };
        let facts = self.lanes.identity.books.load(&due.needs())?;
        let Some(hand) = due.with(&facts, opened) else { return Ok(false) };
        let slot = due.slot(&facts);
        let _open = self.crossing.read().await;
        apply(&self.lanes.books, &hand).await?;
        self.settle(&[Opened { id, due, hand, slot }]).await?;
        Ok(true)
    }
}

fn open(lanes: &Lanes, id: EffectId, due: HandOverDue) -> Result<Option<Opened>, ActError> {
    let facts = lanes.identity.books.load(&due.needs())?;
    let slot = due.slot(&facts);
    let hand = due.open(&facts, &*lanes.claim_keys);
    Ok(hand.map(|hand| Opened { id, due, hand, slot }))
}

async fn apply(books: &House, hand: &HandOver) -> Result<(), ActError> {
    books.act(&hand.needs(), |facts, _| Some(hand_over(hand, facts, IDENTITY))).await.map(|_| ())
}

/// What is under way from the identity lane to the books lane, in minor units: for the audit.
///
/// # Errors
/// Those of the store.
pub fn under_way(lanes: &Lanes, out: &[HandOverDue]) -> Result<u64, StoreError> {
    let mut sum: u64 = 0;
    for due in out.iter().filter(|due| due.refused.is_none()) {
        let facts = lanes.identity.books.load(&due.needs())?;
        let arrived = match due.open(&facts, &*lanes.claim_keys) {
            Some(hand) => !lanes.books.books.load(&hand.needs())?.once.is_empty(),
            None => false,
        };
        sum = sum.saturating_add(if arrived { 0 } else { due.total.minor() });
    }
    Ok(sum)
}

/// Opens the keys of claims for an identity lane.
///
/// # Errors
/// Those of the store; `Io`.
pub fn claim_keys(
    state: &std::path::Path,
    identity: &House,
) -> Result<Arc<ClaimKeyFile>, crate::operator::OperatorError> {
    Ok(Arc::new(ClaimKeyFile::open(state, &waiting(identity)?)?))
}
