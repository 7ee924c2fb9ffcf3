//! The coin rail: VarietyCash, network part. Bearer coins with a MAC tag that only the issuer can check; the payee never
//! sees a coin, the issuer never sees what was bought. Pure: no clock, no randomness, no files, no network.
//! Source: VarietyCash §1-3; repairs V1-V9; the wire contract is docs/rails/coin.md.
//!
//! Departs from the paper: HPKE and exporters for its envelopes and session keys (V1, G8), a salt and a deadline in Com
//! (V2), a mandatory payee signature (V3), a sealed verdict for the payer (V4), the `collect` message (V6, V10), and a
//! post box for payees who are not web servers (ADR 0006).

pub mod aggregate;
pub mod aggregate_messages;
pub mod ask;
pub mod cash;
mod choice;
pub mod coin;
pub mod com;
pub mod epoch;
pub mod escrow;
pub mod holder;
pub mod issuer;
pub mod kinds;
pub mod messages;
pub mod payee;
pub mod payer;
pub mod purchase_messages;
pub mod purchaser;
pub mod refund;
pub mod refund_messages;
pub mod refusal;
pub mod web;

pub use ask::{AskError, IssuerKey, Prepared, ReadError};
pub use choice::HolderChoice;
pub use coin::{BadCoin, COINS_ISSUED_MAX, COINS_PER_PAYMENT_MAX, Coin, CoinCause, CoinSet, HeldCoin};
pub use com::{Com, PDesc, PayId, TidPy, pay_id};
pub use epoch::{Archived, Calendar, Dropped, EpochEntry, EpochError, EpochState, Epochs, Purpose};
