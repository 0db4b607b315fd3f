//! The direct transport: one plain Redis, no redis_proxy.

use crate::harness::scene::{echo_routes, l2_only};
use crate::harness::{Envoy, Origin, Redis, Scene};

#[test]
fn one_plain_redis_with_a_password() {
    let scene = Scene::new("direct");
    let origin = Origin::start(&scene, &[]);
    let redis = Redis::start(&scene, &["--requirepass", "tiercel-demo"]);
    let builder = || Envoy::builder("direct.yaml").origin(origin.port).redis(redis.port);
    let envoy = builder()
        .config(|config| {
            echo_routes(config);
            l2_only(config);
        })
        .start(&scene);
    let mut client = envoy.client();
    let sizes = [10, 4_000, 200_000];
    let first: Vec<_> =
        sizes.iter().map(|n| client.get(&format!("/echo/a?random=1&size={n}")).body).collect();
    envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", 3);
    for (size, body) in sizes.iter().zip(&first) {
        let response = client.get(&format!("/echo/a?random=1&size={size}"));
        assert!(
            response.cache_status().ends_with("detail=l2"),
            "{size}: {}",
            response.cache_status()
        );
        assert_eq!(&response.body, body);
    }
    assert_eq!(origin.total(), 3);

    let wrong = builder()
        .config(|config| {
            echo_routes(config);
            config["l2"]["auth"]["password"] = "wrong".into();
        })
        .start(&scene);
    assert_eq!(wrong.client().get("/echo/b").status, 200);
    wrong.expect_metric("tiercel_l2_lookups{result=\"error\"}", 1);
    assert!(wrong.metric("tiercel_l2_errors{kind=\"auth\"}") >= 1);
}
