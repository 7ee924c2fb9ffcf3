//! The demo's story, step by step: each line says what has happened, with amounts and times.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;

use florin_bank::SandboxClient;
use florin_merchant::desk::Desk;
use florin_money::{Amount, Currency};
use florin_operator::audit;
use florin_parties::{Roles, network_id};
use florin_shell::exit::ExitCode;
use florin_shell::passphrase::Passphrase;
use florin_wallet::{
    BuyOptions, BuyState, CoinMix, InitOptions, OpenOptions, Output as Page, PayOptions, PayOutcome,
    PayReport, Wallet,
};

use super::world::{PATIENCE, World, txid};
use crate::failure::Failure;
use crate::output::Output;

/// What the three pages cost.
const PRICES: &str = r#"
[[rule]]
path = "/one"
price = "0.50 FLO"
description = "article one"

[[rule]]
path = "/two"
price = "0.35 FLO"
description = "article two"

[[rule]]
path = "/three"
price = "0.20 FLO"
description = "article three"

[[rule]]
path = "/"
free = true
"#;

/// Prints the steps.
struct Teller {
    output: Output,
    begun: Instant,
    steps: u32,
}

impl Teller {
    fn step(&mut self, who: &str, what: impl Display) {
        self.steps = self.steps.saturating_add(1);
        let seconds = self.begun.elapsed().as_secs_f64();
        if self.output.json {
            let what = what.to_string();
            self.output
                .value(&serde_json::json!({"step": self.steps, "at_s": seconds, "who": who, "what": what}));
        } else {
            self.output.line(format!("{seconds:>7.3} s  {who:<9} {what}"));
        }
    }
}

/// What did not happen as it should.
fn wrong(what: impl Display) -> Failure {
    Failure::new(ExitCode::Refused, "demo-failed", what.to_string())
}

fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

/// Tells the whole story; what runs at its end.
pub async fn tell(dir: &Path, output: Output, begun: Instant) -> Result<World, Failure> {
    let mut teller = Teller { output, begun, steps: 0 };
    let mut world = World::start(dir).await?;
    teller.step("bank", format!("a sandbox bank listens on {}", world.bank_url));
    let fingerprint = network_id(world.operator.id);
    teller.step("operator", format!("listens on {}, fingerprint {fingerprint}", world.operator_url));

    let site = world.site().await?;
    let (desk, member, config) = world.gate(&site, PRICES).await?;
    teller.step("merchant", format!("an ordinary site on {site}; its gate is registered as {}", member.name));
    let till = world.account("The corner shop").await?;
    enrol_gate(&desk, &till, &mut teller).await?;
    let gate_url = world.serve_gate(desk.clone(), member, config).await?;
    teller.step("merchant", format!("the gate stands in front of it on {gate_url}"));

    let alice = world.account("Alice").await?;
    alice.deposit(txid(), flo(5_000)).await?;
    teller.step("Alice", format!("opens the bank account {} with {}", alice.iban().iban(), flo(5_000)));
    let wallet = make_wallet(&world, &alice, &mut teller).await?;
    let shop = Shop { gate_url: gate_url.clone(), world: &world };
    buy(&wallet, flo(2_070), &mut teller).await?;
    shop.unpaid(&mut teller).await?;
    paid(&shop.pay(&wallet, "/one").await?, "exact coins", &mut teller)?;
    paid(&shop.pay(&wallet, "/two").await?, "after change at the operator", &mut teller)?;
    let wallet = copied(wallet, &shop, &mut teller).await?;
    wallet.close().map_err(wrong)?;

    pay_out(&desk, &till, &mut teller).await?;
    books(&world, output, &mut teller).await?;
    output.text(format!(
        "Operator {}   bank {}   gate {gate_url}   site {site}",
        world.operator_url, world.bank_url
    ));
    Ok(world)
}

async fn code_on(account: &SandboxClient) -> Result<String, Failure> {
    let until = Instant::now().checked_add(PATIENCE);
    while until.is_some_and(|end| Instant::now() < end) {
        let statement = account.statement(0).await?;
        let code = statement.entries.iter().rev().find_map(|e| e.remittance.strip_prefix("FLORIN CODE "));
        if let Some(code) = code {
            return Ok(code.trim().to_owned());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Err(wrong("the code did not arrive on the bank statement"))
}

async fn enrol_gate(desk: &Desk, till: &SandboxClient, teller: &mut Teller) -> Result<(), Failure> {
    desk.enrol(&till.iban().to_string(), PATIENCE).await.map_err(wrong)?;
    let code = code_on(till).await?;
    desk.confirm(&code, PATIENCE).await.map_err(wrong)?;
    teller.step(
        "merchant",
        format!("enrolled for pay-outs to {}; the code came with 0.01 FLO", till.iban().iban()),
    );
    Ok(())
}

fn wallet_dirs(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (dir.join(name), dir.join("alice.keys"))
}

fn open_wallet(dir: &Path, name: &str) -> Result<Wallet, Failure> {
    let (state, keys) = wallet_dirs(dir, name);
    let none = Passphrase::none();
    let mut options = OpenOptions::new(state, Some(keys), &none);
    options.json = true;
    Ok(Wallet::open(options)?)
}

async fn make_wallet(world: &World, alice: &SandboxClient, teller: &mut Teller) -> Result<Wallet, Failure> {
    let (state, keys) = wallet_dirs(&world.dir, "alice");
    let none = Passphrase::none();
    let made = Wallet::init(InitOptions {
        dir: state,
        keys_dir: Some(keys),
        passphrase: &none,
        operator: world.operator_url.clone(),
        pin: None,
        ca_file: None,
        seed: None,
    });
    let made = made.await?;
    teller.step("Alice", format!("makes a wallet and pins the operator {}", made.fingerprint));
    let wallet = open_wallet(&world.dir, "alice")?;
    let registered = wallet.register(None).await?;
    teller.step("Alice", format!("registers under a pseudonym, {}", registered.id));
    wallet.enrol(&alice.iban().to_string(), Roles::BOTH).await?;
    let code = code_on(alice).await?;
    wallet.confirm(&code).await?;
    teller.step("Alice", "enrols her bank account: the code on her statement confirms it");
    Ok(wallet)
}

async fn buy(wallet: &Wallet, amount: Amount, teller: &mut Teller) -> Result<(), Failure> {
    let options = BuyOptions { mix: CoinMix::Few, wait: PATIENCE, ..BuyOptions::default() };
    let bought = wallet.buy(amount, &options).await?;
    if bought.state != BuyState::Bought {
        return Err(wrong(format!("the coins were not bought: {bought}")));
    }
    teller.step(
        "Alice",
        format!("buys {} in {} coins, collected from her bank account", bought.amount, bought.coins),
    );
    Ok(())
}

struct Shop<'a> {
    gate_url: String,
    world: &'a World,
}

impl Shop<'_> {
    async fn pay(&self, wallet: &Wallet, path: &str) -> Result<PayReport, Failure> {
        let mut page = Page::Memory(Vec::new());
        let url = format!("{}{path}", self.gate_url);
        Ok(wallet.pay(&url, &PayOptions::default(), &mut page).await?)
    }

    /// What a browser or curl gets.
    async fn unpaid(&self, teller: &mut Teller) -> Result<(), Failure> {
        let answer = self.world.http.get(&format!("{}/one", self.gate_url), []).await.map_err(wrong)?;
        if answer.status.as_u16() != 402 {
            return Err(wrong(format!("a page without payment answers {}", answer.status)));
        }
        teller.step("anybody", "asks for /one without paying: 402, with what to do");
        Ok(())
    }
}

fn paid(report: &PayReport, how: &str, teller: &mut Teller) -> Result<(), Failure> {
    let (Some(amount), Some(bytes), PayOutcome::Paid, true) =
        (report.amount, report.page_bytes, report.outcome, report.receipt)
    else {
        return Err(wrong(format!("not paid: {report}")));
    };
    let what = report.what.as_deref().unwrap_or_default();
    teller.step("Alice", format!("pays {amount} ({how}) for {what}: {bytes} bytes, with a signed receipt"));
    Ok(())
}

/// A thief copies the wallet's folder, and is faster.
async fn copied(wallet: Wallet, shop: &Shop<'_>, teller: &mut Teller) -> Result<Wallet, Failure> {
    wallet.close().map_err(wrong)?;
    let dir = &shop.world.dir;
    copy_folder(&dir.join("alice"), &dir.join("thief")).map_err(wrong)?;
    teller.step("thief", "copies the wallet, key file and all");
    let thief = open_wallet(dir, "thief")?;
    let report = shop.pay(&thief, "/three").await?;
    if report.outcome != PayOutcome::Paid {
        return Err(wrong(format!("the copied wallet could not pay: {report}")));
    }
    thief.close().map_err(wrong)?;
    teller.step("thief", format!("pays {} for /three with a coin that Alice has too", flo(20)));
    let wallet = open_wallet(dir, "alice")?;
    let report = shop.pay(&wallet, "/three").await?;
    if report.outcome != PayOutcome::Denied || report.lost.is_empty() {
        return Err(wrong(format!("coins were accepted twice: {report}")));
    }
    for coin in &report.lost {
        teller.step("Alice", format!("is refused; only she is told why: {} is {}", coin.worth, coin.cause));
    }
    Ok(wallet)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    florin_shell::home::create_private(to).map_err(std::io::Error::other)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

async fn pay_out(desk: &Desk, till: &SandboxClient, teller: &mut Teller) -> Result<(), Failure> {
    let events = desk.history().map_err(wrong)?;
    let denied =
        events.iter().rev().find(|e| e.what.word().contains("den") || e.what.word().contains("refus"));
    if let Some(event) = denied {
        teller.step(
            "merchant",
            format!("sees of the refused payment only: {} {}", event.what.word(), event.amount),
        );
    }
    let paid = desk.payout(None, PATIENCE).await.map_err(wrong)?;
    let until = Instant::now().checked_add(PATIENCE);
    loop {
        let statement = till.statement(0).await?;
        if let Some(entry) = statement.entries.iter().find(|e| e.remittance.contains("FLORIN PAYOUT")) {
            teller.step("merchant", format!("pays out: {} arrive on the bank account", entry.amount));
            return Ok(());
        }
        if until.is_none_or(|end| Instant::now() > end) {
            return Err(wrong(format!("the pay-out {paid:?} did not arrive")));
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn books(world: &World, output: Output, teller: &mut Teller) -> Result<(), Failure> {
    // The bank's word on the last booking is under way.
    world.operator.bank.poll().await.map_err(wrong)?;
    let report = audit(&world.operator.lanes).await.map_err(wrong)?;
    teller.step("operator", "the books:");
    output.report(&report);
    if report.is_clean() { Ok(()) } else { Err(wrong("the audit is not clean")) }
}
