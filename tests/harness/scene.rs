//! A test's own folder and the parts that play in it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::envoy::Builder;
use super::{Asked, Client, Envoy, Origin, Redis, Script, eventually};

/// Keeps a test's files apart from every other test's.
pub struct Scene {
    pub dir: PathBuf,
    next: AtomicU32,
}

impl Scene {
    /// A new, empty folder for the test `name`.
    pub fn new(name: &str) -> Self {
        let dir = super::target().join("e2e").join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a folder for the test");
        Self { dir, next: AtomicU32::new(0) }
    }

    /// A name that no other part of this machine's tests has.
    pub fn unique(&self, name: &str) -> String {
        format!("{name}{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The usual cast: the demo origin, one Redis, one Envoy with one worker.
    pub fn usual(name: &str, config: impl FnOnce(&mut Value)) -> (Envoy, Origin, Redis) {
        Self::cast(name, Envoy::builder("event2table.yaml").config(config))
    }

    /// The usual cast, with the time-outs and health checks of the example.
    pub fn as_shipped(name: &str, config: impl FnOnce(&mut Value)) -> (Envoy, Origin, Redis) {
        Self::cast(name, Envoy::shipped("event2table.yaml").config(no_ids).config(config))
    }

    fn cast(name: &str, builder: Builder) -> (Envoy, Origin, Redis) {
        let scene = Self::new(name);
        let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
        let envoy = builder.origin(origin.port).redis(redis.port).start(&scene);
        (envoy, origin, redis)
    }

    /// A scripted origin and an Envoy with L1 only.
    pub fn scripted(
        name: &str,
        config: impl FnOnce(&mut Value),
        answer: impl FnMut(&Asked) -> Option<Vec<u8>> + Send + 'static,
    ) -> (Envoy, Script) {
        let (scene, script) = (Self::new(name), Script::start(answer));
        let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
        (builder.config(config).start(&scene), script)
    }

    /// A scripted origin, Redis, and an Envoy.
    pub fn scripted_l2(
        name: &str,
        config: impl FnOnce(&mut Value),
        answer: impl FnMut(&Asked) -> Option<Vec<u8>> + Send + 'static,
    ) -> (Envoy, Script, Redis) {
        let (scene, script) = (Self::new(name), Script::start(answer));
        let redis = Redis::start(&scene, &[]);
        let builder = Envoy::builder("event2table.yaml").origin(script.port).redis(redis.port);
        (builder.config(no_routes).config(config).start(&scene), script, redis)
    }

    /// As [`Self::usual`] without Redis: L1 and the origin only.
    pub fn l1_only(name: &str, config: impl FnOnce(&mut Value)) -> (Envoy, Origin) {
        let scene = Self::new(name);
        let origin = Origin::start(&scene, &[]);
        let envoy = Envoy::builder("minimal.yaml").origin(origin.port).config(config).start(&scene);
        (envoy, origin)
    }
}

/// Every response says itself how it is to be cached: no route speaks for it.
pub fn no_routes(config: &mut Value) {
    config["routes"] = serde_json::json!([]);
    config["defaults"] = serde_json::json!({});
}

/// No lists of ids, which the origin would be asked for.
pub fn no_ids(config: &mut Value) {
    config.as_object_mut().map(|config| config.remove("spaces"));
    for route in config["routes"].as_array_mut().into_iter().flatten() {
        for name in ["exists", "creates"] {
            route.as_object_mut().map(|route| route.remove(name));
        }
    }
}

/// Nothing is stored in this process: what is a hit comes from Redis.
pub fn l2_only(config: &mut Value) {
    config["l1"] = serde_json::json!({"budget": "0B"});
    config["shared"] = serde_json::json!({"budget": "0B"});
}

/// Routes for the origin's synthetic resource, with a TTL of a minute.
pub fn echo_routes(config: &mut Value) {
    config["routes"] = serde_json::json!([{"path": "/echo/{*rest}", "ttl": "60s"}]);
    config["defaults"] = serde_json::json!({});
}

/// As [`echo_routes`], and every request asks Redis.
pub fn echo_l2_only(config: &mut Value) {
    echo_routes(config);
    l2_only(config);
}

/// Waits until it has heard from Redis: before, it neither trusts nor judges it.
pub fn follows(envoy: &Envoy) {
    eventually("the table to be followed", || {
        (envoy.metric("tiercel_coherence{event=\"followed\"}") > 0).then_some(())
    });
}

/// Asks for an echo until it comes from Redis.
pub fn recovers(envoy: &Envoy) {
    let mut client = envoy.client();
    eventually("hits from Redis", || {
        let response = client.get("/echo/recovery");
        assert_eq!(response.status, 200);
        response.cache_status().ends_with("detail=l2").then_some(())
    });
}

/// Reads a resource twice: what came first and what came then.
pub fn twice(client: &mut Client, path: &str) -> (super::Response, super::Response) {
    (client.get(path), client.get(path))
}
