//! The messages of Payment, Change, Refresh, Redeem and status. Source: VarietyCash §3, §3.2, Figures 6 and 7; repairs V1-V5.
//! Every message has a test with one element more. No message ends with an optional element: the encoder leaves an absent
//! one out at the end, and a message has one length. Who checks what in which order: docs/rails/coin.md.

use florin_books::{PartyId, Timestamp, TxId};
use florin_crypto::{ByteArray, Bytes, Digest, Envelope, cbor, digest};
use florin_money::{Amount, CoinList};
use florin_rail::Context;
use minicbor::{Decode, Encode};

use crate::choice::HolderChoice;
use crate::coin::{BadCoin, Coin, CoinSet};
use crate::com::{PDesc, PayId, TidPy};

/// Invoice, PY to PA: signed by the payee as COSE_Sign1.
///
/// Shape: `[context, TID_PY, P-DESC, ID_I, salt, deadline, certificate]`; the payer adds ID_PA to make Com.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Invoice {
    /// From ID_PY to anybody.
    #[n(0)]
    pub context: Context,
    /// The payee's transaction.
    #[n(1)]
    pub tid: TidPy,
    /// What is bought.
    #[n(2)]
    pub p_desc: PDesc,
    /// The issuer.
    #[n(3)]
    pub issuer: PartyId,
    /// For Com.
    #[n(4)]
    pub salt: ByteArray<16>,
    /// For Com.
    #[n(5)]
    pub deadline: Timestamp,
    /// CERT_PY.
    #[n(6)]
    pub certificate: Bytes,
}

/// What EncC1 holds: E*_I(ID_PY, Coin_1..Coin_n), with H(Com) as additional data (V2).
///
/// Shape: `[context, ID_PY, deadline, coins]`. The context names ID_PA and ID_I.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct EncC1 {
    /// From ID_PA to ID_I.
    #[n(0)]
    pub context: Context,
    /// Whom the coins are for.
    #[n(1)]
    pub payee: PartyId,
    /// The deadline, as in Com.
    #[n(2)]
    pub deadline: Timestamp,
    /// The coins.
    #[n(3)]
    pub coins: CoinSet,
}

/// SendCoins, PA to PY.
///
/// Shape: `[context, EncC1]`. The context names ID_PA, which the payee needs for Com.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct SendCoins {
    /// From ID_PA to ID_PY.
    #[n(0)]
    pub context: Context,
    /// The envelope that only the issuer can open.
    #[n(1)]
    pub enc_c1: Envelope,
}

/// What the payee wants for the coins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum VOption {
    /// New coins.
    #[n(0)]
    Refresh,
    /// Money on the enrolled account, at once.
    #[n(1)]
    Redeem,
    /// Value gathered at the issuer, to be redeemed later in one bank order.
    #[n(2)]
    Aggregate,
}

/// H(EncC1): the name of an envelope in verdicts and once keys.
#[must_use]
pub fn envelope_digest(enc_c1: &Envelope) -> Digest {
    digest("florin/v1/coin/enc-c1", &[&cbor::encode(enc_c1)])
}

/// V-DESC: which option, the amount, and for refresh the coins wanted.
///
/// Shape: `[option, amount, list, holder]`. It never names an account: redemption goes to ID_PY's enrolled one (V3). The
/// holder is whose the new coins are: the payee itself, a one-time key or nobody; nobody for redeem.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct VDesc {
    /// Which option.
    #[n(0)]
    pub option: VOption,
    /// What the payee claims to be paid.
    #[n(1)]
    pub amount: Amount,
    /// The coins wanted; empty for redeem and aggregate.
    #[n(2)]
    pub list: CoinList,
    /// Who can ask for them again.
    #[n(3)]
    pub holder: HolderChoice,
}

/// ValidationReq, PY to I: signed by the payee (COSE_Sign1), then sealed to the issuer.
///
/// Shape: `[context, ID_PA, TID_PY, V-DESC, H(Com), deadline, EncC1]`. K_PY is the exporter of this envelope (V1).
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct ValidationReq {
    /// From ID_PY to ID_I.
    #[n(0)]
    pub context: Context,
    /// The payer, as the payee claims.
    #[n(1)]
    pub payer: PartyId,
    /// The payee's transaction.
    #[n(2)]
    pub tid: TidPy,
    /// What the payee wants.
    #[n(3)]
    pub v_desc: VDesc,
    /// H(Com).
    #[n(4)]
    pub com: Digest,
    /// The deadline, as in Com; also this request's `exp`.
    #[n(5)]
    pub deadline: Timestamp,
    /// The envelope.
    #[n(6)]
    pub enc_c1: Envelope,
}

/// What the answer to `check` says: what ValidationReq would come to at this moment. It binds nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum WouldBe {
    /// It would be paid.
    #[n(0)]
    Paid,
    /// Some coins are not good; which, and why, only the payer may know.
    #[n(1)]
    Denied,
    /// The coins are worth another amount.
    #[n(2)]
    AmountMismatch,
    /// The payment, its number or its envelope has had its fate; ValidationReq or `payee-status` says which.
    #[n(3)]
    Decided,
}

/// The answer to `check`, I to PY, sealed under the key exported from the request (G8). `check` itself is a ValidationReq
/// whose context says `check`: neither can be taken for the other.
///
/// Shape: `[would be]`.
/// Errors of `check`, in checking order: those of ValidationReq, and nothing of them is recorded either.
/// Source: web.md, "Florin's profile".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct CheckAnswer {
    /// What it would come to.
    #[n(0)]
    pub would_be: WouldBe,
}

/// How a payment stands, for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum Outcome {
    /// Paid.
    #[n(0)]
    Paid,
    /// Denied: some coin is bad; the payer's part of the verdict says which and why.
    #[n(1)]
    Denied,
    /// Denied: claimed and paid amounts differ; the coins are live.
    #[n(2)]
    AmountMismatch,
    /// It never happened and never will.
    #[n(3)]
    Never,
}

/// The verdict that the issuer signs (COSE_Sign1): the same for payer and payee, on paper for ever.
///
/// Shape: `[context, pay_id, H(Com), outcome, claimed, paid, at, causes digest, H(EncC1)]`. `claimed` and `paid` are null
/// for *never*; `paid` is what the coins were worth and is null for *denied*. H(EncC1) is the envelope that the outcome is
/// about; zero where the payee voided the payment without one.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Verdict {
    /// From ID_I to whom it concerns.
    #[n(0)]
    pub context: Context,
    /// The payment.
    #[n(1)]
    pub pay_id: PayId,
    /// What was agreed.
    #[n(2)]
    pub com: Digest,
    /// How it stands.
    #[n(3)]
    pub outcome: Outcome,
    /// What the payee claimed.
    #[n(4)]
    pub claimed: Option<Amount>,
    /// What the coins were worth.
    #[n(5)]
    pub paid: Option<Amount>,
    /// When it was recorded.
    #[n(6)]
    pub at: Timestamp,
    /// H(causes, salt): the payer can show them, nobody can guess them.
    #[n(7)]
    pub causes: Digest,
    /// H(EncC1): which envelope.
    #[n(8)]
    pub enc_c1: Digest,
}

/// The payer's part of a verdict, sealed under a key that only the payer has (V4).
///
/// Shape: `[verdict COSE_Sign1, [bad coin, ...], salt]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PayerVerdict {
    /// The signed verdict.
    #[n(0)]
    pub verdict: Bytes,
    /// Which coins are bad, and why.
    #[n(1)]
    pub causes: Vec<BadCoin>,
    /// For the digest in the verdict.
    #[n(2)]
    pub salt: ByteArray<16>,
}

/// Issuance1, I to PY: EncC2 = e_K(new coins), sealed under the key exported from ValidationReq (G8).
///
/// Shape: `[verdict COSE_Sign1, payer's part, K_I, pay-out, [coin, ...]]`. Without coins where the verdict is no, or where
/// the payee wanted money or gathers; the pay-out is null without.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Issuance1 {
    /// The signed verdict.
    #[n(0)]
    pub verdict: Bytes,
    /// Sealed for the payer; the payee passes it on and cannot read it.
    #[n(1)]
    pub for_payer: Bytes,
    /// The issuer's part of K, for the acknowledgement.
    #[n(2)]
    pub k_i: ByteArray<32>,
    /// The pay-out, for redeem.
    #[n(3)]
    pub payout: Option<TxId>,
    /// The new coins.
    #[n(4)]
    pub coins: Vec<Coin>,
}

/// Issuance2, PY to I: mac_K(ack, TID_PY).
///
/// Shape: `[context, pay_id, TID_PY, mac]`; mac = HMAC(K_I, "florin/v1/coin/issuance2", context, TID_PY). Frees the re-send
/// record.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Issuance2 {
    /// From ID_PY to ID_I.
    #[n(0)]
    pub context: Context,
    /// The payment.
    #[n(1)]
    pub pay_id: PayId,
    /// The payee's transaction.
    #[n(2)]
    pub tid: TidPy,
    /// The MAC.
    #[n(3)]
    pub mac: ByteArray<32>,
}

/// Receipt, PY to PA: signed by the payee (COSE_Sign1): S_PY(H(Com), accepted).
///
/// Shape: `[context, H(Com), accepted, at]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Receipt {
    /// From ID_PY to ID_PA.
    #[n(0)]
    pub context: Context,
    /// What was agreed.
    #[n(1)]
    pub com: Digest,
    /// Whether the payee has accepted the payment.
    #[n(2)]
    pub accepted: bool,
    /// When.
    #[n(3)]
    pub at: Timestamp,
}

/// What goes back from the payee to the payer: the receipt, or the error statement passed on.
///
/// Shape: `[receipt COSE_Sign1 or null, payer's part]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PayeeAnswer {
    /// The receipt, if the payment was accepted.
    #[n(0)]
    pub receipt: Option<Bytes>,
    /// The issuer's verdict for the payer, sealed.
    #[n(1)]
    pub for_payer: Bytes,
}

/// The payer's question about a payment: EncC1 again, as another message. Nothing in it is touched.
///
/// Shape: `[context, EncC1, give up, H(Com)]`; `give up` is null, or a MAC under a key exported from EncC1's context,
/// which asks that the payment never happens even if the deadline has not passed.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PayerStatus {
    /// From ID_PA to ID_I.
    #[n(0)]
    pub context: Context,
    /// The envelope.
    #[n(1)]
    pub enc_c1: Envelope,
    /// Proof that it is the payer who gives up.
    #[n(2)]
    pub give_up: Option<ByteArray<32>>,
    /// Its additional data.
    #[n(3)]
    pub com: Digest,
}

/// The payee's question: signed (COSE_Sign1), then sealed.
///
/// Shape: `[context, TID_PY, H(Com), deadline, gives up, exp]`. A payee that gives up asks that the payment never happens,
/// even if the deadline has not passed: it is the only one who could have it validated.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PayeeStatus {
    /// From ID_PY to ID_I.
    #[n(0)]
    pub context: Context,
    /// The payee's transaction.
    #[n(1)]
    pub tid: TidPy,
    /// What was agreed.
    #[n(2)]
    pub com: Digest,
    /// The deadline of the payment.
    #[n(3)]
    pub deadline: Timestamp,
    /// Whether what has not happened shall not happen any more.
    #[n(4)]
    pub gives_up: bool,
    /// Until when this question may be answered.
    #[n(5)]
    pub exp: Timestamp,
}

/// Change, CH to I: coins for other coins of the same total; sealed, unsigned: whoever has the coins has the right.
///
/// Shape: `[context, coins, list, holder, txid, exp]`. The holder is whose the new coins are. Nobody signs, so anybody can
/// be named: it gives him a claim to coins, which is a gift and never a theft.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ChangeReq {
    /// From nobody named to ID_I.
    #[n(0)]
    pub context: Context,
    /// The coins given.
    #[n(1)]
    pub coins: CoinSet,
    /// The coins wanted.
    #[n(2)]
    pub list: CoinList,
    /// Who can ask for them again.
    #[n(3)]
    pub holder: HolderChoice,
    /// What makes it happen once.
    #[n(4)]
    pub txid: TxId,
    /// Until when.
    #[n(5)]
    pub exp: Timestamp,
}

/// Refresh, CH to I: old coins for new ones of the same values; sealed, unsigned, as Change.
///
/// Shape: `[context, coins, holder, txid, exp]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RefreshReq {
    /// From nobody named to ID_I.
    #[n(0)]
    pub context: Context,
    /// The coins given: they pay, or are in their grace period.
    #[n(1)]
    pub coins: CoinSet,
    /// Who can ask for the new ones again.
    #[n(2)]
    pub holder: HolderChoice,
    /// What makes it happen once.
    #[n(3)]
    pub txid: TxId,
    /// Until when.
    #[n(4)]
    pub exp: Timestamp,
}

/// Redeem, RD to I: signed (COSE_Sign1), then sealed.
///
/// Shape: `[context, coins, txid, exp]`. The money goes to RD's enrolled account.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RedeemReq {
    /// From ID_RD to ID_I.
    #[n(0)]
    pub context: Context,
    /// The coins.
    #[n(1)]
    pub coins: CoinSet,
    /// What makes it happen once.
    #[n(2)]
    pub txid: TxId,
    /// Until when.
    #[n(3)]
    pub exp: Timestamp,
}

/// What the issuer says about coins given for change, refresh or redemption, signed (COSE_Sign1).
///
/// Shape: `[context, txid, [bad coin, ...], at]`. No bad coin means that all were taken.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct CoinStatement {
    /// From ID_I to whoever holds the coins.
    #[n(0)]
    pub context: Context,
    /// The request.
    #[n(1)]
    pub txid: TxId,
    /// Which coins are bad, and why.
    #[n(2)]
    pub causes: Vec<BadCoin>,
    /// When it was recorded.
    #[n(3)]
    pub at: Timestamp,
}

/// The answer to Change, Refresh and Redeem.
///
/// Shape: `[statement COSE_Sign1, pay-out, [coin, ...]]`; the pay-out is null without.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ExchangeAnswer {
    /// The signed statement.
    #[n(0)]
    pub statement: Bytes,
    /// The pay-out, for Redeem.
    #[n(1)]
    pub payout: Option<TxId>,
    /// New coins, for Change and Refresh.
    #[n(2)]
    pub coins: Vec<Coin>,
}
