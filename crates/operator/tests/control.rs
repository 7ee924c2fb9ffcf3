//! Dual control against whoever tries to do without: one holder, the same one twice, an order that was altered, is over, for
//! another operator, or was carried out before. Source: ADR 0028; docs/operator.md, "Two key holders".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod world;

use florin_books::{Account, Clock, Epoch, OnceKey, PartyId, TxId};
use florin_coin::holder;
use florin_coin::issuer::RedeemStep;
use florin_crypto::random;
use florin_operator::control::{
    Action, ORDER_LIFE_MAX_MS, ORDER_PREFIX, RAIL_NUMBER, STEP_ORDER, SignedOrder,
};
use florin_operator::owed;
use florin_parties::asker::{prepare_confirm, prepare_enrol};
use florin_parties::bank::Order;
use florin_parties::kinds::SUBMIT_ORDER;
use florin_parties::{ConfirmStep, EnrolStep, Roles};
use florin_shell::entropy::OsEntropy;
use world::{DAY, IBAN, Person, World, flo, key_holder, slug};

async fn try_order(world: &World, order: &SignedOrder) -> &'static str {
    let before = (world.current(), world.operator.lanes.books.books.durable());
    let said = slug(world.operator.execute(order).await);
    if said != "done" {
        let after = (world.current(), world.operator.lanes.books.books.durable());
        assert_eq!(before, after, "{said}: refused, and still something changed");
    }
    said
}

#[tokio::test]
async fn an_order_needs_both_holders_and_happens_once() {
    let world = World::new(|_| {});
    let first = world.current();
    let mut order = world.order(Action::Rotate);
    assert_eq!(try_order(&world, &order).await, "order-needs-two");
    order.sign(&world.holders[0]).unwrap();
    assert_eq!(try_order(&world, &order).await, "order-needs-two");
    assert_eq!(order.sign(&world.holders[0]).unwrap_err().slug, "order-same-holder");
    order.sign(&world.holders[1]).unwrap();
    let read = SignedOrder::from_text(&order.to_text()).unwrap();
    assert_eq!(try_order(&world, &read).await, "done");
    assert_eq!(world.current().0, first.0 + 1);
    assert_eq!(try_order(&world, &read).await, "order-replayed");
    let executed = world.operator.executed().unwrap();
    assert_eq!((executed.len(), executed[0].names.clone()), (1, vec!["Ada".to_owned(), "Bob".to_owned()]));
    assert!(executed[0].order == read, "with both signatures");
    let world = world.reopen();
    assert_eq!(try_order(&world, &read).await, "order-replayed");
    assert_eq!(world.current().0, first.0 + 1);
    world.is_clean().await;
}

#[tokio::test]
async fn twice_at_once_is_once() {
    let world = World::new(|_| {});
    let first = world.current();
    let order = world.signed(Action::Rotate);
    let (a, b) = tokio::join!(world.operator.execute(&order), world.operator.execute(&order));
    let mut said = [slug(a), slug(b)];
    said.sort_unstable();
    assert_eq!(said, ["done", "order-replayed"]);
    assert_eq!(world.current().0, first.0 + 1);
}

#[tokio::test]
async fn an_order_that_a_crash_left_between_the_lanes_is_given_again_and_noted() {
    let world = World::new(|_| {});
    let first = world.current();
    let order = world.signed(Action::Rotate);
    let txid = order.order_unverified().unwrap().nonce.0;
    let key = OnceKey { rail: RAIL_NUMBER, step: STEP_ORDER, party: PartyId::NONE, txid };
    world.operator.rotate_epoch(Some(key)).await.unwrap();
    let world = world.reopen();
    assert_eq!((world.current().0, world.operator.executed().unwrap().len()), (first.0 + 1, 0));
    assert_eq!(try_order(&world, &order).await, "done");
    assert_eq!((world.current().0, world.operator.executed().unwrap().len()), (first.0 + 1, 1), "not again");
    assert_eq!(try_order(&world, &order).await, "order-replayed");
}

#[tokio::test]
async fn orders_that_are_over_or_for_somebody_else_are_refused() {
    let world = World::new(|_| {});
    let order = world.signed(Action::Rotate);
    let now = world.clock.now();
    world.clock.later(DAY + 1);
    assert_eq!(try_order(&world, &order).await, "order-expired");
    world.clock.set(now.minus_ms(6 * 60 * 1000));
    assert_eq!(try_order(&world, &order).await, "order-expired", "not good yet");
    world.clock.set(now);
    let other = World::new(|_| {});
    let foreign = SignedOrder::new(other.operator.id, Action::Rotate, now, DAY, &mut OsEntropy);
    let mut foreign = foreign;
    world.holders.iter().for_each(|h| foreign.sign(h).unwrap());
    assert_eq!(try_order(&world, &foreign).await, "order-other-operator");
    let long = SignedOrder::new(world.operator.id, Action::Rotate, now, u64::MAX, &mut OsEntropy);
    assert_eq!(long.order_unverified().unwrap().exp, now.plus_ms(ORDER_LIFE_MAX_MS));
}

#[tokio::test]
async fn signatures_of_others_and_over_other_bytes_are_refused() {
    let world = World::new(|_| {});
    let mallory = key_holder(&world.dir, "Mallory");
    let mut order = world.order(Action::Rotate);
    order.sign(&world.holders[0]).unwrap();
    order.sign(&mallory).unwrap();
    assert_eq!(try_order(&world, &order).await, "order-not-by-holder");
    // The signatures of one order under another's bytes.
    let (harmless, wanted) = (world.signed(Action::ReleasePayouts), world.order(Action::Rotate));
    let bytes = |o: &SignedOrder| {
        data_encoding::BASE64URL_NOPAD
            .decode(o.to_text().strip_prefix(ORDER_PREFIX).unwrap().as_bytes())
            .unwrap()
    };
    let (order_of, signatures): (florin_crypto::Bytes, Vec<florin_crypto::Bytes>) =
        florin_crypto::cbor::decode_strict(&bytes(&wanted)).unwrap();
    assert!(signatures.is_empty());
    let (_, stolen): (florin_crypto::Bytes, Vec<florin_crypto::Bytes>) =
        florin_crypto::cbor::decode_strict(&bytes(&harmless)).unwrap();
    let text = |order: &florin_crypto::Bytes, signatures: &[florin_crypto::Bytes]| {
        let all = florin_crypto::cbor::encode(&(order.clone(), signatures.to_vec()));
        format!("{ORDER_PREFIX}{}", data_encoding::BASE64URL_NOPAD.encode(&all))
    };
    let put_together = SignedOrder::from_text(&text(&order_of, &stolen)).unwrap();
    assert_eq!(try_order(&world, &put_together).await, "order-altered");
    // The same signature twice is one holder.
    let once = world.signed(Action::Rotate);
    let (order_of, mut signatures): (florin_crypto::Bytes, Vec<florin_crypto::Bytes>) =
        florin_crypto::cbor::decode_strict(&bytes(&once)).unwrap();
    signatures[1] = signatures[0].clone();
    let twice = SignedOrder::from_text(&text(&order_of, &signatures)).unwrap();
    assert_eq!(try_order(&world, &twice).await, "order-same-holder");
    // Every flipped bit is noticed.
    let whole = bytes(&once);
    for at in (0..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        let text = format!("{ORDER_PREFIX}{}", data_encoding::BASE64URL_NOPAD.encode(&flipped));
        if let Ok(order) = SignedOrder::from_text(&text) {
            assert_ne!(try_order(&world, &order).await, "done", "byte {at}");
        }
    }
    for bad in ["", "florinorder1", "florinorder1!!", "florinorder2AAAA"] {
        assert_eq!(SignedOrder::from_text(bad).map(|_| ()).unwrap_err().slug, "order-malformed");
    }
}

#[tokio::test]
async fn what_the_epochs_do_not_allow_is_refused_and_the_order_stays_good() {
    let world = World::new(|_| {});
    let epoch = world.current();
    world.supply(&[10]).await;
    let unknown = Epoch(epoch.0 + 7);
    assert_eq!(try_order(&world, &world.signed(Action::DropEpoch(unknown))).await, "epoch-cannot");
    assert_eq!(try_order(&world, &world.signed(Action::DropEpoch(epoch))).await, "epoch-cannot", "in use");
    let archive = world.signed(Action::ArchiveEpoch(epoch));
    assert_eq!(try_order(&world, &archive).await, "epoch-cannot", "in use");
    assert!(!world.dir.path().join("operator/archive").exists(), "nothing was written");
    let revoke = world.signed(Action::RevokeEpoch(epoch, "test".into()));
    assert_eq!(try_order(&world, &revoke).await, "done");
    let again = world.signed(Action::RevokeEpoch(epoch, "test".into()));
    assert_eq!(try_order(&world, &again).await, "epoch-cannot");
    let end = world.operator.issuer.epochs().entry(epoch).unwrap().grace_end.unwrap();
    world.clock.set(end.plus_ms(1));
    for action in [Action::ArchiveEpoch(epoch), Action::DropEpoch(epoch)] {
        assert_eq!(try_order(&world, &world.signed(action)).await, "done");
    }
    assert_eq!(world.in_circulation(), 0);
    world.is_clean().await;
}

async fn redeemer(world: &World) -> Person {
    let person = world.person().await;
    let list = world.operator.published().list.clone();
    let (identity, keys) = (&world.operator.lanes.identity, world.operator.keys.clone());
    let tx = || (TxId::new(random(&mut OsEntropy)), world.exp());
    let (account, now) = (IBAN.parse().unwrap(), world.clock.now());
    let asked =
        prepare_enrol(&person.keys, Roles::REDEEMER, &account, &list, tx(), now, &mut OsEntropy).unwrap();
    let body = asked.body;
    identity.serve(&EnrolStep::new(keys.clone(), world.operator.currency), &body).await.unwrap();
    let code = identity.books.scan(florin_parties::kinds::ORDER).unwrap().iter().find_map(|(_, d)| {
        let order = florin_parties::OrderRecord::read(&d.value)?.order;
        order.remittance.strip_prefix("FLORIN CODE ").map(str::to_owned)
    });
    let asked = prepare_confirm(&person.keys, &code.unwrap(), &list, tx(), now, &mut OsEntropy).unwrap();
    identity.serve(&ConfirmStep::new(keys), &asked.body).await.unwrap();
    world.carried().await;
    person
}

async fn redeem(world: &World, who: &Person, values: &[u64]) {
    let set = world.supply(values).await;
    let txid = TxId::new(random(&mut OsEntropy));
    let asked = holder::redeem(&world.key(), &who.keys, set, txid, world.exp(), &mut OsEntropy).unwrap();
    let step = RedeemStep(world.operator.issuer.clone());
    world.operator.lanes.books.serve(&step, &asked.body).await.unwrap();
}

/// What the bank has been given, or will be, by pay-outs.
fn ordered(world: &World) -> u64 {
    let all = world.operator.lanes.identity.books.scan(florin_parties::kinds::ORDER).unwrap();
    let orders = all.iter().filter_map(|(_, d)| florin_parties::OrderRecord::read(&d.value));
    orders
        .map(|r| r.order)
        .filter(|o: &Order| o.remittance == "FLORIN PAYOUT")
        .map(|o| o.amount.minor())
        .sum()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..400 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

#[tokio::test]
async fn a_large_pay_out_waits_until_both_holders_release_it() {
    let world = World::new(|c| c.payout_release_above = Some("1.00".into()));
    let working = world.works();
    let who = redeemer(&world).await;
    redeem(&world, &who, &[100]).await;
    until("a pay-out of the limit goes at once", || ordered(&world) == 100).await;
    redeem(&world, &who, &[100, 1]).await;
    let party = Account::Party(who.keys.id());
    until("the larger one arrives", || world.identity(party) == -101).await;
    let (lanes, currency) = (&world.operator.lanes, world.operator.currency);
    let limit = world.operator.release_above;
    assert_eq!(limit, Some(flo(100)));
    // The everyday command does not let it go.
    let report = owed(lanes, currency, limit, true).await.unwrap();
    assert!(report.owed[0].waits_for_release && !report.owed[0].ordered);
    assert!(report.to_string().contains("waits for release"), "{report}");
    assert_eq!((ordered(&world), world.identity(party)), (100, -101));
    let order = world.signed(Action::ReleasePayouts);
    let mut one = world.order(Action::ReleasePayouts);
    one.sign(&world.holders[1]).unwrap();
    assert_eq!(slug(world.operator.execute(&one).await), "order-needs-two");
    assert_eq!(ordered(&world), 100);
    assert_eq!(world.operator.execute(&order).await.unwrap().released, 1);
    assert_eq!(slug(world.operator.execute(&order).await), "order-replayed");
    assert_eq!((ordered(&world), world.identity(party)), (201, 0));
    let waits = |l: &florin_books::Lane| l.outbox().any(|o| o.kind == SUBMIT_ORDER);
    until("the bank takes them up", || !lanes.identity.books.view(waits).unwrap()).await;
    world.is_clean().await;
    working.ends().await;
}

#[test]
fn a_limit_that_is_no_amount_is_refused_at_the_start() {
    let wrong = |text: &str| florin_operator::OperatorConfig {
        payout_release_above: Some(text.into()),
        ..florin_operator::OperatorConfig::default()
    };
    assert!(wrong("100.00").release_above().is_ok() && wrong("100.00 FLO").release_above().is_ok());
    for text in ["", "x", "-1.00", "1.001", "5 EUR"] {
        assert!(wrong(text).release_above().is_err(), "{text}");
    }
}
