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
    /// Whether the answer must not be stored (RFC 9111, 5.2.1.5).
    pub no_store: bool,
}

impl<'a> RequestHead<'a> {
    /// Reads the head out of the host's field block.
    #[must_use]
    pub fn read(fields: Fields<'a>) -> Self {
        let mut head = Self::default();
        for (name, value) in fields.iter() {
            match name {
                b":method" => head.method = value,
                b":scheme" => head.scheme = value,
                b":authority" => head.authority = value,
                b":path" => head.target = value,
                b"cookie" => head.cookie = true,
                b"authorization" => head.authorization = true,
                b"range" => head.range = true,
                b"cache-control" => head.no_store |= CacheControl::parse([value]).no_store,
                _ => {}
            }
        }
        head
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
        assert!(head.cookie && !head.authorization && !head.range);
    }
}
