//! The network between machines: it drops, repeats, reorders, delays and alters, cuts a line in one direction, and loses the
//! answer after the deed. Source: reliability.md, R9.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::coverage::{Coverage, Fault};
use crate::dice::Dice;
use crate::plan::Plan;
use crate::time::Virtual;

/// How long nobody hears anything of a message that is lost, before its sender gives up.
const SILENCE: Duration = Duration::from_secs(5);
/// Lines are cut within so long after the beginning.
const CUTS_UNTIL_MS: u64 = 90_000;
/// The longest that a line is cut.
const CUT_MAX_MS: u64 = 40_000;
/// Answers that are remembered for each step, to come in the place of others.
const REMEMBERED: usize = 8;

/// A line that is cut for a while: messages from one to the other are lost, the other way they are not.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Cut {
    from: String,
    to: String,
    begins_ms: u64,
    ends_ms: u64,
}

/// The network.
#[derive(Clone)]
pub struct Net {
    dice: Dice,
    plan: Arc<Plan>,
    clock: Virtual,
    calm: Arc<AtomicBool>,
    cuts: Arc<Vec<Cut>>,
    answers: Arc<Mutex<BTreeMap<String, Vec<Vec<u8>>>>>,
    /// What was tried.
    pub coverage: Coverage,
}

/// A message on a line.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// Who asks.
    pub from: &'a str,
    /// Who is asked.
    pub to: &'a str,
    /// What for.
    pub step: &'a str,
}

fn cuts(plan: &Plan) -> Vec<Cut> {
    let dice = Dice::new(plan.seed, "cuts");
    let mut lines: Vec<(String, String)> = vec![("shop".into(), "operator".into())];
    lines.push(("operator".into(), "bank".into()));
    for n in 0..plan.people {
        lines.push((format!("person{n}"), "operator".into()));
        lines.push((format!("person{n}"), "shop".into()));
    }
    let one = |_| {
        let (from, to) = dice.one_of(&lines).cloned()?;
        let (from, to) = if dice.per_mille(500) { (from, to) } else { (to, from) };
        let begins_ms = dice.within(0, CUTS_UNTIL_MS);
        Some(Cut { from, to, begins_ms, ends_ms: begins_ms.saturating_add(dice.within(100, CUT_MAX_MS)) })
    };
    (0..plan.cuts).filter_map(one).collect()
}

impl Net {
    /// The network of a plan.
    #[must_use]
    pub fn new(plan: &Arc<Plan>, clock: &Virtual, coverage: &Coverage) -> Self {
        Self {
            dice: Dice::new(plan.seed, "net"),
            plan: Arc::clone(plan),
            clock: clock.clone(),
            calm: Arc::default(),
            cuts: Arc::new(cuts(plan)),
            answers: Arc::default(),
            coverage: coverage.clone(),
        }
    }

    /// From now on nothing goes wrong.
    pub fn calm(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    /// Whether nothing goes wrong any more.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    /// Which lines are cut when, for the trace.
    #[must_use]
    pub fn says(&self) -> Vec<String> {
        let one =
            |cut: &Cut| format!("{} to {} from {} to {} ms", cut.from, cut.to, cut.begins_ms, cut.ends_ms);
        self.cuts.iter().map(one).collect()
    }

    fn happens(&self, per_mille: u64, fault: Fault, step: &str) -> bool {
        let happens = !self.is_calm() && self.dice.per_mille(per_mille);
        if happens {
            self.coverage.hit(fault, step);
        }
        happens
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        let now = self.clock.passed_ms();
        let within = |cut: &Cut| (cut.begins_ms..cut.ends_ms).contains(&now);
        !self.is_calm() && self.cuts.iter().any(|cut| cut.from == from && cut.to == to && within(cut))
    }

    /// A message on its way; whether it arrives.
    pub async fn there(&self, way: Way<'_>) -> bool {
        self.coverage.step(way.step);
        self.travel(self.plan.lost, Fault::Lost, way.step).await
            && self.through(way.from, way.to, Fault::Cut, way).await
    }

    /// An answer on its way back; whether it arrives.
    pub async fn back(&self, way: Way<'_>) -> bool {
        self.travel(self.plan.answers_lost, Fault::AnswerLost, way.step).await
            && self.through(way.to, way.from, Fault::AnswerCut, way).await
    }

    async fn through(&self, from: &str, to: &str, fault: Fault, way: Way<'_>) -> bool {
        let cut = self.is_cut(from, to);
        if cut {
            self.coverage.hit(fault, way.step);
            tokio::time::sleep(SILENCE).await;
        }
        !cut
    }

    async fn travel(&self, lost: u64, fault: Fault, step: &str) -> bool {
        let lost = self.happens(lost, fault, step);
        let most = if self.is_calm() { 5 } else { self.plan.delay_max_ms };
        tokio::time::sleep(Duration::from_millis(self.dice.within(0, most))).await;
        if lost {
            tokio::time::sleep(SILENCE).await;
        }
        !lost
    }

    /// Whether this message arrives once more, and after how long.
    #[must_use]
    pub fn again(&self, step: &str) -> Option<Duration> {
        let most = self.plan.delay_max_ms.saturating_mul(4);
        let again = self.happens(self.plan.doubled, Fault::Doubled, step);
        again.then(|| Duration::from_millis(self.dice.within(0, most)))
    }

    /// Whether this message arrives twice at the same moment.
    #[must_use]
    pub fn twin(&self, step: &str) -> bool {
        self.happens(self.plan.doubled, Fault::Doubled, step)
    }

    /// Whether a thief has a copy of this message and sends it again, and after how long.
    #[must_use]
    pub fn stolen(&self, step: &str) -> Option<Duration> {
        let stolen = self.happens(self.plan.thief, Fault::Stolen, step);
        stolen.then(|| Duration::from_millis(self.dice.within(0, 90_000)))
    }

    /// What a thief makes of this message, and how long after he sends it.
    #[must_use]
    pub fn forged(&self, step: &str, body: &[u8]) -> Option<(Duration, Vec<u8>)> {
        if !self.happens(self.plan.thief, Fault::Forged, step) {
            return None;
        }
        let mut forged = body.to_vec();
        self.damage(&mut forged);
        Some((Duration::from_millis(self.dice.within(0, 20_000)), forged))
    }

    fn damage(&self, bytes: &mut Vec<u8>) {
        let at = |bytes: &[u8]| {
            usize::try_from(self.dice.below(u64::try_from(bytes.len()).unwrap_or(0))).unwrap_or(0)
        };
        match self.dice.below(4) {
            0 => bytes.truncate(at(bytes)),
            1 => {
                let (from, to) = (at(bytes), at(bytes));
                let part: Vec<u8> = bytes.get(from.min(to)..from.max(to)).unwrap_or_default().to_vec();
                let place = at(bytes);
                let kept = bytes.split_off(place);
                bytes.extend(part);
                bytes.extend(kept);
            }
            _ => {
                let place = at(bytes);
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1u8.checked_shl(u32::try_from(self.dice.below(8)).unwrap_or(0)).unwrap_or(1);
                }
            }
        }
    }

    /// A request as it arrives.
    #[must_use]
    pub fn request(&self, step: &str, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        if !body.is_empty() && self.happens(self.plan.altered, Fault::Altered, step) {
            self.damage(&mut body);
        }
        body
    }

    /// An answer as it arrives: altered, or one to something else.
    #[must_use]
    pub fn answer(&self, step: &str, body: Vec<u8>) -> Vec<u8> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = answers.entry(step.to_owned()).or_default();
        let other = self.dice.one_of(known).cloned();
        if known.len() < REMEMBERED {
            known.push(body.clone());
        }
        drop(answers);
        match other {
            Some(other) if other != body && self.happens(self.plan.altered, Fault::AnswerSwapped, step) => {
                other
            }
            _ => {
                let mut body = body;
                if self.happens(self.plan.altered, Fault::AnswerAltered, step) {
                    self.damage(&mut body);
                }
                body
            }
        }
    }
}
