//! What Redis does for lists of ids and their filters.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::things::{Things, count, is_refused, until_known, with_redis};
use crate::harness::{Asked, Client, Redis, Scene, eventually};

#[test]
fn a_set_in_redis_is_a_list() {
    let scene = Scene::new("ids-redis-set");
    let (_, script) = Things::start(1..=9);
    let redis = Redis::start(&scene, &[]);
    for id in (1..=5).map(|id: u64| id.to_string()) {
        redis.command(&[b"SADD", b"plain", id.as_bytes()]);
        redis.command(&[b"ZADD", b"sorted", id.as_bytes(), id.as_bytes()]);
    }
    for (key, kind) in [("plain", "set"), ("sorted", "sorted_set")] {
        let envoy = with_redis(&scene, &script, &redis, |config| {
            config["spaces"]["thing"]["source"] = json!({"redis": {"key": key, "kind": kind}});
        });
        until_known(&envoy);
        let mut client = envoy.client();
        let found = (1..=9).filter(|id| client.get(&format!("/things/{id}")).status == 200);
        assert_eq!(found.count(), 5, "{kind}");
    }
    // One that is gone refuses nothing.
    let envoy = with_redis(&scene, &script, &redis, |config| {
        config["spaces"]["thing"]["source"] = json!({"redis": {"key": "none"}});
    });
    envoy.expect_log("space thing: the list of ids is not used: incomplete");
    assert_eq!(envoy.client().get("/things/9").status, 200);
}

#[test]
fn a_restart_is_protected_by_what_redis_has() {
    let scene = Scene::new("ids-restart");
    let (things, script) = Things::start(1..=95);
    let redis = Redis::start(&scene, &[]);
    let envoy = with_redis(&scene, &script, &redis, |_| {});
    until_known(&envoy);
    eventually("the filter to be kept", || (count(&envoy, "kept") == 1).then_some(()));
    // Since the list was read, so in no filter.
    assert_eq!(envoy.client().request("PUT", "/things/500", &[], b"{}").status, 200);
    // What a process has not told Redis when it dies is known to nobody.
    eventually("Redis to know it", || {
        let recent = redis.keys().into_iter().find(|key| key.ends_with(":recent"))?;
        (redis.command(&[b"ZCARD", recent.as_bytes()]) == "2").then_some(())
    });
    drop(envoy);
    script.asked();
    let envoy = with_redis(&scene, &script, &redis, |_| {});
    until_known(&envoy);
    let lists = |asked: Vec<Asked>| asked.iter().any(|asked| asked.target.starts_with("/things?"));
    assert!(!lists(script.asked()), "no list was read");
    envoy.expect_log("space thing: a filter of 95 ids was loaded from Redis");
    for id in [1, 95, 500] {
        assert_eq!(envoy.client().get(&format!("/things/{id}")).status, 200, "{id}");
    }
    drop(envoy);
    // What Redis has is no good: the list is read.
    let keys = redis.keys();
    let filter = keys.iter().find(|key| key.contains("}:filter:")).unwrap();
    let spoil = b"local piece = redis.call('HGET', KEYS[1], 1)
        return redis.call('HSET', KEYS[1], 1, string.sub(piece, 1, 30) .. 'spoilt' .. string.sub(piece, 37))";
    assert_eq!(redis.command(&[b"EVAL", spoil, b"1", filter.as_bytes()]), "0");
    things.change(|origin| _ = origin.ids.insert(600));
    let envoy = with_redis(&scene, &script, &redis, |_| {});
    envoy.expect_log("space thing: the filter in Redis is not used: checksum");
    until_known(&envoy);
    assert!(lists(script.asked()));
    assert_eq!(envoy.client().get("/things/600").status, 200);
}

#[test]
fn without_redis_the_source_is_asked() {
    let scene = Scene::new("ids-no-redis");
    let (things, script) = Things::start(1..=5);
    let mut redis = Redis::start(&scene, &[]);
    redis.process.kill();
    things.change(|origin| origin.spoils = |_| None);
    let envoy = with_redis(&scene, &script, &redis, |_| {});
    assert!(!is_refused(&envoy.client().get("/things/6")));
    things.change(|origin| origin.spoils = Some);
    until_known(&envoy);
    assert_eq!(envoy.client().get("/things/5").status, 200);
    // Once it is there it has the filter, too.
    redis.restart();
    eventually("the filter to be kept", || (count(&envoy, "kept") >= 1).then_some(()));
}

#[test]
fn instances_tell_each_other_what_came_into_being() {
    let scene = Scene::new("ids-instances");
    let (_, script) = Things::start(1..=5);
    let redis = Redis::start(&scene, &[]);
    let first = with_redis(&scene, &script, &redis, |_| {});
    eventually("the filter to be kept", || (count(&first, "kept") >= 1).then_some(()));
    let envoys = [first, with_redis(&scene, &script, &redis, |_| {})];
    envoys.iter().for_each(until_known);
    // One of them has read the list; the other one took the filter.
    let read: u64 = envoys.iter().map(|envoy| count(envoy, "built")).sum();
    let loaded: u64 = envoys.iter().map(|envoy| count(envoy, "loaded")).sum();
    assert_eq!((read, loaded), (1, 1));
    let found = |client: &mut Client, id: u64| client.get(&format!("/things/{id}")).status == 200;
    for round in 0..20 {
        let (here, there) = (&envoys[round % 2], &envoys[1 - round % 2]);
        let made = here.client().request("POST", "/things", &[], b"{}");
        let id = made.json()["id"].as_u64().unwrap();
        let chosen = 1_000 + round as u64;
        here.client().request("PUT", &format!("/things/{chosen}"), &[], b"{}");
        for id in [id, chosen] {
            assert!(found(&mut here.client(), id));
            eventually("the other instance to know it", || {
                found(&mut there.client(), id).then_some(())
            });
        }
    }
    sleep(Duration::from_millis(300));
    for envoy in &envoys {
        assert!(is_refused(&envoy.client().get("/things/77777")));
    }
}
