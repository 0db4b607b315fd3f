//! Redis absent, killed, hung, flushed, lying: no request fails, none waits long.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::scene::{echo_l2_only, recovers};
use crate::harness::{Envoy, Origin, Redis, Scene, eventually};

/// Twenty requests for things Redis cannot give: all 200. The bound is far above the L2 time-out of
/// the example, 50 ms, and far below that of the other tests.
fn all_are_served(envoy: &Envoy, name: &str) {
    let mut client = envoy.client();
    for n in 0..20 {
        let start = Instant::now();
        let response = client.get(&format!("/echo/{name}{n}"));
        assert_eq!(response.status, 200);
        assert!(start.elapsed() < Duration::from_secs(5), "waited {:?}", start.elapsed());
    }
}

#[test]
fn redis_absent_at_start_then_there() {
    let scene = Scene::new("l2-absent");
    let origin = Origin::start(&scene, &[]);
    let mut redis = Redis::start(&scene, &[]);
    redis.process.kill();
    let builder = Envoy::builder("event2table.yaml").origin(origin.port).redis(redis.port);
    let envoy = builder.config(echo_l2_only).start(&scene);
    all_are_served(&envoy, "absent");
    envoy.expect_metric("tiercel_l2_lookups{result=\"error\"}", 20);
    // RFC 9211, 2.2: whether there is something for the URI nobody knows.
    let miss = envoy.client().get("/echo/unknown");
    assert!(miss.cache_status().starts_with("tiercel; fwd=miss; fwd-status=200"), "{miss:?}");
    let errors = |kind| envoy.metric(&format!("tiercel_l2_errors{{kind=\"{kind}\"}}"));
    assert!(errors("refused") >= 1 && errors("refused") + errors("degraded") >= 20);
    redis.restart();
    recovers(&envoy);
}

#[test]
fn redis_killed_and_back() {
    let (envoy, _origin, mut redis) = Scene::usual("l2-killed", echo_l2_only);
    recovers(&envoy);
    redis.process.kill();
    all_are_served(&envoy, "killed");
    redis.restart();
    recovers(&envoy);
}

#[test]
fn redis_hung_and_back() {
    let (envoy, _origin, redis) = Scene::as_shipped("l2-hung", echo_l2_only);
    recovers(&envoy);
    redis.process.signal("STOP");
    all_are_served(&envoy, "hung");
    let errors = |kind| envoy.metric(&format!("tiercel_l2_errors{{kind=\"{kind}\"}}"));
    // On a machine that stalls Envoy's health check may notice first.
    eventually("the timeouts to be counted", || {
        (errors("timeout") + errors("refused") >= 1).then_some(())
    });
    // Envoy's health check notices, and nobody waits any more.
    eventually("look-ups to be refused at once", || {
        assert_eq!(envoy.client().get("/echo/hung").status, 200);
        (errors("refused") >= 1).then_some(())
    });
    redis.process.signal("CONT");
    recovers(&envoy);
}

/// The client's leaving and the look-up's timeout meet in one turn of Envoy's event loop.
#[test]
fn clients_that_leave_just_when_redis_times_out() {
    let (envoy, origin, redis) = Scene::usual("l2-leaving", |config| {
        echo_l2_only(config);
        config["l2"]["timeout"] = json!("50ms");
        config["l2"]["health"]["force"] = json!("normal");
    });
    recovers(&envoy);
    redis.process.signal("STOP");
    // Until Redis is well again, the origin is asked for that.
    let others = || origin.total() - origin.saw("GET /echo/recovery");
    let asked = others();
    std::thread::scope(|scope| {
        for client in 0..16 {
            let port = envoy.port;
            scope.spawn(move || {
                for n in 0..20_u64 {
                    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
                    let head =
                        format!("GET /echo/left{client}-{n} HTTP/1.1\r\nhost: api.test\r\n\r\n");
                    stream.write_all(head.as_bytes()).unwrap();
                    std::thread::sleep(Duration::from_millis(45 + n));
                }
            });
        }
    });
    redis.process.signal("CONT");
    recovers(&envoy);
    eventually("every look-up to be counted", || {
        let count = |result| envoy.metric(&format!("tiercel_l2_lookups{{result=\"{result}\"}}"));
        (count("error") + count("abandoned") >= 320 && count("abandoned") > 0).then_some(())
    });
    assert!(others() - asked <= 320);
}

#[test]
fn redis_flushed() {
    let (envoy, origin, redis) = Scene::usual("l2-flushed", echo_l2_only);
    recovers(&envoy);
    let before = origin.total();
    redis.command(&[b"FLUSHALL"]);
    assert_eq!(envoy.client().get("/echo/recovery").status, 200);
    assert_eq!(origin.total(), before + 1);
    recovers(&envoy);
}

#[test]
fn redis_full_or_read_only_still_serves() {
    let (envoy, _origin, redis) = Scene::usual("l2-full", |config| {
        echo_l2_only(config);
        // Every store is refused, though a probe was before.
        config["l2"]["health"]["force"] = json!("normal");
    });
    redis.command(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    all_are_served(&envoy, "full");
    eventually("the refusal to be counted", || {
        (envoy.metric("tiercel_l2_errors{kind=\"oom\"}") >= 1).then_some(())
    });
    redis.command(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    recovers(&envoy);
}

#[test]
fn a_server_that_answers_garbage() {
    let scene = Scene::new("l2-garbage");
    let origin = Origin::start(&scene, &[]);
    let replies: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$999999999\r\nshort",
        b"\0\xff\xfe\r\n\r\n\r\n",
        b"$-7\r\n",
        b"*3\r\n$1\r\na\r\n:1\r\n+x\r\n",
    ];
    for (n, garbage) in replies.into_iter().enumerate() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            // Ends with the test's process; bounded by it.
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut bytes = [0; 4_096];
                    while stream.read(&mut bytes).is_ok_and(|n| n > 0) {
                        if stream.write_all(garbage).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        let builder = Envoy::shipped("event2table.yaml").origin(origin.port).redis(port);
        let envoy = builder.config(echo_l2_only).start(&scene);
        all_are_served(&envoy, &format!("garbage{n}-"));
        envoy.expect_metric("tiercel_l2_lookups{result=\"error\"}", 20);
    }
}

#[test]
fn a_password_that_envoy_does_not_have() {
    let scene = Scene::new("l2-password");
    let origin = Origin::start(&scene, &[]);
    let redis = Redis::start(&scene, &["--requirepass", "secret"]);
    let builder = Envoy::builder("event2table.yaml").origin(origin.port).redis(redis.port);
    let envoy = builder.config(echo_l2_only).start(&scene);
    all_are_served(&envoy, "locked");
    eventually("the refusal to be counted", || {
        (envoy.metric("tiercel_l2_errors{kind=\"auth\"}") >= 20).then_some(())
    });
    assert!(redis.keys().is_empty());
}

#[test]
fn no_more_calls_in_flight_than_allowed() {
    let (envoy, origin, redis) = Scene::usual("l2-bound", |config| {
        echo_l2_only(config);
        config["l2"]["max_in_flight"] = json!(1);
        config["l2"]["max_batch"] = json!(2);
        config["l2"]["timeout"] = json!("2s");
    });
    envoy.client().get("/echo/warm");
    redis.process.signal("STOP");
    std::thread::scope(|scope| {
        for n in 0..16 {
            let mut client = envoy.client();
            scope.spawn(move || assert_eq!(client.get(&format!("/echo/{n}")).status, 200));
        }
    });
    redis.process.signal("CONT");
    eventually("requests to have skipped L2", || {
        (envoy.metric("tiercel_l2_errors{kind=\"saturated\"}") >= 1).then_some(())
    });
    assert_eq!(origin.total(), 17);
}

#[test]
fn a_client_that_leaves_while_l2_is_asked() {
    let (envoy, _origin, redis) = Scene::usual("l2-left", echo_l2_only);
    recovers(&envoy);
    redis.process.signal("STOP");
    for n in 0..10 {
        let mut client = envoy.client();
        client.send("GET", format!("/echo/left{n}").as_bytes(), &[], b"").expect("a connection");
        drop(client);
    }
    redis.process.signal("CONT");
    recovers(&envoy);
    assert!(!envoy.process.log().contains("panicked"));
}
