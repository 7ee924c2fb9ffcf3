//! Books: how value is held, moved and conserved. Every party keeps books, and the only way to change them is a
//! [`Transition`]. Pure: no files, no clock, no randomness. Source: the design note "Books" (docs/books.md).
//! Departs from the note: a transition also carries `as_of` and `seed`, and a document's name is 16 bytes.

mod account;
mod audit;
pub mod codec;
mod facts;
mod holding;
mod ids;
mod lane;
mod opening;
mod overlay;
mod record;
mod register;
mod rules;
mod token;
mod transition;

pub use account::{Account, Floor, Posting, RegisterId};
pub use audit::{Audit, AuditReport, Finding};
pub use facts::{BalanceKey, Document, Facts, Needs};
pub use holding::{Held, Holding, HoldingChange};
pub use ids::{
    Clock, EffectId, EffectKind, ExchangeId, ExchangeKind, HoldingId, HoldingKind, Id, IdError, IdKind,
    LaneId, Party, PartyId, Seq, Timestamp, Tx, TxId,
};
pub use lane::{Damaged, Lane, LaneSpec, Snapshot};
pub use opening::Opening;
pub use overlay::{Generation, Overlay, Written};
pub use record::{Core, Entry, Record, link, seed_digest};
pub use register::{Circulation, LiveSets, RegisterSpec};
pub use rules::{Rejected, SKIP_MAX};
pub use token::{COUNTER_MAX, DENOMINATIONS_MAX, DenominationId, Epoch, Issue, Issued, Skip, TokenNumber};
pub use transition::{
    Condition, DocumentKey, DocumentKind, DocumentWrite, Effect, Mark, OnceKey, Outgoing, Transition,
};
