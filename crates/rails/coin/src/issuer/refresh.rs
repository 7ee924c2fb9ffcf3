//! Refresh: old coins for new ones of the same values, without fee, while they pay and in their grace period. Nobody is
//! named: whoever has the coins has the right. Source: VarietyCash §3 (Refresh: "turns in old (expired) coins for an
//! equivalent value in new coins"), §2.6 (bearer instruments); V5 (all or nothing).

use std::sync::Arc;

use florin_books::{Condition, Facts, Needs, PartyId, Record, Rejected, Timestamp, Transition};
use florin_crypto::{Digest, Exporter};
use florin_money::CoinList;
use florin_parties::ReplyFrame;
use florin_rail::common::{BAD_REQUEST, FAULT, REQUEST_EXPIRED, SKEW_MS, check_exp, withdrawn_proof};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName};

use super::frame::{read, unseal};
use super::holders::HolderList;
use super::keys::{Checked, Issuer};
use super::redeem::{StatementSeed, spent, statement_answer};
use crate::coin::{BadCoin, COINS_ISSUED_MAX};
use crate::epoch::Purpose;
use crate::holder::renewed;
use crate::kinds::{RAIL, STEP_REFRESH, once};
use crate::messages::RefreshReq;
use crate::refusal::{WRONG_COIN_COUNT, WRONG_CURRENCY, WRONG_DENOMINATIONS};

/// Old coins -> new coins.
pub struct RefreshStep(pub Arc<Issuer>);

/// A Refresh request, opened, its coins looked at.
pub struct OpenedRefresh {
    request: RefreshReq,
    exporter: Exporter,
    th: Digest,
    checked: Checked,
}

impl Step for RefreshStep {
    type Opened = OpenedRefresh;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "refresh" }
    }

    fn open(&self, body: &[u8], now: Timestamp) -> Result<OpenedRefresh, Refusal> {
        let sealed = unseal(&self.0, "refresh", body)?;
        let request: RefreshReq = read(&sealed.plaintext)?;
        if request.context != Context::new(RAIL, "refresh", PartyId::NONE, self.0.id()) {
            return Err(BAD_REQUEST);
        }
        let checked = self.0.check(&request.coins, now, Purpose::Refresh)?;
        Ok(OpenedRefresh { request, exporter: sealed.exporter, th: sealed.th, checked })
    }

    fn needs(&self, o: &OpenedRefresh) -> Needs {
        let key = once(STEP_REFRESH, PartyId::NONE, *o.request.txid.bytes());
        let documents = o.request.holder.document().into_iter().collect();
        Needs { documents, once: vec![key], ..Needs::default() }
    }

    fn decide(&self, o: &OpenedRefresh, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        if let Err(refusal) = self.admit(o, moment.now) {
            return Decision::Refuse(refusal);
        }
        if !o.checked.bad.is_empty() {
            return Decision::Deny(self.record(o, o.checked.bad.clone()));
        }
        if let Err(refusal) = self.0.may_issue(true, moment.now) {
            return Decision::Refuse(refusal);
        }
        let currency = o.request.coins.total.currency();
        let creates = self.list(o).and_then(|list| self.0.issue(&list, currency, moment.now));
        let Some(creates) = creates else { return Decision::Refuse(WRONG_DENOMINATIONS) };
        let mut t = self.record(o, Vec::new());
        t.consumes.clone_from(&o.checked.numbers);
        t.creates = creates;
        match HolderList::enlist(&mut t, &self.0, facts, &o.request.holder, moment.now) {
            Ok(()) => Decision::Apply(t),
            Err(refusal) => Decision::Refuse(refusal),
        }
    }

    fn decide_refused(&self, o: &OpenedRefresh, _: &Facts, why: &Rejected, _: &mut Moment<'_>) -> Decision {
        match why {
            Rejected::NotLive { tokens } => Decision::Deny(self.record(o, spent(tokens))),
            Rejected::TooLate => Decision::Refuse(REQUEST_EXPIRED),
            _ => Decision::Refuse(FAULT),
        }
    }

    fn withdrawn(&self, o: &OpenedRefresh) -> Option<florin_crypto::Secret<32>> {
        Some(withdrawn_proof(&self.frame(o).key(&o.exporter)))
    }

    fn reply(&self, o: &OpenedRefresh, record: &Record) -> Result<Vec<u8>, Refusal> {
        let answer = statement_answer(&self.0, o.request.txid, PartyId::NONE, record)?;
        let frame = self.frame(o);
        Ok(frame.seal(&frame.key(&o.exporter), &answer))
    }
}

impl RefreshStep {
    fn frame(&self, o: &OpenedRefresh) -> ReplyFrame {
        ReplyFrame::new(RAIL, "refresh-reply", self.0.id(), PartyId::NONE, o.th)
    }

    fn admit(&self, o: &OpenedRefresh, now: Timestamp) -> Result<(), Refusal> {
        let coins = &o.request.coins;
        check_exp(o.request.exp, now)?;
        if self.0.register(coins.total.currency()).is_none() {
            return Err(WRONG_CURRENCY);
        }
        if coins.coins.is_empty() || coins.coins.len() > self.0.coins_max {
            return Err(WRONG_COIN_COUNT);
        }
        if coins.adds_up() { Ok(()) } else { Err(WRONG_DENOMINATIONS) }
    }

    /// The coins to give.
    fn list(&self, o: &OpenedRefresh) -> Option<CoinList> {
        let coins = &o.request.coins;
        let register = self.0.register(coins.total.currency())?;
        let given = CoinList::of_values(coins.coins.iter().map(|c| c.value)).ok()?;
        renewed(&given, &register.denominations).filter(|list| list.count() <= COINS_ISSUED_MAX)
    }

    fn record(&self, o: &OpenedRefresh, causes: Vec<BadCoin>) -> Transition {
        let mut t = Transition::new(Digest([0; 32]), florin_books::Seq(0));
        t.once = self.needs(o).once;
        t.requires.push(Condition::NotAfter(o.request.exp.plus_ms(SKEW_MS)));
        t.seed = StatementSeed { causes, payout: None, kid: self.0.keys.signing_kid() }.to_bytes();
        t
    }
}
