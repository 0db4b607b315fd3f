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
        /// Something stored, but stale.
        Stale => "stale",
    }
}

/// Writes `name; hit; ttl=…; detail=…` to `out`. Every answer carries one, so nothing
/// here is formatted or allocated.
pub fn write_hit(out: &mut Vec<u8>, name: &str, ttl_s: i64, detail: &str) {
    let mut digits = itoa::Buffer::new();
    for part in [name, "; hit; ttl=", digits.format(ttl_s), "; detail=", detail] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Writes `name; fwd=…; fwd-status=…; stored; detail=…` to `out`.
pub fn write_forwarded(
    out: &mut Vec<u8>,
    name: &str,
    why: Forward,
    status: u16,
    stored: bool,
    detail: Option<&str>,
) {
    let mut add = |text: &str| out.extend_from_slice(text.as_bytes());
    add(name);
    add("; fwd=");
    add(why.as_str());
    if status != 0 {
        add("; fwd-status=");
        add(itoa::Buffer::new().format(status));
    }
    if stored {
        add("; stored");
    }
    if let Some(detail) = detail {
        add("; detail=");
        add(detail);
    }
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
        let mut forwarded = Vec::new();
        write_forwarded(&mut forwarded, "tiercel", Forward::UriMiss, 200, true, None);
        assert_eq!(forwarded, b"tiercel; fwd=uri-miss; fwd-status=200; stored");
        forwarded.clear();
        write_forwarded(&mut forwarded, "tiercel", Forward::Bypass, 0, false, Some("method"));
        assert_eq!(forwarded, b"tiercel; fwd=bypass; detail=method");
    }
}
