//! A worker's VM crashes twenty times under load: who else notices, and how soon it serves again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::scene::echo_routes;
use crate::harness::{Client, Envoy, Origin, Redis, Scene};
use crate::load::{Random, Running, at, millis};
use crate::report::Report;

const CRASHES: usize = 20;
const APART: Duration = Duration::from_millis(400);
const CLIENTS: usize = 24;
const KEYS: u64 = 300;
const PAUSE: Duration = Duration::from_millis(4);
const MEDIAN: Duration = Duration::from_millis(100);
/// The one by which the VM crashes may hear of it last.
const AT_ONCE: Duration = Duration::from_millis(50);
/// What the origin takes: there are always requests inside the VM that crashes.
const LATENCY_MS: &str = "10";

/// What a client saw: how many answers, and from when to when what failed took.
struct Seen {
    answers: usize,
    failures: Vec<(Instant, Instant)>,
}

pub fn run(report: &mut Report) {
    let scene = Scene::new("drill-crash");
    let origin = Origin::start(&scene, &["--latency", LATENCY_MS]);
    let redis = Redis::start(&scene, &[]);
    let builder = Envoy::shipped("event2table.yaml").origin(origin.port).redis(redis.port);
    let builder = builder.config(|config| {
        echo_routes(config);
        // Some fetches at any time.
        config["routes"][0]["ttl"] = json!("1s");
    });
    let envoy = builder.workers(2).with_trap(CRASHES + 1).start(&scene);
    let stop = AtomicBool::new(false);
    let mut crasher = envoy.client();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| envoy.client()).collect();
    let is_own = inside(&origin, &mut crasher, &mut clients);
    let (crashes, seen) = std::thread::scope(|scope| {
        let running = Running::new(&stop);
        let clients: Vec<_> = (0..)
            .zip(clients)
            .map(|(n, client)| {
                let stop = &stop;
                scope.spawn(move || ask(client, n, stop))
            })
            .collect();
        sleep(Duration::from_secs(2));
        let crashes = crash(&mut crasher);
        sleep(Duration::from_secs(1));
        drop(running);
        let seen = clients.into_iter().map(|client| client.join().expect("a client"));
        (crashes, seen.collect::<Vec<_>>())
    });
    tell(report, &crashes, &seen, &is_own);
    let log = envoy.process.log();
    report.figure("vms_started", log.matches("started").count());
}

/// Which clients have the worker that the crasher has: those whose slow requests fail with it. A connection stays
/// with its worker.
fn inside(origin: &Origin, crasher: &mut Client, clients: &mut [Client]) -> Vec<bool> {
    origin.configure(&json!({"latency_ms": 1_000}));
    let is_own = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..)
            .zip(clients)
            .map(|(n, client)| {
                scope.spawn(move || client.get(&format!("/echo/slow{n}")).status != 200)
            })
            .collect();
        sleep(Duration::from_millis(300));
        let _ = crasher.try_request("GET", b"/echo/0", &[("x-test-trap", "panic")], b"");
        asking.into_iter().map(|asking| asking.join().expect("a client")).collect()
    });
    origin.configure(&json!({"latency_ms": 10}));
    is_own
}

/// Crashes the VM of one worker, again and again; when that was known, and how long it took until that worker
/// served.
fn crash(client: &mut Client) -> Vec<(Instant, Duration)> {
    let mut crashes = Vec::new();
    for _ in 0..CRASHES {
        sleep(APART);
        let begin = Instant::now();
        let crashed = client.try_request("GET", b"/echo/0", &[("x-test-trap", "panic")], b"");
        assert!(crashed.is_some_and(|response| response.status == 503), "no crash");
        let crashed = Instant::now();
        while client.get("/echo/0").status != 200 {
            sleep(Duration::from_millis(1));
        }
        crashes.push((crashed, begin.elapsed()));
    }
    crashes
}

fn ask(mut client: Client, seed: u64, stop: &AtomicBool) -> Seen {
    let mut random = Random::new(seed);
    let mut seen = Seen { answers: 0, failures: Vec::new() };
    while !stop.load(Ordering::Relaxed) {
        let path = format!("/echo/{}?size=1000&plain=1", random.below(KEYS));
        let begin = Instant::now();
        let response = client.try_request("GET", path.as_bytes(), &[], b"");
        if response.is_some_and(|r| r.status == 200 && r.body.len() == 1_000) {
            seen.answers += 1;
        } else {
            seen.failures.push((begin, Instant::now()));
        }
        sleep(PAUSE.mul_f64(random.fraction()));
    }
    seen
}

fn tell(report: &mut Report, crashes: &[(Instant, Duration)], seen: &[Seen], is_own: &[bool]) {
    let mut took: Vec<_> = crashes.iter().map(|(_, took)| *took).collect();
    took.sort_unstable();
    report.figure("crashes", took.len());
    report.figure("served_after_p50_ms", millis(at(&took, 50.0)));
    report.figure("served_after_longest_ms", millis(at(&took, 100.0)));
    report.check("served again within 100 ms (median)", at(&took, 50.0) < MEDIAN);
    let of = |wanted: bool| {
        let seen = seen.iter().zip(is_own).filter(move |(_, is_own)| **is_own == wanted);
        seen.map(|(seen, _)| seen).collect::<Vec<_>>()
    };
    let (others, own) = (of(false), of(true));
    let answers = |all: &[&Seen]| all.iter().map(|seen| seen.answers).sum::<usize>();
    let failures = |all: &[&Seen]| all.iter().map(|seen| seen.failures.len()).sum::<usize>();
    report.figure("crashing_worker_clients", own.len());
    report.figure("crashing_worker_answers", answers(&own));
    report.figure("crashing_worker_failures", failures(&own));
    report.figure("other_worker_clients", others.len());
    report.figure("other_worker_answers", answers(&others));
    report.figure("other_worker_failures", failures(&others));
    let untouched = failures(&others) == 0 && !others.is_empty() && !own.is_empty();
    report.check("the other worker notices nothing", untouched);
    // What was sent after the crash, or had failed before, was not inside.
    let was_inside = |(begin, end): &&(Instant, Instant)| {
        crashes.iter().any(|(crash, _)| begin <= crash && *crash < *end + AT_ONCE)
    };
    let failed = own.iter().flat_map(|seen| &seen.failures);
    let outside = failed.filter(|failed| !was_inside(failed)).count();
    report.figure("failures_outside_the_crashing_vm", outside);
    report.check("only requests inside the crashing VM fail", outside == 0);
}
