//! The one flow: open, needs, load, decide, commit, reply. A rail gives these phases as pure functions; the shell runs
//! them. Source: architecture.md, "The one flow"; books.md, "Deciding".

use florin_books::{BalanceKey, Facts, Needs, Record, Rejected, Timestamp, Transition};
use florin_crypto::entropy::Entropy;
use florin_crypto::{Digest, Secret};

use crate::refusal::Refusal;

/// The name of a step: it stands in the path `/v1/{rail}/{step}` and in the cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StepName {
    /// The rail.
    pub rail: &'static str,
    /// The step.
    pub step: &'static str,
}

/// Time and chance, as arguments.
pub struct Moment<'a> {
    /// The clock, when the decision is made. Deadlines are also tested by the lane, against lane time.
    pub now: Timestamp,
    /// Randomness.
    pub entropy: &'a mut dyn Entropy,
}

/// What a step decides.
#[derive(Debug)]
pub enum Decision {
    /// Yes.
    Apply(Transition),
    /// A verdict that is recorded, so that it can be signed: no, and it stays no.
    Deny(Transition),
    /// Nothing changes.
    Answer(Vec<u8>),
    /// Unsigned, unrecorded; the same bytes may succeed later.
    Refuse(Refusal),
}

/// A step of a rail, in the role that answers.
pub trait Step: Send + Sync {
    /// The request, read strictly and decrypted.
    type Opened: Send + Sync;

    /// Its name.
    fn name(&self) -> StepName;

    /// Reads strictly, decrypts, checks what needs no facts.
    ///
    /// # Errors
    /// Before the asker is known every failure is `bad-request` (G9).
    fn open(&self, body: &[u8], now: Timestamp) -> Result<Self::Opened, Refusal>;

    /// `th` of the request, where opening it has hashed its bytes: the cause is then made from that.
    fn transcript(&self, _opened: &Self::Opened) -> Option<Digest> {
        None
    }

    /// What to read.
    fn needs(&self, opened: &Self::Opened) -> Needs;

    /// What else to read, once the first facts are known: documents that only they name, and the records that took these
    /// once keys, for [`Facts::records`]. Marks are not looked up here. The facts stay as of the first reading, so a
    /// document that was written in between is found out when the lane applies the decision.
    fn follows(&self, _opened: &Self::Opened, _facts: &Facts) -> Needs {
        Needs::default()
    }

    /// Which balances to read. They are read after what [`Step::needs`] names, and others may move them before the commit:
    /// a transition leans on floors and conditions, not on them.
    fn balances(&self, _opened: &Self::Opened) -> Vec<BalanceKey> {
        Vec::new()
    }

    /// Decides. The shell fills in the transition's cause and `as_of`.
    fn decide(&self, opened: &Self::Opened, facts: &Facts, moment: &mut Moment<'_>) -> Decision;

    /// Decides again, knowing what did not hold when the lane tried: a dead token, a deadline, a balance. Where tokens of
    /// what it then applies have died too, everything is read and decided anew.
    fn decide_refused(
        &self,
        opened: &Self::Opened,
        facts: &Facts,
        why: &Rejected,
        moment: &mut Moment<'_>,
    ) -> Decision;

    /// The reply: a function of the record and of the request that asks for it, so a repeated request gets the same
    /// bytes. Nothing is signed or sealed that was not committed first.
    ///
    /// # Errors
    /// Where the record no longer holds its seed.
    fn reply(&self, opened: &Self::Opened, record: &Record) -> Result<Vec<u8>, Refusal>;

    /// The reply to a request that came before. The same, but where what the seed of an old record had still stands
    /// elsewhere: a record loses its seed with time, and what is owed is owed all the same.
    ///
    /// # Errors
    /// Where neither is left.
    fn reissue(&self, opened: &Self::Opened, record: &Record, _facts: &Facts) -> Result<Vec<u8>, Refusal> {
        self.reply(opened, record)
    }

    /// Whether the request is by whom it says it is, where only the facts can tell. Asked before anything is said about a
    /// once key that is taken; if not, the asker hears `bad-request` and learns nothing (G9).
    fn is_authentic(&self, _opened: &Self::Opened, _facts: &Facts) -> bool {
        true
    }

    /// What proves to the asker that the request was withdrawn, made of the key of its reply; none for a step whose refusal
    /// leaves nothing open. A request that was withdrawn takes its once keys and does nothing (ADR 0036).
    fn withdrawn(&self, _opened: &Self::Opened) -> Option<Secret<32>> {
        None
    }

    /// Whether a request with another digest may have the reply of the record that took its once key (a `reissue`
    /// step: a lost reply asked for under a new reply key; a payment that was voided).
    fn may_reissue(&self, _opened: &Self::Opened, _record: &Record, _facts: &Facts) -> bool {
        false
    }
}
