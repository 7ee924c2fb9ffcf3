//! The outbox worker: carries out effects after their commit, at least once, each under an id of its own.
//! Source: books.md, "The parts" (outbox).

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use florin_books::{Effect, EffectId, Outgoing, Timestamp, Transition};
use florin_crypto::digest;
use florin_http::Stop;
use tokio::sync::Notify;

use crate::house::{ActError, House};

/// The longest pause between two tries of one effect.
const PAUSE_MAX_MS: u64 = 30_000;
/// The first pause.
const PAUSE_MIN_MS: u64 = 100;
/// How often the outbox is looked at when nobody calls.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What became of an effect.
pub enum Carried {
    /// Done: taken from the outbox.
    Done,
    /// Not now: again later.
    Later,
}

/// A future that carries out one effect.
pub type Carrying<'a> = Pin<Box<dyn Future<Output = Carried> + Send + 'a>>;

/// Who carries out effects.
pub trait Courier: Send + Sync {
    /// Carries out one. The receiver knows the effect's id, so doing it twice changes nothing.
    fn carry<'a>(&'a self, effect: &'a Outgoing) -> Carrying<'a>;

    /// Whether it carries out effects of this kind; another courier of the same outbox carries out the others, so that a
    /// slow receiver holds up nobody else.
    fn takes(&self, kind: u16) -> bool;

    /// Whether what is due should wait for company (batches); given all that is due of one kind.
    fn ready(&self, _kind: u16, _due: &[Outgoing], _now: Timestamp) -> bool {
        true
    }
}

/// Looks at the outbox whenever called, or every half second, until stopped.
pub async fn run(house: House, courier: &dyn Courier, called: &Notify, stop: Stop) {
    let mut tries: HashMap<EffectId, (u32, Timestamp)> = HashMap::new();
    while !stop.is_triggered() && !house.books.is_failed() {
        let carried = round(&house, courier, &mut tries).await;
        if carried > 0 {
            continue;
        }
        tokio::select! {
            // In order: a call that comes with the end of the pause is taken with it, in every run.
            biased;
            () = stop.stopped() => return,
            () = called.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// One look at the outbox: how many effects were carried out.
pub async fn round(
    house: &House,
    courier: &dyn Courier,
    tries: &mut HashMap<EffectId, (u32, Timestamp)>,
) -> usize {
    let now = house.clock.now();
    let Ok(waiting) = house.books.view(|lane| lane.outbox().cloned().collect::<Vec<_>>()) else { return 0 };
    tries.retain(|id, _| waiting.iter().any(|o| o.id == *id));
    let mut by_kind: BTreeMap<u16, Vec<Outgoing>> = BTreeMap::new();
    for out in waiting.into_iter().filter(|o| o.due <= now && courier.takes(o.kind)) {
        by_kind.entry(out.kind).or_default().push(out);
    }
    let mut carried: usize = 0;
    for (kind, due) in by_kind {
        if !courier.ready(kind, &due, now) {
            continue;
        }
        for out in due {
            if tries.get(&out.id).is_some_and(|(_, at)| *at > now) {
                continue;
            }
            match courier.carry(&out).await {
                Carried::Done => match settle(house, out.id).await {
                    Ok(()) => carried = carried.saturating_add(1),
                    Err(error) => tracing::warn!(%error, "an effect was carried out but is not settled"),
                },
                Carried::Later => {
                    let (n, at) = tries.entry(out.id).or_insert((0, now));
                    let pause = PAUSE_MIN_MS.saturating_mul(1 << (*n).min(9)).min(PAUSE_MAX_MS);
                    *n = n.saturating_add(1);
                    *at = now.plus_ms(pause);
                }
            }
        }
    }
    carried
}

async fn settle(house: &House, id: EffectId) -> Result<(), ActError> {
    let mut t = Transition::new(digest("florin/v1/outbox/done", &[id.bytes()]), florin_books::Seq(0));
    t.effects.push(Effect::Done(id));
    match house.commit(t).await {
        Ok(_) | Err(florin_store::CommitError::Rejected(florin_books::Rejected::Settled { .. })) => Ok(()),
        Err(e) => Err(ActError::Commit(e)),
    }
}
