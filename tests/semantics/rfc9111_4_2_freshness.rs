//! RFC 9111, 4.2 and 5: how fresh a response is, and how old.

use std::thread::sleep;
use std::time::Duration;

use super::{always, by_query, target};
use crate::harness::{Envoy, Scene, Script};

/// The seconds after `name=` in a `Cache-Status`, or the value of a field.
fn seconds(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

#[test]
fn rfc9111_4_2_1_lifetimes_and_5_1_ages() {
    let (envoy, _script) = Scene::scripted("4-2-lifetimes", |_| {}, by_query());
    let mut client = envoy.client();
    for (n, (fields, ttl, age)) in [
        (&["cache-control: max-age=100"][..], 100, 0),
        (&["cache-control: max-age=100, s-maxage=200"], 200, 0),
        (&["cache-control: s-maxage = \"200\" ,, MAX-AGE=100"], 200, 0),
        (&["cache-control: max-age=100", "expires: 0"], 100, 0),
        (&["cache-control: max-age=100", "age: 30"], 70, 30),
        (&["cache-control: max-age=100", "age: 30, 40", "age: 50"], 70, 30),
        (&["cache-control: max-age=100", "age: x"], 100, 0),
        (&["cache-control: max-age=100, max-age=90"], 90, 0),
        (&["cache-control: max-age=99999999999999999999"], 1 << 31, 0),
        (
            &["date: Sun, 06 Nov 2094 08:49:37 GMT", "expires: Sun, 06 Nov 2094 08:51:17 GMT"],
            100,
            0,
        ),
        (&["date: Sun, 06 Nov 2094 08:49:37 GMT", "expires: Sun Nov  6 08:51:17 2094"], 100, 0),
        (
            &["date: Sat, 06 Nov 2060 08:49:37 GMT", "expires: Saturday, 06-Nov-60 08:51:17 GMT"],
            100,
            0,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let path = target(&format!("/{n}"), 200, fields);
        client.get(&path);
        let hit = client.get(&path);
        assert!(hit.is_hit(), "{fields:?}: {hit:?}");
        let told = hit.cache_status().split("; ").find_map(|part| part.strip_prefix("ttl="));
        let (told, is) = (seconds(told.unwrap()), seconds(hit.field("age").unwrap()));
        // Some seconds may pass on a busy machine.
        assert!((ttl - 20..=ttl).contains(&told), "{fields:?}: ttl={told}");
        assert!((age..age + 20).contains(&is), "{fields:?}: age {is}");
    }
    for (n, fields) in [
        &["cache-control: max-age=-1"][..],
        &["cache-control: max-age=1.5"],
        &["cache-control: max-age"],
        &["expires: 0"],
        &["expires: tomorrow"],
        &["expires: Sun, 06 Nov 1994 08:49:37 GMT"],
        // By its own date it is an hour old.
        &["date: Sun, 06 Nov 1994 08:49:37 GMT", "cache-control: max-age=3600"],
    ]
    .into_iter()
    .enumerate()
    {
        let path = target(&format!("/stale/{n}"), 200, fields);
        assert!(client.get(&path).cache_status().ends_with("detail=stale"), "{fields:?}");
        assert!(!client.get(&path).is_hit(), "{fields:?}");
    }
}

#[test]
fn rfc9111_4_2_3_age_is_told_as_it_is_whatever_the_policy_counts() {
    let (envoy, _script) = Scene::scripted(
        "4-2-3-policy",
        |config| config["routes"] = serde_json::json!([{"path": "/{*rest}", "ttl": "60s"}]),
        by_query(),
    );
    let mut client = envoy.client();
    let path = target("/a", 200, &["date: Sun, 06 Nov 1994 08:49:37 GMT"]);
    client.get(&path);
    let hit = client.get(&path);
    assert!(hit.is_hit() && seconds(hit.field("age").unwrap()) > 1_000_000_000, "{hit:?}");
}

#[test]
fn rfc9110_6_6_1_a_date_is_kept_or_made() {
    let (envoy, _script) = Scene::scripted("6-6-1-date", |_| {}, by_query());
    let mut client = envoy.client();
    let future = "Sun, 06 Nov 2094 08:49:37 GMT";
    let path = target("/own", 200, &["cache-control: max-age=60", &format!("date: {future}")]);
    client.get(&path);
    assert_eq!(client.get(&path).field("date"), Some(future));
    // Without one the time of receipt is stored: Envoy would say the time of the hit.
    let path = target("/none", 200, &["cache-control: max-age=60"]);
    client.get(&path);
    let first = client.get(&path);
    sleep(Duration::from_millis(1_100));
    assert_eq!(client.get(&path).field("date"), first.field("date"));
}

#[test]
fn rfc9111_4_2_3_a_clock_that_jumps_makes_nothing_fresh_that_may_be_old() {
    let scene = Scene::new("4-2-3-clock");
    let script = Script::start(always(&[("cache-control", "max-age=600")]));
    let builder = Envoy::builder("minimal.yaml").origin(script.port);
    let envoy = builder.config(crate::harness::scene::no_routes).own_clock().start(&scene);
    let mut client = envoy.client();
    client.get("/a");
    let hit = client.get("/a");
    assert!(hit.is_hit() && super::text(&hit) == "body 1");
    // On: what time passed counts.
    envoy.set_clock(300);
    let hit = client.get("/a");
    assert!(hit.is_hit() && (300..320).contains(&seconds(hit.field("age").unwrap())), "{hit:?}");
    envoy.set_clock(3_600);
    assert_eq!(client.get("/a").cache_status(), "tiercel; fwd=stale; fwd-status=200; stored");
    assert!(client.get("/a").is_hit());
    // Back: how old it is cannot be told, so it is asked for; and what comes then is as good as any.
    envoy.set_clock(-3_600);
    assert_eq!(client.get("/a").cache_status(), "tiercel; fwd=stale; fwd-status=200; stored");
    let hit = client.get("/a");
    assert!(hit.is_hit() && super::text(&hit) == "body 3", "{hit:?}");
    assert_eq!(script.asked().len(), 3);
}
