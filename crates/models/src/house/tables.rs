//! What a house has computed, so that it computes it once: messages by number, journals by the chains of their lanes,
//! decisions by journal and message. Source: docs/adr/0035-stateright-for-the-model-checks.md.

use std::collections::HashMap;
use std::sync::Arc;

use florin_crypto::{Digest, SeededEntropy, digest};
use florin_rail::{Moment, Refusal};

use super::{Broken, Counts, JournalId, Message, MessageId, Tag};
use crate::fault::Fault;
use crate::operator::{
    Asked, Begun, COINS, Committed, Decided, LATE, Ledgers, Operator, START, begin, commit, second,
};
use crate::shelf::Shelf;

pub(super) struct Journal {
    pub(super) ledgers: Arc<Ledgers>,
    pub(super) parent: Option<JournalId>,
    pub(super) sound: bool,
    pub(super) worth: u64,
}

#[derive(Clone, Copy)]
pub(super) enum Came {
    Reply(MessageId),
    Decided(u32),
    /// Answered before it is committed.
    Hasty(u32, MessageId),
    Done(JournalId, MessageId),
    Fault(Fault),
}

pub(super) struct Decision {
    request: MessageId,
    decided: Box<Decided>,
}

#[derive(Default)]
pub(super) struct Tables {
    messages: Vec<Arc<Message>>,
    /// There are more messages than numbers: nothing that was found holds.
    pub(super) full: bool,
    ids: HashMap<Arc<Message>, MessageId>,
    pub(super) journals: Vec<Journal>,
    names: HashMap<[Digest; 2], JournalId>,
    decisions: Vec<Arc<Decision>>,
    opened: HashMap<(MessageId, bool), Result<Arc<dyn Asked>, Refusal>>,
    begun: HashMap<(JournalId, MessageId, bool), Came>,
    committed: HashMap<(JournalId, u32, bool), Came>,
    pub(super) acts: HashMap<(JournalId, Digest), JournalId>,
    pub(super) counts: Counts,
}

impl Tables {
    pub(super) fn number(&mut self, message: Message) -> MessageId {
        let message = Arc::new(message);
        if let Some(id) = self.ids.get(&message) {
            return *id;
        }
        let id = MessageId::try_from(self.messages.len()).unwrap_or(MessageId::MAX);
        self.full |= id == MessageId::MAX;
        self.messages.push(Arc::clone(&message));
        self.ids.insert(message, id);
        id
    }

    pub(super) fn message(&self, id: MessageId) -> Result<Arc<Message>, Fault> {
        self.messages.get(usize::from(id)).cloned().ok_or(Fault::Absent("a message"))
    }

    pub(super) fn ledgers(&self, id: JournalId) -> Result<Arc<Ledgers>, Fault> {
        self.journals.get(id as usize).map(|j| Arc::clone(&j.ledgers)).ok_or(Fault::Absent("a journal"))
    }

    pub(super) fn journal(&mut self, ledgers: Ledgers, parent: Option<JournalId>) -> JournalId {
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

    pub(super) fn open(
        &mut self,
        operator: &Operator,
        id: MessageId,
        late: bool,
    ) -> Result<Arc<dyn Asked>, Came> {
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

    pub(super) fn begin(
        &mut self,
        operator: &Operator,
        broken: Broken,
        key: (JournalId, MessageId, bool),
    ) -> Came {
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
        let mut entropy = self.chance(shelf, request);
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

    pub(super) fn commit(
        &mut self,
        operator: &Operator,
        broken: Broken,
        key: (JournalId, u32, bool),
    ) -> Came {
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
                let mut entropy = self.chance(ledgers.shelf(asked.lane()), decision.request);
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

    /// Chance is a function of the lane's books and of the request, so that going back gives the same. Where nothing is
    /// committed it is one of the request alone: whatever the answer draws, it is one answer.
    fn chance(&self, shelf: &Shelf, request: MessageId) -> SeededEntropy {
        let chain = shelf.lane().chain();
        match self.messages.get(usize::from(request)).map(|m| &**m) {
            Some(Message::Request { tag: Tag::WRequest1(..), body, .. }) => SeededEntropy::new(body),
            Some(Message::Request { body, .. }) => {
                SeededEntropy::new(digest("florin/models/chance", &[chain.as_bytes(), body]).0)
            }
            _ => SeededEntropy::new(b""),
        }
    }
}
