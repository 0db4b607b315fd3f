//! A day in three minutes: the wall clock runs 480 times as fast, and everything turns over as it would in 24 hours.
//! What is in use at the end is what was after a quarter of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Client, Envoy, Origin, Redis, Scene};
use crate::load::{Random, Running, share};
use crate::report::Report;

const DAY_S: u64 = 24 * 3_600;
const LASTS: Duration = Duration::from_secs(180);
const STEPS: u32 = 1_440;
const CLIENTS: u64 = 12;
const PAUSE: Duration = Duration::from_millis(4);
const WORKERS: u32 = 2;
/// Parts of the day that are reported, and the one by which all that is needed is there.
const PARTS: u32 = 8;
const WARM: u32 = 2;
const GROWTH: f64 = 1.05;

/// Bytes of the VMs, and of the process.
type Memory = (u64, u64);

pub fn run(report: &mut Report) {
    let scene = Scene::new("drill-day");
    let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let builder = Envoy::shipped("event2table.yaml").origin(origin.port).redis(redis.port);
    let builder = builder.config(|config| {
        let routes = config["routes"].as_array_mut().expect("routes");
        routes.insert(0, json!({"path": "/echo/{*rest}", "ttl": "60s", "tags": ["games"]}));
        config["l1"] = json!({"budget": "2MiB", "negative_budget": "512KiB", "max_entry": "64KiB"});
        config["shared"] = json!({"budget": "4MiB"});
    });
    let envoy = builder.workers(WORKERS).own_clock().start(&scene);
    let (asked, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut parts = Vec::new();
    std::thread::scope(|scope| {
        let _running = Running::new(&stop);
        for seed in 0..CLIENTS {
            let (envoy, stop, asked, failed) = (&envoy, &stop, &asked, &failed);
            scope.spawn(move || {
                let (mut client, mut random) = (envoy.client(), Random::new(seed));
                while !stop.load(Ordering::Relaxed) {
                    let is_sound = ask(&mut client, &mut random);
                    asked.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(u64::from(!is_sound), Ordering::Relaxed);
                    sleep(PAUSE.mul_f64(random.fraction()));
                }
            });
        }
        let start = Instant::now();
        for step in 1..=STEPS {
            sleep((LASTS * step / STEPS).saturating_sub(start.elapsed()));
            let now_s = DAY_S * u64::from(step) / u64::from(STEPS);
            envoy.set_clock(i64::try_from(now_s).expect("a day"));
            if step % (STEPS / PARTS) == 0 {
                parts.push(memory(&envoy));
            }
        }
    });
    report.figure("requests", asked.into_inner());
    let failed = failed.into_inner();
    report.figure("failed", failed);
    report.check("no request failed", failed == 0);
    for (name, of) in
        [("vm", |m: &Memory| m.0), ("process", |m: &Memory| m.1)] as [(&str, fn(&Memory) -> u64); 2]
    {
        let bytes: Vec<u64> = parts.iter().map(of).collect();
        let (warm, end) = (bytes[WARM as usize - 1], bytes[PARTS as usize - 1]);
        report.figure(&format!("{name}_bytes_every_3h"), bytes);
        report.figure(&format!("{name}_growth"), share(end, warm));
        report.check(&format!("memory of the {name} does not grow"), share(end, warm) <= GROWTH);
    }
    for family in ["tiercel_fills", "tiercel_l1_evictions", "tiercel_invalidations"] {
        report.figure(family, envoy.metric(family));
    }
}

/// What a day brings: reads of the same things, of ever new ones, of what does not exist, and writes.
fn ask(client: &mut Client, random: &mut Random) -> bool {
    let (method, path, status) = match random.below(100) {
        0..50 => ("GET", format!("/echo/{}?size=2000&plain=1", random.below(2_000)), 200),
        50..85 => {
            ("GET", format!("/echo/{}?size={}&plain=1", random.next(), random.below(8_000)), 200)
        }
        85..90 => ("GET", format!("/echo/v{}?vary=accept", random.below(200)), 200),
        90..98 => ("GET", format!("/api/games/{}", 90_000_000 + random.below(1_000_000)), 404),
        _ => ("PUT", format!("/echo/{}", random.below(2_000)), 200),
    };
    client.request(method, &path, &[], b"").status == status
}

fn memory(envoy: &Envoy) -> Memory {
    (envoy.metric("tiercel_vm_memory_bytes"), resident(envoy.process.pid()))
}

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
