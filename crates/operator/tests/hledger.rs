//! The journal as hledger reads it: a judge with no code of ours adds it up, and finds every change.
//! Runs where `hledger` is installed (Debian: the package `hledger`); `.ci/run` installs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use florin_books::{Timestamp, TokenNumber};
use florin_operator::coin_state::coin_state;
use florin_operator::lanes::BOOKS;
use florin_operator::reading::{AccountsReport, Export, accounts, journal_page};
use florin_parties::bank::{BankNews, Direction};
use support::Town;

fn is_there() -> bool {
    let found = Command::new("hledger").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        assert!(std::env::var_os("FLORIN_CI").is_none(), "where everything is tested, hledger is there");
        eprintln!("skipped: there is no hledger on this machine (Debian: apt-get install hledger)");
    }
    found
}

fn export(town: &Town) -> (String, AccountsReport) {
    let report = accounts(&town.operator.lanes).unwrap();
    let mut out = Vec::new();
    let mut export = Export::begin(&mut out, &report).unwrap();
    let mut query = Export::<Vec<u8>>::query(&report);
    loop {
        let page = journal_page(&town.operator.lanes, &query).unwrap();
        page.lines.iter().for_each(|line| export.record(line).unwrap());
        if page.next.is_none() {
            break;
        }
        query.place = page.next;
    }
    export.end().unwrap();
    (String::from_utf8(out).unwrap(), report)
}

/// Everything that hledger can check of such a file; what it says if it does not agree.
fn judged(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).unwrap();
    let checks = ["accounts", "commodities", "balancednoautoconversion", "assertions", "ordereddates"];
    let judged = Command::new("hledger").arg("-f").arg(file).arg("check").args(checks).output().unwrap();
    let said = String::from_utf8_lossy(&judged.stderr).into_owned();
    if judged.status.success() { Ok(()) } else { Err(said) }
}

/// Account by account, what hledger adds up.
fn balances(file: &Path) -> BTreeMap<String, String> {
    let args = ["balance", "--flat", "--no-total", "--empty", "--output-format", "csv"];
    let judged = Command::new("hledger").arg("-f").arg(file).args(args).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    let text = String::from_utf8(judged.stdout).unwrap();
    let rows = text.lines().skip(1).map(|l| l.trim_matches('"').split_once("\",\"").unwrap());
    rows.map(|(account, balance)| (account.to_owned(), balance.to_owned())).collect()
}

async fn busy() -> Town {
    let town = Town::new();
    town.bank.credits(1_234_567, "FLORIN CAPITAL");
    town.bank.credits(77, "who knows");
    town.news().await;
    let back = town.pays(1_250).await;
    town.bank.enters(1_250, Some(back), "return");
    town.bank.tells(BankNews::Returned(back, "AC04".into()));
    let no = town.asks(Direction::Credit, 40).await;
    town.sends().await;
    town.bank.tells(BankNews::Rejected(no, "AM04".into()));
    town.pays(1).await;
    town.news().await;
    town.issues(685, 200, 3);
    town.issues(685, 5, 10);
    town
}

#[tokio::test]
async fn hledger_finds_the_export_balanced_with_the_balances_of_the_books() {
    if !is_there() {
        return;
    }
    let town = busy().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("florin.journal");
    let (text, report) = export(&town);
    judged(&file, &text).unwrap_or_else(|said| panic!("{said}\n{text}"));
    let ours: BTreeMap<String, String> = report
        .accounts
        .iter()
        .map(|a| (a.account.clone(), format!("{} {}", a.together.amount, a.currency)))
        .collect();
    let mut theirs = balances(&file);
    theirs.retain(|_, balance| balance != "0" && !balance.starts_with("0.00"));
    assert_eq!(theirs, ours);
    assert!(ours.len() >= 4, "{ours:?}");
}

#[tokio::test]
async fn where_records_were_dropped_the_export_begins_with_what_stands_in_their_place() {
    if !is_there() {
        return;
    }
    let town = busy().await;
    // A segment of the second copy ends here, and all is folded by the time it is opened again.
    for house in [&town.operator.lanes.identity, &town.operator.lanes.books] {
        house.books.strip(Timestamp(0), Timestamp(u64::MAX)).unwrap();
    }
    town.pays(300).await;
    town.news().await;
    town.issues(685, 20, 2);
    let town = town.again();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("florin.journal");
    let (whole, before) = export(&town);
    judged(&file, &whole).unwrap();
    let held = balances(&file);
    for house in [&town.operator.lanes.identity, &town.operator.lanes.books] {
        assert!(house.books.drop_before(house.books.durable(), &|_| vec![1]).unwrap().is_some());
    }
    // A coin whose issue was dropped is what it is all the same; one that never was is none.
    let books = &town.operator.lanes.books;
    let first = books.books.view(|l| l.live().counted().next().unwrap()).unwrap();
    let state = |counter| {
        let number =
            TokenNumber { lane: BOOKS, epoch: first.epoch, denomination: first.denomination, counter };
        coin_state(books, &town.operator.issuer, number, Timestamp(0)).unwrap().state
    };
    assert_eq!([state(0), state(first.issued)], ["live", "never-issued"]);
    let (text, report) = export(&town);
    assert!(report.lanes.iter().all(|l| l.opening.as_ref().unwrap().seq > 0));
    assert_eq!(report.accounts, before.accounts);
    judged(&file, &text).unwrap_or_else(|said| panic!("{said}\n{text}"));
    assert_eq!(balances(&file), held);
    assert!(text.contains("opening") && text.len() < whole.len(), "{text}");
}

#[tokio::test]
async fn hledger_finds_every_change_of_the_export() {
    if !is_there() {
        return;
    }
    let town = busy().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("florin.journal");
    let (text, _) = export(&town);
    judged(&file, &text).unwrap();
    let one = "  -12.50 FLO";
    assert!(text.contains(one) && text.contains("  12.50 FLO"));
    let said = judged(&file, &text.replacen(one, "  -12.51 FLO", 1)).unwrap_err();
    assert!(said.contains("unbalanced") || said.contains("balance"), "{said}");
    // Both sides of every movement: each transaction balances, and the accounts do not hold what the books say.
    let both = text.replace("  -0.01 FLO", "  -0.02 FLO").replace("  0.01 FLO", "  0.02 FLO");
    assert_ne!(both, text);
    let said = judged(&file, &both).unwrap_err();
    assert!(said.contains("assertion"), "{said}");
    // A transaction that is missing, one that stands twice, one on another account.
    let begin = text.find("bank-credited").and_then(|at| text[..at].rfind('\n')).unwrap() + 1;
    let end = begin + text[begin..].find("\n\n").unwrap() + 2;
    let transaction = text[begin..end].to_owned();
    judged(&file, &text.replacen(&transaction, "", 1)).unwrap_err();
    judged(&file, &text.replacen(&transaction, &transaction.repeat(2), 1)).unwrap_err();
    let moved = transaction.replace("equity:capital", "equity:suspense");
    assert_ne!(moved, transaction);
    judged(&file, &text.replacen(&transaction, &moved, 1)).unwrap_err();
    // An account that nobody has declared.
    let strange = transaction.replace("equity:capital", "equity:capitol");
    judged(&file, &text.replacen(&transaction, &strange, 1)).unwrap_err();
}

#[tokio::test]
async fn an_operator_without_a_single_posting_exports_an_empty_journal() {
    if !is_there() {
        return;
    }
    let town = Town::new();
    let dir = tempfile::tempdir().unwrap();
    let (text, report) = export(&town);
    assert!(report.accounts.is_empty());
    judged(&dir.path().join("florin.journal"), &text).unwrap();
}
