//! What became of a payment that the operator would not judge. Nobody signs a refusal, so it ends nothing: the gate gives the
//! payment up, and the signed answer says whether it had been paid before. Source: architecture.md, "Never unknown"; ADR 0033.

use florin_books::{ExchangeId, Transition};
use florin_coin::IssuerKey;
use florin_coin::messages::Outcome;
use florin_coin::payee::{self, Question};
use florin_crypto::{Bytes, random};
use florin_http::ProblemView;
use florin_shell::exchange::{Exchange, NotAuthentic};

use crate::apply::GateApplier;
use crate::desk::Desk;
use crate::kinds::STATUS;
use crate::order::{Denied, Order, OrderState, Presented};

/// A question may be answered for so long; after that another one is made.
pub(crate) const QUESTION_MS: u64 = 60 * 60 * 1000;

impl Desk {
    /// The payee's question about an open order, as an exchange; its note is the order.
    pub(crate) fn question(&self, order: &Order) -> Option<Exchange> {
        let OrderState::Open(presented) = &order.state else { return None };
        let issuer = IssuerKey::of(&self.party.list, self.now())?;
        let (tid, com, deadline) = (order.tid, order.com, presented.deadline);
        let question = Question { tid, com, deadline, gives_up: true };
        // Short of the most there is: a gate whose clock is ahead is answered all the same.
        let exp = self.now().plus_ms(QUESTION_MS);
        let mut entropy = (self.house.entropy)();
        let me = &self.party.identity;
        let prepared = payee::status_request(&issuer, me, &question, exp, &mut *entropy).ok()?;
        let id = ExchangeId::new(random(&mut *entropy));
        Some(Exchange {
            id,
            kind: STATUS,
            to: prepared.path.to_owned(),
            body: prepared.body,
            pending: prepared.pending.to_vec(),
            reserved: Vec::new(),
            note: Order { exchange: id, ..order.clone() }.to_bytes(),
            since: self.now(),
            withdrawn: prepared.withdrawn,
        })
    }
}

impl GateApplier {
    /// ValidationReq was refused, or the question came too late: the order stays open and is asked about. Where there is no
    /// key to ask with now, nothing changes and the same bytes are sent again.
    pub(crate) fn doubted(&self, x: &Exchange, problem: &ProblemView, t: &mut Transition) {
        let Some(order) = Order::read(&x.note) else { return x.release(t) };
        let OrderState::Open(presented) = &order.state else { return x.release(t) };
        let refused = presented.refused.clone().or_else(|| problem.slug.clone());
        let doubted = order.with(OrderState::Open(Presented { refused, ..presented.clone() }));
        if let Some(next) = self.desk.question(&doubted) {
            x.release(t);
            follow(&doubted, &next, t);
        }
    }

    /// The signed answer: it never happens now, or it had been paid and what was issued for it is asked for again (V3).
    pub(crate) fn told(&self, x: &Exchange, answer: &[u8], t: &mut Transition) -> Result<(), NotAuthentic> {
        let desk = &self.desk;
        let (verdict, signed) =
            payee::read_status(&x.pending, answer, &desk.party.list).map_err(|_| NotAuthentic)?;
        let order = Order::read(&x.note).ok_or(NotAuthentic)?;
        let OrderState::Open(presented) = &order.state else { return Err(NotAuthentic) };
        if verdict.outcome == Outcome::Paid {
            let again = desk.validation(&order, presented.deadline, &presented.enc_c1).ok_or(NotAuthentic)?;
            x.release(t);
            follow(&order, &again, t);
            return Ok(());
        }
        let denied = Denied {
            at: desk.now(),
            outcome: verdict.outcome,
            verdict: Bytes(signed),
            for_payer: None,
            refused: presented.refused.clone(),
        };
        x.release(t);
        t.write(Order::key_of(order.tid), order.with(OrderState::Denied(denied)).to_bytes());
        Ok(())
    }
}

/// Another exchange goes on with an order.
fn follow(order: &Order, next: &Exchange, t: &mut Transition) {
    next.begin(t);
    t.write(Order::key_of(order.tid), Order { exchange: next.id, ..order.clone() }.to_bytes());
}
