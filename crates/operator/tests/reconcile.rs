//! The books against the bank's statement: what agrees, everything that does not, a forged statement, a bank that is away,
//! and the brake on pay-outs. Source: bank.md, "Reconciliation".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_bank::messages::Statement;
use florin_operator::audit_with_bank;
use florin_operator::reconcile::StatementReport;
use florin_operator::reconcile::brake;
use florin_parties::bank::{BankNews, Direction, OrderId};
use support::{OTHER, Town};

/// Everything that does not agree.
async fn findings(town: &Town) -> Vec<String> {
    let audit = audit_with_bank(&town.operator).await.unwrap();
    let report = audit.statement.clone().unwrap();
    let StatementReport::Compared { findings, .. } = report else { panic!("{report:?}") };
    assert_eq!(audit.findings, findings.iter().map(|f| format!("bank: {f}")).collect::<Vec<_>>());
    findings
}

/// Capital, money that nobody expected, and an order that was paid.
async fn busy() -> (Town, OrderId) {
    let town = Town::new();
    town.bank.credits(10_000, "FLORIN CAPITAL");
    town.bank.credits(77, "who knows");
    town.news().await;
    let order = town.pays(1_250).await;
    town.news().await;
    (town, order)
}

#[tokio::test]
async fn a_statement_that_agrees_is_clean_and_what_is_under_way_is_no_finding() {
    let (town, order) = busy().await;
    assert_eq!(findings(&town).await, Vec::<String>::new());
    // News that nobody has polled: a booking, its return, a credit.
    town.bank.enters(1_250, Some(order), "return");
    town.bank.tells(BankNews::Returned(order, "AC04".into()));
    town.bank.credits(5, "late");
    town.pays(30).await;
    let report = town.operator.reconciler.compare_all().await.unwrap();
    let StatementReport::Compared { entries, closing, under_way, findings: found, .. } = report else {
        panic!("it was there")
    };
    assert_eq!((entries, under_way, found), (6, 3, vec![]));
    assert_eq!(closing, "100.52 FLO");
    town.news().await;
    assert_eq!(findings(&town).await, Vec::<String>::new());
    // However it is cut into pages.
    town.bank.says(|s| s.page = 1);
    assert_eq!(findings(&town).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_entry_that_the_books_do_not_know() {
    let (town, _) = busy().await;
    let stranger = OrderId::new([9; 16]);
    town.bank.enters(-300, Some(stranger), "transfer");
    town.bank.enters(-40, None, "direct-debit");
    let expected = [
        format!(
            "entry-not-in-books: entry 4 of the statement, -3.00 FLO for {stranger}, is not in the books"
        ),
        "entry-not-in-books: entry 5 of the statement, -0.40 FLO, is not in the books".to_owned(),
    ];
    assert_eq!(findings(&town).await, expected);
}

#[tokio::test]
async fn an_order_that_the_bank_has_booked_twice() {
    let (town, order) = busy().await;
    town.bank.enters(-1_250, Some(order), "transfer");
    let expected =
        format!("entry-twice: entry 4 of the statement, -12.50 FLO, carries out {order} a second time");
    assert_eq!(findings(&town).await, std::slice::from_ref(&expected));
    // The same where the first of the two was compared long ago.
    town.bank.says(|s| drop(s.lines.pop()));
    town.operator.reconciler.compare_on().await.unwrap();
    town.bank.enters(-1_250, Some(order), "transfer");
    let on = town.operator.reconciler.compare_on().await.unwrap();
    assert_eq!(on.findings(), [expected]);
    assert_eq!(town.bank.says(|s| *s.asked_since.last().unwrap()), 3, "from where they last agreed");
}

#[tokio::test]
async fn an_amount_that_differs() {
    let (town, _) = busy().await;
    let order = town.asks(Direction::Credit, 500).await;
    town.sends().await;
    town.bank.enters(-501, Some(order), "transfer");
    town.bank.tells(BankNews::Booked(order));
    town.news().await;
    let expected = format!(
        "entry-amount: entry 4 of the statement carries out {order} with -5.01 FLO, and the books with -5.00 FLO"
    );
    assert_eq!(findings(&town).await, [expected]);
}

#[tokio::test]
async fn an_entry_that_is_missing() {
    let (town, _) = busy().await;
    let order = town.asks(Direction::Credit, 500).await;
    town.sends().await;
    town.bank.tells(BankNews::Booked(order));
    town.news().await;
    let found = findings(&town).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("record-not-on-statement: record "), "{found:?}");
    assert!(found[0].ends_with(&format!("-5.00 FLO for {order}, is not on the statement")), "{found:?}");
}

/// What a forger does to the page, and what is found: each finding with the slug of its kind.
type Forgery = (fn(&mut Statement), &'static [&'static str]);

const FORGERIES: &[Forgery] = &[
    (
        |s| s.iban = OTHER.into(),
        &[
            "statement-other-account: the statement is of the account \"GB29NWBK60161331926819\", which is not the operator's",
        ],
    ),
    (
        |s| s.entries[1].balance = "101.00 FLO".into(),
        &[
            "statement-sum: after entry 2 the statement says 101.00 FLO, but it adds up to 100.77 FLO",
            "statement-sum: after entry 3 the statement says 88.27 FLO, but it adds up to 88.50 FLO",
        ],
    ),
    (
        |s| s.entries[1].number = 3,
        &[
            "statement-gap: entry 3 stands on the statement where entry 2 belongs",
            "statement-gap: entry 3 stands on the statement where entry 4 belongs",
        ],
    ),
    (
        |s| s.entries[0].amount = "100.00 EUR".into(),
        &[
            "statement-unreadable: entry 1 of the statement says \"credit 100.00 EUR\", which is no movement in FLO",
        ],
    ),
    (
        |s| s.entries[0].direction = "up".into(),
        &[
            "statement-unreadable: entry 1 of the statement says \"up 100.00 FLO\", which is no movement in FLO",
        ],
    ),
    (
        |s| s.closing = "88.28 FLO".into(),
        &["statement-closing: the statement closes with 88.28 FLO after entry 3, which left 88.27 FLO"],
    ),
    (
        |s| s.opening = "1.00 FLO".into(),
        &[
            "statement-opening: after entry 0 the statement opens with 1.00 FLO, and it had closed with 0.00 FLO",
        ],
    ),
    (
        |s| s.closing = "88.27 EUR".into(),
        &["statement-unreadable: entry 3 of the statement says \"88.27 EUR\", which is no movement in FLO"],
    ),
    // More and more of nothing would be asked for ever.
    (
        |s| (s.more, s.next) = (true, 1),
        &["statement-gap: entry 1 stands on the statement where entry 3 belongs"],
    ),
];

#[tokio::test]
async fn a_forged_statement_is_found_out() {
    let (town, _) = busy().await;
    let mut seen = std::collections::BTreeSet::new();
    for (forge, expected) in FORGERIES {
        town.bank.says(|s| s.forge = Some(*forge));
        let found = findings(&town).await;
        seen.extend(found.iter().map(|f| f.split(": ").next().unwrap().to_owned()));
        for words in *expected {
            assert!(found.iter().any(|f| f == words), "{words:?} is not in {found:#?}");
        }
    }
    town.bank.says(|s| s.forge = None);
    assert_eq!(findings(&town).await, Vec::<String>::new());
    let kinds = [
        "balance-differs",
        "record-not-on-statement",
        "statement-closing",
        "statement-gap",
        "statement-opening",
        "statement-other-account",
        "statement-sum",
        "statement-unreadable",
    ];
    assert!(seen.iter().eq(kinds), "{seen:?}");
}

#[tokio::test]
async fn a_statement_that_does_not_go_on_where_it_had_ended_or_is_shorter_than_it_was() {
    let (town, _) = busy().await;
    let on = || town.operator.reconciler.compare_on();
    assert_eq!(on().await.unwrap().findings(), [] as [String; 0]);
    let line = town.bank.says(|s| s.lines.pop().unwrap());
    let shorter = ["statement-shorter: the statement ends before entry 3, which it had before"];
    assert_eq!(on().await.unwrap().findings(), shorter);
    // The past is another one: the same number of entries, another balance.
    town.bank.enters(-1_251, line.order.as_deref().map(|o| o.parse().unwrap()), "transfer");
    let found = on().await.unwrap().findings().to_vec();
    let other = "statement-opening: after entry 3 the statement opens with 88.26 FLO, and it had closed with 88.27 FLO";
    assert!(found.iter().any(|f| f == other), "{found:?}");
}

#[tokio::test]
async fn a_bank_that_is_away_is_no_finding_and_nothing_is_stopped() {
    let (town, _) = busy().await;
    town.bank.says(|s| s.away = true);
    let audit = audit_with_bank(&town.operator).await.unwrap();
    assert!(audit.is_clean());
    let away = StatementReport::Away { why: "the bank cannot be reached".into() };
    assert_eq!(audit.statement, Some(away.clone()));
    assert!(audit.to_string().contains("its statement was not compared: the bank cannot be reached"));
    assert_eq!(town.operator.reconciler.compare_on().await.unwrap(), away);
    assert!(!town.operator.bank.pays_nothing());
}

#[tokio::test]
async fn a_finding_stops_pay_outs_until_a_person_says_why_they_may_go_on() {
    let (town, _) = busy().await;
    let reconciler = &town.operator.reconciler;
    town.bank.enters(-300, None, "direct-debit");
    // An audit only looks; the running operator's own comparison stops.
    findings(&town).await;
    assert!(!town.operator.bank.pays_nothing());
    let words = "entry-not-in-books: entry 4 of the statement, -3.00 FLO, is not in the books";
    assert_eq!(reconciler.compare_on().await.unwrap().findings(), [words]);
    let (out, collect) = (town.asks(Direction::Credit, 200).await, town.asks(Direction::Debit, 60).await);
    town.sends().await;
    let taken = |town: &Town| town.bank.says(|s| s.taken.iter().map(|o| o.id).collect::<Vec<_>>());
    assert!(!taken(&town).contains(&out), "nothing is paid out");
    assert!(taken(&town).contains(&collect), "what is collected is");
    // It holds over a restart, and it is said wherever one looks.
    let town = town.again();
    let reconciler = &town.operator.reconciler;
    assert_eq!(town.sends().await, 0);
    let owed =
        florin_operator::owed(&town.operator.lanes, town.operator.currency, None, false).await.unwrap();
    assert_eq!(owed.stopped.unwrap().findings, [words]);
    let audit = audit_with_bank(&town.operator).await.unwrap();
    assert!(audit.to_string().contains("Pay-outs are stopped since"), "{audit}");
    reconciler.compare_on().await.unwrap();
    assert!(town.operator.registry.render().contains("florin_payouts_stopped 1"));
    // A person looks.
    let note = reconciler.resume("the bank's fee, agreed by letter").await.unwrap().unwrap();
    assert_eq!(
        (note.reason.as_str(), note.findings),
        ("the bank's fee, agreed by letter", vec![words.to_owned()])
    );
    assert_eq!(reconciler.resume("again").await.unwrap(), None, "there was nothing left to resume");
    town.sends().await;
    assert!(taken(&town).contains(&out), "it goes out");
    // The same finding is known: it stops nothing more, and the audit names it apart.
    town.bank.books(out);
    town.bank.books(collect);
    town.news().await;
    let report = reconciler.compare_on().await.unwrap();
    let StatementReport::Compared { findings: found, known, .. } = report else { panic!("it was there") };
    assert_eq!((found, known), (vec![], vec![words.to_owned()]));
    assert!(!town.operator.bank.pays_nothing());
    let audit = audit_with_bank(&town.operator).await.unwrap();
    assert!(audit.is_clean(), "{:?}", audit.findings);
    assert!(audit.to_string().contains("cleared by a person: entry-not-in-books: entry 4"), "{audit}");
    // From there on; and another finding stops again.
    assert_eq!(reconciler.compare_on().await.unwrap().findings(), [] as [String; 0]);
    assert_eq!(town.bank.says(|s| *s.asked_since.last().unwrap()), 6);
    town.bank.enters(-300, None, "direct-debit");
    let again = "entry-not-in-books: entry 7 of the statement, -3.00 FLO, is not in the books";
    assert_eq!(reconciler.compare_on().await.unwrap().findings(), [again]);
    assert!(town.operator.bank.pays_nothing());
    let payouts = brake::payouts(&town.operator.lanes.identity).unwrap();
    assert_eq!(payouts.stopped.unwrap().findings, [again]);
    assert_eq!(payouts.resumed.len(), 1);
}
