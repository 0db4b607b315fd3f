//! Hit ratios of L1's policy against LRU and the best cache crates, on synthetic traces.
//!
//! A request is a `get` and, on a miss, an `insert`. The first quarter of a trace only warms up.
//! All is seeded, so two runs agree; only TinyUFO draws seeds of its own, worth a tenth of a point.
//! Left out: the s3-fifo crate, which searches its queues from end to end and would take hours.
//!
//! An argument that is part of a policy's name runs that one alone, and writes no file.

use foldhash::quality::FixedState;
use quick_cache::unsync::DefaultLifecycle;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

const ITEMS: u32 = 100_000;
const REQUESTS: usize = 2_000_000;
const WARM_UP: usize = REQUESTS / 4;
/// One scan in so many requests, a tenth of them.
const SCAN_EVERY: usize = 10_000;
/// In churning traces, the item of every so-manieth request loses its rank to a random one.
const CHURN_EVERY: usize = 200;
/// Bursts under way at a time, and requests each has at most.
const BURSTS: u64 = 300;
const BURST: u64 = 7;
const SEED: u64 = 0x7e5c_e15e_ed00_0001;

// === Traces ===

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `0..1`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Ranks from 0, of which rank r comes up in proportion to 1 / (r + 1)^s.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(exponent: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=ITEMS).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        Self(weights.collect())
    }

    fn rank(&self, random: &mut Random) -> usize {
        let at = random.unit() * self.0.last().unwrap();
        self.0.partition_point(|sum| *sum <= at).min(self.0.len() - 1)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    /// Items never asked for again come in bursts.
    Scans,
    /// Popular items fade and others take their rank.
    Churn,
    /// Half of the requests go to items asked for a few times within a short while, then never.
    Bursts,
}

fn trace(exponent: f64, kind: Kind) -> Vec<u32> {
    let (zipf, mut random) = (Zipf::new(exponent), Random(SEED));
    let mut item_of_rank: Vec<u32> = (0..ITEMS).collect();
    let mut bursts = vec![(0, 0); BURSTS as usize];
    let mut fresh = ITEMS;
    let request = |n| {
        if kind == Kind::Scans && n % SCAN_EVERY < SCAN_EVERY / 10 {
            fresh += 1;
            return fresh;
        }
        if kind == Kind::Bursts && random.unit() < 0.5 {
            let (item, left) = &mut bursts[(random.next() % BURSTS) as usize];
            if *left == 0 {
                fresh += 1;
                (*item, *left) = (fresh, 1 + random.next() % BURST);
            }
            *left -= 1;
            return *item;
        }
        let rank = zipf.rank(&mut random);
        if kind == Kind::Churn && n % CHURN_EVERY == 0 {
            item_of_rank.swap(rank, (random.next() % u64::from(ITEMS)) as usize);
        }
        item_of_rank[rank]
    };
    (0..REQUESTS).map(request).collect()
}

/// Log-normal around 6 KiB, between 0.5 and 64 KiB.
fn sizes() -> Vec<u32> {
    let mut random = Random(SEED ^ 1);
    let size = |_| (6_144.0 * random.normal().exp()).clamp(512.0, 65_535.0) as u32;
    (0..ITEMS).map(size).collect()
}

// === Policies ===

/// Asks a cache for an item of some weight, inserts it on a miss, returns whether it was a hit.
type Cache = Box<dyn FnMut(u32, u32) -> bool>;

/// Makes a cache for a budget and about so many items of it.
type Maker = fn(u64, usize) -> Cache;

const POLICIES: [(&str, Maker); 6] = [
    ("tiercel", tiercel),
    ("lru", lru),
    ("quick_cache", quick_cache),
    ("TinyUFO", tiny_ufo),
    ("moka", moka),
    ("sieve-cache", sieve),
];

struct Item([u8; 4], u32);

impl tiercel::l1::Stored for Item {
    fn key(&self) -> &[u8] {
        &self.0
    }
    fn weight(&self) -> usize {
        self.1 as usize
    }
}

fn tiercel(budget: u64, _: usize) -> Cache {
    let mut store = tiercel::l1::Store::new(budget as usize, SEED);
    Box::new(move |key, weight| {
        let key = key.to_le_bytes();
        let hit = store.get(&key).is_some();
        if !hit {
            store.insert(Item(key, weight));
            assert!(store.weight() as u64 <= budget);
        }
        hit
    })
}

fn lru(budget: u64, _: usize) -> Cache {
    let mut cache = lru::LruCache::unbounded_with_hasher(FixedState::with_seed(SEED));
    let mut held = 0;
    Box::new(move |key, weight| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.put(key, weight);
            held += u64::from(weight);
            while held > budget {
                held -= cache.pop_lru().map_or(0, |(_, weight)| u64::from(weight));
            }
        }
        hit
    })
}

#[derive(Clone)]
struct ByValue;

impl quick_cache::Weighter<u32, u32> for ByValue {
    fn weight(&self, _: &u32, value: &u32) -> u64 {
        u64::from(*value)
    }
}

fn quick_cache(budget: u64, items: usize) -> Cache {
    let (hasher, lifecycle) = (FixedState::with_seed(SEED), DefaultLifecycle::default());
    let mut cache = quick_cache::unsync::Cache::with(items, budget, ByValue, hasher, lifecycle);
    Box::new(move |key, weight| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, weight);
        }
        hit
    })
}

fn tiny_ufo(budget: u64, items: usize) -> Cache {
    let cache = tinyufo::TinyUfo::new(budget as usize, items);
    Box::new(move |key, weight| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.put(key, (), weight as u16);
        }
        hit
    })
}

fn moka(budget: u64, items: usize) -> Cache {
    let cache = moka::sync::Cache::builder()
        .max_capacity(budget)
        .initial_capacity(items)
        .weigher(|_, weight| *weight)
        .build_with_hasher(FixedState::with_seed(SEED));
    Box::new(move |key, weight| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, weight);
            cache.run_pending_tasks(); // else it evicts when a timer says so
        }
        hit
    })
}

/// Weights do not count.
fn sieve(_: u64, items: usize) -> Cache {
    let mut cache = sieve_cache::SieveCache::new(items).unwrap();
    Box::new(move |key, _| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        hit
    })
}

// === Runs ===

/// Hit ratios by requests and by bytes, after the warm-up.
fn run(trace: &[u32], sizes: Option<&[u32]>, cache: &mut Cache) -> (f64, f64) {
    let (mut hits, mut hit_bytes, mut bytes) = (0_u32, 0_u64, 0_u64);
    for (n, key) in trace.iter().enumerate() {
        let weight = sizes.map_or(1, |sizes| sizes[*key as usize]);
        let hit = cache(*key, weight);
        if n >= WARM_UP {
            bytes += u64::from(weight);
            hits += u32::from(hit);
            hit_bytes += if hit { u64::from(weight) } else { 0 };
        }
    }
    (f64::from(hits) / (trace.len() - WARM_UP) as f64, hit_bytes as f64 / bytes as f64)
}

/// Works the jobs off on all cores.
fn in_parallel(jobs: Vec<Box<dyn FnOnce() + Send + '_>>) {
    let jobs = Mutex::new(jobs.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(job) = { jobs.lock().unwrap().next() } {
                    job();
                }
            });
        }
    });
}

/// A row: its name and a ratio for each policy that took part.
type Row = (String, Vec<Option<f64>>);

fn measure(filter: &str) -> Vec<Row> {
    let mut specs = Vec::new();
    for zipf in [0.8, 1.0, 1.2] {
        specs.push((zipf, Kind::Plain, format!("zipf={zipf:.1} scans=no")));
        specs.push((zipf, Kind::Scans, format!("zipf={zipf:.1} scans=yes")));
    }
    specs.push((1.0, Kind::Churn, "zipf=1.0 churn".to_owned()));
    specs.push((1.0, Kind::Bursts, "zipf=1.0 bursts".to_owned()));

    let results = Mutex::new(HashMap::new());
    let traces: Vec<_> = specs.iter().map(|(zipf, kind, _)| trace(*zipf, *kind)).collect();
    let sizes = sizes();
    let mut names = Vec::new();
    let mut jobs: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for (trace, (.., spec)) in traces.iter().zip(&specs) {
        for percent in [1, 5, 10] {
            let name = format!("{spec} size={percent}%");
            names.push(name.clone());
            let budget = ITEMS as usize * percent / 100;
            for (policy, (label, make)) in POLICIES.iter().enumerate() {
                if !label.contains(filter) {
                    continue;
                }
                let (results, name) = (&results, name.clone());
                jobs.push(Box::new(move || {
                    let (ratio, _) = run(trace, None, &mut make(budget as u64, budget));
                    results.lock().unwrap().insert((name, policy), ratio);
                }));
            }
        }
    }
    let by_bytes = ["bytes: hit ratio", "bytes: byte hit ratio"];
    names.extend(by_bytes.map(str::to_owned));
    for (policy, (label, make)) in POLICIES.iter().enumerate() {
        if *label == "sieve-cache" || !label.contains(filter) {
            continue;
        }
        let (results, sizes, trace) = (&results, &sizes, &traces[2]);
        jobs.push(Box::new(move || {
            let budget = sizes.iter().copied().map(u64::from).sum::<u64>() / 20;
            let items = ITEMS as usize / 20;
            let ratios = run(trace, Some(sizes), &mut make(budget, items));
            let mut results = results.lock().unwrap();
            for (name, ratio) in by_bytes.into_iter().zip([ratios.0, ratios.1]) {
                results.insert((name.to_owned(), policy), ratio);
            }
        }));
    }
    in_parallel(jobs);
    let results = results.into_inner().unwrap();
    let row = |name: String| {
        let ratios = (0..POLICIES.len()).map(|p| results.get(&(name.clone(), p)).copied());
        let ratios = ratios.collect();
        (name, ratios)
    };
    names.into_iter().map(row).collect()
}

fn print(rows: &[Row]) {
    print!("{:<32}", "");
    for (label, _) in POLICIES {
        print!("{label:>12}");
    }
    println!("{:>12}{:>12}", "over lru", "over best");
    for (name, ratios) in rows {
        print!("{name:<32}");
        for ratio in ratios {
            let text =
                ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}", ratio * 100.0));
            print!("{text:>12}");
        }
        let own = ratios[0].unwrap_or(f64::NAN) * 100.0;
        let lru = ratios[1].unwrap_or(f64::NAN) * 100.0;
        let best = ratios[2..].iter().flatten().fold(f64::NAN, |a, b| a.max(*b)) * 100.0;
        println!("{:>+12.2}{:>+12.2}", own - lru, own - best);
    }
}

fn write(rows: &[Row]) -> std::io::Result<()> {
    let mut cases = Map::new();
    for (name, ratios) in rows {
        let labelled = POLICIES.iter().zip(ratios);
        let known =
            labelled.filter_map(|((label, _), ratio)| Some(((*label).to_owned(), (*ratio)?)));
        let round = |ratio: f64| json!((ratio * 10_000.0).round() / 10_000.0);
        let ratios: Map<_, _> = known.map(|(label, ratio)| (label, round(ratio))).collect();
        cases.insert(name.clone(), Value::Object(ratios));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("hit_ratio.json"), format!("{:#}\n", Value::Object(cases)))
}

fn main() -> std::io::Result<()> {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let rows = measure(&filter);
    print(&rows);
    if filter.is_empty() { write(&rows) } else { Ok(()) }
}
