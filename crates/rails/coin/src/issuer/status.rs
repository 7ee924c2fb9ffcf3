//! Status: paid, denied or never, signed, to the payer and to the payee; and *never* itself, which voids the payment.
//! Source: architecture.md, "Never unknown"; V4 (the payer asks with EncC1 again).

use std::sync::Arc;

use florin_books::{Condition, Facts, Needs, OnceKey, PartyId, Record, Rejected, Timestamp, Transition};
use florin_crypto::{Digest, Exporter, MacKey, cbor};
use florin_parties::{Participant, ReplyFrame};
use florin_rail::common::{BAD_REQUEST, FAULT, MESSAGE_BYTES_MAX, check_exp};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName, label, transcript};

use super::frame::{Unverified, addressed, read, read_signed, unseal};
use super::keys::Issuer;
use super::recall::Asked;
use super::verdict::{PaymentSeed, causes_salt, for_payer};
use crate::com::{TidPy, pay_id};
use crate::kinds::{RAIL, STEP_PAYMENT, envelope_once, once};
use crate::messages::{EncC1, Outcome, PayeeStatus, PayerStatus, envelope_digest};
use crate::refusal::NOT_YET;

/// The MAC by which the payer, and nobody else, gives a payment up.
pub(crate) fn give_up_mac(exporter: &Exporter, com: &Digest) -> [u8; 32] {
    let key = exporter.export(label(RAIL, "give-up").as_bytes());
    MacKey::new(&key).tag("florin/v1/coin/give-up", &[com.as_bytes()])
}

/// In constant time.
fn is_give_up_mac(exporter: &Exporter, com: &Digest, mac: &[u8; 32]) -> bool {
    let key = exporter.export(label(RAIL, "give-up").as_bytes());
    MacKey::new(&key).verify("florin/v1/coin/give-up", &[com.as_bytes()], mac)
}

fn payment_once(payee: PartyId, com: &Digest) -> OnceKey {
    once(STEP_PAYMENT, payee, *pay_id(com).bytes())
}

/// Voids what has not happened, by taking a once key that the payment would need: the payer the envelope's, the payee
/// the payment's.
fn never(
    issuer: &Issuer,
    key: OnceKey,
    com: &Digest,
    enc_c1: Digest,
    payee: PartyId,
    tid: TidPy,
) -> Transition {
    let seed = PaymentSeed {
        pay_id: pay_id(com),
        com: *com,
        enc_c1,
        tid,
        payee,
        outcome: Outcome::Never,
        claimed: None,
        paid: None,
        causes: Vec::new(),
        payout: None,
        kid: issuer.keys.signing_kid(),
    };
    let mut t = Transition::new(Digest([0; 32]), florin_books::Seq(0));
    t.once = vec![key];
    t.seed = cbor::encode(&seed);
    t
}

/// Until the deadline the payment may still happen.
fn wait_for(deadline: Timestamp, now: Timestamp) -> Decision {
    let seconds = deadline.since(now).div_ceil(1000).clamp(1, 30);
    Decision::Refuse(NOT_YET.after(u32::try_from(seconds).unwrap_or(30)))
}

/// The payer's question.
pub struct PayerStatusStep(pub Arc<Issuer>);

/// The payer's question, with EncC1 opened.
pub struct OpenedPayerStatus {
    request: PayerStatus,
    inside: EncC1,
    exporter: Exporter,
    enc_c1: Digest,
    gives_up: bool,
}

impl OpenedPayerStatus {
    const fn asked(&self) -> Asked {
        Asked { payee: self.inside.payee, com: self.request.com, enc_c1: Some(self.enc_c1) }
    }
}

impl Step for PayerStatusStep {
    type Opened = OpenedPayerStatus;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "payer-status" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<OpenedPayerStatus, Refusal> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(BAD_REQUEST);
        }
        let request: PayerStatus = read(body)?;
        addressed(&self.0, &request.context, "payer-status")?;
        let (plaintext, exporter) =
            self.0.keys.open(RAIL, "enc-c1", request.com.as_bytes(), &request.enc_c1)?;
        let inside: EncC1 = read(&plaintext)?;
        if inside.context != Context::new(RAIL, "enc-c1", request.context.sender, self.0.id()) {
            return Err(BAD_REQUEST);
        }
        let gives_up = match &request.give_up {
            None => false,
            Some(mac) if is_give_up_mac(&exporter, &request.com, &mac.0) => true,
            Some(_) => return Err(BAD_REQUEST),
        };
        let enc_c1 = envelope_digest(&request.enc_c1);
        Ok(OpenedPayerStatus { request, inside, exporter, enc_c1, gives_up })
    }

    /// The envelope's own fate first; then whether the payment has gone another way without it.
    fn needs(&self, o: &OpenedPayerStatus) -> Needs {
        let payment = payment_once(o.inside.payee, &o.request.com);
        Needs { once: vec![envelope_once(&o.enc_c1), payment], ..Needs::default() }
    }

    fn decide(&self, o: &OpenedPayerStatus, _: &Facts, moment: &mut Moment<'_>) -> Decision {
        let deadline = o.inside.deadline;
        if moment.now <= deadline && !o.gives_up {
            return wait_for(deadline, moment.now);
        }
        let key = envelope_once(&o.enc_c1);
        let mut t = never(&self.0, key, &o.request.com, o.enc_c1, o.inside.payee, TidPy::NONE);
        if !o.gives_up {
            t.requires.push(Condition::NotBefore(deadline.plus_ms(1)));
        }
        Decision::Apply(t)
    }

    fn decide_refused(
        &self,
        o: &OpenedPayerStatus,
        _: &Facts,
        why: &Rejected,
        m: &mut Moment<'_>,
    ) -> Decision {
        match why {
            Rejected::TooEarly => wait_for(o.inside.deadline, m.now),
            _ => Decision::Refuse(FAULT),
        }
    }

    fn reply(&self, o: &OpenedPayerStatus, record: &Record) -> Result<Vec<u8>, Refusal> {
        let seed = PaymentSeed::recall(record, &self.0, &o.asked())?.about(o.enc_c1);
        let salt = causes_salt(&o.exporter);
        let signed = seed.sign(&self.0, record.core.time, &salt)?;
        Ok(for_payer(&seed, &signed, "status", self.0.id(), o.request.context.sender, &o.exporter, salt))
    }

    /// Whatever took one of the once keys is the answer.
    fn may_reissue(&self, o: &OpenedPayerStatus, record: &Record, _: &Facts) -> bool {
        PaymentSeed::recall(record, &self.0, &o.asked()).is_ok_and(|seed| seed.com == o.request.com)
    }
}

/// The payee's question.
pub struct PayeeStatusStep(pub Arc<Issuer>);

/// The payee's question, opened.
pub struct OpenedPayeeStatus {
    request: Unverified<PayeeStatus>,
    exporter: Exporter,
    th: Digest,
}

impl OpenedPayeeStatus {
    const fn asked(&self) -> Asked {
        let m = &self.request.message;
        Asked { payee: m.context.sender, com: m.com, enc_c1: None }
    }
}

impl Step for PayeeStatusStep {
    type Opened = OpenedPayeeStatus;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "payee-status" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<OpenedPayeeStatus, Refusal> {
        let sealed = unseal(&self.0, "payee-status", body)?;
        let request: Unverified<PayeeStatus> = read_signed(&sealed.plaintext)?;
        addressed(&self.0, &request.message.context, "payee-status")?;
        Ok(OpenedPayeeStatus { request, exporter: sealed.exporter, th: transcript(RAIL, &[body]) })
    }

    fn needs(&self, o: &OpenedPayeeStatus) -> Needs {
        let m = &o.request.message;
        let payee = m.context.sender;
        let once = vec![payment_once(payee, &m.com)];
        Needs { documents: vec![Participant::key_of(payee)], once, ..Needs::default() }
    }

    fn is_authentic(&self, o: &OpenedPayeeStatus, facts: &Facts) -> bool {
        let payee = self.0.participant(facts, o.request.message.context.sender);
        payee.is_ok_and(|p| o.request.is_by(&p))
    }

    fn decide(&self, o: &OpenedPayeeStatus, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        let m = &o.request.message;
        let admitted = self.0.participant(facts, m.context.sender).and_then(|payee| {
            if !o.request.is_by(&payee) {
                return Err(BAD_REQUEST);
            }
            // A participant that is blocked asks, too: it gains nothing, and its payment would stay unknown for ever.
            check_exp(m.exp, moment.now)
        });
        if let Err(refusal) = admitted {
            return Decision::Refuse(refusal);
        }
        if moment.now <= m.deadline && !m.gives_up {
            return wait_for(m.deadline, moment.now);
        }
        let payee = m.context.sender;
        let mut t = never(&self.0, payment_once(payee, &m.com), &m.com, Digest([0; 32]), payee, m.tid);
        if !m.gives_up {
            t.requires.push(Condition::NotBefore(m.deadline.plus_ms(1)));
        }
        Decision::Apply(t)
    }

    fn decide_refused(
        &self,
        o: &OpenedPayeeStatus,
        _: &Facts,
        why: &Rejected,
        m: &mut Moment<'_>,
    ) -> Decision {
        match why {
            Rejected::TooEarly => wait_for(o.request.message.deadline, m.now),
            _ => Decision::Refuse(FAULT),
        }
    }

    fn reply(&self, o: &OpenedPayeeStatus, record: &Record) -> Result<Vec<u8>, Refusal> {
        let seed = PaymentSeed::recall(record, &self.0, &o.asked())?;
        // The payee never gets the payer's salt, so the causes stay closed to it.
        let salt = florin_crypto::ByteArray([0; 16]);
        let shown = PaymentSeed { causes: Vec::new(), ..seed };
        let signed = shown.sign(&self.0, record.core.time, &salt.0)?;
        let payee = o.request.message.context.sender;
        let frame = ReplyFrame::new(RAIL, "payee-status-reply", self.0.id(), payee, o.th);
        Ok(frame.seal(&frame.key(&o.exporter), &florin_crypto::Bytes(signed)))
    }

    fn may_reissue(&self, o: &OpenedPayeeStatus, record: &Record, _: &Facts) -> bool {
        let m = &o.request.message;
        PaymentSeed::recall(record, &self.0, &o.asked())
            .is_ok_and(|seed| seed.com == m.com && seed.payee == m.context.sender)
    }
}
