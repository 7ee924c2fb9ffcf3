//! Every message and document that has an encoding: it has one, and no other is read.

use florin_bank::Cursor;
use florin_books as books;
use florin_coin::{aggregate_messages, cash, coin, com, issuer, messages as coin_messages};
use florin_coin::{purchase_messages, refund_messages};
use florin_crypto as crypto;
use florin_operator::{archive, control, trace_log};
use florin_parties as parties;
use florin_rail as rail;
use florin_shell::exchange::Exchange;

use crate::say::{choice, one_encoding};

type Read = fn(&[u8]) -> bool;

fn one<T>(data: &[u8]) -> bool
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    one_encoding::<T>(data).is_some()
}

/// The first byte of an input says which of these it is.
const KINDS: &[Read] = &[
    one::<rail::Context>,
    one::<crypto::Envelope>,
    one::<crypto::Digest>,
    one::<crypto::VerifyKey>,
    one::<crypto::KemPublicKey>,
    one::<crypto::Bytes>,
    one::<crypto::ByteArray<16>>,
    one::<coin_messages::Invoice>,
    one::<coin_messages::EncC1>,
    one::<coin_messages::SendCoins>,
    one::<coin_messages::VOption>,
    one::<coin_messages::VDesc>,
    one::<coin_messages::ValidationReq>,
    one::<coin_messages::WouldBe>,
    one::<coin_messages::CheckAnswer>,
    one::<coin_messages::Outcome>,
    one::<coin_messages::Verdict>,
    one::<coin_messages::PayerVerdict>,
    one::<coin_messages::Issuance1>,
    one::<coin_messages::Issuance2>,
    one::<coin_messages::Receipt>,
    one::<coin_messages::PayeeAnswer>,
    one::<coin_messages::PayerStatus>,
    one::<coin_messages::PayeeStatus>,
    one::<coin_messages::ChangeReq>,
    one::<coin_messages::RefreshReq>,
    one::<coin_messages::RedeemReq>,
    one::<coin_messages::CoinStatement>,
    one::<coin_messages::ExchangeAnswer>,
    one::<purchase_messages::WRequest1>,
    one::<purchase_messages::WRequest2>,
    one::<purchase_messages::WRequest2Answer>,
    one::<purchase_messages::WDesc>,
    one::<purchase_messages::Authorisation>,
    one::<purchase_messages::WRequest3>,
    one::<purchase_messages::WRequest3Content>,
    one::<purchase_messages::Accepted>,
    one::<purchase_messages::Collect>,
    one::<purchase_messages::PurchaseIssuance1>,
    one::<purchase_messages::PurchaseRefusal>,
    one::<purchase_messages::CollectAck>,
    one::<refund_messages::RefundReq>,
    one::<refund_messages::RefundStatement>,
    one::<refund_messages::RefundAnswer>,
    one::<aggregate_messages::RedeemAggregateReq>,
    one::<aggregate_messages::AggregateStatement>,
    one::<aggregate_messages::AggregateBalanceReq>,
    one::<aggregate_messages::AggregateBalance>,
    one::<coin::Coin>,
    one::<coin::CoinSet>,
    one::<coin::HeldCoin>,
    one::<coin::BadCoin>,
    one::<florin_coin::HolderChoice>,
    one::<cash::SealedCash>,
    one::<com::PDesc>,
    one::<com::Com>,
    one::<florin_coin::EpochEntry>,
    one::<florin_coin::escrow::OpenedBox>,
    one::<issuer::HolderList>,
    one::<issuer::Honour>,
    one::<issuer::PayOut>,
    one::<issuer::BoxOpen>,
    one::<issuer::BoxMessage>,
    one::<issuer::Purchase>,
    one::<issuer::HandOver>,
    one::<issuer::SealedClaim>,
    one::<issuer::HandOverDue>,
    one::<parties::bank::Order>,
    one::<parties::bank::BankEvent>,
    one::<parties::ConfirmOutcome>,
    one::<parties::PublishedKey>,
    one::<parties::CurrencyTerms>,
    one::<parties::Terms>,
    one::<parties::PublishedEpoch>,
    one::<parties::CodeSent>,
    one::<parties::Enrolment>,
    one::<parties::Participant>,
    one::<parties::OrderRecord>,
    one::<parties::treasury::QueueItem>,
    one::<parties::registration::Identity>,
    one::<books::Account>,
    one::<books::Posting>,
    one::<books::Holding>,
    one::<books::HoldingChange>,
    one::<books::Held>,
    one::<books::TokenNumber>,
    one::<books::Issue>,
    one::<books::Issued>,
    one::<books::Skip>,
    one::<books::DocumentWrite>,
    one::<books::OnceKey>,
    one::<books::Mark>,
    one::<books::Effect>,
    one::<books::Outgoing>,
    one::<books::Opening>,
    one::<books::LiveSets>,
    one::<Exchange>,
    one::<Cursor>,
    one::<florin_merchant::order::Order>,
    one::<florin_merchant::settle::Settle>,
    one::<archive::EpochArchive>,
    one::<control::Order>,
    one::<control::SignedOrder>,
    one::<control::Executed>,
    one::<trace_log::LogEntry>,
    one::<trace_log::LogHead>,
];

/// So many kinds of messages there are.
pub(crate) const fn kinds() -> usize {
    KINDS.len()
}

/// Whether bytes are a message of a kind.
pub(crate) fn is_read(kind: usize, bytes: &[u8]) -> bool {
    KINDS.get(kind).is_some_and(|read| read(bytes))
}

/// One of them.
pub(crate) fn messages(data: &[u8]) {
    let (what, data) = choice(data);
    let _ = is_read(usize::from(what).checked_rem(kinds()).unwrap_or(0), data);
}
