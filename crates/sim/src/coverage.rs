//! What was tried: which fault hit which step, and at which boundaries of which writes a disk failed.
//! Source: the issue ("a coverage report counts which faults hit which protocol step and which write boundary").

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use florin_books::{Core, DocumentKind, Entry};
use florin_store::{Part, Point, Stage};

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// A request did not arrive.
    Lost,
    /// An answer did not arrive, after the deed.
    AnswerLost,
    /// A request did not get through a line that was cut.
    Cut,
    /// An answer did not, after the deed.
    AnswerCut,
    /// A request arrived twice.
    Doubled,
    /// A thief sent it again.
    Stolen,
    /// A thief sent something like it.
    Forged,
    /// A request was altered on its way.
    Altered,
    /// An answer was altered, after the deed.
    AnswerAltered,
    /// An answer to something else came instead.
    AnswerSwapped,
    /// The process was killed in the middle of it.
    Killed,
    /// The disk failed in the middle of it.
    DiskFailed,
    /// The disk was full.
    Full,
    /// Its clock was wrong.
    ClockOff,
}

/// All of them, in the order of the report.
pub const FAULTS: [(Fault, &str); 14] = [
    (Fault::Lost, "lost"),
    (Fault::AnswerLost, "ans-lost"),
    (Fault::Cut, "cut"),
    (Fault::AnswerCut, "ans-cut"),
    (Fault::Doubled, "doubled"),
    (Fault::Stolen, "stolen"),
    (Fault::Forged, "forged"),
    (Fault::Altered, "altered"),
    (Fault::AnswerAltered, "ans-alt"),
    (Fault::AnswerSwapped, "ans-swap"),
    (Fault::Killed, "killed"),
    (Fault::DiskFailed, "disk"),
    (Fault::Full, "full"),
    (Fault::ClockOff, "clock"),
];

/// Documents by name; the numbers are those of the crates that write them.
const DOCUMENTS: [(u16, &str); 37] = [
    (0x0001, "exchange"),
    (0x0101, "participant"),
    (0x0102, "name"),
    (0x0103, "identity"),
    (0x0104, "enrolment"),
    (0x0105, "bank-order"),
    (0x0106, "queue"),
    (0x0201, "purchase"),
    (0x0202, "claim"),
    (0x0203, "acknowledged"),
    (0x0204, "post-box"),
    (0x0205, "holder"),
    (0x0206, "epochs"),
    (0x0210, "sealed-claim"),
    (0x0211, "waiting"),
    (0x0301, "cursor"),
    (0x0302, "since"),
    (0x0303, "trace-log"),
    (0x0304, "executed"),
    (0x0310, "accepted"),
    (0x0311, "bank-seen"),
    (0x0312, "rotate"),
    (0x0501, "order"),
    (0x0502, "certificate"),
    (0x0503, "redeemer"),
    (0x0504, "paid-out"),
    (0x0601, "settings"),
    (0x0602, "certificate"),
    (0x0603, "enrolment"),
    (0x0604, "purchase"),
    (0x0605, "invoice"),
    (0x0606, "history"),
    (0x0607, "spent"),
    (0x0608, "untold"),
    (0x0619, "refund-keys"),
    (0x0620, "sent"),
    (0x0330, "brake"),
];

fn document(kind: DocumentKind) -> String {
    let named = DOCUMENTS.iter().find(|(number, _)| *number == kind.0);
    named.map_or_else(|| format!("{:04x}", kind.0), |(_, name)| (*name).to_owned())
}

/// What a record does, in words: two records of the same step have the same.
pub(crate) fn shape(core: &Core) -> String {
    let mut parts = BTreeSet::new();
    parts.extend(core.documents.iter().map(|write| document(write.key.kind)));
    for (there, word) in [
        (!core.consumed.is_empty(), "-coins"),
        (!core.created.is_empty(), "+coins"),
        (!core.holdings.is_empty(), "purse"),
        (!core.effects.is_empty(), "effect"),
        (!core.postings.is_empty(), "money"),
    ] {
        if there {
            parts.insert(word.to_owned());
        }
    }
    parts.into_iter().collect::<Vec<_>>().join(" ")
}

/// The boundaries at which a disk is: one for each shape of what is written.
#[must_use]
pub fn boundaries(role: &str, lane: u16, point: &Point<'_>) -> BTreeSet<String> {
    let stage = match point.stage {
        Stage::Piece => "part of it written",
        Stage::Written => "written",
        Stage::Sync => "before the sync",
        Stage::Synced => "synced, nobody told",
    };
    let label = |what: &str| format!("{role} lane {lane}: {what}: {stage}");
    match point.part {
        Part::Folds => [label("a fold")].into(),
        Part::Journal => {
            let shape = |entry: &Entry| label(&shape(&entry.record.core));
            point.entries.iter().map(shape).collect()
        }
    }
}

/// Counts over all runs of a process.
#[derive(Clone, Default)]
pub struct Coverage(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    steps: BTreeMap<String, BTreeMap<Fault, u64>>,
    written: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
}

fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    let times = counts.entry(key).or_insert(0);
    *times = times.saturating_add(1);
}

impl Coverage {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step has begun.
    pub fn step(&self, step: &str) {
        let mut counts = self.counts();
        if !counts.steps.contains_key(step) {
            counts.steps.insert(step.to_owned(), BTreeMap::new());
        }
    }

    /// A fault has hit a step.
    pub fn hit(&self, fault: Fault, step: &str) {
        count(self.counts().steps.entry(step.to_owned()).or_default(), fault);
    }

    /// A disk was at these boundaries.
    pub fn wrote(&self, boundaries: &BTreeSet<String>) {
        let mut counts = self.counts();
        boundaries.iter().for_each(|one| count(&mut counts.written, one.clone()));
    }

    /// A disk failed at these.
    pub fn failed(&self, boundaries: &BTreeSet<String>) {
        let mut counts = self.counts();
        boundaries.iter().for_each(|one| count(&mut counts.failed, one.clone()));
    }

    /// Boundaries that were there so often, and at which no disk has failed; and how many there are.
    #[must_use]
    pub fn missing(&self, often: u64) -> (Vec<String>, usize) {
        let counts = self.counts();
        let there = |(_, times): &(&String, &u64)| **times >= often;
        let all = counts.written.iter().filter(there);
        let missing = all.clone().filter(|(one, _)| !counts.failed.contains_key(*one));
        (missing.map(|(one, times)| format!("{one} ({times} times)")).collect(), all.count())
    }

    /// The whole report.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = format!("{:<34}", "step");
        for (_, name) in FAULTS {
            let _ = write!(text, "{name:>9}");
        }
        let counts = self.counts();
        for (step, hits) in &counts.steps {
            let _ = write!(text, "\n{step:<34}");
            for (fault, _) in FAULTS {
                let _ = write!(text, "{:>9}", hits.get(&fault).copied().unwrap_or(0));
            }
        }
        let _ = write!(text, "\n\nfailed    written  boundary");
        for (one, times) in &counts.written {
            let failed = counts.failed.get(one).copied().unwrap_or(0);
            let _ = write!(text, "\n{failed:>6} {times:>10}  {one}");
        }
        text
    }
}
