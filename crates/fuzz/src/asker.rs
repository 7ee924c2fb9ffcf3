//! The asking side: what answers an asker believes, and what it makes of those that were changed on their way. Also makes the
//! good requests that the issuer's steps are tried with.

use std::sync::LazyLock;

use florin_books::{PartyId, TxId};
use florin_coin::issuer::{
    BoxMessage, BoxOpen, BoxOpenStep, ChangeStep, CheckStep, PayerStatusStep, PaymentStep, RedeemStep,
    RefreshStep, RefundStep, Side, WRequest1Step, box_id,
};
use florin_coin::payee::{self, InvoiceTerms, Presented};
use florin_coin::payer::{self, Paying};
use florin_coin::purchase_messages::{Collect, CollectAck, WDesc};
use florin_coin::refund::{self, Holder};
use florin_coin::{Com, HolderChoice, PDesc, TidPy, aggregate, holder, purchaser};
use florin_crypto::{ByteArray, Bytes, Digest, SeededEntropy, encode, kem, sign1};
use florin_money::{CoinList, Currency};
use florin_parties::asker::{prepare_confirm, prepare_enrol, prepare_register, read_enrol, read_register};
use florin_parties::bank::Mandate;
use florin_parties::sealed::sign_kid;
use florin_parties::{EnrolStep, IdentityKeys, KeyList, RegisterStep, Roles};
use florin_rail::{Context, hpke_info};

use crate::edit::edited;
use crate::issuer::{commit, exp};
use crate::say::{choice, fine, some};
use crate::world::{BOOKS, IDENTITY, NOW, World, flo, set};

const IBAN: &str = "DE89370400440532013000";

fn list(values: &[u64]) -> CoinList {
    fine(CoinList::of_values(values.iter().copied()), "values")
}

/// A payment that is about to be validated.
struct Deal {
    com: Com,
    paying: Paying,
    presented: Presented,
}

fn invoice(world: &World, number: u8, minor: u64) -> Vec<u8> {
    let goods = "one page".to_owned();
    let p_desc = PDesc { amount: flo(minor), goods, method: "coin".into(), terms: Digest([0; 32]) };
    let deadline = NOW.plus_ms(600_000);
    let terms = InvoiceTerms { tid: TidPy::new([number; 16]), p_desc, salt: [number; 16], deadline };
    payee::invoice(&world.me, &world.certificate, world.operator(), &terms)
}

fn deal(world: &mut World, number: u8, values: &[u64]) -> Deal {
    let bytes = invoice(world, number, values.iter().sum());
    let read = fine(payer::read_invoice(&bytes, &world.list, NOW), "an invoice");
    let com = read.com(PartyId::new([number; 16]));
    let mut entropy = SeededEntropy::from_number(number.into());
    let coins = set(&world.take(values));
    let paying = fine(payer::send_coins(&world.key(), &com, coins, &mut entropy), "coins on their way");
    let sent = fine(payee::read_send_coins(&paying.send_coins, world.me.id()), "coins that have come");
    let presented = Presented {
        payer: sent.context.sender,
        tid: com.tid,
        com: com.digest(),
        deadline: com.deadline,
        enc_c1: sent.enc_c1,
    };
    Deal { com, paying, presented }
}

type Asked = Vec<(String, Vec<u8>)>;

/// One good request of each kind, and what has to have happened before.
pub(crate) fn requests(world: &mut World) -> Asked {
    let mut asked = Asked::new();
    payments(world, &mut asked);
    exchanges(world, &mut asked);
    boxes(world, &mut asked);
    purchases(world, &mut asked);
    participants(world, &mut asked);
    asked
}

fn payments(world: &mut World, asked: &mut Asked) {
    let mut rng = SeededEntropy::new("payments");
    let refresh =
        |values: &[u64]| fine(payee::refresh(flo(values.iter().sum()), list(values)), "coins wanted");
    let (key, step) = (world.key(), PaymentStep(world.issuer.clone()));
    let done = deal(world, 1, &[100]);
    let v = fine(
        payee::validation_req(&key, &world.me, &done.presented, refresh(&[50, 50]), &mut rng),
        "a request",
    );
    let answer = commit(world, BOOKS, &step, &v.body);
    let issuance = fine(payee::read_issuance1(&v.pending, &answer, &world.list), "new coins");
    asked.push((payee::ACK_PATH.into(), issuance.issuance2));
    let status = fine(payer::status_request(&done.paying.pending, true), "a question");
    asked.push((payer::STATUS_PATH.into(), status));
    let gathered = deal(world, 2, &[5]);
    let wish = payee::aggregate(flo(5));
    let v = fine(payee::validation_req(&key, &world.me, &gathered.presented, wish, &mut rng), "a request");
    commit(world, BOOKS, &step, &v.body);
    let open = deal(world, 3, &[100, 20]);
    let v = payee::validation_req(&key, &world.me, &open.presented, refresh(&[100, 10, 10]), &mut rng);
    asked.push((payee::VALIDATION_PATH.into(), fine(v, "a request").body));
    let v = payee::check_request(&key, &world.me, &open.presented, refresh(&[100, 20]), &mut rng);
    asked.push((payee::CHECK_PATH.into(), fine(v, "a request").body));
    let com = open.com.digest();
    let question = payee::Question { tid: open.com.tid, com, deadline: open.com.deadline, gives_up: true };
    let v = fine(payee::status_request(&key, &world.me, &question, exp(), &mut rng), "a question");
    asked.push((v.path.into(), v.body));
    let minor = (Currency::FLO, Some(3));
    let v = aggregate::redeem(&key, &world.me, minor, TxId::new([9; 16]), exp(), &mut rng);
    let v = fine(v, "a request");
    asked.push((v.path.into(), v.body));
    let v = fine(aggregate::balance_request(&key, &world.me, exp(), &mut rng), "a request");
    asked.push((v.path.into(), v.body));
}

fn exchanges(world: &mut World, asked: &mut Asked) {
    let (key, mut rng) = (world.key(), SeededEntropy::new("exchanges"));
    let tx = |n: u8| TxId::new([n; 16]);
    // Coins that can be asked for again.
    let coins = set(&world.take(&[50, 10]));
    let mine = HolderChoice::Named(world.me.id());
    let named = holder::change_for(&key, coins, list(&[20, 20, 20]), mine, (tx(8), exp()), &mut rng);
    let step = ChangeStep(world.issuer.clone());
    commit(world, BOOKS, &step, &fine(named, "a request").body);
    let (given, old, last) = (world.take(&[50, 10]), world.take(&[200, 1]), world.take(&[100, 2]));
    let made = [
        holder::change(&key, set(&given), list(&[20, 20, 20]), tx(1), exp(), &mut rng),
        holder::refresh(&key, set(&old), tx(2), exp(), &mut rng),
        holder::redeem(&key, &world.me, set(&last), tx(3), exp(), &mut rng),
        refund::refund(&key, &Holder::Named(&world.me), (tx(4), exp()), &mut rng),
    ];
    for request in made {
        let request = fine(request, "a request");
        asked.push((request.path.into(), request.body));
    }
}

/// An envelope for the issuer by hand.
fn sealed(world: &World, message: &str, plaintext: &[u8]) -> Vec<u8> {
    let key = world.key();
    let info = hpke_info("coin", message, world.operator(), &key.kid);
    let mut entropy = SeededEntropy::new(message);
    encode(&fine(kem::seal(&key.key, &key.kid, &info, &[], plaintext, &mut entropy), "an envelope").0)
}

fn boxes(world: &mut World, asked: &mut Asked) {
    let (me, operator) = (world.me.id(), world.operator());
    let signed = |world: &World, open: &BoxOpen| {
        let signed = sign1(&world.me.signing, &sign_kid(&world.me.signing), &encode(open));
        sealed(world, "box-open", &signed)
    };
    let context = Context::new("coin", "box-open", me, operator);
    let open = BoxOpen { context, tid: TidPy::new([40; 16]), until: NOW.plus_ms(600_000) };
    let body = signed(world, &open);
    commit(world, BOOKS, &BoxOpenStep(world.issuer.clone()), &body);
    let id = ByteArray(box_id(me, open.tid, Side::ToPayee));
    let another = BoxOpen { tid: TidPy::new([41; 16]), ..open };
    asked.push(("/v1/coin/box-open".into(), signed(world, &another)));
    for (message, content) in [("box-put", b"there".to_vec()), ("box-take", Vec::new())] {
        let context = Context::new("coin", message, PartyId::NONE, operator);
        let body = encode(&BoxMessage { context, id, content: Bytes(content) });
        asked.push((format!("/v1/coin/{message}"), body));
    }
}

fn purchases(world: &mut World, asked: &mut Asked) {
    let (key, mut rng, me) = (world.key(), SeededEntropy::new("purchases"), world.me.id());
    let first = fine(purchaser::wrequest1(&key, me, exp(), &mut rng), "a request");
    let answer = commit(world, IDENTITY, &WRequest1Step(world.issuer.clone()), &first.body);
    let w_desc = WDesc {
        total: flo(30),
        list: list(&[20, 10]),
        account: fine(IBAN.parse(), "an account"),
        authorisation: Mandate { id: "MANDATE-1".into(), signed_at: NOW },
        anonymous: true,
    };
    let third = purchaser::wrequest3(&first.pending, &answer, &world.me, w_desc, &mut rng);
    let third = fine(third, "a request");
    asked.push((first.path.into(), first.body));
    asked.push((third.path.into(), third.body));
    let context = |message: &str| Context::new("coin", message, PartyId::NONE, world.operator());
    let claim = ByteArray([50; 16]);
    let collect = Collect { context: context("collect"), claim, refund: None, exp: exp() };
    asked.push(("/v1/coin/collect".into(), sealed(world, "collect", &encode(&collect))));
    let ack = CollectAck { context: context("collect-ack"), claim, mac: ByteArray([0; 32]) };
    asked.push(("/v1/coin/collect-ack".into(), encode(&ack)));
}

fn participants(world: &mut World, asked: &mut Asked) {
    let (list, mut rng) = (world.list.clone(), SeededEntropy::new("participants"));
    let tx = |n: u8| (TxId::new([n; 16]), exp());
    let register = prepare_register(&world.me, Some("somebody"), &list, tx(60), NOW, &mut rng);
    let account = fine(IBAN.parse(), "an account");
    let enrol = prepare_enrol(&world.me, Roles::BOTH, &account, &list, tx(61), NOW, &mut rng);
    let confirm = prepare_confirm(&world.me, "0123456789", &list, tx(62), NOW, &mut rng);
    for request in [register, enrol, confirm] {
        let request = fine(request, "a request");
        asked.push((request.path, request.body));
    }
}

type Reader = fn(&[u8], &[u8], &KeyList) -> bool;

/// An answer, what its asker has kept, and who reads it.
struct Answer {
    pending: Vec<u8>,
    answer: Vec<u8>,
    read: Reader,
}

struct Answers {
    list: KeyList,
    answers: Vec<Answer>,
}

static ANSWERS: LazyLock<Answers> = LazyLock::new(|| {
    let mut world = World::new();
    let mut answers = Vec::new();
    of_payments(&mut world, &mut answers);
    of_exchanges(&mut world, &mut answers);
    of_participants(&mut world, &mut answers);
    Answers { list: world.list, answers }
});

fn of_payments(world: &mut World, answers: &mut Vec<Answer>) {
    let mut rng = SeededEntropy::new("answers");
    let (key, i) = (world.key(), world.issuer.clone());
    let deal = deal(world, 1, &[100]);
    let wish = fine(payee::refresh(flo(100), list(&[50, 50])), "coins wanted");
    let v = fine(payee::check_request(&key, &world.me, &deal.presented, wish.clone(), &mut rng), "a request");
    let answer = commit(world, BOOKS, &CheckStep::new(i.clone()), &v.body);
    answers.push(Answer {
        pending: v.pending.to_vec(),
        answer,
        read: |p, a, _| payee::read_check(p, a).is_ok(),
    });
    let v = fine(payee::validation_req(&key, &world.me, &deal.presented, wish, &mut rng), "a request");
    let answer = commit(world, BOOKS, &PaymentStep(i.clone()), &v.body);
    let issuance = fine(payee::read_issuance1(&v.pending, &answer, &world.list), "new coins");
    let read: Reader = |p, a, keys| payee::read_issuance1(p, a, keys).is_ok();
    answers.push(Answer { pending: v.pending.to_vec(), answer, read });
    let read: Reader = |p, a, keys| payer::read_payer_verdict(p, a, keys).is_ok();
    let pending = deal.paying.pending.to_vec();
    answers.push(Answer { pending: pending.clone(), answer: issuance.for_payer, read });
    let receipt = payee::receipt(&world.me, deal.presented.payer, &deal.presented.com, NOW);
    let read: Reader = |p, a, _| {
        let me = IdentityKeys::generate(&mut SeededEntropy::new("me"));
        payer::read_receipt(p, a, &me.signing.verify_key()).is_ok()
    };
    answers.push(Answer { pending: pending.clone(), answer: receipt, read });
    let body = fine(payer::status_request(&pending, false), "a question");
    let answer = commit_again(world, &PayerStatusStep(i), &body);
    let read: Reader = |p, a, keys| payer::read_status(p, a, keys).is_ok();
    answers.push(Answer { pending, answer, read });
    let invoice = invoice(world, 9, 7);
    let read: Reader = |_, a, keys| payer::read_invoice(a, keys, NOW).is_ok();
    answers.push(Answer { pending: Vec::new(), answer: invoice, read });
    let read: Reader = |_, a, keys| {
        let bytes = std::str::from_utf8(a).ok().and_then(|text| payer::invoice_from_text(text).ok());
        bytes.is_some_and(|bytes| payer::read_invoice(&bytes, keys, NOW).is_ok())
    };
    let text = payee::invoice_text(&self::invoice(world, 9, 7)).into_bytes();
    answers.push(Answer { pending: Vec::new(), answer: text, read });
}

/// A question about something that is recorded: its once key is taken, and the record is told again.
fn commit_again<S: florin_rail::Step>(world: &World, step: &S, body: &[u8]) -> Vec<u8> {
    let opened = fine(step.open(body, NOW), "a good question");
    let needs = step.needs(&opened);
    let facts = world.books.facts(&needs);
    let seq = needs.once.iter().find_map(|key| facts.once.get(key).copied());
    let record = some(seq.and_then(|seq| world.books.record(seq)), "what is asked about is not there");
    fine(step.reissue(&opened, record, &facts), "an answer")
}

fn of_exchanges(world: &mut World, answers: &mut Vec<Answer>) {
    let mut rng = SeededEntropy::new("answers of exchanges");
    let (key, i) = (world.key(), world.issuer.clone());
    let tx = |n: u8| TxId::new([n; 16]);
    let read: Reader = |p, a, keys| holder::read_exchange(p, a, keys).is_ok();
    let coins = set(&world.take(&[50, 10]));
    let mine = HolderChoice::Named(world.me.id());
    let v = holder::change_for(&key, coins, list(&[20, 20, 20]), mine, (tx(1), exp()), &mut rng);
    let v = fine(v, "a request");
    let answer = commit(world, BOOKS, &ChangeStep(i.clone()), &v.body);
    answers.push(Answer { pending: v.pending.to_vec(), answer, read });
    let coins = set(&world.take(&[200, 1]));
    let v = fine(holder::refresh(&key, coins, tx(2), exp(), &mut rng), "a request");
    let answer = commit(world, BOOKS, &RefreshStep(i.clone()), &v.body);
    answers.push(Answer { pending: v.pending.to_vec(), answer, read });
    let coins = set(&world.take(&[20, 2]));
    let v = fine(holder::redeem(&key, &world.me, coins, tx(3), exp(), &mut rng), "a request");
    let answer = commit(world, BOOKS, &RedeemStep(i.clone()), &v.body);
    answers.push(Answer { pending: v.pending.to_vec(), answer, read });
    let v = refund::refund(&key, &Holder::Named(&world.me), (tx(4), exp()), &mut rng);
    let v = fine(v, "a request");
    let answer = commit(world, BOOKS, &RefundStep(i), &v.body);
    let read: Reader = |p, a, keys| refund::read_refund(p, a, keys).is_ok();
    answers.push(Answer { pending: v.pending.to_vec(), answer, read });
}

fn of_participants(world: &mut World, answers: &mut Vec<Answer>) {
    let (list, mut rng) = (world.list.clone(), SeededEntropy::new("answers of participants"));
    let tx = |n: u8| (TxId::new([n; 16]), exp());
    let other = IdentityKeys::generate(&mut rng);
    let v = fine(prepare_register(&other, Some("other"), &list, tx(1), NOW, &mut rng), "a request");
    let answer = commit(world, IDENTITY, &RegisterStep::new(world.keys.clone()), &v.body);
    let read: Reader = |p, a, keys| read_register(p, a, keys).is_ok();
    answers.push(Answer { pending: v.pending.to_vec(), answer, read });
    let account = fine(IBAN.parse(), "an account");
    let v = prepare_enrol(&other, Roles::BOTH, &account, &list, tx(2), NOW, &mut rng);
    let v = fine(v, "a request");
    let answer = commit(world, IDENTITY, &EnrolStep::new(world.keys.clone(), Currency::FLO), &v.body);
    let read: Reader = |p, a, _| read_enrol(p, a).is_ok();
    answers.push(Answer { pending: v.pending.to_vec(), answer, read });
}

/// So many kinds of answers there are.
#[cfg(test)]
pub(crate) fn kinds() -> usize {
    ANSWERS.answers.len()
}

/// An answer with edits, or from nothing, or to another question: only the one that was given is believed.
pub(crate) fn asker(data: &[u8]) {
    let (which, data) = choice(data);
    let (how, data) = choice(data);
    let all = &*ANSWERS;
    let of = |which: u8| {
        let place = usize::from(which).checked_rem(all.answers.len()).unwrap_or(0);
        some(all.answers.get(place), "no such answer")
    };
    let this = of(which);
    match how % 4 {
        0 | 1 => {
            let changed = edited(&this.answer, data);
            let same = changed == this.answer || is_same_text(&changed, &this.answer);
            assert_eq!((this.read)(&this.pending, &changed, &all.list), same, "a changed answer is believed");
        }
        2 => {
            assert!(
                !(this.read)(&this.pending, data, &all.list) || *data == *this.answer,
                "anything is believed"
            );
        }
        _ => {
            // What was kept is one's own; where it is damaged nothing must happen that was not meant.
            let pending = edited(&this.pending, data);
            let _ = (this.read)(&pending, &this.answer, &all.list);
            let other = of(how);
            if other.answer != this.answer {
                assert!(!(this.read)(&this.pending, &other.answer, &all.list) || this.pending.is_empty());
            }
        }
    }
}

/// Blanks around a text do not count.
fn is_same_text(one: &[u8], other: &[u8]) -> bool {
    let trimmed = |bytes| std::str::from_utf8(bytes).map(str::trim);
    trimmed(one).is_ok() && trimmed(one) == trimmed(other)
}
