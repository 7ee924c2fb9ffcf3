//! The vector files of vectors/coin are what the code makes, and the code makes the same every time.
//! Source: docs/rails/coin.md; vectors/coin/README.md says how to read them.
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

use florin_books::{DenominationId, Epoch, Issued, PartyId, TokenNumber, TxId};
use florin_coin::cash::{self, Cash, CashSeal};
use florin_coin::issuer::{Side, box_id};
use florin_coin::messages::{EncC1, Outcome, ValidationReq};
use florin_coin::refund_messages::RefundReq;
use florin_coin::{
    Calendar, Coin, CoinCause, CoinSet, Com, Epochs, HolderChoice, PDesc, TidPy, aggregate, holder, pay_id,
    payee, payer, purchaser, refund,
};
use florin_crypto::{ByteArray, Digest, KemSecretKey, SeededEntropy, SigningKey, cbor};
use florin_parties::bank::BankNews;
use florin_parties::{KeyUse, Roles, Terms, key_id, party_id};
use florin_rail::{Context, hpke_info, transcript};
use support::by_hand::begin;
use support::vectors::{Vectors, with};
use support::wire::{Wrap, message_of, scene};
use support::*;

const SEED: u64 = 100;

#[test]
fn values() {
    let mut v = Vectors::default();
    let w = World::new(SEED);
    let names = ["root", "signing", "kem", "tag", "acknowledgement", "cookie"];
    for name in names {
        let key = secret::<32>(name, SEED);
        v.add(
            &format!("secret {name}"),
            "README",
            "accept",
            &[("seed_text", format!("{name} {SEED}").as_bytes())],
            key.expose(),
        );
    }
    v.add("secret ids", "README", "accept", &[("seed_text", b"ids 100")], secret::<16>("ids", SEED).expose());
    let signing = SigningKey::from_seed(&secret("signing", SEED)).verify_key();
    let kem = KemSecretKey::from_seed(&secret("kem", SEED)).public_key();
    v.add(
        "party id of the operator",
        "numbers",
        "accept",
        &[("root_key", w.list.root.as_bytes())],
        w.list.operator.bytes(),
    );
    v.add(
        "key id, signatures",
        "G4",
        "accept",
        &[("key", signing.as_bytes())],
        &key_id(KeyUse::MessageSignature, signing.as_bytes()),
    );
    v.add("key id, envelopes", "G4", "accept", &[("key", &kem.0)], &key_id(KeyUse::Kem, &kem.0));
    v.add("party id", "numbers", "accept", &[("key", signing.as_bytes())], party_id(&signing).bytes());
    let context = Context::new("coin", "change", PartyId::NONE, w.list.operator);
    v.add("context", "G2", "accept", &[("recipient", w.list.operator.bytes())], &cbor::encode(&context));
    let kid = key_id(KeyUse::Kem, &kem.0);
    let info = hpke_info("coin", "change", w.list.operator, &kid);
    v.add("hpke info", "G2", "accept", &[("recipient", w.list.operator.bytes()), ("kid", &kid)], &info);
    v.add(
        "transcript",
        "G3",
        "accept",
        &[("first", b"one"), ("second", b"two")],
        transcript("coin", &[b"one", b"two"]).as_bytes(),
    );
    holders(&mut v);
    agreed(&mut v, &w);
    handed_on(&mut v, &w);
    v.compare("values.json");
}

/// Whose list is where.
fn holders(v: &mut Vectors) {
    let key = SigningKey::from_seed(&secret("refund", SEED)).verify_key();
    for (name, choice) in
        [("a participant", HolderChoice::Named(PartyId::new([5; 16]))), ("a key", HolderChoice::Key(key))]
    {
        let id = choice.document().unwrap().id;
        v.add(
            &format!("holder, {name}"),
            "VC 3, Refund",
            "accept",
            &[("holder", &cbor::encode(&choice))],
            &id,
        );
    }
}

/// What payer and payee agree on, and coins.
fn agreed(v: &mut Vectors, w: &World) {
    let com = Com {
        p_desc: PDesc {
            amount: flo(100),
            goods: "one page".into(),
            method: "coin".into(),
            terms: Digest([0; 32]),
        },
        tid: TidPy::new([1; 16]),
        payer: PartyId::new([2; 16]),
        payee: PartyId::new([3; 16]),
        issuer: w.list.operator,
        salt: ByteArray([4; 16]),
        deadline: START,
    };
    v.add("H(Com)", "VC 3.2, V2", "accept", &[("com", &cbor::encode(&com))], com.digest().as_bytes());
    v.add("pay_id", "V2", "accept", &[("h_com", com.digest().as_bytes())], pay_id(&com.digest()).bytes());
    for (name, side) in [("to payee", Side::ToPayee), ("to payer", Side::ToPayer)] {
        let id = box_id(com.payee, com.tid, side);
        v.add(
            &format!("box {name}"),
            "post box",
            "accept",
            &[("payee", com.payee.bytes()), ("tid", com.tid.bytes())],
            &id,
        );
    }
    for (counter, value) in [(0u64, 1u64), (1, 1), (7, 500), (florin_books::COUNTER_MAX, 100)] {
        let index = register().denominations.index_of(value).unwrap();
        let denomination = DenominationId::new(COINS, index).unwrap();
        let first = TokenNumber { lane: BOOKS, epoch: Epoch(666), denomination, counter };
        let coin = &w.issuer.mint(&[Issued { first, count: 1 }]).unwrap()[0];
        let name = format!("coin {counter} of {value}");
        v.add(&name, "VC 2.4, V9", "accept", &[("number_block", &first.to_block())], &cbor::encode(coin));
    }
}

/// Coins handed on as a text, and what is claimed of it. Source: docs/rails/coin.md, "Cash".
fn handed_on(v: &mut Vectors, w: &World) {
    let index = register().denominations.index_of(50).unwrap();
    let denomination = DenominationId::new(COINS, index).unwrap();
    let first = TokenNumber { lane: BOOKS, epoch: Epoch(666), denomination, counter: 3 };
    let coins = set(&w.issuer.mint(&[Issued { first, count: 2 }]).unwrap());
    let cash = Cash { id: [9; 16], coins, memo: "for the book".into(), at: START };
    let mut entropy = SeededEntropy::new("cash");
    let text = cash::seal(w.list.operator, &cash, &CashSeal::Bearer, &mut entropy).unwrap();
    let coins = cbor::encode(&cash.coins);
    let inputs: [(&str, &[u8]); 3] = [("id", &cash.id), ("coins", &coins), ("memo_text", b"for the book")];
    v.add("cash, bearer", "VC 1.2", "accept", &inputs, text.as_bytes());
}

/// The insides of all requests, good and bent. What is refused here is refused before anything is looked at.
#[test]
fn messages() {
    let mut v = Vectors::default();
    let mut s = scene(SEED);
    for r in s.take_requests() {
        let step = message_of(r.path).to_owned();
        let kind = match r.wrap {
            Wrap::Plain => "plain",
            Wrap::Sealed => "sealed",
            Wrap::Signed => "signed and sealed",
            Wrap::Authorised => "signed, in e_K",
        };
        let good = r.inside.clone();
        let mut long_head = vec![0x98, good[0] & 0x1f];
        long_head.extend_from_slice(&good[1..]);
        let mut map = good.clone();
        map[0] ^= 0x20;
        let cases = [
            ("one element more", one_element_more(&good)),
            ("a head that is too long", long_head),
            ("a map", map),
            ("followed by something", [&good[..], &[0xf6]].concat()),
            ("cut", good[..good.len() - 1].to_vec()),
        ];
        for (what, inside) in cases {
            let body = s.body(&r, &inside);
            assert_eq!(slug(&s.w.post(r.path, &body)), "bad-request");
            v.add(
                &format!("{step}: {what}"),
                "G1",
                "bad-request",
                &[("wrapped_text", kind.as_bytes()), ("message", &inside)],
                &[],
            );
        }
        v.add(
            &step,
            "docs/rails/coin.md",
            "accept",
            &[("wrapped_text", kind.as_bytes()), ("message", &good)],
            &good,
        );
    }
    assert!(v.refusing > v.accepting);
    v.compare("messages.json");
}

/// Every step: bent bodies first, which change nothing, then the good one, twice.
#[test]
fn steps() {
    let mut v = Vectors::default();
    let mut s = scene(SEED);
    let stranger = SigningKey::generate(&mut SeededEntropy::new("a stranger"));
    for r in s.take_requests() {
        let step = message_of(r.path).to_owned();
        let body = s.body(&r, &r.inside);
        let mut flipped = body.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let mut cases = vec![
            ("one element more outside", "G1", one_element_more(&body)),
            ("cut", "G1", body[..body.len() / 2].to_vec()),
        ];
        if step != "box-put" && step != "box-take" {
            cases.push(("a flipped bit", "VC 3.2, spoilers", flipped));
        }
        if matches!(r.wrap, Wrap::Signed | Wrap::Authorised) {
            cases.push(("signed by a stranger", "G9", s.body_by(&r, &r.inside, Some(&stranger))));
        }
        if r.wrap == Wrap::Sealed || r.wrap == Wrap::Signed {
            cases.push(("sealed as another message", "G2", s.w.sealed("other", &r.inside)));
        }
        for (what, source, body) in cases {
            v.post(&mut s.w, &format!("{step}: {what}"), source, "bad-request", r.path, &body);
        }
        let name = format!("{step}: good");
        let answer = v.post(&mut s.w, &name, "docs/rails/coin.md", "accept", r.path, &body);
        if !matches!(step.as_str(), "wrequest1" | "box-take") {
            assert_eq!(v.post(&mut s.w, &format!("{step}: repeated"), "G6", "accept", r.path, &body), answer);
        }
    }
    assert!(v.refusing > v.accepting);
    v.compare("steps.json");
}

fn deny(
    v: &mut Vectors,
    w: &mut World,
    shop: &Person,
    name: &str,
    source: &str,
    coins: &[Coin],
    expect: &str,
) {
    let deal = w.deal(shop, coins);
    let claims = register().denominations.split_minor(worth(coins)).unwrap();
    let v_desc = payee::refresh(flo(worth(coins)), claims).unwrap();
    let asked = w.request(shop, &deal.presented, v_desc);
    let answer = v.post(w, name, source, expect, asked.path, &asked.body);
    let issuance = payee::read_issuance1(&asked.pending, &answer, &w.list).unwrap();
    assert_eq!(issuance.verdict.outcome, Outcome::Denied);
    let news = payer::read_payer_verdict(&deal.paying.pending, &issuance.for_payer, &w.list).unwrap();
    assert_eq!(news.causes.last().unwrap().cause.slug(), expect);
}

/// Payments and exchanges that the issuer must refuse, each with its cause.
#[test]
fn refusals() {
    let mut v = Vectors::default();
    let mut w = World::new(SEED);
    let (buyer, shop) = (w.enrolled(Roles::BOTH), w.person());
    let coins = w.buy(&buyer, &[100, 100, 50, 20]);
    let deal = w.deal(&shop, &coins[..1]);
    let asked = w.request(&shop, &deal.presented, refresh(&[50, 50]));
    v.post(&mut w, "payment with refresh", "VC 3.2, P1", "accept", asked.path, &asked.body);
    let again = w.request(&shop, &deal.presented, refresh(&[50, 50]));
    v.post(&mut w, "the same under a new reply key", "V3", "accept", again.path, &again.body);
    let (forged, foreign) = (with(&coins[1], |c| c.tag.0[0] ^= 1), with(&coins[1], |c| c.id.0[0] ^= 1));
    deny(&mut v, &mut w, &shop, "a spent coin", "VC 3.2, P2", &coins[..2], CoinCause::Spent.slug());
    deny(&mut v, &mut w, &shop, "a forged tag", "VC 2.4, V9", &[forged], CoinCause::Forged.slug());
    deny(
        &mut v,
        &mut w,
        &shop,
        "a raised value",
        "V9",
        &[with(&coins[1], |c| c.value = 500)],
        CoinCause::Forged.slug(),
    );
    deny(
        &mut v,
        &mut w,
        &shop,
        "a later expiry",
        "V9",
        &[with(&coins[1], |c| c.expires = c.expires.plus_ms(1))],
        CoinCause::Forged.slug(),
    );
    deny(&mut v, &mut w, &shop, "another operator's coin", "VC 2.4", &[foreign], CoinCause::Foreign.slug());
    deny(
        &mut v,
        &mut w,
        &shop,
        "a coin twice",
        "V5",
        &[coins[1].clone(), coins[1].clone()],
        CoinCause::Twice.slug(),
    );
    hostile_payments(&mut v, &mut w, &buyer, &shop, &coins);
    hostile_exchanges(&mut v, &mut w, &buyer, &coins);
    hostile_purchases(&mut v, &mut w, &buyer, &shop);
    hostile_refunds(&mut v, &mut w, &buyer, &shop);
    w.now = coins[1].expires.plus_ms(1);
    deny(&mut v, &mut w, &shop, "an expired coin", "VC 2.4", &coins[1..2], CoinCause::Expired.slug());
    let table = Epochs::begin(Calendar::of(&Terms::default()), w.now, &[coins[1].epoch]);
    w.issuer.set_epochs(Arc::new(table.revoke(coins[1].epoch, w.now).unwrap()));
    deny(
        &mut v,
        &mut w,
        &shop,
        "a coin of a revoked epoch",
        "coin.md, Epochs",
        &coins[1..2],
        CoinCause::Revoked.slug(),
    );
    w.audit();
    assert!(v.refusing > v.accepting);
    v.compare("refusals.json");
}

fn hostile_payments(v: &mut Vectors, w: &mut World, buyer: &Person, shop: &Person, coins: &[Coin]) {
    let (one, two) = (w.deal(shop, &coins[1..2]), w.deal(shop, &coins[1..2]));
    let mut diverted = two.presented.clone();
    diverted.enc_c1 = one.presented.enc_c1.clone();
    diverted.payer = one.presented.payer;
    let v_desc = refresh(&[100]);
    let path = payee::VALIDATION_PATH;
    let mut send =
        |w: &mut World, name: &str, source: &str, expect: &str, by: &Person, p: &payee::Presented, d| {
            let asked = w.request(by, p, d);
            v.post(w, name, source, expect, path, &asked.body);
        };
    send(w, "SendCoins copied into another run", "V2", "payment-denied", shop, &diverted, v_desc.clone());
    send(w, "another payee than EncC1 names", "V3", "payment-denied", buyer, &one.presented, v_desc.clone());
    let mut later = one.presented.clone();
    later.deadline = later.deadline.plus_ms(1);
    send(w, "another deadline than EncC1 names", "V2", "payment-denied", shop, &later, v_desc.clone());
    let mut past = one.presented.clone();
    past.deadline = w.now.minus_ms(1);
    send(w, "after the deadline", "G6", "payment-expired", shop, &past, v_desc.clone());
    past.deadline = w.now.plus_ms(2 * DAY);
    send(w, "a deadline too far ahead", "G6", "request-expired", shop, &past, v_desc.clone());
    send(
        w,
        "redemption without enrolment",
        "VC 3",
        "not-enrolled",
        shop,
        &one.presented,
        payee::redeem(flo(100)),
    );
    let gathers = payee::aggregate(flo(100));
    send(w, "aggregation without enrolment", "VC 3", "not-enrolled", shop, &one.presented, gathers);
    let mut d = v_desc.clone();
    d.amount = flo(200);
    send(w, "a list that does not add up", "VC 2.4", "wrong-denominations", shop, &one.presented, d.clone());
    d.amount = "1.00 EUR".parse().unwrap();
    send(w, "another currency", "VC 3.2", "wrong-currency", shop, &one.presented, d.clone());
    (d.amount, d.list) = (flo(0), list(&[]));
    send(w, "nothing", "VC 2.4", "wrong-coin-count", shop, &one.presented, d);
    let inside = EncC1 {
        context: Context::new("coin", "enc-c1", one.com.payer, w.list.operator),
        payee: shop.id(),
        deadline: one.com.deadline,
        coins: CoinSet { total: flo(500), coins: coins[1..2].to_vec() },
    };
    let mut lying = one.presented.clone();
    lying.enc_c1 = w.enc_c1(&one.com, &inside).0;
    send(w, "a sum that is not the coins'", "G1", "payment-denied", shop, &lying, refresh(&[500]));
    // The real one, then what comes after it.
    let status = payer::status_request(&one.paying.pending, false).unwrap();
    v.post(w, "the payer asks too early", "V4", "not-yet", payer::STATUS_PATH, &status);
    let give_up = payer::status_request(&one.paying.pending, true).unwrap();
    v.post(w, "the payer gives up", "V4", "accept", payer::STATUS_PATH, &give_up);
    let late = w.request(shop, &one.presented, refresh(&[100]));
    v.post(w, "a late copy after never", "V4", "accept", path, &late.body);
    let mut forged: florin_coin::messages::PayerStatus = cbor::decode_strict(&give_up).unwrap();
    forged.give_up = Some(ByteArray([0; 32]));
    v.post(w, "somebody else gives up", "V4", "bad-request", payer::STATUS_PATH, &cbor::encode(&forged));
    let m = ValidationReq {
        context: Context::new("coin", "validation-req", PartyId::new([9; 16]), w.list.operator),
        payer: two.presented.payer,
        tid: two.presented.tid,
        v_desc,
        com: two.presented.com,
        deadline: two.presented.deadline,
        enc_c1: two.presented.enc_c1.clone(),
    };
    let body = w.sealed("validation-req", &florin_parties::sealed::sign(&shop.keys.signing, &m));
    v.post(w, "an unknown payee", "G9", "bad-request", path, &body);
}

fn hostile_exchanges(v: &mut Vectors, w: &mut World, buyer: &Person, coins: &[Coin]) {
    let (key, exp) = (w.key(), w.exp());
    let mut change = |w: &mut World, name: &str, expect: &str, coins: &[Coin], id: u8| {
        let (txid, whole) =
            (TxId::new([id; 16]), register().denominations.split_minor(worth(coins)).unwrap());
        let asked = holder::change(&key, set(coins), whole, txid, exp, &mut w.entropy).unwrap();
        let answer = v.post(w, name, "VC 3, Change", expect, asked.path, &asked.body);
        if answer.is_empty() {
            return;
        }
        let news = holder::read_exchange(&asked.pending, &answer, &w.list).unwrap();
        assert_eq!(news.causes.first().map_or("accept", |b| b.cause.slug()), expect);
    };
    change(w, "change of spent coins", "coin-spent", &coins[..1], 1);
    change(w, "change", "accept", &coins[2..3], 2);
    change(w, "a request id for other coins", "request-id-reused", &coins[3..], 2);
    change(w, "change of changed coins", "coin-spent", &coins[2..3], 3);
    let spent = holder::refresh(&key, set(&coins[..1]), TxId::new([5; 16]), exp, &mut w.entropy).unwrap();
    let answer = v.post(w, "refresh of spent coins", "VC 3, Refresh", "coin-spent", spent.path, &spent.body);
    let news = holder::read_exchange(&spent.pending, &answer, &w.list).unwrap();
    assert_eq!(news.causes[0].cause, CoinCause::Spent);
    let wish = (florin_money::Currency::FLO, Some(1));
    let more = aggregate::redeem(&key, &buyer.keys, wish, TxId::new([6; 16]), exp, &mut w.entropy).unwrap();
    let name = "redemption of more than was gathered";
    v.post(w, name, "VC 3, aggregation", "not-enough-gathered", more.path, &more.body);
    let asked =
        holder::redeem(&key, &buyer.keys, set(&coins[3..]), TxId::new([4; 16]), exp, &mut w.entropy).unwrap();
    v.post(w, "redemption", "VC 3, Redeem", "accept", asked.path, &asked.body);
    assert_eq!(w.live_worth(), 100 + 100 + 50, "two refreshed, one whole, one changed");
}

fn hostile_purchases(v: &mut Vectors, w: &mut World, buyer: &Person, shop: &Person) {
    let path = purchaser::WREQUEST3_PATH;
    let w_desc = w.w_desc(&[100]);
    let mut other = w_desc.clone();
    other.account = OTHER_IBAN.parse().unwrap();
    let mut short = w_desc.clone();
    short.total = flo(99);
    for (name, expect, who, w_desc) in [
        ("a purchase by somebody not enrolled", "not-enrolled", shop, &w_desc),
        ("a purchase from another account", "account-not-enrolled", buyer, &other),
        ("a purchase that does not add up", "wrong-denominations", buyer, &short),
    ] {
        let body = begin(w, who, w_desc.clone()).signed_by(&who.keys.signing);
        v.post(w, name, "VC 3.1, W2", expect, path, &body);
    }
    let begun = begin(w, buyer, w_desc.clone());
    let body = begun.signed_by(&buyer.keys.signing);
    v.post(w, "a purchase", "VC 3.1", "accept", path, &body);
    let mut again = begun;
    again.claim = [8; 16];
    v.post(
        w,
        "another content under the same R_I",
        "V7",
        "request-id-reused",
        path,
        &again.signed_by(&buyer.keys.signing),
    );
    let (purchase, order) = w.order_coins(buyer, &[10]);
    let (key, exp) = (w.key(), w.exp());
    let early = purchaser::collect(&key, &purchase, exp, &mut w.entropy).unwrap();
    v.post(w, "collect before the bank has spoken", "VC 3.1, W2", "not-yet", early.path, &early.body);
    w.bank(BankNews::Rejected(order, "AM04".into()));
    v.post(w, "collect after the bank has refused", "VC 3.1, W2", "accept", early.path, &early.body);
}

fn hostile_refunds(v: &mut Vectors, w: &mut World, buyer: &Person, shop: &Person) {
    let key = SigningKey::from_seed(&secret("refund", SEED));
    let (other, path) = (SigningKey::from_seed(&secret("refund", SEED + 1)), refund::REFUND_PATH);
    let named = w.buy_named(buyer, &[20, 10]);
    w.buy_refundable(buyer, &[5], &key);
    let (issuer, exp) = (w.list.operator, w.exp());
    let request = |sender, holder, id: u8| RefundReq {
        context: Context::new("coin", "refund", sender, issuer),
        holder,
        txid: TxId::new([id; 16]),
        exp,
    };
    let by_name = HolderChoice::Named(buyer.id());
    let by_key = HolderChoice::Key(key.verify_key());
    let nobody = PartyId::NONE;
    for (name, expect, signer, request) in [
        ("a refund of another's coins", "bad-request", &shop.keys.signing, request(buyer.id(), by_name, 21)),
        ("a refund under another's id", "bad-request", &shop.keys.signing, request(shop.id(), by_name, 22)),
        ("a refund by another key", "bad-request", &other, request(nobody, by_key, 23)),
        ("a refund to nobody", "bad-request", &key, request(nobody, HolderChoice::Nobody, 24)),
        ("a refund to a key that has none", "nothing-to-refund", &other, {
            request(nobody, HolderChoice::Key(other.verify_key()), 25)
        }),
        ("a refund by name", "accept", &buyer.keys.signing, request(buyer.id(), by_name, 26)),
        ("a refund by a one-time key", "accept", &key, request(nobody, by_key, 27)),
    ] {
        let body = w.sealed("refund", &florin_parties::sealed::sign(signer, &request));
        v.post(w, name, "VC 3, Refund", expect, path, &body);
    }
    deny(v, w, shop, "a coin that was refunded", "VC 3, Refund", &named[..1], CoinCause::Spent.slug());
}
