//! No secret in a log, nothing readable at rest, nothing plain beyond loopback: the real programs, logging everything.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::{Home, free_address};

/// Every file below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// The longest run of letters, digits and the signs of base64 in a line.
fn longest_run(line: &str) -> usize {
    line.split(|c: char| !(c.is_ascii_alphanumeric() || "+/_-=".contains(c))).map(str::len).max().unwrap_or(0)
}

#[test]
fn logs_hold_no_secret_and_books_nothing_readable() {
    let home = Home::new();
    let log = home.path("everything.log");
    let site = home.path("site");
    fs::create_dir(&site).unwrap();
    fs::write(site.join("confidential-page.html"), "what is sold").unwrap();
    let Some((mut upstream, upstream_at)) = support::foreign_server(&site) else {
        assert!(std::env::var_os("FLORIN_CI").is_none(), "where everything is tested, python3 is there");
        eprintln!("skipped: there is no python3 on this machine");
        return;
    };
    let (bank_at, operator_at, gate_at) = (free_address(), free_address(), free_address());
    let bank = home.start_logged(&["bank", "serve", "--no-passphrase", "--listen", &bank_at], &log);
    home.ok(&["operator", "init", "--no-passphrase", "--bank", &bank.url, "--listen", &operator_at]);
    let operator = home.start_logged(&["operator", "serve"], &log);
    home.ok(&["gate", "init", "--no-passphrase", "--operator", &operator.url, "--name", "corner-shop"]);
    let price = "0.05 FLO";
    let gate = ["gate", "serve", "--upstream", &upstream_at, "--price", price, "--listen", &gate_at];
    let gate = home.start_logged(&gate, &log);
    let account = home.ok(&["bank", "open", "--bank", &bank.url, "--name", "Alice"]);
    let account = account.lines().next().unwrap().to_owned();
    home.ok(&["bank", "deposit", &account, "50.00 FLO"]);
    let wallet = |args: &[&str]| {
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut command = home.command(args);
        let status = command.env("FLORIN_LOG", "trace").stdout(Stdio::null()).stderr(file).status().unwrap();
        assert!(status.success(), "florin {args:?}");
    };
    wallet(&["wallet", "init", "--no-passphrase", "--operator", &operator.url]);
    wallet(&["wallet", "register"]);
    wallet(&["wallet", "enrol", "--account", &account]);
    let code = home.ok(&["bank", "code", &account]).trim().to_owned();
    wallet(&["wallet", "enrol", "--code", &code]);
    wallet(&["wallet", "buy", "3.00 FLO"]);
    let url = format!("http://{gate_at}/confidential-page.html");
    let page = home.path("page.html");
    wallet(&["wallet", "pay", &url, "-o", page.to_str().unwrap()]);
    for program in [gate, operator, bank] {
        assert_eq!(program.stop(), 0);
    }
    let _ = upstream.kill();
    let _ = upstream.wait();

    let logged = fs::read_to_string(&log).unwrap();
    assert!(logged.contains("listening"), "nothing was logged");
    let access = fs::read_to_string(home.path("state").join("operator").join("bank.access")).unwrap();
    let admin = fs::read_to_string(home.path("state").join("operator").join("admin.token")).unwrap();
    for secret in [access.trim(), admin.trim(), code.as_str()] {
        assert!(!logged.contains(secret), "a secret is in a log");
    }
    // Coins, envelopes, keys and signatures in any text form are longer than any name, id or path that we log.
    for line in logged.lines() {
        assert!(longest_run(line) < 100, "this may be a secret: {line}");
    }
    let iban = account.as_bytes();
    let sealed = ["operator", "gate", "wallet"].map(|role| home.path("state").join(role));
    for file in sealed.iter().flat_map(|dir| files(dir)) {
        let bytes = fs::read(&file).unwrap();
        for plain in [b"confidential-page".as_slice(), b"corner-shop", iban, code.as_bytes()] {
            let named = file.ends_with("gate.toml") && plain == b"corner-shop";
            let found = bytes.windows(plain.len()).any(|w| w == plain);
            assert!(!found || named, "{} holds {:?}", file.display(), String::from_utf8_lossy(plain));
        }
    }
}

#[test]
fn nothing_listens_in_the_clear_beyond_loopback() {
    let home = Home::new();
    let bank = home.start(&["bank", "serve", "--no-passphrase", "--listen", "127.0.0.1:0"]);
    home.ok(&["operator", "init", "--no-passphrase", "--bank", &bank.url]);
    home.fails(&["operator", "serve", "--listen", "0.0.0.0:0"], 78);
    home.fails(
        &[
            "bank",
            "serve",
            "--dir",
            home.path("other").to_str().unwrap(),
            "--no-passphrase",
            "--listen",
            "0.0.0.0:0",
        ],
        78,
    );
    home.fails(&["operator", "serve", "--tls-cert", "nothing.pem"], 78);
}

#[test]
fn a_real_operator_does_not_serve_beside_its_key_holders_files() {
    let home = Home::new();
    let bank = home.start(&["bank", "serve", "--no-passphrase", "--listen", "127.0.0.1:0"]);
    home.ok(&["operator", "init", "--no-passphrase", "--bank", &bank.url, "--listen", "127.0.0.1:0"]);
    let file = home.path("state/operator/operator.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let real = settings.replace("\ntest = true\n", "\ntest = false\n");
    assert_ne!(real, settings);
    std::fs::write(&file, real).unwrap();
    for command in [&["operator", "serve"][..], &["operator", "config", "check"]] {
        let refused = home.fails(command, 78);
        assert_eq!(refused["error"]["slug"], "key-holders-here", "{refused}");
    }
    std::fs::rename(home.path("keys/operator/holders"), home.path("carried-away")).unwrap();
    home.ok(&["operator", "config", "check"]);
    drop(home.start(&["operator", "serve"]));
    // One holder is none: what the check lets through, serving does too.
    let one = std::fs::read_to_string(&file).unwrap();
    let second = one.rfind("[[key_holder]]").unwrap();
    std::fs::write(&file, &one[..second]).unwrap();
    for command in [&["operator", "serve"][..], &["operator", "config", "check"]] {
        let refused = home.fails(command, 78);
        assert!(refused["error"]["message"].as_str().unwrap().contains("two are needed"), "{refused}");
    }
}

#[test]
fn another_operator_is_not_the_one_that_was_pinned() {
    let home = Home::new();
    let bank = home.start(&["bank", "serve", "--no-passphrase", "--listen", "127.0.0.1:0"]);
    let at = free_address();
    home.ok(&["operator", "init", "--no-passphrase", "--bank", &bank.url, "--listen", &at]);
    let operator = home.start(&["operator", "serve"]);
    let wallet = home.path("w");
    let wallet = wallet.to_str().unwrap();
    let pin = "AAAAAAAAAAAAAAAAAAAAAA";
    let init = ["wallet", "init", "--dir", wallet, "--no-passphrase", "--operator", &operator.url];
    let pinned: Vec<&str> = init.iter().copied().chain(["--pin", pin]).collect();
    let failed = home.fails(&pinned, 65);
    assert_eq!(failed["error"]["slug"], "operator-changed", "{failed}");
    home.ok(&init);
    operator.kill();
    // Somebody else answers at the same address.
    let other = home.path("impostor");
    let other = other.to_str().unwrap();
    home.ok(&["operator", "init", "--dir", other, "--no-passphrase", "--bank", &bank.url, "--listen", &at]);
    let impostor = home.start(&["operator", "serve", "--dir", other]);
    // What is sealed to the operator, the impostor cannot open; and asked who it is, it is found out.
    home.fails(&["wallet", "register", "--dir", wallet], 1);
    let failed = home.fails(&["wallet", "status", "--dir", wallet], 65);
    assert_eq!(failed["error"]["slug"], "operator-changed", "{failed}");
    drop(impostor);
}
