//! Gathered value: a payee asks how much it is, and has it paid out in one bank order. It got there by payments with
//! aggregation (`payment.rs`) and stands on the payee's account in the books lane, whose floor is the last word.
//! Source: VarietyCash §3 (Payment with aggregation), §3.2 (V-DESC); V3 (only to the enrolled account).

use std::sync::Arc;

use florin_books::{
    Account, BalanceKey, Condition, EffectId, Facts, Needs, PartyId, Record, Rejected, Timestamp, Transition,
    TxId,
};
use florin_crypto::{Bytes, Digest, Exporter, cbor, random};
use florin_money::{Amount, CurrencyCode};
use florin_parties::{KeyId, Participant, ReplyFrame, Roles};
use florin_rail::common::{
    ASK_STATUS, BAD_REQUEST, FAULT, REQUEST_EXPIRED, SKEW_MS, check_exp, withdrawn_proof,
};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName};
use minicbor::{Decode, Encode};

use super::frame::{Unverified, addressed, may_act, read_signed, unseal};
use super::keys::Issuer;
use super::payout::PayOut;
use super::recall;
use crate::aggregate_messages::{
    AggregateBalance, AggregateBalanceReq, AggregateStatement, RedeemAggregateReq,
};
use crate::kinds::{PAY_OUT, RAIL, STEP_REDEEM_AGGREGATE, once};
use crate::refusal::{NOT_ENOUGH_GATHERED, NOT_ENROLLED, WRONG_COIN_COUNT, WRONG_CURRENCY};

/// Gathered value -> a pay-out.
pub struct RedeemAggregateStep(pub Arc<Issuer>);

/// A request about gathered value, opened.
pub struct OpenedAggregate<T> {
    request: Unverified<T>,
    exporter: Exporter,
    th: Digest,
}

/// What the record of a redemption keeps for its reply.
///
/// Shape: `[amount, pay-out, signing key id]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
struct RedeemedSeed {
    #[n(0)]
    amount: Amount,
    #[n(1)]
    payout: TxId,
    #[cbor(n(2), with = "minicbor::bytes")]
    kid: KeyId,
}

impl RedeemedSeed {
    /// The seed; once it has gone, the posting and the order say the same.
    fn recall(record: &Record, issuer: &Issuer, payee: PartyId) -> Result<Self, Refusal> {
        if let Some(seed) = record.seed() {
            return cbor::decode_strict(seed).map_err(|_| ASK_STATUS);
        }
        let posting = record.core.postings.iter().find(|p| p.account == Account::Party(payee));
        let (posting, payout) = posting.zip(recall::payout(record)).ok_or(ASK_STATUS)?;
        let register =
            issuer.registers.iter().find(|r| r.denominations.currency().code() == posting.currency);
        let currency = register.ok_or(ASK_STATUS)?.denominations.currency();
        let amount = Amount::new(posting.delta.unsigned_abs(), currency);
        Ok(Self { amount, payout, kid: issuer.keys.signing_kid() })
    }
}

/// What a payee has gathered, in minor units.
fn gathered(facts: &Facts, payee: PartyId, currency: CurrencyCode) -> u64 {
    facts.balance(Account::Party(payee), currency).min(0).unsigned_abs()
}

impl Step for RedeemAggregateStep {
    type Opened = OpenedAggregate<RedeemAggregateReq>;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "redeem-aggregate" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<Self::Opened, Refusal> {
        let sealed = unseal(&self.0, "redeem-aggregate", body)?;
        let request: Unverified<RedeemAggregateReq> = read_signed(&sealed.plaintext)?;
        addressed(&self.0, &request.message.context, "redeem-aggregate")?;
        Ok(OpenedAggregate { request, exporter: sealed.exporter, th: sealed.th })
    }

    fn needs(&self, o: &Self::Opened) -> Needs {
        let m = &o.request.message;
        Needs {
            documents: vec![Participant::key_of(m.context.sender)],
            once: vec![once(STEP_REDEEM_AGGREGATE, m.context.sender, *m.txid.bytes())],
            ..Needs::default()
        }
    }

    fn balances(&self, o: &Self::Opened) -> Vec<BalanceKey> {
        let m = &o.request.message;
        vec![(Account::Party(m.context.sender), m.currency.code())]
    }

    fn is_authentic(&self, o: &Self::Opened, facts: &Facts) -> bool {
        let payee = self.0.participant(facts, o.request.message.context.sender);
        payee.is_ok_and(|p| o.request.is_by(&p))
    }

    fn decide(&self, o: &Self::Opened, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        let amount = match self.admit(o, facts, moment.now) {
            Ok(amount) => amount,
            Err(refusal) => return Decision::Refuse(refusal),
        };
        let m = &o.request.message;
        let id = TxId::new(random(moment.entropy));
        let mut t = Transition::new(Digest([0; 32]), florin_books::Seq(0));
        t.once = self.needs(o).once;
        t.requires.push(Condition::NotAfter(m.exp.plus_ms(SKEW_MS)));
        t.post(Account::Party(m.context.sender), Account::Pair(self.0.lanes.identity), amount);
        let order = PayOut { id, redeemer: m.context.sender, amount };
        t.emit(EffectId::new(*id.bytes()), PAY_OUT, moment.now, cbor::encode(&order));
        t.seed = cbor::encode(&RedeemedSeed { amount, payout: id, kid: self.0.keys.signing_kid() });
        Decision::Apply(t)
    }

    /// Two at once: the lane's floor lets one of them have it.
    fn decide_refused(&self, _: &Self::Opened, _: &Facts, why: &Rejected, _: &mut Moment<'_>) -> Decision {
        Decision::Refuse(match why {
            Rejected::Balance { .. } => NOT_ENOUGH_GATHERED,
            Rejected::TooLate => REQUEST_EXPIRED,
            _ => FAULT,
        })
    }

    fn withdrawn(&self, o: &Self::Opened) -> Option<florin_crypto::Secret<32>> {
        Some(withdrawn_proof(&self.frame(o).key(&o.exporter)))
    }

    fn reply(&self, o: &Self::Opened, record: &Record) -> Result<Vec<u8>, Refusal> {
        let m = &o.request.message;
        let seed = RedeemedSeed::recall(record, &self.0, m.context.sender)?;
        let statement = AggregateStatement {
            context: Context::new(RAIL, "aggregate-statement", self.0.id(), m.context.sender),
            txid: m.txid,
            amount: seed.amount,
            payout: seed.payout,
            at: record.core.time,
        };
        let signed = self.0.keys.sign(&seed.kid, &cbor::encode(&statement)).ok_or(ASK_STATUS)?;
        let frame = self.frame(o);
        Ok(frame.seal(&frame.key(&o.exporter), &Bytes(signed)))
    }
}

impl RedeemAggregateStep {
    fn frame(&self, o: &<Self as Step>::Opened) -> ReplyFrame {
        ReplyFrame::new(RAIL, "redeem-aggregate-reply", self.0.id(), o.request.message.context.sender, o.th)
    }

    fn admit(
        &self,
        o: &OpenedAggregate<RedeemAggregateReq>,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<Amount, Refusal> {
        let m = &o.request.message;
        let payee = self.0.participant(facts, m.context.sender)?;
        if !o.request.is_by(&payee) {
            return Err(BAD_REQUEST);
        }
        may_act(&payee)?;
        check_exp(m.exp, now)?;
        if !payee.roles.contains(Roles::REDEEMER) {
            return Err(NOT_ENROLLED);
        }
        if self.0.register(m.currency).is_none() {
            return Err(WRONG_CURRENCY);
        }
        if m.minor == Some(0) {
            return Err(WRONG_COIN_COUNT);
        }
        let there = gathered(facts, m.context.sender, m.currency.code());
        let minor = m.minor.unwrap_or(there);
        if minor == 0 || minor > there {
            return Err(NOT_ENOUGH_GATHERED);
        }
        Ok(Amount::new(minor, m.currency))
    }
}

/// How much a payee has gathered. Nothing is recorded.
pub struct AggregateBalanceStep(pub Arc<Issuer>);

impl Step for AggregateBalanceStep {
    type Opened = OpenedAggregate<AggregateBalanceReq>;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "aggregate-balance" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<Self::Opened, Refusal> {
        let sealed = unseal(&self.0, "aggregate-balance", body)?;
        let request: Unverified<AggregateBalanceReq> = read_signed(&sealed.plaintext)?;
        addressed(&self.0, &request.message.context, "aggregate-balance")?;
        Ok(OpenedAggregate { request, exporter: sealed.exporter, th: sealed.th })
    }

    fn needs(&self, o: &Self::Opened) -> Needs {
        Needs { documents: vec![Participant::key_of(o.request.message.context.sender)], ..Needs::default() }
    }

    fn balances(&self, o: &Self::Opened) -> Vec<BalanceKey> {
        let account = Account::Party(o.request.message.context.sender);
        self.0.registers.iter().map(|r| (account, r.denominations.currency().code())).collect()
    }

    fn decide(&self, o: &Self::Opened, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        let m = &o.request.message;
        let admitted = self.0.participant(facts, m.context.sender).and_then(|payee| {
            if !o.request.is_by(&payee) {
                return Err(BAD_REQUEST);
            }
            may_act(&payee)?;
            check_exp(m.exp, moment.now)
        });
        if let Err(refusal) = admitted {
            return Decision::Refuse(refusal);
        }
        let currencies = self.0.registers.iter().map(|r| r.denominations.currency());
        let of = |currency: florin_money::Currency| {
            Amount::new(gathered(facts, m.context.sender, currency.code()), currency)
        };
        let answer = AggregateBalance { at: moment.now, gathered: currencies.map(of).collect() };
        let frame = ReplyFrame::new(RAIL, "aggregate-balance-reply", self.0.id(), m.context.sender, o.th);
        Decision::Answer(frame.seal(&frame.key(&o.exporter), &answer))
    }

    fn decide_refused(&self, _: &Self::Opened, _: &Facts, _: &Rejected, _: &mut Moment<'_>) -> Decision {
        Decision::Refuse(FAULT)
    }

    fn reply(&self, _: &Self::Opened, _: &Record) -> Result<Vec<u8>, Refusal> {
        Err(ASK_STATUS)
    }
}
