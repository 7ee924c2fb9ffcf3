//! A fold on its way into the tables: made ready on a thread of its own, put in by parts, each in the transaction of a
//! batch. Source: books.md, "Lanes and stores"; docs/adr/0029.
//!
//! The sum over the folded rows is committed with each part, so the tables verify at every moment. The checkpoint lies
//! in parts too; two sets of them take turns, so that the one that counts is never written over.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use florin_books::{DocumentKind, LaneId, Seq, Snapshot};
use rusqlite::{OptionalExtension, Transaction, params};

use super::filter::Filter;
use super::inspect::{column, document_tag, mark_tag, once_tag, seq};
use super::keys::{RowSum, StoreKeys};
use super::schema::io;
use crate::contract::StoreError;
use crate::fold::{Folded, Pace};

/// Bytes of the checkpoint in one part: four pages of the file.
const PART_BYTES: usize = 16 << 10;
/// What a part weighs beside a row.
const PART_WEIGHT: u64 = 4;
/// What an idle lane puts in at once.
const IDLE_WEIGHT: u64 = 256;
/// A batch is not held up by its part of a fold for longer; what is left comes with the batches after it.
const TIME_MAX: Duration = Duration::from_millis(8);
/// So many marks that ended go at once.
const MARKS_MAX: u32 = 256;
/// How many steps go between two looks at the time.
const LOOK_EVERY: usize = 16;

/// A row that goes in, its id hashed and its content sealed.
enum Step {
    Document { kind: DocumentKind, id: [u8; 16], at: Seq, body: Option<Vec<u8>> },
    Once { id: [u8; 16], at: Seq },
    Mark { id: [u8; 16], kind: DocumentKind, until: i64 },
    Part { place: u32, body: Vec<u8> },
}

impl Step {
    const fn weight(&self) -> u64 {
        match self {
            Self::Document { .. } | Self::Once { .. } | Self::Mark { .. } => 1,
            Self::Part { .. } => PART_WEIGHT,
        }
    }
}

/// A fold that is ready to go in.
struct Ready {
    seq: Seq,
    now: i64,
    /// How many parts its checkpoint has.
    parts: u32,
    steps: std::vec::IntoIter<Step>,
    weight: u64,
    put: u64,
}

/// The fold under way.
pub(crate) struct Folding {
    pace: Pace,
    making: Option<JoinHandle<Ready>>,
    ready: Option<Ready>,
}

/// How much of a fold goes in now.
#[derive(Clone, Copy)]
pub(crate) enum Share {
    /// What is due with the record that is stored now.
    Due(Seq),
    /// A small part.
    Little,
    /// All that is left.
    All,
}

impl Folding {
    /// Begins to make it ready.
    pub(crate) fn begin(
        snapshot: Snapshot,
        within: u64,
        lane: LaneId,
        keys: Arc<StoreKeys>,
        filter: Arc<Filter>,
        file: &Path,
    ) -> Result<Self, StoreError> {
        let pace = Pace::new(snapshot.seq(), within);
        let making = thread::Builder::new()
            .name("fold".into())
            .spawn(move || make(&snapshot, lane, &keys, &filter))
            .map_err(io(file))?;
        Ok(Self { pace, making: Some(making), ready: None })
    }

    /// Whether there is anything to put in now; waits for it where all of it is asked for.
    pub(crate) fn is_due(&mut self, share: Share) -> Result<bool, StoreError> {
        let wait = matches!(share, Share::All);
        if let Some(making) = self.making.take_if(|making| wait || making.is_finished()) {
            self.ready = Some(making.join().map_err(|_| StoreError::Unknown)?);
        }
        let Some(ready) = &self.ready else { return Ok(false) };
        Ok(self.target(ready, share) > ready.put)
    }

    /// The end of a fold, with marks that ended and the checkpoint, weighs one.
    fn target(&self, ready: &Ready, share: Share) -> u64 {
        let whole = ready.weight.saturating_add(1);
        match share {
            Share::Due(last) => self.pace.due(whole, last),
            Share::Little => ready.put.saturating_add(IDLE_WEIGHT).min(whole),
            Share::All => whole,
        }
    }
}

/// Hashes, seals and sorts: what takes time and needs no connection.
fn make(snapshot: &Snapshot, lane: LaneId, keys: &StoreKeys, filter: &Filter) -> Ready {
    let folded = Folded::of(snapshot);
    let mut documents: Vec<_> = folded
        .documents
        .iter()
        .map(|(key, at, value)| {
            let body = value.as_ref().map(|v| keys.seal_document(lane, key, *at, v));
            (key.kind, keys.id("document", key.kind, &key.id), *at, body)
        })
        .collect();
    let mut once: Vec<_> = folded.once.iter().map(|(key, at)| (keys.once(key), *at)).collect();
    let mut marks: Vec<_> = folded
        .marks
        .iter()
        .map(|(kind, id, until)| (keys.id("mark", *kind, id), *kind, column(until.0)))
        .collect();
    // In the order of the tables, so that neighbours share pages.
    documents.sort_unstable_by_key(|(kind, id, ..)| (*kind, *id));
    once.sort_unstable();
    marks.sort_unstable();
    let ids =
        documents.iter().map(|d| &d.1).chain(once.iter().map(|o| &o.0)).chain(marks.iter().map(|m| &m.0));
    filter.add_all(ids);
    let checkpoint = snapshot.checkpoint();
    let (parts, sealed) = seal_parts(keys, lane, snapshot.seq(), &checkpoint);
    let documents = documents.into_iter().map(|(kind, id, at, body)| Step::Document { kind, id, at, body });
    let once = once.into_iter().map(|(id, at)| Step::Once { id, at });
    let marks = marks.into_iter().map(|(id, kind, until)| Step::Mark { id, kind, until });
    let sealed = sealed.map(|(place, body)| Step::Part { place, body });
    let steps: Vec<Step> = documents.chain(once).chain(marks).chain(sealed).collect();
    let weight = steps.iter().map(Step::weight).fold(0, u64::saturating_add);
    let (seq, now) = (snapshot.seq(), column(snapshot.time().0));
    Ready { seq, now, parts, steps: steps.into_iter(), weight, put: 0 }
}

/// A checkpoint cut into sealed parts: how many, and each with its place.
pub(crate) fn seal_parts<'a>(
    keys: &'a StoreKeys,
    lane: LaneId,
    at: Seq,
    checkpoint: &'a [u8],
) -> (u32, impl Iterator<Item = (u32, Vec<u8>)> + 'a) {
    let pieces = checkpoint.chunks(PART_BYTES);
    let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    (
        count,
        (0..).zip(pieces).map(move |(place, piece)| (place, keys.seal_part(lane, at, (place, count), piece))),
    )
}

/// What puts parts of a fold into one transaction.
pub(crate) struct Putting<'a> {
    pub(crate) tx: &'a Transaction<'a>,
    pub(crate) keys: &'a StoreKeys,
    pub(crate) lane: LaneId,
    /// Where the checkpoint that counts is.
    pub(crate) base: Base,
    pub(crate) rows: &'a mut RowSum,
}

/// The checkpoint that counts, and which of the two sets of parts it uses.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Base {
    pub(crate) seq: Seq,
    pub(crate) set: u32,
}

impl Base {
    /// The set that the next checkpoint is written to.
    const fn other(self) -> u32 {
        if self.set == 0 { 1 } else { 0 }
    }
}

/// The number of a part's row.
pub(crate) fn part_row(set: u32, place: u32) -> i64 {
    i64::from(place).saturating_mul(2).saturating_add(i64::from(set))
}

impl Putting<'_> {
    /// Puts in what is due; the new checkpoint's place where the fold is whole.
    pub(crate) fn run(&mut self, folding: &mut Folding, share: Share) -> rusqlite::Result<Option<Base>> {
        let Some(ready) = &folding.ready else { return Ok(None) };
        let (target, begun) = (folding.target(ready, share), Instant::now());
        let Some(ready) = &mut folding.ready else { return Ok(None) };
        for count in 1.. {
            if ready.put >= target {
                break;
            }
            let Some(step) = ready.steps.next() else {
                if let Some(new) = self.end(ready)? {
                    return Ok(Some(new));
                }
                if matches!(share, Share::All) {
                    continue;
                }
                break;
            };
            ready.put = ready.put.saturating_add(step.weight());
            self.put(step)?;
            let late = usize::is_multiple_of(count, LOOK_EVERY) && begun.elapsed() > TIME_MAX;
            if late && !matches!(share, Share::All) {
                break;
            }
        }
        let sum = self.keys.seal_rows(self.lane, self.base.seq, self.rows);
        self.tx.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('rows', ?1)")?.execute([sum])?;
        Ok(None)
    }

    fn put(&mut self, step: Step) -> rusqlite::Result<()> {
        match step {
            Step::Document { kind, id, at, body } => self.document(kind, &id, at, body),
            Step::Once { id, at } => {
                let new = self
                    .tx
                    .prepare_cached("INSERT OR IGNORE INTO once VALUES (?1, ?2)")?
                    .execute(params![id, column(at.0)])?;
                if new == 1 {
                    self.rows.toggle(once_tag(self.keys, &id, at));
                }
                Ok(())
            }
            Step::Mark { id, kind, until } => {
                self.forget_marks("DELETE FROM mark WHERE id = ?1 RETURNING id, until", params![id])?;
                self.tx
                    .prepare_cached("INSERT INTO mark VALUES (?1, ?2, ?3)")?
                    .execute(params![id, kind.0, until])?;
                self.rows.toggle(mark_tag(self.keys, &id, until));
                Ok(())
            }
            Step::Part { place, body } => self
                .tx
                .prepare_cached("INSERT OR REPLACE INTO part VALUES (?1, ?2)")?
                .execute(params![part_row(self.base.other(), place), body])
                .map(drop),
        }
    }

    fn document(
        &mut self,
        kind: DocumentKind,
        id: &[u8; 16],
        at: Seq,
        body: Option<Vec<u8>>,
    ) -> rusqlite::Result<()> {
        let old: Option<(Seq, Vec<u8>)> = self
            .tx
            .prepare_cached("DELETE FROM document WHERE kind = ?1 AND id = ?2 RETURNING seq, body")?
            .query_row(params![kind.0, id], |r| Ok((seq(r, 0)?, r.get(1)?)))
            .optional()?;
        if let Some((before, old)) = old {
            self.rows.toggle(document_tag(self.keys, kind, id, before, &old));
        }
        let Some(body) = body else { return Ok(()) };
        self.tx.prepare_cached("INSERT INTO document VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            kind.0,
            id,
            column(at.0),
            body
        ])?;
        self.rows.toggle(document_tag(self.keys, kind, id, at, &body));
        Ok(())
    }

    /// Marks that ended go; when there are no more of them, the new checkpoint counts.
    fn end(&mut self, fold: &mut Ready) -> rusqlite::Result<Option<Base>> {
        let ended = "DELETE FROM mark WHERE id IN (SELECT id FROM mark WHERE until < ?1 LIMIT ?2) \
                     RETURNING id, until";
        if self.forget_marks(ended, params![fold.now, MARKS_MAX])? == MARKS_MAX {
            return Ok(None);
        }
        let new = Base { seq: fold.seq, set: self.base.other() };
        let body = self.keys.seal_checkpoint(self.lane, fold.seq, self.rows, fold.parts);
        self.tx
            .prepare_cached("INSERT OR REPLACE INTO checkpoint VALUES (1, ?1, ?2, ?3)")?
            .execute(params![column(new.seq.0), new.set, body])?;
        // From here on the sum stands in the checkpoint.
        self.tx.prepare_cached("DELETE FROM meta WHERE name = 'rows'")?.execute([])?;
        fold.put = fold.weight.saturating_add(1);
        Ok(Some(new))
    }

    fn forget_marks(&mut self, sql: &str, parameters: impl rusqlite::Params) -> rusqlite::Result<u32> {
        let mut statement = self.tx.prepare_cached(sql)?;
        let mut gone = statement.query(parameters)?;
        let mut count: u32 = 0;
        while let Some(row) = gone.next()? {
            count = count.saturating_add(1);
            self.rows.toggle(mark_tag(self.keys, &row.get::<_, Vec<u8>>(0)?, row.get(1)?));
        }
        Ok(count)
    }
}
