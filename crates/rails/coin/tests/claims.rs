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

use florin_books::{Account, Outgoing, Timestamp, Transition};
use florin_coin::escrow::{Escrow, EscrowKey};
use florin_coin::issuer::{
    ClaimKeys, ClaimSlot, HandOverDue, Issuer, Lanes, PURCHASES_WAITING_MAX, Purchase, SealedClaim, may_go,
};
use florin_coin::kinds::{CLAIM, HAND_OVER, PURCHASE, SEALED_CLAIM};
use florin_coin::purchase_messages::WDesc;
use florin_coin::purchaser::{self, Collected};
use florin_crypto::entropy::Entropy;
use florin_crypto::{KemSecretKey, Secret, SeededEntropy, cbor, digest};
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
/// The places for claims are everybody's: nobody holds more than some of them while the bank is silent.
#[test]
fn one_purchaser_does_not_take_the_place_of_all() {
    let mut w = World::new(58);
    let (greedy, other) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::PURCHASER));
    let orders: Vec<_> = (0..PURCHASES_WAITING_MAX).map(|_| w.order_coins(&greedy, &[100]).1).collect();
    let more = |w: &mut World| {
        let asked = w.wrequest3(&greedy, w.w_desc(&[100]));
        slug(&w.post(asked.path, &asked.body))
    };
    let before = w.identity.records.len();
    assert_eq!(more(&mut w), "too-many-purchases");
    assert_eq!(w.identity.records.len(), before, "nothing is debited");
    assert_eq!(w.buy(&other, &[100]).len(), 1);
    // Yes or no: the bank's word makes room for one, and only once.
    for news in [BankNews::Booked(orders[0]), BankNews::Rejected(orders[1], "AM04".into())] {
        w.bank(news.clone());
        w.bank(news);
        w.order_coins(&greedy, &[100]);
        assert_eq!(more(&mut w), "too-many-purchases");
    }
    w.audit();
}

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

/// The debit comes back before its claim was handed over: there are no coins for it, and no account is left with it.
#[test]
fn a_debit_that_came_back_before_the_hand_over_buys_no_coins() {
    let mut w = World::new(73);
    let buyer = w.enrolled(Roles::PURCHASER);
    let w_desc = w.w_desc(&[100]);
    let begun = begin(&mut w, &buyer, w_desc.clone());
    w.post("/v1/coin/wrequest3", &begun.signed_by(&buyer.keys.signing)).unwrap();
    let order = w.orders().into_iter().find(|o| o.amount == flo(100)).unwrap();
    w.pumps = false;
    w.bank(BankNews::Booked(order.id));
    w.bank(BankNews::Returned(order.id, "MD06".into()));
    assert_eq!(w.identity.balance(Account::Suspense), 100, "the bank has it back");
    w.audit();
    w.pumps = true;
    w.pump();
    let accounts = [Account::Suspense, Account::PaidNotIssued, Account::Pair(BOOKS)];
    assert_eq!(accounts.map(|a| w.identity.balance(a)), [0; 3]);
    assert_eq!(w.books.balance(Account::PaidNotIssued), 0);
    let (asked, answer) = w.collect(&begun.kept(&w_desc));
    match purchaser::read_collected(&asked.pending, &answer.unwrap(), &w.list).unwrap() {
        Collected::Refused { reason, .. } => assert_eq!(reason, "MD06"),
        Collected::Coins { .. } => panic!("coins for money that the bank took back"),
    }
    assert_eq!(w.live_worth(), 0);
    w.audit();
}

/// What a claim bought was collected and acknowledged, and its document has gone: the claim is as used as before.
#[test]
fn a_claim_used_again_after_its_document_has_gone_leaves_the_money_in_suspense() {
    let mut w = World::new(74);
    let buyer = w.enrolled(Roles::PURCHASER);
    for minor in [100, 50] {
        let w_desc = w.w_desc(&[minor]);
        let mut begun = begin(&mut w, &buyer, w_desc.clone());
        begun.claim = [9; 16];
        w.post("/v1/coin/wrequest3", &begun.signed_by(&buyer.keys.signing)).unwrap();
        let order = w.orders().into_iter().find(|o| o.amount == flo(minor)).unwrap();
        w.bank(BankNews::Booked(order.id));
        if minor == 50 {
            break;
        }
        let (asked, answer) = w.collect(&begun.kept(&w_desc));
        let Collected::Coins { ack, .. } =
            purchaser::read_collected(&asked.pending, &answer.unwrap(), &w.list).unwrap()
        else {
            panic!("refused")
        };
        w.post(purchaser::ACK_PATH, &ack).unwrap();
        let key = *w.books.documents.keys().find(|key| key.kind == CLAIM).unwrap();
        assert!(may_go(CLAIM, &w.books.documents[&key].value, Timestamp(u64::MAX), Timestamp(0)));
        let mut t = Transition::new(digest("test/retention", &[]), w.books.lane.seq());
        t.remove(key);
        w.act(BOOKS, t);
    }
    assert_eq!((w.books.balance(Account::PaidNotIssued), w.books.balance(Account::Suspense)), (0, -50));
    assert!(!w.books.documents.keys().any(|key| key.kind == CLAIM), "nobody could collect by it");
    w.audit();
}
