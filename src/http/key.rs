//! The cache key: which requests mean the same resource (RFC 9111, 2).
//!
//! The key is text, `namespace scheme://authority/path?query`, normalised as RFC 3986, 6.2.2 allows
//! (percent-encoding, the authority's case, the default port). It is stored with every entry and
//! compared in full: a hash only finds candidates, so a collision cannot serve the wrong body.

use std::cell::OnceCell;

use xxhash_rust::xxh3::xxh3_128;

use super::query::QueryRule;
use super::request::RequestHead;

/// What stands between a resource's key and the rest of a variant's. No URL and no field has it.
pub const SEPARATOR: &[u8] = b"\n\n";
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

    /// The resource's part of it, if it is the key of a variant; else all of it.
    #[must_use]
    pub fn resource(&self) -> &[u8] {
        let end = self.bytes.windows(SEPARATOR.len()).position(|two| two == SEPARATOR);
        self.bytes.get(..end.unwrap_or(self.bytes.len())).unwrap_or_default()
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
        write_authority(out, head);
    }
    out.extend_from_slice(path);
    query.write(out, head.path_and_query().1)?;
    if out.len() > MAX_KEY { Err(KeyRefusal::TooLong) } else { Ok(()) }
}

impl KeyRules {
    /// The authority as the key says it, if the request says it in another way. An origin that tells
    /// `a.example` from `A.example:80` must not answer for both.
    #[must_use]
    pub fn normalised_authority(&self, head: &RequestHead<'_>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(head.authority.len());
        write_authority(&mut out, head);
        (self.authority && out != head.authority).then_some(out)
    }
}

fn write_authority(out: &mut Vec<u8>, head: &RequestHead<'_>) {
    let start = out.len();
    out.extend_from_slice(without_default_port(head.scheme, head.authority));
    out.iter_mut().skip(start).for_each(u8::make_ascii_lowercase);
}

fn without_default_port<'a>(scheme: &[u8], authority: &'a [u8]) -> &'a [u8] {
    let port: &[u8] = if scheme == b"https" { b":443" } else { b":80" };
    // What has it twice is no authority, and must not become one that has it once.
    let host = authority.strip_suffix(port).filter(|host| !host.ends_with(port));
    host.unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::super::percent::normalise;
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
        normalise(&mut path, head.path_and_query().0);
        write_key(&mut out, &head, &path, &rules, query)?;
        Ok(String::from_utf8(out).unwrap())
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
        assert_eq!(rules.normalised_authority(&head), None);
        let rules = KeyRules { scheme: true, authority: true, namespace: (*b"").into() };
        write_key(&mut out, &head, b"/x", &rules, &QueryRule::All).unwrap();
        assert_eq!(out, b"https://a/x");
        assert_eq!(rules.normalised_authority(&head).as_deref(), Some(&b"a"[..]));
        let head = RequestHead { authority: b"a:80", ..head };
        assert_eq!(rules.normalised_authority(&head), None);
        // In the form that the key says it has the same key.
        let head = RequestHead { authority: b"a:443:443", ..head };
        assert_eq!(rules.normalised_authority(&head), None);
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
