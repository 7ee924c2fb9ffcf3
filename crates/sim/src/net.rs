//! The network between machines: it drops, repeats, reorders and delays, and loses the answer after the deed.
//! Source: reliability.md, R9.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::dice::Dice;
use crate::plan::Plan;

/// How long nobody hears anything of a message that is lost, before its sender gives up.
const SILENCE: Duration = Duration::from_secs(5);

/// The network.
#[derive(Clone)]
pub struct Net {
    dice: Dice,
    plan: Arc<Plan>,
    calm: Arc<AtomicBool>,
}

impl Net {
    /// The network of a plan.
    #[must_use]
    pub fn new(plan: &Arc<Plan>) -> Self {
        Self { dice: Dice::new(plan.seed, "net"), plan: Arc::clone(plan), calm: Arc::default() }
    }

    /// From now on nothing goes wrong.
    pub fn calm(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    fn happens(&self, per_mille: u64) -> bool {
        !self.calm.load(Ordering::SeqCst) && self.dice.per_mille(per_mille)
    }

    /// A message on its way; whether it arrives.
    pub async fn there(&self) -> bool {
        self.travel(self.plan.lost).await
    }

    /// An answer on its way back; whether it arrives.
    pub async fn back(&self) -> bool {
        self.travel(self.plan.answers_lost).await
    }

    async fn travel(&self, lost: u64) -> bool {
        let lost = self.happens(lost);
        let most = if self.calm.load(Ordering::SeqCst) { 5 } else { self.plan.delay_max_ms };
        tokio::time::sleep(Duration::from_millis(self.dice.within(0, most))).await;
        if lost {
            tokio::time::sleep(SILENCE).await;
        }
        !lost
    }

    /// Whether this message arrives once more, and after how long.
    #[must_use]
    pub fn again(&self) -> Option<Duration> {
        let most = self.plan.delay_max_ms.saturating_mul(4);
        self.happens(self.plan.doubled).then(|| Duration::from_millis(self.dice.within(0, most)))
    }

    /// Whether a thief has a copy of this message and sends it again, and after how long.
    #[must_use]
    pub fn stolen(&self) -> Option<Duration> {
        self.happens(self.plan.thief).then(|| Duration::from_millis(self.dice.within(0, 90_000)))
    }
}
