//! The payer: reads an invoice, sends coins that only the issuer can see, reads the verdict, asks how it stands.
//! Source: VarietyCash §3.2 (1), (2), (4), P3, P4; V2, V4.

use data_encoding::BASE64URL_NOPAD;
use florin_books::{PartyId, Timestamp};
use florin_crypto::{ByteArray, Digest, Entropy, Envelope, Sign1, VerifyKey, Zeroizing, cbor};
use florin_parties::sealed::verify_kid;
use florin_parties::{Certificate, KeyList};
use florin_rail::Context;
use minicbor::{Decode, Encode};

use crate::ask::{AskError, IssuerKey, KeptReply, ReadError, commits_to, keep, kept, read_verdict};
use crate::coin::{BadCoin, CoinSet};
use crate::com::{Com, GOODS_BYTES_MAX, METHOD, PayId};
use crate::issuer::{causes_salt, give_up_mac, payer_frame};
use crate::kinds::RAIL;
use crate::messages::{
    EncC1, Invoice, PayerStatus, PayerVerdict, Receipt, SendCoins, Verdict, envelope_digest,
};

/// The path of a payer's question.
pub const STATUS_PATH: &str = "/v1/coin/payer-status";
/// What the text form of an invoice begins with.
pub const INVOICE_PREFIX: &str = "florininvoice1";

/// Why an invoice is not paid, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvoiceError {
    /// Not an invoice: its shape, another method than coins, a description that is too long, an amount of nothing.
    #[error("not an invoice")]
    Malformed,
    /// Of another operator.
    #[error("the invoice is for another operator's coins")]
    OtherOperator,
    /// The payee's certificate is none.
    #[error("the payee's certificate does not verify")]
    Certificate,
    /// Not signed by the payee that it names.
    #[error("the invoice is not signed by the payee that it names")]
    Signature,
    /// Its deadline has passed.
    #[error("the invoice has expired")]
    Expired,
}

/// An invoice that can be paid.
#[derive(Clone, Debug)]
pub struct ReadInvoice {
    /// What it says.
    pub invoice: Invoice,
    /// Who the payee is.
    pub payee: Certificate,
}

/// The bytes of an invoice in text form.
///
/// # Errors
/// `Malformed`.
pub fn invoice_from_text(text: &str) -> Result<Vec<u8>, InvoiceError> {
    let body = text.trim().strip_prefix(INVOICE_PREFIX).ok_or(InvoiceError::Malformed)?;
    BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| InvoiceError::Malformed)
}

/// Reads an invoice and checks everything in it.
///
/// # Errors
/// [`InvoiceError`], in its order.
pub fn read_invoice(bytes: &[u8], keys: &KeyList, now: Timestamp) -> Result<ReadInvoice, InvoiceError> {
    let signed = Sign1::parse(bytes).map_err(|_| InvoiceError::Malformed)?;
    let invoice: Invoice =
        cbor::decode_strict(signed.payload_unverified()).map_err(|_| InvoiceError::Malformed)?;
    let p_desc = &invoice.p_desc;
    if p_desc.method != METHOD || p_desc.goods.len() > GOODS_BYTES_MAX || p_desc.amount.is_zero() {
        return Err(InvoiceError::Malformed);
    }
    if invoice.issuer != keys.operator {
        return Err(InvoiceError::OtherOperator);
    }
    let payee = Certificate::verify(&invoice.certificate.0, keys).map_err(|_| InvoiceError::Certificate)?;
    let fits = invoice.context == Context::new(RAIL, "invoice", payee.id, PartyId::NONE)
        && signed.kid() == verify_kid(&payee.verify_key);
    if !fits || signed.verify(&payee.verify_key).is_err() {
        return Err(InvoiceError::Signature);
    }
    if now > invoice.deadline {
        return Err(InvoiceError::Expired);
    }
    Ok(ReadInvoice { invoice, payee })
}

impl ReadInvoice {
    /// Com, with the payer's pseudonym for this payment.
    #[must_use]
    pub fn com(&self, payer: PartyId) -> Com {
        Com {
            p_desc: self.invoice.p_desc.clone(),
            tid: self.invoice.tid,
            payer,
            payee: self.payee.id,
            issuer: self.invoice.issuer,
            salt: self.invoice.salt,
            deadline: self.invoice.deadline,
        }
    }
}

/// SendCoins, and what the payer keeps until it knows.
pub struct Paying {
    /// EncC1, for whoever brings it to the payee.
    pub enc_c1: Envelope,
    /// SendCoins whole.
    pub send_coins: Vec<u8>,
    /// What reads the verdict. Secret.
    pub pending: Zeroizing<Vec<u8>>,
    /// The payment.
    pub pay_id: PayId,
}

/// Shape: `[pay_id, H(Com), payer, payee, deadline, EncC1, verdict reply, status reply, salt, give-up MAC]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct KeptPayment {
    #[n(0)]
    pay_id: PayId,
    #[n(1)]
    com: Digest,
    #[n(2)]
    payer: PartyId,
    #[n(3)]
    payee: PartyId,
    #[n(4)]
    deadline: Timestamp,
    #[n(5)]
    enc_c1: Envelope,
    #[n(6)]
    verdict: KeptReply,
    #[n(7)]
    status: KeptReply,
    #[n(8)]
    salt: ByteArray<16>,
    #[n(9)]
    give_up: ByteArray<32>,
}

/// SendCoins: the coins in an envelope for the issuer, bound to Com (V2).
///
/// # Errors
/// [`AskError`].
pub fn send_coins(
    issuer: &IssuerKey,
    com: &Com,
    coins: CoinSet,
    entropy: &mut dyn Entropy,
) -> Result<Paying, AskError> {
    if !coins.adds_up() || coins.total != com.p_desc.amount {
        return Err(AskError::Sum);
    }
    let inside = EncC1 {
        context: Context::new(RAIL, "enc-c1", com.payer, issuer.id),
        payee: com.payee,
        deadline: com.deadline,
        coins,
    };
    let digest = com.digest();
    let plaintext = Zeroizing::new(cbor::encode(&inside));
    let (enc_c1, exporter) = issuer.seal("enc-c1", digest.as_bytes(), &plaintext, entropy)?;
    let reply = |message: &str| {
        let key = payer_frame(message, issuer.id, com.payer, &digest).key(&exporter);
        KeptReply::with_key(&key, message, issuer.id, com.payer, digest)
    };
    let kept = KeptPayment {
        pay_id: com.pay_id(),
        com: digest,
        payer: com.payer,
        payee: com.payee,
        deadline: com.deadline,
        enc_c1: enc_c1.clone(),
        verdict: reply("payer-verdict"),
        status: reply("status"),
        salt: ByteArray(causes_salt(&exporter)),
        give_up: ByteArray(give_up_mac(&exporter, &digest)),
    };
    let send =
        SendCoins { context: Context::new(RAIL, "send-coins", com.payer, com.payee), enc_c1: enc_c1.clone() };
    Ok(Paying { enc_c1, send_coins: cbor::encode(&send), pending: keep(&kept), pay_id: kept.pay_id })
}

/// What the issuer says to the payer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PayerNews {
    /// The verdict.
    pub verdict: Verdict,
    /// As it was signed: proof toward anybody.
    pub signed: Vec<u8>,
    /// Which coins are bad, and why. The payee does not get to see this.
    pub causes: Vec<BadCoin>,
}

/// Reads the payer's part of a verdict, as the payee has passed it on.
///
/// # Errors
/// [`ReadError`].
pub fn read_payer_verdict(pending: &[u8], for_payer: &[u8], keys: &KeyList) -> Result<PayerNews, ReadError> {
    let kept: KeptPayment = kept(pending)?;
    news(&kept, &kept.verdict, for_payer, keys)
}

/// Reads the answer to [`status_request`].
///
/// # Errors
/// [`ReadError`].
pub fn read_status(pending: &[u8], answer: &[u8], keys: &KeyList) -> Result<PayerNews, ReadError> {
    let kept: KeptPayment = kept(pending)?;
    news(&kept, &kept.status, answer, keys)
}

fn news(
    kept: &KeptPayment,
    reply: &KeptReply,
    sealed: &[u8],
    keys: &KeyList,
) -> Result<PayerNews, ReadError> {
    if reply.issuer() != keys.operator {
        return Err(ReadError::Statement);
    }
    let part: PayerVerdict = reply.open(sealed)?;
    let verdict = read_verdict(&part.verdict.0, keys, kept.pay_id, &kept.com)?;
    let about = verdict.enc_c1 == envelope_digest(&kept.enc_c1);
    if !about || part.salt != kept.salt || !commits_to(&verdict, &part.causes, &part.salt.0) {
        return Err(ReadError::Statement);
    }
    Ok(PayerNews { verdict, signed: part.verdict.0, causes: part.causes })
}

/// Asks how the payment stands; `give_up` also asks that it never happens.
///
/// # Errors
/// `Pending`.
pub fn status_request(pending: &[u8], give_up: bool) -> Result<Vec<u8>, ReadError> {
    let kept: KeptPayment = kept(pending)?;
    let request = PayerStatus {
        context: Context::new(RAIL, "payer-status", kept.payer, kept.status.issuer()),
        enc_c1: kept.enc_c1,
        com: kept.com,
        give_up: give_up.then_some(kept.give_up),
    };
    Ok(cbor::encode(&request))
}

/// When a payment can no longer happen.
///
/// # Errors
/// `Pending`.
pub fn deadline(pending: &[u8]) -> Result<Timestamp, ReadError> {
    kept::<KeptPayment>(pending).map(|k| k.deadline)
}

/// Reads a receipt of the payee for this payment.
///
/// # Errors
/// `Pending`; `Statement` where it is not the payee's or about something else.
pub fn read_receipt(pending: &[u8], receipt: &[u8], payee: &VerifyKey) -> Result<Receipt, ReadError> {
    let kept: KeptPayment = kept(pending)?;
    let signed = Sign1::parse(receipt).map_err(|_| ReadError::Statement)?;
    let payload = signed.verify(payee).map_err(|_| ReadError::Statement)?;
    let receipt: Receipt = cbor::decode_strict(payload).map_err(|_| ReadError::Statement)?;
    let context = Context::new(RAIL, "receipt", kept.payee, kept.payer);
    let fits = receipt.context == context && receipt.com == kept.com && signed.kid() == verify_kid(payee);
    if fits { Ok(receipt) } else { Err(ReadError::Statement) }
}
