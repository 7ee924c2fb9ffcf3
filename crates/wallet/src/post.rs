//! The post box at the operator, seen from those who use it: open one for an invoice, put a message in, look into it.
//! Source: ADR 0006; `florin_coin::issuer` has the messages.

use florin_books::{PartyId, Timestamp};
use florin_coin::issuer::{BoxMessage, BoxOpen, Side, box_id};
use florin_coin::kinds::RAIL;
use florin_coin::{IssuerKey, TidPy};
use florin_crypto::{ByteArray, Bytes, Digest, Entropy, Secret, Zeroizing, cbor, kem};
use florin_parties::sealed::sign;
use florin_parties::{IdentityKeys, ReplyFrame};
use florin_rail::{Context, hpke_info, transcript};
use minicbor::{Decode, Encode};

/// Where a box is opened.
pub(crate) const OPEN_PATH: &str = "/v1/coin/box-open";
/// Where a message is put into a box.
pub(crate) const PUT_PATH: &str = "/v1/coin/box-put";
/// Where a box is looked into.
pub(crate) const TAKE_PATH: &str = "/v1/coin/box-take";
const OPEN_REPLY: &str = "box-open-reply";

/// What the answer to [`open`] needs.
///
/// Shape: `[issuer, payee, th, reply key]`.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Kept {
    #[n(0)]
    issuer: PartyId,
    #[n(1)]
    payee: PartyId,
    #[n(2)]
    th: Digest,
    #[n(3)]
    key: ByteArray<32>,
}

/// The answer is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotAnAnswer;

/// A request for the two boxes of an invoice, and what reads its answer. None where the issuer's key is none.
pub(crate) fn open(
    issuer: &IssuerKey,
    me: &IdentityKeys,
    tid: TidPy,
    until: Timestamp,
    entropy: &mut dyn Entropy,
) -> Option<(Vec<u8>, Zeroizing<Vec<u8>>)> {
    let context = Context::new(RAIL, "box-open", me.id(), issuer.id);
    let signed = sign(&me.signing, &BoxOpen { context, tid, until });
    let info = hpke_info(RAIL, "box-open", issuer.id, &issuer.kid);
    let (envelope, exporter) = kem::seal(&issuer.key, &issuer.kid, &info, &[], &signed, entropy).ok()?;
    let body = cbor::encode(&envelope);
    let th = transcript(RAIL, &[&body]);
    let key = ReplyFrame::new(RAIL, OPEN_REPLY, issuer.id, me.id(), th).key(&exporter);
    let kept = Kept { issuer: issuer.id, payee: me.id(), th, key: ByteArray(*key.expose()) };
    Some((body, Zeroizing::new(cbor::encode(&kept))))
}

/// Checks the answer to [`open`]: it says again until when.
pub(crate) fn read_opened(pending: &[u8], answer: &[u8], until: Timestamp) -> Result<(), NotAnAnswer> {
    let kept: Kept = cbor::decode_strict(pending).map_err(|_| NotAnAnswer)?;
    let frame = ReplyFrame::new(RAIL, OPEN_REPLY, kept.issuer, kept.payee, kept.th);
    let said: Timestamp = frame.open(&Secret::new(kept.key.0), answer).ok_or(NotAnAnswer)?;
    if said == until { Ok(()) } else { Err(NotAnAnswer) }
}

fn message(step: &str, issuer: PartyId, id: [u8; 16], content: &[u8]) -> Vec<u8> {
    let context = Context::new(RAIL, step, PartyId::NONE, issuer);
    cbor::encode(&BoxMessage { context, id: ByteArray(id), content: Bytes(content.to_vec()) })
}

/// The payer leaves SendCoins for the payee.
pub(crate) fn put_coins(issuer: PartyId, payee: PartyId, tid: TidPy, send_coins: &[u8]) -> Vec<u8> {
    message("box-put", issuer, box_id(payee, tid, Side::ToPayee), send_coins)
}

/// The payee leaves its answer for the payer.
pub(crate) fn put_answer(issuer: PartyId, payee: PartyId, tid: TidPy, answer: &[u8]) -> Vec<u8> {
    message("box-put", issuer, box_id(payee, tid, Side::ToPayer), answer)
}

/// Looks into one of the boxes.
pub(crate) fn take(issuer: PartyId, payee: PartyId, tid: TidPy, side: Side) -> Vec<u8> {
    message("box-take", issuer, box_id(payee, tid, side), &[])
}

/// What lies in the box. It is not signed: whoever reads it checks what it holds.
pub(crate) fn read_taken(
    answer: &[u8],
    issuer: PartyId,
    payee: PartyId,
    tid: TidPy,
    side: Side,
) -> Result<Vec<u8>, NotAnAnswer> {
    let (context, id, content): (Context, ByteArray<16>, Bytes) =
        cbor::decode_strict(answer).map_err(|_| NotAnAnswer)?;
    let expected = Context::new(RAIL, "box-take-reply", issuer, PartyId::NONE);
    let fits = context == expected && id.0 == box_id(payee, tid, side);
    if fits { Ok(content.0) } else { Err(NotAnAnswer) }
}
