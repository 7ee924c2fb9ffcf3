//! What is presented, bound to what it pays for; and the operator's word on whether it would go through now.
//! Source: web.md, "Florin's profile" (TID_PY, Com; `check`); VarietyCash §3.2 (2), (3).

use florin_books::{ExchangeId, Timestamp};
use florin_coin::messages::WouldBe;
use florin_coin::payee;
use florin_coin::web::WebPayment;
use florin_coin::{Com, IssuerKey, Prepared, TidPy};
use florin_crypto::{Digest, digest};
use florin_money::Amount;
use florin_rail::common::SKEW_MS;
use florin_shell::exchange::{Delivered, Exchange};
use florin_shell::jcs::jcs;
use serde_json::Value;
use tokio::time::{Duration, Instant};

use crate::desk::Member;
use crate::offer::{CoinPayload, Presentation};
use crate::order::Order;
use crate::settle::Settle;
use crate::till::CoinTill;

/// What a payment is for.
#[derive(Clone, Copy)]
pub(crate) struct Bought<'a> {
    /// The price.
    pub(crate) amount: Amount,
    /// The request's method.
    pub(crate) method: &'a str,
    /// Its URL, as the payer sees it.
    pub(crate) resource: &'a str,
    /// How far ahead the deadline may lie.
    pub(crate) max_timeout_s: u64,
    /// What becomes of the coins.
    pub(crate) settle: Settle,
}

/// What is presented.
pub(crate) struct Claim {
    pub(crate) tid: TidPy,
    pub(crate) payload: Digest,
    pub(crate) com: Com,
    pub(crate) presentation: Presentation,
    pub(crate) settle: Settle,
    max_timeout_s: u64,
}

/// What the operator says to `check`.
pub(crate) enum Would {
    /// What it would come to.
    Be(WouldBe),
    /// It would be refused: the slug.
    Refused(String),
    /// There was no answer.
    Unknown,
}

impl Claim {
    /// Reads the scheme's own object and binds it. Errors are x402 codes.
    pub(crate) fn of(
        member: &Member,
        accepted: &Value,
        payload: &Value,
        bought: &Bought<'_>,
    ) -> Result<Self, &'static str> {
        let presentation = CoinPayload::read(payload).ok_or("invalid_payload")?;
        let accepted = jcs(accepted).map_err(|_| "invalid_payload")?;
        let payload = jcs(payload).map_err(|_| "invalid_payload")?;
        let web = WebPayment {
            accepted_jcs: &accepted,
            method: bought.method,
            resource: bought.resource,
            r: presentation.r,
        };
        let party = &member.party;
        let com = web
            .com(bought.amount, presentation.payer, party.id(), party.list.operator, presentation.deadline)
            .ok_or("invalid_payload")?;
        let payload = digest("florin/v1/gate/payload", &[&payload]);
        Ok(Self {
            tid: com.tid,
            payload,
            com,
            presentation,
            settle: bought.settle,
            max_timeout_s: bought.max_timeout_s,
        })
    }

    /// Whether an order is this very payment.
    pub(crate) fn is_of(&self, order: &Order) -> bool {
        order.payload == self.payload && order.com == self.com.digest()
    }

    /// Whether its deadline lies where it may.
    pub(crate) fn is_timely(&self, now: Timestamp) -> bool {
        let latest = now.plus_ms(self.max_timeout_s.saturating_mul(1000)).plus_ms(SKEW_MS);
        let deadline = self.presentation.deadline;
        deadline > now && deadline <= latest
    }
}

impl CoinTill {
    /// Asks the operator. Nothing is recorded on either side, so nothing is persisted here.
    pub(crate) async fn would_be(&self, claim: &Claim) -> Would {
        let Some(asked) = self.check_request(claim) else {
            tracing::error!("the operator's key list has no key to seal to now");
            return Would::Unknown;
        };
        let x = Exchange {
            id: ExchangeId::NONE,
            kind: 0,
            to: asked.path.to_owned(),
            body: asked.body,
            pending: asked.pending.to_vec(),
            reserved: Vec::new(),
            note: Vec::new(),
            since: self.desk().now(),
            withdrawn: None,
        };
        let until = Instant::now().checked_add(self.patience());
        let mut pause = Duration::from_millis(50);
        loop {
            match self.desk().transport.send(&x, "").await {
                Delivered::Answer(answer) => {
                    if let Ok(would_be) = payee::read_check(&x.pending, &answer) {
                        return Would::Be(would_be);
                    }
                }
                Delivered::Refused(problem) => return Would::Refused(problem.slug.unwrap_or_default()),
                Delivered::Later { .. } => {}
            }
            if until.is_none_or(|end| Instant::now().checked_add(pause).is_none_or(|next| next > end)) {
                return Would::Unknown;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(Duration::from_secs(1));
        }
    }

    fn check_request(&self, claim: &Claim) -> Option<Prepared> {
        let party = &self.member().party;
        let amount = claim.com.p_desc.amount;
        let issuer = IssuerKey::of(&party.list, self.desk().now())?;
        let v_desc = self.desk().v_desc(claim.settle, amount)?;
        let presented = payee::Presented {
            payer: claim.presentation.payer,
            tid: claim.tid,
            com: claim.com.digest(),
            deadline: claim.presentation.deadline,
            enc_c1: claim.presentation.enc_c1.clone(),
        };
        let mut entropy = (self.desk().house.entropy)();
        payee::check_request(&issuer, &party.identity, &presented, v_desc, &mut *entropy).ok()
    }
}
