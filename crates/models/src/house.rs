//! The operator inside a model: which journal it has, which requests are between decision and commit, between commit and
//! reply, what was sent. Everything that costs cryptography is done once for each (journal, message) and remembered; a
//! journal is named by the chains of its lanes, so two ways to the same books are one state.
//! Source: crates/shell/src/house.rs (the flow), docs/models.md.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use florin_books::Timestamp;
use florin_crypto::{Digest, SeededEntropy, digest};
use florin_rail::{Moment, Refusal};

use crate::fault::Fault;
use crate::operator::{
    Asked, Begun, COINS, Committed, Decided, LATE, Ledgers, Operator, START, begin, commit, second,
};

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

struct Journal {
    ledgers: Arc<Ledgers>,
    parent: Option<JournalId>,
    sound: bool,
    worth: u64,
}

#[derive(Clone, Copy)]
enum Came {
    Reply(MessageId),
    Decided(u32),
    /// Answered before it is committed.
    Hasty(u32, MessageId),
    Done(JournalId, MessageId),
    Fault(Fault),
}

struct Decision {
    request: MessageId,
    decided: Box<Decided>,
}

#[derive(Default)]
struct Tables {
    messages: Vec<Arc<Message>>,
    ids: HashMap<Arc<Message>, MessageId>,
    journals: Vec<Journal>,
    names: HashMap<[Digest; 2], JournalId>,
    decisions: Vec<Arc<Decision>>,
    opened: HashMap<(MessageId, bool), Result<Arc<dyn Asked>, Refusal>>,
    begun: HashMap<(JournalId, MessageId, bool), Came>,
    committed: HashMap<(JournalId, u32, bool), Came>,
    acts: HashMap<(JournalId, Digest), JournalId>,
    counts: Counts,
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
        self.tables().journals.get(id as usize).map_or((false, 0), |j| (j.sound, j.worth))
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

impl Tables {
    fn number(&mut self, message: Message) -> MessageId {
        let message = Arc::new(message);
        if let Some(id) = self.ids.get(&message) {
            return *id;
        }
        // So many messages do not fit into a run: numbers beyond would be one number, and the counts would show it.
        let id = MessageId::try_from(self.messages.len()).unwrap_or(MessageId::MAX);
        self.messages.push(Arc::clone(&message));
        self.ids.insert(message, id);
        id
    }

    fn message(&self, id: MessageId) -> Result<Arc<Message>, Fault> {
        self.messages.get(usize::from(id)).cloned().ok_or(Fault::Absent("a message"))
    }

    fn ledgers(&self, id: JournalId) -> Result<Arc<Ledgers>, Fault> {
        self.journals.get(id as usize).map(|j| Arc::clone(&j.ledgers)).ok_or(Fault::Absent("a journal"))
    }

    fn journal(&mut self, ledgers: Ledgers, parent: Option<JournalId>) -> JournalId {
        let name = ledgers.name();
        if let Some(id) = self.names.get(&name) {
            return *id;
        }
        let id = JournalId::try_from(self.journals.len()).unwrap_or(JournalId::MAX);
        let sound = ledgers.identity.is_sound() && ledgers.books.is_sound();
        let worth = ledgers.books.live_worth(COINS);
        self.journals.push(Journal { ledgers: Arc::new(ledgers), parent, sound, worth });
        self.names.insert(name, id);
        id
    }

    fn answer(&mut self, to: MessageId, answer: Result<Vec<u8>, Refusal>) -> Came {
        let answer = answer.map_err(|refusal| (refusal.slug, refusal.transient));
        Came::Reply(self.number(Message::Reply { to, answer }))
    }

    fn open(&mut self, operator: &Operator, id: MessageId, late: bool) -> Result<Arc<dyn Asked>, Came> {
        if !self.opened.contains_key(&(id, late)) {
            let message = self.message(id).map_err(Came::Fault)?;
            let Message::Request { path, body, .. } = &*message else {
                return Err(Came::Fault(Fault::Absent("a request")));
            };
            let opened = operator.open(path, body, if late { LATE } else { START });
            self.opened.insert((id, late), opened);
        }
        match self.opened.get(&(id, late)).cloned() {
            Some(Ok(asked)) => Ok(asked),
            Some(Err(refusal)) => Err(self.answer(id, Err(refusal))),
            None => Err(Came::Fault(Fault::Absent("an opened request"))),
        }
    }

    fn begin(&mut self, operator: &Operator, broken: Broken, key: (JournalId, MessageId, bool)) -> Came {
        if let Some(came) = self.begun.get(&key) {
            return *came;
        }
        let came = self.begin_anew(operator, broken, key).unwrap_or_else(|came| came);
        self.begun.insert(key, came);
        came
    }

    fn begin_anew(
        &mut self,
        operator: &Operator,
        broken: Broken,
        (journal, request, late): (JournalId, MessageId, bool),
    ) -> Result<Came, Came> {
        let asked = self.open(operator, request, late)?;
        let ledgers = self.ledgers(journal).map_err(Came::Fault)?;
        let shelf = ledgers.shelf(asked.lane());
        let now = if late { LATE } else { START };
        let mut entropy = self.chance(&ledgers, request);
        let mut moment = Moment { now, entropy: &mut entropy };
        self.counts.decided = self.counts.decided.saturating_add(1);
        let mut begun = if broken == Broken::ForgetsReplays {
            let (facts, _) = asked.load(shelf);
            crate::operator::fresh(&*asked, facts, &mut moment)
        } else {
            begin(&*asked, shelf, &mut moment)
        };
        if let Begun::Decided(decided) = &mut begun
            && broken == Broken::ForgetsReplays
        {
            decided.transition.once.clear();
        }
        Ok(self.took(broken, &*asked, (&ledgers, request, late), begun))
    }

    /// What becomes of a decision: an answer, or a job.
    fn took(
        &mut self,
        broken: Broken,
        asked: &dyn Asked,
        (ledgers, request, late): (&Ledgers, MessageId, bool),
        begun: Begun,
    ) -> Came {
        let decided = match begun {
            Begun::Reply(answer, again) => {
                self.counts.replayed = self.counts.replayed.saturating_add(u64::from(again));
                return self.answer(request, answer);
            }
            Begun::Decided(decided) => decided,
        };
        let hasty = match broken {
            Broken::AnswersFirst => true,
            Broken::DeniesUnrecorded => decided.second,
            _ => false,
        };
        let id = u32::try_from(self.decisions.len()).unwrap_or(u32::MAX);
        self.decisions.push(Arc::new(Decision { request, decided }));
        if hasty && let Some(decision) = self.decisions.last().cloned() {
            let mut shelf = ledgers.shelf(asked.lane()).clone();
            let now = if late { LATE } else { START };
            if let Ok(Committed::Done(record)) = commit(asked, &mut shelf, &decision.decided, now) {
                let answer = self.answer(request, asked.reply(&record));
                if let Came::Reply(reply) = answer {
                    let unrecorded = broken == Broken::DeniesUnrecorded;
                    return if unrecorded { answer } else { Came::Hasty(id, reply) };
                }
            }
        }
        Came::Decided(id)
    }

    fn commit(&mut self, operator: &Operator, broken: Broken, key: (JournalId, u32, bool)) -> Came {
        if let Some(came) = self.committed.get(&key) {
            return *came;
        }
        let came = self.commit_anew(operator, broken, key).unwrap_or_else(|came| came);
        self.committed.insert(key, came);
        came
    }

    fn commit_anew(
        &mut self,
        operator: &Operator,
        broken: Broken,
        (journal, decision, late): (JournalId, u32, bool),
    ) -> Result<Came, Came> {
        let absent = Came::Fault(Fault::Absent("a decision"));
        let decision = self.decisions.get(decision as usize).cloned().ok_or(absent)?;
        let asked = self.open(operator, decision.request, late)?;
        let mut ledgers = (*self.ledgers(journal).map_err(Came::Fault)?).clone();
        let now = if late { LATE } else { START };
        let shelf = ledgers.shelf_mut(asked.lane());
        match commit(&*asked, shelf, &decision.decided, now).map_err(Came::Fault)? {
            Committed::Done(record) => {
                self.counts.applied = self.counts.applied.saturating_add(1);
                let reply = self.answer(decision.request, asked.reply(&record));
                let Came::Reply(reply) = reply else { return Err(reply) };
                Ok(Came::Done(self.journal(ledgers, Some(journal)), reply))
            }
            Committed::Taken(answer) => {
                self.counts.replayed = self.counts.replayed.saturating_add(1);
                Ok(self.answer(decision.request, answer))
            }
            Committed::Again => {
                self.counts.moved = self.counts.moved.saturating_add(1);
                Ok(self.begin(operator, broken, (journal, decision.request, late)))
            }
            Committed::Not(why) => {
                self.counts.second = self.counts.second.saturating_add(1);
                let mut entropy = self.chance(&ledgers, decision.request);
                let moment = &mut Moment { now, entropy: &mut entropy };
                let mut begun = second(&*asked, &decision.decided, &why, moment);
                if let Begun::Decided(decided) = &mut begun
                    && broken == Broken::ForgetsReplays
                {
                    decided.transition.once.clear();
                }
                Ok(self.took(broken, &*asked, (&ledgers, decision.request, late), begun))
            }
        }
    }

    /// Chance is a function of the books and of the request, so that going back gives the same.
    fn chance(&self, ledgers: &Ledgers, request: MessageId) -> SeededEntropy {
        let [identity, books] = ledgers.name();
        let body = match self.messages.get(usize::from(request)).map(|m| &**m) {
            Some(Message::Request { body, .. }) => body.as_slice(),
            _ => &[],
        };
        SeededEntropy::new(digest("florin/models/chance", &[identity.as_bytes(), books.as_bytes(), body]).0)
    }
}
