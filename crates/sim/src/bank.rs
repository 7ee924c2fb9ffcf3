//! The bank: accounts, orders that are carried out once by their id, and news that can be read again. Its own books are plain
//! sums; money is neither made nor lost in it. Source: bank.md, "The `BankRail` design"; reliability.md, R19.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use florin_bank::{BankError, BankRail, Capabilities, Cursor, OrderReceipt, RailFuture, Receipt};
use florin_books::{Clock, Timestamp};
use florin_crypto::digest;
use florin_parties::bank::{BankEvent, BankNews, Direction, Order, OrderId};

use crate::dice::Dice;
use crate::net::{Net, Way};
use crate::plan::Plan;
use crate::time::Virtual;
use crate::trace::Trace;

/// How a small transfer with a code begins.
const CODE: &str = "FLORIN CODE ";
const SUBMIT: Way<'static> = Way { from: "operator", to: "bank", step: "bank: submit" };
const POLL: Way<'static> = Way { from: "operator", to: "bank", step: "bank: poll" };

/// The bank.
pub struct Bank {
    clock: Virtual,
    dice: Dice,
    plan: Arc<Plan>,
    net: Net,
    trace: Trace,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    accounts: BTreeMap<String, i64>,
    operator: i64,
    orders: BTreeMap<OrderId, (Order, Timestamp)>,
    events: Vec<BankEvent>,
    /// Up to here they have been fetched.
    fetched: usize,
    /// Orders that were taken up and not decided.
    deciding: u64,
    codes: BTreeMap<String, Vec<String>>,
    carried_out: BTreeMap<OrderId, u32>,
    unbooked: BTreeMap<i64, u64>,
    debits_returned: i64,
    returned: BTreeMap<String, i64>,
    small: BTreeMap<String, i64>,
}

/// A valid IBAN for a number.
#[must_use]
pub fn iban(number: u64) -> String {
    let bban = format!("37040044{number:010}");
    // ISO 7064 mod 97-10 over the account, then DE as 13 14, then 00.
    let rest = format!("{bban}131400").bytes().fold(0u32, |rest, digit| {
        rest.saturating_mul(10)
            .saturating_add(u32::from(digit.saturating_sub(b'0')))
            .checked_rem(97)
            .unwrap_or(0)
    });
    format!("DE{:02}{bban}", 98u32.saturating_sub(rest))
}

impl Bank {
    /// A bank without accounts.
    #[must_use]
    pub fn new(plan: &Arc<Plan>, clock: &Virtual, net: &Net, trace: &Trace) -> Arc<Self> {
        Arc::new(Self {
            clock: clock.clone(),
            dice: Dice::new(plan.seed, "bank"),
            plan: Arc::clone(plan),
            net: net.clone(),
            trace: trace.clone(),
            inside: Mutex::default(),
        })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens an account with money.
    pub fn open(&self, iban: &str, minor: i64) {
        self.inside().accounts.insert(iban.to_owned(), minor);
    }

    /// What stands on an account.
    #[must_use]
    pub fn balance(&self, iban: &str) -> i64 {
        self.inside().accounts.get(iban).copied().unwrap_or(0)
    }

    /// What stands on the operator's account.
    #[must_use]
    pub fn of_operator(&self) -> i64 {
        self.inside().operator
    }

    /// All money there is.
    #[must_use]
    pub fn total(&self) -> i64 {
        let inside = self.inside();
        inside.accounts.values().fold(inside.operator, |sum, one| sum.saturating_add(*one))
    }

    /// The last code on an account's statement.
    #[must_use]
    pub fn code(&self, iban: &str) -> Option<String> {
        self.inside().codes.get(iban).and_then(|codes| codes.last().cloned())
    }

    /// Orders that were carried out more than once.
    #[must_use]
    pub fn twice(&self) -> usize {
        self.inside().carried_out.values().filter(|times| **times > 1).count()
    }

    /// Takes a movement on the operator's account off the list of those that its books have not booked; whether there was one.
    pub fn booked(&self, minor: i64) -> bool {
        let mut inside = self.inside();
        let Some(left) = inside.unbooked.get_mut(&minor).filter(|left| **left > 0) else { return false };
        *left = left.saturating_sub(1);
        true
    }

    /// What the operator does not know yet: orders that are not decided, and news that it has not fetched.
    #[must_use]
    pub fn waits(&self) -> u64 {
        let inside = self.inside();
        let news = inside.events.len().saturating_sub(inside.fetched);
        inside.deciding.saturating_add(u64::try_from(news).unwrap_or(u64::MAX))
    }

    /// Debits that were booked and came back, together.
    #[must_use]
    pub fn debits_returned(&self) -> i64 {
        self.inside().debits_returned
    }

    /// What came to an account with codes.
    #[must_use]
    pub fn codes(&self, iban: &str) -> i64 {
        self.inside().small.get(iban).copied().unwrap_or(0)
    }

    /// All small transfers, less those that came back.
    #[must_use]
    pub fn all_codes(&self) -> i64 {
        self.inside().small.values().fold(0, |sum, one| sum.saturating_add(*one))
    }

    /// What came back to an account, less what went back from it.
    #[must_use]
    pub fn returned(&self, iban: &str) -> i64 {
        self.inside().returned.get(iban).copied().unwrap_or(0)
    }

    async fn book(self: Arc<Self>, order: Order) {
        tokio::time::sleep(Duration::from_millis(self.dice.within(0, self.plan.bank_slow_ms))).await;
        let refuses = order.direction == Direction::Debit && self.dice.per_mille(self.plan.bank_refuses);
        let amount = i64::try_from(order.amount.minor()).unwrap_or(i64::MAX);
        let there = self.inside().accounts.get(order.account.iban()).copied();
        let refused = match (order.direction, there) {
            (_, None) => Some("RC01"),
            (Direction::Debit, Some(there)) if refuses || there < amount => Some("AM04"),
            _ => None,
        };
        if let Some(why) = refused {
            return self.tell(&order, BankNews::Rejected(order.id, why.into()), "rejected");
        }
        let ours = if order.direction == Direction::Debit { amount } else { amount.saturating_neg() };
        self.inside().transfer(&order, ours);
        self.tell(&order, BankNews::Booked(order.id), "booked");
        if self.dice.per_mille(self.plan.bank_returns) {
            tokio::time::sleep(Duration::from_millis(self.dice.within(1, 30_000))).await;
            let mut inside = self.inside();
            // What is not there any more cannot be taken back.
            let there = inside.accounts.get(order.account.iban()).copied().unwrap_or(0);
            if order.direction == Direction::Credit && there < amount {
                return;
            }
            inside.transfer(&order, ours.saturating_neg());
            let small = order.remittance.starts_with(CODE);
            let of = if small { &mut inside.small } else { &mut inside.returned };
            let back = of.entry(order.account.iban().to_owned()).or_insert(0);
            *back = back.saturating_add(ours);
            if order.direction == Direction::Debit {
                inside.debits_returned = inside.debits_returned.saturating_add(amount);
            }
            drop(inside);
            self.tell(&order, BankNews::Returned(order.id, "MD06".into()), "returned");
        }
    }

    fn tell(&self, order: &Order, what: BankNews, outcome: &str) {
        let id = digest("florin/v1/sim/news", &[order.id.bytes(), outcome.as_bytes()]).short();
        let event = BankEvent { id, at: self.clock.now(), what };
        // A statement may say the same thing twice.
        let twice = !self.net.is_calm() && self.dice.per_mille(self.plan.doubled);
        let mut inside = self.inside();
        inside.events.push(event.clone());
        if outcome != "returned" {
            inside.deciding = inside.deciding.saturating_sub(1);
        }
        if outcome == "booked" {
            let times = inside.carried_out.entry(order.id).or_insert(0);
            *times = times.saturating_add(1);
            if let Some(code) = order.remittance.strip_prefix(CODE) {
                let account = order.account.iban().to_owned();
                inside.codes.entry(account.clone()).or_default().push(code.to_owned());
                let small = inside.small.entry(account).or_insert(0);
                *small = small.saturating_add(i64::try_from(order.amount.minor()).unwrap_or(i64::MAX));
            }
        }
        if twice {
            inside.events.push(event);
        }
        drop(inside);
        let way = if order.direction == Direction::Debit { "debit" } else { "credit" };
        self.trace.say("bank", format!("{way} of {} {outcome}", order.amount));
    }
}

impl Inside {
    /// Money between the account of an order and the operator's, which gets so much.
    fn transfer(&mut self, order: &Order, ours: i64) {
        let theirs = self.accounts.entry(order.account.iban().to_owned()).or_insert(0);
        *theirs = theirs.saturating_sub(ours);
        self.operator = self.operator.saturating_add(ours);
        let unbooked = self.unbooked.entry(ours).or_insert(0);
        *unbooked = unbooked.saturating_add(1);
    }
}

/// The operator's line to its bank.
pub struct Line(pub Arc<Bank>);

impl BankRail for Line {
    fn submit<'a>(&'a self, orders: &'a [Order]) -> RailFuture<'a, Receipt> {
        Box::pin(async move {
            let bank = &self.0;
            if !bank.net.there(SUBMIT).await {
                return Err(BankError::NotSent);
            }
            let mut receipts = Vec::new();
            for order in orders {
                let now = bank.clock.now();
                let known = bank.inside().orders.get(&order.id).cloned();
                let received_at = match known {
                    Some((same, at)) if same == *order => at,
                    // An id stands for one order: what else has it is a fault of the operator.
                    Some(_) => return Err(BankError::Refused(Box::default())),
                    None => {
                        let mut inside = bank.inside();
                        inside.orders.insert(order.id, (order.clone(), now));
                        inside.deciding = inside.deciding.saturating_add(1);
                        drop(inside);
                        tokio::spawn(Arc::clone(bank).book(order.clone()));
                        now
                    }
                };
                receipts.push(OrderReceipt { id: order.id, received_at });
            }
            if bank.net.back(SUBMIT).await {
                Ok(Receipt { orders: receipts })
            } else {
                Err(BankError::Unknown)
            }
        })
    }

    fn poll<'a>(&'a self, since: Cursor, max: usize) -> RailFuture<'a, (Vec<BankEvent>, Cursor)> {
        Box::pin(async move {
            let bank = &self.0;
            if !bank.net.there(POLL).await {
                return Err(BankError::NotSent);
            }
            let (some, cursor) = {
                let mut inside = bank.inside();
                let from = usize::try_from(since.0).unwrap_or(usize::MAX);
                let some: Vec<BankEvent> = inside.events.iter().skip(from).take(max).cloned().collect();
                let end = from.saturating_add(some.len()).min(inside.events.len());
                inside.fetched = inside.fetched.max(from);
                (some, Cursor(u64::try_from(end).unwrap_or(u64::MAX)))
            };
            if bank.net.back(POLL).await { Ok((some, cursor)) } else { Err(BankError::Unknown) }
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { debits: true, instant: true, amount_max: None, orders_max: 50, test: true }
    }
}

#[cfg(test)]
mod tests {
    use florin_parties::bank::BankAccount;

    #[test]
    fn accounts_have_valid_numbers() {
        for number in 0..200 {
            assert!(super::iban(number).parse::<BankAccount>().is_ok(), "{}", super::iban(number));
        }
    }
}
