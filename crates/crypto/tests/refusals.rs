//! What must not open, verify or parse: every field changed, every context changed, every other encoding.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use florin_crypto::*;
use minicbor::Encoder;
use proptest::prelude::*;

const KID: [u8; 16] = [5; 16];

fn rng() -> SeededEntropy {
    SeededEntropy::from_number(17)
}

fn kem_pair() -> (KemSecretKey, KemPublicKey) {
    let sk = KemSecretKey::generate(&mut rng());
    let pk = sk.public_key();
    (sk, pk)
}

fn is_open_error<T>(result: Result<T, KemError>) -> bool {
    matches!(result, Err(KemError::Open))
}

#[test]
fn envelope_changed_in_any_field() {
    let (sk, pk) = kem_pair();
    let (good, _) = seal(&pk, &KID, b"info", b"aad", b"text", &mut rng()).unwrap();
    assert_eq!(*open(&sk, b"info", b"aad", &good).unwrap().0, b"text");
    let refused = |change: &dyn Fn(&mut Envelope)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(is_open_error(open(&sk, b"info", b"aad", &bad)));
    };
    refused(&|e| e.suite = 2);
    refused(&|e| e.suite = 0);
    // The top bit of an X25519 key is masked off, but it stands in the KEM context, so it counts as well.
    (0..256).for_each(|bit| refused(&|e| e.enc[bit / 8] ^= 1 << (bit % 8)));
    (0..good.ct.len()).for_each(|byte| refused(&|e| e.ct[byte] ^= 1));
    refused(&|e| e.enc = [0; 32]);
    refused(&|e| e.ct.truncate(527));
    refused(&|e| e.ct.push(0));
    refused(&|e| e.ct.clear());
    refused(&|e| e.ct.truncate(16));
}

#[test]
fn envelope_in_another_context() {
    let (sk, pk) = kem_pair();
    let mut rng = SeededEntropy::from_number(18);
    let other = KemSecretKey::generate(&mut rng);
    let (base, _) = seal(&pk, &KID, b"info", b"aad", b"text", &mut rng).unwrap();
    assert!(is_open_error(open(&sk, b"infO", b"aad", &base)));
    assert!(is_open_error(open(&sk, b"info", b"aaD", &base)));
    assert!(is_open_error(open(&sk, b"infoa", b"ad", &base)));
    assert!(is_open_error(open(&other, b"info", b"aad", &base)));
    assert!(is_open_error(open_auth(&sk, &other.public_key(), b"info", b"aad", &base)), "base is not auth");
    let (auth, _) = seal_auth(&other, &pk, &KID, b"info", b"aad", b"text", &mut rng).unwrap();
    assert!(open_auth(&sk, &other.public_key(), b"info", b"aad", &auth).is_ok());
    assert!(is_open_error(open(&sk, b"info", b"aad", &auth)), "auth is not base");
    assert!(is_open_error(open_auth(&sk, &pk, b"info", b"aad", &auth)), "another sender");
    assert!(is_open_error(open_auth(&sk, &KemPublicKey([0; 32]), b"info", b"aad", &auth)));
    let zero = seal(&KemPublicKey([0; 32]), &KID, b"", b"", b"", &mut rng);
    assert!(matches!(zero, Err(KemError::Seal)), "a key of small order");
}

/// Sealed by hand, so that the padding inside is wrong though all else is right.
#[test]
fn envelope_with_another_padding() {
    let key = Secret::new([1; 32]);
    for padded in
        [vec![0; 512], b"text".to_vec(), [b"text\x80".as_slice(), &[0; 1019]].concat(), vec![0x80; 511]]
    {
        let sealed = RestKey::new(&key).seal(&[0; 12], b"", &padded);
        assert_eq!(reply_open(&key, b"", &sealed).unwrap_err(), OpenError);
    }
}

#[test]
fn envelope_in_another_encoding() {
    let envelope = Envelope { suite: 1, kid: KID, enc: [6; 32], ct: vec![7; 30] };
    let good = encode(&envelope);
    assert_eq!(decode_strict::<Envelope>(&good).as_ref(), Ok(&envelope));
    let parts = [vec![0x01], good[2..19].to_vec(), good[19..53].to_vec(), good[53..].to_vec()];
    let [suite, kid, enc, ct] = &parts;
    let made = |head: &[u8], items: &[&[u8]]| [head.to_vec(), items.concat()].concat();
    assert_eq!(made(&[0x84], &[suite, kid, enc, ct]), good);
    use NotCanonical::*;
    for (bytes, error) in [
        (made(&[0x85], &[suite, kid, enc, ct, &[0x00]]), Malformed),
        (made(&[0x84], &[suite, kid, enc, ct, &[0x00]]), Trailing),
        (made(&[0x83], &[suite, kid, enc]), Malformed),
        (made(&[0x98, 0x04], &[suite, kid, enc, ct]), NotShortest),
        (made(&[0x9f], &[suite, kid, enc, ct, &[0xff]]), Malformed),
        (made(&[0x84], &[&[0x18, 0x01], kid, enc, ct]), NotShortest),
        (made(&[0x84], &[suite, &[0x58, 0x10], &kid[1..], enc, ct]), NotShortest),
        (made(&[0x84], &[suite, &[0x5f], kid, &[0xff], enc, ct]), Malformed),
        (made(&[0x84], &[suite, enc, kid, ct]), Malformed),
        (made(&[0xc0, 0x84], &[suite, kid, enc, ct]), Malformed),
        (Vec::new(), Malformed),
    ] {
        assert_eq!(decode_strict::<Envelope>(&bytes), Err(error), "{bytes:02x?}");
    }
    for len in 0..good.len() {
        assert_eq!(decode_strict::<Envelope>(&good[..len]), Err(Malformed), "{len}");
    }
}

#[test]
fn signed_message_changed_anywhere() {
    let key = SigningKey::generate(&mut rng());
    let good = sign1(&key, &KID, b"payload");
    let verified = |bytes: &[u8]| {
        let read = Sign1::parse(bytes)?;
        // A changed key id would choose another key; here it stays, and the signature must fail.
        read.verify(&key.verify_key()).map(<[u8]>::to_vec)
    };
    assert_eq!(verified(&good).unwrap(), b"payload");
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(verified(&bad).is_err(), "bit {bit}");
    }
    (0..good.len()).for_each(|len| assert!(Sign1::parse(&good[..len]).is_err()));
    assert!(Sign1::parse(&[good.as_slice(), &[0]].concat()).is_err());
    let other = SigningKey::from_seed(&Secret::new([8; 32]));
    assert_eq!(Sign1::parse(&good).unwrap().verify(&other.verify_key()), Err(CoseError::Signature));
}

#[test]
fn tagged_message_changed_anywhere() {
    let key = MacKey::new(&Secret::new([8; 32]));
    let good = mac0(&key, &KID, b"payload");
    let verified = |bytes: &[u8]| Mac0::parse(bytes)?.verify(&key).map(<[u8]>::to_vec);
    assert_eq!(verified(&good).unwrap(), b"payload");
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(verified(&bad).is_err(), "bit {bit}");
    }
    let other = MacKey::new(&Secret::new([9; 32]));
    assert_eq!(Mac0::parse(&good).unwrap().verify(&other), Err(CoseError::Signature));
    assert!(Sign1::parse(&good).is_err(), "a tag is no signature");
}

/// Puts a COSE_Sign1 together from parts, rightly signed over its own protected header.
fn cose(head: &[u8], protected: &[u8], unprotected: &[u8], payload: &[u8]) -> Vec<u8> {
    let key = SigningKey::generate(&mut rng());
    let mut to_sign = Vec::new();
    let mut e = Encoder::new(&mut to_sign);
    e.array(4).unwrap().str("Signature1").unwrap().bytes(protected).unwrap().bytes(b"").unwrap();
    e.bytes(payload).unwrap();
    let mut out = head.to_vec();
    Encoder::new(&mut out).bytes(protected).unwrap();
    out.extend_from_slice(unprotected);
    Encoder::new(&mut out).bytes(payload).unwrap().bytes(&key.sign(&to_sign)).unwrap();
    out
}

#[test]
fn signed_message_in_another_form() {
    let field = |kid: &[u8]| [&[0x04, 0x40 | kid.len() as u8], kid].concat();
    let protected = |head: &[u8], kid: &[u8]| [head, &field(kid)].concat();
    let good = protected(&[0xa2, 0x01, 0x27], &KID);
    let key = SigningKey::generate(&mut rng());
    let ours = cose(&[0x84], &good, &[0xa0], b"payload");
    assert_eq!(ours, sign1(&key, &KID, b"payload"), "the hand-made form is the one form");
    let another_order = [&[0xa2], field(&KID).as_slice(), &[0x01, 0x27]].concat();
    let with_type = [&protected(&[0xa3, 0x01, 0x27], &KID), [0x03, 0x00].as_slice()].concat();
    for (name, bytes) in [
        ("tagged", cose(&[0xd2, 0x84], &good, &[0xa0], b"payload")),
        ("another length form", cose(&[0x98, 0x04], &good, &[0xa0], b"payload")),
        ("long header map", cose(&[0x84], &protected(&[0xb8, 0x02, 0x01, 0x27], &KID), &[0xa0], b"payload")),
        ("long algorithm", cose(&[0x84], &protected(&[0xa2, 0x01, 0x38, 0x07], &KID), &[0xa0], b"payload")),
        ("another algorithm", cose(&[0x84], &protected(&[0xa2, 0x01, 0x26], &KID), &[0xa0], b"payload")),
        ("no algorithm", cose(&[0x84], &protected(&[0xa1], &KID), &[0xa0], b"payload")),
        ("no kid", cose(&[0x84], &[0xa1, 0x01, 0x27], &[0xa0], b"payload")),
        ("short kid", cose(&[0x84], &protected(&[0xa2, 0x01, 0x27], &[5; 15]), &[0xa0], b"payload")),
        ("one header more", cose(&[0x84], &with_type, &[0xa0], b"payload")),
        ("another order", cose(&[0x84], &another_order, &[0xa0], b"payload")),
        ("unprotected", cose(&[0x84], &good, &[0xa1, 0x03, 0x00], b"payload")),
        ("empty protected", cose(&[0x84], &[], &[0xa0], b"payload")),
        ("one element more", [cose(&[0x85], &good, &[0xa0], b"payload"), vec![0x00]].concat()),
    ] {
        assert!(Sign1::parse(&bytes).is_err(), "{name}");
    }
    assert_eq!(peek_kid(&another_order), Err(CoseError::Malformed));
}

#[test]
fn weak_and_wrong_keys() {
    let mut one = [0; 32];
    one[0] = 1;
    for bytes in [[0; 32], one, [0xff; 32]] {
        assert_eq!(VerifyKey::from_bytes(&bytes), Err(BadKey));
    }
    assert!(decode_strict::<VerifyKey>(&encode(&ByteArray([0u8; 32]))).is_err());
    let key = SigningKey::generate(&mut rng()).verify_key();
    assert_eq!(decode_strict::<VerifyKey>(&encode(&key)), Ok(key));
}

#[test]
fn reply_changed_or_elsewhere() {
    let key = Secret::new([1; 32]);
    let good = reply_seal(&key, b"aad", b"reply");
    for byte in 0..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 0x80;
        assert_eq!(reply_open(&key, b"aad", &bad).unwrap_err(), OpenError);
    }
    assert!(reply_open(&key, b"aaD", &good).is_err());
    assert!(reply_open(&Secret::new([2; 32]), b"aad", &good).is_err());
    assert!(reply_open(&key, b"aad", &good[..527]).is_err());
    assert!(reply_open(&key, b"aad", &[]).is_err());
    assert_ne!(RestKey::counter_nonce(1), RestKey::counter_nonce(2));
    assert_eq!(RestKey::counter_nonce(1), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
}

fn key_file(memory: u64, passes: u64, lanes: u64, version: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut e = Encoder::new(&mut out);
    e.array(9).unwrap().str("florin-key-file").unwrap().u64(version).unwrap();
    e.u64(memory).unwrap().u64(passes).unwrap().u64(lanes).unwrap().bool(false).unwrap();
    e.bytes(&[0; 16]).unwrap().bytes(&[0; 12]).unwrap().bytes(&[0; 20]).unwrap();
    out
}

#[test]
fn key_files_that_do_not_open() {
    use KeyFileError::*;
    let (second, other_second) = (Secret::new([7; 32]), Secret::new([8; 32]));
    let seal =
        |second| seal_key_file(b"pass", second, b"content", KeyFileParams::cheapest(), &mut rng()).unwrap();
    let (plain, two) = (seal(None), seal(Some(&second)));
    let open =
        |bytes: &[u8], pass: &[u8], second| open_key_file(bytes, pass, second).map(|text| text.to_vec());
    assert_eq!(open(&plain, b"pass", None), Ok(b"content".to_vec()));
    assert_eq!(open(&two, b"pass", Some(&second)), Ok(b"content".to_vec()));
    assert_eq!(open(&plain, b"Pass", None), Err(WrongPassphraseOrDamaged));
    assert_eq!(open(&two, b"pass", None), Err(SecondFactorMissing));
    assert_eq!(open(&two, b"pass", Some(&other_second)), Err(WrongPassphraseOrDamaged));
    assert_eq!(open(&plain, b"pass", Some(&second)), Err(SecondFactorUnexpected));
    assert_eq!(open(b"-----BEGIN", b"pass", None), Err(NotAKeyFile));
    assert_eq!(open(&[], b"pass", None), Err(NotAKeyFile));
    assert_eq!(open(&key_file(8, 1, 1, 2), b"", None), Err(Version { version: 2 }));
    assert_eq!(open(&key_file(8, 1, 1, 1), b"", None), Err(WrongPassphraseOrDamaged));
    for (memory, passes, lanes) in [
        (100 << 20, 1, 1),
        (256 * 1024 + 1, 1, 1),
        (7, 1, 1),
        (8, 0, 1),
        (8, 17, 1),
        (8, 1, 0),
        (8, 1, 2),
        (96, 1, 9),
    ] {
        assert_eq!(
            open(&key_file(memory, passes, lanes, 1), b"", None),
            Err(Params),
            "{memory} {passes} {lanes}"
        );
        let params = KeyFileParams { memory_kib: memory as u32, passes: passes as u32, lanes: lanes as u32 };
        assert_eq!(seal_key_file(b"", None, b"", params, &mut rng()), Err(Params));
    }
    for byte in 0..plain.len() {
        let mut bad = plain.clone();
        bad[byte] ^= 1;
        assert!(open(&bad, b"pass", None).is_err(), "byte {byte}");
        assert!(open(&plain[..byte], b"pass", None).is_err(), "cut at {byte}");
    }
    assert_eq!(open(&[plain.as_slice(), &[0]].concat(), b"pass", None), Err(NotAKeyFile));
}

#[test]
fn seeded_entropy_repeats_and_does_not_depend_on_the_pieces() {
    let (mut a, mut b) = (rng(), rng());
    let whole: [u8; 100] = a.array();
    let (first, second): ([u8; 33], [u8; 67]) = (b.array(), random(&mut b));
    assert_eq!(whole.as_slice(), [first.as_slice(), &second].concat());
    assert_ne!(whole, SeededEntropy::from_number(18).array());
}

proptest! {
    #[test]
    fn what_is_sealed_opens(text in prop::collection::vec(any::<u8>(), 0..3000), seed in any::<u64>()) {
        let (sk, pk) = kem_pair();
        let mut rng = SeededEntropy::from_number(seed);
        let (envelope, sender) = seal(&pk, &KID, b"info", b"aad", &text, &mut rng).unwrap();
        prop_assert_eq!(Some(envelope.ct.len() - 16), padded_len(text.len()));
        let read: Envelope = decode_strict(&encode(&envelope)).unwrap();
        let (opened, receiver) = open(&sk, b"info", b"aad", &read).unwrap();
        prop_assert_eq!(&*opened, &text);
        let key = sender.export(b"reply");
        prop_assert!(key.ct_eq(&receiver.export(b"reply")));
        prop_assert_eq!(&*reply_open(&key, b"", &reply_seal(&key, b"", &text)).unwrap(), &text);
    }

    #[test]
    fn strict_decoding_has_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(value) = decode_strict::<Bytes>(&bytes) {
            prop_assert_eq!(encode(&value), bytes.clone());
        }
        prop_assert!(Sign1::parse(&bytes).is_err());
        prop_assert!(decode_strict::<Envelope>(&bytes).is_err());
    }
}
