//! The post: a box in which a payer leaves SendCoins for a payee who is not a web server, and finds the answer.
//! The contents are sealed to others; the operator learns that somebody wrote to somebody. Source: ours (ADR 0006); the
//! paper leaves the channel between payer and payee open (VarietyCash §3.2).

use std::sync::Arc;

use florin_books::{DocumentKey, Facts, Needs, PartyId, Record, Rejected, Timestamp, Transition};
use florin_crypto::{ByteArray, Bytes, Digest, Exporter, cbor, digest};
use florin_parties::{Participant, ReplyFrame};
use florin_rail::common::{BAD_REQUEST, FAULT, MESSAGE_BYTES_MAX};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName};
use minicbor::{Decode, Encode};

use super::frame::{Unverified, addressed, check_deadline, may_act, read, read_signed, unseal};
use super::keys::Issuer;
use crate::com::TidPy;
use crate::kinds::{POST_BOX, RAIL, STEP_BOX_OPEN, once};
use crate::refusal::{BOX_FULL, NO_BOX, NOT_YET};

/// A message in a box has at most so many bytes.
pub const BOX_BYTES_MAX: usize = 16 * 1024;

/// For whom a box is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum Side {
    /// The payer writes, the payee reads.
    #[n(0)]
    ToPayee,
    /// The payee writes, the payer reads.
    #[n(1)]
    ToPayer,
}

/// The name of a box: only who has the invoice knows it.
#[must_use]
pub fn box_id(payee: PartyId, tid: TidPy, side: Side) -> [u8; 16] {
    digest("florin/v1/coin/box", &[payee.bytes(), tid.bytes(), &cbor::encode(&side)]).short()
}

/// Asks for the two boxes of an invoice; signed by the payee (COSE_Sign1), then sealed.
///
/// Shape: `[context, TID_PY, until]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct BoxOpen {
    /// From ID_PY to ID_I.
    #[n(0)]
    pub context: Context,
    /// The payee's transaction.
    #[n(1)]
    pub tid: TidPy,
    /// Until when the boxes take a message.
    #[n(2)]
    pub until: Timestamp,
}

/// Puts a message into a box; takes a message out of one (without content).
///
/// Shape: `[context, box, content]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct BoxMessage {
    /// From nobody named to ID_I.
    #[n(0)]
    pub context: Context,
    /// Which box.
    #[n(1)]
    pub id: ByteArray<16>,
    /// What is left there; empty to take.
    #[n(2)]
    pub content: Bytes,
}

/// A box: `[until, content]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(super) struct PostBox {
    #[n(0)]
    pub(super) until: Timestamp,
    #[n(1)]
    content: Option<Bytes>,
}

const fn key(id: [u8; 16]) -> DocumentKey {
    DocumentKey::new(POST_BOX, id)
}

fn find(facts: &Facts, id: [u8; 16]) -> Option<PostBox> {
    facts.document(&key(id)).and_then(|b| cbor::decode_strict(b).ok())
}

/// `box-open` -> the boxes are there.
pub struct BoxOpenStep(pub Arc<Issuer>);

/// `box-open`, opened.
pub struct OpenedBoxOpen {
    request: Unverified<BoxOpen>,
    exporter: Exporter,
    th: Digest,
}

impl Step for BoxOpenStep {
    type Opened = OpenedBoxOpen;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "box-open" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<OpenedBoxOpen, Refusal> {
        let sealed = unseal(&self.0, "box-open", body)?;
        let request: Unverified<BoxOpen> = read_signed(&sealed.plaintext)?;
        addressed(&self.0, &request.message.context, "box-open")?;
        Ok(OpenedBoxOpen { request, exporter: sealed.exporter, th: sealed.th })
    }

    fn needs(&self, o: &OpenedBoxOpen) -> Needs {
        let m = &o.request.message;
        Needs {
            documents: vec![Participant::key_of(m.context.sender)],
            once: vec![once(STEP_BOX_OPEN, m.context.sender, *m.tid.bytes())],
            ..Needs::default()
        }
    }

    fn is_authentic(&self, o: &OpenedBoxOpen, facts: &Facts) -> bool {
        let payee = self.0.participant(facts, o.request.message.context.sender);
        payee.is_ok_and(|p| o.request.is_by(&p))
    }

    fn decide(&self, o: &OpenedBoxOpen, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        let m = &o.request.message;
        let admitted = self.0.participant(facts, m.context.sender).and_then(|payee| {
            if !o.request.is_by(&payee) {
                return Err(BAD_REQUEST);
            }
            may_act(&payee)?;
            check_deadline(m.until, moment.now)
        });
        if let Err(refusal) = admitted {
            return Decision::Refuse(refusal);
        }
        let mut t = Transition::new(Digest([0; 32]), facts.as_of);
        t.once = self.needs(o).once;
        for side in [Side::ToPayee, Side::ToPayer] {
            let post_box = PostBox { until: m.until, content: None };
            t.write(key(box_id(m.context.sender, m.tid, side)), cbor::encode(&post_box));
        }
        Decision::Apply(t)
    }

    fn decide_refused(&self, _: &OpenedBoxOpen, _: &Facts, _: &Rejected, _: &mut Moment<'_>) -> Decision {
        Decision::Refuse(FAULT)
    }

    fn reply(&self, o: &OpenedBoxOpen, _: &Record) -> Result<Vec<u8>, Refusal> {
        let m = &o.request.message;
        let frame = ReplyFrame::new(RAIL, "box-open-reply", self.0.id(), m.context.sender, o.th);
        Ok(frame.seal(&frame.key(&o.exporter), &m.until))
    }
}

fn read_message(issuer: &Issuer, message: &str, body: &[u8]) -> Result<BoxMessage, Refusal> {
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(BAD_REQUEST);
    }
    let m: BoxMessage = read(body)?;
    let expected = Context::new(RAIL, message, PartyId::NONE, issuer.id());
    if m.context != expected || m.content.0.len() > BOX_BYTES_MAX {
        return Err(BAD_REQUEST);
    }
    Ok(m)
}

/// `box-put` -> it lies there; the first message stays.
pub struct BoxPutStep(pub Arc<Issuer>);

impl Step for BoxPutStep {
    type Opened = BoxMessage;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "box-put" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<BoxMessage, Refusal> {
        let m = read_message(&self.0, "box-put", body)?;
        if m.content.0.is_empty() { Err(BAD_REQUEST) } else { Ok(m) }
    }

    fn needs(&self, m: &BoxMessage) -> Needs {
        Needs { documents: vec![key(m.id.0)], ..Needs::default() }
    }

    fn decide(&self, m: &BoxMessage, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        let Some(post_box) = find(facts, m.id.0).filter(|b| moment.now <= b.until) else {
            return Decision::Refuse(NO_BOX);
        };
        // No once key: the box itself says whether it is filled, and with what. Two at once meet at its version.
        match &post_box.content {
            Some(content) if *content == m.content => return Decision::Answer(self.taken(m)),
            Some(_) => return Decision::Refuse(BOX_FULL),
            None => {}
        }
        let mut t = Transition::new(Digest([0; 32]), facts.as_of);
        let filled = PostBox { content: Some(m.content.clone()), ..post_box };
        t.write(key(m.id.0), cbor::encode(&filled));
        Decision::Apply(t)
    }

    fn decide_refused(&self, _: &BoxMessage, _: &Facts, _: &Rejected, _: &mut Moment<'_>) -> Decision {
        Decision::Refuse(FAULT)
    }

    fn reply(&self, m: &BoxMessage, _: &Record) -> Result<Vec<u8>, Refusal> {
        Ok(self.taken(m))
    }
}

impl BoxPutStep {
    fn taken(&self, m: &BoxMessage) -> Vec<u8> {
        cbor::encode(&(Context::new(RAIL, "box-put-reply", self.0.id(), PartyId::NONE), m.id))
    }
}

/// `box-take` -> what lies there. It stays: a lost answer costs nothing.
pub struct BoxTakeStep(pub Arc<Issuer>);

impl Step for BoxTakeStep {
    type Opened = BoxMessage;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "box-take" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<BoxMessage, Refusal> {
        let m = read_message(&self.0, "box-take", body)?;
        if m.content.0.is_empty() { Ok(m) } else { Err(BAD_REQUEST) }
    }

    fn needs(&self, m: &BoxMessage) -> Needs {
        Needs { documents: vec![key(m.id.0)], ..Needs::default() }
    }

    fn decide(&self, m: &BoxMessage, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        let Some(post_box) = find(facts, m.id.0) else { return Decision::Refuse(NO_BOX) };
        match post_box.content {
            Some(content) => {
                let context = Context::new(RAIL, "box-take-reply", self.0.id(), PartyId::NONE);
                Decision::Answer(cbor::encode(&(context, m.id, content)))
            }
            None if moment.now > post_box.until => Decision::Refuse(NO_BOX),
            None => Decision::Refuse(NOT_YET.after(1)),
        }
    }

    fn decide_refused(&self, _: &BoxMessage, _: &Facts, _: &Rejected, _: &mut Moment<'_>) -> Decision {
        Decision::Refuse(FAULT)
    }

    fn reply(&self, _: &BoxMessage, _: &Record) -> Result<Vec<u8>, Refusal> {
        Err(FAULT)
    }
}
