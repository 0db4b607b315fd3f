//! Weighted lists: the syntax of `Accept` and the fields like it (RFC 9110, 12.5).

/// The weight 1, in thousandths (RFC 9110, 12.4.2).
const FULL_WEIGHT: u16 = 1_000;

/// A list of weighted names: without empty members and space around separators, in lower case
/// except for what parameters say, which may tell case apart (RFC 9110, 8.3.1).
pub(super) fn list(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for member in split(value, b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()) {
        if !out.is_empty() {
            out.push(b',');
        }
        for (place, part) in split(member, b';').map(<[u8]>::trim_ascii).enumerate() {
            if place > 0 {
                out.push(b';');
            }
            let name = part.iter().position(|b| matches!(b, b'=' | b'"')).unwrap_or(part.len());
            let start = out.len();
            out.extend_from_slice(part);
            out.iter_mut().skip(start).take(name).for_each(u8::make_ascii_lowercase);
        }
    }
    out
}

/// `Accept-Encoding` as the set of codings that the client takes or refuses: its preference among
/// those it takes would only split the cache.
pub(super) fn codings(value: &[u8]) -> Vec<u8> {
    // There are no quoted strings in this field: every comma separates.
    let members = value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|m| !m.is_empty());
    let mut all: Vec<_> = members.map(coding).collect();
    all.sort_unstable();
    all.dedup();
    // No coding at all is acceptable unless "identity;q=0" or "*;q=0" says otherwise, the latter
    // "without a more specific entry for identity" (RFC 9110, 12.5.3).
    if all.binary_search_by(|coding| (**coding).cmp(b"*;q=0")).is_err() {
        all.retain(|coding| **coding != *b"identity");
    }
    all.join(&b","[..])
}

/// A coding that is taken, as its name; one that is refused, as `name;q=0`: `!` would be part of a
/// name. What is neither stays as it is, and thereby apart.
fn coding(member: &[u8]) -> Box<[u8]> {
    let mut parts = member.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.next().map_or(Some(FULL_WEIGHT), weight);
    let (Some(weight), None, true) = (weight, parts.next(), is_token(&name)) else {
        return member.into();
    };
    let name: &[u8] = match &*name {
        b"x-gzip" => b"gzip",
        b"x-compress" => b"compress",
        other => other,
    };
    if weight == 0 { [name, b";q=0"].concat().into() } else { name.into() }
}

/// A member of a weighted list: its name and its weight. One with a bad weight is none.
pub(super) fn range(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = split(member, b';').map(<[u8]>::trim_ascii);
    let name = parts.next()?;
    let weight = parts
        .find(|part| matches!(part, [b'q' | b'Q', b'=', ..]))
        .map_or(Some(FULL_WEIGHT), weight)?;
    Some((name, weight))
}

/// `q=` and a number from 0 to 1 of at most three decimals (RFC 9110, 12.4.2), in thousandths.
fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole, rest @ ..] = parameter else { return None };
    let decimals = match rest {
        [] => &[],
        [b'.', decimals @ ..] if decimals.len() <= 3 => decimals,
        _ => return None,
    };
    if !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place| decimals.get(place).map_or(0, |digit| u16::from(digit - b'0'));
    match (whole, digit(0) * 100 + digit(1) * 10 + digit(2)) {
        (b'0', thousandths) => Some(thousandths),
        (b'1', 0) => Some(FULL_WEIGHT),
        _ => None,
    }
}

/// Splits at a separator, but not within quoted strings (RFC 9110, 5.6.4).
pub(super) fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |byte| {
        let plain = !std::mem::take(&mut escaped);
        match byte {
            b'"' if plain => quoted = !quoted,
            b'\\' if plain && quoted => escaped = true,
            _ => {}
        }
        !quoted && *byte == separator
    })
}

/// RFC 9110, 5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    let is_tchar = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !text.is_empty() && text.iter().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn accept_encoding_is_a_set_of_codings_9110_12_5_3() {
        for (value, expected) in [
            ("gzip, deflate, br", "br,deflate,gzip"),
            ("BR ,\tGzip;q=0.8,, deflate ; Q=0.001", "br,deflate,gzip"),
            ("x-gzip, gzip, X-Compress", "compress,gzip"), // 8.4.1
            ("gzip, identity", "gzip"),
            ("identity", ""), // what an empty field means, too
            ("", ""),
            (" , ,", ""),
            ("gzip, br;q=0", "br;q=0,gzip"),
            ("gzip;q=0.000", "gzip;q=0"),
            ("gzip, identity;q=0", "gzip,identity;q=0"),
            ("*", "*"),
            ("gzip, *;q=0", "*;q=0,gzip"),
            ("*;q=0, identity, gzip", "*;q=0,gzip,identity"), // else "gzip" alone is taken
            ("dcb, zstd", "dcb,zstd"),
            ("!gzip", "!gzip"),
            ("gzip;q=2", "gzip;q=2"),
            ("Gzip;q=0.0001", "Gzip;q=0.0001"),
            ("gzip;q=", "gzip;q="),
            ("gzip;q=1;a=b", "gzip;q=1;a=b"),
            ("gzip;level=9", "gzip;level=9"),
            ("a b, \"b , a\"", "\"b,a b,a\""),
        ] {
            assert_eq!(text(codings(value.as_bytes())), expected, "{value}");
            assert_eq!(text(codings(expected.as_bytes())), expected, "{value}, twice");
        }
    }

    #[test]
    fn lists_lose_case_and_space_only_where_neither_counts() {
        for (value, expected) in [
            ("Text/HTML ; Level=A , , */*;Q=0.1", "text/html;level=A,*/*;q=0.1"),
            ("a/b;p=\"X , ; Y\\\" , \" , c/d", "a/b;p=\"X , ; Y\\\" , \",c/d"),
            ("a/b;p=\"open , C", "a/b;p=\"open , C"),
            ("\"A\" ,B", "\"A\",b"),
            ("en-GB, en;q=0.9,\tDE", "en-gb,en;q=0.9,de"), // RFC 4647, 2
            ("UTF-8 ,*", "utf-8,*"),                       // RFC 9110, 8.3.2
            (",", ""),
            (";;,a", ";;,a"),
        ] {
            assert_eq!(text(list(value.as_bytes())), expected, "{value}");
            assert_eq!(text(list(expected.as_bytes())), expected, "{value}, twice");
        }
    }

    #[test]
    fn weights_are_as_in_9110_12_4_2() {
        for (text, expected) in [
            ("a", Some(1_000)),
            ("a;q=1", Some(1_000)),
            ("a ; Q=1.000", Some(1_000)),
            ("a;level=1;q=0.25", Some(250)),
            ("a;b=\";q=0\";q=0.7", Some(700)),
            ("a;q=0.", Some(0)),
            ("a;q=0.001", Some(1)),
            ("a;q=1.001", None),
            ("a;q=0.1234", None),
            ("a;q=.5", None),
            ("a;q=-1", None),
            ("a;q=", None),
            ("a;q=0.5x", None),
        ] {
            assert_eq!(
                range(text.as_bytes()),
                expected.map(|weight| (&b"a"[..], weight)),
                "{text}"
            );
        }
    }
}
