//! The till for coins: checks what is presented, has the operator validate it, and remembers what became of it.
//! Source: VarietyCash §3.2 (Figure 7); web.md, "Florin's profile" and §4 (1, 4, 5, 7); issue, slice 5.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use florin_books::{ExchangeId, Needs, Timestamp, Transition};
use florin_coin::messages::Outcome as Verdict;
use florin_coin::web::{self, WebPayment};
use florin_coin::{Com, TidPy};
use florin_crypto::digest;
use florin_rail::common::SKEW_MS;
use florin_shell::house::ActError;
use serde_json::Value;

use crate::desk::{Desk, Member};
use crate::offer::{self, CoinPayload, Presentation};
use crate::order::{Order, OrderState, Presented};
use crate::rules::Rule;
use crate::settle::{Noting, Paying, Served, Settle, Settlement, Settling, Till};
use crate::x402::{FlorinExtension, SettleResponse};
use florin_shell::jcs::jcs;

/// How a till works.
#[derive(Clone, Copy, Debug)]
pub struct TillSettings {
    /// `maxTimeoutSeconds`: how far ahead a payment's deadline may lie.
    pub max_timeout_s: u64,
    /// How long a request waits for the operator.
    pub patience: Duration,
    /// How long after settlement the same payment gets the page again.
    pub replay_window_ms: u64,
}

impl Default for TillSettings {
    fn default() -> Self {
        Self { max_timeout_s: 60, patience: Duration::from_secs(10), replay_window_ms: 10 * 60 * 1000 }
    }
}

/// The till for coins.
pub struct CoinTill {
    desk: Desk,
    member: Member,
    settings: TillSettings,
}

/// What is presented, checked against the offer.
struct Checked {
    tid: TidPy,
    payload: florin_crypto::Digest,
    com: Com,
    presentation: Presentation,
}

impl CoinTill {
    /// The till of a registered gate.
    #[must_use]
    pub const fn new(desk: Desk, member: Member, settings: TillSettings) -> Self {
        Self { desk, member, settings }
    }

    /// Reads a payment and binds it to this request. Errors are x402 codes; such a request counts as unpaid.
    fn check(&self, paying: &Paying<'_>) -> Result<Checked, &'static str> {
        let payment = paying.payment;
        let offer = offer::entry(&self.member, paying.rule, self.settings.max_timeout_s);
        if offer.as_ref() != Some(&payment.accepted) {
            return Err("invalid_payment_requirements");
        }
        let amount = paying.rule.price.ok_or("invalid_payment_requirements")?;
        let presentation = CoinPayload::read(&payment.payload).ok_or("invalid_payload")?;
        let accepted = jcs(&payment.accepted).map_err(|_| "invalid_payload")?;
        let payload = jcs(&payment.payload).map_err(|_| "invalid_payload")?;
        let web = WebPayment {
            accepted_jcs: &accepted,
            method: paying.method,
            resource: paying.resource,
            r: presentation.r,
        };
        let party = &self.member.party;
        let com = web
            .com(amount, presentation.payer, party.id(), party.list.operator, presentation.deadline)
            .ok_or("invalid_payload")?;
        let payload = digest("florin/v1/gate/payload", &[&payload]);
        Ok(Checked { tid: com.tid, payload, com, presentation })
    }

    async fn settled(&self, paying: &Paying<'_>) -> Result<Settlement, ActError> {
        let checked = match self.check(paying) {
            Ok(checked) => checked,
            Err(code) => return Ok(Settlement::NotPaying(code)),
        };
        let order = match self.order(checked.tid)? {
            Some(order) => order,
            None => match self.begin(&checked, paying.rule.settle.unwrap_or_default()).await? {
                Ok(order) => order,
                Err(settlement) => return Ok(settlement),
            },
        };
        if order.payload != checked.payload || order.com != checked.com.digest() {
            return Ok(Settlement::IdReused);
        }
        let order = self.follow(order).await?;
        Ok(self.outcome(&order))
    }

    fn order(&self, tid: TidPy) -> Result<Option<Order>, ActError> {
        Ok(self.desk.document(Order::key_of(tid))?.and_then(|bytes| Order::read(&bytes)))
    }

    /// Persists the order and its ValidationReq in one transition, before the first byte leaves.
    async fn begin(&self, checked: &Checked, settle: Settle) -> Result<Result<Order, Settlement>, ActError> {
        let now = self.desk.now();
        let Presentation { payer, deadline, enc_c1, .. } = &checked.presentation;
        let latest = now.plus_ms(self.settings.max_timeout_s.saturating_mul(1000)).plus_ms(SKEW_MS);
        if *deadline <= now || *deadline > latest {
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
            state: OrderState::Open(Presented { enc_c1: enc_c1.clone(), deadline: *deadline }),
            settle,
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
        if let Some(x) = self.desk.under_way(order.exchange)? {
            self.desk.run(&x, self.settings.patience).await?;
        }
        let order = self.order(order.tid)?.unwrap_or(order);
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

    fn outcome(&self, order: &Order) -> Settlement {
        match &order.state {
            OrderState::Open(_) => Settlement::Open { retry_after_s: 2 },
            OrderState::Paid(paid) => {
                let over = self.desk.now().since(paid.at) > self.settings.replay_window_ms;
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
                let verdict = Some(BASE64URL_NOPAD.encode(&denied.for_payer.0));
                let mut response = self.response(order, FlorinExtension { receipt: None, verdict });
                let reason = match denied.outcome {
                    Verdict::AmountMismatch => "invalid_florin_amount_mismatch",
                    Verdict::Never => "florin_expired",
                    Verdict::Denied | Verdict::Paid => "florin_payment_denied",
                };
                response.error_reason = Some(reason.to_owned());
                Settlement::Denied(response)
            }
            OrderState::Refused(refused) => {
                let mut response = self.response(order, FlorinExtension::default());
                let reason = match refused.slug.as_str() {
                    "payment-expired" | "request-expired" => "florin_expired",
                    "payment-denied" => "florin_payment_denied",
                    _ => "unexpected_settle_error",
                };
                response.error_reason = Some(reason.to_owned());
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
