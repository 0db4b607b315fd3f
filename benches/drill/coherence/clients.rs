//! Clients that write and read versions, each through one instance, and note what they see.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::checker::{Read, Write};
use crate::harness::{Client, Envoy};
use crate::load::{Random, Running};

/// All that happened, each in the order of its client.
#[derive(Default)]
pub struct History {
    pub writes: Vec<Write>,
    pub reads: Vec<Read>,
    /// What was asked, and what came instead of a version.
    pub failed: Vec<String>,
}

impl History {
    fn add(&mut self, other: Self) {
        self.writes.extend(other.writes);
        self.reads.extend(other.reads);
        self.failed.extend(other.failed);
    }
}

/// How many clients, and how long at most they wait between requests: two cores run everything.
#[derive(Clone, Copy)]
pub struct Plan {
    pub keys: usize,
    pub writers: usize,
    pub readers: usize,
    pub write_pause: Duration,
    pub read_pause: Duration,
}

/// One client of one instance.
pub struct Asker<'a> {
    envoy: &'a Envoy,
    instance: usize,
    client: Client,
    /// When everything began.
    start: Instant,
    pub seen: History,
}

impl<'a> Asker<'a> {
    pub fn new(envoys: &'a [Envoy], instance: usize, start: Instant) -> Self {
        let envoy = &envoys[instance];
        Self { envoy, instance, client: envoy.client(), start, seen: History::default() }
    }

    pub fn write(&mut self, key: usize) {
        let sent = self.start.elapsed();
        if let Some((version, _)) = self.ask("PUT", key) {
            let (instance, acknowledged) = (self.instance, self.start.elapsed());
            self.seen.writes.push(Write { key, instance, version, sent, acknowledged });
        }
    }

    pub fn read(&mut self, key: usize) {
        let sent = self.start.elapsed();
        if let Some((version, cache_status)) = self.ask("GET", key) {
            let (instance, received) = (self.instance, self.start.elapsed());
            self.seen.reads.push(Read { key, instance, version, sent, received, cache_status });
        }
    }

    /// The version that is answered, and `Cache-Status`.
    fn ask(&mut self, method: &str, key: usize) -> Option<(usize, String)> {
        let path = format!("/v/{key}");
        let response = self.client.try_request(method, path.as_bytes(), &[], b"");
        let sound = response.as_ref().filter(|response| response.status == 200);
        let version = sound.and_then(|r| std::str::from_utf8(&r.body).ok()?.parse::<usize>().ok());
        if let (Some(version), Some(response)) = (version, &response) {
            return Some((version, response.cache_status().to_owned()));
        }
        let at = self.start.elapsed().as_secs_f64();
        let instance = self.instance;
        self.seen.failed.push(format!("{at:.3} s, {method} {path} at {instance}: {response:?}"));
        self.client = self.envoy.client();
        None
    }
}

/// Runs all clients for as long as `meanwhile` does. Every other client has the same instance.
pub fn drive(envoys: &[Envoy], plan: Plan, start: Instant, meanwhile: impl FnOnce()) -> History {
    let (stop, history) = (AtomicBool::new(false), Mutex::new(History::default()));
    std::thread::scope(|scope| {
        let _running = Running::new(&stop);
        for number in 0..plan.writers + plan.readers {
            let (stop, history) = (&stop, &history);
            scope.spawn(move || {
                let mut asker = Asker::new(envoys, number % envoys.len(), start);
                let mut random = Random::new(number as u64);
                let writes = number < plan.writers;
                let pause = if writes { plan.write_pause } else { plan.read_pause };
                while !stop.load(Ordering::Relaxed) {
                    let key = pick(&mut random, plan.keys);
                    if writes {
                        asker.write(key);
                    } else {
                        asker.read(key);
                    }
                    sleep(pause.mul_f64(random.fraction()));
                }
                history.lock().expect("the history").add(asker.seen);
            });
        }
        meanwhile();
    });
    history.into_inner().expect("the history")
}

/// Joins what several clients saw.
pub fn join(askers: impl IntoIterator<Item = History>) -> History {
    let mut all = History::default();
    askers.into_iter().for_each(|seen| all.add(seen));
    all
}

fn pick(random: &mut Random, keys: usize) -> usize {
    usize::try_from(random.below(keys as u64)).expect("a key")
}
