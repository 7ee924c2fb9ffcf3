//! The states of VarietyCash §2.4 for the record: of one coin, from the journal, and of coins that are paid for and not
//! collected yet. It names the holder's choice, never who holds a coin now, which nobody knows.
//! Source: VarietyCash §2.4 (coin states); ADR 0026.

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use florin_books::{Circulation, DenominationId, Epoch, Record, Seq, Timestamp, TokenNumber};
use florin_coin::issuer::{HolderList, Issuer, PendingIssuance, step_title};
use florin_coin::kinds::{CLAIM, HOLDER, RAIL_NUMBER};
use florin_coin::{EpochState, HolderChoice};
use florin_money::Amount;
use florin_shell::house::House;
use florin_store::{CommitError, StoreError};
use serde::{Deserialize, Serialize};

use crate::lanes::BOOKS;

/// How many records are read at a time.
const CHUNK: usize = 1024;

/// A record of the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordLine {
    /// What happened: `purchase`, `payment`, `change`, `redeem`, `refund`.
    pub by: String,
    /// Its place in the journal of the books lane.
    pub record: u64,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
}

/// Another coin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OtherCoin {
    /// Its public id.
    pub id: String,
    /// What it is worth.
    pub worth: String,
}

/// The state of one coin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CoinReport {
    /// Its public id.
    pub id: String,
    /// Its number: epoch, denomination, counter.
    pub number: String,
    /// What it is worth.
    pub worth: String,
    /// `never-issued`, `live`, `spent`, `ended`: neither, since its epoch is closed, or `gone`: issued and not live, and the
    /// records that say why were dropped.
    pub state: String,
    /// By what it was issued.
    pub issued: Option<RecordLine>,
    /// `anonymous`, `named` or `refundable`, as its holder chose.
    pub holder: Option<String>,
    /// The participant, where it is named.
    pub party: Option<String>,
    /// By what it was spent.
    pub spent: Option<RecordLine>,
    /// Into which coins it was split, with others that were given at once.
    pub split_into: Vec<OtherCoin>,
    /// `pays`, `in-grace`, `revoked` (exchanged only) or `expired`, now.
    pub time: String,
    /// Until when it pays, in milliseconds since 1970.
    pub pays_until_unix_ms: Option<u64>,
    /// Until when it can be exchanged; none for without end.
    pub grace_until_unix_ms: Option<u64>,
}

/// Coins that are paid for and that nobody has collected yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingReport {
    /// How many claims.
    pub claims: u64,
    /// What they are worth together.
    pub worth: String,
    /// How many of them are of named purchasers.
    pub named: u64,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum CoinStateError {
    /// The text is neither a public id nor a number.
    #[error("a coin is named by its id, 32 hexadecimal digits, or by its number, EPOCH.DENOMINATION.COUNTER")]
    NotACoin,
    /// Not a coin of this operator.
    #[error("that is no coin of this operator")]
    Foreign,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The books have stopped.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Reads what a person calls a coin.
///
/// # Errors
/// `NotACoin`, `Foreign`.
pub fn parse_coin(issuer: &Issuer, text: &str) -> Result<TokenNumber, CoinStateError> {
    let text = text.trim();
    if let Some([epoch, denomination, counter]) = parts(text) {
        let small = |n: u64| u16::try_from(n).map_err(|_| CoinStateError::NotACoin);
        let (epoch, denomination) = (Epoch(small(epoch)?), DenominationId(small(denomination)?));
        let number = TokenNumber { lane: BOOKS, epoch, denomination, counter };
        let known = counter <= florin_books::COUNTER_MAX && issuer.coin_worth(number).is_some();
        return if known { Ok(number) } else { Err(CoinStateError::Foreign) };
    }
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| CoinStateError::NotACoin)?;
    let id: [u8; 16] = bytes.try_into().map_err(|_| CoinStateError::NotACoin)?;
    let number = issuer.coin_number(id).ok_or(CoinStateError::Foreign)?;
    issuer.coin_worth(number).map(|_| number).ok_or(CoinStateError::Foreign)
}

fn parts(text: &str) -> Option<[u64; 3]> {
    let parts: Vec<u64> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// The state of a coin: reads the whole journal of the books lane.
///
/// # Errors
/// `Store`, `Commit`.
pub fn coin_state(
    books: &House,
    issuer: &Issuer,
    number: TokenNumber,
    now: Timestamp,
) -> Result<CoinReport, CoinStateError> {
    let (live, was_issued) = books.books.view(move |lane| {
        let its = |c: &Circulation| (c.epoch, c.denomination) == (number.epoch, number.denomination);
        let count = lane.live().counted().find(its).map_or(0, |c| c.issued);
        let known = lane.is_dropped(number.epoch) || count > number.counter;
        (lane.live().is_live(&number), known)
    })?;
    let dropped = books.books.opening()?.is_some();
    let (mut issued, mut spent): (Option<Record>, Option<Record>) = (None, None);
    let mut next = Seq(1);
    while spent.is_none() {
        let records = books.books.read(next, CHUNK)?;
        let Some(last) = records.last().map(|r| r.core.seq) else { break };
        for record in records {
            if issued.is_none() && creates(&record, number) {
                issued = Some(record);
            } else if record.core.consumed.contains(&number) {
                spent = Some(record);
                break;
            }
        }
        next = last.next();
    }
    let times = issuer.coin_times(number.epoch);
    let epoch = issuer.epochs().state(number.epoch, now);
    let time = match (times, epoch) {
        (_, Some(EpochState::Revoked)) => "revoked",
        (Some(times), _) if now <= times.pays_until => "pays",
        (Some(times), _) if times.grace_until.is_none_or(|end| now <= end) => "in-grace",
        _ => "expired",
    };
    let state = match (&issued, &spent) {
        (_, Some(_)) => "spent",
        (_, None) if live => "live",
        (Some(_), None) => "ended",
        (None, None) if dropped && was_issued => "gone",
        (None, None) => "never-issued",
    };
    let holder = issued.as_ref().map(holder_of);
    Ok(CoinReport {
        id: hex(issuer, number),
        number: format!("{}.{}.{}", number.epoch.0, number.denomination.0, number.counter),
        worth: worth(issuer, number),
        state: state.to_owned(),
        issued: issued.as_ref().map(line),
        holder: holder.map(|h| h.name().to_owned()),
        party: holder.and_then(|h| match h {
            HolderChoice::Named(id) => Some(id.to_string()),
            HolderChoice::Key(_) | HolderChoice::Nobody => None,
        }),
        split_into: spent.as_ref().map(|record| made(issuer, record)).unwrap_or_default(),
        spent: spent.as_ref().map(line),
        time: time.to_owned(),
        pays_until_unix_ms: times.map(|t| t.pays_until.0),
        grace_until_unix_ms: times.and_then(|t| t.grace_until).map(|end| end.0),
    })
}

/// What is paid for and not collected.
///
/// # Errors
/// `Store`.
pub fn pending(books: &House) -> Result<PendingReport, CoinStateError> {
    let waits: Vec<PendingIssuance> = books
        .books
        .scan(CLAIM)?
        .iter()
        .filter_map(|(_, document)| PendingIssuance::of(&document.value))
        .collect();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let currency = books.books.spec().registers.first().map(|r| r.denominations.currency());
    let sum = currency.and_then(|c| Amount::sum(waits.iter().map(|w| w.worth), c).ok());
    Ok(PendingReport {
        claims: count(waits.len()),
        worth: sum.map_or_else(String::new, |sum| sum.to_string()),
        named: count(waits.iter().filter(|w| w.named).count()),
    })
}

fn creates(record: &Record, number: TokenNumber) -> bool {
    record.core.created.iter().any(|issued| {
        let first = issued.first;
        let place = number.counter.checked_sub(first.counter);
        first == TokenNumber { counter: first.counter, ..number }
            && place.is_some_and(|place| place < u64::from(issued.count))
    })
}

/// The choice under which a record has issued: the list that it wrote says so, else nobody is named.
fn holder_of(record: &Record) -> HolderChoice {
    let written = record.core.documents.iter().filter(|w| w.key.kind == HOLDER);
    let mut lists = written.filter_map(|w| w.value.as_deref()).filter_map(HolderList::read);
    lists.next().map(|list| list.holder).unwrap_or_default()
}

fn line(record: &Record) -> RecordLine {
    let step = record.core.once.iter().find(|key| key.rail == RAIL_NUMBER).map(|key| step_title(key.step));
    let by = step.unwrap_or("another step").to_owned();
    RecordLine { by, record: record.core.seq.0, at_unix_ms: record.core.time.0 }
}

fn made(issuer: &Issuer, record: &Record) -> Vec<OtherCoin> {
    let numbers = record.core.created.iter().flat_map(florin_books::Issued::numbers);
    numbers.map(|n| OtherCoin { id: hex(issuer, n), worth: worth(issuer, n) }).collect()
}

fn hex(issuer: &Issuer, number: TokenNumber) -> String {
    HEXLOWER_PERMISSIVE.encode(&issuer.coin_id(number))
}

fn worth(issuer: &Issuer, number: TokenNumber) -> String {
    issuer.coin_worth(number).map_or_else(String::new, |amount| amount.to_string())
}

impl fmt::Display for CoinReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {}  {}  ({})", self.id, self.worth, self.state, self.number)?;
        if let Some(issued) = &self.issued {
            write!(f, "  issued   by {} in record {}", issued.by, issued.record)?;
            let holder = self.holder.as_deref().unwrap_or_default();
            let party = self.party.as_ref().map(|p| format!(" {p}")).unwrap_or_default();
            writeln!(f, ", {holder}{party}")?;
        }
        if let Some(spent) = &self.spent {
            writeln!(f, "  spent    by {} in record {}", spent.by, spent.record)?;
        }
        for coin in &self.split_into {
            writeln!(f, "  into     {}  {}", coin.id, coin.worth)?;
        }
        write!(f, "  time     {}", self.time)
    }
}

impl fmt::Display for PendingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} claims are paid for and not collected, {}", self.claims, self.worth)?;
        write!(f, "; {} by name", self.named)
    }
}
