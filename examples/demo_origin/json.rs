//! JSON as the API writes it: compact, ASCII only, one newline at the end.

use std::io::{self, Write};

use bytes::Bytes;
use serde::Serialize;
use serde_json::ser::Formatter;

/// Writes every non-ASCII character as a `\u` escape.
struct AsciiFormatter;

impl Formatter for AsciiFormatter {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0_u16; 2];
        for character in fragment.chars() {
            if character.is_ascii() {
                write!(writer, "{character}")?;
            } else {
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn to_bytes(value: &impl Serialize) -> Bytes {
    let mut out = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, AsciiFormatter);
    // Only a map with non-string keys could fail; what was written so far is sent then.
    let _written = value.serialize(&mut serializer);
    out.push(b'\n');
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn escapes_sorts_and_ends_with_a_newline() {
        let bytes = to_bytes(&json!({"b": "登\u{1f600}\n", "a": 1}));
        assert_eq!(bytes, "{\"a\":1,\"b\":\"\\u767b\\ud83d\\ude00\\n\"}\n");
    }
}
