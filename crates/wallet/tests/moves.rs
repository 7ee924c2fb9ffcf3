//! Coins that move without a payment: send, receive, take back; and Refresh, by itself and by hand.
//! Source: VarietyCash §1.2 (transferability), §3 (Refresh); docs/wallet.md, "Send", "Receive", "Refresh".
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

use florin_books::{Clock, Timestamp, TxId};
use florin_coin::cash::{Cash, SealedCash};
use florin_coin::{CoinSet, IssuerKey, holder};
use florin_crypto::{SeededEntropy, Zeroizing};
use florin_money::{Amount, Currency};
use florin_parties::IdentityKeys;
use florin_shell::Passphrase;
use florin_wallet::{
    BuyOptions, CoinMix, Output, PayOptions, PayOutcome, Policy, ReceiveOptions, RedeemAmount, SendOptions,
    SendState, SendTo, Wallet,
};
use support::{SHOP, Weather, When, World, holds, reserved};

const DAY: u64 = 24 * 60 * 60 * 1000;
/// More messages than any of these commands sends.
const MESSAGES_MAX: usize = 40;

fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

fn few() -> BuyOptions {
    BuyOptions { mix: CoinMix::Few, ..BuyOptions::default() }
}

fn bearer(memo: &str) -> SendOptions<'_> {
    SendOptions { memo: memo.to_owned(), to: SendTo::Bearer, policy: Policy::default() }
}

async fn sent(wallet: &Wallet, minor: u64) -> (String, String) {
    let report = wallet.send(flo(minor), &bearer("")).await.unwrap();
    (report.text.unwrap(), report.id)
}

async fn receive(wallet: &Wallet, text: &str) -> Result<u64, String> {
    let report = wallet.receive(text, &ReceiveOptions::default()).await;
    report.map(|r| r.amount.minor()).map_err(|e| e.slug().to_owned())
}

/// Alice with 10.00, Bob and Carol without.
async fn people(seed: u64) -> (Arc<World>, Wallet, Wallet, Wallet) {
    let world = World::new(seed);
    let alice = world.with_coins("alice", "10.00 FLO", &few()).await;
    let (bob, carol) = (world.enrolled("bob").await, world.enrolled("carol").await);
    (world, alice, bob, carol)
}

#[tokio::test]
async fn sent_coins_are_claimed_once() {
    let (world, alice, bob, carol) = people(61).await;
    let report = alice.send(flo(250), &bearer("for the book")).await.unwrap();
    let text = report.text.clone().unwrap();
    assert_eq!(
        (report.state, report.to.as_str(), report.exit_code().number()),
        (SendState::Sent, "bearer", 0)
    );
    let balance = alice.balance().unwrap();
    assert_eq!(
        (balance.balances[0].free, balance.balances[0].sent, reserved(&alice)),
        (flo(750), flo(250), 0)
    );
    assert_eq!((balance.sent.len(), balance.sent[0].memo.as_str()), (1, "for the book"));
    assert_eq!(alice.history(9).unwrap().entries[0].outcome, "open");
    assert_eq!(alice.show_sent(&report.id).unwrap().text.unwrap(), text, "shown again");
    // What is sent cannot be spent meanwhile.
    assert_eq!(alice.redeem(RedeemAmount::Exactly(flo(800))).await.unwrap_err().slug(), "not-enough-coins");
    let got = bob.receive(&text, &ReceiveOptions::default()).await.unwrap();
    assert_eq!((got.amount, got.memo.as_str(), got.id), (flo(250), "for the book", report.id.clone()));
    assert_eq!(receive(&bob, &text).await.unwrap_err(), "cash-already-claimed");
    assert_eq!(receive(&carol, &text).await.unwrap_err(), "cash-already-claimed");
    assert_eq!((holds(&bob), holds(&carol), world.in_circulation()), (250, 0, 1000));
    // Only taking it back finds out.
    assert_eq!(alice.status().await.unwrap().balance.sent.len(), 1);
    let claimed = alice.take_back(&report.id).await.unwrap();
    assert_eq!((claimed.state, claimed.exit_code().number()), (SendState::Claimed, 1));
    assert_eq!(alice.take_back(&report.id).await.unwrap().state, SendState::Claimed, "told again");
    assert_eq!((holds(&alice), alice.balance().unwrap().sent.len()), (750, 0));
    assert_eq!(alice.history(1).unwrap().entries[0].reason.as_deref(), Some("claimed"));
    assert_eq!(alice.status().await.unwrap().open, []);
    // Bob's coins are his own: they pay.
    assert_eq!(bob.redeem(RedeemAmount::Exactly(flo(250))).await.unwrap().amount, flo(250));
}

#[tokio::test]
async fn what_nobody_claimed_is_taken_back() {
    let (world, alice, bob, _) = people(62).await;
    let (text, id) = sent(&alice, 250).await;
    assert_eq!(receive(&alice, &text).await.unwrap_err(), "cash-of-ones-own");
    let back = alice.take_back(&id).await.unwrap();
    assert_eq!((back.state, holds(&alice), back.lost.len()), (SendState::TakenBack, 1000, 0));
    assert_eq!(alice.take_back(&id).await.unwrap().state, SendState::TakenBack, "told again");
    assert_eq!(receive(&bob, &text).await.unwrap_err(), "cash-already-claimed");
    assert_eq!(receive(&alice, &text).await.unwrap_err(), "cash-already-claimed");
    assert_eq!((holds(&bob), world.in_circulation()), (0, 1000));
    assert_eq!(alice.history(1).unwrap().entries[0].reason.as_deref(), Some("taken-back"));
    for unknown in ["tx_", "", "tx_00000000000000000000000000000000", "nothing"] {
        assert_eq!(alice.take_back(unknown).await.unwrap_err().slug(), "no-such-id");
        assert_eq!(alice.show_sent(unknown).unwrap_err().slug(), "no-such-id");
    }
}

#[tokio::test]
async fn of_a_claim_and_a_take_back_at_once_exactly_one_wins() {
    let (mut claims, mut backs) = (0, 0);
    for seed in 0..12 {
        let (world, alice, bob, _) = people(630 + seed).await;
        let (text, id) = sent(&alice, 300).await;
        let (taken, got) = if seed % 2 == 0 {
            tokio::join!(alice.take_back(&id), receive(&bob, &text))
        } else {
            let (got, taken) = tokio::join!(receive(&bob, &text), alice.take_back(&id));
            (taken, got)
        };
        match (taken.unwrap().state, got) {
            (SendState::TakenBack, Err(slug)) => {
                assert_eq!(slug, "cash-already-claimed");
                backs += 1;
            }
            (SendState::Claimed, Ok(300)) => claims += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!((holds(&alice) + holds(&bob), world.in_circulation()), (1000, 1000));
    }
    assert_eq!(claims + backs, 12);
    assert!(claims > 0 && backs > 0, "{claims} claims, {backs} taken back");
}

#[tokio::test]
async fn a_text_may_be_sealed_with_a_passphrase_or_to_a_card() {
    let (world, alice, bob, carol) = people(64).await;
    let right = Passphrase::new(Zeroizing::new(b"open sesame".to_vec())).unwrap();
    let wrong = Passphrase::new(Zeroizing::new(b"open barley".to_vec())).unwrap();
    let options = SendOptions { to: SendTo::Passphrase(&right), ..bearer("") };
    let report = alice.send(flo(100), &options).await.unwrap();
    let text = report.text.unwrap();
    let with = |passphrase| ReceiveOptions { passphrase, rest: false };
    assert_eq!(report.to, "passphrase");
    assert_eq!(receive(&bob, &text).await.unwrap_err(), "cash-passphrase-needed");
    assert_eq!(bob.receive(&text, &with(Some(&wrong))).await.unwrap_err().slug(), "cash-passphrase-wrong");
    assert_eq!(bob.receive(&text, &with(Some(&right))).await.unwrap().amount, flo(100));
    // To a card: for its owner alone; not even the sender can open it, but it can take it back.
    let card = carol.card().unwrap();
    let options = || SendOptions { to: SendTo::Card(&card.card), ..bearer("") };
    let report = alice.send(flo(50), &options()).await.unwrap();
    let text = report.text.unwrap();
    assert_eq!((report.to.as_str(), card.name.as_str()), ("carol-wallet", "carol-wallet"));
    assert_eq!(receive(&bob, &text).await.unwrap_err(), "cash-for-another");
    assert_eq!(receive(&carol, &text).await, Ok(50));
    let report = alice.send(flo(20), &options()).await.unwrap();
    assert_eq!(alice.take_back(&report.id).await.unwrap().state, SendState::TakenBack);
    assert_eq!((holds(&alice), holds(&bob), holds(&carol)), (850, 100, 50));
    // A card of another operator, or none.
    let other = World::new(640);
    let stranger = other.enrolled("stranger").await.card().unwrap();
    for bad in [stranger.card.as_str(), "florincard1AAAA", "florincash1AAAA", "bob"] {
        let options = SendOptions { to: SendTo::Card(bad), ..bearer("") };
        assert_eq!(alice.send(flo(10), &options).await.unwrap_err().slug(), "input-not-valid", "{bad}");
    }
    assert_eq!(world.in_circulation(), 1000);
}

#[tokio::test]
async fn a_wrong_text_and_another_operators_are_refused_and_change_nothing() {
    let (world, alice, bob, _) = people(65).await;
    let (text, _) = sent(&alice, 250).await;
    let mut altered = text.clone().into_bytes();
    let at = altered.len() / 2;
    altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();
    for bad in [altered.as_str(), &text[..text.len() - 4], "florincash1", "", "hello"] {
        assert_eq!(receive(&bob, bad).await.unwrap_err(), "cash-not-valid", "{bad}");
    }
    let other = World::new(650);
    let stranger = other.with_coins("stranger", "10.00 FLO", &few()).await;
    let (foreign, _) = sent(&stranger, 100).await;
    assert_eq!(receive(&bob, &foreign).await.unwrap_err(), "cash-of-another-operator");
    assert_eq!((bob.status().await.unwrap().open.len(), holds(&bob)), (0, 0));
    assert_eq!(receive(&bob, &text).await, Ok(250));
    // Amounts and memos that are none, and more than there is.
    for (amount, memo) in [(0, ""), (100, "two\nlines"), (100, &"x".repeat(101))] {
        assert_eq!(alice.send(flo(amount), &bearer(memo)).await.unwrap_err().slug(), "input-not-valid");
    }
    let anyway = SendOptions { policy: Policy { max: None, yes: true }, ..bearer("") };
    assert_eq!(alice.send(flo(5000), &anyway).await.unwrap_err().slug(), "not-enough-coins");
    assert_eq!((holds(&alice), world.in_circulation()), (750, 1000));
}

#[tokio::test]
async fn the_owners_limits_hold_for_sending() {
    let world = World::new(66);
    let alice = world.with_coins("alice", "100.00 FLO", &few()).await;
    assert_eq!(alice.send(flo(501), &bearer("")).await.unwrap_err().slug(), "above-payment-limit");
    for _ in 0..4 {
        alice.send(flo(500), &bearer("")).await.unwrap();
    }
    assert_eq!(alice.send(flo(1), &bearer("")).await.unwrap_err().slug(), "above-day-limit");
    let anyway = SendOptions { policy: Policy { max: None, yes: true }, ..bearer("") };
    alice.send(flo(600), &anyway).await.unwrap();
    assert_eq!((holds(&alice), alice.limits().unwrap().limits[0].spent_today), (7400, flo(2600)));
}

/// Opens a bearer text as anybody can.
fn opened(world: &World, text: &str) -> Cash {
    let anybody = IdentityKeys::generate(&mut SeededEntropy::new("anybody"));
    SealedCash::read(text).unwrap().open(world.list.operator, &anybody, None).unwrap()
}

/// Somebody spends the first coins of a text.
async fn spend_some(world: &World, cash: &Cash, count: usize) -> u64 {
    let coins = CoinSet::new(cash.coins.coins[..count].to_vec(), Currency::FLO).unwrap();
    let worth = coins.total.minor();
    let now = world.clock.now();
    let issuer = IssuerKey::of(&world.list, now).unwrap();
    let mut entropy = SeededEntropy::new("a thief");
    let exp = now.plus_ms(60_000);
    let asked = holder::refresh(&issuer, coins, TxId::new([9; 16]), exp, &mut entropy).unwrap();
    let answer = world.serve(asked.path, &asked.body).await.unwrap();
    assert!(holder::read_exchange(&asked.pending, &answer, &world.list).unwrap().causes.is_empty());
    worth
}

#[tokio::test]
async fn half_spent_cash_is_taken_only_if_the_receiver_says_so() {
    let (world, alice, bob, _) = people(67).await;
    let (text, id) = sent(&alice, 370).await;
    let cash = opened(&world, &text);
    assert!(cash.coins.coins.len() > 1);
    let gone = spend_some(&world, &cash, 1).await;
    let refused = bob.receive(&text, &ReceiveOptions::default()).await.unwrap_err();
    assert_eq!((refused.slug(), holds(&bob)), ("cash-partly-claimed", 0));
    assert!(refused.to_string().contains(&flo(370 - gone).to_string()), "{refused}");
    let rest = ReceiveOptions { passphrase: None, rest: true };
    assert_eq!(bob.receive(&text, &rest).await.unwrap().amount, flo(370 - gone));
    assert_eq!(receive(&bob, &text).await.unwrap_err(), "cash-already-claimed");
    assert_eq!(alice.take_back(&id).await.unwrap().state, SendState::Claimed);
    assert_eq!((holds(&bob), holds(&alice), world.in_circulation()), (370 - gone, 630, 1000));
}

#[tokio::test]
async fn half_claimed_cash_is_taken_back_as_far_as_it_is_there() {
    let (world, alice, bob, _) = people(68).await;
    let (text, id) = sent(&alice, 370).await;
    let gone = spend_some(&world, &opened(&world, &text), 1).await;
    let back = alice.take_back(&id).await.unwrap();
    assert_eq!((back.state, back.exit_code().number()), (SendState::PartlyTakenBack, 1));
    assert_eq!(
        back.lost.iter().map(|l| (l.worth.minor(), l.cause)).collect::<Vec<_>>(),
        [(gone, "coin-spent")]
    );
    assert_eq!((holds(&alice), alice.balance().unwrap().sent.len()), (1000 - gone, 0));
    assert_eq!(receive(&bob, &text).await.unwrap_err(), "cash-already-claimed");
    assert_eq!(alice.status().await.unwrap().open, []);
}

#[tokio::test]
async fn expired_cash_is_claimed_in_its_grace_period_and_not_after_it() {
    let (world, alice, bob, _) = people(69).await;
    let (timely, _) = sent(&alice, 100).await;
    let (late, id) = sent(&alice, 50).await;
    let expires = opened(&world, &timely).coins.coins[0].expires;
    let to = |at: Timestamp| world.later(at.0 - world.clock.now().0);
    to(expires.plus_ms(1));
    assert_eq!(receive(&bob, &timely).await, Ok(100));
    assert_eq!(bob.balance().unwrap().balances[0].free, flo(100), "they pay again");
    to(world.list.terms.grace_end(expires).unwrap().plus_ms(1));
    assert_eq!(receive(&bob, &late).await.unwrap_err(), "coin-expired");
    // The sender has them back for what they are: not payable, and said to be so.
    assert_eq!(alice.take_back(&id).await.unwrap_err().slug(), "coin-expired");
    let balance = alice.balance().unwrap();
    assert_eq!(
        (balance.sent.len(), balance.balances[0].sent, balance.balances[0].free),
        (1, flo(100), flo(0))
    );
    assert_eq!(balance.balances[0].lapsed, flo(900), "with all the others that nobody refreshed");
    assert!(balance.to_string().contains("past its grace period"));
}

// - Refresh

#[tokio::test]
async fn a_wallet_that_pays_refreshes_what_soon_expires_by_itself() {
    let world = World::new(71);
    let wallet = world.with_coins("w", "10.00 FLO", &BuyOptions::default()).await;
    let until = wallet.balance().unwrap().balances[0].pays_until.clone().unwrap();
    world.later(190 * DAY);
    let mut page = Output::Memory(Vec::new());
    let paid = wallet.pay(&format!("{SHOP}/7"), &PayOptions::default(), &mut page).await.unwrap();
    assert_eq!(paid.outcome, PayOutcome::Paid);
    let row = wallet.balance().unwrap().balances[0].clone();
    assert_eq!((row.free, row.expiring, row.expired), (flo(993), flo(0), flo(0)));
    assert!(row.pays_until.unwrap() > until);
}

#[tokio::test]
async fn expired_coins_are_refreshed_by_hand_until_their_grace_period_is_over() {
    let world = World::new(72);
    let wallet = world.with_coins("w", "10.00 FLO", &BuyOptions::default()).await;
    let other = world.with_coins("other", "10.00 FLO", &BuyOptions::default()).await;
    world.later(215 * DAY);
    let row = wallet.balance().unwrap().balances[0].clone();
    assert_eq!((row.free, row.expired, row.lapsed, row.pays_until), (flo(0), flo(1000), flo(0), None));
    let done = wallet.refresh(false).await.unwrap();
    assert_eq!((done.rows[0].refreshed, done.lost.len(), done.exit_code().number()), (flo(1000), 0, 0));
    let row = wallet.balance().unwrap().balances[0].clone();
    assert_eq!((row.free, row.expired), (flo(1000), flo(0)));
    assert_eq!(wallet.refresh(false).await.unwrap().rows[0].coins, 0, "nothing is old any more");
    assert_eq!(wallet.refresh(true).await.unwrap().rows[0].refreshed, flo(1000));
    // Past the grace period: said so, with the slug, and the coins stay.
    world.later(90 * DAY);
    let late = other.refresh(false).await.unwrap();
    assert_eq!((late.rows[0].refreshed, late.rows[0].lapsed), (flo(0), flo(1000)));
    assert!(!late.lost.is_empty() && late.lost.iter().all(|l| l.cause == "coin-expired"));
    assert_eq!(late.exit_code().number(), 1);
    let row = other.balance().unwrap().balances[0].clone();
    assert_eq!((row.free, row.lapsed, reserved(&other)), (flo(0), flo(1000), 0));
    assert_eq!(other.status().await.unwrap().open, []);
    assert_eq!(other.balance().unwrap().balances[0].lapsed, flo(1000), "status does not throw them away");
    assert_eq!(other.send(flo(10), &bearer("")).await.unwrap_err().slug(), "not-enough-coins");
}

#[tokio::test]
async fn coins_in_their_grace_period_are_redeemed() {
    let world = World::new(73);
    let wallet = world.with_coins("w", "10.00 FLO", &BuyOptions::default()).await;
    world.later(215 * DAY);
    let redeemed = wallet.redeem(RedeemAmount::All(Currency::FLO)).await.unwrap();
    assert_eq!((redeemed.amount, holds(&wallet), *world.paid_out.lock().unwrap()), (flo(1000), 0, 1000));
}

#[tokio::test]
async fn a_purchase_says_until_when_its_coins_pay() {
    let world = World::new(74);
    let wallet = world.enrolled("w").await;
    let bought = wallet.buy(flo(500), &BuyOptions::default()).await.unwrap();
    let row = wallet.balance().unwrap().balances[0].clone();
    assert_eq!(
        (Some(bought.pays_until.clone()), bought.refreshable_until.clone()),
        (row.pays_until, row.refreshable_until)
    );
    assert!(bought.refreshable_until.clone().unwrap() > bought.pays_until);
    assert!(bought.to_string().contains(&bought.pays_until));
}

// - stopped dead at every message

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

/// Who of the two is stopped, at which message.
async fn stopped_anywhere(who: &str, take_back: bool) {
    for when in [When::Before, When::After] {
        let mut last = 0;
        for n in 1..=MESSAGES_MAX {
            let world = World::new(700);
            drop(world.with_coins("alice", "10.00 FLO", &few()).await);
            world.init("bob").await.unwrap();
            world.tells.store(true, Ordering::SeqCst);
            let weather = |name: &str| if name == who { Weather::Crash(n, when) } else { Weather::Fine };
            let give = |w: Arc<Wallet>| async move {
                let report = w.send(flo(250), &bearer("one")).await.unwrap();
                w.told().await.unwrap();
                (report.text.unwrap(), report.id)
            };
            let ((text, id), first) = twice!(world, "alice", weather("alice"), give);
            let take = |w: Arc<Wallet>| {
                let text = text.clone();
                async move {
                    let got = receive(&w, &text).await;
                    w.told().await.unwrap();
                    got
                }
            };
            let back = |w: Arc<Wallet>| {
                let id = id.clone();
                async move { w.take_back(&id).await.unwrap().state }
            };
            let mut second = false;
            if !take_back {
                let (got, stopped) = twice!(world, "bob", weather("bob"), take);
                assert_eq!(got, Ok(250), "{when:?} {n}");
                second = stopped;
            }
            let (state, third) = twice!(world, "alice", weather("alice"), back);
            assert_eq!(
                state,
                if take_back { SendState::TakenBack } else { SendState::Claimed },
                "{when:?} {n}"
            );
            if take_back {
                let (got, stopped) = twice!(world, "bob", weather("bob"), take);
                assert_eq!(got.unwrap_err(), "cash-already-claimed");
                second = stopped;
            }
            let (alice, bob) = (world.open("alice"), world.open("bob"));
            let expected = if take_back { (1000, 0) } else { (750, 250) };
            assert_eq!((holds(&alice), holds(&bob)), expected, "{when:?} {n}");
            assert_eq!((alice.balance().unwrap().sent.len(), world.in_circulation()), (0, 1000));
            assert_eq!(alice.status().await.unwrap().open, []);
            if !(first || second || third) {
                break;
            }
            last = n;
        }
        assert!((1..MESSAGES_MAX).contains(&last), "{when:?}: stopped at {last} messages");
    }
}

#[tokio::test]
async fn a_sender_that_is_stopped_anywhere_sends_once_and_finds_out_what_was_claimed() {
    stopped_anywhere("alice", false).await;
}

#[tokio::test]
async fn a_sender_that_is_stopped_anywhere_takes_back_once() {
    stopped_anywhere("alice", true).await;
}

#[tokio::test]
async fn a_receiver_that_is_stopped_anywhere_claims_once() {
    stopped_anywhere("bob", false).await;
}

#[tokio::test]
async fn what_was_sent_untold_is_shown_and_not_sent_again() {
    let world = World::new(76);
    drop(world.with_coins("alice", "10.00 FLO", &few()).await);
    world.tells.store(true, Ordering::SeqCst);
    let mut texts = Vec::new();
    for turn in 0..3 {
        let alice = world.open("alice");
        let report = alice.send(flo(250), &bearer("")).await.unwrap();
        assert_eq!(report.resumed, turn > 0);
        texts.push(report.text.unwrap());
        if turn == 2 {
            alice.told().await.unwrap();
        }
    }
    assert!(texts.iter().all(|text| *text == texts[0]));
    let alice = world.open("alice");
    assert_ne!(alice.send(flo(250), &bearer("")).await.unwrap().text.unwrap(), texts[0], "told: a new one");
    assert_eq!((holds(&alice), alice.balance().unwrap().sent.len()), (500, 2));
}

#[tokio::test]
async fn a_network_that_loses_half_of_everything_loses_no_coin() {
    for seed in 0..6 {
        let (world, alice, bob, _) = people(770 + seed).await;
        let (text, id) = sent(&alice, 250).await;
        world.weather(Weather::Lossy(seed));
        let mut got = receive(&bob, &text).await;
        for _ in 0..20 {
            if got != Err("not-known-yet".to_owned()) {
                break;
            }
            got = receive(&bob, &text).await;
        }
        assert_eq!(got, Ok(250), "seed {seed}");
        let mut state = alice.take_back(&id).await;
        for _ in 0..20 {
            if state.as_ref().is_ok_and(|s| s.state == SendState::Claimed) {
                break;
            }
            state = alice.take_back(&id).await;
        }
        assert_eq!(state.unwrap().state, SendState::Claimed);
        world.weather(Weather::Fine);
        assert_eq!((holds(&alice), holds(&bob), world.in_circulation()), (750, 250, 1000));
        assert!(world.house.books.audit().unwrap().is_clean());
    }
}
