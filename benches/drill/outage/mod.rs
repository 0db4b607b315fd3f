//! What 3,000 requests a second notice of a Redis that fails in every way it can: nothing but time, and little of
//! that.

mod cluster;
mod load;

use std::cell::RefCell;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::scene::echo_routes;
use crate::harness::wire::Wire;
use crate::harness::{Envoy, Origin, Redis, Scene, eventually};
use crate::load::{at, millis};
use crate::report::Report;
use load::{Request, drive};

pub use cluster::{other as cluster_other, table as cluster_table};

/// What the origin takes for every answer.
const LATENCY_MS: &str = "5";
const ORIGIN: Duration = Duration::from_millis(5);
/// `l2.timeout` of the example.
const TIMEOUT: Duration = Duration::from_millis(50);
const WELL: Duration = Duration::from_secs(3);
const FAULTY: Duration = Duration::from_secs(3);
const MENDED: Duration = Duration::from_secs(3);
const DEGRADED_WITHIN_MS: u64 = 200;
const BACK_WITHIN: Duration = Duration::from_secs(1);
const WORKERS: u32 = 2;

/// When things were done, by both clocks.
struct Moments {
    fault: Instant,
    fault_ms: u64,
    mend: Instant,
}

/// A Redis that is reached by a wire.
struct Cast {
    redis: Redis,
    wire: Wire,
}

pub fn kill(report: &mut Report) {
    run(report, "kill", |cast| cast.redis.process.kill(), |cast| cast.redis.restart());
}

pub fn stop(report: &mut Report) {
    let signal = |cast: &mut Cast, signal| cast.redis.process.signal(signal);
    run(report, "stop", |cast| signal(cast, "STOP"), |cast| signal(cast, "CONT"));
}

/// It comes back with a password that Envoy does not know, and loses it later.
pub fn password(report: &mut Report) {
    let lock = |cast: &mut Cast| {
        cast.redis.set_password(Some("other"));
        cast.redis.restart();
    };
    let unlock = |cast: &mut Cast| {
        cast.redis.command(&[b"CONFIG", b"SET", b"requirepass", b""]);
    };
    run(report, "password", lock, unlock);
}

/// It takes no more writes (`noeviction`).
pub fn full(report: &mut Report) {
    let limit = |cast: &mut Cast, bytes: &[u8]| {
        cast.redis.command(&[b"CONFIG", b"SET", b"maxmemory", bytes]);
    };
    run(report, "full", |cast| limit(cast, b"1"), |cast| limit(cast, b"0"));
}

/// Nothing that is sent arrives any more, and nobody says so.
pub fn cut(report: &mut Report) {
    run(report, "cut", |cast| cast.wire.cut(true), |cast| cast.wire.cut(false));
}

fn run(
    report: &mut Report,
    name: &str,
    fault: impl FnOnce(&mut Cast),
    mend: impl FnOnce(&mut Cast),
) {
    let scene = Scene::new(&format!("drill-outage-{name}"));
    let origin = Origin::start(&scene, &["--latency", LATENCY_MS]);
    let redis = Redis::start(&scene, &[]);
    let wire = Wire::to(redis.port);
    let builder = Envoy::shipped("event2table.yaml").origin(origin.port).redis(wire.port);
    let envoy = builder.config(configure).workers(WORKERS).start(&scene);
    let cast = RefCell::new(Cast { redis, wire });
    let (fault, mend) = (|| fault(&mut cast.borrow_mut()), || mend(&mut cast.borrow_mut()));
    let (requests, moments) = play(&envoy, fault, mend);
    tell(report, &envoy, &requests, &moments);
    let degraded = degraded_after(&envoy, &moments);
    report.figure("degraded_after_ms", degraded);
    let in_time = degraded.is_some_and(|ms| ms <= DEGRADED_WITHIN_MS);
    report.check("degraded within 200 ms", in_time);
    back(report, &requests, moments.mend);
}

/// L1 has room for what is hot only.
fn configure(config: &mut Value) {
    echo_routes(config);
    config["routes"][0]["ttl"] = "1h".into();
    config["l1"] = json!({"budget": "512KiB", "max_entry": "64KiB"});
    config["shared"] = json!({"budget": "0B"});
}

/// Drives load through a fault and its end.
fn play(envoy: &Envoy, fault: impl FnOnce(), mend: impl FnOnce()) -> (Vec<Request>, Moments) {
    eventually("L2 to be well", || {
        envoy.client().get("/echo/0?size=2000&plain=1");
        (envoy.metric("tiercel_l2_stores{result=\"stored\"}") > 0).then_some(())
    });
    drive(envoy, || {
        sleep(WELL);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let fault_ms = u64::try_from(now.as_millis()).expect("a time");
        let begin = Instant::now();
        fault();
        sleep(FAULTY);
        let moments = Moments { fault: begin, fault_ms, mend: Instant::now() };
        mend();
        sleep(MENDED);
        moments
    })
}

/// Figures and promises of every outage.
fn tell(report: &mut Report, envoy: &Envoy, requests: &[Request], moments: &Moments) {
    let failed = requests.iter().filter(|request| !request.sound).count();
    report.figure("requests", requests.len());
    report.figure("failed", failed);
    report.check("no request failed", failed == 0);
    let mut longest = Vec::new();
    for (phase, from, to) in [
        ("well", None, Some(moments.fault)),
        ("faulty", Some(moments.fault), Some(moments.mend)),
        ("mended", Some(moments.mend), None),
    ] {
        let during = |r: &&Request| {
            from.is_none_or(|from| r.begin >= from) && to.is_none_or(|to| r.begin < to)
        };
        let all: Vec<_> = requests.iter().filter(during).collect();
        let mut took: Vec<_> = all.iter().map(|request| request.took).collect();
        took.sort_unstable();
        report.figure(&format!("{phase}_requests"), all.len());
        report.figure(&format!("{phase}_l1_hits"), all.iter().filter(|r| r.l1_hit).count());
        report.figure(&format!("{phase}_l2_hits"), all.iter().filter(|r| r.l2_hit).count());
        report.figure(&format!("{phase}_p50_ms"), millis(at(&took, 50.0)));
        report.figure(&format!("{phase}_p999_ms"), millis(at(&took, 99.9)));
        report.figure(&format!("{phase}_longest_ms"), millis(at(&took, 100.0)));
        longest.push(at(&took, 100.0));
    }
    // What the machine adds is seen while nothing is wrong.
    let calm = requests.iter().filter(|request| request.end() < moments.fault);
    let noise = calm.map(|request| request.took).max().unwrap_or(ORIGIN).saturating_sub(ORIGIN);
    let most = ORIGIN + TIMEOUT + noise.max(Duration::from_millis(10));
    report.figure("most_ms", millis(most));
    let kept = longest.iter().all(|took| *took <= most);
    report.check("nobody waits for more than the origin and one timeout", kept);
    let took_over = envoy.metric("tiercel_collapse{event=\"took_over\"}");
    report.check("nobody waits for a worker that fetches no more", took_over == 0);
}

/// How long after the fault the workers agreed on it, by Envoy's log.
fn degraded_after(envoy: &Envoy, moments: &Moments) -> Option<u64> {
    let log = envoy.process.log();
    let lines = log.lines().filter(|line| line.contains("L2 is degraded"));
    let after = |line: &str| millis_of(line)?.checked_sub(moments.fault_ms % 86_400_000);
    lines.filter_map(after).next()
}

/// The time of day in a line of Envoy's log: `[2026-01-31 12:34:56.789]`.
fn millis_of(line: &str) -> Option<u64> {
    let time = line.get(12..24)?;
    let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<u64>().ok();
    let seconds = number(0..2)? * 3_600 + number(3..5)? * 60 + number(6..8)?;
    Some(seconds * 1_000 + number(9..12)?)
}

/// How long after the end of the fault something came from Redis again.
fn back(report: &mut Report, requests: &[Request], mended: Instant) {
    let hits = requests.iter().filter(|request| request.l2_hit && request.begin >= mended);
    let first = hits.map(|request| request.end() - mended).min();
    report.figure("first_l2_hit_ms", first.map(millis));
    report.check("L2 hits again within 1 s", first.is_some_and(|took| took <= BACK_WITHIN));
}
