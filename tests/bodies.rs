//! HEAD, sizes, streams that break on either side.

use std::time::Duration;

use serde_json::json;

use crate::harness::scene::{echo_routes, twice};
use crate::harness::{Scene, eventually};

#[test]
fn head_is_answered_from_a_stored_get() {
    let (envoy, origin) = Scene::l1_only("head", echo_routes);
    let mut client = envoy.client();
    let miss = client.request("HEAD", "/echo/a?size=500", &[], b"");
    assert!(miss.cache_status().ends_with("detail=method") && miss.body.is_empty());
    let get = client.get("/echo/a?size=500");
    assert!(!get.is_hit(), "a HEAD must not be stored as a GET");
    let head = client.request("HEAD", "/echo/a?size=500", &[], b"");
    assert!(head.is_hit() && head.body.is_empty());
    assert_eq!(head.field("content-length"), Some(get.body.len().to_string().as_str()));
    assert_eq!(client.get("/echo/a?size=500").body, get.body);
    assert_eq!(origin.total(), 2);
}

#[test]
fn large_and_empty_bodies() {
    let (envoy, origin) = Scene::l1_only("sizes", |config| {
        echo_routes(config);
        config["l1"] = json!({"budget": "2MiB", "max_entry": "64KiB"});
    });
    let mut client = envoy.client();
    for (query, stored) in [
        ("size=60000", true),
        ("size=70000", false),
        ("size=60000&chunked=1", true),
        ("size=70000&chunked=1", false),
        ("size=50000&chunked=1&chunks=20", true),
        ("size=3000000", false),
    ] {
        let path = format!("/echo/{}?{query}", query.replace(['=', '&'], "-"));
        let (first, second) = twice(&mut client, &path);
        assert_eq!(second.is_hit(), stored, "{query}: {}", first.cache_status());
        assert_eq!(first.body.len(), second.body.len());
        assert!(!stored || first.body == second.body);
        assert_eq!(origin.saw(&format!("GET {path}")), if stored { 1 } else { 2 }, "{query}");
    }
    envoy.expect_metric("tiercel_not_stored{reason=\"too_large\"}", 6);
}

#[test]
fn a_truncated_response_is_never_stored() {
    let (envoy, origin) = Scene::l1_only("truncated", echo_routes);
    origin.fail(Some("truncate"));
    let mut client = envoy.client();
    for _ in 0..2 {
        let broken = client.try_request("GET", b"/echo/a?size=20000", &[], b"");
        assert!(broken.is_none_or(|r| r.status != 200), "half a body looked whole");
        client = envoy.client();
    }
    origin.fail(None);
    let whole = client.get("/echo/a?size=20000");
    assert!(!whole.is_hit() && whole.body.len() >= 20_000);
    assert!(client.get("/echo/a?size=20000").is_hit());
    envoy.expect_metric("tiercel_not_stored{reason=\"incomplete\"}", 2);
    envoy.expect_metric("tiercel_fills", 1);
}

#[test]
fn an_origin_that_resets_or_fails_is_passed_on_and_not_stored() {
    let (envoy, origin) = Scene::l1_only("failing", echo_routes);
    let mut client = envoy.client();
    for (how, status) in [("500", 500), ("503", 503), ("reset", 503)] {
        origin.fail(Some(how));
        assert_eq!(client.get("/echo/a").status, status, "{how}");
    }
    origin.fail(None);
    assert_eq!(client.get("/echo/a").status, 200);
    assert!(client.get("/echo/a").is_hit());
}

#[test]
fn a_client_that_leaves_half_way_leaves_nothing_behind() {
    let (envoy, origin) = Scene::l1_only("gone", echo_routes);
    let path = "/echo/slow?size=40000&chunked=1&chunks=8&chunk_delay_ms=200";
    for _ in 0..3 {
        let mut client = envoy.client();
        client.send("GET", path.as_bytes(), &[], b"").expect("a connection");
        client.read_and_leave(500);
    }
    envoy.expect_metric("tiercel_not_stored{reason=\"incomplete\"}", 3);
    assert_eq!(envoy.metric("tiercel_l1_entries"), 0);
    let mut client = envoy.client();
    let (first, second) = twice(&mut client, path);
    assert!(!first.is_hit() && second.is_hit());
    assert_eq!(first.body, second.body);
    assert_eq!(origin.saw(&format!("GET {path}")), 4);
}

#[test]
fn the_clients_chunks_are_not_held_back() {
    let (envoy, _origin) = Scene::l1_only("streaming", echo_routes);
    let mut client = envoy.client();
    let path = b"/echo/s?size=4000&chunked=1&chunks=2&chunk_delay_ms=20000";
    let start = std::time::Instant::now();
    client.send("GET", path, &[], b"").expect("a connection");
    client.read_and_leave(1_000);
    // Half a second would be plenty; twenty are the origin's pause before the second chunk.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn responses_being_copied_have_a_budget_of_their_own() {
    let (envoy, origin) = Scene::l1_only("fill-budget", |config| {
        echo_routes(config);
        config["l1"] = json!({"fill_budget": "30KiB"});
    });
    let mut client = envoy.client();
    let (_, second) = twice(&mut client, "/echo/a?size=40000");
    assert!(!second.is_hit());
    envoy.expect_metric("tiercel_not_stored{reason=\"fill_budget\"}", 2);
    let (_, second) = twice(&mut client, "/echo/a?size=20000");
    assert!(second.is_hit());
    eventually("the origin to have seen three", || (origin.total() == 3).then_some(()));
}
