//! Whether a case is what its name says: before it is timed, and by the counters afterwards.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use tiercel::l2::L2Error;

use crate::cases::{CASES, Case, KEYS, Paths, Server};
use crate::harness::{Client, Envoy, Response, eventually};
use crate::peers;
use crate::report::Results;
use crate::stage::Stage;
use crate::wrk::path;

/// Warms a case and checks its answers.
///
/// # Panics
/// If one is wrong.
pub fn answers(stage: &Stage, case: &Case) {
    let mut client = Client::new(stage.port(case));
    let names: Vec<String> = match case.paths {
        Paths::One => vec![String::new(); 3],
        Paths::Known => (0..KEYS).map(|n| n.to_string()).collect(),
        Paths::Unique => ["a", "b", "c"].map(|n| format!("check/{}/{n}", case.name)).to_vec(),
    };
    let paths: Vec<String> = names.iter().map(|name| path(case.paths, name)).collect();
    if case.paths != Paths::Unique {
        paths.iter().for_each(|path| right(case, &client.get(path)));
    }
    for path in paths {
        // What was only just asked for may still be on its way into the cache.
        let wanted = format!("{} to come from where it should", case.name);
        eventually(&wanted, || {
            let response = client.get(&path);
            right(case, &response);
            as_named(case, &response).then_some(())
        });
    }
}

/// Waits until ids that do not exist are refused. Each time another one: what passed may be stored.
pub fn refusing(envoy: &Envoy) {
    let mut client = Client::new(crate::envoy::port(envoy, "reject"));
    let mut absent = (1..).step_by(2).map(|id| client.get(&format!("/k/{}", 1_000 + id)));
    eventually("ids that do not exist to be refused", || {
        absent.next().filter(|answer| answer.cache_status().contains("detail=absent"))
    });
}

fn right(case: &Case, response: &Response) {
    assert_eq!(response.status, 200, "{}", case.name);
    assert_eq!(response.field("content-type"), Some("application/json"), "{}", case.name);
    assert!(response.body == peers::body().as_bytes(), "{}: another body", case.name);
}

/// Whether the answer comes from where the case's name says.
fn as_named(case: &Case, response: &Response) -> bool {
    match (case.server, case.cache_status) {
        (_, Some(wanted)) => response.cache_status().contains(wanted),
        (Server::Nginx, None) => response.field("x-upstream-cache") == Some("HIT"),
        // The ids of this request and of the one that brought the answer.
        (Server::Varnish, None) => response.field("x-varnish").is_some_and(|ids| ids.contains(' ')),
        (Server::Envoy("envoy_cache"), None) => response.field("age").is_some(),
        (Server::Envoy(_), None) => response.field("age").is_none(),
    }
}

/// How often requests ended in each way so far, as far as the workers have handed it over.
pub fn outcomes(envoy: &Envoy) -> BTreeMap<&'static str, u64> {
    sleep(Duration::from_millis(1_500)); // longer than a worker's tick
    let names = CASES.iter().filter_map(|case| case.outcome);
    names.map(|o| (o, envoy.metric(&format!("tiercel_requests{{outcome=\"{o}\"}}")))).collect()
}

/// Compares Tiercel's counters since `before` with the number of requests, and counts the
/// connections to Redis.
pub fn counted(stage: &Stage, before: &BTreeMap<&str, u64>, results: &Results) {
    let mut asked = BTreeMap::<&str, u64>::new();
    for (case, requests) in results.requests() {
        if let Some(outcome) = case.outcome {
            *asked.entry(outcome).or_default() += requests;
        }
    }
    let after = outcomes(&stage.envoy);
    for (outcome, asked) in asked {
        let counted = after[outcome] - before[outcome];
        // What was under way when wrk stopped is counted, but not asked.
        let sound = counted.abs_diff(asked) < asked / 50 + 100;
        let verdict = if sound { "sound" } else { "UNSOUND" };
        println!("{outcome:8} {counted:>10} counted for {asked:>10} requests: {verdict}");
    }
    for (case, errors) in results.errors() {
        println!("{}: {errors} requests FAILED", case.name);
    }
    for kind in L2Error::ALL {
        let errors = stage.envoy.metric(&format!("tiercel_l2_errors{{kind=\"{kind}\"}}"));
        if errors > 0 {
            println!("L2: {errors} commands failed ({kind})");
        }
    }
    if results.requests().any(|(case, _)| case.name.contains("l2")) {
        let connections = stage.redis.info("connected_clients") - 1; // but for this question
        let verdict = if connections == 1 { "pass" } else { "short" };
        println!("connections to Redis: {connections}, promised one per worker: {verdict}");
    }
}
