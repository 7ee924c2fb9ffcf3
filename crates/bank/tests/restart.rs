//! What is under way survives a restart: on SQLite as after a kill, and in memory as after a power cut at any write.
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

use std::path::Path;
use std::sync::Arc;

use common::{A, Customer, ManualClock, Town, books_of, flo};
use florin_bank::{Access, Cursor, lane_spec};
use florin_books::{Clock, TxId};
use florin_crypto::Secret;
use florin_parties::bank::{Direction, OrderId};
use florin_store::{Books, Crash, MemoryStore, Options, OwnerId, SqliteOptions, SqliteStore, StoreKeys};

fn sqlite(dir: &Path, fresh: bool, clock: &Arc<ManualClock>) -> Books {
    let keys = StoreKeys::new(&Secret::new([5; 32]));
    let lane = lane_spec().lane;
    let store = if fresh {
        SqliteStore::create(dir, lane, keys, SqliteOptions::default()).unwrap()
    } else {
        SqliteStore::open(dir, lane, keys, SqliteOptions::default()).unwrap()
    };
    let (log, reads) = store.split();
    let clock: Arc<dyn Clock> = clock.clone();
    Books::start(log, reads, lane_spec(), OwnerId([1; 16]), clock, &Options::default()).unwrap()
}

#[test]
fn an_order_that_waits_is_booked_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("bank");
    let clock = ManualClock::at(1_000_000);
    let day = 24 * 60 * 60 * 1000;
    let mut town = Town::on(sqlite(&dir, true, &clock), A, 3 * day, &clock);
    let operator = town.customer("Operator", 100_00);
    let holder = town.customer("Holder", 20_00);
    let pay = town.order(Direction::Credit, &holder.iban, 30_00);
    let collect = town.order(Direction::Debit, &holder.iban, 5_00);
    town.submit(&operator, &pay).unwrap();
    town.submit(&operator, &collect).unwrap();
    let receipt = town.desk.submit(&operator.iban, &operator.access, vec![pay.clone()]).unwrap();
    let (before, cursor) = town.desk.events(&operator.iban, &operator.access, Cursor(0), 99).unwrap();
    drop(town);

    clock.pass(day);
    let town = Town::on(sqlite(&dir, false, &clock), A, 0, &clock);
    assert_eq!(town.desk.book_due().unwrap(), 0, "a shorter delay does not hurry what was accepted");
    assert_eq!(town.has(&operator), ("100.00 FLO".into(), "70.00 FLO".into()));
    assert_eq!(town.desk.submit(&operator.iban, &operator.access, vec![pay]).unwrap(), receipt);
    drop(town);

    clock.pass(2 * day);
    let town = Town::on(sqlite(&dir, false, &clock), A, 0, &clock);
    assert_eq!(town.desk.book_due().unwrap(), 2);
    drop(town);

    let town = Town::on(sqlite(&dir, false, &clock), A, 0, &clock);
    assert_eq!(town.desk.book_due().unwrap(), 0);
    assert_eq!(town.has(&operator).0, "75.00 FLO");
    assert_eq!(town.has(&holder).0, "45.00 FLO");
    let (all, _) = town.desk.events(&operator.iban, &operator.access, Cursor(0), 99).unwrap();
    assert_eq!(all[..before.len()], before);
    let (rest, _) = town.desk.events(&operator.iban, &operator.access, cursor, 99).unwrap();
    assert_eq!(all[before.len()..], rest);
    assert_eq!(rest.len(), 2);
    town.assert_sound();
}

/// The power goes at one write of a short business day; whoever asked asks again with the same bytes.
fn power_cut_at(write: u64) -> bool {
    let store = MemoryStore::new();
    let clock = ManualClock::at(1_000_000);
    let run = |store: &MemoryStore, counted: bool| -> Result<u64, ()> {
        let town = Town::on(books_of(store, &clock), A, 0, &clock);
        if counted {
            store.crash_at(write, Crash::Power { seed: write });
        }
        let tx = |n: u8| TxId::new([n; 16]);
        let customer = |n: u8, name: &str| -> Result<Customer, ()> {
            let (iban, access): (_, Access) = town.desk.open(tx(n), name, None).map_err(drop)?;
            Ok(Customer { iban, access })
        };
        let (operator, holder) = (customer(1, "Operator")?, customer(2, "Holder")?);
        town.desk.deposit(&operator.iban, &operator.access, tx(3), flo(50_00)).map_err(drop)?;
        let order = florin_parties::bank::Order {
            id: OrderId::new([4; 16]),
            direction: Direction::Credit,
            account: holder.iban.clone(),
            amount: flo(20_00),
            remittance: String::new(),
            mandate: None,
        };
        town.submit(&operator, &order).map_err(drop)?;
        town.desk.book_due().map_err(drop)?;
        town.desk.return_order(tx(5), order.id, "MD06").map_err(drop)?;
        assert_eq!(town.has(&operator).0, "50.00 FLO");
        assert_eq!(town.has(&holder).0, "0.00 FLO");
        assert_eq!(town.news(&operator), ["credited 50.00 FLO", "accepted", "booked", "returned MD06"]);
        town.assert_sound();
        Ok(store.writes())
    };
    match run(&store, true) {
        Ok(writes) if writes < write => false,
        Ok(_) | Err(()) => {
            store.restart(write);
            run(&store, false).unwrap();
            true
        }
    }
}

#[test]
fn a_power_cut_at_any_write_loses_and_doubles_nothing() {
    let cuts = (1..).take_while(|write| power_cut_at(*write)).count();
    assert!(cuts >= 6, "only {cuts} writes were cut");
}
