//! Whether these books are the latest there were: compared with the high-water mark, with each other and with the bank,
//! before anything is served. Older ones serve nothing until a person says so; then the numbers that the lost part may
//! have given out are passed over. Source: the issue ("a stale restore that is noticed and serves nothing until a person
//! says so"); books.md, "Identity apart".

use std::fmt;

use florin_bank::Cursor;
use florin_books::{
    DenominationId, DocumentKey, DocumentKind, Epoch, SKIP_MAX, Seq, Skip, Timestamp, Transition,
};
use florin_crypto::{cbor, digest};
use florin_parties::network_id;
use florin_shell::clock::AHEAD_MAX_MS;
use florin_shell::exit::ExitCode;
use florin_shell::house::ActError;
use florin_store::{CommitError, StoreError};
use serde::Serialize;

use crate::audit::{AuditError, pair_difference};
use crate::lanes::{BOOKS, IDENTITY};
use crate::mark::{self, MarkError};
use crate::operator::Operator;
use crate::restore::{Restored, restored};

/// That somebody accepted books that are not the latest; one for each time, in both lanes.
///
/// Shape: `[at, reason, records lost, bank read until]`. Units: milliseconds; records of this lane, as far as is known.
pub(crate) const ACCEPTED: DocumentKind = DocumentKind(0x0310);
/// Until where the bank's news was looked through when books were accepted; one document, identity lane.
const BANK_SEEN: DocumentKey = DocumentKey::new(DocumentKind(0x0311), [0; 16]);
/// A new epoch is to begin at the next start, since coins of the present one were lost; one document, books lane. Who
/// turns epochs removes it.
pub const ROTATE_AT_START: DocumentKey = DocumentKey::new(DocumentKind(0x0312), [0; 16]);

/// So many epochs may have been begun by hand in the lost part.
const ROTATIONS_MAX: u16 = 8;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// So many numbers are passed over at least, in each denomination of each epoch that the lost part can have issued in.
const GAP_MIN: u64 = 1 << 26;
/// So long the bank is waited for.
const BANK_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// A record issues so many tokens at most.
const ISSUED_MAX: u64 = 256;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum StandingError {
    /// They come from a backup.
    #[error(
        "these books were restored from a backup of {made}: nothing is served until `florin operator restore --accept --reason TEXT`"
    )]
    Restored {
        /// When the backup was made.
        made: String,
    },
    /// They are older than they were.
    #[error(
        "the {lane} lane ends at record {have}, and by the file `high-water` had come to record {mark} at {when}: {} records are lost; nothing is served until the latest books are back or `florin operator restore --accept --reason TEXT`",
        mark.saturating_sub(*have)
    )]
    Behind {
        /// Which lane.
        lane: &'static str,
        /// Its last record.
        have: u64,
        /// The last record there was.
        mark: u64,
        /// When that was.
        when: String,
    },
    /// They have another history than the one that was served.
    #[error(
        "the {lane} lane has another history than the file `high-water` says it had at record {mark}: nothing is served until the right books, or the right file, are back or `florin operator restore --accept --reason TEXT`"
    )]
    Other {
        /// Which lane.
        lane: &'static str,
        /// The record compared.
        mark: u64,
    },
    /// The two lanes do not belong together.
    #[error(
        "the identity lane and the books lane are of different moments: they differ by {difference} minor units after what is under way; restore both from the same backup"
    )]
    Apart {
        /// By how much.
        difference: i64,
    },
    /// The bank has orders that these books never gave.
    #[error(
        "the bank knows {orders} orders that these books do not know: they are not the latest; nothing is served until the latest books are back or `florin operator restore --accept --reason TEXT`"
    )]
    BankKnows {
        /// How many.
        orders: usize,
    },
    /// This machine's clock has been set back, or the books have followed one that was wrong.
    #[error(
        "the {lane} lane has come to {lane_time}, and this machine's clock says {clock}: every request would be too late; put the clock right and start again"
    )]
    Ahead {
        /// Which lane.
        lane: &'static str,
        /// The time of its last record.
        lane_time: String,
        /// The time now.
        clock: String,
    },
    /// There is nothing to accept.
    #[error("these books are the latest that are known of: there is nothing to accept")]
    Current,
    /// The mark.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The books.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The books.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<AuditError> for StandingError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(e) => Self::Store(e),
            AuditError::Commit(e) => Self::Commit(e),
            AuditError::Interrupted => Self::Commit(CommitError::Stopped),
        }
    }
}

impl From<ActError> for StandingError {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Store(e) => Self::Store(e),
            ActError::Commit(e) => Self::Commit(e),
        }
    }
}

impl StandingError {
    /// A stable name: docs/problems.md, "Standing".
    #[must_use]
    pub const fn slug(&self) -> &'static str {
        match self {
            Self::Restored { .. } => "books-restored",
            Self::Behind { .. } | Self::BankKnows { .. } => "books-behind",
            Self::Other { .. } => "books-other-history",
            Self::Apart { .. } => "lanes-apart",
            Self::Ahead { .. } => "clock-behind-books",
            Self::Current => "nothing-to-accept",
            Self::Mark(_) => "mark-not-usable",
            Self::Store(_) | Self::Commit(_) => self.exit_code().name(),
        }
    }

    /// How a program ends because of it.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            Self::Current => ExitCode::Refused,
            Self::Ahead { .. } => ExitCode::Configuration,
            Self::Store(e) => ExitCode::of_store(e),
            Self::Commit(_) | Self::Mark(MarkError::Io(..) | MarkError::Home(_) | MarkError::Commit(_)) => {
                ExitCode::Io
            }
            _ => ExitCode::BadData,
        }
    }

    /// Whether a person may say that it is to go on all the same.
    const fn can_be_accepted(&self) -> bool {
        matches!(
            self,
            Self::Restored { .. } | Self::Behind { .. } | Self::Other { .. } | Self::BankKnows { .. }
        )
    }
}

/// What was accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Accepted {
    /// What was wrong.
    pub because: String,
    /// Why it goes on.
    pub reason: String,
    /// Records lost of the identity lane, as far as the mark knows.
    pub identity_lost: u64,
    /// Records lost of the books lane.
    pub books_lost: u64,
    /// Orders that the bank has and these books have not; none where the bank was not asked.
    pub bank_orders: Option<usize>,
    /// Numbers passed over in each denomination.
    pub numbers_passed_over: u64,
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Accepted: {}", self.because)?;
        writeln!(f, "  reason         {}", self.reason)?;
        writeln!(f, "  records lost   identity {}, books {}", self.identity_lost, self.books_lost)?;
        match self.bank_orders {
            Some(n) => writeln!(f, "  bank           {n} orders that these books do not know")?,
            None => writeln!(f, "  bank           does not answer: compare its statement by hand")?,
        }
        writeln!(f, "  coin numbers   {} passed over in each denomination", self.numbers_passed_over)?;
        write!(f, "Next: florin operator audit, then florin operator serve")
    }
}

const fn title(lane: florin_books::LaneId) -> &'static str {
    if lane.0 == IDENTITY.0 { "identity" } else { "books" }
}

impl Operator {
    /// Whether these books may serve: they are the latest that mark, marker and the other lane know of. Nothing is
    /// written.
    ///
    /// # Errors
    /// [`StandingError`].
    pub fn look(&self) -> Result<(), StandingError> {
        if let Some(Restored { made, .. }) = restored(&self.state) {
            return Err(StandingError::Restored { made });
        }
        self.compare()?;
        self.together()?;
        self.in_time()
    }

    /// The same, and what the bank says, as far as it answers.
    ///
    /// # Errors
    /// [`StandingError`].
    pub async fn may_serve(&self) -> Result<(), StandingError> {
        self.look()?;
        match self.bank_orders().await? {
            Some((orders, _)) if orders > 0 => Err(StandingError::BankKnows { orders }),
            _ => Ok(()),
        }
    }

    fn compare(&self) -> Result<(), StandingError> {
        let Some(mark) = mark::read(&self.places, &network_id(self.id))? else { return Ok(()) };
        for (house, id) in [(&self.lanes.identity, IDENTITY), (&self.lanes.books, BOOKS)] {
            let Some((seq, chain, line)) = mark.of(id) else { continue };
            let have = house.books.durable();
            if have < seq {
                let when = date(Timestamp(line.time_unix_ms));
                return Err(StandingError::Behind { lane: title(id), have: have.0, mark: seq.0, when });
            }
            if seq > Seq(0) && house.books.chain_at(seq)? != Some(chain) {
                return Err(StandingError::Other { lane: title(id), mark: seq.0 });
            }
        }
        Ok(())
    }

    /// Lane time never goes back, and nothing happens after its deadline by lane time.
    fn in_time(&self) -> Result<(), StandingError> {
        let now = self.clock.now();
        for (house, id) in [(&self.lanes.identity, IDENTITY), (&self.lanes.books, BOOKS)] {
            let lane_time = house.books.view(florin_books::Lane::time).map_err(|_| StoreError::Unknown)?;
            if lane_time > now.plus_ms(AHEAD_MAX_MS) {
                let (lane_time, clock) = (date(lane_time), date(now));
                return Err(StandingError::Ahead { lane: title(id), lane_time, clock });
            }
        }
        Ok(())
    }

    fn together(&self) -> Result<(), StandingError> {
        match pair_difference(&self.lanes, self.currency)? {
            0 => Ok(()),
            difference => Err(StandingError::Apart { difference }),
        }
    }

    /// Orders in the bank's news that these books do not know, and until where the news was read; none where the bank
    /// does not answer. What was there when books were accepted does not count again.
    async fn bank_orders(&self) -> Result<Option<(usize, Cursor)>, StandingError> {
        let needs = florin_books::Needs { documents: vec![BANK_SEEN], ..Default::default() };
        let facts = self.lanes.identity.books.load(&needs)?;
        let seen: Cursor =
            facts.document(&BANK_SEEN).and_then(|b| cbor::decode_strict(b).ok()).unwrap_or_default();
        // A bank that hangs does not keep the operator from serving; nor does one that is away.
        match tokio::time::timeout(BANK_MAX, self.bank.unknown_orders(seen)).await {
            Ok(found) => Ok(found?),
            Err(_) => Ok(None),
        }
    }

    /// Takes these books as they are, although they are not the latest: both lanes record it, the numbers that the lost
    /// part may have given out are never given out again, a new epoch is asked for, and the mark begins anew.
    ///
    /// # Errors
    /// [`StandingError`]: `Current` where nothing is wrong, `Apart` where nothing can be accepted.
    pub async fn accept(&self, reason: &str) -> Result<Accepted, StandingError> {
        let why = match self.may_serve().await {
            Ok(()) => return Err(StandingError::Current),
            Err(why) if why.can_be_accepted() => why,
            Err(error) => return Err(error),
        };
        self.together()?;
        let bank = self.bank_orders().await?;
        let mark = mark::read(&self.places, &network_id(self.id)).ok().flatten();
        let lost = |house: &florin_shell::house::House, id| {
            let had = mark.as_ref().and_then(|m| m.of(id)).map_or(0, |(seq, ..)| seq.0);
            had.saturating_sub(house.books.durable().0)
        };
        let (identity_lost, books_lost) =
            (lost(&self.lanes.identity, IDENTITY), lost(&self.lanes.books, BOOKS));
        let gap = books_lost.saturating_mul(ISSUED_MAX).clamp(GAP_MIN, SKIP_MAX);
        let until = bank.map_or(Cursor::default(), |(_, cursor)| cursor);
        self.record(&self.lanes.books, (reason, books_lost, until), self.skips(gap)?).await?;
        self.record(&self.lanes.identity, (reason, identity_lost, until), Vec::new()).await?;
        // The mark last, and then the marker: whoever is interrupted begins again, and passes over more numbers.
        mark::put(&self.places, &mark::now(&self.lanes, &network_id(self.id))?)?;
        crate::restore::clear(&self.state).map_err(MarkError::Home)?;
        tracing::warn!(reason, identity_lost, books_lost, "books that are not the latest were accepted");
        Ok(Accepted {
            because: why.to_string(),
            reason: reason.to_owned(),
            identity_lost,
            books_lost,
            bank_orders: bank.map(|(orders, _)| orders),
            numbers_passed_over: gap,
        })
    }

    /// Every epoch that the lost part can have issued in: from the one of the last record that is there to those that it
    /// can have begun, which are not in the table.
    fn skips(&self, gap: u64) -> Result<Vec<Skip>, StandingError> {
        let epochs = self.issuer.epochs();
        let epoch_ms = u64::from(self.config.terms().epoch_days.max(1)).saturating_mul(DAY_MS);
        let now = self.clock.now();
        let registers = self.lanes.books.books.spec().registers.clone();
        let skips = self.lanes.books.books.view(move |lane| {
            let first = epochs.issuing(lane.time().min(now)).map_or(0, |epoch| epoch.0);
            let begun = now.since(lane.time()).checked_div(epoch_ms).unwrap_or(0);
            let begun = u16::try_from(begun).unwrap_or(u16::MAX).saturating_add(ROTATIONS_MAX);
            let known = epochs.entries().last().map_or(first, |entry| entry.number.0);
            let last = known.saturating_add(begun);
            let mut skips = Vec::new();
            for epoch in (first..=last).map(Epoch) {
                for register in &registers {
                    for index in 0..u16::try_from(register.denominations.values().len()).unwrap_or(0) {
                        let Some(denomination) = DenominationId::new(register.id, index) else { continue };
                        let next = lane.live().next(epoch, denomination).saturating_add(gap);
                        skips.push(Skip { epoch, denomination, next });
                    }
                }
            }
            skips
        })?;
        Ok(skips)
    }

    async fn record(
        &self,
        house: &florin_shell::house::House,
        (reason, lost, until): (&str, u64, Cursor),
        skips: Vec<Skip>,
    ) -> Result<(), StandingError> {
        let at = self.clock.now();
        let body = cbor::encode(&(at, reason, lost, until));
        let cause = digest("florin/v1/operator/accepted", &[&body]);
        let key = DocumentKey::new(ACCEPTED, cause.short());
        let is_books = !skips.is_empty();
        let needs = florin_books::Needs { documents: vec![key], ..Default::default() };
        let done = house.act(&needs, |facts, _| {
            let mut t = Transition::new(cause, facts.as_of);
            t.write(key, body.clone());
            t.skips.clone_from(&skips);
            if is_books {
                t.write(ROTATE_AT_START, cbor::encode(&at));
            } else {
                t.write(BANK_SEEN, cbor::encode(&until));
            }
            Some(t)
        });
        done.await?;
        Ok(())
    }
}

/// A moment, for people: UTC. Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub(crate) fn date(at: Timestamp) -> String {
    let seconds = at.0 / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days.saturating_add(719_468);
    let (era, day) = (z / 146_097, z % 146_097);
    let minus = |a: u64, b: u64| a.saturating_sub(b);
    let year = minus(day, day / 1_460).saturating_add(day / 36_524);
    let year = minus(year, day / 146_096) / 365;
    let of_year = minus(day, year.saturating_mul(365).saturating_add(minus(year / 4, year / 100)));
    let mp = of_year.saturating_mul(5).saturating_add(2) / 153;
    let day = minus(of_year, mp.saturating_mul(153).saturating_add(2) / 5).saturating_add(1);
    let month = if mp < 10 { mp.saturating_add(3) } else { minus(mp, 9) };
    let year = year.saturating_add(era.saturating_mul(400)).saturating_add(u64::from(month <= 2));
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_the_calendars() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_000_000, "2026-11-18 11:06:40 UTC"),
        ] {
            assert_eq!(date(Timestamp(seconds * 1000)), text);
        }
    }
}
