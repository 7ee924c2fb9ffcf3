//! What the operator's answers change in the gate's books: each in one transition that also ends the exchange.
//! Source: books.md, "Exactly once"; VarietyCash §3.2 (4)-(6); V5 (the acknowledgement only frees the re-send record).

use florin_books::{Account, DocumentKey, ExchangeId, Holding, HoldingChange, Transition};
use florin_coin::messages::Outcome;
use florin_coin::payee::{self, ACK_PATH, Issuance};
use florin_coin::{Coin, HeldCoin, HolderChoice, aggregate, holder};
use florin_crypto::{Bytes, cbor, digest};
use florin_http::ProblemView;
use florin_money::{Amount, Currency};
use florin_parties::asker;
use florin_shell::exchange::{Applier, Exchange, NotAuthentic};
use minicbor::{Decode, Encode};

use crate::desk::{Desk, PaidOut, Redeemer, single};
use crate::kinds::{
    ACKNOWLEDGE, CERTIFICATE, CHANGE, CONFIRM, ENROL, PAID_OUT, REDEEM, REDEEM_AGGREGATE, REDEEMER, REGISTER,
    STATUS, VALIDATION,
};
use crate::order::{Denied, Order, OrderState, Paid};
use crate::question::QUESTION_MS;
use crate::settle::Settle;

/// Applies answers.
pub(crate) struct GateApplier {
    pub(crate) desk: Desk,
}

/// What a Change or Redeem remembers: the coins given, in the order of the reserved holdings.
///
/// Shape: `[total, [value, ...]]`. Units: minor units of the total's currency.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Given {
    #[n(0)]
    pub(crate) total: Amount,
    #[n(1)]
    pub(crate) values: Vec<u64>,
}

impl Applier for GateApplier {
    fn answered(&self, x: &Exchange, answer: &[u8], t: &mut Transition) -> Result<(), NotAuthentic> {
        match x.kind {
            VALIDATION => self.issuance(x, answer, t),
            STATUS => self.told(x, answer, t),
            ACKNOWLEDGE => {
                x.release(t);
                Ok(())
            }
            CHANGE | REDEEM => self.exchanged(x, answer, t),
            REDEEM_AGGREGATE => self.redeemed(x, answer, t),
            REGISTER => {
                let read = asker::read_register(&x.pending, answer, &self.desk.party.list)
                    .map_err(|_| NotAuthentic)?;
                x.release(t);
                t.write(single(CERTIFICATE), cbor::encode(&Bytes(read.bytes)));
                Ok(())
            }
            ENROL => {
                let sent = asker::read_enrol(&x.pending, answer).map_err(|_| NotAuthentic)?;
                let account = String::from_utf8(x.note.clone()).map_err(|_| NotAuthentic)?;
                let redeemer = Redeemer { account, expires: sent.expires, enrolled: false };
                x.release(t);
                t.write(single(REDEEMER), cbor::encode(&redeemer));
                Ok(())
            }
            CONFIRM => {
                let outcome = asker::read_confirm(&x.pending, answer).map_err(|_| NotAuthentic)?;
                x.release(t);
                if let (florin_parties::ConfirmOutcome::Enrolled(_), Ok(mut redeemer)) =
                    (outcome, cbor::decode_strict::<Redeemer>(&x.note))
                {
                    redeemer.enrolled = true;
                    t.write(single(REDEEMER), cbor::encode(&redeemer));
                }
                Ok(())
            }
            _ => Err(NotAuthentic),
        }
    }

    fn refused(&self, x: &Exchange, problem: &ProblemView, t: &mut Transition) {
        match (x.kind, problem.slug.as_deref()) {
            (VALIDATION, _) => self.doubted(x, problem, t),
            // A new one only where the old one's time is over by this gate's clock, too: otherwise clocks differ.
            (STATUS, Some("request-expired")) if self.desk.now() > x.since.plus_ms(QUESTION_MS) => {
                self.doubted(x, problem, t);
            }
            // It stays as it is and is asked again: only a signed answer ends a payment.
            (STATUS, _) => {}
            _ => x.release(t),
        }
    }
}

impl GateApplier {
    /// Issuance1: coins into the purse or value gathered, the order decided, the acknowledgement begun.
    fn issuance(&self, x: &Exchange, answer: &[u8], t: &mut Transition) -> Result<(), NotAuthentic> {
        let list = &self.desk.party.list;
        let issuance = payee::read_issuance1(&x.pending, answer, list).map_err(|_| NotAuthentic)?;
        let order = Order::read(&x.note).ok_or(NotAuthentic)?;
        let at = self.desk.now();
        x.release(t);
        let state = match issuance.verdict.outcome {
            Outcome::Paid => {
                match order.settle {
                    Settle::Refresh => self.take(&issuance.coins, order.amount, t)?,
                    Settle::Redeem => {
                        let paid = PaidOut { amount: order.amount, at, payout: issuance.payout };
                        t.write(DocumentKey::new(PAID_OUT, *x.id.bytes()), cbor::encode(&paid));
                    }
                    Settle::Aggregate => {
                        t.post(Account::Due(self.desk.party.list.operator), Account::World, order.amount);
                    }
                }
                self.acknowledgement(x, &issuance, at).begin(t);
                let me = &self.desk.party.identity;
                let receipt = payee::receipt(me, order.payer, &order.com, issuance.verdict.at);
                OrderState::Paid(Paid {
                    at,
                    receipt: Bytes(receipt),
                    verdict: Bytes(issuance.signed),
                    for_payer: Bytes(issuance.for_payer),
                    served: false,
                })
            }
            outcome @ (Outcome::Denied | Outcome::AmountMismatch | Outcome::Never) => {
                OrderState::Denied(Denied {
                    at,
                    outcome,
                    verdict: Bytes(issuance.signed),
                    for_payer: Some(Bytes(issuance.for_payer)),
                    refused: None,
                })
            }
        };
        t.write(Order::key_of(order.tid), order.with(state).to_bytes());
        Ok(())
    }

    /// Issuance2, under an id that follows from the exchange that it acknowledges.
    fn acknowledgement(&self, x: &Exchange, issuance: &Issuance, now: florin_books::Timestamp) -> Exchange {
        Exchange {
            id: acknowledgement_id(x.id),
            kind: ACKNOWLEDGE,
            to: ACK_PATH.to_owned(),
            body: issuance.issuance2.clone(),
            pending: Vec::new(),
            reserved: Vec::new(),
            note: Vec::new(),
            since: now,
            withdrawn: None,
        }
    }

    /// Gathered value is on its way to the bank: it is due no more.
    fn redeemed(&self, x: &Exchange, answer: &[u8], t: &mut Transition) -> Result<(), NotAuthentic> {
        let operator = self.desk.party.list.operator;
        let news =
            aggregate::read_redeemed(&x.pending, answer, &self.desk.party.list).map_err(|_| NotAuthentic)?;
        let (due, code) = (Account::Due(operator), news.amount.currency().code());
        // Books that were set back may know of less than was there; what they know of is gone all the same.
        let known =
            self.desk.house.books.view(move |lane| lane.balance(due, code)).map_err(|_| NotAuthentic)?;
        let known = Amount::new(u64::try_from(known).unwrap_or(0), news.amount.currency());
        let gone = if known.minor() < news.amount.minor() { known } else { news.amount };
        x.release(t);
        t.post(Account::World, due, gone);
        let paid = PaidOut { amount: news.amount, at: self.desk.now(), payout: Some(news.payout) };
        t.write(DocumentKey::new(PAID_OUT, *news.payout.bytes()), cbor::encode(&paid));
        Ok(())
    }

    /// Coins into the purse, and their value into the books.
    fn take(&self, coins: &[Coin], amount: Amount, t: &mut Transition) -> Result<(), NotAuthentic> {
        self.add(coins, amount.currency(), t);
        let operator = self.desk.party.list.operator;
        let sum =
            Amount::sum(coins.iter().map(|c| Amount::new(c.value, amount.currency())), amount.currency());
        if sum != Ok(amount) {
            return Err(NotAuthentic);
        }
        t.post(Account::Holdings(operator), Account::World, amount);
        Ok(())
    }

    fn add(&self, coins: &[Coin], currency: Currency, t: &mut Transition) {
        t.holdings.extend(coins.iter().map(|coin| {
            let worth = Amount::new(coin.value, currency);
            let held = HeldCoin { worth, coin: coin.clone(), holder: HolderChoice::Nobody };
            HoldingChange::Add(Holding {
                id: coin.holding_id(),
                issuer: self.desk.party.list.operator,
                value: worth,
                expires: coin.expires,
                token: held.to_bytes(),
            })
        }));
    }

    /// Change or Redeem: the old coins leave, new ones or a pay-out come; bad ones are written off, the rest stays.
    fn exchanged(&self, x: &Exchange, answer: &[u8], t: &mut Transition) -> Result<(), NotAuthentic> {
        let list = &self.desk.party.list;
        let news = holder::read_exchange(&x.pending, answer, list).map_err(|_| NotAuthentic)?;
        let given: Given = cbor::decode_strict(&x.note).map_err(|_| NotAuthentic)?;
        let holdings = Account::Holdings(list.operator);
        if !news.causes.is_empty() {
            t.remove(x.key());
            let mut lost: u64 = 0;
            for (i, (id, value)) in (0_u32..).zip(x.reserved.iter().zip(&given.values)) {
                // One that was revoked or has expired stays: it is exchanged, or redeemed.
                if news.causes.iter().any(|bad| bad.index == i && bad.cause.is_final()) {
                    t.holdings.push(HoldingChange::Remove(*id, x.id));
                    lost = lost.saturating_add(*value);
                } else {
                    t.holdings.push(HoldingChange::Release(*id, x.id));
                }
            }
            t.post(Account::Expense, holdings, Amount::new(lost, given.total.currency()));
            return Ok(());
        }
        x.spend(t);
        if x.kind == CHANGE {
            self.add(&news.coins, given.total.currency(), t);
        } else {
            t.post(Account::World, holdings, given.total);
            let paid = PaidOut { amount: given.total, at: self.desk.now(), payout: news.payout };
            t.write(DocumentKey::new(PAID_OUT, *x.id.bytes()), cbor::encode(&paid));
        }
        Ok(())
    }
}

/// The id of the acknowledgement that follows a ValidationReq.
pub(crate) fn acknowledgement_id(validation: ExchangeId) -> ExchangeId {
    ExchangeId::new(digest("florin/v1/gate/acknowledge", &[validation.bytes()]).short())
}
