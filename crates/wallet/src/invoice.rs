//! `request`: an invoice of one's own, a post box for its payer, and new coins for what comes.
//! Source: VarietyCash §3.2 (1), (3), (4), P1, P2; V2, V3, V5; ADR 0006.

use std::fmt;
use std::time::Duration;

use florin_books::{DocumentKey, Timestamp};
use florin_coin::com::GOODS_BYTES_MAX;
use florin_coin::issuer::Side;
use florin_coin::payee::{self, InvoiceTerms, Presented};
use florin_coin::{COINS_ISSUED_MAX, Com, PDesc, TidPy, pay_id};
use florin_crypto::{ByteArray, Bytes, Digest, cbor};
use florin_money::Amount;
use florin_shell::ExitCode;
use florin_shell::exchange;
use serde::Serialize;
use tokio::time::Instant;

use crate::apply::received_item;
use crate::documents::{End, HISTORY, INVOICE, Item, Note, OwnInvoice, Proof, Receiving};
use crate::mix::CoinMix;
use crate::post;
use crate::refusal::WalletError;
use crate::report::{text, utc};
use crate::wallet::Wallet;

/// How payments by coins are named in P-DESC.
const METHOD: &str = florin_coin::web::METHOD;
/// An invoice lasts at most so long.
pub(crate) const EXPIRES_MAX: Duration = Duration::from_secs(23 * 60 * 60);
/// How often the box is looked into.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How money is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestOptions {
    /// What for.
    pub what: String,
    /// How long it can be paid.
    pub expires: Duration,
    /// How long to wait for the payer now.
    pub wait: Duration,
    /// Make another invoice even where one for the same is open.
    pub new: bool,
}

impl Default for RequestOptions {
    fn default() -> Self {
        let hour = Duration::from_secs(60 * 60);
        Self { what: String::new(), expires: hour, wait: hour, new: false }
    }
}

/// How an invoice stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvoiceState {
    /// Nobody has paid yet.
    Waiting,
    /// Paid: the coins are in the purse.
    Paid,
    /// What came was no payment.
    Refused,
    /// Its time is over.
    Expired,
}

/// An invoice of one's own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InvoiceReport {
    /// How it stands.
    pub state: InvoiceState,
    /// The text that the payer needs.
    pub invoice: String,
    /// How much.
    #[serde(serialize_with = "text")]
    pub amount: Amount,
    /// What for.
    pub what: String,
    /// Until when, in RFC 3339.
    pub until: String,
    /// The payment's id, once there is one.
    pub id: Option<String>,
}

impl InvoiceReport {
    /// How the program ends.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        match self.state {
            InvoiceState::Paid => ExitCode::Done,
            InvoiceState::Waiting => ExitCode::NotKnownYet,
            InvoiceState::Refused | InvoiceState::Expired => ExitCode::Refused,
        }
    }
}

impl fmt::Display for InvoiceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            InvoiceState::Waiting => writeln!(f, "{}", self.invoice),
            InvoiceState::Paid => writeln!(f, "received {}", self.amount),
            InvoiceState::Refused => {
                writeln!(f, "what came was no payment of {}; nothing was received", self.amount)
            }
            InvoiceState::Expired => writeln!(f, "nobody has paid {} in time", self.amount),
        }
    }
}

impl Wallet {
    /// Makes an invoice whose box is open at the operator. The same command again gives the same invoice while it is open.
    ///
    /// # Errors
    /// `NotRegistered`, `Input`, `Currency`, `Refused`, `NotKnownYet`, those of the books.
    pub async fn invoice(
        &self,
        amount: Amount,
        options: &RequestOptions,
    ) -> Result<InvoiceReport, WalletError> {
        let certificate = self.certificate()?;
        self.refresh_list(amount)?;
        let what = options.what.trim().to_owned();
        if what.len() > GOODS_BYTES_MAX || what.chars().any(char::is_control) {
            return Err(WalletError::Input { text: what, what: "a short text of one line" });
        }
        let _progress = self.progress("opening a box for the invoice");
        let now = self.now();
        let same = |i: &OwnInvoice| i.amount == amount && i.goods == what && i.deadline > now && !options.new;
        if let Some(invoice) = self.open_invoices()?.into_iter().find(same) {
            return self.opened(&invoice).await;
        }
        let issuer = self.issuer().await?;
        let expires = options.expires.clamp(Duration::from_secs(1), EXPIRES_MAX);
        let deadline = now.plus_ms(u64::try_from(expires.as_millis()).unwrap_or(u64::MAX));
        let (tid, salt): (TidPy, [u8; 16]) = (TidPy::new(self.draw()), self.draw());
        let terms = InvoiceTerms { tid, p_desc: p_desc(amount, &what), salt, deadline };
        let signed = payee::invoice(&self.identity, &certificate.certificate.0, issuer.id, &terms);
        let invoice = OwnInvoice {
            tid,
            amount,
            goods: what,
            salt: ByteArray(salt),
            since: now,
            deadline,
            invoice: Bytes(signed),
            open: false,
        };
        let opening = post::open(&issuer, &self.identity, tid, deadline, &mut *self.entropy());
        let (body, pending) = opening.ok_or(WalletError::NoKey)?;
        let x = self.exchange(post::OPEN_PATH, body, pending.to_vec(), &Note::OpenBox(invoice.clone()));
        let mut t = self.fresh("florin/v1/wallet/invoice", &[x.id.bytes()]);
        t.write(invoice.key(), cbor::encode(&invoice));
        exchange::begin(&self.house, &x, t).await?;
        self.opened(&invoice).await
    }

    /// The invoice, once its boxes are there.
    async fn opened(&self, invoice: &OwnInvoice) -> Result<InvoiceReport, WalletError> {
        let is_it = |note: &Note| matches!(note, Note::OpenBox(i) if i.tid == invoice.tid);
        if let Some(x) = self.open_one(is_it)? {
            self.settle(&x).await?;
        }
        Ok(report(invoice, InvoiceState::Waiting, None))
    }

    /// Waits until the invoice is paid, refused or expired, or `wait` is over.
    ///
    /// # Errors
    /// `Input` (not an invoice of this wallet), `Refused`, `NotKnownYet`, those of the books.
    pub async fn wait_for_payment(
        &self,
        invoice: &str,
        wait: Duration,
    ) -> Result<InvoiceReport, WalletError> {
        let what = "an invoice of this wallet";
        let other = || WalletError::Input { text: invoice.to_owned(), what };
        let all = self.documents::<OwnInvoice>(INVOICE, "an invoice")?;
        let own = all.into_iter().find(|own| payee::invoice_text(&own.invoice.0) == invoice.trim());
        let own = own.ok_or_else(other)?;
        let _progress = self.progress("waiting for the payer");
        let until = Instant::now().checked_add(wait);
        loop {
            if let Some(item) = self.look_for_coins(&own).await? {
                self.settle_deliveries().await?;
                return Ok(ended(&own, &item));
            }
            if until.is_none_or(|end| Instant::now().checked_add(LOOK_EVERY).is_none_or(|next| next > end)) {
                return Ok(report(&own, InvoiceState::Waiting, None));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(crate) fn open_invoices(&self) -> Result<Vec<OwnInvoice>, WalletError> {
        let mut open: Vec<OwnInvoice> = self.documents(INVOICE, "an invoice")?;
        open.sort_by_key(|invoice| invoice.since);
        Ok(open)
    }

    /// Looks into the box and has what lies there validated. None: nothing yet.
    pub(crate) async fn look_for_coins(&self, own: &OwnInvoice) -> Result<Option<Item>, WalletError> {
        if let Some(com) = self.receiving(own)?.map(|(_, com)| com) {
            return self.validated(own, &com).await;
        }
        let is_opening = |note: &Note| matches!(note, Note::OpenBox(i) if i.tid == own.tid);
        if let Some(x) = self.open_one(is_opening)? {
            self.settle(&x).await?;
        }
        let (issuer, me) = (self.operator(), self.id());
        let asked = post::take(issuer, me, own.tid, Side::ToPayee);
        let found = match self.ask("the invoice", post::TAKE_PATH, asked, Duration::ZERO).await {
            Ok(answer) => post::read_taken(&answer, issuer, me, own.tid, Side::ToPayee).ok(),
            Err(WalletError::NotKnownYet { .. } | WalletError::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
        let sent = found.map(|content| payee::read_send_coins(&content, me));
        match sent {
            Some(Ok(send)) if self.now() <= own.deadline => {
                let com = own.com(send.context.sender, me, issuer);
                self.validating(own, &com, send).await?;
                self.validated(own, &com.digest()).await
            }
            // Something else was left there; a box takes one message, so nobody can pay this invoice any more.
            Some(Err(_)) => self.close_invoice(own, End::Refused, "not-a-payment").await.map(Some),
            Some(Ok(_)) | None if self.now() > own.deadline => {
                self.close_invoice(own, End::Never, "payment-expired").await.map(Some)
            }
            Some(Ok(_)) | None => Ok(None),
        }
    }

    async fn validating(
        &self,
        own: &OwnInvoice,
        com: &Com,
        send: florin_coin::messages::SendCoins,
    ) -> Result<(), WalletError> {
        let issuer = self.issuer().await?;
        let presented = Presented {
            payer: com.payer,
            tid: own.tid,
            com: com.digest(),
            deadline: own.deadline,
            enc_c1: send.enc_c1,
        };
        let unpayable = |_| WalletError::NotPayable { amount: own.amount };
        let v_desc = payee::refresh(own.amount, self.refresh_list(own.amount)?).map_err(unpayable)?;
        let entropy = &mut *self.entropy();
        let prepared = payee::validation_req(&issuer, &self.identity, &presented, v_desc, entropy);
        let prepared = prepared.map_err(unpayable)?;
        let enc_c1 = presented.enc_c1.clone();
        let (payer, com) = (com.payer, com.digest());
        let receiving = Receiving { invoice: own.clone(), payer, com, enc_c1, refused: None };
        let note = Note::Validate(receiving);
        let x = self
            .exchange(prepared.path, prepared.body, prepared.pending.to_vec(), &note)
            .withdrawn_by(prepared.withdrawn);
        exchange::begin(&self.house, &x, self.fresh("florin/v1/wallet/validate", &[x.id.bytes()])).await?;
        Ok(())
    }

    /// What is under way about the coins for an invoice, and their H(Com).
    fn receiving(&self, own: &OwnInvoice) -> Result<Option<(exchange::Exchange, Digest)>, WalletError> {
        let open = exchange::under_way(&self.house)?.into_iter();
        let mut receiving = open.filter_map(|x| Some((Note::of(&x)?.into_receiving()?, x)));
        Ok(receiving.find(|(r, _)| r.invoice.tid == own.tid).map(|(r, x)| (x, r.com)))
    }

    /// ValidationReq, the question that follows a refusal, and ValidationReq again.
    async fn validated(&self, own: &OwnInvoice, com: &Digest) -> Result<Option<Item>, WalletError> {
        for _ in 0..3 {
            let Some((x, _)) = self.receiving(own)? else { break };
            match self.settle(&x).await {
                Ok(_) | Err(WalletError::Refused { .. }) => {}
                Err(WalletError::NotKnownYet { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        self.document(DocumentKey::new(HISTORY, *pay_id(com).bytes()))
    }

    async fn close_invoice(&self, own: &OwnInvoice, end: End, why: &str) -> Result<Item, WalletError> {
        let now: Timestamp = self.now();
        let item = received_item(own, end, Some(why.to_owned()), Proof::default(), now);
        let mut t = self.fresh("florin/v1/wallet/invoice-closed", &[own.tid.bytes()]);
        t.remove(own.key());
        t.write(item.key(), cbor::encode(&item));
        self.house.commit(t).await?;
        Ok(item)
    }

    /// The coins to take for an amount.
    pub(crate) fn refresh_list(&self, amount: Amount) -> Result<florin_money::CoinList, WalletError> {
        let denominations = self.denominations(amount.currency())?;
        let list = CoinMix::Mixed.list(amount, &denominations);
        let list = list.filter(|list| !list.is_empty() && list.count() <= COINS_ISSUED_MAX);
        list.ok_or(WalletError::NotPayable { amount })
    }
}

fn p_desc(amount: Amount, what: &str) -> PDesc {
    PDesc { amount, goods: what.to_owned(), method: METHOD.to_owned(), terms: Digest([0; 32]) }
}

impl OwnInvoice {
    fn com(
        &self,
        payer: florin_books::PartyId,
        me: florin_books::PartyId,
        issuer: florin_books::PartyId,
    ) -> Com {
        Com {
            p_desc: p_desc(self.amount, &self.goods),
            tid: self.tid,
            payer,
            payee: me,
            issuer,
            salt: self.salt,
            deadline: self.deadline,
        }
    }
}

fn report(own: &OwnInvoice, state: InvoiceState, id: Option<String>) -> InvoiceReport {
    InvoiceReport {
        state,
        invoice: payee::invoice_text(&own.invoice.0),
        amount: own.amount,
        what: own.goods.clone(),
        until: utc(own.deadline),
        id,
    }
}

fn ended(own: &OwnInvoice, item: &Item) -> InvoiceReport {
    let state = match item.end {
        End::Done => InvoiceState::Paid,
        End::Denied | End::AmountMismatch | End::Refused => InvoiceState::Refused,
        End::Never => InvoiceState::Expired,
        End::Open => InvoiceState::Waiting,
    };
    let id = (item.id.0 != *own.tid.bytes()).then(|| florin_coin::PayId::new(item.id.0).to_string());
    report(own, state, id)
}
