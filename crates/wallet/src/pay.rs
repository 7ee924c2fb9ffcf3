//! What every payment has in common: it is begun within the owner's limits, and it ends by the operator's signed verdict
//! and by nothing else. Source: VarietyCash §3.2, P3, P4; V4; architecture.md, "Never unknown".

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use florin_books::{DocumentKey, Needs, Rejected, Transition};
use florin_coin::CoinCause;
use florin_coin::messages::Outcome as Verdict;
use florin_coin::payer::{self, PayerNews};
use florin_crypto::{ByteArray, Bytes, cbor, digest};
use florin_money::Amount;
use florin_parties::Certificate;
use florin_shell::ExitCode;
use florin_shell::exchange::{self, Delivered, Exchange};
use florin_shell::house::ActError;
use florin_store::CommitError;
use serde::Serialize;
use tokio::time::Instant;

use crate::documents::{End, HISTORY, Item, Kind, Note, Payment, Proof, Target};
use crate::limits::{spent_key, spent_of};
use crate::purse::{part_coins, remove_coins};
use crate::refusal::WalletError;
use crate::report::{Lost, optional_text};
use crate::wallet::Wallet;

/// What the owner allows for one payment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Policy {
    /// At most so much, instead of the limit for one payment.
    pub max: Option<Amount>,
    /// Whatever the limits say.
    pub yes: bool,
}

/// How a payment ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PayOutcome {
    /// Nothing was asked for.
    Free,
    /// Paid.
    Paid,
    /// Some coins were bad; nothing was paid, and the good coins are free again.
    Denied,
    /// The payee asked for another amount than was paid; nothing was paid.
    AmountMismatch,
    /// It never happened and never will; the coins are free again.
    Never,
}

/// What `pay` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PayReport {
    /// How it ended.
    pub outcome: PayOutcome,
    /// The payment's id, for `receipt` and `status`.
    pub id: Option<String>,
    /// How much.
    #[serde(serialize_with = "optional_text")]
    pub amount: Option<Amount>,
    /// To whom.
    pub with: Option<String>,
    /// What for.
    pub what: Option<String>,
    /// Coins that were not taken, and why. Nobody else gets to see this.
    pub lost: Vec<Lost>,
    /// Whether the payee gave a signed receipt.
    pub receipt: bool,
    /// Whether this ended a payment that was begun earlier.
    pub resumed: bool,
    /// The status of the page.
    pub http_status: Option<u16>,
    /// How long the page is, in bytes; none where it did not come.
    pub page_bytes: Option<u64>,
    /// Where the page is.
    pub file: Option<PathBuf>,
}

impl PayReport {
    /// How the program ends: `Done` if it is paid (or free) and the page, if there was one to get, is there.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        let served = self.http_status.is_none_or(|status| (200..300).contains(&status));
        match self.outcome {
            PayOutcome::Free | PayOutcome::Paid if served => ExitCode::Done,
            _ => ExitCode::Refused,
        }
    }

    pub(crate) fn of(item: &Item, resumed: bool) -> Self {
        let outcome = match item.end {
            End::Done => PayOutcome::Paid,
            End::Denied => PayOutcome::Denied,
            End::AmountMismatch => PayOutcome::AmountMismatch,
            End::Never | End::Refused | End::Open => PayOutcome::Never,
        };
        Self {
            outcome,
            id: Some(florin_coin::PayId::new(item.id.0).to_string()),
            amount: Some(item.amount),
            with: Some(item.with.clone()),
            what: Some(item.what.clone()),
            lost: Lost::of(&item.lost),
            receipt: item.proof.receipt.is_some(),
            resumed,
            http_status: None,
            page_bytes: None,
            file: None,
        }
    }
}

impl fmt::Display for PayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = self.amount.map(|a| a.to_string()).unwrap_or_default();
        let with = self.with.as_deref().unwrap_or_default();
        match self.outcome {
            PayOutcome::Free => writeln!(f, "free of charge")?,
            PayOutcome::Paid => writeln!(f, "paid {amount} to {with}")?,
            PayOutcome::Denied => {
                writeln!(f, "not paid: coins were not taken; the others are free again")?;
                for coin in &self.lost {
                    writeln!(f, "  {}: {}", coin.worth, coin.cause)?;
                }
            }
            PayOutcome::AmountMismatch => {
                writeln!(f, "not paid: {with} asked for another amount; no coin is lost")?
            }
            PayOutcome::Never => writeln!(f, "not paid, and it never will be; no coin is lost")?,
        }
        if self.resumed {
            writeln!(f, "this ended a payment that was begun before")?;
        }
        if let Some(id) = &self.id {
            writeln!(f, "{id}{}", if self.receipt { ", with receipt" } else { "" })?;
        }
        match (self.http_status, self.page_bytes) {
            (Some(status), Some(bytes)) => {
                let file =
                    self.file.as_ref().map(|path| format!(" in {}", path.display())).unwrap_or_default();
                writeln!(f, "page: {bytes} bytes{file} (status {status})")
            }
            (Some(status), None) => writeln!(f, "the page did not come (status {status})"),
            (None, _) => Ok(()),
        }
    }
}

impl Wallet {
    /// Sends a request that changes nothing and need not be persisted, until there is something definite; `not-yet` is,
    /// for this moment.
    pub(crate) async fn ask(
        &self,
        what: &'static str,
        path: &str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, WalletError> {
        let x = self.exchange(path, body, Vec::new(), &Note::Deliver);
        let until = Instant::now().checked_add(patience);
        let mut pause = Duration::from_millis(50);
        loop {
            let slug = match self.net.operator.send(&x, "").await {
                Delivered::Answer(answer) => return Ok(answer),
                Delivered::Refused(problem) => {
                    return Err(WalletError::Refused { what, problem: Box::new(problem) });
                }
                Delivered::Later { slug, .. } => slug,
            };
            let not_yet = slug.as_deref() == Some("not-yet");
            if not_yet
                || until.is_none_or(|end| Instant::now().checked_add(pause).is_none_or(|next| next > end))
            {
                return Err(WalletError::NotKnownYet { what, slug });
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(Duration::from_secs(1));
        }
    }

    /// Persists a payment, sets its coins aside and counts it for the day. False where a coin has gone meanwhile.
    pub(crate) async fn begin_payment(
        &self,
        x: &Exchange,
        payment: &Payment,
        policy: &Policy,
    ) -> Result<bool, WalletError> {
        let key = spent_key(payment.day, payment.amount.currency());
        let limits = self.settings()?.limits_in(payment.amount.currency());
        let needs = Needs { documents: vec![key], ..Needs::default() };
        let mut refused = None;
        let _with_others = self.setting_aside.read().await;
        let begun = self
            .house
            .act(&needs, |facts, _| {
                let spent = spent_of(facts.document(&key));
                if let Err(error) = limits.allow(payment.amount, spent, policy) {
                    refused = Some(error);
                    return None;
                }
                let mut t = Transition::new(digest("florin/v1/wallet/pay", &[x.id.bytes()]), facts.as_of);
                x.begin(&mut t);
                t.write(key, cbor::encode(&spent.saturating_add(payment.amount.minor())));
                Some(t)
            })
            .await;
        match (begun, refused) {
            (_, Some(error)) => Err(error),
            (Err(ActError::Commit(CommitError::Rejected(Rejected::NotHeld { .. }))), None) => Ok(false),
            (Err(error), None) => Err(error.into()),
            (Ok(_), None) => Ok(true),
        }
    }

    /// Whether the limits allow a payment now, before coins are changed for it.
    pub(crate) fn check_limits(&self, amount: Amount, policy: &Policy) -> Result<(), WalletError> {
        let day = crate::limits::day_of(self.now());
        let spent: Option<u64> = self.document(spent_key(day, amount.currency()))?;
        self.settings()?.limits_in(amount.currency()).allow(amount, spent.unwrap_or(0), policy)
    }

    /// Ends a payment by its verdict: coins leave, or those that are good are free again.
    pub(crate) async fn end_payment(
        &self,
        x: &Exchange,
        payment: &Payment,
        news: &PayerNews,
        receipt: Option<Vec<u8>>,
    ) -> Result<Item, WalletError> {
        let coins = match self.coins_of(x) {
            Ok(coins) => coins,
            Err(error) => return self.ended_meanwhile(x, payment)?.ok_or(error),
        };
        let spent_key = spent_key(payment.day, payment.amount.currency());
        let needs = Needs { documents: vec![x.key(), spent_key], ..Needs::default() };
        let operator = self.operator();
        let end = match news.verdict.outcome {
            Verdict::Paid => End::Done,
            Verdict::Denied => End::Denied,
            Verdict::AmountMismatch => End::AmountMismatch,
            Verdict::Never => End::Never,
        };
        let mut item = self.paid_item(payment, end, news, receipt);
        self.house
            .act(&needs, |facts, _| {
                facts.document(&x.key())?;
                let mut t = Transition::new(digest("florin/v1/wallet/paid", &[x.id.bytes()]), facts.as_of);
                if end == End::Done {
                    t.remove(x.key());
                    remove_coins(&mut t, operator, x, &coins);
                } else {
                    item.lost = part_coins(&mut t, operator, x, &coins, &news.causes);
                    let spent = spent_of(facts.document(&spent_key)).saturating_sub(payment.amount.minor());
                    t.write(spent_key, cbor::encode(&spent));
                }
                t.write(item.key(), cbor::encode(&item));
                Some(t)
            })
            .await?;
        if news.causes.iter().any(|bad| bad.cause == CoinCause::Revoked) {
            // The payment is over; that the coins are not new yet must not hide its end. `status` tries again.
            let _ = self.recoup().await;
        }
        Ok(item)
    }

    /// What is written of a payment that somebody else with this wallet has ended.
    fn ended_meanwhile(&self, x: &Exchange, payment: &Payment) -> Result<Option<Item>, WalletError> {
        let open: Option<Exchange> = self.document(x.key())?;
        let id = *payment.com.pay_id().bytes();
        if open.is_some() { Ok(None) } else { self.document(DocumentKey::new(HISTORY, id)) }
    }

    pub(crate) fn paid_item(
        &self,
        payment: &Payment,
        end: End,
        news: &PayerNews,
        receipt: Option<Vec<u8>>,
    ) -> Item {
        let keys = self.keys();
        let name = Certificate::verify(&payment.certificate.0, &keys).map(|c| c.name);
        Item {
            id: ByteArray(*payment.com.pay_id().bytes()),
            kind: Kind::Paid,
            end,
            amount: payment.amount,
            at: news.verdict.at,
            with: name.unwrap_or_else(|_| payment.com.payee.to_string()),
            what: payment.com.p_desc.goods.clone(),
            lost: Vec::new(),
            reason: None,
            proof: Proof {
                com: Some(payment.com.clone()),
                certificate: Some(payment.certificate.clone()),
                receipt: receipt.map(Bytes),
                statement: Some(Bytes(news.signed.clone())),
            },
        }
    }

    /// A receipt, if it is one of this payment.
    pub(crate) fn checked_receipt(
        &self,
        x: &Exchange,
        payment: &Payment,
        receipt: Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        let payee = Certificate::verify(&payment.certificate.0, &self.keys()).ok()?;
        receipt.filter(|bytes| {
            payer::read_receipt(&x.pending, bytes, &payee.verify_key).is_ok_and(|r| r.accepted)
        })
    }

    /// Asks the operator how a payment stands; `give_up` also asks that it never happens. None while it may still happen.
    pub(crate) async fn payment_status(
        &self,
        x: &Exchange,
        give_up: bool,
    ) -> Result<Option<PayerNews>, WalletError> {
        let damaged = |_| WalletError::Damaged { what: "a payment" };
        let request = payer::status_request(&x.pending, give_up).map_err(damaged)?;
        let asked = self.ask("the payment", payer::STATUS_PATH, request, self.patience).await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(WalletError::NotKnownYet { slug, .. }) if slug.as_deref() == Some("not-yet") => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if let Ok(news) = payer::read_status(&x.pending, &answer, &self.keys()) {
            return Ok(Some(news));
        }
        // The operator may have signed with a key that came into use after the list was read.
        self.refresh_keys().await?;
        let slug = Some("not-authentic".to_owned());
        let read = payer::read_status(&x.pending, &answer, &self.keys());
        read.map(Some).map_err(|_| WalletError::NotKnownYet { what: "the payment", slug })
    }

    /// Whether a payment can no longer happen, unless it has.
    pub(crate) fn is_past(&self, payment: &Payment) -> bool {
        self.now() > payment.com.deadline
    }

    /// The payments that are under way.
    pub(crate) fn open_payments(&self) -> Result<Vec<(Exchange, Payment)>, WalletError> {
        let open = exchange::under_way(&self.house)?.into_iter();
        Ok(open
            .filter_map(|x| match Note::of(&x) {
                Some(Note::Pay(payment)) => Some((x, payment)),
                _ => None,
            })
            .collect())
    }
}

impl Target {
    /// What is paid, for people.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Page(request) => request.url.clone(),
            Self::Invoice(tid) => format!("invoice {tid}"),
            Self::Payload(given) => given.url.clone(),
        }
    }
}
