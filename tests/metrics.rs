//! What the cache counts, as Prometheus sees it.

use serde_json::json;

use crate::harness::Scene;
use crate::harness::scene::echo_routes;

#[test]
fn outcomes_sizes_and_memory_are_counted() {
    let (envoy, _origin, _redis) = Scene::usual("metrics", |config| {
        echo_routes(config);
        config["l1"] = json!({"budget": "64KiB", "max_entry": "64KiB"});
    });
    let mut client = envoy.client();
    client.get("/echo/0?size=4000");
    for n in 0..40 {
        client.get(&format!("/echo/{n}?size=4000"));
    }
    client.request("POST", "/echo/39", &[], b"");
    envoy.expect_metric("tiercel_requests{outcome=\"bypass\"}", 1);
    envoy.expect_metric("tiercel_bypassed{reason=\"method\"}", 1);
    envoy.expect_metric("tiercel_requests{outcome=\"miss\"}", 40);
    envoy.expect_metric("tiercel_fills", 40);
    envoy.expect_metric("tiercel_l1_lookups{result=\"miss\"}", 40);
    envoy.expect_metric("tiercel_l2_lookups{result=\"miss\"}", 40);
    envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", 40);
    envoy.expect_metric("tiercel_entry_bytes_count", 40);
    let hits = envoy.metric("tiercel_requests{outcome=\"l1_hit\"}")
        + envoy.metric("tiercel_requests{outcome=\"l2_hit\"}");
    assert_eq!(hits, 1);
    let (bytes, entries) = (envoy.metric("tiercel_l1_bytes"), envoy.metric("tiercel_l1_entries"));
    assert!((30_000..=65_536).contains(&bytes) && entries > 5, "{bytes} bytes, {entries} entries");
    let (evictions, refusals) =
        (envoy.metric("tiercel_l1_evictions"), envoy.metric("tiercel_l1_refusals"));
    assert_eq!(evictions + refusals + entries, 40);
    assert!(envoy.metric("tiercel_vm_memory_bytes") > 1 << 20);
}
