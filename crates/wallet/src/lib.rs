//! The wallet of a person, a script or an agent: a purse of coins in encrypted books, and every command of
//! `florin wallet` as a function. Source: VarietyCash §3 (coin purchaser, payer, payee, coin-holder); books.md,
//! "Exactly once"; web.md (the client's side); docs/wallet.md.
//!
//! Every request is persisted before its first byte leaves and is sent with the same bytes until it is answered, so the
//! same command after a crash ends the same payment once.

mod apply;
mod buy;
mod documents;
mod doubt;
mod history;
mod identity;
mod init;
mod invoice;
mod late;
mod limits;
mod mix;
mod net;
mod offer;
mod output;
mod pay;
mod pay_invoice;
mod pay_web;
mod payload;
mod post;
mod purse;
mod receipt;
mod receive;
mod redeem;
mod refresh;
mod refund;
mod refusal;
mod report;
mod seed;
mod send;
mod status;
mod telling;
mod wallet;
mod x402;

pub use buy::{BuyOptions, BuyReport, BuyState, RefundChoice};
pub use history::{HistoryEntry, HistoryReport};
pub use identity::{EnrolReport, EnrolState, RegisterReport};
pub use init::{InitOptions, InitReport};
pub use invoice::{InvoiceReport, InvoiceState, RequestOptions};
pub use late::{LateCoins, LateReport};
pub use limits::{LimitChange, LimitRow, LimitsReport};
pub use mix::CoinMix;
pub use net::{Directory, Fetching, HttpNetwork, Network, Web, WebAnswer, WebSending};
pub use output::Output;
pub use pay::{PayOutcome, PayReport, Policy};
pub use pay_invoice::{InvoiceView, PayInvoiceOptions};
pub use pay_web::PayOptions;
pub use payload::{PayloadOptions, REQUEST_BYTES_MAX};
pub use purse::{BalanceReport, BalanceRow};
pub use receipt::ReceiptReport;
pub use receive::{CardReport, ReceiveOptions, ReceiveReport};
pub use redeem::{RedeemAmount, RedeemReport};
pub use refresh::RefreshReport;
pub use refund::{RefundRow, RestoreReport};
pub use refusal::{ErrorReport, LimitKind, WalletError};
pub use report::Lost;
pub use seed::{Seed, SeedError};
pub use send::{SendOptions, SendReport, SendState, SendTo, SentRow};
pub use status::{OpenItem, StatusReport};
pub use wallet::{BOOKS_DIR, OpenOptions, ROLE, Wallet, needs, seed_text};
