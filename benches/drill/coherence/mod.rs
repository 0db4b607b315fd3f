//! Whether a write is seen by the reads after it: at once through its own instance, whatever worker
//! they reach, and within a moment through another, whatever happens to Redis.

mod burst;
mod chaos;
mod checker;
mod clients;
mod findings;
mod origin;

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::scene::no_routes;
use crate::harness::{Envoy, Redis, Scene};
use crate::report::Report;
use clients::Plan;
use findings::Trouble;
use origin::Versions;

pub use burst::run as burst;
pub use chaos::run as chaos;

const PLAN: Plan = Plan {
    keys: 20,
    writers: 8,
    readers: 32,
    write_pause: Duration::from_millis(20),
    read_pause: Duration::from_millis(8),
};
const LASTS: Duration = Duration::from_secs(20);
/// The feed's interval, a tick and the way to Redis are 200, 50 and a few; the rest is the machine's.
const LAG_P99: Duration = Duration::from_millis(400);
/// How long a recovery may take until the usual bounds hold again.
const GRACE: Duration = Duration::from_secs(1);

/// What is done to Redis.
#[derive(Clone, Copy)]
enum Fault {
    /// Killed, and so long away until it comes back empty.
    Killed(Duration),
    Flushed,
}

/// When, and what.
const FAULTS: [(Duration, Fault); 4] = [
    (Duration::from_secs(3), Fault::Killed(Duration::from_millis(300))),
    (Duration::from_secs(7), Fault::Killed(Duration::from_millis(1_500))),
    (Duration::from_secs(11), Fault::Flushed),
    (Duration::from_secs(14), Fault::Killed(Duration::from_millis(2_500))),
];

/// The parts that play: an origin, one Redis, and instances on both.
struct Cast {
    envoys: Vec<Envoy>,
    redis: Redis,
    origin: Versions,
}

impl Cast {
    /// Two instances of two workers each.
    fn full(name: &str, keys: usize) -> Self {
        Self::start(name, keys, 2, 2)
    }

    fn start(name: &str, keys: usize, instances: u32, workers: u32) -> Self {
        let scene = Scene::new(name);
        let (origin, redis) = (Versions::start(keys), Redis::start(&scene, &[]));
        let instance = |_| {
            let builder = Envoy::shipped("event2table.yaml").config(configure);
            builder.origin(origin.port).redis(redis.port).workers(workers).start(&scene)
        };
        Self { envoys: (0..instances).map(instance).collect(), redis, origin }
    }

    /// Reports how far both workers of each instance took part.
    fn report_shares(&self, report: &mut Report) {
        report.figure("origin_reads", self.origin.reads());
        let mut all = true;
        for (name, envoy) in ["a", "b"].iter().zip(&self.envoys) {
            all &= findings::workers(report, name, envoy);
        }
        report.check("every worker served", all);
    }
}

/// Responses say how they are to be cached, and writes make their own URL stale (RFC 9111, 4.4).
fn configure(config: &mut Value) {
    no_routes(config);
    config["headers"] = json!({});
}

/// One worker without L2 needs no coherence: what is found here is wrong with the drill.
pub fn control(report: &mut Report) {
    let scene = Scene::new("drill-coherence-control");
    let origin = Versions::start(PLAN.keys);
    let builder = Envoy::shipped("minimal.yaml").config(configure).origin(origin.port);
    let envoys = [builder.start(&scene)];
    let history = clients::drive(&envoys, PLAN, Instant::now(), || sleep(LASTS / 2));
    findings::requests(report, &history);
    report.figure("origin_reads", origin.reads());
}

/// One worker with L2: look-ups, stores and writes overtake each other.
pub fn one_worker(report: &mut Report) {
    let cast = Cast::start("drill-coherence-one-worker", PLAN.keys, 1, 1);
    let history = clients::drive(&cast.envoys, PLAN, Instant::now(), || sleep(LASTS / 2));
    findings::requests(report, &history);
    cast.report_shares(report);
}

pub fn stress(report: &mut Report) {
    let cast = Cast::full("drill-coherence", PLAN.keys);
    let history = clients::drive(&cast.envoys, PLAN, Instant::now(), || sleep(LASTS));
    findings::requests(report, &history);
    let p99 = findings::lag(report, &history, &[]);
    report.check("the other instance lags less than 400 ms (p99)", p99 < LAG_P99);
    cast.report_shares(report);
}

/// The same while Redis dies three times and forgets everything once.
pub fn outage(report: &mut Report) {
    let mut cast = Cast::full("drill-coherence-outage", PLAN.keys);
    let Cast { envoys, redis, .. } = &mut cast;
    let (start, mut troubles) = (Instant::now(), Vec::new());
    let history = clients::drive(envoys, PLAN, start, || troubles = torment(redis, start));
    findings::requests(report, &history);
    findings::lag(report, &history, &troubles);
    cast.report_shares(report);
}

/// Does to Redis what it has to suffer; when that was, each with the time to get over it.
fn torment(redis: &mut Redis, start: Instant) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    for (at, fault) in FAULTS {
        sleep_until(start, at);
        let began = start.elapsed();
        match fault {
            Fault::Killed(away) => {
                redis.process.kill();
                sleep(away);
                redis.restart();
            }
            Fault::Flushed => drop(redis.command(&[b"FLUSHALL"])),
        }
        troubles.push((began, start.elapsed() + GRACE));
    }
    sleep_until(start, LASTS);
    troubles
}

fn sleep_until(start: Instant, at: Duration) {
    sleep(at.saturating_sub(start.elapsed()));
}
