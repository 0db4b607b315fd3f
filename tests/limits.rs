//! What the example configurations refuse when there is too much of it: docs/resilience.md.

use serde_json::Value;

use crate::harness::scene::{echo_routes, l2_only};
use crate::harness::{Client, Envoy, Origin, Redis, Scene, eventually};

/// Sets the limit of a resource monitor.
fn limit(config: &mut Value, monitor: &str, name: &str, value: u64) {
    let monitors = config["overload_manager"]["resource_monitors"].as_array_mut().unwrap();
    let found = monitors.iter_mut().find(|m| m["name"].as_str().unwrap().ends_with(monitor));
    found.unwrap()["typed_config"][name] = value.into();
}

/// An Envoy whose heap is full from the start, with only the first of the actions against that.
fn full_heap(scene: &Scene, redis: &Redis, actions: usize) -> Envoy {
    let builder = Envoy::builder("event2table.yaml").origin(1).redis(redis.port);
    let builder = builder.envoy(|config| {
        limit(config, "fixed_heap", "max_heap_size_bytes", 1_000);
        config["overload_manager"]["actions"].as_array_mut().unwrap().truncate(actions);
    });
    builder.start(scene)
}

#[test]
fn connections_over_the_limit_are_refused() {
    let scene = Scene::new("limits-connections");
    let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let builder = Envoy::builder("event2table.yaml").origin(origin.port).redis(redis.port);
    let builder = builder.config(echo_routes).config(l2_only).envoy(|config| {
        let name = "max_active_downstream_connections";
        limit(config, "global_downstream_max_connections", name, 8);
    });
    let envoy = builder.start(&scene);
    let mut clients: Vec<Client> = (0..8).map(|_| envoy.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.get(&format!("/echo/{n}")).status, 200);
    }
    assert!(envoy.client().try_request("GET", b"/echo/0", &[], b"").is_none());
    // Those that are in are served, from L2 as well: the tunnel's connections do not count. Nor do the admin's.
    eventually("hits from Redis", || {
        clients[0].get("/echo/0").cache_status().ends_with("detail=l2").then_some(())
    });
    assert_eq!(Client::new(envoy.admin).get("/ready").status, 200);
    clients.pop();
    eventually("a place to be free", || envoy.client().try_request("GET", b"/echo/1", &[], b""));
}

#[test]
fn a_full_heap_refuses_requests_and_not_the_tunnel() {
    let scene = Scene::new("limits-heap");
    let redis = Redis::start(&scene, &[]);
    let envoy = full_heap(&scene, &redis, 3);
    eventually("requests to be refused", || {
        (envoy.client().get("/api/games").status == 503
            && envoy.metric("envoy_http_downstream_rq_overload_close{envoy_http_conn_manager_prefix=\"public\"}") > 0)
            .then_some(())
    });
    // What other instances wrote is still asked for.
    let followed = || envoy.metric("tiercel_coherence{event=\"followed\"}");
    let before = followed();
    // More than may have been under way when requests began to be refused.
    eventually("the table to be followed", || (followed() > before + 4).then_some(()));
    assert_eq!(Client::new(envoy.admin).get("/ready").status, 200);
}

#[test]
fn a_full_heap_closes_connections_at_last() {
    let scene = Scene::new("limits-heap-at-last");
    let redis = Redis::start(&scene, &[]);
    let envoy = full_heap(&scene, &redis, 4);
    eventually("connections to be refused", || {
        envoy.client().try_request("GET", b"/api/games", &[], b"").is_none().then_some(())
    });
    assert_eq!(Client::new(envoy.admin).get("/ready").status, 200);
}
