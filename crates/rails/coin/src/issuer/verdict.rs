//! Verdicts: recorded first, then signed; the payer's part sealed so that the payee cannot read it.
//! Source: VarietyCash §3.2 (P4, error statements); V4.

use florin_books::{PartyId, Record, Timestamp, TxId};
use florin_crypto::{ByteArray, Bytes, Digest, Exporter, cbor, digest};
use florin_money::Amount;
use florin_parties::{KeyId, ReplyFrame};
use florin_rail::common::ASK_STATUS;
use florin_rail::{Context, Refusal, label};
use minicbor::{Decode, Encode};

use super::keys::Issuer;
use crate::coin::BadCoin;
use crate::com::{PayId, TidPy};
use crate::kinds::RAIL;
use crate::messages::{Outcome, PayerVerdict, Verdict};

/// What the record of a payment keeps so that its reply can be given again.
///
/// Shape: `[pay_id, H(Com), H(EncC1), TID_PY, payee, outcome, claimed, paid, causes, pay-out, signing key id]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(super) struct PaymentSeed {
    #[n(0)]
    pub pay_id: PayId,
    #[n(1)]
    pub com: Digest,
    #[n(2)]
    pub enc_c1: Digest,
    #[n(3)]
    pub tid: TidPy,
    #[n(4)]
    pub payee: PartyId,
    #[n(5)]
    pub outcome: Outcome,
    #[n(6)]
    pub claimed: Option<Amount>,
    #[n(7)]
    pub paid: Option<Amount>,
    #[n(8)]
    pub causes: Vec<BadCoin>,
    #[n(9)]
    pub payout: Option<TxId>,
    #[cbor(n(10), with = "minicbor::bytes")]
    pub kid: KeyId,
}

impl PaymentSeed {
    pub fn of(record: &Record) -> Result<Self, Refusal> {
        let seed = record.seed().ok_or(ASK_STATUS)?;
        cbor::decode_strict(seed).map_err(|_| ASK_STATUS)
    }

    /// What this record says about an envelope. One that is not the recorded one is bound to a payment which happened, or
    /// was denied or voided, without it: it never can be paid, and nobody may tell its payer otherwise.
    pub fn about(self, enc_c1: Digest) -> Self {
        if self.enc_c1 == enc_c1 {
            return self;
        }
        let (outcome, causes) = (Outcome::Never, Vec::new());
        Self { enc_c1, outcome, claimed: None, paid: None, causes, payout: None, ..self }
    }

    /// The verdict as it is signed: a function of the record. Without the payer's salt no part for the payer can be
    /// made, and the causes' digest is that of no causes.
    pub fn sign(&self, issuer: &Issuer, at: Timestamp, salt: &[u8; 16]) -> Result<Vec<u8>, Refusal> {
        let verdict = Verdict {
            context: Context::new(RAIL, "verdict", issuer.id(), PartyId::NONE),
            pay_id: self.pay_id,
            com: self.com,
            outcome: self.outcome,
            claimed: self.claimed,
            paid: self.paid,
            at,
            causes: causes_digest(&self.causes, salt),
            enc_c1: self.enc_c1,
        };
        issuer.keys.sign(&self.kid, &cbor::encode(&verdict)).ok_or(ASK_STATUS)
    }
}

/// H(causes, salt).
pub(crate) fn causes_digest(causes: &[BadCoin], salt: &[u8; 16]) -> Digest {
    digest("florin/v1/coin/causes", &[&cbor::encode(&causes.to_vec()), salt])
}

/// The salt of the causes: from EncC1's own context, so that only payer and issuer have it.
pub(crate) fn causes_salt(exporter: &Exporter) -> [u8; 16] {
    let key = exporter.export(label(RAIL, "causes-salt").as_bytes());
    let mut salt = [0; 16];
    for (to, from) in salt.iter_mut().zip(key.expose()) {
        *to = *from;
    }
    salt
}

/// The frame of what the issuer tells the payer, under EncC1's own context.
pub(crate) fn payer_frame(message: &str, issuer: PartyId, payer: PartyId, com: &Digest) -> ReplyFrame {
    ReplyFrame::new(RAIL, message, issuer, payer, *com)
}

/// The payer's part, sealed under a key exported from EncC1's context.
pub(super) fn for_payer(
    seed: &PaymentSeed,
    signed: &[u8],
    message: &str,
    issuer: PartyId,
    payer: PartyId,
    exporter: &Exporter,
    salt: [u8; 16],
) -> Vec<u8> {
    let frame = payer_frame(message, issuer, payer, &seed.com);
    let part =
        PayerVerdict { verdict: Bytes(signed.to_vec()), causes: seed.causes.clone(), salt: ByteArray(salt) };
    frame.seal(&frame.key(exporter), &part)
}
