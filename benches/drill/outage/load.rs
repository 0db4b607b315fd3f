//! Requests at a steady rate, hits and misses mixed, each with what became of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Client, Envoy};
use crate::load::{Random, Running};

pub const PER_SECOND: u32 = 3_000;
const CLIENTS: u32 = 48;
const BODY_BYTES: usize = 2_000;
/// Most requests are for a few things, which L1 has; the rest L2 has, or nobody yet.
const HOT: u64 = 100;
const COLD: u64 = 3_000;
const COLD_PERCENT: u64 = 40;

/// One request.
pub struct Request {
    pub begin: Instant,
    pub took: Duration,
    pub sound: bool,
    pub l1_hit: bool,
    pub l2_hit: bool,
}

impl Request {
    pub fn end(&self) -> Instant {
        self.begin + self.took
    }
}

/// Asks for as long as `act` takes.
pub fn drive<T>(envoy: &Envoy, act: impl FnOnce() -> T) -> (Vec<Request>, T) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = Running::new(&stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let stop = &stop;
                scope.spawn(move || ask(envoy.client(), n, stop))
            })
            .collect();
        let acted = act();
        drop(running);
        let all = clients.into_iter().flat_map(|client| client.join().expect("a client"));
        (all.collect(), acted)
    })
}

/// Asks at its own steady pace, which it keeps up with after a pause.
fn ask(mut client: Client, n: u32, stop: &AtomicBool) -> Vec<Request> {
    let mut random = Random::new(n.into());
    let pause = Duration::from_secs(1) * CLIENTS / PER_SECOND;
    let mut next = Instant::now() + pause * n / CLIENTS;
    let mut requests = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        sleep(next.saturating_duration_since(Instant::now()));
        next += pause;
        let key = match random.below(100) < COLD_PERCENT {
            true => HOT + random.below(COLD),
            false => random.below(HOT),
        };
        let path = format!("/echo/{key}?size={BODY_BYTES}&plain=1");
        let begin = Instant::now();
        let response = client.try_request("GET", path.as_bytes(), &[], b"");
        let took = begin.elapsed();
        let sound = |r: &crate::harness::Response| r.status == 200 && r.body.len() == BODY_BYTES;
        let from = |level: &str| {
            let detail = format!("detail={level}");
            response.as_ref().is_some_and(|r| r.cache_status().ends_with(&detail))
        };
        requests.push(Request {
            begin,
            took,
            sound: response.as_ref().is_some_and(sound),
            l1_hit: from("l1") || from("shared"),
            l2_hit: from("l2"),
        });
    }
    requests
}
