//! Two workers: each has its own store, both share their process's and L2.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::scene::{echo_routes, no_routes};
use crate::harness::{Envoy, Origin, PATIENCE, Redis, Scene, Script, eventually, reply};

#[test]
fn every_worker_has_its_own_store_and_l2_is_shared() {
    let scene = Scene::new("workers");
    let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let builder = Envoy::builder("event2table.yaml").origin(origin.port).redis(redis.port);
    let alone = |config: &mut Value| config["shared"] = json!({"budget": "0B"});
    let envoy = builder.config(echo_routes).config(alone).workers(2).start(&scene);
    let first = envoy.client().get("/echo/a");
    envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", 1);
    // Connections are spread over both workers: each takes one copy from Redis or made it itself.
    eventually("both workers to have the entry", || {
        let response = envoy.client().get("/echo/a");
        assert_eq!(response.body, first.body);
        (envoy.metric("tiercel_l1_entries") == 2).then_some(())
    });
    assert_eq!(origin.saw("GET /echo/a"), 1);
    envoy.expect_metric("tiercel_l2_lookups{result=\"hit\"}", 1);
}

#[test]
fn workers_share_what_one_of_them_fetched() {
    let scene = Scene::new("workers-shared");
    let origin = Origin::start(&scene, &[]);
    let builder = Envoy::builder("minimal.yaml").origin(origin.port).config(echo_routes);
    let envoy = builder.workers(2).start(&scene);
    let first = envoy.client().get("/echo/a");
    let shared = eventually("the other worker to be asked", || {
        let response = envoy.client().get("/echo/a");
        assert_eq!(response.body, first.body);
        response.cache_status().contains("detail=shared").then_some(response)
    });
    assert!(shared.is_hit(), "{shared:?}");
    // It has its own from then on.
    for _ in 0..20 {
        assert!(envoy.client().get("/echo/a").cache_status().contains("detail=l1"));
    }
    assert_eq!(origin.saw("GET /echo/a"), 1);
    envoy.expect_metric("tiercel_requests{outcome=\"shared_hit\"}", 1);
    envoy.expect_metric("tiercel_l1_lookups{result=\"shared\"}", 1);
}

#[test]
fn variants_and_other_forms_are_shared_too() {
    let scene = Scene::new("workers-variants");
    let script = Script::start(|asked| {
        let fields = [("cache-control", "max-age=60"), ("vary", "accept"), ("etag", "\"a\"")];
        reply(200, &fields, asked.field("accept").unwrap_or("none"))
    });
    let no_l1 = |config: &mut Value| config["l1"] = json!({"budget": "0B"});
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    let envoy = builder.config(no_l1).start(&scene);
    let mut client = envoy.client();
    for (accept, more, status, body) in [
        ("b", None, 200, "b"),
        ("c", None, 200, "c"),
        ("b", Some(("range", "bytes=0-0")), 206, "b"),
        ("c", Some(("if-none-match", "\"a\"")), 304, ""),
        ("b", Some(("cache-control", "max-age=5")), 200, "b"),
    ] {
        let fields: Vec<_> = [("accept", accept)].into_iter().chain(more).collect();
        let answer = client.request("GET", "/a", &fields, b"");
        assert_eq!((answer.status, answer.body.as_slice()), (status, body.as_bytes()));
        assert_eq!(answer.cache_status().contains("detail=shared"), more.is_some(), "{answer:?}");
    }
}

#[test]
fn a_worker_alone_shares_what_it_does_not_keep() {
    let scene = Scene::new("workers-alone");
    let script = Script::start(|_| reply(200, &[("cache-control", "max-age=60")], "some"));
    let no_l1 = |config: &mut Value| config["l1"] = json!({"budget": "0B"});
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    let envoy = builder.config(no_l1).workers(1).start(&scene);
    let mut client = envoy.client();
    // It takes a second until a worker knows that it is alone.
    for n in 0..25 {
        let path = format!("/{n}");
        client.get(&path);
        assert!(client.get(&path).cache_status().contains("detail=shared"), "{n}");
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_is_shared_outlives_a_vm_and_writes_still_reach_it() {
    let scene = Scene::new("workers-renewed");
    let script = Script::versions(0);
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    let envoy = builder.workers(2).reloadable().start(&scene);
    for path in ["/a", "/b"] {
        envoy.client().get(path);
    }
    envoy.client().request("PUT", "/b", &[], b"");
    envoy.renew_vms();
    // Old and new serve side by side for a moment.
    let kept = eventually("a new VM to be asked", || {
        let answer = envoy.client().get("/a");
        answer.cache_status().contains("detail=shared").then_some(answer)
    });
    assert_eq!(kept.body, b"0");
    assert_eq!(envoy.client().get("/b").body, b"1", "a write from before the new VMs counts");
    let written = envoy.client().request("PUT", "/a", &[], b"").body;
    for _ in 0..20 {
        assert_eq!(envoy.client().get("/a").body, written);
    }
}

#[test]
fn what_is_shared_outlives_a_crash_and_writes_still_reach_it() {
    let scene = Scene::new("workers-crash");
    let script = Script::versions(0);
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    let envoy = builder.with_trap(1).start(&scene);
    for path in ["/a", "/b", "/a", "/b"] {
        envoy.client().get(path);
    }
    envoy.client().request("PUT", "/b", &[], b"");
    let crashed = envoy.client().request("GET", "/a", &[("x-test-trap", "1")], b"");
    assert_eq!(crashed.status, 503, "{crashed:?}");
    let kept = eventually("the new VM to serve", || {
        let answer = envoy.client().get("/a");
        (answer.status == 200).then_some(answer)
    });
    assert!(kept.cache_status().contains("detail=shared"), "{kept:?}");
    assert_eq!(kept.body, b"0");
    assert!(envoy.client().get("/a").cache_status().contains("detail=l1"));
    assert_eq!(envoy.client().get("/b").body, b"1", "a write from before the crash counts");
    envoy.client().request("PUT", "/a", &[], b"");
    assert_eq!(envoy.client().get("/a").body, b"2");
}

#[test]
fn what_a_write_changed_is_stale_though_its_vm_crashed_meanwhile() {
    let scene = Scene::new("workers-crashed-write");
    let script = Script::versions(0);
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    let envoy = builder.with_trap(1).start(&scene);
    let mut reader = envoy.client();
    for path in ["/a", "/b", "/a"] {
        assert_eq!(reader.get(path).body, b"0");
    }
    script.hold(Some("PUT"));
    let mut writer = envoy.client();
    writer.send("PUT", b"/a", &[], b"").expect("a connection");
    script.expect_asked("PUT");
    let crashed = envoy.client().request("GET", "/a", &[("x-test-trap", "1")], b"");
    assert_eq!(crashed.status, 503, "{crashed:?}");
    script.hold(None);
    eventually("what it changed to be read", || {
        (envoy.client().get("/a").body == b"1").then_some(())
    });
    envoy.expect_metric("tiercel_coherence{event=\"orphaned\"}", 1);
    assert_eq!(reader.get("/b").body, b"0", "nobody wrote it");
}

#[test]
fn nobody_waits_for_ever_for_a_vm_that_ends_by_a_panic_or_for_lack_of_memory() {
    for how in ["panic", "memory"] {
        let scene = Scene::new("workers-last-words");
        let script = Script::start(|_| reply(200, &[("cache-control", "max-age=600")], "some"));
        let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
        let envoy = builder.with_trap(1).start(&scene);
        script.hang(true);
        let (mut leader, mut follower) = (envoy.client(), envoy.client());
        leader.send("GET", b"/a", &[], b"").expect("a connection");
        script.expect_asked("GET");
        follower.send("GET", b"/a", &[], b"").expect("a connection");
        envoy.expect_metric("tiercel_collapse{event=\"followed\"}", 1);
        let crashed = envoy.client().request("GET", "/b", &[("x-test-trap", how)], b"");
        assert_eq!(crashed.status, 503, "{crashed:?}");
        let since = Instant::now();
        assert!(follower.read().is_none(), "its connection is closed");
        assert!(since.elapsed() < PATIENCE / 2, "and not by this client");
        script.hang(false);
        assert_eq!(envoy.client().get("/a").body, b"some");
    }
}
