//! The wallet is stopped dead at every message that it sends, before it arrives and before its answer comes back; then
//! the same command is given again. And a network that loses every second message. Nothing is lost, nothing happens
//! twice. Source: issue, "The same after a crash"; books.md, "Exactly once".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use florin_money::{Amount, Currency};
use florin_parties::Roles;
use florin_wallet::{
    BuyOptions, BuyState, CoinMix, InvoiceState, Output, PayInvoiceOptions, PayOptions, PayOutcome,
    RedeemAmount, RequestOptions, Wallet,
};
use support::{IBAN, SHOP, Weather, When, World, holds, reserved};

/// More messages than any of these commands sends.
const MESSAGES_MAX: usize = 40;

fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

/// Runs a scenario once for each place at which the asker can be stopped; it gets the weather and says whether the
/// asker was stopped. Ends when a run goes through without.
async fn at_every_message<F: Future<Output = bool>>(scenario: impl Fn(Weather) -> F) {
    for when in [When::Before, When::After] {
        let mut stopped = 0;
        for n in 1..=MESSAGES_MAX {
            if !scenario(Weather::Crash(n, when)).await {
                break;
            }
            stopped = n;
        }
        assert!((1..MESSAGES_MAX).contains(&stopped), "{when:?}: stopped at {stopped} messages");
    }
}

async fn pay(wallet: Arc<Wallet>, path: &str) -> (PayOutcome, Vec<u8>) {
    let mut output = Output::Memory(Vec::new());
    let report = wallet.pay(&format!("{SHOP}{path}"), &PayOptions::default(), &mut output).await.unwrap();
    match output {
        Output::Memory(bytes) => (report.outcome, bytes),
        Output::File(_) | Output::Writer(_) => unreachable!(),
    }
}

/// Runs a command under a weather, and again in fine weather if it was stopped.
macro_rules! twice {
    ($world:expr, $name:expr, $weather:expr, $command:expr) => {{
        $world.weather($weather);
        let first = $world.run($name, $command).await;
        let stopped = first.is_none();
        $world.weather(Weather::Fine);
        let done = match first {
            Some(done) => done,
            None => $world.run($name, $command).await.unwrap(),
        };
        (done, stopped)
    }};
}

#[tokio::test]
async fn registration_and_enrolment() {
    at_every_message(async |weather| {
        let world = World::new(41);
        world.init("w").await.unwrap();
        let (name, stopped) = twice!(world, "w", weather, |w: Arc<Wallet>| async move {
            w.register(Some("alice")).await.unwrap().name
        });
        assert_eq!(name, "alice");
        let (_, later) =
            twice!(
                world,
                "w",
                weather,
                |w: Arc<Wallet>| async move { w.enrol(IBAN, Roles::BOTH).await.unwrap() }
            );
        assert_eq!(world.codes.lock().unwrap().len(), 1, "one transfer");
        let code = world.codes.lock().unwrap()[0].clone();
        let confirm = |w: Arc<Wallet>| {
            let code = code.clone();
            async move { w.confirm(&code).await.unwrap().roles.len() }
        };
        let (roles, last) = twice!(world, "w", weather, confirm);
        assert_eq!(roles, 2);
        stopped || later || last
    })
    .await;
}

#[tokio::test]
async fn a_purchase_happens_once() {
    at_every_message(async |weather| {
        let world = World::new(42);
        drop(world.enrolled("w").await);
        world.tells.store(true, Ordering::SeqCst);
        let buy = |w: Arc<Wallet>| async move {
            let state = w.buy(flo(1000), &BuyOptions::default()).await.unwrap().state;
            w.told().await.unwrap();
            state
        };
        let (state, stopped) = twice!(world, "w", weather, buy);
        assert_eq!(
            (state, *world.collected.lock().unwrap(), world.in_circulation()),
            (BuyState::Bought, 1000, 1000)
        );
        let wallet = world.open("w");
        assert_eq!((holds(&wallet), wallet.status().await.unwrap().open.len()), (1000, 0));
        wallet.buy(flo(1000), &BuyOptions::default()).await.unwrap();
        assert_eq!(holds(&wallet), 2000, "what was told may be asked for anew");
        stopped
    })
    .await;
}

#[tokio::test]
async fn what_has_ended_untold_is_told_and_not_done_again() {
    let world = World::new(47);
    drop(world.enrolled("w").await);
    world.tells.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let wallet = world.open("w");
        let bought = wallet.buy(flo(1000), &BuyOptions::default()).await.unwrap();
        assert_eq!((bought.state, holds(&wallet)), (BuyState::Bought, 1000));
    }
    for turn in 0..3 {
        let wallet = Arc::new(world.open("w"));
        let (outcome, page) = pay(wallet.clone(), "/7").await;
        assert_eq!((outcome, page.len(), world.shop.received()), (PayOutcome::Paid, 5002, 7));
        if turn == 2 {
            wallet.told().await.unwrap();
        }
    }
    for _ in 0..3 {
        let wallet = world.open("w");
        let redeemed = wallet.redeem(RedeemAmount::Exactly(flo(100))).await.unwrap();
        assert_eq!((redeemed.amount, *world.paid_out.lock().unwrap()), (flo(100), 100));
    }
    let wallet = Arc::new(world.open("w"));
    assert_eq!((holds(&wallet), reserved(&wallet)), (893, 0));
    pay(wallet, "/7").await;
    assert_eq!(world.shop.received(), 14, "what was told may be asked for anew");
}

#[tokio::test]
async fn a_page_is_paid_once() {
    at_every_message(async |weather| {
        let world = World::new(43);
        let few = BuyOptions { mix: CoinMix::Few, ..BuyOptions::default() };
        drop(world.with_coins("w", "10.00 FLO", &few).await);
        let ((outcome, page), stopped) =
            twice!(world, "w", weather, |w: Arc<Wallet>| async move { pay(w, "/a/123").await });
        assert_eq!((outcome, page.len()), (PayOutcome::Paid, 5006));
        assert_eq!((world.shop.received(), world.shop.presented.lock().unwrap().len()), (123, 1));
        let wallet = world.open("w");
        assert_eq!((holds(&wallet), reserved(&wallet), world.in_circulation()), (877, 0, 1000));
        assert_eq!(wallet.limits().unwrap().limits[0].spent_today, flo(123));
        assert_eq!(wallet.status().await.unwrap().open, []);
        stopped
    })
    .await;
}

#[tokio::test]
async fn coins_are_redeemed_once() {
    at_every_message(async |weather| {
        let world = World::new(44);
        let few = BuyOptions { mix: CoinMix::Few, ..BuyOptions::default() };
        drop(world.with_coins("w", "10.00 FLO", &few).await);
        world.tells.store(true, Ordering::SeqCst);
        let redeem = |w: Arc<Wallet>| async move {
            let amount = w.redeem(RedeemAmount::Exactly(flo(333))).await.unwrap().amount;
            w.told().await.unwrap();
            amount
        };
        let (amount, stopped) = twice!(world, "w", weather, redeem);
        assert_eq!((amount, *world.paid_out.lock().unwrap()), (flo(333), 333));
        let wallet = world.open("w");
        assert_eq!((holds(&wallet), reserved(&wallet), world.in_circulation()), (667, 0, 667));
        stopped
    })
    .await;
}

#[tokio::test]
async fn an_invoice_is_paid_once_whichever_side_stops() {
    for payer_stops in [true, false] {
        at_every_message(async |weather| {
            let world = World::new(45);
            world.patience_ms.store(200, Ordering::SeqCst);
            let few = BuyOptions { mix: CoinMix::Few, ..BuyOptions::default() };
            drop(world.with_coins("alice", "10.00 FLO", &few).await);
            drop(world.enrolled("bob").await);
            let (alices, bobs) =
                if payer_stops { (weather, Weather::Fine) } else { (Weather::Fine, weather) };
            let ask = |w: Arc<Wallet>| async move {
                w.invoice(flo(250), &RequestOptions::default()).await.unwrap().invoice
            };
            let (invoice, first) = twice!(world, "bob", bobs, ask);
            let give = |w: Arc<Wallet>| {
                let invoice = invoice.clone();
                async move { w.pay_invoice(&invoice, &PayInvoiceOptions::default()).await }
            };
            // Bob is away: the coins lie in his box, and nothing is known yet.
            let (open, second) = twice!(world, "alice", alices, give);
            assert_eq!(open.unwrap_err().slug(), "not-known-yet");
            let take = |w: Arc<Wallet>| {
                let invoice = invoice.clone();
                async move {
                    let waited = w.wait_for_payment(&invoice, Duration::from_secs(1)).await;
                    // Where it stopped after the coins were in the purse, the invoice is in the history.
                    waited.map_or_else(|e| e.slug() == "input-not-valid", |r| r.state == InvoiceState::Paid)
                }
            };
            let (taken, third) = twice!(world, "bob", bobs, take);
            assert!(taken);
            // What was only to be delivered is delivered by whatever command comes next.
            world.open("bob").status().await.unwrap();
            let (paid, fourth) = twice!(world, "alice", alices, give);
            let paid = paid.unwrap();
            assert_eq!((paid.outcome, paid.receipt), (PayOutcome::Paid, true));
            let (alice, bob) = (world.open("alice"), world.open("bob"));
            assert_eq!((holds(&alice), reserved(&alice), holds(&bob)), (750, 0, 250));
            assert_eq!(world.in_circulation(), 1000);
            first || second || third || fourth
        })
        .await;
    }
}

#[tokio::test]
async fn a_network_that_loses_half_of_everything_costs_nothing() {
    for seed in 0..8 {
        let world = World::new(46 + seed);
        let few = BuyOptions { mix: CoinMix::Few, ..BuyOptions::default() };
        let wallet = world.with_coins("w", "10.00 FLO", &few).await;
        world.weather(Weather::Lossy(seed));
        let prices = [5, 17, 123, 1, 99];
        for price in prices {
            let url = format!("{SHOP}/{price}");
            let mut paid = false;
            for _ in 0..20 {
                let mut output = Output::Memory(Vec::new());
                match wallet.pay(&url, &PayOptions::default(), &mut output).await {
                    Ok(report) => {
                        assert_eq!(report.outcome, PayOutcome::Paid);
                        paid = true;
                        break;
                    }
                    Err(error) => {
                        assert!(["not-known-yet", "unreachable"].contains(&error.slug()), "{error}")
                    }
                }
            }
            assert!(paid, "seed {seed}: {price}");
        }
        world.weather(Weather::Fine);
        let spent: u64 = prices.iter().sum();
        assert_eq!(wallet.status().await.unwrap().open, []);
        assert_eq!(
            (world.shop.received(), holds(&wallet), reserved(&wallet)),
            (spent, 1000 - spent, 0),
            "seed {seed}"
        );
        assert_eq!(world.in_circulation(), 1000);
        assert!(world.house.books.audit().unwrap().is_clean());
    }
}
