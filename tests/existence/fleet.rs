//! Two instances of two workers each, an origin, and Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tiercel::coherence::Pointer;
use tiercel::existence::source::{Ask, Asking, Came};
use tiercel::existence::{
    Count, HttpSource, Paging, Pattern, SourcePolicy, Space, SpacePolicy, Verdict, Width, hash,
};
use tiercel::http::fields::{Fields, FieldsBuf};

use super::memory::Memory;
use super::redis::Redis;

pub const WORKERS: usize = 4;
/// Between ticks, in ms.
const TICK: u64 = 50;
const SETTLE: u64 = 200;

/// Something that a worker asked: when it is answered, and with the list as it was then.
struct UnderWay {
    worker: usize,
    at_ms: u64,
    ask: Ask,
    list: String,
}

/// What is known of an id that exists.
#[derive(Clone, Copy, Default)]
struct Made {
    /// The instance that passed its write on; none if nobody did.
    by: Option<usize>,
    /// Whether all instances should know of it.
    by_all: bool,
    /// Whether the instance that knew of it has forgotten it before it could tell.
    forgotten: bool,
}

pub struct Fleet {
    policy: Rc<SpacePolicy>,
    memories: [Memory; 2],
    workers: Vec<Space>,
    under_way: Vec<UnderWay>,
    pub redis: Redis,
    pub redis_is_there: bool,
    pub origin_is_there: bool,
    exist: BTreeMap<u16, Made>,
    now_ms: u64,
    seeds: u64,
    random: fastrand::Rng,
}

pub fn instance(worker: usize) -> usize {
    worker / 2
}

pub fn policy() -> SpacePolicy {
    SpacePolicy {
        name: "thing".into(),
        scope: 7,
        pattern: Some(Pattern::parse("[0-9]+").unwrap()),
        width: Width::Sixteen,
        max_ids: 100_000,
        max_age_ms: 3_600_000,
        refresh_ms: 20_000,
        grace_ms: 3_000,
        monotonic: false,
        ahead: u64::MAX,
        recent: 24,
        shadow: false,
        source: SourcePolicy::Http(HttpSource {
            cluster: "origin".into(),
            timeout_ms: 1_000,
            path: "/ids".into(),
            fields: vec![(b":authority"[..].into(), b"a"[..].into())],
            paging: Paging::One,
            ids: Pointer::parse("/ids/*").unwrap(),
            total: Some(Pointer::parse("/total").unwrap()),
            concurrency: 1,
        }),
    }
}

impl Fleet {
    pub fn new(seed: u64) -> Self {
        let mut fleet = Self {
            policy: Rc::new(policy()),
            memories: Default::default(),
            workers: Vec::new(),
            under_way: Vec::new(),
            redis: Redis::default(),
            redis_is_there: true,
            origin_is_there: true,
            exist: BTreeMap::new(),
            now_ms: 1_700_000_000_000,
            seeds: seed | 1,
            random: fastrand::Rng::with_seed(seed),
        };
        for worker in 0..WORKERS {
            let space = fleet.space(worker);
            fleet.workers.push(space);
        }
        fleet
    }

    fn space(&mut self, worker: usize) -> Space {
        self.seeds = self.seeds.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let space = Space::new(Rc::clone(&self.policy), Some(("t:", 200)), SETTLE, self.seeds | 1);
        space.open(&self.memories[instance(worker)]);
        space
    }

    /// Sends what a worker asks on its way.
    fn ask(&mut self, worker: usize, asks: Vec<Ask>) {
        for ask in asks {
            let at_ms = self.now_ms + self.random.u64(1..60);
            let ids: Vec<u16> = self.exist.keys().copied().collect();
            let list = format!("{{\"ids\": {ids:?}, \"total\": {}}}", ids.len());
            self.under_way.push(UnderWay { worker, at_ms, ask, list });
        }
    }

    fn answer(&mut self, UnderWay { worker, ask, list, .. }: UnderWay) {
        let memory = self.memories[instance(worker)].clone();
        let mut head = FieldsBuf::default();
        head.push(b":status", b"200");
        let block = head.to_block();
        let replies;
        let came = match &ask.what {
            Asking::Http(_) if self.origin_is_there => {
                Came::Http(Fields::new(&block), list.as_bytes())
            }
            Asking::Redis(commands) if self.redis_is_there => {
                replies = self.redis.run(commands, self.now_ms);
                Came::Redis(&replies)
            }
            _ => Came::Nothing,
        };
        let asks = self.workers[worker].came(&memory, ask.ticket, came, self.now_ms);
        self.ask(worker, asks);
    }

    pub fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.now_ms < end_ms {
            let next = self.under_way.iter().map(|under_way| under_way.at_ms).min();
            let tick = self.now_ms / TICK * TICK + TICK;
            self.now_ms = tick.min(next.unwrap_or(tick)).max(self.now_ms);
            if self.now_ms == tick {
                for worker in 0..WORKERS {
                    let memory = self.memories[instance(worker)].clone();
                    let asks = self.workers[worker].tick(&memory, Some(true), self.now_ms);
                    self.workers[worker].standing(&memory, self.now_ms);
                    self.ask(worker, asks);
                }
            }
            let now_ms = self.now_ms;
            let due = self.under_way.extract_if(.., |under_way| under_way.at_ms <= now_ms);
            let due: Vec<_> = due.collect();
            due.into_iter().for_each(|under_way| self.answer(under_way));
        }
    }

    /// A write passes through a worker, which brings an id into being.
    pub fn create(&mut self, worker: usize, id: u16, pause: bool) {
        self.tell(worker, id);
        if pause {
            // The origin takes its time, but less than what is waited for.
            self.pass(SETTLE / 2);
        }
        let made = Made { by: Some(instance(worker)), ..Made::default() };
        self.exist.insert(id, made);
        if pause {
            self.pass(SETTLE);
        }
        self.tell(worker, id);
    }

    /// As [`Self::create`], but the origin takes longer than lists wait for writes.
    pub fn create_slowly(&mut self, worker: usize, id: u16) {
        self.tell(worker, id);
        let ms = self.random.u64(SETTLE..8 * SETTLE);
        self.pass(ms);
        self.exist.entry(id).or_default();
        self.pass(20);
        self.exist.insert(id, Made { by: Some(instance(worker)), ..Made::default() });
        self.tell(worker, id);
    }

    /// All are asked for what does not exist: lists are read anew.
    pub fn ask_for_none(&mut self) {
        (0..WORKERS).for_each(|worker| {
            self.verdict(worker, "999999");
        });
    }

    fn tell(&mut self, worker: usize, id: u16) {
        let memory = self.memories[instance(worker)].clone();
        let space = &mut self.workers[worker];
        space.add(&memory, &[hash(id.to_string().as_bytes())], Count::Created, false);
        let asks = space.send(self.now_ms).into_iter().collect();
        self.ask(worker, asks);
    }

    /// An id comes into being, and nobody is told.
    pub fn elsewhere(&mut self, id: u16) {
        self.exist.entry(id).or_default();
    }

    /// Everything works again, and long enough for all to be known.
    pub fn calm(&mut self) {
        (self.redis_is_there, self.origin_is_there) = (true, true);
        self.pass(70_000);
        // A list that lacks something is read again.
        self.refused_wrongly();
        self.pass(12_000);
        self.exist.values_mut().for_each(|made| *made = Made { by_all: true, ..*made });
    }

    /// A VM begins anew. What it has not told Redis yet only its own instance knows.
    pub fn crash(&mut self, worker: usize) {
        self.under_way.retain(|under_way| under_way.worker != worker);
        self.workers[worker] = self.space(worker);
        for made in self.exist.values_mut().filter(|made| made.by == Some(instance(worker))) {
            made.forgotten |= !made.by_all;
        }
    }

    pub fn restart(&mut self, of: usize) {
        self.memories[of] = Memory::default();
        for worker in (0..WORKERS).filter(|worker| instance(*worker) == of) {
            self.crash(worker);
        }
        // What only it knew is as if it had been made elsewhere.
        for made in self.exist.values_mut().filter(|made| made.by == Some(of) && !made.by_all) {
            made.by = None;
        }
    }

    fn verdict(&mut self, worker: usize, id: &str) -> Verdict {
        let memory = self.memories[instance(worker)].clone();
        self.workers[worker].verdict(&memory, id.as_bytes(), self.now_ms).unwrap().0
    }

    /// Ids that exist, and are refused by a worker that must know of them.
    pub fn refused_wrongly(&mut self) -> Vec<(usize, u16)> {
        let exist = self.exist.clone();
        let all = (0..WORKERS)
            .flat_map(|worker| exist.iter().map(move |(id, made)| (worker, *id, *made)));
        let mut refused = BTreeSet::new();
        for (worker, id, made) in all {
            let is_absent = self.verdict(worker, &id.to_string()) == Verdict::Absent;
            if is_absent && (made.by_all || made.by == Some(instance(worker))) {
                refused.insert((worker, id));
            }
        }
        refused.into_iter().collect()
    }

    /// Of 100 ids that do not exist, how many a worker lets pass.
    pub fn passed_wrongly(&mut self) -> usize {
        let ids = (100_000..100_100).map(|id: u32| id.to_string());
        ids.filter(|id| (0..WORKERS).any(|worker| self.verdict(worker, id) != Verdict::Absent))
            .count()
    }
}
