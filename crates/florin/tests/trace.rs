//! A court's order by the commands: two key holders' files of their own, a purchase that is followed to its payment, and
//! the log; beside a running operator and on a stopped one. Source: docs/operator.md, "A court's order".
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use std::process::Stdio;

use serde_json::Value;
use support::{Home, free_address};

fn slug(json: &Value) -> &str {
    json["error"]["slug"].as_str().unwrap_or_default()
}

/// Two people make their files, and the settings name them instead of those that `init` has made.
fn own_key_holders(home: &Home) -> [String; 2] {
    let settings = home.path("state/operator/operator.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let mut table: toml::Table = text.parse().unwrap();
    let mut named = Vec::new();
    let mut make = |name: &str| {
        let file = home.path(&format!("{name}.key")).to_str().unwrap().to_owned();
        let args = ["operator", "key-holder", "--name", name, "--file", &file, "--no-passphrase"];
        let said = home.ok(&args);
        let block: toml::Table = said.split_once("[[key_holder]]").unwrap().1.parse().unwrap();
        assert_eq!(block["name"].as_str(), Some(name));
        named.push(toml::Value::Table(block));
        home.fails(&args, 73);
        file
    };
    let files = [make("Ada"), make("Bob")];
    table.insert("key_holder".to_owned(), toml::Value::Array(named));
    std::fs::write(&settings, table.to_string()).unwrap();
    std::fs::remove_dir_all(home.path("keys/operator/holders")).unwrap();
    files
}

/// A purchase and its payment: 10.00 bought, 2.50 of it paid to another person.
fn bought_and_paid(home: &Home, bank: &str, operator: &str) -> (String, String) {
    let account = home.ok(&["bank", "open", "--bank", bank, "--name", "Alice"]);
    let account = account.lines().next().unwrap().to_owned();
    home.ok(&["bank", "deposit", &account, "50.00 FLO"]);
    let bob = home.path("bob").to_str().unwrap().to_owned();
    home.ok(&["wallet", "init", "--no-passphrase", "--operator", operator]);
    home.ok(&["wallet", "init", "--dir", &bob, "--no-passphrase", "--operator", operator]);
    home.ok(&["wallet", "register", "--name", "alice"]);
    home.ok(&["wallet", "register", "--dir", &bob, "--name", "bob"]);
    home.ok(&["wallet", "enrol", "--account", &account]);
    home.ok(&["wallet", "enrol", "--code", home.ok(&["bank", "code", &account]).trim()]);
    home.ok(&["wallet", "buy", "10.00 FLO"]);
    // The purchase as the operator knows it.
    let bought =
        home.json(&["operator", "journal", "--kind", "purchase"])["detail"].as_str().unwrap().to_owned();
    let asked = home.ok(&["wallet", "request", "--dir", &bob, "2.50 FLO", "--for", "lunch", "--no-wait"]);
    let invoice = asked.lines().find(|line| line.starts_with("florininvoice1")).unwrap();
    // The payee has to be there for it.
    let mut pay = home.command(&["--json", "wallet", "pay", invoice]).stdout(Stdio::piped()).spawn().unwrap();
    while pay.try_wait().unwrap().is_none() {
        home.run(&["wallet", "status", "--dir", &bob]);
    }
    let paid: Value = serde_json::from_slice(&pay.wait_with_output().unwrap().stdout).unwrap();
    (bought, paid["id"].as_str().unwrap().to_owned())
}

/// The payments that a trace shows.
fn payments(report: &Value) -> Vec<&str> {
    let steps = report["trail"]["steps"].as_array().unwrap().iter();
    steps.filter(|s| s["what"] == "paid").map(|s| s["reference"].as_str().unwrap()).collect()
}

fn entries(home: &Home) -> usize {
    let log = home.json(&["operator", "trace", "--log"]);
    assert_eq!(log["findings"].as_array().map(Vec::len), Some(0), "{log}");
    log["entries"].as_array().unwrap().len()
}

#[test]
fn both_key_holders_follow_a_purchase_to_its_payment_and_one_of_them_does_not() {
    let home = Home::new();
    let (bank_at, operator_at) = (free_address(), free_address());
    let bank = home.start(&["bank", "serve", "--no-passphrase", "--listen", &bank_at]);
    home.ok(&["operator", "init", "--no-passphrase", "--bank", &bank.url, "--listen", &operator_at]);
    let [a, b] = own_key_holders(&home);
    let operator = home.start(&["operator", "serve"]);
    let (bought, paid) = bought_and_paid(&home, &bank.url, &operator.url);

    // Not one of them, nor one twice, nor a stranger, nor without a reason: and nothing is logged.
    let stranger = home.path("stranger.key").to_str().unwrap().to_owned();
    home.ok(&["operator", "key-holder", "--name", "Ada", "--file", &stranger, "--no-passphrase"]);
    let why = "District Court, 12 O 345/26";
    for (holders, reason, code, expected) in [
        (vec![], why, 1, "order-needs-two"),
        (vec![&a], why, 1, "order-needs-two"),
        (vec![&a, &a], why, 1, "order-same-holder"),
        (vec![&stranger, &b], why, 1, "order-not-by-holder"),
        (vec![&a, &b], " ", 2, "trace-without-reason"),
    ] {
        let mut args = vec!["operator", "trace", "--purchase", &bought, "--reason", reason];
        holders.iter().for_each(|file| args.extend(["--holder", file.as_str()]));
        assert_eq!(slug(&home.fails(&args, code)), expected, "{args:?}");
    }
    assert_eq!(entries(&home), 0);

    // In one place.
    let both = ["--holder", a.as_str(), "--holder", b.as_str()];
    let trace = |what: &[&str]| home.json(&[&["operator", "trace"], what, &both].concat());
    let report = trace(&["--purchase", &bought, "--reason", why]);
    assert_eq!((payments(&report), report["boxes"].as_u64()), (vec![paid.as_str()], Some(1)), "{report}");
    assert_eq!(report["purchases"][0]["name"], "alice");
    let report = trace(&["--payment", &paid, "--reason", why]);
    assert_eq!(report["purchases"][0]["purchase"], bought.as_str(), "{report}");
    assert_eq!(entries(&home), 2);

    // Signed in two.
    let order = home.path("trace.order").to_str().unwrap().to_owned();
    home.ok(&["operator", "order", "--out", &order, "trace", "--purchase", &bought, "--reason", why]);
    let carried_out = [&["operator", "trace", "--order", &order], both.as_slice()].concat();
    assert_eq!(slug(&home.fails(&carried_out, 1)), "order-needs-two");
    let said = home.ok(&["operator", "sign", &order, "--holder", &b]);
    assert!(said.contains(&format!("you sign: trace purchase {bought}: {why}")), "{said}");
    home.ok(&["operator", "sign", &order, "--holder", &a]);
    assert_eq!(slug(&home.fails(&["operator", "execute", &order], 1)), "order-other-command");
    let one = ["operator", "trace", "--order", &order, "--holder", &b];
    assert_eq!(slug(&home.fails(&one, 1)), "order-needs-two", "signed, but nobody to open the box");
    assert_eq!(entries(&home), 2);
    let report = home.json(&carried_out);
    assert_eq!((payments(&report), report["entry"].as_u64()), (vec![paid.as_str()], Some(3)), "{report}");

    // On a stopped operator: the same order again is the same entry.
    assert_eq!(operator.stop(), 0);
    assert_eq!(home.json(&carried_out), report);
    let log = home.ok(&["operator", "trace", "--log"]);
    assert!(
        log.contains("by Bob and Ada") && log.contains(why) && log.contains("The chain is whole."),
        "{log}"
    );
    assert!(log.contains("3 orders, 3 boxes opened"), "{log}");
}
