//! The parts of a request head that decide how it is cached.

use super::cache_control::CacheControl;
use super::fields::Fields;

/// Which fields a request has, of those that matter to a cache.
#[derive(Clone, Copy, Debug, Default)]
pub struct Has {
    /// `Cookie`.
    pub cookie: bool,
    /// `Authorization`.
    pub authorization: bool,
    /// `Range`, `If-Range` or `Expect`.
    pub range: bool,
    /// `If-None-Match` or `If-Modified-Since`.
    pub condition: bool,
    /// `If-Match` or `If-Unmodified-Since`, which are for origins.
    pub precondition: bool,
    /// `Cache-Control` or `Pragma`.
    pub directives: bool,
    /// `X-Forwarded-Proto` that says something else than `:scheme`. Envoy sets it where it is missing.
    pub other_scheme: bool,
}

impl Has {
    /// Whether nothing in it can make a fresh stored response the wrong answer as it is.
    #[must_use]
    pub const fn nothing_special(self) -> bool {
        !(self.range || self.condition || self.directives || self.authorization)
    }
}

/// A request head, read in one pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestHead<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// `:scheme`.
    pub scheme: &'a [u8],
    /// `:authority`.
    pub authority: &'a [u8],
    /// `:path`: path and query.
    pub target: &'a [u8],
    /// Which fields there are.
    pub has: Has,
    /// Every field.
    pub fields: Fields<'a>,
}

impl<'a> RequestHead<'a> {
    /// Reads the head out of the host's field block.
    #[must_use]
    pub fn read(fields: Fields<'a>) -> Self {
        let mut head = Self { fields, ..Self::default() };
        let mut forwarded = None;
        for (name, value) in fields.iter() {
            match name {
                b":method" => head.method = value,
                b":scheme" => head.scheme = value,
                b":authority" => head.authority = value,
                b":path" => head.target = value,
                b"cookie" => head.has.cookie = true,
                b"authorization" => head.has.authorization = true,
                b"range" | b"if-range" | b"expect" => head.has.range = true,
                b"if-none-match" | b"if-modified-since" => head.has.condition = true,
                b"if-match" | b"if-unmodified-since" => head.has.precondition = true,
                b"cache-control" | b"pragma" => head.has.directives = true,
                b"x-forwarded-proto" => forwarded = Some(value),
                _ => {}
            }
        }
        head.has.other_scheme = forwarded.is_some_and(|said| said != head.scheme);
        head
    }

    /// The directives of the request. `Pragma: no-cache` counts where there is no `Cache-Control`
    /// (RFC 9111, 5.4).
    #[must_use]
    pub fn cache_control(&self) -> CacheControl {
        if !self.has.directives {
            return CacheControl::default();
        }
        let name: &[u8] = match self.fields.get(b"cache-control") {
            Some(_) => b"cache-control",
            None => b"pragma",
        };
        CacheControl::parse(self.fields.all(name))
    }

    /// Path and query, apart.
    #[must_use]
    pub fn path_and_query(&self) -> (&'a [u8], Option<&'a [u8]>) {
        let mut parts = self.target.splitn(2, |b| *b == b'?');
        (parts.next().unwrap_or_default(), parts.next())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::block;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn reads_what_it_needs() {
        let bytes =
            block(&[(":method", "GET"), (":path", "/a?b?c"), ("cookie", "x"), ("accept", "y")]);
        let head = RequestHead::read(Fields::new(&bytes));
        assert_eq!(head.method, b"GET");
        assert_eq!(head.path_and_query(), (&b"/a"[..], Some(&b"b?c"[..])));
        assert!(head.has.cookie && head.has.nothing_special());
        for (said, other) in [("https", false), ("http", true), ("https,http", true), ("", true)] {
            let bytes = block(&[("x-forwarded-proto", said), (":scheme", "https")]);
            assert_eq!(RequestHead::read(Fields::new(&bytes)).has.other_scheme, other, "{said}");
        }
    }

    #[test]
    fn rfc9111_5_4_pragma_counts_only_alone() {
        for (fields, no_cache) in [
            (&[("pragma", "no-cache")][..], true),
            (&[("pragma", "no-cache"), ("cache-control", "max-stale")], false),
            (&[("cache-control", "max-age=0"), ("cache-control", "no-cache")], true),
            (&[], false),
        ] {
            let bytes = block(fields);
            let head = RequestHead::read(Fields::new(&bytes));
            assert_eq!(head.cache_control().no_cache.is_some(), no_cache, "{fields:?}");
        }
    }
}
