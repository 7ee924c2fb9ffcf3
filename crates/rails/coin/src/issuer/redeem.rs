//! Redeem: coins for money on the redeemer's enrolled account.
//! Source: VarietyCash §3 (Redeem); V3 (never another account), V5 (all or nothing).

use std::sync::Arc;

use florin_books::{
    Account, Condition, EffectId, Facts, Needs, PartyId, Record, Rejected, Timestamp, Transition, TxId,
};
use florin_crypto::{Bytes, Digest, Exporter, cbor, random};
use florin_parties::{KeyId, Participant, ReplyFrame, Roles};
use florin_rail::common::{
    ASK_STATUS, BAD_REQUEST, FAULT, REQUEST_EXPIRED, SKEW_MS, check_exp, withdrawn_proof,
};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName};
use minicbor::{Decode, Encode};

use super::frame::{Unverified, addressed, may_act, read_signed, unseal};
use super::keys::{Checked, Issuer};
use super::payout::PayOut;
use super::recall;
use crate::coin::{BadCoin, CoinCause};
use crate::epoch::Purpose;
use crate::kinds::{PAY_OUT, RAIL, STEP_REDEEM, once};
use crate::messages::{CoinStatement, ExchangeAnswer, RedeemReq};
use crate::refusal::{NOT_ENROLLED, WRONG_COIN_COUNT, WRONG_CURRENCY, WRONG_DENOMINATIONS};

/// Redeem -> a pay-out.
pub struct RedeemStep(pub Arc<Issuer>);

/// A Redeem request, opened, its coins looked at.
pub struct OpenedRedeem {
    request: Unverified<RedeemReq>,
    exporter: Exporter,
    th: Digest,
    checked: Checked,
}

/// What the record of Change, Refresh and Redeem keeps for its reply.
///
/// Shape: `[causes, pay-out, signing key id]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(super) struct StatementSeed {
    #[n(0)]
    pub causes: Vec<BadCoin>,
    #[n(1)]
    pub payout: Option<TxId>,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub kid: KeyId,
}

impl StatementSeed {
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// The seed; once it has gone, a record that has spent coins still says that it took them all.
    fn recall(record: &Record, issuer: &Issuer) -> Result<Self, Refusal> {
        match record.seed() {
            Some(seed) => cbor::decode_strict(seed).map_err(|_| ASK_STATUS),
            None if record.core.consumed.is_empty() => Err(ASK_STATUS),
            None => {
                let kid = issuer.keys.signing_kid();
                Ok(Self { causes: Vec::new(), payout: recall::payout(record), kid })
            }
        }
    }
}

/// The answer to Change, Refresh and Redeem, from its record alone.
pub(super) fn statement_answer(
    issuer: &Issuer,
    txid: TxId,
    to: PartyId,
    record: &Record,
) -> Result<ExchangeAnswer, Refusal> {
    let seed = StatementSeed::recall(record, issuer)?;
    let statement = CoinStatement {
        context: Context::new(RAIL, "coin-statement", issuer.id(), to),
        txid,
        causes: seed.causes,
        at: record.core.time,
    };
    let signed = issuer.keys.sign(&seed.kid, &cbor::encode(&statement)).ok_or(ASK_STATUS)?;
    Ok(ExchangeAnswer {
        statement: Bytes(signed),
        coins: issuer.mint(&record.core.created)?,
        payout: seed.payout,
    })
}

/// The causes for coins that are not live any more.
pub(super) fn spent(tokens: &[usize]) -> Vec<BadCoin> {
    let cause = CoinCause::Spent;
    tokens.iter().filter_map(|i| Some(BadCoin { index: u32::try_from(*i).ok()?, cause })).collect()
}

impl Step for RedeemStep {
    type Opened = OpenedRedeem;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "redeem" }
    }

    fn open(&self, body: &[u8], now: Timestamp) -> Result<OpenedRedeem, Refusal> {
        let sealed = unseal(&self.0, "redeem", body)?;
        let request: Unverified<RedeemReq> = read_signed(&sealed.plaintext)?;
        addressed(&self.0, &request.message.context, "redeem")?;
        let checked = self.0.check(&request.message.coins, now, Purpose::Redeem)?;
        Ok(OpenedRedeem { request, exporter: sealed.exporter, th: sealed.th, checked })
    }

    fn needs(&self, o: &OpenedRedeem) -> Needs {
        let m = &o.request.message;
        Needs {
            documents: vec![Participant::key_of(m.context.sender)],
            once: vec![once(STEP_REDEEM, m.context.sender, *m.txid.bytes())],
            ..Needs::default()
        }
    }

    fn is_authentic(&self, o: &OpenedRedeem, facts: &Facts) -> bool {
        let redeemer = self.0.participant(facts, o.request.message.context.sender);
        redeemer.is_ok_and(|p| o.request.is_by(&p))
    }

    fn decide(&self, o: &OpenedRedeem, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        if let Err(refusal) = self.admit(o, facts, moment.now) {
            return Decision::Refuse(refusal);
        }
        if !o.checked.bad.is_empty() {
            return Decision::Deny(self.record(o, o.checked.bad.clone(), None));
        }
        let m = &o.request.message;
        let total = m.coins.total;
        let Some(register) = self.0.register(total.currency()) else {
            return Decision::Refuse(WRONG_CURRENCY);
        };
        let id = TxId::new(random(moment.entropy));
        let mut t = self.record(o, Vec::new(), Some(id));
        t.consumes.clone_from(&o.checked.numbers);
        t.post(Account::Register(register.id), Account::Pair(self.0.lanes.identity), total);
        let order = PayOut { id, redeemer: m.context.sender, amount: total };
        t.emit(EffectId::new(*id.bytes()), PAY_OUT, moment.now, cbor::encode(&order));
        Decision::Apply(t)
    }

    fn decide_refused(&self, o: &OpenedRedeem, _: &Facts, why: &Rejected, _: &mut Moment<'_>) -> Decision {
        match why {
            Rejected::NotLive { tokens } => Decision::Deny(self.record(o, spent(tokens), None)),
            Rejected::TooLate => Decision::Refuse(REQUEST_EXPIRED),
            _ => Decision::Refuse(FAULT),
        }
    }

    fn withdrawn(&self, o: &OpenedRedeem) -> Option<florin_crypto::Secret<32>> {
        Some(withdrawn_proof(&self.frame(o).key(&o.exporter)))
    }

    fn reply(&self, o: &OpenedRedeem, record: &Record) -> Result<Vec<u8>, Refusal> {
        let m = &o.request.message;
        let answer = statement_answer(&self.0, m.txid, m.context.sender, record)?;
        let frame = self.frame(o);
        Ok(frame.seal(&frame.key(&o.exporter), &answer))
    }
}

impl RedeemStep {
    fn frame(&self, o: &OpenedRedeem) -> ReplyFrame {
        ReplyFrame::new(RAIL, "redeem-reply", self.0.id(), o.request.message.context.sender, o.th)
    }

    fn admit(&self, o: &OpenedRedeem, facts: &Facts, now: Timestamp) -> Result<(), Refusal> {
        let m = &o.request.message;
        let redeemer = self.0.participant(facts, m.context.sender)?;
        if !o.request.is_by(&redeemer) {
            return Err(BAD_REQUEST);
        }
        may_act(&redeemer)?;
        check_exp(m.exp, now)?;
        if !redeemer.roles.contains(Roles::REDEEMER) {
            return Err(NOT_ENROLLED);
        }
        if self.0.register(m.coins.total.currency()).is_none() {
            return Err(WRONG_CURRENCY);
        }
        if m.coins.coins.is_empty() || m.coins.coins.len() > self.0.coins_max {
            return Err(WRONG_COIN_COUNT);
        }
        if m.coins.adds_up() { Ok(()) } else { Err(WRONG_DENOMINATIONS) }
    }

    fn record(&self, o: &OpenedRedeem, causes: Vec<BadCoin>, payout: Option<TxId>) -> Transition {
        let mut t = Transition::new(Digest([0; 32]), florin_books::Seq(0));
        t.once = self.needs(o).once;
        t.requires.push(Condition::NotAfter(o.request.message.exp.plus_ms(SKEW_MS)));
        t.seed = StatementSeed { causes, payout, kid: self.0.keys.signing_kid() }.to_bytes();
        t
    }
}
