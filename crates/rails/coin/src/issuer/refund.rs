//! Refund: a holder gets his still unspent coins again, new ones in place of the old in one transition. It moves nothing
//! between people: what was spent stays spent. Source: VarietyCash §3 (Refund); V5 (all or nothing); ADR 0026.

use std::collections::BTreeMap;
use std::sync::Arc;

use florin_books::{
    Condition, DocumentKey, Facts, Needs, OnceKey, PartyId, Record, RegisterId, Rejected, Timestamp,
    TokenNumber, Transition,
};
use florin_crypto::{Bytes, Digest, Exporter, cbor};
use florin_money::CoinList;
use florin_parties::{Participant, ReplyFrame};
use florin_rail::common::{
    ASK_STATUS, BAD_REQUEST, FAULT, REQUEST_EXPIRED, SKEW_MS, check_exp, withdrawn_proof,
};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName};

use super::frame::{Unverified, addressed, may_act, read_signed, unseal};
use super::holders::{HolderEntry, HolderList};
use super::keys::Issuer;
use crate::choice::HolderChoice;
use crate::coin::CoinSet;
use crate::kinds::{RAIL, STEP_REFUND, once};
use crate::refund_messages::{RefundAnswer, RefundReq, RefundStatement};
use crate::refusal::{ISSUING_ENDED, NOTHING_TO_REFUND};

/// Refund -> coins.
pub struct RefundStep(pub Arc<Issuer>);

/// A Refund request, opened.
pub struct OpenedRefund {
    request: Unverified<RefundReq>,
    list: DocumentKey,
    exporter: Exporter,
    th: Digest,
}

impl Step for RefundStep {
    type Opened = OpenedRefund;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "refund" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<OpenedRefund, Refusal> {
        let sealed = unseal(&self.0, "refund", body)?;
        let request: Unverified<RefundReq> = read_signed(&sealed.plaintext)?;
        let m = &request.message;
        addressed(&self.0, &m.context, "refund")?;
        let list = m.holder.document().ok_or(BAD_REQUEST)?;
        let from = match &m.holder {
            HolderChoice::Named(id) => *id,
            HolderChoice::Key(_) | HolderChoice::Nobody => PartyId::NONE,
        };
        let by_key = match &m.holder {
            HolderChoice::Key(key) => request.is_by_key(key),
            // Whose key it is, only the facts can tell.
            HolderChoice::Named(id) => *id != PartyId::NONE,
            HolderChoice::Nobody => false,
        };
        if m.context.sender != from || !by_key {
            return Err(BAD_REQUEST);
        }
        Ok(OpenedRefund { request, list, exporter: sealed.exporter, th: sealed.th })
    }

    fn needs(&self, o: &OpenedRefund) -> Needs {
        let mut documents = vec![o.list];
        if let HolderChoice::Named(id) = o.request.message.holder {
            documents.push(Participant::key_of(id));
        }
        Needs { documents, once: vec![once_key(o)], ..Needs::default() }
    }

    fn is_authentic(&self, o: &OpenedRefund, facts: &Facts) -> bool {
        self.is_by_holder(o, facts).is_ok()
    }

    /// The records that issued; only for the holder, so that nobody else makes the house read them.
    fn follows(&self, o: &OpenedRefund, facts: &Facts) -> Needs {
        if self.is_by_holder(o, facts).is_err() {
            return Needs::default();
        }
        let list = facts.document(&o.list).and_then(HolderList::read);
        let keys = list.map(|l| l.entries.iter().map(|entry| entry.by).collect()).unwrap_or_default();
        Needs { once: keys, ..Needs::default() }
    }

    fn decide(&self, o: &OpenedRefund, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        self.refund(o, facts, &[], moment)
    }

    /// What is left when the coins that were spent are taken away.
    fn decide_refused(
        &self,
        o: &OpenedRefund,
        facts: &Facts,
        why: &Rejected,
        moment: &mut Moment<'_>,
    ) -> Decision {
        match why {
            Rejected::NotLive { tokens } => self.refund(o, facts, tokens, moment),
            Rejected::TooLate => Decision::Refuse(REQUEST_EXPIRED),
            _ => Decision::Refuse(FAULT),
        }
    }

    fn withdrawn(&self, o: &OpenedRefund) -> Option<florin_crypto::Secret<32>> {
        Some(withdrawn_proof(&self.frame(o).key(&o.exporter)))
    }

    fn reply(&self, o: &OpenedRefund, record: &Record) -> Result<Vec<u8>, Refusal> {
        // Nothing but the key stands in the seed.
        let kid = match record.seed() {
            Some(seed) => {
                let kid: Bytes = cbor::decode_strict(seed).map_err(|_| ASK_STATUS)?;
                kid.0.try_into().map_err(|_| ASK_STATUS)?
            }
            None => self.0.keys.signing_kid(),
        };
        let m = &o.request.message;
        let sets = self.minted(record)?;
        let statement = RefundStatement {
            context: Context::new(RAIL, "refund-statement", self.0.id(), m.context.sender),
            holder: m.holder,
            txid: m.txid,
            refunded: sets.iter().map(|set| set.total).collect(),
            at: record.core.time,
        };
        let statement = Bytes(self.0.keys.sign(&kid, &cbor::encode(&statement)).ok_or(ASK_STATUS)?);
        let frame = self.frame(o);
        Ok(frame.seal(&frame.key(&o.exporter), &RefundAnswer { statement, sets }))
    }
}

fn once_key(o: &OpenedRefund) -> OnceKey {
    let m = &o.request.message;
    once(STEP_REFUND, m.context.sender, *m.txid.bytes())
}

impl RefundStep {
    fn frame(&self, o: &OpenedRefund) -> ReplyFrame {
        ReplyFrame::new(RAIL, "refund-reply", self.0.id(), o.request.message.context.sender, o.th)
    }

    fn is_by_holder(&self, o: &OpenedRefund, facts: &Facts) -> Result<(), Refusal> {
        // A one-time key was checked when the request was opened.
        let HolderChoice::Named(id) = o.request.message.holder else { return Ok(()) };
        let participant = self.0.participant(facts, id)?;
        if o.request.is_by(&participant) { Ok(()) } else { Err(BAD_REQUEST) }
    }

    fn admit(&self, o: &OpenedRefund, facts: &Facts, now: Timestamp) -> Result<(), Refusal> {
        self.is_by_holder(o, facts)?;
        if let HolderChoice::Named(id) = o.request.message.holder {
            may_act(&self.0.participant(facts, id)?)?;
        }
        check_exp(o.request.message.exp, now)
    }

    /// All tokens of the holder's records but those at these places, which are known to be spent; new ones for all of
    /// their value. Where none is left, that is recorded and the list is emptied: entries without a live coin cannot fill
    /// it. The empty list stays, so that a wallet that looks for its one-time keys in turn finds those that it used.
    fn refund(&self, o: &OpenedRefund, facts: &Facts, spent: &[usize], moment: &mut Moment<'_>) -> Decision {
        if let Err(refusal) = self.admit(o, facts, moment.now) {
            return Decision::Refuse(refusal);
        }
        let holder = o.request.message.holder;
        if facts.document(&o.list).is_none() {
            return Decision::Refuse(NOTHING_TO_REFUND);
        }
        let entries = HolderList::of(&self.0, facts, &holder, moment.now);
        let (found, lost): (Vec<_>, Vec<_>) =
            entries.iter().partition(|entry| facts.records.contains_key(&entry.by));
        let tokens = tokens(&found, facts);
        let mut t = self.record(o);
        t.consumes = tokens
            .into_iter()
            .enumerate()
            .filter(|(place, _)| spent.binary_search(place).is_err())
            .map(|(_, number)| number)
            .collect();
        if let Err(refusal) = self.issue_again(&mut t, moment.now) {
            return Decision::Refuse(refusal);
        }
        let mut entries: Vec<HolderEntry> = lost.into_iter().copied().collect();
        entries.extend(t.creates.first().map(|issue| HolderEntry { by: once_key(o), epoch: issue.epoch }));
        t.write(o.list, cbor::encode(&HolderList { holder, entries }));
        if t.consumes.is_empty() { Decision::Deny(t) } else { Decision::Apply(t) }
    }

    /// New tokens for what the transition consumes: as few as make up the value, in each register.
    fn issue_again(&self, t: &mut Transition, now: Timestamp) -> Result<(), Refusal> {
        let mut worth: BTreeMap<RegisterId, u64> = BTreeMap::new();
        for number in &t.consumes {
            let (register, value) = self.0.worth_of(number).ok_or(FAULT)?;
            let sum = worth.entry(register.id).or_default();
            *sum = sum.checked_add(value).ok_or(FAULT)?;
        }
        for (id, minor) in worth {
            let register = self.0.registers.iter().find(|r| r.id == id).ok_or(FAULT)?;
            let list: CoinList = register.denominations.split_minor(minor).map_err(|_| FAULT)?;
            let currency = register.denominations.currency();
            t.creates.extend(self.0.issue(&list, currency, now).ok_or(ISSUING_ENDED)?);
        }
        Ok(())
    }

    fn record(&self, o: &OpenedRefund) -> Transition {
        let mut t = Transition::new(Digest([0; 32]), florin_books::Seq(0));
        t.once = vec![once_key(o)];
        t.requires.push(Condition::NotAfter(o.request.message.exp.plus_ms(SKEW_MS)));
        t.seed = cbor::encode(&Bytes(self.0.keys.signing_kid().to_vec()));
        t
    }

    /// The coins of a record, one set for each currency.
    fn minted(&self, record: &Record) -> Result<Vec<CoinSet>, Refusal> {
        let mut sets = Vec::new();
        for register in &self.0.registers {
            let of = record.core.created.iter().filter(|i| i.first.denomination.register() == register.id);
            let issued: Vec<_> = of.copied().collect();
            if !issued.is_empty() {
                let set = CoinSet::new(self.0.mint(&issued)?, register.denominations.currency());
                sets.push(set.map_err(|_| FAULT)?);
            }
        }
        Ok(sets)
    }
}

/// What these records issued, in the order of the list.
fn tokens(entries: &[&HolderEntry], facts: &Facts) -> Vec<TokenNumber> {
    let records = entries.iter().filter_map(|entry| facts.records.get(&entry.by));
    records.flat_map(|r| r.core.created.iter()).flat_map(|issued| issued.numbers()).collect()
}
