//! What the gate asks of a till: ways to pay for a rule, and what became of a payment.
//! Source: web.md §2.1, §4 (4, 5, 8); architecture.md, "Never unknown".

use std::future::Future;
use std::pin::Pin;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rules::Rule;
use crate::x402::{PaymentPayload, SettleResponse};

/// What becomes of the coins of a payment: the three options of V-DESC. Source: VarietyCash §3.2.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Settle {
    /// New coins for the purse.
    #[default]
    #[n(0)]
    Refresh,
    /// Money on the enrolled account, one bank order for each payment.
    #[n(1)]
    Redeem,
    /// Value gathered at the operator, to be redeemed later in one bank order.
    #[n(2)]
    Aggregate,
}

impl Settle {
    /// The word in the settings.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Redeem => "redeem",
            Self::Aggregate => "aggregate",
        }
    }
}

/// A paying request, as far as the payment is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Paying<'a> {
    /// The rule that prices it.
    pub rule: &'a Rule,
    /// Its method.
    pub method: &'a str,
    /// Its URL, as the payer sees it.
    pub resource: &'a str,
    /// What it pays with.
    pub payment: &'a PaymentPayload,
}

/// What became of a payment.
#[derive(Clone, PartialEq, Debug)]
pub enum Settlement {
    /// Paid, now or before: the service is called.
    Paid(Served),
    /// Definitely not paid, and this payload never will be.
    Denied(SettleResponse),
    /// Not known yet: the same payload again.
    Open {
        /// Not before so many seconds.
        retry_after_s: u32,
    },
    /// Not a payment for this: as if unpaid. An x402 code.
    NotPaying(&'static str),
    /// Paid and served, longer ago than it is served again.
    AlreadyUsed,
    /// The payment's id was used with another content.
    IdReused,
    /// The gate's own books or keys failed; nothing was sent.
    Fault,
}

/// How a payment stands before the service is called, where that comes first (flow `authorization`).
#[derive(Clone, PartialEq, Debug)]
pub enum Standing {
    /// The operator would have it go through now. No promise. The order's id.
    Good([u8; 16]),
    /// It was presented before, or would not go through: what [`Till::settle`] says is the answer. The order's id.
    Settle([u8; 16]),
    /// The service is not called, and this is the answer.
    Not(Box<Settlement>),
}

/// A settled payment whose service is to be called.
#[derive(Clone, PartialEq, Debug)]
pub struct Served {
    /// What goes into `PAYMENT-RESPONSE`.
    pub response: SettleResponse,
    /// The order, for [`Till::served`].
    pub order: [u8; 16],
}

/// A future settlement.
pub type Settling<'a> = Pin<Box<dyn Future<Output = Settlement> + Send + 'a>>;

/// A future standing.
pub type Checking<'a> = Pin<Box<dyn Future<Output = Standing> + Send + 'a>>;

/// A future without a result.
pub type Noting<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Who takes payments for the gate.
pub trait Till: Send + Sync {
    /// The ways to pay for a rule: the same for every request, and signed.
    fn accepts(&self, rule: &Rule) -> Vec<Value>;

    /// Asks how a payment stands; nothing is recorded by it, here or at the operator.
    fn standing<'a>(&'a self, paying: Paying<'a>) -> Checking<'a>;

    /// Settles: before the service is called, or after it has answered. The same payment is settled once.
    fn settle<'a>(&'a self, paying: Paying<'a>) -> Settling<'a>;

    /// The service has answered a request that is not safe to repeat: it is not served again.
    fn served(&self, order: [u8; 16]) -> Noting<'_>;
}
