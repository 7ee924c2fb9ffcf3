//! The books against the bank's statement: by an audit from the first entry on, by the running operator every so often
//! from where they last agreed. What differs stops pay-outs until a person has looked.
//! Source: bank.md, "Reconciliation" ("any difference stops automatic payouts and alarms").

pub mod bookings;
pub mod brake;
pub mod finding;
pub mod kinds;
pub mod statement;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use florin_bank::{BankError, BankRail};
use florin_books::{Needs, Seq, Transition};
use florin_crypto::{cbor, digest};
use florin_http::metrics::{Counter, Gauge};
use florin_http::{Registry, Stop};
use florin_money::Currency;
use florin_parties::bank::OrderId;
use florin_parties::treasury::{BANK, OrderRecord, OrderState};
use florin_shell::house::{ActError, House};
use florin_store::StoreError;
use serde::{Deserialize, Serialize};

use bookings::{Compared, compare, recorded, waiting};
use finding::Finding;
use kinds::{CHECKED, Checked};
use statement::Reading;

/// Statement and books are not seen at the same moment: what does not agree is looked at so often, and only what does
/// not agree every time is a finding.
const LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_millis(250);
/// Findings that are reported; a person who has seen so many has seen enough.
const FINDINGS_MAX: usize = 64;

/// What became of a comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum StatementReport {
    /// The bank gave no statement: nothing was compared, and that is no finding.
    Away {
        /// Why.
        why: String,
    },
    /// Statement and books were compared.
    Compared {
        /// Entries of the statement that were read.
        entries: u64,
        /// What the bank says.
        closing: String,
        /// Movements that the bank's waiting news will bring.
        under_way: u64,
        /// What does not agree, each `slug: words` ([`finding::Finding::line`]).
        findings: Vec<String>,
        /// What does not agree, and a person has cleared.
        known: Vec<String>,
    },
}

impl StatementReport {
    /// What does not agree and nobody has cleared.
    #[must_use]
    pub fn findings(&self) -> &[String] {
        match self {
            Self::Away { .. } => &[],
            Self::Compared { findings, .. } => findings,
        }
    }
}

impl fmt::Display for StatementReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away { why } => write!(f, "Bank: its statement was not compared: {why}"),
            Self::Compared { entries, closing, under_way, findings, known } => {
                let word =
                    if findings.is_empty() { "agrees with the books" } else { "differs from the books" };
                write!(f, "Bank: its statement {word}: {entries} entries, closing at {closing}")?;
                if *under_way > 0 {
                    write!(f, ", {under_way} of them under way to the books")?;
                }
                known.iter().try_for_each(|k| write!(f, "\n  cleared by a person: {k}"))
            }
        }
    }
}

/// One look at statement and books.
struct Look {
    compared: Compared,
    entries: u64,
    under_way: u64,
    now: Checked,
}

/// Compares the books with the statement of the operator's account.
pub struct Reconciler {
    identity: House,
    rail: Arc<dyn BankRail>,
    account: String,
    currency: Currency,
    silent: AtomicBool,
    stopped: Arc<Gauge>,
    differs: Arc<Gauge>,
    results: [Arc<Counter>; 3],
}

impl Reconciler {
    /// For the account with this IBAN.
    #[must_use]
    pub fn new(
        identity: House,
        rail: Arc<dyn BankRail>,
        account: &str,
        currency: Currency,
        registry: &Registry,
    ) -> Self {
        let result = |word| {
            let help = "Comparisons of the books with the bank's statement.";
            registry.counter_with("florin_reconciliations_total", help, Some(("result", word)))
        };
        Self {
            identity,
            rail,
            account: account.to_owned(),
            currency,
            silent: AtomicBool::new(false),
            stopped: registry.gauge("florin_payouts_stopped", "1 where pay-outs wait for a person, else 0."),
            differs: registry.gauge(
                "florin_reconciliation_findings",
                "What did not agree with the statement the last time.",
            ),
            results: ["agrees", "differs", "away"].map(result),
        }
    }

    /// Compares from the first entry on; where records were dropped, from where both last agreed, which is later.
    ///
    /// # Errors
    /// Those of the books.
    pub async fn compare_all(&self) -> Result<StatementReport, ActError> {
        let whole = self.identity.books.opening().map_err(ActError::Store)?.is_none();
        let from = if whole { Checked::default() } else { self.checked()? };
        Ok(self.compare_from(from).await?.0)
    }

    fn checked(&self) -> Result<Checked, StoreError> {
        let facts = self.identity.books.load(&needs_checked())?;
        Ok(facts.document(&CHECKED).and_then(Checked::read).unwrap_or_default())
    }

    /// The last record that the statement was compared with and agrees to; 0 where there is none.
    ///
    /// # Errors
    /// Those of the store.
    pub fn compared_to(&self) -> Result<Seq, StoreError> {
        Ok(Seq(self.checked()?.seq))
    }

    /// Compares every so often until stopped.
    pub async fn keep_comparing(&self, every: Duration, stop: &Stop) {
        while !stop.is_triggered() && !self.identity.books.is_failed() {
            if let Err(error) = self.compare_on().await {
                tracing::warn!(%error, "the books were not compared with the bank's statement");
            }
            tokio::select! {
                () = stop.stopped() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Compares from where they last agreed on; what differs stops pay-outs.
    ///
    /// # Errors
    /// Those of the books.
    pub async fn compare_on(&self) -> Result<StatementReport, ActError> {
        self.stopped.set(i64::from(brake::stopped(&self.identity)?.is_some()));
        let from = self.checked()?;
        let (report, agreed) = self.compare_from(from).await?;
        self.count(&report);
        match &report {
            StatementReport::Away { why } => {
                if !self.silent.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%why, "the bank gives no statement");
                }
            }
            StatementReport::Compared { findings, .. } if findings.is_empty() => {
                self.silent.store(false, Ordering::Relaxed);
                if let Some(agreed) =
                    agreed.filter(|a| a.number != from.number || a.difference != from.difference)
                {
                    self.keep(agreed).await?;
                }
            }
            StatementReport::Compared { findings, .. } => {
                tracing::error!(?findings, "the bank's statement and the books differ: pay-outs are stopped");
                brake::stop(&self.identity, findings).await?;
                self.stopped.set(1);
            }
        }
        Ok(report)
    }

    /// A person has looked: pay-outs go on, and what was found is known. `None`: they were not stopped.
    ///
    /// # Errors
    /// Those of the books.
    pub async fn resume(&self, reason: &str) -> Result<Option<kinds::Resumption>, ActError> {
        let resumed = brake::resume(&self.identity, reason).await?;
        self.stopped.set(i64::from(brake::stopped(&self.identity)?.is_some()));
        Ok(resumed)
    }

    fn count(&self, report: &StatementReport) {
        let [agrees, differs, away] = &self.results;
        let (counter, findings) = match report {
            StatementReport::Away { .. } => return away.add(1),
            StatementReport::Compared { findings, .. } if findings.is_empty() => (agrees, 0),
            StatementReport::Compared { findings, .. } => (differs, findings.len()),
        };
        counter.add(1);
        self.differs.set(i64::try_from(findings).unwrap_or(i64::MAX));
    }

    async fn keep(&self, agreed: Checked) -> Result<(), ActError> {
        let bytes = cbor::encode(&agreed);
        let needs = needs_checked();
        let kept = self.identity.act(&needs, |facts, _| {
            let mut t = Transition::new(digest("florin/v1/operator/checked", &[&bytes]), facts.as_of);
            t.write(CHECKED, bytes.clone());
            Some(t)
        });
        kept.await.map(drop)
    }

    /// The report, and how far both agree where they do, but for what is known.
    async fn compare_from(&self, from: Checked) -> Result<(StatementReport, Option<Checked>), ActError> {
        let mut lasting: Option<Vec<Finding>> = None;
        let mut look = match self.look(from).await? {
            Ok(look) => look,
            Err(away) => return Ok((away, None)),
        };
        for _ in 1..LOOKS {
            let found = &look.compared.findings;
            let still = match &lasting {
                None => found.clone(),
                Some(before) => before.iter().filter(|f| found.contains(f)).cloned().collect(),
            };
            let over = still.is_empty();
            lasting = Some(still);
            if over {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            look = match self.look(from).await? {
                Ok(look) => look,
                Err(away) => return Ok((away, None)),
            };
        }
        let last = &look.compared.findings;
        let lasting = lasting.unwrap_or_default().into_iter().filter(|f| last.contains(f));
        let cleared = brake::known(&self.identity)?;
        let (known, findings): (Vec<String>, Vec<String>) =
            lasting.map(|f| f.line()).partition(|f| cleared.contains(f));
        // Only where nothing is under way do both end at the same place.
        let agreed = look.under_way == 0 && findings.is_empty() && known.len() == last.len();
        let report = StatementReport::Compared {
            entries: look.entries,
            closing: florin_bank::messages::balance_text(look.now.balance, self.currency),
            under_way: look.under_way,
            findings: findings.into_iter().take(FINDINGS_MAX).collect(),
            known,
        };
        Ok((report, agreed.then_some(look.now)))
    }

    /// The statement first, then the bank's waiting news, then the books: what the bank has booked before the first is in
    /// the second or the third.
    async fn look(&self, from: Checked) -> Result<Result<Look, StatementReport>, ActError> {
        let mut reading = Reading::after(self.account.clone(), self.currency, from.number, from.balance);
        loop {
            match self.rail.statement(reading.number).await {
                Ok(page) if reading.absorb(&page) => {}
                Ok(_) => break,
                Err(BankError::Refused(problem)) if problem.slug.as_deref() == Some("cursor-unknown") => {
                    reading.findings.push(Finding::Shorter { seen: reading.number });
                    break;
                }
                Err(error) => return Ok(Err(StatementReport::Away { why: error.to_string() })),
            }
        }
        let code = self.currency.code();
        let waiting = match waiting(&self.identity, &*self.rail, code).await? {
            Ok(waiting) => waiting,
            Err(error) => return Ok(Err(StatementReport::Away { why: error.to_string() })),
        };
        let (seq, ledger) =
            self.identity.books.view(move |l| (l.seq(), l.balance(BANK, code))).map_err(ActError::Commit)?;
        let under_way = waiting.len();
        let (identity, currency) = (self.identity.clone(), self.currency);
        let look = tokio::task::spawn_blocking(move || -> Result<Look, StoreError> {
            let coming = waiting.iter().fold(0_i64, |sum, b| sum.saturating_add(b.delta));
            let mut bookings = recorded(&identity, Seq(from.seq), seq, code)?;
            bookings.extend(waiting);
            let mut compared = compare(&reading.entries, &bookings, currency, |id| was_booked(&identity, id));
            let books = ledger.saturating_add(coming);
            let difference = reading.balance.saturating_sub(books);
            if difference != from.difference.saturating_add(compared.explained) {
                compared.findings.push(Finding::Balance { statement: reading.balance, books, currency });
            }
            compared.findings = [reading.findings, compared.findings].concat();
            let entries = u64::try_from(reading.entries.len()).unwrap_or(u64::MAX);
            let now = Checked { number: reading.number, balance: reading.balance, seq: seq.0, difference };
            Ok(Look { compared, entries, under_way: u64::try_from(under_way).unwrap_or(u64::MAX), now })
        });
        Ok(Ok(look.await.map_err(|_| StoreError::Unknown)??))
    }
}

fn needs_checked() -> Needs {
    Needs { documents: vec![CHECKED], ..Needs::default() }
}

/// Whether the books say that an order has moved its money, now or once.
fn was_booked(identity: &House, id: OrderId) -> bool {
    let needs = Needs { documents: vec![OrderRecord::key_of(id)], ..Needs::default() };
    let facts = identity.books.load(&needs).ok();
    let record = facts.and_then(|f| f.document(&OrderRecord::key_of(id)).and_then(OrderRecord::read));
    record.is_some_and(|r| matches!(r.state, OrderState::Booked | OrderState::Returned(_)))
}
