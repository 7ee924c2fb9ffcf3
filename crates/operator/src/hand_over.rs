//! Handing claims over from the identity lane to the books lane, in company: all that are due are opened, applied in an
//! order that has nothing to do with that of their purchases, and only then settled, all in one record of the identity
//! lane. So neither order nor lane time says which purchase has which claim. Afterwards their keys are overwritten.
//! Source: V10; ADR 0027; books.md, "Identity apart".

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use florin_books::{Effect, EffectId, Facts, Outgoing, Seq, Timestamp, Transition, TxId};
use florin_coin::escrow::OpenedBox;
use florin_coin::issuer::{ClaimKeys, HandOver, HandOverDue, SealedClaim, hand_over};
use florin_coin::kinds::{HAND_OVER, SEALED_CLAIM};
use florin_crypto::digest;
use florin_http::Stop;
use florin_rail::Moment;
use florin_shell::house::{ActError, House};
use florin_store::StoreError;
use tokio::sync::Notify;

use crate::lanes::{BOOKS, Crossing, IDENTITY, Lanes};
use crate::operator::OperatorError;

/// How often the outbox is looked at when nobody calls.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After something failed.
const PAUSE: Duration = Duration::from_secs(2);
/// Of more sums than these nobody tells apart which of the lost claims they are.
const SUMS_MAX: usize = 65_536;
/// How often keys of requests that came to nothing are looked for.
const TEND_EVERY: Duration = Duration::from_secs(60);

/// Who hands claims over.
pub struct HandOverDesk {
    lanes: Lanes,
    batch: usize,
    wait_ms: u64,
    crossing: Crossing,
    /// What waits for its key holders: it is nobody's company, and is told of once.
    lost: Mutex<BTreeSet<EffectId>>,
}

/// A claim on its way.
struct Opened {
    id: EffectId,
    at: Timestamp,
    due: HandOverDue,
    hand: HandOver,
    slot: Option<u32>,
    /// Whether the books lane has taken the money up.
    credited: bool,
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
    /// A desk; claims wait for `batch` of them, or for `wait_ms`. Nothing crosses while a backup is made.
    #[must_use]
    pub const fn new(lanes: Lanes, batch: usize, wait_ms: u64, crossing: Crossing) -> Self {
        Self { lanes, batch, wait_ms, crossing, lost: Mutex::new(BTreeSet::new()) }
    }

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
                // In order: a call that comes with the end of the pause is taken with it, in every run.
                biased;
                () = stop.stopped() => return,
                () = called.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look: hands over what can be opened if it has company or has waited long enough; how many.
    ///
    /// # Errors
    /// Those of the books; what was not handed over stays in the outbox.
    pub async fn round(&self, now: Timestamp) -> Result<usize, ActError> {
        if !self.is_time(self.due()?.iter().map(|(_, at, _)| *at), now) {
            return Ok(0);
        }
        let _open = self.crossing.read().await;
        let due = self.due()?;
        let mut opened = Vec::with_capacity(due.len());
        for (id, at, due) in due {
            match open(&self.lanes, (id, at), due)? {
                Some(claim) => opened.push(claim),
                None => self.lose(id),
            }
        }
        // Who cannot be opened is no company, and has not waited for any.
        if !self.is_time(opened.iter().map(|claim| claim.at), now) {
            return Ok(0);
        }
        // By the claim's own digest: an order that no purchase has.
        opened.sort_by_key(|claim| claim.hand.needs().documents.first().map(|key| key.id));
        for claim in &mut opened {
            claim.credited = apply(&self.lanes.books, &claim.hand).await?;
        }
        self.settle(&opened).await?;
        Ok(opened.len())
    }

    /// What waits for its hand-over and is not known to be lost.
    fn due(&self) -> Result<Vec<(EffectId, Timestamp, HandOverDue)>, ActError> {
        let mut due = outbox(&self.lanes.identity)?;
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        due.retain(|(id, ..)| !lost.contains(id));
        Ok(due)
    }

    fn lose(&self, id: EffectId) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        tracing::error!(%id, "a claim's key is lost: its key holders can recover it");
    }

    fn is_time(&self, due: impl ExactSizeIterator<Item = Timestamp>, now: Timestamp) -> bool {
        let enough = due.len() >= self.batch.max(1);
        enough || due.min().is_some_and(|oldest| now.since(oldest) >= self.wait_ms)
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
        handed.iter().for_each(|claim| claim.due.handed_over(&mut t, claim.credited, BOOKS));
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

    /// Hands one claim over with what its key holders have opened, where its key is lost; alone, so that it is never handed
    /// over as another claim at the same time. `false`: nothing of this purchase waits, or it goes over without them.
    ///
    /// # Errors
    /// Those of the books.
    pub async fn recover(&self, purchase: TxId, content: &OpenedBox) -> Result<bool, ActError> {
        let _alone = self.crossing.write().await;
        let waits = outbox(&self.lanes.identity)?.into_iter().find(|(_, _, due)| due.purchase == purchase);
        let Some((id, at, due)) = waits else { return Ok(false) };
        let facts = self.lanes.identity.books.load(&due.needs())?;
        if due.open(&facts, &*self.lanes.claim_keys).is_some() {
            return Ok(false);
        }
        let Some(hand) = due.with(&facts, content) else { return Ok(false) };
        let credited = apply(&self.lanes.books, &hand).await?;
        // The key in its place is another's, or nobody's: it stays.
        self.settle(&[Opened { id, at, due, hand, slot: None, credited }]).await?;
        Ok(true)
    }
}

fn open(
    lanes: &Lanes,
    (id, at): (EffectId, Timestamp),
    due: HandOverDue,
) -> Result<Option<Opened>, ActError> {
    let facts = lanes.identity.books.load(&due.needs())?;
    let slot = due.slot(&facts);
    let hand = due.open(&facts, &*lanes.claim_keys);
    Ok(hand.map(|hand| Opened { id, at, due, hand, slot, credited: false }))
}

/// Whether the books lane has taken the money up, now or when it was told before.
async fn apply(books: &House, hand: &HandOver) -> Result<bool, ActError> {
    let collected = !books.books.load(&hand.collected())?.once.is_empty();
    let made = |facts: &Facts, _: &mut Moment<'_>| Some(hand_over(hand, facts, collected, IDENTITY));
    match books.act(&hand.needs(), made).await? {
        Some(record) => Ok(HandOver::is_credited(&record)),
        None => Ok(credited(books, hand)?),
    }
}

/// The same, told nothing now. It may have been told of a claim while its money was there.
fn credited(books: &House, hand: &HandOver) -> Result<bool, StoreError> {
    let Some(seq) = books.books.load(&hand.needs())?.once.into_values().next() else { return Ok(false) };
    Ok(books.books.record(seq)?.is_none_or(|record| HandOver::is_credited(&record)))
}

/// What is under way from the identity lane to the books lane, in minor units.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnderWay {
    /// All that is not known to have arrived.
    pub minor: u64,
    /// What of it stands under a lost key: whether that has arrived only its key holders can say.
    pub lost: Vec<u64>,
}

impl UnderWay {
    /// Whether exactly so much may have arrived: the worth of some of the lost ones together. Nothing else tells, for
    /// nothing in the two lanes but the claim itself joins a purchase to its hand-over.
    #[must_use]
    pub fn may_have_arrived(&self, minor: u64) -> bool {
        let mut sums = BTreeSet::from([0_u64]);
        for lost in &self.lost {
            let more: Vec<u64> = sums.iter().map(|sum| sum.saturating_add(*lost)).collect();
            sums.extend(more.into_iter().filter(|sum| *sum <= minor));
            if sums.contains(&minor) {
                return true;
            }
            if sums.len() > SUMS_MAX {
                return minor <= self.lost.iter().fold(0, |all: u64, lost| all.saturating_add(*lost));
            }
        }
        sums.contains(&minor)
    }
}

/// What is under way: for the audit.
///
/// # Errors
/// Those of the store.
pub fn under_way(lanes: &Lanes, out: &[HandOverDue]) -> Result<UnderWay, StoreError> {
    let mut under_way = UnderWay::default();
    for due in out.iter().filter(|due| due.refused.is_none()) {
        let facts = lanes.identity.books.load(&due.needs())?;
        match due.open(&facts, &*lanes.claim_keys) {
            Some(hand) if credited(&lanes.books, &hand)? => continue,
            Some(_) => {}
            None => under_way.lost.push(due.total.minor()),
        }
        under_way.minor = under_way.minor.saturating_add(due.total.minor());
    }
    Ok(under_way)
}

/// Makes the keys of claims ready, for books that may serve.
///
/// # Errors
/// Those of the store; `Io`.
pub fn make_ready(lanes: &Lanes) -> Result<(), OperatorError> {
    Ok(lanes.claim_keys.make_ready(&waiting(&lanes.identity)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lost_claims_may_have_arrived() {
        let under_way = UnderWay { minor: 1_000, lost: vec![100, 250, 100] };
        for minor in [0, 100, 200, 250, 350, 450] {
            assert!(under_way.may_have_arrived(minor), "{minor}");
        }
        for minor in [1, 50, 300, 500, 1_000, u64::MAX] {
            assert!(!under_way.may_have_arrived(minor), "{minor}");
        }
        let many = UnderWay { minor: 0, lost: (0..40).map(|n| 1 << n).collect() };
        assert!(many.may_have_arrived((1 << 40) - 1) && !many.may_have_arrived(1 << 40));
    }
}
