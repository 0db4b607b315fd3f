//! RFC 9111, 5.2.1 and 5.4: what the client wants.

use serde_json::json;

use super::{always, by_query, get_with, target};
use crate::harness::{Scene, eventually};

#[test]
fn rfc9111_5_2_1_directives_of_requests() {
    let with_origin =
        |config: &mut serde_json::Value| config["origin"] = json!({"cluster": "origin"});
    let (envoy, _script) = Scene::scripted("5-2-1", with_origin, by_query());
    let mut client = envoy.client();
    let (fresh, stale) = ("cache-control: max-age=100", "cache-control: max-age=50");
    for (n, (stored, age, request, status)) in [
        (fresh, 50, "", "hit"),
        (fresh, 50, "no-cache", "fwd=request"),
        (fresh, 50, "max-age=40", "fwd=request"),
        (fresh, 50, "max-age=90", "hit"),
        (fresh, 50, "max-age=0", "fwd=request"),
        (fresh, 50, "min-fresh=20", "hit"),
        (fresh, 50, "min-fresh=60", "fwd=request"),
        (fresh, 50, "only-if-cached", "hit"),
        (stale, 60, "", "fwd=stale"),
        (stale, 60, "max-stale", "hit; ttl=-1"),
        (stale, 60, "max-stale=40", "hit; ttl=-1"),
        (stale, 60, "max-stale=5", "fwd=stale"),
        ("cache-control: max-age=50, must-revalidate", 60, "max-stale", "fwd=stale"),
        ("cache-control: max-age=50, proxy-revalidate", 60, "max-stale", "fwd=stale"),
        ("cache-control: s-maxage=50", 60, "max-stale", "fwd=stale"),
        // 5.2.1.1: whoever names an age wants nothing stale.
        ("cache-control: max-age=50, stale-while-revalidate=99", 60, "", "hit; ttl=-1"),
        ("cache-control: max-age=50, stale-while-revalidate=99", 60, "max-age=99", "fwd=stale"),
    ]
    .into_iter()
    .enumerate()
    {
        // What is stale on arrival is stored only for its validator.
        let fields = [stored, &format!("age: {age}"), "etag: \"a\""];
        let path = target(&format!("/{n}"), 200, &fields);
        client.get(&path);
        let response = get_with(&mut client, &path, &[("cache-control", request)]);
        let expected = format!("tiercel; {status}");
        assert!(response.cache_status().starts_with(&expected), "{stored} {request}: {response:?}");
    }
    let path = target("/pragma", 200, &[fresh]);
    client.get(&path);
    assert!(!get_with(&mut client, &path, &[("pragma", "no-cache")]).is_hit());
    let both = [("pragma", "no-cache"), ("cache-control", "max-stale")];
    assert!(get_with(&mut client, &path, &both).is_hit());
}

#[test]
fn rfc9111_5_2_1_7_only_if_cached() {
    let (envoy, script, _redis) =
        Scene::scripted_l2("5-2-1-7", |_| {}, always(&[("cache-control", "max-age=60")]));
    let mut client = envoy.client();
    let only = [("cache-control", "only-if-cached")];
    let none = get_with(&mut client, "/a", &only);
    assert_eq!((none.status, none.cache_status()), (504, "tiercel; detail=only_if_cached"));
    // Nor is there anything for a request that the cache does not answer.
    let bypass = get_with(&mut client, "/a", &[only[0], ("cookie", "a=b")]);
    assert_eq!((bypass.status, bypass.cache_status()), (504, "tiercel; detail=only_if_cached"));
    assert!(script.asked().is_empty());
    client.get("/a");
    assert!(get_with(&mut client, "/a", &only).is_hit());
    envoy.expect_metric("tiercel_requests{outcome=\"only_if_cached\"}", 2);
}

#[test]
fn rfc9111_5_2_1_5_no_store() {
    let (envoy, script) =
        Scene::scripted("5-2-1-5", |_| {}, always(&[("cache-control", "max-age=60")]));
    let mut client = envoy.client();
    let first = get_with(&mut client, "/a", &[("cache-control", "no-store")]);
    assert!(first.cache_status().ends_with("detail=request_no_store"), "{first:?}");
    assert!(!client.get("/a").is_hit() && client.get("/a").is_hit());
    assert_eq!(script.asked().len(), 2);
}

#[test]
fn a_route_may_give_clients_no_say() {
    let (envoy, script) = Scene::scripted(
        "5-2-1-ignored",
        |config| config["defaults"] = json!({"request_directives": "ignore"}),
        always(&[("cache-control", "max-age=60")]),
    );
    let mut client = envoy.client();
    client.get("/a");
    for wanted in ["no-cache", "max-age=0", "only-if-cached"] {
        assert!(get_with(&mut client, "/a", &[("cache-control", wanted)]).is_hit(), "{wanted}");
    }
    assert!(get_with(&mut client, "/a", &[("pragma", "no-cache")]).is_hit());
    assert_eq!(get_with(&mut client, "/b", &[("cache-control", "only-if-cached")]).status, 200);
    eventually("both to be asked for", || (script.asked().len() == 2).then_some(()));
}

#[test]
fn rfc8246_2_immutable_is_not_asked_for_at_a_reload() {
    let (envoy, script) =
        Scene::scripted("8246", |_| {}, always(&[("cache-control", "max-age=60, immutable")]));
    let mut client = envoy.client();
    client.get("/a");
    assert!(get_with(&mut client, "/a", &[("cache-control", "max-age=0")]).is_hit());
    assert!(!get_with(&mut client, "/a", &[("cache-control", "no-cache")]).is_hit());
    assert_eq!(script.asked().len(), 2);
}
