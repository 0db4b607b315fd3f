//! Durations and sizes as people write them: `60s`, `5m`, `256MiB`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A duration in milliseconds, written with a unit (`50ms`, `60s`, `1h 30m`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// A number of bytes, written with a unit (`512B`, `64KiB`, `256MiB`, `1MB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// On or off, as YAML's old booleans or as text: Envoy hands over `on` as `true`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OnOff", into = "bool")]
pub struct Switch(pub bool);

#[derive(Deserialize)]
#[serde(untagged, expecting = "on or off")]
enum OnOff {
    Bool(bool),
    Word(Word),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    On,
    Off,
}

impl From<OnOff> for Switch {
    fn from(text: OnOff) -> Self {
        Self(matches!(text, OnOff::Bool(true) | OnOff::Word(Word::On)))
    }
}

impl From<Switch> for bool {
    fn from(switch: Switch) -> Self {
        switch.0
    }
}

impl JsonSchema for Switch {
    fn schema_name() -> Cow<'static, str> {
        "Switch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": [true, false, "on", "off"]})
    }
}

const KIB: u64 = 1024;
const SIZE_UNITS: [(&str, u64); 8] = [
    ("KiB", KIB),
    ("MiB", KIB * KIB),
    ("GiB", KIB * KIB * KIB),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl Millis {
    /// Parses `60s`, `5m`, `250ms`, `1h 30m`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let duration: Duration = humantime::parse_duration(text.trim()).ok()?;
        u64::try_from(duration.as_millis()).ok().map(Self)
    }
}

impl ByteSize {
    /// Parses `512B`, `64KiB`, `1.5MiB`; a unit is required.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (number, scale) = SIZE_UNITS
            .iter()
            .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?.trim_end(), *scale)))?;
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(scale).map(Self);
        }
        let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let fraction = number.parse::<f64>().ok().filter(|_| plain)?;
        #[allow(clippy::cast_precision_loss)] // scales are at most 2^30: exact in an f64
        let bytes = fraction * scale as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // range checked
        (bytes < 1e15).then_some(Self(bytes as u64))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(Duration::from_millis(self.0)).fmt(f)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact =
            SIZE_UNITS.iter().take(3).rev().find(|(_, s)| self.0 > 0 && self.0.is_multiple_of(*s));
        match exact {
            Some((unit, scale)) => write!(f, "{}{unit}", self.0 / scale),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Implements serde and JSON Schema for a unit written as text.
macro_rules! text_unit {
    ($type:ident, $what:literal, $example:literal, $pattern:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!($what, " such as ", $example))
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        $type::parse(text).ok_or_else(|| {
                            E::custom(format!(
                                concat!("{:?} is not ", $what, " such as ", $example),
                                text
                            ))
                        })
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "examples": [$example]})
            }
        }
    };
}

text_unit!(Millis, "a duration", "60s", r"^\s*(\d+\s*[A-Za-z]+\s*)+$");
text_unit!(ByteSize, "a size", "64MiB", r"^\s*\d+(\.\d+)?\s*(B|kB|KB|KiB|MB|MiB|GB|GiB)\s*$");

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn durations_as_people_write_them() {
        for (text, millis) in [
            ("60s", Some(60_000)),
            ("50ms", Some(50)),
            ("1h 30m", Some(5_400_000)),
            ("0s", Some(0)),
            ("5 minuts", None),
            ("", None),
            ("-1s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(Millis::parse(text).map(|d| d.0), millis, "{text:?}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        for (text, bytes) in [
            ("512B", Some(512)),
            ("64KiB", Some(65_536)),
            ("1.5MiB", Some(1_572_864)),
            ("1 MB", Some(1_000_000)),
            ("64", None),
            ("-1B", None),
            ("1e3B", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(ByteSize::parse(text).map(|s| s.0), bytes, "{text:?}");
        }
    }

    #[test]
    fn printed_units_parse_back() {
        for bytes in [0, 1, 1023, 65_536, 3 << 20, 1_000_000] {
            assert_eq!(ByteSize::parse(&ByteSize(bytes).to_string()), Some(ByteSize(bytes)));
        }
        assert_eq!(Millis::parse(&Millis(5_400_250).to_string()), Some(Millis(5_400_250)));
    }
}
