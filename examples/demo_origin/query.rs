//! Query strings and numbers as the origin's framework reads them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A decoded query string; of a repeated key only the first value counts.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(raw: Option<&str>) -> Self {
        let pairs = raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (decode(key), decode(value)))
                .collect(),
        )
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value as an integer; absent and malformed are the same.
    pub(crate) fn int(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(python_int)
    }

    /// The integer of a filter or a required id, where 0 means "not given".
    pub(crate) fn id(&self, key: &str) -> Option<i64> {
        self.int(key).filter(|id| *id != 0)
    }

    /// The value trimmed and in lower case, `None` when nothing is left.
    pub(crate) fn search(&self, key: &str) -> Option<String> {
        self.get(key).map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty())
    }
}

fn decode(text: &str) -> String {
    let spaced: Cow<'_, str> =
        if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// `int(text)` of Python: surrounding blanks, a sign, leading zeros and single underscores pass.
/// Numbers beyond 64 bits saturate, so that they match no row.
pub(crate) fn python_int(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let well_formed = digits
        .split('_')
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    if !well_formed {
        return None;
    }
    let magnitude = saturating(digits);
    Some(if negative { -magnitude } else { magnitude })
}

/// An integer path segment: digits only, any number of leading zeros.
pub(crate) fn path_int(segment: &str) -> Option<i64> {
    let digits = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| saturating(segment))
}

fn saturating(digits: &str) -> i64 {
    digits.bytes().filter(u8::is_ascii_digit).fold(0_i64, |number, digit| {
        number.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    })
}

/// Page number and size after clamping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) number: i64,
    pub(crate) size: i64,
}

impl Page {
    /// Malformed values fall back to the defaults, the size is held within 1..=100.
    pub(crate) fn read(query: &Query, size_key: &str, default_size: i64) -> Self {
        Self {
            number: query.int("page").unwrap_or(1).max(1),
            size: query.int(size_key).unwrap_or(default_size).clamp(1, 100),
        }
    }

    pub(crate) fn offset(self) -> usize {
        usize::try_from((self.number - 1).saturating_mul(self.size)).unwrap_or(usize::MAX)
    }

    pub(crate) fn len(self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    /// How many pages `total` rows fill; an empty list still has one.
    pub(crate) fn pages(self, total: usize) -> usize {
        total.div_ceil(self.len()).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_value_wins_and_is_decoded() {
        let query = Query::parse(Some("game_gid=%31&game_gid=2&search=+Log%20In+&&flag"));
        assert_eq!(query.int("game_gid"), Some(1));
        assert_eq!(query.search("search").as_deref(), Some("log in"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("other"), None);
    }

    #[test]
    fn numbers_like_python() {
        assert_eq!(python_int("010000147"), Some(10_000_147));
        assert_eq!(python_int(" 10000147 "), Some(10_000_147));
        assert_eq!(python_int("1_0"), Some(10));
        assert_eq!(python_int("-1"), Some(-1));
        assert_eq!(python_int("99999999999999999999"), Some(i64::MAX));
        for text in ["", "abc", "10000147.0", "1__0", "_1", "+-1", "1 0"] {
            assert_eq!(python_int(text), None, "{text:?}");
        }
    }

    #[test]
    fn zero_is_no_filter() {
        assert_eq!(Query::parse(Some("game_gid=0")).id("game_gid"), None);
        assert_eq!(Query::parse(Some("game_gid=-1")).id("game_gid"), Some(-1));
    }

    #[test]
    fn path_segments_are_plain_digits() {
        assert_eq!(path_int("010000147"), Some(10_000_147));
        assert_eq!(path_int("9223372036854775808"), Some(i64::MAX));
        for text in ["", "-1", "+1", "1a", "1_0"] {
            assert_eq!(path_int(text), None, "{text:?}");
        }
    }

    #[test]
    fn page_clamps() {
        let read = |raw| Page::read(&Query::parse(Some(raw)), "per_page", 20);
        assert_eq!(read(""), Page { number: 1, size: 20 });
        assert_eq!(read("page=0&per_page=0"), Page { number: 1, size: 1 });
        assert_eq!(read("page=-3&per_page=101"), Page { number: 1, size: 100 });
        assert_eq!(read("page=abc&per_page=abc"), Page { number: 1, size: 20 });
        assert_eq!(read("page=3").offset(), 40);
        assert_eq!(read("").pages(0), 1);
        assert_eq!(read("").pages(41), 3);
    }
}
