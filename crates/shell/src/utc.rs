//! Times as people and other programs write them: RFC 3339, in UTC.
//! Source: RFC 3339; H. Hinnant, "chrono-compatible low-level date algorithms".

use florin_books::Timestamp;

const DAY_S: u64 = 86_400;
/// The last second of the year 9999: no later time can be written.
const LAST_S: u64 = 253_402_300_799;

/// `2026-11-21T08:30:05.123Z`.
#[must_use]
pub fn utc_ms(at: Timestamp) -> String {
    let at = Timestamp(at.0.min(LAST_S.saturating_mul(1000).saturating_add(999)));
    format!("{}T{}.{:03}Z", date(at), clock(at), at.0 % 1000)
}

/// `2026-11-21T08:30:05Z`.
#[must_use]
pub fn utc(at: Timestamp) -> String {
    format!("{}T{}Z", date(at), clock(at))
}

/// `2026-11-21`.
#[must_use]
pub fn date(at: Timestamp) -> String {
    let (year, month, day) = civil(at.unix_s() / DAY_S);
    format!("{year:04}-{month:02}-{day:02}")
}

fn clock(at: Timestamp) -> String {
    let rest = at.unix_s() % DAY_S;
    format!("{:02}:{:02}:{:02}", rest / 3600, (rest / 60) % 60, rest % 60)
}

/// Reads a time: `2026-11-21` (its first moment), `2026-11-21T08:30:05Z`, with or without up to nine decimals of a
/// second; what is finer than a millisecond is cut. Only `Z`: nothing here knows a time zone.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let (day, time) = match text.split_once(['T', 't', ' ']) {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    let [year, month, of_month] = numbers(day, '-', [4, 2, 2])?;
    let days = days_from_civil(year, month, of_month)?;
    let mut ms = days.checked_mul(DAY_S)?.checked_mul(1000)?;
    if let Some(time) = time {
        let time = time.strip_suffix(['Z', 'z'])?;
        let (whole, decimals) = time.split_once('.').unwrap_or((time, "0"));
        let [hour, minute, second] = numbers(whole, ':', [2, 2, 2])?;
        let digits =
            !decimals.is_empty() && decimals.len() <= 9 && decimals.bytes().all(|b| b.is_ascii_digit());
        if hour > 23 || minute > 59 || second > 59 || !digits {
            return None;
        }
        let seconds = hour.checked_mul(3600)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)?;
        let padded: String = decimals.chars().chain("00".chars()).take(3).collect();
        ms = ms.checked_add(seconds.checked_mul(1000)?)?.checked_add(padded.parse().ok()?)?;
    }
    Some(Timestamp(ms))
}

fn numbers<const N: usize>(text: &str, between: char, widths: [usize; N]) -> Option<[u64; N]> {
    let mut found = [0; N];
    let mut parts = text.split(between);
    for (slot, width) in found.iter_mut().zip(widths) {
        let part = parts.next().filter(|p| p.len() == width && p.bytes().all(|b| b.is_ascii_digit()))?;
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Year, month and day of a day number since 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days.saturating_add(719_468);
    let era = z / 146_097;
    let of_era = z % 146_097;
    let leap = (of_era / 1460).saturating_add(of_era / 146_096);
    let year_of_era = of_era.saturating_sub(leap).saturating_add(of_era / 36_524) / 365;
    let leap_days = (year_of_era / 4).saturating_sub(year_of_era / 100);
    let of_year = of_era.saturating_sub(year_of_era.saturating_mul(365).saturating_add(leap_days));
    let shifted = of_year.saturating_mul(5).saturating_add(2) / 153;
    let day = of_year.saturating_sub(shifted.saturating_mul(153).saturating_add(2) / 5).saturating_add(1);
    let month = if shifted < 10 { shifted.saturating_add(3) } else { shifted.saturating_sub(9) };
    let year = year_of_era.saturating_add(era.saturating_mul(400)).saturating_add(u64::from(month <= 2));
    (year, month, day)
}

/// The day number of a date from 1970 on; none where there is no such day.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year_of = year.checked_sub(u64::from(month <= 2))?;
    let shifted = if month > 2 { month.checked_sub(3)? } else { month.checked_add(9)? };
    let (era, of) = (year_of / 400, year_of % 400);
    let of_year = (shifted.checked_mul(153)?.checked_add(2)? / 5).checked_add(day)?.checked_sub(1)?;
    let of_era = of.checked_mul(365)?.checked_add(of / 4)?.checked_sub(of / 100)?.checked_add(of_year)?;
    let days = era.checked_mul(146_097)?.checked_add(of_era)?.checked_sub(719_468)?;
    (civil(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar_and_are_read_back() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_249_805, "2026-11-21T08:30:05Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST_S, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(Timestamp(seconds * 1000 + 999)), expected);
            assert_eq!(parse(expected), Some(Timestamp(seconds * 1000)));
            let fine = utc_ms(Timestamp(seconds * 1000 + 7));
            assert_eq!(parse(&fine), Some(Timestamp(seconds * 1000 + 7)), "{fine}");
        }
        assert_eq!(parse("2026-11-21"), parse("2026-11-21T00:00:00Z"));
        assert_eq!(parse("2026-11-21T00:00:00.5Z").unwrap().0 % 1000, 500);
        assert_eq!(utc_ms(Timestamp(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "17",
            "2026-11",
            "2026-13-01",
            "2026-02-29",
            "2026-11-31",
            "1969-12-31",
            "2026-11-21T24:00:00Z",
            "2026-11-21T08:30:05",
            "2026-11-21T08:30:05+01:00",
            "2026-11-21T08:30Z",
            "2026-11-21T08:30:05.Z",
            "2026-11-21-01",
            "+026-11-21",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
