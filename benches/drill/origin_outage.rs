//! What requests notice of an origin that fails for a while, in each of four ways: nothing, as long as
//! something stale may be served, and what is fresh soon after.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::scene::no_routes;
use crate::harness::{Asked, Client, Envoy, Scene, Script, eventually, reply};
use crate::load::{Random, Running};
use crate::report::Report;

const CLIENTS: u64 = 8;
/// A client's time from one request to the next.
const PAUSE: Duration = Duration::from_millis(4);
/// Every other one may be served stale while it is fetched again, all in place of an error.
const KEYS: usize = 20;
const WELL: Duration = Duration::from_secs(3);
const FAILING: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(1);
/// What Envoy asks to see whether the origin is healthy.
const HEALTH: &str = "/health";

/// How the origin fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Well,
    Errors,
    Resets,
    Hangs,
    /// It says itself that it is not healthy: Envoy does not ask it.
    Unhealthy,
}

const WAYS: [(Way, &str); 4] = [
    (Way::Errors, "500"),
    (Way::Resets, "reset"),
    (Way::Hangs, "hang"),
    (Way::Unhealthy, "unhealthy"),
];

/// One request.
struct Request {
    key: usize,
    start: Instant,
    end: Instant,
    /// How often the origin had recovered when it made the body; none if the request failed.
    version: Option<u64>,
}

/// An outage, from before to after it.
struct Outage {
    requests: Vec<Request>,
    begun: Instant,
    over: Instant,
    /// What the origin was asked meanwhile.
    asked: usize,
}

pub fn run(report: &mut Report) {
    let scene = Scene::new("drill-origin-outage");
    let script = Script::start(|asked| answer(asked, Way::Well, 0));
    let envoy = start(&scene, &script);
    for key in 0..KEYS {
        let fetched = || (envoy.client().get(&path(key)).status == 200).then_some(());
        eventually("the first answers", fetched);
    }
    for ((way, name), version) in WAYS.into_iter().zip(1..) {
        let outage = drive(&envoy, &script, way, version);
        figures(report, name, version, &outage);
    }
}

fn start(scene: &Scene, script: &Script) -> Envoy {
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    let builder = builder.config(|config| {
        config["origin"] = json!({"cluster": "origin", "timeout": "1s"});
        config["routes"] = json!([
            {"path": "/soft/{*rest}", "stale_while_revalidate": "60s"},
            {"path": "/hard/{*rest}"},
        ]);
        for route in config["routes"].as_array_mut().expect("routes") {
            route["ttl"] = "1s".into();
            route["jitter"] = 0.into();
            route["stale_if_error"] = "60s".into();
        }
    });
    let builder = builder.envoy(|config| {
        let cluster = &mut config["static_resources"]["clusters"][0];
        cluster["common_lb_config"] = json!({"healthy_panic_threshold": {"value": 0}});
        cluster["health_checks"] = json!([{
            "interval": "0.2s", "no_traffic_interval": "0.2s", "timeout": "0.2s",
            "unhealthy_threshold": 2, "healthy_threshold": 1,
            "http_health_check": {"path": HEALTH},
        }]);
    });
    builder.route_timeout("1s").workers(2).start(scene)
}

fn path(key: usize) -> String {
    format!("/{}/{key}", if key.is_multiple_of(2) { "soft" } else { "hard" })
}

/// What the origin answers while it fares so.
fn answer(asked: &Asked, way: Way, version: u64) -> Option<Vec<u8>> {
    let unhealthy = way == Way::Unhealthy;
    match way {
        _ if asked.target == HEALTH => reply(if unhealthy { 503 } else { 200 }, &[], ""),
        Way::Errors => reply(500, &[], "down"),
        Way::Resets => None,
        Way::Well | Way::Hangs | Way::Unhealthy => reply(200, &[], &version.to_string()),
    }
}

/// Lets the origin fail and recover, under load.
fn drive(envoy: &Envoy, script: &Script, way: Way, version: u64) -> Outage {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = Running::new(&stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                let stop = &stop;
                scope.spawn(move || ask(envoy.client(), Random::new(seed), stop))
            })
            .collect();
        sleep(WELL);
        script.asked();
        let begun = Instant::now();
        script.becomes(move |asked| answer(asked, way, version - 1));
        if way == Way::Hangs {
            script.hang_for(|asked| asked.target != HEALTH);
        }
        sleep(FAILING);
        let asked = script.asked();
        let over = Instant::now();
        script.becomes(move |asked| answer(asked, Way::Well, version));
        script.hang(false);
        sleep(WELL);
        drop(running);
        let requests = clients.into_iter().flat_map(|client| client.join().expect("a client"));
        let asked = asked.iter().filter(|asked| asked.target != HEALTH).count();
        Outage { requests: requests.collect(), begun, over, asked }
    })
}

/// Asks for one key after the other until it has to stop.
fn ask(mut client: Client, mut random: Random, stop: &AtomicBool) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let key = usize::try_from(random.below(KEYS as u64)).expect("a key");
        let start = Instant::now();
        let response = client.try_request("GET", path(key).as_bytes(), &[], b"");
        let end = Instant::now();
        let response = response.filter(|response| response.status == 200);
        let version = response.and_then(|r| String::from_utf8(r.body).ok()?.parse().ok());
        requests.push(Request { key, start, end, version });
        // What a slow answer cost is not made up for.
        next = (next + PAUSE).max(end);
        sleep(next.saturating_duration_since(end));
    }
    requests
}

fn figures(report: &mut Report, name: &str, version: u64, outage: &Outage) {
    let Outage { requests, begun, over, asked } = outage;
    let failed = requests.iter().filter(|request| request.version.is_none()).count();
    let meanwhile = requests.iter().filter(|r| r.end >= *begun && r.start < *over);
    let longest = meanwhile.map(|r| r.end - r.start).max().unwrap_or_default();
    let first = |key| {
        let fresh = requests.iter().filter(|r| r.key == key && r.version == Some(version));
        fresh.map(|request| request.end.saturating_duration_since(*over)).min()
    };
    // Of the key that took longest; none if one never was fresh again.
    let back = (0..KEYS).map(first).collect::<Option<Vec<_>>>();
    let back = back.and_then(|all| all.into_iter().max());
    let old = |r: &&Request| r.version.is_some_and(|of| of < version);
    let late = requests.iter().filter(|r| r.start >= *over + SOON).filter(old).count();
    report.figure(&format!("{name}_requests"), requests.len());
    report.figure(&format!("{name}_failed"), failed);
    report.figure(&format!("{name}_longest_ms"), ms(longest));
    report.figure(&format!("{name}_origin_requests"), *asked);
    report.figure(&format!("{name}_back_to_fresh_ms"), back.map(ms));
    report.figure(&format!("{name}_stale_after_1s"), late);
    report.check(&format!("{name}: no request failed"), failed == 0);
    report.check(
        &format!("{name}: fresh within 1 s of recovery"),
        back.is_some_and(|back| back <= SOON) && late == 0,
    );
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
