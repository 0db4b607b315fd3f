//! The module itself and the files generated from the source.

use std::fs;

use serde_json::Value;
use tiercel::existence::{Count, Standing, Verdict};
use tiercel::observe::{Counters, Gauge, Histogram};

use crate::harness::{root, target};

#[test]
fn the_module_is_small_and_imports_only_its_host() {
    let path = target().join("wasm32-wasip1/release/tiercel.wasm");
    let bytes = fs::read(&path)
        .unwrap_or_else(|_| panic!("{} is missing: run `make wasm`", path.display()));
    assert!(bytes.len() < 21 << 16, "{} bytes", bytes.len());
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    for payload in wasmparser::Parser::new(0).parse_all(&bytes) {
        match payload.expect("a valid module") {
            wasmparser::Payload::ImportSection(section) => {
                for import in section {
                    let import = import.expect("an import");
                    imports.push((import.module.to_owned(), import.name.to_owned()));
                }
            }
            wasmparser::Payload::ExportSection(section) => {
                exports.extend(section.into_iter().map(|e| e.expect("an export").name.to_owned()));
            }
            wasmparser::Payload::CustomSection(section) => {
                assert!(!section.name().starts_with(".debug"), "not stripped: {}", section.name());
            }
            _ => {}
        }
    }
    for (module, name) in &imports {
        let proxy_wasm = module == "env" && name.starts_with("proxy_");
        assert!(proxy_wasm || module == "wasi_snapshot_preview1", "imports {module}.{name}");
    }
    assert!(exports.iter().any(|name| name == "proxy_abi_version_0_2_1"));
    assert!(!exports.iter().any(|name| name == "proxy_on_log" || name == "proxy_on_done"));
}

#[test]
fn the_schema_is_current() {
    let path = root().join("envoy/tiercel.schema.json");
    let now = format!("{:#}\n", tiercel::config::json_schema());
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == now, "envoy/tiercel.schema.json is out of date: run `make schema`");
}

/// The core decides, the host acts: only src/host calls the host, and nothing else names it.
#[test]
fn the_core_does_not_know_its_host() {
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).expect("a folder").flatten() {
            let path = file.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let place =
                path.strip_prefix(root().join("src")).unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("a source file");
            let of_host = place.starts_with("host/");
            for word in
                ["proxy_wasm", "wasm_import_module", "unsafe {", "unsafe extern", "no_mangle"]
            {
                assert!(of_host || !text.contains(word), "src/{place} names {word}");
            }
            let shell = of_host || place.starts_with("filter/") || place == "lib.rs";
            for word in ["crate::host", "crate::filter", "SystemTime::now", "Instant::now"] {
                assert!(shell || !text.contains(word), "src/{place} names {word}");
            }
        }
    }
}

/// Among other things they fit into a VM.
#[test]
fn every_example_has_configurations_that_are_taken() {
    fn all(value: &Value, found: &mut Vec<Value>) {
        match value {
            Value::Object(fields) if fields.contains_key("role") => found.push(value.clone()),
            Value::Object(fields) => fields.values().for_each(|value| all(value, found)),
            Value::Array(values) => values.iter().for_each(|value| all(value, found)),
            _ => {}
        }
    }
    for file in fs::read_dir(root().join("envoy")).expect("a folder").flatten() {
        if file.path().extension().is_some_and(|end| end == "yaml") {
            let text = fs::read_to_string(file.path()).expect("a file");
            let mut found = Vec::new();
            all(&serde_norway::from_str(&text).expect("YAML"), &mut found);
            assert!(!found.is_empty(), "{file:?} has none");
            for config in found {
                let errors = tiercel::config::load(config.to_string().as_bytes()).err();
                assert!(errors.is_none(), "{file:?}: {errors:?}");
            }
        }
    }
}

/// docs/metrics.md has every metric, and every value of every label.
#[test]
fn every_metric_is_documented() {
    let text = fs::read_to_string(root().join("docs/metrics.md")).expect("a file");
    let gauges = Gauge::ALL.iter().map(|gauge| gauge.as_str().to_owned());
    let histograms = Histogram::ALL.iter().map(|histogram| histogram.as_str().to_owned());
    let of_spaces = Standing::default().values().map(|(name, _)| name.to_owned());
    let counts = Count::ALL.iter().map(|count| count.as_str());
    let events = counts.chain(Verdict::ALL.iter().map(|v| v.as_str()));
    let events = events.map(|event| format!("existence.event.{event}.space"));
    let all = Counters::names().into_iter().chain(gauges).chain(histograms);
    for name in all.chain(of_spaces).chain(events) {
        let (metric, label) = name.split_once('.').unwrap_or((&name, ""));
        let line = text.lines().find(|line| {
            line.split('|')
                .nth(1)
                .is_some_and(|names| names.contains(&format!("`tiercel_{metric}`")))
        });
        let line = line.unwrap_or_else(|| panic!("{metric} is not there"));
        for word in label.split('.').filter(|word| !word.is_empty()) {
            assert!(line.contains(&format!("`{word}`")), "{metric} without {word}");
        }
    }
}

/// docs/semantics.md names files and tests that there are.
#[test]
fn the_index_of_the_rfcs_is_true() {
    let read = |path: &std::path::Path| fs::read_to_string(path).expect("a file");
    let index = read(&root().join("docs/semantics.md"));
    let mut tests = String::new();
    for folder in ["tests", "tests/semantics"] {
        for file in fs::read_dir(root().join(folder)).expect("a folder").flatten() {
            if file.path().is_file() {
                tests.push_str(&read(&file.path()));
            }
        }
    }
    for name in index.split('`').skip(1).step_by(2) {
        if name.contains(".rs") {
            let folder = if name.starts_with("tests/") { "" } else { "src" };
            assert!(root().join(folder).join(name).is_file(), "{name} is not there");
        } else if name.starts_with("rfc") {
            let begin = format!("fn {}", name.trim_end_matches('*'));
            assert!(tests.contains(&begin), "no test {name}");
        }
    }
}
