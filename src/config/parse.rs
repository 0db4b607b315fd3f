//! Typed configuration out of a JSON value, with every error found, not only the first.

use std::fmt::{self, Write};

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: `routes[3].ttl`; empty for the whole.
    pub path: String,
    /// What: one sentence.
    pub message: String,
}

impl ConfigError {
    /// An error at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Deserializes `value`, or as much of it as is right.
///
/// serde stops at the first error, so the culprit is taken out and the rest is tried again, until
/// nothing is left to complain about. `T` must accept missing fields, which `serde(default)` gives.
pub(super) fn parse<T: DeserializeOwned + Default>(
    mut value: Value,
) -> (T, Vec<ConfigError>, Removed) {
    let mut errors = Vec::new();
    let mut removed = Removed::default();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(typed) => return (typed, errors, removed),
            Err(error) => error,
        };
        let steps: Vec<Step> = steps(error.path());
        errors.push(ConfigError::new(removed.original(&steps), error.inner().to_string()));
        if !take_out(&mut value, &steps) {
            return (T::default(), errors, removed);
        }
        removed.note(steps);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
}

fn steps(path: &Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Field(key.clone())),
            Segment::Enum { variant } => Some(Step::Field(variant.clone())),
            Segment::Unknown => None,
        })
        .collect()
}

fn take_out(value: &mut Value, steps: &[Step]) -> bool {
    let Some((last, parents)) = steps.split_last() else { return false };
    let parent = parents.iter().try_fold(value, |node, step| match step {
        Step::Field(name) => node.get_mut(name),
        Step::Index(index) => node.get_mut(index),
    });
    match (parent, last) {
        (Some(Value::Object(members)), Step::Field(name)) => members.remove(name).is_some(),
        (Some(Value::Array(items)), Step::Index(index)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    }
}

/// Array elements taken out so far; later indices are shifted back by them for the reader.
#[derive(Debug, Default)]
pub(super) struct Removed(Vec<(Vec<Step>, usize)>);

impl Removed {
    fn note(&mut self, mut steps: Vec<Step>) {
        if let Some(Step::Index(index)) = steps.pop() {
            self.0.push((steps, index));
        }
    }

    /// The path in the configuration as it was written of one in what is left of it.
    pub(super) fn written(&self, path: &str) -> String {
        let mut steps = Vec::new();
        for part in path.split('.') {
            let mut names = part.split('[');
            steps.extend(names.next().map(|name| Step::Field(name.to_owned())));
            let indices = names.filter_map(|index| index.trim_end_matches(']').parse().ok());
            steps.extend(indices.map(Step::Index));
        }
        self.original(&steps)
    }

    fn original(&self, steps: &[Step]) -> String {
        let mut text = String::new();
        for (depth, step) in steps.iter().enumerate() {
            match step {
                Step::Field(name) if text.is_empty() => text.push_str(name),
                Step::Field(name) => text = text + "." + name,
                Step::Index(index) => {
                    let here = steps.get(..depth).unwrap_or_default();
                    // Newest first: each removal happened in the array as the older ones left it.
                    let before = self.0.iter().rev().filter(|(array, _)| array == here);
                    let at = before.fold(*index, |at, (_, gone)| at + usize::from(*gone <= at));
                    let _ = write!(text, "[{at}]"); // writing to a String cannot fail
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::Config;
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn errors(value: Value) -> Vec<String> {
        parse::<Config>(value).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_error_at_once_with_its_path() {
        let found = errors(json!({
            "role": "chache",
            "l1": {"budget": "64", "colour": 1},
            "routes": [
                {"path": "/a", "ttl": "1s"},
                {"path": "/b", "ttl": "5 minuts", "negative": {"statuses": [404, "x", 410, "y"]}},
                7,
                {"path": "/c", "tll": "1s"},
            ],
            "nonsense": true,
        }));
        let has = |path: &str, part: &str| {
            assert!(
                found.iter().any(|e| e.starts_with(&format!("{path}: ")) && e.contains(part)),
                "{path} ... {part} in {found:#?}"
            );
        };
        has("role", "unknown variant");
        has("l1.budget", "\"64\" is not a size");
        has("l1.colour", "unknown field");
        has("routes[1].ttl", "\"5 minuts\" is not a duration");
        has("routes[1].negative.statuses[1]", "expected u16");
        has("routes[1].negative.statuses[3]", "expected u16");
        has("routes[2]", "expected struct Route");
        has("routes[3].tll", "unknown field");
        has("nonsense", "unknown field");
        assert_eq!(found.len(), 9, "{found:#?}");
    }

    #[test]
    fn a_wrong_document_is_one_error() {
        assert_eq!(errors(json!([1])).len(), 1);
        assert_eq!(errors(json!({"role": "cache"})), Vec::<String>::new());
    }
}
