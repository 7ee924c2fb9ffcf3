//! Every account with its balance, in both lanes and together; the whole sums to zero.
//! Source: books.md, "The rules every commit obeys" (zero-sum).

use std::collections::BTreeMap;
use std::fmt;

use florin_books::{Account, Opening};
use florin_money::{Currency, CurrencyCode};
use florin_shell::house::House;
use florin_shell::utc::utc_ms;
use florin_store::StoreError;
use serde::{Deserialize, Serialize};

use super::{
    Group, Money, PostingLine, ReadingError, Table, account_code, currency_of, exponent_of, lane_name,
};
use crate::lanes::{BOOKS, IDENTITY, Lanes};

/// How far a lane was when it was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LaneHead {
    /// Which.
    pub lane: String,
    /// Its last record.
    pub seq: u64,
    /// Lane time, in RFC 3339.
    pub time: String,
    /// Where its journal begins, if records were dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<OpeningLine>,
}

/// What stands in place of a lane's dropped records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpeningLine {
    /// The last record that is not there any more.
    pub seq: u64,
    /// Lane time there, in RFC 3339.
    pub time: String,
    /// Every balance there that was not zero.
    pub balances: Vec<PostingLine>,
}

/// One account in one currency. Debit is positive, credit negative.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountRow {
    /// On which side it stands.
    pub group: Group,
    /// Its name for programs.
    pub account: String,
    /// What people call it.
    pub title: String,
    /// In which currency.
    pub currency: String,
    /// In the identity lane.
    pub identity: Money,
    /// In the books lane.
    pub books: Money,
    /// Both.
    pub together: Money,
}

/// Everything in one currency, or one group of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TotalRow {
    /// Which group; none for all of them, which is zero.
    pub group: Option<Group>,
    /// In which currency.
    pub currency: String,
    /// In the identity lane.
    pub identity: Money,
    /// In the books lane.
    pub books: Money,
    /// Both.
    pub together: Money,
}

/// All accounts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountsReport {
    /// How far each lane was.
    pub lanes: Vec<LaneHead>,
    /// Every account that is not zero in one of the lanes.
    pub accounts: Vec<AccountRow>,
    /// By group, and all together.
    pub totals: Vec<TotalRow>,
}

impl AccountsReport {
    /// The last record of a lane.
    #[must_use]
    pub fn seq(&self, lane: &str) -> u64 {
        self.lanes.iter().find(|l| l.lane == lane).map_or(0, |l| l.seq)
    }

    /// For programs: one row for each account, then one for each currency with what they sum to.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut table = Table::new(&[
            "group",
            "account",
            "currency",
            "identity",
            "identity_minor",
            "books",
            "books_minor",
            "together",
            "together_minor",
        ]);
        let rows = self.accounts.iter().map(|a| {
            (a.group.word(), a.account.as_str(), a.currency.as_str(), [&a.identity, &a.books, &a.together])
        });
        let totals = self.totals.iter().filter(|t| t.group.is_none());
        let totals = totals.map(|t| ("total", "", t.currency.as_str(), [&t.identity, &t.books, &t.together]));
        for (group, account, currency, amounts) in rows.chain(totals) {
            let mut row = vec![group.to_owned(), account.to_owned(), currency.to_owned()];
            row.extend(amounts.iter().flat_map(|m| [m.amount.clone(), m.minor.to_string()]));
            table.push(row);
        }
        table.csv()
    }
}

impl fmt::Display for AccountsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["Account", ">Identity", ">Books", ">Together", ""]);
        let amounts = |m: [&Money; 3], currency: &str| {
            m.into_iter().map(|m| m.amount.clone()).chain([currency.to_owned()]).collect::<Vec<_>>()
        };
        let row = |title: String, m, currency: &str| [vec![title], amounts(m, currency)].concat();
        for group in Group::ALL {
            table.push(vec![group.title().into()]);
            for a in self.accounts.iter().filter(|a| a.group == group) {
                table.push(row(format!("  {}", a.title), [&a.identity, &a.books, &a.together], &a.currency));
            }
            for t in self.totals.iter().filter(|t| t.group == Some(group)) {
                table.push(row("  =".into(), [&t.identity, &t.books, &t.together], &t.currency));
            }
        }
        for t in self.totals.iter().filter(|t| t.group.is_none()) {
            table.push(row("Everything".into(), [&t.identity, &t.books, &t.together], &t.currency));
        }
        writeln!(f, "Accounts (debit positive, owed negative)")?;
        write!(f, "{table}")?;
        for lane in &self.lanes {
            write!(f, "\nlane {}: {} records, to {}", lane.lane, lane.seq, lane.time)?;
        }
        Ok(())
    }
}

fn opening(house: &House, known: Currency) -> Result<Option<OpeningLine>, ReadingError> {
    let Some(stored) = house.books.opening()? else { return Ok(None) };
    let wrong = |_| StoreError::Damaged { file: "an opening".into(), why: "it cannot be read" };
    let opening = Opening::of_state(house.books.spec().clone(), &stored.state).map_err(wrong)?;
    let line = |(account, code, balance): &(Account, CurrencyCode, i64)| PostingLine {
        account: account_code(account),
        money: Money::new(*balance, exponent_of(*code, known)),
        currency: code.to_string(),
    };
    let balances = opening.balances.iter().map(line).collect();
    Ok(Some(OpeningLine { seq: opening.seq.0, time: utc_ms(opening.time), balances }))
}

/// Reads both lanes, each at one moment of its own.
///
/// # Errors
/// [`ReadingError`].
pub fn accounts(lanes: &Lanes) -> Result<AccountsReport, ReadingError> {
    let known = currency_of(lanes);
    let mut heads = Vec::with_capacity(2);
    let mut all: BTreeMap<(Group, Account, CurrencyCode), [i64; 2]> = BTreeMap::new();
    let mut totals: BTreeMap<(CurrencyCode, Option<Group>), [i64; 2]> = BTreeMap::new();
    for (place, (house, id)) in [(&lanes.identity, IDENTITY), (&lanes.books, BOOKS)].into_iter().enumerate() {
        let (seq, time, balances) =
            house.books.view(|l| (l.seq(), l.time(), l.balances().collect::<Vec<_>>()))?;
        let opening = opening(house, known)?;
        heads.push(LaneHead { lane: lane_name(id).into(), seq: seq.0, time: utc_ms(time), opening });
        for (account, code, balance) in balances {
            let group = Group::of(&account);
            let add = |sums: &mut [i64; 2]| {
                if let Some(sum) = sums.get_mut(place) {
                    *sum = sum.saturating_add(balance);
                }
            };
            add(all.entry((group, account, code)).or_default());
            add(totals.entry((code, Some(group))).or_default());
            add(totals.entry((code, None)).or_default());
        }
    }
    let money = |code, [identity, books]: [i64; 2]| {
        let exponent = exponent_of(code, known);
        [identity, books, identity.saturating_add(books)].map(|m| Money::new(m, exponent))
    };
    let accounts = all.into_iter().map(|((group, account, code), balance)| {
        let [identity, books, together] = money(code, balance);
        let (name, title) = (account_code(&account), account.title());
        AccountRow { group, account: name, title, currency: code.to_string(), identity, books, together }
    });
    let totals = totals.into_iter().map(|((code, group), balance)| {
        let [identity, books, together] = money(code, balance);
        TotalRow { group, currency: code.to_string(), identity, books, together }
    });
    Ok(AccountsReport { lanes: heads, accounts: accounts.collect(), totals: totals.collect() })
}
