//! Issuance2: the payee has the coins; the re-send record is free. Whoever knows K_I has read Issuance1, so the MAC alone
//! shows that the payment happened. Source: VarietyCash §3.2 (3.2); V5.

use std::sync::Arc;

use florin_books::{Facts, Needs, Record, Rejected, Timestamp, Transition};
use florin_crypto::{Digest, MacKey, Secret, cbor};
use florin_rail::common::{BAD_REQUEST, FAULT, MESSAGE_BYTES_MAX};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName};

use super::frame::{addressed, read};
use super::keys::Issuer;
use crate::kinds::{RAIL, STEP_ACK, acknowledged, once};
use crate::messages::Issuance2;

/// mac_K(ack, TID_PY), K being K_I of the payment.
pub(crate) fn issuance2_mac(k_i: &[u8; 32], message: &Context, tid: crate::com::TidPy) -> [u8; 32] {
    let key = MacKey::new(&Secret::new(*k_i));
    key.tag("florin/v1/coin/issuance2", &[&cbor::encode(message), tid.bytes()])
}

/// Issuance2 -> `acknowledged`.
pub struct AcknowledgeStep(pub Arc<Issuer>);

impl Step for AcknowledgeStep {
    type Opened = Issuance2;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "issuance2" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<Issuance2, Refusal> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(BAD_REQUEST);
        }
        let ack: Issuance2 = read(body)?;
        addressed(&self.0, &ack.context, "issuance2")?;
        let key = MacKey::new(&Secret::new(self.0.k_i(ack.context.sender, ack.pay_id)));
        let parts: [&[u8]; 2] = [&cbor::encode(&ack.context), ack.tid.bytes()];
        if key.verify("florin/v1/coin/issuance2", &parts, &ack.mac.0) { Ok(ack) } else { Err(BAD_REQUEST) }
    }

    fn needs(&self, ack: &Issuance2) -> Needs {
        let payee = ack.context.sender;
        let key = once(STEP_ACK, payee, *ack.pay_id.bytes());
        Needs { once: vec![key], documents: vec![acknowledged(payee, ack.pay_id)], ..Needs::default() }
    }

    fn decide(&self, ack: &Issuance2, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        let mut t = Transition::new(Digest([0; 32]), facts.as_of);
        t.once = self.needs(ack).once;
        t.write(acknowledged(ack.context.sender, ack.pay_id), cbor::encode(&moment.now));
        Decision::Apply(t)
    }

    fn decide_refused(&self, _: &Issuance2, _: &Facts, _: &Rejected, _: &mut Moment<'_>) -> Decision {
        Decision::Refuse(FAULT)
    }

    fn reply(&self, ack: &Issuance2, _: &Record) -> Result<Vec<u8>, Refusal> {
        let context = Context::new(RAIL, "acknowledged", self.0.id(), ack.context.sender);
        Ok(cbor::encode(&(context, ack.pay_id)))
    }
}
