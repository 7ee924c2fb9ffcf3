//! `Com`: what payer and payee have agreed on, and the ids that follow from it.
//! Source: VarietyCash Figure 7 (Com = P-DESC, TID_PY, ID_PA, ID_PY, ID_I); V2 (salt and deadline, pay_id).

use florin_books::{Id, IdKind, PartyId, Timestamp};
use florin_crypto::{ByteArray, Digest, cbor, digest};
use florin_money::Amount;
use minicbor::{Decode, Encode};

/// Kind of [`PayId`].
pub enum Pay {}
impl IdKind for Pay {
    const PREFIX: &'static str = "pay";
}
/// What both sides ask about: H(label, H(Com))[..16].
pub type PayId = Id<Pay>;

/// Kind of [`TidPy`].
pub enum PayeeTransaction {}
impl IdKind for PayeeTransaction {
    const PREFIX: &'static str = "tid";
}
/// TID_PY: the payee's transaction id.
pub type TidPy = Id<PayeeTransaction>;

/// The payment method of P-DESC.
pub const METHOD: &str = "coin";
/// The longest description of goods, in bytes.
pub const GOODS_BYTES_MAX: usize = 1024;

/// P-DESC: amount, description of goods, payment method.
///
/// Shape: `[amount, goods, method, terms]`; `terms` is a digest of whatever else was agreed (for a web page the offer
/// that the payer accepted), zero if nothing.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PDesc {
    /// How much.
    #[n(0)]
    pub amount: Amount,
    /// What for.
    #[n(1)]
    pub goods: String,
    /// How: `coin`.
    #[n(2)]
    pub method: String,
    /// The digest of further terms.
    #[n(3)]
    pub terms: Digest,
}

/// Com, with the salt that only payer and payee know and the deadline.
///
/// Shape: `[P-DESC, TID_PY, ID_PA, ID_PY, ID_I, salt, deadline]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Com {
    /// What is bought.
    #[n(0)]
    pub p_desc: PDesc,
    /// The payee's transaction.
    #[n(1)]
    pub tid: TidPy,
    /// The payer: a pseudonym for this payment only.
    #[n(2)]
    pub payer: PartyId,
    /// The payee.
    #[n(3)]
    pub payee: PartyId,
    /// The issuer.
    #[n(4)]
    pub issuer: PartyId,
    /// Keeps the issuer from guessing the goods.
    #[n(5)]
    pub salt: ByteArray<16>,
    /// After it the payment can no longer happen.
    #[n(6)]
    pub deadline: Timestamp,
}

impl Com {
    /// H(Com).
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest("florin/v1/coin/com", &[&cbor::encode(self)])
    }

    /// The id of the payment.
    #[must_use]
    pub fn pay_id(&self) -> PayId {
        pay_id(&self.digest())
    }
}

/// The id of the payment with this H(Com).
#[must_use]
pub fn pay_id(com: &Digest) -> PayId {
    PayId::new(digest("florin/v1/coin/pay-id", &[com.as_bytes()]).short())
}
