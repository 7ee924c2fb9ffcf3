//! An operator whose coins are tagged in a token: SoftHSM 2, Debian's package softhsm2. Bought, paid, started again; and
//! another token, a wrong PIN, a token taken away. Where the package is missing the test says so, except in CI.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Home, Program, free_address};

const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

/// A folder of tokens.
struct Tokens {
    conf: PathBuf,
    library: &'static str,
}

impl Tokens {
    fn new(home: &Home) -> Option<Self> {
        let Some(library) = LIBRARIES.into_iter().find(|path| Path::new(path).exists()) else {
            assert!(std::env::var_os("FLORIN_CI").is_none(), "CI must have the package softhsm2");
            eprintln!("skipped: no SoftHSM 2 here (Debian: apt-get install softhsm2)");
            return None;
        };
        let (conf, folder) = (home.path("softhsm2.conf"), home.path("tokens"));
        fs::create_dir(&folder).unwrap();
        fs::write(&conf, format!("directories.tokendir = {}\n", folder.display())).unwrap();
        Some(Self { conf, library })
    }

    fn add(&self, label: &str, pin: &str) {
        let mut util = Command::new("softhsm2-util");
        util.args(["--init-token", "--free", "--so-pin", "87654321", "--label", label, "--pin", pin]);
        assert!(util.env("SOFTHSM2_CONF", &self.conf).output().unwrap().status.success());
    }

    fn run(&self, home: &Home, args: &[&str]) -> std::process::Output {
        home.command(args)
            .env("SOFTHSM2_CONF", &self.conf)
            .stderr(std::process::Stdio::piped())
            .output()
            .unwrap()
    }

    fn serve(&self, home: &Home) -> Program {
        home.start_with(&["operator", "serve"], &[("SOFTHSM2_CONF", self.conf.to_str().unwrap())])
    }
}

/// Buys 3.00 and redeems 1.00: coins are tagged, checked, changed.
fn buy_and_redeem(home: &Home, account: &str) {
    home.ok(&["bank", "deposit", account, "10.00 FLO"]);
    home.ok(&["wallet", "buy", "3.00 FLO", "--new"]);
    home.ok(&["wallet", "redeem", "1.00 FLO"]);
}

fn with_token(mode: &str) {
    let home = Home::new();
    let Some(tokens) = Tokens::new(&home) else { return };
    tokens.add("florin", "1234");
    let pin = home.path("pin");
    fs::write(&pin, "1234\n").unwrap();
    let (bank_at, operator_at) = (free_address(), free_address());
    let bank = home.start(&["bank", "serve", "--no-passphrase", "--listen", &bank_at]);
    let init = [
        ["operator", "init", "--no-passphrase"].as_slice(),
        &["--bank", &bank.url, "--listen", &operator_at, "--module-mode", mode],
        &["--module-library", tokens.library, "--module-token", "florin"],
        &["--module-pin-file", pin.to_str().unwrap()],
    ]
    .concat();
    let made = tokens.run(&home, &init);
    assert!(made.status.success(), "{made:?}");
    let operator = tokens.serve(&home);
    let account = home.ok(&["bank", "open", "--bank", &bank.url, "--name", "Alice"]);
    let account = account.lines().next().unwrap().to_owned();
    home.ok(&["bank", "deposit", &account, "5.00 FLO"]);
    home.ok(&["wallet", "init", "--no-passphrase", "--operator", &operator.url]);
    home.ok(&["wallet", "register"]);
    home.ok(&["wallet", "enrol", "--account", &account]);
    let code = home.ok(&["bank", "code", &account]).trim().to_owned();
    home.ok(&["wallet", "enrol", "--code", &code]);
    buy_and_redeem(&home, &account);
    operator.kill();

    // Started again, it takes the coins that it has tagged before, and makes more.
    let operator = tokens.serve(&home);
    buy_and_redeem(&home, &account);
    assert_eq!(operator.stop(), 0);
    let audit = tokens.run(&home, &["operator", "audit"]);
    assert!(audit.status.success(), "{audit:?}");

    // Another token, a wrong PIN, none at all, a module in software: it does not serve with keys that are not those of
    // its coins, and the coins stay what they are.
    let fails = |conf: &[(&str, &str)], code: i32| {
        let mut command = home.command(&["operator", "serve"]);
        command.env("SOFTHSM2_CONF", &tokens.conf).envs(conf.iter().copied());
        assert_eq!(command.output().unwrap().status.code(), Some(code), "{conf:?}");
    };
    tokens.add("another", "1234");
    fails(&[("FLORIN_OPERATOR_MODULE__TOKEN", "another")], 69);
    fails(&[("FLORIN_OPERATOR_MODULE__TOKEN", "nowhere")], 78);
    fails(&[("FLORIN_OPERATOR_MODULE__MODE", "software")], 78);
    fails(&[("FLORIN_OPERATOR_MODULE__LIBRARY", "/nowhere.so")], 78);
    fs::write(&pin, "4321").unwrap();
    fails(&[], 69);
    fs::write(&pin, "1234").unwrap();
    let operator = tokens.serve(&home);
    buy_and_redeem(&home, &account);
    assert_eq!(operator.stop(), 0);
}

#[test]
fn coins_are_tagged_in_the_token() {
    with_token("in-token");
}

#[test]
fn coins_are_tagged_under_keys_that_the_token_derives() {
    with_token("derived-daily");
}
