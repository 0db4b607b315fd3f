//! The command line and the environment.

use std::str::FromStr;

use crate::cases::{CASES, Case, STEP_CASES};

/// What to measure, and for how long.
pub struct Options {
    pub cases: Vec<&'static Case>,
    /// Envoys started one after the other: where one lies in memory is luck, for better or worse.
    pub processes: u32,
    /// Rounds with each of them.
    pub rounds: u32,
    pub seconds: u32,
    /// Name of the file with the figures.
    pub summary: &'static str,
}

impl Options {
    /// Reads both; the command line wins.
    pub fn read() -> Self {
        let mut options = Self {
            cases: CASES.iter().collect(),
            processes: variable("TIERCEL_BENCH_PROCESSES").unwrap_or(3),
            rounds: variable("TIERCEL_BENCH_ROUNDS").unwrap_or(5),
            seconds: variable("TIERCEL_BENCH_SECONDS").unwrap_or(1),
            summary: "summary",
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            if arg == "--steps" {
                options.cases =
                    selected("direct_response,envoy_cache,noop_wasm,l1_hit,plain_proxy,bypass");
                options.cases.extend(STEP_CASES);
                options.summary = "steps";
                continue;
            }
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                "--only" => options.cases = selected(&value()),
                "--processes" => {
                    options.processes = value().parse().expect("a number of processes");
                }
                "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
                "--seconds" => options.seconds = value().parse().expect("a number of seconds"),
                "--bench" => {} // cargo adds it
                other => {
                    panic!(
                        "{other}: expected --steps, --only CASE,CASE, --processes N, --rounds N, --seconds N"
                    )
                }
            }
        }
        options
    }
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn selected(names: &str) -> Vec<&'static Case> {
    let known = || CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
    let find = |name| CASES.iter().chain(STEP_CASES).find(|case| case.name == name);
    names.split(',').map(|n| find(n).unwrap_or_else(|| panic!("{n}: not in {}", known()))).collect()
}
