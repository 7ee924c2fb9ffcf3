//! An operator at a bank that says what the test has it say.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use florin_bank::messages::{Statement, StatementLine, balance_text};
use florin_bank::{BankError, BankRail, Capabilities, Cursor, OrderReceipt, RailFuture, Receipt};
use florin_books::{Account, Issue, Needs, Seq, Timestamp, Transition};
use florin_crypto::digest;
use florin_money::{Amount, Currency};
use florin_operator::lanes::BankCourier;
use florin_operator::{KeyHolder, Operator, OperatorConfig, VaultPlaces, create};
use florin_parties::bank::{BankEvent, BankNews, Direction, Mandate, Order, OrderId};
use florin_parties::treasury::{self, Purpose};
use florin_shell::entropy::OsEntropy;
use florin_shell::outbox;
use florin_shell::passphrase::Passphrase;

pub const ACCOUNT: &str = "DE89370400440532013000";
pub const OTHER: &str = "GB29NWBK60161331926819";

pub fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

/// What the bank says.
#[derive(Default)]
pub struct Says {
    pub lines: Vec<StatementLine>,
    pub events: Vec<BankEvent>,
    pub taken: Vec<Order>,
    pub asked_since: Vec<u64>,
    pub page: usize,
    pub away: bool,
    /// Changes a page on its way.
    pub forge: Option<fn(&mut Statement)>,
}

/// A bank in memory.
pub struct Bank(pub Mutex<Says>);

impl Bank {
    pub fn says<T>(&self, f: impl FnOnce(&mut Says) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// An entry of the statement.
    pub fn enters(&self, delta: i64, order: Option<OrderId>, kind: &str) {
        self.says(|s| {
            let balance: i64 = s
                .lines
                .last()
                .map_or(0, |l| florin_bank::messages::parse_balance(&l.balance, Currency::FLO).unwrap());
            s.lines.push(StatementLine {
                number: u64::try_from(s.lines.len()).unwrap() + 1,
                at_unix_ms: 1,
                kind: kind.into(),
                direction: if delta < 0 { "debit" } else { "credit" }.into(),
                amount: flo(delta.unsigned_abs()).to_string(),
                balance: balance_text(balance + delta, Currency::FLO),
                other: Some(OTHER.into()),
                other_name: String::new(),
                remittance: String::new(),
                order: order.map(|o| o.to_string()),
                reason: None,
            });
        });
    }

    /// A piece of news.
    pub fn tells(&self, what: BankNews) {
        self.says(|s| {
            let id = digest("test/event", &[&s.events.len().to_be_bytes()]).short();
            s.events.push(BankEvent { id, at: Timestamp(1), what });
        });
    }

    /// Money comes in.
    pub fn credits(&self, minor: u64, remittance: &str) {
        self.enters(i64::try_from(minor).unwrap(), None, "transfer");
        let payer = OTHER.parse().unwrap();
        self.tells(BankNews::Credited { amount: flo(minor), payer, remittance: remittance.into() });
    }

    /// An order that it has taken is booked.
    pub fn books(&self, order: OrderId) {
        let delta = self.delta(order);
        self.enters(delta, Some(order), "transfer");
        self.tells(BankNews::Booked(order));
    }

    pub fn delta(&self, order: OrderId) -> i64 {
        let order = self.says(|s| s.taken.iter().find(|o| o.id == order).cloned().unwrap());
        let minor = i64::try_from(order.amount.minor()).unwrap();
        if order.direction == Direction::Credit { -minor } else { minor }
    }
}

impl BankRail for Bank {
    fn submit<'a>(&'a self, orders: &'a [Order]) -> RailFuture<'a, Receipt> {
        self.says(|s| {
            for order in orders.iter().filter(|o| s.taken.iter().all(|t| t.id != o.id)).collect::<Vec<_>>() {
                s.taken.push(order.clone());
            }
        });
        let orders = orders.iter().map(|o| OrderReceipt { id: o.id, received_at: Timestamp(1) }).collect();
        Box::pin(async move { Ok(Receipt { orders }) })
    }

    fn poll<'a>(&'a self, since: Cursor, max: usize) -> RailFuture<'a, (Vec<BankEvent>, Cursor)> {
        let answer = self.says(|s| {
            if s.away {
                return Err(BankError::NotSent);
            }
            let from = usize::try_from(since.0).unwrap();
            let events: Vec<_> = s.events.iter().skip(from).take(max).cloned().collect();
            let next = Cursor(since.0 + u64::try_from(events.len()).unwrap());
            Ok((events, next))
        });
        Box::pin(async move { answer })
    }

    fn statement<'a>(&'a self, since: u64) -> RailFuture<'a, Statement> {
        let answer = self.says(|s| {
            s.asked_since.push(since);
            if s.away {
                return Err(BankError::NotSent);
            }
            let count = u64::try_from(s.lines.len()).unwrap();
            if since > count {
                return Err(BankError::Refused(Box::new(florin_http::ProblemView {
                    slug: Some("cursor-unknown".into()),
                    ..Default::default()
                })));
            }
            let from = usize::try_from(since).unwrap();
            let page = if s.page == 0 { 200 } else { s.page };
            let entries: Vec<_> = s.lines.iter().skip(from).take(page).cloned().collect();
            let zero = balance_text(0, Currency::FLO);
            let opening =
                from.checked_sub(1).and_then(|n| s.lines.get(n)).map_or(zero, |l| l.balance.clone());
            let closing = entries.last().map_or(opening.clone(), |l| l.balance.clone());
            let next = since + u64::try_from(entries.len()).unwrap();
            let mut statement = Statement {
                iban: ACCOUNT.into(),
                holder: "Operator".into(),
                opening,
                entries,
                closing,
                next,
                more: next < count,
            };
            if let Some(forge) = s.forge {
                forge(&mut statement);
            }
            Ok(statement)
        });
        Box::pin(async move { answer })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { debits: true, instant: true, amount_max: None, orders_max: 50, test: true }
    }
}

/// An operator in a folder of its own.
pub struct Town {
    pub bank: Arc<Bank>,
    pub operator: Arc<Operator>,
    config: OperatorConfig,
    places: VaultPlaces,
    _dir: Arc<tempfile::TempDir>,
}

impl Town {
    pub fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut config = OperatorConfig::default();
        config.bank.account = ACCOUNT.into();
        let places =
            VaultPlaces { state: dir.path().join("state"), second: Some(dir.path().join("keys/second")) };
        std::fs::create_dir_all(PathBuf::from(dir.path()).join("keys")).unwrap();
        std::fs::create_dir_all(&places.state).unwrap();
        for name in ["Ada", "Bob"] {
            let file = dir.path().join("keys").join(format!("{name}.key"));
            let holder = KeyHolder::create(&file, name, &Passphrase::none(), &mut OsEntropy).unwrap();
            config.key_holder.push(holder.public());
        }
        create(&config, &places, &Passphrase::none(), &mut OsEntropy).unwrap();
        let bank = Arc::new(Bank(Mutex::default()));
        let operator = Operator::open(config.clone(), &places, &Passphrase::none(), bank.clone()).unwrap();
        Self { bank, operator, config, places, _dir: dir }
    }

    /// Stops it and opens it again, with the same bank.
    pub fn again(self) -> Self {
        let Self { bank, operator, config, places, _dir } = self;
        for house in [&operator.lanes.identity, &operator.lanes.books] {
            house.books.clone().stop().unwrap();
        }
        drop(operator);
        let operator = Operator::open(config.clone(), &places, &Passphrase::none(), bank.clone()).unwrap();
        Self { bank, operator, config, places, _dir }
    }

    pub async fn news(&self) {
        while self.operator.bank.poll().await.unwrap() > 0 {}
    }

    /// Asks for an order, paid out of the capital; it waits in the outbox.
    pub async fn asks(&self, direction: Direction, minor: u64) -> OrderId {
        let identity = &self.operator.lanes.identity;
        let id = OrderId::new(digest("test/order", &[&identity.books.durable().0.to_be_bytes()]).short());
        let credit = direction == Direction::Credit;
        let order = Order {
            id,
            direction,
            account: OTHER.parse().unwrap(),
            amount: flo(minor),
            remittance: "test".into(),
            mandate: (!credit).then(|| Mandate { id: "M".into(), signed_at: Timestamp(1) }),
        };
        let none = Needs::default();
        let done = identity.act(&none, |facts, moment| {
            let mut t = Transition::new(digest("test/ask", &[id.bytes()]), facts.as_of);
            let purpose = Purpose { rail: 200, step: 1, reference: *id.bytes() };
            let source = credit.then_some(Account::Capital);
            treasury::request(&mut t, order.clone(), purpose, source, moment.now).unwrap();
            Some(t)
        });
        assert!(done.await.unwrap().is_some());
        id
    }

    /// One round of the courier to the bank: how many orders went out.
    pub async fn sends(&self) -> usize {
        let courier = BankCourier { bank: Arc::clone(&self.operator.bank) };
        outbox::round(&self.operator.lanes.identity, &courier, &mut HashMap::new()).await
    }

    /// Asks for an order, and has the bank book it.
    pub async fn pays(&self, minor: u64) -> OrderId {
        let id = self.asks(Direction::Credit, minor).await;
        self.sends().await;
        self.bank.books(id);
        id
    }

    /// Issues coins out of nothing that the books would not account for.
    pub fn issues(&self, epoch: u16, value: u64, count: u32) {
        let books = &self.operator.lanes.books.books;
        let register = &books.spec().registers[0];
        let index = (0..64).find(|i| register.denominations.value(*i) == Some(value)).unwrap();
        let denomination = florin_books::DenominationId::new(register.id, index).unwrap();
        let durable: Seq = books.durable();
        let mut t = Transition::new(digest("test/issue", &[&durable.0.to_be_bytes()]), durable);
        t.creates.push(Issue { epoch: florin_books::Epoch(epoch), denomination, count });
        t.post(Account::Suspense, Account::Register(register.id), flo(value * u64::from(count)));
        books.commit(t).unwrap();
    }
}
