//! The brake on pay-outs: set where statement and books differ, let go by a person, with a reason that is recorded.
//! Source: bank.md, "Reconciliation", "Payout brakes".

use std::collections::BTreeSet;
use std::fmt;

use florin_books::{DocumentKey, Needs, Timestamp, Transition};
use florin_crypto::{cbor, digest};
use florin_shell::house::{ActError, House};
use florin_shell::utc::utc;
use florin_store::StoreError;
use serde::{Deserialize, Serialize};

use super::kinds::{BRAKE, Brake, RESUMPTION, Resumption};

/// A reason has at most so many characters.
pub const REASON_MAX: usize = 500;

/// So many findings are kept; more are found again when pay-outs go on.
const FINDINGS_MAX: usize = 256;

fn needs() -> Needs {
    Needs { documents: vec![BRAKE], ..Needs::default() }
}

/// Whether pay-outs are stopped, and why.
///
/// # Errors
/// Those of the store; a brake that cannot be read holds all the same.
pub fn stopped(identity: &House) -> Result<Option<Brake>, StoreError> {
    let facts = identity.books.load(&needs())?;
    let unreadable = || Brake { at: Timestamp(0), findings: Vec::new() };
    Ok(facts.document(&BRAKE).map(|bytes| Brake::read(bytes).unwrap_or_else(unreadable)))
}

/// Stops pay-outs because of findings. What is stopped already stays so; new findings are added.
///
/// # Errors
/// Those of the books.
pub async fn stop(identity: &House, findings: &[String]) -> Result<(), ActError> {
    let needs = needs();
    let set = identity.act(&needs, |facts, moment| {
        let before = facts.document(&BRAKE).and_then(Brake::read);
        let mut brake = before.clone().unwrap_or(Brake { at: moment.now, findings: Vec::new() });
        for finding in findings {
            if !brake.findings.contains(finding) && brake.findings.len() < FINDINGS_MAX {
                brake.findings.push(finding.clone());
            }
        }
        if before.as_ref() == Some(&brake) {
            return None;
        }
        let bytes = cbor::encode(&brake);
        let mut t = Transition::new(digest("florin/v1/operator/brake", &[&bytes]), facts.as_of);
        t.write(BRAKE, bytes);
        Some(t)
    });
    set.await.map(drop)
}

/// Lets pay-outs go on and records why; nothing where they were not stopped.
///
/// # Errors
/// Those of the books.
pub async fn resume(identity: &House, reason: &str) -> Result<Option<Resumption>, ActError> {
    let reason: String = reason.chars().filter(|c| !c.is_control()).take(REASON_MAX).collect();
    let mut resumed = None;
    let needs = needs();
    let done = identity.act(&needs, |facts, moment| {
        let brake = Brake::read(facts.document(&BRAKE)?);
        let brake = brake.unwrap_or(Brake { at: Timestamp(0), findings: Vec::new() });
        let note = Resumption {
            stopped_at: brake.at,
            findings: brake.findings,
            resumed_at: moment.now,
            reason: reason.clone(),
        };
        let bytes = cbor::encode(&note);
        let cause = digest("florin/v1/operator/resumption", &[&bytes]);
        let mut t = Transition::new(cause, facts.as_of);
        t.remove(BRAKE);
        t.write(DocumentKey::new(RESUMPTION, cause.short()), bytes);
        resumed = Some(note);
        Some(t)
    });
    Ok(done.await?.and(resumed))
}

fn resumptions(identity: &House) -> Result<Vec<Resumption>, StoreError> {
    let all = identity.books.scan(RESUMPTION)?;
    let mut read: Vec<Resumption> = all.iter().filter_map(|(_, d)| Resumption::read(&d.value)).collect();
    read.sort_by_key(|r| r.resumed_at);
    Ok(read)
}

/// Findings that a person has cleared.
///
/// # Errors
/// Those of the store.
pub fn known(identity: &House) -> Result<BTreeSet<String>, StoreError> {
    Ok(resumptions(identity)?.into_iter().flat_map(|r| r.findings).collect())
}

/// That pay-outs are stopped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoppedLine {
    /// Since when, in RFC 3339.
    pub since: String,
    /// What did not agree.
    pub findings: Vec<String>,
}

impl StoppedLine {
    /// For people and programs.
    #[must_use]
    pub fn of(brake: Brake) -> Self {
        Self { since: utc(brake.at), findings: brake.findings }
    }
}

impl fmt::Display for StoppedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pay-outs are stopped since {}:", self.since)?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))?;
        write!(f, "\nWhen you know why: florin operator payouts resume --reason TEXT")
    }
}

/// That a person has let pay-outs go on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResumedLine {
    /// Since when they had been stopped, in RFC 3339.
    pub stopped: String,
    /// When they went on.
    pub resumed: String,
    /// Why they may.
    pub reason: String,
    /// What did not agree.
    pub findings: Vec<String>,
}

impl fmt::Display for ResumedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resumed {} (stopped {}): {}", self.resumed, self.stopped, self.reason)?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

impl ResumedLine {
    /// For people and programs.
    #[must_use]
    pub fn of(note: Resumption) -> Self {
        let Resumption { stopped_at, findings, resumed_at, reason } = note;
        Self { stopped: utc(stopped_at), resumed: utc(resumed_at), reason, findings }
    }
}

/// How pay-outs stand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PayoutsReport {
    /// Why they are stopped, if they are.
    pub stopped: Option<StoppedLine>,
    /// Every time that a person has let them go on.
    pub resumed: Vec<ResumedLine>,
}

impl fmt::Display for PayoutsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stopped {
            Some(stopped) => write!(f, "{stopped}")?,
            None => write!(f, "Pay-outs go out.")?,
        }
        self.resumed.iter().try_for_each(|r| write!(f, "\n{r}"))
    }
}

/// How pay-outs stand.
///
/// # Errors
/// Those of the store.
pub fn payouts(identity: &House) -> Result<PayoutsReport, StoreError> {
    let stopped = stopped(identity)?.map(StoppedLine::of);
    let resumed = resumptions(identity)?.into_iter().map(ResumedLine::of).collect();
    Ok(PayoutsReport { stopped, resumed })
}
