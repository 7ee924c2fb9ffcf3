//! Claims whose keys are lost: only both key holders bring them to their end, once, and nobody else is held up or lost by
//! it. Source: V10; ADR 0027; docs/operator.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod town;

use std::sync::atomic::Ordering;

use florin_books::Needs;
use florin_coin::escrow::OpenedBox;
use florin_coin::issuer::{HandOverDue, Purchase, PurchaseState, SealedClaim, hand_over};
use florin_crypto::{ByteArray, cbor};
use florin_operator::claim_keys::CLAIM_KEYS_FILE;
use florin_operator::lanes::IDENTITY;
use florin_operator::opened::{FollowRequest, Found};
use florin_operator::trace_log::Subject;
use florin_operator::{KeyHolder, Operator};
use florin_parties::Roles;
use florin_shell::entropy::OsEntropy;
use florin_shell::passphrase::Passphrase;
use town::court::{REASON, opened, order, refused, signed, trace, waits, with_a_purchase};
use town::{Bought, Town, holders, open, split};

/// A purchase whose claim waits and whose key is lost, in a town whose claims wait for `batch` or `wait_ms`.
async fn with_a_lost_key(dir: &std::path::Path, batch: usize, wait_ms: u64) -> (Town, Bought) {
    let town = Town::start(dir, batch, wait_ms).await;
    town.teller.closed.store(true, Ordering::SeqCst);
    let buyer = town.person(Roles::PURCHASER).await;
    let bought = town.order(&buyer, &split(188), true).await;
    let (places, config, teller) = town.end().await;
    std::fs::remove_file(places.state.join(CLAIM_KEYS_FILE)).unwrap();
    teller.closed.store(false, Ordering::SeqCst);
    let town = Town::resume(dir, places, config, teller).await;
    waits(&town.operator, 1).await;
    (town, bought)
}

async fn slot_of(operator: &Operator, bought: &Bought) -> u32 {
    let key = SealedClaim::key_of(bought.id);
    let needs = Needs { documents: vec![key], ..Needs::default() };
    let facts = operator.lanes.identity.books.load(&needs).unwrap();
    facts.document(&key).and_then(SealedClaim::read).unwrap().slot
}

/// The file with the claim keys is lost (as after a restore) while a purchase waits: nothing is handed over, nothing is
/// lost, and the key holders bring it to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_claim_key_is_mended_by_the_key_holders() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::start(dir.path(), 1, 10).await;
    let buyer = town.person(Roles::PURCHASER).await;
    town.teller.closed.store(true, Ordering::SeqCst);
    let bought = town.order(&buyer, &split(188), true).await;
    let (places, config, teller) = town.end().await;
    std::fs::remove_file(places.state.join(CLAIM_KEYS_FILE)).unwrap();
    teller.closed.store(false, Ordering::SeqCst);
    let town = Town::resume(dir.path(), places, config, teller).await;
    for _ in 0..40 {
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        assert!(town.try_collect(&bought).await.is_none(), "its key is lost");
    }
    let files = holders(&town.places);
    let report = trace(&town.operator, &files, Subject::Purchase(bought.id), true).await;
    assert!(report.recovered);
    assert_eq!(town::worth(&town.collect(&bought).await), 188);
    let again = trace(&town.operator, &files, Subject::Purchase(bought.id), true).await;
    assert!(!again.recovered, "nothing waits any more");
    assert!(florin_operator::audit(&town.operator.lanes).await.unwrap().is_clean());
    town.end().await;
}

/// What a box held is what both holders have signed, for that order and for what it is to do: nobody who only talks to the
/// admin pages hands a waiting purchase over to a claim of his own.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_both_holders_says_what_a_box_held() {
    let dir = tempfile::tempdir().unwrap();
    let (town, bought) = with_a_lost_key(dir.path(), 1, 10).await;
    let other = with_a_purchase(&town, true).await;
    town.collect(&other).await;
    let (o, files) = (&town.operator, holders(&town.places));
    let begin = async |subject: Subject| {
        let order = signed(&order(o, &subject, REASON), &[&files[0], &files[1]]);
        let begun = o.trace_begin(&order).await.unwrap();
        (order, begun)
    };
    let (order, begun) = begin(Subject::Purchase(bought.id)).await;
    let good = opened(o, &files, (&order, &begun), true);
    let mine = OpenedBox { claim: ByteArray([66; 16]), k_issue: ByteArray([66; 32]) };
    let content = data_encoding::BASE64URL_NOPAD.encode(&cbor::encode(&mine));
    let false_one = vec![Found { purchase: bought.id.to_string(), content }];
    let signed_by = |by: &[&KeyHolder]| {
        let found = false_one.clone();
        let mut made = FollowRequest { entry: begun.entry, found, recover: true, signatures: Vec::new() };
        by.iter().for_each(|holder| made.sign(o.id, &order, holder));
        made
    };
    let stranger = dir.path().join("stranger.key");
    let stranger = KeyHolder::create(&stranger, "holder-2", &Passphrase::none(), &mut OsEntropy).unwrap();
    let [a, b] = &files;
    for (by, why) in [
        (vec![], "order-needs-two"),
        (vec![a], "order-needs-two"),
        (vec![b, b], "order-same-holder"),
        (vec![a, &stranger], "order-not-by-holder"),
    ] {
        assert_eq!(refused(o, &signed_by(&by)).await, why);
    }
    let (_, again) = begin(Subject::Purchase(bought.id)).await;
    for bent in [
        FollowRequest { found: false_one.clone(), ..good.clone() },
        FollowRequest { recover: false, ..good.clone() },
        FollowRequest { entry: again.entry, ..good.clone() },
    ] {
        assert_eq!(refused(o, &bent).await, "order-altered");
    }
    // What the holders have found for one order is handed over for no other purchase, and for no trace of a payment.
    let (order, begun) = begin(Subject::Purchase(other.id)).await;
    let mut elsewhere = FollowRequest { entry: begun.entry, signatures: Vec::new(), ..good.clone() };
    files.iter().for_each(|file| elsewhere.sign(o.id, &order, file));
    assert_eq!(refused(o, &elsewhere).await, "trace-not-found");
    let (payer, shop) = (with_a_purchase(&town, true).await, town.person(Roles::NONE).await);
    let paid = town.pay(&shop, &town.collect(&payer).await, false).await;
    let (order, begun) = begin(Subject::Payment(paid)).await;
    assert_eq!(refused(o, &opened(o, &files, (&order, &begun), true)).await, "order-other-command");
    assert!(town.try_collect(&bought).await.is_none());
    waits(o, 1).await;
    assert!(o.trace_follow(&good).await.unwrap().recovered);
    assert!(!o.trace_follow(&good).await.unwrap().recovered, "the same again is no other");
    assert_eq!(town::worth(&town.collect(&bought).await), 188);
    assert!(florin_operator::audit(&o.lanes).await.unwrap().is_clean());
    town.end().await;
}

/// A claim whose key is there goes over in company, whatever its key holders have found; so it does while they find it.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_claim_whose_key_is_lost_is_recovered() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::start(dir.path(), 2, 600_000).await;
    let bought = with_a_purchase(&town, true).await;
    let o = &town.operator;
    waits(o, 1).await;
    let report = trace(o, &holders(&town.places), Subject::Purchase(bought.id), true).await;
    assert!(!report.recovered);
    assert!(town.try_collect(&bought).await.is_none(), "it waits for company");
    let company = with_a_purchase(&town, true).await;
    for bought in [&bought, &company] {
        assert_eq!(town::worth(&town.collect(bought).await), 188);
    }
    assert!(florin_operator::audit(&o.lanes).await.unwrap().is_clean());
    town.end().await;
}

/// Where the pool is made anew, a new purchase has another place than one that waits; the recovery of one leaves the key
/// of the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_forgets_no_other_purchases_key() {
    let dir = tempfile::tempdir().unwrap();
    let (town, lost) = with_a_lost_key(dir.path(), 1, 10).await;
    let o = &town.operator;
    let buyer = town.person(Roles::PURCHASER).await;
    town.teller.closed.store(true, Ordering::SeqCst);
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(town.order(&buyer, &split(50), true).await);
        assert_ne!(slot_of(o, others.last().unwrap()).await, slot_of(o, &lost).await);
    }
    assert!(trace(o, &holders(&town.places), Subject::Purchase(lost.id), true).await.recovered);
    town.teller.closed.store(false, Ordering::SeqCst);
    assert_eq!(town::worth(&town.collect(&lost).await), 188);
    for bought in &others {
        assert_eq!(town::worth(&town.collect(bought).await), 50);
    }
    town.end().await;
}

/// A claim that cannot be opened is nobody's company, and does not end anybody's wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_claim_key_is_no_company() {
    let dir = tempfile::tempdir().unwrap();
    let wait_ms = 600_000;
    let (town, lost) = with_a_lost_key(dir.path(), 2, wait_ms).await;
    let o = &town.operator;
    let lost_before = o.clock.now();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let alone = with_a_purchase(&town, true).await;
    waits(o, 2).await;
    let desk = o.hand_over_desk();
    assert_eq!(desk.round(o.clock.now()).await.unwrap(), 0, "one that can be opened is no company");
    assert_eq!(desk.round(lost_before.plus_ms(wait_ms)).await.unwrap(), 0, "only the lost one has waited");
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert!(town.try_collect(&alone).await.is_none());
    let company = with_a_purchase(&town, true).await;
    for bought in [&alone, &company] {
        assert_eq!(town::worth(&town.collect(bought).await), 188);
    }
    assert!(town.try_collect(&lost).await.is_none());
    town.end().await;
}

/// The debit of a purchase whose claim key is lost comes back before its holders are asked: nothing is issued for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_issues_nothing_for_a_debit_that_came_back() {
    let dir = tempfile::tempdir().unwrap();
    let (town, bought) = with_a_lost_key(dir.path(), 1, 10).await;
    let o = &town.operator;
    town.teller.give_back(188);
    let blocked = async || {
        let key = Purchase::key_of(bought.id);
        let needs = Needs { documents: vec![key], ..Needs::default() };
        let facts = o.lanes.identity.books.load(&needs).unwrap();
        let purchase = facts.document(&key).and_then(Purchase::read).unwrap();
        matches!(purchase.state, PurchaseState::Returned(_))
    };
    while !blocked().await {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(trace(o, &holders(&town.places), Subject::Purchase(bought.id), true).await.recovered);
    assert_eq!(town.refused(&bought).await, "MD06");
    let report = florin_operator::audit(&o.lanes).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert!(report.in_circulation.starts_with("0.00"), "{}", report.in_circulation);
    // What is left is the cent that told the purchaser his code.
    let left: Vec<&str> = report.accounts.iter().map(|line| line.account.as_str()).collect();
    assert_eq!(left, ["bank 0", "expense"]);
    town.end().await;
}

/// An old copy of the lanes, put in by mistake, is opened and refused; the keys of what waits are there when the right
/// ones are back.
#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_books_overwrite_no_claim_key() {
    let dir = tempfile::tempdir().unwrap();
    let (places, config, teller) = Town::start(dir.path(), 1, 10).await.end().await;
    let (old, right) = (dir.path().join("old"), dir.path().join("right"));
    let lanes = ["identity", "books"];
    lanes.iter().for_each(|lane| town::copy(&places.state.join(lane), &old.join(lane)));
    let town = Town::resume(dir.path(), places, config, teller).await;
    town.teller.closed.store(true, Ordering::SeqCst);
    let bought = with_a_purchase(&town, true).await;
    let (places, config, teller) = town.end().await;
    let keys = std::fs::read(places.state.join(CLAIM_KEYS_FILE)).unwrap();
    std::fs::create_dir(&right).unwrap();
    lanes.iter().for_each(|lane| std::fs::rename(places.state.join(lane), right.join(lane)).unwrap());
    lanes.iter().for_each(|lane| std::fs::rename(old.join(lane), places.state.join(lane)).unwrap());
    let wrong = open(&places, &config, &teller);
    assert!(wrong.may_serve().await.is_err(), "the books are behind");
    drop(wrong);
    assert!(std::fs::read(places.state.join(CLAIM_KEYS_FILE)).unwrap() == keys);
    lanes.iter().for_each(|lane| std::fs::remove_dir_all(places.state.join(lane)).unwrap());
    lanes.iter().for_each(|lane| std::fs::rename(right.join(lane), places.state.join(lane)).unwrap());
    teller.closed.store(false, Ordering::SeqCst);
    let town = Town::resume(dir.path(), places, config, teller).await;
    assert_eq!(town::worth(&town.collect(&bought).await), 188);
    town.end().await;
}

/// A crash after the books lane has a claim and before the identity lane knows it, with the loss of the key on top: the
/// lanes belong together all the same, and the holders settle what has arrived without a second set of coins.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_has_arrived_and_lost_its_key_keeps_the_lanes_together() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::start(dir.path(), 2, 600_000).await;
    let bought = with_a_purchase(&town, true).await;
    waits(&town.operator, 1).await;
    let lanes = &town.operator.lanes;
    let due = |lane: &florin_books::Lane| lane.outbox().find_map(HandOverDue::read);
    let due = lanes.identity.books.view(due).unwrap().unwrap();
    let facts = lanes.identity.books.load(&due.needs()).unwrap();
    let hand = due.open(&facts, &*lanes.claim_keys).unwrap();
    let needs = hand.needs();
    let made = lanes.books.act(&needs, |facts, _| Some(hand_over(&hand, facts, false, IDENTITY)));
    assert!(made.await.unwrap().is_some());
    let (places, config, teller) = town.end().await;
    std::fs::remove_file(places.state.join(CLAIM_KEYS_FILE)).unwrap();
    let town = Town::resume(dir.path(), places, config, teller).await;
    let o = &town.operator;
    let is_clean = async || {
        let report = florin_operator::audit(&o.lanes).await.unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
    };
    is_clean().await;
    o.may_serve().await.unwrap();
    assert_eq!(town::worth(&town.collect(&bought).await), 188);
    assert!(trace(o, &holders(&town.places), Subject::Purchase(bought.id), true).await.recovered);
    is_clean().await;
    assert_eq!(florin_operator::audit(&o.lanes).await.unwrap().in_circulation, "1.88 FLO");
    town.end().await;
}
