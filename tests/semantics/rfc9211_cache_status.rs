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
    let (envoy, _script) = Scene::scripted(
        "9111-age",
        |_| {},
        |_| {
            reply(
                200,
                &[
                    ("cache-control", "max-age=0, stale-if-error=60"),
                    ("etag", "\"a\""),
                    ("age", "7"),
                ],
                "body",
            )
        },
    );
    let mut client = envoy.client();
    client.get("/a");
    for (status, wanted) in [(304, "max-age=999"), (503, "max-age=999"), (200, "max-stale")] {
        let _ = status;
        let response = get_with(&mut client, "/a", &[("cache-control", wanted)]);
        if response.cache_status().contains("hit") {
            assert!(response.field("age").is_some_and(|age| age.starts_with('7')), "{response:?}");
        }
        assert_eq!(response.field("warning"), None);
    }
}
