//! Ids in several instances: how soon the others know of what one brings into being, and of a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Asked, Envoy, Redis, Scene, Script, eventually, reply};
use crate::lists::Lists;
use crate::load::{at, millis};
use crate::report::Report;

const IDS: u64 = 1_000_000;
const PAGE: u64 = 10_000;
const ROUNDS: u64 = 200;
/// What the example leaves at its default: the feed's interval; and the workers' tick.
const FEED: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_millis(50);

fn routes(config: &mut Value, spaces: Value) {
    config["defaults"] = json!({});
    config["origin"] = json!({"cluster": "origin"});
    config["coherence"] = json!({});
    config["spaces"] = spaces;
    config["routes"] = json!([
        {"path": "/things/{id}", "exists": [{"space": "many", "id": "{id}"}]},
        {"path": "/things", "methods": ["POST"],
            "creates": [{"space": "many", "id": "{response:/id}"}]},
        {"path": "/things/{id}", "methods": ["PUT"],
            "creates": [{"space": "many", "id": "{id}"}]},
    ]);
}

fn start(scene: &Scene, origin: u16, redis: &Redis, spaces: Value) -> Envoy {
    let builder = Envoy::shipped("event2table.yaml").origin(origin).redis(redis.port);
    builder.config(|config| routes(config, spaces)).workers(2).start(scene)
}

/// Waits, without a request through the cache, until both workers and the main thread know which ids exist.
fn until_known(envoy: &Envoy) {
    eventually("ids to be known", || {
        let told = envoy.process.log().matches("it is known which ids exist").count();
        (told == 3).then_some(())
    });
}

/// Envoy is started again; Redis has the filter.
pub fn restart(report: &mut Report) {
    let scene = Scene::new("drill-ids-restart");
    let (lists, redis) = (Lists::start(IDS, PAGE), Redis::start(&scene, &[]));
    let begin = || start(&scene, lists.script.port, &redis, Lists::space("origin", IDS, 16));
    let envoy = begin();
    until_known(&envoy);
    let kept = "tiercel_existence{event=\"kept\",space=\"many\"}";
    eventually("the filter to be kept", || (envoy.metric(kept) > 0).then_some(()));
    drop(envoy);
    let mut times = Vec::new();
    let mut refused = 0;
    lists.script.asked();
    for round in 0..20 {
        let envoy = begin();
        let listens = Instant::now();
        until_known(&envoy);
        times.push(listens.elapsed());
        // Both workers are asked, on connections of their own.
        refused += (0..20_u64)
            .filter(|n| {
                let answer = envoy.client().get(&format!("/things/{}", 2 * (20 * round + n) + 1));
                answer.cache_status().ends_with("detail=absent")
            })
            .count();
    }
    times.sort_unstable();
    report.figure("restarts", times.len());
    report.figure("protected_after_listening_p50_ms", millis(at(&times, 50.0)));
    report.figure("protected_after_listening_longest_ms", millis(at(&times, 100.0)));
    let asked = lists.script.asked().len();
    report.figure("refused_of_400", refused);
    report.figure("origin_requests", asked);
    report.check("protected within 1 s", at(&times, 100.0) < Duration::from_secs(1));
    report.check("the origin is not asked at all", asked == 0 && refused == 400);
}

/// Ids come into being through either instance.
pub fn created(report: &mut Report) {
    let scene = Scene::new("drill-ids-created");
    let last = Arc::new(AtomicU64::new(5));
    let script = Script::start(move |asked: &Asked| {
        let id = asked.target.rsplit('/').next().unwrap_or_default();
        match (asked.method.as_str(), &*asked.target) {
            ("POST", _) => {
                let id = last.fetch_add(1, Ordering::Relaxed) + 1;
                reply(201, &[], &json!({"id": id}).to_string())
            }
            ("GET", target) if target.starts_with("/list") => {
                reply(200, &[], "{\"total\":5,\"ids\":[1,2,3,4,5]}")
            }
            _ => reply(200, &[("cache-control", "no-store")], id),
        }
    });
    let redis = Redis::start(&scene, &[]);
    let mut spaces = Lists::space("origin", 1_000, 16);
    spaces["many"]["source"]["http"]["page"] = Value::Null;
    let envoys = [0, 1].map(|_| start(&scene, script.port, &redis, spaces.clone()));
    envoys.iter().for_each(until_known);
    let (mut there, mut missed) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        let by = usize::from(round % 2 == 1);
        let (here, other) = (&envoys[by], &envoys[1 - by]);
        let made = here.client().request("POST", "/things", &[], b"{}");
        let chosen = 1_000_000 + round;
        here.client().request("PUT", &format!("/things/{chosen}"), &[], b"{}");
        let since = Instant::now();
        let ids = [made.json()["id"].as_u64().expect("an id"), chosen];
        let is_found =
            |envoy: &Envoy, id: u64| envoy.client().get(&format!("/things/{id}")).status == 200;
        // On connections of their own, so by either worker.
        missed += ids.iter().flat_map(|id| [id; 4]).filter(|id| !is_found(here, **id)).count();
        for id in ids {
            eventually("the other instance to know it", || is_found(other, id).then_some(()));
            there.push(since.elapsed());
            missed += (0..3).filter(|_| !is_found(other, id)).count();
        }
    }
    there.sort_unstable();
    report.figure("ids", there.len());
    report.figure("not_found_though_known", missed);
    report.figure("other_instance_p50_ms", millis(at(&there, 50.0)));
    report.figure("other_instance_p99_ms", millis(at(&there, 99.0)));
    report.figure("other_instance_longest_ms", millis(at(&there, 100.0)));
    report.check("readable at once, and then always", missed == 0);
    let soon = FEED + TICK + Duration::from_millis(50);
    report.check("p99 of the other within the feed's interval", at(&there, 99.0) < soon);
    let refused = envoys.iter().all(|envoy| envoy.client().get("/things/777").status == 404);
    report.check("others are refused all the same", refused);
}
