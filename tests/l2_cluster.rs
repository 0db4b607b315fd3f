//! Redis Cluster behind redis_proxy, with a password.

use tiercel::http::key::Key;

use crate::harness::scene::{echo_routes, l2_only};
use crate::harness::{Cluster, Envoy, Origin, Scene, eventually};

#[test]
fn keys_live_on_all_masters_and_come_back() {
    let scene = Scene::new("cluster");
    let origin = Origin::start(&scene, &[]);
    let cluster =
        Cluster::start(&scene, &["--requirepass", "tiercel-demo", "--masterauth", "tiercel-demo"]);
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
