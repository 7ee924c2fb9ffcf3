//! The two lanes of an operator, and what goes from one to the other: identity apart from coins.
//! Source: books.md, "Identity apart"; V10.

use std::path::Path;
use std::sync::Arc;

use florin_books::{Clock, LaneId, LaneSpec, Outgoing, RegisterSpec};
use florin_coin::issuer::{Honour, PayOut, honour_paid, payout_within};
use florin_coin::kinds::{HONOUR, PAY_OUT};
use florin_crypto::{Secret, cbor};
use florin_money::Amount;
use florin_parties::bank::{Direction, Order};
use florin_parties::kinds::{COPY_PARTICIPANT, SUBMIT_ORDER};
use florin_parties::{participant, treasury};
use florin_shell::house::{ActError, House};
use florin_shell::outbox::{Carried, Carrying, Courier};
use florin_shell::storage::{StorageOptions, create_books, open_books};
use florin_store::StoreError;

use crate::bank::BankDesk;
use crate::claim_keys::ClaimKeyFile;

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
    /// The keys of claims that wait to go from one to the other.
    pub claim_keys: Arc<ClaimKeyFile>,
}

/// Held by couriers for as long as they carry something from one lane into the other, and by a backup while it copies
/// both: what has arrived in one copy has then always been sent in the other.
pub type Crossing = Arc<tokio::sync::RwLock<()>>;

/// Carries participants from the identity lane to the books lane; claims go over in company ([`crate::hand_over`]).
pub struct LaneCourier {
    /// Coins.
    pub books: House,
    /// Nothing crosses while a backup is made.
    pub crossing: Crossing,
}

impl Courier for LaneCourier {
    fn carry<'a>(&'a self, effect: &'a Outgoing) -> Carrying<'a> {
        Box::pin(async move {
            let _open = self.crossing.read().await;
            carried(copy_participant(&self.books, effect).await)
        })
    }

    fn takes(&self, kind: u16) -> bool {
        kind == COPY_PARTICIPANT
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
            if order.direction == Direction::Credit && self.bank.pays_nothing() {
                return Carried::Later;
            }
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

/// Carries what the books lane sends out: pay-outs to the identity lane, and money for coins paid by hand.
pub struct BooksCourier {
    /// Who is who.
    pub identity: House,
    /// A pay-out of more waits for both key holders.
    pub release_above: Option<Amount>,
    /// Nothing crosses while a backup is made.
    pub crossing: Crossing,
}

impl Courier for BooksCourier {
    fn carry<'a>(&'a self, effect: &'a Outgoing) -> Carrying<'a> {
        Box::pin(async move {
            let _open = self.crossing.read().await;
            if effect.kind == HONOUR {
                let Some(paid) = Honour::read(effect) else { return Carried::Later };
                let made = |facts: &_, m: &mut florin_rail::Moment<'_>| {
                    Some(honour_paid(&paid, facts, BOOKS, m.now, m.entropy))
                };
                return carried(self.identity.act(&paid.needs(), made).await.map(|_| ()));
            }
            let Some(out) = PayOut::read(effect) else { return Carried::Later };
            let limit = self.release_above;
            let made = |facts: &_, m: &mut florin_rail::Moment<'_>| {
                Some(payout_within(&out, facts, BOOKS, limit, m.now, m.entropy))
            };
            let done = self.identity.act(&out.needs(), made).await;
            carried(done.map(|_| ()))
        })
    }

    fn takes(&self, kind: u16) -> bool {
        matches!(kind, PAY_OUT | HONOUR)
    }
}
