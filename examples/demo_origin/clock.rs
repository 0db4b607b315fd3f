//! Wall-clock timestamps in the forms the API prints.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// `2026-02-20T08:00:00.123456`.
pub(crate) fn local_iso() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    iso(now.as_secs(), now.subsec_micros())
}

/// `2026-02-20T08:00:00.123456+00:00`.
pub(crate) fn utc_iso() -> String {
    let mut text = local_iso();
    text.push_str("+00:00");
    text
}

/// The form of a row's `created_at`, `2026-02-20 08:00:00`.
pub(crate) fn sql_now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil(now.as_secs() / DAY);
    let (hour, minute, second) = of_day(now.as_secs());
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

fn iso(seconds: u64, micros: u32) -> String {
    let (year, month, day) = civil(seconds / DAY);
    let (hour, minute, second) = of_day(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}")
}

fn of_day(seconds: u64) -> (u64, u64, u64) {
    let rest = seconds % DAY;
    (rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a day count since 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        assert_eq!(iso(0, 0), "1970-01-01T00:00:00.000000");
        assert_eq!(iso(951_782_400, 5), "2000-02-29T00:00:00.000005");
        assert_eq!(iso(1_771_574_399, 999_999), "2026-02-20T07:59:59.999999");
    }
}
