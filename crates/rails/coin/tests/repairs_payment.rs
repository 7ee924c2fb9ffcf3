//! The repairs V1-V5: what the paper's text leaves open, tried by whoever gains from it. Each test names the lines that
//! are its repair; without them it fails. Source: docs/rails/coin.md, "Departures from the paper".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{Account, PartyId, TxId};
use florin_coin::coin::BadCoin;
use florin_coin::messages::{EncC1, Issuance1, Issuance2, Outcome, PayerVerdict, ValidationReq};
use florin_coin::payee::Presented;
use florin_coin::{CoinCause, ReadError, holder, pay_id, payee, payer, purchaser};
use florin_crypto::{ByteArray, Bytes, MacKey, Secret, cbor, derive, kem};
use florin_parties::{ReplyFrame, Roles};
use florin_rail::{Context, hpke_info};
use support::by_hand::begin;
use support::wire::reply_of;
use support::*;

/// V1. Repair: `PurchaseKeys::new` (`derive(&[k_cp, k_i], info with th and ids)`) and `expand` (a key for each direction).
/// With K = K_CP xor K_I the issuer's half alone would choose K, and a run could be steered to the key of another; that
/// K is no such function is the unit test `neither_side_chooses_k`. Here: nothing of one run or direction fits another.
#[test]
fn v1_a_session_key_is_of_one_run_and_one_direction() {
    let mut w = World::new(11);
    let buyer = w.enrolled(Roles::PURCHASER);
    let w_desc = w.w_desc(&[100]);
    let (one, two) = (begin(&mut w, &buyer, w_desc.clone()), begin(&mut w, &buyer, w_desc.clone()));
    let body = one.signed_by(&buyer.keys.signing);
    let mut mixed = begin(&mut w, &buyer, w_desc);
    mixed.cookie.clone_from(&two.cookie);
    assert_eq!(
        slug(&w.post(purchaser::WREQUEST3_PATH, &mixed.signed_by(&buyer.keys.signing))),
        "bad-request"
    );
    // The request's key opens no reply, the reply's no request, and both differ from what is kept for the coins.
    let keys = ["wrequest3", "accepted", "issuance"].map(|what| *one.key(what).expose());
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    let accepted = w.post(purchaser::WREQUEST3_PATH, &body).unwrap();
    assert!(one.open(&accepted).is_some() && two.open(&accepted).is_none());
    // Under any other key: refused.
    let w_desc = w.w_desc(&[100]);
    let mut other_k = begin(&mut w, &buyer, w_desc);
    other_k.k = derive(&[other_k.k.expose()], b"another key");
    assert_eq!(
        slug(&w.post(purchaser::WREQUEST3_PATH, &other_k.signed_by(&buyer.keys.signing))),
        "bad-request"
    );
    w.audit();
}

/// V2. Repair: `m.com.as_bytes()` as additional data in `PaymentStep::open_coins` and `payer::send_coins`.
/// Two customers of one shop, the same amount, the same deadline: the thief copies SendCoins into a run of its own.
#[test]
fn v2_send_coins_cannot_be_copied_into_another_run() {
    let mut w = World::new(12);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100]);
    let deal = w.deal(&shop, &coins);
    let invoice = w.invoice(&shop, 100);
    let read = payer::read_invoice(&invoice, &w.list, w.now).unwrap();
    let stolen = read.com(deal.com.payer);
    assert_eq!(stolen.deadline, deal.com.deadline, "nothing but Com tells the two apart");
    let presented = Presented {
        payer: deal.com.payer,
        tid: stolen.tid,
        com: stolen.digest(),
        deadline: stolen.deadline,
        enc_c1: deal.presented.enc_c1.clone(),
    };
    let asked = w.request(&shop, &presented, refresh(&[100]));
    assert_eq!(slug(&w.post(asked.path, &asked.body)), "payment-denied");
    // The same without the issuer's help: an issuer that tries a list of goods finds none without the salt.
    let mut guessed = deal.com.clone();
    guessed.salt = ByteArray([0; 16]);
    assert_ne!(guessed.digest(), deal.com.digest());
    assert_eq!(deal.com.pay_id(), pay_id(&deal.com.digest()));
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    w.audit();
}

/// V3. Repair: `is_by` in `PaymentStep::admit`; `inside.payee == m.context.sender` there; `may_reissue`.
/// The paper's substitution attack: all but K_PY is known, and a ValidationReq with another K_PY comes first.
#[test]
fn v3_a_substituted_validation_req_costs_one_retry() {
    let mut w = World::new(13);
    let (buyer, shop, spoiler) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER), w.person());
    let coins = w.buy(&buyer, &[100]);
    let deal = w.deal(&shop, &coins);
    let m = ValidationReq {
        context: Context::new("coin", "validation-req", shop.id(), w.list.operator),
        payer: deal.com.payer,
        tid: deal.com.tid,
        v_desc: refresh(&[50, 50]),
        com: deal.com.digest(),
        deadline: deal.com.deadline,
        enc_c1: deal.presented.enc_c1.clone(),
    };
    // The spoiler seals it for itself, in the shop's name, signed by the spoiler.
    let signed = florin_parties::sealed::sign(&spoiler.keys.signing, &m);
    let body = w.sealed("validation-req", &signed);
    assert_eq!(slug(&w.post(payee::VALIDATION_PATH, &body)), "bad-request");
    // In its own name: the coins are not for it, whether for coins or for money.
    for v_desc in [refresh(&[100]), payee::redeem(flo(100))] {
        let mut own = m.clone();
        own.context.sender = spoiler.id();
        own.v_desc = v_desc.clone();
        let body = w.sealed("validation-req", &florin_parties::sealed::sign(&spoiler.keys.signing, &own));
        let expected = if v_desc.list.is_empty() { "not-enrolled" } else { "payment-denied" };
        assert_eq!(slug(&w.post(payee::VALIDATION_PATH, &body)), expected);
    }
    // Re-sealed by the network: the shop's own signed text under a reply key that the shop does not know. The coins are
    // then issued to a key that the shop cannot read, and the shop gets them by asking again.
    let signed = florin_parties::sealed::sign(&shop.keys.signing, &m);
    let body = w.sealed("validation-req", &signed);
    w.post(payee::VALIDATION_PATH, &body).unwrap();
    let issued = w.live_worth();
    let v = w.validate(&shop, &deal, &[50, 50]);
    let issuance = w.read(&v);
    assert_eq!(
        (issuance.verdict.outcome, worth(&issuance.coins), w.live_worth()),
        (Outcome::Paid, 100, issued)
    );
    let again = w.validate(&shop, &deal, &[50, 50]);
    assert!(w.read(&again).coins == issuance.coins, "the same coins under the new reply key");
    assert!(!holds(again.answer.as_ref().unwrap(), &v.answer.unwrap()[..32]));
    w.audit();
}

/// V3, redemption. Repair: `payout` reads the account from the enrolment; V-DESC and RedeemReq have no field for one.
#[test]
fn v3_redemption_goes_to_the_enrolled_account_only() {
    let mut w = World::new(14);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&buyer, &[100, 50]);
    let deal = w.deal(&shop, &coins[..1]);
    let asked = w.request(&shop, &deal.presented, payee::redeem(flo(100)));
    w.post(asked.path, &asked.body).unwrap();
    let (key, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let asked = holder::redeem(&key, &shop.keys, set(&coins[1..]), txid, exp, &mut w.entropy).unwrap();
    w.post(asked.path, &asked.body).unwrap();
    let out: Vec<_> = w.orders().into_iter().filter(|o| o.remittance == "FLORIN PAYOUT").collect();
    assert!(out.iter().all(|o| o.account.iban() == IBAN));
    assert_eq!(out.iter().map(|o| o.amount.minor()).sum::<u64>(), 150);
    assert_eq!((w.live_worth(), w.identity.balance(Account::InFlight)), (0, -150));
    w.audit();
}

/// V4. Repair: `for_payer` (sealed under EncC1's exporter), `causes_digest` with `causes_salt`, `read_payer_verdict`.
#[test]
fn v4_the_verdict_is_for_the_payer_and_no_payee_can_read_or_forge_it() {
    let mut w = World::new(15);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100, 100]);
    let first = w.deal(&shop, &coins[..1]);
    w.validate(&shop, &first, &[100]);
    let deal = w.deal(&shop, &coins);
    let v = w.validate(&shop, &deal, &[200]);
    let issuance = w.read(&v);
    let verdict = &issuance.verdict;
    assert_eq!((verdict.outcome, verdict.paid), (Outcome::Denied, None), "one bit to the payee");
    // The payee cannot try causes against the digest: the salt comes from EncC1's own context.
    for index in 0..4 {
        for cause in
            [CoinCause::Spent, CoinCause::Forged, CoinCause::Foreign, CoinCause::Twice, CoinCause::Expired]
        {
            let tried = cbor::encode(&vec![BadCoin { index, cause }]);
            for salt in [&[0; 16][..], &[], issuance.for_payer.get(..16).unwrap()] {
                let digest = florin_crypto::digest("florin/v1/coin/causes", &[&tried, salt]);
                assert_ne!(digest, verdict.causes);
            }
        }
    }
    // The payee forges a part for the payer under every key that it has.
    let part = PayerVerdict {
        verdict: Bytes(issuance.signed.clone()),
        causes: Vec::new(),
        salt: ByteArray([0; 16]),
    };
    let frame = ReplyFrame::new("coin", "payer-verdict", w.list.operator, deal.com.payer, deal.com.digest());
    let key = Secret::new([7; 32]);
    let forged = frame.seal(&key, &part);
    assert_eq!(
        payer::read_payer_verdict(&deal.paying.pending, &forged, &w.list).err(),
        Some(ReadError::Answer)
    );
    let news = payer::read_payer_verdict(&deal.paying.pending, &issuance.for_payer, &w.list).unwrap();
    assert_eq!(news.causes, [BadCoin { index: 0, cause: CoinCause::Spent }]);
    // The payee keeps it to itself: the payer asks with EncC1 again, and it is the same statement.
    let status = w.payer_status(&deal, false).unwrap();
    assert_eq!(payer::read_status(&deal.paying.pending, &status, &w.list).unwrap(), news);
    assert!(payer::read_payer_verdict(&deal.paying.pending, &status, &w.list).is_err(), "another label");
    let other = w.deal(&shop, &coins[1..]);
    assert!(payer::read_status(&other.paying.pending, &status, &w.list).is_err(), "another's");
    w.audit();
}

/// V4, the envelope. Repair: `PaymentSeed::about`, `verdict.enc_c1` in `payer::news`.
/// A payee that knows Com makes an envelope of its own for it, with bad coins, so that the payer should throw good ones
/// away; or with good ones, so that the payer should think that its own are gone.
#[test]
fn v4_no_other_envelope_speaks_for_the_payers() {
    let mut w = World::new(16);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::PURCHASER));
    let coins = w.buy(&buyer, &[100, 100]);
    let own = w.buy(&shop, &[100]);
    let spent = own[0].clone();
    for paid in [true, false] {
        let deal = w.deal(&shop, &coins[..1]);
        let inside = EncC1 {
            context: Context::new("coin", "enc-c1", deal.com.payer, w.list.operator),
            payee: shop.id(),
            deadline: deal.com.deadline,
            coins: set(std::slice::from_ref(&spent)),
        };
        let mut presented = deal.presented.clone();
        presented.enc_c1 = w.enc_c1(&deal.com, &inside).0;
        let asked = w.request(&shop, &presented, refresh(&[100]));
        let answer = w.post(asked.path, &asked.body);
        let issuance = w.read(&Validated { asked, answer });
        assert_eq!(issuance.verdict.outcome == Outcome::Paid, paid);
        assert!(payer::read_payer_verdict(&deal.paying.pending, &issuance.for_payer, &w.list).is_err());
        // What the payer hears about its own envelope: it never was paid, never will be, and its coins are not touched.
        let status = w.payer_status(&deal, false).unwrap();
        let news = payer::read_status(&deal.paying.pending, &status, &w.list).unwrap();
        assert_eq!((news.verdict.outcome, news.causes.len()), (Outcome::Never, 0));
        let v = w.validate(&shop, &deal, &[100]);
        assert_eq!(slug(&v.answer), "request-id-reused");
    }
    let deal = w.deal(&shop, &coins[..1]);
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid, "the coins are good");
    w.audit();
}

/// V5. Repair: one transition with `consumes` and `creates`; `seen.insert` in `Issuer::check`; `STEP_ACK` apart.
#[test]
fn v5_all_or_nothing_and_the_ack_only_frees() {
    let mut w = World::new(17);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100, 50, 20]);
    let used = w.deal(&shop, &coins[2..]);
    w.validate(&shop, &used, &[20]);
    // One of three is spent: none is taken. One twice: none is taken, and it does not count double.
    for bad in [coins.clone(), vec![coins[0].clone(), coins[0].clone()]] {
        let deal = w.deal(&shop, &bad);
        let v = w.validate(&shop, &deal, &[worth(&bad)]);
        if v.answer.is_ok() {
            assert_eq!(w.read(&v).verdict.outcome, Outcome::Denied);
        }
        assert_eq!(w.live_worth(), 170);
    }
    // In one record: the old coins end and the new ones begin.
    let deal = w.deal(&shop, &coins[..2]);
    let before = w.books.records.len();
    let v = w.validate(&shop, &deal, &[100, 50]);
    assert_eq!(w.books.records.len(), before + 1);
    let core = &w.books.records[before].core;
    assert_eq!((core.consumed.len(), core.created.len()), (2, 2));
    // The payee loses Issuance1, asks again, is given the same; acknowledges; then the record is free.
    let lost = w.validate(&shop, &deal, &[100, 50]);
    let issuance = w.read(&lost);
    assert!(issuance.coins == w.read(&v).coins);
    let mut forged: Issuance2 = cbor::decode_strict(&issuance.issuance2).unwrap();
    forged.mac.0[31] ^= 1;
    assert_eq!(slug(&w.post(payee::ACK_PATH, &cbor::encode(&forged))), "bad-request");
    assert!(w.validate(&shop, &deal, &[100, 50]).answer.is_ok(), "a forged ack frees nothing");
    w.post(payee::ACK_PATH, &issuance.issuance2).unwrap();
    assert_eq!(slug(&w.validate(&shop, &deal, &[100, 50]).answer), "request-id-reused");
    let same_bytes = w.post(v.asked.path, &v.asked.body);
    assert_eq!(same_bytes.unwrap(), v.answer.unwrap(), "but the same bytes get the same reply");
    w.audit();
}

/// V5, the acknowledgement. Repair: the payee in `Issuer::k_i` and in `kinds::acknowledged`.
/// Another participant that has seen Com runs a payment of its own under it, and acknowledges the victim's.
#[test]
fn v5_nobody_else_can_acknowledge() {
    let mut w = World::new(18);
    let (buyer, shop, spoiler) = (w.enrolled(Roles::PURCHASER), w.person(), w.enrolled(Roles::PURCHASER));
    let coins = w.buy(&buyer, &[100]);
    let own = w.buy(&spoiler, &[100]);
    let deal = w.deal(&shop, &coins);
    let v = w.validate(&shop, &deal, &[100]);
    let inside = EncC1 {
        context: Context::new("coin", "enc-c1", deal.com.payer, w.list.operator),
        payee: spoiler.id(),
        deadline: deal.com.deadline,
        coins: set(&own),
    };
    let mut presented = deal.presented.clone();
    presented.enc_c1 = w.enc_c1(&deal.com, &inside).0;
    let asked = w.request(&spoiler, &presented, refresh(&[100]));
    let asked_pending = asked.pending.to_vec();
    let answer_bytes = w.post(asked.path, &asked.body).unwrap();
    let issuance = w.read(&Validated { asked, answer: Ok(answer_bytes.clone()) });
    assert_eq!(issuance.verdict.pay_id, deal.com.pay_id());
    let (key, frame) = reply_of(&asked_pending, 0);
    let inside: Issuance1 = frame.open(&key, &answer_bytes).unwrap();
    let mut ack: Issuance2 = cbor::decode_strict(&issuance.issuance2).unwrap();
    w.post(payee::ACK_PATH, &cbor::encode(&ack)).unwrap();
    // It has a K_I of this pay_id now, and makes the shop's acknowledgement with it.
    ack.context.sender = shop.id();
    ack.tid = deal.com.tid;
    let k_i = MacKey::new(&Secret::new(inside.k_i.0));
    ack.mac = ByteArray(k_i.tag("florin/v1/coin/issuance2", &[&cbor::encode(&ack.context), ack.tid.bytes()]));
    assert_eq!(slug(&w.post(payee::ACK_PATH, &cbor::encode(&ack))), "bad-request");
    let again = w.validate(&shop, &deal, &[100]);
    assert!(w.read(&again).coins == w.read(&v).coins, "the shop still gets its coins");
    w.audit();
}

/// The whole of a payment with a wrong envelope, by hand: another key, another info, another additional data.
#[test]
fn v2_an_envelope_for_another_key_or_message_is_denied() {
    let mut w = World::new(19);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100]);
    let deal = w.deal(&shop, &coins);
    let inside = EncC1 {
        context: Context::new("coin", "enc-c1", deal.com.payer, w.list.operator),
        payee: shop.id(),
        deadline: deal.com.deadline,
        coins: set(&coins),
    };
    let text = cbor::encode(&inside);
    let aad = deal.com.digest();
    let (kid, _) = w.list.kem_key(w.now).unwrap();
    let stranger = florin_crypto::KemSecretKey::generate(&mut w.entropy).public_key();
    let info = hpke_info("coin", "enc-c1", w.list.operator, &kid);
    let other_key = kem::seal(&stranger, &kid, &info, aad.as_bytes(), &text, &mut w.entropy).unwrap().0;
    let mut other_kid = deal.presented.enc_c1.clone();
    other_kid.kid[0] ^= 1;
    let mut other_suite = deal.presented.enc_c1.clone();
    other_suite.suite = 2;
    let other_info = w.envelope("change", aad.as_bytes(), &text).0;
    let no_aad = w.envelope("enc-c1", &[], &text).0;
    let more = w.envelope("enc-c1", aad.as_bytes(), &one_element_more(&text)).0;
    let mut elsewhere = inside.clone();
    elsewhere.context.recipient = PartyId::new([9; 16]);
    let elsewhere = w.enc_c1(&deal.com, &elsewhere).0;
    for enc_c1 in [other_key, other_kid, other_suite, other_info, no_aad, more, elsewhere] {
        let mut presented = deal.presented.clone();
        presented.enc_c1 = enc_c1;
        let asked = w.request(&shop, &presented, refresh(&[100]));
        assert_eq!(slug(&w.post(asked.path, &asked.body)), "payment-denied");
    }
    let v = w.validate(&shop, &deal, &[100]);
    assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
    w.audit();
}
