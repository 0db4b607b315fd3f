//! One master of a cluster of three is killed: that of the table of generations, without which nothing can be
//! trusted, or another.

use std::cell::RefCell;
use std::time::Instant;

use super::{DEGRADED_WITHIN_MS, LATENCY_MS, WORKERS, back, configure, degraded_after, play, tell};
use crate::harness::{Cluster, Envoy, Origin, Scene, eventually};
use crate::report::Report;

const TABLE: &[u8] = b"api:generations:4096";
const ARGS: [&str; 6] = [
    "--requirepass",
    "tiercel-demo",
    "--masterauth",
    "tiercel-demo",
    "--cluster-require-full-coverage",
    "no",
];

pub fn table(report: &mut Report) {
    run(report, true);
}

pub fn other(report: &mut Report) {
    run(report, false);
}

fn run(report: &mut Report, has_table: bool) {
    let scene = Scene::new("drill-outage-cluster");
    let origin = Origin::start(&scene, &["--latency", LATENCY_MS]);
    let mut cluster = Cluster::start(&scene, &ARGS);
    let slot = cluster.nodes[0].command(&[b"CLUSTER", b"KEYSLOT", TABLE]);
    let of_table = slot.parse::<usize>().expect("a slot") * 3 / 16_384;
    let victim = if has_table { of_table } else { (of_table + 1) % 3 };
    // Envoy learns the slots of one that stays.
    let seed = cluster.nodes[(victim + 1) % 3].port;
    let builder = Envoy::shipped("cluster.yaml").origin(origin.port).redis(seed);
    let envoy = builder.config(configure).workers(WORKERS).start(&scene);
    let mut well = None;
    let node = RefCell::new(&mut cluster.nodes[victim]);
    let (requests, moments) = play(
        &envoy,
        || node.borrow_mut().process.kill(),
        || {
            let mut node = node.borrow_mut();
            node.restart();
            // A master that comes back takes its time (two seconds) until it serves.
            eventually("the cluster to be whole", || {
                let info = node.command(&[b"CLUSTER", b"INFO"]);
                info.contains("cluster_state:ok").then_some(())
            });
            well = Some(Instant::now());
        },
    );
    tell(report, &envoy, &requests, &moments);
    let degraded = degraded_after(&envoy, &moments);
    report.figure("degraded_after_ms", degraded);
    let others =
        requests.iter().filter(|r| r.l2_hit && r.begin >= moments.fault && r.begin < moments.mend);
    let others = others.count();
    if has_table {
        let in_time = degraded.is_some_and(|ms| ms <= DEGRADED_WITHIN_MS);
        report.check("degraded within 200 ms", in_time);
        back(report, &requests, well.expect("the end of the fault"));
    } else {
        report.check("the other two keep serving", others > 0);
        report.check("not degraded", degraded.is_none());
    }
}
