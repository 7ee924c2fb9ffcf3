//! Bad input to every step of the issuer: shapes, addresses, signatures, bits. Nothing is recorded, and whoever is not
//! authenticated learns nothing but `bad-request`. Source: G1, G2, G5, G9; VarietyCash §2.3.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{PartyId, TxId};
use florin_coin::aggregate_messages::{AggregateBalanceReq, RedeemAggregateReq};
use florin_coin::messages::{ChangeReq, RedeemReq, RefreshReq};
use florin_coin::purchaser;
use florin_coin::refund_messages::RefundReq;
use florin_crypto::{KemSecretKey, SeededEntropy, SigningKey, cbor, kem};
use florin_parties::Roles;
use florin_rail::common::{BAD_REQUEST, MESSAGE_BYTES_MAX};
use florin_rail::{Context, hpke_info};
use minicbor::Decoder;
use support::wire::{Request, Scene, Wrap, message_of, scene};
use support::*;

fn untouched(s: &Scene, before: (usize, usize), what: &str) {
    assert_eq!((s.w.identity.records.len(), s.w.books.records.len()), before, "{what}");
}

fn counts(s: &Scene) -> (usize, usize) {
    (s.w.identity.records.len(), s.w.books.records.len())
}

/// Sends a body that must be refused as `bad-request`, in exactly the same words each time.
fn refused(s: &mut Scene, path: &str, body: &[u8], what: &str) {
    let before = counts(s);
    assert_eq!(s.w.post(path, body), Err(BAD_REQUEST), "{path}: {what}");
    untouched(s, before, what);
}

#[test]
fn every_request_of_the_scene_is_good() {
    let mut s = scene(31);
    for r in s.take_requests() {
        let body = s.body(&r, &r.inside);
        let answer = s.w.post(r.path, &body);
        assert_eq!(slug(&answer), "fine", "{}", r.path);
        if !matches!(message_of(r.path), "wrequest1" | "box-take" | "box-put") {
            assert_eq!(s.w.post(r.path, &body), answer, "{}: repeated", r.path);
        }
    }
    s.w.audit();
}

/// The same array in other clothes: one element more or less, another head, cut, followed by something.
fn misshapen(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut fewer = good.to_vec();
    fewer[0] -= 1;
    let mut last = Decoder::new(good);
    let n = last.array().unwrap().unwrap();
    (1..n).for_each(|_| last.skip().unwrap());
    fewer.truncate(last.position());
    let (mut long_head, mut indefinite) = (vec![0x98, good[0] & 0x1f], vec![0x9f]);
    long_head.extend_from_slice(&good[1..]);
    indefinite.extend_from_slice(&good[1..]);
    indefinite.push(0xff);
    let mut map = good.to_vec();
    map[0] ^= 0x20;
    let followed = [good, &[0xf6]].concat();
    vec![
        ("one element more", one_element_more(good)),
        ("one element fewer", fewer),
        ("a head that is too long", long_head),
        ("an indefinite length", indefinite),
        ("a map", map),
        ("followed by something", followed),
        ("cut", good[..good.len() - 1].to_vec()),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
    ]
}

#[test]
fn g1_no_message_has_another_shape() {
    let mut s = scene(32);
    for r in s.take_requests() {
        for (what, inside) in misshapen(&r.inside) {
            let body = s.body(&r, &inside);
            refused(&mut s, r.path, &body, what);
        }
        // The outside too: the envelope, or WRequest3's two parts.
        let body = s.body(&r, &r.inside);
        for (what, body) in misshapen(&body) {
            refused(&mut s, r.path, &body, what);
        }
    }
    // The parts in between: what is sealed under K, and a signed text in another form.
    let text = cbor::encode(&s.begun.authorisation);
    let signed = florin_crypto::cose::sign1(&s.me.keys.signing, &[0; 16], &text);
    let content = cbor::encode(&(florin_crypto::Bytes(signed.clone()), florin_crypto::ByteArray([1; 16])));
    for (what, content) in misshapen(&content) {
        let body = s.begun.sealing(&content);
        refused(&mut s, purchaser::WREQUEST3_PATH, &body, what);
    }
    for (what, signed) in misshapen(&signed) {
        let body = s.begun.around(signed.clone());
        refused(&mut s, purchaser::WREQUEST3_PATH, &body, what);
        let body = s.w.sealed("validation-req", &signed);
        refused(&mut s, "/v1/coin/validation-req", &body, what);
    }
    s.w.audit();
}

#[test]
fn g9_what_cannot_be_read_is_one_refusal() {
    let mut s = scene(33);
    let mut entropy = SeededEntropy::new("another stranger");
    let stranger = KemSecretKey::generate(&mut entropy);
    let (kid, key) = s.w.list.kem_key(s.w.now).unwrap();
    for r in s.take_requests() {
        let message = message_of(r.path);
        refused(&mut s, r.path, &vec![0; MESSAGE_BYTES_MAX + 1], "too large");
        let mut large = s.body(&r, &r.inside);
        large.resize(MESSAGE_BYTES_MAX + 1, 0);
        refused(&mut s, r.path, &large, "too large by what follows");
        refused(&mut s, r.path, &[0xff; 100], "noise");
        if !matches!(r.wrap, Wrap::Sealed | Wrap::Signed) {
            continue;
        }
        let operator = s.w.list.operator;
        let inside = r.inside.clone();
        let mut seal = |to: &florin_crypto::KemPublicKey, info: &[u8], aad: &[u8]| {
            cbor::encode(&kem::seal(to, &kid, info, aad, &inside, &mut entropy).unwrap().0)
        };
        let info = hpke_info("coin", message, operator, &kid);
        let bodies = [
            ("for another key", seal(&stranger.public_key(), &info, &[])),
            ("as another message", seal(&key, &hpke_info("coin", "other", operator, &kid), &[])),
            ("on another rail", seal(&key, &hpke_info("debit", message, operator, &kid), &[])),
            (
                "for another operator",
                seal(&key, &hpke_info("coin", message, PartyId::new([1; 16]), &kid), &[]),
            ),
            ("under another key id", seal(&key, &hpke_info("coin", message, operator, &[0; 16]), &[])),
            ("with additional data", seal(&key, &info, b"more")),
        ];
        for (what, body) in bodies {
            refused(&mut s, r.path, &body, what);
        }
    }
    s.w.audit();
}

/// The first element of an array, replaced.
fn with_context(inside: &[u8], change: impl Fn(&mut Context)) -> Vec<u8> {
    let mut d = Decoder::new(inside);
    d.array().unwrap();
    let head = d.position();
    let mut context: Context = d.decode().unwrap();
    let rest = d.position();
    change(&mut context);
    [&inside[..head], &cbor::encode(&context), &inside[rest..]].concat()
}

#[test]
fn g2_readdressed_and_misnamed_messages_are_refused() {
    let mut s = scene(34);
    type Change = fn(&mut Context);
    let changes: [(&str, Change); 3] = [
        ("to another operator", |c| c.recipient = PartyId::new([9; 16])),
        ("as another message", |c| c.message.push('x')),
        ("on another rail", |c| c.rail = "debit".into()),
    ];
    for r in s.take_requests() {
        for (what, change) in changes {
            let body = s.body(&r, &with_context(&r.inside, change));
            refused(&mut s, r.path, &body, what);
        }
        // In somebody's name who never said it. WRequest1 is anonymous, and its answer opens for the one named only.
        if message_of(r.path) != "wrequest1" {
            let body = s.body(&r, &with_context(&r.inside, |c| c.sender = PartyId::new([8; 16])));
            refused(&mut s, r.path, &body, "from somebody else");
        }
    }
    s.w.audit();
}

#[test]
fn g9_unknown_forged_and_wrong_signers_look_the_same() {
    let mut s = scene(35);
    let stranger = SigningKey::generate(&mut SeededEntropy::new("a stranger"));
    let other = s.w.enrolled(Roles::BOTH);
    for r in s.take_requests() {
        if !matches!(r.wrap, Wrap::Signed | Wrap::Authorised) {
            continue;
        }
        for key in [&stranger, &other.keys.signing] {
            let body = s.body_by(&r, &r.inside, Some(key));
            refused(&mut s, r.path, &body, "another's signature");
        }
        let unknown = florin_parties::party_id(&stranger.verify_key());
        let body = s.body_by(&r, &with_context(&r.inside, |c| c.sender = unknown), Some(&stranger));
        refused(&mut s, r.path, &body, "somebody unknown");
        // Its once keys are taken now; who has not signed does not learn it.
        let real = s.body(&r, &r.inside);
        assert_eq!(slug(&s.w.post(r.path, &real)), "fine", "{}", r.path);
        for key in [&stranger, &other.keys.signing] {
            let body = s.body_by(&r, &r.inside, Some(key));
            refused(&mut s, r.path, &body, "another's signature on what has happened");
        }
    }
    s.w.audit();
}

/// The order of the first checks, as the tables of docs/rails/coin.md have it: who signed, then the once key, then whether
/// the participant is blocked.
#[test]
fn the_once_key_is_looked_at_after_the_signature_and_before_the_rest() {
    let mut s = scene(38);
    let other = s.w.enrolled(Roles::BOTH);
    let requests: Vec<Request> =
        s.take_requests().into_iter().filter(|r| matches!(r.wrap, Wrap::Signed | Wrap::Authorised)).collect();
    for r in &requests {
        let body = s.body(r, &r.inside);
        assert_eq!(slug(&s.w.post(r.path, &body)), "fine", "{}", r.path);
    }
    s.w.block(s.me.id());
    let mut tried = 0;
    for r in &requests {
        // Under the same once key, and not the same bytes.
        s.begun.claim = [7; 16];
        let again = s.body(r, &r.inside);
        let expected = match message_of(r.path) {
            "wrequest3" | "redeem" | "redeem-aggregate" | "refund" => "request-id-reused",
            "validation-req" | "payee-status" => "fine",
            // These have no once key, or it is the box's own.
            _ => continue,
        };
        let before = counts(&s);
        assert_eq!(slug(&s.w.post(r.path, &again)), expected, "{}", r.path);
        untouched(&s, before, r.path);
        let forged = s.body_by(r, &r.inside, Some(&other.keys.signing));
        refused(&mut s, r.path, &forged, "another's signature under a taken once key");
        tried += 1;
    }
    assert_eq!(tried, 6);
    s.w.audit();
}

#[test]
fn spoilers_flip_bits_and_cut_and_the_real_request_still_counts() {
    let mut s = scene(36);
    for r in s.take_requests() {
        let body = s.body(&r, &r.inside);
        // A box is not sealed by us: what its content says is between payer and payee.
        let sealed = r.wrap != Wrap::Plain || !message_of(r.path).starts_with("box");
        for at in (0..body.len()).step_by(if sealed { 5 } else { body.len() }) {
            let mut flipped = body.clone();
            flipped[at] ^= 1 << (at % 8);
            refused(&mut s, r.path, &flipped, &format!("byte {at}"));
        }
        for len in (0..body.len()).step_by(37) {
            refused(&mut s, r.path, &body[..len], &format!("cut after {len}"));
        }
        assert_eq!(slug(&s.w.post(r.path, &body)), "fine", "{}", r.path);
    }
    s.w.audit();
}

/// The expiry of requests. Source: G6.
#[test]
fn g6_requests_expire_and_are_not_made_for_later() {
    let mut s = scene(37);
    let late = |r: &Request, at: florin_books::Timestamp| -> Option<Vec<u8>> {
        match message_of(r.path) {
            "change" => {
                let m: ChangeReq = cbor::decode_strict(&r.inside).unwrap();
                Some(cbor::encode(&ChangeReq { exp: at, txid: TxId::new([77; 16]), ..m }))
            }
            "redeem" => {
                let m: RedeemReq = cbor::decode_strict(&r.inside).unwrap();
                Some(cbor::encode(&RedeemReq { exp: at, txid: TxId::new([77; 16]), ..m }))
            }
            "refund" => {
                let m: RefundReq = cbor::decode_strict(&r.inside).unwrap();
                Some(cbor::encode(&RefundReq { exp: at, txid: TxId::new([77; 16]), ..m }))
            }
            "refresh" => {
                let m: RefreshReq = cbor::decode_strict(&r.inside).unwrap();
                Some(cbor::encode(&RefreshReq { exp: at, txid: TxId::new([77; 16]), ..m }))
            }
            "redeem-aggregate" => {
                let m: RedeemAggregateReq = cbor::decode_strict(&r.inside).unwrap();
                Some(cbor::encode(&RedeemAggregateReq { exp: at, txid: TxId::new([77; 16]), ..m }))
            }
            "aggregate-balance" => {
                let m: AggregateBalanceReq = cbor::decode_strict(&r.inside).unwrap();
                Some(cbor::encode(&AggregateBalanceReq { exp: at, ..m }))
            }
            "payee-status" => {
                let m: florin_coin::messages::PayeeStatus = cbor::decode_strict(&r.inside).unwrap();
                let com = florin_crypto::Digest([7; 32]);
                Some(cbor::encode(&florin_coin::messages::PayeeStatus { exp: at, com, ..m }))
            }
            "collect" => {
                let m: florin_coin::purchase_messages::Collect = cbor::decode_strict(&r.inside).unwrap();
                Some(cbor::encode(&florin_coin::purchase_messages::Collect { exp: at, ..m }))
            }
            _ => None,
        }
    };
    let (past, far) = (s.w.now.minus_ms(5 * 60 * 1000 + 1), s.w.now.plus_ms(DAY + 5 * 60 * 1000 + 1));
    let mut tried = 0;
    for r in s.take_requests() {
        for at in [past, far] {
            let Some(inside) = late(&r, at) else { continue };
            let body = s.body(&r, &inside);
            let before = counts(&s);
            assert_eq!(slug(&s.w.post(r.path, &body)), "request-expired", "{}", r.path);
            untouched(&s, before, r.path);
            tried += 1;
        }
    }
    assert_eq!(tried, 16);
    // WRequest1 is anonymous: it says nothing but bad-request.
    let key = s.w.key();
    for exp in [past, far] {
        let asked = purchaser::wrequest1(&key, s.me.id(), exp, &mut s.w.entropy).unwrap();
        refused(&mut s, asked.path, &asked.body, "expired");
    }
    s.w.audit();
}
