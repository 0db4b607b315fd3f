//! A day of the API in seconds: its own reads, some asked for far more often than others.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use tiercel::engine::Outcome;

use crate::harness::{Envoy, Origin, Redis, Scene};
use crate::load::{Random, Running, share};
use crate::report::Report;

const CLIENTS: u64 = 32;
const WORKERS: u32 = 2;
const LASTS: Duration = Duration::from_secs(15);
/// What the origin takes for every answer.
const LATENCY_MS: &str = "10";

/// What the demo origin is seeded with.
const FIRST_GID: u64 = 10_000_147;
const GAMES: u64 = 20;
const EVENTS_PER_GAME: u64 = 50;

pub fn run(report: &mut Report) {
    let scene = Scene::new("drill-mix");
    let origin = Origin::start(&scene, &["--latency", LATENCY_MS]);
    let redis = Redis::start(&scene, &[]);
    let builder = Envoy::shipped("event2table.yaml").origin(origin.port).redis(redis.port);
    let envoy = builder.workers(WORKERS).start(&scene);

    let paths = Popular::new(reads());
    let (asked, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _running = Running::new(&stop);
        for seed in 0..CLIENTS {
            let (envoy, paths, stop, asked, failed) = (&envoy, &paths, &stop, &asked, &failed);
            scope.spawn(move || {
                let (mut client, mut random) = (envoy.client(), Random::new(seed));
                while !stop.load(Ordering::Relaxed) {
                    let status = client.get(paths.pick(&mut random)).status;
                    asked.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(u64::from(status != 200), Ordering::Relaxed);
                }
            });
        }
        sleep(LASTS);
    });
    sleep(Duration::from_millis(1_500)); // the workers' next tick

    let outcome = |name: &str| envoy.metric(&format!("tiercel_requests{{outcome=\"{name}\"}}"));
    let [l1, shared, l2, collapsed, miss] =
        ["l1_hit", "shared_hit", "l2_hit", "collapsed", "miss"].map(outcome);
    let (asked, failed) = (asked.into_inner(), failed.into_inner());
    report.figure("resources", paths.paths.len());
    report.figure("requests", asked);
    report.figure("failed", failed);
    report.figure("requests_per_second", share(asked, LASTS.as_secs()));
    report.figure("l1_hits", l1);
    report.figure("shared_hits", shared);
    report.figure("l2_hits", l2);
    report.figure("collapsed", collapsed);
    report.figure("misses", miss);
    report.figure("hit_rate", share(l1 + shared + l2 + collapsed, asked));
    report.figure("l1_hit_rate", share(l1, asked));
    report.figure("shared_hit_rate_of_l1_misses", share(shared, shared + l2 + miss));
    report.figure("origin_requests", origin.total());
    report.check("no request failed", failed == 0);
    let counted: u64 = Outcome::ALL.iter().map(|kind| outcome(kind.as_str())).sum();
    report.check("every request is counted", counted == asked);
}

/// Paths of which the n-th is asked for 1/n times as often as the first (Zipf, exponent 1).
struct Popular {
    paths: Vec<String>,
    /// For each path, how likely it or one before it is.
    up_to: Vec<f64>,
}

impl Popular {
    fn new(mut paths: Vec<String>) -> Self {
        let mut random = Random::new(1);
        for last in (1..paths.len()).rev() {
            let other = usize::try_from(random.below(last as u64 + 1)).expect("a place");
            paths.swap(last, other);
        }
        let mut sum = 0.0;
        let ranks = (1..).map(f64::from).take(paths.len());
        let mut up_to: Vec<f64> = ranks
            .map(|rank: f64| {
                sum += 1.0 / rank;
                sum
            })
            .collect();
        up_to.iter_mut().for_each(|likely| *likely /= sum);
        Self { paths, up_to }
    }

    fn pick(&self, random: &mut Random) -> &str {
        let point = random.fraction();
        let place = self.up_to.partition_point(|likely| *likely < point);
        &self.paths[place.min(self.paths.len() - 1)]
    }
}

/// Every kind of read that the example configuration caches and the origin has rows for.
fn reads() -> Vec<String> {
    let lists = ["/api/games", "/api/events", "/api/flows", "/api/templates"];
    let mut paths = lists.map(String::from).to_vec();
    for game in 0..GAMES {
        let gid = FIRST_GID + game;
        paths.push(format!("/api/games/{gid}"));
        for list in [
            "categories",
            "parameters/all",
            "parameters/stats",
            "parameters/common",
            "common-params",
            "event-nodes",
            "flows",
            "templates",
            "nodes",
        ] {
            paths.push(format!("/api/{list}?game_gid={gid}"));
        }
        for page in 1..=EVENTS_PER_GAME / 10 {
            paths.push(format!("/api/events?game_gid={gid}&page={page}&per_page=10"));
        }
        for event in 0..EVENTS_PER_GAME {
            let id = game * EVENTS_PER_GAME + event + 1;
            paths.push(format!("/api/events/{id}?game_gid={gid}"));
            paths.push(format!("/api/events/{id}/parameters"));
            paths.push(format!("/api/parameters/{id}"));
        }
    }
    paths
}
