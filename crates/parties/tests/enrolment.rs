//! Enrolment and confirmation: the code, its tries, and who may ask.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{Account, TxId};
use florin_crypto::{SigningKey, cbor, reply_seal};
use florin_parties::asker::{AskError, ReadError, prepare_confirm, prepare_enrol, read_confirm, read_enrol};
use florin_parties::enrolment::{CODE_DAYS, CodeSent};
use florin_parties::kinds::{COPY_PARTICIPANT, SUBMIT_ORDER};
use florin_parties::refusal::ConfirmRefusal;
use florin_parties::{
    ConfirmOutcome, ConfirmStep, EnrolStep, Enrolment, EnrolmentState, IdentityKeys, OrderRecord,
    Participant, ParticipantState, Roles, party_id,
};
use florin_rail::{Context, Step, transcript};
use support::{DAY, IBAN, OTHER_IBAN, START, World, one_element_more, slug};

fn enrolment(world: &World, identity: &IdentityKeys) -> Enrolment {
    Enrolment::read(&world.documents[&Enrolment::key_of(identity.id())].value).unwrap()
}

fn roles(world: &World, identity: &IdentityKeys) -> Roles {
    Participant::read(&world.documents[&Participant::key_of(identity.id())].value).unwrap().roles
}

fn begun(world: &mut World, wanted: Roles, iban: &str) -> IdentityKeys {
    let identity = world.registered(None);
    let asked = world.ask_enrol(&identity, wanted, iban);
    world.enrol(&asked.body).unwrap();
    identity
}

fn confirm(world: &mut World, identity: &IdentityKeys, code: &str) -> ConfirmOutcome {
    let asked = world.ask_confirm(identity, code);
    let answer = world.confirm(&asked.body).unwrap();
    read_confirm(&asked.pending, &answer).unwrap()
}

fn another(code: &str) -> String {
    let first = if code.starts_with('0') { "1" } else { "0" };
    format!("{first}{}", &code[1..])
}

fn block(world: &mut World, identity: &IdentityKeys) {
    let key = Participant::key_of(identity.id());
    let blocked =
        Participant::read(&world.documents[&key].value).unwrap().with_state(ParticipantState::Blocked);
    let mut t = florin_books::Transition::new(florin_crypto::digest("test", &[]), world.lane.seq());
    t.write(key, cbor::encode(&blocked));
    world.commit(t);
}

#[test]
fn the_code_on_the_statement_enrols() {
    let mut world = World::new(1);
    for (wanted, iban) in [(Roles::PURCHASER, IBAN), (Roles::REDEEMER, OTHER_IBAN), (Roles::BOTH, IBAN)] {
        let identity = world.registered(None);
        let asked = world.ask_enrol(&identity, wanted, iban);
        assert_eq!(asked.path, "/v1/parties/enrol");
        let answer = world.enrol(&asked.body).unwrap();
        let sent = read_enrol(&asked.pending, &answer).unwrap();
        assert_eq!(
            sent,
            CodeSent {
                expires: START.plus_ms(CODE_DAYS * DAY),
                amount: "0.01 FLO".parse().unwrap(),
                tries: 5,
            }
        );
        let order = world.orders().pop().unwrap();
        assert_eq!(order.account.iban(), iban);
        assert_eq!(order.amount, sent.amount);
        let code = world.last_code();
        assert_eq!(code.len(), 10);
        assert_eq!(roles(&world, &identity), Roles::NONE, "not before the code");
        let spaced = format!("{} {}-{}", &code[..3], &code[3..6], &code[6..]);
        assert_eq!(confirm(&mut world, &identity, &spaced), ConfirmOutcome::Enrolled(wanted));
        assert_eq!(roles(&world, &identity), wanted);
        assert_eq!(enrolment(&world, &identity).confirmed().unwrap().account.iban(), iban);
        let copy = world.lane.outbox().filter(|o| o.kind == COPY_PARTICIPANT);
        let copies: Vec<_> = copy.filter_map(|o| Participant::read(&o.body)).collect();
        assert!(copies.iter().any(|p| p.id == identity.id() && p.roles == wanted && p.revision == 2));
    }
    assert_eq!(world.denied, 0);
}

#[test]
fn the_code_transfer_is_an_expense_in_flight_and_its_document_says_what_for() {
    let mut world = World::new(2);
    let identity = begun(&mut world, Roles::BOTH, IBAN);
    assert_eq!((world.balance(Account::Expense), world.balance(Account::InFlight)), (1, -1));
    let order = world.orders().pop().unwrap();
    let stored = OrderRecord::read(&world.documents[&OrderRecord::key_of(order.id)].value).unwrap();
    assert_eq!(stored.purpose.reference, *identity.id().bytes());
    assert_eq!(stored.source, Some(Account::Expense));
    assert_eq!(world.lane.outbox().filter(|o| o.kind == SUBMIT_ORDER).count(), 1);
    let document = &world.documents[&Enrolment::key_of(identity.id())].value;
    let code = world.last_code();
    assert!(!document.windows(code.len()).any(|w| w == code.as_bytes()), "only a digest");
}

#[test]
fn the_same_bytes_get_the_same_bytes() {
    let mut world = World::new(3);
    let identity = world.registered(None);
    let asked = world.ask_enrol(&identity, Roles::BOTH, IBAN);
    let first = world.enrol(&asked.body).unwrap();
    assert_eq!(world.enrol(&asked.body).unwrap(), first);
    assert_eq!(world.orders().len(), 1);
    for code in [another(&world.last_code()), world.last_code()] {
        let asked = world.ask_confirm(&identity, &code);
        let first = world.confirm(&asked.body).unwrap();
        let records = world.records.len();
        assert_eq!(world.confirm(&asked.body).unwrap(), first);
        assert_eq!(world.records.len(), records, "a repeated try counts once");
    }
    assert_eq!(world.denied, 1);
}

#[test]
fn five_wrong_codes_end_it_and_each_no_is_recorded() {
    let mut world = World::new(4);
    let identity = begun(&mut world, Roles::BOTH, IBAN);
    let code = world.last_code();
    let wrong = another(&code);
    for left in [4, 3, 2, 1] {
        let outcome = confirm(&mut world, &identity, &wrong);
        assert_eq!(outcome, ConfirmOutcome::WrongCode(left));
        assert_eq!(outcome.refusal().unwrap().refusal().slug, "wrong-code");
    }
    assert_eq!(confirm(&mut world, &identity, &wrong), ConfirmOutcome::TooManyTries);
    assert_eq!(ConfirmOutcome::TooManyTries.refusal(), Some(ConfirmRefusal::TooManyTries));
    assert_eq!(world.denied, 5);
    let asked = world.ask_confirm(&identity, &code);
    assert_eq!(slug(world.confirm(&asked.body)), "no-enrolment", "the right one comes too late");
    assert_eq!(enrolment(&world, &identity).state, EnrolmentState::Idle);
    assert_eq!(roles(&world, &identity), Roles::NONE);
}

#[test]
fn an_expired_code_is_none() {
    let mut world = World::new(5);
    let identity = begun(&mut world, Roles::BOTH, IBAN);
    let code = world.last_code();
    world.now = START.plus_ms(CODE_DAYS * DAY + 1);
    assert_eq!(confirm(&mut world, &identity, &code), ConfirmOutcome::CodeExpired);
    let asked = world.ask_confirm(&identity, &code);
    assert_eq!(slug(world.confirm(&asked.body)), "no-enrolment");
    let mut world = World::new(5);
    let identity = begun(&mut world, Roles::BOTH, IBAN);
    world.now = START.plus_ms(CODE_DAYS * DAY);
    let code = world.last_code();
    assert_eq!(confirm(&mut world, &identity, &code), ConfirmOutcome::Enrolled(Roles::BOTH), "just in time");
}

#[test]
fn a_code_that_expires_on_the_lanes_clock_is_not_taken() {
    let mut world = World::new(6);
    let identity = begun(&mut world, Roles::BOTH, IBAN);
    world.now = START.plus_ms(CODE_DAYS * DAY);
    let asked = world.ask_confirm(&identity, &world.last_code());
    let step = ConfirmStep::new(world.keys.clone());
    let opened = step.open(&asked.body, world.now).unwrap();
    let facts = world.facts(&step.needs(&opened));
    let mut entropy = florin_crypto::SeededEntropy::from_number(1);
    let mut moment = florin_rail::Moment { now: world.now, entropy: &mut entropy };
    let florin_rail::Decision::Apply(t) = step.decide(&opened, &facts, &mut moment) else { panic!("a yes") };
    let why = world.lane.apply(t, world.now.plus_ms(1)).unwrap_err();
    match step.decide_refused(&opened, &facts, &why, &mut moment) {
        florin_rail::Decision::Refuse(r) => assert_eq!((r.slug, r.transient), ("overloaded", true)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_that_expires_on_the_lanes_clock_is_not_applied() {
    let mut world = World::new(16);
    let identity = world.registered(None);
    let asked = world.ask_enrol(&identity, Roles::BOTH, IBAN);
    let step = EnrolStep::new(world.keys.clone(), florin_money::Currency::FLO);
    let opened = step.open(&asked.body, world.now).unwrap();
    let facts = world.facts(&step.needs(&opened));
    let mut entropy = florin_crypto::SeededEntropy::from_number(1);
    let mut moment = florin_rail::Moment { now: world.now, entropy: &mut entropy };
    let florin_rail::Decision::Apply(t) = step.decide(&opened, &facts, &mut moment) else { panic!("a yes") };
    let last = world.now.plus_ms(65 * 60 * 1000);
    let why = world.lane.clone().apply(t.clone(), last.plus_ms(1)).unwrap_err();
    match step.decide_refused(&opened, &facts, &why, &mut moment) {
        florin_rail::Decision::Refuse(r) => assert_eq!(r.slug, "request-expired"),
        other => panic!("{other:?}"),
    }
    assert!(world.lane.apply(t, last).is_ok());
}

#[test]
fn a_new_enrolment_replaces_the_one_that_waits_three_times_a_day() {
    let mut world = World::new(7);
    let identity = begun(&mut world, Roles::BOTH, IBAN);
    let old = world.last_code();
    let asked = world.ask_enrol(&identity, Roles::PURCHASER, OTHER_IBAN);
    world.enrol(&asked.body).unwrap();
    assert_eq!(confirm(&mut world, &identity, &old), ConfirmOutcome::WrongCode(4));
    let asked = world.ask_enrol(&identity, Roles::BOTH, IBAN);
    world.enrol(&asked.body).unwrap();
    let asked = world.ask_enrol(&identity, Roles::BOTH, IBAN);
    let refused = world.enrol(&asked.body).unwrap_err();
    assert_eq!(refused.slug, "too-many-enrolments");
    assert_eq!(refused.retry_after_s, Some(15 * 60 * 60), "at midnight UTC");
    world.now = world.now.plus_ms(15 * 60 * 60 * 1000);
    let asked = world.ask_enrol(&identity, Roles::BOTH, IBAN);
    assert!(world.enrol(&asked.body).is_ok());
}

#[test]
fn a_change_keeps_the_old_account_until_it_is_confirmed() {
    let mut world = World::new(8);
    let identity = begun(&mut world, Roles::BOTH, IBAN);
    let code = world.last_code();
    confirm(&mut world, &identity, &code);
    let asked = world.ask_enrol(&identity, Roles::REDEEMER, OTHER_IBAN);
    world.enrol(&asked.body).unwrap();
    let account = |world: &World| enrolment(world, &identity).confirmed().unwrap().account.iban().to_owned();
    assert_eq!(account(&world), IBAN);
    let code = world.last_code();
    for _ in 0..5 {
        confirm(&mut world, &identity, &another(&code));
    }
    assert_eq!((account(&world), roles(&world, &identity)), (IBAN.to_owned(), Roles::BOTH), "the try failed");
    let asked = world.ask_enrol(&identity, Roles::REDEEMER, OTHER_IBAN);
    world.enrol(&asked.body).unwrap();
    let code = world.last_code();
    confirm(&mut world, &identity, &code);
    assert_eq!((account(&world), roles(&world, &identity)), (OTHER_IBAN.to_owned(), Roles::REDEEMER));
}

#[test]
fn a_transfer_that_does_not_arrive_ends_what_waits_for_it() {
    let mut world = World::new(9);
    let identity = begun(&mut world, Roles::BOTH, IBAN);
    let order = world.orders().pop().unwrap().id;
    let stored = enrolment(&world, &identity);
    assert_eq!(stored.undelivered(order).unwrap().state, EnrolmentState::Idle);
    assert_eq!(stored.undelivered(florin_parties::bank::OrderId::new([1; 16])), None);
}

#[test]
fn only_registered_and_unblocked_participants_may_ask() {
    let mut world = World::new(10);
    let stranger = world.identity();
    let asked = world.ask_enrol(&stranger, Roles::BOTH, IBAN);
    assert_eq!(slug(world.enrol(&asked.body)), "not-registered");
    let asked = world.ask_confirm(&stranger, "0123456789");
    assert_eq!(slug(world.confirm(&asked.body)), "not-registered");
    let identity = begun(&mut world, Roles::BOTH, IBAN);
    block(&mut world, &identity);
    let asked = world.ask_enrol(&identity, Roles::BOTH, IBAN);
    assert_eq!(slug(world.enrol(&asked.body)), "participant-blocked");
    let asked = world.ask_confirm(&identity, &world.last_code());
    assert_eq!(slug(world.confirm(&asked.body)), "participant-blocked");
    let registered = world.registered(None);
    let asked = world.ask_confirm(&registered, "0123456789");
    assert_eq!(slug(world.confirm(&asked.body)), "no-enrolment");
}

/// The two payloads by hand: `(step, payload)`.
fn payloads(world: &mut World, identity: &IdentityKeys) -> [(&'static str, Vec<u8>); 2] {
    let key = identity.signing.verify_key();
    let context = |step| Context::new("parties", step, identity.id(), world.list.operator);
    let (enrol, confirm) = (context("enrol"), context("confirm"));
    let ((tx1, exp), (tx2, _)) = (world.tx(), world.tx());
    [
        ("enrol", cbor::encode(&(enrol, key, 3u8, format!("payto://iban/{IBAN}"), tx1, exp))),
        ("confirm", cbor::encode(&(confirm, key, "0123456789", tx2, exp))),
    ]
}

fn open(world: &World, step: &str, body: &[u8]) -> &'static str {
    match step {
        "enrol" => {
            slug(EnrolStep::new(world.keys.clone(), florin_money::Currency::FLO).open(body, world.now))
        }
        _ => slug(ConfirmStep::new(world.keys.clone()).open(body, world.now)),
    }
}

fn signed(key: &SigningKey, payload: &[u8]) -> Vec<u8> {
    florin_crypto::sign1(key, &florin_parties::sealed::sign_kid(key), payload)
}

fn forged(by: &SigningKey, as_if: &SigningKey, payload: &[u8]) -> Vec<u8> {
    florin_crypto::sign1(by, &florin_parties::sealed::sign_kid(as_if), payload)
}

#[test]
fn one_element_more_another_signer_another_recipient_and_another_step_are_refused() {
    let mut world = World::new(11);
    let (identity, thief) = (world.registered(None), world.registered(None));
    let to = world.list.operator;
    let other = World::new(12);
    for (step, payload) in payloads(&mut world, &identity) {
        let good = signed(&identity.signing, &payload);
        let body = world.seal_bytes(step, to, &good);
        assert_eq!(open(&world, step, &body), "fine", "{step}: the contract of the document");
        let not_this = if step == "enrol" { "confirm" } else { "enrol" };
        let bad = [
            ("one more in the payload", signed(&identity.signing, &one_element_more(&payload))),
            ("one more in the signature", one_element_more(&good)),
            ("another signer", signed(&thief.signing, &payload)),
            ("another signer under this kid", forged(&thief.signing, &identity.signing, &payload)),
            ("not signed", payload.clone()),
        ];
        for (what, text) in bad {
            let body = world.seal_bytes(step, to, &text);
            assert_eq!(open(&world, step, &body), "bad-request", "{step}: {what}");
        }
        assert_eq!(open(&world, step, &one_element_more(&body)), "bad-request", "{step}: one more outside");
        assert_eq!(open(&world, not_this, &body), "bad-request", "{step}: sent to another step");
        let moved = world.seal_bytes(not_this, to, &good);
        assert_eq!(open(&world, not_this, &moved), "bad-request", "{step}: sealed to another step");
        assert_eq!(open(&other, step, &body), "bad-request", "{step}: another operator's key");
        let info = world.seal_bytes(step, other.list.operator, &good);
        assert_eq!(open(&world, step, &info), "bad-request", "{step}: for another recipient");
        // Sealed anew by the operator that got it, to another operator.
        let mut victim = World::new(12);
        let forwarded = victim.seal_bytes(step, victim.list.operator, &good);
        assert_eq!(open(&victim, step, &forwarded), "bad-request", "{step}: forwarded");
        for at in 0..body.len() {
            let mut flipped = body.clone();
            flipped[at] ^= 1 << (at % 8);
            assert_eq!(open(&world, step, &flipped), "bad-request", "{step}: byte {at}");
        }
        world.now = world.now.plus_ms(2 * 60 * 60 * 1000);
        assert_eq!(open(&world, step, &body), "request-expired", "{step}");
        world.now = START;
    }
}

#[test]
fn accounts_roles_and_codes_that_are_none_are_refused() {
    let mut world = World::new(13);
    let identity = world.registered(None);
    let (key, to) = (identity.signing.verify_key(), world.list.operator);
    let (txid, exp) = world.tx();
    let context = |step| Context::new("parties", step, identity.id(), to);
    let mut enrol = |roles: u8, account: &str| {
        let payload = cbor::encode(&(context("enrol"), key, roles, account, txid, exp));
        let body = world.seal_bytes("enrol", to, &signed(&identity.signing, &payload));
        open(&world, "enrol", &body)
    };
    assert_eq!(enrol(3, "DE89 3704 0044 0532 0130 00"), "fine");
    for account in ["", "DE89370400440532013001", "payto://x-bank/1", "https://iban/DE89370400440532013000"] {
        assert_eq!(enrol(3, account), "account-not-valid", "{account}");
    }
    for roles in [0, 4, 255] {
        assert_eq!(enrol(roles, IBAN), "bad-request", "{roles}");
    }
    for code in ["", "012345678", "01234567890", "012345678a", "０123456789"] {
        let payload = cbor::encode(&(context("confirm"), key, code, txid, exp));
        let body = world.seal_bytes("confirm", to, &signed(&identity.signing, &payload));
        assert_eq!(open(&world, "confirm", &body), "bad-request", "{code}");
    }
    let tx = (TxId::new([1; 16]), exp);
    let asked = prepare_confirm(&identity, "123", &world.list, tx, world.now, &mut world.entropy);
    assert_eq!(asked.err(), Some(AskError::Code));
    let account = IBAN.parse().unwrap();
    let asked =
        prepare_enrol(&identity, Roles::NONE, &account, &world.list, tx, world.now, &mut world.entropy);
    assert_eq!(asked.err(), Some(AskError::NoRole));
}

#[test]
fn an_answer_with_one_element_more_or_for_another_request_is_none() {
    let mut world = World::new(14);
    let identity = world.registered(None);
    let asked = world.ask_enrol(&identity, Roles::BOTH, IBAN);
    let envelope = cbor::decode_strict(&asked.body).unwrap();
    let (_, exporter) = world.keys.open("parties", "enrol", &[], &envelope).unwrap();
    let id = party_id(&identity.signing.verify_key());
    let context = Context::new("parties", "enrol-reply", world.list.operator, id);
    let th = transcript("parties", &[&asked.body]);
    let key = exporter.export(&cbor::encode(&context));
    let sent = CodeSent { expires: START, amount: "0.01 FLO".parse().unwrap(), tries: 5 };
    let aad = cbor::encode(&(&context, &th));
    let content = cbor::encode(&(&context, &th, &sent));
    let answer = reply_seal(&key, &aad, &content);
    assert_eq!(read_enrol(&asked.pending, &answer), Ok(sent), "the contract of the document");
    let longer = reply_seal(&key, &aad, &one_element_more(&content));
    assert_eq!(read_enrol(&asked.pending, &longer), Err(ReadError::Answer));
    let elsewhere = reply_seal(&key, b"", &content);
    assert_eq!(read_enrol(&asked.pending, &elsewhere), Err(ReadError::Answer));
    let other = world.ask_enrol(&identity, Roles::BOTH, IBAN);
    assert_eq!(read_enrol(&other.pending, &answer), Err(ReadError::Answer));
    assert_eq!(read_confirm(&asked.pending, &answer), Err(ReadError::Pending));
}

#[test]
fn what_is_kept_has_neither_the_code_nor_the_account() {
    let mut world = World::new(15);
    let identity = begun(&mut world, Roles::BOTH, IBAN);
    let code = world.last_code();
    let kept =
        [world.ask_confirm(&identity, &code).pending, world.ask_enrol(&identity, Roles::BOTH, IBAN).pending];
    for needle in [code.as_bytes(), IBAN.as_bytes(), identity.signing.seed().expose()] {
        assert!(kept.iter().all(|k| !k.windows(needle.len()).any(|w| w == needle)));
    }
}
