//! Honest parties at a running operator and its bank: register, enrol, buy, change, pay, redeem, each request sent with
//! the same bytes until it is answered. Source: VarietyCash §3; books.md, "Exactly once".

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use florin_bank::SandboxClient;
use florin_books::Clock as _;
use florin_books::{PartyId, Timestamp, TxId};
use florin_coin::com::{Com, PDesc, TidPy};
use florin_coin::messages::Outcome;
use florin_coin::payee::{self, Presented};
use florin_coin::purchase_messages::WDesc;
use florin_coin::purchaser::{self, Collected};
use florin_coin::{Coin, CoinSet, IssuerKey, Prepared, ReadError, holder, payer};
use florin_crypto::{ByteArray, Digest, random};
use florin_http::Client;
use florin_money::{Amount, CoinList, Currency};
use florin_parties::asker::{self, IdentityKeys};
use florin_parties::bank::{BankAccount, Mandate};
use florin_parties::confirmation::ConfirmOutcome;
use florin_parties::enrolment::CODE_PREFIX;
use florin_parties::{KeyList, KeyUse, OperatorKeys, Roles, SignedKeyList, key_id};
use florin_shell::clock::SystemClock;
use florin_shell::entropy::OsEntropy;
use florin_shell::exchange::{CONTENT_TYPE, Delivered, refused_or_later};

use crate::error::BenchError;

/// How long requests and payments stay good.
const LIFE_MS: u64 = 60 * 60 * 1000;
/// The first pause before the same bytes are sent again.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How long to wait for a code from the bank.
const CODE_TRIES: u32 = 600;

/// An answer that was read, with what it answers.
#[derive(Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// Where it was sent to.
    pub path: String,
    /// What was sent.
    pub body: Vec<u8>,
    /// What came.
    pub reply: Vec<u8>,
}

/// An operator, its bank, and what everybody knows about them.
pub struct Market {
    http: Client,
    url: String,
    bank_url: String,
    keys: KeyList,
    currency: Currency,
    patience: Duration,
    log: Option<Arc<Mutex<Vec<Acknowledged>>>>,
    repeated: AtomicU64,
}

/// A registered participant.
pub struct Holder {
    /// Its keys.
    pub identity: IdentityKeys,
}

/// A participant who is enrolled to buy and to redeem, with an account at the bank.
pub struct Customer {
    /// The participant.
    pub holder: Holder,
    /// Its account at the bank.
    pub account: SandboxClient,
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn tx() -> TxId {
    TxId::new(random(&mut OsEntropy))
}

/// Until when a request made now is good.
#[must_use]
pub fn expiry() -> Timestamp {
    now().plus_ms(LIFE_MS)
}

impl Market {
    /// Reads the operator's keys.
    ///
    /// # Errors
    /// `Page`, `PageUnreadable`, `Keys`.
    pub async fn open(http: Client, url: &str, bank_url: &str) -> Result<Self, BenchError> {
        let answer = http.get(&format!("{url}/.well-known/florin"), []).await?;
        let page: serde_json::Value =
            serde_json::from_slice(&answer.body).map_err(|_| BenchError::PageUnreadable)?;
        let text = page.get("keys").and_then(|k| k.as_str()).ok_or(BenchError::PageUnreadable)?;
        let signed = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| BenchError::PageUnreadable)?;
        let keys = SignedKeyList::verify(&signed, None)?;
        let currency = keys.currencies.first().map(|c| c.currency).ok_or(BenchError::PageUnreadable)?;
        let (url, bank_url) = (url.to_owned(), bank_url.to_owned());
        let patience = Duration::from_secs(60);
        Ok(Self { http, url, bank_url, keys, currency, patience, log: None, repeated: AtomicU64::new(0) })
    }

    /// Notes every answer that was read.
    #[must_use]
    pub fn logging(mut self, log: Arc<Mutex<Vec<Acknowledged>>>) -> Self {
        self.log = Some(log);
        self
    }

    /// How often a request was sent again, because nothing definite had come.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::SeqCst)
    }

    /// The operator's keys.
    #[must_use]
    pub const fn keys(&self) -> &KeyList {
        &self.keys
    }

    /// The operator's currency.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// The key to seal to.
    ///
    /// # Errors
    /// `PageUnreadable`: the list has none for now.
    pub fn issuer(&self) -> Result<IssuerKey, BenchError> {
        IssuerKey::of(&self.keys, now()).ok_or(BenchError::PageUnreadable)
    }

    /// Sends once.
    pub async fn deliver(&self, path: &str, body: &[u8]) -> Delivered {
        match self.http.post(&format!("{}{path}", self.url), CONTENT_TYPE, body.to_vec()).await {
            Ok(answer) if answer.status.is_success() => Delivered::Answer(answer.body.to_vec()),
            Ok(answer) => refused_or_later(answer.problem()),
            Err(_) => Delivered::Later { slug: None, after_s: None },
        }
    }

    /// Sends the same bytes until they are answered.
    ///
    /// # Errors
    /// `Refused`, `NoAnswer`.
    pub async fn ask(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, BenchError> {
        let until = Instant::now().checked_add(self.patience);
        let mut pause = PAUSE_MIN;
        loop {
            let slug = match self.deliver(path, body).await {
                Delivered::Answer(reply) => return Ok(reply),
                Delivered::Refused(problem) => {
                    let slug = problem.slug.unwrap_or_default();
                    return Err(BenchError::Refused { path: path.to_owned(), slug });
                }
                Delivered::Later { slug, .. } => slug.unwrap_or_default(),
            };
            if until.is_none_or(|end| Instant::now() >= end) {
                return Err(BenchError::NoAnswer { path: path.to_owned(), slug });
            }
            self.repeated.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    /// As [`Market::ask`], and notes the answer: the same bytes must give it for ever.
    async fn ask_noted(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, BenchError> {
        let reply = self.ask(path, body).await?;
        if let Some(log) = &self.log {
            let noted = Acknowledged { path: path.to_owned(), body: body.to_vec(), reply: reply.clone() };
            log.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
        }
        Ok(reply)
    }

    async fn ask_prepared(&self, prepared: &Prepared) -> Result<Vec<u8>, BenchError> {
        self.ask_noted(prepared.path, &prepared.body).await
    }

    /// Registers a pseudonym.
    ///
    /// # Errors
    /// Those of the operator.
    pub async fn register(&self) -> Result<Holder, BenchError> {
        let identity = IdentityKeys::generate(&mut OsEntropy);
        let once = (tx(), expiry());
        let asked = asker::prepare_register(&identity, None, &self.keys, once, now(), &mut OsEntropy)?;
        let answer = self.ask_noted(&asked.path, &asked.body).await?;
        asker::read_register(&asked.pending, &answer, &self.keys)?;
        Ok(Holder { identity })
    }

    /// Registers, opens an account with money in it, and enrols to buy and to redeem.
    ///
    /// # Errors
    /// Those of the bank and of the operator; `NoCode`.
    pub async fn enrol(&self, name: &str, money: Amount) -> Result<Customer, BenchError> {
        let holder = self.register().await?;
        let account = SandboxClient::open(&self.http, &self.bank_url, tx(), name, None).await?;
        account.deposit(tx(), money).await?;
        let (me, iban) = (&holder.identity, account.iban());
        let roles = Roles::PURCHASER.with(Roles::REDEEMER);
        let once = (tx(), expiry());
        let asked = asker::prepare_enrol(me, roles, iban, &self.keys, once, now(), &mut OsEntropy)?;
        let answer = self.ask(&asked.path, &asked.body).await?;
        asker::read_enrol(&asked.pending, &answer)?;
        let code = self.code(&account).await?;
        let once = (tx(), expiry());
        let asked = asker::prepare_confirm(me, &code, &self.keys, once, now(), &mut OsEntropy)?;
        let answer = self.ask(&asked.path, &asked.body).await?;
        match asker::read_confirm(&asked.pending, &answer)? {
            ConfirmOutcome::Enrolled(_) => Ok(Customer { holder, account }),
            _ => Err(BenchError::NoCode),
        }
    }

    async fn code(&self, account: &SandboxClient) -> Result<String, BenchError> {
        for _ in 0..CODE_TRIES {
            let statement = account.statement(0).await?;
            let code = statement.entries.iter().find_map(|e| e.remittance.strip_prefix(CODE_PREFIX));
            if let Some(code) = code {
                return Ok(code.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(BenchError::NoCode)
    }

    /// Buys coins from the bank account.
    ///
    /// # Errors
    /// Those of the operator; `Denied` where the bank refuses.
    pub async fn buy(&self, customer: &Customer, list: CoinList) -> Result<Vec<Coin>, BenchError> {
        let (issuer, me) = (self.issuer()?, &customer.holder.identity);
        let first = purchaser::wrequest1(&issuer, me.id(), expiry(), &mut OsEntropy)?;
        let answer = self.ask(first.path, &first.body).await?;
        let read = |path| move |source: ReadError| BenchError::Read { path, source };
        let w_desc = self.w_desc(customer.account.iban(), list)?;
        let third = purchaser::wrequest3(&first.pending, &answer, me, w_desc, &mut OsEntropy)
            .map_err(read(first.path))?;
        let answer = self.ask_prepared(&third).await?;
        let accepted = purchaser::read_accepted(&third.pending, &answer).map_err(read(third.path))?;
        let collect = purchaser::collect(&issuer, &accepted.purchase, expiry(), &mut OsEntropy)
            .map_err(read(purchaser::COLLECT_PATH))?;
        let answer = self.ask_prepared(&collect).await?;
        let collected =
            purchaser::read_collected(&collect.pending, &answer, &self.keys).map_err(read(collect.path))?;
        match collected {
            Collected::Coins { coins, ack } => {
                self.ask_noted(purchaser::ACK_PATH, &ack).await?;
                Ok(coins)
            }
            Collected::Refused { .. } => Err(BenchError::Denied { path: collect.path }),
        }
    }

    fn w_desc(&self, account: &BankAccount, list: CoinList) -> Result<WDesc, BenchError> {
        Ok(WDesc {
            total: list.total(self.currency)?,
            list,
            account: account.clone(),
            authorisation: Mandate { id: "LOAD".into(), signed_at: now() },
            anonymous: true,
        })
    }

    /// Changes coins for others of the same worth.
    ///
    /// # Errors
    /// Those of the operator; `Denied` where a coin is bad.
    pub async fn change(&self, coins: Vec<Coin>, list: CoinList) -> Result<Vec<Coin>, BenchError> {
        let set = CoinSet::new(coins, self.currency)?;
        let asked = holder::change(&self.issuer()?, set, list, tx(), expiry(), &mut OsEntropy)?;
        let answer = self.ask_prepared(&asked).await?;
        let news = holder::read_exchange(&asked.pending, &answer, &self.keys)
            .map_err(|source| BenchError::Read { path: asked.path, source })?;
        if news.causes.is_empty() { Ok(news.coins) } else { Err(BenchError::Denied { path: asked.path }) }
    }

    /// Redeems coins to the bank account.
    ///
    /// # Errors
    /// Those of the operator; `Denied` where a coin is bad.
    pub async fn redeem(&self, customer: &Customer, coins: Vec<Coin>) -> Result<Amount, BenchError> {
        let set = CoinSet::new(coins, self.currency)?;
        let (worth, me) = (set.total, &customer.holder.identity);
        let asked = holder::redeem(&self.issuer()?, me, set, tx(), expiry(), &mut OsEntropy)?;
        let answer = self.ask_prepared(&asked).await?;
        let news = holder::read_exchange(&asked.pending, &answer, &self.keys)
            .map_err(|source| BenchError::Read { path: asked.path, source })?;
        if news.causes.is_empty() { Ok(worth) } else { Err(BenchError::Denied { path: asked.path }) }
    }

    /// Pays a payee, who wants new coins for them, and acknowledges those.
    ///
    /// # Errors
    /// Those of the operator; `Denied` where the verdict is not *paid*.
    pub async fn pay(&self, to: &Holder, coins: Vec<Coin>, want: CoinList) -> Result<Vec<Coin>, BenchError> {
        let asked = self.payment(&self.issuer()?, to, coins, want)?;
        let answer = self.ask_prepared(&asked).await?;
        let coins = self.new_coins(&asked.pending, &answer)?;
        self.ask_noted(payee::ACK_PATH, &coins.issuance2).await?;
        Ok(coins.coins)
    }

    /// A payment, ready to be sent: what payer and payee do between them, down to the sealed ValidationReq.
    ///
    /// # Errors
    /// `Ask`, `Money`.
    pub fn payment(
        &self,
        issuer: &IssuerKey,
        to: &Holder,
        coins: Vec<Coin>,
        want: CoinList,
    ) -> Result<Prepared, BenchError> {
        prepare(issuer, &to.identity, CoinSet::new(coins, self.currency)?, want)
    }

    /// Reads Issuance1 as the payee does.
    ///
    /// # Errors
    /// `Read`, `Denied`.
    pub fn new_coins(&self, pending: &[u8], answer: &[u8]) -> Result<payee::Issuance, BenchError> {
        let path = payee::VALIDATION_PATH;
        let issuance = payee::read_issuance1(pending, answer, &self.keys)
            .map_err(|source| BenchError::Read { path, source })?;
        if issuance.verdict.outcome == Outcome::Paid {
            Ok(issuance)
        } else {
            Err(BenchError::Denied { path })
        }
    }
}

fn prepare(
    issuer: &IssuerKey,
    payee: &IdentityKeys,
    coins: CoinSet,
    want: CoinList,
) -> Result<Prepared, BenchError> {
    let amount = coins.total;
    let com = Com {
        p_desc: PDesc {
            amount,
            goods: "a page".into(),
            method: "coin".into(),
            terms: Digest(random(&mut OsEntropy)),
        },
        tid: TidPy::new(random(&mut OsEntropy)),
        payer: PartyId::new(random(&mut OsEntropy)),
        payee: payee.id(),
        issuer: issuer.id,
        salt: ByteArray(random(&mut OsEntropy)),
        deadline: expiry(),
    };
    let paying = payer::send_coins(issuer, &com, coins, &mut OsEntropy)?;
    let presented = Presented::of(&com, paying.enc_c1);
    let wish = payee::refresh(amount, want)?;
    Ok(payee::validation_req(issuer, payee, &presented, wish, &mut OsEntropy)?)
}

/// The body of a ValidationReq to an issuer with these keys.
pub(crate) fn sealed_payment(
    keys: &OperatorKeys,
    payee: &IdentityKeys,
    coins: CoinSet,
    want: &CoinList,
) -> Result<Vec<u8>, BenchError> {
    let key = keys.kem_key().ok_or(BenchError::PageUnreadable)?;
    let issuer = IssuerKey { id: keys.id(), kid: key_id(KeyUse::Kem, &key.0), key };
    prepare(&issuer, payee, coins, want.clone()).map(|prepared| prepared.body)
}
