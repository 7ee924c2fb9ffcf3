//! The books for people, by the commands themselves: tables, JSON and CSV, beside a running operator and on a stopped one;
//! the audit beside the bank's statement; pay-outs stopped and resumed; the export that hledger checks.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Home, Program, free_address, until};

/// A bank, an operator and a wallet that has bought and redeemed.
struct Town {
    home: Home,
    bank: Option<Program>,
    operator: Option<Program>,
    bank_at: String,
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap().to_owned()
}

impl Town {
    fn new() -> Self {
        let home = Home::new();
        let (bank_at, operator_at) = (free_address(), free_address());
        let bank = home.start(&["bank", "serve", "--no-passphrase", "--listen", &bank_at]);
        let url = bank.url.clone();
        home.ok(&["operator", "init", "--no-passphrase", "--bank", &url, "--listen", &operator_at]);
        let settings = home.path("state/operator/operator.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        assert!(text.contains("reconcile_every_ms = 900000"), "{text}");
        std::fs::write(&settings, text.replace("reconcile_every_ms = 900000", "reconcile_every_ms = 300"))
            .unwrap();
        let operator = home.start(&["operator", "serve"]);
        let operator_url = operator.url.clone();
        let account = first_line(&home.ok(&["bank", "open", "--bank", &url, "--name", "Alice"]));
        home.ok(&["bank", "deposit", &account, "50.00 FLO"]);
        home.ok(&["wallet", "init", "--no-passphrase", "--operator", &operator_url]);
        home.ok(&["wallet", "register"]);
        home.ok(&["wallet", "enrol", "--account", &account]);
        let code = home.ok(&["bank", "code", &account]);
        home.ok(&["wallet", "enrol", "--code", code.trim()]);
        home.ok(&["wallet", "buy", "10.00 FLO"]);
        home.ok(&["wallet", "redeem", "3.00 FLO"]);
        Self { home, bank: Some(bank), operator: Some(operator), bank_at }
    }

    /// What must be the same beside a running operator and without it.
    fn reports(&self) -> BTreeMap<&'static str, String> {
        let commands: [(&str, &[&str]); 9] = [
            ("books", &["operator", "books"]),
            ("books csv", &["operator", "books", "--csv"]),
            ("journal", &["operator", "journal", "--lane", "books"]),
            ("journal csv", &["operator", "journal", "--lane", "books", "--csv"]),
            ("payments", &["operator", "journal", "--kind", "redeem"]),
            ("circulation", &["operator", "circulation"]),
            ("by epoch", &["operator", "circulation", "--by", "epoch", "--csv"]),
            ("by age", &["operator", "circulation", "--by", "age"]),
            ("payouts", &["operator", "payouts", "show"]),
        ];
        commands.into_iter().map(|(name, args)| (name, self.home.ok(args))).collect()
    }

    fn stop_operator(&mut self) {
        assert_eq!(self.operator.take().unwrap().stop(), 0);
    }

    fn findings(&self, code: i32) -> Vec<String> {
        let output = self.home.run(&["--json", "operator", "audit"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_str(text.trim()).unwrap();
        report["findings"].as_array().unwrap().iter().map(|f| f.as_str().unwrap().to_owned()).collect()
    }

    /// Every order is booked and read.
    fn quiet(&self) {
        until("everything is at rest", Duration::from_secs(30), || {
            let books = self.home.json(&["operator", "books"]);
            let open =
                |name: &str| books["accounts"].as_array().unwrap().iter().any(|a| a["account"] == name);
            !open("liabilities:in-flight") && !open("liabilities:paid-not-issued")
        });
    }
}

#[test]
fn the_books_are_read_the_same_beside_a_running_operator_and_without_it() {
    let mut town = Town::new();
    town.quiet();
    let home = &town.home;
    let running = town.reports();
    assert!(running["books"].contains("Everything"), "{}", running["books"]);
    assert!(running["journal"].contains("redeem"), "{}", running["journal"]);
    assert!(running["payments"].contains("spent") && running["payments"].contains("  by party_"));
    assert!(running["journal csv"].starts_with("lane,seq,time,what,party,request,line,"));
    assert!(running["by epoch"].contains("issued"), "{}", running["by epoch"]);
    assert!(running["payouts"].contains("Pay-outs go out."));
    let circulation = home.json(&["operator", "circulation"]);
    assert_eq!(circulation["total"]["live_worth"]["amount"], "7.00");
    let books = home.json(&["operator", "books"]);
    let coins = books["accounts"].as_array().unwrap().iter();
    let coins = coins.clone().find(|a| a["account"] == "liabilities:circulation:0").unwrap();
    assert_eq!(
        (&coins["together"]["amount"], &coins["together"]["minor"]),
        (&"-7.00".into(), &(-700).into())
    );
    let three = home.ok(&["--json", "operator", "journal", "--limit", "3"]);
    let three: Vec<Value> = three.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(three.len(), 3);
    assert_eq!(three[0]["seq"], 1);
    for (args, message) in [
        (["operator", "journal", "--from", "17"], "say of which lane"),
        (["operator", "journal", "--from", "yesterday"], "neither a number nor a time"),
        (["operator", "journal", "--lane", "third"], "is no lane"),
    ] {
        let said = home.fails(&args, 2);
        assert!(said["error"]["message"].as_str().unwrap().contains(message), "{said}");
    }
    let url = &town.operator.as_ref().unwrap().url;
    for (method, page) in [
        ("GET", "audit"),
        ("GET", "books"),
        ("GET", "circulation/epoch"),
        ("GET", "payouts"),
        ("POST", "journal"),
        ("POST", "payouts"),
    ] {
        let method = method.parse().unwrap();
        let (status, body) =
            asked(method, &format!("{url}/admin/{page}"), "AAAA", &serde_json::json!({"reason": "x"}));
        assert!(status == 403 && body.contains("not-admin"), "{page}: {status} {body}");
    }
    // Nobody's name is in it: participants are ids.
    for report in running.values() {
        assert!(!report.contains("Alice"), "{report}");
    }
    town.stop_operator();
    let stopped = town.reports();
    for (name, text) in &running {
        let (a, b): (Vec<_>, Vec<_>) = (text.lines().collect(), stopped[name].lines().collect());
        // The identity lane may have noted meanwhile how far the statement was compared.
        let same = |l: &&&str| !l.starts_with("lane identity:");
        assert_eq!(
            a.iter().filter(same).collect::<Vec<_>>(),
            b.iter().filter(same).collect::<Vec<_>>(),
            "{name}"
        );
    }
}

#[test]
fn the_audit_looks_at_the_statement_and_what_differs_stops_pay_outs() {
    let mut town = Town::new();
    town.quiet();
    assert_eq!(town.findings(0), Vec::<String>::new());
    let audit = town.home.ok(&["operator", "audit"]);
    assert!(audit.contains("Bank: its statement agrees with the books"), "{audit}");
    // Somebody takes money out of the operator's account, past the operator.
    let account = town.home.ok(&["operator", "config", "show"]);
    let account = account.lines().find_map(|l| l.strip_prefix("bank.account = ")).unwrap();
    let account = account.split('"').nth(1).unwrap().trim_start_matches("payto://iban/").to_owned();
    let bank = format!("http://{}", town.bank_at);
    let thief = first_line(&town.home.ok(&["bank", "open", "--bank", &bank, "--name", "Thief"]));
    let access = std::fs::read_to_string(town.home.path("state/operator/bank.access")).unwrap();
    let client = serde_json::json!({
        "txid": "tx_00000000000000000000000000000077", "to": thief, "amount": "5.00 FLO", "remittance": "mine"
    });
    transfer(&format!("http://{}/accounts/{account}/transfers", town.bank_at), access.trim(), &client);
    until("pay-outs are stopped", Duration::from_secs(30), || {
        !town.home.json(&["operator", "payouts", "show"])["stopped"].is_null()
    });
    let found = town.findings(65);
    assert!(
        found.len() == 1
            && found[0].starts_with("bank: entry-not-in-books: entry ")
            && found[0].contains("-5.00 FLO"),
        "{found:?}"
    );
    assert!(town.home.ok(&["operator", "owed"]).contains("Pay-outs are stopped since"));
    // What is redeemed now waits.
    town.home.run(&["wallet", "redeem", "1.00 FLO"]);
    let in_flight = || {
        let books = town.home.json(&["operator", "books"]);
        let all = books["accounts"].as_array().unwrap().clone();
        all.iter().find(|a| a["account"] == "liabilities:in-flight").map(|a| a["together"]["minor"].clone())
    };
    until("it waits", Duration::from_secs(30), || in_flight() == Some((-100).into()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(in_flight(), Some((-100).into()));
    town.home.fails(&["operator", "payouts", "resume", "--reason", " "], 2);
    let said = town.home.ok(&["operator", "payouts", "resume", "--reason", "the thief is found"]);
    assert!(said.contains("the thief is found") && said.contains("-5.00 FLO"), "{said}");
    until("it is paid", Duration::from_secs(60), || in_flight().is_none());
    assert_eq!(town.findings(0), Vec::<String>::new());
    town.home.fails(&["operator", "payouts", "resume", "--reason", "again"], 1);
    // A bank that is away is no finding, beside a running operator and without it.
    town.bank.take().unwrap().kill();
    let audit = town.home.ok(&["operator", "audit"]);
    assert!(audit.contains("Bank: its statement was not compared"), "{audit}");
    town.stop_operator();
    let audit = town.home.ok(&["operator", "audit"]);
    assert!(audit.contains("Bank: its statement was not compared"), "{audit}");
    let payouts = town.home.ok(&["operator", "payouts", "show"]);
    assert!(payouts.contains("the thief is found"), "{payouts}");
}

/// One request to the sandbox bank with the secret of an account.
fn transfer(url: &str, access: &str, body: &Value) {
    let (status, said) = asked(axum::http::Method::POST, url, access, body);
    assert_eq!(status, 200, "{said}");
}

/// One request with a bearer's secret: status and body.
fn asked(method: axum::http::Method, url: &str, access: &str, body: &Value) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let http = florin_http::Client::new(florin_http::ClientConfig::default()).unwrap();
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {access}").parse().unwrap());
        headers.insert("content-type", "application/json".parse().unwrap());
        let body = serde_json::to_vec(body).unwrap();
        let answer = http.request(method, url, headers, body.into(), 65_536).await.unwrap();
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
    })
}

fn hledger(file: &Path, args: &[&str]) -> std::process::Output {
    Command::new("hledger").arg("-f").arg(file).args(args).output().unwrap()
}

const CHECK: [&str; 6] =
    ["check", "accounts", "commodities", "balancednoautoconversion", "assertions", "ordereddates"];

#[test]
fn hledger_checks_the_export_and_finds_the_balances_of_the_books() {
    if Command::new("hledger").arg("--version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("FLORIN_CI").is_none(), "where everything is tested, hledger is there");
        eprintln!("skipped: there is no hledger on this machine (Debian: apt-get install hledger)");
        return;
    }
    let mut town = Town::new();
    town.quiet();
    let beside = town.home.path("beside.journal");
    let report =
        town.home.ok(&["operator", "audit", "--export", "hledger", "--out", beside.to_str().unwrap()]);
    assert!(report.contains("Audit: clean"), "{report}");
    let csv = town.home.ok(&["operator", "books", "--csv"]);
    town.stop_operator();
    let apart = town.home.path("apart.journal");
    std::fs::write(&apart, town.home.ok(&["operator", "audit", "--export", "hledger"])).unwrap();
    for file in [&beside, &apart] {
        let checked = hledger(file, &CHECK);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let balance = hledger(file, &["balance", "--flat", "--no-total", "--output-format", "csv"]);
        let balance = String::from_utf8(balance.stdout).unwrap();
        let theirs: BTreeMap<String, String> = balance
            .lines()
            .skip(1)
            .map(|l| l.trim_matches('"').split_once("\",\"").unwrap())
            .map(|(account, amount)| (account.to_owned(), amount.to_owned()))
            .collect();
        // group,account,currency,identity,identity_minor,books,books_minor,together,together_minor
        let ours: BTreeMap<String, String> = csv
            .lines()
            .skip(1)
            .map(|l| l.split(',').collect::<Vec<_>>())
            .filter(|row| row[0] != "total" && row[8] != "0")
            .map(|row| (row[1].to_owned(), format!("{} {}", row[7], row[2])))
            .collect();
        assert_eq!(theirs, ours);
        let text = std::fs::read_to_string(file).unwrap();
        let tampered = text.replacen("  10.00 FLO", "  10.01 FLO", 1);
        assert_ne!(text, tampered);
        let other = town.home.path("tampered.journal");
        std::fs::write(&other, tampered).unwrap();
        assert!(!hledger(&other, &CHECK).status.success());
    }
}
