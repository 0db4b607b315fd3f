//! Configurations: one that is taken means the same written out in full, and a
//! `google.protobuf.Struct` means what its JSON means.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as ProtoValue};
use serde_json::Value;
use tiercel::config::load;
use tiercel::config::schema::Config;

fuzz_target!(|input: &[u8]| {
    let loaded = load(input);
    match &loaded {
        Ok(policy) => drop(policy.rule(b"GET", input, input)),
        Err(errors) => assert!(errors.iter().all(|error| !error.message.is_empty())),
    }
    assert!(loaded.as_ref().err().is_none_or(|errors| !errors.is_empty()));
    let Ok(json) = serde_json::from_slice::<Value>(input) else { return };
    let show = |bytes: &[u8]| format!("{:#?}", load(bytes));
    if loaded.is_ok() {
        let config: Config = serde_json::from_value(json.clone()).expect("a configuration");
        let full = serde_json::to_vec(&config).expect("JSON");
        assert_eq!(show(&full), format!("{loaded:#?}"));
    }
    if let (true, Some(Kind::StructValue(fields))) = (json.is_object(), kind(&json, 20)) {
        assert_eq!(show(&fields.encode_to_vec()), format!("{loaded:#?}"));
    }
});

/// The same value in protobuf; none if it is nested deeper, or a number is not the same as a double.
fn kind(value: &Value, depth: usize) -> Option<Kind> {
    let deeper = |value: &Value| {
        let kind = Some(kind(value, depth.checked_sub(1)?)?);
        Some(ProtoValue { kind })
    };
    Some(match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(on) => Kind::BoolValue(*on),
        Value::Number(number) => {
            let double = number.as_f64()?;
            let exact = double.abs() < 2_f64.powi(53) && number.is_f64() == (double.fract() != 0.0);
            Kind::NumberValue(exact.then_some(double)?)
        }
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(deeper).collect::<Option<_>>()? })
        }
        Value::Object(members) => {
            let fields = members.iter().map(|(name, value)| Some((name.clone(), deeper(value)?)));
            Kind::StructValue(Struct { fields: fields.collect::<Option<BTreeMap<_, _>>>()? })
        }
    })
}
