//! Tiercel beside what it competes with: Envoy alone, Envoy's own cache filter, nginx, Varnish.
//!
//! Everything runs on loopback with one worker each. The program under test has the first core to
//! itself; wrk, the nginx that plays the origin, and Redis share the second, the same for every
//! case. All Envoy cases are listeners of one Envoy process, and several processes are measured one
//! after the other. The cases take turns, several rounds of them, forwards and backwards; what is
//! reported are medians, and of ratios the median of each round's own ratio, so that a slow minute
//! of the machine counts on both sides.
//!
//! `cargo bench -p tiercel-bench --bench versus -- [--steps] [--only CASE,CASE] [--processes N] [--rounds N]
//! [--seconds N]`
//! needs `target/wasm32-wasip1/release/tiercel.wasm`, Envoy, nginx, varnishd, redis-server and wrk.
//! The figures go to `target/bench/summary.json`; with `--steps`, what a hit is made of, to `steps.json`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods)] // the clock is what a benchmark reads
#![allow(missing_docs, unreachable_pub)] // one program, read by itself only

#[allow(dead_code, unused_imports)] // the tests use the rest
#[path = "../../tests/harness/mod.rs"]
mod harness;

mod cases;
mod check;
mod envoy;
#[path = "../lists.rs"]
mod lists;
mod options;
mod peers;
mod processor;
mod report;
mod stage;
mod steps;
mod wrk;

use options::Options;
use report::Results;
use stage::Stage;

fn main() {
    let options = Options::read();
    let mut all = Results::new(&options.cases);
    for process in 0..options.processes {
        let stage = Stage::set(&options.cases);
        eprintln!("Envoy {} of {}: every case answers right", process + 1, options.processes);
        let mut results = Results::new(&options.cases);
        for case in &options.cases {
            results.warmed(case, &stage.measure(case, 1));
        }
        for round in 0..options.rounds {
            let mut order = options.cases.clone();
            if round % 2 == 1 {
                order.reverse();
            }
            for case in order {
                results.add(case, stage.measure(case, options.seconds));
            }
        }
        stage.verify(&results);
        all.join(results);
    }
    println!();
    all.write(options.summary);
    all.print();
}
