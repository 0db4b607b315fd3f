//! The cache key: which requests mean the same resource (RFC 9111, 2).
//!
//! The key is text, `namespace scheme://authority/path?query`, normalised as RFC 3986, 6.2.2 allows
//! (percent-encoding, the authority's case, the default port). It is stored with every entry and
//! compared in full: a hash only finds candidates, so a collision cannot serve the wrong body.

use std::cell::OnceCell;

use xxhash_rust::xxh3::xxh3_128;

use super::request::RequestHead;

/// Keys longer than this are not cached.
pub const MAX_KEY: usize = 8 << 10;

/// A key, with its hash once that was asked for.
#[derive(Clone, Debug)]
pub struct Key {
    bytes: Box<[u8]>,
    // In halves: a u128 would align everything that holds a key to 16 bytes.
    hash: OnceCell<[u64; 2]>,
}

/// What belongs to the identity besides path and query.
#[derive(Clone, Debug)]
pub struct KeyRules {
    /// Whether the scheme does.
    pub scheme: bool,
    /// Whether the authority does.
    pub authority: bool,
    /// Text that keeps APIs with equal URLs apart.
    pub namespace: Box<[u8]>,
}

/// Which query parameters belong to the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryRule {
    /// The whole query string, in its order.
    All,
    /// Only these, sorted by name, first of duplicates.
    Only(Vec<Parameter>),
}

/// A query parameter that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, decoded.
    pub name: Box<[u8]>,
    /// Whether it must be present and not empty.
    pub required: bool,
    /// Whether its value must be an id: a positive decimal number.
    pub id: bool,
}

/// Why a request has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// No path: `*`, an authority form, or nothing.
    NoPath,
    /// Longer than [`MAX_KEY`].
    TooLong,
    /// A parameter that the rule requires is missing or empty.
    ParameterMissing,
    /// A parameter that should be an id is none.
    NotAnId,
}

impl Key {
    /// Takes a copy of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), hash: OnceCell::new() }
    }

    /// As [`Self::new`], with a hash of its own choice.
    #[must_use]
    pub fn with_hash(bytes: &[u8], hash: u128) -> Self {
        Self { bytes: bytes.into(), hash: halves(hash).into() }
    }

    /// The key in full.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its hash: xxh3, 128 bits, the same for every instance.
    #[must_use]
    pub fn hash(&self) -> u128 {
        let [high, low] = *self.hash.get_or_init(|| halves(xxh3_128(&self.bytes)));
        u128::from(high) << 64 | u128::from(low)
    }
}

#[allow(clippy::cast_possible_truncation)] // both halves are kept
const fn halves(hash: u128) -> [u64; 2] {
    [(hash >> 64) as u64, hash as u64]
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Key {}

impl QueryRule {
    /// Parameters that count, those that must be there, and those of both that must be ids.
    #[must_use]
    pub fn only(include: &[String], require: &[String], ids: &[String]) -> Self {
        let parameter = |name: &String, required| Parameter {
            name: name.as_bytes().into(),
            required,
            id: ids.contains(name),
        };
        let mut all: Vec<_> = require.iter().map(|name| parameter(name, true)).collect();
        all.extend(include.iter().map(|name| parameter(name, false)));
        all.sort_by(|a, b| a.name.cmp(&b.name).then(b.required.cmp(&a.required)));
        all.dedup_by(|later, first| later.name == first.name);
        Self::Only(all)
    }
}

impl QueryRule {
    /// The target as its key means it, if it is written in another way. An origin that takes `%61` for
    /// something else than `a`, the last of two equal parameters, or `;` for `&`, must not answer for
    /// what it was not asked.
    #[must_use]
    pub fn normalised_target(&self, target: &[u8]) -> Option<Vec<u8>> {
        if !target.iter().any(|b| matches!(b, b'%' | b'?')) {
            return None;
        }
        let mut parts = target.splitn(2, |b| *b == b'?');
        let mut out = Vec::with_capacity(target.len());
        normalise(&mut out, parts.next().unwrap_or_default());
        if let Some(query) = parts.next() {
            out.push(b'?');
            match self {
                Self::All => normalise(&mut out, query),
                Self::Only(all) => unambiguous(&mut out, all, query),
            }
        }
        (out != target).then_some(out)
    }
}

/// Appends `path` with its percent-encoding normalised: unreserved characters decoded, hex digits
/// in upper case. A path with a malformed escape is left as it is: decoding its sound part could
/// make it equal to a path that means something else.
pub fn normalise_path(out: &mut Vec<u8>, path: &[u8]) {
    normalise(out, path);
}

/// Writes the key of a request to `out` (cleared first); `path` is already normalised.
///
/// # Errors
/// Why there is none; the request is then not cached.
pub fn write_key(
    out: &mut Vec<u8>,
    head: &RequestHead<'_>,
    path: &[u8],
    rules: &KeyRules,
    query: &QueryRule,
) -> Result<(), KeyRefusal> {
    out.clear();
    if path.first() != Some(&b'/') {
        return Err(KeyRefusal::NoPath);
    }
    if head.target.len() + head.authority.len() > MAX_KEY {
        return Err(KeyRefusal::TooLong);
    }
    if !rules.namespace.is_empty() {
        out.extend_from_slice(&rules.namespace);
        out.push(b' ');
    }
    if rules.scheme {
        out.extend_from_slice(head.scheme);
        out.push(b':');
    }
    out.extend_from_slice(b"//");
    if rules.authority {
        let start = out.len();
        out.extend_from_slice(without_default_port(head.scheme, head.authority));
        out.iter_mut().skip(start).for_each(u8::make_ascii_lowercase);
    }
    out.extend_from_slice(path);
    match (query, head.path_and_query().1) {
        (QueryRule::All, None) => {}
        (QueryRule::All, Some(text)) => {
            out.push(b'?');
            normalise(out, text);
        }
        (QueryRule::Only(all), text) => selected(out, all, text.unwrap_or_default())?,
    }
    if out.len() > MAX_KEY { Err(KeyRefusal::TooLong) } else { Ok(()) }
}

/// The raw value of the first query parameter called `name`; empty if it has none.
#[must_use]
pub fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    query.split(|b| *b == b'&').find_map(|pair| value_of(pair, name))
}

/// The raw value of the parameter `pair`, if it is called `name`.
fn value_of<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut parts = pair.splitn(2, |b| *b == b'=');
    let raw = parts.next().unwrap_or_default();
    // Names rarely carry percent-encoding: decode only those that do.
    let same = if raw.contains(&b'%') || raw.contains(&b'+') {
        let mut decoded = Vec::new();
        decode_form(&mut decoded, raw);
        decoded == name
    } else {
        raw == name
    };
    same.then(|| parts.next().unwrap_or_default())
}

/// Appends `query` with the first only of each parameter that counts, and with no `;` that could
/// be taken for a separator.
fn unambiguous(out: &mut Vec<u8>, all: &[Parameter], query: &[u8]) {
    let start = out.len();
    let mut seen = vec![false; all.len()];
    for pair in query.split(|b| *b == b'&') {
        let counts = all.iter().zip(&mut seen).find(|(p, _)| value_of(pair, &p.name).is_some());
        if counts.is_some_and(|(_, seen)| std::mem::replace(seen, true)) {
            continue;
        }
        if out.len() > start {
            out.push(b'&');
        }
        for (place, part) in pair.split(|b| *b == b';').enumerate() {
            out.extend_from_slice(if place == 0 { b"" } else { b"%3B" });
            out.extend_from_slice(part);
        }
    }
}

/// Appends the parameters that count.
fn selected(out: &mut Vec<u8>, all: &[Parameter], query: &[u8]) -> Result<(), KeyRefusal> {
    let mut separator = b'?';
    for Parameter { name, required, id } in all {
        match parameter(query, name) {
            None | Some([]) if *required => return Err(KeyRefusal::ParameterMissing),
            Some(value) if *id && !is_id(value) => return Err(KeyRefusal::NotAnId),
            None => {}
            Some(value) => {
                out.push(separator);
                separator = b'&';
                encode_name(out, name);
                out.push(b'=');
                normalise(out, value);
            }
        }
    }
    Ok(())
}

/// A positive decimal number.
fn is_id(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_digit) && value.iter().any(|digit| *digit != b'0')
}

/// A configured name may hold `=` or `&`: encoded, it cannot be taken for a separator.
fn encode_name(out: &mut Vec<u8>, name: &[u8]) {
    name.iter().for_each(|byte| push_normalised(out, *byte));
}

fn without_default_port<'a>(scheme: &[u8], authority: &'a [u8]) -> &'a [u8] {
    let port: &[u8] = if scheme == b"https" { b":443" } else { b":80" };
    authority.strip_suffix(port).unwrap_or(authority)
}

fn normalise(out: &mut Vec<u8>, text: &[u8]) {
    let (start, mut rest) = (out.len(), text);
    while let Some(at) = rest.iter().position(|b| *b == b'%') {
        let (plain, escaped) = rest.split_at(at);
        let Some((byte, after)) = escape(escaped) else {
            out.truncate(start);
            return out.extend_from_slice(text);
        };
        out.extend_from_slice(plain);
        push_normalised(out, byte);
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// Decodes as an HTML form does, `+` being a space.
fn decode_form(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some((first, rest)) = text.split_first() {
        if let Some((byte, after)) = escape(text) {
            out.push(byte);
            text = after;
        } else {
            out.push(if *first == b'+' { b' ' } else { *first });
            text = rest;
        }
    }
}

/// Reads `%XX` off the front.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = text else { return None };
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some((digit(*high)? << 4 | digit(*low)?, rest))
}

/// A byte that was, or should be, percent-encoded: as it is if unreserved, else as `%XX`.
fn push_normalised(out: &mut Vec<u8>, byte: u8) {
    if is_unreserved(byte) {
        return out.push(byte);
    }
    let hex = |digit: u8| if digit < 10 { b'0' + digit } else { b'A' + digit - 10 };
    out.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]);
}

/// RFC 3986, 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn key(target: &str, query: &QueryRule) -> Result<String, KeyRefusal> {
        let head = RequestHead {
            scheme: b"http",
            authority: b"API.example:80",
            target: target.as_bytes(),
            ..RequestHead::default()
        };
        let rules = KeyRules { scheme: true, authority: true, namespace: (*b"").into() };
        let (mut path, mut out) = (Vec::new(), Vec::new());
        normalise_path(&mut path, head.path_and_query().0);
        write_key(&mut out, &head, &path, &rules, query)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn only(include: &[&str], require: &[&str]) -> QueryRule {
        let names = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        QueryRule::only(&names(include), &names(require), &names(&["game_gid"]))
    }

    #[test]
    fn the_origin_sees_what_the_key_says() {
        for (target, all, some) in [
            ("/a?b", None, None),
            ("/%61?%62=1", Some("/a?b=1"), Some("/a?%62=1")),
            ("/a%2fb?%zz", Some("/a%2Fb?%zz"), Some("/a%2Fb?%zz")),
            ("/%zz%61", None, None),
            ("/a%2F", None, None),
            ("/a?b=1&x=2&x=3&&", None, None),
            ("/a?b=1&x=2&b=3&c=%zz&%62=4", None, Some("/a?b=1&x=2&c=%zz")),
            ("/a?x=1;b=2&b=3;", None, Some("/a?x=1%3Bb=2&b=3%3B")),
        ] {
            for (rule, expected) in [(QueryRule::All, all), (only(&["b"], &[]), some)] {
                let found = rule.normalised_target(target.as_bytes());
                assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{target}");
            }
        }
    }

    #[test]
    fn equal_urls_have_equal_keys() {
        for (target, expected) in [
            ("/api/games/1", "http://api.example/api/games/1"),
            ("/api/games/%31", "http://api.example/api/games/1"),
            ("/%e4%B8%ad", "http://api.example/%E4%B8%AD"),
            ("/a%2fb", "http://api.example/a%2Fb"),
            ("/a%2", "http://api.example/a%2"),
            ("/a%zz%", "http://api.example/a%zz%"),
            ("/a%%32%35", "http://api.example/a%%32%35"), // not /a%25
            ("/a?b=%7e&a", "http://api.example/a?b=~&a"),
            ("/a?", "http://api.example/a?"),
            ("//a", "http://api.example//a"),
        ] {
            assert_eq!(key(target, &QueryRule::All).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn only_the_named_parameters_count() {
        let rule = only(&["page", "game_gid", "a=b"], &[]);
        for (target, expected) in [
            ("/e?utm=x", "http://api.example/e"),
            ("/e", "http://api.example/e"),
            ("/e?page=2&x=1&game_gid=7", "http://api.example/e?game_gid=7&page=2"),
            ("/e?game_gid=7&page=2&page=3", "http://api.example/e?game_gid=7&page=2"),
            ("/e?game%5fgid=7", "http://api.example/e?game_gid=7"),
            ("/e?page=", "http://api.example/e?page="),
            ("/e?page", "http://api.example/e?page="),
            ("/e?page=%26x=1", "http://api.example/e?page=%26x=1"),
            ("/e?a%3Db=1", "http://api.example/e?a%3Db=1"),
        ] {
            assert_eq!(key(target, &rule).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn required_parameters_must_be_there() {
        let rule = only(&["page"], &["game_gid"]);
        assert_eq!(key("/e?game_gid=7", &rule).as_deref(), Ok("http://api.example/e?game_gid=7"));
        for target in ["/e", "/e?page=1", "/e?game_gid=", "/e?game_gid&page=1"] {
            assert_eq!(key(target, &rule), Err(KeyRefusal::ParameterMissing), "{target}");
        }
    }

    #[test]
    fn what_should_be_an_id_is_one_or_has_no_key() {
        for rule in [only(&["game_gid"], &[]), only(&[], &["game_gid"])] {
            for value in ["abc", "0", "000", "10000147.0", "-1", "%31", "+1", " 1"] {
                let found = key(&format!("/e?game_gid={value}"), &rule);
                assert_eq!(found, Err(KeyRefusal::NotAnId), "{value}");
            }
            assert!(key("/e?game_gid=0010", &rule).is_ok());
        }
    }

    #[test]
    fn odd_targets_are_refused_not_mixed_up() {
        assert_eq!(key("*", &QueryRule::All), Err(KeyRefusal::NoPath));
        assert_eq!(key("", &QueryRule::All), Err(KeyRefusal::NoPath));
        let long = format!("/{}", "x".repeat(MAX_KEY));
        assert_eq!(key(&long, &QueryRule::All), Err(KeyRefusal::TooLong));
    }

    #[test]
    fn parts_can_be_left_out_and_kept_apart() {
        let head = RequestHead {
            scheme: b"https",
            authority: b"A:443",
            target: b"/x",
            ..RequestHead::default()
        };
        let mut out = Vec::new();
        let rules = KeyRules { scheme: false, authority: false, namespace: (*b"shop").into() };
        write_key(&mut out, &head, b"/x", &rules, &QueryRule::All).unwrap();
        assert_eq!(out, b"shop ///x");
        let rules = KeyRules { scheme: true, authority: true, namespace: (*b"").into() };
        write_key(&mut out, &head, b"/x", &rules, &QueryRule::All).unwrap();
        assert_eq!(out, b"https://a/x");
    }

    #[test]
    fn non_utf8_bytes_are_kept() {
        let head = RequestHead { target: b"/\xff?\xfe", ..RequestHead::default() };
        let rules = KeyRules { scheme: false, authority: false, namespace: (*b"").into() };
        let mut out = Vec::new();
        write_key(&mut out, &head, b"/\xff", &rules, &QueryRule::All).unwrap();
        assert_eq!(out, b"///\xff?\xfe");
    }
}
