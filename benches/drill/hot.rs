//! A hot key expires under load: nobody waits for the origin after the first fetch.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::scene::echo_routes;
use crate::harness::{Envoy, Origin, Scene};
use crate::load::Running;
use crate::report::Report;

const CLIENTS: u64 = 16;
/// Requests a second, by all of them.
const RATE: u64 = 5_000;
const LASTS: Duration = Duration::from_secs(30);
const FRESH: Duration = Duration::from_secs(5);
const PATH: &str = "/echo/hot?delay_ms=100";

pub fn run(report: &mut Report) {
    let scene = Scene::new("drill-hot");
    let origin = Origin::start(&scene, &[]);
    let builder = Envoy::builder("minimal.yaml").origin(origin.port).config(|config| {
        echo_routes(config);
        config["routes"][0]["ttl"] = format!("{}s", FRESH.as_secs()).into();
        config["routes"][0]["jitter"] = 0.into();
        config["routes"][0]["stale_while_revalidate"] = "10s".into();
        config["origin"] = json!({"cluster": "origin"});
    });
    let envoy = builder.workers(2).start(&scene);
    assert_eq!(envoy.client().get(PATH).status, 200);
    let before = origin.total();
    let (stop, asked, waited) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (stale, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let running = Running::new(&stop);
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = envoy.client();
                let pause = Duration::from_micros(1_000_000 * CLIENTS / RATE);
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get(PATH);
                    let status = answer.cache_status();
                    asked.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(u64::from(answer.status != 200), Ordering::Relaxed);
                    waited.fetch_add(u64::from(status.contains("fwd=")), Ordering::Relaxed);
                    stale.fetch_add(u64::from(status.contains("ttl=-")), Ordering::Relaxed);
                    next += pause;
                    sleep(next.saturating_duration_since(Instant::now()));
                }
            });
        }
        sleep(LASTS);
        drop(running);
    });
    let (asked, waited) = (asked.into_inner(), waited.into_inner());
    let (fetched, periods) = (origin.total() - before, LASTS.as_secs() / FRESH.as_secs());
    report.figure("requests_per_second", asked / LASTS.as_secs());
    report.figure("failed", failed.load(Ordering::Relaxed));
    report.figure("waited_for_the_origin", waited);
    report.figure("served_stale", stale.into_inner());
    report.figure("origin_requests", fetched);
    report.figure("periods", periods);
    report.check("no request failed", failed.into_inner() == 0);
    report.check("no request waits for the origin", waited == 0);
    report.check("a fetch for each period, within 2", fetched.abs_diff(periods) <= 2);
}
