//! An order: one payment for one request, from the moment it is presented. Source: VarietyCash §3.2 (3)-(6); web.md §4 (4).

use florin_books::{DocumentKey, ExchangeId, PartyId, Timestamp};
use florin_coin::messages::Outcome;
use florin_coin::{TidPy, pay_id};
use florin_crypto::{Bytes, Digest, Envelope, cbor};
use florin_money::Amount;
use minicbor::{Decode, Encode};

use crate::kinds::ORDER;
use crate::settle::Settle;

/// An order, in the gate's books.
///
/// Shape: `[TID_PY, H(payload), H(Com), ID_PA, amount, goods, since, exchange, state, settle]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Order {
    /// The gate's transaction.
    #[n(0)]
    pub tid: TidPy,
    /// The digest of the payload: the same id with another payload is another payment.
    #[n(1)]
    pub payload: Digest,
    /// What was agreed.
    #[n(2)]
    pub com: Digest,
    /// The payer's pseudonym for this payment.
    #[n(3)]
    pub payer: PartyId,
    /// The price.
    #[n(4)]
    pub amount: Amount,
    /// Method and URL.
    #[n(5)]
    pub goods: String,
    /// When it was presented.
    #[n(6)]
    pub since: Timestamp,
    /// The exchange that has it paid.
    #[n(7)]
    pub exchange: ExchangeId,
    /// How it stands.
    #[n(8)]
    pub state: OrderState,
    /// What becomes of its coins: the same in every repetition.
    #[n(9)]
    pub settle: Settle,
}

/// How an order stands.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum OrderState {
    /// The operator has not answered yet.
    #[n(0)]
    Open(#[n(0)] Presented),
    /// Paid; what it brought is in the books.
    #[n(1)]
    Paid(#[n(0)] Paid),
    /// A recorded no of the operator.
    #[n(2)]
    Denied(#[n(0)] Denied),
}

/// What is needed to present it again.
///
/// Shape: `[EncC1, deadline, refused]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Presented {
    /// The payer's envelope.
    #[n(0)]
    pub enc_c1: Envelope,
    /// The deadline of Com.
    #[n(1)]
    pub deadline: Timestamp,
    /// The slug with which the operator would not judge it. Nobody signs a refusal: what became of the payment is asked.
    #[n(2)]
    pub refused: Option<String>,
}

/// A payment that happened.
///
/// Shape: `[at, receipt, verdict, for payer, served]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Paid {
    /// When the gate had it in its books.
    #[n(0)]
    pub at: Timestamp,
    /// The gate's receipt.
    #[n(1)]
    pub receipt: Bytes,
    /// The operator's verdict, signed.
    #[n(2)]
    pub verdict: Bytes,
    /// The payer's part of it, sealed.
    #[n(3)]
    pub for_payer: Bytes,
    /// A request that may change something was answered: not again.
    #[n(4)]
    pub served: bool,
}

/// A payment that was denied.
///
/// Shape: `[at, outcome, verdict, for payer, refused]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Denied {
    /// When the gate had it in its books.
    #[n(0)]
    pub at: Timestamp,
    /// What the operator said.
    #[n(1)]
    pub outcome: Outcome,
    /// The operator's verdict, signed.
    #[n(2)]
    pub verdict: Bytes,
    /// The payer's part of it, sealed; none where the operator would not judge it and the gate gave the payment up.
    #[n(3)]
    pub for_payer: Option<Bytes>,
    /// The slug with which the operator would not judge it.
    #[n(4)]
    pub refused: Option<String>,
}

impl Denied {
    /// The code of x402.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match (self.outcome, self.refused.as_deref()) {
            (Outcome::AmountMismatch, _) => "invalid_florin_amount_mismatch",
            (Outcome::Never, None | Some("payment-expired" | "request-expired")) => "florin_expired",
            (Outcome::Denied | Outcome::Paid, _) | (Outcome::Never, Some("payment-denied")) => {
                "florin_payment_denied"
            }
            (Outcome::Never, Some(_)) => "unexpected_settle_error",
        }
    }
}

impl Order {
    /// The document of an order.
    #[must_use]
    pub const fn key_of(tid: TidPy) -> DocumentKey {
        DocumentKey::new(ORDER, *tid.bytes())
    }

    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }

    /// For the document.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// The same in another state.
    #[must_use]
    pub fn with(&self, state: OrderState) -> Self {
        Self { state, ..self.clone() }
    }

    /// The id that payer, gate and operator ask about.
    #[must_use]
    pub fn pay_id(&self) -> florin_coin::PayId {
        pay_id(&self.com)
    }
}
