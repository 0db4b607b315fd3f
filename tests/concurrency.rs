//! A thousand requests at once over two workers: every body is the origin's.

use serde_json::Value;

use crate::harness::{Client, Envoy, Origin, Redis, Scene, eventually};

const PATHS: [&str; 10] = [
    "/api/games",
    "/api/games/10000147",
    "/api/games/10000149?utm=1",
    "/api/games/999",
    "/api/events?game_gid=10000147&page=1",
    "/api/events?game_gid=10000148&page=2&per_page=50",
    "/api/events?page=3",
    "/api/events/1?game_gid=10000147",
    "/api/events/2/parameters",
    "/api/categories?game_gid=10000147",
];

#[test]
fn every_body_is_the_origins() {
    let scene = Scene::new("mix");
    let (origin, redis) = (Origin::start(&scene, &["--latency", "5"]), Redis::start(&scene, &[]));
    let builder = Envoy::builder("event2table.yaml").origin(origin.port).redis(redis.port);
    let envoy = builder.workers(2).start(&scene);
    let mut direct = origin.client();
    let expected: Vec<(u16, Value)> = PATHS
        .iter()
        .map(|path| {
            let response = direct.get(path);
            (response.status, response.data())
        })
        .collect();
    let port = envoy.port;
    std::thread::scope(|scope| {
        for thread in 0..25 {
            let expected = &expected;
            scope.spawn(move || {
                let mut client = Client::new(port);
                for n in 0..40 {
                    let which = (thread * 7 + n * 3) % PATHS.len();
                    let response = client.get(PATHS[which]);
                    let (status, data) = &expected[which];
                    assert_eq!(response.status, *status, "{}", PATHS[which]);
                    assert_eq!(&response.data(), data, "{}", PATHS[which]);
                }
            });
        }
    });
    let outcome = |name: &str| envoy.metric(&format!("tiercel_requests{{outcome=\"{name}\"}}"));
    let (hits, misses) = eventually("every request to be counted", || {
        let hits = ["l1_hit", "shared_hit", "l2_hit", "collapsed"].map(outcome).iter().sum::<u64>();
        let misses = outcome("miss");
        (hits + misses == 1_000).then_some((hits, misses))
    });
    assert_eq!(origin.total(), misses + PATHS.len() as u64);
    assert!(hits > 500, "{hits} hits of 1000");
}
