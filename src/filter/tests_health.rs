//! What several workers of one process do about a Redis that is slow to answer, or comes back.

use std::rc::Rc;

use serde_json::{Value, json};

use super::Module;
use super::tests::{TABLE, commands};
use crate::coherence::Memory;
use crate::collapse::{Ended, Flights, Joined, Limits};
use crate::health::State;
use crate::host::fake::Fake;
use crate::host::{Buffer, FieldMap};
use crate::http::key::Key;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ROOT: u32 = 1;
const STEP_MS: u64 = 10;

/// A worker, and its calls that have no answer yet: when each was seen, and its token.
struct Worker {
    host: Rc<Fake>,
    module: Module<Rc<Fake>>,
    roots: Vec<u32>,
    seen: usize,
    pending: Vec<(u64, u32)>,
}

fn worker(shared: &Memory, seed: u64, now_ms: u64, config: &Value) -> Worker {
    let mut worker = vm(shared, seed, now_ms, config);
    worker.module.on_create(1_000, ROOT);
    worker
}

/// A VM of which nobody knows whether a worker runs it.
fn vm(shared: &Memory, seed: u64, now_ms: u64, config: &Value) -> Worker {
    let host = Rc::new(Fake { shared: shared.clone(), ..Fake::default() });
    host.now_ms.set(now_ms);
    let mut module = Module::new(Rc::clone(&host), seed);
    configure(&host, &mut module, ROOT, config);
    Worker { host, module, roots: vec![ROOT], seen: 0, pending: Vec::new() }
}

fn configure(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>, root: u32, config: &Value) {
    module.on_create(root, 0);
    let bytes = config.to_string();
    host.set_buffer(Buffer::PluginConfiguration, bytes.as_bytes());
    host.context.set(root);
    assert!(module.on_configure(root, bytes.len()), "{:?}", host.log.borrow());
}

/// What an empty Redis says, and one that is gone.
fn answer(call: &[u8]) -> Vec<u8> {
    let mut out = String::new();
    if call.windows(5).any(|word| word == b"gone:") {
        return b"-no upstream host\r\n".repeat(8);
    }
    for parts in commands(call) {
        out.push_str(match parts.first() {
            Some(&b"ZRANGEBYSCORE") => TABLE,
            Some(&b"EVAL") => "*1\r\n$2\r\n99\r\n",
            Some(&b"GET") => "$-1\r\n",
            Some(&b"DEL") => ":1\r\n",
            _ => "+OK\r\n",
        });
    }
    out.into_bytes()
}

impl Worker {
    /// Time passes; Redis answers after `latency_ms`, this or what it has.
    fn step(&mut self, now_ms: u64, latency_ms: u64, error: Option<&[u8]>) {
        self.host.now_ms.set(now_ms);
        for root in self.roots.clone() {
            self.host.context.set(root);
            if now_ms.is_multiple_of(50) {
                self.module.on_tick(root);
            }
            if !self.host.queue.borrow().is_empty() {
                self.module.on_queue_ready(root, 6 + root);
            }
        }
        let calls = self.host.calls.borrow().len();
        self.pending.extend((self.seen..calls).map(|n| (now_ms, u32::try_from(n + 1).unwrap())));
        self.seen = calls;
        let (due, rest): (Vec<_>, Vec<_>) =
            self.pending.drain(..).partition(|(since_ms, _)| since_ms + latency_ms <= now_ms);
        self.pending = rest;
        for (_, token) in due {
            let call = self.host.calls.borrow()[token as usize - 1].clone();
            let body = error.map_or_else(|| answer(&call), |text| text.repeat(8));
            self.host.set_fields(FieldMap::Call, &[(":status", "200")]);
            self.host.set_buffer(Buffer::CallBody, &body);
            self.module.on_call_response(ROOT, token, true, body.len());
        }
    }

    /// A request comes, for one of its filters.
    fn serve(&mut self, root: u32, context: u32, method: &str, path: &str) {
        self.host.context.set(context);
        self.module.on_create(context, root);
        self.host.set_fields(FieldMap::Request, &[(":method", method), (":path", path)]);
        self.module.on_request_head(context, true);
    }

    fn state(&self) -> State {
        self.module.health.record().state
    }
}

fn config(health: &Value) -> Value {
    json!({"role": "cache", "l2": {"cluster": "l2", "health": health}})
}

/// Lets workers run until all have this state, for at most so long. When that was.
fn until(
    workers: &mut [Worker],
    state: State,
    now_ms: &mut u64,
    (latency_ms, error): (u64, Option<&[u8]>),
) -> Option<u64> {
    let begun_ms = *now_ms;
    while *now_ms < begun_ms + 30_000 {
        *now_ms += STEP_MS;
        workers.iter_mut().for_each(|worker| worker.step(*now_ms, latency_ms, error));
        if workers.iter().all(|worker| worker.state() == state) {
            return Some(*now_ms - begun_ms);
        }
    }
    None
}

/// Shows: a probe that takes longer than the keeper's lease holds (300 ms) counts for nothing if there are others: each
/// takes the turn from the one before it, and L2 stays degraded for ever.
#[test]
fn a_probe_may_take_longer_than_the_lease_of_the_keeper() {
    let shared = Memory::default();
    let config = config(&json!({"probe_timeout": "1s"}));
    let mut now_ms = 1_000_000;
    let mut workers = [1, 2].map(|seed| worker(&shared, seed, now_ms, &config));
    let refused = Some(&b"-no upstream host\r\n"[..]);
    assert!(until(&mut workers, State::Degraded, &mut now_ms, (0, refused)).is_some());
    let recovered = until(&mut workers, State::Normal, &mut now_ms, (400, None));
    assert!(recovered.is_some(), "it answers each probe in time");
}

/// after `force` was taken out of the configuration, a worker that has seen no request of the new one
/// holds on to the old one, while the others probe: L2 turns to and fro until the old listener has drained (ten minutes).
#[test]
fn a_worker_without_requests_does_not_hold_on_to_what_was_forced() {
    let shared = Memory::default();
    let (forced, free) = (config(&json!({"force": "degraded"})), config(&json!({})));
    let mut now_ms = 1_000_000;
    let mut workers = [1, 2].map(|seed| worker(&shared, seed, now_ms, &forced));
    workers.iter_mut().for_each(|worker| worker.serve(ROOT, 10, "GET", "/a"));
    assert!(until(&mut workers, State::Degraded, &mut now_ms, (0, None)).is_some());
    for worker in &mut workers {
        configure(&worker.host, &mut worker.module, 2, &free);
        worker.roots.push(2);
    }
    workers[0].serve(2, 20, "GET", "/a");
    let lines = |workers: &[Worker]| -> usize {
        let of = |worker: &Worker| {
            let log = worker.host.log.borrow();
            log.iter().filter(|line| line.contains("L2 is")).count()
        };
        workers.iter().map(of).sum()
    };
    let before = lines(&workers);
    for _ in 0..500 {
        now_ms += STEP_MS;
        workers.iter_mut().for_each(|worker| worker.step(now_ms, 0, None));
    }
    let said = lines(&workers) - before;
    assert!(said <= 6, "{said} changes in five seconds");
    assert!(workers.iter().all(|worker| worker.state() == State::Normal));
}

/// Envoy's main thread, whose calls reach no Redis, may see to what a crashed VM left. Other processes
/// then never hear that ids came into being: they go on to say that these are absent.
#[test]
fn what_a_crash_left_is_seen_to_by_who_can_tell_the_fleet() {
    let shared = Memory::default();
    let config = json!({"role": "cache", "l2": {"cluster": "l2"},
        "spaces": {"thing": {"pattern": "[0-9]+", "source": {"ids": [1]}}},
        "routes": [{"path": "/made", "methods": ["POST"],
            "creates": [{"space": "thing", "id": "{response:/id}"}]}]});
    let mut now_ms = 1_000_000;
    let mut crashing = worker(&shared, 1, now_ms, &config);
    crashing.serve(ROOT, 10, "POST", "/made");
    drop(crashing);
    let (mut main, mut other) =
        (vm(&shared, 3, now_ms, &config), worker(&shared, 2, now_ms, &config));
    for _ in 0..500 {
        now_ms += STEP_MS;
        // Nobody answers the main thread's calls.
        main.step(now_ms, 1_000_000, None);
        other.step(now_ms, 0, None);
    }
    let tells = |worker: &Worker| {
        let calls = worker.host.calls.borrow();
        // The third argument of the script that adds ids: others were lost.
        calls.iter().any(|call| {
            let text = String::from_utf8_lossy(call);
            text.contains("local set = ") && text.contains("\r\n$1\r\n1\r\n$1\r\n0\r\n")
        })
    };
    assert!(tells(&other), "told by the main thread: {}", tells(&main));
}

/// that the calls of Envoy's main thread fail says nothing of Redis.
#[test]
fn the_main_thread_does_not_degrade_what_recovers() {
    let shared = Memory::default();
    let config = config(&json!({}));
    let mut now_ms = 1_000_000;
    let mut workers = [worker(&shared, 1, now_ms, &config)];
    let refused = Some(&b"-no upstream host\r\n"[..]);
    assert!(until(&mut workers, State::Degraded, &mut now_ms, (0, refused)).is_some());
    assert!(until(&mut workers, State::Recovering, &mut now_ms, (20, None)).is_some());
    // The keeper crashes in this moment.
    drop(workers);
    let mut main = [vm(&shared, 2, now_ms, &config)];
    assert_eq!(until(&mut main, State::Degraded, &mut now_ms, (0, refused)), None);
}

/// a worker is known by its oldest filter's queue. When that filter has drained, leases that were taken by the queue
/// are given back by another, and whoever waits for one is told where nobody listens: all wait until they run out.
#[test]
fn what_was_begun_by_a_filter_that_is_gone_is_ended_by_the_next() {
    let shared = Memory::default();
    let config = json!({"role": "cache"});
    let mut one = worker(&shared, 1, 1_000_000, &config);
    configure(&one.host, &mut one.module, 2, &config);
    one.roots = vec![2];
    let mut other = Flights::default();
    let limits = Limits { per_key: 9, in_all: 9, wait_ms: 10_000 };
    let join = |other: &mut Flights, path: &str| {
        let hash = Key::new(format!("://{path}").as_bytes()).hash();
        other.enter((&shared, Some(99)), (hash, 1), true, 1_000_000, limits)
    };
    let Some(Joined::Leads(ticket)) = join(&mut other, "/theirs") else { panic!("nobody leads") };
    one.serve(2, 10, "GET", "/ours");
    one.serve(2, 11, "GET", "/theirs");
    assert_eq!(join(&mut other, "/ours"), Some(Joined::Follows));
    // The old listener has drained.
    one.host.dead.borrow_mut().insert(ROOT);
    one.step(1_000_050, 0, None);
    let mut told = Vec::new();
    other.ended(ticket, Ended::Unshared);
    other.tell((&shared, Some(99)), |queue, _| told.push(queue));
    assert!(told.contains(&8), "nobody hears of theirs: {told:?}");
    one.host.context.set(10);
    let fields = [(":status", "200"), ("cache-control", "no-store")];
    one.host.set_fields(FieldMap::Response, &fields);
    one.module.on_response_head(10, true);
    assert!(one.host.queue.borrow().iter().any(|message| message.len() > 1), "nor of ours");
}

/// the gauge said for ever how an L2 fared that no configuration names any more.
#[test]
fn nothing_is_said_of_an_l2_that_is_no_more() {
    let shared = Memory::default();
    let mut now_ms = 1_000_000;
    let mut workers = [worker(&shared, 1, now_ms, &config(&json!({})))];
    let refused = Some(&b"-no upstream host\r\n"[..]);
    assert!(until(&mut workers, State::Degraded, &mut now_ms, (0, refused)).is_some());
    let [mut one] = workers;
    assert_eq!(one.module.told_health().state, State::Degraded);
    configure(&one.host, &mut one.module, 2, &json!({"role": "cache"}));
    one.roots = vec![2];
    one.host.dead.borrow_mut().insert(ROOT);
    (1..10).for_each(|n| one.step(now_ms + n * STEP_MS, 0, None));
    assert_eq!(one.module.told_health().state, State::Normal);
}

/// an old filter that drained went on to ask its own Redis, and what that said counted for the one of the new filter: who
/// moved to another Redis because the old one had died had it degraded by every request of the old listener.
#[test]
fn what_another_l2_says_is_nothing_to_the_one_that_is_followed() {
    let shared = Memory::default();
    let gone = json!({"role": "cache", "l2": {"cluster": "l2", "key_prefix": "gone:"}});
    let mut now_ms = 1_000_000;
    let mut workers = [worker(&shared, 1, now_ms, &gone)];
    workers[0].serve(ROOT, 10, "GET", "/a");
    assert!(until(&mut workers, State::Degraded, &mut now_ms, (0, None)).is_some());
    let [one] = &mut workers;
    configure(&one.host, &mut one.module, 2, &config(&json!({})));
    one.roots.push(2);
    one.serve(2, 20, "GET", "/a");
    now_ms += 1_000;
    assert!(until(&mut workers, State::Normal, &mut now_ms, (0, None)).is_some());
    let [one] = &mut workers;
    let calls = one.host.calls.borrow().len();
    for n in 0..20 {
        one.serve(ROOT, 100 + n, "GET", &format!("/{n}"));
        now_ms += STEP_MS;
        one.step(now_ms, 0, None);
        assert_eq!(one.state(), State::Normal, "{n}");
    }
    let all = one.host.calls.borrow();
    let asks = all[calls..].iter().any(|call| call.windows(5).any(|word| word == b"gone:"));
    assert!(!asks, "it goes without L2");
}
