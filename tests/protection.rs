//! The origin is spared: not too many fetches at once, and few of them while it fails.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::scene::no_routes;
use crate::harness::{Asked, Client, Envoy, Response, Scene, Script, eventually, reply};

const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=60")];
/// Stale at once, and good enough in the place of an error.
const STALE: [(&str, &str); 2] =
    [("cache-control", "max-age=0, stale-if-error=60"), ("etag", "\"a\"")];

fn start(scene: &Scene, script: &Script, change: impl FnOnce(&mut Value)) -> Envoy {
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    builder.config(change).workers(1).start(scene)
}

/// Envoy's patience ends soon, the cache's own does not.
fn impatient(scene: &Scene, script: &Script) -> Envoy {
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    let builder = builder.config(|config| {
        config["origin"] = json!({"cluster": "origin", "timeout": "30s"});
        config["protection"] = json!({"failures": 2, "probe_interval": "200ms"});
    });
    builder.route_timeout("0.3s").workers(1).start(scene)
}

fn event(envoy: &Envoy, event: &str) -> u64 {
    envoy.metric(&format!("tiercel_protection{{event=\"{event}\"}}"))
}

/// Asks until the origin counts as failing.
fn fail(envoy: &Envoy, client: &mut Client, path: &str) {
    eventually("the origin to count as failing", || {
        assert_eq!(client.get(path).status, 200);
        (event(envoy, "opened") > 0).then_some(())
    });
}

#[test]
fn so_many_fetches_and_no_more() {
    let scene = Scene::new("protection-limit");
    let script = Script::start(|asked: &Asked| {
        let fields = if asked.target.starts_with("/stale") { &STALE[..] } else { &FRESH };
        reply(200, fields, &asked.target)
    });
    let envoy = start(&scene, &script, |config| {
        config["protection"] = json!({"max_fetches": 2, "retry_after": "7s"});
    });
    let mut client = envoy.client();
    for path in ["/warm", "/stale"] {
        assert_eq!(client.get(path).status, 200);
    }
    script.asked();
    script.hold(Some("GET"));
    std::thread::scope(|scope| {
        let busy = ["/a", "/b"].map(|path| {
            let envoy = &envoy;
            scope.spawn(move || envoy.client().get(path))
        });
        let mut asked = 0;
        eventually("the origin to be busy", || {
            asked += script.asked().len();
            (asked == 2).then_some(())
        });
        let refused = client.get("/c");
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("7")), "{refused:?}");
        assert_eq!(refused.cache_status(), "tiercel; detail=limited");
        let stale = client.get("/stale");
        assert_eq!((stale.status, &*stale.body), (200, &b"/stale"[..]), "{stale:?}");
        assert!(client.get("/warm").is_hit());
        // Whoever wants what is being fetched asks for nothing more.
        let waits = scope.spawn(|| envoy.client().get("/a"));
        eventually("one to wait", || {
            (envoy.metric("tiercel_collapse{event=\"followed\"}") == 1).then_some(())
        });
        assert!(script.asked().is_empty());
        script.hold(None);
        let all = busy.into_iter().chain([waits]).map(|client| client.join().unwrap());
        all.for_each(|answer| assert_eq!(answer.status, 200));
    });
    assert_eq!(client.get("/c").status, 200);
    for (name, count) in [("limit", 1), ("limit_stale", 1)] {
        envoy.expect_metric(&format!("tiercel_protection{{event=\"{name}\"}}"), count);
    }
    envoy.expect_metric("tiercel_requests{outcome=\"limited\"}", 1);
}

#[test]
fn a_client_that_leaves_makes_room() {
    let scene = Scene::new("protection-room");
    let script = Script::start(|asked: &Asked| reply(200, &FRESH, &asked.target));
    let envoy = start(&scene, &script, |config| {
        config["protection"] = json!({"max_fetches": 1});
    });
    script.hold(Some("GET"));
    let mut first = envoy.client();
    first.send("GET", b"/a", &[], b"").unwrap();
    script.expect_asked("GET");
    assert_eq!(envoy.client().get("/b").status, 503);
    drop(first);
    script.hold(None);
    eventually("room", || (envoy.client().get("/b").status == 200).then_some(()));
}

#[test]
fn what_is_not_for_the_cache_is_not_counted() {
    let scene = Scene::new("protection-own");
    let script = Script::start(|_| {
        sleep(Duration::from_millis(200));
        reply(200, &[("cache-control", "no-store")], "own")
    });
    let envoy = start(&scene, &script, |config| {
        config["protection"] = json!({"max_fetches": 1});
    });
    assert_eq!(envoy.client().get("/a").status, 200);
    std::thread::scope(|scope| {
        let all = [(); 8].map(|()| scope.spawn(|| envoy.client().get("/a")));
        all.into_iter().for_each(|client| assert_eq!(client.join().unwrap().status, 200));
    });
}

/// An origin that fails; what clients get and what it is asked meanwhile, and how it comes back.
fn outage(name: &str, origin: Value) -> (Envoy, Script, Vec<Response>) {
    let scene = Scene::new(name);
    let script = Script::start(|_| reply(200, &STALE, "old"));
    let envoy = start(&scene, &script, |config| {
        config["origin"] = origin;
        config["protection"] = json!({"failures": 3, "probe_interval": "300ms"});
    });
    let mut client = envoy.client();
    assert_eq!(client.get("/a").status, 200);
    script.becomes(|_| reply(500, &[], "down"));
    script.asked();
    fail(&envoy, &mut client, "/a");
    script.asked();
    let (start, mut answers) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs(2) || event(&envoy, "probed") < 2 {
        answers.push(client.get("/a"));
        sleep(Duration::from_millis(5));
    }
    (envoy, script, answers)
}

#[test]
fn a_failing_origin_is_asked_now_and_then() {
    for (name, origin) in
        [("protection-fails", Value::Null), ("protection-behind", json!({"cluster": "origin"}))]
    {
        let behind = !origin.is_null();
        let (envoy, script, answers) = outage(name, origin);
        for answer in &answers {
            assert_eq!((answer.status, &*answer.body), (200, &b"old"[..]), "{answer:?}");
            let status = answer.cache_status();
            let unasked = status.starts_with("tiercel; hit; ttl=");
            assert!(unasked || !behind && status.contains("fwd-status=500"), "{status}");
        }
        let asked = script.asked().len();
        assert!((2..=8).contains(&asked), "{asked} of {} in 2 s", answers.len());
        // What nothing stale can answer goes to the origin.
        let mut client = envoy.client();
        let status = client.get("/b").status;
        let asked = script.asked().iter().filter(|asked| asked.target == "/b").count();
        assert_eq!((status, asked), (500, 1));
        script.becomes(|_| reply(200, &FRESH, "new"));
        let start = Instant::now();
        eventually("the new answer", || (client.get("/a").body == b"new").then_some(()));
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        eventually("it to be counted", || {
            (event(&envoy, "closed") == 1 && event(&envoy, "probed") >= 2).then_some(())
        });
    }
}

#[test]
fn an_origin_that_hangs_is_found_out() {
    let scene = Scene::new("protection-hangs");
    let script = Script::start(|_| reply(200, &STALE, "old"));
    let envoy = impatient(&scene, &script);
    let mut client = envoy.client();
    assert_eq!(client.get("/a").status, 200);
    script.hang(true);
    fail(&envoy, &mut client, "/a");
    let mut waited = 0;
    for _ in 0..100 {
        let start = Instant::now();
        let answer = client.get("/a");
        assert_eq!((answer.status, &*answer.body), (200, &b"old"[..]), "{answer:?}");
        waited += u32::from(start.elapsed() >= Duration::from_millis(250));
        sleep(Duration::from_millis(10));
    }
    // A noisy machine may hold some up; the origin would hold up all.
    assert!(waited < 20, "{waited}");
    // New requests are answered again; those that hang go on hanging.
    script.hang(false);
    script.becomes(|_| reply(200, &FRESH, "new"));
    eventually("the new answer", || (client.get("/a").body == b"new").then_some(()));
}

#[test]
fn what_hung_holds_nothing_up_when_the_origin_is_back() {
    let scene = Scene::new("protection-back");
    let script = Script::start(|asked: &Asked| {
        let behind = [("cache-control", "max-age=0, stale-while-revalidate=60, stale-if-error=60")];
        reply(200, if asked.target == "/behind" { &behind[..] } else { &STALE }, "old")
    });
    let envoy = impatient(&scene, &script);
    let mut client = envoy.client();
    for path in ["/a", "/behind"] {
        assert_eq!(client.get(path).status, 200);
    }
    script.hang(true);
    assert_eq!(client.get("/behind").body, b"old");
    fail(&envoy, &mut client, "/a");
    script.hang(false);
    script.becomes(|_| reply(200, &FRESH, "new"));
    let start = Instant::now();
    for path in ["/a", "/behind"] {
        eventually("the new answer", || (client.get(path).body == b"new").then_some(()));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
