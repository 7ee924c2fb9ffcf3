//! The payee: makes an invoice, forwards an envelope that it cannot open, takes the new coins, gives the receipt.
//! Source: VarietyCash §3.2 (1), (3)-(4), P1, P2; V3, V5.

use data_encoding::BASE64URL_NOPAD;
use florin_books::{PartyId, Timestamp, TxId};
use florin_crypto::{ByteArray, Bytes, Digest, Entropy, Envelope, cbor};
use florin_money::{Amount, CoinList};
use florin_parties::sealed::sign;
use florin_parties::{IdentityKeys, KeyList};
use florin_rail::Context;
use minicbor::{Decode, Encode};

use crate::ask::{AskError, IssuerKey, KeptReply, Prepared, ReadError, are_wanted, keep, kept, read_verdict};
use crate::choice::HolderChoice;
use crate::coin::Coin;
use crate::com::{Com, PDesc, TidPy, pay_id};
use crate::issuer::issuance2_mac;
use crate::kinds::RAIL;
use crate::messages::{
    CheckAnswer, Invoice, Issuance1, Issuance2, Outcome, PayeeStatus, Receipt, SendCoins, VDesc, VOption,
    ValidationReq, Verdict, WouldBe, envelope_digest,
};
use crate::payer::INVOICE_PREFIX;

/// The path of ValidationReq.
pub const VALIDATION_PATH: &str = "/v1/coin/validation-req";
/// The path of `check`.
pub const CHECK_PATH: &str = "/v1/coin/check";
/// The path of Issuance2.
pub const ACK_PATH: &str = "/v1/coin/issuance2";
/// The path of a payee's question.
pub const STATUS_PATH: &str = "/v1/coin/payee-status";

/// What an invoice says besides who makes it.
#[derive(Clone, Debug)]
pub struct InvoiceTerms {
    /// The payee's transaction.
    pub tid: TidPy,
    /// What is bought.
    pub p_desc: PDesc,
    /// For Com.
    pub salt: [u8; 16],
    /// For Com.
    pub deadline: Timestamp,
}

/// Makes an invoice: COSE_Sign1 by the payee.
#[must_use]
pub fn invoice(me: &IdentityKeys, certificate: &[u8], issuer: PartyId, terms: &InvoiceTerms) -> Vec<u8> {
    let invoice = Invoice {
        context: Context::new(RAIL, "invoice", me.id(), PartyId::NONE),
        tid: terms.tid,
        p_desc: terms.p_desc.clone(),
        issuer,
        salt: ByteArray(terms.salt),
        deadline: terms.deadline,
        certificate: Bytes(certificate.to_vec()),
    };
    sign(&me.signing, &invoice)
}

/// The text form of an invoice.
#[must_use]
pub fn invoice_text(invoice: &[u8]) -> String {
    format!("{INVOICE_PREFIX}{}", BASE64URL_NOPAD.encode(invoice))
}

/// Reads SendCoins; the payer's pseudonym is its context's sender.
///
/// # Errors
/// `Answer`: it is not SendCoins, or for somebody else.
pub fn read_send_coins(bytes: &[u8], me: PartyId) -> Result<SendCoins, ReadError> {
    let send: SendCoins = cbor::decode_strict(bytes).map_err(|_| ReadError::Answer)?;
    let context = Context::new(RAIL, "send-coins", send.context.sender, me);
    if send.context == context { Ok(send) } else { Err(ReadError::Answer) }
}

/// What a ValidationReq is about.
#[derive(Clone, Debug)]
pub struct Presented {
    /// ID_PA.
    pub payer: PartyId,
    /// TID_PY.
    pub tid: TidPy,
    /// H(Com).
    pub com: Digest,
    /// The deadline of Com.
    pub deadline: Timestamp,
    /// The payer's envelope.
    pub enc_c1: Envelope,
}

impl Presented {
    /// What a payer has presented for a Com.
    #[must_use]
    pub fn of(com: &Com, enc_c1: Envelope) -> Self {
        Self { payer: com.payer, tid: com.tid, com: com.digest(), deadline: com.deadline, enc_c1 }
    }
}

/// Shape: `[reply, payee, payer, tid, H(Com), V-DESC, H(EncC1)]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct KeptValidation {
    #[n(0)]
    reply: KeptReply,
    #[n(1)]
    payee: PartyId,
    #[n(2)]
    payer: PartyId,
    #[n(3)]
    tid: TidPy,
    #[n(4)]
    com: Digest,
    #[n(5)]
    v_desc: VDesc,
    #[n(6)]
    enc_c1: Digest,
}

/// ValidationReq: the payee's wish for the envelope's coins, signed, then sealed.
///
/// # Errors
/// [`AskError`].
pub fn validation_req(
    issuer: &IssuerKey,
    me: &IdentityKeys,
    presented: &Presented,
    v_desc: VDesc,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    let payee = me.id();
    let (body, reply) =
        present(["validation-req", "issuance1"], issuer, me, presented, v_desc.clone(), entropy)?;
    let kept = KeptValidation {
        reply,
        payee,
        payer: presented.payer,
        tid: presented.tid,
        com: presented.com,
        v_desc,
        enc_c1: envelope_digest(&presented.enc_c1),
    };
    Ok(Prepared { path: VALIDATION_PATH, body, pending: keep(&kept), withdrawn: None })
}

/// Signs and seals what a payer has presented; `messages` are the names of the request and of its reply.
fn present(
    messages: [&str; 2],
    issuer: &IssuerKey,
    me: &IdentityKeys,
    presented: &Presented,
    v_desc: VDesc,
    entropy: &mut dyn Entropy,
) -> Result<(Vec<u8>, KeptReply), AskError> {
    let [message, reply] = messages;
    let request = ValidationReq {
        context: Context::new(RAIL, message, me.id(), issuer.id),
        payer: presented.payer,
        tid: presented.tid,
        v_desc,
        com: presented.com,
        deadline: presented.deadline,
        enc_c1: presented.enc_c1.clone(),
    };
    let (envelope, exporter) = issuer.seal(message, &[], &sign(&me.signing, &request), entropy)?;
    let body = cbor::encode(&envelope);
    let reply = KeptReply::new(&exporter, reply, issuer.id, me.id(), &body);
    Ok((body, reply))
}

/// `check`: asks whether ValidationReq would go through right now. Nothing comes of it, so it need not be persisted.
///
/// # Errors
/// [`AskError`].
pub fn check_request(
    issuer: &IssuerKey,
    me: &IdentityKeys,
    presented: &Presented,
    v_desc: VDesc,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    let (body, reply) = present(["check", "check-reply"], issuer, me, presented, v_desc, entropy)?;
    Ok(Prepared { path: CHECK_PATH, body, pending: keep(&reply), withdrawn: None })
}

/// Reads the answer to [`check_request`]; only the issuer has the key that seals it.
///
/// # Errors
/// [`ReadError`].
pub fn read_check(pending: &[u8], answer: &[u8]) -> Result<WouldBe, ReadError> {
    let kept: KeptReply = kept(pending)?;
    let answer: CheckAnswer = kept.open(answer)?;
    Ok(answer.would_be)
}

/// V-DESC for new coins.
///
/// # Errors
/// `Sum`: the list is not worth the amount.
pub fn refresh(amount: Amount, list: CoinList) -> Result<VDesc, AskError> {
    if list.total_minor() == amount.minor() {
        Ok(VDesc { option: VOption::Refresh, amount, list, holder: HolderChoice::Nobody })
    } else {
        Err(AskError::Sum)
    }
}

/// V-DESC for money on the enrolled account.
#[must_use]
pub fn redeem(amount: Amount) -> VDesc {
    VDesc { option: VOption::Redeem, amount, list: CoinList::default(), holder: HolderChoice::Nobody }
}

impl VDesc {
    /// The same, with a holder for the new coins.
    #[must_use]
    pub fn held_by(self, holder: HolderChoice) -> Self {
        Self { holder, ..self }
    }
}

/// V-DESC for value that is gathered at the issuer.
#[must_use]
pub fn aggregate(amount: Amount) -> VDesc {
    VDesc { option: VOption::Aggregate, amount, list: CoinList::default(), holder: HolderChoice::Nobody }
}

/// What the payee learns from Issuance1.
#[derive(Clone)]
pub struct Issuance {
    /// The verdict.
    pub verdict: Verdict,
    /// As it was signed.
    pub signed: Vec<u8>,
    /// For the payer, unreadable here; passed on.
    pub for_payer: Vec<u8>,
    /// The new coins: exactly those asked for.
    pub coins: Vec<Coin>,
    /// The pay-out.
    pub payout: Option<TxId>,
    /// Issuance2, ready to be sent once the coins are in the purse.
    pub issuance2: Vec<u8>,
}

/// Reads Issuance1.
///
/// # Errors
/// [`ReadError`], in its order.
pub fn read_issuance1(pending: &[u8], answer: &[u8], keys: &KeyList) -> Result<Issuance, ReadError> {
    let kept: KeptValidation = kept(pending)?;
    let issuance: Issuance1 = kept.reply.open(answer)?;
    let id = pay_id(&kept.com);
    let verdict = read_verdict(&issuance.verdict.0, keys, id, &kept.com)?;
    let paid = verdict.outcome == Outcome::Paid;
    let about = verdict.enc_c1 == kept.enc_c1;
    if !about
        || verdict.claimed.is_some_and(|c| c != kept.v_desc.amount)
        || (paid && verdict.claimed != verdict.paid)
    {
        return Err(ReadError::Statement);
    }
    // What is gathered brings neither coins nor a pay-out: the list is empty.
    let wants_money = kept.v_desc.option == VOption::Redeem;
    let fits = if paid {
        are_wanted(&issuance.coins, &kept.v_desc.list) && issuance.payout.is_some() == wants_money
    } else {
        issuance.coins.is_empty() && issuance.payout.is_none()
    };
    if !fits {
        return Err(ReadError::Coins);
    }
    let context = Context::new(RAIL, "issuance2", kept.payee, kept.reply.issuer());
    let mac = ByteArray(issuance2_mac(&issuance.k_i.0, &context, kept.tid));
    let issuance2 = cbor::encode(&Issuance2 { context, pay_id: id, tid: kept.tid, mac });
    Ok(Issuance {
        verdict,
        signed: issuance.verdict.0,
        for_payer: issuance.for_payer.0,
        coins: issuance.coins,
        payout: issuance.payout,
        issuance2,
    })
}

/// Receipt: S_PY(H(Com), accepted).
#[must_use]
pub fn receipt(me: &IdentityKeys, payer: PartyId, com: &Digest, at: Timestamp) -> Vec<u8> {
    let context = Context::new(RAIL, "receipt", me.id(), payer);
    sign(&me.signing, &Receipt { context, com: *com, accepted: true, at })
}

/// Shape: `[reply, H(Com)]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct KeptStatus {
    #[n(0)]
    reply: KeptReply,
    #[n(1)]
    com: Digest,
}

/// A payee's question about a payment.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Its transaction.
    pub tid: TidPy,
    /// What was agreed.
    pub com: Digest,
    /// Until when the payment could happen.
    pub deadline: Timestamp,
    /// Whether what has not happened shall not happen any more.
    pub gives_up: bool,
}

/// Asks how a payment stands.
///
/// # Errors
/// [`AskError`].
pub fn status_request(
    issuer: &IssuerKey,
    me: &IdentityKeys,
    question: &Question,
    exp: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Prepared, AskError> {
    let context = Context::new(RAIL, "payee-status", me.id(), issuer.id);
    let Question { tid, com, deadline, gives_up } = *question;
    let request = PayeeStatus { context, tid, com, deadline, gives_up, exp };
    let (envelope, exporter) = issuer.seal("payee-status", &[], &sign(&me.signing, &request), entropy)?;
    let body = cbor::encode(&envelope);
    let reply = KeptReply::new(&exporter, "payee-status-reply", issuer.id, me.id(), &body);
    Ok(Prepared { path: STATUS_PATH, body, pending: keep(&KeptStatus { reply, com }), withdrawn: None })
}

/// Reads the answer to [`status_request`].
///
/// # Errors
/// [`ReadError`].
pub fn read_status(pending: &[u8], answer: &[u8], keys: &KeyList) -> Result<(Verdict, Vec<u8>), ReadError> {
    let kept: KeptStatus = kept(pending)?;
    let signed: Bytes = kept.reply.open(answer)?;
    let verdict = read_verdict(&signed.0, keys, pay_id(&kept.com), &kept.com)?;
    Ok((verdict, signed.0))
}
