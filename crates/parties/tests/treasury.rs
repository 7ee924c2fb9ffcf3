//! The treasury: each word of the bank, in each order, and what it does to the books.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{Account, PartyId, Posting, Transition};
use florin_crypto::{cbor, digest};
use florin_money::Amount;
use florin_parties::bank::{BankEvent, BankNews, Direction, Mandate, Order, OrderId};
use florin_parties::treasury::{
    self, BANK, EventRefusal, OrderEvent, Outcome, QueueItem, QueueReason, RequestError, Settled,
    accepted_now, apply_event, effect_of, event_needs, settle,
};
use florin_parties::{OrderMove, OrderRecord, OrderState, Purpose};
use support::{IBAN, START, World, one_element_more};

const PURPOSE: Purpose = Purpose { rail: 1, step: 7, reference: [4; 16] };
const PARTY: Account = Account::Party(PartyId::new([8; 16]));

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

fn order(n: u8, direction: Direction) -> Order {
    let mandate = Mandate { id: "M1".into(), signed_at: START };
    Order {
        id: OrderId::new([n; 16]),
        direction,
        account: IBAN.parse().unwrap(),
        amount: amount("5.00 FLO"),
        remittance: "text".into(),
        mandate: (direction == Direction::Debit).then_some(mandate),
    }
}

fn event(n: u8, what: BankNews) -> BankEvent {
    BankEvent { id: [n; 16], at: START, what }
}

fn news(word: &str, id: OrderId) -> BankNews {
    match word {
        "accepted" => BankNews::Accepted(id),
        "booked" => BankNews::Booked(id),
        "rejected" => BankNews::Rejected(id, "AM04".into()),
        "returned" => BankNews::Returned(id, "MD06".into()),
        other => panic!("{other}"),
    }
}

fn transition(world: &World, what: &str) -> Transition {
    Transition::new(digest("test", &[what.as_bytes()]), world.lane.seq())
}

/// A lane in which the party is owed 9 and one order of 5 is asked for.
fn asked(direction: Direction) -> (World, OrderId) {
    let mut world = World::new(1);
    let mut t = transition(&world, "opening");
    t.post(BANK, PARTY, amount("9.00 FLO"));
    world.commit(t);
    let mut t = transition(&world, "request");
    let source = (direction == Direction::Credit).then_some(PARTY);
    let order = order(1, direction);
    let id = order.id;
    treasury::request(&mut t, order, PURPOSE, source, START).unwrap();
    world.commit(t);
    (world, id)
}

fn hear(
    world: &mut World,
    event: &BankEvent,
    capital: Option<&str>,
) -> Option<(Option<OrderMove>, Option<QueueReason>)> {
    let facts = world.facts(&event_needs(event));
    let Settled { transition, moved, queued } = settle(event, &facts, capital)?;
    world.commit(transition);
    Some((moved, queued))
}

fn state(world: &World, id: OrderId) -> OrderState {
    OrderRecord::read(&world.documents[&OrderRecord::key_of(id)].value).unwrap().state
}

/// `[bank, party, in flight, paid not issued, suspense]`.
fn balances(world: &World) -> [i64; 5] {
    [BANK, PARTY, Account::InFlight, Account::PaidNotIssued, Account::Suspense].map(|a| world.balance(a))
}

#[test]
fn each_course_of_an_order_ends_in_its_balances() {
    use Direction::{Credit, Debit};
    let rows: [(Direction, &str, [i64; 5]); 12] = [
        (Credit, "", [900, -400, -500, 0, 0]),
        (Credit, "accepted", [900, -400, -500, 0, 0]),
        (Credit, "accepted booked", [400, -400, 0, 0, 0]),
        (Credit, "booked", [400, -400, 0, 0, 0]),
        (Credit, "rejected", [900, -900, 0, 0, 0]),
        (Credit, "accepted rejected", [900, -900, 0, 0, 0]),
        (Credit, "booked returned", [900, -900, 0, 0, 0]),
        (Debit, "", [900, -900, 0, 0, 0]),
        (Debit, "accepted booked", [1400, -900, 0, -500, 0]),
        (Debit, "rejected", [900, -900, 0, 0, 0]),
        (Debit, "accepted rejected", [900, -900, 0, 0, 0]),
        (Debit, "booked returned", [900, -900, 0, -500, 500]),
    ];
    for (direction, words, expected) in rows {
        let (mut world, id) = asked(direction);
        for (n, word) in (1..).zip(words.split_whitespace()) {
            let heard = hear(&mut world, &event(n, news(word, id)), None).unwrap();
            let moved = heard.0.unwrap();
            assert_eq!(moved.purpose(), PURPOSE);
            assert_eq!(moved.settles.is_some(), n == 1, "the outbox entry goes with the first word");
            assert_eq!(heard.1, None);
        }
        assert_eq!(balances(&world), expected, "{direction:?} {words}");
        let waits = world.lane.outbox().any(|o| o.id == effect_of(id));
        assert_eq!(waits, words.is_empty(), "{direction:?} {words}");
    }
}

#[test]
fn the_state_machine_is_this_table() {
    let states = || {
        [
            ("requested", OrderState::Requested),
            ("accepted", OrderState::Accepted),
            ("booked", OrderState::Booked),
            ("rejected", OrderState::Rejected("AM04".into())),
            ("returned", OrderState::Returned("MD06".into())),
        ]
    };
    let events = || {
        [
            ("accepted", OrderEvent::Accepted),
            ("booked", OrderEvent::Booked),
            ("rejected", OrderEvent::Rejected("AM04".into())),
            ("returned", OrderEvent::Returned("MD06".into())),
        ]
    };
    let table = [
        "requested: accepted booked rejected contradiction",
        "accepted: stale booked rejected contradiction",
        "booked: stale stale contradiction returned",
        "rejected: stale contradiction stale contradiction",
        "returned: stale stale contradiction stale",
    ];
    for ((name, from), row) in states().into_iter().zip(table) {
        let mut said = Vec::new();
        for (_, event) in events() {
            said.push(match from.clone().next(event) {
                Ok(to) => states().into_iter().find(|(_, s)| *s == to).unwrap().0,
                Err(EventRefusal::Stale) => "stale",
                Err(EventRefusal::Contradiction) => "contradiction",
                Err(EventRefusal::OtherOrder) => "other order",
            });
        }
        assert_eq!(format!("{name}: {}", said.join(" ")), row);
    }
}

#[test]
fn words_in_the_wrong_order_move_nothing_and_contradictions_are_queued() {
    let rows = [
        ("returned", Some(QueueReason::Contradiction)),
        ("accepted returned", Some(QueueReason::Contradiction)),
        ("booked rejected", Some(QueueReason::Contradiction)),
        ("rejected booked", Some(QueueReason::Contradiction)),
        ("rejected returned", Some(QueueReason::Contradiction)),
        ("booked returned booked", None),
        ("booked returned returned", None),
        ("booked returned rejected", Some(QueueReason::Contradiction)),
        ("booked booked", None),
        ("booked accepted", None),
        ("rejected rejected", None),
        ("accepted accepted", None),
    ];
    for (words, reason) in rows {
        for direction in [Direction::Credit, Direction::Debit] {
            let (mut world, id) = asked(direction);
            let (before, last) = words.rsplit_once(' ').unwrap_or(("", words));
            for (n, word) in (1..).zip(before.split_whitespace()) {
                assert!(hear(&mut world, &event(n, news(word, id)), None).unwrap().0.is_some());
            }
            let (were, was) = (balances(&world), state(&world, id));
            let last = event(99, news(last, id));
            let (moved, queued) = hear(&mut world, &last, None).unwrap();
            assert_eq!((moved.is_none(), queued), (true, reason), "{words}");
            assert_eq!((balances(&world), state(&world, id)), (were, was), "{words}");
            let item = world.documents.get(&QueueItem::key_of(&last));
            let item = item.map(|d| QueueItem::read(&d.value).unwrap());
            assert_eq!(item, reason.map(|why| QueueItem { event: last, why }), "{words}");
        }
    }
}

#[test]
fn an_event_counts_once() {
    let (mut world, id) = asked(Direction::Credit);
    let booked = event(1, news("booked", id));
    assert!(hear(&mut world, &booked, None).is_some());
    let were = balances(&world);
    assert!(hear(&mut world, &booked, None).is_none());
    // Where the facts were read before the first one was committed, the lane says so.
    let stale = settle(&booked, &florin_books::Facts { as_of: world.lane.seq(), ..Default::default() }, None)
        .unwrap();
    let again = world.lane.apply(stale.transition, world.now);
    assert!(matches!(again, Err(florin_books::Rejected::Repeated { .. })));
    assert_eq!(balances(&world), were);
}

#[test]
fn money_that_comes_in_is_capital_by_reference_and_suspense_otherwise() {
    let credited = |n, remittance: &str| {
        event(
            n,
            BankNews::Credited {
                amount: amount("3.00 FLO"),
                payer: IBAN.parse().unwrap(),
                remittance: remittance.into(),
            },
        )
    };
    let rows = [
        ("FLORIN CAPITAL", Some("FLORIN CAPITAL"), true),
        (" FLORIN CAPITAL ", Some("FLORIN CAPITAL"), true),
        ("FLORIN CAPITAL", None, false),
        ("FLORIN CAPITA", Some("FLORIN CAPITAL"), false),
        ("FLORIN CAPITAL 2", Some("FLORIN CAPITAL"), false),
        ("", Some(""), false),
    ];
    for (remittance, reference, own) in rows {
        let mut world = World::new(2);
        let event = credited(1, remittance);
        let (moved, queued) = hear(&mut world, &event, reference).unwrap();
        assert!(moved.is_none());
        let [capital, suspense] = [Account::Capital, Account::Suspense].map(|a| world.balance(a));
        assert_eq!(world.balance(BANK), 300);
        assert_eq!((capital, suspense), if own { (-300, 0) } else { (0, -300) }, "{remittance:?}");
        assert_eq!(queued, (!own).then_some(QueueReason::Unmatched));
        assert_eq!(world.documents.contains_key(&QueueItem::key_of(&event)), !own);
        assert!(hear(&mut world, &event, reference).is_none());
    }
}

#[test]
fn the_word_about_an_unknown_or_another_order_moves_nothing() {
    let (mut world, id) = asked(Direction::Credit);
    let were = balances(&world);
    let unknown = event(1, news("booked", OrderId::new([77; 16])));
    assert_eq!(hear(&mut world, &unknown, None).unwrap().1, Some(QueueReason::UnknownOrder));
    assert_eq!(balances(&world), were);
    let record = OrderRecord::read(&world.documents[&OrderRecord::key_of(id)].value).unwrap();
    assert_eq!(apply_event(&record, &unknown), Err(EventRefusal::OtherOrder));
}

#[test]
fn an_order_that_a_bank_takes_at_once_is_accepted_once() {
    let (mut world, id) = asked(Direction::Debit);
    let now = accepted_now(id, START);
    assert_eq!(accepted_now(id, START).id, now.id);
    let moved = hear(&mut world, &now, None).unwrap().0.unwrap();
    assert_eq!((moved.outcome, moved.settles), (Outcome::Accepted, Some(effect_of(id))));
    assert!(hear(&mut world, &now, None).is_none());
    assert!(hear(&mut world, &event(5, news("accepted", id)), None).unwrap().0.is_none());
    assert_eq!(state(&world, id), OrderState::Accepted);
}

#[test]
fn what_cannot_be_ordered_is_refused_and_adds_nothing() {
    let world = World::new(3);
    let credit = || order(1, Direction::Credit);
    let debit = || order(1, Direction::Debit);
    let rows = [
        ("a credit of nobody", credit(), None, RequestError::Source),
        ("a debit with a source", debit(), Some(PARTY), RequestError::Source),
        (
            "a credit with a mandate",
            Order { mandate: debit().mandate, ..credit() },
            Some(PARTY),
            RequestError::Mandate,
        ),
        ("a debit without one", Order { mandate: None, ..debit() }, None, RequestError::Mandate),
        ("nothing", Order { amount: amount("0 FLO"), ..credit() }, Some(PARTY), RequestError::Nothing),
        (
            "a long text",
            Order { remittance: "x".repeat(141), ..credit() },
            Some(PARTY),
            RequestError::Remittance,
        ),
    ];
    for (what, order, source, why) in rows {
        let mut t = transition(&world, what);
        let before = t.clone();
        assert_eq!(treasury::request(&mut t, order, PURPOSE, source, START), Err(why), "{what}");
        assert_eq!(t, before, "{what}");
    }
    let mut t = transition(&world, "the longest text");
    let longest = Order { remittance: "ü".repeat(140), ..credit() };
    assert_eq!(treasury::request(&mut t, longest, PURPOSE, Some(PARTY), START), Ok(()));
    assert_eq!(
        t.postings,
        [Posting::debit(PARTY, amount("5 FLO")), Posting::credit(Account::InFlight, amount("5 FLO"))]
    );
}

#[test]
fn nobody_is_paid_more_than_he_is_owed() {
    let (mut world, _) = asked(Direction::Credit);
    let mut t = transition(&world, "too much");
    treasury::request(&mut t, order(2, Direction::Credit), PURPOSE, Some(PARTY), START).unwrap();
    let refused = world.lane.apply(t, world.now).unwrap_err();
    assert_eq!(refused, florin_books::Rejected::Balance { account: PARTY });
}

#[test]
fn documents_with_one_element_more_are_not_read() {
    let (world, id) = asked(Direction::Credit);
    let bytes = &world.documents[&OrderRecord::key_of(id)].value;
    assert!(OrderRecord::read(bytes).is_some());
    assert_eq!(OrderRecord::read(&one_element_more(bytes)), None);
    let item = cbor::encode(&QueueItem { event: event(1, news("booked", id)), why: QueueReason::Unmatched });
    assert!(QueueItem::read(&item).is_some());
    assert_eq!(QueueItem::read(&one_element_more(&item)), None);
}
