//! An origin with things that have ids, and a space for them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{Asked, Envoy, Redis, Response, Scene, Script, eventually, reply};

/// The ids that an origin has, and how it lists them.
#[derive(Clone)]
pub struct Things(Arc<Mutex<Origin>>);

pub struct Origin {
    pub ids: BTreeSet<u64>,
    /// Turns a page into what is sent in its place.
    pub spoils: fn(Vec<u8>) -> Option<Vec<u8>>,
    /// Whether the answer to a create names the id.
    pub tells: bool,
}

pub const PAGE: usize = 10;

impl Things {
    /// An origin with these ids.
    pub fn start(ids: impl IntoIterator<Item = u64>) -> (Self, Script) {
        let ids = ids.into_iter().collect();
        let things = Self(Arc::new(Mutex::new(Origin { ids, spoils: Some, tells: true })));
        let of_script = things.clone();
        let script = Script::start(move |asked: &Asked| of_script.answer(asked));
        (things, script)
    }

    fn answer(&self, asked: &Asked) -> Option<Vec<u8>> {
        let mut origin = self.0.lock().unwrap();
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let last = path.rsplit('/').next().unwrap_or_default();
        match (asked.method.as_str(), path) {
            ("GET", "/things") => {
                let page: usize = query.trim_start_matches("page=").parse().unwrap();
                let ids: Vec<_> = origin.ids.iter().skip((page - 1) * PAGE).take(PAGE).collect();
                let rows: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
                let body = json!({"data": {"rows": rows, "total": origin.ids.len()}});
                let etag = format!("\"{page} of {}\"", origin.ids.len());
                if asked.field("if-none-match") == Some(&*etag) {
                    return reply(304, &[], "");
                }
                (origin.spoils)(reply(200, &[("etag", &etag)], &body.to_string())?)
            }
            ("POST", "/things") => {
                let id = origin.ids.last().map_or(1, |id| id + 1);
                origin.ids.insert(id);
                let body = if origin.tells { json!({"id": id}) } else { json!({}) };
                reply(201, &[], &body.to_string())
            }
            ("PUT", _) => {
                origin.ids.insert(last.parse().ok()?);
                reply(200, &[], "{}")
            }
            _ if last.parse().is_ok_and(|id: u64| origin.ids.contains(&id)) => {
                reply(200, &[("cache-control", "no-store")], last)
            }
            _ => reply(404, &[], "no such thing"),
        }
    }

    pub fn change(&self, change: impl FnOnce(&mut Origin)) {
        change(&mut self.0.lock().unwrap());
    }
}

/// One space, `thing`, on `/things/{id}`.
pub fn things(config: &mut Value) {
    config["defaults"] = json!({});
    config["origin"] = json!({"cluster": "origin"});
    config["coherence"] = json!({"guard": "100ms"});
    config["spaces"] = json!({"thing": {
        "pattern": "[0-9]{1,9}",
        "refresh": "1h",
        "grace": "1h",
        "source": {"http": {
            "path": "/things", "ids": "/data/rows/*/id", "total": "/data/total",
            "page": {"parameter": "page"},
        }},
    }});
    config["routes"] = json!([
        {"path": "/things/{id}", "exists": [{"space": "thing", "id": "{id}", "absent": {
            "status": 404, "body": "{\"no\": \"{id}\", \"at\": \"{now}\"}",
        }}]},
        {"path": "/things", "bypass": true},
        {"path": "/things", "methods": ["POST"],
            "creates": [{"space": "thing", "id": "{response:/id}"}]},
        {"path": "/things/{id}", "methods": ["PUT"],
            "creates": [{"space": "thing", "id": "{id}"}]},
    ]);
}

pub fn alone(
    scene: &Scene,
    script: &Script,
    workers: u32,
    change: impl FnOnce(&mut Value),
) -> Envoy {
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(things);
    builder.config(change).workers(workers).start(scene)
}

pub fn with_redis(
    scene: &Scene,
    script: &Script,
    redis: &Redis,
    change: impl FnOnce(&mut Value),
) -> Envoy {
    let builder = Envoy::builder("event2table.yaml").origin(script.port).redis(redis.port);
    builder.config(things).config(change).workers(2).start(scene)
}

pub fn count(envoy: &Envoy, event: &str) -> u64 {
    envoy.metric(&format!("tiercel_existence{{event=\"{event}\",space=\"thing\"}}"))
}

pub fn gauge(envoy: &Envoy, name: &str) -> u64 {
    envoy.metric(&format!("tiercel_existence_{name}{{space=\"thing\"}}"))
}

pub fn is_refused(response: &Response) -> bool {
    response.cache_status().ends_with("; detail=absent")
}

/// Waits until requests for an id that does not exist are refused, by every worker.
pub fn until_known(envoy: &Envoy) {
    let mut row = 0;
    eventually("absent ids to be refused", || {
        row = if is_refused(&envoy.client().get("/things/999999999")) { row + 1 } else { 0 };
        (row == 12).then_some(())
    });
}

/// What the origin was asked but for lists.
pub fn asked(script: &Script) -> Vec<String> {
    let asked = script.asked().into_iter().filter(|asked| !asked.target.starts_with("/things?"));
    asked.map(|asked| format!("{} {}", asked.method, asked.target)).collect()
}
