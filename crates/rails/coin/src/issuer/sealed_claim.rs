//! What waits in the identity lane to be handed over: the claim and K's secret, sealed under a key that is overwritten
//! afterwards. Nothing in the identity lane's documents, journal, seeds or outbox says which claim a purchase has.
//! Source: V10; ADR 0027.

use florin_books::{Account, DocumentKey, Facts, LaneId, Needs, Outgoing, Transition, TxId};
use florin_crypto::{Bytes, Entropy, Envelope, RestKey, Zeroizing, cbor};
use florin_money::Amount;
use minicbor::{Decode, Encode};

use super::claim_keys::ClaimKeys;
use super::keys::Issuer;
use super::purchase::{HandOver, Purchase, PurchaseState};
use crate::choice::HolderChoice;
use crate::escrow::OpenedBox;
use crate::kinds::SEALED_CLAIM;

/// Each key seals one claim.
const NONCE: [u8; 12] = [0; 12];

/// A claim that waits, by its purchase; removed when it was handed over.
///
/// Shape: `[place of the key, sealed]`; sealed is `[claim, K secret]` under AES-256-GCM-SIV, bound to the purchase.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SealedClaim {
    /// Where its key is.
    #[n(0)]
    pub slot: u32,
    /// What is sealed.
    #[n(1)]
    sealed: Bytes,
}

fn aad(purchase: TxId) -> Vec<u8> {
    cbor::encode(&("florin/v1/coin/sealed-claim", purchase))
}

impl SealedClaim {
    /// Its document.
    #[must_use]
    pub const fn key_of(purchase: TxId) -> DocumentKey {
        DocumentKey::new(SEALED_CLAIM, *purchase.bytes())
    }

    /// Reads the document.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }

    fn open(&self, purchase: TxId, keys: &dyn ClaimKeys) -> Option<OpenedBox> {
        let key = RestKey::new(&keys.key(self.slot)?);
        let plaintext = key.open(&NONCE, &aad(purchase), &self.sealed.0).ok()?;
        cbor::decode_strict(&plaintext).ok()
    }
}

/// Why a claim could not be put away.
pub(super) enum NotSealed {
    /// All keys are in use.
    NoKey,
    /// The key holders' keys cannot be sealed to.
    Escrow,
}

impl Issuer {
    /// Puts a claim away with its purchase; gives what is sealed to the key holders, if there are any.
    pub(super) fn put_away(
        &self,
        t: &mut Transition,
        purchase: TxId,
        request: [u8; 16],
        content: &OpenedBox,
        entropy: &mut dyn Entropy,
    ) -> Result<Option<Envelope>, NotSealed> {
        let slot = self.claim_keys.take(request, entropy).ok_or(NotSealed::NoKey)?;
        let plaintext = Zeroizing::new(cbor::encode(content));
        let sealed = Bytes(RestKey::new(&slot.key).seal(&NONCE, &aad(purchase), &plaintext));
        t.write(SealedClaim::key_of(purchase), cbor::encode(&SealedClaim { slot: slot.index, sealed }));
        let escrow = self.escrow.as_ref().map(|e| e.seal(purchase, content, entropy));
        escrow.transpose().map_err(|_| NotSealed::Escrow)
    }
}

/// An entry of the outbox: a purchase is decided, and its claim is to be handed over.
///
/// Shape: `[purchase, total, refused]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct HandOverDue {
    /// Which purchase.
    #[n(0)]
    pub purchase: TxId,
    /// What it costs.
    #[n(1)]
    pub total: Amount,
    /// Why there are no coins.
    #[n(2)]
    pub refused: Option<String>,
}

impl HandOverDue {
    /// Reads an entry of the outbox.
    #[must_use]
    pub fn read(out: &Outgoing) -> Option<Self> {
        cbor::decode_strict(&out.body).ok()
    }

    /// What the identity lane reads for it.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let documents = vec![Purchase::key_of(self.purchase), SealedClaim::key_of(self.purchase)];
        Needs { documents, ..Needs::default() }
    }

    /// Where the key of its claim is.
    #[must_use]
    pub fn slot(&self, facts: &Facts) -> Option<u32> {
        let sealed = facts.document(&SealedClaim::key_of(self.purchase)).and_then(SealedClaim::read)?;
        Some(sealed.slot)
    }

    /// What the books lane is told. None where the claim's key is lost, or the purchase is not there.
    #[must_use]
    pub fn open(&self, facts: &Facts, keys: &dyn ClaimKeys) -> Option<HandOver> {
        let sealed = facts.document(&SealedClaim::key_of(self.purchase)).and_then(SealedClaim::read)?;
        self.with(facts, &sealed.open(self.purchase, keys)?)
    }

    /// The same, with a claim that the key holders have opened. Money that the bank has taken back meanwhile buys no coins.
    #[must_use]
    pub fn with(&self, facts: &Facts, opened: &OpenedBox) -> Option<HandOver> {
        let purchase = facts.document(&Purchase::key_of(self.purchase)).and_then(Purchase::read)?;
        let refused = match &purchase.state {
            PurchaseState::Requested => return None,
            PurchaseState::Paid => self.refused.clone(),
            PurchaseState::Rejected(why) | PurchaseState::Returned(why) => Some(why.clone()),
        };
        let OpenedBox { claim, k_issue } = opened.clone();
        let w = purchase.w_desc()?;
        let holder = if w.anonymous { HolderChoice::Nobody } else { HolderChoice::Named(purchase.purchaser) };
        Some(HandOver { claim, k_issue, list: w.list, total: self.total, refused, holder })
    }

    /// In the identity lane, once the books lane has it: what was sealed goes; its key is overwritten after that. What was
    /// paid and not `credited` there has gone back to the bank out of suspense, and stays in this lane.
    pub fn handed_over(&self, t: &mut Transition, credited: bool, books: LaneId) {
        t.remove(SealedClaim::key_of(self.purchase));
        if self.refused.is_none() && !credited {
            t.post(Account::Pair(books), Account::Suspense, self.total);
        }
    }
}
