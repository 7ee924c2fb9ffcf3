//! Escrow: who bought which coins, sealed to two key holders one inside the other, so that only both together can open it.
//! The operator has their public keys only. Source: VarietyCash §1.2 (trust-based anonymity), §2.1; V10.

use florin_books::{PartyId, TxId};
use florin_crypto::{
    ByteArray, Entropy, Envelope, KemError, KemPublicKey, KemSecretKey, Kid, Zeroizing, cbor, kem,
};
use florin_rail::hpke_info;
use minicbor::{Decode, Encode};

use crate::kinds::RAIL;
use crate::purchase_messages::claim_id;

const OUTER: &str = "escrow-outer";
const INNER: &str = "escrow-inner";

/// A key holder's public key, and its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EscrowKey {
    /// The id, in envelopes.
    pub kid: Kid,
    /// What is sealed to.
    pub key: KemPublicKey,
}

/// The two key holders, as an operator knows them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Escrow {
    operator: PartyId,
    outer: EscrowKey,
    inner: EscrowKey,
}

/// What a box holds: what joins a purchase to its coins, and what seals them, so that a purchase whose claim key is lost
/// can still be handed over.
///
/// Shape: `[claim, K secret]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct OpenedBox {
    /// By what the coins are collected.
    #[n(0)]
    pub claim: ByteArray<16>,
    /// What seals them.
    #[n(1)]
    pub k_issue: ByteArray<32>,
}

impl OpenedBox {
    /// H(claim): what the books call it.
    #[must_use]
    pub fn claim_id(&self) -> [u8; 16] {
        claim_id(&self.claim.0)
    }
}

impl Escrow {
    /// The two holders of an operator. Which is the outer one makes no difference but to the order of opening.
    #[must_use]
    pub const fn new(operator: PartyId, outer: EscrowKey, inner: EscrowKey) -> Self {
        Self { operator, outer, inner }
    }

    fn info(&self, message: &str, kid: &Kid) -> Vec<u8> {
        hpke_info(RAIL, message, self.operator, kid)
    }

    /// Seals a purchase's claim to both holders; always of the same size.
    ///
    /// # Errors
    /// `Seal`: a key of theirs is none.
    pub(crate) fn seal(
        &self,
        purchase: TxId,
        content: &OpenedBox,
        entropy: &mut dyn Entropy,
    ) -> Result<Envelope, KemError> {
        let plaintext = Zeroizing::new(cbor::encode(content));
        let info = self.info(INNER, &self.inner.kid);
        let (inner, _) =
            kem::seal(&self.inner.key, &self.inner.kid, &info, purchase.bytes(), &plaintext, entropy)?;
        let info = self.info(OUTER, &self.outer.kid);
        let inner = cbor::encode(&inner);
        let (outer, _) =
            kem::seal(&self.outer.key, &self.outer.kid, &info, purchase.bytes(), &inner, entropy)?;
        Ok(outer)
    }

    /// Opens a purchase's box with both holders' keys, outer first.
    ///
    /// # Errors
    /// `Open`: another purchase, other keys, the keys in the wrong order, or changed bytes.
    pub fn open(
        &self,
        outer: &KemSecretKey,
        inner: &KemSecretKey,
        purchase: TxId,
        sealed: &Envelope,
    ) -> Result<OpenedBox, KemError> {
        let info = self.info(OUTER, &self.outer.kid);
        let (bytes, _) = kem::open(outer, &info, purchase.bytes(), sealed)?;
        let envelope: Envelope = cbor::decode_strict(&bytes).map_err(|_| KemError::Open)?;
        let info = self.info(INNER, &self.inner.kid);
        let (plaintext, _) = kem::open(inner, &info, purchase.bytes(), &envelope)?;
        cbor::decode_strict(&plaintext).map_err(|_| KemError::Open)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use florin_crypto::SeededEntropy;

    use super::*;

    fn key(secret: &KemSecretKey, n: u8) -> EscrowKey {
        EscrowKey { kid: [n; 16], key: secret.public_key() }
    }

    #[test]
    fn only_both_holders_together_open_a_box_and_only_that_of_its_purchase() {
        let mut entropy = SeededEntropy::from_number(1);
        let [a, b, c] = std::array::from_fn(|_| KemSecretKey::generate(&mut entropy));
        let escrow = Escrow::new(PartyId::new([7; 16]), key(&a, 1), key(&b, 2));
        let content = OpenedBox { claim: ByteArray([3; 16]), k_issue: ByteArray([4; 32]) };
        let purchase = TxId::new([5; 16]);
        let sealed = escrow.seal(purchase, &content, &mut entropy).unwrap();
        assert!(escrow.open(&a, &b, purchase, &sealed).unwrap() == content);
        for (outer, inner) in [(&a, &a), (&b, &b), (&b, &a), (&a, &c), (&c, &b)] {
            assert!(escrow.open(outer, inner, purchase, &sealed).is_err());
        }
        assert!(escrow.open(&a, &b, TxId::new([6; 16]), &sealed).is_err(), "moved to another purchase");
        let other = Escrow::new(PartyId::new([8; 16]), key(&a, 1), key(&b, 2));
        assert!(other.open(&a, &b, purchase, &sealed).is_err(), "of another operator");
        let again = escrow.seal(purchase, &content, &mut entropy).unwrap();
        assert!(again != sealed && again.ct.len() == sealed.ct.len());
        assert!(content.claim_id() != content.claim.0);
    }
}
