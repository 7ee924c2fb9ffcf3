//! V10 at the rail: where a claim stands and where it does not, and what happens when there is no key to put it under.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use std::sync::Arc;

use florin_books::Outgoing;
use florin_coin::escrow::{Escrow, EscrowKey};
use florin_coin::issuer::{ClaimKeys, ClaimSlot, HandOverDue, Issuer, Lanes, Purchase, SealedClaim};
use florin_coin::kinds::{HAND_OVER, PURCHASE, SEALED_CLAIM};
use florin_coin::purchase_messages::WDesc;
use florin_crypto::entropy::Entropy;
use florin_crypto::{KemSecretKey, Secret, SeededEntropy, cbor};
use florin_parties::bank::BankNews;
use florin_parties::{Roles, Terms};
use support::by_hand::begin;
use support::*;

/// All keys are in use.
struct Exhausted;

impl ClaimKeys for Exhausted {
    fn take(&self, _: [u8; 16], _: &mut dyn Entropy) -> Option<ClaimSlot> {
        None
    }
    fn key(&self, _: u32) -> Option<Secret<32>> {
        None
    }
    fn forget(&self, _: &[u32]) -> bool {
        true
    }
}

fn issuer(w: &World) -> Issuer {
    let lanes = Lanes { identity: IDENTITY, books: BOOKS };
    Issuer::new(w.keys.clone(), secrets(7), lanes, vec![register()], &Terms::default())
}

#[test]
fn v10_without_a_free_claim_key_a_purchase_is_overloaded_and_nothing_happens() {
    let mut w = World::new(71);
    let buyer = w.enrolled(Roles::PURCHASER);
    let good = w.issuer.clone();
    let asked = w.wrequest3(&buyer, w.w_desc(&[100]));
    let seq = w.identity.lane.seq();
    let exhausted = issuer(&w).with_claim_keys(Arc::new(Exhausted));
    // The cookie is the other issuer's: the same secrets.
    w.issuer = Arc::new(exhausted);
    let again = w.wrequest3(&buyer, w.w_desc(&[100]));
    assert_eq!(slug(&w.post(again.path, &again.body)), "overloaded");
    assert_eq!(w.identity.lane.seq(), seq, "nothing is recorded");
    w.issuer = good;
    w.post(asked.path, &asked.body).unwrap();
    w.audit();
}

/// From the request to the hand-over the claim stands nowhere in the clear, unless its purchaser says so.
#[test]
fn v10_the_identity_lane_never_holds_a_claim_in_the_clear() {
    for anonymous in [true, false] {
        let mut w = World::new(72);
        let mut entropy = SeededEntropy::from_number(72);
        let [a, b] = std::array::from_fn(|_| KemSecretKey::generate(&mut entropy));
        let key = |secret: &KemSecretKey, n| EscrowKey { kid: [n; 16], key: secret.public_key() };
        let escrow = Escrow::new(w.list.operator, key(&a, 1), key(&b, 2));
        w.issuer = Arc::new(issuer(&w).with_escrow(escrow.clone()));
        let buyer = w.enrolled(Roles::PURCHASER);
        let w_desc = WDesc { anonymous, ..w.w_desc(&[100]) };
        let begun = begin(&mut w, &buyer, w_desc);
        let body = begun.signed_by(&buyer.keys.signing);
        w.post("/v1/coin/wrequest3", &body).unwrap();
        let of_kind = |w: &World, kind| -> Vec<Vec<u8>> {
            let its = w.identity.documents.iter().filter(|(key, _)| key.kind == kind);
            its.map(|(_, document)| document.value.to_vec()).collect()
        };
        let purchase = Purchase::read(&of_kind(&w, PURCHASE)[0]).unwrap();
        assert_eq!(purchase.claim.is_none(), anonymous);
        let opened = escrow.open(&a, &b, purchase.id, purchase.escrow.as_ref().unwrap()).unwrap();
        assert_eq!(opened.claim.0, begun.claim);
        let sealed = of_kind(&w, SEALED_CLAIM);
        assert_eq!(sealed.len(), 1);
        w.pumps = false;
        w.bank(BankNews::Booked(purchase.order));
        let waits: Vec<Outgoing> =
            w.identity.lane.outbox().filter(|o| o.kind == HAND_OVER).cloned().collect();
        assert_eq!(HandOverDue::read(&waits[0]).unwrap().purchase, purchase.id);
        assert!(!holds(&waits[0].body, &begun.claim) && !holds(&sealed[0], &begun.claim));
        let hand = w.handing(&waits[0]).unwrap();
        assert_eq!((hand.claim.0, hand.list.total_minor()), (begun.claim, 100));
        // Another purchase's sealed claim does not open in this one's place.
        let slot = SealedClaim::read(&sealed[0]).unwrap().slot;
        w.issuer.claim_keys().forget(&[slot]);
        assert!(w.handing(&waits[0]).is_none(), "its key is overwritten: what is sealed stays sealed");
        let everything = cbor::encode(&purchase);
        assert_eq!(holds(&everything, &begun.claim), !anonymous);
    }
}
