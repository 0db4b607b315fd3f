//! Request fields in one spelling, so that requests that mean the same share a stored variant.
//!
//! RFC 9111, 4.1 lets fields match after changes "known to have identical semantics, according to
//! the header field's specification": only fields whose syntax we know are changed; of all others
//! only the lines are joined. What the operator knows beyond that is configured, as a
//! [`Normaliser`]; the origin is then sent what the key says ([`Normalisers::rewrites`]).

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::fields::Fields;
use super::weighted::{codings, list, range, split};

/// What the configuration says of a request field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Normaliser {
    /// It does not count where `Vary` names it.
    Ignore,
    /// Only these values count. The configuration bounds how many there are.
    OneOf {
        /// The values, the first of them for `*`.
        values: Vec<Box<[u8]>>,
        /// The value of a request that wants none of them; without it, the field counts as absent.
        otherwise: Option<Box<[u8]>>,
    },
}

/// The normalisers of a configuration, by field.
#[derive(Clone, Debug, Default)]
pub struct Normalisers {
    fields: BTreeMap<Box<[u8]>, Normaliser>,
}

/// What a request field comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Normal<'a> {
    /// It does not count.
    Ignored,
    /// The request does not have it, or nothing that counts.
    Absent,
    /// Its value, perhaps empty.
    Value(Cow<'a, [u8]>),
}

impl Normalisers {
    /// Takes normalisers with the names, in lower case, of their fields.
    #[must_use]
    pub fn new(fields: impl IntoIterator<Item = (Box<[u8]>, Normaliser)>) -> Self {
        Self { fields: fields.into_iter().collect() }
    }

    /// Whether a field does not count; `name` in lower case.
    #[must_use]
    pub fn ignores(&self, name: &[u8]) -> bool {
        matches!(self.fields.get(name), Some(Normaliser::Ignore))
    }

    /// What a field of a request comes to; `name` in lower case.
    #[must_use]
    pub fn apply<'a>(&'a self, name: &[u8], request: Fields<'_>) -> Normal<'a> {
        let value = match self.fields.get(name) {
            Some(Normaliser::Ignore) => return Normal::Ignored,
            Some(Normaliser::OneOf { values, otherwise }) => {
                pick(values, name, request).or(otherwise.as_deref()).map(Cow::Borrowed)
            }
            None => joined(name, request).map(|value| Cow::Owned(by_syntax(name, value))),
        };
        value.map_or(Normal::Absent, Normal::Value)
    }

    /// The fields to set on the request that is forwarded, or to remove where there is no value:
    /// those of which only some values count, and which do not have that value yet.
    pub fn rewrites<'a>(
        &'a self,
        request: Fields<'a>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.fields.iter().filter_map(move |(name, normaliser)| {
            let Normaliser::OneOf { values, otherwise } = normaliser else { return None };
            let value = pick(values, name, request).or(otherwise.as_deref());
            let mut lines = lines(name, request);
            let same = lines.next() == value && lines.next().is_none();
            (!same).then_some((&**name, value))
        })
    }
}

/// The lines of a field. Envoy has the authority where a client sent `Host`.
fn lines<'a>(name: &'a [u8], request: Fields<'a>) -> impl Iterator<Item = &'a [u8]> {
    request.all(if name == b"host" { b":authority" } else { name })
}

/// The value of all lines of a field (RFC 9110, 5.3).
fn joined(name: &[u8], request: Fields<'_>) -> Option<Vec<u8>> {
    let mut lines = lines(name, request).map(<[u8]>::trim_ascii);
    let mut value = lines.next()?.to_vec();
    for line in lines {
        value.extend_from_slice(b", ");
        value.extend_from_slice(line);
    }
    Some(value)
}

/// The value as the field's own syntax allows.
fn by_syntax(name: &[u8], value: Vec<u8>) -> Vec<u8> {
    match name {
        b"accept-encoding" => codings(&value),
        b"accept" | b"accept-charset" | b"accept-language" => list(&value),
        b"host" => value.to_ascii_lowercase(),
        _ => value,
    }
}

/// The listed value that a request wants most: by weight, then in its own order. A value that it
/// refuses is never picked, and `*` stands for what it does not name itself.
fn pick<'a>(values: &'a [Box<[u8]>], name: &[u8], request: Fields<'_>) -> Option<&'a [u8]> {
    let ranges = || lines(name, request).flat_map(|line| split(line, b',')).filter_map(range);
    let named = |value: &[u8]| ranges().find(|(range, _)| range.eq_ignore_ascii_case(value));
    let values: Vec<_> =
        values.iter().map(|value| (&**value, named(value).map(|(_, weight)| weight))).collect();
    let (mut best, mut most) = (None, 0);
    for (range, weight) in ranges() {
        if weight <= most {
            continue;
        }
        let found = if range == b"*" {
            values.iter().find(|(_, named)| named.is_none())
        } else {
            let open = values.iter().filter(|(_, named)| *named != Some(0));
            // RFC 4647, 3.4 cuts the range from its end: the longest value is met first.
            open.filter(|(value, _)| covers(value, range)).max_by_key(|(value, _)| value.len())
        };
        if let Some((value, _)) = found {
            (best, most) = (Some(*value), weight);
        }
    }
    best
}

/// Whether a range is the value, or a language range within it: `en-GB` is within `en`.
fn covers(value: &[u8], range: &[u8]) -> bool {
    range.split_at_checked(value.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(value)
            && (rest.is_empty() || rest.starts_with(b"-") && is_language_range(range))
    })
}

/// RFC 4647, 2.1: subtags of one to eight letters or digits.
fn is_language_range(text: &[u8]) -> bool {
    text.split(|b| *b == b'-')
        .all(|tag| matches!(tag.len(), 1..=8) && tag.iter().all(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::super::fields::block;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn one_of(values: &[&str], otherwise: Option<&str>) -> Normaliser {
        let values = values.iter().map(|value| value.as_bytes().into()).collect();
        Normaliser::OneOf { values, otherwise: otherwise.map(|value| value.as_bytes().into()) }
    }

    #[test]
    fn lines_are_joined_and_absent_is_not_empty_9110_5_3() {
        let bytes =
            block(&[("accept", "a/a "), ("accept", "B/b"), ("x", " 1"), ("x", ""), ("e", "")]);
        let none = Normalisers::default();
        let apply = |name: &str| none.apply(name.as_bytes(), Fields::new(&bytes));
        assert_eq!(apply("accept"), Normal::Value(b"a/a,b/b".into()));
        assert_eq!(apply("x"), Normal::Value(b"1, ".into()));
        assert_eq!(apply("e"), Normal::Value(b"".into()));
        assert_eq!(apply("y"), Normal::Absent);
        let bytes = block(&[(":authority", "A.example")]);
        let host = none.apply(b"host", Fields::new(&bytes));
        assert_eq!(host, Normal::Value(b"a.example".into()));
    }

    #[test]
    fn only_fields_of_known_syntax_are_changed_9111_4_1() {
        for (name, expected) in [
            ("accept", "m/5.0 (x11;linux) like,x"),
            ("accept-charset", "m/5.0 (x11;linux) like,x"),
            ("accept-encoding", "M/5.0 (X11; Linux) Like,x"),
            ("accept-language", "m/5.0 (x11;linux) like,x"),
            ("x-requested-with", "M/5.0 (X11; Linux) Like , , x"),
            ("user-agent", "M/5.0 (X11; Linux) Like , , x"),
        ] {
            let bytes = block(&[(name, " M/5.0 (X11; Linux) Like , , x ")]);
            let none = Normalisers::default();
            let found = none.apply(name.as_bytes(), Fields::new(&bytes));
            assert_eq!(found, Normal::Value(expected.as_bytes().into()), "{name}");
        }
    }

    #[test]
    fn the_wanted_value_is_found_as_in_4647_3_4() {
        let languages = one_of(&["en", "de", "de-AT", "zh-Hant"], Some("en"));
        let languages = Normalisers::new([((*b"accept-language").into(), languages)]);
        for (lines, expected) in [
            (&["de"][..], "de"),
            (&["DE-at-1996"], "de-AT"),
            (&["de-CH, en"], "de"),
            (&["en;q=0.5, de;q=0.7"], "de"),
            (&["fr, de;q=0.7", "en;q=0.7"], "de"),
            (&["zh"], "en"), // only the range is cut, never the value
            (&["dead"], "en"),
            (&["*"], "en"),
            (&["de;q=0.5, *;q=0.1"], "de"),
            (&["en;q=0.5, *"], "de"),
            (&["en;q=0, *"], "de"),
            (&["de-CH, de;q=0, zh-Hant-TW;q=0.1"], "zh-Hant"),
            (&["de;q=7, zh-hant;q=0.1"], "zh-Hant"),
            (&["de;q=0"], "en"),
            (&["de_AT, de-waytoolong1"], "en"),
            (&[""], "en"),
            (&[], "en"),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("accept-language", *line)).collect();
            let bytes = block(&fields);
            let found = languages.apply(b"accept-language", Fields::new(&bytes));
            assert_eq!(found, Normal::Value(expected.as_bytes().into()), "{lines:?}");
        }
    }

    #[test]
    fn the_forwarded_request_says_what_the_key_says() {
        let normalisers = Normalisers::new([
            ((*b"accept").into(), one_of(&["text/html", "application/json"], None)),
            ((*b"x-tier").into(), one_of(&["gold"], Some("none"))),
            ((*b"x-noise").into(), Normaliser::Ignore),
        ]);
        assert!(normalisers.ignores(b"x-noise") && !normalisers.ignores(b"accept"));
        for (fields, expected) in [
            (&[("accept", "text/html"), ("x-tier", "gold"), ("x-noise", "1")][..], &[][..]),
            (&[("x-tier", "none")], &[]),
            (&[], &[("x-tier", Some("none"))]),
            (&[("accept", "image/png"), ("x-tier", "none")], &[("accept", None)]),
            (
                &[("accept", "Text/Html;level=1;q=0.4, application/json;q=0.3"), ("x-tier", "x")],
                &[("accept", Some("text/html")), ("x-tier", Some("none"))],
            ),
            (&[("x-tier", "gold"), ("x-tier", "gold")], &[("x-tier", Some("gold"))]),
        ] {
            let bytes = block(fields);
            let found: Vec<_> = normalisers.rewrites(Fields::new(&bytes)).collect();
            let expected: Vec<_> =
                expected.iter().map(|(n, v)| (n.as_bytes(), v.map(str::as_bytes))).collect();
            assert_eq!(found, expected, "{fields:?}");
        }
    }
}
