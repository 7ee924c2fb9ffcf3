//! The issuer's steps, all the way: a request is opened, decided, applied to a copy of the books, answered. Whatever comes,
//! the books do not find the program at fault, the same request gets the same answer, and value is conserved.

use std::sync::{Arc, LazyLock};

use florin_books::{Facts, LaneId, Record, Rejected, Timestamp, Transition};
use florin_coin::issuer::{
    AcknowledgeStep, AggregateBalanceStep, BoxOpenStep, BoxPutStep, BoxTakeStep, ChangeStep, CheckStep,
    CollectAckStep, CollectStep, PayeeStatusStep, PayerStatusStep, PaymentStep, RedeemAggregateStep,
    RedeemStep, RefreshStep, RefundStep, WRequest1Step, WRequest3Step,
};
use florin_coin::messages::ValidationReq;
use florin_crypto::{Digest, Envelope};
use florin_crypto::{KemPublicKey, SeededEntropy, Sign1, decode_strict, encode, kem, sign1};
use florin_money::Currency;
use florin_parties::sealed::sign_kid;
use florin_parties::{ConfirmStep, EnrolStep, RegisterStep};
use florin_rail::{Class, Decision, Moment, Refusal, Step, cause, hpke_info};

use crate::asker::requests;
use crate::edit::edited;
use crate::say::{choice, fine, some};
use crate::world::{BOOKS, IDENTITY, NOW, Shelf, World};

/// How what a request says becomes a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrap {
    /// As it is.
    Plain,
    /// In an envelope for the operator.
    Sealed,
    /// Signed, then in an envelope.
    Signed,
    /// Signed, then in an envelope that only one key can have made.
    From(KemPublicKey),
}

struct Request {
    path: String,
    body: Vec<u8>,
    inside: Vec<u8>,
    wrap: Wrap,
}

struct Scene {
    world: World,
    requests: Vec<Request>,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let mut world = World::new();
    let asked = requests(&mut world);
    let requests = asked.into_iter().map(|(path, body)| unwrapped(&world, path, body)).collect();
    Scene { world, requests }
});

/// Rail and message of a path.
fn named(path: &str) -> (&str, &str) {
    let mut parts = path.rsplit('/');
    let message = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), message)
}

/// What a good request says inside, with the operator's keys.
fn unwrapped(world: &World, path: String, body: Vec<u8>) -> Request {
    let (rail, message) = named(&path);
    let opened = decode_strict::<Envelope>(&body).ok();
    let opened = opened.and_then(|e| world.keys.open(rail, message, &[], &e).ok().map(|(plain, _)| plain));
    let from = decode_strict::<(KemPublicKey, Envelope)>(&body).ok();
    let from = from.and_then(|(key, e)| {
        let opened = world.keys.open_auth(&key, rail, message, &[], &e).ok();
        opened.map(|(plain, _)| (plain, key))
    });
    let (inside, wrap) = match (opened, from) {
        (Some(plain), _) => match Sign1::parse(&plain) {
            Ok(signed) => (signed.payload_unverified().to_vec(), Wrap::Signed),
            Err(_) => (plain.to_vec(), Wrap::Sealed),
        },
        (None, Some((plain, key))) => {
            let signed = fine(Sign1::parse(&plain), "a signed request");
            (signed.payload_unverified().to_vec(), Wrap::From(key))
        }
        (None, None) => (body.clone(), Wrap::Plain),
    };
    Request { path, body, inside, wrap }
}

/// The body around another inside.
fn wrapped(world: &World, request: &Request, inside: &[u8]) -> Vec<u8> {
    let (rail, message) = named(&request.path);
    let (kid, key) = some(world.list.kem_key(NOW), "a key");
    let info = hpke_info(rail, message, world.operator(), &kid);
    let mut entropy = SeededEntropy::new(inside);
    let signed = || sign1(&world.me.signing, &sign_kid(&world.me.signing), inside);
    let sealed = match request.wrap {
        Wrap::Plain => return inside.to_vec(),
        Wrap::Sealed => kem::seal(&key, &kid, &info, &[], inside, &mut entropy),
        Wrap::Signed => kem::seal(&key, &kid, &info, &[], &signed(), &mut entropy),
        Wrap::From(from) => {
            let sealed = kem::seal_auth(&world.me.kem, &key, &kid, &info, &[], &signed(), &mut entropy);
            return sealed.map(|(e, _)| encode(&(from, e))).unwrap_or_default();
        }
    };
    // What is too large for an envelope cannot be sent.
    sealed.map(|(envelope, _)| encode(&envelope)).unwrap_or_default()
}

/// A payment whose coins were changed within their own envelope; nothing where the request brings none.
fn recoined(world: &World, request: &Request, script: &[u8]) -> Option<Vec<u8>> {
    let mut message: ValidationReq = decode_strict(&request.inside).ok()?;
    let aad = message.com;
    let (coins, _) = world.keys.open("coin", "enc-c1", aad.as_bytes(), &message.enc_c1).ok()?;
    let (kid, key) = world.list.kem_key(NOW)?;
    let info = hpke_info("coin", "enc-c1", world.operator(), &kid);
    let mut entropy = SeededEntropy::new(script);
    let sealed = kem::seal(&key, &kid, &info, aad.as_bytes(), &edited(&coins, script), &mut entropy);
    message.enc_c1 = sealed.ok()?.0;
    Some(wrapped(world, request, &encode(&message)))
}

/// So many kinds of requests there are.
#[cfg(test)]
pub(crate) fn kinds() -> usize {
    SCENE.requests.len()
}

/// A request to a step: changed outside, changed inside, or from nothing inside.
pub(crate) fn issuer(data: &[u8]) {
    let scene = &*SCENE;
    let (which, data) = choice(data);
    let (how, data) = choice(data);
    let place = usize::from(which).checked_rem(scene.requests.len()).unwrap_or(0);
    let request = some(scene.requests.get(place), "no such request");
    let body = match how % 8 {
        0 | 1 => wrapped(&scene.world, request, &edited(&request.inside, data)),
        2 => wrapped(&scene.world, request, data),
        3 => edited(&request.body, data),
        _ => recoined(&scene.world, request, data)
            .unwrap_or_else(|| wrapped(&scene.world, request, &edited(&request.inside, data))),
    };
    post(&scene.world, &request.path, &body);
}

fn post(world: &World, path: &str, body: &[u8]) {
    let (i, k) = (world.issuer.clone(), world.keys.clone());
    match path {
        "/v1/coin/wrequest1" => serve(world, IDENTITY, &WRequest1Step(i), body),
        "/v1/coin/wrequest3" => serve(world, IDENTITY, &WRequest3Step(i), body),
        "/v1/coin/collect" => serve(world, BOOKS, &CollectStep(i), body),
        "/v1/coin/collect-ack" => serve(world, BOOKS, &CollectAckStep(i), body),
        "/v1/coin/validation-req" => serve(world, BOOKS, &PaymentStep(i), body),
        "/v1/coin/check" => serve(world, BOOKS, &CheckStep::new(i), body),
        "/v1/coin/issuance2" => serve(world, BOOKS, &AcknowledgeStep(i), body),
        "/v1/coin/payer-status" => serve(world, BOOKS, &PayerStatusStep(i), body),
        "/v1/coin/payee-status" => serve(world, BOOKS, &PayeeStatusStep(i), body),
        "/v1/coin/change" => serve(world, BOOKS, &ChangeStep(i), body),
        "/v1/coin/redeem" => serve(world, BOOKS, &RedeemStep(i), body),
        "/v1/coin/refund" => serve(world, BOOKS, &RefundStep(i), body),
        "/v1/coin/refresh" => serve(world, BOOKS, &RefreshStep(i), body),
        "/v1/coin/redeem-aggregate" => serve(world, BOOKS, &RedeemAggregateStep(i), body),
        "/v1/coin/aggregate-balance" => serve(world, BOOKS, &AggregateBalanceStep(i), body),
        "/v1/coin/box-open" => serve(world, BOOKS, &BoxOpenStep(i), body),
        "/v1/coin/box-put" => serve(world, BOOKS, &BoxPutStep(i), body),
        "/v1/coin/box-take" => serve(world, BOOKS, &BoxTakeStep(i), body),
        "/v1/parties/register" => serve(world, IDENTITY, &RegisterStep::new(k), body),
        "/v1/parties/enrol" => serve(world, IDENTITY, &EnrolStep::new(k, Currency::FLO), body),
        "/v1/parties/confirm" => serve(world, IDENTITY, &ConfirmStep::new(k), body),
        other => assert_eq!(other, "", "there is no such step"),
    }
}

fn serve<S: Step>(world: &World, lane: LaneId, step: &S, body: &[u8]) {
    let shelf = if lane == IDENTITY { &world.identity } else { &world.books };
    let first = once(shelf, step, body);
    let again = once(shelf, step, body);
    assert!(first == again, "the same request has two answers: {:?}", step.name());
}

/// The answer, and the books' chain after it.
type Outcome = (Result<Vec<u8>, &'static str>, Digest);

fn refused(shelf: &Shelf, refusal: &Refusal) -> Outcome {
    assert!(refusal.class != Class::Fault, "the program is at fault: {refusal:?}");
    (Err(refusal.slug), shelf.lane.chain())
}

fn answered(shelf: &Shelf, reply: Result<Vec<u8>, Refusal>) -> Outcome {
    match reply {
        Ok(bytes) => (Ok(bytes), shelf.lane.chain()),
        Err(refusal) => refused(shelf, &refusal),
    }
}

fn once<S: Step>(shelf: &Shelf, step: &S, body: &[u8]) -> Outcome {
    let opened = match step.open(body, NOW) {
        Ok(opened) => opened,
        Err(refusal) => return refused(shelf, &refusal),
    };
    let needs = step.needs(&opened);
    let mut facts = shelf.facts(&needs);
    let cause = cause(step.name().rail, step.name().step, body);
    if let Some(seq) = needs.once.iter().find_map(|key| facts.once.get(key).copied()) {
        let record = some(shelf.record(seq), "a once key without a record");
        let its = step.is_authentic(&opened, &facts)
            && (record.core.cause == cause || step.may_reissue(&opened, record, &facts));
        return if its {
            answered(shelf, step.reissue(&opened, record, &facts))
        } else {
            (Err("taken"), cause)
        };
    }
    let balances = step.balances(&opened).into_iter();
    facts.balances = balances.map(|(a, c)| ((a, c), shelf.lane.balance(a, c))).collect();
    let more = step.follows(&opened, &facts);
    let read = shelf.facts(&more);
    facts.documents.extend(read.documents);
    for (key, seq) in read.once {
        let record = some(shelf.record(seq), "a once key without a record");
        facts.records.insert(key, Arc::new(record.clone()));
    }
    let decision = decided(body, |moment| step.decide(&opened, &facts, moment));
    match carried_out(shelf, decision, cause, &facts) {
        Carried::Said(outcome) => outcome,
        Carried::Done(record, chain) => (answered(shelf, step.reply(&opened, &record)).0, chain),
        Carried::Not(why) => {
            let second = decided(body, |moment| step.decide_refused(&opened, &facts, &why, moment));
            match carried_out(shelf, second, cause, &facts) {
                Carried::Said(outcome) => outcome,
                Carried::Done(record, chain) => (answered(shelf, step.reply(&opened, &record)).0, chain),
                Carried::Not(why) => {
                    assert!(matches!(why, Rejected::NotLive { .. }), "a verdict cannot be recorded: {why:?}");
                    (Err("again"), shelf.lane.chain())
                }
            }
        }
    }
}

fn decided(body: &[u8], decide: impl FnOnce(&mut Moment<'_>) -> Decision) -> Decision {
    let mut entropy = SeededEntropy::new(body);
    decide(&mut Moment { now: NOW, entropy: &mut entropy })
}

enum Carried {
    Said(Outcome),
    Done(Box<Record>, Digest),
    Not(Rejected),
}

/// On a copy of the lane, so that every input meets the same books.
fn carried_out(shelf: &Shelf, decision: Decision, cause: Digest, facts: &Facts) -> Carried {
    let mut t: Transition = match decision {
        Decision::Apply(t) | Decision::Deny(t) => t,
        Decision::Answer(bytes) => return Carried::Said((Ok(bytes), shelf.lane.chain())),
        Decision::Refuse(refusal) => return Carried::Said(refused(shelf, &refusal)),
    };
    t.cause = cause;
    t.as_of = facts.as_of;
    let mut lane = shelf.lane.clone();
    match lane.apply(t, NOW) {
        Ok(entry) => {
            let sum: i128 = lane.balances().map(|(_, _, balance)| i128::from(balance)).sum();
            assert_eq!(sum, 0, "value was made or lost");
            let mut again = shelf.lane.clone();
            let redone = fine(again.redo(entry.record.clone()), "a record cannot be redone");
            assert_eq!(redone.map(|e| e.chain), Some(entry.chain));
            Carried::Done(Box::new(entry.record), entry.chain)
        }
        Err(why) => {
            assert!(!why.is_fault(), "the books find the program at fault: {why:?}");
            let settled = matches!(why, Rejected::Repeated { .. } | Rejected::IdReused { .. });
            assert!(!settled, "a once key that was not looked up: {why:?}");
            Carried::Not(why)
        }
    }
}

/// Serves a request and keeps what it did: for the making of the scene.
pub(crate) fn commit<S: Step>(world: &mut World, lane: LaneId, step: &S, body: &[u8]) -> Vec<u8> {
    let opened = fine(step.open(body, NOW), "a good request");
    let needs = step.needs(&opened);
    let facts = world.shelf(lane).facts(&needs);
    let decision = decided(body, |moment| step.decide(&opened, &facts, moment));
    match decision {
        Decision::Apply(mut t) | Decision::Deny(mut t) => {
            t.cause = cause(step.name().rail, step.name().step, body);
            t.as_of = facts.as_of;
            let record = fine(world.shelf(lane).apply(t), "a good request");
            fine(step.reply(&opened, &record), "an answer")
        }
        Decision::Answer(bytes) => bytes,
        Decision::Refuse(refusal) => fine(Err(refusal), "a good request is refused"),
    }
}

/// When requests end.
pub(crate) fn exp() -> Timestamp {
    NOW.plus_ms(60 * 60 * 1000)
}
