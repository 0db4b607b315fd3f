//! Conditional requests of clients, answered from a stored response (RFC 9111, 4.3.2; RFC 9110, 13).

use super::date;
use super::etag::{self, EntityTag};
use super::fields::{Fields, FieldsBuf};

/// The preconditions of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'a> {
    /// Whether there is `If-Match` or `If-Unmodified-Since`, which only an origin server evaluates
    /// (RFC 9111, 4.3.2): such a request is forwarded.
    pub for_origin: bool,
    /// Whether there is `If-None-Match`.
    pub none_match: bool,
    /// `If-Modified-Since`; empty, and so invalid, if there are several.
    pub modified_since: Option<&'a [u8]>,
    request: Fields<'a>,
}

impl<'a> Conditions<'a> {
    /// Finds them in a request; nothing is parsed yet.
    #[must_use]
    pub fn read(request: Fields<'a>) -> Self {
        let mut conditions = Self { request, ..Self::default() };
        for (name, value) in request.iter().filter(|(name, _)| name.starts_with(b"if-")) {
            match name {
                b"if-match" | b"if-unmodified-since" => conditions.for_origin = true,
                b"if-none-match" => conditions.none_match = true,
                b"if-modified-since" => {
                    // A value with several members is ignored (RFC 9110, 13.1.3).
                    let several = conditions.modified_since.is_some();
                    conditions.modified_since = Some(if several { b"" } else { value });
                }
                _ => {}
            }
        }
        conditions
    }

    /// Whether a GET or HEAD is answered 304 in place of a 200 with the fields `stored` (RFC 9111,
    /// 4.3.2). `If-None-Match`, even a malformed one, leaves `If-Modified-Since` without effect (RFC
    /// 9110, 13.1.3).
    ///
    /// A 200 that was stored has a date without `Last-Modified`, too: its `Date`, or that of its
    /// arrival, `received_ms`. One that just came has none.
    #[must_use]
    pub fn not_modified(&self, stored: Fields<'_>, received_ms: Option<u64>, now_ms: u64) -> bool {
        if self.none_match {
            let lines = || self.request.all(b"if-none-match");
            let known = |tag| etag::list(lines()).any(|listed| listed.is_weakly(tag));
            return etag::is_any(lines()) || EntityTag::of(stored).is_some_and(known);
        }
        let read = |text| date::parse(text, now_ms);
        let Some(since) = self.modified_since.and_then(read) else { return false };
        let modified = match stored.get(b"last-modified") {
            Some(modified) => read(modified),
            // An invalid Date may be replaced by the time of arrival (RFC 9110, 6.6.1).
            None => received_ms.map(|ms| stored.get(b"date").and_then(read).unwrap_or(ms)),
        };
        modified.is_some_and(|modified| modified <= since)
    }
}

/// Collects the stored fields that a 304 carries (cleared first).
///
/// That is all of them but the representation metadata the client has already (RFC 9110, 15.4.5).
/// `Last-Modified` is such metadata where there is an entity tag; where there is none it guides the
/// client's update. What concerns the exchange stays: policies, CORS, cookies.
pub fn not_modified_fields(out: &mut FieldsBuf, stored: Fields<'_>) {
    out.clear();
    let tagged = EntityTag::of(stored).is_some();
    for (name, value) in stored.iter() {
        let left_out = match name {
            b"content-digest" | b"content-encoding" | b"content-language" | b"content-length"
            | b"content-md5" | b"content-range" | b"content-type" | b"digest" | b"repr-digest" => {
                true
            }
            b"last-modified" => tagged,
            _ => false,
        };
        if !left_out {
            out.push(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::block;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    type List<'a> = &'a [(&'a str, &'a str)];

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLY_OLD: &str = "Sunday, 06-Nov-94 08:49:37 GMT";
    const LATE: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
    const EARLY_MS: u64 = 784_111_777_000;
    const NOW: u64 = 1_783_684_800_000;

    const TAG: (&str, &str) = ("etag", r#""a""#);
    const WEAK: (&str, &str) = ("etag", r#"W/"a""#);
    const OTHER: (&str, &str) = ("etag", r#""b""#);
    const BARE: (&str, &str) = ("etag", "a");
    const DATED: (&str, &str) = ("last-modified", EARLY);
    const LATER: (&str, &str) = ("last-modified", LATE);

    fn not_modified(request: List<'_>, stored: List<'_>) -> bool {
        let (request, stored) = (block(request), block(stored));
        let conditions = Conditions::read(Fields::new(&request));
        conditions.not_modified(Fields::new(&stored), Some(EARLY_MS), NOW)
    }

    #[test]
    fn if_none_match_13_1_2() {
        const NAME: &str = "if-none-match";
        for (lines, stored, expected) in [
            (&[(NAME, r#""a""#)][..], TAG, true),
            (&[(NAME, r#"W/"a""#)], TAG, true),
            (&[(NAME, r#""a""#)], WEAK, true),
            (&[(NAME, r#""x", W/"a""#)], WEAK, true),
            (&[(NAME, r#""x""#), ("accept", "*"), (NAME, r#""a""#)], TAG, true),
            (&[(NAME, r#""a""#)], OTHER, false),
            (&[(NAME, "*")], OTHER, true),
            (&[(NAME, "*")], DATED, true),
            (&[(NAME, "*, \"x\"")], TAG, false),
            (&[(NAME, "\"*\"")], TAG, false),
            (&[(NAME, "a")], BARE, false),
            (&[(NAME, "a")], TAG, false),
            (&[(NAME, r#""a""#)], BARE, false),
            (&[(NAME, "")], TAG, false),
        ] {
            assert_eq!(not_modified(lines, &[stored]), expected, "{lines:?} {stored:?}");
        }
    }

    #[test]
    fn if_modified_since_13_1_3() {
        const NAME: &str = "if-modified-since";
        for (since, stored, expected) in [
            (EARLY, &[DATED][..], true),
            (LATE, &[DATED], true),
            (EARLY_OLD, &[DATED], true),
            (EARLY, &[LATER], false),
            ("yesterday", &[DATED], false),
            // RFC 9111, 4.3.2: Date if there is no Last-Modified, else the time of arrival.
            (EARLY, &[("date", EARLY)], true),
            (EARLY, &[("date", LATE)], false),
            (EARLY, &[("date", "0")], true),
            (EARLY, &[], true),
            ("Sun, 06 Nov 1994 08:49:36 GMT", &[], false),
            // There is one, only not available as a date.
            (EARLY, &[("last-modified", "0"), ("date", EARLY)], false),
        ] {
            assert_eq!(not_modified(&[(NAME, since)], stored), expected, "{since} {stored:?}");
        }
        let (request, stored) = (block(&[(NAME, LATE)]), block(&[("date", EARLY)]));
        let conditions = Conditions::read(Fields::new(&request));
        assert!(!conditions.not_modified(Fields::new(&stored), None, NOW), "not stored");
        assert!(!not_modified(&[(NAME, EARLY), (NAME, EARLY)], &[DATED]), "several");
        assert!(!not_modified(&[(NAME, EARLY), (NAME, EARLY), (NAME, EARLY)], &[DATED]));
    }

    #[test]
    fn precedence_13_2_2() {
        let both = [("if-none-match", r#""b""#), ("if-modified-since", LATE)];
        assert!(!not_modified(&both, &[TAG, DATED]));
        assert!(not_modified(&both, &[OTHER, LATER]));
        assert!(!not_modified(&[("if-none-match", "b"), both[1]], &[TAG, DATED]));
        assert!(!not_modified(&[("accept", "*")], &[TAG, DATED]));
        for (field, for_origin) in [
            (("if-match", "*"), true),
            (("if-unmodified-since", LATE), true),
            (("if-range", LATE), false),
            (both[0], false),
            (both[1], false),
        ] {
            let request = block(&[field]);
            assert_eq!(Conditions::read(Fields::new(&request)).for_origin, for_origin);
        }
    }

    #[test]
    fn a_304_carries_15_4_5() {
        let kept = [
            ("content-location", "/a"),
            ("date", LATE),
            ("vary", "accept"),
            ("cache-control", "max-age=1"),
            ("cdn-cache-control", "max-age=2"),
            ("expires", LATE),
            ("content-security-policy", "default-src 'self'"),
            ("access-control-allow-origin", "*"),
            ("set-cookie", "a=b"),
            ("server", "x"),
        ];
        let dropped =
            [("content-type", "text/plain"), ("content-encoding", "gzip"), ("content-length", "1")];
        let check = |validators: List<'_>, left: List<'_>| {
            let stored = block(&[&dropped, validators, &kept].concat());
            let mut out = FieldsBuf::default();
            out.push(b"x", b"before");
            not_modified_fields(&mut out, Fields::new(&stored));
            assert_eq!(out.to_block(), block(&[left, &kept].concat()));
        };
        check(&[TAG, DATED], &[TAG]);
        check(&[DATED], &[DATED]);
        check(&[BARE, DATED], &[BARE, DATED]);
    }
}
