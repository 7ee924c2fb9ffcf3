//! An operator that really serves on loopback, a bank that says yes at once, and people who buy, pay, change and redeem.
#![allow(dead_code, reason = "each test file uses another part")]

pub mod court;
pub mod log;
pub mod runs;
pub mod search;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use florin_bank::{BankRail, Capabilities, Cursor, OrderReceipt, RailFuture, Receipt};
use florin_books::{Clock, PartyId, Timestamp, TxId};
use florin_coin::com::METHOD;
use florin_coin::messages::VDesc;
use florin_coin::payee::{self, InvoiceTerms, Presented};
use florin_coin::purchase_messages::WDesc;
use florin_coin::purchaser::{self, Collected};
use florin_coin::refund::{Holder, read_refund, refund};
use florin_coin::{Coin, CoinSet, IssuerKey, PDesc, PayId, Prepared, TidPy, aggregate, holder, payer};
use florin_crypto::{Digest, SigningKey, random};
use florin_http::{Client, ClientConfig, Stop};
use florin_money::{Amount, CoinList, Currency, Denominations};
use florin_operator::{KeyHolder, Operator, OperatorConfig, VaultPlaces, operator};
use florin_parties::asker::{prepare_confirm, prepare_enrol, prepare_register, read_register};
use florin_parties::bank::{BankAccount, BankEvent, BankNews, Direction, Mandate, Order};
use florin_parties::{IdentityKeys, Roles};
use florin_shell::clock::SystemClock;
use florin_shell::entropy::OsEntropy;
use florin_shell::exit::ExitCode;
use florin_shell::passphrase::Passphrase;
use florin_shell::service::Listen;

/// A bank that takes every order up and books it at once.
#[derive(Default)]
pub struct Teller {
    orders: Mutex<Vec<Order>>,
    news: Mutex<Vec<BankEvent>>,
    /// Debits wait.
    pub closed: std::sync::atomic::AtomicBool,
}

impl BankRail for Teller {
    fn submit<'a>(&'a self, orders: &'a [Order]) -> RailFuture<'a, Receipt> {
        Box::pin(async move {
            let at = SystemClock.now();
            let mut known = self.orders.lock().unwrap();
            for order in orders {
                if known.iter().any(|o| o.id == order.id) {
                    continue;
                }
                known.push(order.clone());
                self.news.lock().unwrap().push(BankEvent {
                    id: florin_crypto::digest("test/booked", &[order.id.bytes()]).short(),
                    at,
                    what: BankNews::Booked(order.id),
                });
            }
            let receipt = |o: &Order| OrderReceipt { id: o.id, received_at: at };
            Ok(Receipt { orders: orders.iter().map(receipt).collect() })
        })
    }

    fn poll<'a>(&'a self, since: Cursor, max: usize) -> RailFuture<'a, (Vec<BankEvent>, Cursor)> {
        Box::pin(async move {
            if self.closed.load(std::sync::atomic::Ordering::SeqCst) {
                return Ok((Vec::new(), since));
            }
            let news = self.news.lock().unwrap();
            let from = usize::try_from(since.0).unwrap();
            let events: Vec<BankEvent> = news.iter().skip(from).take(max).cloned().collect();
            let cursor = Cursor(since.0 + u64::try_from(events.len()).unwrap());
            Ok((events, cursor))
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { debits: true, instant: true, amount_max: None, orders_max: 50, test: true }
    }
}

impl Teller {
    /// The bank gives the last debit of so much back.
    pub fn give_back(&self, minor: u64) {
        let orders = self.orders.lock().unwrap();
        let debit = |o: &&Order| o.direction == Direction::Debit && o.amount == flo(minor);
        let id = orders.iter().rev().find(debit).unwrap().id;
        let what = BankNews::Returned(id, "MD06".into());
        let event = florin_crypto::digest("test/returned", &[id.bytes()]).short();
        self.news.lock().unwrap().push(BankEvent { id: event, at: SystemClock.now(), what });
    }

    fn code_for(&self, account: &BankAccount) -> Option<String> {
        let orders = self.orders.lock().unwrap();
        let to = |o: &&Order| o.direction == Direction::Credit && o.account == *account;
        orders
            .iter()
            .rev()
            .filter(to)
            .find_map(|o| o.remittance.strip_prefix("FLORIN CODE ").map(str::to_owned))
    }
}

/// Somebody with keys.
pub struct Person {
    pub keys: IdentityKeys,
    pub certificate: Vec<u8>,
    pub account: BankAccount,
}

/// A coin, and the purchases that its value came from.
#[derive(Clone)]
pub struct Held {
    pub coin: Coin,
    pub from: BTreeSet<TxId>,
}

/// A purchase, as its purchaser knows it.
pub struct Bought {
    pub id: TxId,
    /// `[claim, K secret, list]`.
    pub kept: Vec<u8>,
    pub list: CoinList,
}

/// The operator, and everybody around it.
pub struct Town {
    pub dir: PathBuf,
    pub places: VaultPlaces,
    pub config: OperatorConfig,
    pub teller: Arc<Teller>,
    pub operator: Arc<Operator>,
    url: String,
    http: Client,
    stop: Stop,
    runs: tokio::task::JoinHandle<ExitCode>,
    accounts: Mutex<u64>,
}

pub fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

pub fn worth(coins: &[Held]) -> u64 {
    coins.iter().map(|held| held.coin.value).sum()
}

pub fn txid() -> TxId {
    TxId::new(random(&mut OsEntropy))
}

fn exp() -> Timestamp {
    SystemClock.now().plus_ms(60 * 60 * 1000)
}

pub fn split(minor: u64) -> CoinList {
    Denominations::one_two_five(Currency::FLO, florin_money::DENOMINATIONS_DEFAULT)
        .split_minor(minor)
        .unwrap()
}

/// Keys, empty books and two key holders in a folder.
pub fn make(dir: &Path, batch: usize, wait_ms: u64) -> (VaultPlaces, OperatorConfig) {
    let places = VaultPlaces { state: dir.join("operator"), second: Some(dir.join("keys/second-factor")) };
    let mut config = OperatorConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        registrations_per_hour: 100_000,
        bank_poll_ms: 10,
        claims_batch: batch,
        claims_wait_ms: wait_ms,
        ..OperatorConfig::default()
    };
    config.key_holder = places.create_holders(&Passphrase::none(), &mut OsEntropy).unwrap();
    operator::create(&config, &places, &Passphrase::none(), &mut OsEntropy).unwrap();
    (places, config)
}

pub fn open(places: &VaultPlaces, config: &OperatorConfig, teller: &Arc<Teller>) -> Arc<Operator> {
    Operator::open(config.clone(), places, &Passphrase::none(), teller.clone()).unwrap()
}

/// The files of both holders.
pub fn holders(places: &VaultPlaces) -> [KeyHolder; 2] {
    [1, 2].map(|n| {
        let file = places.holders().join(format!("holder-{n}.key"));
        KeyHolder::open(&file, &Passphrase::none()).unwrap()
    })
}

impl Town {
    pub async fn start(dir: &Path, batch: usize, wait_ms: u64) -> Self {
        let (places, config) = make(dir, batch, wait_ms);
        Self::resume(dir, places, config, Arc::new(Teller::default())).await
    }

    /// Serves what is there.
    pub async fn resume(
        dir: &Path,
        places: VaultPlaces,
        config: OperatorConfig,
        teller: Arc<Teller>,
    ) -> Self {
        let operator = open(&places, &config, &teller);
        let bound = Listen::plain(config.listen).bind().await.unwrap();
        let (url, stop) = (bound.url(), Stop::new());
        let runs = tokio::spawn(operator.clone().run(bound, stop.clone()));
        let http = Client::new(ClientConfig::default()).unwrap();
        let dir = dir.to_owned();
        Self {
            dir,
            places,
            config,
            teller,
            operator,
            url,
            http,
            stop,
            runs,
            accounts: Mutex::new(below_a_billion()),
        }
    }

    /// Stops it in good order.
    pub async fn end(self) -> (VaultPlaces, OperatorConfig, Arc<Teller>) {
        self.stop.trigger();
        assert_eq!(self.runs.await.unwrap(), ExitCode::Done);
        drop(self.operator);
        (self.places, self.config, self.teller)
    }

    fn key(&self) -> IssuerKey {
        IssuerKey::of(&self.operator.published().list, SystemClock.now()).unwrap()
    }

    /// A message to the operator: its answer, or the slug of its refusal.
    pub async fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, String> {
        let kind = HeaderValue::from_static(florin_shell::exchange::CONTENT_TYPE);
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        let url = format!("{}{path}", self.url);
        let answer =
            self.http.request(Method::POST, &url, headers, body.to_vec().into(), 1 << 20).await.unwrap();
        if answer.status.is_success() {
            return Ok(answer.body.to_vec());
        }
        let problem: HashMap<String, serde_json::Value> = serde_json::from_slice(&answer.body).unwrap();
        Err(problem["slug"].as_str().unwrap().to_owned())
    }

    pub async fn description(&self) -> serde_json::Value {
        let url = format!("{}/.well-known/florin", self.url);
        let answer =
            self.http.request(Method::GET, &url, HeaderMap::new(), Vec::new().into(), 1 << 20).await.unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub async fn person(&self, roles: Roles) -> Person {
        let (list, now) = (&self.operator.published().list, SystemClock.now());
        let keys = IdentityKeys::generate(&mut OsEntropy);
        let asked = prepare_register(&keys, None, list, (txid(), exp()), now, &mut OsEntropy).unwrap();
        let answer = self.post(&asked.path, &asked.body).await.unwrap();
        let certificate = read_register(&asked.pending, &answer, list).unwrap().bytes;
        let number = {
            let mut accounts = self.accounts.lock().unwrap();
            *accounts += 1;
            *accounts
        };
        let bank: florin_bank::BankCode = "99990001".parse().unwrap();
        let account = bank.account(number.to_string().parse().unwrap()).unwrap();
        if roles != Roles::NONE {
            let asked =
                prepare_enrol(&keys, roles, &account, list, (txid(), exp()), now, &mut OsEntropy).unwrap();
            self.post(&asked.path, &asked.body).await.unwrap();
            let code = loop {
                match self.teller.code_for(&account) {
                    Some(code) => break code,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            let asked = prepare_confirm(&keys, &code, list, (txid(), exp()), now, &mut OsEntropy).unwrap();
            self.post(&asked.path, &asked.body).await.unwrap();
        }
        Person { keys, certificate, account }
    }

    /// Orders coins; they are not collected yet.
    pub async fn order(&self, me: &Person, list: &CoinList, anonymous: bool) -> Bought {
        let asked = purchaser::wrequest1(&self.key(), me.keys.id(), exp(), &mut OsEntropy).unwrap();
        let answer = self.post(asked.path, &asked.body).await.unwrap();
        let w_desc = WDesc {
            total: flo(list.total_minor()),
            list: list.clone(),
            account: me.account.clone(),
            authorisation: Mandate { id: txid().to_string().split_off(3), signed_at: SystemClock.now() },
            anonymous,
        };
        let asked = purchaser::wrequest3(&asked.pending, &answer, &me.keys, w_desc, &mut OsEntropy).unwrap();
        let answer = self.post(asked.path, &asked.body).await.unwrap();
        let accepted = purchaser::read_accepted(&asked.pending, &answer).unwrap();
        Bought { id: accepted.id, kept: accepted.purchase.to_vec(), list: list.clone() }
    }

    /// Asks once for the coins; nothing as long as the claim is not there.
    pub async fn try_collect(&self, bought: &Bought) -> Option<Vec<u8>> {
        let asked = purchaser::collect(&self.key(), &bought.kept, exp(), &mut OsEntropy).unwrap();
        self.post(asked.path, &asked.body).await.ok()
    }

    /// Collects them, asking as long as the bank is silent.
    pub async fn collect(&self, bought: &Bought) -> Vec<Held> {
        for _ in 0..3000 {
            let asked = purchaser::collect(&self.key(), &bought.kept, exp(), &mut OsEntropy).unwrap();
            match self.post(asked.path, &asked.body).await {
                Err(slug) if slug == "not-yet" => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(slug) => panic!("{slug}"),
                Ok(answer) => return self.collected(bought, &asked, &answer).await,
            }
        }
        panic!("the coins do not come")
    }

    /// The same, with a one-time key that can ask for the coins again.
    pub async fn collect_refundable(&self, bought: &Bought, key: &SigningKey) -> Vec<Held> {
        for _ in 0..3000 {
            let (issuer, refund) = (self.key(), Some(key.verify_key()));
            let asked =
                purchaser::collect_refundable(&issuer, &bought.kept, refund, exp(), &mut OsEntropy).unwrap();
            match self.post(asked.path, &asked.body).await {
                Err(slug) if slug == "not-yet" => tokio::time::sleep(Duration::from_millis(10)).await,
                answer => return self.collected(bought, &asked, &answer.unwrap()).await,
            }
        }
        panic!("the coins do not come")
    }

    async fn collected(&self, bought: &Bought, asked: &Prepared, answer: &[u8]) -> Vec<Held> {
        let list = &self.operator.published().list;
        let Collected::Coins { coins, ack } =
            purchaser::read_collected(&asked.pending, answer, list).unwrap()
        else {
            panic!("refused")
        };
        self.post(purchaser::ACK_PATH, &ack).await.unwrap();
        let from = BTreeSet::from([bought.id]);
        coins.into_iter().map(|coin| Held { coin, from: from.clone() }).collect()
    }

    /// Refund: what a key's holder has not spent, in new coins.
    pub async fn refund(&self, key: &SigningKey, from: &BTreeSet<TxId>) -> Vec<Held> {
        let asked = refund(&self.key(), &Holder::Key(key), (txid(), exp()), &mut OsEntropy).unwrap();
        let answer = self.post(asked.path, &asked.body).await.unwrap();
        let list = &self.operator.published().list;
        let refunded = read_refund(&asked.pending, &answer, list).unwrap();
        let coins = refunded.sets.into_iter().flat_map(|set| set.coins);
        coins.map(|coin| Held { coin, from: from.clone() }).collect()
    }

    /// Asks for the coins of a purchase that the bank has refused: why.
    pub async fn refused(&self, bought: &Bought) -> String {
        let asked = purchaser::collect(&self.key(), &bought.kept, exp(), &mut OsEntropy).unwrap();
        let answer = self.post(asked.path, &asked.body).await.unwrap();
        let list = &self.operator.published().list;
        match purchaser::read_collected(&asked.pending, &answer, list).unwrap() {
            Collected::Refused { reason, .. } => reason,
            Collected::Coins { .. } => panic!("coins"),
        }
    }

    /// Pays; the payee gets new coins, or money on its account.
    pub async fn pay(&self, shop: &Person, coins: &[Held], redeem: bool) -> PayId {
        let total = worth(coins);
        let money = || payee::redeem(flo(total));
        let v_desc = if redeem { money() } else { payee::refresh(flo(total), split(total)).unwrap() };
        self.pay_as(shop, coins, v_desc).await
    }

    /// Pays, and the payee chooses what becomes of it.
    pub async fn pay_as(&self, shop: &Person, coins: &[Held], v_desc: VDesc) -> PayId {
        let total = worth(coins);
        let terms = InvoiceTerms {
            tid: TidPy::new(random(&mut OsEntropy)),
            p_desc: PDesc {
                amount: flo(total),
                goods: "one page".into(),
                method: METHOD.into(),
                terms: Digest([0; 32]),
            },
            salt: random(&mut OsEntropy),
            deadline: SystemClock.now().plus_ms(10 * 60 * 1000),
        };
        let list = &self.operator.published().list;
        let invoice = payee::invoice(&shop.keys, &shop.certificate, list.operator, &terms);
        let com = payer::read_invoice(&invoice, list, SystemClock.now())
            .unwrap()
            .com(PartyId::new(random(&mut OsEntropy)));
        let paying = payer::send_coins(&self.key(), &com, set(coins), &mut OsEntropy).unwrap();
        let sent = payee::read_send_coins(&paying.send_coins, shop.keys.id()).unwrap();
        let presented = Presented {
            payer: sent.context.sender,
            tid: com.tid,
            com: com.digest(),
            deadline: com.deadline,
            enc_c1: sent.enc_c1,
        };
        let asked =
            payee::validation_req(&self.key(), &shop.keys, &presented, v_desc, &mut OsEntropy).unwrap();
        let answer = self.post(asked.path, &asked.body).await.unwrap();
        let issuance = payee::read_issuance1(&asked.pending, &answer, list).unwrap();
        self.post(payee::ACK_PATH, &issuance.issuance2).await.unwrap();
        paying.pay_id
    }

    pub async fn change(&self, coins: &[Held], list: CoinList) -> Vec<Held> {
        let asked = holder::change(&self.key(), set(coins), list, txid(), exp(), &mut OsEntropy).unwrap();
        let answer = self.post(asked.path, &asked.body).await.unwrap();
        let news = holder::read_exchange(&asked.pending, &answer, &self.operator.published().list).unwrap();
        assert!(news.causes.is_empty());
        let from: BTreeSet<TxId> = coins.iter().flat_map(|held| held.from.iter().copied()).collect();
        news.coins.into_iter().map(|coin| Held { coin, from: from.clone() }).collect()
    }

    /// New coins of the same values.
    pub async fn refresh(&self, coins: &[Held]) -> Vec<Held> {
        let asked = holder::refresh(&self.key(), set(coins), txid(), exp(), &mut OsEntropy).unwrap();
        let answer = self.post(asked.path, &asked.body).await.unwrap();
        let news = holder::read_exchange(&asked.pending, &answer, &self.operator.published().list).unwrap();
        assert!(news.causes.is_empty());
        let from: BTreeSet<TxId> = coins.iter().flat_map(|held| held.from.iter().copied()).collect();
        news.coins.into_iter().map(|coin| Held { coin, from: from.clone() }).collect()
    }

    /// All that was gathered, in one order.
    pub async fn redeem_gathered(&self, me: &Person) {
        let what = (Currency::FLO, None);
        let asked = aggregate::redeem(&self.key(), &me.keys, what, txid(), exp(), &mut OsEntropy).unwrap();
        let answer = self.post(asked.path, &asked.body).await.unwrap();
        aggregate::read_redeemed(&asked.pending, &answer, &self.operator.published().list).unwrap();
    }

    pub async fn redeem(&self, me: &Person, coins: &[Held]) {
        let asked = holder::redeem(&self.key(), &me.keys, set(coins), txid(), exp(), &mut OsEntropy).unwrap();
        let answer = self.post(asked.path, &asked.body).await.unwrap();
        let news = holder::read_exchange(&asked.pending, &answer, &self.operator.published().list).unwrap();
        assert!(news.payout.is_some());
    }
}

/// Copies a folder with what is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = {
            let e = entry.unwrap();
            (e.path(), to.join(e.file_name()))
        };
        if path.is_dir() { copy(&path, &to) } else { std::fs::copy(&path, &to).map(drop).unwrap() }
    }
}

/// Where account numbers begin: another for each town.
fn below_a_billion() -> u64 {
    u64::from(u32::from_be_bytes(random(&mut OsEntropy))) % 1_000_000_000
}

fn set(coins: &[Held]) -> CoinSet {
    CoinSet::new(coins.iter().map(|held| held.coin.clone()).collect(), Currency::FLO).unwrap()
}
