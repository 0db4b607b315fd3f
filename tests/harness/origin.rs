//! The demo origin, and what it saw.

use std::process::Command;

use serde_json::{Value, json};

use super::process::Process;
use super::{Client, Scene, eventually, target};

pub struct Origin {
    pub port: u16,
    _process: Process,
}

impl Origin {
    /// Starts it without latency; `args` may say otherwise.
    pub fn start(scene: &Scene, args: &[&str]) -> Self {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let program = target().join(profile).join("examples/demo_origin");
        let name = scene.unique("origin");
        let mut command = Command::new(program);
        command.args(["--latency", "0"]).args(args);
        let process = Process::start(&name, &scene.dir, &mut command);
        let port = eventually("the origin to listen", || {
            let log = process.log();
            let line = log.lines().find(|line| line.starts_with("listening on"))?;
            line.rsplit(':').next()?.trim().parse().ok()
        });
        Self { port, _process: process }
    }

    pub fn client(&self) -> Client {
        Client::new(self.port)
    }

    /// How often `request` ("GET /api/games") arrived.
    pub fn saw(&self, request: &str) -> u64 {
        self.stats()["by_request"][request].as_u64().unwrap_or(0)
    }

    /// How many requests arrived.
    pub fn total(&self) -> u64 {
        self.stats()["total"].as_u64().expect("a total")
    }

    fn stats(&self) -> Value {
        self.client().get("/__origin/stats").json()
    }

    /// Changes its behaviour: `latency_ms`, `revision`, `fail`.
    pub fn configure(&self, settings: &Value) {
        let body = settings.to_string();
        let response = self.client().request("POST", "/__origin/config", &[], body.as_bytes());
        assert!(response.status < 300, "{settings}: {response:?}");
    }

    pub fn fail(&self, how: Option<&str>) {
        self.configure(&json!({"fail": how}));
    }
}
