//! `pay INVOICE`: reads and shows an invoice, sends coins through the post box, and waits for the payee's answer.
//! Source: VarietyCash §3.2 (1), (2), (4), P3, P4; V2, V4; ADR 0006.

use std::fmt;
use std::time::Duration;

use florin_books::PartyId;
use florin_coin::TidPy;
use florin_coin::issuer::Side;
use florin_coin::messages::{Invoice, Outcome, PayeeAnswer};
use florin_coin::payer::{self, PayerNews, ReadInvoice};
use florin_crypto::{Bytes, Sign1, cbor};
use florin_money::Amount;
use florin_shell::exchange::{Delivered, Exchange};
use serde::Serialize;
use tokio::time::Instant;

use crate::documents::{End, Item, Note, Payment, Target};
use crate::limits::day_of;
use crate::pay::{PayReport, Policy};
use crate::post;
use crate::purse::coin_set;
use crate::refusal::WalletError;
use crate::report::{text, utc};
use crate::wallet::Wallet;

/// How many coins a payment to an invoice has at most; the operator's terms may say less.
const INVOICE_COINS_MAX: usize = florin_coin::COINS_PER_PAYMENT_MAX;
/// How often coins may go away under a payment that begins before it is given up.
const BEGIN_TRIES_MAX: usize = 8;
/// How often the answer box is looked into.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How an invoice is paid.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PayInvoiceOptions {
    /// What the owner allows.
    pub policy: Policy,
    /// Give up a payment that is under way: it is paid already, or never will be.
    pub cancel: bool,
}

/// What an invoice says, for whoever is to pay it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InvoiceView {
    /// Who is paid.
    pub payee: String,
    /// How much.
    #[serde(serialize_with = "text")]
    pub amount: Amount,
    /// What for.
    pub what: String,
    /// Until when, in RFC 3339.
    pub until: String,
}

impl fmt::Display for InvoiceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.what.is_empty() { String::new() } else { format!(" for {}", self.what) };
        writeln!(f, "{} to {}{what}, until {}", self.amount, self.payee, self.until)
    }
}

impl Wallet {
    /// Reads an invoice and checks everything in it; nothing is paid.
    ///
    /// # Errors
    /// `Invoice`, `Currency`.
    pub fn show_invoice(&self, invoice: &str) -> Result<InvoiceView, WalletError> {
        let read = self.read_invoice(invoice)?;
        let p_desc = &read.invoice.p_desc;
        Ok(InvoiceView {
            payee: read.payee.name,
            amount: p_desc.amount,
            what: p_desc.goods.clone(),
            until: utc(read.invoice.deadline),
        })
    }

    fn read_invoice(&self, invoice: &str) -> Result<ReadInvoice, WalletError> {
        let bytes = payer::invoice_from_text(invoice).map_err(WalletError::Invoice)?;
        let read = payer::read_invoice(&bytes, &self.keys(), self.now()).map_err(WalletError::Invoice)?;
        self.denominations(read.invoice.p_desc.amount.currency())?;
        Ok(read)
    }

    /// Pays an invoice. The same command again ends the same payment.
    ///
    /// # Errors
    /// `Invoice`, `AboveLimit`, `NotEnough`, `NotKnownYet` and what goes with coins and books.
    pub async fn pay_invoice(
        &self,
        invoice: &str,
        options: &PayInvoiceOptions,
    ) -> Result<PayReport, WalletError> {
        let _progress = self.progress("paying the invoice");
        if let Some((x, payment)) = self.open_invoice_payment(invoice)? {
            return self.finish_invoice(&x, &payment, options.cancel, true).await;
        }
        if let Some(item) = self.paid_before(invoice)? {
            return Ok(PayReport::of(&item, true));
        }
        let read = self.read_invoice(invoice)?;
        if options.cancel {
            return Err(WalletError::NoSuchId { id: read.invoice.tid.to_string() });
        }
        let (x, payment) = self.begin_invoice(&read, &options.policy).await?;
        self.finish_invoice(&x, &payment, false, false).await
    }

    /// The payment of this invoice by this wallet, if it was paid: an invoice takes one payment.
    fn paid_before(&self, invoice: &str) -> Result<Option<Item>, WalletError> {
        let (tid, payee) = whose(invoice)?;
        let about = |com: &florin_coin::Com| com.tid == tid && com.payee == payee;
        let paid = |item: &Item| item.end == End::Done && item.proof.com.as_ref().is_some_and(about);
        Ok(self.items()?.into_iter().find(paid))
    }

    /// The payment of this invoice that is under way; the invoice may have expired meanwhile.
    fn open_invoice_payment(&self, invoice: &str) -> Result<Option<(Exchange, Payment)>, WalletError> {
        let (tid, payee) = whose(invoice)?;
        let same = |payment: &Payment| {
            matches!(payment.target, Target::Invoice(_))
                && payment.com.tid == tid
                && payment.com.payee == payee
        };
        Ok(self.open_payments()?.into_iter().find(|(_, payment)| same(payment)))
    }

    async fn begin_invoice(
        &self,
        read: &ReadInvoice,
        policy: &Policy,
    ) -> Result<(Exchange, Payment), WalletError> {
        let amount = read.invoice.p_desc.amount;
        self.check_limits(amount, policy)?;
        let issuer = self.issuer().await?;
        for _ in 0..BEGIN_TRIES_MAX {
            let coins = self.exact_coins(amount, INVOICE_COINS_MAX).await?;
            let com = read.com(PartyId::new(self.draw()));
            let set = coin_set(&coins, amount.currency())?;
            let paying = payer::send_coins(&issuer, &com, set, &mut *self.entropy())
                .map_err(|_| WalletError::NotPayable { amount })?;
            let put = post::put_coins(issuer.id, com.payee, com.tid, &paying.send_coins);
            let payment = Payment {
                amount,
                day: day_of(self.now()),
                target: Target::Invoice(com.tid),
                com,
                certificate: read.invoice.certificate.clone(),
                paid: false,
            };
            let note = Note::Pay(payment.clone());
            let mut x = self.exchange(post::PUT_PATH, put, paying.pending.to_vec(), &note);
            x.reserved = coins.iter().map(|owned| owned.id).collect();
            if self.begin_payment(&x, &payment, policy).await? {
                return Ok((x, payment));
            }
        }
        Err(WalletError::UnderWay { what: "another payment" })
    }

    /// Puts the coins into the box until they lie there, looks for the answer, and asks the operator after the deadline.
    pub(crate) async fn finish_invoice(
        &self,
        x: &Exchange,
        payment: &Payment,
        cancel: bool,
        resumed: bool,
    ) -> Result<PayReport, WalletError> {
        self.finish_invoice_within(x, payment, cancel, resumed, self.patience).await
    }

    /// The same within a time of one's own.
    pub(crate) async fn finish_invoice_within(
        &self,
        x: &Exchange,
        payment: &Payment,
        cancel: bool,
        resumed: bool,
        patience: Duration,
    ) -> Result<PayReport, WalletError> {
        let until = Instant::now().checked_add(patience);
        let mut lies_there = false;
        loop {
            if let Some((news, receipt)) = self.look_for_answer(payment, x).await? {
                let receipt = self.checked_receipt(x, payment, receipt);
                return Ok(PayReport::of(&self.end_payment(x, payment, &news, receipt).await?, resumed));
            }
            if cancel {
                let what = "giving up the payment";
                let item = self.resolve(x, payment, true).await?;
                let item = item.ok_or(WalletError::NotKnownYet { what, slug: None })?;
                return Ok(PayReport::of(&item, resumed));
            }
            let mut slug = None;
            if !lies_there {
                match self.net.operator.send(x, "").await {
                    Delivered::Answer(_) => lies_there = true,
                    // There is no box, or somebody else's coins lie in it: these will never be taken from there. The
                    // operator has seen the envelope, so its word that they never pay is wanted before they are free.
                    Delivered::Refused(_) => {
                        if let Some(item) = self.resolve(x, payment, true).await? {
                            return Ok(PayReport::of(&item, resumed));
                        }
                    }
                    Delivered::Later { slug: why, .. } => slug = why,
                }
            }
            if self.is_past(payment)
                && let Some(item) = self.resolve(x, payment, false).await?
            {
                return Ok(PayReport::of(&item, resumed));
            }
            if until.is_none_or(|end| Instant::now().checked_add(LOOK_EVERY).is_none_or(|next| next > end)) {
                return Err(WalletError::NotKnownYet { what: "the payment", slug });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The payee's answer, if it is there and holds the operator's verdict.
    async fn look_for_answer(
        &self,
        payment: &Payment,
        x: &Exchange,
    ) -> Result<Option<(PayerNews, Option<Vec<u8>>)>, WalletError> {
        let (issuer, payee, tid) = (self.operator(), payment.com.payee, payment.com.tid);
        let asked = post::take(issuer, payee, tid, Side::ToPayer);
        let answer = match self.ask("the answer", post::TAKE_PATH, asked, Duration::ZERO).await {
            Ok(answer) => answer,
            Err(WalletError::NotKnownYet { .. } | WalletError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(content) = post::read_taken(&answer, issuer, payee, tid, Side::ToPayer) else {
            return Ok(None);
        };
        let Ok(answer) = cbor::decode_strict::<PayeeAnswer>(&content) else { return Ok(None) };
        let Ok(news) = payer::read_payer_verdict(&x.pending, &answer.for_payer.0, &self.keys()) else {
            // The payee has ended it without a verdict for the payer: the operator has one.
            return Ok(self.payment_status(x, false).await.unwrap_or(None).map(|news| (news, None)));
        };
        let receipt = answer.receipt.map(|Bytes(bytes)| bytes);
        let paid = news.verdict.outcome == Outcome::Paid;
        Ok(Some((news, receipt.filter(|_| paid))))
    }
}

/// The transaction and the payee that an invoice names; nothing is checked.
fn whose(invoice: &str) -> Result<(TidPy, PartyId), WalletError> {
    let bytes = payer::invoice_from_text(invoice).map_err(WalletError::Invoice)?;
    let malformed = || WalletError::Invoice(payer::InvoiceError::Malformed);
    let signed = Sign1::parse(&bytes).map_err(|_| malformed())?;
    let read: Invoice = cbor::decode_strict(signed.payload_unverified()).map_err(|_| malformed())?;
    Ok((read.tid, read.context.sender))
}
