//! The second durable copy: an append-only file, keyed-hash-chained, synced apart from SQLite.
//! Source: books.md, "Two durable copies of each batch"; reliability.md, finding 1.
//!
//! A segment is a header and frames. Header: magic 8, format u32, lane u16, segment u32, chain before 32, tag 32.
//! Frame: length u32, first u64, last u64, tag of these three 8, body, chain after 32. The chain is a keyed hash over
//! the chain before and the frame, so no frame can be changed, dropped or moved unnoticed, except at the end.
//!
//! A segment that was written again without seeds (`rewrite.rs`) has a longer header: magic, format 2, lane, segment,
//! chain before 32, chain after 32, content 32, tag 32. Its own frames are chained from a keyed hash over the header's
//! first part and must end at `content`; the next segment goes on from `chain after`, which is where the segment that
//! it replaces ended.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use florin_books::{LaneId, Seq};

use super::keys::StoreKeys;
use super::opening::{self, Begin};
use super::schema::{damaged, io};
use super::segment::{SegmentHead, rewritten_begin, segment_head};
use crate::contract::StoreError;

pub(super) const MAGIC: &[u8; 8] = b"FLORIN2C";
const FORMAT: u32 = 1;
pub(super) const HEADER: usize = 82;
pub(super) const FRAME_HEAD: usize = 28;
pub(super) const CHAIN: usize = 32;

/// Where the chain stands.
pub(crate) type Link = [u8; 32];

/// Frame after frame: first, last, body.
pub(crate) type OnFrame<'a> = &'a mut dyn FnMut(Seq, Seq, &[u8]) -> Result<(), StoreError>;

/// How a walk over the segments ended.
pub(crate) enum Ending {
    /// Every frame verifies.
    Whole,
    /// The last frame was never finished: it was not acknowledged.
    Torn,
    /// A frame or header in the middle does not verify.
    Damaged(PathBuf, &'static str),
    /// There are no segments.
    Missing,
}

/// What the segments hold, as far as they verify.
pub(crate) struct Survey {
    pub(crate) ending: Ending,
    /// The last record that verifies.
    pub(crate) last: Seq,
    /// A header verified: the keys are the right ones.
    pub(crate) key_fits: bool,
    /// Where the journal begins.
    pub(crate) begin: Begin,
    segment: u32,
    chain: Link,
    good_len: u64,
    /// The last segment was written again: nothing is added to it.
    closed: bool,
}

/// The file that is appended to.
pub(crate) struct Second {
    dir: PathBuf,
    lane: LaneId,
    file: File,
    segment: u32,
    chain: Link,
    len: u64,
    limit: u64,
    /// The last record in it.
    pub(crate) last: Seq,
}

/// A step of the chain: what follows from the chain before, and the frame.
pub(super) fn step(keys: &StoreKeys, before: &Link, head: &[u8], body: &[u8]) -> Link {
    keys.second("frame", &[before, head, body])
}

pub(super) fn header(keys: &StoreKeys, lane: LaneId, segment: u32, before: &Link) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&FORMAT.to_be_bytes());
    out.extend_from_slice(&lane.0.to_be_bytes());
    out.extend_from_slice(&segment.to_be_bytes());
    out.extend_from_slice(before);
    let tag = keys.second("segment", &[&out]);
    out.extend_from_slice(&tag);
    out
}

pub(super) fn frame_head(keys: &StoreKeys, len: u32, first: Seq, last: Seq) -> Vec<u8> {
    let mut out = len.to_be_bytes().to_vec();
    out.extend_from_slice(&first.0.to_be_bytes());
    out.extend_from_slice(&last.0.to_be_bytes());
    let tag = keys.second("head", &[&out]);
    out.extend(tag.iter().take(8));
    out
}

/// The path of a segment.
pub(crate) fn path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("second-{segment:06}.log"))
}

/// The first path, for messages.
pub(crate) fn name(dir: &Path) -> PathBuf {
    path(dir, 1)
}

/// The numbers of all segments that lie there.
fn numbers(dir: &Path) -> Vec<u32> {
    let number = |name: &str| name.strip_prefix("second-")?.strip_suffix(".log")?.parse::<u32>().ok();
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|e| number(e.file_name().to_str()?)).collect()
}

/// The first and the last segment that lie there without a gap, and their bytes; zeros where there are none.
pub(crate) fn extent(dir: &Path) -> (u32, u32, u64) {
    let Some(first) = numbers(dir).into_iter().min() else { return (0, 0, 0) };
    let (mut next, mut bytes) = (first, 0u64);
    while let Ok(meta) = fs::metadata(path(dir, next)) {
        next = next.saturating_add(1);
        bytes = bytes.saturating_add(meta.len());
    }
    (first, next.saturating_sub(1), bytes)
}

pub(super) struct Head {
    pub(super) len: usize,
    pub(super) first: Seq,
    pub(super) last: Seq,
}

pub(super) fn read_head(keys: &StoreKeys, bytes: &[u8]) -> Option<Head> {
    let head = bytes.get(..FRAME_HEAD)?;
    let (len, rest) = head.split_first_chunk::<4>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let (last, _) = rest.split_first_chunk::<8>()?;
    let (len, first, last) =
        (u32::from_be_bytes(*len), u64::from_be_bytes(*first), u64::from_be_bytes(*last));
    let genuine = frame_head(keys, len, Seq(first), Seq(last)) == head;
    genuine.then_some(Head { len: usize::try_from(len).ok()?, first: Seq(first), last: Seq(last) })
}

/// Whether what does not verify at the end of the file can be a frame that a crash cut short: nothing genuine follows.
fn is_torn(keys: &StoreKeys, rest: &[u8]) -> bool {
    match read_head(keys, rest) {
        Some(head) => rest.len() <= FRAME_HEAD.saturating_add(head.len).saturating_add(CHAIN),
        None => (1..rest.len()).all(|at| rest.get(at..).is_none_or(|tail| read_head(keys, tail).is_none())),
    }
}

/// Where a walk begins, and the last segment; not whole where there is nothing to walk over.
fn begin_walk(dir: &Path, keys: &StoreKeys, lane: LaneId) -> Result<(Survey, u32), StoreError> {
    let mut found = Survey {
        ending: Ending::Missing,
        last: Seq(0),
        key_fits: false,
        begin: Begin::default(),
        segment: 0,
        chain: [0; 32],
        good_len: 0,
        closed: false,
    };
    match opening::read(dir, keys, lane)? {
        Ok(begin) => (found.last, found.begin) = (begin.seq(), begin),
        Err(why) => {
            found.ending = Ending::Damaged(opening::path(dir), why);
            return Ok((found, 0));
        }
    }
    // Listed once, and only what counts: meanwhile a segment may be begun, and those from before the opening may go.
    let mut there = numbers(dir);
    if there.is_empty() {
        return Ok((found, 0));
    }
    there.retain(|n| *n >= found.begin.segment);
    there.sort_unstable();
    let gap = there.iter().zip(found.begin.segment..).find(|(n, expected)| *n != expected);
    let missing = gap.map(|(_, expected)| expected).or(there.is_empty().then_some(found.begin.segment));
    if let Some(missing) = missing {
        found.ending = Ending::Damaged(path(dir, missing), "it is missing");
        return Ok((found, 0));
    }
    let count = there.last().copied().unwrap_or_default();
    found.ending = Ending::Whole;
    Ok((found, count))
}

/// Walks over all segments, or over those from `from_segment` on, and gives each frame that verifies.
pub(crate) fn survey(
    dir: &Path,
    keys: &StoreKeys,
    lane: LaneId,
    from_segment: u32,
    on_frame: OnFrame<'_>,
) -> Result<Survey, StoreError> {
    let (mut found, count) = begin_walk(dir, keys, lane)?;
    if !matches!(found.ending, Ending::Whole) {
        return Ok(found);
    }
    for segment in from_segment.max(found.begin.segment)..=count {
        let file = path(dir, segment);
        let content = fs::read(&file).map_err(io(&file))?;
        if content.len() < HEADER {
            // A crash while the segment was begun; what came before it is whole.
            let torn = segment == count && found.segment != 0;
            found.ending = if torn { Ending::Torn } else { Ending::Damaged(file, "its header is cut off") };
            return Ok(found);
        }
        let Some(head) = segment_head(keys, lane, segment, &content) else {
            found.ending = Ending::Damaged(file, "its header does not verify");
            return Ok(found);
        };
        found.key_fits = true;
        let begins = if segment == found.begin.segment {
            Some(found.begin.before)
        } else {
            (found.segment != 0).then_some(found.chain)
        };
        if begins.is_some_and(|chain| chain != head.before) {
            found.ending = Ending::Damaged(file, "it does not follow from the segment before it");
            return Ok(found);
        }
        if segment > found.begin.segment && found.segment == 0 {
            // Nothing is known of what came before: the first frame says where the walk begins.
            found.last = Seq(0);
        }
        let ending = walk_segment(keys, lane, segment, &content, &head, &mut found, on_frame)?;
        if let Some(why) = ending {
            let rest =
                usize::try_from(found.good_len).ok().and_then(|at| content.get(at..)).unwrap_or_default();
            let torn = segment == count && head.rewritten.is_none() && is_torn(keys, rest);
            found.ending = if torn { Ending::Torn } else { Ending::Damaged(file, why) };
            return Ok(found);
        }
        found.ending = Ending::Whole;
    }
    Ok(found)
}

/// One segment; what is wrong with it, if anything is.
fn walk_segment(
    keys: &StoreKeys,
    lane: LaneId,
    segment: u32,
    content: &[u8],
    head: &SegmentHead,
    found: &mut Survey,
    on_frame: OnFrame<'_>,
) -> Result<Option<&'static str>, StoreError> {
    let frames = content.get(head.len..).unwrap_or_default();
    found.good_len = u64::try_from(head.len).unwrap_or(u64::MAX);
    found.segment = segment;
    found.closed = head.rewritten.is_some();
    found.chain = match &head.rewritten {
        Some((after, _)) => rewritten_begin(keys, lane, segment, &head.before, after),
        None => head.before,
    };
    if !walk(keys, frames, found, on_frame)? {
        return Ok(Some("a frame in the middle does not verify"));
    }
    if let Some((after, content)) = &head.rewritten {
        if found.chain != *content {
            return Ok(Some("frames are missing at its end"));
        }
        found.chain = *after;
    }
    Ok(None)
}

/// The frames of one segment; false where it ends in something else.
fn walk(
    keys: &StoreKeys,
    mut rest: &[u8],
    found: &mut Survey,
    on_frame: OnFrame<'_>,
) -> Result<bool, StoreError> {
    while !rest.is_empty() {
        let Some((head, body, chain, next)) = cut(keys, rest) else { return Ok(false) };
        let Some(place) = read_head(keys, head) else { return Ok(false) };
        let follows = found.last == Seq(0) || place.first == found.last.next();
        if !follows || step(keys, &found.chain, head, body) != chain {
            return Ok(false);
        }
        on_frame(place.first, place.last, body)?;
        (found.chain, found.last) = (chain, place.last);
        let read = rest.len().saturating_sub(next.len());
        found.good_len = found.good_len.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        rest = next;
    }
    Ok(true)
}

pub(super) type Cut<'a> = (&'a [u8], &'a [u8], Link, &'a [u8]);

pub(super) fn cut<'a>(keys: &StoreKeys, bytes: &'a [u8]) -> Option<Cut<'a>> {
    let place = read_head(keys, bytes)?;
    let (head, rest) = bytes.split_at_checked(FRAME_HEAD)?;
    let (body, rest) = rest.split_at_checked(place.len)?;
    let (chain, rest) = rest.split_first_chunk::<CHAIN>()?;
    Some((head, body, *chain, rest))
}

fn open_file(file: &Path, new: bool) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    if new {
        options.create_new(true);
    }
    options.open(file).map_err(io(file))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(io(dir))
}

impl Second {
    /// Begins an empty copy, whose first record comes after `last`.
    pub(crate) fn create(
        dir: &Path,
        keys: &StoreKeys,
        lane: LaneId,
        limit: u64,
        last: Seq,
    ) -> Result<Self, StoreError> {
        let file = path(dir, 1);
        let mut second = Self {
            dir: dir.into(),
            lane,
            file: open_file(&file, true)?,
            segment: 1,
            chain: [0; 32],
            len: 0,
            limit,
            last,
        };
        second.begin(keys)?;
        Ok(second)
    }

    /// Goes on after the last frame that verifies; a torn end is cut off.
    pub(crate) fn resume(
        dir: &Path,
        keys: &StoreKeys,
        lane: LaneId,
        found: &Survey,
        limit: u64,
    ) -> Result<Self, StoreError> {
        let next = path(dir, found.segment.saturating_add(1));
        if next.exists() {
            fs::remove_file(&next).map_err(io(&next))?;
            sync_dir(dir)?;
        }
        let name = path(dir, found.segment);
        let file = open_file(&name, false)?;
        file.set_len(found.good_len).and_then(|()| file.sync_all()).map_err(io(&name))?;
        let (segment, chain, last) = (found.segment, found.chain, found.last);
        let mut second =
            Self { dir: dir.into(), lane, file, segment, chain, len: found.good_len, limit, last };
        if found.closed {
            second.roll(keys)?;
        }
        Ok(second)
    }

    /// Ends the segment and begins the next one.
    pub(crate) fn roll(&mut self, keys: &StoreKeys) -> Result<(), StoreError> {
        self.sync()?;
        self.segment = self.segment.saturating_add(1);
        self.file = open_file(&path(&self.dir, self.segment), true)?;
        self.begin(keys)
    }

    fn begin(&mut self, keys: &StoreKeys) -> Result<(), StoreError> {
        let bytes = header(keys, self.lane, self.segment, &self.chain);
        self.put(&bytes)?;
        self.len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.sync()?;
        sync_dir(&self.dir)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let name = path(&self.dir, self.segment);
        self.file.write_all(bytes).map_err(io(&name))
    }

    /// Writes a batch, without syncing it.
    pub(crate) fn write(
        &mut self,
        keys: &StoreKeys,
        first: Seq,
        last: Seq,
        body: &[u8],
    ) -> Result<(), StoreError> {
        let name = path(&self.dir, self.segment);
        if first != self.last.next() {
            return Err(damaged(&name, "a batch does not follow"));
        }
        if self.len >= self.limit {
            self.roll(keys)?;
        }
        let len = u32::try_from(body.len()).map_err(|_| damaged(&name, "a batch is too large"))?;
        let head = frame_head(keys, len, first, last);
        let chain = step(keys, &self.chain, &head, body);
        let bytes = [head.as_slice(), body, &chain].concat();
        self.put(&bytes)?;
        self.len = self.len.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        (self.chain, self.last) = (chain, last);
        Ok(())
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(io(&path(&self.dir, self.segment)))
    }
}
