//! The two lanes of an operator, and what goes from one to the other: identity apart from coins.
//! Source: books.md, "Identity apart"; V10.

use std::path::Path;
use std::sync::Arc;

use florin_books::{Clock, LaneId, LaneSpec, Outgoing, RegisterSpec, Timestamp};
use florin_coin::issuer::{HandOver, PayOut, hand_over, payout};
use florin_coin::kinds::{HAND_OVER, PAY_OUT};
use florin_crypto::{Secret, cbor};
use florin_parties::bank::Order;
use florin_parties::kinds::{COPY_PARTICIPANT, SUBMIT_ORDER};
use florin_parties::{participant, treasury};
use florin_shell::house::{ActError, House};
use florin_shell::outbox::{Carried, Carrying, Courier};
use florin_shell::storage::{StorageOptions, create_books, open_books};
use florin_store::StoreError;

use crate::bank::BankDesk;

/// Who is who, bank accounts, purchases.
pub const IDENTITY: LaneId = LaneId(0);
/// Coins.
pub const BOOKS: LaneId = LaneId(1);

/// Where a lane's store is, below the operator's state.
#[must_use]
pub const fn folder(lane: LaneId) -> &'static str {
    if lane.0 == IDENTITY.0 { "identity" } else { "books" }
}

/// What a lane is made for.
#[must_use]
pub fn spec(lane: LaneId, registers: &[RegisterSpec]) -> LaneSpec {
    LaneSpec { lane, registers: if lane == BOOKS { registers.to_vec() } else { Vec::new() } }
}

/// Opens, or makes, a lane's books.
///
/// # Errors
/// Those of the store.
pub fn lane(
    state: &Path,
    spec: LaneSpec,
    key: &Secret<32>,
    clock: &Arc<dyn Clock>,
    new: bool,
) -> Result<House, StoreError> {
    let dir = state.join(folder(spec.lane));
    let options = StorageOptions::default();
    let make = if new { create_books } else { open_books };
    let books = make(&dir, spec, key, clock.clone(), &options)?;
    Ok(House { books, clock: clock.clone(), entropy: florin_shell::house::os_entropy() })
}

/// Both lanes.
#[derive(Clone)]
pub struct Lanes {
    /// Who is who.
    pub identity: House,
    /// Coins.
    pub books: House,
}

/// Held by couriers for as long as they carry something from one lane into the other, and by a backup while it copies
/// both: what has arrived in one copy has then always been sent in the other.
pub type Crossing = Arc<tokio::sync::RwLock<()>>;

/// Carries what the identity lane sends to the books lane: participants and claims.
pub struct LaneCourier {
    /// Coins.
    pub books: House,
    /// Claims wait for so many.
    pub claims_batch: usize,
    /// Or for so long, in milliseconds.
    pub claims_wait_ms: u64,
    /// Nothing crosses while a backup is made.
    pub crossing: Crossing,
}

impl Courier for LaneCourier {
    fn carry<'a>(&'a self, effect: &'a Outgoing) -> Carrying<'a> {
        Box::pin(async move {
            let _open = self.crossing.read().await;
            carried(match effect.kind {
                COPY_PARTICIPANT => copy_participant(&self.books, effect).await,
                _ => take_claim(&self.books, effect).await,
            })
        })
    }

    fn takes(&self, kind: u16) -> bool {
        matches!(kind, COPY_PARTICIPANT | HAND_OVER)
    }

    /// Claims go over in company, so that who paid when does not say whose coins are issued when (V10).
    fn ready(&self, kind: u16, due: &[Outgoing], now: Timestamp) -> bool {
        let oldest = due.iter().map(|o| o.due).min().unwrap_or(now);
        kind != HAND_OVER || due.len() >= self.claims_batch || now.since(oldest) >= self.claims_wait_ms
    }
}

/// Carries orders to the bank. A bank that hangs holds up orders only.
pub struct BankCourier {
    /// The bank.
    pub bank: Arc<BankDesk>,
}

impl Courier for BankCourier {
    /// The bank's taking an order up is an event of its own, which settles the outbox entry.
    fn carry<'a>(&'a self, effect: &'a Outgoing) -> Carrying<'a> {
        Box::pin(async move {
            let Ok(order) = cbor::decode_strict::<Order>(&effect.body) else { return Carried::Later };
            let id = order.id;
            match self.bank.submit(order).await {
                Some(at) => carried(self.bank.settle(&treasury::accepted_now(id, at)).await),
                None => Carried::Later,
            }
        })
    }

    fn takes(&self, kind: u16) -> bool {
        kind == SUBMIT_ORDER
    }
}

fn carried(done: Result<(), ActError>) -> Carried {
    match done {
        Ok(()) => Carried::Done,
        Err(error) => {
            tracing::warn!(%error, "an effect waits");
            Carried::Later
        }
    }
}

async fn copy_participant(books: &House, effect: &Outgoing) -> Result<(), ActError> {
    let Some(needs) = participant::copy::needs(effect) else { return Ok(()) };
    books.act(&needs, |facts, _| participant::copy::decide(effect, facts)).await.map(|_| ())
}

async fn take_claim(books: &House, effect: &Outgoing) -> Result<(), ActError> {
    let Some(hand) = HandOver::read(effect) else { return Ok(()) };
    books.act(&hand.needs(), |facts, _| Some(hand_over(&hand, facts, IDENTITY))).await.map(|_| ())
}

/// Carries what the books lane sends out: pay-outs to the identity lane.
pub struct BooksCourier {
    /// Who is who.
    pub identity: House,
    /// Nothing crosses while a backup is made.
    pub crossing: Crossing,
}

impl Courier for BooksCourier {
    fn carry<'a>(&'a self, effect: &'a Outgoing) -> Carrying<'a> {
        Box::pin(async move {
            let _open = self.crossing.read().await;
            let Some(out) = PayOut::read(effect) else { return Carried::Later };
            let done = self
                .identity
                .act(&out.needs(), |facts, m| Some(payout(&out, facts, BOOKS, m.now, m.entropy)))
                .await;
            carried(done.map(|_| ()))
        })
    }

    fn takes(&self, kind: u16) -> bool {
        kind == PAY_OUT
    }
}
