//! The real programs and x402: a gate whose service comes before the money, a shop that uses the facilitator, a wallet that
//! pays for a client of another make. The shop is the one of docs/merchant.md, run by node where there is one.
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
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};
use support::{Home, Program, foreign_server, free_address, until};

/// What is stopped when the test ends.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Town {
    home: Home,
    _programs: Vec<Program>,
    gate_at: String,
}

/// A bank, an operator, a gate with `args`, and a wallet with ten.
fn town(args: &[&str]) -> Town {
    let home = Home::new();
    let (bank_at, operator_at, gate_at) = (free_address(), free_address(), free_address());
    let bank = home.start(&["bank", "serve", "--no-passphrase", "--listen", &bank_at]);
    let bank_url = bank.url.clone();
    home.ok(&["operator", "init", "--no-passphrase", "--bank", &bank_url, "--listen", &operator_at]);
    let operator = home.start(&["operator", "serve"]);
    home.ok(&["gate", "init", "--no-passphrase", "--operator", &operator.url, "--name", "corner-shop"]);
    let mut all = vec!["gate", "serve", "--price", "0.05 FLO", "--listen", &gate_at];
    all.extend_from_slice(args);
    let gate = home.start(&all);
    let opened = home.ok(&["bank", "open", "--bank", &bank_url, "--name", "Alice"]);
    let account = opened.lines().next().unwrap().to_owned();
    home.ok(&["bank", "deposit", &account, "50.00 FLO"]);
    home.ok(&["wallet", "init", "--no-passphrase", "--operator", &operator.url]);
    home.ok(&["wallet", "register"]);
    home.ok(&["wallet", "enrol", "--account", &account]);
    home.ok(&["wallet", "enrol", "--code", home.ok(&["bank", "code", &account]).trim()]);
    home.ok(&["wallet", "buy", "10.00 FLO"]);
    Town { home, _programs: vec![bank, operator, gate], gate_at }
}

impl Town {
    fn wallet(&self) -> (String, String) {
        let balance = &self.home.json(&["wallet", "balance"])["balances"][0];
        let text = |name: &str| balance[name].as_str().unwrap().to_owned();
        (text("free"), text("reserved"))
    }

    /// `x402-payload`, killed as soon as it has printed.
    fn payload(&self, asked: &Value) -> Value {
        let mut command = self.home.command(&["wallet", "x402-payload"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let _ = child.kill();
        let _ = child.wait();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }
}

fn header(payload: &Value) -> String {
    format!("PAYMENT-SIGNATURE: {}", BASE64.encode(payload.to_string().as_bytes()))
}

/// Status and body.
fn curl(args: &[&str]) -> (String, String) {
    let output = Command::new("curl").args(["-s", "-m", "40", "-w", "\n%{http_code}"]).args(args).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

#[test]
fn a_page_that_the_service_does_not_have_costs_nothing() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("page"), "the page").unwrap();
    let Some((upstream, at)) = foreign_server(site.path()) else {
        assert!(std::env::var_os("FLORIN_CI").is_none(), "where everything is tested, python3 is there");
        eprintln!("skipped: there is no python3 on this machine");
        return;
    };
    let _upstream = Stopped(upstream);
    let rules = tempfile::NamedTempFile::new().unwrap();
    let rule = "[[rule]]\npath = \"/**\"\nprice = \"0.05 FLO\"\nflow = \"authorization\"\n";
    fs::write(rules.path(), rule).unwrap();
    let town = town(&["--upstream", &at, "--rules", rules.path().to_str().unwrap()]);
    let missing = format!("http://{}/missing", town.gate_at);
    let report = town.home.run(&["wallet", "pay", &missing]);
    assert_eq!(report.status.code(), Some(1), "{report:?}");
    assert_eq!(town.wallet(), ("10.00 FLO".into(), "0.00 FLO".into()), "free at once");
    let page = format!("http://{}/page", town.gate_at);
    assert_eq!(town.home.ok(&["wallet", "pay", &page]), "the page");
    assert_eq!(town.wallet(), ("9.95 FLO".into(), "0.00 FLO".into()));
    assert!(town.home.ok(&["gate", "balance"]).contains("0.05 FLO"));
    assert_eq!(town.home.json(&["operator", "audit"])["findings"], json!([]));
}

#[test]
fn a_client_and_a_shop_of_another_make_trade_through_wallet_and_facilitator() {
    let town = town(&["--upstream", "http://127.0.0.1:9"]);
    let home = &town.home;
    // A price that no rule of the gate has; printed while the gate is serving.
    let printed = home.ok(&["gate", "accepts", "--price", "0.07 FLO", "--description", "One article"]);
    let article: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (&article["accepts"][0]["amount"], &article["description"]),
        (&json!("7"), &json!("One article"))
    );
    let facilitator = home.json(&["gate", "facilitator", "--listen", &town.gate_at]);
    let (url, token) = (facilitator["url"].as_str().unwrap(), facilitator["token"].as_str().unwrap());
    let resource = json!({"url": "http://articles.test/one"});
    let payload = town.payload(&json!({"paymentRequirements": article["accepts"][0], "resource": resource}));
    assert_eq!(town.wallet(), ("9.93 FLO".into(), "0.07 FLO".into()), "killed, and it is still set aside");
    let status = home.fails(&["wallet", "status"], 3);
    assert_eq!(status["open"].as_array().unwrap().len(), 1);
    let asked =
        json!({"x402Version": 2, "paymentPayload": payload, "paymentRequirements": article["accepts"][0]});
    let call = |what: &str, token: &str| {
        let (to, token) = (format!("{url}/{what}"), format!("Authorization: Bearer {token}"));
        let (status, body) =
            curl(&["-H", "Content-Type: application/json", "-H", &token, "-d", &asked.to_string(), &to]);
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    assert_eq!(call("settle", "AAAA").0, "401");
    assert_eq!(call("verify", token).1["isValid"], true);
    let (_, settled) = call("settle", token);
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(call("settle", token).1, settled);
    assert_eq!(call("verify", token).1["invalidReason"], "florin_already_spent");
    assert_eq!(home.json(&["wallet", "status"])["settled"], 1);
    assert_eq!(town.wallet(), ("9.93 FLO".into(), "0.00 FLO".into()));
    assert!(home.ok(&["gate", "balance"]).contains("0.07 FLO"));
    documented_shop(&town, &article, url, token);
    assert_eq!(home.json(&["operator", "audit"])["findings"], json!([]));
}

/// A facilitator's address that passes calls on, and loses what it answers to `/settle`: first the whole answer, then what it
/// says, which becomes *not known yet*. The payment has been settled all the same.
fn forgetful(url: &str) -> String {
    let behind = url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = url.replace(&behind, &listener.local_addr().unwrap().to_string());
    std::thread::spawn(move || {
        let mut settles = 0;
        for asked in listener.incoming() {
            let mut asked = BufReader::new(asked.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                asked.read_line(&mut line).unwrap();
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                if line.to_ascii_lowercase().starts_with("connection:") {
                    continue;
                }
                if line.trim().is_empty() {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            asked.read_exact(&mut body).unwrap();
            let mut to = TcpStream::connect(&behind).unwrap();
            to.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
            to.write_all(&body).unwrap();
            let mut answer = Vec::new();
            to.read_to_end(&mut answer).unwrap();
            if head.starts_with("POST") && head.lines().next().unwrap().contains("/settle ") {
                settles += 1;
                let pending = r#"{"success":false,"errorReason":"settlement_pending","transaction":"","network":"florin:x"}"#;
                match settles {
                    1 => continue,
                    2 => {
                        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
                        answer =
                            format!("{head}\r\nContent-Length: {}\r\n\r\n{pending}", pending.len()).into();
                    }
                    _ => {}
                }
            }
            let _ = asked.get_mut().write_all(&answer);
        }
    });
    at
}

/// The shop without a library, as docs/merchant.md shows it.
fn documented_shop(town: &Town, article: &Value, url: &str, token: &str) {
    if Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("FLORIN_CI").is_none(), "where everything is tested, node is there");
        eprintln!("skipped: there is no node on this machine");
        return;
    }
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/merchant.md");
    let guide = fs::read_to_string(guide).unwrap();
    let script = guide.split("```js\n").nth(2).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = town.home.path("shop");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("shop.mjs"), script).unwrap();
    fs::write(folder.join("article.json"), article.to_string()).unwrap();
    let shop = |facilitator: &str| {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut node = Command::new("node");
        node.arg("shop.mjs").current_dir(&folder).env("PORT", &port);
        let node = node.env("FLORIN_FACILITATOR", facilitator).env("FLORIN_TOKEN", token).spawn().unwrap();
        let at = format!("127.0.0.1:{port}");
        until("node listens", Duration::from_secs(20), || TcpStream::connect(&at).is_ok());
        (Stopped(node), at)
    };
    let (_node, at) = shop(url);
    let page = format!("http://{at}/one");
    assert_eq!(curl(&[&page]).0, "402");
    assert_eq!(town.home.ok(&["wallet", "pay", &page]), "The article at /one.\n");
    let asked = json!({"paymentRequirements": article["accepts"][0], "resource": {"url": page}});
    let payload = town.payload(&asked);
    let other = format!("http://{at}/two");
    assert_eq!(curl(&["-H", &header(&payload), &other]).0, "402", "for another page");
    assert_eq!(curl(&["-X", "POST", "-H", &header(&payload), &page]).0, "402", "for another method");
    let (status, body) = curl(&["-H", &header(&payload), &page]);
    assert_eq!((status.as_str(), body.as_str()), ("200", "The article at /one.\n"));
    assert_eq!(curl(&["-H", &header(&payload), &page]).0, "402", "what is shown again buys nothing");
    assert_eq!(town.home.json(&["wallet", "status"])["settled"], 1);
    assert_eq!(town.wallet(), ("9.79 FLO".into(), "0.00 FLO".into()));
    // What became of it is not known, twice: 503, and never a second 402, although it was paid the first time. Then the goods, once.
    let (_node, at) = shop(&forgetful(url));
    let page = format!("http://{at}/one");
    let asked = json!({"paymentRequirements": article["accepts"][0], "resource": {"url": page}});
    let payload = header(&town.payload(&asked));
    for what in ["no answer came", "not known yet"] {
        let (status, said) = curl(&["-i", "-H", &payload, &page]);
        let retry = said.to_ascii_lowercase().contains("\r\nretry-after: 2\r\n");
        assert_eq!((status.as_str(), retry), ("503", true), "{what}: {said}");
        assert!(!said.to_ascii_lowercase().contains("payment-required"), "{what}: {said}");
    }
    let (status, body) = curl(&["-H", &payload, &page]);
    assert_eq!((status.as_str(), body.as_str()), ("200", "The article at /one.\n"));
    assert_eq!(curl(&["-H", &payload, &page]).0, "402", "once");
    assert_eq!(town.home.json(&["wallet", "status"])["settled"], 1);
    assert_eq!(town.wallet(), ("9.72 FLO".into(), "0.00 FLO".into()));
}
