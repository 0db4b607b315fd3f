//! Miss, hit, expiry; what may be stored and what may not.

use std::thread::sleep;
use std::time::Duration;

use crate::harness::scene::{echo_routes, twice};
use crate::harness::{Scene, eventually};

#[test]
fn first_a_miss_then_hits_with_age() {
    let (envoy, origin) = Scene::l1_only("hit", echo_routes);
    let mut client = envoy.client();
    let miss = client.get("/echo/a?size=4096");
    assert_eq!(miss.status, 200);
    assert_eq!(miss.cache_status(), "tiercel; fwd=uri-miss; fwd-status=200; stored");
    assert!(miss.field("age").is_none(), "Age would say that the origin did not answer");
    let hit = client.get("/echo/a?size=4096");
    assert!(hit.cache_status().starts_with("tiercel; hit; ttl="), "{}", hit.cache_status());
    assert_eq!((hit.status, &hit.body), (200, &miss.body));
    assert_eq!(hit.field("content-type"), miss.field("content-type"));
    assert!(hit.field("age").is_some_and(|age| age.parse::<u32>().is_ok()));
    assert_eq!(origin.saw("GET /echo/a?size=4096"), 1);
    eventually("Age to grow", || {
        client.get("/echo/a?size=4096").field("age").filter(|age| *age != "0").map(drop)
    });
    assert_eq!(origin.saw("GET /echo/a?size=4096"), 1);
}

#[test]
fn what_is_stale_is_fetched_again() {
    let (envoy, origin) = Scene::l1_only("expiry", |config| {
        echo_routes(config);
        config["routes"][0]["ttl"] = "1s".into();
    });
    let mut client = envoy.client();
    let first = client.get("/echo/a");
    assert!(first.cache_status().contains("stored"));
    sleep(Duration::from_millis(1_200));
    let second = client.get("/echo/a");
    assert_eq!(second.cache_status(), "tiercel; fwd=stale; fwd-status=200; stored");
    assert_ne!(first.json()["n"], second.json()["n"]);
    assert_eq!(origin.saw("GET /echo/a"), 2);
}

#[test]
fn without_a_rule_the_response_must_say_how_fresh_it_is() {
    let (envoy, origin) = Scene::l1_only("explicit", |config| {
        config["routes"] = serde_json::json!([]);
    });
    let mut client = envoy.client();
    let (first, second) = twice(&mut client, "/echo/silent");
    assert_eq!(first.cache_status(), "tiercel; fwd=uri-miss; fwd-status=200; detail=no_freshness");
    assert!(!second.is_hit());
    let (_, second) = twice(&mut client, "/echo/a?header=Cache-Control:max-age=60");
    assert!(
        second.cache_status().contains("; hit; ttl=5") || second.cache_status().contains("ttl=60")
    );
    let aged = "/echo/b?header=Cache-Control:max-age=60&header=Age:50";
    let (_, second) = twice(&mut client, aged);
    assert!(second.field("age").is_some_and(|age| age.starts_with('5')), "{second:?}");
    for (header, why) in [
        ("Cache-Control:no-store", "no_store"),
        ("Cache-Control:private,max-age=60", "private"),
        ("Cache-Control:no-cache", "no_cache"),
        ("Vary:*&header=Cache-Control:max-age=60", "vary"),
        ("Expires:0", "stale"),
    ] {
        let path = format!("/echo/c?header={header}");
        let (first, second) = twice(&mut client, &path);
        assert!(first.cache_status().ends_with(&format!("detail={why}")), "{header}: {first:?}");
        assert!(!second.is_hit(), "{header}");
        assert_eq!(origin.saw(&format!("GET {path}")), 2);
    }
}

#[test]
fn negative_answers_have_their_own_lifetime_and_errors_none() {
    let (envoy, origin) = Scene::l1_only("negative", |config| {
        echo_routes(config);
        config["routes"][0]["negative"] = serde_json::json!({"ttl": "30s", "statuses": [404]});
    });
    let mut client = envoy.client();
    let (_, second) = twice(&mut client, "/echo/gone?status=404");
    assert_eq!(second.status, 404);
    assert!(
        second.cache_status().contains("; hit; ttl=2") || second.cache_status().contains("ttl=30")
    );
    for status in [500, 503, 400, 302] {
        let path = format!("/echo/x?status={status}");
        let (first, second) = twice(&mut client, &path);
        assert_eq!((first.status, second.status), (status, status));
        assert!(!second.is_hit(), "{status}");
        assert_eq!(origin.saw(&format!("GET {path}")), 2);
    }
}

#[test]
fn other_requests_pass_through() {
    let (envoy, origin) = Scene::l1_only("pass", |config| {
        echo_routes(config);
        config["routes"] = serde_json::json!([
            {"path": "/echo/never", "bypass": true},
            {"path": "/echo/{*rest}", "ttl": "60s"},
        ]);
    });
    let mut client = envoy.client();
    client.get("/echo/a");
    for (method, path, field, body, status) in [
        ("POST", "/echo/a", None, "x", "tiercel; fwd=method; detail=method"),
        ("PURGE", "/echo/a", None, "", "tiercel; fwd=method; detail=method"),
        ("GET", "/echo/never", None, "", "tiercel; fwd=bypass; detail=route"),
        ("GET", "/echo/a", None, "body", "tiercel; fwd=bypass; detail=body"),
        ("GET", "/echo/a", Some(("cookie", "x=1")), "", "tiercel; fwd=bypass; detail=cookie"),
        (
            "GET",
            "/echo/a",
            Some(("if-match", "\"x\"")),
            "",
            "tiercel; fwd=bypass; detail=precondition",
        ),
    ] {
        let before = origin.total();
        let fields: Vec<(&str, &str)> = field.into_iter().collect();
        let response = client.request(method, path, &fields, body.as_bytes());
        assert_eq!(response.cache_status(), status, "{method} {path} {field:?}");
        assert_eq!(origin.total(), before + 1);
    }
    // The POST made what was stored stale.
    assert!(!client.get("/echo/a").is_hit() && client.get("/echo/a").is_hit());
}
