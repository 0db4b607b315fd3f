//! What is asked for often is fetched again before it expires, and what is stored together does not expire
//! together.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::scene::no_routes;
use crate::harness::{Asked, Envoy, Scene, Script, reply};

fn start(scene: &Scene, script: &Script, routes: Value) -> Envoy {
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    builder
        .config(|config| {
            config["routes"] = routes;
            config["origin"] = json!({"cluster": "origin"});
        })
        .workers(2)
        .start(scene)
}

/// Seconds of freshness left that a hit tells.
fn ttl(envoy: &Envoy, path: &str) -> i64 {
    let mut client = envoy.client();
    client.get(path);
    let hit = client.get(path);
    let told = hit.cache_status().split("; ").find_map(|part| part.strip_prefix("ttl="));
    told.unwrap_or_else(|| panic!("{hit:?}")).parse().unwrap()
}

#[test]
fn lifetimes_of_the_policy_differ_a_little_and_those_of_the_origin_do_not() {
    let scene = Scene::new("early-jitter");
    let script = Script::start(|asked: &Asked| {
        let own = asked.target.starts_with("/own/");
        let fields = [("cache-control", "max-age=10000")];
        reply(200, if own { &fields } else { &[] }, "body")
    });
    let routes = json!([
        {"path": "/own/{id}", "ttl": "10000s"},
        {"path": "/never/{id}", "ttl": "10000s", "jitter": 0},
        {"path": "/much/{id}", "ttl": "10000s", "jitter": 50},
        {"path": "/{id}", "ttl": "10000s"},
    ]);
    let envoy = start(&scene, &script, routes);
    for (path, least, differ) in [
        ("/own/", 9_900, false),
        ("/never/", 9_900, false),
        ("/much/", 5_000, true),
        ("/", 9_000, true),
    ] {
        let all: Vec<i64> = (0..12).map(|n| ttl(&envoy, &format!("{path}{n}"))).collect();
        assert!(all.iter().all(|ttl| (least - 60..=10_000).contains(ttl)), "{path}: {all:?}");
        let spread = all.iter().max().unwrap() - all.iter().min().unwrap();
        assert_eq!(spread > 100, differ, "{path}: {all:?}");
    }
}

#[test]
fn what_is_asked_for_often_is_fetched_again_before_it_expires() {
    let scene = Scene::new("early-refresh");
    let script = Script::start(|_| {
        sleep(Duration::from_millis(500));
        reply(200, &[("cache-control", "max-age=6")], "body")
    });
    let routes = json!([{"path": "/{id}"}]);
    let envoy = start(&scene, &script, routes);
    assert_eq!(envoy.client().get("/a").status, 200);
    let until = Instant::now() + Duration::from_secs(8);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = envoy.client();
                while Instant::now() < until {
                    let answer = client.get("/a");
                    assert!(answer.is_hit(), "{answer:?}");
                    sleep(Duration::from_millis(2));
                }
            });
        }
    });
    let asked = script.asked().len();
    assert!((2..=12).contains(&asked), "{asked} requests to the origin");
}
