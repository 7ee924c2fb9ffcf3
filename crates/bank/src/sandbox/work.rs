//! What the bank does by itself: book what is due, ask the other banks until they answer. Both wait in the outbox of
//! the books, so a restart goes on where it stopped. Source: books.md, "The parts" (outbox).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use florin_books::{EffectId, Outgoing, Timestamp, TxId};
use florin_parties::bank::{Direction, OrderId};
use florin_rail::Refusal;
use florin_rail::common::{FAULT, OUTCOME_OPEN};

use crate::iban::BankCode;
use crate::messages::InterbankPayment;
use crate::rail::BankError;
use crate::sandbox::desk::{Desk, Interbank};
use crate::sandbox::documents::{BOOK, SEND};
use crate::sandbox::draft::read;
use crate::sandbox::interbank::Letter;
use crate::sandbox::orders::{Book, Settle};

/// Orders that one look at the outbox takes along.
const DUE_MAX: usize = 256;
/// The first pause after a bank could not be reached; it doubles.
const PAUSE_MIN_MS: u64 = 100;
/// The longest pause.
const PAUSE_MAX_MS: u64 = 30_000;

/// Which other banks are left alone for now: how often in a row they could not be reached, and until when.
#[derive(Default)]
pub(crate) struct Pauses(BTreeMap<BankCode, (u32, Timestamp)>);

impl Pauses {
    fn is_paused(&self, peer: BankCode, now: Timestamp) -> bool {
        self.0.get(&peer).is_some_and(|(_, until)| now < *until)
    }

    fn failed(&mut self, peer: BankCode, now: Timestamp) {
        let (times, until) = self.0.entry(peer).or_insert((0, now));
        let factor = 1_u64.checked_shl((*times).min(20)).unwrap_or(1);
        *until = now.plus_ms(PAUSE_MIN_MS.saturating_mul(factor).min(PAUSE_MAX_MS));
        *times = times.saturating_add(1);
    }

    fn answered(&mut self, peer: BankCode) {
        self.0.remove(&peer);
    }
}

impl Desk {
    /// Books what is due at this moment; says how many orders that were.
    ///
    /// # Errors
    /// `outcome-open` or `fault` where the books have stopped.
    pub fn book_due(&self) -> Result<usize, Refusal> {
        let mut booked = 0_usize;
        for timer in self.due(BOOK, DUE_MAX)? {
            let placed = self.placed(&OrderId::new(*timer.id.bytes()))?.ok_or(FAULT)?;
            self.carry_out(&Book { timer: timer.id, placed })?;
            booked = booked.saturating_add(1);
        }
        Ok(booked)
    }

    /// When the next order is to be booked.
    ///
    /// # Errors
    /// `outcome-open` where the books have stopped.
    pub fn next_due(&self) -> Result<Option<Timestamp>, Refusal> {
        let next = self.books().view(|lane| lane.outbox().filter(|o| o.kind == BOOK).map(|o| o.due).min());
        next.map_err(|_| OUTCOME_OPEN.after(2))
    }

    /// Asks the other banks once about everything that waits for them; says how many answers came.
    ///
    /// # Errors
    /// `outcome-open` or `fault` where the books have stopped.
    pub async fn send_due(self: &Arc<Self>, banks: &dyn Interbank) -> Result<usize, Refusal> {
        let mut answered = 0_usize;
        let mut silent: BTreeSet<BankCode> = BTreeSet::new();
        for waiting in self.off_thread(|desk| desk.due(SEND, usize::MAX)).await? {
            let letter: Letter = read(&waiting.body)?;
            let peer: BankCode = letter.peer.parse().map_err(|_| FAULT)?;
            if silent.contains(&peer) || self.paused(peer) {
                continue;
            }
            match self.send_one(banks, waiting.id, peer, letter).await? {
                true => answered = answered.saturating_add(1),
                false => drop(silent.insert(peer)),
            }
        }
        Ok(answered)
    }

    /// Sends one message; whether an answer came.
    async fn send_one(
        self: &Arc<Self>,
        banks: &dyn Interbank,
        effect: EffectId,
        peer: BankCode,
        letter: Letter,
    ) -> Result<bool, Refusal> {
        let id = letter.order;
        let placed = self.off_thread(move |desk| desk.placed(&id)).await?.ok_or(FAULT)?;
        let payment = InterbankPayment {
            txid: TxId::new(*effect.bytes()).to_string(),
            from: self.bank.code.to_string(),
            direction: match letter.direction {
                Direction::Credit => "credit".to_owned(),
                Direction::Debit => "debit".to_owned(),
            },
            account: placed.order.account.iban().to_owned(),
            amount: placed.order.amount.to_string(),
            other: placed.submitter.iban().to_owned(),
            other_name: letter.other_name,
            remittance: placed.order.remittance.clone(),
            return_reason: letter.return_reason,
        };
        match banks.send(peer, &payment).await {
            Ok(outcome) => {
                self.pauses.lock().unwrap_or_else(PoisonError::into_inner).answered(peer);
                let settle = Settle { effect, placed, peer, outcome };
                self.off_thread(move |desk| desk.carry_out(&settle)).await?;
                Ok(true)
            }
            // A refusal is no verdict on the payment: the other bank is set up wrong, and somebody has to look.
            Err(BankError::Refused(problem)) => {
                tracing::error!(%peer, slug = problem.slug.as_deref(), "another bank refuses our messages");
                self.failed(peer);
                Ok(false)
            }
            Err(BankError::NotSent | BankError::Unknown) => {
                self.failed(peer);
                Ok(false)
            }
        }
    }

    fn paused(&self, peer: BankCode) -> bool {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner).is_paused(peer, self.now())
    }

    fn failed(&self, peer: BankCode) {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner).failed(peer, self.now());
    }

    /// What is due of one kind, longest due first. Of messages all are looked at: a bank that is down must not stand
    /// before the others.
    fn due(&self, kind: u16, max: usize) -> Result<Vec<Outgoing>, Refusal> {
        let now = self.now();
        let due = self.books().view(move |lane| {
            let mut due: Vec<Outgoing> =
                lane.outbox().filter(|o| o.kind == kind && o.due <= now).cloned().collect();
            due.sort_by_key(|o| (o.due, o.id));
            due.truncate(max);
            due
        });
        due.map_err(|_| OUTCOME_OPEN.after(2))
    }

    /// Makes a call that waits for the disk, on a thread that may wait.
    ///
    /// # Errors
    /// Those of the call; `fault` where it panicked.
    pub async fn off_thread<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let desk = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || call(&desk)).await;
        done.unwrap_or_else(|error| Err(FAULT.with_detail(error.to_string())))
    }
}
