//! The `Cache-Status` response field (RFC 9211).

use crate::closed_enum::closed_enum;

closed_enum! {
    /// Why a request went forward (RFC 9211, 2.2).
    pub enum Forward {
        /// The cache was configured not to handle it.
        Bypass => "bypass",
        /// The method's semantics require it.
        Method => "method",
        /// Nothing stored for its key.
        UriMiss => "uri-miss",
        /// Something stored, but for other values of the fields in `Vary`.
        VaryMiss => "vary-miss",
        /// Nothing at hand, and L2 could not be asked whether there is something.
        Miss => "miss",
        /// Something fresh stored, but the request did not want it.
        Request => "request",
        /// Something stored, but stale.
        Stale => "stale",
    }
}

/// What is told of an answer that was not simply a hit.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded {
    /// Why the request went forward; none if it was answered here without a stored response.
    pub why: Option<Forward>,
    /// The status of the origin's answer; 0 leaves it out.
    pub status: u16,
    /// Seconds of freshness left of what was served from the store.
    pub ttl_s: Option<i64>,
    /// Whether the answer was stored.
    pub stored: bool,
    /// Whether the answer is another request's.
    pub collapsed: bool,
    /// More, from a closed enum.
    pub detail: Option<&'static str>,
}

impl Forwarded {
    /// Forwarded for this reason, answered with this status, not stored.
    #[must_use]
    pub const fn new(why: Forward, status: u16) -> Self {
        Self { why: Some(why), status, ttl_s: None, stored: false, collapsed: false, detail: None }
    }

    /// Writes `name; fwd=…; fwd-status=…; ttl=…; stored; collapsed; detail=…` to `out`.
    pub fn write(&self, out: &mut Vec<u8>, name: &str) {
        let mut add = |parts: &[&str]| {
            parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        };
        add(&[name]);
        if let Some(why) = self.why {
            add(&["; fwd=", why.as_str()]);
        }
        if self.status != 0 {
            add(&["; fwd-status=", itoa::Buffer::new().format(self.status)]);
        }
        if let Some(ttl_s) = self.ttl_s {
            add(&["; ttl=", itoa::Buffer::new().format(ttl_s)]);
        }
        if self.stored {
            add(&["; stored"]);
        }
        if self.collapsed {
            add(&["; collapsed"]);
        }
        if let Some(detail) = self.detail {
            add(&["; detail=", detail]);
        }
    }
}

/// Writes `name; hit; ttl=…; detail=…` to `out`. Every hit carries one, so nothing here is formatted
/// or allocated.
pub fn write_hit(out: &mut Vec<u8>, name: &str, ttl_s: i64, detail: &str) {
    let mut digits = itoa::Buffer::new();
    for part in [name, "; hit; ttl=", digits.format(ttl_s), "; detail=", detail] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Adds `; key="…"`, a String of RFC 9651; a key with bytes that it cannot hold is left out.
pub fn write_key(out: &mut Vec<u8>, key: &[u8]) {
    if !key.iter().all(|b| (0x20..0x7f).contains(b)) {
        return;
    }
    out.extend_from_slice(b"; key=\"");
    for byte in key {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn as_the_rfc_writes_it() {
        let mut hit = Vec::new();
        write_hit(&mut hit, "tiercel", 42, "l1");
        assert_eq!(hit, b"tiercel; hit; ttl=42; detail=l1");
        let text = |forwarded: Forwarded| {
            let mut out = Vec::new();
            forwarded.write(&mut out, "tiercel");
            String::from_utf8(out).unwrap()
        };
        let miss = Forwarded { stored: true, ..Forwarded::new(Forward::UriMiss, 200) };
        assert_eq!(text(miss), "tiercel; fwd=uri-miss; fwd-status=200; stored");
        let bypass = Forwarded { detail: Some("method"), ..Forwarded::new(Forward::Bypass, 0) };
        assert_eq!(text(bypass), "tiercel; fwd=bypass; detail=method");
        let stale = Forwarded { ttl_s: Some(-3), ..Forwarded::new(Forward::Stale, 503) };
        assert_eq!(text(stale), "tiercel; fwd=stale; fwd-status=503; ttl=-3");
        let collapsed =
            Forwarded { collapsed: true, ttl_s: Some(9), ..Forwarded::new(Forward::Stale, 0) };
        assert_eq!(text(collapsed), "tiercel; fwd=stale; ttl=9; collapsed");
        let none = Forwarded { why: None, detail: Some("only_if_cached"), ..miss };
        let none = Forwarded { status: 0, stored: false, ..none };
        assert_eq!(text(none), "tiercel; detail=only_if_cached");
    }

    #[test]
    fn rfc9211_2_6_the_key_is_a_string() {
        for (key, expected) in [
            (&b"http://a/x"[..], &br#"; key="http://a/x""#[..]),
            (br#"/a"b\c"#, br#"; key="/a\"b\\c""#),
            (b"/\xc3\xa9", b""),
            (b"/a\n\nb", b""),
        ] {
            let mut out = Vec::new();
            write_key(&mut out, key);
            assert_eq!(out, expected);
        }
    }
}
