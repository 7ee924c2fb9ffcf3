//! What both key holders have opened: done where their files are, and signed by both, so that nobody else can say what a
//! box held, nor turn a trace into a hand-over. The operator takes nothing else. Source: VarietyCash §1.2; V10; ADR 0027.

use data_encoding::BASE64URL_NOPAD;
use florin_books::{PartyId, TxId};
use florin_coin::escrow::OpenedBox;
use florin_crypto::cose::Sign1;
use florin_crypto::{Digest, Envelope, cbor, digest, sign1};
use florin_rail::{Context, Refusal};
use minicbor::Encode;
use serde::{Deserialize, Serialize};

use crate::control::{
    Action, ORDER_ALTERED, ORDER_MALFORMED, ORDER_NEEDS_TWO, ORDER_NOT_BY_HOLDER, ORDER_SAME_HOLDER,
    SignedOrder,
};
use crate::key_holder::{HOLDERS, KeyHolder, KnownHolder, escrow};
use crate::trace::{Begun, HandedBox};
use crate::trace_log::Subject;

/// A box that was opened.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Whose it was.
    pub purchase: String,
    /// What it held, in base64url.
    pub content: String,
}

impl Found {
    /// What it says.
    pub(crate) fn read(&self) -> Option<(TxId, OpenedBox)> {
        let content = BASE64URL_NOPAD.decode(self.content.as_bytes()).ok()?;
        Some((self.purchase.parse().ok()?, cbor::decode_strict(&content).ok()?))
    }
}

/// What the holders' side brings back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowRequest {
    /// The number of the entry.
    pub entry: u64,
    /// What was opened.
    pub found: Vec<Found>,
    /// Hands the claim over that waits because its key is lost.
    #[serde(default)]
    pub recover: bool,
    /// Both holders' signatures over what was opened for which order, in base64url.
    pub signatures: Vec<String>,
}

/// What both holders sign.
///
/// Shape: `[context, H(order), recover, H(found)]`; the context is `opened` of the rail `operator`, to the operator; H(found)
/// is over each purchase and content, as they are sent. Errors in checking order: `order-malformed`, `order-altered`,
/// `order-not-by-holder`, `order-same-holder`, `order-needs-two`. Source: ADR 0027.
#[derive(Encode)]
#[cbor(array)]
struct Statement {
    #[n(0)]
    context: Context,
    #[n(1)]
    order: Digest,
    #[n(2)]
    recover: bool,
    #[n(3)]
    found: Digest,
}

impl FollowRequest {
    fn statement(&self, operator: PartyId, order: &SignedOrder) -> Vec<u8> {
        let texts = self.found.iter().flat_map(|f| [f.purchase.as_bytes(), f.content.as_bytes()]);
        cbor::encode(&Statement {
            context: Context::new("operator", "opened", PartyId::NONE, operator),
            order: order.cause(),
            recover: self.recover,
            found: digest("florin/v1/operator/found", &texts.collect::<Vec<_>>()),
        })
    }

    /// Adds a holder's signature.
    pub fn sign(&mut self, operator: PartyId, order: &SignedOrder, holder: &KeyHolder) {
        let signed = sign1(&holder.signing, &holder.known().kid(), &self.statement(operator, order));
        self.signatures.push(BASE64URL_NOPAD.encode(&signed));
    }

    /// Whether both holders say that this is what they have found for this order.
    ///
    /// # Errors
    /// `order-malformed`, `order-altered`, `order-not-by-holder`, `order-same-holder`, `order-needs-two`.
    pub(crate) fn verify(
        &self,
        operator: PartyId,
        order: &SignedOrder,
        holders: &[KnownHolder; HOLDERS],
    ) -> Result<(), Refusal> {
        let statement = self.statement(operator, order);
        let mut signed_by = Vec::with_capacity(HOLDERS);
        for signature in &self.signatures {
            let bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| ORDER_MALFORMED)?;
            let signed = Sign1::parse(&bytes).map_err(|_| ORDER_MALFORMED)?;
            if signed.payload_unverified() != statement {
                return Err(ORDER_ALTERED);
            }
            let holder = holders.iter().find(|h| h.kid() == signed.kid()).ok_or(ORDER_NOT_BY_HOLDER)?;
            signed.verify(&holder.verify).map_err(|_| ORDER_NOT_BY_HOLDER)?;
            if signed_by.contains(&signed.kid()) {
                return Err(ORDER_SAME_HOLDER);
            }
            signed_by.push(signed.kid());
        }
        if signed_by.len() == HOLDERS { Ok(()) } else { Err(ORDER_NEEDS_TWO) }
    }
}

/// Opens boxes with the two holders' keys, and signs what was in them with both; done where their files are, not by the
/// operator's process. Boxes that do not open (of other holders, before a change of them) are left out, and so is what an
/// order about one purchase did not ask for.
#[must_use]
pub fn open_boxes(
    operator: PartyId,
    holders: &[KnownHolder; HOLDERS],
    files: &[KeyHolder; HOLDERS],
    (order, begun): (&SignedOrder, &Begun),
    recover: bool,
) -> FollowRequest {
    let asked = match order.order_unverified().map(|order| order.action) {
        Some(Action::Trace(Subject::Purchase(id), _)) => Some(id),
        _ => None,
    };
    let escrow = escrow(operator, holders);
    let file = |known: &KnownHolder| files.iter().find(|file| file.known() == *known);
    let both = file(&holders[0]).zip(file(&holders[1]));
    let open = |handed: &HandedBox| {
        let (outer, inner) = both?;
        let purchase: TxId = handed.purchase.parse().ok()?;
        if asked.is_some_and(|asked| asked != purchase) {
            return None;
        }
        let envelope = BASE64URL_NOPAD.decode(handed.envelope.as_bytes()).ok()?;
        let envelope: Envelope = cbor::decode_strict(&envelope).ok()?;
        let opened = escrow.open(&outer.kem, &inner.kem, purchase, &envelope).ok()?;
        let content = BASE64URL_NOPAD.encode(&cbor::encode(&opened));
        Some(Found { purchase: handed.purchase.clone(), content })
    };
    let found = begun.boxes.iter().filter_map(open).collect();
    let mut request = FollowRequest { entry: begun.entry, found, recover, signatures: Vec::new() };
    files.iter().for_each(|file| request.sign(operator, order, file));
    request
}
