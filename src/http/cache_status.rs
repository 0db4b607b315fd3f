//! The `Cache-Status` response field (RFC 9211).

use std::fmt::Write;

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

/// Writes `name; hit; ttl=…; detail=…` to `out`. Every hit does this, so it spares `format!`.
pub fn write_hit(out: &mut Vec<u8>, name: &str, ttl_s: i64, detail: &str) {
    let mut digits = itoa::Buffer::new();
    for part in [name, "; hit; ttl=", digits.format(ttl_s), "; detail=", detail] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// `name; fwd=…; fwd-status=…; stored; detail=…`
#[must_use]
pub fn forwarded(
    name: &str,
    why: Forward,
    status: u16,
    stored: bool,
    detail: Option<&str>,
) -> String {
    let mut text = format!("{name}; fwd={why}");
    if status != 0 {
        let _ = write!(text, "; fwd-status={status}"); // writing to a String cannot fail
    }
    if stored {
        text.push_str("; stored");
    }
    if let Some(detail) = detail {
        text.push_str("; detail=");
        text.push_str(detail);
    }
    text
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
        assert_eq!(
            forwarded("tiercel", Forward::UriMiss, 200, true, None),
            "tiercel; fwd=uri-miss; fwd-status=200; stored"
        );
        assert_eq!(
            forwarded("tiercel", Forward::Bypass, 0, false, Some("method")),
            "tiercel; fwd=bypass; detail=method"
        );
    }
}
