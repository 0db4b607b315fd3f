//! Workers as threads: what one of them knows to exist no other one refuses, whatever they do at the same time.

#![allow(clippy::disallowed_methods)] // threads that work by the clock

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tiercel::coherence::SharedData;
use tiercel::existence::source::{Ask, Came};
use tiercel::existence::{Count, Space, SpacePolicy, Verdict, hash};
use tiercel::http::fields::{Fields, FieldsBuf};

use super::fleet::policy;
use super::memory::Values;

const WORKERS: u64 = 4;
const LASTS: Duration = Duration::from_secs(2);

/// Memory of a process, and the origin behind it.
#[derive(Default)]
struct Process {
    values: Mutex<Values>,
    bell: AtomicU64,
    origin: Mutex<BTreeSet<u64>>,
    /// What clients were told to exist.
    confirmed: Mutex<Vec<u64>>,
    is_over: AtomicBool,
}

/// What a callback sees of it: the bell once, as in the module.
struct Callback<'a> {
    process: &'a Process,
    rung: Cell<Option<u64>>,
}

impl SharedData for Callback<'_> {
    fn get(&self, name: &[u8]) -> Option<(Vec<u8>, u32)> {
        pause();
        self.process.values.lock().unwrap().get(name).cloned()
    }

    fn set(&self, name: &[u8], value: &[u8], token: u32) -> bool {
        pause();
        let mut values = self.process.values.lock().unwrap();
        let known = values.get(name).map_or(0, |(_, token)| *token);
        let free = token == 0 || known == 0 || token == known;
        if free {
            values.insert(name.to_vec(), (value.to_vec(), known + 1));
        }
        free
    }

    fn bell(&self) -> Option<u64> {
        if self.rung.get().is_none() {
            pause();
            self.rung.set(Some(self.process.bell.load(Ordering::SeqCst)));
        }
        self.rung.get()
    }

    fn ring(&self) {
        pause();
        self.process.bell.fetch_add(1, Ordering::SeqCst);
        self.rung.set(None);
    }
}

static SEEDS: AtomicU64 = AtomicU64::new(0);
thread_local! {
    static RANDOM: RefCell<fastrand::Rng> =
        RefCell::new(fastrand::Rng::with_seed(SEEDS.fetch_add(1, Ordering::Relaxed)));
}

/// A number below `bound`.
fn random(bound: u64) -> u64 {
    RANDOM.with_borrow_mut(|random| random.u64(..bound))
}

/// Now and then others come first.
fn pause() {
    match random(256) {
        0..40 => std::thread::yield_now(),
        40..44 => std::thread::sleep(Duration::from_micros(random(200))),
        _ => {}
    }
}

impl Process {
    fn callback(&self) -> Callback<'_> {
        Callback { process: self, rung: Cell::new(None) }
    }

    /// Reads lists, if it is this worker's turn.
    fn tick(&self, space: &mut Space, now_ms: u64) {
        let mut asks = space.tick(&self.callback(), Some(true), now_ms);
        while let Some(Ask { ticket, .. }) = asks.pop() {
            let list: Vec<u64> = self.origin.lock().unwrap().iter().copied().collect();
            pause();
            let mut fields = FieldsBuf::default();
            fields.push(b":status", b"200");
            let (block, body) = (
                fields.to_block(),
                serde_json::json!({"ids": list, "total": list.len()}).to_string(),
            );
            let came = Came::Http(Fields::new(&block), body.as_bytes());
            asks.extend(space.came(&self.callback(), ticket, came, now_ms));
        }
    }

    fn create(&self, space: &mut Space, id: u64) {
        let hashes = [hash(id.to_string().as_bytes())];
        space.add(&self.callback(), &hashes, Count::Created, false);
        self.origin.lock().unwrap().insert(id);
        space.add(&self.callback(), &hashes, Count::Created, false);
        self.confirmed.lock().unwrap().push(id);
    }

    /// One of the last ids that somebody was told of.
    fn confirmed(&self) -> Option<u64> {
        let confirmed = self.confirmed.lock().unwrap();
        let back = usize::try_from(random(6)).unwrap().min(confirmed.len().checked_sub(1)?);
        confirmed.iter().rev().nth(back).copied()
    }

    /// Works; how many ids that do not exist it refused.
    fn work(&self, policy: SpacePolicy, worker: u64) -> u64 {
        let (begun, mut ticked, mut refused) = (Instant::now(), 0, 0);
        let mut space = Space::new(Rc::new(policy), None, 30, worker + 10);
        let mut next = worker * 10_000_000;
        while !self.is_over.load(Ordering::Relaxed) && begun.elapsed() < LASTS {
            let now_ms = 1_700_000_000_000 + u64::try_from(begun.elapsed().as_millis()).unwrap();
            if now_ms - ticked >= 5 {
                ticked = now_ms;
                self.tick(&mut space, now_ms);
            }
            if random(256) < 3 {
                next += 1;
                self.create(&mut space, next);
            }
            for id in (0..4).filter_map(|_| self.confirmed()) {
                let shared = self.callback();
                shared.bell();
                pause();
                let verdict = space.verdict(&shared, id.to_string().as_bytes(), now_ms).unwrap().0;
                if verdict == Verdict::Absent {
                    self.is_over.store(true, Ordering::Relaxed);
                    panic!("{id} is refused by worker {worker}");
                }
            }
            let (verdict, _) = space.verdict(&self.callback(), b"99999999999", now_ms).unwrap();
            refused += u64::from(verdict == Verdict::Absent);
            std::thread::sleep(Duration::from_micros(100));
        }
        refused
    }
}

#[test]
fn no_worker_refuses_what_another_one_has_confirmed() {
    let process = Process::default();
    let quick = || SpacePolicy { recent: 128, grace_ms: 100, refresh_ms: 400, ..policy() };
    Space::new(Rc::new(quick()), None, 30, 1).open(&process.callback());
    std::thread::scope(|scope| {
        let process = &process;
        let workers = (0..WORKERS).map(|worker| scope.spawn(move || process.work(quick(), worker)));
        let workers: Vec<_> = workers.collect();
        let refused = workers.into_iter().map(|worker| worker.join().unwrap());
        assert!(refused.sum::<u64>() > 0, "nothing was refused at all");
    });
}
