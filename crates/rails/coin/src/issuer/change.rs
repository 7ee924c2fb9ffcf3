//! Change: coins that pay for other coins of the same total. Nobody is named: whoever has the coins has the right.
//! Source: VarietyCash §3 (Change), §2.6 (bearer instruments); V5 (all or nothing).

use std::sync::Arc;

use florin_books::{Condition, Facts, Needs, PartyId, Record, Rejected, Timestamp, Transition};
use florin_crypto::{Digest, Exporter};
use florin_parties::ReplyFrame;
use florin_rail::common::{BAD_REQUEST, FAULT, REQUEST_EXPIRED, SKEW_MS, check_exp, withdrawn_proof};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName};

use super::frame::{read, unseal};
use super::holders::HolderList;
use super::keys::{Checked, Issuer};
use super::redeem::{StatementSeed, spent, statement_answer};
use crate::coin::{BadCoin, COINS_ISSUED_MAX};
use crate::epoch::Purpose;
use crate::kinds::{RAIL, STEP_CHANGE, once};
use crate::messages::ChangeReq;
use crate::refusal::{WRONG_COIN_COUNT, WRONG_CURRENCY, WRONG_DENOMINATIONS};

/// Change -> coins.
pub struct ChangeStep(pub Arc<Issuer>);

/// A Change request, opened, its coins looked at.
pub struct OpenedChange {
    request: ChangeReq,
    exporter: Exporter,
    th: Digest,
    checked: Checked,
}

impl Step for ChangeStep {
    type Opened = OpenedChange;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "change" }
    }

    fn open(&self, body: &[u8], now: Timestamp) -> Result<OpenedChange, Refusal> {
        let sealed = unseal(&self.0, "change", body)?;
        let request: ChangeReq = read(&sealed.plaintext)?;
        if request.context != Context::new(RAIL, "change", PartyId::NONE, self.0.id()) {
            return Err(BAD_REQUEST);
        }
        let checked = self.0.check(&request.coins, now, Purpose::Change)?;
        Ok(OpenedChange { request, exporter: sealed.exporter, th: sealed.th, checked })
    }

    fn needs(&self, o: &OpenedChange) -> Needs {
        let key = once(STEP_CHANGE, PartyId::NONE, *o.request.txid.bytes());
        let documents = o.request.holder.document().into_iter().collect();
        Needs { documents, once: vec![key], ..Needs::default() }
    }

    fn decide(&self, o: &OpenedChange, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        if let Err(refusal) = self.admit(o, moment.now) {
            return Decision::Refuse(refusal);
        }
        if !o.checked.bad.is_empty() {
            return Decision::Deny(self.record(o, o.checked.bad.clone()));
        }
        let currency = o.request.coins.total.currency();
        let Some(creates) = self.0.issue(&o.request.list, currency, moment.now) else {
            return Decision::Refuse(WRONG_DENOMINATIONS);
        };
        let mut t = self.record(o, Vec::new());
        t.consumes.clone_from(&o.checked.numbers);
        t.creates = creates;
        match HolderList::enlist(&mut t, &self.0, facts, &o.request.holder, moment.now) {
            Ok(()) => Decision::Apply(t),
            Err(refusal) => Decision::Refuse(refusal),
        }
    }

    fn decide_refused(&self, o: &OpenedChange, _: &Facts, why: &Rejected, _: &mut Moment<'_>) -> Decision {
        match why {
            Rejected::NotLive { tokens } => Decision::Deny(self.record(o, spent(tokens))),
            Rejected::TooLate => Decision::Refuse(REQUEST_EXPIRED),
            _ => Decision::Refuse(FAULT),
        }
    }

    fn withdrawn(&self, o: &OpenedChange) -> Option<florin_crypto::Secret<32>> {
        Some(withdrawn_proof(&self.frame(o).key(&o.exporter)))
    }

    fn reply(&self, o: &OpenedChange, record: &Record) -> Result<Vec<u8>, Refusal> {
        let answer = statement_answer(&self.0, o.request.txid, PartyId::NONE, record)?;
        let frame = self.frame(o);
        Ok(frame.seal(&frame.key(&o.exporter), &answer))
    }
}

impl ChangeStep {
    fn frame(&self, o: &OpenedChange) -> ReplyFrame {
        ReplyFrame::new(RAIL, "change-reply", self.0.id(), PartyId::NONE, o.th)
    }

    fn admit(&self, o: &OpenedChange, now: Timestamp) -> Result<(), Refusal> {
        let coins = &o.request.coins;
        check_exp(o.request.exp, now)?;
        let register = self.0.register(coins.total.currency()).ok_or(WRONG_CURRENCY)?;
        if coins.coins.is_empty() || coins.coins.len() > self.0.coins_max {
            return Err(WRONG_COIN_COUNT);
        }
        let list = &o.request.list;
        if list.is_empty() || list.count() > COINS_ISSUED_MAX {
            return Err(WRONG_COIN_COUNT);
        }
        let adds_up = coins.adds_up() && list.total_minor() == coins.total.minor();
        if !adds_up || !register.denominations.contains_all(list) {
            return Err(WRONG_DENOMINATIONS);
        }
        Ok(())
    }

    fn record(&self, o: &OpenedChange, causes: Vec<BadCoin>) -> Transition {
        let mut t = Transition::new(Digest([0; 32]), florin_books::Seq(0));
        t.once = self.needs(o).once;
        t.requires.push(Condition::NotAfter(o.request.exp.plus_ms(SKEW_MS)));
        t.seed = StatementSeed { causes, payout: None, kid: self.0.keys.signing_kid() }.to_bytes();
        t
    }
}
