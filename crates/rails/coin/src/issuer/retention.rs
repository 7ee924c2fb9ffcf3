//! Which of the issuer's documents only serve repeats, and when they may go. Their once keys stay: a repeat that comes
//! later still finds that the request was answered. Source: books.md, "Retention".

use florin_books::{DocumentKind, Timestamp};
use florin_crypto::cbor;

use super::collect::Claim;
use super::post::PostBox;
use crate::kinds::{ACKNOWLEDGED, CLAIM, POST_BOX};

/// The kinds that are looked through.
pub const RETAINED_KINDS: [DocumentKind; 3] = [POST_BOX, CLAIM, ACKNOWLEDGED];

/// Whether a document, last written before that time, has served its purpose: a box past its deadline, a claim whose coins
/// were acknowledged. A claim that nobody has collected stays. The acknowledgement of a payment stays as long as its record:
/// without it the payment's coins would be issued again to whoever has its envelope; `records` is from when they are kept.
#[must_use]
pub fn may_go(kind: DocumentKind, value: &[u8], before: Timestamp, records: Timestamp) -> bool {
    match kind {
        POST_BOX => cbor::decode_strict::<PostBox>(value).is_ok_and(|b| b.until < before),
        CLAIM => cbor::decode_strict::<Claim>(value).is_ok_and(|c| c.acknowledged),
        ACKNOWLEDGED => cbor::decode_strict::<Timestamp>(value).is_ok_and(|at| at < before.min(records)),
        _ => false,
    }
}
