//! The audit of an operator: both lanes from their first record, their pair accounts against each other, coins in
//! circulation. Source: books.md, "The rules every commit obeys"; VarietyCash §2.6 (conservation of cash).

use std::fmt;

use florin_books::{Account, AuditReport, LaneId, Seq};
use florin_coin::issuer::{HandOverDue, Honour, PayOut};
use florin_coin::kinds::{HAND_OVER, HONOUR, PAY_OUT};
use florin_money::{Amount, Currency, CurrencyCode};
use florin_shell::house::{ActError, House};
use florin_store::{CommitError, StoreError};
use serde::{Deserialize, Serialize};

use crate::hand_over;
use crate::lanes::{BOOKS, IDENTITY, Lanes};
use crate::operator::Operator;
use crate::reconcile::StatementReport;
use crate::reconcile::brake::{self, StoppedLine};

/// Why an audit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The books have stopped.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The audit's thread ended early.
    #[error("the audit was interrupted")]
    Interrupted,
}

/// An account of the books.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountLine {
    /// Which lane.
    pub lane: String,
    /// What people call it.
    pub account: String,
    /// Its balance, debit positive.
    pub balance: String,
}

/// Coins of one denomination.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CirculationLine {
    /// The value of one.
    pub value: String,
    /// How many are in circulation.
    pub live: u64,
    /// How many were ever issued.
    pub issued: u64,
    /// What those in circulation are worth.
    pub worth: String,
}

/// The books, and what the audit says of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BooksReport {
    /// Every account that is not zero.
    pub accounts: Vec<AccountLine>,
    /// Coins in circulation.
    pub circulation: Vec<CirculationLine>,
    /// What they are worth together.
    pub in_circulation: String,
    /// The operator's money at its bank, by its books.
    pub at_bank: String,
    /// How many records were read.
    pub records: u64,
    /// The bank's statement beside the books; none where it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<StatementReport>,
    /// Why nothing is paid out, if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payouts_stopped: Option<StoppedLine>,
    /// Everything that does not agree.
    pub findings: Vec<String>,
}

impl BooksReport {
    /// Whether everything agrees.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Audits both lanes.
///
/// # Errors
/// [`AuditError`]: it could not be made; what does not agree is a finding, not an error.
pub async fn audit(lanes: &Lanes) -> Result<BooksReport, AuditError> {
    let lanes = lanes.clone();
    tokio::task::spawn_blocking(move || audit_now(&lanes)).await.map_err(|_| AuditError::Interrupted)?
}

/// Audits both lanes, and compares them with the bank's statement. A bank that gives none is no finding.
///
/// # Errors
/// As [`audit`].
pub async fn audit_with_bank(operator: &Operator) -> Result<BooksReport, AuditError> {
    let mut report = audit(&operator.lanes).await?;
    let compared = operator.reconciler.compare_all().await.map_err(|error| match error {
        ActError::Commit(e) => AuditError::Commit(e),
        ActError::Store(e) => AuditError::Store(e),
    })?;
    report.findings.extend(compared.findings().iter().map(|f| format!("bank: {f}")));
    report.statement = Some(compared);
    report.payouts_stopped = brake::stopped(&operator.lanes.identity)?.map(StoppedLine::of);
    Ok(report)
}

/// The same, on this thread.
///
/// # Errors
/// [`AuditError`].
pub fn audit_now(lanes: &Lanes) -> Result<BooksReport, AuditError> {
    let mut report = BooksReport {
        accounts: Vec::new(),
        circulation: Vec::new(),
        in_circulation: String::new(),
        at_bank: String::new(),
        records: 0,
        statement: None,
        payouts_stopped: None,
        findings: Vec::new(),
    };
    for (house, id) in [(&lanes.identity, IDENTITY), (&lanes.books, BOOKS)] {
        let checked = house.books.audit()?;
        note(&mut report, &checked, id);
    }
    accounts(&mut report, lanes)?;
    circulation(&mut report, &lanes.books)?;
    pairs(&mut report, lanes)?;
    Ok(report)
}

const fn title(lane: LaneId) -> &'static str {
    if lane.0 == IDENTITY.0 { "identity" } else { "books" }
}

/// What a participant is owed in the books lane is what it has gathered; in the identity lane, a pay-out that did not
/// arrive. The same value never stands in both.
fn account_title(lane: LaneId, account: &Account) -> String {
    match account {
        Account::Party(id) if lane == BOOKS => format!("gathered by {id}"),
        other => other.title(),
    }
}

fn note(report: &mut BooksReport, checked: &AuditReport, lane: LaneId) {
    report.records = report.records.saturating_add(checked.records);
    let lane = title(lane);
    report.findings.extend(checked.findings.iter().map(|f| format!("lane {lane}: {f}")));
}

fn accounts(report: &mut BooksReport, lanes: &Lanes) -> Result<(), AuditError> {
    for (house, id) in [(&lanes.identity, IDENTITY), (&lanes.books, BOOKS)] {
        let balances = house.books.view(|lane| lane.balances().collect::<Vec<_>>())?;
        for (account, code, balance) in balances {
            report.accounts.push(AccountLine {
                lane: title(id).into(),
                account: account_title(id, &account),
                balance: text(balance, code, lanes),
            });
        }
    }
    let currency = currency_of(lanes);
    let at_bank = match currency {
        Some(c) => lanes.identity.books.view(move |l| l.balance(Account::Bank(0), c.code()))?,
        None => 0,
    };
    report.at_bank = currency.map_or_else(|| "0".into(), |c| signed(at_bank, c));
    Ok(())
}

fn currency_of(lanes: &Lanes) -> Option<Currency> {
    lanes.books.books.spec().registers.first().map(|r| r.denominations.currency())
}

fn text(balance: i64, code: CurrencyCode, lanes: &Lanes) -> String {
    match currency_of(lanes).filter(|c| c.code() == code) {
        Some(currency) => signed(balance, currency),
        None => format!("{balance} {code} (minor units)"),
    }
}

fn signed(balance: i64, currency: Currency) -> String {
    let amount = Amount::new(balance.unsigned_abs(), currency);
    if balance < 0 { format!("-{amount}") } else { amount.to_string() }
}

fn circulation(report: &mut BooksReport, books: &House) -> Result<(), AuditError> {
    let lines = books.books.view(|lane| lane.live().circulation().collect::<Vec<_>>())?;
    let Some(register) = books.books.spec().registers.first() else { return Ok(()) };
    let currency = register.denominations.currency();
    let mut total: u64 = 0;
    for line in lines {
        let value = register.denominations.value(line.denomination.index()).unwrap_or(0);
        let worth = value.saturating_mul(line.live);
        total = total.saturating_add(worth);
        report.circulation.push(CirculationLine {
            value: Amount::new(value, currency).to_string(),
            live: line.live,
            issued: line.issued,
            worth: Amount::new(worth, currency).to_string(),
        });
    }
    report.in_circulation = Amount::new(total, currency).to_string();
    Ok(())
}

/// What one lane says it gave the other is what the other says it got, but for what is under way.
fn pairs(report: &mut BooksReport, lanes: &Lanes) -> Result<(), AuditError> {
    let Some(currency) = currency_of(lanes) else { return Ok(()) };
    // Under load the two lanes are not seen at the same moment: look until a moment is found in which neither moved.
    for _ in 0..50 {
        let before = (lanes.identity.books.durable(), lanes.books.books.durable());
        let difference = pair_difference(lanes, currency)?;
        let after = (lanes.identity.books.durable(), lanes.books.books.durable());
        if difference == 0 {
            return Ok(());
        }
        if before == after {
            let found =
                format!("the two lanes differ by {} after what is under way", signed(difference, currency));
            report.findings.push(found);
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}

/// What one lane gave the other and has not come there, nor is under way; not zero only where they do not belong together.
pub(crate) fn pair_difference(lanes: &Lanes, currency: Currency) -> Result<i64, AuditError> {
    let code = currency.code();
    let (given, out) = lanes.identity.books.view(move |lane| {
        let out: Vec<_> = lane.outbox().filter(|o| o.kind == HAND_OVER).cloned().collect();
        (lane.balance(Account::Pair(BOOKS), code), out)
    })?;
    let (got, back) = lanes.books.books.view(move |lane| {
        let back: Vec<_> = lane.outbox().filter(|o| matches!(o.kind, PAY_OUT | HONOUR)).cloned().collect();
        (lane.balance(Account::Pair(IDENTITY), code), back)
    })?;
    let out: Vec<HandOverDue> = out.iter().filter_map(HandOverDue::read).collect();
    let handed = hand_over::under_way(lanes, &out)?;
    let mut under_way = handed.minor;
    for paid in back.iter().filter(|o| o.kind == HONOUR).filter_map(Honour::read) {
        let arrived = !lanes.identity.books.load(&paid.needs())?.once.is_empty();
        under_way = under_way.saturating_add(if arrived { 0 } else { paid.amount.minor() });
    }
    for payout in back.iter().filter(|o| o.kind == PAY_OUT).filter_map(PayOut::read) {
        let arrived = !lanes.identity.books.load(&payout.needs())?.once.is_empty();
        under_way = under_way.saturating_add(if arrived { 0 } else { payout.amount.minor() });
    }
    let under_way = i64::try_from(under_way).unwrap_or(i64::MAX);
    let difference = given.saturating_add(got).saturating_add(under_way);
    // Claims whose keys were lost between their arrival and its record here: no difference, their holders settle it.
    let arrived = u64::try_from(difference).is_ok_and(|minor| handed.may_have_arrived(minor));
    Ok(if arrived { 0 } else { difference })
}

impl fmt::Display for BooksReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.accounts.iter().map(|a| a.account.chars().count()).max().unwrap_or(0);
        writeln!(f, "Accounts (debit positive, owed negative)")?;
        for a in &self.accounts {
            writeln!(f, "  {:<9} {:<wide$}  {:>16}", a.lane, a.account, a.balance)?;
        }
        writeln!(f, "Coins in circulation")?;
        for c in self.circulation.iter().filter(|c| c.live > 0) {
            writeln!(f, "  {:>6} x {:>14}  = {:>16}", c.live, c.value, c.worth)?;
        }
        writeln!(f, "  together                 = {:>16}", self.in_circulation)?;
        if let Some(statement) = &self.statement {
            writeln!(f, "{statement}")?;
        }
        if let Some(stopped) = &self.payouts_stopped {
            writeln!(f, "{stopped}")?;
        }
        if self.is_clean() {
            write!(f, "Audit: clean, {} records", self.records)
        } else {
            writeln!(f, "Audit: {} findings in {} records", self.findings.len(), self.records)?;
            self.findings.iter().try_for_each(|finding| writeln!(f, "  {finding}"))
        }
    }
}

/// How many records both lanes have.
#[must_use]
pub fn durable(lanes: &Lanes) -> (Seq, Seq) {
    (lanes.identity.books.durable(), lanes.books.books.durable())
}
