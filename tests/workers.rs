//! Two workers: each has its own L1, both share L2.

use crate::harness::scene::echo_routes;
use crate::harness::{Envoy, Origin, Redis, Scene, eventually};

#[test]
fn every_worker_has_its_own_store_and_l2_is_shared() {
    let scene = Scene::new("workers");
    let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let builder = Envoy::builder("event2table.yaml").origin(origin.port).redis(redis.port);
    let envoy = builder.config(echo_routes).workers(2).start(&scene);
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
