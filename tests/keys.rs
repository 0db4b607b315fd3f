//! Which requests are the same resource.

use serde_json::json;

use crate::harness::Scene;

#[test]
fn equal_urls_are_one_resource_and_others_are_not() {
    let (envoy, origin) = Scene::l1_only("keys", |config| {
        config["routes"] = json!([
            {"path": "/echo/list", "ttl": "60s", "query": {"include": ["game_gid", "page"]}},
            {"path": "/echo/{id}", "ttl": "60s", "query": {}},
        ]);
    });
    let mut client = envoy.client();
    let first = client.get("/echo/1");
    for same in ["/echo/%31", "/echo/1?utm=x", "/echo/1?"] {
        let again = client.get(same);
        assert!(again.is_hit(), "{same}: {}", again.cache_status());
        assert_eq!(again.body, first.body);
    }
    for other in ["/echo/01", "/echo/1%2F", "/echo/2"] {
        assert!(!client.get(other).is_hit(), "{other}");
    }
    assert!(!client.get("/echo/list?game_gid=7&page=2").is_hit());
    for same in [
        "/echo/list?page=2&game_gid=7",
        "/echo/list?utm=1&page=2&game_gid=7&game_gid=8",
        "/echo/list?page=2&game_gid=%37",
        "/echo/list?game%5Fgid=7&page=2",
    ] {
        assert!(client.get(same).is_hit(), "{same}");
    }
    for other in ["/echo/list", "/echo/list?page=2", "/echo/list?game_gid=7&page=3"] {
        assert!(!client.get(other).is_hit(), "{other}");
    }
    assert_eq!(origin.total(), 8);
}

#[test]
fn hosts_are_kept_apart_unless_the_policy_says_otherwise() {
    for (authority, hits) in [(true, false), (false, true)] {
        let (envoy, _origin) = Scene::l1_only(&format!("hosts-{authority}"), |config| {
            config["routes"] = json!([{"path": "/echo/{*rest}", "ttl": "60s"}]);
            config["key"] = json!({"authority": authority});
        });
        let mut client = envoy.client();
        client.request("GET", "/echo/a", &[("host", "one.test")], b"");
        let same = client.request("GET", "/echo/a", &[("host", "ONE.test:80")], b"");
        assert!(same.is_hit());
        let other = client.request("GET", "/echo/a", &[("host", "two.test")], b"");
        assert_eq!(other.is_hit(), hits);
    }
}

#[test]
fn a_required_parameter_decides_whether_the_cache_is_asked() {
    let (envoy, origin) = Scene::l1_only("required", |config| {
        config["routes"] = json!([
            {"path": "/echo/{id}", "ttl": "60s", "query": {"require": ["game_gid"]}},
        ]);
    });
    let mut client = envoy.client();
    for _ in 0..2 {
        for path in ["/echo/1", "/echo/1?game_gid=", "/echo/1?other=1"] {
            let response = client.get(path);
            assert_eq!(response.cache_status(), "tiercel; fwd=bypass; detail=parameter_missing");
        }
    }
    assert_eq!(origin.total(), 6);
    client.get("/echo/1?game_gid=7");
    assert!(client.get("/echo/1?game_gid=7&other=1").is_hit());
}

#[test]
fn strange_targets_are_served_and_never_mixed_up() {
    let (envoy, origin) = Scene::l1_only("strange", |config| {
        config["routes"] = json!([{"path": "/echo/{*rest}", "ttl": "60s"}]);
    });
    let mut client = envoy.client();
    let long = format!("/echo/{}", "x".repeat(9_000));
    for _ in 0..2 {
        let response = client.request("GET", &long, &[], b"");
        assert_eq!(response.cache_status(), "tiercel; fwd=bypass; detail=key_too_long");
    }
    let first = client.try_request("GET", b"/echo/\xff\xfe?a=%ff", &[], b"").expect("an answer");
    assert!(first.status == 200 || first.status == 400, "{first:?}");
    for path in ["/echo/%", "/echo/%zz", "/echo/a%00b"] {
        let first = client.request("GET", path, &[], b"");
        let second = client.request("GET", path, &[], b"");
        assert_eq!(first.status, second.status, "{path}");
        assert!(first.status != 200 || second.body == first.body, "{path}");
    }
    assert!(client.get("/echo/after").status == 200 && origin.total() > 0);
}

#[test]
fn the_key_can_be_shown() {
    let (envoy, _origin) = Scene::l1_only("shown", |config| {
        config["routes"] = json!([{"path": "/echo/{*rest}", "ttl": "60s"}]);
        config["headers"] =
            json!({"x_cache_key": true, "x_cache_status": true, "cache_name": "edge"});
    });
    let mut client = envoy.client();
    let miss = client.get("/echo/a");
    let hit = client.get("/echo/a");
    assert_eq!(
        (miss.field("x-cache-status"), hit.field("x-cache-status")),
        (Some("MISS"), Some("HIT"))
    );
    let hash = tiercel::http::key::Key::new(b"http://api.test/echo/a").hash();
    let expected = format!("{:08x}", hash >> 96);
    assert_eq!(miss.field("x-cache-key"), Some(expected.as_str()));
    assert_eq!(hit.field("x-cache-key"), Some(expected.as_str()));
    assert!(hit.cache_status().starts_with("edge; hit"));
    assert_eq!(client.request("POST", "/echo/a", &[], b"").field("x-cache-status"), Some("BYPASS"));
}
