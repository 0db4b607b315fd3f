//! Thousands of random days of a few workers: requests come and go, fetches end in every way, workers crash,
//! messages are late. Each day follows from its seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Alone, Ended, Flights, Joined, Limits, Ticket, Verdict, lease, open};
use crate::coherence::Memory;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const DAYS: u64 = 1_000;
const KEYS: u64 = 3;
const WORKERS: usize = 3;
const LIMITS: Limits = Limits { per_key: 6, in_all: 10, wait_ms: 4_000 };
/// Nothing stored is of use for longer.
const FRESH_MS: u64 = 300;
/// Followers of one fetch that go on at once.
const RATE: usize = 2;

/// xorshift64*: the same days everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
    }
}

/// What a request is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Waits,
    /// With the origin, for all or for itself.
    Fetches(Option<Ticket>),
}

#[derive(Default)]
struct Worker {
    queue: u32,
    flights: Flights,
    requests: BTreeMap<u32, (u128, Doing)>,
}

struct Day {
    shared: Memory,
    workers: Vec<Worker>,
    /// Messages on their way.
    post: VecDeque<(u32, Vec<u8>)>,
    /// Until when something stored answers.
    stored_until: BTreeMap<u128, u64>,
    now_ms: u64,
    next: u32,
    asked: BTreeSet<u32>,
    answered: BTreeSet<u32>,
    gone: BTreeSet<u32>,
    /// Fetches for all that were begun by the limit of time alone.
    late: bool,
}

impl Day {
    fn new() -> Self {
        let shared = Memory::default();
        open(&shared);
        let worker = |queue| Worker { queue, ..Worker::default() };
        Self {
            shared,
            workers: (1..).map(worker).take(WORKERS).collect(),
            post: VecDeque::new(),
            stored_until: BTreeMap::new(),
            now_ms: 1_000_000,
            next: 100,
            asked: BTreeSet::new(),
            answered: BTreeSet::new(),
            gone: BTreeSet::new(),
            late: false,
        }
    }

    fn is_stored(&self, hash: u128) -> bool {
        self.stored_until.get(&hash).is_some_and(|until| self.now_ms < *until)
    }

    fn answer(&mut self, at: usize, context: u32) {
        assert!(self.workers[at].requests.remove(&context).is_some());
        assert!(self.answered.insert(context), "{context} is answered once");
    }

    /// A request that nothing stored answers.
    fn join(&mut self, at: usize, context: u32, hash: u128) {
        let Worker { queue, flights, .. } = &mut self.workers[at];
        let place = (&self.shared, Some(*queue));
        let joined = flights.enter(place, (hash, context), true, self.now_ms, LIMITS).unwrap();
        let doing = match joined {
            Joined::Leads(ticket) if self.is_stored(hash) => {
                // It came between the look and the lease.
                self.workers[at].flights.ended(ticket, Ended::Stored);
                self.workers[at].requests.insert(context, (hash, Doing::Fetches(None)));
                return self.answer(at, context);
            }
            Joined::Leads(ticket) => Doing::Fetches(Some(ticket)),
            Joined::Follows => Doing::Waits,
            Joined::Alone(_) => Doing::Fetches(None),
        };
        self.workers[at].requests.insert(context, (hash, doing));
    }

    fn arrive(&mut self, at: usize, hash: u128) {
        self.next += 1;
        let context = self.next;
        self.asked.insert(context);
        if self.is_stored(hash) {
            self.answered.insert(context);
        } else {
            self.join(at, context, hash);
        }
    }

    fn end(&mut self, at: usize, context: u32, how: Ended) {
        let (hash, doing) = self.workers[at].requests[&context];
        let Doing::Fetches(ticket) = doing else { return };
        if how == Ended::Stored {
            self.stored_until.insert(hash, self.now_ms + FRESH_MS);
        }
        if let Some(ticket) = ticket {
            self.workers[at].flights.ended(ticket, how);
        }
        if how == Ended::Lost {
            self.workers[at].requests.remove(&context);
            self.gone.insert(context);
        } else {
            self.answer(at, context);
        }
    }

    /// The worker's turn: it tells the others, and lets go on who may.
    fn turn(&mut self, at: usize, held: usize) {
        let Worker { queue, flights, .. } = &mut self.workers[at];
        let post = &mut self.post;
        flights.tell((&self.shared, Some(*queue)), |to, message| {
            post.push_back((to, message.to_vec()));
        });
        let mut held = held;
        loop {
            let flights = &mut self.workers[at].flights;
            let next = flights.next_due().or_else(|| {
                held = held.checked_sub(1)?;
                flights.next_held()
            });
            let Some((context, verdict)) = next else { return };
            let Some((hash, doing)) = self.workers[at].requests.get(&context).copied() else {
                if let Verdict::Leads(ticket) = verdict {
                    self.workers[at].flights.ended(ticket, Ended::Lost);
                }
                continue;
            };
            assert_eq!(doing, Doing::Waits);
            match verdict {
                Verdict::Look if self.is_stored(hash) => self.answer(at, context),
                Verdict::Look => self.join(at, context, hash),
                Verdict::Failed => self.workers[at].flights.hold(context, Alone::Failed),
                Verdict::Alone(_) => {
                    self.workers[at].requests.insert(context, (hash, Doing::Fetches(None)));
                }
                Verdict::Leads(ticket) => {
                    let Worker { queue, flights, requests } = &mut self.workers[at];
                    let place = (&self.shared, *queue);
                    let doing =
                        match flights.go_first(place, (ticket, context), self.now_ms, LIMITS) {
                            Joined::Leads(ticket) => Doing::Fetches(Some(ticket)),
                            Joined::Follows => Doing::Waits,
                            Joined::Alone(_) => Doing::Fetches(None),
                        };
                    requests.insert(context, (hash, doing));
                }
            }
        }
    }

    fn deliver(&mut self) {
        let Some((to, message)) = self.post.pop_front() else { return };
        // A worker that crashed has another queue.
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.queue == to) {
            worker.flights.hear(&message, self.now_ms);
        }
    }

    fn leave(&mut self, at: usize, context: u32) {
        let (hash, doing) = self.workers[at].requests[&context];
        match doing {
            Doing::Waits => {
                self.workers[at].requests.remove(&context);
                self.workers[at].flights.gone(hash, context);
                self.gone.insert(context);
            }
            Doing::Fetches(_) => self.end(at, context, Ended::Lost),
        }
    }

    fn crash(&mut self, at: usize) {
        let queue = 10 + self.next;
        self.next += 1;
        let crashed = std::mem::take(&mut self.workers[at]);
        self.gone.extend(crashed.requests.keys());
        self.workers[at].queue = queue;
    }

    fn tick(&mut self, ms: u64) {
        self.now_ms += ms;
        for at in 0..WORKERS {
            let Worker { queue, flights, .. } = &mut self.workers[at];
            flights.tick((&self.shared, Some(*queue)), std::iter::empty(), self.now_ms);
            self.turn(at, RATE);
        }
    }

    /// Who fetches for all, by key: in a worker one at most, whatever else is true.
    fn leaders(&self, hash: u128) -> usize {
        let leads = |worker: &Worker| {
            let fetches = worker.requests.values().filter(|(of, doing)| {
                let Doing::Fetches(Some(ticket)) = doing else { return false };
                *of == hash && worker.flights.is_led_by(*ticket)
            });
            fetches.count()
        };
        let all: Vec<usize> = self.workers.iter().map(leads).collect();
        assert!(all.iter().all(|leaders| *leaders <= 1), "one leader in a worker");
        all.iter().sum()
    }

    fn check(&self) {
        for hash in (0..KEYS).map(key) {
            // With two seconds of silence a lease is lost, whatever its owner does.
            let has_record = hash == key(0);
            let leaders = self.leaders(hash);
            assert!(self.late || !has_record || leaders <= 1, "one leader in the process");
            let held = lease::held_until(&self.shared, hash).unwrap_or(0);
            assert!(held <= self.now_ms + lease::HOLDS_MS, "a lease that outlives its limit");
        }
        for worker in &self.workers {
            let waits = worker.requests.values().filter(|(_, doing)| *doing == Doing::Waits);
            assert!(worker.flights.len() >= waits.count(), "who waits is known");
            assert!(worker.flights.len() <= LIMITS.in_all, "and there is a limit");
        }
    }
}

/// The first has a record of its own, the others share one.
fn key(n: u64) -> u128 {
    u128::from(n + 1) << 64 | u128::from(n.min(1))
}

fn live(seed: u64, crashes: bool) -> Day {
    let (mut day, mut random) = (Day::new(), Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
    for _ in 0..120 {
        let at = usize::try_from(random.below(WORKERS as u64)).unwrap();
        let count = day.workers[at].requests.len() as u64;
        let any = if count > 0 { random.below(count) } else { 0 };
        let any = day.workers[at].requests.keys().nth(usize::try_from(any).unwrap()).copied();
        match (random.below(20), any) {
            (0..=7, _) => day.arrive(at, key(random.below(KEYS))),
            (8..=9, Some(context)) => day.end(at, context, Ended::Stored),
            (10, Some(context)) => day.end(at, context, Ended::Unshared),
            (11, Some(context)) => day.end(at, context, Ended::Failed),
            (12, Some(context)) => day.leave(at, context),
            (13, _) if crashes => day.crash(at),
            (14, _) => day.tick(random.below(300)),
            (15..=17, _) => day.deliver(),
            _ => day.turn(at, 0),
        }
        day.check();
    }
    day
}

/// Nothing new comes, fetches end, time passes in such steps: everybody is answered who did not leave.
fn settle(day: &mut Day, step_ms: u64) {
    for _ in 0..200 {
        for at in 0..WORKERS {
            let all: Vec<u32> = day.workers[at].requests.keys().copied().collect();
            all.into_iter().for_each(|context| day.end(at, context, Ended::Unshared));
        }
        while !day.post.is_empty() {
            day.deliver();
        }
        day.late = true;
        day.tick(step_ms);
        day.check();
    }
    let unanswered: Vec<_> =
        day.asked.iter().filter(|c| !day.answered.contains(c) && !day.gone.contains(c)).collect();
    assert!(unanswered.is_empty(), "still waiting: {unanswered:?}");
    assert!(day.workers.iter().all(|worker| worker.requests.is_empty()));
    assert!(day.workers.iter().all(|worker| worker.flights.is_empty()));
}

#[test]
fn one_leads_and_everybody_is_answered_once() {
    for seed in 0..DAYS {
        let mut day = live(seed, false);
        // Everybody is told, and nobody has to wait until a lease runs out.
        settle(&mut day, 1);
    }
}

#[test]
fn a_crash_takes_its_own_requests_and_no_others() {
    for seed in 0..DAYS {
        let mut day = live(seed, true);
        settle(&mut day, 50);
    }
}
