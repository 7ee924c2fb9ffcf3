//! Orders of two key holders by command: beside a running operator and on a stopped one, in one place and in two; and what a
//! wallet does when its epoch is revoked. Source: docs/operator.md, "Two key holders".
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use support::{Home, free_address};

fn current(home: &Home) -> u64 {
    let epochs = home.json(&["operator", "epochs"]);
    let all = epochs["epochs"].as_array().unwrap().clone();
    let issuing: Vec<_> = all.iter().filter(|e| e["state"] == "issuing").collect();
    assert_eq!(issuing.len(), 1, "{epochs}");
    issuing[0]["epoch"].as_u64().unwrap()
}

fn slug(json: &serde_json::Value) -> &str {
    json["error"]["slug"].as_str().unwrap_or_default()
}

/// A wallet with 10.00 FLO.
fn wallet(home: &Home, bank: &str, operator: &str) {
    let account = home.ok(&["bank", "open", "--bank", bank, "--name", "Alice"]);
    let account = account.lines().next().unwrap().to_owned();
    home.ok(&["bank", "deposit", &account, "50.00 FLO"]);
    home.ok(&["wallet", "init", "--no-passphrase", "--operator", operator]);
    home.ok(&["wallet", "register"]);
    home.ok(&["wallet", "enrol", "--account", &account]);
    let code = home.ok(&["bank", "code", &account]);
    home.ok(&["wallet", "enrol", "--code", code.trim()]);
    home.ok(&["wallet", "buy", "10.00 FLO"]);
}

#[test]
fn two_key_holders_rotate_and_revoke_while_it_runs_and_while_it_does_not() {
    let home = Home::new();
    let (bank_at, operator_at) = (free_address(), free_address());
    let bank = home.start(&["bank", "serve", "--no-passphrase", "--listen", &bank_at]);
    home.ok(&["operator", "init", "--no-passphrase", "--bank", &bank.url, "--listen", &operator_at]);
    let holder =
        |n: u8| home.path(&format!("keys/operator/holders/holder-{n}.key")).to_str().unwrap().to_owned();
    let (a, b) = (holder(1), holder(2));
    let operator = home.start(&["operator", "serve"]);
    let first = current(&home);

    // In one place.
    let one = home.fails(&["operator", "rotate", "--holder", &a], 1);
    assert_eq!(slug(&one), "order-needs-two");
    let same = home.fails(&["operator", "rotate", "--holder", &a, "--holder", &a], 1);
    assert_eq!(slug(&same), "order-same-holder");
    assert_eq!(current(&home), first);
    home.ok(&["operator", "rotate", "--holder", &a, "--holder", &b]);
    assert_eq!(current(&home), first + 1);

    // In two places, for a wallet's epoch.
    wallet(&home, &bank.url, &operator.url);
    let order = home.path("revoke.order").to_str().unwrap().to_owned();
    let number = (first + 1).to_string();
    let why = ["--reason", "the tag key was seen"];
    home.ok(&["operator", "order", "--out", &order, "revoke-epoch", &number, why[0], why[1]]);
    assert_eq!(slug(&home.fails(&["operator", "execute", &order], 1)), "order-needs-two");
    home.ok(&["operator", "sign", &order, "--holder", &b]);
    assert_eq!(slug(&home.fails(&["operator", "sign", &order, "--holder", &b], 1)), "order-same-holder");
    home.ok(&["operator", "sign", &order, "--holder", &a]);
    home.ok(&["operator", "execute", &order]);
    assert_eq!(slug(&home.fails(&["operator", "execute", &order], 1)), "order-replayed");
    assert_eq!(current(&home), first + 2);
    home.ok(&["wallet", "status"]);
    let epochs = home.json(&["operator", "epochs"]);
    let revoked = &epochs["epochs"][1];
    assert_eq!(
        (revoked["state"].as_str(), revoked["coins"].as_u64()),
        (Some("revoked"), Some(0)),
        "{epochs}"
    );
    assert_eq!(epochs["epochs"][2]["worth"], "10.00 FLO", "the wallet has exchanged its coins: {epochs}");
    assert_eq!(home.json(&["wallet", "late"])["late"].as_array().map(Vec::len), Some(0));
    let honour = ["operator", "honour", "--coins", "florincoins1", "--to", "DE89370400440532013000"];
    assert_eq!(slug(&home.fails(&honour, 1)), "coins-unreadable");

    // On a stopped operator.
    assert_eq!(operator.stop(), 0);
    assert_eq!(slug(&home.fails(&["operator", "execute", &order], 1)), "order-replayed");
    let in_use =
        home.fails(&["operator", "drop-epoch", &first.to_string(), "--holder", &a, "--holder", &b], 1);
    assert_eq!(slug(&in_use), "epoch-cannot");
    home.ok(&["operator", "rotate", "--holder", &b, "--holder", &a]);
    assert_eq!(current(&home), first + 3);
    let audit = home.json(&["operator", "audit"]);
    assert_eq!(audit["findings"].as_array().map(Vec::len), Some(0), "{audit}");
}
