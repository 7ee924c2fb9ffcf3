//! Epochs of an operator on disk: rotation while payments run, revocation and recoup, the calendar over two years, archive,
//! drop and payment by hand, and a crash between them. Source: docs/rails/coin.md, "Epochs"; docs/operator.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use florin_books::{Account, Clock};
use florin_coin::messages::Outcome;
use florin_coin::{CoinCause, CoinSet, EpochState};
use florin_money::Currency;
use florin_operator::coin_state::{CoinReport, coin_state, parse_coin};
use florin_operator::config::Unclaimed;
use florin_operator::control::Action;
use florin_operator::honour::HonourError;
use world::{DAY, IBAN, World, flo};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_go_on_while_the_operator_rotates() {
    let world = Arc::new(World::new(|_| {}));
    let working = world.works();
    let kept = world.supply(&[100]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut payers = Vec::new();
    for _ in 0..4 {
        let (world, stop, coins) = (world.clone(), stop.clone(), world.supply(&[50, 20]).await.coins);
        let person = world.person().await;
        payers.push(tokio::spawn(async move {
            let (mut coins, mut payments, mut seen) = (coins, 0, BTreeSet::new());
            while !stop.load(Ordering::SeqCst) || payments < 10 {
                let (issuance, _) = world.pay(&person, &coins).await;
                assert_eq!(issuance.verdict.outcome, Outcome::Paid);
                coins = issuance.coins;
                seen.extend(coins.iter().map(|c| c.epoch.0));
                payments += 1;
            }
            (payments, seen)
        }));
    }
    let first = world.current();
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        let before = world.operator.published();
        world.execute(Action::Rotate).await.unwrap();
        let after = world.operator.published();
        assert!(after.list.time > before.list.time, "who has the newer list keeps it");
        assert_eq!(after.list.issuing(world.clock.now()).map(|e| e.number), Some(world.current()));
    }
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    stop.store(true, Ordering::SeqCst);
    let mut seen = BTreeSet::new();
    for payer in payers {
        let (payments, epochs) = payer.await.unwrap();
        assert!(payments >= 10);
        seen.extend(epochs);
    }
    assert_eq!(world.current().0, first.0 + 3);
    assert!(seen.contains(&first.0) && seen.contains(&(first.0 + 3)), "{seen:?}");
    let person = world.person().await;
    assert_eq!(world.pay(&person, &kept.coins).await.0.verdict.outcome, Outcome::Paid, "a coin of before");
    assert_eq!(world.in_circulation(), 100 + 4 * 70);
    world.is_clean().await;
    working.ends().await;
}

#[tokio::test]
async fn a_revoked_epoch_is_recouped_to_the_last_coin() {
    let world = World::new(|_| {});
    let working = world.works();
    let coins = world.supply(&[100, 50, 20]).await.coins;
    let person = world.person().await;
    let epoch = world.current();
    let revoke = Action::RevokeEpoch(epoch, "the tag key was seen".into());
    world.execute(revoke).await.unwrap();
    assert_eq!(world.current().0, epoch.0 + 1);
    let (issuance, news) = world.pay(&person, &coins).await;
    assert_eq!((issuance.verdict.outcome, issuance.coins.len()), (Outcome::Denied, 0));
    assert!(news.causes.iter().all(|b| b.cause == CoinCause::Revoked) && news.causes.len() == 3);
    let refused = world.change(&coins, &[100, 50, 20]).await;
    assert!(refused.coins.is_empty() && refused.causes.iter().all(|b| b.cause == CoinCause::Revoked));
    let fresh = world.refresh(&coins).await;
    assert!(fresh.causes.is_empty() && fresh.coins.iter().all(|c| c.epoch.0 == epoch.0 + 1));
    assert_eq!(world.pay(&person, &fresh.coins).await.0.verdict.outcome, Outcome::Paid);
    assert_eq!(world.in_circulation(), 170);
    let published = world.operator.published();
    assert!(published.list.epoch(epoch).unwrap().revoked.is_some(), "wallets are told");
    working.ends().await;
    let world = world.reopen();
    assert_eq!(world.current().0, epoch.0 + 1, "the table is in the books");
    assert!(world.operator.published().list.epoch(epoch).unwrap().revoked.is_some());
    world.is_clean().await;
}

#[tokio::test]
async fn the_calendar_makes_archives_and_drops_epochs_by_itself() {
    let world = World::new(|_| {});
    let first = world.current();
    let mut supplied = 0;
    let mut numbers = BTreeSet::new();
    // Two years in steps of five days; each epoch issues something that nobody ever uses.
    for step in 0..146 {
        world.operator.advance_epochs(Duration::ZERO).await.unwrap();
        if numbers.insert(world.current().0) && step < 100 {
            world.supply(&[10, 5]).await;
            supplied += 15;
        }
        world.clock.later(5 * DAY);
    }
    let numbers: Vec<u16> = numbers.into_iter().collect();
    assert!((24..=25).contains(&numbers.len()), "{numbers:?}");
    assert!(numbers.windows(2).all(|p| p[1] == p[0] + 1), "{numbers:?}");
    let (epochs, now) = (world.operator.issuer.epochs(), world.clock.now());
    let dropped = epochs.entries().iter().filter(|e| e.dropped.is_some()).count();
    assert!(dropped >= 13, "{dropped} epochs ended");
    let archives = std::fs::read_dir(world.dir.path().join("operator/archive")).unwrap().count();
    assert_eq!(archives, dropped);
    assert_eq!(epochs.state(first, now), Some(EpochState::Dropped));
    assert_eq!(-world.books(Account::Suspense), 15 * i64::try_from(dropped).unwrap());
    assert_eq!(world.in_circulation() - world.books(Account::Suspense), supplied, "nothing is lost");
    world.is_clean().await;
    let world = world.reopen();
    assert!(world.operator.issuer.epochs().entry(first).unwrap().dropped.is_some());
    world.is_clean().await;
}

/// What `operator coin` says of a coin.
fn coin(world: &World, of: &florin_coin::Coin) -> CoinReport {
    let (o, now) = (&world.operator, world.clock.now());
    let id: String = of.id.0.iter().map(|byte| format!("{byte:02x}")).collect();
    coin_state(&o.lanes.books, &o.issuer, parse_coin(&o.issuer, &id).unwrap(), now).unwrap()
}

#[tokio::test]
async fn a_coin_is_revoked_then_ended_and_gone_with_its_records() {
    let world = World::new(|c| c.retain_every_s = 1);
    let coins = world.supply(&[100, 50]).await.coins;
    let other = world.supply(&[20]).await.coins;
    let epoch = world.current();
    let said = |w: &World, c: &florin_coin::Coin| {
        let report = coin(w, c);
        (report.state, report.time)
    };
    assert_eq!(said(&world, &coins[0]), ("live".into(), "pays".into()));
    world.execute(Action::RevokeEpoch(epoch, "the tag key was seen".into())).await.unwrap();
    assert_eq!(
        said(&world, &coins[0]),
        ("live".into(), "revoked".into()),
        "worth what it was, and does not pay"
    );
    assert!(coin(&world, &coins[0]).to_string().ends_with("  time     revoked"));
    world.refresh(&coins[1..]).await;
    let report = coin(&world, &coins[1]);
    assert_eq!((report.state.as_str(), report.spent.unwrap().by.as_str()), ("spent", "refresh"));

    // The epoch is over: archived and dropped by the calendar. A coin that was out has ended and was not spent.
    let end = world.operator.issuer.epochs().entry(epoch).unwrap().grace_end.unwrap();
    world.clock.set(end.plus_ms(1));
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    assert_eq!(said(&world, &coins[0]).0, "ended");
    assert_eq!(coin(&world, &coins[0]).spent, None);
    assert_eq!(said(&world, &coins[1]).0, "spent", "and what was spent was spent");

    // The records that issued and spent them go with time, a segment of the second copy at once, once they are folded:
    // what is left to say is that the coins are not live.
    world.clock.later(2 * DAY);
    let working = world.works();
    let segments = || {
        let files = std::fs::read_dir(world.dir.path().join("operator/books")).unwrap();
        let names = files.map(|f| f.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("second-0")).count()
    };
    for _ in 0..600 {
        if segments() > 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(segments() > 1);
    working.ends().await;
    world.clock.later(700 * DAY);
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    let fresh = world.supply(&[10]).await.coins;
    world.operator.lanes.books.books.clone().stop().unwrap();
    let world = world.reopen();
    let working = world.works();
    for _ in 0..600 {
        if coin(&world, &coins[0]).state == "gone" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    working.ends().await;
    for of in [&coins[0], &coins[1], &other[0]] {
        let report = coin(&world, of);
        assert_eq!((report.state.as_str(), report.issued, report.spent), ("gone", None, None));
    }
    assert_eq!(said(&world, &fresh[0]), ("live".into(), "pays".into()));
    let mut unborn = world.operator.issuer.coin_number(fresh[0].id.0).unwrap();
    unborn.counter += 1;
    let (o, now) = (&world.operator, world.clock.now());
    assert_eq!(coin_state(&o.lanes.books, &o.issuer, unborn, now).unwrap().state, "never-issued");
    world.is_clean().await;
}

/// docs/operator.md, "Winding down", by the calendar alone.
#[tokio::test]
async fn winding_down_comes_to_an_end_and_redemption_is_open_until_then() {
    let world = World::new(|c| c.wind_down = true);
    let working = world.works();
    let person = world.person().await;
    let coins = world.supply(&[100, 50, 20]).await.coins;
    working.ends().await;
    assert_eq!((world.config.purchase_max(), world.operator.config.purchase_max_minor), (0, 1_000_000));
    let last = world.current();
    let entry = world.operator.issuer.epochs().entry(last).unwrap();
    // Beyond its own time the last epoch goes on, and gives no coin that lives longer than itself.
    let mut held = coins;
    while world.clock.now().plus_ms(5 * DAY) <= entry.expires {
        world.clock.later(5 * DAY);
        world.operator.advance_epochs(Duration::ZERO).await.unwrap();
        assert_eq!(world.current(), last, "no new epoch");
        held = world.try_refresh(&held).await.unwrap().coins;
        assert!(held.iter().all(|coin| coin.epoch == last && coin.expires == entry.expires));
    }
    assert_eq!(world.pay(&person, &held[2..]).await.0.verdict.outcome, Outcome::Paid);
    // Nothing pays any more: Refresh says so, and takes nothing. What is in circulation can still be redeemed.
    world.clock.set(entry.expires.plus_ms(1));
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    assert_eq!(world.try_refresh(&held[..1]).await.err().unwrap().slug, "issuing-ended");
    let redeem = florin_coin::Purpose::Redeem;
    assert_eq!(world.operator.issuer.epochs().admits(last, redeem, world.clock.now()), Ok(()));
    assert_eq!(coin(&world, &held[0]).state, "live");
    assert_eq!(world.in_circulation(), 170);
    // The end of grace comes, and nothing is left.
    world.clock.set(entry.grace_end.unwrap().plus_ms(1));
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    let epochs = world.operator.epochs().unwrap().epochs;
    assert!(epochs.iter().all(|e| e.state == "dropped" && e.coins == 0), "{epochs:?}");
    assert_eq!((world.in_circulation(), world.books(Account::Suspense)), (0, -170));
    world.is_clean().await;
    // It can be taken back: the calendar goes on with the next number.
    let mut world = world;
    world.config.wind_down = false;
    let world = world.reopen();
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    assert_eq!(world.current().0, last.0 + 1);
    world.is_clean().await;
}

fn refusal(done: Result<florin_operator::honour::HonourReport, HonourError>) -> &'static str {
    match done {
        Ok(_) => "done",
        Err(HonourError::Refused(refusal)) => refusal.slug,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_late_holder_is_paid_by_hand_once() {
    let world = World::new(|c| c.unclaimed = Unclaimed::Capital);
    let coins = world.supply(&[100, 50, 20, 10]).await;
    let spent = world.change(&coins.coins[3..], &[5, 5]).await;
    assert!(spent.causes.is_empty());
    let epoch = world.current();
    let to = IBAN.parse().unwrap();
    let text = |range: std::ops::Range<usize>| {
        CoinSet::new(coins.coins[range].to_vec(), Currency::FLO).unwrap().to_text()
    };
    assert_eq!(refusal(world.operator.honour(&text(0..1), &to).await), "epoch-not-dropped");
    let end = world.operator.issuer.epochs().entry(epoch).unwrap().grace_end.unwrap();
    world.clock.set(end.plus_ms(1));
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    assert_eq!((world.in_circulation(), world.books(Account::Capital)), (0, -180));
    let late = world.change(&coins.coins[..1], &[100]).await;
    assert_eq!(late.causes[0].cause, CoinCause::Expired, "no step takes it");
    assert_eq!(refusal(world.operator.honour("florincoins1x", &to).await), "coins-unreadable");
    let mut forged = coins.clone();
    forged.coins[0].tag.0[0] ^= 1;
    assert_eq!(refusal(world.operator.honour(&forged.to_text(), &to).await), "coins-not-genuine");
    assert_eq!(
        refusal(world.operator.honour(&coins.to_text(), &to).await),
        "coins-not-archived",
        "one is spent"
    );
    let working = world.works();
    let paid = world.operator.honour(&text(0..2), &to).await.unwrap();
    assert_eq!((paid.coins, paid.amount), (2, flo(150).to_string()));
    for again in [text(0..1), text(1..3)] {
        assert_eq!(refusal(world.operator.honour(&again, &to).await), "coins-honoured");
    }
    let (one, other, third) = (text(2..3), text(2..3), text(2..3));
    let both = tokio::join!(
        world.operator.honour(&one, &to),
        world.operator.honour(&other, &to),
        world.operator.honour(&third, &to)
    );
    let mut both = [refusal(both.0), refusal(both.1), refusal(both.2)];
    both.sort_unstable();
    assert_eq!(both, ["coins-honoured", "coins-honoured", "done"], "three times at once");
    for _ in 0..200 {
        if world.identity(Account::InFlight) == -170 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(world.identity(Account::InFlight), -170, "ordered from the bank");
    assert_eq!(world.books(Account::Capital), -10);
    world.is_clean().await;
    working.ends().await;
}

#[tokio::test]
async fn a_crash_between_archive_and_drop_or_within_the_archive_loses_nothing() {
    let world = World::new(|_| {});
    let coins = world.supply(&[100, 50]).await;
    let epoch = world.current();
    let end = world.operator.issuer.epochs().entry(epoch).unwrap().grace_end.unwrap();
    world.clock.set(end.plus_ms(1));
    world.operator.archive_epoch(epoch, None).await.unwrap();
    let world = world.reopen();
    let state = |w: &World| w.operator.issuer.epochs().state(epoch, w.clock.now());
    assert_eq!((state(&world), world.in_circulation()), (Some(EpochState::Archived), 150));
    // A file that is not what the table names: another archive was being written when the machine stopped.
    let file = world.dir.path().join(format!("operator/archive/epoch-{}", epoch.0));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    assert_eq!((state(&world), world.in_circulation()), (Some(EpochState::Dropped), 0));
    world.operator.advance_epochs(Duration::ZERO).await.unwrap();
    assert_eq!(world.books(Account::Suspense), -150, "once");
    let world = world.reopen();
    let to = IBAN.parse().unwrap();
    assert_eq!(refusal(world.operator.honour(&coins.to_text(), &to).await), "done", "the archive is whole");
    world.is_clean().await;
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_ends_no_epoch() {
    let world = World::new(|_| {});
    world.supply(&[100, 50]).await;
    let (epoch, right) = (world.current(), world.clock.now());
    let ended = |w: &World| w.operator.issuer.epochs().entry(epoch).unwrap().archived.is_some();
    // An operator that looks by itself, for a while.
    world.clock.later(300 * DAY);
    let working = world.works();
    tokio::time::sleep(Duration::from_millis(300)).await;
    working.ends().await;
    assert!(!ended(&world));
    world.clock.set(right);
    // With less patience than a day, which is counted anew whenever the clock was right.
    let patience = Duration::from_secs(1);
    world.operator.advance_epochs(patience).await.unwrap();
    for _ in 0..3 {
        world.clock.set(right.plus_ms(300 * DAY));
        world.operator.advance_epochs(patience).await.unwrap();
        tokio::time::sleep(patience / 2).await;
        world.operator.advance_epochs(patience).await.unwrap();
        world.clock.set(right);
        world.operator.advance_epochs(patience).await.unwrap();
        tokio::time::sleep(patience / 2).await;
    }
    assert!(!ended(&world));
    assert_eq!(world.in_circulation(), 150, "nobody has lost anything");
    // And it is over when the clock says so for so long; a restart begins anew.
    world.clock.set(right.plus_ms(300 * DAY));
    world.operator.advance_epochs(patience).await.unwrap();
    tokio::time::sleep(patience).await;
    let world = world.reopen();
    world.operator.advance_epochs(patience).await.unwrap();
    assert!(!ended(&world));
    tokio::time::sleep(patience).await;
    world.operator.advance_epochs(patience).await.unwrap();
    assert!(ended(&world));
    world.is_clean().await;
}
