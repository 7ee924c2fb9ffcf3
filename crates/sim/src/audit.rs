//! The auditor: reads journals, purses and the bank, and adds up by itself. It shares no arithmetic with the books: of them
//! it takes records as they were written, and nothing that they have computed.
//! Source: reliability.md, "Goals" ("Zero"), habit 7; books.md, "The rules every commit obeys".

use std::collections::{BTreeMap, BTreeSet};

use florin_books::{Account, Record, Seq, TokenNumber};
use florin_coin::HeldCoin;
use florin_coin::issuer::Issuer;
use florin_merchant::Desk;
use florin_merchant::kinds::ORDER;
use florin_merchant::order::{Order, OrderState};
use florin_operator::operator::Operator;
use florin_store::Books;
use florin_wallet::Wallet;

/// Records read at a time.
const PAGE: usize = 512;

/// What does not add up, in words.
#[derive(Default, Clone)]
pub struct Findings(pub Vec<String>);

impl Findings {
    pub(crate) fn say(&mut self, what: String) {
        self.0.push(what);
    }

    pub(crate) fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.say(what());
        }
    }
}

/// What a journal says, added up here.
#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) accounts: BTreeMap<Account, i128>,
    pub(crate) live: BTreeSet<TokenNumber>,
}

fn journal(books: &Books, whose: &str, findings: &mut Findings) -> Sums {
    let mut sums = Sums::default();
    let mut next = Seq(1);
    loop {
        let records = match books.read(next, PAGE) {
            Ok(records) => records,
            Err(error) => {
                findings.say(format!("{whose}: the journal cannot be read: {error}"));
                return sums;
            }
        };
        let Some(last) = records.last() else { return sums };
        let after = last.core.seq.next();
        for record in &records {
            add(record, whose, &mut sums, findings);
        }
        next = after;
    }
}

pub(crate) fn add(record: &Record, whose: &str, sums: &mut Sums, findings: &mut Findings) {
    let (core, seq) = (&record.core, record.core.seq.0);
    let mut balance: i128 = 0;
    for posting in &core.postings {
        balance = balance.saturating_add(posting.delta.into());
        let account = sums.accounts.entry(posting.account).or_insert(0);
        *account = account.saturating_add(posting.delta.into());
    }
    findings.expect(balance == 0, || format!("{whose} {seq}: postings add up to {balance}"));
    for token in &core.consumed {
        let was = sums.live.remove(token);
        findings.expect(was, || format!("{whose} {seq}: a token left that was not there: {token:?}"));
    }
    for issued in &core.created {
        for n in 0..u64::from(issued.count) {
            let counter = issued.first.counter.saturating_add(n);
            let fresh = sums.live.insert(TokenNumber { counter, ..issued.first });
            findings.expect(fresh, || format!("{whose} {seq}: a token was issued twice: {counter}"));
        }
    }
}

/// Everybody's coins, as they hold them.
struct Purses<'a> {
    issuer: &'a Issuer,
    held: BTreeMap<TokenNumber, Vec<String>>,
}

impl Purses<'_> {
    fn take(&mut self, books: &Books, who: &str, findings: &mut Findings) {
        let tokens = books.view(|lane| lane.holdings().map(|h| h.holding.token.clone()).collect::<Vec<_>>());
        let Ok(tokens) = tokens else {
            return findings.say(format!("{who}: the purse cannot be read"));
        };
        for token in tokens {
            let number =
                HeldCoin::from_bytes(&token).and_then(|held| self.issuer.coin_number(held.coin.id.0));
            match number {
                Some(number) => self.held.entry(number).or_default().push(who.to_owned()),
                None => findings.say(format!("{who}: holds a coin that nobody has issued")),
            }
        }
    }
}

/// The whole economy, when nothing is under way any more.
pub struct Economy<'a> {
    /// The operator.
    pub operator: &'a Operator,
    /// What stands on its account.
    pub bank: i64,
    /// Debits that came back; where their coins were issued before, the operator has advanced them.
    pub debits_returned: i64,
    /// What the small transfers with codes have cost.
    pub codes: i64,
    /// Everybody with a wallet.
    pub wallets: Vec<(String, &'a Wallet)>,
    /// The shop's gate.
    pub gate: &'a Desk,
    /// The payments for which pages have left the shop.
    pub served: BTreeMap<String, u64>,
    /// Those of them for which something was changed there.
    pub posts: BTreeMap<String, u64>,
}

impl Economy<'_> {
    /// Adds up.
    #[must_use]
    pub fn audit(&self) -> Findings {
        let mut findings = Findings::default();
        let lanes = &self.operator.lanes;
        let identity = journal(&lanes.identity.books, "identity", &mut findings);
        let books = journal(&lanes.books.books, "books", &mut findings);
        findings.expect(identity.live.is_empty(), || "the identity lane has tokens".into());
        self.coins(&books.live, &mut findings);
        self.money(&identity, &books, &mut findings);
        self.orders(&mut findings);
        findings
    }

    /// Every live coin is in one purse, and in no other.
    fn coins(&self, live: &BTreeSet<TokenNumber>, findings: &mut Findings) {
        let mut purses = Purses { issuer: &self.operator.issuer, held: BTreeMap::new() };
        for (name, wallet) in &self.wallets {
            purses.take(wallet.books(), name, findings);
        }
        purses.take(&self.gate.house.books, "shop", findings);
        for (number, who) in &purses.held {
            let there = live.contains(number);
            findings.expect(there, || format!("{who:?} hold a coin that is spent: {number:?}"));
            findings.expect(who.len() == 1, || format!("{who:?} hold the same coin: {number:?}"));
        }
        for number in live.iter().filter(|number| !purses.held.contains_key(number)) {
            findings.say(format!("nobody holds a live coin: {number:?}"));
        }
    }

    /// What the operator owes is what it has.
    fn money(&self, identity: &Sums, books: &Sums, findings: &mut Findings) {
        let sum = |account: Account| {
            let of = |sums: &Sums| sums.accounts.get(&account).copied().unwrap_or(0);
            of(identity).saturating_add(of(books))
        };
        let bank = sum(Account::Bank(0));
        findings.expect(bank == i128::from(self.bank), || {
            format!("the books have {bank} at the bank, and there is {}", self.bank)
        });
        let worth: i128 = books
            .live
            .iter()
            .filter_map(|number| self.operator.issuer.coin_worth(*number))
            .fold(0, |sum, worth| sum.saturating_add(worth.minor().into()));
        let registers: i128 = books
            .accounts
            .iter()
            .filter(|(account, _)| matches!(account, Account::Register(_)))
            .fold(0, |sum, (_, balance)| sum.saturating_add(*balance));
        findings.expect(registers == worth.saturating_neg(), || {
            format!("coins of {worth} are live, and the books owe {registers} for them")
        });
        for account in [Account::PaidNotIssued, Account::InFlight] {
            let left = sum(account);
            findings.expect(left == 0, || format!("{account:?} still has {left}"));
        }
        let spent = sum(Account::Expense).saturating_add(sum(Account::Capital));
        findings.expect(spent == self.codes.into(), || {
            format!("the operator has paid {spent} of its own, and codes were worth {}", self.codes)
        });
        findings.expect(sum(Account::World) == 0, || "something has left the books".into());
        let advanced = sum(Account::Suspense);
        findings.expect((0..=i128::from(self.debits_returned)).contains(&advanced), || {
            format!("{advanced} are in suspense, and debits of {} came back", self.debits_returned)
        });
        let pairs: i128 = [identity, books]
            .iter()
            .flat_map(|sums| sums.accounts.iter())
            .filter(|(account, _)| matches!(account, Account::Pair(_)))
            .fold(0, |sum, (_, balance)| sum.saturating_add(*balance));
        findings.expect(pairs == 0, || format!("the lanes owe each other {pairs}"));
    }

    /// Every accepted payment has one payer who meant it, and the other way round.
    fn orders(&self, findings: &mut Findings) {
        let mut accepted: BTreeMap<String, u32> = BTreeMap::new();
        match self.gate.house.books.scan(ORDER) {
            Err(error) => findings.say(format!("the shop's orders cannot be read: {error}")),
            Ok(orders) => {
                for order in orders.iter().filter_map(|(_, document)| Order::read(&document.value)) {
                    match order.state {
                        OrderState::Paid(_) => {
                            let times = accepted.entry(order.pay_id().to_string()).or_insert(0);
                            *times = times.saturating_add(1);
                        }
                        OrderState::Denied(_) => {}
                        OrderState::Open(_) => findings.say(format!("an order is still open: {}", order.tid)),
                    }
                }
            }
        }
        let mut meant = BTreeMap::new();
        for (name, wallet) in &self.wallets {
            match wallet.history(usize::MAX) {
                Err(error) => findings.say(format!("{name}: the history cannot be read: {error}")),
                Ok(history) => {
                    let paid = history.entries.into_iter();
                    for entry in
                        paid.filter(|e| (e.kind, e.outcome, e.with.as_str()) == ("paid", "done", "shop"))
                    {
                        meant.insert(entry.id, name.clone());
                    }
                }
            }
        }
        for (id, times) in &accepted {
            findings.expect(*times == 1, || format!("{id} was accepted {times} times"));
            findings.expect(meant.contains_key(id), || format!("{id} was accepted and nobody has paid it"));
        }
        for id in self.served.keys() {
            findings.expect(accepted.contains_key(id), || {
                format!("a page has left for {id}, which was not accepted")
            });
        }
        for (id, times) in &self.posts {
            findings.expect(*times == 1, || format!("the service was called {times} times for {id}"));
        }
        for (id, who) in meant.iter().filter(|(id, _)| !accepted.contains_key(*id)) {
            findings.say(format!("{who} has paid {id}, and the shop does not know"));
        }
    }
}
