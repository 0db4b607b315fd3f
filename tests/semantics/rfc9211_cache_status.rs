//! RFC 9211: what `Cache-Status` says; the cases are all over these tests, here is the rest.

use serde_json::json;

use super::{always, get_with};
use crate::harness::{Scene, reply};

#[test]
fn rfc9211_2_6_the_key_only_if_configured() {
    let (envoy, _script) = Scene::scripted(
        "9211-key",
        |config| config["headers"] = json!({"cache_status_key": true}),
        always(&[("cache-control", "max-age=60")]),
    );
    let mut client = envoy.client();
    let key = "; key=\"http://api.test/a?x=%22\"";
    let miss = client.get("/a?x=%22");
    assert_eq!(miss.cache_status(), format!("tiercel; fwd=uri-miss; fwd-status=200; stored{key}"));
    assert!(client.get("/a?x=%22").cache_status().ends_with(&format!("detail=l1{key}")));
}

#[test]
fn rfc9211_2_6_a_variant_has_the_key_of_its_resource() {
    let (envoy, _script) = Scene::scripted(
        "9211-key-vary",
        |config| config["headers"] = json!({"cache_status_key": true, "x_cache_key": true}),
        always(&[("cache-control", "max-age=60"), ("vary", "accept")]),
    );
    let mut client = envoy.client();
    let (miss, hit) = (client.get("/a"), client.get("/a"));
    assert!(hit.is_hit() && hit.field("x-cache-key").is_some());
    assert_eq!(hit.field("x-cache-key"), miss.field("x-cache-key"));
    for response in [miss, hit] {
        assert!(response.cache_status().ends_with("; key=\"http://api.test/a\""), "{response:?}");
    }
}

/// RFC 9211, 2: each cache adds its own member behind those nearer to the origin.
#[test]
fn rfc9211_2_members_of_other_caches_stay_on_a_miss_and_are_not_stored() {
    let (envoy, _script) = Scene::scripted(
        "9211-chain",
        |_| {},
        |_| reply(200, &[("cache-control", "max-age=60"), ("cache-status", "origin; hit")], "body"),
    );
    let mut client = envoy.client();
    let all = |response: &crate::harness::Response| {
        let own = response.fields.iter().filter(|(name, _)| name == "cache-status");
        own.map(|(_, value)| value.clone()).collect::<Vec<_>>().join(", ")
    };
    let miss = client.get("/a");
    assert_eq!(all(&miss), "origin; hit, tiercel; fwd=uri-miss; fwd-status=200; stored");
    assert!(all(&client.get("/a")).starts_with("tiercel; hit; ttl="));
}

#[test]
fn rfc9111_4_age_comes_with_every_reuse_and_warning_with_none() {
    const STORED: [(&str, &str); 3] =
        [("cache-control", "max-age=0, stale-if-error=60"), ("etag", "\"a\""), ("age", "7")];
    let (envoy, script) = Scene::scripted("9111-age", |_| {}, |_| reply(200, &STORED, "body"));
    let mut client = envoy.client();
    client.get("/a");
    for (answer, wanted, how) in [
        (200, "max-stale", "hit"),
        (503, "", "detail=stale_if_error"),
        (304, "", "detail=revalidated"),
        (503, "", "detail=stale_if_error"),
    ] {
        script.becomes(move |_| reply(answer, &STORED, ""));
        for (condition, status) in [("\"b\"", 200), ("\"a\"", 304)] {
            let fields = [("cache-control", wanted), ("if-none-match", condition)];
            let response = get_with(&mut client, "/a", &fields);
            let told = response.cache_status();
            assert!(response.status == status && told.contains(how), "{how}: {response:?}");
            let ages: Vec<_> = response.fields.iter().filter(|(name, _)| name == "age").collect();
            assert!(ages.len() == 1 && ages[0].1.parse::<u32>().unwrap() >= 7, "{how}: {ages:?}");
        }
    }
    // What the origin itself answers says nothing of an age that is ours.
    script.becomes(|_| reply(200, &[("cache-control", "max-age=60")], "body"));
    let (miss, hit) = (client.get("/b"), client.get("/b"));
    assert_eq!((miss.field("age"), miss.field("warning")), (None, None));
    assert!(hit.field("age").is_some() && hit.field("warning").is_none());
}
