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
use crate::net::Net;
use crate::plan::Plan;
use crate::time::Virtual;
use crate::trace::Trace;

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
    codes: BTreeMap<String, Vec<String>>,
    debits: BTreeMap<OrderId, u32>,
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
        self.inside().debits.values().filter(|times| **times > 1).count()
    }

    async fn book(self: Arc<Self>, order: Order) {
        tokio::time::sleep(Duration::from_millis(self.dice.within(0, self.plan.bank_slow_ms))).await;
        let refuses = order.direction == Direction::Debit && self.dice.per_mille(self.plan.bank_refuses);
        let at = self.clock.now();
        let amount = i64::try_from(order.amount.minor()).unwrap_or(i64::MAX);
        let mut inside = self.inside();
        let there = inside.accounts.get(order.account.iban()).copied();
        let what = match (order.direction, there) {
            (_, None) => BankNews::Rejected(order.id, "RC01".into()),
            (Direction::Debit, Some(there)) if refuses || there < amount => {
                BankNews::Rejected(order.id, "AM04".into())
            }
            (direction, Some(there)) => {
                let (theirs, ours) = match direction {
                    Direction::Debit => {
                        (there.saturating_sub(amount), inside.operator.saturating_add(amount))
                    }
                    Direction::Credit => {
                        (there.saturating_add(amount), inside.operator.saturating_sub(amount))
                    }
                };
                inside.accounts.insert(order.account.iban().to_owned(), theirs);
                inside.operator = ours;
                let times = inside.debits.entry(order.id).or_insert(0);
                *times = times.saturating_add(1);
                if let Some(code) = order.remittance.strip_prefix("FLORIN CODE ") {
                    let account = order.account.iban().to_owned();
                    inside.codes.entry(account).or_default().push(code.to_owned());
                }
                BankNews::Booked(order.id)
            }
        };
        let booked = matches!(what, BankNews::Booked(_));
        let id = digest("florin/v1/sim/news", &[order.id.bytes()]).short();
        inside.events.push(BankEvent { id, at, what });
        drop(inside);
        let way = if order.direction == Direction::Debit { "debit" } else { "credit" };
        let outcome = if booked { "booked" } else { "rejected" };
        self.trace.say("bank", format!("{way} of {} {outcome}", order.amount));
    }
}

/// The operator's line to its bank.
pub struct Line(pub Arc<Bank>);

impl BankRail for Line {
    fn submit<'a>(&'a self, orders: &'a [Order]) -> RailFuture<'a, Receipt> {
        Box::pin(async move {
            let bank = &self.0;
            if !bank.net.there().await {
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
                        bank.inside().orders.insert(order.id, (order.clone(), now));
                        tokio::spawn(Arc::clone(bank).book(order.clone()));
                        now
                    }
                };
                receipts.push(OrderReceipt { id: order.id, received_at });
            }
            if bank.net.back().await { Ok(Receipt { orders: receipts }) } else { Err(BankError::Unknown) }
        })
    }

    fn poll<'a>(&'a self, since: Cursor, max: usize) -> RailFuture<'a, (Vec<BankEvent>, Cursor)> {
        Box::pin(async move {
            let bank = &self.0;
            if !bank.net.there().await {
                return Err(BankError::NotSent);
            }
            let (some, cursor) = {
                let inside = bank.inside();
                let from = usize::try_from(since.0).unwrap_or(usize::MAX);
                let some: Vec<BankEvent> = inside.events.iter().skip(from).take(max).cloned().collect();
                let end = from.saturating_add(some.len()).min(inside.events.len());
                (some, Cursor(u64::try_from(end).unwrap_or(u64::MAX)))
            };
            if bank.net.back().await { Ok((some, cursor)) } else { Err(BankError::Unknown) }
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
