//! Coin Purchase, the issuance: `collect` in, Issuance1 out; Issuance2 frees the re-send record.
//! Source: VarietyCash §3.1 (3.1), (3.2); V5, V6, V10.

use std::sync::Arc;

use florin_books::{
    Account, Condition, DocumentKey, Facts, Needs, PartyId, Record, Rejected, Timestamp, Transition,
};
use florin_crypto::{ByteArray, Bytes, Digest, Exporter, cbor};
use florin_money::{Amount, CoinList};
use florin_parties::{KeyId, ReplyFrame};
use florin_rail::common::{
    ASK_STATUS, BAD_REQUEST, FAULT, MESSAGE_BYTES_MAX, REQUEST_EXPIRED, SKEW_MS, check_exp,
};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName};
use minicbor::{Decode, Encode};

use super::frame::{read, unseal};
use super::holders::HolderList;
use super::keys::Issuer;
use crate::choice::HolderChoice;
use crate::kinds::{CLAIM, RAIL, STEP_COLLECT, STEP_COLLECT_ACK, once};
use crate::purchase_messages::{
    Collect, CollectAck, PurchaseIssuance1, PurchaseRefusal, claim_id, collect_mac, issuance_key,
};
use crate::refusal::{NOT_YET, WRONG_DENOMINATIONS};

/// How long a purchaser waits before asking again.
const ASK_AGAIN_S: u32 = 1;

/// What waits to be collected (books lane, by H(claim)).
///
/// Shape: `[list, total, K secret, refused, holder, collected, acknowledged]`; the holder is the purchaser, where he
/// wished not to be anonymous.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Claim {
    #[n(0)]
    pub list: CoinList,
    #[n(1)]
    pub total: Amount,
    #[n(2)]
    pub k_issue: ByteArray<32>,
    #[n(3)]
    pub refused: Option<String>,
    #[n(4)]
    pub holder: HolderChoice,
    #[n(5)]
    pub collected: bool,
    #[n(6)]
    pub acknowledged: bool,
}

/// What the record keeps for its reply.
///
/// Shape: `[K secret, refused, signing key id]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct CollectSeed {
    #[n(0)]
    k_issue: ByteArray<32>,
    #[n(1)]
    refused: Option<String>,
    #[cbor(n(2), with = "minicbor::bytes")]
    kid: KeyId,
}

fn claim_of(facts: &Facts, id: [u8; 16]) -> Option<Claim> {
    facts.document(&DocumentKey::new(CLAIM, id)).and_then(|bytes| cbor::decode_strict(bytes).ok())
}

/// Whose the coins are; `None` where a purchaser who gave his name in W-DESC also asks to be refunded without one.
fn holder(claim: &Claim, request: &Collect) -> Option<HolderChoice> {
    match (claim.holder, request.refund) {
        (HolderChoice::Nobody, Some(key)) => Some(HolderChoice::Key(key)),
        (choice, None) => Some(choice),
        (_, Some(_)) => None,
    }
}

/// `collect` -> Issuance1.
pub struct CollectStep(pub Arc<Issuer>);

/// `collect`, opened.
pub struct OpenedCollect {
    request: Collect,
    exporter: Exporter,
    th: Digest,
}

impl Step for CollectStep {
    type Opened = OpenedCollect;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "collect" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<OpenedCollect, Refusal> {
        let sealed = unseal(&self.0, "collect", body)?;
        let request: Collect = read(&sealed.plaintext)?;
        if request.context != Context::new(RAIL, "collect", PartyId::NONE, self.0.id()) {
            return Err(BAD_REQUEST);
        }
        Ok(OpenedCollect { request, exporter: sealed.exporter, th: sealed.th })
    }

    fn needs(&self, o: &OpenedCollect) -> Needs {
        let id = claim_id(&o.request.claim.0);
        Needs {
            documents: vec![DocumentKey::new(CLAIM, id)],
            once: vec![once(STEP_COLLECT, PartyId::NONE, id)],
            ..Needs::default()
        }
    }

    /// The list of whom the coins will be: only the claim knows a purchaser who is not anonymous.
    fn follows(&self, o: &OpenedCollect, facts: &Facts) -> Needs {
        let claim = claim_of(facts, claim_id(&o.request.claim.0));
        let list = claim.and_then(|claim| holder(&claim, &o.request)).and_then(|h| h.document());
        Needs { documents: list.into_iter().collect(), ..Needs::default() }
    }

    fn decide(&self, o: &OpenedCollect, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        if let Err(refusal) = check_exp(o.request.exp, moment.now) {
            return Decision::Refuse(refusal);
        }
        // A claim that nobody has handed over yet, and one that never will be, look the same.
        let Some(claim) = claim_of(facts, claim_id(&o.request.claim.0)) else {
            return Decision::Refuse(NOT_YET.after(ASK_AGAIN_S));
        };
        let Some(holder) = holder(&claim, &o.request) else { return Decision::Refuse(BAD_REQUEST) };
        let mut t = Transition::new(Digest([0; 32]), facts.as_of);
        t.once = self.needs(o).once;
        t.requires.push(Condition::NotAfter(o.request.exp.plus_ms(SKEW_MS)));
        t.seed = cbor::encode(&CollectSeed::of(&claim, &self.0));
        let key = DocumentKey::new(CLAIM, claim_id(&o.request.claim.0));
        t.write(key, cbor::encode(&Claim { collected: true, ..claim.clone() }));
        if claim.refused.is_some() {
            return Decision::Deny(t);
        }
        if let Err(refusal) = self.0.may_issue(false, moment.now) {
            return Decision::Refuse(refusal);
        }
        let currency = claim.total.currency();
        let (Some(creates), Some(register)) =
            (self.0.issue(&claim.list, currency, moment.now), self.0.register(currency))
        else {
            return Decision::Refuse(WRONG_DENOMINATIONS);
        };
        t.creates = creates;
        t.post(Account::PaidNotIssued, Account::Register(register.id), claim.total);
        match HolderList::enlist(&mut t, &self.0, facts, &holder, moment.now) {
            Ok(()) => Decision::Apply(t),
            Err(refusal) => Decision::Refuse(refusal),
        }
    }

    fn decide_refused(&self, _: &OpenedCollect, _: &Facts, why: &Rejected, _: &mut Moment<'_>) -> Decision {
        match why {
            Rejected::TooLate => Decision::Refuse(REQUEST_EXPIRED),
            _ => Decision::Refuse(FAULT),
        }
    }

    fn reply(&self, o: &OpenedCollect, record: &Record) -> Result<Vec<u8>, Refusal> {
        let seed: CollectSeed = record.seed().and_then(|s| cbor::decode_strict(s).ok()).ok_or(ASK_STATUS)?;
        self.answer(o, record, seed)
    }

    /// The claim keeps what the seed had until the coins are acknowledged.
    fn reissue(&self, o: &OpenedCollect, record: &Record, facts: &Facts) -> Result<Vec<u8>, Refusal> {
        let claim = claim_of(facts, claim_id(&o.request.claim.0));
        match claim.filter(|c| record.seed().is_none() && !c.acknowledged) {
            None => self.reply(o, record),
            Some(claim) => self.answer(o, record, CollectSeed::of(&claim, &self.0)),
        }
    }

    /// A purchaser that lost its request asks anew with the same claim, until it has acknowledged.
    fn may_reissue(&self, o: &OpenedCollect, _: &Record, facts: &Facts) -> bool {
        claim_of(facts, claim_id(&o.request.claim.0)).is_some_and(|c| !c.acknowledged)
    }
}

impl CollectSeed {
    fn of(claim: &Claim, issuer: &Issuer) -> Self {
        Self { k_issue: claim.k_issue, refused: claim.refused.clone(), kid: issuer.keys.signing_kid() }
    }
}

impl CollectStep {
    fn answer(&self, o: &OpenedCollect, record: &Record, seed: CollectSeed) -> Result<Vec<u8>, Refusal> {
        let refusal = match seed.refused {
            None => None,
            Some(reason) => {
                let statement = PurchaseRefusal {
                    context: Context::new(RAIL, "purchase-refusal", self.0.id(), PartyId::NONE),
                    claim: ByteArray(claim_id(&o.request.claim.0)),
                    reason,
                    at: record.core.time,
                };
                Some(Bytes(self.0.keys.sign(&seed.kid, &cbor::encode(&statement)).ok_or(ASK_STATUS)?))
            }
        };
        let answer = PurchaseIssuance1 { coins: self.0.mint(&record.core.created)?, refusal };
        let frame = ReplyFrame::new(RAIL, "purchase-issuance1", self.0.id(), PartyId::NONE, o.th);
        Ok(frame.seal(&issuance_key(&seed.k_issue.0, &o.exporter), &answer))
    }
}

/// Issuance2 of a purchase -> `acknowledged`.
pub struct CollectAckStep(pub Arc<Issuer>);

impl Step for CollectAckStep {
    type Opened = CollectAck;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "collect-ack" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<CollectAck, Refusal> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(BAD_REQUEST);
        }
        let ack: CollectAck = read(body)?;
        if ack.context != Context::new(RAIL, "collect-ack", PartyId::NONE, self.0.id()) {
            return Err(BAD_REQUEST);
        }
        Ok(ack)
    }

    fn needs(&self, ack: &CollectAck) -> Needs {
        Needs {
            documents: vec![DocumentKey::new(CLAIM, ack.claim.0)],
            once: vec![once(STEP_COLLECT_ACK, PartyId::NONE, ack.claim.0)],
            ..Needs::default()
        }
    }

    /// The MAC is checked here because its key stands with the claim.
    fn decide(&self, ack: &CollectAck, facts: &Facts, _: &mut Moment<'_>) -> Decision {
        let claim = claim_of(facts, ack.claim.0);
        let Some(claim) = claim.filter(|c| mac_fits(c, ack)) else { return Decision::Refuse(BAD_REQUEST) };
        let mut t = Transition::new(Digest([0; 32]), facts.as_of);
        t.once = self.needs(ack).once;
        let settled = Claim { acknowledged: true, k_issue: ByteArray([0; 32]), ..claim };
        t.write(DocumentKey::new(CLAIM, ack.claim.0), cbor::encode(&settled));
        Decision::Apply(t)
    }

    fn decide_refused(&self, _: &CollectAck, _: &Facts, _: &Rejected, _: &mut Moment<'_>) -> Decision {
        Decision::Refuse(FAULT)
    }

    fn reply(&self, ack: &CollectAck, _: &Record) -> Result<Vec<u8>, Refusal> {
        let context = Context::new(RAIL, "acknowledged", self.0.id(), PartyId::NONE);
        Ok(cbor::encode(&(context, ack.claim)))
    }
}

fn mac_fits(claim: &Claim, ack: &CollectAck) -> bool {
    let expected = florin_crypto::Secret::new(collect_mac(&claim.k_issue.0, &ack.claim.0));
    claim.collected && !claim.acknowledged && expected.ct_eq(&florin_crypto::Secret::new(ack.mac.0))
}
