//! What comes back: no asker takes an answer of another shape, of another request, or signed by another; and nothing
//! internal leaves. Source: G1, G3, G8, G13.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{Timestamp, TxId};
use florin_coin::messages::{
    CoinStatement, ExchangeAnswer, Invoice, Issuance1, PayeeAnswer, PayerVerdict, Receipt, SendCoins, Verdict,
};
use florin_coin::payer::InvoiceError;
use florin_coin::purchase_messages::{PurchaseIssuance1, WRequest2, WRequest2Answer};
use florin_coin::{Coin, ReadError, holder, payee, payer, purchaser};
use florin_crypto::{Bytes, SeededEntropy, Sign1, SigningKey, cbor, cose, kem};
use florin_parties::bank::BankNews;
use florin_parties::sealed::{sign, sign_kid};
use florin_parties::{KeyUse, Roles, key_id};
use florin_rail::{Context, hpke_info};
use minicbor::{Decode, Encode};
use support::wire::{Raw, reply_of};
use support::*;

/// One element more is not the message, whatever it is.
fn exact<T: Encode<()> + for<'b> Decode<'b, ()>>(message: &T) {
    let bytes = cbor::encode(message);
    assert!(cbor::decode_strict::<T>(&bytes).is_ok());
    assert!(cbor::decode_strict::<T>(&one_element_more(&bytes)).is_err(), "{}", std::any::type_name::<T>());
    let followed = [&bytes[..], &[0]].concat();
    assert!(cbor::decode_strict::<T>(&followed).is_err());
    assert!((0..bytes.len()).all(|n| cbor::decode_strict::<T>(&bytes[..n]).is_err()));
}

fn payload<T: Encode<()> + for<'b> Decode<'b, ()>>(signed: &[u8]) -> T {
    cbor::decode_strict(Sign1::parse(signed).unwrap().payload_unverified()).unwrap()
}

/// What the operator would sign, with one element more; and the same by a stranger.
fn bent(w: &World, signed: &[u8]) -> [Vec<u8>; 3] {
    let read = Sign1::parse(signed).unwrap();
    let stranger = SigningKey::generate(&mut SeededEntropy::new("stranger"));
    let text = read.payload_unverified();
    [
        w.keys.sign(&w.keys.signing_kid(), &one_element_more(text)).unwrap(),
        cose::sign1(&stranger, &sign_kid(&stranger), text),
        cose::sign1(&stranger, &w.keys.signing_kid(), text),
    ]
}

#[test]
fn g1_payment_answers_have_one_shape() {
    let mut w = World::new(61);
    let (buyer, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy(&buyer, &[100]);
    let deal = w.deal(&shop, &coins);
    exact(&payload::<Invoice>(&deal.invoice));
    exact(&cbor::decode_strict::<SendCoins>(&deal.paying.send_coins).unwrap());
    let more = one_element_more(&deal.paying.send_coins);
    assert_eq!(payee::read_send_coins(&more, shop.id()).err(), Some(ReadError::Answer));
    assert_eq!(payee::read_send_coins(&deal.paying.send_coins, buyer.id()).err(), Some(ReadError::Answer));
    let v = w.validate(&shop, &deal, &[50, 50]);
    let (key, frame) = reply_of(&v.asked.pending, 0);
    let inside: Issuance1 = frame.open(&key, v.answer.as_ref().unwrap()).unwrap();
    exact(&inside);
    exact(&payload::<Verdict>(&inside.verdict.0));
    let again = w.validate(&shop, &deal, &[50, 50]);
    let read = |answer: &[u8]| payee::read_issuance1(&v.asked.pending, answer, &w.list).err();
    assert_eq!(read(&frame.seal(&key, &inside)), None);
    assert_eq!(
        read(&frame.seal(&key, &Raw(one_element_more(&cbor::encode(&inside))))),
        Some(ReadError::Answer)
    );
    for verdict in bent(&w, &inside.verdict.0) {
        let answer = frame.seal(&key, &Issuance1 { verdict: Bytes(verdict), ..inside.clone() });
        assert_eq!(read(&answer), Some(ReadError::Statement));
    }
    // Signed by the operator, but about something else.
    let said: Verdict = payload(&inside.verdict.0);
    let others = [
        Verdict { pay_id: florin_coin::PayId::new([1; 16]), ..said.clone() },
        Verdict { com: florin_crypto::Digest([1; 32]), ..said.clone() },
        Verdict { enc_c1: florin_crypto::Digest([1; 32]), ..said.clone() },
        Verdict { claimed: Some(flo(99)), ..said.clone() },
        Verdict { paid: Some(flo(99)), ..said.clone() },
        Verdict { context: Context::new("coin", "verdict", shop.id(), florin_books::PartyId::NONE), ..said },
    ];
    let others = others.map(|v| w.keys.sign(&w.keys.signing_kid(), &cbor::encode(&v)).unwrap());
    for verdict in &others {
        let answer = frame.seal(&key, &Issuance1 { verdict: Bytes(verdict.clone()), ..inside.clone() });
        assert_eq!(read(&answer), Some(ReadError::Statement));
    }
    // Too few, too many, other coins; money where coins were asked for. P2: the payee takes exactly what it wanted.
    let one = inside.coins[0].clone();
    for coins in [vec![], vec![one.clone()], vec![one.clone(); 3]] {
        let answer = frame.seal(&key, &Issuance1 { coins, ..inside.clone() });
        assert_eq!(read(&answer), Some(ReadError::Coins));
    }
    let money = Issuance1 { payout: Some(TxId::new([1; 16])), ..inside.clone() };
    assert_eq!(read(&frame.seal(&key, &money)), Some(ReadError::Coins));
    // Another request's answer, though it is about the same payment.
    assert_eq!(read(again.answer.as_ref().unwrap()), Some(ReadError::Answer));
    payers_part(&w, &deal, &inside, &others);
}

/// The payer's part of an answer, and statements of the operator about something else.
fn payers_part(w: &World, deal: &Deal, inside: &Issuance1, others: &[Vec<u8>; 6]) {
    let (key, frame) = reply_of(&deal.paying.pending, 6);
    let part: PayerVerdict = frame.open(&key, &inside.for_payer.0).unwrap();
    exact(&part);
    exact(&PayeeAnswer { receipt: None, for_payer: inside.for_payer.clone() });
    let read = |sealed: &[u8]| payer::read_payer_verdict(&deal.paying.pending, sealed, &w.list).err();
    assert_eq!(
        read(&frame.seal(&key, &Raw(one_element_more(&cbor::encode(&part))))),
        Some(ReadError::Answer)
    );
    for verdict in bent(w, &part.verdict.0) {
        let sealed = frame.seal(&key, &PayerVerdict { verdict: Bytes(verdict), ..part.clone() });
        assert_eq!(read(&sealed), Some(ReadError::Statement));
    }
    for verdict in [&others[0], &others[1], &others[2], &others[5]] {
        let sealed = frame.seal(&key, &PayerVerdict { verdict: Bytes(verdict.clone()), ..part.clone() });
        assert_eq!(read(&sealed), Some(ReadError::Statement));
    }
    let mut blamed = part.clone();
    blamed.causes = vec![florin_coin::coin::BadCoin { index: 0, cause: florin_coin::CoinCause::Spent }];
    assert_eq!(read(&frame.seal(&key, &blamed)), Some(ReadError::Statement), "causes that were not signed");
}

#[test]
fn g1_invoices_and_receipts_have_one_shape() {
    let mut w = World::new(62);
    let (shop, other) = (w.person(), w.person());
    let signed = w.invoice(&shop, 100);
    let good: Invoice = payload(&signed);
    let read = |bytes: &[u8]| payer::read_invoice(bytes, &w.list, w.now).err();
    assert_eq!(read(&signed), None);
    let text = payee::invoice_text(&signed);
    assert_eq!(payer::invoice_from_text(&format!(" {text}\n")).unwrap(), signed);
    for bad in [&text[1..], "florininvoice1!", "florininvoice2AAAA", ""] {
        assert_eq!(payer::invoice_from_text(bad).err(), Some(InvoiceError::Malformed));
    }
    let key = &shop.keys.signing;
    let more = cose::sign1(key, &sign_kid(key), &one_element_more(&cbor::encode(&good)));
    assert_eq!(read(&more), Some(InvoiceError::Malformed));
    let change = |f: &dyn Fn(&mut Invoice)| {
        let mut i = good.clone();
        f(&mut i);
        sign(key, &i)
    };
    let cases = [
        (InvoiceError::Malformed, change(&|i| i.p_desc.method = "card".into())),
        (InvoiceError::Malformed, change(&|i| i.p_desc.goods = "x".repeat(1025))),
        (InvoiceError::Malformed, change(&|i| i.p_desc.amount = flo(0))),
        (InvoiceError::OtherOperator, change(&|i| i.issuer = other.id())),
        (InvoiceError::Certificate, change(&|i| i.certificate.0[80] ^= 1)),
        (InvoiceError::Signature, change(&|i| i.certificate = Bytes(other.certificate.clone()))),
        (InvoiceError::Signature, change(&|i| i.context.sender = other.id())),
        (InvoiceError::Signature, change(&|i| i.context.message = "receipt".into())),
        (InvoiceError::Signature, sign(&other.keys.signing, &good)),
        (InvoiceError::Expired, change(&|i| i.deadline = Timestamp(w.now.0 - 1))),
    ];
    for (expected, bytes) in cases {
        assert_eq!(read(&bytes), Some(expected));
    }
    for at in 0..signed.len() {
        let mut flipped = signed.clone();
        flipped[at] ^= 1;
        assert!(read(&flipped).is_some(), "byte {at}");
    }
    // A receipt is about one payment, by its payee.
    let com = w.com(&signed);
    let digest = com.digest();
    let receipt = payee::receipt(&shop.keys, com.payer, &digest, w.now);
    exact(&payload::<Receipt>(&receipt));
}

#[test]
fn g1_purchase_answers_have_one_shape() {
    let mut w = World::new(63);
    let buyer = w.enrolled(Roles::PURCHASER);
    let (key, exp) = (w.key(), w.exp());
    let asked = purchaser::wrequest1(&key, buyer.id(), exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body).unwrap();
    let w_desc = w.w_desc(&[100]);
    exact(&w_desc);
    let take = |w: &mut World, answer: &[u8]| {
        purchaser::wrequest3(&asked.pending, answer, &buyer.keys, w_desc.clone(), &mut w.entropy)
    };
    assert_eq!(take(&mut w, &one_element_more(&answer)).err(), Some(ReadError::Answer));
    let read: WRequest2Answer = cbor::decode_strict(&answer).unwrap();
    exact(&read);
    // WRequest2 made by somebody else in the issuer's name, with ID_I changed, with one element more; the cookie of another.
    let kid = key_id(KeyUse::Kem, &buyer.keys.kem.public_key().0);
    let info = hpke_info("coin", "wrequest2", buyer.id(), &kid);
    let (text, _) = kem::open(&buyer.keys.kem, &info, &[], &read.envelope).unwrap();
    let request2: WRequest2 = cbor::decode_strict(&text).unwrap();
    exact(&request2);
    let other = WRequest2 { context: Context::new("coin", "wrequest2", buyer.id(), buyer.id()), ..request2 };
    for text in [cbor::encode(&other), one_element_more(&text)] {
        let to = buyer.keys.kem.public_key();
        let envelope = kem::seal(&to, &kid, &info, &[], &text, &mut w.entropy).unwrap().0;
        let answer = cbor::encode(&WRequest2Answer { envelope, ..read.clone() });
        assert_eq!(take(&mut w, &answer).err(), Some(ReadError::Answer));
    }
    for at in (0..answer.len()).step_by(3) {
        let mut flipped = answer.clone();
        flipped[at] ^= 4;
        assert_eq!(take(&mut w, &flipped).err(), Some(ReadError::Answer), "byte {at}");
    }
    let third = take(&mut w, &answer).ok().unwrap();
    let answer = w.post(third.path, &third.body).unwrap();
    for at in 0..answer.len() {
        let mut flipped = answer.clone();
        flipped[at] ^= 1;
        assert!(purchaser::read_accepted(&third.pending, &flipped).is_err(), "byte {at}");
    }
    let accepted = purchaser::read_accepted(&third.pending, &answer).ok().unwrap();
    let order = w.orders().into_iter().find(|o| o.mandate.is_some()).unwrap();
    w.bank(BankNews::Booked(order.id));
    let (asked, answer) = w.collect(&accepted.purchase);
    let (key, frame) = reply_of(&asked.pending, 0);
    let inside: PurchaseIssuance1 = frame.open(&key, &answer.unwrap()).unwrap();
    exact(&inside);
    let read = |answer: &[u8]| purchaser::read_collected(&asked.pending, answer, &w.list).err();
    assert_eq!(read(&frame.seal(&key, &inside)), None);
    assert_eq!(
        read(&frame.seal(&key, &Raw(one_element_more(&cbor::encode(&inside))))),
        Some(ReadError::Answer)
    );
    let none = PurchaseIssuance1 { coins: Vec::new(), ..inside.clone() };
    assert_eq!(read(&frame.seal(&key, &none)), Some(ReadError::Coins));
    let refusal = Bytes(sign(&buyer.keys.signing, &w_desc));
    let forged = PurchaseIssuance1 { refusal: Some(refusal), coins: Vec::new() };
    assert_eq!(read(&frame.seal(&key, &forged)), Some(ReadError::Statement));
}

#[test]
fn g1_exchange_answers_have_one_shape() {
    let mut w = World::new(64);
    let me = w.enrolled(Roles::BOTH);
    let coins = w.buy(&me, &[100, 50]);
    let (key, exp) = (w.key(), w.exp());
    let txid = TxId::new(w.draw());
    let changed = holder::change(&key, set(&coins[..1]), list(&[50, 50]), txid, exp, &mut w.entropy).unwrap();
    let txid = TxId::new(w.draw());
    let redeemed = holder::redeem(&key, &me.keys, set(&coins[1..]), txid, exp, &mut w.entropy).unwrap();
    let mut insides = Vec::new();
    for asked in [&changed, &redeemed] {
        let answer = w.post(asked.path, &asked.body).unwrap();
        let (key, frame) = reply_of(&asked.pending, 0);
        let inside: ExchangeAnswer = frame.open(&key, &answer).unwrap();
        exact(&inside);
        exact(&payload::<CoinStatement>(&inside.statement.0));
        let read = |answer: &[u8]| holder::read_exchange(&asked.pending, answer, &w.list).err();
        assert_eq!(
            read(&frame.seal(&key, &Raw(one_element_more(&cbor::encode(&inside))))),
            Some(ReadError::Answer)
        );
        for statement in bent(&w, &inside.statement.0) {
            let answer = frame.seal(&key, &ExchangeAnswer { statement: Bytes(statement), ..inside.clone() });
            assert_eq!(read(&answer), Some(ReadError::Statement));
        }
        // Signed, but for somebody else.
        let mut said: CoinStatement = payload(&inside.statement.0);
        said.context.recipient = florin_books::PartyId::new([3; 16]);
        let statement = Bytes(w.keys.sign(&w.keys.signing_kid(), &cbor::encode(&said)).unwrap());
        let answer = frame.seal(&key, &ExchangeAnswer { statement, ..inside.clone() });
        assert_eq!(read(&answer), Some(ReadError::Statement));
        insides.push((key, frame, inside));
    }
    let [(key, frame, inside), _] = &insides[..] else { panic!("two") };
    let fewer = ExchangeAnswer { coins: inside.coins[1..].to_vec(), ..inside.clone() };
    let read = holder::read_exchange(&changed.pending, &frame.seal(key, &fewer), &w.list);
    assert_eq!(read.err(), Some(ReadError::Coins));
}

/// The payer's coins, the payee's, everything the payee got, and the verdicts among it.
type Told = (Vec<Coin>, Vec<Coin>, Vec<Vec<u8>>, Vec<Vec<u8>>);

/// A world in which the same happens after other things have happened: other sequence numbers, other counters.
fn told(seed: u64, before: usize) -> Told {
    let mut w = World::new(seed);
    let (buyer, shop) = (w.enrolled(Roles::BOTH), w.enrolled(Roles::REDEEMER));
    let kept = std::mem::replace(&mut w.entropy, SeededEntropy::new("elsewhere"));
    for _ in 0..before {
        let more = w.buy(&buyer, &[100]);
        let deal = w.deal(&buyer, &more);
        w.validate(&buyer, &deal, &[100]);
    }
    w.entropy = kept;
    let coins = w.buy(&buyer, &[100, 100]);
    let mut seen = Vec::new();
    let mut signed = Vec::new();
    let mut fresh = Vec::new();
    let deal = w.deal(&shop, &coins[..1]);
    for (give, claims) in [(&coins[..1], vec![50, 50]), (&coins[..], vec![200]), (&coins[1..], vec![100])] {
        let deal = if fresh.is_empty() { &deal } else { &w.deal(&shop, give) };
        let v = w.validate(&shop, deal, &claims);
        let (key, frame) = reply_of(&v.asked.pending, 0);
        let answer = v.answer.as_ref().unwrap();
        let inside: Issuance1 = frame.open(&key, answer).unwrap();
        let issuance = w.read(&v);
        seen.extend([
            cbor::encode(&inside),
            answer.clone(),
            issuance.for_payer.clone(),
            deal.paying.send_coins.clone(),
        ]);
        let (_, status) = w.payee_status(&shop, &deal.com);
        seen.push(status.unwrap());
        seen.push(w.post(payee::ACK_PATH, &issuance.issuance2).unwrap());
        seen.push(payee::receipt(&shop.keys, deal.com.payer, &deal.com.digest(), w.now));
        // What it says about the payer's own ciphertext differs with the coins in it, and only that.
        let zero = florin_crypto::Digest([0; 32]);
        signed.push(cbor::encode(&Verdict { enc_c1: zero, causes: zero, ..issuance.verdict.clone() }));
        fresh.extend(issuance.coins);
    }
    (coins, fresh, seen, signed)
}

/// G13: what a payee gets holds no coin of the payer's, and what anybody gets says nothing of where the issuer stands.
#[test]
fn g13_nothing_internal_leaves() {
    let (coins, fresh, seen, signed) = told(65, 0);
    for (n, bytes) in seen.iter().enumerate() {
        for coin in &coins {
            assert!(!holds(bytes, &coin.id.0) && !holds(bytes, &coin.tag.0), "reply {n}");
        }
        for name in [IBAN, "FLORIN PAYOUT", "MANDATE", "lane", "seq"] {
            assert!(!holds(bytes, name.as_bytes()), "reply {n} says {name}");
        }
    }
    // After 20 more purchases and payments the issuer says the same, byte for byte; only the coins' own ids are others,
    // and they have nothing in common, though their numbers follow each other.
    let (_, later, _, signed_later) = told(65, 20);
    assert_eq!(signed, signed_later);
    for run in [[&coins[..], &fresh].concat(), later] {
        for (i, one) in run.iter().enumerate() {
            for other in &run[..i] {
                let same = one.id.0.iter().zip(&other.id.0).filter(|(a, b)| a == b).count();
                assert!(same < 6, "ids that look alike");
            }
        }
    }
}

/// Refusals have no detail that a third party must not see. Source: G9, G13.
#[test]
fn g13_refusals_say_no_more_than_their_slug() {
    let mut s = support::wire::scene(66);
    let coins = s.coins.clone();
    let thief = s.w.person();
    let asked = s.w.request(&thief, &s.deal.presented.clone(), refresh(&[100]));
    let refused = s.w.post(asked.path, &asked.body).unwrap_err();
    let said = format!("{refused:?}");
    assert_eq!((refused.slug, refused.detail), ("payment-denied", None));
    assert!(coins.iter().all(|c| !said.contains(&format!("{:?}", c.id))));
    for r in s.take_requests() {
        for body in [vec![], vec![0x80], r.inside.clone()] {
            if let Err(refused) = s.w.post(r.path, &body) {
                assert_eq!(refused.detail, None, "{}", r.path);
            }
        }
    }
}
