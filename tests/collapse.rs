//! Requests for the same thing at the same time become one request to the origin.

use std::sync::Barrier;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::scene::no_routes;
use crate::harness::{Asked, Client, Envoy, Response, Scene, Script, eventually, reply};

const MAX_AGE: [(&str, &str); 1] = [("cache-control", "max-age=60")];

fn start(scene: &Scene, script: &Script, workers: u32, change: impl FnOnce(&mut Value)) -> Envoy {
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    builder.config(change).workers(workers).start(scene)
}

/// So many clients ask at the same moment.
fn crowd(envoy: &Envoy, count: usize, fields: &[(&str, &str)], path: &str) -> Vec<Response> {
    let ready = Barrier::new(count);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = envoy.client();
                    ready.wait();
                    client.request("GET", path, fields, b"")
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

fn collapse(envoy: &Envoy, event: &str) -> u64 {
    envoy.metric(&format!("tiercel_collapse{{event=\"{event}\"}}"))
}

#[test]
fn a_crowd_on_a_cold_key_is_one_request() {
    let scene = Scene::new("collapse-crowd");
    let script = Script::slow(0, &MAX_AGE);
    let envoy = start(&scene, &script, 2, |_| {});
    for round in 0..5 {
        let path = format!("/{round}");
        let all_but_one = collapse(&envoy, "followed") + 59;
        let wait = || collapse(&envoy, "followed") >= all_but_one;
        let all = script.hold_until("all to wait", wait, || crowd(&envoy, 60, &[], &path));
        assert_eq!(script.asked().len(), 1, "round {round}");
        for answer in &all {
            assert_eq!((answer.status, &answer.body), (200, &all[0].body), "{answer:?}");
        }
        let collapsed = |answer: &&Response| answer.cache_status().contains("; collapsed");
        let waited: Vec<_> = all.iter().filter(collapsed).collect();
        assert_eq!(waited.len(), 59);
        let status = waited[0].cache_status();
        assert!(status.starts_with("tiercel; fwd=uri-miss; ttl="), "{status}");
        assert!(waited[0].field("age").is_some());
    }
    eventually("all to be counted", || {
        let followed = collapse(&envoy, "followed");
        (followed > 0 && envoy.metric("tiercel_requests{outcome=\"collapsed\"}") == followed)
            .then_some(())
    });
}

#[test]
fn whoever_waits_gets_the_form_it_asked_for() {
    let scene = Scene::new("collapse-forms");
    let fields = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let script = Script::slow(0, fields);
    let envoy = start(&scene, &script, 1, |_| {});
    script.hold(Some("GET"));
    std::thread::scope(|scope| {
        scope.spawn(|| envoy.client().get("/a"));
        script.expect_asked("GET");
        for (method, name, value, status, body) in [
            ("GET", "range", "bytes=0-1", 206, "/a"),
            ("GET", "if-none-match", "\"a\"", 304, ""),
            ("HEAD", "accept", "*/*", 200, ""),
            ("GET", "accept", "*/*", 200, "/a 1"),
        ] {
            let envoy = &envoy;
            scope.spawn(move || {
                let answer = envoy.client().request(method, "/a", &[(name, value)], b"");
                assert_eq!((answer.status, &*answer.body), (status, body.as_bytes()), "{name}");
                assert!(answer.cache_status().contains("collapsed"), "{answer:?}");
            });
        }
        envoy.expect_metric("tiercel_collapse{event=\"followed\"}", 4);
        script.hold(None);
    });
    assert!(script.asked().is_empty());
}

#[test]
fn what_is_not_to_be_shared_holds_nobody_up() {
    let scene = Scene::new("collapse-unshared");
    let script = Script::slow(50, &[("cache-control", "no-store")]);
    let envoy = start(&scene, &script, 1, |_| {});
    // The first crowd learns it; each of them has an answer of its own.
    let wait = || collapse(&envoy, "followed") == 19;
    let all = script.hold_until("all to wait", wait, || crowd(&envoy, 20, &[], "/a"));
    let mut bodies: Vec<_> = all.iter().map(|answer| answer.body.clone()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 20);
    eventually("it to be known", || (collapse(&envoy, "unshared") > 0).then_some(()));
    let known = collapse(&envoy, "followed");
    crowd(&envoy, 20, &[], "/a");
    sleep(Duration::from_millis(200));
    assert_eq!(collapse(&envoy, "followed"), known, "nobody waits any more");
}

#[test]
fn requests_that_differ_do_not_answer_each_other() {
    let scene = Scene::new("collapse-vary");
    let script = Script::start(|asked: &Asked| {
        let fields = [("cache-control", "max-age=60"), ("vary", "accept-language")];
        reply(200, &fields, asked.field("accept-language").unwrap_or("none"))
    });
    let envoy = start(&scene, &script, 2, |_| {});
    let wait = || collapse(&envoy, "followed") >= 29;
    script.hold_until("all to wait", wait, || {
        std::thread::scope(|scope| {
            for language in ["en", "fr", "de"] {
                let envoy = &envoy;
                scope.spawn(move || {
                    for answer in crowd(envoy, 10, &[("accept-language", language)], "/a") {
                        assert_eq!(answer.body, language.as_bytes(), "{answer:?}");
                    }
                });
            }
        });
    });
    let asked = script.asked().len();
    assert!((3..=6).contains(&asked), "{asked} requests for three variants");
}

#[test]
fn a_write_meanwhile_is_seen_by_whoever_came_after_it() {
    let scene = Scene::new("collapse-write");
    let mut version = 1;
    let script = Script::start(move |asked: &Asked| {
        if asked.method != "GET" {
            version += 1;
            return reply(200, &[], &version.to_string());
        }
        let body = version.to_string();
        reply(200, &MAX_AGE, &body)
    });
    let envoy = start(&scene, &script, 2, |_| {});
    script.hold(Some("GET"));
    std::thread::scope(|scope| {
        let early = scope.spawn(|| envoy.client().get("/a"));
        script.expect_asked("GET");
        assert_eq!(envoy.client().request("PUT", "/a", &[], b"").body, b"2");
        let late: Vec<_> = (0..10).map(|_| scope.spawn(|| envoy.client().get("/a"))).collect();
        sleep(Duration::from_millis(200));
        script.hold(None);
        assert_eq!(early.join().unwrap().body, b"1");
        for answer in late {
            assert_eq!(answer.join().unwrap().body, b"2");
        }
    });
}

#[test]
fn when_the_one_who_asks_leaves_the_next_one_asks() {
    let scene = Scene::new("collapse-left");
    let script = Script::slow(0, &MAX_AGE);
    let envoy = start(&scene, &script, 2, |_| {});
    for round in 0..10 {
        let path = format!("/{round}");
        script.hold(Some("GET"));
        let mut first = envoy.client();
        first.send("GET", path.as_bytes(), &[], b"").unwrap();
        script.expect_asked("GET");
        let followed = collapse(&envoy, "followed");
        std::thread::scope(|scope| {
            let all = scope.spawn(|| crowd(&envoy, 12, &[], &path));
            eventually("the others to wait", || {
                (collapse(&envoy, "followed") >= followed + 12).then_some(())
            });
            drop(first);
            script.expect_asked("GET");
            script.hold(None);
            for answer in all.join().unwrap() {
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        });
        assert!(script.asked().is_empty());
    }
    eventually("others to have asked in its place", || {
        (collapse(&envoy, "took_over") >= 10).then_some(())
    });
}

#[test]
fn nobody_waits_for_longer_than_the_limit() {
    let scene = Scene::new("collapse-wait");
    let script = Script::start(|asked: &Asked| {
        reply(200, &MAX_AGE, asked.field("x-who").unwrap_or("leader"))
    });
    script.hold(Some("GET"));
    let envoy = start(&scene, &script, 1, |config| {
        config["waiting"] = json!({"longest": "3s"});
    });
    std::thread::scope(|scope| {
        scope.spawn(|| envoy.client().get("/a"));
        script.expect_asked("GET");
        let start = Instant::now();
        let waits = scope.spawn(|| envoy.client().get("/a"));
        script.expect_asked("GET");
        assert!(start.elapsed() >= Duration::from_millis(2_900), "{:?}", start.elapsed());
        script.hold(None);
        assert_eq!(waits.join().unwrap().status, 200);
    });
    eventually("it to be counted", || (collapse(&envoy, "waited") == 1).then_some(()));
}

#[test]
fn no_more_wait_than_may() {
    let scene = Scene::new("collapse-limit");
    let script = Script::slow(0, &MAX_AGE);
    let envoy = start(&scene, &script, 1, |config| {
        config["waiting"] = json!({"max": 8, "max_per_key": 5});
    });
    let wait = || (collapse(&envoy, "followed"), collapse(&envoy, "limit")) == (5, 6);
    let all = script.hold_until("as many to wait as may", wait, || crowd(&envoy, 12, &[], "/a"));
    assert!(all.iter().all(|answer| answer.status == 200));
    assert_eq!(script.asked().len(), 1 + 12 - 1 - 5);
}

#[test]
fn a_route_may_do_without() {
    let scene = Scene::new("collapse-none");
    let script = Script::slow(0, &MAX_AGE);
    let envoy = start(&scene, &script, 1, |config| {
        config["defaults"] = json!({"collapse": "none"});
    });
    let mut asked = 0;
    let ask = || {
        asked += script.asked().len();
        asked == 5
    };
    script.hold_until("all to be asked for", ask, || crowd(&envoy, 5, &[], "/a"));
    assert!(script.asked().is_empty());
}

#[test]
fn an_error_is_everybodys_own_unless_something_stale_may_hide_it() {
    let scene = Scene::new("collapse-error");
    let script = Script::start(|_| {
        reply(200, &[("cache-control", "max-age=0, stale-if-error=60"), ("etag", "\"a\"")], "old")
    });
    let envoy = start(&scene, &script, 1, |_| {});
    envoy.client().get("/a");
    script.becomes(|_| reply(503, &[], "down"));
    script.asked();
    let wait = || collapse(&envoy, "followed") == 9;
    for answer in script.hold_until("all to wait", wait, || crowd(&envoy, 10, &[], "/a")) {
        assert_eq!((answer.status, &*answer.body), (200, &b"old"[..]), "{answer:?}");
        assert!(answer.cache_status().contains("detail=stale_if_error"), "{answer:?}");
    }
    assert_eq!(script.asked().len(), 1);
    for answer in crowd(&envoy, 10, &[], "/b") {
        assert_eq!((answer.status, &*answer.body), (503, &b"down"[..]), "{answer:?}");
    }
    assert_eq!(script.asked().len(), 10);
}

#[test]
fn when_the_vm_of_the_one_who_asks_crashes_another_worker_asks() {
    let scene = Scene::new("collapse-crash");
    let script = Script::slow(0, &MAX_AGE);
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    // Each worker has a copy of its own: that tells which of them a connection is with.
    let alone = |config: &mut Value| config["shared"] = json!({"budget": "0B"});
    let envoy = builder.config(alone).with_trap(1).workers(2).start(&scene);
    let mut groups: Vec<(Vec<u8>, Vec<Client>)> = Vec::new();
    let (mut here, mut there) = eventually("connections to both workers", || {
        let mut client = envoy.client();
        let body = client.get("/which").body;
        match groups.iter_mut().find(|(known, _)| *known == body) {
            Some((_, clients)) => clients.push(client),
            None => groups.push((body, vec![client])),
        }
        (groups.len() == 2 && groups.iter().all(|(_, clients)| clients.len() >= 2))
            .then(|| (groups.pop().unwrap().1, groups.pop().unwrap().1))
    });
    script.asked();
    script.hold(Some("GET"));
    here[0].send("GET", b"/a", &[], b"").unwrap();
    script.expect_asked("GET");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| there[0].get("/a"));
        eventually("the other worker to wait", || (collapse(&envoy, "followed") > 0).then_some(()));
        let crashed = here[1].request("GET", "/b", &[("x-test-trap", "1")], b"");
        assert_eq!(crashed.status, 503, "{crashed:?}");
        let start = Instant::now();
        script.expect_asked("GET");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        script.hold(None);
        let answer = waits.join().unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    });
}
