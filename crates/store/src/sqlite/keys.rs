//! Sealing at rest: no id and no content is readable in any file. Source: books.md, "Lanes and stores" (records sealed
//! at rest, AES-GCM-SIV); RFC 8452 for why a repeated nonce is harmless.

use florin_books::{DocumentKey, DocumentKind, Entry, LaneId, OnceKey, Record, Seq};
use florin_crypto::{Digest, MacKey, RestKey, Secret, derive, encode};
use minicbor::Decoder;

use crate::contract::StoredOpening;

/// The keys of one store, all derived from one secret.
pub struct StoreKeys {
    rest: RestKey,
    index: MacKey,
    second: MacKey,
}

/// What is in a sealed batch.
pub(crate) struct Batch {
    /// The books' chain after it.
    pub(crate) chain: Digest,
    /// Its records.
    pub(crate) records: Vec<Record>,
}

impl StoreKeys {
    /// Derives them.
    #[must_use]
    pub fn new(secret: &Secret<32>) -> Self {
        let key = |info: &str| derive::<32>(&[secret.expose()], info.as_bytes());
        Self {
            rest: RestKey::new(&key("florin/v1/store/records")),
            index: MacKey::new(&key("florin/v1/store/index")),
            second: MacKey::new(&key("florin/v1/store/second-copy")),
        }
    }

    fn seal(&self, label: &str, lane: LaneId, place: &[u8], seq: Seq, plain: &[u8]) -> Vec<u8> {
        self.rest.seal(&RestKey::counter_nonce(seq.0), &bound_to(label, lane, place, seq), plain)
    }

    fn open(&self, label: &str, lane: LaneId, place: &[u8], seq: Seq, sealed: &[u8]) -> Option<Vec<u8>> {
        let aad = bound_to(label, lane, place, seq);
        self.rest.open(&RestKey::counter_nonce(seq.0), &aad, sealed).ok().map(|plain| plain.to_vec())
    }

    /// Seals the records of a batch as one.
    pub(crate) fn seal_batch(&self, lane: LaneId, first: Seq, last: Seq, entries: &[Entry]) -> Vec<u8> {
        let size = entries.iter().map(|e| e.bytes.len()).fold(64, usize::saturating_add);
        let mut plain = Vec::with_capacity(size);
        plain.push(0x82);
        plain.extend_from_slice(&encode(&entries.last().map_or(Digest([0; 32]), |e| e.chain)));
        plain.extend_from_slice(&array_head(entries.len()));
        entries.iter().for_each(|e| plain.extend_from_slice(&e.bytes));
        self.seal("batch", lane, &last.0.to_be_bytes(), first, &plain)
    }

    /// Seals records again, with the chain that the batch had.
    pub(crate) fn seal_records(
        &self,
        lane: LaneId,
        (first, last): (Seq, Seq),
        chain: &Digest,
        records: &[Record],
    ) -> Vec<u8> {
        let mut plain = vec![0x82];
        plain.extend_from_slice(&encode(chain));
        plain.extend_from_slice(&array_head(records.len()));
        records.iter().for_each(|r| plain.extend_from_slice(&encode(r)));
        self.seal("batch", lane, &last.0.to_be_bytes(), first, &plain)
    }

    /// Seals an opening.
    pub(crate) fn seal_opening(&self, lane: LaneId, opening: &StoredOpening) -> Vec<u8> {
        let bytes = |b: &[u8]| florin_crypto::Bytes(b.to_vec());
        let plain = encode(&(opening.seq, opening.chain, bytes(&opening.signed), bytes(&opening.state)));
        let nonce = opening.seq.0.to_be_bytes();
        [nonce.as_slice(), &self.seal("opening", lane, &[], opening.seq, &plain)].concat()
    }

    /// Opens an opening.
    pub(crate) fn open_opening(&self, lane: LaneId, sealed: &[u8]) -> Option<StoredOpening> {
        let (nonce, sealed) = sealed.split_first_chunk::<8>()?;
        let plain = self.open("opening", lane, &[], Seq(u64::from_be_bytes(*nonce)), sealed)?;
        let (seq, chain, signed, state): (Seq, Digest, florin_crypto::Bytes, florin_crypto::Bytes) =
            florin_crypto::decode_strict(&plain).ok()?;
        Some(StoredOpening { seq, chain, signed: signed.0, state: state.0 })
    }

    /// Opens a batch; none where it is not this one, whole and unchanged.
    pub(crate) fn open_batch(&self, lane: LaneId, first: Seq, last: Seq, sealed: &[u8]) -> Option<Batch> {
        let plain = self.open("batch", lane, &last.0.to_be_bytes(), first, sealed)?;
        let mut d = Decoder::new(&plain);
        if d.array().ok()? != Some(2) {
            return None;
        }
        let chain = d.decode().ok()?;
        let records: Vec<Record> = d.decode().ok()?;
        let numbered = records.iter().zip(first.0..).all(|(r, seq)| r.core.seq.0 == seq);
        let count = last.0.checked_sub(first.0)?.checked_add(1)?;
        let whole = numbered && u64::try_from(records.len()).ok()? == count && d.position() == plain.len();
        whole.then_some(Batch { chain, records })
    }

    /// Seals a document together with its id.
    pub(crate) fn seal_document(&self, lane: LaneId, key: &DocumentKey, seq: Seq, value: &[u8]) -> Vec<u8> {
        let plain = [key.id.as_slice(), value].concat();
        self.seal("document", lane, &key.kind.0.to_be_bytes(), seq, &plain)
    }

    /// Opens a document: its id and its content.
    pub(crate) fn open_document(
        &self,
        lane: LaneId,
        kind: DocumentKind,
        seq: Seq,
        sealed: &[u8],
    ) -> Option<(DocumentKey, Vec<u8>)> {
        let plain = self.open("document", lane, &kind.0.to_be_bytes(), seq, sealed)?;
        let (id, value) = plain.split_first_chunk::<16>()?;
        Some((DocumentKey::new(kind, *id), value.to_vec()))
    }

    /// Seals the end of a fold: the sum over the folded rows at that moment, and how many parts the checkpoint has.
    pub(crate) fn seal_checkpoint(&self, lane: LaneId, seq: Seq, rows: &RowSum, parts: u32) -> Vec<u8> {
        self.seal("checkpoint", lane, &[], seq, &[rows.0.as_slice(), &parts.to_be_bytes()].concat())
    }

    /// Opens the end of a fold.
    pub(crate) fn open_checkpoint(&self, lane: LaneId, seq: Seq, sealed: &[u8]) -> Option<(RowSum, u32)> {
        let plain = self.open("checkpoint", lane, &[], seq, sealed)?;
        let (rows, parts) = plain.split_first_chunk::<32>()?;
        Some((RowSum(*rows), u32::from_be_bytes(parts.try_into().ok()?)))
    }

    /// Opens a checkpoint of format 1: the sum over the folded rows, and the lane's state.
    pub(crate) fn open_first_checkpoint(
        &self,
        lane: LaneId,
        seq: Seq,
        sealed: &[u8],
    ) -> Option<(RowSum, Vec<u8>)> {
        let plain = self.open("checkpoint", lane, &[], seq, sealed)?;
        let (rows, bytes) = plain.split_first_chunk::<32>()?;
        Some((RowSum(*rows), bytes.to_vec()))
    }

    /// Seals a part of the checkpoint at `seq`: which of how many.
    pub(crate) fn seal_part(&self, lane: LaneId, seq: Seq, part: (u32, u32), bytes: &[u8]) -> Vec<u8> {
        self.seal("part", lane, &part_place(part), seq, bytes)
    }

    /// Opens a part.
    pub(crate) fn open_part(
        &self,
        lane: LaneId,
        seq: Seq,
        part: (u32, u32),
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        self.open("part", lane, &part_place(part), seq, sealed)
    }

    /// Seals the sum over the folded rows in the middle of a fold, bound to the checkpoint that counts meanwhile.
    pub(crate) fn seal_rows(&self, lane: LaneId, checkpoint: Seq, rows: &RowSum) -> Vec<u8> {
        self.seal("rows", lane, &[], checkpoint, &rows.0)
    }

    /// Opens it.
    pub(crate) fn open_rows(&self, lane: LaneId, checkpoint: Seq, sealed: &[u8]) -> Option<RowSum> {
        self.open("rows", lane, &[], checkpoint, sealed)?.try_into().ok().map(RowSum)
    }

    /// A text that only these keys open, for this lane only.
    pub(crate) fn seal_proof(&self, lane: LaneId) -> Vec<u8> {
        self.seal("proof", lane, &[], Seq(0), b"florin")
    }

    /// Whether it was sealed with these keys for this lane.
    pub(crate) fn is_proof(&self, lane: LaneId, sealed: &[u8]) -> bool {
        self.open("proof", lane, &[], Seq(0), sealed).is_some()
    }

    /// The name of a document or mark in the tables.
    pub(crate) fn id(&self, table: &str, kind: DocumentKind, id: &[u8; 16]) -> [u8; 16] {
        Digest(self.index.tag(table, &[&kind.0.to_be_bytes(), id])).short()
    }

    /// The name of a once key in the tables.
    pub(crate) fn once(&self, key: &OnceKey) -> [u8; 16] {
        Digest(self.index.tag("once", &[&encode(key)])).short()
    }

    /// The tag of a folded row.
    pub(crate) fn row(&self, table: &str, parts: &[&[u8]]) -> [u8; 32] {
        self.index.tag(table, parts)
    }

    /// A tag of the second copy.
    pub(crate) fn second(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        self.second.tag(label, parts)
    }
}

/// The sum (exclusive or) of the tags of all folded rows: finds a row that is missing, changed or too many.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RowSum([u8; 32]);

impl RowSum {
    /// Takes a row in, or out again.
    pub(crate) fn toggle(&mut self, tag: [u8; 32]) {
        self.0.iter_mut().zip(tag).for_each(|(a, b)| *a ^= b);
    }
}

fn bound_to(label: &str, lane: LaneId, place: &[u8], seq: Seq) -> Vec<u8> {
    encode(&(label, lane, florin_crypto::Bytes(place.to_vec()), seq))
}

fn part_place((place, count): (u32, u32)) -> [u8; 8] {
    (u64::from(place) << 32 | u64::from(count)).to_be_bytes()
}

fn array_head(len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    // A vector takes every byte.
    let _ = minicbor::Encoder::new(&mut out).array(u64::try_from(len).unwrap_or(u64::MAX));
    out
}
