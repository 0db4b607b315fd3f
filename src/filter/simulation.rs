//! Hundreds of random days of a fleet: a few instances, whole but for the proxy around them, one Redis and one
//! origin. Requests come and go, calls take their time or are lost, instances crash. Each day follows from its
//! seed.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::json;

use super::Module;
use super::root::Root;
use super::tests::{TABLE, commands, configure, respond_with};
use crate::host::fake::Fake;
use crate::host::{Action, Buffer, FieldMap};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ROOT: u32 = 1;
/// As wasm32, where they take their time, they are for what differs there.
const DAYS: u64 = if cfg!(target_arch = "wasm32") { 3 } else { 25 };
const INSTANCES: usize = 3;
const KEYS: u64 = 2;
const STEP_MS: u64 = 10;
/// Requests come for so long; then all must come to an end.
const BUSY_MS: u64 = 12_000;
const LONGEST_MS: u64 = 20_000;

/// What may happen in a day.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Whether Redis and the origin fail now and then, and what comes is not always to be shared. Else every
    /// key is fetched by one at a time, whoever leaves or crashes.
    wild: bool,
    detached: bool,
}

/// Keys with their values and the ends of their times.
#[derive(Default)]
struct Redis(BTreeMap<Vec<u8>, (Vec<u8>, u64)>);

/// Whether it is the script that stores what Redis missed.
fn is_late(script: &[u8]) -> bool {
    script.windows(8).any(|word| word == b"GETRANGE")
}

impl Redis {
    /// Whether there is an entry that was not received before this one.
    fn is_newer(&self, key: &[u8], value: &[u8]) -> bool {
        let received =
            |value: &[u8]| value.get(16..24).map(|ms| u64::from_le_bytes(ms.try_into().unwrap()));
        self.0.get(key).is_some_and(|(known, _)| received(known) >= received(value))
    }

    fn execute(&mut self, call: &[u8], now_ms: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for parts in commands(call) {
            self.0.retain(|_, (_, until_ms)| *until_ms > now_ms);
            let number = |text: &[u8]| String::from_utf8_lossy(text).parse::<u64>().unwrap();
            match parts.as_slice() {
                [b"ZRANGEBYSCORE", ..] => out.extend_from_slice(TABLE.as_bytes()),
                [b"GET", key] => match self.0.get(*key) {
                    Some((value, _)) => {
                        out.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
                        out.extend_from_slice(value);
                        out.extend_from_slice(b"\r\n");
                    }
                    None => out.extend_from_slice(b"$-1\r\n"),
                },
                [b"SET", key, value, b"NX", b"PX", ms] if !self.0.contains_key(*key) => {
                    self.0.insert(key.to_vec(), (value.to_vec(), now_ms + number(ms)));
                    out.extend_from_slice(b"+OK\r\n");
                }
                [b"SET", _, _, b"NX", ..] => out.extend_from_slice(b"$-1\r\n"),
                [b"EVAL", script, b"1", key, value, _]
                    if is_late(script) && self.is_newer(key, value) =>
                {
                    out.extend_from_slice(b"$-1\r\n");
                }
                [b"EVAL", script, b"1", key, value, ms] if is_late(script) => {
                    self.0.insert(key.to_vec(), (value.to_vec(), now_ms + number(ms)));
                    out.extend_from_slice(b"+OK\r\n");
                }
                [b"SET", key, value, b"PX", ms] => {
                    self.0.insert(key.to_vec(), (value.to_vec(), now_ms + number(ms)));
                    out.extend_from_slice(b"+OK\r\n");
                }
                [b"EVAL", script, b"1", key, token, ms] => {
                    let ours = self.0.get(*key).is_some_and(|(value, _)| value == token);
                    if ours && script.windows(7).any(|word| word == b"PEXPIRE") {
                        self.0.insert(key.to_vec(), (token.to_vec(), now_ms + number(ms)));
                    } else if ours && script.windows(5).any(|word| word == b"'SET'") {
                        self.0.insert(key.to_vec(), (b"-".to_vec(), now_ms + number(ms)));
                    } else if ours {
                        self.0.remove(*key);
                    }
                    out.extend_from_slice(if ours { b":1\r\n" } else { b":0\r\n" });
                }
                [b"DEL", key] => {
                    self.0.remove(*key);
                    out.extend_from_slice(b":1\r\n");
                }
                [b"QUIT"] => out.extend_from_slice(b"+OK\r\n"),
                other => panic!("{other:?}"),
            }
        }
        out
    }
}

struct Instance {
    host: Rc<Fake>,
    module: Module<Rc<Fake>>,
    /// Calls seen so far, responses, and requests that went on.
    seen: (usize, usize, usize),
    /// Calls on their way: when each arrives, its token, and once it has, the answer.
    calls: Vec<(u64, u32, Option<Vec<u8>>)>,
    /// Fetches: when each is answered, for which key, the context or a call's token.
    fetches: Vec<(u64, u64, Result<u32, u32>)>,
    /// Clients that wait.
    open: BTreeMap<u32, u64>,
}

struct Day {
    kind: Kind,
    random: fastrand::Rng,
    now_ms: u64,
    redis: Redis,
    instances: Vec<Instance>,
    next: u32,
    fetched: u64,
}

fn start(kind: Kind, seed: u64, now_ms: u64) -> Instance {
    let host = Rc::new(Fake::default());
    host.now_ms.set(now_ms);
    let mut module = Module::new(Rc::clone(&host), seed);
    module.on_create(ROOT, 0);
    let fetch = if kind.detached { "detached" } else { "attached" };
    let config = json!({
        "role": "cache",
        // Nobody asks who fetches where that takes too long.
        "l2": {"cluster": "l2", "timeout": if kind.wild { "50ms" } else { "1s" },
            "health": {"slow_above": "1s"}},
        "origin": {"cluster": "origin", "timeout": "3s"},
        "waiting": {"longest": "8s"},
        "protection": {"failures": 0},
        "routes": [{"path": "/a/{id}", "ttl": "1s", "jitter": 0, "early_refresh": 0,
            "collapse": "fleet", "fetch": fetch}],
    });
    configure(&host, &mut module, &config);
    let (seen, calls, fetches) = ((0, 0, 0), Vec::new(), Vec::new());
    Instance { host, module, seen, calls, fetches, open: BTreeMap::new() }
}

impl Day {
    fn new(kind: Kind, seed: u64) -> Self {
        let now_ms = 1_000_000;
        let instances =
            (1..).map(|n| start(kind, seed * 100 + n, now_ms)).take(INSTANCES).collect();
        let (random, redis) = (fastrand::Rng::with_seed(seed), Redis::default());
        Self { kind, random, now_ms, redis, instances, next: 100, fetched: 0 }
    }

    fn arrive(&mut self, at: usize) {
        let (context, key) = (self.next, self.random.u64(..KEYS));
        self.next += 1;
        let Instance { host, module, open, .. } = &mut self.instances[at];
        open.insert(context, key);
        host.context.set(context);
        module.on_create(context, ROOT);
        host.set_fields(FieldMap::Request, &[(":method", "GET"), (":path", &format!("/a/{key}"))]);
        if module.on_request_head(context, true) == Action::Continue {
            host.resumed.borrow_mut().push(context);
        }
        self.look(at);
    }

    /// What the module did: it made calls, answered clients, and sent requests on.
    fn look(&mut self, at: usize) {
        let Self { kind, random, now_ms, instances, .. } = self;
        let Instance { host, module, seen, calls, fetches, open } = &mut instances[at];
        while !host.queue.borrow().is_empty() {
            host.context.set(ROOT);
            module.on_queue_ready(ROOT, 7);
        }
        let origin_ms = |random: &mut fastrand::Rng| {
            // Some take longer than a lease holds that is not renewed, and in the wild than anybody waits.
            random.u64(20..if kind.wild { 9_000 } else { 3_000 })
        };
        for (n, body) in host.calls.borrow().iter().enumerate().skip(seen.0) {
            let token = u32::try_from(n + 1).unwrap();
            if body.is_empty() {
                // Which key it is for is known by who waits: any of them has the same.
                fetches.push((*now_ms + origin_ms(random).min(2_900), u64::MAX, Err(token)));
            } else {
                calls.push((*now_ms + random.u64(1..40), token, None));
            }
        }
        for (context, status, body) in host.responses.borrow().iter().skip(seen.1) {
            let key = open.remove(context).expect("each is answered once");
            assert!(*status == 200 || kind.wild, "{status}");
            assert_eq!(body, &key.to_string().into_bytes());
            host.dead.borrow_mut().insert(*context);
        }
        for context in host.resumed.borrow().iter().skip(seen.2) {
            let key = open[context];
            fetches.push((*now_ms + origin_ms(random), key, Ok(*context)));
        }
        *seen =
            (host.calls.borrow().len(), host.responses.borrow().len(), host.resumed.borrow().len());
    }

    fn pass(&mut self, at: usize) {
        let now_ms = self.now_ms;
        self.instances[at].host.now_ms.set(now_ms);
        // Redis.
        let mut n = 0;
        while let Some((due_ms, token, answer)) = self.instances[at].calls.get_mut(n) {
            if *due_ms > now_ms {
                n += 1;
                continue;
            }
            let lost = self.kind.wild && self.random.u8(..20) == 0;
            let token = *token;
            match answer {
                None if !lost => {
                    let body = self.instances[at].host.calls.borrow()[token as usize - 1].clone();
                    let reply = self.redis.execute(&body, now_ms);
                    let later_ms = now_ms + self.random.u64(1..40);
                    self.instances[at].calls[n] = (later_ms, token, Some(reply));
                    n += 1;
                }
                answer => {
                    let answer = answer.take().filter(|_| !lost);
                    let Instance { host, module, calls, .. } = &mut self.instances[at];
                    calls.swap_remove(n);
                    host.context.set(ROOT);
                    host.set_fields(FieldMap::Call, &[(":status", "200")]);
                    host.set_buffer(Buffer::CallBody, answer.as_deref().unwrap_or_default());
                    let len = answer.as_ref().map_or(0, Vec::len);
                    module.on_call_response(ROOT, token, answer.is_some(), len);
                    self.look(at);
                }
            }
        }
        // The origin.
        let mut n = 0;
        while let Some((due_ms, key, who)) = self.instances[at].fetches.get(n).copied() {
            if due_ms > now_ms {
                n += 1;
                continue;
            }
            let _ = self.instances[at].fetches.swap_remove(n);
            self.answer(at, key, who);
            self.look(at);
        }
        if now_ms.is_multiple_of(50) {
            let Instance { host, module, .. } = &mut self.instances[at];
            host.context.set(ROOT);
            module.on_tick(ROOT);
            self.look(at);
        }
    }

    /// The origin answers.
    fn answer(&mut self, at: usize, key: u64, who: Result<u32, u32>) {
        self.fetched += 1;
        let how = if self.kind.wild { self.random.u8(..8) } else { 7 };
        let (status, control) = match how {
            0 => ("500", "public"),
            1 => ("403", "public"),
            _ => ("200", "public"),
        };
        let fields = [(":status", status), ("cache-control", control), ("content-length", "1")];
        let Instance { host, module, open, .. } = &mut self.instances[at];
        match who {
            Ok(context) => {
                if host.dead.borrow().contains(&context) {
                    return;
                }
                let body = key.to_string();
                let action = respond_with(host, module, context, &fields, body.as_bytes());
                assert_eq!(action, Action::Continue);
                assert!(open.remove(&context).is_some(), "each is answered once");
                host.dead.borrow_mut().insert(context);
            }
            Err(token) => {
                // Keys of its own clients' are all that it can be for: it says which by its target.
                let body = host.targets.borrow()[&token].clone();
                let body = body.trim_start_matches("/a/").as_bytes().to_vec();
                host.context.set(ROOT);
                host.set_fields(FieldMap::Call, &fields);
                host.set_buffer(Buffer::CallBody, &body);
                module.on_call_response(ROOT, token, true, body.len());
            }
        }
    }

    fn leave(&mut self, at: usize) {
        let Instance { host, open, fetches, .. } = &mut self.instances[at];
        let all: Vec<u32> = open.keys().copied().collect();
        if let Some(context) = self.random.choice(all) {
            open.remove(&context);
            fetches.retain(|(_, _, who)| *who != Ok(context));
            host.dead.borrow_mut().insert(context);
        }
    }

    /// Whether an instance knows the table: before, it trusts nothing that lies in Redis.
    fn is_joined(&self, at: usize) -> bool {
        let Instance { module, .. } = &self.instances[at];
        let scope = module.roots.get(&ROOT).and_then(Root::scope);
        scope.is_some_and(|scope| module.worker.generations.knows(scope))
    }

    /// Fetches under way, by key.
    fn fetching(&self) -> BTreeMap<u64, usize> {
        let mut all = BTreeMap::new();
        for Instance { host, fetches, .. } in &self.instances {
            for (_, key, who) in fetches {
                let key = match who {
                    Ok(_) => *key,
                    Err(token) => {
                        let targets = host.targets.borrow();
                        targets[token].trim_start_matches("/a/").parse().unwrap()
                    }
                };
                *all.entry(key).or_default() += 1;
            }
        }
        all
    }

    fn run(&mut self) {
        let begun_ms = self.now_ms;
        let mut crashed_ms = 0;
        while self.now_ms < begun_ms + BUSY_MS + LONGEST_MS {
            self.now_ms += STEP_MS;
            let busy = self.now_ms < begun_ms + BUSY_MS;
            for at in 0..INSTANCES {
                if busy && self.is_joined(at) && self.random.u8(..20) == 0 {
                    self.instances[at].host.now_ms.set(self.now_ms);
                    self.arrive(at);
                }
                if busy && self.random.u16(..300) == 0 {
                    self.leave(at);
                }
                if busy && self.random.u16(..1_500) == 0 {
                    let seed = self.random.u64(..);
                    self.instances[at] = start(self.kind, seed, self.now_ms);
                    crashed_ms = self.now_ms;
                }
                self.pass(at);
            }
            if !self.kind.wild {
                for (key, count) in self.fetching() {
                    assert!(count <= 1, "{count} fetch {key}, {crashed_ms} {}", self.now_ms);
                }
            }
        }
        for Instance { module, open, .. } in &self.instances {
            assert!(open.is_empty(), "nobody waits for ever: {open:?}");
            assert!(module.streams.is_empty() && module.claims.is_empty());
            assert!(module.behind.is_empty() && module.worker.flights.is_empty());
        }
        self.redis.0.retain(|_, (_, until_ms)| *until_ms > self.now_ms);
        self.redis.0.retain(|key, _| !key.ends_with(b":probe"));
        let left: BTreeSet<_> = self.redis.0.keys().collect();
        assert!(left.is_empty(), "no lease outlives its time: {left:?}");
    }
}

fn days(kind: Kind) {
    let mut fetched = 0;
    for seed in 1..=DAYS {
        let mut day = Day::new(kind, seed);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| day.run()));
        assert!(ran.is_ok(), "{kind:?}, day {seed}");
        fetched += day.fetched;
    }
    assert!(fetched > 5 * DAYS, "{fetched}");
}

#[test]
fn one_instance_fetches_at_a_time() {
    days(Kind { wild: false, detached: false });
}

#[test]
fn one_instance_fetches_at_a_time_on_behalf_of_its_clients() {
    days(Kind { wild: false, detached: true });
}

#[test]
fn everybody_is_answered_once_whatever_fails() {
    days(Kind { wild: true, detached: false });
    days(Kind { wild: true, detached: true });
}
