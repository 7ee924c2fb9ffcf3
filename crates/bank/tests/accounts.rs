//! Accounts at the sandbox bank, and that its books stay sound whatever is done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::inconsistent_digit_grouping,
    missing_docs
)]

mod common;

use common::{A, Customer, ManualClock, Town, flo};
use florin_bank::{Access, TransferTo};
use florin_crypto::{Secret, SeededEntropy, entropy::Entropy};
use florin_money::{Amount, Currency};
use florin_parties::bank::{Direction, OrderId};

fn town() -> Town {
    Town::new(A, 0, &ManualClock::at(1_000_000))
}

#[test]
fn opening_again_gives_the_same_account_and_secret() {
    let mut town = town();
    let txid = town.tx();
    let (iban, access) = town.desk.open(txid, "Ada", None).unwrap();
    let (again, secret) = town.desk.open(txid, "Ada", None).unwrap();
    assert_eq!(iban, again);
    assert!(access.ct_eq(&secret));
    assert_eq!(town.desk.open(txid, "Bob", None).map(|_| ()).unwrap_err().slug, "request-id-reused");
    let txid = town.tx();
    let (chosen, _) = town.desk.open(txid, "Bob", Some("42".parse().unwrap())).unwrap();
    assert!(chosen.iban().ends_with("999999010000000042"));
    let txid = town.tx();
    let taken = town.desk.open(txid, "Eve", Some("42".parse().unwrap())).map(|_| ()).unwrap_err();
    assert_eq!(taken.slug, "account-number-taken");
    let txid = town.tx();
    assert_eq!(town.desk.open(txid, &"x".repeat(71), None).map(|_| ()).unwrap_err().slug, "bad-request");
    town.assert_sound();
}

#[test]
fn nothing_opens_without_the_secret() {
    let mut town = town();
    let ada = town.customer("Ada", 10_00);
    let bob = town.customer("Bob", 0);
    let nobody = town.desk.bank().code.account("4242".parse().unwrap()).unwrap();
    let wrong = Access::new(Secret::new([3; 32]));
    let txid = town.tx();
    let before = town.desk.books().durable();
    for access in [&wrong, &bob.access] {
        assert_eq!(town.desk.account(&ada.iban, access).unwrap_err().slug, "wrong-access");
        assert_eq!(town.desk.statement(&ada.iban, access, 0).unwrap_err().slug, "wrong-access");
        let events = town.desk.events(&ada.iban, access, florin_bank::Cursor(0), 9);
        assert_eq!(events.unwrap_err().slug, "wrong-access");
        assert_eq!(town.desk.deposit(&ada.iban, access, txid, flo(1)).unwrap_err().slug, "wrong-access");
        let to = TransferTo { to: bob.iban.clone(), amount: flo(1), remittance: String::new() };
        assert_eq!(town.desk.transfer(&ada.iban, access, txid, to).unwrap_err().slug, "wrong-access");
        assert_eq!(town.desk.block_debits(&ada.iban, access, txid, true).unwrap_err().slug, "wrong-access");
        assert_eq!(town.desk.close(&ada.iban, access, txid).unwrap_err().slug, "wrong-access");
    }
    assert_eq!(town.desk.account(&nobody, &wrong).unwrap_err().slug, "wrong-access");
    assert_eq!(town.desk.books().durable(), before);
    // Also what was done before is not told to somebody else.
    town.desk.deposit(&ada.iban, &ada.access, txid, flo(1)).unwrap();
    assert_eq!(town.desk.deposit(&ada.iban, &wrong, txid, flo(1)).unwrap_err().slug, "wrong-access");
}

#[test]
fn a_request_counts_once_and_its_id_belongs_to_it() {
    let mut town = town();
    let ada = town.customer("Ada", 0);
    let txid = town.tx();
    let first = town.desk.deposit(&ada.iban, &ada.access, txid, flo(5_00)).unwrap();
    assert_eq!(town.desk.deposit(&ada.iban, &ada.access, txid, flo(5_00)).unwrap(), first);
    let other = town.desk.deposit(&ada.iban, &ada.access, txid, flo(6_00)).unwrap_err();
    assert_eq!(other.slug, "request-id-reused");
    assert_eq!(town.has(&ada).0, "5.00 FLO");
    let euro = Amount::new(1_00, Currency::iso("EUR").unwrap());
    let txid = town.tx();
    assert_eq!(town.desk.deposit(&ada.iban, &ada.access, txid, euro).unwrap_err().slug, "wrong-currency");
    assert_eq!(town.desk.deposit(&ada.iban, &ada.access, txid, flo(0)).unwrap_err().slug, "wrong-amount");
    town.assert_sound();
}

#[test]
fn transfers_within_the_bank_are_booked_at_once() {
    let mut town = town();
    let (ada, bob) = (town.customer("Ada", 10_00), town.customer("Bob", 0));
    assert_eq!(town.transfer(&ada, &bob.iban, 4_00).unwrap(), "booked");
    assert_eq!(town.transfer(&ada, &bob.iban, 6_01).unwrap_err().slug, "insufficient-funds");
    assert_eq!(town.transfer(&ada, &ada.iban, 6_00).unwrap(), "booked");
    let nobody = town.desk.bank().code.account("4242".parse().unwrap()).unwrap();
    assert_eq!(town.transfer(&ada, &nobody, 1).unwrap_err().slug, "account-unknown");
    let real = "DE89370400440532013000".parse().unwrap();
    assert_eq!(town.transfer(&ada, &real, 1).unwrap_err().slug, "bank-unknown");
    assert_eq!(town.has(&ada).0, "6.00 FLO");
    assert_eq!(town.has(&bob).0, "4.00 FLO");
    let statement = town.desk.statement(&bob.iban, &bob.access, 0).unwrap();
    let line = &statement.entries[0];
    assert_eq!((line.other.as_deref(), line.other_name.as_str()), (Some(ada.iban.iban()), "Ada"));
    assert_eq!((line.remittance.as_str(), line.direction.as_str()), ("rent", "credit"));
    town.assert_sound();
}

#[test]
fn a_closed_account_stays_closed() {
    let mut town = town();
    let (ada, bob) = (town.customer("Ada", 10_00), town.customer("Bob", 1));
    let txid = town.tx();
    assert_eq!(town.desk.close(&ada.iban, &ada.access, txid).unwrap_err().slug, "account-not-empty");
    town.transfer(&ada, &bob.iban, 10_00).unwrap();
    assert_eq!(town.desk.close(&ada.iban, &ada.access, txid).unwrap().state, "closed");
    assert_eq!(town.desk.close(&ada.iban, &ada.access, txid).unwrap().state, "closed");
    let txid = town.tx();
    let refused = town.desk.deposit(&ada.iban, &ada.access, txid, flo(1)).unwrap_err();
    assert_eq!(refused.slug, "account-closed");
    assert_eq!(town.transfer(&bob, &ada.iban, 1).unwrap_err().slug, "account-closed");
}

#[test]
fn statements_have_no_gap_however_they_are_read() {
    let mut town = town();
    let ada = town.customer("Ada", 0);
    for minor in 1..=205 {
        let txid = town.tx();
        town.desk.deposit(&ada.iban, &ada.access, txid, flo(minor)).unwrap();
    }
    let first = town.desk.statement(&ada.iban, &ada.access, 0).unwrap();
    assert_eq!((first.entries.len(), first.more, first.opening.as_str()), (200, true, "0.00 FLO"));
    let rest = town.desk.statement(&ada.iban, &ada.access, first.next).unwrap();
    assert_eq!((rest.entries.len(), rest.more), (5, false));
    assert_eq!(rest.opening, first.closing);
    assert_eq!(rest.closing, town.has(&ada).0);
    let end = town.desk.statement(&ada.iban, &ada.access, rest.next).unwrap();
    assert_eq!((end.entries.len(), end.opening, end.closing), (0, rest.closing.clone(), rest.closing));
    assert_eq!(town.desk.statement(&ada.iban, &ada.access, 206).unwrap_err().slug, "cursor-unknown");
}

#[test]
fn the_books_stay_sound_through_500_random_operations() {
    (17..21).for_each(random_business);
}

fn random_business(seed: u64) {
    let mut chance = SeededEntropy::from_number(seed);
    let mut town = town();
    let customers: Vec<Customer> =
        (0_u64..6).map(|n| town.customer(&format!("Customer {n}"), n * 10_00)).collect();
    let mut orders: Vec<OrderId> = Vec::new();
    let (mut done, mut refused) = (0, 0);
    for _ in 0..500 {
        let [what, from, to, size, late] = chance.array::<5>().map(u64::from);
        let (from, to) = (&customers[from as usize % 6], &customers[to as usize % 6]);
        let minor = (size + 1) * 7;
        let txid = town.tx();
        let result = match what % 9 {
            0 => town.desk.deposit(&from.iban, &from.access, txid, flo(minor)).map(drop),
            1 | 2 => town.transfer(from, &to.iban, minor).map(drop),
            3 | 4 => {
                let direction = if late % 2 == 0 { Direction::Credit } else { Direction::Debit };
                let order = town.order(direction, &to.iban, minor);
                orders.push(order.id);
                town.submit(from, &order)
            }
            5 => town.desk.set_delay(txid, late * 4),
            6 => {
                town.clock.pass(late);
                town.desk.book_due().map(drop)
            }
            7 if orders.is_empty() => Ok(()),
            7 => town.desk.return_order(txid, orders[late as usize % orders.len()], "MD06"),
            _ if late % 4 == 0 => town.desk.set_reject(txid, Some(to.iban.clone()), "AC06", 1),
            _ => town.desk.block_debits(&from.iban, &from.access, txid, late % 3 == 0).map(drop),
        };
        match result {
            Ok(()) => done += 1,
            Err(refusal) => {
                assert!(matches!(refusal.slug, "insufficient-funds" | "order-not-booked"), "{refusal:?}");
                refused += 1;
            }
        }
    }
    town.assert_sound();
    town.clock.pass(10_000);
    town.desk.book_due().unwrap();
    town.assert_sound();
    assert!(done > 300 && refused > 10, "seed {seed}: {done} done, {refused} refused");
}
