//! The sandbox bank from outside: as an operator's [`BankRail`], as a customer, as the sandbox's admin, and as another
//! bank. Source: docs/bank.md.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use data_encoding::HEXLOWER;
use florin_books::{Timestamp, TxId};
use florin_http::{Answer, Client, ProblemView, SendError};
use florin_money::{Amount, Currency};
use florin_parties::bank::{BankAccount, BankEvent, BankNews, Direction, Order, OrderId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::access::Access;
use crate::iban::{AccountNumber, BankCode};
use crate::messages::{
    AccountOpened, AccountView, BankCard, CloseAccount, Deposit, Done, Events, InterbankOutcome,
    InterbankPayment, MandateBlock, MandateText, NewsText, OpenAccount, OrderText, OrdersTaken, ReturnOrder,
    SetDelay, SetReject, Statement, SubmitOrders, Transfer, TransferTaken,
};
use crate::rail::{BankError, BankRail, Capabilities, Cursor, OrderReceipt, RailFuture, Receipt};
use crate::sandbox::{AMOUNT_MINOR_MAX, Interbank, ORDERS_MAX, PAGE_MAX, SendFuture};

/// Answers are JSON of at most so many bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A bank's API at an address.
#[derive(Clone)]
struct Line {
    http: Client,
    base: String,
}

impl Line {
    fn new(http: Client, base: &str) -> Self {
        Self { http, base: base.trim_end_matches('/').to_owned() }
    }

    async fn post<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        access: Option<&Access>,
        ask: &Q,
    ) -> Result<A, BankError> {
        // A struct of texts and numbers always serialises; where it does not, nothing was sent.
        let body = serde_json::to_vec(ask).map_err(|_| BankError::NotSent)?;
        self.request(Method::POST, path, access, body).await
    }

    async fn get<A: DeserializeOwned>(&self, path: &str, access: Option<&Access>) -> Result<A, BankError> {
        self.request(Method::GET, path, access, Vec::new()).await
    }

    async fn request<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        access: Option<&Access>,
        body: Vec<u8>,
    ) -> Result<A, BankError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(access) = access {
            let value = format!("Bearer {}", *access.to_text());
            let mut value = HeaderValue::try_from(value).map_err(|_| BankError::NotSent)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let url = format!("{}{path}", self.base);
        let sent = self.http.request(method, &url, headers, body.into(), ANSWER_BYTES_MAX).await;
        understand(sent)
    }
}

/// Only a refusal in so many words is a no; whatever else is not an answer leaves the outcome open.
fn understand<A: DeserializeOwned>(sent: Result<Answer, SendError>) -> Result<A, BankError> {
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) if error.outcome_is_open() => return Err(BankError::Unknown),
        Err(_) => return Err(BankError::NotSent),
    };
    if answer.status.is_success() {
        return serde_json::from_slice(&answer.body).map_err(|_| BankError::Unknown);
    }
    match answer.problem() {
        Some(problem) if is_final(&problem) => Err(BankError::Refused(Box::new(problem))),
        Some(_) | None => Err(BankError::Unknown),
    }
}

fn is_final(problem: &ProblemView) -> bool {
    !matches!(problem.slug.as_deref(), None | Some("fault" | "outcome-open"))
}

/// An account at a sandbox bank, for its holder and for an operator's program.
pub struct SandboxClient {
    line: Line,
    currency: Currency,
    account: BankAccount,
    access: Access,
}

impl SandboxClient {
    /// What the bank says about itself.
    ///
    /// # Errors
    /// [`BankError`].
    pub async fn card(http: &Client, base: &str) -> Result<BankCard, BankError> {
        Line::new(http.clone(), base).get("/.well-known/florin-bank", None).await
    }

    /// Opens an account. Repeated with the same request, it is the same account with the same secret.
    ///
    /// # Errors
    /// [`BankError`]: `bad-request`, `account-number-taken`, `request-id-reused`.
    pub async fn open(
        http: &Client,
        base: &str,
        txid: TxId,
        holder: &str,
        number: Option<AccountNumber>,
    ) -> Result<Self, BankError> {
        let line = Line::new(http.clone(), base);
        let card: BankCard = line.get("/.well-known/florin-bank", None).await?;
        let currency = Currency::own(&card.currency, card.exponent).map_err(|_| BankError::Unknown)?;
        let number = number.map(|n| n.to_string());
        let ask = OpenAccount { txid: txid.to_string(), holder: holder.to_owned(), number };
        let opened: AccountOpened = line.post("/accounts", None, &ask).await?;
        let account = opened.iban.parse().map_err(|_| BankError::Unknown)?;
        let access = Access::from_text(&opened.access).ok_or(BankError::Unknown)?;
        Ok(Self { line, currency, account, access })
    }

    /// An account that was opened before.
    #[must_use]
    pub fn of(http: &Client, base: &str, currency: Currency, account: BankAccount, access: Access) -> Self {
        Self { line: Line::new(http.clone(), base), currency, account, access }
    }

    /// Its number.
    #[must_use]
    pub const fn iban(&self) -> &BankAccount {
        &self.account
    }

    /// Its secret, to be kept.
    #[must_use]
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// The bank's currency.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    fn path(&self, what: &str) -> String {
        format!("/accounts/{}{what}", self.account.iban())
    }

    /// The account as it is now.
    ///
    /// # Errors
    /// [`BankError`]: `wrong-access`.
    pub async fn account(&self) -> Result<AccountView, BankError> {
        self.line.get(&self.path(""), Some(&self.access)).await
    }

    /// Statement entries after number `since`.
    ///
    /// # Errors
    /// [`BankError`]: `wrong-access`, `cursor-unknown`.
    pub async fn statement(&self, since: u64) -> Result<Statement, BankError> {
        self.line.get(&self.path(&format!("/statement?since={since}")), Some(&self.access)).await
    }

    /// Pays cash in.
    ///
    /// # Errors
    /// [`BankError`]; the slugs of the API.
    pub async fn deposit(&self, txid: TxId, amount: Amount) -> Result<AccountView, BankError> {
        let ask = Deposit { txid: txid.to_string(), amount: amount.to_string() };
        self.line.post(&self.path("/deposits"), Some(&self.access), &ask).await
    }

    /// Transfers to another account, here or at a peer.
    ///
    /// # Errors
    /// [`BankError`]; the slugs of the API.
    pub async fn transfer(
        &self,
        txid: TxId,
        to: &BankAccount,
        amount: Amount,
        remittance: &str,
    ) -> Result<TransferTaken, BankError> {
        let ask = Transfer {
            txid: txid.to_string(),
            to: to.iban().to_owned(),
            amount: amount.to_string(),
            remittance: remittance.to_owned(),
        };
        self.line.post(&self.path("/transfers"), Some(&self.access), &ask).await
    }

    /// Forbids or allows collecting from the account.
    ///
    /// # Errors
    /// [`BankError`]; the slugs of the API.
    pub async fn block_debits(&self, txid: TxId, blocked: bool) -> Result<AccountView, BankError> {
        let ask = MandateBlock { txid: txid.to_string(), blocked };
        self.line.post(&self.path("/mandate-block"), Some(&self.access), &ask).await
    }

    /// Closes the account, if it is empty.
    ///
    /// # Errors
    /// [`BankError`]; the slugs of the API.
    pub async fn close(&self, txid: TxId) -> Result<AccountView, BankError> {
        let ask = CloseAccount { txid: txid.to_string() };
        self.line.post(&self.path("/close"), Some(&self.access), &ask).await
    }

    async fn submit_chunk(&self, orders: &[Order]) -> Result<Vec<OrderReceipt>, BankError> {
        let ask = SubmitOrders {
            account: self.account.iban().to_owned(),
            orders: orders.iter().map(order_text).collect(),
        };
        let taken: OrdersTaken = self.line.post("/orders", Some(&self.access), &ask).await?;
        let receipts: Option<Vec<OrderReceipt>> = taken
            .orders
            .iter()
            .map(|o| {
                let id: OrderId = o.id.parse().ok()?;
                Some(OrderReceipt { id, received_at: Timestamp(o.received_at_unix_ms) })
            })
            .collect();
        let receipts = receipts.ok_or(BankError::Unknown)?;
        // A receipt for other orders than these is no receipt.
        let same = receipts.iter().map(|r| r.id).eq(orders.iter().map(|o| o.id));
        if same { Ok(receipts) } else { Err(BankError::Unknown) }
    }

    fn event(&self, text: crate::messages::EventText) -> Option<BankEvent> {
        let id: [u8; 16] = HEXLOWER.decode(text.id.as_bytes()).ok()?.try_into().ok()?;
        let what = match text.news {
            NewsText::Credited { amount, payer, remittance } => BankNews::Credited {
                amount: Amount::parse(&amount, &[self.currency]).ok()?,
                payer: payer.parse().ok()?,
                remittance,
            },
            NewsText::Accepted { order } => BankNews::Accepted(order.parse().ok()?),
            NewsText::Booked { order } => BankNews::Booked(order.parse().ok()?),
            NewsText::Rejected { order, reason } => BankNews::Rejected(order.parse().ok()?, reason),
            NewsText::Returned { order, reason } => BankNews::Returned(order.parse().ok()?, reason),
        };
        Some(BankEvent { id, at: Timestamp(text.at_unix_ms), what })
    }
}

fn order_text(order: &Order) -> OrderText {
    OrderText {
        id: order.id.to_string(),
        direction: match order.direction {
            Direction::Credit => "credit".to_owned(),
            Direction::Debit => "debit".to_owned(),
        },
        account: order.account.iban().to_owned(),
        amount: order.amount.to_string(),
        remittance: order.remittance.clone(),
        mandate: order
            .mandate
            .as_ref()
            .map(|m| MandateText { id: m.id.clone(), signed_at_unix_ms: m.signed_at.0 }),
    }
}

impl BankRail for SandboxClient {
    /// More orders than one submission holds go in several; what an earlier one took up stays taken up.
    fn submit<'a>(&'a self, orders: &'a [Order]) -> RailFuture<'a, Receipt> {
        Box::pin(async move {
            let mut receipt = Receipt::default();
            for (index, chunk) in orders.chunks(ORDERS_MAX).enumerate() {
                match self.submit_chunk(chunk).await {
                    Ok(taken) => receipt.orders.extend(taken),
                    // Something was taken up before: the whole did not simply fail to leave.
                    Err(BankError::NotSent) if index > 0 => return Err(BankError::Unknown),
                    Err(error) => return Err(error),
                }
            }
            Ok(receipt)
        })
    }

    fn poll<'a>(&'a self, since: Cursor, max: usize) -> RailFuture<'a, (Vec<BankEvent>, Cursor)> {
        Box::pin(async move {
            let path = self.path(&format!("/events?since={since}&max={}", max.min(PAGE_MAX)));
            let page: Events = self.line.get(&path, Some(&self.access)).await?;
            let events: Option<Vec<BankEvent>> = page.events.into_iter().map(|e| self.event(e)).collect();
            Ok((events.ok_or(BankError::Unknown)?, Cursor(page.cursor)))
        })
    }

    fn statement<'a>(&'a self, since: u64) -> RailFuture<'a, Statement> {
        Box::pin(Self::statement(self, since))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            debits: true,
            instant: true,
            amount_max: Some(Amount::new(AMOUNT_MINOR_MAX, self.currency)),
            orders_max: ORDERS_MAX,
            test: true,
        }
    }
}

/// The sandbox's admin: what no real bank lets anybody do.
pub struct Admin {
    line: Line,
    access: Access,
}

impl Admin {
    /// With the bank's admin secret.
    #[must_use]
    pub fn new(http: &Client, base: &str, access: Access) -> Self {
        Self { line: Line::new(http.clone(), base), access }
    }

    /// Sets the booking delay of orders from now on.
    ///
    /// # Errors
    /// [`BankError`]; the slugs of the API.
    pub async fn set_delay(&self, txid: TxId, delay_ms: u64) -> Result<(), BankError> {
        let ask = SetDelay { txid: txid.to_string(), delay_ms };
        self.line.post("/sandbox/delay", Some(&self.access), &ask).await.map(|_: Done| ())
    }

    /// Has the next orders rejected.
    ///
    /// # Errors
    /// [`BankError`]; the slugs of the API.
    pub async fn set_reject(
        &self,
        txid: TxId,
        account: Option<&BankAccount>,
        reason: &str,
        times: u32,
    ) -> Result<(), BankError> {
        let account = account.map(|a| a.iban().to_owned());
        let ask = SetReject { txid: txid.to_string(), account, reason: reason.to_owned(), times };
        self.line.post("/sandbox/reject", Some(&self.access), &ask).await.map(|_: Done| ())
    }

    /// Returns a booked order.
    ///
    /// # Errors
    /// [`BankError`]; the slugs of the API.
    pub async fn return_order(&self, txid: TxId, order: OrderId, reason: &str) -> Result<(), BankError> {
        let ask = ReturnOrder { txid: txid.to_string(), order: order.to_string(), reason: reason.to_owned() };
        self.line.post("/sandbox/return", Some(&self.access), &ask).await.map(|_: Done| ())
    }
}

/// The way to the other banks, over HTTP.
pub struct HttpInterbank {
    peers: BTreeMap<BankCode, (Line, Access)>,
}

impl HttpInterbank {
    /// With the address and the shared secret of each.
    #[must_use]
    pub fn new(http: &Client, peers: impl IntoIterator<Item = (BankCode, String, Access)>) -> Self {
        let peers =
            peers.into_iter().map(|(code, url, access)| (code, (Line::new(http.clone(), &url), access)));
        Self { peers: peers.collect() }
    }
}

impl Interbank for HttpInterbank {
    fn send<'a>(&'a self, to: BankCode, payment: &'a InterbankPayment) -> SendFuture<'a> {
        Box::pin(async move {
            let (line, access) = self.peers.get(&to).ok_or(BankError::NotSent)?;
            line.post::<_, InterbankOutcome>("/interbank", Some(access), payment).await
        })
    }
}
