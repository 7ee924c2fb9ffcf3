//! The calendar and the table over time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use florin_money::Currency;

use super::*;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

fn calendar() -> Calendar {
    Calendar::of(&Terms::default())
}

fn begun() -> Epochs {
    Epochs::begin(calendar(), NOW, &[])
}

fn days(n: u64) -> Timestamp {
    NOW.plus_ms(n * DAY_MS)
}

fn archived(at: Timestamp) -> Archived {
    Archived { digest: Digest([7; 32]), coins: 3, value: Amount::new(6, Currency::FLO), at }
}

const fn dropped(at: Timestamp) -> Dropped {
    Dropped { at, to: Account::Suspense }
}

#[test]
fn a_coin_pays_for_half_a_year_and_is_exchanged_for_three_more_months() {
    let calendar = calendar();
    let epoch = calendar.epoch_at(NOW);
    let days_left = calendar.expiry(epoch).since(NOW) / DAY_MS;
    assert!((180..=210).contains(&days_left), "{days_left}");
    assert_eq!(calendar.grace_end(epoch).map(|end| end.since(calendar.expiry(epoch)) / DAY_MS), Some(90));
    let endless = Calendar::of(&Terms { grace_days: None, ..Terms::default() });
    assert_eq!((endless.expiry(epoch), endless.grace_end(epoch)), (calendar.expiry(epoch), None));
}

#[test]
fn a_first_table_says_of_the_day_what_the_calendar_says_and_keeps_what_was_issued_before() {
    let (table, plain) = (begun(), Epochs::by_calendar(&Terms::default()));
    let number = table.issuing(NOW).unwrap();
    assert_eq!(plain.issuing(NOW), Some(number));
    assert_eq!(table.entry(number), plain.entry(number));
    let before = Epoch(number.0 - 3);
    let with = Epochs::begin(calendar(), NOW, &[before, Epoch(number.0 + 9)]);
    assert_eq!(with.entries().iter().map(|e| e.number).collect::<Vec<_>>(), [before, number]);
    assert_eq!(with.entry(before), plain.entry(before));
    assert_eq!(with.entry(Epoch(number.0 - 1)), None);
    assert_eq!(with.admits(Epoch(number.0 - 1), Purpose::Pay, NOW), Err(CoinCause::Forged));
    assert_eq!(Epochs::read(calendar(), &with.to_bytes()), Some(with));
}

#[test]
fn the_schedule_makes_each_epoch_ahead_of_time_and_once() {
    let mut table = begun();
    let first = table.entries()[0];
    assert_eq!(table.schedule(first.until.minus_ms(AHEAD_MS + 1)), Ok(None));
    let ahead = first.until.minus_ms(AHEAD_MS);
    for n in 1..6u16 {
        let now = ahead.plus_ms(u64::from(n - 1) * 30 * DAY_MS);
        table = table.schedule(now).unwrap().unwrap();
        assert_eq!(table.schedule(now), Ok(None), "once");
        let last = *table.entries().last().unwrap();
        assert_eq!(last.number.0, first.number.0 + n);
        assert_eq!(table.issuing(now).map(|e| e.0), Some(last.number.0 - 1), "not begun");
        assert_eq!(table.state(last.number, now), Some(EpochState::Next));
        assert_eq!(table.issuing(last.from), Some(last.number));
        assert_eq!(last.until.since(last.from), 30 * DAY_MS);
    }
    let long_after = table.entries().last().unwrap().until.plus_ms(100 * DAY_MS);
    assert_eq!(table.issuing(long_after), Some(table.entries().last().unwrap().number), "never nobody");
    let late = table.schedule(long_after).unwrap().unwrap();
    assert_eq!(late.entries().last().unwrap().from, long_after, "what was missed is not made up for");
}

#[test]
fn a_rotation_changes_the_epoch_at_once_and_no_expiry() {
    let table = begun();
    let old = table.entries()[0];
    let rotated = table.rotate(days(1)).unwrap();
    let new = rotated.entries()[1];
    assert_eq!((new.number.0, new.from), (old.number.0 + 1, days(1)));
    assert_eq!(rotated.issuing(days(1)), Some(new.number));
    assert_eq!((rotated.entries()[0].until, rotated.entries()[0].expires), (days(1), old.expires));
    assert_eq!(rotated.admits(old.number, Purpose::Pay, days(1)), Ok(()));
    assert_eq!(rotated.state(old.number, days(1)), Some(EpochState::Retired));
    // One that was made ahead of time stays in the table and never issues: its key was there to be seen.
    let at = old.until.minus_ms(1);
    let ahead = table.schedule(at).unwrap().unwrap();
    let next = ahead.entries()[1];
    let early = ahead.rotate(at).unwrap();
    let newest = early.entries()[2];
    assert_eq!((early.entries()[1], newest.number.0, newest.from), (next, next.number.0 + 1, at));
    for when in [at, next.from, next.from.plus_ms(DAY_MS), newest.until.plus_ms(DAY_MS)] {
        assert_eq!(early.issuing(when), Some(newest.number));
    }
    let late = early.revoke(newest.number, next.from).unwrap();
    assert_eq!(late.issuing(next.from).map(|e| e.0), Some(newest.number.0 + 1), "not even then");
    assert_eq!(early.begun_since(&ahead).collect::<Vec<_>>(), [newest.number]);
    assert_eq!(early.begun_since(&early).count(), 0);
}

#[test]
fn a_revoked_epoch_does_not_pay_and_is_exchanged_until_the_end() {
    let table = begun();
    let old = table.entries()[0];
    let revoked = table.revoke(old.number, days(1)).unwrap();
    assert_eq!(revoked.issuing(days(1)).map(|e| e.0), Some(old.number.0 + 1), "another begins");
    let admits = |purpose, at| revoked.admits(old.number, purpose, at);
    for purpose in [Purpose::Pay, Purpose::Change] {
        assert_eq!(admits(purpose, days(1)), Err(CoinCause::Revoked));
        assert_eq!(admits(purpose, days(1).minus_ms(1)), Ok(()));
    }
    let end = old.grace_end.unwrap();
    for purpose in [Purpose::Refresh, Purpose::Redeem] {
        assert_eq!(admits(purpose, end), Ok(()));
        assert_eq!(admits(purpose, end.plus_ms(1)), Err(CoinCause::Expired));
    }
    let again = revoked.revoke(old.number, days(2));
    assert_eq!(again, Err(EpochError::Already(old.number, EpochState::Revoked)));
    let unknown = Epoch(old.number.0 + 9);
    assert_eq!(revoked.revoke(unknown, days(2)), Err(EpochError::Unknown(unknown)));
    // An older one: what is issued goes on.
    let rotated = table.rotate(days(1)).unwrap();
    let older = rotated.revoke(old.number, days(2)).unwrap();
    assert_eq!(older.entries().len(), 2);
    assert_eq!(older.issuing(days(2)), rotated.issuing(days(2)));
    let ahead = table.schedule(old.until.minus_ms(1)).unwrap().unwrap();
    let next = ahead.entries()[1].number;
    assert_eq!(ahead.revoke(next, days(1)), Err(EpochError::NotBegun(next)));
}

#[test]
fn an_epoch_is_archived_after_its_end_and_dropped_after_that() {
    let table = begun().rotate(days(1)).unwrap();
    let old = table.entries()[0];
    let end = old.grace_end.unwrap();
    assert_eq!(table.archive(old.number, archived(end)), Err(EpochError::InUse(old.number)));
    assert_eq!(
        table.drop_epoch(old.number, dropped(end.plus_ms(1))),
        Err(EpochError::NotArchived(old.number))
    );
    let kept = table.archive(old.number, archived(end.plus_ms(1))).unwrap();
    assert_eq!(kept.state(old.number, end), Some(EpochState::Archived));
    let gone = kept.drop_epoch(old.number, dropped(end.plus_ms(2))).unwrap();
    let already = Err(EpochError::Already(old.number, EpochState::Dropped));
    assert_eq!(gone.drop_epoch(old.number, dropped(end.plus_ms(3))), already);
    assert_eq!(gone.archive(old.number, archived(end.plus_ms(3))), already);
    assert_eq!(
        gone.admits(old.number, Purpose::Redeem, NOW),
        Err(CoinCause::Expired),
        "whatever the clock says"
    );
    assert_eq!(gone.published().len(), 1);
    assert_eq!(Epochs::read(calendar(), &gone.to_bytes()), Some(gone));
}

#[test]
fn without_an_end_of_grace_the_calendar_closes_nothing_but_a_person_can() {
    let table = Epochs::begin(calendar().without_end(), NOW, &[]).rotate(days(1)).unwrap();
    let old = table.entries()[0];
    let late = days(100_000);
    assert_eq!(old.grace_end, None);
    assert_eq!(table.admits(old.number, Purpose::Redeem, late), Ok(()));
    assert!(!old.is_over(late) && old.may_close(late) && !old.may_close(old.expires));
    assert!(table.archive(old.number, archived(late)).is_ok());
}

#[test]
fn numbers_end_and_a_table_out_of_order_is_none() {
    let mut table = begun();
    table.entries[0].number = Epoch(u16::MAX);
    assert_eq!(table.rotate(days(1)), Err(EpochError::Full));
    let mut swapped = begun().rotate(days(1)).unwrap();
    swapped.entries.swap(0, 1);
    assert_eq!(Epochs::read(calendar(), &swapped.to_bytes()), None);
    assert_eq!(Epochs::read(calendar(), &[0x81, 0x80]), None, "no epoch at all");
}
