//! Entity tags (RFC 9110, 8.8.3) and the lists of them in `If-None-Match`.
//!
//! A tag is opaque: nothing in it is unescaped, and commas belong to it. Spaces do as well, which
//! RFC 2616 allowed and the grammar of today does not. What is no tag, an unquoted one above all,
//! is passed over and equals nothing.

use super::fields::Fields;

/// An entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// Whether it is marked `W/`.
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads a value that is one tag and nothing else.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (tag, rest) = take(text.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    /// The tag of a response; the first `ETag` line counts.
    #[must_use]
    pub fn of(response: Fields<'a>) -> Option<Self> {
        Self::parse(response.get(b"etag")?)
    }

    /// Strong comparison (8.8.3.2): the same, and neither is weak.
    #[must_use]
    pub fn is_strongly(self, other: EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison (8.8.3.2): the same, weak or not.
    #[must_use]
    pub fn is_weakly(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// The tags of a list field, over all its lines. `*` is none: see [`is_any`].
pub fn list<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = EntityTag<'a>> {
    lines.into_iter().flat_map(members)
}

/// Whether the field is `*` and nothing else: beside other members it is invalid (13.1.2).
pub fn is_any<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut lines = lines.into_iter();
    lines.next().is_some_and(|line| line.trim_ascii() == b"*") && lines.next().is_none()
}

/// The tags of one line. A malformed member ends at the next comma, whether quoted or not.
fn members(mut rest: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_ascii_start();
            if rest.is_empty() {
                return None;
            }
            let tag = take(rest).map(|(tag, after)| (tag, after.trim_ascii_start()));
            let tag = tag.filter(|(_, after)| matches!(after.first(), None | Some(b',')));
            let from = tag.map_or(rest, |(_, after)| after);
            let comma = from.iter().position(|b| *b == b',').unwrap_or(from.len());
            rest = from.get(comma + 1..).unwrap_or_default();
            if let Some((tag, _)) = tag {
                return Some(tag);
            }
        }
    })
}

/// Takes a tag off the front.
fn take(text: &[u8]) -> Option<(EntityTag<'_>, &[u8])> {
    let (weak, quoted) = text.strip_prefix(b"W/").map_or((false, text), |quoted| (true, quoted));
    let quoted = quoted.strip_prefix(b"\"")?;
    let end = quoted.iter().position(|b| *b == b'"' || b.is_ascii_control() && *b != b'\t')?;
    let (opaque, rest) = quoted.split_at_checked(end)?;
    Some((EntityTag { weak, opaque }, rest.strip_prefix(b"\"")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn tag(text: &str) -> Option<EntityTag<'_>> {
        EntityTag::parse(text.as_bytes())
    }

    #[test]
    fn one_tag_8_8_3() {
        for (text, weak, opaque) in [
            (r#""xyzzy""#, false, "xyzzy"),
            (r#"W/"xyzzy""#, true, "xyzzy"),
            (r#""""#, false, ""),
            (r#" "a,b" "#, false, "a,b"),
            (r#""a b""#, false, "a b"),
            (r#""a\""#, false, r"a\"),
            ("\"\u{fc}\"", false, "\u{fc}"),
        ] {
            assert_eq!(tag(text), Some(EntityTag { weak, opaque: opaque.as_bytes() }), "{text}");
        }
        for text in [
            "",
            "*",
            "a",
            "W/a",
            "\"",
            "\"a",
            "a\"",
            r#"w/"a""#,
            r#"W"a""#,
            r#"W\"a""#,
            r#"W/ "a""#,
            r#""a"b"#,
            r#""a" "b""#,
            r#""a","b""#,
            "\"a\u{7f}\"",
            "\"a\n\"",
            "'a'",
        ] {
            assert_eq!(tag(text), None, "{text}");
        }
    }

    #[test]
    fn the_table_of_8_8_3_2() {
        for (one, other, strongly, weakly) in [
            (r#"W/"1""#, r#"W/"1""#, false, true),
            (r#"W/"1""#, r#"W/"2""#, false, false),
            (r#"W/"1""#, r#""1""#, false, true),
            (r#""1""#, r#""1""#, true, true),
        ] {
            let (one, other) = (tag(one).unwrap(), tag(other).unwrap());
            assert_eq!((one.is_strongly(other), one.is_weakly(other)), (strongly, weakly));
            assert_eq!((other.is_strongly(one), other.is_weakly(one)), (strongly, weakly));
        }
    }

    #[test]
    fn lists_in_odd_dress_13_1_2() {
        for (lines, tags) in [
            (&[r#""a", W/"b","c""#][..], &["a", "b", "c"][..]),
            (&[r#""a""#, r#""b" ,, "c","#, "", " , "], &["a", "b", "c"]),
            (&[",\t,\"a\"\t,\t\"b\""], &["a", "b"]),
            (&[r#""a, "b", c""#], &["b"]),
            (&[r#"a, "b", W/c, w/"d", "e""#], &["b", "e"]),
            (&[r#""a" "b", "c""#], &["c"]),
            (&[r#""a,b"x, "c""#], &["c"]),
            (&[r#""a, b"#, r#""c""#], &["c"]),
            (&["*"], &[]),
            (&[r#"*, "a""#], &["a"]),
            (&[], &[]),
        ] {
            let read: Vec<_> = list(lines.iter().map(|line| line.as_bytes()))
                .map(|tag| std::str::from_utf8(tag.opaque).unwrap())
                .collect();
            assert_eq!(read, tags, "{lines:?}");
        }
    }

    #[test]
    fn a_star_stands_alone_13_1_2() {
        for (lines, any) in [
            (&["*"][..], true),
            (&[" * "], true),
            (&["*", "*"], false),
            (&["*, \"a\""], false),
            (&["*,"], false),
            (&["\"*\""], false),
            (&[], false),
        ] {
            assert_eq!(is_any(lines.iter().map(|line| line.as_bytes())), any, "{lines:?}");
        }
    }
}
