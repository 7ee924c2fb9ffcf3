//! `receipt`: what proves a payment, verified again and in a form that others can check.
//! Source: VarietyCash §3.2 (4) (Receipt: S_PY(H(Com), accepted)), P2; V4 (the verdict is proof toward anybody).

use std::fmt;

use florin_coin::ask::read_verdict;
use florin_coin::kinds::RAIL;
use florin_coin::messages::{Outcome, Receipt};
use florin_crypto::{Sign1, cbor};
use florin_parties::sealed::verify_kid;
use florin_parties::{Certificate, KeyList};
use florin_rail::Context;
use serde::Serialize;

use crate::documents::{End, Item, Kind};
use crate::history::HistoryEntry;
use crate::refusal::WalletError;
use crate::report::{base64url, utc};
use crate::wallet::Wallet;

/// The shortest beginning of an id that is taken for it.
const ID_CHARS_MIN: usize = 8;

/// What proves that something happened, or that it did not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ReceiptReport {
    /// What it is about.
    #[serde(flatten)]
    pub entry: HistoryEntry,
    /// H(Com) in hexadecimal digits: what both signatures are over.
    pub com_digest: Option<String>,
    /// What was agreed, as CBOR in base64url: payer and payee alone know it.
    #[serde(serialize_with = "base64url")]
    pub com: Option<Vec<u8>>,
    /// The payee's certificate, a COSE_Sign1 of the operator in base64url.
    #[serde(serialize_with = "base64url")]
    pub certificate: Option<Vec<u8>>,
    /// The payee's receipt, a COSE_Sign1 in base64url.
    #[serde(serialize_with = "base64url")]
    pub payee_receipt: Option<Vec<u8>>,
    /// When the payee signed it, in RFC 3339.
    pub payee_receipt_at: Option<String>,
    /// What the operator signed, a COSE_Sign1 in base64url: a verdict, a refusal, or a statement about coins.
    #[serde(serialize_with = "base64url")]
    pub operator_statement: Option<Vec<u8>>,
    /// The operator's name.
    pub operator: String,
}

impl fmt::Display for ReceiptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.fmt(f)?;
        match (&self.payee_receipt, &self.payee_receipt_at) {
            (Some(_), Some(at)) => writeln!(f, "the payee's receipt of {at} verifies")?,
            _ => writeln!(f, "there is no receipt of a payee")?,
        }
        if self.operator_statement.is_some() {
            writeln!(f, "what {} signed about it verifies", self.operator)?;
        }
        if let Some(com) = &self.com_digest {
            writeln!(f, "both are over H(Com) = {com}")?;
        }
        writeln!(f, "--json gives the signed bytes")
    }
}

impl Wallet {
    /// The proofs of one entry of the history; each is verified again. The id may be shortened.
    ///
    /// # Errors
    /// `NoSuchId`, `NotProven`, those of the books.
    pub fn receipt(&self, id: &str) -> Result<ReceiptReport, WalletError> {
        let none = || WalletError::NoSuchId { id: id.to_owned() };
        if id.len() < ID_CHARS_MIN {
            return Err(none());
        }
        let mut found = self.items()?.into_iter().filter(|item| item.text_id().starts_with(id));
        let (Some(item), None) = (found.next(), found.next()) else { return Err(none()) };
        let keys = self.keys();
        let at = self.prove(&item, &keys)?;
        let proof = item.proof.clone();
        Ok(ReceiptReport {
            entry: item.entry(),
            com_digest: proof.com.as_ref().map(|com| data_encoding::HEXLOWER.encode(com.digest().as_bytes())),
            com: proof.com.as_ref().map(cbor::encode),
            certificate: proof.certificate.map(|b| b.0),
            payee_receipt: proof.receipt.map(|b| b.0),
            payee_receipt_at: at.map(utc),
            operator_statement: proof.statement.map(|b| b.0),
            operator: keys.name.clone(),
        })
    }

    /// Verifies what is kept; gives the time of the payee's receipt.
    fn prove(&self, item: &Item, keys: &KeyList) -> Result<Option<florin_books::Timestamp>, WalletError> {
        let not = |what| WalletError::NotProven { id: item.text_id(), what };
        if let Some(statement) = &item.proof.statement {
            let signed = Sign1::parse(&statement.0).map_err(|_| not("the operator's statement"))?;
            let key = keys.signature_key(&signed.kid()).ok_or(not("the operator's statement"))?;
            signed.verify(&key).map_err(|_| not("the operator's statement"))?;
        }
        if let (Some(statement), Some(com)) = (&item.proof.statement, &item.proof.com) {
            let verdict = read_verdict(&statement.0, keys, com.pay_id(), &com.digest());
            let verdict = verdict.map_err(|_| not("the operator's verdict"))?;
            let expected = match verdict.outcome {
                Outcome::Paid => End::Done,
                Outcome::Denied => End::Denied,
                Outcome::AmountMismatch => End::AmountMismatch,
                Outcome::Never => End::Never,
            };
            if expected != item.end {
                return Err(not("the operator's verdict"));
            }
        }
        let Some(receipt) = &item.proof.receipt else { return Ok(None) };
        let receipt = self.read_receipt(item, &receipt.0, keys).ok_or(not("the payee's receipt"))?;
        Ok(Some(receipt.at))
    }

    fn read_receipt(&self, item: &Item, bytes: &[u8], keys: &KeyList) -> Option<Receipt> {
        let signed = Sign1::parse(bytes).ok()?;
        let key = match item.kind {
            Kind::Received => self.identity.signing.verify_key(),
            _ => Certificate::verify(&item.proof.certificate.as_ref()?.0, keys).ok()?.verify_key,
        };
        let receipt: Receipt = cbor::decode_strict(signed.verify(&key).ok()?).ok()?;
        let fits = signed.kid() == verify_kid(&key) && receipt.accepted;
        let about = item.proof.com.as_ref().is_none_or(|com| {
            receipt.com == com.digest()
                && receipt.context == Context::new(RAIL, "receipt", com.payee, com.payer)
        });
        (fits && about).then_some(receipt)
    }
}
