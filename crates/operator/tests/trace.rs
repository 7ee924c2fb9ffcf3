//! A court's order: what a trace needs, what it leaves behind, and what it can mend. Source: V10; docs/operator.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod town;

use florin_books::{Needs, PartyId};
use florin_coin::PayId;
use florin_coin::issuer::Purchase;
use florin_crypto::{ByteArray, Bytes, Entropy, cbor};
use florin_operator::control::{Action, ControlError, REASON_MAX, SignedOrder};
use florin_operator::opened::FollowRequest;
use florin_operator::trace::Begun;
use florin_operator::trace_log::{self, Subject};
use florin_operator::{KeyHolder, Operator, OperatorError, two_holders};
use florin_shell::entropy::OsEntropy;
use florin_shell::passphrase::Passphrase;
use town::court::{MINUTE, REASON, opened, order, refused, signed, slug, trace, with_a_purchase};
use town::{Bought, Teller, Town, holders, make, open};

/// Gives every order one nonce.
struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(self.0);
    }
}

/// An order's own bytes with the signatures of other orders.
fn put_together(order: &SignedOrder, signatures: &[(&SignedOrder, usize)]) -> SignedOrder {
    type Parts = (Bytes, Vec<Bytes>);
    let parts = |order: &SignedOrder| cbor::decode_strict::<Parts>(&cbor::encode(order)).unwrap();
    let all: Vec<Bytes> = signatures.iter().map(|(from, n)| parts(from).1[*n].clone()).collect();
    cbor::decode_strict(&cbor::encode(&(parts(order).0, all))).unwrap()
}

/// Whoever is not both key holders, or gives no reason, opens nothing and leaves nothing in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_needs_both_holders_and_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::start(dir.path(), 1, 10).await;
    let bought = with_a_purchase(&town, true).await;
    let o = &town.operator;
    let [a, b] = holders(&town.places);
    let stranger = dir.path().join("stranger.key");
    let stranger = KeyHolder::create(&stranger, &a.name, &Passphrase::none(), &mut OsEntropy).unwrap();
    let subject = Subject::Purchase(bought.id);
    let good = order(o, &subject, REASON);
    let other = signed(&order(o, &subject, REASON), &[&a, &b]);
    let once = signed(&good, &[&a]);
    for (bad, why) in [
        (good.clone(), "order-needs-two"),
        (once.clone(), "order-needs-two"),
        (put_together(&good, &[(&once, 0), (&once, 0)]), "order-same-holder"),
        (signed(&good, &[&a, &stranger]), "order-not-by-holder"),
        (signed(&good, &[&stranger, &b]), "order-not-by-holder"),
        (signed(&good, &[&a, &b, &stranger]), "order-not-by-holder"),
        (put_together(&good, &[(&once, 0), (&other, 1)]), "order-altered"),
    ] {
        assert_eq!(slug(o, &bad).await, why);
    }
    let both = |order: &SignedOrder| signed(order, &[&a, &b]);
    let (now, action) = (o.clock.now(), Action::Trace(subject.clone(), REASON.to_owned()));
    let made = |operator, at| both(&SignedOrder::new(operator, action.clone(), at, MINUTE, &mut OsEntropy));
    assert_eq!(slug(o, &made(PartyId::new([1; 16]), now)).await, "order-other-operator");
    for at in [now.minus_ms(60 * MINUTE), now.plus_ms(60 * MINUTE)] {
        assert_eq!(slug(o, &made(o.id, at)).await, "order-expired");
    }
    for reason in ["", "  "] {
        assert_eq!(slug(o, &both(&order(o, &subject, reason))).await, "trace-without-reason");
    }
    let longest = "x".repeat(REASON_MAX);
    assert!(SignedOrder::from_text(&order(o, &subject, &longest).to_text()).is_ok());
    for reason in [format!("{longest}x"), "two\nlines".to_owned()] {
        let mut bad = order(o, &subject, &reason);
        assert_eq!(slug(o, &bad).await, "order-malformed");
        assert_eq!(SignedOrder::from_text(&bad.to_text()).unwrap_err().slug, "order-malformed");
        assert_eq!(bad.sign(&a).unwrap_err().slug, "order-malformed", "nobody signs it");
    }
    let rotate = SignedOrder::new(o.id, Action::Rotate, now, MINUTE, &mut OsEntropy);
    assert_eq!(slug(o, &both(&rotate)).await, "order-other-command");
    let unknown = [
        Subject::Purchase(town::txid()),
        Subject::Payment(PayId::new([9; 16])),
        Subject::Coin(ByteArray([9; 16])),
    ];
    for subject in unknown {
        assert_eq!(slug(o, &both(&order(o, &subject, REASON))).await, "trace-not-found");
    }
    let log = o.trace_log().unwrap();
    assert!(log.entries.is_empty() && log.findings.is_empty() && log.boxes == 0);
    let follow = FollowRequest { entry: 1, found: Vec::new(), recover: false, signatures: Vec::new() };
    assert_eq!(refused(o, &follow).await, "trace-not-found");
    let refused = o.execute(&both(&good)).await;
    assert!(matches!(refused, Err(ControlError::Refused(r)) if r.slug == "order-other-command"));
    assert!(o.executed().unwrap().is_empty());
    assert_eq!(slug(o, &both(&good)).await, "taken", "a refusal has not used it up");
    let refused = o.execute(&both(&good)).await;
    assert!(matches!(refused, Err(ControlError::Refused(r)) if r.slug == "order-replayed"));
    town.end().await;
}

/// An order that has the number of another one, which the log or the executed orders have, opens nothing: it would not
/// stand in the log.
#[tokio::test(flavor = "multi_thread")]
async fn two_orders_with_one_nonce_are_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::start(dir.path(), 1, 10).await;
    let (one, other) = (with_a_purchase(&town, true).await, with_a_purchase(&town, true).await);
    let [a, b] = holders(&town.places);
    let o = &town.operator;
    let now = o.clock.now();
    let numbered = |action: Action, n: u8| {
        signed(&SignedOrder::new(o.id, action, now, MINUTE, &mut Fixed(n)), &[&a, &b])
    };
    let trace = |of: &Bought, n| numbered(Action::Trace(Subject::Purchase(of.id), REASON.into()), n);
    let first = trace(&one, 7);
    let begun = o.trace_begin(&first).await.unwrap();
    assert_eq!(slug(o, &trace(&other, 7)).await, "order-replayed");
    let refused = o.execute(&numbered(Action::Rotate, 7)).await;
    assert!(matches!(refused, Err(ControlError::Refused(r)) if r.slug == "order-replayed"));
    let turned = put_together(&first, &[(&first, 1), (&first, 0)]);
    assert_eq!(o.trace_begin(&turned).await.unwrap(), begun, "the same order, signed in another order");
    o.execute(&numbered(Action::Rotate, 8)).await.unwrap();
    assert_eq!(slug(o, &trace(&other, 8)).await, "order-replayed");
    let (x, y) = (trace(&other, 9), trace(&other, 9));
    let (x, y) = tokio::join!(o.trace_begin(&x), o.trace_begin(&y));
    assert_eq!(x.unwrap(), y.unwrap(), "twice at once is once");
    let log = o.trace_log().unwrap();
    assert_eq!((log.entries.len(), log.boxes, log.findings.len()), (2, 2, 0));
    town.end().await;
}

/// Every order stands in the log once, in a chain whose end is public; what was changed afterwards is found.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_chained_and_its_number_is_public() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::start(dir.path(), 1, 10).await;
    let (anonymous, named) = (with_a_purchase(&town, true).await, with_a_purchase(&town, false).await);
    let files = holders(&town.places);
    let o = &town.operator;
    assert_eq!(town.description().await["openings"]["boxes"], 0);
    let order = order(o, &Subject::Purchase(anonymous.id), REASON);
    let request = signed(&order, &[&files[0], &files[1]]);
    let begun = o.trace_begin(&request).await.unwrap();
    assert_eq!(town.description().await["openings"]["boxes"], 1, "counted before anything is opened");
    assert_eq!(o.trace_begin(&request).await.unwrap(), begun, "the same order again is no other");
    let empty = Begun { boxes: Vec::new(), ..begun.clone() };
    let nothing = opened(o, &files, (&request, &empty), false);
    assert_eq!(refused(o, &nothing).await, "trace-not-found", "without its box it stays closed");
    let report = o.trace_follow(&opened(o, &files, (&request, &begun), false)).await.unwrap();
    assert_eq!(report.purchases[0].purchase, anonymous.id.to_string());
    trace(o, &files, Subject::Purchase(named.id), false).await;
    let log = o.trace_log().unwrap();
    assert_eq!((log.entries.len(), log.boxes, log.findings.len()), (2, 2, 0));
    assert_eq!(log.entries[0].holders, ["holder-1", "holder-2"]);
    assert_eq!(log.entries[0].reason, REASON);
    let public = town.description().await["openings"].clone();
    assert_eq!(public["orders"], 2);
    assert_eq!(public["log"], log.digest);

    let known = two_holders(&o.config.key_holder).unwrap();
    let identity = &o.lanes.identity;
    let (entries, head) = (trace_log::entries(identity).unwrap(), trace_log::head(identity).unwrap());
    assert!(trace_log::verify(&entries, &head, &known).is_empty());
    type Bend = fn(&mut Vec<trace_log::LogEntry>);
    let bends: [Bend; 5] = [
        |all| drop(all.remove(0)),
        |all| drop(all.pop()),
        |all| all[0].reason = "none".into(),
        |all| all[1].boxes = 0,
        |all| all[1].order = all[0].order.clone(),
    ];
    for bend in bends {
        let mut bent = entries.clone();
        bend(&mut bent);
        assert!(!trace_log::verify(&bent, &head, &known).is_empty());
    }
    // Who could write the whole chain anew still has no signatures.
    let mut forged = entries.clone();
    forged[1].order = order.clone();
    forged[1].subject = Subject::Purchase(anonymous.id);
    for by in [vec![], vec![0], vec![0, 0]] {
        let from: Vec<_> = by.iter().map(|n| (&request, *n)).collect();
        forged[1].order = put_together(&order, &from);
        let end = trace_log::LogHead { digest: forged[1].digest(), ..head };
        assert_eq!(trace_log::verify(&forged, &end, &known), ["entry 2 is not what its holders have signed"]);
    }
    town.end().await;
}

/// Who did not wish to be anonymous stands readable; who did, does not.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_named_purchase_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::start(dir.path(), 1, 10).await;
    for anonymous in [true, false] {
        let bought = with_a_purchase(&town, anonymous).await;
        town.collect(&bought).await;
        let key = Purchase::key_of(bought.id);
        let needs = Needs { documents: vec![key], ..Needs::default() };
        let facts = town.operator.lanes.identity.books.load(&needs).unwrap();
        let purchase = facts.document(&key).and_then(Purchase::read).unwrap();
        assert_eq!(purchase.named_claim_id().is_none(), anonymous);
        assert!(purchase.escrow.is_some());
    }
    town.end().await;
}

#[test]
fn an_operator_without_two_key_holders_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let (places, mut config) = make(dir.path(), 1, 10);
    let teller = std::sync::Arc::new(Teller::default());
    config.key_holder.pop();
    let refused = Operator::open(config.clone(), &places, &Passphrase::none(), teller.clone()).map(|_| ());
    assert!(matches!(refused, Err(OperatorError::KeyHolder(_))));
    config.key_holder.push(config.key_holder[0].clone());
    let refused = Operator::open(config, &places, &Passphrase::none(), teller.clone()).map(|_| ());
    assert!(matches!(refused, Err(OperatorError::KeyHolder(_))));
    let (places, config) = make(&dir.path().join("another"), 1, 10);
    drop(open(&places, &config, &teller));
}
