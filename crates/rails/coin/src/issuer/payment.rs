//! Payment: ValidationReq in, Issuance1 out; with refresh, with immediate redemption or with aggregation.
//! Source: VarietyCash §3.2 (2)-(3.1), P1-P4, V-DESC; V2-V5.

use std::sync::Arc;

use florin_books::{
    Account, Condition, EffectId, Facts, Needs, Record, Rejected, Timestamp, TokenNumber, Transition, TxId,
};
use florin_crypto::{ByteArray, Bytes, Digest, Exporter, cbor, random};
use florin_parties::{Participant, ReplyFrame, Roles};
use florin_rail::common::{BAD_REQUEST, FAULT};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName};
use minicbor::Encode;

use super::frame::{Unverified, addressed, check_deadline, may_act, read, read_signed, unseal};
use super::holders::HolderList;
use super::keys::{Checked, Issuer};
use super::payout::PayOut;
use super::recall::Asked;
use super::verdict::{PaymentSeed, causes_salt, for_payer};
use crate::choice::HolderChoice;
use crate::coin::{BadCoin, COINS_ISSUED_MAX, CoinCause};
use crate::com::pay_id;
use crate::epoch::Purpose;
use crate::kinds::{self, RAIL, STEP_PAYMENT, STEP_VALIDATION, once};
use crate::messages::{EncC1, Issuance1, Outcome, VOption, ValidationReq, envelope_digest};
use crate::refusal::{
    NOT_ENROLLED, PAYMENT_DENIED, PAYMENT_EXPIRED, WRONG_COIN_COUNT, WRONG_CURRENCY, WRONG_DENOMINATIONS,
};

/// ValidationReq -> Issuance1.
pub struct PaymentStep(pub Arc<Issuer>);

/// A ValidationReq, opened; EncC1 too, where it could be.
pub struct OpenedPayment {
    request: Unverified<ValidationReq>,
    exporter: Exporter,
    th: Digest,
    enc_c1: Digest,
    coins: Option<OpenedCoins>,
}

pub(super) struct OpenedCoins {
    inside: EncC1,
    exporter: Exporter,
    checked: Checked,
}

impl OpenedPayment {
    /// Bad coins, then the amount, then yes; whether the coins are live, only the lane knows.
    pub(super) fn outcome(&self, coins: &OpenedCoins) -> Outcome {
        if !coins.checked.bad.is_empty() {
            Outcome::Denied
        } else if coins.inside.coins.total != self.request.message.v_desc.amount {
            Outcome::AmountMismatch
        } else {
            Outcome::Paid
        }
    }

    /// The coins' numbers, where the envelope is for the payee that asks: of another's coins it learns nothing.
    pub(super) fn tokens(&self) -> Vec<TokenNumber> {
        let asks = self.request.message.context.sender;
        let own = self.coins.as_ref().filter(|coins| coins.inside.payee == asks);
        own.map(|coins| coins.checked.numbers.clone()).unwrap_or_default()
    }

    pub(super) fn asked(&self) -> Asked {
        let m = &self.request.message;
        Asked { payee: m.context.sender, com: m.com, enc_c1: Some(self.enc_c1) }
    }

    /// Seals a reply to the payee that asks.
    pub(super) fn seal<B: Encode<()> + Clone>(&self, issuer: &Issuer, message: &str, body: &B) -> Vec<u8> {
        let payee = self.request.message.context.sender;
        let frame = ReplyFrame::new(RAIL, message, issuer.id(), payee, self.th);
        frame.seal(&frame.key(&self.exporter), body)
    }
}

impl Step for PaymentStep {
    type Opened = OpenedPayment;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "validation-req" }
    }

    fn open(&self, body: &[u8], now: Timestamp) -> Result<OpenedPayment, Refusal> {
        self.open_as("validation-req", body, now)
    }

    fn transcript(&self, o: &OpenedPayment) -> Option<Digest> {
        Some(o.th)
    }

    fn needs(&self, o: &OpenedPayment) -> Needs {
        let m = &o.request.message;
        let (payee, id) = (m.context.sender, pay_id(&m.com));
        let mut keys =
            vec![once(STEP_VALIDATION, payee, *m.tid.bytes()), once(STEP_PAYMENT, payee, *id.bytes())];
        // Only for the payee that the envelope names: to others it says nothing, not even that it was used.
        if o.coins.as_ref().is_some_and(|c| c.inside.payee == payee) {
            keys.push(kinds::envelope_once(&o.enc_c1));
        }
        let mut documents = vec![Participant::key_of(payee), kinds::acknowledged(payee, id)];
        documents.extend(o.request.message.v_desc.holder.document());
        Needs { documents, once: keys, ..Needs::default() }
    }

    fn is_authentic(&self, o: &OpenedPayment, facts: &Facts) -> bool {
        let payee = self.0.participant(facts, o.request.message.context.sender);
        payee.is_ok_and(|p| o.request.is_by(&p))
    }

    fn decide(&self, o: &OpenedPayment, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        match self.admit(o, facts, moment.now) {
            Err(refusal) => Decision::Refuse(refusal),
            Ok(coins) => self.judge(o, coins, facts, moment),
        }
    }

    fn decide_refused(&self, o: &OpenedPayment, _: &Facts, why: &Rejected, _: &mut Moment<'_>) -> Decision {
        match why {
            Rejected::NotLive { tokens } => {
                let causes = tokens.iter().filter_map(|i| {
                    Some(BadCoin { index: u32::try_from(*i).ok()?, cause: CoinCause::Spent })
                });
                Decision::Deny(self.deny(o, Outcome::Denied, causes.collect()))
            }
            Rejected::TooLate => Decision::Refuse(PAYMENT_EXPIRED),
            _ => Decision::Refuse(FAULT),
        }
    }

    fn reply(&self, o: &OpenedPayment, record: &Record) -> Result<Vec<u8>, Refusal> {
        let seed = PaymentSeed::recall(record, &self.0, &o.asked())?.about(o.enc_c1);
        let coins = o.coins.as_ref().ok_or(PAYMENT_DENIED)?;
        let salt = causes_salt(&coins.exporter);
        let verdict = seed.sign(&self.0, record.core.time, &salt)?;
        let payer = coins.inside.context.sender;
        let part = for_payer(&seed, &verdict, "payer-verdict", self.0.id(), payer, &coins.exporter, salt);
        let answer = Issuance1 {
            verdict: Bytes(verdict),
            for_payer: Bytes(part),
            k_i: ByteArray(self.0.k_i(seed.payee, seed.pay_id)),
            coins: self.0.mint(&record.core.created)?,
            payout: seed.payout,
        };
        Ok(o.seal(&self.0, "issuance1", &answer))
    }

    /// The same envelope under a new reply key, until acknowledged (V3); or a payment that was voided.
    fn may_reissue(&self, o: &OpenedPayment, record: &Record, facts: &Facts) -> bool {
        let Ok(seed) = PaymentSeed::recall(record, &self.0, &o.asked()) else { return false };
        let m = &o.request.message;
        let its = seed.com == m.com && seed.payee == m.context.sender;
        let same = seed.tid == m.tid && seed.enc_c1 == o.enc_c1;
        let open = facts.document(&kinds::acknowledged(seed.payee, seed.pay_id)).is_none();
        its && (seed.outcome == Outcome::Never || (same && open))
    }
}

impl PaymentStep {
    /// Opens a message of the shape of ValidationReq.
    pub(super) fn open_as(
        &self,
        message: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<OpenedPayment, Refusal> {
        let sealed = unseal(&self.0, message, body)?;
        let request: Unverified<ValidationReq> = read_signed(&sealed.plaintext)?;
        addressed(&self.0, &request.message.context, message)?;
        let enc_c1 = envelope_digest(&request.message.enc_c1);
        let coins = self.open_coins(&request.message, now)?;
        Ok(OpenedPayment { request, exporter: sealed.exporter, th: sealed.th, enc_c1, coins })
    }

    /// Opens EncC1; `None` where it is for another key, of another Com, or not what it should be.
    fn open_coins(&self, m: &ValidationReq, now: Timestamp) -> Result<Option<OpenedCoins>, Refusal> {
        let opened = self.0.keys.open(RAIL, "enc-c1", m.com.as_bytes(), &m.enc_c1);
        let Ok((plaintext, exporter)) = opened else { return Ok(None) };
        let Ok(inside) = read::<EncC1>(&plaintext) else { return Ok(None) };
        if inside.context != Context::new(RAIL, "enc-c1", m.payer, self.0.id()) {
            return Ok(None);
        }
        let checked = self.0.check(&inside.coins, now, Purpose::Pay)?;
        Ok(Some(OpenedCoins { inside, exporter, checked }))
    }

    /// What does not depend on the coins' worth: nothing of it is recorded.
    pub(super) fn admit<'o>(
        &self,
        o: &'o OpenedPayment,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<&'o OpenedCoins, Refusal> {
        let m = &o.request.message;
        let payee = self.0.participant(facts, m.context.sender)?;
        if !o.request.is_by(&payee) {
            return Err(BAD_REQUEST);
        }
        may_act(&payee)?;
        holder_fits(m)?;
        check_deadline(m.deadline, now)?;
        let amount = m.v_desc.amount;
        let register = self.0.register(amount.currency()).ok_or(WRONG_CURRENCY)?;
        let list = &m.v_desc.list;
        match m.v_desc.option {
            VOption::Refresh => {
                let fits = register.denominations.contains_all(list) && list.total_minor() == amount.minor();
                if !fits {
                    return Err(WRONG_DENOMINATIONS);
                }
                if list.is_empty() || list.count() > COINS_ISSUED_MAX {
                    return Err(WRONG_COIN_COUNT);
                }
            }
            VOption::Redeem | VOption::Aggregate => {
                if !list.is_empty() {
                    return Err(WRONG_DENOMINATIONS);
                }
                if amount.is_zero() {
                    return Err(WRONG_COIN_COUNT);
                }
                if !payee.roles.contains(Roles::REDEEMER) {
                    return Err(NOT_ENROLLED);
                }
            }
        }
        let coins = o.coins.as_ref().ok_or(PAYMENT_DENIED)?;
        let inside = &coins.inside;
        let meant =
            inside.payee == m.context.sender && inside.deadline == m.deadline && inside.coins.adds_up();
        let count = inside.coins.coins.len();
        if !meant
            || count == 0
            || count > self.0.coins_max
            || inside.coins.total.currency() != amount.currency()
        {
            return Err(PAYMENT_DENIED);
        }
        Ok(coins)
    }

    fn judge(
        &self,
        o: &OpenedPayment,
        coins: &OpenedCoins,
        facts: &Facts,
        moment: &mut Moment<'_>,
    ) -> Decision {
        let m = &o.request.message;
        let outcome = o.outcome(coins);
        if outcome != Outcome::Paid {
            return Decision::Deny(self.deny(o, outcome, coins.checked.bad.clone()));
        }
        let payout = (m.v_desc.option == VOption::Redeem).then(|| TxId::new(random(moment.entropy)));
        let mut t = self.record(o, Outcome::Paid, Vec::new(), payout);
        t.requires.push(Condition::NotAfter(m.deadline));
        t.consumes.clone_from(&coins.checked.numbers);
        let currency = m.v_desc.amount.currency();
        let Some(creates) = self.0.issue(&m.v_desc.list, currency, moment.now) else {
            return Decision::Refuse(WRONG_DENOMINATIONS);
        };
        t.creates = creates;
        let Some(register) = self.0.register(currency) else { return Decision::Refuse(WRONG_CURRENCY) };
        if m.v_desc.option == VOption::Aggregate {
            t.post(Account::Register(register.id), Account::Party(m.context.sender), m.v_desc.amount);
        }
        if let Some(id) = payout {
            let pair = Account::Pair(self.0.lanes.identity);
            t.post(Account::Register(register.id), pair, m.v_desc.amount);
            let order = PayOut { id, redeemer: m.context.sender, amount: m.v_desc.amount };
            t.emit(EffectId::new(*id.bytes()), kinds::PAY_OUT, moment.now, cbor::encode(&order));
        }
        match HolderList::enlist(&mut t, &self.0, facts, &m.v_desc.holder, moment.now) {
            Ok(()) => Decision::Apply(t),
            Err(refusal) => Decision::Refuse(refusal),
        }
    }

    fn deny(&self, o: &OpenedPayment, outcome: Outcome, causes: Vec<BadCoin>) -> Transition {
        let mut t = self.record(o, outcome, causes, None);
        t.requires.push(Condition::NotAfter(o.request.message.deadline));
        t
    }

    /// What every verdict records: it takes the payment's three once keys, so that it stays what it is.
    fn record(
        &self,
        o: &OpenedPayment,
        outcome: Outcome,
        causes: Vec<BadCoin>,
        payout: Option<TxId>,
    ) -> Transition {
        let m = &o.request.message;
        let paid = o.coins.as_ref().map(|c| c.inside.coins.total);
        let seed = PaymentSeed {
            pay_id: pay_id(&m.com),
            com: m.com,
            enc_c1: o.enc_c1,
            tid: m.tid,
            payee: m.context.sender,
            outcome,
            claimed: Some(m.v_desc.amount),
            paid: if outcome == Outcome::Denied { None } else { paid },
            causes,
            payout,
            kid: self.0.keys.signing_kid(),
        };
        let mut t = Transition::new(Digest([0; 32]), florin_books::Seq(0));
        t.once = self.needs(o).once;
        t.seed = cbor::encode(&seed);
        t
    }
}

/// Whose the new coins may be: the payee signs, so it names nobody else; money has no holder.
fn holder_fits(m: &ValidationReq) -> Result<(), Refusal> {
    let fits = match m.v_desc.holder {
        HolderChoice::Nobody => true,
        HolderChoice::Named(id) => m.v_desc.option == VOption::Refresh && id == m.context.sender,
        HolderChoice::Key(_) => m.v_desc.option == VOption::Refresh,
    };
    if fits { Ok(()) } else { Err(BAD_REQUEST) }
}
