//! The log of openings: who had a purchase's claim opened, when and why. Written before anything is opened, each entry
//! bound to the one before, with the order that both key holders have signed. How many boxes were opened, and the digest
//! at the end of the chain, are public in `/.well-known/florin`. Source: VarietyCash §1.2; V10; ADR 0027.

use florin_books::{DocumentKey, DocumentKind, Needs, OnceKey, PartyId, Seq, Timestamp, Transition, TxId};
use florin_coin::PayId;
use florin_crypto::{ByteArray, Bytes, Digest, Sign1, cbor, digest, sign1};
use florin_rail::common::{BAD_REQUEST, check_exp};
use florin_rail::{Blame, Class, Context, Refusal};
use florin_shell::description::Openings;
use florin_shell::house::{ActError, House};
use florin_store::StoreError;
use minicbor::{Decode, Encode};

use crate::key_holder::{HOLDERS, KeyHolder, KnownHolder};

/// The order is not signed by the operator's two key holders.
pub const TWO_HOLDERS: Refusal = Refusal::new("two-key-holders", Class::Denied, Blame::Asker, false);
/// A reason has 1 to 500 characters.
pub const NO_REASON: Refusal = Refusal::new("trace-without-reason", Class::BadRequest, Blame::Asker, false);

/// Entries and their head.
const LOG: DocumentKind = DocumentKind(0x0303);
const HEAD: DocumentKey = DocumentKey::new(LOG, [0xff; 16]);
/// The operator's own, in once keys.
const RAIL_NUMBER: u8 = 0xfe;
const STEP_TRACE: u8 = 1;
/// The longest reason, in characters.
pub const REASON_MAX: usize = 500;

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

/// What both holders sign (COSE_Sign1 each).
///
/// Shape: `[context, subject, reason, nonce, exp]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct TraceOrder {
    /// To the operator.
    #[n(0)]
    pub context: Context,
    /// What is traced.
    #[n(1)]
    pub subject: Subject,
    /// Why.
    #[n(2)]
    pub reason: String,
    /// Makes it count once.
    #[n(3)]
    pub nonce: TxId,
    /// Until when.
    #[n(4)]
    pub exp: Timestamp,
}

impl TraceOrder {
    /// An order to an operator.
    #[must_use]
    pub fn new(operator: PartyId, subject: Subject, reason: &str, nonce: TxId, exp: Timestamp) -> Self {
        let context = Context::new("operator", "trace", PartyId::NONE, operator);
        Self { context, subject, reason: reason.trim().to_owned(), nonce, exp }
    }

    /// Signs it.
    #[must_use]
    pub fn sign(&self, holder: &KeyHolder) -> Vec<u8> {
        sign1(&holder.signing, &holder.known().kid(), &cbor::encode(self))
    }

    /// Reads an order that both holders have signed.
    ///
    /// # Errors
    /// In order: `two-key-holders` (another number of signatures, one holder twice, not of this operator's holders, two
    /// different orders), `bad-request` (to another operator), `trace-without-reason`, `request-expired`.
    pub fn read(
        signed: &[Vec<u8>],
        holders: &[KnownHolder; HOLDERS],
        operator: PartyId,
        now: Timestamp,
    ) -> Result<(Self, [String; HOLDERS]), Refusal> {
        let [a, b] = signed else { return Err(TWO_HOLDERS) };
        let [(one, by), (other, also_by)] =
            [signed_by(a, holders).ok_or(TWO_HOLDERS)?, signed_by(b, holders).ok_or(TWO_HOLDERS)?];
        if one != other || by == also_by {
            return Err(TWO_HOLDERS);
        }
        let order: Self = cbor::decode_strict(&one).map_err(|_| BAD_REQUEST)?;
        if order.context != Context::new("operator", "trace", PartyId::NONE, operator) {
            return Err(BAD_REQUEST);
        }
        if !(1..=REASON_MAX).contains(&order.reason.trim().chars().count()) {
            return Err(NO_REASON);
        }
        check_exp(order.exp, now)?;
        Ok((order, [by, also_by]))
    }
}

/// The payload, and the name of the holder who has signed it.
fn signed_by(bytes: &[u8], holders: &[KnownHolder; HOLDERS]) -> Option<(Vec<u8>, String)> {
    let signed = Sign1::parse(bytes).ok()?;
    let holder = holders.iter().find(|holder| holder.kid() == signed.kid())?;
    let payload = signed.verify(&holder.verify).ok()?;
    Some((payload.to_vec(), holder.name.clone()))
}

/// An entry of the log.
///
/// Shape: `[n, time, subject, reason, holders' names, boxes, nonce, signed orders, H(previous entry)]`.
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
    /// The order's own number.
    #[n(6)]
    pub nonce: TxId,
    /// What the holders have signed.
    #[n(7)]
    pub orders: Vec<Bytes>,
    /// H of the entry before; zero for the first.
    #[n(8)]
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

fn once(nonce: TxId) -> OnceKey {
    OnceKey { rail: RAIL_NUMBER, step: STEP_TRACE, party: PartyId::NONE, txid: *nonce.bytes() }
}

/// The end of the log.
///
/// # Errors
/// Those of the store.
pub fn head(identity: &House) -> Result<LogHead, StoreError> {
    let facts = identity.books.load(&Needs { documents: vec![HEAD], ..Needs::default() })?;
    Ok(facts.document(&HEAD).and_then(|b| cbor::decode_strict(b).ok()).unwrap_or(LogHead::EMPTY))
}

/// Writes an entry. The same order again is not written again: its entry is given.
///
/// # Errors
/// Those of the books.
pub async fn write(
    identity: &House,
    order: &TraceOrder,
    names: &[String; HOLDERS],
    signed: &[Vec<u8>],
    boxes: u64,
) -> Result<Option<LogEntry>, ActError> {
    let needs = Needs { documents: vec![HEAD], once: vec![once(order.nonce)], ..Needs::default() };
    let mut written = None;
    let record = identity
        .act(&needs, |facts, moment| {
            let head = facts.document(&HEAD).and_then(|b| cbor::decode_strict(b).ok());
            let head: LogHead = head.unwrap_or(LogHead::EMPTY);
            let entry = LogEntry {
                n: head.entries.saturating_add(1),
                time: moment.now,
                subject: order.subject.clone(),
                reason: order.reason.clone(),
                holders: names.to_vec(),
                boxes,
                nonce: order.nonce,
                orders: signed.iter().map(|s| Bytes(s.clone())).collect(),
                previous: head.digest,
            };
            let next =
                LogHead { entries: entry.n, boxes: head.boxes.saturating_add(boxes), digest: entry.digest() };
            let mut t = Transition::new(digest("florin/v1/operator/trace", &[order.nonce.bytes()]), Seq(0));
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
    Ok(entries(identity)?.into_iter().find(|entry| entry.nonce == order.nonce))
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
        let unsigned =
            entry.orders.len() != HOLDERS || entry.orders.iter().any(|o| is_false(&o.0, entry, holders));
        if unsigned {
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

/// Whether a signed order is about something else, or signed falsely in the name of a holder.
fn is_false(bytes: &[u8], entry: &LogEntry, holders: &[KnownHolder; HOLDERS]) -> bool {
    let Ok(signed) = Sign1::parse(bytes) else { return true };
    let Ok(order) = cbor::decode_strict::<TraceOrder>(signed.payload_unverified()) else { return true };
    let about = order.subject == entry.subject && order.reason == entry.reason && order.nonce == entry.nonce;
    let known = holders.iter().find(|holder| holder.kid() == signed.kid());
    !about || known.is_some_and(|holder| signed.verify(&holder.verify).is_err())
}
