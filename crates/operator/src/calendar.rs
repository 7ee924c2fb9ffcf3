//! What the calendar does with the epochs by itself: makes the next one ahead of time, ends those that are over, forgets the
//! keys of those that are long gone. What cannot be undone waits until the clock has said so for a day without a break.
//! Source: VarietyCash §2.6; ADR 0028, ADR 0031; docs/operator.md, "Epochs".

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use florin_books::{Epoch, Facts, Needs, Transition};
use florin_coin::Epochs;
use florin_crypto::digest;
use florin_http::Stop;
use florin_rail::Moment;
use florin_shell::house::ActError;

use crate::epochs::EpochsError;
use crate::operator::Operator;
use crate::standing::ROTATE_AT_START;

/// How often the calendar is looked at: more than once a minute, as the key module wishes.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// An epoch, or a key, is ended when it was due at every look for so long, by a clock that nobody sets: one that jumps ahead
/// and is put right within a day ends nothing. A restart begins anew.
pub const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// The key of an epoch that was dropped is kept so long, since books from before the drop do not open without it: longer than
/// the age of any backup that one would restore.
pub const KEY_KEPT_MS: u64 = 35 * 24 * 60 * 60 * 1000;

/// What cannot be undone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The live coins are written down and ended.
    End(Epoch),
    /// The tag key is ended.
    Forget(Epoch),
}

/// What earlier looks at the calendar have seen.
#[derive(Default)]
pub(crate) struct Looks {
    /// Due at every look since then.
    since: BTreeMap<Due, Instant>,
    /// Keys that are known to be forgotten.
    forgotten: BTreeSet<Epoch>,
}

impl Looks {
    /// What is due at this look, and was at every one before it for so long.
    fn ripe(&mut self, due: BTreeSet<Due>, patience: Duration) -> Vec<Due> {
        self.since.retain(|what, _| due.contains(what));
        for what in due {
            self.since.entry(what).or_insert_with(Instant::now);
        }
        let ripe = self.since.iter().filter(|(_, since)| since.elapsed() >= patience);
        ripe.map(|(what, _)| *what).collect()
    }

    fn due(&self, epochs: &Epochs, now: florin_books::Timestamp) -> BTreeSet<Due> {
        let of = |entry: &florin_coin::EpochEntry| match entry.dropped {
            None => entry.is_over(now).then_some(Due::End(entry.number)),
            Some(dropped) => {
                let kept = entry.key.is_none() || self.forgotten.contains(&entry.number);
                let is_due = !kept && now > dropped.at.plus_ms(KEY_KEPT_MS);
                is_due.then_some(Due::Forget(entry.number))
            }
        };
        epochs.entries().iter().filter_map(of).collect()
    }
}

impl Operator {
    /// Looks after the epochs until stopped.
    pub async fn keep_epochs(&self, stop: &Stop) {
        while !stop.is_triggered() && !self.lanes.books.books.is_failed() {
            self.watch_clock();
            self.issuer.module().let_go();
            if let Err(error) = self.rotate_if_asked().await {
                tracing::warn!(%error, "a new epoch waits");
            }
            if let Err(error) = self.advance_epochs(PATIENCE).await {
                tracing::warn!(%error, "the epochs wait");
            }
            tokio::select! {
                () = stop.stopped() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// A clock that was set is a matter for a person: which of the two times is right, no program knows.
    fn watch_clock(&self) {
        let off = self.clock.off_by_ms();
        self.clock_off.set(off.unwrap_or(0).div_euclid(1000));
        if let Some(ms) = off {
            tracing::error!(
                seconds = ms.div_euclid(1000),
                "the machine's clock has stepped; time goes on here as before: put the clock right, or restart to take its time"
            );
        }
    }

    /// Begins the new epoch that was asked for when books were accepted that are not the latest.
    ///
    /// # Errors
    /// [`EpochsError`].
    pub async fn rotate_if_asked(&self) -> Result<(), EpochsError> {
        let needs = Needs { documents: vec![ROTATE_AT_START], ..Needs::default() };
        let asked = self.lanes.books.books.load(&needs).map_err(ActError::Store)?;
        if asked.document(&ROTATE_AT_START).is_none() {
            return Ok(());
        }
        self.rotate_epoch(None).await?;
        // Whoever is interrupted before this begins one epoch more, which harms nobody.
        let done = |facts: &Facts, _: &mut Moment<'_>| {
            facts.document(&ROTATE_AT_START)?;
            let mut t = Transition::new(digest("florin/v1/operator/rotated-at-start", &[]), facts.as_of);
            t.remove(ROTATE_AT_START);
            Some(t)
        };
        self.lanes.books.act(&needs, done).await?;
        Ok(())
    }

    /// What the calendar says now: the next epoch, the end of those that are over, and of keys that nobody needs any more;
    /// the last two if it has said so at every look of this process for so long ([`PATIENCE`]).
    ///
    /// # Errors
    /// [`EpochsError`]; what was done until then stands.
    pub async fn advance_epochs(&self, patience: Duration) -> Result<(), EpochsError> {
        let mut looks = self.changing.lock().await;
        self.take_up()?;
        let due = looks.due(&self.issuer.epochs(), self.clock.now());
        let ripe = looks.ripe(due, patience);
        if !self.config.wind_down && self.issuer.epochs().schedule(self.clock.now())?.is_some() {
            self.change_epochs(None, |epochs, now| {
                let next = epochs.schedule(now)?;
                Ok(next.unwrap_or_else(|| epochs.clone()))
            })
            .await?;
        }
        for due in ripe {
            match due {
                Due::End(number) => self.close_epoch(number).await?,
                // Late coins are known by the archive.
                Due::Forget(number) => {
                    self.issuer.module().forget(number)?;
                    looks.forgotten.insert(number);
                }
            }
        }
        Ok(())
    }

    async fn close_epoch(&self, number: Epoch) -> Result<(), EpochsError> {
        let entry = self.issuer.epochs().entry(number);
        if entry.is_some_and(|entry| entry.archived.is_none()) {
            self.write_down(number, None).await?;
        }
        self.end_epoch(number, None).await
    }
}
