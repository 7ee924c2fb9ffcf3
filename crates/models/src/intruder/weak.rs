//! An operator that lacks one of its repairs. The product is not changed for it: what the repair checks is made true on the
//! way in. Without V2, EncC1 that opens under any Com of any payer is sealed again under the Com of the request, as if
//! nothing bound it. Without V3, a ValidationReq is signed again by whom it names, as if no signature were asked for. On
//! the way out the answer is sealed again for whoever has asked. Source: docs/rails/coin.md, "Departures from the paper".

use florin_coin::messages::{EncC1, Issuance1, ValidationReq, Verdict, envelope_digest};
use florin_coin::payee;
use florin_crypto::{
    Bytes, Digest, Entropy, Envelope, Exporter, SeededEntropy, Sign1, SigningKey, cbor, digest, kem,
};
use florin_parties::ReplyFrame;
use florin_parties::sealed::sign;
use florin_rail::{Context, hpke_info, transcript};

use super::{World, goals};
use crate::fault::Fault;
use crate::house::{Message, MessageId, Tag};

/// What an operator lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weak {
    /// Nothing.
    Nothing,
    /// EncC1 is not bound to Com (V2).
    Binding,
    /// Nobody signs ValidationReq (V3).
    Signature,
}

/// A request as a weak operator takes it.
#[derive(Clone)]
pub(super) struct Weakened {
    id: MessageId,
    /// Seals the answer for whoever has asked, and opens it as it was given.
    outer: (ReplyFrame, [u8; 32]),
    inner: (ReplyFrame, [u8; 32]),
    /// The envelope that was sent.
    enc_c1: Digest,
}

impl World {
    /// The key with which a participant signs.
    fn signing(&self, id: florin_books::PartyId) -> Option<&SigningKey> {
        let mut all = self.payers.iter().chain(std::iter::once(&self.shop));
        all.find(|person| person.keys.id() == id).map(|person| &person.keys.signing)
    }

    /// What a weak operator makes of a request; none where it does nothing else than a strong one.
    pub(super) fn weaken(&self, request: MessageId) -> Result<Option<MessageId>, Fault> {
        if self.weak == Weak::Nothing {
            return Ok(None);
        }
        if let Some(known) = goals::lock(&self.weakened).get(&request) {
            return Ok(known.as_ref().map(|weakened| weakened.id));
        }
        let message = self.house.message(request)?;
        let made = match &*message {
            Message::Request { path, body, .. } if *path == payee::VALIDATION_PATH => self.weakened(body),
            _ => None,
        };
        let id = made.as_ref().map(|weakened| weakened.id);
        goals::lock(&self.weakened).insert(request, made);
        Ok(id)
    }

    fn weakened(&self, body: &[u8]) -> Option<Weakened> {
        let envelope: Envelope = cbor::decode_strict(body).ok()?;
        let keys = &self.house.operator().keys;
        let (text, exporter) = keys.open("coin", "validation-req", &[], &envelope).ok()?;
        let signed = Sign1::parse(&text).ok()?;
        let mut request: ValidationReq = cbor::decode_strict(signed.payload_unverified()).ok()?;
        let sender = request.context.sender;
        let key = self.signing(sender)?;
        let sent = envelope_digest(&request.enc_c1);
        match self.weak {
            Weak::Nothing => return None,
            Weak::Signature if signed.verify(&key.verify_key()).is_ok() => return None,
            Weak::Signature => {}
            Weak::Binding => {
                signed.verify(&key.verify_key()).ok()?;
                request.enc_c1 = self.unbound(&request)?;
            }
        }
        let (again, its) = self.seal(&request, key)?;
        let issuer = self.house.operator().list.operator;
        let frame = |body: &[u8], exporter: &Exporter| {
            let frame = ReplyFrame::new("coin", "issuance1", issuer, sender, transcript("coin", &[body]));
            let key = *frame.key(exporter).expose();
            (frame, key)
        };
        let (outer, inner) = (frame(body, &exporter), frame(&again, &its));
        let path = payee::VALIDATION_PATH;
        let id =
            self.house.number(Message::Request { tag: Tag::Forged, path, body: again, pending: Vec::new() });
        Some(Weakened { id, outer, inner, enc_c1: sent })
    }

    /// EncC1 under the Com of the request, where it opens under another.
    fn unbound(&self, request: &ValidationReq) -> Option<Envelope> {
        let keys = &self.house.operator().keys;
        let mut others = self.runs.iter().map(|run| run.com.digest()).filter(|com| *com != request.com);
        let open = |com: Digest| keys.open("coin", "enc-c1", com.as_bytes(), &request.enc_c1).ok();
        let (text, _) = others.find_map(open)?;
        let mut inside: EncC1 = cbor::decode_strict(&text).ok()?;
        inside.context = Context::new("coin", "enc-c1", request.payer, self.house.operator().list.operator);
        let text = cbor::encode(&inside);
        let to = self.house.operator().key()?;
        let info = hpke_info("coin", "enc-c1", to.id, &to.kid);
        let mut entropy =
            SeededEntropy::new(digest("florin/models/unbound", &[&text, request.com.as_bytes()]).0);
        let chance: &mut dyn Entropy = &mut entropy;
        kem::seal(&to.key, &to.kid, &info, request.com.as_bytes(), &text, chance)
            .ok()
            .map(|(envelope, _)| envelope)
    }

    fn seal(&self, request: &ValidationReq, key: &SigningKey) -> Option<(Vec<u8>, Exporter)> {
        let to = self.house.operator().key()?;
        let info = hpke_info("coin", "validation-req", to.id, &to.kid);
        let text = sign(key, request);
        let mut entropy = SeededEntropy::new(digest("florin/models/weakened", &[&text]).0);
        let chance: &mut dyn Entropy = &mut entropy;
        let (envelope, exporter) = kem::seal(&to.key, &to.kid, &info, &[], &text, chance).ok()?;
        Some((cbor::encode(&envelope), exporter))
    }

    /// The answer of a weak operator, for whoever has asked: about the envelope that was sent.
    pub(super) fn strengthen(&self, request: MessageId, reply: MessageId) -> Result<MessageId, Fault> {
        let known = goals::lock(&self.weakened).get(&request).cloned().flatten();
        let weakened = known.ok_or(Fault::Absent("a weakened request"))?;
        let message = self.house.message(reply)?;
        let Message::Reply { answer: Ok(answer), .. } = &*message else { return Ok(reply) };
        let (frame, key) = &weakened.inner;
        let opened: Option<Issuance1> = frame.open(&florin_crypto::Secret::new(*key), answer);
        let mut issuance = opened.ok_or(Fault::Reading("a weak operator's answer"))?;
        let signed = Sign1::parse(&issuance.verdict.0).map_err(|_| Fault::Reading("a verdict"))?;
        let mut verdict: Verdict =
            cbor::decode_strict(signed.payload_unverified()).map_err(|_| Fault::Reading("a verdict"))?;
        verdict.enc_c1 = weakened.enc_c1;
        let signed = self.house.operator().keys.sign(&signed.kid(), &cbor::encode(&verdict));
        issuance.verdict = Bytes(signed.ok_or(Fault::Absent("a signing key"))?);
        let (frame, key) = &weakened.outer;
        let answer = frame.seal(&florin_crypto::Secret::new(*key), &issuance);
        Ok(self.house.number(Message::Reply { to: request, answer: Ok(answer) }))
    }
}
