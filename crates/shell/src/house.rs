//! One way through the house: open, needs, load, decide, commit, reply. Rails give the phases, this runs them.
//! Source: architecture.md, "The one flow"; books.md, "Deciding".

use std::collections::HashMap;
use std::sync::Arc;

use florin_books::{BalanceKey, Clock, Facts, Needs, OnceKey, Record, Rejected, Seq, Transition};
use florin_crypto::{Digest, Entropy, digest};
use florin_rail::common::{
    ASK_STATUS, BAD_REQUEST, FAULT, OUTCOME_OPEN, OVERLOADED, REQUEST_ID_REUSED, STORAGE_FULL, WITHDRAWN,
};
use florin_rail::{Decision, Moment, Refusal, Step, cause, cause_of};
use florin_store::{Books, CommitError, StoreError};
use tokio::sync::oneshot;

/// Documents can move on under a decision so many times before the asker is told to come back.
const TRIES_MAX: usize = 16;

/// Where a shell gets randomness from: a new source for each use, so that no lock is shared.
pub type EntropySource = Arc<dyn Fn() -> Box<dyn Entropy> + Send + Sync>;

/// A party's books, its clock and its randomness.
#[derive(Clone)]
pub struct House {
    /// The books.
    pub books: Books,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: EntropySource,
}

impl House {
    /// A house with the system's clock and randomness.
    #[must_use]
    pub fn new(books: Books) -> Self {
        Self { books, clock: Arc::new(crate::clock::SystemClock), entropy: os_entropy() }
    }

    /// Takes a request all the way to its reply.
    ///
    /// # Errors
    /// The refusal that the asker gets; nothing has changed, or (`outcome-open`) it is not known yet.
    pub async fn serve<S: Step>(&self, step: &S, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let name = step.name();
        let opened = step.open(body, self.clock.now())?;
        let cause = match step.transcript(&opened) {
            Some(th) => cause_of(name.rail, name.step, &th),
            None => cause(name.rail, name.step, body),
        };
        let needs = step.needs(&opened);
        for _ in 0..TRIES_MAX {
            let mut facts = self.books.load(&needs).map_err(|e| store_refusal(&e))?;
            if let Some(seq) = taken(&needs.once, &facts) {
                return self.again(step, &opened, &cause, seq, &facts);
            }
            facts.balances = self.balances(step.balances(&opened))?;
            self.follow(&step.follows(&opened, &facts), &mut facts).map_err(|e| store_refusal(&e))?;
            let decision = self.decide(|moment| step.decide(&opened, &facts, moment));
            match self.carry_out(decision, &cause, &facts).await? {
                Carried::Reply(bytes) => return Ok(bytes),
                Carried::Done(record) => return step.reply(&opened, &record),
                Carried::Taken(seq) => return self.again(step, &opened, &cause, seq, &facts),
                Carried::Moved => {}
                Carried::Not(why) => {
                    let second = self.decide(|moment| step.decide_refused(&opened, &facts, &why, moment));
                    match self.carry_out(second, &cause, &facts).await? {
                        Carried::Reply(bytes) => return Ok(bytes),
                        Carried::Done(record) => return step.reply(&opened, &record),
                        Carried::Taken(seq) => return self.again(step, &opened, &cause, seq, &facts),
                        // A token that was live a moment ago is not any more, or a deadline has passed: look again.
                        Carried::Moved | Carried::Not(Rejected::NotLive { .. } | Rejected::TooLate) => {}
                        Carried::Not(why) => return Err(fault("a verdict could not be recorded", &why)),
                    }
                }
            }
        }
        Err(OVERLOADED.after(1))
    }

    /// Withdraws a request: if it was done its reply comes, and if not it never will be, which the answer proves. Who had a
    /// refusal, that anybody can write and that changes nothing, knows by it that the request is over.
    ///
    /// # Errors
    /// As for [`House::serve`]; `bad-request` also where the step has nothing to withdraw.
    pub async fn withdraw<S: Step>(&self, step: &S, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let name = step.name();
        let opened = step.open(body, self.clock.now())?;
        let proof = step.withdrawn(&opened).ok_or(BAD_REQUEST)?;
        let cause = match step.transcript(&opened) {
            Some(th) => cause_of(name.rail, name.step, &th),
            None => cause(name.rail, name.step, body),
        };
        let needs = step.needs(&opened);
        for _ in 0..TRIES_MAX {
            let facts = self.books.load(&needs).map_err(|e| store_refusal(&e))?;
            // Also where nobody knows who has signed it: once its signer has registered the same bytes would be good.
            let withdrawn = Decision::Deny(Transition {
                once: needs.once.clone(),
                ..Transition::new(withdrawal(&cause), facts.as_of)
            });
            let seq = match taken(&needs.once, &facts) {
                Some(seq) => seq,
                None => match self.carry_out(withdrawn, &withdrawal(&cause), &facts).await? {
                    Carried::Done(_) => return Ok(proof.expose().to_vec()),
                    Carried::Taken(seq) => seq,
                    Carried::Reply(_) | Carried::Moved | Carried::Not(_) => continue,
                },
            };
            return match self.again(step, &opened, &cause, seq, &facts) {
                Err(refusal) if refusal.slug == WITHDRAWN.slug => Ok(proof.expose().to_vec()),
                other => other,
            };
        }
        Err(OVERLOADED.after(1))
    }

    /// Adds to the facts what a step asks for once it has seen them. They stay as of the first reading.
    fn follow(&self, more: &Needs, facts: &mut Facts) -> Result<(), StoreError> {
        if more.documents.is_empty() && more.once.is_empty() {
            return Ok(());
        }
        let read = self.books.load(more)?;
        facts.documents.extend(read.documents);
        for (key, seq) in read.once {
            if let Some(record) = self.books.record(seq)? {
                facts.records.insert(key, record);
            }
        }
        Ok(())
    }

    /// Durable balances, as the lane has them between two batches.
    fn balances(&self, asked: Vec<BalanceKey>) -> Result<HashMap<BalanceKey, i64>, Refusal> {
        if asked.is_empty() {
            return Ok(HashMap::new());
        }
        let read = self
            .books
            .view(move |lane| asked.into_iter().map(|(a, c)| ((a, c), lane.balance(a, c))).collect());
        read.map_err(|e| match e {
            CommitError::Overloaded => OVERLOADED.after(1),
            CommitError::Full => STORAGE_FULL.after(60),
            CommitError::Stopped | CommitError::Rejected(_) => OUTCOME_OPEN.after(2),
        })
    }

    fn decide(&self, f: impl FnOnce(&mut Moment<'_>) -> Decision) -> Decision {
        let mut entropy = (self.entropy)();
        f(&mut Moment { now: self.clock.now(), entropy: &mut *entropy })
    }

    async fn carry_out(&self, decision: Decision, cause: &Digest, facts: &Facts) -> Result<Carried, Refusal> {
        let mut transition = match decision {
            Decision::Apply(t) | Decision::Deny(t) => t,
            Decision::Answer(bytes) => return Ok(Carried::Reply(bytes)),
            Decision::Refuse(refusal) => return Err(refusal),
        };
        transition.cause = *cause;
        transition.as_of = facts.as_of;
        match self.commit(transition).await {
            Ok(record) => Ok(Carried::Done(record)),
            Err(CommitError::Rejected(Rejected::Repeated { seq } | Rejected::IdReused { seq })) => {
                Ok(Carried::Taken(seq))
            }
            Err(CommitError::Rejected(Rejected::Stale | Rejected::Moved { .. })) => Ok(Carried::Moved),
            Err(CommitError::Rejected(why)) if why.is_fault() => Err(fault("the books refused", &why)),
            Err(CommitError::Rejected(why)) => Ok(Carried::Not(why)),
            Err(CommitError::Full) => Err(STORAGE_FULL.after(60)),
            Err(CommitError::Overloaded) => Err(OVERLOADED.after(1)),
            Err(CommitError::Stopped) => Err(OUTCOME_OPEN.after(2)),
        }
    }

    /// The once key is taken: the same reply, or a reply for a declared `reissue`, or `request-id-reused`.
    fn again<S: Step>(
        &self,
        step: &S,
        opened: &S::Opened,
        cause: &Digest,
        seq: Seq,
        facts: &Facts,
    ) -> Result<Vec<u8>, Refusal> {
        let record = self.books.record(seq).map_err(|e| store_refusal(&e))?;
        if record.as_ref().is_some_and(|record| record.core.cause == withdrawal(cause)) {
            return Err(WITHDRAWN);
        }
        if !step.is_authentic(opened, facts) {
            return Err(BAD_REQUEST);
        }
        let record = record.ok_or(ASK_STATUS)?;
        if record.core.cause == *cause || step.may_reissue(opened, &record, facts) {
            return step.reissue(opened, &record, facts);
        }
        // Once the seed has gone, nobody can tell any more whether the request is the one that was answered.
        Err(if record.seed.is_none() { ASK_STATUS } else { REQUEST_ID_REUSED })
    }

    /// Commits a transition and waits until it is durable.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit(&self, transition: Transition) -> Result<Arc<Record>, CommitError> {
        let (send, receive) = oneshot::channel();
        self.books.submit(
            transition,
            Box::new(move |result| {
                // The asker may have gone; the record stands all the same.
                let _ = send.send(result);
            }),
        );
        receive.await.unwrap_or(Err(CommitError::Stopped))
    }

    /// Loads, decides and commits until the documents hold still: for what the house itself does (bank events,
    /// outbox, the asking side). `None` from `make` means there is nothing to do.
    ///
    /// # Errors
    /// [`ActError`].
    pub async fn act(
        &self,
        needs: &Needs,
        mut make: impl FnMut(&Facts, &mut Moment<'_>) -> Option<Transition>,
    ) -> Result<Option<Arc<Record>>, ActError> {
        for _ in 0..TRIES_MAX {
            let facts = self.books.load(needs)?;
            if taken(&needs.once, &facts).is_some() {
                return Ok(None);
            }
            let made = {
                let mut entropy = (self.entropy)();
                make(&facts, &mut Moment { now: self.clock.now(), entropy: &mut *entropy })
            };
            let Some(mut transition) = made else { return Ok(None) };
            transition.as_of = facts.as_of;
            match self.commit(transition).await {
                Ok(record) => return Ok(Some(record)),
                Err(CommitError::Rejected(Rejected::Repeated { .. } | Rejected::IdReused { .. })) => {
                    return Ok(None);
                }
                Err(CommitError::Rejected(Rejected::Stale | Rejected::Moved { .. })) => {}
                Err(e) => return Err(ActError::Commit(e)),
            }
        }
        Err(ActError::Commit(CommitError::Overloaded))
    }
}

/// Why the house could not do what it wanted to.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The books refused, or stopped.
    #[error(transparent)]
    Commit(CommitError),
    /// The store could not read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

enum Carried {
    Reply(Vec<u8>),
    Done(Arc<Record>),
    Taken(Seq),
    Moved,
    Not(Rejected),
}

/// The cause of the record that withdraws a request.
fn withdrawal(cause: &Digest) -> Digest {
    digest("florin/v1/withdrawal", &[cause.as_bytes()])
}

fn taken(once: &[OnceKey], facts: &Facts) -> Option<Seq> {
    once.iter().find_map(|key| facts.once.get(key).copied())
}

fn store_refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::Retry => OVERLOADED.after(1),
        StoreError::Full => STORAGE_FULL.after(60),
        StoreError::Unknown | StoreError::Fenced => OUTCOME_OPEN.after(2),
        StoreError::Busy(_)
        | StoreError::Damaged { .. }
        | StoreError::Foreign { .. }
        | StoreError::Fatal { .. } => FAULT.with_detail(format!("the store failed: {error}")),
    }
}

/// The detail of a fault goes to the log, under the id that the asker gets; never to the asker.
fn fault(what: &str, why: &Rejected) -> Refusal {
    FAULT.with_detail(format!("{what}: {why:?}"))
}

/// Randomness from the operating system.
#[must_use]
pub fn os_entropy() -> EntropySource {
    Arc::new(|| Box::new(crate::entropy::OsEntropy))
}
