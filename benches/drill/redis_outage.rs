//! What requests notice of a Redis that dies, comes back empty, and later hangs: nothing but time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::scene::echo_routes;
use crate::harness::{Client, Envoy, Redis, Scene};
use crate::load::{Random, Running};
use crate::report::Report;

const CLIENTS: u64 = 16;
const KEYS: u64 = 200;
const BODY_BYTES: usize = 2_000;

/// What Redis does while a request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up,
    Killed,
    Restarted,
    Stopped,
    Resumed,
}

const PHASES: [(Phase, &str, Duration); 5] = [
    (Phase::Up, "up", Duration::from_secs(2)),
    (Phase::Killed, "killed", Duration::from_secs(3)),
    (Phase::Restarted, "restarted", Duration::from_secs(4)),
    (Phase::Stopped, "stopped", Duration::from_secs(2)),
    (Phase::Resumed, "resumed", Duration::from_secs(4)),
];

/// One request.
struct Request {
    phase: Phase,
    end: Instant,
    took: Duration,
    sound: bool,
    l2_hit: bool,
}

pub fn run(report: &mut Report) {
    let (envoy, _origin, mut redis) = Scene::as_shipped("drill-outage", |config| {
        echo_routes(config);
        config["routes"][0]["ttl"] = "1h".into();
        config["l1"] = json!({"budget": "0B"});
        config["shared"] = json!({"budget": "0B"});
    });
    let (requests, begun) = drive(&envoy, &mut redis);
    let failed = requests.iter().filter(|request| !request.sound).count();
    report.figure("requests", requests.len());
    report.figure("failed", failed);
    for (phase, name, _) in PHASES {
        let during = || requests.iter().filter(|request| request.phase == phase);
        let longest = during().map(|request| request.took).max().unwrap_or_default();
        report.figure(&format!("{name}_requests"), during().count());
        report.figure(&format!("{name}_l2_hits"), during().filter(|r| r.l2_hit).count());
        report.figure(&format!("{name}_longest_ms"), ms(longest));
        // The example's time-out is 50 ms; the rest is the machine's.
        report.check(
            &format!("nobody waits for Redis while it is {name}"),
            longest < Duration::from_millis(500),
        );
    }
    for phase in [Phase::Restarted, Phase::Resumed] {
        let (_, name, _) = PHASES[phase as usize];
        let hits = requests.iter().filter(|r| r.phase == phase && r.l2_hit);
        let first = hits.map(|r| r.end.duration_since(begun[phase as usize])).min();
        report.figure(&format!("{name}_first_l2_hit_ms"), first.map(ms));
        report.check(&format!("L2 is back 1 s after Redis {name}"), first.is_some_and(within_1_s));
    }
    report.check("no request failed", failed == 0);
}

/// Goes through the phases under load; all requests, and when each phase began.
fn drive(envoy: &Envoy, redis: &mut Redis) -> (Vec<Request>, Vec<Instant>) {
    let (stop, now) = (AtomicBool::new(false), Mutex::new(Phase::Up));
    let mut begun = Vec::new();
    let requests = std::thread::scope(|scope| {
        let running = Running::new(&stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                let (stop, now) = (&stop, &now);
                scope.spawn(move || ask(envoy.client(), Random::new(seed), stop, now))
            })
            .collect();
        for (phase, _, lasts) in PHASES {
            begun.push(Instant::now());
            *now.lock().expect("the phase") = phase;
            match phase {
                Phase::Up => {}
                Phase::Killed => redis.process.kill(),
                Phase::Restarted => redis.restart(),
                Phase::Stopped => redis.process.signal("STOP"),
                Phase::Resumed => redis.process.signal("CONT"),
            }
            sleep(lasts);
        }
        drop(running);
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    (requests, begun)
}

/// Asks for one key after the other until it has to stop.
fn ask(
    mut client: Client,
    mut random: Random,
    stop: &AtomicBool,
    now: &Mutex<Phase>,
) -> Vec<Request> {
    let mut requests = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let key = random.below(KEYS);
        let path = format!("/echo/{key}?size={BODY_BYTES}&plain=1");
        let (phase, start) = (*now.lock().expect("the phase"), Instant::now());
        let response = client.try_request("GET", path.as_bytes(), &[], b"");
        let end = Instant::now();
        let sound = |r: &crate::harness::Response| r.status == 200 && r.body.len() == BODY_BYTES;
        requests.push(Request {
            phase,
            end,
            took: end - start,
            sound: response.as_ref().is_some_and(sound),
            l2_hit: response.is_some_and(|r| r.cache_status().ends_with("detail=l2")),
        });
    }
    requests
}

fn within_1_s(took: Duration) -> bool {
    took <= Duration::from_secs(1)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
