//! Most requests are for what does not exist: the origin hardly notices.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Client, Envoy, Origin, Redis, Response, Scene, eventually};
use crate::load::{Random, each, share};
use crate::report::Report;

const REQUESTS: u64 = 20_000;
const CLIENTS: u64 = 16;
/// What the demo origin is seeded with.
const FIRST_GID: u64 = 10_000_147;
const GAMES: u64 = 20;
const EVENTS: u64 = 1_000;
const CATEGORIES: u64 = 8;

/// What is asked for: a path, and whether it exists.
fn pick(n: u64) -> (String, bool) {
    let mut random = Random::new(n);
    let gid = FIRST_GID + random.below(GAMES);
    let exists = random.below(10) == 0;
    if exists {
        let event = random.below(EVENTS) + 1;
        // Every second event is gone.
        let event = event + event % 2;
        let gid = FIRST_GID + (event - 1) / (EVENTS / GAMES);
        return match random.below(5) {
            0 => (format!("/api/games/{gid}"), true),
            1 => (format!("/api/events?game_gid={gid}&page={}", 1 + random.below(2)), true),
            2 => (format!("/api/events/{event}?game_gid={gid}"), true),
            3 => (format!("/api/events/{event}/parameters"), true),
            _ => (format!("/api/categories/{}", 1 + random.below(CATEGORIES)), true),
        };
    }
    let game = FIRST_GID + GAMES + random.below(1_000_000);
    // Numbers above all are for those that may be new: far above there are none.
    let event = match random.below(2) {
        0 => 2 * random.below(EVENTS / 2) + 1,
        _ => 100_000 + random.below(1_000_000),
    };
    let category = 100_000 + random.below(1_000_000);
    let path = match random.below(12) {
        0 => format!("/api/games/{game}"),
        1 => format!("/api/games/by-gid/{game}"),
        2 => format!("/api/events?game_gid={game}&page={}&per_page={}", n % 5, n % 130),
        3 => format!("/api/events?game_gid={game}&search=x"),
        4 => format!("/api/events/{event}?game_gid={gid}"),
        5 => format!("/api/events/{}?game_gid={game}", 2 + 2 * random.below(400)),
        6 => format!("/api/events/{event}/parameters"),
        7 => format!("/api/categories/{category}"),
        8 => format!("/api/categories?game_gid={game}"),
        9 => format!("/api/parameters/all?game_gid={game}"),
        10 => format!("/api/parameters/stats?game_gid={game}"),
        _ => format!("/api/event-nodes?game_gid={game}"),
    };
    (path, false)
}

pub fn run(report: &mut Report) {
    let scene = Scene::new("drill-penetration");
    let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let gone: Vec<u64> = (1..=EVENTS).step_by(2).collect();
    let body = serde_json::json!({"ids": gone}).to_string();
    let json = [("content-type", "application/json")];
    let deleted =
        Client::new(origin.port).request("DELETE", "/api/events/batch", &json, body.as_bytes());
    assert_eq!(deleted.status, 200, "{deleted:?}");
    let builder = Envoy::shipped("event2table.yaml").origin(origin.port).redis(redis.port);
    let envoy = builder.workers(2).start(&scene);
    for space in ["game", "event", "category"] {
        eventually("the spaces to be known", || {
            (envoy.metric(&format!("tiercel_existence_ids{{space=\"{space}\"}}")) > 0).then_some(())
        });
    }
    sleep(Duration::from_millis(500)); // until both workers have them

    let (edge, absent) = (AtomicU64::new(0), AtomicU64::new(0));
    let (right, valid) = (AtomicU64::new(0), AtomicU64::new(0));
    let before = origin.total();
    each(&envoy, CLIENTS, 0..REQUESTS, |client, n| {
        let (path, exists) = pick(n);
        let answer = client.get(&path);
        let refused = answer.cache_status().ends_with("detail=absent");
        let one = |counter: &AtomicU64, counts| {
            counter.fetch_add(u64::from(counts), Ordering::Relaxed);
        };
        one(&absent, !exists);
        one(&edge, !exists && refused);
        one(&valid, exists);
        one(&right, exists && answer.status == 200 && !refused);
    });
    let asked = origin.total() - before;
    let (edge, absent) = (edge.into_inner(), absent.into_inner());
    let (right, valid) = (right.into_inner(), valid.into_inner());

    // The very same from the origin itself, and in the same shape.
    let (mut through, mut direct) = (envoy.client(), Client::new(origin.port));
    let mut different = 0;
    for n in (0..REQUESTS).step_by(23) {
        let (path, _) = pick(n);
        let (ours, theirs) = (shape(&through.get(&path)), shape(&direct.get(&path)));
        if ours != theirs {
            println!("  {path}: {ours:?} in place of {theirs:?}");
            different += 1;
        }
    }
    report.figure("requests", REQUESTS);
    report.figure("for_what_does_not_exist", absent);
    report.figure("answered_at_the_edge", edge);
    report.figure("share_of_these", share(edge, absent));
    report.figure("for_what_exists", valid);
    report.figure("of_these_right", right);
    report.figure("origin_requests", asked);
    report.figure("answers_that_differ_from_the_origins", different);
    report.check("99.5 % are answered at the edge", share(edge, absent) >= 0.995);
    report.check("every valid request is right", right == valid);
    report.check("the same answers as the origin's", different == 0);
}

/// What two answers must have in common.
fn shape(answer: &Response) -> (u16, Option<String>, Value, usize) {
    let content_type = answer.field("content-type").map(str::to_owned);
    (answer.status, content_type, answer.data(), answer.body.len())
}
