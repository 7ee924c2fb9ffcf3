//! The key list: what is trusted, what is pinned, which key is used when.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{Epoch, PartyId, Timestamp};
use florin_crypto::{KemSecretKey, SeededEntropy, SigningKey, cose, sign1};
use florin_money::Currency;
use florin_parties::{
    CurrencyTerms, DirectoryError, KeyList, KeyUse, PublishedEpoch, PublishedKey, SignedKeyList, key_id,
    network_id, operator_id, parse_network_id,
};
use support::{DAY, START, World, key_list, one_element_more};

fn list() -> (SigningKey, KeyList) {
    let world = World::new(1);
    (world.root, world.list)
}

#[test]
fn a_list_is_read_back_as_it_was_signed() {
    let (root, list) = list();
    let bytes = SignedKeyList::sign(&list, &root).unwrap();
    assert_eq!(SignedKeyList::verify(&bytes, None), Ok(list.clone()));
    assert_eq!(SignedKeyList::verify(&bytes, Some(list.operator)), Ok(list));
}

#[test]
fn another_operator_than_the_pinned_one_is_refused() {
    let (root, list) = list();
    let bytes = SignedKeyList::sign(&list, &root).unwrap();
    let pinned = Some(PartyId::new([1; 16]));
    assert_eq!(SignedKeyList::verify(&bytes, pinned), Err(DirectoryError::OperatorChanged));
}

#[test]
fn forged_lists_are_refused() {
    let (root, list) = list();
    let bytes = SignedKeyList::sign(&list, &root).unwrap();
    let kid = key_id(KeyUse::MessageSignature, root.verify_key().as_bytes());
    let payload = cose::Sign1::parse(&bytes).unwrap().payload_unverified().to_vec();
    let thief = World::new(2).root;
    let by_thief = sign1(&thief, &kid, &payload);
    assert_eq!(SignedKeyList::verify(&by_thief, None), Err(DirectoryError::Signature));
    let thief_kid = key_id(KeyUse::MessageSignature, thief.verify_key().as_bytes());
    let by_thief = sign1(&thief, &thief_kid, &payload);
    assert_eq!(SignedKeyList::verify(&by_thief, None), Err(DirectoryError::WrongId));
    let longer = sign1(&root, &kid, &one_element_more(&payload));
    assert_eq!(SignedKeyList::verify(&longer, None), Err(DirectoryError::Malformed));
    assert_eq!(SignedKeyList::verify(&one_element_more(&bytes), None), Err(DirectoryError::Malformed));
    assert_eq!(SignedKeyList::verify(b"", None), Err(DirectoryError::Malformed));
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(SignedKeyList::verify(&flipped, Some(list.operator)).is_err(), "byte {at}");
    }
}

#[test]
fn nobody_signs_for_another_root_or_contradicts_himself() {
    let (root, list) = list();
    let other = World::new(2).root;
    assert_eq!(SignedKeyList::sign(&list, &other), Err(DirectoryError::WrongId));
    let wrong_id = KeyList { operator: PartyId::new([1; 16]), ..list.clone() };
    assert_eq!(SignedKeyList::sign(&wrong_id, &root), Err(DirectoryError::WrongId));
    let change = |f: &dyn Fn(&mut KeyList)| {
        let mut changed = list.clone();
        f(&mut changed);
        SignedKeyList::sign(&changed, &root)
    };
    type Change<'a> = &'a dyn Fn(&mut KeyList);
    let cases: [(&str, Change<'_>); 14] = [
        ("a key under another id", &|l| l.keys[0].kid[0] ^= 1),
        ("a key twice", &|l| l.keys.push(l.keys[0].clone())),
        ("one key, two uses (G4)", &|l| {
            let first = l.keys[0].clone();
            l.keys.push(PublishedKey::new(KeyUse::Kem, first.key, first.from, first.until));
        }),
        ("the root key as a message key", &|l| {
            l.keys.push(PublishedKey::new(
                KeyUse::MessageSignature,
                l.root.to_bytes(),
                START,
                l.keys[0].until,
            ));
        }),
        ("no time", &|l| l.keys[0].until = l.keys[0].from),
        ("no KEM key", &|l| l.keys.truncate(1)),
        ("no signing key", &|l| l.keys = l.keys.split_off(1)),
        ("no currency", &|l| l.currencies.clear()),
        ("a currency twice", &|l| l.currencies.push(l.currencies[0].clone())),
        ("no denomination", &|l| {
            l.currencies[0] = CurrencyTerms { currency: Currency::FLO, denominations: vec![2, 1] };
        }),
        ("an epoch that ends before it begins", &|l| {
            l.epochs = vec![PublishedEpoch { until: START, ..epoch(1) }]
        }),
        ("an epoch twice", &|l| l.epochs = vec![epoch(1), epoch(1)]),
        ("grace that ends before the expiry", &|l| {
            l.epochs = vec![PublishedEpoch { grace_end: Some(START.plus_ms(1)), ..epoch(1) }];
        }),
        ("a long name", &|l| l.name = "n".repeat(71)),
    ];
    for (what, f) in cases {
        assert_eq!(change(f), Err(DirectoryError::Inconsistent), "{what}");
    }
    assert!(change(&|l| l.name = "ü".repeat(70)).is_ok());
    let endless = PublishedEpoch { grace_end: None, ..epoch(2) };
    assert!(change(&|l| l.epochs = vec![epoch(1), endless]).is_ok());
}

fn epoch(number: u16) -> PublishedEpoch {
    PublishedEpoch {
        number: Epoch(number),
        revoked: None,
        grace_end: Some(START.plus_ms(4 * DAY)),
        from: START.plus_ms(1),
        until: START.plus_ms(2 * DAY),
        expires: START.plus_ms(3 * DAY),
    }
}

#[test]
fn the_epoch_whose_coins_are_issued_is_the_last_that_has_begun_and_was_not_revoked() {
    let (_, mut list) = list();
    assert_eq!(list.issuing(START.plus_ms(5)), None);
    let later = |n: u16| PublishedEpoch { from: START.plus_ms(u64::from(n) * 10), ..epoch(n) };
    list.epochs = vec![later(1), later(2), later(3)];
    let number = |list: &KeyList, ms: u64| list.issuing(START.plus_ms(ms)).map(|e| e.number.0);
    assert_eq!([number(&list, 9), number(&list, 10), number(&list, 25)], [None, Some(1), Some(2)]);
    list.epochs[1].revoked = Some(START.plus_ms(24));
    assert_eq!([number(&list, 23), number(&list, 24)], [Some(2), Some(1)]);
    assert!(
        list.epoch(Epoch(2)).is_some_and(|e| !e.pays(START.plus_ms(24)) && e.exchanges(START.plus_ms(24)))
    );
    assert!(!epoch(1).exchanges(START.plus_ms(4 * DAY + 1)));
}

#[test]
fn the_kem_key_that_came_into_use_last_is_sealed_to() {
    let mut entropy = SeededEntropy::from_number(3);
    let (root, signing) = (SigningKey::generate(&mut entropy), SigningKey::generate(&mut entropy));
    let [old, new] = [KemSecretKey::generate(&mut entropy), KemSecretKey::generate(&mut entropy)];
    let mut list = key_list(&root, &signing, &old);
    let middle = START.plus_ms(30 * DAY);
    list.keys[1].until = middle.plus_ms(DAY);
    let next = PublishedKey::new(KeyUse::Kem, new.public_key().0, middle, middle.plus_ms(30 * DAY));
    list.keys.push(next);
    let at = |at: Timestamp| list.kem_key(at).map(|(_, key)| key);
    assert_eq!(at(START.minus_ms(5 * 60 * 1000)), Some(old.public_key()), "clocks differ");
    assert_eq!(at(START.minus_ms(5 * 60 * 1000 + 1)), None);
    assert_eq!(at(START.plus_ms(DAY)), Some(old.public_key()));
    assert_eq!(at(middle), Some(new.public_key()));
    assert_eq!(at(middle.plus_ms(31 * DAY)), None);
    let kid = list.keys[0].kid;
    assert_eq!(list.signature_key(&kid), Some(signing.verify_key()));
    assert_eq!(list.signature_key_at(&kid, START), Some(signing.verify_key()));
    assert_eq!(list.signature_key_at(&kid, START.plus_ms(401 * DAY)), None);
    assert_eq!(list.signature_key(&list.keys[1].kid), None, "a KEM key signs nothing");
}

#[test]
fn the_network_id_is_read_back() {
    let (root, list) = list();
    assert_eq!(list.operator, operator_id(&root.verify_key()));
    let text = network_id(list.operator);
    assert_eq!(text.len(), 22);
    assert_eq!(parse_network_id(&text), Some(list.operator));
    let longer = format!("{text}A");
    let padded = format!("{text}==");
    for bad in ["", &text[1..], longer.as_str(), padded.as_str(), "!!!!!!!!!!!!!!!!!!!!!!"] {
        assert_eq!(parse_network_id(bad), None, "{bad}");
    }
}
