//! The README's quick start with the programs apart, in front of a server that is not ours; person to person; what bad
//! input gets; and the same after SIGKILL of each program in turn.
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
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use support::{Home, Program, foreign_server, free_address, until};

/// A bank, an operator, a gate before python's server, and an enrolled wallet with coins.
struct Town {
    home: Home,
    bank: Option<Program>,
    operator: Option<Program>,
    gate: Option<Program>,
    upstream: Child,
    bank_at: String,
    operator_at: String,
    gate_at: String,
    upstream_at: String,
    shop: String,
    page: Vec<u8>,
}

impl Drop for Town {
    fn drop(&mut self) {
        let _ = self.upstream.kill();
        let _ = self.upstream.wait();
    }
}

fn code_of(home: &Home, account: &str) -> String {
    home.ok(&["bank", "code", account]).trim().to_owned()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap().to_owned()
}

impl Town {
    /// Everything up to the point where a page can be paid; nothing where there is no python3.
    fn new() -> Option<Self> {
        let home = Home::new();
        let site = home.path("site");
        fs::create_dir(&site).unwrap();
        let page: Vec<u8> =
            (0..50_000u32).map(|i| u8::try_from(i.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
        fs::write(site.join("page.bin"), &page).unwrap();
        let Some((upstream, upstream_at)) = foreign_server(&site) else {
            assert!(std::env::var_os("FLORIN_CI").is_none(), "where everything is tested, python3 is there");
            eprintln!("skipped: there is no python3 on this machine");
            return None;
        };
        let (bank_at, operator_at, gate_at) = (free_address(), free_address(), free_address());
        let bank = home.start(&["bank", "serve", "--no-passphrase", "--listen", &bank_at]);
        let bank_url = bank.url.clone();
        home.ok(&["operator", "init", "--no-passphrase", "--bank", &bank_url, "--listen", &operator_at]);
        let operator = home.start(&["operator", "serve"]);
        let operator_url = operator.url.clone();
        let shop = first_line(&home.ok(&["bank", "open", "--bank", &bank_url, "--name", "Corner shop"]));
        home.ok(&["gate", "init", "--no-passphrase", "--operator", &operator_url, "--name", "corner-shop"]);
        home.ok(&["gate", "enrol", "--account", &shop]);
        home.ok(&["gate", "enrol", "--code", &code_of(&home, &shop)]);
        let mut town = Self {
            home,
            bank: Some(bank),
            operator: Some(operator),
            gate: None,
            upstream,
            bank_at,
            operator_at,
            gate_at,
            upstream_at,
            shop,
            page,
        };
        town.start_gate();
        town.person("wallet", "Alice");
        town.wallet("wallet", &["buy", "10.00 FLO"]);
        Some(town)
    }

    fn dir(&self, name: &str) -> String {
        self.home.path(name).to_str().unwrap().to_owned()
    }

    /// A wallet command for one person.
    fn wallet(&self, who: &str, args: &[&str]) -> String {
        self.home.ok(&self.wallet_args(who, args).iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn wallet_args(&self, who: &str, args: &[&str]) -> Vec<String> {
        let mut all = vec!["wallet".to_owned(), args[0].to_owned(), "--dir".to_owned(), self.dir(who)];
        all.extend(args[1..].iter().map(|a| (*a).to_owned()));
        all
    }

    /// Makes, registers and enrols a wallet with an account of 50.00 FLO.
    fn person(&self, who: &str, name: &str) -> String {
        let bank_url = format!("http://{}", self.bank_at);
        let account = first_line(&self.home.ok(&["bank", "open", "--bank", &bank_url, "--name", name]));
        self.home.ok(&["bank", "deposit", &account, "50.00 FLO"]);
        let operator = format!("http://{}", self.operator_at);
        self.wallet(who, &["init", "--no-passphrase", "--operator", &operator]);
        self.wallet(who, &["register"]);
        self.wallet(who, &["enrol", "--account", &account]);
        self.wallet(who, &["enrol", "--code", &code_of(&self.home, &account)]);
        account
    }

    fn balance(&self, who: &str) -> u64 {
        let mut args = vec!["wallet", "balance", "--dir"];
        let dir = self.dir(who);
        args.push(&dir);
        let json = self.home.json(&args);
        let text = json.to_string();
        let minor = |key: &str| -> u64 {
            json["balances"][0][key].as_str().map_or(0, |t| {
                t.replace(['.', ' '], "").replace("FLO", "").parse().unwrap_or_else(|_| panic!("{text}"))
            })
        };
        minor("free") + minor("reserved")
    }

    fn start_bank(&mut self) {
        self.bank = Some(self.home.start(&["bank", "serve", "--listen", &self.bank_at.clone()]));
    }

    fn start_operator(&mut self) {
        self.operator = Some(self.home.start(&["operator", "serve"]));
    }

    fn start_gate(&mut self) {
        let (upstream, gate_at) = (self.upstream_at.clone(), self.gate_at.clone());
        let args = ["gate", "serve", "--upstream", &upstream, "--price", "0.05 FLO", "--listen", &gate_at];
        self.gate = Some(self.home.start(&args));
    }

    fn page_url(&self, query: &str) -> String {
        format!("http://{}/page.bin{query}", self.gate_at)
    }

    /// Pays for the page until it is there; what is saved is what python serves.
    fn pay(&self, who: &str, query: &str) {
        let file = self.dir("saved.bin");
        let _ = fs::remove_file(&file);
        let url = self.page_url(query);
        self.wallet(who, &["pay", &url, "-o", &file]);
        assert_eq!(fs::read(&file).unwrap(), self.page, "the page is not what the upstream sent");
    }

    fn audit(&self) {
        let report = self.home.json(&["operator", "audit"]);
        assert_eq!(report["findings"], serde_json::json!([]), "{report}");
    }
}

fn curl(url: &str, accept: &str) -> (String, String) {
    let output = std::process::Command::new("curl")
        .args(["-s", "-i", "-H", &format!("Accept: {accept}"), url])
        .output();
    let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head.to_lowercase(), body.to_owned())
}

#[test]
fn a_page_of_a_foreign_server_is_paid_and_the_money_arrives() {
    let Some(town) = Town::new() else { return };
    let (head, body) = curl(&town.page_url(""), "*/*");
    assert!(head.starts_with("http/1.1 402") && head.contains("payment-required:"), "{head}");
    assert!(body.contains("florin wallet pay"), "{body}");
    let (head, body) = curl(&town.page_url(""), "text/html");
    assert!(head.contains("text/html") && body.len() < 20_000 && !body.contains("<script"), "{head}\n{body}");

    assert_eq!(town.balance("wallet"), 1000);
    town.pay("wallet", "");
    town.pay("wallet", "?again");
    assert_eq!(town.balance("wallet"), 990);
    let history = town.home.json(&["wallet", "history", "--dir", &town.dir("wallet")]);
    let paid = history["entries"].as_array().unwrap().iter().find(|e| e["kind"] == "paid").unwrap();
    let receipt =
        town.home.json(&["wallet", "receipt", "--dir", &town.dir("wallet"), paid["id"].as_str().unwrap()]);
    assert!(receipt["payee_receipt"].is_string() && receipt["operator_statement"].is_string(), "{receipt}");

    let balance = town.home.ok(&["gate", "balance"]);
    assert!(balance.contains("0.10 FLO"), "{balance}");
    town.home.ok(&["gate", "payout"]);
    until("the pay-out arrives", Duration::from_secs(20), || {
        town.home.ok(&["bank", "statement", &town.shop]).contains("FLORIN PAYOUT")
    });
    town.audit();
}

/// VarietyCash §3 (aggregation) and §1.2 (transferability), with the programs as a shop and two people have them.
#[test]
fn a_shop_gathers_and_one_person_sends_coins_to_another() {
    let Some(mut town) = Town::new() else { return };
    assert_eq!(town.gate.take().unwrap().stop(), 0);
    let settings = town.home.path("state").join("gate").join("gate.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}\nsettle = \"aggregate\"\n")).unwrap();
    town.start_gate();
    town.pay("wallet", "");
    town.pay("wallet", "?again");
    let balance = town.home.json(&["gate", "balance"]);
    let row = &balance["balances"][0];
    assert_eq!((row["free"].as_str(), row["gathered"].as_str()), (Some("0.00 FLO"), Some("0.10 FLO")));
    let owed = town.home.json(&["operator", "owed"]);
    assert_eq!(
        (owed["owed"].as_array().unwrap().len(), owed["gathered"][0]["amount"].as_str()),
        (0, Some("0.10 FLO"))
    );
    let audit = town.home.ok(&["operator", "audit"]);
    assert!(audit.contains("gathered by"), "{audit}");
    let paid = town.home.json(&["gate", "payout"]);
    assert_eq!((paid["gathered"].as_str(), paid["coins"].as_str()), (Some("0.10 FLO"), None), "{paid}");
    until("the pay-out arrives", Duration::from_secs(20), || {
        town.home.ok(&["bank", "statement", &town.shop]).contains("FLORIN PAYOUT")
    });

    // From hand to hand: a file for one, a text for another; taken back, it is worth nothing to a third.
    let operator = format!("http://{}", town.operator_at);
    town.wallet("bob", &["init", "--no-passphrase", "--operator", &operator]);
    let file = town.dir("gift.txt");
    town.wallet("wallet", &["send", "2.50 FLO", "--memo", "for the book", "--qr", "--file", &file]);
    let got = town.wallet("bob", &["receive", &file]);
    assert!(got.contains("received 2.50 FLO") && got.contains("for the book"), "{got}");
    let dir = town.dir("bob");
    let again = town.home.fails(&["wallet", "receive", "--dir", &dir, &file], 1);
    assert_eq!(again["error"]["slug"], "cash-already-claimed", "{again}");
    let sent = town.home.json(&["wallet", "send", "--dir", &town.dir("wallet"), "1.00 FLO"]);
    let (text, id) = (sent["text"].as_str().unwrap(), sent["id"].as_str().unwrap());
    assert!(town.wallet("wallet", &["send", "--show", id]).contains(text));
    assert!(town.wallet("wallet", &["send", "--take-back", id]).contains("took 1.00 FLO back"));
    town.home.fails(&["wallet", "receive", "--dir", &dir, text], 1);
    assert!(town.wallet("wallet", &["refresh", "--all"]).contains("refreshed 7.40 FLO"));
    assert_eq!((town.balance("wallet"), town.balance("bob")), (740, 250));
    town.audit();
}

#[test]
fn a_person_pays_another_persons_invoice() {
    let Some(town) = Town::new() else { return };
    let bank_url = format!("http://{}", town.bank_at);
    let _ = bank_url;
    let operator = format!("http://{}", town.operator_at);
    // Registered suffices to be paid.
    town.wallet("bob", &["init", "--no-passphrase", "--operator", &operator]);
    town.wallet("bob", &["register", "--name", "bob"]);
    let args = town.wallet_args("bob", &["request", "2.50 FLO", "--for", "lunch"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut asking = town.home.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let out = asking.stdout.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(out));
    let invoice = lines.next().unwrap().unwrap();
    assert!(invoice.starts_with("florininvoice1"), "{invoice}");
    let paid = town.wallet("wallet", &["pay", &invoice]);
    assert!(paid.contains("paid 2.50 FLO"), "{paid}");
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(asking.wait().unwrap().success(), "{rest:?}");
    assert_eq!((town.balance("wallet"), town.balance("bob")), (750, 250));
    // The same invoice again is the same payment.
    town.wallet("wallet", &["pay", &invoice]);
    assert_eq!((town.balance("wallet"), town.balance("bob")), (750, 250));
    // Not enrolled: no coins from a bank account, no money back.
    let dir = town.dir("bob");
    town.home.fails(&["wallet", "buy", "--dir", &dir, "1.00 FLO"], 1);
    town.audit();
}

#[test]
fn a_second_process_on_the_same_state_is_told_to_wait() {
    let Some(town) = Town::new() else { return };
    let failed = town.home.fails(&["operator", "serve", "--listen", "127.0.0.1:0"], 75);
    assert_eq!(failed["error"]["slug"], "busy", "{failed}");
}

/// A page that is paid for while the service behind the gate is away is not paid again: the same command gets it later.
#[test]
fn a_page_is_paid_once_although_its_server_was_away() {
    let Some(mut town) = Town::new() else { return };
    let _ = town.upstream.kill();
    let _ = town.upstream.wait();
    let (file, url) = (town.home.path("late.bin"), town.page_url("?late"));
    let args = town.wallet_args("wallet", &["pay", &url, "-o", file.to_str().unwrap()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let failed = town.home.fails(&args, 3);
    assert_eq!(failed["error"]["slug"], "not-known-yet", "{failed}");
    assert!(!file.exists(), "the gate's refusal is not the page");
    let at = town.upstream_at.trim_start_matches("http://").to_owned();
    town.upstream = support::foreign_server_at(&town.home.path("site"), &at);
    town.pay("wallet", "?late");
    assert_eq!(town.balance("wallet"), 995);
    town.audit();
}

/// What the bank rejects stays owed to the redeemer, and goes out when the operator orders it again.
#[test]
fn a_pay_out_that_the_bank_rejects_is_not_lost() {
    let Some(town) = Town::new() else { return };
    town.pay("wallet", "");
    let bank = format!("http://{}", town.bank_at);
    town.home.ok(&[
        "bank",
        "sandbox",
        "reject",
        "--bank",
        &bank,
        "--account",
        &town.shop,
        "--reason",
        "AC04",
    ]);
    town.home.ok(&["gate", "payout"]);
    let mut owed = serde_json::Value::Null;
    until("the rejection is known", Duration::from_secs(20), || {
        owed = town.home.json(&["operator", "owed"]);
        owed["owed"][0]["amount"] == "0.05 FLO"
    });
    let again = town.home.json(&["operator", "owed", "--pay"]);
    assert_eq!(again["owed"][0]["ordered"], true, "{again}");
    until("the pay-out arrives", Duration::from_secs(20), || {
        town.home.ok(&["bank", "statement", &town.shop]).contains("FLORIN PAYOUT")
    });
    assert_eq!(town.home.json(&["operator", "owed"])["owed"], serde_json::json!([]));
    town.audit();
}

/// SIGKILL of each program while a payment is on its way, then the same command again.
#[test]
fn the_same_after_a_crash_of_any_program() {
    let Some(mut town) = Town::new() else { return };
    let mut balance = town.balance("wallet");
    let victims =
        ["operator", "gate", "bank", "wallet", "operator", "gate", "wallet", "wallet", "gate", "operator"];
    for (round, victim) in victims.iter().enumerate() {
        let query = format!("?round={round}");
        let url = town.page_url(&query);
        let file = town.home.path("crash.bin");
        let _ = fs::remove_file(&file);
        let args = town.wallet_args("wallet", &["pay", &url, "-o", file.to_str().unwrap()]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut paying =
            town.home.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(10 + 13 * u64::try_from(round).unwrap()));
        match *victim {
            "operator" => {
                town.operator.take().unwrap().kill();
                town.start_operator();
            }
            "gate" => {
                town.gate.take().unwrap().kill();
                town.start_gate();
            }
            "bank" => {
                town.bank.take().unwrap().kill();
                town.start_bank();
            }
            _ => {
                let _ = paying.kill();
            }
        }
        let finished = paying.wait().unwrap().success();
        let saved = file.exists();
        town.pay("wallet", &query);
        let spent = balance - town.balance("wallet");
        balance -= spent;
        // A command that had ended is another payment when it is given again; one that had not, never.
        let may_be = match (finished, saved) {
            (true, _) => vec![10],
            (false, true) => vec![5, 10],
            (false, false) => vec![5],
        };
        assert!(may_be.contains(&spent), "{spent} after a crash of the {victim}, {finished} {saved}");
    }
    let spent = 1000 - balance;
    let shown = format!("{}.{:02} FLO", spent / 100, spent % 100);
    let taken = town.home.ok(&["gate", "balance"]);
    assert!(taken.contains(&shown), "the payer spent {shown}, the gate has {taken}");
    town.audit();
    // Stopped in good order, the audit reads the books itself.
    for program in [town.gate.take(), town.operator.take()] {
        assert_eq!(program.unwrap().stop(), 0);
    }
    town.audit();
    assert_eq!(town.bank.take().unwrap().stop(), 0);
}
