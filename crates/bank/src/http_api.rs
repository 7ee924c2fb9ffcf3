//! The sandbox bank's API: JSON in, JSON out, a bearer secret for whoever asks. Source: docs/bank.md.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, Response, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use data_encoding::HEXLOWER;
use florin_books::{Timestamp, TxId};
use florin_http::{Problem, read_body, require_type};
use florin_money::{Amount, ParseAmountError};
use florin_parties::bank::{BankAccount, BankNews, Direction, Mandate, Order};
use florin_rail::Refusal;
use florin_rail::common::{BAD_REQUEST, FAULT, MESSAGE_BYTES_MAX};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::access::Access;
use crate::iban::BankCode;
use crate::messages::{
    AccountOpened, BankCard, CloseAccount, Deposit, Done, EventText, Events, InterbankPayment, MandateBlock,
    NewsText, OpenAccount, OrderText, ReturnOrder, SetDelay, SetReject, SubmitOrders, Transfer,
};
use crate::rail::Cursor;
use crate::sandbox::refusal::{WRONG_ACCESS, WRONG_CURRENCY};
use crate::sandbox::{Desk, PAGE_MAX, Receive, TransferTo};

/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What the API needs besides the desk.
pub struct Api {
    /// The desk.
    pub desk: Arc<Desk>,
    /// Opens `/sandbox/*`.
    pub admin: Access,
    /// The secret shared with each other bank.
    pub peers: Vec<(BankCode, Access)>,
}

/// All routes of the bank.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/.well-known/florin-bank", get(card))
        .route("/accounts", post(open))
        .route("/accounts/{iban}", get(account))
        .route("/accounts/{iban}/statement", get(statement))
        .route("/accounts/{iban}/deposits", post(deposit))
        .route("/accounts/{iban}/transfers", post(transfer))
        .route("/accounts/{iban}/mandate-block", post(mandate_block))
        .route("/accounts/{iban}/close", post(close))
        .route("/accounts/{iban}/events", get(events))
        .route("/orders", post(orders))
        .route("/interbank", post(interbank))
        .route("/sandbox/delay", post(delay))
        .route("/sandbox/reject", post(reject))
        .route("/sandbox/return", post(return_order))
        .with_state(api)
}

type Shared = State<Arc<Api>>;
type Asked = Request<Body>;

async fn card(State(api): Shared) -> Response<Body> {
    let bank = api.desk.bank();
    answer(Ok(BankCard {
        name: bank.name.clone(),
        bank_code: bank.code.to_string(),
        currency: bank.currency.code().to_string(),
        exponent: bank.currency.exponent(),
        test: true,
    }))
}

async fn open(State(api): Shared, asked: Asked) -> Response<Body> {
    let work = async {
        let (_, ask): (_, OpenAccount) = read(asked).await?;
        let (txid, number) =
            (txid(&ask.txid)?, ask.number.map(|n| n.parse().map_err(|_| BAD_REQUEST)).transpose()?);
        let (iban, access) = api.desk.off_thread(move |desk| desk.open(txid, &ask.holder, number)).await?;
        Ok(AccountOpened { iban: iban.iban().to_owned(), access: access.to_text().to_string() })
    };
    answer(work.await)
}

async fn account(State(api): Shared, Path(iban): Path<String>, headers: HeaderMap) -> Response<Body> {
    let work = async {
        let (iban, access) = (own(&iban)?, bearer(&headers)?);
        api.desk.off_thread(move |desk| desk.account(&iban, &access)).await
    };
    answer(work.await)
}

async fn statement(State(api): Shared, Path(iban): Path<String>, asked: Parts) -> Response<Body> {
    let work = async {
        let (iban, access) = (own(&iban)?, bearer(&asked.headers)?);
        let [since] = numbers(asked.uri.query(), ["since"])?;
        api.desk.off_thread(move |desk| desk.statement(&iban, &access, since.unwrap_or(0))).await
    };
    answer(work.await)
}

async fn events(State(api): Shared, Path(iban): Path<String>, asked: Parts) -> Response<Body> {
    let work = async {
        let (iban, access) = (own(&iban)?, bearer(&asked.headers)?);
        let [since, max] = numbers(asked.uri.query(), ["since", "max"])?;
        let max = max.map_or(PAGE_MAX, |max| usize::try_from(max).unwrap_or(PAGE_MAX));
        let since = Cursor(since.unwrap_or(0));
        let (events, cursor) =
            api.desk.off_thread(move |desk| desk.events(&iban, &access, since, max)).await?;
        let events = events.into_iter().map(|e| EventText {
            id: HEXLOWER.encode(&e.id),
            at_unix_ms: e.at.0,
            news: news(e.what),
        });
        Ok(Events { events: events.collect(), cursor: cursor.0 })
    };
    answer(work.await)
}

async fn deposit(State(api): Shared, Path(iban): Path<String>, asked: Asked) -> Response<Body> {
    let work = async {
        let (headers, ask): (_, Deposit) = read(asked).await?;
        let (iban, access, txid) = (own(&iban)?, bearer(&headers)?, txid(&ask.txid)?);
        let amount = amount(&api, &ask.amount)?;
        api.desk.off_thread(move |desk| desk.deposit(&iban, &access, txid, amount)).await
    };
    answer(work.await)
}

async fn transfer(State(api): Shared, Path(iban): Path<String>, asked: Asked) -> Response<Body> {
    let work = async {
        let (headers, ask): (_, Transfer) = read(asked).await?;
        let (iban, access, txid) = (own(&iban)?, bearer(&headers)?, txid(&ask.txid)?);
        let amount = amount(&api, &ask.amount)?;
        let to = TransferTo { to: own(&ask.to)?, amount, remittance: ask.remittance };
        api.desk.off_thread(move |desk| desk.transfer(&iban, &access, txid, to)).await
    };
    answer(work.await)
}

async fn mandate_block(State(api): Shared, Path(iban): Path<String>, asked: Asked) -> Response<Body> {
    let work = async {
        let (headers, ask): (_, MandateBlock) = read(asked).await?;
        let (iban, access, txid) = (own(&iban)?, bearer(&headers)?, txid(&ask.txid)?);
        api.desk.off_thread(move |desk| desk.block_debits(&iban, &access, txid, ask.blocked)).await
    };
    answer(work.await)
}

async fn close(State(api): Shared, Path(iban): Path<String>, asked: Asked) -> Response<Body> {
    let work = async {
        let (headers, ask): (_, CloseAccount) = read(asked).await?;
        let (iban, access, txid) = (own(&iban)?, bearer(&headers)?, txid(&ask.txid)?);
        api.desk.off_thread(move |desk| desk.close(&iban, &access, txid)).await
    };
    answer(work.await)
}

async fn orders(State(api): Shared, asked: Asked) -> Response<Body> {
    let work = async {
        let (headers, ask): (_, SubmitOrders) = read(asked).await?;
        let (iban, access) = (own(&ask.account)?, bearer(&headers)?);
        let orders = ask.orders.into_iter().map(|o| order(&api, o)).collect::<Result<_, _>>()?;
        api.desk.off_thread(move |desk| desk.submit(&iban, &access, orders)).await
    };
    answer(work.await)
}

async fn interbank(State(api): Shared, asked: Asked) -> Response<Body> {
    let work = async {
        let (headers, ask): (_, InterbankPayment) = read(asked).await?;
        let access = bearer(&headers)?;
        let from: BankCode = ask.from.parse().map_err(|_| BAD_REQUEST)?;
        let known = api.peers.iter().any(|(code, shared)| *code == from && shared.ct_eq(&access));
        if !known {
            return Err(WRONG_ACCESS);
        }
        let payment = Receive {
            txid: txid(&ask.txid)?,
            from,
            direction: direction(&ask.direction)?,
            account: own(&ask.account)?,
            amount: amount(&api, &ask.amount)?,
            other: own(&ask.other)?,
            other_name: ask.other_name,
            remittance: ask.remittance,
            return_reason: ask.return_reason,
        };
        api.desk.off_thread(move |desk| desk.receive(&payment)).await
    };
    answer(work.await)
}

async fn delay(State(api): Shared, asked: Asked) -> Response<Body> {
    let work = async {
        let (headers, ask): (_, SetDelay) = read(asked).await?;
        let txid = admin(&api, &headers, &ask.txid)?;
        api.desk.off_thread(move |desk| desk.set_delay(txid, ask.delay_ms)).await?;
        Ok(Done { done: true })
    };
    answer(work.await)
}

async fn reject(State(api): Shared, asked: Asked) -> Response<Body> {
    let work = async {
        let (headers, ask): (_, SetReject) = read(asked).await?;
        let txid = admin(&api, &headers, &ask.txid)?;
        let account = ask.account.map(|a| own(&a)).transpose()?;
        api.desk.off_thread(move |desk| desk.set_reject(txid, account, &ask.reason, ask.times)).await?;
        Ok(Done { done: true })
    };
    answer(work.await)
}

async fn return_order(State(api): Shared, asked: Asked) -> Response<Body> {
    let work = async {
        let (headers, ask): (_, ReturnOrder) = read(asked).await?;
        let txid = admin(&api, &headers, &ask.txid)?;
        let order = ask.order.parse().map_err(|_| BAD_REQUEST)?;
        api.desk.off_thread(move |desk| desk.return_order(txid, order, &ask.reason)).await?;
        Ok(Done { done: true })
    };
    answer(work.await)
}

async fn read<T: DeserializeOwned>(asked: Asked) -> Result<(HeaderMap, T), Refusal> {
    let (parts, body) = asked.into_parts();
    require_type(&parts.headers, "application/json")?;
    let bytes = read_body(body, MESSAGE_BYTES_MAX, BODY_TIME).await?;
    let ask = serde_json::from_slice(&bytes).map_err(|_| BAD_REQUEST)?;
    Ok((parts.headers, ask))
}

fn answer<T: Serialize>(result: Result<T, Refusal>) -> Response<Body> {
    let bytes = result
        .and_then(|value| serde_json::to_vec(&value).map_err(|error| FAULT.with_detail(error.to_string())));
    match bytes {
        Ok(bytes) => {
            let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (kind, bytes).into_response()
        }
        Err(refusal) => Problem::from(refusal).into_response(),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Access, Refusal> {
    let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).ok_or(WRONG_ACCESS)?;
    let (scheme, token) = value.split_once(' ').ok_or(WRONG_ACCESS)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(WRONG_ACCESS);
    }
    Access::from_text(token.trim()).ok_or(WRONG_ACCESS)
}

fn admin(api: &Api, headers: &HeaderMap, txid_text: &str) -> Result<TxId, Refusal> {
    if bearer(headers)?.ct_eq(&api.admin) { txid(txid_text) } else { Err(WRONG_ACCESS) }
}

fn txid(text: &str) -> Result<TxId, Refusal> {
    text.parse().map_err(|_| BAD_REQUEST.with_detail("a txid is tx_ and 32 hexadecimal digits"))
}

fn own(text: &str) -> Result<BankAccount, Refusal> {
    text.parse().map_err(|_| BAD_REQUEST.with_detail("not an IBAN"))
}

fn direction(text: &str) -> Result<Direction, Refusal> {
    match text {
        "credit" => Ok(Direction::Credit),
        "debit" => Ok(Direction::Debit),
        _ => Err(BAD_REQUEST),
    }
}

fn amount(api: &Api, text: &str) -> Result<Amount, Refusal> {
    let currency = api.desk.bank().currency;
    Amount::parse(text, &[currency]).map_err(|error| match error {
        ParseAmountError::UnknownCurrency { .. } => {
            WRONG_CURRENCY.with_detail(format!("accounts are kept in {currency}"))
        }
        other => BAD_REQUEST.with_detail(other.to_string()),
    })
}

fn order(api: &Api, text: OrderText) -> Result<Order, Refusal> {
    Ok(Order {
        id: text.id.parse().map_err(|_| BAD_REQUEST)?,
        direction: direction(&text.direction)?,
        account: own(&text.account)?,
        amount: amount(api, &text.amount)?,
        remittance: text.remittance,
        mandate: text.mandate.map(|m| Mandate { id: m.id, signed_at: Timestamp(m.signed_at_unix_ms) }),
    })
}

fn news(what: BankNews) -> NewsText {
    match what {
        BankNews::Credited { amount, payer, remittance } => {
            NewsText::Credited { amount: amount.to_string(), payer: payer.iban().to_owned(), remittance }
        }
        BankNews::Accepted(order) => NewsText::Accepted { order: order.to_string() },
        BankNews::Booked(order) => NewsText::Booked { order: order.to_string() },
        BankNews::Rejected(order, reason) => NewsText::Rejected { order: order.to_string(), reason },
        BankNews::Returned(order, reason) => NewsText::Returned { order: order.to_string(), reason },
    }
}

/// The numbers of a query; another name, a name twice or another value is refused.
fn numbers<const N: usize>(query: Option<&str>, names: [&str; N]) -> Result<[Option<u64>; N], Refusal> {
    let mut found = [None; N];
    for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or(BAD_REQUEST)?;
        let index = names.iter().position(|n| *n == name).ok_or(BAD_REQUEST)?;
        let slot = found.get_mut(index).ok_or(BAD_REQUEST)?;
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        if slot.is_some() || !digits {
            return Err(BAD_REQUEST);
        }
        *slot = Some(value.parse().map_err(|_| BAD_REQUEST)?);
    }
    Ok(found)
}
