//! A read after a write sees it, in every worker and every instance.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::scene::{l2_only, no_routes};
use crate::harness::{Client, Envoy, Redis, Scene, Script, eventually};

fn number(response: &crate::harness::Response) -> u64 {
    assert_eq!(response.status, 200, "{response:?}");
    String::from_utf8(response.body.clone()).unwrap().parse().unwrap()
}

fn start(scene: &Scene, script: &Script, redis: &Redis, change: impl FnOnce(&mut Value)) -> Envoy {
    let builder = Envoy::builder("event2table.yaml").origin(script.port).redis(redis.port);
    builder.config(no_routes).config(change).workers(2).start(scene)
}

/// Connections to both workers, each of which has `path` in its store.
fn connections(envoy: &Envoy, path: &str) -> Vec<Client> {
    let mut all: Vec<Client> = Vec::new();
    eventually("both workers to have it", || {
        let mut client = envoy.client();
        client.get(path);
        all.push(client);
        (envoy.metric("tiercel_l1_entries") >= 2).then_some(())
    });
    all
}

#[test]
fn a_write_is_seen_by_every_worker_at_once() {
    let scene = Scene::new("coherence-workers");
    let script = Script::versions(1);
    let redis = Redis::start(&scene, &[]);
    let envoy = start(&scene, &script, &redis, |_| {});
    let mut clients = connections(&envoy, "/a");
    let count = clients.len();
    for round in 0..100 {
        let written = number(&clients[round % count].request("PUT", "/a", &[], b""));
        for client in &mut clients {
            assert_eq!(number(&client.get("/a")), written, "round {round}");
        }
    }
    let outcome = |name| envoy.metric(&format!("tiercel_requests{{outcome=\"{name}\"}}"));
    assert!(outcome("l1_hit") + outcome("shared_hit") > 0);
    // More for an answer that ended late.
    eventually("all to be published", || {
        (envoy.metric("tiercel_coherence{event=\"published\"}") >= 100).then_some(())
    });
}

#[test]
fn a_write_without_l2_is_seen_by_every_worker_at_once() {
    let scene = Scene::new("coherence-l1");
    let script = Script::versions(1);
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    let envoy = builder.workers(2).start(&scene);
    let mut clients = connections(&envoy, "/a");
    let count = clients.len();
    for round in 0..100 {
        let written = number(&clients[round % count].request("PUT", "/a", &[], b""));
        assert!(clients.iter_mut().all(|client| number(&client.get("/a")) == written));
    }
}

#[test]
fn a_write_through_one_instance_reaches_the_other() {
    let scene = Scene::new("coherence-instances");
    let script = Script::versions(1);
    let redis = Redis::start(&scene, &[]);
    let (one, two) =
        (start(&scene, &script, &redis, |_| {}), start(&scene, &script, &redis, |_| {}));
    let mut readers = connections(&two, "/a");
    for _ in 0..10 {
        let written = number(&one.client().request("PUT", "/a", &[], b""));
        eventually("all of the other instance to see it", || {
            readers.iter_mut().all(|client| number(&client.get("/a")) == written).then_some(())
        });
    }
    // What one instance fetched the other finds in Redis.
    let hits = two.metric("tiercel_l2_lookups{result=\"hit\"}");
    eventually("a hit in Redis", || {
        one.client().request("PUT", "/a", &[], b"");
        // Not stored before Redis has confirmed what the write changed.
        let stores = |result| one.metric(&format!("tiercel_l2_stores{{result=\"{result}\"}}"));
        let ended = || stores("stored") + stores("overtaken");
        let before = ended();
        one.client().get("/a");
        eventually("it to be stored or not", || (ended() > before).then_some(()));
        readers[0].get("/a");
        (two.metric("tiercel_l2_lookups{result=\"hit\"}") > hits).then_some(())
    });
}

/// With no L1 in the way, what Redis knows counts at once.
#[test]
fn a_hit_in_l2_is_valid_against_every_write_that_redis_knows() {
    let scene = Scene::new("coherence-l2");
    let script = Script::versions(1);
    let redis = Redis::start(&scene, &[]);
    let no_l1 = |config: &mut Value| {
        l2_only(config);
        config["coherence"] = json!({"feed_interval": "60s"});
    };
    let (one, two) = (start(&scene, &script, &redis, no_l1), start(&scene, &script, &redis, no_l1));
    let (mut writer, mut reader) = (one.client(), two.client());
    let confirmed = || one.metric("tiercel_coherence{event=\"confirmed\"}");
    for _ in 0..20 {
        let before = confirmed();
        let written = number(&writer.request("PUT", "/a", &[], b""));
        eventually("Redis to know it", || (confirmed() > before).then_some(()));
        assert_eq!(number(&reader.get("/a")), written);
        assert_eq!(number(&writer.get("/a")), written);
    }
    assert!(two.metric("tiercel_l2_lookups{result=\"invalid\"}") > 0);
}

#[test]
fn what_redis_missed_is_told_when_it_is_back() {
    let scene = Scene::new("coherence-outage");
    let script = Script::versions(1);
    let mut redis = Redis::start(&scene, &["--appendonly", "yes", "--appendfsync", "always"]);
    let quick = |config: &mut Value| config["l2"]["timeout"] = json!("50ms");
    let (one, two) = (start(&scene, &script, &redis, quick), start(&scene, &script, &redis, quick));
    let mut readers = connections(&two, "/a");
    one.client().get("/a");
    redis.process.kill();
    let written = number(&one.client().request("PUT", "/a", &[], b""));
    assert_eq!(number(&one.client().get("/a")), written);
    eventually("Redis to miss it", || {
        (one.metric("tiercel_coherence{event=\"not_confirmed\"}") > 0).then_some(())
    });
    redis.restart();
    eventually("the other instance to see it", || {
        readers.iter_mut().all(|client| number(&client.get("/a")) == written).then_some(())
    });
    assert_eq!(one.metric("tiercel_coherence{event=\"lost\"}"), 0, "nothing was lost");
}

#[test]
fn a_flushed_redis_is_not_trusted_with_what_it_held() {
    let scene = Scene::new("coherence-flush");
    let script = Script::versions(1);
    let redis = Redis::start(&scene, &[]);
    let (one, two) =
        (start(&scene, &script, &redis, l2_only), start(&scene, &script, &redis, l2_only));
    one.client().get("/a");
    one.expect_metric("tiercel_l2_stores{result=\"stored\"}", 1);
    assert!(two.client().get("/a").is_hit());
    // The table goes, the entry stays: as when they lie on different nodes of a cluster.
    let written = number(&one.client().request("PUT", "/a", &[], b""));
    redis.command(&[b"DEL", b"e2t:generations:4096"]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        for envoy in [&one, &two] {
            let read = envoy.client().get("/a");
            assert_eq!(number(&read), written, "{:?} {}", start.elapsed(), read.cache_status());
        }
    }
    for envoy in [&one, &two] {
        eventually("hits again", || envoy.client().get("/a").is_hit().then_some(()));
    }
}
