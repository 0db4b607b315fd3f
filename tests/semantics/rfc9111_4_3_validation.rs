//! RFC 9111, 4.3: asking the origin whether what is stored is still good.

use serde_json::json;

use super::{get_with, text};
use crate::harness::{Asked, Scene, eventually, reply};

const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// Must be validated at every use; the origin says 304 to its own validators.
fn validated(
    fields: &'static [(&'static str, &'static str)],
) -> impl FnMut(&Asked) -> Option<Vec<u8>> {
    let mut count = 0;
    move |asked| {
        count += 1;
        let number = count.to_string();
        let mut all = vec![("x-count", number.as_str())];
        all.extend(fields);
        let known = |name, of| {
            let own = all.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
            own.is_some() && own == asked.field(of)
        };
        let same = known("etag", "if-none-match") || known("last-modified", "if-modified-since");
        reply(if same { 304 } else { 200 }, &all, &format!("body {count}"))
    }
}

#[test]
fn rfc9111_4_3_1_and_4_3_4_a_304_freshens_what_is_stored() {
    for (n, fields) in [
        &[("cache-control", "no-cache"), ("etag", "\"a\"")][..],
        &[("cache-control", "max-age=0"), ("etag", "W/\"a\"")],
        &[("cache-control", "max-age=0"), ("last-modified", OLD)],
        &[("cache-control", "no-cache"), ("etag", "\"a\""), ("last-modified", OLD)],
    ]
    .into_iter()
    .enumerate()
    {
        let (envoy, script) = Scene::scripted(&format!("4-3-1-{n}"), |_| {}, validated(fields));
        let mut client = envoy.client();
        assert!(client.get("/a").cache_status().ends_with("stored"));
        for count in 2..4 {
            let response = client.get("/a");
            assert_eq!((response.status, text(&response)), (200, "body 1"), "{fields:?}");
            let status = response.cache_status();
            assert!(status.starts_with("tiercel; fwd=stale; fwd-status=304; ttl="), "{status}");
            assert!(status.ends_with("; stored; detail=revalidated"), "{status}");
            // RFC 9111, 3.2: the 304's fields are the response's now.
            assert_eq!(response.field("x-count"), Some(count.to_string().as_str()));
            assert_eq!(response.field("content-length"), Some("6"));
        }
        let asked = script.asked();
        let sent = |name| fields.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        assert_eq!(asked[2].field("if-none-match"), sent("etag"), "{fields:?}");
        assert_eq!(asked[2].field("if-modified-since"), sent("last-modified"), "{fields:?}");
    }
}

#[test]
fn rfc9111_4_3_4_freshened_entries_are_fresh_in_every_level() {
    let mut count = 0;
    let (envoy, script, redis) = Scene::scripted_l2(
        "4-3-4-levels",
        |_| {},
        move |asked| {
            count += 1;
            let fields = [
                ("etag", "\"a\""),
                ("cache-control", if count == 1 { "max-age=0" } else { "max-age=60" }),
            ];
            reply(if asked.field("if-none-match").is_some() { 304 } else { 200 }, &fields, "body")
        },
    );
    let mut client = envoy.client();
    client.get("/a");
    assert!(client.get("/a").cache_status().contains("fwd-status=304"));
    assert!(client.get("/a").is_hit());
    envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", 2);
    assert_eq!(script.asked().len(), 2);
    // Another instance finds the freshened one.
    let scene = Scene::new("4-3-4-other");
    let other =
        crate::harness::Envoy::builder("event2table.yaml").origin(script.port).redis(redis.port);
    let other = other.config(crate::harness::scene::no_routes).start(&scene);
    let hit = other.client().get("/a");
    assert!(hit.cache_status().ends_with("detail=l2") && text(&hit) == "body", "{hit:?}");
}

#[test]
fn rfc9111_4_3_3_other_answers_to_a_validation() {
    let (envoy, script) = Scene::scripted(
        "4-3-3",
        |_| {},
        validated(&[("cache-control", "no-cache"), ("etag", "\"a\"")]),
    );
    let mut client = envoy.client();
    client.get("/a");
    // 200 replaces.
    script.becomes(validated(&[("cache-control", "no-cache"), ("etag", "\"b\"")]));
    assert_eq!(client.get("/a").cache_status(), "tiercel; fwd=stale; fwd-status=200; stored");
    script.asked();
    assert!(client.get("/a").cache_status().contains("fwd-status=304"));
    assert_eq!(script.asked()[0].field("if-none-match"), Some("\"b\""));
    // 5xx goes on; what is stored stays, and is asked about again.
    script.becomes(|_| reply(500, &[], "sorry"));
    assert_eq!(client.get("/a").status, 500);
    script.becomes(validated(&[("cache-control", "no-cache"), ("etag", "\"b\"")]));
    assert!(client.get("/a").cache_status().contains("fwd-status=304"));
    // What may no longer be stored is forgotten.
    script.becomes(|_| reply(200, &[("cache-control", "no-store")], "secret"));
    assert!(client.get("/a").cache_status().ends_with("detail=no_store"));
    script.asked();
    client.get("/a");
    assert_eq!(script.asked()[0].field("if-none-match"), None);
}

#[test]
fn rfc9111_4_3_4_a_304_for_something_else_updates_nothing() {
    let (envoy, script) = Scene::scripted(
        "4-3-4-other-tag",
        |_| {},
        validated(&[("cache-control", "max-age=0"), ("etag", "\"a\"")]),
    );
    let mut client = envoy.client();
    client.get("/a");
    script.becomes(|_| reply(304, &[("cache-control", "max-age=60"), ("etag", "\"z\"")], ""));
    assert_eq!(text(&client.get("/a")), "body 1");
    script.asked();
    script.becomes(|_| reply(200, &[], "new"));
    assert_eq!(text(&client.get("/a")), "new");
    assert_eq!(script.asked()[0].field("if-none-match"), None);
}

#[test]
fn rfc9111_4_3_4_a_304_that_names_nothing_updates_nothing_and_takes_nothing_away() {
    let (envoy, script) = Scene::scripted(
        "4-3-4-bare",
        |_| {},
        validated(&[("cache-control", "max-age=0"), ("etag", "W/\"a\"")]),
    );
    let mut client = envoy.client();
    client.get("/a");
    for tag in ["x-none", "etag"] {
        script.becomes(move |asked| {
            assert_eq!(asked.field("if-none-match"), Some("W/\"a\""));
            reply(304, &[("cache-control", "max-age=60"), (tag, "\"a\"")], "")
        });
        for _ in 0..2 {
            let response = client.get("/a");
            assert_eq!((response.status, text(&response)), (200, "body 1"));
            assert!(response.cache_status().ends_with("; detail=revalidated"), "{response:?}");
            assert!(!response.cache_status().contains("stored"), "{response:?}");
        }
    }
}

#[test]
fn rfc9111_4_3_5_head_freshens_or_invalidates() {
    let (envoy, script) = Scene::scripted(
        "4-3-5",
        |_| {},
        |_| reply(200, &[("cache-control", "max-age=0"), ("etag", "\"a\"")], "body"),
    );
    let mut client = envoy.client();
    client.get("/a");
    // Agrees, and says it is fresh.
    script.becomes(|_| reply(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "body"));
    let head = client.request("HEAD", "/a", &[], b"");
    assert_eq!(head.cache_status(), "tiercel; fwd=stale; fwd-status=200; detail=method");
    let hit = client.get("/a");
    assert!(hit.is_hit() && text(&hit) == "body", "{hit:?}");
    // One that names no validator disagrees in none.
    script.becomes(|_| reply(200, &[("cache-control", "max-age=60"), ("x-head", "1")], "body"));
    client.request("HEAD", "/a", &[("cache-control", "no-cache")], b"");
    let hit = client.get("/a");
    assert!(hit.is_hit() && hit.field("x-head") == Some("1"), "{hit:?}");
    // Another entity tag, another length: what is stored is stale, however fresh it was.
    for (fields, body) in
        [(&[("etag", "\"b\"")][..], "body"), (&[("etag", "\"a\"")], "longer body")]
    {
        script.becomes(move |_| reply(200, fields, body));
        let no_cache = [("cache-control", "no-cache")];
        client.request("HEAD", "/a", &no_cache, b"");
        script
            .becomes(|_| reply(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "body"));
        assert!(!client.get("/a").is_hit(), "{fields:?}");
        assert!(client.get("/a").is_hit());
    }
}

#[test]
fn a_route_may_want_etags_for_an_origin_without() {
    let (envoy, script) = Scene::scripted(
        "4-3-synthesised",
        |config| {
            config["routes"] = json!([{"path": "/{*rest}", "ttl": "60s", "synthesise_etag": true}]);
        },
        |_| reply(200, &[], "body"),
    );
    let mut client = envoy.client();
    assert_eq!(client.get("/a").field("etag"), None, "it is not known before the body's end");
    let hit = client.get("/a");
    let etag = hit.field("etag").expect("an etag").to_owned();
    assert!(etag.len() == 34 && etag.starts_with('"'), "{etag}");
    let same = get_with(&mut client, "/a", &[("if-none-match", &etag)]);
    assert_eq!((same.status, same.field("etag")), (304, Some(etag.as_str())));
    eventually("one request", || (script.asked().len() == 1).then_some(()));
}

#[test]
fn an_etag_made_here_is_not_shown_to_the_origin() {
    let (envoy, script) = Scene::scripted(
        "4-3-own-etag",
        |config| config["routes"] = json!([{"path": "/{*rest}", "synthesise_etag": true}]),
        |_| reply(200, &[("cache-control", "max-age=0"), ("last-modified", OLD)], "body"),
    );
    let mut client = envoy.client();
    client.get("/a");
    // It is not the origin's: neither asked with nor missed in its 304.
    script.becomes(|asked| {
        assert_eq!(asked.field("if-none-match"), None);
        let same = asked.field("if-modified-since") == Some(OLD);
        reply(if same { 304 } else { 500 }, &[("last-modified", OLD), ("x-new", "1")], "")
    });
    let etag = client.get("/a").field("etag").expect("an etag").to_owned();
    let again = get_with(&mut client, "/a", &[("if-none-match", &etag)]);
    assert!(again.status == 304 && again.cache_status().ends_with("stored; detail=revalidated"));
    // HEAD agrees without it, too.
    script.becomes(|_| {
        reply(200, &[("cache-control", "max-age=60"), ("last-modified", OLD)], "body")
    });
    client.request("HEAD", "/a", &[], b"");
    let hit = client.get("/a");
    assert!(hit.is_hit() && hit.field("etag") == Some(&etag), "{hit:?}");
}

#[test]
fn rfc9111_3_1_a_304_brings_nothing_that_may_not_be_stored() {
    let (envoy, script) = Scene::scripted(
        "3-1-304",
        |config| config["routes"] = json!([{"path": "/ignored", "cookies": "ignore"}]),
        |_| None,
    );
    let mut client = envoy.client();
    for (path, stored) in [
        ("/a", "max-age=0, no-cache=\"set-cookie\", private=\"x-user\""),
        ("/ignored", "max-age=0, private=\"x-user\""),
    ] {
        script.becomes(move |_| {
            let vary = ("vary", "cookie");
            let fields = [("cache-control", stored), ("etag", "\"a\""), vary];
            reply(200, &fields[..if path == "/a" { 2 } else { 3 }], "body")
        });
        client.get(path);
        // It is the victim's own, and says nothing of who may see it.
        script.becomes(|_| {
            let fields = [
                ("etag", "\"a\""),
                ("set-cookie", "sid=victim"),
                ("x-user", "victim"),
                ("vary", "Cookie"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("x-new", "1"),
            ];
            reply(304, &fields[..], "")
        });
        client.get(path);
        script.becomes(|_| None);
        let stale = get_with(&mut client, path, &[("cache-control", "stale-if-error=60")]);
        if path == "/a" {
            // Varies by Cookie now, by which it was not told apart.
            assert_eq!(stale.status, 503, "{stale:?}");
            continue;
        }
        assert_eq!((stale.status, stale.field("x-new")), (200, Some("1")), "{stale:?}");
        for name in ["set-cookie", "x-user", "vary", "x-hop"] {
            assert_eq!(stale.field(name), None, "{name}");
        }
    }
}

#[test]
fn rfc9110_6_6_1_a_304_without_a_date_came_now() {
    const FUTURE: &str = "Sun, 06 Nov 2094 08:49:37 GMT";
    let (envoy, script) = Scene::scripted(
        "6-6-1-304",
        |_| {},
        |_| {
            reply(
                200,
                &[("date", FUTURE), ("cache-control", "no-cache"), ("etag", "\"a\"")],
                "body",
            )
        },
    );
    let mut client = envoy.client();
    client.get("/a");
    script.becomes(|_| reply(304, &[("etag", "\"a\""), ("age", "500")], ""));
    let validated = client.get("/a");
    assert!(validated.cache_status().ends_with("stored; detail=revalidated"), "{validated:?}");
    assert!(validated.field("date").is_some_and(|date| date != FUTURE), "{validated:?}");
    // 5.1: what it was when the origin said so.
    let age: u64 = validated.field("age").unwrap().parse().unwrap();
    assert!((500..520).contains(&age), "{validated:?}");
}

#[test]
fn rfc9111_3_2_a_304_may_say_what_is_no_longer_to_be_stored() {
    const TAG: (&str, &str) = ("etag", "\"a\"");
    let (envoy, script) = Scene::scripted("3-2-304", |_| {}, |_| None);
    let mut client = envoy.client();
    for (path, update, kept) in [
        ("/private", ("cache-control", "private=\"x-user\", max-age=60"), true),
        ("/cookie", ("set-cookie", "a=b"), false),
        ("/star", ("vary", "*"), false),
        ("/vary", ("vary", "accept"), false),
        ("/no-store", ("cache-control", "no-store"), false),
        ("/all-private", ("cache-control", "private"), false),
    ] {
        script.becomes(|_| {
            reply(200, &[("cache-control", "max-age=0"), TAG, ("x-user", "me")], "body")
        });
        client.get(path);
        script.becomes(move |_| reply(304, &[TAG, update], ""));
        let validated = client.get(path);
        assert_eq!((validated.status, text(&validated)), (200, "body"), "{path}");
        let told = validated.cache_status();
        assert_eq!(told.contains("; stored"), kept, "{path}: {told}");
        assert_eq!(validated.field("x-user"), (!kept).then_some("me"), "{path}");
        script.becomes(|asked| {
            reply(if asked.field("if-none-match").is_some() { 304 } else { 200 }, &[TAG], "new")
        });
        let next = client.get(path);
        assert_eq!(text(&next), if kept { "body" } else { "new" }, "{path}: {next:?}");
    }
}
