//! The gate's offer (an entry of `accepts`) and the coin scheme's own object in a payload.
//! Source: web.md, "Florin's profile" and §2.2; florin_coin::web.

use data_encoding::BASE64URL_NOPAD;
use florin_books::{PartyId, Timestamp};
use florin_coin::web::{self, SCHEME};
use florin_crypto::{Envelope, cbor};
use florin_money::Amount;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::desk::Member;
use crate::rules::{Flow, Rule};
use crate::settle::Settle;
use florin_shell::jcs::jcs;

/// The longest ciphertext of EncC1: 32 coins, padded (G9), and the tag.
pub const ENC_C1_BYTES_MAX: usize = 4096 + 16;

/// The rule in an entry that is sold through the facilitator; where the entry says what becomes of its coins, the word for that
/// follows, as in `facilitator/redeem`. No rule of a gate is called so: the label of one has a space in it. So no payment that
/// is for the one can be presented to the other.
const FACILITATOR: &str = "facilitator";

fn facilitator_label(settle: Option<Settle>) -> String {
    settle.map_or_else(|| FACILITATOR.to_owned(), |settle| format!("{FACILITATOR}/{}", settle.word()))
}

/// The label of an entry for a facilitator, as it was signed, and what becomes of the coins if the entry says so.
#[must_use]
pub fn for_facilitator(entry: &Value) -> Option<(String, Option<Settle>)> {
    let said = entry.pointer("/extra/rule")?.as_str()?;
    let choices = [None, Some(Settle::Refresh), Some(Settle::Redeem), Some(Settle::Aggregate)];
    let settle = choices.into_iter().find(|settle| facilitator_label(*settle) == said)?;
    Some((said.to_owned(), settle))
}

/// The coin scheme's own object in a payload. A payload for a facilitator may also say `method`, which is `GET` where it
/// does not: the facilitator does not see the request.
///
/// Shape: JSON `{r, payer, deadline, enc_c1}`; `r` is base64url of 16 bytes, `payer` the text form of ID_PA, `enc_c1`
/// base64url of EncC1 as CBOR. Units: `deadline` in milliseconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CoinPayload {
    /// What the payer drew.
    pub r: String,
    /// The payer's pseudonym.
    pub payer: String,
    /// The deadline of Com.
    pub deadline: u64,
    /// The envelope.
    pub enc_c1: String,
}

/// The same, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presentation {
    /// What the payer drew.
    pub r: [u8; 16],
    /// The payer's pseudonym.
    pub payer: PartyId,
    /// The deadline of Com.
    pub deadline: Timestamp,
    /// The envelope.
    pub enc_c1: Envelope,
}

impl CoinPayload {
    /// For a payload.
    #[must_use]
    pub fn new(presentation: &Presentation) -> Self {
        Self {
            r: BASE64URL_NOPAD.encode(&presentation.r),
            payer: presentation.payer.to_string(),
            deadline: presentation.deadline.0,
            enc_c1: BASE64URL_NOPAD.encode(&cbor::encode(&presentation.enc_c1)),
        }
    }

    /// Reads it; nothing if a part is not what it should be.
    #[must_use]
    pub fn read(payload: &Value) -> Option<Presentation> {
        let text = Self::deserialize(payload).ok()?;
        let r = BASE64URL_NOPAD.decode(text.r.as_bytes()).ok()?.try_into().ok()?;
        let payer = text.payer.parse().ok()?;
        let bytes = BASE64URL_NOPAD.decode(text.enc_c1.as_bytes()).ok()?;
        let enc_c1: Envelope = cbor::decode_strict(&bytes).ok()?;
        (enc_c1.ct.len() <= ENC_C1_BYTES_MAX).then_some(Presentation {
            r,
            payer,
            deadline: Timestamp(text.deadline),
            enc_c1,
        })
    }
}

/// The entry for a rule: static, and signed by the gate. Nothing for a free rule.
#[must_use]
pub fn entry(member: &Member, rule: &Rule, max_timeout_s: u64) -> Option<Value> {
    let terms = Terms { price: rule.price?, label: &rule.label(), flow: rule.flow, max_timeout_s };
    terms.entry(member)
}

/// The entry that a shop of any make puts into its own settings; its payments come to the facilitator.
#[must_use]
pub fn shop_entry(
    member: &Member,
    price: Amount,
    max_timeout_s: u64,
    settle: Option<Settle>,
) -> Option<Value> {
    let label = facilitator_label(settle);
    Terms { price, label: &label, flow: Flow::Authorization, max_timeout_s }.entry(member)
}

/// What an entry says, besides who is paid.
struct Terms<'a> {
    price: Amount,
    label: &'a str,
    flow: Flow,
    max_timeout_s: u64,
}

impl Terms<'_> {
    fn entry(&self, member: &Member) -> Option<Value> {
        let (party, currency) = (&member.party, self.price.currency());
        let mut entry = json!({
            "scheme": SCHEME,
            "network": web::network(party.list.operator),
            "amount": self.price.minor().to_string(),
            "asset": currency.code().as_str(),
            "payTo": party.id().to_string(),
            "maxTimeoutSeconds": self.max_timeout_s,
            "extra": {
                "rail": "coin",
                "decimals": currency.exponent(),
                "certificate": BASE64URL_NOPAD.encode(&member.certificate),
                "name": member.name,
                "rule": self.label,
            },
        });
        if self.flow == Flow::Upfront {
            // What x402 takes for granted, `authorization`, is not said.
            entry.get_mut("extra")?.as_object_mut()?.insert("paymentFlow".to_owned(), "upfront".into());
        }
        let unsigned = jcs(&entry).ok()?;
        let signature = web::sign_offer(party.id(), &party.identity.signing, &unsigned, self.label);
        let extra = entry.get_mut("extra")?.as_object_mut()?;
        extra.insert("signature".to_owned(), BASE64URL_NOPAD.encode(&signature).into());
        Some(entry)
    }
}

/// What of an entry was signed: all but `extra.signature`, as canonical JSON; and the signature.
#[must_use]
pub fn signed_part(entry: &Value) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut unsigned = entry.clone();
    let signature = unsigned.get_mut("extra")?.as_object_mut()?.remove("signature")?;
    let signature = BASE64URL_NOPAD.decode(signature.as_str()?.as_bytes()).ok()?;
    Some((jcs(&unsigned).ok()?, signature))
}
