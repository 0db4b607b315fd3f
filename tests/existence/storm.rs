//! Two instances of two workers each, an origin and Redis, as in `fleet`, but in one stream of events: writes take as
//! long as they like, answers come late, workers stand still, clocks leap, and lists change while they are read.

use std::collections::BTreeMap;
use std::rc::Rc;

use tiercel::existence::source::{Ask, Asking, Came};
use tiercel::existence::{Count, Paging, SourcePolicy, Space, SpacePolicy, Verdict, hash};
use tiercel::http::fields::{Fields, FieldsBuf};

use super::fleet::{WORKERS, instance, policy};
use super::memory::Memory;
use super::redis::Redis;
use super::storms::Trouble;

/// Between ticks, in ms.
const TICK: u64 = 50;
/// How long lists wait for writes, in ms.
const SETTLE: u64 = 400;
const START: u64 = 1_700_000_000_000;
const PAGE: usize = 5;
/// An id that never exists.
const NONE: u32 = 999_999_999;

/// What the origin answered: status, `ETag`, body.
type Page = (u16, Option<String>, String);

/// What happens later.
enum Event {
    /// A question is answered; with what was there when it was asked, or with what is there then.
    Answer {
        worker: usize,
        ask: Ask,
        page: Option<Page>,
        redis: Option<Vec<u8>>,
        is_done: bool,
    },
    /// A write is carried out, its answer comes, or its client leaves: by its worker and id.
    Carried(u32),
    Answered(usize, u32),
    Left(usize, u32),
}

pub struct Storm {
    trouble: Trouble,
    policy: Rc<SpacePolicy>,
    memories: [Memory; 2],
    workers: Vec<Space>,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    redis: Redis,
    /// Redis as it was, now and then.
    history: Vec<(u64, Redis)>,
    pub reach: [bool; 2],
    pub stalled: [u64; WORKERS],
    pub offset: [i64; 2],
    pub rows: Vec<u32>,
    /// Since when an id has been there.
    since: BTreeMap<u32, u64>,
    /// Which instance is to know of an id from when on, and whether all are.
    told: BTreeMap<u32, (usize, u64, bool)>,
    /// Since when nothing was odd.
    steady: u64,
    now: u64,
    seeds: u64,
    next_id: u32,
    random: fastrand::Rng,
    /// How often an id that does not exist was refused.
    pub refused: u64,
}

impl Storm {
    pub fn new(seed: u64, trouble: Trouble) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut policy = SpacePolicy { recent: 64, ..policy() };
        if let SourcePolicy::Http(http) = &mut policy.source {
            http.timeout_ms = 100_000;
            if trouble.pages {
                http.paging = Paging::Numbers { parameter: "page".into(), first: 0 };
                http.concurrency = random.usize(1..4);
            }
        }
        let offset = [(); 2].map(|()| if trouble.skew { random.i64(0..2_000) } else { 0 });
        let mut storm = Self {
            trouble,
            policy: Rc::new(policy),
            memories: Default::default(),
            workers: Vec::new(),
            events: BTreeMap::new(),
            sequence: 0,
            redis: Redis::default(),
            history: Vec::new(),
            reach: [true; 2],
            stalled: [0; WORKERS],
            offset,
            rows: (1..12).collect(),
            since: (1..12).map(|id| (id, 0)).collect(),
            told: BTreeMap::new(),
            steady: START,
            now: START,
            seeds: seed,
            next_id: 1_000,
            random,
            refused: 0,
        };
        storm.workers = (0..WORKERS).map(|worker| storm.worker(worker)).collect();
        storm
    }

    fn worker(&mut self, worker: usize) -> Space {
        self.seeds = self.seeds.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let policy = Rc::clone(&self.policy);
        let space = Space::new(policy, Some(("t:", 200)), SETTLE, self.seeds | 1);
        space.open(&self.memories[instance(worker)]);
        space
    }

    fn clock(&self, worker: usize) -> u64 {
        self.now.checked_add_signed(self.offset[instance(worker)]).unwrap()
    }

    fn later(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    fn page(&self, request: &[u8]) -> Page {
        let fields = Fields::new(request);
        let path = String::from_utf8(fields.get(b":path").unwrap().to_vec()).unwrap();
        let page = path.split_once("page=").map(|(_, page)| page.parse::<usize>().unwrap());
        let rows: Vec<u32> = match page {
            Some(page) => self.rows.iter().skip(page * PAGE).take(PAGE).copied().collect(),
            None => self.rows.clone(),
        };
        let body = format!("{{\"ids\": {rows:?}, \"total\": {}}}", self.rows.len());
        let etag = self.trouble.etags.then(|| format!("\"{:x}\"", hash(body.as_bytes())));
        if etag.is_some() && fields.get(b"if-none-match") == etag.as_ref().map(String::as_bytes) {
            return (304, etag, String::new());
        }
        (200, etag, body)
    }

    fn asks(&mut self, worker: usize, asks: Vec<Ask>) {
        for ask in asks {
            let is_slow = self.trouble.slow && self.random.u8(..30) == 0;
            let (mut page, mut redis, mut is_done) = (None, None, false);
            let mut takes = self.random.u64(1..60);
            match &ask.what {
                Asking::Http(request) => {
                    takes += if is_slow { self.random.u64(500..9_000) } else { 0 };
                    page = self.random.bool().then(|| self.page(request));
                }
                Asking::Redis(_) if !self.reach[instance(worker)] => {
                    takes += self.random.u64(..400);
                    is_done = true;
                }
                Asking::Redis(commands) => {
                    is_done = self.random.bool();
                    redis = is_done.then(|| self.redis.run(commands, self.now));
                }
            }
            self.later(self.now + takes, Event::Answer { worker, ask, page, redis, is_done });
        }
    }

    fn answer(&mut self, worker: usize, ask: &Ask, page: Option<Page>, redis: Option<&[u8]>) {
        let (memory, clock) = (self.memories[instance(worker)].clone(), self.clock(worker));
        let (block, body);
        let came = match (&ask.what, redis) {
            (Asking::Http(request), _) => {
                let (status, etag, text) = page.unwrap_or_else(|| self.page(request));
                let mut head = FieldsBuf::default();
                head.push(b":status", status.to_string().as_bytes());
                etag.into_iter().for_each(|etag| head.push(b"etag", etag.as_bytes()));
                (block, body) = (head.to_block(), text);
                Came::Http(Fields::new(&block), body.as_bytes())
            }
            (Asking::Redis(_), Some(replies)) => Came::Redis(replies),
            (Asking::Redis(_), None) => Came::Nothing,
        };
        let asks = self.workers[worker].came(&memory, ask.ticket, came, clock);
        self.asks(worker, asks);
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Answer { worker, ask, mut page, mut redis, is_done } => {
                match &ask.what {
                    // What Redis does, it does in time, whether somebody waits for it or not.
                    Asking::Redis(commands) if !is_done && self.reach[instance(worker)] => {
                        redis = Some(self.redis.run(commands, self.now));
                    }
                    Asking::Http(request) if page.is_none() => page = Some(self.page(request)),
                    _ => {}
                }
                if self.stalled[worker] > self.now {
                    let event = Event::Answer { worker, ask, page, redis, is_done: true };
                    return self.later(self.stalled[worker], event);
                }
                self.answer(worker, &ask, page, redis.as_deref());
            }
            Event::Carried(id) => {
                let at = self.random.usize(..=self.rows.len());
                self.rows.insert(if self.random.bool() { at } else { self.rows.len() }, id);
                self.since.insert(id, self.now);
            }
            Event::Answered(worker, _) | Event::Left(worker, _)
                if self.stalled[worker] > self.now =>
            {
                self.later(self.stalled[worker], event);
            }
            Event::Answered(worker, id) => {
                self.tell(worker, id, false);
                self.told.insert(id, (instance(worker), self.now, true));
            }
            Event::Left(worker, id) => {
                self.tell(worker, id, true);
                let at = self.now + self.random.u64(1..SETTLE - 60);
                self.later(at, Event::Carried(id));
                self.told.insert(id, (instance(worker), at, true));
            }
        }
    }

    fn tell(&mut self, worker: usize, id: u32, anew: bool) {
        let (memory, clock) = (self.memories[instance(worker)].clone(), self.clock(worker));
        let space = &mut self.workers[worker];
        space.add(&memory, &[hash(id.to_string().as_bytes())], Count::Created, anew);
        let asks = space.send(clock).into_iter().collect();
        self.asks(worker, asks);
    }

    /// Brings an id into being at once.
    pub fn make(&mut self, worker: usize, id: u32) {
        self.tell(worker, id, false);
        self.rows.push(id);
        self.tell(worker, id, false);
    }

    fn write(&mut self) {
        let worker = self.random.usize(..WORKERS);
        if self.stalled[worker] > self.now {
            return;
        }
        self.next_id += 1;
        let id = self.next_id;
        self.tell(worker, id, false);
        let takes = match self.random.u8(..4) {
            0 | 1 => self.random.u64(1..30),
            2 => self.random.u64(1..SETTLE),
            _ => self.random.u64(SETTLE..12 * SETTLE),
        };
        if self.random.u8(..5) == 0 {
            return self.later(self.now + takes, Event::Left(worker, id));
        }
        let carried = self.now + self.random.u64(1..=takes);
        self.later(carried, Event::Carried(id));
        self.later(self.now + takes + 1, Event::Answered(worker, id));
    }

    /// Ids that somebody was told of in the last so many ms are known to their own instance alone, at best.
    fn forget(&mut self, of: impl Fn(usize) -> bool, ms: u64) {
        let since = self.now.saturating_sub(ms);
        let told = self.told.values_mut().filter(|(by, at, _)| of(*by) && *at >= since);
        told.for_each(|(.., by_all)| *by_all = false);
        self.steady = self.now;
    }

    fn disturb(&mut self) {
        let Trouble { one_in, .. } = self.trouble;
        let (worker, of) = (self.random.usize(..WORKERS), self.random.usize(..2));
        match self.random.u16(..one_in) {
            0 if self.trouble.partitions => {
                self.reach[of] = !self.reach[of];
                self.steady = self.now;
            }
            1 if self.trouble.stalls => {
                self.stalled[worker] = self.now + self.random.u64(100..3_000);
                self.steady = self.steady.max(self.stalled[worker]);
            }
            2 if self.trouble.leaps => {
                let by = self.random.i64(600..2_000);
                self.offset[of] += if self.random.bool() { by } else { -by };
                self.steady = self.now;
            }
            3 if self.trouble.failovers && self.random.u8(..4) == 0 => {
                let until = self.now - self.random.u64(..1_000);
                let kept = self.history.iter().rfind(|(at, _)| *at <= until);
                if let Some((at, redis)) = kept.cloned() {
                    self.redis = redis;
                    self.forget(|_| true, self.now - at + 100);
                }
            }
            4 if self.trouble.flushes && self.random.u8(..4) == 0 => {
                self.redis.flush();
                self.steady = self.now;
            }
            5 if self.trouble.crashes => {
                self.events.retain(|_, event| match event {
                    Event::Answer { worker: of, .. }
                    | Event::Answered(of, _)
                    | Event::Left(of, _) => *of != worker,
                    Event::Carried(_) => true,
                });
                self.workers[worker] = self.worker(worker);
                self.forget(|by| by == instance(worker), 3_000);
            }
            6 | 7 if self.trouble.rows && !self.rows.is_empty() => {
                let at = self.random.usize(..self.rows.len());
                let id = self.rows.remove(at);
                self.since.remove(&id);
                self.told.remove(&id);
            }
            8 if self.trouble.rows && !self.rows.is_empty() => {
                let by = self.random.usize(..self.rows.len());
                self.rows.rotate_left(by);
            }
            9 | 10 => {
                self.next_id += 1;
                self.rows.push(self.next_id);
                self.since.insert(self.next_id, self.now);
            }
            11..=20 => self.write(),
            _ => {}
        }
    }

    fn pass(&mut self, until: u64) {
        while self.now < until {
            let tick = (self.now / TICK + 1) * TICK;
            self.now = tick.min(until);
            for worker in (0..WORKERS).filter(|_| self.now == tick).collect::<Vec<_>>() {
                if self.stalled[worker] <= self.now {
                    let memory = self.memories[instance(worker)].clone();
                    let clock = self.clock(worker);
                    let asks = self.workers[worker].tick(&memory, Some(true), clock);
                    self.asks(worker, asks);
                }
            }
        }
    }

    fn step(&mut self) {
        let end = self.now + self.random.u64(1..40);
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.pass(at);
            self.happens(event);
        }
        self.pass(end);
        if self.trouble.failovers && self.history.last().is_none_or(|(at, _)| *at + 100 < self.now)
        {
            self.history.push((self.now, self.redis.clone()));
            self.history.drain(..self.history.len().saturating_sub(12));
        }
    }

    /// Lets time pass without further trouble.
    pub fn calm(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.step();
        }
    }

    /// One step, and some trouble.
    ///
    /// # Errors
    /// Which id was refused that should not have been.
    pub fn rage(&mut self) -> Result<(), String> {
        self.step();
        self.disturb();
        let is_over = self.stalled.iter().all(|until| *until < self.now);
        let connected = self.reach == [true, true] && is_over;
        // The last ones, and others in turns.
        let turn = self.now % 16;
        let is_asked =
            |(n, (id, _)): &(usize, (&u32, &u64))| *n < 25 || u64::from(**id) % 16 == turn;
        let ids = self.since.iter().rev().enumerate().filter(is_asked);
        let ids: Vec<(u32, u64)> = ids.map(|(_, (id, at))| (*id, *at)).collect();
        for worker in
            (0..WORKERS).filter(|worker| self.stalled[*worker] <= self.now).collect::<Vec<_>>()
        {
            self.refused += u64::from(self.verdict(worker, NONE) == Verdict::Absent);
            for (id, at) in &ids {
                let (by, told, by_all) = self.told.get(id).copied().unwrap_or((9, u64::MAX, false));
                let own = by == instance(worker) && told <= self.now;
                let others =
                    by_all && connected && self.steady.max(told).saturating_add(2_000) < self.now;
                let Trouble { slow, pages, stalls, .. } = self.trouble;
                let long = !slow && !pages && !stalls && at + 14_000 < self.now;
                if (own || others || long) && self.verdict(worker, *id) == Verdict::Absent {
                    return Err(format!(
                        "worker {worker} refuses {id}, there since {at}, at {}: own {own}, others {others}",
                        self.now
                    ));
                }
            }
        }
        Ok(())
    }

    pub fn verdict(&mut self, worker: usize, id: u32) -> Verdict {
        let (memory, clock) = (self.memories[instance(worker)].clone(), self.clock(worker));
        self.workers[worker].verdict(&memory, id.to_string().as_bytes(), clock).unwrap().0
    }

    /// Whether a worker of an instance waits for a page.
    pub fn reads(&self, of: usize) -> bool {
        self.events.values().any(|event| {
            matches!(event, Event::Answer { ask: Ask { what: Asking::Http(_), .. }, worker, .. }
                if instance(*worker) == of)
        })
    }
}
