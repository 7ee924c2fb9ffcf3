//! The till for coins: checks what is presented, has the operator validate it, and remembers what became of it.
//! Source: VarietyCash §3.2 (Figure 7); web.md, "Florin's profile" and §4 (1, 4, 5, 7); issue, slice 5.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use florin_books::{ExchangeId, Needs, Timestamp, Transition};
use florin_coin::TidPy;
use florin_coin::messages::WouldBe;
use florin_coin::web;
use florin_crypto::digest;
use florin_shell::exchange::Outcome;
use florin_shell::house::ActError;
use serde_json::Value;

use crate::claim::{Bought, Claim, Would};
use crate::desk::{Desk, Member};
use crate::offer::{self, Presentation};
use crate::order::{Order, OrderState, Presented};
use crate::rules::Rule;
use crate::settle::{Checking, Noting, Paying, Served, Settle, Settlement, Settling, Standing, Till};
use crate::x402::{FlorinExtension, SettleResponse};

/// ValidationReq, the question that follows a refusal, and ValidationReq again.
const EXCHANGES_AT_ONCE: usize = 3;

/// How a till works.
#[derive(Clone, Copy, Debug)]
pub struct TillSettings {
    /// `maxTimeoutSeconds`: how far ahead a payment's deadline may lie.
    pub max_timeout_s: u64,
    /// How long a request waits for the operator.
    pub patience: Duration,
    /// How long after settlement the same payment gets the page again.
    pub replay_window_ms: u64,
    /// What becomes of the coins where no rule says so: at the facilitator.
    pub settle: Settle,
}

impl Default for TillSettings {
    fn default() -> Self {
        Self {
            max_timeout_s: 60,
            patience: Duration::from_secs(10),
            replay_window_ms: 10 * 60 * 1000,
            settle: Settle::default(),
        }
    }
}

/// The till for coins.
pub struct CoinTill {
    desk: Desk,
    member: Member,
    settings: TillSettings,
}

impl CoinTill {
    /// The till of a registered gate.
    #[must_use]
    pub const fn new(desk: Desk, member: Member, settings: TillSettings) -> Self {
        Self { desk, member, settings }
    }

    pub(crate) const fn desk(&self) -> &Desk {
        &self.desk
    }

    pub(crate) const fn member(&self) -> &Member {
        &self.member
    }

    pub(crate) const fn patience(&self) -> Duration {
        self.settings.patience
    }

    /// Reads a payment and binds it to this request. Errors are x402 codes; such a request counts as unpaid.
    fn claim(&self, paying: &Paying<'_>) -> Result<Claim, &'static str> {
        let payment = paying.payment;
        let max_timeout_s = self.settings.max_timeout_s;
        let offer = offer::entry(&self.member, paying.rule, max_timeout_s);
        if offer.as_ref() != Some(&payment.accepted) {
            return Err("invalid_payment_requirements");
        }
        let amount = paying.rule.price.ok_or("invalid_payment_requirements")?;
        let bought = Bought {
            amount,
            method: paying.method,
            resource: paying.resource,
            max_timeout_s,
            settle: paying.rule.settle.unwrap_or_default(),
        };
        Claim::of(&self.member, &payment.accepted, &payment.payload, &bought)
    }

    async fn settled(&self, paying: &Paying<'_>) -> Result<Settlement, ActError> {
        let claim = match self.claim(paying) {
            Ok(claim) => claim,
            Err(code) => return Ok(Settlement::NotPaying(code)),
        };
        let order = self.order_of(&claim).await?;
        Ok(order.map_or_else(|settlement| settlement, |o| self.outcome(&o, self.settings.replay_window_ms)))
    }

    async fn stands(&self, paying: &Paying<'_>) -> Result<Standing, ActError> {
        let claim = match self.claim(paying) {
            Ok(claim) => claim,
            Err(code) => return Ok(Standing::Not(Box::new(Settlement::NotPaying(code)))),
        };
        let order = *claim.tid.bytes();
        if let Some(known) = self.order(claim.tid)? {
            let same = claim.is_of(&known);
            return Ok(if same {
                Standing::Settle(order)
            } else {
                Standing::Not(Box::new(Settlement::IdReused))
            });
        }
        if !claim.is_timely(self.desk.now()) {
            return Ok(Standing::Not(Box::new(Settlement::NotPaying("florin_expired"))));
        }
        Ok(match self.would_be(&claim).await {
            Would::Be(WouldBe::Paid) => Standing::Good(order),
            // Its verdict tells the payer which coins are bad, or was given long ago.
            Would::Be(_) | Would::Refused(_) => Standing::Settle(order),
            Would::Unknown => Standing::Not(Box::new(Settlement::Open { retry_after_s: 2 })),
        })
    }

    /// The order of a claim: the one that is there, or a new one, followed as long as a request waits.
    pub(crate) async fn order_of(&self, claim: &Claim) -> Result<Result<Order, Settlement>, ActError> {
        let order = match self.order(claim.tid)? {
            Some(order) => order,
            None => match self.begin(claim).await? {
                Ok(order) => order,
                Err(settlement) => return Ok(Err(settlement)),
            },
        };
        if !claim.is_of(&order) {
            return Ok(Err(Settlement::IdReused));
        }
        Ok(Ok(self.follow(order).await?))
    }

    pub(crate) fn order(&self, tid: TidPy) -> Result<Option<Order>, ActError> {
        Ok(self.desk.document(Order::key_of(tid))?.and_then(|bytes| Order::read(&bytes)))
    }

    /// Persists the order and its ValidationReq in one transition, before the first byte leaves.
    async fn begin(&self, checked: &Claim) -> Result<Result<Order, Settlement>, ActError> {
        let now = self.desk.now();
        let Presentation { payer, deadline, enc_c1, .. } = &checked.presentation;
        if !checked.is_timely(now) {
            return Ok(Err(Settlement::NotPaying("florin_expired")));
        }
        let order = Order {
            tid: checked.tid,
            payload: checked.payload,
            com: checked.com.digest(),
            payer: *payer,
            amount: checked.com.p_desc.amount,
            goods: checked.com.p_desc.goods.clone(),
            since: now,
            exchange: ExchangeId::NONE,
            state: OrderState::Open(Presented { enc_c1: enc_c1.clone(), deadline: *deadline, refused: None }),
            settle: checked.settle,
        };
        let Some(x) = self.desk.validation(&order, *deadline, enc_c1) else {
            tracing::error!("the operator's key list has no key to seal to now");
            return Ok(Err(Settlement::Fault));
        };
        let order = Order { exchange: x.id, ..order };
        let key = Order::key_of(order.tid);
        let needs = Needs { documents: vec![key], ..Needs::default() };
        let cause = digest("florin/v1/gate/order", &[order.tid.bytes()]);
        let mut found = None;
        self.desk
            .house
            .act(&needs, |facts, _| {
                // The same payment may come twice at once; the first of them makes the order.
                found = facts.document(&key).and_then(Order::read);
                if found.is_some() {
                    return None;
                }
                let mut t = Transition::new(cause, facts.as_of);
                x.begin(&mut t);
                t.write(key, order.to_bytes());
                Some(t)
            })
            .await?;
        Ok(Ok(found.unwrap_or(order)))
    }

    /// Waits for the operator while the order is open.
    async fn follow(&self, order: Order) -> Result<Order, ActError> {
        if !matches!(order.state, OrderState::Open(_)) {
            return Ok(order);
        }
        let mut order = order;
        for _ in 0..EXCHANGES_AT_ONCE {
            // Where it is not under way any more somebody else has gone on with the order meanwhile.
            let waits = match self.desk.under_way(order.exchange)? {
                Some(x) => matches!(self.desk.run(&x, self.settings.patience).await?, Outcome::Open { .. }),
                None => false,
            };
            order = self.order(order.tid)?.unwrap_or(order);
            if waits || !matches!(order.state, OrderState::Open(_)) {
                break;
            }
        }
        if matches!(order.state, OrderState::Paid(_)) {
            self.acknowledge(&order);
        }
        Ok(order)
    }

    /// Sends Issuance2 without anybody waiting for it; it stays in the books until it is answered.
    fn acknowledge(&self, order: &Order) {
        let (desk, patience) = (self.desk.clone(), self.settings.patience);
        let id = crate::apply::acknowledgement_id(order.exchange);
        tokio::spawn(async move {
            let sent = match desk.under_way(id) {
                Ok(Some(x)) => desk.run(&x, patience).await.map(|_| ()),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                tracing::warn!(%error, "an acknowledgement is still to be sent");
            }
        });
    }

    /// What becomes of coins where no rule says so.
    pub(crate) const fn settle_default(&self) -> Settle {
        self.settings.settle
    }

    /// What an order comes to; a paid one is good for the same answer so long.
    pub(crate) fn outcome(&self, order: &Order, window_ms: u64) -> Settlement {
        match &order.state {
            OrderState::Open(_) => Settlement::Open { retry_after_s: 2 },
            OrderState::Paid(paid) => {
                let over = self.desk.now().since(paid.at) > window_ms;
                if paid.served || over {
                    return Settlement::AlreadyUsed;
                }
                let extension = FlorinExtension {
                    receipt: Some(BASE64URL_NOPAD.encode(&paid.receipt.0)),
                    verdict: Some(BASE64URL_NOPAD.encode(&paid.for_payer.0)),
                };
                let mut response = self.response(order, extension);
                response.success = true;
                response.transaction = order.pay_id().to_string();
                Settlement::Paid(Served { response, order: *order.tid.bytes() })
            }
            OrderState::Denied(denied) => {
                let verdict = denied.for_payer.as_ref().map(|part| BASE64URL_NOPAD.encode(&part.0));
                let mut response = self.response(order, FlorinExtension { receipt: None, verdict });
                response.error_reason = Some(denied.code().to_owned());
                Settlement::Denied(response)
            }
        }
    }

    fn response(&self, order: &Order, extension: FlorinExtension) -> SettleResponse {
        let extension = serde_json::to_value(extension).unwrap_or_default();
        SettleResponse {
            success: false,
            transaction: String::new(),
            network: web::network(self.member.party.list.operator),
            error_reason: None,
            error_message: None,
            payer: Some(order.payer.to_string()),
            amount: Some(order.amount.minor().to_string()),
            extensions: Some(serde_json::json!({ "florin": extension })),
            extra: None,
        }
    }

    async fn mark_served(&self, tid: TidPy) -> Result<(), ActError> {
        let key = Order::key_of(tid);
        let needs = Needs { documents: vec![key], ..Needs::default() };
        let cause = digest("florin/v1/gate/served", &[tid.bytes()]);
        self.desk
            .house
            .act(&needs, |facts, _| {
                let order = facts.document(&key).and_then(Order::read)?;
                let OrderState::Paid(paid) = &order.state else { return None };
                let mut paid = paid.clone();
                paid.served = true;
                let mut t = Transition::new(cause, facts.as_of);
                t.write(key, order.with(OrderState::Paid(paid)).to_bytes());
                Some(t)
            })
            .await
            .map(|_| ())
    }
}

impl Till for CoinTill {
    fn accepts(&self, rule: &Rule) -> Vec<Value> {
        offer::entry(&self.member, rule, self.settings.max_timeout_s).into_iter().collect()
    }

    fn standing<'a>(&'a self, paying: Paying<'a>) -> Checking<'a> {
        Box::pin(async move {
            match self.stands(&paying).await {
                Ok(standing) => standing,
                Err(error) => {
                    tracing::error!(%error, "the gate's books failed");
                    Standing::Not(Box::new(Settlement::Open { retry_after_s: 5 }))
                }
            }
        })
    }

    fn settle<'a>(&'a self, paying: Paying<'a>) -> Settling<'a> {
        Box::pin(async move {
            match self.settled(&paying).await {
                Ok(settlement) => settlement,
                // Stopped books may or may not have taken it: the same payload finds out, after the next start.
                Err(error) => {
                    tracing::error!(%error, "the gate's books failed");
                    Settlement::Open { retry_after_s: 5 }
                }
            }
        })
    }

    fn served(&self, order: [u8; 16]) -> Noting<'_> {
        Box::pin(async move {
            if let Err(error) = self.mark_served(TidPy::new(order)).await {
                tracing::error!(%error, "an order could not be marked as served");
            }
        })
    }
}

/// Sends again, until stopped, what has waited for longer than a request does.
pub async fn keep_asking(desk: Desk, patience: Duration, stop: florin_http::Stop) {
    let wait_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    while !stop.is_triggered() && !desk.house.books.is_failed() {
        let until: Timestamp = desk.now().minus_ms(wait_ms);
        if let Err(error) = desk.resume(until, Duration::ZERO).await {
            tracing::warn!(%error, "what is under way could not be resumed");
        }
        tokio::select! {
            () = stop.stopped() => return,
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
}
