//! What a client asked for is fetched whether it stays or not, where the route says so.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::harness::scene::no_routes;
use crate::harness::{Asked, Envoy, Scene, Script, eventually, reply};

const FRESH: [(&str, &str); 2] = [("cache-control", "max-age=60"), ("etag", "\"a\"")];

fn start(scene: &Scene, script: &Script, workers: u32, timeout: &str) -> Envoy {
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    let builder = builder.config(|config| {
        config["origin"] = json!({"cluster": "origin", "timeout": timeout});
        config["defaults"] = json!({"fetch": "detached"});
        config["headers"] = json!({"x_cache_key": true});
    });
    builder.workers(workers).start(scene)
}

fn detached(envoy: &Envoy) -> u64 {
    envoy.metric("tiercel_detached")
}

#[test]
fn a_fetch_goes_on_when_its_client_leaves() {
    let scene = Scene::new("detached-left");
    let script = Script::start(|asked: &Asked| reply(200, &FRESH, &asked.target));
    let envoy = start(&scene, &script, 2, "20s");
    for round in 0..10 {
        let path = format!("/{round}");
        script.hold(Some("GET"));
        let mut client = envoy.client();
        client.send("GET", path.as_bytes(), &[], b"").unwrap();
        script.expect_asked("GET");
        drop(client);
        // Long enough for a tick to find out.
        sleep(Duration::from_millis(120));
        script.hold(None);
        eventually("it to be stored", || (detached(&envoy) == round + 1).then_some(()));
        let answer = envoy.client().get(&path);
        assert!(answer.is_hit() && answer.body == path.as_bytes(), "{answer:?}");
        assert!(script.asked().is_empty(), "round {round}");
    }
}

#[test]
fn who_stays_gets_what_was_fetched() {
    let scene = Scene::new("detached-stays");
    let script = Script::start(|asked: &Asked| reply(200, &FRESH, &asked.target));
    let envoy = start(&scene, &script, 1, "20s");
    script.hold(Some("GET"));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| envoy.client().get("/a"));
        script.expect_asked("GET");
        let second = scope.spawn(|| envoy.client().get("/a"));
        envoy.expect_metric("tiercel_collapse{event=\"followed\"}", 1);
        script.hold(None);
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        assert_eq!((first.status, &first.body), (200, &second.body));
        let status = first.cache_status();
        assert!(status.starts_with("tiercel; fwd=uri-miss; fwd-status=200; ttl="), "{status}");
        assert!(status.ends_with("; stored"), "{status}");
        assert!(second.cache_status().contains("; collapsed"), "{second:?}");
    });
    let mut client = envoy.client();
    let condition = [("if-none-match", "\"a\"")];
    assert_eq!(client.request("GET", "/b", &condition, b"").status, 304);
    assert!(client.get("/b").is_hit());
    // The cache asks for all of it; ranges and HEAD ask for themselves.
    assert_eq!(client.request("GET", "/c", &[("range", "bytes=0-0")], b"").status, 200);
    assert_eq!(client.request("HEAD", "/d", &[], b"").status, 200);
    assert_eq!(script.asked().len(), 3);
    envoy.expect_metric("tiercel_detached", 2);
    envoy.expect_metric("tiercel_requests{outcome=\"miss\"}", 4);
}

#[test]
fn what_is_not_stored_is_its_own_clients() {
    let scene = Scene::new("detached-own");
    let fields = &[("cache-control", "no-store"), ("set-cookie", "a=b"), ("x-own", "1")];
    let script = Script::start(|asked: &Asked| match asked.target.as_str() {
        "/empty" => reply(403, fields, ""),
        _ => reply(200, fields, "own"),
    });
    let envoy = start(&scene, &script, 1, "20s");
    let mut client = envoy.client();
    for (path, status, body) in [("/a", 200, "own"), ("/a", 200, "own"), ("/empty", 403, "")] {
        let answer = client.get(path);
        assert_eq!((answer.status, &*answer.body), (status, body.as_bytes()), "{answer:?}");
        for name in ["set-cookie", "x-own", "cache-control", "x-cache-key"] {
            assert!(answer.field(name).is_some(), "{name}: {answer:?}");
        }
        let len = answer.fields.iter().filter(|(name, _)| name == "content-length").count();
        assert!(
            len == 1 && answer.cache_status().starts_with("tiercel; fwd=uri-miss; fwd-status=")
        );
        assert_eq!(answer.field("content-type"), None, "{answer:?}");
        assert_eq!(script.asked().len(), 1, "{path}");
    }
    // The first of each: from the second on it is known, and nobody asks on anybody's behalf.
    envoy.expect_metric("tiercel_detached", 2);
    envoy.expect_metric("tiercel_requests{outcome=\"miss\"}", 3);
}

#[test]
fn an_error_is_the_clients_and_ends() {
    let scene = Scene::new("detached-error");
    let script = Script::start(|asked: &Asked| match asked.target.as_str() {
        "/error" => reply(500, &[], "error"),
        "/short" => Some(b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\nx".to_vec()),
        _ => None,
    });
    let envoy = start(&scene, &script, 1, "1s");
    for (path, status, body) in [("/error", 500, "error"), ("/reset", 503, "")] {
        let answer = envoy.client().get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(body.is_empty() || answer.body == body.as_bytes());
        let asked = script.asked().len();
        assert!(asked <= 2, "{path}: {asked}");
    }
    // The connection stays open: only the time-out ends the first fetch, and nothing the second.
    let mut client = envoy.client();
    client.send("GET", b"/short", &[], b"").unwrap();
    let mut asked = 0;
    eventually("it to be asked for twice", || {
        asked += script.asked().len();
        (asked >= 2).then_some(())
    });
    sleep(Duration::from_millis(300));
    assert!(script.asked().is_empty() && asked == 2);
}

#[test]
fn what_is_stale_is_validated() {
    let scene = Scene::new("detached-stale");
    let script = Script::start(|asked: &Asked| match asked.field("if-none-match") {
        None => reply(200, &[("cache-control", "max-age=0"), ("etag", "\"a\"")], "body"),
        Some(_) => reply(304, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], ""),
    });
    let envoy = start(&scene, &script, 1, "20s");
    let mut client = envoy.client();
    for _ in 0..2 {
        assert_eq!(client.get("/a").body, b"body");
    }
    assert!(client.get("/a").is_hit());
}
