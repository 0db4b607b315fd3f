//! Request fields in a form in which equal meanings are equal bytes (RFC 9111, 4.1), so that they do
//! not split the cache: what the RFCs allow by itself, and what the configuration says beyond that.

use std::borrow::Cow;

use super::fields::Fields;

/// Members of a list that are looked at; a longer list counts as it stands.
const MAX_MEMBERS: usize = 32;

/// What the configuration says of a request field.
#[derive(Clone, Debug)]
pub enum Normaliser {
    /// It does not count, whatever `Vary` says.
    Ignore,
    /// Only these values are told apart: the one that the client likes best.
    OneOf {
        /// The values.
        values: Vec<Box<[u8]>>,
        /// What counts when the client likes none of them; none is no such field.
        otherwise: Option<Box<[u8]>>,
    },
}

/// What the configuration says, by the field's name in lower case.
#[derive(Clone, Debug, Default)]
pub struct Normalisers {
    all: Vec<(Box<[u8]>, Normaliser)>,
}

impl Normalisers {
    /// Takes what the configuration says.
    #[must_use]
    pub const fn new(all: Vec<(Box<[u8]>, Normaliser)>) -> Self {
        Self { all }
    }

    /// Whether a field does not count.
    #[must_use]
    pub fn ignores(&self, name: &[u8]) -> bool {
        matches!(self.get(name), Some(Normaliser::Ignore))
    }

    /// What counts of a field of a request; none if there is no such field, which is not the same as
    /// an empty one.
    #[must_use]
    pub fn value<'a>(&'a self, name: &[u8], request: Fields<'a>) -> Option<Cow<'a, [u8]>> {
        let value = joined(name, request);
        if let Some(Normaliser::OneOf { values, otherwise }) = self.get(name) {
            return liked(values, otherwise.as_deref(), &value.unwrap_or_default())
                .map(Cow::Borrowed);
        }
        match name {
            b"accept-encoding" => value.map(|value| codings(&value).into()),
            b"accept" | b"accept-charset" | b"accept-language" => {
                value.map(|value| list(&value).into())
            }
            _ => value,
        }
    }

    /// The fields of a request that go to the origin in another form, so that it sees what the key
    /// says: name and value, or none to be taken away.
    pub fn rewrites<'a>(
        &'a self,
        request: Fields<'a>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.all.iter().filter_map(move |(name, normaliser)| {
            let Normaliser::OneOf { values, otherwise } = normaliser else { return None };
            let value = joined(name, request);
            let found = liked(values, otherwise.as_deref(), value.as_deref().unwrap_or_default());
            (found != value.as_deref()).then_some((&**name, found))
        })
    }

    fn get(&self, name: &[u8]) -> Option<&Normaliser> {
        self.all.iter().find(|(n, _)| **n == *name).map(|(_, normaliser)| normaliser)
    }
}

/// All lines of a field as one (RFC 9110, 5.3).
fn joined<'a>(name: &[u8], request: Fields<'a>) -> Option<Cow<'a, [u8]>> {
    let mut lines = request.iter().filter(|(n, _)| *n == name).map(|(_, value)| value);
    let mut all = Cow::Borrowed(lines.next()?);
    for line in lines {
        let all = all.to_mut();
        all.extend_from_slice(b", ");
        all.extend_from_slice(line);
    }
    Some(all)
}

/// Whether a byte inside `text` stands outside of quoted strings, byte by byte.
fn outside_quotes(text: &[u8]) -> impl Iterator<Item = (u8, bool)> {
    let (mut quoted, mut escaped) = (false, false);
    text.iter().map(move |byte| {
        let outside = !quoted;
        if escaped {
            escaped = false;
        } else if *byte == b'"' {
            quoted = !quoted;
        } else {
            escaped = quoted && *byte == b'\\';
        }
        (*byte, outside)
    })
}

/// A list with parameters in lower case, without the spaces that mean nothing and without empty
/// members. Quoted strings stay as they are.
fn list(text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut pending_space = false;
    for (byte, outside) in outside_quotes(text) {
        match byte {
            b' ' | b'\t' if outside => pending_space = true,
            b',' if outside && out.last().is_none_or(|last| *last == b',') => pending_space = false,
            b',' | b';' if outside => {
                pending_space = false;
                out.push(byte);
            }
            _ => {
                if pending_space && !matches!(out.last(), None | Some(b',' | b';')) {
                    out.push(b' ');
                }
                pending_space = false;
                out.push(if outside { byte.to_ascii_lowercase() } else { byte });
            }
        }
    }
    if out.last() == Some(&b',') {
        out.pop();
    }
    out
}

/// The codings that a client takes: by name, without weights, sorted; those it refuses with `!`. A
/// response in any coding it takes is a right answer, so neither order nor weights count. Unknown
/// codings stay: a response in one must not reach clients that do not know it.
fn codings(text: &[u8]) -> Vec<u8> {
    let text = list(text);
    let members: Vec<&[u8]> = text.split(|b| *b == b',').filter(|m| !m.is_empty()).collect();
    if members.len() > MAX_MEMBERS {
        return text;
    }
    let mut names: Vec<Vec<u8>> = Vec::with_capacity(members.len());
    for member in members {
        let (name, weight) = weighted(member);
        // RFC 9110, 8.4.1.
        let name: &[u8] = match name {
            b"x-gzip" => b"gzip",
            b"x-compress" => b"compress",
            name => name,
        };
        names.push(match weight {
            Some(0) => [b"!", name].concat(),
            Some(_) if name == b"identity" => continue,
            Some(_) => name.to_vec(),
            None => member.to_vec(),
        });
    }
    names.sort();
    names.dedup();
    names.join(&b","[..])
}

/// A member's name and weight in thousandths (RFC 9110, 12.4.2); none if that is malformed.
fn weighted(member: &[u8]) -> (&[u8], Option<u16>) {
    let mut parts = member.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or_default();
    let weight = match parts.next() {
        None => Some(1000),
        Some([b'q' | b'Q', b'=', digits @ ..]) => thousandths(digits),
        Some(_) => None,
    };
    (name, weight)
}

fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut weight = u16::from(whole - b'0') * 1000;
    for (digit, unit) in fraction.iter().zip([100, 10, 1]) {
        weight += u16::from(digit.is_ascii_digit().then_some(digit - b'0')?) * unit;
    }
    (weight <= 1000).then_some(weight)
}

/// Of `values` the one that the client likes best, by weight and then by its order.
fn liked<'a>(
    values: &'a [Box<[u8]>],
    otherwise: Option<&'a [u8]>,
    text: &[u8],
) -> Option<&'a [u8]> {
    let mut best: Option<(u16, &[u8])> = None;
    for member in text.split(|b| *b == b',').map(<[u8]>::trim_ascii).take(MAX_MEMBERS) {
        let (range, weight) = weighted(member);
        let weight = weight.filter(|weight| *weight > best.map_or(0, |(most, _)| most));
        if let (Some(weight), Some(value)) = (weight, matching(values, range)) {
            best = Some((weight, value));
        }
    }
    best.map(|(_, value)| value).or(otherwise)
}

/// The value that a range means: itself, what is left of it when its end is cut off (`en-GB` is `en`:
/// RFC 4647, 3.4), or for a wildcard the first.
fn matching<'a>(values: &'a [Box<[u8]>], range: &[u8]) -> Option<&'a [u8]> {
    if range == b"*" || range == b"*/*" {
        return values.first().map(|value| &**value);
    }
    let mut range = Some(range).filter(|range| !range.is_empty());
    while let Some(wanted) = range {
        if let Some(value) = values.iter().find(|value| value.eq_ignore_ascii_case(wanted)) {
            return Some(value);
        }
        range = wanted.iter().rposition(|b| *b == b'-').and_then(|at| wanted.get(..at));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::fields::block;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn value(all: &Normalisers, fields: &[(&str, &str)], name: &str) -> Option<String> {
        let bytes = block(fields);
        let value = all.value(name.as_bytes(), Fields::new(&bytes));
        value.map(|value| String::from_utf8(value.into_owned()).unwrap())
    }

    #[test]
    fn rfc9110_8_4_1_accept_encoding_does_not_split_the_cache() {
        for (text, expected) in [
            ("gzip, br", "br,gzip"),
            ("br;q=1.0, gzip;q=0.8", "br,gzip"),
            ("GZIP ,, x-gzip;q=0.5,br", "br,gzip"),
            ("gzip, identity", "gzip"),
            ("gzip, identity;q=0", "!identity,gzip"),
            ("gzip;q=0", "!gzip"),
            ("gzip;q=0.000, *", "!gzip,*"),
            ("aws-chunked, gzip", "aws-chunked,gzip"),
            ("gzip;q=2", "gzip;q=2"),
            ("gzip;q=0.1234", "gzip;q=0.1234"),
            ("identity", ""),
            ("", ""),
        ] {
            let found =
                value(&Normalisers::default(), &[("accept-encoding", text)], "accept-encoding");
            assert_eq!(found.as_deref(), Some(expected), "{text}");
        }
        assert_eq!(value(&Normalisers::default(), &[], "accept-encoding"), None);
        let many = ["gzip"; MAX_MEMBERS + 1].join(",");
        let found =
            value(&Normalisers::default(), &[("accept-encoding", &many)], "accept-encoding");
        assert_eq!(found, Some(many));
    }

    #[test]
    fn rfc9111_4_1_spaces_case_and_lines_where_they_mean_nothing() {
        for (name, lines, expected) in [
            ("accept", &["Text/HTML ; Q=0.5 ,, */*"][..], "text/html;q=0.5,*/*"),
            ("accept", &["text/html", "*/*"], "text/html,*/*"),
            ("accept", &[r#"a/b;p="X,  \"Y"; q=1,"#], r#"a/b;p="X,  \"Y";q=1"#),
            ("accept-language", &["en-GB, EN"], "en-gb,en"),
            ("user-agent", &["Mozilla/5.0 (X11; Linux)"], "Mozilla/5.0 (X11; Linux)"),
            ("x-any", &["A", "b"], "A, b"),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| (name, *line)).collect();
            let found = value(&Normalisers::default(), &fields, name);
            assert_eq!(found.as_deref(), Some(expected), "{name} {lines:?}");
        }
    }

    fn languages(otherwise: Option<&str>) -> Normalisers {
        let values = vec![(*b"en").into(), (*b"zh-CN").into()];
        let otherwise = otherwise.map(|text| text.as_bytes().into());
        let one_of = Normaliser::OneOf { values, otherwise };
        Normalisers::new(vec![
            ((*b"accept-language").into(), one_of),
            ((*b"user-agent").into(), Normaliser::Ignore),
        ])
    }

    #[test]
    fn of_a_few_values_the_one_the_client_likes_best() {
        for (text, expected) in [
            ("en", Some("en")),
            ("en-GB;q=0.5, zh-cn", Some("zh-CN")),
            ("fr, en-US-x, zh-CN;q=0.9", Some("en")),
            ("*", Some("en")),
            ("en;q=0, zh-CN;q=0.001", Some("zh-CN")),
            ("fr", None),
            ("zh", None),
            ("", None),
            ("en;q=x", None),
        ] {
            let fields = [("accept-language", text)];
            for otherwise in [None, Some("de")] {
                let found = value(&languages(otherwise), &fields, "accept-language");
                assert_eq!(found.as_deref(), expected.or(otherwise), "{text}");
            }
        }
        assert_eq!(value(&languages(Some("de")), &[], "accept-language").as_deref(), Some("de"));
        assert!(languages(None).ignores(b"user-agent") && !languages(None).ignores(b"accept"));
    }

    #[test]
    fn the_origin_sees_what_the_key_says() {
        for (fields, otherwise, expected) in [
            (&[("accept-language", "en")][..], None, &[][..]),
            (&[("accept-language", "en-GB, fr")], None, &[("accept-language", Some("en"))]),
            (&[("accept-language", "fr")], None, &[("accept-language", None)]),
            (&[("accept-language", "fr")], Some("de"), &[("accept-language", Some("de"))]),
            (&[("user-agent", "x")], None, &[]),
        ] {
            let bytes = block(fields);
            let all = languages(otherwise);
            let found: Vec<_> = all.rewrites(Fields::new(&bytes)).collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value): &(&str, Option<&str>)| {
                    (name.as_bytes(), value.map(str::as_bytes))
                })
                .collect();
            assert_eq!(found, expected, "{fields:?}");
        }
    }
}
