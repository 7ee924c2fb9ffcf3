//! The operator inside a model: which journal it has, which requests are between decision and commit, between commit and
//! reply, what was sent. Everything that costs cryptography is done once for each (journal, message) and remembered; a
//! journal is named by the chains of its lanes, so two ways to the same books are one state.
//! Source: crates/shell/src/house.rs (the flow), docs/models.md.

mod tables;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use florin_books::Timestamp;
use florin_crypto::Digest;

use self::tables::{Came, Tables};
use crate::fault::Fault;
use crate::operator::{LATE, Ledgers, Operator, START};

/// A message that was sent at some time, by its number.
pub type MessageId = u16;
/// A state of the books, by its number.
pub type JournalId = u32;

/// What a message is for, so that whoever gets an answer knows what to do with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Tag {
    /// ValidationReq of a deal: envelope, request.
    Validation(u8, u8, u8),
    /// Issuance2 of a deal.
    Acknowledge(u8),
    /// The payer's question: deal, envelope, whether it gives up.
    PayerStatus(u8, u8, bool),
    /// The payee's question.
    PayeeStatus(u8),
    /// Refund: by whom, request.
    Refund(u8, u8),
    /// WRequest1: purchaser, try.
    WRequest1(u8, u8),
    /// WRequest3: purchaser, and the WRequest2 that it answers.
    WRequest3(u8, MessageId),
    /// `collect`: purchaser, try.
    Collect(u8, u8),
    /// Issuance2 of a purchase.
    CollectAck(u8),
    /// SendCoins of a deal: envelope.
    SendCoins(u8, u8),
    /// What the payee answers the payer of a deal.
    Answer(u8),
    /// Made by an intruder.
    Forged,
}

/// What goes over the network: real bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// To the operator.
    Request {
        /// What for.
        tag: Tag,
        /// Where to.
        path: &'static str,
        /// What.
        body: Vec<u8>,
        /// What its sender has kept to read the answer; it is not sent.
        pending: Vec<u8>,
    },
    /// From the operator; a refusal with its slug and whether the same bytes may succeed later.
    Reply {
        /// To which request.
        to: MessageId,
        /// What.
        answer: Result<Vec<u8>, (&'static str, bool)>,
    },
    /// From a payer to the payee or back.
    Letter {
        /// What for.
        tag: Tag,
        /// What.
        bytes: Vec<u8>,
    },
}

/// A request that the operator works on. All of it is gone after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Job {
    /// Decided on the facts of some moment, not yet applied.
    Decided {
        /// Which request.
        request: MessageId,
        /// Which decision.
        decision: u32,
    },
    /// Committed, not yet answered.
    Committed {
        /// Which request.
        request: MessageId,
        /// What it will answer.
        reply: MessageId,
    },
}

/// The operator and the network.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HouseState {
    /// The books.
    pub journal: JournalId,
    /// What is under way, sorted.
    pub jobs: Vec<Job>,
    /// What was sent and may still arrive, any number of times, or never; sorted.
    pub sent: Vec<MessageId>,
    /// Whether all deadlines have passed.
    pub late: bool,
}

impl HouseState {
    /// Puts a message on the network.
    pub fn send(&mut self, id: MessageId) {
        if let Err(place) = self.sent.binary_search(&id) {
            self.sent.insert(place, id);
        }
    }

    /// Whether it is on the network.
    #[must_use]
    pub fn is_sent(&self, id: MessageId) -> bool {
        self.sent.binary_search(&id).is_ok()
    }

    /// The clock.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        if self.late { LATE } else { START }
    }

    fn add(&mut self, job: Job) {
        if let Err(place) = self.jobs.binary_search(&job) {
            self.jobs.insert(place, job);
        }
    }
}

/// Who does deliberately what nobody may do: a check that cannot find these finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// Nobody.
    Nobody,
    /// The operator answers when it has decided, and commits after that.
    AnswersFirst,
    /// The operator takes no once keys and looks none up.
    ForgetsReplays,
    /// The operator answers before its record is on the disk: a crash takes the last one away.
    ForgetsOnCrash,
    /// The operator says no without writing it down.
    DeniesUnrecorded,
    /// The payee gives its goods for any answer of the operator.
    GivesOnRefusal,
    /// The payer sends its coins before it has written down that it does.
    SendsFirst,
    /// The payer takes a lost answer for a no.
    TakesSilenceForNo,
}

/// How often something happened that no single state shows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Decisions made by the real steps.
    pub decided: u64,
    /// Transitions applied by the real lane.
    pub applied: u64,
    /// Answers that were given before, given again.
    pub replayed: u64,
    /// Decisions whose facts had moved on.
    pub moved: u64,
    /// Decisions after the lane had said no.
    pub second: u64,
    /// Crashes of the operator between a commit and its reply.
    pub unanswered: u64,
}

/// The operator of a model, with all that it has computed.
pub struct House {
    operator: Operator,
    broken: Broken,
    tables: Mutex<Tables>,
}

impl House {
    /// A house with these books; they have the number 0.
    #[must_use]
    pub fn new(operator: Operator, ledgers: Ledgers, broken: Broken) -> Self {
        let mut tables = Tables::default();
        tables.journal(ledgers, None);
        Self { operator, broken, tables: Mutex::new(tables) }
    }

    /// The operator.
    #[must_use]
    pub const fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Who is broken.
    #[must_use]
    pub const fn broken(&self) -> Broken {
        self.broken
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a message.
    pub fn number(&self, message: Message) -> MessageId {
        self.tables().number(message)
    }

    /// A message.
    ///
    /// # Errors
    /// There is none with this number.
    pub fn message(&self, id: MessageId) -> Result<Arc<Message>, Fault> {
        self.tables().message(id)
    }

    /// The books.
    ///
    /// # Errors
    /// There are none with this number.
    pub fn ledgers(&self, id: JournalId) -> Result<Arc<Ledgers>, Fault> {
        self.tables().ledgers(id)
    }

    /// Whether the books audit clean, and what all live coins are worth.
    #[must_use]
    pub fn audit(&self, id: JournalId) -> (bool, u64) {
        let tables = self.tables();
        tables.journals.get(id as usize).map_or((false, 0), |j| (j.sound && !tables.full, j.worth))
    }

    /// What has happened so far, and in how many different books.
    #[must_use]
    pub fn counts(&self) -> (Counts, usize) {
        let tables = self.tables();
        (tables.counts, tables.journals.len())
    }

    /// Whether a request opens at all: one that does not changes nothing in any books.
    #[must_use]
    pub fn opens(&self, request: MessageId) -> bool {
        self.tables().open(&self.operator, request, false).is_ok()
    }

    /// A request arrives: it is opened, its facts are read, the step decides. What needs no commit is answered at once: a
    /// crash before that answer is the same as its loss.
    ///
    /// # Errors
    /// A fault of the program.
    pub fn serve(&self, s: &mut HouseState, request: MessageId) -> Result<Option<MessageId>, Fault> {
        let came = self.tables().begin(&self.operator, self.broken, (s.journal, request, s.late));
        Self::came(s, request, came)
    }

    /// The lane's turn: applies what a job has decided.
    ///
    /// # Errors
    /// A fault of the program.
    pub fn commit(&self, s: &mut HouseState, job: Job) -> Result<Option<MessageId>, Fault> {
        let Job::Decided { request, decision } = job else { return Ok(None) };
        s.jobs.retain(|other| *other != job);
        let came = self.tables().commit(&self.operator, self.broken, (s.journal, decision, s.late));
        Self::came(s, request, came)
    }

    fn came(s: &mut HouseState, request: MessageId, came: Came) -> Result<Option<MessageId>, Fault> {
        match came {
            Came::Reply(reply) => {
                s.send(reply);
                return Ok(Some(reply));
            }
            Came::Decided(decision) => s.add(Job::Decided { request, decision }),
            Came::Hasty(decision, reply) => {
                s.add(Job::Decided { request, decision });
                s.send(reply);
                return Ok(Some(reply));
            }
            Came::Done(journal, reply) => {
                s.journal = journal;
                s.add(Job::Committed { request, reply });
            }
            Came::Fault(fault) => return Err(fault),
        }
        Ok(None)
    }

    /// Answers what was committed.
    pub fn reply(&self, s: &mut HouseState, job: Job) -> Option<MessageId> {
        let Job::Committed { reply, .. } = job else { return None };
        s.jobs.retain(|other| *other != job);
        s.send(reply);
        Some(reply)
    }

    /// All that is under way is gone; what is committed stays.
    pub fn crash(&self, s: &mut HouseState) {
        let mut tables = self.tables();
        let owed = s.jobs.iter().filter(|job| matches!(job, Job::Committed { .. })).count();
        tables.counts.unanswered = tables.counts.unanswered.saturating_add(u64::try_from(owed).unwrap_or(0));
        if self.broken == Broken::ForgetsOnCrash {
            s.journal = tables.journals.get(s.journal as usize).and_then(|j| j.parent).unwrap_or(s.journal);
        }
        s.jobs.clear();
    }

    /// A change that the operator makes by itself, named so that it is done once for each journal.
    ///
    /// # Errors
    /// As the change.
    pub fn act(
        &self,
        s: &mut HouseState,
        name: Digest,
        change: impl FnOnce(&Operator, &mut Ledgers) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut tables = self.tables();
        if let Some(journal) = tables.acts.get(&(s.journal, name)) {
            s.journal = *journal;
            return Ok(());
        }
        let mut ledgers = (*tables.ledgers(s.journal)?).clone();
        change(&self.operator, &mut ledgers)?;
        let journal = tables.journal(ledgers, Some(s.journal));
        tables.acts.insert((s.journal, name), journal);
        s.journal = journal;
        Ok(())
    }
}
