//! The numbers of this rail in the books: steps, documents, effects. Source: books.md, "The parts of the books".

use florin_books::{DocumentKey, DocumentKind, OnceKey, PartyId};
use florin_crypto::{Digest, digest};

/// The name in paths and labels.
pub const RAIL: &str = "coin";
/// The number in once keys.
pub const RAIL_NUMBER: u8 = 1;

/// WRequest3, in once keys: (purchaser, R_I).
pub const STEP_WREQUEST3: u8 = 1;
/// A claim handed over to the books lane, in once keys.
pub const STEP_HAND_OVER: u8 = 2;
/// `collect`, in once keys: the claim.
pub const STEP_COLLECT: u8 = 3;
/// Issuance2 of a purchase, in once keys: the claim.
pub const STEP_COLLECT_ACK: u8 = 4;
/// ValidationReq, in once keys: (payee, TID_PY).
pub const STEP_VALIDATION: u8 = 5;
/// The payment itself, in once keys: (payee, pay_id). Taken by ValidationReq, or by the payee's *never*. The payee stands
/// in it so that nobody else who has seen Com can take it.
pub const STEP_PAYMENT: u8 = 6;
/// Issuance2 of a payment, in once keys: (payee, pay_id).
pub const STEP_ACK: u8 = 7;
/// Change, in once keys: txid.
pub const STEP_CHANGE: u8 = 8;
/// Redeem, in once keys: (redeemer, txid).
pub const STEP_REDEEM: u8 = 9;
/// A pay-out handed over to the identity lane, in once keys.
pub const STEP_PAYOUT: u8 = 10;
/// The boxes of an invoice, in once keys: (payee, TID_PY).
pub const STEP_BOX_OPEN: u8 = 11;
/// One fate for one envelope, in once keys: H(EncC1). Taken by ValidationReq, or by the payer's *never*, which so voids
/// only the envelope that its asker has made.
pub const STEP_ENVELOPE: u8 = 12;
/// Refund, in once keys: (participant, txid); (nobody, txid) for a one-time key.
pub const STEP_REFUND: u8 = 15;

/// A coin of a dropped epoch that was paid by hand, in once keys: its number.
pub const STEP_HONOUR: u8 = 16;

/// Refresh, in once keys: txid.
pub const STEP_REFRESH: u8 = 13;
/// Redemption of what was gathered, in once keys: (payee, txid).
pub const STEP_REDEEM_AGGREGATE: u8 = 14;

/// A purchase, by its id; identity lane.
pub const PURCHASE: DocumentKind = DocumentKind(0x0201);
/// What waits to be collected, by H(claim); books lane.
pub const CLAIM: DocumentKind = DocumentKind(0x0202);
/// A payment whose payee has acknowledged the coins, by H(payee, pay_id); books lane.
pub const ACKNOWLEDGED: DocumentKind = DocumentKind(0x0203);
/// A box of the post, by H(payee, TID, side); books lane.
pub const POST_BOX: DocumentKind = DocumentKind(0x0204);
/// What was issued to a holder who can ask for a refund, by H(holder); books lane.
pub const HOLDER: DocumentKind = DocumentKind(0x0205);

/// The table of epochs; books lane.
pub const EPOCHS: DocumentKind = DocumentKind(0x0206);
/// A claim that waits for its hand-over, sealed, by its purchase; identity lane.
pub const SEALED_CLAIM: DocumentKind = DocumentKind(0x0210);
/// How many purchases of a participant wait for the bank, by participant. Shape: a number; removed at 0.
pub const WAITING: DocumentKind = DocumentKind(0x0211);

/// Effect: hand a claim over to the books lane.
pub const HAND_OVER: u16 = 0x0201;
/// Effect: pay a redeemer out; to the identity lane.
pub const PAY_OUT: u16 = 0x0202;
/// Effect: pay the holder of coins of a dropped epoch; to the identity lane.
pub const HONOUR: u16 = 0x0203;

/// A once key of this rail.
#[must_use]
pub const fn once(step: u8, party: PartyId, txid: [u8; 16]) -> OnceKey {
    OnceKey { rail: RAIL_NUMBER, step, party, txid }
}

/// The document that says a payment is acknowledged by its payee.
#[must_use]
pub fn acknowledged(payee: PartyId, pay_id: crate::com::PayId) -> DocumentKey {
    let id = digest("florin/v1/coin/acknowledged", &[payee.bytes(), pay_id.bytes()]);
    DocumentKey::new(ACKNOWLEDGED, id.short())
}

/// The once key of an envelope, by the digest of its bytes.
#[must_use]
pub fn envelope_once(enc_c1: &Digest) -> OnceKey {
    once(STEP_ENVELOPE, PartyId::NONE, enc_c1.short())
}
