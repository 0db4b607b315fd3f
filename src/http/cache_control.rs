//! `Cache-Control` (RFC 9111, 5.2), as it comes in the wild.
//!
//! Several lines, odd case and spacing, quoted arguments, duplicates, unknown extensions and bad
//! numbers are all read; nothing is refused. Where a number is wrong the response counts as stale
//! (4.2.1), a number too large is 2^31 (1.2.2), and of contradicting duplicates the smaller wins.

use std::borrow::Cow;

use super::weighted::is_token;

/// The largest delta-seconds (RFC 9111, 1.2.2).
pub const MAX_DELTA: u32 = 1 << 31;
/// The length of the longest directive we know.
const LONGEST: usize = b"stale-while-revalidate".len();

/// Directives that forbid to store a response, or to use it unasked.
const FORBIDDING: [&[u8]; 3] = [b"no-store", b"private", b"no-cache"];

/// The directives of a message, request or response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `max-age`, in seconds.
    pub max_age: Option<u32>,
    /// `s-maxage`, in seconds.
    pub s_maxage: Option<u32>,
    /// `max-stale`: absent, without a limit (`MAX_DELTA`), or in seconds.
    pub max_stale: Option<u32>,
    /// `min-fresh`, in seconds.
    pub min_fresh: Option<u32>,
    /// `stale-while-revalidate` (RFC 5861), in seconds.
    pub stale_while_revalidate: Option<u32>,
    /// `stale-if-error` (RFC 5861), in seconds.
    pub stale_if_error: Option<u32>,
    /// `no-cache`, with the fields it is limited to.
    pub no_cache: Option<FieldNames>,
    /// `private`, with the fields it is limited to.
    pub private: Option<FieldNames>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-transform`.
    pub no_transform: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `public`.
    pub public: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
}

/// The fields a `no-cache` or `private` is limited to, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldNames {
    /// No argument: the whole response is meant.
    All,
    /// Only these fields.
    Only(Vec<Vec<u8>>),
}

impl CacheControl {
    /// Reads every line of the field.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut parsed = Self::default();
        lines.into_iter().for_each(|line| parsed.read(line));
        parsed
    }

    /// Adds what another line of the field says.
    pub fn read(&mut self, line: &[u8]) {
        let mut rest = line;
        while let Some((name, argument)) = next_directive(&mut rest) {
            self.apply(name, argument.as_deref());
            // What is no directive may still hold one that forbids: `no-store; private` is common.
            let unquoted = match &argument {
                Some(Cow::Borrowed(text)) => *text,
                _ => b"",
            };
            for text in [name, unquoted].into_iter().filter(|text| !is_token(text)) {
                self.forbid(text);
            }
        }
    }

    /// Heeds what forbids within a member that is malformed.
    fn forbid(&mut self, text: &[u8]) {
        let words = text.split(|b| matches!(b, b';' | b'"' | b' ' | b'\t'));
        for word in
            words.filter(|word| FORBIDDING.iter().any(|name| word.eq_ignore_ascii_case(name)))
        {
            self.apply(word, None);
        }
    }

    /// Adds one directive; unknown ones say nothing.
    pub(super) fn apply(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let mut lower = [0; LONGEST];
        let Some(lower) = lower.get_mut(..name.len()) else { return };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let seconds = || argument.and_then(delta_seconds).unwrap_or(0);
        match &*lower {
            b"no-store" => self.no_store = true,
            b"no-transform" => self.no_transform = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"public" => self.public = true,
            b"immutable" => self.immutable = true,
            b"max-age" => smaller(&mut self.max_age, seconds()),
            b"s-maxage" => smaller(&mut self.s_maxage, seconds()),
            b"min-fresh" => smaller(&mut self.min_fresh, seconds()),
            b"stale-while-revalidate" => smaller(&mut self.stale_while_revalidate, seconds()),
            b"stale-if-error" => smaller(&mut self.stale_if_error, seconds()),
            b"max-stale" if argument.is_none() => smaller(&mut self.max_stale, MAX_DELTA),
            b"max-stale" => smaller(&mut self.max_stale, seconds()),
            b"no-cache" => self.no_cache = Some(merge(self.no_cache.take(), argument)),
            b"private" => self.private = Some(merge(self.private.take(), argument)),
            _ => {}
        }
    }
}

fn smaller(seconds: &mut Option<u32>, said: u32) {
    *seconds = Some(seconds.map_or(said, |before| before.min(said)));
}

/// A directive with an argument and the same without one: the stricter, without, wins.
fn merge(before: Option<FieldNames>, argument: Option<&[u8]>) -> FieldNames {
    let names = argument.unwrap_or_default().split(|b| *b == b',');
    let names: Vec<Vec<u8>> =
        names.map(|n| n.trim_ascii().to_ascii_lowercase()).filter(|n| !n.is_empty()).collect();
    match before {
        _ if names.is_empty() || !names.iter().all(|name| is_token(name)) => FieldNames::All,
        None => FieldNames::Only(names),
        Some(FieldNames::All) => FieldNames::All,
        Some(FieldNames::Only(mut all)) => {
            all.extend(names);
            FieldNames::Only(all)
        }
    }
}

/// 1*DIGIT; larger than 2^31 is 2^31; anything else is none.
#[must_use]
pub fn delta_seconds(text: &[u8]) -> Option<u32> {
    let text = text.trim_ascii();
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().fold(0_u64, |value, digit| {
        (value * 10 + u64::from(digit - b'0')).min(u64::from(MAX_DELTA))
    });
    u32::try_from(value).ok()
}

/// A directive's name and argument.
type Directive<'a> = (&'a [u8], Option<Cow<'a, [u8]>>);

/// Takes the next `name`, `name=token` or `name="quoted"` off the front of the list.
fn next_directive<'a>(rest: &mut &'a [u8]) -> Option<Directive<'a>> {
    loop {
        let text = rest.trim_ascii_start();
        if text.is_empty() {
            return None;
        }
        let end = text.iter().position(|b| matches!(b, b',' | b'=')).unwrap_or(text.len());
        let (name, tail) = text.split_at(end);
        let name = name.trim_ascii_end();
        let argument = match tail.split_first() {
            Some((b'=', value)) => {
                let (argument, tail) = argument(value);
                *rest = tail;
                Some(argument)
            }
            Some((_, tail)) => {
                *rest = tail;
                None
            }
            None => {
                *rest = tail;
                None
            }
        };
        if !name.is_empty() {
            return Some((name, argument));
        }
    }
}

/// An argument and what follows the next comma.
fn argument(text: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let text = text.trim_ascii_start();
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (value, tail) = to_comma(text);
        return (value.trim_ascii().into(), tail);
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match bytes.next() {
            Some(b'\\') => value.extend(bytes.next()),
            Some(b'"') => return (value.into(), to_comma(bytes.as_slice()).1),
            Some(byte) => value.push(*byte),
            // Never closed: it must not hide what stands behind it.
            None => {
                let (value, tail) = to_comma(quoted);
                return (value.trim_ascii().into(), tail);
            }
        }
    }
}

fn to_comma(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|b| *b == b',') {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
        None => (text, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn parse(lines: &[&str]) -> CacheControl {
        CacheControl::parse(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn directives_in_odd_dress() {
        let cc = parse(&["Max-Age=60 ,, S-MAXAGE = \"120\"", " no-Store;x, PUBLIC,immutable "]);
        assert_eq!((cc.max_age, cc.s_maxage), (Some(60), Some(120)));
        assert!(cc.public && cc.immutable && cc.no_store);
        assert!(parse(&["no-store"]).no_store && parse(&["a=b, no-store"]).no_store);
    }

    #[test]
    fn bad_numbers_are_stale() {
        for (text, seconds) in [
            ("max-age=10", 10),
            ("max-age=-1", 0),
            ("max-age=1.5", 0),
            ("max-age=", 0),
            ("max-age", 0),
            ("max-age=ten", 0),
            ("max-age=99999999999999999999999", MAX_DELTA),
            ("max-age=60, max-age=30", 30),
            ("max-age=30, max-age=60", 30),
        ] {
            assert_eq!(parse(&[text]).max_age, Some(seconds), "{text}");
        }
    }

    #[test]
    fn quoted_arguments_hide_commas() {
        let cc = parse(&[r#"private="X-A, x-b", ext="no-store, \"max-age=9", no-cache"#]);
        assert_eq!(cc.private, Some(FieldNames::Only(vec![b"x-a".to_vec(), b"x-b".to_vec()])));
        assert_eq!(cc.no_cache, Some(FieldNames::All));
        assert!(!cc.no_store && cc.max_age.is_none());
        // Never closed.
        let open = parse(&["community=\"UCI, no-store", "private=\"x, max-age=\"9, s-maxage=\"8"]);
        assert!(open.no_store && open.max_age.is_none() && open.s_maxage == Some(8));
        assert_eq!(parse(&["private=\"x\", private"]).private, Some(FieldNames::All));
        assert_eq!(parse(&["private, private=\"x\""]).private, Some(FieldNames::All));
    }

    #[test]
    fn what_forbids_is_heeded_in_malformed_members_too() {
        for (text, no_store, private, no_cache) in [
            ("private;", false, true, false),
            ("private; max-age=600", false, true, false),
            ("max-age=60; private", false, true, false),
            ("no-store; no-cache", true, false, true),
            ("no-store;max-age=0", true, false, false),
            ("no-store no-cache", true, false, true),
            ("\"no-store\"", true, false, false),
            ("max-age=60, No-Cache;x", false, false, true),
            ("private=()", false, true, false),
            ("private=\"x y\"", false, true, false),
            ("x=\"no-store; private\"", false, false, false),
            ("x=no-store, y=http://private/no-cache", false, false, false),
            ("no-storey, privates;, x-private;", false, false, false),
        ] {
            let cc = parse(&[text]);
            let all = |names: &Option<FieldNames>| *names == Some(FieldNames::All);
            let found = (cc.no_store, all(&cc.private), all(&cc.no_cache));
            assert_eq!(found, (no_store, private, no_cache), "{text}");
        }
    }

    #[test]
    fn request_directives() {
        let cc = parse(&["max-stale, min-fresh=5, only-if-cached, no-transform"]);
        assert_eq!((cc.max_stale, cc.min_fresh), (Some(MAX_DELTA), Some(5)));
        assert!(cc.only_if_cached && cc.no_transform);
        assert_eq!(parse(&["max-stale=7"]).max_stale, Some(7));
    }

    #[test]
    fn response_directives() {
        let cc = parse(&[
            "must-revalidate, proxy-revalidate, must-understand",
            "stale-while-revalidate=3,stale-if-error=4",
        ]);
        assert!(cc.must_revalidate && cc.proxy_revalidate && cc.must_understand);
        assert_eq!((cc.stale_while_revalidate, cc.stale_if_error), (Some(3), Some(4)));
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(parse(&["", ",, ,", "=,=\"", "unknown=1"]), CacheControl::default());
    }
}
