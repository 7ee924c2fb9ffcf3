//! Retention with the real program: seeds go, and what is owed is answered all the same; what only serves repeats goes, the disk shrinks, the audit stays clean. Source: books.md, "Retention".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use florin_bench::{Market, Programs};
use florin_http::{Client, ClientConfig};
use florin_money::{Amount, CoinList, DENOMINATIONS_DEFAULT, Denominations};
use florin_shell::exchange::CONTENT_TYPE;

const FLORIN: &str = env!("CARGO_BIN_EXE_florin");

/// Bytes of both copies of both lanes: the second copies, and what is in use of the SQLite files.
fn second_copies(state: &Path) -> u64 {
    let lanes = ["identity", "books"].map(|lane| state.join(lane));
    let files = lanes.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()));
    let second = files.filter(|f| f.file_name().unwrap().to_str().unwrap().starts_with("second-0"));
    second.map(|f| f.metadata().unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeds_go_and_what_was_paid_is_told_all_the_same() {
    let payments: usize = std::env::var("FLORIN_PAYMENTS").map_or(40, |n| n.parse().unwrap());
    let top = tempfile::tempdir().unwrap();
    let (programs, state) = (Programs::new(FLORIN), top.path().join("operator"));
    let bank = programs.bank(&top.path().join("bank")).unwrap();
    programs.init_operator(&state, bank.url()).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let operator = programs.operator(&state, any).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let http = Client::new(ClientConfig::default()).unwrap();
    let market = Market::open(http, operator.url(), bank.url()).await.unwrap().logging(Arc::clone(&log));
    let customer = market.enrol("Customer", Amount::new(1_000_000, market.currency())).await.unwrap();
    let d = Denominations::one_two_five(market.currency(), DENOMINATIONS_DEFAULT);
    let list = CoinList::of_values(d.split_minor(1_234).unwrap().values()).unwrap();
    let mut coins = market.buy(&customer, list.clone()).await.unwrap();
    for _ in 0..payments {
        coins = market.pay(&customer.holder, coins, list.clone()).await.unwrap();
    }
    let answers = std::mem::take(&mut *log.lock().unwrap());
    for read in answers.iter().filter(|a| a.path.contains("validation")).take(3) {
        assert!(market.ask(&read.path, &read.body).await.unwrap() == read.reply, "the same answer");
    }
    let (full, address) = (second_copies(&state), operator.address().unwrap());
    operator.kill().unwrap();

    // Everything is past its time at once, and is looked for every second.
    let settings = std::fs::read_to_string(state.join("operator.toml")).unwrap();
    let short =
        settings.replace("seed_days = 30", "seed_days = 0").replace("_every_s = 3600", "_every_s = 1");
    assert_ne!(short, settings);
    std::fs::write(state.join("operator.toml"), short).unwrap();
    let operator = programs.operator(&state, address).unwrap();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if second_copies(&state) < full * 9 / 10 {
            break;
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let small = second_copies(&state);
    println!("{payments} payments: second copies {full} bytes with seeds, {small} without");
    assert!(small < full, "{full} {small}");
    let (mut repeated, plain) = (0, Client::new(ClientConfig::default()).unwrap());
    for read in answers.iter().filter(|a| a.path.contains("validation")) {
        let url = format!("{}{}", operator.url(), read.path);
        let answer = plain.post(&url, CONTENT_TYPE, read.body.clone()).await.unwrap();
        assert!(answer.body == read.reply, "what is owed is answered from the rest of the record");
        repeated += 1;
    }
    assert_eq!(repeated, payments);
    // The coins are what they were, and so are the books.
    market.pay(&customer.holder, coins, list).await.unwrap();
    let stopped = Command::new("kill").args(["-TERM", &operator.pid().to_string()]).status().unwrap();
    assert!(stopped.success());
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(operator);
    assert_eq!(programs.audit(&state).unwrap().code(), Some(0), "florin operator audit");
}
