//! Several instances with one Redis fetch once, where the route says so.

use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::scene::{follows, no_routes};
use crate::harness::{Envoy, Redis, Response, Scene, Script, eventually, reply};

/// How long some origin takes for what is asked one by one.
const LATE: Duration = Duration::from_secs(10);

const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=60")];

/// So many instances of the same fleet, with two workers each.
fn fleet(
    scene: &Scene,
    script: &Script,
    redis: &Redis,
    count: usize,
    change: impl Fn(&mut Value),
) -> Vec<Envoy> {
    let start = |_| {
        let builder = Envoy::builder("event2table.yaml").origin(script.port).redis(redis.port);
        let builder = builder.config(no_routes).config(|config| {
            config["defaults"] = json!({"collapse": "fleet"});
            config["origin"] = json!({"cluster": "origin"});
            change(config);
        });
        let envoy = builder.workers(2).start(scene);
        // What nobody can trust is not stored: the table must be known first.
        follows(&envoy);
        envoy
    };
    (0..count).map(start).collect()
}

/// So many clients of each instance ask at the same moment.
fn crowd(envoys: &[Envoy], count: usize, path: &str) -> Vec<Response> {
    let ready = Barrier::new(envoys.len() * count);
    std::thread::scope(|scope| {
        let clients = envoys.iter().flat_map(|envoy| (0..count).map(move |_| envoy));
        let clients: Vec<_> = clients
            .map(|envoy| {
                let ready = &ready;
                scope.spawn(move || {
                    let mut client = envoy.client();
                    ready.wait();
                    client.get(path)
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn a_crowd_on_several_instances_is_one_request() {
    let scene = Scene::new("fleet-crowd");
    let (script, redis) = (Script::slow(300, &FRESH), Redis::start(&scene, &[]));
    let envoys = fleet(&scene, &script, &redis, 3, |_| {});
    for round in 0..4 {
        let path = format!("/{round}");
        let all = crowd(&envoys, 10, &path);
        assert_eq!(script.asked().len(), 1, "round {round}");
        for answer in &all {
            assert_eq!((answer.status, &answer.body), (200, &all[0].body), "{answer:?}");
        }
    }
    let leases = || redis.keys().into_iter().filter(|key| key.contains(":lease")).count();
    eventually("leases to be given back", || (leases() == 0).then_some(()));
}

#[test]
fn when_the_instance_that_asks_dies_another_one_asks() {
    let scene = Scene::new("fleet-died");
    let (script, redis) = (Script::slow(0, &FRESH), Redis::start(&scene, &[]));
    let envoys = fleet(&scene, &script, &redis, 2, |_| {});
    script.hold(Some("GET"));
    let asked = |path: &str| script.asked().iter().any(|asked| asked.target == path);
    // A machine that stalls may hinder the one who asks from renewing its lease; not each time.
    let renewed = (0..3).find_map(|attempt| {
        let (mut first, mut waits) = (envoys[0].client(), envoys[1].client());
        let path = format!("/{attempt}");
        first.send("GET", path.as_bytes(), &[], b"").unwrap();
        eventually("the origin to be asked", || asked(&path).then_some(()));
        let followed = || envoys[1].metric("tiercel_collapse{event=\"followed\"}");
        let before = followed();
        waits.send("GET", path.as_bytes(), &[], b"").unwrap();
        eventually("the other one to wait", || (followed() > before).then_some(()));
        // For longer than a lease holds that is not renewed.
        sleep(Duration::from_millis(2_500));
        (!asked(&path)).then_some((first, waits, path))
    });
    let (_first, mut waits, path) = renewed.expect("a lease that is renewed");
    envoys[0].process.signal("KILL");
    let start = Instant::now();
    eventually("the other one to ask", || asked(&path).then_some(()));
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    script.hold(None);
    assert_eq!(waits.read().map(|answer| answer.status), Some(200));
}

#[test]
fn what_is_not_to_be_shared_holds_no_instance_up() {
    let scene = Scene::new("fleet-unshared");
    let script = Script::slow(20, &[("cache-control", "no-store")]);
    let redis = Redis::start(&scene, &[]);
    let envoys = fleet(&scene, &script, &redis, 2, |_| {});
    let quick = (0..3).any(|round| {
        let path = format!("/{round}");
        let all = crowd(&envoys, 5, &path);
        let mut bodies: Vec<_> = all.iter().map(|answer| answer.body.clone()).collect();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), 10, "each has an answer of its own");
        let start = Instant::now();
        for envoy in &envoys {
            assert_eq!(envoy.client().get(&path).status, 200);
        }
        start.elapsed() < Duration::from_secs(1)
    });
    assert!(quick, "nobody waits for another instance, however the machine stalls");
}

#[test]
fn without_redis_each_instance_asks() {
    let scene = Scene::new("fleet-alone");
    let (script, mut redis) = (Script::slow(100, &FRESH), Redis::start(&scene, &[]));
    let envoys = fleet(&scene, &script, &redis, 2, |_| {});
    redis.process.kill();
    for answer in crowd(&envoys, 10, "/a") {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(script.asked().len(), 2);
}

#[test]
fn a_client_that_leaves_lets_another_instance_ask() {
    let scene = Scene::new("fleet-left");
    let (script, redis) = (Script::slow(0, &FRESH), Redis::start(&scene, &[]));
    let envoys = fleet(&scene, &script, &redis, 2, |_| {});
    script.hold(Some("GET"));
    let mut first = envoys[0].client();
    first.send("GET", b"/a", &[], b"").unwrap();
    script.expect_asked("GET");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| envoys[1].client().get("/a"));
        eventually("the other one to wait", || {
            (envoys[1].metric("tiercel_collapse{event=\"followed\"}") > 0).then_some(())
        });
        drop(first);
        script.expect_asked("GET");
        script.hold(None);
        assert_eq!(waits.join().unwrap().status, 200);
    });
}

#[test]
fn what_is_stale_everywhere_is_refreshed_once() {
    let scene = Scene::new("fleet-stale");
    let mut count = 0;
    let script = Script::start(move |_| {
        count += 1;
        let first = "max-age=2, stale-while-revalidate=60";
        let fields = [("cache-control", if count == 1 { first } else { "max-age=60" })];
        reply(200, &fields, &format!("/a {count}"))
    });
    let redis = Redis::start(&scene, &[]);
    let envoys = fleet(&scene, &script, &redis, 2, |config| {
        config["defaults"]["early_refresh"] = 0.into();
    });
    crowd(&envoys, 2, "/a");
    assert_eq!(script.asked().len(), 1);
    sleep(Duration::from_millis(2_200));
    script.hold(Some("GET"));
    for answer in crowd(&envoys, 8, "/a") {
        assert_eq!((answer.status, &*answer.body), (200, &b"/a 1"[..]), "{answer:?}");
        assert!(answer.cache_status().starts_with("tiercel; hit; ttl=-"), "{answer:?}");
    }
    script.hold(None);
    eventually("all to have what is new", || {
        let all = crowd(&envoys, 4, "/a");
        all.iter().all(|answer| answer.body == b"/a 2").then_some(())
    });
    assert_eq!(script.asked().len(), 1);
}

#[test]
fn a_fetch_on_a_clients_behalf_is_the_fleets() {
    let scene = Scene::new("fleet-detached");
    let (script, redis) = (Script::slow(200, &FRESH), Redis::start(&scene, &[]));
    let envoys = fleet(&scene, &script, &redis, 2, |config| {
        config["defaults"]["fetch"] = "detached".into();
    });
    let all = crowd(&envoys, 5, "/a");
    assert!(all.iter().all(|answer| answer.body == b"/a 1"), "{all:?}");
    assert_eq!(script.asked().len(), 1);
}

#[test]
fn what_varies_is_one_request_too() {
    let scene = Scene::new("fleet-varies");
    let fields = &[("cache-control", "max-age=60"), ("vary", "x-lang")];
    let (script, redis) = (Script::slow(300, fields), Redis::start(&scene, &[]));
    let envoys = fleet(&scene, &script, &redis, 3, |_| {});
    for round in 0..4 {
        let all = crowd(&envoys, 3, &format!("/{round}"));
        assert!(all.iter().all(|answer| answer.status == 200), "{all:?}");
        assert_eq!(script.asked().len(), 1, "round {round}");
    }
}

#[test]
fn what_must_be_validated_each_time_keeps_no_instance_from_asking() {
    let scene = Scene::new("fleet-validated");
    let fields = &[("cache-control", "max-age=0"), ("etag", "\"a\"")];
    let (script, redis) = (Script::slow(200, fields), Redis::start(&scene, &[]));
    let envoys = fleet(&scene, &script, &redis, 2, |_| {});
    // Each asks all the time.
    let typical: Vec<_> = std::thread::scope(|scope| {
        let clients = envoys.iter().map(|envoy| {
            scope.spawn(|| {
                let (mut client, begin) = (envoy.client(), Instant::now());
                let mut took = Vec::new();
                while begin.elapsed() < Duration::from_secs(4) {
                    let start = Instant::now();
                    assert_eq!(client.get("/a").status, 200);
                    took.push(start.elapsed());
                }
                took.sort();
                took[took.len() / 2]
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    // The origin takes 200 ms, and is asked for the other instance before.
    assert!(typical.iter().all(|took| *took < Duration::from_millis(1_500)), "{typical:?}");
}

/// An origin that answers the first request soon, and others when there are so many of them, or late.
fn unhurried(others: usize) -> u16 {
    use std::io::{Read, Write};
    let came = Arc::new((Mutex::new(0), Condvar::new()));
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let came = Arc::clone(&came);
            std::thread::spawn(move || {
                let mut bytes = [0; 8_192];
                while stream.read(&mut bytes).is_ok_and(|len| len > 0) {
                    let mut count = came.0.lock().unwrap();
                    *count += 1;
                    came.1.notify_all();
                    if *count == 1 {
                        drop(count);
                        sleep(Duration::from_millis(300));
                    } else {
                        let few = |count: &mut usize| *count <= others;
                        drop(came.1.wait_timeout_while(count, LATE, few).unwrap());
                    }
                    let head =
                        "HTTP/1.1 200 X\r\ncache-control: no-store\r\ncontent-length: 3\r\n\r\n";
                    if write!(stream, "{head}own").is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn what_is_not_to_be_shared_is_asked_for_by_all_at_once() {
    let scene = Scene::new("fleet-unhurried");
    let (mut script, redis) = (Script::slow(0, &FRESH), Redis::start(&scene, &[]));
    script.port = unhurried(2);
    let envoys = fleet(&scene, &script, &redis, 3, |_| {});
    let start = Instant::now();
    let all = crowd(&envoys, 1, "/a");
    assert!(all.iter().all(|answer| &*answer.body == b"own"), "{all:?}");
    assert!(start.elapsed() < LATE, "one after the other: {:?}", start.elapsed());
}
