//! The log of openings: who had a purchase's claim opened, when and why. Written before anything is opened, each entry
//! bound to the one before, with the order that both key holders have signed. How many boxes were opened, and the digest
//! at the end of the chain, are public in `/.well-known/florin`. Source: VarietyCash §1.2; V10; ADR 0027.

use florin_books::{DocumentKey, DocumentKind, Needs, Seq, Timestamp, Transition, TxId};
use florin_coin::PayId;
use florin_crypto::{ByteArray, Digest, cbor, digest};
use florin_rail::{Blame, Class, Refusal};
use florin_shell::description::Openings;
use florin_shell::house::{ActError, House};
use florin_store::StoreError;
use minicbor::{Decode, Encode};

use crate::control::{Action, Order, SignedOrder, once};
use crate::key_holder::{HOLDERS, KnownHolder};

/// A trace has a reason.
pub const NO_REASON: Refusal = Refusal::new("trace-without-reason", Class::BadRequest, Blame::Asker, false);

/// Entries and their head.
pub(crate) const LOG: DocumentKind = DocumentKind(0x0303);
const HEAD: DocumentKey = DocumentKey::new(LOG, [0xff; 16]);

/// What is traced.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum Subject {
    /// Where the coins of a purchase went.
    #[n(0)]
    Purchase(#[n(0)] TxId),
    /// Whose coins paid.
    #[n(1)]
    Payment(#[n(0)] PayId),
    /// Who bought a coin, by its public id.
    #[n(2)]
    Coin(#[n(0)] ByteArray<16>),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Purchase(id) => write!(f, "purchase {id}"),
            Self::Payment(id) => write!(f, "payment {id}"),
            Self::Coin(id) => write!(f, "coin {}", data_encoding::HEXLOWER.encode(&id.0)),
        }
    }
}

/// An entry of the log.
///
/// Shape: `[n, time, subject, reason, holders' names, boxes, signed order, H(previous entry)]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct LogEntry {
    /// Its number, from 1.
    #[n(0)]
    pub n: u64,
    /// When.
    #[n(1)]
    pub time: Timestamp,
    /// What.
    #[n(2)]
    pub subject: Subject,
    /// Why.
    #[n(3)]
    pub reason: String,
    /// Who.
    #[n(4)]
    pub holders: Vec<String>,
    /// How many purchases' boxes were handed out to be opened.
    #[n(5)]
    pub boxes: u64,
    /// The order, with both signatures.
    #[n(6)]
    pub order: SignedOrder,
    /// H of the entry before; zero for the first.
    #[n(7)]
    pub previous: Digest,
}

impl LogEntry {
    /// H of this entry.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest("florin/v1/operator/trace-entry", &[&cbor::encode(self)])
    }

    fn key(n: u64) -> DocumentKey {
        DocumentKey::new(LOG, u128::from(n).to_be_bytes())
    }
}

/// Where the log ends: `[entries, boxes, H(last entry)]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct LogHead {
    /// How many entries there are.
    #[n(0)]
    pub entries: u64,
    /// How many boxes they have opened.
    #[n(1)]
    pub boxes: u64,
    /// H of the last one.
    #[n(2)]
    pub digest: Digest,
}

impl LogHead {
    const EMPTY: Self = Self { entries: 0, boxes: 0, digest: Digest([0; 32]) };

    /// What everybody may know.
    #[must_use]
    pub fn public(&self) -> Openings {
        let log = data_encoding::HEXLOWER.encode(self.digest.as_bytes());
        Openings { orders: self.entries, boxes: self.boxes, log }
    }
}

/// The end of the log.
///
/// # Errors
/// Those of the store.
pub fn head(identity: &House) -> Result<LogHead, StoreError> {
    let facts = identity.books.load(&Needs { documents: vec![HEAD], ..Needs::default() })?;
    Ok(facts.document(&HEAD).and_then(|b| cbor::decode_strict(b).ok()).unwrap_or(LogHead::EMPTY))
}

/// Writes an entry, for an order that was verified. The same order again is not written again: its entry is given. Nothing
/// where another order has the nonce: then it would be opened without standing in the log.
///
/// # Errors
/// Those of the books.
pub async fn write(
    identity: &House,
    signed: &SignedOrder,
    order: &Order,
    about: (&Subject, &str),
    names: &[String],
    boxes: u64,
) -> Result<Option<LogEntry>, ActError> {
    let needs = Needs { documents: vec![HEAD], once: vec![once(order.nonce.0)], ..Needs::default() };
    let mut written = None;
    let record = identity
        .act(&needs, |facts, moment| {
            let head = facts.document(&HEAD).and_then(|b| cbor::decode_strict(b).ok());
            let head: LogHead = head.unwrap_or(LogHead::EMPTY);
            let entry = LogEntry {
                n: head.entries.saturating_add(1),
                time: moment.now,
                subject: about.0.clone(),
                reason: about.1.to_owned(),
                holders: names.to_vec(),
                boxes,
                order: signed.clone(),
                previous: head.digest,
            };
            let next =
                LogHead { entries: entry.n, boxes: head.boxes.saturating_add(boxes), digest: entry.digest() };
            let mut t = Transition::new(signed.cause(), Seq(0));
            t.once = needs.once.clone();
            t.write(LogEntry::key(entry.n), cbor::encode(&entry));
            t.write(HEAD, cbor::encode(&next));
            written = Some(entry);
            Some(t)
        })
        .await?;
    if record.is_some() {
        return Ok(written);
    }
    Ok(entries(identity)?.into_iter().find(|entry| entry.order.is_same(signed)))
}

/// One entry.
///
/// # Errors
/// Those of the store.
pub fn entry(identity: &House, n: u64) -> Result<Option<LogEntry>, StoreError> {
    let key = LogEntry::key(n);
    let facts = identity.books.load(&Needs { documents: vec![key], ..Needs::default() })?;
    Ok(facts.document(&key).and_then(|b| cbor::decode_strict(b).ok()))
}

/// All entries, oldest first.
///
/// # Errors
/// Those of the store.
pub fn entries(identity: &House) -> Result<Vec<LogEntry>, StoreError> {
    let all = identity.books.scan(LOG)?;
    let entries = all.iter().filter(|(key, _)| *key != HEAD);
    let mut read: Vec<LogEntry> = entries.filter_map(|(_, d)| cbor::decode_strict(&d.value).ok()).collect();
    read.sort_by_key(|entry| entry.n);
    Ok(read)
}

/// What is wrong with the log: a gap, a link that does not fit, an end that is another, a signature that is none. A holder
/// who is not named any more cannot be checked, and is no finding.
#[must_use]
pub fn verify(entries: &[LogEntry], head: &LogHead, holders: &[KnownHolder; HOLDERS]) -> Vec<String> {
    let mut findings = Vec::new();
    let (mut previous, mut boxes) = (Digest([0; 32]), 0u64);
    for (n, entry) in (1u64..).zip(entries) {
        if entry.n != n || entry.previous != previous {
            findings.push(format!("entry {} does not follow from the one before", entry.n));
        }
        if !is_ordered(entry) || !entry.order.was_signed(holders) {
            findings.push(format!("entry {} is not what its holders have signed", entry.n));
        }
        previous = entry.digest();
        boxes = boxes.saturating_add(entry.boxes);
    }
    let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    if (head.entries, head.boxes, head.digest) != (count, boxes, previous) {
        findings.push("the log ends elsewhere than its head says".to_owned());
    }
    findings
}

/// Whether the entry says what its order says.
fn is_ordered(entry: &LogEntry) -> bool {
    let action = entry.order.order_unverified().map(|order| order.action);
    matches!(action, Some(Action::Trace(subject, reason)) if subject == entry.subject && reason == entry.reason)
}
