//! `pay URL`: asks for a page, pays what it costs, and gets it. The paying request is persisted with its coins before its
//! first byte leaves, and the same bytes are sent until the outcome is definite.
//! Source: web.md §2.1, §4 (1, 4, 5), "Florin's profile"; VarietyCash §3.2 (2), P3, P4.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use data_encoding::BASE64URL_NOPAD;
use florin_books::{Needs, PartyId, Transition};
use florin_coin::payer::{self, PayerNews};
use florin_crypto::{Bytes, cbor, digest};
use florin_http::ProblemView;
use florin_http::problem::retry_after;
use florin_shell::exchange::Exchange;
use http_body_util::{BodyExt, Limited};
use tokio::time::Instant;

use crate::documents::{Item, Note, Payment, Target, WebRequest};
use crate::limits::day_of;
use crate::net::WebAnswer;
use crate::offer::Offer;
use crate::output::{Output, TakeError};
use crate::pay::{PayOutcome, PayReport, Policy};
use crate::purse::coin_set;
use crate::refusal::WalletError;
use crate::wallet::Wallet;
use crate::x402::{
    self, CoinPayload, PAYLOAD_BYTES_MAX, PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE,
    PaymentPayload, PaymentRequired, SettleResponse, X402_VERSION,
};

/// A web payment has at most so many coins, since its payload has at most 6 KB.
const WEB_COINS_MAX: usize = 24;
/// The body of a refusal is read up to here.
const PROBLEM_BYTES_MAX: usize = florin_http::problem::PROBLEM_BYTES_MAX;
/// How often coins may go away under a payment that begins before it is given up.
const BEGIN_TRIES_MAX: usize = 8;
/// The name of the file in the wallet's folder where a page is gathered that goes to no file.
const SPOOL_FILE: &str = "page.part";
/// How long after its deadline a paid page may still be got from its merchant.
pub(crate) const PAGE_GRACE_MS: u64 = 15 * 60 * 1000;

/// How a page is asked for.
#[derive(Clone, Debug)]
pub struct PayOptions {
    /// The method.
    pub method: String,
    /// Further header lines.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub data: Vec<u8>,
    /// What the owner allows.
    pub policy: Policy,
}

impl Default for PayOptions {
    fn default() -> Self {
        Self { method: "GET".to_owned(), headers: Vec::new(), data: Vec::new(), policy: Policy::default() }
    }
}

/// What an answer to a paying request says.
enum Said {
    /// Paid, says the operator's verdict: the page follows.
    Paid(Box<PayerNews>, Option<Vec<u8>>),
    /// A definite no, says the operator's verdict.
    Denied(Box<PayerNews>),
    /// The server says no by itself, or says that it has served the page before: the operator is asked.
    AskOperator,
    /// Nothing definite.
    Later { slug: Option<String>, after_s: Option<u32> },
}

impl Wallet {
    /// Gets a page and pays what it costs. The same command again, after whatever went wrong, ends the same payment.
    ///
    /// # Errors
    /// `Url`, `Input`, `Unreachable`, `Page`, `Redirected`, `NoOffer`, `Offer`, `AboveLimit`, `NotEnough`, `NotKnownYet`
    /// and what goes with coins and books.
    pub async fn pay(
        &self,
        url: &str,
        options: &PayOptions,
        output: &mut Output,
    ) -> Result<PayReport, WalletError> {
        let asked = web_request(url, options)?;
        // Before anything is paid: a page that cannot be put anywhere is of no use.
        output.check().map_err(|(path, source)| WalletError::File { path, source })?;
        let progress = self.progress("asking for the page");
        let same = |target: &Target| matches!(target, Target::Page(r) if r.is_same(&asked));
        if let Some((x, payment)) = self.open_payments()?.into_iter().find(|(_, p)| same(&p.target)) {
            progress.say("repeating the payment that is under way");
            return self.finish_page(&x, &payment, output, true).await;
        }
        let unreachable = |why| WalletError::Unreachable { who: asked.url.clone(), why };
        let answer = self.net.web.send(request(&asked, None)?).await.map_err(unreachable)?;
        if answer.status != StatusCode::PAYMENT_REQUIRED {
            return self.free_page(&asked, answer, output).await;
        }
        let required: Option<PaymentRequired> = x402::decode(&answer.headers, &PAYMENT_REQUIRED);
        let why = "its 402 does not say how";
        let required = required.ok_or(WalletError::NoOffer { url: asked.url.clone(), why })?;
        let offer = Offer::choose(&asked.url, required, &self.keys())?;
        progress.say(&format!("paying {}", offer.amount));
        let page = Target::Page(asked.clone());
        let (x, payment) = self.begin_web(&asked.method, page, &offer, &options.policy).await?;
        self.finish_page(&x, &payment, output, false).await
    }

    async fn free_page(
        &self,
        asked: &WebRequest,
        answer: WebAnswer,
        output: &mut Output,
    ) -> Result<PayReport, WalletError> {
        let url = asked.url.clone();
        if answer.status.is_redirection() {
            let to =
                answer.headers.get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
            return Err(WalletError::Redirected { url, to: to.to_owned() });
        }
        if !answer.status.is_success() {
            return Err(WalletError::Page { url, status: answer.status.as_u16() });
        }
        let taken = output.take(answer.body, &self.dir.join(SPOOL_FILE)).await;
        let bytes = match taken {
            Ok(bytes) => bytes,
            Err(TakeError::File { path, source }) => return Err(WalletError::File { path, source }),
            Err(TakeError::BrokeOff) => {
                let why = florin_http::SendError::Unknown(florin_http::UnknownCause::ClosedEarly);
                return Err(WalletError::Unreachable { who: url, why });
            }
        };
        Ok(PayReport {
            outcome: PayOutcome::Free,
            id: None,
            amount: None,
            with: None,
            what: None,
            lost: Vec::new(),
            receipt: false,
            resumed: false,
            http_status: Some(answer.status.as_u16()),
            page_bytes: Some(bytes),
            file: output.file().map(ToOwned::to_owned),
        })
    }

    /// Persists the paying request with its coins.
    pub(crate) async fn begin_web(
        &self,
        method: &str,
        target: Target,
        offer: &Offer,
        policy: &Policy,
    ) -> Result<(Exchange, Payment), WalletError> {
        let url = target.title();
        self.check_limits(offer.amount, policy)?;
        let issuer = self.issuer().await?;
        for _ in 0..BEGIN_TRIES_MAX {
            let coins = self.exact_coins(offer.amount, WEB_COINS_MAX).await?;
            let (r, payer): ([u8; 16], PartyId) = (self.draw(), PartyId::new(self.draw()));
            let now = self.now();
            let deadline = now.plus_ms(offer.timeout_s.saturating_mul(1000));
            let no = |why| WalletError::NoOffer { url: url.clone(), why };
            let com = offer.com(method, r, payer, issuer.id, deadline).ok_or(no("its URL is too long"))?;
            let set = coin_set(&coins, offer.amount.currency())?;
            let paying = payer::send_coins(&issuer, &com, set, &mut *self.entropy())
                .map_err(|_| WalletError::NotPayable { amount: offer.amount })?;
            let payload = PaymentPayload {
                x402_version: X402_VERSION,
                resource: &offer.resource,
                accepted: &offer.entry,
                payload: CoinPayload {
                    r: BASE64URL_NOPAD.encode(&r),
                    payer: payer.to_string(),
                    deadline: deadline.0,
                    enc_c1: BASE64URL_NOPAD.encode(&cbor::encode(&paying.enc_c1)),
                    method: matches!(target, Target::Payload(_)).then(|| method.to_owned()),
                },
                extensions: offer.extensions.as_ref(),
            };
            let header = x402::encode(&payload, PAYLOAD_BYTES_MAX).ok_or(no("its offer is too long"))?;
            let payment = Payment {
                amount: offer.amount,
                day: day_of(now),
                com,
                certificate: Bytes(offer.certificate.clone()),
                target: target.clone(),
                paid: false,
            };
            let note = Note::Pay(payment.clone());
            let mut x = self.exchange(&url, header.as_bytes().to_vec(), paying.pending.to_vec(), &note);
            x.reserved = coins.iter().map(|owned| owned.id).collect();
            if self.begin_payment(&x, &payment, policy).await? {
                return Ok((x, payment));
            }
        }
        Err(WalletError::UnderWay { what: "another payment" })
    }

    /// Sends the same bytes until the outcome is definite and the page, if it is paid, is there.
    pub(crate) async fn finish_page(
        &self,
        x: &Exchange,
        payment: &Payment,
        output: &mut Output,
        resumed: bool,
    ) -> Result<PayReport, WalletError> {
        let Target::Page(asked) = &payment.target else {
            return Err(WalletError::Damaged { what: "a payment" });
        };
        let paying =
            HeaderValue::from_bytes(&x.body).map_err(|_| WalletError::Damaged { what: "a payment" })?;
        let until = Instant::now().checked_add(self.patience);
        let mut pause = Duration::from_millis(100);
        loop {
            let (said, answer) = self.try_page(x, payment, asked, &paying).await?;
            let slug = match said {
                Said::Paid(news, receipt) => match answer {
                    // Paid, and the service behind the gate is away: the same bytes get the page once it is back.
                    Some(answer) if is_away(answer.status) => Some("upstream-unreachable".to_owned()),
                    Some(answer) => match self.take_page(answer, output).await? {
                        Some((status, bytes)) => {
                            let receipt = self.checked_receipt(x, payment, receipt);
                            let item = self.end_page(x, payment, *news, receipt).await?;
                            let file = output.file().map(ToOwned::to_owned);
                            let report = PayReport::of(&item, resumed);
                            let (http_status, page_bytes) = (Some(status), Some(bytes));
                            return Ok(PayReport { http_status, page_bytes, file, ..report });
                        }
                        None => None,
                    },
                    None => None,
                },
                Said::Denied(news) => {
                    let item = self.end_payment(x, payment, &news, None).await?;
                    return Ok(page_missing(&item, resumed, StatusCode::PAYMENT_REQUIRED));
                }
                Said::AskOperator => {
                    let status = answer.map_or(StatusCode::PAYMENT_REQUIRED, |answer| answer.status);
                    if let Some(item) = self.resolve(x, payment, true).await? {
                        return Ok(page_missing(&item, resumed, status));
                    }
                    None
                }
                Said::Later { slug, after_s } => {
                    let wait = Duration::from_secs(after_s.unwrap_or(0).into()).min(Duration::from_secs(5));
                    pause = pause.max(wait);
                    slug
                }
            };
            if self.is_past(payment)
                && let Some(item) = self.resolve_past(x, payment).await?
            {
                return Ok(page_missing(&item, resumed, StatusCode::PAYMENT_REQUIRED));
            }
            if until.is_none_or(|end| Instant::now().checked_add(pause).is_none_or(|next| next > end)) {
                return Err(WalletError::NotKnownYet { what: "the payment", slug });
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(Duration::from_secs(5));
        }
    }

    async fn try_page(
        &self,
        x: &Exchange,
        payment: &Payment,
        asked: &WebRequest,
        paying: &HeaderValue,
    ) -> Result<(Said, Option<WebAnswer>), WalletError> {
        match self.net.web.send(request(asked, Some(paying))?).await {
            Err(_) => Ok((Said::Later { slug: None, after_s: None }, None)),
            Ok(mut answer) => {
                let said = self.read_settled(x, payment, &mut answer).await;
                Ok((said, Some(answer)))
            }
        }
    }

    async fn read_settled(&self, x: &Exchange, payment: &Payment, answer: &mut WebAnswer) -> Said {
        let settled: Option<SettleResponse> = x402::decode(&answer.headers, &PAYMENT_RESPONSE);
        let decode = |text: &Option<String>| {
            text.as_ref().and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok())
        };
        if let Some(settled) = settled {
            let florin = &settled.extensions.florin;
            let verdict = decode(&florin.verdict);
            let news = verdict.and_then(|v| payer::read_payer_verdict(&x.pending, &v, &self.keys()).ok());
            let paid =
                news.as_ref().is_some_and(|n| n.verdict.outcome == florin_coin::messages::Outcome::Paid);
            return match news {
                Some(news) if settled.success && paid => Said::Paid(Box::new(news), decode(&florin.receipt)),
                Some(news) if !settled.success && !paid => Said::Denied(Box::new(news)),
                // Whatever the server says, its word alone settles nothing.
                Some(_) => Said::AskOperator,
                None if settled.success => self.unproven(payment),
                None => Said::AskOperator,
            };
        }
        if answer.status == StatusCode::PAYMENT_REQUIRED {
            return Said::AskOperator;
        }
        let (status, after_s) = (answer.status, retry_after(&answer.headers));
        let problem = problem_of(answer).await;
        let passes = problem.as_ref().and_then(|problem| problem.same_bytes_may_be_sent_again);
        let slug = problem.and_then(|problem| problem.slug);
        match slug.as_deref() {
            Some("already-used" | "request-id-reused") => Said::AskOperator,
            // Where the service comes before the money, its error says that nothing was taken; the operator makes sure.
            _ if is_error(status) && passes != Some(true) && !x402::is_upfront(&x.body) => Said::AskOperator,
            _ => Said::Later { slug, after_s },
        }
    }

    /// The server says that it is paid and proves nothing: the operator knows, at the latest after the deadline.
    fn unproven(&self, payment: &Payment) -> Said {
        if self.is_past(payment) {
            return Said::AskOperator;
        }
        Said::Later { slug: Some("not-authentic".to_owned()), after_s: None }
    }

    /// The page of a paid request; nothing where it broke off, so that it is asked for again.
    async fn take_page(
        &self,
        answer: WebAnswer,
        output: &mut Output,
    ) -> Result<Option<(u16, u64)>, WalletError> {
        match output.take(answer.body, &self.dir.join(SPOOL_FILE)).await {
            Ok(bytes) => Ok(Some((answer.status.as_u16(), bytes))),
            Err(TakeError::BrokeOff) => Ok(None),
            Err(TakeError::File { path, source }) => Err(WalletError::File { path, source }),
        }
    }

    /// Has the operator say how a payment stands, and ends it. None while it may still happen, or where the operator
    /// does not answer.
    pub(crate) async fn resolve(
        &self,
        x: &Exchange,
        payment: &Payment,
        give_up: bool,
    ) -> Result<Option<Item>, WalletError> {
        match self.payment_status(x, give_up).await {
            Ok(Some(news)) => self.end_payment(x, payment, &news, None).await.map(Some),
            Ok(None) | Err(WalletError::NotKnownYet { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// After its deadline a payment has an end. A page that is paid for is still asked for while its merchant may have it.
    pub(crate) async fn resolve_past(
        &self,
        x: &Exchange,
        payment: &Payment,
    ) -> Result<Option<Item>, WalletError> {
        let news = match self.payment_status(x, false).await {
            Ok(Some(news)) => news,
            Ok(None) | Err(WalletError::NotKnownYet { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let paid = news.verdict.outcome == florin_coin::messages::Outcome::Paid;
        let is_page = matches!(payment.target, Target::Page(_));
        if paid && is_page && self.now() <= payment.com.deadline.plus_ms(PAGE_GRACE_MS) {
            self.note_paid(x, payment).await?;
            return Ok(None);
        }
        self.end_payment(x, payment, &news, None).await.map(Some)
    }
}

impl Wallet {
    /// It is known that a page is paid for; only the page has not come.
    async fn note_paid(&self, x: &Exchange, payment: &Payment) -> Result<(), WalletError> {
        if payment.paid {
            return Ok(());
        }
        let note = Note::Pay(Payment { paid: true, ..payment.clone() });
        let known = Exchange { note: cbor::encode(&note), ..x.clone() };
        let needs = Needs { documents: vec![x.key()], ..Needs::default() };
        let cause = digest("florin/v1/wallet/page-paid", &[x.id.bytes()]);
        let noted = self.house.act(&needs, |facts, _| {
            facts.document(&x.key())?;
            let mut t = Transition::new(cause, facts.as_of);
            t.write(known.key(), cbor::encode(&known));
            Some(t)
        });
        noted.await?;
        Ok(())
    }
}

impl WebRequest {
    /// Whether it asks for the same thing; header lines may differ.
    fn is_same(&self, other: &Self) -> bool {
        self.method == other.method && self.url == other.url && self.data == other.data
    }
}

/// A gate's word that the service behind it did not answer.
const fn is_away(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// An answer that will not be another one soon.
fn is_error(status: StatusCode) -> bool {
    let soon = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    status.as_u16() >= 400 && !soon.contains(&status)
}

fn page_missing(item: &Item, resumed: bool, status: StatusCode) -> PayReport {
    PayReport { http_status: Some(status.as_u16()), ..PayReport::of(item, resumed) }
}

fn web_request(url: &str, options: &PayOptions) -> Result<WebRequest, WalletError> {
    let uri = florin_http::check_url(url).map_err(|why| WalletError::Url { url: url.to_owned(), why })?;
    let input = |text: &str, what| WalletError::Input { text: text.to_owned(), what };
    let method = options.method.to_ascii_uppercase();
    Method::from_bytes(method.as_bytes()).map_err(|_| input(&options.method, "a method"))?;
    let mut headers = Vec::with_capacity(options.headers.len());
    for (name, value) in &options.headers {
        let read =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| input(name, "the name of a header"))?;
        HeaderValue::from_str(value).map_err(|_| input(value, "the value of a header"))?;
        // How it is paid is the wallet's matter alone.
        if read == PAYMENT_SIGNATURE {
            return Err(input(name, "a header that may be given"));
        }
        headers.push((name.clone(), Bytes(value.as_bytes().to_vec())));
    }
    Ok(WebRequest { method, url: uri.to_string(), headers, data: Bytes(options.data.clone()) })
}

fn request(asked: &WebRequest, paying: Option<&HeaderValue>) -> Result<Request<Body>, WalletError> {
    let damaged = || WalletError::Input { text: asked.url.clone(), what: "a request" };
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("florin-wallet/", env!("CARGO_PKG_VERSION"))),
    );
    let mut given: Vec<HeaderName> = Vec::new();
    for (name, value) in &asked.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| damaged())?;
        let value = HeaderValue::from_bytes(&value.0).map_err(|_| damaged())?;
        // The first line of a name takes the place of ours, the next ones stand beside it.
        if given.contains(&name) {
            headers.append(name, value);
        } else {
            headers.insert(name.clone(), value);
            given.push(name);
        }
    }
    if let Some(paying) = paying {
        let mut paying = paying.clone();
        paying.set_sensitive(true);
        headers.insert(PAYMENT_SIGNATURE, paying);
    }
    let built = Request::builder().method(asked.method.as_str()).uri(&asked.url);
    let mut request = built.body(Body::from(asked.data.0.clone())).map_err(|_| damaged())?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The refusal in an answer, if it is one; its body is used up.
async fn problem_of(answer: &mut WebAnswer) -> Option<ProblemView> {
    let body = std::mem::take(&mut answer.body);
    let body = Limited::new(body, PROBLEM_BYTES_MAX).collect().await.ok()?.to_bytes();
    ProblemView::parse(&answer.headers, &body)
}
