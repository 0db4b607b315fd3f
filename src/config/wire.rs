//! From the bytes Envoy hands over to a JSON value.
//!
//! A `google.protobuf.Struct` arrives as serialized protobuf, a `StringValue` as its text; Istio
//! and Higress send JSON text.

use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value as ProtoValue};
use serde_json::{Map, Number, Value};

/// Reads a plugin configuration, JSON text or a serialized `google.protobuf.Struct`.
///
/// # Errors
/// One sentence when the bytes are neither, or nest deeper than protobuf allows (100 levels).
pub(super) fn read(bytes: &[u8]) -> Result<Value, String> {
    let looks_like_json = bytes.trim_ascii_start().first() == Some(&b'{');
    let json = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    match Struct::decode(bytes) {
        // Half a JSON text could decode as a protobuf of unknown fields: an empty struct.
        Ok(fields) if !(looks_like_json && fields.fields.is_empty()) => Ok(object(fields)),
        _ if looks_like_json => Err(format!("not valid JSON: {json}")),
        _ => Err("neither JSON text nor a google.protobuf.Struct".into()),
    }
}

fn object(fields: Struct) -> Value {
    let members = fields.fields.into_iter().map(|(name, value)| (name, json(value)));
    Value::Object(members.collect::<Map<_, _>>())
}

fn json(value: ProtoValue) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => Value::Bool(b),
        Some(Kind::StringValue(s)) => Value::String(s),
        Some(Kind::NumberValue(n)) => number(n),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(json).collect()),
        Some(Kind::StructValue(fields)) => object(fields),
    }
}

/// Struct knows only doubles: whole ones become integers again, as they were written.
fn number(n: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if n.fract() == 0.0 && n.abs() < EXACT {
        #[allow(clippy::cast_possible_truncation)] // range checked
        return Value::Number(Number::from(n as i64));
    }
    Number::from_f64(n).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_struct_that_envoy_sends() {
        let bytes = [0x0a, 0x08, 0x0a, 0x01, b'a', 0x12, 0x03, 0x1a, 0x01, b'b'];
        assert_eq!(read(&bytes), Ok(json!({"a": "b"})));
    }

    #[test]
    fn json_text_with_leading_white_space() {
        assert_eq!(read(b"\n {\"a\": 1}"), Ok(json!({"a": 1})));
        assert_eq!(read(b""), Ok(json!({})));
    }

    #[test]
    fn broken_text_is_named() {
        assert!(read(b"{\"a\": ").is_err_and(|e| e.starts_with("not valid JSON")));
        assert!(read(b"role: cache").is_err());
        assert!(read(&[0x0a, 0xff, 0xff]).is_err());
    }

    #[test]
    fn whole_doubles_are_integers() {
        assert_eq!(number(3.0), json!(3));
        assert_eq!(number(1.5), json!(1.5));
        assert_eq!(number(f64::NAN), Value::Null);
    }
}
