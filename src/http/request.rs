//! The parts of a request head that decide how it is cached.

use super::cache_control::CacheControl;
use super::fields::Fields;

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
    /// Whether there is a `Cookie` field.
    pub cookie: bool,
    /// Whether there is an `Authorization` field.
    pub authorization: bool,
    /// Whether there is a `Range` field.
    pub range: bool,
    /// Whether there is an `If-None-Match` or an `If-Modified-Since` field.
    pub conditional: bool,
    /// Whether there is an `If-Match` or an `If-Unmodified-Since` field, which are for origins.
    pub precondition: bool,
    /// Whether there is a `Cache-Control` or a `Pragma` field.
    pub directives: bool,
    /// Every field.
    pub fields: Fields<'a>,
}

impl<'a> RequestHead<'a> {
    /// Reads the head out of the host's field block.
    #[must_use]
    pub fn read(fields: Fields<'a>) -> Self {
        let mut head = Self { fields, ..Self::default() };
        for (name, value) in fields.iter() {
            match name {
                b":method" => head.method = value,
                b":scheme" => head.scheme = value,
                b":authority" => head.authority = value,
                b":path" => head.target = value,
                b"cookie" => head.cookie = true,
                b"authorization" => head.authorization = true,
                b"range" => head.range = true,
                b"if-none-match" | b"if-modified-since" => head.conditional = true,
                b"if-match" | b"if-unmodified-since" => head.precondition = true,
                b"cache-control" | b"pragma" => head.directives = true,
                _ => {}
            }
        }
        head
    }

    /// Whether nothing in it can make a fresh stored response the wrong answer as it is.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        !(self.range || self.conditional || self.directives || self.authorization)
    }

    /// The directives of the request. `Pragma: no-cache` counts where there is no `Cache-Control`
    /// (RFC 9111, 5.4).
    #[must_use]
    pub fn cache_control(&self) -> CacheControl {
        if !self.directives {
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
        assert!(head.cookie && head.is_plain());
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
