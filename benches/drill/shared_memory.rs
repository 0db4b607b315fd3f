//! How much memory what workers share takes: the table of tags under a million of them, and the shared
//! tier after ten times as much has passed through it.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::harness::scene::echo_routes;
use crate::harness::{Client, Envoy, Origin, Redis, Scene};
use crate::load::{each, share};
use crate::report::Report;

const CLIENTS: u64 = 4;

/// Slots of the table.
const SLOTS: u64 = 4_096;
const TAGS: u64 = 1_000_000;
/// Tags that one request names.
const TAGS_EACH: u64 = 50;
/// After this share of the work every cell or slot has been written.
const FILLED: u64 = 10;
/// What memory may grow by from there on.
const GROWTH: u64 = 8 << 20;

/// A million distinct tags are purged, through Redis.
pub fn tags(report: &mut Report) {
    let scene = Scene::new("drill-tags-memory");
    let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let builder = Envoy::builder("event2table.yaml").origin(origin.port).redis(redis.port);
    let networks = |config: &mut serde_json::Value| {
        config["purge"] = json!({"networks": ["127.0.0.0/8"]});
    };
    let envoy = builder.config(networks).workers(2).start(&scene);
    let measure = || [resident(&envoy), redis.info("used_memory")];
    let failed = AtomicU64::new(0);
    let purge = |client: &mut Client, n: u64| {
        let names: Vec<_> = (0..TAGS_EACH).map(|m| format!("tag:{}", n * TAGS_EACH + m)).collect();
        let fields = [("surrogate-key", &*names.join(" "))];
        client.request("PURGE", "/", &fields, b"").status == 200
    };
    let requests = TAGS / TAGS_EACH;
    work(&envoy, 0..requests / FILLED, &failed, purge);
    let filled = measure();
    work(&envoy, requests / FILLED..requests, &failed, purge);
    let after = measure();
    let members = redis.command(&[b"ZCARD", b"e2t:generations:4096"]);
    let members: u64 = members.trim_start_matches(':').trim().parse().unwrap_or(u64::MAX);
    report.figure("tags", TAGS);
    report.figure("failed", failed.load(Ordering::Relaxed));
    report.figure("envoy_resident_bytes_filled", filled[0]);
    report.figure("envoy_resident_bytes", after[0]);
    report.figure("redis_used_bytes_filled", filled[1]);
    report.figure("redis_used_bytes", after[1]);
    report.figure("redis_members", members);
    report.check("no request failed", failed.into_inner() == 0);
    // Every cell of the hard plane, and the incarnation.
    report.check("Redis holds a member for each cell", members == SLOTS + 1);
    let grown = after.iter().zip(filled).all(|(after, filled)| *after <= filled + GROWTH);
    report.check("memory does not grow with the tags", grown);
}

const BUDGET: u64 = 32 << 20;
/// Bytes of a body, so that an entry is a bit smaller than a slot.
const SIZE: u64 = 60 << 10;
const SLOT: u64 = 64 << 10;

/// Ten times as many distinct keys as the shared tier has room for.
pub fn tier(report: &mut Report) {
    let scene = Scene::new("drill-tier-memory");
    let origin = Origin::start(&scene, &[]);
    let builder = Envoy::builder("minimal.yaml").origin(origin.port).config(|config| {
        echo_routes(config);
        config["routes"][0]["ttl"] = "1h".into();
        config["l1"] = json!({"budget": "0B"});
        config["shared"] = json!({"budget": format!("{}MiB", BUDGET >> 20), "max_entry": "64KiB"});
    });
    let envoy = builder.workers(2).start(&scene);
    let failed = AtomicU64::new(0);
    let fetch = |client: &mut Client, n: u64| {
        let response = client.get(&format!("/echo/{n}?size={SIZE}&plain=1"));
        response.status == 200 && response.body.len() as u64 == SIZE
    };
    let slots = BUDGET / SLOT;
    let empty = resident(&envoy);
    // Twice as many keys as slots, so that few sets have a free one.
    work(&envoy, 0..2 * slots, &failed, fetch);
    let filled = resident(&envoy);
    work(&envoy, 2 * slots..10 * slots, &failed, fetch);
    let after = resident(&envoy);
    let mut client = envoy.client();
    let last = 10 * slots - slots / 4..10 * slots;
    let hits = last.filter(|n| {
        let response = client.get(&format!("/echo/{n}?size={SIZE}&plain=1"));
        response.cache_status().ends_with("detail=shared")
    });
    let hits = hits.count() as u64;
    report.figure("budget_bytes", BUDGET);
    report.figure("stored_bytes", 10 * slots * SIZE);
    report.figure("failed", failed.load(Ordering::Relaxed));
    report.figure("resident_bytes_empty", empty);
    report.figure("resident_bytes_filled", filled);
    report.figure("resident_bytes", after);
    report.figure("taken_to_budget", share(after.saturating_sub(empty), BUDGET));
    report.figure("hits_among_the_last_quarter", share(hits, slots / 4));
    report.check("no request failed", failed.into_inner() == 0);
    report.check("what came last is there", hits * 10 >= slots / 4 * 9);
    report.check("memory does not grow with the keys", after <= filled + GROWTH);
}

/// Asks once for each number, over several connections.
fn work(
    envoy: &Envoy,
    numbers: std::ops::Range<u64>,
    failed: &AtomicU64,
    ask: impl Fn(&mut Client, u64) -> bool + Sync,
) {
    each(envoy, CLIENTS, numbers, |client, n| {
        if !ask(client, n) {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Resident bytes of Envoy's process.
fn resident(envoy: &Envoy) -> u64 {
    let path = format!("/proc/{}/status", envoy.process.pid());
    let status = std::fs::read_to_string(path).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB");
    kib << 10
}
