//! A disk crash, with the real programs: the wallet is made again from what was on paper, and says by the operator's
//! books what became of the old coins. docs/wallet.md, "The seed"; VarietyCash §3 (Refund), §2.4.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;

use support::{Home, free_address};

#[test]
fn a_wallet_is_restored_from_its_seed_by_the_commands_of_the_guide() {
    let home = Home::new();
    let at = free_address();
    let bank = home.start(&["bank", "serve", "--no-passphrase", "--listen", "127.0.0.1:0"]);
    home.ok(&["operator", "init", "--no-passphrase", "--bank", &bank.url, "--listen", &at]);
    let operator = home.start(&["operator", "serve"]);
    let account = home.ok(&["bank", "open", "--bank", &bank.url, "--name", "Alice"]);
    let account = account.lines().next().unwrap().to_owned();
    home.ok(&["bank", "deposit", &account, "50.00 FLO"]);
    let init = ["wallet", "init", "--no-passphrase", "--operator", &operator.url];
    home.ok(&init);
    let paper = home.path("paper");
    fs::write(&paper, home.ok(&["wallet", "seed"]).lines().last().unwrap()).unwrap();
    home.ok(&["wallet", "register", "--name", "alice"]);
    home.ok(&["wallet", "enrol", "--account", &account]);
    home.ok(&["wallet", "enrol", "--code", home.ok(&["bank", "code", &account]).trim()]);
    home.ok(&["wallet", "buy", "3.00 FLO", "--named"]);
    home.ok(&["wallet", "buy", "2.00 FLO", "--refundable"]);
    let said = home.ok(&["wallet", "buy", "1.00 FLO"]);
    assert!(said.contains("anonymous"), "{said}");
    home.ok(&["wallet", "redeem", "0.50 FLO"]);
    home.fails(&["wallet", "buy", "1.00 FLO", "--named", "--refundable"], 2);

    // Gone, with its second factor.
    for gone in ["state", "keys"] {
        fs::remove_dir_all(home.path(gone).join("wallet")).unwrap();
    }
    let restore = |file: &str| -> Vec<String> {
        init.iter().map(|a| (*a).to_owned()).chain(["--restore".to_owned(), file.to_owned()]).collect()
    };
    let slipped = home.path("slipped");
    let mut text = fs::read_to_string(&paper).unwrap();
    let last = text.pop().unwrap();
    text.push(if last == 'a' { 'b' } else { 'a' });
    fs::write(&slipped, text).unwrap();
    let bad = restore(slipped.to_str().unwrap());
    home.fails(&bad.iter().map(String::as_str).collect::<Vec<_>>(), 2);
    let good = restore(paper.to_str().unwrap());
    home.ok(&good.iter().map(String::as_str).collect::<Vec<_>>());
    let said = home.ok(&["wallet", "restore"]);
    assert!(said.contains("registered as alice") && said.contains("one-time key 0"), "{said}");
    // What was redeemed was paid with some of the coins; what was not bought for a refund is lost.
    let balance = home.ok(&["wallet", "balance"]);
    let minor: u64 = balance.split(" FLO").next().unwrap().replace('.', "").parse().unwrap();
    assert!((450..=500).contains(&minor), "{balance}");

    let running = home.ok(&["operator", "coin", "--pending"]);
    assert!(running.starts_with("0 claims"), "{running}");
    let first = first_issued(&home);
    let said = home.ok(&["operator", "coin", &first]);
    assert!(said.contains("spent    by refund") && said.contains(", named party_"), "{said}");
    home.fails(&["operator", "coin", "00112233445566778899aabbccddeeff"], 1);
    home.fails(&["operator", "coin", "no coin"], 2);
    assert_eq!(operator.stop(), 0);
    assert_eq!(home.ok(&["operator", "coin", &first]), said, "the same of a stopped operator");
    assert!(home.ok(&["operator", "audit"]).contains("Audit: clean"));
}

/// The largest coin of the first purchase, by its number: nobody but its holder ever sees a coin's id.
fn first_issued(home: &Home) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let epoch = now / (30 * 24 * 60 * 60);
    let numbers = (0..24).rev().map(|denomination| format!("{epoch}.{denomination}.0"));
    let spent = |number: &String| home.ok(&["operator", "coin", number]).contains("  spent  ");
    numbers.into_iter().find(spent).unwrap()
}
