//! The states of a coin as VarietyCash §2.4 lists them, read from the journal; ADR 0026.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use florin_books::{
    Account, Clock, DenominationId, Issue, Issued, LaneSpec, PartyId, RegisterId, Timestamp, Transition, TxId,
};
use florin_coin::issuer::{
    ChangeStep, HolderEntry, HolderList, Issuer, IssuerSecrets, Lanes, RefreshStep, RefundStep,
    SoftwareModule,
};
use florin_coin::kinds::{STEP_COLLECT, once};
use florin_coin::refund::{Holder, refund};
use florin_coin::{CoinSet, HolderChoice, IssuerKey, holder};
use florin_crypto::{KemSecretKey, Secret, SeededEntropy, SigningKey, cbor, digest};
use florin_money::{Amount, CoinList, Currency};
use florin_operator::coin_state::{CoinStateError, coin_state, parse_coin, pending};
use florin_operator::keys::registers;
use florin_operator::lanes::{BOOKS, IDENTITY};
use florin_parties::{CurrencyTerms, KeyList, KeyUse, OperatorKeys, PublishedKey, Terms, operator_id};
use florin_shell::house::House;
use florin_store::{Books, MemoryStore, Options, OwnerId};

const START: u64 = 1_795_000_000_000;

struct TestClock(AtomicU64);
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

struct World {
    house: House,
    issuer: Arc<Issuer>,
    list: KeyList,
    entropy: SeededEntropy,
    now: Timestamp,
}

fn world() -> World {
    let mut entropy = SeededEntropy::from_number(1);
    let clock = Arc::new(TestClock(AtomicU64::new(START)));
    let root = SigningKey::generate(&mut entropy);
    let (signing, kem) = (SigningKey::generate(&mut entropy), KemSecretKey::generate(&mut entropy));
    let (now, until) = (clock.now(), clock.now().plus_ms(1 << 40));
    let registers = registers(Currency::FLO);
    let list = KeyList {
        operator: operator_id(&root.verify_key()),
        root: root.verify_key(),
        name: "Test".into(),
        test: true,
        time: now,
        keys: vec![
            PublishedKey::new(KeyUse::MessageSignature, signing.verify_key().to_bytes(), now, until),
            PublishedKey::new(KeyUse::Kem, kem.public_key().0, now, until),
        ],
        currencies: vec![CurrencyTerms {
            currency: Currency::FLO,
            denominations: registers[0].denominations.values().to_vec(),
        }],
        epochs: Vec::new(),
        terms: Terms::default(),
    };
    let keys = Arc::new(OperatorKeys::new(list.operator, signing, kem));
    let secrets = IssuerSecrets {
        module: Box::new(SoftwareModule::new(Secret::random(&mut entropy))),
        ids: Secret::random(&mut entropy),
        acknowledgement: Secret::random(&mut entropy),
        cookie: Secret::random(&mut entropy),
    };
    let lanes = Lanes { identity: IDENTITY, books: BOOKS };
    let issuer = Arc::new(Issuer::new(keys, secrets, lanes, registers.clone(), &list.terms));
    let (log, reads) = MemoryStore::new().split();
    let spec = LaneSpec { lane: BOOKS, registers };
    let books = Books::start(log, reads, spec, OwnerId([1; 16]), clock.clone(), &Options::default()).unwrap();
    let mut house = House::new(books);
    house.clock = clock;
    World { house, issuer, list, entropy, now }
}

impl World {
    /// Coins of 1.00 as a purchase issues them.
    async fn issue(&mut self, count: u32, choice: HolderChoice, n: u8) -> Issued {
        let register = self.house.books.spec().registers[0].clone();
        let index = register.denominations.index_of(100).unwrap();
        let denomination = DenominationId::new(RegisterId(0), index).unwrap();
        let epoch = florin_coin::Calendar::of(&self.list.terms).epoch_at(self.now);
        let mut t = Transition::new(digest("test/issue", &[&[n]]), self.house.books.durable());
        t.once = vec![once(STEP_COLLECT, PartyId::NONE, [n; 16])];
        t.creates = vec![Issue { epoch, denomination, count }];
        let worth = Amount::new(100 * u64::from(count), Currency::FLO);
        t.post(Account::World, Account::Register(RegisterId(0)), worth);
        if let Some(key) = choice.document() {
            let entries = vec![HolderEntry { by: t.once[0], epoch }];
            t.write(key, cbor::encode(&HolderList { holder: choice, entries }));
        }
        self.house.commit(t).await.unwrap().core.created[0]
    }

    fn state(&self, text: &str) -> Result<florin_operator::coin_state::CoinReport, CoinStateError> {
        let number = parse_coin(&self.issuer, text)?;
        coin_state(&self.house, &self.issuer, number, self.now)
    }

    fn text(&self, issued: &Issued, place: u64) -> String {
        let n = issued.first;
        format!("{}.{}.{}", n.epoch.0, n.denomination.0, n.counter + place)
    }
}

#[tokio::test]
async fn a_coin_is_followed_from_its_issue_to_its_end() {
    let mut w = world();
    let alice = PartyId::new([7; 16]);
    let key = SigningKey::from_seed(&Secret::new([3; 32]));
    let plain = w.issue(2, HolderChoice::Nobody, 1).await;
    let named = w.issue(1, HolderChoice::Named(alice), 2).await;
    let keyed = w.issue(1, HolderChoice::Key(key.verify_key()), 3).await;

    let report = w.state(&w.text(&plain, 1)).unwrap();
    assert_eq!(
        (report.state.as_str(), report.worth.as_str(), report.time.as_str()),
        ("live", "1.00 FLO", "pays")
    );
    let issued = report.issued.clone().unwrap();
    assert_eq!((issued.by.as_str(), issued.record, issued.at_unix_ms), ("purchase", 1, START));
    assert_eq!((report.holder.as_deref(), report.party), (Some("anonymous"), None));
    assert_eq!(w.state(&report.id).unwrap().number, w.text(&plain, 1), "by its id, too");
    let report = w.state(&w.text(&named, 0)).unwrap();
    assert_eq!((report.holder.as_deref(), report.party), (Some("named"), Some(alice.to_string())));
    assert_eq!(w.state(&w.text(&keyed, 0)).unwrap().holder.as_deref(), Some("refundable"));
    assert_eq!(w.state(&w.text(&keyed, 1)).unwrap().state, "never-issued");

    // Spent by change, and split into what it gave; the other of its purchase is live.
    let coin = w.issuer.mint(&[plain]).unwrap()[0].clone();
    let set = CoinSet::new(vec![coin], Currency::FLO).unwrap();
    let (issuer, exp) = (IssuerKey::of(&w.list, w.now).unwrap(), w.now.plus_ms(60_000));
    let list = CoinList::of_values([50, 20, 20, 10]).unwrap();
    let asked = holder::change(&issuer, set, list, TxId::new([1; 16]), exp, &mut w.entropy).unwrap();
    w.house.serve(&ChangeStep(w.issuer.clone()), &asked.body).await.unwrap();
    let report = w.state(&w.text(&plain, 0)).unwrap();
    assert_eq!((report.state.as_str(), report.spent.clone().unwrap().by.as_str()), ("spent", "change"));
    let mut worths: Vec<&str> = report.split_into.iter().map(|c| c.worth.as_str()).collect();
    worths.sort_unstable();
    assert_eq!(worths, ["0.10 FLO", "0.20 FLO", "0.20 FLO", "0.50 FLO"]);
    let part = w.state(&report.split_into[0].id).unwrap();
    assert_eq!((part.state.as_str(), part.issued.unwrap().by.as_str()), ("live", "change"));
    assert_eq!(w.state(&w.text(&plain, 1)).unwrap().state, "live");

    // Refreshed: another coin of the same value.
    let coin = w.issuer.mint(&[plain]).unwrap()[1].clone();
    let set = CoinSet::new(vec![coin], Currency::FLO).unwrap();
    let asked = holder::refresh(&issuer, set, TxId::new([3; 16]), exp, &mut w.entropy).unwrap();
    w.house.serve(&RefreshStep(w.issuer.clone()), &asked.body).await.unwrap();
    let report = w.state(&w.text(&plain, 1)).unwrap();
    assert_eq!((report.state.as_str(), report.spent.unwrap().by.as_str()), ("spent", "refresh"));
    assert_eq!((report.split_into.len(), report.split_into[0].worth.as_str()), (1, "1.00 FLO"));

    // Refunded, in a house with a real writer.
    let tx = (TxId::new([2; 16]), exp);
    let asked = refund(&issuer, &Holder::Key(&key), tx, &mut w.entropy).unwrap();
    w.house.serve(&RefundStep(w.issuer.clone()), &asked.body).await.unwrap();
    let report = w.state(&w.text(&keyed, 0)).unwrap();
    assert_eq!((report.state.as_str(), report.spent.clone().unwrap().by.as_str()), ("spent", "refund"));
    let again = w.state(&report.split_into[0].id).unwrap();
    assert_eq!((again.state.as_str(), again.holder.as_deref()), ("live", Some("refundable")));

    // Time goes by.
    let (pays, grace) = (report.pays_until_unix_ms.unwrap(), report.grace_until_unix_ms.unwrap());
    for (now, expected) in
        [(pays, "pays"), (pays + 1, "in-grace"), (grace, "in-grace"), (grace + 1, "expired")]
    {
        w.now = Timestamp(now);
        assert_eq!(w.state(&w.text(&named, 0)).unwrap().time, expected);
    }
    let none = pending(&w.house).unwrap();
    assert_eq!((none.claims, none.worth.as_str()), (0, "0.00 FLO"));
}

#[tokio::test]
async fn what_is_no_coin_is_told_apart_from_what_is_no_coin_of_ours() {
    let w = world();
    for text in ["", "coin", "1.2", "1.2.x", "70000.0.1", "00112233445566778899aabbccddee", "1.2.3.4"] {
        assert!(matches!(w.state(text), Err(CoinStateError::NotACoin)), "{text}");
    }
    let beyond = format!("1.0.{}", 1_u64 << 40);
    for text in ["00112233445566778899aabbccddeeff", "1.63.0", "1.64.0", beyond.as_str()] {
        assert!(matches!(w.state(text), Err(CoinStateError::Foreign)), "{text}");
    }
}

/// Refunds and changes of the same coins at once, in a house with a real writer: nothing is made, nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refund_among_changes_of_the_same_coins_conserves_value() {
    let mut w = world();
    let key = SigningKey::from_seed(&Secret::new([3; 32]));
    let choice = HolderChoice::Key(key.verify_key());
    let issued = w.issue(32, choice, 1).await;
    let (issuer, exp) = (IssuerKey::of(&w.list, w.now).unwrap(), w.now.plus_ms(60_000));
    let mut work = Vec::new();
    for (n, coin) in (0u8..).zip(w.issuer.mint(&[issued]).unwrap()) {
        let set = CoinSet::new(vec![coin], Currency::FLO).unwrap();
        let (list, txid) = (CoinList::of_values([50, 50]).unwrap(), TxId::new([n; 16]));
        // Half of them leave the holder.
        let to = if n.is_multiple_of(2) { choice } else { HolderChoice::Nobody };
        let asked = holder::change_for(&issuer, set, list, to, (txid, exp), &mut w.entropy).unwrap();
        let (house, step) = (w.house.clone(), ChangeStep(w.issuer.clone()));
        work.push(tokio::spawn(async move { house.serve(&step, &asked.body).await }));
        if n.is_multiple_of(8) {
            let tx = (TxId::new([n; 16]), exp);
            let asked = refund(&issuer, &Holder::Key(&key), tx, &mut w.entropy).unwrap();
            let (house, step) = (w.house.clone(), RefundStep(w.issuer.clone()));
            work.push(tokio::spawn(async move { house.serve(&step, &asked.body).await }));
        }
    }
    for done in work {
        // So many at once may be told to come back; a no to a change is an answer.
        if let Err(refusal) = done.await.unwrap() {
            assert_eq!(refusal.slug, "overloaded");
        }
    }
    let code = Currency::FLO.code();
    let owed = w.house.books.view(move |lane| lane.balance(Account::Register(RegisterId(0)), code)).unwrap();
    assert_eq!(owed, -3200);
    assert!(w.house.books.audit().unwrap().is_clean());
    // A last refund reaches all that has not left the holder: together with what has, it is everything.
    let tx = (TxId::new([99; 16]), exp);
    let asked = refund(&issuer, &Holder::Key(&key), tx, &mut w.entropy).unwrap();
    let answer = w.house.serve(&RefundStep(w.issuer.clone()), &asked.body).await.unwrap();
    let got = florin_coin::refund::read_refund(&asked.pending, &answer, &w.list).unwrap();
    let has: u64 = got.sets.iter().map(|set| set.total.minor()).sum();
    let mut left = 0;
    for record in w.house.books.read(florin_books::Seq(1), 1000).unwrap() {
        let own = record.core.documents.iter().any(|d| d.key.kind == florin_coin::kinds::HOLDER);
        let change = record.core.once.iter().any(|k| k.step == florin_coin::kinds::STEP_CHANGE);
        if change && !own && !record.core.created.is_empty() {
            left += 100;
        }
    }
    assert_eq!(has + left, 3200, "{left} left the holder");
}
