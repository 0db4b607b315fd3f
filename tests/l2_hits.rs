//! Redis behind redis_proxy: fills, hits, expiry, what is in it.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;
use tiercel::coherence::Stamp;
use tiercel::entry;
use tiercel::http::fields::FieldsBuf;
use tiercel::http::key::Key;
use tiercel::secrets::Secrets;

use crate::harness::scene::{echo_routes, l2_only};
use crate::harness::{Envoy, Origin, Redis, Scene, eventually, reply};

#[test]
fn a_restarted_envoy_is_served_from_redis_and_refills_l1() {
    let scene = Scene::new("l2-hit");
    let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let start = || {
        let builder = Envoy::builder("event2table.yaml").origin(origin.port).redis(redis.port);
        builder.config(echo_routes).start(&scene)
    };
    let first = {
        let envoy = start();
        let first = envoy.client().get("/echo/a?size=4096");
        envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", 1);
        first
    };
    let envoy = start();
    let mut client = envoy.client();
    let second = client.get("/echo/a?size=4096");
    assert!(second.cache_status().ends_with("; detail=l2"), "{}", second.cache_status());
    assert_eq!((second.status, &second.body), (200, &first.body));
    assert_eq!(second.field("content-type"), first.field("content-type"));
    assert!(client.get("/echo/a?size=4096").cache_status().ends_with("; detail=l1"));
    let head = client.request("HEAD", "/echo/a?size=4096", &[], b"");
    assert!(head.is_hit() && head.body.is_empty());
    assert_eq!(origin.total(), 1);
}

#[test]
fn entries_in_redis_are_sound_compressed_and_expire() {
    let (envoy, _origin, redis) = Scene::usual("l2-form", |config| {
        echo_routes(config);
        config["l2"]["ttl_factor"] = json!(2.0);
    });
    let body = envoy.client().get("/echo/a?size=8192").body;
    let key = b"http://api.test/echo/a?size=8192";
    let name = tiercel::l2::redis_key("e2t:", Key::new(key).hash());
    let bytes = eventually("the entry in Redis", || {
        (redis.command(&[b"EXISTS", name.as_bytes()]) == "1").then(|| redis.get(&name))
    });
    let (stored, _) =
        entry::decode(&bytes, &Key::new(key), 1 << 20, &Secrets::default()).expect("a sound entry");
    assert_eq!(stored.body(), body);
    assert!(bytes.len() < body.len() / 2, "{} bytes are not compressed", bytes.len());
    let expiry: i64 = redis.command(&[b"PTTL", name.as_bytes()]).parse().unwrap();
    assert!((100_000..=120_000).contains(&expiry), "{expiry} ms for twice 60 s");
}

#[test]
fn stale_entries_of_redis_are_not_served() {
    let (envoy, origin, _redis) = Scene::usual("l2-stale", |config| {
        echo_routes(config);
        config["routes"][0]["ttl"] = "3s".into();
        l2_only(config);
        config["l2"]["ttl_factor"] = json!(100.0);
    });
    let mut client = envoy.client();
    client.get("/echo/a");
    envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", 1);
    assert!(client.get("/echo/a").cache_status().ends_with("detail=l2"));
    sleep(Duration::from_millis(3_200));
    assert!(client.get("/echo/a").cache_status().starts_with("tiercel; fwd=stale"));
    envoy.expect_metric("tiercel_l2_lookups{result=\"stale\"}", 1);
    assert_eq!(origin.total(), 2);
}

#[test]
fn one_pooled_connection_and_batches_under_load() {
    let (envoy, origin, redis) = Scene::usual("l2-load", |config| {
        echo_routes(config);
        l2_only(config);
    });
    for n in 0..20 {
        envoy.client().get(&format!("/echo/{n}?size=2000&plain=1"));
    }
    envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", 20);
    let before = redis.info("total_connections_received");
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let mut client = envoy.client();
            scope.spawn(move || {
                for n in 0..50 {
                    let path = format!("/echo/{}?size=2000&plain=1", (thread + n) % 20);
                    let response = client.get(&path);
                    assert!(response.cache_status().ends_with("detail=l2"), "{response:?}");
                }
            });
        }
    });
    assert_eq!(origin.total(), 20);
    // One connection of Envoy, made long ago; the other is this very question.
    assert_eq!(redis.info("total_connections_received") - before, 1);
    envoy.expect_metric("tiercel_l2_lookups{result=\"hit\"}", 800);
    // Envoy shows distributions some seconds later.
    let batches = eventually("the calls to be counted", || {
        Some(envoy.metric("tiercel_l2_batch_size_count")).filter(|count| *count > 0)
    });
    assert!(batches <= 820, "{batches} calls for 820 look-ups");
}

#[test]
fn other_versions_truncated_and_corrupted_values_are_misses() {
    let (envoy, origin, redis) = Scene::usual("l2-corrupt", |config| {
        echo_routes(config);
        l2_only(config);
    });
    let mut client = envoy.client();
    let first = client.get("/echo/a?plain=1&size=100");
    let key = b"http://api.test/echo/a?plain=1&size=100";
    let name = tiercel::l2::redis_key("e2t:", Key::new(key).hash());
    envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", 1);
    let good = redis.get(&name);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut version = good.clone();
    version[2] = 9;
    let other = entry::Entry::new(
        entry::Meta { status: 200, fresh_until_ms: u64::MAX, ..entry::Meta::default() },
        Key::new(b"http://api.test/echo/other"),
        FieldsBuf::default().to_block(),
        (*b"the wrong body").into(),
    );
    let stored_again = |n| envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", n);
    for (n, (bytes, kind)) in [
        (flipped, "checksum"),
        (version, "version"),
        (good[..good.len() - 1].to_vec(), "truncated"),
        (Vec::new(), "truncated"),
        (b"not an entry of ours, but longer than its header would be. ".repeat(2), "version"),
        (entry::encode(&other, Stamp::default(), usize::MAX, &Secrets::default()), "other_key"),
    ]
    .into_iter()
    .enumerate()
    {
        redis.command(&[b"SET", name.as_bytes(), &bytes]);
        let before = envoy.metric(&format!("tiercel_l2_corrupt{{kind=\"{kind}\"}}"));
        let response = client.get("/echo/a?plain=1&size=100");
        assert_eq!((response.status, &response.body), (200, &first.body), "{kind}");
        assert!(!response.is_hit(), "{kind}");
        envoy.expect_metric(&format!("tiercel_l2_corrupt{{kind=\"{kind}\"}}"), before + 1);
        stored_again(n as u64 + 2);
    }
    assert_eq!(origin.total(), 7);
    redis.command(&[b"DEL", name.as_bytes()]);
    redis.command(&[b"LPUSH", name.as_bytes(), b"a list"]);
    assert_eq!(client.get("/echo/a?plain=1&size=100").body, first.body);
    envoy.expect_metric("tiercel_l2_errors{kind=\"server\"}", 1);
}

#[test]
fn hits_from_redis_take_the_form_that_is_asked_for() {
    let fields = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let (envoy, script, _redis) =
        Scene::scripted_l2("l2-forms", l2_only, move |_| reply(200, &fields, "0123456789"));
    let mut client = envoy.client();
    client.get("/a");
    envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", 1);
    for (field, status, body) in [
        (("if-none-match", "\"a\""), 304, &b""[..]),
        (("range", "bytes=2-3"), 206, b"23"),
        (("range", "bytes=10-"), 416, b""),
        (("cache-control", "only-if-cached"), 200, b"0123456789"),
        (("cache-control", "min-fresh=10"), 200, b"0123456789"),
    ] {
        let response = client.request("GET", "/a", &[field], b"");
        assert!(response.cache_status().ends_with("detail=l2"), "{field:?}: {response:?}");
        assert_eq!((response.status, &response.body[..]), (status, body), "{field:?}");
    }
    let reload = client.request("GET", "/a", &[("cache-control", "no-cache")], b"");
    assert!(reload.cache_status().starts_with("tiercel; fwd=request"), "{reload:?}");
    assert_eq!(script.asked().len(), 2);
}
