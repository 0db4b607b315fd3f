//! Many ask for the same thing at once: the origin is asked as often as there are things.

use std::sync::Barrier;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::scene::{echo_routes, follows};
use crate::harness::{Client, Envoy, Origin, Redis, Scene};
use crate::load::{at, millis};
use crate::report::Report;

/// How long the origin takes.
const ORIGIN_MS: u64 = 200;
const CROWD: usize = 1_000;
const EACH: usize = 50;
const KEYS: usize = 20;
const LEADERS: usize = 100;
const FLEET_EACH: usize = 100;
const FLEET_KEYS: usize = 10;
const UNSHARED: usize = 200;
const UNSHARED_MS: u64 = 100;
const ROUNDS: usize = 6;

/// What a crowd got.
struct Crowd {
    failed: usize,
    bodies: usize,
    latencies: Vec<Duration>,
}

/// One key, then twenty, then a key whose first client leaves.
pub fn collapse(report: &mut Report) {
    let scene = Scene::new("drill-stampede");
    let origin = Origin::start(&scene, &[]);
    let builder = Envoy::builder("minimal.yaml").origin(origin.port).config(echo_routes);
    let envoy = builder.workers(2).start(&scene);

    envoy.client().get("/echo/warm");
    let before = origin.total();
    let crowd = ask(&envoy, CROWD, |_| format!("/echo/cold?delay_ms={ORIGIN_MS}"));
    let asked = origin.total() - before;
    report.figure("clients", CROWD);
    report.figure("origin_requests", asked);
    figures(report, &crowd);
    report.check("one request for a thousand", asked == 1 && crowd.bodies == 1);
    report.check("no request failed", crowd.failed == 0);
    report.check("p99 under 400 ms", at(&crowd.latencies, 99.0) < Duration::from_millis(400));

    let before = origin.total();
    let crowd = ask(&envoy, EACH * KEYS, |n| format!("/echo/key{}?delay_ms={ORIGIN_MS}", n % KEYS));
    let asked = origin.total() - before;
    report.figure("keys", KEYS);
    report.figure("origin_requests_for_all_keys", asked);
    report.check("one request for each key", asked == KEYS as u64 && crowd.failed == 0);

    let mut failed = 0;
    let mut longest = Duration::ZERO;
    for n in 0..LEADERS {
        let path = format!("/echo/left{n}?delay_ms={ORIGIN_MS}");
        let mut first = envoy.client();
        first.send("GET", path.as_bytes(), &[], b"").expect("a connection");
        sleep(Duration::from_millis(20));
        std::thread::scope(|scope| {
            let others = scope.spawn(|| ask(&envoy, 4, |_| path.clone()));
            sleep(Duration::from_millis(60));
            drop(first);
            let others = others.join().expect("clients");
            failed += others.failed;
            longest = longest.max(at(&others.latencies, 100.0));
        });
    }
    report.figure("leaders_that_left", LEADERS);
    report.figure("followers_that_failed", failed);
    report.figure("followers_longest_ms", millis(longest));
    report.check("no follower fails or hangs", failed == 0 && longest < Duration::from_secs(2));
}

/// Two instances, one Redis, and the time-outs of the example.
pub fn fleet(report: &mut Report) {
    let scene = Scene::new("drill-fleet");
    let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let start = || {
        let builder = Envoy::shipped("event2table.yaml").origin(origin.port).redis(redis.port);
        let builder = builder.config(|config| {
            echo_routes(config);
            config["defaults"]["collapse"] = "fleet".into();
        });
        builder.workers(2).start(&scene)
    };
    let envoys = [start(), start()];
    for envoy in &envoys {
        follows(envoy);
        envoy.client().get("/echo/warm");
    }
    let (mut failed, mut bodies, mut latencies, mut asked) = (0, Vec::new(), Vec::new(), 0);
    for round in 0..FLEET_KEYS {
        let path = format!("/echo/fleet{round}?delay_ms={ORIGIN_MS}");
        let before = origin.total();
        let crowds = std::thread::scope(|scope| {
            let both = envoys.each_ref().map(|envoy| {
                let path = &path;
                scope.spawn(move || ask(envoy, FLEET_EACH, |_| path.clone()))
            });
            both.map(|crowd| crowd.join().expect("a crowd"))
        });
        asked += origin.total() - before;
        for crowd in crowds {
            failed += crowd.failed;
            bodies.push(crowd.bodies);
            latencies.extend(crowd.latencies);
        }
    }
    latencies.sort_unstable();
    report.figure("instances", envoys.len());
    report.figure("clients_of_each", FLEET_EACH);
    report.figure("keys", FLEET_KEYS);
    report.figure("origin_requests", asked);
    figures(report, &Crowd { failed, bodies: 1, latencies });
    report.check("one request for each key", asked == FLEET_KEYS as u64);
    report.check("no request failed", failed == 0 && bodies.iter().all(|bodies| *bodies == 1));
}

/// What is not to be shared, beside the same without the cache.
pub fn unshared(report: &mut Report) {
    let scene = Scene::new("drill-unshared");
    let origin = Origin::start(&scene, &[]);
    let start = |with: bool| {
        let builder = Envoy::builder("minimal.yaml").origin(origin.port).config(echo_routes);
        let builder = builder.envoy(move |config| {
            let listener = &mut config["static_resources"]["listeners"][0];
            let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
            let filters = manager["http_filters"].as_array_mut().expect("filters");
            filters.retain(|filter| with || filter["name"] != "tiercel");
        });
        builder.workers(2).start(&scene)
    };
    let envoys = [start(true), start(false)];
    let mut medians = [Vec::new(), Vec::new()];
    let mut failed = 0;
    for _ in 0..ROUNDS {
        for (envoy, medians) in envoys.iter().zip(&mut medians) {
            let path = format!("/echo/own?delay_ms={UNSHARED_MS}&header=cache-control:no-store");
            let crowd = loops(envoy, UNSHARED, &path, Duration::from_secs(2));
            failed += crowd.failed;
            medians.push((at(&crowd.latencies, 50.0), at(&crowd.latencies, 99.0)));
        }
    }
    let median = |all: &[(Duration, Duration)], of: fn(&(Duration, Duration)) -> Duration| {
        let mut all: Vec<_> = all.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let [with, without] =
        medians.map(|all| (median(&all, |(p50, _)| *p50), median(&all, |(_, p99)| *p99)));
    report.figure("clients", UNSHARED);
    report.figure("failed", failed);
    for (name, (p50, p99)) in [("tiercel", with), ("plain", without)] {
        report.figure(&format!("{name}_p50_ms"), millis(p50));
        report.figure(&format!("{name}_p99_ms"), millis(p99));
    }
    let waited = envoys[0].metric("tiercel_collapse{event=\"followed\"}");
    report.figure("waited", waited);
    report.check("no request failed", failed == 0);
    report.check(
        "p50 within 10 % of a plain proxy",
        with.0.as_secs_f64() <= without.0.as_secs_f64() * 1.1,
    );
}

/// So many clients, all connected, ask at the same moment.
fn ask(envoy: &Envoy, count: usize, path: impl Fn(usize) -> String + Sync) -> Crowd {
    let ready = Barrier::new(count);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..count)
            .map(|n| {
                let (ready, path) = (&ready, &path);
                scope.spawn(move || {
                    let mut client = envoy.client();
                    client.get("/echo/warm");
                    let path = path(n);
                    ready.wait();
                    let start = Instant::now();
                    let response = client.try_request("GET", path.as_bytes(), &[], b"");
                    (response, start.elapsed())
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    });
    let ok = |answer: &&crate::harness::Response| answer.status == 200;
    let mut bodies: Vec<_> =
        answers.iter().filter_map(|(r, _)| r.as_ref().filter(ok)).map(|r| r.body.clone()).collect();
    let failed = count - bodies.len();
    bodies.sort_unstable();
    bodies.dedup();
    let mut latencies: Vec<_> = answers.iter().map(|(_, latency)| *latency).collect();
    latencies.sort_unstable();
    Crowd { failed, bodies: bodies.len(), latencies }
}

/// So many clients ask again and again for a while.
fn loops(envoy: &Envoy, count: usize, path: &str, lasts: Duration) -> Crowd {
    let until = Instant::now() + lasts;
    let all: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::new(envoy.port);
                    let mut seen = Vec::new();
                    while Instant::now() < until {
                        let start = Instant::now();
                        let response = client.try_request("GET", path.as_bytes(), &[], b"");
                        seen.push((response.is_some_and(|r| r.status == 200), start.elapsed()));
                    }
                    seen
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    let failed = all.iter().filter(|(ok, _)| !ok).count();
    let mut latencies: Vec<_> = all.into_iter().map(|(_, latency)| latency).collect();
    latencies.sort_unstable();
    Crowd { failed, bodies: 0, latencies }
}

fn figures(report: &mut Report, crowd: &Crowd) {
    report.figure("failed", crowd.failed);
    for percent in [50, 99, 100_u8] {
        report.figure(&format!("p{percent}_ms"), millis(at(&crowd.latencies, f64::from(percent))));
    }
}
