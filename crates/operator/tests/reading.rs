//! The books for people: accounts that sum to zero, the journal page by page, circulation by denomination, epoch and age.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{Seq, Timestamp, Transition};
use florin_coin::Epochs;
use florin_crypto::digest;
use florin_operator::reading::{
    By, JournalLine, JournalQuery, ReadingError, accounts, circulation, journal_page,
};
use florin_parties::bank::{BankNews, Direction};
use support::Town;

/// Every record that is wanted, and how many pages it took.
fn journal(town: &Town, query: JournalQuery) -> (Vec<JournalLine>, usize) {
    let (mut query, mut lines, mut pages) = (query, Vec::new(), 0);
    loop {
        let page = journal_page(&town.operator.lanes, &query).unwrap();
        lines.extend(page.lines);
        pages += 1;
        match page.next {
            Some(next) => query.place = Some(next),
            None => return (lines, pages),
        }
    }
}

/// As in practice: capital, a pay-out, one that came back, one that was rejected, coins of two epochs.
async fn busy() -> Town {
    let town = Town::new();
    town.bank.credits(10_000, "FLORIN CAPITAL");
    town.bank.credits(77, "who knows");
    town.news().await;
    let back = town.pays(1_250).await;
    town.bank.enters(1_250, Some(back), "return");
    town.bank.tells(BankNews::Returned(back, "AC04".into()));
    let no = town.asks(Direction::Credit, 40).await;
    town.sends().await;
    town.bank.tells(BankNews::Rejected(no, "AM04".into()));
    town.news().await;
    town.issues(680, 200, 3);
    town.issues(685, 200, 1);
    town.issues(685, 5, 10);
    town
}

#[tokio::test]
async fn the_accounts_sum_to_zero_and_say_so() {
    let town = busy().await;
    let report = accounts(&town.operator.lanes).unwrap();
    let everything = report.totals.iter().find(|t| t.group.is_none()).unwrap();
    assert_eq!([everything.identity.minor, everything.books.minor, everything.together.minor], [0, 0, 0]);
    let bank = report.accounts.iter().find(|a| a.account == "assets:bank:0").unwrap();
    assert_eq!((bank.identity.amount.as_str(), bank.books.minor, bank.together.minor), ("100.77", 0, 10_077));
    let coins = report.accounts.iter().find(|a| a.account == "liabilities:circulation:0").unwrap();
    assert_eq!((coins.together.amount.as_str(), coins.identity.minor), ("-8.50", 0));
    let suspense = report.accounts.iter().find(|a| a.account == "equity:suspense").unwrap();
    assert_eq!([suspense.identity.minor, suspense.books.minor, suspense.together.minor], [-77, 850, 773]);
    let text = report.to_string();
    assert!(text.lines().any(|l| l.starts_with("Everything") && l.contains("0.00")), "{text}");
    let csv = report.csv();
    assert!(csv.starts_with(
        "group,account,currency,identity,identity_minor,books,books_minor,together,together_minor\r\n"
    ));
    assert!(csv.contains("assets,assets:bank:0,FLO,100.77,10077,0.00,0,100.77,10077\r\n"), "{csv}");
    assert!(csv.ends_with("total,,FLO,0.00,0,0.00,0,0.00,0\r\n"), "{csv}");
    let back: florin_operator::reading::AccountsReport =
        serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(back, report);
}

#[tokio::test]
async fn the_journal_says_in_words_what_happened() {
    let town = busy().await;
    let (lines, _) =
        journal(&town, JournalQuery { lane: Some("identity".into()), ..JournalQuery::default() });
    assert!(lines.iter().zip(1..).all(|(l, n)| l.seq == n), "every record once, in order");
    assert_eq!(lines.len(), usize::try_from(town.operator.lanes.identity.books.durable().0).unwrap());
    let words: Vec<String> = lines.iter().map(|l| format!("{} {}", l.what, l.detail)).collect();
    let mut at = words.iter();
    for expected in [
        "keys-in-use",
        "bank-credited capital",
        "bank-credited nobody expected it",
        "bank-news-read",
        "rail",
        "bank-accepted order_",
        "bank-booked order_",
        "bank-returned order_",
        "bank-rejected order_",
    ] {
        let expected = if expected == "rail" { "pay-out-again" } else { expected };
        assert!(at.any(|w| w.starts_with(expected)), "{expected} does not follow in {words:#?}");
    }
    let returned = lines.iter().find(|l| l.what == "bank-returned").unwrap();
    assert!(returned.detail.ends_with("AC04"), "{}", returned.detail);
    assert_eq!(returned.postings.iter().map(|p| p.money.minor).sum::<i64>(), 0);
    let (coins, _) = journal(&town, JournalQuery { lane: Some("books".into()), ..JournalQuery::default() });
    let last = coins.last().unwrap();
    assert_eq!(
        (last.issued[0].epoch, last.issued[0].count, &*last.issued[0].worth.amount),
        (685, 10, "0.50")
    );
    let csv: String = lines.iter().map(JournalLine::csv).collect();
    assert!(csv.lines().all(|l| l.split(',').count() == 13), "{csv}");
    let text = last.to_string();
    assert!(
        text.contains("liabilities:circulation:0") && text.contains("issued 10 x 0.05 of epoch 685"),
        "{text}"
    );
}

#[tokio::test]
async fn the_journal_is_asked_by_place_time_account_and_kind() {
    let town = busy().await;
    let all = journal(&town, JournalQuery::default()).0;
    let of = |query| journal(&town, query).0;
    let some = of(JournalQuery {
        lane: Some("identity".into()),
        from: Some(3),
        to: Some(5),
        ..JournalQuery::default()
    });
    assert_eq!(some.iter().map(|l| l.seq).collect::<Vec<_>>(), [3, 4, 5]);
    let bank = of(JournalQuery { account: Some("assets:bank".into()), ..JournalQuery::default() });
    assert_eq!(bank.len(), 4);
    assert!(of(JournalQuery { account: Some("assets:ban".into()), ..JournalQuery::default() }).is_empty());
    let booked = of(JournalQuery { kind: Some("bank-booked".into()), ..JournalQuery::default() });
    assert_eq!(booked.len(), 1);
    let at = florin_shell::utc::parse(&booked[0].time).unwrap();
    let Timestamp(ms) = at;
    let now = of(JournalQuery { from_time: Some(ms), to_time: Some(ms), ..JournalQuery::default() });
    let expected: Vec<_> = all.iter().filter(|l| l.time == booked[0].time).cloned().collect();
    assert_eq!(now, expected);
    let before = of(JournalQuery { to_time: Some(ms - 1), ..JournalQuery::default() });
    let after = of(JournalQuery { from_time: Some(ms), ..JournalQuery::default() });
    assert_eq!([before, after].concat(), all);
    assert!(of(JournalQuery { from_time: Some(u64::MAX), ..JournalQuery::default() }).is_empty());
    let wrong = journal_page(
        &town.operator.lanes,
        &JournalQuery { lane: Some("third".into()), ..JournalQuery::default() },
    );
    assert!(matches!(wrong, Err(ReadingError::Lane(_))));
}

#[tokio::test]
async fn a_long_journal_comes_in_pages_and_what_happens_meanwhile_is_not_in_them() {
    let town = Town::new();
    let books = &town.operator.lanes.books.books;
    let write = |n: u64| {
        let mut t = Transition::new(digest("test/page", &[&n.to_be_bytes()]), Seq(0));
        t.as_of = books.durable();
        t.seed = vec![1; 10];
        books.commit(t).unwrap();
    };
    // What stands there from the start: keys in use, the table of epochs.
    let begun = books.durable().0;
    (begun..1_300).for_each(write);
    let (lines, pages) = journal(&town, JournalQuery::default());
    assert_eq!((lines.len(), pages), (1_301, 3));
    let seqs: Vec<_> = lines.iter().filter(|l| l.lane == "books").map(|l| l.seq).collect();
    assert_eq!(seqs, (1..=1_300).collect::<Vec<_>>());
    // The end was fixed with the first page.
    let mut query = JournalQuery { lane: Some("books".into()), ..JournalQuery::default() };
    let first = journal_page(&town.operator.lanes, &query).unwrap();
    write(9_999);
    query.place = first.next;
    let (rest, _) = journal(&town, query);
    assert_eq!(first.lines.len() + rest.len(), 1_300);
    // A filter that finds nothing still comes to an end.
    let (none, _) = journal(&town, JournalQuery { kind: Some("payment".into()), ..JournalQuery::default() });
    assert!(none.is_empty());
}

#[tokio::test]
async fn circulation_by_denomination_epoch_and_age() {
    let town = busy().await;
    let epochs = Epochs::by_calendar(&town.operator.config.terms());
    // The middle of epoch 685.
    let now = Timestamp((685 * 30 + 15) * 86_400_000);
    let of = |by| circulation(&town.operator.lanes, &epochs, by, now).unwrap();
    let by_value = of(By::Denomination);
    let rows: Vec<_> =
        by_value.rows.iter().map(|r| (r.value.as_ref().unwrap().minor, r.live, r.live_worth.minor)).collect();
    assert_eq!(rows, [(5, 10, 50), (200, 4, 800)]);
    let by_epoch = of(By::Epoch);
    let rows: Vec<_> = by_epoch.rows.iter().map(|r| (r.epoch, r.age, r.state.as_deref(), r.live)).collect();
    assert_eq!(rows, [(Some(680), Some(5), Some("retired"), 3), (Some(685), Some(0), Some("issuing"), 11)]);
    // Epoch 680 ends after 681 times 30 days; it pays for 180 more and is exchanged for 90 more.
    let day = |days: u64| florin_shell::utc::date(Timestamp(days * 86_400_000));
    assert_eq!(by_epoch.rows[0].expires, Some(day(681 * 30 + 180)));
    assert_eq!(by_epoch.rows[0].grace_ends, Some(day(681 * 30 + 270)));
    let by_age = of(By::Age);
    assert_eq!(by_age.rows.iter().map(|r| r.age).collect::<Vec<_>>(), [Some(0), Some(5)]);
    for report in [&by_value, &by_epoch, &by_age] {
        let total = &report.total;
        assert_eq!((total.live, total.live_worth.amount.as_str(), total.issued), (14, "8.50", 14));
        assert_eq!(report.rows.iter().map(|r| r.live_worth.minor).sum::<i64>(), total.live_worth.minor);
        assert!(report.csv().lines().all(|l| l.split(',').count() == 15), "{}", report.csv());
        assert!(report.to_string().lines().last().unwrap().contains("together"));
    }
    // Later the coins of 680 can only be exchanged, then not even that.
    for (days, state) in [(681 * 30 + 181, "expired"), (681 * 30 + 271, "over")] {
        let later =
            circulation(&town.operator.lanes, &epochs, By::Epoch, Timestamp(days * 86_400_000)).unwrap();
        assert_eq!(later.rows[0].state.as_deref(), Some(state));
    }
}
