//! Backup and restore with the real program: a backup beside a running operator under load, a state that is lost, a
//! restore that serves nothing until a person accepts it, and old copies of the state that are found out although nobody
//! used any command. Source: the issue ("`backup`, `restore`, and a stale restore that is noticed"); docs/operator.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use florin_bench::{Customer, Market, Programs, Running};
use florin_coin::Coin;
use florin_http::{Client, ClientConfig};
use florin_money::{Amount, CoinList, DENOMINATIONS_DEFAULT, Denominations};

const FLORIN: &str = env!("CARGO_BIN_EXE_florin");
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

struct Town {
    _top: tempfile::TempDir,
    programs: Programs,
    bank: Running,
    state: PathBuf,
    address: SocketAddr,
    operator: Option<Running>,
    market: Market,
    customers: Vec<Customer>,
}

fn run(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(FLORIN);
    command.arg("operator").args(args).arg("--no-passphrase").arg("--dir").arg(dir);
    command.env("FLORIN_LOG", "warn").output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|e| e.unwrap().path()) {
        let to = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            std::fs::copy(&entry, &to).unwrap();
        }
    }
}

/// The books agree with themselves; the bank may have booked what they have lost.
fn is_sound_by_itself(audit: &Output) {
    let said = said(audit);
    let mut findings =
        said.lines().skip_while(|l| !l.starts_with("Audit:")).skip(1).filter(|l| !l.is_empty());
    assert!(said.contains("\nAudit: ") && findings.all(|l| l.starts_with("  bank: ")), "{said}");
    assert!([0, 65].contains(&code(audit)), "{said}");
}

impl Town {
    async fn open(customers: usize) -> Self {
        let top = tempfile::tempdir().unwrap();
        let programs = Programs::new(FLORIN);
        let bank = programs.bank(&top.path().join("bank")).unwrap();
        let state = top.path().join("operator");
        programs.init_operator(&state, bank.url()).unwrap();
        let operator = programs.operator(&state, ANY).unwrap();
        let address = operator.address().unwrap();
        let http = Client::new(ClientConfig::default()).unwrap();
        let market = Market::open(http, operator.url(), bank.url()).await.unwrap();
        let operator = Some(operator);
        let mut town =
            Self { _top: top, programs, bank, state, address, operator, market, customers: Vec::new() };
        for n in 0..customers {
            let money = Amount::new(1_000_000, town.market.currency());
            let customer = town.market.enrol(&format!("Customer {n}"), money).await.unwrap();
            town.customers.push(customer);
        }
        town
    }

    fn list(&self, minor: u64) -> CoinList {
        let d = Denominations::one_two_five(self.market.currency(), DENOMINATIONS_DEFAULT);
        CoinList::of_values(d.split_minor(minor).unwrap().values()).unwrap()
    }

    async fn buy(&self, customer: usize, minor: u64) -> Vec<Coin> {
        self.market.buy(&self.customers[customer], self.list(minor)).await.unwrap()
    }

    async fn pay(&self, coins: Vec<Coin>) -> Result<Vec<Coin>, florin_bench::BenchError> {
        let worth = coins.iter().map(|c| c.value).sum();
        self.market.pay(&self.customers[1].holder, coins, self.list(worth)).await
    }

    /// SIGTERM, as a supervisor stops it.
    fn stop(&mut self) {
        let mut operator = self.operator.take().unwrap();
        let pid = operator.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        for _ in 0..600 {
            if !operator.is_running() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it does not stop");
    }

    fn start(&mut self) {
        self.operator = Some(self.programs.operator(&self.state, self.address).unwrap());
    }

    /// `serve` ends at once with these words, and nobody was answered.
    fn refuses(&self, slug: &str) -> String {
        let listen = self.address.to_string();
        let output = run(&["serve", "--listen", &listen], &self.state);
        assert_eq!(code(&output), 65, "{}", said(&output));
        assert_eq!(output.stdout, b"", "it said that it listens");
        let said = said(&output);
        assert!(said.contains(&format!("({slug})")), "{said}");
        said
    }

    /// Nor does a command on the stopped operator what two key holders order, or pay a late holder.
    fn carries_nothing_out(&self, slug: &str) {
        let mut holders = Vec::new();
        for file in std::fs::read_dir(self.state.with_extension("keys").join("holders")).unwrap() {
            holders.extend(["--holder".to_owned(), file.unwrap().path().to_str().unwrap().to_owned()]);
        }
        let purchase = format!("tx_{}", "0".repeat(32));
        let trace = ["trace", "--reason", "a court", "--purchase", &purchase];
        let orders: [&[&str]; 3] = [&["rotate"], &["release-payouts"], &trace];
        let holders: Vec<&str> = holders.iter().map(String::as_str).collect();
        let mut said_no: Vec<Output> =
            orders.map(|order| run(&[order, &holders].concat(), &self.state)).into();
        said_no.push(run(
            &["honour", "--coins", "florincoins1x", "--to", "DE89370400440532013000"],
            &self.state,
        ));
        for output in said_no {
            assert_eq!(code(&output), 65, "{}", said(&output));
            assert!(said(&output).contains(&format!("({slug})")), "{}", said(&output));
        }
    }

    fn accept(&self) -> Output {
        run(&["restore", "--accept", "--reason", "drill"], &self.state)
    }

    fn keep(&self, name: &str) -> PathBuf {
        let to = self.state.with_file_name(name);
        copy(&self.state, &to);
        to
    }

    /// Puts an old copy, or a part of one, in the place of the state.
    fn put_back(&self, from: &Path, parts: &[&str]) {
        for part in parts {
            let to = self.state.join(part);
            std::fs::remove_dir_all(&to).unwrap();
            copy(&from.join(part), &to);
        }
    }
}

/// Buys and pays until told to stop: claims and payments are under way at every moment.
async fn live(market: Arc<Town>, stop: Arc<AtomicBool>, me: usize) -> usize {
    let mut done = 0;
    while !stop.load(Ordering::SeqCst) {
        let coins = market.buy(me, 370).await;
        let coins = market.pay(coins).await.unwrap();
        if done % 3 == 0 {
            market.market.redeem(&market.customers[1], coins).await.unwrap();
        }
        done += 1;
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_state_is_restored_from_a_backup_made_under_load() {
    let town = Town::open(4).await;
    let (early, spent_late) = (town.buy(0, 1_230).await, town.buy(0, 500).await);
    let town = Arc::new(town);
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = [2, 3].map(|me| tokio::spawn(live(Arc::clone(&town), Arc::clone(&stop), me))).into();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let top = town.state.parent().unwrap().to_owned();
    // Several: each catches the couriers in another moment.
    for n in 0..4 {
        let (to, state) = (top.join(format!("backup-{n}")), town.state.clone());
        let made =
            tokio::task::spawn_blocking(move || run(&["backup", "--to", to.to_str().unwrap()], &state));
        let made = made.await.unwrap();
        assert_eq!(code(&made), 0, "{}", said(&made));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for task in load {
        assert!(task.await.unwrap() > 0, "there was no load");
    }
    let mut town = Arc::into_inner(town).unwrap();
    let again = run(&["backup", "--to", top.join("backup-0").to_str().unwrap()], &town.state);
    assert_eq!(code(&again), 73, "{}", said(&again));
    assert!(said(&again).contains("is not empty"), "{}", said(&again));

    // After the last backup: coins bought, coins spent, and a payment for which others were issued.
    let lost_bought = town.buy(0, 1_230).await;
    let lost_paid = town.pay(spent_late.clone()).await.unwrap();
    town.stop();
    std::fs::rename(&town.state, top.join("lost")).unwrap();

    // Every one of the backups is whole, and its two lanes belong together.
    for n in 0..4 {
        let backup = top.join(format!("backup-{n}"));
        let names: BTreeSet<_> = std::fs::read_dir(&backup)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected = ["books", "identity", "keys.vault", "manifest.json", "operator.toml"];
        assert_eq!(names, expected.map(String::from).into(), "nothing else is in a backup");
        let verified = run(&["backup", "verify", "--books", backup.to_str().unwrap()], &town.state);
        assert_eq!(code(&verified), 0, "{}", said(&verified));
        if town.state.exists() {
            std::fs::remove_dir_all(&town.state).unwrap();
        }
        let restored = run(&["restore", "--from", backup.to_str().unwrap()], &town.state);
        assert_eq!(code(&restored), 0, "{}", said(&restored));
        std::fs::copy(top.join("lost/bank.access"), town.state.join("bank.access")).unwrap();
        is_sound_by_itself(&run(&["audit"], &town.state));
    }
    let again = run(&["restore", "--from", top.join("backup-3").to_str().unwrap()], &town.state);
    assert_eq!(code(&again), 73, "{}", said(&again));

    town.refuses("books-restored");
    town.carries_nothing_out("books-restored");
    assert_eq!(code(&run(&["restore", "--accept"], &town.state)), 2, "without a reason");
    let accepted = town.accept();
    assert_eq!(code(&accepted), 0, "{}", said(&accepted));
    assert!(said(&accepted).contains("records lost"), "{}", said(&accepted));
    assert_eq!(code(&town.accept()), 1, "there is nothing more to accept");
    town.start();

    // Coins from before the backup are good. Those that were spent after it are good again: the window of a double spend
    // is what the lost part had seen. What was issued in the lost part is not.
    town.pay(early).await.unwrap();
    town.pay(spent_late).await.unwrap();
    for coins in [lost_bought.clone(), lost_paid.clone()] {
        assert!(town.pay(coins).await.is_err(), "coins of the lost part");
    }
    // And no number of the lost part is ever given out again.
    let lost: BTreeSet<_> = lost_bought.iter().chain(&lost_paid).map(|c| c.id.0).collect();
    for _ in 0..3 {
        assert!(town.buy(0, 1_230).await.iter().all(|c| !lost.contains(&c.id.0)), "a number twice");
    }
    for coins in [lost_bought, lost_paid] {
        assert!(town.pay(coins).await.is_err(), "coins of the lost part came to life");
    }
    town.stop();
    let audit = run(&["audit"], &town.state);
    is_sound_by_itself(&audit);
    // What the bank has moved in the lost part is named, and pay-outs wait for a person.
    assert!(said(&audit).contains("Pay-outs are stopped since"), "{}", said(&audit));
    assert!(town.bank.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_put_back_by_hand_is_found_out_and_halves_of_two_copies_are_never_accepted() {
    let mut town = Town::open(2).await;
    town.buy(0, 700).await;
    town.stop();
    let old = town.keep("old");
    town.start();
    let coins = town.buy(0, 1_900).await;
    town.pay(coins).await.unwrap();
    town.stop();
    town.start();
    town.stop();
    let new = town.keep("new");

    // One lane only, the identity lane or the books lane: that is noticed, and nobody can accept it.
    for part in ["identity", "books"] {
        town.put_back(&old, &[part]);
        let said_no = town.refuses("books-behind");
        assert!(said_no.contains(part) && said_no.contains("records are lost"), "{said_no}");
        let no = town.accept();
        assert_eq!(code(&no), 65, "{}", said(&no));
        assert!(said(&no).contains("(lanes-apart)"), "{}", said(&no));
        town.put_back(&new, &[part]);
    }
    town.start();
    town.stop();

    // Both: noticed, accepted, served.
    town.put_back(&old, &["identity", "books"]);
    town.refuses("books-behind");
    let owed = run(&["owed", "--pay"], &town.state);
    assert_eq!(code(&owed), 65, "nothing is ordered from the bank either: {}", said(&owed));
    town.carries_nothing_out("books-behind");
    assert_eq!(code(&town.accept()), 0);
    town.start();
    for _ in 0..3 {
        town.buy(0, 100).await;
    }
    town.stop();
    is_sound_by_itself(&run(&["audit"], &town.state));

    // The books from before the acceptance again: as long or longer than the mark, and another history.
    let mark = std::fs::read_to_string(town.state.with_extension("keys").join("high-water")).unwrap();
    let low = mark.lines().map(|l| if l.contains("\"seq\"") { "      \"seq\": 1," } else { l });
    let low: Vec<&str> = low.collect();
    std::fs::write(town.state.with_extension("keys").join("high-water"), low.join("\n")).unwrap();
    town.put_back(&new, &["identity", "books"]);
    town.refuses("books-other-history");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_mark_the_bank_still_knows_what_these_books_do_not() {
    let mut town = Town::open(2).await;
    town.stop();
    let old = town.keep("old");
    town.start();
    town.buy(0, 700).await;
    town.stop();
    town.put_back(&old, &["identity", "books"]);
    let mark = town.state.with_extension("keys").join("high-water");
    let kept = std::fs::read(&mark).unwrap();
    std::fs::remove_file(&mark).unwrap();
    let said_no = town.refuses("books-behind");
    assert!(said_no.contains("the bank knows 1 orders"), "{said_no}");
    assert!(!mark.exists(), "an operator that refuses leaves no mark");
    assert_eq!(code(&town.accept()), 0);
    town.start();
    town.buy(0, 700).await;
    town.stop();
    // What was accepted is not asked about again.
    town.start();
    town.stop();
    is_sound_by_itself(&run(&["audit"], &town.state));
    // A mark that is none is not passed over.
    std::fs::write(&mark, b"{}").unwrap();
    town.refuses("mark-not-usable");
    drop(kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_touched_is_not_restored() {
    let mut town = Town::open(1).await;
    town.buy(0, 700).await;
    town.stop();
    let top = town.state.parent().unwrap().to_owned();
    let backup = top.join("backup");
    let inside = run(&["backup", "--to", town.state.join("b").to_str().unwrap()], &town.state);
    assert_eq!(code(&inside), 73, "{}", said(&inside));
    // By another name, too.
    let link = top.join("link");
    std::os::unix::fs::symlink(&town.state, &link).unwrap();
    let inside = run(&["backup", "--to", link.join("b/c").to_str().unwrap()], &town.state);
    assert_eq!(code(&inside), 73, "{}", said(&inside));
    assert!(!town.state.join("b").exists());
    let made = run(&["backup", "--to", backup.to_str().unwrap()], &town.state);
    assert_eq!(code(&made), 0, "of an operator that is stopped: {}", said(&made));
    type Change = Box<dyn Fn(&Path)>;
    let changes: Vec<(&str, Change)> = vec![
        ("settings", Box::new(|dir| std::fs::write(dir.join("operator.toml"), "name = \"x\"\n").unwrap())),
        ("gone", Box::new(|dir| std::fs::remove_file(dir.join("books/second-000001.log")).unwrap())),
        ("more", Box::new(|dir| std::fs::write(dir.join("books/more"), b"").unwrap())),
        ("no list", Box::new(|dir| std::fs::remove_file(dir.join("manifest.json")).unwrap())),
        (
            "settings and their digest",
            Box::new(|dir| {
                // As somebody would who can write into the backup, but has no key.
                let toml = std::fs::read_to_string(dir.join("operator.toml")).unwrap();
                std::fs::write(dir.join("operator.toml"), toml.replace("Florin", "Flurin")).unwrap();
                let sum = |file: &Path| {
                    let said = Command::new("sha256sum").arg(file).output().unwrap();
                    String::from_utf8(said.stdout).unwrap()[..64].to_owned()
                };
                std::fs::write(dir.join("old"), toml).unwrap();
                let (old, new) = (sum(&dir.join("old")), sum(&dir.join("operator.toml")));
                std::fs::remove_file(dir.join("old")).unwrap();
                let list = std::fs::read_to_string(dir.join("manifest.json")).unwrap();
                assert!(list.contains(&old), "the list's digests are those of sha256sum");
                std::fs::write(dir.join("manifest.json"), list.replace(&old, &new)).unwrap();
            }),
        ),
    ];
    let target = top.join("target");
    // The keys of the target are the operator's own.
    copy(&town.state.with_extension("keys"), &top.join("target.keys"));
    for (what, change) in changes {
        let dir = top.join("touched");
        let _ = std::fs::remove_dir_all(&dir);
        copy(&backup, &dir);
        change(&dir);
        let no = run(&["restore", "--from", dir.to_str().unwrap()], &target);
        assert!([65, 74].contains(&code(&no)), "{what}: {}", said(&no));
        assert!(!target.join("operator.toml").exists(), "{what}");
        let _ = std::fs::remove_dir_all(&target);
    }
    // Another operator's keys do not open it.
    let other = top.join("other");
    town.programs.init_operator(&other, town.bank.url()).unwrap();
    std::fs::remove_dir_all(&other).unwrap();
    let no = run(&["restore", "--from", backup.to_str().unwrap()], &other);
    assert_eq!(code(&no), 77, "{}", said(&no));
    let restored = run(&["restore", "--from", backup.to_str().unwrap()], &target);
    assert_eq!(code(&restored), 0, "{}", said(&restored));
}
