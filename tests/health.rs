//! What all workers do about a Redis that fails, is slow, and comes back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::envoy::Builder;
use crate::harness::scene::{
    echo_l2_only, echo_routes, follows, l2_only, no_ids, no_routes, recovers,
};
use crate::harness::wire::Wire;
use crate::harness::{Asked, Envoy, Origin, Redis, Scene, Script, eventually, reply};

const DEGRADED: u64 = 2;

fn expect_state(envoy: &Envoy, state: u64) {
    envoy.expect_metric("tiercel_l2_state", state);
}

fn transitions(envoy: &Envoy, to: &str) -> u64 {
    envoy.metric(&format!("tiercel_l2_transitions{{to=\"{to}\"}}"))
}

#[test]
fn who_finds_redis_gone_tells_all_and_nobody_asks_it() {
    let scene = Scene::new("health-gone");
    let (origin, mut redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let builder = Envoy::shipped("event2table.yaml").origin(origin.port).redis(redis.port);
    let envoy = builder.config(no_ids).config(echo_l2_only).workers(2).start(&scene);
    recovers(&envoy);
    expect_state(&envoy, 0);
    redis.process.kill();
    expect_state(&envoy, DEGRADED);
    let refused = envoy.metric("tiercel_l2_errors{kind=\"refused\"}");
    for n in 0..40 {
        assert_eq!(envoy.client().get(&format!("/echo/{n}")).status, 200);
    }
    eventually("requests to go without Redis", || {
        (envoy.metric("tiercel_l2_errors{kind=\"degraded\"}") >= 40).then_some(())
    });
    // Only the keeper's probes are refused now, and there are few of them.
    let probes = envoy.metric("tiercel_l2_errors{kind=\"refused\"}") - refused;
    assert!(probes < 40, "{probes}");
    redis.restart();
    expect_state(&envoy, 0);
    recovers(&envoy);
    for to in ["degraded", "recovering", "normal"] {
        eventually(to, || (transitions(&envoy, to) >= 1).then_some(()));
    }
    let log = envoy.process.log();
    for line in
        ["L2 is degraded: refused", "L2 is recovering, told what became stale", "L2 is normal"]
    {
        assert!(log.contains(line), "{line}");
    }
}

#[test]
fn what_is_written_while_redis_is_out_of_reach_is_stale_everywhere_afterwards() {
    let scene = Scene::new("health-replay");
    let script = Script::versions(1);
    let redis = Redis::start(&scene, &[]);
    let wire = Wire::to(redis.port);
    let start = |builder: Builder, port| {
        let builder = builder.origin(script.port).redis(port);
        let envoy = builder.config(no_ids).config(no_routes).config(l2_only).start(&scene);
        follows(&envoy);
        envoy
    };
    let cut_off = start(Envoy::shipped("event2table.yaml"), wire.port);
    let other = start(Envoy::builder("event2table.yaml"), redis.port);
    for path in ["/a", "/b"] {
        eventually("Redis to have it", || {
            let response = other.client().get(path);
            response.cache_status().ends_with("detail=l2").then_some(())
        });
    }
    wire.cut(true);
    expect_state(&cut_off, DEGRADED);
    for n in 0..300 {
        cut_off.client().request("PUT", &format!("/{n}"), &[], b"");
    }
    cut_off.client().request("PUT", "/a", &[], b"");
    assert_eq!(other.client().get("/a").body, b"1", "nobody could tell");
    wire.cut(false);
    expect_state(&cut_off, 0);
    assert_eq!(other.client().get("/a").body, b"302");
    assert_eq!(other.client().get("/b").body, b"1", "nobody wrote it");
    cut_off.expect_log("L2 is recovering, read again");
}

#[test]
fn slow_is_not_dead() {
    let scene = Scene::new("health-slow");
    let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let wire = Wire::to(redis.port);
    let builder = Envoy::builder("event2table.yaml").origin(origin.port).redis(wire.port);
    let slow_above = |config: &mut Value| config["l2"]["health"]["slow_above"] = json!("60ms");
    let envoy = builder.config(echo_l2_only).config(slow_above).start(&scene);
    // A machine that stalls may make it slow for a moment.
    recovers(&envoy);
    wire.delay(150);
    envoy.expect_metric("tiercel_l2_slow", 1);
    let stored = envoy.metric("tiercel_l2_stores{result=\"stored\"}");
    for n in 0..5 {
        assert_eq!(envoy.client().get(&format!("/echo/slow{n}")).status, 200);
    }
    eventually("requests to go without Redis, and to be stored there", || {
        let skipped = envoy.metric("tiercel_l2_errors{kind=\"slow\"}") >= 5;
        let stores = envoy.metric("tiercel_l2_stores{result=\"stored\"}") - stored;
        (skipped && stores >= 5).then_some(())
    });
    assert_eq!((transitions(&envoy, "degraded"), envoy.metric("tiercel_l2_state")), (0, 0));
    wire.delay(0);
    envoy.expect_metric("tiercel_l2_slow", 0);
    recovers(&envoy);
    eventually("both to be counted", || {
        (transitions(&envoy, "slow") >= 1 && transitions(&envoy, "prompt") >= 1).then_some(())
    });
}

#[test]
fn a_redis_that_refuses_writes_or_the_password_is_left_alone() {
    let (envoy, _origin, mut redis) = Scene::usual("health-refuses", echo_l2_only);
    recovers(&envoy);
    for (fault, cause, mend) in [
        (
            &[&b"CONFIG"[..], b"SET", b"maxmemory", b"1"],
            "oom",
            &[&b"CONFIG"[..], b"SET", b"maxmemory", b"0"],
        ),
        (
            &[b"CONFIG", b"SET", b"min-replicas-to-write", b"1"],
            "readonly",
            &[b"CONFIG", b"SET", b"min-replicas-to-write", b"0"],
        ),
    ] {
        redis.command(fault);
        envoy.expect_log(&format!("L2 is degraded: {cause}"));
        assert_eq!(envoy.client().get(&format!("/echo/{cause}")).status, 200);
        redis.command(mend);
        expect_state(&envoy, 0);
        recovers(&envoy);
    }
    redis.set_password(Some("secret"));
    redis.restart();
    // Envoy's own check may notice first: what it keeps back is refused.
    expect_state(&envoy, DEGRADED);
    assert_eq!(envoy.client().get("/echo/auth").status, 200);
    redis.command(&[b"CONFIG", b"SET", b"requirepass", b""]);
    expect_state(&envoy, 0);
    recovers(&envoy);
}

#[test]
fn the_configuration_has_the_last_word() {
    let scene = Scene::new("health-force");
    let (origin, mut redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let builder = Envoy::builder("event2table.yaml").origin(origin.port).redis(redis.port);
    let envoy = builder.config(echo_l2_only).reloadable().start(&scene);
    recovers(&envoy);
    let force = |state: Value| envoy.reload(|config| config["l2"]["health"]["force"] = state);
    force(json!("degraded"));
    eventually("Redis not to be asked", || {
        let response = envoy.client().get("/echo/recovery");
        response.cache_status().contains("fwd").then_some(())
    });
    expect_state(&envoy, DEGRADED);
    let commands = redis.info("total_commands_processed");
    (0..20).for_each(|n| assert_eq!(envoy.client().get(&format!("/echo/{n}")).status, 200));
    // This figure's own command is the one more.
    assert_eq!(redis.info("total_commands_processed"), commands + 2);
    force(Value::Null);
    recovers(&envoy);
    expect_state(&envoy, 0);
    force(json!("normal"));
    redis.process.kill();
    eventually("requests to ask Redis all the same", || {
        assert_eq!(envoy.client().get("/echo/more").status, 200);
        (envoy.metric("tiercel_l2_errors{kind=\"refused\"}") >= 20).then_some(())
    });
    expect_state(&envoy, 0);
}

#[test]
fn the_hottest_of_what_redis_missed_is_written_back() {
    let (envoy, origin, redis) = Scene::as_shipped("health-back", |config| {
        echo_routes(config);
        config["routes"][0]["ttl"] = json!("1h");
        config["degraded"] = json!({"write_back": "32KiB"});
    });
    let mut client = envoy.client();
    eventually("Redis to take entries", || {
        client.get(&format!("/echo/warm{}", redis.keys().len()));
        (!redis.keys().is_empty()).then_some(())
    });
    let stored = envoy.metric("tiercel_l2_stores{result=\"stored\"}");
    redis.process.signal("STOP");
    expect_state(&envoy, DEGRADED);
    let path = |n: u32| format!("/echo/{n}?size=2000");
    for n in 0..60 {
        client.get(&path(n));
        if n % 6 == 0 {
            (0..10).for_each(|_| assert!(client.get(&path(n)).is_hit()));
        }
    }
    redis.process.signal("CONT");
    expect_state(&envoy, 0);
    eventually("the rest to be written", || {
        (envoy.metric("tiercel_l2_stores{result=\"stored\"}") >= stored + 12).then_some(())
    });
    eventually("some to be skipped", || {
        (envoy.metric("tiercel_l2_stores{result=\"skipped\"}") >= 40).then_some(())
    });
    let builder = Envoy::builder("event2table.yaml").origin(origin.port).redis(redis.port);
    let other = builder.config(echo_routes).config(l2_only).start(&Scene::new("health-back-other"));
    recovers(&other);
    let has = |n: &u32| other.client().get(&path(*n)).cache_status().ends_with("detail=l2");
    // Asked for once: then it is there.
    let hot = (0..60).step_by(6).filter(has).count();
    assert!(hot >= 9, "{hot} of 10");
    let cold = (0..60).filter(|n| n % 6 > 0).filter(has).count();
    assert!(cold <= 6, "{cold} that nobody asks for again");
}

#[test]
fn what_is_written_back_takes_the_place_of_what_is_older() {
    let scene = Scene::new("health-back-older");
    let (script, redis) = (Script::versions(1), Redis::start(&scene, &[]));
    let start = |builder: Builder, config: fn(&mut Value)| {
        let builder = builder.origin(script.port).redis(redis.port);
        builder.config(no_ids).config(no_routes).config(config).start(&scene)
    };
    let envoy = start(Envoy::shipped("event2table.yaml"), |_| {});
    let other = start(Envoy::builder("event2table.yaml"), l2_only);
    follows(&envoy);
    eventually("Redis to have it", || {
        other.client().get("/a").cache_status().ends_with("detail=l2").then_some(())
    });
    let before = other.client().get("/a").body;
    redis.process.signal("STOP");
    expect_state(&envoy, DEGRADED);
    envoy.client().request("PUT", "/a", &[], b"");
    let newer = envoy.client().get("/a").body;
    assert_ne!(newer, before);
    let stored = "tiercel_l2_stores{result=\"stored\"}";
    let count = envoy.metric(stored);
    redis.process.signal("CONT");
    eventually("it to be written", || (envoy.metric(stored) > count).then_some(()));
    eventually("the other one to ask Redis again", || {
        other.client().get("/b").cache_status().ends_with("detail=l2").then_some(())
    });
    let found = other.client().get("/a");
    assert!(found.cache_status().ends_with("detail=l2"), "{found:?}");
    assert_eq!(found.body, newer);
}

#[test]
fn what_is_stale_is_served_while_redis_fails_if_the_policy_says_so() {
    let scene = Scene::new("health-stale");
    let mut count = 0;
    let script = Script::start(move |_: &Asked| {
        count += 1;
        reply(200, &[("cache-control", "max-age=1")], &count.to_string())
    });
    let mut redis = Redis::start(&scene, &[]);
    let builder = Envoy::builder("event2table.yaml").origin(script.port).redis(redis.port);
    let builder = builder.config(no_routes).config(|config| {
        config["degraded"] = json!({"stale_for": "1h"});
        config["origin"] = json!({"cluster": "origin"});
    });
    let envoy = builder.start(&scene);
    let mut client = envoy.client();
    let wait = || std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(client.get("/a").body, b"1");
    wait();
    let fetched = client.get("/a");
    assert!(fetched.cache_status().contains("fwd=stale"), "Redis is well: {fetched:?}");
    redis.process.kill();
    expect_state(&envoy, DEGRADED);
    wait();
    let stale = client.get("/a");
    assert!(
        stale.is_hit() && stale.body == b"2" && stale.cache_status().contains("ttl=-"),
        "{stale:?}"
    );
    eventually("it to be fetched meanwhile", || (client.get("/a").body == b"3").then_some(()));
    // Who asks for something so fresh gets it.
    wait();
    let asked = client.request("GET", "/a", &[("cache-control", "no-cache")], b"");
    assert!(!asked.is_hit() && *asked.body >= b"4"[..], "{asked:?}");
    client.request("PUT", "/a", &[], b"");
    assert!(!client.get("/a").is_hit(), "what a write made stale is not served");
}

/// A Redis user who may touch keys with the prefix alone is enough, for leases and lists of ids as well.
#[test]
fn a_user_confined_to_the_prefix_is_enough() {
    let scene = Scene::new("health-acl");
    let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let rights = "resetkeys ~e2t:* -@all +@read +@write +@scripting +@connection +time +info";
    let user = [&b"ACL"[..], b"SETUSER", b"default"];
    redis.command(&[&user[..], &rights.split(' ').map(str::as_bytes).collect::<Vec<_>>()].concat());
    let builder = Envoy::shipped("event2table.yaml").origin(origin.port).redis(redis.port);
    let config = |config: &mut Value| {
        let echo = json!({"path": "/echo/{*rest}", "ttl": "60s", "collapse": "fleet"});
        config["routes"].as_array_mut().unwrap().push(echo);
        l2_only(config);
    };
    let envoy = builder.config(config).start(&scene);
    eventually("a list of ids in Redis", || {
        redis.keys().iter().any(|key| key.contains(":filter:")).then_some(())
    });
    recovers(&envoy);
    std::thread::sleep(Duration::from_secs(1));
    let errors = redis.command(&[b"INFO", b"errorstats"]);
    assert!(!errors.contains("NOPERM"), "{errors}");
    let log = envoy.process.log();
    assert!(!log.contains("L2 is degraded: auth"), "{log}");
}
