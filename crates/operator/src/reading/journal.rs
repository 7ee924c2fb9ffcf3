//! The journal, record by record, in words: one page at a time, so that however long it is, little of it is in memory.
//! Source: books.md, "The parts" (journal).

use std::collections::VecDeque;
use std::fmt;

use florin_books::{LaneId, Record, Seq, Timestamp};
use florin_money::Currency;
use florin_shell::house::House;
use florin_shell::utc::utc_ms;
use florin_store::StoreError;
use serde::{Deserialize, Serialize};

use super::csv_row;
use super::words::words;
use super::{
    CoinsLine, Money, ReadingError, account_code, coins, currency_of, exponent_of, lane_name, lane_named,
};
use crate::lanes::{BOOKS, IDENTITY, Lanes};

/// Lines of a page.
const LINES_MAX: usize = 500;
/// Records looked at for a page, where few of them are wanted.
const LOOKED_AT_MAX: usize = 20_000;
/// Records read at a time.
const CHUNK: usize = 256;

/// How far the two lanes were read: the next record of each, and the last that is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct JournalPlace {
    /// The next of the identity lane.
    pub identity: u64,
    /// The next of the books lane.
    pub books: u64,
    /// The last wanted of the identity lane.
    pub identity_last: u64,
    /// The last wanted of the books lane.
    pub books_last: u64,
}

/// Which records are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalQuery {
    /// Of this lane only.
    pub lane: Option<String>,
    /// From this record on, of the one lane.
    pub from: Option<u64>,
    /// Up to this record, of the one lane.
    pub to: Option<u64>,
    /// From this time on, in milliseconds.
    pub from_time: Option<u64>,
    /// Up to this time.
    pub to_time: Option<u64>,
    /// That post on this account, or on one below it.
    pub account: Option<String>,
    /// That are of this kind.
    pub kind: Option<String>,
    /// That post on any account.
    pub posted: bool,
    /// Where the page before has ended.
    pub place: Option<JournalPlace>,
}

/// One posting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PostingLine {
    /// On which account.
    pub account: String,
    /// By how much; debit positive.
    #[serde(flatten)]
    pub money: Money,
    /// In which currency.
    pub currency: String,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JournalLine {
    /// Of which lane.
    pub lane: String,
    /// Its place there.
    pub seq: u64,
    /// Lane time, in RFC 3339.
    pub time: String,
    /// What it was, in one word.
    pub what: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Whose request it was, if it had a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<String>,
    /// The request's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What it posted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub postings: Vec<PostingLine>,
    /// Coins that it spent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spent: Vec<CoinsLine>,
    /// Coins that it issued.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issued: Vec<CoinsLine>,
}

/// A part of the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JournalPage {
    /// Oldest first; of one time, the identity lane first.
    pub lines: Vec<JournalLine>,
    /// Where the next page begins; none where this is the last.
    pub next: Option<JournalPlace>,
}

/// One lane, read from its next record on.
struct Reader<'a> {
    house: &'a House,
    lane: LaneId,
    next: u64,
    last: u64,
    waiting: VecDeque<Record>,
}

impl Reader<'_> {
    /// The next record, read if it has to be.
    fn peek(&mut self) -> Result<Option<&Record>, StoreError> {
        if self.waiting.is_empty() && self.next <= self.last {
            self.waiting = self.house.books.read(Seq(self.next), CHUNK)?.into();
            // Nothing wanted is left: what is not there any more is older than what is.
            if self.waiting.front().is_none_or(|r| r.core.seq.0 > self.last) {
                self.last = 0;
            }
        }
        Ok(self.waiting.front().filter(|r| r.core.seq.0 <= self.last))
    }

    fn take(&mut self) -> Option<Record> {
        let record = self.waiting.pop_front()?;
        self.next = record.core.seq.next().0;
        Some(record)
    }

    const fn is_over(&self) -> bool {
        self.next > self.last
    }
}

impl JournalQuery {
    /// Where the first page begins; what is committed from now on is not in it.
    fn begin(&self, lanes: &Lanes) -> Result<JournalPlace, ReadingError> {
        let only = self.lane.as_deref().map(lane_named).transpose()?;
        let place = |house: &House, id| -> Result<(u64, u64), ReadingError> {
            let durable = house.books.durable().0;
            if only.is_some_and(|lane| lane != id) {
                return Ok((1, 0));
            }
            let mut first = self.from.unwrap_or(1).max(1);
            if let Some(time) = self.from_time {
                first = first.max(first_at(house, Timestamp(time), durable)?);
            }
            let mut last = self.to.unwrap_or(u64::MAX).min(durable);
            if let Some(time) = self.to_time {
                last = last.min(first_at(house, Timestamp(time).plus_ms(1), durable)?.saturating_sub(1));
            }
            Ok((first, last))
        };
        let ((identity, identity_last), (books, books_last)) =
            (place(&lanes.identity, IDENTITY)?, place(&lanes.books, BOOKS)?);
        Ok(JournalPlace { identity, books, identity_last, books_last })
    }

    fn wants(&self, line: &JournalLine) -> bool {
        let below = |account: &str, wanted: &str| {
            account.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        let account =
            self.account.as_deref().is_none_or(|w| line.postings.iter().any(|p| below(&p.account, w)));
        let kind = self.kind.as_deref().is_none_or(|k| line.what == k);
        account && kind && !(self.posted && line.postings.is_empty())
    }
}

/// The first record at a time or later; lane time never goes back.
fn first_at(house: &House, time: Timestamp, durable: u64) -> Result<u64, ReadingError> {
    let (mut low, mut high) = (1, durable.saturating_add(1));
    while low < high {
        let middle = low.saturating_add(high.saturating_sub(low) / 2);
        // What is not there any more is older than what is.
        let earlier = house.books.record(Seq(middle))?.is_none_or(|r| r.core.time < time);
        if earlier {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// One page of the journal of both lanes, in order of time.
///
/// # Errors
/// [`ReadingError`].
pub fn journal_page(lanes: &Lanes, query: &JournalQuery) -> Result<JournalPage, ReadingError> {
    let place = match query.place {
        Some(place) => place,
        None => query.begin(lanes)?,
    };
    let currency = currency_of(lanes);
    let reader = |house, lane, next: u64, last: u64| {
        let last = last.min(durable(house));
        Reader { house, lane, next: next.max(1), last, waiting: VecDeque::new() }
    };
    let mut identity = reader(&lanes.identity, IDENTITY, place.identity, place.identity_last);
    let mut books = reader(&lanes.books, BOOKS, place.books, place.books_last);
    let mut lines = Vec::new();
    for _ in 0..LOOKED_AT_MAX {
        if lines.len() >= LINES_MAX {
            break;
        }
        let times = (identity.peek()?.map(|r| r.core.time), books.peek()?.map(|r| r.core.time));
        let reader = match times {
            (Some(i), Some(b)) if b < i => &mut books,
            (Some(_), _) => &mut identity,
            (None, Some(_)) => &mut books,
            (None, None) => break,
        };
        if let Some(record) = reader.take() {
            let line = line(&record, reader.lane, reader.house, currency);
            lines.extend(query.wants(&line).then_some(line));
        }
    }
    let over = identity.is_over() && books.is_over();
    let next = JournalPlace { identity: identity.next, books: books.next, ..place };
    Ok(JournalPage { lines, next: (!over).then_some(next) })
}

fn line(record: &Record, lane: LaneId, house: &House, known: Currency) -> JournalLine {
    let (core, spec) = (&record.core, house.books.spec());
    let named = words(record);
    let posting = |p: &florin_books::Posting| PostingLine {
        account: account_code(&p.account),
        money: Money::new(p.delta, exponent_of(p.currency, known)),
        currency: p.currency.to_string(),
    };
    JournalLine {
        lane: lane_name(lane).into(),
        seq: core.seq.0,
        time: utc_ms(core.time),
        what: named.what,
        detail: named.detail,
        party: named.party.map(|p| p.to_string()),
        request: named.request.map(|r| data_encoding::HEXLOWER.encode(&r)),
        postings: core.postings.iter().map(posting).collect(),
        spent: coins::spent(&core.consumed, spec),
        issued: coins::issued(&core.created, spec),
    }
}

/// The headings of [`JournalLine::csv`].
const HEADINGS: [&str; 13] = [
    "lane", "seq", "time", "what", "party", "request", "line", "account", "currency", "amount", "minor",
    "epoch", "count",
];

impl JournalLine {
    /// The line of headings.
    #[must_use]
    pub fn csv_headings() -> String {
        csv_row(&HEADINGS)
    }

    /// For programs: a row for each posting, for each kind of coin spent and issued; a record with none of these has one
    /// row of its own. `line` says which: `posting`, `spent`, `issued`, `record`. Coins stand with their worth.
    #[must_use]
    pub fn csv(&self) -> String {
        let seq = self.seq.to_string();
        let (party, request) =
            (self.party.clone().unwrap_or_default(), self.request.clone().unwrap_or_default());
        let head = [&*self.lane, &*seq, &*self.time, &*self.what, &*party, &*request];
        let row = |rest: [&str; 7]| csv_row(&[head.as_slice(), rest.as_slice()].concat());
        let mut text = String::new();
        for p in &self.postings {
            let minor = p.money.minor.to_string();
            text.push_str(&row(["posting", &p.account, &p.currency, &p.money.amount, &minor, "", ""]));
        }
        for (word, all) in [("spent", &self.spent), ("issued", &self.issued)] {
            for c in all {
                let (minor, epoch, count) =
                    (c.worth.minor.to_string(), c.epoch.to_string(), c.count.to_string());
                text.push_str(&row([word, "", "", &c.worth.amount, &minor, &epoch, &count]));
            }
        }
        if text.is_empty() { row(["record", "", "", "", "", "", ""]) } else { text }
    }
}

impl fmt::Display for JournalLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = format!("{}:{}", self.lane, self.seq);
        write!(f, "{place:<14} {}  {}", self.time, self.what)?;
        if !self.detail.is_empty() {
            write!(f, "  {}", self.detail)?;
        }
        if let Some(party) = &self.party {
            write!(f, "  by {party}")?;
        }
        for p in &self.postings {
            write!(f, "\n    {:<60} {:>16} {}", p.account, p.money.amount, p.currency)?;
        }
        for (word, all) in [("spent", &self.spent), ("issued", &self.issued)] {
            for c in all {
                let coins = format!("{word} {} x {} of epoch {}", c.count, c.value.amount, c.epoch);
                write!(f, "\n    {coins:<60} {:>16}", c.worth.amount)?;
            }
        }
        Ok(())
    }
}

fn durable(house: &House) -> u64 {
    house.books.durable().0
}
