//! What the bank's tests share: a clock that is set by hand, repeatable ids, a bank on a memory store.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use florin_bank::{Access, Bank, BankCode, Desk, TransferTo, lane_spec};
use florin_books::{Clock, Timestamp, TxId};
use florin_crypto::{MacKey, Secret, SeededEntropy, entropy::Entropy};
use florin_money::{Amount, Currency};
use florin_parties::bank::{BankAccount, BankNews, Direction, Mandate, Order, OrderId};
use florin_rail::Refusal;
use florin_store::{Books, MemoryStore, Options, OwnerId};

/// A clock that is set by hand.
pub struct ManualClock(AtomicU64);

impl ManualClock {
    pub fn at(ms: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(ms)))
    }

    pub fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

pub const A: &str = "99999901";
pub const B: &str = "99999902";

pub fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

pub fn code(text: &str) -> BankCode {
    text.parse().unwrap()
}

pub fn bank(own: &str, delay_ms: u64) -> Bank {
    let peers = [A, B].into_iter().filter(|c| *c != own).map(code).collect();
    let key = MacKey::new(&Secret::new([7; 32]));
    Bank { name: format!("Bank {own}"), code: code(own), currency: Currency::FLO, delay_ms, peers, key }
}

pub fn books_of(store: &MemoryStore, clock: &Arc<ManualClock>) -> Books {
    let (log, reads) = store.split();
    let clock: Arc<dyn Clock> = clock.clone();
    Books::start(log, reads, lane_spec(), OwnerId([1; 16]), clock, &Options::default()).unwrap()
}

/// A bank in memory, with repeatable ids.
pub struct Town {
    pub desk: Arc<Desk>,
    pub clock: Arc<ManualClock>,
    pub chance: SeededEntropy,
}

/// A customer of the bank.
pub struct Customer {
    pub iban: BankAccount,
    pub access: Access,
}

impl Town {
    pub fn new(own: &str, delay_ms: u64, clock: &Arc<ManualClock>) -> Self {
        let books = books_of(&MemoryStore::new(), clock);
        Self::on(books, own, delay_ms, clock)
    }

    pub fn on(books: Books, own: &str, delay_ms: u64, clock: &Arc<ManualClock>) -> Self {
        let desk = Arc::new(Desk::new(bank(own, delay_ms), books, clock.clone()));
        Self { desk, clock: clock.clone(), chance: SeededEntropy::new(own) }
    }

    pub fn tx(&mut self) -> TxId {
        TxId::new(self.chance.array())
    }

    pub fn customer(&mut self, name: &str, minor: u64) -> Customer {
        let txid = self.tx();
        let (iban, access) = self.desk.open(txid, name, None).unwrap();
        if minor > 0 {
            let txid = self.tx();
            self.desk.deposit(&iban, &access, txid, flo(minor)).unwrap();
        }
        Customer { iban, access }
    }

    pub fn order(&mut self, direction: Direction, account: &BankAccount, minor: u64) -> Order {
        Order {
            id: OrderId::new(self.chance.array()),
            direction,
            account: account.clone(),
            amount: flo(minor),
            remittance: "coins".into(),
            mandate: (direction == Direction::Debit)
                .then(|| Mandate { id: "M-1".into(), signed_at: Timestamp(1) }),
        }
    }

    pub fn transfer(&mut self, from: &Customer, to: &BankAccount, minor: u64) -> Result<String, Refusal> {
        let to = TransferTo { to: to.clone(), amount: flo(minor), remittance: "rent".into() };
        let txid = self.tx();
        self.desk.transfer(&from.iban, &from.access, txid, to).map(|taken| taken.state)
    }

    pub fn submit(&self, by: &Customer, order: &Order) -> Result<(), Refusal> {
        self.desk.submit(&by.iban, &by.access, vec![order.clone()]).map(|_| ())
    }

    /// Balance and available, as text.
    pub fn has(&self, who: &Customer) -> (String, String) {
        let view = self.desk.account(&who.iban, &who.access).unwrap();
        (view.balance, view.available)
    }

    /// All news of an account, without payers and texts.
    pub fn news(&self, who: &Customer) -> Vec<String> {
        let (events, _) = self.desk.events(&who.iban, &who.access, florin_bank::Cursor(0), 200).unwrap();
        events.into_iter().map(|e| short(&e.what)).collect()
    }

    pub fn assert_sound(&self) {
        let (report, findings) = self.desk.audit().unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
        assert_eq!(findings, []);
    }
}

pub fn short(what: &BankNews) -> String {
    match what {
        BankNews::Credited { amount, .. } => format!("credited {amount}"),
        BankNews::Accepted(_) => "accepted".into(),
        BankNews::Booked(_) => "booked".into(),
        BankNews::Rejected(_, reason) => format!("rejected {reason}"),
        BankNews::Returned(_, reason) => format!("returned {reason}"),
    }
}
