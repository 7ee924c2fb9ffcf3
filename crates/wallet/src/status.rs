//! `status`: everything that is open, settled as far as it can be now. Source: architecture.md, "Never unknown".

use std::fmt;
use std::time::Duration;

use florin_parties::network_id;
use florin_shell::ExitCode;
use florin_shell::exchange;
use serde::Serialize;

use crate::documents::{CERTIFICATE, Note, OwnCertificate, Target, single};
use crate::identity::EnrolReport;
use crate::purse::BalanceReport;
use crate::refusal::WalletError;
use crate::report::utc;
use crate::wallet::Wallet;

/// Something that is open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OpenItem {
    /// What it is.
    pub what: String,
    /// How much, if it is about an amount.
    pub amount: Option<String>,
    /// When it began, in RFC 3339.
    pub since: String,
    /// When it has an end at the latest, in RFC 3339.
    pub until: Option<String>,
    /// How to go on by hand.
    pub hint: &'static str,
    /// Whether it is known how the money went, and only the goods have not come.
    pub paid: bool,
}

/// How the wallet stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StatusReport {
    /// What the operator calls itself.
    pub operator: String,
    /// Its URL.
    pub url: String,
    /// The network id that the wallet is pinned to.
    pub fingerprint: String,
    /// Whether nothing here is worth anything.
    pub test: bool,
    /// The identity, if it is registered.
    pub name: Option<String>,
    /// The enrolment.
    pub enrolment: EnrolReport,
    /// The purse.
    #[serde(flatten)]
    pub balance: BalanceReport,
    /// How many open things were ended now.
    pub settled: usize,
    /// What is still open.
    pub open: Vec<OpenItem>,
    /// Whether the operator answered.
    pub reachable: bool,
}

impl StatusReport {
    /// How the program ends: `NotKnownYet` while it is not known of something how it ends.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.open.iter().all(|item| item.paid) { ExitCode::Done } else { ExitCode::NotKnownYet }
    }
}

impl fmt::Display for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let test = if self.test { " (a sandbox)" } else { "" };
        let reached = if self.reachable { "" } else { ", which does not answer now" };
        writeln!(f, "{}{test} at {}, {}{reached}", self.operator, self.url, self.fingerprint)?;
        match &self.name {
            Some(name) => writeln!(f, "registered as {name}")?,
            None => writeln!(f, "not registered")?,
        }
        self.enrolment.fmt(f)?;
        self.balance.fmt(f)?;
        if self.settled > 0 {
            writeln!(f, "{} open matters were ended now", self.settled)?;
        }
        for item in &self.open {
            let amount = item.amount.as_ref().map(|a| format!(" {a}")).unwrap_or_default();
            let until = item.until.as_ref().map(|u| format!(", until {u}")).unwrap_or_default();
            let state = if item.paid { "paid" } else { "open" };
            writeln!(f, "{state}: {}{amount}, since {}{until}: {}", item.what, item.since, item.hint)?;
        }
        Ok(())
    }
}

impl Wallet {
    /// Settles what can be settled, and says how everything stands.
    ///
    /// # Errors
    /// Those of the books. That the operator does not answer is no error.
    pub async fn status(&self) -> Result<StatusReport, WalletError> {
        let progress = self.progress("asking the operator");
        let reachable = match self.refresh_keys().await {
            Ok(()) => true,
            Err(WalletError::Unreachable { .. }) => false,
            Err(error) => return Err(error),
        };
        let before = self.open_items()?.len();
        if reachable {
            self.settle_all().await?;
        }
        progress.finish();
        let open = self.open_items()?;
        let keys = self.keys();
        let settings = self.settings()?;
        Ok(StatusReport {
            operator: keys.name.clone(),
            url: settings.url,
            fingerprint: network_id(self.operator()),
            test: keys.test,
            name: self.document::<OwnCertificate>(single(CERTIFICATE))?.map(|own| own.name),
            enrolment: self.enrolment()?,
            balance: self.balance()?,
            settled: before.saturating_sub(open.len()),
            open,
            reachable,
        })
    }

    /// Runs every open request once more, and asks about payments whose deadline has passed.
    pub(crate) async fn settle_all(&self) -> Result<(), WalletError> {
        for x in exchange::under_way(&self.house)? {
            let done = match Note::of(&x) {
                Some(Note::Pay(payment)) => match payment.target {
                    Target::Page(_) if self.is_past(&payment) => {
                        self.resolve_past(&x, &payment).await.map(|_| ())
                    }
                    Target::Page(_) => Ok(()),
                    Target::Payload(_) => self.resolve(&x, &payment, false).await.map(|_| ()),
                    Target::Invoice(_) => self.try_invoice(&x, &payment).await,
                },
                Some(_) => self.settle_within(&x, Duration::ZERO).await.map(|_| ()),
                None => Err(WalletError::Damaged { what: "a request" }),
            };
            forgive(done)?;
        }
        for purchase in self.open_purchases()?.into_iter().filter(|p| p.accepted.is_some()) {
            forgive(self.collect(&purchase, Duration::ZERO).await.map(|_| ()))?;
        }
        for invoice in self.open_invoices()? {
            forgive(self.look_for_coins(&invoice).await.map(|_| ()))?;
        }
        // A take-back that found some coins claimed goes on with the rest.
        for sent in self.open_sent()?.into_iter().filter(|sent| sent.taking) {
            forgive(self.take_back(&sent.text_id()).await.map(|_| ()))?;
        }
        self.settle_deliveries().await?;
        self.refresh_by_the_way().await
    }

    async fn try_invoice(
        &self,
        x: &exchange::Exchange,
        payment: &crate::documents::Payment,
    ) -> Result<(), WalletError> {
        self.finish_invoice_within(x, payment, false, true, Duration::ZERO).await.map(|_| ())
    }

    fn open_items(&self) -> Result<Vec<OpenItem>, WalletError> {
        let mut open = Vec::new();
        for x in exchange::under_way(&self.house)? {
            let Some(note) = Note::of(&x) else { continue };
            let (what, amount, until, hint) = match &note {
                Note::Pay(payment) => {
                    let hint = match payment.target {
                        Target::Page(_) if payment.paid => "florin wallet pay URL again gets the page",
                        Target::Page(_) => "florin wallet pay URL again",
                        Target::Payload(_) => "florin wallet status again, at the latest after that time",
                        Target::Invoice(_) => "florin wallet pay INVOICE again, or with --cancel",
                    };
                    let what = format!("payment of {}", payment.target.title());
                    (what, Some(payment.amount.to_string()), Some(utc(payment.com.deadline)), hint)
                }
                Note::Redeem { amount, .. } => {
                    let hint = "florin wallet redeem again";
                    ("redemption".to_owned(), Some(amount.to_string()), None, hint)
                }
                Note::Claim(claim) => {
                    let hint = "florin wallet status again";
                    (note.title().to_owned(), Some(claim.coins.total.to_string()), None, hint)
                }
                Note::TakeBack(sent) => {
                    let hint = "florin wallet send --take-back again";
                    (note.title().to_owned(), Some(sent.amount.to_string()), None, hint)
                }
                Note::Register
                | Note::Enrol { .. }
                | Note::Confirm { .. }
                | Note::Change
                | Note::Refresh
                | Note::Refund { .. } => (note.title().to_owned(), None, None, "florin wallet status again"),
                // Purchases and invoices are listed below; deliveries are nobody's concern.
                Note::WRequest3(_)
                | Note::Collect(_)
                | Note::OpenBox(_)
                | Note::Validate(_)
                | Note::GiveUp(_)
                | Note::Deliver => {
                    continue;
                }
            };
            let paid = matches!(&note, Note::Pay(payment) if payment.paid);
            open.push(OpenItem { what, amount, since: utc(x.since), until, hint, paid });
        }
        open.extend(self.open_purchases()?.into_iter().map(|p| OpenItem {
            what: "purchase".to_owned(),
            amount: Some(p.amount.to_string()),
            since: utc(p.since),
            until: None,
            hint: "florin wallet buy again, or wait for the bank",
            paid: false,
        }));
        open.extend(self.open_invoices()?.into_iter().map(|i| OpenItem {
            what: "invoice of your own".to_owned(),
            amount: Some(i.amount.to_string()),
            since: utc(i.since),
            until: Some(utc(i.deadline)),
            hint: "florin wallet request again waits for it",
            paid: false,
        }));
        Ok(open)
    }
}

/// What is not known yet, or was refused and recorded, does not keep the rest from being settled.
pub(crate) fn forgive(done: Result<(), WalletError>) -> Result<(), WalletError> {
    match done {
        Ok(())
        | Err(
            WalletError::NotKnownYet { .. }
            | WalletError::Refused { .. }
            | WalletError::CoinsRefused { .. }
            | WalletError::Unreachable { .. }
            | WalletError::NotPayable { .. }
            | WalletError::NoSuchId { .. },
        ) => Ok(()),
        Err(error) => Err(error),
    }
}
