//! Timed drills on real Envoy: what load and faults do to the cache, in figures.
//!
//! `cargo bench -p tiercel-bench --bench drill [-- NAME...]` needs the module, Envoy, redis-server and
//! a release build of the demo origin. The figures go to `target/drill/summary.json`; the exit code
//! is 1 if a drill's checks fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods)] // a drill reads the clock and starts threads
#![allow(missing_docs, unreachable_pub)] // one program, read by itself only

#[allow(dead_code, unused_imports)] // the tests use the rest
#[path = "../../tests/harness/mod.rs"]
mod harness;

mod coherence;
mod crash;
mod day;
mod hot;
mod ids;
mod ids_fleet;
#[path = "../lists.rs"]
mod lists;
mod load;
mod memory;
mod mix;
mod origin_outage;
mod outage;
mod penetration;
mod report;
mod shared_memory;
mod stampede;

use std::process::ExitCode;

use report::Report;

/// A drill under its name.
type Drill = (&'static str, fn(&mut Report));

const DRILLS: [Drill; 30] = [
    ("memory", memory::run),
    ("tags_memory", shared_memory::tags),
    ("tier_memory", shared_memory::tier),
    ("outage_kill", outage::kill),
    ("outage_stop", outage::stop),
    ("outage_password", outage::password),
    ("outage_full", outage::full),
    ("outage_cut", outage::cut),
    ("outage_cluster", outage::cluster_other),
    ("outage_cluster_table", outage::cluster_table),
    ("origin_outage", origin_outage::run),
    ("mix", mix::run),
    ("stampede", stampede::collapse),
    ("stampede_fleet", stampede::fleet),
    ("unshared", stampede::unshared),
    ("hot", hot::run),
    ("penetration", penetration::run),
    ("ids", ids::million),
    ("ids_pauses", ids::pauses),
    ("ids_ten_million", ids::ten_million),
    ("ids_restart", ids_fleet::restart),
    ("ids_created", ids_fleet::created),
    ("coherence_control", coherence::control),
    ("coherence_one_worker", coherence::one_worker),
    ("coherence", coherence::stress),
    ("coherence_outage", coherence::outage),
    ("coherence_burst", coherence::burst),
    ("coherence_chaos", coherence::chaos),
    ("crash", crash::run),
    ("day", day::run),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let Some(unknown) = wanted.iter().find(|name| DRILLS.iter().all(|(n, _)| n != name)) {
        eprintln!("{unknown}: expected one of {:?}", DRILLS.map(|(name, _)| name));
        return ExitCode::FAILURE;
    }
    let mut passed = true;
    for (name, run) in DRILLS {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            let mut report = Report::new(name);
            run(&mut report);
            passed &= report.finish();
        }
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
