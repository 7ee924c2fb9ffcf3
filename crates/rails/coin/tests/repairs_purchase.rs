//! The repairs V6-V9, as repairs_payment.rs does V1-V5. Source: docs/rails/coin.md, "Departures from the paper".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{DenominationId, Epoch, Issued, PartyId, TokenNumber, TxId};
use florin_coin::messages::Outcome;
use florin_coin::purchase_messages::{CollectAck, PurchaseIssuance1, WRequest2Answer};
use florin_coin::purchaser::{self, Collected};
use florin_coin::{Calendar, Coin, CoinCause, ReadError, holder, payer};
use florin_crypto::{ByteArray, SigningKey, cbor};
use florin_parties::bank::{BankNews, Direction};
use florin_parties::{Roles, Terms};
use support::by_hand::{begin, kept};
use support::wire::reply_of;
use support::*;

/// V6. Repair: `issuance_key` joins K's secret and the request's own exporter.
/// Whoever finds the claim, or an old K, has neither coins nor the power to make the purchaser lose them.
#[test]
fn v6_coins_are_sealed_under_the_kept_secret_and_a_fresh_one() {
    let mut w = World::new(21);
    let buyer = w.enrolled(Roles::PURCHASER);
    let w_desc = w.w_desc(&[100, 50]);
    let begun = begin(&mut w, &buyer, w_desc.clone());
    w.post(purchaser::WREQUEST3_PATH, &begun.signed_by(&buyer.keys.signing)).unwrap();
    let order = w.orders().into_iter().find(|o| o.direction == Direction::Debit).unwrap();
    w.bank(BankNews::Booked(order.id));
    // A thief with the claim but not with K: it gets bytes that it cannot open, and cannot acknowledge.
    let stolen = kept(begun.claim, [3; 32], &w_desc);
    let (asked, answer) = w.collect(&stolen);
    let answer = answer.unwrap();
    assert_eq!(purchaser::read_collected(&asked.pending, &answer, &w.list).err(), Some(ReadError::Answer));
    let context = florin_rail::Context::new("coin", "collect-ack", PartyId::NONE, w.list.operator);
    let claim = ByteArray(florin_crypto::digest("florin/v1/coin/claim", &[&begun.claim]).short());
    let forged = cbor::encode(&CollectAck { context, claim, mac: ByteArray([0; 32]) });
    assert_eq!(slug(&w.post(purchaser::ACK_PATH, &forged)), "bad-request");
    // The purchaser collects after the thief: the same coins under its own key; each time another ciphertext.
    let mine = begun.kept(&w_desc);
    let (asked, first) = w.collect(&mine);
    let (_, second) = w.collect(&mine);
    let first = first.unwrap();
    assert!(first != answer && first != second.unwrap());
    // K alone, found long after, does not open what was sent: each answer also needs its own request's key.
    let (_, frame) = reply_of(&asked.pending, 0);
    let old = florin_crypto::derive(&[begun.key("issuance").expose()], b"florin/v1/coin/purchase-issuance1");
    assert!(frame.open::<PurchaseIssuance1>(&old, &first).is_none());
    let read = purchaser::read_collected(&asked.pending, &first, &w.list).unwrap();
    let Collected::Coins { coins, ack } = read else { panic!("refused") };
    assert_eq!((worth(&coins), w.live_worth()), (150, 150));
    // Issuance2 ends it: the secret leaves the claim, and nobody gets the coins again.
    w.post(purchaser::ACK_PATH, &ack).unwrap();
    let k = *begun.key("issuance").expose();
    assert!(w.books.documents.values().all(|d| !holds(&d.value, &k)), "K's secret stands in no document");
    assert!(w.identity.documents.values().all(|d| !holds(&d.value, &k)));
    assert_eq!(slug(&w.collect(&mine).1), "request-id-reused");
    w.audit();
}

/// V6, the order. Repair: `claim.collected` in `mac_fits`.
#[test]
fn v6_nothing_is_acknowledged_before_it_is_collected() {
    let mut w = World::new(22);
    let buyer = w.enrolled(Roles::PURCHASER);
    let w_desc = w.w_desc(&[100]);
    let begun = begin(&mut w, &buyer, w_desc.clone());
    w.post(purchaser::WREQUEST3_PATH, &begun.signed_by(&buyer.keys.signing)).unwrap();
    let order = w.orders().into_iter().find(|o| o.direction == Direction::Debit).unwrap();
    w.bank(BankNews::Booked(order.id));
    let claim = florin_crypto::digest("florin/v1/coin/claim", &[&begun.claim]).short();
    let key = florin_crypto::derive(&[begun.key("issuance").expose()], b"florin/v1/coin/collect-ack");
    let mac = florin_crypto::MacKey::new(&key).tag("florin/v1/coin/collect-ack", &[&claim]);
    let context = florin_rail::Context::new("coin", "collect-ack", PartyId::NONE, w.list.operator);
    let ack = cbor::encode(&CollectAck { context, claim: ByteArray(claim), mac: ByteArray(mac) });
    assert_eq!(slug(&w.post(purchaser::ACK_PATH, &ack)), "bad-request");
    let (asked, answer) = w.collect(&begun.kept(&w_desc));
    assert!(purchaser::read_collected(&asked.pending, &answer.unwrap(), &w.list).is_ok());
    assert_eq!(slug(&w.post(purchaser::ACK_PATH, &ack)), "fine");
    w.audit();
}

fn wrequest2(w: &mut World, id: PartyId) -> WRequest2Answer {
    let (key, exp) = (w.key(), w.exp());
    let asked = purchaser::wrequest1(&key, id, exp, &mut w.entropy).unwrap();
    cbor::decode_strict(&w.post(asked.path, &asked.body).unwrap()).unwrap()
}

/// V7. Repair: the cookie instead of a record in `WRequest1Step::decide`; `Issuer::dummy` made of the id that was asked for.
#[test]
fn v7_a_beginning_leaves_no_trace_and_tells_nobody_who_is_known() {
    let mut w = World::new(23);
    let (buyer, blocked) = (w.enrolled(Roles::PURCHASER), w.person());
    w.block(blocked.id());
    let before = (w.identity.records.len(), w.books.records.len());
    let ids = [buyer.id(), blocked.id(), PartyId::new([1; 16]), PartyId::new([2; 16]), PartyId::NONE];
    let answers: Vec<_> = ids.iter().map(|id| (wrequest2(&mut w, *id), wrequest2(&mut w, *id))).collect();
    for (one, two) in &answers {
        assert_eq!(cbor::encode(one).len(), cbor::encode(&answers[0].0).len(), "the same size");
        assert_eq!(one.envelope.kid, two.envelope.kid, "each id has one key");
        assert_ne!(one.envelope.enc, two.envelope.enc);
        assert_ne!(one.cookie, two.cookie);
    }
    let mut kids: Vec<_> = answers.iter().map(|(one, _)| one.envelope.kid).collect();
    kids.sort_unstable();
    kids.dedup();
    assert_eq!(kids.len(), ids.len(), "and no two have the same, known or not");
    assert_eq!((w.identity.records.len(), w.books.records.len()), before, "the issuer has kept nothing");
    // The cookie is the issuer's: no bit of it can be changed, and it is of one run.
    let w_desc = w.w_desc(&[100]);
    let begun = begin(&mut w, &buyer, w_desc);
    for at in [0, begun.cookie.len() / 2, begun.cookie.len() - 1] {
        let w_desc = w.w_desc(&[100]);
        let mut tampered = begin(&mut w, &buyer, w_desc);
        tampered.cookie[at] ^= 1;
        assert_eq!(
            slug(&w.post(purchaser::WREQUEST3_PATH, &tampered.signed_by(&buyer.keys.signing))),
            "bad-request"
        );
    }
    w.audit();
}

/// V8. Repair: the comparison of context, R_I and th in `WRequest3Step::open`; G2's context in what S_CP covers.
#[test]
fn v8_what_is_signed_names_both_and_the_run() {
    let mut w = World::new(24);
    let (buyer, other) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::PURCHASER));
    let w_desc = w.w_desc(&[100]);
    let earlier = begin(&mut w, &buyer, w_desc.clone());
    type Change = fn(&mut florin_coin::purchase_messages::Authorisation);
    let changes: [(&str, Change); 6] = [
        ("another nonce", |a| a.r_i.0[0] ^= 1),
        ("another transcript", |a| a.th.0[0] ^= 1),
        ("another issuer", |a| a.context.recipient = PartyId::new([1; 16])),
        ("no purchaser", |a| a.context.sender = PartyId::NONE),
        ("another message", |a| a.context.message = "redeem".into()),
        ("another rail", |a| a.context.rail = "debit".into()),
    ];
    for (what, change) in changes {
        let mut begun = begin(&mut w, &buyer, w_desc.clone());
        change(&mut begun.authorisation);
        assert_eq!(
            slug(&w.post(purchaser::WREQUEST3_PATH, &begun.signed_by(&buyer.keys.signing))),
            "bad-request",
            "{what}"
        );
    }
    // A signature of an earlier run, taken into this one; a signature of another purchaser.
    let begun = begin(&mut w, &buyer, w_desc.clone());
    let old = florin_parties::sealed::sign(&buyer.keys.signing, &earlier.authorisation);
    assert_eq!(slug(&w.post(purchaser::WREQUEST3_PATH, &begun.around(old))), "bad-request");
    let key: &SigningKey = &other.keys.signing;
    assert_eq!(slug(&w.post(purchaser::WREQUEST3_PATH, &begun.signed_by(key))), "bad-request");
    assert_eq!(slug(&w.post(purchaser::WREQUEST3_PATH, &begun.signed_by(&buyer.keys.signing))), "fine");
    w.audit();
}

fn causes(w: &mut World, coins: &[Coin]) -> Vec<(u32, CoinCause)> {
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let total = worth(coins);
    let asked = holder::change(&key, set(coins), list(&[total]), txid, exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body).unwrap();
    let news = holder::read_exchange(&asked.pending, &answer, &w.list).unwrap();
    news.causes.into_iter().map(|b| (b.index, b.cause)).collect()
}

/// V9. Repair: `Issuer::coin` recomputes tags, `Issuer::look` checks tag and id, the lane checks the live bit.
#[test]
fn v9_a_coin_needs_a_tag_and_a_live_bit_and_no_tag_is_stored() {
    let mut w = World::new(25);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100, 100]);
    let deal = w.deal(&shop, &coins[..1]);
    let v = w.validate(&shop, &deal, &[100]);
    let fresh = w.read(&v).coins;
    let all: Vec<_> = coins.iter().chain(&fresh).collect();
    for record in w.books.records.iter().chain(&w.identity.records) {
        let bytes = cbor::encode(record);
        assert!(
            all.iter().all(|c| !holds(&bytes, &c.tag.0) && !holds(&bytes, &c.id.0)),
            "{:?}",
            record.core.seq
        );
    }
    // A right tag without a live bit: numbers that were never given.
    let epoch = Calendar::of(&Terms::default()).epoch_at(w.now);
    let index = register().denominations.index_of(100).unwrap();
    let first = TokenNumber {
        lane: BOOKS,
        epoch,
        denomination: DenominationId::new(COINS, index).unwrap(),
        counter: 1000,
    };
    let early = w.issuer.mint(&[Issued { first, count: 1 }]).unwrap();
    assert_eq!(causes(&mut w, &early), [(0, CoinCause::Spent)]);
    // A live bit without a right tag: each field that the tag covers.
    type Change = fn(&mut Coin);
    let changes: [(&str, Change); 4] = [
        ("the tag", |c| c.tag.0[0] ^= 1),
        ("the value", |c| c.value = 200),
        ("the expiry", |c| c.expires = c.expires.plus_ms(1)),
        ("the epoch", |c| c.epoch = Epoch(c.epoch.0 + 1)),
    ];
    for (what, change) in changes {
        let mut coin = coins[1].clone();
        change(&mut coin);
        assert_eq!(causes(&mut w, &[coin]), [(0, CoinCause::Forged)], "{what}");
    }
    let mut other = coins[1].clone();
    other.id.0[0] ^= 1;
    assert_eq!(causes(&mut w, &[other]), [(0, CoinCause::Foreign)], "an id that is none");
    // Another operator's coin, and a coin of a lane that is not here.
    let mut elsewhere = World::new(26);
    let stranger = elsewhere.enrolled(Roles::PURCHASER);
    let foreign = elsewhere.buy(&stranger, &[100]);
    assert_eq!(causes(&mut w, &foreign), [(0, CoinCause::Foreign)]);
    let lane = TokenNumber { lane: florin_books::LaneId(9), counter: 0, ..first };
    let other_lane = w.issuer.mint(&[Issued { first: lane, count: 1 }]).unwrap();
    assert_eq!(causes(&mut w, &other_lane), [(0, CoinCause::Foreign)]);
    assert_eq!(causes(&mut w, &coins[1..]), [], "and the good one is good");
    w.audit();
}

/// Expired coins do not pay, are exchanged for a while, and then no more. Source: VarietyCash §3 (Refresh).
#[test]
fn v9_expiry_and_grace() {
    let mut w = World::new(27);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100, 100]);
    let terms = Calendar::of(&Terms::default());
    w.now = coins[0].expires.plus_ms(1);
    let deal = w.deal(&shop, &coins[..1]);
    let v = w.validate(&shop, &deal, &[100]);
    let issuance = w.read(&v);
    assert_eq!(issuance.verdict.outcome, Outcome::Denied);
    let news = payer::read_payer_verdict(&deal.paying.pending, &issuance.for_payer, &w.list).unwrap();
    assert_eq!(news.causes[0].cause, CoinCause::Expired);
    assert_eq!(causes(&mut w, &coins[..1]), [(0, CoinCause::Expired)], "change is for coins that pay");
    let refreshed = |w: &mut World, coins: &[Coin]| {
        let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
        let asked = holder::refresh(&key, set(coins), txid, exp, &mut w.entropy).unwrap();
        let answer = w.post(asked.path, &asked.body).unwrap();
        let news = holder::read_exchange(&asked.pending, &answer, &w.list).unwrap();
        news.causes.iter().map(|b| (b.index, b.cause)).collect::<Vec<_>>()
    };
    assert_eq!(refreshed(&mut w, &coins[..1]), [], "refreshed in the grace period");
    w.now = terms.grace_end(coins[1].epoch).unwrap().plus_ms(1);
    assert_eq!(refreshed(&mut w, &coins[1..]), [(0, CoinCause::Expired)]);
    assert_eq!(w.live_worth(), 200);
    w.audit();
}
