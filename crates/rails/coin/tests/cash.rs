//! Coins handed on without a payment: the envelope in its three forms. Source: VarietyCash §1.2; docs/rails/coin.md, "Cash".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use data_encoding::BASE64URL_NOPAD;
use florin_books::PartyId;
use florin_coin::cash::{
    CASH_COINS_MAX, CASH_PREFIX, Cash, CashError, CashSeal, MEMO_BYTES_MAX, SealedCash, card, read_card, seal,
};
use florin_crypto::KeyFileParams;
use florin_parties::{Certificate, Roles};
use support::*;

/// The most bytes of a QR code (version 40, lowest correction, byte mode). Source: ISO/IEC 18004, table 7.
const QR_BYTES_MAX: usize = 2953;

struct Scene {
    w: World,
    me: Person,
    other: Person,
    cash: Cash,
}

fn scene(seed: u64) -> Scene {
    let mut w = World::new(seed);
    let (me, other) = (w.enrolled(Roles::BOTH), w.person());
    let coins = set(&w.buy(&me, &[100, 50, 20]));
    let cash = Cash { id: [7; 16], coins, memo: "for the book".into(), at: w.now };
    Scene { w, me, other, cash }
}

impl Scene {
    fn text(&mut self, to: &CashSeal<'_>) -> String {
        seal(self.w.list.operator, &self.cash, to, &mut self.w.entropy).unwrap()
    }

    fn open(&self, text: &str, by: &Person, passphrase: Option<&[u8]>) -> Result<Cash, CashError> {
        SealedCash::read(text)?.open(self.w.list.operator, &by.keys, passphrase)
    }

    fn texts(&mut self) -> [(String, Option<&'static [u8]>); 3] {
        let to = Certificate::verify(&self.other.certificate, &self.w.list).unwrap();
        [
            (self.text(&CashSeal::Bearer), None),
            (
                self.text(&CashSeal::Passphrase(b"open sesame", KeyFileParams::cheapest())),
                Some(b"open sesame"),
            ),
            (self.text(&CashSeal::Receiver(&to)), None),
        ]
    }
}

#[test]
fn each_form_opens_for_whom_it_is() {
    let mut s = scene(91);
    let texts = s.texts();
    for (text, passphrase) in &texts {
        let spaced = format!("  {}\n{}\r\n", &text[..40], &text[40..]);
        assert!(s.open(&spaced, &s.other, *passphrase).unwrap() == s.cash);
        assert!(text.starts_with(CASH_PREFIX));
    }
    // Bearer: for anybody. A passphrase: for who has it. A receiver's key: for nobody else, the sender neither.
    assert!(s.open(&texts[0].0, &s.me, None).unwrap() == s.cash);
    assert_eq!(s.open(&texts[1].0, &s.me, None).err(), Some(CashError::PassphraseNeeded));
    assert_eq!(s.open(&texts[1].0, &s.me, Some(b"open sesam")).err(), Some(CashError::Passphrase));
    assert_eq!(s.open(&texts[2].0, &s.me, None).err(), Some(CashError::OtherReceiver));
    // What is sealed shows no coin.
    for (text, _) in &texts[1..] {
        let bytes = BASE64URL_NOPAD.decode(text.strip_prefix(CASH_PREFIX).unwrap().as_bytes()).unwrap();
        assert!(s.cash.coins.coins.iter().all(|c| !holds(&bytes, &c.tag.0) && !holds(&bytes, &c.id.0)));
        assert!(!holds(&bytes, s.cash.memo.as_bytes()));
    }
}

#[test]
fn an_altered_text_and_another_operators_are_refused() {
    let mut s = scene(92);
    let stranger = PartyId::new([9; 16]);
    for (text, passphrase) in s.texts() {
        let sealed = SealedCash::read(&text).unwrap();
        let foreign = sealed.open(stranger, &s.other.keys, passphrase);
        assert_eq!(foreign.err(), Some(CashError::OtherOperator));
        let bytes = BASE64URL_NOPAD.decode(text.strip_prefix(CASH_PREFIX).unwrap().as_bytes()).unwrap();
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            // A bent cost of the passphrase may be a thousand times as dear: it is refused or wrong, not tried here.
            if passphrase.is_some() && (40..80).contains(&at) {
                continue;
            }
            let bent = format!("{CASH_PREFIX}{}", BASE64URL_NOPAD.encode(&bent));
            assert!(s.open(&bent, &s.other, passphrase).is_err(), "byte {at}");
        }
        for bad in
            [&text[1..], &text[..text.len() - 3], &format!("{text}AA"), "florincash1", "", "florincash1!"]
        {
            assert_eq!(s.open(bad, &s.other, passphrase).err(), Some(CashError::Malformed), "{bad}");
        }
    }
}

#[test]
fn an_envelope_under_another_name_or_form_does_not_open() {
    let mut s = scene(93);
    let [bearer, passphrase, receiver] = s.texts();
    for (text, pass) in [&bearer, &passphrase, &receiver] {
        let mut sealed = SealedCash::read(text).unwrap();
        sealed.id.0[3] ^= 1;
        assert!(sealed.open(s.w.list.operator, &s.other.keys, *pass).is_err(), "another id");
    }
    for (a, b) in [(&bearer.0, &receiver.0), (&passphrase.0, &bearer.0), (&receiver.0, &passphrase.0)] {
        let mut sealed = SealedCash::read(a).unwrap();
        sealed.form = SealedCash::read(b).unwrap().form;
        assert!(sealed.open(s.w.list.operator, &s.other.keys, Some(b"open sesame")).is_err(), "another form");
    }
}

#[test]
fn the_largest_envelope_of_each_form_fits_a_qr_code_and_no_larger_one_is_made() {
    let mut s = scene(94);
    let dear = s.w.buy(&s.me, &[1_000_000; CASH_COINS_MAX]);
    s.cash = Cash { coins: set(&dear), memo: "x".repeat(MEMO_BYTES_MAX), ..s.cash.clone() };
    for (text, passphrase) in s.texts() {
        assert!(text.len() <= QR_BYTES_MAX, "{} bytes", text.len());
        assert!(s.open(&text, &s.other, passphrase).unwrap() == s.cash);
    }
    let operator = s.w.list.operator;
    let mut too_much = |cash: &Cash| {
        seal(operator, cash, &CashSeal::Bearer, &mut s.w.entropy).err() == Some(CashError::TooMuch)
    };
    let many = [dear.clone(), dear[..1].to_vec()].concat();
    assert!(too_much(&Cash { coins: set(&many), ..s.cash.clone() }));
    assert!(too_much(&Cash { coins: set(&[]), ..s.cash.clone() }));
    assert!(too_much(&Cash { memo: "x".repeat(MEMO_BYTES_MAX + 1), ..s.cash.clone() }));
    assert!(too_much(&Cash { memo: "two\nlines".into(), ..s.cash.clone() }));
}

#[test]
fn a_card_is_a_certificate_in_text() {
    let s = scene(95);
    let text = card(&s.other.certificate);
    assert_eq!(read_card(&format!(" {text}\n")).unwrap(), s.other.certificate);
    assert_eq!(read_card("florincash1AAAA"), None);
    assert!(Certificate::verify(&read_card(&text).unwrap(), &s.w.list).is_ok());
}
