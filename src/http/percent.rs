//! Percent-encoding (RFC 3986, 2), in one form for what means the same.

/// Appends `text` with its percent-encoding normalised: unreserved characters decoded, hex digits
/// in upper case. One with a malformed escape is left as it is: decoding its sound part could
/// make it equal to a text that means something else.
pub fn normalise(out: &mut Vec<u8>, text: &[u8]) {
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

/// Decodes a part of a URL; in a form `+` is a space.
#[must_use]
pub fn decode(text: &[u8], form: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut parts = text.split(|b| *b == b'+' && !form).peekable();
    while let Some(part) = parts.next() {
        decode_form(&mut out, part);
        out.extend(parts.peek().map(|_| b'+'));
    }
    out
}

/// Decodes as an HTML form does, `+` being a space.
pub(super) fn decode_form(out: &mut Vec<u8>, mut text: &[u8]) {
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
pub(super) fn push_normalised(out: &mut Vec<u8>, byte: u8) {
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
