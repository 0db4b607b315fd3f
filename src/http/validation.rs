//! Validation: what a cache asks about a stored response, and what the answer does to it (RFC 9111,
//! 3.2 and 4.3).

use super::etag::EntityTag;
use super::fields::{Fields, FieldsBuf};

/// Fields that say how the bytes of a body are to be read, and what they come to.
const OF_THE_BYTES: [&[u8]; 6] = [
    b"content-digest",
    b"content-encoding",
    b"content-length",
    b"content-md5",
    b"content-range",
    b"repr-digest",
];

/// What a cache sends to validate a stored response (RFC 9111, 4.3.1), as the origin wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validators<'a> {
    /// The `ETag`, for `If-None-Match`.
    pub if_none_match: Option<&'a [u8]>,
    /// The `Last-Modified`, for `If-Modified-Since`.
    pub if_modified_since: Option<&'a [u8]>,
}

/// What validates a stored response; none if it has nothing for it. An `ETag` that is no entity tag
/// is not sent: no answer could be told to match it.
#[must_use]
pub fn validators(stored: Fields<'_>) -> Option<Validators<'_>> {
    let tag = stored.get(b"etag").filter(|tag| EntityTag::parse(tag).is_some());
    let modified = stored.get(b"last-modified");
    (tag.is_some() || modified.is_some())
        .then_some(Validators { if_none_match: tag, if_modified_since: modified })
}

/// Whether a 304 is about the stored response, the only one that could have been chosen (RFC 9111,
/// 4.3.4). If not, it must not update it.
///
/// A `Last-Modified` counts as a weak validator, as it is unless the clocks are known (RFC 9110,
/// 8.8.2.2); of two weak ones, the tag and the date, neither may differ.
#[must_use]
pub fn selects(stored: Fields<'_>, update: Fields<'_>) -> bool {
    let (old, new) = (EntityTag::of(stored), EntityTag::of(update));
    if let Some(new) = new.filter(|new| !new.weak) {
        return old.is_some_and(|old| old.is_strongly(new));
    }
    let same_tag = old.zip(new).map(|(old, new)| old.is_weakly(new));
    let dates = stored.get(b"last-modified").zip(update.get(b"last-modified"));
    let same_date = dates.map(|(old, new)| same(old, new));
    match (same_tag, same_date) {
        (None, None) => !validated(stored) && !validated(update),
        (tag, date) => tag.unwrap_or(true) && date.unwrap_or(true),
    }
}

/// Whether a HEAD answered 200 agrees with the stored response to GET and may update it (RFC 9111,
/// 4.3.5); otherwise that is stale.
#[must_use]
pub fn head_agrees(stored: Fields<'_>, stored_body_len: u64, update: Fields<'_>) -> bool {
    let mut digits = itoa::Buffer::new();
    let length = digits.format(stored_body_len).as_bytes();
    update.iter().all(|(name, value)| match name {
        b"etag" | b"last-modified" => stored.get(name).is_some_and(|old| same(old, value)),
        b"content-length" => same(length, value),
        _ => true,
    })
}

/// Collects the stored fields as a 304, or a 200 to HEAD, updates them (cleared first; RFC 9111,
/// 3.2): a field of the update replaces every stored line of that name, at the place of the first;
/// new ones follow.
///
/// `excluded` names what is not stored either (3.1), before or now: hop-by-hop fields, and those that
/// `no-cache` or `private` names. What tells of the stored bytes is never updated: `Content-Length`, what
/// they are read by, and their digests.
///
/// For n fields in all this takes n log n steps.
pub fn freshen(
    out: &mut FieldsBuf,
    stored: Fields<'_>,
    update: Fields<'_>,
    excluded: impl Fn(&[u8]) -> bool,
) {
    out.clear();
    let kept =
        |name: &[u8]| OF_THE_BYTES.contains(&name) || name.starts_with(b":") || excluded(name);
    // Sorted by name, the lines of one in their order; the first tells whether they are written.
    let mut updates: Vec<_> =
        update.iter().filter(|(name, _)| !kept(name)).map(|line| (line, false)).collect();
    updates.sort_by_key(|((name, _), _)| *name);
    for (field, is_stored) in
        stored.iter().map(|field| (field, true)).chain(update.iter().map(|field| (field, false)))
    {
        let start = updates.partition_point(|((name, _), _)| *name < field.0);
        let of_name = updates.get_mut(start..).unwrap_or_default();
        let len = of_name.partition_point(|((name, _), _)| *name == field.0);
        match of_name.get_mut(..len).unwrap_or_default() {
            [] if is_stored && !excluded(field.0) => out.push(field.0, field.1),
            [] | [(_, true), ..] => {}
            lines => {
                lines.iter().for_each(|((name, value), _)| out.push(name, value));
                lines.iter_mut().for_each(|(_, written)| *written = true);
            }
        }
    }
}

/// Whether a response has a validator, sound or not.
fn validated(response: Fields<'_>) -> bool {
    response.iter().any(|(name, _)| matches!(name, b"etag" | b"last-modified"))
}

fn same(one: &[u8], other: &[u8]) -> bool {
    one.trim_ascii() == other.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::super::fields::block;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    const TAG: (&str, &str) = ("etag", r#""a""#);
    const WEAK: (&str, &str) = ("etag", r#"W/"a""#);
    const OTHER: (&str, &str) = ("etag", r#""b""#);
    const BARE: (&str, &str) = ("etag", "a");
    const DATED: (&str, &str) = ("last-modified", EARLY);
    const LATER: (&str, &str) = ("last-modified", LATE);

    #[test]
    fn a_validation_request_4_3_1() {
        for (stored, expected) in [
            (&[TAG, DATED][..], Some((Some(r#""a""#), Some(EARLY)))),
            (&[WEAK], Some((Some(r#"W/"a""#), None))),
            (&[DATED], Some((None, Some(EARLY)))),
            (&[BARE, DATED], Some((None, Some(EARLY)))),
            (&[BARE], None),
            (&[("date", EARLY)], None),
        ] {
            let stored = block(stored);
            let expected = expected.map(|(tag, modified)| Validators {
                if_none_match: tag.map(str::as_bytes),
                if_modified_since: modified.map(str::as_bytes),
            });
            assert_eq!(validators(Fields::new(&stored)), expected);
        }
    }

    #[test]
    fn what_a_304_is_about_4_3_4() {
        for (stored, update, expected) in [
            (&[TAG][..], &[TAG][..], true),
            (&[TAG, DATED], &[TAG, LATER], true), // the strong one decides
            (&[TAG, DATED], &[OTHER, DATED], false),
            (&[WEAK], &[TAG], false),
            (&[DATED], &[TAG, DATED], false),
            (&[TAG], &[WEAK], true),
            (&[WEAK], &[WEAK], true),
            (&[OTHER], &[WEAK], false),
            (&[WEAK, DATED], &[WEAK, LATER], false),
            (&[TAG, DATED], &[DATED], true),
            (&[TAG, DATED], &[LATER], false),
            (&[DATED], &[WEAK], false),
            (&[], &[], true),
            (&[TAG], &[], false),
            (&[DATED], &[], false),
            (&[], &[DATED], false),
            (&[BARE], &[BARE], false),
            (&[BARE, DATED], &[BARE, DATED], true),
        ] {
            let blocks = (block(stored), block(update));
            let selected = selects(Fields::new(&blocks.0), Fields::new(&blocks.1));
            assert_eq!(selected, expected, "{stored:?} {update:?}");
        }
    }

    #[test]
    fn a_head_agrees_4_3_5() {
        for (update, expected) in [
            (&[][..], true),
            (&[TAG, DATED, ("content-length", "3"), ("x", "y")], true),
            (&[WEAK], false),
            (&[OTHER], false),
            (&[LATER], false),
            (&[("content-length", "4")], false),
            (&[("content-length", "3, 3")], false),
            (&[("content-length", "+3")], false),
            (&[TAG, OTHER], false),
        ] {
            let (stored, update_block) = (block(&[TAG, DATED]), block(update));
            let agrees = head_agrees(Fields::new(&stored), 3, Fields::new(&update_block));
            assert_eq!(agrees, expected, "{update:?}");
        }
        assert!(!head_agrees(Fields::default(), 3, Fields::new(&block(&[TAG]))));
    }

    #[test]
    fn an_update_replaces_in_place_3_2() {
        let stored = block(&[
            ("date", EARLY),
            ("x", "1"),
            ("y", "1"),
            ("x", "2"),
            ("secret", "0"),
            ("content-type", "text/plain"),
            ("content-encoding", "gzip"),
            ("content-length", "3"),
        ]);
        let update = block(&[
            (":status", "304"),
            ("z", "1"),
            ("secret", "1"),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-range", "bytes 0-1/2"),
            ("content-md5", "AA=="),
            ("content-type", "text/html"),
            ("x", "4"),
            ("connection", "close"),
            ("date", LATE),
            ("a", "1"),
            ("x", "3"),
            ("z", "0"),
        ]);
        let mut out = FieldsBuf::default();
        out.push(b"x", b"before");
        let excluded = |name: &[u8]| matches!(name, b"connection" | b"secret");
        freshen(&mut out, Fields::new(&stored), Fields::new(&update), excluded);
        let expected = [
            ("date", LATE),
            ("x", "4"),
            ("x", "3"),
            ("y", "1"),
            ("content-type", "text/html"),
            ("content-encoding", "gzip"),
            ("content-length", "3"),
            ("z", "1"),
            ("z", "0"),
            ("a", "1"),
        ];
        assert_eq!(out.to_block(), block(&expected));
    }
}
