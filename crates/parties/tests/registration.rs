//! Registration: who gets in, under which name, with which certificate, and who does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{EffectId, Facts, Outgoing, PartyId, Timestamp, TxId};
use florin_crypto::{SigningKey, cbor, kem};
use florin_parties::asker::{AskError, ReadError, prepare_register, read_register};
use florin_parties::kinds::COPY_PARTICIPANT;
use florin_parties::participant::copy;
use florin_parties::{
    Certificate, CertificateError, IdentityKeys, NameError, OperatorKeys, Participant, ParticipantState,
    RegisterStep, Roles, party_id,
};
use florin_rail::{Context, Step, hpke_info};
use support::{DAY, World, one_element_more, slug};

/// A registration made by hand from a signed payload.
fn by_hand(world: &mut World, identity: &IdentityKeys, signed: &[u8]) -> Vec<u8> {
    let (kid, key) = world.list.kem_key(world.now).unwrap();
    let info = hpke_info("parties", "register", world.list.operator, &kid);
    let sealed = kem::seal_auth(&identity.kem, &key, &kid, &info, &[], signed, &mut world.entropy).unwrap();
    cbor::encode(&(identity.kem.public_key(), sealed.0))
}

fn payload(world: &mut World, identity: &IdentityKeys, name: Option<&str>) -> Vec<u8> {
    let (txid, exp) = world.tx();
    let context = Context::new("parties", "register", identity.id(), world.list.operator);
    let key = identity.signing.verify_key();
    cbor::encode(&(context, name, key, identity.kem.public_key(), txid, exp))
}

fn signed(key: &SigningKey, payload: &[u8]) -> Vec<u8> {
    florin_crypto::sign1(key, &florin_parties::sealed::sign_kid(key), payload)
}

#[test]
fn a_name_and_a_pseudonym_get_certificates() {
    let mut world = World::new(1);
    for name in [Some("Alice.9"), None] {
        let identity = world.identity();
        let asked = world.ask_register(&identity, name);
        assert_eq!(asked.path, "/v1/parties/register");
        let answer = world.register(&asked.body).unwrap();
        let got = read_register(&asked.pending, &answer, &world.list).unwrap();
        let shown = name.map_or(identity.id().to_string(), str::to_ascii_lowercase);
        assert_eq!(got.certificate.name, shown);
        assert_eq!(got.certificate.id, party_id(&identity.signing.verify_key()));
        assert_eq!(Certificate::verify(&got.bytes, &world.list), Ok(got.certificate));
        let stored = Participant::read(&world.documents[&Participant::key_of(identity.id())].value).unwrap();
        assert_eq!((stored.roles, stored.state), (Roles::NONE, ParticipantState::Active));
        assert_eq!(stored.registered_at.0 % DAY, 0, "the lanes share no exact time");
    }
}

#[test]
fn by_hand_the_contract_of_the_document_is_what_is_spoken() {
    let mut world = World::new(2);
    let identity = world.identity();
    let text = payload(&mut world, &identity, Some("bob"));
    let body = by_hand(&mut world, &identity, &signed(&identity.signing, &text));
    assert!(world.register(&body).is_ok());
}

#[test]
fn the_same_bytes_get_the_same_bytes() {
    let mut world = World::new(3);
    let identity = world.identity();
    let asked = world.ask_register(&identity, Some("carol"));
    let first = world.register(&asked.body).unwrap();
    world.now = world.now.plus_ms(30 * 60 * 1000);
    assert_eq!(world.register(&asked.body).unwrap(), first);
    assert_eq!(world.records.len(), 1);
}

#[test]
fn a_former_signing_key_repeats_the_same_bytes_and_a_lost_one_says_ask_status() {
    let mut world = World::new(4);
    let identity = world.identity();
    let asked = world.ask_register(&identity, None);
    let first = world.register(&asked.body).unwrap();
    let kem = || florin_crypto::KemSecretKey::from_seed(&florin_crypto::Secret::new([7; 32]));
    let record = world.records[0].clone();
    let opened = RegisterStep::new(world.keys.clone()).open(&asked.body, world.now).unwrap();
    let new = SigningKey::generate(&mut world.entropy);
    let lost = OperatorKeys::new(world.list.operator, new, kem());
    let step = RegisterStep::new(std::sync::Arc::new(lost));
    assert_eq!(slug(step.reply(&opened, &record)), "ask-status");
    let mut entropy = florin_crypto::SeededEntropy::from_number(4);
    let [_, old] = [SigningKey::generate(&mut entropy), SigningKey::generate(&mut entropy)];
    let old_kem = florin_crypto::KemSecretKey::generate(&mut entropy);
    let new = SigningKey::generate(&mut world.entropy);
    let rotated = OperatorKeys::new(world.list.operator, new, kem());
    let rotated = rotated.with_former_signing(old).with_former_kem(old_kem);
    let before = std::mem::replace(&mut world.keys, std::sync::Arc::new(rotated));
    assert_ne!(world.keys.signing_kid(), before.signing_kid());
    assert_eq!(world.register(&asked.body).unwrap(), first, "after both keys were rotated");
    world.keys = before;
    let mut bare = record;
    bare.seed = None;
    let step = RegisterStep::new(world.keys.clone());
    assert_eq!(slug(step.reply(&opened, &bare)), "ask-status");
    assert_eq!(step.reply(&opened, &world.records[0]).unwrap(), first);
}

#[test]
fn a_lost_wallet_registers_again_with_the_same_keys_only() {
    let mut world = World::new(5);
    let identity = world.registered(Some("dave"));
    // Who has only the keys left need not know the name.
    for name in [Some("dave"), None] {
        let asked = world.ask_register(&identity, name);
        let answer = world.register(&asked.body).unwrap();
        assert_eq!(read_register(&asked.pending, &answer, &world.list).unwrap().certificate.name, "dave");
        assert_eq!(world.records.len(), 1, "nothing changed");
    }
    let asked = world.ask_register(&identity, Some("dave2"));
    assert_eq!(slug(world.register(&asked.body)), "already-registered");
    let other_kem =
        IdentityKeys { signing: SigningKey::from_seed(&identity.signing.seed()), kem: world.identity().kem };
    let asked = world.ask_register(&other_kem, Some("dave"));
    assert_eq!(slug(world.register(&asked.body)), "already-registered");
}

#[test]
fn a_taken_name_is_refused_in_every_spelling() {
    let mut world = World::new(6);
    world.registered(Some("erin"));
    for name in ["erin", "Erin", "ERIN"] {
        let other = world.identity();
        let asked = world.ask_register(&other, Some(name));
        assert_eq!(slug(world.register(&asked.body)), "name-taken");
    }
    assert_eq!(world.records.len(), 1);
}

#[test]
fn two_who_want_one_name_at_once_do_not_both_get_it() {
    let mut world = World::new(7);
    let step = RegisterStep::new(world.keys.clone());
    let mut decided = Vec::new();
    for _ in 0..2 {
        let identity = world.identity();
        let asked = world.ask_register(&identity, Some("frank"));
        let opened = step.open(&asked.body, world.now).unwrap();
        let facts = world.facts(&step.needs(&opened));
        let mut moment = florin_rail::Moment { now: world.now, entropy: &mut world.entropy };
        match step.decide(&opened, &facts, &mut moment) {
            florin_rail::Decision::Apply(t) => decided.push(t),
            other => panic!("{other:?}"),
        }
    }
    let second = decided.pop().unwrap();
    world.commit(decided.pop().unwrap());
    assert!(matches!(world.lane.apply(second, world.now), Err(florin_books::Rejected::Moved { .. })));
}

#[test]
fn names_that_are_none_are_refused() {
    let mut world = World::new(8);
    for name in ["ab", "1ab", "a_b", "Upper", "a b c", "party_0123"] {
        let identity = world.identity();
        let text = payload(&mut world, &identity, Some(name));
        let body = by_hand(&mut world, &identity, &signed(&identity.signing, &text));
        assert_eq!(slug(world.register(&body)), "name-not-allowed", "{name}");
    }
    let identity = world.identity();
    let tx = world.tx();
    let asked = prepare_register(&identity, Some("ab"), &world.list, tx, world.now, &mut world.entropy);
    assert_eq!(asked.err(), Some(AskError::Name(NameError::Length)));
}

#[test]
fn one_element_more_is_refused_everywhere() {
    let mut world = World::new(9);
    let identity = world.identity();
    let text = payload(&mut world, &identity, Some("grace"));
    let longer = by_hand(&mut world, &identity, &signed(&identity.signing, &one_element_more(&text)));
    assert_eq!(slug(world.register(&longer)), "bad-request", "payload");
    let cose = one_element_more(&signed(&identity.signing, &text));
    let longer = by_hand(&mut world, &identity, &cose);
    assert_eq!(slug(world.register(&longer)), "bad-request", "COSE");
    let body = by_hand(&mut world, &identity, &signed(&identity.signing, &text));
    assert_eq!(slug(world.register(&one_element_more(&body))), "bad-request", "message");
    let trailing = [body.as_slice(), &[0xf6]].concat();
    assert_eq!(slug(world.register(&trailing)), "bad-request", "trailing");
    assert_eq!(slug(world.register(&vec![0; 64 * 1024 + 1])), "bad-request", "oversized");
    for cut in 0..body.len() {
        assert_eq!(slug(world.register(&body[..cut])), "bad-request", "cut at {cut}");
    }
    assert!(world.records.is_empty());
    assert!(world.register(&body).is_ok());
}

#[test]
fn every_flipped_bit_is_refused() {
    let mut world = World::new(10);
    let identity = world.identity();
    let asked = world.ask_register(&identity, Some("heidi"));
    for at in 0..asked.body.len() {
        let mut body = asked.body.clone();
        body[at] ^= 1 << (at % 8);
        assert_eq!(slug(world.register(&body)), "bad-request", "byte {at}");
    }
    assert!(world.records.is_empty());
    let answer = world.register(&asked.body).unwrap();
    for at in 0..answer.len() {
        let mut flipped = answer.clone();
        flipped[at] ^= 1 << (at % 8);
        assert_eq!(read_register(&asked.pending, &flipped, &world.list), Err(ReadError::Answer));
    }
}

#[test]
fn another_operator_does_not_take_it() {
    let mut world = World::new(11);
    let mut other = World::new(12);
    let identity = world.identity();
    let asked = world.ask_register(&identity, None);
    assert_eq!(slug(other.register(&asked.body)), "bad-request");
    // With the very same KEM key but another id: the info differs.
    let mut twin = World::new(11);
    let signing = SigningKey::generate(&mut twin.entropy);
    let mut entropy = florin_crypto::SeededEntropy::from_number(11);
    let (_, _) = (SigningKey::generate(&mut entropy), SigningKey::generate(&mut entropy));
    let kem = florin_crypto::KemSecretKey::generate(&mut entropy);
    assert_eq!(Some(kem.public_key()), world.keys.kem_key());
    let twin = OperatorKeys::new(PartyId::new([9; 16]), signing, kem);
    let step = RegisterStep::new(std::sync::Arc::new(twin));
    assert_eq!(slug(step.open(&asked.body, world.now)), "bad-request");
    // A payload signed for another operator, sealed anew to this one.
    let text = {
        let context = Context::new("parties", "register", identity.id(), other.list.operator);
        let (txid, exp) = world.tx();
        let key = identity.signing.verify_key();
        cbor::encode(&(context, None::<String>, key, identity.kem.public_key(), txid, exp))
    };
    let body = by_hand(&mut world, &identity, &signed(&identity.signing, &text));
    assert_eq!(slug(world.register(&body)), "bad-request");
}

#[test]
fn possession_of_both_keys_is_proved() {
    let mut world = World::new(13);
    let (honest, thief) = (world.identity(), world.identity());
    // The payload of one, signed by another.
    let text = payload(&mut world, &honest, Some("ivan"));
    let body = by_hand(&mut world, &honest, &signed(&thief.signing, &text));
    assert_eq!(slug(world.register(&body)), "bad-request");
    let kid = florin_parties::sealed::sign_kid(&honest.signing);
    let body = by_hand(&mut world, &honest, &florin_crypto::sign1(&thief.signing, &kid, &text));
    assert_eq!(slug(world.register(&body)), "bad-request", "under the honest one's kid");
    // Signed well, but the envelope is by the owner of another KEM key.
    let body = by_hand(&mut world, &thief, &signed(&honest.signing, &text));
    assert_eq!(slug(world.register(&body)), "bad-request");
    // The outer message claims another's KEM key.
    let own = IdentityKeys { signing: SigningKey::from_seed(&thief.signing.seed()), kem: thief.kem };
    let text = payload(&mut world, &own, Some("ivan"));
    let body = by_hand(&mut world, &own, &signed(&own.signing, &text));
    let mut claimed = body.clone();
    claimed[3..35].copy_from_slice(&honest.kem.public_key().0);
    assert_eq!(slug(world.register(&claimed)), "bad-request");
    assert!(world.register(&body).is_ok());
}

#[test]
fn expired_and_far_ahead_are_refused() {
    let mut world = World::new(14);
    let identity = world.identity();
    let asked = world.ask_register(&identity, None);
    world.now = world.now.plus_ms(60 * 60 * 1000 + 5 * 60 * 1000);
    assert_eq!(slug(RegisterStep::new(world.keys.clone()).open(&asked.body, world.now)), "fine");
    world.now = world.now.plus_ms(1);
    assert_eq!(slug(world.register(&asked.body)), "request-expired");
    let far = (TxId::new([1; 16]), world.now.plus_ms(DAY + 5 * 60 * 1000 + 1));
    let asked = prepare_register(&identity, None, &world.list, far, world.now, &mut world.entropy);
    assert_eq!(asked.err(), Some(AskError::Exp));
}

#[test]
fn another_request_under_the_same_txid_is_refused() {
    let mut world = World::new(15);
    let identity = world.identity();
    let tx = world.tx();
    let ask = |world: &mut World| {
        prepare_register(&identity, None, &world.list, tx, world.now, &mut world.entropy).unwrap()
    };
    let (first, second) = (ask(&mut world), ask(&mut world));
    assert!(world.register(&first.body).is_ok());
    assert_eq!(slug(world.register(&second.body)), "request-id-reused");
}

#[test]
fn an_unknown_key_is_a_bad_request_and_a_retired_one_says_ask_status() {
    let mut world = World::new(16);
    let identity = world.identity();
    let asked = world.ask_register(&identity, None);
    let kid = world.list.kem_key(world.now).unwrap().0;
    let mut fresh = || {
        let signing = SigningKey::generate(&mut world.entropy);
        OperatorKeys::new(
            world.list.operator,
            signing,
            florin_crypto::KemSecretKey::generate(&mut world.entropy),
        )
    };
    let unknown = RegisterStep::new(std::sync::Arc::new(fresh()));
    assert_eq!(slug(unknown.open(&asked.body, world.now)), "bad-request");
    let mut fresh = || {
        let signing = SigningKey::generate(&mut world.entropy);
        OperatorKeys::new(
            world.list.operator,
            signing,
            florin_crypto::KemSecretKey::generate(&mut world.entropy),
        )
    };
    let retired = RegisterStep::new(std::sync::Arc::new(fresh().with_retired_kem(kid)));
    assert_eq!(slug(retired.open(&asked.body, world.now)), "ask-status");
}

#[test]
fn an_answer_for_another_request_is_none() {
    let mut world = World::new(17);
    let (a, b) = (world.identity(), world.identity());
    let (asked_a, asked_b) = (world.ask_register(&a, None), world.ask_register(&b, None));
    let answer_a = world.register(&asked_a.body).unwrap();
    assert_eq!(read_register(&asked_b.pending, &answer_a, &world.list), Err(ReadError::Answer));
    assert_eq!(read_register(b"", &answer_a, &world.list), Err(ReadError::Pending));
    assert_eq!(
        read_register(&asked_a.pending, &answer_a, &World::new(18).list),
        Err(ReadError::OtherOperator)
    );
}

#[test]
fn a_certificate_is_the_operators_own() {
    let mut world = World::new(19);
    let identity = world.identity();
    let asked = world.ask_register(&identity, Some("judy"));
    let answer = world.register(&asked.body).unwrap();
    let got = read_register(&asked.pending, &answer, &world.list).unwrap();
    let verify = |bytes: &[u8]| Certificate::verify(bytes, &world.list);
    let payload = got.certificate.payload();
    let kid = world.keys.signing_kid();
    assert_eq!(verify(&got.bytes[1..]), Err(CertificateError::Malformed));
    let longer = world.keys.sign(&kid, &one_element_more(&payload)).unwrap();
    assert_eq!(verify(&longer), Err(CertificateError::Malformed));
    let other = World::new(20);
    assert_eq!(Certificate::verify(&got.bytes, &other.list), Err(CertificateError::WrongOperator));
    let forged = signed(&identity.signing, &payload);
    assert_eq!(verify(&forged), Err(CertificateError::UnknownKey));
    let forged = florin_crypto::sign1(&identity.signing, &kid, &payload);
    assert_eq!(verify(&forged), Err(CertificateError::Signature));
}

#[test]
fn the_copy_for_the_books_arrives_once_and_never_undoes_a_later_one() {
    let mut world = World::new(21);
    let identity = world.registered(None);
    let effects: Vec<Outgoing> = world.lane.outbox().cloned().collect();
    assert_eq!(effects.len(), 1);
    assert_eq!(effects[0].kind, COPY_PARTICIPANT);
    let mut books = World::new(22);
    let deliver = |books: &mut World, out: &Outgoing| {
        let facts: Facts = books.facts(&copy::needs(out).unwrap());
        copy::decide(out, &facts).map(|t| books.commit(t)).is_some()
    };
    let later = Participant::read(&effects[0].body).unwrap().with_state(ParticipantState::Blocked);
    let blocked = Outgoing {
        id: EffectId::new([3; 16]),
        kind: COPY_PARTICIPANT,
        due: Timestamp(0),
        body: cbor::encode(&later),
    };
    assert!(deliver(&mut books, &blocked));
    assert!(!deliver(&mut books, &blocked), "once");
    assert!(!deliver(&mut books, &effects[0]), "an earlier revision");
    let stored = Participant::read(&books.documents[&Participant::key_of(identity.id())].value).unwrap();
    assert_eq!(stored, later);
}

#[test]
fn a_blocked_participant_gets_no_certificate() {
    let mut world = World::new(23);
    let identity = world.registered(None);
    let key = Participant::key_of(identity.id());
    let blocked =
        Participant::read(&world.documents[&key].value).unwrap().with_state(ParticipantState::Blocked);
    let mut t = florin_books::Transition::new(florin_crypto::digest("test", &[]), world.lane.seq());
    t.write(key, cbor::encode(&blocked));
    world.commit(t);
    let asked = world.ask_register(&identity, None);
    assert_eq!(slug(world.register(&asked.body)), "participant-blocked");
}
