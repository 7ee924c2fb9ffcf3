//! Segments of the second copy, piece by piece: headers, frames, and those that were written again without seeds.
//! Source: books.md, "Retention"; the layout is in `second.rs`.

use florin_books::{LaneId, Seq};

use super::keys::StoreKeys;
use super::second::{CHAIN, FRAME_HEAD, HEADER, Link, MAGIC, cut, frame_head, header, read_head, step};

const REWRITTEN: u32 = 2;
const HEADER_REWRITTEN: usize = 146;

/// The header of a segment that was written again, and where the chain of its frames begins.
pub(crate) fn rewritten_header(
    keys: &StoreKeys,
    lane: LaneId,
    segment: u32,
    (before, after, content): (&Link, &Link, &Link),
) -> Vec<u8> {
    let mut out = rewritten_place(lane, segment, before, after);
    out.extend_from_slice(content);
    let tag = keys.second("segment", &[&out]);
    out.extend_from_slice(&tag);
    out
}

fn rewritten_place(lane: LaneId, segment: u32, before: &Link, after: &Link) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&REWRITTEN.to_be_bytes());
    out.extend_from_slice(&lane.0.to_be_bytes());
    out.extend_from_slice(&segment.to_be_bytes());
    out.extend_from_slice(before);
    out.extend_from_slice(after);
    out
}

/// Where the frames of a segment that was written again begin.
pub(crate) fn rewritten_begin(
    keys: &StoreKeys,
    lane: LaneId,
    segment: u32,
    before: &Link,
    after: &Link,
) -> Link {
    keys.second("rewritten", &[&rewritten_place(lane, segment, before, after)])
}

/// What a header says of its segment.
pub(crate) struct SegmentHead {
    /// The chain before it.
    pub(crate) before: Link,
    /// Of one that was written again: the chain after it, and where its own frames end.
    pub(crate) rewritten: Option<(Link, Link)>,
    /// Where the frames begin.
    pub(crate) len: usize,
}

/// Reads a segment's header; none where it does not verify.
pub(crate) fn segment_head(
    keys: &StoreKeys,
    lane: LaneId,
    segment: u32,
    content: &[u8],
) -> Option<SegmentHead> {
    let link = |at: usize| {
        content.get(at..at.saturating_add(CHAIN)).and_then(|b| Link::try_from(b).ok()).unwrap_or_default()
    };
    if content.get(8..12) == Some(&REWRITTEN.to_be_bytes()) {
        let (before, after, end) = (link(18), link(50), link(82));
        let expected = rewritten_header(keys, lane, segment, (&before, &after, &end));
        let genuine = content.get(..HEADER_REWRITTEN) == Some(&expected);
        return genuine.then_some(SegmentHead {
            before,
            rewritten: Some((after, end)),
            len: HEADER_REWRITTEN,
        });
    }
    let before = link(18);
    let genuine = content.get(..HEADER) == Some(&header(keys, lane, segment, &before));
    genuine.then_some(SegmentHead { before, rewritten: None, len: HEADER })
}

/// A frame as it is written, and the chain after it.
pub(crate) fn frame(
    keys: &StoreKeys,
    before: &Link,
    first: Seq,
    last: Seq,
    body: &[u8],
) -> Option<(Vec<u8>, Link)> {
    let head = frame_head(keys, u32::try_from(body.len()).ok()?, first, last);
    let chain = step(keys, before, &head, body);
    Some(([head.as_slice(), body, &chain].concat(), chain))
}

/// The bytes of a frame around a body of this length.
pub(crate) const fn frame_len(body: usize) -> usize {
    body.saturating_add(FRAME_HEAD).saturating_add(CHAIN)
}

/// Frames, one after the other, without looking at their chain: first, last, body.
pub(crate) fn frames<'a>(keys: &'a StoreKeys, bytes: &'a [u8]) -> impl Iterator<Item = (Seq, Seq, &'a [u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (head, body, _, next) = cut(keys, rest)?;
        let place = read_head(keys, head)?;
        rest = next;
        Some((place.first, place.last, body))
    })
}

/// The furthest record that any genuine frame head in a file speaks of, whatever lies between.
pub(crate) fn furthest(keys: &StoreKeys, content: &[u8]) -> Seq {
    let (mut at, mut last) = (0usize, Seq(0));
    while let Some(rest) = content.get(at..).filter(|r| r.len() >= FRAME_HEAD) {
        let whole = match read_head(keys, rest) {
            Some(head) => {
                last = last.max(head.last);
                FRAME_HEAD.saturating_add(head.len).saturating_add(CHAIN)
            }
            None => 1,
        };
        at = at.saturating_add(whole);
    }
    last
}
