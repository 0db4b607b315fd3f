//! A drill's figures and checks, for people and for the summary.

use std::fs;

use serde_json::{Map, Value, json};

use crate::harness;

/// Prints what a drill finds while it finds it.
pub struct Report {
    name: &'static str,
    figures: Map<String, Value>,
    passed: bool,
}

impl Report {
    pub fn new(name: &'static str) -> Self {
        println!("{name}");
        Self { name, figures: Map::new(), passed: true }
    }

    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        let value = match value.into() {
            Value::Number(number) if number.is_f64() => {
                json!((number.as_f64().unwrap_or_default() * 1_000.0).round() / 1_000.0)
            }
            other => other,
        };
        println!("  {name:40} {value}");
        self.figures.insert(name.into(), value);
    }

    /// A promise of the project, and whether it was kept.
    pub fn check(&mut self, promise: &str, kept: bool) {
        println!("  {promise:40} {}", if kept { "pass" } else { "SHORT" });
        self.passed &= kept;
    }

    /// Adds the figures to `target/drill/summary.json`; whether all checks held.
    pub fn finish(mut self) -> bool {
        self.figures.insert("passed".into(), self.passed.into());
        let dir = harness::target().join("drill");
        let path = dir.join("summary.json");
        fs::create_dir_all(&dir).expect("a folder for the summary");
        let before = fs::read_to_string(&path).ok();
        let before = before.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let mut summary = before.filter(Value::is_object).unwrap_or_else(|| json!({}));
        summary[self.name] = Value::Object(self.figures);
        let text = serde_json::to_string_pretty(&summary).expect("JSON") + "\n";
        fs::write(path, text).expect("a file for the summary");
        self.passed
    }
}
