//! Reading everything that lies there, with the operator's own keys, and looking for what joins one side to the other.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use florin_books::{Record, Seq};
use florin_crypto::cbor;
use florin_store::Books;
use minicbor::Decoder;
use minicbor::data::Type;

/// Shorter values join by accident.
pub const LEAST: usize = 8;

/// Every record of a lane, from the first.
pub fn journal(books: &Books) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let from = all.last().map_or(Seq(1), |r: &Record| Seq(r.core.seq.0 + 1));
        let page = books.read(from, 1000).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Every byte string and text of at least eight bytes, at any depth: also within byte strings that are CBOR themselves.
pub fn leaves(bytes: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    collect(bytes, &mut found);
    found
}

/// A document that is nothing but a time. Two lanes that work at once share milliseconds by accident; whether times join a
/// purchase to its claim is looked at apart.
fn is_time(leaf: &[u8]) -> bool {
    leaf.len() == 9 && leaf.starts_with(&[0x1b, 0, 0])
}

fn collect(bytes: &[u8], found: &mut BTreeSet<Vec<u8>>) -> Option<()> {
    let mut inner = Vec::new();
    let mut d = Decoder::new(bytes);
    while d.position() < bytes.len() {
        match d.datatype().ok()? {
            Type::Bytes => inner.push(d.bytes().ok()?.to_vec()),
            Type::String => inner.push(d.str().ok()?.as_bytes().to_vec()),
            Type::Array => drop(d.array().ok()?),
            Type::Map => drop(d.map().ok()?),
            Type::Tag => drop(d.tag().ok()?),
            _ => d.skip().ok()?,
        }
    }
    for leaf in inner.into_iter().filter(|leaf| leaf.len() >= LEAST && !is_time(leaf)) {
        // What does not read to its end is no CBOR: a ciphertext that happens to begin like it.
        let mut deeper = BTreeSet::new();
        if collect(&leaf, &mut deeper).is_some() {
            found.append(&mut deeper);
        }
        found.insert(leaf);
    }
    Some(())
}

/// Which of the values stand somewhere in the bytes, at any place.
pub fn found_in<'v>(values: impl IntoIterator<Item = &'v Vec<u8>>, bytes: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut by_start: HashMap<&[u8], Vec<&Vec<u8>>> = HashMap::new();
    // Most places are settled by their first three bytes.
    let mut begins = vec![false; 1 << 24];
    let first = |at: &[u8]| usize::from(at[0]) << 16 | usize::from(at[1]) << 8 | usize::from(at[2]);
    for value in values {
        begins[first(value)] = true;
        by_start.entry(&value[..LEAST]).or_default().push(value);
    }
    let mut found = BTreeSet::new();
    for (at, window) in bytes.windows(LEAST).enumerate() {
        if !begins[first(window)] {
            continue;
        }
        let Some(candidates) = by_start.get(window) else { continue };
        for value in candidates {
            if bytes[at..].starts_with(value) {
                found.insert((*value).clone());
            }
        }
    }
    found
}

/// All records as bytes, one after the other.
pub fn bytes_of(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(cbor::encode).collect()
}

/// What joins two lanes: a value of the one that stands anywhere in the other, in either direction.
pub fn shared(one: &[Record], other: &[Record]) -> BTreeSet<Vec<u8>> {
    let (a, b) = (bytes_of(one), bytes_of(other));
    let in_b = found_in(&records_leaves(one), &b);
    in_b.into_iter().chain(found_in(&records_leaves(other), &a)).collect()
}

pub fn records_leaves(records: &[Record]) -> BTreeSet<Vec<u8>> {
    records.iter().flat_map(|record| leaves(&cbor::encode(record))).collect()
}

/// Every file below a folder.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
