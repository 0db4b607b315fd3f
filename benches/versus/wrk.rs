//! The load: wrk with one thread.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::cases::{Case, KEYS, Paths};
use crate::harness::Scene;
use crate::processor::{AROUND, on_core};

/// What one run of wrk counted.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub requests: u64,
    pub rps: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Answers above 399, broken connections and time-outs.
    pub errors: u64,
}

/// Prints what [`Load`] holds as one line of JSON.
const DONE: &str = r#"
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"us":%d,"p50":%d,"p99":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

/// wrk and its scripts.
pub struct Wrk {
    dir: PathBuf,
    /// Keeps the resources of [`Paths::Unique`] apart from those of every run before.
    runs: AtomicU32,
}

impl Wrk {
    pub fn new(scene: &Scene) -> Self {
        let wrk = Self { dir: scene.dir.clone(), runs: AtomicU32::new(0) };
        let head = "\" HTTP/1.1\\r\\nHost: api.test\\r\\n\\r\\n\"";
        let known = format!(
            "local known = {{}}
             for n = 1, {KEYS} do known[n] = \"GET /k/\" .. (n - 1) .. {head} end
             function request() return known[math.random({KEYS})] end"
        );
        let unique = format!(
            "local n, start = 0, \"GET /u/\"
             function init(args) start = start .. args[1] .. \"/\" end
             function request() n = n + 1; return start .. n .. {head} end"
        );
        for (paths, requests) in
            [(Paths::One, ""), (Paths::Known, &known), (Paths::Unique, &unique)]
        {
            fs::write(wrk.script(paths), format!("{requests}\n{DONE}")).expect("a script for wrk");
        }
        wrk
    }

    /// Puts `case` under load.
    pub fn run(&self, case: &Case, port: u16, seconds: u32) -> Load {
        let run = self.runs.fetch_add(1, Ordering::Relaxed).to_string();
        let connections = case.connections.to_string();
        let mut command = on_core(AROUND, "wrk");
        command.args(["-t", "1", "-c", &connections, "-d", &seconds.to_string()]);
        command.args(["-H", "Host: api.test", "-s"]).arg(self.script(case.paths));
        command.args([&format!("http://127.0.0.1:{port}{}", path(case.paths, "")), "--", &run]);
        let output = command.output().expect("wrk, which `make setup` checks for");
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.starts_with('{'));
        let line = line.unwrap_or_else(|| panic!("wrk on {}: {output:?}", case.name));
        let counted: Value = serde_json::from_str(line).expect("one line of JSON");
        let number = |name: &str| counted[name].as_u64().expect("a number");
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let ms = |name: &str| number(name) as f64 / 1e3;
        #[allow(clippy::cast_precision_loss)]
        let rps = number("requests") as f64 / (ms("us") / 1e3);
        Load {
            requests: number("requests"),
            rps,
            p50_ms: ms("p50"),
            p99_ms: ms("p99"),
            errors: number("errors"),
        }
    }

    fn script(&self, paths: Paths) -> PathBuf {
        self.dir.join(format!("{paths:?}.lua"))
    }
}

/// A path of this kind; `name` tells those of the kind apart.
pub fn path(paths: Paths, name: &str) -> String {
    match paths {
        Paths::One => "/k/1".into(),
        Paths::Known => format!("/k/{name}"),
        Paths::Unique => format!("/u/{name}"),
    }
}
