//! The hard cookie case: one revision of the API sets a cookie on every cookieless answer.

use serde_json::json;

use crate::harness::scene::twice;
use crate::harness::{Scene, eventually};

#[test]
fn a_route_that_ignores_cookies_is_shared_and_replays_none() {
    for revision in ["main", "opt"] {
        let (envoy, origin, _redis) = Scene::usual(&format!("cookies-{revision}"), |_| {});
        origin.configure(&json!({"revision": revision}));
        let mut client = envoy.client();
        let (first, second) = twice(&mut client, "/api/games");
        assert_eq!(first.field("set-cookie").is_some(), revision == "main", "{first:?}");
        assert_eq!(first.field("vary").is_some(), revision == "main");
        assert!(second.is_hit(), "{revision}: {}", second.cache_status());
        assert!(second.field("set-cookie").is_none() && second.field("vary").is_none());
        assert_eq!(second.body, first.body);
        let with_cookie = client.request("GET", "/api/games", &[("cookie", "session=x")], b"");
        assert!(with_cookie.is_hit());
        assert_eq!(origin.saw("GET /api/games"), 1);
    }
}

#[test]
fn without_the_declaration_such_a_response_is_not_stored() {
    let (envoy, origin, _redis) = Scene::usual("cookies-respected", |config| {
        config["defaults"]["cookies"] = "respect".into();
    });
    origin.configure(&json!({"revision": "main"}));
    let mut client = envoy.client();
    let (first, second) = twice(&mut client, "/api/games");
    assert!(first.cache_status().ends_with("fwd-status=200; detail=set_cookie"));
    assert!(!second.is_hit() && second.field("set-cookie").is_some());
    assert_ne!(first.field("set-cookie"), second.field("set-cookie"));
    envoy.expect_metric("tiercel_not_stored{reason=\"set_cookie\"}", 2);
}

#[test]
fn an_answer_from_a_session_is_not_stored_even_where_cookies_are_ignored() {
    let (envoy, origin, _redis) = Scene::usual("session-unguarded", |config| {
        config["routes"] = json!([{"path": "/api/events/{id}", "ttl": "60s", "query": {}}]);
    });
    origin.configure(&json!({"revision": "main"}));
    let mut client = envoy.client();
    let chosen = client.get("/canvas/node_canvas?game_gid=10000147");
    let cookie =
        chosen.field("set-cookie").expect("a session").split(';').next().unwrap().to_owned();
    for _ in 0..2 {
        let with = client.request("GET", "/api/events/1", &[("cookie", &cookie)], b"");
        assert_eq!(with.cache_status(), "tiercel; fwd=uri-miss; fwd-status=200; detail=vary_value");
    }
    assert_eq!(client.get("/api/events/1").status, 400);
}

#[test]
fn reads_that_depend_on_the_session_are_shared_only_with_the_game_named() {
    let (envoy, origin, _redis) = Scene::usual("session", |_| {});
    origin.configure(&json!({"revision": "main"}));
    let mut client = envoy.client();
    let chosen = client.get("/canvas/node_canvas?game_gid=10000147");
    let cookie =
        chosen.field("set-cookie").expect("a session").split(';').next().unwrap().to_owned();
    let with = client.request("GET", "/api/events/1", &[("cookie", &cookie)], b"");
    assert_eq!((with.status, with.is_hit()), (200, false));
    assert_eq!(client.get("/api/events/1").status, 400);
    // What is no game's id counts as absent there: the session's answer is not for others.
    for path in ["/api/events/1?game_gid=abc", "/api/events/1?game_gid=0"] {
        assert_eq!(client.request("GET", path, &[("cookie", &cookie)], b"").status, 200);
        let without = client.get(path);
        assert_eq!(without.status, 400);
        assert_eq!(without.cache_status(), "tiercel; fwd=bypass; detail=not_an_id");
    }
    let named = client.get("/api/events/1?game_gid=10000147");
    assert_eq!(named.data(), with.data());
    assert!(client.get("/api/events/1?game_gid=10000147").is_hit());
    eventually("the bypass to be counted", || {
        (envoy.metric("tiercel_bypassed{reason=\"parameter_missing\"}") == 2).then_some(())
    });
}
