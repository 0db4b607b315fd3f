//! HTTP-date (RFC 9110, 5.6.7), in its three forms, read the way a cache does (RFC 9111, 4.2): in
//! any case, and only in GMT.
//!
//! The name of the day must be one but need not fit the date, which says everything without it.

/// The days of the week; the epoch was a Thursday.
const WEEKDAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// The last second of the year 9999: later ones cannot be written.
const LAST_S: u64 = 253_402_300_799;
const DAY_S: u64 = 86_400;
/// From 1 March of year 0, where the arithmetic begins, to the epoch.
const EPOCH_DAYS: u64 = 719_468;
/// Days in 400 years.
const ERA_DAYS: u64 = 146_097;

/// Year, month (from 1), day (from 1).
type Civil = (u64, u64, u64);

/// Reads a date, in ms since the epoch; none if it is invalid or before 1970. `now_ms` tells the
/// century of a two-digit year.
#[must_use]
pub fn parse(text: &[u8], now_ms: u64) -> Option<u64> {
    let mut text = text.trim_ascii();
    let rest = &mut text;
    let (civil, second) = if WEEKDAYS.iter().any(|name| literal(rest, name).is_some()) {
        literal(rest, ", ")?;
        let day = number(rest, 2)?;
        literal(rest, "-")?;
        let month = month(rest)?;
        literal(rest, "-")?;
        let digits = number(rest, 2)?;
        let second = gmt(rest)?;
        ((full_year(digits, month, day, second, now_ms)?, month, day), second)
    } else {
        WEEKDAYS.iter().find_map(|name| literal(rest, name.get(..3)?))?;
        if literal(rest, ", ").is_some() {
            let day = number(rest, 2)?;
            literal(rest, " ")?;
            let month = month(rest)?;
            literal(rest, " ")?;
            ((number(rest, 4)?, month, day), gmt(rest)?)
        } else {
            literal(rest, " ")?;
            let month = month(rest)?;
            literal(rest, " ")?;
            let digits = if literal(rest, " ").is_some() { 1 } else { 2 };
            let day = number(rest, digits)?;
            let second = clock(rest)?;
            literal(rest, " ")?;
            ((number(rest, 4)?, month, day), second)
        }
    };
    let days = days(civil)?;
    // The 30th of February would come out as another day.
    let sound = rest.is_empty() && self::civil(days) == civil;
    // With two digits the century is that of now, which may be the last that ms can count.
    (days * DAY_S + second).checked_mul(1000).filter(|_| sound)
}

/// Writes a date, given in ms since the epoch, in the preferred form; nothing is later than 9999.
#[must_use]
pub fn format(ms: u64) -> String {
    let seconds = (ms / 1000).min(LAST_S);
    let (days, second) = (seconds / DAY_S, seconds % DAY_S);
    let (year, month, day) = civil(days);
    let weekday =
        WEEKDAYS.iter().zip(0..).find_map(|(name, n)| name.get(..3).filter(|_| n == days % 7));
    let month = MONTHS.iter().zip(1..).find_map(|(name, n)| (n == month).then_some(*name));
    let (weekday, month) = (weekday.unwrap_or_default(), month.unwrap_or_default());
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// The year meant by its last two digits: the latest that is at most 50 years ahead of now.
fn full_year(digits: u64, month: u64, day: u64, second: u64, now_ms: u64) -> Option<u64> {
    let now_s = now_ms / 1000;
    let (now_year, now_month, now_day) = civil(now_s / DAY_S);
    let limit = now_year + 50;
    let year = limit - limit % 100 + digits;
    let ahead = (year, month, day, second) > (limit, now_month, now_day, now_s % DAY_S);
    if ahead { year.checked_sub(100) } else { Some(year) }
}

/// Takes this text, in any case, off the front.
fn literal(rest: &mut &[u8], expected: &str) -> Option<()> {
    let (text, after) = rest.split_at_checked(expected.len())?;
    text.eq_ignore_ascii_case(expected.as_bytes()).then(|| *rest = after)
}

/// Takes a number of so many digits off the front.
fn number(rest: &mut &[u8], len: usize) -> Option<u64> {
    let (digits, after) = rest.split_at_checked(len)?;
    *rest = after;
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

fn month(rest: &mut &[u8]) -> Option<u64> {
    MONTHS.iter().zip(1..).find_map(|(name, n)| literal(rest, name).map(|()| n))
}

/// ` 08:49:37 GMT`, in seconds.
fn gmt(rest: &mut &[u8]) -> Option<u64> {
    let second = clock(rest)?;
    literal(rest, " GMT")?;
    Some(second)
}

/// ` 08:49:37`, in seconds. A leap second counts as the one before it: an `Expires` may become
/// earlier, never later (RFC 9111, 4.2).
fn clock(rest: &mut &[u8]) -> Option<u64> {
    literal(rest, " ")?;
    let hour = number(rest, 2)?;
    literal(rest, ":")?;
    let minute = number(rest, 2)?;
    literal(rest, ":")?;
    let second = number(rest, 2)?;
    let sound = hour < 24 && minute < 60 && second <= 60;
    sound.then_some(hour * 3600 + minute * 60 + second.min(59))
}

/// Days since the epoch, after Howard Hinnant's `days_from_civil`: years begin in March, so that
/// the leap day is the last.
fn days((year, month, day): Civil) -> Option<u64> {
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let of_year = (153 * month + 2) / 5 + day.checked_sub(1)?;
    let of_era = year % 400;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (year / 400 * ERA_DAYS + of_era).checked_sub(EPOCH_DAYS)
}

/// The date that many days after the epoch: `civil_from_days`.
fn civil(days: u64) -> Civil {
    let days = days + EPOCH_DAYS;
    let of_era = days % ERA_DAYS;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + days / ERA_DAYS * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Fri, 10 Jul 2026 12:00:00 GMT.
    const NOW: u64 = 1_783_684_800_000;

    fn read(text: &str) -> Option<u64> {
        parse(text.as_bytes(), NOW).map(|ms| ms / 1000)
    }

    #[test]
    fn three_forms_5_6_7() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun Nov 06 08:49:37 1994",
            " \tSun, 06 Nov 1994 08:49:37 GMT ",
            "sUN, 06 nOV 1994 08:49:37 gmt", // RFC 9111, 4.2: in any case
            "SUNDAY, 06-NOV-94 08:49:37 GMT",
            "Mon, 06 Nov 1994 08:49:37 GMT", // it was a Sunday
        ] {
            assert_eq!(read(text), Some(784_111_777), "{text}");
        }
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Thu, 29 Feb 2024 23:59:60 GMT", 1_709_251_199),
            ("Fri, 31 Dec 9999 23:59:59 GMT", LAST_S),
        ] {
            assert_eq!(read(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "0",
            "-1",
            "784111777",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC", // RFC 9111, 4.2: GMT alone
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06 Nov  1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Xyz, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nox 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Wed, 29 Feb 2023 00:00:00 GMT",
            "Sun Nov  6 08:49:37 94",
            "Sun Nov  6 08:49:37 19945",
            "Sun Nov 6 08:49:37 1994",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn two_digits_are_at_most_50_years_ahead_5_6_7() {
        for (text, year) in [
            ("Friday, 10-Jul-26 12:00:00 GMT", "2026"),
            ("Friday, 10-Jul-76 12:00:00 GMT", "2076"),
            ("Friday, 10-Jul-76 12:00:01 GMT", "1976"),
            ("Friday, 31-Dec-75 23:59:59 GMT", "2075"),
            ("Friday, 10-Jul-99 12:00:00 GMT", "1999"),
            ("Friday, 10-Jul-00 12:00:00 GMT", "2000"),
        ] {
            let read = parse(text.as_bytes(), NOW).map(format).unwrap();
            assert_eq!(&read[12..16], year, "{text}");
        }
        let in_2090 = parse(b"Wed, 01 Feb 2090 00:00:00 GMT", NOW).unwrap();
        let read = parse(b"Sunday, 01-Feb-05 00:00:00 GMT", in_2090);
        assert_eq!(read, parse(b"Sun, 01 Feb 2105 00:00:00 GMT", NOW));
        assert_eq!(parse(b"Sunday, 01-Feb-69 00:00:00 GMT", 0), None, "1969");
        assert_eq!(parse(b"Wednesday, 31-Dec-37 23:59:60 GMT", u64::MAX), None, "too late");
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(format(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(format(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(format(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        for day in 0..150_000 {
            let ms = (day * DAY_S + day % DAY_S) * 1000;
            assert_eq!(parse(format(ms).as_bytes(), 0), Some(ms));
        }
    }
}
