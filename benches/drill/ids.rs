//! Very many ids: what a filter of them costs, how often it is wrong, and whether anybody notices that it is made.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use tiercel::existence::{Build, Ids, Width, hash};

use crate::harness::{Envoy, Scene};
use crate::lists::Lists;
use crate::load::{Random, Running, at, each, millis, share};
use crate::report::Report;

const MILLION: u64 = 1_000_000;
const PAGE: u64 = 10_000;
const VALID: u64 = 100_000;
const ABSENT: u64 = 1_000_000;
const LOOKED_UP: u64 = 50_000_000;
const CLIENTS: u64 = 8;
/// How long hits are timed, with and without a filter being made.
const TIMED: Duration = Duration::from_secs(20);
/// Hits a second meanwhile.
const RATE: u64 = 2_000;

fn start(scene: &Scene, lists: &Lists, ids: u64, width: u8, refresh: &str) -> Envoy {
    let builder = Envoy::shipped("minimal.yaml").origin(lists.script.port).config(|config| {
        config["defaults"] = json!({});
        config["origin"] = json!({"cluster": "origin"});
        config["coherence"] = json!({"guard": "100ms"});
        config["spaces"] = Lists::space("origin", ids, width);
        config["spaces"]["many"]["refresh"] = refresh.into();
        config["spaces"]["many"]["grace"] = refresh.into();
        config["routes"] = json!([
            {"path": "/things/{id}", "exists": [{"space": "many", "id": "{id}"}]},
        ]);
    });
    builder.workers(1).start(scene)
}

fn gauge(envoy: &Envoy, name: &str) -> u64 {
    envoy.metric(&format!("tiercel_existence_{name}{{space=\"many\"}}"))
}

fn count(envoy: &Envoy, event: &str) -> u64 {
    envoy.metric(&format!("tiercel_existence{{event=\"{event}\",space=\"many\"}}"))
}

/// Waits until so many ids are known. How long that took.
fn until_known(envoy: &Envoy, ids: u64) -> Duration {
    let start = Instant::now();
    while gauge(envoy, "ids") != ids {
        assert!(start.elapsed() < Duration::from_secs(300), "waited in vain for the filter");
        sleep(Duration::from_millis(50));
    }
    start.elapsed()
}

/// Asks for so many ids, made of a number each; how many were answered with this status.
fn ask(envoy: &Envoy, many: u64, status: u16, id: impl Fn(u64) -> u64 + Sync) -> u64 {
    let right = AtomicU64::new(0);
    each(envoy, CLIENTS, 0..many, |client, n| {
        let answer = client.get(&format!("/things/{}", id(n)));
        right.fetch_add(u64::from(answer.status == status), Ordering::Relaxed);
    });
    right.into_inner()
}

/// A million ids, with both widths.
pub fn million(report: &mut Report) {
    for (width, theory) in [(8_u8, 1.0 / 256.0), (16, 1.0 / 65_536.0)] {
        let scene = Scene::new("drill-ids");
        let lists = Lists::start(MILLION, PAGE);
        let envoy = start(&scene, &lists, MILLION, width, "1h");
        let took = until_known(&envoy, MILLION);
        report.figure(&format!("{width}_bits_known_after_ms"), millis(took));
        let bytes = gauge(&envoy, "filter_bytes");
        report.figure(&format!("{width}_bits_filter_bytes"), bytes);
        report.figure(&format!("{width}_bits_per_id"), 8.0 * share(bytes, MILLION));
        let valid = ask(&envoy, VALID, 200, |n| 2 * (Random::new(n).below(MILLION) + 1));
        report.figure(&format!("{width}_bits_valid_refused"), VALID - valid);
        report.check("every id that exists passes", valid == VALID);
        envoy.client().get("/hot");
        let memory = || {
            sleep(Duration::from_millis(1_500)); // the workers' next tick
            let of = |name| envoy.metric(&format!("tiercel_{name}"));
            (of("vm_memory_bytes"), of("l1_entries"))
        };
        let memory_before = memory();
        let before = lists.asked.load(Ordering::Relaxed);
        let answered = ask(&envoy, ABSENT, 404, |n| 2 * n + 1);
        let memory_after = memory();
        report.figure(&format!("{width}_bits_vm_memory_before"), memory_before.0);
        report.figure(&format!("{width}_bits_vm_memory_after"), memory_after.0);
        let stays = memory_before == memory_after && envoy.client().get("/hot").is_hit();
        report.check("a million absent ids change nothing in memory", stays);
        let passed = lists.asked.load(Ordering::Relaxed) - before;
        let rate = share(passed, ABSENT);
        report.figure(&format!("{width}_bits_absent_passed"), passed);
        report.check("no absent id is found", answered == ABSENT);
        // Of a million about 15 pass at 16 bits: chance alone is a quarter of that. So more are looked up in a filter of
        // the same ids, without Envoy.
        let rate = if width == 8 { rate } else { share(looked_up(LOOKED_UP), LOOKED_UP) };
        report.figure(&format!("{width}_bits_to_theory"), rate / theory);
        report.check("as many false positives as theory has", (rate / theory - 1.0).abs() < 0.2);
        report.figure(&format!("{width}_bits_counted"), count(&envoy, "false_positive"));
    }
}

/// How many of so many absent ids a filter with 16 bits has.
fn looked_up(many: u64) -> u64 {
    let mut ids = Ids::default();
    (1..=MILLION).for_each(|n| ids.add(hash((2 * n).to_string().as_bytes())));
    let mut build = Build::new(ids, Width::Sixteen, 0, 0);
    let filter = (0..1_000).find_map(|_| build.step()).expect("a filter");
    let absent = (0..many).map(|n| hash((2 * n + 1).to_string().as_bytes()));
    absent.filter(|hash| filter.contains(*hash)).count() as u64
}

/// Hits are timed while filters of a million ids are made, one after the other, and while none is.
pub fn pauses(report: &mut Report) {
    let mut slowest = Vec::new();
    for (name, refresh) in [("idle", "1h"), ("rebuilding", "1s")] {
        let scene = Scene::new("drill-ids-pauses");
        let lists = Lists::start(MILLION, PAGE);
        let envoy = start(&scene, &lists, MILLION, 16, refresh);
        until_known(&envoy, MILLION);
        envoy.client().get("/hot");
        let built = count(&envoy, "built");
        let times = Mutex::new(Vec::new());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let running = Running::new(&stop);
            for _ in 0..4 {
                scope.spawn(|| {
                    let (mut client, mut own) = (envoy.client(), Vec::new());
                    let pause = Duration::from_micros(1_000_000 * 4 / RATE);
                    let mut next = Instant::now();
                    while !stop.load(Ordering::Relaxed) {
                        let asked = Instant::now();
                        assert!(client.get("/hot").is_hit());
                        own.push(asked.elapsed());
                        next += pause;
                        sleep(next.saturating_duration_since(Instant::now()));
                    }
                    times.lock().expect("times").append(&mut own);
                });
            }
            sleep(TIMED);
            drop(running);
        });
        let mut times = times.into_inner().expect("times");
        times.sort_unstable();
        report.figure(&format!("{name}_hits"), times.len());
        report.figure(&format!("{name}_p50_ms"), millis(at(&times, 50.0)));
        report.figure(&format!("{name}_p99_ms"), millis(at(&times, 99.0)));
        report.figure(&format!("{name}_p99.9_ms"), millis(at(&times, 99.9)));
        report.figure(&format!("{name}_longest_ms"), millis(at(&times, 100.0)));
        report.figure(&format!("{name}_filters_made"), count(&envoy, "built") - built);
        slowest.push(at(&times, 99.9));
    }
    report.check("p99.9 of hits under 10 ms meanwhile", slowest[1] < Duration::from_millis(10));
}

/// Ten million ids.
pub fn ten_million(report: &mut Report) {
    let scene = Scene::new("drill-ids-many");
    let ids = 10 * MILLION;
    let lists = Lists::start(ids, 2 * PAGE);
    let envoy = start(&scene, &lists, ids, 16, "1h");
    let took = until_known(&envoy, ids);
    report.figure("known_after_ms", millis(took));
    report.figure("filter_bytes", gauge(&envoy, "filter_bytes"));
    report.figure("vm_memory_bytes", envoy.metric("tiercel_vm_memory_bytes"));
    let valid = ask(&envoy, VALID, 200, |n| 2 * (Random::new(n).below(ids) + 1));
    report.figure("valid_refused", VALID - valid);
    report.check("every id that exists passes", valid == VALID);
    let before = lists.asked.load(Ordering::Relaxed);
    let answered = ask(&envoy, VALID, 404, |n| 2 * (Random::new(n).below(ids)) + 1);
    report.figure("absent_passed", lists.asked.load(Ordering::Relaxed) - before);
    sleep(Duration::from_millis(1_500)); // the workers' next tick
    report.check("absent ids are refused", answered == VALID && count(&envoy, "refused") > 99_000);
}
