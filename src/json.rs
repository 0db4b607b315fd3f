//! JSON that others wrote: what it takes in memory may be seventy times its length, as objects of one member show.

use serde_json::Value;

/// What a page of a list may take once it is read, in bytes, and a body of a write or of its answer.
pub(crate) const PAGE: usize = 96 << 20;
const BODY: usize = 16 << 20;

/// What a value takes on wasm32, at most, where many grow one by one: three times its size, or its part of a node that
/// is half full.
const VALUE: usize = 72;
/// What an array or an object takes besides: room for its first four values, or for eleven members.
const ARRAY: usize = 104;
const OBJECT: usize = 440;
/// What a text takes besides its bytes, half of it for each quote.
const QUOTE: usize = 8;

#[cfg(target_arch = "wasm32")]
const _: () = assert!(size_of::<Value>() <= 24 && size_of::<String>() <= 12);

/// Reads a body; none if it is none, or would take too much.
pub(crate) fn body(text: &[u8]) -> Option<Value> {
    fits(text, BODY).then(|| serde_json::from_slice(text).ok()).flatten()
}

/// Whether a document takes so many bytes at most once it is read.
pub(crate) fn fits(text: &[u8], most: usize) -> bool {
    let more = text.iter().map(|byte| match byte {
        b',' => VALUE,
        b'[' => ARRAY,
        b'{' => OBJECT,
        b'"' => QUOTE,
        _ => 0,
    });
    more.fold(text.len(), usize::saturating_add) <= most
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Measured in wasm32: times its length, while it is read.
    #[test]
    fn what_would_take_too_much_is_not_read() {
        for (row, measured, most) in [
            (
                r#"{"id":10000147,"name":"a name of some length","at":"2026-01-01T00:00:00Z"}"#,
                8,
                12,
            ),
            (r#"{"":0}"#, 70, 80),
            (r#"{"gid":10000147}"#, 30, 33),
            ("[]", 24, 60),
            ("7", 36, 38),
            (r#""""#, 24, 32),
        ] {
            let text = [row; 1_000].join(",").into_bytes();
            assert!(!fits(&text, measured * text.len()), "{row}");
            assert!(fits(&text, most * text.len()), "{row}");
        }
        let large = |count| format!("[{}]", vec![r#"{"":0}"#; count].join(","));
        assert!(body(large(20_000).as_bytes()).is_some() && body(b"[").is_none());
        assert!(body(large(40_000).as_bytes()).is_none());
    }
}
