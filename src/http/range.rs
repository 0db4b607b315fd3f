//! `Range` and `If-Range` (RFC 9110, 14 and 13.1.5), for a complete stored 200.
//!
//! Ignoring the field is always right (14.2: "A server MAY ignore the Range header field"), so
//! whatever is odd, greedy or not understood gets the whole response, and only a sound field that
//! asks for nothing the body has gets a 416. What goes out is bounded by what the body holds.

use super::date;
use super::fields::Fields;

/// Fields with more ranges are ignored (RFC 9110, 17.15).
pub const MAX_RANGES: usize = 16;
/// The one range unit understood (RFC 9110, 14.1.2), and the `=` behind it.
const BYTES: &[u8] = b"bytes=";

/// What of a body is to be sent. First and last byte are offsets, both inclusive, inside the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranged {
    /// All of it, as 200: the field is ignored.
    Whole,
    /// One part, as 206 with `Content-Range` (RFC 9110, 15.3.7.1).
    Part {
        /// Its first byte.
        first: usize,
        /// Its last byte.
        last: usize,
    },
    /// Two or more parts, first and last byte of each in the order asked, as 206 with
    /// `multipart/byteranges` (RFC 9110, 15.3.7.2). Together no longer than the body.
    Parts(Vec<(usize, usize)>),
    /// None of it, as 416 with [`unsatisfied_range`] (RFC 9110, 15.5.17).
    Unsatisfiable,
}

/// What a request asks for of a stored response with a body of `body_len` bytes.
///
/// To be asked only where the answer without `Range` would be a 200 (RFC 9110, 14.2), so after all
/// other preconditions. Of several lines none counts: the field is no list (14.2).
#[must_use]
pub fn requested(request: Fields<'_>, stored: Fields<'_>, body_len: usize, now_ms: u64) -> Ranged {
    let mut ranges = request.all(b"range");
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Ranged::Whole };
    let current = |value| if_range(value, stored, now_ms);
    // GET is the only method for which ranges are defined (14.2).
    if request.get(b":method") == Some(b"GET") && request.all(b"if-range").all(current) {
        evaluate(range, body_len)
    } else {
        Ranged::Whole
    }
}

/// Reads the value of a `Range` field (RFC 9110, 14.1.1 and 14.1.2) against a body of `body_len`
/// bytes.
///
/// Ignored are other units, bad syntax, any range of an empty body (14.2), and what 14.2 and 17.15
/// warn of: more than [`MAX_RANGES`] ranges, more than two that overlap, more bytes than there are.
#[must_use]
pub fn evaluate(range: &[u8], body_len: usize) -> Ranged {
    let Some(parts) = satisfiable(range, body_len) else { return Ranged::Whole };
    match *parts {
        [] => Ranged::Unsatisfiable,
        // A client that asked for one range may not know multipart (15.3.7.2).
        [(first, last)] => Ranged::Part { first, last },
        _ if greedy(&parts, body_len) => Ranged::Whole,
        _ => Ranged::Parts(parts),
    }
}

/// Whether an `If-Range` holds (RFC 9110, 13.1.5) for a stored response; if not, `Range` must be
/// ignored.
#[must_use]
pub fn if_range(value: &[u8], stored: Fields<'_>, now_ms: u64) -> bool {
    // Strong comparison (8.8.3.2): a weak tag begins with `W/`, and is no date either.
    if let Some(tag) = value.strip_prefix(b"\"") {
        return tag.ends_with(b"\"") && stored.get(b"etag") == Some(value);
    }
    let read = |text| date::parse(text, now_ms);
    let Some(modified) = stored.get(b"last-modified").and_then(read) else { return false };
    // A date is strong only if the response was sent at least a second later (8.8.2.2).
    let sent = stored.get(b"date").and_then(read);
    let strong = sent.is_some_and(|sent| sent > modified);
    strong && read(value) == Some(modified)
}

/// The fields of the whole that a part has, too: not what is said of the bytes of the content, which
/// are others (RFC 9530, 2), and a `Content-Range` of its own, which the whole's is not (14.4).
pub fn part_fields(stored: Fields<'_>) -> impl Iterator<Item = (&[u8], &[u8])> {
    let of_whole =
        |name: &[u8]| matches!(name, b"content-digest" | b"content-md5" | b"content-range");
    stored.iter().filter(move |(name, _)| !of_whole(name))
}

/// Writes `bytes first-last/len`, the `Content-Range` of a part (RFC 9110, 14.4).
pub fn content_range(out: &mut Vec<u8>, first: usize, last: usize, len: usize) {
    out.extend_from_slice(b"bytes ");
    write_number(out, first);
    out.push(b'-');
    write_number(out, last);
    out.push(b'/');
    write_number(out, len);
}

/// Writes `bytes */len`, the `Content-Range` of a 416 (RFC 9110, 14.4).
pub fn unsatisfied_range(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(b"bytes */");
    write_number(out, len);
}

fn write_number(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The parts of the body that are asked for and there, or none if the field is to be ignored.
fn satisfiable(range: &[u8], body_len: usize) -> Option<Vec<(usize, usize)>> {
    let (unit, set) = range.split_at_checked(BYTES.len())?;
    // Of an empty body no part can be named: `Content-Range` has no empty range.
    let end = body_len.checked_sub(1)?;
    if !unit.eq_ignore_ascii_case(BYTES) {
        return None;
    }
    let specs = set.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|spec| !spec.is_empty());
    let (mut asked, mut parts) = (0, Vec::new());
    for spec in specs {
        asked += 1;
        if asked > MAX_RANGES {
            return None;
        }
        let (first, last) = range_spec(spec, body_len)?;
        if first <= end {
            parts.push((first, last.min(end)));
        }
    }
    (asked > 0).then_some(parts)
}

/// One `first-last`, `first-` or `-suffix`, not yet cut to the body. One that cannot be satisfied
/// begins behind the body; so does the suffix of no bytes.
fn range_spec(spec: &[u8], body_len: usize) -> Option<(usize, usize)> {
    let mut ends = spec.splitn(2, |b| *b == b'-');
    let (first, last) = match (ends.next()?, ends.next()?) {
        (b"", suffix) => (body_len.saturating_sub(number(suffix)?), usize::MAX),
        (first, b"") => (number(first)?, usize::MAX),
        (first, last) => (number(first)?, number(last)?),
    };
    (first <= last).then_some((first, last))
}

/// 1*DIGIT; one too large is the largest there is, and so behind every body.
fn number(text: &[u8]) -> Option<usize> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: usize, digit: &u8| {
        number.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
    };
    Some(text.iter().fold(0, add))
}

/// Whether parts cost more than they are worth; at most [`MAX_RANGES`] are compared pairwise.
fn greedy(parts: &[(usize, usize)], body_len: usize) -> bool {
    let bytes: u128 = parts.iter().map(|(first, last)| (last - first) as u128 + 1).sum();
    let meets = |a: &(usize, usize), b: &(usize, usize)| a.0 <= b.1 && b.0 <= a.1;
    // Every part meets itself.
    let overlaps = |a: &&(usize, usize)| parts.iter().filter(|b| meets(a, b)).count() > 1;
    bytes > body_len as u128 || parts.iter().filter(overlaps).count() > 2
}

#[cfg(test)]
mod tests {
    use super::super::fields::block;
    use super::Ranged::{Parts, Unsatisfiable, Whole};
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// 1 January 2026.
    const NOW_MS: u64 = 1_767_225_600_000;
    const MODIFIED: &str = "Sat, 29 Oct 1994 19:43:31 GMT";
    const LATER: &str = "Sat, 29 Oct 1994 19:43:32 GMT";

    const fn part(first: usize, last: usize) -> Ranged {
        Ranged::Part { first, last }
    }

    #[test]
    fn the_examples_of_14_1_2() {
        for (range, expected) in [
            ("bytes=0-499", part(0, 499)),
            ("bytes=500-999", part(500, 999)),
            ("bytes=-500", part(9500, 9999)),
            ("bytes=9500-", part(9500, 9999)),
            ("bytes=0-0,-1", Parts(vec![(0, 0), (9999, 9999)])),
            ("bytes= 0-999, 4500-5499, -1000", Parts(vec![(0, 999), (4500, 5499), (9000, 9999)])),
            ("bytes=500-600,601-999", Parts(vec![(500, 600), (601, 999)])),
            ("bytes=500-700,601-999", Parts(vec![(500, 700), (601, 999)])),
        ] {
            assert_eq!(evaluate(range.as_bytes(), 10_000), expected, "{range}");
        }
    }

    #[test]
    fn ranges_are_cut_to_the_body_14_1_2() {
        for (range, expected) in [
            ("bytes=0-99", part(0, 9)),
            ("bytes=9-9", part(9, 9)),
            ("bytes=9-10", part(9, 9)),
            ("bytes=-10", part(0, 9)),
            ("bytes=-11", part(0, 9)),
            ("bytes=0-99999999999999999999999999", part(0, 9)),
            ("bytes=-99999999999999999999999999", part(0, 9)),
            ("bytes=007-0008", part(7, 8)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-10", Unsatisfiable),
            ("bytes=99999999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=-0,10-,11-12", Unsatisfiable),
            ("bytes=10-,3-4,-0", part(3, 4)),
            ("bytes=8-9,20-30,0-1", Parts(vec![(8, 9), (0, 1)])),
        ] {
            assert_eq!(evaluate(range.as_bytes(), 10), expected, "{range}");
        }
    }

    #[test]
    fn lists_and_units_in_odd_dress_14_1_and_5_6_1() {
        for (range, expected) in [
            ("BYTES=1-2", part(1, 2)),
            ("Bytes=\t1-2 ", part(1, 2)),
            ("bytes=,1-2", part(1, 2)),
            ("bytes= , ,1-2,,\t, 4-5 ,", Parts(vec![(1, 2), (4, 5)])),
        ] {
            assert_eq!(evaluate(range.as_bytes(), 10), expected, "{range}");
        }
    }

    #[test]
    fn what_is_not_valid_is_ignored_14_1_1() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes= , ",
            "bytes=-",
            "bytes=--1",
            "bytes=1",
            "bytes=1-2-3",
            "bytes=2-1",
            "bytes=0-1,2-1",
            "bytes=0-1,x",
            "bytes=0-1;2-3",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=0x1-2",
            "bytes=1.0-2",
            "bytes =1-2",
            " bytes=1-2",
            "bytes:1-2",
            "byte=1-2",
            "bytess=1-2",
            "lines=1-2",
            "0-1",
            "bytes=\u{661}-\u{662}",
            "bytes=99999999999999999999999999-5",
        ] {
            assert_eq!(evaluate(range.as_bytes(), 10), Whole, "{range}");
        }
    }

    #[test]
    fn an_empty_body_has_no_ranges_14_2() {
        for range in ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "x"] {
            assert_eq!(evaluate(range.as_bytes(), 0), Whole, "{range}");
        }
    }

    #[test]
    fn greedy_sets_are_ignored_14_2_and_17_15() {
        let many = |count: usize| {
            let specs: Vec<_> = (0..count).map(|at| format!("{}-{}", at * 2, at * 2)).collect();
            evaluate(format!("bytes={}", specs.join(",")).as_bytes(), 1_000)
        };
        assert!(matches!(many(MAX_RANGES), Parts(parts) if parts.len() == MAX_RANGES));
        assert_eq!(many(MAX_RANGES + 1), Whole);
        // Ranges that are not there count too: they cost the same to read.
        let absent = format!("bytes={}", "2000-,".repeat(MAX_RANGES + 1));
        assert_eq!(evaluate(absent.as_bytes(), 1_000), Whole);
        for (range, expected) in [
            ("bytes=0-5,4-9", Whole), // twelve bytes of ten
            ("bytes=0-,0-0", Whole),
            ("bytes=0-4,5-9", Parts(vec![(0, 4), (5, 9)])),
            ("bytes=0-2,1-3", Parts(vec![(0, 2), (1, 3)])),
            ("bytes=1-1,1-1", Parts(vec![(1, 1), (1, 1)])),
            ("bytes=1-1,1-1,1-1", Whole),
            ("bytes=0-1,1-2,2-3", Whole),
            ("bytes=0-0,0-0,5-5,5-5", Whole),
        ] {
            assert_eq!(evaluate(range.as_bytes(), 10), expected, "{range}");
        }
    }

    #[test]
    fn if_range_is_a_strong_match_13_1_5() {
        let (tag, modified, later) = (Some("\"a\""), Some(MODIFIED), Some(LATER));
        for (value, etag, last_modified, date, expected) in [
            ("\"a\"", tag, None, None, true),
            ("\"\"", Some("\"\""), None, None, true),
            ("\"b\"", tag, modified, later, false),
            ("\"a\"", None, modified, later, false),
            // 8.8.3.2: weak on either side is no match.
            ("W/\"a\"", Some("W/\"a\""), None, None, false),
            ("W/\"a\"", tag, None, None, false),
            ("\"a\"", Some("W/\"a\""), None, None, false),
            // No entity-tag at all.
            ("a", Some("a"), None, None, false),
            ("\"", Some("\""), None, None, false),
            ("", Some(""), None, None, false),
            ("*", tag, modified, later, false),
            // 8.8.2.2: the date, strong or not.
            (MODIFIED, tag, modified, later, true),
            (MODIFIED, None, modified, modified, false),
            (MODIFIED, None, later, modified, false),
            (MODIFIED, None, modified, None, false),
            (MODIFIED, None, modified, Some("today"), false),
            (MODIFIED, None, None, later, false),
            // Exact, not "not later than", in whichever of the three forms of 5.6.7.
            (LATER, None, modified, Some("Sun, 30 Oct 1994 19:43:31 GMT"), false),
            ("Saturday, 29-Oct-94 19:43:31 GMT", None, modified, later, true),
            ("Sat Oct 29 19:43:31 1994", None, modified, later, true),
            ("today", None, Some("today"), later, false),
        ] {
            let all = [("etag", etag), ("last-modified", last_modified), ("date", date)];
            let all: Vec<_> = all.iter().filter_map(|(name, v)| v.map(|v| (*name, v))).collect();
            let stored = block(&all);
            let found = if_range(value.as_bytes(), Fields::new(&stored), NOW_MS);
            assert_eq!(found, expected, "{value} {all:?}");
        }
    }

    #[test]
    fn a_request_is_one_get_with_one_range_14_2() {
        let stored = block(&[("etag", "\"a\""), ("last-modified", MODIFIED), ("date", LATER)]);
        let range = ("range", "bytes=1-2");
        for (method, fields, expected) in [
            ("GET", &[range][..], part(1, 2)),
            ("GET", &[], Whole),
            ("HEAD", &[range], Whole),
            ("POST", &[range], Whole),
            ("GET", &[range, range], Whole),
            ("GET", &[("range", "bytes=10-")], Unsatisfiable),
            ("GET", &[range, ("if-range", "\"a\"")], part(1, 2)),
            ("GET", &[range, ("if-range", MODIFIED)], part(1, 2)),
            ("GET", &[range, ("if-range", "\"b\"")], Whole),
            ("GET", &[range, ("if-range", "\"a\""), ("if-range", "\"b\"")], Whole),
            ("GET", &[("range", "bytes=10-"), ("if-range", "\"b\"")], Whole),
            // 13.1.5: without Range it means nothing.
            ("GET", &[("if-range", "\"a\"")], Whole),
        ] {
            let all: Vec<_> = [(":method", method)].iter().chain(fields).copied().collect();
            let bytes = block(&all);
            let got = requested(Fields::new(&bytes), Fields::new(&stored), 10, NOW_MS);
            assert_eq!(got, expected, "{all:?}");
        }
    }

    #[test]
    fn content_range_as_14_4_writes_it() {
        let written = |first, last, len| {
            let mut out = Vec::new();
            content_range(&mut out, first, last, len);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(42, 1233, 1234), "bytes 42-1233/1234");
        assert_eq!(written(0, 499, 1234), "bytes 0-499/1234");
        let mut out = Vec::new();
        unsatisfied_range(&mut out, 1234);
        assert_eq!(out, b"bytes */1234");
    }
}
