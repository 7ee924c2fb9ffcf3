//! The desk carries decisions out on the bank's books: load, decide, commit, reply. Its calls wait for the disk, so an
//! async program makes them on a thread that may wait. Source: architecture.md, "The one flow".

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};

use florin_books::{Account, Clock, Facts, Needs, PartyId, Record, Rejected, Seq, Timestamp, Transition};
use florin_rail::Refusal;
use florin_rail::common::{ASK_STATUS, FAULT, OUTCOME_OPEN, OVERLOADED, REQUEST_ID_REUSED, STORAGE_FULL};
use florin_store::{Books, CommitError, StoreError};
use tokio::sync::Notify;

use crate::iban::BankCode;
use crate::messages::{InterbankOutcome, InterbankPayment};
use crate::rail::BankError;
use crate::sandbox::documents::ACCOUNT;
use crate::sandbox::work::Pauses;
use crate::sandbox::{Bank, Decided, Operation, Sight};

/// Documents can move on under a decision so many times before the asker is told to come back.
const TRIES_MAX: usize = 16;

/// A future that ends with another bank's answer.
pub type SendFuture<'a> = Pin<Box<dyn Future<Output = Result<InterbankOutcome, BankError>> + Send + 'a>>;

/// The way to the other banks.
pub trait Interbank: Send + Sync {
    /// Asks another bank; the same message may be sent any number of times.
    fn send<'a>(&'a self, to: BankCode, payment: &'a InterbankPayment) -> SendFuture<'a>;
}

/// A bank at work.
pub struct Desk {
    pub(crate) bank: Bank,
    books: Books,
    clock: Arc<dyn Clock>,
    /// Decisions that write come one after the other: most of them touch the same few accounts.
    writing: Mutex<()>,
    pub(crate) pauses: Mutex<Pauses>,
    pub(crate) to_book: Notify,
    pub(crate) to_send: Notify,
}

impl Desk {
    /// A desk on the bank's books.
    #[must_use]
    pub fn new(bank: Bank, books: Books, clock: Arc<dyn Clock>) -> Self {
        Self {
            bank,
            books,
            clock,
            writing: Mutex::new(()),
            pauses: Mutex::default(),
            to_book: Notify::new(),
            to_send: Notify::new(),
        }
    }

    /// The bank.
    #[must_use]
    pub const fn bank(&self) -> &Bank {
        &self.bank
    }

    /// Its books.
    #[must_use]
    pub const fn books(&self) -> &Books {
        &self.books
    }

    /// Its clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Carries an operation out once, and gives its reply: the same for the same request at any time.
    pub(crate) fn carry_out(&self, operation: &dyn Operation) -> Result<Vec<u8>, Refusal> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let needs = operation.needs(&self.bank);
        for _ in 0..TRIES_MAX {
            let (facts, owed) = self.look(&needs)?;
            let sight = Sight { facts: &facts, owed: &owed, now: self.clock.now() };
            operation.authorise(&self.bank, sight)?;
            if let Some(seq) = needs.once.iter().find_map(|key| facts.once.get(key).copied()) {
                return self.again(operation, seq);
            }
            let transition = match operation.decide(&self.bank, sight)? {
                Decided::Apply(transition) => transition,
                Decided::Nothing(reply) => return Ok(reply),
            };
            match self.commit(*transition) {
                Ok(record) => {
                    self.to_book.notify_one();
                    self.to_send.notify_one();
                    return record.seed().map(<[u8]>::to_vec).ok_or(FAULT);
                }
                Err(CommitError::Rejected(Rejected::Repeated { seq } | Rejected::IdReused { seq })) => {
                    return self.again(operation, seq);
                }
                Err(CommitError::Rejected(Rejected::Stale | Rejected::Moved { .. })) => {}
                Err(CommitError::Rejected(why)) => {
                    tracing::error!(?why, "the books refused what the bank decided");
                    return Err(FAULT);
                }
                Err(CommitError::Full) => return Err(STORAGE_FULL.after(60)),
                Err(CommitError::Overloaded) => return Err(OVERLOADED.after(1)),
                Err(CommitError::Stopped) => return Err(OUTCOME_OPEN.after(2)),
            }
        }
        Err(OVERLOADED.after(1))
    }

    fn again(&self, operation: &dyn Operation, seq: Seq) -> Result<Vec<u8>, Refusal> {
        let record = self.books.record(seq).map_err(|e| store_refusal(&e))?.ok_or(ASK_STATUS)?;
        if record.core.cause != operation.cause() {
            return Err(REQUEST_ID_REUSED);
        }
        record.seed().map(<[u8]>::to_vec).ok_or(ASK_STATUS)
    }

    fn commit(&self, transition: Transition) -> Result<Arc<Record>, CommitError> {
        let (send, receive) = sync_channel(1);
        self.books.submit(transition, Box::new(move |result| drop(send.send(result))));
        receive.recv().unwrap_or(Err(CommitError::Stopped))
    }

    /// Reads documents, with the balances of the accounts among them.
    pub(crate) fn look(&self, needs: &Needs) -> Result<(Facts, BTreeMap<PartyId, i64>), Refusal> {
        let facts = self.books.load(needs).map_err(|e| store_refusal(&e))?;
        let accounts = needs.documents.iter().filter(|key| key.kind == ACCOUNT);
        let parties: Vec<PartyId> = accounts.map(|key| PartyId::new(key.id)).collect();
        if parties.is_empty() {
            return Ok((facts, BTreeMap::new()));
        }
        let code = self.bank.currency.code();
        let owed = self.books.view(move |lane| {
            let owed = |party: PartyId| {
                let own = lane.balance(Account::Party(party), code);
                own.saturating_add(lane.balance(Account::Due(party), code)).saturating_neg()
            };
            parties.into_iter().map(|party| (party, owed(party))).collect()
        });
        Ok((facts, owed.map_err(|_| OUTCOME_OPEN.after(2))?))
    }
}

/// What the asker hears when the store cannot read.
pub(crate) fn store_refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::Retry => OVERLOADED.after(1),
        StoreError::Full => STORAGE_FULL.after(60),
        StoreError::Unknown | StoreError::Fenced => OUTCOME_OPEN.after(2),
        StoreError::Busy(_)
        | StoreError::Damaged { .. }
        | StoreError::Foreign { .. }
        | StoreError::Fatal { .. } => {
            tracing::error!(%error, "the store failed");
            FAULT
        }
    }
}
