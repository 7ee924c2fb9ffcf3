//! Registration, enrolment, buying, redeeming, asking for money and paying one another; the operator that is pinned.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use florin_crypto::{KemSecretKey, SeededEntropy, SigningKey};
use florin_money::{Amount, Currency};
use florin_parties::Roles;
use florin_shell::Passphrase;
use florin_wallet::{
    BuyOptions, BuyState, EnrolState, InitOptions, InvoiceState, PayInvoiceOptions, PayOutcome, RedeemAmount,
    RequestOptions, Wallet,
};
use support::{IBAN, World, holds, reserved, signed_list};

fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

/// An account of nobody.
const OTHER_IBAN: &str = "DE02120300000000202051";

fn briefly() -> BuyOptions {
    BuyOptions { wait: Duration::ZERO, ..BuyOptions::default() }
}

#[tokio::test]
async fn registration_and_enrolment_are_shown_and_repeated_without_harm() {
    let world = World::new(21);
    world.init("alice").await.unwrap();
    let alice = world.open("alice");
    assert_eq!(alice.enrol(IBAN, Roles::BOTH).await.unwrap_err().slug(), "registration-needed");
    assert_eq!(alice.register(Some("alice")).await.unwrap().name, "alice");
    assert!(alice.register(None).await.unwrap().already);
    assert_eq!(alice.buy(flo(100), &briefly()).await.unwrap_err().slug(), "enrolment-needed");
    assert_eq!(alice.enrol("DE00", Roles::BOTH).await.unwrap_err().slug(), "input-not-valid");
    let sent = alice.enrol(IBAN, Roles::BOTH).await.unwrap();
    assert_eq!((sent.state, sent.transfer), (EnrolState::CodeSent, Some(flo(1))));
    let wrong = alice.confirm("0000000000").await.unwrap_err();
    assert_eq!((wrong.slug(), wrong.exit_code().number()), ("wrong-code", 1));
    assert_eq!(alice.enrolment().unwrap().tries_left, Some(4));
    let code = world.codes.lock().unwrap().last().unwrap().clone();
    let done = alice.confirm(&code).await.unwrap();
    assert_eq!((done.state, done.roles), (EnrolState::Enrolled, vec!["purchaser", "redeemer"]));
    assert_eq!(alice.confirm(&code).await.unwrap().state, EnrolState::Enrolled);

    world.init("eve").await.unwrap();
    let eve = world.open("eve");
    assert_eq!(eve.register(Some("alice")).await.unwrap_err().slug(), "name-taken");
    assert_eq!(eve.register(Some("eve")).await.unwrap().name, "eve");
}

#[tokio::test]
async fn an_account_that_the_bank_does_not_know_makes_room_for_another() {
    let world = World::new(21);
    world.init("w").await.unwrap();
    let wallet = world.open("w");
    wallet.register(None).await.unwrap();
    world.unknown_account.store(true, Ordering::SeqCst);
    wallet.enrol(OTHER_IBAN, Roles::BOTH).await.unwrap();
    world.unknown_account.store(false, Ordering::SeqCst);
    let refused = wallet.confirm("1234567890").await.unwrap_err();
    assert_eq!((refused.slug(), refused.exit_code().number()), ("no-enrolment", 1), "{refused}");
    assert_eq!(wallet.enrolment().unwrap().state, EnrolState::None);
    wallet.enrol(IBAN, Roles::BOTH).await.unwrap();
    let code = world.codes.lock().unwrap().last().unwrap().clone();
    assert_eq!(wallet.confirm(&code).await.unwrap().state, EnrolState::Enrolled);
    // The fourth of a day is a definite no, too, and tomorrow is another day.
    wallet.enrol(IBAN, Roles::PURCHASER).await.unwrap();
    assert_eq!(wallet.enrol(IBAN, Roles::REDEEMER).await.unwrap_err().slug(), "too-many-enrolments");
    assert_eq!(wallet.status().await.unwrap().open, []);
    world.later(24 * 60 * 60 * 1000);
    wallet.enrol(IBAN, Roles::REDEEMER).await.unwrap();
}

#[tokio::test]
async fn the_operator_is_pinned() {
    let world = World::new(22);
    let dir = world.wallet_dir("w");
    let none = Passphrase::none();
    let init = |pin: Option<String>| InitOptions {
        dir: dir.clone(),
        keys_dir: None,
        passphrase: &none,
        operator: "http://127.0.0.1:7400".into(),
        pin,
        ca_file: None,
        seed: None,
    };
    let network = world.network();
    let other = Wallet::init_on(init(Some("A".repeat(22))), &network).await.unwrap_err();
    assert_eq!((other.slug(), other.exit_code().number()), ("operator-changed", 65));
    assert_eq!(
        Wallet::init_on(init(Some("x".into())), &network).await.unwrap_err().slug(),
        "input-not-valid"
    );
    assert!(!dir.exists(), "nothing is left of a refused one");
    let pin = florin_parties::network_id(world.list.operator);
    let made = Wallet::init_on(init(Some(pin.clone())), &network).await.unwrap();
    assert!(made.pinned_by_hand && made.fingerprint == pin && made.test);
    let again = Wallet::init_on(init(None), &network).await.unwrap_err();
    assert_eq!((again.slug(), again.exit_code().number()), ("wallet-already-there", 73));

    let wallet = world.open_at(&dir, &world.wallet_dir("none"));
    let mut entropy = SeededEntropy::from_number(1);
    let (root, signing) = (SigningKey::generate(&mut entropy), SigningKey::generate(&mut entropy));
    let at = world.list.time.plus_ms(1);
    let (_, signed) = signed_list(&root, &signing, &KemSecretKey::generate(&mut entropy), at);
    *world.signed.lock().unwrap() = signed;
    assert_eq!(wallet.status().await.unwrap_err().slug(), "operator-changed");
}

#[tokio::test]
async fn an_interrupted_init_is_taken_up_again() {
    let world = World::new(23);
    world.init("w").await.unwrap();
    let dir = world.wallet_dir("w");
    // As it stands when the machine stops after the keys and within the books.
    std::fs::rename(dir.join("books"), dir.join("books.making")).unwrap();
    assert_eq!(world.try_open("w").err().unwrap().slug(), "no-wallet");
    world.init("w").await.unwrap();
    assert_eq!(holds(&world.open("w")), 0);
}

#[tokio::test]
async fn a_purchase_waits_for_the_bank_and_is_continued() {
    let world = World::new(24);
    let wallet = world.enrolled("w").await;
    *world.bank_waits.lock().unwrap() = true;
    let first = wallet.buy(flo(1000), &briefly()).await.unwrap();
    assert_eq!((first.state, first.exit_code().number(), first.resumed), (BuyState::Waiting, 3, false));
    world.later(1);
    let again = wallet.buy(flo(1000), &briefly()).await.unwrap();
    assert_eq!((again.state, again.id == first.id, again.resumed), (BuyState::Waiting, true, true));
    let other = wallet.buy(flo(1000), &BuyOptions { new: true, ..briefly() }).await.unwrap();
    assert_ne!(other.id, first.id);
    assert_eq!(wallet.status().await.unwrap().open.len(), 2);
    // Days pass: `collect` is asked anew, for the same claim.
    world.later(3 * 24 * 60 * 60 * 1000);
    *world.bank_waits.lock().unwrap() = false;
    world.pump().await;
    let done = wallet.buy(flo(1000), &BuyOptions::default()).await.unwrap();
    assert_eq!((done.state, done.id == first.id), (BuyState::Bought, true));
    assert_eq!(wallet.status().await.unwrap().open, []);
    assert_eq!((holds(&wallet), world.in_circulation()), (2000, 2000));
}

#[tokio::test]
async fn a_purchase_that_the_bank_refuses_says_why() {
    let world = World::new(25);
    let wallet = world.enrolled("w").await;
    *world.bank.lock().unwrap() = Some("AM04");
    let refused = wallet.buy(flo(1000), &BuyOptions::default()).await.unwrap();
    assert_eq!((refused.state, refused.reason.as_deref()), (BuyState::Refused, Some("AM04")));
    assert_eq!((holds(&wallet), refused.exit_code().number()), (0, 1));
    let entry = &wallet.history(1).unwrap().entries[0];
    wallet.receipt(&entry.id).unwrap();
}

#[tokio::test]
async fn coins_become_money_again() {
    let world = World::new(26);
    let wallet = world.with_coins("w", "10.00 FLO", &BuyOptions::default()).await;
    let report = wallet.redeem(RedeemAmount::Exactly(flo(333))).await.unwrap();
    assert_eq!((report.amount, report.payouts.len()), (flo(333), 1));
    let report = wallet.redeem(RedeemAmount::All(Currency::FLO)).await.unwrap();
    assert_eq!(report.amount, flo(667));
    assert_eq!((holds(&wallet), *world.paid_out.lock().unwrap(), world.in_circulation()), (0, 1000, 0));
    let none = wallet.redeem(RedeemAmount::All(Currency::FLO)).await.unwrap_err();
    assert_eq!(none.slug(), "not-enough-coins");
    assert!(world.house.books.audit().unwrap().is_clean());
}

#[tokio::test]
async fn people_pay_one_another() {
    let world = World::new(27);
    world.patience_ms.store(10_000, Ordering::SeqCst);
    let alice = world.with_coins("alice", "10.00 FLO", &BuyOptions::default()).await;
    world.init("bob").await.unwrap();
    let bob = world.open("bob");
    assert_eq!(
        bob.invoice(flo(250), &RequestOptions::default()).await.unwrap_err().slug(),
        "registration-needed"
    );
    bob.register(Some("bob")).await.unwrap();
    let options = RequestOptions { what: "half a cake".into(), ..RequestOptions::default() };
    let asked = bob.invoice(flo(250), &options).await.unwrap();
    assert!(asked.invoice.starts_with("florininvoice1"));
    assert_eq!(
        bob.invoice(flo(250), &options).await.unwrap().invoice,
        asked.invoice,
        "the same while it is open"
    );
    let shown = alice.show_invoice(&asked.invoice).unwrap();
    assert_eq!((shown.payee.as_str(), shown.amount, shown.what.as_str()), ("bob", flo(250), "half a cake"));
    let long = Duration::from_secs(5);
    let pay = PayInvoiceOptions::default();
    let (paid, received) =
        tokio::join!(alice.pay_invoice(&asked.invoice, &pay), bob.wait_for_payment(&asked.invoice, long));
    let paid = paid.unwrap();
    assert_eq!((paid.outcome, paid.receipt, paid.with.as_deref()), (PayOutcome::Paid, true, Some("bob")));
    assert_eq!(received.unwrap().state, InvoiceState::Paid);
    assert_eq!((holds(&alice), holds(&bob)), (750, 250));
    alice.receipt(&paid.id.unwrap()).unwrap();
    bob.receipt(&bob.history(1).unwrap().entries[0].id).unwrap();
    assert_eq!((alice.status().await.unwrap().open, bob.status().await.unwrap().open), (vec![], vec![]));
    assert!(world.house.books.audit().unwrap().is_clean());
}

#[tokio::test]
async fn a_payee_that_is_away_is_paid_when_it_comes_back_or_never() {
    let world = World::new(28);
    let alice = world.with_coins("alice", "10.00 FLO", &BuyOptions::default()).await;
    world.init("bob").await.unwrap();
    let bob = world.open("bob");
    bob.register(None).await.unwrap();
    let asked = bob.invoice(flo(250), &RequestOptions::default()).await.unwrap().invoice;
    let pay = PayInvoiceOptions::default();
    assert_eq!(alice.pay_invoice(&asked, &pay).await.unwrap_err().slug(), "not-known-yet");
    assert_eq!((holds(&alice), reserved(&alice)), (1000, 250));
    assert_eq!(bob.status().await.unwrap().open, [], "the box was found full");
    assert_eq!(holds(&bob), 250);
    assert_eq!(alice.status().await.unwrap().open, []);
    assert_eq!(holds(&alice), 750);

    let asked = bob.invoice(flo(30), &RequestOptions::default()).await.unwrap().invoice;
    alice.pay_invoice(&asked, &pay).await.unwrap_err();
    world.later(61 * 60 * 1000);
    assert_eq!(alice.status().await.unwrap().open, []);
    assert_eq!((holds(&alice), reserved(&alice)), (750, 0));
    let late = bob.wait_for_payment(&asked, Duration::ZERO).await.unwrap();
    assert_eq!((late.state, late.exit_code().number()), (InvoiceState::Expired, 1));
    assert_eq!((holds(&bob), world.in_circulation()), (250, 1000));
}

#[tokio::test]
async fn a_payment_can_be_given_up_while_nobody_has_taken_it() {
    let world = World::new(29);
    let alice = world.with_coins("alice", "10.00 FLO", &BuyOptions::default()).await;
    let bob = world.enrolled("bob").await;
    let asked = bob.invoice(flo(250), &RequestOptions::default()).await.unwrap().invoice;
    alice.pay_invoice(&asked, &PayInvoiceOptions::default()).await.unwrap_err();
    let cancel = PayInvoiceOptions { cancel: true, ..PayInvoiceOptions::default() };
    assert_eq!(alice.pay_invoice(&asked, &cancel).await.unwrap().outcome, PayOutcome::Never);
    assert_eq!((holds(&alice), reserved(&alice)), (1000, 0));
    assert_eq!(bob.wait_for_payment(&asked, Duration::ZERO).await.unwrap().state, InvoiceState::Expired);
    assert_eq!(holds(&bob), 0);
}

/// Nobody signs a refusal: what something on the way says in the operator's name ends no payment.
#[tokio::test]
async fn coins_that_were_refused_on_the_way_are_asked_about() {
    const VALIDATION: &str = "/v1/coin/validation-req";
    for (n, reached) in [false, true].into_iter().enumerate() {
        let world = World::new(40 + n as u64);
        let alice = world.with_coins("alice", "10.00 FLO", &BuyOptions::default()).await;
        let bob = world.enrolled("bob").await;
        let asked = bob.invoice(flo(250), &RequestOptions::default()).await.unwrap().invoice;
        let pay = PayInvoiceOptions::default();
        alice.pay_invoice(&asked, &pay).await.unwrap_err();
        // The question is refused on the way, too: it stays open, and nobody is told anything.
        world.refusals.lock().unwrap().extend([(VALIDATION, reached), ("/v1/coin/payee-status", false)]);
        assert_eq!(bob.wait_for_payment(&asked, Duration::ZERO).await.unwrap().state, InvoiceState::Waiting);
        assert_eq!(bob.status().await.unwrap().open, []);
        let ended = bob.history(1).unwrap().entries.remove(0);
        let (mine, his) = if reached { (750, 250) } else { (1000, 0) };
        assert_eq!(holds(&bob), his, "{ended:?}");
        bob.receipt(&ended.id).unwrap();
        let outcome = alice.pay_invoice(&asked, &pay).await.unwrap().outcome;
        assert_eq!(outcome, if reached { PayOutcome::Paid } else { PayOutcome::Never });
        assert_eq!((holds(&alice), reserved(&alice)), (mine, 0));
        assert_eq!(world.in_circulation(), 1000);
        assert!(world.house.books.audit().unwrap().is_clean());
    }
}

#[tokio::test]
async fn an_invoice_takes_one_payment_and_the_second_payer_loses_nothing() {
    let world = World::new(30);
    let alice = world.with_coins("alice", "10.00 FLO", &BuyOptions::default()).await;
    let carol = world.with_coins("carol", "10.00 FLO", &BuyOptions::default()).await;
    let bob = world.enrolled("bob").await;
    let asked = bob.invoice(flo(250), &RequestOptions::default()).await.unwrap().invoice;
    alice.pay_invoice(&asked, &PayInvoiceOptions::default()).await.unwrap_err();
    let second = carol.pay_invoice(&asked, &PayInvoiceOptions::default()).await.unwrap();
    assert_eq!(second.outcome, PayOutcome::Never);
    assert_eq!(bob.wait_for_payment(&asked, Duration::ZERO).await.unwrap().state, InvoiceState::Paid);
    assert_eq!(
        alice.pay_invoice(&asked, &PayInvoiceOptions::default()).await.unwrap().outcome,
        PayOutcome::Paid
    );
    assert_eq!((holds(&alice), holds(&bob), holds(&carol)), (750, 250, 1000));
}

#[tokio::test]
async fn old_coins_are_exchanged_before_they_stop_paying() {
    let world = World::new(31);
    let wallet = world.with_coins("w", "10.00 FLO", &BuyOptions::default()).await;
    world.later(190 * 24 * 60 * 60 * 1000);
    assert!(wallet.balance().unwrap().balances[0].expiring.minor() > 0);
    wallet.status().await.unwrap();
    let row = &wallet.balance().unwrap().balances[0];
    assert_eq!((row.free, row.expiring), (flo(1000), flo(0)));
}
