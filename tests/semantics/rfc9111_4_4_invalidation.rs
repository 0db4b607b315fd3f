//! RFC 9111, 4.4: what a successful unsafe request makes stale.

use serde_json::json;

use crate::harness::scene::twice;
use crate::harness::{Scene, eventually, reply};

#[test]
fn rfc9111_4_4_unsafe_methods_invalidate_in_every_level() {
    let answers = |asked: &crate::harness::Asked| {
        if asked.method.as_str() == "GET" {
            reply(200, &[("cache-control", "max-age=60")], "body")
        } else {
            let status = asked.field("x-status").and_then(|s| s.parse().ok()).unwrap_or(200);
            let named = asked.field("x-named").unwrap_or("/nowhere").to_owned();
            reply(status, &[("location", &named), ("content-location", "../b?x=1")], "done")
        }
    };
    let (envoy, _script, redis) = Scene::scripted_l2("4-4", |_| {}, answers);
    let mut client = envoy.client();
    let host = "http://api.test/c/d";
    for (method, fields, gone) in [
        ("POST", &[][..], &["/c/d", "/b?x=1"][..]),
        ("PUT", &[("x-named", "/e")], &["/c/d", "/b?x=1", "/e"]),
        ("DELETE", &[("x-status", "204")], &["/c/d", "/b?x=1"]),
        (
            "PATCH",
            &[("x-status", "303"), ("x-named", "http://API.test:80/e")],
            &["/c/d", "/b?x=1", "/e"],
        ),
        ("PURGE", &[], &["/c/d", "/b?x=1"]),
        ("POST", &[("x-named", "http://evil.test/e")], &["/c/d", "/b?x=1"]),
        ("POST", &[("x-status", "404")], &[]),
        // An error may have come after the change.
        ("POST", &[("x-status", "500")], &["/c/d"]),
        ("OPTIONS", &[], &[]),
        ("REPORT", &[], &[]),
    ] {
        let all = ["/c/d", "/c/d?q", "/b?x=1", "/e"];
        for path in all {
            let (_, hit) = twice(&mut client, path);
            assert!(hit.is_hit(), "{path}");
        }
        eventually("everything to be in Redis", || (redis.keys().len() == all.len()).then_some(()));
        let response = client.request(method, "/c/d", fields, b"");
        assert!(response.cache_status().ends_with("detail=method"), "{response:?}");
        for path in all {
            let hit = client.get(path).is_hit();
            assert_eq!(hit, !gone.contains(&path), "{method} {fields:?}: {path} ({host})");
        }
    }
    eventually("what was stale to be counted", || {
        (envoy.metric("tiercel_invalidations") >= 10).then_some(())
    });
}

#[test]
fn rfc9111_4_4_all_variants_go_at_once() {
    let (envoy, _script, redis) = Scene::scripted_l2(
        "4-4-variants",
        |config| {
            config["routes"] =
                json!([{"path": "/g/{id}", "ttl": "60s", "query": {"include": ["page"]}}]);
        },
        |_| reply(200, &[("vary", "Accept-Language")], "body"),
    );
    let mut client = envoy.client();
    let mut get = |language| {
        super::get_with(&mut client, "/g/1?page=2&t=1", &[("accept-language", language)]).is_hit()
    };
    assert!(!get("de") && !get("en") && get("de") && get("en"));
    eventually("both variants in Redis", || (redis.keys().len() == 3).then_some(()));
    // The route's own idea of identity counts: t is no part of it.
    envoy.client().request("POST", "/g/1?t=9&page=2", &[], b"x");
    assert!(!get("de") && !get("en"));
}

#[test]
fn a_write_overtakes_a_store_that_waits() {
    let (envoy, script, _redis) = Scene::scripted_l2(
        "4-4-waiting",
        |_| {},
        |asked| {
            reply(
                200,
                &[("cache-control", if asked.method == "GET" { "max-age=60" } else { "no-store" })],
                "body",
            )
        },
    );
    let mut client = envoy.client();
    for n in 0..20 {
        // The store of a miss waits for company, at most for a tick: the write comes before.
        client.get(&format!("/{n}"));
        client.request("PUT", &format!("/{n}"), &[], b"");
    }
    // One that was on its way already is in Redis, and of no use.
    eventually("most stores to be given up", || {
        let given_up = envoy.metric("tiercel_l2_stores{result=\"overtaken\"}");
        let stored = envoy.metric("tiercel_l2_stores{result=\"stored\"}");
        (given_up + stored == 20 && given_up > 0).then_some(())
    });
    assert!((0..20).all(|n| !client.get(&format!("/{n}")).is_hit()));
    assert_eq!(script.asked().len(), 60);
}

#[test]
fn a_fetch_that_a_write_overtook_is_not_stored() {
    let mut version = 1;
    let (envoy, script, redis) = Scene::scripted_l2(
        "4-4-overtaken",
        |_| {},
        move |asked| {
            version += u32::from(asked.method == "PUT");
            let vary = if asked.target == "/v" { "accept" } else { "" };
            let fields = [("cache-control", "max-age=60"), ("vary", vary)];
            reply(200, &fields[..if vary.is_empty() { 1 } else { 2 }], &version.to_string())
        },
    );
    let mut writer = envoy.client();
    for path in ["/a", "/v"] {
        let mut reader = envoy.client();
        script.asked();
        script.hold(Some("GET"));
        std::thread::scope(|scope| {
            let old = scope.spawn(|| reader.get(path));
            // The origin has made its answer by now.
            script.expect_asked("GET");
            let new = writer.request("PUT", path, &[], b"");
            script.hold(None);
            let old = old.join().expect("an answer");
            assert!(old.body < new.body && old.cache_status().ends_with("detail=overtaken"));
            assert!(!old.is_hit(), "{old:?}");
            let read = writer.get(path);
            assert!(read.body == new.body && !read.is_hit(), "{read:?}");
            assert!(writer.get(path).body == new.body);
        });
    }
    envoy.expect_metric("tiercel_not_stored{reason=\"overtaken\"}", 2);
    eventually("the new ones in Redis", || (redis.keys().len() == 3).then_some(()));
}
