//! Which fields of a response are stored (RFC 9111, 3.1).

use super::cache_control::{CacheControl, FieldNames};
use super::date;
use super::fields::{Fields, FieldsBuf};
use super::response::ResponseHead;
use super::weighted::is_token;

/// Whether `private` or `no-cache` is limited to fields, and `name` (in lower case) is one of them.
pub(super) fn is_limited(directives: &CacheControl, name: &[u8]) -> bool {
    [&directives.private, &directives.no_cache].into_iter().flatten().any(|names| match names {
        FieldNames::All => false,
        FieldNames::Only(names) => names.iter().any(|n| n == name),
    })
}

/// Fields that belong to one connection or one exchange, never to a stored response: hop-by-hop
/// (RFC 9110, 7.6.1), what is for one proxy (RFC 9111, 3.1), and what this cache writes itself.
const NEVER_STORED: [&[u8]; 16] = [
    b":status",
    b"age",
    b"cache-status",
    b"connection",
    b"content-length",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-cache-status",
    b"x-cache-key",
];

/// Which fields of a response are not stored (3.1).
#[derive(Clone, Copy, Debug)]
pub struct Excluded<'a> {
    head: &'a ResponseHead<'a>,
    cookies_ignored: bool,
    others: &'a [Box<[u8]>],
}

impl<'a> Excluded<'a> {
    /// For a response on a route that ignores cookies or not; `others` are further names, in lower
    /// case.
    #[must_use]
    pub const fn new(
        head: &'a ResponseHead<'a>,
        cookies_ignored: bool,
        others: &'a [Box<[u8]>],
    ) -> Self {
        Self { head, cookies_ignored, others }
    }

    /// Whether a field, its name in lower case, is not stored.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        is_never_kept(name)
            || self.cookies_ignored && name == b"set-cookie"
            || self.others.iter().any(|other| **other == *name)
            || self.head.connection && self.on_connection(name)
            || is_limited(&self.head.cache_control, name)
    }

    fn on_connection(&self, name: &[u8]) -> bool {
        let lines = self.head.fields.all(b"connection");
        let mut names = lines.flat_map(|line| line.split(|b| *b == b','));
        names.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(name))
    }

    /// The fields that are stored, as they came.
    pub fn kept(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.head.fields.iter().filter(|(name, _)| !self.contains(name))
    }

    /// Collects the fields that are stored (cleared first). One without `Date` gets the time it was
    /// received (RFC 9110, 6.6.1): Envoy would add the time of each hit.
    pub fn stored_fields(&self, out: &mut FieldsBuf, received_ms: u64) {
        out.clear();
        for (name, value) in self.kept() {
            if name == b"vary" && self.cookies_ignored {
                without_cookie(out, value);
            } else {
                out.push(name, value);
            }
        }
        if self.head.date.is_none() || self.contains(b"date") {
            out.push(b"date", date::format(received_ms).as_bytes());
        }
    }
}

/// Adds a line of `Vary` without what the route ignores.
fn without_cookie(out: &mut FieldsBuf, line: &[u8]) {
    let names = line.split(|b| *b == b',').map(<[u8]>::trim_ascii);
    let kept: Vec<&[u8]> =
        names.filter(|n| !n.is_empty() && !n.eq_ignore_ascii_case(b"cookie")).collect();
    if !kept.is_empty() {
        out.push(b"vary", &kept.join(&b", "[..]));
    }
}

fn is_never_kept(name: &[u8]) -> bool {
    NEVER_STORED.contains(&name) || name.starts_with(b"x-envoy-")
}

/// Whether fields are such as are stored, whoever has written them: none ends the head early, says where the body
/// ends, or is no field at all.
#[must_use]
pub fn may_be_stored(fields: Fields<'_>) -> bool {
    fields.iter().all(|(name, value)| {
        let is_name = is_token(name) && !name.iter().any(u8::is_ascii_uppercase);
        is_name && !is_never_kept(name) && !value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n'))
    })
}

/// Whether a field belongs to the way that a message took, and not to the message.
#[must_use]
pub fn is_of_the_way(fields: Fields<'_>, name: &[u8]) -> bool {
    let head = ResponseHead { fields, connection: true, ..ResponseHead::default() };
    Excluded::new(&head, false, &[]).contains(name)
}

#[cfg(test)]
mod tests {
    use super::super::fields::block;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn rfc9111_3_1_only_fields_of_the_response_itself_are_kept() {
        let bytes = block(&[
            (":status", "200"),
            ("content-type", "application/json"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("content-length", "3"),
            ("set-cookie", "a=b"),
            ("vary", "Cookie"),
            ("vary", "Accept, cookie"),
            ("cache-control", "private=\"x-user\", no-cache=\"x-csrf\""),
            ("x-user", "me"),
            ("x-csrf", "1"),
            ("x-envoy-upstream-service-time", "7"),
            ("x-app", "v"),
            ("x-by-envoy", "v"),
        ]);
        let head = ResponseHead::read(Fields::new(&bytes), &[]);
        let mut kept = FieldsBuf::default();
        let others = [(*b"x-by-envoy").into()];
        Excluded::new(&head, true, &others).stored_fields(&mut kept, 784_111_777_000);
        let expected = [
            ("content-type", "application/json"),
            ("vary", "Accept"),
            ("cache-control", "private=\"x-user\", no-cache=\"x-csrf\""),
            ("x-app", "v"),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ];
        assert_eq!(kept.to_block(), block(&expected));
        assert!(
            !may_be_stored(Fields::new(&bytes)) && may_be_stored(Fields::new(&kept.to_block()))
        );
    }

    #[test]
    fn what_would_make_another_message_of_a_response_is_not_stored() {
        for (name, value) in [
            (":status", "200"),
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
            ("x-envoy-x", "1"),
            ("X", "1"),
            ("x y", "1"),
            ("", "1"),
            ("x\r\ny", "1"),
            ("x", "1\r\nset-cookie: a=b"),
            ("x", "1\ny"),
            ("x", "1\0"),
        ] {
            let fields = block(&[("a", "\u{e9} \t"), (name, value)]);
            assert!(!may_be_stored(Fields::new(&fields)), "{name:?}: {value:?}");
        }
    }
}
