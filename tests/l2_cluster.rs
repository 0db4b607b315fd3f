//! Redis Cluster behind redis_proxy, with a password.

use std::thread::sleep;
use std::time::{Duration, Instant};

use tiercel::http::key::Key;

use crate::harness::scene::{echo_routes, follows, l2_only, no_routes};
use crate::harness::{Asked, Cluster, Envoy, Origin, Redis, Scene, Script, eventually, reply};

const PASSWORD: [&str; 4] = ["--requirepass", "tiercel-demo", "--masterauth", "tiercel-demo"];

#[test]
fn keys_live_on_all_masters_and_come_back() {
    let scene = Scene::new("cluster");
    let origin = Origin::start(&scene, &[]);
    let cluster = Cluster::start(&scene, &PASSWORD);
    let start = || {
        let builder =
            Envoy::builder("cluster.yaml").origin(origin.port).redis(cluster.nodes[0].port);
        builder.config(|config| {
            echo_routes(config);
            l2_only(config);
        })
    };
    let envoy = start().start(&scene);
    let mut client = envoy.client();
    // Envoy learns the slots shortly after its start.
    let mut warm = 0;
    eventually("the cluster to take entries", || {
        warm += 1;
        client.get(&format!("/echo/warm{warm}"));
        (envoy.metric("tiercel_l2_stores{result=\"stored\"}") >= 1).then_some(())
    });
    let asked = origin.total();
    let first: Vec<_> = (0..60).map(|n| client.get(&format!("/echo/{n}")).body).collect();
    let mut missing: Vec<String> = (0..60)
        .map(|n| format!("http://api.test/echo/{n}"))
        .map(|key| tiercel::l2::redis_key("api:", Key::new(key.as_bytes()).hash()))
        .collect();
    eventually("every entry to be stored", || {
        for node in &cluster.nodes {
            let keys = node.keys();
            missing.retain(|name| !keys.contains(name));
        }
        missing.is_empty().then_some(())
    });
    for node in &cluster.nodes {
        assert!(node.keys().len() >= 5, "a master without keys: {:?}", node.keys());
    }
    for (n, body) in first.iter().enumerate() {
        let response = client.get(&format!("/echo/{n}"));
        assert!(response.cache_status().ends_with("detail=l2"), "{}", response.cache_status());
        assert_eq!(&response.body, body);
    }
    assert_eq!(origin.total(), asked + 60);
}

#[test]
fn a_cluster_absent_at_start_then_there() {
    let scene = Scene::new("cluster-absent");
    let origin = Origin::start(&scene, &[]);
    let mut cluster = Cluster::start(&scene, &PASSWORD);
    cluster.nodes.iter_mut().for_each(|node| node.process.kill());
    let builder = Envoy::builder("cluster.yaml").origin(origin.port).redis(cluster.nodes[0].port);
    let envoy = builder.config(echo_routes).config(l2_only).start(&scene);
    let mut client = envoy.client();
    assert_eq!(client.get("/echo/absent").status, 200);
    cluster.nodes.iter_mut().for_each(Redis::restart);
    eventually("hits from the cluster", || {
        client.get("/echo/back").cache_status().ends_with("detail=l2").then_some(())
    });
}

/// The other masters still give what they have, one key after the other.
#[test]
fn a_master_that_is_gone_takes_only_its_own_entries_along() {
    let scene = Scene::new("cluster-lost");
    let origin = Origin::start(&scene, &[]);
    let args = [&PASSWORD[..], &["--cluster-require-full-coverage", "no"]].concat();
    let mut cluster = Cluster::start(&scene, &args);
    let builder = Envoy::builder("cluster.yaml").origin(origin.port).redis(cluster.nodes[0].port);
    let envoy = builder.config(echo_routes).config(l2_only).start(&scene);
    let mut client = envoy.client();
    let mut hits = |envoy: &Envoy| {
        let responses = (0..40).map(|n| client.get(&format!("/echo/{n}")));
        let before = envoy.metric("tiercel_l2_errors{kind=\"refused\"}");
        let hits = responses.filter(|response| {
            assert_eq!(response.status, 200);
            response.cache_status().ends_with("detail=l2")
        });
        (hits.count(), envoy.metric("tiercel_l2_errors{kind=\"refused\"}") - before)
    };
    eventually("every entry to be stored", || (hits(&envoy).0 == 40).then_some(()));
    // Without the table of generations no entry could be trusted: its node stays.
    let count = b"return #redis.call('KEYS', '*generations:*')";
    let spared = |node: &&mut Redis| node.command(&[b"EVAL", count, b"0"]) == "0";
    let lost = cluster.nodes.iter_mut().find(spared).expect("two nodes without the table");
    let of_lost = lost.keys().len();
    lost.process.kill();
    eventually("look-ups to be refused", || (hits(&envoy).1 > 0).then_some(()));
    eventually("the other entries to be found", || (hits(&envoy).0 >= 40 - of_lost).then_some(()));
}

/// What was written is told by one key, whatever node has it, and entries on all nodes end by it.
#[test]
fn a_write_ends_what_lies_on_any_node() {
    let scene = Scene::new("cluster-writes");
    let mut version = 0;
    let script = Script::start(move |asked: &Asked| {
        version += u64::from(asked.method != "GET");
        reply(200, &[("cache-control", "max-age=600")], &version.to_string())
    });
    let cluster = Cluster::start(&scene, &PASSWORD);
    let start = || {
        let builder =
            Envoy::builder("cluster.yaml").origin(script.port).redis(cluster.nodes[0].port);
        builder.config(no_routes).config(l2_only).start(&scene)
    };
    let (one, two) = (start(), start());
    for envoy in [&one, &two] {
        follows(envoy);
    }
    let paths: Vec<String> = (0..30).map(|n| format!("/{n}")).collect();
    let (mut writer, mut reader) = (one.client(), two.client());
    paths.iter().for_each(|path| assert_eq!(writer.get(path).status, 200));
    one.expect_metric("tiercel_l2_stores{result=\"stored\"}", 30);
    for path in &paths {
        assert!(reader.get(path).cache_status().ends_with("detail=l2"), "{path}");
    }
    let homes = cluster.nodes.iter().filter(|node| node.keys().len() >= 3);
    assert_eq!(homes.count(), 3, "entries on every node");
    for path in &paths {
        let confirmed = one.metric("tiercel_coherence{event=\"confirmed\"}");
        let written = writer.request("PUT", path, &[], b"").body;
        eventually("Redis to know it", || {
            (one.metric("tiercel_coherence{event=\"confirmed\"}") > confirmed).then_some(())
        });
        assert_eq!(reader.get(path).body, written, "{path}");
    }
    assert_eq!(one.metric("tiercel_l2_errors{kind=\"protocol\"}"), 0);
    two.expect_metric("tiercel_l2_lookups{result=\"invalid\"}", 30);
}

/// A lease lies on the node of what is fetched, so that giving it back does not overtake the store.
#[test]
fn one_instance_fetches_for_the_fleet() {
    let scene = Scene::new("cluster-fleet");
    let script = Script::start(|asked: &Asked| {
        sleep(Duration::from_millis(30));
        reply(200, &[("cache-control", "max-age=60")], &asked.target)
    });
    let cluster = Cluster::start(&scene, &PASSWORD);
    let start = || {
        let builder =
            Envoy::builder("cluster.yaml").origin(script.port).redis(cluster.nodes[0].port);
        let builder = builder.config(no_routes).config(|config| {
            config["defaults"] = serde_json::json!({"collapse": "fleet"});
        });
        let envoy = builder.start(&scene);
        eventually("the fleet to be joined", || {
            envoy.client().get(&format!("/warm{}", scene.unique("")));
            let stored = envoy.metric("tiercel_l2_stores{result=\"stored\"}");
            let followed = envoy.metric("tiercel_coherence{event=\"followed\"}");
            (stored > 0 && followed > 0).then_some(())
        });
        envoy
    };
    let envoys = [start(), start()];
    script.asked();
    let mut prompt = 0;
    for n in 0..30 {
        let (path, start) = (format!("/{n}"), Instant::now());
        std::thread::scope(|scope| {
            for envoy in &envoys {
                let path = &path;
                scope.spawn(move || assert_eq!(envoy.client().get(path).body, path.as_bytes()));
            }
        });
        let asked = script.asked().len();
        // A lease holds for two seconds: a machine that stalls may outlast it.
        if start.elapsed() < Duration::from_secs(1) {
            assert_eq!(asked, 1, "{path}");
            prompt += 1;
        }
    }
    assert!(prompt > 15, "{prompt} of 30 rounds within a second");
}
