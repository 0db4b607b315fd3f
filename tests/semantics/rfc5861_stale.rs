//! RFC 5861 and RFC 9111, 4.2.4: stale answers, where they are allowed.

use serde_json::{Value, json};

use super::{get_with, text};
use crate::harness::{Asked, Envoy, Scene, Script, eventually, reply};

/// The origin may be asked by nobody, too.
fn with_origin(config: &mut Value) {
    config["origin"] = json!({"cluster": "origin"});
}

/// Stale at once, with this beside it.
fn stale(directives: &'static str) -> impl FnMut(&Asked) -> Option<Vec<u8>> {
    let mut count = 0;
    move |_| {
        count += 1;
        let directives = format!("max-age=0, {directives}");
        let fields = [("cache-control", directives.as_str()), ("etag", "\"a\"")];
        reply(200, &fields, &format!("body {count}"))
    }
}

#[test]
fn rfc5861_3_stale_while_revalidate_refreshes_behind_the_clients_back() {
    let (envoy, script) = Scene::scripted("swr", with_origin, stale("stale-while-revalidate=60"));
    let mut client = envoy.client();
    assert_eq!(text(&client.get("/a")), "body 1");
    let hit = client.get("/a");
    assert!(hit.cache_status().starts_with("tiercel; hit; ttl="), "{hit:?}");
    assert_eq!(text(&hit), "body 1");
    eventually("the refreshed one", || (text(&client.get("/a")) == "body 2").then_some(()));
    eventually("the hit to be counted", || {
        (envoy.metric("tiercel_requests{outcome=\"stale_hit\"}") >= 1).then_some(())
    });
    let asked = script.asked();
    // It was asked for as the client had asked, and conditionally.
    assert_eq!(asked[1].field("if-none-match"), Some("\"a\""));
    assert_eq!(asked[1].field("host"), Some("api.test"));
    assert_eq!((asked[1].method.as_str(), asked[1].target.as_str()), ("GET", "/a"));
}

#[test]
fn rfc5861_3_the_refresh_is_the_caches_own_request() {
    let (envoy, script) =
        Scene::scripted("swr-own", with_origin, stale("stale-while-revalidate=60"));
    let mut client = envoy.client();
    client.get("/a");
    for (count, (method, fields)) in (1..).zip([
        ("HEAD", &[("x-app", "1")][..]),
        ("GET", &[("range", "bytes=0-1"), ("if-range", "\"a\""), ("x-app", "1")]),
        ("GET", &[("if-none-match", "\"b\""), ("x-app", "1")]),
    ]) {
        script.asked();
        let response = client.request(method, "/a", fields, b"");
        assert!(response.is_hit(), "{method} {fields:?}: {response:?}");
        envoy.expect_metric("tiercel_refreshes", count);
        let asked = script.asked();
        let sent: Vec<_> =
            asked.iter().map(|a| (a.method.as_str(), a.field("if-none-match"))).collect();
        assert_eq!(sent, [("GET", Some("\"a\""))], "{fields:?}");
        for name in ["cache-control", "range", "if-range"] {
            assert_eq!(asked[0].field(name), None, "{fields:?}");
        }
        assert_eq!(asked[0].field("x-app"), Some("1"));
        envoy.expect_metric("tiercel_fills", count + 1);
    }
    // Nothing is stored for a client that forbids it: it waits for the origin.
    let own = get_with(&mut client, "/a", &[("cache-control", "no-store")]);
    assert!(own.cache_status().ends_with("detail=request_no_store"), "{own:?}");
    envoy.expect_metric("tiercel_refreshes", 3);
}

#[test]
fn rfc5861_3_a_route_may_say_it_where_the_response_is_silent() {
    for (n, (directives, refreshed)) in [
        ("max-age=0", true),
        ("max-age=0, stale-while-revalidate=0", false),
        ("max-age=0, must-revalidate", false),
        ("max-age=0, proxy-revalidate", false),
        ("s-maxage=0", false),
        ("no-cache", false),
    ]
    .into_iter()
    .enumerate()
    {
        let (envoy, script) = Scene::scripted(
            &format!("swr-route-{n}"),
            |config| {
                with_origin(config);
                config["routes"] = json!([{"path": "/a", "stale_while_revalidate": "60s"}]);
            },
            move |_| reply(200, &[("cache-control", directives), ("etag", "\"a\"")], "body"),
        );
        let mut client = envoy.client();
        client.get("/a");
        assert_eq!(client.get("/a").is_hit(), refreshed, "{directives}");
        eventually("the origin to be asked again", || {
            (script.asked().iter().any(|a| a.field("if-none-match").is_some())).then_some(())
        });
    }
}

#[test]
fn rfc5861_3_one_refresh_at_a_time_and_a_304_is_enough() {
    let (envoy, script) =
        Scene::scripted("swr-304", with_origin, stale("stale-while-revalidate=60"));
    let mut client = envoy.client();
    client.get("/a");
    script.asked();
    script.becomes(|asked| {
        assert_eq!(asked.field("if-none-match"), Some("\"a\""));
        std::thread::sleep(std::time::Duration::from_millis(300));
        reply(304, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "")
    });
    for _ in 0..20 {
        assert!(client.get("/a").is_hit());
    }
    eventually("a fresh one", || client.get("/a").cache_status().contains("ttl=5").then_some(()));
    assert_eq!(text(&client.get("/a")), "body 1");
    assert_eq!(script.asked().len(), 1);
    envoy.expect_metric("tiercel_refreshes", 1);
}

#[test]
fn rfc5861_3_without_a_way_to_the_origin_the_client_waits() {
    let (envoy, _script) = Scene::scripted("swr-none", |_| {}, stale("stale-while-revalidate=60"));
    let mut client = envoy.client();
    client.get("/a");
    let second = client.get("/a");
    assert!(second.cache_status().starts_with("tiercel; fwd=stale") && text(&second) == "body 2");
}

/// Ends whatever is there, in four ways: answers, closes, and what Envoy says itself.
fn fail(script: &Script, way: &str) {
    match way {
        "500" => {
            script
                .becomes(|_| reply(500, &[("content-type", "text/html")], "sorry, and at length"));
        }
        "502" => script.becomes(|_| reply(502, &[], "")),
        "503" => script.becomes(|_| reply(503, &[("retry-after", "9")], "later")),
        "504" => script.becomes(|_| reply(504, &[], "")),
        _ => script.becomes(|_| None),
    }
}

fn answers(envoy: &Envoy, script: &Script, path: &str, wanted: &str) -> Vec<bool> {
    let fields: &[(&str, &str)] = &[("cache-control", wanted)];
    let fields = if wanted.is_empty() { &[] } else { fields };
    ["500", "502", "503", "504", "closed"]
        .map(|way| {
            fail(script, way);
            let response = get_with(&mut envoy.client(), path, fields);
            let status = response.cache_status().to_owned();
            if response.status == 200 {
                assert!(status.starts_with("tiercel; fwd=stale; fwd-status=5"), "{status}");
                assert!(status.ends_with("detail=stale_if_error"), "{status}");
                assert_eq!(text(&response), "body 1");
                assert_eq!(response.field("retry-after"), None);
            }
            response.status == 200
        })
        .into()
}

#[test]
fn rfc5861_4_stale_if_error() {
    for (n, (directives, wanted, route, served)) in [
        ("stale-if-error=60", "", Value::Null, true),
        ("public", "stale-if-error=60", Value::Null, true),
        ("public", "", json!("60s"), true),
        ("public", "", Value::Null, false),
        ("stale-if-error=60, must-revalidate", "stale-if-error=60", json!("60s"), false),
        ("stale-if-error=60, proxy-revalidate", "", json!("60s"), false),
        ("stale-if-error=60, no-cache", "", json!("60s"), false),
        ("stale-if-error=60, s-maxage=0", "", json!("60s"), false),
        // Who wants no stored answer gets none.
        ("stale-if-error=60", "no-cache", Value::Null, false),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("sie-{n}");
        let (envoy, script) = Scene::scripted(
            &name,
            |config| config["routes"] = json!([{"path": "/{*rest}", "stale_if_error": route}]),
            stale(directives),
        );
        envoy.client().get("/a");
        let all = answers(&envoy, &script, "/a", wanted);
        assert_eq!(all, [served; 5], "{directives} {wanted}");
        if served {
            envoy.expect_metric("tiercel_requests{outcome=\"stale_if_error\"}", 5);
        }
    }
}

#[test]
fn rfc5861_4_what_cannot_be_validated_may_be_served_stale_all_the_same() {
    let (envoy, script) = Scene::scripted(
        "sie-bare",
        |_| {},
        |_| reply(200, &[("cache-control", "max-age=0, stale-if-error=60")], "body"),
    );
    let mut client = envoy.client();
    assert!(client.get("/a").cache_status().ends_with("; stored"));
    assert!(client.get("/a").cache_status().ends_with("fwd=stale; fwd-status=200; stored"));
    fail(&script, "503");
    let stale = client.get("/a");
    assert_eq!((stale.status, text(&stale)), (200, "body"));
    assert!(stale.cache_status().ends_with("detail=stale_if_error"), "{stale:?}");
}

#[test]
fn rfc5861_4_no_healthy_host_and_its_return() {
    let scene = Scene::new("sie-gone");
    let origin = crate::harness::Origin::start(&scene, &[]);
    let port = origin.port;
    let envoy =
        Envoy::builder("minimal.yaml").origin(port).config(crate::harness::scene::no_routes);
    let envoy = envoy.start(&scene);
    let mut client = envoy.client();
    let path = "/echo/a?header=Cache-Control:max-age=0,stale-if-error=60&header=ETag:%22a%22";
    let first = client.get(path);
    drop(origin);
    for _ in 0..3 {
        let response = client.get(path);
        assert_eq!((response.status, &response.body), (200, &first.body));
        assert!(response.cache_status().contains("fwd-status=503"), "{response:?}");
    }
}
