//! A random run of all processes by several people, honest and not: value is conserved after every step, and both
//! lanes audit clean. Source: VarietyCash §2.6 (conservation of cash); books.md, "The rules every commit obeys".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{Account, TxId};
use florin_coin::messages::Outcome;
use florin_coin::purchaser::{self, Collected};
use florin_coin::{Coin, holder, payee, payer};
use florin_parties::Roles;
use florin_parties::bank::{BankNews, OrderId};
use support::*;

struct Player {
    person: Person,
    purse: Vec<Coin>,
    spent: Vec<Coin>,
}

struct Run {
    w: World,
    players: Vec<Player>,
    /// Accepted purchases that wait for the bank: whose, what is kept, the order, how much.
    waiting: Vec<(usize, Vec<u8>, OrderId, u64)>,
    deposits: u64,
    payouts: u64,
    paid: usize,
    denied: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut w = World::new(seed);
        let players = (0..4)
            .map(|_| Player { person: w.enrolled(Roles::BOTH), purse: Vec::new(), spent: Vec::new() })
            .collect();
        Self { w, players, waiting: Vec::new(), deposits: 0, payouts: 0, paid: 0, denied: 0 }
    }

    fn pick(&mut self, n: usize) -> usize {
        usize::try_from(u32::from_be_bytes(self.w.draw())).unwrap() % n
    }

    fn some_coins(&mut self, who: usize) -> Vec<Coin> {
        let n = self.players[who].purse.len().min(1 + self.pick(3));
        let at = self.pick(self.players[who].purse.len() - n + 1);
        self.players[who].purse.drain(at..at + n).collect()
    }

    fn values(&mut self, total: u64) -> Vec<u64> {
        let d = register().denominations;
        let mut left = total;
        let mut values = Vec::new();
        // Not the fewest coins: halves first, now and then.
        if total > 2 && self.pick(2) == 0 {
            let half = d.split_minor(total / 2).unwrap();
            values.extend(half.values());
            left -= half.total_minor();
        }
        values.extend(d.split_minor(left).unwrap().values());
        values
    }

    fn buy(&mut self, who: usize) {
        let total = 1 + u64::try_from(self.pick(500)).unwrap();
        let values = self.values(total);
        let me = &self.players[who].person;
        let (purchase, order) = self.w.order_coins(me, &values);
        self.waiting.push((who, purchase, order, total));
    }

    fn bank_speaks(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let at = self.pick(self.waiting.len());
        let (who, purchase, order, total) = self.waiting.swap_remove(at);
        let rejected = self.pick(5) == 0;
        self.w.bank(if rejected {
            BankNews::Rejected(order, "AM04".into())
        } else {
            BankNews::Booked(order)
        });
        let (asked, answer) = self.w.collect(&purchase);
        // Sometimes the answer is lost, and it is asked for anew.
        let (asked, answer) = if self.pick(3) == 0 { self.w.collect(&purchase) } else { (asked, answer) };
        match purchaser::read_collected(&asked.pending, &answer.unwrap(), &self.w.list).unwrap() {
            Collected::Coins { coins, ack } => {
                self.deposits += total;
                self.players[who].purse.extend(coins);
                if self.pick(2) == 0 {
                    self.w.post(purchaser::ACK_PATH, &ack).unwrap();
                }
            }
            Collected::Refused { .. } => assert!(rejected),
        }
    }

    fn pay(&mut self, who: usize, whom: usize, money: bool) {
        if self.players[who].purse.is_empty() {
            return;
        }
        let mut coins = self.some_coins(who);
        // A copied wallet, now and then: one spent coin among the good ones.
        let cheats = self.pick(4) == 0 && !self.players[who].spent.is_empty();
        if cheats {
            let at = self.pick(self.players[who].spent.len());
            coins.push(self.players[who].spent[at].clone());
        }
        let total = worth(&coins);
        let values = self.values(total);
        let payee = &self.players[whom].person;
        let deal = self.w.deal(payee, &coins);
        let v_desc = if money { payee::redeem(flo(total)) } else { refresh(&values) };
        let asked = self.w.request(payee, &deal.presented, v_desc.clone());
        let first = self.w.post(asked.path, &asked.body).unwrap();
        let retry = self.w.request(payee, &deal.presented, v_desc);
        let answer = self.w.post(retry.path, &retry.body).unwrap();
        let one = payee::read_issuance1(&asked.pending, &first, &self.w.list).unwrap();
        let two = payee::read_issuance1(&retry.pending, &answer, &self.w.list).unwrap();
        assert!(one.coins == two.coins && one.signed == two.signed && one.payout == two.payout);
        let news = payer::read_payer_verdict(&deal.paying.pending, &two.for_payer, &self.w.list).unwrap();
        assert_eq!(news.verdict.outcome == Outcome::Denied, cheats);
        if cheats {
            self.denied += 1;
            assert_eq!(news.causes.len(), 1);
            coins.pop();
            self.players[who].purse.extend(coins);
            return;
        }
        self.paid += 1;
        self.players[who].spent.extend(coins);
        self.players[whom].purse.extend(one.coins);
        self.payouts += if money { total } else { 0 };
        if self.pick(2) == 0 {
            self.w.post(payee::ACK_PATH, &one.issuance2).unwrap();
        }
    }

    fn exchange(&mut self, who: usize, money: bool) {
        if self.players[who].purse.is_empty() {
            return;
        }
        let coins = self.some_coins(who);
        let total = worth(&coins);
        let values = self.values(total);
        let (key, txid, exp) = (self.w.key(), TxId::new(self.w.draw()), self.w.exp());
        let me = &self.players[who].person;
        let asked = if money {
            holder::redeem(&key, &me.keys, set(&coins), txid, exp, &mut self.w.entropy).unwrap()
        } else {
            holder::change(&key, set(&coins), list(&values), txid, exp, &mut self.w.entropy).unwrap()
        };
        let answer = self.w.post(asked.path, &asked.body).unwrap();
        let news = holder::read_exchange(&asked.pending, &answer, &self.w.list).unwrap();
        assert!(news.causes.is_empty());
        self.players[who].spent.extend(coins);
        self.players[who].purse.extend(news.coins);
        self.payouts += if money { total } else { 0 };
    }

    fn give_up(&mut self, who: usize, whom: usize) {
        if self.players[who].purse.is_empty() {
            return;
        }
        let coins = self.some_coins(who);
        let deal = self.w.deal(&self.players[whom].person, &coins);
        let answer = self.w.payer_status(&deal, true).unwrap();
        let news = payer::read_status(&deal.paying.pending, &answer, &self.w.list).unwrap();
        assert_eq!(news.verdict.outcome, Outcome::Never);
        let values = self.values(worth(&coins));
        let v = self.w.validate(&self.players[whom].person, &deal, &values);
        assert_eq!(self.w.read(&v).verdict.outcome, Outcome::Never);
        self.players[who].purse.extend(coins);
    }

    /// What everybody holds is what is in circulation; what came from the bank and did not go back is held or waits.
    fn check(&self) {
        let held: u64 = self.players.iter().map(|p| worth(&p.purse)).sum();
        assert_eq!(i64::try_from(held).unwrap(), self.w.live_worth());
        assert_eq!(held + self.payouts, self.deposits);
        let owed = -self.w.identity.balance(Account::InFlight);
        assert_eq!(owed, i64::try_from(self.payouts).unwrap());
        assert_eq!(self.w.books.balance(Account::PaidNotIssued), 0);
        self.w.check();
    }
}

fn run(seed: u64, steps: usize) -> (usize, usize) {
    let mut run = Run::new(seed);
    for _ in 0..steps {
        let (who, whom, what) = (run.pick(4), run.pick(4), run.pick(12));
        match what {
            0 | 1 => run.buy(who),
            2..=4 => run.bank_speaks(),
            5..=7 => run.pay(who, whom, false),
            8 => run.pay(who, whom, true),
            9 => run.exchange(who, false),
            10 => run.exchange(who, true),
            _ => run.give_up(who, whom),
        }
        run.w.now = run.w.now.plus_ms(1000);
        run.check();
    }
    run.w.audit();
    (run.paid, run.denied)
}

#[test]
fn conservation_of_cash_through_random_runs() {
    let (mut paid, mut denied) = (0, 0);
    for seed in 1..=4 {
        let (p, d) = run(seed, 250);
        (paid, denied) = (paid + p, denied + d);
    }
    assert!(paid > 100 && denied > 10, "{paid} paid, {denied} denied: the runs say something");
}
