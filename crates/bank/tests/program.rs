//! The bank as a program, over HTTP: two banks by configuration, the rail, the customer's calls, what bad input gets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::inconsistent_digit_grouping,
    missing_docs
)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{A, B, ManualClock, books_of, flo, short};
use florin_bank::{
    Access, Admin, BankConfig, BankError, BankKeys, BankRail, ConfigFault, Cursor, SandboxClient, run,
};
use florin_books::{Timestamp, TxId};
use florin_crypto::{Secret, SeededEntropy, entropy::Entropy};
use florin_http::{Client, ClientConfig, ServeReport, Stop};
use florin_money::{Amount, Currency};
use florin_parties::bank::{BankEvent, Direction, Order, OrderId};
use florin_store::MemoryStore;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

struct Running {
    url: String,
    stop: Stop,
    task: JoinHandle<ServeReport>,
}

fn config(own: &str, peer: &str, peer_url: &str, secret: &Path) -> BankConfig {
    let text = serde_json::json!({
        "name": format!("Bank {own}"), "bank_code": own, "listen": "127.0.0.1:0", "directory": "unused",
        "peers": [{ "bank_code": peer, "url": peer_url, "secret_file": secret }],
    });
    serde_json::from_value(text).unwrap()
}

fn keys() -> BankKeys {
    BankKeys { access: Secret::new([1; 32]), admin: Secret::new([2; 32]) }
}

fn http() -> Client {
    Client::new(ClientConfig { timeout: Duration::from_secs(5), ..ClientConfig::default() }).unwrap()
}

fn start(
    config: BankConfig,
    store: &MemoryStore,
    clock: &Arc<ManualClock>,
    listener: TcpListener,
) -> Running {
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, books, clock) = (Stop::new(), books_of(store, clock), clock.clone());
    let stopping = stop.clone();
    let task =
        tokio::spawn(
            async move { run(&config, books, &keys(), clock, listener, None, stopping).await.unwrap() },
        );
    Running { url, stop, task }
}

async fn port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Reads news until `wanted` is among it.
async fn hear(rail: &dyn BankRail, wanted: &str) -> Vec<BankEvent> {
    for _ in 0..500 {
        let (events, _) = rail.poll(Cursor(0), 99).await.unwrap();
        if events.iter().any(|e| short(&e.what) == wanted) {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never heard {wanted}");
}

fn secret_file(dir: &Path) -> std::path::PathBuf {
    let file = dir.join("shared");
    std::fs::write(&file, format!("{}\n", *Access::new(Secret::new([9; 32])).to_text())).unwrap();
    file
}

fn refused(error: BankError) -> String {
    match error {
        BankError::Refused(problem) => problem.slug.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_banks_by_configuration_and_one_of_them_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, clock) = (secret_file(dir.path()), ManualClock::at(1_000_000));
    let mut chance = SeededEntropy::from_number(1);
    let (port_a, port_b) = (port().await, port().await);
    let (url_a, at_b) = (format!("http://{}", port_a.local_addr().unwrap()), port_b.local_addr().unwrap());
    let a = start(config(A, B, &format!("http://{at_b}"), &secret), &MemoryStore::new(), &clock, port_a);
    let store_b = MemoryStore::new();
    let b = start(config(B, A, &url_a, &secret), &store_b, &clock, port_b);
    let http = http();
    assert!(SandboxClient::card(&http, &b.url).await.unwrap().test);
    let holder = SandboxClient::open(&http, &b.url, TxId::new(chance.array()), "Holder", None).await.unwrap();
    b.stop.trigger();
    assert!(b.task.await.unwrap().drained);

    let operator =
        SandboxClient::open(&http, &a.url, TxId::new(chance.array()), "Operator", None).await.unwrap();
    operator.deposit(TxId::new(chance.array()), flo(50_00)).await.unwrap();
    let order = Order {
        id: OrderId::new(chance.array()),
        direction: Direction::Credit,
        account: holder.iban().clone(),
        amount: flo(12_00),
        remittance: "payout".into(),
        mandate: None,
    };
    let rail: Arc<dyn BankRail> = Arc::new(operator);
    let receipt = rail.submit(std::slice::from_ref(&order)).await.unwrap();
    assert_eq!(rail.submit(std::slice::from_ref(&order)).await.unwrap(), receipt);
    assert_eq!(receipt.orders[0].received_at, Timestamp(1_000_000));
    hear(&*rail, "accepted").await;

    let again =
        start(config(B, A, &url_a, &secret), &store_b, &clock, TcpListener::bind(at_b).await.unwrap());
    // The first bank waits a while after each failure, by its own clock.
    let passing = clock.clone();
    let ticking = tokio::spawn(async move {
        loop {
            passing.pass(1_000);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let events = hear(&*rail, "booked").await;
    ticking.abort();
    assert_eq!(events.len(), 3);
    let view = holder.account().await.unwrap();
    assert_eq!(view.balance, "12.00 FLO");
    assert_eq!(holder.statement(0).await.unwrap().entries[0].remittance, "payout");
    for bank in [a, again] {
        bank.stop.trigger();
        bank.task.await.unwrap();
    }
    assert_eq!(rail.poll(Cursor(0), 9).await.unwrap_err(), BankError::NotSent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, clock) = (secret_file(dir.path()), ManualClock::at(1_000_000));
    let mut chance = SeededEntropy::from_number(2);
    let config = config(A, B, "http://127.0.0.1:9", &secret);
    let bank = start(config, &MemoryStore::new(), &clock, port().await);
    let http = http();
    let ada = SandboxClient::open(&http, &bank.url, TxId::new(chance.array()), "Ada", None).await.unwrap();
    let txid = TxId::new(chance.array());
    let stranger = SandboxClient::of(
        &http,
        &bank.url,
        Currency::FLO,
        ada.iban().clone(),
        Access::new(Secret::new([3; 32])),
    );
    assert_eq!(refused(stranger.account().await.unwrap_err()), "wrong-access");
    assert_eq!(refused(stranger.deposit(txid, flo(1)).await.unwrap_err()), "wrong-access");
    assert_eq!(refused(stranger.poll(Cursor(0), 1).await.unwrap_err()), "wrong-access");
    let euro = Amount::new(1, Currency::iso("EUR").unwrap());
    assert_eq!(refused(ada.deposit(txid, euro).await.unwrap_err()), "wrong-currency");
    let overdraw = ada.transfer(txid, ada.iban(), flo(1), "").await.unwrap_err();
    assert_eq!(refused(overdraw), "insufficient-funds");
    let admin = Admin::new(&http, &bank.url, Access::new(Secret::new([3; 32])));
    assert_eq!(refused(admin.set_delay(txid, 1).await.unwrap_err()), "wrong-access");
    let admin = Admin::new(&http, &bank.url, Access::new(keys().admin));
    admin.set_delay(txid, 1).await.unwrap();
    admin.set_reject(txid, Some(ada.iban()), "AC04", 1).await.unwrap();

    let (accounts, orders) = (format!("{}/accounts", bank.url), format!("{}/interbank", bank.url));
    let good = format!("{{\"txid\":\"{txid}\",\"holder\":\"Eve\"}}");
    for (url, kind, body, status, slug) in [
        (&accounts, "application/json", good.replace('}', ",\"more\":1}"), 400, "bad-request"),
        (&accounts, "application/json", good.replace("holder", "owner"), 400, "bad-request"),
        (&accounts, "application/json", good.replace("tx_", "xt_"), 400, "bad-request"),
        (&accounts, "application/json", format!("{good}x"), 400, "bad-request"),
        (&accounts, "text/plain", good.clone(), 415, "wrong-content-type"),
        (&accounts, "application/json", " ".repeat(70_000), 413, "body-too-large"),
        (&orders, "application/json", good, 400, "bad-request"),
    ] {
        let answer = http.post(url, kind, body.clone()).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{body:.80}");
        assert_eq!(answer.problem().unwrap().slug.unwrap(), slug);
    }
    for (path, slug) in
        [("/nowhere", "no-such-page"), ("/orders", "method-not-allowed"), ("/accounts/DE00", "bad-request")]
    {
        let answer = http.get(&format!("{}{path}", bank.url), []).await.unwrap();
        assert_eq!(answer.problem().unwrap().slug.unwrap(), slug, "{path}");
    }
    assert_eq!(http.get(&format!("{}/readyz", bank.url), []).await.unwrap().status.as_u16(), 200);
    bank.stop.trigger();
    bank.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_bank_needs_the_shared_secret() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, clock) = (secret_file(dir.path()), ManualClock::at(1_000_000));
    let config = config(A, B, "http://127.0.0.1:9", &secret);
    let bank = start(config, &MemoryStore::new(), &clock, port().await);
    let http = http();
    let ada = SandboxClient::open(&http, &bank.url, TxId::new([8; 16]), "Ada", None).await.unwrap();
    let payment = florin_bank::messages::InterbankPayment {
        txid: TxId::new([7; 16]).to_string(),
        from: B.into(),
        direction: "credit".into(),
        account: ada.iban().iban().into(),
        amount: "5.00 FLO".into(),
        other: common::code(B).account("1".parse().unwrap()).unwrap().iban().into(),
        other_name: "Eve".into(),
        remittance: String::new(),
        return_reason: None,
    };
    use florin_bank::{HttpInterbank, Interbank};
    let wire = |secret: [u8; 32]| {
        let access = Access::new(Secret::new(secret));
        HttpInterbank::new(&http, [(common::code(A), bank.url.clone(), access)])
    };
    let wrong = wire([3; 32]).send(common::code(A), &payment).await.unwrap_err();
    assert_eq!(refused(wrong), "wrong-access");
    let mut stranger = payment.clone();
    stranger.from = "99999903".into();
    let wrong = wire([9; 32]).send(common::code(A), &stranger).await.unwrap_err();
    assert_eq!(refused(wrong), "wrong-access");
    assert_eq!(ada.account().await.unwrap().balance, "0.00 FLO");
    for _ in 0..2 {
        let outcome = wire([9; 32]).send(common::code(A), &payment).await.unwrap();
        assert_eq!(outcome, florin_bank::messages::InterbankOutcome::Booked);
    }
    assert_eq!(ada.account().await.unwrap().balance, "5.00 FLO");
    let mut other = payment;
    other.amount = "6.00 FLO".into();
    let reused = wire([9; 32]).send(common::code(A), &other).await.unwrap_err();
    assert_eq!(refused(reused), "request-id-reused");
    bank.stop.trigger();
    bank.task.await.unwrap();
}

#[test]
fn configurations_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let secret = secret_file(dir.path());
    let good = config(A, B, "http://127.0.0.1:9", &secret);
    assert_eq!(good.check().unwrap().len(), 1);
    let fault = |f: &dyn Fn(&mut BankConfig)| {
        let mut config = good.clone();
        f(&mut config);
        config.check().map(|_| ()).unwrap_err()
    };
    assert_eq!(fault(&|c| c.name.clear()), ConfigFault::Name);
    assert_eq!(fault(&|c| c.delay_ms = u64::MAX), ConfigFault::Delay);
    assert_eq!(fault(&|c| c.exponent = 3), ConfigFault::Currency("FLO".into()));
    assert_eq!(fault(&|c| c.peers[0].bank_code = c.bank_code), ConfigFault::Peer(good.bank_code));
    assert!(matches!(fault(&|c| c.peers[0].url = "http://example.com".into()), ConfigFault::Url(..)));
    assert!(matches!(fault(&|c| c.peers[0].secret_file = "/nowhere".into()), ConfigFault::SecretFile(_)));
    for bad in ["{\"bank_code\":\"37040044\"}", "{\"more\":1}"] {
        assert!(serde_json::from_str::<BankConfig>(bad).is_err());
    }
}
