//! How much memory a worker takes for an L1 budget after ten times as much has passed through it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::harness::scene::echo_routes;
use crate::harness::{Client, Scene, eventually};
use crate::load::{Random, share};
use crate::report::Report;

const BUDGET: u64 = 32 << 20;
const CHURN: u64 = 10 * BUDGET;
const CLIENTS: u64 = 8;
/// Bodies: from 0.5 to 64 KiB, each power of two as often as the others.
const SIZES: (f64, f64) = (512.0, 7.0);
/// What the VM may take on top of 1.35 budgets: the module itself, filling and what is in flight.
const FIXED: u64 = 16 << 20;

pub fn run(report: &mut Report) {
    let (envoy, _origin) = Scene::l1_only("drill-memory", |config| {
        echo_routes(config);
        config["routes"][0]["ttl"] = "1h".into();
        config["l1"] = json!({"budget": format!("{}MiB", BUDGET >> 20)});
    });
    let (bytes, next, highest) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failed = AtomicU64::new(0);
    let empty = eventually("the VM's size to be known", || {
        Some(envoy.metric("tiercel_vm_memory_bytes")).filter(|bytes| *bytes > 0)
    });
    std::thread::scope(|scope| {
        for seed in 0..CLIENTS {
            let (envoy, bytes, next, failed) = (&envoy, &bytes, &next, &failed);
            let highest = &highest;
            scope.spawn(move || {
                let (mut client, mut random) = (envoy.client(), Random::new(seed));
                while bytes.load(Ordering::Relaxed) < CHURN {
                    let key = next.fetch_add(1, Ordering::Relaxed);
                    let size = size(&mut random);
                    if !fetch(&mut client, key, size) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    bytes.fetch_add(size, Ordering::Relaxed);
                    if key % 2_000 == 0 {
                        highest.fetch_max(envoy.metric("tiercel_l1_bytes"), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    sleep(Duration::from_millis(1_500)); // the workers' next tick

    let l1_bytes = envoy.metric("tiercel_l1_bytes");
    let highest = highest.into_inner().max(l1_bytes);
    let vm = envoy.metric("tiercel_vm_memory_bytes");
    report.figure("budget_bytes", BUDGET);
    report.figure("stored_bytes", bytes.into_inner());
    report.figure("stored_entries", next.into_inner());
    report.figure("failed", failed.load(Ordering::Relaxed));
    report.figure("l1_bytes", l1_bytes);
    report.figure("l1_bytes_highest", highest);
    report.figure("l1_entries", envoy.metric("tiercel_l1_entries"));
    report.figure("l1_evictions", envoy.metric("tiercel_l1_evictions"));
    report.figure("vm_memory_bytes_empty", empty);
    report.figure("vm_memory_bytes", vm);
    report.figure("vm_memory_to_budget", share(vm, BUDGET));
    report.figure("vm_memory_beyond_l1_bytes", vm.saturating_sub(l1_bytes));
    report.check("no request failed", failed.into_inner() == 0);
    report.check("L1 was full, and within its budget", l1_bytes > BUDGET / 2 && highest <= BUDGET);
    let most = BUDGET * 135 / 100 + FIXED;
    report.check("VM memory within 1.35 budgets + 16 MiB", (1..=most).contains(&vm));
}

fn fetch(client: &mut Client, key: u64, size: u64) -> bool {
    let response = client.get(&format!("/echo/{key}?size={size}&plain=1"));
    response.status == 200 && response.body.len() as u64 == size
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most 65,536
fn size(random: &mut Random) -> u64 {
    (SIZES.0 * (SIZES.1 * random.fraction()).exp2()) as u64
}
